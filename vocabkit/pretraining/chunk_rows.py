"""How many predictions the head projects at once: one rule for the loss and for the estimate of its memory.

Nothing here loads torch: a run is planned where it is not installed.
"""

from __future__ import annotations

__all__ = ["choose_chunk_rows"]

_BUDGET = 6 * 10**9
"""Bytes of logits in one chunk on a GPU. Every chunk streams the matrix four times: fewer is faster."""
_CPU_BUDGET = 128 * 10**6
"""On a CPU: 128 rows at 250,000 pieces, the fastest of 32 to 512 at width 256 (2.9 against 3.2–4.2 CPU-s)."""
_ALIGNED = 64


def choose_chunk_rows(count: int, columns: int, *, cuda: bool, size: int = 4) -> int:
    """How many of `count` rows to project at once onto `columns` pieces.

    On a GPU between 1,024 and 8,192: below, streaming the matrix takes longer than multiplying (at 850,000
    pieces and width 2,048, 16 rows spend 5 % of the time multiplying, 2,048 rows 70 %). Chunks are made
    equal, so that one shape serves all but perhaps the last. `size` is bytes a logit: 4, or what the states
    have where one kernel does without a copy in fp32.
    """
    if cuda:
        # Fewer than 2³¹ numbers: beyond, kernels that count in 32 bits work in pieces, or not at all.
        most = min(8_192, _BUDGET // (columns * size), (2**31 - 1) // columns)
        most = max(1_024, most // _ALIGNED * _ALIGNED)
    else:
        most = max(16, min(4_096, _CPU_BUDGET // (columns * 4)))
    chunks = max(1, -(-count // most))
    rows = -(-count // chunks)
    return -(-rows // _ALIGNED) * _ALIGNED if cuda and chunks > 1 else max(1, rows)
