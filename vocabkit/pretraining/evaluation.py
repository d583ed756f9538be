"""Held-out loss of each language, and bits per byte for causal models, while a run goes on.

Rows and masks are fixed: the same in every evaluation, every run over the same shards and any number of ranks.
Bits per byte compares causal models with different vocabularies; the loss of a masked model compares runs with
one vocabulary only, since a larger vocabulary asks harder questions about fewer tokens. Rows are packed to one
length in tokens, so a model with longer tokens reads more text before each prediction, which its figure shows.
Scoring fixed windows of raw text, or masked models across vocabularies, is not done here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn

from vocabkit.core.languages import load_panel
from vocabkit.pretraining.batch import Batch
from vocabkit.pretraining.batches import assemble, make_objective, read_samples
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import DataSettings
from vocabkit.pretraining.special_ids import SpecialIds

__all__ = ["Evaluation", "LanguageScore", "evaluate"]

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
SEED = 1_234_567
"""Of the masks of every evaluation; a run's own seed would make two runs answer different questions."""
MASKED, CAUSAL = "masked", "causal"
_COMPARABLE = {
    MASKED: "loss: between runs with the same vocabulary and masking only",
    CAUSAL: "bits_per_byte: across vocabularies, on the same held-out text",
}
_AGGREGATION = "languages: over the tokens and bytes of their rows; all else: mean over languages"
# Rows of the table of sums, one column a language; float64 holds every count exactly.
_ROWS, _BYTES, _PREDICTED, _NATS, _TEXT_NATS = range(5)
_BLANK = -1


