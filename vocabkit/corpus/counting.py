"""Counting a corpus: one pass over the text, in parallel, resumable, in bounded memory.

Every source becomes a shard (`shard_map`): one or more runs, which are sorted tables, a run written whenever
the tally reaches its share of memory. Adding runs up is exact, in any order and grouping, out of core; a
merge of counts folders does the same. Text that exists only as `word<TAB>count` becomes counts here as well.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.core.errors import CountsError, shorten_names
from vocabkit.core.folders import (
    Clock,
    check_output,
    find_address,
    fingerprint_file,
    output_folder,
    read_toml,
    write_manifest,
    write_text,
)
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.records import read_manifest
from vocabkit.core.remote import remote_folder
from vocabkit.core.text import cut_run
from vocabkit.corpus.reading import Repairs
from vocabkit.corpus.shard_map import (
    Shard,
    ShardPlan,
    group_shards,
    group_sources,
    map_shards,
    no_document,
    open_executor,
    open_work,
    stamp_sources,
    sum_repairs,
)
from vocabkit.corpus.sources import Corpus, Source, fingerprint_source
from vocabkit.corpus.word_counts import (
    INDEX,
    RUN_LIMIT,
    SPLITS,
    LanguageCounts,
    Tally,
    Totals,
    WordCounts,
    WordTable,
    add_tables,
    check_language,
    index_entry,
    read_index,
    split_words,
    write_index,
)

# Bump when the same text comes to give other shards: an interrupted count is then begun anew.
_VERSION = 3
# Small files of a language are counted together up to this size: a tally of one file costs 30 ms.
_SHARD_BYTES = 8 << 20
_DROPPED = 0.05
"""Share of a language's words below the minimum count above which one is warned."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Counted(WordCounts):
    """Counts, and what this count met: a row per language, languages that have no data, files left aside.

    `uncut` says which large files are one task each, `resumed` how many shards were taken over from an
    interrupted count; `seconds` is wall time.
    """

    rows: tuple[CountRow, ...] = ()
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    uncut: tuple[str, ...] = ()
    resumed: int = 0
    seconds: float = 0.0

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language: its sources, and its totals; totals alone for a list of frequencies."""
        return [asdict(row) for row in self.rows] or WordCounts.to_rows(self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Languages that have no data or lost much to the minimum count, and files left aside."""
        missing = [f"no data for {code}" for code in self.missing]
        dropped = [
            f"{row.language}: the minimum count dropped {row.discarded / row.words:.1%} of all occurrences"
            for row in self.rows
            if row.discarded > _DROPPED * row.words
        ]
        return (*missing, *dropped, *(f"left aside {entry}" for entry in self.ignored), *self.uncut)

    @property
    def dropped(self) -> float:
        """The share of all occurrences that the minimum count dropped."""
        return sum(row.discarded for row in self.rows) / max(1, sum(row.words for row in self.rows))


@dataclass(frozen=True, slots=True)
class CountOptions:
    """Settings of a count that change its result, and `memory` (bytes) and `workers`, which do not."""

    held_out: float = 0.02
    min_count: int = 1
    memory: int = 2 << 30
    workers: int | None = None

    @property
    def share(self) -> int:
        """The memory of one worker, in bytes."""
        return self.memory // (self.workers or os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class _CountPlan(ShardPlan):
    """What to count and how: beside the text, the held-out share and the memory in bytes."""

    held_out: float
    memory: int


@dataclass(frozen=True, slots=True)
class _CountShard(Shard):
    """A counted source. `digest` is that of the table when one run sufficed, else None."""

    runs: tuple[Path, ...]
    train: Totals
    held_out: Totals
    digest: str | None


