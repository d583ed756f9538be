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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import Float64Array, Int32Array, Int64Array, UInt8Array
from vocabkit.corpus.compilation import Workers, compile
from vocabkit.fitting.lexicon import SHORT, Lexicon, SortedRows, Strings, sort_strings

# --- Runs ------------------------------------------------------------------------------------------
# Seeds as stretches of sorted positions, and the arcs they make, without looking anything up.
#
# Positions are sorted by the characters that end there, so all positions where a seed ends are neighbours, and
# the seeds that end at one position are those whose runs hold it. Runs nest like brackets: a stack that follows
# the order has, at each position, its pieces from the shortest to the longest. A trie needs about eight visits
# to memory a position for what takes three here.

_TASKS = 64
_BLOCK = 256
_DEEP = 64
"""More than the lengths a piece can have, and so than the runs that hold one position."""


class Runs(NamedTuple):
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


@compile
def _follow_runs(
    runs: Runs, run: int, last: int, at: int, ends: Int64Array, inside: Int64Array, top: int
) -> tuple[int, int, int, int]:
    """Step to the next stretch of `order` whose positions all have the same seeds: runs `inside[:top]`.

    Takes the next run to open, the last one of the task, the place reached and the stack; returns the next
    run, where the stretch begins and ends, and the height of the stack: 0 when nothing is left.
    """
    begin = runs.begin
    while top > 0 and ends[top - 1] <= at:
        top -= 1
    if top == 0:
        if run == last:
            return run, at, at, 0
        at = int(begin[run])
    while run < last and begin[run] == at:
        ends[top] = runs.stop[run]
        inside[top] = run
        top += 1
        run += 1
    # Until the next run begins or the innermost ends.
    until = int(ends[top - 1])
    if run < last and begin[run] < until:
        until = int(begin[run])
    return run, at, until, top


@compile
def _count_runs(runs: Runs, task: int, out: UInt8Array) -> None:
    """Write how many seeds end at each position."""
    order = runs.order
    ends, inside = np.zeros(_DEEP, np.int64), np.zeros(_DEEP, np.int64)
    run, last = int(runs.tasks[task]), int(runs.tasks[task + 1])
    at = top = 0
    while True:
        run, at, until, top = _follow_runs(runs, run, last, at, ends, inside, top)
        if top == 0:
            return
        for i in range(at, until):
            out[order[i]] = top
        at = until


@compile
def _place_runs(runs: Runs, task: int, start: npt.NDArray[Any], piece: Int32Array, length: UInt8Array) -> None:
    """Write the id and the length of every arc, those of position p from place `start[p]` on."""
    order = runs.order
    ends, inside = np.zeros(_DEEP, np.int64), np.zeros(_DEEP, np.int64)
    ids, sizes = np.zeros(_DEEP, np.int32), np.zeros(_DEEP, np.uint8)
    to = np.zeros(_BLOCK, np.int64)
    run, last = int(runs.tasks[task]), int(runs.tasks[task + 1])
    at = top = 0
    while True:
        run, at, until, top = _follow_runs(runs, run, last, at, ends, inside, top)
        if top == 0:
            return
        for level in range(top):
            ids[level] = runs.first_id + runs.seed[inside[level]]
            sizes[level] = runs.length[inside[level]]
        while at < until:
            block = min(until - at, _BLOCK)
            for k in range(block):
                to[k] = start[order[at + k]]
            for k in range(block):
                for level in range(top):
                    piece[to[k] + level] = ids[level]
                    length[to[k] + level] = sizes[level]
            at += block


# --- Trie ------------------------------------------------------------------------------------------
# Pieces read from their last character to their first, in one flat hash table: which of them end at this
# position of a text? An entry is two neighbouring numbers, so a step costs one visit to memory. Removing pieces
# keeps the nodes; holds no scores.

CODE_BITS = 21


class Trie(NamedTuple):
    """`table` holds (node << 21 | code, child) pairs, -1 where empty; `piece[node]` is a piece id or -1."""

    table: Int64Array
    piece: Int32Array


def build_trie(strings: Strings, first_id: int) -> Trie:
    """Build a trie of the strings, with ids in order."""
    nodes = 1 + int(strings.lengths.sum())
    size = 1 << max(int(nodes * 1.5).bit_length(), 4)
    return Trie(*_insert(strings, first_id, size, nodes))


