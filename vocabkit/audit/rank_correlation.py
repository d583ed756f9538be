"""Spearman's rank correlation over languages, with an interval by resampling the languages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vocabkit.audit.bootstrap import bound, divide

FloatArray = npt.NDArray[np.float64]
FEWEST = 5
"""Fewest languages for a correlation: with four, a twelfth of all orders are as extreme as can be."""


def rank_values(values: FloatArray) -> FloatArray:
    """Return the ranks from 1 along the last axis, equal values sharing the mean of theirs."""
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    fresh = np.ones(values.shape, np.bool_)
    fresh[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    # Of each run of equal values the first place, and the place after its last, carried to all of it.
    places = np.arange(values.shape[-1])
    first = np.maximum.accumulate(np.where(fresh, places, 0), axis=-1)
    ends = np.ones(values.shape, np.bool_)
    ends[..., :-1] = fresh[..., 1:]
    last = np.where(ends, places, values.shape[-1])
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(values.shape, np.float64)
    np.put_along_axis(ranks, order, (first + last) / 2.0 + 1.0, axis=-1)
    return ranks


def correlate_ranks(x: FloatArray, y: FloatArray) -> float | None:
    """Return Spearman's ρ, Pearson's r of the ranks; None below five pairs or where one side is all equal."""
    if len(x) < FEWEST:
        return None
    found = float(_correlate(x, y))
    return found if np.isfinite(found) else None


def _correlate(x: FloatArray, y: FloatArray) -> FloatArray:
    """Spearman's ρ along the last axis; NaN where one side is all equal."""
    a, b = rank_values(x), rank_values(y)
    a -= a.mean(axis=-1, keepdims=True)
    b -= b.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return divide(np.asarray((a * b).sum(axis=-1)), np.asarray(scale))


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
    found = _correlate(x[drawn], y[drawn])
    kept = found[np.isfinite(found)]
    return bound(kept) if len(kept) >= 0.95 * resamples else (None, None)
