"""The folder `vocabkit allocate` writes: sizes, curves, pieces with their owners, and a plot.

`config.toml` is that of configuration (c): `vocabkit fit ALLOCATION/ --counts …` fits what was allocated.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from vocabkit.allocation.saturation import SIZES, Saturation, ServedGain, measure_saturation
from vocabkit.allocation.union import (
    Allocation,
    AllocationTable,
    allocate,
    find_costs,
    price_pieces,
)
from vocabkit.configurations.proportional import (
    TracedLanguages,
    price_languages,
    trace_languages,
    warn_of_curves,
)
from vocabkit.configurations.settings import (
    FitConfig,
    LanguagesTable,
    ProportionalConfig,
    TrainerTable,
)
from vocabkit.configurations.shared import select_languages
from vocabkit.configurations.two_stage import choose_options, freeze_pieces, read_base
from vocabkit.core.config import (
    Config,
    dump_toml,
    find_preset,
    load_config,
    parse_override,
    validate,
)
from vocabkit.core.errors import ConfigError, MissingExtra
from vocabkit.core.folders import check_inputs, output_folder, write_manifest
from vocabkit.core.languages import load_panel, resolve_code
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.weighting import weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import count_usage
from vocabkit.fitting.compilation import open_workers
from vocabkit.fitting.unigram import warm_kernels

# --- Allocation folder -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allotted:
    """An allocation with a row per language, and what there is to say of it.

    `baseline` names the method of the column `before`: in proportion to characters, or even where that is the
    method itself.
    """

    config: ProportionalConfig
    made_from: TracedLanguages
    allocation: Allocation
    baseline: str
    rows: tuple[Mapping[str, object], ...]
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]


def allocate_folder(
    preset: str | Path,
    counts: str | Path,
    output: str | Path,
    *,
    budget: int | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Allotted:
    """Allocate `budget` pieces (default: those of the preset) and write the folder.

    Raises `ConfigError`, `CountsError`, `CorpusError`, `FitError` and `OutputError`: then nothing is left.
    """
    path = find_preset(preset, "fit")
    config = load_config(ProportionalConfig, path, overrides)
    if budget is not None:
        size = f"vocabulary.size={budget + config.vocabulary.other_ids}"
        config = load_config(ProportionalConfig, path, [*overrides, size])
    words = WordCounts.load(counts)
    check_inputs(Path(output), [counts])
    with output_folder(output, force=force) as work:
        allotted = allot(words, config, progress, workers=workers or os.cpu_count() or 1)
        notes = _save_allotted(allotted, work)
        development = allotted.made_from.development
        write_manifest(
            work,
            config=config.model_dump(mode="json"),
            inputs={
                "counts": words.fingerprint,
                **({"development": development.fingerprint} if development else {}),
            },
            seconds=allotted.seconds,
            details={
                "budget": allotted.allocation.budget,
                "lexicons": int(allotted.allocation.lexicon.sum()),
                "baseline": allotted.baseline,
                "warnings": [*allotted.warnings, *notes],
            },
        )
    return Allotted(
        config,
        allotted.made_from,
        allotted.allocation,
        allotted.baseline,
        allotted.rows,
        (*allotted.warnings, *notes),
        allotted.seconds,
    )


def allot(
    counts: WordCounts,
    config: ProportionalConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
) -> Allotted:
    """Allocate the configuration's pieces among the languages it selects; fits no union."""
    start = time.perf_counter()
    made = trace_languages(counts, config, progress, workers=workers)
    traced = time.perf_counter()
    budget = config.vocabulary.pieces
    weights = made.weights.weights
    found = allocate(made.curves, price_languages(made, config), budget, weights=weights)
    name, table = _choose_baseline(config.allocation)
    shares = weigh_languages(
        {code: float(mass.characters) for code, mass in made.masses.items()},
        "exponent",
        exponent=table.power,
        limit=1e12,
    )
    prices = price_pieces(
        made.curves, {row.language: row.target_share for row in shares.rows}, table
    )
    before = allocate(made.curves, prices, budget, weights=weights)
    rows = tuple(_describe(made, config, found, before))
    seconds = {"curves": traced - start, "allocation": time.perf_counter() - traced}
    return Allotted(config, made, found, name, rows, tuple(warn_of_curves(made, found)), seconds)


def _save_allotted(allotted: Allotted, folder: Path) -> list[str]:
    """Write everything but the manifest; return what was left out, and why."""
    _write_csv(folder / "allocation.csv", allotted.rows)
    _write_csv(folder / "curves.csv", _list_points(allotted.made_from))
    found = allotted.allocation
    _write_csv(
        folder / "pieces.csv",
        (
            {"piece": piece, "language": found.languages[owner], "count": count}
            for piece, owner, count in zip(
                found.pieces, found.owner.tolist(), found.count.tolist(), strict=True
            )
        ),
    )
    text = dump_toml(allotted.config)
    (folder / "config.toml").write_text(text, encoding="utf-8", newline="\n")
    try:
        from vocabkit.allocation.plots import plot_curves

        sizes = dict(zip(found.languages, found.lexicon.tolist(), strict=True))
        plot_curves(allotted.made_from.curves, sizes, folder / "curves.svg")
    except MissingExtra as error:
        return [f"no plot: {error.message} ({error.hint})"]
    return []


