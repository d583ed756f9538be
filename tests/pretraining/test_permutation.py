"""Permutations computed place by place, against what a permutation is; and the hash below them."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.pretraining.batches import _hash_counters, _mix, _permute, _scale_hashes

WORD = (1 << 64) - 1


def mix_slowly(value: int) -> int:
    """SplitMix64's finaliser in plain integers."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB & WORD
    return value ^ value >> 31


@given(st.integers(0, WORD))
def test_mix_is_splitmix(value: int) -> None:
    assert int(_mix(np.array([value], np.uint64))[0]) == mix_slowly(value)


def test_the_first_word_of_the_published_stream() -> None:
    # SplitMix64 from seed 0 yields this first; the seed is advanced once and mixed.
    assert int(_hash_counters(0)[0]) == 0xE220A8397B1DCDAF


@given(st.integers(-5, WORD), st.integers(0, 2**62), st.integers(0, 2**62))
def test_words_of_counters_broadcast_and_depend_on_nothing_else(seed: int, first: int, second: int) -> None:
    alone = _hash_counters(seed, first, second)
    grid = _hash_counters(seed, np.array([[first], [7]]), np.array([second, 3, 4]))
    assert grid.shape == (2, 3)
    assert grid[0, 0] == alone[0]


def test_no_two_counters_share_a_word() -> None:
    words = _hash_counters(3, np.arange(200)[:, None], np.arange(500)[None, :])
    assert len(np.unique(words)) == 100_000


def test_scaled_words_are_uniform() -> None:
    found = np.bincount(_scale_hashes(_hash_counters(1, np.arange(60_000)), 6), minlength=6)
    # Chi-squared with 5 degrees of freedom passes 20.5 once in a thousand.
    assert float(((found - 10_000.0) ** 2 / 10_000.0).sum()) < 20.5


@given(st.integers(1, 5_000), st.integers(0, WORD))
def test_every_place_is_taken_once(size: int, key: int) -> None:
    found = _permute(np.arange(size), size, np.uint64(key))
    assert np.array_equal(np.sort(found), np.arange(size))


@given(
    st.lists(
        st.tuples(st.integers(1, 2**40), st.integers(0, WORD), st.integers(0, 2**40)), min_size=1, max_size=20
    )
)
def test_many_permutations_at_once_are_those_one_by_one(asked: list[tuple[int, int, int]]) -> None:
    sizes = np.array([size for size, _, _ in asked], np.uint64)
    keys = np.array([key for _, key, _ in asked], np.uint64)
    places = np.array([place % size for size, _, place in asked], np.uint64)
    together = _permute(places, sizes, keys)
    assert ((together >= 0) & (together < sizes.astype(np.int64))).all()
    for number in range(len(asked)):
        assert together[number] == _permute(places[number], sizes[number], keys[number])[0]


def test_small_sets_come_in_every_order_equally_often() -> None:
    keys = _hash_counters(0, np.arange(24_000))
    orders = _permute(np.arange(4)[None, :], 4, keys[:, None])
    found = Counter(map(tuple, orders.tolist()))
    assert set(found) == set(itertools.permutations(range(4)))
    # 23 degrees of freedom: 49.7 once in a thousand.
    assert sum((count - 1_000) ** 2 / 1_000 for count in found.values()) < 49.7


@pytest.mark.parametrize("size", [3, 5, 11, 17])
def test_each_place_of_a_small_set_goes_everywhere_equally_often(size: int) -> None:
    keys = _hash_counters(1, size, np.arange(1_000 * size))
    orders = _permute(np.arange(size)[None, :], size, keys[:, None])
    for place in range(size):
        found = np.bincount(orders[:, place], minlength=size)
        # Deviations of √1,000 = 32 and a little less; five of them.
        assert np.abs(found - 1_000).max() < 160


def test_neighbours_are_torn_apart() -> None:
    found = _permute(np.arange(10_000), 10_000, 9)
    steps = np.abs(np.diff(found))
    # Two uniform numbers of 10,000 lie a third apart on average.
    assert abs(float(steps.mean()) - 3_333.0) < 100.0
    assert float((found == np.arange(10_000)).mean()) < 0.001