def count_corpus(
    corpus: Corpus,
    output: str | Path,
    options: CountOptions | None = None,
    *,
    force: bool = False,
    update: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Counted:
    """Count every source of a corpus into a counts folder.

    With `update`, the output must hold counts; only sources it has not seen are counted, and added. An output
    behind an address is made on this disk and sent; the counts then lie there, and not in what is returned.
    Raises `CorpusError` for text that cannot be read and `OutputError` for an output that exists, or that
    another process is counting.
    """
    settings = options or CountOptions()
    if url := find_address(output):
        return _count_and_send(corpus, url, settings, force, update, executor, progress)
    if not 0.0 <= settings.held_out < 1.0:
        raise CountsError(
            f"--held-out {settings.held_out}: expected a share from 0 up to, not including, 1",
            "for example: --held-out 0.02",
        )
    if settings.min_count < 1:
        raise CountsError(
            f"--min-count {settings.min_count}: expected 1 or more", "--min-count 1 keeps every word"
        )
    target = Path(output)
    check_output(target, corpus.places, force=force or update)
    clock, report = Clock(), progress or Silent()
    work_plan = json.dumps([_VERSION, settings.held_out, corpus.document, corpus.field])
    replace_old = force or update
    with open_work(target, "counting", work_plan, force=replace_old) as (folder, ready), ExitStack() as stack:
        # Held by now: no other count can change what is added to.
        before = _load_before(target, settings) if update else WordCounts({})
        plans = [
            _CountPlan(
                code, group, corpus.document, corpus.field,
                folder / f"{code}-{stamp_sources(group)}", settings.held_out, settings.share,
            )
            for code, sources in _new_sources(corpus, before).items()
            for group in group_sources(sources, corpus.document, _SHARD_BYTES)
        ]  # fmt: skip
        pool = executor or open_executor(settings.workers, len(plans), stack)
        shards, resumed = map_shards(_count, _restore, plans, pool, "counting", report)
        clock.lap("count")
        groups = group_shards(shards)
        for code, group in groups.items():
            if not any(shard.train.documents + shard.held_out.documents for shard in group):
                raise no_document(code, group)
        write_index(ready, _finish_languages(pool, groups, ready, settings, before, report))
        rows = _describe(corpus, groups, ready, settings, before, clock)
    counts = WordCounts.load(target)
    left = (tuple(corpus.missing), tuple(corpus.ignored), corpus.uncut)
    return Counted(counts.languages, target, rows, *left, resumed, clock.elapsed)


def _count_and_send(
    corpus: Corpus, url: str, settings: CountOptions, force: bool, update: bool,
    executor: Executor | None, progress: Progress | None,
) -> Counted:  # fmt: skip
    if update:
        what = f"{url}: --update adds to counts of this disk"
        raise CountsError(what, "count what is new into a folder of its own")
    stamps = [stamp_sources(corpus.sources[code]) for code in corpus.languages]
    chosen = [settings.held_out, settings.min_count, corpus.document, corpus.field, corpus.languages]
    with remote_folder(url, json.dumps([_VERSION, *chosen, stamps]), INDEX, force=force) as folder:
        if folder.exists():
            counts = WordCounts.load(folder)
            counted = Counted(counts.languages, folder, _make_rows(counts, {}))
        else:
            counted = count_corpus(corpus, folder, settings, executor=executor, progress=progress)
    return replace(counted, folder=Path(url))


def keep_counts(
    corpus: Corpus,
    folder: Path,
    options: CountOptions | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[WordCounts, str]:
    """Return the counts of a corpus and a sentence on them: counted into a folder, or found there already.

    What the folder holds is taken where it is of the same files and settings, by their digests; files that are
    new are added. Of other text it is counted anew with `force`. Raises as `count_corpus`, and `CountsError`
    for other text without `force`.
    """
    settings = options or CountOptions()
    if not (folder / "languages.json").is_file():
        counted = count_corpus(corpus, folder, settings, force=force, progress=progress)
        said = f"counted {corpus.name} into {folder} in {counted.seconds:.1f} s"
        return counted, f"{said}; other fits take it with --counts {shlex.quote(str(folder))}"
    reason = _find_difference(corpus, folder, settings)
    if reason is not None:
        if not force:
            raise CountsError(
                f"{folder}: holds other counts than those of {corpus.name}: {reason}",
                "pass --force to count again, or choose another -o",
            )
        counted = count_corpus(corpus, folder, settings, force=True, progress=progress)
        return counted, f"counted {corpus.name} again into {folder}, as {reason}, in {counted.seconds:.1f} s"
    before = WordCounts.load(folder)
    new = [source.path for group in _new_sources(corpus, before).values() for source in group]
    if not new:
        return before, f"took the counts in {folder}: they are of the same files"
    counted = count_corpus(corpus, folder, settings, update=True, progress=progress)
    return counted, f"added {shorten_names(new, 3)} to the counts in {folder}"


def _find_difference(corpus: Corpus, folder: Path, settings: CountOptions) -> str | None:
    """Why counts are no part of what counting the corpus gives; None where they are."""
    manifest = read_manifest(folder)
    recorded, known = manifest.get("config", {}), manifest.get("inputs", {})
    if not (folder / "config.toml").is_file() or "merge" in recorded:
        return "it is a sum, or made from a list of words"
    read = read_toml(folder / "config.toml", CountsError, "count again with --force")
    told = {**recorded, "document": read.get("document"), "field": read.get("field")}
    wanted = {
        "held_out": settings.held_out, "min_count": settings.min_count,
        "document": corpus.document, "field": corpus.field,
    }  # fmt: skip
    for name, value in wanted.items():
        if told.get(name) != value:
            return f"{name} was {told.get(name)!r} and is {value!r}"
    sources = {f"{code}: {one.path}": one for code in corpus.languages for one in corpus.sources[code]}
    if gone := sorted(known.keys() - sources.keys()):
        return f"{gone[0].partition(': ')[2]} is not in it any more"
    changed = (key for key, digest in sorted(known.items()) if fingerprint_source(sources[key]) != digest)
    first = next(changed, None)
    return None if first is None else f"{sources[first].path} has changed"


def _count(plan: _CountPlan, folder: Path, repairs: Repairs) -> dict[str, Any]:
    """Count a plan's sources into runs in `folder`, and return the record of them."""
    digests: list[str] = []

    def write_run() -> None:
        digests.append(tally.write_run(folder / f"run-{len(digests):05d}"))

    with Tally(plan.held_out, memory=plan.memory, spill=folder / "spill") as tally:
        for _, batch in plan.read(repairs):
            tally.add(batch)
            if tally.is_full:
                write_run()
        write_run()
        train, held_out = tally.totals
    digest = digests[0] if len(digests) == 1 else None
    return {"runs": len(digests), "train": asdict(train), "held_out": asdict(held_out), "digest": digest}


def _restore(folder: Path, record: dict[str, Any]) -> _CountShard | None:
    runs = tuple(folder / f"run-{number:05d}" for number in range(record["runs"]))
    if not all(run.is_dir() for run in runs):
        # The count was stopped while it put finished runs in their place.
        return None
    totals: dict[str, Any] = {split: Totals(**record[split]) for split in SPLITS}
    return _CountShard(**record | totals | {"folder": folder, "runs": runs})


def _load_before(target: Path, settings: CountOptions) -> WordCounts:
    """Open the counts to update. Raises `CountsError` where adding to them would not be exact."""
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


def _new_sources(corpus: Corpus, before: WordCounts) -> dict[str, list[Source]]:
    """Return the sources that earlier counts do not hold, by path, of each language. Raises `CountsError`.

    A source is known by its path, and must not have changed; one that was moved since is known by its bytes,
    if nothing stands at the path it had.
    """
    sources = {code: sorted(corpus.sources[code], key=lambda source: source.path) for code in corpus.languages}
    if before.folder is None:
        return sources
    known: dict[str, str] = read_manifest(before.folder).get("inputs", {})
    pairs = [(code, source) for code, group in sources.items() for source in group]
    present = {f"{code}: {source.path}" for code, source in pairs}
    moved = {(key.split(":", 1)[0], digest) for key, digest in known.items() if key not in present}
    found: dict[str, list[Source]] = {code: [] for code in sources}
    for code, source in pairs:
        digest = fingerprint_source(source)
        before_digest = known.get(f"{code}: {source.path}")
        if before_digest is None and (code, digest) not in moved:
            found[code].append(source)
        elif before_digest not in (None, digest, f"{source.path} {source.size}"):  # as earlier versions had it
            raise CountsError(
                f"{source.path}: has changed since it was counted", "count the corpus again with --force"
            )
    return found


def _finish_languages(
    pool: Executor, groups: Mapping[str, Sequence[_CountShard]], target: Path, settings: CountOptions,
    before: WordCounts, report: Progress,
) -> dict[str, Mapping[str, object]]:  # fmt: skip
    """Put each language's runs (and its earlier counts) together under `target`; return the index."""
    entries: dict[str, Mapping[str, object]] = {}
    waiting: dict[str, Future[dict[str, object]]] = {}
    report.start("adding up", len(groups), "languages")
    for code in sorted({*groups, *before.languages}):
        group = groups.get(code, ())
        parts = [run for shard in group for run in shard.runs]
        totals = [(shard.train, shard.held_out) for shard in group]
        if before.folder is not None and code in before.languages:
            totals.append(before.totals_of(code))
            parts.append(check_language(before.folder, code))
        train, held_out = _sum_totals(totals)
        if len(parts) == 1 and settings.min_count == 1 and group:
            parts[0].rename(target / code)
            entries[code] = index_entry(train, held_out, group[0].digest or "")
            report.advance(1)
        elif not group and before.folder is not None:
            # As it is, to the byte: the sum of one part would have other pages.
            shutil.copytree(before.folder / code, target / code)
            entries[code] = read_index(before.folder)[code]
            report.advance(1)
        else:
            waiting[code] = pool.submit(
                add_tables, parts, target / code, (train, held_out), settings.min_count, settings.share
            )
    for code, future in waiting.items():
        entries[code] = future.result()
        report.advance(1)
    report.finish()
    return entries


def _describe(
    corpus: Corpus, groups: Mapping[str, Sequence[_CountShard]], folder: Path, settings: CountOptions,
    before: WordCounts, clock: Clock,
) -> tuple[CountRow, ...]:  # fmt: skip
    """Write what was counted, and how, beside finished counts; return the report's rows."""
    config = corpus.to_toml(
        "The corpus as it was counted; run again: vocabkit count THIS_FILE -o DIR "
        f"--held-out {settings.held_out} --min-count {settings.min_count}"
    )
    write_text(folder / "config.toml", config)
    rows = _make_rows(WordCounts.load(folder), groups)
    earlier = read_manifest(before.folder) if before.folder else {}
    inputs: dict[str, str] = earlier.get("inputs", {})
    repairs: dict[str, Counter[str]] = {
        code: Counter(made) for code, made in earlier.get("details", {}).get("repairs", {}).items()
    }
    for code, group in groups.items():
        repairs.setdefault(code, Counter()).update(sum_repairs(group))
    for shard in (shard for group in groups.values() for shard in group):
        inputs |= {f"{shard.language}: {path}": digest for path, digest in shard.sources.items()}
    clock.lap("merge")
    write_manifest(
        folder,
        config={"held_out": settings.held_out, "min_count": settings.min_count},
        inputs=inputs,
        seconds=clock.seconds,
        details={
            "repairs": {code: dict(sorted(made.items())) for code, made in sorted(repairs.items())},
            "ignored": [*corpus.ignored],
        },
    )
    return rows


def _make_rows(counts: WordCounts, groups: Mapping[str, Sequence[_CountShard]]) -> tuple[CountRow, ...]:
    """Return the report's rows: totals of the counts, and what the shards of this count met."""
    rows = []
    for code in counts.languages:
        train, held_out = counts.totals_of(code)
        group = groups.get(code, ())
        files = sum(len(shard.sources) for shard in group)
        row = CountRow(
            code, files, train.documents, train.words, train.characters, train.bytes, held_out.documents,
            train.cut_runs + held_out.cut_runs, train.discarded, sum_repairs(group),
        )  # fmt: skip
        rows.append(row)
    return tuple(rows)


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
    check_output(Path(output), folders, force=force)
    inputs = [WordCounts.load(folder) for folder in folders]
    _check_parts(inputs)
    clock = Clock()
    with output_folder(output, force=force) as work:
        codes = sorted({code for counts in inputs for code in counts.languages})
        report.start("merging", len(codes), "languages")
        entries: dict[str, Mapping[str, object]] = {}
        for code in codes:
            holders = [counts for counts in inputs if code in counts.languages]
            totals = _sum_totals([counts.totals_of(code) for counts in holders])
            parts = [check_language(counts.folder, code) for counts in holders if counts.folder]
            entries[code] = add_tables(parts, work / code, totals, 1, memory)
            report.advance(1)
        report.finish()
        write_index(work, entries)
        write_manifest(
            work,
            config={"merge": [str(folder) for folder in folders]},
            inputs={str(f): c.fingerprint for f, c in zip(folders, inputs, strict=True)},
            seconds={"merge": clock.elapsed},
        )
    return WordCounts.load(output)


def add_counts(parts: Sequence[WordCounts]) -> WordCounts:
    """Return the sum of counts, in memory. Raises `CountsError` for none, and for a folder given twice."""
    _check_parts(parts)
    return reduce(add, parts)


def _check_parts(parts: Sequence[WordCounts]) -> None:
    if not parts:
        raise CountsError("nothing to merge", "vocabkit merge A B -o counts/")
    roots = [part.folder.resolve() for part in parts if part.folder is not None]
    for root in roots:
        if roots.count(root) > 1:
            raise CountsError(f"{root}: given twice; its text would count double", "name it once")


def _sum_totals(totals: Sequence[tuple[Totals, Totals]]) -> tuple[Totals, Totals]:
    train, held_out = zip((Totals(), Totals()), *totals, strict=True)
    return reduce(add, train), reduce(add, held_out)


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
) -> Counted:
    """Write a counts folder from a list of `word<TAB>count` lines in UTF-8.

    Equal words add up. Raises `CountsError` naming the file and line of anything else.
    """
    source = Path(path)
    clock = Clock()
    check_output(Path(output), [source], force=force)
    counts = _thin_frequencies(_read_frequencies(source), language, held_out, seed)
    with output_folder(output, force=force) as work:
        WordCounts({language: counts}).write_tables(work)
        write_manifest(
            work,
            config={"held_out": held_out, "min_count": 1, "from_frequencies": str(source)},
            inputs={f"{language}: {source.name}": fingerprint_file(source)},
            seconds={"import": clock.elapsed},
            details={
                "held_out": "binomial thinning of each count, not documents",
                "documents": "unknown; the count is the upper bound stored",
            },
            seed=seed,
        )
    return Counted(WordCounts.load(output).languages, Path(output), seconds=clock.elapsed)


def _read_frequencies(path: Path) -> dict[str, int]:
    """Read `word<TAB>count` lines. Raises `CountsError` naming file, line and value."""
    hint = "each line is a word, a tab and a whole number of 1 or more"
    frequencies: Counter[str] = Counter()
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise CountsError(f"{path}: {(error.strerror or 'cannot be read').lower()}", hint) from error
    except UnicodeDecodeError as error:
        raise CountsError(f"{path}: not UTF-8 at byte {error.start}", hint) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, tab, text = line.rstrip("\r").rpartition("\t")
        if not tab or split_words(word) != [word]:
            raise CountsError(f"{path}:{number}: {line[:80]!r} is not one word, a tab and a count", hint)
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) < _LIMIT:
            raise CountsError(f"{path}:{number}: count {text[:80]!r}", hint)
        frequencies[word] += int(text)
    if not frequencies:
        raise CountsError(f"{path}: holds no words", hint)
    return frequencies


