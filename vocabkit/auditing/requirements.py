"""What is required of an audit, as `premium.bottom_decile<2.0` or `fertility[yor_Latn]<=2.5`, and if it holds.

Every metric there is stands here, so that a slip in a name is told before a text is read. Figures are judged,
never made: nothing here looks at text or tokens.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vocabkit.auditing.figures import Figure
from vocabkit.auditing.metrics import COMMON_STATISTICS, COMMON_SUFFIX, STATISTICS, group_languages
from vocabkit.core.errors import ConfigError, shorten_names
from vocabkit.core.languages import CODE, Panel, find_codes

ALLOCATION = ("allocation_characters", "allocation_words")
"""Share of the vocabulary over share of the corpus."""
_FORM = re.compile(
    r"\s*(?P<metric>[A-Za-z_][\w.]*)\s*(?:\[(?P<name>[^\]]+)\])?\s*"
    r"(?P<sign><=|>=|<|>|≤|≥)\s*(?P<limit>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<percent>%?)\s*"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_COSTS = ("premium", "fertility")
_PREMIUM = ("premium", "byte_premium")
_HINT = "write METRIC<NUMBER, as in premium.bottom_decile<2.0 or fertility[yor_Latn]<=2.5"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A limit on a metric: of the group or language `name`, or, without one, of the whole audit."""

    text: str
    metric: str
    name: str | None
    sign: str
    limit: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether one figure meets a requirement.

    A figure without a value does not, nor does one over languages of which some are not in it: `lost` of them
    have their text lost in unknown tokens and are worse than any number says; `missing` were asked for or
    found and not measured, and may be the worst.
    """

    requirement: Requirement
    figure: Figure
    met: bool
    lost: int = 0
    missing: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the outcome in a sentence: tokenizer, figure, value, interval."""
        figure = self.figure
        said = f"{figure.tokenizer}: {self.requirement.text}: "
        metric = figure.metric + ("" if figure.name == "all" else f" of {figure.name}")
        if figure.value is None:
            return f"{said}{metric} has no value" + (f" ({figure.note})" if figure.note else "")
        said += f"{'met' if self.met else 'not met'}: {metric} is {figure.value:.4g}"
        if figure.low is not None and figure.high is not None:
            said += f" (95 %: {figure.low:.4g}–{figure.high:.4g})"
        said += f", but {self.lost} languages are lost in unknown tokens" if self.lost else ""
        return said + (f", but without {shorten_names(self.missing)}, not measured" if self.missing else "")


