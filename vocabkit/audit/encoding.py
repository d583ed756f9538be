"""One pass of each tokenizer over each language, in processes.

One pool serves all tokenizers, by language, so that a process opens one tokenizer at a time; results do not
depend on how many processes there are. What is counted is told in `language_encoding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed

from vocabkit.audit.language_encoding import Encoded, Job, Switched, encode_language
from vocabkit.audit.opened_tokenizers import Opening
from vocabkit.audit.parallel_text import AuditText
from vocabkit.audit.segmentation import join_types
from vocabkit.audit.text_statistics import TextStatistics
from vocabkit.core.progress import Progress, Silent

UNSPACED = 2.0
"""ICU words per white-space word from which a language's words are taken to stand without spaces."""
INLINE = 2_000_000
"""Characters times tokenizers up to which starting processes (1 s each) costs more than it saves."""


def encode_texts(
    openings: Sequence[Opening],
    text: AuditText,
    statistics: Mapping[str, TextStatistics],
    *,
    exemplars: Mapping[str, Iterable[str]] | None = None,
    switched: Mapping[str, Switched] | None = None,
    pool: Executor,
    progress: Progress | None = None,
) -> list[dict[str, Encoded]]:
    """Encode every language with every tokenizer; returns one mapping per tokenizer, in languages' order.

    `exemplars` are further characters to look for coverage of, `switched` lines of two languages with their
    parts. A language that a tokenizer fails on has a `failure`. Raises TokenizerError if one does not open.
    """
    started = [
        start_encoding(opening, text, statistics, exemplars=exemplars, switched=switched, pool=pool)
        for opening in openings
    ]
    return finish_encoding(started, statistics, progress)


def start_encoding(
    opening: Opening,
    text: AuditText,
    statistics: Mapping[str, TextStatistics],
    *,
    exemplars: Mapping[str, Iterable[str]] | None = None,
    switched: Mapping[str, Switched] | None = None,
    pool: Executor,
) -> dict[str, Future[Encoded]]:
    """Submit a tokenizer's languages, as `encode_texts` does; returns them in the text's order."""
    codes = [code for code in text.languages if code in statistics]
    futures = {}
    # The largest first, so that no long one is left for the end.
    for code in sorted(codes, key=lambda code: (-_size(statistics[code]), code)):
        job = _make_job(opening, code, text, statistics[code], exemplars or {}, switched or {})
        futures[code] = pool.submit(encode_language, job)
    return {code: futures[code] for code in codes}


def finish_encoding(
    started: Sequence[Mapping[str, Future[Encoded]]],
    statistics: Mapping[str, TextStatistics],
    progress: Progress | None = None,
) -> list[dict[str, Encoded]]:
    """Wait for what `start_encoding` submitted. Raises TokenizerError if a tokenizer does not open."""
    report = progress or Silent()
    codes = {future: code for futures in started for code, future in futures.items()}
    sizes = {code: _size(item) for code, item in statistics.items()}
    report.start("encoding", sum(sizes[code] for code in codes.values()), "characters")
    try:
        for future in as_completed(codes):
            future.result()
            report.advance(sizes[codes[future]])
    finally:
        for future in codes:
            future.cancel()
    report.finish()
    return [{code: job.result() for code, job in futures.items()} for futures in started]


def _size(statistics: TextStatistics) -> int:
    return int(statistics.characters.sum())


def _make_job(
    opening: Opening,
    code: str,
    text: AuditText,
    statistics: TextStatistics,
    exemplars: Mapping[str, Iterable[str]],
    switched: Mapping[str, Switched],
) -> Job:
    wanted = {*statistics.characters_seen, *exemplars.get(code, ())}
    return Job(
        opening,
        code,
        text.languages[code],
        None if text.weights is None else text.weights[code],
        join_types(statistics.word_types),
        is_unspaced(statistics),
        tuple(sorted(character for character in wanted if not character.isspace())),
        switched.get(code, ()),
    )


def is_unspaced(statistics: TextStatistics) -> bool:
    """Return whether a language's words mostly stand without spaces between them, from its two word counts."""
    if statistics.words is None:
        return False
    return int(statistics.words.sum()) > UNSPACED * int(statistics.white_space_words.sum())
