"""All figures of one tokenizer: its languages, their premiums, groups of them, its vocabulary.

Puts together what `metrics`, `premiums`, `aggregation`, `composition`, `resources` and `comparison` compute.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vocabkit.audit.aggregation import Spread, aggregate_spread, count_lost, group_languages
from vocabkit.audit.bootstrap import FloatArray, Resampling, draw_resampling
from vocabkit.audit.comparison import measure_changes
from vocabkit.audit.composition import (
    Composition,
    compare_shares,
    measure_composition,
    measure_usage,
)
from vocabkit.audit.figures import Figure
from vocabkit.audit.language_encoding import Encoded
from vocabkit.audit.metrics import (
    Ratio,
    explain_loss,
    list_ratios,
    measure_language,
    resample_ratios,
    share_lost,
)
from vocabkit.audit.parallel_text import AuditText
from vocabkit.audit.premiums import (
    Costs,
    measure_premium,
    measure_premium_median,
    sum_bytes,
    sum_tokens,
    withhold_premiums,
)
from vocabkit.audit.resources import measure_resources
from vocabkit.audit.text_statistics import TextStatistics
from vocabkit.core.languages import Panel
from vocabkit.corpus.word_counts import WordCounts


@dataclass(frozen=True, slots=True)
class Settings:
    """What figures are made with; the names are those of `auditing.audit_tokenizers`."""

    reference: str = "eng_Latn"
    resamples: int = 1_000
    seed: int = 0
    width: int = 768


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What all tokenizers share: the text and its statistics, the aligned languages, the resamples of lines.

    `exemplars` are the letters of each language, None where there is no list.
    """

    text: AuditText
    statistics: Mapping[str, TextStatistics]
    aligned: tuple[str, ...]
    resamplings: Mapping[str, Resampling | None]
    exemplars: Mapping[str, frozenset[str] | None]
    panel: Panel | None
    counts: WordCounts | None
    settings: Settings

    @property
    def lines(self) -> int:
        """The number of aligned lines."""
        return len(self.statistics[self.aligned[0]]) if self.aligned else 0

    @property
    def shared(self) -> Resampling | None:
        """The resamples of the aligned lines."""
        return self.resamplings[self.aligned[0]] if self.aligned else None

    def sum_tokens(self, encoded: Mapping[str, Encoded]) -> Costs:
        """Return what a tokenizer's aligned languages cost."""
        return sum_tokens(self.aligned, self.statistics, encoded, self.shared)


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A tokenizer that others are held to: its name and what it makes of each language."""

    name: str
    encoded: Mapping[str, Encoded]


def draw_resamplings(
    text: AuditText, statistics: Mapping[str, TextStatistics], resamples: int, seed: int
) -> dict[str, Resampling | None]:
    """Draw the resamples: one for all aligned languages, one for each of the others; none for counts."""
    drawn: dict[str, Resampling | None] = {}
    aligned = set(text.aligned_languages)
    shared = None
    for code, item in statistics.items():
        if text.weights is not None:
            drawn[code] = None
        elif code in aligned:
            shared = shared or draw_resampling(len(item), resamples, seed)
            drawn[code] = shared
        else:
            stream = 1 + zlib.crc32(code.encode())
            drawn[code] = draw_resampling(len(item), resamples, seed, stream=stream)
    return drawn


def measure_tokenizer(
    name: str,
    encoded: Mapping[str, Encoded],
    composition: Composition,
    ground: Ground,
    *,
    fixed: Base,
    first: Base,
) -> list[Figure]:
    """Return every figure of a tokenizer.

    `fixed` is whose cost of the reference `premium_fixed` divides by, `first` whom changes are against.
    """
    settings = ground.settings
    figures, spreads = _measure_languages(name, ground, encoded)
    premiums, more = _measure_premiums(name, ground, encoded, fixed)
    spreads += more
    groups = group_languages(tuple(ground.text.languages), ground.panel)
    figures += premiums
    for spread in spreads:
        figures += aggregate_spread(name, spread, groups)
    figures += count_lost(name, _find_lost(ground.statistics, encoded), groups)
    figures += measure_resources(
        name, spreads, ground.statistics, composition, ground.panel, ground.counts,
        resamples=settings.resamples, seed=settings.seed,
    )  # fmt: skip
    if encoded is not first.encoded:
        figures += measure_changes(
            name, first.name, ground.statistics, encoded, first.encoded, ground.resamplings
        )
    figures += measure_composition(name, composition, width=settings.width)
    figures += _compare_shares(name, composition, ground.statistics)
    figures += measure_usage(
        name, composition, [(found.ids, found.counts) for found in encoded.values()]
    )
    return figures


def _measure_languages(
    name: str, ground: Ground, encoded: Mapping[str, Encoded]
) -> tuple[list[Figure], list[Spread]]:
    """The figures of each language by itself, and fertility for aggregating."""
    figures: list[Figure] = []
    codes = tuple(encoded)
    values = np.full(len(codes), np.nan)
    samples = None
    resampled = _resample_languages(ground, encoded)
    for place, (code, found) in enumerate(encoded.items()):
        if found.failure is not None:
            continue
        measured = measure_language(
            name, ground.statistics[code], found, resampled.get(code),
            exemplars=ground.exemplars.get(code),
            resamples=ground.settings.resamples, seed=ground.settings.seed,
        )  # fmt: skip
        figures += measured.figures
        if measured.fertility is not None:
            values[place] = measured.fertility
        if measured.fertility_samples is not None:
            if samples is None:
                samples = np.full((len(measured.fertility_samples), len(codes)), np.nan)
            samples[:, place] = measured.fertility_samples
    return figures, [Spread("fertility", "tokens a word", codes, values, samples)]


def _resample_languages(
    ground: Ground, encoded: Mapping[str, Encoded]
) -> dict[str, dict[str, FloatArray]]:
    """The ratios of every language in every resample, the languages that share resamples together."""
    shared: dict[int, tuple[Resampling, dict[str, tuple[Ratio, ...]]]] = {}
    for code, found in encoded.items():
        resampling = ground.resamplings[code]
        if resampling is not None and found.failure is None:
            _, languages = shared.setdefault(id(resampling), (resampling, {}))
            languages[code] = list_ratios(ground.statistics[code], found)
    resampled: dict[str, dict[str, FloatArray]] = {}
    for resampling, languages in shared.values():
        resampled |= resample_ratios(languages, resampling)
    return resampled


def _measure_premiums(
    name: str, ground: Ground, encoded: Mapping[str, Encoded], fixed: Base
) -> tuple[list[Figure], list[Spread]]:
    languages, lines = tuple(ground.text.languages), ground.lines
    if not ground.aligned:
        return withhold_premiums(name, languages, ground.text.alignment.note), []
    reference = ground.settings.reference
    costs = ground.sum_tokens(encoded)
    held = costs if encoded is fixed.encoded else ground.sum_tokens(fixed.encoded)
    weight = sum_bytes(ground.aligned, ground.statistics, ground.shared)
    note = f"against {fixed.name}'s {reference}"
    own, spread = measure_premium(name, "premium", costs, costs, reference, languages, lines=lines)
    median, beside = measure_premium_median(name, costs, languages, lines=lines)
    other, against = measure_premium(
        name, "premium_fixed", costs, held, reference, languages, lines=lines, note=note
    )
    of_bytes, _ = measure_premium(
        name, "byte_premium", weight, weight, reference, languages, lines=lines
    )
    return [*own, *median, *other, *of_bytes], [spread, beside, against]


def _find_lost(
    statistics: Mapping[str, TextStatistics], encoded: Mapping[str, Encoded]
) -> frozenset[str]:
    """The languages whose costs are not given since too much of their text is lost."""
    return frozenset(
        code
        for code, found in encoded.items()
        if found.failure is None and explain_loss(share_lost(statistics[code], found)) is not None
    )


def _compare_shares(
    name: str, composition: Composition, statistics: Mapping[str, TextStatistics]
) -> list[Figure]:
    characters: dict[str, int] = {}
    words: dict[str, int] = {}
    for item in statistics.values():
        for total, part in ((characters, item.scripts), (words, item.script_words)):
            for script, count in part.items():
                total[script] = total.get(script, 0) + count
    return compare_shares(name, composition, characters, words)
