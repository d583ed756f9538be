"""One HTML file that says what an audit found: no network, no library to load, nothing left unescaped.

Text warnings come first, because they decide which figures to trust. Every chart has its numbers in a table.
What is measured and how rows are ranked is decided elsewhere; this arranges it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vocabkit.auditing.figures import Audit, Figure, Finding

# --- Charts ----------------------------------------------------------------------------------------
# Charts as inline SVG: ranked values with their intervals, and values against a size.
#
# Text goes through an XML writer, so that no name can become markup. A series is told by its marker's shape
# as
# well as its colour, and the same numbers stand in a table beside every chart. Nothing here knows what it
# plots.


WIDTH = 560
# Spots of a scatter plot that get a name.
NAMED = 6
LEFT, RIGHT, TOP, BOTTOM = 84, 20, 30, 40
# Each has a contrast of 3.5:1 or more against white, and they differ in lightness as well as hue.
COLOURS = (
    "#0072b2", "#c44e00", "#00795a", "#a8447a", "#000000", "#7a5c00", "#5f5fd0", "#6b6b6b",
)  # fmt: skip
# Outlines about (0, 0), each of about the same area.
SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "M-3.5,-3.5h7v7h-7z",
    "M0,-4.6L4.6,3.4H-4.6z",
    "M0,-5L5,0L0,5L-5,0z",
    "M-1.4,-4.6h2.8v3.2h3.2v2.8h-3.2v3.2h-2.8v-3.2h-3.2v-2.8h3.2z",
    "M0,4.6L4.6,-3.4H-4.6z",
    "M-5,-1.6h10v3.2h-10z",
    "M-1.6,-5h3.2v10h-3.2z",
)


@dataclass(frozen=True, slots=True)
class _Point:
    """A value, and the ends of its interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class _Spot:
    """A place in a scatter plot, with the name that is read out for it."""

    name: str
    x: float
    y: float


def _draw_ranking(
    rows: Mapping[str, Sequence[_Point | None]],
    series: Sequence[str],
    *,
    title: str,
    axis: str,
    references: Mapping[float, str] | None = None,
) -> str:
    """Return an SVG with a line a row, in the order given, and a marker a series on a logarithmic axis.

    `rows` holds a point for each series, None where there is nothing to show; values of zero or less have no
    place on the axis and are left out. `references` are values that get a dashed line and a label.
    """
    marks = references or {}
    points = [point for row in rows.values() for point in row if point and point.value > 0]
    ends = [*marks, *(end for point in points for end in (point.low, point.value, point.high))]
    scale = _Scale(*_bounds([end for end in ends if end is not None and end > 0]))
    step = 8 * len(series) + 8
    legend = _legend_height(series)
    height = TOP + legend + step * len(rows) + BOTTOM
    image = _open_image(height, title)
    _draw_legend(image, series)
    top, bottom = TOP + legend, height - BOTTOM
    _draw_ticks(image, scale, top, bottom, axis)
    for value, label in marks.items():
        x = _text(scale.place(value))
        _add(image, "line", x1=x, x2=x, y1=top, y2=bottom, class_="reference")
        _add(image, "text", label, x=x, y=top - 5, class_="reference-name")
    for index, (name, row) in enumerate(rows.items()):
        y = top + index * step
        if index % 2:
            _add(image, "rect", x=0, y=y, width=WIDTH, height=step, class_="stripe")
        _add(image, "text", name, x=LEFT - 8, y=y + step / 2 + 4, class_="row-name")
        for place, point in enumerate(row):
            if point is not None and point.value > 0:
                _draw_point(
                    image, scale, point, place, y + 8 + 8 * place, f"{name}, {series[place]}"
                )
    return _close(image)


