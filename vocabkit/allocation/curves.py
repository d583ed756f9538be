"""Curves: what a vocabulary of its own is worth to a language at every size, from one run of the trainer.

Pruning passes through every size, so one fit per language gives nested vocabularies (pieces in order of worth:
the first n are the vocabulary of n) and, at twenty or more sizes, log likelihood and tokens per character of
held-out text. Pieces met five times come first, then three, then two, as in `fitting.blocks`. Decides no sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vocabkit.auditing.parallel_text import read_audit_text
from vocabkit.core.arrays import BoolArray, Float64Array, Int64Array, load_arrays, save_arrays
from vocabkit.core.errors import CorpusError, FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.compilation import Workers, open_workers
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.spans import SpanTable, derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import estimate_scores
from vocabkit.fitting.lexicon import build_lexicon
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import Frozen, UnigramOptions, fit_unigram, warm_kernels

# --- Concave curves --------------------------------------------------------------------------------
# The worth of a vocabulary is measured at some sizes only, with noise, and an allocation needs it at every
# size, never rising faster than before: then taking the best next piece again and again is the best allocation.


@dataclass(frozen=True, slots=True, eq=False)
class Concave:
    """A rising concave curve through `size` (ascending) and `value`; `slope` is between neighbouring sizes."""

    size: Float64Array
    value: Float64Array
    slope: Float64Array

    def value_at(self, size: Float64Array) -> Float64Array:
        """Return the curve's value, linear in the logarithm of the size; constant outside the points."""
        found: Float64Array = np.interp(np.log(np.maximum(size, 1.0)), np.log(self.size), self.value)
        return found

    def gain_at(self, size: Float64Array) -> Float64Array:
        """Return what one more piece adds at a size: never more at a larger one.

        The slope of each segment stands at its middle and is linear in the logarithm of the size between
        them, so that sizes do not jump from point to point as a price falls.
        """
        if not len(self.slope):
            return np.zeros(len(size))
        middle = (np.log(self.size[:-1]) + np.log(self.size[1:])) / 2.0
        found: Float64Array = np.interp(np.log(np.maximum(size, 1.0)), middle, self.slope)
        return found


def _make_concave(size: Int64Array, value: Float64Array) -> Concave:
    """Return the rising concave curve nearest to the points: slopes pooled (weighted by width) until they fall.

    `size` is strictly ascending and positive. Slopes below zero become zero, starting from the first value.
    """
    if len(size) != len(value) or not len(size):
        raise ValueError(f"{len(size)} sizes and {len(value)} values: as many of each, at least one")
    if (np.diff(size) <= 0).any() or size[0] < 1:
        raise ValueError("sizes must be positive and ascending")
    width = np.diff(size).astype(np.float64)
    slope = np.maximum(_pool_falling(np.diff(value) / width, width), 0.0)
    smooth = value[0] + np.concatenate(([0.0], np.cumsum(slope * width)))
    return Concave(size.astype(np.float64), smooth, slope)


def _pool_falling(value: Float64Array, weight: Float64Array) -> Float64Array:
    """Return the non-increasing values nearest to `value` in weighted squares: pool adjacent violators."""
    pooled: list[tuple[float, float, int]] = []
    for here, mass in zip(value.tolist(), weight.tolist(), strict=True):
        mean, total, members = here, mass, 1
        while pooled and pooled[-1][0] < mean:
            before, other, count = pooled.pop()
            mean = (before * other + mean * total) / (other + total)
            total += other
            members += count
        pooled.append((mean, total, members))
    means, members_of = [mean for mean, _, _ in pooled], [count for _, _, count in pooled]
    return np.repeat(np.array(means, np.float64), np.array(members_of, np.int64))


# --- Development text ------------------------------------------------------------------------------
# Aligned lines on which allocations compare languages: line i says the same in every language, so tokens per
# line are comparable; tokens per character are not. What is used here must not be used to judge the result.


