"""AdamW (Loshchilov and Hutter, arXiv:1711.05101) with a state that is known before the first step.

Three things that torch's own class does not do: it trains chosen rows of a matrix and leaves the others bit
for bit; a step whose loss or gradient is not finite changes nothing, decided on the device; and the state
is a flat dict of tensors from the start, so that a checkpoint is read straight into it. The arithmetic is
torch's fused kernel, on the shards of this rank. Schedules are in `schedule`, what trains in `stages`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from vocabkit.core.errors import ConfigError, PretrainingError
from vocabkit.pretraining.distributed import World, local_part
from vocabkit.pretraining.run_config import OptimizerSettings, Stage

# --- Stages ----------------------------------------------------------------------------------------
# What trains when: new rows first, then the vocabulary's matrices, then all, as `[[stages]]` says.
#
# A stage is a stretch of the run's steps. What does not train in it stays bit for bit as it is: neither its
# gradient nor its weight decay nor the momentum of an earlier run moves it (see `optimizer`).


VOCABULARY_PARAMETERS = ("table", "output", "output_bias")
"""The attributes of a model whose first dimension is the vocabulary."""


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage in steps: those from `first` up to `stop`."""

    train: Literal["new-rows", "embeddings", "all"]
    first: int
    stop: int
    rate: float = 1.0


def plan_stages(stages: Sequence[Stage], steps: int) -> tuple[PlannedStage, ...]:
    """The stages in steps; one of everything where none is configured. Ends are rounded, so nothing is lost.

    Raises ConfigError when a share of `steps` is less than one step.
    """
    if not stages:
        return (PlannedStage("all", 0, steps),)
    planned: list[PlannedStage] = []
    share = 0.0
    for place, stage in enumerate(stages):
        share += stage.share
        first = planned[-1].stop if planned else 0
        stop = steps if place == len(stages) - 1 else round(share * steps)
        if stop <= first:
            raise ConfigError(
                f"stages[{place}].share = {stage.share}: less than one of {steps} steps",
                "give the stage a larger share, or the run more steps",
            )
        planned.append(PlannedStage(stage.train, first, stop, stage.rate))
    return tuple(planned)


def find_stage(stages: Sequence[PlannedStage], step: int) -> PlannedStage:
    """The stage that a step lies in; the last one for steps after the end."""
    return next((stage for stage in stages if step < stage.stop), stages[-1])


def require_new_rows(stages: Sequence[PlannedStage], new_rows: Tensor | None) -> None:
    """Raise PretrainingError when a stage trains new rows and there is no receipt that names any."""
    if any(stage.train == "new-rows" for stage in stages) and not (
        new_rows is not None and len(new_rows)
    ):
        raise PretrainingError(
            "a stage trains new-rows, but no receipt says which rows are new",
            "pass --checkpoint a folder written by `vocabkit extend`, or leave the stage out",
        )


def _vocabulary_names(model: nn.Module) -> frozenset[str]:
    """The names of the parameters that have a row for every id."""
    found = {id(getattr(model, name, None)) for name in VOCABULARY_PARAMETERS}
    return frozenset(name for name, value in model.named_parameters() if id(value) in found)


# --- Optimizer -------------------------------------------------------------------------------------


