"""The cells of the report's tables: values as text, notes as marks, and how dark a cell is.

A cell's level says how far its value is from the best, on a scale that is fixed for shares and ratios, so that
small differences stay pale; the number is always there beside the colour. Which cells make a table is
`report_tables`'.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vocabkit.audit.figures import Figure

# Of these more is better; of every other metric of a language, less.
MORE_IS_BETTER = frozenset({
    "characters_per_token", "bytes_per_token", "words_whole", "character_coverage",
    "exemplar_coverage", "allocation_characters", "allocation_words",
})  # fmt: skip
# These say how much there is, not how good it is: they are not shaded.
AMOUNTS = frozenset({"tokens", "script_share", "resource_size"})
# Ratios of which 1 means that nothing is lost or gained, by how their names begin.
FROM_ONE = (
    "premium",
    "byte_premium",
    "allocation",
    "code_switching",
    "nfd_cost",
    "cost_of_sharing",
)
# Levels start at these multiples of the best value, and at these shares lost.
RATIO_LEVELS = (1.1, 1.25, 1.6, 2.0, 3.0, 5.0)
SHARE_LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)
COUNTED = frozenset({"pieces", "languages", "tokens", "parameters", "characters"})
MISSING = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    """One value as text; `interval` and `mark` (of a note) stand beside it, `level` shades it.

    A `wide` cell holds words, not a number.
    """

    text: str
    interval: str = ""
    mark: str = ""
    level: int | None = None
    wide: bool = False


def describe(metric: str) -> str:
    """Return a metric's name as words: `premium.bottom_decile` is `premium, bottom decile`."""
    return metric.replace("_", " ").replace(".", ", ", 1)


def show_value(value: float | None, unit: str) -> str:
    """Return a value for a reader: shares as per cent, counts whole, everything else to three digits or so."""
    if value is None:
        return MISSING
    if is_share(unit):
        percent = 100 * value
        number = f"{percent:.0f}" if percent >= 99.95 or percent == 0 else f"{percent:.3g}"
        return f"{number}\u00a0%"
    if abs(value) >= 1000 or (value == int(value) and unit in COUNTED):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def is_share(unit: str) -> bool:
    """Whether values of this unit run from 0 to 1."""
    return unit.startswith("share")


def make_cell(figure: Figure | None, best: float | None, marks: NoteMarks, interval: bool) -> Cell:
    """Return a figure's cell, shaded from `best` unless that is None, and with its interval if asked."""
    if figure is None:
        return Cell(MISSING)
    ends = ""
    if interval and figure.low is not None and figure.high is not None:
        ends = f"{show_value(figure.low, figure.unit)} to {show_value(figure.high, figure.unit)}"
    mark = marks.mark(figure.note) if figure.note else ""
    level = None if best is None else _level(figure, best)
    return Cell(show_value(figure.value, figure.unit), ends, mark, level)


def rank_names(figures: Iterable[Figure]) -> list[str]:
    """Return the names by their worst value over all tokenizers, the worst first, those without one last."""
    worst: dict[str, float] = {}
    for figure in figures:
        bad = _badness(figure)
        worst[figure.name] = max(
            worst.get(figure.name, -math.inf), -math.inf if bad is None else bad
        )
    return sorted(worst, key=lambda name: (-worst[name], name))


def span_counts(figures: Iterable[Figure | None]) -> str:
    """The n of figures side by side: one number, or from the smallest to the largest where they differ."""
    counts = sorted({f.n for f in figures if f is not None and f.n is not None})
    if not counts:
        return MISSING
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}\u00a0to\u00a0{counts[-1]:,}"


def _badness(figure: Figure) -> float | None:
    """The value turned so that more is worse."""
    if figure.value is None:
        return None
    return -figure.value if figure.metric in MORE_IS_BETTER else figure.value


def find_best(figures: Iterable[Figure]) -> float:
    """What the shading counts from: 1 where that is neither gain nor loss, the best value otherwise."""
    given = list(figures)
    values = [figure.value for figure in given if figure.value is not None and figure.value > 0]
    if not values or given[0].metric.startswith(FROM_ONE):
        return 1.0
    return max(values) if given[0].metric in MORE_IS_BETTER else min(values)


def _level(figure: Figure, best: float) -> int | None:
    if figure.value is None:
        return None
    inverse = figure.metric in MORE_IS_BETTER
    if is_share(figure.unit):
        return bisect_right(SHARE_LEVELS, 1 - figure.value if inverse else figure.value)
    if figure.value <= 0:
        return len(RATIO_LEVELS) if inverse else 0
    return bisect_right(RATIO_LEVELS, best / figure.value if inverse else figure.value / best)


class NoteMarks:
    """Letters for the notes of a table, each said once under it; no letter for one of every cell."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        notes = {figure.note for figure in figures}
        common = notes.pop() if len(notes) == 1 else None
        self._letters = {common: ""} if common else {}

    def mark(self, note: str) -> str:
        """Return the letter of a note, a new one the first time."""
        number = len(self._letters)
        letter = chr(ord("a") + number % 26) * (number // 26 + 1)
        return self._letters.setdefault(note, letter)

    def listed(self) -> tuple[tuple[str, str], ...]:
        """Return every letter with its note, in order."""
        return tuple((letter, note) for note, letter in self._letters.items())
