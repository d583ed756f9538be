"""The ids that the loop itself needs: those that begin and end a document, fill a row, hide a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["SpecialIds"]


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids of special tokens; `end` is None where one token both ends and begins (GPT-2's way).

    `begin` stands first in every document of a row and nowhere else, so that documents are found by it alone.
    `pad` fills the end of a row; it may equal `end` or `begin` in vocabularies without one of its own: what is
    padding is known by position (see `packing`), never by id. `mask` is None for vocabularies without it:
    those train causal models only. `reserved` are all ids that are not
    predicted and that no random replacement draws: special and unused ones, and the unknown token's.
    """

    begin: int
    end: int | None
    pad: int
    mask: int | None
    unknown: int | None
    reserved: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> SpecialIds:
        """Read what `to_dict` returned."""
        fields = dict(data)
        fields["reserved"] = tuple(fields.get("reserved", ()))  # type: ignore[arg-type]
        return cls(**fields)  # type: ignore[arg-type]
