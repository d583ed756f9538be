"""Charts for a paper, by matplotlib: shown in a notebook, saved as SVG, PDF or PNG.

What is drawn is the pages' own description of a chart (`core.pages`), so that page and paper show the same.
Pages draw theirs in the browser, because a page must not depend on an extra. Nothing else imports matplotlib.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from vocabkit.core.errors import ConfigError, MissingExtra, OutputError, first_line
from vocabkit.core.pages import Chart, Series, Table, is_share
from vocabkit.core.results import Result

# The pages' colours and order: 3.5:1 or more against white, and apart for every kind of colour vision.
COLOURS = (
    "#0072b2", "#c44e00", "#00795a", "#a8447a", "#000000", "#7a5c00", "#5f5fd0", "#6b6b6b",
)  # fmt: skip
MARKERS = "os^DPvX*"
LESS, MORE, QUIET = COLOURS[0], COLOURS[1], "#595959"
FORMATS = ("svg", "pdf", "png")
SHOWN_DPI, SAVED_DPI = 110, 300
"""Dots an inch: of a chart in a notebook, and of a PNG on paper."""
NAMED = 8
"""More lines than this are named at their ends: nobody finds 40 colours in a legend."""
LEVELS = 6
"""The darkest shade of a table's cell."""


class Plot:
    """A chart: `save` writes it and a notebook shows it. `figure` is matplotlib's own, to alter before saving.

    >>> vk.Audit.load("report/").plot("languages").save("premium.pdf")  # doctest: +SKIP
    """

    __slots__ = ("figure",)

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def save(self, path: str | Path) -> None:
        """Write the chart; the name's end says the format: .svg, .pdf or .png. Equal charts give equal bytes.

        Raises ConfigError for another ending, OutputError where the file cannot be written.
        """
        target = Path(path)
        kind = target.suffix.lower().removeprefix(".")
        if kind not in FORMATS:
            raise ConfigError(
                f"{target}: a chart is saved as .svg, .pdf or .png", f"{target.stem or 'chart'}.svg"
            )
        dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
        try:
            with _style():
                self.figure.savefig(target, format=kind, dpi=SAVED_DPI, metadata=dated[kind])
        except OSError as error:
            raise OutputError(
                f"{target}: {first_line(error)}", "name a file in a folder that exists"
            ) from error

    def _repr_png_(self) -> bytes:
        """Return the image that a notebook shows."""
        image = BytesIO()
        with _style():
            self.figure.savefig(image, format="png", dpi=SHOWN_DPI)
        return image.getvalue()


class Charted(Result):
    """A result with charts: those of its page."""

    __slots__ = ()

    @abstractmethod
    def charts(self) -> Mapping[str, Chart | Table]:
        """Return the charts that there is something to draw in, by name, the first thing to look at first."""

    def plot(self, name: str | None = None) -> Plot:
        """Return the first chart, or the one of this name, drawn for a notebook or a paper.

        Raises ConfigError for a name that `charts` does not have, MissingExtra without matplotlib.
        """
        charts = self.charts()
        chosen = next(iter(charts), "") if name is None else name
        if chosen not in charts:
            what = f"no chart {name!r}" if name is not None else "nothing to draw"
            raise ConfigError(
                f"{what}: there is {', '.join(charts) or 'no figure to draw'}", "charts() lists them"
            )
        chart = charts[chosen]
        return _plot_table(chart) if isinstance(chart, Table) else _plot_chart(chart)


def _plot_chart(chart: Chart) -> Plot:
    draw = {
        "dots": _draw_dots,
        "bars": _draw_bars,
        "stack": _draw_stack,
        "lines": _draw_plane,
        "spots": _draw_plane,
    }
    with _style():
        figure, axes = _open(*_size(chart))
        draw[chart.kind](chart, figure, axes)
    return Plot(figure)


