"""A permutation of 0 … n − 1 that is computed one place at a time, never stored.

A Feistel network over pairs (a, b) with a, b < ⌈√n⌉: a round maps (a, b) to (b, (a + f(b)) mod ⌈√n⌉), which
is a bijection for any f. The square is at most 2√n + 1 larger than n; a value that falls outside is mapped
again until it falls inside (cycle walking), which keeps it a bijection. A power of two instead of the square
would walk up to four times as often.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vocabkit.pretraining.counter_hash import mix

__all__ = ["permute"]

ROUNDS = 8
"""Four serve large sets (Luby and Rackoff); with six the orders of four rows are not yet equally frequent."""


def permute(index: ArrayLike, size: ArrayLike, key: ArrayLike) -> NDArray[np.int64]:
    """Return where the permutation of `size` things named by `key` sends `index`; all three broadcast.

    `index` must lie between 0 and `size` − 1, and `size` below 2⁵².
    """
    places, sizes, keys = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(part)).astype(np.uint64) for part in (index, size, key))
    )
    shape = places.shape
    places, sizes, keys = places.ravel(), sizes.ravel(), keys.ravel()
    sides = np.ceil(np.sqrt(sizes.astype(np.float64))).astype(np.uint64)
    found = _run_rounds(places, sides, keys)
    outside = np.flatnonzero(found >= sizes)
    while len(outside):
        found[outside] = _run_rounds(found[outside], sides[outside], keys[outside])
        outside = outside[found[outside] >= sizes[outside]]
    return found.astype(np.int64).reshape(shape)


def _run_rounds(
    places: NDArray[np.uint64], sides: NDArray[np.uint64], keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    left, right = np.divmod(places, sides)
    for number in range(ROUNDS):
        round_key = keys + np.uint64(0xD1B54A32D192ED03 * (number + 1) & (1 << 64) - 1)
        left, right = right, (left + mix(right + mix(round_key)) % sides) % sides
    return left * sides + right
