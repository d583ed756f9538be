"""The order of samples against its promises: exact quotas, whole epochs, and nothing but the number counts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vocabkit.pretraining.batches import Order, _choose_block

weights = st.lists(st.floats(1e-7, 1.0), min_size=1, max_size=12)


def locate_all(order: Order, count: int) -> NDArray[np.int64]:
    """Return languages, rows and epochs of the first samples, int64[3, count]."""
    return np.stack(order.locate(np.arange(count)))


@settings(max_examples=60, deadline=None)
@given(weights, st.integers(1, 64), st.integers(1, 60))
def test_quotas_are_exact_at_every_block(shares: list[float], block: int, blocks: int) -> None:
    order = Order(1, shares, [5] * len(shares), block=block)
    exact = [Fraction(share) for share in shares]
    whole = sum(exact)
    before = np.zeros(len(shares), np.int64)
    for number in range(blocks + 1):
        drawn = order.drawn_before(number)
        assert drawn.sum() == number * block
        assert (drawn >= before).all()
        for count, share in zip(drawn.tolist(), exact, strict=True):
            assert abs(count - number * block * share / whole) < 1 + Fraction(1, 10**6)
        before = drawn


def test_shares_for_which_largest_remainders_would_take_a_draw_back() -> None:
    shares = [Fraction(part, 52) for part in (30, 10, 10, 1, 1)]
    drawn, stuck = [0] * 5, False
    for samples in range(1, 60):
        due = [samples * share for share in shares]
        drawn = [max(count, int(part)) for count, part in zip(drawn, due, strict=True)]
        stuck = stuck or sum(drawn) > samples
        by_remainder = sorted(range(5), key=lambda one: drawn[one] - due[one])
        for one in by_remainder[: samples - sum(drawn)]:
            drawn[one] += 1
    assert stuck
    order = Order(0, [float(share) for share in shares], [9] * 5, block=1)
    for samples in range(60):
        for count, share in zip(order.drawn_before(samples).tolist(), shares, strict=True):
            assert abs(count - samples * share) < 1


def test_counting_behind_what_was_made_ahead() -> None:
    shares = [0.9, 0.099, 0.001]
    order = Order(0, shares, [9, 9, 9], block=4)
    ahead = [order.drawn_before(number).tolist() for number in range(40)]
    for number in (3, 38, 0, 20, 39, 1):
        assert order.drawn_before(number).tolist() == ahead[number]
        assert Order(0, shares, [9, 9, 9], block=4).drawn_before(number).tolist() == ahead[number]


@settings(max_examples=30, deadline=None)
@given(weights, st.integers(0, 2**32), st.integers(1, 40))
def test_a_sample_is_the_same_however_it_is_asked_for(shares: list[float], seed: int, block: int) -> None:
    sizes = np.arange(3, 3 + len(shares))
    whole = locate_all(Order(seed, shares, sizes, block=block), 200)
    backwards = Order(seed, shares, sizes, block=block)
    for start in range(180, -1, -20):
        part = np.stack(backwards.locate(np.arange(start, start + 20)))
        assert np.array_equal(part, whole[:, start : start + 20])
    mixed = np.random.default_rng(0).permutation(200)
    assert np.array_equal(np.stack(backwards.locate(mixed)), whole[:, mixed])


def test_each_epoch_of_a_language_passes_over_every_row_once_in_an_order_of_its_own() -> None:
    sizes = [7, 50, 1]
    order = Order(5, [0.2, 0.7, 0.1], sizes, block=16)
    languages, rows, epochs = locate_all(order, 800)
    for language, size in enumerate(sizes):
        drawn = rows[languages == language]
        passes = epochs[languages == language]
        assert np.array_equal(passes, np.arange(len(drawn)) // size)
        for epoch in range(len(drawn) // size):
            assert sorted(drawn[passes == epoch].tolist()) == list(range(size))
    first = rows[(languages == 1) & (epochs == 0)]
    second = rows[(languages == 1) & (epochs == 1)]
    assert not np.array_equal(first, second)


def test_languages_are_mixed_within_a_block() -> None:
    languages, _, _ = locate_all(Order(0, [0.5, 0.5], [9, 9], block=1_024), 1_024)
    changes = int((np.diff(languages) != 0).sum())
    # 1,023 neighbours, each different with probability one half: 512, deviation 16.
    assert 430 < changes < 600


def test_another_seed_is_another_order() -> None:
    found = [locate_all(Order(seed, [0.5, 0.5], [900, 900]), 500) for seed in (1, 2)]
    assert not np.array_equal(found[0][0], found[1][0])
    assert not np.array_equal(found[0][1], found[1][1])


def test_the_order_is_the_one_of_earlier_versions() -> None:
    # Runs resume by it: a change here makes every saved run continue on other data.
    languages, rows, epochs = locate_all(Order(7, [0.6, 0.3, 0.1], [4, 3, 2], block=8), 12)
    assert list(zip(languages.tolist(), rows.tolist(), epochs.tolist(), strict=True)) == GOLDEN


GOLDEN = [
    (0, 1, 0), (0, 0, 0), (0, 3, 0), (1, 2, 0), (0, 2, 0), (1, 0, 0),
    (1, 1, 0), (0, 0, 1), (0, 2, 1), (0, 3, 1), (0, 1, 1), (2, 0, 0),
]  # fmt: skip


def test_a_language_without_share_is_never_drawn() -> None:
    languages, _, _ = locate_all(Order(0, [1.0, 0.0, 2.0], [5, 0, 5]), 3_000)
    assert set(languages.tolist()) == {0, 2}


def test_a_far_sample_is_found_without_walking() -> None:
    order = Order(0, [0.25, 0.75], [10**6, 10**9])
    languages, rows, _ = order.locate(np.array([10**12, 10**12 + 1]))
    assert languages.shape == rows.shape == (2,)
    assert order.drawn_before(10**9).tolist() == [256 * 10**9, 768 * 10**9]


@pytest.mark.parametrize(
    ("shares", "block"),
    [([1.0], 1_024), ([0.999, 0.001], 1_024), ([0.9999, 0.0001], 16_384), ([1.0, 1e-9], 65_536)],
)
def test_a_block_draws_the_rarest_language_once_where_it_can(shares: list[float], block: int) -> None:
    assert _choose_block(shares) == block


@pytest.mark.parametrize(("shares", "sizes"), [([1.0], [1, 2]), ([1.0, -0.1], [1, 2]), ([1.0, 0.5], [1, 0])])
def test_what_cannot_be_drawn_is_refused(shares: list[float], sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="share"):
        Order(0, shares, sizes)
