"""Blocks: the pieces that one language adds to a vocabulary that stays as it is.

A conditional fit: the shared pieces keep their scores and compete in every lattice, only new ones are estimated
and pruned, so a block holds what the shared vocabulary lacks. It is filled in tiers of raw evidence: pieces
met five times or more first, frozen, then three, then two. In 11 of 12 languages that beat one tier, since
better evidence holds on other text and pieces met once or twice are still better than none.
Knows one language; what two languages both want is `configurations.two_stage`'s business.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vocabkit.core.progress import Progress
from vocabkit.fitting.candidates import encode_pieces
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.lattice import Lattice
from vocabkit.fitting.lexicon import FloatArray, Lexicon
from vocabkit.fitting.results import Frozen, UnigramOptions
from vocabkit.fitting.substrings import Substrings
from vocabkit.fitting.trie import build_trie
from vocabkit.fitting.unigram import LONGEST, fit_unigram

WORD_MARK = "\u2581"


@dataclass(frozen=True, slots=True)
class Tier:
    """How many pieces of at least `floor` raw occurrences a block took."""

    floor: int
    pieces: int


@dataclass(frozen=True, slots=True, eq=False)
class FittedBlock:
    """New pieces, tier by tier, with scores on the frozen vocabulary's scale.

    `count` is how often each is expected in the language's raw text.
    """

    pieces: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    count: FloatArray
    tiers: tuple[Tier, ...]


def usable_pieces(frozen: Frozen) -> Frozen:
    """Return the frozen pieces that can stand inside a span: not too long, no space but in front."""
    kept = [
        (piece, score)
        for piece, score in zip(frozen.pieces, frozen.scores, strict=True)
        if len(piece) <= LONGEST and WORD_MARK not in piece[1:]
    ]
    return Frozen([piece for piece, _ in kept], [score for _, score in kept], frozen.total)


def find_occurring(lexicon: Lexicon, frozen: Frozen, workers: Workers) -> Frozen:
    """Return the frozen pieces that occur in the lexicon at all: the only ones that can compete in it.

    Of 250,000 pieces of 40 languages a tail language's text holds a tenth.
    """
    code = {chr(int(point)) for point in lexicon.alphabet}
    able = [k for k, piece in enumerate(frozen.pieces) if code.issuperset(piece)]
    longer = [k for k in able if len(frozen.pieces[k]) > 1]
    text = encode_pieces(lexicon, [frozen.pieces[k] for k in longer])
    ends = np.flatnonzero(text == 0)
    trie = build_trie(text, ends[1:] - 1, np.diff(ends) - 1, 0)
    longest = max((len(frozen.pieces[k]) for k in longer), default=1)
    lattice = Lattice(lexicon, trie, longest, workers, memory=0)
    found = np.zeros(len(longer), np.bool_)
    for partition in range(len(lattice)):
        found[lattice.arcs(partition).piece] = True
    kept = [k for k in able if len(frozen.pieces[k]) == 1]
    kept += [k for k, here in zip(longer, found.tolist(), strict=True) if here]
    return Frozen([frozen.pieces[k] for k in kept], [frozen.scores[k] for k in kept], frozen.total)


def fit_block(
    lexicon: Lexicon,
    substrings: Substrings,
    size: int,
    workers: Workers,
    frozen: Frozen,
    *,
    floors: tuple[int, ...] = (5, 3, 2),
    options: UnigramOptions | None = None,
    deny: Collection[str] = (),
    progress: Progress | None = None,
) -> FittedBlock:
    """Fit at most `size` new pieces beside `frozen` ones: as many as the evidence supports.

    The lexicon holds one language, cut at characters without a frozen piece; `frozen.total` is the total of the
    frozen scores divided by the language's weight in that fit, so that raw counts fall on their scale. A
    piece needs an expected count of at least a half. `deny` are pieces never taken.
    """
    chosen = options or UnigramOptions(sparse=False, first_iterations=1)
    frozen = find_occurring(lexicon, frozen, workers)
    pieces: list[str] = []
    scores: list[float] = []
    counts: list[FloatArray] = []
    tiers = []
    letters = {chr(int(point)) for point in lexicon.alphabet}
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
        fitted = fit_unigram(
            lexicon,
            substrings,
            wanted,
            workers,
            options=replace(chosen, floors=(floor,), seeds=chosen.seeds or seeds),
            frozen=held,
            deny=refused,
            allow_fewer=True,
            progress=progress,
        )
        pieces += fitted.pieces
        scores += fitted.scores.tolist()
        counts.append(fitted.count)
        tiers.append(Tier(floor, len(fitted.pieces)))
        if not waiting and fitted.pieces:
            waiting = [floors[-1]]
    filled = {floor: sum(tier.pieces for tier in tiers if tier.floor == floor) for floor in floors}
    return FittedBlock(
        tuple(pieces),
        np.array(scores, np.float32),
        np.concatenate([np.zeros(0), *counts]),
        tuple(Tier(floor, number) for floor, number in filled.items() if number),
    )
