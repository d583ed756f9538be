"""Two tokenizers on the same lines: what each language pays more or less, against a limit or a stored audit.

Both encode the same lines, so a change is paired and needs no alignment across languages. What is compared is
read off an audit (`auditing`), which is kept beside the page that compares.
"""

from __future__ import annotations

import difflib
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from vocabkit.auditing.auditing import run_audit
from vocabkit.auditing.figures import Figure, Figures
from vocabkit.auditing.metrics import CHANGE, explain_loss
from vocabkit.auditing.parallel_text import Aligned, AuditText
from vocabkit.auditing.report import Audit, load_figures
from vocabkit.core.config import parse_share
from vocabkit.core.errors import ConfigError, shorten_names
from vocabkit.core.folders import check_output
from vocabkit.core.languages import Panel, name_languages
from vocabkit.core.pages import Cell, Chart, Row, Said, Section, Series, Table, render_sections
from vocabkit.core.plots import Charted
from vocabkit.core.progress import Progress
from vocabkit.core.results import Mark
from vocabkit.corpus.sources import Corpus, Reading


@dataclass(frozen=True, slots=True)
class Change:
    """By what share the tokens of a language change (0.02: two per cent more), with its 95 % interval.

    `regressed` says whether it exceeds the limit, `certain` whether the whole interval does.
    """

    language: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    regressed: bool
    certain: bool
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison(Charted):
    """The changes from tokenizer `before` to `after`, the worst language first, read off an `audit`."""

    before: str
    after: str
    max_regression: float
    changes: tuple[Change, ...]
    audit: Audit

    @property
    def regressions(self) -> tuple[Change, ...]:
        """The languages whose change exceeds the limit, the worst first."""
        return tuple(change for change in self.changes if change.regressed)

    def to_rows(self, *, marked: bool = False) -> list[dict[str, object]]:
        """Return a row a language. Changes are shares: 0.02 is two per cent more tokens.

        `marked` is for a reader: where there is no change, the cell says why in a word.
        """
        return [
            {
                "language": one.language,
                "change": Mark(_name_gap(one)) if marked and one.value is None else one.value,
                "low": one.low,
                "high": one.high,
                "lines": one.n,
                "verdict": ("worse" + ", perhaps by chance" * (not one.certain)) if one.regressed else None,
                "note": one.note,
            }
            for one in self.changes
        ]

    def describe(self, change: Change) -> str:
        """Return a sentence about one language: how many more tokens it needs, of how many it may."""
        if change.value is None:
            return f"{change.language}: {change.note}"
        between = ""
        if change.low is not None and change.high is not None:
            between = f" (95 %: {change.low:+.2%} to {change.high:+.2%})"
        more = f"{self.after} needs {change.value:+.2%} tokens{between}"
        limit = "more than" if change.regressed else "at most"
        return f"{change.language}: {more}, {limit} {self.max_regression:+.2%}"

    def list_regressions(self) -> list[str]:
        """Return a sentence for each language that needs more tokens than the limit allows."""
        return [self.describe(change) for change in self.regressions]

    def charts(self) -> dict[str, Chart]:
        """Return the chart `change`: a bar a language with its interval and the limit, the worst first."""
        codes = [change.language for change in self.changes]
        largest = max((abs(one.value) for one in self.changes if one.value is not None), default=0.0)
        # A limit far beyond every change would leave no room for them.
        near = self.max_regression <= 3 * largest
        caption = f"Tokens of the same lines, {self.after} against {self.before}; left is cheaper."
        if any(change.low is not None for change in self.changes):
            caption += " Thin lines are 95 % intervals."
        series = Series(
            "change",
            [change.value for change in self.changes],
            [change.low for change in self.changes],
            [change.high for change in self.changes],
            gaps=["" if change.value is not None else _name_gap(change) for change in self.changes],
        )
        return {
            "change": Chart(
                "bars", "Change in tokens by language", caption, [series], unit="share", signed=True,
                labels=list(name_languages(codes).values()), ids=codes, axis="change in tokens",
                marks={self.max_regression: f"limit {_show_limit(self.max_regression)}"} if near else {},
            )
        }  # fmt: skip

    def _judge(self) -> Iterator[Said]:
        """Yield what the comparison comes to, in sentences."""
        names = name_languages(change.language for change in self.changes)
        known = [(change.value, names[change.language]) for change in self.changes if change.value is not None]
        worse, of, limit = self.regressions, len(self.changes), _show_limit(self.max_regression)
        if worse:
            dear = [names[change.language] for change in worse if change.value is not None]
            lost = [names[change.language] for change in worse if change.value is None]
            said = f"{len(dear)} of {of} languages need over {limit} more tokens" if dear else ""
            gone = f"{len(lost)} {'is' if len(lost) == 1 else 'are'} lost or not measured" if lost else ""
            yield Said(f"Fails: {' and '.join(filter(None, (said, gone)))}.", "bad")
            yield Said(f"{'It is' if len(worse) == 1 else 'They are'} {shorten_names([*dear, *lost], 8)}.")
        else:
            have = f"{of}" if len(known) == of else f"the {len(known)} that have a change"
            yield Said(f"Holds: no language of {have} needs over {limit} more tokens.", "good")
        cheaper, dearer = [pair for pair in known if pair[0] < 0], [pair for pair in known if pair[0] > 0]
        for found, word, best in ((cheaper, "fewer", min), (dearer, "more", max)):
            if found:
                value, name = best(found)
                yield Said(f"{len(found)} of {of} need {word} tokens, most {name}: {value:+.1%}.")
        if gaps := [names[change.language] for change in self.changes if change.value is None]:
            yield Said(f"No change is given for {shorten_names(gaps, 8)}: the table says why.", "warn")

    def _render(self) -> str:
        """Return the page of the comparison."""
        names = name_languages(change.language for change in self.changes)
        rows = []
        for one, shown in zip(self.changes, self.to_rows(marked=True), strict=True):
            ends = "" if one.low is None or one.high is None else f"{one.low:+.2%} to {one.high:+.2%}"
            change = str(shown["change"]) if one.value is None else f"{one.value:+.2%}"
            cells = [Cell(change, one.value), Cell(ends), Cell("–" if one.n is None else f"{one.n:,}", one.n)]
            said = "; ".join(str(part) for part in (shown["verdict"], one.note) if part)
            rows.append(Row(names[one.language], [*cells, Cell(said, words=True)], id=one.language))
        columns = ["language", "change", "95 % interval", "lines", "verdict"]
        table = Table(f"Change in tokens from {self.before} to {self.after}", columns, rows, _WORDS)
        told = {name: said for name, said in self.audit.method.items() if name in _TOLD_OF}
        return render_sections(
            f"{self.after} against {self.before}",
            list(self._judge()),
            [Section("Who pays more, who less", [self.charts()["change"], table])],
            method={"before": self.before, "after": self.after, **told},
            beside={"report.html": "all that was measured"},
        )


