"""An audit as a whole: its rows, its folder, and the page that shows it.

The page is one HTML file: no network, no library to load, nothing left unescaped. Text warnings come first,
because they decide which figures to trust. Every chart has its numbers in a table. What is measured is decided
elsewhere; this keeps and arranges it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import operator
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import duckdb
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vocabkit.auditing.charts import Spot, draw_ranking, draw_scatter
from vocabkit.auditing.composition import UNDER
from vocabkit.auditing.figures import Audited, Figure, Finding, Warned
from vocabkit.auditing.metrics import (
    COMMON_SUFFIX,
    LOST,
    LOST_CHARACTERS,
)
from vocabkit.auditing.requirements import ALLOCATION, Outcome, Requirement, check_requirements
from vocabkit.core.errors import CorpusError, first_line, shorten_names
from vocabkit.core.folders import output_folder, read_json, write_manifest
from vocabkit.core.records import parse_record
from vocabkit.core.results import Mark, Result
from vocabkit.vocabulary.tokenizers import takes_pattern

if TYPE_CHECKING:
    import pandas as pd

# --- Audit -----------------------------------------------------------------------------------------

# What is ranked first: the first of these that has a value for some language.
HEADLINES = ("premium", "fertility", "tokens_per_grapheme")


@dataclass(frozen=True, slots=True)
class Audit(Result):
    """All that an audit found. `method` says how, in a reader's words: segmenter, reference, versions.

    `failures` are languages (or `tokenizer: language`) that could not be measured, with the reason; `required`
    is what was asked to hold; `origin` what `write_manifest` takes: settings, inputs, seconds, seed. The last
    two are not read back by `load`.
    """

    figures: tuple[Figure, ...]
    tokenizers: tuple[Audited, ...]
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Warned, ...] = ()
    method: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    required: tuple[Requirement, ...] = field(default=(), compare=False)
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def names(self) -> list[str]:
        """The short names of the tokenizers, in order."""
        return [item.name for item in self.tokenizers]

    def select(
        self,
        metric: str | None = None,
        scope: str | None = None,
        *,
        tokenizer: str | None = None,
        name: str | None = None,
    ) -> Iterator[Figure]:
        """Yield the figures that agree with everything given, in their order."""
        wanted = {"metric": metric, "scope": scope, "tokenizer": tokenizer, "name": name}
        given = [(key, value) for key, value in wanted.items() if value is not None]
        for figure in self.figures:
            if all(getattr(figure, key) == value for key, value in given):
                yield figure

    def to_frame(self) -> pd.DataFrame:
        """Return the figures as a tidy pandas table, one row a figure."""
        import pandas as pd

        columns = [item.name for item in fields(Figure)]
        return pd.DataFrame([asdict(figure) for figure in self.figures], columns=columns)

    def to_rows(self, *, marked: bool = False) -> list[dict[str, object]]:
        """Return a row a language by the headline metric, the worst first; then mean and bottom decile.

        Each row has a column a tokenizer, None where there is no value; `note` says why, where text is lost.
        Where a mean leaves languages out, `languages` says over how many of them each tokenizer's is, and a row
        `mean_common` is over those that every tokenizer has. `marked` is for a reader: both stand in the cells,
        as `lost` and `1.31 (6 of 15)`.
        """
        headline = _find_headline(self)
        if headline is None:
            return []
        rows: list[dict[str, object]] = []
        reach = _find_reach(self)
        figures = list(self.select(headline, "language"))
        for code, found in _pivot(figures, reach.rank_names(figures), self.names).items():
            gaps = {name: reach.name_gap(name, code) for name in self.names}
            row: dict[str, object] = {"language": code, "metric": headline}
            for name, figure in zip(self.names, found, strict=True):
                value = figure and figure.value
                row[name] = Mark(gaps[name]) if marked and value is None and gaps[name] else value
            notes = [
                f"{figure.tokenizer}: {figure.note}"
                for figure in found
                if figure is not None and figure.value is None and gaps[figure.tokenizer]
            ]
            rows.append(row if marked or not notes else {**row, "note": "; ".join(notes)})
        for metric in _list_averages(self, reach, headline):
            overall = {f.tokenizer: f for f in self.select(metric, "overall")}
            if not overall:
                continue
            row = {"language": "all", "metric": metric}
            row |= {name: None if (f := overall.get(name)) is None else f.value for name in self.names}
            if reach.is_partial(overall.values()):
                over = {name: reach.count(figure) for name, figure in overall.items()}
                if not marked:
                    row["languages"] = over
                else:
                    row |= {
                        name: Mark(f"{'–' if f.value is None else format(f.value, '.4g')} ({over[name]})")
                        for name, f in overall.items()
                    }
            rows.append(row)
        return rows

    def list_doubts(self) -> list[str]:
        """Return what makes figures doubtful, in a line each.

        That is a pattern given in vain, what reading a tokenizer turned off or took for granted, what has no
        value, characters lost by language, and text that looks wrong.
        """
        headline = _find_headline(self)
        unranked = {} if headline is None else _list_unranked(self, headline)
        doubts = []
        if self.origin.get("config", {}).get("pattern") is not None:
            said = "--pattern does nothing: its file says how text is split"
            paths = [item.path for item in self.tokenizers]
            doubts += [f"{path}: {said}" for path in paths if not takes_pattern(path)]
        doubts += [f"{item.path}: {note}" for item in self.tokenizers for note in item.notes]
        doubts += [f"{name} was not measured: {reason}" for name, reason in self.failures.items()]
        doubts += [
            f"no {headline} with {name} for {shorten_names(codes)}: report.html says why"
            for name, codes in unranked.items()
        ]
        doubts += _list_losses(self)
        for check in dict.fromkeys(item.check for item in self.warnings):
            codes = sorted(item.language for item in self.warnings if item.check == check)
            doubts.append(f"text of {shorten_names(codes)}: {check}; see report.html before its figures")
        return doubts

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes of all that is `required`. Raises ConfigError for what is not measured."""
        return check_requirements(self.figures, self.failures, self.names, self.required)

    @property
    def failed(self) -> list[Outcome]:
        """The outcomes of what is `required` that do not hold. Raises ConfigError for what is not measured."""
        return [one for one in self.outcomes if not one.met]

    def save(self, folder: str | Path, *, force: bool = False, pages: Mapping[str, str] | None = None) -> None:
        """Write a folder: audit.parquet (the figures), audit.json, report.html and manifest.json.

        `pages` are more of them, by file. Raises OutputError where the folder is not empty, unless `force`
        replaces it. There is no manifest of an audit whose `origin` is not known, such as one that was loaded.
        """
        with output_folder(folder, force=force) as work:
            self._write(work)
            _write_report(self, work)
            for name, text in (pages or {}).items():
                (work / name).write_text(text, encoding="utf-8")
            if self.origin:
                write_manifest(work, **self.origin)

    def _write(self, folder: Path) -> None:
        frame = self.to_frame()
        for key in ("value", "low", "high"):
            frame[key] = frame[key].astype("float64")
        frame["n"] = frame["n"].astype("Int64")
        target = str(folder / "audit.parquet").replace("'", "''")
        with duckdb.connect() as connection:
            connection.register("figures", frame)
            connection.execute(f"COPY (SELECT * FROM figures) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
        rest = {
            "schema": "vocabkit.audit/1",
            "tokenizers": [
                {key: value for key, value in asdict(item).items() if key != "notes" or value}
                for item in self.tokenizers
            ],
            "findings": list(map(asdict, self.findings)),
            "warnings": list(map(asdict, self.warnings)),
            "method": dict(self.method),
            "failures": dict(self.failures),
        }
        text = json.dumps(rest, ensure_ascii=False, indent=1) + "\n"
        # A path may hold bytes that are no UTF-8: Python has them as lone surrogates.
        (folder / "audit.json").write_bytes(text.encode("utf-8", "replace"))

    @classmethod
    def load(cls, folder: str | Path) -> Audit:
        """Read what `save` wrote. Raises CorpusError naming what is missing or damaged."""
        path = Path(folder) / "audit.json"
        said = parse_record(_Said, read_json(path, CorpusError, _MAKE_ONE), path, CorpusError, _MAKE_ONE)
        return cls(
            load_figures(folder), said["tokenizers"], said["findings"], said["warnings"], said["method"],
            said["failures"],
        )  # fmt: skip


class _Said(TypedDict):
    """What audit.json holds."""

    tokenizers: tuple[Audited, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[Warned, ...]
    method: dict[str, Any]
    failures: dict[str, str]


def load_figures(path: str | Path) -> tuple[Figure, ...]:
    """Read the figures of an audit from its folder or its audit.parquet.

    Raises CorpusError for another file, a damaged one, and a figure of another type.
    """
    source = Path(path)
    file = source / "audit.parquet" if source.is_dir() else source
    names = [item.name for item in fields(Figure)]
    target = str(file).replace("'", "''")
    try:
        if not file.is_file():
            raise ValueError("there is no audit.parquet")
        with duckdb.connect() as connection:
            rows = connection.execute(f"SELECT {', '.join(names)} FROM read_parquet('{target}')").fetchall()
    except (duckdb.Error, OSError, ValueError) as error:
        raise CorpusError(f"{source}: not an audit: {first_line(error)}", _MAKE_ONE) from error
    content = [dict(zip(names, row, strict=True)) for row in rows]
    return parse_record(tuple[Figure, ...], content, file, CorpusError, _MAKE_ONE)  # type: ignore[no-any-return]


_MAKE_ONE = "make one with `vocabkit audit TOKENIZER --corpus DIR -o DIR`"


def _find_headline(audit: Audit) -> str | None:
    """Return the metric to rank languages by: premium where lines are aligned, else fertility."""
    measured = {f.metric for f in audit.select(scope="language") if f.value is not None}
    return next((metric for metric in HEADLINES if metric in measured), None)


def _list_unranked(audit: Audit, metric: str) -> dict[str, list[str]]:
    """Return for each tokenizer the languages that have no value, which are often the worst served."""
    unranked: dict[str, list[str]] = {}
    for figure in audit.select(metric, "language"):
        if figure.value is None:
            unranked.setdefault(figure.tokenizer, []).append(figure.name)
    return unranked


# --- What figures are over --------------------------------------------------------------------------
# Means over different sets of languages do not compare: each says over how many it is, beside one over the
# languages that all tokenizers have; and where a cost is missing because text is lost, a mark says so.


@dataclass(frozen=True, slots=True)
class _Reach:
    """How many languages each group of each tokenizer has, and what languages each tokenizer loses."""

    sizes: Mapping[tuple[str, str, str], int]
    gaps: Mapping[tuple[str, str], str]

    def count(self, figure: Figure) -> str:
        """Return `6 of 15`: over how many of a group's languages a figure is; empty for other figures."""
        size = self.sizes.get((figure.tokenizer, figure.scope, figure.name))
        of_languages = figure.metric.startswith(HEADLINES) and "." in figure.metric
        return f"{figure.n or 0:,} of {size:,}" if size is not None and of_languages else ""

    def is_partial(self, figures: Iterable[Figure | None]) -> bool:
        """Return whether one of these figures, side by side, leaves a language out."""
        said = [self.count(figure).split(" of ") for figure in figures if figure is not None]
        return any(len(parts) == 2 and parts[0] != parts[1] for parts in said)

    def name_gap(self, tokenizer: str, code: str) -> str:
        """Return in a word why a language has no cost with a tokenizer: `lost`, `failed`; empty for others."""
        return self.gaps.get((tokenizer, code), "")

    def rank_names(self, figures: Sequence[Figure]) -> list[str]:
        """Return the names, the worst first: before all that have a cost those that every tokenizer loses."""
        measured = {figure.name for figure in figures if figure.value is not None}
        lost = {figure.name for figure in figures if self.explain_gap(figure)} - measured
        return sorted(_rank_names(figures), key=lambda name: name not in lost)

    def explain_gap(self, figure: Figure | None) -> str:
        """Return `lost` for a figure of a language that has no value for that reason; else nothing."""
        if figure is None or figure.scope != "language" or "lost" not in (figure.note or ""):
            return ""
        return self.name_gap(figure.tokenizer, figure.name)


def _find_reach(audit: Audit) -> _Reach:
    sizes: dict[tuple[str, str, str], int] = {
        (f.tokenizer, f.scope, f.name): f.n or 0 for f in audit.select("languages_lost")
    }
    gaps = {
        (f.tokenizer, f.name): "lost"
        for f in audit.select("unknown_characters", "language")
        if f.value is not None and f.value > LOST
    }
    failed = [name.rpartition(": ") for name in audit.failures]
    return _Reach(sizes, gaps | {(name, code): "failed" for name, _, code in failed if name})


def _list_averages(audit: Audit, reach: _Reach, headline: str | None) -> list[str]:
    """Return the averages to show: where one leaves languages out, also that over those all tokenizers have."""
    metrics = []
    for metric in (f"{headline}.mean", f"{headline}.bottom_decile"):
        metrics.append(metric)
        overall = list(audit.select(metric, "overall"))
        common = {f.tokenizer: f.n for f in audit.select(metric + COMMON_SUFFIX, "overall")}
        if reach.is_partial(overall) and any(f.n != common.get(f.tokenizer, f.n) for f in overall):
            metrics.append(metric + COMMON_SUFFIX)
    return metrics


_LOUD = 0.0001
"""The share of a language's characters above which what it loses is said, not only written down."""


def _list_losses(audit: Audit, most: int = 6) -> list[str]:
    """Return which characters each tokenizer loses of which language, the worst `most` of them in full."""
    said = []
    for name in audit.names:
        shares = {f.name: f.value for f in audit.select("unknown_characters", "language", tokenizer=name)}
        found = []
        for finding in audit.findings:
            kind, _, code = finding.check.partition(": ")
            if kind == LOST_CHARACTERS and finding.tokenizer == name and (shares.get(code) or 0.0) >= _LOUD:
                found.append(f"{name} loses characters of {code}: {finding.note}")
        said += found[:most]
        if len(found) > most:
            said.append(f"{name} loses characters of {len(found) - most} more languages: see report.html")
    return said


def _rank_names(figures: Iterable[Figure]) -> list[str]:
    """Return the names by their worst value over all tokenizers, the worst first, those without one last."""
    worst: dict[str, float] = {}
    for figure in figures:
        bad = -math.inf
        if figure.value is not None:
            bad = -figure.value if figure.metric in MORE_IS_BETTER else figure.value
        worst[figure.name] = max(worst.get(figure.name, -math.inf), bad)
    return sorted(worst, key=lambda name: (-worst[name], name))


def _pivot(
    figures: Iterable[Figure],
    rows: Iterable[str],
    columns: Sequence[Any],
    *,
    row: str = "name",
    column: Sequence[str] = ("tokenizer",),
) -> dict[str, list[Figure | None]]:
    """Return the figures of each row in the order of the columns, None where there is none.

    `row` and `column` name what of a figure says where it goes.
    """
    place = operator.attrgetter(row, *column)
    found = {place(figure): figure for figure in figures}
    keys = [item if isinstance(item, tuple) else (item,) for item in columns]
    return {name: [found.get((name, *key)) for key in keys] for name in rows}


# --- Cells -----------------------------------------------------------------------------------------
# Values as text, notes as marks, and how dark a cell is: how far its value is from the best, on a scale that
# is fixed for shares and ratios, so that small differences stay pale; the number is there beside the colour.

# Of these more is better; of every other metric of a language, less.
MORE_IS_BETTER = frozenset({
    "characters_per_token", "bytes_per_token", "words_whole", "character_coverage",
    "exemplar_coverage", "allocation_characters", "allocation_words",
})  # fmt: skip
# These say how much there is, not how good it is: they are not shaded.
AMOUNTS = frozenset({"tokens", "script_share", "resource_size"})
# Ratios of which 1 means that nothing is lost or gained, by how their names begin.
FROM_ONE = ("premium", "byte_premium", "allocation", "code_switching", "nfd_cost", "cost_of_sharing")
# Levels start at these multiples of the best value, and at these shares lost.
RATIO_LEVELS = (1.1, 1.25, 1.6, 2.0, 3.0, 5.0)
SHARE_LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)
COUNTED = frozenset({"pieces", "languages", "tokens", "parameters", "characters"})
MISSING = "–"


class _Cell(NamedTuple):
    """One value as text; `interval` and `mark` (of a note) stand beside it, `level` shades it.

    A `wide` cell holds words, not a number.
    """

    text: str
    interval: str = ""
    mark: str = ""
    level: int | None = None
    wide: bool = False


def _describe(metric: str) -> str:
    """Return a metric's name as words: `premium.bottom_decile` is `premium, bottom decile`."""
    return metric.replace("_", " ").replace(".", ", ", 1)


def _show_value(value: float | None, unit: str) -> str:
    """Return a value for a reader: shares as per cent, counts whole, everything else to three digits or so."""
    if value is None:
        return MISSING
    if _is_share(unit):
        percent = 100 * value
        number = f"{percent:.0f}" if percent >= 99.95 or percent == 0 else f"{percent:.3g}"
        return f"{number}\u00a0%"
    if abs(value) >= 1000 or (value == int(value) and unit in COUNTED):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def _is_share(unit: str) -> bool:
    """Return whether values of this unit run from 0 to 1."""
    return unit.startswith("share")


def _make_cell(
    figure: Figure | None,
    marks: _NoteMarks,
    *,
    best: float | None = None,
    interval: bool = True,
    over: str = "",
    gap: str = "",
) -> _Cell:
    """Return a figure's cell, shaded from `best` unless that is None, and with its interval if asked.

    `over` says of how many languages it is; `gap` stands in place of a value that there is not.
    """
    if figure is None:
        return _Cell(gap or MISSING)
    ends = ""
    if interval and figure.low is not None and figure.high is not None:
        ends = f"{_show_value(figure.low, figure.unit)} to {_show_value(figure.high, figure.unit)}"
    mark = marks.mark(figure.note) if figure.note else ""
    level = None if best is None else _level(figure, best)
    text = _show_value(figure.value, figure.unit) + (f" ({over})" if over else "")
    if figure.value is None and gap:
        # What has no cost because its text is lost is worse than any that has one.
        text, level = gap, None if best is None else len(RATIO_LEVELS)
    return _Cell(text, ends, mark, level)


def _span_counts(figures: Iterable[Figure | None]) -> _Cell:
    """The n of figures side by side: one number, or from the smallest to the largest where they differ."""
    counts = sorted({f.n for f in figures if f is not None and f.n is not None})
    ends = dict.fromkeys(f"{count:,}" for count in (*counts[:1], *counts[-1:]))
    return _Cell("\u00a0to\u00a0".join(ends) or MISSING)


def _find_best(figures: Sequence[Figure]) -> float:
    """Return what the shading counts from: 1 where that is neither gain nor loss, the best value otherwise."""
    values = [figure.value for figure in figures if figure.value is not None and figure.value > 0]
    if not values or figures[0].metric.startswith(FROM_ONE):
        return 1.0
    return max(values) if figures[0].metric in MORE_IS_BETTER else min(values)


def _level(figure: Figure, best: float) -> int | None:
    if figure.value is None:
        return None
    inverse = figure.metric in MORE_IS_BETTER
    if _is_share(figure.unit):
        return bisect_right(SHARE_LEVELS, 1 - figure.value if inverse else figure.value)
    if figure.value <= 0:
        return len(RATIO_LEVELS) if inverse else 0
    return bisect_right(RATIO_LEVELS, best / figure.value if inverse else figure.value / best)


class _NoteMarks:
    """Letters for the notes of a table, each said once under it; no letter for one of every cell."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        notes = {figure.note for figure in figures}
        common = notes.pop() if len(notes) == 1 else None
        self._letters = {common: ""} if common else {}

    def mark(self, note: str) -> str:
        """Return the letter of a note, a new one the first time."""
        number = len(self._letters)
        letter = chr(ord("a") + number % 26) * (number // 26 + 1)
        return self._letters.setdefault(note, letter)

    def listed(self) -> tuple[tuple[str, str], ...]:
        """Return every letter with its note, in order."""
        return tuple((letter, note) for note, letter in self._letters.items())


# --- Tables ----------------------------------------------------------------------------------------
# Which figures stand in which row and column. Rows are sorted worst first.

GROUPS = ("script", "group", "branch", "resource", "tail")
# An ISO 15924 code; what else a part of a vocabulary is called is a script group or a kind.
SCRIPT = re.compile("[A-Z][a-z]{3}")


class _Row(NamedTuple):
    """A row: its heading, and a cell for each column after the first."""

    name: str
    cells: tuple[_Cell, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table with a short title and its caption.

    `notes` say what the marks in the cells mean; one without a mark is of every cell.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[_Row, ...]
    notes: tuple[tuple[str, str], ...] = ()
    shaded: bool = False
    wide: frozenset[str] = frozenset()


def _tabulate_metric(
    audit: Audit,
    metric: str,
    scope: str,
    *,
    first: str,
    intervals: bool = False,
    names: Collection[str] | None = None,
    shaded: bool = True,
) -> _Table | None:
    """Return one metric in one scope: a row a name, a column a tokenizer, worst first.

    `first` is the heading of the names, of which only `names` get a row where they are given. None where
    the audit holds no such figure.
    """
    figures = [f for f in audit.select(metric, scope) if names is None or f.name in names]
    if not figures:
        return None
    best = _find_best(figures) if shaded else None
    marks, reach = _NoteMarks(figures), _find_reach(audit)
    rows = []
    for name, present in _pivot(figures, reach.rank_names(figures), audit.names).items():
        cells = [_make_cell(f, marks, best=best, interval=intervals, gap=reach.explain_gap(f)) for f in present]
        rows.append(_Row(name, tuple(cells)))
    title = f"{_describe(metric)} by {first}"
    caption = f"{_describe(metric)}: {figures[0].unit}, {figures[0].aggregation}"
    return _Table(title, caption, (first, *audit.names), tuple(rows), marks.listed(), shaded)


def _tabulate_scope(
    audit: Audit, scope: str, name: str, caption: str, *, headline: str | None = None
) -> _Table | None:
    """Return every metric of one name: a row a metric, a column a tokenizer; those of `headline` come first."""
    figures = list(audit.select(scope=scope, name=name))
    if not figures:
        return None
    marks, reach = _NoteMarks(figures), _find_reach(audit)
    metrics = dict.fromkeys(figure.metric for figure in figures)
    ranked = sorted(metrics, key=lambda metric: metric.split(".")[0] != headline)
    rows = []
    for metric, present in _pivot(figures, ranked, audit.names, row="metric").items():
        given = next(filter(None, present))
        how = _Cell(f"{given.unit}; {given.aggregation}", wide=True)
        rows.append(
            _Row(_describe(metric), (*_show_averages(present, marks, reach), _span_counts(present), how))
        )
    columns, wide = ("metric", *audit.names, "n", "unit; how"), frozenset({"unit; how"})
    return _Table(caption, caption, columns, tuple(rows), marks.listed(), wide=wide)


def _show_averages(figures: Sequence[Figure | None], marks: _NoteMarks, reach: _Reach) -> list[_Cell]:
    """Return the cells of figures side by side: where one leaves a language out, all say of how many."""
    partial = reach.is_partial(figures)
    return [_make_cell(f, marks, over=reach.count(f) if partial and f is not None else "") for f in figures]


def _tabulate_groups(audit: Audit, metrics: Sequence[str], scope: str) -> _Table | None:
    """Return aggregated metrics of every name of a scope: a column a metric and tokenizer, and n."""
    chosen = [f for metric in metrics for f in audit.select(metric, scope)]
    if not chosen:
        return None
    columns = [(metric, tokenizer) for metric in metrics for tokenizer in audit.names]
    marks, reach = _NoteMarks(chosen), _find_reach(audit)
    ranked = _rank_names(f for f in chosen if f.metric == chosen[0].metric)
    pivoted = _pivot(chosen, ranked, columns, column=("metric", "tokenizer"))
    rows = tuple(
        _Row(name, (_span_counts(present), *_show_averages(present, marks, reach)))
        for name, present in pivoted.items()
    )
    headings = (scope, "n", *(f"{_describe(metric)}, {tokenizer}" for metric, tokenizer in columns))
    return _Table(f"By {scope}", f"By {scope}", headings, rows, marks.listed())


def _tabulate_checks(audit: Audit, family: str) -> _Table | None:
    """Return the findings called `family: part`: a row a part, a column a tokenizer, what was found."""
    found: dict[str, dict[str, str]] = {}
    for finding in audit.findings:
        kind, separator, part = finding.check.partition(": ")
        if separator and kind == family:
            said = "" if finding.severity in ("fine", "note") else f"{finding.severity}: "
            found.setdefault(part, {})[finding.tokenizer] = f"{said}{finding.note}"
    if not found:
        return None
    rows = tuple(
        _Row(part, tuple(_Cell(said.get(name, MISSING), wide=True) for name in audit.names))
        for part, said in found.items()
    )
    title = family.capitalize()
    return _Table(title, title, (family, *audit.names), rows, wide=frozenset(audit.names))


def _tabulate_languages(audit: Audit, headline: str | None) -> Iterator[_Table | None]:
    """Yield one table a metric, the headline metric first and with its intervals."""
    metrics = dict.fromkeys(figure.metric for figure in audit.select(scope="language"))
    for metric in sorted(metrics, key=lambda name: name != headline):
        ends, dark = metric == headline, metric not in AMOUNTS
        yield _tabulate_metric(audit, metric, "language", first="language", intervals=ends, shaded=dark)


def _tabulate_vocabulary(audit: Audit) -> Iterator[_Table | None]:
    """Yield one table for each metric that is given by script group, script or kind."""
    parts = [figure for figure in audit.select(scope="vocabulary") if figure.name != "all"]
    metrics = dict.fromkeys(figure.metric for figure in parts)
    for metric in sorted(metrics, key=lambda name: name not in ALLOCATION):
        names = {figure.name for figure in parts if figure.metric == metric}
        scripts = {name for name in names if SCRIPT.fullmatch(name)}
        for first, chosen in (("script group or kind", names - scripts), ("script", scripts)):
            shaded = metric in ALLOCATION
            yield _tabulate_metric(audit, metric, "vocabulary", first=first, names=chosen, shaded=shaded)


# --- What is drawn ---------------------------------------------------------------------------------
# Which figures are drawn, against what, and the sentence under each.

# Rows of a chart: more than a screen of them is read in the table.
CHARTED = 30


class _Chart(NamedTuple):
    """An image as SVG, with the sentence that belongs under it."""

    image: str
    caption: str


def _chart_ranking(audit: Audit, headline: str | None) -> _Chart | None:
    """Return the worst languages by the headline metric, with intervals; None without a metric."""
    if headline is None:
        return None
    figures, reach = list(audit.select(headline, "language")), _find_reach(audit)
    known = {figure.name for figure in figures if figure.value is not None or reach.explain_gap(figure)}
    names = [name for name in reach.rank_names(figures) if name in known]
    head = figures[0]
    image = draw_ranking(
        _pivot(figures, names[:CHARTED], audit.names),
        audit.names,
        title=f"{_describe(headline)} by language, the worst first",
        axis=f"{head.unit}, logarithmic",
        references={1.0: "1: no premium"} if "premium" in headline else None,
        missing="no value",
    )
    shown = f"The worst {CHARTED} of {len(names)} languages" if len(names) > CHARTED else "Languages"
    caption = f"{shown} by {_describe(headline)} ({head.unit}; {head.aggregation})."
    if any(figure.low is not None for figure in figures):
        caption += " Lines are 95 % intervals."
    if any(figure.value is None and figure.name in names for figure in figures):
        caption += " A cross at the right end: no cost is given, mostly because text is lost in unknown tokens."
    return _Chart(image, caption + _explain_zeros(figures))


def _explain_zeros(figures: Iterable[Figure]) -> str:
    zeros = any(figure.value is not None and figure.value <= 0 for figure in figures)
    return " An arrow at the left end: 0, for which a logarithmic axis has no place." if zeros else ""


def _chart_parameters(audit: Audit, headline: str | None) -> _Chart | None:
    """Return what languages pay against what the embedding costs; None below two sizes of vocabulary."""
    sizes = {f.tokenizer: f.value for f in audit.select("embedding_parameters", "vocabulary")}
    series: dict[str, list[Spot]] = {}
    reach = _find_reach(audit)
    for statistic in ("bottom_decile", "mean"):
        overall = list(audit.select(f"{headline}.{statistic}", "overall"))
        partial = reach.is_partial(overall)
        for figure in overall:
            size = sizes.get(figure.tokenizer)
            if size is not None and figure.value is not None:
                spots = series.setdefault(_describe(figure.metric), [])
                said = f"{figure.tokenizer} ({reach.count(figure)})" if partial else figure.tokenizer
                spots.append(Spot(said, size, figure.value))
    if headline is None or len({spot.x for spots in series.values() for spot in spots}) < 2:
        return None
    title, x_axis = f"{_describe(headline)} against embedding parameters", "embedding parameters, logarithmic"
    image = draw_scatter(series, title=title, x_axis=x_axis, y_axis=f"{_describe(headline)}, logarithmic")
    caption = "What languages pay against what the vocabulary costs: rows of the embedding times their width."
    return _Chart(image, caption)


def _chart_allocation(audit: Audit) -> _Chart | None:
    """Return each script group's share of the vocabulary over that of the corpus, the least served first."""
    figures = list(audit.select(ALLOCATION[0], "vocabulary"))
    names = _rank_measured(figures)
    groups = [name for name in names if not SCRIPT.fullmatch(name)] or names
    if not groups:
        return None
    image = draw_ranking(
        _pivot(figures, groups, audit.names),
        audit.names,
        title="Share of the vocabulary divided by share of the corpus, by script group",
        axis="share of vocabulary ÷ share of corpus, logarithmic",
        references={UNDER: f"{UNDER:g}", 1.0: "1"},
    )
    caption = "Share of the vocabulary divided by share of the corpus's characters, by script group. "
    caption += "Left of 0.5 a script has less than half of what its text would give it."
    return _Chart(image, caption + _explain_zeros(f for f in figures if f.name in groups))


def _chart_resources(audit: Audit) -> _Chart | None:
    """Return fertility against how much text a language has; None where the audit was given no counts."""
    resources = list(audit.select("resource_size", "language"))
    sizes, reach = {f.name: f.value for f in resources}, _find_reach(audit)
    series: dict[str, list[Spot]] = {}
    for figure in audit.select("fertility", "language"):
        size, value = sizes.get(figure.name), figure.value
        if value is None and reach.name_gap(figure.tokenizer, figure.name):
            value = math.inf
        if size is not None and value is not None:
            series.setdefault(figure.tokenizer, []).append(Spot(figure.name, size, value))
    if not series:
        return None
    unit, title = resources[0].unit, "Fertility against size of the language's text"
    x_axis, y_axis = f"{unit}, logarithmic", "tokens per word, logarithmic"
    image = draw_scatter(series, title=title, x_axis=x_axis, y_axis=y_axis)
    caption = f"Tokens per word against {unit} of each language."
    if any(spot.y == math.inf for spots in series.values() for spot in spots):
        caption += " A cross at the upper edge: no cost is given, because text is lost in unknown tokens."
    return _Chart(image, caption)


def _rank_measured(figures: Sequence[Figure]) -> list[str]:
    """Return the names with a value, the worst first."""
    measured = {figure.name for figure in figures if figure.value is not None}
    return [name for name in _rank_names(figures) if name in measured]


# --- The page --------------------------------------------------------------------------------------

# Checks of one kind by set of digits: a table of their own.
DIGITS = "digits"
SEVERITIES = ("failure", "warning", "note", "fine")


def _write_report(audit: Audit, folder: Path) -> Path:
    """Write `report.html` into an existing folder and return its path. Equal audits give equal bytes."""
    target = folder / "report.html"
    # A path may hold bytes that are no text; they are shown escaped.
    target.write_bytes(_render_report(audit).encode("utf-8", errors="backslashreplace"))
    return target


def _render_report(audit: Audit) -> str:
    """Return the whole page. Its script and style are named by digest in its policy: no other can run."""
    loader = PackageLoader("vocabkit.auditing", "report_parts")
    pages = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    pages.filters["value"] = _show_value
    script, style = (loader.get_source(pages, name)[0] for name in ("report.js", "report.css"))
    headline = _find_headline(audit)
    averaged = _list_averages(audit, _find_reach(audit), headline)
    groups = (_tabulate_groups(audit, averaged, scope) for scope in GROUPS)
    overall = _tabulate_scope(audit, "overall", "all", "All languages together", headline=headline)
    apart = (f"{DIGITS}: ", f"{LOST_CHARACTERS}: ")
    others = [found for found in audit.findings if not found.check.startswith(apart)]
    return pages.get_template("report.html").render(
        audit=audit,
        script=Markup(script),
        style=Markup(style),
        digests={"script": _digest(script), "style": _digest(style)},
        headline=None if headline is None else _describe(headline),
        overall=overall,
        price=_chart_parameters(audit, headline),
        ranking=_chart_ranking(audit, headline),
        unranked={} if headline is None else _list_unranked(audit, headline),
        languages=list(filter(None, _tabulate_languages(audit, headline))),
        groups=list(filter(None, groups)),
        vocabulary=_tabulate_scope(audit, "vocabulary", "all", "Each vocabulary as a whole"),
        allocation=_chart_allocation(audit),
        scripts=list(filter(None, _tabulate_vocabulary(audit))),
        resource=_chart_resources(audit),
        findings=_sort_findings(others),
        digits=_tabulate_checks(audit, DIGITS),
        lost=_tabulate_checks(audit, LOST_CHARACTERS),
    )


def _sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with failures first; those of equal severity keep their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _digest(text: str) -> str:
    """Return the digest of an inline script or style as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
