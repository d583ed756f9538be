"""A resumable map over the files of a corpus: what `count` and `prepare` have in common.

A shard is what came of one file, or a few small ones, of one language. Shards are made on any
`concurrent.futures.Executor` that shares the disk, each in an attempt's own folder that gets its name only
when it is whole, with a record of it in `done.json`. They wait in a hidden folder beside the output, held by
one process at a time, so that an interrupted run resumes; the output appears whole or not at all.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import parent_process
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import mkdtemp
from threading import Thread
from typing import Any, TypeVar

from vocabkit.core.errors import CorpusError, WorkerError
from vocabkit.core.folders import (
    check_output,
    identify_folder,
    keep_folder,
    made_parents,
    name_full_disk,
    publish_folder,
    write_json,
)
from vocabkit.core.progress import Progress
from vocabkit.corpus.reading import EMPTY_PART, Repairs, read_documents
from vocabkit.corpus.sources import Document, Source, cut_source, fingerprint_source

_LOOK = 0.25
"""Seconds between looks at how far workers are."""
_STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a run to stop."""
FINISHED = "done.json"
"""The record of a shard: a folder that holds it is whole."""


@contextmanager
def open_work(target: Path, doing: str, plan: str, *, force: bool = False) -> Iterator[tuple[Path, Path]]:
    """Yield the folder of finished shards, and an empty one that becomes `target` when the block ends well.

    Both are in `.NAME.DOING` beside `target`. What a run of the same `plan` finished is in the first, of
    another nothing. When the block fails it stays for the next run, unless no shard is finished. Raises
    `OutputError` where `target` may not be written or another process works on it, and on a full disk.
    """
    check_output(target, force=force)
    place = target.resolve()
    work = place.with_name(f".{place.name}.{doing}")
    shards, ready = work / "shards", work / "ready"
    with made_parents(target), keep_folder(work, target, doing, "plan.json", plan):
        check_output(target, force=force)  # the run that held it before may have finished
        seen = identify_folder(target)
        try:
            with name_full_disk(target):
                shards.mkdir(exist_ok=True)
                # What a killed run began: its output, and attempts, whose names have a dot.
                for item in (ready, *shards.glob("*.*")):
                    item.unlink() if item.is_file() else shutil.rmtree(item, ignore_errors=True)
                ready.mkdir()
                yield shards, ready
                publish_folder(ready, target, seen)
        except Exception:
            if not any(shards.glob(f"*/{FINISHED}")):
                shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Files of one language that are done together, how they become documents, and the shard's folder."""

    language: str
    sources: tuple[Source, ...]
    document: Document
    field: str
    folder: Path

    @property
    def size(self) -> int:
        """Stored bytes of its files, or of its part of one."""
        return sum(source.span for source in self.sources)

    def read(self, repairs: Repairs) -> Iterator[tuple[str, list[str]]]:
        """Yield batches of documents, each with its file's path, and note how many bytes were read.

        Adds to `repairs`; raises `CorpusError` for text that cannot be read.
        """
        read = 0

        def on_bytes(amount: int) -> None:
            nonlocal read
            read += amount

        for source in self.sources:
            for batch in read_documents(source, self.document, self.field, repairs, on_bytes):
                yield source.path, batch
                _note(self).write_text(str(read), encoding="ascii")


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard: its folder, its sources' fingerprints by path, and what was repaired.

    Of the parts of one file only the first has its fingerprint; the others have no sources.
    """

    language: str
    folder: Path
    sources: Mapping[str, str]
    repairs: Mapping[str, int]


Plan = TypeVar("Plan", bound=ShardPlan)
Made = TypeVar("Made", bound=Shard)
Make = Callable[[Plan, Path, Repairs], dict[str, Any]]
"""Makes the shard of a plan in the folder given, counting repairs; returns what is to be recorded of it."""
Restore = Callable[[Path, dict[str, Any]], Made | None]
"""A shard by its folder and its record, without `folder`; None where its files were moved away since."""


def map_shards(
    make: Make[Plan],
    restore: Restore[Made],
    plans: Sequence[Plan],
    pool: Executor,
    label: str,
    report: Progress,
) -> tuple[list[Made], int]:
    """Make every planned shard; return them in the order of the plans, and how many were there already.

    Reports bytes as workers note how far they are. Raises what `make` raises.
    """
    found = {plan.folder: _load(restore, plan.folder) for plan in plans}
    left = [plan for plan in plans if found[plan.folder] is None]
    total = sum(plan.size for plan in plans)
    shown = done = total - sum(plan.size for plan in left)
    report.start(label, total, "bytes")
    report.advance(shown)
    # Largest first: the last task to start is then the smallest, and cores finish together.
    left.sort(key=lambda plan: (-plan.size, plan.folder.name))
    # Futures come here when they end: waiting for the first of all that pend looks at each of them, each time.
    ended: SimpleQueue[Future[None]] = SimpleQueue()
    pending: dict[Future[None], Plan] = {}

    def take_ended(patience: float) -> None:
        nonlocal done
        with suppress(Empty):
            future = ended.get(timeout=patience)
            future.result()
            done += pending.pop(future).size

    try:
        for plan in left:
            shutil.rmtree(plan.folder, ignore_errors=True)  # not whole, or moved away since
            future = pool.submit(_make_shard, make, plan)
            pending[future] = plan
            future.add_done_callback(ended.put)
            take_ended(0)
        looked = time.monotonic()
        while pending:
            take_ended(_LOOK)
            if pending and time.monotonic() - looked < _LOOK:
                continue
            looked = time.monotonic()
            read = done + sum(_read_note(plan) for future, plan in pending.items() if future.running())
            report.advance(max(0, read - shown))
            shown = max(read, shown)
    finally:
        for future in pending:
            future.cancel()
    report.finish()
    shards = [found[plan.folder] or _load(restore, plan.folder) for plan in plans]
    if None in shards:
        raise RuntimeError("a shard vanished while others were made")
    return [shard for shard in shards if shard is not None], len(plans) - len(left)


def _make_shard(make: Make[Plan], plan: Plan) -> None:
    """Make one shard, in a worker. Its folder appears whole, and its last file is the record.

    Another attempt at the same, by a scheduler that believed this one dead, has a folder of its own: the first
    to be whole stays.
    """
    if (plan.folder / FINISHED).is_file():
        return
    attempt = Path(mkdtemp(prefix=f"{plan.folder.name}.", dir=plan.folder.parent))
    repairs = Repairs()
    try:
        record = {
            "language": plan.language,
            **make(plan, attempt, repairs),
            "sources": {s.path: fingerprint_source(s) for s in plan.sources if s.start == 0},
            "repairs": {name: count for name, count in sorted(repairs.items()) if count},
        }
        write_json(attempt / FINISHED, record, indent=None)
        try:
            attempt.rename(plan.folder)
        except OSError:
            if not (plan.folder / FINISHED).is_file():
                raise
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
        _note(plan).unlink(missing_ok=True)


def _load(restore: Restore[Made], folder: Path) -> Made | None:
    try:
        record = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return restore(folder, record)


def _note(plan: ShardPlan) -> Path:
    """Return the file where a worker notes how many bytes it has read."""
    return plan.folder.with_name(f"{plan.folder.name}.read")


def _read_note(plan: ShardPlan) -> int:
    try:
        return min(int(_note(plan).read_text(encoding="ascii") or 0), plan.size)
    except (OSError, ValueError):
        return 0


def stamp_sources(sources: Sequence[Source]) -> str:
    """Return an identity of files, 16 hex digits, that changes when one of them does."""
    digest = hashlib.blake2b(digest_size=8)
    for source in sources:
        changed, path = source.stamp, source.path
        if "://" not in path:
            changed, path = str(Path(path).stat().st_mtime_ns), str(Path(path).absolute())
        part = "" if source.stop is None else f"{source.start}-{source.stop}\0"
        digest.update(f"{path}\0{source.size}\0{changed}\0{part}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def group_shards(shards: Sequence[Made]) -> dict[str, list[Made]]:
    """Return the shards of each language, in their order; languages sorted."""
    groups: dict[str, list[Made]] = {code: [] for code in sorted({shard.language for shard in shards})}
    for shard in shards:
        groups[shard.language].append(shard)
    return groups


def group_sources(sources: Sequence[Source], document: Document, limit: int) -> list[tuple[Source, ...]]:
    """Group files in order, the next one put to the last while both are within `limit`, in bytes.

    A large file is cut, and each of its parts a group.
    """
    groups: list[list[Source]] = []
    size = limit + 1
    for source in sources:
        parts = cut_source(source, document)
        if len(parts) == 1 and size + source.size <= limit:
            groups[-1].append(source)
            size += source.size
        else:
            groups += [[part] for part in parts]
            size = source.size if len(parts) == 1 else limit + 1
    return [tuple(group) for group in groups]


def sum_repairs(shards: Sequence[Shard]) -> dict[str, int]:
    """Return the repairs of several shards together, by name, in the order in which they were planned.

    A file is empty when all of its parts are.
    """
    total = sum((Counter(shard.repairs) for shard in shards), Counter[str]())
    files: list[list[Shard]] = []
    for shard in shards:
        if shard.sources:
            files.append([])
        files[-1].append(shard)
    total["empty_file"] += sum(all(EMPTY_PART in shard.repairs for shard in parts) for parts in files)
    del total[EMPTY_PART]
    return {name: count for name, count in sorted(total.items()) if count}


def no_document(code: str, shards: Sequence[Shard]) -> CorpusError:
    """Return the error for a language all of whose files turned out to hold no document."""
    return CorpusError(
        f"{code}: no document in {', '.join(path for shard in shards for path in shard.sources)}",
        "add text of that language, or take its files out of the corpus",
    )


class _Inline(Executor):
    """Runs each task at once in this process: for one worker, and for debuggers."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """Run the call now."""
        future: Future[object] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            future.set_exception(error)
        return future


class _Worker(SpawnProcess):
    """A spawned process that does not run the caller's script again: its tasks need nothing of the script.

    So a plain script may start processes without `if __name__ == "__main__"`. It is born deaf to the signals
    that stop a run: they reach the whole process group, and only the parent should speak.
    """

    @staticmethod
    def _Popen(process: Any) -> Any:
        # `multiprocessing.spawn.get_preparation_data` finds the script by these two names.
        main = vars(sys.modules["__main__"])
        shown: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
        mask = getattr(signal, "pthread_sigmask", None)
        if mask:
            ensure_running()  # starting multiprocessing's own process would undo the mask
        before = mask(signal.SIG_BLOCK, _STOPPING) if mask else ()
        try:
            main.update(dict.fromkeys(shown))
            return SpawnProcess._Popen(process)
        finally:
            main.update(shown)
            if mask:
                mask(signal.SIG_SETMASK, before)

    def terminate(self) -> None:
        """Kill it: it does not hear what a pool sends to the others when one has died."""
        self.kill()


class _Context(SpawnContext):
    """Starts workers, and knows those that it started."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[_Worker] = []

    def Process(self, *arguments: Any, **options: Any) -> _Worker:  # type: ignore[override]
        """Make a worker."""
        worker = _Worker(*arguments, **options)
        self.started.append(worker)
        return worker


