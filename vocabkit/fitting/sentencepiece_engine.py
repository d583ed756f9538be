"""SentencePiece's trainers on counted rows: unigram from our seeds, BPE as from text.

Rows go in as `text<TAB>count`: a word-initial row begins with U+2581 and nothing is prefixed or stripped, so
a continuation stays one. Normalising, coverage, bytes and special tokens are not SentencePiece's business
here; it returns ordinary pieces and scores only. What was measured on 0.2.3 and decides the options:

* Without a seeds file the unigram trainer copies each row `count` times in memory.
* Seeds must be on the scale of the row counts: characters are seeded from those.
* `character_coverage = 1` still cuts characters once the 32-bit share taken rounds to 1 (rarer than 6e-8).
  Required characters are taken first, so requiring all but the most frequent one keeps them all.
* The unigram result depends on the number of threads and on the order of rows: both are fixed. BPE's does not.
"""

from __future__ import annotations

import io
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from vocabkit.core.errors import FitError
from vocabkit.fitting.rows import Rows
from vocabkit.fitting.seeds import Seeds
from vocabkit.fitting.substrings import MAX_LENGTH

THREADS = 8
"""Pinned rather than taken from the machine: SentencePiece's unigram pieces depend on it."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Ordinary pieces in the trainer's order, with their scores (log probabilities, or −merge rank)."""

    pieces: tuple[str, ...]
    scores: npt.NDArray[np.float32]


def fit_unigram(
    rows: Rows,
    seeds: Seeds,
    size: int,
    *,
    other_ids: int = 0,
    threads: int = THREADS,
    max_length: int = MAX_LENGTH,
) -> Pieces:
    """Fit exactly `size` unigram pieces, every character of the rows among them.

    `other_ids` is the number of ids the vocabulary has besides, used only to state sizes as the user sets
    them. Raises `FitError` when the size cannot hold the characters or the rows cannot fill it.
    """
    alphabet = _alphabet(rows)
    with tempfile.TemporaryDirectory(prefix="vocabkit-") as folder:
        path = Path(folder) / "seeds.tsv"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            weights = seeds.weight.tolist()
            file.writelines(f"{p}\t{w}\n" for p, w in zip(seeds.pieces, weights, strict=True))
        return _train(
            rows,
            "unigram",
            size,
            alphabet,
            other_ids,
            num_threads=threads,
            max_sentencepiece_length=max_length,
            seed_sentencepieces_file=str(path),
            # Seeds beyond this are cut, and characters with them.
            seed_sentencepiece_size=max(len(seeds) + len(alphabet), 1_000),
        )


def fit_bpe(
    rows: Rows,
    size: int,
    *,
    other_ids: int = 0,
    threads: int = THREADS,
    max_length: int = MAX_LENGTH,
) -> Pieces:
    """Fit exactly `size` BPE pieces: merges in order, then characters. Raises as `fit_unigram`."""
    return _train(
        rows,
        "bpe",
        size,
        _alphabet(rows),
        other_ids,
        num_threads=threads,
        max_sentencepiece_length=max_length,
    )


def _alphabet(rows: Rows) -> list[str]:
    """Return the characters of the rows, the most frequent first."""
    lexicon = rows.lexicon
    occurrences = np.repeat(rows.weight, np.diff(lexicon.offsets))
    counts = np.bincount(lexicon.text[1:], weights=occurrences)[1:]
    return [chr(int(point)) for point in lexicon.alphabet[np.argsort(-counts, kind="stable")]]


def _train(
    rows: Rows,
    model: Literal["unigram", "bpe"],
    size: int,
    alphabet: list[str],
    other_ids: int,
    **options: Any,
) -> Pieces:
    if size < len(alphabet):
        raise FitError(
            f"vocabulary.size = {size + other_ids:_} cannot hold the {len(alphabet):_} covered characters "
            f"and {other_ids:_} special, reserved and byte ids",
            f"--set vocabulary.size={_round_up(2 * len(alphabet) + other_ids):_}, or a lower "
            f"coverage.character",
        )
    lines = sorted(zip(rows.strings(), rows.weight.tolist(), strict=True))
    output = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{text}\t{count}".encode() for text, count in lines),
            model_writer=output,
            input_format="tsv",
            model_type=model,
            vocab_size=size + 1,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            character_coverage=1.0,
            required_chars="".join(alphabet[1:]),
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            max_sentence_length=1 << 20,
            minloglevel=3,
            **options,
        )
    except RuntimeError as error:
        raise _explain(str(error), size, other_ids) from error
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(output.getvalue())
    normal = [piece for piece in proto.pieces if piece.type == piece.NORMAL]
    if len(normal) != size:
        raise FitError(f"SentencePiece returned {len(normal):_} pieces instead of {size:_}")
    return Pieces(
        tuple(piece.piece for piece in normal),
        np.array([piece.score for piece in normal], np.float32),
    )


def _explain(message: str, size: int, other_ids: int) -> FitError:
    high = re.search(
        r"Vocabulary size too high \(\d+\)\. Please set it to a value <= (\d+)", message
    )
    if high:
        reachable = int(high.group(1)) - 1 + other_ids
        return FitError(
            f"vocabulary.size = {size + other_ids:_} is more than this text supports: at most "
            f"{reachable:_}",
            f"--set vocabulary.size={reachable:_}, or count more text",
        )
    # SentencePiece prefixes its source location and the failed condition; the rest is for people.
    text = re.sub(r"^INTERNAL: \S+\(\d+\) \[.*?\] ?", "", message).strip() or message
    return FitError(f"SentencePiece could not train: {text}")


def _round_up(size: int) -> int:
    return -(-size // 1_000) * 1_000
