"""BPE merges from counted rows of symbols: which pair next, and what it changes.

Rows come from anywhere: the bytes of a pre-token for BPE from nothing, the ids a tokenizer gave it for more
merges on top of one. Nothing here knows what a symbol stands for beyond its text, which must be new for
every token: a pair that would spell a token there is already is passed over. That happens only where a
tokenizer holds tokens its own merges do not reach; otherwise a text has one segmentation whatever stands
around it, so that no two pairs spell the same (research on BPE calls it locality), and every token made
here is reached from its own text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import Float64Array, Int32Array, Int64Array
from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.compilation import compile

# --- Pair index ------------------------------------------------------------------------------------
# Adjacent pairs counted once, then only what a merge changes.
#
# Rows of symbols lie one after another in `symbols`, −1 before, between and behind them. A token of several
# symbols is written at its first and at its last place, and nowhere between, so that from any token both
# neighbours are one step away: the one before ends at the place before, and `lengths` tells where it starts.
#
# A pair is a slot: its key (group, left id, right id), its occurrences in raw and in weighted counts, and the
# places it was seen at, in ascending order. Places are not removed when a neighbour's merge takes one of the
# two away; a merge looks at each and skips those. Since a new pair always holds the newest id, no pair gains
# occurrences after the merge that made it, and one that starts below the floor can be left out for good.
#
# Everything is exact in 64-bit integers and independent of the order of rows.

ID_BITS = 23
"""Ids below 8,388,608, so that a group and two ids are one 64-bit key."""
ID_MASK = (1 << ID_BITS) - 1
RAW, WEIGHT, START, PLACES, NEXT = range(5)
"""Columns of a slot: two counts, where its places begin in the pool, how many, and the next one pending."""


class _Text(NamedTuple):
    """Rows in the course of merging: `rows` gives the row of a place, `starts` the first place of a row.

    `raw`, `weight`, `watched` and `groups` are by row, `lengths` by id.
    """

    symbols: Int32Array
    rows: Int32Array
    starts: Int64Array
    raw: Int64Array
    weight: Int64Array
    watched: Int64Array
    groups: Int32Array
    lengths: Int32Array


class _Pairs(NamedTuple):
    """All pairs: a hash table of slots, their keys and columns, and the pool of places.

    `pending[g]` leads the list of slots that the heap of group g has yet to take, −1 where there is none.
    `state` holds how many slots and how much of the pool are in use.
    """

    table: Int32Array
    keys: Int64Array
    slots: Int64Array
    pool: Int32Array
    pending: Int64Array
    state: Int64Array


class _Notes(NamedTuple):
    """What a merge changes beside a symbol, all zeros between two steps of it.

    `changes` [ids, 8] holds per neighbour the raw and weighted occurrences and the number of places on the
    left, the same on the right, and where the places of the new pair go. `touched` lists the symbols seen on
    the left from its beginning, those seen on the right from its end.
    """

    changes: Int64Array
    touched: Int32Array


@compile
def _pack_pair(group: int, left: int, right: int) -> int:
    return int((np.int64(group) << (2 * ID_BITS)) | (np.int64(left) << ID_BITS) | np.int64(right))


@compile
def _find_slot(table: Int32Array, keys: Int64Array, key: int) -> int:
    """The slot of a key; −1 − (its place in the table) when it has none."""
    mask = len(table) - 1
    spread = key * np.int64(-7046029254386353131)
    place = (spread ^ (spread >> 29)) & mask
    while table[place] >= 0:
        if keys[table[place]] == key:
            return int(table[place])
        place = (place + 1) & mask
    return int(-1 - place)


@compile
def _fill_table(table: Int32Array, keys: Int64Array, used: int) -> None:
    """Enter the first `used` slots into an empty, larger table."""
    table[:] = -1
    for slot in range(used):
        table[-1 - _find_slot(table, keys, keys[slot])] = slot


@compile
def _count_pairs(text: _Text, pairs: _Pairs, first: int) -> int:
    """Count the pairs at places `first`… of symbols of length one. Returns where it stopped, `len` if done.

    It stops when slots or table are full.
    """
    symbols, rows = text.symbols, text.rows
    table, keys, slots, state = pairs.table, pairs.keys, pairs.slots, pairs.state
    limit = min(len(keys), len(table) // 2)
    for i in range(first, len(symbols) - 1):
        if symbols[i] < 0 or symbols[i + 1] < 0:
            continue
        row = rows[i]
        key = _pack_pair(text.groups[row], symbols[i], symbols[i + 1])
        slot = _find_slot(table, keys, key)
        if slot < 0:
            if state[0] == limit:
                return i
            table[-1 - slot] = state[0]
            slot = state[0]
            keys[slot] = key
            slots[slot] = 0
            state[0] += 1
        slots[slot, RAW] += text.raw[row]
        slots[slot, WEIGHT] += text.weight[row]
        slots[slot, PLACES] += 1
    return len(symbols)


@compile
def _lay_out(slots: Int64Array, used: int, floor: int) -> int:
    """Give each slot of at least `floor` raw occurrences room for its places; return the room needed."""
    total = 0
    for slot in range(used):
        slots[slot, START] = total
        if slots[slot, RAW] >= floor:
            total += slots[slot, PLACES]
        slots[slot, PLACES] = 0
    return total


@compile
def _list_places(text: _Text, pairs: _Pairs, floor: int) -> None:
    """Write every place into its slot's room, in ascending order."""
    symbols, slots = text.symbols, pairs.slots
    for i in range(len(symbols) - 1):
        if symbols[i] < 0 or symbols[i + 1] < 0:
            continue
        key = _pack_pair(text.groups[text.rows[i]], symbols[i], symbols[i + 1])
        slot = _find_slot(pairs.table, pairs.keys, key)
        if slots[slot, RAW] >= floor:
            pairs.pool[slots[slot, START] + slots[slot, PLACES]] = i
            slots[slot, PLACES] += 1


