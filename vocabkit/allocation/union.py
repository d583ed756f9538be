"""The union: a budget of pieces filled exactly, and who got which.

Languages share pieces, so sizes that add up to a budget make a smaller vocabulary. Pieces of all languages are
taken by price until the *distinct* ones are the budget, one by one; each is then given to one language.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from vocabkit.allocation.curves import Curve
from vocabkit.core.arrays import Float64Array, Int64Array
from vocabkit.core.config import Config
from vocabkit.core.errors import ConfigError, FitError
from vocabkit.corpus.weighting import Mass, weigh_languages

# --- Settings --------------------------------------------------------------------------------------

Method = Literal["proportional", "exponent", "unimax", "vocap", "parity", "maxmin"]
Unit = Literal["characters", "bytes", "words"]

EXPONENTS = {"exponent": 0.3, "vocap": 0.7}
"""What `exponent` = none means: that of XLM-R's vocabulary, and that of VoCap's language probabilities."""


class AllocationTable(Config):
    """How a budget of pieces is shared out among languages."""

    method: Method = "proportional"
    """What the next piece goes by (docs/allocate.md)."""
    unit: Unit = "characters"
    """What `proportional`, `exponent`, `unimax` and `vocap` take for a language's size."""
    exponent: float | None = Field(default=None, ge=0.0, le=1.0)
    """The power of a language's share, for `exponent` (0.3 by default) and `vocap` (0.7)."""
    max_epochs: float = Field(default=4.0, ge=1.0)
    """How often unimax may count a language's text over."""
    beta: float = Field(default=0.7, gt=0.0, le=1.0)
    """The power of a language's probability in what vocap maximises."""
    floor: int = Field(default=0, ge=0)
    """Fewest pieces of a language; never fewer than its covered characters."""
    ceiling: int = Field(default=0, ge=0)
    """Most pieces of a language; 0 is what its text supports."""
    cap: int = Field(default=0, ge=0, le=2_000_000)
    """The largest size that a curve is traced to; 0 goes by the budget."""
    dev: str = ""
    """A corpus of aligned lines, for parity and maxmin."""
    dev_lines: int = Field(default=0, ge=0)
    """The first so many lines of it; 0 is all."""
    dev_field: str = ""
    """What holds the text of its records."""

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


