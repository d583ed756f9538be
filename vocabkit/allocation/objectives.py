"""Objectives: in which order the pieces of each language enter, as a budget grows.

Every method is a *price* for each piece of each language, never falling along the language's pieces; a budget
takes the cheapest. So sizes grow with the budget, and no language's order matters. With n the language's
place in its curve, p its share, and all curves concave:

    proportional, exponent, unimax   n ÷ p          sizes in proportion to shares (as in weighting)
    vocap     −p^β · ΔALP(n)     maximises Σ p^β ALP, ALP the held-out log likelihood per character
                                 (arXiv 2109.07306; there in-sample, per sentence, p ∝ q^0.7, β = 0.7)
    parity    −tokens per aligned line at n − 1: the language that costs most comes next
    maxmin    −tokens per character at n − 1 ÷ at its largest size; with development text, as parity

Floors have a price of −∞. Ceilings end the list.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vocabkit.allocation.concavity import FloatArray
from vocabkit.allocation.curves import Curve
from vocabkit.allocation.settings import AllocationTable
from vocabkit.core.errors import ConfigError
from vocabkit.corpus.weighting import Mass, weigh_languages

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
) -> dict[str, FloatArray]:
    """Return, by language, the price of each of its pieces up to its ceiling, ascending.

    `lines` is how many aligned lines the development text has, by language; then the curves must be measured
    on that text. Raises `ConfigError` when `parity` has no such text.
    """
    if settings.method == "parity" and lines is None:
        raise ConfigError("parity needs aligned text", "--dev DIR")
    return {
        code: _price(
            curves[code], shares.get(code, 0.0), settings, None if lines is None else lines[code]
        )
        for code in sorted(curves)
    }


def _price(curve: Curve, share: float, settings: AllocationTable, lines: int | None) -> FloatArray:
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


def find_costs(curve: Curve, size: FloatArray, lines: int | None) -> FloatArray:
    """Return what a language costs at sizes: tokens per aligned line, or tokens per character ÷ its best."""
    tokens = -curve.saving.value_at(size)
    if lines is not None:
        # An uncovered character costs a token at least.
        return (tokens * curve.characters + curve.uncovered) / lines
    best: FloatArray = tokens / float(-curve.saving.value[-1])
    return best
