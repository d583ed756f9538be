"""Budgets: `vocabkit allocate`, how many pieces each language gets, and what more of them would save.

Writes sizes, curves, pieces with their owners, and a plot. An allocation's `config.toml` is that of
configuration (c): `vocabkit fit ALLOCATION/ --counts …` fits what was allocated.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from vocabkit.allocation.saturation import SIZES, BlockGain, Saturation, ServedGain, measure_saturation
from vocabkit.allocation.union import Allocation, AllocationTable, allocate, find_costs, price_pieces
from vocabkit.configurations.proportional import (
    TracedLanguages,
    price_languages,
    trace_languages,
    warn_of_curves,
)
from vocabkit.configurations.settings import LanguagesTable, ProportionalConfig, TrainerTable, load_preset
from vocabkit.configurations.shared import Clock, open_counts, read_rows, select_languages, write_config
from vocabkit.configurations.two_stage import DEFAULT_PANEL, choose_options, read_base
from vocabkit.core.config import Config, Settings, lay_over, load_config, validate
from vocabkit.core.errors import ConfigError, MissingExtra
from vocabkit.core.folders import output_folder, read_manifest, write_manifest
from vocabkit.core.languages import load_panel, resolve_code
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.weighting import weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import count_usage
from vocabkit.fitting.compilation import open_workers
from vocabkit.fitting.unigram import warm_kernels

if TYPE_CHECKING:
    import pandas

# --- Allocation ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allotment:
    """An allocation with a row per language, and what there is to say of it.

    `baseline` names the method of the column `before`: in proportion to characters, or even where that is the
    method itself. `counts` is the fingerprint of the counts. `allocation` and `traced`, the curves it was made
    from, are None in one read from a folder.
    """

    config: ProportionalConfig
    rows: tuple[Mapping[str, object], ...]
    baseline: str
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    counts: str
    allocation: Allocation | None = None
    traced: TracedLanguages | None = None

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language: its text, its sizes and costs, and what held it back."""
        return [dict(row) for row in self.rows]

    def to_frame(self) -> pandas.DataFrame:
        """Return `to_rows` as a pandas table."""
        import pandas

        return pandas.DataFrame(self.to_rows())

    def save(self, folder: str | Path, *, force: bool = False) -> list[str]:
        """Write the folder that `vocabkit allocate` writes; return what was left out, and why.

        Raises `OutputError`, and `ConfigError` for one read from a folder, which has no curves.
        """
        found, traced = self.allocation, self.traced
        if found is None or traced is None:
            raise ConfigError("an allocation read from a folder has no curves", "copy that folder")
        with output_folder(folder, force=force) as work:
            _write_csv(work / "allocation.csv", self.rows)
            _write_csv(work / "curves.csv", _list_points(traced))
            triples = zip(found.pieces, found.owner.tolist(), found.count.tolist(), strict=True)
            names = found.languages
            pieces = ({"piece": p, "language": names[k], "count": n} for p, k, n in triples)
            _write_csv(work / "pieces.csv", pieces)
            write_config(self.config, work)
            notes = _plot_curves(traced, found, work / "curves.svg")
            inputs = {"counts": self.counts}
            if traced.development:
                inputs["development"] = traced.development.fingerprint
            write_manifest(
                work,
                config=self.config.model_dump(mode="json"),
                inputs=inputs,
                seconds=self.seconds,
                details={
                    "budget": found.budget,
                    "lexicons": int(found.lexicon.sum()),
                    "baseline": self.baseline,
                    "warnings": [*self.warnings, *notes],
                },
            )
        return notes

    @classmethod
    def load(cls, folder: str | Path) -> Allotment:
        """Read what `save` wrote, but for curves and pieces. Raises `ConfigError`."""
        root, manifest = Path(folder), read_manifest(folder)
        details = manifest.get("details", {})
        return cls(
            load_config(ProportionalConfig, root / "config.toml"),
            read_rows(root / "allocation.csv", ","),
            details.get("baseline", ""),
            tuple(details.get("warnings", ())),
            manifest.get("seconds", {}),
            manifest.get("inputs", {}).get("counts", ""),
        )


