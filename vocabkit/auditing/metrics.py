"""The metrics of languages and tokenizers, from the text's statistics and one pass of encoding.

Ratios are of sums over lines, never means of the lines' ratios (up to 19 % off on parallel text), and their
intervals resample lines. Where more than 1 % of the characters are lost in unknown tokens, costs are None:
unknown tokens swallow whole words, so the worst served language would look the cheapest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vocabkit.auditing.composition import Composition
from vocabkit.auditing.encoding import Encoded, is_unspaced
from vocabkit.auditing.figures import (
    NO_INTERVAL,
    Figure,
    Figures,
    Findings,
    Interval,
    Resampling,
    Scope,
    Severity,
    bound,
    divide,
    draw_resampling,
)
from vocabkit.auditing.text_statistics import TextStatistics
from vocabkit.core.arrays import Float64Array, Int64Array
from vocabkit.core.languages import Panel
from vocabkit.core.text import COMMON, INHERITED, UNKNOWN, show_token
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.adapters import Tokenizer

IntArray = npt.NDArray[np.integer]
LOST = 0.01
"""The share of characters lost in unknown tokens above which a cost is not given."""

# --- One language ----------------------------------------------------------------------------------

_TOGETHER = 256  # arrays summed at once; with their 1,000 resamples 6 MB


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """A metric by line, Σ numerator ÷ Σ denominator. `cost` is one that lost text would flatter."""

    metric: str
    unit: str
    numerator: IntArray
    denominator: IntArray | None
    cost: bool = False
    note: str | None = None


def share_lost(statistics: TextStatistics, encoded: Encoded) -> float | None:
    """Return the share of characters lost in unknown tokens; None without characters."""
    total = statistics.total("characters")
    return _sum(encoded.unknown_characters, statistics.weights) / total if total else None


def explain_loss(lost: float | None) -> str | None:
    """Return why a cost is not given at this share of lost characters, or None when it may be."""
    if lost is None or lost <= LOST:
        return None
    return f"{lost:.1%} of the characters are lost in unknown tokens"


def list_ratios(statistics: TextStatistics, encoded: Encoded) -> tuple[Ratio, ...]:
    """Return the metrics whose rows are lines, fertility first."""
    tokens, spaced = encoded.tokens, statistics.white_space_words
    lost, characters = encoded.unknown_characters, statistics.characters
    return (
        Ratio("fertility", "tokens a word", tokens, statistics.words, True, statistics.words_note),
        Ratio("tokens_per_white_space_word", "tokens a white-space word", tokens, spaced, True),
        Ratio("tokens_per_grapheme", "tokens a grapheme", tokens, statistics.graphemes, True),
        Ratio("characters_per_token", "characters a token", characters, tokens, True),
        Ratio("bytes_per_token", "bytes a token", statistics.bytes, tokens, True),
        Ratio("unknown_characters", "share of characters", lost, characters),
        Ratio("unknown_tokens", "share of tokens", encoded.unknown, tokens),
        Ratio("byte_fallback", "share of tokens", encoded.fallback, tokens),
        Ratio("partial_tokens", "share of tokens", encoded.partial, tokens),
    )


def resample_ratios(
    languages: Mapping[str, Sequence[Ratio]], resampling: Resampling
) -> dict[str, dict[str, Float64Array]]:
    """Return every ratio of every language in every resample; each array of numbers is summed once.

    Many languages are summed together: a product of matrices takes a fifth of the time of many thin ones.
    """
    arrays: dict[int, IntArray] = {}
    for ratio in chain.from_iterable(languages.values()):
        if ratio.denominator is not None:
            arrays[id(ratio.numerator)] = ratio.numerator
            arrays[id(ratio.denominator)] = ratio.denominator
    # Most languages have no unknown token and no byte piece: what is 0 in every line is in every resample.
    sums = dict.fromkeys(arrays, np.zeros(len(resampling.weights)))
    kept = [(key, array) for key, array in arrays.items() if array.any()]
    for start in range(0, len(kept), _TOGETHER):
        part = kept[start : start + _TOGETHER]
        table = np.stack([array for _, array in part]).T
        # A row a column: whoever takes a column reads it in one go.
        summed = np.ascontiguousarray(resampling.sum_rows(table).T)
        sums |= {key: row for (key, _), row in zip(part, summed, strict=True)}
    return {
        code: {
            ratio.metric: divide(sums[id(ratio.numerator)], sums[id(ratio.denominator)])
            for ratio in ratios
            if ratio.denominator is not None
        }
        for code, ratios in languages.items()
    }


def measure_language(
    tokenizer: str,
    statistics: TextStatistics,
    encoded: Encoded,
    samples: Mapping[str, Float64Array] | None,
    *,
    exemplars: Collection[str] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Figures:
    """Return every figure of a language that needs no other language, its fertility first.

    `samples` are its `resample_ratios`, None where rows are no lines; `resamples` and `seed` are for the
    figures of a sample of lines.
    """
    code, weights, figures = encoded.language, statistics.weights, Figures(tokenizer)
    lost = explain_loss(share_lost(statistics, encoded))
    for ratio in list_ratios(statistics, encoded):
        value, interval, note = None, NO_INTERVAL, ratio.note
        if ratio.denominator is None:
            note = ratio.note or "not supported for this script"
        elif ratio.cost and lost is not None:
            note = lost
        elif total := _sum(ratio.denominator, weights):
            value = _sum(ratio.numerator, weights) / total
            interval = bound(samples.get(ratio.metric) if samples else None)
        else:
            note = "there is nothing to divide by"
        n = len(ratio.numerator)
        figures.add(code, ratio.metric, value, ratio.unit, "ratio of sums", interval, n=n, note=note)
    figures.add(code, "tokens", float(_sum(encoded.tokens, weights)), "tokens", "sum", n=len(encoded.tokens))
    _add_words(figures, statistics, encoded, lost)
    _add_coverage(figures, "character_coverage", encoded, statistics.characters_seen, "seen")
    _add_coverage(figures, "exemplar_coverage", encoded, exemplars, "of the exemplar set")
    halves = np.zeros(0, np.int32) if lost else encoded.halves
    for metric, unit, above, below, reason in (
        ("grapheme_splits", "share of graphemes", encoded.cut_graphemes, encoded.seen_graphemes,
         "no sampled line is spelled by its tokens"),
        ("code_switching", "tokens of switched lines ÷ tokens of their parts", encoded.switched, halves,
         lost or "needs lines aligned with English"),
    ):  # fmt: skip
        value, interval, rows, note = None, NO_INTERVAL, 0, reason
        if total := int(below.sum()):
            value, rows, note = int(above.sum()) / total, len(above), "a sample of lines"
            if (drawn := draw_resampling(rows, resamples, seed)) is not None:
                interval = bound(divide(drawn.sum_rows(above), drawn.sum_rows(below)))
        figures.add(code, metric, value, unit, "ratio of sums", interval, n=rows, note=note)
    return figures


def _sum(values: IntArray, weights: Int64Array | None) -> int:
    wide = values.astype(np.int64)
    return int(wide.sum() if weights is None else wide @ weights)


def _add_words(figures: Figures, statistics: TextStatistics, encoded: Encoded, lost: str | None) -> None:
    """Words continued (Rust et al. 2021) and word types kept whole (STRR, Nayeem et al. 2025)."""
    types, running = len(encoded.word_tokens), int(statistics.word_type_counts.sum())
    note = lost or statistics.words_note
    continued, whole = None, None
    if types and not lost:
        split = statistics.word_type_counts[encoded.word_tokens >= 2]
        continued = int(split.sum()) / running if running else None
        whole = int((encoded.word_tokens == 1).sum()) / types
        if is_unspaced(statistics):
            context = "each word after a bracket, since no space stands before it"
            note = f"{note}; {context}" if note else context
    elif not types and note is None:
        note = "no words"
    code, unit, how = encoded.language, "share of running words", "share of sums: words of two tokens or more"
    figures.add(code, "words_continued", continued, unit, how, n=running, note=note)
    unit, how = "share of word types", "mean over word types: one token"
    figures.add(code, "words_whole", whole, unit, how, n=types, note=note)


def _add_coverage(
    figures: Figures, metric: str, encoded: Encoded, characters: Collection[str] | None, which: str
) -> None:
    wanted = [character for character in characters or () if not character.isspace()]
    value, note = None, "no list of this language's letters" if characters is None else None
    if wanted:
        missing = sorted(character for character in wanted if character in encoded.uncovered)
        value = 1.0 - len(missing) / len(wanted)
        if missing:
            shown = " ".join(f"U+{ord(part):04X}" for text in missing[:10] for part in text[:1])
            note = f"not whole: {shown}{' …' if len(missing) > 10 else ''}"
    unit = f"share of characters {which}"
    how = "mean over distinct characters: no unknown token, byte piece or part of UTF-8"
    figures.add(encoded.language, metric, value, unit, how, n=len(wanted), note=note)


# --- Premiums --------------------------------------------------------------------------------------
# What a sentence costs beside the same sentence in English, in the median language, and at a fixed tokenizer.
#
# premium(L) = Σ tokens(L) ÷ Σ tokens(reference) over aligned lines (Petrov et al. 2023). It falls when the
# reference gets dearer, so `premium_fixed` divides by a named tokenizer's reference instead. Byte premium is
# the same of bytes (Arnett et al. 2024). All resample the same lines, so that their intervals are paired.


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A metric over languages: `values` float64[languages], NaN where none; `samples` has a row a resample."""

    metric: str
    unit: str
    languages: tuple[str, ...]
    values: Float64Array
    samples: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Tokens (or bytes) of the aligned lines: `sums` int64[languages], `samples` [resamples, languages].

    There are no rows of samples where there is nothing to resample. `reasons` say why a language's cost is not
    given; it takes no part in medians either.
    """

    languages: tuple[str, ...]
    sums: Int64Array
    samples: Float64Array
    reasons: Mapping[str, str]

    def place(self, code: str) -> int | None:
        """Return the column of a language whose cost is given, else None."""
        if code not in self.languages or code in self.reasons:
            return None
        return self.languages.index(code)

    def explain(self, code: str) -> str:
        """Return why there is no cost of a language."""
        return self.reasons.get(code, "no aligned lines")


def sum_tokens(
    languages: Sequence[str],
    statistics: Mapping[str, TextStatistics],
    encoded: Mapping[str, Encoded],
    resampling: Resampling | None,
) -> Costs:
    """Return the tokens of aligned languages; those with a failure or much lost text have a reason instead."""
    reasons, columns = {}, {}
    for code in languages:
        found = encoded.get(code)
        if found is None or found.failure is not None:
            reasons[code] = "could not be encoded"
            continue
        if (reason := explain_loss(share_lost(statistics[code], found))) is not None:
            reasons[code] = reason
        columns[code] = found.tokens
    return _sum_columns(columns, resampling, reasons)


def sum_bytes(
    languages: Sequence[str], statistics: Mapping[str, TextStatistics], resampling: Resampling | None
) -> Costs:
    """Return the raw bytes of aligned languages."""
    return _sum_columns({code: statistics[code].bytes for code in languages}, resampling, {})


def _sum_columns(
    columns: Mapping[str, IntArray], resampling: Resampling | None, reasons: Mapping[str, str]
) -> Costs:
    if not columns:
        return Costs((), np.zeros(0, dtype=np.int64), np.zeros((0, 0)), reasons)
    table = np.stack([column.astype(np.int64) for column in columns.values()], axis=1)
    samples = np.zeros((0, len(columns))) if resampling is None else resampling.sum_rows(table)
    return Costs(tuple(columns), table.sum(axis=0), samples, reasons)


def measure_premium(
    tokenizer: str,
    metric: str,
    costs: Costs,
    base: Costs,
    reference: str,
    languages: Sequence[str],
    *,
    lines: int,
    note: str | None = None,
) -> tuple[Figures, Spread]:
    """Return costs ÷ the base's cost of the reference, per language and for aggregating.

    `languages` are all to have a figure; None with the reason for those without aligned lines.
    """
    below, samples, place = None, np.zeros(0), base.place(reference)
    if place is None:
        note = f"{reference}: {base.explain(reference)}"
    else:
        below, samples = float(base.sums[place]), base.samples[:, place]
    unit = f"× {reference}"
    return _relate(tokenizer, metric, unit, costs, below, samples, languages, lines, note)


def measure_premium_median(
    tokenizer: str, costs: Costs, languages: Sequence[str], *, lines: int
) -> tuple[Figures, Spread]:
    """Return costs ÷ the median language's cost, the median found anew in every resample."""
    kept = [column for column, code in enumerate(costs.languages) if code not in costs.reasons]
    below, samples, note = None, np.zeros(0), "no aligned lines"
    if kept:
        below, note = float(np.median(costs.sums[kept])), f"the median of {len(kept)} languages"
        samples = np.median(costs.samples[:, kept], axis=1)
    unit = "× median language"
    return _relate(tokenizer, "premium_median", unit, costs, below, samples, languages, lines, note)


