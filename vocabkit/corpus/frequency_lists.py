"""Word-frequency lists as counts: for text that exists only as `word<TAB>count`.

A list has no documents, so held-out words are drawn by seeded binomial thinning of each count instead of by
document, and document frequency is unknown: the count stands in for it, as the upper bound it is.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np

from vocabkit.core.errors import CountsError
from vocabkit.core.graphemes import cut_run
from vocabkit.core.provenance import check_inputs, fingerprint_file, output_folder, write_manifest
from vocabkit.corpus.white_space import split_words
from vocabkit.corpus.word_counts import (
    RUN_LIMIT,
    LanguageCounts,
    Totals,
    WordCounts,
    WordTable,
)

_LIMIT = 2**53


def import_frequencies(
    path: str | Path,
    language: str,
    output: str | Path,
    *,
    held_out: float = 0.02,
    seed: int = 0,
    force: bool = False,
) -> WordCounts:
    """Write a counts folder from a list of `word<TAB>count` lines in UTF-8.

    Equal words add up. Raises `CountsError` naming the file and line of anything else.
    """
    source = Path(path)
    start = time.perf_counter()
    frequencies = read_frequencies(source)
    counts = thin_frequencies(frequencies, language, held_out=held_out, seed=seed)
    check_inputs(Path(output), [source])
    with output_folder(output, force=force) as work:
        WordCounts({language: counts}).save(work)
        write_manifest(
            work,
            config={"held_out": held_out, "min_count": 1, "from_frequencies": str(source)},
            inputs={f"{language}: {source.name}": fingerprint_file(source)},
            seconds={"import": time.perf_counter() - start},
            details={
                "held_out": "binomial thinning of each count, not documents",
                "documents": "unknown; the count is the upper bound stored",
            },
            seed=seed,
        )
    return WordCounts.load(output)


def read_frequencies(path: Path) -> dict[str, int]:
    """Read `word<TAB>count` lines. Raises `CountsError` naming file, line and value."""
    hint = "each line is a word, a tab and a whole number of 1 or more"
    frequencies: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise CountsError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise CountsError(f"{path}: not UTF-8 at byte {error.start}", hint) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, tab, text = line.rstrip("\r").rpartition("\t")
        if not tab or split_words(word) != [word]:
            raise CountsError(
                f"{path}:{number}: {line[:80]!r} is not one word, a tab and a count", hint
            )
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) < _LIMIT:
            raise CountsError(f"{path}:{number}: count {text[:80]!r}", hint)
        frequencies[word] = frequencies.get(word, 0) + int(text)
    if not frequencies:
        raise CountsError(f"{path}: holds no words", hint)
    return frequencies


def thin_frequencies(
    frequencies: dict[str, int], language: str, *, held_out: float, seed: int
) -> LanguageCounts:
    """Split each count into train and held out, Binomial(count, held_out), in sorted order of words."""
    words = sorted(frequencies)
    total = np.array([frequencies[word] for word in words], dtype=np.int64)
    drawn = np.random.default_rng(seed).binomial(total, held_out).astype(np.int64)
    tables, totals = [], []
    for part in (total - drawn, drawn):
        rows: dict[tuple[str, bool], tuple[int, int]] = {}
        cut = 0
        characters = size = 0
        for word, count in zip(words, part.tolist(), strict=True):
            if not count:
                continue
            characters += len(word) * count
            size += len(word.encode()) * count
            parts = cut_run(word, RUN_LIMIT)
            cut += count if len(parts) > 1 else 0
            for key in [(text, index > 0) for index, text in enumerate(parts)]:
                before = rows.get(key, (0, 0))
                rows[key] = (before[0] + count, before[1] + count)
        tables.append(WordTable.from_rows(rows))
        totals.append(
            Totals(words=int(part.sum()), characters=characters, bytes=size, cut_runs=cut)
        )
    found: Counter[str] = Counter()
    for word, count in frequencies.items():
        for character in word:
            found[character] += count
    return LanguageCounts(language, tables[0], tables[1], dict(sorted(found.items())), *totals)
