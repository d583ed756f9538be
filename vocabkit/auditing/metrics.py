"""The figures of one language and one tokenizer, from the text's statistics and one pass of encoding.

Ratios are of sums over lines, never means of the lines' ratios (up to 19 % off on parallel text), and their
intervals resample lines. Where more than 1 % of the characters are lost in unknown tokens, costs are None:
unknown tokens swallow whole words, so the worst served language would look the cheapest.
Costs beside other languages are in `premiums`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from vocabkit.auditing.composition import Composition
from vocabkit.auditing.encoding import Encoded, is_unspaced
from vocabkit.auditing.figures import (
    Audit,
    Figure,
    Resampling,
    Scope,
    bound,
    divide,
    draw_resampling,
)
from vocabkit.auditing.text_statistics import TextStatistics
from vocabkit.core.arrays import Float64Array, Int64Array
from vocabkit.core.errors import ConfigError
from vocabkit.core.languages import Panel
from vocabkit.core.text import COMMON, INHERITED, UNKNOWN
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.adapters import Tokenizer

# --- Aggregation -----------------------------------------------------------------------------------
# Languages taken together: mean, median, bottom decile, spread and inequality, overall and by group.
#
# Each statistic weighs every language the same and is recomputed in every resample, so that the worst
# languages
# are the worst of that resample. Languages without a value are left out; `n` says how many are in.
# What is aggregated (premium, fertility) is measured elsewhere.

WORST = 0.1
"""The share of languages in the bottom decile; at least one language."""


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A metric over languages: `values` float64[languages], NaN where none, `samples` a row a resample."""

    metric: str
    unit: str
    languages: tuple[str, ...]
    values: Float64Array
    samples: Float64Array | None


def _worst_count(languages: int) -> int:
    """Return ⌈a tenth⌉ of so many languages."""
    return math.ceil(languages * WORST - 1e-9)


def mean(values: Float64Array) -> Float64Array:
    """Return the mean of the last axis, summed by size: the order of the languages does not matter."""
    return np.asarray(np.sort(values, axis=-1).mean(axis=-1))


def _median(values: Float64Array) -> Float64Array:
    """Return the median of the last axis."""
    return np.asarray(np.median(values, axis=-1))


def bottom_decile(values: Float64Array) -> Float64Array:
    """Return the mean of the ⌈10 %⌉ largest of the last axis: the languages that pay most."""
    worst = _worst_count(values.shape[-1])
    return np.asarray(np.sort(values, axis=-1)[..., -worst:].mean(axis=-1))


def _largest(values: Float64Array) -> Float64Array:
    """Return the maximum of the last axis."""
    return np.asarray(values.max(axis=-1))


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


@dataclass(frozen=True, slots=True)
class _Statistic:
    """A way to take languages together: its name in `metric.name`, a phrase, and the fewest languages."""

    name: str
    phrase: str
    compute: Callable[[Float64Array], Float64Array]
    fewest: int = 1
    unit: str | None = None


