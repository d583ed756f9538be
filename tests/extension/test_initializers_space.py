"""Rows by way of an auxiliary space: neighbours, matching pursuit, linear maps and learnt vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extension.vocabularies import draw_rows, plan_byte_level
from vocabkit.core.errors import ConfigError
from vocabkit.extension.initializers import initialize
from vocabkit.extension.rows import Context, Donor, RowPlan, list_new
from vocabkit.extension.space_rows import (
    _find_largest,
    _fit_least_squares,
    _fit_rotation,
    _learn_vectors,
    _open_space,
    _project_simplex,
    pursue,
)

Case = tuple[RowPlan, Context]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    plan, context = plan_byte_level(tmp_path_factory.mktemp("tokenizers"))
    assert context.new_tokenizer is not None
    return plan, replace(context, donor=Donor(draw_rows(plan.new_size) + 0.5, context.new_tokenizer))


def same_space(case: Case) -> tuple[RowPlan, Context, npt.NDArray[np.float32]]:
    """Old rows that are the donor's own, and the new tokens' vectors in it."""
    plan, context = case
    assert context.donor is not None
    # The new tokenizer was trained anew; the donor's ids are its own.
    rows = context.donor.rows[: plan.old_size]
    space = _open_space(plan, context)
    np.testing.assert_array_equal(space.anchors, rows[space.anchor_ids])
    assert len(space.positions) == len(list_new(plan))
    return plan, context, space.targets


def cosines(case: Case) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    space = _open_space(*case)
    sides = [x.astype(np.float64) for x in (space.targets, space.anchors)]
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in sides]
    return space.anchor_ids, units[0] @ units[1].T


def test_nearest_by_hand(case: Case) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size, seed=3)
    ids, table = cosines(case)
    made = initialize("knn:k=3,temperature=0.5", plan, rows, context)
    for place, line in enumerate(table):
        best = np.argsort(-line)[:3]
        weights = np.exp(line[best] / 0.5)
        expected = (weights / weights.sum()) @ rows[ids[best]]
        np.testing.assert_allclose(made.values[place], expected, rtol=1e-4, atol=1e-5)


def test_cold_temperature_copies_the_nearest(case: Case) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size, seed=3)
    ids, table = cosines(case)
    values = initialize("knn:temperature=1e-6", plan, rows, context).values
    np.testing.assert_allclose(values, rows[ids[table.argmax(axis=1)]], rtol=1e-5, atol=1e-6)


def test_clp_is_all_neighbours_with_linear_weights(case: Case) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size, seed=3)
    ids, table = cosines(case)
    expected = table @ rows[ids] / table.sum(axis=1, keepdims=True)
    values = initialize("clp", plan, rows, context).values
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)


def slow_sparsemax(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The projection on the simplex by bisection of τ: Σ max(z − τ, 0) = 1."""
    low, high = z.max() - 1, z.max()
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(z - middle, 0).sum() > 1 else (low, middle)
    return np.asarray(np.maximum(z - low, 0))


@given(st.integers(1, 400), st.integers(0, 10_000), st.sampled_from([0.01, 0.3, 5.0]))
def test_sparsemax(width: int, seed: int, spread: float) -> None:
    values = np.random.default_rng(seed).standard_normal((3, width)).astype(np.float32) * spread
    weights, columns = _project_simplex(values)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    for line, weight, column in zip(values, weights, columns, strict=True):
        full = np.zeros(width)
        full[column] = weight
        np.testing.assert_allclose(full, slow_sparsemax(line.astype(np.float64)), atol=1e-5)


def test_focus_stays_in_the_hull(case: Case) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size, seed=3)
    made = initialize("focus", plan, rows, context)
    assert made.sources is not None
    for ids, weights in made.sources.to_list():
        assert (weights > 0).all()
        assert weights.sum() == pytest.approx(1, rel=1e-5)
        assert plan.old_used[ids].all()
    sizes = [len(ids) for ids, _ in made.sources.to_list()]
    assert max(sizes) < plan.old_used.sum()  # sparse: not all anchors count


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 1_000))
def test_largest_columns(width: int, k: int, seed: int) -> None:
    k = min(k, width)
    values = np.random.default_rng(seed).integers(0, 50, (4, width)).astype(np.float32)
    found = np.take_along_axis(values, _find_largest(values, k), axis=1)
    np.testing.assert_array_equal(found, -np.sort(-values, axis=1)[:, :k])