@compile
def _count_places(table: Int32Array, keys: Int64Array, slots: Int64Array, groups: int, pair: int) -> int:
    """How many places a pair has in all groups: a bound on what merging it adds, per side."""
    total = 0
    for group in range(groups):
        slot = _find_slot(table, keys, _pack_pair(group, pair >> ID_BITS, pair & ID_MASK))
        if slot >= 0:
            total += slots[slot, PLACES]
    return total


@compile
def _note(
    changes: Int64Array, touched: Int32Array, found: int, symbol: int, side: int, raw: int, weight: int
) -> int:
    """Add one occurrence beside `symbol`; return how many symbols that side has seen."""
    at = 3 * side
    if changes[symbol, at + 2] == 0:
        touched[len(touched) - 1 - found if side else found] = symbol
        found += 1
    changes[symbol, at] += raw
    changes[symbol, at + 1] += weight
    changes[symbol, at + 2] += 1
    return found


@compile
def _seen(touched: Int32Array, side: int, k: int) -> int:
    return int(touched[len(touched) - 1 - k] if side else touched[k])


@compile
def _replace(
    text: _Text, pool: Int32Array, start: int, stop: int, pair: int, new: int, notes: _Notes
) -> tuple[int, int, int]:
    """Write `new` wherever the pair still stands; keep those places at the front of the pair's own.

    Returns where they stop, and how many neighbours were noted on the left and on the right.
    """
    left, right = pair >> ID_BITS, pair & ID_MASK
    symbols, rows, lengths = text.symbols, text.rows, text.lengths
    raw, weight = text.raw, text.weight
    changes, touched = notes
    first, second = lengths[left], lengths[right]
    valid = start
    lefts = rights = 0
    for k in range(start, stop):
        i = pool[k]
        j = i + first
        if symbols[i] != left or symbols[j] != right:
            continue
        row = rows[i]
        before, after = symbols[i - 1], symbols[j + second]
        # A neighbour merged a moment ago is noted too: its pair has no slot yet that could lose.
        if before >= 0:
            lefts = _note(changes, touched, lefts, before, 0, raw[row], weight[row])
        if after >= 0:
            rights = _note(changes, touched, rights, after, 1, raw[row], weight[row])
        if first > 1:
            symbols[j - 1] = -1
        if second > 1:
            symbols[j] = -1
        symbols[i] = new
        symbols[j + second - 1] = new
        pool[valid] = i
        valid += 1
    return valid, lefts, rights