def _start_worker() -> None:
    """Let a worker die with its parent, which a kill gives no chance to say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()  # a pipe that only the parent holds open
        os._exit(1)

    Thread(target=follow, name="follow-parent", daemon=True).start()
    if sys.platform == "linux":
        # At once, even where a library holds the interpreter; the pipe is for other systems, and for a parent
        # that died before this line.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)


_PARENT_DEATH = 1  # PR_SET_PDEATHSIG


def open_executor(wanted: int | None, tasks: int, stack: ExitStack) -> Executor:
    """Return an executor for so many tasks, closed with the stack: processes, or this one for one worker.

    What ends the stack early ends the processes at once. One that was killed, mostly for want of memory, makes
    the stack end in a `WorkerError`.
    """
    workers = min(wanted or os.cpu_count() or 1, max(tasks, 1))
    if workers == 1:
        return _Inline()
    # Spawned, not forked: DuckDB's threads do not survive a fork.
    context = _Context()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)

    def close(kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception | None):
            # Others have the time to finish what they are at only where no one waits to be gone.
            for worker in context.started:
                worker.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise _name_death(context.started) from error

    stack.push(close)
    return pool


def _name_death(workers: Sequence[_Worker]) -> WorkerError:
    """Return the error for worker processes of which one died, and the others were stopped."""
    # The others were killed by us.
    codes = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0, -9)]
    what = "a worker process was killed, as the system does when memory runs out"
    if codes and codes[0]:
        name = signal.Signals(-codes[0]).name if codes[0] < 0 else f"exit code {codes[0]}"
        what = f"a worker process died ({name})"
    hint = "run again with fewer --workers, or a smaller --memory where there is one; what is finished is kept"
    return WorkerError(what, hint)
