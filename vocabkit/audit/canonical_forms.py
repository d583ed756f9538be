"""How much the tokens of a line depend on which of its canonically equivalent spellings was typed.

Unicode holds NFC, NFD and the orders of marks of different classes to be the same text; a tokenizer that
does not normalise, or its training text, may not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import unicodedata2

from vocabkit.audit.figures import Figure
from vocabkit.vocabulary.tokenizers import Tokenizer


def measure_forms(tokenizer: Tokenizer, language: str, lines: Sequence[str]) -> list[Figure]:
    """Return three figures of a language: two of NFC against NFD, one of permuted marks.

    Only lines that have two spellings count, and `n` is their number; without any the value is null.
    Raises TokenizerError.
    """
    composed = [compose(line) for line in lines]
    decomposed = [decompose(line) for line in lines]
    pairs = [(one, two) for one, two in zip(composed, decomposed, strict=True) if one != two]
    first = _count(tokenizer, [one for one, _ in pairs])
    second = _count(tokenizer, [two for _, two in pairs])
    swapped = [(two, permute_marks(two)) for two in decomposed]
    changed = [(one, two) for one, two in swapped if one != two]
    usual = tokenizer.encode_batch([one for one, _ in changed])
    other = tokenizer.encode_batch([two for _, two in changed])
    differ = [one.tolist() != two.tolist() for one, two in zip(usual, other, strict=True)]
    ratios = second[first > 0] / first[first > 0]
    rows: tuple[tuple[str, float | None, str, str, int, str], ...] = (
        (
            "nfd_differs",
            float((first != second).mean()) if len(pairs) else None,
            "share of lines",
            "share",
            len(pairs),
            "lines whose NFC and NFD differ, with another number of tokens",
        ),
        (
            "nfd_cost",
            float(ratios.mean()) if len(ratios) else None,
            "tokens of NFD / tokens of NFC",
            "mean of ratios",
            len(ratios),
            "lines whose NFC and NFD differ",
        ),
        (
            "mark_order_differs",
            float(np.mean(differ)) if differ else None,
            "share of lines",
            "share",
            len(differ),
            "NFD lines with marks that can change places, with other tokens when they do",
        ),
    )
    return [
        Figure(
            tokenizer=tokenizer.name,
            scope="language",
            name=language,
            metric=metric,
            value=value,
            unit=unit,
            aggregation=aggregation,
            n=n,
            note=note if n else f"no {note}",
        )
        for metric, value, unit, aggregation, n, note in rows
    ]


def compose(text: str) -> str:
    """NFC by the tables of Unicode 18."""
    return text if text.isascii() else str(unicodedata2.normalize("NFC", text))


def decompose(text: str) -> str:
    """NFD by the tables of Unicode 18."""
    return text if text.isascii() else str(unicodedata2.normalize("NFD", text))


def permute_marks(text: str) -> str:
    """The text with each run of marks from the highest combining class to the lowest: canonically the same.

    NFD runs from the lowest to the highest; marks of one class keep their order, which has a meaning.
    """
    if text.isascii():
        return text
    result: list[str] = []
    marks: list[tuple[int, str]] = []
    for character in text:
        number = unicodedata2.combining(character)
        if number:
            marks.append((number, character))
            continue
        result += [mark for _, mark in sorted(marks, key=lambda item: -item[0])]
        marks.clear()
        result.append(character)
    result += [mark for _, mark in sorted(marks, key=lambda item: -item[0])]
    return "".join(result)


def _count(
    tokenizer: Tokenizer, lines: Sequence[str]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return tokenizer.encode_flat(lines)[1].reshape(-1)
