"""The letters that byte-level vocabularies write bytes with, one a byte, all of them printable."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


def _list_letters() -> dict[int, str]:
    """Bytes that print as themselves in Latin-1 stand for themselves, the others for U+0100 onwards."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(256) if value not in visible]
    letters = {value: chr(value) for value in visible}
    return letters | {value: chr(256 + place) for place, value in enumerate(hidden)}


BYTE_LETTERS: Mapping[int, str] = MappingProxyType(_list_letters())
"""Byte → letter."""

BYTE_ALPHABET: Mapping[str, bytes] = MappingProxyType(
    {letter: bytes([value]) for value, letter in BYTE_LETTERS.items()}
)
"""Letter → byte."""
