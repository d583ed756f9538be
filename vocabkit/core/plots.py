"""Charts for a paper, by matplotlib: shown in a notebook, saved as SVG, PDF or PNG.

What is drawn is decided by the results that have a `plot`; this knows lines, rows of points, bars of change,
cells and spots. Their languages and tokenizers are names, so nothing here knows a stage. The pages that verbs
write are drawn by hand (`auditing.charts`), because a page must not depend on an extra. Nothing else imports
matplotlib.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from vocabkit.core.errors import ConfigError, MissingExtra, OutputError, first_line

# The pages' colours and order: 3.5:1 or more against white, and apart for every kind of colour vision.
COLOURS = (
    "#0072b2", "#c44e00", "#00795a", "#a8447a", "#000000", "#7a5c00", "#5f5fd0", "#6b6b6b",
)  # fmt: skip
MARKERS = "os^DPvX*"
CHEAPER, DEARER, QUIET = COLOURS[0], COLOURS[1], "#595959"
FORMATS = ("svg", "pdf", "png")
SHOWN_DPI, SAVED_DPI = 110, 300
"""Dots an inch: of a chart in a notebook, and of a PNG on paper."""
NAMED = 6
"""More lines than this are named at their ends: nobody finds 40 colours in a legend."""


class Point(NamedTuple):
    """A value with the ends of its interval; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


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


def plot_lines(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
    upward: str,
    logarithmic: bool = False,
    dots: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    bands: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    legend: str | None = None,
) -> Plot:
    """Return lines of points by name. Raises `MissingExtra` without matplotlib.

    `dots` marks points of a line, `bands` are its intervals (x, low, high), `legend` is what the names are.

    Few lines get a legend. More are named at the right in the order in which they end, each with a thread to
    its line's end, and neighbours differ in colour: 40 languages stay readable.
    """
    drawn = {name: points for name, points in lines.items() if points}
    many = len(drawn) > NAMED
    with _style():
        figure, axes = _open(7.5, max(4.5, 0.17 * len(drawn) + 1.0) if many else 4.5)
        _set_scales(axes, logarithmic, logarithmic)
        ranked = sorted(drawn, key=lambda name: drawn[name][-1][1]) if many else list(drawn)
        for place, name in enumerate(ranked):
            xs, ys = zip(*drawn[name], strict=True)
            look = {"color": COLOURS[place % len(COLOURS)], "label": name, "linewidth": 1.1}
            few = len(xs) < 20 and not many and dots is None
            axes.plot(xs, ys, marker="o" if few else "", markersize=3, **look)
            if dots and dots.get(name):
                axes.plot(*zip(*dots[name], strict=True), "o", color=look["color"], markersize=4)
            if bands and bands.get(name):
                axes.fill_between(*zip(*bands[name], strict=True), color=look["color"], alpha=0.15, linewidth=0)
        _name_axes(axes, across, upward)
        if many:
            _name_ends(axes, {name: drawn[name][-1] for name in ranked})
        elif drawn:
            axes.legend(fontsize=8, frameon=False, title=legend)
    return Plot(figure)


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


def plot_ranking(
    rows: Mapping[str, Sequence[Point | None]],
    series: Sequence[str],
    *,
    across: str,
    references: Mapping[float, str] | None = None,
    missing: str = "lost",
) -> Plot:
    """Return a line a row, in the order given, and on it a point a series with its interval, logarithmic.

    A point without a value is a cross at the right edge, named `missing`; zero an arrow at the left edge. None
    is left out. Raises `MissingExtra` without matplotlib.
    """
    with _style():
        figure, axes = _open(7.0, 0.22 * len(rows) + 1.5)
        _set_scales(axes, True, False)
        crossed = False
        for place, name in enumerate(series):
            look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
            shift = (place - (len(series) - 1) / 2) * 0.5 / max(len(series), 1)
            points = [(k + shift, row[place]) for k, row in enumerate(rows.values())]
            found = [(y, p) for y, p in points if p is not None]
            known = [(y, p.value, p) for y, p in found if p.value is not None and p.value > 0]
            xs, ys = [x for _, x, _ in known], [y for y, _, _ in known]
            axes.plot(xs, ys, linestyle="", markersize=4.5, label=name, **look)
            for y, _, p in known:
                if p.low is not None and p.high is not None and p.low > 0:
                    axes.plot([p.low, p.high], [y, y], color=look["color"], linewidth=1)
            edge = axes.get_yaxis_transform()
            for y, p in found:
                if p.value is None:
                    crossed = True
                    axes.plot([1.0], [y], "x", color=look["color"], transform=edge, clip_on=False)
                elif p.value <= 0:
                    axes.plot(
                        [0.0], [y], "<", color=look["color"], transform=edge, clip_on=False, fillstyle="none"
                    )
        for value, label in (references or {}).items():
            axes.axvline(value, color=QUIET, linestyle="--", linewidth=0.8, zorder=0)
            axes.annotate(
                label, (value, 1.0), xycoords=("data", "axes fraction"), fontsize=7, ha="center", va="bottom"
            )
        if crossed:
            axes.plot([], [], "x", color=QUIET, label=missing)
        _name_rows(axes, list(rows))
        _name_axes(axes, across, "")
        if len(series) > 1 or crossed:
            figure.legend(fontsize=8, frameon=False, loc="outside upper left", ncols=3)
    return Plot(figure)