@compile
def _find_entry(table: Int64Array, node: int, code: int) -> int:
    """Return where the table has the child of `node` by `code`, or where it would be."""
    mask = (len(table) >> 1) - 1
    key = (np.int64(node) << CODE_BITS) | np.int64(code)
    slot = key * np.int64(-7046029254386353131)
    slot = (slot ^ (slot >> 32)) & mask
    while table[2 * slot] != key and table[2 * slot] != -1:
        slot = (slot + 1) & mask
    return int(2 * slot)


@compile
def find_child(table: Int64Array, node: int, code: int) -> int:
    """Return the child of `node` by `code`, or -1."""
    return int(table[_find_entry(table, node, code) + 1])


@compile
def _insert(strings: Strings, first_id: int, size: int, room: int) -> tuple[Int64Array, Int32Array]:
    text, offsets = strings.text, strings.offsets
    table = np.full(2 * size, -1, np.int64)
    piece = np.full(room, -1, np.int32)
    nodes = 1
    for i in range(len(offsets) - 1):
        node = 0
        for at in range(offsets[i + 1] - 2, offsets[i] - 1, -1):
            entry = _find_entry(table, node, text[at])
            if table[entry] == -1:
                table[entry] = (np.int64(node) << CODE_BITS) | np.int64(text[at])
                table[entry + 1] = nodes
                nodes += 1
            node = int(table[entry + 1])
        piece[node] = first_id + i
    return table, piece[:nodes].copy()


# --- Lattice ---------------------------------------------------------------------------------------

_ARC_BYTES = 5


class Arcs(NamedTuple):
    """A partition's arcs: how many are `ending` at each position, then the piece and length of each."""

    ending: UInt8Array
    piece: Int32Array
    length: UInt8Array

    @property
    def bytes(self) -> int:
        """Memory held."""
        return len(self.ending) + _ARC_BYTES * len(self.piece)


class Lattice:
    """The arcs of a lexicon by partition; `None` where they are found again when asked for."""

    def __init__(
        self, lexicon: Lexicon, trie: Trie, longest: int, workers: Workers,
        memory: int | None = None, runs: Runs | None = None,
    ) -> None:  # fmt: skip
        """Find the arcs of the pieces of `trie`; `runs`, if given, must be the same pieces."""
        self.lexicon, self.trie, self.longest, self._memory = lexicon, trie, longest, memory
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
        piece = self.trie.piece
        self.trie = Trie(self.trie.table, np.where(piece >= 0, remap[piece], np.int32(-1)))

        def compact(part: Arcs | None) -> Arcs | None:
            if part is None:
                return None
            size = _compact(part, remap)
            return Arcs(part.ending, part.piece[:size].copy(), part.length[:size].copy())

        self._parts = workers.map(compact, self._parts)
        if any(part is None for part in self._parts):
            self._store(workers)

    def _lay_out(self, runs: Runs, workers: Workers) -> None:
        """Store all arcs from runs, if the limit allows; else none."""
        rows, bounds = self.lexicon.rows, self.lexicon.row_bounds
        tasks = range(len(runs.tasks) - 1)
        ending = np.zeros(len(rows.text), np.uint8)
        workers.map(lambda task: _count_runs(runs, task, ending), tasks)
        sizes = workers.map(lambda first, stop: _sum_counts(rows, first, stop, ending), bounds[:-1], bounds[1:])
        positions, total = (sum(column) for column in zip(*sizes, strict=True))
        if self._memory is not None and positions + _ARC_BYTES * total > self._memory:
            return
        piece, length = np.empty(total, np.int32), np.empty(total, np.uint8)
        start = np.empty(len(rows.text), np.uint32 if total < 2**32 else np.int64)
        arc = 0
        for k, (size, inside) in enumerate(sizes):
            part = slice(arc, arc + inside)
            self._parts[k] = Arcs(np.empty(size, np.uint8), piece[part], length[part])
            arc = part.stop
        begins = np.cumsum([0, *(inside for _, inside in sizes)]).tolist()
        workers.map(
            lambda first, stop, arc, part: _start_arcs(rows, first, stop, ending, arc, part.ending, start),
            bounds[:-1], bounds[1:], begins[:-1], self._parts,
        )  # fmt: skip
        workers.map(lambda task: _place_runs(runs, task, start, piece, length), tasks)

    def _store(self, workers: Workers) -> None:
        held = self.bytes
        missing = [k for k, part in enumerate(self._parts) if part is None]
        for at in range(0, len(missing), workers.threads):
            if self._memory is not None and held >= self._memory:
                return
            batch = missing[at : at + workers.threads]
            for k, part in zip(batch, workers.map(self._find, batch), strict=True):
                if self._memory is None or held + part.bytes <= self._memory:
                    self._parts[k] = part
                    held += part.bytes

    def _find(self, partition: int) -> Arcs:
        first, stop = self.lexicon.row_bounds[partition : partition + 2]
        return Arcs(*_find_arcs(self.lexicon.rows, first, stop, self.trie, self.longest))


