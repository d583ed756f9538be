"""Which files are prepared together, in which order, and the run over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path

from vocabkit.core.progress import Progress
from vocabkit.corpus.sources import Corpus, Source
from vocabkit.pretraining.row_shards import RowShard, RowShardPlan, prepare_shard
from vocabkit.pretraining.special_ids import SpecialIds
from vocabkit.pretraining.special_tokens import TokenizerFiles
from vocabkit.vocabulary.routing import SHARED

__all__ = ["plan_row_shards", "run_row_shards"]

# Files of a language are prepared together up to this size: each shard ends in rows that are not full.
_SHARD_BYTES = 4 << 20


def plan_row_shards(
    corpus: Corpus,
    files: TokenizerFiles,
    special: SpecialIds,
    blocks: Sequence[str] | None,
    work: Path,
    *,
    length: int,
    held_out: float,
) -> list[RowShardPlan]:
    """One task for each file, or group of small ones, of each language; the largest first.

    `blocks` are the languages with a block of their own where texts are routed, None where not.
    """
    plans = []
    for code in corpus.languages:
        route = None
        if blocks is not None:
            route = code if code in blocks else SHARED
        for number, group in enumerate(_group_sources(corpus.sources[code])):
            folder = work / "shards" / f"{code}-{number:05d}-{_stamp(group)}"
            plans.append(
                RowShardPlan(
                    code, group, corpus.document, corpus.field, held_out, length,
                    files.file, route, files.fingerprint, special, folder,
                )
            )  # fmt: skip
    # Largest first: the last task to start is then the smallest, and cores finish together.
    return sorted(plans, key=lambda plan: (-plan.size, plan.folder.name))


def _group_sources(sources: Sequence[Source]) -> list[tuple[Source, ...]]:
    """Files in order, the next one put to the last while both are within the size of a shard."""
    groups: list[list[Source]] = []
    size = 0
    for source in sources:
        if groups and size + source.size <= _SHARD_BYTES:
            groups[-1].append(source)
            size += source.size
        else:
            groups.append([source])
            size = source.size
    return [tuple(group) for group in groups]


def _stamp(sources: Sequence[Source]) -> str:
    """An identity of files that changes when one of them does."""
    digest = hashlib.blake2b(digest_size=8)
    for source in sources:
        changed, path = "", source.path
        if "://" not in path:
            changed, path = str(Path(path).stat().st_mtime_ns), str(Path(path).absolute())
        digest.update(f"{path}\0{source.size}\0{changed}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def run_row_shards(
    pool: Executor, plans: Sequence[RowShardPlan], report: Progress
) -> list[RowShard]:
    """Prepare every planned shard, reporting bytes as workers write how far they are."""
    report.start("preparing", sum(plan.size for plan in plans), "bytes")
    pending: dict[Future[RowShard], RowShardPlan] = {
        pool.submit(prepare_shard, plan): plan for plan in plans
    }
    shards: dict[Path, RowShard] = {}
    shown = finished = 0
    try:
        while pending:
            done, _ = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
            for future in done:
                shards[pending[future].folder] = future.result()
                finished += pending.pop(future).size
            read = finished + sum(map(_consumed, pending.values()))
            report.advance(max(0, read - shown))
            shown = max(read, shown)
    finally:
        for future in pending:
            future.cancel()
    report.finish()
    return [shards[plan.folder] for plan in sorted(plans, key=lambda plan: plan.folder.name)]


def _consumed(plan: RowShardPlan) -> int:
    try:
        text = (plan.folder / "consumed").read_text(encoding="ascii")
        return min(int(text or 0), plan.size)
    except (OSError, ValueError):
        return 0