def withhold_premiums(tokenizer: str, languages: Sequence[str], reason: str) -> list[Figure]:
    """Return the premiums of a text without alignment: None, with the reason."""
    none, figures = _sum_columns({}, None, {}), list[Figure]()
    for metric in ("premium", "premium_median", "premium_fixed", "byte_premium"):
        figures += _relate(tokenizer, metric, "×", none, None, np.zeros(0), languages, 0, reason)[0]
    return figures


def _relate(
    tokenizer: str,
    metric: str,
    unit: str,
    costs: Costs,
    below: float | None,
    below_samples: Float64Array,
    languages: Sequence[str],
    lines: int,
    note: str | None,
) -> tuple[Figures, Spread]:
    """Divide costs by `below`; where that is None so are the figures, and `note` says why."""
    values = np.full(len(languages), np.nan)
    samples = np.full((len(below_samples), len(languages)), np.nan)
    figures, how = Figures(tokenizer), "ratio of sums over aligned lines"
    for row, code in enumerate(languages):
        place = costs.place(code)
        if place is None or not below:
            why = note if below is None else costs.explain(code)
            figures.add(code, metric, None, unit, how, n=0, note=why)
            continue
        values[row] = costs.sums[place] / below
        samples[:, row] = divide(costs.samples[:, place], below_samples)
        interval = bound(samples[:, row])
        figures.add(code, metric, float(values[row]), unit, how, interval, n=lines, note=note)
    return figures, Spread(metric, unit, tuple(languages), values, samples)