@compile
def _lose(pairs: _Pairs, notes: _Notes, group: int, pair: int, lefts: int, rights: int) -> None:
    """Take what was noted off the pairs that the neighbours made before; clear the notes."""
    left, right = pair >> ID_BITS, pair & ID_MASK
    changes, touched = notes
    table, keys, slots = pairs.table, pairs.keys, pairs.slots
    for side in range(2):
        at = 3 * side
        for k in range(rights if side else lefts):
            symbol = _seen(touched, side, k)
            key = _pack_pair(group, right, symbol) if side else _pack_pair(group, symbol, left)
            slot = _find_slot(table, keys, key)
            if slot >= 0:
                slots[slot, RAW] -= changes[symbol, at]
                slots[slot, WEIGHT] -= changes[symbol, at + 1]
            changes[symbol, at : at + 3] = 0


@compile
def _enter(pairs: _Pairs, notes: _Notes, group: int, new: int, floor: int, lefts: int, rights: int) -> None:
    """Make slots of the pairs with `new` that have evidence; columns 6 and 7 tell where their places go."""
    changes, touched = notes
    table, keys, slots = pairs.table, pairs.keys, pairs.slots
    pending, state = pairs.pending, pairs.state
    for side in range(2):
        at = 3 * side
        for k in range(rights if side else lefts):
            symbol = _seen(touched, side, k)
            if changes[symbol, at] < floor:
                changes[symbol, 6 + side] = -1
                continue
            key = _pack_pair(group, new, symbol) if side else _pack_pair(group, symbol, new)
            slot = state[0]
            table[-1 - _find_slot(table, keys, key)] = slot
            keys[slot] = key
            slots[slot, RAW] = changes[symbol, at]
            slots[slot, WEIGHT] = changes[symbol, at + 1]
            slots[slot, START] = state[1]
            slots[slot, PLACES] = changes[symbol, at + 2]
            slots[slot, NEXT] = pending[group]
            pending[group] = slot
            changes[symbol, 6 + side] = state[1]
            state[0] += 1
            state[1] += changes[symbol, at + 2]


@compile
def _merge_pair(
    of_text: tuple[Any, ...], of_pairs: tuple[Any, ...], of_notes: tuple[Any, ...], tokens: Int64Array,
    pair: int, new: int, floor: int,
) -> int:  # fmt: skip
    """Replace `pair` by the token `new` in every group; return the raw occurrences replaced.

    `tokens[g]` falls by the `watched` count of each row. The caller has made room. Called once a merge, with
    plain tuples: named ones take 7 µs longer to hand over.
    """
    text, pairs, notes = _Text(*of_text), _Pairs(*of_pairs), _Notes(*of_notes)
    symbols, rows, lengths = text.symbols, text.rows, text.lengths
    raw, weight, watched = text.raw, text.weight, text.watched
    changes, touched = notes
    slots, pool = pairs.slots, pairs.pool
    left, right = pair >> ID_BITS, pair & ID_MASK
    whole = lengths[left] + lengths[right]
    lengths[new] = whole
    merged = 0
    for group in range(len(pairs.pending)):
        own = _find_slot(pairs.table, pairs.keys, _pack_pair(group, left, right))
        if own < 0 or slots[own, PLACES] == 0:
            continue
        start, stop = slots[own, START], slots[own, START] + slots[own, PLACES]
        stop, lefts, rights = _replace(text, pool, start, stop, pair, new, notes)
        _lose(pairs, notes, group, pair, lefts, rights)
        slots[own, RAW] = slots[own, WEIGHT] = slots[own, PLACES] = 0
        lefts = rights = 0
        for k in range(start, stop):
            i = pool[k]
            row = rows[i]
            merged += raw[row]
            tokens[group] -= watched[row]
            before, after = symbols[i - 1], symbols[i + whole]
            if before >= 0:
                lefts = _note(changes, touched, lefts, before, 0, raw[row], weight[row])
            # Two new tokens side by side are one pair: the left side of the second counts it.
            if after >= 0 and after != new:
                rights = _note(changes, touched, rights, after, 1, raw[row], weight[row])
        _enter(pairs, notes, group, new, floor, lefts, rights)
        for k in range(start, stop):
            i = pool[k]
            before, after = symbols[i - 1], symbols[i + whole]
            if before >= 0 and changes[before, 6] >= 0:
                pool[changes[before, 6]] = i - lengths[before]
                changes[before, 6] += 1
            if after >= 0 and after != new and changes[after, 7] >= 0:
                pool[changes[after, 7]] = i
                changes[after, 7] += 1
        for side in range(2):
            for k in range(rights if side else lefts):
                changes[_seen(touched, side, k)] = 0
    return merged


