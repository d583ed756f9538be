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
    find_common,
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


def test_every_kind_of_group_holds_every_language_once() -> None:
    codes = ("eng_Latn", "yor_Latn", "tam_Taml", "rus_Cyrl", "kat_Geor")
    groups = group_languages(codes, PANEL)
    for scope in ("script", "group", "branch", "resource", "tail"):
        held = [code for (kind, _), members in groups.items() if kind == scope for code in members]
        assert sorted(held) == sorted(codes), scope
    assert groups["tail", "not in the panel"] == groups["group", "not in the panel"] == ("rus_Cyrl", "kat_Geor")


@given(
    st.lists(
        st.tuples(st.floats(0.5, 9.0), st.floats(0.5, 9.0), st.sampled_from("ab=")), min_size=1, max_size=12
    )
)
def test_means_over_the_same_languages(rows: list[tuple[float, float, str]]) -> None:
    codes = tuple(f"x{chr(97 + i // 26)}{chr(97 + i % 26)}_Latn" for i in range(len(rows)))
    spreads = [
        Spread("premium", "×", codes, np.array([np.nan if row[2] == "ab"[k] else row[k] for row in rows]),
               np.zeros((0, len(rows))))
        for k in (0, 1)
    ]  # fmt: skip
    common = find_common([[one] for one in spreads])["premium"]
    both = [row for row in rows if row[2] == "="]
    for k, spread in enumerate(spreads):
        figures = aggregate_spread("t", spread, {("overall", "all"): codes}, common)
        found = {f.metric: f for f in figures}["premium.mean_common"]
        assert found.n == len(both)
        assert f"{len(both)} of {len(rows)} languages" in (found.note or "")
        if both:
            assert found.value == pytest.approx(statistics.fmean((row[0], row[1])[k] for row in both))
        else:
            assert found.value is None
        own = {f.metric: f for f in figures}["premium.mean"]
        assert own.n == sum(row[2] != "ab"[k] for row in rows)


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
