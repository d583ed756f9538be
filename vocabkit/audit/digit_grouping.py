"""How a tokenizer cuts numbers, by writing system: digits alone, in groups, whole, or as pieces were learnt.

Read off the tokens of a few numbers in the middle of a line; how well they are cut is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

import unicodedata2

from vocabkit.audit.figures import Figure, Finding, Severity
from vocabkit.vocabulary.tokenizers import UNKNOWN_BYTES, Int32Array, Tokenizer

Grouping = Literal[
    "single",
    "groups from the left",
    "groups from the right",
    "whole",
    "learnt pieces",
    "bytes",
    "normalised",
    "unknown",
]
# The zeros of the decimal digits in use today, full-width ones too; the other nine follow in order.
ZEROS = "0٠۰߀०০੦૦୦௦౦೦൦๐໐༠၀០᠐᱐０"
_SEVERITIES: Mapping[Grouping, Severity] = {"unknown": "warning", "bytes": "note"}
# Two numbers of each length from 2 to 10 digits: a learnt year or price must not decide.
_NUMBERS = tuple(
    number for size in range(2, 11) for number in ("7392640518"[:size], "4186935027"[:size])
)


def check_digits(tokenizer: Tokenizer) -> tuple[list[Finding], list[Figure]]:
    """Return a finding a digit set with how it is cut, and a figure with its tokens a digit.

    The figure (scope `vocabulary`, name of the zero without DIGIT ZERO) is null where the digits are lost
    or changed to others.
    """
    findings, figures = [], []
    for zero in ZEROS:
        grouping, tokens, digits = group_digits(tokenizer, zero)
        name = str(unicodedata2.name(zero)).removesuffix("DIGIT ZERO").strip().lower() or "ascii"
        findings.append(
            Finding(
                tokenizer=tokenizer.name,
                check=f"digits: {name}",
                severity=_SEVERITIES.get(grouping, "fine"),
                count=tokens,
                total=digits,
                note=grouping,
            )
        )
        figures.append(
            Figure(
                tokenizer=tokenizer.name,
                scope="vocabulary",
                name=name,
                metric="tokens_per_digit",
                value=None if tokens is None else tokens / digits,
                unit="tokens a digit",
                aggregation="ratio of sums",
                n=len(_NUMBERS),
                note=grouping,
            )
        )
    return findings, figures


def group_digits(tokenizer: Tokenizer, zero: str) -> tuple[Grouping, int | None, int]:
    """Return how numbers written with `zero` and its nine fellows are cut, their tokens and digits.

    The tokens are None where the digits are unknown or become others.
    """
    numbers = ["".join(chr(ord(zero) + int(digit)) for digit in number) for number in _NUMBERS]
    total = sum(map(len, numbers))
    lines = [f"x {number}" for number in numbers]
    sizes = []
    for line, number, ids in zip(lines, numbers, tokenizer.encode_batch(lines), strict=True):
        normalized = tokenizer.normalize(line)
        if normalized is not None and number not in normalized:
            return "normalised", None, total
        found = _measure_groups(tokenizer, ids, number)
        if found is None:
            return "unknown", None, total
        sizes.append(found)
    tokens = sum(map(len, sizes))
    if any(size != int(size) for found in sizes for size in found):
        return "bytes", tokens, total
    return _name_grouping([[int(size) for size in found] for found in sizes]), tokens, total


def _measure_groups(tokenizer: Tokenizer, ids: Int32Array, number: str) -> list[float] | None:
    """The digits in each token that holds any, a fraction where a token ends inside one."""
    parts = [tokenizer.token_bytes(int(index)) for index in ids]
    joined = b"".join(UNKNOWN_BYTES if part is None else part for part in parts)
    place = joined.rfind(number.encode())
    if place < 0:
        return None
    width = len(number[0].encode())
    stop = place + len(number) * width
    ends = list(accumulate(len(part or UNKNOWN_BYTES) for part in parts))
    starts = [0, *ends[:-1]]
    shares = [
        (min(end, stop) - max(start, place)) / width
        for start, end in zip(starts, ends, strict=True)
    ]
    return [share for share in shares if share > 0]


def _name_grouping(sizes: Sequence[Sequence[int]]) -> Grouping:
    if all(len(found) == 1 for found in sizes):
        return "whole"
    largest = max(max(found) for found in sizes)
    if largest == 1:
        return "single"
    if all(_has_equal_groups(found, largest) for found in sizes):
        return "groups from the left"
    if all(_has_equal_groups(found[::-1], largest) for found in sizes):
        return "groups from the right"
    return "learnt pieces"


def _has_equal_groups(sizes: Sequence[int], size: int) -> bool:
    """Whether all groups are of `size` digits, and the last one, which may be shorter, of at most that."""
    return all(found == size for found in sizes[:-1]) and sizes[-1] <= size
