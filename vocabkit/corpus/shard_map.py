"""Where shards are counted: processes here, any `concurrent.futures.Executor` elsewhere."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vocabkit.core.folders import hold_folder

# --- Scheduling ------------------------------------------------------------------------------------


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


# --- Work folder -----------------------------------------------------------------------------------
# The hidden folder beside an output where finished shards of an interrupted run wait, held by one process.


@contextmanager
def open_work(target: Path, plan: str) -> Iterator[Path]:
    """Yield the work folder of an output; what a run of the same `plan` left is in it, of another nothing.

    When the block fails it stays for the next run, unless no shard in it is finished; who ends well removes it.
    Raises OutputError when another process works on the same output.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".{target.name}.preparing"
    work.mkdir(exist_ok=True)
    with hold_folder(work, target, "preparing"):
        marker = work / "plan.json"
        if not marker.is_file() or marker.read_text(encoding="utf-8") != plan:
            for item in work.iterdir():
                shutil.rmtree(item) if item.is_dir() else item.unlink()
            marker.write_text(plan, encoding="utf-8")
        try:
            yield work
        except Exception:
            if not any(work.rglob(FINISHED)):
                shutil.rmtree(work, ignore_errors=True)
            raise


FINISHED = "done.json"
"""The file of a shard's folder that says it is whole."""
