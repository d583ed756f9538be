"""Mean, spread and covariance of the rows a model has trained; rows it has not are left out.

Padding, unused ids, special tokens and rows of zeros say nothing of what a trained row looks like: a BERT
vocabulary holds 994 `[unused]` rows whose norm is 0.41 of the median. Sums are of float64, block by block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import ConfigError
from vocabkit.extension.plan_types import FloatArray, Int64Array, RowPlan

Float64Array = npt.NDArray[np.float64]
_BLOCK = 8_192


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of `count` rows: `mean` and `std` float64[d], the deviation dividing by the number of rows."""

    count: int
    mean: Float64Array
    std: Float64Array


def list_used(plan: RowPlan, rows: FloatArray) -> Int64Array:
    """The old ids that statistics are made of: the plan's, less rows of zeros.

    Raises ConfigError when none is left.
    """
    used = np.flatnonzero(plan.old_used[: len(rows)]).astype(np.int64)
    trained = [
        block[np.any(rows[block] != 0, axis=tuple(range(1, rows.ndim)))] if rows.ndim > 1 else block
        for block in _blocks(used)
    ]
    found = np.concatenate(trained) if trained else used
    if not len(found):
        raise ConfigError(
            f"none of the {len(rows)} old rows is a trained one of an ordinary token",
            "check that the tokenizer in the model's folder is the model's own",
        )
    return found


def measure_moments(rows: FloatArray, used: Int64Array) -> Moments:
    """Return mean and standard deviation of each column over the used rows, in two passes."""
    total = np.zeros(rows.shape[1:])
    for block in _blocks(used):
        total += rows[block].sum(axis=0, dtype=np.float64)
    mean = total / len(used)
    squares = np.zeros_like(mean)
    for block in _blocks(used):
        squares += np.square(rows[block] - mean).sum(axis=0)
    return Moments(len(used), mean, np.sqrt(squares / len(used)))


def measure_covariance(rows: FloatArray, used: Int64Array, mean: Float64Array) -> Float64Array:
    """Return Σ = Eᵀ E ÷ n of the centred used rows, float64[d, d]."""
    sigma = np.zeros((rows.shape[1], rows.shape[1]))
    for block in _blocks(used):
        centred = rows[block] - mean
        sigma += centred.T @ centred
    return np.asarray(sigma / len(used), np.float64)


def find_root(sigma: Float64Array) -> Float64Array:
    """Return L with L Lᵀ = Σ + εI, for the smallest ε of a rising series that makes it possible.

    Σ of fewer rows than columns is singular; ε starts at 1e-12 of its mean variance.
    """
    level = float(np.trace(sigma)) / len(sigma)
    for power in range(-12, 0):
        try:
            return np.asarray(np.linalg.cholesky(sigma + level * 10.0**power * np.eye(len(sigma))))
        except np.linalg.LinAlgError:
            continue
    return np.diag(np.sqrt(np.maximum(np.diag(sigma), 0)))


def _blocks(ids: Int64Array) -> list[Int64Array]:
    return [ids[start : start + _BLOCK] for start in range(0, len(ids), _BLOCK)]