@dataclass(frozen=True, slots=True)
class Development:
    """The spans of aligned text and how many lines there are, by language; `fingerprint` is of the lines."""

    tables: Mapping[str, SpanTable]
    lines: Mapping[str, int]
    fingerprint: str


def read_development(
    folder: str | Path,
    codes: Sequence[str],
    rule: str,
    digits: str,
    *,
    limit: int | None = None,
    field: str | None = None,
    progress: Progress | None = None,
) -> Development:
    """Read aligned lines of the languages, the first `limit` of each.

    Raises `CorpusError` for a language without lines, or with another number of them than the rest.
    """
    corpus = open_corpus(folder, languages=list(codes), field=field, allow_missing=True)
    text = read_audit_text(corpus, limit=limit, aligned="yes", progress=progress)
    missing = [code for code in codes if code not in text.aligned_languages]
    if missing:
        raise CorpusError(
            f"{folder}: no aligned lines for {', '.join(missing)} "
            f"(the aligned languages have {text.alignment.lines or 0:_} lines)",
            "leave these languages out with --languages, or give another --dev",
        )
    lines = {code: text.languages[code] for code in codes}
    spans = derive_spans(WordCounts.from_texts(lines), rule, digits, languages=list(codes))
    sizes = {code: len(rows) for code, rows in lines.items()}
    return Development(spans.languages, sizes, text.fingerprint)


# --- Curves ----------------------------------------------------------------------------------------


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
    count: Float64Array
    size: Int64Array
    likelihood: Float64Array
    tokens: Float64Array
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
        return _make_concave(self.size, self.likelihood)

    @cached_property
    def saving(self) -> Concave:
        """Minus the tokens per character, made concave."""
        return _make_concave(self.size, -self.tokens)

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


