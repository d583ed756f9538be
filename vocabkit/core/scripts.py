"""Unicode scripts by code point, as ISO 15924 codes.

The table is fontTools' copy of Unicode's Scripts.txt; its version goes into the manifest of what is built
with it. SentencePiece's own table is older: characters assigned since then are `Common` to its trainer.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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
def script_table() -> npt.NDArray[np.uint8]:
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
    seen: dict[str, int] = {}
    for character in text:
        script = script_of(character)
        if script not in (COMMON, INHERITED):
            seen[script] = seen.get(script, 0) + 1
    return max(seen, key=seen.__getitem__) if seen else COMMON
