import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.auditing.metrics import (
    STATISTICS,
    Spread,
    _gini,
    _p90_p10,
    aggregate_spread,
    bottom_decile,
    group_languages,
)
from vocabkit.core.languages import Language, Panel

PANEL = Panel(
    "p",
    (
        Language("eng_Latn", "English", "I", "Germanic", "Germanic", ("Latn",), "high", False),
        Language("yor_Latn", "Yoruba", "N", "Volta", "Niger-Congo", ("Latn",), "low", True),
        Language("tam_Taml", "Tamil", "D", "South", "other", ("Taml",), "middle", False),
    ),
)


def slow_gini(values: list[float]) -> float:
    """The definition: mean absolute difference of all pairs over twice the mean."""
    exact = [Fraction(value) for value in values]
    pairs = sum(abs(a - b) for a in exact for b in exact)
    return float(pairs / (2 * len(exact) * sum(exact)))


def slow_percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@given(st.lists(st.floats(0.1, 100.0), min_size=2, max_size=40))
def test_against_the_definitions(values: list[float]) -> None:
    array = np.array(values)
    assert float(_gini(array)) == pytest.approx(slow_gini(values), abs=1e-9)
    ratio = slow_percentile(values, 0.9) / slow_percentile(values, 0.1)
    assert float(_p90_p10(array)) == pytest.approx(ratio)
    worst = sorted(values, reverse=True)[: -(-len(values) // 10)]
    assert float(bottom_decile(array)) == pytest.approx(statistics.fmean(worst))
    shuffled = np.array(sorted(values))
    for item in STATISTICS:
        assert float(item.compute(array)) == float(item.compute(shuffled))


@pytest.mark.parametrize(("languages", "worst"), [(1, 1), (9, 1), (10, 1), (11, 2), (30, 3), (122, 13)])
def test_bottom_decile_is_never_empty(languages: int, worst: int) -> None:
    ordered = np.arange(languages, dtype=float)
    assert float(bottom_decile(ordered)) == pytest.approx(ordered[-worst:].mean())


def test_groups_come_from_code_and_panel() -> None:
    groups = group_languages(("eng_Latn", "yor_Latn", "tam_Taml", "rus_Cyrl"), PANEL)
    assert groups["overall", "all"] == ("eng_Latn", "yor_Latn", "tam_Taml", "rus_Cyrl")
    assert groups["script", "Latn"] == ("eng_Latn", "yor_Latn")
    assert groups["script", "Cyrl"] == ("rus_Cyrl",)
    assert groups["tail", "tail"] == ("yor_Latn",)
    assert groups["tail", "other"] == ("eng_Latn", "tam_Taml")
    assert groups["resource", "middle"] == ("tam_Taml",)
    assert groups["branch", "Volta"] == ("yor_Latn",)
    assert {scope for scope, _ in group_languages(("eng_Latn",), None)} == {"overall", "script"}


def test_worst_languages_are_found_anew_in_every_resample() -> None:
    codes = ("aaa_Latn", "bbb_Latn", "ccc_Cyrl")
    # b is the worst in the text, a in the first resample, c in the second.
    samples = np.array([[9.0, 5.0, 1.0], [2.0, 5.0, 7.0]])
    spread = Spread("premium", "×", codes, np.array([2.0, 5.0, 1.0]), samples)
    figures = aggregate_spread("t", spread, group_languages(codes, None))
    found = {(f.scope, f.name, f.metric): f for f in figures}
    worst = found["overall", "all", "premium.bottom_decile"]
    assert worst.value == 5.0
    assert worst.low == pytest.approx(7.05)
    assert worst.high == pytest.approx(8.95)
    assert worst.n == 3
    mean = found["script", "Latn", "premium.mean"]
    assert (mean.value, mean.n) == (3.5, 2)


def test_nothing_to_spread_is_none_with_a_note() -> None:
    spread = Spread("premium", "×", ("aaa_Latn", "bbb_Latn"), np.array([1.5, np.nan]), np.zeros((0, 2)))
    figures = aggregate_spread("t", spread, {("overall", "all"): ("aaa_Latn", "bbb_Latn")})
    found = {f.metric: f for f in figures}
    assert found["premium.gini"].value is None
    assert found["premium.p90_p10"].value is None
    assert "needs 2" in (found["premium.gini"].note or "")
    assert found["premium.mean"].value == 1.5
    assert found["premium.mean"].n == 1
    assert "1 of 2" in (found["premium.mean"].note or "")
    empty = Spread("premium", "×", ("aaa_Latn",), np.array([np.nan]), np.zeros((0, 1)))
    assert all(f.value is None for f in aggregate_spread("t", empty, {("overall", "all"): ("aaa_Latn",)}))
