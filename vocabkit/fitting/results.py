"""What a unigram fit may be asked for, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.lexicon import FloatArray


@dataclass(frozen=True, slots=True)
class UnigramOptions:
    """How a fit proceeds; docs/trainer.md tells what each choice buys.

    `seeds` = 0 takes eight times the size. `floors` are raw occurrences a seed must have, tried in turn until
    the size fills. Each round keeps `shrink` of the pieces and makes `iterations` passes, the first and last
    more. `overshoot` is how many pieces, relative to the size, the last choice is made from. `sparse` is the
    digamma M-step. `loss` is `viterbi` (SentencePiece's) or `expected`: count · (score − best split)^`power`. A
    power of 1 is the likelihood lost, of 0 the number of uses; likelihood alone spends pieces on scripts
    with many characters, whose every occurrence is worth more nats but no more tokens.
    `memory` limits the bytes of arcs held; the rest are found again at every pass.
    """

    seeds: int = 0
    floors: tuple[int, ...] = (5, 3, 2)
    min_documents: int = 1
    rank: str = "information"
    shrink: float = 0.75
    iterations: int = 1
    first_iterations: int = 2
    last_iterations: int = 2
    overshoot: float = 1.1
    sparse: bool = True
    loss: str = "expected"
    power: float = 0.35
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    """Pieces with scores that stay: log(expected count ÷ `total`), `total` being of the fit they are from."""

    pieces: Sequence[str]
    scores: Sequence[float]
    total: float


@dataclass(frozen=True, slots=True)
class PathPoint:
    """One size on the way down: log likelihood per character in nats, of training and of held-out rows.

    `tokens` are per held-out character, in the best segmentation.
    """

    size: int
    training: float
    held_out: float | None
    tokens: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UnigramFit:
    """Normal pieces by falling score, characters included; `count` is how often each is expected.

    `total` is the scale of the scores: with it they can be frozen in another fit. `replaced` unreachable
    pieces were dropped at the end; `unreachable` lists characters and kept pieces whose best split scores
    higher. `floor` is the evidence the `seeds` had. `seconds` is wall time by step. `rank`, where the path was
    followed below the size, is each piece's place in the order of worth: the vocabulary of n pieces on the path
    is those of rank below n.
    """

    pieces: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    count: FloatArray
    total: float
    path: tuple[PathPoint, ...]
    replaced: int
    unreachable: tuple[str, ...]
    floor: int
    seeds: int
    seconds: Mapping[str, float]
    rank: npt.NDArray[np.int64] | None = None
