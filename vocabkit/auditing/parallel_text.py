"""The text an audit measures: lines per language, and whether line i says the same in all of them.

Lines keep their place, blank ones and duplicates too: dropping one in a language would shift all that follow.
Text is left as it is written (byte order mark, NUL and line ends aside, as in every reading).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, get_args

import numpy as np

from vocabkit.core.arrays import Int64Array
from vocabkit.core.errors import ConfigError, CorpusError, VocabkitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.reading import Repairs, read_chunks, read_documents
from vocabkit.corpus.sources import Corpus, Source
from vocabkit.corpus.word_counts import WordCounts

# --- Alignment -------------------------------------------------------------------------------------
# Whether line i of one language says what line i of another does, told without understanding either. Equal
# numbers of lines suggest it; lengths that do not go together deny it: a long sentence is long in any language.

Aligned = Literal["auto", "yes", "no"]

MIN_ALIGNED = 100
"""Fewest lines whose equal number is taken, untold, as a sign of aligned text."""
MIN_AGREEMENT = 0.5
"""Least correlation of a language's line lengths with the others'.

Of 122 languages the lowest is 0.90 on 1,997 parallel lines and 0.64 on 50; a language whose lines are one out
of step has 0.20 at most, one whose lines are shuffled 0.02 (0.34 on 100 lines).
"""
_ENOUGH_TO_CORRELATE = 30


@dataclass(frozen=True, slots=True)
class Alignment:
    """Whether lines correspond across languages, how many there are, and why that was concluded.

    `lines` is None where `aligned` is False. `excluded` are the languages that take no part in aligned figures,
    with the reason.
    """

    aligned: bool
    lines: int | None
    note: str
    excluded: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _LineTally:
    """One language as read: the kept lines, how many there are in all, and what was mended.

    `filled` is how many there are up to the last that is not blank. `reason` says why positions are not to be
    trusted, where they are not.
    """

    lines: list[str] = field(default_factory=list)
    total: int = 0
    filled: int = 0
    repairs: Repairs = field(default_factory=Repairs)
    reason: str | None = None

    def fits(self, count: int) -> bool:
        """Return whether there are so many lines, blank ones at the end aside."""
        return self.filled <= count <= self.total

    def add(self, lines: list[str], limit: int | None) -> None:
        """Count further lines, and keep those within the limit."""
        last = next((i for i in range(len(lines), 0, -1) if lines[i - 1].strip()), None)
        if last is not None:
            self.filled = self.total + last
        self.total += len(lines)
        self.lines += lines if limit is None else lines[: max(0, limit - len(self.lines))]


def _align_lines(name: str, read: Mapping[str, _LineTally], aligned: Aligned) -> Alignment:
    """Return which languages' lines correspond.

    With `auto`, those with the number of lines most have, unless they are few or their lengths disagree; with
    `yes` all. Raises `CorpusError` when `yes` is said of unequal numbers, `ConfigError` for another word.
    """
    if aligned not in get_args(Aligned):
        raise ConfigError(
            f"aligned = {aligned!r} is none of {', '.join(get_args(Aligned))}", 'pass aligned="auto"'
        )
    if aligned == "no":
        return Alignment(False, None, "treated as not aligned, as asked")
    if len(read) < 2:
        return Alignment(False, None, "one language alone")
    # The number of lines most languages have; blank lines at the end may go.
    usable = [part for part in read.values() if part.reason is None]
    candidates = {number for part in usable for number in (part.total, part.filled)}
    # Of two numbers that fit as many the larger: it excludes text rather than cutting it.
    count = max(candidates, key=lambda n: (sum(part.fits(n) for part in usable), n), default=0)
    excluded = {
        code: part.reason or f"{part.total:,} lines, not {count:,}"
        for code, part in read.items()
        if part.reason is not None or not part.fits(count)
    }
    members = [code for code in read if code not in excluded]
    if len(members) < 2:
        shown = ", ".join(f"{code} {part.total:,}" for code, part in islice(read.items(), 4))
        if aligned == "yes":
            what = f"{name}: not aligned: no two languages have the same number of lines ({shown}, …)"
            raise CorpusError(what, "leave --aligned out to audit the text as it is")
        several = len({part.total for part in read.values()}) > 1
        reason = "no two languages have as many lines" if several else "places are lost"
        return Alignment(False, None, f"{reason} ({shown}{', …' if len(read) > 4 else ''})")
    lines = min(count, max(len(read[code].lines) for code in members))
    if aligned == "yes":
        if excluded:
            shown = "; ".join(f"{code}: {reason}" for code, reason in islice(excluded.items(), 8))
            what = f"{name}: not aligned: {shown}" + ("; …" if len(excluded) > 8 else "")
            hint = (
                "mend these files, name the others with --languages, or leave --aligned out to set these apart"
            )
            raise CorpusError(what, hint)
        return Alignment(True, lines, _describe(lines, members, excluded, "as told"), excluded)
    if count < MIN_ALIGNED:
        return Alignment(False, None, f"equal counts of {count} lines are too few to tell: say --aligned yes")
    agreement = _correlate_lengths({code: read[code].lines[:lines] for code in members})
    for code, value in agreement.items():
        if value < MIN_AGREEMENT and lines >= _ENOUGH_TO_CORRELATE:
            excluded[code] = f"its lines are as many, but their lengths do not fit (r = {value:.2f})"
    members = [code for code in members if code not in excluded]
    if len(members) < 2:
        return Alignment(False, None, f"{count} lines in each, but long and short lines do not go together")
    return Alignment(True, lines, _describe(lines, members, excluded, "by equal counts"), excluded)


def _correlate_lengths(lines: Mapping[str, list[str]]) -> dict[str, float]:
    """Return how each language's log line lengths correlate with the mean of the others'; 1 where constant.

    Lengths are standardised per language, so that a language is as heavy as another whatever its script.
    """
    table = np.array([np.log1p(np.fromiter(map(len, rows), np.float64, len(rows))) for rows in lines.values()])
    table -= table.mean(axis=1, keepdims=True)
    scale = table.std(axis=1, keepdims=True)
    constant = scale[:, 0] < 1e-9
    table /= np.where(scale < 1e-9, 1.0, scale)
    others = table.sum(axis=0) - table
    norms = np.linalg.norm(table, axis=1) * np.linalg.norm(others, axis=1)
    dots = (table * others).sum(axis=1)
    values = np.where(constant | (norms < 1e-9), 1.0, dots / np.maximum(norms, 1e-9))
    return dict(zip(lines, values.tolist(), strict=True))


def _describe(lines: int, members: list[str], excluded: Mapping[str, str], how: str) -> str:
    note = f"{lines:,} lines aligned across {len(members)} languages, {how}"
    if excluded:
        shown = "; ".join(f"{code}: {reason}" for code, reason in islice(excluded.items(), 8))
        note += f"; left out of aligned figures: {shown}" + ("; …" if len(excluded) > 8 else "")
    return note


# --- Parallel text ---------------------------------------------------------------------------------

SURROGATE = "lone surrogate: not text that UTF-8 can write"
_SURROGATES = re.compile("[\ud800-\udfff]")
# Text that reading leaves out of a file of records: its place is lost.
_LEFT_OUT = ("null_field", "empty_record", "long_document")


@dataclass(frozen=True, slots=True)
class AuditText:
    """Raw lines per language, in order. Made from word counts, a row is a word and `weights` its occurrences.

    `failures` are languages that could not be read, with the reason; `repairs` what reading mended, by the
    names of `corpus.reading.REPAIRS`; `fingerprint` a digest of all lines, weights and the alignment.
    """

    name: str
    languages: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, Int64Array] | None
    alignment: Alignment
    failures: Mapping[str, str]
    repairs: Mapping[str, Mapping[str, int]]
    fingerprint: str

    @property
    def aligned_languages(self) -> tuple[str, ...]:
        """The codes whose lines correspond, in order; none where the text is not aligned."""
        if not self.alignment.aligned:
            return ()
        return tuple(code for code in self.languages if code not in self.alignment.excluded)


def read_audit_text(
    corpus: Corpus, *, limit: int | None = None, aligned: Aligned = "auto", progress: Progress | None = None
) -> AuditText:
    """Read every language of a corpus, at most `limit` lines of each.

    A language that cannot be read is recorded in `failures`. Raises `CorpusError` when none can, or when
    `aligned` is `yes` and not all languages have as many lines; `ConfigError` for bad arguments.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit = {limit}: not a number of lines", "leave it out to read all")
    report = progress or Silent()
    report.start("reading", corpus.size, "bytes")
    read, failures, hint = dict[str, _LineTally](), dict[str, str](), None
    for code in corpus.languages:
        try:
            read[code] = _read_language(corpus, code, limit, report)
        except VocabkitError as error:
            failures[code] = error.message
            hint = hint or error.hint
    report.finish()
    return _assemble(corpus.name, read, failures, aligned, hint)


