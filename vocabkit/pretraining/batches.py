"""The batch of one step of one rank: rows read, places chosen, documents found, all of fixed shape.

Sample p of a step's `batch_rows` goes to rank p mod world, whatever the world, so that every world sees the
same global batch. Where it does not divide, the last micro-batches are filled up with blank rows: padding
alone, which asks nothing. It computes on the CPU and copies nothing to a device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vocabkit.pretraining.batch import Batch
from vocabkit.pretraining.counter_hash import hash_counters
from vocabkit.pretraining.masking import CausalChoice, MaskedChoice, Objective
from vocabkit.pretraining.order import Order
from vocabkit.pretraining.prepared import PreparedCorpus, SplitName
from vocabkit.pretraining.run_config import DataSettings, TrainingSettings
from vocabkit.pretraining.special_ids import SpecialIds

__all__ = ["BatchMaker", "assemble", "make_objective", "read_samples"]

_ORDER_SEED, _MASK_SEED = 21, 22


def make_objective(
    corpus: PreparedCorpus, settings: DataSettings, seed: int, *, causal: bool
) -> Objective:
    """Return what rows of a corpus are asked: the next token each, or masked ones."""
    if causal:
        return CausalChoice(corpus.special, corpus.length)
    return MaskedChoice(settings, corpus.special, corpus.vocabulary, corpus.length, seed)


def assemble(
    rows: NDArray[np.int32],
    used: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    languages: NDArray[np.int32],
    samples: NDArray[np.int64],
    *,
    objective: Objective,
    special: SpecialIds,
    first: int = 0,
    stop: int = 0,
    documents: int | None = None,
) -> Batch:
    """Return a batch of r rows int32[r, length]; the other arrays have one value a row.

    `used` is how many places are not padding, `samples` number the rows for masking. `boundaries` has room
    for `documents` documents (4 a row unless said), doubled as often as the rows need: the true worst case,
    one for every two tokens, would have an attention kernel launch hundreds of empty documents a row.
    """
    count, length = rows.shape
    choice = objective.choose(rows, used, samples)
    starts = _find_starts(rows, used, special.begin)
    flat = np.flatnonzero(starts)
    numbers = np.cumsum(starts.ravel(), dtype=np.int32) - np.int32(1)
    positions = np.arange(count * length, dtype=np.int32) - flat.astype(np.int32)[numbers]
    room = documents or 4 * count
    while room < len(flat):
        room *= 2
    boundaries = np.full(room + 1, count * length, dtype=np.int32)
    boundaries[: len(flat)] = flat
    offsets = np.arange(count, dtype=np.int64)[:, None] * length
    chosen = np.where(choice.weights > 0.0, choice.places + offsets, 0)
    return Batch(
        ids=torch.from_numpy(np.array(choice.ids, dtype=np.int32).ravel()),
        documents=torch.from_numpy(numbers),
        positions=torch.from_numpy(positions),
        boundaries=torch.from_numpy(boundaries),
        chosen=torch.from_numpy(chosen.ravel()),
        targets=torch.from_numpy(choice.targets.ravel()),
        weights=torch.from_numpy(choice.weights.ravel()),
        languages=torch.from_numpy(np.repeat(languages.astype(np.int32), objective.per_row)),
        row_languages=torch.from_numpy(languages.astype(np.int32)),
        row_bytes=torch.from_numpy(row_bytes.astype(np.int32)),
        length=length,
        tokens=int(used.sum()),
        first=first,
        stop=stop,
    )


def read_samples(
    corpus: PreparedCorpus,
    split: SplitName,
    languages: NDArray[np.int32],
    indices: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return rows int32[n, length], used int32[n] and bytes int32[n] of rows of mixed languages.

    A language of −1 is a blank row.
    """
    rows = np.full((len(languages), corpus.length), corpus.special.pad, dtype=np.int32)
    used = np.zeros(len(languages), dtype=np.int32)
    sizes = np.zeros(len(languages), dtype=np.int32)
    for number in np.unique(languages[languages >= 0]):
        inside = np.flatnonzero(languages == number)
        # Ascending, so that the file is read from front to back.
        inside = inside[np.argsort(indices[inside], kind="stable")]
        language, wanted = corpus.languages[number], indices[inside]
        rows[inside] = corpus.read_rows(language, split, wanted)
        used[inside] = corpus.row_used(language, split, wanted)
        sizes[inside] = corpus.row_bytes(language, split, wanted)
    return rows, used, sizes


