"""Charts for a paper: what is drawn is what was given, no name covers another, files are as they are called."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from vocabkit.core.errors import ConfigError, MissingExtra, OutputError
from vocabkit.core.pages import Cell, Chart, Row, Series, Table
from vocabkit.core.plots import Charted, Plot, _spread

pytest.importorskip("matplotlib")
NAMES = ["Yoruba", "Burmese", "$x^2$ {", "日本語"]


@dataclass(frozen=True)
class Drawn(Charted):
    """A result that has these charts."""

    given: Mapping[str, Chart | Table]

    def to_rows(self) -> list[dict[str, object]]:
        return []

    def charts(self) -> Mapping[str, Chart | Table]:
        return self.given


def draw(chart: Chart | Table) -> Plot:
    return Drawn({"it": chart}).plot()


def dots(*series: Series, logarithmic: bool = True) -> Chart:
    return Chart("dots", "Premium", "", series, NAMES, axis="premium", logarithmic=logarithmic)


def curves(count: int) -> Chart:
    # They end in two bunches, closer together than their names are high.
    series = [
        Series(f"language {k}", [2.0, 1.0 + (k % 2) + 0.001 * k], x=[100.0, 10_000.0 - k], marked=[1])
        for k in range(count)
    ]
    return Chart(
        "lines", "Curves", "", series, axis="tokens", across="pieces", x_logarithmic=True, logarithmic=True
    )


def bars() -> Chart:
    series = Series(
        "change",
        [0.5, -0.25, None, 0.1],
        [0.4, -0.3, None, None],
        [0.6, -0.2, None, None],
        gaps=["", "", "lost", ""],
    )
    return Chart(
        "bars", "Change", "", [series], NAMES, unit="share", axis="change", marks={0.02: "limit"}, signed=True
    )


def spots() -> Chart:
    series = Series(
        "shared", [2.0, 3.0, None], x=[10.0, 20.0, 30.0], names=["a", "b", "c"], gaps=["", "", "lost"]
    )
    return Chart(
        "spots", "Size", "", [series], axis="tokens", across="text", logarithmic=True, x_logarithmic=True
    )


def stack() -> Chart:
    return Chart(
        "stack", "Scripts", "", [Series("Latin", [0.5] * 4), Series("Han", [0.25] * 4)], NAMES, unit="share"
    )


def table() -> Table:
    rows = [
        Row("Yoruba", [Cell("1.2", 1.2, level=1), Cell("lost", level=6)]),
        Row("Lao", [Cell("5", 5.0, level=6), Cell("–")]),
    ]
    return Table("premium", ["language", "shared", "balanced"], rows)


LOST = Series(
    "shared", [1.0, 2.0, 0.0, None], [0.9, 1.9, None, None], [1.1, 2.1, None, None], gaps=["", "", "", "lost"]
)
EVERY: dict[str, Chart | Table] = {
    "dots": dots(LOST), "bars": bars(), "stack": stack(), "lines": curves(3), "many lines": curves(40),
    "spots": spots(), "table": table(),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERY)
def test_equal_charts_are_equal_files(name: str, tmp_path: Path) -> None:
    for copy in "ab":
        draw(EVERY[name]).save(tmp_path / f"{copy}.svg")
    saved = (tmp_path / "a.svg").read_bytes()
    assert saved == (tmp_path / "b.svg").read_bytes()
    assert len(ElementTree.fromstring(saved)) > 1


def test_a_file_is_what_its_name_says(tmp_path: Path) -> None:
    for name, begin in (("a.SVG", b"<?xml"), ("a.pdf", b"%PDF"), ("a.png", b"\x89PNG")):
        draw(bars()).save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begin)
    assert draw(bars())._repr_png_().startswith(b"\x89PNG")


def test_points_stand_at_their_values_and_lost_ones_at_the_edge() -> None:
    values = [1.5, 4.0, 0.0, None]
    axes = draw(dots(Series("shared", values, gaps=["", "", "", "lost"]))).figure.axes[0]
    assert axes.get_xscale() == "log"
    found = {line.get_marker(): line for line in axes.lines if line.get_marker() in ("o", "<", "x")}
    assert list(found["o"].get_xdata()) == [1.5, 4.0]
    assert list(found["o"].get_ydata()) == [0, 1]
    # Zero has no place on the axis, and what is lost no value: each at its edge, in its row.
    arrow, cross = (next(line for line in axes.lines if line.get_marker() == sign) for sign in "<x")
    assert (list(arrow.get_xdata()), list(arrow.get_ydata())) == ([0.0], [2])
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([1.0], [3])
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES


def test_bars_go_both_ways_and_a_gap_is_named() -> None:
    axes = draw(bars()).figure.axes[0]
    assert [round(bar.get_width(), 6) for bar in axes.patches] == [0.5, -0.25, 0.1]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    assert {"lost", "limit"} <= {text.get_text() for text in axes.texts}
    assert axes.xaxis.get_major_formatter()(0.2, 0) == "+20\xa0%"


def test_forty_curves_are_named_in_the_order_of_their_ends_and_no_name_covers_another() -> None:
    from matplotlib.text import Text

    plot = draw(curves(40))
    renderer = _draw(plot)
    axes = plot.figure.axes[0]
    # Without the threads, which an annotation counts to itself.
    boxes = [(text.get_text(), Text.get_window_extent(text, renderer)) for text in axes.texts]
    assert len(boxes) == 40
    for (_, one), (_, other) in itertools.combinations(boxes, 2):
        assert one.y1 <= other.y0 + 0.5 or other.y1 <= one.y0 + 0.5
    ends = {series.name: series.values[-1] or 0.0 for series in curves(40).series}
    assert [name for name, _ in sorted(boxes, key=lambda box: box[1].y0)] == sorted(ends, key=ends.__getitem__)
    assert plot.figure.bbox.x1 >= max(box.x1 for _, box in boxes)


def _draw(plot: Plot) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(plot.figure)
    canvas.draw()
    return canvas.get_renderer()


@pytest.mark.parametrize("heights", [[0.1, 0.12, 0.5], [0.5, 0.5, 0.5, 0.5], [0.9, 0.95, 1.0], [0.0, 0.0, 0.3]])
def test_names_move_as_little_as_sets_them_apart(heights: list[float]) -> None:
    gap, steps = 0.1, [k / 40 for k in range(41)]
    found = _spread(heights, gap)
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(found))
    assert min(found) >= 0.0
    assert max(found) <= 1.0 + 1e-9
    moved = sum((a - b) ** 2 for a, b in zip(found, heights, strict=True))
    tried = itertools.combinations(steps, len(heights))
    apart = (one for one in tried if all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(one)))
    best = min(sum((a - b) ** 2 for a, b in zip(one, heights, strict=True)) for one in apart)
    # The grid's best is no better, and where the ends bind or the mean lies on the grid as good.
    assert moved <= best + 1e-9


def test_mistakes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Drawn({"change": bars()})
    with pytest.raises(ConfigError, match="no chart 'changes': there is change"):
        result.plot("changes")
    with pytest.raises(ConfigError, match="nothing to draw"):
        Drawn({}).plot()
    with pytest.raises(ConfigError, match=r"\.svg, \.pdf or \.png"):
        result.plot().save(tmp_path / "chart.jpeg")
    with pytest.raises(OutputError, match="No such file"):
        result.plot().save(tmp_path / "no" / "chart.svg")
    assert not list(tmp_path.iterdir())
    # None in sys.modules is how Python marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match="plots need matplotlib"):
        result.plot()
