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
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from vocabkit.core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from vocabkit.core.errors import FitError
from vocabkit.core.folders import scratch_folder
from vocabkit.corpus.compilation import Workers
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.lexicon import Lexicon, build_lexicon, decode_strings
from vocabkit.fitting.substrings import MAX_LENGTH, find_substrings, weigh_substrings

CANONICAL_TOTAL = 10**9
"""What weighted counts sum to. The absolute scale is a setting of SentencePiece's trainer in all but name
(pieces expected less than half a time are dropped; the M-step is a digamma), so it is fixed, not incidental."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A lexicon and the integer counts a trainer sees.

    `rounding` is the L1 distance between the weights' distribution and the exact one: 0.0 when `weight` is
    the raw counts.
    """

    lexicon: Lexicon
    weight: Int64Array
    rounding: float

    def __len__(self) -> int:
        return len(self.lexicon)


def pool_rows(
    tables: Mapping[str, SpanTable], weights: Mapping[str, float], covered: BoolArray, workers: Workers, *,
    total: int = CANONICAL_TOTAL,
) -> Rows:  # fmt: skip
    """Pool the languages' spans into distinct rows, cut at uncovered characters (see `build_lexicon`).

    When every weight is exactly 1 the raw counts are the weights; otherwise Σ weight · count is scaled to
    `total` and rounded once, over the sum of all languages. Raises `FitError` when nothing is left.
    """
    lexicon = build_lexicon(tables, covered, workers)
    if all(weights[code] == 1.0 for code in tables):
        return Rows(lexicon, lexicon.count, 0.0)
    return Rows(lexicon, *_scale_counts(lexicon.weigh(weights), total))


def _scale_counts(weight: Float64Array, total: int = CANONICAL_TOTAL) -> tuple[Int64Array, float]:
    """Return positive weights as integers summing to `total`, none below 1, and the L1 rounding error.

    Largest remainder; ties go to the earlier row. The error is Σ |integer ÷ total − weight ÷ Σ weight|.
    Raises `FitError` when there are more rows than `total`.
    """
    if len(weight) > total:
        raise FitError(
            f"{len(weight):_} distinct spans cannot share a total of {total:_}",
            "fit fewer languages, or drop words met once when counting",
        )
    exact = weight / weight.sum()
    # Rows below one occurrence are lifted to one; the others pay for it in proportion, and may themselves
    # fall below one, so it repeats. Every round lifts at least one more row.
    lifted = np.zeros(len(exact), np.bool_)
    while True:
        free = total - int(lifted.sum())
        share = exact * (free / exact[~lifted].sum()) if not lifted.all() else exact
        below = ~lifted & (share < 1.0)
        if not below.any():
            break
        lifted |= below
    integers = np.where(lifted, 1, np.floor(share)).astype(np.int64)
    missing = min(max(total - int(integers.sum()), 0), len(integers))
    remainder = np.where(lifted, -1.0, share - np.floor(share))
    integers[np.argsort(-remainder, kind="stable")[:missing]] += 1
    return integers, float(np.abs(integers / total - exact).sum())


def decode_rows(text: npt.NDArray[np.uint32], offsets: Int64Array) -> Iterator[str]:
    """Yield rows of flat code points as strings."""
    for start in range(0, len(offsets) - 1, 100_000):
        bounds = offsets[start : start + 100_001]
        block = text[bounds[0] : bounds[-1]].astype("<u4").tobytes().decode("utf-32-le")
        ends = (bounds - bounds[0]).tolist()
        yield from (block[a:b] for a, b in itertools.pairwise(ends))


# --- Seeds -----------------------------------------------------------------------------------------
# Closed substrings ranked as SentencePiece's unigram trainer ranks its own: by integer row weights.


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds by falling weight × length, then length, then code points.

    `weight` is on the scale of the rows' weights, which is what a trainer needs beside characters counted
    from the same rows; `count` is raw occurrences. `found` is how many there were before the size limit.
    """

    pieces: list[str]
    weight: Int64Array
    count: Int64Array
    found: int

    def __len__(self) -> int:
        return len(self.pieces)


def find_seeds(
    rows: Rows, size: int, workers: Workers, *, min_count: int = 2, min_documents: int = 1,
    max_length: int = MAX_LENGTH,
) -> Seeds:  # fmt: skip
    """Return the best `size` closed substrings of the rows.

    `min_count` is a floor on raw occurrences, whatever the weights. `min_documents` is a floor on the
    summed document frequency of the occurrences: an upper bound of the substring's own document frequency
    (two words of one document count twice), so it never drops a piece it should keep.
    """
    lexicon = rows.lexicon
    found = find_substrings(lexicon, workers, longest=max_length, floor=min_count, documents=min_documents > 1)
    # Integer weights sum to at most a few times 10⁹ times a row's length, which a double holds exactly.
    weight = weigh_substrings(lexicon, found, rows.weight.astype(np.float64), workers)
    whole = np.rint(weight).astype(np.int64)
    kept = np.arange(len(found))
    if min_documents > 1:
        kept = kept[found.documents >= min_documents]
    value = -(whole[kept] * found.length[kept])
    # Ties at the limit go to the earlier in the final order, so more than `size` may be looked at.
    if len(kept) > size:
        least = np.partition(value, size - 1)[size - 1]
        kept = kept[value <= least]
    pieces = decode_strings(lexicon.alphabet, found.copy(lexicon, kept).text)
    order = sorted(
        range(len(kept)), key=lambda i: (-int(whole[kept[i]]) * len(pieces[i]), len(pieces[i]), pieces[i])
    )[:size]
    best = kept[order]
    all_found = int((found.documents >= min_documents).sum()) if min_documents > 1 else len(found)
    return Seeds([pieces[i] for i in order], whole[best], found.evidence[best], all_found)


THREADS = 8
"""Pinned rather than taken from the machine: SentencePiece's unigram pieces depend on it."""


