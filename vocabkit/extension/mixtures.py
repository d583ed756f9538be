"""New rows as weighted sums of old rows: which, how much, and the sum itself.

A mixture is what a receipt keeps of a row. The sum is made in float64 and rounded once, so that it comes
out the same from the receipt, whatever the size of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.extension.plan_types import BoolArray, FloatArray, Int64Array

# Numbers of old rows held in float64 at a time, 16 MB.
_BLOCK = 1 << 21


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Row i is Σ `weights[j]` · old row `ids[j]` for j from `offsets[i]` up to `offsets[i + 1]`."""

    ids: Int64Array
    weights: FloatArray
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64Array:
        """How many old rows each row is made from."""
        return np.diff(self.offsets)

    @property
    def empty(self) -> BoolArray:
        """The rows that are made from none."""
        return np.asarray(self.lengths == 0)

    def to_list(self) -> list[tuple[Int64Array, FloatArray]]:
        """The ids and weights row by row."""
        pairs = zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)
        return [(self.ids[a:b], self.weights[a:b]) for a, b in pairs]

    def fill(self, other: Mixture) -> Mixture:
        """This mixture, with `other`'s rows where this one has none."""
        mine, theirs = self.to_list(), other.to_list()
        return make_mixture(
            own if len(own[0]) else spare for own, spare in zip(mine, theirs, strict=True)
        )


def make_mixture(
    rows: Iterable[tuple[Sequence[int] | Int64Array, Sequence[float] | npt.NDArray[np.floating]]],
) -> Mixture:
    """Make a mixture of ids and weights row by row."""
    ids: list[Int64Array] = []
    weights: list[FloatArray] = []
    for old, weight in rows:
        ids.append(np.asarray(old, np.int64))
        weights.append(np.asarray(weight, np.float32))
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    return Mixture(
        np.concatenate(ids) if ids else np.zeros(0, np.int64),
        np.concatenate(weights) if weights else np.zeros(0, np.float32),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
    )


def add_up(mixture: Mixture, rows: npt.NDArray[np.floating]) -> FloatArray:
    """Return the mixture of rows, float32[n, …]; a row made from none is zero."""
    out = np.zeros((len(mixture), *rows.shape[1:]), np.float32)
    block = max(1, _BLOCK // max(1, out[:1].size))
    filled = np.flatnonzero(~mixture.empty)
    starts, stops = mixture.offsets[filled], mixture.offsets[filled + 1]
    first = 0
    while first < len(filled):
        # Whole rows, as many as a block holds; a row longer than a block is a block of its own.
        last = max(int(np.searchsorted(stops, starts[first] + block, "right")), first + 1)
        chosen = slice(int(starts[first]), int(stops[last - 1]))
        weights = mixture.weights[chosen].astype(np.float64)
        parts = rows[mixture.ids[chosen]].astype(np.float64)
        parts *= weights.reshape(-1, *([1] * (rows.ndim - 1)))
        out[filled[first:last]] = np.add.reduceat(parts, starts[first:last] - starts[first], axis=0)
        first = last
    return out
