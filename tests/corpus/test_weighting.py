"""Language weights against hand-computed values, the published UniMax procedure, and their invariants."""

from __future__ import annotations

import itertools
import math
import shlex
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.core.errors import ConfigError
from vocabkit.corpus.weighting import Mass, _clip_shares, check_quota, measure_masses, weigh_languages
from vocabkit.corpus.word_counts import WordCounts

MASSES = {"eng_Latn": 900.0, "yor_Latn": 90.0, "lao_Laoo": 10.0}

masses = st.dictionaries(
    st.text("abcdefgh", min_size=3, max_size=3),
    st.floats(min_value=1e-3, max_value=1e12),
    min_size=1,
    max_size=12,
)
methods = st.sampled_from(["natural", "exponent", "unimax", "uniform"])


def shares(rows: object) -> dict[str, float]:
    return {row.language: row.target_share for row in rows.rows}  # type: ignore[attr-defined]


def test_natural_weights_are_exactly_one() -> None:
    found = weigh_languages(MASSES, "natural")
    assert set(found.weights.values()) == {1.0}
    assert [row.share for row in found.rows] == [0.9, 0.01, 0.09]
    assert found.warnings() == []


def test_exponent_by_hand() -> None:
    found = weigh_languages(MASSES, "exponent", exponent=0.5)
    roots = {code: math.sqrt(mass / 1000) for code, mass in MASSES.items()}
    for row in found.rows:
        assert row.target_share == pytest.approx(roots[row.language] / sum(roots.values()))
        assert row.weight == pytest.approx(row.target_share / row.share)
        assert row.epochs == row.weight


def test_exponent_of_one_is_natural_and_of_zero_uniform() -> None:
    found = weigh_languages(MASSES, "exponent", exponent=1.0)
    assert set(found.weights.values()) == {1.0}
    flat = weigh_languages(MASSES, "exponent", exponent=0.0, limit=1e6)
    assert list(shares(flat).values()) == pytest.approx([1 / 3] * 3)


def test_unimax_by_hand() -> None:
    # Budget 1000: lao gets min(333.3, 4·10) = 40, yor min(480, 360) = 360, eng the 600 that are left.
    found = weigh_languages(MASSES, "unimax", max_epochs=4)
    assert shares(found) == pytest.approx({"eng_Latn": 0.6, "lao_Laoo": 0.04, "yor_Latn": 0.36})
    assert found["lao_Laoo"].weight == pytest.approx(4.0)


def test_unimax_is_uniform_when_no_language_runs_out() -> None:
    found = weigh_languages({"a": 3.0, "b": 4.0, "c": 5.0}, "unimax", max_epochs=4)
    assert list(shares(found).values()) == pytest.approx([1 / 3] * 3)


def test_clipping_by_hand() -> None:
    # Uniform asks 33.3× for lao and 3.7× for yor. lao stands at 8 × 0.01; the rest, 0.92, is halved.
    found = weigh_languages(MASSES, "uniform", limit=8.0)
    assert shares(found) == pytest.approx({"eng_Latn": 0.46, "lao_Laoo": 0.08, "yor_Latn": 0.46})
    assert found["lao_Laoo"].weight == 8.0
    assert found["lao_Laoo"].clipped
    assert not found["yor_Latn"].clipped
    assert "33.33×" in found["lao_Laoo"].note


def test_clipping_one_language_can_push_another_over_the_limit() -> None:
    target = {"a": 0.5, "b": 0.35, "c": 0.15}
    natural = {"a": 0.05, "b": 0.2, "c": 0.75}
    shares, clipped = _clip_shares(target, natural, 2.0)
    # After a is clipped at 0.1, b would get 0.9 · 0.35 ÷ 0.5 = 0.63 > 0.4, though it asked for 1.75× only.
    assert clipped == {"a", "b"}
    assert shares == pytest.approx({"a": 0.1, "b": 0.4, "c": 0.5})


def test_warnings_name_the_oversampled_and_the_clipped() -> None:
    clipped, high = weigh_languages(MASSES, "uniform").warnings()
    assert "lao_Laoo" in clipped
    assert "--allow-oversampling" in clipped
    assert "yor_Latn 5.1×" in high
    assert weigh_languages(MASSES, "uniform", limit=40).warnings() == [
        "oversampled more than 4×: lao_Laoo 33.3×"
    ]


def test_a_quota_is_taken_as_it_stands() -> None:
    quota = {"eng_Latn": 0.5, "yor_Latn": 0.25, "lao_Laoo": 0.25}
    assert shares(weigh_languages(MASSES, "quota", quota=quota, limit=99)) == quota
    # Thirds, written to three digits.
    found = shares(weigh_languages(MASSES, "quota", quota=dict.fromkeys(MASSES, 0.333), limit=99))
    assert found == pytest.approx(dict.fromkeys(MASSES, 1 / 3))


