import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auditing.test_composition import table
from vocabkit.auditing.composition import describe_vocabulary
from vocabkit.auditing.metrics import (
    Spread,
    _bound_correlation,
    _correlate_ranks,
    _rank_values,
    measure_resources,
)
from vocabkit.auditing.text_statistics import _measure_language
from vocabkit.core.languages import load_panel

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


def test_a_language_without_a_cost_or_a_size_is_in_no_pair() -> None:
    """Two of eight lack one of the two: they are neither paired nor put in each other's place."""
    panel = load_panel("panels/panel-40")
    by_class = {name: [row.code for row in panel.languages if row.resource == name] for name in ("low", "high")}
    codes = (*by_class["low"][:4], *by_class["high"][:3], "tlh_Latn")
    costs = np.array([4.0, 3.0, np.nan, 2.0, 1.0, 3.5, 0.5, 9.0])
    texts = {code: _measure_language(code, ["a b", "c"]) for code in codes}
    composition = describe_vocabulary(table())
    spread = Spread("fertility", "tokens a word", codes, costs, np.zeros((0, 8)))
    figures = measure_resources("t", [spread], texts, composition, panel, None, resamples=50, seed=0)
    (found,) = [figure for figure in figures if figure.metric == "fertility.spearman_resource"]
    both = [(cost, float(place < 4)) for place, cost in enumerate(costs[:7]) if np.isfinite(cost)]
    ranks = [slow_ranks([int(10 * pair[side]) for pair in both]) for side in (0, 1)]
    # `place < 4` ranks the low class above the high: the other way round from the classes' order.
    assert found.n == 6
    assert found.value == pytest.approx(-statistics.correlation(*ranks))
