"""Characters as regular expressions that Oniguruma (`tokenizers`) and JavaScript's `u` flag read alike."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def escape(text: str) -> str:
    """The text as a pattern that matches it and nothing else."""
    return "".join(f"\\{char}" if char in r"\^$.|?*+()[]{}-&" else char for char in text)


def char_class(chars: Iterable[str]) -> str:
    """`[a-cx]`: the characters as ranges, in order."""
    codes = sorted(map(ord, chars))
    parts: list[str] = []
    start = previous = codes[0]
    for code in [*codes[1:], sys.maxunicode + 2]:
        if code != previous + 1:
            parts.append(escape(chr(start)))
            if previous > start:
                parts.append(("-" if previous > start + 1 else "") + escape(chr(previous)))
            start = code
        previous = code
    return f"[{''.join(parts)}]"