@pytest.mark.parametrize("quota", [(2, 1, 1), (0.6, 0.3, 0.2), (0.3, 0.3, 0.3), (50, 25, 25)])
def test_a_quota_that_does_not_sum_to_one_is_refused_with_one_that_does(quota: tuple[float, ...]) -> None:
    given = dict(zip(sorted(MASSES), quota, strict=True))
    with pytest.raises(ConfigError, match=rf"sums to {math.fsum(quota):g}, not 1") as caught:
        weigh_languages(MASSES, "quota", quota=given, limit=99)
    hint = caught.value.hint or ""
    words = shlex.split(hint)
    assert words[0] == "--set"
    table = tomllib.loads(words[1].removeprefix("languages."))["quota"]
    assert shares(weigh_languages(MASSES, "quota", quota=table, limit=99)) == pytest.approx(
        {code: share / math.fsum(quota) for code, share in given.items()}, rel=1e-5
    )


def test_a_quota_that_nothing_uses_is_refused() -> None:
    check_quota("exponent", {})
    check_quota("quota", {"eng_Latn": 1.0})
    for weighting in ("natural", "exponent", "unimax", "uniform"):
        with pytest.raises(ConfigError, match=r"quota is set but languages\.weighting is") as caught:
            check_quota(weighting, {"eng_Latn": 1.0})
        assert "--set languages.weighting=quota" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("quota", "named"),
    [
        ({"eng_Latn": 1.0, "yor_Latn": 1.0}, "lao_Laoo"),
        ({**MASSES, "wol_Latn": 1.0}, "wol_Latn"),
        ({**MASSES, "lao_Laoo": 0.0}, "lao_Laoo"),
        ({**MASSES, "lao_Laoo": math.nan}, "lao_Laoo"),
        ({}, "quota"),
    ],
)
def test_quota_errors_name_the_language(quota: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        weigh_languages(MASSES, "quota", quota=quota)


def test_user_mistakes() -> None:
    with pytest.raises(ConfigError, match="yor_Latn has no text"):
        weigh_languages({"eng_Latn": 1.0, "yor_Latn": 0.0}, "natural")
    with pytest.raises(ConfigError, match="no language"):
        weigh_languages({}, "natural")
    with pytest.raises(ConfigError, match="exponent"):
        weigh_languages(MASSES, "exponent", exponent=1.5)
    with pytest.raises(ConfigError, match="max_epochs"):
        weigh_languages(MASSES, "unimax", max_epochs=0.5)
    with pytest.raises(ConfigError, match="allow_oversampling"):
        weigh_languages(MASSES, "uniform", limit=0.5)
    with pytest.raises(ConfigError) as caught:
        weigh_languages(MASSES, "unimx")  # type: ignore[arg-type]
    assert caught.value.hint == "did you mean unimax?"


@given(masses, methods, st.floats(0.0, 1.0), st.floats(1.0, 20.0), st.floats(1.0, 50.0))
def test_invariants(
    masses: dict[str, float], method: str, exponent: float, epochs: float, limit: float
) -> None:
    found = weigh_languages(
        masses,
        method,  # type: ignore[arg-type]
        exponent=exponent,
        max_epochs=epochs,
        limit=limit,
    )
    assert math.fsum(row.target_share for row in found.rows) == pytest.approx(1.0, abs=1e-9)
    assert all(0.0 < row.weight <= limit for row in found.rows)
    assert [row.language for row in found.rows] == sorted(masses)
    for row in found.rows:
        assert row.weight == pytest.approx(row.target_share / row.share)
        assert row.clipped == (row.language in {r.language for r in found.rows if r.note})
    # No method prefers a smaller language to a larger one, nor gives it a smaller multiple.
    rows = sorted(found.rows, key=lambda row: row.mass)
    for small, large in itertools.pairwise(rows):
        assert small.target_share <= large.target_share * (1 + 1e-9)
        assert small.weight >= large.weight * (1 - 1e-9)


@given(masses, methods, st.randoms())
def test_order_of_languages_does_not_matter(masses: dict[str, float], method: str, random: object) -> None:
    items = list(masses.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert weigh_languages(dict(items), method) == weigh_languages(masses, method)  # type: ignore[arg-type]


@given(masses, st.floats(1.0, 30.0))
def test_clipping_touches_nothing_below_the_limit(masses: dict[str, float], limit: float) -> None:
    free = weigh_languages(masses, "uniform", limit=1e15)
    held = weigh_languages(masses, "uniform", limit=limit)
    if all(row.weight <= limit for row in free.rows):
        assert shares(free) == shares(held)
    loose = [row for row in held.rows if not row.clipped]
    for row in loose:
        assert row.target_share >= free[row.language].target_share * (1 - 1e-9)


def test_masses_come_from_the_training_totals() -> None:
    counts = WordCounts.from_texts({"yor_Latn": ["ẹ jẹ́ kí", "a lọ"]})
    mass = measure_masses(counts)["yor_Latn"]
    assert mass == Mass("yor_Latn", 2, 5, 12, 20)


def test_quotas_name_languages_as_people_do() -> None:
    quota = {"eng_Latn": 0.5, "yor_Latn": 0.25, "lao_Laoo": 0.25}
    by_code = weigh_languages(MASSES, "quota", quota=quota, limit=99)
    by_name = weigh_languages(MASSES, "quota", quota={"en": 0.5, "Yoruba": 0.25, "lo-LA": 0.25}, limit=99)
    assert by_name == by_code