# --- Changes ---------------------------------------------------------------------------------------
# What changes when one tokenizer replaces another: tokens on the same lines, language by language. The lines
# are the same for both, so the change is paired and needs no alignment across languages.

CHANGE = "change"
"""The metric: tokens ÷ the first audited tokenizer's tokens on the same lines, less 1."""


def measure_changes(
    tokenizer: str,
    baseline: str,
    statistics: Mapping[str, TextStatistics],
    encoded: Mapping[str, Encoded],
    before: Mapping[str, Encoded],
    resamplings: Mapping[str, Resampling | None],
    metric: str = CHANGE,
) -> Figures:
    """Return each language's change of tokens against the baseline's; None where either loses text."""
    figures = Figures(tokenizer)
    for code, found in encoded.items():
        base, weights = before[code], statistics[code].weights
        reason = None
        for name, one in ((baseline, base), (tokenizer, found)):
            problem = one.failure or explain_loss(share_lost(statistics[code], one))
            reason = f"{name}: {problem}" if problem else reason
        value, interval = None, NO_INTERVAL
        if reason is None:
            old, new = (float(_sum(one.tokens, weights)) for one in (base, found))
            value = new / old - 1.0 if old else None
            resampling = resamplings.get(code)
            if resampling is not None:
                sums = resampling.sum_rows(np.stack([found.tokens, base.tokens], axis=1))
                interval = bound(divide(sums[:, 0], sums[:, 1]) - 1.0)
        how, n = f"ratio of sums over the same lines, against {baseline}", len(found.tokens)
        figures.add(code, metric, value, "share more tokens", how, interval, n=n, note=reason)
    return figures


