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
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import duckdb
import numpy as np

from vocabkit.core.errors import CorpusError, CountsError
from vocabkit.core.folders import (
    check_inputs,
    check_output,
    fingerprint_file,
    name_full_disk,
    output_folder,
    publish_folder,
    read_manifest,
    write_manifest,
)
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.text import cut_run
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.shard_map import open_executor
from vocabkit.corpus.sources import Corpus, Document, Source
from vocabkit.corpus.word_counts import (
    RUN_LIMIT,
    SPLITS,
    LanguageCounts,
    Tally,
    Totals,
    WordCounts,
    WordTable,
    connect,
    digest_parts,
    index_entry,
    is_full_disk,
    quote,
    read_columns,
    split_words,
    write_characters,
    write_index,
)

# --- Merging ---------------------------------------------------------------------------------------
# Merging counts: exact, in any order and grouping, out of core.
#
# One function adds up word tables on disk; a merge of folders and the last step of a count both call it.


def _add_tables(
    parts: Sequence[Path],
    target: Path,
    totals: tuple[Totals, Totals],
    *,
    min_count: int = 1,
    memory: int = 1 << 30,
) -> dict[str, object]:
    """Add up the language folders `parts` into the new folder `target`; return its index entry.

    Each part holds `train`, `held_out` and `characters` parquet files. Train words seen fewer than
    `min_count` times in all are dropped and their occurrences added to `discarded`; the cut is made here,
    on the sum, because a cut made shard by shard would lose words spread over shards.
    """
    target.mkdir()
    spill = target / "spill"
    parts_digest = []
    characters: Counter[str] = Counter()
    with connect(memory=memory, spill=spill) as database:
        for part in parts:
            found = read_columns(
                database, part / "characters.parquet", {"character": "VARCHAR", "count": "BIGINT"}
            )
            characters.update(
                dict(zip(found["character"].tolist(), found["count"].tolist(), strict=True))
            )
        write_characters(database, characters, target / "characters.parquet")
        for split in SPLITS:
            files = ", ".join(quote(part / f"{split}.parquet") for part in parts)
            cut = min_count if split == "train" else 1
            path = target / f"{split}.parquet"
            discarded = _add_split(database, files, path, cut)
            if split == "train":
                totals = (replace(totals[0], discarded=totals[0].discarded + discarded), totals[1])
            parts_digest.append(
                digest_parts(database, f"SELECT * FROM read_parquet({quote(path)})")
            )
    shutil.rmtree(spill, ignore_errors=True)
    return index_entry(*totals, "".join(parts_digest))


def _add_split(database: duckdb.DuckDBPyConnection, files: str, path: Path, cut: int) -> int:
    summed = (
        "SELECT word, continuation, CAST(sum(count) AS BIGINT) AS count, "
        f"CAST(sum(documents) AS BIGINT) AS documents FROM read_parquet([{files}]) "
        "GROUP BY word, continuation"
    )
    try:
        database.execute(
            f"COPY (SELECT * FROM ({summed}) WHERE count >= {cut} ORDER BY word, continuation) "
            f"TO {quote(path)} (FORMAT parquet, COMPRESSION zstd)"
        )
        if cut == 1:
            return 0
        lost = database.execute(f"SELECT sum(count) FROM ({summed}) WHERE count < {cut}").fetchall()
    except duckdb.Error as error:
        if is_full_disk(error):
            raise
        raise CountsError(f"{path}: {str(error).splitlines()[0]}") from error
    return int(lost[0][0] or 0)


