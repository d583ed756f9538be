"""What a comparison of initialisers found: a score each, and the intervals of their differences.

Sums over lines are kept, so that any two can be compared on the same resamples; no model is run here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vocabkit.audit.bootstrap import Resampling, bound
from vocabkit.extension.line_scores import AFTER_NEW, NEW, OLD, LineScores
from vocabkit.extension.scored_lines import Scorer

Float64Array = npt.NDArray[np.float64]
Pair = tuple[str, str | None]
"""Methods for input and output rows; None for the latter where a matrix is tied, or there is no head."""
Scored = tuple[Pair | None, LineScores | None, Float64Array, str]
"""A pair (None: the old tokenization), its scores and sums a line, and a note on how rows were made."""


@dataclass(frozen=True, slots=True)
class InitScore:
    """One way of making rows. `input` is None for the old tokenization, `output` None for tied rows.

    `value` is bits per byte, or the mean cosine, with its 95 % interval; `change` the difference to the old
    tokenization, paired by line. `old_target`, `old_after_new` and `new_target` are nats a target; `new_mass`
    the mean probability of all new tokens together. None where a figure is not defined.
    """

    input: str | None
    output: str | None
    value: float | None
    low: float | None
    high: float | None
    change: float | None
    change_low: float | None
    change_high: float | None
    old_target: float | None
    old_after_new: float | None
    new_target: float | None
    new_mass: float | None
    targets: int
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class InitComparison:
    """All scores, the old tokenization first, and what each line gave: its `sums` over its `sizes`.

    `metric` is `bits_per_byte` or `cosine`; `skipped` names the methods left out and why.
    """

    metric: str
    scores: tuple[InitScore, ...]
    lines: int
    bytes: int
    skipped: Mapping[str, str]
    warnings: tuple[str, ...]
    sums: Mapping[Pair, Float64Array] = field(default_factory=dict)
    sizes: Float64Array = field(default_factory=lambda: np.zeros(0))
    resampling: Resampling | None = None

    def measure_change(self, first: Pair, second: Pair) -> tuple[float, float | None, float | None]:
        """The second's figure less the first's on the same lines, with its paired 95 % interval."""
        return _measure(self.sums[second] - self.sums[first], self.sizes, self.resampling)


def summarize(
    rows: Sequence[Scored],
    scorer: Scorer,
    resampling: Resampling | None,
    skipped: Mapping[str, str],
) -> InitComparison:
    """Return the scores with their intervals; the first row is the old tokenization's."""
    sizes, base = scorer.sizes, rows[0][2]
    scores: list[InitScore] = []
    for pair, found, sums, note in rows:
        value, low, high = _measure(sums, sizes, resampling)
        change: tuple[float | None, float | None, float | None] = (None, None, None)
        if pair is not None and scorer.metric != "cosine":
            change = _measure(sums - base, sizes, resampling)
        scores.append(
            InitScore(
                None if pair is None else pair[0],
                None if pair is None else pair[1],
                *(value, low, high),
                *change,
                *_split(found, pair is None),
                targets=0 if found is None else int(found.targets.sum()),
                note=note,
            )
        )
    listed = scores if scorer.metric != "cosine" else scores[1:]
    return InitComparison(
        metric=scorer.metric,
        scores=tuple(listed),
        lines=scorer.lines,
        bytes=scorer.bytes,
        skipped=dict(skipped),
        warnings=scorer.warnings,
        sums={pair: sums for pair, _, sums, _ in rows if pair is not None},
        sizes=sizes,
        resampling=resampling,
    )


def _split(
    found: LineScores | None, is_old: bool
) -> tuple[float | None, float | None, float | None, float | None]:
    """Nats a target of the three kinds, and the mass on new tokens a target."""
    if found is None:
        return None, None, None, None
    amounts, nats = found.targets.sum(axis=0), found.nats.sum(axis=0)
    means = [
        float(nats[kind] / amounts[kind]) if amounts[kind] else None
        for kind in (OLD, AFTER_NEW, NEW)
    ]
    total = int(amounts.sum())
    mass = None if is_old or not total else float(found.mass.sum() / total)
    return means[0], means[1], means[2], mass


def _measure(
    sums: Float64Array, sizes: Float64Array, resampling: Resampling | None
) -> tuple[float, float | None, float | None]:
    """Σ sums ÷ Σ sizes with its interval."""
    value = float(sums.sum() / sizes.sum())
    if resampling is None:
        return value, None, None
    low, high = bound(_resample(sums, resampling) / _resample(sizes, resampling))
    return value, low, high


def _resample(values: Float64Array, resampling: Resampling) -> Float64Array:
    """Σ over the lines of each resample. `sum_rows` would round what is no whole number."""
    return np.asarray(resampling.weights @ np.add.reduceat(values, resampling.starts), np.float64)