# --- Aggregation -----------------------------------------------------------------------------------
# Languages taken together: mean, median, bottom decile, spread and inequality, overall and by group.
#
# Each statistic weighs every language the same and is recomputed in every resample, so that the worst languages
# are the worst of that resample. Languages without a value are left out; `n` says how many are in.

WORST = 0.1
"""The share of languages in the bottom decile; at least one language."""
_Groups = Mapping[tuple[Scope, str], Sequence[str]]
PANEL_SCOPES: tuple[Scope, ...] = ("group", "branch", "resource", "tail")
OUTSIDE = "not in the panel"
"""What the group of languages that a panel does not know is called."""
COMMON_SUFFIX = "_common"
"""Of a statistic over the languages alone that every audited tokenizer has a value for."""
COMMON_STATISTICS = ("mean", "bottom_decile")


def mean(values: Float64Array) -> Float64Array:
    """Return the mean of the last axis, summed by size: the order of the languages does not matter."""
    return np.asarray(np.sort(values, axis=-1).mean(axis=-1))


def bottom_decile(values: Float64Array) -> Float64Array:
    """Return the mean of the ⌈10 %⌉ largest of the last axis: the languages that pay most."""
    worst = math.ceil(values.shape[-1] * WORST - 1e-9)
    return np.asarray(np.sort(values, axis=-1)[..., -worst:].mean(axis=-1))


