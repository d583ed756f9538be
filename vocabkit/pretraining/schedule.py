"""The learning rate of every step, as a factor of the configured one: a pure function of the step's number.

Nothing is carried from step to step, so that a resumed run has the rates of one that never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vocabkit.pretraining.run_config import OptimizerSettings
from vocabkit.pretraining.stages import PlannedStage, find_stage

__all__ = ["rate_factor"]


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
