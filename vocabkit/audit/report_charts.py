"""The charts of the report: which figures are drawn, against what, and the sentence under each.

How a chart is drawn is `charts`'; every number in one also stands in a table of the report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vocabkit.audit.charts import Point, Spot, draw_ranking, draw_scatter
from vocabkit.audit.figures import Audit, Figure
from vocabkit.audit.report_cells import describe, rank_names

# Rows of a chart: more than a screen of them is read in the table.
CHARTED = 30
# Share of the vocabulary over share of the corpus; and the size that fertility is set against.
ALLOCATION = ("allocation_characters", "allocation_words")
RESOURCE_SIZE = "resource_size"
PARAMETERS = "embedding_parameters"
UNDER_ALLOCATED = 0.5
# An ISO 15924 code; what else a part of a vocabulary is called is a script group or a kind.
SCRIPT = re.compile("[A-Z][a-z]{3}")


@dataclass(frozen=True, slots=True)
class Chart:
    """An image as SVG, with the sentence that belongs under it."""

    image: str
    caption: str


def chart_ranking(audit: Audit, headline: str | None) -> Chart | None:
    """Return the worst languages by the headline metric, with intervals; None without a metric."""
    if headline is None:
        return None
    figures = list(audit.select(metric=headline, scope="language"))
    names = [name for name in rank_names(figures) if any(_has(f, name) for f in figures)]
    head, series = figures[0], [item.name for item in audit.tokenizers]
    title = f"{describe(headline)} by language, the worst first"
    image = draw_ranking(
        _as_points(figures, names[:CHARTED], series),
        series,
        title=title,
        axis=f"{head.unit}, logarithmic",
        references={1.0: "1: no premium"} if "premium" in headline else None,
    )
    shown = (
        f"The worst {CHARTED} of {len(names)} languages" if len(names) > CHARTED else "Languages"
    )
    caption = f"{shown} by {describe(headline)} ({head.unit}; {head.aggregation})."
    if any(figure.low is not None for figure in figures):
        caption += " Lines are 95 % intervals."
    return Chart(image, caption)


def chart_parameters(audit: Audit, headline: str | None) -> Chart | None:
    """Return what languages pay against what the embedding costs; None below two sizes of vocabulary."""
    sizes = {f.tokenizer: f.value for f in audit.select(metric=PARAMETERS, scope="vocabulary")}
    series: dict[str, list[Spot]] = {}
    for statistic in ("bottom_decile", "mean"):
        for figure in audit.select(metric=f"{headline}.{statistic}", scope="overall"):
            size = sizes.get(figure.tokenizer)
            if size and figure.value:
                spot = Spot(figure.tokenizer, size, figure.value)
                series.setdefault(describe(figure.metric), []).append(spot)
    if headline is None or len({spot.x for spots in series.values() for spot in spots}) < 2:
        return None
    image = draw_scatter(
        series,
        title=f"{describe(headline)} against embedding parameters",
        x_axis="embedding parameters, logarithmic",
        y_axis=f"{describe(headline)}, logarithmic",
    )
    caption = "What languages pay against what the vocabulary costs: rows of the embedding times their width."
    return Chart(image, caption)


def chart_allocation(audit: Audit) -> Chart | None:
    """Return each script group's share of the vocabulary over that of the corpus, the least served first."""
    figures = list(audit.select(metric=ALLOCATION[0], scope="vocabulary"))
    names = [name for name in rank_names(figures) if any(_has(f, name) for f in figures)]
    groups = [name for name in names if not SCRIPT.fullmatch(name)] or names
    if not groups:
        return None
    series = [item.name for item in audit.tokenizers]
    image = draw_ranking(
        _as_points(figures, groups, series),
        series,
        title="Share of the vocabulary divided by share of the corpus, by script group",
        axis="share of vocabulary ÷ share of corpus, logarithmic",
        references={UNDER_ALLOCATED: "0.5", 1.0: "1"},
    )
    return Chart(
        image,
        "Share of the vocabulary divided by share of the corpus's characters, by script group. Left of 0.5 "
        "a script has less than half of what its text would give it.",
    )


def chart_resources(audit: Audit) -> Chart | None:
    """Return fertility against how much text a language has; None where the audit was given no counts."""
    sizes = {f.name: f.value for f in audit.select(metric=RESOURCE_SIZE, scope="language")}
    series: dict[str, list[Spot]] = {}
    for figure in audit.select(metric="fertility", scope="language"):
        size = sizes.get(figure.name)
        if size and figure.value:
            spot = Spot(figure.name, size, figure.value)
            series.setdefault(figure.tokenizer, []).append(spot)
    if not series:
        return None
    unit = next(audit.select(metric=RESOURCE_SIZE, scope="language")).unit
    image = draw_scatter(
        series,
        title="Fertility against size of the language's text",
        x_axis=f"{unit}, logarithmic",
        y_axis="tokens per word, logarithmic",
    )
    return Chart(image, f"Tokens per word against {unit} of each language.")


def _has(figure: Figure, name: str) -> bool:
    return figure.name == name and figure.value is not None


def _as_points(
    figures: Sequence[Figure], names: Sequence[str], series: Sequence[str]
) -> dict[str, list[Point | None]]:
    found = {(f.name, f.tokenizer): f for f in figures if f.value is not None}
    rows: dict[str, list[Point | None]] = {}
    for name in names:
        row: list[Point | None] = []
        for tokenizer in series:
            figure = found.get((name, tokenizer))
            value = None if figure is None else figure.value
            row.append(
                None if figure is None or value is None else Point(value, figure.low, figure.high)
            )
        rows[name] = row
    return rows
