"""How much of each language a fit sees: natural, exponent, UniMax, uniform or explicit quotas.

A weight multiplies a language's counts: target share ÷ natural share. Weights are clipped at a limit, and
what a clipped language may not take is shared out among the others in proportion, so that target shares
still sum to one. Nothing here reads text or counts; shares of documents while pretraining use the same rules.

With N languages of mass c and natural share q = c ÷ Σc:

    exponent   p ∝ q^α                                  (α = 1 natural, 0 uniform; arXiv 1911.02116, α = 0.3)
    unimax     smallest language first: U = min(budget left ÷ languages left, max_epochs · c)
                                                        (arXiv 2304.09151; the budget is the corpus's size)
    uniform    p = 1 ÷ N
    quota      p as given; shares sum to 1
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from vocabkit.core.errors import ConfigError
from vocabkit.core.languages import resolve_keys
from vocabkit.corpus.word_counts import WordCounts

Method = Literal["natural", "exponent", "unimax", "uniform", "quota"]

OVERSAMPLING_LIMIT = 8.0
"""A weight above this is clipped: repeating a small corpus further teaches its quirks, not its language."""
OVERSAMPLING_WARNING = 4.0
"""A weight above this is reported; four passes is also UniMax's usual bound."""
_QUOTA_ROUNDING = 0.001
"""How far a quota's sum may be from 1: what rounding of a few shares to three digits leaves."""


@dataclass(frozen=True, slots=True)
class Mass:
    """The size of one language's training text, in every unit a weighting can use."""

    language: str
    documents: int
    words: int
    characters: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LanguageWeight:
    """One language's row.

    `share` is its natural share of the mass, `target_share` what the fit sees, `weight` their ratio, and
    `epochs` how often a draw as large as the corpus passes over the language (equal to the weight by
    definition; kept as a column because it is the figure people compare). `clipped` says that the limit
    lowered it.
    """

    language: str
    mass: float
    share: float
    target_share: float
    weight: float
    epochs: float
    clipped: bool
    note: str


@dataclass(frozen=True, slots=True)
class LanguageWeights:
    """The weights of all languages, sorted by code; target shares sum to one."""

    rows: tuple[LanguageWeight, ...]
    method: Method
    limit: float
    warn_above: float

    def __getitem__(self, language: str) -> LanguageWeight:
        """Return the row of a language; KeyError when it has none."""
        return {row.language: row for row in self.rows}[language]

    @property
    def weights(self) -> dict[str, float]:
        """Weight by language code."""
        return {row.language: row.weight for row in self.rows}

    def warnings(self) -> list[str]:
        """Return one sentence for each thing a reader of the result should know."""
        found = []
        clipped = [row for row in self.rows if row.clipped]
        if clipped:
            names = ", ".join(row.language for row in clipped)
            found.append(
                f"clipped at {self.limit:g}× their natural share: {names} "
                f"(--allow-oversampling N raises the limit)"
            )
        high = [row for row in self.rows if row.weight > self.warn_above and not row.clipped]
        if high:
            names = ", ".join(f"{row.language} {row.weight:.1f}×" for row in high)
            found.append(f"oversampled more than {self.warn_above:g}×: {names}")
        return found


def measure_masses(counts: WordCounts) -> dict[str, Mass]:
    """Return the mass of every language's training split; reads no table."""
    return {c: Mass(c, t.documents, t.words, t.characters, t.bytes) for c, t in counts.totals.items()}


