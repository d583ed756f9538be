"""The steps of a run: forward, backward, one move of AdamW, and what is measured on the way.

Nothing here waits for the device: losses, norms and skipped steps stay on it until the log asks. A step whose
loss or gradient is not finite changes nothing. When to log, evaluate, save and stop is `loop`'s.
"""

from __future__ import annotations

import gc
import math
import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from vocabkit.core.arrays import BoolArray
from vocabkit.core.errors import ConfigError, PretrainingError
from vocabkit.pretraining.batches import Batch, Step
from vocabkit.pretraining.distributed import World, local_part, local_rows, shard_model
from vocabkit.pretraining.model import VOCABULARY_PARAMETERS, Model, compile_layers
from vocabkit.pretraining.run_config import OptimizerSettings, RunConfig, Stage, count_falling_steps

# --- Trainer ---------------------------------------------------------------------------------------

_COLLECT_EVERY = 1_000
"""Steps between garbage collections."""


class Trainer:
    """A model on its device (sharded where there are several ranks), its optimiser and its meters.

    `note` says why layers are not compiled although the configuration asks for it, else None.
    """

    def __init__(
        self, model: Model, config: RunConfig, stages: Sequence[PlannedStage], languages: int,
        new_rows: Tensor | None, world: World,
    ) -> None:  # fmt: skip
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
        """Return all that a checkpoint holds, by name; loading one writes into these."""
        model = {f"model.{name}": value.detach() for name, value in self.optimizer.parameters.items()}
        state = {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}
        return {**model, **state, "meter.run": self.meter.kept}

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        settings = self.config.optimizer
        return settings.rate * _learning_rate_factor(settings, self.stages, step, self.stages[-1].stop)

    def train_step(self, step: Step) -> None:
        """Make one step. Every rank divides by the predictions of all, so that each counts alike."""
        stage = _find_stage(self.stages, step.number)
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
        total, norm, skip = _clip_gradients(gradients.values(), total, self.config.optimizer.clip, self.world)
        self.optimizer.step(gradients, self.learning_rate(step.number), rows=rows, skip=skip)
        self.optimizer.clear()
        self.meter.add_step(total / weight, norm, skip)
        if step.number % _COLLECT_EVERY == 0:
            gc.collect()

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Set the arithmetic of forward passes: under FSDP2 parameters arrive in it, alone autocast says it."""
        wanted = self.config.training.precision == "bf16" and self.world.size == 1
        with torch.autocast(self.world.device.type, torch.bfloat16) if wanted else nullcontext():
            yield

    @contextmanager
    def forward_only(self) -> Iterator[None]:
        """Forward passes without a backward one: what these leave gathered on every rank is given back."""
        try:
            with self.precision():
                yield
        finally:
            if self.world.size > 1:
                cast(Any, self.model).reshard()

    def _enter(self, stage: PlannedStage) -> None:
        self._stage, names = stage, self.optimizer.parameters
        self._trained = frozenset(names) if stage.train == "all" else self.optimizer.by_row
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


# --- Stages and schedule ---------------------------------------------------------------------------
# What trains when: new rows first, then the vocabulary's matrices, then all, as `[[stages]]` says. What does
# not train in a stage stays bit for bit as it is: neither its gradient nor its weight decay nor the momentum of
# an earlier run moves it. The learning rate is a function of the step's number alone, so that a resumed run has
# those of one that never stopped.


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage in steps: those from `first` up to `stop`."""

    train: Literal["new-rows", "embeddings", "all"]
    first: int
    stop: int
    rate: float = 1.0


def plan_stages(stages: Sequence[Stage], steps: int) -> tuple[PlannedStage, ...]:
    """Return the stages in steps; one of everything where none is configured. Ends are rounded.

    Raises ConfigError when a share of `steps` is less than one step.
    """
    if not stages:
        return (PlannedStage("all", 0, steps),)
    planned: list[PlannedStage] = []
    first, share = 0, 0.0
    for place, stage in enumerate(stages):
        share += stage.share
        stop = steps if place == len(stages) - 1 else round(share * steps)
        if stop <= first:
            raise ConfigError(
                f"stages[{place}].share = {stage.share}: less than one of {steps} steps",
                "give the stage a larger share, or the run more steps",
            )
        planned.append(PlannedStage(stage.train, first, stop, stage.rate))
        first = stop
    return tuple(planned)


def _find_stage(stages: Sequence[PlannedStage], step: int) -> PlannedStage:
    """Return the stage that a step lies in; the last one for steps after the end."""
    return next((stage for stage in stages if step < stage.stop), stages[-1])


