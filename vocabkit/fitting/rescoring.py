"""Scores for pieces that are given: EM over the text with nothing added, dropped or pruned.

A union of vocabularies fitted apart has no scale of its own; a few passes over all text give it one. The M-step
is the plain one, log(expected count ÷ total), for every piece: a count below a half is raised to a half.
Chooses no pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import FitError
from vocabkit.fitting.candidates import encode_pieces
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.expectation import expect_counts
from vocabkit.fitting.lattice import Lattice
from vocabkit.fitting.lexicon import FloatArray, Lexicon
from vocabkit.fitting.pruning import build_pieces, split_pieces
from vocabkit.fitting.scores import LEAST, round_scores, score_counts
from vocabkit.fitting.sorting import Int64Array
from vocabkit.fitting.training import MARGIN
from vocabkit.fitting.trie import build_trie


@dataclass(frozen=True, slots=True, eq=False)
class Rescored:
    """Scores of the pieces in their order, all different as float32; `count` is how often each is expected.

    `total` is the scale: scores are log(count ÷ total). `unreachable` are indices of pieces of two and more
    characters whose best split scores as high as they do: no text is encoded to them. `log_likelihood` is
    of the rows under the scores before the last step.
    """

    scores: npt.NDArray[np.float32]
    count: FloatArray
    total: float
    unreachable: Int64Array
    log_likelihood: float


def estimate_scores(
    lexicon: Lexicon,
    pieces: Sequence[str],
    workers: Workers,
    *,
    weights: Mapping[str, float] | None = None,
    start: FloatArray | None = None,
    iterations: int = 3,
    memory: int | None = None,
) -> Rescored:
    """Estimate the scores of `pieces`, all different, in `iterations` passes over the lexicon.

    `weights` multiply the languages' counts; `start` is a first guess of each piece's count (default: all
    equal). `memory` limits the bytes of arcs held. Raises `FitError` when a character of the lexicon is no
    piece: its rows could not be written.
    """
    if iterations < 1:
        raise ValueError(f"iterations = {iterations}: at least one pass")
    alphabet = {chr(int(point)): k for k, point in enumerate(lexicon.alphabet, start=1)}
    missing = sorted(set(alphabet) - set(pieces))
    if missing:
        raise FitError(
            f"{len(missing):_} characters of the text are no pieces, among them {missing[0]!r}",
            "give every covered character a piece",
        )
    first = len(alphabet) + 1
    longer = [k for k, p in enumerate(pieces) if len(p) > 1 and all(c in alphabet for c in p)]
    text = encode_pieces(lexicon, [pieces[k] for k in longer])
    length = np.array([len(pieces[k]) for k in longer], np.int64)
    ends = np.flatnonzero(text == 0)
    trie = build_trie(text, ends[1:] - 1, length, first)
    longest = max(int(length.max(initial=1)), 1)
    lattice = Lattice(lexicon, trie, longest, workers, memory)
    # Where each id of the lattice stands among the pieces; id 0 is none.
    place = np.full(first + len(longer), -1, np.int64)
    for k, piece in enumerate(pieces):
        if len(piece) == 1 and piece in alphabet:
            place[alphabet[piece]] = k
    place[first:] = longer
    width = np.concatenate((np.zeros(1), np.ones(len(alphabet)), length)).astype(np.uint8)
    row_weight = lexicon.weigh(weights)
    guess = np.ones(len(pieces)) if start is None else np.asarray(start, np.float64)
    count = np.zeros(len(place))
    count[1:] = np.maximum(guess[place[1:]], LEAST)
    for _ in range(iterations):
        score = np.full(len(place), -np.inf)
        score[1:] = score_counts(count[1:], float(np.maximum(count[1:], LEAST).sum()), sparse=False)
        found = expect_counts(lattice, row_weight, score, width, workers)
        count = found.count
    everywhere = np.zeros(len(pieces))
    everywhere[place[1:]] = count[1:]
    total = float(np.maximum(everywhere, LEAST).sum())
    scores = round_scores(
        score_counts(everywhere, total, sparse=False), np.ones(len(pieces), np.bool_)
    )
    unreachable = np.zeros(0, np.int64)
    if longer:
        inner, row_of = build_pieces(lexicon.alphabet, text, trie, longest, workers)
        owner = np.full(len(inner.lexicon), -1, np.int32)
        owner[row_of] = np.arange(first, len(place), dtype=np.int32)
        final = np.full(len(place), -np.inf)
        final[1:] = scores[place[1:]]
        splits = split_pieces(inner, owner, final, np.ones(len(place)), workers)
        beaten = splits.score[row_of] + MARGIN >= final[first:]
        unreachable = np.asarray(longer, np.int64)[beaten]
    return Rescored(scores, everywhere, total, unreachable, found.log_likelihood)
