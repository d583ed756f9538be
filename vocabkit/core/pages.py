"""Pages that people read: one HTML file each, that needs no network and runs nothing but its own script.

A page is a template that extends `frame.html`; charts are described here and drawn by `page.js` at the width
there is, so that they scale, answer to filters and themes, and are saved as SVG or PNG. Script and style are
named by digest in the page's policy, and everything else is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

MISSING = "–"
"""What stands where there is no value: never 0."""
COUNTED = frozenset({"pieces", "languages", "tokens", "parameters", "characters", "words", "lines", "rows"})
Kind = Literal["dots", "bars", "stack", "lines", "spots"]

# --- What a page shows -----------------------------------------------------------------------------


class Series(NamedTuple):
    """One series of a chart: a value a label, None where there is none, with the ends of its intervals.

    `x` are its own places for `lines` and `spots`, where there are no labels; `names` say what a spot is, and
    `gaps` why there is no value (`lost`). `marked` are the points of a curve that are to be seen on it.
    """

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    x: Sequence[float] = ()
    names: Sequence[str] = ()
    gaps: Sequence[str] = ()
    marked: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """What `page.js` draws: `dots` and `bars` have a row a label, `stack` adds series to a whole in each row.

    `lines` and `spots` are of numbers against numbers. `unit` decides how values are written: a `share…` as per
    cent. `axis` names the values, `across` the other axis; `logarithmic` is of the values, `x_logarithmic` of
    the other. `marks` are values with a line and a name of their own; `signed` values are changes, and more has
    a plus. `ids` tell the page's filters what each label is. Where there is no value, its mark is at the worse
    end: the right one unless `more_is_better`.
    """

    kind: Kind
    title: str
    caption: str
    series: Sequence[Series]
    labels: Sequence[str] = ()
    ids: Sequence[str] = ()
    unit: str = "ratio"
    axis: str = ""
    across: str = ""
    logarithmic: bool = False
    x_logarithmic: bool = False
    marks: Mapping[float, str] = field(default_factory=dict)
    signed: bool = False
    more_is_better: bool = False

    def to_json(self) -> Markup:
        """Return what the page holds of it."""
        told = {
            "kind": self.kind, "title": self.title, "labels": self.labels, "ids": self.ids, "unit": self.unit,
            "axis": self.axis, "across": self.across, "log": self.logarithmic, "xlog": self.x_logarithmic,
            "signed": self.signed,
            "more": self.more_is_better,
            "marks": [[value, name] for value, name in self.marks.items()],
            "series": [
                {key: part for key, part in one._asdict().items() if key in ("name", "values") or part}
                for one in self.series
            ],
        }  # fmt: skip
        return embed_json(told)


class Cell(NamedTuple):
    """One cell of a table: text, and the number that it is sorted by; `title` is said on pointing at it.

    `level`, 0 to 6, shades it; a cell of `words` is set to the left.
    """

    text: str
    value: float | None = None
    title: str = ""
    level: int | None = None
    words: bool = False


class Row(NamedTuple):
    """A row: its heading, and a cell for each column after the first.

    `id` is for the page's filters; `title` is said on pointing at the heading, which leads to `link`, an id.
    """

    name: str
    cells: Sequence[Cell]
    id: str = ""
    title: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption; `words` are the columns that hold text. `titles` explain a column's heading."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    words: frozenset[str] = frozenset()
    notes: Sequence[str] = ()
    titles: Mapping[str, str] = field(default_factory=dict)


class Said(NamedTuple):
    """A sentence of a verdict: `good`, `warn` or `bad` by its tone, or neither."""

    text: str
    tone: Literal["", "good", "warn", "bad"] = ""


class Section(NamedTuple):
    """A part of a page: charts and tables under a heading, with a sentence before them."""

    title: str
    parts: Sequence[Chart | Table]
    text: str = ""


def show_value(value: float | None, unit: str) -> str:
    """Return a value for a reader: shares as per cent, counts whole, everything else to three digits or so.

    >>> show_value(0.1234, "share of tokens"), show_value(None, "ratio"), show_value(2.345, "ratio")
    ('12.3\\xa0%', '–', '2.35')
    """
    if value is None:
        return MISSING
    if is_share(unit):
        percent = 100 * value
        number = f"{percent:.0f}" if percent >= 99.95 or percent == 0 else f"{percent:.3g}"
        return f"{number}\u00a0%"
    if abs(value) >= 1000 or (value == int(value) and unit in COUNTED):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def is_share(unit: str) -> bool:
    """Return whether values of this unit are shares of something, 0.02 for two per cent."""
    return unit.startswith("share")


# --- The page --------------------------------------------------------------------------------------


def embed_json(content: object) -> Markup:
    """Return JSON to stand in a `<script type="application/json">`; numbers have six digits.

    Nothing in it can end the script: `<` is escaped, and `render_page` escapes what is no text.
    """
    text = json.dumps(_round(content), separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _round(content: Any) -> Any:
    if isinstance(content, float):
        short = float(f"{content:.6g}")
        return int(short) if short == int(short) and abs(short) < 1e15 else short
    if isinstance(content, Mapping):
        return {key: _round(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_round(value) for value in content]
    return content


def render_sections(
    title: str,
    verdict: Sequence[Said],
    sections: Sequence[Section],
    *,
    method: Mapping[str, object],
    beside: Mapping[str, str] | None = None,
) -> str:
    """Return a page that says its verdict first, then draws its sections and tells how it was made.

    `beside` are files in the same folder with the words that they are offered by.
    """
    return render_page(
        None, "plain.html", title=title, verdict=verdict, sections=sections, method=method, beside=beside or {}
    )


def render_page(
    package: str | None,
    template: str,
    *,
    script: str = "",
    style: str = "",
    data: object = None,
    **values: object,
) -> str:
    """Return a page from a template in the `report_parts` of a package, or from a shared one without a package.

    It extends `frame.html`, which wants `title`; `parts.html` has macros for what is described above. `script`
    and `style` name files beside the template that come after `page.js` and `page.css`; the script finds `data`
    as `DATA`. Equal values give equal text.

    >>> render_page("vocabkit.auditing", "report.html", script="report.js", title="Audit")  # doctest: +SKIP
    '<!DOCTYPE html>…'
    """
    shared = PackageLoader("vocabkit.core", "page_parts")
    own = PackageLoader(package, "report_parts") if package else shared
    pages = Environment(
        loader=ChoiceLoader([own, shared]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    pages.filters["value"] = show_value
    code, looks = (
        "\n".join(loader.get_source(pages, name)[0] for loader, name in ((shared, first), (own, more)) if name)
        for first, more in (("page.js", script), ("page.css", style))
    )
    text = pages.get_template(template).render(
        script=Markup(code),
        style=Markup(looks),
        digests={"script": _digest(code), "style": _digest(looks)},
        data=None if data is None else embed_json(data),
        **values,
    )
    # A path may hold bytes that are no text (lone surrogates): they are shown escaped.
    return text.encode("utf-8", "backslashreplace").decode()


def _digest(text: str) -> str:
    """Return the digest of an inline script or style as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
