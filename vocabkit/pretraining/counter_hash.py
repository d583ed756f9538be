"""Random numbers as a pure function of counters: the same everywhere, in any order, with no state to save.

The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), applied once a counter. NumPy promises the raw
streams of its generators for ever but not its shuffles, and a resumed run must draw what the first would
have drawn; hence our own. It is no cryptography.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["hash_counters", "mix", "scale_hashes"]

_WORD = (1 << 64) - 1
_STEP = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ ÷ the golden ratio, odd: multiplying by it loses nothing and spreads neighbouring counters."""


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a bijection of 64-bit words in which each bit of the input moves half of the output's."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hash_counters(seed: int, *counters: ArrayLike) -> NDArray[np.uint64]:
    """Return one 64-bit word for each combination of counters, which broadcast; at least one dimension.

    Words that differ in the last counter alone never collide.
    """
    # One-element arrays, not scalars: NumPy warns of overflow in scalars, and wrapping is meant here.
    state = mix(np.array([seed & _WORD], dtype=np.uint64) + _STEP)
    for counter in counters:
        words = np.atleast_1d(np.asarray(counter)).astype(np.uint64)
        state = mix(state + (words + np.uint64(1)) * _STEP)
    return state


def scale_hashes(words: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Return a number from 0 to `size` − 1 for each word, uniform to 1 part in 2³² ÷ `size`.

    `size` must be below 2³²: the upper half of the word times `size`, without a division.
    """
    return (((words >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)).astype(np.int64)
