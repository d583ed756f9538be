"""Each method against what it says it does, computed another way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.allocation.curve_samples import make_curve, make_mass
from vocabkit.allocation.curves import Curve
from vocabkit.allocation.union import (
    Allocation,
    AllocationTable,
    allocate,
    find_costs,
    find_shares,
    price_pieces,
)
from vocabkit.core.config import validate
from vocabkit.core.errors import ConfigError

SIZES = {"aaa_Latn": 60_000, "bbb_Latn": 30_000, "ccc_Latn": 10_000}


def settings(**named: object) -> AllocationTable:
    return validate(AllocationTable, named, "test")


def curves_of(size: int, steep: dict[str, float] | None = None) -> dict[str, Curve]:
    """Languages that share nothing."""
    return {
        code: make_curve(code, [f"{code[0]}{k}" for k in range(size)], steep=(steep or {}).get(code, 1.0))
        for code in SIZES
    }


def share_out(
    curves: dict[str, Curve], budget: int, table: AllocationTable, lines: int | None = None
) -> Allocation:
    shares = find_shares({code: make_mass(code, n) for code, n in SIZES.items()}, table)
    aligned = None if lines is None else dict.fromkeys(curves, lines)
    return allocate(curves, price_pieces(curves, shares, table, aligned), budget)


def test_proportional_sizes_are_in_proportion() -> None:
    found = share_out(curves_of(1_000), 1_000, settings())
    assert found.lexicon.tolist() == [600, 300, 100]


@pytest.mark.parametrize("unit", ["characters", "bytes", "words"])
def test_units(unit: str) -> None:
    shares = find_shares(
        {"aaa_Latn": make_mass("aaa_Latn", 300), "bbb_Latn": make_mass("bbb_Latn", 100)},
        settings(unit=unit),
    )
    assert shares == pytest.approx({"aaa_Latn": 0.75, "bbb_Latn": 0.25})


def test_an_exponent_flattens() -> None:
    found = share_out(curves_of(1_000), 1_000, settings(method="exponent", exponent=0.5))
    roots = np.sqrt(list(SIZES.values()))
    assert found.lexicon == pytest.approx(1_000 * roots / roots.sum(), abs=1)
    even = share_out(curves_of(1_000), 999, settings(method="exponent", exponent=0.0))
    assert even.lexicon.tolist() == [333, 333, 333]


def test_unimax_is_even_but_for_small_languages() -> None:
    found = share_out(curves_of(1_000), 1_000, settings(method="unimax", max_epochs=2.0))
    assert found.lexicon == pytest.approx([400, 400, 200], abs=1)


def test_floors_and_ceilings_hold_and_the_others_take_the_rest() -> None:
    found = share_out(curves_of(1_000), 1_000, settings(floor=150, ceiling=500))
    assert found.lexicon.tolist() == [500, 350, 150]
    found = share_out(curves_of(400), 1_000, settings())
    assert found.lexicon.tolist() == [400, 400, 200]


def test_vocap_finds_the_best_sum_of_all() -> None:
    curves = curves_of(40, {"aaa_Latn": 0.3, "bbb_Latn": 1.0, "ccc_Latn": 2.0})
    table = settings(method="vocap", beta=0.5, exponent=1.0)
    found = share_out(curves, 60, table)
    power = {code: (n / sum(SIZES.values())) ** 0.5 for code, n in SIZES.items()}

    def gained(sizes: tuple[int, ...]) -> float:
        every = zip(curves.items(), sizes, strict=True)
        return math.fsum(
            power[code] * curve.worth.gain_at(np.arange(2, n + 1, dtype=np.float64)).sum()
            for (code, curve), n in every
        )

    best = max(
        ((a, b, 60 - a - b) for a, b in itertools.product(range(1, 41), repeat=2)
         if 1 <= 60 - a - b <= 40),
        key=gained,
    )  # fmt: skip
    assert gained(tuple(found.lexicon.tolist())) == pytest.approx(gained(best), abs=1e-9)


def test_maxmin_leaves_no_language_far_behind_its_own_best() -> None:
    curves = curves_of(500, {"aaa_Latn": 0.1, "bbb_Latn": 1.0, "ccc_Latn": 3.0})
    found = share_out(curves, 600, settings(method="maxmin"))
    costs = [
        float(find_costs(curves[code], np.array([n], np.float64), None)[0])
        for code, n in zip(found.languages, found.lexicon.tolist(), strict=True)
    ]
    # One piece fewer anywhere would be worse than the worst there is.
    before = [
        float(find_costs(curves[code], np.array([n - 1], np.float64), None)[0])
        for code, n in zip(found.languages, found.lexicon.tolist(), strict=True)
    ]
    assert min(before) >= max(costs) - 1e-9
    assert max(costs) - min(costs) < 0.05


def test_parity_equalises_tokens_per_line() -> None:
    curves = curves_of(2_000, {"aaa_Latn": 0.5, "bbb_Latn": 0.6, "ccc_Latn": 0.7})
    found = share_out(curves, 2_000, settings(method="parity", dev="somewhere"), lines=50)
    costs = [
        float(find_costs(curves[code], np.array([n], np.float64), 50)[0])
        for code, n in zip(found.languages, found.lexicon.tolist(), strict=True)
    ]
    assert max(costs) - min(costs) < 0.02 * max(costs)
    assert found.lexicon[0] > found.lexicon[1] > found.lexicon[2]


def test_uncovered_characters_cost_a_token_each() -> None:
    curve = make_curve("aaa_Latn", ["a", "b", "c"])
    rare = Curve(**{**vars(curve), "uncovered": 10.0})
    size = np.array([2.0])
    assert find_costs(rare, size, 5) - find_costs(curve, size, 5) == pytest.approx(2.0)


def test_settings_that_contradict_themselves() -> None:
    for table, message in (
        ({"method": "parity"}, "--dev DIR"),
        ({"floor": 9, "ceiling": 3}, "above ceiling"),
        ({"exponent": 0.3}, "method is 'proportional'"),
        ({"method": "vocab"}, "vocap"),
    ):
        with pytest.raises(ConfigError, match=message):
            settings(**table)
    with pytest.raises(ConfigError, match="aligned"):
        price_pieces(curves_of(5), {}, settings(method="parity", dev="x"))


def test_the_cap_follows_the_budget() -> None:
    assert settings().choose_cap(500_000, 40) == 100_000
    assert settings().choose_cap(300_000, 40) == settings().choose_cap(400_000, 40) == 100_000
    assert settings().choose_cap(20_000, 40) == 25_000
    assert settings().choose_cap(3_000, 2) == 6_250
    assert settings(cap=7_000).choose_cap(500_000, 2) == 7_000
