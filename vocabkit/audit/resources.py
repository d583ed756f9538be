"""How costs go with what a language has: text elsewhere, and pieces of its script in the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vocabkit.audit.aggregation import Spread
from vocabkit.audit.composition import Composition
from vocabkit.audit.figures import Figure
from vocabkit.audit.rank_correlation import bound_correlation, correlate_ranks
from vocabkit.audit.text_statistics import TextStatistics
from vocabkit.core.languages import Panel
from vocabkit.core.scripts import COMMON, INHERITED, UNKNOWN
from vocabkit.corpus.word_counts import WordCounts

MAIN = 0.1
"""The share of a language's letters from which a script is one of its own: Japanese has three."""
_CLASSES = {"low": 1.0, "middle": 2.0, "high": 3.0}
_CORRELATED = ("premium", "fertility")


def measure_resources(
    tokenizer: str,
    spreads: Sequence[Spread],
    statistics: Mapping[str, TextStatistics],
    composition: Composition,
    panel: Panel | None,
    counts: WordCounts | None,
    *,
    resamples: int,
    seed: int,
) -> list[Figure]:
    """Return each language's resources, and Spearman's ρ of premium and fertility with them.

    A language's size is its characters in `counts`; without counts, its resource class in the panel.
    """
    shares = {code: share_of_script(item, composition) for code, item in statistics.items()}
    sizes, unit = _find_sizes(statistics, panel, counts)
    figures = [
        Figure(
            tokenizer, "language", code, "script_share", shares[code], "share of pieces",
            "share of pieces of the language's scripts", n=sum(composition.scripts.values()),
        )
        for code in statistics
    ]  # fmt: skip
    if counts is not None:
        figures += [
            Figure(tokenizer, "language", code, "resource_size", sizes[code], "characters", "sum")
            for code in statistics
            if code in sizes
        ]
    for spread in spreads:
        if spread.metric in _CORRELATED:
            for name, values, what in (
                ("spearman_resource", sizes, unit),
                ("spearman_script_share", shares, "script's share of the vocabulary"),
            ):
                figures.append(_correlate(tokenizer, spread, name, values, what, resamples, seed))
    return figures


def share_of_script(statistics: TextStatistics, composition: Composition) -> float | None:
    """Return the share of pieces in the scripts a language is mainly written in; None without letters."""
    letters = {
        script: count
        for script, count in statistics.scripts.items()
        if script not in (COMMON, INHERITED, UNKNOWN)
    }
    total, pieces = sum(letters.values()), sum(composition.scripts.values())
    if not total or not pieces:
        return None
    own = [script for script, count in letters.items() if count >= MAIN * total]
    return sum(composition.scripts.get(script, 0) for script in own) / pieces


def _find_sizes(
    statistics: Mapping[str, TextStatistics], panel: Panel | None, counts: WordCounts | None
) -> tuple[dict[str, float | None], str]:
    if counts is not None:
        totals = counts.totals
        known = {code: float(totals[code].characters) for code in statistics if code in totals}
        return dict(known), "characters counted"
    classes: dict[str, float | None] = {}
    for code in statistics:
        language = panel.find(code) if panel else None
        classes[code] = _CLASSES.get(language.resource) if language else None
    return classes, "resource class in the panel (low, middle, high)"


def _correlate(
    tokenizer: str,
    spread: Spread,
    name: str,
    values: Mapping[str, float | None],
    what: str,
    resamples: int,
    seed: int,
) -> Figure:
    pairs = [
        (cost, other)
        for code, cost in zip(spread.languages, spread.values.tolist(), strict=True)
        if np.isfinite(cost) and (other := values.get(code)) is not None
    ]
    x, y = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    value = correlate_ranks(x, y)
    low, high = bound_correlation(x, y, resamples, seed)
    note = f"with {what}" if value is not None else f"with {what}: needs five languages that differ"
    return Figure(
        tokenizer, "overall", "all", f"{spread.metric}.{name}", value, "ρ, −1 to 1",
        "Spearman over languages; languages resampled", low, high, len(pairs), note,
    )  # fmt: skip
