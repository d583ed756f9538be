"""Pooling against dictionaries; integer weights against their definition."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fitting.tables import EVERYTHING, pool, span_table
from vocabkit.core.errors import FitError
from vocabkit.fitting.sentencepiece_engine import Rows, _scale_counts

spans = st.dictionaries(
    st.builds(lambda mark, text: mark + text, st.sampled_from(["", "▁"]), st.text("abcé", min_size=1)),
    st.integers(1, 1000),
    min_size=1,
    max_size=10,
)


def counts(rows: Rows) -> dict[str, int]:
    return dict(zip(rows.lexicon.strings(), rows.lexicon.count.tolist(), strict=True))


def test_equal_spans_of_two_languages_are_one_row() -> None:
    tables = {"a": span_table({"▁la": 3, "la": 1}), "b": span_table({"▁la": 4, "▁el": 2})}
    rows = pool(tables, {"a": 1.0, "b": 1.0}, EVERYTHING)
    assert counts(rows) == {"▁la": 7, "la": 1, "▁el": 2}
    assert rows.weight is rows.lexicon.count
    assert rows.rounding == 0.0
    assert dict(zip(rows.lexicon.strings(), rows.lexicon.documents.tolist(), strict=True))["▁la"] == 2


def test_uncovered_characters_end_a_row() -> None:
    covered = EVERYTHING.copy()
    covered[ord("x")] = False
    rows = pool({"a": span_table({"▁axxb": 2, "xb": 3, "x": 5, "▁x": 7})}, {"a": 1.0}, covered)
    assert counts(rows) == {"▁a": 2, "b": 5, "▁": 7}


def test_nothing_left() -> None:
    with pytest.raises(FitError, match="no text"):
        pool({"a": span_table({"x": 1})}, {"a": 1.0}, np.zeros(0x110000, np.bool_))


@given(st.dictionaries(st.sampled_from("lmn"), spans, min_size=1), st.sets(st.sampled_from("abcé")))
def test_equals_a_dictionary(languages: Mapping[str, Mapping[str, int]], lost: set[str]) -> None:
    covered = EVERYTHING.copy()
    covered[[ord(c) for c in lost]] = False
    expected: Counter[str] = Counter()
    for table in languages.values():
        for span, count in table.items():
            for part in re.split(f"[{''.join(lost)}]" if lost else "$^", span):
                if part:
                    expected[part] += count
    if not expected:
        return
    tables = {code: span_table(table) for code, table in languages.items()}
    rows = pool(tables, dict.fromkeys(tables, 1.0), covered)
    assert counts(rows) == expected
    assert len(rows) == len(expected)
    weights = {code: 1.0 + i for i, code in enumerate(tables)}
    other = dict(reversed(tables.items()))
    a, b = (pool(t, weights, covered, total=10**6) for t in (tables, other))
    assert a.lexicon.strings() == b.lexicon.strings()
    assert a.weight.tolist() == b.weight.tolist()


def test_weights_by_hand() -> None:
    # 1 · 2 + 3 · 1 = 5 for ▁x, 1 for y: of 12, 10 and 2.
    tables = {"a": span_table({"▁x": 2, "y": 1}), "b": span_table({"▁x": 1})}
    rows = pool(tables, {"a": 1.0, "b": 3.0}, EVERYTHING, total=12)
    assert dict(zip(rows.lexicon.strings(), rows.weight.tolist(), strict=True)) == {"▁x": 10, "y": 2}
    assert rows.rounding == pytest.approx(0.0, abs=1e-12)


def test_largest_remainder_and_the_floor_of_one() -> None:
    # 7 · (0.5, 0.3, 0.2) = 3.5, 2.1, 1.4: the last unit goes to the largest remainder.
    assert _scale_counts(np.array([5.0, 3.0, 2.0]), 7)[0].tolist() == [4, 2, 1]
    integers, error = _scale_counts(np.array([1e9, 1.0, 1.0]), 100)
    assert integers.tolist() == [98, 1, 1]
    assert error == pytest.approx(0.04, rel=1e-3)
    assert _scale_counts(np.array([1.0, 1.0]), 2)[0].tolist() == [1, 1]
    with pytest.raises(FitError, match="distinct spans"):
        _scale_counts(np.ones(5), 4)


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=40), st.integers(40, 10**9))
def test_scaled_counts_keep_the_total_and_the_order(weight: list[float], total: int) -> None:
    integers, error = _scale_counts(np.array(weight), total)
    assert integers.sum() == total
    assert integers.min() >= 1
    order = np.argsort(weight, kind="stable")
    assert (np.diff(integers[order]) >= -1).all()
    share = np.array(weight) / sum(weight)
    assert error == pytest.approx(np.abs(integers / total - share).sum(), abs=1e-12)
