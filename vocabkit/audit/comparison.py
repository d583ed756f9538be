"""What changes when one tokenizer replaces another: tokens on the same lines, language by language.

The lines are the same for both, so the change is paired and needs no alignment across languages.
`measure_changes` is for the audit, where lines are at hand; `compare_tokenizers` reads its figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vocabkit.audit.bootstrap import Resampling, bound, divide
from vocabkit.audit.figures import Audit, Figure
from vocabkit.audit.language_encoding import Encoded
from vocabkit.audit.metrics import explain_loss, share_lost
from vocabkit.audit.text_statistics import TextStatistics
from vocabkit.core.errors import ConfigError

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