def require_new_rows(stages: Sequence[PlannedStage], new_rows: Tensor | None) -> None:
    """Raise PretrainingError when a stage trains new rows and there is no receipt that names any."""
    if any(stage.train == "new-rows" for stage in stages) and not (new_rows is not None and len(new_rows)):
        raise PretrainingError(
            "a stage trains new-rows, but no receipt says which rows are new",
            "pass --checkpoint a folder written by `vocabkit extend`, or leave the stage out",
        )


def _learning_rate_factor(
    settings: OptimizerSettings, stages: Sequence[PlannedStage], step: int, steps: int
) -> float:
    """Return what `optimizer.rate` is multiplied by in `step`, from 0, of a run of `steps`.

    The shape over the run, times the rate of the stage, times a ramp over the first `warmup` of each stage:
    what has stood still meets its gradients with no momentum, at a stage's start as at a run's.
    `trapezoid` is level, then falls in a straight line over the last `decay` of the run; `linear` and `cosine`
    fall from the end of the first ramp on, and know no `decay`. All end near `final`, which the step after
    the last one would have.
    """
    stage = _find_stage(stages, step)
    ramp, first_ramp = (round(settings.warmup * (each.stop - each.first)) for each in (stage, stages[0]))
    risen = stage.rate * (min(1.0, (step - stage.first + 1) / ramp) if ramp else 1.0)
    falling = count_falling_steps(settings, first_ramp, steps)
    if not falling:
        return risen
    left = min(1.0, (steps - step) / falling)
    if settings.schedule == "cosine":
        left = 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
    return risen * (settings.final + (1.0 - settings.final) * left)


# --- AdamW -----------------------------------------------------------------------------------------
# Loshchilov and Hutter, arXiv:1711.05101.


