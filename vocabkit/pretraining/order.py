"""Which row each sample of a run is: a pure function of the seed, the shares and the sample's number.

So a run resumes from one integer, on any number of processes and at any batch size, and no index is stored.

Samples are numbered from 0 and cut into blocks. After b blocks of B samples a language of share q has been
drawn ⌊bBq⌋ or ⌈bBq⌉ times, never more or less, and blocks are full. Which languages get the larger number is
chosen by earliest deadline: draw k of a language falls due where bBq reaches k, and draws due earliest go
first. The shares themselves are a fractional schedule that meets every deadline, so a whole one exists, and
earliest deadline first finds it (largest remainders do not: they may give a rare language a draw that the
next boundary would have to take back). Within a block, samples are in the order of a hash of the seed.

A language's draws pass through its rows in a permutation of its own, a new one each epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vocabkit.pretraining.prepared import PreparedCorpus

# --- Counter hash ----------------------------------------------------------------------------------
# Random numbers as a pure function of counters: the same everywhere, in any order, with no state to save.
#
# The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), applied once a counter. NumPy promises the raw
# streams of its generators for ever but not its shuffles, and a resumed run must draw what the first would
# have drawn; hence our own. It is no cryptography.


_WORD = (1 << 64) - 1
_STEP = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ ÷ the golden ratio, odd: multiplying by it loses nothing and spreads neighbouring counters."""


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
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
    state = _mix(np.array([seed & _WORD], dtype=np.uint64) + _STEP)
    for counter in counters:
        words = np.atleast_1d(np.asarray(counter)).astype(np.uint64)
        state = _mix(state + (words + np.uint64(1)) * _STEP)
    return state


