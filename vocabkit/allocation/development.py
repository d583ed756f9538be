"""Development text: aligned lines on which allocations compare languages.

Line i says the same in every language, so tokens per line are comparable; tokens per character are not. What is
used here must not be used to judge the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocabkit.audit.parallel_text import read_audit_text
from vocabkit.core.errors import CorpusError
from vocabkit.core.progress import Progress
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.span_cache import derive_spans
from vocabkit.corpus.spans import SpanTable
from vocabkit.corpus.word_counts import WordCounts


@dataclass(frozen=True, slots=True)
class Development:
    """The spans of aligned text and how many lines there are, by language; `fingerprint` is of the lines."""

    tables: Mapping[str, SpanTable]
    lines: Mapping[str, int]
    fingerprint: str


def read_development(
    folder: str | Path,
    codes: Sequence[str],
    rule: str,
    digits: str,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Development:
    """Read aligned lines of the languages, the first `limit` of each.

    Raises `CorpusError` for a language without lines, or with another number of them than the rest.
    """
    corpus = open_corpus(Path(folder), languages=list(codes), allow_missing=True)
    text = read_audit_text(corpus, limit=limit, aligned="yes", progress=progress)
    missing = [code for code in codes if code not in text.aligned_languages]
    if missing:
        raise CorpusError(
            f"{folder}: no aligned lines for {', '.join(missing)} "
            f"(the aligned languages have {text.alignment.lines or 0:_} lines)",
            "leave these languages out with --languages, or give another --dev",
        )
    lines = {code: text.languages[code] for code in codes}
    counts = WordCounts.from_texts(lines)
    spans = derive_spans(counts, rule, digits, languages=list(codes))
    sizes = {code: len(rows) for code, rows in lines.items()}
    return Development(spans.languages, sizes, text.fingerprint)
