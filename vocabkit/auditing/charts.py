"""Charts as inline SVG, by hand: ranked figures with their intervals, and values against a size.

Text goes through an XML writer, so that no name can become markup. A series is told by its marker's shape as
well as its colour, and the same numbers stand in a table beside every chart. What is drawn is `report`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from vocabkit.auditing.figures import Figure

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


# What has no place on a logarithmic axis stands at its end: an open arrow for 0, a cross for no value.
_ARROW = "M4,-4L-4,0L4,4"
_CROSS = "M-3.5,-3.5L3.5,3.5M3.5,-3.5L-3.5,3.5"


class Spot(NamedTuple):
    """A place in a scatter plot, with the name that is read out for it.

    Zero stands at the axis; an infinite `y`, a value that is lost, at the upper edge.
    """

    name: str
    x: float
    y: float


class _Scale(NamedTuple):
    """A logarithmic axis from `low` at `start` to `high` at `end`."""

    low: float
    high: float
    start: float = LEFT
    end: float = WIDTH - RIGHT

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def clamp(self, value: float) -> float:
        """Return where a value is, at an end of the axis where it lies beyond that."""
        return self.place(min(max(value, self.low), self.high))


def draw_ranking(
    rows: Mapping[str, Sequence[Figure | None]],
    series: Sequence[str],
    *,
    title: str,
    axis: str,
    references: Mapping[float, str] | None = None,
    missing: str | None = None,
) -> str:
    """Return an SVG with a line a row, in the order given, and a marker a series on a logarithmic axis.

    `rows` holds a figure for each series, None where there is none. Zero and less have no place on the axis and
    get an arrow at its left end; figures without a value a cross at its right end, read out as `missing`, where
    that is given. `references` are values that get a dashed line and a label.
    """
    marks = references or {}
    points = [f for row in rows.values() for f in row if f and f.value and f.value > 0]
    ends = [*marks, *(end for f in points for end in (f.low, f.value, f.high))]
    scale = _Scale(*_bounds([end for end in ends if end is not None and end > 0]))
    step = 8 * len(series) + 8
    top = TOP + _legend_height(series)
    bottom = top + step * len(rows)
    image = _open_image(bottom + BOTTOM, title, series)
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
        for place, figure in enumerate(row):
            if figure is not None:
                said, height = f"{name}, {series[place]}", y + 8 + 8 * place
                _draw_figure(image, scale, figure, place, height, said, missing)
    return ElementTree.tostring(image, encoding="unicode")


def _draw_figure(
    image: ElementTree.Element,
    scale: _Scale,
    figure: Figure,
    place: int,
    y: float,
    whose: str,
    missing: str | None,
) -> None:
    """Draw one figure of a ranking, with its interval; at an end of the axis where it has no place on it."""
    if figure.value is None:
        if missing is not None:
            said = f"{whose}: {missing}" + (f": {figure.note}" if figure.note else "")
            _add(_draw_sign(image, _CROSS, place, scale.end - 4, y), "title", said)
        return
    said, colour = f"{whose}: {figure.value:.3g}", COLOURS[place % len(COLOURS)]
    if figure.low is not None and figure.high is not None:
        said += f" ({figure.low:.3g} to {figure.high:.3g})"
        if figure.high > 0:
            x1, x2 = (scale.place(max(end, scale.low)) for end in (figure.low, figure.high))
            _add(image, "line", x1=x1, x2=x2, y1=y, y2=y, stroke=colour, class_="interval")
    if figure.value > 0:
        mark = _draw_marker(image, place, scale.place(figure.value), y)
    else:
        mark = _draw_sign(image, _ARROW, place, scale.start + 4, y)
    _add(mark, "title", said)


def draw_scatter(spots: Mapping[str, Sequence[Spot]], *, title: str, x_axis: str, y_axis: str) -> str:
    """Return an SVG of each series' spots, both axes logarithmic; zero is at an axis, infinity at the top."""
    every = [spot for places in spots.values() for spot in places]
    top = TOP + _legend_height(list(spots))
    bottom = top + 340
    across = _Scale(*_bounds([spot.x for spot in every if 0 < spot.x < math.inf]))
    heights = [spot.y for spot in every if 0 < spot.y < math.inf]
    upward = _Scale(*_bounds(heights), start=bottom - 8, end=top + 8)
    image = _open_image(bottom + BOTTOM, title, list(spots))
    _draw_ticks(image, across, top, bottom, x_axis)
    for value in _find_ticks(upward.low, upward.high):
        y = _text(upward.place(value))
        _add(image, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        _add(image, "text", f"{value:g}", x=LEFT - 8, y=float(y) + 4, class_="row-name")
    _add(image, "text", y_axis, x=8, y=top - 5, class_="axis-name start")
    for place, (series, places) in enumerate(spots.items()):
        for spot in places:
            x, height = across.clamp(spot.x), upward.clamp(spot.y)
            if spot.y == math.inf:
                mark = _draw_sign(image, _CROSS, place, x, height)
            elif spot.x > 0 and spot.y > 0:
                mark = _draw_marker(image, place, x, height)
            else:
                mark = _draw_sign(image, _ARROW, place, x, height, turn=0 if spot.x <= 0 else -90)
            said = "lost" if spot.y == math.inf else f"{spot.y:.3g}"
            _add(mark, "title", f"{spot.name}, {series}: {said} at {spot.x:,.0f}")
    # Names beside the highest few, once each: more would cover one another.
    named: dict[str, Spot] = {}
    for spot in sorted(every, key=lambda spot: -spot.y):
        if len(named) < NAMED:
            named.setdefault(spot.name, spot)
    for spot in named.values():
        x, height = across.clamp(spot.x), upward.clamp(spot.y)
        side, away = ("before", -7) if x > WIDTH / 2 else ("after", 7)
        _add(image, "text", spot.name, x=x + away, y=height + 4, class_=f"spot-name {side}")
    return ElementTree.tostring(image, encoding="unicode")


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


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, a little beyond the values; some axis even where there is no value."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    # Less than a fifth between the ends would blow up differences that mean nothing.
    room = max(1.04, math.sqrt(1.2 * low / high))
    return low / room, high * room


def _legend_height(series: Sequence[str]) -> int:
    return 0 if len(series) < 2 else 20 * math.ceil(len(series) / 2)


def _open_image(height: float, title: str, series: Sequence[str]) -> ElementTree.Element:
    """Return an image with its legend: two names a line, so that a long one still fits; none for one series."""
    box = {"viewBox": f"0 0 {WIDTH} {_text(height)}", "role": "img", "aria-label": title}
    image = ElementTree.Element("svg", box)
    for place, name in enumerate(series if len(series) > 1 else ()):
        x, y = LEFT + place % 2 * 236, 12 + place // 2 * 20
        _draw_marker(image, place, x, y)
        _add(image, "text", name, x=x + 12, y=y + 4, class_="series-name")
    return image


def _draw_ticks(image: ElementTree.Element, scale: _Scale, top: float, bottom: float, name: str) -> None:
    for value in _find_ticks(scale.low, scale.high):
        x = _text(scale.place(value))
        _add(image, "line", x1=x, x2=x, y1=top, y2=bottom, class_="grid")
        _add(image, "text", _abbreviate(value), x=x, y=bottom + 16, class_="tick")
    _add(image, "text", name, x=WIDTH - RIGHT, y=bottom + 34, class_="axis-name")


def _draw_marker(image: ElementTree.Element, place: int, x: float, y: float) -> ElementTree.Element:
    # From the ninth series on a colour comes back with another shape.
    shape = SHAPES[(place + place // len(COLOURS)) % len(SHAPES)]
    where, colour = f"translate({_text(x)},{_text(y)})", COLOURS[place % len(COLOURS)]
    return _add(image, "path", d=shape, fill=colour, transform=where)


def _draw_sign(
    image: ElementTree.Element, shape: str, place: int, x: float, y: float, turn: int = 0
) -> ElementTree.Element:
    """Draw the outline of a sign in the colour of a series."""
    where = f"translate({_text(x)},{_text(y)})" + (f" rotate({turn})" if turn else "")
    return _add(image, "path", d=shape, fill="none", stroke=COLOURS[place % len(COLOURS)], transform=where)


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


def _abbreviate(value: float) -> str:
    """Return a tick's value: 50k for 50,000 and 3M for three million."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= max(size, 1e4):
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(value: float) -> str:
    """Return a coordinate to a tenth of a unit: equal bytes on every machine, and a smaller file."""
    return f"{value:.1f}".removesuffix(".0")
