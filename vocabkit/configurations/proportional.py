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

from vocabkit.allocation.curves import (
    Curve,
    CurveOptions,
    Development,
    read_development,
    trace_curves,
)
from vocabkit.allocation.union import Allocation, allocate, find_shares, price_pieces
from vocabkit.configurations.settings import ProportionalConfig
from vocabkit.configurations.shared import save_vocabulary, select_languages
from vocabkit.core.arrays import BoolArray, Float64Array, Int64Array
from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.spans import Spans, derive_spans
from vocabkit.corpus.weighting import LanguageWeights, Mass, measure_masses, weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import Rescored, count_usage, estimate_scores
from vocabkit.fitting.compilation import open_workers
from vocabkit.fitting.lexicon import (
    Coverage,
    build_lexicon,
    count_characters,
    cover_characters,
    select_characters,
)
from vocabkit.fitting.unigram import warm_kernels
from vocabkit.vocabulary.vocabulary import Vocabulary, assemble_vocabulary

# --- Language curves -------------------------------------------------------------------------------
# From counts to the curves, shares and prices of every selected language: what any allocation starts from.


_THIN = 1_000
"""Characters of held-out text below which a curve is doubtful: some two hundred words."""
_NAMED = 6
"""Languages that a warning names, the thinnest first."""


@dataclass(frozen=True, slots=True)
class TracedLanguages:
    """What an allocation is made from. `shares` is empty where the method compares costs, not sizes."""

    masses: Mapping[str, Mass]
    weights: LanguageWeights
    coverage: Coverage
    spans: Spans
    shares: Mapping[str, float]
    curves: Mapping[str, Curve]
    development: Development | None


def trace_languages(
    counts: WordCounts,
    config: ProportionalConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
) -> TracedLanguages:
    """Return the curves of the selected languages, with the text and shares that go with them."""
    codes = select_languages(counts, config.shared)
    rule, digits = config.normalization.rule, config.vocabulary.digits
    settings = config.allocation
    masses = {code: mass for code, mass in measure_masses(counts).items() if code in codes}
    weights = weigh_languages(
        {code: getattr(mass, config.languages.unit) for code, mass in masses.items()},
        config.languages.weighting,
        exponent=config.languages.exponent,
        max_epochs=config.languages.max_epochs,
        quota=config.languages.quota,
        limit=config.languages.allow_oversampling,
    )
    spans = derive_spans(counts, rule, digits, languages=codes, workers=workers, progress=progress)
    coverage = cover_characters(
        spans.languages,
        weights.weights,
        scope=config.coverage.scope,
        character=config.coverage.character,
    )
    development = None
    if settings.dev and settings.method in ("parity", "maxmin"):
        development = read_development(
            settings.dev, codes, rule, digits, limit=settings.dev_lines or None, progress=progress
        )
        measured = development.tables
    else:
        measured = derive_spans(
            counts, rule, digits, languages=codes, split="held_out", progress=progress
        ).languages
    trainer = config.trainer
    options = CurveOptions(
        cap=settings.choose_cap(config.vocabulary.pieces, len(codes)),
        longest=config.vocabulary.max_piece_length,
        floors=trainer.floors,
        min_documents=trainer.min_documents,
        shrink=trainer.shrink,
        iterations=trainer.iterations,
        power=trainer.power,
        memory=trainer.memory or None,
    )
    curves = trace_curves(
        spans.languages,
        measured,
        _cover_languages(spans, coverage),
        options,
        kind="held_out" if development is None else "development",
        cache=counts.folder / "curves" if counts.folder is not None else None,
        threads=trainer.threads or None,
        progress=progress,
    )
    return TracedLanguages(
        masses, weights, coverage, spans, find_shares(masses, settings), curves, development
    )


def price_languages(made: TracedLanguages, config: ProportionalConfig) -> dict[str, Float64Array]:
    """Return the prices of the configured method."""
    lines = None if made.development is None else made.development.lines
    return price_pieces(made.curves, made.shares, config.allocation, lines)


def warn_of_curves(made: TracedLanguages, allocation: Allocation) -> list[str]:
    """Return what a reader of an allocation should know: who was held back by what."""
    found = []
    sizes = dict(zip(allocation.languages, allocation.lexicon.tolist(), strict=True))
    full = [code for code, curve in made.curves.items() if sizes[code] >= len(curve)]
    dry = [code for code in full if made.curves[code].data_limited]
    capped = [code for code in full if not made.curves[code].data_limited]
    if dry:
        found.append(f"got all pieces that their text supports: {', '.join(dry)}")
    if capped:
        found.append(
            f"held back by allocation.cap, which more would have passed: {', '.join(capped)}"
        )
    blind = [code for code, curve in made.curves.items() if curve.measured == "train"]
    if blind:
        found.append(f"no held-out text, measured on their training text: {', '.join(blind)}")
    thin = {
        code: curve.characters
        for code, curve in made.curves.items()
        if curve.measured != "train" and curve.characters < _THIN
    }
    if thin:
        worst = sorted(thin, key=lambda code: (thin[code], code))
        names = ", ".join(f"{code} {thin[code]:_.0f}" for code in worst[:_NAMED])
        names += f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
        found.append(f"curves measured on fewer than {_THIN:_} characters: {names}")
    cut = {code: share for code, share in made.coverage.cut_share.items() if share > 0.001}
    if cut:
        names = ", ".join(f"{code} {share:.2%}" for code, share in sorted(cut.items()))
        found.append(f"more than 0.1 % of the characters are outside the vocabulary in: {names}")
    return found


def _cover_languages(spans: Spans, coverage: Coverage) -> dict[str, BoolArray]:
    """Return each language's own covered characters: what its floor must hold."""
    if coverage.scope == "global":
        return dict.fromkeys(spans.languages, coverage.covered)
    return {
        code: select_characters(count_characters(spans.languages[code]), coverage.character)
        for code in spans.languages
    }


# --- Proportional ----------------------------------------------------------------------------------


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
