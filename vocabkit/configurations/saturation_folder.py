"""The folder `vocabkit allocate --saturation` writes: what blocks save by language and size, and a plot."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import Field

from vocabkit.allocation.saturation import SIZES, Saturation, ServedGain, measure_saturation
from vocabkit.configurations.settings import FitConfig, LanguagesTable, TrainerTable
from vocabkit.configurations.shared import select_languages
from vocabkit.configurations.stage_base import choose_options, freeze_pieces, read_base
from vocabkit.core.config import Config, dump_toml, parse_override, validate
from vocabkit.core.errors import ConfigError, MissingExtra
from vocabkit.core.languages import load_panel, resolve_code
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import check_inputs, output_folder, write_manifest
from vocabkit.corpus.span_cache import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.compilation import open_workers
from vocabkit.fitting.usage import count_usage
from vocabkit.fitting.warming import warm_kernels

PANEL = "panels/panel-40"


class SaturationConfig(Config):
    """Which blocks are tried on which tail languages (default: the panel's tail among the counted ones).

    `languages` are those whose text the base's scale is read from: all that it was fitted on.
    """

    base: str = ""
    tail: tuple[str, ...] = ()
    sizes: tuple[int, ...] = SIZES
    digits: str = "sentencepiece"
    max_piece_length: int = Field(default=16, ge=1, le=18)
    resamples: int = Field(default=1_000, ge=0)
    seed: int = 0
    languages: LanguagesTable = LanguagesTable()
    trainer: TrainerTable = TrainerTable()


@dataclass(frozen=True, slots=True)
class SaturationReport:
    """What was measured; `rows` are what is printed: one for each block size and number of languages."""

    found: Saturation
    rows: tuple[ServedGain, ...]
    warnings: tuple[str, ...]
    summary: str


def saturate_folder(
    base: str | Path,
    counts: str | Path,
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SaturationReport:
    """Measure what blocks of new pieces save over `base`, and write the tables and the plot.

    `overrides` are `key=value` of `SaturationConfig`. Raises `ConfigError`, `CountsError`, `TokenizerError`,
    `FitError` and `OutputError`; then nothing is left behind.
    """
    data: dict[str, object] = {"base": str(base)}
    for override in overrides:
        for key, value in parse_override(override).items():
            held = data.get(key)
            both = isinstance(held, dict) and isinstance(value, dict)
            data[key] = {**held, **value} if both else value  # type: ignore[dict-item]
    config = validate(SaturationConfig, data, "saturation")
    words = WordCounts.load(counts)
    report = progress or Silent()
    check_inputs(Path(output), [counts, base])
    with output_folder(output, force=force) as work:
        start = time.perf_counter()
        found, notes = _measure(words, config, report, workers or os.cpu_count() or 1)
        seconds = {"saturation": time.perf_counter() - start}
        _write_csv(work / "blocks.csv", [asdict(row) for row in found.blocks])
        _write_csv(work / "saturation.csv", [asdict(row) for row in found.served])
        (work / "config.toml").write_text(dump_toml(config), encoding="utf-8", newline="\n")
        notes += _plot(found, work / "saturation.svg")
        write_manifest(
            work,
            config=config.model_dump(mode="json"),
            inputs={"counts": words.fingerprint},
            seconds=seconds,
            seed=config.seed,
            details={"warnings": notes},
        )
    dry = {gain.language for gain in found.blocks if gain.data_limited}
    summary = (
        f"{len({gain.language for gain in found.blocks})} languages, "
        f"{len(dry)} of them data-limited below {max(config.sizes):,} pieces"
    )
    return SaturationReport(found, found.served, tuple(notes), summary)


def _measure(
    words: WordCounts, config: SaturationConfig, report: Progress, workers: int
) -> tuple[Saturation, list[str]]:
    base = read_base(config.base)
    codes = select_languages(words, FitConfig(languages=config.languages))
    tail = _find_tail(config, codes)
    rule = base.rule
    # The base's total is of all the languages that it was fitted on.
    known = base.weights if base.counts == words.fingerprint else {}
    read = sorted({*codes, *known})
    tables = derive_spans(
        words, rule, config.digits, languages=read, workers=workers, progress=report
    ).languages
    held_out = derive_spans(
        words, rule, config.digits, languages=tail, split="held_out", progress=report
    ).languages
    vocabulary, trainer = base.vocabulary, config.trainer
    totals = base.find_totals(
        count_usage(vocabulary, tables, progress=report), tail, words.fingerprint
    )
    with open_workers(trainer.threads or None) as pool:
        warm_kernels(pool, report)
        found = measure_saturation(
            vocabulary,
            freeze_pieces(vocabulary),
            {code: tables[code] for code in tail},
            held_out,
            totals,
            pool,
            sizes=config.sizes,
            floors=trainer.floors,
            longest=config.max_piece_length,
            options=choose_options(trainer),
            resamples=config.resamples,
            seed=config.seed,
            progress=report,
        )
    notes = list(base.warnings)
    dry = {gain.language: gain.pieces for gain in found.blocks if gain.data_limited}
    if dry:
        names = ", ".join(f"{code} {most:_}" for code, most in dry.items())
        notes.append(f"data-limited, the text supports no more pieces in: {names}")
    blind = sorted({gain.language for gain in found.blocks if gain.saving is None})
    if blind:
        notes.append(f"no held-out text, counted as saving nothing: {', '.join(blind)}")
    return found, notes


def _find_tail(config: SaturationConfig, codes: Sequence[str]) -> list[str]:
    if config.tail:
        return [resolve_code(text, codes) for text in config.tail]
    panel = load_panel(config.languages.panel or PANEL)
    tail = [code for code in panel.tail if code in codes]
    if not tail:
        raise ConfigError(
            f"none of the counted languages is in the tail of {panel.name}",
            "--set 'tail=[\"yor_Latn\"]'",
        )
    return tail


def _plot(found: Saturation, path: Path) -> list[str]:
    series: dict[int, list[tuple[int, float, float | None, float | None, bool]]] = {}
    for row in found.served:
        point = (row.served, row.saving, row.low, row.high, row.data_limited)
        series.setdefault(row.size, []).append(point)
    try:
        from vocabkit.allocation.plots import plot_saturation

        plot_saturation(series, path)
    except MissingExtra as error:
        return [f"no plot: {error.message} ({error.hint})"]
    return []


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
