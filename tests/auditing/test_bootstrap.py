import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.auditing.figures import COVERAGE, GROUPS, bound, divide, draw_resampling


def test_sums_are_those_of_drawn_rows() -> None:
    """Slow oracle: repeat each row as often as it was drawn, and add up."""
    resampling = draw_resampling(7, 20, seed=3)
    assert resampling is not None
    values = np.array([[1, 10], [2, 20], [4, 0], [8, 5], [16, 1], [32, 2], [64, 3]], dtype=np.int32)
    sums = resampling.sum_rows(values)
    for drawn, total in zip(resampling.weights.tolist(), sums.tolist(), strict=True):
        assert sum(drawn) == 7
        for column in (0, 1):
            rows = [v for v, times in zip(values[:, column], drawn, strict=True) for _ in range(int(times))]
            assert total[column] == sum(map(int, rows))
    assert len({tuple(row) for row in resampling.weights.tolist()}) > 15


def test_one_row_and_one_resample_have_no_spread() -> None:
    assert draw_resampling(1, 1000, 0) is None
    assert draw_resampling(0, 1000, 0) is None
    assert draw_resampling(10, 1, 0) is None


def test_drawing_depends_on_seed_and_stream_alone() -> None:
    def weights(seed: int, stream: int = 0) -> list[list[float]]:
        drawn = draw_resampling(50, 10, seed, stream=stream)
        assert drawn is not None
        found: list[list[float]] = drawn.weights.tolist()
        return found

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)
    assert weights(1) != weights(1, stream=5)


def test_many_rows_are_drawn_in_groups_that_hold_each_row_once() -> None:
    rows = GROUPS * 2 + 17
    resampling = draw_resampling(rows, 5, 0)
    assert resampling is not None
    assert len(resampling.starts) == GROUPS
    values = np.random.default_rng(0).integers(0, 1000, rows)
    ends = [*resampling.starts[1:].tolist(), rows]
    groups = [values[a:b].sum() for a, b in zip(resampling.starts.tolist(), ends, strict=True)]
    expected = [sum(w * g for w, g in zip(row, groups, strict=True)) for row in resampling.weights.tolist()]
    assert resampling.sum_rows(values).tolist() == expected
    with pytest.raises(ValueError, match="rows"):
        resampling.sum_rows(values[1:])


def test_interval_is_that_of_plain_resampling() -> None:
    """Slow oracle: the textbook loop with Python's own generator; both are near the normal interval."""
    generator = random.Random(5)
    top = [generator.randint(5, 60) for _ in range(300)]
    low_part = [generator.randint(5, 30) for _ in range(300)]
    ratios = []
    for _ in range(800):
        rows = [generator.randrange(300) for _ in range(300)]
        ratios.append(sum(top[i] for i in rows) / sum(low_part[i] for i in rows))
    ratios.sort()
    slow = ratios[20], ratios[-21]
    resampling = draw_resampling(300, 2000, 1)
    assert resampling is not None
    low, high = bound(divide(resampling.sum_rows(np.array(top)), resampling.sum_rows(np.array(low_part))))
    assert low == pytest.approx(slow[0], rel=0.015)
    assert high == pytest.approx(slow[1], rel=0.015)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_bounds_lie_within_the_samples(values: list[float]) -> None:
    low, high = bound(np.array(values))
    assert low is not None
    assert high is not None
    assert min(values) <= low <= high <= max(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60))
def test_bounds_are_numpy_s_quantiles(values: list[float]) -> None:
    tail = (1.0 - COVERAGE) / 2.0
    assert bound(np.array(values)) == tuple(np.quantile(values, [tail, 1.0 - tail]))


def test_no_interval_where_a_resample_has_no_value() -> None:
    assert bound(np.array([1.0, np.nan, 2.0])) == (None, None)
    assert bound(None) == (None, None)
    assert np.isnan(divide(np.array([1.0, 0.0]), np.array([0.0, 0.0]))).all()
