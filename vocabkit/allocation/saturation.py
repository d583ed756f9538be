"""Saturation: what blocks of new pieces save, language by language and size by size, on text held out.

A block adds pieces of one language to a vocabulary that stays as it is (`fitting.blocks`). Blocks of other
languages change next to nothing for it, so serving k languages saves what their k blocks save. Intervals
are by bootstrap over occurrences of held-out spans: counts keep no documents, so they are too narrow where few
documents hold many words. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vocabkit.core.arrays import BoolArray, Float64Array, Int64Array
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.blocks import FittedBlock, count_span_tokens, fit_block, usable_pieces
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.lexicon import build_lexicon
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import Frozen, UnigramOptions
from vocabkit.vocabulary.vocabulary import Vocabulary

SIZES = (5_000, 10_000, 25_000, 50_000)
"""Pieces a language, the sizes of the study."""


@dataclass(frozen=True, slots=True)
class BlockGain:
    """What a block saves one language: tokens of its held-out text before and after.

    `pieces` is how many the block got; `data_limited` that the text supports no more. `low` and `high` are
    the 95 % interval of `saving`, a share of `before`; the three are None where nothing is held out.
    """

    language: str
    size: int
    pieces: int
    data_limited: bool
    before: int
    after: int
    saving: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ServedGain:
    """What blocks for `served` of the tail languages save, the greatest savings first.

    `saving` is the mean over all tail languages of the share of tokens saved, 0 for those without a block;
    `tokens` what is saved in all held-out text; `pieces` what the blocks hold together.
    """

    size: int
    served: int
    language: str
    pieces: int
    data_limited: bool
    tokens: int
    saving: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Saturation:
    """The gains of single blocks, by language and size, and of k of them, by size and k."""

    blocks: tuple[BlockGain, ...]
    served: tuple[ServedGain, ...]


def measure_saturation(
    base: Vocabulary,
    frozen: Frozen,
    train: Mapping[str, SpanTable],
    held_out: Mapping[str, SpanTable],
    totals: Mapping[str, float],
    workers: Workers,
    *,
    sizes: Sequence[int] = SIZES,
    floors: tuple[int, ...] = (5, 3, 2),
    longest: int = 16,
    options: UnigramOptions | None = None,
    resamples: int = 1_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Saturation:
    """Fit a block of each size for each language of `train` and count held-out tokens with it.

    `frozen` are the base's pieces, `totals` what each language's raw counts are to be divided by to be on the
    scale of their scores.
    """
    report = progress or Silent()
    report.start("fitting blocks", len(train) * len(sizes), "blocks")
    usable = usable_pieces(frozen)
    covered = np.zeros(0x110000, np.bool_)
    covered[[ord(piece) for piece in usable.pieces if len(piece) == 1]] = True
    gains: list[BlockGain] = []
    draws: dict[tuple[str, int], Float64Array] = {}
    for code in train:
        scaled = Frozen(usable.pieces, usable.scores, totals[code])
        blocks = _grow(code, train[code], covered, sorted(sizes), workers, scaled, floors, longest, options)
        spent = held_out.get(code)
        tokens = []
        if spent is not None and len(spent):
            tokens.append(count_span_tokens(base, spent))
            for _, block in blocks:
                grown = base.append_block(code, block.pieces, block.scores)
                tokens.append(count_span_tokens(grown, spent))
        found = _resample(spent, tokens, resamples, seed, code)
        for k, (size, block) in enumerate(blocks):
            gain, draws[code, size] = _compare(code, size, block, found, k)
            gains.append(gain)
        report.advance(len(blocks))
    report.finish()
    served = [row for size in sorted(sizes) for row in _accumulate(gains, draws, size)]
    return Saturation(tuple(gains), tuple(served))


def _grow(
    code: str,
    table: SpanTable,
    covered: BoolArray,
    sizes: Sequence[int],
    workers: Workers,
    frozen: Frozen,
    floors: tuple[int, ...],
    longest: int,
    options: UnigramOptions | None,
) -> list[tuple[int, FittedBlock]]:
    """Return a block per size; once the text runs dry, larger sizes have the same one."""
    lexicon = build_lexicon({code: table}, covered, workers)
    found = find_substrings(lexicon, workers, longest=longest, floor=floors[-1])
    blocks: list[tuple[int, FittedBlock]] = []
    for size in sizes:
        if blocks and len(blocks[-1][1].pieces) < blocks[-1][0]:
            blocks.append((size, blocks[-1][1]))
            continue
        block = fit_block(lexicon, found, size, workers, frozen, floors=floors, options=options)
        blocks.append((size, block))
    return blocks


def _resample(
    spent: SpanTable | None, tokens: Sequence[Int64Array], resamples: int, seed: int, code: str
) -> tuple[Int64Array, Int64Array] | None:
    """Return tokens of a held-out text with the base, then with each block: of the text, and of every resample.

    Occurrences are drawn anew: a Poisson number of each span.
    """
    if spent is None or not tokens:
        return None
    table = np.stack(tokens)
    draw = np.random.default_rng([seed, *code.encode()])
    drawn = np.empty((resamples, len(tokens)), np.int64)
    for k in range(resamples):
        drawn[k] = table @ draw.poisson(spent.count)
    return table @ spent.count, drawn


def _compare(
    code: str, size: int, block: FittedBlock, sums: tuple[Int64Array, Int64Array] | None, index: int
) -> tuple[BlockGain, Float64Array]:
    """Return the gain of one block, and its saving in every resample."""
    pieces, dry = len(block.pieces), len(block.pieces) < size
    if sums is None:
        return BlockGain(code, size, pieces, dry, 0, 0, None, None, None), np.zeros(0)
    text, drawn = sums
    before, after = int(text[0]), int(text[1 + index])
    saved = 1.0 - drawn[:, 1 + index] / np.maximum(drawn[:, 0], 1)
    low, high = np.percentile(saved, [2.5, 97.5]).tolist() if len(saved) else (None, None)
    saving = 1.0 - after / before
    return BlockGain(code, size, pieces, dry, before, after, saving, low, high), saved


def _accumulate(
    gains: Sequence[BlockGain], draws: Mapping[tuple[str, int], Float64Array], size: int
) -> list[ServedGain]:
    """Serve the languages of one block size one after the other, the greatest saving first."""
    rows = [gain for gain in gains if gain.size == size]
    rows.sort(key=lambda gain: (-(gain.saving or 0.0), gain.language))
    found = []
    tokens = pieces = 0
    saving = 0.0
    drawn: Float64Array | None = None
    for k, gain in enumerate(rows, start=1):
        tokens += gain.before - gain.after
        pieces += gain.pieces
        saving += (gain.saving or 0.0) / len(rows)
        own = draws[gain.language, size]
        if len(own):
            drawn = own / len(rows) if drawn is None else drawn + own / len(rows)
        low, high = (None, None) if drawn is None else np.percentile(drawn, [2.5, 97.5]).tolist()
        found.append(ServedGain(size, k, gain.language, pieces, gain.data_limited, tokens, saving, low, high))
    return found
