"""Configurations (a) and (b): one vocabulary shared by all languages, natural or balanced.

Word counts → spans → language weights → covered alphabet → pooled rows → pieces → Vocabulary, with the tables
that say who got what. Reads no text and writes nothing (see `tokenizer_folder`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vocabkit.configurations.engines import FittedPieces, fit_pieces
from vocabkit.configurations.fitted_files import save_vocabulary
from vocabkit.configurations.settings import FitConfig
from vocabkit.core.errors import ConfigError, CountsError, FitError
from vocabkit.core.languages import load_panel, resolve_code
from vocabkit.core.progress import Progress
from vocabkit.corpus.span_cache import count_mismatches, derive_spans
from vocabkit.corpus.spans import Spans
from vocabkit.corpus.weighting import LanguageWeights, Mass, measure_masses, weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.coverage import Coverage, cover_characters
from vocabkit.fitting.sorting import Int64Array
from vocabkit.fitting.usage import count_usage
from vocabkit.vocabulary.vocabulary import Vocabulary, assemble_vocabulary

__all__ = ["FitConfig", "Fitted", "FittedTotals", "fit_shared", "select_languages"]


@dataclass(frozen=True, slots=True)
class FittedTotals:
    """Figures of one fit.

    `rows` and `characters` are distinct rows and their characters, `occurrences` their count; `rounding` is
    the L1 distance of the integer weights from the exact ones; `mismatches` the distinct raw words that the
    .model's charsmap normalises otherwise than the rule.
    """

    rows: int
    characters: int
    occurrences: int
    seeds_found: int
    seeds: int
    floor: int | None
    replaced: int | None
    pieces: int
    rounding: float
    mismatches: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """A vocabulary and how it came about: enough to write the folder and to judge it.

    `usage` maps a language to how often each id is used on its training text. `seconds` is by step.
    """

    vocabulary: Vocabulary
    config: FitConfig
    masses: Mapping[str, Mass]
    weights: LanguageWeights
    coverage: Coverage
    usage: Mapping[str, Int64Array]
    totals: FittedTotals
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.vocabulary.size

    def save(self, folder: Path) -> None:
        """Write the tokenizer folder's files but the manifest into an empty folder."""
        rows = self.language_rows()
        save_vocabulary(folder, self.vocabulary, self.usage, rows, self.coverage, self.config)

    def language_rows(self) -> list[dict[str, object]]:
        """Return one row per language: mass, weight, implied epochs, alphabet, what was cut, what it uses."""
        rows = []
        for weight in self.weights.rows:
            mass, used = self.masses[weight.language], self.usage[weight.language]
            rows.append(
                {
                    "language": weight.language,
                    "documents": mass.documents,
                    "words": mass.words,
                    "characters": mass.characters,
                    "bytes": mass.bytes,
                    "share": weight.share,
                    "target_share": weight.target_share,
                    "weight": weight.weight,
                    "epochs": weight.epochs,
                    "clipped": weight.clipped,
                    "alphabet": self.coverage.alphabets[weight.language],
                    "cut_share": self.coverage.cut_share[weight.language],
                    "pieces_used": int((used > 0).sum()),
                    "tokens": int(used.sum()),
                    "tokens_per_word": int(used.sum()) / mass.words if mass.words else None,
                    "note": weight.note,
                }
            )
        return rows


def fit_shared(
    counts: WordCounts,
    config: FitConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
) -> Fitted:
    """Fit one vocabulary for all languages of the counts that the configuration selects.

    `workers` processes derive spans that are not cached; above 1 they are spawned, so a script that asks for
    them needs the usual `if __name__ == "__main__"`. It changes no result.

    Raises `CountsError` for a selected language without counts, `ConfigError` for settings that do not fit
    the languages, and `FitError` when the size cannot hold the alphabet or the text cannot fill the size.
    """
    seconds: dict[str, float] = {}
    ready = prepare_fit(counts, config, seconds, workers=workers, progress=progress)
    with _timed(seconds, "train"):
        vocabulary, fitted = fit_weighted(ready, ready.weights, progress)
    return complete_fit(ready, ready.weights, vocabulary, fitted, seconds, progress)


@dataclass(frozen=True, slots=True)
class Ready:
    """All of a fit that comes before its weights are used; `cache` is where closed substrings are kept."""

    config: FitConfig
    masses: Mapping[str, Mass]
    weights: LanguageWeights
    spans: Spans
    coverage: Coverage
    cache: Path | None

    def masses_by_unit(self) -> dict[str, float]:
        """Return each language's mass in the unit its weight is of."""
        unit = self.config.languages.unit
        return {code: float(getattr(mass, unit)) for code, mass in self.masses.items()}


