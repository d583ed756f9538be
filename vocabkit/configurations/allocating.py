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
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from vocabkit.allocation.union import Allocation, AllocationTable, allocate, find_costs, price_pieces
from vocabkit.configurations.proportional import TracedLanguages, trace_languages, warn_of_curves
from vocabkit.configurations.settings import LanguagesTable, ProportionalConfig, TrainerTable, load_preset
from vocabkit.configurations.shared import list_inputs, open_counts, read_rows, select_languages, write_config
from vocabkit.configurations.two_stage import (
    DEFAULT_PANEL,
    BlockBase,
    check_letters,
    choose_letters,
    choose_options,
    find_lacking,
    mark_characters,
    read_base,
)
from vocabkit.core.arrays import BoolArray, Float64Array, Int64Array
from vocabkit.core.config import Config, Settings, lay_over, load_config, validate
from vocabkit.core.errors import ConfigError, MissingExtra, shorten_names
from vocabkit.core.folders import Clock, output_folder, write_manifest
from vocabkit.core.languages import load_panel, name_languages, resolve_codes
from vocabkit.core.pages import Cell, Chart, Row, Said, Section, Series, Table, render_sections, show_value
from vocabkit.core.plots import Charted
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.records import Signed, parse_record, read_manifest
from vocabkit.corpus.compilation import Workers, open_workers
from vocabkit.corpus.spans import SpanTable, derive_spans
from vocabkit.corpus.weighting import weigh_languages
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import FittedBlock, count_span_tokens, count_usage, fit_block, usable_pieces
from vocabkit.fitting.lexicon import build_lexicon
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import Frozen, warm_kernels

if TYPE_CHECKING:
    pass

# --- Allocation ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allotment(Charted):
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

    @property
    def summary(self) -> str:
        """The sizes in all, and what the rows' costs are."""
        sizes = ""
        if self.allocation is not None:
            lexicons = int(self.allocation.lexicon.sum())
            sizes = f"{self.allocation.budget:,} pieces; lexicons of {lexicons:,} in all; "
        return f"{sizes}before: {self.baseline}; cost: {self.rows[0]['unit']}"

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
            (work / "report.html").write_text(self._render(), encoding="utf-8")
            notes = _try_plot(self, "curves", work / "curves.svg")
            inputs = {"counts": self.counts}
            if traced.development:
                inputs["development"] = traced.development.fingerprint
            details = {
                "budget": found.budget,
                "lexicons": int(found.lexicon.sum()),
                "baseline": self.baseline,
                "warnings": [*self.warnings, *notes],
            }
            config = self.config.model_dump(mode="json")
            write_manifest(work, config=config, inputs=inputs, seconds=self.seconds, details=details)
        return notes

    def charts(self) -> dict[str, Chart]:
        """Return `change` (of costs), `sizes` and, unless read from a folder, `curves` with the sizes."""
        return {
            "change": _chart_change(self.rows, self.baseline),
            "sizes": _chart_sizes(self.rows, self.baseline),
        } | ({} if self.traced is None else {"curves": _chart_curves(self.rows, self.traced)})

    def _render(self) -> str:
        """Return the page of the allocation."""
        charts = self.charts()
        settings = self.config.allocation
        pieces = sum(int(str(row["attributed"])) for row in self.rows)
        told = {"method": settings.method} | {
            name: value
            for name, value in settings.model_dump(mode="json").items()
            if value and name != "method"
        }
        return render_sections(
            f"{pieces:,} pieces for {len(self.rows)} languages, by {settings.method}",
            list(_judge(self.rows, self.baseline, self.warnings)),
            [
                Section("What it changes", [charts["change"]]),
                Section("How many pieces each language gets", [charts["sizes"], _tabulate(self.rows)]),
                Section("What pieces are worth", [charts["curves"]]),
            ],
            method={
                **{name.replace("_", " "): value for name, value in told.items()},
                "before": self.baseline,
                "counts": self.counts,
            },
            beside={"allocation.csv": "the table", "curves.csv": "every point", "pieces.csv": "every piece"},
        )

    @classmethod
    def load(cls, folder: str | Path) -> Allotment:
        """Read what `save` wrote, but for curves and pieces. Raises `ConfigError`."""
        root, manifest = Path(folder), read_manifest(folder)
        details = manifest.get("details", {})
        return cls(
            load_config(ProportionalConfig, root / "config.toml"),
            read_rows(root / "allocation.csv", ","),
            details.get("baseline", ""),
            tuple(details.get("warnings") or ()),
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
    words = open_counts(counts, output, force=force, others=list_inputs(preset, config))
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
    prices = price_pieces(made.curves, made.shares, config.allocation, made.lines)
    found = allocate(made.curves, prices, budget, weights=weights)
    name, table = _choose_baseline(config.allocation)
    sizes = {code: float(mass.characters) for code, mass in masses.items()}
    shares = weigh_languages(sizes, "exponent", exponent=table.power, limit=1e12)
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
        size, most = int(found.lexicon[k]), config.allocation.ceiling
        limit = "ceiling" if most and size >= most else None
        if size >= len(curve):
            limit = "text" if curve.data_limited else "cap"
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
            "limited_by": limit,
            "note": curve.note,
        }


