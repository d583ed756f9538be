"""What blocks do: who got how many pieces, and what union and routed encoding cost each language.

Measured on words, which is exact: no piece crosses white space. Held-out words where the counts have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.sentencepiece_format import write_model
from vocabkit.vocabulary.sentencepiece_tokenizer import SentencePieceTokenizer
from vocabkit.vocabulary.vocabulary import Block, Vocabulary

REFERENCE = "eng_Latn"


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One block: pieces asked for and got, (evidence floor, pieces) by tier, and those left to others.

    `total` is what the language's raw counts are divided by to be on the base's scale.
    """

    language: str
    asked: int
    pieces: int
    tiers: tuple[tuple[int, int], ...]
    contested: int
    total: float
    data_limited: bool


@dataclass(frozen=True, slots=True)
class Interference:
    """Tokens of one language's words: with the base, with all blocks, and with its own block alone.

    `routed` is None for a language without a block (it is the base then). `english_routed` is English under
    this language's route, what text in the wrong language costs; `mixed` is its ratio to the base on text
    of half the tokens from each language, words alternating (code-switched). `split` is the text measured.
    """

    language: str
    split: str
    base: int
    union: int
    routed: int | None
    english_routed: float | None
    mixed: float | None


def measure_interference(
    counts: WordCounts,
    codes: Sequence[str],
    base: Vocabulary,
    vocabulary: Vocabulary,
    tail: Sequence[str],
) -> tuple[Interference, ...]:
    """Return a row for each counted language; ratios are to the base."""
    plain, union = _open(base), _open(vocabulary)
    english = _count(counts, REFERENCE, plain) if REFERENCE in counts.languages else None
    rows = []
    for code in codes:
        split, before = _count(counts, code, plain)
        _, after = _count(counts, code, union)
        own = abroad = mixed = None
        if code in tail:
            routed = _open(_cut_to(vocabulary, base.size, code))
            own = _count(counts, code, routed)[1]
            if english is not None and english[1] and before:
                abroad = _count(counts, REFERENCE, routed)[1] / english[1]
                mixed = (own / before + abroad) / 2
        rows.append(Interference(code, split, before, after, own, abroad, mixed))
    return tuple(rows)


def _cut_to(vocabulary: Vocabulary, shared: int, code: str) -> Vocabulary:
    """Return the shared pieces and one block: as many tokens as the routed vocabulary, a third of its size."""
    block = next((item for item in vocabulary.blocks if item.name == code), None)
    first, stop = (block.start, block.stop) if block else (shared, shared)
    size = shared + stop - first
    return Vocabulary(
        (*vocabulary.pieces[:shared], *vocabulary.pieces[first:stop]),
        np.concatenate((vocabulary.scores[:shared], vocabulary.scores[first:stop])),
        (*vocabulary.kinds[:shared], *vocabulary.kinds[first:stop]),
        (Block("shared", 0, size),),
        vocabulary.model,
        vocabulary.normalizer,
        vocabulary.roles,
        vocabulary.spacing,
    )


def _open(vocabulary: Vocabulary) -> SentencePieceTokenizer:
    return SentencePieceTokenizer("blocks", vocabulary, write_model(vocabulary))


def _count(counts: WordCounts, code: str, tokenizer: SentencePieceTokenizer) -> tuple[str, int]:
    language = counts.languages[code]
    split = "held_out" if len(language.held_out) else "train"
    table = language.split(split)
    _, lengths = tokenizer.encode_flat(list(table.words))
    return split, int(lengths @ table.count)
