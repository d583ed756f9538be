"""The steps of a run: forward, backward, one move of the optimiser, and what is measured on the way.

Nothing here waits for the device: losses, norms and skipped steps stay on it until the log asks. A step whose
loss or gradient is not finite changes nothing. When to log, evaluate, save and stop is `loop`'s.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from vocabkit.pretraining.distributed import World, local_rows, shard_model
from vocabkit.pretraining.meter import Meter, Seen
from vocabkit.pretraining.model import Model, compile_layers
from vocabkit.pretraining.optimizer import Optimizer, clip_gradients
from vocabkit.pretraining.prefetch import Step
from vocabkit.pretraining.run_config import RunConfig
from vocabkit.pretraining.schedule import rate_factor
from vocabkit.pretraining.stages import PlannedStage, find_stage

__all__ = ["Trainer", "settled_process"]

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
        self.meter = Meter(languages, world)
        self.seen = Seen(self.rows, world, causal=model.config.causal)
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
