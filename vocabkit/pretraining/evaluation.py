"""What a run has learnt and seen: held-out loss of each language, and the pieces that it never met.

Rows and masks are fixed: the same in every evaluation, every run over the same shards and any number of ranks.
Bits per byte compares causal models with different vocabularies, where all held-out rows are scored; a byte
that a vocabulary has no token for costs eight bits, or the one that knows least would be best. The loss of a
masked model compares runs with one vocabulary only, since a larger vocabulary asks harder questions about fewer
tokens. Rows are packed to one length in tokens, so a model with longer tokens reads more text before each
prediction, which its figure shows.
Scoring fixed windows of raw text, or masked models across vocabularies, is not done here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor, nn

from vocabkit.core.arrays import BoolArray, Float64Array, Int64Array
from vocabkit.core.errors import PretrainingError
from vocabkit.core.folders import write_json, write_text
from vocabkit.core.languages import load_panel
from vocabkit.core.text import COMMON, piece_script, show_token
from vocabkit.corpus.word_counts import connect, read_columns
from vocabkit.pretraining.batches import Batch, assemble, make_objective, read_samples
from vocabkit.pretraining.distributed import world_is_open
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import DataSettings
from vocabkit.vocabulary.roles import SpecialIds
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

# --- Held-out loss ---------------------------------------------------------------------------------

_SEED = 1_234_567
"""Of the masks of every evaluation; a run's own seed would make two runs answer different questions."""
MASKED, CAUSAL = "masked", "causal"
_UNKNOWN_BITS = 8
"""What a byte costs that no token stands for: what any model can do that spells it out."""
_AGGREGATION = "languages: over the tokens and bytes of their rows; all else: mean over languages"
# Rows of the table of sums, one column a language; float64 holds every count exactly.
_ROWS, _BYTES, _PREDICTED, _NATS, _TEXT_NATS = range(5)


@dataclass(frozen=True, slots=True)
class LanguageScore:
    """What held-out rows of one language cost.

    `rows` of `of_rows` were scored, which hold `bytes` of original text; `lost` of these have no token but the
    unknown one (in proportion where not all rows were scored). `loss` is nats per predicted token over all
    predictions (as in training); `bits_per_byte` is, for causal models, bits of tokens of text (not of the end
    of a document) and eight for every lost byte, over `bytes`. Both are None where nothing was predicted, and
    where a model's figures are not finite; `bits_per_byte` for masked models too.
    """

    language: str
    tail: bool
    rows: int
    of_rows: int
    bytes: int
    lost: int
    predicted: int
    loss: float | None
    bits_per_byte: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of every language of a corpus, in its order.

    Means over languages count each language once, whatever its size, and leave out those without held-out rows;
    None where none is left. `text` names the text that was held out: equal for equal text, however it is cut.
    """

    objective: str
    languages: tuple[LanguageScore, ...]
    text: str

    @property
    def comparable(self) -> str:
        """With what a run's figures may be compared, in words."""
        if self.objective == MASKED:
            return "loss: between runs with the same vocabulary and masking only"
        scored, there = (sum(getattr(score, name) for score in self.languages) for name in ("rows", "of_rows"))
        if scored == there:
            return f"bits_per_byte: across vocabularies, on the same text ({self.text[:12]}, all of it scored)"
        most = max(score.of_rows for score in self.languages)
        return (
            f"bits_per_byte: between runs with the same vocabulary only: {scored:,} of {there:,} held-out rows "
            f"were scored, and another's hold other text; --set log.evaluate_rows={most} scores all"
        )

    @property
    def loss(self) -> float | None:
        """Mean over languages of nats per predicted token; not comparable across vocabularies."""
        return _mean(score.loss for score in self.languages)

    @property
    def bits_per_byte(self) -> float | None:
        """Mean over languages of bits per byte."""
        return _mean(score.bits_per_byte for score in self.languages)

    def to_json(self) -> dict[str, object]:
        """Return plain data for the log, with how each metric was aggregated."""
        tail = [score for score in self.languages if score.tail]
        return {
            "objective": self.objective,
            "aggregation": _AGGREGATION,
            "comparable": self.comparable,
            "text": self.text if all(score.rows == score.of_rows for score in self.languages) else None,
            "bytes": sum(score.bytes for score in self.languages),
            "lost": sum(score.lost for score in self.languages),
            "loss": self.loss,
            "bits_per_byte": self.bits_per_byte,
            "tail_loss": _mean(score.loss for score in tail),
            "tail_bits_per_byte": _mean(score.bits_per_byte for score in tail),
            "languages": {score.language: asdict(score) for score in self.languages},
        }


