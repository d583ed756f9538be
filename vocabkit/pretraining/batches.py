"""The batch of any step of any rank: which rows, in which order, what is hidden in them and asked back.

All of it is a pure function of the seed, the shares of languages and the sample's number: a run resumes from
one integer, on any number of processes and at any batch size, and no index is stored. Sample p of a step's
`batch_rows` goes to rank p mod world, so that every world sees the same global batch; where it does not
divide, the last micro-batches are filled up with blank rows: padding alone, which asks nothing. Every shape
follows from the settings alone, never from the text, so that nothing is compiled twice. It computes on the
CPU.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vocabkit.core.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from vocabkit.core.errors import PretrainingError
from vocabkit.pretraining.plan import count_samples
from vocabkit.pretraining.prepared import PreparedCorpus, SplitName
from vocabkit.pretraining.run_config import DataSettings, TrainingSettings, predicted_per_row
from vocabkit.vocabulary.roles import SpecialIds

# --- Random numbers as a function of counters ------------------------------------------------------
# The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), applied once a counter. NumPy promises the raw
# streams of its generators for ever but not its shuffles, and a resumed run must draw what the first would
# have drawn; hence our own. It is no cryptography.

_IN_BLOCK, _ROW = 1, 2
_HIDDEN, _KIND, _RANDOM = 11, 12, 13
_ORDER_SEED, _MASK_SEED = 21, 22
"""What a hash is for, so that no two uses of one seed share a stream."""
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


def _hash_counters(seed: int, *counters: ArrayLike) -> NDArray[np.uint64]:
    """Return one 64-bit word for each combination of counters, which broadcast; at least one dimension.

    Words that differ in the last counter alone never collide.
    """
    # One-element arrays, not scalars: NumPy warns of overflow in scalars, and wrapping is meant here.
    state = _mix(np.array([seed & _WORD], dtype=np.uint64) + _STEP)
    for counter in counters:
        words = np.atleast_1d(np.asarray(counter)).astype(np.uint64)
        state = _mix(state + (words + np.uint64(1)) * _STEP)
    return state


def _scale_hashes(words: NDArray[np.uint64], size: int) -> Int64Array:
    """Return a number from 0 to `size` − 1 for each word, uniform to 1 part in 2³² ÷ `size`.

    `size` must be below 2³²: the upper half of the word times `size`, without a division.
    """
    return (((words >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)).astype(np.int64)


# --- Permutation -----------------------------------------------------------------------------------
# Of 0 … n − 1, computed one place at a time, never stored. A Feistel network over pairs (a, b) with a, b <
# ⌈√n⌉: a round maps (a, b) to (b, (a + f(b)) mod ⌈√n⌉), which is a bijection for any f. The square is at most
# 2√n + 1 larger than n; a value that falls outside is mapped again until it falls inside (cycle walking),
# which keeps it a bijection. A power of two instead of the square would walk up to four times as often.

ROUNDS = 8
"""Four serve large sets (Luby and Rackoff); with six the orders of four rows are not yet equally frequent."""


def _permute(index: ArrayLike, size: ArrayLike, key: ArrayLike) -> Int64Array:
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
# Samples are numbered from 0 and cut into blocks. After b blocks of B samples a language of share q has been
# drawn ⌊bBq⌋ or ⌈bBq⌉ times, never more or less, and blocks are full. Which languages get the larger number is
# chosen by earliest deadline: draw k of a language falls due where bBq reaches k, and draws due earliest go
# first. The shares themselves are a fractional schedule that meets every deadline, so a whole one exists, and
# earliest deadline first finds it (largest remainders do not: they may give a rare language a draw that the
# next boundary would have to take back). Within a block, samples are in the order of a hash of the seed. A
# language's draws pass through its rows in a permutation of its own, a new one each epoch.

SMALLEST_BLOCK, LARGEST_BLOCK = 1_024, 65_536
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


class _Block(NamedTuple):
    number: int
    languages: Int64Array
    draws: Int64Array


class Order:
    """The whole order of a run; `locate` answers for any samples, quickest for neighbouring ones.

    `shares` of samples and `sizes` in rows are one a language, in the order of the prepared corpus; a share
    may be 0, and then so may be the size.
    """

    def __init__(self, seed: int, shares: ArrayLike, sizes: ArrayLike, block: int | None = None) -> None:
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
        self._reached: tuple[tuple[int, Int64Array], ...] = ((0, np.zeros(len(self.shares), dtype=np.int64)),)
        self._current: _Block | None = None

    def locate(self, samples: Int64Array) -> tuple[Int32Array, Int64Array, Int64Array]:
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
        keys = _hash_counters(self.seed, _ROW, languages, epochs)
        return languages.astype(np.int32), _permute(turns, sizes, keys), epochs

    def drawn_before(self, block: int) -> Int64Array:
        """Return how often each language has been drawn before a block's first sample."""
        reached = self._reached
        boundary, drawn = max((start for start in reached if start[0] <= block), key=lambda start: start[0])
        if boundary < block:
            first = block - 1 if self._is_memoryless else boundary
            for number in range(first, block):
                drawn = self._step(drawn, number + 1)
            self._reached = (reached[0], *reached[1:][-_KEPT:], (block, drawn))
        return drawn.copy()

    def _step(self, drawn: Int64Array, boundary: int) -> Int64Array:
        """Return the draws up to a boundary, none below those already made."""
        due = (boundary * self.block) * self.shares
        floors = np.floor(due)
        after = np.maximum(drawn, floors.astype(np.int64))
        open_draws = boundary * self.block - int(after.sum())
        if open_draws:
            # Rounding may leave a due number just below or above a whole one; such a draw is open as well.
            can = np.flatnonzero((after == floors) & (self.shares > 0.0))
            deadlines = np.where(due[can] > floors[can], (floors[can] + 1.0) / self.shares[can], np.inf)
            after[can[np.argsort(deadlines, kind="stable")[:open_draws]]] += 1
        return after

    def _open_block(self, number: int) -> _Block:
        if self._current is not None and self._current.number == number:
            return self._current
        before = self.drawn_before(number)
        counts = self.drawn_before(number + 1) - before
        everyone = np.repeat(np.arange(len(counts)), counts)
        places = _hash_counters(self.seed, _IN_BLOCK, number, np.arange(self.block))
        languages = everyone[np.argsort(places, kind="stable")]
        # Draws are numbered in the order of samples, so that no row comes again before its epoch is over.
        draws = np.empty(self.block, dtype=np.int64)
        starts = np.cumsum(counts) - counts
        draws[np.argsort(languages, kind="stable")] = np.arange(self.block) - np.repeat(starts - before, counts)
        self._current = _Block(number, languages, draws)
        return self._current


