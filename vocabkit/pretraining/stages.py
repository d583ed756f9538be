"""What trains when: new rows first, then the vocabulary's matrices, then all, as `[[stages]]` says.

A stage is a stretch of the run's steps. What does not train in it stays bit for bit as it is: neither its
gradient nor its weight decay nor the momentum of an earlier run moves it (see `optimizer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from vocabkit.core.errors import ConfigError
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.run_config import Stage

__all__ = ["PlannedStage", "find_stage", "plan_stages", "require_new_rows", "vocabulary_names"]

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


def vocabulary_names(model: nn.Module) -> frozenset[str]:
    """The names of the parameters that have a row for every id."""
    found = {id(getattr(model, name, None)) for name in VOCABULARY_PARAMETERS}
    return frozenset(name for name, value in model.named_parameters() if id(value) in found)
