"""Premiums against plain sums, and their intervals against resamples taken one by one."""

import statistics as plain

import numpy as np
import numpy.typing as npt
import pytest

from vocabkit.auditing.comparison import _compare_tokenizers
from vocabkit.auditing.encoding import Encoded
from vocabkit.auditing.figures import Audited, Figure, draw_resampling
from vocabkit.auditing.metrics import (
    CHANGE,
    measure_changes,
    measure_premium,
    measure_premium_median,
    sum_bytes,
    sum_tokens,
    withhold_premiums,
)
from vocabkit.auditing.report import Audit
from vocabkit.auditing.text_statistics import TextStatistics
from vocabkit.core.errors import ConfigError

LINES = 40
CODES = ("amh_Ethi", "eng_Latn", "tha_Thai", "yor_Latn")
GENERATOR = np.random.default_rng(3)
TOKENS = {code: GENERATOR.integers(5 * n, 20 * n, LINES).astype(np.int32) for n, code in enumerate(CODES, 1)}
OTHER = {code: (tokens + GENERATOR.integers(0, 3, LINES)).astype(np.int32) for code, tokens in TOKENS.items()}
NONE = np.zeros(0, dtype=np.int32)


def make_statistics(code: str) -> TextStatistics:
    ones = np.full(LINES, 50, dtype=np.int32)
    return TextStatistics(
        code, ones * (CODES.index(code) + 1), ones, ones, ones, ones, None, {}, {}, {}, (),
        np.zeros(0, dtype=np.int64), None,
    )  # fmt: skip


STATISTICS = {code: make_statistics(code) for code in CODES}


def make(tokens: dict[str, npt.NDArray[np.int32]], lost: str = "", failed: str = "") -> dict[str, Encoded]:
    found = {}
    for code, values in tokens.items():
        zeros = np.zeros(LINES, dtype=np.int32)
        gone = np.full(LINES, 5, dtype=np.int32) if code == lost else zeros
        found[code] = Encoded(
            code, values, zeros, zeros, zeros, gone, NONE, np.zeros(0, dtype=np.int64), NONE, frozenset(),
            NONE, NONE, NONE, NONE, "it broke" if code == failed else None,
        )  # fmt: skip
    return found


def test_premium_over_english_and_its_interval() -> None:
    resampling = draw_resampling(LINES, 100, 0)
    assert resampling is not None
    costs = sum_tokens(CODES, STATISTICS, make(TOKENS), resampling)
    figures, spread = measure_premium("t", "premium", costs, costs, "eng_Latn", CODES, lines=LINES)
    english = int(TOKENS["eng_Latn"].sum())
    for place, (code, figure) in enumerate(zip(CODES, figures, strict=True)):
        assert figure.name == code
        assert figure.value == pytest.approx(int(TOKENS[code].sum()) / english)
        assert figure.n == LINES
        slow = [
            float(np.dot(w, TOKENS[code])) / float(np.dot(w, TOKENS["eng_Latn"])) for w in resampling.weights
        ]
        assert spread.samples[:, place].tolist() == pytest.approx(slow)
    own = figures[CODES.index("eng_Latn")]
    assert (own.value, own.low, own.high) == (1.0, 1.0, 1.0)


def test_premium_over_a_named_tokenizer_does_not_fall_when_english_gets_dearer() -> None:
    dear = {**TOKENS, "eng_Latn": (TOKENS["eng_Latn"] * 2).astype(np.int32)}
    first = sum_tokens(CODES, STATISTICS, make(TOKENS), None)
    second = sum_tokens(CODES, STATISTICS, make(dear), None)
    own, _ = measure_premium("u", "premium", second, second, "eng_Latn", CODES, lines=LINES)
    fixed, _ = measure_premium("u", "premium_fixed", second, first, "eng_Latn", CODES, lines=LINES)
    original, _ = measure_premium("t", "premium", first, first, "eng_Latn", CODES, lines=LINES)
    yoruba = CODES.index("yor_Latn")
    assert own[yoruba].value == pytest.approx((original[yoruba].value or 0) / 2)
    assert fixed[yoruba].value == original[yoruba].value
    assert fixed[CODES.index("eng_Latn")].value == pytest.approx(2.0)
    assert fixed[yoruba].low is None


def test_premium_over_the_median_finds_it_in_every_resample() -> None:
    resampling = draw_resampling(LINES, 50, 0)
    assert resampling is not None
    costs = sum_tokens(CODES, STATISTICS, make(TOKENS), resampling)
    figures, spread = measure_premium_median("t", costs, CODES, lines=LINES)
    totals = {code: int(TOKENS[code].sum()) for code in CODES}
    middle = plain.median(totals.values())
    assert [figure.value for figure in figures] == pytest.approx([totals[code] / middle for code in CODES])
    for row, weights in zip(spread.samples, resampling.weights, strict=True):
        drawn = {code: float(np.dot(weights, TOKENS[code])) for code in CODES}
        below = plain.median(drawn.values())
        assert row.tolist() == pytest.approx([drawn[code] / below for code in CODES])