def merge_counts(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    memory: int = 2 << 30,
    force: bool = False,
    progress: Progress | None = None,
) -> WordCounts:
    """Add up counts folders into a new one. Exact, associative and free of order.

    Raises `CountsError` for a folder that is not counts and `OutputError` for an output that exists.
    """
    report = progress or Silent()
    inputs = [WordCounts.load(folder) for folder in folders]
    if not inputs:
        raise CountsError("nothing to merge", "vocabkit merge A B -o counts/")
    roots = [Path(folder).resolve() for folder in folders]
    for root in roots:
        if roots.count(root) > 1:
            raise CountsError(f"{root}: given twice; its text would count double", "name it once")
    start = time.perf_counter()
    with output_folder(output, force=force) as work:
        by_language: dict[str, list[WordCounts]] = {}
        for counts in inputs:
            for code in counts.languages:
                by_language.setdefault(code, []).append(counts)
        report.start("merging", len(by_language), "languages")
        entries: dict[str, Mapping[str, object]] = {}
        for code in sorted(by_language):
            totals = _sum_totals(by_language[code], code)
            parts = [counts.folder / code for counts in by_language[code] if counts.folder]
            entries[code] = _add_tables(parts, work / code, totals, memory=memory)
            report.advance(1)
        report.finish()
        write_index(work, entries)
        write_manifest(
            work,
            config={"merge": [str(folder) for folder in folders]},
            inputs={str(f): c.fingerprint for f, c in zip(folders, inputs, strict=True)},
            seconds={"merge": time.perf_counter() - start},
        )
    return WordCounts.load(output)


def _sum_totals(inputs: Sequence[WordCounts], code: str) -> tuple[Totals, Totals]:
    train, held_out = Totals(), Totals()
    for counts in inputs:
        train += counts.totals_of(code)[0]
        held_out += counts.totals_of(code)[1]
    return train, held_out


# --- Shards ----------------------------------------------------------------------------------------
# Counting one source: the map step, run in worker processes, resumable, bounded in memory.
#
# A shard folder holds one or more runs (sorted tables), `consumed` (bytes read so far, for progress) and,
# once
# the source is finished, `done.json`. A run is written when the tally reaches its share of memory.


@dataclass(frozen=True, slots=True)
class _ShardPlan:
    """What to count and how: one source, the document rule, the held-out share, memory in bytes."""

    source: Source
    document: Document
    field: str
    held_out: float
    memory: int
    folder: Path


@dataclass(frozen=True, slots=True)
class _Shard:
    """A finished shard: its runs, totals, what was repaired, and the fingerprint of its source."""

    language: str
    source: str
    fingerprint: str
    runs: tuple[Path, ...]
    train: Totals
    held_out: Totals
    digest: str | None
    repairs: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def _count_shard(plan: _ShardPlan) -> _Shard:
    """Count one source into `plan.folder`, or return the shard already finished there.

    `digest` is the table fingerprint when one run sufficed, else None. Raises `CorpusError`.
    """
    finished = _load_shard(plan.folder)
    if finished is not None:
        return finished
    shutil.rmtree(plan.folder, ignore_errors=True)
    plan.folder.mkdir(parents=True)
    start = time.perf_counter()
    repairs = Repairs()
    runs: list[Path] = []
    digests: list[str] = []
    consumed = plan.folder / "consumed"
    read = 0

    def on_bytes(amount: int) -> None:
        nonlocal read
        read += amount

    def write_run() -> None:
        runs.append(plan.folder / f"run-{len(runs):05d}")
        digests.append(tally.write_run(runs[-1]))

    with Tally(plan.held_out, memory=plan.memory, spill=plan.folder / "spill") as tally:
        for batch in read_documents(plan.source, plan.document, plan.field, repairs, on_bytes):
            tally.add(batch)
            consumed.write_text(str(read), encoding="ascii")
            if tally.is_full:
                write_run()
        write_run()
    shard = _Shard(
        plan.source.language,
        plan.source.path,
        fingerprint_source(plan.source),
        tuple(runs),
        *tally.totals,
        digests[0] if len(runs) == 1 else None,
        {name: count for name, count in sorted(repairs.items()) if count},
        time.perf_counter() - start,
    )
    _save_shard(shard, plan.folder)
    return shard


def fingerprint_source(source: Source) -> str:
    """Return the digest of a local file, or the address and size of a remote one."""
    if "://" in source.path:
        return f"{source.path} {source.size}"
    return fingerprint_file(source.path)


def _save_shard(shard: _Shard, folder: Path) -> None:
    data = asdict(shard) | {"runs": [run.name for run in shard.runs]}
    temporary = folder / "done.tmp"
    temporary.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    temporary.rename(folder / "done.json")