# --- The page of an allocation ---------------------------------------------------------------------


def _number(row: Mapping[str, object], name: str) -> float | None:
    """Return a number of a row, which is text in one read from a folder."""
    value = row[name]
    return None if value in (None, "") else float(str(value))


def _judge(rows: Sequence[Mapping[str, object]], baseline: str, warnings: Sequence[str]) -> Iterable[Said]:
    """Yield what an allocation does, in sentences."""
    names = name_languages(str(row["language"]) for row in rows)
    changes = {str(row["language"]): _number(row, "change") or 0.0 for row in rows}
    for sign, word in ((-1, "fewer"), (1, "more")):
        moved = sorted(
            (code for code, change in changes.items() if sign * change > 0.0005), key=changes.__getitem__
        )
        if moved:
            most = moved[0] if sign < 0 else moved[-1]
            needs = f"{len(moved)} of {len(rows)} languages need {word} tokens than with sizes {baseline}"
            yield Said(f"{needs}; most {names[most]}, {changes[most]:+.1%}.")
    lexicons = sum(int(_number(row, "lexicon") or 0) for row in rows)
    yield Said(f"Lexicons hold {lexicons:,} pieces together, since languages share pieces.")
    held = {
        limit: [names[str(row["language"])] for row in rows if row["limited_by"] == limit] for limit in _LIMITS
    }
    for limit, found in held.items():
        if found:
            yield Said(f"{_LIMITS[limit]}: {shorten_names(found)}.", "warn")
    for warning in warnings:
        yield Said(warning[:1].upper() + warning[1:], "warn")


_LIMITS = {
    "text": "Their text supports no more pieces",
    "cap": "Their curves were not followed further",
    "ceiling": "At the ceiling",
}


def _chart_change(rows: Sequence[Mapping[str, object]], baseline: str) -> Chart:
    ranked = sorted(rows, key=lambda row: -(_number(row, "change") or 0.0))
    codes = [str(row["language"]) for row in ranked]
    caption = (
        f"Change of each language's cost from sizes {baseline}; left is cheaper. Costs are of its own lexicon."
    )
    series = [Series("change", [_number(row, "change") for row in ranked])]
    names = list(name_languages(codes).values())
    axis = f"change of {rows[0]['unit']}" if rows else ""
    return Chart(
        "bars", "Change of costs", caption, series, labels=names, ids=codes, unit="share", axis=axis,
        signed=True,
    )  # fmt: skip


def _chart_sizes(rows: Sequence[Mapping[str, object]], baseline: str) -> Chart:
    ranked = sorted(rows, key=lambda row: -(_number(row, "attributed") or 0.0))
    codes = [str(row["language"]) for row in ranked]
    caption = "Lexicon: the language's own vocabulary. Attributed: the pieces of the union that it uses most. "
    caption += f"Before: the lexicon with sizes {baseline}."
    series = [
        Series(name, [_number(row, name) for row in ranked]) for name in ("attributed", "lexicon", "before")
    ]
    return Chart(
        "dots", "Pieces by language", caption, series, labels=list(name_languages(codes).values()), ids=codes,
        unit="pieces", axis="pieces, logarithmic", logarithmic=True,
    )  # fmt: skip


