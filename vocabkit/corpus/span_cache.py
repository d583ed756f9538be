"""Spans of a whole counts folder, derived once per normaliser and digit rule and kept beside the counts.

A kept table is read when it is asked for and not held, so that memory holds one language whatever the corpus.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import numpy as np

from vocabkit.core.errors import CountsError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.counts_folder import load_language
from vocabkit.corpus.normalization import charsmap_for, load_normalizer
from vocabkit.corpus.spans import Spans, SpanTable, build_spans, check_digits
from vocabkit.corpus.word_counts import WordCounts

_FORMAT = 1
_POOL_BYTES = 32 << 20
"""Text above which worker processes pay for their start (0.5 s each)."""


def derive_spans(
    counts: WordCounts,
    rule: str = "nmt_nfkc",
    digits: str = "sentencepiece",
    *,
    languages: Sequence[str] | None = None,
    split: str = "train",
    workers: int = 1,
    progress: Progress | None = None,
) -> Spans:
    """Return the spans of the languages (default: all) under a normaliser and digit rule.

    From a folder, each language is derived once and cached in `spans/`, and its table is read at each access;
    a folder that cannot be written is used without a cache, with all tables in memory. More than one of
    `workers` are spawned processes, so a script that asks for them needs the usual
    `if __name__ == "__main__"`. Raises `CountsError` for a language that was not counted.
    """
    check_digits(digits)
    normalizer = load_normalizer(rule)
    codes = tuple(languages) if languages is not None else tuple(counts.languages)
    for code in codes:
        if code not in counts.languages:
            raise CountsError(
                f"{code}: not in the counts ({counts.folder or 'in memory'}), which hold "
                f"{', '.join(sorted(counts.languages)) or 'no language'}",
                "count text of that language, or leave it out with --languages",
            )
    report = progress or Silent()
    report.start("deriving spans", len(codes), "languages")
    held: dict[str, SpanTable] = {}
    mismatches: dict[str, tuple[str, ...]] = {}
    with ExitStack() as stack:
        cache = _cache_folder(counts, rule, digits, split)
        pool = _open_pool(counts, codes, cache, workers, stack)
        if pool is not None and counts.folder is not None and cache is not None:
            jobs = [
                pool.submit(_derive_into, counts.folder, code, rule, digits, split, cache)
                for code in sorted(codes, key=lambda code: (-counts.totals_of(code)[0].bytes, code))
            ]
            for job in jobs:
                job.result()
                report.advance(1)
        for code in codes:
            path = cache / f"{code}.npz" if cache is not None else None
            words = _load_mismatches(path) if path is not None else None
            if words is None:
                table, words = build_spans(counts.languages[code].split(split), normalizer, digits)
                if path is None or not _save(path, table, words):
                    held[code] = table
            if words:
                mismatches[code] = tuple(words)
            if pool is None:
                report.advance(1)
    report.finish()
    grown, _ = charsmap_for(
        normalizer, [word for code in sorted(mismatches) for word in mismatches[code]]
    )

    def derive(code: str) -> SpanTable:
        return build_spans(counts.languages[code].split(split), normalizer, digits)[0]

    return Spans(grown, digits, _Tables(codes, cache, held, derive), mismatches)


class _Tables(Mapping[str, SpanTable]):
    """The span tables of languages: held ones from memory, others from their files, or derived again."""

    def __init__(
        self,
        codes: tuple[str, ...],
        folder: Path | None,
        held: Mapping[str, SpanTable],
        derive: Callable[[str], SpanTable],
    ) -> None:
        self._codes = codes
        self._folder = folder
        self._held = held
        self._derive = derive

    def __getitem__(self, code: str) -> SpanTable:
        if code not in self._codes:
            raise KeyError(code)
        if code in self._held:
            return self._held[code]
        loaded = _load(self._folder / f"{code}.npz") if self._folder is not None else None
        return loaded if loaded is not None else self._derive(code)

    def __contains__(self, code: object) -> bool:
        return code in self._codes

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


def count_mismatches(spans: Spans) -> dict[str, int]:
    """Return, per language, how many raw words rule and charsmap still normalise differently."""
    left = {}
    for code, words in spans.mismatches.items():
        rule, charsmap = (
            spans.normalizer.normalize_words(words),
            spans.normalizer.apply_charsmap(words),
        )
        left[code] = sum(a != b for a, b in zip(rule, charsmap, strict=True))
    return left


def _derive_into(folder: Path, code: str, rule: str, digits: str, split: str, cache: Path) -> None:
    path = cache / f"{code}.npz"
    if _load_mismatches(path) is None:
        table = load_language(folder, code).split(split)
        _save(path, *build_spans(table, load_normalizer(rule), digits))


def _cache_folder(counts: WordCounts, rule: str, digits: str, split: str) -> Path | None:
    if counts.folder is None:
        return None
    # What a span is depends on these packages' tables; another version derives again.
    tables = ("unicodedata2", "sentencepiece", "fonttools")
    stamp = f"{_FORMAT} {counts.fingerprint} " + " ".join(version(name) for name in tables)
    digest = hashlib.blake2b(stamp.encode(), digest_size=6).hexdigest()
    folder = counts.folder / "spans" / f"{rule}-{digits}-{split}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _open_pool(
    counts: WordCounts,
    codes: Sequence[str],
    cache: Path | None,
    workers: int,
    stack: ExitStack,
) -> Executor | None:
    if cache is None:
        return None
    missing = [code for code in codes if not (cache / f"{code}.npz").is_file()]
    size = sum(counts.totals_of(code)[0].bytes for code in missing)
    wanted = min(workers, len(missing))
    if wanted < 2 or size < _POOL_BYTES:
        return None
    pool = ProcessPoolExecutor(wanted, mp_context=multiprocessing.get_context("spawn"))
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool


def _save(path: Path, table: SpanTable, mismatches: Sequence[str]) -> bool:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    words = np.frombuffer("\n".join(mismatches).encode(), dtype=np.uint8)
    try:
        np.savez(
            temporary,
            text=table.text, offsets=table.offsets, count=table.count, documents=table.documents,
            key=table.key, mismatches=words,
        )  # fmt: skip
        temporary.replace(path)
    except OSError:
        # A cache that does not fit on the disk is no reason to stop.
        temporary.unlink(missing_ok=True)
        return False
    return True


_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What reading a damaged file may raise: it is derived again and overwritten."""


def _load(path: Path) -> SpanTable | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return SpanTable(
                data["text"], data["offsets"], data["count"], data["documents"], data["key"]
            )
    except _DAMAGED:
        return None


def _load_mismatches(path: Path) -> list[str] | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            words: str = data["mismatches"].tobytes().decode()
    except _DAMAGED:
        return None
    return words.split("\n") if words else []
