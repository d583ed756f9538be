"""Counting one source: the map step, run in worker processes, resumable, bounded in memory.

A shard folder holds one or more runs (sorted tables), `consumed` (bytes read so far, for progress) and, once
the source is finished, `done.json`. A run is written when the tally reaches its share of memory.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vocabkit.core.provenance import fingerprint_file
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.sources import Document, Source
from vocabkit.corpus.tally import Tally
from vocabkit.corpus.word_counts import Totals


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What to count and how: one source, the document rule, the held-out share, memory in bytes."""

    source: Source
    document: Document
    field: str
    held_out: float
    memory: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Shard:
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


def count_shard(plan: ShardPlan) -> Shard:
    """Count one source into `plan.folder`, or return the shard already finished there.

    `digest` is the table fingerprint when one run sufficed, else None. Raises `CorpusError`.
    """
    finished = load_shard(plan.folder)
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
    shard = Shard(
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


def _save_shard(shard: Shard, folder: Path) -> None:
    data = asdict(shard) | {"runs": [run.name for run in shard.runs]}
    temporary = folder / "done.tmp"
    temporary.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    temporary.rename(folder / "done.json")


def load_shard(folder: Path) -> Shard | None:
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
    return Shard(**data)


def sum_repairs(shards: list[Shard]) -> dict[str, int]:
    """Return the repairs of several shards together, by name."""
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard.repairs)
    return dict(sorted(total.items()))
