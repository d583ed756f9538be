"""A donor's rows from its checkpoint: its input matrix or its head, in float32, with its tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vocabkit.extension.checkpoint import open_checkpoint
from vocabkit.extension.context import Donor, Role
from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.number_formats import as_float32
from vocabkit.extension.tokenizer_source import open_source
from vocabkit.extension.vocabulary_tensors import find_vocabulary_tensors

_BLOCK = 8_192


def open_donor(folder: str | Path, role: Role = "input") -> Donor:
    """Read the donor's rows in this role; a tied donor has the same for all.

    Raises CheckpointError for a folder without a model or with a tokenizer that is not the model's.
    """
    path = Path(folder)
    checkpoint = open_checkpoint(path)
    source = open_source(path, checkpoint.model_type)
    found = find_vocabulary_tensors(checkpoint, source.size)
    heads = [item for item in found.found if item.role == "output" and len(item.tensor.shape) == 2]
    chosen = heads[0] if role == "output" and heads else found.input
    if source.size > chosen.rows:
        raise CheckpointError(
            f"{path}: its tokenizer has {source.size:,} ids, its matrix {chosen.rows:,} rows",
            "name a donor's folder with the donor's own tokenizer",
        )
    stored = checkpoint.read_rows(chosen.tensor.name, chosen.axis)
    rows = np.empty((chosen.rows, chosen.width), np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = np.ascontiguousarray(stored[start : start + _BLOCK])
        rows[start : start + _BLOCK] = as_float32(part, chosen.tensor.number)
    return Donor(rows, source.tokenizer, path.name or str(path))
