"""The header of a safetensors file: read and checked against the file, or made for a new one.

A file is an unsigned 64-bit header length, a JSON header and the tensors' bytes, which must cover the
rest without holes or overlap. Tensors are not read here.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.number_formats import SIZES

__all__ = ["PAGE", "Header", "StoredTensor", "build_header", "lay_out_header", "read_header"]

PAGE = 4096
"""Bytes in a page of the kernel's cache."""
LENGTH_SIZE = 8
"""Bytes before the header that say how long it is."""

_LONGEST = 100_000_000
_HINT = "download or copy the file again"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in its file: `start` and `stop` count bytes from the file's beginning."""

    name: str
    number: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a safetensors file: tensors in the order of their bytes, metadata, and itself raw."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str] | None
    raw: bytes


def read_header(path: Path) -> Header:
    """Read and check the header of a file, whose tensors are not read.

    Raises CheckpointError for a file cut short, bytes beyond the last tensor, ranges that overlap or
    leave a hole, a range that does not fit its shape, and anything that is no header.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if len(first) < 8:
            raise CheckpointError(
                f"{path}: {total} bytes are too few for a safetensors file", _HINT
            )
        (length,) = struct.unpack("<Q", first)
        if length > min(_LONGEST, total - 8):
            raise CheckpointError(
                f"{path}: the header is said to take {length:,} bytes of a file of {total:,}", _HINT
            )
        raw = file.read(length)
    try:
        content = json.loads(raw)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        metadata = content.pop("__metadata__", None)
        if not isinstance(metadata, dict | None):
            raise ValueError("its metadata is no object")
        tensors = [_read_entry(name, entry, 8 + length) for name, entry in content.items()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a safetensors header: {error}", _HINT) from error
    tensors.sort(key=lambda tensor: (tensor.start, tensor.stop))
    _check_ranges(path, tensors, 8 + length, total)
    return Header({tensor.name: tensor for tensor in tensors}, metadata, raw)


def _read_entry(name: str, entry: Mapping[str, Any], base: int) -> StoredTensor:
    if not isinstance(entry, dict) or not {"data_offsets", "shape", "dtype"} <= entry.keys():
        raise ValueError(f"{name} lacks its type, shape or place")
    if len(entry["data_offsets"]) != 2:
        raise ValueError(f"{name} has {len(entry['data_offsets'])} offsets, not 2")
    start, stop = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    if any(size < 0 for size in shape):
        raise ValueError(f"{name} has the shape {list(shape)}")
    return StoredTensor(name, str(entry["dtype"]), shape, base + int(start), base + int(stop))


def _check_ranges(path: Path, tensors: list[StoredTensor], base: int, total: int) -> None:
    place, before = base, "the header"
    for tensor in tensors:
        if tensor.start < place:
            raise CheckpointError(
                f"{path}: {tensor.name} overlaps {before}: it starts {place - tensor.start:,} bytes "
                "too early",
                _HINT,
            )
        if tensor.start > place:
            raise CheckpointError(
                f"{path}: {tensor.start - place:,} bytes between {before} and {tensor.name} "
                "belong to no tensor",
                _HINT,
            )
        if tensor.number in SIZES:
            wanted = prod(tensor.shape) * SIZES[tensor.number]
            if tensor.stop - tensor.start != wanted:
                raise CheckpointError(
                    f"{path}: {tensor.name}, {tensor.number} {list(tensor.shape)}, takes "
                    f"{tensor.stop - tensor.start:,} bytes, not {wanted:,}",
                    _HINT,
                )
        place, before = tensor.stop, tensor.name
    if place != total:
        missing = place - total
        what = f"cut short by {missing:,} bytes" if missing > 0 else f"{-missing:,} bytes too long"
        raise CheckpointError(f"{path}: {what}: the header describes {place:,} bytes", _HINT)


def build_header(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None
) -> bytes:
    """The raw header of tensors, name → number format and shape, that follow each other in that order."""
    layout = [
        (name, number, shape, prod(shape) * SIZES[number])
        for name, (number, shape) in tensors.items()
    ]
    return lay_out_header(layout, metadata)


def lay_out_header(
    layout: list[tuple[str, str, tuple[int, ...], int]],
    metadata: Mapping[str, str] | None,
    page_offset: int | None = None,
) -> bytes:
    """The raw header of tensors given with their bytes: name, number format, shape, size.

    With `page_offset`, a multiple of eight, the tensors' bytes begin so far into a page of the file.
    """
    content: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    place = 0
    for name, number, shape, size in layout:
        content[name] = {
            "dtype": number,
            "shape": list(shape),
            "data_offsets": [place, place + size],
        }
        place += size
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    # Readers that map the file want its tensors aligned: all writers pad to eight.
    if page_offset is None:
        return raw + b" " * (-len(raw) % 8)
    return raw + b" " * ((page_offset - LENGTH_SIZE - len(raw)) % PAGE)
