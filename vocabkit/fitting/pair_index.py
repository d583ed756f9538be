"""The kernels of a BPE merge: adjacent pairs counted once, then only what a merge changes.

Rows of symbols lie one after another in `symbols`, −1 before, between and behind them. A token of several
symbols is written at its first and at its last place, and nowhere between, so that from any token both
neighbours are one step away: the one before ends at the place before, and `lengths` tells where it starts.

A pair is a slot: its key (group, left id, right id), its occurrences in raw and in weighted counts, and the
places it was seen at, in ascending order. Places are not removed when a neighbour's merge takes one of the
two away; a merge looks at each and skips those. Since a new pair always holds the newest id, no pair gains
occurrences after the merge that made it, and one that starts below the floor can be left out for good.

Everything is exact in 64-bit integers and independent of the order of rows. Choosing pairs is `pair_heap`'s.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.compilation import compile

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

ID_BITS = 23
"""Ids below 8,388,608, so that a group and two ids are one 64-bit key."""
ID_MASK = (1 << ID_BITS) - 1
RAW, WEIGHT, START, PLACES, NEXT = range(5)
"""Columns of a slot: two counts, where its places begin in the pool, how many, and the next one pending."""


@compile
def pack_pair(group: int, left: int, right: int) -> int:
    """The key of a group's pair."""
    return int((np.int64(group) << (2 * ID_BITS)) | (np.int64(left) << ID_BITS) | np.int64(right))


@compile
def find_slot(table: Int32Array, keys: Int64Array, key: int) -> int:
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
def fill_table(table: Int32Array, keys: Int64Array, used: int) -> None:
    """Enter the first `used` slots into an empty, larger table."""
    table[:] = -1
    for slot in range(used):
        table[-1 - find_slot(table, keys, keys[slot])] = slot


