"""Curves made in-process, without a fit."""

from __future__ import annotations

import numpy as np

from vocabkit.allocation.curves import Curve
from vocabkit.corpus.weighting import Mass


def make_curve(
    language: str,
    pieces: list[str],
    *,
    alphabet: int = 1,
    count: list[float] | None = None,
    steep: float = 1.0,
    limited: bool = True,
) -> Curve:
    """Return a curve whose likelihood rises and whose tokens fall with the logarithm of the size."""
    size = np.unique(np.geomspace(alphabet, max(len(pieces), alphabet + 1), 9).astype(np.int64))
    progress = np.log(size / alphabet)
    return Curve(
        language,
        alphabet,
        tuple(pieces),
        np.array(count if count is not None else range(len(pieces), 0, -1), np.float64),
        size,
        -4.0 + steep * progress,
        1.0 / (1.0 + steep * progress),
        "held_out",
        1_000.0,
        0.0,
        ((2, len(pieces)),),
        limited,
    )


def make_mass(language: str, characters: int) -> Mass:
    return Mass(language, 10, characters // 5, characters, 2 * characters)
