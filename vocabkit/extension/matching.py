"""Which old row every new token keeps: tokens are matched by surface, special ones by name and role.

A surface is a token's bytes, the space before a word included, so that `Ġthe`, `▁the`, and WordPiece's
`the` are one token, and `##s` is `s` within a word. Where every old token keeps its id the vocabulary
is extended; where the new one has none of its own it is trimmed; else it is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.plan_types import BoolArray, Int64Array, RowPlan
from vocabkit.extension.tokenizer_source import TokenizerSource, same_roles
from vocabkit.vocabulary.vocabulary import Kind

__all__ = ["Coverage", "Mode", "match_tokenizers", "new_ids"]

Mode = Literal["extend", "replace", "trim"]

# Slots that were never trained: a mean over them would be drawn towards their first random values.
_RESERVED = re.compile(
    rb" ?[\[<]\|?(unused|reserved|extra_id|extra|dummy|madeupword|placeholder|pad_token)[\w :-]*\|?[\]>]"
)
_NAMED = (Kind.CONTROL, Kind.UNKNOWN, Kind.USER)
# Above this share of rows beyond the tokenizer, it is more likely another model's (phi-2 has 1.8 %,
# DeepSeek 2.3 %); below this number of rows nothing is refused.
_PADDING_SHARE, _PADDING_ROWS = 0.1, 256


@dataclass(frozen=True, slots=True)
class Coverage:
    """What becomes of tokens, in numbers of ids.

    `kept` have the same id, `remapped` another, `approximated` are new and have a text, `unwritten` are
    new and have none (special, unused, padding); `dropped` old tokens are in no new row.
    """

    kept: int
    remapped: int
    approximated: int
    unwritten: int
    dropped: int


def match_tokenizers(
    old: TokenizerSource, new: TokenizerSource, rows: int, multiple: int | None = None
) -> tuple[Mode, RowPlan, Coverage]:
    """Match the tokenizers of a matrix of `rows` rows; pad the new one to a multiple.

    Raises CheckpointError where the old tokenizer cannot be the model's.
    """
    _check_old(old, rows)
    old_bytes, new_bytes = _list_bytes(old), _list_bytes(new)
    if _keeps_all(old, new, old_bytes, new_bytes):
        mode: Mode = "extend"
        size = _round_up(max(rows, new.size), multiple)
        kept = np.full(size, -1, np.int64)
        kept[: old.size] = np.where(_find_refilled(old, new), -1, np.arange(old.size))
        # Padding stays as it is where no new token lands on it.
        kept[new.size : rows] = np.arange(new.size, rows)
    else:
        size = _round_up(new.size, multiple)
        kept = np.full(size, -1, np.int64)
        kept[: new.size] = _match(old, new, old_bytes, new_bytes)
        named = np.array([text is not None for text in new_bytes])
        is_subset = not (named & (kept[: new.size] < 0)).any()
        mode = "trim" if is_subset and new.size <= old.size else "replace"
    special = np.zeros(size, np.bool_)
    special[: new.size] = [kind in (Kind.CONTROL, Kind.UNKNOWN) for kind in new.tokenizer.kinds]
    tokens = (*new_bytes, *[None] * (size - new.size))
    plan = RowPlan(
        old_size=rows,
        new_size=size,
        kept=kept,
        tokens=tokens,
        special=special,
        padding=np.arange(rows) >= old.size,
        old_used=_find_used(old, old_bytes, rows),
    )
    return mode, plan, _count(plan, old.size)


def new_ids(plan: RowPlan) -> Int64Array:
    """For every old id the first new id that keeps its row, or -1; the same id where it can be."""
    found = np.full(plan.old_size, -1, np.int64)
    places = np.flatnonzero(plan.kept >= 0)[::-1]
    found[plan.kept[places]] = places
    same = np.flatnonzero(plan.kept == np.arange(plan.new_size))
    found[same] = same
    return found


def _check_old(old: TokenizerSource, rows: int) -> None:
    if old.size > rows:
        raise CheckpointError(
            f"{old.path}: has ids up to {old.size - 1:,}, and the model {rows:,} rows",
            "name the model's own tokenizer: --old-tokenizer PATH",
        )
    spare = rows - old.size
    if spare > max(_PADDING_ROWS, rows * _PADDING_SHARE):
        raise CheckpointError(
            f"{old.path}: has {old.size:,} ids, and the model {rows:,} rows: {spare:,} rows more is "
            "too much to be padding",
            "name the model's own tokenizer: --old-tokenizer PATH",
        )


def _list_bytes(source: TokenizerSource) -> list[bytes | None]:
    return [source.tokenizer.token_bytes(index) for index in range(source.size)]


def _keeps_all(
    old: TokenizerSource,
    new: TokenizerSource,
    old_bytes: Sequence[bytes | None],
    new_bytes: Sequence[bytes | None],
) -> bool:
    """Whether every old id stands for the same token in the new vocabulary."""
    if new.size < old.size:
        return False
    for index, text in enumerate(old_bytes):
        if old.tokenizer.kinds[index] is Kind.UNUSED:
            continue  # a slot without a token may be filled
        name, other = old.names.get(index), new.names.get(index)
        if name != other or (name is None and text != new_bytes[index]):
            return False
    return True


def _find_refilled(old: TokenizerSource, new: TokenizerSource) -> BoolArray:
    """Slots of the old vocabulary that get a token in the new one, over the old ids."""
    return np.array(
        [
            kind is Kind.UNUSED and new.tokenizer.kinds[index] is not Kind.UNUSED
            for index, kind in enumerate(old.tokenizer.kinds)
        ],
        np.bool_,
    )


def _match(
    old: TokenizerSource,
    new: TokenizerSource,
    old_bytes: Sequence[bytes | None],
    new_bytes: Sequence[bytes | None],
) -> Int64Array:
    tables: dict[bool, dict[bytes, int]] = {True: {}, False: {}}
    kinds = old.tokenizer.kinds
    for index, text in enumerate(old_bytes):
        if text:
            tables[kinds[index] is Kind.BYTE].setdefault(text, index)
    kept = np.full(new.size, -1, np.int64)
    for index, text in enumerate(new_bytes):
        if not text:
            continue
        is_byte = new.tokenizer.kinds[index] is Kind.BYTE
        if index < old.size and old_bytes[index] == text and is_byte == (kinds[index] is Kind.BYTE):
            kept[index] = index
            continue
        # A byte-level `a` and the byte-fallback token <0x61> are the nearest there is to each other.
        found = tables[is_byte].get(text)
        kept[index] = tables[not is_byte].get(text, -1) if found is None else found
    _match_specials(old, new, kept)
    return kept


def _match_specials(old: TokenizerSource, new: TokenizerSource, kept: Int64Array) -> None:
    """By name, then those still without a row by role."""
    kinds = old.tokenizer.kinds
    for index, name in new.names.items():
        found = old.ids.get(name)
        is_named = new.tokenizer.kinds[index] in _NAMED
        if is_named and found is not None and kinds[found] in _NAMED:
            kept[index] = found
    taken = set(kept[kept >= 0].tolist())
    for role, index in new.roles.items():
        if kept[index] >= 0:
            continue
        for same in same_roles(role):
            found = old.roles.get(same)
            if found is not None and found not in taken:
                kept[index] = found
                taken.add(found)
                break


def _find_used(old: TokenizerSource, old_bytes: Sequence[bytes | None], rows: int) -> BoolArray:
    used = np.zeros(rows, np.bool_)
    kinds = old.tokenizer.kinds
    for index, text in enumerate(old_bytes):
        is_text = kinds[index] in (Kind.NORMAL, Kind.USER, Kind.BYTE)
        used[index] = bool(text) and is_text and not _RESERVED.fullmatch(text or b"")
    return used


def _count(plan: RowPlan, old_tokens: int) -> Coverage:
    has = plan.kept >= 0
    same = plan.kept == np.arange(plan.new_size)
    written = np.array([text is not None for text in plan.tokens])
    back = new_ids(plan)[:old_tokens]
    return Coverage(
        kept=int(same.sum()),
        remapped=int((has & ~same).sum()),
        approximated=int((~has & written).sum()),
        unwritten=int((~has & ~written).sum()),
        dropped=int((back < 0).sum()),
    )


def _round_up(size: int, multiple: int | None) -> int:
    return size if not multiple else -(-size // multiple) * multiple