@torch.no_grad()
def evaluate(
    model: nn.Module, corpus: PreparedCorpus, *, causal: bool, rows: int, micro_rows: int,
    device: torch.device | str, data: DataSettings, seed: int = _SEED, head_rows: int | None = None,
    fused: bool = True, before_batch: Callable[[], None] | None = None,
) -> Evaluation:  # fmt: skip
    """Score up to `rows` held-out rows of every language, evenly spread over those it has.

    `model` is called as in training, on batches of `micro_rows` rows, in the precision that the caller has set.
    Of several processes each takes every world-th batch; all make the same number of calls, and the scores are
    those of all. `before_batch` is called on every rank alike, and may raise to end it.
    """
    objective = make_objective(corpus, data, seed, causal=causal)
    places = _list_rows(corpus, rows)
    # Places for documents in a row: twice what the language with the shortest ones has, and its padding.
    splits = [corpus.split(code, "held-out") for code in corpus.languages]
    fullest = max((2 * split.documents // split.rows for split in splits if split.rows), default=0)
    documents = micro_rows * (fullest + 2)
    rank, world = (dist.get_rank(), dist.get_world_size()) if world_is_open() else (0, 1)
    sums = np.zeros((5, len(corpus.languages)))
    for number in range(rank, -(-len(places) // (micro_rows * world)) * world, world):
        if before_batch is not None:
            before_batch()
        part = places[number * micro_rows : (number + 1) * micro_rows]
        # The last batches are filled up with blank rows, so that no shape changes.
        blank = np.tile([[-1, 0]], (micro_rows - len(part), 1))
        languages, indices = np.concatenate([part, blank]).T
        read, used, sizes = read_samples(corpus, "held-out", languages.astype(np.int32), indices)
        batch = assemble(
            read, used, sizes, np.maximum(languages, 0).astype(np.int32), indices,
            objective=objective, special=corpus.special, documents=documents,
        )  # fmt: skip
        _, nats = model(batch.to(device), head_rows, fused)
        _add_batch(sums, batch, nats, len(part), corpus.special)
    if world_is_open():
        # NCCL adds what is on its GPU, gloo what is in memory.
        shared = torch.from_numpy(sums).to(device if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(shared)
        sums = shared.cpu().numpy()
    return _score(sums, corpus, CAUSAL if causal else MASKED)


def _list_rows(corpus: PreparedCorpus, limit: int) -> Int64Array:
    """(language, row) of all rows to score, int64[n, 2].

    Rows of a language are evenly apart: packing closes full rows first, so those are not like the rest.
    """
    found = [np.zeros((0, 2), np.int64)]
    for language, code in enumerate(corpus.languages):
        have = corpus.split(code, "held-out").rows
        count = min(limit, have)
        picked = np.arange(count, dtype=np.int64) * have // max(count, 1)
        found.append(np.stack([np.full(count, language), picked], axis=1))
    return np.concatenate(found)


def _add_batch(sums: Float64Array, batch: Batch, nats: Tensor, rows: int, special: SpecialIds) -> None:
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


def _score(sums: Float64Array, corpus: PreparedCorpus, objective: str) -> Evaluation:
    tail = set(load_panel("panels/panel-40").tail)
    scores = []
    for place, code in enumerate(corpus.languages):
        rows, size, predicted, nats, text = sums[:, place].tolist()
        held = corpus.split(code, "held-out")
        lost = round(held.lost * size / held.bytes) if held.bytes else 0
        bits = text / math.log(2) + _UNKNOWN_BITS * lost
        sound = math.isfinite(nats)
        per_byte = bits / size if objective == CAUSAL and size and sound else None
        per_token = nats / predicted if predicted and sound else None
        counts = (int(rows), held.rows, int(size), lost, int(predicted))
        scores.append(LanguageScore(code, code in tail, *counts, per_token, per_byte))
    return Evaluation(objective, tuple(scores), corpus.held_out_text)


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


# --- Dead vocabulary -------------------------------------------------------------------------------
# The pieces that a run never saw as input, or never had to predict. One that was never seen keeps the row it
# began with, so a model cannot use it; many of them mean a vocabulary too large for the data, or data without
# the languages it was made for. It is found from what the run drew: a piece seen once counts as alive. Whether
# a piece can be reached from text at all is the audit's.

EXAMPLES = 8
_SCHEMA = "vocabkit.dead-vocabulary/1"


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """How many of a group's pieces were never seen. A share is of `pieces`, None where there are none.

    `scope` is `all`, `block` or `script`; `examples` are pieces never seen as input, by id, rendered for eyes.
    """

    scope: str
    name: str
    pieces: int
    never_input: int
    never_input_share: float | None
    never_target: int
    never_target_share: float | None
    examples: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DeadVocabulary:
    """What was never seen, by piece and in groups: all, blocks in the order of ids, scripts by size.

    `pieces` has a row for every id that text is meant to yield, so for no special, control, unused or
    placeholder one: `id`, `token` (bytes), `block`, `script`, `seen_input` and `seen_target`.
    """

    groups: tuple[DeadGroup, ...]
    pieces: pd.DataFrame

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a group for a table."""
        return [asdict(group) for group in self.groups]

    def save(self, folder: Path) -> None:
        """Write `dead-vocabulary.json` (the groups) and `dead-vocabulary.tsv` (every piece never seen)."""
        write_json(folder / "dead-vocabulary.json", {"schema": _SCHEMA, "groups": self.to_rows()})
        lines = ["id\tpiece\tblock\tscript\tseen_input\tseen_target\n"]
        never = self.pieces[~(self.pieces["seen_input"] & self.pieces["seen_target"])]
        for index, token, block, script, *seen in never.itertuples(index=False):
            cells = (index, show_token(token, isolate=False), block, script, *map(int, seen))
            lines.append("\t".join(map(str, cells)) + "\n")
        write_text(folder / "dead-vocabulary.tsv", "".join(lines))


def find_dead(
    seen_input: BoolArray, seen_target: BoolArray, tokenizer: str | Path, *,
    reserved: Sequence[int] = (), examples: int = EXAMPLES,
) -> DeadVocabulary:  # fmt: skip
    """Group the pieces of a tokenizer by whether a run saw them.

    `seen_input` and `seen_target` are bool[rows], rows at least the tokenizer's size (padding follows it);
    `reserved` are ids beside the special ones that no text yields. Blocks are those of vocabulary.parquet, one
    called `shared` where there is none. A piece is of the script most of its letters are of; `Zyyy` are digits
    and punctuation, `bytes` those that are no whole UTF-8 text. Raises PretrainingError where an array is
    shorter than the vocabulary, TokenizerError for a folder that holds none.
    """
    opened = open_tokenizer(tokenizer)
    for name, seen in (("input", seen_input), ("target", seen_target)):
        if seen.ndim != 1 or len(seen) < opened.size:
            raise PretrainingError(
                f"seen as {name}: {seen.shape} values for the {opened.size:,} ids of {tokenizer}",
                "the run was made with another tokenizer",
            )
    # The unknown id stands for what has no piece.
    text = {Kind.NORMAL, Kind.BYTE, Kind.USER}
    wanted = np.fromiter((kind in text for kind in opened.kinds), np.bool_, opened.size)
    outside = np.asarray(reserved, np.int64)
    wanted[outside[outside < opened.size]] = False
    kept = np.flatnonzero(wanted)
    tokens = [opened.token_bytes(index) or b"" for index in kept.tolist()]
    blocks = _read_blocks(Path(tokenizer), opened.size)
    pieces = pd.DataFrame(
        {
            "id": kept,
            "token": pd.Series(tokens, dtype=object),
            "block": pd.Series(blocks[kept], dtype=object),
            "script": pd.Series([_find_script(token) for token in tokens], dtype=object),
            "seen_input": seen_input[kept],
            "seen_target": seen_target[kept],
        }
    )
    scripts = sorted(pieces.groupby("script"), key=lambda item: (-len(item[1]), item[0]))
    groups = [
        _count("all", "all", pieces, examples),
        *(_count("block", str(name), rows, examples) for name, rows in pieces.groupby("block", sort=False)),
        *(_count("script", name, rows, examples) for name, rows in scripts),
    ]
    return DeadVocabulary(tuple(groups), pieces)


def _count(scope: str, name: str, pieces: pd.DataFrame, examples: int) -> DeadGroup:
    size = len(pieces)
    never = [size - int(pieces[name].sum()) for name in ("seen_input", "seen_target")]
    shares = [count / size if size else None for count in never]
    dead = pieces["token"][~pieces["seen_input"]].to_numpy()
    if len(dead) > examples:
        # Evenly apart: the first ids alone would all be frequent pieces or bytes.
        dead = dead[np.arange(examples) * len(dead) // examples]
    shown = tuple(map(show_token, dead))
    return DeadGroup(scope, name, size, never[0], shares[0], never[1], shares[1], shown)


def _read_blocks(folder: Path, size: int) -> npt.NDArray[np.object_]:
    """The block of every id from vocabulary.parquet; `shared` where there is no such file of this size."""
    blocks = np.full(size, "shared", dtype=object)
    path = folder / "vocabulary.parquet"
    if path.is_file():
        with connect() as database:
            found = read_columns(database, path, {"id": "INTEGER", "block": "VARCHAR"})
        if len(found["id"]) == size:
            blocks[found["id"]] = list(map(str, found["block"]))
    return blocks


def _find_script(token: bytes) -> str:
    """The script of a piece: Zyyy for pieces without letters, `bytes` for part of a character."""
    if token.isascii():  # most pieces of most vocabularies; piece_script looks up every character
        return "Latn" if any(65 <= byte <= 90 or 97 <= byte <= 122 for byte in token) else COMMON
    try:
        return piece_script(token.decode())
    except UnicodeDecodeError:
        return "bytes"