def _p90_p10(values: Float64Array) -> Float64Array:
    """Return the 90th percentile over the 10th of the last axis, both interpolated linearly."""
    high, low = np.quantile(values, [0.9, 0.1], axis=-1)
    return np.asarray(high / low)


def _gini(values: Float64Array) -> Float64Array:
    """Return Gini's coefficient of the last axis, Σ(2i − n − 1)·x₍ᵢ₎ ÷ (n·Σx): 0 when all pay the same."""
    ordered = np.sort(values, axis=-1)
    n = values.shape[-1]
    place = 2.0 * np.arange(1, n + 1) - n - 1.0
    return np.asarray((ordered * place).sum(axis=-1) / (n * ordered.sum(axis=-1)))


class _Statistic(NamedTuple):
    """A way to take languages together: its name in `metric.name`, a phrase, and the fewest languages."""

    name: str
    phrase: str
    compute: Callable[[Float64Array], Float64Array]
    fewest: int = 1
    unit: str | None = None


STATISTICS = (
    _Statistic("mean", "mean of languages", mean),
    _Statistic("median", "median of languages", lambda v: np.asarray(np.median(v, axis=-1))),
    _Statistic("bottom_decile", "mean of the worst tenth of languages", bottom_decile),
    _Statistic("max", "largest of languages", lambda v: np.asarray(v.max(axis=-1))),
    _Statistic("p90_p10", "90th ÷ 10th percentile of languages", _p90_p10, 2, "ratio"),
    _Statistic("gini", "Gini coefficient of languages", _gini, 2, "0–1"),
)


