"""The receipt of an extension: which row every id kept, what every new row was made of, and what was lost.

Lies in `extension/` of the output: `receipt.json` (what was done, with what, and a hash of every file),
`rows.safetensors` (ids, sources, dropped rows) and `original/` (every small file that was changed or
removed, and the headers of rewritten shards). With the output it is enough to make the rows again and
to give the original back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.checkpoints.safetensors_files import (
    Bytes,
    Header,
    Part,
    build_header,
    read_header,
    write_file,
)
from vocabkit.core.arrays import BoolArray, Int64Array
from vocabkit.core.errors import CheckpointError
from vocabkit.core.folders import read_json

RECEIPT = "extension"
"""The folder of the receipt inside an extended checkpoint."""
ORIGINAL = f"{RECEIPT}/original"
DROPPED = "dropped"
_NUMBERS = {"int64": "I64", "float32": "F32", "uint8": "U8", "bool": "BOOL"}
_KINDS = {number: np.dtype(kind) for kind, number in _NUMBERS.items()}
SCHEMA = 1
_FACTS = frozenset(
    {
        "files",
        "format",
        "groups",
        "new_rows",
        "new_tokenizer",
        "old_rows",
        "options",
        "originals",
        "plain",
    }
)

Array = npt.NDArray[Any]


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
        found: Sequence[Mapping[str, Any]] = self.facts["groups"]
        return found

    def array(self, name: str) -> Array:
        """One of the arrays. Raises CheckpointError when it is not there."""
        path = self.root / RECEIPT / "rows.safetensors"
        header = _read_arrays(path)
        if name not in header.tensors:
            raise CheckpointError(f"{path}: has no {name}", "the receipt is damaged: extend again")
        place = header.tensors[name]
        with path.open("rb") as file:
            file.seek(place.start)
            data = file.read(place.stop - place.start)
        return np.frombuffer(data, _KINDS[place.number]).reshape(place.shape)

    def has(self, name: str) -> bool:
        """Whether there is an array of that name."""
        return name in _read_arrays(self.root / RECEIPT / "rows.safetensors").tensors


def _read_arrays(path: Path) -> Header:
    if not path.is_file():
        raise CheckpointError(f"{path}: is missing", "copy the receipt's folder again")
    return read_header(path)


def read_receipt(folder: str | Path) -> Receipt:
    """The receipt of an extended checkpoint. Raises CheckpointError where there is none."""
    root = Path(folder)
    path = root / RECEIPT / "receipt.json"
    if not path.is_file():
        raise CheckpointError(
            f"{root}: no {RECEIPT}/receipt.json", "name a folder written by `vocabkit extend`"
        )
    facts = read_json(path)
    if facts.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{path}: schema {facts.get('schema')}: this version reads {SCHEMA}",
            "use the version of vocabkit that wrote it",
        )
    lacking = sorted(_FACTS - facts.keys())
    if lacking:
        raise CheckpointError(f"{path}: lacks {', '.join(lacking)}", "copy the receipt again")
    return Receipt(root, facts)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays of int64, float32, uint8 and bool as a safetensors file, the widest numbers first."""
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    shapes = {name: (_NUMBERS[str(item.dtype)], item.shape) for name, item in ordered}

    def parts() -> Iterator[Part]:
        for _, item in ordered:
            yield np.ascontiguousarray(item).tobytes()

    write_file(path, build_header(shapes, None), parts(), None)


def split_sources(receipt: Receipt, place: int) -> tuple[Int64Array, Array, Int64Array] | None:
    """The ids, weights and offsets of a group's sources; None where there are none."""
    if not receipt.has(f"group{place}.offsets"):
        return None
    names = ("ids", "weights", "offsets")
    ids, weights, offsets = (receipt.array(f"group{place}.{name}") for name in names)
    return ids, weights, offsets


def digest_rows(blocks: Iterator[Bytes]) -> str:
    """The BLAKE2b-160 digest of rows as they are stored."""
    digest = hashlib.blake2b(digest_size=20)
    for block in blocks:
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def dump_facts(facts: Mapping[str, Any]) -> bytes:
    """`receipt.json`."""
    return (json.dumps(facts, ensure_ascii=False, indent=1) + "\n").encode()
