"""The receipt of an extension: which row every id kept, what every new row was made of, and what was lost.

Lies in `extension/` of the output: `receipt.json` (what was done, with what, and a hash of every file),
`rows.safetensors` (ids, sources, dropped rows) and `original/` (every small file that was changed or
removed, and the headers of rewritten shards). With the output it is enough to make the rows again and
to give the original back; pretraining reads which rows are new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from vocabkit.checkpoints.safetensors_files import Bytes
from vocabkit.core.arrays import BoolArray, Int64Array
from vocabkit.core.errors import CheckpointError
from vocabkit.core.folders import read_json

RECEIPT = "extension"
"""The folder of the receipt inside an extended checkpoint."""
ORIGINAL = f"{RECEIPT}/original"
DROPPED = "dropped"
SCHEMA = 1
_FACTS = {
    "files", "format", "groups", "new_rows", "new_tokenizer", "old_rows", "options", "originals", "plain",
}  # fmt: skip

_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """What `receipt.json` says (`facts`), and the arrays beside it, which are read when asked for."""

    root: Path
    facts: Mapping[str, Any]

    @property
    def kept(self) -> Int64Array:
        """New id → old id or -1."""
        return self.array("kept")

    @property
    def old_used(self) -> BoolArray:
        """Old rows that statistics were of."""
        return self.array("old_used")

    @property
    def groups(self) -> Sequence[Mapping[str, Any]]:
        """The groups of tensors with equal rows."""
        return list(self.facts["groups"])

    def kept_of(self, position: int) -> Int64Array:
        """`kept` for a group's own rows, which are fewer where the head has none for some ids."""
        group = self.groups[position]
        first = group["tensors"][0]
        return restrict_kept(self.kept, int(group["old_rows"]), int(first["new_shape"][first["axis"]]))

    def find(self, name: str) -> _Array | None:
        """Return one of the arrays; None where there is none of that name. Raises CheckpointError."""
        path = self.root / RECEIPT / "rows.safetensors"
        if not path.is_file():
            raise CheckpointError(f"{path}: is missing", "copy the receipt's folder again")
        try:
            with safe_open(path, framework="numpy") as file:
                found: _Array | None = file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: {error}", _DAMAGED) from error
        return found

    def array(self, name: str) -> _Array:
        """Return one of the arrays. Raises CheckpointError when it is not there."""
        found = self.find(name)
        if found is None:
            path = self.root / RECEIPT / "rows.safetensors"
            raise CheckpointError(f"{path}: has no {name}", _DAMAGED)
        return found


_DAMAGED = "the receipt is damaged: extend again"


def read_receipt(folder: str | Path) -> Receipt:
    """Read the receipt of an extended checkpoint. Raises CheckpointError where there is none."""
    root = Path(folder)
    path = root / RECEIPT / "receipt.json"
    if not path.is_file():
        raise CheckpointError(
            f"{root}: no {RECEIPT}/receipt.json", "name a folder written by `vocabkit extend`"
        )
    facts = _read_facts(path)
    if lacking := sorted(_FACTS - facts.keys()):
        raise CheckpointError(f"{path}: lacks {', '.join(lacking)}", "copy the receipt again")
    return Receipt(root, facts)


def _read_facts(path: Path) -> dict[str, Any]:
    facts = read_json(path)
    if facts.get("schema") != SCHEMA:
        what = f"schema {facts.get('schema')}: this version reads {SCHEMA}"
        raise CheckpointError(f"{path}: {what}", "use the version of vocabkit that wrote it")
    return facts


def read_kept(checkpoint: Path) -> Int64Array | None:
    """Return new id → old id, or -1 where the id is new: int64[new vocabulary]; None without a receipt.

    Raises CheckpointError where there is one that cannot be read.
    """
    path = checkpoint / RECEIPT / "receipt.json"
    return Receipt(checkpoint, _read_facts(path)).kept if path.is_file() else None


def invert_kept(kept: Int64Array, old_rows: int) -> Int64Array:
    """Return for every old id the first new id that keeps its row, or -1; the same id where it can be.

    `kept` is new id → old id or -1; the result is int64[old_rows].
    """
    found = np.full(old_rows, -1, np.int64)
    positions = np.flatnonzero(kept >= 0)[::-1]
    found[kept[positions]] = positions
    same = np.flatnonzero(kept == np.arange(len(kept)))
    found[same] = same
    return found


def restrict_kept(kept: Int64Array, old_rows: int, new_rows: int) -> Int64Array:
    """Return `kept` for a tensor of fewer new rows: ids whose old row lies beyond it are made anew there."""
    if new_rows == len(kept):
        return kept
    return np.where(kept[:new_rows] >= old_rows, -1, kept[:new_rows])


def grow_rows(old: _Array, kept: Int64Array, rows: int) -> _Array:
    """Return a matrix (or vector) of `rows` rows: kept ids have their old rows, every other row is zero.

    Raises CheckpointError when `old` has fewer rows than the receipt speaks of.
    """
    needed = int(kept.max(initial=-1)) + 1
    if len(old) < needed or rows < len(kept):
        hint = "it belongs to another checkpoint: remove optimizer.safetensors to start its state anew"
        raise CheckpointError(f"optimizer state of {len(old)} rows: the receipt keeps id {needed - 1}", hint)
    grown = np.zeros((rows, *old.shape[1:]), old.dtype)
    known = np.flatnonzero(kept >= 0)
    grown[known] = old[kept[known]]
    return grown


def digest_rows(blocks: Iterator[Bytes]) -> str:
    """Return the BLAKE2b-160 digest of rows as they are stored."""
    digest = hashlib.blake2b(digest_size=20)
    for block in blocks:
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
