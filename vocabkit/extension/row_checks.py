"""What can be seen in the new rows themselves: numbers that are none, zero and repeated rows, norms.

It judges rows, not tokens: a row may be sound and still mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.extension.plan_types import BoolArray, FloatArray, Int64Array

__all__ = ["RowStatistics", "measure_rows"]

_BLOCK = 1 << 14


@dataclass(frozen=True, slots=True)
class RowStatistics:
    """Numbers of rows that are not finite, zero or equal to another, and the quantiles of their norms.

    `norms` are the 5 %, 50 % and 95 % quantiles of Euclidean norms; None where there is no row.
    """

    rows: int
    not_finite: int
    zero: int
    repeated: int
    norms: tuple[float, float, float] | None


def measure_rows(rows: FloatArray, chosen: Int64Array | BoolArray) -> RowStatistics:
    """Measure the chosen rows of float32 [rows, width], in blocks."""
    places = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
    norms = np.empty(len(places), np.float64)
    seen: dict[bytes, int] = {}
    not_finite = 0
    for start in range(0, len(places), _BLOCK):
        block = np.asarray(rows[places[start : start + _BLOCK]], np.float32)
        finite = np.isfinite(block).all(axis=1)
        not_finite += int((~finite).sum())
        norms[start : start + len(block)] = np.sqrt(np.square(block, dtype=np.float64).sum(axis=1))
        for row in block:
            key = row.tobytes() if row.nbytes <= 64 else _digest(row)
            seen[key] = seen.get(key, 0) + 1
    known = norms[np.isfinite(norms)]
    quantiles = np.quantile(known, (0.05, 0.5, 0.95)).tolist() if len(known) else None
    return RowStatistics(
        rows=len(places),
        not_finite=not_finite,
        zero=int((norms == 0).sum()),
        repeated=sum(amount for amount in seen.values() if amount > 1),
        norms=None if quantiles is None else (quantiles[0], quantiles[1], quantiles[2]),
    )


def _digest(row: npt.NDArray[np.float32]) -> bytes:
    import hashlib

    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()