@compile
def count_pairs(
    symbols: Int32Array,
    rows: Int32Array,
    raw: Int64Array,
    weight: Int64Array,
    groups: Int32Array,
    table: Int32Array,
    keys: Int64Array,
    slots: Int64Array,
    state: Int64Array,
    first: int,
) -> int:
    """Count the pairs at places `first`… of symbols of length one. Returns where it stopped, `len` if done.

    `state[0]` is the number of slots in use. It stops when slots or table are full.
    """
    limit = min(len(keys), len(table) // 2)
    for i in range(first, len(symbols) - 1):
        if symbols[i] < 0 or symbols[i + 1] < 0:
            continue
        row = rows[i]
        key = pack_pair(groups[row], symbols[i], symbols[i + 1])
        slot = find_slot(table, keys, key)
        if slot < 0:
            if state[0] == limit:
                return i
            table[-1 - slot] = state[0]
            slot = state[0]
            keys[slot] = key
            slots[slot] = 0
            state[0] += 1
        slots[slot, RAW] += raw[row]
        slots[slot, WEIGHT] += weight[row]
        slots[slot, PLACES] += 1
    return len(symbols)


@compile
def lay_out(slots: Int64Array, used: int, floor: int) -> int:
    """Give each slot of at least `floor` raw occurrences room for its places; return the room needed."""
    total = 0
    for slot in range(used):
        slots[slot, START] = total
        if slots[slot, RAW] >= floor:
            total += slots[slot, PLACES]
        slots[slot, PLACES] = 0
    return total


@compile
def list_places(
    symbols: Int32Array,
    rows: Int32Array,
    groups: Int32Array,
    table: Int32Array,
    keys: Int64Array,
    slots: Int64Array,
    pool: Int32Array,
    floor: int,
) -> None:
    """Write every place into its slot's room, in ascending order."""
    for i in range(len(symbols) - 1):
        if symbols[i] < 0 or symbols[i + 1] < 0:
            continue
        key = pack_pair(groups[rows[i]], symbols[i], symbols[i + 1])
        slot = find_slot(table, keys, key)
        if slots[slot, RAW] >= floor:
            pool[slots[slot, START] + slots[slot, PLACES]] = i
            slots[slot, PLACES] += 1


@compile
def count_places(
    table: Int32Array, keys: Int64Array, slots: Int64Array, group_count: int, pair: int
) -> int:
    """How many places a pair has in all groups: a bound on what merging it adds, per side."""
    total = 0
    for group in range(group_count):
        slot = find_slot(table, keys, pack_pair(group, pair >> ID_BITS, pair & ID_MASK))
        if slot >= 0:
            total += slots[slot, PLACES]
    return total


@compile
def _note(
    changes: Int64Array,
    touched: Int32Array,
    found: int,
    symbol: int,
    side: int,
    raw: int,
    weight: int,
) -> int:
    """Add one occurrence beside `symbol` to `changes`; return how many symbols that side has seen.

    The symbols seen on the left fill `touched` from its beginning, those on the right from its end.
    """
    at = 3 * side
    if changes[symbol, at + 2] == 0:
        touched[len(touched) - 1 - found if side else found] = symbol
        found += 1
    changes[symbol, at] += raw
    changes[symbol, at + 1] += weight
    changes[symbol, at + 2] += 1
    return found


@compile
def _replace(
    symbols: Int32Array,
    rows: Int32Array,
    raw: Int64Array,
    weight: Int64Array,
    lengths: Int32Array,
    pool: Int32Array,
    start: int,
    stop: int,
    left: int,
    right: int,
    new: int,
    changes: Int64Array,
    touched: Int32Array,
) -> tuple[int, int, int]:
    """Write `new` wherever the pair still stands; keep those places at the front of the pair's own.

    Returns where they stop, and how many neighbours were noted on the left and on the right.
    """
    first, second = lengths[left], lengths[right]
    valid = start
    lefts, rights = 0, 0
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
def _lose(
    table: Int32Array,
    keys: Int64Array,
    slots: Int64Array,
    group: int,
    left: int,
    right: int,
    changes: Int64Array,
    touched: Int32Array,
    lefts: int,
    rights: int,
) -> None:
    """Take what was noted off the pairs that the neighbours made before; clear the notes."""
    for side in range(2):
        for k in range(rights if side else lefts):
            symbol = touched[len(touched) - 1 - k] if side else touched[k]
            key = pack_pair(group, right, symbol) if side else pack_pair(group, symbol, left)
            slot = find_slot(table, keys, key)
            if slot >= 0:
                slots[slot, RAW] -= changes[symbol, 3 * side]
                slots[slot, WEIGHT] -= changes[symbol, 3 * side + 1]
            changes[symbol, 3 * side : 3 * side + 3] = 0


@compile
def _enter(
    table: Int32Array,
    keys: Int64Array,
    slots: Int64Array,
    state: Int64Array,
    pending: Int64Array,
    group: int,
    new: int,
    floor: int,
    changes: Int64Array,
    touched: Int32Array,
    lefts: int,
    rights: int,
) -> None:
    """Make slots of the pairs with `new` that have evidence; columns 6 and 7 tell where their places go."""
    for side in range(2):
        at = 3 * side
        for k in range(rights if side else lefts):
            symbol = touched[len(touched) - 1 - k] if side else touched[k]
            if changes[symbol, at] < floor:
                changes[symbol, 6 + side] = -1
                continue
            key = pack_pair(group, new, symbol) if side else pack_pair(group, symbol, new)
            slot = state[0]
            table[-1 - find_slot(table, keys, key)] = slot
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
def merge_pair(
    symbols: Int32Array,
    rows: Int32Array,
    raw: Int64Array,
    weight: Int64Array,
    watched: Int64Array,
    lengths: Int32Array,
    table: Int32Array,
    keys: Int64Array,
    slots: Int64Array,
    pool: Int32Array,
    changes: Int64Array,
    touched: Int32Array,
    pending: Int64Array,
    tokens: Int64Array,
    state: Int64Array,
    pair: int,
    new: int,
    floor: int,
) -> int:
    """Replace `pair` by the token `new` in every group; return the raw occurrences replaced.

    `changes` is zeros [ids, 8] and left so: per neighbour the raw and weighted occurrences and the number of
    places, first of what goes, then of what comes, on the left and the right. `pending[g]` leads the list
    of slots that `pair_heap` has yet to take. `tokens[g]` falls by the `watched` count of each row.
    `state` holds the slots and the pool in use. The caller has made room.
    """
    left, right = pair >> ID_BITS, pair & ID_MASK
    whole = lengths[left] + lengths[right]
    lengths[new] = whole
    merged = 0
    for group in range(len(pending)):
        own = find_slot(table, keys, pack_pair(group, left, right))
        if own < 0 or slots[own, PLACES] == 0:
            continue
        start, stop = slots[own, START], slots[own, START] + slots[own, PLACES]
        stop, lefts, rights = _replace(
            symbols,
            rows,
            raw,
            weight,
            lengths,
            pool,
            start,
            stop,
            left,
            right,
            new,
            changes,
            touched,
        )
        _lose(table, keys, slots, group, left, right, changes, touched, lefts, rights)
        slots[own, RAW] = 0
        slots[own, WEIGHT] = 0
        slots[own, PLACES] = 0
        lefts, rights = 0, 0
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
        _enter(
            table, keys, slots, state, pending, group, new, floor, changes, touched, lefts, rights
        )
        for k in range(start, stop):
            i = pool[k]
            before, after = symbols[i - 1], symbols[i + whole]
            if before >= 0 and changes[before, 6] >= 0:
                pool[changes[before, 6]] = i - lengths[before]
                changes[before, 6] += 1
            if after >= 0 and after != new and changes[after, 7] >= 0:
                pool[changes[after, 7]] = i
                changes[after, 7] += 1
        for k in range(lefts):
            changes[touched[k]] = 0
        for k in range(rights):
            changes[touched[len(touched) - 1 - k]] = 0
    return merged


@compile
def count_tokens(symbols: Int32Array, starts: Int64Array, lengths: Int32Array) -> Int32Array:
    """How many tokens each row has now."""
    found = np.zeros(len(starts), np.int32)
    for row in range(len(starts)):
        i = starts[row]
        while symbols[i] >= 0:
            found[row] += 1
            i += lengths[symbols[i]]
    return found


@compile
def list_tokens(
    symbols: Int32Array, starts: Int64Array, lengths: Int32Array, offsets: Int64Array
) -> Int32Array:
    """The tokens of all rows, those of row r from `offsets[r]` on."""
    found = np.zeros(offsets[-1], np.int32)
    for row in range(len(starts)):
        i, at = starts[row], offsets[row]
        while symbols[i] >= 0:
            found[at] = symbols[i]
            at += 1
            i += lengths[symbols[i]]
    return found


@compile
def add_usage(
    symbols: Int32Array,
    starts: Int64Array,
    lengths: Int32Array,
    chosen: Int32Array,
    counts: Int64Array,
    usage: Int64Array,
) -> None:
    """Add to `usage` how often each id occurs in the chosen rows, each row as often as `counts` says."""
    for k in range(len(chosen)):
        i = starts[chosen[k]]
        while symbols[i] >= 0:
            usage[symbols[i]] += counts[k]
            i += lengths[symbols[i]]
