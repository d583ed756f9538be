"""Concave curves against a brute-force projection, and what interpolation must keep."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.allocation.curves import _make_concave, _pool_falling

values = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=6)


def pool_by_enumeration(value: list[float], weight: list[float]) -> np.ndarray:
    """The best non-increasing fit among all ways to cut the sequence into blocks of one mean."""
    best, least = np.array(value), np.inf
    for cuts in itertools.product((False, True), repeat=len(value) - 1):
        bounds = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(value)]
        fitted = np.concatenate(
            [np.full(b - a, np.average(value[a:b], weights=weight[a:b])) for a, b in itertools.pairwise(bounds)]
        )
        if (np.diff(fitted) <= 1e-12).all():
            loss = float((np.array(weight) * (fitted - value) ** 2).sum())
            if loss < least - 1e-12:
                best, least = fitted, loss
    return best


@given(values, st.data())
def test_pooling_is_the_nearest_falling_sequence(value: list[float], data: st.DataObject) -> None:
    weight = data.draw(st.lists(st.integers(1, 9).map(float), min_size=len(value), max_size=len(value)))
    pooled = _pool_falling(np.array(value), np.array(weight))
    assert pooled == pytest.approx(pool_by_enumeration(value, weight), abs=1e-9)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.data())
def test_a_curve_rises_ever_more_slowly(value: list[float], data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(1, 500), min_size=len(value), max_size=len(value)))
    size = np.cumsum(steps)
    curve = _make_concave(size, np.array(value))
    assert (np.diff(curve.slope) <= 1e-12).all()
    assert (curve.slope >= 0).all()
    every = np.arange(1, size[-1] + 1, dtype=np.float64)
    assert (np.diff(curve.gain_at(every)) <= 1e-12).all()
    assert (np.diff(curve.value_at(every)) >= -1e-9).all()


def test_points_that_are_concave_stay_as_they_are() -> None:
    size = np.array([1, 2, 4, 8, 16])
    curve = _make_concave(size, np.log(size))
    assert curve.value == pytest.approx(np.log(size))
    assert curve.value_at(np.array([4.0, 100.0, 0.0])) == pytest.approx([np.log(4), np.log(16), 0])


def test_gains_add_up_to_the_value() -> None:
    size = np.unique(np.geomspace(10, 10_000, 25).astype(np.int64))
    curve = _make_concave(size, np.log(size))
    gained = curve.gain_at(np.arange(11, 10_001, dtype=np.float64)).sum()
    assert gained == pytest.approx(np.log(1_000), rel=0.02)


def test_one_point_is_a_flat_curve() -> None:
    curve = _make_concave(np.array([7]), np.array([0.5]))
    assert curve.gain_at(np.array([1.0, 9.0])).tolist() == [0.0, 0.0]
    assert curve.value_at(np.array([1.0, 9.0])).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("size", "value"), [([1, 1], [0.0, 1.0]), ([0, 2], [0.0, 1.0]), ([1, 2], [0.0]), ([], [])]
)
def test_sizes_must_ascend(size: list[int], value: list[float]) -> None:
    with pytest.raises(ValueError, match="sizes"):
        _make_concave(np.array(size, np.int64), np.array(value))
