"""Where one raw word ends: the delimiters of WordCounts, the same for every normaliser.

They are the characters that SentencePiece's nmt_nfkc turns into a space and Python calls white space. Vertical
tab, U+001C…U+001F and U+0085, which `str.split` also splits at, are deleted or kept by that rule, so they stay
inside words: a count that split there would not equal the text.
"""

from __future__ import annotations

import re

DELIMITERS = tuple(
    "\t\n\x0c\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_RUNS = re.compile("[" + "".join(DELIMITERS) + "]+")


def split_words(text: str) -> list[str]:
    """Return the words of a text, none of them empty."""
    return [word for word in _RUNS.split(text) if word]