STATISTICS = (
    _Statistic("mean", "mean of languages", mean),
    _Statistic("median", "median of languages", _median),
    _Statistic("bottom_decile", "mean of the worst tenth of languages", bottom_decile),
    _Statistic("max", "largest of languages", _largest),
    _Statistic("p90_p10", "90th ÷ 10th percentile of languages", _p90_p10, 2, "ratio"),
    _Statistic("gini", "Gini coefficient of languages", _gini, 2, "0–1"),
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


# --- Metrics ---------------------------------------------------------------------------------------


IntArray = npt.NDArray[np.integer]
LOST = 0.01
"""The share of characters lost in unknown tokens above which a cost is not given."""
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


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A language's figures, and the resampled values of its fertility (None without)."""

    figures: tuple[Figure, ...]
    fertility: float | None
    fertility_samples: Float64Array | None


def share_lost(statistics: TextStatistics, encoded: Encoded) -> float | None:
    """Return the share of characters lost in unknown tokens; None without characters."""
    weights = statistics.weights
    total = _sum(statistics.characters, weights)
    return _sum(encoded.unknown_characters, weights) / total if total else None


def explain_loss(lost: float | None) -> str | None:
    """Return why a cost is not given at this share of lost characters, or None when it may be."""
    if lost is None or lost <= LOST:
        return None
    return f"{lost:.1%} of the characters are lost in unknown tokens"


def list_ratios(statistics: TextStatistics, encoded: Encoded) -> tuple[Ratio, ...]:
    """Return the metrics whose rows are lines."""
    tokens = encoded.tokens
    return (
        Ratio("fertility", "tokens a word", tokens, statistics.words, True, statistics.words_note),
        Ratio(
            "tokens_per_white_space_word", "tokens a white-space word", tokens,
            statistics.white_space_words, True,
        ),
        Ratio("tokens_per_grapheme", "tokens a grapheme", tokens, statistics.graphemes, True),
        Ratio("characters_per_token", "characters a token", statistics.characters, tokens, True),
        Ratio("bytes_per_token", "bytes a token", statistics.bytes, tokens, True),
        Ratio(
            "unknown_characters", "share of characters", encoded.unknown_characters,
            statistics.characters,
        ),
        Ratio("unknown_tokens", "share of tokens", encoded.unknown, tokens),
        Ratio("byte_fallback", "share of tokens", encoded.fallback, tokens),
        Ratio("partial_tokens", "share of tokens", encoded.partial, tokens),
    )  # fmt: skip


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
) -> Measured:
    """Return every figure of a language that needs no other language.

    `samples` are its `resample_ratios`, None where rows are no lines; `resamples` and `seed` are for the
    figures of a sample of lines.
    """
    code = encoded.language
    ratios = list_ratios(statistics, encoded)
    lost = explain_loss(share_lost(statistics, encoded))
    figures = []
    fertility: tuple[float | None, Float64Array | None] = (None, None)
    for ratio in ratios:
        resampled = samples.get(ratio.metric) if samples else None
        figure = _measure_ratio(tokenizer, code, ratio, statistics.weights, resampled, lost)
        figures.append(figure)
        if ratio.metric == "fertility" and figure.value is not None:
            fertility = figure.value, resampled
    tokens = _sum(encoded.tokens, statistics.weights)
    figures.append(
        Figure(
            tokenizer, "language", code, "tokens", float(tokens), "tokens", "sum",
            n=len(encoded.tokens),
        )
    )  # fmt: skip
    figures += _measure_words(tokenizer, statistics, encoded, lost)
    seen = [character for character in statistics.characters_seen if not character.isspace()]
    figures.append(_measure_coverage(tokenizer, encoded, "character_coverage", seen, "seen"))
    figures.append(
        _measure_coverage(tokenizer, encoded, "exemplar_coverage", exemplars, "of the exemplar set")
    )
    figures.append(
        _measure_sample(
            tokenizer, code, "grapheme_splits", "share of graphemes",
            encoded.cut_graphemes, encoded.seen_graphemes, resamples, seed,
            "no sampled line is spelled by its tokens",
        )
    )  # fmt: skip
    figures.append(
        _measure_sample(
            tokenizer, code, "code_switching", "tokens of switched lines ÷ tokens of their parts",
            encoded.switched, encoded.halves, resamples, seed, lost or "needs lines aligned with English",
            withhold=lost is not None,
        )
    )  # fmt: skip
    return Measured(tuple(figures), *fertility)


def _sum(values: IntArray, weights: Int64Array | None) -> int:
    wide = values.astype(np.int64)
    return int(wide.sum() if weights is None else wide @ weights)


def _measure_ratio(
    tokenizer: str,
    code: str,
    ratio: Ratio,
    weights: Int64Array | None,
    samples: Float64Array | None,
    lost: str | None,
) -> Figure:
    rows = len(ratio.numerator)
    value, low, high, note = None, None, None, ratio.note
    if ratio.denominator is None:
        note = ratio.note or "not supported for this script"
    elif ratio.cost and lost is not None:
        note = lost
    else:
        total = _sum(ratio.denominator, weights)
        if total:
            value = _sum(ratio.numerator, weights) / total
            low, high = bound(samples)
        else:
            note = "there is nothing to divide by"
    return Figure(
        tokenizer, "language", code, ratio.metric, value, ratio.unit, "ratio of sums", low, high,
        rows, note,
    )  # fmt: skip


