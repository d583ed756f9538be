"""Candidates: the pieces a fit starts from: chosen closed substrings, and lists of pieces to keep or deny.

A seed's rank is weighted occurrences × Σ √(−log share of the character). SentencePiece's, occurrences × length,
takes a Chinese character for a Latin one: with eight times the size in seeds, Lao needs 5 % more tokens and
Chinese 2 %. The root is a compromise; without it the other languages lose more than these gain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from vocabkit.core.errors import FitError
from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.lexicon import BoolArray, FloatArray, Lexicon
from vocabkit.fitting.runs import Runs, build_runs
from vocabkit.fitting.scores import take_best
from vocabkit.fitting.sorting import Int32Array, Int64Array, UInt8Array
from vocabkit.fitting.substrings import Substrings
from vocabkit.fitting.trie import build_trie, find_child

WORD_MARK = "\u2581"
_SLICE = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Pieces longer than one character, in order of their ids.

    `text` holds their codes, each followed by a 0, after a leading 0; `mass` the weighted occurrences. The
    first `seeds` come from the substrings; then come `fixed` pieces of a base and `kept` ones. `runs` are the
    seeds' places, None where there are other pieces too.
    """

    text: Int32Array
    length: UInt8Array
    mass: FloatArray
    seeds: int
    fixed: int
    kept: int
    runs: Runs | None


def choose_candidates(
    lexicon: Lexicon,
    substrings: Substrings,
    mass: FloatArray,
    characters: FloatArray,
    limit: int,
    workers: Workers,
    *,
    floor: int,
    min_documents: int = 1,
    rank: str = "information",
    fixed: Sequence[str] = (),
    keep: Collection[str] = (),
    deny: Collection[str] = (),
) -> Candidates:
    """Choose at most `limit` seeds of at least `floor` raw occurrences, and add the `fixed` and `keep` pieces.

    `mass` is the weighted occurrences of each substring, `characters` of each character code. Pieces of
    `fixed` must be ones the lexicon's characters can write.
    """
    among_fixed = set(fixed)
    kept = [p for p in sorted(set(keep)) if len(p) > 1 and p not in among_fixed]
    fixed_codes, kept_codes = encode_pieces(lexicon, fixed), encode_pieces(lexicon, kept)
    value = _rank(lexicon, substrings, mass, characters, rank, workers)
    value[substrings.evidence < floor] = -np.inf
    if min_documents > 1:
        value[substrings.documents < min_documents] = -np.inf
    refused = np.concatenate(
        (fixed_codes, kept_codes[1:], encode_pieces(lexicon, sorted(deny))[1:])
    )
    if len(refused) > 1:
        value[_find_among(lexicon, substrings, refused)] = -np.inf
    chosen = np.flatnonzero(take_best(value, limit) & (value > -np.inf))
    text = copy_strings(lexicon.text, substrings.last[chosen], substrings.length[chosen])
    text = np.concatenate((text, fixed_codes[1:], kept_codes[1:]))
    added = len(fixed) + len(kept)
    first_id = len(lexicon.alphabet) + 1
    found = (substrings.begin[chosen], substrings.stop[chosen], substrings.length[chosen])
    return Candidates(
        text,
        (np.diff(np.flatnonzero(text == 0)) - 1).astype(np.uint8),
        np.concatenate((mass[chosen], np.ones(added))),
        len(chosen),
        len(fixed),
        len(kept),
        None if added else build_runs(substrings.order, *found, first_id),
    )


def check_lists(
    lexicon: Lexicon, keep: Collection[str], deny: Collection[str], longest: int
) -> None:
    """Raise `FitError` for a kept piece that cannot be one, and for a denied one that must be."""
    covered = {chr(int(point)) for point in lexicon.alphabet}
    for piece in sorted(keep):
        problem = ""
        if not piece or WORD_MARK in piece[1:] or any(c.isspace() for c in piece):
            problem = "no piece is empty, holds white space, or has ▁ anywhere but in front"
        elif len(piece) > longest:
            problem = f"it has {len(piece)} characters and pieces have at most {longest}"
        elif missing := sorted(set(piece) - covered):
            problem = f"{', '.join(map(repr, missing))} is not a covered character of this text"
        if problem:
            raise FitError(
                f"{piece!r} cannot be kept: {problem}", "take it off the list of pieces to keep"
            )
    for piece in sorted(deny):
        if piece in covered or piece in keep:
            reason = "it is a covered character" if piece in covered else "it is also to be kept"
            raise FitError(
                f"{piece!r} cannot be denied: {reason}", "take it off the list of pieces to deny"
            )


def encode_pieces(lexicon: Lexicon, pieces: Collection[str]) -> Int32Array:
    """Return the codes of the pieces that the lexicon can write, each followed by a 0, after a leading 0."""
    code = {chr(int(point)): i for i, point in enumerate(lexicon.alphabet, start=1)}
    out = [0]
    for piece in pieces:
        if all(c in code for c in piece):
            out.extend(code[c] for c in piece)
            out.append(0)
    return np.array(out, np.int32)


def _rank(
    lexicon: Lexicon,
    substrings: Substrings,
    mass: FloatArray,
    characters: FloatArray,
    rank: str,
    workers: Workers,
) -> FloatArray:
    cost = np.zeros(len(characters))
    cost[1:] = 1.0
    if rank == "information":
        cost[1:] = np.sqrt(-np.log(characters[1:] / characters.sum()))
    out = np.empty(len(substrings))

    def spell(first: int) -> None:
        stop = min(first + _SLICE, len(out))
        last, length = substrings.last, substrings.length
        _spell(lexicon.text, last, length, mass, cost, first, stop, out)

    workers.map(spell, range(0, len(out), _SLICE))
    return out


@compile
def _spell(
    text: Int32Array,
    last: Int32Array,
    length: UInt8Array,
    mass: FloatArray,
    cost: FloatArray,
    first: int,
    stop: int,
    out: FloatArray,
) -> None:
    for i in range(first, stop):
        spelled = 0.0
        for back in range(length[i]):
            spelled += cost[text[last[i] - back]]
        out[i] = mass[i] * spelled


def _find_among(lexicon: Lexicon, substrings: Substrings, pieces: Int32Array) -> BoolArray:
    """Return which substrings are among the pieces, each followed by a 0."""
    ends = np.flatnonzero(pieces == 0)
    trie = build_trie(pieces, ends[1:] - 1, np.diff(ends) - 1, 0)
    return _match(lexicon.text, substrings.last, substrings.length, trie.table, trie.piece)


@compile
def _match(
    text: Int32Array, last: Int32Array, length: UInt8Array, table: Int64Array, terminal: Int32Array
) -> BoolArray:
    out = np.zeros(len(last), np.bool_)
    for i in range(len(last)):
        node = 0
        for back in range(length[i]):
            node = find_child(table, node, text[last[i] - back])
            if node < 0:
                break
        out[i] = node >= 0 and terminal[node] >= 0
    return out


@compile
def copy_strings(text: Int32Array, last: Int32Array, length: UInt8Array) -> Int32Array:
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
