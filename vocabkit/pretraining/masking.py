"""Which tokens a row hides and asks back: always the same number, so that shapes never change.

A row of `length` places hides the K = round(masking · length) of its places with the smallest hash of (seed,
sample number, place), among those that hold a token of text. Of these a share is replaced by a random id, a
share stays as it is, and the rest becomes the mask token (Devlin et al., 2019: 10 %, 10 %, 80 %). It depends
on the sample's number alone, so it is the same on any number of processes, and a row that comes again in a
later epoch hides other places. Random ids are uniform over all ids that text can yield.

Causal models hide nothing: every place predicts the one after it in the same document.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocabkit.pretraining.budget import predicted_per_row
from vocabkit.pretraining.counter_hash import hash_counters, scale_hashes
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.run_config import DataSettings
from vocabkit.pretraining.special_ids import SpecialIds

__all__ = ["CausalChoice", "Choice", "MaskedChoice", "Objective"]

_PLACE, _KIND, _RANDOM = 11, 12, 13
"""What a hash is for; `order` uses other numbers."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What r rows show and what they ask, K places a row.

    ids      int32[r, length]  what the model reads
    places   int64[r, K]       places in the row whose prediction counts, 0 where the weight is 0
    targets  int64[r, K]       the token to predict there, 0 where the weight is 0
    weights  float32[r, K]     1 or 0
    """

    ids: NDArray[np.int32]
    places: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]


class MaskedChoice:
    """Hides `per_row` places of every row."""

    def __init__(
        self, settings: DataSettings, special: SpecialIds, vocabulary: int, length: int, seed: int
    ) -> None:
        if special.mask is None:
            raise PretrainingError(
                "the vocabulary has no mask token, which a masked model needs",
                "--set model.layout=llama, or fit a vocabulary with <mask>",
            )
        self.per_row = predicted_per_row(settings.masking, length)
        self._settings = settings
        self._mask = special.mask
        self._seed = seed
        self._is_text = _find_text_ids(special, vocabulary)
        self._text_ids = np.flatnonzero(self._is_text).astype(np.int32)
        if not len(self._text_ids):
            raise PretrainingError("the vocabulary has no id that text can yield")
        # Scores hold the place in their low bits: sorting them needs no indices and knows no ties.
        self._place_bits = np.uint64(max(1, (length - 1).bit_length()))

    def count_weights(self, rows: NDArray[np.int32], used: NDArray[np.int32]) -> int:
        """Return Σ weights of what `choose` would return, without choosing."""
        return int(np.minimum(self._find_open(rows, used).sum(axis=1), self.per_row).sum())

    def choose(
        self, rows: NDArray[np.int32], used: NDArray[np.int32], samples: NDArray[np.int64]
    ) -> Choice:
        """Hide places of rows int32[r, length], of which `used` int32[r] are not padding."""
        length = rows.shape[1]
        scores = hash_counters(self._seed, _PLACE, samples[:, None], np.arange(length)[None, :])
        bits, top = self._place_bits, np.uint64(63)
        scores = (scores >> (bits + np.uint64(1)) << bits) | np.arange(length, dtype=np.uint64)
        scores |= (~self._find_open(rows, used)).astype(np.uint64) << top
        smallest = np.partition(scores, self.per_row - 1, axis=1)[:, : self.per_row]
        # Places ascend, those that count first: neighbouring reads, and the same bytes whatever the sort.
        in_row = (np.uint64(1) << top) | ((np.uint64(1) << bits) - np.uint64(1))
        smallest = np.sort(smallest & in_row)
        counts = smallest >> top == 0
        places = np.where(counts, smallest, 0).astype(np.int64)
        targets = np.where(counts, np.take_along_axis(rows, places, axis=1), 0)
        ids = rows.copy()
        row, column = np.nonzero(counts)
        shown = self._replace(samples[row], places[row, column], targets[row, column])
        ids[row, places[row, column]] = shown
        return Choice(ids, places, targets.astype(np.int64), counts.astype(np.float32))

    def _find_open(self, rows: NDArray[np.int32], used: NDArray[np.int32]) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = np.arange(rows.shape[1])[None, :] < used[:, None]
        return inside & self._is_text[rows]

    def _replace(
        self, samples: NDArray[np.int64], places: NDArray[np.int64], targets: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        words = hash_counters(self._seed, _KIND, samples, places)
        kinds = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        keep = kinds < self._settings.keep
        random = ~keep & (kinds < self._settings.keep + self._settings.replace_random)
        shown = np.full(len(targets), self._mask, dtype=np.int32)
        shown[keep] = targets[keep]
        words = hash_counters(self._seed, _RANDOM, samples[random], places[random])
        shown[random] = self._text_ids[scale_hashes(words, len(self._text_ids))]
        return shown


class CausalChoice:
    """Asks every place for the next token of its document; K is the row's length."""

    def __init__(self, special: SpecialIds, length: int) -> None:
        self.per_row = length
        self._begin = special.begin

    def count_weights(self, rows: NDArray[np.int32], used: NDArray[np.int32]) -> int:
        """Return Σ weights of what `choose` would return, without choosing."""
        return int(self._find_counting(rows, used).sum())

    def choose(
        self, rows: NDArray[np.int32], used: NDArray[np.int32], samples: NDArray[np.int64]
    ) -> Choice:
        """Ask the places of rows int32[r, length], of which `used` int32[r] are not padding."""
        counts = self._find_counting(rows, used)
        following = np.roll(rows, -1, axis=1)
        return Choice(
            rows,
            np.where(counts, np.arange(rows.shape[1])[None, :], 0),
            np.where(counts, following, 0).astype(np.int64),
            counts.astype(np.float32),
        )

    def _find_counting(self, rows: NDArray[np.int32], used: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Mark the places followed by another of the same document: the next is used and begins none."""
        counts = np.zeros(rows.shape, dtype=np.bool_)
        inside = np.arange(1, rows.shape[1])[None, :] < used[:, None]
        counts[:, :-1] = inside & (rows[:, 1:] != self._begin)
        return counts


Objective = MaskedChoice | CausalChoice


def _find_text_ids(special: SpecialIds, vocabulary: int) -> NDArray[np.bool_]:
    """Mark the ids that text yields; the unknown token is none: to predict it teaches nothing."""
    is_text = np.ones(vocabulary, dtype=np.bool_)
    named = (special.begin, special.end, special.pad, special.mask, special.unknown)
    known = [id for id in (*named, *special.reserved) if id is not None and id < vocabulary]
    is_text[known] = False
    return is_text