def _plot_table(table: Table) -> Plot:
    """Return the cells of a table, each in the shade that it has; hatched where its value is lost."""
    with _style():
        import matplotlib

        shades = matplotlib.colormaps["YlOrBr"]
        columns = list(table.columns[1:])
        figure, axes = _open(1.8 + 1.0 * len(columns), 0.22 * len(table.rows) + 1.0)
        for y, row in enumerate(table.rows):
            for x, cell in enumerate(row.cells):
                corners = [x, x + 1, x + 1, x], [y - 0.5, y - 0.5, y + 0.5, y + 0.5]
                shade = (cell.level or 0) / LEVELS
                if cell.value is None:
                    axes.fill(*corners, facecolor="white", edgecolor="#d0d0d0", hatch="////", linewidth=0)
                elif cell.level is not None:
                    axes.fill(*corners, color=shades(0.85 * shade), linewidth=0)
                ink = "white" if cell.value is not None and shade > 0.7 else "black"
                axes.text(x + 0.5, y, cell.text, ha="center", va="center", fontsize=7, color=ink)
        axes.set_xlim(0, max(len(columns), 1))
        axes.set_xticks([x + 0.5 for x in range(len(columns))], columns, fontsize=8)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.grid(False)
        axes.set_xlabel(table.caption)
        _name_rows(axes, [row.name for row in table.rows])
    return Plot(figure)


# --- Rows ------------------------------------------------------------------------------------------


def _size(chart: Chart) -> tuple[float, float]:
    """Return inches: wide enough for a page of A4, as high as its rows or names need."""
    if chart.kind in ("lines", "spots"):
        many = len(chart.series) > NAMED and chart.kind == "lines"
        return 7.5, max(4.5, 0.17 * len(chart.series) + 1.0) if many else 4.5
    each = 0.16 + 0.06 * len(chart.series) if chart.kind == "dots" else 0.22
    return 7.0, each * len(chart.labels) + 1.5


def _draw_dots(chart: Chart, figure: Any, axes: Any) -> None:
    """Draw a point a series on each row, with its interval; what is lost is a cross at the worse edge."""
    _set_scale(axes.xaxis, axes.set_xscale, chart.unit, logarithmic=chart.logarithmic)
    gaps: dict[str, None] = {}
    for place, one in enumerate(chart.series):
        look = {"color": COLOURS[place % len(COLOURS)]}
        marker = MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]
        shift = (place - (len(chart.series) - 1) / 2) * 0.55 / len(chart.series)
        known = [(k, value) for k, value in _list_values(one) if value > 0 or not chart.logarithmic]
        axes.plot(
            [v for _, v in known], [k + shift for k, _ in known], marker, markersize=4.5, label=one.name, **look
        )
        for k, low, high in _list_intervals(one):
            if low > 0 or not chart.logarithmic:
                axes.plot([low, high], [k + shift, k + shift], linewidth=1, **look)
        edge = {"transform": axes.get_yaxis_transform(), "clip_on": False, **look}
        for k, value in _list_values(one):
            if value <= 0 and chart.logarithmic:
                axes.plot([0.0], [k + shift], "<", fillstyle="none", **edge)
        for k, gap in enumerate(one.gaps):
            if gap:
                gaps[gap] = None
                axes.plot([0.0 if chart.more_is_better else 1.0], [k + shift], "x", **edge)
    _draw_marks(chart, axes)
    if gaps:
        axes.plot([], [], "x", color=QUIET, label=", ".join(gaps))
    _name_rows(axes, chart.labels)
    axes.set_xlabel(chart.axis)
    _add_legend(chart, figure, gaps=bool(gaps))


def _draw_bars(chart: Chart, figure: Any, axes: Any) -> None:
    """Draw a bar from zero on each row, what is more and what is less in two colours, with its interval."""
    (one, *_) = chart.series
    values = dict(_list_values(one))
    for k, value in values.items():
        axes.barh(k, value, height=0.7, color=MORE if chart.signed and value > 0 else LESS, alpha=0.85)
    for k, low, high in _list_intervals(one):
        axes.plot([low, high], [k, k], color="black", linewidth=1)
    for k in range(len(chart.labels)):
        if k not in values:
            said = one.gaps[k] if k < len(one.gaps) and one.gaps[k] else "no value"
            axes.plot([0], [k], "x", color=QUIET)
            axes.annotate(said, (0, k), textcoords="offset points", xytext=(6, 0), fontsize=7, va="center")
    axes.axvline(0, color="black", linewidth=0.8)
    _draw_marks(chart, axes)
    _set_scale(axes.xaxis, axes.set_xscale, chart.unit, signed=chart.signed)
    _name_rows(axes, chart.labels)
    axes.set_xlabel(chart.axis)