@dataclass(frozen=True, slots=True)
class LanguageScore:
    """What held-out rows of one language cost.

    `loss` is nats per predicted token over all predictions (as in training); `bits_per_byte` is, for causal
    models, nats of tokens of text (not of the end of a document) ÷ (ln 2 · bytes of original text in the
    same rows). Both are None where nothing was predicted; `bits_per_byte` for masked models too.
    """

    language: str
    tail: bool
    rows: int
    bytes: int
    predicted: int
    loss: float | None
    bits_per_byte: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of every language of a corpus, in its order.

    Means over languages count each language once, whatever its size, and leave out those without held-out rows;
    None where none is left.
    """

    objective: str
    languages: tuple[LanguageScore, ...]

    @property
    def loss(self) -> float | None:
        """Mean over languages of nats per predicted token; not comparable across vocabularies."""
        return _mean(score.loss for score in self.languages)

    @property
    def bits_per_byte(self) -> float | None:
        """Mean over languages of bits per byte."""
        return _mean(score.bits_per_byte for score in self.languages)

    def to_json(self) -> dict[str, object]:
        """Plain data for the log, with how each figure was aggregated."""
        tail = [score for score in self.languages if score.tail]
        return {
            "objective": self.objective,
            "aggregation": _AGGREGATION,
            "comparable": _COMPARABLE[self.objective],
            "loss": self.loss,
            "bits_per_byte": self.bits_per_byte,
            "tail_loss": _mean(score.loss for score in tail),
            "tail_bits_per_byte": _mean(score.bits_per_byte for score in tail),
            "languages": {score.language: asdict(score) for score in self.languages},
        }

    def rows(self) -> list[dict[str, object]]:
        """One row a language for a table, then the mean over languages."""
        listed: list[dict[str, object]] = [asdict(score) for score in self.languages]
        mean = {"language": "mean over languages", "loss": self.loss}
        return [*listed, {**mean, "bits_per_byte": self.bits_per_byte}]


@torch.no_grad()
def evaluate(
    model: nn.Module,
    corpus: PreparedCorpus,
    *,
    causal: bool,
    rows: int,
    micro_rows: int,
    device: torch.device | str,
    data: DataSettings,
    seed: int = SEED,
    head_rows: int | None = None,
    fused: bool = True,
    should_stop: Callable[[], bool] | None = None,
) -> Evaluation | None:
    """Score up to `rows` held-out rows of every language, evenly spread over those it has.

    `model` is called as in training, on batches of `micro_rows` rows, in the precision that the caller has set.
    Of several processes each takes every world-th batch; all make the same number of calls, and the scores are
    those of all. `should_stop` is asked before each batch and must answer the same on every rank; once it
    answers yes, None is returned.
    """
    objective = make_objective(corpus, data, seed, causal=causal)
    places = _list_rows(corpus, rows)
    documents = micro_rows * _count_documents(corpus)
    open_world = dist.is_available() and dist.is_initialized()
    rank, world = (dist.get_rank(), dist.get_world_size()) if open_world else (0, 1)
    sums = np.zeros((5, len(corpus.languages)))
    for number in range(rank, -(-len(places) // (micro_rows * world)) * world, world):
        if should_stop is not None and should_stop():
            return None
        part = places[number * micro_rows : (number + 1) * micro_rows]
        # The last batches are filled up with blank rows, so that no shape changes.
        blank = np.tile([[_BLANK, 0]], (micro_rows - len(part), 1))
        languages, indices = np.concatenate([part, blank]).T
        read, used, sizes = read_samples(corpus, "held-out", languages.astype(np.int32), indices)
        batch = assemble(
            read, used, sizes, np.maximum(languages, 0).astype(np.int32), indices,
            objective=objective, special=corpus.special, documents=documents,
        )  # fmt: skip
        _, nats = model(batch.to(device), head_rows, fused)
        _add_batch(sums, batch, nats, len(part), corpus.special)
    return _score(_sum_ranks(sums, device), corpus.languages, CAUSAL if causal else MASKED)


def _list_rows(corpus: PreparedCorpus, limit: int) -> Int64Array:
    """(language, row) of all rows to score, int64[n, 2].

    Rows of a language are evenly apart: packing closes full rows first, so those are not like the rest.
    """
    found = [np.zeros((0, 2), np.int64)]
    for language, code in enumerate(corpus.languages):
        have = corpus.split(code, "held-out").rows
        count = min(limit, have)
        picked = np.arange(count, dtype=np.int64) * have // max(count, 1)
        found.append(np.stack([np.full(count, language, np.int64), picked], axis=1))
    return np.concatenate(found)


def _count_documents(corpus: PreparedCorpus) -> int:
    """Places for documents in a row: twice what the language with the shortest ones has, and its padding."""
    splits = [corpus.split(code, "held-out") for code in corpus.languages]
    return max((2 * split.documents // split.rows for split in splits if split.rows), default=0) + 2


def _add_batch(
    sums: Float64Array, batch: Batch, nats: Tensor, rows: int, special: SpecialIds
) -> None:
    """Add a batch's nats to the sums of its languages; `rows` of its rows are not blank."""
    cost = nats.detach().to("cpu", torch.float64).numpy()
    counts = batch.weights.numpy() > 0
    # The unknown token is reserved, yet stands for text.
    outside = [index for index in special.reserved if index != special.unknown]
    text = counts & ~np.isin(batch.targets.numpy(), outside)
    languages, of_row = batch.languages.numpy(), batch.row_languages.numpy()[:rows]
    for line, chosen, values in (
        (_ROWS, of_row, None),
        (_BYTES, of_row, batch.row_bytes.numpy()[:rows]),
        (_PREDICTED, languages[counts], None),
        (_NATS, languages[counts], cost[counts]),
        (_TEXT_NATS, languages[text], cost[text]),
    ):
        sums[line] += np.bincount(chosen, values, sums.shape[1])


def _sum_ranks(sums: Float64Array, device: torch.device | str) -> Float64Array:
    """The sums of all ranks, on every rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return sums
    # NCCL adds what is on its GPU, gloo what is in memory.
    where = device if dist.get_backend() == "nccl" else "cpu"
    shared = torch.from_numpy(sums).to(where)
    dist.all_reduce(shared)
    return shared.cpu().numpy()


def _score(sums: Float64Array, languages: tuple[str, ...], objective: str) -> Evaluation:
    tail = set(load_panel("panels/panel-40").tail)
    scores = []
    for place, code in enumerate(languages):
        rows, size, predicted, nats, text = sums[:, place].tolist()
        per_byte = text / (math.log(2) * size) if objective == CAUSAL and size else None
        per_token = nats / predicted if predicted else None
        scores.append(
            LanguageScore(
                code, code in tail, int(rows), int(size), int(predicted), per_token, per_byte
            )
        )
    return Evaluation(objective, tuple(scores))


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None
