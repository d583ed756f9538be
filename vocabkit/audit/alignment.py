"""Whether line i of one language says what line i of another does, told without understanding either.

Equal numbers of lines suggest it; lengths that do not go together deny it: a long sentence is long in every
language, in whatever script. Reads no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, get_args

import numpy as np

from vocabkit.core.errors import ConfigError, CorpusError
from vocabkit.corpus.reading import Repairs

Aligned = Literal["auto", "yes", "no"]

MIN_ALIGNED = 100
"""Fewest lines whose equal number is taken, untold, as a sign of aligned text."""
MIN_AGREEMENT = 0.5
"""Least correlation of a language's line lengths with the others'.

Of 122 languages the lowest is 0.90 on 1,997 parallel lines and 0.64 on 50; a language whose lines are one out
of step has 0.20 at most, one whose lines are shuffled 0.02 (0.34 on 100 lines).
"""
_ENOUGH_TO_CORRELATE = 30


@dataclass(frozen=True, slots=True)
class Alignment:
    """Whether lines correspond across languages, how many there are, and why that was concluded.

    `lines` is None where `aligned` is False. `excluded` are the languages that take no part in aligned figures,
    with the reason.
    """

    aligned: bool
    lines: int | None
    note: str
    excluded: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class LineTally:
    """One language as read: the kept lines, how many there are in all, and what was mended.

    `filled` is how many there are up to the last that is not blank. `reason` says why positions are not to be
    trusted, where they are not.
    """

    lines: list[str] = field(default_factory=list)
    total: int = 0
    filled: int = 0
    repairs: Repairs = field(default_factory=Repairs)
    reason: str | None = None

    def fits(self, count: int) -> bool:
        """Return whether there are so many lines, blank ones at the end aside."""
        return self.filled <= count <= self.total

    def add(self, lines: list[str], limit: int | None) -> None:
        """Count further lines, and keep those within the limit."""
        last = next((i for i in range(len(lines), 0, -1) if lines[i - 1].strip()), None)
        if last is not None:
            self.filled = self.total + last
        self.total += len(lines)
        self.lines += lines if limit is None else lines[: max(0, limit - len(self.lines))]


def align_lines(name: str, read: Mapping[str, LineTally], aligned: Aligned) -> Alignment:
    """Return which languages' lines correspond.

    With `auto`, those with the number of lines most have, unless they are few or their lengths disagree; with
    `yes` those with that number. Raises `CorpusError` when `yes` finds no two, `ConfigError` for another word.
    """
    if aligned not in get_args(Aligned):
        raise ConfigError(f"aligned = {aligned!r} is none of {', '.join(get_args(Aligned))}")
    if aligned == "no":
        return Alignment(False, None, "treated as not aligned, as asked")
    if len(read) < 2:
        return Alignment(False, None, "one language alone")
    count, excluded = _agree(read)
    members = [code for code in read if code not in excluded]
    if len(members) < 2:
        counts = Counter(part.total for part in read.values())
        shown = ", ".join(f"{code} {part.total:,}" for code, part in islice(read.items(), 4))
        if aligned == "yes":
            raise CorpusError(
                f"{name}: not aligned: no two languages have the same number of lines ({shown}, …)",
                "leave --aligned out to audit the text as it is",
            )
        reason = "no two languages have as many lines" if len(counts) > 1 else "places are lost"
        return Alignment(False, None, f"{reason} ({shown}{', …' if len(read) > 4 else ''})")
    lines = min(count, max(len(read[code].lines) for code in members))
    if aligned == "yes":
        return Alignment(True, lines, _describe(lines, members, excluded, "as told"), excluded)
    if count < MIN_ALIGNED:
        return Alignment(
            False, None, f"equal counts of {count} lines are too few to tell: say --aligned yes"
        )
    agreement = correlate_lengths({code: read[code].lines[:lines] for code in members})
    for code, value in agreement.items():
        if value < MIN_AGREEMENT and lines >= _ENOUGH_TO_CORRELATE:
            excluded[code] = (
                f"its lines are as many, but their lengths do not fit (r = {value:.2f})"
            )
    members = [code for code in members if code not in excluded]
    if len(members) < 2:
        return Alignment(
            False, None, f"{count} lines in each, but long and short lines do not go together"
        )
    return Alignment(True, lines, _describe(lines, members, excluded, "by equal counts"), excluded)


def _agree(read: Mapping[str, LineTally]) -> tuple[int, dict[str, str]]:
    """Return the number of lines most languages have, and who differs; blank lines at the end may go."""
    usable = [part for part in read.values() if part.reason is None]
    candidates = {number for part in usable for number in (part.total, part.filled)}
    # Of two numbers that fit as many the larger: it excludes text rather than cutting it.
    count = max(candidates, key=lambda n: (sum(part.fits(n) for part in usable), n), default=0)
    excluded = {}
    for code, part in read.items():
        if part.reason is not None:
            excluded[code] = part.reason
        elif not part.fits(count):
            excluded[code] = f"{part.total:,} lines, not {count:,}"
    return count, excluded


def correlate_lengths(lines: Mapping[str, list[str]]) -> dict[str, float]:
    """Return how each language's log line lengths correlate with the mean of the others'; 1 where constant.

    Lengths are standardised per language, so that a language is as heavy as another whatever its script.
    """
    table = np.array(
        [np.log1p(np.fromiter(map(len, rows), np.float64, len(rows))) for rows in lines.values()]
    )
    table -= table.mean(axis=1, keepdims=True)
    scale = table.std(axis=1, keepdims=True)
    constant = scale[:, 0] < 1e-9
    table /= np.where(scale < 1e-9, 1.0, scale)
    others = table.sum(axis=0) - table
    norms = np.linalg.norm(table, axis=1) * np.linalg.norm(others, axis=1)
    dots = (table * others).sum(axis=1)
    values = np.where(constant | (norms < 1e-9), 1.0, dots / np.maximum(norms, 1e-9))
    return dict(zip(lines, values.tolist(), strict=True))


def _describe(lines: int, members: list[str], excluded: Mapping[str, str], how: str) -> str:
    note = f"{lines:,} lines aligned across {len(members)} languages, {how}"
    if excluded:
        shown = "; ".join(f"{code}: {reason}" for code, reason in islice(excluded.items(), 8))
        note += f"; left out of aligned figures: {shown}" + ("; …" if len(excluded) > 8 else "")
    return note
