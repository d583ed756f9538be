"""Runs: seeds as stretches of sorted positions, and the arcs they make, without looking anything up.

Positions are sorted by the characters that end there, so all positions where a seed ends are neighbours, and
the seeds that end at one position are those whose runs hold it. Runs nest like brackets: a stack that follows
the order has, at each position, its pieces from the shortest to the longest. A trie needs about eight visits to
memory a position for what takes three here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.sorting import Int32Array, Int64Array, UInt8Array

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


def count_runs(runs: Runs, positions: int, workers: Workers) -> UInt8Array:
    """Return how many seeds end at each position of a text of so many."""
    out = np.zeros(positions, np.uint8)

    def count(task: int) -> None:
        bounds = int(runs.tasks[task]), int(runs.tasks[task + 1])
        _count(runs.order, runs.begin, runs.stop, *bounds, out)

    workers.map(count, range(len(runs.tasks) - 1))
    return out


def place_runs(
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
