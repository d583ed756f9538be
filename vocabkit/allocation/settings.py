"""The allocation table of a configuration: which method, and its limits."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vocabkit.core.config import Config

Method = Literal["proportional", "exponent", "unimax", "vocap", "parity", "maxmin"]
Unit = Literal["characters", "bytes", "words"]

EXPONENTS = {"exponent": 0.3, "vocap": 0.7}
"""What `exponent` = none means: that of XLM-R's vocabulary, and that of VoCap's language probabilities."""


class AllocationTable(Config):
    """How a budget of pieces is shared out among languages.

    `unit` is what `proportional`, `exponent`, `unimax` and `vocap` take for a language's size. `floor` is the
    fewest pieces of a language (its covered alphabet at least), `ceiling` the most (0: what its text supports).
    `cap` is the largest size a curve is traced to (0: by the budget). `dev` is a folder of aligned lines,
    of which `dev_lines` are read (0: all).
    """

    method: Method = "proportional"
    unit: Unit = "characters"
    exponent: float | None = Field(default=None, ge=0.0, le=1.0)
    max_epochs: float = Field(default=4.0, ge=1.0)
    beta: float = Field(default=0.7, gt=0.0, le=1.0)
    floor: int = Field(default=0, ge=0)
    ceiling: int = Field(default=0, ge=0)
    cap: int = Field(default=0, ge=0, le=2_000_000)
    dev: str = ""
    dev_lines: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.ceiling and self.floor > self.ceiling:
            raise ValueError(f"floor = {self.floor} is above ceiling = {self.ceiling}")
        if self.method == "parity" and not self.dev:
            raise ValueError("parity needs aligned text: allocation.dev = 'DIR', or --dev DIR")
        if self.exponent is not None and self.method not in EXPONENTS:
            raise ValueError(f"exponent is for exponent and vocap, method is {self.method!r}")
        return self

    @property
    def power(self) -> float:
        """The exponent in force."""
        return EXPONENTS.get(self.method, 1.0) if self.exponent is None else self.exponent

    def choose_cap(self, budget: int, languages: int) -> int:
        """Return the largest size to trace: eight even shares, at least 60,000, but no more than the budget.

        Rounded up to 6,250 · 2^k, so that most other budgets find the curves of this one.
        """
        if self.cap:
            return self.cap
        wanted = min(budget, max(60_000, 8 * budget // max(languages, 1)))
        cap = 6_250
        while cap < wanted:
            cap *= 2
        return cap
