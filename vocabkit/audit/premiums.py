"""What a sentence costs beside the same sentence in English, in the median language, and at a fixed tokenizer.

premium(L) = Σ tokens(L) ÷ Σ tokens(reference) over aligned lines (Petrov et al. 2023). It falls when the
reference gets dearer, so `premium_fixed` divides by a named tokenizer's reference instead. Byte premium is the
same of bytes (Arnett et al. 2024). All resample the same lines, so that their intervals are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vocabkit.audit.aggregation import Spread
from vocabkit.audit.bootstrap import FloatArray, Int64Array, Resampling, bound, divide
from vocabkit.audit.figures import Figure
from vocabkit.audit.language_encoding import Encoded
from vocabkit.audit.metrics import explain_loss, share_lost
from vocabkit.audit.text_statistics import TextStatistics

PREMIUMS = ("premium", "premium_median", "premium_fixed")


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Tokens (or bytes) of the aligned lines: `sums` int64[languages], `samples` [resamples, languages].

    `reasons` say why a language's cost is not given; it takes no part in medians either.
    """

    languages: tuple[str, ...]
    sums: Int64Array
    samples: FloatArray | None
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
    below_samples: FloatArray | None,
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