def _measure_words(
    tokenizer: str, statistics: TextStatistics, encoded: Encoded, lost: str | None
) -> list[Figure]:
    """Words continued (Rust et al. 2021) and word types kept whole (STRR, Nayeem et al. 2025)."""
    types, running = len(encoded.word_tokens), int(statistics.word_type_counts.sum())
    note = lost or statistics.words_note
    context = (
        "after a bracket, since no space stands before it" if is_unspaced(statistics) else None
    )
    continued, whole = None, None
    if types and not lost:
        split = statistics.word_type_counts[encoded.word_tokens >= 2]
        continued = int(split.sum()) / running if running else None
        whole = int((encoded.word_tokens == 1).sum()) / types
        note = (
            "; ".join(part for part in (note, context and f"each word {context}") if part) or None
        )
    elif not types and note is None:
        note = "no words"
    return [
        Figure(
            tokenizer, "language", encoded.language, "words_continued", continued,
            "share of running words", "share of sums: words of two tokens or more", n=running, note=note,
        ),
        Figure(
            tokenizer, "language", encoded.language, "words_whole", whole, "share of word types",
            "mean over word types: one token", n=types, note=note,
        ),
    ]  # fmt: skip


def _measure_coverage(
    tokenizer: str,
    encoded: Encoded,
    metric: str,
    characters: Collection[str] | None,
    which: str,
) -> Figure:
    wanted = [character for character in characters or () if not character.isspace()]
    value, note = None, "no list of this language's letters" if characters is None else None
    if wanted:
        missing = sorted(character for character in wanted if character in encoded.uncovered)
        value = 1.0 - len(missing) / len(wanted)
        if missing:
            shown = " ".join(f"U+{ord(part):04X}" for text in missing[:10] for part in text[:1])
            note = f"not whole: {shown}{' …' if len(missing) > 10 else ''}"
    return Figure(
        tokenizer, "language", encoded.language, metric, value, f"share of characters {which}",
        "mean over distinct characters: no unknown token, byte piece or part of UTF-8",
        n=len(wanted), note=note,
    )  # fmt: skip


def _measure_sample(
    tokenizer: str,
    code: str,
    metric: str,
    unit: str,
    numerator: IntArray,
    denominator: IntArray,
    resamples: int,
    seed: int,
    reason: str,
    *,
    withhold: bool = False,
) -> Figure:
    total = int(denominator.sum())
    if withhold or not total:
        return Figure(
            tokenizer, "language", code, metric, None, unit, "ratio of sums", n=0, note=reason
        )
    low, high = None, None
    resampling = draw_resampling(len(numerator), resamples, seed)
    if resampling is not None:
        low, high = bound(divide(resampling.sum_rows(numerator), resampling.sum_rows(denominator)))
    return Figure(
        tokenizer, "language", code, metric, int(numerator.sum()) / total, unit, "ratio of sums",
        low, high, len(numerator), "a sample of lines",
    )  # fmt: skip


# --- Fertility -------------------------------------------------------------------------------------
# Tokens per word from counts: the first look at a fitted vocabulary.
#
# Exact for any tokenizer that never joins text across white space, since then a text costs what its words
# cost.
# A word here is what stands between white space, so the figure says little for Thai, Khmer or Chinese; the
# characters per token beside it do.


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


def measure_fertility(
    tokenizer: Tokenizer, counts: WordCounts, *, split: str = "train"
) -> list[Fertility]:
    """Return the fertility of each language on one split of its counts, in language order.

    A continuation (the later part of a run cut at 1,000 characters) is encoded like a word, which adds at most
    one token per 1,000 characters.
    """
    rows = []
    for code in counts.languages:
        table = counts.languages[code].split(split)
        lengths = np.fromiter(map(len, table.words), np.int64, len(table))
        sizes = np.fromiter(
            map(len, tokenizer.encode_batch(list(table.words))), np.int64, len(table)
        )
        words = int(table.count[~table.continuation].sum())
        characters, tokens = int(lengths @ table.count), int(sizes @ table.count)
        rows.append(
            Fertility(
                code, words, characters, tokens,
                tokens / words if words else None,
                characters / tokens if tokens else None,
            )
        )  # fmt: skip
    return rows


def rank_worst(rows: list[Fertility], *, limit: int = 10) -> list[Fertility]:
    """Return the languages with the most tokens per word, worst first; languages without text are left out."""
    measured = [row for row in rows if row.tokens_per_word is not None]
    return sorted(measured, key=lambda row: (-(row.tokens_per_word or 0.0), row.language))[:limit]


