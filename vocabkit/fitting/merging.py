"""BPE merges from counted rows of symbols: which pair next, and what it changes.

Rows come from anywhere: the bytes of a pre-token for BPE from nothing, the ids a tokenizer gave it for more
merges on top of one. Nothing here knows what a symbol stands for beyond its text, which must be new for
every token: a pair that would spell a token there is already is passed over. That happens only where a
tokenizer holds tokens its own merges do not reach; otherwise a text has one segmentation whatever stands
around it, so that no two pairs spell the same (research on BPE calls it locality), and every token made
here is reached from its own text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.fitting import pair_heap, pair_index
from vocabkit.fitting.pair_index import ID_BITS, ID_MASK, Int32Array, Int64Array

Number = TypeVar("Number", np.int32, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class SymbolRows:
    """Rows of ids with counts: row r is `symbols[offsets[r]:offsets[r + 1]]`.

    `raw` is how often each occurs, the evidence a floor asks for; `weight` what pairs are compared by,
    integers too; `group` numbers the row's group from 0, whose pairs are counted apart; `watched` is how
    often it occurs in the text whose tokens `Merger.tokens` follows.
    """

    symbols: Int32Array
    offsets: Int64Array
    raw: Int64Array
    weight: Int64Array
    group: Int32Array
    watched: Int64Array

    def __len__(self) -> int:
        return len(self.raw)


@dataclass(frozen=True, slots=True)
class Merge:
    """One merge: the two ids, the id made of them, its text, and the raw occurrences replaced."""

    left: int
    right: int
    token: int
    text: bytes
    count: int


class Merger:
    """Rows in the course of merging. `tokens[g]` is how many tokens the watched text of each group has."""

    def __init__(
        self,
        rows: SymbolRows,
        texts: Iterable[bytes],
        *,
        taken: Iterable[bytes] = (),
        next_id: int | None = None,
        min_count: int = 2,
    ) -> None:
        """Index every pair of the rows.

        `texts` spells each id in order; `taken` are further texts no token may have. New ids count up from
        `next_id`, by default the number of texts. Raises FitError for more than 2³¹ symbols.
        """
        self._texts = dict(enumerate(texts))
        self._known = {*self._texts.values(), *taken}
        self._next = len(self._texts) if next_id is None else next_id
        self._floor = max(min_count, 1)
        self._groups = int(rows.group.max(initial=0)) + 1
        # A group of its own may lack the evidence for a pair that another group has merged.
        self._kept = self._floor if self._groups == 1 else 0
        self._raw, self._weight, self._watched = rows.raw, rows.weight, rows.watched
        self._place_rows(rows)
        self._lengths = np.ones(max(self._next, len(self._texts)) + 1, np.int32)
        self.tokens = np.zeros(self._groups, np.int64)
        np.add.at(self.tokens, rows.group, np.diff(rows.offsets) * rows.watched)
        self._index(rows.group)

    def _place_rows(self, rows: SymbolRows) -> None:
        count = len(rows)
        size = len(rows.symbols) + count + 1
        if size >= 2**31:
            raise FitError(
                f"{size:_} symbols of distinct pre-tokens are more than this engine indexes (2_147_483_647)",
                "count fewer languages, or raise the minimum count of words",
            )
        lengths = np.diff(rows.offsets)
        row_of = np.repeat(np.arange(count, dtype=np.int32), lengths)
        self._symbols = np.full(size, -1, np.int32)
        self._rows = np.zeros(size, np.int32)
        places = np.arange(len(rows.symbols), dtype=np.int64) + row_of + 1
        self._symbols[places] = rows.symbols
        self._rows[places] = row_of
        self._starts: Int64Array = rows.offsets[:-1] + np.arange(1, count + 1)

    def _index(self, groups: Int32Array) -> None:
        capacity = 1 << 16
        self._table = np.full(2 * capacity, -1, np.int32)
        self._keys = np.zeros(capacity, np.int64)
        self._slots = np.zeros((capacity, 5), np.int64)
        self._state = np.zeros(2, np.int64)
        done = 0
        while True:
            done = pair_index.count_pairs(
                self._symbols,
                self._rows,
                self._raw,
                self._weight,
                groups,
                self._table,
                self._keys,
                self._slots,
                self._state,
                done,
            )
            if done == len(self._symbols):
                break
            self._make_room(len(self._keys), 0)
        used = int(self._state[0])
        needed = pair_index.lay_out(self._slots, used, self._kept)
        self._pool = np.empty(needed + needed // 2 + 1024, np.int32)
        self._state[1] = needed
        pair_index.list_places(
            self._symbols,
            self._rows,
            groups,
            self._table,
            self._keys,
            self._slots,
            self._pool,
            self._kept,
        )
        self._pending = np.full(self._groups, -1, np.int64)
        owner = self._keys[:used] >> (2 * ID_BITS)
        for group in range(self._groups):
            own = np.flatnonzero(owner == group)
            self._slots[own[:-1], pair_index.NEXT] = own[1:]
            if len(own):
                self._slots[own[-1], pair_index.NEXT] = -1
                self._pending[group] = own[0]
        self._heaps = [np.zeros((1024, 2), np.int64) for _ in range(self._groups)]
        self._heap_sizes = [0] * self._groups
        self._changes = np.zeros((len(self._lengths), 8), np.int64)
        self._touched = np.zeros(2 * len(self._lengths), np.int32)

    def _make_room(self, slots: int, places: int) -> None:
        """Let so many more slots and places fit."""
        used, filled = (int(value) for value in self._state)
        if used + slots > len(self._keys):
            capacity = max(2 * len(self._keys), used + slots)
            self._keys = _grow(self._keys, used, capacity)
            self._slots = _grow(self._slots, used, capacity)
        if used + slots > len(self._table) // 2:
            self._table = np.empty(1 << (2 * (used + slots)).bit_length(), np.int32)
            pair_index.fill_table(self._table, self._keys, used)
        if places and filled + places > len(self._pool):
            self._pool = _grow(
                self._pool, filled, max(filled + places, len(self._pool) + len(self._pool) // 4)
            )

    def _best(self, group: int) -> int:
        """The pair to merge next in a group, as left << ID_BITS | right; −1 when there is none."""
        while True:
            size, left_over = pair_heap.take_pending(
                self._heaps[group],
                self._heap_sizes[group],
                int(self._pending[group]),
                self._keys,
                self._slots,
                self._floor,
            )
            self._heap_sizes[group] = size
            self._pending[group] = left_over
            if left_over < 0:
                break
            self._heaps[group] = _grow(self._heaps[group], size, 2 * len(self._heaps[group]))
        while True:
            size, slot = pair_heap.pop_best(
                self._heaps[group], self._heap_sizes[group], self._keys, self._slots, self._floor
            )
            self._heap_sizes[group] = size
            if slot < 0:
                return -1
            pair = int(self._keys[slot]) & ((1 << (2 * ID_BITS)) - 1)
            if self._spell(pair) not in self._known:
                return pair

    def _spell(self, pair: int) -> bytes:
        return self._texts[pair >> ID_BITS] + self._texts[pair & ID_MASK]

    def merge_best(self, group: int = 0) -> Merge | None:
        """Merge the best pair of a group, in every group; None when it has none with enough evidence.

        Raises FitError when ids run out.
        """
        pair = self._best(group)
        if pair < 0:
            return None
        new = self._next
        if new > ID_MASK:
            raise FitError(f"token ids end at {ID_MASK:_}", "ask for fewer tokens")
        if new >= len(self._lengths):
            self._lengths = _grow(self._lengths, new, 2 * new)
            self._changes = np.zeros((2 * new, 8), np.int64)
            self._touched = np.zeros(4 * new, np.int32)
        places = pair_index.count_places(self._table, self._keys, self._slots, self._groups, pair)
        self._make_room(2 * min(places, (new + 1) * self._groups), 2 * places)
        count = pair_index.merge_pair(
            self._symbols,
            self._rows,
            self._raw,
            self._weight,
            self._watched,
            self._lengths,
            self._table,
            self._keys,
            self._slots,
            self._pool,
            self._changes,
            self._touched,
            self._pending,
            self.tokens,
            self._state,
            pair,
            new,
            self._kept,
        )
        text = self._spell(pair)
        self._texts[new] = text
        self._known.add(text)
        self._next += 1
        return Merge(pair >> ID_BITS, pair & ID_MASK, new, text, int(count))

    def count_tokens(self) -> Int32Array:
        """The tokens each row has now."""
        return pair_index.count_tokens(self._symbols, self._starts, self._lengths)

    def list_tokens(self) -> tuple[Int32Array, Int64Array]:
        """The ids of all rows as they are now, and where each row begins, int64[rows + 1]."""
        offsets = np.zeros(len(self._starts) + 1, np.int64)
        np.cumsum(self.count_tokens(), out=offsets[1:])
        found = pair_index.list_tokens(self._symbols, self._starts, self._lengths, offsets)
        return found, offsets

    def count_usage(self, rows: Int32Array, counts: Int64Array) -> Int64Array:
        """How often each id occurs in the given rows, each as often as `counts` says: int64[next id]."""
        usage = np.zeros(self._next, np.int64)
        pair_index.add_usage(self._symbols, self._starts, self._lengths, rows, counts, usage)
        return usage


def warm_kernels(progress: Progress | None = None) -> None:
    """Compile every kernel, or load it from the cache, by merging two rows: a step a user can see."""
    report = progress or Silent()
    report.start("compiling the merge engine (kept for next time)")
    one = np.ones(2, np.int64)
    symbols, offsets = np.array([0, 1, 0, 0, 1], np.int32), np.array([0, 2, 5], np.int64)
    rows = SymbolRows(symbols, offsets, one, one, np.zeros(2, np.int32), one)
    merger = Merger(rows, [b"a", b"b"], min_count=1)
    while merger.merge_best() is not None:
        pass
    merger.list_tokens()
    merger.count_usage(np.zeros(1, np.int32), one[:1])
    report.finish()


def _grow(array: npt.NDArray[Number], used: int, capacity: int) -> npt.NDArray[Number]:
    """A longer array that begins with the first `used` entries of this one."""
    grown = np.empty((capacity, *array.shape[1:]), array.dtype)
    grown[:used] = array[:used]
    return grown
