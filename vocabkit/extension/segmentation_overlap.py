"""Where two tokenizers cut the same lines: the bytes each token covers, and which cover the same.

A line counts only where both write the same bytes, but for a space put first; the others are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vocabkit.extension.overlap import list_surfaces
from vocabkit.extension.plan_types import Int64Array
from vocabkit.vocabulary.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """Line `line` as two tokenizers cut it: ids, and where each token ends, in bytes of `text`."""

    line: int
    text: bytes
    old_ids: Int64Array
    old_stops: Int64Array
    new_ids: Int64Array
    new_stops: Int64Array


def cut_lines(
    lines: Sequence[str], old: Tokenizer, new: Tokenizer, old_size: int, new_size: int
) -> Iterator[Cuts]:
    """Yield how both cut each line, for the lines on which their bytes agree."""
    surfaces = list_surfaces(old, old_size), list_surfaces(new, new_size)
    for start in range(0, len(lines), 1_000):
        part = list(lines[start : start + 1_000])
        pairs = zip(old.encode_batch(part), new.encode_batch(part), strict=True)
        for line, (first, second) in enumerate(pairs, start):
            left = [surfaces[0][i] if i < old_size else None for i in first.tolist()]
            right = [surfaces[1][i] if i < new_size else None for i in second.tolist()]
            texts = b"".join(filter(None, left)), b"".join(filter(None, right))
            if None in left or None in right:
                continue
            gap = len(texts[0]) - len(texts[1])
            longer, shorter = (texts[0], texts[1]) if gap > 0 else (texts[1], texts[0])
            if abs(gap) > 1 or longer[abs(gap) :] != shorter or longer[: abs(gap)].strip():
                continue
            stops = [
                np.cumsum([len(token or b"") for token in side], dtype=np.int64)
                for side in (left, right)
            ]
            # Both end together: a space that one puts first is of the other's first token too.
            longest = max(map(len, texts))
            yield Cuts(
                line,
                longer,
                first.astype(np.int64),
                stops[0] + longest - len(texts[0]),
                second.astype(np.int64),
                stops[1] + longest - len(texts[1]),
            )
