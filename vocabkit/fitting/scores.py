"""Scores: from expected counts to log probabilities, and the small rules by which pieces are compared.

Comparisons are made on float32 so that a last bit of a sum decides nothing: equal values go to the earlier
piece. Runs no passes over text.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.compilation import compile
from vocabkit.fitting.lexicon import BoolArray, FloatArray

LEAST = 0.5
"""Pieces expected less often than this are dropped (SentencePiece's rule)."""
TOLERANCE = 1e-9
"""Sums closer than this count as equal."""


def score_counts(count: FloatArray, total: float, *, sparse: bool) -> FloatArray:
    """Return the M-step's scores of counts raised to `LEAST`: log, or digamma, of each less that of the total.

    The digamma is the mean of the log under a Dirichlet posterior: it takes about half an occurrence from
    each count and so thins out rare pieces.
    """
    raised = np.maximum(count, LEAST)
    if sparse:
        return digamma(raised) - float(digamma(np.array([total]))[0])
    scores: FloatArray = np.log(raised) - math.log(total)
    return scores


def digamma(value: FloatArray) -> FloatArray:
    """Return the digamma function of positive numbers: recurrence up to 20, then the asymptotic series."""
    x = value.astype(np.float64)
    result = np.zeros(len(x))
    while (small := np.flatnonzero(x < 20.0)).size:
        result[small] -= 1.0 / x[small]
        x[small] += 1.0
    x -= 0.5
    square = 1.0 / (x * x)
    series = square * (1 / 24 + square * (-7 / 960 + square * (31 / 8064 - square * 127 / 30720)))
    out: FloatArray = result + np.log(x) + series
    return out


def take_best(value: FloatArray, size: int) -> BoolArray:
    """Return which entries are the `size` greatest as float32; of equal ones the first."""
    rounded = value.astype(np.float32)
    if size >= len(value):
        return np.ones(len(value), np.bool_)
    if size <= 0:
        return np.zeros(len(value), np.bool_)
    least = np.partition(rounded, len(value) - size)[len(value) - size]
    taken: BoolArray = rounded > least
    ties = np.flatnonzero(rounded == least)
    taken[ties[: size - int(taken.sum())]] = True
    return taken


def round_scores(score: FloatArray, active: BoolArray) -> npt.NDArray[np.float32]:
    """Return scores as float32, all active ones different; equal ones step down in order of id.

    SentencePiece adds float32 and tokenizers float64: with equal scores they would choose differently.
    """
    out = score.astype(np.float32)
    ids = np.flatnonzero(active)
    ids = ids[np.lexsort((ids, -score[ids]))]
    values = out[ids]
    _step_down(values)
    out[ids] = values
    return out


@compile
def _step_down(values: npt.NDArray[np.float32]) -> None:
    for i in range(1, len(values)):
        if values[i] >= values[i - 1]:
            values[i] = np.nextafter(values[i - 1], np.float32(-np.inf))
