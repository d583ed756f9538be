"""From pre-tokens to rows the merge engine takes: bytes as ids, languages pooled by weight or kept apart.

Weights become integers once, after summing over languages, at the largest power of two that leaves the sum of
all pairs inside 62 bits (at most 2²⁰): the same sum whatever the order, and no rounding of consequence. Raw
counts stay beside them, since a weight must not turn one occurrence into evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import FitError
from vocabkit.fitting.merging import SymbolRows
from vocabkit.fitting.pre_tokens import Int32Array, Int64Array, PreTokens
from vocabkit.vocabulary.byte_alphabet import BYTE_ALPHABET

_MOST = 2**62
_SCALE = 20

BYTE_ORDER = tuple(BYTE_ALPHABET[letter] for letter in sorted(BYTE_ALPHABET))
"""The bytes in the order of their ids in a new vocabulary: that of the letters that stand for them."""


def byte_symbols(pre_tokens: PreTokens, first: int) -> Int32Array:
    """The id of every byte of the table, byte ids counting up from `first`."""
    ids = np.zeros(256, np.int32)
    ids[np.frombuffer(b"".join(BYTE_ORDER), np.uint8)] = np.arange(first, first + 256)
    return ids[pre_tokens.text]


def pool_languages(
    pre_tokens: PreTokens,
    symbols: Int32Array,
    offsets: Int64Array,
    weights: Mapping[str, float],
) -> SymbolRows:
    """Every row once: raw counts and weighted ones summed over languages. Raises FitError on overflow.

    `offsets` may go on beyond the table's rows; those others count nothing.
    """
    raw = np.zeros(len(offsets) - 1, np.int64)
    exact = np.zeros(len(offsets) - 1, np.float64)
    for code, own in pre_tokens.languages.items():
        # Rows of one language are distinct.
        raw[own.rows] += own.train
        exact[own.rows] += weights[code] * own.train
    weight = raw
    if any(value != 1.0 for value in weights.values()):
        weight = scale_counts(exact, np.diff(offsets))
    check_sum(raw, np.diff(offsets))
    group = np.zeros(len(raw), np.int32)
    return SymbolRows(symbols, offsets, raw, weight, group, np.zeros_like(raw))


def scale_counts(exact: npt.NDArray[np.float64], lengths: Int64Array) -> Int64Array:
    """Weighted counts as integers, to the largest power of two at which all pairs together stay exact."""
    total = max(float(exact @ lengths), 1.0)
    scale = 2.0 ** min(_SCALE, int(np.floor(np.log2(_MOST / total))) - 1)
    return np.rint(exact * scale).astype(np.int64)


def check_sum(raw: Int64Array, lengths: Int64Array) -> None:
    """Raise FitError where all pairs together could exceed 62 bits."""
    total = float(raw.astype(np.float64) @ lengths)
    if total >= _MOST:
        raise FitError(f"{total:.3g} symbols of text are more than 64-bit counts hold (4.6e18)")


@dataclass(frozen=True, slots=True, eq=False)
class Parted:
    """Rows with a group a language. `first[g]` is where group g's own rows begin, `used[g]` which they are."""

    rows: SymbolRows
    first: tuple[int, ...]
    used: tuple[Int64Array, ...]


def part_languages(
    pre_tokens: PreTokens,
    symbols: Int32Array,
    offsets: Int64Array,
    development: Mapping[str, tuple[Int32Array, Int64Array]] | None = None,
) -> Parted:
    """A group a language, in the order of the table; watched is its held-out text, or `development`.

    `development` gives other rows of `symbols` to watch instead, and their counts, by language.
    """
    parts: list[tuple[Int32Array, Int64Array, Int64Array, Int64Array, Int32Array]] = []
    first: list[int] = []
    used: list[Int64Array] = []
    total = 0
    for group, (code, own) in enumerate(pre_tokens.languages.items()):
        held = own.held_out if development is None else np.zeros_like(own.held_out)
        kept = np.flatnonzero((own.train > 0) | (held > 0))
        chosen, train, watched = own.rows[kept], own.train[kept], held[kept]
        first.append(total)
        used.append(kept)
        if development is not None:
            others, counts = development[code]
            chosen = np.concatenate([chosen, others])
            train = np.concatenate([train, np.zeros_like(counts)])
            watched = np.concatenate([watched, counts])
        ids, lengths = _gather(symbols, offsets, chosen)
        parts.append((ids, lengths, train, watched, np.full(len(chosen), group, np.int32)))
        total += len(chosen)
    ids, lengths, train, watched, groups = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    check_sum(train, lengths)
    rows = SymbolRows(ids, starts, train, train, groups, watched)
    return Parted(rows, tuple(first), tuple(used))


def _gather(
    symbols: Int32Array, offsets: Int64Array, rows: Int32Array
) -> tuple[Int32Array, Int64Array]:
    """The symbols of chosen rows, one after another, and their lengths."""
    lengths = np.diff(offsets)[rows]
    ends = np.cumsum(lengths)
    places = np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
    places += np.repeat(offsets[:-1][rows] - (ends - lengths), lengths)
    return symbols[places], lengths