def _trace_curve(
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
    judge = lexicon
    known = np.zeros(len(covered), np.bool_)
    known[lexicon.alphabet] = True
    if measured is None or not known[measured.text].any():
        kind = "train"
    else:
        judge = build_lexicon({language: measured}, covered, workers, alphabet=lexicon.alphabet)
    floor, documents = options.floors[-1], options.min_documents > 1
    found = find_substrings(lexicon, workers, longest=options.longest, floor=floor, documents=documents)
    cap = max(options.cap, len(lexicon.alphabet))
    steps = ("min_documents", "shrink", "iterations", "power", "memory")
    base = UnigramOptions(**{name: getattr(options, name) for name in steps})
    pieces: list[str] = []
    scores: list[float] = []
    guess: list[Float64Array] = []
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
        for point in fitted.path:
            if 0 < point.size <= len(fitted.pieces) and point.held_out is not None:
                assert point.tokens is not None
                points[len(pieces) + point.size] = (point.held_out, point.tokens)
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
    letters = judge.count_characters(judge.count)
    outside = 0.0
    if measured is not None and kind != "train":
        outside = float((measured.count * np.diff(measured.offsets)).sum()) - letters
    likelihood, tokens = (np.array([points[int(n)][place] for n in size]) for place in (0, 1))
    return Curve(
        language, len(lexicon.alphabet), tuple(pieces), count, size, likelihood, tokens,
        kind, letters, outside, tuple(tiers), len(pieces) < cap,
    )  # fmt: skip


# --- Curve cache -----------------------------------------------------------------------------------
# Kept beside the counts: another budget or method needs no fit. A curve depends on one language's text, the
# text it is measured on, the covered characters and the options: on no other language.

KEPT = 4
"""How many curves of one language are kept."""
_FORMAT = 1
_ARRAYS = ("count", "size", "likelihood", "tokens")


def _curve_key(
    train: SpanTable, measured: SpanTable | None, covered: BoolArray, options: CurveOptions, kind: str
) -> str:
    """Return a digest of all that a curve depends on."""
    digest = hashlib.blake2b(digest_size=10)
    for table in (train, measured):
        if table is not None:
            # Spans have a content hash each; with the counts it stands for the whole table.
            digest.update(f"table {len(table)}".encode())
            digest.update(table.key.tobytes())
            digest.update(table.count.tobytes())
    if options.min_documents > 1:
        digest.update(train.documents.tobytes())
    digest.update(np.packbits(covered).tobytes())
    # Memory changes no result.
    limits = [getattr(options, name) for name in options.__slots__ if name != "memory"]
    digest.update(repr((limits, kind, _FORMAT)).encode())
    return digest.hexdigest()


def _load_curve(path: Path, language: str) -> Curve | None:
    """Return the curve kept in a file, None where there is none or it is damaged."""
    found = load_arrays(path)
    if found is None:
        return None
    try:
        alphabet, limited, *tiers = found["numbers"].tolist()
        characters, uncovered = found["amounts"].tolist()
        return Curve(
            language=language,
            alphabet=alphabet,
            pieces=tuple(found["pieces"].tobytes().decode().split("\n")),
            **{name: found[name] for name in _ARRAYS},
            measured=found["kind"].tobytes().decode(),
            characters=characters,
            uncovered=uncovered,
            tiers=tuple(zip(tiers[::2], tiers[1::2], strict=True)),
            data_limited=bool(limited),
        )
    except (ValueError, KeyError):
        return None


def _save_curve(path: Path, curve: Curve) -> None:
    numbers = [curve.alphabet, int(curve.data_limited), *(n for tier in curve.tiers for n in tier)]
    arrays = {
        "pieces": np.frombuffer("\n".join(curve.pieces).encode(), np.uint8),
        "kind": np.frombuffer(curve.measured.encode(), np.uint8),
        "numbers": np.array(numbers, np.int64),
        "amounts": np.array([curve.characters, curve.uncovered]),
        **{name: getattr(curve, name) for name in _ARRAYS},
    }
    save_arrays(path, arrays, among=f"{curve.language}-*.npz", kept=KEPT)


# --- Tracing ---------------------------------------------------------------------------------------


def trace_curves(
    train: Mapping[str, SpanTable],
    measured: Mapping[str, SpanTable],
    covered: Mapping[str, BoolArray],
    options: CurveOptions,
    *,
    kind: str = "held_out",
    cache: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Curve]:
    """Return the curve of every language of `train`, sorted by code.

    `measured` holds the text each is measured on, `covered` its characters by code point. Languages are
    traced side by side, one thread each: results do not depend on it. `cache` is a folder beside the counts.
    Raises `FitError` naming a language without a covered character.
    """
    report = progress or Silent()
    codes = sorted(train)
    found: dict[str, Curve] = {}
    paths: dict[str, Path] = {}
    if cache is not None:
        for code in codes:
            key = _curve_key(train[code], measured.get(code), covered[code], options, kind)
            paths[code] = cache / f"{code}-{key}.npz"
            if (kept := _load_curve(paths[code], code)) is not None:
                found[code] = kept
    # The largest first: the last ones to finish are then short.
    missing = sorted(set(codes) - set(found), key=lambda code: (-len(train[code].text), code))
    if not missing:
        return {code: found[code] for code in codes}
    with open_workers(threads) as workers:
        warm_kernels(workers, report)
        side = min(workers.threads, len(missing))
    report.start("tracing curves", len(missing), "languages")

    def trace(code: str) -> Curve:
        judge = measured.get(code)
        with open_workers(1 if side > 1 else threads) as workers:
            try:
                curve = _trace_curve(code, train[code], judge, covered[code], workers, options, kind=kind)
            except FitError as error:
                raise FitError(f"{code}: {error.message}", error.hint) from error
        if code in paths:
            _save_curve(paths[code], curve)
        report.advance(1)
        return curve

    with ThreadPoolExecutor(side) as pool:
        found |= zip(missing, pool.map(trace, missing), strict=True)
    report.finish()
    return {code: found[code] for code in codes}
