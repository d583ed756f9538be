"""Counting a corpus: one pass over the text, in parallel, resumable, in bounded memory.

The map step (`shards.count_shard`) runs on any `concurrent.futures.Executor`; adding up is exact
(`merging.add_tables`). Finished shards wait in a work folder beside the output, so an interrupted count
resumes; the output folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vocabkit.core.errors import CorpusError, CountsError
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import (
    check_inputs,
    check_output,
    name_full_disk,
    publish_folder,
    read_manifest,
    write_manifest,
)
from vocabkit.corpus.counts_folder import index_entry, write_index
from vocabkit.corpus.merging import add_tables
from vocabkit.corpus.scheduling import open_executor, run_shards
from vocabkit.corpus.shards import Shard, ShardPlan, fingerprint_source, sum_repairs
from vocabkit.corpus.sources import Corpus, Source
from vocabkit.corpus.word_counts import Totals, WordCounts


@dataclass(frozen=True, slots=True)
class CountRow:
    """One language's line of the report a count prints."""

    language: str
    sources: int
    documents: int
    words: int
    characters: int
    bytes: int
    held_out_documents: int
    cut_runs: int
    discarded: int
    repairs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CountReport:
    """What a count found: a row per language, files left aside, and shards taken over from before."""

    rows: tuple[CountRow, ...]
    ignored: tuple[str, ...]
    resumed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CountOptions:
    """Settings of a count that change its result, and `memory` (bytes) and `workers`, which do not."""

    held_out: float = 0.02
    min_count: int = 1
    memory: int = 2 << 30
    workers: int | None = None


