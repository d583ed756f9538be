"""What an initialiser may use beside the old rows: tokenizers, a donor space, text, a seed and options.

Holds data and the reading of `name:key=value` as typed on the command line; no method is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vocabkit.core.errors import ConfigError
from vocabkit.core.progress import Progress, Silent
from vocabkit.extension.plan_types import FloatArray, Int64Array, RowPlan
from vocabkit.vocabulary.tokenizers import Tokenizer

Role = Literal["input", "output", "tied"]


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """Vectors of another model for its own tokens: `rows` float32[ids, k], in the role of those to be made."""

    rows: FloatArray
    tokenizer: Tokenizer
    name: str = "donor"


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """All that initialisers use beside the plan and the old rows.

    `role` says what the matrix does: look tokens up (`input`), predict them (`output`), or both (`tied`).
    `lines` is text for the methods that learn from some; `model` the folder of the checkpoint, for `distill`.
    """

    old_tokenizer: Tokenizer
    new_tokenizer: Tokenizer | None = None
    role: Role = "input"
    donor: Donor | None = None
    lines: tuple[str, ...] = ()
    model: Path | None = None
    seed: int = 0
    options: Mapping[str, float] = field(default_factory=dict)
    progress: Progress = field(default_factory=Silent)

    def option(self, name: str, default: float) -> float:
        """The option's value where one was given."""
        return float(self.options.get(name, default))

    def whole(self, name: str, default: int, least: int = 1) -> int:
        """The option as a whole number. Raises ConfigError for a fraction, or below `least`."""
        value = self.option(name, default)
        if value != int(value) or value < least:
            raise ConfigError(
                f"{name}={value:g}: must be a whole number, {least} or more",
                f"write {name}={max(default, least)}, or leave it out",
            )
        return int(value)

    def generator(self) -> np.random.Generator:
        """A generator of its own for every role, so that a head is not its embedding's copy."""
        return np.random.default_rng([self.seed, ("input", "output", "tied").index(self.role)])


def list_new(plan: RowPlan) -> Int64Array:
    """The new ids that keep no old row, in ascending order."""
    return np.flatnonzero(plan.kept < 0).astype(np.int64)


def parse_method(text: str) -> tuple[str, dict[str, float]]:
    """Return the name and the options of `name` or `name:key=value,key=value`.

    Raises ConfigError for an option that is no number.
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, float] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        try:
            options[key.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise ConfigError(
                f"initialiser {text!r}: the option {part!r} is no number",
                "write it as multivariate:scale=0.5",
            ) from None
    return name, options