def slow_pursuit(
    anchors: npt.NDArray[np.float32], target: npt.NDArray[np.float32], k: int
) -> npt.NDArray[np.float64]:
    """One target, one least squares a step: the textbook's."""
    table = anchors.astype(np.float64)
    units = table / np.linalg.norm(table, axis=1, keepdims=True)
    chosen: list[int] = []
    left = target.astype(np.float64)
    out = np.zeros(len(table))
    for _ in range(k):
        along = np.abs(units @ left)
        along[chosen] = -1
        chosen.append(int(along.argmax()))
        weights = np.linalg.lstsq(table[chosen].T, target, rcond=None)[0]
        left = target - weights @ table[chosen]
    out[chosen] = weights
    return out


def spread(found: npt.NDArray[np.float32], chosen: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.float32]:
    out = np.zeros((len(found), size), np.float32)
    np.add.at(out, (np.arange(len(found))[:, None], chosen), found)
    return out


@pytest.mark.parametrize("k", [1, 5, 12])
def test_pursuit_equals_the_textbook(k: int) -> None:
    anchors = draw_rows(120, 24, seed=1) * np.linspace(0.5, 3, 120, dtype=np.float32)[:, None]
    targets = draw_rows(40, 24, seed=2)
    found = pursue(anchors, targets, k)
    full = spread(found.weights, found.chosen, 120)
    expected = np.stack([slow_pursuit(anchors, target, k) for target in targets])
    np.testing.assert_allclose(full, expected, rtol=1e-3, atol=1e-4)
    left = targets - full @ anchors
    norms = np.linalg.norm(targets, axis=1)
    np.testing.assert_allclose(np.linalg.norm(left, axis=1) / norms, found.residuals, atol=1e-5)


def test_pursuit_leaves_what_is_at_right_angles() -> None:
    anchors, targets = draw_rows(200, 32, seed=1), draw_rows(50, 32, seed=2)
    before = np.ones(50)
    for k in (1, 4, 8, 16, 32):
        found = pursue(anchors, targets, k)
        assert (found.residuals <= before + 1e-6).all()
        before = found.residuals.astype(np.float64)
        left = targets - spread(found.weights, found.chosen, 200) @ anchors
        inner = np.einsum("id,ikd->ik", left, anchors[found.chosen])
        assert np.abs(inner).max() < 1e-3
    assert before.max() < 1e-3  # as many as columns: exact


def test_pursuit_recovers_planted_sums() -> None:
    generator = np.random.default_rng(0)
    anchors = draw_rows(300, 128, seed=1)
    planted = np.zeros((60, 300), np.float32)
    for line in planted:
        line[generator.choice(300, 4, replace=False)] = generator.choice([-2, -1, 1, 2], 4)
    for refresh in (1, 2, 4):
        found = pursue(anchors, planted @ anchors, 4, candidates=40, refresh=refresh)
        full = spread(found.weights, found.chosen, 300)
        exact = np.abs(full - planted).max(axis=1) < 1e-3
        # Few candidates at a screening may miss one that only a later residual shows.
        assert exact.mean() == 1 if refresh == 1 else exact.mean() > 0.9


def test_pursuit_with_all_as_candidates_is_exact() -> None:
    anchors, targets = draw_rows(90, 20, seed=1), draw_rows(70, 20, seed=2)
    one = pursue(anchors, targets, 6)
    other = pursue(anchors, targets, 6, candidates=90, refresh=6)
    np.testing.assert_array_equal(one.chosen, other.chosen)
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-3, atol=1e-4)


