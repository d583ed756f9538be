"""The unigram trainer once more, in plain Python: slow, short, and what `unigram` is tested against.

Documentation and oracle: nothing in the package imports it, the tests do. Read this one first. Rows are a
mapping of text to weight; pieces a mapping of text to log probability. It keeps the trainer's order of pieces,
because equal losses are settled by it, and nothing else of its machinery: every row is walked by itself, in
logarithms, and every substring is counted by looking.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from vocabkit.core.text import script_of

LEAST = 0.5
TOLERANCE = 1e-9
MARGIN = 1e-4
POWER = 0.35
LOWEST = -36.0

Scores = dict[str, float]


class _ReferenceFit(NamedTuple):
    """Pieces by falling score, and the sizes and log likelihoods per character on the way."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    path: tuple[tuple[int, float], ...]


def _find_closed(rows: Mapping[str, int], longest: int = 16, floor: int = 2) -> dict[str, int]:
    """Return closed substrings of 2 to `longest` characters with their occurrences, in the trainer's order.

    The order is that of the reversed strings, a string coming after those it ends.
    """
    seen: Counter[str] = Counter()
    for row, count in rows.items():
        for start in range(len(row)):
            for stop in range(start + 1, min(len(row), start + longest + 1) + 1):
                if _is_allowed(row[start:stop]):
                    seen[row[start:stop]] += count
    widest: Counter[str] = Counter()
    for text, count in seen.items():
        for inner in (text[1:], text[:-1]):
            widest[inner] = max(widest[inner], count)
    closed = {
        text: count
        for text, count in seen.items()
        if 2 <= len(text) <= longest and count >= floor and widest[text] < count
    }
    return dict(sorted(closed.items(), key=lambda item: [*map(ord, reversed(item[0])), 0x110000]))


def _is_allowed(piece: str) -> bool:
    """Return whether a substring of a row may be a piece: no marks between two scripts."""
    script = ""
    for character in piece:
        found = script_of(character)
        if found in ("Hira", "Kana") or character == "ー":
            found = "Hani"
        if found != "Zinh" and character != "▁":
            if script not in ("", found):
                return False
            script = found
    return True


def _expect_counts(rows: Mapping[str, float], scores: Scores) -> tuple[dict[str, float], float]:
    """Return the expected occurrences of each piece and Σ weight · log probability of the rows."""
    longest = max(map(len, scores))
    counts = dict.fromkeys(scores, 0.0)
    likelihood = 0.0
    for row, weight in rows.items():
        arcs = [
            (start, stop, max(scores[row[start:stop]], LOWEST))
            for stop in range(1, len(row) + 1)
            for start in range(max(0, stop - longest), stop)
            if scores.get(row[start:stop], -math.inf) > -math.inf
        ]
        before = [0.0] + [-math.inf] * len(row)
        for start, stop, score in arcs:
            before[stop] = _add(before[stop], before[start] + score)
        after = [-math.inf] * len(row) + [0.0]
        for start, stop, score in reversed(arcs):
            after[start] = _add(after[start], score + after[stop])
        whole = before[-1]
        likelihood += weight * whole
        for start, stop, score in arcs:
            counts[row[start:stop]] += weight * math.exp(before[start] + score + after[stop] - whole)
    return counts, likelihood


def _split_best(piece: str, scores: Scores) -> float:
    """Return the highest score of writing `piece` with at least two pieces."""
    best = [0.0] + [-math.inf] * len(piece)
    for stop in range(1, len(piece) + 1):
        for start in range(stop):
            part = piece[start:stop]
            if part != piece and part in scores:
                best[stop] = max(best[stop], best[start] + scores[part])
    return best[-1]


def _maximise(counts: Mapping[str, float], sparse: bool = True) -> Scores:
    """Return new scores; counts below a half are raised to it (the caller has dropped what goes)."""
    raised = {piece: max(count, LEAST) for piece, count in counts.items()}
    total = sum(raised.values())
    if sparse:
        return {piece: _digamma(count) - _digamma(total) for piece, count in raised.items()}
    return {piece: math.log(count) - math.log(total) for piece, count in raised.items()}


def _digamma(x: float) -> float:
    result = 0.0
    while x < 30.0:
        result -= 1.0 / x
        x += 1.0
    square = 1.0 / (x * x)
    return result + math.log(x) - 0.5 / x - square * (1 / 12 - square * (1 / 120 - square / 252))


