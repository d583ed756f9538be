"""Languages taken together: mean, median, bottom decile, spread and inequality, overall and by group.

Each statistic weighs every language the same and is recomputed in every resample, so that the worst languages
are the worst of that resample. Languages without a value are left out; `n` says how many are in.
What is aggregated (premium, fertility) is measured elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.audit.bootstrap import bound
from vocabkit.audit.figures import Figure, Scope
from vocabkit.core.languages import Panel

FloatArray = npt.NDArray[np.float64]
WORST = 0.1
"""The share of languages in the bottom decile; at least one language."""


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A metric over languages: `values` float64[languages], NaN where none, `samples` a row a resample."""

    metric: str
    unit: str
    languages: tuple[str, ...]
    values: FloatArray
    samples: FloatArray | None


def worst_count(languages: int) -> int:
    """Return ⌈a tenth⌉ of so many languages."""
    return math.ceil(languages * WORST - 1e-9)


def mean(values: FloatArray) -> FloatArray:
    """Return the mean of the last axis, summed by size: the order of the languages does not matter."""
    return np.asarray(np.sort(values, axis=-1).mean(axis=-1))


def median(values: FloatArray) -> FloatArray:
    """Return the median of the last axis."""
    return np.asarray(np.median(values, axis=-1))


def bottom_decile(values: FloatArray) -> FloatArray:
    """Return the mean of the ⌈10 %⌉ largest of the last axis: the languages that pay most."""
    worst = worst_count(values.shape[-1])
    return np.asarray(np.sort(values, axis=-1)[..., -worst:].mean(axis=-1))


def largest(values: FloatArray) -> FloatArray:
    """Return the maximum of the last axis."""
    return np.asarray(values.max(axis=-1))


def p90_p10(values: FloatArray) -> FloatArray:
    """Return the 90th percentile over the 10th of the last axis, both interpolated linearly."""
    high, low = np.quantile(values, [0.9, 0.1], axis=-1)
    return np.asarray(high / low)


def gini(values: FloatArray) -> FloatArray:
    """Return Gini's coefficient of the last axis, Σ(2i − n − 1)·x₍ᵢ₎ ÷ (n·Σx): 0 when all pay the same."""
    ordered = np.sort(values, axis=-1)
    n = values.shape[-1]
    place = 2.0 * np.arange(1, n + 1) - n - 1.0
    return np.asarray((ordered * place).sum(axis=-1) / (n * ordered.sum(axis=-1)))


@dataclass(frozen=True, slots=True)
class Statistic:
    """A way to take languages together: its name in `metric.name`, a phrase, and the fewest languages."""

    name: str
    phrase: str
    compute: Callable[[FloatArray], FloatArray]
    fewest: int = 1
    unit: str | None = None


STATISTICS = (
    Statistic("mean", "mean of languages", mean),
    Statistic("median", "median of languages", median),
    Statistic("bottom_decile", "mean of the worst tenth of languages", bottom_decile),
    Statistic("max", "largest of languages", largest),
    Statistic("p90_p10", "90th ÷ 10th percentile of languages", p90_p10, 2, "ratio"),
    Statistic("gini", "Gini coefficient of languages", gini, 2, "0–1"),
)


def group_languages(
    languages: Sequence[str], panel: Panel | None
) -> dict[tuple[Scope, str], tuple[str, ...]]:
    """Return the languages of every group: overall, by script, and by what the panel says of them.

    The script is the one in the code; a language outside the panel is in none of its groups.
    """
    groups: dict[tuple[Scope, str], list[str]] = {("overall", "all"): list(languages)}

    def add(scope: Scope, name: str, code: str) -> None:
        groups.setdefault((scope, name), []).append(code)

    for code in languages:
        if "_" in code:
            add("script", code.rsplit("_", 1)[1], code)
        known = panel.find(code) if panel else None
        if known is not None:
            add("group", known.group, code)
            add("branch", known.branch, code)
            add("resource", known.resource, code)
            add("tail", "tail" if known.tail else "other", code)
    return {key: tuple(groups[key]) for key in sorted(groups)}


def aggregate_spread(
    tokenizer: str, spread: Spread, groups: Mapping[tuple[Scope, str], Sequence[str]]
) -> list[Figure]:
    """Return `metric.statistic` of each group; None with a note where too few languages have a value."""
    place = {code: index for index, code in enumerate(spread.languages)}
    figures = []
    for (scope, name), codes in groups.items():
        columns = [place[code] for code in codes if code in place]
        kept = [column for column in columns if np.isfinite(spread.values[column])]
        left_out = len(codes) - len(kept)
        samples = None if spread.samples is None or not kept else spread.samples[:, kept]
        for statistic in STATISTICS:
            note = f"{left_out} of {len(codes)} languages have no value" if left_out else None
            value, low, high = None, None, None
            if len(kept) >= statistic.fewest:
                value = float(statistic.compute(spread.values[kept]))
                if samples is not None:
                    low, high = bound(statistic.compute(samples))
            else:
                needed = f"needs {statistic.fewest} languages, has {len(kept)}"
                note = f"{needed}; {note}" if note else needed
            figures.append(
                Figure(
                    tokenizer, scope, name, f"{spread.metric}.{statistic.name}", value,
                    statistic.unit or spread.unit, statistic.phrase, low, high, len(kept), note,
                )
            )  # fmt: skip
    return figures


def count_lost(
    tokenizer: str, lost: Collection[str], groups: Mapping[tuple[Scope, str], Sequence[str]]
) -> list[Figure]:
    """Return `languages_lost` of each group: those left out of its costs because their text is lost."""
    return [
        Figure(
            tokenizer, scope, name, "languages_lost", float(sum(code in lost for code in codes)),
            "languages", "count of languages with too many characters lost in unknown tokens",
            n=len(codes),
        )
        for (scope, name), codes in groups.items()
    ]  # fmt: skip
