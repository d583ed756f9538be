"""How long library calls report progress: one protocol, a bar on terminals and in notebooks, lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress(Protocol):
    """One step at a time: `start` names it, `advance` moves it, `finish` closes it."""

    def start(self, label: str, total: int | None = None, unit: str = "") -> None:
        """Begin a step of `total` units (`None`: unknown length)."""

    def advance(self, amount: int) -> None:
        """Move the current step forward by `amount` units."""

    def finish(self) -> None:
        """End the current step."""


def tell(progress: Progress, text: str, left: float | None = None) -> None:
    """Say something of the current step, and the seconds it takes yet; unheard where `progress` takes no words.

    Apart from the protocol, so that an object with its three methods is all that a call needs.
    """
    speak = getattr(progress, "tell", None)
    if speak is not None:
        speak(text, left)


class Silent:
    """The progress of a call nobody watches."""

    def start(self, label: str, total: int | None = None, unit: str = "") -> None:
        """Ignore the step."""

    def advance(self, amount: int) -> None:
        """Ignore the amount."""

    def finish(self) -> None:
        """Ignore the end."""


class _Bar:
    """One bar at a time on stderr, gone when its step ends; a step of unknown length counts up."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None

    def start(self, label: str, total: int | None = None, unit: str = "") -> None:
        """Draw a bar for the step. Bytes are shown as sizes, everything else as numbers."""
        from tqdm import tqdm

        self.finish()
        sizes = unit in _SIZES
        self._bar = tqdm(
            desc=label,
            total=total,
            unit="B" if sizes else f" {unit}".rstrip() or "it",
            unit_scale=sizes,
            unit_divisor=1024,
            leave=False,
            file=sys.stderr,
            dynamic_ncols=True,
        )

    def advance(self, amount: int) -> None:
        """Move the bar by `amount` units."""
        if self._bar is not None:
            self._bar.update(amount)

    def tell(self, text: str, left: float | None) -> None:
        """Write it behind the bar, which knows itself how long it still takes."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def finish(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Log:
    """Lines on stderr: of a step that takes long one in `every` seconds, and what is told at once.

    Half a minute is often enough to see that a job lives, and 3,000 lines a day.
    """

    def __init__(self, every: float = 30.0) -> None:
        self._every, self._spoken = every, time.monotonic()
        self._label, self._unit, self._done, self._lines = "", "", 0, 0
        self._total: int | None = None
        self._began = self._spoken

    def start(self, label: str, total: int | None = None, unit: str = "") -> None:
        """Begin a step; short ones are never written of."""
        self.finish()
        self._label, self._unit, self._total, self._done = label, unit, total, 0
        self._began, self._lines = time.monotonic(), 0

    def advance(self, amount: int) -> None:
        """Count, and write where it was quiet for long enough."""
        self._done += amount
        if time.monotonic() - self._spoken >= self._every:
            spent, done, total = time.monotonic() - self._began, self._done, self._total
            left = spent * (total - done) / done if total and done else None
            self._write(f"{write_duration(spent)} so far", left)

    def tell(self, text: str, left: float | None) -> None:
        """Write it."""
        self._write(text, left)

    def finish(self) -> None:
        """Say how long a step took that was written of."""
        if self._lines:
            self._write(f"ended after {write_duration(time.monotonic() - self._began)}", None)
            self._lines = 0

    def _write(self, text: str, left: float | None) -> None:
        done, total = (_write_amount(n, self._unit) for n in (self._done, self._total))
        place = f"{done} of {total}" if self._total else done
        unit = "" if self._unit in _SIZES else f" {self._unit}".rstrip()
        rest = "" if left is None else f", {write_duration(left)} left"
        # In one piece: other processes may write to the same log.
        sys.stderr.write(f"{self._label}: {place}{unit}, {text}{rest}\n")
        sys.stderr.flush()
        self._spoken, self._lines = time.monotonic(), self._lines + 1


_SIZES = ("B", "byte", "bytes")


def _write_amount(amount: int | None, unit: str) -> str:
    return f"{(amount or 0) / 1e6:,.1f} MB" if unit in _SIZES else f"{amount or 0:,}"


def write_duration(seconds: float) -> str:
    """Return seconds as people say them: `48 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.

    >>> write_duration(12_000)
    '3 h 20 min'
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def watch(quiet: bool = False) -> Progress:
    """Return a bar where someone watches, on a terminal or in a notebook, and lines now and then in a log."""
    if quiet:
        return Silent()
    return _Bar() if sys.stderr.isatty() or "ipykernel" in sys.modules else _Log()
