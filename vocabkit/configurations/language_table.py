"""Tables of rows as tab-separated text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def write_rows(
    rows: Sequence[Mapping[str, object]], path: Path, columns: Sequence[str] = ()
) -> None:
    """Write rows that share their keys, with a header (`columns` where there is no row); None is empty."""
    lines = ["\t".join(rows[0] if rows else columns)]
    lines += ["\t".join(map(_cell, row.values())) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