_WORDS = frozenset({"verdict"})
_TOLD_OF = ("text", "alignment", "intervals", "lost text", "versions")
"""What of an audit's method is about a change in tokens."""


def _show_limit(limit: float) -> str:
    return f"{100 * limit:.4g} %"


def _name_gap(change: Change) -> str:
    note = change.note or ""
    return "lost" if "lost in unknown tokens" in note else "not measured" if "not measured" in note else "–"


def run_comparison(
    first: str | Path,
    second: str | Path | None,
    corpus: str | Path | Corpus | AuditText,
    output: str | Path | None = None,
    *,
    against: str | Path | None = None,
    max_regression: str | float = "2%",
    languages: Sequence[str] | None = None,
    panel: str | Path | Panel | None = None,
    aligned: Aligned = "auto",
    limit: int | None = None,
    pattern: str | None = None,
    resamples: int = 1_000,
    seed: int = 0,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **reading: Unpack[Reading],
) -> Comparison:
    """Return by how much each language's tokens change from the `first` tokenizer to the `second`.

    With `against`, an audit's folder or audit.parquet, what is held to is what stands there: `first` is then
    the one tokenizer to hold to it, or, before a `second`, the name in that audit of the one to hold it to. The
    text must be that audit's; there is no interval, since it keeps no lines. `max_regression` (`2%` or 0.02) is
    how many more tokens a language may need. The audit of what was measured is written to `output`, with its
    page. For the rest see `run_audit`. Raises ConfigError also for another text.
    """
    try:
        limit_share = parse_share(max_regression, math.inf)
    except ValueError as error:
        meant = f"{str(max_regression).strip()}%" if str(error).endswith("%?") else "2%"
        raise ConfigError(f"--max-regression {error}", f"--max-regression {shlex.quote(meant)}") from error
    stored = None
    if against is not None:
        stored = _load_baseline(against, None if second is None else str(first))
        paths: list[str | Path] = [first if second is None else second]
        if output is not None:
            # The baseline is an input: it is not replaced by what is held to it.
            check_output(Path(output), [against], force=force)
    elif second is None:
        what = "one tokenizer, and nothing to hold it to"
        raise ConfigError(what, f"vocabkit compare {shlex.quote(str(first))} TOK-B --corpus DIR")
    else:
        paths = [first, second]
    if output is not None:
        check_output(Path(output), [p for p in (*paths, corpus) if isinstance(p, str | Path)], force=force)
    audit = run_audit(
        paths, corpus, languages=languages, panel=panel, aligned=aligned, limit=limit,
        pattern=pattern, integrity=False, resamples=resamples, seed=seed, workers=workers,
        progress=progress, **reading,
    )  # fmt: skip
    if stored is None:
        found = _compare_tokenizers(audit, *audit.names, max_regression=limit_share)
    else:
        chosen = languages is not None or panel is not None or limit is not None
        found = _compare_stored(audit, *stored, max_regression=limit_share, narrowed=chosen)
    if output is not None:
        found.audit.save(output, force=force, pages={"comparison.html": found._render()})
    return found


