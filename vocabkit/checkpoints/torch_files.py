"""PyTorch's own files (`.bin`, `.pt`): read mapped and without running code, rewritten with some tensors new.

A file may nest its state dict (`state_dict`, `model`, `module`, …) beside other things; those are kept
as they are, and names keep whatever prefix they have. Tensors that share storage, as tied ones do, are
written sharing it. Unlike safetensors, the whole file is serialised again, through the page cache.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vocabkit.checkpoints.safetensors_files import Bytes
from vocabkit.core.errors import CheckpointError, MissingExtra

if TYPE_CHECKING:
    import torch

_NESTS = ("state_dict", "model_state_dict", "model", "module", "net", "weights")
_DTYPES = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "complex64": "C64",
}  # fmt: skip

Stored = tuple[Bytes, str, tuple[int, ...]]
"""A tensor as it is stored: its bytes, dtype and shape."""


@dataclass(frozen=True, slots=True, eq=False)
class TorchFile:
    """An opened file: all it holds, and where in it the state dict is (`nest`, the keys to follow)."""

    path: Path
    content: Any
    nest: tuple[str, ...]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors of the state dict by name."""
        import torch

        found = reduce(getitem, self.nest, self.content)
        return {name: item for name, item in found.items() if isinstance(item, torch.Tensor)}

    @property
    def has_optimizer(self) -> bool:
        """Whether optimiser state lies beside the weights; it has rows of the old vocabulary."""
        return isinstance(self.content, Mapping) and any("optim" in str(key) for key in self.content)

    def dtype(self, name: str) -> str:
        """The dtype of a tensor, by safetensors' name; torch's own where it has none."""
        return name_dtype(self.tensors[name])

    def bytes_of(self, name: str) -> Bytes:
        """A tensor's bytes in a row, a view of the mapped file where it is contiguous."""
        import torch

        flat = self.tensors[name].detach().contiguous().reshape(-1)
        return np.asarray(flat.view(torch.uint8).numpy())

    def shared_with(self, name: str) -> list[str]:
        """The other names of the same storage."""
        mine = self.tensors[name]
        return [
            other
            for other, tensor in self.tensors.items()
            if other != name and tensor.data_ptr() == mine.data_ptr() and tensor.shape == mine.shape
        ]


_DEPTH = 8
"""Objects within objects in which a state dict is looked for."""


def read_torch_file(path: Path) -> TorchFile:
    """Open a file without running code in it. Raises CheckpointError, and MissingExtra without torch."""
    try:
        import torch
    except ImportError as error:
        what = f"{path}: reading PyTorch's files needs torch"
        raise MissingExtra(what, "pip install 'vocabkit[torch]'") from error
    try:
        try:
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)  # the old format
    except Exception as error:  # a damaged pickle takes any step of the machine that reads it
        what = f"{path}: not a PyTorch file of weights alone: {_explain(error)}"
        hint = "copy the file again, or save its state dict with torch.save(model.state_dict(), ...)"
        raise CheckpointError(what, hint) from error
    nest = _find_nest(content, torch.Tensor)
    if nest is None:
        raise CheckpointError(f"{path}: holds no state dict", "torch.save(model.state_dict(), ...)")
    return TorchFile(path, content, nest)


def _explain(error: Exception) -> str:
    """What is wrong, in one line: torch's own words fill a page and advise to run the file's code."""
    said = str(error)
    if "zip archive" in said:
        return "it is cut short or damaged"
    found = re.search(r"GLOBAL ([\w.]+)", said)
    if found:
        return f"it holds a {found[1]}, which could run code"
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something else"
    return said.split("\n", 1)[0].split(". ", 1)[0] or type(error).__name__


def _find_nest(content: Any, kind: Any, depth: int = 0) -> tuple[str, ...] | None:
    # A pickle can hold an object that holds itself.
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return None
    if any(isinstance(item, kind) and item.dim() > 0 for item in content.values()):
        return ()
    for key in (*_NESTS, *content):
        inner = (
            _find_nest(content[key], kind, depth + 1) if key in content and "optim" not in str(key) else None
        )
        if inner is not None:
            return (key, *inner)
    return None


def name_dtype(tensor: torch.Tensor) -> str:
    """Return a tensor's dtype by safetensors' name; torch's own where it has none."""
    plain = str(tensor.dtype).removeprefix("torch.")
    return _DTYPES.get(plain, plain)


def as_tensor(data: Bytes, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a tensor of these bytes; they are copied where they are mapped, or not in a row."""
    import torch

    kinds = {known: getattr(torch, plain) for plain, known in _DTYPES.items()}
    flat = np.require(data.reshape(-1), requirements=("C", "W"))
    found: torch.Tensor = torch.from_numpy(flat).view(kinds[dtype]).reshape(shape)
    return found


def write_torch_file(
    source: TorchFile, target: Path, changes: Mapping[str, Stored], drop: tuple[str, ...] = ()
) -> None:
    """Write all of `source` with some tensors given as bytes, dtype and shape.

    Names that share storage in `source` must be given the same array to share it again. Names to `drop`
    are left out.
    """
    import torch

    made: dict[int, torch.Tensor] = {}
    fresh: dict[str, torch.Tensor] = {}
    for name, (data, dtype, shape) in changes.items():
        if id(data) not in made:
            made[id(data)] = as_tensor(data, dtype, shape)
        fresh[name] = made[id(data)]
    torch.save(_with_tensors(source.content, source.nest, fresh, drop), target)


def _with_tensors(
    content: Any, nest: tuple[str, ...], fresh: Mapping[str, torch.Tensor], drop: tuple[str, ...]
) -> Any:
    """A shallow copy with the state dict's tensors replaced: the mapped original is not written to."""
    copy = content.copy()
    if hasattr(content, "_metadata"):  # versions of modules, which a copied OrderedDict loses
        copy._metadata = content._metadata
    if nest:
        copy[nest[0]] = _with_tensors(content[nest[0]], nest[1:], fresh, drop)
    else:
        copy.update(fresh)
        for name in drop:
            copy.pop(name, None)
    return copy
