"""Parity-aware merges: each is the most frequent pair of the language that is worst off at the moment.

Worst off is the language with the most tokens per unit (a line of aligned text, a byte, a character) of its
development text. The idea is Foroutan et al.'s (Parity-Aware Byte-Pair Encoding); two flaws of
the published program are mended here: a language without a pair left is passed over where the original ends
the whole training, and pairs are indexed where it scans them all for every merge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.merging import Merge, Merger


class ParityMerger:
    """Merges by turns of the language worst off, of equals the first.

    `units[g]` is the size of group g's development text, above 0. With `window` > 0 a language that had more
    than `share` ÷ (number of languages) of the last `window` merges waits; where all wait, none does.
    """

    def __init__(
        self, merger: Merger, units: Sequence[float], *, window: int = 100, share: float = 2.0
    ) -> None:
        self._merger = merger
        self._units = np.asarray(units, np.float64)
        self._open = np.ones(len(units), np.bool_)
        self._recent: deque[int] = deque(maxlen=window or None)
        self._window = window
        self._most = max(share * window / len(units), 1.0)
        self._turns = np.zeros(len(units), np.int64)
        self.chosen = np.zeros(len(units), np.int64)
        """How many merges each group chose."""

    def costs(self) -> npt.NDArray[np.float64]:
        """Tokens per unit of each group's development text now."""
        return self._merger.tokens / self._units

    def merge(self) -> Iterator[Merge]:
        """Merges until no language has a pair with enough evidence."""
        while self._open.any():
            group = self._worst()
            found = self._merger.merge_best(group)
            if found is None:
                self._open[group] = False
                continue
            self.chosen[group] += 1
            if self._window:
                if len(self._recent) == self._window:
                    self._turns[self._recent[0]] -= 1
                self._recent.append(group)
                self._turns[group] += 1
            yield found

    def _worst(self) -> int:
        free = self._open & (self._turns < self._most)
        if not free.any():
            free = self._open
        return int(np.argmax(np.where(free, self.costs(), -1.0)))

    @property
    def exhausted(self) -> tuple[int, ...]:
        """The groups without a pair left."""
        return tuple(int(group) for group in np.flatnonzero(~self._open))
