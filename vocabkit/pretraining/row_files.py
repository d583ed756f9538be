"""Files of rows written bit by bit: `.npy` whose number of rows is known only at the end."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

from vocabkit.pretraining.packing import Int32Array, PackedRows
from vocabkit.pretraining.prepared import BYTES, ROWS, USED

__all__ = ["RowWriter", "row_paths"]

_HEADER = 128
_KINDS = (ROWS, BYTES, USED)
_MAGIC = b"\x93NUMPY\x01\x00"


def row_paths(folder: Path, stem: str) -> list[Path]:
    """The three files of a split: rows, their bytes, their used places."""
    return [folder / f"{stem}{kind}.npy" for kind in _KINDS]


class RowWriter:
    """Writes the three files of a split's rows: `STEM.npy`, `STEM.bytes.npy` and `STEM.used.npy`.

    Use as a context manager. Where there is no row, there is no file.
    """

    def __init__(self, folder: Path, stem: str, length: int) -> None:
        """Write under `folder/stem`, rows of `length` places."""
        self.rows = 0
        self.used = 0
        self._length = length
        self._paths = dict(zip(_KINDS, row_paths(folder, stem), strict=True))
        self._files: dict[str, BinaryIO] = {}
        self._digest = hashlib.blake2b(digest_size=20)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        for name, file in self._files.items():
            with file:
                if kind is None:
                    file.seek(0)
                    shape = (self.rows, self._length) if name == ROWS else (self.rows,)
                    file.write(_header(shape))

    @property
    def digest(self) -> str:
        """A digest of all rows, their bytes and used places, in hex."""
        return self._digest.hexdigest()

    def write(self, packed: PackedRows) -> None:
        """Append rows."""
        if not len(packed.ids):
            return
        if not self._files:
            for name, path in self._paths.items():
                self._files[name] = path.open("wb")
                self._files[name].write(bytes(_HEADER))
        for name, array in ((ROWS, packed.ids), (BYTES, packed.bytes), (USED, packed.used)):
            self._append(self._files[name], array)
        self.rows += len(packed.ids)
        self.used += int(packed.used.sum())

    def _append(self, file: BinaryIO, array: Int32Array) -> None:
        data = array.astype("<i4", copy=False).tobytes()
        self._digest.update(data)
        file.write(data)


def _header(shape: tuple[int, ...]) -> bytes:
    """The first 128 bytes of an int32 .npy file, version 1.0."""
    text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}"
    room = _HEADER - len(_MAGIC) - 2
    return _MAGIC + room.to_bytes(2, "little") + (text.ljust(room - 1) + "\n").encode("ascii")
