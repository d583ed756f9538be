"""Expectation: forward–backward and Viterbi over a lattice, in double precision and a fixed order of sums.

Rows share prefixes, so the forward sums of a prefix are computed once, and the backward pass runs over all rows
through a position together: with α the forward sums and c_w the weight of row w, the quantity passed back is
B(v) = Σ c_w β_w(v) ÷ Z_w over the rows w through v, and the expected count of a piece is Σ α(u) p B(v) over
its arcs u → v. It is the derivative of Σ c_w log Z_w; no sum is left out.

Short rows cannot underflow: a piece's probability is at least e^−36 and every character is scaled by 2¹⁶.
Longer rows rescale the last few sums by a power of two whenever they leave 1e±100.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.lattice import Lattice
from vocabkit.fitting.lexicon import SHORT, FloatArray
from vocabkit.fitting.sorting import Int32Array, Int64Array, UInt8Array

LOWEST = -36.0
"""The lowest log probability a piece is given: 24 characters of 2¹⁶ e^−36 stay above 1e-260."""
_SCALE_BITS = 16
_LOG_SCALE = _SCALE_BITS * math.log(2.0)
_HIGH = 1e100
_LOW = 1e-100


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """Expected occurrences of each piece id, and Σ weight · log probability of the rows."""

    count: FloatArray
    log_likelihood: float


def expect_counts(
    lattice: Lattice,
    row_weight: FloatArray,
    log_probability: FloatArray,
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

    def work(partition: int, out: FloatArray) -> tuple[float, float]:
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

    total, likelihood, dropped = sum_partitions(
        work, len(lattice), len(probability), workers, positions=len(lexicon.text)
    )
    if dropped:
        raise RuntimeError(
            f"rows of total weight {dropped} have no probability; please report this"
        )
    return Expectation(total, likelihood)


def count_best(
    lattice: Lattice,
    row_weight: FloatArray,
    log_probability: FloatArray,
    workers: Workers,
) -> FloatArray:
    """Return how often each piece is used in the best segmentation of the rows; ties go to longer pieces."""
    lexicon = lattice.lexicon

    def work(partition: int, out: FloatArray) -> tuple[float, float]:
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
    return sum_partitions(work, len(lattice), size, workers, positions=positions)[0]


def sum_partitions(
    work: Callable[[int, FloatArray], tuple[float, float]],
    partitions: int,
    size: int,
    workers: Workers,
    *,
    positions: int | None = None,
) -> tuple[FloatArray, float, float]:
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

    def run(group: range, out: FloatArray) -> list[tuple[float, float]]:
        out[:] = 0.0
        return [work(partition, out) for partition in group]

    total = np.zeros(size)
    sums = [0.0, 0.0]
    running: list[tuple[FloatArray, Future[list[tuple[float, float]]]]] = []

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
    row_weight: FloatArray,
    count: UInt8Array,
    piece: Int32Array,
    length: UInt8Array,
    probability: FloatArray,
    scaled: FloatArray,
    longest: int,
    expected: FloatArray,
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
    row_weight: FloatArray,
    count: UInt8Array,
    piece: Int32Array,
    length: UInt8Array,
    score: FloatArray,
    used: FloatArray,
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
