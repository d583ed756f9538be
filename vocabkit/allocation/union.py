"""The union: a budget of pieces filled exactly, and who got which.

Languages share pieces, so sizes that add up to a budget make a smaller vocabulary. Pieces of all languages are
taken by price until the *distinct* ones are the budget, one by one; each is then given to one language.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from vocabkit.allocation.concavity import FloatArray
from vocabkit.allocation.curves import Curve
from vocabkit.core.errors import FitError
from vocabkit.fitting.sorting import Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """Who got how much. `languages` are sorted by code; arrays run along them, or along `pieces`.

    `lexicon` is the size of each language's own vocabulary, the first pieces of its curve: it sums to more
    than the budget where languages share. `attributed` gives each of the `pieces` to the language with the
    largest weighted expected count: it sums to the budget. `alone` counts the pieces no other language
    has. `pieces` are in the order in which they were taken, `owner` indexes `languages`, `count` is the
    weighted expected count of each over the languages that have it.
    """

    languages: tuple[str, ...]
    lexicon: Int64Array
    attributed: Int64Array
    alone: Int64Array
    pieces: tuple[str, ...]
    owner: Int64Array
    count: FloatArray

    @property
    def budget(self) -> int:
        """The number of pieces."""
        return len(self.pieces)

    def size_of(self, language: str) -> int:
        """Return a language's lexicon size."""
        return int(self.lexicon[self.languages.index(language)])


def allocate(
    curves: Mapping[str, Curve],
    prices: Mapping[str, FloatArray],
    budget: int,
    *,
    weights: Mapping[str, float] | None = None,
    deny: Collection[str] = (),
) -> Allocation:
    """Take the cheapest pieces until `budget` distinct ones are in.

    `prices` ascend along each language's pieces and may end before them; −∞ must be in. Equal prices go by
    size, then language code. `weights` multiply the languages' counts where pieces are attributed.
    `deny` are pieces of two and more characters never taken. Raises `FitError` when the budget cannot hold what
    must be in, or the languages cannot fill it.
    """
    languages = tuple(sorted(curves))
    numbers: dict[str, int] = {}
    refused = set(deny)
    price: list[FloatArray] = []
    number: list[Int64Array] = []
    count: list[FloatArray] = []
    for code in languages:
        curve, known = curves[code], prices[code]
        taken = curve.pieces[: len(known)]
        number.append(
            np.fromiter((numbers.setdefault(p, len(numbers)) for p in taken), np.int64, len(taken))
        )
        weight = 1.0 if weights is None else weights[code]
        count.append(weight * curve.count[: len(known)])
        price.append(
            np.array([np.nan if p in refused else v for p, v in zip(taken, known, strict=True)])
            if refused
            else known
        )
    lengths = [len(part) for part in price]
    every = np.concatenate(price)
    ids, counts = np.concatenate(number), np.concatenate(count)
    place = np.concatenate([np.arange(n) for n in lengths])
    owner = np.repeat(np.arange(len(languages)), lengths)
    order = np.lexsort((owner, place, every))
    order = order[: len(order) - int(np.isnan(every).sum())]
    is_new = np.zeros(len(order), np.bool_)
    is_new[np.unique(ids[order], return_index=True)[1]] = True
    distinct = np.cumsum(is_new)
    _check_budget(budget, int(distinct[-1]), int(is_new[every[order] == -np.inf].sum()))
    # Up to the next new piece: those in between are in already and cost a language nothing.
    order = order[: int(np.searchsorted(distinct, budget, side="right"))]
    is_new = is_new[: len(order)]
    names = list(numbers)
    chosen = ids[order]
    # Each piece to the language with the largest count; of equal ones the first by code.
    ranked = np.lexsort((owner[order], -counts[order], chosen))
    first = np.ones(len(ranked), np.bool_)
    first[1:] = np.diff(chosen[ranked]) > 0
    holder = np.zeros(len(names), np.int64)
    holder[chosen[ranked[first]]] = owner[order][ranked[first]]
    pooled, holders = np.zeros(len(names)), np.bincount(chosen, minlength=len(names))
    np.add.at(pooled, chosen, counts[order])
    union = chosen[is_new]
    among = len(languages)
    return Allocation(
        languages,
        np.bincount(owner[order], minlength=among).astype(np.int64),
        np.bincount(holder[union], minlength=among).astype(np.int64),
        np.bincount(owner[order][holders[chosen] == 1], minlength=among).astype(np.int64),
        tuple(names[k] for k in union.tolist()),
        holder[union],
        pooled[union],
    )


def _check_budget(budget: int, possible: int, required: int) -> None:
    if budget < required:
        raise FitError(
            f"{budget:_} pieces cannot hold the {required:_} that the floors ask for "
            "(every language's covered characters at least)",
            "raise the budget, or lower allocation.floor",
        )
    if budget > possible:
        raise FitError(
            f"these languages can fill {possible:_} pieces, not {budget:_}",
            f"lower the budget to {possible:_}, raise allocation.cap or ceiling, or count more text",
        )
