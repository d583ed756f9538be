"""How inner loops are compiled: numba, without Python's lock, cached in the user's cache folder.

No fastmath and no automatic parallel loops: results must be the same bytes for any number of threads, so the
callers divide the work themselves and add the parts up in a fixed order. Compiling takes 4 s the first time for
the table of words (`word_rows`), half a minute for the trainer; `NUMBA_CACHE_DIR` moves the cache. Holds no
kernel.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core.caching import FunctionCache

from vocabkit.core.folders import find_user_cache

P = ParamSpec("P")
R = TypeVar("R")


def compile(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` as a kernel, compiled when first called with each combination of types."""
    folder = _cache_folder()
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    kernel: Any = numba.njit(nogil=True, error_model="numpy")(function)
    if folder is not None:
        kernel._cache = _KernelCache(function)  # type: ignore[no-untyped-call]
    return cast(Callable[P, R], kernel)


class _KernelCache(FunctionCache):
    """Compiled kernels on disk. A full disk or a damaged file costs the time to compile, and stops nothing."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was kept, None where there is nothing that can be used."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # of whatever kind half a file leads to
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel, where there is room."""
        with suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


@cache
def _cache_folder() -> Path | None:
    """Return the folder of compiled kernels, or None where none can be written.

    Its name holds a digest of the sources of the stages that have kernels: numba looks only at the file a
    kernel is written in, and would keep a stale copy of one that calls a kernel of another file.
    """
    given = os.environ.get("NUMBA_CACHE_DIR")
    digest = hashlib.blake2b(digest_size=6)
    for stage in ("corpus", "fitting"):
        for path in sorted((Path(__file__).parents[1] / stage).glob("*.py")):
            digest.update(path.read_bytes())
    folder = (Path(given) if given else find_user_cache("kernels")) / digest.hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


class Workers:
    """A pool of threads that hands results back in the order the work was given."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool, self.threads = pool, threads

    def map(self, work: Callable[..., R], *arguments: Iterable[Any]) -> list[R]:
        """Call `work` on each set of arguments, at most `threads` at once; return the results in order."""
        return list(self._pool.map(work, *arguments))

    def submit(self, work: Callable[..., R], *arguments: Any) -> Future[R]:
        """Start one piece of work."""
        return self._pool.submit(work, *arguments)


@contextmanager
def open_workers(threads: int | None = None) -> Iterator[Workers]:
    """Open `threads` workers (default: one a core); results never depend on how many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = threads or cores or 1
    with ThreadPoolExecutor(wanted) as pool:
        yield Workers(pool, wanted)
