"""Concave curves: what each further piece is worth, from a few measured sizes.

The worth of a vocabulary is measured at some sizes only, with noise, and an allocation needs it at every size,
never rising faster than before: then taking the best next piece again and again is the best allocation. Knows
arrays and nothing of languages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Concave:
    """A rising concave curve through `size` (ascending) and `value`; `slope` is between neighbouring sizes."""

    size: FloatArray
    value: FloatArray
    slope: FloatArray

    def value_at(self, size: FloatArray) -> FloatArray:
        """Return the curve's value, linear in the logarithm of the size; constant outside the points."""
        found: FloatArray = np.interp(np.log(np.maximum(size, 1.0)), np.log(self.size), self.value)
        return found

    def gain_at(self, size: FloatArray) -> FloatArray:
        """Return what one more piece adds at a size: never more at a larger one.

        The slope of each segment stands at its middle and is linear in the logarithm of the size between
        them, so that sizes do not jump from point to point as a price falls.
        """
        if not len(self.slope):
            return np.zeros(len(size))
        middle = (np.log(self.size[:-1]) + np.log(self.size[1:])) / 2.0
        found: FloatArray = np.interp(np.log(np.maximum(size, 1.0)), middle, self.slope)
        return found


def make_concave(size: Int64Array, value: FloatArray) -> Concave:
    """Return the rising concave curve nearest to the points: slopes pooled (weighted by width) until they fall.

    `size` is strictly ascending and positive. Slopes below zero become zero, starting from the first value.
    """
    if len(size) != len(value) or not len(size):
        raise ValueError(
            f"{len(size)} sizes and {len(value)} values: as many of each, at least one"
        )
    if (np.diff(size) <= 0).any() or size[0] < 1:
        raise ValueError("sizes must be positive and ascending")
    width = np.diff(size).astype(np.float64)
    slope = np.maximum(pool_falling(np.diff(value) / width, width), 0.0)
    smooth = value[0] + np.concatenate(([0.0], np.cumsum(slope * width)))
    return Concave(size.astype(np.float64), smooth, slope)


def pool_falling(value: FloatArray, weight: FloatArray) -> FloatArray:
    """Return the non-increasing values nearest to `value` in weighted squares: pool adjacent violators."""
    pooled: list[tuple[float, float, int]] = []
    for here, mass in zip(value.tolist(), weight.tolist(), strict=True):
        mean, total, members = here, mass, 1
        while pooled and pooled[-1][0] < mean:
            before, other, count = pooled.pop()
            mean = (before * other + mean * total) / (other + total)
            total += other
            members += count
        pooled.append((mean, total, members))
    return np.repeat(
        np.array([mean for mean, _, _ in pooled], np.float64),
        np.array([count for _, _, count in pooled], np.int64),
    )
