"""Blocks: the pieces that one language adds to a vocabulary that stays as it is.

A conditional fit: the shared pieces keep their scores and compete in every lattice, only new ones are estimated
and pruned, so a block holds what the shared vocabulary lacks. It begins with the letters that its language
needs and the shared vocabulary lacks, which are never pruned. Then it is filled in tiers of raw evidence:
pieces met five times or more first, frozen, then three, then two. In 11 of 12 languages that beat one tier,
since better evidence holds on other text and pieces met once or twice are still better than none.
Knows one language; what two languages both want is `configurations.two_stage`'s business.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from vocabkit.core.arrays import Float32Array, Float64Array, Int64Array
from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.compilation import Workers
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.lattice import Lattice, build_pieces, build_trie, expect_counts, split_pieces
from vocabkit.fitting.lexicon import WORD_MARK, Lexicon, encode_strings
from vocabkit.fitting.sentencepiece_engine import decode_rows
from vocabkit.fitting.substrings import Substrings
from vocabkit.fitting.unigram import (
    LEAST,
    LONGEST,
    MARGIN,
    Frozen,
    UnigramOptions,
    fit_unigram,
    round_scores,
    score_counts,
)
from vocabkit.vocabulary.vocabulary import Vocabulary, write_model


@dataclass(frozen=True, slots=True, eq=False)
class FittedBlock:
    """New pieces, letters first, then tier by tier, with scores on the frozen vocabulary's scale.

    `count` is how often each is expected in the language's raw text, `tiers` are (evidence floor, pieces that
    are no letters).
    """

    pieces: tuple[str, ...]
    scores: Float32Array
    count: Float64Array
    tiers: tuple[tuple[int, int], ...]

    @property
    def letters(self) -> tuple[str, ...]:
        """The characters among the pieces."""
        return tuple(piece for piece in self.pieces if len(piece) == 1)

    def take(self, kept: Sequence[int]) -> FittedBlock:
        """Return the block with the pieces of these places, in this order."""
        chosen = list(kept)
        pieces = tuple(self.pieces[k] for k in chosen)
        return replace(self, pieces=pieces, scores=self.scores[chosen], count=self.count[chosen])


def usable_pieces(frozen: Frozen) -> Frozen:
    """Return the frozen pieces that can stand inside a span: not too long, no space but in front."""
    kept = [k for k, p in enumerate(frozen.pieces) if len(p) <= LONGEST and WORD_MARK not in p[1:]]
    return _take(frozen, kept)


def _take(frozen: Frozen, kept: Sequence[int]) -> Frozen:
    return Frozen([frozen.pieces[k] for k in kept], [frozen.scores[k] for k in kept], frozen.total)


def _find_occurring(lexicon: Lexicon, frozen: Frozen, workers: Workers) -> Frozen:
    """Return the frozen pieces that occur in the lexicon at all: the only ones that can compete in it.

    Of 250,000 pieces of 40 languages a tail language's text holds a tenth.
    """
    letters = lexicon.codes
    able = [k for k, piece in enumerate(frozen.pieces) if all(c in letters for c in piece)]
    longer = [k for k in able if len(frozen.pieces[k]) > 1]
    trie = build_trie(encode_strings(lexicon, [frozen.pieces[k] for k in longer]), 0)
    longest = max((len(frozen.pieces[k]) for k in longer), default=1)
    lattice = Lattice(lexicon, trie, longest, workers, memory=0)
    found = np.zeros(len(longer), np.bool_)
    for partition in range(len(lattice)):
        found[lattice.arcs(partition).piece] = True
    kept = [k for k in able if len(frozen.pieces[k]) == 1]
    return _take(frozen, kept + [k for k, here in zip(longer, found.tolist(), strict=True) if here])


def fit_block(
    lexicon: Lexicon, substrings: Substrings, size: int, workers: Workers, frozen: Frozen, *,
    weights: Mapping[str, float] | None = None, floors: tuple[int, ...] = (5, 3, 2),
    options: UnigramOptions | None = None, deny: Collection[str] = (), progress: Progress | None = None,
) -> FittedBlock:  # fmt: skip
    """Fit at most `size` new pieces beside `frozen` ones: as many as the evidence supports.

    The lexicon holds one language. Its characters without a frozen piece are the block's letters: they come
    first, whatever they are expected, and the caller sees to it that `size` holds them. `frozen.total` is the
    total of the frozen scores divided by the language's weight in that fit, so that raw counts fall on their
    scale. A longer piece needs an expected count of at least a half. `deny` are pieces never taken.
    """
    chosen = options or UnigramOptions(sparse=False, first_iterations=1)
    frozen = _find_occurring(lexicon, frozen, workers)
    pieces: list[str] = []
    scores: list[float] = []
    counts: list[Float64Array] = []
    filled = dict.fromkeys(floors, 0)
    letters = lexicon.codes
    refused = {piece for piece in deny if len(piece) > 1 and piece not in letters}
    # A tier may end short of what is wanted when pieces that cannot be reached outnumber their reserves: the
    # last floor is gone over until the block is full or nothing new is found.
    waiting = list(floors)
    # Of the whole block, not of what a late tier still wants: eight times few pieces would be the most frequent
    # candidates, which have lost before, and the block would seem full (Welsh at 24,618 of 25,000).
    seeds = max(8 * size, 1_000)
    while waiting:
        floor = waiting.pop(0)
        held = Frozen([*frozen.pieces, *pieces], [*frozen.scores, *scores], frozen.total)
        wanted = size - len(pieces)
        if wanted < 1:
            break
        tier = replace(chosen, floors=(floor,), seeds=chosen.seeds or seeds)
        fitted = fit_unigram(
            lexicon, substrings, wanted, workers,
            weights=weights, options=tier, frozen=held, deny=refused, allow_fewer=True, progress=progress,
        )  # fmt: skip
        pieces += fitted.pieces
        scores += fitted.scores.tolist()
        counts.append(fitted.count)
        filled[floor] += sum(len(piece) > 1 for piece in fitted.pieces)
        if not waiting and fitted.pieces:
            waiting = [floors[-1]]
    tiers = tuple((floor, number) for floor, number in filled.items() if number)
    count = np.concatenate([np.zeros(0), *counts])
    block = FittedBlock(tuple(pieces), np.array(scores, np.float32), count, tiers)
    # Letters come out of the first tier among its pieces.
    return block.take(sorted(range(len(pieces)), key=lambda k: len(pieces[k]) > 1))


# --- Rescoring -------------------------------------------------------------------------------------
# Scores for pieces that are given: EM over the text with nothing added, dropped or pruned.
#
# A union of vocabularies fitted apart has no scale of its own; a few passes over all text give it one. The
# M-step is the plain one, log(expected count ÷ total), for every piece: a count below a half is raised to it.


@dataclass(frozen=True, slots=True, eq=False)
class Rescored:
    """Scores of the pieces in their order, all different as float32; `count` is how often each is expected.

    `total` is the scale: scores are log(count ÷ total). `unreachable` are indices of pieces of two and more
    characters whose best split scores as high as they do: no text is encoded to them. `log_likelihood` is
    of the rows under the scores before the last step.
    """

    scores: Float32Array
    count: Float64Array
    total: float
    unreachable: Int64Array
    log_likelihood: float


def estimate_scores(
    lexicon: Lexicon, pieces: Sequence[str], workers: Workers, *, weights: Mapping[str, float] | None = None,
    start: Float64Array | None = None, iterations: int = 3, memory: int | None = None,
) -> Rescored:  # fmt: skip
    """Estimate the scores of `pieces`, all different, in `iterations` passes over the lexicon.

    `weights` multiply the languages' counts; `start` is a first guess of each piece's count (default: all
    equal). `memory` limits the bytes of arcs held. Raises `FitError` when a character of the lexicon is no
    piece: its rows could not be written.
    """
    if iterations < 1:
        raise ValueError(f"iterations = {iterations}: at least one pass")
    alphabet = lexicon.codes
    missing = sorted(set(alphabet) - set(pieces))
    if missing:
        raise FitError(
            f"{len(missing):_} characters of the text are no pieces, among them {missing[0]!r}",
            "give every covered character a piece",
        )
    first = len(alphabet) + 1
    longer = [k for k, p in enumerate(pieces) if len(p) > 1 and all(c in alphabet for c in p)]
    strings = encode_strings(lexicon, [pieces[k] for k in longer])
    trie = build_trie(strings, first)
    longest = int(strings.lengths.max(initial=1))
    lattice = Lattice(lexicon, trie, longest, workers, memory)
    # Where each id of the lattice stands among the pieces; id 0 is none.
    place = np.full(first + len(longer), -1, np.int64)
    for k, piece in enumerate(pieces):
        if len(piece) == 1 and piece in alphabet:
            place[alphabet[piece]] = k
    place[first:] = longer
    width = np.concatenate((np.zeros(1), np.ones(len(alphabet)), strings.lengths)).astype(np.uint8)
    row_weight = lexicon.weigh(weights)
    guess = np.ones(len(pieces)) if start is None else np.asarray(start, np.float64)
    count = np.zeros(len(place))
    count[1:] = np.maximum(guess[place[1:]], LEAST)
    for _ in range(iterations):
        score = np.full(len(place), -np.inf)
        score[1:] = score_counts(count[1:], float(np.maximum(count[1:], LEAST).sum()), sparse=False)
        count, likelihood = expect_counts(lattice, row_weight, score, width, workers)
    everywhere = np.zeros(len(pieces))
    everywhere[place[1:]] = count[1:]
    total = float(np.maximum(everywhere, LEAST).sum())
    scores = round_scores(score_counts(everywhere, total, sparse=False), np.ones(len(pieces), np.bool_))
    unreachable = np.zeros(0, np.int64)
    if longer:
        inner, row_of = build_pieces(lexicon.alphabet, strings, trie, longest, workers)
        final = np.full(len(place), -np.inf)
        final[1:] = scores[place[1:]]
        split, _ = split_pieces(inner, row_of, first, final, np.ones(len(place)), workers)
        unreachable = np.asarray(longer, np.int64)[split + MARGIN >= final[first:]]
    return Rescored(scores, everywhere, total, unreachable, likelihood)


# --- Usage -----------------------------------------------------------------------------------------
# Which pieces a language uses: the best segmentation of its spans, counted.
#
# Encodes spans as they stand, through SentencePiece, with no prefix added: a word-initial span carries its own
# U+2581 and a continuation has none. Since no piece crosses the end of a span, the counts are those of the
# running text (unknown characters apart: SentencePiece merges neighbouring unknowns across spans).

_BATCH = 50_000


def count_usage(
    vocabulary: Vocabulary, tables: Mapping[str, SpanTable], *,
    symbols: Mapping[str, Mapping[str, int]] | None = None, threads: int = 2, progress: Progress | None = None,
) -> dict[str, Int64Array]:  # fmt: skip
    """Return, by language, how often each id is used on the language's spans, and at its `symbols`."""
    report = progress or Silent()
    report.start("usage", sum(map(len, tables.values())), "spans")
    usage, encoder = {}, _open_encoder(vocabulary)
    for code in sorted(tables):
        usage[code] = np.zeros(vocabulary.size, np.int64)
        for part, ids, lengths in _encode_spans(encoder, tables[code], threads):
            flat = np.fromiter(itertools.chain.from_iterable(ids), np.int64, int(lengths.sum()))
            np.add.at(usage[code], flat, np.repeat(tables[code].count[part], lengths))
            report.advance(len(ids))
        for symbol, count in (symbols or {}).get(code, {}).items():
            usage[code][vocabulary.id_of(symbol)] += count
    report.finish()
    return usage


def count_span_tokens(vocabulary: Vocabulary, table: SpanTable, *, threads: int = 2) -> Int64Array:
    """Return how many tokens each span of a table takes, in table order; occurrences play no part."""
    parts = (lengths for _, _, lengths in _encode_spans(_open_encoder(vocabulary), table, threads))
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _open_encoder(vocabulary: Vocabulary) -> sentencepiece.SentencePieceProcessor:
    """Return SentencePiece taking its input as it stands: half a second at 250k, so once for all languages."""
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(write_model(vocabulary))
    proto.normalizer_spec.Clear()
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def _encode_spans(
    encoder: sentencepiece.SentencePieceProcessor, table: SpanTable, threads: int
) -> Iterator[tuple[slice, list[list[int]], Int64Array]]:
    """Yield batches of a table's rows: which, the ids SentencePiece gives each, how many."""
    spans = decode_rows(table.text, table.offsets)
    for start in range(0, len(table), _BATCH):
        ids = encoder.encode(list(itertools.islice(spans, _BATCH)), num_threads=threads)
        yield slice(start, start + len(ids)), ids, np.fromiter(map(len, ids), np.int64, len(ids))