def test_byte_premium_is_of_raw_bytes() -> None:
    weight = sum_bytes(CODES, STATISTICS, None)
    figures, _ = measure_premium("t", "byte_premium", weight, weight, "eng_Latn", CODES, lines=LINES)
    assert [figure.value for figure in figures] == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("reason", ["lost", "failed", "not aligned"])
def test_a_language_without_a_cost_is_none_and_in_no_median(reason: str) -> None:
    if reason == "not aligned":
        codes: tuple[str, ...] = CODES[:3]
        encoded = make(TOKENS)
    else:
        codes = CODES
        encoded = make(TOKENS, **{reason: "yor_Latn"})
    costs = sum_tokens(codes, STATISTICS, encoded, draw_resampling(LINES, 20, 0))
    figures, spread = measure_premium("t", "premium", costs, costs, "eng_Latn", CODES, lines=LINES)
    last = figures[-1]
    assert (last.name, last.value, last.low) == ("yor_Latn", None, None)
    assert last.note
    assert np.isnan(spread.values).tolist() == [False, False, False, True]
    medians, _ = measure_premium_median("t", costs, CODES, lines=LINES)
    middle = plain.median(int(TOKENS[code].sum()) for code in CODES[:3])
    assert medians[0].value == pytest.approx(int(TOKENS["amh_Ethi"].sum()) / middle)
    assert medians[-1].value is None


def test_without_the_reference_there_is_no_premium() -> None:
    costs = sum_tokens(CODES, STATISTICS, make(TOKENS, lost="eng_Latn"), None)
    figures, spread = measure_premium("t", "premium", costs, costs, "eng_Latn", CODES, lines=LINES)
    assert {figure.value for figure in figures} == {None}
    assert all("eng_Latn: 10.0% of the characters" in (figure.note or "") for figure in figures)
    assert np.isnan(spread.values).all()
    other = [f for f in withhold_premiums("t", CODES, "one language") if f.value is None]
    assert len(other) == 16
    assert {f.note for f in other} == {"one language"}


def changes() -> list[Figure]:
    resampling = draw_resampling(LINES, 200, 0)
    return measure_changes(
        "b", "a", STATISTICS, make(OTHER, lost="tha_Thai"), make(TOKENS), dict.fromkeys(CODES, resampling)
    )  # fmt: skip


def audit() -> Audit:
    names = tuple(Audited(name, name, 10, "byte-level", "") for name in ("a", "b", "c"))
    return Audit(tuple(changes()), names)


def test_change_is_paired() -> None:
    found = {figure.name: figure for figure in changes()}
    yoruba = found["yor_Latn"]
    assert yoruba.metric == CHANGE
    old, new = int(TOKENS["yor_Latn"].sum()), int(OTHER["yor_Latn"].sum())
    assert yoruba.value == pytest.approx(new / old - 1)
    assert yoruba.low is not None
    assert yoruba.high is not None
    # The two go together line by line: unpaired, the interval of the ratio would be ten times as wide.
    assert yoruba.low < new / old - 1 < yoruba.high
    assert yoruba.high - yoruba.low < 0.02
    assert found["tha_Thai"].value is None


def test_regressions_are_named_with_what_the_interval_says() -> None:
    found = _compare_tokenizers(audit(), "a", "b", max_regression=0.02)
    order = [change.language for change in found.changes]
    assert order[0] == "tha_Thai"  # lost: the worst there is
    values = [change.value for change in found.changes[1:]]
    assert values == sorted(values, key=lambda v: -(v or 0))
    by_code = {change.language: change for change in found.changes}
    expected = {code for code in CODES if OTHER[code].sum() > 1.02 * TOKENS[code].sum()} | {"tha_Thai"}
    assert {change.language for change in found.regressions} == expected
    assert by_code["amh_Ethi"].certain
    assert by_code["tha_Thai"].certain
    assert _compare_tokenizers(audit(), "a", "b", max_regression=9.0).regressions == (by_code["tha_Thai"],)


def test_backwards_is_the_inverse() -> None:
    there = {c.language: c for c in _compare_tokenizers(audit(), "a", "b").changes}
    back = {c.language: c for c in _compare_tokenizers(audit(), "b", "a").changes}
    one, other = there["amh_Ethi"], back["amh_Ethi"]
    assert None not in (one.value, one.high, other.value, other.low)
    assert (1 + (one.value or 0)) * (1 + (other.value or 0)) == pytest.approx(1.0)
    assert (1 + (one.high or 0)) * (1 + (other.low or 0)) == pytest.approx(1.0)
    assert not back["tha_Thai"].regressed  # a keeps the text that b loses


def test_only_what_was_audited_can_be_compared() -> None:
    with pytest.raises(ConfigError, match="no tokenizer 'z'"):
        _compare_tokenizers(audit(), "a", "z")
    with pytest.raises(ConfigError, match="changes are against a"):
        _compare_tokenizers(audit(), "b", "c")