def _draw_stack(chart: Chart, figure: Any, axes: Any) -> None:
    """Draw on each row its series one behind the other."""
    before = [0.0] * len(chart.labels)
    for place, one in enumerate(chart.series):
        name: str | None = one.name
        for k, value in _list_values(one):
            axes.barh(k, value, left=before[k], height=0.7, color=COLOURS[place % len(COLOURS)], label=name)
            name, before[k] = None, before[k] + value
    _set_scale(axes.xaxis, axes.set_xscale, chart.unit)
    axes.set_xlim(0, max(before, default=1.0))
    _name_rows(axes, chart.labels)
    axes.set_xlabel(chart.axis)
    _add_legend(chart, figure)


def _list_values(one: Series) -> list[tuple[int, float]]:
    return [(k, value) for k, value in enumerate(one.values) if value is not None and math.isfinite(value)]


def _list_intervals(one: Series) -> list[tuple[int, float, float]]:
    ends = enumerate(zip(one.low, one.high, strict=False))
    return [(k, low, high) for k, (low, high) in ends if low is not None and high is not None]


# --- Numbers against numbers -----------------------------------------------------------------------


def _draw_plane(chart: Chart, figure: Any, axes: Any) -> None:
    """Draw curves or spots. Few get a legend; many curves are named at the right, in the order of their ends.

    There neighbours differ in colour and each name has a thread to its curve's end: 40 languages stay readable.
    """
    joined = chart.kind == "lines"
    many = joined and len(chart.series) > NAMED
    _set_scale(axes.xaxis, axes.set_xscale, "", logarithmic=chart.x_logarithmic)
    _set_scale(axes.yaxis, axes.set_yscale, chart.unit, logarithmic=chart.logarithmic)
    points = {one.name: [(one.x[k], value) for k, value in _list_values(one)] for one in chart.series}
    points = {name: found for name, found in points.items() if found}
    ranked = sorted(points, key=lambda name: points[name][-1][1]) if many else list(points)
    given = {one.name: one for one in chart.series}
    for place, name in enumerate(ranked):
        one = given[name]
        xs, ys = zip(*points[name], strict=True)
        look = {"color": COLOURS[place % len(COLOURS)], "label": name}
        if joined:
            few = len(xs) < 20 and not many and not one.marked
            axes.plot(xs, ys, linewidth=1.1, marker="o" if few else "", markersize=3, **look)
            chosen = [(one.x[k], one.values[k]) for k in one.marked]
            axes.plot([x for x, _ in chosen], [y for _, y in chosen], "o", color=look["color"], markersize=4)
        else:
            axes.plot(xs, ys, MARKERS[place % len(MARKERS)], markersize=4.5, **look)
        if one.low and joined:
            bands = _list_intervals(one)
            axes.fill_between(
                [one.x[k] for k, *_ in bands], [low for _, low, _ in bands], [high for *_, high in bands],
                color=look["color"], alpha=0.15, linewidth=0,
            )  # fmt: skip
        for x in (one.x[k] for k, gap in enumerate(one.gaps) if gap):
            upper = axes.get_xaxis_transform()
            axes.plot([x], [1.0], "x", color=look["color"], transform=upper, clip_on=False)
    axes.set_xlabel(chart.across)
    axes.set_ylabel(chart.axis)
    if many:
        _name_ends(axes, {name: points[name][-1] for name in ranked})
    else:
        _add_legend(chart, figure)
    if not joined:
        _name_spots(chart, axes)