class Optimizer:
    """AdamW over a model's parameters.

    No decay on vectors (biases, norms); `embedding_weight_decay` on matrices of the vocabulary; rows that a
    batch does not hold would otherwise shrink between their visits.
    """

    def __init__(self, model: nn.Module, settings: OptimizerSettings) -> None:
        self.settings = settings
        self.parameters = dict(model.named_parameters())
        self.by_row = _vocabulary_names(model)
        self.means = {name: _zeros(value) for name, value in self.parameters.items()}
        self.squares = {name: _zeros(value) for name, value in self.parameters.items()}
        self.steps = {
            name: torch.zeros((), dtype=torch.float32, device=local_part(value).device)
            for name, value in self.parameters.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """The whole state by name: what a checkpoint holds, and is read back into in place."""
        found: dict[str, Tensor] = {}
        for name in self.parameters:
            found[f"exp_avg.{name}"] = self.means[name]
            found[f"exp_avg_sq.{name}"] = self.squares[name]
            found[f"step.{name}"] = self.steps[name]
        return found

    def gradients(self, names: Container[str], rows: Tensor | None) -> dict[str, Tensor]:
        """This rank's gradients of what trains: of `rows` alone (numbers in its shard) where they are given.

        In the model's order, whatever that of `names`: a set of words has another one in every process, and
        sums over gradients would differ in their last bit. A parameter that no part of the batch touched has
        none, and does not move.
        """
        found: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            gradient = parameter.grad if name in names else None
            if gradient is not None:
                part = local_part(gradient)
                found[name] = part if rows is None else part[rows]
        return found

    @torch.no_grad()
    def step(
        self,
        gradients: Mapping[str, Tensor],
        rate: float,
        *,
        rows: Tensor | None = None,
        skip: Tensor | None = None,
    ) -> None:
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
            places = [self._place(name, rows) for name in names]
            adamw(
                [place[0] for place in places],
                [gradients[name].to(torch.float32) for name in names],
                [place[1] for place in places],
                [place[2] for place in places],
                [],
                [self.steps[name] for name in names],
                fused=True,
                found_inf=skip,
                amsgrad=False,
                beta1=self.settings.betas[0],
                beta2=self.settings.betas[1],
                lr=rate,
                weight_decay=decay,
                eps=self.settings.epsilon,
                maximize=False,
            )
            if rows is not None:
                for name, place in zip(names, places, strict=True):
                    for whole, part in zip(self._whole(name), place, strict=True):
                        whole.index_copy_(0, rows, part)

    def clear(self) -> None:
        """Let go of the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def _whole(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        held = (self.parameters[name].detach(), self.means[name], self.squares[name])
        return local_part(held[0]), local_part(held[1]), local_part(held[2])

    def _place(self, name: str, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        whole = self._whole(name)
        return whole if rows is None else (whole[0][rows], whole[1][rows], whole[2][rows])

    def _decay(self, name: str) -> float:
        if self.parameters[name].ndim < 2:
            return 0.0
        if name in self.by_row:
            return self.settings.embedding_weight_decay
        return self.settings.weight_decay


def clip_gradients(
    gradients: Iterable[Tensor], loss: Tensor, limit: float, world: World
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale gradients in place to a global norm of at most `limit`; 0 clips nothing.

    Returns the loss summed over ranks, the norm before clipping, and 1.0 where either is not finite, else 0.0:
    float32 scalars on the device, equal on every rank; nothing waits for the device.
    """
    parts = [gradient for gradient in gradients if gradient.numel()]
    sums = torch.stack([loss.detach().float(), _squared_norm(parts, loss.device)])
    world.sum(sums)
    total, norm = sums[0], sums[1].sqrt()
    skip = (~(torch.isfinite(total) & torch.isfinite(norm))).to(torch.float32)
    if limit > 0 and parts:
        torch._foreach_mul_(parts, (limit / (norm + 1e-6)).clamp(max=1.0))
    return total, norm, skip


def _squared_norm(parts: list[Tensor], device: torch.device) -> Tensor:
    if not parts:
        return torch.zeros((), device=device)
    norms = torch._foreach_norm(parts)
    return torch.stack([norm.float() for norm in norms]).square().sum()


def _zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, dtype=torch.float32, requires_grad=False)


# --- Schedule --------------------------------------------------------------------------------------
# The learning rate of every step, as a factor of the configured one: a pure function of the step's number.
#
# Nothing is carried from step to step, so that a resumed run has the rates of one that never stopped.


def rate_factor(
    settings: OptimizerSettings, stages: Sequence[PlannedStage], step: int, steps: int
) -> float:
    """What `optimizer.rate` is multiplied by in `step`, from 0, of a run of `steps`.

    The shape over the run, times the rate of the stage, times a ramp over the first `warmup` of each stage:
    what has stood still meets its gradients with no momentum, at a stage's start as at a run's.
    `trapezoid` is level, then falls in a straight line over the last `decay` of the run; `linear` and `cosine`
    fall from the end of the first ramp on, and know no `decay`. All end near `final`, which the step after
    the last one would have.
    """
    stage = find_stage(stages, step)
    ramp = _ramp_steps(settings, stage)
    rise = min(1.0, (step - stage.first + 1) / ramp) if ramp else 1.0
    first_ramp = _ramp_steps(settings, stages[0])
    return rise * stage.rate * _shape(settings, step, steps, first_ramp)


def _ramp_steps(settings: OptimizerSettings, stage: PlannedStage) -> int:
    return round(settings.warmup * (stage.stop - stage.first))


def _shape(settings: OptimizerSettings, step: int, steps: int, ramp: int) -> float:
    if settings.schedule == "constant":
        return 1.0
    falling = round(settings.decay * steps) if settings.schedule == "trapezoid" else steps - ramp
    if falling <= 0:
        return 1.0
    left = min(1.0, (steps - step) / falling)
    if settings.schedule == "cosine":
        left = 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
    return settings.final + (1.0 - settings.final) * left
