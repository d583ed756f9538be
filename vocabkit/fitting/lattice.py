"""Lattice: for every position of a lexicon, the pieces that end there, found once and kept as flat arrays.

Piece ids 1 … A are the characters in order of the alphabet: the text itself is their arc, so only longer pieces
are stored, five bytes an arc. Positions shared with the row before are not repeated. Removing pieces
compacts the arrays. Seeds are runs of sorted positions, and their arcs are laid out from these at once; other
pieces are looked up in a trie. What exceeds a memory limit is found again at every pass. Computes no
probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import Float64Array, Int32Array, Int64Array, UInt8Array
from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.lexicon import SHORT, Lexicon, build_strings

# --- Runs ------------------------------------------------------------------------------------------
# Runs: seeds as stretches of sorted positions, and the arcs they make, without looking anything up.
#
# Positions are sorted by the characters that end there, so all positions where a seed ends are neighbours,
# and
# the seeds that end at one position are those whose runs hold it. Runs nest like brackets: a stack that
# follows
# the order has, at each position, its pieces from the shortest to the longest. A trie needs about eight
# visits to
# memory a position for what takes three here.


_TASKS = 64
_BLOCK = 256
_DEEP = 64
"""More than the lengths a piece can have, and so than the runs that hold one position."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Seeds with ids `first_id` … as runs of `order`, outer runs before the ones inside them.

    Seed `seed[i]` ends at `order[begin[i] : stop[i]]`. `tasks` are places in `begin` where no run is open.
    """

    order: Int32Array
    begin: Int32Array
    stop: Int32Array
    length: UInt8Array
    seed: Int32Array
    tasks: Int64Array
    first_id: int


def build_runs(
    order: Int32Array, begin: Int32Array, stop: Int32Array, length: UInt8Array, first_id: int
) -> Runs:
    """Sort runs from the outside in and divide them into tasks. The i-th seed has id `first_id` + i."""
    seed = np.argsort(begin.astype(np.int64) * _DEEP + length).astype(np.int32)
    begin, stop, length = begin[seed], stop[seed], length[seed]
    # A run that begins where all before it have ended is inside none.
    ended = np.maximum.accumulate(np.concatenate((np.zeros(1, np.int32), stop)))[:-1]
    free = np.flatnonzero(begin >= ended)
    wanted = np.linspace(0, len(begin), _TASKS + 1)
    bounds = [0, len(begin)]
    if len(free):
        near = np.minimum(np.searchsorted(free, wanted), len(free) - 1)
        bounds += free[near].tolist()
    tasks = np.unique(np.array(bounds, np.int64))
    return Runs(order, begin, stop, length, seed, tasks, first_id)


def _count_runs(runs: Runs, positions: int, workers: Workers) -> UInt8Array:
    """Return how many seeds end at each position of a text of so many."""
    out = np.zeros(positions, np.uint8)

    def count(task: int) -> None:
        bounds = int(runs.tasks[task]), int(runs.tasks[task + 1])
        _count(runs.order, runs.begin, runs.stop, *bounds, out)

    workers.map(count, range(len(runs.tasks) - 1))
    return out


def _place_runs(
    runs: Runs, start: npt.NDArray[Any], piece: Int32Array, length: UInt8Array, workers: Workers
) -> None:
    """Write the id and the length of every arc, those of position p from place `start[p]` on."""

    def place(task: int) -> None:
        bounds = int(runs.tasks[task]), int(runs.tasks[task + 1])
        listed = (runs.order, runs.begin, runs.stop, runs.length, runs.seed)
        _place(*listed, *bounds, runs.first_id, start, piece, length)

    workers.map(place, range(len(runs.tasks) - 1))


@compile
def _count(
    order: Int32Array,
    begin: Int32Array,
    stop: Int32Array,
    first: int,
    last: int,
    out: UInt8Array,
) -> None:
    ends = np.zeros(_DEEP, np.int64)
    top = 0
    run = first
    i = np.int64(begin[first])
    while run < last or top > 0:
        while top > 0 and ends[top - 1] <= i:
            top -= 1
        if top == 0:
            if run == last:
                break
            i = np.int64(begin[run])
        while run < last and begin[run] == i:
            ends[top] = stop[run]
            top += 1
            run += 1
        # Until the next run begins or the innermost ends, every position has the same seeds.
        until = ends[top - 1]
        if run < last and begin[run] < until:
            until = np.int64(begin[run])
        for at in range(i, until):
            out[order[at]] = top
        i = until


@compile
def _place(
    order: Int32Array,
    begin: Int32Array,
    stop: Int32Array,
    size: UInt8Array,
    seed: Int32Array,
    first: int,
    last: int,
    first_id: int,
    start: npt.NDArray[Any],
    piece: Int32Array,
    length: UInt8Array,
) -> None:
    ends = np.zeros(_DEEP, np.int64)
    ids = np.zeros(_DEEP, np.int32)
    sizes = np.zeros(_DEEP, np.uint8)
    to = np.zeros(_BLOCK, np.int64)
    top = 0
    run = first
    i = np.int64(begin[first])
    while run < last or top > 0:
        while top > 0 and ends[top - 1] <= i:
            top -= 1
        if top == 0:
            if run == last:
                break
            i = np.int64(begin[run])
        while run < last and begin[run] == i:
            ends[top] = stop[run]
            ids[top] = first_id + seed[run]
            sizes[top] = size[run]
            top += 1
            run += 1
        until = ends[top - 1]
        if run < last and begin[run] < until:
            until = np.int64(begin[run])
        while i < until:
            block = min(until - i, _BLOCK)
            for k in range(block):
                to[k] = start[order[i + k]]
            for k in range(block):
                for level in range(top):
                    piece[to[k] + level] = ids[level]
                    length[to[k] + level] = sizes[level]
            i += block


# --- Trie ------------------------------------------------------------------------------------------
# A trie of pieces read from their last character to their first, as one flat hash table.
#
# Answers one question quickly: which pieces end at this position of a text. An entry is two neighbouring
# numbers, so a step costs one visit to memory. Removing pieces keeps the nodes; holds no scores.


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


# --- Lattice ---------------------------------------------------------------------------------------


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
        ending = _count_runs(runs, len(lexicon.text), workers)
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
        _place_runs(runs, start, piece, length, workers)
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


# --- Expectation -----------------------------------------------------------------------------------
# Expectation: forward–backward and Viterbi over a lattice, in double precision and a fixed order of sums.
#
# Rows share prefixes, so the forward sums of a prefix are computed once, and the backward pass runs over all
# rows
# through a position together: with α the forward sums and c_w the weight of row w, the quantity passed back
# is
# B(v) = Σ c_w β_w(v) ÷ Z_w over the rows w through v, and the expected count of a piece is Σ α(u) p B(v) over
# its arcs u → v. It is the derivative of Σ c_w log Z_w; no sum is left out.
#
# Short rows cannot underflow: a piece's probability is at least e^−36 and every character is scaled by 2¹⁶.
# Longer rows rescale the last few sums by a power of two whenever they leave 1e±100.


LOWEST = -36.0
"""The lowest log probability a piece is given: 24 characters of 2¹⁶ e^−36 stay above 1e-260."""
_SCALE_BITS = 16
_LOG_SCALE = _SCALE_BITS * math.log(2.0)
_HIGH = 1e100
_LOW = 1e-100


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """Expected occurrences of each piece id, and Σ weight · log probability of the rows."""

    count: Float64Array
    log_likelihood: float


def expect_counts(
    lattice: Lattice,
    row_weight: Float64Array,
    log_probability: Float64Array,
    length: UInt8Array,
    workers: Workers,
) -> Expectation:
    """Return the expected count of each piece. `length` holds the pieces' characters; a log
    probability of -inf leaves a piece out.

    Raises `RuntimeError` if a row has no probability, which would be a mistake of this program.
    """
    lexicon = lattice.lexicon
    probability = np.where(
        log_probability > -np.inf, np.exp(np.maximum(log_probability, LOWEST)), 0.0
    )
    scaled = np.ldexp(probability, _SCALE_BITS * length.astype(np.int32))

    def work(partition: int, out: Float64Array) -> tuple[float, float]:
        arcs = lattice.arcs(partition)
        return _expect(
            lexicon.text,
            lexicon.offsets,
            lexicon.shared,
            lexicon.chunks,
            int(lexicon.partitions[partition]),
            int(lexicon.partitions[partition + 1]),
            row_weight,
            arcs.count,
            arcs.piece,
            arcs.length,
            probability,
            scaled,
            lattice.longest,
            out,
        )

    total, likelihood, dropped = _sum_partitions(
        work, len(lattice), len(probability), workers, positions=len(lexicon.text)
    )
    if dropped:
        raise RuntimeError(
            f"rows of total weight {dropped} have no probability; please report this"
        )
    return Expectation(total, likelihood)


def count_best(
    lattice: Lattice,
    row_weight: Float64Array,
    log_probability: Float64Array,
    workers: Workers,
) -> Float64Array:
    """Return how often each piece is used in the best segmentation of the rows; ties go to longer pieces."""
    lexicon = lattice.lexicon

    def work(partition: int, out: Float64Array) -> tuple[float, float]:
        arcs = lattice.arcs(partition)
        _best(
            lexicon.text,
            lexicon.offsets,
            lexicon.shared,
            lexicon.chunks,
            int(lexicon.partitions[partition]),
            int(lexicon.partitions[partition + 1]),
            row_weight,
            arcs.count,
            arcs.piece,
            arcs.length,
            log_probability,
            out,
        )
        return 0.0, 0.0

    size, positions = len(log_probability), len(lexicon.text)
    return _sum_partitions(work, len(lattice), size, workers, positions=positions)[0]


def _sum_partitions(
    work: Callable[[int, Float64Array], tuple[float, float]],
    partitions: int,
    size: int,
    workers: Workers,
    *,
    positions: int | None = None,
) -> tuple[Float64Array, float, float]:
    """Run `work` on each partition and add up the arrays it fills and the two numbers it returns.

    Neighbouring partitions share an array where arrays are large, or long beside the text's `positions`:
    clearing and adding them up would take longer than the work. How many depends on these two numbers
    alone and the arrays are added in order, so the sums are the same for any number of threads.
    """
    together = 4 if size > 1_000_000 else 2 if size > 300_000 else 1
    if positions is not None:
        # At least eight arrays, for as many threads.
        wanted = -(-partitions * size // (8 * max(positions, 1)))
        together = max(together, min(wanted, max(partitions // 8, 1)))
    groups = [range(k, min(k + together, partitions)) for k in range(0, partitions, together)]
    free = [np.zeros(size) for _ in range(workers.threads + 1)]

    def run(group: range, out: Float64Array) -> list[tuple[float, float]]:
        out[:] = 0.0
        return [work(partition, out) for partition in group]

    total = np.zeros(size)
    sums = [0.0, 0.0]
    running: list[tuple[Float64Array, Future[list[tuple[float, float]]]]] = []

    def collect() -> None:
        out, future = running.pop(0)
        for pair in future.result():
            sums[0] += pair[0]
            sums[1] += pair[1]
        np.add(total, out, out=total)
        free.append(out)

    for group in groups:
        if not free:
            collect()
        out = free.pop()
        running.append((out, workers.submit(run, group, out)))
    while running:
        collect()
    return total, sums[0], sums[1]


@compile
def _buffer_size(offsets: Int64Array, chunks: Int64Array, first: int, stop: int) -> int:
    widest = 0
    for chunk in range(first, stop):
        widest = max(widest, offsets[chunks[chunk + 1]] - offsets[chunks[chunk]])
    return widest + 1


@compile
def _expect(
    text: Int32Array,
    offsets: Int64Array,
    shared: UInt8Array,
    chunks: Int64Array,
    first: int,
    stop: int,
    row_weight: Float64Array,
    count: UInt8Array,
    piece: Int32Array,
    length: UInt8Array,
    probability: Float64Array,
    scaled: Float64Array,
    longest: int,
    expected: Float64Array,
) -> tuple[float, float]:
    room = _buffer_size(offsets, chunks, first, stop)
    alpha = np.zeros(room)
    passed = np.zeros(room)
    exponent = np.zeros(room, np.int32)
    likelihood = 0.0
    dropped = 0.0
    place = 0
    arc = 0
    for chunk in range(first, stop):
        origin = offsets[chunks[chunk]]
        for row in range(chunks[chunk], chunks[chunk + 1]):
            base = offsets[row] - origin
            size = offsets[row + 1] - 1 - offsets[row]
            common = np.int64(shared[row])
            alpha[base] = 1.0
            if size <= SHORT:
                before = offsets[row - 1] - origin if common > 0 else 0
                for j in range(1, common + 1):
                    alpha[base + j] = alpha[before + j]
                for j in range(common + 1, size + 1):
                    value = alpha[base + j - 1] * scaled[text[offsets[row] + j - 1]]
                    for _ in range(count[place]):
                        value += alpha[base + j - length[arc]] * scaled[piece[arc]]
                        arc += 1
                    place += 1
                    alpha[base + j] = value
                end = alpha[base + size]
                log_end = math.log(end) - size * _LOG_SCALE
            else:
                exponent[base] = 0
                power = 0
                for j in range(1, size + 1):
                    value = alpha[base + j - 1] * probability[text[offsets[row] + j - 1]]
                    for _ in range(count[place]):
                        value += alpha[base + j - length[arc]] * probability[piece[arc]]
                        arc += 1
                    place += 1
                    alpha[base + j] = value
                    exponent[base + j] = power
                    if (value < _LOW or value > _HIGH) and value > 0.0:
                        move = math.frexp(value)[1]
                        power += move
                        factor = math.ldexp(1.0, -move)
                        for k in range(base + max(0, j - longest + 1), base + j + 1):
                            alpha[k] *= factor
                            exponent[k] = power
                end = alpha[base + size]
                log_end = math.log(end) + power * math.log(2.0)
            for j in range(size + 1):
                passed[base + j] = 0.0
            if end > 0.0 and end < np.inf:
                likelihood += row_weight[row] * log_end
                passed[base + size] = row_weight[row] / end
            else:
                dropped += row_weight[row]
        back_place = place
        back_arc = arc
        for row in range(chunks[chunk + 1] - 1, chunks[chunk] - 1, -1):
            base = offsets[row] - origin
            size = offsets[row + 1] - 1 - offsets[row]
            common = np.int64(shared[row])
            if size <= SHORT:
                for j in range(size, common, -1):
                    after = passed[base + j]
                    back_place -= 1
                    for _ in range(count[back_place]):
                        back_arc -= 1
                        source = base + j - length[back_arc]
                        through = scaled[piece[back_arc]] * after
                        expected[piece[back_arc]] += alpha[source] * through
                        passed[source] += through
                    code = text[offsets[row] + j - 1]
                    through = scaled[code] * after
                    expected[code] += alpha[base + j - 1] * through
                    passed[base + j - 1] += through
                if common > 0:
                    before = offsets[row - 1] - origin
                    for j in range(1, common + 1):
                        passed[before + j] += passed[base + j]
            else:
                for j in range(size, 0, -1):
                    after = passed[base + j]
                    power = exponent[base + j]
                    back_place -= 1
                    for _ in range(count[back_place]):
                        back_arc -= 1
                        source = base + j - length[back_arc]
                        through = probability[piece[back_arc]] * after
                        if exponent[source] != power:
                            through *= math.ldexp(1.0, exponent[source] - power)
                        expected[piece[back_arc]] += alpha[source] * through
                        passed[source] += through
                    code = text[offsets[row] + j - 1]
                    through = probability[code] * after
                    if exponent[base + j - 1] != power:
                        through *= math.ldexp(1.0, exponent[base + j - 1] - power)
                    expected[code] += alpha[base + j - 1] * through
                    passed[base + j - 1] += through
    return likelihood, dropped


@compile
def _best(
    text: Int32Array,
    offsets: Int64Array,
    shared: UInt8Array,
    chunks: Int64Array,
    first: int,
    stop: int,
    row_weight: Float64Array,
    count: UInt8Array,
    piece: Int32Array,
    length: UInt8Array,
    score: Float64Array,
    used: Float64Array,
) -> None:
    room = _buffer_size(offsets, chunks, first, stop)
    best = np.zeros(room)
    choice = np.zeros(room, np.int32)
    span = np.zeros(room, np.int32)
    passed = np.zeros(room)
    place = 0
    arc = 0
    for chunk in range(first, stop):
        origin = offsets[chunks[chunk]]
        for row in range(chunks[chunk], chunks[chunk + 1]):
            base = offsets[row] - origin
            size = offsets[row + 1] - 1 - offsets[row]
            common = np.int64(shared[row])
            best[base] = 0.0
            before = offsets[row - 1] - origin if common > 0 else 0
            for j in range(1, common + 1):
                best[base + j] = best[before + j]
            for j in range(common + 1, size + 1):
                code = text[offsets[row] + j - 1]
                value = best[base + j - 1] + score[code]
                chosen = code
                wide = 1
                for _ in range(count[place]):
                    other = best[base + j - length[arc]] + score[piece[arc]]
                    if other >= value:
                        value = other
                        chosen = piece[arc]
                        wide = length[arc]
                    arc += 1
                place += 1
                best[base + j] = value
                choice[base + j] = chosen
                span[base + j] = wide
            for j in range(size):
                passed[base + j] = 0.0
            passed[base + size] = row_weight[row]
        for row in range(chunks[chunk + 1] - 1, chunks[chunk] - 1, -1):
            base = offsets[row] - origin
            size = offsets[row + 1] - 1 - offsets[row]
            common = np.int64(shared[row])
            for j in range(size, common, -1):
                flow = passed[base + j]
                if flow > 0.0:
                    used[choice[base + j]] += flow
                    passed[base + j - span[base + j]] += flow
            if common > 0:
                before = offsets[row - 1] - origin
                for j in range(1, common + 1):
                    passed[before + j] += passed[base + j]


# --- Pruning ---------------------------------------------------------------------------------------
# Pruning: what the text would lose with each piece, and the best way to write a piece without it.
#
# The pieces themselves form a second lexicon and lattice, so their best splits cost one Viterbi pass. The
# loss is
# SentencePiece's (Kudo 2018, §3.2): with f the occurrences in the best segmentation, N their sum and a₁…a_m
# the
# best split of piece x without it, f(x) · (log f(x)/N − Σ log (f(aᵢ) + f(x))/(N + (m − 1) f(x))). Decides
# nothing: the caller keeps the highest losses.


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """By row of the pieces' lexicon: the best log probability of a split, and the loss of the piece."""

    score: Float64Array
    loss: Float64Array


