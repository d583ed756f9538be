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

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array, UInt8Array, load_arrays, save_arrays
from vocabkit.core.text import INHERITED, script_names, script_table
from vocabkit.corpus.compilation import Workers, compile
from vocabkit.corpus.spans import piece_ends
from vocabkit.fitting.lexicon import Lexicon, SortedRows, Strings, batch_groups, join_strings, sort_positions

MAX_LENGTH = 16
_BLOCK = 256
_SLICE = 1 << 20

Number = TypeVar("Number", np.int32, np.int64, np.float64)
Counts = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Substrings:
    """Closed substrings of a lexicon, in order of their reversed characters.

    `order` holds positions of the lexicon's text, sorted by the characters that end there. Substring i is the
    last `length[i]` codes up to any of the positions `order[begin[i] : stop[i]]`, all that it ends at (a prefix
    that rows share counts once). `evidence` and `documents` are raw; `documents` is empty unless asked for.
    """

    order: Int32Array
    begin: Int32Array
    stop: Int32Array
    length: UInt8Array
    evidence: Int64Array
    documents: Int64Array
    longest: int
    floor: int

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def last(self) -> Int32Array:
        """A position of the text at which each substring ends."""
        return self.order[self.begin]

    def copy(self, lexicon: Lexicon, chosen: Int64Array) -> Strings:
        """Return the chosen substrings as strings."""
        last = self.order[self.begin[chosen]]
        return join_strings(_copy_strings(lexicon.text, last, self.length[chosen]))


@compile
def _copy_strings(text: Int32Array, last: Int32Array, length: UInt8Array) -> Int32Array:
    """Return the `length[i]` codes that end at `last[i]`, each string followed by a 0, after a leading 0."""
    size = 1
    for i in range(len(last)):
        size += length[i] + 1
    out = np.zeros(size, np.int32)
    place = 1
    for i in range(len(last)):
        for at in range(last[i] - length[i] + 1, last[i] + 1):
            out[place] = text[at]
            place += 1
        place += 1
    return out


def find_substrings(
    lexicon: Lexicon, workers: Workers, *, longest: int = MAX_LENGTH, floor: int = 2, documents: bool = False
) -> Substrings:
    """Find the closed substrings of at most `longest` characters and at least `floor` raw occurrences.

    `documents` asks for their document frequencies too, four to eight bytes a character more of memory.
    """
    rows = lexicon.rows
    # Sums by position are most of the memory: 32 bits where none can be larger.
    narrow = int(lexicon.count.sum()) < 2**31
    count: Counts = lexicon.count.astype(np.int32) if narrow else lexicon.count
    evidence = _sum_positions(rows, count)
    order = _own_positions(rows)
    agreed, groups = sort_positions(
        lexicon.text, order, len(lexicon.alphabet), workers,
        step=-1, depth=longest + 1, evidence=evidence, floor=floor,
    )  # fmt: skip
    depths = _measure_depths(lexicon, longest + 1)
    job = _Sweep(lexicon.text, depths, order, agreed, groups, evidence, longest, floor)
    batches = batch_groups(groups)
    parts = dict(zip(batches, workers.map(partial(_sweep, job), *zip(*batches, strict=True)), strict=True))
    begin, stop, length, total = (
        np.concatenate([np.zeros(0, kind), *(parts[batch][field] for batch in sorted(parts))])
        for field, kind in enumerate((np.int32, np.int32, np.uint8, np.int64))
    )
    del agreed, evidence, depths, job, parts
    found = Substrings(order, begin, stop, length, total, np.zeros(0, np.int64), longest, floor)
    if documents:
        found = replace(found, documents=weigh_substrings(lexicon, found, lexicon.documents, workers))
    return found


