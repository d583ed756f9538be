"""What a run has drawn of each language, counted from the order of samples itself, not along the way.

The order is a pure function of the sample's number, so the count is the same on any number of ranks and
after any number of stops, and costs nothing in a step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vocabkit.pretraining.order import Order
from vocabkit.pretraining.prepared import PreparedCorpus

__all__ = ["Ledger"]

_BLOCK = 1 << 16


class Ledger:
    """Rows, tokens (special ones included, padding not) and bytes of original text drawn, a language each."""

    def __init__(self, corpus: PreparedCorpus, order: Order) -> None:
        self._corpus, self._order = corpus, order
        self._samples = 0
        self._drawn = np.zeros((3, len(corpus.languages)), np.int64)

    def load(
        self,
        samples: int,
        rows: Mapping[str, int],
        tokens: Mapping[str, int],
        size: Mapping[str, int],
    ) -> None:
        """Go on from what a checkpoint says."""
        self._samples = samples
        for line, counts in enumerate((rows, tokens, size)):
            self._drawn[line] = [counts[code] for code in self._corpus.languages]

    def count_until(self, samples: int) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Rows, tokens and bytes of the samples before number `samples`; no fewer than asked before."""
        for start in range(self._samples, samples, _BLOCK):
            self._add(np.arange(start, min(start + _BLOCK, samples), dtype=np.int64))
        self._samples = samples
        codes = self._corpus.languages
        rows, tokens, size = (dict(zip(codes, line, strict=True)) for line in self._drawn.tolist())
        return rows, tokens, size

    def _add(self, samples: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        languages, indices, _ = self._order.locate(samples)
        for number in np.unique(languages).tolist():
            wanted = np.sort(indices[languages == number])
            code = self._corpus.languages[number]
            self._drawn[0, number] += len(wanted)
            self._drawn[1, number] += self._corpus.row_used(code, "train", wanted).sum(
                dtype=np.int64
            )
            self._drawn[2, number] += self._corpus.row_bytes(code, "train", wanted).sum(
                dtype=np.int64
            )
