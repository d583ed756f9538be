"""What an audit says, as plain rows: figures, findings about a vocabulary, warnings about text.

One long table holds every figure of every tokenizer, so that a reader filters instead of learning a layout.
A value is None where there is nothing to measure, never 0.0; `note` says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import duckdb

from vocabkit.core.errors import CorpusError

if TYPE_CHECKING:
    import pandas as pd

Scope = Literal[
    "language", "script", "group", "branch", "resource", "tail", "overall", "vocabulary"
]
Severity = Literal["fine", "note", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One value with its 95 % interval, unit, sample size and the way it was aggregated.

    `name` is what `scope` says it is: a language code, a script, a study group; `all` overall. `n` counts the
    lines, languages, words or pieces behind the value.
    """

    tokenizer: str
    scope: Scope
    name: str
    metric: str
    value: float | None
    unit: str
    aggregation: str
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check of a vocabulary found: `count` of `total`, with tokens made safe to print."""

    tokenizer: str
    check: str
    severity: Severity
    count: int | None
    total: int | None
    note: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Warned:
    """Something about a language's text that makes its figures doubtful. `share` is of `total`."""

    language: str
    check: str
    share: float | None
    count: int
    total: int
    note: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Audited:
    """One audited tokenizer: its short name in the tables, where it lies and how large it is."""

    name: str
    path: str
    size: int
    style: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Audit:
    """All that an audit found. `method` says how, in a reader's words: segmenter, reference, versions.

    `failures` are languages (or `tokenizer: language`) that could not be measured, with the reason.
    """

    figures: tuple[Figure, ...]
    tokenizers: tuple[Audited, ...]
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Warned, ...] = ()
    method: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    def select(
        self,
        *,
        metric: str | None = None,
        scope: str | None = None,
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

    def save(self, folder: Path) -> None:
        """Write audit.parquet (the figures) and audit.json (the rest) into an existing folder."""
        frame = self.to_frame()
        for key in ("value", "low", "high"):
            frame[key] = frame[key].astype("float64")
        frame["n"] = frame["n"].astype("Int64")
        target = str(folder / "audit.parquet").replace("'", "''")
        with duckdb.connect() as connection:
            connection.register("figures", frame)
            connection.execute(
                f"COPY (SELECT * FROM figures) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
            )
        rest = {
            "schema": "vocabkit.audit/1",
            "tokenizers": [asdict(item) for item in self.tokenizers],
            "findings": [asdict(item) for item in self.findings],
            "warnings": [asdict(item) for item in self.warnings],
            "method": dict(self.method),
            "failures": dict(self.failures),
        }
        text = json.dumps(rest, ensure_ascii=False, indent=1) + "\n"
        # A path may hold bytes that are no UTF-8: Python has them as lone surrogates.
        (folder / "audit.json").write_bytes(text.encode("utf-8", "backslashreplace"))

    @classmethod
    def load(cls, folder: str | Path) -> Audit:
        """Read what `save` wrote. Raises CorpusError naming what is missing or damaged."""
        source = Path(folder)
        try:
            rest = json.loads((source / "audit.json").read_text(encoding="utf-8"))
            target = str(source / "audit.parquet").replace("'", "''")
            names = ", ".join(item.name for item in fields(Figure))
            with duckdb.connect() as connection:
                rows = connection.execute(f"SELECT {names} FROM '{target}'").fetchall()
            return cls(
                tuple(Figure(*row) for row in rows),
                tuple(Audited(**item) for item in rest["tokenizers"]),
                tuple(_thaw(Finding, item) for item in rest["findings"]),
                tuple(_thaw(Warned, item) for item in rest["warnings"]),
                rest["method"],
                rest["failures"],
            )
        except (OSError, ValueError, KeyError, TypeError, duckdb.Error) as error:
            raise CorpusError(
                f"{source}: not an audit: {str(error).splitlines()[0]}",
                "make one with `vocabkit audit TOKENIZER --corpus DIR -o DIR`",
            ) from error


_T = TypeVar("_T", Finding, Warned)


def _thaw(kind: type[_T], item: dict[str, Any]) -> _T:
    return kind(**{**item, "examples": tuple(item.get("examples", ()))})
