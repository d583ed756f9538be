"""Whether text comes back from its tokens as it went in, by language, and which pieces no text is encoded to.

Round trips, normalisation, canonical forms, digits, typed special tokens and white space; then the vocabulary's
pieces: out of reach, duplicates, junk. All of it is about what is kept; what it costs is `metrics`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, groupby, takewhile
from typing import Literal

import numpy as np
import numpy.typing as npt
import regex
import unicodedata2

from vocabkit.auditing.composition import attribute_token
from vocabkit.auditing.encoding import Opening, reuse_tokenizer
from vocabkit.auditing.figures import Figures, Findings, Severity
from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array
from vocabkit.core.errors import TokenizerError
from vocabkit.core.text import show_token
from vocabkit.vocabulary.adapters import UNKNOWN_BYTES, Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

EXAMPLES = 10


def check_round_trips(
    opening: Opening, name: str, lines: Mapping[str, Sequence[str]], seed: int
) -> tuple[Findings, Figures]:
    """Return whether text comes back, and the figures of each language, as a job. Raises TokenizerError."""
    return _check_integrity(reuse_tokenizer(opening).tokenizer, lines, name=name, seed=seed)


def check_pieces(opening: Opening, name: str) -> tuple[Findings, Figures]:
    """Return what is wrong with the pieces, as a job; there are no figures. Raises TokenizerError."""
    return _check_reachability(reuse_tokenizer(opening).tokenizer, name=name), Figures(name)


# --- Round trips -----------------------------------------------------------------------------------
# Encoding many texts and decoding them again: which do not come back as they went in, or as normalised.

METRICS = ("roundtrip_failures", "lines_normalized", "nfd_differs", "nfd_cost", "mark_order_differs")
_ALTERED = "come back neither as they went in nor as normalised"
# White space, and the invisible characters that Persian, Hindi and emoji are spelt with.
_FIDELITY = (
    " a", "a ", "a  b", "a\tb", "a\nb", "a\r\nb", "a\n\nb", "a\u00a0b", "a\u3000b", "\ufeffa",
    "a\ufeffb", "a\u200cb", "a\u200db", "a\u00adb",
)  # fmt: skip
_SPECIAL = (
    "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<bos>", "<eos>", "[CLS]", "[SEP]", "[MASK]", "[UNK]",
    "<|endoftext|>", "<|im_start|>", "<|begin_of_text|>", "<|eot_id|>", "<0x41>", "<unused0>",
)  # fmt: skip
_Pairs = list[tuple[bytes, bytes]]


class _Codec:
    """Encoding and decoding many texts: the bytes of all ids are looked up once.

    `control` and `user` are the ids of those kinds.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look up the bytes of all ids of a tokenizer."""
        self._tokenizer = tokenizer
        kinds = tokenizer.kinds
        self.control = frozenset(i for i, kind in enumerate(kinds) if kind is Kind.CONTROL)
        self.user = frozenset(i for i, kind in enumerate(kinds) if kind is Kind.USER)
        self._table = [
            tokenizer.token_bytes(index) or (UNKNOWN_BYTES if kind is Kind.UNKNOWN else b"")
            for index, kind in enumerate(kinds)
        ]
        (ids,) = tokenizer.encode_batch(["a"])
        # Decoding takes off the one space that encoding put first or last, if it did.
        whole, bare = self._join(ids.tolist()), tokenizer.decode_bytes(ids)
        self._first, self._last = (b" " if whole == one else b"" for one in (b" " + bare, bare + b" "))

    def _join(self, ids: Sequence[int]) -> bytes:
        return b"".join([self._table[index] for index in ids])

    def find_lost(self, texts: Sequence[str]) -> tuple[_Pairs, list[list[int]]]:
        """Return the texts that do not come back, each with what came, and the ids of all texts.

        A text comes back when its bytes do, or those of the text as normalised. Raises TokenizerError.
        """
        lost = []
        batch = [ids.tolist() for ids in self._tokenizer.encode_batch(texts)]
        for text, ids in zip(texts, batch, strict=True):
            data, back = text.encode(), self._join(ids)
            back = back.removeprefix(self._first).removesuffix(self._last)
            if back != data:
                known = self._tokenizer.settle(text)
                if known is None or back != known.encode():
                    lost.append((data, back))
        return lost, batch


def _check_integrity(
    tokenizer: Tokenizer, lines: Mapping[str, Sequence[str]], *, name: str = "", seed: int = 0, limit: int = 200
) -> tuple[Findings, Figures]:
    """Return the findings about the tokenizer, and the figures of each language of `lines`.

    All lines are normalised; up to `limit` of a language, drawn by `seed`, are encoded and decoded. A language
    that the tokenizer refuses has null figures with the reason.
    """
    codec = _Codec(tokenizer)
    findings, figures = Findings(name), Figures(name)
    # The examples shown are the first: one of each language before a second of any.
    first, rest = _Pairs(), _Pairs()
    total = specials = users = 0
    for language, texts in lines.items():
        sample = list(texts)
        if len(texts) > limit:
            places = random.Random(f"{seed}:{language}").sample(range(len(texts)), limit)
            sample = [texts[place] for place in sorted(places)]
        own = Figures(name)
        try:
            lost, batch = codec.find_lost(sample)
            changed = sum(tokenizer.normalize(text) is not None for text in texts)
            _add_share(own, language, "roundtrip_failures", len(lost), len(sample))
            _add_share(own, language, "lines_normalized", changed, len(texts))
            _add_forms(own, tokenizer, language, sample)
        except TokenizerError as error:
            for metric in METRICS:
                _add_share(figures, language, metric, 0, 0, error.message)
            continue
        figures += own
        first += lost[:1]
        rest += lost[1:]
        total += len(sample)
        specials += sum(not codec.control.isdisjoint(ids) for ids in batch)
        users += sum(not codec.user.isdisjoint(ids) for ids in batch)
    lost = first + rest
    _add_lost(findings, "round trip", _grade(len(lost), total), lost, total, _ALTERED)
    ids, _ = tokenizer.encode_flat(_SPECIAL)
    specials += sum(tokenizer.kinds[index] is Kind.CONTROL for index in ids.tolist())
    note = "lines, and typed special tokens, that were encoded to a control token; total: lines"
    findings.add("special tokens from text", "failure", specials, total, note)
    note = "lines with a token that is matched before all others, such as markup; total: lines"
    findings.add("added tokens in text", "note", users, total, note)
    for check, texts in (("white space", _FIDELITY), ("typed special tokens", _SPECIAL)):
        # What the normaliser alone changes is a note and listed too.
        lost, _ = codec.find_lost(texts)
        gone = {data for data, _ in lost}
        normalized = [(text.encode(), tokenizer.settle(text)) for text in texts]
        changes = [
            (data, known.encode()) for data, known in normalized if known is not None and data not in gone
        ]
        note = f"{len(lost)} changed for good, {len(changes)} by the normaliser alone"
        severity: Severity = "warning" if lost else "note"
        _add_lost(findings, check, severity, lost + changes, len(texts), note)
    # Every character of all the lines, alone between two letters.
    seen = {character for texts in lines.values() for text in texts for character in text}
    texts = [f"a{one}a" for one in sorted(seen) if not 0xD800 <= ord(one) < 0xE000]
    try:
        lost = [(data[1:-1], back) for data, back in codec.find_lost(texts)[0]]
    except TokenizerError as error:
        findings.add("characters", "failure", None, len(texts), error.message)
    else:
        severity, note = _grade(len(lost), len(texts)), f"distinct characters: {_ALTERED}"
        _add_lost(findings, "characters", severity, lost, len(texts), note)
    _add_digits(findings, figures, tokenizer)
    return findings, figures


def _grade(count: int, total: int) -> Severity:
    """Return a warning up to one in a hundred, as for unknown characters; beyond, figures are of other text."""
    return "failure" if count > total / 100 else "warning"


def _add_lost(findings: Findings, check: str, severity: Severity, lost: _Pairs, total: int, note: str) -> None:
    examples = [
        f"{show_token(_cut_difference(data, back))} → {show_token(_cut_difference(back, data))}"
        for data, back in lost[:EXAMPLES]
    ]
    findings.add(check, severity, len(lost), total, note, examples)


def _add_share(
    figures: Figures, language: str, metric: str, count: int, n: int, note: str | None = None
) -> None:
    figures.add(language, metric, count / n if n else None, "share of lines", "share", n=n, note=note)


def _cut_difference(data: bytes, other: bytes, width: int = 24) -> bytes:
    """Return the part of a text about the first character that differs from another."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(data, other, strict=False))
    start = max(0, sum(1 for _ in same) - width // 3)
    while start and data[start : start + 1] and 0x80 <= data[start] < 0xC0:
        start -= 1
    return data[start:].decode(errors="ignore")[:width].encode()


# --- Canonical forms -------------------------------------------------------------------------------
# How much the tokens of a line depend on which of its canonically equivalent spellings was typed. Unicode
# holds NFC, NFD and the orders of marks of different classes to be the same text; a tokenizer that does not
# normalise, or its training text, may not.


def _add_forms(figures: Figures, tokenizer: Tokenizer, language: str, lines: Sequence[str]) -> None:
    """Add three figures of a language: two of NFC against NFD, one of permuted marks.

    Only lines that have two spellings count, and `n` is their number; without any the value is null.
    Raises TokenizerError.
    """
    composed, decomposed = ([_normalize_form(form, line) for line in lines] for form in ("NFC", "NFD"))
    pairs = [(one, two) for one, two in zip(composed, decomposed, strict=True) if one != two]
    first, second = (tokenizer.encode_flat([pair[side] for pair in pairs])[1].reshape(-1) for side in (0, 1))
    swapped = [(two, _permute_marks(two)) for two in decomposed]
    changed = [pair for pair in swapped if pair[0] != pair[1]]
    usual, other = (tokenizer.encode_batch([pair[side] for pair in changed]) for side in (0, 1))
    differ = np.array([one.tolist() != two.tolist() for one, two in zip(usual, other, strict=True)])
    ratios = second[first > 0] / first[first > 0]
    rows: tuple[tuple[str, str, str, npt.NDArray[np.bool_ | np.float64], str], ...] = (
        ("nfd_differs", "share of lines", "share", first != second,
         "lines whose NFC and NFD differ, with another number of tokens"),
        ("nfd_cost", "tokens of NFD / tokens of NFC", "mean of ratios", ratios,
         "lines whose NFC and NFD differ"),
        ("mark_order_differs", "share of lines", "share", differ,
         "NFD lines with marks that can change places, with other tokens when they do"),
    )  # fmt: skip
    for metric, unit, how, values, note in rows:
        n = len(values)
        value = float(np.mean(values)) if n else None
        figures.add(language, metric, value, unit, how, n=n, note=note if n else f"no {note}")


def _normalize_form(form: str, text: str) -> str:
    """Return a Unicode normalisation form of a text, by the tables of Unicode 18."""
    return text if text.isascii() else str(unicodedata2.normalize(form, text))


def _permute_marks(text: str) -> str:
    """The text with each run of marks from the highest combining class to the lowest: canonically the same.

    NFD runs from the lowest to the highest; marks of one class keep their order, which has a meaning.
    """
    if text.isascii():
        return text
    classes = map(unicodedata2.combining, text)
    result: list[str] = []
    for is_mark, run in groupby(zip(classes, text, strict=True), key=lambda item: item[0] > 0):
        result += [one for _, one in (sorted(run, key=lambda item: -item[0]) if is_mark else run)]
    return "".join(result)


# --- Digit grouping --------------------------------------------------------------------------------
# How a tokenizer cuts numbers, by writing system: digits alone, in groups, whole, or as pieces were learnt.
# Read off the tokens of a few numbers in the middle of a line; how well they are cut is not judged.

Grouping = Literal[
    "single", "groups from the left", "groups from the right", "whole", "learnt pieces", "bytes", "normalised",
    "unknown",
]  # fmt: skip
# The zeros of the decimal digits in use today, full-width ones too; the other nine follow in order.
ZEROS = "0٠۰߀०০੦૦୦௦౦೦൦๐໐༠၀០᠐᱐０"
_SEVERITIES: Mapping[Grouping, Severity] = {"unknown": "warning", "bytes": "note"}
# Two numbers of each length from 2 to 10 digits: a learnt year or price must not decide.
_NUMBERS = tuple(number for size in range(2, 11) for number in ("7392640518"[:size], "4186935027"[:size]))


def _add_digits(findings: Findings, figures: Figures, tokenizer: Tokenizer) -> None:
    """Add a finding a digit set with how it is cut, and a figure with its tokens a digit.

    The figure (scope `vocabulary`, name of the zero without DIGIT ZERO) is null where the digits are lost
    or changed to others.
    """
    found = Figures(figures.tokenizer, "vocabulary")
    for zero in ZEROS:
        grouping, tokens, digits = _group_digits(tokenizer, zero)
        name = str(unicodedata2.name(zero)).removesuffix("DIGIT ZERO").strip().lower() or "ascii"
        severity = _SEVERITIES.get(grouping, "fine")
        findings.add(f"digits: {name}", severity, tokens, digits, grouping)
        found.add(
            name, "tokens_per_digit", None if tokens is None else tokens / digits, "tokens a digit",
            "ratio of sums", n=len(_NUMBERS), note=grouping,
        )  # fmt: skip
    figures += found


def _group_digits(tokenizer: Tokenizer, zero: str) -> tuple[Grouping, int | None, int]:
    """Return how numbers written with `zero` and its nine fellows are cut, their tokens and digits.

    The tokens are None where the digits are unknown or become others.
    """
    numbers = ["".join(chr(ord(zero) + int(digit)) for digit in number) for number in _NUMBERS]
    total = sum(map(len, numbers))
    lines = [f"x {number}" for number in numbers]
    sizes: list[list[float]] = []
    for line, number, ids in zip(lines, numbers, tokenizer.encode_batch(lines), strict=True):
        normalized = tokenizer.normalize(line)
        if normalized is not None and number not in normalized:
            return "normalised", None, total
        found = _measure_groups(tokenizer, ids, number)
        if found is None:
            return "unknown", None, total
        sizes.append(found)
    tokens = sum(map(len, sizes))
    if any(size != int(size) for found in sizes for size in found):
        return "bytes", tokens, total
    return _name_grouping([[int(size) for size in found] for found in sizes]), tokens, total


def _measure_groups(tokenizer: Tokenizer, ids: Int32Array, number: str) -> list[float] | None:
    """Return the digits in each token that holds any, a fraction where a token ends inside one."""
    parts = [tokenizer.token_bytes(int(index)) for index in ids]
    joined = b"".join(UNKNOWN_BYTES if part is None else part for part in parts)
    place = joined.rfind(number.encode())
    if place < 0:
        return None
    width = len(number[0].encode())
    stop = place + len(number) * width
    ends = list(accumulate(len(part or UNKNOWN_BYTES) for part in parts))
    starts = [0, *ends[:-1]]
    shares = [(min(end, stop) - max(start, place)) / width for start, end in zip(starts, ends, strict=True)]
    return [share for share in shares if share > 0]


def _name_grouping(sizes: Sequence[Sequence[int]]) -> Grouping:
    if all(len(found) == 1 for found in sizes):
        return "whole"
    largest = max(map(max, sizes))
    if largest == 1:
        return "single"
    # All groups are of the largest size, but for the last or the first one, which may be shorter.
    if all({*found[:-1]} <= {largest} for found in sizes):
        return "groups from the left"
    return "groups from the right" if all({*found[1:]} <= {largest} for found in sizes) else "learnt pieces"


# --- Pieces ----------------------------------------------------------------------------------------
# The pieces of a whole vocabulary: those that no text is ever encoded to, duplicates and junk. No corpus.
#
# A piece counts as reachable when one of a dozen probe texts around it gives its id: one probe is not enough,
# since a run of spaces needs letters beside it, and a pre-tokeniser cuts off what stands alone. That a piece is
# out of reach of all the probes is strong evidence, not proof.

LONG = 64
# A class that is a fault is a warning from one piece in a thousand on; below, a note.
SERIOUS = 0.001
PUNCTUATION_RUN = 8
_RUN = regex.compile(rf"[\p{{P}}\p{{S}}]{{{PUNCTUATION_RUN},}}")
_CONTROL = regex.compile(r"[\p{Cc}--[\t\n\r]]", regex.VERSION1)
# Kinds of junk, with what they are and how they are told from a piece's text.
_JUNK: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "punctuation": (
        f"{PUNCTUATION_RUN} or more punctuation marks or symbols in a row",
        lambda text: len(text) >= PUNCTUATION_RUN and _RUN.search(text) is not None,
    ),
    "replacement": ("U+FFFD, which stands for text that was already lost", lambda text: "\ufffd" in text),
    "control": (
        "control characters other than tab, line feed and carriage return",
        lambda text: not text.isprintable() and _CONTROL.search(text) is not None,
    ),
    "mixed scripts": (
        "letters of two scripts that no language writes together",
        lambda text: not text.isascii() and attribute_token(text.encode()).kind == "mixed",
    ),
    "long": (f"more than {LONG} characters", lambda text: len(text) > LONG),
}

