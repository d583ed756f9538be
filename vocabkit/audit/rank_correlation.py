"""Spearman's rank correlation over languages, with an interval by resampling the languages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vocabkit.audit.bootstrap import bound

FloatArray = npt.NDArray[np.float64]
FEWEST = 5
"""Fewest languages for a correlation: with four, a twelfth of all orders are as extreme as can be."""


def rank_values(values: FloatArray) -> FloatArray:
    """Return the ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse], dtype=np.float64)


def correlate_ranks(x: FloatArray, y: FloatArray) -> float | None:
    """Return Spearman's ρ, Pearson's r of the ranks; None below five pairs or where one side is all equal."""
    if len(x) < FEWEST:
        return None
    a, b = rank_values(x), rank_values(y)
    a -= a.mean()
    b -= b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0.0 else None


def bound_correlation(
    x: FloatArray, y: FloatArray, resamples: int, seed: int
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of ρ, the pairs resampled; resamples without a ρ (all equal) are left out.

    (None, None) where more than one resample in twenty has none.
    """
    if correlate_ranks(x, y) is None or resamples < 2:
        return None, None
    generator = np.random.default_rng([seed, len(x)])
    drawn = generator.integers(0, len(x), size=(resamples, len(x)))
    found = [correlate_ranks(x[rows], y[rows]) for rows in drawn]
    kept = np.array([value for value in found if value is not None])
    return bound(kept) if len(kept) >= 0.95 * resamples else (None, None)