_COUNTED_AT_ONCE = 1 << 16


class Ledger:
    """Rows, tokens (special ones included, padding not) and bytes of original text drawn, a language each.

    They are counted from the order of samples, not along the way: the same on any number of ranks and after any
    number of stops, and no step waits for it.
    """

    def __init__(self, corpus: PreparedCorpus, order: Order) -> None:
        self._corpus, self._order = corpus, order
        self._samples = 0
        self._drawn = np.zeros((3, len(corpus.languages)), np.int64)

    def load(
        self, samples: int, rows: Mapping[str, int], tokens: Mapping[str, int], size: Mapping[str, int]
    ) -> None:
        """Go on from what a checkpoint says."""
        for counts in (rows, tokens, size):
            if set(counts) != set(self._corpus.languages):
                raise PretrainingError(
                    f"the checkpoint counts {', '.join(sorted(counts))}, and the data has "
                    f"{', '.join(self._corpus.languages)}",
                    "start the run anew",
                )
        self._samples = samples
        for line, counts in enumerate((rows, tokens, size)):
            self._drawn[line] = [counts[code] for code in self._corpus.languages]

    def count_until(self, samples: int) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Rows, tokens and bytes of the samples before number `samples`; no fewer than asked before."""
        for start in range(self._samples, samples, _COUNTED_AT_ONCE):
            drawn = np.arange(start, min(start + _COUNTED_AT_ONCE, samples), dtype=np.int64)
            languages, indices, _ = self._order.locate(drawn)
            for number in np.unique(languages).tolist():
                wanted = np.sort(indices[languages == number])
                code = self._corpus.languages[number]
                used = self._corpus.row_used(code, "train", wanted).sum(dtype=np.int64)
                self._drawn[:2, number] += len(wanted), used
                self._drawn[2, number] += self._corpus.row_bytes(code, "train", wanted).sum(dtype=np.int64)
        self._samples = samples
        rows, tokens, text = (dict(zip(self._corpus.languages, n, strict=True)) for n in self._drawn.tolist())
        return rows, tokens, text


# --- Batch -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Batch:
    """`rows` rows of `length` tokens as one stream of T = rows · length.

    ids            int32[T]   input, masked already where the objective masks
    documents      int32[T]   document's number in the batch, from 0; a row's padding is one of its own
    positions      int32[T]   place within the document, from 0
    boundaries     int32[B]   documents' starts, then T (cumulative lengths) up to a fixed B
    chosen         int64[K]   places in the stream whose prediction is asked for; 0 where `weights` is 0
    targets        int64[K]   the token to predict there
    weights        float32[K] 1 where it counts, 0 where a row had too few places
    languages      int32[K]   index of the language of each, in the order of the prepared corpus
    row_languages  int32[rows]
    row_bytes      int32[rows]  bytes of original text in each row
    tokens         tokens that are not padding
    """

    ids: Tensor
    documents: Tensor
    positions: Tensor
    boundaries: Tensor
    chosen: Tensor
    targets: Tensor
    weights: Tensor
    languages: Tensor
    row_languages: Tensor
    row_bytes: Tensor
    length: int
    tokens: int

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Batch:
        """Return the same batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin(self) -> Batch:
        """Return the same batch in page-locked memory, from which copies to a GPU run beside its work."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        held: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: change(value) for name, value in held.items() if isinstance(value, Tensor)}
        return Batch(**held | changed)


# --- What is asked of a row ------------------------------------------------------------------------
# A masked model's row of `length` positions hides the K = round(masking · length) with the smallest hash of
# (seed, sample number, position), among those that hold a token of text. Of these a share is replaced by a
# random id, a share stays as it is, and the rest becomes the mask token (Devlin et al., 2019: 10 %, 10 %, 80
# %). A row that comes again in a later epoch hides others. Random ids are uniform over all ids that text can
# yield.
#
# Causal models hide nothing: every position predicts the one after it in the same document.


class _Choice(NamedTuple):
    """What r rows show and what they ask, K places a row.

    ids      int32[r, length]  what the model reads
    places   int64[r, K]       places in the row whose prediction counts, 0 where the weight is 0
    targets  int64[r, K]       the token to predict there, 0 where the weight is 0
    weights  float32[r, K]     1 or 0
    """

    ids: Int32Array
    places: Int64Array
    targets: Int64Array
    weights: Float32Array


class _MaskedChoice:
    """Hides `per_row` places of every row."""

    def __init__(
        self, data: DataSettings, special: SpecialIds, vocabulary: int, length: int, seed: int
    ) -> None:
        if special.mask is None:
            raise PretrainingError(
                "the vocabulary has no mask token, which a masked model needs",
                "--set model.layout=llama  # or fit a vocabulary with <mask>",
            )
        self.per_row = predicted_per_row(data.masking, length)
        self._settings, self._mask, self._seed = data, special.mask, seed
        # The ids that text yields; the unknown token is none: to predict it teaches nothing.
        self._is_text = np.ones(vocabulary, dtype=np.bool_)
        named = (special.begin, special.end, special.pad, special.mask, special.unknown, *special.reserved)
        self._is_text[[id for id in named if id is not None and id < vocabulary]] = False
        self._text_ids = np.flatnonzero(self._is_text).astype(np.int32)
        if not len(self._text_ids):
            raise PretrainingError(
                "the vocabulary has no id that text can yield",
                "prepare with another tokenizer: vocabkit prepare CORPUS --tokenizer TOKENIZER -o DIR",
            )
        # Scores hold the place in their low bits: sorting them needs no indices and knows no ties.
        self._place_bits = np.uint64(max(1, (length - 1).bit_length()))

    def count_weights(self, rows: Int32Array, used: Int32Array) -> int:
        """Return Σ weights of what `choose` would return, without choosing."""
        return int(np.minimum(self._find_open(rows, used).sum(axis=1), self.per_row).sum())

    def choose(self, rows: Int32Array, used: Int32Array, samples: Int64Array) -> _Choice:
        """Hide places of rows int32[r, length], of which `used` int32[r] are not padding."""
        length = rows.shape[1]
        scores = _hash_counters(self._seed, _HIDDEN, samples[:, None], np.arange(length)[None, :])
        bits, top = self._place_bits, np.uint64(63)
        scores = (scores >> (bits + np.uint64(1)) << bits) | np.arange(length, dtype=np.uint64)
        scores |= (~self._find_open(rows, used)).astype(np.uint64) << top
        smallest = np.partition(scores, self.per_row - 1, axis=1)[:, : self.per_row]
        # Places ascend, those that count first: neighbouring reads, and the same bytes whatever the sort.
        in_row = (np.uint64(1) << top) | ((np.uint64(1) << bits) - np.uint64(1))
        smallest = np.sort(smallest & in_row)
        counts = smallest >> top == 0
        places = np.where(counts, smallest, 0).astype(np.int64)
        targets = np.where(counts, np.take_along_axis(rows, places, axis=1), 0)
        ids = rows.copy()
        row, column = np.nonzero(counts)
        shown = self._replace(samples[row], places[row, column], targets[row, column])
        ids[row, places[row, column]] = shown
        return _Choice(ids, places, targets.astype(np.int64), counts.astype(np.float32))

    def _find_open(self, rows: Int32Array, used: Int32Array) -> BoolArray:
        inside: BoolArray = np.arange(rows.shape[1])[None, :] < used[:, None]
        return inside & self._is_text[rows]

    def _replace(self, samples: Int64Array, places: Int64Array, targets: Int32Array) -> Int32Array:
        words = _hash_counters(self._seed, _KIND, samples, places)
        kinds = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        keep = kinds < self._settings.keep
        random = ~keep & (kinds < self._settings.keep + self._settings.replace_random)
        shown = np.full(len(targets), self._mask, dtype=np.int32)
        shown[keep] = targets[keep]
        words = _hash_counters(self._seed, _RANDOM, samples[random], places[random])
        shown[random] = self._text_ids[_scale_hashes(words, len(self._text_ids))]
        return shown


class _CausalChoice:
    """Asks every place for the next token of its document; K is the row's length."""

    def __init__(self, special: SpecialIds, length: int) -> None:
        self.per_row = length
        self._begin = special.begin

    def count_weights(self, rows: Int32Array, used: Int32Array) -> int:
        """Return Σ weights of what `choose` would return, without choosing."""
        return int(self._find_counting(rows, used).sum())

    def choose(self, rows: Int32Array, used: Int32Array, samples: Int64Array) -> _Choice:
        """Ask the places of rows int32[r, length], of which `used` int32[r] are not padding."""
        counts = self._find_counting(rows, used)
        following = np.roll(rows, -1, axis=1)
        places = np.where(counts, np.arange(rows.shape[1])[None, :], 0)
        targets = np.where(counts, following, 0).astype(np.int64)
        return _Choice(rows, places, targets, counts.astype(np.float32))

    def _find_counting(self, rows: Int32Array, used: Int32Array) -> BoolArray:
        """Mark the places followed by another of the same document: the next is used and begins none."""
        counts = np.zeros(rows.shape, dtype=np.bool_)
        inside = np.arange(1, rows.shape[1])[None, :] < used[:, None]
        counts[:, :-1] = inside & (rows[:, 1:] != self._begin)
        return counts


