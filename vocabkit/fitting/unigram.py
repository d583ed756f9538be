"""The unigram trainer: from closed substrings to a vocabulary of an exact size, by EM and pruning.

Expectation–maximisation with SentencePiece's sparse M-step (Kudo 2018), then the pieces whose loss is least are
pruned, again and again until the size is reached; finally pieces that are never the best way to write
themselves are replaced, and scores made distinct. Frozen pieces keep their scores and are never pruned.
The steps are in `training`, the same in plain Python in `reference`. Knows no file formats.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.fitting.candidates import check_lists
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.lexicon import Lexicon
from vocabkit.fitting.results import Frozen, PathPoint, UnigramFit, UnigramOptions
from vocabkit.fitting.substrings import Substrings, weigh_substrings
from vocabkit.fitting.training import Clock, Training

__all__ = ["Frozen", "PathPoint", "TooFewPieces", "UnigramFit", "UnigramOptions", "fit_unigram"]

LONGEST = 18
"""Most characters of a piece: beyond, forward sums of one piece's stretch could leave the range of a double."""


class TooFewPieces(FitError):
    """The text cannot fill the size; `reached` is how many pieces it supports."""

    def __init__(self, reached: int, size: int) -> None:
        super().__init__(
            f"this text supports {reached:_} pieces, not {size:_}",
            "lower vocabulary.size, or count more text",
        )
        self.reached = reached


def fit_unigram(
    lexicon: Lexicon,
    substrings: Substrings,
    size: int,
    workers: Workers,
    *,
    weights: Mapping[str, float] | None = None,
    options: UnigramOptions | None = None,
    frozen: Frozen | None = None,
    keep: Collection[str] = (),
    deny: Collection[str] = (),
    held_out: Lexicon | None = None,
    path_to: int | None = None,
    allow_fewer: bool = False,
    progress: Progress | None = None,
) -> UnigramFit:
    """Fit `size` normal pieces, the lexicon's characters among them; with `frozen`, `size` new ones.

    `weights` multiply the languages' counts. `keep` are pieces never pruned, `deny` pieces never taken.
    `path_to` continues the path below `size`, down to that many pieces, without changing the result;
    `held_out` is a lexicon with the same alphabet. `allow_fewer` takes what the last floor supports where that
    is less than the size. Raises `FitError` when the size cannot hold the
    characters or the text cannot fill it, or a list asks for what cannot be.
    """
    chosen = options or UnigramOptions()
    longest = max(substrings.longest, max(map(len, frozen.pieces), default=0) if frozen else 0)
    if longest > LONGEST:
        raise FitError(
            f"pieces of {longest} characters: this trainer takes at most {LONGEST}",
            f"--set vocabulary.max_piece_length={LONGEST}, or trainer.engine=sentencepiece",
        )
    check_lists(lexicon, keep, deny, longest)
    required = len(lexicon.alphabet) + sum(len(piece) > 1 for piece in set(keep))
    if frozen is None and size < required:
        raise FitError(
            f"{size:_} pieces cannot hold the {required:_} covered characters and kept pieces",
            "raise vocabulary.size, or lower coverage.character",
        )
    if held_out is not None and not np.array_equal(held_out.alphabet, lexicon.alphabet):
        raise ValueError("held_out must be built with alphabet=lexicon.alphabet")
    clock = Clock()
    row_weight = lexicon.weigh(weights)
    mass = substrings.evidence.astype(np.float64)
    if weights is not None and any(weights[code] != 1.0 for code in lexicon.pairs):
        mass = weigh_substrings(lexicon, substrings, row_weight, workers)
    clock.lap("weights")
    reached = 0
    floors = [floor for floor in chosen.floors if floor >= substrings.floor]
    for floor in floors:
        training = Training(
            lexicon,
            substrings,
            mass,
            row_weight,
            size,
            workers,
            floor=floor,
            options=chosen,
            frozen=frozen,
            keep=keep,
            deny=deny,
            held_out=held_out,
            clock=clock,
        )
        fewer = allow_fewer and floor == floors[-1]
        result = training.run(size, path_to, progress or Silent(), allow_fewer=fewer)
        if result is not None:
            return result
        reached = max(reached, training.reached)
    raise TooFewPieces(reached, size)
