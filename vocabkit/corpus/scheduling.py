"""Where shards are counted: processes here, any `concurrent.futures.Executor` elsewhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack

from vocabkit.core.progress import Progress
from vocabkit.corpus.shards import Shard, ShardPlan, count_shard


class _Inline(Executor):
    """Runs each task at once in this process: for one worker, and for debuggers."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """Run the call now."""
        future: Future[object] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            future.set_exception(error)
        return future


def _ignore_interrupt() -> None:
    # Ctrl-C reaches the whole process group; only the parent should speak.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def open_executor(wanted: int | None, tasks: int, stack: ExitStack) -> Executor:
    """Return an executor for so many tasks, closed with the stack: processes, or this one for one worker."""
    workers = min(wanted or os.cpu_count() or 1, max(tasks, 1))
    if workers == 1:
        return _Inline()
    # Spawned, not forked: DuckDB's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_interrupt
    )
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool


def run_shards(pool: Executor, plans: list[ShardPlan], report: Progress) -> list[Shard]:
    """Count every planned shard, reporting bytes as workers write how far they are."""
    total = sum(plan.source.size for plan in plans)
    report.start("counting", total, "bytes")
    pending: set[Future[Shard]] = {pool.submit(count_shard, plan) for plan in plans}
    shards: list[Shard] = []
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


def _consumed(plan: ShardPlan) -> int:
    if (plan.folder / "done.json").is_file():
        return plan.source.size
    try:
        return min(
            int((plan.folder / "consumed").read_text(encoding="ascii") or 0), plan.source.size
        )
    except (OSError, ValueError):
        return 0
