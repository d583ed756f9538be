"""The header of a safetensors file: read and checked against the file, or made for a new one.

A file is an unsigned 64-bit header length, a JSON header and the tensors' bytes, which must cover the
rest without holes or overlap. Tensors are not read here.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vocabkit.core.arrays import Float32Array, UInt8Array
from vocabkit.core.errors import CheckpointError

# --- Number formats --------------------------------------------------------------------------------
# Number formats of stored tensors: bytes to float32 for arithmetic, and back with one rounding.
#
# Quantised formats (integers, 8-bit and smaller floats) are named and measured, never converted: a row
# of theirs means nothing without scales kept elsewhere.


Bytes = UInt8Array

# Bytes an element, by the names safetensors uses.
SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_NUMPY: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


def as_float32(data: Bytes, number: str) -> Float32Array:
    """Bytes [..., width × size] as float32 [..., width]; a view where they are float32 already.

    Raises CheckpointError for a number format that is no float of 16 bits or more.
    """
    check_number(number)
    if number == "BF16":
        wide = data.view(np.dtype("<u2")).astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    found = data.view(_NUMPY[number])
    plain: Float32Array = found if found.dtype == np.float32 else found.astype(np.float32)
    return plain


def as_bytes(values: Float32Array, number: str) -> Bytes:
    """Float32 [..., width] as bytes [..., width × size], rounded to nearest, ties to even.

    Raises CheckpointError as `as_float32`, and for values beyond what the format can hold.
    """
    check_number(number)
    plain = np.ascontiguousarray(values, dtype=np.float32)
    if number == "BF16":
        bits = plain.view(np.uint32)
        # Adding 0x7FFF plus the last kept bit rounds to nearest even; a NaN must stay one.
        rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
        short = np.where(np.isnan(plain), np.uint32(0x7FC0), rounded).astype(np.dtype("<u2"))
        return short.view(np.uint8)
    with np.errstate(over="ignore"):
        found = plain.astype(_NUMPY[number], copy=False)
    if number == "F16" and not np.isfinite(found).all() and np.isfinite(plain).all():
        largest = float(np.abs(plain).max())
        raise CheckpointError(
            f"a new row holds {largest:.4g}, and F16 ends at 65504",
            "choose another initialiser, or a smaller scale",
        )
    raw: Bytes = found.view(np.uint8)
    return raw


def check_number(number: str) -> None:
    """Raise CheckpointError for a format in which no rows can be made."""
    if number not in FLOATS:
        raise CheckpointError(
            f"{number} is no number format that rows can be made in: {', '.join(sorted(FLOATS))} are",
            "extend the checkpoint before it is quantised",
        )


# --- Safetensors header ----------------------------------------------------------------------------


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
    return _lay_out_header(layout, metadata)


def _lay_out_header(
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


# --- Safetensors stream ----------------------------------------------------------------------------
# Safetensors files read by their header and rewritten by streaming: only tensors that change are made.
#
# A file is an unsigned 64-bit header length, a JSON header and the tensors' bytes, which must cover the
# rest without holes or overlap. So a tensor cannot grow in place: the new file gets a new header, and
# every other tensor's bytes are copied by the kernel (`copy_file_range`, a reflink where the file system
# has it) without passing through this process. Tensor order and metadata stay as they are.


_BLOCK = 1 << 24


@dataclass(frozen=True, slots=True)
class Copied:
    """A range of bytes of the source file that the new tensor repeats."""

    start: int
    stop: int


# A part of a new tensor: bytes made here, or a range of the old file that the kernel copies.
Part = bytes | memoryview | Copied


@dataclass(frozen=True, slots=True)
class Replacement:
    """A tensor that takes the place of one in a file, or is added to it: its parts in order."""

    number: str
    shape: tuple[int, ...]
    parts: Callable[[], Iterator[Part]]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * SIZES[self.number]


def rewrite_file(
    source: Path,
    target: Path,
    changes: Mapping[str, Replacement],
    header: Header | None = None,
    advance: Callable[[int], None] | None = None,
) -> None:
    """Write `source` to `target` with some tensors replaced, and those it does not have added at the end.

    Every other byte of tensors is the source's. `advance` hears of bytes written. Nothing is removed
    when a write fails: the caller publishes a finished file by its name.
    """
    known = header or read_header(source)
    entries: list[tuple[str, StoredTensor | None, str, tuple[int, ...], int]] = []
    for name, tensor in known.tensors.items():
        change = changes.get(name)
        if change is None:
            size = tensor.stop - tensor.start
            entries.append((name, tensor, tensor.number, tensor.shape, size))
        else:
            entries.append((name, None, change.number, change.shape, change.size))
    for name, change in changes.items():
        if name not in known.tensors:
            entries.append((name, None, change.number, change.shape, change.size))
    layout = [(name, number, shape, size) for name, _, number, shape, size in entries]
    raw = _lay_out_header(layout, known.metadata, _find_page_offset(entries))
    with source.open("rb") as old, target.open("wb") as new:
        _write_raw(new, raw)
        pending: Copied | None = None  # neighbours that stay are copied in one go
        for name, kept, _, _, size in entries:
            if kept is not None:
                if pending is not None and pending.stop == kept.start:
                    pending = Copied(pending.start, kept.stop)
                else:
                    _flush(old, new, pending, advance)
                    pending = Copied(kept.start, kept.stop)
                continue
            _flush(old, new, pending, advance)
            pending = None
            _write_parts(old, new, changes[name], name, size, advance)
        _flush(old, new, pending, advance)


def _find_page_offset(
    entries: list[tuple[str, StoredTensor | None, str, tuple[int, ...], int]],
) -> int | None:
    """How far into a page tensors should begin, so that most bytes that stay keep their place in a page.

    The kernel then copies whole pages: 1 GB took 0.28 s, and 0.65 s where each page came from two. None
    where nothing stays, or at no multiple of eight.
    """
    found: Counter[int] = Counter()
    place = 0
    for _, kept, _, _, size in entries:
        if kept is not None:
            found[(kept.start - place) % PAGE] += size
        place += size
    best = max(found, key=lambda offset: (found[offset], -offset), default=1)
    return None if best % 8 else best


def write_file(
    target: Path, raw_header: bytes, tensors: Iterator[Part], source: Path | None
) -> None:
    """Write a file from a raw header and the parts of its tensors, in their order.

    Ranges (`Copied`) are those of `source`.
    """
    with target.open("wb") as new:
        _write_raw(new, raw_header)
        if source is None:
            for part in tensors:
                assert not isinstance(part, Copied)
                new.write(part)
            return
        with source.open("rb") as old:
            for part in tensors:
                _write_part(old, new, part, None)


def _write_raw(new: BinaryIO, raw: bytes) -> None:
    new.write(struct.pack("<Q", len(raw)) + raw)


def _write_parts(
    old: BinaryIO,
    new: BinaryIO,
    change: Replacement,
    name: str,
    size: int,
    advance: Callable[[int], None] | None,
) -> None:
    before = new.tell()
    for part in change.parts():
        _write_part(old, new, part, advance)
    if new.tell() - before != size:
        raise AssertionError(f"{name}: {new.tell() - before} bytes made, {size} announced")


def _write_part(
    old: BinaryIO, new: BinaryIO, part: Part, advance: Callable[[int], None] | None
) -> None:
    if isinstance(part, Copied):
        _flush(old, new, part, advance)
        return
    new.write(part)
    if advance is not None:
        advance(len(part) if isinstance(part, bytes) else part.nbytes)


def _flush(
    old: BinaryIO, new: BinaryIO, part: Copied | None, advance: Callable[[int], None] | None
) -> None:
    if part is not None:
        _copy_range(old, new, part.start, part.stop - part.start, advance)


def _copy_range(
    old: BinaryIO,
    new: BinaryIO,
    start: int,
    size: int,
    advance: Callable[[int], None] | None = None,
) -> None:
    """Append `size` bytes of `old` from `start` to `new`, by the kernel where it can.

    Raises CheckpointError when the old file ends too early.
    """
    new.flush()
    left, in_kernel = size, hasattr(os, "copy_file_range")
    while left and in_kernel:
        try:
            done = os.copy_file_range(
                old.fileno(), new.fileno(), min(left, _BLOCK << 4), start + size - left
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            break  # not between these two files: read and write instead
        left -= _advance(old, done, left, advance)
    new.seek(0, os.SEEK_END)
    while left:
        block = os.pread(old.fileno(), min(left, _BLOCK), start + size - left)
        new.write(block)
        left -= _advance(old, len(block), left, advance)


def _advance(old: BinaryIO, done: int, left: int, advance: Callable[[int], None] | None) -> int:
    if not done:
        raise CheckpointError(
            f"{old.name}: ends {left:,} bytes too early", "download or copy the file again"
        )
    if advance is not None:
        advance(done)
    return done
