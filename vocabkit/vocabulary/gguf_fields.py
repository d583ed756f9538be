"""The key-value section of a GGUF file: version 2 or 3, little-endian; tensors are never read.

What a vocabulary among the fields means is told in `gguf_format`.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.core.errors import TokenizerError

MAGIC = b"GGUF"
_HINT = "download it again, or name the file it was converted from"
_NUMBERS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9


def read_fields(path: Path) -> Mapping[str, Any]:
    """The fields by key: numbers, bytes for strings, lists of bytes, and arrays of numbers.

    Strings are bytes because a token need not be whole UTF-8. Raises TokenizerError when the file is
    cut off, in big-endian order or of another version.
    """
    # The fields come first; a model's tensors behind them, gigabytes of them, stay on disk.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _read(_Reader(str(path), data))


def _read(reader: _Reader) -> Mapping[str, Any]:
    if reader.take(4) != MAGIC:
        raise TokenizerError(f"{reader.source}: not a GGUF file", _HINT)
    version = reader.number("<I")
    if version not in (2, 3):
        raise TokenizerError(f"{reader.source}: GGUF version {version}: expected 2 or 3", _HINT)
    reader.number("<Q")  # tensors
    fields = {}
    for _ in range(reader.number("<Q")):
        key = reader.string().decode(errors="replace")
        fields[key] = reader.value(reader.number("<I"))
    return fields


@dataclass(slots=True)
class _Reader:
    source: str
    data: mmap.mmap
    place: int = 0

    def take(self, count: int) -> bytes:
        end = self.place + count
        if end > len(self.data):
            size = len(self.data)
            raise TokenizerError(f"{self.source}: cut off: byte {end} of a file of {size}", _HINT)
        part = self.data[self.place : end]
        self.place = end
        return part

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self) -> bytes:
        return self.take(self.number("<Q"))

    def value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise TokenizerError(f"{self.source}: byte {self.place}: no such type: {kind}", _HINT)
        inner, count = self.number("<I"), self.number("<Q")
        if inner in _NUMBERS:
            form = np.dtype(_NUMBERS[inner])
            return np.frombuffer(self.take(count * form.itemsize), form)
        if inner != _STRING:
            raise TokenizerError(f"{self.source}: an array of type {inner} in an array", _HINT)
        return [self.string() for _ in range(count)]
