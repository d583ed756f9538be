"""Merging counts: exact, in any order and grouping, out of core.

One function adds up word tables on disk; a merge of folders and the last step of a count both call it.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from vocabkit.core.errors import CountsError
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import output_folder, write_manifest
from vocabkit.corpus.counts_folder import (
    digest_parts,
    index_entry,
    write_characters,
    write_index,
)
from vocabkit.corpus.tables import connect, is_full_disk, quote, read_columns
from vocabkit.corpus.word_counts import SPLITS, Totals, WordCounts


def add_tables(
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
            entries[code] = add_tables(parts, work / code, totals, memory=memory)
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