def prepare_fit(
    counts: WordCounts,
    config: FitConfig,
    seconds: dict[str, float],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Ready:
    """Select languages, weigh them, and derive spans and alphabet. Raises as `fit_shared`."""
    codes = select_languages(counts, config)
    masses = {code: mass for code, mass in measure_masses(counts).items() if code in codes}
    weights = weigh_languages(
        {code: getattr(mass, config.languages.unit) for code, mass in masses.items()},
        config.languages.weighting,
        exponent=config.languages.exponent,
        max_epochs=config.languages.max_epochs,
        quota=config.languages.quota,
        limit=config.languages.allow_oversampling,
    )
    with _timed(seconds, "spans"):
        spans = derive_spans(
            counts,
            config.normalization.rule,
            config.vocabulary.digits,
            languages=codes,
            workers=workers,
            progress=progress,
        )
    with _timed(seconds, "alphabet"):
        coverage = cover_characters(
            spans.languages,
            weights.weights,
            scope=config.coverage.scope,
            character=config.coverage.character,
        )
    cache = counts.folder / "seeds" if counts.folder is not None else None
    return Ready(config, masses, weights, spans, coverage, cache)


def fit_weighted(
    ready: Ready, weights: LanguageWeights, progress: Progress | None = None
) -> tuple[Vocabulary, FittedPieces]:
    """Fit one vocabulary under the weights given, which may be others than the configuration's."""
    vocabulary = ready.config.vocabulary
    fitted = fit_pieces(
        ready.spans,
        weights.weights,
        ready.coverage,
        ready.config,
        cache=ready.cache,
        progress=progress,
    )
    _check_special(fitted, vocabulary.special)
    assembled = assemble_vocabulary(
        fitted.pieces,
        fitted.scores,
        vocabulary.model,
        ready.spans.normalizer,
        special=vocabulary.special,
        reserved=vocabulary.reserved,
        byte_fallback=vocabulary.byte_fallback,
    )
    return assembled, fitted


def complete_fit(
    ready: Ready,
    weights: LanguageWeights,
    vocabulary: Vocabulary,
    fitted: FittedPieces,
    seconds: dict[str, float],
    progress: Progress | None = None,
) -> Fitted:
    """Count who uses which piece, and gather what a reader of the fit should know."""
    config, spans, coverage = ready.config, ready.spans, ready.coverage
    with _timed(seconds, "usage"):
        usage = count_usage(vocabulary, spans.languages, progress=progress)
    mismatches = sum(count_mismatches(spans).values())
    totals = FittedTotals(
        rows=fitted.rows,
        characters=fitted.characters,
        occurrences=fitted.occurrences,
        seeds_found=fitted.seeds_found,
        seeds=fitted.seeds,
        floor=fitted.floor,
        replaced=fitted.replaced,
        pieces=config.vocabulary.pieces,
        rounding=fitted.rounding,
        mismatches=mismatches,
    )
    warnings = [*weights.warnings(), *_describe_cut(coverage)]
    if mismatches:
        rule = config.normalization.rule
        warnings.append(f"{mismatches:_} distinct words: the .model's charsmap is not quite {rule}")
    return Fitted(
        vocabulary,
        config,
        ready.masses,
        weights,
        coverage,
        usage,
        totals,
        tuple(warnings),
        seconds,
    )


def select_languages(counts: WordCounts, config: FitConfig) -> tuple[str, ...]:
    """Return the codes to fit, sorted: every counted language, unless a panel or `include` narrows it.

    With both, `include` picks from the panel. Raises `CountsError` naming each language without counts.
    """
    counted = sorted(counts.languages)
    codes = list(counted)
    if config.languages.panel is not None:
        codes = list(load_panel(config.languages.panel).codes)
    if config.languages.include:
        pool = codes if config.languages.panel is not None else None
        codes = [_resolve(text, pool, counted) for text in config.languages.include]
    missing = sorted(set(codes) - set(counted))
    if missing:
        raise CountsError(
            f"{', '.join(missing)}: asked for, but not in the counts "
            f"({counts.folder or 'in memory'}), which hold {', '.join(counted) or 'no language'}",
            "count text of that language, or narrow the fit with --languages",
        )
    if not codes:
        raise ConfigError("the counts hold no language", "vocabkit count CORPUS -o counts/")
    return tuple(sorted(set(codes)))


def _resolve(text: str, panel: list[str] | None, counted: list[str]) -> str:
    # A full code that was not counted is reported with the other missing ones, not as unknown.
    try:
        return resolve_code(text, panel if panel is not None else counted)
    except ConfigError:
        if panel is None and "_" in text:
            return text
        raise


def _check_special(fitted: FittedPieces, special: tuple[str, ...]) -> None:
    both = sorted(set(fitted.pieces) & set(special))
    if both:
        raise FitError(
            f"vocabulary.special {', '.join(both)} is also an ordinary piece of this text",
            "write special tokens as <name>: a piece never mixes letters with brackets",
        )


def _describe_cut(coverage: Coverage) -> Iterator[str]:
    high = {code: share for code, share in coverage.cut_share.items() if share > 0.001}
    if high:
        names = ", ".join(f"{code} {share:.2%}" for code, share in sorted(high.items()))
        yield f"more than 0.1 % of the characters are outside the vocabulary in: {names}"


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