@compile
def _sum_counts(rows: SortedRows, first: int, stop: int, ending: UInt8Array) -> tuple[int, int]:
    """Return the positions of their own of rows `first` … `stop` - 1, and the arcs that end there."""
    offsets, shared = rows.offsets, rows.shared
    size = arcs = 0
    for row in range(first, stop):
        for at in range(offsets[row] + shared[row], offsets[row + 1] - 1):
            size += 1
            arcs += ending[at]
    return size, arcs


@compile
def _start_arcs(
    rows: SortedRows, first: int, stop: int, ending: UInt8Array, arc: int, count: UInt8Array,
    start: npt.NDArray[Any],
) -> None:  # fmt: skip
    """Write how many arcs end at each position of the rows' own, and which is the first, from `arc` on."""
    offsets, shared = rows.offsets, rows.shared
    place = 0
    for row in range(first, stop):
        for at in range(offsets[row] + shared[row], offsets[row + 1] - 1):
            count[place] = ending[at]
            start[at] = arc
            arc += ending[at]
            place += 1


@compile
def _find_arcs(
    rows: SortedRows, first: int, stop: int, trie: Trie, longest: int
) -> tuple[UInt8Array, Int32Array, UInt8Array]:
    text, offsets, shared = rows.text, rows.offsets, rows.shared
    table, terminal = trie.table, trie.piece
    size = 0
    for row in range(first, stop):
        size += offsets[row + 1] - 1 - offsets[row] - shared[row]
    count = np.zeros(size, np.uint8)
    room = 4 * size + longest
    piece = np.empty(room, np.int32)
    length = np.empty(room, np.uint8)
    place = arcs = 0
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
def _compact(arcs: Arcs, remap: Int32Array) -> int:
    """Renumber arcs in place and close the gaps of those that go; return how many are left."""
    count, piece, length = arcs.ending, arcs.piece, arcs.length
    read = write = 0
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
# Forward–backward and Viterbi over a lattice, in double precision and a fixed order of sums.
#
# Rows share prefixes, so the forward sums of a prefix are computed once, and the backward pass runs over all
# rows through a position together: with α the forward sums and c_w the weight of row w, the quantity passed
# back is B(v) = Σ c_w β_w(v) ÷ Z_w over the rows w through v, and the expected count of a piece is
# Σ α(u) p B(v) over its arcs u → v. It is the derivative of Σ c_w log Z_w; no sum is left out.
#
# Short rows cannot underflow: a piece's probability is at least e^−36 and every character is scaled by 2¹⁶.
# Longer rows rescale the last few sums by a power of two whenever they leave 1e±100.

LOWEST = -36.0
"""The lowest log probability a piece is given: 24 characters of 2¹⁶ e^−36 stay above 1e-260."""
_SCALE_BITS = 16
_LOG_SCALE = _SCALE_BITS * math.log(2.0)
_HIGH = 1e100
_LOW = 1e-100