def weigh_substrings(
    lexicon: Lexicon, substrings: Substrings, row_weight: npt.NDArray[Number], workers: Workers
) -> npt.NDArray[Number]:
    """Return the weighted occurrences of each substring under new weights of the rows.

    They are differences of one running sum. Each addition rounds at 1e-16 of it, a ten-millionth of an
    occurrence in a billion characters.
    """
    order, begin, stop = substrings.order, substrings.begin, substrings.stop
    position = _sum_positions(lexicon.rows, row_weight)
    running = np.zeros(len(order) + 1, row_weight.dtype)

    def gather(first: int) -> None:
        _gather(order, position, first, min(first + _SLICE, len(order)), running)

    workers.map(gather, range(0, len(order), _SLICE))
    np.cumsum(running, out=running)
    total = np.empty(len(begin), running.dtype)

    def subtract(first: int) -> None:
        part = slice(first, first + _SLICE)
        total[part] = running[stop[part]] - running[begin[part]]

    workers.map(subtract, range(0, len(begin), _SLICE))
    return total


@compile
def _gather(
    order: Int32Array, position: npt.NDArray[Number], first: int, stop: int, out: npt.NDArray[Number]
) -> None:
    for i in range(first, stop):
        out[i + 1] = position[order[i]]


@compile
def _own_positions(rows: SortedRows) -> Int32Array:
    offsets, shared = rows.offsets, rows.shared
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
def _sum_positions(rows: SortedRows, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return, at each position that a row does not share, the sum of `values` over the rows through it."""
    offsets, shared = rows.offsets, rows.shared
    out = np.zeros(len(rows.text), values.dtype)
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
def _limit_depths(places: Int64Array, bounds: Int64Array, ends: Int64Array, depths: UInt8Array) -> None:
    for row in range(len(bounds) - 1):
        for at in range(bounds[row], bounds[row + 1]):
            size = 1
            while size < depths[places[at]] and ends[at - size] > at:
                size += 1
            depths[places[at]] = size


class _Sweep(NamedTuple):
    """What the sweep reads: `order` sorted with `agreed` shared characters, in `groups` by first character."""

    text: Int32Array
    depths: UInt8Array
    order: Int32Array
    agreed: UInt8Array
    groups: Int64Array
    evidence: Counts
    longest: int
    floor: int


@compile
def _look_ahead(
    job: _Sweep, begin: int, stop: int, size: Int64Array, mass: Int64Array, after: Int64Array
) -> None:
    """Copy what the sweep needs of the next positions: apart from it, so that visits to memory overlap."""
    text, depths, order, evidence = job.text, job.depths, job.order, job.evidence
    for i in range(begin, stop):
        position = order[i]
        mass[i - begin] = evidence[position]
        following = text[position + 1]
        same = following != 0 and evidence[position + 1] == evidence[position]
        after[i - begin] = following if same else -1
        size[i - begin] = depths[position]


@compile
def _sweep(job: _Sweep, first: int, last: int) -> tuple[Int32Array, Int32Array, UInt8Array, Int64Array]:
    depths, order, agreed, groups = job.depths, job.order, job.agreed, job.groups
    longest, floor = job.longest, job.floor
    room = 1024
    begin, stop = np.empty(room, np.int32), np.empty(room, np.int32)
    length, total = np.empty(room, np.uint8), np.empty(room, np.int64)
    found = 0
    limit = longest + 1
    depth, weight = np.zeros(limit + 2, np.int64), np.zeros(limit + 2, np.int64)
    follow, start = np.zeros(limit + 2, np.int64), np.zeros(limit + 2, np.int64)
    size, mass = np.zeros(_BLOCK, np.int64), np.zeros(_BLOCK, np.int64)
    after = np.zeros(_BLOCK, np.int64)
    for group in range(first, last):
        lo, hi = groups[group], groups[group + 1]
        top = -1
        for i in range(lo, hi + 1):
            k = (i - lo) % _BLOCK
            if k == 0:
                block = min(i + _BLOCK, hi)
                _look_ahead(job, i, block, size, mass, after)
            common = 0
            if i > lo and i < hi:
                # No deeper than a piece may reach; EQUAL is more than any depth.
                common = min(int(agreed[i]), int(size[k]), int(depths[order[i - 1]]))
            while top >= 0 and depth[top] > common:
                if (
                    (follow[top] < 0 or depths[order[start[top]] + 1] <= depth[top])
                    and weight[top] >= floor
                    and depth[top] <= longest
                    and depth[top] >= 2
                ):
                    if found == room:
                        room *= 2
                        begin = np.append(begin, np.empty(found, np.int32))
                        stop = np.append(stop, np.empty(found, np.int32))
                        length = np.append(length, np.empty(found, np.uint8))
                        total = np.append(total, np.empty(found, np.int64))
                    begin[found] = start[top]
                    stop[found] = i
                    length[found] = depth[top]
                    total[found] = weight[top]
                    found += 1
                parent = depth[top - 1] if top > 0 else 0
                if common > parent:
                    depth[top] = common
                    break
                top -= 1
                if top >= 0:
                    weight[top] += weight[top + 1]
                    if follow[top] != follow[top + 1]:
                        follow[top] = -1
            if i == hi:
                break
            if top >= 0 and depth[top] == size[k]:
                weight[top] += mass[k]
                if follow[top] != after[k]:
                    follow[top] = -1
            else:
                top += 1
                depth[top] = size[k]
                weight[top] = mass[k]
                follow[top] = after[k]
                start[top] = i
    return begin[:found].copy(), stop[:found].copy(), length[:found].copy(), total[:found].copy()


# --- Seed cache ------------------------------------------------------------------------------------
# The lexicon and closed substrings of a counts folder, kept beside the counts: refits only re-rank them. Both
# depend on the text, the normaliser, the digit rule and the covered characters, and on no language weight. They
# are large (about 10 bytes a character of distinct spans), so only the newest few are kept.

KEPT = 2
"""How many are kept: one with a global alphabet and one with an alphabet per language."""
_FORMAT = 2
_LEXICON = ("alphabet", "text", "offsets", "shared", "chunks", "partitions", "count", "documents")
_SUBSTRINGS = ("order", "begin", "stop", "length", "evidence", "documents")


def load_or_build(
    folder: Path | None, key: str, build: Callable[[], tuple[Lexicon, Substrings]]
) -> tuple[Lexicon, Substrings, bool]:
    """Return the lexicon and substrings stored under `key`, or build and store them; and whether they were.

    `folder` None, or one that cannot be written, means no cache. A damaged file is built and written again.
    """
    if folder is None:
        return (*build(), False)
    path = folder / f"{key}-{_FORMAT}.npz"
    if stored := _load(path):
        os.utime(path)
        return (*stored, True)
    lexicon, substrings = build()
    arrays = {f"lexicon.{name}": getattr(lexicon, name) for name in _LEXICON}
    arrays |= {f"substrings.{name}": getattr(substrings, name) for name in _SUBSTRINGS}
    arrays["limits"] = np.array([substrings.longest, substrings.floor], dtype=np.int64)
    for code, (rows, count) in lexicon.pairs.items():
        arrays[f"rows.{code}"], arrays[f"count.{code}"] = rows, count
    save_arrays(path, arrays, among="[!.]*.npz", kept=KEPT)
    return lexicon, substrings, False


def _load(path: Path) -> tuple[Lexicon, Substrings] | None:
    found = load_arrays(path) or {}
    try:
        longest, floor = found["limits"].tolist()
        codes = [name.removeprefix("rows.") for name in found if name.startswith("rows.")]
        pairs = {code: (found[f"rows.{code}"], found[f"count.{code}"]) for code in codes}
        lexicon = Lexicon(**{name: found[f"lexicon.{name}"] for name in _LEXICON}, pairs=pairs)
        substrings = Substrings(
            **{name: found[f"substrings.{name}"] for name in _SUBSTRINGS}, longest=longest, floor=floor
        )
    except (ValueError, KeyError):
        return None
    return lexicon, substrings
