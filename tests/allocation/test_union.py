"""The union is the budget exactly, whatever the languages share, and depends on no order."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.allocation.curve_samples import make_curve, make_mass
from vocabkit.allocation.curves import Curve
from vocabkit.allocation.union import (
    Allocation,
    AllocationTable,
    allocate,
    find_shares,
    price_pieces,
)
from vocabkit.core.errors import FitError

METHODS = ("proportional", "exponent", "unimax", "vocap", "maxmin")


@st.composite
def languages(draw: st.DrawFn) -> tuple[dict[str, Curve], dict[str, int]]:
    """Two to five languages that draw their pieces from one small pool, so that they share many."""
    curves, masses = {}, {}
    for k in range(draw(st.integers(2, 5))):
        code = f"aa{chr(97 + k)}_Latn"
        pool = [f"p{i}" for i in range(60)]
        random.Random(draw(st.integers(0, 1_000))).shuffle(pool)
        pieces = pool[: draw(st.integers(3, 40))]
        count = draw(st.lists(st.integers(1, 9), min_size=len(pieces), max_size=len(pieces)))
        curves[code] = make_curve(
            code,
            pieces,
            alphabet=draw(st.integers(1, 3)),
            count=[float(c) for c in count],
            steep=draw(st.floats(0.05, 2.0)),
        )
        masses[code] = draw(st.integers(50, 100_000))
    return curves, masses


def share_out(curves: dict[str, Curve], masses: dict[str, int], budget: int, method: str) -> Allocation:
    settings = AllocationTable.model_validate({"method": method})
    shares = find_shares({code: make_mass(code, n) for code, n in masses.items()}, settings)
    return allocate(curves, price_pieces(curves, shares, settings), budget)


def bounds(curves: dict[str, Curve]) -> tuple[int, int]:
    least = {p for curve in curves.values() for p in curve.pieces[: curve.alphabet]}
    most = {p for curve in curves.values() for p in curve.pieces}
    return len(least), len(most)


@given(languages(), st.sampled_from(METHODS), st.floats(0, 1))
def test_sums_prefixes_and_owners(
    drawn: tuple[dict[str, Curve], dict[str, int]], method: str, part: float
) -> None:
    curves, masses = drawn
    least, most = bounds(curves)
    budget = least + int(part * (most - least))
    found = share_out(curves, masses, budget, method)
    sizes = zip(found.languages, found.lexicon.tolist(), strict=True)
    prefixes = {code: set(curves[code].pieces[:size]) for code, size in sizes}
    assert set(found.pieces) == set().union(*prefixes.values())
    assert len(found.pieces) == found.budget == budget == found.attributed.sum()
    assert found.lexicon.sum() >= budget
    for k, code in enumerate(found.languages):
        assert curves[code].alphabet <= found.lexicon[k] <= len(curves[code])
        others = set().union(*(prefixes[c] for c in prefixes if c != code))
        assert found.alone[k] == len(prefixes[code] - others)
        assert found.alone[k] <= found.attributed[k] <= found.lexicon[k]
    for piece, owner, pooled in zip(found.pieces, found.owner, found.count, strict=True):
        claims = {
            code: curves[code].count[curves[code].pieces.index(piece)]
            for code in found.languages
            if piece in prefixes[code]
        }
        assert pooled == sum(claims.values())
        best = max(claims.values())
        assert found.languages[owner] == min(c for c in claims if claims[c] == best)


@given(languages(), st.sampled_from(METHODS), st.floats(0, 1), st.floats(0, 1))
def test_lexicons_grow_with_the_budget(
    drawn: tuple[dict[str, Curve], dict[str, int]], method: str, one: float, other: float
) -> None:
    curves, masses = drawn
    least, most = bounds(curves)
    small, large = sorted(least + int(part * (most - least)) for part in (one, other))
    first = share_out(curves, masses, small, method)
    second = share_out(curves, masses, large, method)
    assert (first.lexicon <= second.lexicon).all()
    assert second.pieces[:small] == first.pieces


@given(languages(), st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_the_order_of_languages_is_nothing(
    drawn: tuple[dict[str, Curve], dict[str, int]], method: str, draw: random.Random
) -> None:
    curves, masses = drawn
    least, most = bounds(curves)
    shuffled = list(curves)
    draw.shuffle(shuffled)
    first = share_out(curves, masses, (least + most) // 2, method)
    second = share_out(
        {code: curves[code] for code in shuffled},
        {code: masses[code] for code in shuffled},
        (least + most) // 2,
        method,
    )
    assert first.languages == second.languages
    assert first.pieces == second.pieces
    for name in ("lexicon", "attributed", "alone", "owner"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_weights_decide_who_is_given_a_shared_piece() -> None:
    curves = {
        code: make_curve(code, ["a", "ab", f"x{code}"], count=[5.0, count, 1.0])
        for code, count in (("aaa_Latn", 3.0), ("bbb_Latn", 2.0))
    }
    prices = {code: np.array([-np.inf, 1.0, 2.0]) for code in curves}
    plain = allocate(curves, prices, 4)
    weighted = allocate(curves, prices, 4, weights={"aaa_Latn": 1.0, "bbb_Latn": 2.0})
    assert plain.pieces == ("a", "ab", "xaaa_Latn", "xbbb_Latn")
    assert plain.attributed.tolist() == [3, 1]
    assert weighted.attributed.tolist() == [1, 3]
    assert weighted.count.tolist() == [15.0, 7.0, 1.0, 2.0]


def test_denied_pieces_give_way_to_the_next() -> None:
    curves = {"aaa_Latn": make_curve("aaa_Latn", ["a", "ab", "abc", "b"])}
    prices = {"aaa_Latn": np.array([-np.inf, 1.0, 2.0, 3.0])}
    assert allocate(curves, prices, 3, deny={"ab"}).pieces == ("a", "abc", "b")
    with pytest.raises(FitError, match=r"can fill 3 pieces, not 4"):
        allocate(curves, prices, 4, deny={"ab"})


def test_budgets_that_cannot_be() -> None:
    curves = {"aaa_Latn": make_curve("aaa_Latn", ["a", "b", "ab"], alphabet=2)}
    prices = {"aaa_Latn": np.array([-np.inf, -np.inf, 1.0])}
    with pytest.raises(FitError, match="cannot hold the 2"):
        allocate(curves, prices, 1)
    with pytest.raises(FitError, match="can fill 3 pieces, not 9"):
        allocate(curves, prices, 9)