Objective = _MaskedChoice | _CausalChoice


# --- Batches of a run ------------------------------------------------------------------------------


def make_objective(corpus: PreparedCorpus, settings: DataSettings, seed: int, *, causal: bool) -> Objective:
    """Return what rows of a corpus are asked: the next token each, or masked ones."""
    if causal:
        return _CausalChoice(corpus.special, corpus.length)
    return _MaskedChoice(settings, corpus.special, corpus.vocabulary, corpus.length, seed)


def assemble(
    rows: Int32Array, used: Int32Array, row_bytes: Int32Array, languages: Int32Array, samples: Int64Array, *,
    objective: Objective, special: SpecialIds, documents: int | None = None,
) -> Batch:  # fmt: skip
    """Return a batch of r rows int32[r, length]; the other arrays have one value a row.

    `used` is how many places are not padding, `samples` number the rows for masking. `boundaries` has room
    for `documents` documents (4 a row unless said), doubled as often as the rows need: the true worst case,
    one for every two tokens, would have an attention kernel launch hundreds of empty documents a row.
    """
    count, length = rows.shape
    choice = objective.choose(rows, used, samples)
    starts = _find_starts(rows, used, special.begin)
    flat = np.flatnonzero(starts)
    numbers = np.cumsum(starts.ravel(), dtype=np.int32) - np.int32(1)
    positions = np.arange(count * length, dtype=np.int32) - flat.astype(np.int32)[numbers]
    room = documents or 4 * count
    while room < len(flat):
        room *= 2
    boundaries = np.full(room + 1, count * length, dtype=np.int32)
    boundaries[: len(flat)] = flat
    offsets = np.arange(count, dtype=np.int64)[:, None] * length
    chosen = np.where(choice.weights > 0.0, choice.places + offsets, 0)
    return Batch(
        ids=torch.from_numpy(np.array(choice.ids, dtype=np.int32).ravel()),
        documents=torch.from_numpy(numbers),
        positions=torch.from_numpy(positions),
        boundaries=torch.from_numpy(boundaries),
        chosen=torch.from_numpy(chosen.ravel()),
        targets=torch.from_numpy(choice.targets.ravel()),
        weights=torch.from_numpy(choice.weights.ravel()),
        languages=torch.from_numpy(np.repeat(languages.astype(np.int32), objective.per_row)),
        row_languages=torch.from_numpy(languages.astype(np.int32)),
        row_bytes=torch.from_numpy(row_bytes.astype(np.int32)),
        length=length,
        tokens=int(used.sum()),
    )