def group_languages(languages: Sequence[str], panel: Panel | None) -> dict[tuple[Scope, str], tuple[str, ...]]:
    """Return the languages of every group: overall, by script, and by what the panel says of them.

    The script is the one in the code; a language outside the panel is in the group `not in the panel` of each
    kind, so that the rows of a kind hold every language once.
    """
    groups: dict[tuple[Scope, str], list[str]] = {("overall", "all"): list(languages)}
    for code in languages:
        found: list[tuple[Scope, str]] = []
        if "_" in code:
            found.append(("script", code.rsplit("_", 1)[1]))
        known = panel.find(code) if panel else None
        if known is not None:
            found += [("group", known.group), ("branch", known.branch)]
            found += [("resource", known.resource), ("tail", "tail" if known.tail else "other")]
        elif panel is not None:
            found += [(scope, OUTSIDE) for scope in PANEL_SCOPES]
        for key in found:
            groups.setdefault(key, []).append(code)
    return {key: tuple(groups[key]) for key in sorted(groups)}


def find_common(spreads: Iterable[Sequence[Spread]]) -> dict[str, frozenset[str]]:
    """Return for each metric the languages that every tokenizer has a value for, from the spreads of each."""
    common: dict[str, frozenset[str]] = {}
    for spread in chain.from_iterable(spreads):
        held = frozenset(np.array(spread.languages)[np.isfinite(spread.values)].tolist())
        common[spread.metric] = common.get(spread.metric, held) & held
    return common


def aggregate_spread(
    tokenizer: str, spread: Spread, groups: _Groups, common: Collection[str] | None = None
) -> list[Figure]:
    """Return `metric.statistic` of each group; None with a note where too few languages have a value.

    Means of other languages do not compare: `metric.mean_common` and `metric.bottom_decile_common` are over the
    `common` languages alone, where these are given.
    """
    place = {code: index for index, code in enumerate(spread.languages)}
    figures: list[Figure] = []
    for (scope, name), codes in groups.items():
        columns = {code: place[code] for code in codes if code in place}
        kept = [column for column in columns.values() if np.isfinite(spread.values[column])]
        found = Figures(tokenizer, scope)
        for statistic in STATISTICS:
            left_out = len(codes) - len(kept)
            note = f"{left_out} of {len(codes)} languages have no value" if left_out else None
            _add_statistic(found, name, spread, statistic, kept, note)
        if common is not None:
            both = [column for code, column in columns.items() if code in common]
            note = f"the {len(both)} of {len(codes)} languages that every tokenizer has a value for"
            for statistic in STATISTICS:
                if statistic.name in COMMON_STATISTICS:
                    beside = statistic._replace(name=f"{statistic.name}{COMMON_SUFFIX}")
                    _add_statistic(found, name, spread, beside, both, note)
        figures += found
    return figures


def _add_statistic(
    found: Figures, name: str, spread: Spread, statistic: _Statistic, columns: Sequence[int], note: str | None
) -> None:
    """Append a statistic over some languages of a spread, or None and what it needs."""
    value, interval, n = None, NO_INTERVAL, len(columns)
    if n >= statistic.fewest:
        value = float(statistic.compute(spread.values[columns]))
        interval = bound(statistic.compute(spread.samples[:, columns]))
    else:
        needed = f"needs {statistic.fewest} languages, has {n}"
        note = f"{needed}; {note}" if note else needed
    metric, unit = f"{spread.metric}.{statistic.name}", statistic.unit or spread.unit
    found.add(name, metric, value, unit, statistic.phrase, interval, n=n, note=note)


LOST_CHARACTERS = "lost characters"
"""How findings about them are called, with a language each: `lost characters: lao_Laoo`."""
_NAMED = 10


