"""Rows from numbers alone: their moments, and what the mean does to a model's predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.extension.vocabularies import draw_rows, plan_byte_level
from vocabkit.extension.initializers import initialize
from vocabkit.extension.rows import Context, RowPlan, find_root


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[RowPlan, Context]:
    return plan_byte_level(tmp_path_factory.mktemp("tokenizers"))


def grow(plan: RowPlan, amount: int) -> RowPlan:
    """The same plan with so many rows to make."""
    size = plan.old_size + amount
    kept = np.concatenate([np.arange(plan.old_size), np.full(amount, -1)])
    tokens = (*plan.tokens[: plan.old_size], *[None] * amount)
    return replace(plan, new_size=size, kept=kept, tokens=tokens, special=np.zeros(size, bool))


def test_zero_and_normal(case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    plan = grow(plan, 20_000)
    rows = draw_rows(plan.old_size, 8)
    assert not initialize("zero", plan, rows, context).values.any()
    values = initialize("normal:std=0.5", plan, rows, context).values
    assert values.std() == pytest.approx(0.5, rel=0.01)
    assert abs(values.mean()) < 0.01
    other = initialize("normal:std=0.5", plan, rows, replace(context, seed=1)).values
    assert not np.array_equal(values, other)
    head = initialize("normal:std=0.5", plan, rows, replace(context, role="output")).values
    assert not np.array_equal(values, head)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_multivariate_has_the_old_covariance_times_the_scale(
    scale: float, case: tuple[RowPlan, Context]
) -> None:
    plan, context = case
    plan = grow(plan, 50_000)
    mix = np.random.default_rng(1).standard_normal((6, 6))
    rows = (draw_rows(plan.old_size, 6) @ mix + 3).astype(np.float32)
    used = rows[plan.old_used].astype(np.float64)
    sigma = np.cov(used.T, bias=True)
    values = initialize(f"multivariate:scale={scale}", plan, rows, context).values
    found = np.cov(values.T.astype(np.float64), bias=True)
    assert np.linalg.norm(found - scale**2 * sigma) < 0.02 * np.linalg.norm(scale**2 * sigma)
    np.testing.assert_allclose(values.mean(axis=0), used.mean(axis=0), atol=0.1)
    # The scale of `resize_token_embeddings` leaves nothing but the mean.
    flat = initialize("multivariate:scale=3.16e-5", plan, rows, context).values
    ratio = flat.astype(np.float64).std(axis=0) / used.std(axis=0)
    np.testing.assert_allclose(ratio, 3.16e-5, rtol=0.05)


def test_diagonal_has_each_columns_spread(case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    plan = grow(plan, 50_000)
    rows = draw_rows(plan.old_size, 4) * np.array([1, 2, 3, 4], np.float32) - 1
    used = rows[plan.old_used]
    values = initialize("diagonal", plan, rows, context).values
    np.testing.assert_allclose(values.std(axis=0), used.std(axis=0), rtol=0.02)
    np.testing.assert_allclose(values.mean(axis=0), used.mean(axis=0), atol=0.05)
    correlation = np.corrcoef(values.T)
    assert abs(correlation - np.eye(4)).max() < 0.02


def test_mean_changes_old_predictions_by_no_more_than_the_bound(
    case: tuple[RowPlan, Context],
) -> None:
    plan, context = case
    used = int(plan.old_used.sum())
    plan = grow(plan, 40)
    rows = draw_rows(plan.old_size, 16) + 1
    mean = initialize("mean", plan, rows, context).values
    states = np.random.default_rng(2).standard_normal((500, 16)) - 0.5
    old = np.exp(states @ rows[plan.old_used].T).sum(axis=1)
    new = np.exp(states @ mean.T).sum(axis=1)
    divergence = np.log1p(new / old)  # KL of the old distribution from the new one
    assert divergence.max() <= np.log(1 + 40 / used) + 1e-6
    zero = np.log1p(40 / old)
    assert (zero > 1).mean() > 0.1  # where all old logits are low, zero rows win


def test_root_of_a_singular_covariance() -> None:
    thin = np.random.default_rng(0).standard_normal((3, 10))
    sigma = thin.T @ thin / 3
    root = find_root(sigma)
    np.testing.assert_allclose(root @ root.T, sigma, atol=1e-3)
    assert not find_root(np.zeros((4, 4))).any()
