"""A trie of pieces read from their last character to their first, as one flat hash table.

Answers one question quickly: which pieces end at this position of a text. An entry is two neighbouring
numbers, so a step costs one visit to memory. Removing pieces keeps the nodes; holds no scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vocabkit.fitting.compilation import compile
from vocabkit.fitting.sorting import Int32Array, Int64Array

CODE_BITS = 21


@dataclass(frozen=True, slots=True, eq=False)
class Trie:
    """`table` holds (node << 21 | code, child) pairs, -1 where empty; `piece[node]` is a piece id or -1."""

    table: Int64Array
    piece: Int32Array

    def renumber(self, remap: Int32Array) -> Trie:
        """Return the trie with piece ids mapped by `remap` (-1: the piece is gone)."""
        return Trie(self.table, np.where(self.piece >= 0, remap[self.piece], np.int32(-1)))


def build_trie(text: Int32Array, last: Int64Array, length: Int64Array, first_id: int) -> Trie:
    """Build a trie of the strings of `length[i]` codes that end at `last[i]` of `text`, with ids in order."""
    nodes = 1 + int(length.sum())
    size = 1 << max(int(nodes * 1.5).bit_length(), 4)
    table, piece = _insert(text, last, length, first_id, size, nodes)
    return Trie(table, piece)


@compile
def find_child(table: Int64Array, node: int, code: int) -> int:
    """Return the child of `node` by `code`, or -1."""
    mask = (len(table) >> 1) - 1
    key = (np.int64(node) << CODE_BITS) | np.int64(code)
    slot = key * np.int64(-7046029254386353131)
    slot = (slot ^ (slot >> 32)) & mask
    while True:
        found = table[2 * slot]
        if found == key:
            return int(table[2 * slot + 1])
        if found == -1:
            return -1
        slot = (slot + 1) & mask


@compile
def _insert(
    text: Int32Array, last: Int64Array, length: Int64Array, first_id: int, size: int, room: int
) -> tuple[Int64Array, Int32Array]:
    table = np.full(2 * size, -1, np.int64)
    piece = np.full(room, -1, np.int32)
    mask = size - 1
    nodes = 1
    for i in range(len(last)):
        node = np.int64(0)
        for back in range(length[i]):
            key = (node << CODE_BITS) | np.int64(text[last[i] - back])
            slot = key * np.int64(-7046029254386353131)
            slot = (slot ^ (slot >> 32)) & mask
            while table[2 * slot] != key and table[2 * slot] != -1:
                slot = (slot + 1) & mask
            if table[2 * slot] == -1:
                table[2 * slot] = key
                table[2 * slot + 1] = nodes
                nodes += 1
            node = table[2 * slot + 1]
        piece[node] = first_id + i
    return table, piece[:nodes].copy()
