"""Names of the array types that the stages pass one another, each with its dtype; caches of arrays in files."""

import os
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]


def list_ranges(starts: Int64Array, lengths: Int64Array) -> Int64Array:
    """Return the numbers of all ranges, one after another: `starts[i]` … `starts[i] + lengths[i]` - 1."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(lengths.sum(), dtype=np.int64)


def load_arrays(path: Path, names: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays (default: all) that `save_arrays` wrote, None where the file is absent or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in names or data.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], *, among: str = "", kept: int = 0) -> bool:
    """Write arrays under a temporary name and rename; of the files that match `among` keep the newest `kept`.

    A cache that does not fit on the disk, or cannot be written, is no reason to stop: then it returns False.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, allow_pickle=False, **arrays)
        temporary.replace(path)
        found = sorted(path.parent.glob(among), key=lambda file: file.stat().st_mtime_ns) if among else []
        for file in found[:-kept]:
            file.unlink(missing_ok=True)
        return True
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
