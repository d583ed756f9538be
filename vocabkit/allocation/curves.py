"""Curves: what a vocabulary of its own is worth to a language at every size, from one run of the trainer.

Pruning passes through every size, so one fit per language gives nested vocabularies (pieces in order of worth:
the first n are the vocabulary of n) and, at twenty or more sizes, log likelihood and tokens per character of
held-out text. Pieces met five times come first, then three, then two, as in `fitting.blocks`. Decides no sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vocabkit.allocation.concavity import Concave, FloatArray, Int64Array, make_concave
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.lexicon import BoolArray, Lexicon, build_lexicon
from vocabkit.fitting.rescoring import estimate_scores
from vocabkit.fitting.results import Frozen, UnigramFit, UnigramOptions
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import fit_unigram


@dataclass(frozen=True, slots=True)
class CurveOptions:
    """How a curve is traced: most pieces, their longest, evidence floors in turn, and the trainer's steps."""

    cap: int = 100_000
    longest: int = 16
    floors: tuple[int, ...] = (5, 3, 2)
    min_documents: int = 1
    shrink: float = 0.75
    iterations: int = 1
    power: float = 0.35
    memory: int | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """One language's nested vocabularies and what they are worth.

    The first n of `pieces` are the vocabulary of n; the first `alphabet` are its characters. `count` is how
    often each is expected in the raw training text, when all are in. At `size` (ascending) stand the log
    likelihood (nats) and the tokens per character of the text named by `measured`: `held_out`, `development`
    or, for want of either, `train`, which flatters. `characters` is how many that text has, `uncovered` how
    many of its characters have no piece. `tiers` are (evidence floor, pieces). `data_limited` says that the
    text supports no more pieces, whatever the cap.
    """

    language: str
    alphabet: int
    pieces: tuple[str, ...]
    count: FloatArray
    size: Int64Array
    likelihood: FloatArray
    tokens: FloatArray
    measured: str
    characters: float
    uncovered: float
    tiers: tuple[tuple[int, int], ...]
    data_limited: bool

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def worth(self) -> Concave:
        """The log likelihood per character, made concave."""
        return make_concave(self.size, self.likelihood)

    @cached_property
    def saving(self) -> Concave:
        """Minus the tokens per character, made concave."""
        return make_concave(self.size, -self.tokens)

    def likelihood_at(self, size: int) -> float:
        """Return log likelihood per character at a size, on the concave curve."""
        return float(self.worth.value_at(np.array([size], np.float64))[0])

    def tokens_at(self, size: int) -> float:
        """Return tokens per character at a size, on the concave curve."""
        return -float(self.saving.value_at(np.array([size], np.float64))[0])

    @property
    def note(self) -> str:
        """What a reader should know of the curve; empty where there is nothing."""
        found = []
        if self.measured == "train":
            found.append("no held-out text: measured on the training text, which flatters")
        if self.data_limited:
            found.append(f"the text supports {len(self):_} pieces")
        return "; ".join(found)


def trace_curve(
    language: str,
    train: SpanTable,
    measured: SpanTable | None,
    covered: BoolArray,
    workers: Workers,
    options: CurveOptions,
    *,
    kind: str = "held_out",
) -> Curve:
    """Fit one language at the cap, or at what its text supports, and follow the path down to its alphabet.

    `measured` is the text that the curve is measured on, of the kind named; None or none of its characters
    covered: the training text itself. Raises `FitError` where there is no text.
    """
    lexicon = build_lexicon({language: train}, covered, workers)
    judge, kind = _find_judge(lexicon, language, measured, covered, workers, kind)
    found = find_substrings(
        lexicon,
        workers,
        longest=options.longest,
        floor=options.floors[-1],
        documents=options.min_documents > 1,
    )
    cap = max(options.cap, len(lexicon.alphabet))
    base = UnigramOptions(
        min_documents=options.min_documents,
        shrink=options.shrink,
        iterations=options.iterations,
        power=options.power,
        memory=options.memory,
    )
    pieces: list[str] = []
    scores: list[float] = []
    guess: list[FloatArray] = []
    points: dict[int, tuple[float, float]] = {}
    tiers: list[tuple[int, int]] = []
    total = 0.0
    for floor in options.floors:
        if len(pieces) >= cap:
            break
        fitted = fit_unigram(
            lexicon,
            found,
            cap - len(pieces),
            workers,
            options=replace(base, floors=(floor,), sparse=not pieces),
            frozen=Frozen(pieces, scores, total) if pieces else None,
            held_out=judge,
            # A later tier's first pieces are worth little more than none: no point is needed there.
            path_to=max(1, len(pieces) // 32),
            allow_fewer=True,
        )
        _note_points(points, fitted, len(pieces))
        order = np.argsort(fitted.rank) if fitted.rank is not None else np.arange(0)
        pieces += [fitted.pieces[k] for k in order.tolist()]
        scores += fitted.scores[order].tolist()
        guess.append(fitted.count[order])
        total = fitted.total
        tiers.append((floor, len(fitted.pieces)))
    count = np.concatenate(guess)
    if len(tiers) > 1:
        # The tiers were fitted one after the other: the later ones have taken from the counts of the first.
        count = estimate_scores(lexicon, pieces, workers, start=count, iterations=1).count
    size = np.array(sorted(points), np.int64)
    letters = _count_letters(judge)
    outside = 0.0
    if measured is not None and kind != "train":
        outside = float((measured.count * np.diff(measured.offsets)).sum()) - letters
    return Curve(
        language,
        len(lexicon.alphabet),
        tuple(pieces),
        count,
        size,
        np.array([points[int(n)][0] for n in size]),
        np.array([points[int(n)][1] for n in size]),
        kind,
        letters,
        outside,
        tuple(tiers),
        len(pieces) < cap,
    )


def _find_judge(
    lexicon: Lexicon,
    language: str,
    measured: SpanTable | None,
    covered: BoolArray,
    workers: Workers,
    kind: str,
) -> tuple[Lexicon, str]:
    """Return the lexicon that the curve is measured on, and its kind."""
    known = np.zeros(len(covered), np.bool_)
    known[lexicon.alphabet] = True
    if measured is None or not known[measured.text].any():
        return lexicon, "train"
    table = {language: measured}
    return build_lexicon(table, covered, workers, alphabet=lexicon.alphabet), kind


def _note_points(points: dict[int, tuple[float, float]], fitted: UnigramFit, below: int) -> None:
    for point in fitted.path:
        if 0 < point.size <= len(fitted.pieces) and point.held_out is not None:
            assert point.tokens is not None
            points[below + point.size] = (point.held_out, point.tokens)


def _count_letters(lexicon: Lexicon) -> float:
    return float((lexicon.count * (np.diff(lexicon.offsets) - 1)).sum())
