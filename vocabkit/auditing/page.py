"""The page of an audit, in the order of a reader's questions.

Which tokenizer serves whom, and what to distrust; who pays what; what it looks like; what it costs; what the
vocabulary is spent on; what is wrong with it, and how all this was measured. What is drawn and pressed is the
page's script; every number it shows comes from here, as the audit has it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vocabkit.auditing.composition import LONG, UNDER
from vocabkit.auditing.definitions import (
    AMOUNTS,
    DEFINITIONS,
    MORE_IS_BETTER,
    RATIO_LEVELS,
    SHARE_LEVELS,
    Definition,
    Reach,
    Shown,
    define,
    find_best,
    find_headline,
    find_level,
    find_reach,
    list_averages,
    list_unranked,
    pivot,
    rank_names,
)
from vocabkit.auditing.figures import Figure, Finding, Spoken
from vocabkit.auditing.metrics import CHANGE, COMMON_SUFFIX, LOST_CHARACTERS, OUTSIDE
from vocabkit.auditing.requirements import ALLOCATION, Outcome
from vocabkit.core.errors import ConfigError, shorten_names
from vocabkit.core.languages import CODE, name_languages
from vocabkit.core.pages import MISSING, Cell, Chart, Row, Series, Table, render_page, show_value

WINDOW = 8_192
"""Tokens of the context that words are said to fit into: 8k."""
DEAR = 2.5
"""From this cost on a language is counted as dear in the verdict."""
FEW_LINES = 100
"""Lines below which a language's intervals are too wide to say much."""
_GROUPS = {
    "script": "script", "group": "group of languages", "branch": "branch", "resource": "resource class",
    "tail": "tail",
}  # fmt: skip
# An ISO 15924 code; what else a part of a vocabulary is called is a script group or a kind.
_SCRIPT = re.compile("[A-Z][a-z]{3}")
_DIGITS = "digits"
_SEVERITIES = ("failure", "warning", "note", "fine")


def render_report(audit: Shown) -> str:
    """Return the whole page. Equal audits give equal text."""
    return _Page(audit).render()


def list_charts(audit: Shown) -> dict[str, Chart | Table]:
    """Return what there is to draw of the page, by name."""
    page = _Page(audit)
    charts = {
        "languages": page.chart_headline(),
        "table": page.draw_heat(),
        "words": page.chart_words(),
        "price": page.chart_price(),
        "resources": page.chart_resources(),
        "parameters": page.chart_parameters(),
        "scripts": page.chart_composition(),
        "lengths": page.chart_lengths(),
        "allocation": page.chart_allocation(),
    }
    return {name: chart for name, chart in charts.items() if chart is not None}


