"""Ids in a configuration moved to those of the new vocabulary, with all that changes or is lost said.

It handles JSON as data; tokenizer files are `id_files`' affair, and nothing is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["IdMap", "change_configuration"]

_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens")
_INNER = ("text_config", "decoder", "encoder", "llm_config", "language_config", "thinker_config")


@dataclass(slots=True)
class IdMap:
    """Old id → new id or None, with the changes and the losses that using it made known.

    `roles` are the new tokenizer's, for the token of a role whose old one is gone.
    """

    ids: Mapping[int, int | None]
    old_rows: int
    new_rows: int
    roles: Mapping[str, int] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def move(self, value: int, place: str) -> int | None:
        """The new id of an old one. A value that is no id of the old vocabulary stays (-1, -100)."""
        if value < 0 or value >= self.old_rows:
            return value
        found = self.ids.get(value)
        role = place.rpartition(" ")[2].removesuffix("_token_id")
        if found is None and role in self.roles:
            found = self.roles[role]
            self.changes.append(f"{place}: {value} → {found}, the new tokenizer's")
        elif found is None:
            self.losses.append(f"{place}: the token {value} is not in the new vocabulary")
        elif found != value:
            self.changes.append(f"{place}: {value} → {found}")
        return found


def change_configuration(
    content: Mapping[str, Any], moves: IdMap, place: str, *, untie: bool = False
) -> dict[str, Any]:
    """A configuration with its sizes and ids moved, keys in their order. `place` names it in `moves`."""
    found = _change(content, moves, place)
    if untie:
        for part, name in ((found, place), (found.get("text_config"), f"{place} text_config")):
            if isinstance(part, dict) and (part is found or "tie_word_embeddings" in part):
                if part.get("tie_word_embeddings") is not False:
                    moves.changes.append(f"{name} tie_word_embeddings: → false")
                part["tie_word_embeddings"] = False
    return found


def _change(content: Mapping[str, Any], moves: IdMap, place: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in content.items():
        where = f"{place} {key}"
        if key == "vocab_size_per_layer_input" or (key == "vocab_size" and value == moves.old_rows):
            # The per-layer table of some models stops before the last rows, and grows to all of them.
            if value != moves.new_rows:
                moves.changes.append(f"{where}: {value} → {moves.new_rows}")
            made[key] = moves.new_rows
        elif key.endswith(("_token_id", "_token_ids", "_token_index")) or key in _ID_LISTS:
            made[key] = _move_ids(value, moves, where)
        elif key == "bad_words_ids" and _is_nested(value):
            made[key] = _move_sequences(value, moves, where)
        elif key == "forced_decoder_ids" and _is_nested(value, 2):
            made[key] = [
                [step, None if index is None else moves.move(index, where)] for step, index in value
            ]
        elif isinstance(value, Mapping) and key in _INNER:
            made[key] = _change(value, moves, where)
        else:
            made[key] = value
    return made


def _is_nested(value: Any, length: int | None = None) -> bool:
    """Whether it is a list of lists, each of `length` where one is given; anything else is left alone."""
    return isinstance(value, list) and all(
        isinstance(item, list) and length in (None, len(item)) for item in value
    )


def _move_ids(value: Any, moves: IdMap, place: str) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return moves.move(value, place)
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        moved = [moves.move(item, place) for item in value]
        return list(dict.fromkeys(item for item in moved if item is not None)) or None
    return value


def _move_sequences(value: list[Any], moves: IdMap, place: str) -> list[list[int]] | None:
    found = []
    for sequence in value:
        moved = [moves.move(item, place) for item in sequence]
        if all(item is not None for item in moved):
            found.append([item for item in moved if item is not None])
    return found or None
