"""The folder a fit writes, whatever its configuration: the tokenizer's files and tables of who got what.

A configuration file's first key, `configuration`, says which one it is (`shared` where it is absent).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from vocabkit.auditing.parallel_text import read_audit_text
from vocabkit.configurations.byte_bpe import continue_bpe, fit_byte_bpe
from vocabkit.configurations.parity import fit_parity
from vocabkit.configurations.proportional import fit_proportional
from vocabkit.configurations.settings import (
    ByteBpeConfig,
    ContinuedBpeConfig,
    FitConfig,
    ParityConfig,
    ProportionalConfig,
    TwoStageConfig,
)
from vocabkit.configurations.shared import Fitted, fit_shared
from vocabkit.configurations.two_stage import choose_tail, describe_base, fit_two_stage, read_base
from vocabkit.core.config import Config, find_preset, load_config
from vocabkit.core.errors import ConfigError
from vocabkit.core.folders import check_inputs, output_folder, write_manifest
from vocabkit.core.progress import Progress
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.byte_level import BpeBase
from vocabkit.vocabulary.vocabulary import Vocabulary, block_languages, route_vocabulary


class Result(Protocol):
    """What every configuration returns: rows for people, warnings, seconds by step, and its files."""

    @property
    def config(self) -> Config:
        """The resolved configuration."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences a reader of the result should know."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall seconds by step."""

    @property
    def size(self) -> int:
        """The number of ids."""

    def language_rows(self) -> list[dict[str, object]]:
        """Return one row a language."""

    def save(self, folder: Path) -> None:
        """Write the folder's files but the manifest."""


Fit = Callable[[WordCounts, Any, Progress | None, int], Result]


def fit_folder(
    preset: str | Path,
    counts: str | Path,
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    routed: Sequence[str] = (),
    force: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Fit a preset, with `key=value` overrides, from one folder into another.

    `routed` are languages whose view of a vocabulary with blocks is written too, to `routed/CODE`. `workers`
    processes (default: every core) derive spans that are not cached. Raises `ConfigError`, `CountsError`,
    `FitError`, `TokenizerError` and `OutputError`; nothing is left behind when it does.
    """
    path = find_preset(preset, "fit")
    config, fit = _read_configuration(path, overrides)
    words = WordCounts.load(counts)
    check_inputs(Path(output), [counts])
    with output_folder(output, force=force) as work:
        fitted = fit(words, config, progress, workers or os.cpu_count() or 1)
        fitted.save(work)
        _write_routes(fitted, routed, work)
        details = asdict(fitted.totals) if isinstance(fitted, Fitted) else {}
        write_manifest(
            work,
            config=config.model_dump(mode="json"),
            inputs={"counts": words.fingerprint},
            seconds=fitted.seconds,
            details={**details, "warnings": list(fitted.warnings)},
        )
    return fitted


def _read_configuration(path: Path, overrides: Sequence[str] = ()) -> tuple[Config, Fit]:
    """Return a file's configuration, and what fits it. Raises `ConfigError`."""
    model, fit = _FITS[_read_kind(path)]
    return load_config(model, path, overrides), fit


def _read_kind(path: Path) -> str:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return "shared"  # load_config says what is wrong with the file
    kind = data.get("configuration", "shared")
    if kind not in _FITS:
        raise ConfigError(
            f"{path}: configuration = {kind!r}: expected one of {', '.join(_FITS)}",
            "vocabkit presets list",
        )
    return str(kind)


def _write_routes(fitted: Result, routed: Sequence[str], work: Path) -> None:
    if not routed:
        return
    vocabulary = getattr(fitted, "vocabulary", None)
    if not isinstance(vocabulary, Vocabulary):
        raise ConfigError("--routed needs a vocabulary with blocks", "fit a two-stage preset")
    names = block_languages(vocabulary)
    for text in routed:
        code = next((name for name in names if text in (name, name.split("_")[0])), None)
        if code is None:
            raise ConfigError(
                f"--routed {text}: no such block; blocks are {', '.join(names)}",
                "a language without a block is encoded with the shared pieces",
            )
        route_vocabulary(vocabulary, code).save(work / "routed" / code)


def _fit_shared(
    counts: WordCounts, config: FitConfig, progress: Progress | None, workers: int
) -> Result:
    return fit_shared(counts, config, progress, workers=workers)


def _fit_two_stage(
    counts: WordCounts, config: TwoStageConfig, progress: Progress | None, workers: int
) -> Result:
    tail = choose_tail(counts, config)
    if config.base:
        base = read_base(config.base)
    else:
        first = fit_shared(counts, config.shared, progress, workers=workers)
        weights = first.weights.weights
        base = describe_base(first.vocabulary, "shared", weights, counts.fingerprint)
    return fit_two_stage(counts, base, tail, config, progress, workers=workers)


def _fit_parity(
    counts: WordCounts, config: ParityConfig, progress: Progress | None, workers: int
) -> Result:
    if not config.parity.development:
        raise ConfigError(
            "parity needs a development corpus of aligned lines",
            "--set parity.development=DIR; lines used here cannot test the result",
        )
    corpus = open_corpus(config.parity.development)
    limit = config.parity.lines or None
    text = read_audit_text(corpus, limit=limit, aligned="yes", progress=progress)
    lines = {code: text.languages[code] for code in text.aligned_languages}
    return fit_parity(counts, lines, config, progress, workers=workers)


def _fit_proportional(
    counts: WordCounts, config: ProportionalConfig, progress: Progress | None, workers: int
) -> Result:
    return fit_proportional(counts, config, progress, workers=workers)


def _fit_byte_bpe(
    counts: WordCounts, config: ByteBpeConfig, progress: Progress | None, workers: int
) -> Result:
    return fit_byte_bpe(counts, config, progress, workers=workers)


def _continue_bpe(
    counts: WordCounts, config: ContinuedBpeConfig, progress: Progress | None, workers: int
) -> Result:
    if not config.base:
        raise ConfigError("continued-bpe needs the tokenizer it continues", "--base tokenizer.json")
    return continue_bpe(counts, config, BpeBase.read(config.base), progress)


_FITS: Mapping[str, tuple[type[Config], Fit]] = {
    "shared": (FitConfig, _fit_shared),
    "parity": (ParityConfig, _fit_parity),
    "proportional": (ProportionalConfig, _fit_proportional),
    "two-stage": (TwoStageConfig, _fit_two_stage),
    "byte-bpe": (ByteBpeConfig, _fit_byte_bpe),
    "continued-bpe": (ContinuedBpeConfig, _continue_bpe),
}
