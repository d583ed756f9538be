"""The steps of a run: forward, backward, one move of the optimiser, and what is measured on the way.

Nothing here waits for the device: losses, norms and skipped steps stay on it until the log asks. A step whose
loss or gradient is not finite changes nothing. When to log, evaluate, save and stop is `loop`'s.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vocabkit.core.arrays import BoolArray
from vocabkit.pretraining.batches import Batch, Step
from vocabkit.pretraining.distributed import World, local_rows, shard_model
from vocabkit.pretraining.model import Model, compile_layers
from vocabkit.pretraining.optimizer import (
    Optimizer,
    PlannedStage,
    clip_gradients,
    find_stage,
    rate_factor,
)
from vocabkit.pretraining.plan import estimate_mfu
from vocabkit.pretraining.run_config import RunConfig

# --- Meter -----------------------------------------------------------------------------------------
# What a run measures of itself, gathered on the device: losses, steps that were skipped, ids that were seen.
#
# Nothing here waits for the device but `read`, once a log line, and `Seen.arrays`, once a checkpoint.


SMOOTHING = 0.98
"""Share that a step leaves to those before it in the moving average: about the last 50 steps count."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured since the last reading, over all ranks.

    `loss` is the mean over steps that were not skipped of nats per prediction; `smoothed` its moving average
    over the whole run; both None where there is none yet. `language_losses` are nats ÷ predictions of a
    language in these steps, None where it was not drawn. `skipped` is of the whole run; `in_a_row` how many
    of the last steps were skipped one after another; `longest` the longest such series in these steps.
    """

    steps: int
    loss: float | None
    smoothed: float | None
    gradient_norm: float | None
    skipped: int
    in_a_row: int
    longest: int
    tokens: int
    bytes: int
    language_losses: tuple[float | None, ...]


class _Meter:
    """Sums on the device. `languages` is how many there are."""

    def __init__(self, languages: int, world: World) -> None:
        self._world = world
        # Of the run, in every checkpoint: skipped, in a row, and the moving average with its weight.
        self._kept = torch.zeros(4, dtype=torch.float64, device=world.device)
        # Since the last reading: loss, steps that counted, the last good norm, longest series of skips.
        self._since = torch.zeros(4, dtype=torch.float64, device=world.device)
        self._languages = torch.zeros(2, languages, dtype=torch.float64, device=world.device)
        self._counts = torch.zeros(2, dtype=torch.int64, device=world.device)
        self._steps = 0

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {"run": self._kept}

    def add_batch(self, batch: Batch, nats: Tensor) -> None:
        """Count one rank's micro-batch; `nats` float32[K] are of its predictions."""
        values = nats.detach()
        finite = torch.isfinite(values)
        weights = batch.weights * finite
        languages = batch.languages.long()
        cost = (torch.where(finite, values, 0.0) * weights).double()
        self._languages[0].index_add_(0, languages, cost)
        self._languages[1].index_add_(0, languages, weights.double())
        self._counts[0] += batch.tokens
        self._counts[1] += batch.row_bytes.sum()

    def add_step(self, loss: Tensor, norm: Tensor, skip: Tensor) -> None:
        """Count one step: mean loss and gradient norm over all ranks, and 1.0 where it changed nothing."""
        good = 1.0 - skip.double()
        value = torch.where(good > 0, loss.double(), 0.0)
        skipped, in_a_row, average, weight = self._kept.unbind()
        skipped += skip
        in_a_row.add_(1.0).mul_(skip)
        share = (1.0 - SMOOTHING) * good
        average += share * (value - average)
        weight += share * (1.0 - weight)
        total, counted, last, longest = self._since.unbind()
        total += value
        counted += good
        last.copy_(torch.where(good > 0, norm.double(), last))
        longest.copy_(torch.maximum(longest, in_a_row))
        self._steps += 1

    def read(self) -> Reading:
        """What there is since the last reading, and start anew. Waits for the device; every rank calls."""
        self._world.sum(self._languages)
        self._world.sum(self._counts)
        skipped, in_a_row, average, weight = self._kept.tolist()
        total, counted, last, longest = self._since.tolist()
        nats, weights = self._languages.tolist()
        tokens, size = self._counts.tolist()
        reading = Reading(
            steps=self._steps,
            loss=total / counted if counted else None,
            smoothed=average / weight if weight else None,
            gradient_norm=last if counted else None,
            skipped=int(skipped),
            in_a_row=int(in_a_row),
            longest=int(longest),
            tokens=tokens,
            bytes=size,
            language_losses=tuple(
                cost / count if count else None for cost, count in zip(nats, weights, strict=True)
            ),
        )
        for tensor in (self._since, self._languages, self._counts):
            tensor.zero_()
        self._steps = 0
        return reading


