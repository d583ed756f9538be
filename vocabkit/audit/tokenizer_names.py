"""Short names for tokenizers in tables, made of their paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vocabkit.core.errors import ConfigError

GENERIC = frozenset({"assets", "data", "model", "models", "resources", "tok", "tokenizer"})
"""Names that tell nothing apart: they are given with their parent's."""


def name_tokenizers(paths: Sequence[str | Path]) -> tuple[str, ...]:
    """Return a short, distinct name for each path: its last part, with as many parents as tell it apart.

    A file called `tokenizer.model` or `tokenizer.json` goes by its folder's name first. The same path twice
    gets numbers.
    """
    parts = []
    for path in paths:
        full = Path(path).absolute()
        stem = [*full.parts[1:-1], full.stem if full.is_file() else full.name]
        if full.is_file() and full.stem == "tokenizer" and len(stem) > 1:
            stem = [*stem[:-2], stem[-2]]
        parts.append(stem)
    names: list[str] = []
    for place, own in enumerate(parts):
        others = [other for index, other in enumerate(parts) if index != place and other != own]
        depth = 2 if own[-1].lower() in GENERIC and len(own) > 1 else 1
        while depth < len(own) and any(other[-depth:] == own[-depth:] for other in others):
            depth += 1
        name = "/".join(own[-depth:])
        same = sum(used == name or used.startswith(f"{name} (") for used in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return tuple(names)


def find_fixed(fixed: str | None, names: Sequence[str], paths: Sequence[str | Path]) -> int:
    """Return the place of the tokenizer of this name or path, the first for None. Raises ConfigError."""
    if fixed is None:
        return 0
    for place, (name, path) in enumerate(zip(names, paths, strict=True)):
        if fixed == name or Path(fixed) == Path(path):
            return place
    raise ConfigError(
        f"fixed tokenizer {fixed!r} is none of those audited: {', '.join(names)}",
        "audit it too: its cost of the reference language is needed",
    )
