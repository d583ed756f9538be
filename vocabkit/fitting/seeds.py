"""Seeds for SentencePiece's unigram trainer: closed substrings ranked as it ranks its own.

What is closed is `substrings`'s business; here they are weighed by integer row weights and ordered by weight ×
length, then length, then code points. Trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vocabkit.fitting.candidates import copy_strings
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.lexicon import decode_strings
from vocabkit.fitting.rows import Rows
from vocabkit.fitting.sorting import Int64Array
from vocabkit.fitting.substrings import MAX_LENGTH, find_substrings, weigh_substrings


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds by falling weight × length, then length, then code points.

    `weight` is on the scale of the rows' weights, which is what a trainer needs beside characters counted
    from the same rows; `count` is raw occurrences. `found` is how many there were before the size limit.
    """

    pieces: list[str]
    weight: Int64Array
    count: Int64Array
    found: int

    def __len__(self) -> int:
        return len(self.pieces)


def find_seeds(
    rows: Rows,
    size: int,
    workers: Workers,
    *,
    min_count: int = 2,
    min_documents: int = 1,
    max_length: int = MAX_LENGTH,
) -> Seeds:
    """Return the best `size` closed substrings of the rows.

    `min_count` is a floor on raw occurrences, whatever the weights. `min_documents` is a floor on the
    summed document frequency of the occurrences: an upper bound of the substring's own document frequency
    (two words of one document count twice), so it never drops a piece it should keep.
    """
    lexicon = rows.lexicon
    found = find_substrings(
        lexicon, workers, longest=max_length, floor=min_count, documents=min_documents > 1
    )
    # Integer weights sum to at most a few times 10⁹ times a row's length, which a double holds exactly.
    weight = weigh_substrings(lexicon, found, rows.weight.astype(np.float64), workers)
    whole = np.rint(weight).astype(np.int64)
    kept = np.arange(len(found))
    if min_documents > 1:
        kept = kept[found.documents >= min_documents]
    value = -(whole[kept] * found.length[kept])
    # Ties at the limit go to the earlier in the final order, so more than `size` may be looked at.
    if len(kept) > size:
        least = np.partition(value, size - 1)[size - 1]
        kept = kept[value <= least]
    pieces = decode_strings(
        lexicon.alphabet, copy_strings(lexicon.text, found.last[kept], found.length[kept])[1:]
    )
    order = sorted(
        range(len(kept)),
        key=lambda i: (-int(whole[kept[i]]) * len(pieces[i]), len(pieces[i]), pieces[i]),
    )[:size]
    best = kept[order]
    return Seeds(
        [pieces[i] for i in order],
        whole[best],
        found.evidence[best],
        int((found.documents >= min_documents).sum()) if min_documents > 1 else len(found),
    )
