"""How long library calls report progress: one protocol, no dependency on any display."""

from __future__ import annotations

from typing import Protocol


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