def plot_changes(
    changes: Mapping[str, Point],
    *,
    across: str,
    limit: float | None = None,
    missing: str = "no change is given",
) -> Plot:
    """Return bars of change from zero with their intervals, shares drawn as per cent, in the order given.

    `limit` is a share that gets a dashed line; a language without a change gets a cross at zero. Raises
    `MissingExtra` without matplotlib.
    """
    with _style():
        figure, axes = _open(6.5, 0.2 * len(changes) + 1.3)
        for y, point in enumerate(changes.values()):
            if point.value is None:
                axes.plot([0], [y], "x", color=QUIET)
                axes.annotate(
                    missing, (0, y), textcoords="offset points", xytext=(6, 0), fontsize=7, va="center"
                )
                continue
            axes.barh(
                y, 100 * point.value, height=0.7, color=DEARER if point.value > 0 else CHEAPER, alpha=0.85
            )
            if point.low is not None and point.high is not None:
                axes.plot([100 * point.low, 100 * point.high], [y, y], color="black", linewidth=1)
        axes.axvline(0, color="black", linewidth=0.8)
        if limit is not None:
            axes.axvline(100 * limit, color=QUIET, linestyle="--", linewidth=0.8)
            where = (100 * limit, 1.0)
            said = f"limit {limit:+.3g}" if not math.isfinite(limit) else f"limit {100 * limit:+.3g} %"
            axes.annotate(said, where, xycoords=("data", "axes fraction"), fontsize=7, ha="center", va="bottom")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g} %" if value else "0")
        _name_rows(axes, list(changes))
        _name_axes(axes, across, "")
    return Plot(figure)


def plot_cells(
    rows: Mapping[str, Sequence[tuple[str, float | None]]], columns: Sequence[str], *, across: str
) -> Plot:
    """Return a table of texts, each shaded from 0, pale, to 1, dark; hatched where it has no shade.

    `across` says under it what the texts are. Raises `MissingExtra` without matplotlib.
    """
    with _style():
        import matplotlib

        table = matplotlib.colormaps["YlOrBr"]
        figure, axes = _open(1.8 + 1.0 * len(columns), 0.22 * len(rows) + 1.0)
        for y, row in enumerate(rows.values()):
            for x, (text, shade) in enumerate(row):
                corners = [x, x + 1, x + 1, x], [y - 0.5, y - 0.5, y + 0.5, y + 0.5]
                if shade is None:
                    axes.fill(*corners, facecolor="white", edgecolor="#d0d0d0", hatch="////", linewidth=0)
                else:
                    axes.fill(*corners, color=table(0.85 * shade), linewidth=0)
                ink = "white" if shade is not None and shade > 0.7 else "black"
                axes.text(x + 0.5, y, text, ha="center", va="center", fontsize=7, color=ink)
        axes.set_xlim(0, len(columns))
        axes.set_xticks([x + 0.5 for x in range(len(columns))], columns, fontsize=8)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.grid(False)
        _name_rows(axes, list(rows))
        _name_axes(axes, across, "")
    return Plot(figure)


def plot_spots(series: Mapping[str, Sequence[tuple[str, float, float]]], *, across: str, upward: str) -> Plot:
    """Return spots (name, x, y), both axes logarithmic; the highest few are named, an infinite y is a cross.

    Raises `MissingExtra` without matplotlib.
    """
    with _style():
        figure, axes = _open(7.0, 4.5)
        _set_scales(axes, True, True)
        for place, (name, spots) in enumerate(series.items()):
            look = {"color": COLOURS[place % len(COLOURS)]}
            known = [(x, y) for _, x, y in spots if x > 0 and 0 < y < math.inf]
            if known:
                xs, ys = zip(*known, strict=True)
                axes.plot(xs, ys, MARKERS[place % len(MARKERS)], markersize=4.5, label=name, **look)
            for x in (x for _, x, y in spots if y == math.inf and x > 0):
                axes.plot([x], [1.0], "x", transform=axes.get_xaxis_transform(), clip_on=False, **look)
        every = [spot for spots in series.values() for spot in spots if spot[1] > 0 and 0 < spot[2] < math.inf]
        named: dict[str, tuple[float, float]] = {}
        for name, x, y in sorted(every, key=lambda spot: -spot[2]):
            if len(named) < NAMED:
                named.setdefault(name, (x, y))
        for name, where in named.items():
            axes.annotate(name, where, textcoords="offset points", xytext=(5, 2), fontsize=7)
        _name_axes(axes, across, upward)
        if len(series) > 1:
            axes.legend(fontsize=8, frameon=False)
    return Plot(figure)


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


def _set_scales(axes: Any, across: bool, upward: bool) -> None:
    """Make axes logarithmic, with plain numbers at their ticks: 50k, 3M and not powers of ten."""
    for axis, is_set, scale in ((axes.xaxis, across, axes.set_xscale), (axes.yaxis, upward, axes.set_yscale)):
        if is_set:
            scale("log")
            from matplotlib.ticker import LogLocator, NullFormatter

            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
            axis.set_major_formatter(lambda value, _: _abbreviate(value))
            axis.set_minor_formatter(NullFormatter())


def _name_axes(axes: Any, across: str, upward: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(upward)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    """Put the rows' names at the left, the first at the top."""
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _abbreviate(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= max(size, 1e4):
            return f"{value / size:g}{letter}"
    return f"{value:g}"
