"""From counts to the curves, shares and prices of every selected language: what any allocation starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vocabkit.allocation.curves import Curve, CurveOptions
from vocabkit.allocation.development import Development, read_development
from vocabkit.allocation.objectives import find_shares, price_pieces
from vocabkit.allocation.tracing import trace_curves
from vocabkit.allocation.union import Allocation
from vocabkit.configurations.allocation_settings import ProportionalConfig
from vocabkit.configurations.shared import select_languages
from vocabkit.core.progress import Progress
from vocabkit.corpus.span_cache import derive_spans
from vocabkit.corpus.spans import Spans
from vocabkit.corpus.weighting import LanguageWeights, Mass, measure_masses, weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.coverage import (
    Coverage,
    count_characters,
    cover_characters,
    select_characters,
)
from vocabkit.fitting.lexicon import BoolArray, FloatArray

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


def price_languages(made: TracedLanguages, config: ProportionalConfig) -> dict[str, FloatArray]:
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
