"""What `vocabkit extend` left beside a checkpoint: which rows are new, and how an old optimiser state grows.

Read as files (`extension/receipt.json`, `extension/rows.safetensors`): this stage does not know that one.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vocabkit.pretraining.errors import PretrainingError

__all__ = ["find_new_rows", "grow_rows", "read_kept"]

RECEIPT_SCHEMA = 1


def read_kept(checkpoint: Path) -> Tensor | None:
    """New id → old id, or -1 where the id is new: int64[new vocabulary]. None where there is no receipt.

    Raises PretrainingError when there is one that cannot be read.
    """
    facts, rows = (checkpoint / "extension" / name for name in ("receipt.json", "rows.safetensors"))
    if not facts.is_file():
        return None
    hint = "the receipt is damaged: extend again"
    try:
        schema = json.loads(facts.read_text(encoding="utf-8")).get("schema")
    except (ValueError, AttributeError) as error:
        raise PretrainingError(f"{facts}: not valid JSON: {error}", hint) from error
    if schema != RECEIPT_SCHEMA:
        raise PretrainingError(f"{facts}: schema {schema}: this version reads {RECEIPT_SCHEMA}")
    try:
        with safe_open(rows, framework="numpy") as file:
            kept: np.ndarray = file.get_tensor("kept")
    except (OSError, SafetensorError) as error:
        raise PretrainingError(f"{rows}: {error}", hint) from error
    return torch.from_numpy(kept.astype(np.int64))


def find_new_rows(kept: Tensor) -> Tensor:
    """The ids that the extension added, in order: int64."""
    return torch.nonzero(kept < 0).reshape(-1)


def grow_rows(old: Tensor, kept: Tensor, rows: int) -> Tensor:
    """A matrix (or vector) of `rows` rows: kept ids have their old rows, every other row is zero.

    Raises PretrainingError when `old` has fewer rows than the receipt speaks of.
    """
    known = torch.nonzero(kept >= 0).reshape(-1)
    needed = int(kept.max()) + 1 if len(kept) else 0
    if len(old) < needed or rows < len(kept):
        raise PretrainingError(
            f"optimizer state of {len(old)} rows: the receipt keeps id {needed - 1}",
            "it belongs to another checkpoint: remove optimizer.safetensors to start its state anew",
        )
    grown = torch.zeros((rows, *old.shape[1:]), dtype=old.dtype)
    grown[known] = old[kept[known]]
    return grown