def _name_spots(chart: Chart, axes: Any, most: int = 6) -> None:
    """Write names beside the highest spots."""
    spots = [
        (value, one.x[k], one.names[k])
        for one in chart.series
        for k, value in _list_values(one)
        if k < len(one.names)
    ]
    named: dict[str, tuple[float, float]] = {}
    for y, x, name in sorted(spots, key=lambda spot: -spot[0]):
        if len(named) < most:
            named.setdefault(name, (x, y))
    for name, where in named.items():
        axes.annotate(name, where, textcoords="offset points", xytext=(5, 2), fontsize=7)


def _name_ends(axes: Any, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write names at the right in the order of their lines' ends, each with a thread to where its line ends."""
    across, upward = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(across)
    axes.set_ylim(upward)
    heights = [_place(y, upward, axes.get_yscale()) for _, y in ends.values()]
    spread = _spread(heights, min(1.0 / max(len(ends) - 1, 1), 0.05))
    for place, ((name, (x, y)), height) in enumerate(zip(ends.items(), spread, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        axes.plot([x, across[1]], [y, y], ":", color=colour, linewidth=0.6)
        axes.annotate(
            name, (across[1], y), xycoords="data", xytext=(1.08, height), textcoords="axes fraction",
            fontsize=7, color=colour, va="center", annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0,
                "relpos": (0.0, 0.5),
            },
        )  # fmt: skip


def _place(value: float, ends: tuple[float, float], scale: str) -> float:
    low, high, value = (math.log(x) if scale == "log" else x for x in (*ends, value))
    return (value - low) / (high - low)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights moved as little as sets them apart by `gap`, within 0 to 1.

    Neighbours that are too near become a block about the mean of their places (least squares).
    """
    blocks: list[tuple[float, int]] = []
    for k, height in enumerate(heights):
        mean, size = height - k * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean = (before * count + mean * size) / (count + size)
            size += count
        blocks.append((mean, size))
    room = 1.0 - gap * (len(heights) - 1)
    starts = [min(max(mean, 0.0), max(room, 0.0)) for mean, size in blocks for _ in range(size)]
    return [start + k * gap for k, start in enumerate(starts)]


# --- What all charts share -------------------------------------------------------------------------


@contextmanager
def _style() -> Iterator[None]:
    """Set what every chart is drawn with: names are no formulas, and equal charts give equal bytes.

    Raises `MissingExtra`.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtra("plots need matplotlib", "pip install 'vocabkit[plots]'") from error
    settings: dict[Any, Any] = {
        "axes.grid": True, "axes.spines.right": False, "axes.spines.top": False, "font.size": 9.0,
        "grid.color": "#e2e2e2", "grid.linewidth": 0.6,
        # Without a salt the ids of an SVG are drawn at random.
        "svg.hashsalt": "vocabkit", "text.parse_math": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A tokenizer's name may hold letters that the font lacks: they show as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _open(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    return figure, axes


def _set_scale(axis: Any, scale: Any, unit: str, *, logarithmic: bool = False, signed: bool = False) -> None:
    """Write ticks as a page does: 50k, 3M and 5 % rather than powers of ten, also on a logarithmic axis."""
    if logarithmic:
        from matplotlib.ticker import LogLocator, NullFormatter

        scale("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(lambda value, _: ("+" if signed and value > 0 else "") + _show_tick(value, unit))


def _show_tick(value: float, unit: str) -> str:
    if is_share(unit):
        return f"{100 * value:.6g}\u00a0%"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.6g}{letter}"
    return f"{value:.6g}"


def _draw_marks(chart: Chart, axes: Any) -> None:
    for value, label in chart.marks.items():
        axes.axvline(value, color=QUIET, linestyle="--", linewidth=0.8, zorder=0)
        where = (value, 1.0)
        axes.annotate(label, where, xycoords=("data", "axes fraction"), fontsize=7, ha="center", va="bottom")


def _add_legend(chart: Chart, figure: Any, *, gaps: bool = False) -> None:
    named = any(axes.get_legend_handles_labels()[0] for axes in figure.axes)  # not where all is null
    if named and (len(chart.series) > 1 or gaps):
        figure.legend(fontsize=8, frameon=False, loc="outside upper left", ncols=4)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    """Put the rows' names at the left, the first at the top."""
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
