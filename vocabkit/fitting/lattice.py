"""Lattice: for every position of a lexicon, the pieces that end there, found once and kept as flat arrays.

Piece ids 1 … A are the characters in order of the alphabet: the text itself is their arc, so only longer pieces
are stored, five bytes an arc. Positions shared with the row before are not repeated. Removing pieces
compacts the arrays. Seeds are runs of sorted positions, and their arcs are laid out from these at once; other
pieces are looked up in a trie. What exceeds a memory limit is found again at every pass. Computes no
probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.lexicon import Lexicon
from vocabkit.fitting.runs import Runs, count_runs, place_runs
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
        runs: Runs | None = None,
    ) -> None:
        """Find the arcs of the pieces of `trie`; `runs`, if given, must be the same pieces."""
        self.lexicon = lexicon
        self.trie = trie
        self.longest = longest
        self._memory = memory
        self._parts: list[Arcs | None] = [None] * (len(lexicon.partitions) - 1)
        if runs is not None:
            self._lay_out(runs, workers)
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

    def _lay_out(self, runs: Runs, workers: Workers) -> None:
        """Store all arcs from runs, if the limit allows; else none."""
        lexicon = self.lexicon
        ending = count_runs(runs, len(lexicon.text), workers)
        rows = lexicon.chunks[lexicon.partitions].tolist()
        offsets, shared = lexicon.offsets, lexicon.shared
        sizes = workers.map(
            lambda first, stop: _sum_counts(offsets, shared, ending, first, stop),
            rows[:-1],
            rows[1:],
        )
        arcs = sum(size for _, size in sizes)
        positions = sum(size for size, _ in sizes)
        if self._memory is not None and positions + _ARC_BYTES * arcs > self._memory:
            return
        piece, length = np.empty(arcs, np.int32), np.empty(arcs, np.uint8)
        start = np.empty(len(lexicon.text), np.uint32 if arcs < 2**32 else np.int64)
        first = 0
        counts = []
        for size, inside in sizes:
            counts.append((np.empty(size, np.uint8), first, inside))
            first += inside
        workers.map(
            lambda first, stop, to: _start_arcs(
                offsets, shared, ending, first, stop, to[1], to[0], start
            ),
            rows[:-1],
            rows[1:],
            counts,
        )
        place_runs(runs, start, piece, length, workers)
        self._parts = [
            Arcs(count, piece[at : at + inside], length[at : at + inside])
            for count, at, inside in counts
        ]

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
def _sum_counts(
    offsets: Int64Array, shared: UInt8Array, ending: UInt8Array, first: int, stop: int
) -> tuple[int, int]:
    """Return the positions of their own of rows `first` … `stop` - 1, and the arcs that end there."""
    size = 0
    arcs = 0
    for row in range(first, stop):
        for at in range(offsets[row] + shared[row], offsets[row + 1] - 1):
            size += 1
            arcs += ending[at]
    return size, arcs


@compile
def _start_arcs(
    offsets: Int64Array,
    shared: UInt8Array,
    ending: UInt8Array,
    first: int,
    stop: int,
    arc: int,
    count: UInt8Array,
    start: npt.NDArray[Any],
) -> None:
    place = 0
    for row in range(first, stop):
        for at in range(offsets[row] + shared[row], offsets[row + 1] - 1):
            count[place] = ending[at]
            start[at] = arc
            arc += ending[at]
            place += 1


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