def _choose_baseline(settings: AllocationTable) -> tuple[str, AllocationTable]:
    floor, ceiling = settings.floor, settings.ceiling
    if settings.method == "proportional" and settings.unit == "characters":
        return "even", AllocationTable(
            method="exponent", exponent=0.0, floor=floor, ceiling=ceiling
        )
    return "proportional to characters", AllocationTable(floor=floor, ceiling=ceiling)


def _describe(
    made: TracedLanguages, config: ProportionalConfig, found: Allocation, before: Allocation
) -> Iterable[dict[str, object]]:
    """One row per language; costs are those of its own lexicon alone, on the concave curve."""
    lines = None if made.development is None else made.development.lines
    for k, code in enumerate(found.languages):
        curve, mass = made.curves[code], made.masses[code]
        sizes = np.array([before.lexicon[k], found.lexicon[k]], np.float64)
        alone = -curve.saving.value_at(sizes)
        costs = alone if lines is None else find_costs(curve, sizes, lines[code])
        size = int(found.lexicon[k])
        yield {
            "language": code,
            "characters": mass.characters,
            "share": made.shares.get(code),
            "alphabet": curve.alphabet,
            "supported": len(curve),
            "before": int(before.lexicon[k]),
            "lexicon": size,
            "attributed": int(found.attributed[k]),
            "alone": int(found.alone[k]),
            "unit": "tokens per character" if lines is None else "tokens per line",
            "cost_before": float(costs[0]),
            "cost": float(costs[1]),
            "change": float(costs[1] / costs[0] - 1.0),
            "log_likelihood": curve.likelihood_at(size),
            "measured": curve.measured,
            "limited_by": _find_limit(size, curve.data_limited, len(curve), config),
            "note": curve.note,
        }


def _find_limit(size: int, dry: bool, most: int, config: ProportionalConfig) -> str | None:
    if size >= most:
        return "text" if dry else "cap"
    return "ceiling" if config.allocation.ceiling and size >= config.allocation.ceiling else None


def _list_points(made: TracedLanguages) -> Iterable[dict[str, object]]:
    for code, curve in made.curves.items():
        smooth = curve.worth.value.tolist(), (-curve.saving.value).tolist()
        columns = zip(
            curve.size.tolist(),
            curve.likelihood.tolist(),
            curve.tokens.tolist(),
            *smooth,
            strict=True,
        )
        for size, likelihood, tokens, concave, convex in columns:
            yield {
                "language": code,
                "measured": curve.measured,
                "size": size,
                "log_likelihood": likelihood,
                "tokens": tokens,
                "log_likelihood_concave": concave,
                "tokens_convex": convex,
            }


def _write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for k, row in enumerate(rows):
            if not k:
                writer.writerow(row)
            writer.writerow(
                f"{value:.6g}" if isinstance(value, float) else value for value in row.values()
            )


# --- Saturation folder -----------------------------------------------------------------------------
# The folder `vocabkit allocate --saturation` writes: what blocks save by language and size, and a plot.


PANEL = "panels/panel-40"


class _SaturationConfig(Config):
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

    `overrides` are `key=value` of `_SaturationConfig`. Raises `ConfigError`, `CountsError`, `TokenizerError`,
    `FitError` and `OutputError`; then nothing is left behind.
    """
    data: dict[str, object] = {"base": str(base)}
    for override in overrides:
        for key, value in parse_override(override).items():
            held = data.get(key)
            both = isinstance(held, dict) and isinstance(value, dict)
            data[key] = {**held, **value} if both else value  # type: ignore[dict-item]
    config = validate(_SaturationConfig, data, "saturation")
    words = WordCounts.load(counts)
    report = progress or Silent()
    check_inputs(Path(output), [counts, base])
    with output_folder(output, force=force) as work:
        start = time.perf_counter()
        found, notes = _measure(words, config, report, workers or os.cpu_count() or 1)
        seconds = {"saturation": time.perf_counter() - start}
        _write_saturation_csv(work / "blocks.csv", [asdict(row) for row in found.blocks])
        _write_saturation_csv(work / "saturation.csv", [asdict(row) for row in found.served])
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
    words: WordCounts, config: _SaturationConfig, report: Progress, workers: int
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


def _find_tail(config: _SaturationConfig, codes: Sequence[str]) -> list[str]:
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


def _write_saturation_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