def expect_counts(
    lattice: Lattice, row_weight: Float64Array, log_probability: Float64Array, length: UInt8Array,
    workers: Workers,
) -> tuple[Float64Array, float]:  # fmt: skip
    """Return the expected count of each piece id, and Σ weight · log probability of the rows: the E-step.

    `length` holds the pieces' characters; a log probability of -inf leaves a piece out. Raises `RuntimeError`
    if a row has no probability, which would be a mistake of this program.
    """
    rows, parts = lattice.lexicon.rows, lattice.lexicon.partitions.tolist()
    probability = np.where(log_probability > -np.inf, np.exp(np.maximum(log_probability, LOWEST)), 0.0)
    scaled = np.ldexp(probability, _SCALE_BITS * length.astype(np.int32))

    def work(partition: int, out: Float64Array) -> tuple[float, float]:
        given = (lattice.arcs(partition), row_weight, probability, scaled, lattice.longest)
        return _expect(rows, parts[partition], parts[partition + 1], *given, out)

    size, positions = len(probability), len(rows.text)
    total, likelihood, dropped = _sum_partitions(work, len(lattice), size, positions, workers)
    if dropped:
        raise RuntimeError(f"rows of total weight {dropped} have no probability; please report this")
    return total, likelihood


def count_best(
    lattice: Lattice, row_weight: Float64Array, log_probability: Float64Array, workers: Workers
) -> Float64Array:
    """Return how often each piece is used in the best segmentation of the rows; ties go to longer pieces."""
    rows, parts = lattice.lexicon.rows, lattice.lexicon.partitions.tolist()

    def work(partition: int, out: Float64Array) -> tuple[float, float]:
        given = (lattice.arcs(partition), row_weight, log_probability)
        _best(rows, parts[partition], parts[partition + 1], *given, out)
        return 0.0, 0.0

    return _sum_partitions(work, len(lattice), len(log_probability), len(rows.text), workers)[0]


def _sum_partitions(
    work: Callable[[int, Float64Array], tuple[float, float]], partitions: int, size: int, positions: int,
    workers: Workers,
) -> tuple[Float64Array, float, float]:  # fmt: skip
    """Run `work` on each partition and add up the arrays it fills and the two numbers it returns.

    Neighbouring partitions share an array where arrays are large, or long beside the text's `positions`:
    clearing and adding them up would take longer than the work. How many depends on these two numbers
    alone and the arrays are added in order, so the sums are the same for any number of threads.
    """
    together = 4 if size > 1_000_000 else 2 if size > 300_000 else 1
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
        for likelihood, dropped in future.result():
            sums[0] += likelihood
            sums[1] += dropped
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
    rows: SortedRows, first: int, stop: int, arcs: Arcs, row_weight: Float64Array, probability: Float64Array,
    scaled: Float64Array, longest: int, expected: Float64Array,
) -> tuple[float, float]:  # fmt: skip
    """Add to `expected` over chunks `first` … `stop` - 1; return their log likelihood and the weight lost."""
    text, offsets, shared, chunks = rows
    count, piece, length = arcs
    room = _buffer_size(offsets, chunks, first, stop)
    alpha = np.zeros(room)
    passed = np.zeros(room)
    exponent = np.zeros(room, np.int32)
    likelihood = dropped = 0.0
    place = arc = 0
    for chunk in range(first, stop):
        origin = offsets[chunks[chunk]]
        for row in range(chunks[chunk], chunks[chunk + 1]):
            base = offsets[row] - origin
            size = offsets[row + 1] - 1 - offsets[row]
            common = np.int64(shared[row])
            long = size > SHORT
            factor_of = probability if long else scaled
            alpha[base] = 1.0
            before = offsets[row - 1] - origin if common > 0 else 0
            for j in range(1, common + 1):
                alpha[base + j] = alpha[before + j]
            exponent[base] = 0
            power = 0
            for j in range(common + 1, size + 1):
                value = alpha[base + j - 1] * factor_of[text[offsets[row] + j - 1]]
                for _ in range(count[place]):
                    value += alpha[base + j - length[arc]] * factor_of[piece[arc]]
                    arc += 1
                place += 1
                alpha[base + j] = value
                if long:
                    exponent[base + j] = power
                    if (value < _LOW or value > _HIGH) and value > 0.0:
                        move = math.frexp(value)[1]
                        power += move
                        factor = math.ldexp(1.0, -move)
                        for k in range(base + max(0, j - longest + 1), base + j + 1):
                            alpha[k] *= factor
                            exponent[k] = power
            end = alpha[base + size]
            log_end = math.log(end) + (power * math.log(2.0) if long else -(size * _LOG_SCALE))
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
            long = size > SHORT
            factor_of = probability if long else scaled
            for j in range(size, common, -1):
                after = passed[base + j]
                back_place -= 1
                for _ in range(count[back_place]):
                    back_arc -= 1
                    source = base + j - length[back_arc]
                    through = factor_of[piece[back_arc]] * after
                    if long and exponent[source] != exponent[base + j]:
                        through *= math.ldexp(1.0, exponent[source] - exponent[base + j])
                    expected[piece[back_arc]] += alpha[source] * through
                    passed[source] += through
                code = text[offsets[row] + j - 1]
                through = factor_of[code] * after
                if long and exponent[base + j - 1] != exponent[base + j]:
                    through *= math.ldexp(1.0, exponent[base + j - 1] - exponent[base + j])
                expected[code] += alpha[base + j - 1] * through
                passed[base + j - 1] += through
            if common > 0:
                before = offsets[row - 1] - origin
                for j in range(1, common + 1):
                    passed[before + j] += passed[base + j]
    return likelihood, dropped


