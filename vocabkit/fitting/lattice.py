"""Lattice: for every position of a lexicon, the pieces that end there, found once and kept as flat arrays.

Piece ids 1 … A are the characters in order of the alphabet: the text itself is their arc, so only longer pieces
are stored, five bytes an arc. Positions shared with the row before are not repeated. Removing pieces
compacts the arrays. What exceeds a memory limit is found again at every pass. Computes no probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.lexicon import Lexicon
from vocabkit.fitting.sorting import Int32Array, Int64Array, UInt8Array
from vocabkit.fitting.trie import Trie, find_child

_ARC_BYTES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Arcs:
    """The arcs of one partition: how many end at each of its positions, then each arc's piece and length."""

    count: UInt8Array
    piece: Int32Array
    length: UInt8Array

    @property
    def bytes(self) -> int:
        """Memory held."""
        return len(self.count) + _ARC_BYTES * len(self.piece)


class Lattice:
    """The arcs of a lexicon by partition; `None` where they are found again when asked for."""

    def __init__(
        self,
        lexicon: Lexicon,
        trie: Trie,
        longest: int,
        workers: Workers,
        memory: int | None = None,
    ) -> None:
        self.lexicon = lexicon
        self.trie = trie
        self.longest = longest
        self._memory = memory
        self._parts: list[Arcs | None] = [None] * (len(lexicon.partitions) - 1)
        self._store(workers)

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def bytes(self) -> int:
        """Memory held by arcs."""
        return sum(part.bytes for part in self._parts if part is not None)

    def arcs(self, partition: int) -> Arcs:
        """Return the arcs of a partition."""
        held = self._parts[partition]
        return held if held is not None else self._find(partition)

    def keep(self, remap: Int32Array, workers: Workers) -> None:
        """Renumber the pieces by `remap` and drop the arcs of those it maps to -1."""
        self.trie = self.trie.renumber(remap)

        def compact(part: Arcs | None) -> Arcs | None:
            if part is None:
                return None
            size = _compact(part.count, part.piece, part.length, remap)
            return Arcs(part.count, part.piece[:size].copy(), part.length[:size].copy())

        self._parts = workers.map(compact, self._parts)
        if any(part is None for part in self._parts):
            self._store(workers)

    def _store(self, workers: Workers) -> None:
        held = sum(part.bytes for part in self._parts if part is not None)
        missing = [k for k, part in enumerate(self._parts) if part is None]
        step = workers.threads
        for at in range(0, len(missing), step):
            if self._memory is not None and held >= self._memory:
                return
            batch = missing[at : at + step]
            for k, part in zip(batch, workers.map(self._find, batch), strict=True):
                if self._memory is None or held + part.bytes <= self._memory:
                    self._parts[k] = part
                    held += part.bytes

    def _find(self, partition: int) -> Arcs:
        lexicon = self.lexicon
        first, stop = lexicon.partitions[partition], lexicon.partitions[partition + 1]
        rows = int(lexicon.chunks[first]), int(lexicon.chunks[stop])
        count, piece, length = _find_arcs(
            lexicon.text,
            lexicon.offsets,
            lexicon.shared,
            *rows,
            self.trie.table,
            self.trie.piece,
            self.longest,
        )
        return Arcs(count, piece, length)


@compile
def _find_arcs(
    text: Int32Array,
    offsets: Int64Array,
    shared: UInt8Array,
    first: int,
    stop: int,
    table: Int64Array,
    terminal: Int32Array,
    longest: int,
) -> tuple[UInt8Array, Int32Array, UInt8Array]:
    size = 0
    for row in range(first, stop):
        size += offsets[row + 1] - 1 - offsets[row] - shared[row]
    count = np.zeros(size, np.uint8)
    room = 4 * size + longest
    piece = np.empty(room, np.int32)
    length = np.empty(room, np.uint8)
    place = 0
    arcs = 0
    for row in range(first, stop):
        for at in range(offsets[row] + shared[row], offsets[row + 1] - 1):
            if arcs + longest > room:
                room *= 2
                wider = np.empty(room, np.int32)
                wider[:arcs] = piece[:arcs]
                piece = wider
                longer = np.empty(room, np.uint8)
                longer[:arcs] = length[:arcs]
                length = longer
            node = 0
            here = arcs
            for back in range(longest):
                code = text[at - back]
                if code == 0:
                    break
                node = find_child(table, node, code)
                if node < 0:
                    break
                if terminal[node] >= 0:
                    piece[arcs] = terminal[node]
                    length[arcs] = back + 1
                    arcs += 1
            count[place] = arcs - here
            place += 1
    return count, piece[:arcs].copy(), length[:arcs].copy()


@compile
def _compact(count: UInt8Array, piece: Int32Array, length: UInt8Array, remap: Int32Array) -> int:
    read = 0
    write = 0
    for place in range(len(count)):
        here = write
        for _ in range(count[place]):
            new = remap[piece[read]]
            if new >= 0:
                piece[write] = new
                length[write] = length[read]
                write += 1
            read += 1
        count[place] = write - here
    return write
