"""What NFC knows of characters: combining classes, composed characters, and NFC as `tokenizers` computes it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import unicodedata2
from tokenizers import normalizers


def compose(texts: Iterable[str]) -> dict[str, str]:
    """Each text and its NFC as `tokenizers` does it, with tables older than SentencePiece's."""
    listed = list(texts)
    form = normalizers.NFC()
    if not listed or any("\n" in text for text in listed):
        return {text: form.normalize_str(text) for text in listed}
    # One call for all: a line feed neither composes nor moves.
    return dict(zip(listed, form.normalize_str("\n".join(listed)).split("\n"), strict=True))


@cache
def characters() -> tuple[str, ...]:
    """The code points that normal forms know: nothing from U+30000 on has a class or a decomposition."""
    codes = (*range(0x0A), *range(0x0B, 0xD800), *range(0xE000, 0x30000))
    return tuple(map(chr, codes))


@cache
def combining_classes() -> dict[str, int]:
    """Characters with a combining class above 0, and the class."""
    table = {char: unicodedata2.combining(char) for char in characters()}
    return {char: number for char, number in table.items() if number}


@cache
def last_classes() -> dict[str, int]:
    """The class of the mark a character ends in, for marks and for composed characters."""
    classes = combining_classes()
    table = dict(classes)
    for char in characters():
        if unicodedata2.decomposition(char):
            number = classes.get(unicodedata2.normalize("NFD", char)[-1], 0)
            if number:
                table[char] = number
    return table


@cache
def primary_composites() -> frozenset[tuple[str, str]]:
    """The pairs NFC composes, Hangul left out."""
    pairs = set()
    for char in characters():
        fields = unicodedata2.decomposition(char).split()
        if len(fields) == 2 and not fields[0].startswith("<"):
            first, second = (chr(int(field, 16)) for field in fields)
            if unicodedata2.normalize("NFC", first + second) == char:
                pairs.add((first, second))
    return frozenset(pairs)
