"""The figures of one language and one tokenizer, from the text's statistics and one pass of encoding.

Ratios are of sums over lines, never means of the lines' ratios (up to 19 % off on parallel text), and their
intervals resample lines. Where more than 1 % of the characters are lost in unknown tokens, costs are None:
unknown tokens swallow whole words, so the worst served language would look the cheapest.
Costs beside other languages are in `premiums`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from vocabkit.audit.bootstrap import FloatArray, Resampling, bound, divide, draw_resampling
from vocabkit.audit.encoding import is_unspaced
from vocabkit.audit.figures import Figure
from vocabkit.audit.language_encoding import Encoded
from vocabkit.audit.text_statistics import TextStatistics

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
    fertility_samples: FloatArray | None


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
) -> dict[str, dict[str, FloatArray]]:
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
    samples: Mapping[str, FloatArray] | None,
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
    fertility: tuple[float | None, FloatArray | None] = (None, None)
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


def _sum(values: IntArray, weights: npt.NDArray[np.int64] | None) -> int:
    wide = values.astype(np.int64)
    return int(wide.sum() if weights is None else wide @ weights)


def _measure_ratio(
    tokenizer: str,
    code: str,
    ratio: Ratio,
    weights: npt.NDArray[np.int64] | None,
    samples: FloatArray | None,
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
