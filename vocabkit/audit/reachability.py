"""Pieces that no text is ever encoded to, of a whole vocabulary; with the faults of `piece_faults`.

A piece counts as reachable when one of a dozen probe texts around it gives its id: one probe is not enough,
since a run of spaces needs letters beside it, and a pre-tokeniser cuts off what stands alone. That a
piece is out of reach of all the probes is strong evidence, not proof. No corpus is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from vocabkit.audit.figures import Finding, Severity
from vocabkit.audit.piece_faults import (
    Piece,
    find_duplicates,
    find_junk,
    list_pieces,
    normalize_inside,
    report_pieces,
)
from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.tokenizers import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

Reach = Literal[
    "reachable",
    "context-only",
    "normalization-unreachable",
    "pretokenizer-unreachable",
    "dead",
    "shadowed byte",
    "unverifiable",
]

# What a piece is met as on its own, and then between other text. The order decides between `reachable`
# and `context-only`; only what an earlier probe missed is tried by a later one.
_ALONE: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: text.removeprefix(" "),
    lambda text: f"«{text}»",
)
_WITHIN: tuple[Callable[[str], str], ...] = (
    lambda text: f"a{text}",
    lambda text: f"q{text}",
    lambda text: f"qx{text}",
    lambda text: f"\N{CYRILLIC SMALL LETTER YA}{text}",
)
_BESIDE: tuple[Callable[[str], str], ...] = (
    *_WITHIN,
    lambda text: f" {text}",
    lambda text: f"{text}\n",
    lambda text: f"a {text} b",
    lambda text: f"a{text} b",
    lambda text: f"。{text}。",
    lambda text: f"1{text}1",
    lambda text: f"\n{text}a",
)
_NOTES: Mapping[Reach, tuple[Severity, str]] = {
    "reachable": ("fine", "given by the piece alone, or between «»"),
    "context-only": ("note", "given only between other text, such as letters or spaces"),
    "normalization-unreachable": ("warning", "the normaliser changes the piece's text"),
    "pretokenizer-unreachable": ("warning", "the pre-tokeniser cuts the piece's text"),
    "dead": ("warning", "other pieces are always preferred, in every probe"),
    "shadowed byte": ("note", "byte pieces of characters that have a piece: unused by design"),
    "unverifiable": ("note", "parts of characters, whose bytes alone are no text, and byte pieces"),
}


def check_reachability(tokenizer: Tokenizer) -> list[Finding]:
    """Return a finding for each class of reach, each kind of duplicate and each kind of junk.

    `total` is the number of pieces other than control, unknown and unused ones, which text never gives.
    """
    pieces = list_pieces(tokenizer)
    classes = classify_pieces(tokenizer, pieces)
    findings = []
    for reach, (severity, note) in _NOTES.items():
        found = [piece for piece, own in zip(pieces, classes, strict=True) if own == reach]
        shown = [] if reach == "reachable" else found
        findings.append(
            report_pieces(tokenizer, f"pieces: {reach}", severity, shown, pieces, note, len(found))
        )
    return [*findings, *find_duplicates(tokenizer, pieces), *find_junk(tokenizer, pieces)]


def classify_pieces(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> list[Reach]:
    """Return the reach of each piece.

    A piece that no probe gives is normalization-unreachable when its text does not survive the
    normaliser between two letters; pretokenizer-unreachable when the pre-tokeniser cuts it; else dead,
    or a shadowed byte.
    """
    found: list[Reach] = ["unverifiable"] * len(pieces)
    left = np.array([place for place, piece in enumerate(pieces) if piece.text is not None], int)
    # A WordPiece that goes on within a word never stands alone.
    alone = (*_ALONE, *_WITHIN) if tokenizer.style == "wordpiece" else _ALONE
    for reach, probes in (("reachable", alone), ("context-only", _BESIDE)):
        for probe in probes:
            hit = _probe(tokenizer, pieces, left, probe)
            for place in left[hit].tolist():
                found[place] = "reachable" if reach == "reachable" else "context-only"
            left = left[~hit]
    for place in left.tolist():
        found[place] = _explain(tokenizer, pieces[place])
    return found


def _probe(
    tokenizer: Tokenizer,
    pieces: Sequence[Piece],
    places: npt.NDArray[np.int_],
    probe: Callable[[str], str],
) -> npt.NDArray[np.bool_]:
    """Whether each piece's id is among those of its probe text."""
    hit = np.zeros(len(places), dtype=bool)
    if not len(places):
        return hit
    texts = [probe(pieces[place].text or "") for place in places.tolist()]
    ids, lengths = _encode(tokenizer, texts)
    owners = np.repeat(np.arange(len(places)), lengths)
    wanted = np.array([pieces[place].index for place in places.tolist()])
    hit[owners[ids == wanted[owners]]] = True
    return hit


def _encode(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Encode; a text that the tokenizer refuses has no ids, and the others are encoded without it."""
    try:
        return tokenizer.encode_flat(texts)
    except TokenizerError:
        if len(texts) == 1:
            return np.zeros(0, np.int32), np.zeros(1, np.int64)
        half = len(texts) // 2
        first, second = _encode(tokenizer, texts[:half]), _encode(tokenizer, texts[half:])
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def _explain(tokenizer: Tokenizer, piece: Piece) -> Reach:
    text = piece.text or ""
    if piece.kind is Kind.BYTE:
        return "shadowed byte"
    if normalize_inside(tokenizer, text) != text:
        return "normalization-unreachable"
    if tokenizer.style == "wordpiece" and not text.startswith(" "):
        return "pretokenizer-unreachable" if tokenizer.count_chunks(f"a{text}") > 1 else "dead"
    chunks = tokenizer.count_chunks(text.removeprefix(" ") or text)
    return "pretokenizer-unreachable" if chunks > 1 else "dead"