def _load_shard(folder: Path) -> _Shard | None:
    """Return the finished shard in a folder, or None."""
    path = folder / "done.json"
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    data["runs"] = tuple(folder / name for name in data["runs"])
    if not all(run.is_dir() for run in data["runs"]):
        # The count was stopped while it put finished runs in their place.
        return None
    data["train"], data["held_out"] = Totals(**data["train"]), Totals(**data["held_out"])
    return _Shard(**data)


def _sum_repairs(shards: list[_Shard]) -> dict[str, int]:
    """Return the repairs of several shards together, by name."""
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard.repairs)
    return dict(sorted(total.items()))


# --- Frequency lists -------------------------------------------------------------------------------
# Word-frequency lists as counts: for text that exists only as `word<TAB>count`.
#
# A list has no documents, so held-out words are drawn by seeded binomial thinning of each count instead of by
# document, and document frequency is unknown: the count stands in for it, as the upper bound it is.


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
    frequencies = _read_frequencies(source)
    counts = _thin_frequencies(frequencies, language, held_out=held_out, seed=seed)
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


def _read_frequencies(path: Path) -> dict[str, int]:
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


def _thin_frequencies(
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


# --- Counting --------------------------------------------------------------------------------------


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
        shards = _run_shards(pool, plans, report)
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
            "repairs": {code: _sum_repairs(group) for code, group in _by_language(shards).items()},
            "ignored": list(corpus.ignored),
        },
    )
    publish_folder(work / "counts", target)
    shutil.rmtree(work, ignore_errors=True)
    return CountReport(rows, tuple(corpus.ignored), resumed, time.perf_counter() - start)


def _check_text(shards: list[_Shard]) -> None:
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
) -> list[_ShardPlan]:
    workers = settings.workers or os.cpu_count() or 1
    plans = []
    for code, source in _new_sources(corpus, before):
        folder = work / "shards" / f"{code}-{_stamp(source)}"
        share = settings.memory // workers
        plans.append(
            _ShardPlan(source, corpus.document, corpus.field, settings.held_out, share, folder)
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


def _by_language(shards: list[_Shard]) -> dict[str, list[_Shard]]:
    groups: dict[str, list[_Shard]] = {}
    for shard in shards:
        groups.setdefault(shard.language, []).append(shard)
    return dict(sorted(groups.items()))


def _finish_languages(
    pool: Executor,
    shards: list[_Shard],
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
                _add_tables, parts, target / code, (train, held_out),
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


def _report_rows(shards: list[_Shard], counts: WordCounts) -> tuple[CountRow, ...]:
    groups = _by_language(shards)
    rows = []
    for code in counts.languages:
        train, held_out = counts.totals_of(code)
        group = groups.get(code, [])
        rows.append(
            CountRow(
                code, len(group), train.documents, train.words, train.characters, train.bytes,
                held_out.documents, train.cut_runs + held_out.cut_runs, train.discarded,
                _sum_repairs(group),
            )
        )  # fmt: skip
    return tuple(rows)


def _run_shards(pool: Executor, plans: list[_ShardPlan], report: Progress) -> list[_Shard]:
    """Count every planned shard, reporting bytes as workers write how far they are."""
    total = sum(plan.source.size for plan in plans)
    report.start("counting", total, "bytes")
    pending: set[Future[_Shard]] = {pool.submit(_count_shard, plan) for plan in plans}
    shards: list[_Shard] = []
    shown = 0
    try:
        while pending:
            done, pending = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
            shards += [future.result() for future in done]
            read = sum(_consumed(plan) for plan in plans)
            report.advance(max(0, read - shown))
            shown = max(read, shown)
    finally:
        for future in pending:
            future.cancel()
    report.finish()
    return sorted(shards, key=lambda shard: (shard.language, shard.source))


def _consumed(plan: _ShardPlan) -> int:
    if (plan.folder / "done.json").is_file():
        return plan.source.size
    try:
        return min(
            int((plan.folder / "consumed").read_text(encoding="ascii") or 0), plan.source.size
        )
    except (OSError, ValueError):
        return 0
