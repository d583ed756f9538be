"""Closed substrings: every candidate piece of a lexicon, found once, ranked for any language weights.

A substring of 2 to `longest` characters is closed when no extension by one character that may be a piece, to
the left or to the right, accounts for all its occurrences. The others can be left out: wherever they occur a
longer one does too, and keeping them makes EM collapse. Positions are sorted by the characters that precede
them (one more than `longest`, to close the last length); a run of positions that share their last L characters
is a substring, and what follows them decides the rest. Chooses nothing; `weigh_substrings` only re-ranks.

Rows share prefixes, so a position stands for all the rows that pass through it. Evidence is raw occurrences,
independent of language weights; `documents` is the summed document frequency of those rows, an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vocabkit.core.scripts import INHERITED, script_names, script_table
from vocabkit.corpus.spans import piece_ends
from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.lexicon import BoolArray, FloatArray, Lexicon
from vocabkit.fitting.sorting import (
    Int32Array,
    Int64Array,
    UInt8Array,
    batch_groups,
    sort_positions,
)

MAX_LENGTH = 16
_BLOCK = 256

Number = TypeVar("Number", np.int32, np.int64, np.float64)
Counts = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Substrings:
    """Closed substrings of a lexicon, in order of their reversed characters.

    Substring i is the `length[i]` codes of the lexicon's text that end at position `last[i]`; `evidence` and
    `documents` are raw. `order`, `agreed` and `groups` are the sorted positions and how many characters each
    shares with the one before: what `weigh` needs.
    """

    last: Int32Array
    length: UInt8Array
    evidence: Int64Array
    documents: Int64Array
    longest: int
    floor: int
    order: Int32Array
    agreed: UInt8Array
    groups: Int64Array

    def __len__(self) -> int:
        return len(self.last)


def find_substrings(
    lexicon: Lexicon, workers: Workers, *, longest: int = MAX_LENGTH, floor: int = 2
) -> Substrings:
    """Find the closed substrings of at most `longest` characters and at least `floor` raw occurrences."""
    evidence = _sum_positions(lexicon.text, lexicon.offsets, lexicon.shared, _narrow(lexicon.count))
    order = _own_positions(lexicon.offsets, lexicon.shared)
    agreed, groups = sort_positions(
        lexicon.text,
        order,
        len(lexicon.alphabet),
        workers,
        step=-1,
        depth=longest + 1,
        evidence=evidence,
        floor=floor,
    )
    documents = _sum_positions(
        lexicon.text, lexicon.offsets, lexicon.shared, _narrow(lexicon.documents)
    )

    parts = _sweep_all(
        lexicon, order, agreed, groups, evidence, documents, np.zeros(0), longest, floor, workers
    )
    last, length, total, seen, _ = parts
    return Substrings(last, length, total, seen, longest, floor, order, agreed, groups)


def weigh_substrings(
    lexicon: Lexicon, substrings: Substrings, row_weight: FloatArray, workers: Workers
) -> FloatArray:
    """Return the weighted occurrences of each substring under new weights of the rows."""
    layout = (lexicon.text, lexicon.offsets, lexicon.shared)
    waiting = workers.submit(_sum_positions, *layout, row_weight)
    evidence = _sum_positions(*layout, _narrow(lexicon.count))
    position = waiting.result()
    return _sweep_all(
        lexicon,
        substrings.order,
        substrings.agreed,
        substrings.groups,
        evidence,
        np.zeros(0, evidence.dtype),
        position,
        substrings.longest,
        substrings.floor,
        workers,
    )[4]


def _sweep_all(
    lexicon: Lexicon,
    order: Int32Array,
    agreed: UInt8Array,
    groups: Int64Array,
    evidence: Counts,
    documents: Counts,
    weight: FloatArray,
    longest: int,
    floor: int,
    workers: Workers,
) -> tuple[Int32Array, UInt8Array, Int64Array, Int64Array, FloatArray]:
    depths = _measure_depths(lexicon, longest + 1)

    def sweep(
        group: tuple[int, int],
    ) -> tuple[Int32Array, UInt8Array, Int64Array, Int64Array, FloatArray]:
        return _sweep(
            lexicon.text,
            depths,
            order,
            agreed,
            groups,
            *group,
            evidence,
            documents,
            weight,
            longest,
            floor,
        )

    batches = batch_groups(groups)
    found = dict(zip(batches, workers.map(sweep, batches), strict=True))
    parts = [found[batch] for batch in sorted(found)]
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
        np.concatenate([part[4] for part in parts]),
    )


def _narrow(values: Int64Array) -> Counts:
    """Return values as 32 bits where no sum of them can be larger: sums by position are most of the memory."""
    return values.astype(np.int32) if int(values.sum()) < 2**31 else values


@compile
def _own_positions(offsets: Int64Array, shared: UInt8Array) -> Int32Array:
    size = 0
    for row in range(len(shared)):
        size += offsets[row + 1] - 1 - offsets[row] - shared[row]
    out = np.empty(size, np.int32)
    place = 0
    for row in range(len(shared)):
        for at in range(offsets[row] + shared[row], offsets[row + 1] - 1):
            out[place] = at
            place += 1
    return out


@compile
def _sum_positions(
    text: Int32Array, offsets: Int64Array, shared: UInt8Array, values: npt.NDArray[Number]
) -> npt.NDArray[Number]:
    """Return, at each position that a row does not share, the sum of `values` over the rows through it."""
    out = np.zeros(len(text), values.dtype)
    carried = np.zeros(256, values.dtype)
    common = 0
    for row in range(len(shared) - 1, -1, -1):
        size = offsets[row + 1] - 1 - offsets[row]
        own = shared[row]
        for j in range(size):
            total = values[row]
            if j < common:
                total += carried[j]
            if j < own:
                carried[j] = total
            else:
                out[offsets[row] + j] = total
        common = own
    return out


# The sweep walks a tree whose nodes are substrings, kept as a stack of the open ones. `follow` is the character
# that follows all occurrences of a node, or -1 where they differ or a row ends.


def _measure_depths(lexicon: Lexicon, limit: int) -> UInt8Array:
    """Return, at each position, the length of the longest piece that may end there, at most `limit`.

    That is all of the row up to there, except where a combining mark stands between two scripts: "aً." is one
    row, but a piece that begins with the letter may not go on after the mark (see `spans.piece_ends`).
    """
    depths = _count_before(lexicon.offsets, limit)
    inherited = script_table()[lexicon.alphabet] == script_names().index(INHERITED)
    rows = _find_rows(lexicon.text, lexicon.offsets, np.append(False, inherited))
    if len(rows):
        sizes = (np.diff(lexicon.offsets) - 1)[rows]
        bounds = np.concatenate(([0], np.cumsum(sizes)))
        places = np.repeat(lexicon.offsets[rows] - bounds[:-1], sizes) + np.arange(bounds[-1])
        ends = piece_ends(lexicon.alphabet[lexicon.text[places] - 1], bounds)
        _limit_depths(places, bounds, ends, depths)
    return depths


@compile
def _count_before(offsets: Int64Array, limit: int) -> UInt8Array:
    out = np.zeros(offsets[-1], np.uint8)
    for row in range(len(offsets) - 1):
        for j in range(offsets[row + 1] - 1 - offsets[row]):
            out[offsets[row] + j] = min(j + 1, limit)
    return out


@compile
def _find_rows(text: Int32Array, offsets: Int64Array, wanted: BoolArray) -> Int64Array:
    """Return the rows that hold a wanted code anywhere but at their end."""
    rows = np.empty(len(offsets) - 1, np.int64)
    found = 0
    for row in range(len(offsets) - 1):
        for at in range(offsets[row], offsets[row + 1] - 2):
            if wanted[text[at]]:
                rows[found] = row
                found += 1
                break
    return rows[:found].copy()


@compile
def _limit_depths(
    places: Int64Array, bounds: Int64Array, ends: Int64Array, depths: UInt8Array
) -> None:
    for row in range(len(bounds) - 1):
        for at in range(bounds[row], bounds[row + 1]):
            size = 1
            while size < depths[places[at]] and ends[at - size] > at:
                size += 1
            depths[places[at]] = size


@compile
def _gather(
    order: Int32Array,
    begin: int,
    stop: int,
    text: Int32Array,
    depths: UInt8Array,
    evidence: Counts,
    documents: Counts,
    position_weight: FloatArray,
    near: tuple[Int64Array, Int64Array, Int64Array, Int64Array, FloatArray],
) -> None:
    """Copy what the sweep needs of the next positions: apart from it, so that visits to memory overlap."""
    size, mass, seen, after, value = near
    for i in range(begin, stop):
        position = order[i]
        mass[i - begin] = evidence[position]
        following = text[position + 1]
        same = following != 0 and evidence[position + 1] == evidence[position]
        after[i - begin] = following if same else -1
        size[i - begin] = depths[position]
    if len(documents):
        for i in range(begin, stop):
            seen[i - begin] = documents[order[i]]
    if len(position_weight):
        for i in range(begin, stop):
            value[i - begin] = position_weight[order[i]]


@compile
def _sweep(
    text: Int32Array,
    depths: UInt8Array,
    order: Int32Array,
    agreed: UInt8Array,
    groups: Int64Array,
    first: int,
    stop: int,
    evidence: Counts,
    documents: Counts,
    position_weight: FloatArray,
    longest: int,
    floor: int,
) -> tuple[Int32Array, UInt8Array, Int64Array, Int64Array, FloatArray]:
    room = 1024
    result = np.empty(room, np.float64)
    last = np.empty(room, np.int32)
    length = np.empty(room, np.uint8)
    total = np.empty(room, np.int64)
    seen = np.empty(room, np.int64)
    found = 0
    limit = longest + 1
    depth = np.zeros(limit + 2, np.int64)
    weight = np.zeros(limit + 2, np.int64)
    docs = np.zeros(limit + 2, np.int64)
    value = np.zeros(limit + 2, np.float64)
    follow = np.zeros(limit + 2, np.int64)
    lead = np.zeros(limit + 2, np.int64)
    near = (
        np.zeros(_BLOCK, np.int64),
        np.zeros(_BLOCK, np.int64),
        np.zeros(_BLOCK, np.int64),
        np.zeros(_BLOCK, np.int64),
        np.zeros(_BLOCK, np.float64),
    )
    for group in range(first, stop):
        lo, hi = groups[group], groups[group + 1]
        top = -1
        for i in range(lo, hi + 1):
            k = (i - lo) % _BLOCK
            if k == 0:
                block = min(i + _BLOCK, hi)
                _gather(order, i, block, text, depths, evidence, documents, position_weight, near)
            common = 0
            if i > lo and i < hi:
                # No deeper than a piece may reach; EQUAL is more than any depth.
                common = min(int(agreed[i]), int(near[0][k]), int(depths[order[i - 1]]))
            while top >= 0 and depth[top] > common:
                if (
                    (follow[top] < 0 or depths[lead[top] + 1] <= depth[top])
                    and weight[top] >= floor
                    and depth[top] <= longest
                    and depth[top] >= 2
                ):
                    if found == room:
                        room *= 2
                        last = np.append(last, np.empty(found, np.int32))
                        length = np.append(length, np.empty(found, np.uint8))
                        total = np.append(total, np.empty(found, np.int64))
                        seen = np.append(seen, np.empty(found, np.int64))
                        result = np.append(result, np.empty(found, np.float64))
                    last[found] = lead[top]
                    length[found] = depth[top]
                    total[found] = weight[top]
                    seen[found] = docs[top]
                    result[found] = value[top]
                    found += 1
                parent = depth[top - 1] if top > 0 else 0
                if common > parent:
                    depth[top] = common
                    break
                top -= 1
                if top >= 0:
                    weight[top] += weight[top + 1]
                    docs[top] += docs[top + 1]
                    value[top] += value[top + 1]
                    if follow[top] != follow[top + 1]:
                        follow[top] = -1
            if i == hi:
                break
            if top >= 0 and depth[top] == near[0][k]:
                weight[top] += near[1][k]
                docs[top] += near[2][k]
                value[top] += near[4][k]
                if follow[top] != near[3][k]:
                    follow[top] = -1
            else:
                top += 1
                depth[top] = near[0][k]
                weight[top] = near[1][k]
                docs[top] = near[2][k]
                follow[top] = near[3][k]
                value[top] = near[4][k]
                lead[top] = order[i]
    return (
        last[:found].copy(),
        length[:found].copy(),
        total[:found].copy(),
        seen[:found].copy(),
        result[:found].copy(),
    )
