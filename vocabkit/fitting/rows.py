"""Training rows: the spans of all languages pooled, cut at uncovered characters, with integer weights.

Joins span tables with language weights. Finds no pieces and knows no trainer. A row is a run of characters
no piece may cross the ends of; it begins with U+2581 when it starts a word.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import FitError
from vocabkit.corpus.spans import SpanTable, hash_spans

UInt32Array = npt.NDArray[np.uint32]
Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CANONICAL_TOTAL = 10**9
"""What weighted counts sum to. The absolute scale is a setting of SentencePiece's trainer in all but name
(pieces expected less than half a time are dropped; the M-step is a digamma), so it is fixed, not incidental."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Distinct rows as flat code points, in an order that depends on their content alone.

    `text` holds code points, `offsets` the n + 1 row boundaries; `count` raw occurrences, `documents` the
    summed document frequency, `weight` the integer counts a trainer sees. `rounding` is the L1 distance
    between the weights' distribution and the exact one: 0.0 when `weight` is the raw counts.
    """

    text: UInt32Array
    offsets: Int64Array
    count: Int64Array
    documents: Int64Array
    weight: Int64Array
    rounding: float

    def __len__(self) -> int:
        return len(self.count)

    def strings(self) -> Iterator[str]:
        """Yield the rows as strings, in order."""
        return decode_rows(self.text, self.offsets)


def pool_rows(
    tables: Mapping[str, SpanTable],
    weights: Mapping[str, float],
    covered: BoolArray,
    *,
    total: int = CANONICAL_TOTAL,
) -> Rows:
    """Pool the languages' spans into distinct rows.

    `covered` is indexed by code point; an uncovered character is dropped and ends the row before it, and
    the row after it is a continuation. When every weight is exactly 1 the raw counts are the weights;
    otherwise Σ weight · count is scaled to `total` and rounded once, over the sum of all languages.
    Raises `FitError` when nothing is left.
    """
    parts = {code: _cut_table(tables[code], covered) for code in sorted(tables)}
    if not sum(len(part.source) for part in parts.values()):
        raise FitError(
            "no text is left to fit", "look at coverage.character and the languages fitted"
        )
    text = np.concatenate([part.text for part in parts.values()])
    lengths = np.concatenate([np.diff(part.offsets) for part in parts.values()])
    offsets = np.append(0, np.cumsum(lengths))
    key = np.concatenate([part.key for part in parts.values()])
    count = np.concatenate([tables[code].count[part.source] for code, part in parts.items()])
    documents = np.concatenate(
        [tables[code].documents[part.source] for code, part in parts.items()]
    )

    order, starts = _group_rows(text, offsets, key)
    raw = np.add.reduceat(count[order], starts)
    if all(weights[code] == 1.0 for code in tables):
        weight, rounding = raw, 0.0
    else:
        sizes = [len(part.source) for part in parts.values()]
        scale = np.repeat([weights[code] for code in parts], sizes)
        weight, rounding = scale_counts(np.add.reduceat((count * scale)[order], starts), total)
    distinct = order[starts]
    flat, distinct_offsets = _take_rows(text, offsets, distinct)
    return Rows(
        flat, distinct_offsets, raw, np.add.reduceat(documents[order], starts), weight, rounding
    )


def scale_counts(weight: FloatArray, total: int = CANONICAL_TOTAL) -> tuple[Int64Array, float]:
    """Return positive weights as integers summing to `total`, none below 1, and the L1 rounding error.

    Largest remainder; ties go to the earlier row. The error is Σ |integer ÷ total − weight ÷ Σ weight|.
    Raises `FitError` when there are more rows than `total`.
    """
    if len(weight) > total:
        raise FitError(
            f"{len(weight):_} distinct spans cannot share a total of {total:_}",
            "fit fewer languages, or drop words met once when counting",
        )
    exact = weight / weight.sum()
    # Rows below one occurrence are lifted to one; the others pay for it in proportion, and may themselves
    # fall below one, so it repeats. Every round lifts at least one more row.
    lifted = np.zeros(len(exact), np.bool_)
    while True:
        free = total - int(lifted.sum())
        share = exact * (free / exact[~lifted].sum()) if not lifted.all() else exact
        below = ~lifted & (share < 1.0)
        if not below.any():
            break
        lifted |= below
    integers = np.where(lifted, 1, np.floor(share)).astype(np.int64)
    missing = min(max(total - int(integers.sum()), 0), len(integers))
    remainder = np.where(lifted, -1.0, share - np.floor(share))
    integers[np.argsort(-remainder, kind="stable")[:missing]] += 1
    return integers, float(np.abs(integers / total - exact).sum())


def decode_rows(text: UInt32Array, offsets: Int64Array) -> Iterator[str]:
    """Yield rows of flat code points as strings."""
    for start in range(0, len(offsets) - 1, 100_000):
        bounds = offsets[start : start + 100_001]
        block = text[bounds[0] : bounds[-1]].astype("<u4").tobytes().decode("utf-32-le")
        ends = (bounds - bounds[0]).tolist()
        yield from (block[a:b] for a, b in itertools.pairwise(ends))


@dataclass(frozen=True, slots=True)
class _Part:
    """What is left of one language's table: flat text, offsets, hashes, and the span each row came from."""

    text: UInt32Array
    offsets: Int64Array
    key: npt.NDArray[np.uint64]
    source: Int64Array


def _cut_table(table: SpanTable, covered: BoolArray) -> _Part:
    keep = covered[table.text]
    if keep.all():
        return _Part(table.text, table.offsets, table.key, np.arange(len(table)))
    before = np.zeros(len(keep), np.bool_)
    before[1:] = keep[:-1]
    before[table.offsets[:-1]] = False
    starts = np.flatnonzero(keep & ~before)
    source = np.searchsorted(table.offsets, starts, side="right") - 1
    kept = np.cumsum(keep)
    offsets = np.append(kept[starts] - 1, kept[-1])
    text = table.text[keep]
    return _Part(text, offsets, hash_spans(text, offsets), source)


def _group_rows(
    text: UInt32Array, offsets: Int64Array, key: npt.NDArray[np.uint64]
) -> tuple[Int64Array, Int64Array]:
    """Return (row order with equal rows adjacent, where each group starts in it)."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    same = ordered[1:] == ordered[:-1]
    if not _rows_equal(text, offsets, order[:-1][same], order[1:][same]):
        # 64 bits over 10⁷ rows collide once in about 400,000 corpora.
        raise RuntimeError(
            "two different rows have the same 64-bit hash; please report this corpus"
        )
    return order, np.flatnonzero(np.append(True, ~same))


def _rows_equal(
    text: UInt32Array, offsets: Int64Array, left: Int64Array, right: Int64Array
) -> bool:
    lengths = np.diff(offsets)
    if not np.array_equal(lengths[left], lengths[right]):
        return False
    a, _ = _take_rows(text, offsets, left)
    b, _ = _take_rows(text, offsets, right)
    return bool(np.array_equal(a, b))


def _take_rows(
    text: UInt32Array, offsets: Int64Array, index: Int64Array
) -> tuple[UInt32Array, Int64Array]:
    lengths = (offsets[1:] - offsets[:-1])[index]
    taken = np.zeros(len(index) + 1, np.int64)
    np.cumsum(lengths, out=taken[1:])
    source = np.repeat(offsets[index] - taken[:-1], lengths) + np.arange(taken[-1])
    return text[source], taken
