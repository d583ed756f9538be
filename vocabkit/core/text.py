"""Text by its characters: where it may be cut, how a token is shown to a person, and which scripts it is in."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache

import regex

from vocabkit.core.arrays import UInt8Array


def cut_run(run: str, limit: int) -> list[str]:
    """Cut a run of text into parts of at most `limit` characters, each ending at a grapheme boundary.

    A single grapheme longer than `limit` (a stack of marks) is cut at `limit`: nothing is ever dropped.
    """
    if len(run) <= limit:
        return [run]
    if run.isascii() and "\r" not in run:  # each character is a grapheme: 30 times as fast
        return [run[start : start + limit] for start in range(0, len(run), limit)]
    parts = []
    start = 0
    while len(run) - start > limit:
        window = run[start : start + limit + 1]
        # The last boundary at or before the limit: only the window's tail is segmented, since a cluster
        # rarely exceeds 64 characters and segmenting a 200 MB run whole would take minutes.
        tail = max(0, limit - 256)
        boundaries = [tail + match.start() for match in regex.finditer(r"\X", window[tail:])]
        cut = boundaries[-1] if len(boundaries) > 1 else limit
        parts.append(run[start : start + cut])
        start += cut
    parts.append(run[start:])
    return parts


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
    if isolate and any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text):
        return f"{_ISOLATE}{shown}{_POP}"
    return shown


# --- Scripts ---------------------------------------------------------------------------------------
# ISO 15924 codes by code point: fontTools' copy of Unicode's Scripts.txt; its version goes into the manifest of
# what is built with it. SentencePiece's own table is older: characters assigned since are `Common` to it.

COMMON = "Zyyy"
INHERITED = "Zinh"
UNKNOWN = "Zzzz"


@cache
def script_names() -> tuple[str, ...]:
    """Return the ISO 15924 codes that `script_table` indexes, in a fixed order: Zyyy, Zinh, Zzzz, then A–Z."""
    from fontTools.unicodedata import Scripts

    rest = sorted(set(Scripts.VALUES) - {COMMON, INHERITED, UNKNOWN})
    return (COMMON, INHERITED, UNKNOWN, *rest)


@cache
def script_table() -> UInt8Array:
    """Return, for each of the 0x110000 code points, the index of its script in `script_names`."""
    import numpy as np
    from fontTools.unicodedata import Scripts

    index = {name: i for i, name in enumerate(script_names())}
    starts = np.array([*Scripts.RANGES, 0x110000], dtype=np.int64)
    values = np.array([index[name] for name in Scripts.VALUES], dtype=np.uint8)
    table = np.repeat(values, np.diff(starts))
    table.setflags(write=False)
    return table


def script_of(character: str) -> str:
    """Return the ISO 15924 code of one character."""
    return script_names()[int(script_table()[ord(character)])]


def piece_script(text: str) -> str:
    """Return the script most of the characters belong to, Common and Inherited aside.

    `Zyyy` where every character is Common or Inherited (digits, punctuation, `▁`); on a tie the script
    that comes first in the text.
    """
    seen = Counter(script for c in text if (script := script_of(c)) not in (COMMON, INHERITED))
    return max(seen, key=seen.__getitem__) if seen else COMMON