def name_lost(
    tokenizer: str, statistics: Mapping[str, TextStatistics], encoded: Mapping[str, Encoded]
) -> Findings:
    """Return a finding for each language that loses characters, the largest share first: which, how often.

    `count` is of distinct characters, `total` of those in the language's text.
    """
    losses = []
    for code, one in encoded.items():
        characters = statistics[code].total("characters")
        if one.lost and characters:
            losses.append((sum(one.lost.values()) / characters, code, one.lost))
    found = Findings(tokenizer)
    for share, code, lost in sorted(losses, key=lambda loss: (-loss[0], loss[1])):
        order = sorted(lost, key=lambda character: (-lost[character], character))
        shown = [show_token(character.encode()) for character in order[:_NAMED]]
        named = ", ".join(
            f"{said} U+{ord(character):04X} {lost[character]:,}×"
            for said, character in zip(shown, order, strict=False)
        )
        more = f" and {len(order) - _NAMED:,} more" if len(order) > _NAMED else ""
        seen = sum(not character.isspace() for character in statistics[code].characters_seen)
        note = f"{named}{more}: {_percent(share)} of the characters are lost"
        severity: Severity = "failure" if share > LOST else "warning"
        found.add(f"{LOST_CHARACTERS}: {code}", severity, len(order), seen, note, shown)
    return found


def _percent(share: float) -> str:
    return f"{share:.2%}" if share >= 0.0001 else "under 0.01%"


def count_lost(tokenizer: str, lost: Collection[str], groups: _Groups) -> list[Figure]:
    """Return `languages_lost` of each group: those left out of its costs because their text is lost."""
    how = "count of languages with too many characters lost in unknown tokens"
    figures: list[Figure] = []
    for (scope, name), codes in groups.items():
        count, found = float(sum(code in lost for code in codes)), Figures(tokenizer, scope)
        found.add(name, "languages_lost", count, "languages", how, n=len(codes))
        figures += found
    return figures


# --- Resources -------------------------------------------------------------------------------------
# How costs go with what a language has: text elsewhere, and pieces of its script in the vocabulary. Spearman's
# rank correlation over languages, with an interval by resampling the languages.

MAIN = 0.1
"""The share of a language's letters from which a script is one of its own: Japanese has three."""
FEWEST = 5
"""Fewest languages for a correlation: with four, a twelfth of all orders are as extreme as can be."""
_CLASSES = {"low": 1.0, "middle": 2.0, "high": 3.0}
_CORRELATED = ("premium", "fertility")


