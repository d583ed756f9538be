"""Number formats of stored tensors: bytes to float32 for arithmetic, and back with one rounding.

Quantised formats (integers, 8-bit and smaller floats) are named and measured, never converted: a row
of theirs means nothing without scales kept elsewhere.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.plan_types import FloatArray

__all__ = ["FLOATS", "SIZES", "Bytes", "as_bytes", "as_float32", "check_number"]

Bytes = npt.NDArray[np.uint8]

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


def as_float32(data: Bytes, number: str) -> FloatArray:
    """Bytes [..., width × size] as float32 [..., width]; a view where they are float32 already.

    Raises CheckpointError for a number format that is no float of 16 bits or more.
    """
    check_number(number)
    if number == "BF16":
        wide = data.view(np.dtype("<u2")).astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    found = data.view(_NUMPY[number])
    plain: FloatArray = found if found.dtype == np.float32 else found.astype(np.float32)
    return plain


def as_bytes(values: FloatArray, number: str) -> Bytes:
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
