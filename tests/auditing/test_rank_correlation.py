import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.auditing.metrics import _bound_correlation, _correlate_ranks, _rank_values

NUMBERS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=5, max_size=30)


def slow_ranks(values: list[int]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


@given(NUMBERS)
def test_is_pearson_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    x, y = ([pair[side] for pair in pairs] for side in (0, 1))
    assert _rank_values(np.array(x, dtype=float)).tolist() == slow_ranks(x)
    found = _correlate_ranks(np.array(x, dtype=float), np.array(y, dtype=float))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(statistics.correlation(slow_ranks(x), slow_ranks(y)), abs=1e-9)


@given(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=8))
def test_rows_are_ranked_each_by_itself(rows: list[list[int]]) -> None:
    ranked = _rank_values(np.array(rows, dtype=float))
    assert ranked.tolist() == [slow_ranks(row) for row in rows]


def test_few_languages_have_no_correlation() -> None:
    four = np.arange(4.0)
    assert _correlate_ranks(four, four) is None
    assert _bound_correlation(four, four, 100, 0) == (None, None)


def test_interval_holds_the_value_and_repeats() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=40)
    y = x + generator.normal(size=40)
    value = _correlate_ranks(x, y)
    low, high = _bound_correlation(x, y, 300, 1)
    assert value is not None
    assert low is not None
    assert high is not None
    assert -1 <= low < value < high <= 1
    assert _bound_correlation(x, y, 300, 1) == (low, high)