class _Seen:
    """Which ids of text stood in an input, and which had to be predicted: bool[rows] each.

    A piece that masking drew at random in another's place was not in the text: it is not counted as seen.
    """

    def __init__(self, rows: int, world: World, *, causal: bool) -> None:
        self._world = world
        self._causal = causal
        self._rows = rows
        # One place more than there are ids: for predictions that do not count.
        self._input = torch.zeros(rows + 1, dtype=torch.int32, device=world.device)
        self._target = torch.zeros(rows + 1, dtype=torch.int32, device=world.device)

    def add_batch(self, batch: Batch) -> None:
        """Count a micro-batch."""
        ids, counts = batch.ids.long(), batch.weights > 0
        self._target.index_fill_(0, torch.where(counts, batch.targets, self._rows), 1)
        if not self._causal:
            # A place that does not count is the stream's first, which keeps what it has.
            there = ids[batch.chosen]
            drawn = counts & (there != batch.targets)
            ids = ids.scatter(0, batch.chosen, torch.where(drawn, self._rows, there))
        self._input.index_fill_(0, ids, 1)

    def arrays(self) -> dict[str, BoolArray]:
        """`input` and `target` over all ranks, bool[rows]. Waits for the device; every rank calls."""
        found = {}
        for name, tensor in (("input", self._input), ("target", self._target)):
            self._world.sum(tensor)
            tensor.clamp_(max=1)
            found[name] = tensor[:-1].cpu().numpy().astype(np.bool_)
        return found

    def load(self, arrays: dict[str, BoolArray]) -> None:
        """Go on from what a checkpoint holds."""
        for name, tensor in (("input", self._input), ("target", self._target)):
            tensor[:-1] = torch.from_numpy(arrays[name].astype(np.int32)).to(tensor.device)


# --- Stopwatch -------------------------------------------------------------------------------------
# How fast a run goes: the figures of one log line, from what was read and the time it took.


class Stopwatch:
    """Time spent training, without evaluating and saving.

    `flops_per_token` and the device's name give the share of the peak (MFU); None on devices whose peak is not
    known. Tokens are those that are not padding, over all ranks.
    """

    def __init__(self, flops_per_token: float, device: str | None, world: World) -> None:
        self._flops, self._device, self._world = flops_per_token, device, world
        self._since = self._start = time.perf_counter()
        self._waited = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far in this process."""
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in the block does not count."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._since += spent
            self._start += spent

    def describe(
        self, reading: Reading, languages: Sequence[str], rate: float, left: int, waited: float
    ) -> dict[str, object]:
        """The figures of a log line; `left` steps are to go, `waited` seconds data was waited for so far.

        `loss` is a mean over the steps since the last line and their predictions, `loss_smoothed` its moving
        average over about 50 steps; `languages` mean nats of the language's predictions since the last line.
        `data_wait` is this rank's; `peak_memory_gb` that of its device, or of the process where there is none.
        """
        now = time.perf_counter()
        spent = max(now - self._since, 1e-9)
        tokens = reading.tokens / spent
        figures: dict[str, object] = {
            "steps": reading.steps,
            "loss": reading.loss,
            "loss_smoothed": reading.smoothed,
            "lr": rate,
            "grad_norm": reading.gradient_norm,
            "skipped": reading.skipped,
            "tokens_per_s": tokens,
            "bytes_per_s": reading.bytes / spent,
            "mfu": estimate_mfu(self._flops, tokens, self._device, self._world.size),
            "data_wait": min(1.0, (waited - self._waited) / spent),
            "peak_memory_gb": _peak_memory(self._world.device),
            "eta_s": left * spent / reading.steps if reading.steps else None,
            "languages": dict(zip(languages, reading.language_losses, strict=True)),
        }
        self._since, self._waited = now, waited
        return figures


def _peak_memory(device: torch.device) -> float | None:
    """Gigabytes (1e9 bytes) at most in use: allocated on a GPU, resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


# --- Trainer ---------------------------------------------------------------------------------------