class BatchMaker:
    """Makes any batch of a run, in any order: nothing is carried from one to the next.

    `shares` of samples are one a language of the corpus. `micro_rows` is lowered to what a rank gets of a
    step. `micro_batches` make up a rank's part of a step.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        shares: NDArray[np.float64],
        data: DataSettings,
        training: TrainingSettings,
        *,
        causal: bool,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.corpus, self.rank, self.world = corpus, rank, world
        self.batch_rows = training.batch_rows
        rank_rows = -(-self.batch_rows // world)
        self.micro_rows = min(training.micro_rows, rank_rows)
        self.micro_batches = -(-rank_rows // self.micro_rows)
        order_seed, mask_seed = (
            int(hash_counters(training.seed, purpose)[0]) for purpose in (_ORDER_SEED, _MASK_SEED)
        )
        splits = [corpus.split(language, "train") for language in corpus.languages]
        self.order = Order(order_seed, shares, [split.rows for split in splits])
        self.objective = make_objective(corpus, data, mask_seed, causal=causal)
        # Half as many documents again as the fullest language has, and one of padding, in every row.
        fullest = max(split.documents / split.rows for split in splits if split.rows)
        self._documents = int(self.micro_rows * (1.5 * fullest + 2.0))

    def samples(self, step: int, micro: int) -> NDArray[np.int64]:
        """Return the sample numbers of this rank's rows, −1 where a row is blank."""
        places = np.arange(micro * self.micro_rows, (micro + 1) * self.micro_rows, dtype=np.int64)
        places = places * self.world + self.rank
        return np.where(places < self.batch_rows, step * self.batch_rows + places, -1)

    def make(self, step: int, micro: int) -> Batch:
        """Return micro-batch `micro` of this rank's part of a step."""
        samples = self.samples(step, micro)
        languages, indices = self._locate(samples)
        rows, used, sizes = read_samples(self.corpus, "train", languages, indices)
        return assemble(
            rows,
            used,
            sizes,
            np.maximum(languages, 0),
            np.maximum(samples, 0),
            objective=self.objective,
            special=self.corpus.special,
            first=step * self.batch_rows,
            stop=(step + 1) * self.batch_rows,
            documents=self._documents,
        )

    def global_weight(self, step: int, made: Sequence[Batch] | None = None) -> int:
        """Return Σ weights of a step over all ranks, by which each rank divides its loss.

        `made`, this rank's batches of the step, spare a world of one the work. In larger ones every rank reads
        the rows of all, 10 µs each where a step has 2,048 of 40 languages, and waits for no other rank.
        """
        if made is not None and self.world == 1:
            return int(sum(float(batch.weights.sum()) for batch in made))
        samples = np.arange(step * self.batch_rows, (step + 1) * self.batch_rows, dtype=np.int64)
        languages, indices = self._locate(samples)
        rows, used, _ = read_samples(self.corpus, "train", languages, indices)
        return self.objective.count_weights(rows, used)

    def _locate(self, samples: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        languages = np.full(len(samples), -1, dtype=np.int32)
        indices = np.zeros(len(samples), dtype=np.int64)
        real = samples >= 0
        if real.any():
            languages[real], indices[real], _ = self.order.locate(samples[real])
        return languages, indices


def _find_starts(rows: NDArray[np.int32], used: NDArray[np.int32], begin: int) -> NDArray[np.bool_]:
    """Mark where documents start: at `begin`, at a row's first place, and where its padding starts."""
    places = np.arange(rows.shape[1])[None, :]
    starts: NDArray[np.bool_] = (rows == begin) & (places < used[:, None])
    starts |= places == used[:, None]
    starts[:, 0] = True
    return starts
