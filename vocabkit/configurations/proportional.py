"""Configuration (c): vocabularies of single languages at allocated sizes, united and put on one scale.

Curves → allocation → the union, of exactly `vocabulary.pieces` → EM over all text with the pieces fixed. Pieces
that their own splits beat are replaced by the next ones of the allocation. Reads no text, writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vocabkit.allocation.union import Allocation, allocate
from vocabkit.configurations.allocation_settings import ProportionalConfig
from vocabkit.configurations.fitted_files import save_vocabulary
from vocabkit.configurations.language_curves import (
    TracedLanguages,
    price_languages,
    trace_languages,
    warn_of_curves,
)
from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.compilation import open_workers
from vocabkit.fitting.coverage import Coverage
from vocabkit.fitting.lexicon import build_lexicon
from vocabkit.fitting.rescoring import Rescored, estimate_scores
from vocabkit.fitting.sorting import Int64Array
from vocabkit.fitting.usage import count_usage
from vocabkit.fitting.warming import warm_kernels
from vocabkit.vocabulary.vocabulary import Vocabulary, assemble_vocabulary

__all__ = ["Proportional", "ProportionalConfig", "fit_proportional"]

_ROUNDS = 3
"""How often pieces that cannot be reached are replaced; what is left then is reported."""


@dataclass(frozen=True, slots=True)
class Proportional:
    """The vocabulary of (c), and what each language got.

    `usage` maps a language to how often each id is used on its training text. `replaced` pieces could not be
    reached and gave way to others; `unreachable` are left.
    """

    vocabulary: Vocabulary
    config: ProportionalConfig
    made_from: TracedLanguages
    allocation: Allocation
    usage: Mapping[str, Int64Array]
    replaced: int
    unreachable: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def coverage(self) -> Coverage:
        """The covered alphabet and what is outside."""
        return self.made_from.coverage

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.vocabulary.size

    def save(self, folder: Path) -> None:
        """Write the tokenizer folder's files but the manifest into an empty folder."""
        rows = self.language_rows()
        save_vocabulary(folder, self.vocabulary, self.usage, rows, self.coverage, self.config)

    def language_rows(self) -> list[dict[str, object]]:
        """Return one row per language: text, share, weight, sizes, alphabet, what it uses."""
        rows = []
        for k, code in enumerate(self.allocation.languages):
            mass, curve = self.made_from.masses[code], self.made_from.curves[code]
            weight, used = self.made_from.weights[code], self.usage[code]
            rows.append(
                {
                    "language": code,
                    "documents": mass.documents,
                    "words": mass.words,
                    "characters": mass.characters,
                    "bytes": mass.bytes,
                    "share": weight.share,
                    "allocation_share": self.made_from.shares.get(code),
                    "weight": weight.weight,
                    "lexicon": int(self.allocation.lexicon[k]),
                    "attributed": int(self.allocation.attributed[k]),
                    "alone": int(self.allocation.alone[k]),
                    "supported": len(curve),
                    "alphabet": self.coverage.alphabets[code],
                    "cut_share": self.coverage.cut_share[code],
                    "pieces_used": int((used > 0).sum()),
                    "tokens": int(used.sum()),
                    "tokens_per_word": int(used.sum()) / mass.words if mass.words else None,
                    "note": curve.note,
                }
            )
        return rows


def fit_proportional(
    counts: WordCounts,
    config: ProportionalConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
) -> Proportional:
    """Fit configuration (c) for the languages of the counts that the configuration selects.

    `workers` processes derive spans that are not cached. Raises `CountsError`, `ConfigError` and `FitError`:
    when the size cannot hold the alphabets, or the languages together cannot fill it.
    """
    report = progress or Silent()
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name] = now - clock
        clock = now

    made = trace_languages(counts, config, report, workers=workers)
    lap("curves")
    prices = price_languages(made, config)
    with open_workers(config.trainer.threads or None) as pool:
        warm_kernels(pool, report)
        report.start("uniting and estimating scores", None, "passes")
        lexicon = build_lexicon(made.spans.languages, made.coverage.covered, pool)
        denied: set[str] = set()
        for attempt in range(_ROUNDS + 1):
            allocation = allocate(
                made.curves,
                prices,
                config.vocabulary.pieces,
                weights=made.weights.weights,
                deny=denied,
            )
            rescored = estimate_scores(
                lexicon,
                allocation.pieces,
                pool,
                weights=made.weights.weights,
                start=allocation.count,
                iterations=config.iterations,
                memory=config.trainer.memory or None,
            )
            report.advance(config.iterations)
            beaten = {allocation.pieces[k] for k in rescored.unreachable.tolist()}
            if not beaten or attempt == _ROUNDS:
                break
            denied |= beaten
        report.finish()
    lap("scores")
    vocabulary = _assemble(made, allocation, rescored, config)
    usage = count_usage(vocabulary, made.spans.languages, progress=progress)
    lap("usage")
    warnings = [*made.weights.warnings(), *warn_of_curves(made, allocation)]
    if beaten:
        warnings.append(f"{len(beaten):_} pieces are never the best way to write themselves")
    return Proportional(
        vocabulary,
        config,
        made,
        allocation,
        usage,
        len(denied),
        tuple(sorted(beaten)),
        tuple(warnings),
        seconds,
    )


def _assemble(
    made: TracedLanguages, allocation: Allocation, rescored: Rescored, config: ProportionalConfig
) -> Vocabulary:
    table = config.vocabulary
    both = sorted(set(allocation.pieces) & set(table.special))
    if both:
        raise FitError(
            f"vocabulary.special {', '.join(both)} is also an ordinary piece of this text",
            "write special tokens as <name>: a piece never mixes letters with brackets",
        )
    order = np.argsort(-rescored.scores, kind="stable")
    return assemble_vocabulary(
        [allocation.pieces[k] for k in order.tolist()],
        rescored.scores[order],
        table.model,
        made.spans.normalizer,
        special=table.special,
        reserved=table.reserved,
        byte_fallback=table.byte_fallback,
    )
