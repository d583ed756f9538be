"""The folder a fit writes: the vocabulary's files and the tables that say who got what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vocabkit.configurations.settings import FitConfig
from vocabkit.configurations.shared import Fitted, fit_shared
from vocabkit.core.config import dump_toml, load_config
from vocabkit.core.presets import find_preset
from vocabkit.core.progress import Progress
from vocabkit.core.provenance import output_folder, write_manifest
from vocabkit.corpus.word_counts import WordCounts


def fit_folder(
    preset: str | Path,
    counts: str | Path,
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a preset, with `key=value` overrides, from one folder into another.

    `workers` processes (default: every core) derive spans that are not cached. Raises `ConfigError`,
    `CountsError`, `FitError` and `OutputError`; nothing is left behind when it does.
    """
    config = load_config(FitConfig, find_preset(preset, "fit"), overrides)
    words = WordCounts.load(counts)
    with output_folder(output, force=force) as work:
        fitted = fit_shared(words, config, progress, workers=workers or os.cpu_count() or 1)
        save_fitted(fitted, work)
        write_manifest(
            work,
            config=config.model_dump(mode="json"),
            inputs={"counts": words.fingerprint},
            seconds=fitted.seconds,
            details={**asdict(fitted.totals), "warnings": list(fitted.warnings)},
        )
    return fitted


def save_fitted(fitted: Fitted, folder: Path) -> None:
    """Write a tokenizer folder: the vocabulary's files, languages.tsv, cut_characters.tsv and config.toml.

    `folder` exists and is empty; the manifest is the caller's, who knows the command.
    """
    fitted.vocabulary.save(folder, usage=fitted.usage)
    rows = fitted.language_rows()
    _write_tsv(folder / "languages.tsv", list(rows[0]), [list(row.values()) for row in rows])
    _write_tsv(
        folder / "cut_characters.tsv",
        ["language", "code_point", "character", "count", "share"],
        [
            [
                row.language,
                f"U+{ord(row.character):04X}",
                _printable(row.character),
                row.count,
                row.share,
            ]
            for row in fitted.coverage.cut
        ],
    )
    (folder / "config.toml").write_text(dump_toml(fitted.config), encoding="utf-8", newline="\n")


def _write_tsv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    lines = ["\t".join(header)]
    lines += ["\t".join(_cell(value) for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _printable(character: str) -> str:
    return character if character.isprintable() and not character.isspace() else ""
