"""Graphemes with a token boundary inside, on a sample of a language's lines.

Only lines that their tokens spell, as they are or normalised, tell where a token ends.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import regex

from vocabkit.vocabulary.tokenizers import Tokenizer

Int32Array = npt.NDArray[np.int32]

SAMPLE = 60
"""Lines of a language looked at for cut graphemes: 60 of ntrex hold some 7,000 graphemes."""
LONGEST = 1_000_000
"""Characters above which a line is left out of the sample."""


def cut_graphemes(tokenizer: Tokenizer, lines: Sequence[str]) -> tuple[Int32Array, Int32Array]:
    """Graphemes with a token boundary inside, and all, of each sampled line that its tokens spell."""
    places = sorted({int(place) for place in np.linspace(0, len(lines) - 1, SAMPLE)})
    sample = [lines[place] for place in places if 0 < len(lines[place]) <= LONGEST] if lines else []
    found = tokenizer.encode_batch(sample)
    used = np.unique(np.concatenate([np.zeros(0, np.int32), *found])).tolist()
    # Asked once for each id, not for each token: a sample repeats its ids a hundred times.
    pieces = {index: tokenizer.token_bytes(index) for index in used}
    cut, seen = [], []
    for line, ids in zip(sample, found, strict=True):
        parts = [pieces[index] for index in ids.tolist()]
        if None in parts:
            continue
        aligned = _align_tokens(tokenizer, line, [part or b"" for part in parts])
        if aligned is not None:
            text, boundaries = aligned
            ends = _grapheme_ends(text)
            inner = boundaries.difference(ends)
            cut.append(len({bisect_left(ends, place) for place in inner}))
            seen.append(len(ends))
    return np.array(cut, dtype=np.int32), np.array(seen, dtype=np.int32)


def _align_tokens(
    tokenizer: Tokenizer, line: str, parts: Sequence[bytes]
) -> tuple[str, set[int]] | None:
    """The line, normalised if need be, and where tokens end in it, in bytes; None if they do not spell it."""
    spelled = b"".join(parts)
    text = next((form for form in _forms(tokenizer, line) if spelled.endswith(form.encode())), None)
    if text is None:
        return None
    before = len(spelled) - len(text.encode())
    # What the tokens have in front is the space that encoding puts there.
    if spelled[:before].strip(b" "):
        return None
    size = len(spelled) - before
    ends = (end - before for end in accumulate(map(len, parts)))
    return text, {end for end in ends if 0 < end < size}


def _forms(tokenizer: Tokenizer, line: str) -> Iterable[str]:
    yield line
    normalized = tokenizer.normalize(line)
    if normalized:
        yield normalized


def _grapheme_ends(text: str) -> Sequence[int]:
    """Where each grapheme ends, in bytes."""
    if text.isascii() and "\r" not in text:
        return range(1, len(text) + 1)
    return list(accumulate(map(len, map(str.encode, regex.findall(r"\X", text)))))
