"""Where one raw word ends: the delimiters of WordCounts, the same for every normaliser.

They are the characters that SentencePiece's nmt_nfkc turns into a space and Python calls white space. Vertical
tab, U+001C…U+001F and U+0085, which `str.split` also splits at, are deleted or kept by that rule, so they stay
inside words: a count that split there would not equal the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

DELIMITERS = tuple(
    "\t\n\x0c\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_KEPT = tuple("\x0b\x1c\x1d\x1e\x1f\x85")
_RUNS = re.compile("[" + "".join(DELIMITERS) + "]+")


def split_words(text: str) -> list[str]:
    """Return the words of a text, none of them empty."""
    return split_all([text], text)[0]


def split_all(texts: Sequence[str], joined: str) -> list[list[str]]:
    """Return the words of each text. `joined` is all of them in one string, searched once."""
    # `str.split` is ten times the speed of the pattern, and texts with the odd six out are rare.
    if any(character in joined for character in _KEPT):
        return [[word for word in _RUNS.split(text) if word] for text in texts]
    return [text.split() for text in texts]
