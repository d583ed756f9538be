"""An audit as a whole: its rows, its folder, and what makes its figures doubtful.

What is measured is decided elsewhere, and how it looks in `page`; this keeps it, writes it and reads it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import duckdb

from vocabkit.auditing.definitions import (
    find_headline,
    find_reach,
    list_averages,
    list_unranked,
    pivot,
)
from vocabkit.auditing.figures import Audited, Figure, Finding, Sentence, Spoken, Warned
from vocabkit.auditing.metrics import LOST_CHARACTERS
from vocabkit.auditing.page import list_charts, render_report
from vocabkit.auditing.requirements import Outcome, Requirement, check_requirements
from vocabkit.core.errors import CorpusError, first_line, shorten_names
from vocabkit.core.folders import output_folder, read_json, write_manifest
from vocabkit.core.pages import Chart, Table
from vocabkit.core.plots import Charted
from vocabkit.core.records import parse_record
from vocabkit.core.results import Mark
from vocabkit.vocabulary.tokenizers import takes_pattern

if TYPE_CHECKING:
    import pandas as pd

# --- Audit -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audit(Charted):
    """All that an audit found. `method` says how, in a reader's words: segmenter, reference, versions.

    `failures` are languages (or `tokenizer: language`) that could not be measured, with the reason; `required`
    is what was asked to hold; `origin` what `write_manifest` takes: settings, inputs, seconds, seed. The last
    two are not read back by `load`. `sentences` are a few lines of each language with their tokens.
    """

    figures: tuple[Figure, ...]
    tokenizers: tuple[Audited, ...]
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Warned, ...] = ()
    method: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    languages: tuple[Spoken, ...] = ()
    sentences: tuple[Sentence, ...] = ()
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
        headline = find_headline(self)
        if headline is None:
            return []
        rows: list[dict[str, object]] = []
        reach = find_reach(self)
        figures = list(self.select(headline, "language"))
        for code, found in pivot(figures, reach.rank_names(figures), self.names).items():
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
        for metric in list_averages(self.select, reach, headline):
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

    def charts(self) -> Mapping[str, Chart | Table]:
        """Return the charts of the page that there is something to draw in.

        `languages` (who pays what, with intervals) and `table` (the same in cells); `words` that fit into 8k
        tokens and the `price` of the same text; `resources` and `parameters`, what costs are against;
        `scripts`, `lengths` and `allocation` of the vocabularies.
        """
        return list_charts(self)

    def list_doubts(self, page: str = "report.html") -> list[str]:
        """Return what makes figures doubtful, in a line each; `page` is where there is more.

        That is a pattern given in vain, what reading a tokenizer turned off or took for granted, what has no
        value, characters lost by language, and text that looks wrong.
        """
        headline = find_headline(self)
        unranked = {} if headline is None else list_unranked(self, headline)
        doubts = []
        if self.origin.get("config", {}).get("pattern") is not None:
            said = "--pattern does nothing: its file says how text is split"
            paths = [item.path for item in self.tokenizers]
            doubts += [f"{path}: {said}" for path in paths if not takes_pattern(path)]
        doubts += [f"{item.path}: {note}" for item in self.tokenizers for note in item.notes]
        doubts += [f"{name} was not measured: {reason}" for name, reason in self.failures.items()]
        doubts += [
            f"no {headline} with {name} for {shorten_names(codes)}: {page} says why"
            for name, codes in unranked.items()
        ]
        doubts += _list_losses(self, page)
        for check in dict.fromkeys(item.check for item in self.warnings):
            codes = sorted(item.language for item in self.warnings if item.check == check)
            doubts.append(
                f"text of {shorten_names(codes)}: {check.replace('_', ' ')}; see {page} before its figures"
            )
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
            (work / "report.html").write_text(render_report(self), encoding="utf-8")
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
            "languages": list(map(asdict, self.languages)),
            "sentences": list(map(asdict, self.sentences)),
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
            said["failures"], said.get("languages", ()), said.get("sentences", ()),
        )  # fmt: skip


class _Said(TypedDict):
    """What audit.json holds."""

    tokenizers: tuple[Audited, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[Warned, ...]
    method: dict[str, Any]
    failures: dict[str, str]
    languages: NotRequired[tuple[Spoken, ...]]
    sentences: NotRequired[tuple[Sentence, ...]]


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


_LOUD = 0.0001
"""The share of a language's characters above which what it loses is said, not only written down."""


def _list_losses(audit: Audit, page: str, most: int = 6) -> list[str]:
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
            said.append(f"{name} loses characters of {len(found) - most} more languages: see {page}")
    return said