def _chart_curves(rows: Sequence[Mapping[str, object]], traced: TracedLanguages) -> Chart:
    """Return tokens per character against size, a line a language, with the allocated size marked."""
    chosen = {str(row["language"]): max(int(_number(row, "lexicon") or 0), 1) for row in rows}
    names = name_languages(traced.curves)
    series = []
    for code, curve in traced.curves.items():
        points = dict(zip(curve.size.tolist(), (-curve.saving.value).tolist(), strict=True))
        points[chosen[code]] = curve.tokens_at(chosen[code])
        sizes = sorted(points)
        values = [points[size] for size in sizes]
        series.append(Series(names[code], values, x=sizes, marked=[sizes.index(chosen[code])]))
    measured = ", ".join(sorted({curve.measured.replace("_", "-") for curve in traced.curves.values()}))
    caption = (
        f"Tokens per character of {measured} text with the first so many pieces of each language's curve; "
    )
    caption += "a mark is the allocated lexicon. Where a curve ends, the text supports no more. "
    caption += "Heights do not compare across scripts: slopes do."
    return Chart(
        "lines", "What pieces are worth", caption, series, unit="tokens per character", logarithmic=True,
        axis=f"tokens per character ({measured} text)", across="pieces in the language's own vocabulary",
        x_logarithmic=True,
    )  # fmt: skip


def _tabulate(rows: Sequence[Mapping[str, object]]) -> Table:
    """Return the rows for a reader: those of `vocabkit allocate`, by name."""
    names = name_languages(str(row["language"]) for row in rows)
    units = {"characters": "characters", "supported": "pieces", "before": "pieces", "lexicon": "pieces"}
    units |= {
        "attributed": "pieces",
        "alone": "pieces",
        "cost_before": "ratio",
        "cost": "ratio",
        "change": "share",
    }
    titles = {
        "supported": "the most pieces that the text supports", "before": "the lexicon of the baseline",
        "alone": "pieces in no other lexicon", "change": "of the cost",
    }  # fmt: skip
    made = []
    for row in rows:
        cells = [Cell(show_value(_number(row, name), unit), _number(row, name)) for name, unit in units.items()]
        limit = str(row["limited_by"] or "")
        made.append(
            Row(names[str(row["language"])], [*cells, Cell(limit, words=True)], id=str(row["language"]))
        )
    heads = [name.replace("_", " ") for name in units]
    caption = f"Pieces and costs ({rows[0]['unit']}) by language" if rows else "No language"
    return Table(caption, ["language", *heads, "limited by"], made, frozenset({"limited by"}), titles=titles)


def _list_points(made: TracedLanguages) -> Iterable[dict[str, object]]:
    for code, curve in made.curves.items():
        columns = {
            "size": curve.size,
            "log_likelihood": curve.likelihood,
            "tokens": curve.tokens,
            "log_likelihood_concave": curve.worth.value,
            "tokens_convex": -curve.saving.value,
        }
        for values in zip(*(column.tolist() for column in columns.values()), strict=True):
            yield {"language": code, "measured": curve.measured, **dict(zip(columns, values, strict=True))}


def _try_plot(result: Charted, name: str, path: Path) -> list[str]:
    """Save a chart; return what was left out, and why, where matplotlib is not installed."""
    try:
        result.plot(name).save(path)
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
            writer.writerow(format(v, digits) if isinstance(v, float) else v for v in row.values())


# --- Saturation ------------------------------------------------------------------------------------
# `vocabkit allocate --saturation`: what blocks of new pieces save, by language and size, on text held out.
#
# A block adds pieces of one language to a vocabulary that stays as it is (`fitting.blocks`). Blocks of other
# languages change next to nothing for it, so serving k languages saves what their k blocks save. Intervals
# are by bootstrap over occurrences of held-out spans: counts keep no documents, so they are too narrow where
# few documents hold many words.

SIZES = (5_000, 10_000, 25_000, 50_000)
"""Pieces a language, the sizes of the study."""