Reach = Literal[
    "reachable", "context-only", "normalization-unreachable", "pretokenizer-unreachable", "dead",
    "shadowed byte", "unverifiable",
]  # fmt: skip

# What a piece is met as on its own, and then between other text. The order decides between `reachable`
# and `context-only`; only what an earlier probe missed is tried by a later one.
_ALONE = ("{}", "{stripped}", "«{}»")
_WITHIN = ("a{}", "q{}", "qx{}", "\N{CYRILLIC SMALL LETTER YA}{}")
_BEFORE = ("{}a", "{}q", "{}qx")
_BESIDE = (*_WITHIN, " {}", "{}\n", "a {} b", "a{} b", "。{}。", "1{}1", "\n{}a")
_NOTES: Mapping[Reach, tuple[Severity, str]] = {
    "reachable": ("fine", "given by the piece alone, or between «»"),
    "context-only": ("note", "given only between other text, such as letters or spaces"),
    "normalization-unreachable": ("warning", "the normaliser changes the piece's text"),
    "pretokenizer-unreachable": ("warning", "the pre-tokeniser cuts the piece's text"),
    "dead": ("warning", "other pieces are always preferred, in every probe"),
    "shadowed byte": ("note", "byte pieces of characters that have a piece: unused by design"),
    "unverifiable": ("note", "parts of characters, whose bytes alone are no text, and byte pieces"),
}


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece that text can be encoded to: its id, kind, bytes, and text where the bytes are any."""

    index: int
    kind: Kind
    data: bytes
    text: str | None


def _list_pieces(tokenizer: Tokenizer) -> list[_Piece]:
    """Return the pieces that stand for bytes, by id."""
    pieces = []
    for index, kind in enumerate(tokenizer.kinds):
        data, text = tokenizer.token_bytes(index), None
        if data:
            with suppress(UnicodeDecodeError):
                text = data.decode()
            pieces.append(_Piece(index, kind, data, text))
    return pieces


def _check_reachability(tokenizer: Tokenizer, *, name: str = "") -> Findings:
    """Return a finding for each class of reach, each kind of duplicate and each kind of junk.

    `total` is the number of pieces other than control, unknown and unused ones, which text never gives.
    """
    findings = Findings(name)

    def add(
        check: str, severity: Severity, found: Sequence[_Piece], total: int, note: str, *, shown: bool = True
    ) -> None:
        if severity == "warning" and len(found) < SERIOUS * total:
            severity = "note"
        examples = [show_token(piece.data) for piece in found[:EXAMPLES] if shown]
        findings.add(check, severity, len(found), total, note, examples)

    pieces = _list_pieces(tokenizer)
    classes = _classify_pieces(tokenizer, pieces)
    for reach, (severity, note) in _NOTES.items():
        found = [piece for piece, own in zip(pieces, classes, strict=True) if own == reach]
        shown = reach != "reachable"
        add(f"pieces: {reach}", severity, found, len(pieces), note, shown=shown)
    texts = [piece for piece in pieces if piece.text and piece.kind is not Kind.BYTE]
    note = "equal to an earlier piece as the tokenizer itself normalises text"
    found = _find_duplicates(texts, lambda text: _normalize_inside(tokenizer, text))
    add("duplicates: normaliser", "warning", found, len(texts), note)
    found = _find_duplicates(texts, lambda text: _normalize_form("NFKC", text))
    add("duplicates: NFKC", "note", found, len(texts), "equal to an earlier piece after NFKC")
    texts = [piece for piece in texts if piece.kind is Kind.NORMAL]
    for kind, (note, is_junk) in _JUNK.items():
        found = [piece for piece in texts if is_junk(piece.text or "")]
        add(f"junk: {kind}", "note", found, len(texts), note)
    return findings


def _find_duplicates(pieces: Sequence[_Piece], form: Callable[[str], str]) -> list[_Piece]:
    """Return the pieces whose text is in this form equal to an earlier one's."""
    first: dict[str, _Piece] = {}
    forms = ((form(piece.text or ""), piece) for piece in pieces)
    return [piece for key, piece in forms if first.setdefault(key, piece) is not piece and key]