# --- A stored baseline -----------------------------------------------------------------------------
# An audit keeps tokens by language, and with them enough to tell its text from another: lines, characters and
# bytes of each language.

_Baseline = tuple[str, dict[str, dict[str, Figure]]]
"""The name of a tokenizer in a stored audit, and its figures by language and metric."""
_TOLD = {"characters_per_token": "characters", "bytes_per_token": "bytes"}


def _load_baseline(source: str | Path, wanted: str | None) -> _Baseline:
    """Read one tokenizer's figures from an audit. Raises CorpusError, ConfigError for one that is not in it."""
    figures = [f for f in load_figures(source) if f.scope == "language"]
    names = list(dict.fromkeys(f.tokenizer for f in figures))
    name = wanted if wanted is not None else names[0] if len(names) == 1 else ""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1) or names or ["TOK-A"]
        said = f"holds no tokenizer {name!r}" if wanted is not None else f"holds {len(names)} tokenizers"
        command = f"vocabkit compare {shlex.quote(near[0])} TOK-B --against {shlex.quote(str(source))}"
        raise ConfigError(f"{source} {said}; name one of {', '.join(names)}", f"{command} --corpus DIR")
    held: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        if figure.tokenizer == name:
            held.setdefault(figure.name, {})[figure.metric] = figure
    return name, held


def _compare_stored(
    audit: Audit,
    before: str,
    held: Mapping[str, Mapping[str, Figure]],
    *,
    max_regression: float,
    narrowed: bool,
) -> Comparison:
    """Return by how much the audit's tokenizer needs more tokens than one that was measured before.

    A language of the baseline that is not measured now counts as a regression, unless the text was `narrowed`;
    one that the baseline does not have has nothing to be held to.
    """
    (after,) = audit.names
    name = before if before != after else f"{before} (stored)"
    own: dict[str, dict[str, Figure]] = {}
    for figure in audit.select(scope="language"):
        own.setdefault(figure.name, {})[figure.metric] = figure
    own = {code: one for code, one in own.items() if "tokens" in one}
    held = {code: one for code, one in held.items() if "tokens" in one}
    figures, changes = Figures(after), list[Change]()
    for code, now in own.items():
        then, n = held.get(code), now["tokens"].n
        value, notes = None, [f"not in the baseline of {before}"]
        if then is not None:
            _check_same_text(code, now, then)
            losses = {who: explain_loss(_share_lost(one)) for who, one in ((name, then), (after, now))}
            notes = [f"{who}: {loss}" for who, loss in losses.items() if loss is not None]
            old, new = then["tokens"].value, now["tokens"].value
            value = new / old - 1.0 if not notes and old and new is not None else None
        worse = explain_loss(_share_lost(now)) is not None or (value is not None and value > max_regression)
        note = "; ".join(notes) or None
        changes.append(Change(code, value, None, None, n, worse, worse, note))
        how = f"ratio of sums over the same lines, against the stored {before}"
        figures.add(code, CHANGE, value, "share more tokens", how, n=n, note=note)
    told = {change.language for change in changes}
    gone = {code: "not measured: not in this text" for code in held if code not in own and not narrowed}
    gone |= {name.rpartition(": ")[2]: f"not measured: {reason}" for name, reason in audit.failures.items()}
    for code, reason in gone.items():
        if code not in told and (code in held or not narrowed):
            changes.append(Change(code, None, None, None, None, True, True, reason))
    changes.sort(key=lambda change: (change.value is not None, -(change.value or 0.0), change.language))
    return Comparison(
        name, after, max_regression, tuple(changes), replace(audit, figures=(*audit.figures, *figures))
    )