def weigh_languages(
    masses: Mapping[str, float],
    method: Method,
    *,
    exponent: float = 0.3,
    max_epochs: float = 4.0,
    quota: Mapping[str, float] | None = None,
    limit: float = OVERSAMPLING_LIMIT,
    warn_above: float = OVERSAMPLING_WARNING,
) -> LanguageWeights:
    """Return target shares and weights for languages of the given masses (any unit, all positive).

    `exponent` serves `exponent`, `max_epochs` serves `unimax`, `quota` (language → share; they sum to 1)
    serves `quota`. Raises `ConfigError` for an empty language, an unknown method, a value out of range, or
    quotas that name a language without text, leave one out, or do not sum to 1.
    """
    _check_masses(masses, limit)
    codes = sorted(masses)
    total = math.fsum(masses.values())
    natural = {code: masses[code] / total for code in codes}
    if method == "natural" or (method == "exponent" and exponent == 1.0):
        target = natural
    elif method == "exponent":
        target = _exponent_shares(natural, exponent)
    elif method == "unimax":
        target = _unimax_shares({code: masses[code] for code in codes}, max_epochs)
    elif method == "uniform":
        target = {code: 1.0 / len(codes) for code in codes}
    elif method == "quota":
        target = _quota_shares(codes, quota)
    else:
        near = difflib.get_close_matches(str(method), get_args(Method), n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of: {', '.join(get_args(Method))}"
        raise ConfigError(f"languages.weighting = {method!r}: no such method", hint)
    shares, clipped = _clip_shares(target, natural, limit)
    rows = []
    for code in codes:
        # Exactly 1 and exactly the limit, where they are meant: division would leave 1 + 2⁻⁵².
        weight = min(shares[code] / natural[code], limit)
        if code in clipped:
            weight = limit
        elif shares[code] == natural[code]:
            weight = 1.0
        note = f"asked for {target[code] / natural[code]:.2f}×" if code in clipped else ""
        shown = (masses[code], natural[code], shares[code], weight, weight, code in clipped, note)
        rows.append(LanguageWeight(code, *shown))
    return LanguageWeights(tuple(rows), method, limit, warn_above)


def _clip_shares(
    target: Mapping[str, float], natural: Mapping[str, float], limit: float
) -> tuple[dict[str, float], frozenset[str]]:
    """Return target shares with no ratio to the natural share above `limit`, and the languages clipped.

    Water-filling: clipped languages stand at limit × natural share and the others are scaled up by one
    factor to fill what is left; scaling may push another language over the limit, so it repeats. It ends
    after at most as many rounds as there are languages, exactly: each round clips at least one more. A
    language is only ever clipped when its final ratio would exceed the limit. `limit` must be at least 1.
    """
    clipped: set[str] = set()
    factor = 1.0
    while True:
        over = {code for code, share in target.items() if share * factor > limit * natural[code]} - clipped
        if not over:
            break
        clipped |= over
        free = math.fsum(share for code, share in target.items() if code not in clipped)
        left = 1.0 - limit * math.fsum(natural[code] for code in clipped)
        if free <= 0.0:
            break
        factor = left / free
    if not clipped:
        return dict(target), frozenset()
    shares = {
        code: limit * natural[code] if code in clipped else share * factor for code, share in target.items()
    }
    return shares, frozenset(clipped)


def _exponent_shares(natural: Mapping[str, float], exponent: float) -> dict[str, float]:
    if not (math.isfinite(exponent) and 0.0 <= exponent <= 1.0):
        raise ConfigError(
            f"languages.exponent = {exponent}: must lie between 0 (uniform) and 1 (natural)",
            "--set languages.exponent=0.3",
        )
    # Dividing by the largest share first keeps tiny shares away from underflow; the quotient is the same.
    top = max(natural.values())
    raised = {code: (share / top) ** exponent for code, share in natural.items()}
    total = math.fsum(raised.values())
    return {code: value / total for code, value in raised.items()}


def _unimax_shares(masses: Mapping[str, float], max_epochs: float) -> dict[str, float]:
    if not (math.isfinite(max_epochs) and max_epochs >= 1.0):
        raise ConfigError(
            f"languages.max_epochs = {max_epochs}: must be at least 1, or the budget cannot be spent",
            "--set languages.max_epochs=4",
        )
    remaining = math.fsum(masses.values())
    allotted: dict[str, float] = {}
    order = sorted(masses, key=lambda code: (masses[code], code))
    for done, code in enumerate(order):
        allotted[code] = min(remaining / (len(order) - done), max_epochs * masses[code])
        remaining -= allotted[code]
    total = math.fsum(allotted.values())
    return {code: allotted[code] / total for code in masses}


def check_quota(weighting: str, quota: Mapping[str, float] | None) -> None:
    """Check a quota before there is any text: used if it is set, shares positive and summing to 1.

    Raises ConfigError. A sum of 1.1 is a slip that only its author can put right: no share would be the one
    asked for. Thirds written to three digits are within 0.001.
    """
    if weighting != "quota":
        if quota:
            raise ConfigError(
                f"languages.quota is set but languages.weighting is {weighting!r}: it would do nothing",
                "--set languages.weighting=quota  # or --set 'languages.quota={}'",
            )
        return
    if not quota:
        raise ConfigError(
            "languages.quota is empty: weighting by quota needs a share for every language",
            "--set 'languages.quota={eng_Latn=0.5, yor_Latn=0.5}'",
        )
    for code, share in quota.items():
        if not (math.isfinite(share) and share > 0.0):
            raise ConfigError(
                f"languages.quota.{code} = {share}: a share must be positive",
                f"give {code} a share above 0, or leave it out with --languages",
            )
    total = math.fsum(quota.values())
    if abs(total - 1.0) > _QUOTA_ROUNDING:
        shares = ", ".join(f"{code}={share / total:.6g}" for code, share in quota.items())
        raise ConfigError(f"languages.quota sums to {total:g}, not 1", f"--set 'languages.quota={{{shares}}}'")


def _quota_shares(codes: list[str], quota: Mapping[str, float] | None) -> dict[str, float]:
    quota = resolve_keys(quota or {}, codes)
    unknown = sorted(set(quota) - set(codes))
    if unknown:
        raise ConfigError(
            f"languages.quota names languages that are not fitted: {', '.join(unknown)}",
            f"fitted are: {', '.join(codes)}",
        )
    missing = [code for code in codes if code not in quota] if quota else []
    if missing:
        raise ConfigError(
            f"languages.quota has no share for: {', '.join(missing)}",
            "give every fitted language a share, or narrow the fit with --languages",
        )
    check_quota("quota", quota)
    assert quota
    total = math.fsum(quota.values())
    # Shares that were divided by their sum are not divided again, which would change their last digit.
    whole = total if abs(total - 1.0) > 1e-12 else 1.0
    return {code: quota[code] / whole for code in codes}


def _check_masses(masses: Mapping[str, float], limit: float) -> None:
    if not masses:
        raise ConfigError("no language to fit", "vocabkit count CORPUS -o counts/")
    for code, mass in masses.items():
        if not (math.isfinite(mass) and mass > 0.0):
            raise ConfigError(f"{code} has no text to fit (mass {mass:g})", "leave it out with --languages")
    if not (math.isfinite(limit) and limit >= 1.0):
        raise ConfigError(
            f"languages.allow_oversampling = {limit}: must be at least 1", "--allow-oversampling 8"
        )
