"""Training rows for SentencePiece: a lexicon with integer weights, since its trainers take nothing else.

Joins a lexicon with language weights. Finds no pieces and knows no trainer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import FitError
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.lexicon import BoolArray, FloatArray, Lexicon, build_lexicon
from vocabkit.fitting.sorting import Int64Array

CANONICAL_TOTAL = 10**9
"""What weighted counts sum to. The absolute scale is a setting of SentencePiece's trainer in all but name
(pieces expected less than half a time are dropped; the M-step is a digamma), so it is fixed, not incidental."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A lexicon and the integer counts a trainer sees.

    `rounding` is the L1 distance between the weights' distribution and the exact one: 0.0 when `weight` is
    the raw counts.
    """

    lexicon: Lexicon
    weight: Int64Array
    rounding: float

    def __len__(self) -> int:
        return len(self.lexicon)

    def strings(self) -> list[str]:
        """Return the rows as strings, in order."""
        return self.lexicon.strings()


def pool_rows(
    tables: Mapping[str, SpanTable],
    weights: Mapping[str, float],
    covered: BoolArray,
    workers: Workers,
    *,
    total: int = CANONICAL_TOTAL,
) -> Rows:
    """Pool the languages' spans into distinct rows, cut at uncovered characters (see `build_lexicon`).

    When every weight is exactly 1 the raw counts are the weights; otherwise Σ weight · count is scaled to
    `total` and rounded once, over the sum of all languages. Raises `FitError` when nothing is left.
    """
    lexicon = build_lexicon(tables, covered, workers)
    if all(weights[code] == 1.0 for code in tables):
        return Rows(lexicon, lexicon.count, 0.0)
    return Rows(lexicon, *scale_counts(lexicon.weigh(weights), total))


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


def decode_rows(text: npt.NDArray[np.uint32], offsets: Int64Array) -> Iterator[str]:
    """Yield rows of flat code points as strings."""
    for start in range(0, len(offsets) - 1, 100_000):
        bounds = offsets[start : start + 100_001]
        block = text[bounds[0] : bounds[-1]].astype("<u4").tobytes().decode("utf-32-le")
        ends = (bounds - bounds[0]).tolist()
        yield from (block[a:b] for a, b in itertools.pairwise(ends))