def allocate_budget(
    counts: str | Path | WordCounts,
    output: str | Path | None = None,
    *,
    budget: int | None = None,
    preset: str | Path | ProportionalConfig = "proportional-500k",
    settings: Settings = (),
    force: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Allotment:
    """Share out `budget` pieces (default: those of the preset) among languages; fits no union.

    With an `output` folder, it is written there too. `preset` is a name, a TOML file, an earlier output or a
    configuration; `settings` are laid over it. `workers` as in `fit_vocabulary`.

    Raises `ConfigError`, `CountsError`, `CorpusError`, `FitError` and `OutputError`: then nothing is left.

    >>> found = allocate_budget("counts/", budget=600_000, settings=["allocation.method=vocap"])
    ... # doctest: +SKIP
    >>> found.to_frame().set_index("language")["lexicon"]  # doctest: +SKIP
    """
    tables = lay_over({}, settings)
    config = load_preset(ProportionalConfig, preset, tables)
    if budget is not None:
        size = {"vocabulary": {"size": budget + config.vocabulary.other_ids}}
        config = load_preset(ProportionalConfig, preset, lay_over(tables, size))
    words = open_counts(counts, output, force=force)
    found = _allot(words, config, progress, workers or os.cpu_count() or 1)
    if output is None:
        return found
    notes = found.save(output, force=force)
    return replace(found, warnings=(*found.warnings, *notes))


def _allot(
    counts: WordCounts, config: ProportionalConfig, progress: Progress | None, workers: int
) -> Allotment:
    clock = Clock()
    made = trace_languages(counts, config, progress, workers=workers)
    clock.lap("curves")
    budget = config.vocabulary.pieces
    weights, masses = made.prepared.weights.weights, made.prepared.masses
    found = allocate(made.curves, price_languages(made, config), budget, weights=weights)
    name, table = _choose_baseline(config.allocation)
    shares = weigh_languages(
        {code: float(mass.characters) for code, mass in masses.items()},
        "exponent",
        exponent=table.power,
        limit=1e12,
    )
    even = {row.language: row.target_share for row in shares.rows}
    prices = price_pieces(made.curves, even, table)
    before = allocate(made.curves, prices, budget, weights=weights)
    rows = tuple(_describe(made, config, found, before))
    clock.lap("allocation")
    warnings = tuple(warn_of_curves(made, found))
    return Allotment(config, rows, name, warnings, clock.seconds, counts.fingerprint, found, made)


def _choose_baseline(settings: AllocationTable) -> tuple[str, AllocationTable]:
    floor, ceiling = settings.floor, settings.ceiling
    if settings.method == "proportional" and settings.unit == "characters":
        return "even", AllocationTable(method="exponent", exponent=0.0, floor=floor, ceiling=ceiling)
    return "proportional to characters", AllocationTable(floor=floor, ceiling=ceiling)


def _describe(
    made: TracedLanguages, config: ProportionalConfig, found: Allocation, before: Allocation
) -> Iterable[dict[str, object]]:
    """Yield one row per language; costs are those of its own lexicon alone, on the concave curve."""
    for k, code in enumerate(found.languages):
        curve, mass = made.curves[code], made.prepared.masses[code]
        sizes = np.array([before.lexicon[k], found.lexicon[k]], np.float64)
        alone = -curve.saving.value_at(sizes)
        costs = alone if made.lines is None else find_costs(curve, sizes, made.lines[code])
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
            "unit": "tokens per character" if made.lines is None else "tokens per line",
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
            curve.size.tolist(), curve.likelihood.tolist(), curve.tokens.tolist(), *smooth, strict=True
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


def _plot_curves(made: TracedLanguages, found: Allocation, path: Path) -> list[str]:
    try:
        from vocabkit.allocation.plots import plot_curves

        sizes = dict(zip(found.languages, found.lexicon.tolist(), strict=True))
        plot_curves(made.curves, sizes, path)
    except MissingExtra as error:
        return [f"no plot: {error.message} ({error.hint})"]
    return []


def _write_csv(path: Path, rows: Iterable[Mapping[str, object]], digits: str = ".6g") -> None:
    """Write rows that share their keys, numbers with so many digits; "" keeps them all."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for k, row in enumerate(rows):
            if not k:
                writer.writerow(row)
            writer.writerow(
                format(value, digits) if isinstance(value, float) else value for value in row.values()
            )


# --- Saturation ------------------------------------------------------------------------------------
# `vocabkit allocate --saturation`: what blocks save by language and size.


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
    """What was measured. Rows are of `found.served`: one for each block size and number of languages served."""

    config: Config
    found: Saturation
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    counts: str

    def to_rows(self) -> list[dict[str, object]]:
        """Return what serving the first k languages saves, for each size of block."""
        return [asdict(row) for row in self.found.served]

    def to_frame(self) -> pandas.DataFrame:
        """Return `to_rows` as a pandas table."""
        import pandas

        return pandas.DataFrame(self.to_rows())

    @property
    def summary(self) -> str:
        """How many languages there are, and how many of them ran out of text."""
        languages = {gain.language for gain in self.found.blocks}
        dry = {gain.language for gain in self.found.blocks if gain.data_limited}
        most = max((gain.size for gain in self.found.blocks), default=0)
        return f"{len(languages)} languages, {len(dry)} of them data-limited below {most:,} pieces"

    def save(self, folder: str | Path, *, force: bool = False) -> list[str]:
        """Write the tables and the plot; return what was left out, and why. Raises `OutputError`."""
        with output_folder(folder, force=force) as work:
            _write_csv(work / "blocks.csv", map(asdict, self.found.blocks), "")
            _write_csv(work / "saturation.csv", map(asdict, self.found.served), "")
            write_config(self.config, work)
            notes = _plot_saturation(self.found, work / "saturation.svg")
            config = self.config.model_dump(mode="json")
            write_manifest(
                work,
                config=config,
                inputs={"counts": self.counts},
                seconds=self.seconds,
                seed=config["seed"],
                details={"warnings": [*self.warnings, *notes]},
            )
        return notes

    @classmethod
    def load(cls, folder: str | Path) -> SaturationReport:
        """Read what `save` wrote. Raises `ConfigError`."""
        root, manifest = Path(folder), read_manifest(folder)
        blocks = [BlockGain(**row) for row in read_rows(root / "blocks.csv", ",")]  # type: ignore[arg-type]
        served = [ServedGain(**row) for row in read_rows(root / "saturation.csv", ",")]  # type: ignore[arg-type]
        return cls(
            load_config(SaturationConfig, root / "config.toml"),
            Saturation(tuple(blocks), tuple(served)),
            tuple(manifest.get("details", {}).get("warnings", ())),
            manifest.get("seconds", {}),
            manifest.get("inputs", {}).get("counts", ""),
        )


def saturate_vocabulary(
    base: str | Path,
    counts: str | Path | WordCounts,
    output: str | Path | None = None,
    *,
    settings: Settings = (),
    force: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SaturationReport:
    """Measure what blocks of new pieces save over `base`; with an `output` folder, write tables and plot there.

    `settings` are of a `SaturationConfig`, such as `sizes=[5_000, 50_000]` or `tail=["yor_Latn"]`. Raises
    `ConfigError`, `CountsError`, `TokenizerError`, `FitError` and `OutputError`; then nothing is left behind.
    """
    config = validate(SaturationConfig, lay_over({"base": str(base)}, settings), "saturation")
    words = open_counts(counts, output, force=force, others=[base])
    clock = Clock()
    found, notes = _measure(words, config, progress or Silent(), workers or os.cpu_count() or 1)
    clock.lap("saturation")
    report = SaturationReport(config, found, tuple(notes), clock.seconds, words.fingerprint)
    if output is None:
        return report
    left_out = report.save(output, force=force)
    return replace(report, warnings=(*report.warnings, *left_out))


def _measure(
    words: WordCounts, config: SaturationConfig, report: Progress, workers: int
) -> tuple[Saturation, list[str]]:
    base = read_base(config.base)
    codes, rule, fingerprint = (select_languages(words, config.languages), base.rule, words.fingerprint)
    tail = _find_tail(config, codes)
    read = sorted({*codes, *base.known_weights(fingerprint)})
    tables = derive_spans(
        words, rule, config.digits, languages=read, workers=workers, progress=report
    ).languages
    held_out = derive_spans(
        words, rule, config.digits, languages=tail, split="held_out", progress=report
    ).languages
    vocabulary, trainer = base.vocabulary, config.trainer
    totals = base.find_totals(count_usage(vocabulary, tables, progress=report), tail, fingerprint)
    with open_workers(trainer.threads or None) as pool:
        warm_kernels(pool, report)
        found = measure_saturation(
            vocabulary,
            base.freeze_pieces(),
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
    panel = load_panel(config.languages.panel or DEFAULT_PANEL)
    tail = [code for code in panel.tail if code in codes]
    if not tail:
        raise ConfigError(
            f"none of the counted languages is in the tail of {panel.name}", "--set 'tail=[\"yor_Latn\"]'"
        )
    return tail


def _plot_saturation(found: Saturation, path: Path) -> list[str]:
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