def _normalize_inside(tokenizer: Tokenizer, text: str) -> str:
    """The text as it comes out between « and », so that its spaces count and its marks do not compose."""
    if text.isascii() and text.strip().isalpha() and text.islower():
        return text  # no normaliser of those read changes it, and it saves half of the calls
    found = tokenizer.normalize(f"«{text}»")
    return text if found is None else found.removeprefix("«").removesuffix("»")


def _classify_pieces(tokenizer: Tokenizer, pieces: Sequence[_Piece]) -> list[Reach]:
    """Return the reach of each piece.

    A piece that no probe gives is normalization-unreachable when its text does not survive the
    normaliser between two letters; pretokenizer-unreachable when the pre-tokeniser cuts it; else dead,
    or a shadowed byte.
    """
    found: list[Reach] = ["unverifiable"] * len(pieces)
    left = np.array([place for place, piece in enumerate(pieces) if piece.text is not None], int)
    # What goes on within a word never stands alone, nor does what is not its end where ends are marked.
    alone = (*_ALONE, *_WITHIN, *_BEFORE) if tokenizer.style == "wordpiece" else _ALONE
    steps: tuple[tuple[Reach, Sequence[str]], ...] = (("reachable", alone), ("context-only", _BESIDE))
    for reach, probes in steps:
        for probe in probes:
            hit = _probe(tokenizer, pieces, left, probe)
            for place in left[hit].tolist():
                found[place] = reach
            left = left[~hit]
    for place in left.tolist():
        found[place] = _explain(tokenizer, pieces[place])
    return found


