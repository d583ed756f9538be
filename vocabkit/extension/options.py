"""What a caller of an extension chooses; nothing is checked here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller chooses. Methods are names of `initializers.METHODS`; None means the default."""

    init_input: str | None = None
    init_output: str | None = None
    init_bias: str = "mean"
    untie: bool = False
    donor: Path | None = None
    text: Path | None = None
    multiple: int | None = None
    link: bool = False
    seed: int = 0
    old_tokenizer: Path | None = None
    tensors: Mapping[str, str] = field(default_factory=dict)