def build_pieces(
    alphabet: npt.NDArray[np.uint32], text: Int32Array, trie: Trie, longest: int, workers: Workers
) -> tuple[Lattice, Int64Array]:
    """Return the lattice of the pieces in `text`, each followed by a 0, and the row of each."""
    lexicon, rows = build_strings(alphabet, text, workers)
    return Lattice(lexicon, trie, longest, workers), rows


def split_pieces(
    lattice: Lattice,
    piece_of_row: Int32Array,
    log_probability: Float64Array,
    used: Float64Array,
    workers: Workers,
) -> Splits:
    """Return the best split of each row without its own piece, and the loss of removing that piece.

    `piece_of_row` is -1 for rows of removed pieces; `used` are occurrences of each piece id. A piece
    that is never used has loss 0.
    """
    lexicon = lattice.lexicon
    rows = len(lexicon)
    score = np.full(rows, -np.inf)
    loss = np.zeros(rows)
    total = float(used.sum())

    def work(partition: int) -> None:
        arcs = lattice.arcs(partition)
        _split(
            lexicon.text,
            lexicon.offsets,
            lexicon.shared,
            int(lexicon.chunks[lexicon.partitions[partition]]),
            int(lexicon.chunks[lexicon.partitions[partition + 1]]),
            arcs.count,
            arcs.piece,
            arcs.length,
            piece_of_row,
            log_probability,
            used,
            total,
            score,
            loss,
        )

    workers.map(work, range(len(lattice)))
    return Splits(score, loss)