def _draw_scatter(
    spots: Mapping[str, Sequence[_Spot]], *, title: str, x_axis: str, y_axis: str
) -> str:
    """Return an SVG of each series' spots, both axes logarithmic. Spots at zero or below are left out."""
    kept = {
        name: [spot for spot in places if spot.x > 0 and spot.y > 0]
        for name, places in spots.items()
    }
    every = [spot for places in kept.values() for spot in places]
    legend = _legend_height(list(kept))
    height = TOP + legend + 340 + BOTTOM
    top, bottom = TOP + legend, height - BOTTOM
    across = _Scale(*_bounds([spot.x for spot in every]))
    upward = _Scale(*_bounds([spot.y for spot in every]), start=bottom - 8, end=top + 8)
    image = _open_image(height, title)
    _draw_legend(image, list(kept))
    _draw_ticks(image, across, top, bottom, x_axis)
    for value in _find_ticks(upward.low, upward.high):
        y = _text(upward.place(value))
        _add(image, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        _add(image, "text", f"{value:g}", x=LEFT - 8, y=float(y) + 4, class_="row-name")
    _add(image, "text", y_axis, x=8, y=top - 5, class_="axis-name start")
    for place, (series, places) in enumerate(kept.items()):
        for spot in places:
            where = f"translate({_text(across.place(spot.x))},{_text(upward.place(spot.y))})"
            mark = _draw_marker(image, place, where)
            _add(mark, "title", f"{spot.name}, {series}: {spot.y:.3g} at {spot.x:,.0f}")
    _name_spots(image, every, across, upward)
    return _close(image)


def _find_ticks(low: float, high: float) -> list[float]:
    """Return round values within the range, four or more: of one or two digits where the range is wide."""
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 4:
            return found
    exponent = math.floor(math.log10(high - low))
    for step in (float(f"{digit}e{exponent - less}") for less in (0, 1, 2) for digit in (5, 2, 1)):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first >= 3:
            return [float(f"{step * n:.9g}") for n in range(first, last + 1)]
    return [low, high]


@dataclass(frozen=True, slots=True)
class _Scale:
    """A logarithmic axis from `low` at `start` to `high` at `end`."""

    low: float
    high: float
    start: float = LEFT
    end: float = WIDTH - RIGHT

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis, a little beyond the values; some axis even where there is no value."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    # Less than a fifth between the ends would blow up differences that mean nothing.
    room = max(1.04, math.sqrt(1.2 * low / high))
    return low / room, high * room


def _open_image(height: float, title: str) -> ElementTree.Element:
    image = ElementTree.Element(
        "svg", {"viewBox": f"0 0 {WIDTH} {_text(height)}", "role": "img", "aria-label": title}
    )
    return image


def _close(image: ElementTree.Element) -> str:
    return ElementTree.tostring(image, encoding="unicode")


def _legend_height(series: Sequence[str]) -> int:
    return 0 if len(series) < 2 else 20 * math.ceil(len(series) / 2)


def _draw_legend(image: ElementTree.Element, series: Sequence[str]) -> None:
    """Two names a line, so that a long one still fits."""
    if len(series) < 2:
        return
    for place, name in enumerate(series):
        x, y = LEFT + place % 2 * 236, 12 + place // 2 * 20
        _draw_marker(image, place, f"translate({x},{y})")
        _add(image, "text", name, x=x + 12, y=y + 4, class_="series-name")


def _draw_ticks(
    image: ElementTree.Element, scale: _Scale, top: float, bottom: float, name: str
) -> None:
    for value in _find_ticks(scale.low, scale.high):
        x = _text(scale.place(value))
        _add(image, "line", x1=x, x2=x, y1=top, y2=bottom, class_="grid")
        _add(image, "text", _shorten(value), x=x, y=bottom + 16, class_="tick")
    _add(image, "text", name, x=WIDTH - RIGHT, y=bottom + 34, class_="axis-name")


def _draw_point(
    image: ElementTree.Element, scale: _Scale, point: _Point, place: int, y: float, name: str
) -> None:
    said = f"{name}: {point.value:.3g}"
    if point.low is not None and point.high is not None and point.low > 0:
        said += f" ({point.low:.3g} to {point.high:.3g})"
        x1, x2 = scale.place(point.low), scale.place(point.high)
        colour = COLOURS[place % len(COLOURS)]
        _add(image, "line", x1=x1, x2=x2, y1=y, y2=y, stroke=colour, class_="interval")
    mark = _draw_marker(image, place, f"translate({_text(scale.place(point.value))},{_text(y)})")
    _add(mark, "title", said)


def _name_spots(
    image: ElementTree.Element, spots: Sequence[_Spot], across: _Scale, upward: _Scale
) -> None:
    """Names beside the highest few, once each: more would cover one another."""
    named: dict[str, _Spot] = {}
    for spot in sorted(spots, key=lambda spot: -spot.y):
        if len(named) < NAMED:
            named.setdefault(spot.name, spot)
    for spot in named.values():
        x, y = across.place(spot.x), upward.place(spot.y)
        side, away = ("before", -7) if x > WIDTH / 2 else ("after", 7)
        _add(image, "text", spot.name, x=x + away, y=y + 4, class_=f"spot-name {side}")


def _draw_marker(image: ElementTree.Element, place: int, where: str) -> ElementTree.Element:
    # From the ninth series on a colour comes back with another shape.
    shape = SHAPES[(place + place // len(COLOURS)) % len(SHAPES)]
    return _add(image, "path", d=shape, fill=COLOURS[place % len(COLOURS)], transform=where)


def _add(
    parent: ElementTree.Element, tag: str, text: str | None = None, **attributes: str | float
) -> ElementTree.Element:
    made = {
        key.rstrip("_").replace("_", "-"): value if isinstance(value, str) else _text(value)
        for key, value in attributes.items()
    }
    element = ElementTree.SubElement(parent, tag, made)
    element.text = text
    return element


def _shorten(value: float) -> str:
    """A tick's value: 50k for 50,000 and 3M for three million."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= max(size, 1e4):
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(value: float) -> str:
    """A coordinate to a tenth of a unit: equal bytes on every machine, and a smaller file."""
    return f"{value:.1f}".removesuffix(".0")


# --- Report cells ----------------------------------------------------------------------------------
# The cells of the report's tables: values as text, notes as marks, and how dark a cell is.
#
# A cell's level says how far its value is from the best, on a scale that is fixed for shares and ratios, so
# that
# small differences stay pale; the number is always there beside the colour. Which cells make a table is
# `report_tables`'.


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
class _Cell:
    """One value as text; `interval` and `mark` (of a note) stand beside it, `level` shades it.

    A `wide` cell holds words, not a number.
    """

    text: str
    interval: str = ""
    mark: str = ""
    level: int | None = None
    wide: bool = False


def _describe(metric: str) -> str:
    """Return a metric's name as words: `premium.bottom_decile` is `premium, bottom decile`."""
    return metric.replace("_", " ").replace(".", ", ", 1)


def _show_value(value: float | None, unit: str) -> str:
    """Return a value for a reader: shares as per cent, counts whole, everything else to three digits or so."""
    if value is None:
        return MISSING
    if _is_share(unit):
        percent = 100 * value
        number = f"{percent:.0f}" if percent >= 99.95 or percent == 0 else f"{percent:.3g}"
        return f"{number}\u00a0%"
    if abs(value) >= 1000 or (value == int(value) and unit in COUNTED):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def _is_share(unit: str) -> bool:
    """Whether values of this unit run from 0 to 1."""
    return unit.startswith("share")


def _make_cell(
    figure: Figure | None, best: float | None, marks: _NoteMarks, interval: bool
) -> _Cell:
    """Return a figure's cell, shaded from `best` unless that is None, and with its interval if asked."""
    if figure is None:
        return _Cell(MISSING)
    ends = ""
    if interval and figure.low is not None and figure.high is not None:
        ends = f"{_show_value(figure.low, figure.unit)} to {_show_value(figure.high, figure.unit)}"
    mark = marks.mark(figure.note) if figure.note else ""
    level = None if best is None else _level(figure, best)
    return _Cell(_show_value(figure.value, figure.unit), ends, mark, level)


def rank_names(figures: Iterable[Figure]) -> list[str]:
    """Return the names by their worst value over all tokenizers, the worst first, those without one last."""
    worst: dict[str, float] = {}
    for figure in figures:
        bad = _badness(figure)
        worst[figure.name] = max(
            worst.get(figure.name, -math.inf), -math.inf if bad is None else bad
        )
    return sorted(worst, key=lambda name: (-worst[name], name))


def _span_counts(figures: Iterable[Figure | None]) -> str:
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


def _find_best(figures: Iterable[Figure]) -> float:
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
    if _is_share(figure.unit):
        return bisect_right(SHARE_LEVELS, 1 - figure.value if inverse else figure.value)
    if figure.value <= 0:
        return len(RATIO_LEVELS) if inverse else 0
    return bisect_right(RATIO_LEVELS, best / figure.value if inverse else figure.value / best)


class _NoteMarks:
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


# --- Report charts ---------------------------------------------------------------------------------
# The charts of the report: which figures are drawn, against what, and the sentence under each.
#
# How a chart is drawn is `charts`'; every number in one also stands in a table of the report.


# Rows of a chart: more than a screen of them is read in the table.
CHARTED = 30
# Share of the vocabulary over share of the corpus; and the size that fertility is set against.
ALLOCATION = ("allocation_characters", "allocation_words")
RESOURCE_SIZE = "resource_size"
PARAMETERS = "embedding_parameters"
UNDER_ALLOCATED = 0.5
# An ISO 15924 code; what else a part of a vocabulary is called is a script group or a kind.
SCRIPT = re.compile("[A-Z][a-z]{3}")


@dataclass(frozen=True, slots=True)
class _Chart:
    """An image as SVG, with the sentence that belongs under it."""

    image: str
    caption: str


def _chart_ranking(audit: Audit, headline: str | None) -> _Chart | None:
    """Return the worst languages by the headline metric, with intervals; None without a metric."""
    if headline is None:
        return None
    figures = list(audit.select(metric=headline, scope="language"))
    names = [name for name in rank_names(figures) if any(_has(f, name) for f in figures)]
    head, series = figures[0], [item.name for item in audit.tokenizers]
    title = f"{_describe(headline)} by language, the worst first"
    image = _draw_ranking(
        _as_points(figures, names[:CHARTED], series),
        series,
        title=title,
        axis=f"{head.unit}, logarithmic",
        references={1.0: "1: no premium"} if "premium" in headline else None,
    )
    shown = (
        f"The worst {CHARTED} of {len(names)} languages" if len(names) > CHARTED else "Languages"
    )
    caption = f"{shown} by {_describe(headline)} ({head.unit}; {head.aggregation})."
    if any(figure.low is not None for figure in figures):
        caption += " Lines are 95 % intervals."
    return _Chart(image, caption)


def _chart_parameters(audit: Audit, headline: str | None) -> _Chart | None:
    """Return what languages pay against what the embedding costs; None below two sizes of vocabulary."""
    sizes = {f.tokenizer: f.value for f in audit.select(metric=PARAMETERS, scope="vocabulary")}
    series: dict[str, list[_Spot]] = {}
    for statistic in ("bottom_decile", "mean"):
        for figure in audit.select(metric=f"{headline}.{statistic}", scope="overall"):
            size = sizes.get(figure.tokenizer)
            if size and figure.value:
                spot = _Spot(figure.tokenizer, size, figure.value)
                series.setdefault(_describe(figure.metric), []).append(spot)
    if headline is None or len({spot.x for spots in series.values() for spot in spots}) < 2:
        return None
    image = _draw_scatter(
        series,
        title=f"{_describe(headline)} against embedding parameters",
        x_axis="embedding parameters, logarithmic",
        y_axis=f"{_describe(headline)}, logarithmic",
    )
    caption = "What languages pay against what the vocabulary costs: rows of the embedding times their width."
    return _Chart(image, caption)


def _chart_allocation(audit: Audit) -> _Chart | None:
    """Return each script group's share of the vocabulary over that of the corpus, the least served first."""
    figures = list(audit.select(metric=ALLOCATION[0], scope="vocabulary"))
    names = [name for name in rank_names(figures) if any(_has(f, name) for f in figures)]
    groups = [name for name in names if not SCRIPT.fullmatch(name)] or names
    if not groups:
        return None
    series = [item.name for item in audit.tokenizers]
    image = _draw_ranking(
        _as_points(figures, groups, series),
        series,
        title="Share of the vocabulary divided by share of the corpus, by script group",
        axis="share of vocabulary ÷ share of corpus, logarithmic",
        references={UNDER_ALLOCATED: "0.5", 1.0: "1"},
    )
    return _Chart(
        image,
        "Share of the vocabulary divided by share of the corpus's characters, by script group. Left of 0.5 "
        "a script has less than half of what its text would give it.",
    )


def _chart_resources(audit: Audit) -> _Chart | None:
    """Return fertility against how much text a language has; None where the audit was given no counts."""
    sizes = {f.name: f.value for f in audit.select(metric=RESOURCE_SIZE, scope="language")}
    series: dict[str, list[_Spot]] = {}
    for figure in audit.select(metric="fertility", scope="language"):
        size = sizes.get(figure.name)
        if size and figure.value:
            spot = _Spot(figure.name, size, figure.value)
            series.setdefault(figure.tokenizer, []).append(spot)
    if not series:
        return None
    unit = next(audit.select(metric=RESOURCE_SIZE, scope="language")).unit
    image = _draw_scatter(
        series,
        title="Fertility against size of the language's text",
        x_axis=f"{unit}, logarithmic",
        y_axis="tokens per word, logarithmic",
    )
    return _Chart(image, f"Tokens per word against {unit} of each language.")


def _has(figure: Figure, name: str) -> bool:
    return figure.name == name and figure.value is not None


def _as_points(
    figures: Sequence[Figure], names: Sequence[str], series: Sequence[str]
) -> dict[str, list[_Point | None]]:
    found = {(f.name, f.tokenizer): f for f in figures if f.value is not None}
    rows: dict[str, list[_Point | None]] = {}
    for name in names:
        row: list[_Point | None] = []
        for tokenizer in series:
            figure = found.get((name, tokenizer))
            value = None if figure is None else figure.value
            row.append(
                None if figure is None or value is None else _Point(value, figure.low, figure.high)
            )
        rows[name] = row
    return rows


# --- Report tables ---------------------------------------------------------------------------------
# The tables of the report: which figures stand in which row and column. Rows are sorted worst first.
#
# Says nothing of how a table looks; how a single value is written and shaded is in `report_cells`.


# What a report opens with: the first of these that has a value for some language.
HEADLINES = ("premium", "fertility", "tokens_per_grapheme")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row: its heading, and a cell for each column after the first."""

    name: str
    cells: tuple[_Cell, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table with a short title and its caption.

    `notes` say what the marks in the cells mean; one without a mark is of every cell.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[_Row, ...]
    notes: tuple[tuple[str, str], ...] = ()
    shaded: bool = False
    wide: frozenset[str] = field(default_factory=frozenset)


def find_headline(audit: Audit) -> str | None:
    """Return the metric to rank languages by: premium where lines are aligned, else fertility."""
    measured = {f.metric for f in audit.select(scope="language") if f.value is not None}
    return next((metric for metric in HEADLINES if metric in measured), None)


def _tabulate_metric(
    audit: Audit,
    metric: str,
    scope: str,
    *,
    first: str,
    intervals: bool = False,
    names: Collection[str] | None = None,
    shaded: bool = True,
) -> _Table | None:
    """Return one metric in one scope: a row a name, a column a tokenizer, worst first.

    `first` is the heading of the names, of which only `names` get a row where they are given. None where
    the audit holds no such figure.
    """
    figures = list(audit.select(metric=metric, scope=scope))
    if names is not None:
        figures = [figure for figure in figures if figure.name in names]
    if not figures:
        return None
    tokenizers = tuple(item.name for item in audit.tokenizers)
    found = {(figure.name, figure.tokenizer): figure for figure in figures}
    ranked = rank_names(figures)
    best = _find_best(figures) if shaded else None
    marks = _NoteMarks(figures)
    rows = []
    for name in ranked:
        present = [found.get((name, tokenizer)) for tokenizer in tokenizers]
        rows.append(_Row(name, tuple(_make_cell(f, best, marks, intervals) for f in present)))
    head = figures[0]
    title = f"{_describe(metric)} by {first}"
    caption = f"{_describe(metric)}: {head.unit}, {head.aggregation}"
    return _Table(title, caption, (first, *tokenizers), tuple(rows), marks.listed(), shaded)


def _tabulate_scope(
    audit: Audit, scope: str, name: str, caption: str, *, headline: str | None = None
) -> _Table | None:
    """Return every metric of one name: a row a metric, a column a tokenizer; those of `headline` come first."""
    figures = list(audit.select(scope=scope, name=name))
    if not figures:
        return None
    names = tuple(item.name for item in audit.tokenizers)
    found = {(figure.metric, figure.tokenizer): figure for figure in figures}
    marks = _NoteMarks(figures)
    rows = []
    metrics = dict.fromkeys(figure.metric for figure in figures)
    for metric in sorted(metrics, key=lambda metric: metric.split(".")[0] != headline):
        present = [found.get((metric, tokenizer)) for tokenizer in names]
        given = next(figure for figure in present if figure is not None)
        cells = [_make_cell(figure, None, marks, True) for figure in present]
        how = f"{given.unit}; {given.aggregation}"
        rows.append(
            _Row(_describe(metric), (*cells, _Cell(_span_counts(present)), _Cell(how, wide=True)))
        )
    columns = ("metric", *names, "n", "unit; how")
    return _Table(
        caption, caption, columns, tuple(rows), marks.listed(), wide=frozenset({"unit; how"})
    )


def tabulate_groups(audit: Audit, metrics: Sequence[str], scope: str) -> _Table | None:
    """Return aggregated metrics of every name of a scope: a column a metric and tokenizer, and n."""
    chosen = [f for metric in metrics for f in audit.select(metric=metric, scope=scope)]
    if not chosen:
        return None
    names = [item.name for item in audit.tokenizers]
    columns = [(metric, tokenizer) for metric in metrics for tokenizer in names]
    found = {(f.name, f.metric, f.tokenizer): f for f in chosen}
    marks = _NoteMarks(chosen)
    rows = []
    for name in rank_names([f for f in chosen if f.metric == chosen[0].metric]):
        present = [found.get((name, *column)) for column in columns]
        cells = [_make_cell(figure, None, marks, True) for figure in present]
        rows.append(_Row(name, (_Cell(_span_counts(present)), *cells)))
    headings = [f"{_describe(metric)}, {tokenizer}" for metric, tokenizer in columns]
    title = f"By {scope}"
    return _Table(title, title, (scope, "n", *headings), tuple(rows), marks.listed())


def _tabulate_checks(audit: Audit, family: str) -> _Table | None:
    """Return the findings called `family: part`: a row a part, a column a tokenizer, what was found."""
    names = tuple(item.name for item in audit.tokenizers)
    found: dict[str, dict[str, Finding]] = {}
    for finding in audit.findings:
        kind, separator, part = finding.check.partition(": ")
        if separator and kind == family:
            found.setdefault(part, {})[finding.tokenizer] = finding
    if not found:
        return None
    rows = [
        _Row(part, tuple(_judge(cells.get(name)) for name in names))
        for part, cells in found.items()
    ]
    title = family.capitalize()
    return _Table(title, title, (family, *names), tuple(rows), wide=frozenset(names))


def _judge(finding: Finding | None) -> _Cell:
    if finding is None:
        return _Cell(MISSING, wide=True)
    said = "" if finding.severity in ("fine", "note") else f"{finding.severity}: "
    return _Cell(f"{said}{finding.note}", wide=True)


def list_unranked(audit: Audit, metric: str) -> dict[str, list[str]]:
    """Return for each tokenizer the languages that have no value, which are often the worst served."""
    unranked: dict[str, list[str]] = {}
    for figure in audit.select(metric=metric, scope="language"):
        if figure.value is None:
            unranked.setdefault(figure.tokenizer, []).append(figure.name)
    return unranked


# --- Report ----------------------------------------------------------------------------------------


GROUPS = ("script", "group", "branch", "resource", "tail")
# Checks of one kind by set of digits: a table of their own.
DIGITS = "digits"
SEVERITIES = ("failure", "warning", "note", "fine")


def write_report(audit: Audit, folder: Path) -> Path:
    """Write `report.html` into an existing folder and return its path. Equal audits give equal bytes."""
    target = folder / "report.html"
    # A path may hold bytes that are no text; they are shown escaped.
    page = _render_report(audit).encode("utf-8", errors="backslashreplace")
    target.write_bytes(page)
    return target


def _render_report(audit: Audit) -> str:
    """Return the whole page. Its script and style are named by digest in its policy: no other can run."""
    loader = PackageLoader("vocabkit.auditing", "report_parts")
    pages = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    pages.filters["value"] = _show_value
    script, style = (_read_part(pages, name) for name in ("report.js", "report.css"))
    headline = find_headline(audit)
    return pages.get_template("report.html").render(
        audit=audit,
        script=Markup(script),
        style=Markup(style),
        digests={"script": _digest(script), "style": _digest(style)},
        headline=None if headline is None else _describe(headline),
        overall=_tabulate_scope(
            audit, "overall", "all", "All languages together", headline=headline
        ),
        price=_chart_parameters(audit, headline),
        ranking=_chart_ranking(audit, headline),
        unranked={} if headline is None else list_unranked(audit, headline),
        languages=list(_tabulate_languages(audit, headline)),
        groups=list(_tabulate_groups(audit, headline)),
        vocabulary=_tabulate_scope(audit, "vocabulary", "all", "Each vocabulary as a whole"),
        allocation=_chart_allocation(audit),
        scripts=list(_tabulate_vocabulary(audit)),
        resource=_chart_resources(audit),
        findings=_sort_findings(_without(audit.findings, DIGITS)),
        digits=_tabulate_checks(audit, DIGITS),
    )


def _sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with failures first; those of equal severity keep their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _without(findings: Sequence[Finding], family: str) -> list[Finding]:
    return [finding for finding in findings if not finding.check.startswith(f"{family}: ")]


def _read_part(pages: Environment, name: str) -> str:
    assert pages.loader is not None
    return pages.loader.get_source(pages, name)[0]


def _digest(text: str) -> str:
    """The digest of an inline script or style as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tabulate_languages(audit: Audit, headline: str | None) -> Iterator[_Table]:
    """Yield one table a metric, the headline metric first and with its intervals."""
    metrics = dict.fromkeys(figure.metric for figure in audit.select(scope="language"))
    for metric in sorted(metrics, key=lambda name: name != headline):
        table = _tabulate_metric(
            audit,
            metric,
            "language",
            first="language",
            intervals=metric == headline,
            shaded=metric not in AMOUNTS,
        )
        if table is not None:
            yield table


def _tabulate_groups(audit: Audit, headline: str | None) -> Iterator[_Table]:
    metrics = [f"{headline}.mean", f"{headline}.bottom_decile"]
    for scope in GROUPS:
        table = tabulate_groups(audit, metrics, scope)
        if table is not None:
            yield table


def _tabulate_vocabulary(audit: Audit) -> Iterator[_Table]:
    """Yield one table for each metric that is given by script group, script or kind."""
    parts = [figure for figure in audit.select(scope="vocabulary") if figure.name != "all"]
    metrics = dict.fromkeys(figure.metric for figure in parts)
    for metric in sorted(metrics, key=lambda name: name not in ALLOCATION):
        names = {figure.name for figure in parts if figure.metric == metric}
        scripts = {name for name in names if SCRIPT.fullmatch(name)}
        for first, chosen in (("script group or kind", names - scripts), ("script", scripts)):
            table = _tabulate_metric(
                audit, metric, "vocabulary", first=first, names=chosen, shaded=metric in ALLOCATION
            )
            if table is not None:
                yield table