def _text_from_lines(
    lines: Mapping[str, Iterable[str]], *, name: str = "text", aligned: Aligned = "auto"
) -> AuditText:
    """Return the audit text of lines given in memory. Raises what `read_audit_text` raises.

    A language with half of a surrogate pair, which no encoding can write, becomes a failure.
    """
    read, failures = dict[str, _LineTally](), dict[str, str]()
    for code in sorted(lines):
        rows = list(lines[code])
        if (found := find_surrogate(rows)) is None:
            read[code] = _LineTally()
            read[code].add(rows, None)
        else:
            failures[code] = f"line {found}: {SURROGATE}"
    return _assemble(name, read, failures, aligned)


def text_from_counts(counts: WordCounts, split: Literal["train", "held_out"] = "train") -> AuditText:
    """Return one row per counted word, weighted with its occurrences; never aligned.

    The later parts of a run cut at 1,000 characters are rows like others. Raises `CorpusError` when no
    language has a word.
    """
    languages, weights = dict[str, tuple[str, ...]](), dict[str, Int64Array]()
    failures: dict[str, str] = {}
    for code, own in counts.languages.items():
        table = own.split(split)
        if len(table):
            languages[code], weights[code] = tuple(table.words), np.asarray(table.count, np.int64)
        else:
            failures[code] = f"no word in the {split} counts"
    name = counts.folder.name if counts.folder is not None else "counts"
    _check_any(name, languages, failures)
    alignment = Alignment(False, None, "made from word counts, which hold no lines")
    digest = fingerprint_lines(languages, weights, alignment)
    return AuditText(name, languages, weights, alignment, failures, {}, digest)


