"""The text an audit measures: lines per language, and whether line i says the same in all of them.

Lines keep their place, blank ones and duplicates too: dropping one in a language would shift all that follow.
Text is left as it is written (byte order mark, NUL and line ends aside, as in every reading). Whether lines
correspond is `alignment`'s to tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from vocabkit.audit.alignment import Aligned, Alignment, LineTally, align_lines
from vocabkit.core.errors import ConfigError, CorpusError, VocabkitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.lines import read_chunks
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.sources import Corpus, Source
from vocabkit.corpus.word_counts import WordCounts

__all__ = [
    "Aligned", "Alignment", "AuditText", "fingerprint_lines", "read_audit_text", "text_from_counts",
    "text_from_lines",
]  # fmt: skip

Int64Array = npt.NDArray[np.int64]
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
    corpus: Corpus,
    *,
    limit: int | None = None,
    aligned: Aligned = "auto",
    progress: Progress | None = None,
) -> AuditText:
    """Read every language of a corpus, at most `limit` lines of each.

    A language that cannot be read is recorded in `failures`. Raises `CorpusError` when none can, or when
    `aligned` is `yes` and no two languages have as many lines; `ConfigError` for bad arguments.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit = {limit}: not a number of lines", "leave it out to read all")
    report = progress or Silent()
    report.start("reading", corpus.size, "bytes")
    read: dict[str, LineTally] = {}
    failures: dict[str, str] = {}
    for code in corpus.languages:
        try:
            read[code] = _read_language(corpus, code, limit, report)
        except VocabkitError as error:
            failures[code] = error.message
    report.finish()
    return _assemble(corpus.name, read, failures, aligned)


def text_from_lines(
    lines: Mapping[str, Iterable[str]], *, name: str = "text", aligned: Aligned = "auto"
) -> AuditText:
    """Return the audit text of lines given in memory. Raises what `read_audit_text` raises.

    A language with half of a surrogate pair, which no encoding can write, becomes a failure.
    """
    read: dict[str, LineTally] = {}
    failures: dict[str, str] = {}
    for code in sorted(lines):
        rows = list(lines[code])
        found = next((i for i, row in enumerate(rows, 1) if not _is_encodable(row)), None)
        if found is None:
            read[code] = LineTally()
            read[code].add(rows, None)
        else:
            failures[code] = f"line {found}: lone surrogate: not text that UTF-8 can write"
    return _assemble(name, read, failures, aligned)


def text_from_counts(
    counts: WordCounts, split: Literal["train", "held_out"] = "train"
) -> AuditText:
    """Return one row per counted word, weighted with its occurrences; never aligned.

    The later parts of a run cut at 1,000 characters are rows like others. Raises `CorpusError` when no
    language has a word.
    """
    languages: dict[str, tuple[str, ...]] = {}
    weights: dict[str, Int64Array] = {}
    failures: dict[str, str] = {}
    for code in counts.languages:
        table = counts.languages[code].split(split)
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
        digest.update(
            f"{alignment.aligned} {alignment.lines} {sorted(alignment.excluded)}".encode()
        )
    return digest.hexdigest()


def _read_language(corpus: Corpus, code: str, limit: int | None, report: Progress) -> LineTally:
    read = LineTally()
    for source in corpus.sources[code]:
        if source.kind == "text" and corpus.document == "line":
            parts = _read_lines(source, read.repairs, report)
        else:
            parts = read_documents(
                source, corpus.document, corpus.field, read.repairs, report.advance
            )
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
    name: str, read: Mapping[str, LineTally], failures: Mapping[str, str], aligned: Aligned
) -> AuditText:
    failed = dict(failures)
    kept = {}
    for code, part in read.items():
        if any(map(str.strip, part.lines)):
            kept[code] = part
        else:
            failed[code] = "no line with text in it"
    _check_any(name, kept, failed)
    alignment = align_lines(name, kept, aligned)
    languages = {}
    for code, part in kept.items():
        wanted = part.filled
        if alignment.lines is not None and code not in alignment.excluded:
            wanted = alignment.lines
        languages[code] = tuple(part.lines[:wanted])
    repairs = {
        code: {key: count for key, count in sorted(part.repairs.items()) if count}
        for code, part in kept.items()
    }
    digest = fingerprint_lines(languages, None, alignment)
    return AuditText(
        name, languages, None, alignment, dict(sorted(failed.items())), repairs, digest
    )


def _check_any(name: str, found: Mapping[str, object], failures: Mapping[str, str]) -> None:
    if not found:
        shown = "; ".join(f"{code}: {reason}" for code, reason in islice(failures.items(), 3))
        raise CorpusError(
            f"{name}: no language has text that can be read ({shown or 'it names none'})",
            "give a corpus with one file per language, such as `vocabkit sample DIR` writes",
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
