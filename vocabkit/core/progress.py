"""How long library calls report progress: one protocol, and a bar that terminals and notebooks show alike."""

from __future__ import annotations

import sys
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
        sizes = unit in {"B", "byte", "bytes"}
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

    def finish(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def watch(quiet: bool = False) -> Progress:
    """Return a bar where someone watches, on a terminal or in a notebook, and `Silent` in a log."""
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    return _Bar() if watched and not quiet else Silent()
