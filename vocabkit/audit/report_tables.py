"""The tables of the report: which figures stand in which row and column. Rows are sorted worst first.

Says nothing of how a table looks; how a single value is written and shaded is in `report_cells`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from vocabkit.audit.figures import Audit, Finding
from vocabkit.audit.report_cells import (
    MISSING,
    Cell,
    NoteMarks,
    describe,
    find_best,
    make_cell,
    rank_names,
    span_counts,
)

# What a report opens with: the first of these that has a value for some language.
HEADLINES = ("premium", "fertility", "tokens_per_grapheme")


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its heading, and a cell for each column after the first."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a short title and its caption.

    `notes` say what the marks in the cells mean; one without a mark is of every cell.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[tuple[str, str], ...] = ()
    shaded: bool = False
    wide: frozenset[str] = field(default_factory=frozenset)


def find_headline(audit: Audit) -> str | None:
    """Return the metric to rank languages by: premium where lines are aligned, else fertility."""
    measured = {f.metric for f in audit.select(scope="language") if f.value is not None}
    return next((metric for metric in HEADLINES if metric in measured), None)


def tabulate_metric(
    audit: Audit,
    metric: str,
    scope: str,
    *,
    first: str,
    intervals: bool = False,
    names: Collection[str] | None = None,
    shaded: bool = True,
) -> Table | None:
    """Return one metric in one scope: a row a name, a column a tokenizer, worst first.

    `first` is the heading of the names, of which only `names` get a row where they are given. None where
    the audit holds no such figure.
    """
    figures = list(audit.select(metric=metric, scope=scope))
    if names is not None:
        figures = [figure for figure in figures if figure.name in names]
    if not figures:
        return None
    tokenizers = tuple(item.name for item in audit.tokenizers)
    found = {(figure.name, figure.tokenizer): figure for figure in figures}
    ranked = rank_names(figures)
    best = find_best(figures) if shaded else None
    marks = NoteMarks(figures)
    rows = []
    for name in ranked:
        present = [found.get((name, tokenizer)) for tokenizer in tokenizers]
        rows.append(Row(name, tuple(make_cell(f, best, marks, intervals) for f in present)))
    head = figures[0]
    title = f"{describe(metric)} by {first}"
    caption = f"{describe(metric)}: {head.unit}, {head.aggregation}"
    return Table(title, caption, (first, *tokenizers), tuple(rows), marks.listed(), shaded)


def tabulate_scope(
    audit: Audit, scope: str, name: str, caption: str, *, headline: str | None = None
) -> Table | None:
    """Return every metric of one name: a row a metric, a column a tokenizer; those of `headline` come first."""
    figures = list(audit.select(scope=scope, name=name))
    if not figures:
        return None
    names = tuple(item.name for item in audit.tokenizers)
    found = {(figure.metric, figure.tokenizer): figure for figure in figures}
    marks = NoteMarks(figures)
    rows = []
    metrics = dict.fromkeys(figure.metric for figure in figures)
    for metric in sorted(metrics, key=lambda metric: metric.split(".")[0] != headline):
        present = [found.get((metric, tokenizer)) for tokenizer in names]
        given = next(figure for figure in present if figure is not None)
        cells = [make_cell(figure, None, marks, True) for figure in present]
        how = f"{given.unit}; {given.aggregation}"
        rows.append(
            Row(describe(metric), (*cells, Cell(span_counts(present)), Cell(how, wide=True)))
        )
    columns = ("metric", *names, "n", "unit; how")
    return Table(
        caption, caption, columns, tuple(rows), marks.listed(), wide=frozenset({"unit; how"})
    )


def tabulate_groups(audit: Audit, metrics: Sequence[str], scope: str) -> Table | None:
    """Return aggregated metrics of every name of a scope: a column a metric and tokenizer, and n."""
    chosen = [f for metric in metrics for f in audit.select(metric=metric, scope=scope)]
    if not chosen:
        return None
    names = [item.name for item in audit.tokenizers]
    columns = [(metric, tokenizer) for metric in metrics for tokenizer in names]
    found = {(f.name, f.metric, f.tokenizer): f for f in chosen}
    marks = NoteMarks(chosen)
    rows = []
    for name in rank_names([f for f in chosen if f.metric == chosen[0].metric]):
        present = [found.get((name, *column)) for column in columns]
        cells = [make_cell(figure, None, marks, True) for figure in present]
        rows.append(Row(name, (Cell(span_counts(present)), *cells)))
    headings = [f"{describe(metric)}, {tokenizer}" for metric, tokenizer in columns]
    title = f"By {scope}"
    return Table(title, title, (scope, "n", *headings), tuple(rows), marks.listed())


def tabulate_checks(audit: Audit, family: str) -> Table | None:
    """Return the findings called `family: part`: a row a part, a column a tokenizer, what was found."""
    names = tuple(item.name for item in audit.tokenizers)
    found: dict[str, dict[str, Finding]] = {}
    for finding in audit.findings:
        kind, separator, part = finding.check.partition(": ")
        if separator and kind == family:
            found.setdefault(part, {})[finding.tokenizer] = finding
    if not found:
        return None
    rows = [
        Row(part, tuple(_judge(cells.get(name)) for name in names)) for part, cells in found.items()
    ]
    title = family.capitalize()
    return Table(title, title, (family, *names), tuple(rows), wide=frozenset(names))


def _judge(finding: Finding | None) -> Cell:
    if finding is None:
        return Cell(MISSING, wide=True)
    said = "" if finding.severity in ("fine", "note") else f"{finding.severity}: "
    return Cell(f"{said}{finding.note}", wide=True)


def list_unranked(audit: Audit, metric: str) -> dict[str, list[str]]:
    """Return for each tokenizer the languages that have no value, which are often the worst served."""
    unranked: dict[str, list[str]] = {}
    for figure in audit.select(metric=metric, scope="language"):
        if figure.value is None:
            unranked.setdefault(figure.tokenizer, []).append(figure.name)
    return unranked
