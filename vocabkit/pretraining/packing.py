"""Documents laid end to end in rows of one length: none cut that fits a row, as little padding as can be.

Packing is best fit, longest first, by histogram: documents of equal length are placed together, so that the
work goes with the number of lengths and not of documents. It is pure: no files, no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.pretraining.special_ids import SpecialIds

__all__ = ["PackedRows", "Packer", "Pieces", "choose_rows", "cut_documents"]

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
# Places packed at once: 2,048 rows of 512 leave 0.05 % of ordinary text's places empty, 256 rows 0.4 %.
_PLACES = 1 << 20
_LEAST_ROWS = 256
# Rows fuller than this are done; up to so many emptier ones wait for what comes next.
_FULL = 0.995
_WAITING_ROWS = 256


@dataclass(frozen=True, slots=True)
class Pieces:
    """Documents, or parts of one too long for a row, in a row: ids int32[sum of lengths].

    `lengths` int64[n] are tokens without specials, `sizes` int64[n] bytes of original text.
    """

    ids: Int32Array
    lengths: Int64Array
    sizes: Int64Array

    @classmethod
    def empty(cls) -> Pieces:
        """No piece."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))

    def select(self, chosen: npt.NDArray[np.bool_]) -> Pieces:
        """The pieces that are chosen, bool[n]."""
        return Pieces(
            self.ids[np.repeat(chosen, self.lengths)], self.lengths[chosen], self.sizes[chosen]
        )

    @classmethod
    def join(cls, parts: Sequence[Pieces]) -> Pieces:
        """Several, one after the other."""
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.sizes for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Finished rows: ids int32[n, length]; used and bytes int32[n]."""

    ids: Int32Array
    used: Int32Array
    bytes: Int32Array


class Packer:
    """Takes documents as they come and gives rows, holding a bounded number of documents back.

    The rows depend on the documents and their order alone, not on how they come in batches.
    """

    def __init__(self, length: int, special: SpecialIds) -> None:
        """Rows of so many places, specials included."""
        self.length = length
        self._special = special
        self._extra = 1 if special.end is None else 2
        self._target = max(_PLACES, _LEAST_ROWS * length)
        self._waiting: list[Pieces] = []
        self._places = 0
        self._held = Pieces.empty()

    @property
    def longest(self) -> int:
        """The most tokens of text a row holds."""
        return self.length - self._extra

    def add(self, pieces: Pieces) -> list[PackedRows]:
        """Take pieces of at most `longest` tokens and at least one; return the rows that are full by now."""
        found = []
        ends = np.cumsum(pieces.lengths + self._extra)
        first, taken, tokens = 0, 0, 0
        while len(ends) - first and self._places + int(ends[-1]) - taken >= self._target:
            # Cut where the target is reached, wherever batches end.
            stop = int(np.searchsorted(ends, self._target - self._places + taken)) + 1
            count = int(pieces.lengths[first:stop].sum())
            self._wait(_slice(pieces, first, stop, tokens, tokens + count))
            first, taken, tokens = stop, int(ends[stop - 1]), tokens + count
            found.append(self._pack(last=False))
        if first < len(ends):
            self._wait(_slice(pieces, first, len(ends), tokens, len(pieces.ids)))
        return found

    def finish(self) -> list[PackedRows]:
        """Return the rows of all that waits."""
        return [self._pack(last=True)] if self._waiting or len(self._held.lengths) else []

    def _wait(self, pieces: Pieces) -> None:
        self._waiting.append(pieces)
        self._places += int(pieces.lengths.sum()) + self._extra * len(pieces.lengths)

    def _pack(self, *, last: bool) -> PackedRows:
        pool = Pieces.join([self._held, *self._waiting])
        self._waiting, self._places = [], 0
        spaces = pool.lengths + self._extra
        owners = choose_rows(spaces, self.length)
        rows = int(owners.max()) + 1
        used = np.bincount(owners, spaces, rows).astype(np.int64)
        done = np.ones(rows, bool)
        if not last:
            # The emptiest wait; of rows equally full the later ones.
            most = min(_WAITING_ROWS, self._target // self.length // 4)
            order = np.lexsort((-np.arange(rows), used))[:most]
            done[order[used[order] < _FULL * self.length]] = False
        ready = done[owners]
        self._held = pool.select(~ready)
        self._places = int(used[~done].sum())
        numbers = np.cumsum(done) - 1
        return self._lay_out(pool.select(ready), numbers[owners[ready]], int(done.sum()))

    def _lay_out(self, pieces: Pieces, owners: Int64Array, rows: int) -> PackedRows:
        """Write pieces into their rows, in the order in which they came."""
        special, spaces = self._special, pieces.lengths + self._extra
        used = np.bincount(owners, spaces, rows).astype(np.int64)
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(spaces[order])
        row_starts = np.cumsum(used) - used
        starts = np.empty(len(owners), np.int64)
        sorted_owners = owners[order]
        starts[order] = (
            ends - spaces[order] - row_starts[sorted_owners] + sorted_owners * self.length
        )
        out = np.full(rows * self.length, special.pad, np.int32)
        out[starts] = special.begin
        token_ends = np.cumsum(pieces.lengths)
        shift = starts + 1 - (token_ends - pieces.lengths)
        out[np.repeat(shift, pieces.lengths) + np.arange(len(pieces.ids))] = pieces.ids
        if special.end is not None:
            out[starts + pieces.lengths + 1] = special.end
        sizes = np.bincount(owners, pieces.sizes, rows)
        return PackedRows(
            out.reshape(rows, self.length), used.astype(np.int32), sizes.astype(np.int32)
        )


def choose_rows(spaces: Int64Array, length: int) -> Int64Array:
    """The row of each piece, int64[n], by best fit from the longest; `spaces` are places, 1 to `length`.

    Rows are numbered in the order in which they are opened; of equal pieces the earlier comes first.
    """
    owners = np.empty(len(spaces), np.int64)
    order = np.argsort(-spaces, kind="stable")
    lengths, counts = np.unique(spaces, return_counts=True)
    # Rows by the places left in them, and a bit for each list that is not empty.
    left: list[list[Int64Array]] = [[] for _ in range(length + 1)]
    mask = rows = start = 0
    for size, count in zip(lengths[::-1].tolist(), counts[::-1].tolist(), strict=True):
        items = order[start : start + count]
        start += count
        while len(items):
            fitting = mask >> size
            if not fitting:
                opened = -(-len(items) // (length // size))
                left[length].append(np.arange(rows, rows + opened))
                mask |= 1 << length
                rows += opened
                continue
            space = size + (fitting & -fitting).bit_length() - 1
            group = left[space].pop()
            if not left[space]:
                mask &= ~(1 << space)
            taken, rest = group[: len(items)], group[len(items) :]
            owners[items[: len(taken)]] = taken
            items = items[len(taken) :]
            if len(rest):
                left[space].append(rest)
                mask |= 1 << space
            if space > size:
                left[space - size].append(taken)
                mask |= 1 << (space - size)
    return owners


def cut_documents(documents: Pieces, longest: int, token_sizes: Callable[[], Int64Array]) -> Pieces:
    """The same tokens, with documents of more than `longest` cut into parts of that many and a rest.

    A cut document's bytes are shared out over its parts in proportion to the bytes their tokens stand for
    (`token_sizes`, int64[vocabulary], asked for only when something is cut), by largest remainder: the
    parts' bytes sum to the document's.
    """
    lengths, sizes = documents.lengths, documents.sizes
    long = np.flatnonzero(lengths > longest)
    if not len(long):
        return documents
    parts = -(-lengths // longest)
    firsts = np.cumsum(parts) - parts
    new_lengths = np.full(int(parts.sum()), longest, np.int64)
    lasts = firsts + parts - 1
    new_lengths[lasts] = lengths - (parts - 1) * longest
    new_sizes = np.zeros(len(new_lengths), np.int64)
    whole = parts == 1
    new_sizes[firsts[whole]] = sizes[whole]
    table = token_sizes()
    starts = np.cumsum(lengths) - lengths
    for place in long.tolist():
        ids = documents.ids[starts[place] : starts[place] + lengths[place]]
        cuts = np.arange(parts[place]) * longest
        weights = np.add.reduceat(table[ids], cuts)
        new_sizes[firsts[place] : lasts[place] + 1] = _share_out(int(sizes[place]), weights)
    return Pieces(documents.ids, new_lengths, new_sizes)


def _share_out(total: int, weights: Int64Array) -> Int64Array:
    """Whole shares of a total in proportion to weights, by largest remainder; equal ones without weight."""
    if not weights.any():
        weights = np.ones_like(weights)
    mass = int(weights.sum())
    shares = total * weights // mass
    missing = total - int(shares.sum())
    order = np.argsort(-(total * weights % mass), kind="stable")
    shares[order[:missing]] += 1
    return shares


def _slice(pieces: Pieces, first: int, stop: int, start: int, end: int) -> Pieces:
    return Pieces(pieces.ids[start:end], pieces.lengths[first:stop], pieces.sizes[first:stop])