def _share_lost(figures: Mapping[str, Figure]) -> float | None:
    figure = figures.get("unknown_characters")
    return None if figure is None else figure.value


def _check_same_text(code: str, now: Mapping[str, Figure], then: Mapping[str, Figure]) -> None:
    """Raise ConfigError unless two audits of a language are of equally many lines, characters and bytes."""
    sizes = []
    for one in (now, then):
        size = {"lines": one["tokens"].n or 0}
        for metric, unit in _TOLD.items():
            if (figure := one.get(metric)) is not None and figure.value is not None:
                size[unit] = round(figure.value * (one["tokens"].value or 0.0))
        sizes.append(size)
    for unit in sizes[0]:
        if sizes[0][unit] != sizes[1].get(unit, sizes[0][unit]):
            raise ConfigError(
                f"{code}: this text has {sizes[0][unit]:,} {unit}, the baseline's had {sizes[1][unit]:,}: "
                "tokens of different texts do not compare",
                "audit the old tokenizer on this text: vocabkit audit TOKENIZER --corpus DIR -o DIR",
            )


# --- Two tokenizers of one audit -------------------------------------------------------------------


def _compare_tokenizers(audit: Audit, before: str, after: str, *, max_regression: float = 0.02) -> Comparison:
    """Return by how much `after` needs more tokens than `before`, the worst language first.

    One of the two must be the audit's first tokenizer. A language that `before` encodes and `after` loses
    counts as a regression, and so does one that was not measured. Raises ConfigError for a name the audit
    does not have.
    """
    names = audit.names
    for name in (before, after):
        if name not in names:
            what = f"no tokenizer {name!r} in this audit; it has {', '.join(names)}"
            raise ConfigError(what, "vocabkit audit TOK-A TOK-B --corpus DIR -o report/")
    if before == after or names[0] not in (before, after):
        what = f"{before} and {after} cannot be compared: changes are against {names[0]}"
        raise ConfigError(what, f"audit {before} first, then {after}")
    forward = before == names[0]
    changes = []
    for figure in audit.select(CHANGE, "language", tokenizer=after if forward else before):
        value, low, high = figure.value, figure.low, figure.high
        if not forward:
            # x → 1 ÷ (1 + x) − 1 is monotonic: the percentiles change places and stay percentiles.
            value, low, high = (None if x is None else 1 / (1 + x) - 1 for x in (value, high, low))
        lost = value is None and (figure.note or "").startswith(f"{after}: ")
        regressed, certain = (x is not None and x > max_regression for x in (value, low))
        verdict = (lost or regressed, lost or certain)
        changes.append(Change(figure.name, value, low, high, figure.n, *verdict, figure.note))
    # A gate that passes because the worst language could not be read is none.
    told = {change.language for change in changes}
    for name, reason in audit.failures.items():
        code = name.rpartition(": ")[2]
        if code in told:
            changes = [replace(c, regressed=True, certain=True) if c.language == code else c for c in changes]
        else:
            changes.append(Change(code, None, None, None, None, True, True, f"not measured: {reason}"))
    changes.sort(key=lambda change: (change.value is not None, -(change.value or 0.0), change.language))
    return Comparison(before, after, max_regression, tuple(changes), audit)
