"""Routing: one language's view of a vocabulary with blocks, under the same ids.

A routed vocabulary encodes with the shared block and one language's; the pieces of other blocks stand where
they stood, as unused ones, so that ids and embedding rows mean the same in every view. A language without a
block is encoded with the shared one alone.
"""

from __future__ import annotations

from vocabkit.core.errors import TokenizerError
from vocabkit.core.languages import resolve_code
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary

SHARED = "shared"


def route_vocabulary(vocabulary: Vocabulary, code: str) -> Vocabulary:
    """Return the vocabulary as a language sees it. `code` may be short where blocks make it clear."""
    names = [block.name for block in vocabulary.blocks if block.name != SHARED]
    if not names:
        return vocabulary
    wanted = code
    if code != SHARED and code not in names:
        near = [name for name in names if name.split("_")[0] == code.split("_")[0]]
        wanted = resolve_code(code, near) if near and "_" not in code else SHARED
    kinds = list(vocabulary.kinds)
    for block in vocabulary.blocks:
        if block.name in (SHARED, wanted):
            continue
        for index in range(block.start, block.stop):
            if kinds[index] is Kind.NORMAL:
                kinds[index] = Kind.UNUSED
    return Vocabulary(
        vocabulary.pieces,
        vocabulary.scores,
        tuple(kinds),
        vocabulary.blocks,
        vocabulary.model,
        vocabulary.normalizer,
        vocabulary.roles,
        vocabulary.spacing,
    )


def block_languages(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the languages that have a block, in block order. Raises TokenizerError when there is none."""
    names = tuple(block.name for block in vocabulary.blocks if block.name != SHARED)
    if not names:
        raise TokenizerError(
            "this vocabulary has no language blocks",
            "fit one with `vocabkit fit two-stage-250k-12x50k`",
        )
    return names