@compile
def _best(
    rows: SortedRows, first: int, stop: int, arcs: Arcs, row_weight: Float64Array, score: Float64Array,
    used: Float64Array,
) -> None:  # fmt: skip
    """Add to `used` the pieces of the best segmentation of the rows of chunks `first` … `stop` - 1."""
    text, offsets, shared, chunks = rows
    count, piece, length = arcs
    room = _buffer_size(offsets, chunks, first, stop)
    best = np.zeros(room)
    choice = np.zeros(room, np.int32)
    span = np.zeros(room, np.int32)
    passed = np.zeros(room)
    place = arc = 0
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
# What the text would lose with each piece, and the best way to write a piece without it.
#
# The pieces themselves form a second lexicon and lattice, so their best splits cost one Viterbi pass. The loss
# is SentencePiece's (Kudo 2018, §3.2): with f the occurrences in the best segmentation, N their sum and a₁…a_m
# the best split of piece x without it, f(x) · (log f(x)/N − Σ log (f(aᵢ) + f(x))/(N + (m − 1) f(x))). Decides
# nothing: the caller keeps the highest losses.


def build_pieces(
    alphabet: npt.NDArray[np.uint32], pieces: Strings, trie: Trie, longest: int, workers: Workers
) -> tuple[Lattice, Int64Array]:
    """Return the lattice of the pieces themselves, and the row of each."""
    lexicon, rows = sort_strings(alphabet, pieces, workers)
    return Lattice(lexicon, trie, longest, workers), rows


def split_pieces(
    lattice: Lattice, row: Int64Array, first_id: int, log_probability: Float64Array, used: Float64Array,
    workers: Workers,
) -> tuple[Float64Array, Float64Array]:  # fmt: skip
    """Return the log probability of the best split of each piece without itself, and the loss of the piece.

    The pieces `first_id` … stand in the lattice's rows `row`; other rows are of removed ones. `used` are
    occurrences of each piece id. A piece that is never used has loss 0.
    """
    rows, bounds = lattice.lexicon.rows, lattice.lexicon.row_bounds
    piece_of_row = np.full(len(lattice.lexicon), -1, np.int32)
    piece_of_row[row] = np.arange(first_id, first_id + len(row), dtype=np.int32)
    score, loss = np.full(len(piece_of_row), -np.inf), np.zeros(len(piece_of_row))
    given = (piece_of_row, log_probability, used, float(used.sum()), score, loss)
    workers.map(lambda k: _split(rows, bounds[k], bounds[k + 1], lattice.arcs(k), *given), range(len(lattice)))
    return score[row], loss[row]


@compile
def _split(
    rows: SortedRows, first: int, stop: int, arcs: Arcs, piece_of_row: Int32Array,
    log_probability: Float64Array, used: Float64Array, total: float, score: Float64Array, loss: Float64Array,
) -> None:  # fmt: skip
    text, offsets, shared = rows.text, rows.offsets, rows.shared
    count, piece, length = arcs
    best = np.zeros(256)
    choice = np.zeros(256, np.int64)
    span = np.zeros(256, np.int64)
    place = arc = 0
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