@compile
def _count_tokens(text: _Text) -> Int32Array:
    symbols, starts, lengths = text.symbols, text.starts, text.lengths
    found = np.zeros(len(starts), np.int32)
    for row in range(len(starts)):
        i = starts[row]
        while symbols[i] >= 0:
            found[row] += 1
            i += lengths[symbols[i]]
    return found


@compile
def _list_tokens(text: _Text, offsets: Int64Array) -> Int32Array:
    """The tokens of all rows, those of row r from `offsets[r]` on."""
    symbols, starts, lengths = text.symbols, text.starts, text.lengths
    found = np.zeros(offsets[-1], np.int32)
    for row in range(len(starts)):
        i, at = starts[row], offsets[row]
        while symbols[i] >= 0:
            found[at] = symbols[i]
            at += 1
            i += lengths[symbols[i]]
    return found


@compile
def _add_usage(text: _Text, chosen: Int32Array, counts: Int64Array, usage: Int64Array) -> None:
    """Add to `usage` how often each id occurs in the chosen rows, each row as often as `counts` says."""
    symbols, lengths = text.symbols, text.lengths
    for k in range(len(chosen)):
        i = text.starts[chosen[k]]
        while symbols[i] >= 0:
            usage[symbols[i]] += counts[k]
            i += lengths[symbols[i]]


# --- Pair heap -------------------------------------------------------------------------------------
# The pair with the highest count, of equals the one with the smallest ids: a lazy binary heap of slots.
#
# Counts in the heap may be out of date, but only too high: occurrences are lost to other merges, never
# gained. So the top is compared with its slot's count now and sinks when it was too high. This order of
# equals is the one of tokenizers' trainer.


@compile
def _is_before(count: int, key: int, other: int, other_key: int) -> bool:
    return count > other or (count == other and key < other_key)


@compile
def _sink(heap: Int64Array, size: int, place: int, count: int, slot: int, keys: Int64Array) -> None:
    """Let (count, slot) find its place at or below `place`."""
    key = keys[slot]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _is_before(
            heap[child + 1, 0], keys[heap[child + 1, 1]], heap[child, 0], keys[heap[child, 1]]
        ):
            child += 1
        if not _is_before(heap[child, 0], keys[heap[child, 1]], count, key):
            break
        heap[place, 0] = heap[child, 0]
        heap[place, 1] = heap[child, 1]
        place = child
    heap[place, 0] = count
    heap[place, 1] = slot


@compile
def _take_pending(
    heap: Int64Array, size: int, slot: int, keys: Int64Array, slots: Int64Array, floor: int
) -> tuple[int, int]:
    """Put the list of slots that `slot` leads into the heap; return its size and what found no room.

    Slots of fewer than `floor` raw occurrences are dropped: they never come up.
    """
    while slot >= 0 and size < len(heap):
        if slots[slot, RAW] >= floor:
            count, key = slots[slot, WEIGHT], keys[slot]
            place = size
            size += 1
            while place > 0:
                above = (place - 1) // 2
                if not _is_before(count, key, heap[above, 0], keys[heap[above, 1]]):
                    break
                heap[place, 0] = heap[above, 0]
                heap[place, 1] = heap[above, 1]
                place = above
            heap[place, 0] = count
            heap[place, 1] = slot
        slot = slots[slot, NEXT]
    return size, slot


@compile
def _pop_best(heap: Int64Array, size: int, keys: Int64Array, slots: Int64Array, floor: int) -> tuple[int, int]:
    """Take the best slot with at least `floor` raw occurrences off the heap; return its size and the slot.

    The slot is −1 when none is left.
    """
    while size > 0:
        count, slot = heap[0, 0], heap[0, 1]
        enough = slots[slot, RAW] >= floor
        if enough and slots[slot, WEIGHT] != count:
            _sink(heap, size, 0, slots[slot, WEIGHT], slot, keys)
            continue
        size -= 1
        if size > 0:
            _sink(heap, size, 0, heap[size, 0], heap[size, 1], keys)
        if enough:
            return size, slot
    return 0, -1


