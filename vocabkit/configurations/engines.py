"""From spans, weights and an alphabet to pieces, by vocabkit's own trainer or by SentencePiece's.

Both see the same rows. Our trainer takes weights as they are and its result depends on neither threads nor the
order of rows; SentencePiece's needs integers and a pinned number of threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocabkit.configurations.settings import FitConfig
from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.spans import Spans
from vocabkit.fitting.compilation import Workers, open_workers
from vocabkit.fitting.coverage import Coverage
from vocabkit.fitting.lexicon import Lexicon, build_lexicon
from vocabkit.fitting.rows import Rows, pool_rows
from vocabkit.fitting.seed_cache import load_or_build
from vocabkit.fitting.seeds import Seeds, find_seeds
from vocabkit.fitting.sentencepiece_engine import fit_bpe
from vocabkit.fitting.sentencepiece_engine import fit_unigram as fit_by_sentencepiece
from vocabkit.fitting.substrings import Substrings, find_substrings
from vocabkit.fitting.unigram import PathPoint, TooFewPieces, UnigramOptions, fit_unigram
from vocabkit.fitting.warming import warm_kernels

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
    scores: npt.NDArray[np.float32]
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


def fit_pieces(
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
