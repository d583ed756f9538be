"""Running one command and measuring it: wall seconds, CPU seconds, peak memory of its whole process tree."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a command cost. `peak` is bytes: the most private memory its processes held, polled at 20 Hz."""

    wall: float
    cpu: float
    peak: int
    output: str

    def row(self, name: str) -> str:
        """Return a Markdown table row."""
        return f"| {name} | {self.wall:.1f} | {self.cpu:.1f} | {self.peak / 1e9:.2f} |"


HEADER = "| what | wall s | CPU s | peak GB |\n| --- | --- | --- | --- |"


def measure(command: Sequence[str]) -> Measurement:
    """Run a command to its end and measure it. Raises `SystemExit` with its error when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _tree_memory(process.pid))
        time.sleep(0.05)
    wall = time.perf_counter() - start
    output, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measurement(wall, cpu, peak, output)


def corpora() -> Path:
    """Return the folder of real text that `VOCABKIT_CORPORA` names. Raises `SystemExit` when it is not set."""
    folder = os.environ.get("VOCABKIT_CORPORA")
    if not folder or not Path(folder).is_dir():
        sys.exit("set VOCABKIT_CORPORA to a folder that holds mono/ and ntrex/ (see benchmarks/README.md)")
    return Path(folder)


def machine() -> str:
    """Return one line that says where the figures were taken."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {load:.1f}"


def _tree_memory(root: int) -> int:
    # statm costs microseconds; smaps_rollup, which also splits shared pages, took a third of a core at 20 Hz.
    total = 0
    waiting = [root]
    while waiting:
        folder = Path("/proc") / str(waiting.pop())
        try:
            _, resident, shared, *_ = map(int, (folder / "statm").read_text(encoding="ascii").split())
            total += (resident - shared) * os.sysconf("SC_PAGE_SIZE")
            for task in (folder / "task").iterdir():
                children = (task / "children").read_text(encoding="ascii")
                waiting += [int(child) for child in children.split()]
        except (OSError, ValueError):
            continue
    return total