# --- Merging ---------------------------------------------------------------------------------------

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
        self, rows: SymbolRows, texts: Iterable[bytes], *, taken: Iterable[bytes] = (),
        next_id: int | None = None, min_count: int = 2,
    ) -> None:  # fmt: skip
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
        self._text = self._place_rows(rows)
        self.tokens = np.zeros(self._groups, np.int64)
        np.add.at(self.tokens, rows.group, np.diff(rows.offsets) * rows.watched)
        ids = len(self._text.lengths)
        self._notes = _Notes(np.zeros((ids, 8), np.int64), np.zeros(2 * ids, np.int32))
        self._pairs = self._index()
        self._heaps = [np.zeros((1024, 2), np.int64) for _ in range(self._groups)]
        self._heap_sizes = [0] * self._groups

    def _place_rows(self, rows: SymbolRows) -> _Text:
        count = len(rows)
        size = len(rows.symbols) + count + 1
        if size >= 2**31:
            raise FitError(
                f"{size:_} symbols of distinct pre-tokens are more than this engine indexes (2_147_483_647)",
                "count fewer languages, or raise the minimum count of words",
            )
        lengths = np.diff(rows.offsets)
        row_of = np.repeat(np.arange(count, dtype=np.int32), lengths)
        symbols = np.full(size, -1, np.int32)
        row_at = np.zeros(size, np.int32)
        places = np.arange(len(rows.symbols), dtype=np.int64) + row_of + 1
        symbols[places] = rows.symbols
        row_at[places] = row_of
        starts = rows.offsets[:-1] + np.arange(1, count + 1)
        ids = np.ones(max(self._next, len(self._texts)) + 1, np.int32)
        return _Text(symbols, row_at, starts, rows.raw, rows.weight, rows.watched, rows.group, ids)

    def _index(self) -> _Pairs:
        capacity = 1 << 16
        table, keys = np.full(2 * capacity, -1, np.int32), np.zeros(capacity, np.int64)
        slots, pending = np.zeros((capacity, 5), np.int64), np.full(self._groups, -1, np.int64)
        pairs = _Pairs(table, keys, slots, np.zeros(0, np.int32), pending, np.zeros(2, np.int64))
        done = 0
        while (done := _count_pairs(self._text, pairs, done)) < len(self._text.symbols):
            pairs = _make_room(pairs, len(pairs.keys), 0)
        used = int(pairs.state[0])
        needed = _lay_out(pairs.slots, used, self._kept)
        pairs.state[1] = needed
        pairs = pairs._replace(pool=np.empty(needed + needed // 2 + 1024, np.int32))
        _list_places(self._text, pairs, self._kept)
        owner = pairs.keys[:used] >> (2 * ID_BITS)
        for group in range(self._groups):
            own = np.flatnonzero(owner == group)
            pairs.slots[own[:-1], NEXT] = own[1:]
            if len(own):
                pairs.slots[own[-1], NEXT] = -1
                pairs.pending[group] = own[0]
        return pairs

    def _best(self, group: int) -> int:
        """The pair to merge next in a group, as left << ID_BITS | right; −1 when there is none."""
        size, pending = self._heap_sizes[group], self._pairs.pending
        keys, slots = self._pairs.keys, self._pairs.slots
        while True:
            given = (self._heaps[group], size, int(pending[group]), keys, slots, self._floor)
            size, pending[group] = _take_pending(*given)
            if pending[group] < 0:
                break
            self._heaps[group] = _grow(self._heaps[group], size, 2 * len(self._heaps[group]))
        while True:
            size, slot = _pop_best(self._heaps[group], size, keys, slots, self._floor)
            self._heap_sizes[group] = size
            if slot < 0:
                return -1
            pair = int(keys[slot]) & ((1 << (2 * ID_BITS)) - 1)
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
        if new >= len(self._text.lengths):
            self._text = self._text._replace(lengths=_grow(self._text.lengths, new, 2 * new))
            self._notes = _Notes(np.zeros((2 * new, 8), np.int64), np.zeros(4 * new, np.int32))
        pairs = self._pairs
        places = _count_places(pairs.table, pairs.keys, pairs.slots, self._groups, pair)
        slots = 2 * min(places, (new + 1) * self._groups)
        self._pairs = pairs = _make_room(pairs, slots, 2 * places)
        given = (tuple(self._text), tuple(pairs), tuple(self._notes), self.tokens)
        count = _merge_pair(*given, pair, new, self._kept)
        text = self._texts[new] = self._spell(pair)
        self._known.add(text)
        self._next += 1
        return Merge(pair >> ID_BITS, pair & ID_MASK, new, text, int(count))

    def count_tokens(self) -> Int32Array:
        """The tokens each row has now."""
        return _count_tokens(self._text)

    def list_tokens(self) -> tuple[Int32Array, Int64Array]:
        """The ids of all rows as they are now, and where each row begins, int64[rows + 1]."""
        offsets = np.concatenate(([0], np.cumsum(self.count_tokens(), dtype=np.int64)))
        return _list_tokens(self._text, offsets), offsets

    def count_usage(self, rows: Int32Array, counts: Int64Array) -> Int64Array:
        """How often each id occurs in the given rows, each as often as `counts` says: int64[next id]."""
        usage = np.zeros(self._next, np.int64)
        _add_usage(self._text, rows, counts, usage)
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


def _make_room(pairs: _Pairs, slots: int, places: int) -> _Pairs:
    """Return the pairs with room for so many more slots and places."""
    used, filled = (int(value) for value in pairs.state)
    if used + slots > len(pairs.keys):
        capacity = max(2 * len(pairs.keys), used + slots)
        keys, columns = _grow(pairs.keys, used, capacity), _grow(pairs.slots, used, capacity)
        pairs = pairs._replace(keys=keys, slots=columns)
    if used + slots > len(pairs.table) // 2:
        pairs = pairs._replace(table=np.empty(1 << (2 * (used + slots)).bit_length(), np.int32))
        _fill_table(pairs.table, pairs.keys, used)
    if places and filled + places > len(pairs.pool):
        capacity = max(filled + places, len(pairs.pool) + len(pairs.pool) // 4)
        return pairs._replace(pool=_grow(pairs.pool, filled, capacity))
    return pairs


def _grow(array: npt.NDArray[Number], used: int, capacity: int) -> npt.NDArray[Number]:
    grown = np.empty((capacity, *array.shape[1:]), array.dtype)
    grown[:used] = array[:used]
    return grown


# --- Parity-aware merges ---------------------------------------------------------------------------
# Each is the most frequent pair of the language that is worst off at the moment: the one with the most tokens
# per unit (a line of aligned text, a byte, a character) of its development text. The idea is Foroutan et al.'s
# (Parity-Aware Byte-Pair Encoding); two flaws of the published program are mended here: a language without a
# pair left is passed over where the original ends the whole training, and pairs are indexed where it scans them
# all for every merge.


class ParityMerger:
    """Merges by turns of the language worst off, of equals the first.

    `units[g]` is the size of group g's development text, above 0. With `window` > 0 a language that had more
    than `share` ÷ (number of languages) of the last `window` merges waits; where all wait, none does.
    """

    def __init__(
        self, merger: Merger, units: Sequence[float], *, window: int = 100, share: float = 2.0
    ) -> None:
        self._merger = merger
        self._units = np.asarray(units, np.float64)
        self._open = np.ones(len(units), np.bool_)
        self._recent: deque[int] = deque(maxlen=window or None)
        self._window, self._most = window, max(share * window / len(units), 1.0)
        self._turns = np.zeros(len(units), np.int64)
        self.chosen = np.zeros(len(units), np.int64)
        """How many merges each group chose."""

    def costs(self) -> Float64Array:
        """Tokens per unit of each group's development text now."""
        return self._merger.tokens / self._units

    def merge(self) -> Iterator[Merge]:
        """Merges until no language has a pair with enough evidence."""
        while self._open.any():
            free = self._open & (self._turns < self._most)
            # The worst off of those that need not wait.
            group = int(np.argmax(np.where(free if free.any() else self._open, self.costs(), -1.0)))
            found = self._merger.merge_best(group)
            if found is None:
                self._open[group] = False
                continue
            self.chosen[group] += 1
            if self._window:
                if len(self._recent) == self._window:
                    self._turns[self._recent[0]] -= 1
                self._recent.append(group)
                self._turns[group] += 1
            yield found

    @property
    def exhausted(self) -> tuple[int, ...]:
        """The groups without a pair left."""
        return tuple(int(group) for group in np.flatnonzero(~self._open))
