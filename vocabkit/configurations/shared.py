"""Configurations (a) and (b): one vocabulary shared by all languages, natural or balanced.

Word counts → spans → language weights → covered alphabet → pooled rows → pieces → Vocabulary, with the tables
that say who got what. Reads no text and writes nothing (see `tokenizer_folder`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vocabkit.configurations.settings import FitConfig
from vocabkit.core.arrays import Float32Array, Int64Array
from vocabkit.core.config import Config, dump_toml
from vocabkit.core.errors import ConfigError, CountsError, FitError, TooFewPieces
from vocabkit.core.languages import load_panel, resolve_code
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.spans import Spans, count_mismatches, derive_spans
from vocabkit.corpus.weighting import LanguageWeights, Mass, measure_masses, weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import count_usage
from vocabkit.fitting.compilation import Workers, open_workers
from vocabkit.fitting.lexicon import Coverage, Lexicon, build_lexicon, cover_characters
from vocabkit.fitting.sentencepiece_engine import (
    Rows,
    Seeds,
    find_seeds,
    fit_bpe,
    fit_by_sentencepiece,
    pool_rows,
)
from vocabkit.fitting.substrings import Substrings, find_substrings, load_or_build
from vocabkit.fitting.unigram import (
    PathPoint,
    UnigramOptions,
    fit_unigram,
    warm_kernels,
)
from vocabkit.vocabulary.vocabulary import Vocabulary, assemble_vocabulary

# --- Engines ---------------------------------------------------------------------------------------
# From spans, weights and an alphabet to pieces, by vocabkit's own trainer or by SentencePiece's.
#
# Both see the same rows. Our trainer takes weights as they are and its result depends on neither threads nor
# the
# order of rows; SentencePiece's needs integers and a pinned number of threads.


SENTENCEPIECE_THREADS = 8
"""What `trainer.threads = 0` means to SentencePiece, whose unigram pieces depend on the number."""


@dataclass(frozen=True, slots=True)
class FittedPieces:
    """Normal pieces by falling score, and figures of the fit.

    `rows` and `characters` are of the distinct rows, `occurrences` their raw total; `rounding` is the L1
    distance of integer from exact weights (0.0 where none were rounded); `floor` the raw evidence that seeds
    had; `replaced` how many unreachable pieces were, None where the engine does not check; `path` the sizes
    passed on the way, with log likelihood per character.
    """

    pieces: Sequence[str]
    scores: Float32Array
    rows: int
    characters: int
    occurrences: int
    seeds_found: int
    seeds: int
    floor: int | None = None
    replaced: int | None = None
    rounding: float = 0.0
    path: tuple[PathPoint, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


def _fit_pieces(
    spans: Spans,
    weights: Mapping[str, float],
    coverage: Coverage,
    config: FitConfig,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> FittedPieces:
    """Fit the configured number of normal pieces. Raises `FitError`.

    `cache` is where closed substrings are kept for the next fit from the same counts.
    """
    if config.vocabulary.model == "unigram" and config.trainer.engine == "vocabkit":
        return _fit_ourselves(spans, weights, coverage, config, cache, progress or Silent())
    return _fit_by_sentencepiece(spans, weights, coverage, config, progress or Silent())


def _fit_ourselves(
    spans: Spans,
    weights: Mapping[str, float],
    coverage: Coverage,
    config: FitConfig,
    cache: Path | None,
    report: Progress,
) -> FittedPieces:
    vocabulary, trainer = config.vocabulary, config.trainer
    with open_workers(trainer.threads or None) as workers:
        warm_kernels(workers, report)

        def build() -> tuple[Lexicon, Substrings]:
            report.start("finding closed substrings")
            lexicon = build_lexicon(spans.languages, coverage.covered, workers)
            found = find_substrings(
                lexicon,
                workers,
                longest=vocabulary.max_piece_length,
                floor=trainer.floors[-1],
                documents=trainer.min_documents > 1,
            )
            report.finish()
            return lexicon, found

        key = _cache_key(spans, coverage, config)
        lexicon, substrings, _ = load_or_build(cache, key, build)
        options = UnigramOptions(
            seeds=config.seeds,
            floors=trainer.floors,
            min_documents=trainer.min_documents,
            shrink=trainer.shrink,
            iterations=trainer.iterations,
            power=trainer.power,
            memory=trainer.memory or None,
        )
        try:
            fitted = fit_unigram(
                lexicon,
                substrings,
                vocabulary.pieces,
                workers,
                weights=weights,
                options=options,
                keep=vocabulary.keep,
                deny=vocabulary.deny,
                progress=report,
            )
        except TooFewPieces as error:
            # Which pieces survive depends a little on the size asked for, so the suggestion stays 1 % below.
            possible = int(0.99 * error.reached) + vocabulary.other_ids
            raise FitError(
                f"vocabulary.size = {vocabulary.size:_} is more than this text supports: "
                f"about {possible:_}",
                f"--set vocabulary.size={possible:_}, or count more text",
            ) from error
    return FittedPieces(
        fitted.pieces,
        fitted.scores,
        rows=len(lexicon),
        characters=lexicon.characters,
        occurrences=int(lexicon.count.sum()),
        seeds_found=len(substrings),
        seeds=fitted.seeds,
        floor=fitted.floor,
        replaced=fitted.replaced,
        path=fitted.path,
        seconds=fitted.seconds,
    )


def _cache_key(spans: Spans, coverage: Coverage, config: FitConfig) -> str:
    """Return a digest of all that closed substrings depend on: no weight, no size."""
    digest = hashlib.blake2b(digest_size=10)
    for code in sorted(spans.languages):
        table = spans.languages[code]
        digest.update(f"{code} {len(table)}".encode())
        # Spans have a content hash each; with the counts it stands for the whole table.
        digest.update(table.key.tobytes())
        digest.update(table.count.tobytes())
        digest.update(table.documents.tobytes())
    digest.update(np.packbits(coverage.covered).tobytes())
    trainer = config.trainer
    limits = (config.vocabulary.max_piece_length, trainer.floors[-1], trainer.min_documents > 1)
    digest.update(repr(limits).encode())
    return digest.hexdigest()


def _fit_by_sentencepiece(
    spans: Spans,
    weights: Mapping[str, float],
    coverage: Coverage,
    config: FitConfig,
    report: Progress,
) -> FittedPieces:
    vocabulary, trainer = config.vocabulary, config.trainer
    threads = trainer.threads or SENTENCEPIECE_THREADS
    seeds: Seeds | None = None
    floor: int | None = None
    with open_workers(trainer.threads or None) as workers:
        warm_kernels(workers, report)
        report.start("pooling spans")
        rows = pool_rows(spans.languages, weights, coverage.covered, workers)
        report.finish()
        if vocabulary.model == "unigram":
            seeds, floor = _find_seeds(rows, config, workers, report)
    report.start("training with sentencepiece")
    if seeds is not None:
        fitted = fit_by_sentencepiece(
            rows,
            seeds,
            vocabulary.pieces,
            other_ids=vocabulary.other_ids,
            threads=threads,
            max_length=vocabulary.max_piece_length,
        )
    else:
        fitted = fit_bpe(
            rows,
            vocabulary.pieces,
            other_ids=vocabulary.other_ids,
            threads=threads,
            max_length=vocabulary.max_piece_length,
        )
    report.finish()
    return FittedPieces(
        fitted.pieces,
        np.asarray(fitted.scores, dtype=np.float32),
        rows=len(rows),
        characters=rows.lexicon.characters,
        occurrences=int(rows.lexicon.count.sum()),
        seeds_found=seeds.found if seeds else 0,
        seeds=len(seeds) if seeds else 0,
        floor=floor,
        rounding=rows.rounding,
    )


def _find_seeds(
    rows: Rows, config: FitConfig, workers: Workers, report: Progress
) -> tuple[Seeds, int]:
    """Find seeds at the first floor that leaves twice the size of them, or else at the last."""
    report.start("finding closed substrings")
    for floor in config.trainer.floors:
        seeds = find_seeds(
            rows,
            config.seeds,
            workers,
            min_count=floor,
            min_documents=config.trainer.min_documents,
            max_length=config.vocabulary.max_piece_length,
        )
        if seeds.found >= 2 * config.vocabulary.size:
            break
    report.finish()
    return seeds, floor


# --- Language table --------------------------------------------------------------------------------
# Tables of rows as tab-separated text.


def write_rows(
    rows: Sequence[Mapping[str, object]], path: Path, columns: Sequence[str] = ()
) -> None:
    """Write rows that share their keys, with a header (`columns` where there is no row); None is empty."""
    lines = ["\t".join(rows[0] if rows else columns)]
    lines += ["\t".join(map(_cell, row.values())) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# --- Fitted files ----------------------------------------------------------------------------------
# The files of a shared vocabulary's folder: the tokenizer, who got what, and what was cut.


def save_vocabulary(
    folder: Path,
    vocabulary: Vocabulary,
    usage: Mapping[str, Int64Array],
    rows: Sequence[Mapping[str, object]],
    coverage: Coverage,
    config: Config,
) -> None:
    """Write the vocabulary's files, languages.tsv, cut_characters.tsv and config.toml.

    `folder` exists and is empty; the manifest is the caller's, who knows the command.
    """
    vocabulary.save(folder, usage=usage)
    write_rows(rows, folder / "languages.tsv")
    cut = [
        {
            "language": row.language,
            "code_point": f"U+{ord(row.character):04X}",
            "character": _printable(row.character),
            "count": row.count,
            "share": row.share,
        }
        for row in coverage.cut
    ]
    write_rows(cut, folder / "cut_characters.tsv", CUT_COLUMNS)
    (folder / "config.toml").write_text(dump_toml(config), encoding="utf-8", newline="\n")


CUT_COLUMNS = ("language", "code_point", "character", "count", "share")


def _printable(character: str) -> str:
    return character if character.isprintable() and not character.isspace() else ""


# --- Shared ----------------------------------------------------------------------------------------


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
    fitted = _fit_pieces(
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
