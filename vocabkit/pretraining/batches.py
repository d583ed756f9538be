"""The batch of one step of one rank: rows read, places chosen, documents found, all of fixed shape.

Sample p of a step's `batch_rows` goes to rank p mod world, whatever the world, so that every world sees the
same global batch. Where it does not divide, the last micro-batches are filled up with blank rows: padding
alone, which asks nothing. It computes on the CPU and copies nothing to a device.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocabkit.core.errors import PretrainingError
from vocabkit.pretraining.order import Order, hash_counters, scale_hashes
from vocabkit.pretraining.plan import predicted_per_row
from vocabkit.pretraining.prepared import PreparedCorpus, SplitName
from vocabkit.pretraining.run_config import DataSettings, TrainingSettings
from vocabkit.vocabulary.roles import SpecialIds

# --- Batch -----------------------------------------------------------------------------------------
# What one step of one rank computes on: rows laid end to end, and the positions to predict.
#
# Every shape depends on the settings alone, never on the text, so that nothing is compiled twice.


@dataclass(frozen=True, slots=True)
class Batch:
    """`rows` rows of `length` tokens as one stream of T = rows · length.

    ids            int32[T]   input, masked already where the objective masks
    documents      int32[T]   document's number in the batch, from 0; a row's padding is one of its own
    positions      int32[T]   place within the document, from 0
    boundaries     int32[B]   documents' starts, then T (cumulative lengths) up to a fixed B
    chosen         int64[K]   places in the stream whose prediction is asked for; 0 where `weights` is 0
    targets        int64[K]   the token to predict there
    weights        float32[K] 1 where it counts, 0 where a row had too few places
    languages      int32[K]   index of the language of each, in the order of the prepared corpus
    row_languages  int32[rows]
    row_bytes      int32[rows]  bytes of original text in each row
    tokens         tokens that are not padding
    first, stop    global sample numbers this step covers, over all ranks
    """

    ids: Tensor
    documents: Tensor
    positions: Tensor
    boundaries: Tensor
    chosen: Tensor
    targets: Tensor
    weights: Tensor
    languages: Tensor
    row_languages: Tensor
    row_bytes: Tensor
    length: int
    tokens: int
    first: int
    stop: int

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Batch:
        """The same batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin(self) -> Batch:
        """The same batch in page-locked memory, from which copies to a GPU run beside its work."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors: dict[str, Any] = {
            field.name: change(getattr(self, field.name))
            for field in fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)


# --- Masking ---------------------------------------------------------------------------------------
# Which tokens a row hides and asks back: always the same number, so that shapes never change.
#
# A row of `length` places hides the K = round(masking · length) of its places with the smallest hash of
# (seed,
# sample number, place), among those that hold a token of text. Of these a share is replaced by a random id, a
# share stays as it is, and the rest becomes the mask token (Devlin et al., 2019: 10 %, 10 %, 80 %). It
# depends
# on the sample's number alone, so it is the same on any number of processes, and a row that comes again in a
# later epoch hides other places. Random ids are uniform over all ids that text can yield.
#
# Causal models hide nothing: every place predicts the one after it in the same document.


_PLACE, _KIND, _RANDOM = 11, 12, 13
"""What a hash is for; `order` uses other numbers."""


@dataclass(frozen=True, slots=True)
class _Choice:
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


class _MaskedChoice:
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
    ) -> _Choice:
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
        return _Choice(ids, places, targets.astype(np.int64), counts.astype(np.float32))

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


class _CausalChoice:
    """Asks every place for the next token of its document; K is the row's length."""

    def __init__(self, special: SpecialIds, length: int) -> None:
        self.per_row = length
        self._begin = special.begin

    def count_weights(self, rows: NDArray[np.int32], used: NDArray[np.int32]) -> int:
        """Return Σ weights of what `choose` would return, without choosing."""
        return int(self._find_counting(rows, used).sum())

    def choose(
        self, rows: NDArray[np.int32], used: NDArray[np.int32], samples: NDArray[np.int64]
    ) -> _Choice:
        """Ask the places of rows int32[r, length], of which `used` int32[r] are not padding."""
        counts = self._find_counting(rows, used)
        following = np.roll(rows, -1, axis=1)
        return _Choice(
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


Objective = _MaskedChoice | _CausalChoice


def _find_text_ids(special: SpecialIds, vocabulary: int) -> NDArray[np.bool_]:
    """Mark the ids that text yields; the unknown token is none: to predict it teaches nothing."""
    is_text = np.ones(vocabulary, dtype=np.bool_)
    named = (special.begin, special.end, special.pad, special.mask, special.unknown)
    known = [id for id in (*named, *special.reserved) if id is not None and id < vocabulary]
    is_text[known] = False
    return is_text


# --- Batches ---------------------------------------------------------------------------------------


_ORDER_SEED, _MASK_SEED = 21, 22


def make_objective(
    corpus: PreparedCorpus, settings: DataSettings, seed: int, *, causal: bool
) -> Objective:
    """Return what rows of a corpus are asked: the next token each, or masked ones."""
    if causal:
        return _CausalChoice(corpus.special, corpus.length)
    return _MaskedChoice(settings, corpus.special, corpus.vocabulary, corpus.length, seed)


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


# --- Prefetch --------------------------------------------------------------------------------------
# Batches made ahead of the step that needs them, by one thread, and the time the loop waited for them.
#
# One thread is enough: a row is copied and hashed, not tokenised. It makes exactly what `BatchMaker` makes,
# in
# order; what is dropped when a run stops is made again when it resumes.


_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """A rank's part of one step: its micro-batches, and Σ weights of the step over all ranks."""

    number: int
    batches: tuple[Batch, ...]
    weight: int


class Prefetcher:
    """Iterates over the steps `start` … `stop` − 1, their batches on `device`, `depth` steps ahead.

    `waited` is the seconds so far in which data was waited for: by the consumer here, and where there is a GPU,
    only when that had no work left from steps before. An error while making a batch is raised where its step is
    asked for. Close it, or use it in a `with` block; a step asked for afterwards is refused.
    """

    def __init__(
        self,
        maker: BatchMaker,
        start: int,
        stop: int,
        device: torch.device | str = "cpu",
        depth: int = 2,
    ) -> None:
        self.waited = 0.0
        self._maker, self._start, self._stop = maker, start, stop
        self._device = torch.device(device)
        self._made: queue.Queue[Step | BaseException] = queue.Queue(max(1, depth))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Step]:
        for _ in range(self._start, self._stop):
            yield self._take()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread and wait for it; more than once does no harm."""
        self._closing.set()
        self._thread.join()

    def _take(self) -> Step:
        began = time.perf_counter()
        found = self._wait()
        # The loop runs ahead of a GPU, which starves only when nothing is queued for it any more.
        if self._device.type != "cuda" or torch.cuda.current_stream(self._device).query():
            self.waited += time.perf_counter() - began
        if isinstance(found, BaseException):
            self.close()
            raise found
        # From page-locked memory the copy is queued behind the GPU's work, and nothing waits for it.
        moved = tuple(batch.to(self._device, non_blocking=True) for batch in found.batches)
        return Step(found.number, moved, found.weight)

    def _wait(self) -> Step | BaseException:
        while not self._closing.is_set():
            try:
                return self._made.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        raise RuntimeError("the prefetcher is closed")

    def _work(self) -> None:
        try:
            if self._device.type == "cuda" and self._device.index is not None:
                # A thread's device is the first, where page-locked memory would open a context a rank.
                torch.cuda.set_device(self._device)
            for number in range(self._start, self._stop):
                if self._closing.is_set() or not self._put(self._make(number)):
                    return
        # Whatever went wrong here, the loop must hear of it: it would wait for ever.
        except BaseException as error:
            self._put(error)

    def _make(self, number: int) -> Step:
        maker = self._maker
        made = tuple(maker.make(number, micro) for micro in range(maker.micro_batches))
        if self._device.type == "cuda":
            made = tuple(batch.pin() for batch in made)
        return Step(number, made, maker.global_weight(number, made))

    def _put(self, item: Step | BaseException) -> bool:
        while not self._closing.is_set():
            try:
                self._made.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