def _thin_frequencies(frequencies: dict[str, int], language: str, held_out: float, seed: int) -> LanguageCounts:
    """Split each count into train and held out, Binomial(count, held_out), in sorted order of words."""
    words = sorted(frequencies)
    total = np.array([frequencies[word] for word in words], dtype=np.int64)
    drawn = np.random.default_rng(seed).binomial(total, held_out).astype(np.int64)
    tables, totals = [], []
    for part in (total - drawn, drawn):
        rows: Counter[tuple[str, bool]] = Counter()
        cut = characters = size = 0
        for word, count in zip(words, part.tolist(), strict=True):
            if not count:
                continue
            characters += len(word) * count
            size += len(word.encode()) * count
            parts = cut_run(word, RUN_LIMIT)
            cut += count if len(parts) > 1 else 0
            for index, text in enumerate(parts):
                rows[text, index > 0] += count
        tables.append(WordTable.from_rows({key: (count, count) for key, count in rows.items()}))
        totals.append(Totals(words=int(part.sum()), characters=characters, bytes=size, cut_runs=cut))
    found: Counter[str] = Counter()
    for word, count in frequencies.items():
        for character in word:
            found[character] += count
    return LanguageCounts(language, tables[0], tables[1], dict(sorted(found.items())), *totals)
