"""Tokens per word from counts: the first look at a fitted vocabulary.

Exact for any tokenizer that never joins text across white space, since then a text costs what its words cost.
A word here is what stands between white space, so the figure says little for Thai, Khmer or Chinese; the
characters per token beside it do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Fertility:
    """One language's words, characters and tokens, summed over all its text; ratios are of the sums.

    `tokens_per_word` and `characters_per_token` are None where there is no text.
    """

    language: str
    words: int
    characters: int
    tokens: int
    tokens_per_word: float | None
    characters_per_token: float | None


def measure_fertility(
    tokenizer: Tokenizer, counts: WordCounts, *, split: str = "train"
) -> list[Fertility]:
    """Return the fertility of each language on one split of its counts, in language order.

    A continuation (the later part of a run cut at 1,000 characters) is encoded like a word, which adds at most
    one token per 1,000 characters.
    """
    rows = []
    for code in counts.languages:
        table = counts.languages[code].split(split)
        lengths = np.fromiter(map(len, table.words), np.int64, len(table))
        sizes = np.fromiter(
            map(len, tokenizer.encode_batch(list(table.words))), np.int64, len(table)
        )
        words = int(table.count[~table.continuation].sum())
        characters, tokens = int(lengths @ table.count), int(sizes @ table.count)
        rows.append(
            Fertility(
                code, words, characters, tokens,
                tokens / words if words else None,
                characters / tokens if tokens else None,
            )
        )  # fmt: skip
    return rows


def rank_worst(rows: list[Fertility], *, limit: int = 10) -> list[Fertility]:
    """Return the languages with the most tokens per word, worst first; languages without text are left out."""
    measured = [row for row in rows if row.tokens_per_word is not None]
    return sorted(measured, key=lambda row: (-(row.tokens_per_word or 0.0), row.language))[:limit]
