"""The table of initialisers: every method's rows, their sources, fallbacks, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.extension.vocabularies import draw_rows, plan_byte_level
from vocabkit.core.errors import ConfigError
from vocabkit.extension.initializers import METHODS, choose_methods, explain_missing, initialize
from vocabkit.extension.rows import (
    Context,
    Donor,
    RowPlan,
    _add_up,
    list_new,
    list_used,
    parse_method,
)

PLAIN = [name for name in METHODS if name != "distill"]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[RowPlan, Context]:
    plan, context = plan_byte_level(tmp_path_factory.mktemp("tokenizers"))
    assert context.new_tokenizer is not None
    # Vectors with a mean, as trained ones have: CLP divides by the sum of cosines.
    donor = Donor(draw_rows(plan.new_size, 12, seed=5) + 0.5, context.new_tokenizer)
    return plan, replace(context, donor=donor)


@pytest.mark.parametrize("name", PLAIN)
def test_rows_follow_sources_and_seed(name: str, case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size)
    made = initialize(name, plan, rows, context)
    assert made.method == name
    assert made.values.shape == (len(list_new(plan)), rows.shape[1])
    assert made.values.dtype == np.float32
    np.testing.assert_array_equal(initialize(name, plan, rows, context).values, made.values)
    if made.sources is not None:
        mixture = made.sources
        filled = ~mixture.empty
        np.testing.assert_array_equal(made.values[filled], _add_up(mixture, rows)[filled])
        mean = rows[plan.old_used].mean(axis=0)
        np.testing.assert_allclose(made.values[~filled], np.tile(mean, ((~filled).sum(), 1)), 1e-4)


@pytest.mark.parametrize("name", PLAIN)
def test_untrained_rows_count_for_nothing(name: str, case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size)
    other = rows.copy()
    other[~plan.old_used] = 1e6
    assert (~plan.old_used).sum() >= 4  # the special tokens
    expected = initialize(name, plan, rows, context).values
    np.testing.assert_array_equal(initialize(name, plan, other, context).values, expected)


def test_rows_of_zeros_are_untrained(case: tuple[RowPlan, Context]) -> None:
    plan, _ = case
    rows = draw_rows(plan.old_size)
    rows[100:110] = 0
    used = list_used(plan.old_used, rows)
    assert not np.isin(used, np.arange(100, 110)).any()
    assert len(used) == plan.old_used.sum() - 10
    with pytest.raises(ConfigError, match="none of the"):
        list_used(plan.old_used, np.zeros_like(rows))


@pytest.mark.parametrize("name", ["knn", "focus", "omp", "clp", "least-squares", "procrustes"])
def test_token_without_a_vector_gets_its_spelling(name: str, case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    assert context.donor is not None
    vectors = context.donor.rows.copy()
    new = list_new(plan)
    vectors[new[3]] = 0
    context = replace(context, donor=replace(context.donor, rows=vectors))
    rows = draw_rows(plan.old_size)
    made = initialize(name, plan, rows, context)
    spelled = initialize("subword-mean", plan, rows, context).values
    np.testing.assert_array_equal(made.values[3], spelled[3])
    assert not np.allclose(made.values[4], spelled[4])
    assert f"{len(new) - 1} by {name}, 1 by subword-mean" in made.note


def test_token_without_text_gets_the_mean(case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    tokens = list(plan.tokens)
    tokens[int(list_new(plan)[0])] = None
    plan = replace(plan, tokens=tuple(tokens))
    rows = draw_rows(plan.old_size)
    for name in ("subword-mean", "overlap", "omp", "alignment"):
        made = initialize(name, plan, rows, replace(context, lines=()) if name == "omp" else context)
        if name != "alignment":  # the text still shows where it stands
            assert made.sources is not None
            assert len(made.sources.to_list()[0][0]) == 0
            np.testing.assert_allclose(made.values[0], rows[plan.old_used].mean(axis=0), 1e-3, 1e-6)


def test_defaults_and_what_is_missing(case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    assert choose_methods(tied=True, has_donor=True) == ("subword-mean", "subword-mean")
    assert choose_methods(tied=False, has_donor=True) == ("omp", "subword-mean")
    assert choose_methods(tied=False, has_donor=False) == ("subword-mean",) * 2
    bare = replace(context, donor=None, lines=())
    assert explain_missing("mean", bare) is None
    assert "donor" in str(explain_missing("omp", bare))
    with pytest.raises(ConfigError, match="omp: needs a donor"):
        initialize("omp", plan, draw_rows(plan.old_size), bare)
    with pytest.raises(ConfigError, match="needs the model's folder"):
        initialize("distill", plan, draw_rows(plan.old_size), context)


def test_wrong_names_and_options(case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size)
    with pytest.raises(ConfigError) as found:
        initialize("subword-men", plan, rows, context)
    assert "subword-mean" in str(found.value.hint)
    with pytest.raises(ConfigError, match="mean has no option 'scale'"):
        initialize("mean:scale=2", plan, rows, context)
    with pytest.raises(ConfigError, match="no number"):
        parse_method("normal:std=wide")
    with pytest.raises(ConfigError, match="whole number"):
        initialize("knn:k=2.5", plan, rows, context)
    assert parse_method("multivariate:scale=0.5") == ("multivariate", {"scale": 0.5})


def test_rows_that_are_not_finite_are_refused(case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size)
    rows[plan.old_used] = np.nan
    with pytest.raises(ConfigError, match="not finite"):
        initialize("subword-mean", plan, rows, context)


def test_nothing_new(tmp_path: Path, case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    kept = np.arange(plan.new_size)
    plan = replace(plan, kept=np.minimum(kept, plan.old_size - 1))
    for name in PLAIN:
        assert initialize(name, plan, draw_rows(plan.old_size), context).values.shape == (0, 16)
