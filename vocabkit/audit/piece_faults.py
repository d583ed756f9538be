"""The pieces of a vocabulary with their texts, and those that look like mistakes: duplicates and junk.

Whether text is ever encoded to a piece is `reachability`'s question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import regex
import unicodedata2

from vocabkit.audit.figures import Finding, Severity
from vocabkit.audit.token_scripts import attribute_token
from vocabkit.core.render import show_token
from vocabkit.vocabulary.tokenizers import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

EXAMPLES = 10
LONG = 64
# A class that is a fault is a warning from one piece in a thousand on; below, a note.
SERIOUS = 0.001
PUNCTUATION_RUN = 8
_RUN = regex.compile(rf"[\p{{P}}\p{{S}}]{{{PUNCTUATION_RUN},}}")
_CONTROL = regex.compile(r"[\p{Cc}--[\t\n\r]]", regex.VERSION1)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece that text can be encoded to: its id, kind, bytes, and text where the bytes are any."""

    index: int
    kind: Kind
    data: bytes
    text: str | None


def list_pieces(tokenizer: Tokenizer) -> list[Piece]:
    """Return the pieces that stand for bytes, by id."""
    pieces = []
    for index, kind in enumerate(tokenizer.kinds):
        data = tokenizer.token_bytes(index)
        if data:
            pieces.append(Piece(index, kind, data, _decode(data)))
    return pieces


def find_duplicates(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> Iterable[Finding]:
    """Yield the pieces equal to an earlier one once normalised, by the tokenizer itself and by NFKC."""
    texts = [piece for piece in pieces if piece.text and piece.kind is not Kind.BYTE]
    checks: tuple[tuple[str, Severity, str, Callable[[str], str]], ...] = (
        (
            "duplicates: normaliser",
            "warning",
            "equal to an earlier piece as the tokenizer itself normalises text",
            lambda text: normalize_inside(tokenizer, text),
        ),
        ("duplicates: NFKC", "note", "equal to an earlier piece after NFKC", _compose),
    )
    for check, severity, note, form in checks:
        seen: set[str] = set()
        found = []
        for piece in texts:
            key = form(piece.text or "")
            if key and key in seen:
                found.append(piece)
            seen.add(key)
        yield report_pieces(tokenizer, check, severity, found, texts, note)


def normalize_inside(tokenizer: Tokenizer, text: str) -> str:
    """The text as it comes out between « and », so that its spaces count and its marks do not compose."""
    if text.isascii() and text.strip().isalpha() and text.islower():
        return text  # no normaliser of those read changes it, and it saves half of the calls
    found = tokenizer.normalize(f"«{text}»")
    return text if found is None else found.removeprefix("«").removesuffix("»")


def _compose(text: str) -> str:
    return text if text.isascii() else str(unicodedata2.normalize("NFKC", text))


def find_junk(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> Iterable[Finding]:
    """Yield a finding for each kind of junk among the normal pieces."""
    texts = [piece for piece in pieces if piece.text and piece.kind is Kind.NORMAL]
    checks: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
        (
            "junk: punctuation",
            f"{PUNCTUATION_RUN} or more punctuation marks or symbols in a row",
            lambda text: len(text) >= PUNCTUATION_RUN and _RUN.search(text) is not None,
        ),
        (
            "junk: replacement",
            "U+FFFD, which stands for text that was already lost",
            lambda text: "\ufffd" in text,
        ),
        (
            "junk: control",
            "control characters other than tab, line feed and carriage return",
            lambda text: not text.isprintable() and _CONTROL.search(text) is not None,
        ),
        (
            "junk: mixed scripts",
            "letters of two scripts that no language writes together",
            lambda text: not text.isascii() and attribute_token(text.encode()).kind == "mixed",
        ),
        ("junk: long", f"more than {LONG} characters", lambda text: len(text) > LONG),
    )
    for check, note, is_junk in checks:
        found = [piece for piece in texts if is_junk(piece.text or "")]
        yield report_pieces(tokenizer, check, "note", found, texts, note)


def report_pieces(
    tokenizer: Tokenizer,
    check: str,
    severity: Severity,
    found: Sequence[Piece],
    total: Sequence[Piece],
    note: str,
    count: int | None = None,
) -> Finding:
    """Return a finding with the first pieces found as examples; `count` where more were than are shown."""
    number = len(found) if count is None else count
    if severity == "warning" and number < SERIOUS * len(total):
        severity = "note"
    return Finding(
        tokenizer=tokenizer.name,
        check=check,
        severity=severity if number else "fine",
        count=number,
        total=len(total),
        note=note,
        examples=tuple(show_token(piece.data) for piece in found[:EXAMPLES]),
    )


def _decode(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
