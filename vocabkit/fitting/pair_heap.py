"""The pair with the highest count, of equals the one with the smallest ids: a lazy binary heap of slots.

Counts in the heap may be out of date, but only too high: occurrences are lost to other merges, never
gained. So the top is compared with its slot's count now and sinks when it was too high. This order of
equals is the one of tokenizers' trainer. Counting is `pair_index`'s.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.compilation import compile
from vocabkit.fitting.pair_index import NEXT, RAW, WEIGHT

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


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
def take_pending(
    heap: Int64Array, size: int, first: int, keys: Int64Array, slots: Int64Array, floor: int
) -> tuple[int, int]:
    """Put the list of slots that `first` leads into the heap; return its size and what found no room.

    Slots of fewer than `floor` raw occurrences are dropped: they never come up.
    """
    slot = first
    while slot >= 0 and size < len(heap):
        following = slots[slot, NEXT]
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
        slot = following
    return size, slot


@compile
def pop_best(
    heap: Int64Array, size: int, keys: Int64Array, slots: Int64Array, floor: int
) -> tuple[int, int]:
    """Take the best slot with at least `floor` raw occurrences off the heap; return its size and the slot.

    The slot is −1 when none is left.
    """
    while size > 0:
        count, slot = heap[0, 0], heap[0, 1]
        if slots[slot, RAW] >= floor and slots[slot, WEIGHT] == count:
            size -= 1
            if size > 0:
                _sink(heap, size, 0, heap[size, 0], heap[size, 1], keys)
            return size, slot
        if slots[slot, RAW] >= floor:
            _sink(heap, size, 0, slots[slot, WEIGHT], slot, keys)
        else:
            size -= 1
            if size > 0:
                _sink(heap, size, 0, heap[size, 0], heap[size, 1], keys)
    return 0, -1
