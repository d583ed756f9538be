"""Progress bars on stderr, for library functions that report through `vocabkit.core.progress`.

Nothing is drawn unless stderr is a terminal: Rich would otherwise write its last frame into a log.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from vocabkit.core.progress import Progress


@contextmanager
def open_progress(quiet: bool = False) -> Iterator["Progress"]:
    """Yield a progress that draws on a terminal's stderr, and nowhere else."""
    from vocabkit.core.progress import Silent

    if quiet or not sys.stderr.isatty():
        yield Silent()
        return
    with _bars() as bars:
        yield _TerminalProgress(bars)


class _TerminalProgress:
    """One bar at a time; a step whose total is unknown gets a moving bar and the time so far."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, label: str, total: int | None = None, unit: str = "") -> None:
        self.finish()
        self._task = self._bars.add_task(label, total=total, unit=unit)

    def advance(self, amount: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, amount)

    def finish(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


def _bars() -> "Bars":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    size, number = DownloadColumn(), MofNCompleteColumn()

    class AmountColumn(ProgressColumn):
        """Bytes as sizes, everything else as numbers, and nothing where no total is known."""

        def render(self, task: Task) -> Text:
            if task.total is None:
                return Text()
            is_size = task.fields["unit"] in {"B", "byte", "bytes"}
            return size.render(task) if is_size else number.render(task)

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        AmountColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