def parse_requirement(text: str) -> Requirement:
    """Read a requirement. Raises ConfigError saying how one is written."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError(f"requirement {text!r} cannot be read", _HINT)
    limit = float(found["limit"]) / (100.0 if found["percent"] else 1.0)
    if found["metric"] in _SHARES and limit > 1 and not found["percent"]:
        given = f"{found['limit']} is {limit:.0%} of a share"
        raise ConfigError(f"requirement {text!r}: {given}; {found['limit']}%?", f"--require '{text.strip()}%'")
    sign = found["sign"].replace("≤", "<=").replace("≥", ">=")
    name = found["name"].strip() if found["name"] else None
    return Requirement(text.strip(), found["metric"], name, sign, limit)


# Every metric there is, by what it is given for: a slip in a name is told before a text is read.
_SHARES = frozenset({
    "change", "unknown_characters", "unknown_tokens", "byte_fallback", "partial_tokens", "words_continued",
    "words_whole", "character_coverage", "exemplar_coverage", "grapheme_splits", "script_share",
    "roundtrip_failures", "lines_normalized", "nfd_differs", "mark_order_differs", "vocabulary_share",
    "corpus_share_characters", "corpus_share_words", "mixed_pieces", "partial_pieces", "unused_ids",
    "pieces_of_length",
})  # fmt: skip
_SPREAD = ("premium", "premium_median", "premium_fixed", "fertility")
_OF_GROUPS = frozenset({
    "languages_lost",
    *(f"{metric}.{one.name}" for metric in _SPREAD for one in STATISTICS),
    *(f"{metric}.{name}{COMMON_SUFFIX}" for metric in _SPREAD for name in COMMON_STATISTICS),
    *(f"{metric}.spearman_{what}" for metric in _COSTS for what in ("resource", "script_share")),
})  # fmt: skip
_OF_VOCABULARIES = frozenset({
    "pieces", "vocabulary_share", "pieces_of_kind", "pieces_unattributed", "vocabulary_size", "mixed_pieces",
    "partial_pieces", "embedding_parameters", "corpus_share_characters", "corpus_share_words", *ALLOCATION,
    "pieces_of_length", "unused_ids", "renyi_2.5", "renyi_2.5.observed", "renyi_3", "renyi_3.observed",
    "tokens_per_digit",
    *(f"piece_{unit}.{how}" for unit in ("bytes", "characters") for how in ("mean", "median", "max")),
})  # fmt: skip
_OF_LANGUAGES = frozenset({
    *_SPREAD, "byte_premium", "tokens", "tokens_per_white_space_word", "tokens_per_grapheme",
    "characters_per_token", "bytes_per_token", "code_switching", "nfd_cost", "cost_of_sharing",
    "fertility_alone", "resource_size",
    *(_SHARES - _OF_VOCABULARIES),
})  # fmt: skip
METRICS = _OF_LANGUAGES | _OF_GROUPS | _OF_VOCABULARIES
"""The metrics of an audit; some need alignment, counts, two tokenizers, or the integrity checks."""


def check_names(
    requirements: Iterable[Requirement], codes: Sequence[str], panel: Panel, missing: Collection[str] = ()
) -> None:
    """Raise ConfigError where a requirement names a metric that there is not, or a language not in the text.

    `missing` are languages without data: a requirement on one is not met, and no mistake.
    """
    groups = {name for _, name in group_languages(tuple(codes), panel)}
    for requirement in requirements:
        if requirement.metric not in METRICS:
            raise _refuse_metric(requirement, METRICS)
        if requirement.name is None or requirement.metric in _OF_VOCABULARIES:
            continue
        known = groups if requirement.metric in _OF_GROUPS else {*codes, *missing}
        called = find_codes(requirement.name, filter(CODE.fullmatch, known))
        if requirement.name not in known and len(called) != 1:
            raise _refuse_name(requirement, known)


def _refuse_metric(requirement: Requirement, known: Iterable[str]) -> ConfigError:
    listed = sorted(known)
    near = difflib.get_close_matches(requirement.metric, listed, n=3, cutoff=0.5)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return ConfigError(
        f"requirement {requirement.text!r}: no metric {requirement.metric!r}{meant}",
        f"the metrics are {', '.join(listed)}" if listed else _HINT,
    )


def _refuse_name(requirement: Requirement, known: Iterable[str]) -> ConfigError:
    listed = sorted(known)
    near = difflib.get_close_matches(requirement.name or "", listed, n=3, cutoff=0.5) or listed[:8]
    return ConfigError(
        f"requirement {requirement.text!r}: {requirement.metric} of {requirement.name!r} is not "
        f"in this audit; it has {', '.join(near)}",
        "name a language, script, group or resource class of the audit",
    )


def check_requirements(
    figures: Sequence[Figure],
    failures: Mapping[str, str],
    tokenizers: Sequence[str],
    requirements: Iterable[Requirement | str],
) -> list[Outcome]:
    """Return the outcome of every requirement for every tokenizer it applies to, from what an audit found.

    Without a name the overall figure is meant, or every language's where the metric has no overall one. None
    is met while a language that was asked for or found is not measured. Raises ConfigError for a metric or a
    name that the audit does not have.
    """
    outcomes = []
    for given in requirements:
        requirement = parse_requirement(given) if isinstance(given, str) else given
        for figure in _find(figures, failures, tokenizers, requirement):
            lost = 0
            if figure.scope not in ("language", "vocabulary") and figure.metric.startswith(_COSTS):
                # A figure over languages leaves out those whose text is lost.
                beside = _select(figures, "languages_lost", figure.scope, figure.tokenizer)
                lost = sum(int(found.value or 0) for found in beside if found.name == figure.name)
            missing = _list_missing(figures, failures, figure)
            holds = figure.value is not None and _SIGNS[requirement.sign](figure.value, requirement.limit)
            outcomes.append(Outcome(requirement, figure, holds and not lost and not missing, lost, missing))
    return outcomes


def _select(figures: Iterable[Figure], metric: str, scope: str, tokenizer: str) -> Iterator[Figure]:
    return (one for one in figures if (one.metric, one.scope, one.tokenizer) == (metric, scope, tokenizer))


def _list_missing(figures: Sequence[Figure], failures: Mapping[str, str], figure: Figure) -> tuple[str, ...]:
    """Return the languages that a figure should tell of and does not, lost ones aside.

    They are those that could not be read or encoded, and for a premium those whose lines are out of step.
    """
    apart = f"{figure.tokenizer}: "
    missing = {name.removeprefix(apart) for name in failures if name.startswith(apart) or ": " not in name}
    metric = figure.metric.partition(".")[0]
    if metric.startswith(_PREMIUM) and figure.scope != "language":
        # A lost language has no cost of either kind; one out of step has a fertility.
        rows = _select(figures, metric, "language", figure.tokenizer)
        without = {row.name for row in rows if row.value is None}
        words = _select(figures, "fertility", "language", figure.tokenizer)
        missing |= without & {row.name for row in words if row.value is not None}
    return tuple(sorted(missing))


def _find(
    all_figures: Sequence[Figure],
    failures: Mapping[str, str],
    tokenizers: Sequence[str],
    requirement: Requirement,
) -> list[Figure]:
    figures = [figure for figure in all_figures if figure.metric == requirement.metric]
    if not figures:
        raise _refuse_metric(requirement, {figure.metric for figure in all_figures})
    if requirement.name is None:
        overall = [figure for figure in figures if figure.name == "all"]
        return overall or [figure for figure in figures if figure.scope == "language"]
    name = requirement.name
    known = {figure.name for figure in figures} | {*failures}
    if name not in known:
        measured = {figure.name for figure in figures if figure.scope == "language"} | {*failures}
        codes = find_codes(name, filter(CODE.fullmatch, measured))
        if len(codes) != 1:
            raise _refuse_name(requirement, {figure.name for figure in figures})
        name = codes[0]
    named = [figure for figure in figures if figure.name == name]
    return named or [
        Figure(one, "language", name, requirement.metric, None, "", "", None, None, 0, failures[name])
        for one in tokenizers
    ]
