"""Initialisers compared before any training: what the model makes of text under the new tokenization.

Bits per byte, so that tokenizations compare; beside the old tokenization, with intervals over lines that are
paired. A model without a head gives vectors: there the cosine between both tokenizations' is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vocabkit.audit.bootstrap import draw_resampling
from vocabkit.core.errors import ConfigError
from vocabkit.core.progress import Progress, Silent
from vocabkit.extension.context import Context
from vocabkit.extension.donor_rows import open_donor
from vocabkit.extension.init_scores import InitComparison, InitScore, Pair, Scored, summarize
from vocabkit.extension.initializers import (
    METHODS,
    Role,
    explain_missing,
    initialize,
    initialize_bias,
    parse_method,
)
from vocabkit.extension.language_model import LanguageModel, load_model
from vocabkit.extension.matching import match_tokenizers
from vocabkit.extension.plan_types import FloatArray, RowPlan, Rows
from vocabkit.extension.scored_lines import open_scorer
from vocabkit.extension.tokenizer_source import open_source

__all__ = ["InitComparison", "InitScore", "compare_initializers"]

_PEERS = ("normal:std=1", "multivariate:scale=3.16e-5")
_UNTIED = {
    "subword-mean": ("first", "positional"),
    "positional": ("first", "positional", "subword-mean"),
    "last": ("first",),
    "alignment": ("first", "subword-mean"),
    "omp": ("first", "subword-mean"),
    "distill": ("first", "subword-mean", "distill"),
}


def compare_initializers(
    model: str | Path,
    tokenizer: str | Path,
    lines: Sequence[str],
    *,
    methods: Sequence[str] | None = None,
    old_tokenizer: str | Path | None = None,
    donor: str | Path | None = None,
    learning_lines: Sequence[str] = (),
    untie: bool = True,
    bias: str = "mean",
    resamples: int = 1_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> InitComparison:
    """Score every initialiser on lines, or those named, as `omp` or `omp/first` for input and output apart.

    `learning_lines` are for the methods that need text; they must not be among the lines scored. With
    `untie`, pairs are tried for a tied model too. Raises CheckpointError, TokenizerError, MissingExtra, and
    ConfigError for an unknown method, for text on which nothing can be scored, or for overlapping text.
    """
    report = progress or Silent()
    if set(lines) & set(learning_lines):
        raise ConfigError(
            f"{len(set(lines) & set(learning_lines)):,} lines are both to learn from and to be scored",
            "name other text with --init-text",
        )
    opened = load_model(model)
    old = open_source(old_tokenizer or model, opened.model.config.model_type)
    new = open_source(tokenizer)
    _, plan, _ = match_tokenizers(old, new, len(opened.input_rows))
    if (plan.kept >= 0).all():
        raise ConfigError(
            f"{tokenizer}: has no token that the model lacks: there is nothing to make",
            "name the tokenizer that the model is to get",
        )
    context = Context(
        old_tokenizer=old.tokenizer,
        new_tokenizer=new.tokenizer,
        lines=tuple(learning_lines),
        model=Path(model),
        seed=seed,
        progress=report,
        donor=None if donor is None else open_donor(donor),
    )
    pairs, skipped = _list_pairs(methods, context, opened, untie)
    scorer = open_scorer(opened, plan, old, new, lines, seed)
    maker = _Maker(opened, plan, context, bias, None if donor is None else Path(donor))
    report.start("Scoring", (len(pairs) + 1) * scorer.lines, "lines")
    rows: list[Scored] = []
    rows.append((None, *scorer.score_old(report.advance), ""))
    for pair in pairs:
        made = maker.make(pair)
        opened.put_rows(*made.matrices)
        rows.append((pair, *scorer.score_new(report.advance), made.note))
    report.finish()
    return summarize(rows, scorer, draw_resampling(scorer.lines, resamples, seed), skipped)


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    matrices: tuple[FloatArray, FloatArray | None, FloatArray | None]
    note: str


class _Maker:
    """The matrices of the grown model, one pair of methods after the other; the last input is kept."""

    def __init__(
        self,
        opened: LanguageModel,
        plan: RowPlan,
        context: Context,
        bias: str,
        donor: Path | None,
    ) -> None:
        # Copies of what the model shares: `distill` opens a model of its own, but rows are exchanged here.
        self.inputs, self.outputs = opened.input_rows, opened.output_rows
        self.old_bias, self.plan, self.context = opened.output_bias, plan, context
        self.bias, self.donor = bias, donor
        self.heads = context.donor
        if donor is not None and self.outputs is not None:
            self.heads = open_donor(donor, "output")
        self.made: dict[tuple[str, Role], Rows] = {}

    def make(self, pair: Pair) -> _Made:
        first, second = pair
        role: Role = "tied" if second is None and self.outputs is not None else "input"
        top = self._make(first, role, self.inputs)
        inputs = _join(self.plan, self.inputs, top.values)
        if self.outputs is None:
            return _Made((inputs, None, None), top.note)
        note, outputs = top.note, inputs
        if second is not None:
            below = self._make(second, "output", self.outputs)
            outputs = _join(self.plan, self.outputs, below.values)
            note = f"input: {top.note}; output: {below.note}"
        bias = None
        if self.old_bias is not None:
            fresh = initialize_bias(self.bias, self.plan, self.old_bias, self.context)
            bias = _join(self.plan, self.old_bias, fresh)
        return _Made((inputs, outputs, bias), note)

    def _make(self, method: str, role: Role, rows: FloatArray) -> Rows:
        key = method, role
        if key not in self.made:
            # The methods in one list share inputs; all rows of all methods would be gigabytes.
            self.made = {k: v for k, v in self.made.items() if k[1] != role}
            donor = self.heads if role == "output" else self.context.donor
            context = replace(self.context, role=role, donor=donor)
            self.made[key] = initialize(method, self.plan, rows, context)
        return self.made[key]


def _join(plan: RowPlan, old: FloatArray, fresh: FloatArray) -> FloatArray:
    out = np.empty((plan.new_size, *old.shape[1:]), np.float32)
    kept = plan.kept >= 0
    out[kept] = old[plan.kept[kept]]
    out[~kept] = fresh
    return out


def _list_pairs(
    methods: Sequence[str] | None, context: Context, opened: LanguageModel, untie: bool
) -> tuple[list[Pair], dict[str, str]]:
    """The pairs to score, and why methods are left out where none was named."""
    has_head = opened.head is not None
    if methods:
        pairs = [_read_pair(text, has_head, opened.tied) for text in methods]
        return list(dict.fromkeys(pairs)), {}
    skipped = {
        name: lack for name in METHODS if (lack := explain_missing(name, context)) is not None
    }
    names = [*_PEERS, *(name for name in METHODS if name not in skipped)]
    if not has_head:
        return [(name, None) for name in names], skipped
    found: list[Pair] = [(name, None if opened.tied else name) for name in names]
    if untie or not opened.tied:
        # One input after the other: rows of the last one are kept, and some take minutes.
        found += [
            (name, other)
            for name, others in _UNTIED.items()
            for other in others
            if name not in skipped
        ]
    return list(dict.fromkeys(found)), skipped


def _read_pair(text: str, has_head: bool, tied: bool) -> Pair:
    first, slash, second = text.partition("/")
    for name in (first, second) if slash else (first,):
        if parse_method(name)[0] not in METHODS:
            listed = ", ".join(METHODS)
            raise ConfigError(f"no initialiser is called {name!r}", f"one of {listed}")
    if slash and not has_head:
        raise ConfigError(f"{text!r}: the model has no head", f"say {first!r}")
    return first, (second if slash else None if tied or not has_head else first)