def fingerprint_lines(
    languages: Mapping[str, tuple[str, ...]],
    weights: Mapping[str, Int64Array] | None = None,
    alignment: Alignment | None = None,
) -> str:
    """Return the BLAKE2b-160 digest, in hex, of lines with their boundaries, weights and alignment."""
    digest = hashlib.blake2b(digest_size=20)
    for code in sorted(languages):
        lines = languages[code]
        lengths = np.fromiter(map(len, lines), np.int64, len(lines))
        digest.update(f"{code} {len(lines)}\n".encode())
        digest.update(lengths.tobytes())
        digest.update("".join(lines).encode("utf-8", "surrogatepass"))
        if weights is not None:
            digest.update(weights[code].astype(np.int64).tobytes())
    if alignment is not None:
        digest.update(f"{alignment.aligned} {alignment.lines} {sorted(alignment.excluded)}".encode())
    return digest.hexdigest()


def _read_language(corpus: Corpus, code: str, limit: int | None, report: Progress) -> _LineTally:
    read = _LineTally()
    for source in corpus.sources[code]:
        if source.kind == "text" and corpus.document == "line":
            parts = _read_lines(source, read.repairs, report)
        else:
            parts = read_documents(source, corpus.document, corpus.field, read.repairs, report.advance)
        for part in parts:
            read.add(part, limit)
    left_out = sum(read.repairs[name] for name in _LEFT_OUT)
    if left_out:
        read.reason = f"{left_out} records without text, or too long, lost their place"
    elif corpus.document != "line" and any(s.kind == "text" for s in corpus.sources[code]):
        read.reason = f"documents are {corpus.document}, not lines"
    return read


def _read_lines(source: Source, repairs: Repairs, report: Progress) -> Iterable[list[str]]:
    """Yield all lines of a text file, blank ones too; a very long one in one piece."""
    held: list[str] = []  # the parts of a line that goes on
    for chunk in read_chunks(source, repairs, report.advance):
        lines = chunk.text.split("\n")
        if held:
            held.append(lines[0])
            if len(lines) == 1 and not chunk.complete:
                continue
            lines[0] = "".join(held)
            held = []
        if not chunk.complete:
            held = [lines.pop()]
        yield lines
    if held:
        yield ["".join(held)]


def _assemble(
    name: str,
    read: Mapping[str, _LineTally],
    failures: Mapping[str, str],
    aligned: Aligned,
    hint: str | None = None,
) -> AuditText:
    failed = dict(failures)
    kept = {}
    for code, part in read.items():
        if any(map(str.strip, part.lines)):
            kept[code] = part
        else:
            failed[code] = "no line with text in it"
    _check_any(name, kept, failed, hint)
    alignment = _align_lines(name, kept, aligned)
    languages = {}
    for code, part in kept.items():
        cut = alignment.lines is not None and code not in alignment.excluded
        languages[code] = tuple(part.lines[: alignment.lines if cut else part.filled])
    repairs = {code: {k: n for k, n in sorted(part.repairs.items()) if n} for code, part in kept.items()}
    digest = fingerprint_lines(languages, None, alignment)
    return AuditText(name, languages, None, alignment, dict(sorted(failed.items())), repairs, digest)


def _check_any(
    name: str, found: Mapping[str, object], failures: Mapping[str, str], hint: str | None = None
) -> None:
    if not found:
        shown = "; ".join(f"{code}: {reason}" for code, reason in islice(failures.items(), 3))
        what = f"{name}: no language has text that can be read ({shown or 'it names none'})"
        # What mends the first that could not be read may mend them all.
        raise CorpusError(
            what, hint or "give a corpus with one file per language, such as `vocabkit sample DIR` writes"
        )


def find_surrogate(lines: Iterable[str]) -> int | None:
    """Return the number, from 1, of the first line with half of a surrogate pair; None without one."""
    return next((i for i, line in enumerate(lines, 1) if _SURROGATES.search(line)), None)