class Pieces(NamedTuple):
    """Ordinary pieces in the trainer's order, with their scores (log probabilities, or −merge rank)."""

    pieces: tuple[str, ...]
    scores: Float32Array


def fit_by_sentencepiece(
    rows: Rows, seeds: Seeds, size: int, *, other_ids: int = 0, threads: int = THREADS,
    max_length: int = MAX_LENGTH,
) -> Pieces:  # fmt: skip
    """Fit exactly `size` unigram pieces, every character of the rows among them.

    `other_ids` is the number of ids the vocabulary has besides, used only to state sizes as the user sets
    them. Raises `FitError` when the size cannot hold the characters or the rows cannot fill it.
    """
    with scratch_folder() as folder:
        path = folder / "seeds.tsv"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            pairs = zip(seeds.pieces, seeds.weight.tolist(), strict=True)
            file.writelines(f"{piece}\t{weight}\n" for piece, weight in pairs)
        # Seeds beyond the second of these are cut, and characters with them.
        options = {
            "seed_sentencepieces_file": str(path),
            "seed_sentencepiece_size": max(len(seeds) + len(rows.lexicon.alphabet), 1_000),
        }
        return _train(rows, "unigram", size, other_ids, threads, max_length, options)


def fit_bpe(
    rows: Rows, size: int, *, other_ids: int = 0, threads: int = THREADS, max_length: int = MAX_LENGTH
) -> Pieces:
    """Fit exactly `size` BPE pieces: merges in order, then characters. Raises as `fit_by_sentencepiece`."""
    return _train(rows, "bpe", size, other_ids, threads, max_length, {})


def _alphabet(rows: Rows) -> list[str]:
    """Return the characters of the rows, the most frequent first."""
    lexicon = rows.lexicon
    occurrences = np.repeat(rows.weight, np.diff(lexicon.offsets))
    counts = np.bincount(lexicon.text[1:], weights=occurrences)[1:]
    return [chr(int(point)) for point in lexicon.alphabet[np.argsort(-counts, kind="stable")]]


def _train(
    rows: Rows, model: str, size: int, other_ids: int, threads: int, max_length: int, options: dict[str, Any]
) -> Pieces:
    alphabet = _alphabet(rows)
    if size < len(alphabet):
        possible = -(-(2 * len(alphabet) + other_ids) // 1_000) * 1_000
        hint = f"--set vocabulary.size={possible:_}  # or a lower coverage.character"
        try:
            _train(rows, model, possible - other_ids, other_ids, threads, max_length, options)
        except FitError as error:  # where the text supports less, its hint says how much
            hint = error.hint or hint
        raise FitError(
            f"vocabulary.size = {size + other_ids:_} cannot hold the {len(alphabet):_} covered characters "
            f"and {other_ids:_} special, reserved and byte ids",
            hint,
        )
    lines = sorted(zip(rows.lexicon.strings(), rows.weight.tolist(), strict=True))
    output = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{text}\t{count}".encode() for text, count in lines), model_writer=output,
            input_format="tsv", model_type=model, vocab_size=size + 1, unk_id=0, bos_id=-1, eos_id=-1,
            pad_id=-1, character_coverage=1.0, required_chars="".join(alphabet[1:]),
            normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
            max_sentence_length=1 << 20, max_sentencepiece_length=max_length, num_threads=threads,
            minloglevel=3, **options,
        )  # fmt: skip
    except RuntimeError as error:
        raise _explain(str(error), size, other_ids) from error
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(output.getvalue())
    normal = [piece for piece in proto.pieces if piece.type == piece.NORMAL]
    if len(normal) != size:
        raise FitError(
            f"SentencePiece returned {len(normal):_} pieces instead of {size:_}",
            "fit with our own trainer: --set trainer.engine=vocabkit",
        )
    return Pieces(
        tuple(piece.piece for piece in normal), np.array([piece.score for piece in normal], np.float32)
    )


def _explain(message: str, size: int, other_ids: int) -> FitError:
    high = re.search(r"Vocabulary size too high \(\d+\)\. Please set it to a value <= (\d+)", message)
    if high:
        reachable = int(high.group(1)) - 1 + other_ids
        return FitError(
            f"vocabulary.size = {size + other_ids:_} is more than this text supports: at most {reachable:_}",
            f"--set vocabulary.size={reachable:_}  # or count more text",
        )
    # SentencePiece prefixes its source location and the failed condition; the rest is for people.
    text = re.sub(r"^INTERNAL: \S+\(\d+\) \[.*?\] ?", "", message).strip() or message
    return FitError(
        f"SentencePiece could not train: {text}", "fit with our own trainer: --set trainer.engine=vocabkit"
    )
