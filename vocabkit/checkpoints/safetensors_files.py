"""Safetensors files: read by their header, and rewritten by streaming: only tensors that change are made.

A file is an unsigned 64-bit header length, a JSON header and the tensors' bytes, which must cover the
rest without holes or overlap. So a tensor cannot grow in place: the new file gets a new header, and every
other tensor's bytes are copied by the kernel (`copy_file_range`, a reflink where the file system has it)
without passing through this process. The headers are checked here and not by `safetensors.safe_open`, which
tells neither a file cut short from one too long nor how much is missing, and refuses dtypes it does not know.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vocabkit.core.arrays import Float32Array, UInt8Array
from vocabkit.core.errors import CheckpointError

# --- Dtypes ----------------------------------------------------------------------------------------
# Bytes to float32 for arithmetic, and back with one rounding. Quantised dtypes (integers, 8-bit and smaller
# floats) are named and measured, never converted: a row of theirs means nothing without scales kept elsewhere.

Bytes = UInt8Array

# Bytes an element, by the names safetensors uses.
SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_NUMPY: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def as_float32(data: Bytes, dtype: str) -> Float32Array:
    """Bytes [..., width × size] as float32 [..., width]; a view where they are float32 already.

    Raises CheckpointError for a dtype that is no float of 16 bits or more.
    """
    check_dtype(dtype)
    if dtype == "BF16":
        wide = data.view(np.dtype("<u2")).astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return np.asarray(data.view(_NUMPY[dtype]), np.float32)


def as_bytes(values: Float32Array, dtype: str) -> Bytes:
    """Float32 [..., width] as bytes [..., width × size], rounded to nearest, ties to even.

    Raises CheckpointError as `as_float32`, and for values beyond what the format can hold.
    """
    check_dtype(dtype)
    plain = np.ascontiguousarray(values, dtype=np.float32)
    if dtype == "BF16":
        bits = plain.view(np.uint32)
        # Adding 0x7FFF plus the last kept bit rounds to nearest even; a NaN must stay one.
        rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
        short = np.where(np.isnan(plain), np.uint32(0x7FC0), rounded).astype(np.dtype("<u2"))
        return short.view(np.uint8)
    with np.errstate(over="ignore"):
        found = plain.astype(_NUMPY[dtype], copy=False)
    if dtype == "F16" and not np.isfinite(found).all() and np.isfinite(plain).all():
        largest = float(np.abs(plain).max())
        what = f"a new row holds {largest:.4g}, and F16 ends at 65504"
        raise CheckpointError(what, "choose another initialiser, or a smaller scale")
    return np.asarray(found.view(np.uint8))


def equal_bytes(first: Bytes, second: Bytes) -> bool:
    """Return whether two arrays are equal, compared some rows at a time."""
    step = max(1, _BLOCK // max(1, first[:1].size))
    starts = range(0, len(first), step)
    pairs = ((first[start : start + step], second[start : start + step]) for start in starts)
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in pairs)


def check_dtype(dtype: str) -> None:
    """Raise CheckpointError for a format in which no rows can be made."""
    if dtype not in _FLOATS:
        what = f"{dtype} is no number format that rows can be made in: {', '.join(sorted(_FLOATS))} are"
        raise CheckpointError(what, "extend the checkpoint before it is quantised")


# --- Headers ---------------------------------------------------------------------------------------

_PAGE = 4096  # bytes in a page of the kernel's cache
_LENGTH_SIZE = 8  # bytes before the header that say how long it is
_LONGEST = 100_000_000
_HINT = "download or copy the file again"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in its file: `start` and `stop` count bytes from the file's beginning."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start


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
            raise CheckpointError(f"{path}: {total} bytes are too few for a safetensors file", _HINT)
        (length,) = struct.unpack("<Q", first)
        if length > min(_LONGEST, total - 8):
            what = f"the header is said to take {length:,} bytes of a file of {total:,}"
            raise CheckpointError(f"{path}: {what}", _HINT)
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
    offset, before = base, "the header"
    for tensor in tensors:
        if tensor.start < offset:
            early = f"it starts {offset - tensor.start:,} bytes too early"
            raise CheckpointError(f"{path}: {tensor.name} overlaps {before}: {early}", _HINT)
        if tensor.start > offset:
            between = f"{tensor.start - offset:,} bytes between {before} and {tensor.name}"
            raise CheckpointError(f"{path}: {between} belong to no tensor", _HINT)
        if tensor.dtype in SIZES:
            wanted = prod(tensor.shape) * SIZES[tensor.dtype]
            if tensor.size != wanted:
                what = f"{tensor.dtype} {list(tensor.shape)}, takes {tensor.size:,} bytes, not {wanted:,}"
                raise CheckpointError(f"{path}: {tensor.name}, {what}", _HINT)
        offset, before = tensor.stop, tensor.name
    if offset != total:
        missing = offset - total
        what = f"cut short by {missing:,} bytes" if missing > 0 else f"{-missing:,} bytes too long"
        raise CheckpointError(f"{path}: {what}: the header describes {offset:,} bytes", _HINT)


# --- Rewriting -------------------------------------------------------------------------------------
# Tensor order and metadata stay as they are.

_BLOCK = 1 << 24


@dataclass(frozen=True, slots=True)
class Copied:
    """A range of bytes of the source file that the new tensor repeats."""

    start: int
    stop: int


# A part of a new tensor: bytes made here, or a range of the old file that the kernel copies.
Part = bytes | memoryview | Copied
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Replacement:
    """A tensor that takes the place of one in a file, or is added to it: its parts in order."""

    dtype: str
    shape: tuple[int, ...]
    parts: Callable[[], Iterator[Part]]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * SIZES[self.dtype]


def build_header(
    layout: Mapping[str, StoredTensor | Replacement],
    metadata: Mapping[str, str] | None,
    page_offset: int | None = None,
) -> bytes:
    """Return the raw header of tensors that follow each other in that order.

    With `page_offset`, a multiple of eight, the tensors' bytes begin so far into a page of the file.
    """
    content: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    start = 0
    for name, item in layout.items():
        offsets = [start, start + item.size]
        content[name] = {"dtype": item.dtype, "shape": list(item.shape), "data_offsets": offsets}
        start += item.size
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    # Readers that map the file want its tensors aligned: all writers pad to eight.
    if page_offset is None:
        return raw + b" " * (-len(raw) % 8)
    return raw + b" " * ((page_offset - _LENGTH_SIZE - len(raw)) % _PAGE)


def rewrite_file(
    source: Path,
    target: Path,
    changes: Mapping[str, Replacement],
    header: Header | None = None,
    advance: Advance | None = None,
) -> None:
    """Write `source` to `target` with some tensors replaced, and those it does not have added at the end.

    Every other byte of tensors is the source's. `advance` hears of bytes written. Nothing is removed
    when a write fails: the caller publishes a finished file by its name.
    """
    known = header or read_header(source)
    layout: dict[str, StoredTensor | Replacement] = {**known.tensors, **changes}

    def parts() -> Iterator[Part]:
        for name, item in layout.items():
            if isinstance(item, StoredTensor):
                yield Copied(item.start, item.stop)
                continue
            made = 0
            for part in item.parts():
                made += _measure(part)
                yield part
            if made != item.size:
                raise AssertionError(f"{name}: {made} bytes made, {item.size} announced")

    raw = build_header(layout, known.metadata, _find_page_offset(layout.values()))
    write_file(target, raw, parts(), source, advance)


def _find_page_offset(layout: Iterable[StoredTensor | Replacement]) -> int | None:
    """How far into a page tensors should begin, so that most bytes that stay keep their place in a page.

    The kernel then copies whole pages: 1 GB took 0.28 s, and 0.65 s where each page came from two. None
    where nothing stays, or at no multiple of eight.
    """
    found: Counter[int] = Counter()
    start = 0
    for item in layout:
        if isinstance(item, StoredTensor):
            found[(item.start - start) % _PAGE] += item.size
        start += item.size
    best = max(found, key=lambda offset: (found[offset], -offset), default=1)
    return None if best % 8 else best


def write_file(
    target: Path, raw_header: bytes, parts: Iterator[Part], source: Path, advance: Advance | None = None
) -> None:
    """Write a file from a raw header and the parts of its tensors, in their order; ranges are of `source`."""
    pending: Copied | None = None  # neighbours that stay are copied in one go
    with source.open("rb") as old, target.open("wb") as new:
        new.write(struct.pack("<Q", len(raw_header)) + raw_header)
        for part in parts:
            if isinstance(part, Copied):
                if pending is not None and pending.stop == part.start:
                    pending = Copied(pending.start, part.stop)
                    continue
                _copy_range(old, new, pending, advance)
                pending = part
                continue
            _copy_range(old, new, pending, advance)
            pending = None
            new.write(part)
            if advance is not None:
                advance(_measure(part))
        _copy_range(old, new, pending, advance)


def _measure(part: Part) -> int:
    if isinstance(part, Copied):
        return part.stop - part.start
    return part.nbytes if isinstance(part, memoryview) else len(part)


def _copy_range(old: BinaryIO, new: BinaryIO, part: Copied | None, advance: Advance | None) -> None:
    """Append a range of `old` to `new`, by the kernel where it can.

    Raises CheckpointError when the old file ends too early.
    """
    if part is None:
        return
    new.flush()
    left, in_kernel = part.stop - part.start, hasattr(os, "copy_file_range")
    while left and in_kernel:
        try:
            done = os.copy_file_range(old.fileno(), new.fileno(), min(left, _BLOCK << 4), part.stop - left)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            break  # not between these two files: read and write instead
        left -= _advance(old, done, left, advance)
    new.seek(0, os.SEEK_END)
    while left:
        block = os.pread(old.fileno(), min(left, _BLOCK), part.stop - left)
        new.write(block)
        left -= _advance(old, len(block), left, advance)


def _advance(old: BinaryIO, done: int, left: int, advance: Advance | None) -> int:
    if not done:
        raise CheckpointError(f"{old.name}: ends {left:,} bytes too early", "download or copy the file again")
    if advance is not None:
        advance(done)
    return done