class Optimizer:
    """AdamW over a model's parameters, with a state that is known before the first step.

    Three things that torch's own class does not do: it trains chosen rows of a matrix and leaves the others bit
    for bit; a step whose loss or gradient is not finite changes nothing, decided on the device; and the state
    is a flat dict of tensors from the start, so that a checkpoint is read straight into it. The arithmetic is
    torch's fused kernel, on the shards of this rank.

    `by_row` names the parameters that have a row for every id. No decay on vectors (biases, norms);
    `embedding_weight_decay` on matrices of the vocabulary; rows that a batch does not hold would otherwise
    shrink between their visits.
    """

    def __init__(self, model: nn.Module, settings: OptimizerSettings) -> None:
        self.settings = settings
        self.parameters = dict(model.named_parameters())
        self.by_row = VOCABULARY_PARAMETERS & self.parameters.keys()
        items, wide = self.parameters.items(), torch.float32
        self.means, self.squares = (
            {name: torch.zeros_like(value, dtype=wide, requires_grad=False) for name, value in items}
            for _ in range(2)
        )
        self.steps = {
            name: torch.zeros((), dtype=wide, device=local_part(value).device) for name, value in items
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state by name: what a checkpoint holds, and is read back into in place."""
        parts = {"exp_avg": self.means, "exp_avg_sq": self.squares, "step": self.steps}
        return {f"{kind}.{name}": part[name] for name in self.parameters for kind, part in parts.items()}

    def gradients(self, names: Container[str], rows: Tensor | None) -> dict[str, Tensor]:
        """Return this rank's gradients of what trains: of `rows` alone (numbers in its shard) where given.

        In the model's order, whatever that of `names`: a set of words has another one in every process, and
        sums over gradients would differ in their last bit. A parameter that no part of the batch touched has
        none, and does not move.
        """
        made = {name: value.grad for name, value in self.parameters.items() if name in names}
        parts = {name: local_part(gradient) for name, gradient in made.items() if gradient is not None}
        return parts if rows is None else {name: part[rows] for name, part in parts.items()}

    @torch.no_grad()
    def step(
        self, gradients: Mapping[str, Tensor], learning_rate: float, *,
        rows: Tensor | None = None, skip: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Move what has a gradient, unless `skip` (float32 scalar on the device) is 1.

        With `rows`, gradients are of those rows, and only they move.
        """
        groups: dict[float, list[str]] = defaultdict(list)
        for name, gradient in gradients.items():
            if gradient.numel():
                groups[self._decay(name)].append(name)
            else:
                # No row of it is in this rank's shard; the count is every rank's.
                self.steps[name] += 1.0 if skip is None else 1.0 - skip
        for decay, names in groups.items():
            # This rank's shards of each parameter and of its moments.
            held = [
                [local_part(part[name]).detach() for part in (self.parameters, self.means, self.squares)]
                for name in names
            ]
            moved = held if rows is None else [[part[rows] for part in parts] for parts in held]
            values, means, squares = map(list, zip(*moved, strict=True))
            adamw(
                values, [gradients[name].to(torch.float32) for name in names], means, squares, [],
                [self.steps[name] for name in names], fused=True, found_inf=skip, amsgrad=False,
                beta1=self.settings.betas[0], beta2=self.settings.betas[1], lr=learning_rate,
                weight_decay=decay, eps=self.settings.epsilon, maximize=False,
            )  # fmt: skip
            if rows is not None:
                for whole, part in zip(chain(*held), chain(*moved), strict=True):
                    whole.index_copy_(0, rows, part)

    def clear(self) -> None:
        """Let go of the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def _decay(self, name: str) -> float:
        if self.parameters[name].ndim < 2:
            return 0.0
        if name in self.by_row:
            return self.settings.embedding_weight_decay
        return self.settings.weight_decay


def _clip_gradients(
    gradients: Iterable[Tensor], loss: Tensor, limit: float, world: World
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale gradients in place to a global norm of at most `limit`; 0 clips nothing.

    Returns the loss summed over ranks, the norm before clipping, and 1.0 where either is not finite, else 0.0:
    float32 scalars on the device, equal on every rank; nothing waits for the device.
    """
    parts = [gradient for gradient in gradients if gradient.numel()]
    squares = torch.zeros((), device=loss.device)
    if parts:
        squares = torch.stack([norm.float() for norm in torch._foreach_norm(parts)]).square().sum()
    sums = world.sum(torch.stack([loss.detach().float(), squares]))
    total, norm = sums[0], sums[1].sqrt()
    skip = (~(torch.isfinite(total) & torch.isfinite(norm))).to(torch.float32)
    if limit > 0 and parts:
        torch._foreach_mul_(parts, (limit / (norm + 1e-6)).clamp(max=1.0))
    return total, norm, skip


# --- Meter -----------------------------------------------------------------------------------------
# Sums on the device: losses, steps that were skipped, ids that were seen. Nothing waits for it but
# `_Meter.read`, once a log line, and `_Seen.arrays`, once a checkpoint.

_SMOOTHING = 0.98
"""Share that a step leaves to those before it in the moving average: about the last 50 steps count."""


@dataclass(frozen=True, slots=True)
class _Reading:
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
        self.kept = torch.zeros(4, dtype=torch.float64, device=world.device)
        # Since the last reading: loss, steps that counted, the last good norm, longest series of skips.
        self._since = torch.zeros(4, dtype=torch.float64, device=world.device)
        self._languages = torch.zeros(2, languages, dtype=torch.float64, device=world.device)
        self._counts = torch.zeros(2, dtype=torch.int64, device=world.device)
        self._steps = 0

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
        skipped, in_a_row, average, weight = self.kept.unbind()
        skipped += skip
        in_a_row.add_(1.0).mul_(skip)
        share = (1.0 - _SMOOTHING) * good
        average += share * (value - average)
        weight += share * (1.0 - weight)
        total, counted, last, longest = self._since.unbind()
        total += value
        counted += good
        last.copy_(torch.where(good > 0, norm.double(), last))
        longest.copy_(torch.maximum(longest, in_a_row))
        self._steps += 1

    def read(self) -> _Reading:
        """Return what there is since the last reading. Waits for the device; every rank calls."""
        self._world.sum(self._languages)
        self._world.sum(self._counts)
        skipped, in_a_row, average, weight = self.kept.tolist()
        total, counted, last, longest = self._since.tolist()
        nats, weights = self._languages.tolist()
        tokens, size = self._counts.tolist()
        losses = (cost / count if count else None for cost, count in zip(nats, weights, strict=True))
        reading = _Reading(
            self._steps, total / counted if counted else None, average / weight if weight else None,
            last if counted else None, int(skipped), int(in_a_row), int(longest), tokens, size, tuple(losses),
        )  # fmt: skip
        for tensor in (self._since, self._languages, self._counts):
            tensor.zero_()
        self._steps = 0
        return reading


class _Seen:
    """Which ids of text stood in an input, and which had to be predicted: bool[rows] each.

    A piece that masking drew at random in another's place was not in the text: it is not counted as seen.
    """

    def __init__(self, rows: int, world: World, *, causal: bool) -> None:
        self._world, self._causal, self._rows = world, causal, rows
        # One place more than there are ids: for predictions that do not count.
        self._input, self._target = torch.zeros(2, rows + 1, dtype=torch.int32, device=world.device)

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
            if len(arrays[name]) != self._rows:
                what = f"the checkpoint tells of {len(arrays[name]):,} ids, and the model has {self._rows:,}"
                raise PretrainingError(what, "start the run anew")
            tensor[:-1] = torch.from_numpy(arrays[name].astype(np.int32)).to(tensor.device)