def _fit_unigram(
    rows: Mapping[str, int], size: int, *,
    weights: Mapping[str, float] | None = None, seeds: int = 0, floor: int = 2, longest: int = 16,
    shrink: float = 0.75, iterations: int = 1, first_iterations: int = 2, last_iterations: int = 2,
    overshoot: float = 1.1, sparse: bool = True,
) -> _ReferenceFit:  # fmt: skip
    """Fit `size` pieces. Raises `ValueError` when the text cannot fill the size."""
    weight = {row: float(count) for row, count in rows.items()} if weights is None else dict(weights)
    characters = sorted({c for row in rows for c in row})
    letters = sum(w * len(row) for row, w in weight.items())
    start = {c: sum(w * row.count(c) for row, w in weight.items()) for c in characters}
    cost = {c: math.sqrt(-math.log(n / letters)) for c, n in start.items()}
    value = {}
    for piece in _find_closed(rows, longest, floor):
        places = ((w, sum(row.startswith(piece, at) for at in range(len(row)))) for row, w in weight.items())
        start[piece] = sum(w * found for w, found in places)
        value[piece] = start[piece] * sum(cost[c] for c in reversed(piece))
    order = {piece: place for place, piece in enumerate(value)}
    limit = (seeds or max(8 * size, 1_000)) - len(characters)
    chosen = set(sorted(value, key=lambda p: (-np.float32(value[p]), order[p]))[: max(limit, 0)])
    first = {p: start[p] * len(p) for p in (*characters, *(p for p in value if p in chosen))}
    total = sum(first.values())
    scores = {p: math.log(n / total) for p, n in first.items()}
    place = {piece: k for k, piece in enumerate(scores)}

    goal = max(size, int(size * overshoot))
    path = []
    passes = first_iterations
    while True:
        for _ in range(passes):
            counts, likelihood = _expect_counts(weight, scores)
            counts = {p: n for p, n in counts.items() if n >= LEAST - TOLERANCE or len(p) == 1}
            scores = _maximise(counts, sparse)
        passes = iterations
        path.append((len(scores), likelihood / letters))
        if len(scores) < size:
            raise ValueError(f"the text supports {len(scores)} pieces, not {size}")
        ranked = _rank_losses(scores, counts, place)
        if len(scores) <= goal:
            break
        kept = set(ranked[: max(goal, int(len(scores) * shrink))])
        scores = {p: s for p, s in scores.items() if p in kept}

    active, reserve = set(ranked[:size]), ranked[size:]
    before = dict(scores)
    scores = {p: s for p, s in scores.items() if p in active}
    for round_ in range(10**6):
        if round_ < 2:
            for _ in range(last_iterations):
                counts, likelihood = _expect_counts(weight, scores)
                scores = _maximise(counts, sparse)
        rounded = _round_scores(scores, place)
        lost = [p for p in scores if len(p) > 1 and _split_best(p, rounded) + MARGIN >= rounded[p]]
        if not lost:
            break
        fill, reserve = reserve[: len(lost)], reserve[len(lost) :]
        if len(fill) < len(lost):
            raise ValueError(f"the text supports {len(scores) - len(lost) + len(fill)} pieces, not {size}")
        scores = {p: s for p, s in scores.items() if p not in lost} | {p: before[p] for p in fill}
        scores = dict(sorted(scores.items(), key=lambda item: place[item[0]]))
    path.append((size, likelihood / letters))
    final = sorted(scores, key=lambda p: (-rounded[p], place[p]))
    return _ReferenceFit(tuple(final), tuple(rounded[p] for p in final), tuple(path))


def _round_scores(scores: Scores, place: Mapping[str, int]) -> Scores:
    """Return the scores as float32, no two alike: an equal one steps down, in order of pieces."""
    out: Scores = {}
    last = np.float32(np.inf)
    for piece in sorted(scores, key=lambda p: (-scores[p], place[p])):
        value = np.float32(scores[piece])
        if value >= last:
            value = np.nextafter(last, np.float32(-np.inf))
        out[piece] = float(value)
        last = value
    return out


def _rank_losses(scores: Scores, counts: Mapping[str, float], place: Mapping[str, int]) -> list[str]:
    """Return pieces, characters first, by falling count · (score − score of the best split)^0.35."""
    loss = {}
    for piece, score in scores.items():
        gain = score - _split_best(piece, scores) if len(piece) > 1 else math.inf
        loss[piece] = np.float32(counts[piece] * gain**POWER if gain > TOLERANCE else -1.0)
    return sorted(scores, key=lambda p: (-loss[p], place[p]))


def _add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
