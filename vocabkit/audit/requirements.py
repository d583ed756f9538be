"""Requirements on an audit, as `premium.bottom_decile<2.0` or `fertility[yor_Latn]<=2.5`, and their outcome."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vocabkit.audit.figures import Audit, Figure
from vocabkit.core.errors import ConfigError

_FORM = re.compile(
    r"\s*(?P<metric>[A-Za-z_][\w.]*)\s*(?:\[(?P<name>[^\]]+)\])?\s*"
    r"(?P<sign><=|>=|<|>|≤|≥)\s*(?P<limit>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<percent>%?)\s*"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
)
_COSTS = ("premium", "fertility")
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

    A figure without a value does not, nor does one over languages of which `lost` have their text lost in
    unknown tokens: those are worse than any number says, and are not in it.
    """

    requirement: Requirement
    figure: Figure
    met: bool
    lost: int = 0

    def describe(self) -> str:
        """Return the outcome in a sentence: tokenizer, figure, value, interval."""
        figure = self.figure
        where = "" if figure.name == "all" else f" of {figure.name}"
        if figure.value is None:
            return (
                f"{figure.tokenizer}: {self.requirement.text}: {figure.metric}{where} has no value"
                + (f" ({figure.note})" if figure.note else "")
            )
        interval = ""
        if figure.low is not None and figure.high is not None:
            interval = f" (95 %: {figure.low:.4g}–{figure.high:.4g})"
        verdict = "met" if self.met else "not met"
        missing = f", but {self.lost} languages are lost in unknown tokens" if self.lost else ""
        return (
            f"{figure.tokenizer}: {self.requirement.text}: {verdict}: "
            f"{figure.metric}{where} is {figure.value:.4g}{interval}{missing}"
        )


def parse_requirement(text: str) -> Requirement:
    """Read a requirement. Raises ConfigError saying how one is written."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError(f"requirement {text!r} cannot be read", _HINT)
    limit = float(found["limit"]) / (100.0 if found["percent"] else 1.0)
    sign = found["sign"].replace("≤", "<=").replace("≥", ">=")
    name = found["name"].strip() if found["name"] else None
    return Requirement(text.strip(), found["metric"], name, sign, limit)


def check_requirements(audit: Audit, requirements: Iterable[Requirement | str]) -> list[Outcome]:
    """Return the outcome of every requirement for every tokenizer it applies to.

    Without a name the overall figure is meant, or every language's where the metric has no overall one.
    Raises ConfigError for a metric or a name that the audit does not have.
    """
    outcomes = []
    for given in requirements:
        requirement = parse_requirement(given) if isinstance(given, str) else given
        holds = _SIGNS[requirement.sign]
        for figure in _find(audit, requirement):
            lost = _count_lost(audit, figure)
            met = figure.value is not None and holds(figure.value, requirement.limit) and not lost
            outcomes.append(Outcome(requirement, figure, met, lost))
    return outcomes


def _count_lost(audit: Audit, figure: Figure) -> int:
    """How many languages a figure over languages leaves out because their text is lost."""
    if figure.scope in ("language", "vocabulary") or not figure.metric.startswith(_COSTS):
        return 0
    lost = audit.select(
        metric="languages_lost", scope=figure.scope, tokenizer=figure.tokenizer, name=figure.name
    )
    return sum(int(found.value or 0) for found in lost)


def _find(audit: Audit, requirement: Requirement) -> list[Figure]:
    figures = list(audit.select(metric=requirement.metric))
    if not figures:
        known = sorted({figure.metric for figure in audit.figures})
        near = difflib.get_close_matches(requirement.metric, known, n=3, cutoff=0.5)
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(
            f"requirement {requirement.text!r}: no metric {requirement.metric!r}{meant}",
            f"the metrics are {', '.join(known)}" if known else _HINT,
        )
    if requirement.name is not None:
        named = [figure for figure in figures if figure.name == requirement.name]
        if not named:
            known = sorted({figure.name for figure in figures})
            near = difflib.get_close_matches(requirement.name, known, n=3, cutoff=0.5) or known[:8]
            raise ConfigError(
                f"requirement {requirement.text!r}: {requirement.metric} of {requirement.name!r} is not "
                f"in this audit; it has {', '.join(near)}",
                "name a language, script, group or resource class of the audit",
            )
        return named
    overall = [figure for figure in figures if figure.name == "all"]
    return overall or [figure for figure in figures if figure.scope == "language"]
