"""Every figure of a language against its definition, computed the slow way with fractions."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from vocabkit.auditing.encoding import Encoded
from vocabkit.auditing.figures import Figure, draw_resampling
from vocabkit.auditing.metrics import list_ratios, measure_language, resample_ratios
from vocabkit.auditing.text_statistics import TextStatistics

Arrays = dict[str, list[int]]
LINES = 60


def integers(values: list[int]) -> npt.NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def make(*, weights: list[int] | None = None, lost: int = 0) -> tuple[TextStatistics, Encoded, Arrays]:
    generator = np.random.default_rng(7)
    arrays = {
        name: generator.integers(low, high, LINES).tolist()
        for name, low, high in (
            ("bytes", 60, 200), ("characters", 40, 59), ("graphemes", 30, 40), ("words", 5, 12),
            ("spaced", 3, 9), ("tokens", 12, 40), ("unknown", 0, 2), ("fallback", 0, 5), ("partial", 0, 3),
        )
    }  # fmt: skip
    arrays["gone"] = [lost] * LINES
    statistics = TextStatistics(
        "yor_Latn",
        integers(arrays["bytes"]),
        integers(arrays["characters"]),
        integers(arrays["graphemes"]),
        integers(arrays["words"]),
        integers(arrays["spaced"]),
        None,
        {"Latn": 100},
        {"Latn": 20},
        {"a": 5, "b": 4, "ẹ": 3, " ": 9, "\n": 1},
        ("a", "ab", "abc", "ẹ"),
        np.array([10, 4, 1, 5], dtype=np.int64),
        None if weights is None else np.array(weights, dtype=np.int64),
    )
    encoded = Encoded(
        "yor_Latn",
        integers(arrays["tokens"]),
        integers(arrays["unknown"]),
        integers(arrays["fallback"]),
        integers(arrays["partial"]),
        integers(arrays["gone"]),
        integers([3, 4]),
        np.array([7, 8], dtype=np.int64),
        integers([1, 1, 3, 2]),
        frozenset({"ẹ", "ŋ"}),
        integers([0, 2, 1]),
        integers([20, 30, 40]),
        integers([9, 12]),
        integers([8, 11]),
    )
    return statistics, encoded, arrays


def measure(statistics: TextStatistics, encoded: Encoded, resamples: int = 200) -> dict[str, Figure]:
    resampling = draw_resampling(LINES, resamples, 1)
    samples = None
    if resampling is not None and statistics.weights is None:
        samples = resample_ratios({"a": list_ratios(statistics, encoded)}, resampling)["a"]
    measured = measure_language(
        "t", statistics, encoded, samples,
        exemplars={"a", "ẹ", "ŋ", "gb"}, resamples=resamples, seed=1,
    )  # fmt: skip
    return {figure.metric: figure for figure in measured}


DEFINITIONS = {
    "fertility": ("tokens", "words"),
    "tokens_per_white_space_word": ("tokens", "spaced"),
    "tokens_per_grapheme": ("tokens", "graphemes"),
    "characters_per_token": ("characters", "tokens"),
    "bytes_per_token": ("bytes", "tokens"),
    "unknown_characters": ("gone", "characters"),
    "unknown_tokens": ("unknown", "tokens"),
    "byte_fallback": ("fallback", "tokens"),
    "partial_tokens": ("partial", "tokens"),
}


def test_ratios_are_of_sums_with_intervals_of_lines() -> None:
    statistics, encoded, arrays = make()
    found = measure(statistics, encoded)
    resampling = draw_resampling(LINES, 200, 1)
    assert resampling is not None
    for metric, (above, below) in DEFINITIONS.items():
        figure = found[metric]
        assert figure.value == float(Fraction(sum(arrays[above]), sum(arrays[below])))
        assert (figure.scope, figure.name, figure.tokenizer) == ("language", "yor_Latn", "t")
        assert (figure.n, figure.aggregation) == (LINES, "ratio of sums")
        slow = sorted(
            sum(w * v for w, v in zip(drawn, arrays[above], strict=True))
            / sum(w * v for w, v in zip(drawn, arrays[below], strict=True))
            for drawn in resampling.weights.tolist()
        )
        # Of 200 values the 2.5th percentile lies between the fifth and the sixth.
        assert figure.low is not None
        assert figure.high is not None
        assert slow[4] <= figure.low <= slow[5]
        assert slow[194] <= figure.high <= slow[195]
    assert found["tokens"].value == sum(arrays["tokens"])


def test_words_letters_and_samples() -> None:
    statistics, encoded, _ = make()
    found = measure(statistics, encoded)
    assert found["words_continued"].value == pytest.approx(6 / 20)  # abc once, ẹ five times
    assert found["words_continued"].n == 20
    assert found["words_whole"].value == pytest.approx(2 / 4)
    assert found["words_whole"].n == 4
    assert found["character_coverage"].value == pytest.approx(2 / 3)  # white space aside
    assert "U+1EB9" in (found["character_coverage"].note or "")
    assert found["exemplar_coverage"].value == pytest.approx(2 / 4)
    assert found["grapheme_splits"].value == pytest.approx(3 / 90)
    assert found["code_switching"].value == pytest.approx(21 / 19)


def test_counted_words_are_weighted_and_have_no_interval() -> None:
    weights = list(range(1, LINES + 1))
    statistics, encoded, arrays = make(weights=weights)
    found = measure(statistics, encoded)
    for metric, (above, below) in DEFINITIONS.items():
        top, bottom = (
            sum(w * v for w, v in zip(weights, arrays[name], strict=True)) for name in (above, below)
        )
        assert found[metric].value == pytest.approx(top / bottom)
        assert found[metric].low is None


def test_lost_text_takes_the_costs_away_and_nothing_else() -> None:
    """An unknown token swallows a whole word: the cheapest figures would be those of unread languages."""
    statistics, encoded, _ = make(lost=1)
    found = measure(statistics, encoded)
    assert found["unknown_characters"].value is not None
    assert found["unknown_characters"].value > 0.01
    for metric in (
        "fertility", "tokens_per_grapheme", "characters_per_token", "bytes_per_token", "words_whole",
        "words_continued", "code_switching", "tokens_per_white_space_word",
    ):  # fmt: skip
        assert found[metric].value is None
        assert found[metric].low is None
        assert "lost in unknown tokens" in (found[metric].note or "")
    assert found["unknown_tokens"].value is not None
    assert found["tokens"].value is not None


def test_what_is_not_there_is_none() -> None:
    none = integers([])
    nothing = TextStatistics(
        "nod_Lana", none, none, none, None, none, "ICU has no Lana",
        {}, {}, {}, (), np.zeros(0, dtype=np.int64), None,
    )  # fmt: skip
    empty = Encoded(
        "nod_Lana", none, none, none, none, none, none, np.zeros(0, dtype=np.int64), none, frozenset(),
        none, none, none, none,
    )  # fmt: skip
    figures = measure_language("t", nothing, empty, None, exemplars=None)
    assert {f.metric: f.value for f in figures if f.value is not None} == {"tokens": 0.0}
    assert all(f.note for f in figures if f.value is None and f.metric != "character_coverage")
    assert next(f for f in figures if f.metric == "fertility").note == "ICU has no Lana"


def test_one_line_has_a_value_and_no_interval() -> None:
    statistics, encoded, _ = make()
    assert draw_resampling(1, 200, 0) is None
    measured = measure_language("t", statistics, encoded, None)
    assert measured[0].metric == "fertility"
    assert measured[0].value is not None
    assert all(f.low is None for f in measured if f.metric in DEFINITIONS)