@dataclass(frozen=True)
class _Page:
    """An audit and what many parts of its page need: names, the headline metric, the order of languages."""

    audit: Shown

    # --- What there is ---

    @cached_property
    def figures(self) -> dict[tuple[str, str], list[Figure]]:
        """The figures by metric and scope, in their order."""
        found: dict[tuple[str, str], list[Figure]] = defaultdict(list)
        for figure in self.audit.figures:
            found[figure.metric, figure.scope].append(figure)
        return found

    def find(self, metric: str, scope: str = "language") -> list[Figure]:
        return self.figures.get((metric, scope), [])

    @cached_property
    def names(self) -> list[str]:
        return self.audit.names

    @cached_property
    def headline(self) -> str | None:
        return find_headline(self.audit)

    @cached_property
    def reach(self) -> Reach:
        return find_reach(self.audit)

    @cached_property
    def languages(self) -> list[Spoken]:
        """The languages that have a figure: as the audit describes them, else by their codes."""
        codes = dict.fromkeys(f.name for f in self.audit.figures if f.scope == "language")
        known = {one.code: one for one in self.audit.languages}
        called = name_languages(code for code in codes if code not in known)
        outside = (OUTSIDE, OUTSIDE, OUTSIDE, False)
        return [known.get(code) or Spoken(code, called[code], *outside) for code in codes]

    @cached_property
    def called(self) -> dict[str, str]:
        """The names of languages by code, those that were not measured too."""
        named = {one.code: one.name for one in (*self.audit.languages, *self.languages)}
        said = [key.rpartition(": ")[2] for key in self.audit.failures]
        return name_languages(code for code in said if code not in named) | named

    def name(self, code: str) -> str:
        return self.called.get(code, code)

    @cached_property
    def ranked(self) -> list[str]:
        """The codes, the dearest by the headline metric first."""
        figures = self.find(self.headline or "")
        ranked = self.reach.rank_names(figures) if figures else []
        return [*ranked, *(one.code for one in self.languages if one.code not in set(ranked))]

    @cached_property
    def reference(self) -> str:
        """What the reference language is called; the first language's name where there is none."""
        code = next((f.unit.removeprefix("× ") for f in self.find("premium") if f.unit.startswith("× ")), "")
        return self.name(code) if code else "the reference"

    def render(self) -> str:
        audit = self.audit
        apart = (f"{_DIGITS}: ", f"{LOST_CHARACTERS}: ")
        others = [found for found in audit.findings if not found.check.startswith(apart)]
        wrong = [found for found in _sort_findings(others) if found.severity != "fine"]
        required = self.list_requirements()
        judged = [one for _, found in required for one in found]
        spending = (self.chart_composition(), self.chart_lengths(), self.chart_allocation())
        return render_page(
            "vocabkit.auditing", "report.html",
            script="report.js",
            style="report.css",
            data=self.gather_data(),
            title=f"Tokenizer audit: {', '.join(self.names)}",
            audit=audit,
            intro=self.introduce(),
            verdicts=[self.judge(name) for name in self.names],
            requirements=required,
            judged=len(judged),
            failed=sum(kind == "bad" for kind, _, _ in judged),
            doubts=self.list_doubts(),
            headline=None if self.headline is None else define(self.headline),
            headline_key=self.headline,
            heat=self.draw_heat(),
            unranked={} if self.headline is None else self.name_unranked(self.headline),
            lost=self.tabulate_checks(LOST_CHARACTERS),
            overall=self.tabulate_overall(),
            groups=list(filter(None, map(self.tabulate_group, _GROUPS))),
            costs=list(filter(None, (self.chart_words(), self.chart_price()))),
            against=list(filter(None, (self.chart_resources(), self.chart_parameters()))),
            spending=list(filter(None, spending)),
            vocabulary=self.tabulate_vocabulary(),
            parts_tables=list(filter(None, self.tabulate_parts())),
            wrong=wrong,
            fine=[found for found in others if found.severity == "fine"],
            digits=self.tabulate_checks(_DIGITS),
            definitions=self.list_definitions(),
            crop=crop_example,
            say_check=_say_check,
        )  # fmt: skip

    # --- The verdict ---

    def introduce(self) -> str:
        """Say in a line what was audited."""
        lines = max((f.n or 0 for f in self.find("tokens") or self.find(self.headline or "")), default=0)
        parts = [_count(len(self.names), "tokenizer"), _count(len(self.languages), "language")]
        if lines:
            same = "the same " if any(f.value is not None for f in self.find("premium")) else "up to "
            parts.append(f"{same}{lines:,} lines of each")
        return " · ".join(parts)

    def judge(self, name: str) -> dict[str, Any]:
        """Return a tokenizer's verdict in parts: who pays most, how many, what is lost, and its means."""
        size = next((one.size for one in self.audit.tokenizers if one.name == name), 0)
        own = [f for f in self.find(self.headline or "") if f.tokenizer == name]
        known = sorted((f for f in own if f.value is not None), key=lambda f: -(f.value or 0.0))
        lost = [self.name(f.name) for f in own if self.reach.explain_gap(f)]
        parts = list[tuple[str, str]]()
        if lost:
            parts.append(
                ("bad", f"{shorten_names(lost)} {'is' if len(lost) == 1 else 'are'} lost in unknown tokens")
            )
        if known:
            worst, place = known[0].value or 0.0, self.name(known[0].name)
            units = {"premium": f"times {self.reference}", "fertility": "tokens a word"}
            verb = "pays" if self.headline == "premium" else "needs"
            parts.append(
                ("", f"{place} {verb} {worst:.1f} {units.get(self.headline or '', 'tokens a letter')}")
            )
            dear = sum((f.value or 0.0) > DEAR for f in known)
            parts.append(("", f"{dear or 'none'} of {_count(len(known), 'language')} above {DEAR:g}"))
        else:
            parts.append(("bad", "no language could be measured"))
        if not lost:
            some = any(f.value for f in self.find("unknown_characters") if f.tokenizer == name)
            parts.append(("", "some rare characters lost") if some else ("good", "nothing lost"))
        return {"name": name, "size": size, "parts": parts, "means": self.list_means(name)}

    def list_means(self, name: str) -> list[str]:
        said = []
        for metric in list_averages(self.find, self.reach, self.headline):
            figures = self.find(metric, "overall")
            figure = next((f for f in figures if f.tokenizer == name), None)
            if figure is not None and metric.partition(".")[2] in ("mean", f"mean{COMMON_SUFFIX}"):
                value = show_value(figure.value, figure.unit)
                over = f" ({self.reach.count(figure)})" if self.reach.is_partial(figures) else ""
                common = metric.endswith(COMMON_SUFFIX)
                said.append(f"{value} over the {figure.n} that all have" if common else f"mean {value}{over}")
        return said

    def list_requirements(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """Return what was required, and for each tokenizer a class, what came out, and the whole sentence."""
        try:
            outcomes = self.audit.outcomes
        except ConfigError as error:
            return [(str(error), [])]
        told: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
        for one in outcomes:
            told[one.requirement.text][one.figure.tokenizer].append(one)
        return [
            (text, [_say_outcome(name, found) for name, found in by_name.items()])
            for text, by_name in told.items()
        ]

    def list_doubts(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return what to distrust: what it is about, what is wrong, and examples."""
        audit, doubts = self.audit, self.doubt_alignment()
        few = {f.name: f.n for f in self.find("tokens") if f.n is not None and 0 < f.n < FEW_LINES}
        if few:
            told = " to ".join(dict.fromkeys(f"{ends(few.values())}" for ends in (min, max)))
            said = f"only {told} lines: intervals are wide, and rare letters missing"
            names = shorten_names([self.name(code) for code in few])
            doubts.append((names if len(few) < len(self.languages) else "Every language", said, ()))
        for warned in audit.warnings:
            share = "" if warned.share is None else f" ({show_value(warned.share, 'share')})"
            said = f"{warned.check.replace('_', ' ')}{share}: {warned.note}"
            doubts.append((f"Text of {self.name(warned.language)}", said, warned.examples))
        doubts += self.list_unmeasured()
        return doubts + [(item.name, note, ()) for item in audit.tokenizers for note in item.notes]

    def list_unmeasured(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return what could not be measured, the languages of one reason together."""
        reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
        for key, reason in self.audit.failures.items():
            tokenizer, _, code = key.rpartition(": ")
            name = self.name(code)
            reasons[tokenizer, reason].append(name if name == code else f"{name} ({code})")
        return [
            (shorten_names(names) + (f" with {tokenizer}" if tokenizer else ""), f"not measured: {reason}", ())
            for (tokenizer, reason), names in reasons.items()
        ]

    def doubt_alignment(self) -> list[tuple[str, str, tuple[str, ...]]]:
        premiums = self.find("premium")
        if premiums and all(f.value is None for f in premiums):
            why = self.audit.method.get("alignment") or premiums[0].note or ""
            return [("Not aligned", f"{why}: costs are by word, and words differ between languages", ())]
        reasons: dict[str, list[str]] = defaultdict(list)
        for code in dict.fromkeys(
            f.name for f in premiums if f.value is None and not self.reach.explain_gap(f)
        ):
            reasons[next(f.note or "" for f in premiums if f.name == code and f.value is None)].append(code)
        return [
            (shorten_names([self.name(code) for code in codes]), f"no premium: {reason}", ())
            for reason, codes in reasons.items()
        ]

    # --- Who pays what ---

    def draw_heat(self) -> Table | None:
        """Return the headline metric of every language and tokenizer, the dearest first, under its means."""
        if self.headline is None:
            return None
        figures, rows = self.find(self.headline), []
        best = find_best(figures)
        for code, found in pivot(figures, self.ranked, self.names).items():
            cells = [self.shade(figure, best) for figure in found]
            rows.append(Row(self.name(code), cells, code))
        definition = define(self.headline)
        return Table(definition.label, ("language", *self.names), rows)

    def shade(self, figure: Figure | None, best: float) -> Cell:
        if figure is None:
            return Cell(MISSING)
        if figure.value is None:
            gap = self.reach.explain_gap(figure)
            return Cell(gap or MISSING, None, figure.note or "", len(RATIO_LEVELS) if gap else None)
        ends = ""
        if figure.low is not None and figure.high is not None:
            ends = f"95 %: {show_value(figure.low, figure.unit)} to {show_value(figure.high, figure.unit)}"
        level = None if figure.metric in AMOUNTS else find_level(figure, best)
        return Cell(show_value(figure.value, figure.unit), _short(figure.value), ends, level)

    def name_unranked(self, metric: str) -> dict[str, list[str]]:
        unranked = list_unranked(self.audit, metric)
        return {name: [self.name(code) for code in codes] for name, codes in unranked.items()}

    def gather_data(self) -> dict[str, Any]:
        """Return what the page's script draws and filters."""
        order = {code: place for place, code in enumerate(self.ranked)}
        spoken = sorted(self.languages, key=lambda one: order[one.code])
        codes = [one.code for one in spoken]
        metrics = [m for m, scope in self.figures if scope == "language" and not m.startswith(CHANGE)]
        metrics = [m for m in dict.fromkeys(metrics) if any(f.value is not None for f in self.find(m))]
        metrics.sort(key=lambda metric: metric != self.headline)
        return {
            "tokenizers": self.names,
            "headline": self.headline,
            "reference": self.reference,
            "languages": [self.tell_language(one) for one in spoken],
            "metrics": [self.tell_metric(metric, codes) for metric in metrics],
            "levels": {"ratio": RATIO_LEVELS, "share": SHARE_LEVELS},
            "changes": self.tell_changes(codes),
            "sentences": self.tell_sentences(),
        }

    def tell_language(self, one: Spoken) -> dict[str, Any]:
        failed = set(self.audit.failures)
        gaps = [
            self.reach.name_gap(name, one.code)
            or ("failed" if one.code in failed or f"{name}: {one.code}" in failed else "")
            for name in self.names
        ]
        doubts = [
            warned.check.replace("_", " ") for warned in self.audit.warnings if warned.language == one.code
        ]
        return {
            "code": one.code, "name": one.name,
            "script": one.code.partition("_")[2], "group": one.group,
            "resource": one.resource, "tail": one.tail, "doubt": ", ".join(doubts), "gaps": gaps,
        }  # fmt: skip

    def tell_metric(self, metric: str, codes: Sequence[str]) -> dict[str, Any]:
        figures, definition = self.find(metric), define(metric)
        table = pivot(figures, codes, self.names)
        notes = sorted({f.note for f in figures if f.note})
        told: dict[str, Any] = {
            "key": metric, "label": definition.label, "said": definition.said, "heading": definition.heading,
            "unit": figures[0].unit, "of": self.say_unit(figures[0].unit), "how": figures[0].aggregation,
            "more": metric in MORE_IS_BETTER, "amount": metric in AMOUNTS, "best": find_best(figures),
            "notes": notes, "values": [[f and f.value for f in table[code]] for code in codes],
            "note": [[notes.index(f.note) if f and f.note else -1 for f in table[code]] for code in codes],
        }  # fmt: skip
        if any(f.low is not None for f in figures):
            told["low"] = [[f and f.low for f in table[code]] for code in codes]
            told["high"] = [[f and f.high for f in table[code]] for code in codes]
        return told | {"means": self.tell_means(metric)}

    def say_unit(self, unit: str) -> str:
        """Return a unit with the reference language by its name."""
        return f"times {self.reference}" if unit.startswith("× ") and CODE.fullmatch(unit[2:]) else unit

    def tell_means(self, metric: str) -> dict[str, list[list[Any]]]:
        """Return the means of a metric by what they are called: a value a tokenizer, and over how many."""
        means = {}
        for name in list_averages(self.find, self.reach, metric):
            overall = {f.tokenizer: f for f in self.find(name, "overall")}
            partial = self.reach.is_partial(overall.values())
            found = [overall.get(one) for one in self.names]
            if any(found):
                label = define(name).label.rpartition(", ")[2]
                means[label] = [[f and f.value, self.reach.count(f) if f and partial else ""] for f in found]
        return means

    def tell_changes(self, codes: Sequence[str]) -> list[dict[str, Any]]:
        """Return the changes between tokenizers: `from` and `to` are places, the others a value a language."""
        told, places = [], {name: place for place, name in enumerate(self.names)}
        for metric, scope in self.figures:
            if scope != "language" or metric.partition(".")[0] != CHANGE:
                continue
            before = metric.partition(".")[2] or self.names[0]
            for after in self.names:
                figures = {f.name: f for f in self.find(metric) if f.tokenizer == after}
                if not figures or before == after or before not in places:
                    continue
                found = [figures.get(code) for code in codes]
                told.append({
                    "from": places[before], "to": places[after], "values": [f and f.value for f in found],
                    "low": [f and f.low for f in found], "high": [f and f.high for f in found],
                })  # fmt: skip
        return told

    def tell_sentences(self) -> list[dict[str, Any]]:
        return [
            {
                "code": one.language, "line": one.line, "aligned": one.aligned, "text": one.text,
                "pieces": [one.pieces.get(name, ()) for name in self.names],
            }
            for one in self.audit.sentences
        ]  # fmt: skip

    def tabulate_overall(self) -> Table | None:
        """Return every figure of all languages together, a row a metric, those of the headline first."""
        figures = [f for f in self.audit.figures if f.scope == "overall"]
        metrics = dict.fromkeys(f.metric for f in figures)
        ranked = sorted(metrics, key=lambda metric: metric.split(".")[0] != self.headline)
        shown, told = set(list_averages(self.find, self.reach, self.headline)), set[tuple[object, ...]]()
        rows = []
        for metric, present in pivot(figures, ranked, self.names, row="metric").items():
            # Over the languages that all have is said only where that is not all languages; and what no divisor
            # changes, such as Gini's coefficient, is the same of every premium.
            says = (metric.partition(".")[2] or metric, *(f and f.value and _short(f.value) for f in present))
            if (metric.endswith(COMMON_SUFFIX) and metric not in shown) or says in told:
                continue
            told.add(says)
            definition, given = define(metric), next(filter(None, present))
            how = Cell(f"{self.say_unit(given.unit)}; {given.aggregation}", words=True)
            row = (*self.average(present), _span_counts(present), how)
            rows.append(Row(definition.label, row, title=definition.said, link=_find_anchor(metric)))
        columns = ("figure", *self.names, "n", "unit; how")
        return Table("All languages together", columns, rows, frozenset({"unit; how"})) if rows else None

    def average(self, figures: Sequence[Figure | None]) -> list[Cell]:
        """Return the cells of figures side by side: where one leaves a language out, all say of how many."""
        partial, cells = self.reach.is_partial(figures), []
        for figure in figures:
            if figure is None:
                cells.append(Cell(MISSING))
                continue
            over = self.reach.count(figure) if partial else ""
            text = show_value(figure.value, figure.unit) + (f" ({over})" if over else "")
            ends = figure.note or ""
            if figure.low is not None and figure.high is not None:
                ends = f"95 %: {show_value(figure.low, figure.unit)} to {show_value(figure.high, figure.unit)}"
            cells.append(Cell(text, None if figure.value is None else _short(figure.value), ends))
        return cells

    def tabulate_group(self, scope: str) -> Table | None:
        """Return the headline's averages for every name of a kind of group, the dearest first."""
        metrics = list_averages(self.find, self.reach, self.headline)
        chosen = [f for metric in metrics for f in self.find(metric, scope)]
        if not chosen:
            return None
        columns = [(metric, tokenizer) for metric in metrics for tokenizer in self.names]
        ranked = rank_names(f for f in chosen if f.metric == chosen[0].metric)
        pivoted = pivot(chosen, ranked, columns, column=("metric", "tokenizer"))
        called = {"tail": "tail languages", "other": "others"} if scope == "tail" else {}
        rows = [
            Row(called.get(name, name), (_span_counts(present), *self.average(present)))
            for name, present in pivoted.items()
        ]
        labels = {metric: define(metric).label for metric in metrics}
        heads = [f"{labels[metric]}: {tokenizer}" for metric, tokenizer in columns]
        # A group that all languages are in says nothing that the means have not said.
        return Table(f"By {_GROUPS[scope]}", (scope, "languages", *heads), rows) if len(rows) > 1 else None

    # --- What it costs ---

    def chart_languages(
        self, title: str, caption: str, metric: str, *, per: float | None = None, **given: Any
    ) -> Chart | None:
        """Return dots with a row a language; values are those of a metric, or `per` divided by them."""
        figures = self.find(metric)
        if not any(f.value is not None for f in figures):
            return None
        ranked = self.reach.rank_names(figures)
        table, series = pivot(figures, ranked, self.names), []

        def turn(value: float | None) -> float | None:
            return value if value is None or per is None else per / value if value else None

        for place, name in enumerate(self.names):
            own = [table[code][place] for code in ranked]
            gaps = [self.reach.explain_gap(f) for f in own]
            values = [None if f is None else turn(f.value) for f in own]
            low = [None if f is None else turn(f.low) for f in own]
            high = [None if f is None else turn(f.high) for f in own]
            ends = (low, high) if per is None else (high, low)
            series.append(Series(name, values, *ends, gaps=gaps if any(gaps) else ()))
        labels = [self.name(code) for code in ranked]
        if any(one.gaps for one in series):
            edge = "left" if per is not None else "right"
            caption += f" A cross at the {edge} edge: its text is lost in unknown tokens."
        return Chart("dots", title, caption, series, labels, ranked, **given)

    def chart_headline(self) -> Chart | None:
        """Return the languages by what they pay, the dearest first, as the page's script draws every figure."""
        if self.headline is None:
            return None
        definition, premium = define(self.headline), self.headline.startswith("premium")
        of = f"times {self.reference}" if premium else definition.label.lower()
        caption = f"{definition.label}: {definition.said}. Lines are 95 % intervals."
        return self.chart_languages(
            f"{definition.label} by language", caption, self.headline,
            axis=f"{of}, logarithmic", logarithmic=True, marks={1.0: f"1: {self.reference}"} if premium else {},
        )  # fmt: skip

    def chart_words(self) -> Chart | None:
        """Return how many words of each language a context of 8,192 tokens holds."""
        caption = (
            f"Words of each language that a context of {WINDOW:,} tokens holds: {WINDOW:,} ÷ tokens per word, "
            "as ICU finds words. The fewer, the shorter the text that a model can read at once. Lines are 95 % "
            "intervals."
        )
        return self.chart_languages(
            "Words that fit into 8k tokens", caption, "fertility",
            per=WINDOW, unit="words", axis=f"words in {WINDOW:,} tokens", more_is_better=True,
        )  # fmt: skip

    def chart_price(self) -> Chart | None:
        """Return what the text costs that costs 1 in the reference language."""
        metric = "premium_fixed" if len(self.names) > 1 else "premium"
        notes = {f.note for f in self.find(metric) if f.note and f.value is not None}
        whose = next(iter(notes), "").removeprefix("against ").rpartition("'s ")[0]
        base = f"{self.reference} with {whose}" if whose else self.reference
        caption = f"Where a text costs 1 in {base}, the same text costs so much. Lines are 95 % intervals."
        return self.chart_languages(
            f"The price of the same text, where {self.reference} costs 1", caption, metric,
            axis=f"times {base}, logarithmic", logarithmic=True, marks={1.0: base},
        )  # fmt: skip

    def chart_resources(self) -> Chart | None:
        """Return tokens per word against how much text a language has; None where no counts were given."""
        sizes = {f.name: f.value for f in self.find("resource_size") if f.value}
        series, caption = [], "Tokens per word against the characters that the counts hold of each language."
        for name in self.names:
            own = [f for f in self.find("fertility") if f.tokenizer == name and f.name in sizes]
            gaps = [self.reach.explain_gap(f) for f in own]
            if own:
                x, names = [sizes[f.name] or 0.0 for f in own], [self.name(f.name) for f in own]
                series.append(
                    Series(name, [f.value for f in own], x=x, names=names, gaps=gaps if any(gaps) else ())
                )
        if not series:
            return None
        if any(one.gaps for one in series):
            caption += " A cross at the upper edge: its text is lost in unknown tokens."
        return Chart(
            "spots", "Tokens per word against size of text", caption, series,
            axis="tokens per word, logarithmic", across="characters counted, logarithmic",
            logarithmic=True, x_logarithmic=True,
        )  # fmt: skip

    def chart_parameters(self) -> Chart | None:
        """Return what languages pay against what the embedding costs; None below two sizes of vocabulary."""
        sizes = {f.tokenizer: f.value for f in self.find("embedding_parameters", "vocabulary") if f.value}
        series = []
        for statistic in ("bottom_decile", "mean"):
            overall = [f for f in self.find(f"{self.headline}.{statistic}", "overall") if f.value]
            overall = [f for f in overall if f.tokenizer in sizes]
            partial = self.reach.is_partial(overall)
            names = [f"{f.tokenizer} ({self.reach.count(f)})" if partial else f.tokenizer for f in overall]
            label, x = (
                define(f"{self.headline}.{statistic}").label,
                [sizes[f.tokenizer] or 0.0 for f in overall],
            )
            series.append(Series(label, [f.value for f in overall], x=x, names=names))
        if len({x for one in series for x in one.x}) < 2:
            return None
        label = define(self.headline or "").label
        return Chart(
            "spots", f"{label} against embedding parameters",
            "What languages pay against what the vocabulary costs: ids times the width of a row.", series,
            axis=f"{label.lower()}, logarithmic", across="embedding parameters, logarithmic", logarithmic=True,
            x_logarithmic=True,
        )  # fmt: skip

    # --- What the vocabulary is spent on ---

    def group_scripts(self, figures: Iterable[Figure]) -> list[str]:
        """Return the groups of scripts that figures have a value for, the largest first."""
        totals: dict[str, float] = defaultdict(float)
        for f in figures:
            if not _SCRIPT.fullmatch(f.name) and f.value:
                totals[f.name] += f.value
        return sorted(totals, key=lambda name: (name == "other", -totals[name], name))

    def chart_composition(self) -> Chart | None:
        """Return each vocabulary by group of scripts, and under it the text."""
        shares = self.find("vocabulary_share", "vocabulary")
        text = self.find("corpus_share_characters", "vocabulary")
        groups = self.group_scripts([*shares, *text])
        if not groups:
            return None
        own = {(f.tokenizer, f.name): f.value for f in shares}
        of_text = {f.name: f.value for f in text}
        label, series = ["The text"] if of_text else [], []
        for group in groups:
            values = [own.get((name, group)) for name in self.names]
            series.append(Series(group, [*values, *([of_text.get(group)] if of_text else [])]))
        caption = (
            "Share of the pieces that have a script, by group of scripts; below them the text's letters. "
            "Digits, punctuation, bytes and special tokens are in none."
        )
        return Chart(
            "stack", "Pieces by script", caption, series, [*self.names, *label],
            [*map(str, range(len(self.names))), *label], unit="share of pieces",
            axis="share of pieces; of the text, share of letters",
        )  # fmt: skip

    def chart_lengths(self) -> Chart | None:
        """Return how many pieces are how long."""
        figures = self.find("pieces_of_length", "vocabulary")
        own = {(f.tokenizer, f.name): f.value for f in figures}
        names = list(dict.fromkeys(f.name for f in figures))
        if not any(own.values()):
            return None
        places = [float(name.split()[0]) for name in names]
        series = [Series(name, [own.get((name, length)) for length in names], x=places) for name in self.names]
        caption = f"Share of the pieces that are so many characters long; {LONG} stands for {LONG} or more."
        return Chart(
            "lines", "Pieces by length", caption, series, unit="share of pieces", axis="share of pieces",
            across="characters of a piece",
        )  # fmt: skip

    def chart_allocation(self) -> Chart | None:
        """Return each script group's share of the vocabulary over that of the text, the least served first."""
        figures = self.find(ALLOCATION[0], "vocabulary")
        measured = {f.name for f in figures if f.value is not None}
        known = [name for name in rank_names(figures) if name in measured]
        groups = [name for name in known if not _SCRIPT.fullmatch(name)] or known
        if not groups:
            return None
        table, series = pivot(figures, groups, self.names), []
        for place, name in enumerate(self.names):
            found = [table[group][place] for group in groups]
            series.append(Series(name, [None if f is None else f.value for f in found]))
        caption = (
            "Share of the pieces ÷ share of the text's letters, by group of scripts. At 1 a script has the "
            f"pieces that its text would give it; left of {UNDER:g} it is under-allocated."
        )
        if any(value is not None and value <= 0 for one in series for value in one.values):
            caption += " An arrow at the left edge: 0, for which a logarithmic axis has no place."
        return Chart(
            "dots", "Who is under-allocated", caption, series, groups,
            axis="share of pieces ÷ share of text, logarithmic", logarithmic=True,
            marks={UNDER: f"{UNDER:g}", 1.0: "1: as the text"},
        )  # fmt: skip

    def tabulate_vocabulary(self) -> Table | None:
        """Return what is said of each vocabulary as a whole, and which of its pieces text never gives."""
        figures = [f for f in self.audit.figures if f.scope == "vocabulary" and f.name == "all"]
        metrics, rows = dict.fromkeys(f.metric for f in figures), []
        # Median and largest lengths are in the chart of lengths, and one Rényi efficiency an order is enough.
        left_out = ("median", "max", "observed")
        ranked = [metric for metric in metrics if metric.rpartition(".")[2] not in left_out]
        ranked.sort(key=lambda metric: metric != "vocabulary_size")
        for metric, present in pivot(figures, ranked, self.names, row="metric").items():
            definition = define(metric)
            row = (*self.average(present), Cell(definition.said, words=True))
            rows.append(Row(definition.label, row, title=definition.said, link=_find_anchor(metric)))
        found = [one for one in self.audit.findings if one.check.startswith("pieces: ")]
        counts = {(one.check, one.tokenizer): one for one in found}
        for check in dict.fromkeys(one.check for one in found if one.count):
            note = next(one.note for one in found if one.check == check)
            cells = [_count_pieces(counts.get((check, name))) for name in self.names]
            rows.append(Row(_say_check(check), (*cells, Cell(note, words=True))))
        columns = ("figure", *self.names, "what it is")
        return Table("Each vocabulary as a whole", columns, rows, frozenset({"what it is"})) if rows else None

    def tabulate_parts(self) -> Iterator[Table | None]:
        """Yield the tables by script, by kind of id, and by set of digits."""
        pieces, shares = self.find("pieces", "vocabulary"), self.find("vocabulary_share", "vocabulary")
        for label, pattern in (("script group", False), ("script", True)):
            yield self.tabulate_scripts(label, pattern, pieces, shares)
        kinds = {"pieces_of_kind": "kind", "pieces_unattributed": "why", "tokens_per_digit": "digits"}
        for metric, heading in kinds.items():
            figures = [f for f in self.find(metric, "vocabulary") if f.name != "all"]
            rows = [
                Row(name, self.average(found))
                for name, found in pivot(figures, rank_names(figures), self.names).items()
            ]
            definition = define(metric)
            yield (
                Table(f"{definition.label}: {definition.said}", (heading, *self.names), rows) if rows else None
            )

    def tabulate_scripts(
        self, label: str, pattern: bool, pieces: Sequence[Figure], shares: Sequence[Figure]
    ) -> Table | None:
        """Return what of the text and of each vocabulary is in each script, or each group of scripts."""
        text = {f.name: f for f in self.find("corpus_share_characters", "vocabulary")}
        of_text = {name: f.value or 0.0 for name, f in text.items()}
        parts = [pieces, shares, *(self.find(metric, "vocabulary") for metric in ALLOCATION)]
        every = [f for part in parts for f in part if bool(_SCRIPT.fullmatch(f.name)) == pattern]
        said = {
            "pieces": "pieces",
            "vocabulary_share": "share",
            ALLOCATION[0]: "÷ text",
            ALLOCATION[1]: "÷ words",
        }
        names = sorted({f.name for f in every}, key=lambda name: (-of_text.get(name, 0.0), name))
        columns, rows = [(metric, name) for name in self.names for metric in said], []
        for name, found in pivot(every, names, columns, column=("metric", "tokenizer")).items():
            share = text.get(name)
            cells = [Cell(MISSING) if share is None else Cell(show_value(share.value, share.unit), share.value)]
            for figure in found:
                shaded = figure is not None and figure.metric in ALLOCATION
                level = find_level(figure, 1.0) if figure is not None and shaded else None
                cells.append(self.average([figure])[0]._replace(level=level))
            rows.append(Row(name, cells))
        heads = [f"{tokenizer}: {said[metric]}" for metric, tokenizer in columns]
        return Table(f"By {label}", (label, "of the text", *heads), rows) if rows else None

    # --- Integrity and method ---

    def tabulate_checks(self, family: str) -> Table | None:
        """Return the findings called `family: part`: a row a part, a column a tokenizer, what was found."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for finding in self.audit.findings:
            kind, separator, part = finding.check.partition(": ")
            if separator and kind == family:
                said = "" if finding.severity in ("fine", "note") else f"{finding.severity}: "
                found[part][finding.tokenizer] = f"{said}{finding.note}"
        # A row that says the same everywhere, and nothing bad, is said once below the table.
        same, rows = defaultdict[str, list[str]](list), []
        for part, by_name in found.items():
            told, name = set(by_name.values()), self.name(part)
            if len(told) == 1 and len(by_name) == len(self.names) > 1 and ": " not in next(iter(told)):
                same[next(iter(told))].append(name)
            else:
                cells = [Cell(crop_example(by_name.get(one, MISSING), 160), words=True) for one in self.names]
                rows.append(Row(name, cells))
        notes = [f"The same with every tokenizer, {said}: {', '.join(names)}" for said, names in same.items()]
        return (
            Table(family.capitalize(), (family, *self.names), rows, frozenset(self.names), notes)
            if found
            else None
        )

    def list_definitions(self) -> list[tuple[str, Definition]]:
        """Return what each figure of the audit means, once for all of its statistics."""
        metrics = {f.metric for f in self.audit.figures}
        used = metrics | {part for m in metrics for part in (m.rpartition(".")[0], m.partition(".")[0])}
        return [(metric, definition) for metric, definition in DEFINITIONS.items() if metric in used]


def _find_anchor(metric: str) -> str:
    """Return where on the page a metric is explained; empty where it is not."""
    bases = (metric, metric.rpartition(".")[0], metric.partition(".")[0])
    return next((f"m-{base}" for base in bases if base in DEFINITIONS), "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _short(value: float) -> float:
    """A value as the page holds it: to six digits."""
    return float(f"{value:.6g}")


def _span_counts(figures: Iterable[Figure | None]) -> Cell:
    """The n of figures side by side: one number, or from the smallest to the largest where they differ."""
    counts = sorted({f.n for f in figures if f is not None and f.n is not None})
    ends = dict.fromkeys(f"{count:,}" for count in (*counts[:1], *counts[-1:]))
    return Cell("\u00a0to\u00a0".join(ends) or MISSING, counts[-1] if counts else None)


def _sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with failures first, and those of one check together."""
    checks = {check: place for place, check in enumerate(dict.fromkeys(found.check for found in findings))}
    worst = {
        check: min(_SEVERITIES.index(f.severity) for f in findings if f.check == check) for check in checks
    }
    return sorted(findings, key=lambda f: (worst[f.check], checks[f.check], _SEVERITIES.index(f.severity)))


_CHECKS = {
    "pieces: reachable": "Pieces that text gives", "pieces: context-only": "Pieces that only some text gives",
    "pieces: dead": "Pieces never chosen", "pieces: shadowed byte": "Byte pieces behind a character",
    "pieces: unverifiable": "Pieces that cannot be told",
    "pieces: normalization-unreachable": "Pieces that normalising changes",
    "pieces: pretokenizer-unreachable": "Pieces that splitting cuts",
}  # fmt: skip


def _count_pieces(found: Finding | None) -> Cell:
    if found is None or found.count is None:
        return Cell(MISSING)
    share = f" ({show_value(found.count / found.total, 'share')})" if found.total and found.count else ""
    return Cell(f"{found.count:,}{share}", found.count)


def _say_outcome(name: str, outcomes: Sequence[Outcome]) -> tuple[str, str, str]:
    """Return how a requirement ends for a tokenizer; one of every language says of how many it holds."""
    failed = [one for one in outcomes if not one.met]
    shown = (failed or list(outcomes))[0]
    said = f"{name} {show_value(shown.figure.value, shown.figure.unit)}"
    if len(outcomes) > 1:
        said = f"{name}: {len(outcomes) - len(failed)} of {len(outcomes)} languages"
    elif shown.lost:
        said += f", {_count(shown.lost, 'language')} lost"
    elif shown.missing:
        said += f", {_count(len(shown.missing), 'language')} not measured"
    sentences = "; ".join(one.describe() for one in (failed or outcomes)[:5])
    return ("bad" if failed else "good", said, sentences)


def _say_check(check: str) -> str:
    return _CHECKS.get(check) or check[:1].upper() + check[1:].replace("_", " ")


_RUN = re.compile(r"(.{1,4}?)\1{7,}", re.DOTALL)


def crop_example(text: str, longest: int = 48) -> str:
    """Return an example short enough for a table: runs of one thing counted, and the rest cut.

    >>> crop_example("✱" * 64)
    '✱ ×64'
    """
    text = _RUN.sub(lambda run: f"{run[1]} ×{len(run[0]) // len(run[1])}", text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
