"""Which tokens of two vocabularies have one surface, and the old token nearest to a new one in writing.

A surface is a token's bytes with the space before a word, so `Ġthe`, `▁the` and WordPiece's `the` are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vocabkit.extension.context import Context, list_new
from vocabkit.extension.mixtures import Mixture, make_mixture
from vocabkit.extension.plan_types import BoolArray, FloatArray, Int64Array, RowPlan
from vocabkit.vocabulary.tokenizers import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind


def list_surfaces(tokenizer: Tokenizer, size: int | None = None) -> list[bytes | None]:
    """The bytes of each id below `size`; None for one that stands for no text."""
    size = tokenizer.size if size is None else size
    known = min(size, tokenizer.size)
    return [*map(tokenizer.token_bytes, range(known)), *[None] * (size - known)]


def index_surfaces(
    surfaces: Sequence[bytes | None],
    kinds: Sequence[Kind],
    allowed: BoolArray | None = None,
) -> dict[bytes, int]:
    """Surface → id. An ordinary token goes before the byte token of the same byte, else the lower id."""
    found: dict[bytes, int] = {}
    spare: dict[bytes, int] = {}
    for index, surface in enumerate(surfaces):
        if not surface or (allowed is not None and not allowed[index]):
            continue
        table = spare if index < len(kinds) and kinds[index] is Kind.BYTE else found
        table.setdefault(surface, index)
    return {**spare, **found}


def match_surfaces(
    first: Sequence[bytes | None], second: Mapping[bytes, int]
) -> tuple[Int64Array, Int64Array]:
    """The ids of `first` whose surface the other vocabulary has, and the ids it has there."""
    pairs = [
        (index, second[surface])
        for index, surface in enumerate(first)
        if surface is not None and surface in second
    ]
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def mix_overlap(plan: RowPlan, rows: FloatArray, context: Context) -> Mixture:
    """e = the row of the old token nearest in writing: a copy, of one old row.

    In this order: the same bytes (a lone byte's token among them), the same but for case, for the space
    before it, or for both, and the longest old token that it starts with. Overlap is copied by most methods
    (FOCUS, Dobler and de Melo 2023; OFA, Liu et al. 2023); the later steps are for tokens without any.
    """
    old = index_surfaces(
        list_surfaces(context.old_tokenizer, plan.old_size),
        context.old_tokenizer.kinds,
        plan.old_used,
    )
    loose = [_index_loosely(old, spaced) for spaced in (True, False)]
    longest = max(map(len, old), default=0)
    found = (_find_nearest(plan.tokens[index], old, loose, longest) for index in list_new(plan))
    return make_mixture(([], []) if one is None else ([one], [1.0]) for one in found)


def _index_loosely(old: Mapping[bytes, int], spaced: bool) -> dict[bytes, int]:
    """Old tokens by what is left of them without case, and without the space before them."""
    found: dict[bytes, int] = {}
    for surface, index in old.items():
        found.setdefault(_loosen(surface, spaced), index)
    return found


def _loosen(surface: bytes, spaced: bool) -> bytes:
    lowered = surface.decode(errors="surrogateescape").casefold()
    left = lowered if spaced else lowered.removeprefix(" ")
    return left.encode(errors="surrogateescape")


def _find_nearest(
    surface: bytes | None,
    old: Mapping[bytes, int],
    loose: Sequence[Mapping[bytes, int]],
    longest: int,
) -> int | None:
    if not surface:
        return None
    bare = surface[1:] if surface.startswith(b" ") else b" " + surface
    tries: Iterable[int | None] = (
        old.get(surface),
        loose[0].get(_loosen(surface, True)),
        old.get(bare),
        loose[1].get(_loosen(surface, False)),
    )
    for one in tries:
        if one is not None:
            return one
    for stop in range(min(len(surface), longest), 0, -1):
        one = old.get(surface[:stop])
        if one is not None and surface[:stop].strip():
            return one
    return None