COLLECT_EVERY = 1_000
"""Steps between garbage collections."""


class Trainer:
    """A model on its device (sharded where there are several ranks), its optimiser and its meters.

    `note` says why layers are not compiled although the configuration asks for it, else None.
    """

    def __init__(
        self,
        model: Model,
        config: RunConfig,
        stages: Sequence[PlannedStage],
        languages: int,
        new_rows: Tensor | None,
        world: World,
    ) -> None:
        self.config, self.world, self.stages = config, world, stages
        self.rows = model.config.rows
        self.model = model.to(world.device)
        self.note: str | None = None
        training = config.training
        if training.activation_checkpointing:
            model.checkpoint_activations()
        if training.compile:
            self.note = compile_layers(model)
        shard_model(model, model.layers, world, training.precision)
        self.optimizer = Optimizer(model, config.optimizer)
        self.meter = _Meter(languages, world)
        self.seen = _Seen(self.rows, world, causal=model.config.causal)
        self._new_rows = None if new_rows is None else local_rows(new_rows, self.rows, world)
        self._stage: PlannedStage | None = None
        self._trained: frozenset[str] = frozenset()

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds, by name; loading one writes into these."""
        model = {f"model.{name}": value for name, value in self.optimizer.parameters.items()}
        state = {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}
        meter = {f"meter.{name}": value for name, value in self.meter.tensors().items()}
        return {**{name: value.detach() for name, value in model.items()}, **state, **meter}

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        settings = self.config.optimizer
        return settings.rate * rate_factor(settings, self.stages, step, self.stages[-1].stop)

    def train_step(self, step: Step) -> None:
        """Make one step. Every rank divides by the predictions of all, so that each counts alike."""
        stage = find_stage(self.stages, step.number)
        if stage is not self._stage:
            self._enter(stage)
        weight = max(step.weight, 1)
        # FSDP2 averages gradients over ranks; the sum over ranks is wanted.
        scale = self.world.size / weight
        total = torch.zeros((), device=self.world.device)
        training = self.config.training
        for place, batch in enumerate(step.batches):
            if self.world.size > 1:
                cast(Any, self.model).set_requires_gradient_sync(place == len(step.batches) - 1)
            with self.precision():
                loss, nats = self.model(batch, training.head_rows, training.fused_softmax)
            (loss * scale).backward()
            total += loss.detach()
            self.meter.add_batch(batch, nats)
            self.seen.add_batch(batch)
        rows = self._new_rows if stage.train == "new-rows" else None
        gradients = self.optimizer.gradients(self._trained, rows)
        total, norm, skip = clip_gradients(
            gradients.values(), total, self.config.optimizer.clip, self.world
        )
        self.optimizer.step(gradients, self.rate(step.number), rows=rows, skip=skip)
        self.optimizer.clear()
        self.meter.add_step(total / weight, norm, skip)
        if step.number % COLLECT_EVERY == 0:
            gc.collect()

    @contextmanager
    def precision(self) -> Iterator[None]:
        """The arithmetic of forward passes: under FSDP2 parameters arrive in it, alone autocast says it."""
        wanted = self.config.training.precision == "bf16" and self.world.size == 1
        with torch.autocast(self.world.device.type, torch.bfloat16) if wanted else nullcontext():
            yield

    def release(self) -> None:
        """Give back what a forward pass without a backward one left gathered."""
        if self.world.size > 1:
            cast(Any, self.model).reshard()

    def _enter(self, stage: PlannedStage) -> None:
        self._stage = stage
        everything = frozenset(self.optimizer.parameters)
        self._trained = everything if stage.train == "all" else self.optimizer.by_row
        if self.world.size > 1:
            # FSDP2 reads requires_grad once, when it first gathers: gradients are made, and dropped.
            return
        for name, parameter in self.optimizer.parameters.items():
            parameter.requires_grad_(name in self._trained)


@contextmanager
def settled_process(*, deterministic: bool) -> Iterator[None]:
    """Switches of torch and Python as a run wants them, and as they were afterwards.

    Garbage is collected every so many steps alone: otherwise single ranks stop for it at moments of their own.
    """
    collecting, before = gc.isenabled(), torch.are_deterministic_algorithms_enabled()
    gc.disable()
    if deterministic:
        # cuBLAS reads it when its first handle is made; without it torch refuses to multiply.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        if collecting:
            gc.enable()