def read_samples(
    corpus: PreparedCorpus, split: SplitName, languages: Int32Array, indices: Int64Array
) -> tuple[Int32Array, Int32Array, Int32Array]:
    """Return rows int32[n, length], used int32[n] and bytes int32[n] of rows of mixed languages.

    A language of −1 is a blank row.
    """
    rows = np.full((len(languages), corpus.length), corpus.special.pad, dtype=np.int32)
    used = np.zeros(len(languages), dtype=np.int32)
    sizes = np.zeros(len(languages), dtype=np.int32)
    for number in np.unique(languages[languages >= 0]):
        inside = np.flatnonzero(languages == number)
        # Ascending, so that the file is read from front to back.
        inside = inside[np.argsort(indices[inside], kind="stable")]
        language, wanted = corpus.languages[number], indices[inside]
        rows[inside] = corpus.read_rows(language, split, wanted)
        used[inside] = corpus.row_used(language, split, wanted)
        sizes[inside] = corpus.row_bytes(language, split, wanted)
    return rows, used, sizes


class BatchMaker:
    """Makes any batch of a run, in any order: nothing is carried from one to the next.

    `shares` of samples are one a language of the corpus. A step takes `rows_per_step` of them on average, by
    default `training.batch_rows`. `micro_rows` is lowered to what a rank gets of a step. `micro_batches` make
    up a rank's part of a step.
    """

    def __init__(
        self, corpus: PreparedCorpus, shares: Float64Array, data: DataSettings, training: TrainingSettings, *,
        causal: bool, rank: int = 0, world: int = 1, rows_per_step: float | None = None,
    ) -> None:  # fmt: skip
        self.corpus, self.rank, self.world = corpus, rank, world
        self.rows_per_step = float(training.batch_rows) if rows_per_step is None else rows_per_step
        rank_rows = -(-math.ceil(self.rows_per_step) // world)
        self.micro_rows = min(training.micro_rows, rank_rows)
        self.micro_batches = -(-rank_rows // self.micro_rows)
        order_seed, mask_seed = (
            int(_hash_counters(training.seed, use)[0]) for use in (_ORDER_SEED, _MASK_SEED)
        )
        splits = [corpus.split(language, "train") for language in corpus.languages]
        self.order = Order(order_seed, shares, [split.rows for split in splits])
        self.objective = make_objective(corpus, data, mask_seed, causal=causal)
        # Half as many documents again as the fullest language has, and one of padding, in every row.
        fullest = max(split.documents / split.rows for split in splits if split.rows)
        self._documents = int(self.micro_rows * (1.5 * fullest + 2.0))

    def samples(self, step: int, micro: int) -> Int64Array:
        """Return the sample numbers of this rank's rows, −1 where a row is blank."""
        places = np.arange(micro * self.micro_rows, (micro + 1) * self.micro_rows, dtype=np.int64)
        places = places * self.world + self.rank
        first, stop = self._bounds(step)
        return np.where(places < stop - first, first + places, -1)

    def _bounds(self, step: int) -> tuple[int, int]:
        """The first sample of a step, and of the next."""
        return count_samples(step, self.rows_per_step), count_samples(step + 1, self.rows_per_step)

    def make(self, step: int, micro: int) -> Batch:
        """Return micro-batch `micro` of this rank's part of a step."""
        samples = self.samples(step, micro)
        languages, indices = self._locate(samples)
        rows, used, sizes = read_samples(self.corpus, "train", languages, indices)
        return assemble(
            rows, used, sizes, np.maximum(languages, 0), np.maximum(samples, 0),
            objective=self.objective, special=self.corpus.special, documents=self._documents,
        )  # fmt: skip

    def global_weight(self, step: int, made: Sequence[Batch] | None = None) -> int:
        """Return Σ weights of a step over all ranks, by which each rank divides its loss.

        `made`, this rank's batches of the step, spare a world of one the work. In larger ones every rank reads
        the rows of all, 10 µs each where a step has 2,048 of 40 languages, and waits for no other rank.
        """
        if made is not None and self.world == 1:
            return int(sum(float(batch.weights.sum()) for batch in made))
        samples = np.arange(*self._bounds(step), dtype=np.int64)
        languages, indices = self._locate(samples)
        rows, used, _ = read_samples(self.corpus, "train", languages, indices)
        return self.objective.count_weights(rows, used)

    def _locate(self, samples: Int64Array) -> tuple[Int32Array, Int64Array]:
        languages = np.full(len(samples), -1, dtype=np.int32)
        indices = np.zeros(len(samples), dtype=np.int64)
        real = samples >= 0
        if real.any():
            languages[real], indices[real], _ = self.order.locate(samples[real])
        return languages, indices


def _find_starts(rows: Int32Array, used: Int32Array, begin: int) -> BoolArray:
    """Mark where documents start: at `begin`, at a row's first place, and where its padding starts."""
    places = np.arange(rows.shape[1])[None, :]
    starts: BoolArray = (rows == begin) & (places < used[:, None])
    starts |= places == used[:, None]
    starts[:, 0] = True
    return starts


# --- Prefetch --------------------------------------------------------------------------------------
# One thread is enough: a row is copied and hashed, not tokenised. What is dropped when a run stops is made
# again when it resumes.


class Step(NamedTuple):
    """A rank's part of one step: its micro-batches, and Σ weights of the step over all ranks."""

    number: int
    batches: tuple[Batch, ...]
    weight: int


class Prefetcher:
    """Iterates over the steps `start` … `stop` − 1, their batches on `device`, `depth` steps ahead.

    `waited` is the seconds in which data was waited for, since it was last set to 0: by the consumer here, and
    where there is a GPU, only when that had no work left from steps before. An error while making a batch is
    raised where its step is asked for. Close it, or use it in a `with` block; a step asked for afterwards is
    refused.
    """

    def __init__(
        self, maker: BatchMaker, start: int, stop: int, device: torch.device | str = "cpu", depth: int = 2
    ) -> None:
        self.waited = 0.0
        self._maker, self._device = maker, torch.device(device)
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "batches")
        self._left = iter(range(start, stop))
        self._made: deque[Future[Step]] = deque()
        for _ in range(max(1, depth) + 1):
            self._make_next()

    def __iter__(self) -> Iterator[Step]:
        while self._made:
            if self._closed:
                raise RuntimeError("the prefetcher is closed")
            began = time.perf_counter()
            self._make_next()
            step = self._made.popleft().result()
            # The loop runs ahead of a GPU, which starves only when nothing is queued for it any more.
            if self._device.type != "cuda" or torch.cuda.current_stream(self._device).query():
                self.waited += time.perf_counter() - began
            # From page-locked memory the copy is queued behind the GPU's work, and nothing waits for it.
            step = step._replace(batches=tuple(batch.to(self._device) for batch in step.batches))
            yield step

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread and wait for it; more than once does no harm."""
        self._closed = True
        self._thread.shutdown(cancel_futures=True)

    def _make_next(self) -> None:
        number = next(self._left, None)
        if number is not None:
            self._made.append(self._thread.submit(self._make, number))

    def _make(self, number: int) -> Step:
        if self._device.type == "cuda" and self._device.index is not None:
            # A thread's device is the first, where page-locked memory would open a context a rank.
            torch.cuda.set_device(self._device)
        maker = self._maker
        made = tuple(maker.make(number, micro) for micro in range(maker.micro_batches))
        if self._device.type == "cuda":
            made = tuple(batch.pin() for batch in made)
        return Step(number, made, maker.global_weight(number, made))
