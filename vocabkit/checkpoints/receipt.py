"""The receipt of an extension: which row every id kept, what every new row was made of, and what was lost.

Lies in `extension/` of the output: `receipt.json` (what was done, with what, and a hash of every file; sealed),
`rows.safetensors` (ids, sources, dropped rows) and `original/` (every small file that was changed or
removed, and the headers of rewritten shards). With the output it is enough to make the rows again and
to give the original back; pretraining reads which rows are new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from vocabkit.checkpoints.safetensors_files import Bytes
from vocabkit.core.arrays import BoolArray, Int64Array
from vocabkit.core.errors import CheckpointError
from vocabkit.core.folders import read_json
from vocabkit.core.records import (
    Digest,
    Name,
    break_seal,
    check_digest,
    is_sealed,
    parse_record,
    show,
)

RECEIPT = "extension"
"""The folder of the receipt inside an extended checkpoint."""
ORIGINAL = f"{RECEIPT}/original"
DROPPED = "dropped"
SCHEMA = 2
_UNSEALED = 1
"""Receipts of earlier versions, which have no digest of themselves and are read none the less."""
_MOST_IDS = 1 << 26
"""More than any vocabulary: arrays as long as a receipt says are made."""

_Array = npt.NDArray[Any]
_Tensor = TypedDict(
    "_Tensor",
    {
        "name": str, "from": str | None, "shard": Name, "role": str, "axis": int,
        "old_shape": list[int] | None, "new_shape": list[int],
    },
)  # fmt: skip


class _Group(TypedDict):
    role: str
    method: str
    number: str
    old_rows: int
    new_rows_blake2b: Digest
    tensors: list[_Tensor]


class _File(TypedDict):
    how: Literal["rewritten", "linked", "copied", "reflinked", "written", "kept"]
    size: int
    blake2b: Digest


class _Size(TypedDict):
    size: int


class _Options(TypedDict):
    seed: int
    tensors: Mapping[str, str]


class _Facts(TypedDict):
    files: Mapping[Name, _File]
    format: Literal["safetensors", "torch"]
    groups: list[_Group]
    index: Name | None
    head: str | None
    new_rows: int
    new_tokenizer: _Size
    old_rows: int
    options: _Options
    originals: Mapping[Name, Digest]
    plain: bool


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """What `receipt.json` says (`facts`), and the arrays beside it, which are read when asked for."""

    root: Path
    facts: Mapping[str, Any]

    @property
    def kept(self) -> Int64Array:
        """New id → old id or -1. Raises CheckpointError where it is no such thing."""
        kept = self.array("kept")
        most = int(self.facts.get("old_rows", _MOST_IDS))
        right = kept.dtype == np.int64 and kept.ndim == 1
        if not right or kept.min(initial=-1) < -1 or kept.max(initial=-1) >= most:
            raise CheckpointError(f"{self._arrays}: kept is not of the {most:,} ids there were", _DAMAGED)
        return kept

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
        path = self._arrays
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
            raise CheckpointError(f"{self._arrays}: has no {name}", _DAMAGED)
        return found

    @property
    def _arrays(self) -> Path:
        return self.root / RECEIPT / "rows.safetensors"

    def check_files(self, names: Iterable[str] | None = None) -> None:
        """Hold files to their digests; by default those of the receipt itself, which all else rests on.

        Raises CheckpointError naming the one that is missing or was changed.
        """
        files: Mapping[str, Any] = self.facts.get("files", {})
        own = [name for name in files if name.startswith(f"{RECEIPT}/")]
        hint = _DAMAGED if names is None else "copy it again; --no-verify takes a model that was trained since"
        for name in own if names is None else names:
            check_digest(self.root / name, files[name]["blake2b"], CheckpointError, hint)


_DAMAGED = "the receipt is damaged: extend again"


def read_receipt(folder: str | Path) -> Receipt:
    """Read the receipt of an extended checkpoint, its own files held to their digests.

    Raises CheckpointError where there is none, and where it was changed, or says what cannot be.
    """
    root = Path(folder)
    path = root / RECEIPT / "receipt.json"
    if not path.is_file():
        raise CheckpointError(
            f"{root}: no {RECEIPT}/receipt.json", "name a folder written by `vocabkit extend`"
        )
    facts: _Facts = parse_record(_Facts, _read_facts(path), path, CheckpointError, _DAMAGED)
    for place, group in enumerate(facts["groups"]):
        if not group["tensors"] or any(one["axis"] >= len(one["new_shape"]) for one in group["tensors"]):
            raise CheckpointError(f"{path}: groups[{place}] has no tensor, or one without its axis", _DAMAGED)
    rows = [facts["old_rows"], facts["new_rows"], *(group["old_rows"] for group in facts["groups"])]
    if max(rows) > _MOST_IDS:
        raise CheckpointError(f"{path}: tells of {max(rows):,} rows, and no vocabulary has as many", _DAMAGED)
    receipt = Receipt(root, cast(Mapping[str, Any], facts))
    receipt.check_files()
    return receipt


def _read_facts(path: Path) -> dict[str, Any]:
    facts = read_json(path)
    schema = facts.get("schema")
    if schema == _UNSEALED and not is_sealed(facts):
        return facts
    if schema != SCHEMA:
        what = f"schema {show(schema)}: this version reads {SCHEMA}"
        raise CheckpointError(f"{path}: {what}", "use the version of vocabkit that wrote it")
    return break_seal(facts, str(path), CheckpointError, _DAMAGED)


def read_kept(checkpoint: Path) -> Int64Array | None:
    """Return new id → old id, or -1 where the id is new: int64[new vocabulary]; None without a receipt.

    Raises CheckpointError where there is one that cannot be read, or was changed.
    """
    path = checkpoint / RECEIPT / "receipt.json"
    if not path.is_file():
        return None
    if _read_facts(path)["schema"] == SCHEMA:
        return read_receipt(checkpoint).kept
    return Receipt(checkpoint, {}).kept


def fingerprint_extension(checkpoint: Path) -> str | None:
    """Return a digest of what an extension did to the vocabulary, the same wherever and whenever it was done.

    It is of the ids that kept their row and of the new rows; None without a receipt. Raises as `read_kept`.
    """
    kept = read_kept(checkpoint)
    if kept is None:
        return None
    digest = hashlib.blake2b(kept.astype("<i8").tobytes(), digest_size=20)
    for group in _read_facts(checkpoint / RECEIPT / "receipt.json").get("groups", []):
        digest.update(str(group["new_rows_blake2b"]).encode())
    return digest.hexdigest()


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
