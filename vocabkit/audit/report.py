"""One HTML file that says what an audit found: no network, no library to load, nothing left unescaped.

Text warnings come first, because they decide which figures to trust. Every chart has its numbers in a table.
What is measured and how rows are ranked is decided elsewhere; this arranges it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vocabkit.audit.figures import Audit, Finding
from vocabkit.audit.report_cells import AMOUNTS, describe, show_value
from vocabkit.audit.report_charts import (
    ALLOCATION,
    SCRIPT,
    chart_allocation,
    chart_parameters,
    chart_ranking,
    chart_resources,
)
from vocabkit.audit.report_tables import (
    Table,
    find_headline,
    list_unranked,
    tabulate_checks,
    tabulate_groups,
    tabulate_metric,
    tabulate_scope,
)

GROUPS = ("script", "group", "branch", "resource", "tail")
# Checks of one kind by set of digits: a table of their own.
DIGITS = "digits"
SEVERITIES = ("failure", "warning", "note", "fine")


def write_report(audit: Audit, folder: Path) -> Path:
    """Write `report.html` into an existing folder and return its path. Equal audits give equal bytes."""
    target = folder / "report.html"
    # A path may hold bytes that are no text; they are shown escaped.
    page = render_report(audit).encode("utf-8", errors="backslashreplace")
    target.write_bytes(page)
    return target


def render_report(audit: Audit) -> str:
    """Return the whole page. Its script and style are named by digest in its policy: no other can run."""
    loader = PackageLoader("vocabkit.audit", "report_parts")
    pages = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    pages.filters["value"] = show_value
    script, style = (_read_part(pages, name) for name in ("report.js", "report.css"))
    headline = find_headline(audit)
    return pages.get_template("report.html").render(
        audit=audit,
        script=Markup(script),
        style=Markup(style),
        digests={"script": _digest(script), "style": _digest(style)},
        headline=None if headline is None else describe(headline),
        overall=tabulate_scope(
            audit, "overall", "all", "All languages together", headline=headline
        ),
        price=chart_parameters(audit, headline),
        ranking=chart_ranking(audit, headline),
        unranked={} if headline is None else list_unranked(audit, headline),
        languages=list(_tabulate_languages(audit, headline)),
        groups=list(_tabulate_groups(audit, headline)),
        vocabulary=tabulate_scope(audit, "vocabulary", "all", "Each vocabulary as a whole"),
        allocation=chart_allocation(audit),
        scripts=list(_tabulate_vocabulary(audit)),
        resource=chart_resources(audit),
        findings=sort_findings(_without(audit.findings, DIGITS)),
        digits=tabulate_checks(audit, DIGITS),
    )


def sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with failures first; those of equal severity keep their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _without(findings: Sequence[Finding], family: str) -> list[Finding]:
    return [finding for finding in findings if not finding.check.startswith(f"{family}: ")]


def _read_part(pages: Environment, name: str) -> str:
    assert pages.loader is not None
    return pages.loader.get_source(pages, name)[0]


def _digest(text: str) -> str:
    """The digest of an inline script or style as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tabulate_languages(audit: Audit, headline: str | None) -> Iterator[Table]:
    """Yield one table a metric, the headline metric first and with its intervals."""
    metrics = dict.fromkeys(figure.metric for figure in audit.select(scope="language"))
    for metric in sorted(metrics, key=lambda name: name != headline):
        table = tabulate_metric(
            audit,
            metric,
            "language",
            first="language",
            intervals=metric == headline,
            shaded=metric not in AMOUNTS,
        )
        if table is not None:
            yield table


def _tabulate_groups(audit: Audit, headline: str | None) -> Iterator[Table]:
    metrics = [f"{headline}.mean", f"{headline}.bottom_decile"]
    for scope in GROUPS:
        table = tabulate_groups(audit, metrics, scope)
        if table is not None:
            yield table


def _tabulate_vocabulary(audit: Audit) -> Iterator[Table]:
    """Yield one table for each metric that is given by script group, script or kind."""
    parts = [figure for figure in audit.select(scope="vocabulary") if figure.name != "all"]
    metrics = dict.fromkeys(figure.metric for figure in parts)
    for metric in sorted(metrics, key=lambda name: name not in ALLOCATION):
        names = {figure.name for figure in parts if figure.metric == metric}
        scripts = {name for name in names if SCRIPT.fullmatch(name)}
        for first, chosen in (("script group or kind", names - scripts), ("script", scripts)):
            table = tabulate_metric(
                audit, metric, "vocabulary", first=first, names=chosen, shaded=metric in ALLOCATION
            )
            if table is not None:
                yield table
