"""Showing a token to a person: control characters escaped, broken UTF-8 as bytes, right-to-left isolated."""

from __future__ import annotations

import unicodedata

_ISOLATE, _POP = "\u2068", "\u2069"
_RIGHT_TO_LEFT = {"R", "AL", "AN", "RLE", "RLO", "RLI"}


def show_token(token: bytes, *, isolate: bool = True) -> str:
    r"""Return a printable rendering of a token's bytes.

    Incomplete UTF-8 is shown as `\xe1`, control and format characters, private use, unassigned code points
    and lone spaces other than U+0020 as `\u200b`; a token that starts on a combining mark gets U+25CC before
    it; text with right-to-left characters is wrapped in U+2068…U+2069 so that it cannot reorder the line.
    The rendering is for eyes: never measure it.
    """
    text = token.decode("utf-8", errors="surrogateescape")
    parts = []
    for index, character in enumerate(text):
        code = ord(character)
        category = unicodedata.category(character)
        if 0xDC80 <= code <= 0xDCFF:
            parts.append(f"\\x{code - 0xDC00:02x}")
        elif character == "\\":
            parts.append("\\\\")
        elif category[0] == "C" or (category[0] == "Z" and character != " "):
            short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
            parts.append(short or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"))
        else:
            if index == 0 and category[0] == "M":
                parts.append("\u25cc")
            parts.append(character)
    shown = "".join(parts)
    if isolate and any(
        unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text
    ):
        return f"{_ISOLATE}{shown}{_POP}"
    return shown
