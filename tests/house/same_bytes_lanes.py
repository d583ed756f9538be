"""Runs the steps of `make same-bytes`: each in a forked process of its own, two at a time.

A fork of a process that has imported the heavy libraries starts in milliseconds and still shares nothing
that a command changes. Nothing of vocabkit is imported before the fork.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.house.same_bytes_steps import Step

ROOT = Path(__file__).resolve().parents[2]
LANES = 2
STEP_SECONDS = 300
HEAVY = (
    "duckdb", "fontTools.ttLib", "icu4py", "jinja2", "matplotlib.pyplot", "numba", "numpy", "pandas",
    "pydantic", "regex", "rich.console", "rich.table", "safetensors.numpy", "safetensors.torch",
    "sentencepiece", "tiktoken", "tokenizers", "torch", "torch.distributed.checkpoint",
    "transformers", "typer", "unicodedata2", "backports.zstd",
)  # fmt: skip
# What decides how things look, and how sums are ordered: a result must not depend on the caller's.
SETTINGS = {
    "COLUMNS": "100", "LINES": "40", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8", "TZ": "UTC",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
    "MPLBACKEND": "Agg",
}  # fmt: skip
UNSET = (
    "FORCE_COLOR", "NUMBA_CACHE_DIR", "RANK", "WORLD_SIZE", "VOCABKIT_DEBUG", "VOCABKIT_CORPORA",
    "LANGUAGE", "LANG",
)  # fmt: skip


def prepare_process(cache: Path) -> None:
    """Set the environment of all steps, then import what they need: the libraries read it as they load."""
    for name in UNSET:
        os.environ.pop(name, None)
    os.environ.update(SETTINGS, XDG_CACHE_HOME=str(cache))
    for name in HEAVY:
        with suppress(ImportError):
            importlib.import_module(name)


def run_steps(steps: Iterable[Step], work: Path, logs: Path) -> Iterator[tuple[Step, int, float]]:
    """Run the steps, each when those it needs are done; yield each with its exit code and its seconds."""
    waiting, running = list(steps), dict[int, tuple[Step, float]]()
    while waiting or running:
        while len(running) < LANES and (step := _choose(waiting, running)) is not None:
            waiting.remove(step)
            running[_start(step, work, logs)] = step, time.perf_counter()
        if not running:
            raise RuntimeError(f"waits for itself: {', '.join(step.name for step in waiting)}")
        process, status = os.wait()
        if process in running:
            step, start = running.pop(process)
            yield step, os.waitstatus_to_exitcode(status), time.perf_counter() - start


def _choose(waiting: list[Step], running: dict[int, tuple[Step, float]]) -> Step | None:
    """The first step that nothing hinders; steps that write to the counts' caches keep their order."""
    undone = {step.name for step in waiting} | {step.name for step, _ in running.values()}
    counting = any(step.uses_counts for step, _ in running.values())
    for step in waiting:
        hindered = bool(step.needs & (undone - {step.name})) or (counting and step.uses_counts)
        if not hindered:
            return step
        counting = counting or step.uses_counts
    return None


def _start(step: Step, work: Path, logs: Path) -> int:
    (logs / f"{step.name}.in").write_text(step.stdin, encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        _become(step, work, logs)
    return process


def _become(step: Step, work: Path, logs: Path) -> None:
    """Be the command, and never return."""
    code = 101
    try:
        _redirect(step, logs)
        os.chdir(work)
        signal.alarm(STEP_SECONDS)
        sys.argv = ["vocabkit", *step.words]
        sys.path.insert(0, str(ROOT))
        if step.arrange is not None:
            step.arrange(work)
        code = _call()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(step: Step, logs: Path) -> None:
    """Point the three standard streams at files, for C libraries too."""
    for number, (suffix, mode) in enumerate(
        (
            (".in", os.O_RDONLY),
            (".out", os.O_WRONLY | os.O_CREAT),
            (".err", os.O_WRONLY | os.O_CREAT),
        )
    ):
        opened = os.open(logs / f"{step.name}{suffix}", mode | os.O_CLOEXEC, 0o644)
        os.dup2(opened, number)


def _call() -> int:
    try:
        runpy.run_module("vocabkit", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 101
    return 0