# --- Rank correlation ------------------------------------------------------------------------------
# Spearman's rank correlation over languages, with an interval by resampling the languages.

FEWEST = 5
"""Fewest languages for a correlation: with four, a twelfth of all orders are as extreme as can be."""


def _rank_values(values: Float64Array) -> Float64Array:
    """Return the ranks from 1 along the last axis, equal values sharing the mean of theirs."""
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    fresh = np.ones(values.shape, np.bool_)
    fresh[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    # Of each run of equal values the first place, and the place after its last, carried to all of it.
    places = np.arange(values.shape[-1])
    first = np.maximum.accumulate(np.where(fresh, places, 0), axis=-1)
    ends = np.ones(values.shape, np.bool_)
    ends[..., :-1] = fresh[..., 1:]
    last = np.where(ends, places, values.shape[-1])
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(values.shape, np.float64)
    np.put_along_axis(ranks, order, (first + last) / 2.0 + 1.0, axis=-1)
    return ranks


def _correlate_ranks(x: Float64Array, y: Float64Array) -> float | None:
    """Return Spearman's ρ, Pearson's r of the ranks; None below five pairs or where one side is all equal."""
    if len(x) < FEWEST:
        return None
    found = float(_correlate(x, y))
    return found if np.isfinite(found) else None


def _correlate(x: Float64Array, y: Float64Array) -> Float64Array:
    """Spearman's ρ along the last axis; NaN where one side is all equal."""
    a, b = _rank_values(x), _rank_values(y)
    a -= a.mean(axis=-1, keepdims=True)
    b -= b.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return divide(np.asarray((a * b).sum(axis=-1)), np.asarray(scale))


def _bound_correlation(
    x: Float64Array, y: Float64Array, resamples: int, seed: int
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of ρ, the pairs resampled; resamples without a ρ (all equal) are left out.

    (None, None) where more than one resample in twenty has none.
    """
    if _correlate_ranks(x, y) is None or resamples < 2:
        return None, None
    generator = np.random.default_rng([seed, len(x)])
    drawn = generator.integers(0, len(x), size=(resamples, len(x)))
    found = _correlate(x[drawn], y[drawn])
    kept = found[np.isfinite(found)]
    return bound(kept) if len(kept) >= 0.95 * resamples else (None, None)


# --- Comparison ------------------------------------------------------------------------------------
# What changes when one tokenizer replaces another: tokens on the same lines, language by language.
#
# The lines are the same for both, so the change is paired and needs no alignment across languages.
# `measure_changes` is for the audit, where lines are at hand; `compare_tokenizers` reads its figures.


CHANGE = "change"
"""The metric: tokens ÷ the first audited tokenizer's tokens on the same lines, less 1."""


@dataclass(frozen=True, slots=True)
class Change:
    """By what share the tokens of a language change (0.02: two per cent more), with its 95 % interval.

    `regressed` says whether it exceeds the limit, `certain` whether the whole interval does.
    """

    language: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    regressed: bool
    certain: bool
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The changes from tokenizer `before` to `after`, the worst language first."""

    before: str
    after: str
    max_regression: float
    changes: tuple[Change, ...]

    @property
    def regressions(self) -> tuple[Change, ...]:
        """The languages whose change exceeds the limit, the worst first."""
        return tuple(change for change in self.changes if change.regressed)


def measure_changes(
    tokenizer: str,
    baseline: str,
    statistics: Mapping[str, TextStatistics],
    encoded: Mapping[str, Encoded],
    before: Mapping[str, Encoded],
    resamplings: Mapping[str, Resampling | None],
) -> list[Figure]:
    """Return each language's change of tokens against the baseline's; None where either loses text."""
    figures = []
    for code, found in encoded.items():
        base = before[code]
        reason = None
        for name, one in ((baseline, base), (tokenizer, found)):
            problem = one.failure or explain_loss(share_lost(statistics[code], one))
            reason = f"{name}: {problem}" if problem else reason
        weights = statistics[code].weights
        value, low, high = None, None, None
        if reason is None:
            old, new = (
                float(one.tokens.sum(dtype=np.int64) if weights is None else one.tokens @ weights)
                for one in (base, found)
            )
            value = new / old - 1.0 if old else None
            resampling = resamplings.get(code)
            if resampling is not None:
                sums = resampling.sum_rows(np.stack([found.tokens, base.tokens], axis=1))
                low, high = bound(divide(sums[:, 0], sums[:, 1]) - 1.0)
        figures.append(
            Figure(
                tokenizer, "language", code, CHANGE, value, "share more tokens",
                f"ratio of sums over the same lines, against {baseline}", low, high,
                len(found.tokens), reason,
            )
        )  # fmt: skip
    return figures


def compare_tokenizers(
    audit: Audit, before: str, after: str, *, max_regression: float = 0.02
) -> Comparison:
    """Return by how much `after` needs more tokens than `before`, the worst language first.

    One of the two must be the audit's first tokenizer. A language that `before` encodes and `after` loses
    counts as a regression. Raises ConfigError for a name the audit does not have.
    """
    names = [item.name for item in audit.tokenizers]
    for name in (before, after):
        if name not in names:
            raise ConfigError(
                f"no tokenizer {name!r} in this audit; it has {', '.join(names)}",
                "vocabkit audit TOK-A TOK-B --corpus DIR -o report/",
            )
    if before == after or names[0] not in (before, after):
        raise ConfigError(
            f"{before} and {after} cannot be compared: changes are against {names[0]}",
            f"audit {before} first, then {after}",
        )
    forward = before == names[0]
    figures = audit.select(metric=CHANGE, scope="language", tokenizer=after if forward else before)
    changes = [_judge(figure, forward, after, max_regression) for figure in figures]
    changes.sort(
        key=lambda change: (change.value is not None, -(change.value or 0.0), change.language)
    )
    return Comparison(before, after, max_regression, tuple(changes))


def _judge(figure: Figure, forward: bool, after: str, limit: float) -> Change:
    value, low, high = figure.value, figure.low, figure.high
    if not forward:
        # x → 1 ÷ (1 + x) − 1 is monotonic: the percentiles change places and stay percentiles.
        value, low, high = (
            None if number is None else 1.0 / (1.0 + number) - 1.0 for number in (value, high, low)
        )
    lost = figure.value is None and (figure.note or "").startswith(f"{after}: ")
    return Change(
        figure.name,
        value,
        low,
        high,
        figure.n,
        lost or (value is not None and value > limit),
        lost or (low is not None and low > limit),
        figure.note,
    )


# --- Premiums --------------------------------------------------------------------------------------
# What a sentence costs beside the same sentence in English, in the median language, and at a fixed tokenizer.
#
# premium(L) = Σ tokens(L) ÷ Σ tokens(reference) over aligned lines (Petrov et al. 2023). It falls when the
# reference gets dearer, so `premium_fixed` divides by a named tokenizer's reference instead. Byte premium is
# the
# same of bytes (Arnett et al. 2024). All resample the same lines, so that their intervals are paired.


PREMIUMS = ("premium", "premium_median", "premium_fixed")


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Tokens (or bytes) of the aligned lines: `sums` int64[languages], `samples` [resamples, languages].

    `reasons` say why a language's cost is not given; it takes no part in medians either.
    """

    languages: tuple[str, ...]
    sums: Int64Array
    samples: Float64Array | None
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
    reasons, columns, kept = {}, [], []
    for code in languages:
        found = encoded.get(code)
        if found is None or found.failure is not None:
            reasons[code] = "could not be encoded"
            continue
        reason = explain_loss(share_lost(statistics[code], found))
        if reason is not None:
            reasons[code] = reason
        kept.append(code)
        columns.append(found.tokens)
    return _sum_columns(kept, columns, resampling, reasons)


def sum_bytes(
    languages: Sequence[str],
    statistics: Mapping[str, TextStatistics],
    resampling: Resampling | None,
) -> Costs:
    """Return the raw bytes of aligned languages."""
    return _sum_columns(
        list(languages), [statistics[code].bytes for code in languages], resampling, {}
    )


def _sum_columns(
    languages: Sequence[str],
    columns: Sequence[np.ndarray[tuple[int], np.dtype[np.int32]]],
    resampling: Resampling | None,
    reasons: Mapping[str, str],
) -> Costs:
    if not columns:
        return Costs((), np.zeros(0, dtype=np.int64), None, reasons)
    table = np.stack([column.astype(np.int64) for column in columns], axis=1)
    samples = None if resampling is None else resampling.sum_rows(table)
    return Costs(tuple(languages), table.sum(axis=0), samples, reasons)


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
) -> tuple[list[Figure], Spread]:
    """Return costs ÷ the base's cost of the reference, per language and for aggregating.

    `languages` are all to have a figure; None with the reason for those without aligned lines.
    """
    place = base.place(reference)
    missing = f"{reference}: {base.explain(reference)}" if place is None else None
    unit = f"× {reference}"
    if place is None:
        return _withhold(tokenizer, metric, unit, languages, missing or "")
    below = base.samples[:, place] if base.samples is not None else None
    return _relate(
        tokenizer, metric, unit, costs, float(base.sums[place]), below, languages, lines, note
    )


def measure_premium_median(
    tokenizer: str, costs: Costs, languages: Sequence[str], *, lines: int
) -> tuple[list[Figure], Spread]:
    """Return costs ÷ the median language's cost, the median found anew in every resample."""
    kept = [column for column, code in enumerate(costs.languages) if code not in costs.reasons]
    metric, unit = "premium_median", "× median language"
    if not kept:
        return _withhold(tokenizer, metric, unit, languages, "no aligned lines")
    below = None if costs.samples is None else np.median(costs.samples[:, kept], axis=1)
    middle = float(np.median(costs.sums[kept]))
    note = f"the median of {len(kept)} languages"
    return _relate(tokenizer, metric, unit, costs, middle, below, languages, lines, note)


def withhold_premiums(tokenizer: str, languages: Sequence[str], reason: str) -> list[Figure]:
    """Return the premiums of a text without alignment: None, with the reason."""
    return [
        figure
        for metric in (*PREMIUMS, "byte_premium")
        for figure in _withhold(tokenizer, metric, "×", languages, reason)[0]
    ]


def _relate(
    tokenizer: str,
    metric: str,
    unit: str,
    costs: Costs,
    below: float,
    below_samples: Float64Array | None,
    languages: Sequence[str],
    lines: int,
    note: str | None,
) -> tuple[list[Figure], Spread]:
    values = np.full(len(languages), np.nan)
    samples = None
    if costs.samples is not None and below_samples is not None:
        samples = np.full((len(costs.samples), len(languages)), np.nan)
    figures = []
    for row, code in enumerate(languages):
        place = costs.place(code)
        if place is None or not below:
            figures.append(_empty(tokenizer, code, metric, unit, costs.explain(code)))
            continue
        values[row] = costs.sums[place] / below
        low, high = None, None
        if samples is not None and costs.samples is not None and below_samples is not None:
            samples[:, row] = divide(costs.samples[:, place], below_samples)
            low, high = bound(samples[:, row])
        figures.append(
            Figure(
                tokenizer, "language", code, metric, float(values[row]), unit,
                "ratio of sums over aligned lines", low, high, lines, note,
            )
        )  # fmt: skip
    return figures, Spread(metric, unit, tuple(languages), values, samples)


def _withhold(
    tokenizer: str, metric: str, unit: str, languages: Sequence[str], reason: str
) -> tuple[list[Figure], Spread]:
    figures = [_empty(tokenizer, code, metric, unit, reason) for code in languages]
    return figures, Spread(metric, unit, tuple(languages), np.full(len(languages), np.nan), None)


def _empty(tokenizer: str, code: str, metric: str, unit: str, reason: str) -> Figure:
    return Figure(
        tokenizer, "language", code, metric, None, unit, "ratio of sums over aligned lines", n=0,
        note=reason,
    )  # fmt: skip


# --- Resources -------------------------------------------------------------------------------------
# How costs go with what a language has: text elsewhere, and pieces of its script in the vocabulary.


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
    shares = {code: _share_of_script(item, composition) for code, item in statistics.items()}
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
                figures.append(
                    _correlate_resources(tokenizer, spread, name, values, what, resamples, seed)
                )
    return figures


def _share_of_script(statistics: TextStatistics, composition: Composition) -> float | None:
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


def _correlate_resources(
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
    value = _correlate_ranks(x, y)
    low, high = _bound_correlation(x, y, resamples, seed)
    note = f"with {what}" if value is not None else f"with {what}: needs five languages that differ"
    return Figure(
        tokenizer, "overall", "all", f"{spread.metric}.{name}", value, "ρ, −1 to 1",
        "Spearman over languages; languages resampled", low, high, len(pairs), note,
    )  # fmt: skip
