"""Sorting positions of a flat text by the characters that follow them, or that precede them.

A text is an int32 array of character codes in which 0 ends every row and also stands at the very beginning.
Positions are grouped by their first character, then refined a packed key of several characters at a time;
each group is sorted by one thread, so the outcome is the same for any number of threads. Beside the order it
gives how many characters neighbours share. Equal strings end up adjacent; nothing is hashed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.compilation import Workers, compile

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]

EQUAL = 255
"""Marks a position whose whole string equals the one before it."""
FAR = 250
"""The most shared characters that are told apart."""
_PENDING = 254
_SMALL = 24
_BATCH = 1 << 16


def sort_positions(
    text: Int32Array,
    items: Int32Array,
    characters: int,
    workers: Workers,
    *,
    step: int,
    depth: int,
    evidence: npt.NDArray[Any] | None = None,
    floor: int = 0,
) -> tuple[UInt8Array, Int64Array]:
    """Sort `items` in place by the string read from each in direction `step`, up to `depth` characters.

    `characters` is the largest code. Returns, per item, how many characters it shares with the item before
    it (at most `depth` and `FAR`, or `EQUAL`), and where each first character's group starts. A group whose
    `evidence`, indexed by position, sums to less than `floor` is left unsorted.
    """
    starts = np.zeros(characters + 2, np.int64)
    grouped = np.empty_like(items)
    _group(text, items, starts, grouped)
    items[:] = grouped
    del grouped
    shared = np.zeros(len(items), np.uint8)
    given = evidence if evidence is not None else np.zeros(0, np.int32)
    bits = max(int(characters).bit_length(), 1)
    per_key = 63 // bits

    def refine(group: tuple[int, int]) -> None:
        _refine(
            text,
            items,
            shared,
            starts,
            group[0],
            group[1],
            step,
            per_key,
            bits,
            depth,
            floor,
            given,
        )

    workers.map(refine, batch_groups(starts))
    return shared, starts


def batch_groups(starts: Int64Array, batch: int = _BATCH) -> list[tuple[int, int]]:
    """Return ranges of neighbouring groups for one task each, the largest task first."""
    ranges = []
    first = 0
    for group in range(1, len(starts)):
        if starts[group] - starts[first] >= batch or group == len(starts) - 1:
            ranges.append((first, group))
            first = group
    return sorted(ranges, key=lambda r: (int(starts[r[0]] - starts[r[1]]), r))


@compile
def _group(text: Int32Array, items: Int32Array, starts: Int64Array, out: Int32Array) -> None:
    for i in range(len(items)):
        starts[text[items[i]] + 1] += 1
    for code in range(1, len(starts)):
        starts[code] += starts[code - 1]
    place = starts.copy()
    for i in range(len(items)):
        code = text[items[i]]
        out[place[code]] = items[i]
        place[code] += 1


@compile
def _refine(
    text: Int32Array,
    items: Int32Array,
    shared: UInt8Array,
    starts: Int64Array,
    first: int,
    stop: int,
    step: int,
    per_key: int,
    bits: int,
    depth: int,
    floor: int,
    evidence: npt.NDArray[Any],
) -> None:
    widest = 0
    for group in range(first, stop):
        widest = max(widest, starts[group + 1] - starts[group])
    keys = np.empty(widest, np.int64)
    for group in range(first, stop):
        lo, hi = starts[group], starts[group + 1]
        for i in range(lo + 1, hi):
            shared[i] = _PENDING
        done = 1
        pending = hi - lo > 1
        while pending:
            pending = False
            i = lo
            while i < hi:
                j = i + 1
                while j < hi and shared[j] == _PENDING:
                    j += 1
                if j - i > 1 and _refine_run(
                    text,
                    items,
                    shared,
                    keys,
                    i,
                    j,
                    lo,
                    done,
                    step,
                    per_key,
                    bits,
                    depth,
                    floor,
                    evidence,
                ):
                    pending = True
                i = j
            done += per_key


@compile
def _refine_run(
    text: Int32Array,
    items: Int32Array,
    shared: UInt8Array,
    keys: Int64Array,
    lo: int,
    hi: int,
    base: int,
    done: int,
    step: int,
    per_key: int,
    bits: int,
    depth: int,
    floor: int,
    evidence: npt.NDArray[Any],
) -> bool:
    settled = done >= depth
    if not settled and hi - lo < floor:
        total = 0
        for i in range(lo, hi):
            total += evidence[items[i]]
        settled = total < floor
    if settled:
        for i in range(lo + 1, hi):
            shared[i] = min(done, depth, FAR)
        return False
    for i in range(lo, hi):
        key = np.int64(0)
        place = items[i] + step * done
        for _ in range(per_key):
            code = np.int64(text[place])
            key = (key << bits) | code
            if code != 0:
                place += step
        keys[i - base] = key
    _sort_pairs(keys, items, lo - base, hi - base, base)
    again = False
    last = (np.int64(1) << bits) - 1
    for i in range(lo + 1, hi):
        key = keys[i - base]
        if key == keys[i - base - 1]:
            if key & last == 0:
                shared[i] = EQUAL
            else:
                shared[i] = _PENDING
                again = True
        else:
            difference = key ^ keys[i - base - 1]
            same = per_key
            while difference != 0:
                difference >>= bits
                same -= 1
            shared[i] = min(done + same, depth, FAR)
    return again


@compile
def _sort_pairs(keys: Int64Array, items: Int32Array, lo: int, hi: int, base: int) -> None:
    """Sort keys[lo:hi], and items[base + lo : base + hi] with them: three-way quicksort."""
    stack = np.empty(256, np.int64)
    depth = 0
    while True:
        while hi - lo > _SMALL:
            middle = (lo + hi) >> 1
            a, b, c = keys[lo], keys[middle], keys[hi - 1]
            pivot = max(min(a, b), min(max(a, b), c))
            left, at, right = lo, lo, hi
            while at < right:
                key = keys[at]
                if key < pivot:
                    item = items[base + at]
                    keys[at] = keys[left]
                    items[base + at] = items[base + left]
                    keys[left] = key
                    items[base + left] = item
                    left += 1
                    at += 1
                elif key > pivot:
                    right -= 1
                    item = items[base + at]
                    keys[at] = keys[right]
                    items[base + at] = items[base + right]
                    keys[right] = key
                    items[base + right] = item
                else:
                    at += 1
            # The longer side waits, so the stack stays below two entries a halving.
            if left - lo > hi - right:
                stack[depth], stack[depth + 1] = lo, left
                lo = right
            else:
                stack[depth], stack[depth + 1] = right, hi
                hi = left
            depth += 2
        for i in range(lo + 1, hi):
            key, item = keys[i], items[base + i]
            j = i
            while j > lo and keys[j - 1] > key:
                keys[j] = keys[j - 1]
                items[base + j] = items[base + j - 1]
                j -= 1
            keys[j] = key
            items[base + j] = item
        if depth == 0:
            return
        depth -= 2
        lo, hi = stack[depth], stack[depth + 1]
