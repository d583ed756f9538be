"""What ranks agree on after a step, so that all of them stop, or save, after the same one."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from vocabkit.pretraining.distributed import World
from vocabkit.pretraining.signals import StopSignals

__all__ = ["Agreement", "Due"]


@dataclass(frozen=True, slots=True)
class Due:
    """The number of a signal that some rank received, 0 for none, and whether it is time to save."""

    signal: int
    save: bool


class Agreement:
    """A signal to any rank is one to all; the main rank's clock is everyone's."""

    def __init__(self, world: World, signals: StopSignals, minutes: float) -> None:
        self._world, self._signals = world, signals
        self._seconds = 60.0 * minutes
        self._saved = monotonic()

    def reach(self) -> Due:
        """Agree; every rank calls. On the CPU alone: the GPU is not waited for."""
        overdue = self._world.main and monotonic() - self._saved >= self._seconds
        signal, save = self._world.largest(self._signals.received or 0, int(overdue))
        return Due(signal, bool(save))

    def note_saved(self) -> None:
        """The time to the next save starts now."""
        self._saved = monotonic()