def test_pursuit_stops_where_nothing_is_left() -> None:
    anchors = np.concatenate([draw_rows(5, 8), draw_rows(5, 8), np.zeros((2, 8), np.float32)])
    targets = np.concatenate([anchors[:3] * 2, np.zeros((1, 8), np.float32)])
    found = pursue(anchors, targets, 6, candidates=12, refresh=3)
    assert found.taken.tolist() == [1, 1, 1, 0]  # copies of anchors and zeros add nothing
    np.testing.assert_allclose(found.weights[:3, 0], 2, rtol=1e-5)
    assert np.isfinite(found.weights).all()
    assert pursue(anchors, targets[:0], 3).taken.shape == (0,)


def test_pursuit_in_the_models_own_space_gives_the_vectors(case: Case) -> None:
    plan, context, targets = same_space(case)
    assert context.donor is not None
    rows = context.donor.rows[: plan.old_size]
    made = initialize("omp:k=16,refresh=1", plan, rows, context)
    np.testing.assert_allclose(made.values, targets, rtol=1e-2, atol=1e-2)


def test_planted_rotation_and_map_are_recovered() -> None:
    source = draw_rows(400, 12, seed=1) + 2
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((12, 12)))[0]
    target = 3 * source @ turn - 1
    for found in (_fit_rotation(source, target), _fit_least_squares(source, target, 0)):
        np.testing.assert_allclose(found.matrix, 3 * turn, atol=1e-4)
        np.testing.assert_allclose(found.apply(source), target, atol=1e-3)
    ridge = _fit_least_squares(source, target, 1e-3)
    np.testing.assert_allclose(ridge.matrix, 3 * turn, atol=0.01)
    assert np.linalg.norm(_fit_least_squares(source, target, 10.0).matrix) < 2


@pytest.mark.parametrize("width", [5, 20])
def test_rotation_between_spaces_of_different_width(width: int) -> None:
    source, target = draw_rows(300, 10, seed=1), draw_rows(300, width, seed=2)
    found = _fit_rotation(source, target).matrix
    gram = found @ found.T if width > 10 else found.T @ found
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(len(gram)), atol=1e-6)


def test_words_of_like_company_have_like_vectors(case: Case) -> None:
    _, context = case
    tokenizer = context.new_tokenizer
    assert tokenizer is not None
    lines = [f"the {a} sat" for a in ("cat", "dog")] * 30 + ["und der Hund im Garten"] * 30
    vectors, known = _learn_vectors(lines, tokenizer, tokenizer.size, width=4, window=2, min_count=5)
    ids = {word: tokenizer.encode_batch([f" {word}"])[0] for word in ("cat", "dog", "und", "Garten")}
    assert all(len(found) == 1 for found in ids.values())
    like = [vectors[ids[word][0]] for word in ("cat", "dog", "Garten")]
    units = [vector / np.linalg.norm(vector) for vector in like]
    assert units[0] @ units[1] > 0.9 > 0.5 > units[0] @ units[2]
    counts = np.bincount(tokenizer.encode_flat(lines)[0], minlength=tokenizer.size)
    assert known.sum() == (counts >= 5).sum()
    assert not vectors[~known].any()
    again, _ = _learn_vectors(lines, tokenizer, tokenizer.size, width=4, window=2, min_count=5)
    np.testing.assert_array_equal(vectors, again)


def test_text_stands_in_for_a_donor(case: Case) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size)
    made = initialize("knn:width=8", plan, rows, replace(context, donor=None))
    assert made.seed == 0
    assert made.sources is not None
    space = _open_space(plan, replace(context, donor=None))
    assert len(space.positions) > len(list_new(plan)) / 2


def test_a_space_without_anchors_is_refused(case: Case) -> None:
    plan, context = case
    assert context.donor is not None
    empty = replace(context.donor, rows=np.zeros_like(context.donor.rows))
    with pytest.raises(ConfigError, match="only 0 old tokens"):
        initialize("omp", plan, draw_rows(plan.old_size), replace(context, donor=empty))
    with pytest.raises(ConfigError, match="ridge=-1"):
        initialize("least-squares:ridge=-1", plan, draw_rows(plan.old_size), context)