@compile
def _split(
    text: Int32Array,
    offsets: Int64Array,
    shared: UInt8Array,
    first: int,
    stop: int,
    count: UInt8Array,
    piece: Int32Array,
    length: UInt8Array,
    piece_of_row: Int32Array,
    log_probability: Float64Array,
    used: Float64Array,
    total: float,
    score: Float64Array,
    loss: Float64Array,
) -> None:
    best = np.zeros(256)
    choice = np.zeros(256, np.int64)
    span = np.zeros(256, np.int64)
    place = 0
    arc = 0
    for row in range(first, stop):
        size = offsets[row + 1] - 1 - offsets[row]
        for j in range(int(shared[row]) + 1, size + 1):
            code = int(text[offsets[row] + j - 1])
            value = best[j - 1] + log_probability[code]
            chosen = code
            wide = 1
            whole = -1
            for _ in range(count[place]):
                if length[arc] == j:
                    whole = int(piece[arc])
                else:
                    other = best[j - length[arc]] + log_probability[piece[arc]]
                    if other >= value:
                        value = other
                        chosen = int(piece[arc])
                        wide = int(length[arc])
                arc += 1
            place += 1
            if j == size:
                # Without the arc over the whole row, which is the row's own piece.
                score[row] = value
                own = piece_of_row[row]
                if own >= 0 and used[own] > 0.0:
                    weight = used[own]
                    parts = 1
                    gain = math.log(used[chosen] + weight)
                    at = j - wide
                    while at > 0:
                        gain += math.log(used[choice[at]] + weight)
                        parts += 1
                        at -= span[at]
                    gain -= parts * math.log(total + weight * (parts - 1))
                    loss[row] = weight * (math.log(weight) - math.log(total) - gain)
            if whole >= 0 and log_probability[whole] >= value:
                value = log_probability[whole]
                chosen = whole
                wide = j
            best[j] = value
            choice[j] = chosen
            span[j] = wide
