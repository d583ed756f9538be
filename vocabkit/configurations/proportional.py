"""Configuration (c): vocabularies of single languages at allocated sizes, united and put on one scale.

Curves → allocation → the union, of exactly `vocabulary.pieces` → EM over all text with the pieces fixed. Pieces
that their own splits beat are replaced by the next ones of the allocation. Reads no text, writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from vocabkit.allocation.curves import Curve, CurveOptions, Development, read_development, trace_curves
from vocabkit.allocation.union import Allocation, allocate, find_shares, price_pieces
from vocabkit.configurations.settings import ProportionalConfig
from vocabkit.configurations.shared import Fit, Prepared, prepare
from vocabkit.core.arrays import Int64Array
from vocabkit.core.folders import Clock
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.compilation import open_workers
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import count_usage, estimate_scores
from vocabkit.fitting.lexicon import build_lexicon, count_characters, select_characters
from vocabkit.fitting.unigram import warm_kernels
from vocabkit.vocabulary.vocabulary import Vocabulary

# --- Curves of the languages -----------------------------------------------------------------------
# From counts to the curves, shares and prices of every selected language: what any allocation starts from.

_THIN = 1_000
"""Characters of held-out text below which a curve is doubtful: some two hundred words."""
_NAMED = 6
"""Languages that a warning names, the thinnest first."""


@dataclass(frozen=True, slots=True)
class TracedLanguages:
    """What an allocation is made from. `shares` is empty where the method compares costs, not sizes."""

    prepared: Prepared
    shares: Mapping[str, float]
    curves: Mapping[str, Curve]
    development: Development | None

    @property
    def lines(self) -> Mapping[str, int] | None:
        """How many aligned lines there are, by language, where costs are measured on such."""
        return None if self.development is None else self.development.lines


def trace_languages(
    counts: WordCounts, config: ProportionalConfig, progress: Progress | None = None, *, workers: int = 1
) -> TracedLanguages:
    """Return the curves of the selected languages, with the text and shares that go with them."""
    ready = prepare(counts, config, progress, workers=workers)
    codes, spans = tuple(sorted(ready.masses)), ready.spans
    rule, digits = config.normalization.rule, config.vocabulary.digits
    settings, trainer = config.allocation, config.trainer
    development, kind = None, "held_out"
    if settings.dev and settings.method in ("parity", "maxmin"):
        limit, kind = settings.dev_lines or None, "development"
        development = read_development(
            settings.dev, codes, rule, digits, limit=limit, field=settings.dev_field or None, progress=progress
        )
        measured = development.tables
    else:
        held_out = derive_spans(
            counts, rule, digits, languages=codes, split="held_out", symbols=config.vocabulary.symbols,
            progress=progress,
        )  # fmt: skip
        measured = held_out.languages
    # Each language's own covered characters: what its floor must hold.
    covered = dict.fromkeys(codes, ready.coverage.covered)
    if ready.coverage.scope != "global":
        for code, table in spans.languages.items():
            covered[code] = select_characters(count_characters(table), ready.coverage.character)
    options = CurveOptions(
        cap=settings.choose_cap(config.vocabulary.pieces, len(codes)),
        longest=config.vocabulary.max_piece_length,
        floors=trainer.floors,
        min_documents=trainer.min_documents,
        **trainer.steps,
    )
    cache = counts.folder / "curves" if counts.folder is not None else None
    curves = trace_curves(
        spans.languages, measured, covered, options, kind=kind, cache=cache, threads=trainer.threads or None,
        progress=progress,
    )  # fmt: skip
    return TracedLanguages(ready, find_shares(ready.masses, settings), curves, development)


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
        found.append(f"held back by allocation.cap, which more would have passed: {', '.join(capped)}")
    blind = [code for code, curve in made.curves.items() if curve.measured == "train"]
    if blind:
        found.append(f"no held-out text, measured on their training text: {', '.join(blind)}")
    thin = sorted(
        (curve.characters, code)
        for code, curve in made.curves.items()
        if curve.measured != "train" and curve.characters < _THIN
    )
    if thin:
        names = ", ".join(f"{code} {characters:_.0f}" for characters, code in thin[:_NAMED])
        names += f" and {len(thin) - _NAMED} more" if len(thin) > _NAMED else ""
        found.append(f"curves measured on fewer than {_THIN:_} characters: {names}")
    return found + made.prepared.warn_of_cut()


# --- The fit ---------------------------------------------------------------------------------------

_ROUNDS = 3
"""How often pieces that cannot be reached are replaced; what is left then is reported."""


def fit_proportional(
    counts: WordCounts, config: ProportionalConfig, progress: Progress | None = None, *, workers: int = 1
) -> Fit[Vocabulary]:
    """Fit configuration (c) for the languages of the counts that the configuration selects.

    `workers` processes derive spans that are not cached. Raises `CountsError`, `ConfigError` and `FitError`:
    when the size cannot hold the alphabets, or the languages together cannot fill it.
    """
    report = progress or Silent()
    clock = Clock()
    made = trace_languages(counts, config, report, workers=workers)
    clock.lap("curves")
    ready = made.prepared
    weights = ready.weights.weights
    prices = price_pieces(made.curves, made.shares, config.allocation, made.lines)
    memory, iterations = config.trainer.memory or None, config.iterations
    with open_workers(config.trainer.threads or None) as pool:
        warm_kernels(pool, report)
        report.start("uniting and estimating scores", None, "passes")
        lexicon = build_lexicon(ready.spans.languages, ready.coverage.covered, pool)
        denied: set[str] = set()
        for attempt in range(_ROUNDS + 1):
            allocation = allocate(made.curves, prices, config.vocabulary.pieces, weights=weights, deny=denied)
            rescored = estimate_scores(
                lexicon, allocation.pieces, pool, weights=weights, start=allocation.count,
                iterations=iterations, memory=memory,
            )  # fmt: skip
            report.advance(iterations)
            beaten = {allocation.pieces[k] for k in rescored.unreachable.tolist()}
            if not beaten or attempt == _ROUNDS:
                break
            denied |= beaten
        report.finish()
    clock.lap("scores")
    order = np.argsort(-rescored.scores, kind="stable")
    vocabulary = ready.assemble([allocation.pieces[k] for k in order.tolist()], rescored.scores[order])
    usage = count_usage(vocabulary, ready.spans.languages, symbols=ready.spans.symbols, progress=progress)
    clock.lap("usage")
    warnings = [*ready.weights.warnings(), *warn_of_curves(made, allocation)]
    if beaten:
        warnings.append(f"{len(beaten):_} pieces are never the best way to write themselves")
    rows, tables = tuple(_list_rows(made, allocation, usage)), {"cut_characters": ready.list_cut()}
    fingerprint = counts.fingerprint
    return Fit(vocabulary, config, rows, usage, tuple(warnings), clock.seconds, fingerprint, tables)


def _list_rows(
    made: TracedLanguages, allocation: Allocation, usage: Mapping[str, Int64Array]
) -> Iterator[dict[str, object]]:
    for k, code in enumerate(allocation.languages):
        start, end = made.prepared.describe_language(code, usage[code])
        weight = made.prepared.weights[code]
        yield {
            **start,
            "share": weight.share,
            "allocation_share": made.shares.get(code),
            "weight": weight.weight,
            "lexicon": int(allocation.lexicon[k]),
            "attributed": int(allocation.attributed[k]),
            "alone": int(allocation.alone[k]),
            "supported": len(made.curves[code]),
            **end,
            "note": made.curves[code].note,
        }
