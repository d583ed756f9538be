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
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.lexicon import FloatArray, Lexicon
from vocabkit.fitting.results import Frozen, UnigramOptions
from vocabkit.fitting.substrings import Substrings
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
    chosen = options or UnigramOptions(sparse=False)
    pieces: list[str] = []
    scores: list[float] = []
    counts: list[FloatArray] = []
    tiers = []
    letters = {chr(int(point)) for point in lexicon.alphabet}
    refused = {piece for piece in deny if len(piece) > 1 and piece not in letters}
    for floor in floors:
        held = Frozen([*frozen.pieces, *pieces], [*frozen.scores, *scores], frozen.total)
        wanted = size - len(pieces)
        if wanted < 1:
            break
        fitted = fit_unigram(
            lexicon,
            substrings,
            wanted,
            workers,
            options=replace(chosen, floors=(floor,)),
            frozen=held,
            deny=refused,
            allow_fewer=True,
            progress=progress,
        )
        pieces += fitted.pieces
        scores += fitted.scores.tolist()
        counts.append(fitted.count)
        tiers.append(Tier(floor, len(fitted.pieces)))
    return FittedBlock(
        tuple(pieces),
        np.array(scores, np.float32),
        np.concatenate([np.zeros(0), *counts]),
        tuple(tiers),
    )