def scale_hashes(words: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Return a number from 0 to `size` − 1 for each word, uniform to 1 part in 2³² ÷ `size`.

    `size` must be below 2³²: the upper half of the word times `size`, without a division.
    """
    return (((words >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)).astype(np.int64)


# --- Permutation -----------------------------------------------------------------------------------
# A permutation of 0 … n − 1 that is computed one place at a time, never stored.
#
# A Feistel network over pairs (a, b) with a, b < ⌈√n⌉: a round maps (a, b) to (b, (a + f(b)) mod ⌈√n⌉), which
# is a bijection for any f. The square is at most 2√n + 1 larger than n; a value that falls outside is mapped
# again until it falls inside (cycle walking), which keeps it a bijection. A power of two instead of the
# square
# would walk up to four times as often.


ROUNDS = 8
"""Four serve large sets (Luby and Rackoff); with six the orders of four rows are not yet equally frequent."""


def _permute(index: ArrayLike, size: ArrayLike, key: ArrayLike) -> NDArray[np.int64]:
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
        left, right = right, (left + _mix(right + _mix(round_key)) % sides) % sides
    return left * sides + right


# --- Order -----------------------------------------------------------------------------------------


SMALLEST_BLOCK, LARGEST_BLOCK = 1_024, 65_536
_PLACE, _ROW = 1, 2
"""What a hash is for, so that no two uses of one seed share a stream."""
_KEPT = 3
"""Boundaries remembered besides the first and the last: batches are made ahead of what is counted."""


def _choose_block(shares: ArrayLike) -> int:
    """Return a block in which the rarest language is drawn at least once, between 1,024 and 65,536.

    Then the state at any block follows from its number alone; rarer languages than 1 in 65,536 make `Order`
    walk to the block: 70 µs a block of a thousand languages, 2 s at sample 2,000,000,000.
    """
    drawn = np.asarray(shares, dtype=np.float64)
    rarest = float(np.min(drawn[drawn > 0.0]))
    block = 1 << max(0, math.ceil(1.0 / rarest) - 1).bit_length()
    return min(LARGEST_BLOCK, max(SMALLEST_BLOCK, block))


@dataclass(frozen=True, slots=True)
class _Block:
    number: int
    languages: NDArray[np.int64]
    draws: NDArray[np.int64]


class Order:
    """The whole order of a run; `locate` answers for any samples, quickest for neighbouring ones.

    `shares` of samples and `sizes` in rows are one a language, in the order of the prepared corpus; a share
    may be 0, and then so may be the size.
    """

    def __init__(
        self, seed: int, shares: ArrayLike, sizes: ArrayLike, block: int | None = None
    ) -> None:
        given = np.asarray(shares, dtype=np.float64)
        self.seed = seed
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.shares = given / math.fsum(given.tolist())
        if given.shape != self.sizes.shape or (given < 0.0).any():
            raise ValueError("one share of at least 0 and one size a language")
        if (self.sizes[given > 0.0] < 1).any():
            raise ValueError("a language with a share needs rows")
        self.block = _choose_block(self.shares) if block is None else block
        drawn = self.shares[self.shares > 0.0]
        # Then ⌊(b + 1)Bq⌋ ≥ ⌈bBq⌉ for every language: no choice at a boundary binds the next one.
        self._is_memoryless = bool((drawn * self.block >= 1.0).all())
        # Each is replaced whole and never changed, so that threads may ask at once.
        self._reached: tuple[tuple[int, NDArray[np.int64]], ...] = (
            (0, np.zeros(len(self.shares), dtype=np.int64)),
        )
        self._current: _Block | None = None

    def locate(
        self, samples: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Return language index int32[n], row int64[n] and epoch int64[n] (from 0) of each sample."""
        samples = np.asarray(samples, dtype=np.int64)
        languages = np.empty(len(samples), dtype=np.int64)
        draws = np.empty(len(samples), dtype=np.int64)
        numbers = samples // self.block
        for number in np.unique(numbers):
            inside = numbers == number
            block = self._open_block(int(number))
            places = samples[inside] - number * self.block
            languages[inside] = block.languages[places]
            draws[inside] = block.draws[places]
        sizes = self.sizes[languages]
        epochs, turns = np.divmod(draws, sizes)
        keys = hash_counters(self.seed, _ROW, languages, epochs)
        return languages.astype(np.int32), _permute(turns, sizes, keys), epochs

    def drawn_before(self, block: int) -> NDArray[np.int64]:
        """Return how often each language has been drawn before a block's first sample."""
        reached = self._reached
        boundary, drawn = max(
            (start for start in reached if start[0] <= block), key=lambda start: start[0]
        )
        if boundary < block:
            first = block - 1 if self._is_memoryless else boundary
            for number in range(first, block):
                drawn = self._step(drawn, number + 1)
            self._reached = (reached[0], *reached[1:][-_KEPT:], (block, drawn))
        return drawn.copy()

    def _step(self, drawn: NDArray[np.int64], boundary: int) -> NDArray[np.int64]:
        """Return the draws up to a boundary, none below those already made."""
        due = (boundary * self.block) * self.shares
        floors = np.floor(due)
        after = np.maximum(drawn, floors.astype(np.int64))
        open_draws = boundary * self.block - int(after.sum())
        if open_draws:
            # Rounding may leave a due number just below or above a whole one; such a draw is open as well.
            can = np.flatnonzero((after == floors) & (self.shares > 0.0))
            deadlines = np.where(
                due[can] > floors[can], (floors[can] + 1.0) / self.shares[can], np.inf
            )
            after[can[np.argsort(deadlines, kind="stable")[:open_draws]]] += 1
        return after

    def _open_block(self, number: int) -> _Block:
        if self._current is not None and self._current.number == number:
            return self._current
        before = self.drawn_before(number)
        counts = self.drawn_before(number + 1) - before
        everyone = np.repeat(np.arange(len(counts)), counts)
        places = hash_counters(self.seed, _PLACE, number, np.arange(self.block))
        languages = everyone[np.argsort(places, kind="stable")]
        # Draws are numbered in the order of samples, so that no row comes again before its epoch is over.
        draws = np.empty(self.block, dtype=np.int64)
        starts = np.cumsum(counts) - counts
        draws[np.argsort(languages, kind="stable")] = np.arange(self.block) - np.repeat(
            starts - before, counts
        )
        self._current = _Block(number, languages, draws)
        return self._current


# --- Ledger ----------------------------------------------------------------------------------------
# What a run has drawn of each language, counted from the order of samples itself, not along the way.
#
# The order is a pure function of the sample's number, so the count is the same on any number of ranks and
# after any number of stops, and costs nothing in a step.


_BLOCK = 1 << 16


class Ledger:
    """Rows, tokens (special ones included, padding not) and bytes of original text drawn, a language each."""

    def __init__(self, corpus: PreparedCorpus, order: Order) -> None:
        self._corpus, self._order = corpus, order
        self._samples = 0
        self._drawn = np.zeros((3, len(corpus.languages)), np.int64)

    def load(
        self,
        samples: int,
        rows: Mapping[str, int],
        tokens: Mapping[str, int],
        size: Mapping[str, int],
    ) -> None:
        """Go on from what a checkpoint says."""
        self._samples = samples
        for line, counts in enumerate((rows, tokens, size)):
            self._drawn[line] = [counts[code] for code in self._corpus.languages]

    def count_until(self, samples: int) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Rows, tokens and bytes of the samples before number `samples`; no fewer than asked before."""
        for start in range(self._samples, samples, _BLOCK):
            self._add(np.arange(start, min(start + _BLOCK, samples), dtype=np.int64))
        self._samples = samples
        codes = self._corpus.languages
        rows, tokens, size = (dict(zip(codes, line, strict=True)) for line in self._drawn.tolist())
        return rows, tokens, size

    def _add(self, samples: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        languages, indices, _ = self._order.locate(samples)
        for number in np.unique(languages).tolist():
            wanted = np.sort(indices[languages == number])
            code = self._corpus.languages[number]
            self._drawn[0, number] += len(wanted)
            self._drawn[1, number] += self._corpus.row_used(code, "train", wanted).sum(
                dtype=np.int64
            )
            self._drawn[2, number] += self._corpus.row_bytes(code, "train", wanted).sum(
                dtype=np.int64
            )