def _probe(
    tokenizer: Tokenizer, pieces: Sequence[_Piece], places: npt.NDArray[np.int_], probe: str
) -> BoolArray:
    """Return whether each piece's id is among those of its text within the probe."""
    hit = np.zeros(len(places), dtype=bool)
    if not len(places):
        return hit
    chosen = [pieces[place] for place in places.tolist()]
    texts = [probe.format(piece.text, stripped=(piece.text or "").removeprefix(" ")) for piece in chosen]
    ids, lengths = _encode(tokenizer, texts)
    owners = np.repeat(np.arange(len(places)), lengths)
    wanted = np.array([piece.index for piece in chosen])
    hit[owners[ids == wanted[owners]]] = True
    return hit


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
    """Encode; a text that the tokenizer refuses has no ids, and the others are encoded without it."""
    try:
        return tokenizer.encode_flat(texts)
    except TokenizerError:
        if len(texts) == 1:
            return np.zeros(0, np.int32), np.zeros(1, np.int64)
        half = len(texts) // 2
        first, second = _encode(tokenizer, texts[:half]), _encode(tokenizer, texts[half:])
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def _explain(tokenizer: Tokenizer, piece: _Piece) -> Reach:
    text = piece.text or ""
    if piece.kind is Kind.BYTE:
        return "shadowed byte"
    if _normalize_inside(tokenizer, text) != text:
        return "normalization-unreachable"
    inside = tokenizer.style == "wordpiece" and not text.startswith(" ")
    chunks = tokenizer.count_chunks(f"a{text}" if inside else text.removeprefix(" ") or text)
    return "pretokenizer-unreachable" if chunks > 1 else "dead"
