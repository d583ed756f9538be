"""Charts: where a value lands, what has no place on the axis, and that names cannot become markup."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.auditing.charts import (
    COLOURS,
    LEFT,
    RIGHT,
    WIDTH,
    Spot,
    _find_ticks,
    draw_ranking,
    draw_scatter,
)
from vocabkit.auditing.figures import Figure

VALUES = st.floats(min_value=1e-3, max_value=1e6)


def point(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure("t", "language", "a", "premium", value, "×", "ratio of sums", low, high)


def places(image: str) -> list[tuple[float, float]]:
    """Where the markers are, those of the legend too."""
    found = re.findall(r"translate\(([-\d.]+),([-\d.]+)\)", image)
    return [(float(x), float(y)) for x, y in found]


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, min_size=1, max_size=12))
def test_values_keep_their_order_and_stay_inside(values: dict[str, float]) -> None:
    rows = {name: [point(value)] for name, value in values.items()}
    found = places(draw_ranking(rows, ["one"], title="t", axis="a"))
    assert len(found) == len(values)
    for (x, _), value in zip(found, values.values(), strict=True):
        assert LEFT <= x <= WIDTH - RIGHT
        for (other_x, _), other in zip(found, values.values(), strict=True):
            # Coordinates are rounded to a tenth.
            assert x <= other_x + 0.11 or value >= other
    downward = [y for _, y in found]
    assert downward == sorted(downward)


def test_equal_ratios_are_equal_distances() -> None:
    rows = {str(value): [point(value)] for value in (1.0, 2.0, 4.0, 8.0)}
    found = [x for x, _ in places(draw_ranking(rows, ["one"], title="t", axis="a"))]
    steps = [b - a for a, b in pairwise(found)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)


def test_an_interval_reaches_from_its_low_to_its_high_end() -> None:
    rows: dict[str, list[Figure | None]] = {
        "a": [point(2.0, 1.0, 4.0)],
        "b": [point(1.0)],
        "c": [point(4.0)],
    }
    image = ElementTree.fromstring(draw_ranking(rows, ["one"], title="t", axis="a"))
    (line,) = [item for item in image.iter("line") if item.get("class") == "interval"]
    low, high = (x for x, _ in places(ElementTree.tostring(image, "unicode"))[1:])
    assert (float(line.get("x1", "")), float(line.get("x2", ""))) == (low, high)


def signs(image: str) -> dict[str, tuple[float, float]]:
    """Where the signs that are no markers are, by what is read out for them."""
    found = {}
    for item in ElementTree.fromstring(image).iter("path"):
        title = item.find("title")
        if item.get("fill") == "none" and title is not None:
            ((x, y),) = places(ElementTree.tostring(item, "unicode"))
            found[title.text or ""] = (x, y)
    return found


def test_a_zero_stands_at_the_axis_and_what_is_lost_at_its_far_end() -> None:
    gone = Figure("t", "language", "a", "premium", None, "×", "ratio of sums", note="lost in unknown tokens")
    rows: dict[str, list[Figure | None]] = {
        "a": [point(0.0, 0.0, 2.5), gone, None],
        "b": [point(3.0), point(2.0), point(1.0)],
        "c": [point(-0.5), None, point(4.0)],
    }
    image = draw_ranking(rows, ["one", "two", "three"], title="t", axis="a", missing="no value")
    found = signs(image)
    assert set(found) == {
        "a, one: 0 (0 to 2.5)", "a, two: no value: lost in unknown tokens", "c, one: -0.5",
    }  # fmt: skip
    others = [x for x, y in places(image)[3:] if (x, y) not in found.values()]
    assert found["a, one: 0 (0 to 2.5)"][0] == found["c, one: -0.5"][0] < min(others)
    assert found["a, two: no value: lost in unknown tokens"][0] > max(others)
    # Where there is no figure at all there is nothing to tell.
    assert len(places(draw_ranking({"a": [None]}, ["one"], title="t", axis="a"))) == 0


def test_spots_without_a_place_stand_at_the_edges_of_a_scatter() -> None:
    spots = {"one": [Spot("zero", 10.0, 0.0), Spot("none", 0.0, 3.0), Spot("lost", 20.0, math.inf),
                     Spot("low", 10.0, 1.0), Spot("high", 40.0, 5.0)]}  # fmt: skip
    image = draw_scatter(spots, title="t", x_axis="x", y_axis="y")
    found = signs(image)
    assert set(found) == {"zero, one: 0 at 10", "none, one: 3 at 0", "lost, one: lost at 20"}
    drawn = [place for place in places(image) if place not in found.values()]
    assert found["zero, one: 0 at 10"][1] > max(y for _, y in drawn)
    assert found["lost, one: lost at 20"][1] < min(y for _, y in drawn)
    assert found["none, one: 3 at 0"][0] < min(x for x, _ in drawn)


def test_names_are_escaped() -> None:
    evil = "</svg><script>"
    drawn = (
        draw_ranking({evil: [point(1.0)]}, [evil], title=evil, axis=evil, references={2.0: evil}),
        draw_scatter({evil: [Spot(evil, 1.0, 1.0)]}, title=evil, x_axis=evil, y_axis=evil),
    )
    for image in drawn:
        assert "<script" not in image
        assert ElementTree.fromstring(image).tag == "svg"


def test_series_are_told_apart_by_shape_not_only_by_colour() -> None:
    names = [f"series {i}" for i in range(16)]
    rows = {"a": [point(float(i + 1)) for i in range(16)]}
    image = ElementTree.fromstring(draw_ranking(rows, names, title="t", axis="a"))
    looks = {(item.get("d"), item.get("fill")) for item in image.iter("path")}
    assert len(looks) == 16
    assert len({shape for shape, _ in looks}) == len(COLOURS)


def test_the_spots_that_are_highest_get_their_names() -> None:
    spots = {"one": [Spot(f"s{i}", 10.0**i, float(i + 1)) for i in range(9)]}
    image = ElementTree.fromstring(draw_scatter(spots, title="t", x_axis="x", y_axis="y"))
    named = [t.text for t in image.iter("text") if "spot-name" in t.get("class", "")]
    assert named == ["s8", "s7", "s6", "s5", "s4", "s3"]


@given(VALUES, st.floats(min_value=1.08, max_value=1e6))
def test_ticks_are_round_rising_and_inside(low: float, ratio: float) -> None:
    high = low * ratio
    ticks = _find_ticks(low, high)
    assert 4 <= len(ticks) <= 20
    assert ticks == sorted(set(ticks))
    for tick in ticks:
        assert low * (1 - 1e-6) <= tick <= high * (1 + 1e-6)
        digits = f"{tick:.6e}".split("e")[0].rstrip("0")
        assert len(digits) <= 5, tick
        assert math.isfinite(tick)