def count_corpus(
    corpus: Corpus,
    output: str | Path,
    options: CountOptions | None = None,
    *,
    force: bool = False,
    update: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> CountReport:
    """Count every source of a corpus into a counts folder.

    With `update`, the output must hold counts; only sources it has not seen are counted, and added.
    Raises `CorpusError` for text that cannot be read and `OutputError` for an output that exists.
    """
    settings = options or CountOptions()
    if not 0.0 <= settings.held_out < 1.0:
        raise CountsError(
            f"--held-out {settings.held_out}: expected a share from 0 up to, not including, 1"
        )
    if settings.min_count < 1:
        raise CountsError(f"--min-count {settings.min_count}: expected 1 or more")
    target = Path(output)
    before = _load_before(target, settings) if update else None
    if before is None:
        check_output(target, force=force)
    sources = [source.path for group in corpus.sources.values() for source in group]
    check_inputs(target, [path for path in sources if "://" not in path])
    with name_full_disk(target):
        return _count(corpus, target, settings, before, executor, progress or Silent())


def _count(
    corpus: Corpus,
    target: Path,
    settings: CountOptions,
    before: WordCounts | None,
    executor: Executor | None,
    report: Progress,
) -> CountReport:
    start = time.perf_counter()
    work = _open_work(target, corpus, settings)
    plans = _plan_shards(corpus, settings, work, before)
    resumed = sum((plan.folder / "done.json").is_file() for plan in plans)
    with ExitStack() as stack:
        pool = executor or open_executor(settings.workers, len(plans), stack)
        shards = run_shards(pool, plans, report)
        finished = time.perf_counter()
        _check_text(shards)
        entries = _finish_languages(pool, shards, work / "counts", settings, before, report)
    write_index(work / "counts", entries)
    inputs = {_source_key(s.source, s.language): s.fingerprint for s in shards}
    if before is not None:
        inputs = {**read_manifest(target).get("inputs", {}), **inputs}
    config = corpus.to_toml(
        "The corpus as it was counted; run again: vocabkit count THIS_FILE -o DIR "
        f"--held-out {settings.held_out} --min-count {settings.min_count}"
    )
    (work / "counts" / "config.toml").write_text(config, encoding="utf-8")
    rows = _report_rows(shards, WordCounts.load(work / "counts"))
    write_manifest(
        work / "counts",
        config={"held_out": settings.held_out, "min_count": settings.min_count},
        inputs=inputs,
        seconds={"count": finished - start, "merge": time.perf_counter() - finished},
        details={
            "repairs": {code: sum_repairs(group) for code, group in _by_language(shards).items()},
            "ignored": list(corpus.ignored),
        },
    )
    publish_folder(work / "counts", target)
    shutil.rmtree(work, ignore_errors=True)
    return CountReport(rows, tuple(corpus.ignored), resumed, time.perf_counter() - start)


def _check_text(shards: list[Shard]) -> None:
    """Raise `CorpusError` for a language all of whose files turned out to hold no document."""
    for code, group in _by_language(shards).items():
        if not any(shard.train.documents + shard.held_out.documents for shard in group):
            names = ", ".join(shard.source for shard in group)
            raise CorpusError(
                f"{code}: no document in {names}",
                "add text of that language, or take its files out of the corpus",
            )


def _open_work(target: Path, corpus: Corpus, settings: CountOptions) -> Path:
    """Return the work folder, keeping finished shards of an interrupted run with the same settings."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".{target.name}.counting"
    plan = json.dumps([settings.held_out, corpus.document, corpus.field])
    marker = work / "plan.json"
    if not marker.is_file() or marker.read_text(encoding="utf-8") != plan:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        marker.write_text(plan, encoding="utf-8")
    shutil.rmtree(work / "counts", ignore_errors=True)
    (work / "counts").mkdir()
    return work


def _plan_shards(
    corpus: Corpus, settings: CountOptions, work: Path, before: WordCounts | None
) -> list[ShardPlan]:
    workers = settings.workers or os.cpu_count() or 1
    plans = []
    for code, source in _new_sources(corpus, before):
        folder = work / "shards" / f"{code}-{_stamp(source)}"
        share = settings.memory // workers
        plans.append(
            ShardPlan(source, corpus.document, corpus.field, settings.held_out, share, folder)
        )
    # Largest first: the last task to start is then the smallest, and cores finish together.
    return sorted(plans, key=lambda plan: (-plan.source.size, plan.source.path))


def _new_sources(corpus: Corpus, before: WordCounts | None) -> list[tuple[str, Source]]:
    """Return the sources that earlier counts do not hold. Raises `CountsError` for one that changed.

    A source is known by its path; one that was moved since is known by its bytes, if nothing stands at
    the path it had.
    """
    sources = [(code, source) for code in corpus.languages for source in corpus.sources[code]]
    if before is None or before.folder is None:
        return sources
    known: dict[str, str] = read_manifest(before.folder).get("inputs", {})
    present = {_source_key(source.path, code) for code, source in sources}
    moved = {(key.split(":", 1)[0], digest) for key, digest in known.items() if key not in present}
    found = []
    for code, source in sources:
        digest = fingerprint_source(source)
        before_digest = known.get(_source_key(source.path, code))
        if before_digest is None and (code, digest) not in moved:
            found.append((code, source))
        elif before_digest not in (None, digest):
            raise CountsError(
                f"{source.path}: has changed since it was counted",
                "count the corpus again with --force",
            )
    return found


def _stamp(source: Source) -> str:
    """Return an identity of a source that changes when its file does."""
    changed = "" if "://" in source.path else str(Path(source.path).stat().st_mtime_ns)
    text = f"{Path(source.path).absolute() if changed else source.path}\0{source.size}\0{changed}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _by_language(shards: list[Shard]) -> dict[str, list[Shard]]:
    groups: dict[str, list[Shard]] = {}
    for shard in shards:
        groups.setdefault(shard.language, []).append(shard)
    return dict(sorted(groups.items()))


def _finish_languages(
    pool: Executor,
    shards: list[Shard],
    target: Path,
    settings: CountOptions,
    before: WordCounts | None,
    report: Progress,
) -> dict[str, Mapping[str, object]]:
    """Put each language's runs (and its earlier counts) together under `target`; return the index."""
    entries: dict[str, Mapping[str, object]] = {}
    waiting: dict[str, Future[dict[str, object]]] = {}
    groups = _by_language(shards)
    workers = settings.workers or os.cpu_count() or 1
    report.start("adding up", len(groups), "languages")
    for code in sorted(set(groups) | set(before.languages if before else ())):
        group = groups.get(code, [])
        parts = [run for shard in group for run in shard.runs]
        train, held_out = Totals(), Totals()
        for shard in group:
            train, held_out = train + shard.train, held_out + shard.held_out
        if before is not None and code in before.languages and before.folder is not None:
            earlier = before.totals_of(code)
            train, held_out = train + earlier[0], held_out + earlier[1]
            parts.append(before.folder / code)
        if len(parts) == 1 and settings.min_count == 1 and group:
            parts[0].rename(target / code)
            entries[code] = index_entry(train, held_out, group[0].digest or "")
            report.advance(1)
        else:
            waiting[code] = pool.submit(
                add_tables, parts, target / code, (train, held_out),
                min_count=settings.min_count, memory=settings.memory // workers,
            )  # fmt: skip
    for code, future in waiting.items():
        entries[code] = future.result()
        report.advance(1)
    report.finish()
    return entries


def _load_before(target: Path, settings: CountOptions) -> WordCounts:
    before = WordCounts.load(target)
    recorded = read_manifest(target).get("config", {})
    for name in ("held_out", "min_count"):
        value = getattr(settings, name)
        if recorded.get(name, value) != value:
            raise CountsError(
                f"{target}: was counted with {name} = {recorded[name]}, not {value}",
                f"pass --{name.replace('_', '-')} {recorded[name]}, or count again with --force",
            )
    if settings.min_count > 1:
        raise CountsError(
            f"{target}: words below --min-count {settings.min_count} were dropped, adding is not exact",
            "count again with --force, or count without --min-count",
        )
    return before


def _source_key(path: str, code: str) -> str:
    return f"{code}: {path}"


def _report_rows(shards: list[Shard], counts: WordCounts) -> tuple[CountRow, ...]:
    groups = _by_language(shards)
    rows = []
    for code in counts.languages:
        train, held_out = counts.totals_of(code)
        group = groups.get(code, [])
        rows.append(
            CountRow(
                code, len(group), train.documents, train.words, train.characters, train.bytes,
                held_out.documents, train.cut_runs + held_out.cut_runs, train.discarded,
                sum_repairs(group),
            )
        )  # fmt: skip
    return tuple(rows)