@dataclass(frozen=True, slots=True)
class BlockGain:
    """What a block saves one language: tokens of its held-out text before and after.

    `pieces` is how many the block got; `data_limited` that the text supports no more. `low` and `high` are
    the 95 % interval of `saving`, a share of `before`; the three are None where nothing is held out.
    """

    language: str
    size: int
    pieces: int
    data_limited: bool
    before: int
    after: int
    saving: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ServedGain:
    """What blocks for `served` of the tail languages save, the greatest savings first.

    `saving` is the mean over all tail languages of the share of tokens saved, 0 for those without a block;
    `tokens` what is saved in all held-out text; `pieces` what the blocks hold together.
    """

    size: int
    served: int
    language: str
    pieces: int
    data_limited: bool
    tokens: Signed
    saving: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Saturation:
    """The gains of single blocks, by language and size, and of k of them, by size and k."""

    blocks: tuple[BlockGain, ...]
    served: tuple[ServedGain, ...]


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
class SaturationReport(Charted):
    """What was measured. Rows are of `found.served`: one for each block size and number of languages served."""

    config: Config
    found: Saturation
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    counts: str

    def to_rows(self) -> list[dict[str, object]]:
        """Return what serving the first k languages saves, for each size of block."""
        return [asdict(row) for row in self.found.served]

    @property
    def summary(self) -> str:
        """How many languages there are, and how many of them ran out of text."""
        languages = {gain.language for gain in self.found.blocks}
        dry = {gain.language for gain in self.found.blocks if gain.data_limited}
        most = max((gain.size for gain in self.found.blocks), default=0)
        return f"{len(languages)} languages, {len(dry)} of them data-limited below {most:,} pieces"

    def charts(self) -> dict[str, Chart]:
        """Return the chart `saturation`: the mean saving by languages served, a line a size of block."""
        series = []
        for size in sorted({row.size for row in self.found.served}):
            rows = sorted((row for row in self.found.served if row.size == size), key=lambda row: row.served)
            low, high = [row.low for row in rows], [row.high for row in rows]
            full = [k for k, row in enumerate(rows) if not row.data_limited]
            served = [row.served for row in rows]
            saved = [row.saving for row in rows]
            series.append(Series(f"{size:,} pieces a language", saved, low, high, x=served, marked=full))
        caption = "Mean share of held-out tokens saved, over all tail languages, 0 for those not yet served. "
        caption += "Marks are languages whose text fills the block: one without a mark is data-limited. "
        caption += "Bands are 95 % intervals."
        return {
            "saturation": Chart(
                "lines", "What blocks for tail languages save", caption, series, unit="share of tokens",
                axis="held-out tokens saved (mean over the tail)",
                across="tail languages with a block of their own, the greatest saving first",
            )
        }  # fmt: skip

    def _render(self) -> str:
        """Return the page of what blocks save."""
        names = name_languages(gain.language for gain in self.found.blocks)
        rows = [
            Row(
                names[gain.language],
                [
                    *(Cell(f"{n:,}", n) for n in (gain.size, gain.pieces, gain.before, gain.after)),
                    Cell(show_value(gain.saving, "share"), gain.saving),
                    Cell("data-limited" if gain.data_limited else "", words=True),
                ],
            )
            for gain in self.found.blocks
        ]
        columns = ["language", "block", "pieces", "tokens before", "after", "saved", "text"]
        table = Table("Blocks of single languages", columns, rows, frozenset({"text"}))
        best = max(self.found.served, key=lambda row: row.saving, default=None)
        said = [Said(self.summary + ".")]
        if best is not None:
            served = f"{best.served} languages with {best.size:,} pieces each"
            said.insert(0, Said(f"{served} save {best.saving:.1%} of the tail's held-out tokens on average."))
        told = self.config.model_dump(mode="json", include={"sizes", "digits", "max_piece_length", "resamples"})
        return render_sections(
            "What blocks for tail languages save",
            [*said, *(Said(warning[:1].upper() + warning[1:], "warn") for warning in self.warnings)],
            [Section("By languages served", [self.charts()["saturation"]]), Section("By language", [table])],
            method={**{name.replace("_", " "): value for name, value in told.items()}, "counts": self.counts},
            beside={"saturation.csv": "the savings", "blocks.csv": "every block"},
        )

    def save(self, folder: str | Path, *, force: bool = False) -> list[str]:
        """Write the tables and the plot; return what was left out, and why. Raises `OutputError`."""
        with output_folder(folder, force=force) as work:
            _write_csv(work / "blocks.csv", map(asdict, self.found.blocks), "")
            _write_csv(work / "saturation.csv", map(asdict, self.found.served), "")
            write_config(self.config, work)
            (work / "report.html").write_text(self._render(), encoding="utf-8")
            notes = _try_plot(self, "saturation", work / "saturation.svg")
            config, inputs = self.config.model_dump(mode="json"), {"counts": self.counts}
            details = {"warnings": [*self.warnings, *notes]}
            write_manifest(
                work, config=config, inputs=inputs, seconds=self.seconds, seed=config["seed"], details=details
            )
        return notes

    @classmethod
    def load(cls, folder: str | Path) -> SaturationReport:
        """Read what `save` wrote. Raises `ConfigError`."""
        root, manifest, hint = Path(folder), read_manifest(folder), "make the folder again"

        def read(kind: Any, name: str) -> Any:
            return parse_record(kind, list(read_rows(root / name, ",")), root / name, ConfigError, hint)

        return cls(
            load_config(_SaturationConfig, root / "config.toml"),
            Saturation(
                read(tuple[BlockGain, ...], "blocks.csv"), read(tuple[ServedGain, ...], "saturation.csv")
            ),
            tuple(manifest.get("details", {}).get("warnings") or ()),
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

    `settings` are of a `_SaturationConfig`, such as `sizes=[5_000, 50_000]` or `tail=["yor_Latn"]`. Raises
    `ConfigError`, `CountsError`, `TokenizerError`, `FitError` and `OutputError`; then nothing is left behind.
    """
    config = validate(_SaturationConfig, lay_over({"base": str(base)}, settings), "saturation", settings)
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
    words: WordCounts, config: _SaturationConfig, report: Progress, workers: int
) -> tuple[Saturation, list[str]]:
    base, fingerprint = read_base(config.base), words.fingerprint
    codes = select_languages(words, config.languages)
    tail = _find_tail(config, codes)
    read = sorted({*codes, *base.known_weights(fingerprint)})
    digits, rule = config.digits, base.rule
    symbols = base.vocabulary.symbols
    tables = derive_spans(
        words, rule, digits, languages=read, symbols=symbols, workers=workers, progress=report
    ).languages
    held_out = derive_spans(
        words, rule, digits, languages=tail, split="held_out", symbols=symbols, progress=report
    ).languages
    usage = count_usage(base.vocabulary, tables, progress=report)
    totals = base.find_totals(usage, tail, fingerprint)
    with open_workers(config.trainer.threads or None) as pool:
        warm_kernels(pool, report)
        train = {code: tables[code] for code in tail}
        found = _fit_blocks(base, train, held_out, totals, config, pool, report)
    notes = []
    dry = {gain.language: gain.pieces for gain in found.blocks if gain.data_limited}
    if dry:
        names = ", ".join(f"{code} {most:,}" for code, most in dry.items())
        notes.append(f"data-limited, the text supports no more pieces in: {names}")
    blind = sorted({gain.language for gain in found.blocks if gain.saving is None})
    if blind:
        notes.append(f"no held-out text, counted as saving nothing: {', '.join(blind)}")
    return found, notes


def _find_tail(config: _SaturationConfig, codes: Sequence[str]) -> list[str]:
    if config.tail:
        return resolve_codes(config.tail, codes)
    panel = load_panel(config.languages.panel or DEFAULT_PANEL)
    tail = [code for code in panel.tail if code in codes]
    if not tail:
        raise ConfigError(
            f"none of the counted languages is in the tail of {panel.name}", "--set 'tail=[\"yor_Latn\"]'"
        )
    return tail


def _fit_blocks(
    base: BlockBase,
    train: Mapping[str, SpanTable],
    held_out: Mapping[str, SpanTable],
    totals: Mapping[str, float],
    config: _SaturationConfig,
    workers: Workers,
    report: Progress,
) -> Saturation:
    """Fit a block of each size for each language of `train` and count held-out tokens with it.

    `totals` are what each language's raw counts are to be divided by to be on the scale of the base's scores.
    """
    sizes = sorted(config.sizes)
    report.start("fitting blocks", len(train) * len(sizes), "blocks")
    frozen = usable_pieces(base.freeze_pieces())
    lacking = find_lacking(base.vocabulary, train)
    gains: list[BlockGain] = []
    draws: dict[tuple[str, int], Float64Array] = {}
    for code in train:
        scaled = Frozen(frozen.pieces, frozen.scores, totals[code])
        letters = choose_letters(base.vocabulary, lacking[code])
        check_letters(sizes[0], {code: len(letters)}, "sizes")
        covered = mark_characters([*frozen.pieces, *letters])
        blocks = _grow(code, train[code], covered, config, workers, scaled)
        spent = held_out.get(code)
        tokens = []
        if spent is not None and len(spent):
            tokens.append(count_span_tokens(base.vocabulary, spent))
            for _, block in blocks:
                grown = base.vocabulary.append_block(code, block.pieces, block.scores)
                tokens.append(count_span_tokens(grown, spent))
        found = _resample(spent, tokens, config, code)
        for k, (size, block) in enumerate(blocks):
            gain, draws[code, size] = _compare(code, size, block, found, k)
            gains.append(gain)
        report.advance(len(blocks))
    report.finish()
    served = [row for size in sizes for row in _accumulate(gains, draws, size)]
    return Saturation(tuple(gains), tuple(served))


def _grow(
    code: str, table: SpanTable, covered: BoolArray, config: _SaturationConfig, workers: Workers, frozen: Frozen
) -> list[tuple[int, FittedBlock]]:
    """Return a block per size; once the text runs dry, larger sizes have the same one."""
    floors, options = config.trainer.floors, choose_options(config.trainer)
    lexicon = build_lexicon({code: table}, covered, workers)
    found = find_substrings(lexicon, workers, longest=config.max_piece_length, floor=floors[-1])
    blocks: list[tuple[int, FittedBlock]] = []
    for size in sorted(config.sizes):
        if blocks and len(blocks[-1][1].pieces) < blocks[-1][0]:
            blocks.append((size, blocks[-1][1]))
            continue
        block = fit_block(lexicon, found, size, workers, frozen, floors=floors, options=options)
        blocks.append((size, block))
    return blocks


def _resample(
    spent: SpanTable | None, tokens: Sequence[Int64Array], config: _SaturationConfig, code: str
) -> tuple[Int64Array, Int64Array] | None:
    """Return tokens of a held-out text with the base, then with each block: of the text, and of every resample.

    Occurrences are drawn anew: a Poisson number of each span.
    """
    if spent is None or not tokens:
        return None
    table = np.stack(tokens)
    draw = np.random.default_rng([config.seed, *code.encode()])
    drawn = np.empty((config.resamples, len(tokens)), np.int64)
    for k in range(config.resamples):
        drawn[k] = table @ draw.poisson(spent.count)
    return table @ spent.count, drawn


def _compare(
    code: str, size: int, block: FittedBlock, sums: tuple[Int64Array, Int64Array] | None, index: int
) -> tuple[BlockGain, Float64Array]:
    """Return the gain of one block, and its saving in every resample."""
    pieces, dry = len(block.pieces), len(block.pieces) < size
    if sums is None:
        return BlockGain(code, size, pieces, dry, 0, 0, None, None, None), np.zeros(0)
    text, drawn = sums
    before, after = int(text[0]), int(text[1 + index])
    saved = 1.0 - drawn[:, 1 + index] / np.maximum(drawn[:, 0], 1)
    low, high = np.percentile(saved, [2.5, 97.5]).tolist() if len(saved) else (None, None)
    saving = 1.0 - after / before
    return BlockGain(code, size, pieces, dry, before, after, saving, low, high), saved


def _accumulate(
    gains: Sequence[BlockGain], draws: Mapping[tuple[str, int], Float64Array], size: int
) -> list[ServedGain]:
    """Serve the languages of one block size one after the other, the greatest saving first."""
    rows = [gain for gain in gains if gain.size == size]
    rows.sort(key=lambda gain: (-(gain.saving or 0.0), gain.language))
    found = []
    tokens = pieces = 0
    saving = 0.0
    drawn: Float64Array | None = None
    for k, gain in enumerate(rows, start=1):
        tokens += gain.before - gain.after
        pieces += gain.pieces
        saving += (gain.saving or 0.0) / len(rows)
        own = draws[gain.language, size]
        if len(own):
            drawn = own / len(rows) if drawn is None else drawn + own / len(rows)
        low, high = (None, None) if drawn is None else np.percentile(drawn, [2.5, 97.5]).tolist()
        found.append(ServedGain(size, k, gain.language, pieces, gain.data_limited, tokens, saving, low, high))
    return found