# --- Union -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """Who got how much. `languages` are sorted by code; arrays run along them, or along `pieces`.

    `lexicon` is the size of each language's own vocabulary, the first pieces of its curve: it sums to more
    than the budget where languages share. `attributed` gives each of the `pieces` to the language with the
    largest weighted expected count: it sums to the budget. `alone` counts the pieces no other language
    has. `pieces` are in the order in which they were taken, `owner` indexes `languages`, `count` is the
    weighted expected count of each over the languages that have it.
    """

    languages: tuple[str, ...]
    lexicon: Int64Array
    attributed: Int64Array
    alone: Int64Array
    pieces: tuple[str, ...]
    owner: Int64Array
    count: Float64Array

    @property
    def budget(self) -> int:
        """The number of pieces."""
        return len(self.pieces)


def allocate(
    curves: Mapping[str, Curve],
    prices: Mapping[str, Float64Array],
    budget: int,
    *,
    weights: Mapping[str, float] | None = None,
    deny: Collection[str] = (),
) -> Allocation:
    """Take the cheapest pieces until `budget` distinct ones are in.

    `prices` ascend along each language's pieces and may end before them; −∞ must be in. Equal prices go by
    size, then language code. `weights` multiply the languages' counts where pieces are attributed.
    `deny` are pieces of two and more characters never taken. Raises `FitError` when the budget cannot hold what
    must be in, or the languages cannot fill it.
    """
    languages = tuple(sorted(curves))
    numbers: dict[str, int] = {}
    refused = set(deny)
    price: list[Float64Array] = []
    number: list[Int64Array] = []
    count: list[Float64Array] = []
    for code in languages:
        curve, known = curves[code], prices[code]
        taken = curve.pieces[: len(known)]
        number.append(np.fromiter((numbers.setdefault(p, len(numbers)) for p in taken), np.int64, len(taken)))
        weight = 1.0 if weights is None else weights[code]
        count.append(weight * curve.count[: len(known)])
        if refused:
            known = np.array([np.nan if p in refused else v for p, v in zip(taken, known, strict=True)])
        price.append(known)
    lengths = [len(part) for part in price]
    every = np.concatenate(price)
    ids, counts = np.concatenate(number), np.concatenate(count)
    place = np.concatenate([np.arange(n) for n in lengths])
    owner = np.repeat(np.arange(len(languages)), lengths)
    order = np.lexsort((owner, place, every))
    order = order[: len(order) - int(np.isnan(every).sum())]
    is_new = np.zeros(len(order), np.bool_)
    is_new[np.unique(ids[order], return_index=True)[1]] = True
    distinct = np.cumsum(is_new)
    _check_budget(budget, int(distinct[-1]), int(is_new[every[order] == -np.inf].sum()))
    # Up to the next new piece: those in between are in already and cost a language nothing.
    order = order[: int(np.searchsorted(distinct, budget, side="right"))]
    is_new = is_new[: len(order)]
    names = list(numbers)
    chosen = ids[order]
    # Each piece to the language with the largest count; of equal ones the first by code.
    ranked = np.lexsort((owner[order], -counts[order], chosen))
    first = np.ones(len(ranked), np.bool_)
    first[1:] = np.diff(chosen[ranked]) > 0
    holder = np.zeros(len(names), np.int64)
    holder[chosen[ranked[first]]] = owner[order][ranked[first]]
    pooled, holders = np.zeros(len(names)), np.bincount(chosen, minlength=len(names))
    np.add.at(pooled, chosen, counts[order])
    union = chosen[is_new]
    lexicon, attributed, alone = (
        np.bincount(owners, minlength=len(languages)).astype(np.int64)
        for owners in (owner[order], holder[union], owner[order][holders[chosen] == 1])
    )
    pieces = tuple(names[k] for k in union.tolist())
    return Allocation(languages, lexicon, attributed, alone, pieces, holder[union], pooled[union])


def _check_budget(budget: int, possible: int, required: int) -> None:
    if budget < required:
        raise FitError(
            f"{budget:_} pieces cannot hold the {required:_} that the floors ask for "
            "(every language's covered characters at least)",
            "raise the budget, or lower allocation.floor",
        )
    if budget > possible:
        raise FitError(
            f"these languages can fill {possible:_} pieces, not {budget:_}",
            f"lower the budget to {possible:_}, raise allocation.cap or ceiling, or count more text",
        )


# --- Prices ----------------------------------------------------------------------------------------
# In which order the pieces of each language enter, as a budget grows.
#
# Every method is a *price* for each piece of each language, never falling along the language's pieces; a budget
# takes the cheapest. So sizes grow with the budget, and no language's order matters. With n the language's
# place in its curve, p its share, and all curves concave:
#
#     proportional, exponent, unimax   n ÷ p          sizes in proportion to shares (as in weighting)
#     vocap     −p^β · ΔALP(n)     maximises Σ p^β ALP, ALP the held-out log likelihood per character
#                                  (arXiv 2109.07306; there in-sample, per sentence, p ∝ q^0.7, β = 0.7)
#     parity    −tokens per aligned line at n − 1: the language that costs most comes next
#     maxmin    −tokens per character at n − 1 ÷ at its largest size; with development text, as parity
#
# Floors have a price of −∞. Ceilings end the list.

_NO_LIMIT = 1e12
"""Shares of a vocabulary count no sentence twice, so no oversampling limit applies to them."""


def find_shares(masses: Mapping[str, Mass], settings: AllocationTable) -> dict[str, float]:
    """Return each language's share p under the method, summing to one; none for `parity` and `maxmin`.

    Raises `ConfigError`.
    """
    if settings.method in ("parity", "maxmin"):
        return {}
    sizes = {code: float(getattr(mass, settings.unit)) for code, mass in masses.items()}
    if settings.method == "unimax":
        found = weigh_languages(sizes, "unimax", max_epochs=settings.max_epochs, limit=_NO_LIMIT)
    else:
        found = weigh_languages(sizes, "exponent", exponent=settings.power, limit=_NO_LIMIT)
    return {row.language: row.target_share for row in found.rows}


def price_pieces(
    curves: Mapping[str, Curve],
    shares: Mapping[str, float],
    settings: AllocationTable,
    lines: Mapping[str, int] | None = None,
) -> dict[str, Float64Array]:
    """Return, by language, the price of each of its pieces up to its ceiling, ascending.

    `lines` is how many aligned lines the development text has, by language; then the curves must be measured
    on that text. Raises `ConfigError` when `parity` has no such text.
    """
    if settings.method == "parity" and lines is None:
        raise ConfigError("parity needs aligned text", "--dev DIR")
    return {
        code: _price(curves[code], shares.get(code, 0.0), settings, None if lines is None else lines[code])
        for code in sorted(curves)
    }


def _price(curve: Curve, share: float, settings: AllocationTable, lines: int | None) -> Float64Array:
    floor = min(max(curve.alphabet, settings.floor), len(curve))
    ceiling = min(len(curve), max(settings.ceiling, floor)) if settings.ceiling else len(curve)
    size = np.arange(1, ceiling + 1, dtype=np.float64)
    if settings.method in ("proportional", "exponent", "unimax"):
        price = size / share
    elif settings.method == "vocap":
        price = -(share**settings.beta) * curve.worth.gain_at(size)
    else:
        price = -find_costs(curve, size - 1.0, lines)
    price[:floor] = -np.inf
    return price


def find_costs(curve: Curve, size: Float64Array, lines: int | None) -> Float64Array:
    """Return what a language costs at sizes: tokens per aligned line, or tokens per character ÷ its best."""
    tokens = -curve.saving.value_at(size)
    if lines is not None:
        # An uncovered character costs a token at least.
        return (tokens * curve.characters + curve.uncovered) / lines
    best: Float64Array = tokens / float(-curve.saving.value[-1])
    return best
