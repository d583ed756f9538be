"""Token vectors from a little text: which tokens stand near which, weighed and reduced to a few columns.

Levy and Goldberg 2014 ("Neural word embedding as implicit matrix factorization"): positive pointwise mutual
information in a window, contexts smoothed by a power of 0.75, and the left singular vectors times the root of
the singular values. They stand in for fastText's, which FOCUS learns, where no donor model is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.extension.plan_types import BoolArray, FloatArray, Int64Array
from vocabkit.vocabulary.tokenizers import Tokenizer

_BLOCK = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """A symmetric sparse matrix, sorted by row: `values[j]` stands at (`rows[j]`, `columns[j]`)."""

    rows: Int64Array
    columns: Int64Array
    values: FloatArray
    size: int

    def multiply(self, dense: FloatArray) -> FloatArray:
        out = np.zeros((self.size, dense.shape[1]), np.float32)
        for start in range(0, len(self.rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            products = dense[self.columns[part]] * self.values[part, None]
            owners, starts = np.unique(self.rows[part], return_index=True)
            out[owners] += np.add.reduceat(products, starts, axis=0)
        return out


def learn_vectors(
    lines: Sequence[str],
    tokenizer: Tokenizer,
    size: int,
    *,
    width: int = 100,
    window: int = 5,
    min_count: int = 5,
    seed: int = 0,
) -> tuple[FloatArray, BoolArray]:
    """Return a vector for each id, float32[size, width], and which have one: those in `min_count` places.

    No pair crosses the end of a line. The same text and seed give the same vectors.
    """
    ids, lengths = tokenizer.encode_flat(list(lines))
    counts = np.bincount(ids, minlength=size)[:size]
    known = counts >= min_count
    vectors = np.zeros((size, width), np.float32)
    dense = np.cumsum(known) - 1
    owners = np.repeat(np.arange(len(lengths)), lengths)
    keep = (ids < size) & known[np.minimum(ids, size - 1)]
    pairs = _weigh_pairs(dense[ids[keep]], owners[keep], int(known.sum()), window)
    if len(pairs.rows):
        found = _reduce(pairs, min(width, pairs.size), seed)
        vectors[known, : found.shape[1]] = found
    known &= np.any(vectors != 0, axis=1)
    return vectors, known


def _weigh_pairs(
    ids: npt.NDArray[np.int64], owners: npt.NDArray[np.int64], size: int, window: int
) -> _Pairs:
    """Positive pointwise mutual information of all pairs within the window, in both directions."""
    keys: list[Int64Array] = []
    for gap in range(1, window + 1):
        same = owners[gap:] == owners[:-gap]
        left, right = ids[:-gap][same], ids[gap:][same]
        keys += [left * size + right, right * size + left]
    cells, amounts = np.unique(np.concatenate(keys), return_counts=True)
    rows, columns = cells // max(size, 1), cells % max(size, 1)
    total = np.bincount(rows, amounts, size)
    smooth = total**0.75
    expected = total[rows] * smooth[columns] / max(smooth.sum(), 1)
    values = np.log(amounts / np.maximum(expected, 1e-12))
    above = values > 0
    return _Pairs(rows[above], columns[above], values[above].astype(np.float32), size)


def _reduce(pairs: _Pairs, width: int, seed: int) -> FloatArray:
    """Left singular vectors times √σ, by a random range and two power steps (Halko et al. 2011)."""
    drawn = min(width + 10, pairs.size)
    basis = np.random.default_rng(seed).standard_normal((pairs.size, drawn), np.float32)
    for _ in range(3):
        basis = np.linalg.qr(pairs.multiply(basis))[0]
    # The matrix is nearly symmetric: its transpose is that of the smoothed contexts.
    small = pairs.multiply(basis)
    left, sigma, _ = np.linalg.svd(small, full_matrices=False)
    return np.asarray(left[:, :width] * np.sqrt(sigma[:width]), np.float32)