def measure_resources(
    tokenizer: str,
    spreads: Iterable[Spread],
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
    pieces = sum(composition.scripts.values())
    figures, overall = Figures(tokenizer), Figures(tokenizer, "overall")
    shares, sizes = dict[str, float | None](), dict[str, float | None]()
    for code, item in statistics.items():
        shares[code] = _share_of_script(item, composition)
        how = "share of pieces of the language's scripts"
        figures.add(code, "script_share", shares[code], "share of pieces", how, n=pieces)
    if counts is None:
        unit = "resource class in the panel (low, middle, high)"
        for code in statistics:
            language = panel.find(code) if panel else None
            sizes[code] = _CLASSES.get(language.resource) if language else None
    else:
        unit, totals = "characters counted", counts.totals
        for code in [code for code in statistics if code in totals]:
            sizes[code] = float(totals[code].characters)
            figures.add(code, "resource_size", sizes[code], "characters", "sum")
    by_share = ("spearman_script_share", shares, "script's share of the vocabulary")
    for spread in spreads:
        if spread.metric not in _CORRELATED:
            continue
        for name, values, what in (("spearman_resource", sizes, unit), by_share):
            pairs = [
                (cost, other)
                for code, cost in zip(spread.languages, spread.values.tolist(), strict=True)
                if np.isfinite(cost) and (other := values.get(code)) is not None
            ]
            x, y = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
            value, interval = _correlate_ranks(x, y), _bound_correlation(x, y, resamples, seed)
            metric, how = f"{spread.metric}.{name}", "Spearman over languages; languages resampled"
            note = f"with {what}{'' if value is not None else ': needs five languages that differ'}"
            overall.add("all", metric, value, "ρ, −1 to 1", how, interval, n=len(pairs), note=note)
    return [*figures, *overall]


def _share_of_script(statistics: TextStatistics, composition: Composition) -> float | None:
    """Return the share of pieces in the scripts a language is mainly written in; None without letters."""
    neutral = (COMMON, INHERITED, UNKNOWN)
    letters = {script: count for script, count in statistics.scripts.items() if script not in neutral}
    total, pieces = sum(letters.values()), sum(composition.scripts.values())
    if not total or not pieces:
        return None
    own = [script for script, count in letters.items() if count >= MAIN * total]
    return sum(composition.scripts.get(script, 0) for script in own) / pieces


def _rank_values(values: Float64Array) -> Float64Array:
    """Return the ranks from 1 along the last axis, equal values sharing the mean of theirs."""
    import pandas as pd

    ranks = pd.DataFrame(np.atleast_2d(values)).rank(axis=1)
    # In C order, as sums are taken: another order of terms is another last digit.
    return np.array(ranks, order="C").reshape(values.shape)


def _correlate_ranks(x: Float64Array, y: Float64Array) -> float | None:
    """Return Spearman's ρ, Pearson's r of the ranks; None below five pairs or where one side is all equal."""
    if len(x) < FEWEST:
        return None
    found = float(_correlate(x, y))
    return found if np.isfinite(found) else None


def _correlate(x: Float64Array, y: Float64Array) -> Float64Array:
    """Return Spearman's ρ along the last axis; NaN where one side is all equal."""
    a, b = _rank_values(x), _rank_values(y)
    a -= a.mean(axis=-1, keepdims=True)
    b -= b.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return divide(np.asarray((a * b).sum(axis=-1)), np.asarray(scale))


def _bound_correlation(x: Float64Array, y: Float64Array, resamples: int, seed: int) -> Interval:
    """Return the 95 % interval of ρ, the pairs resampled; resamples without a ρ (all equal) are left out.

    (None, None) where more than one resample in twenty has none.
    """
    if _correlate_ranks(x, y) is None or resamples < 2:
        return NO_INTERVAL
    generator = np.random.default_rng([seed, len(x)])
    drawn = generator.integers(0, len(x), size=(resamples, len(x)))
    found = _correlate(x[drawn], y[drawn])
    kept = found[np.isfinite(found)]
    return bound(kept) if len(kept) >= 0.95 * resamples else NO_INTERVAL


# --- Fertility -------------------------------------------------------------------------------------
# Tokens per word from counts alone: the first look at a fitted vocabulary, exact for any tokenizer that never
# joins text across white space. A word is what stands between white space, which says little for Thai, Khmer
# or Chinese; the characters per token beside it do.


@dataclass(frozen=True, slots=True)
class Fertility:
    """One language's words, characters and tokens, summed over all its text; ratios are of the sums.

    `tokens_per_word` and `characters_per_token` are None where there is no text.
    """

    language: str
    words: int
    characters: int
    tokens: int
    tokens_per_word: float | None
    characters_per_token: float | None


def measure_fertility(tokenizer: Tokenizer, counts: WordCounts, *, split: str = "train") -> list[Fertility]:
    """Return the fertility of each language on one split of its counts, in language order.

    A continuation (the later part of a run cut at 1,000 characters) is encoded like a word, which adds at most
    one token per 1,000 characters.
    """
    rows = []
    for code in counts.languages:
        table = counts.languages[code].split(split)
        encoded = tokenizer.encode_batch(list(table.words))
        characters, tokens = (
            int(np.fromiter(map(len, texts), np.int64, len(table)) @ table.count)
            for texts in (table.words, encoded)
        )
        words = int(table.count[~table.continuation].sum())
        ratios = (tokens / words if words else None, characters / tokens if tokens else None)
        rows.append(Fertility(code, words, characters, tokens, *ratios))
    return rows


def rank_worst(rows: list[Fertility], *, limit: int = 10) -> list[Fertility]:
    """Return the languages with the most tokens per word, worst first; languages without text are left out."""
    measured = [row for row in rows if row.tokens_per_word is not None]
    return sorted(measured, key=lambda row: (-(row.tokens_per_word or 0.0), row.language))[:limit]
