"""A checkpoint on disk: which tensors it has and where, without reading them.

Read are a folder as transformers writes it (one safetensors file or many with an index, or `.bin`), a
lone safetensors file, and a plain PyTorch state dict. It finds no vocabulary tensors
(`vocabulary_tensors`) and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.number_formats import SIZES, Bytes
from vocabkit.extension.safetensors_stream import Header, read_header
from vocabkit.extension.torch_checkpoint import TorchFile, read_torch_file

__all__ = ["Checkpoint", "Tensor", "open_checkpoint", "read_json"]

# In the order of preference where a folder has several: the first is what transformers would load.
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_INDEXED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_HINT = "name a folder with config.json and model.safetensors, or a .pt file of a state dict"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's number format (safetensors' name), shape and shard (a file name in the folder)."""

    name: str
    number: str
    shape: tuple[int, ...]
    shard: str

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * SIZES.get(self.number, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The tensors of a checkpoint by name, the files they are in, and its configuration.

    `root` is the folder; `index` is the name of the index file, where shards are listed in one.
    `headers` or `torch_files` hold what was read of each shard. `config` is None for a plain file.
    """

    root: Path
    tensors: Mapping[str, Tensor]
    shards: tuple[str, ...]
    index: str | None
    config: Mapping[str, Any] | None
    plain: bool
    headers: Mapping[str, Header] = field(default_factory=dict)
    torch_files: Mapping[str, TorchFile] = field(default_factory=dict)

    @property
    def total_size(self) -> int:
        """Bytes of all tensors, as an index counts them."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def model_type(self) -> str | None:
        """What config.json calls the architecture."""
        kind = None if self.config is None else self.config.get("model_type")
        return kind if isinstance(kind, str) else None

    def read_bytes(self, name: str) -> Bytes:
        """A tensor's bytes in a row, mapped rather than read."""
        tensor = self.tensors[name]
        if tensor.shard in self.torch_files:
            return self.torch_files[tensor.shard].bytes_of(name)
        place = self.headers[tensor.shard].tensors[name]
        if place.stop == place.start:
            return np.zeros(0, np.uint8)
        return np.memmap(
            self.root / tensor.shard, np.uint8, "r", place.start, (place.stop - place.start,)
        )

    def read_rows(self, name: str, axis: int = 0) -> Bytes:
        """A tensor's bytes as [rows, bytes a row], rows along `axis`; mapped where its rows lie in a row."""
        tensor = self.tensors[name]
        flat, unit = self.read_bytes(name), SIZES[tensor.number]
        outer = prod(tensor.shape[:axis])
        if outer == 1:
            return flat.reshape(tensor.shape[axis], -1)
        wide = flat.reshape(outer, tensor.shape[axis], -1, unit)
        return np.ascontiguousarray(np.moveaxis(wide, 1, 0)).reshape(tensor.shape[axis], -1)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a folder or file and check every header against its file. Raises CheckpointError."""
    target = Path(path)
    if target.is_file():
        return _open_shards(target.parent, (target.name,), None, None, True)
    if not target.is_dir():
        raise CheckpointError(f"{target}: no such file or folder", _HINT)
    config = read_json(target / "config.json") if (target / "config.json").is_file() else None
    for index, single in zip(_INDEXED, _SINGLE, strict=True):
        if (target / single).is_file():
            return _open_shards(target, (single,), None, config, False)
        if (target / index).is_file():
            return _open_indexed(target, index, config)
    if (target / "adapter_config.json").is_file():
        raise CheckpointError(f"{target}: an adapter, not a model", "merge it into its base first")
    plain = [
        item for item in sorted(target.iterdir()) if item.suffix in (".pt", ".pth", ".safetensors")
    ]
    if len(plain) == 1:
        return _open_shards(target, (plain[0].name,), None, config, config is None)
    found = f"{len(plain)} files of weights: name one" if plain else "no file of weights"
    raise CheckpointError(f"{target}: {found}", _HINT)


def _open_indexed(root: Path, index: str, config: Mapping[str, Any] | None) -> Checkpoint:
    content = read_json(root / index)
    weights = content.get("weight_map")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{root / index}: has no weight_map", "copy the index again")
    if not isinstance(content.get("metadata", {}), dict):
        raise CheckpointError(f"{root / index}: its metadata is no object", "copy the index again")
    shards = tuple(sorted(set(map(str, weights.values()))))
    for shard in shards:
        if not (root / shard).is_file():
            raise CheckpointError(
                f"{root / index}: names {shard}, which is not there", "copy the missing shard"
            )
    found = _open_shards(root, shards, index, config, False)
    for name, tensor in found.tensors.items():
        if name not in weights:
            raise CheckpointError(
                f"{root / index}: has no entry for {name}, which is in {tensor.shard}",
                "copy the index and the shards from one place",
            )
    for name, shard in weights.items():
        if name not in found.tensors or found.tensors[name].shard != shard:
            raise CheckpointError(
                f"{root / index}: says that {name} is in {shard}, and it is not",
                "copy the index and the shards from one place",
            )
    return found


def _open_shards(
    root: Path,
    shards: tuple[str, ...],
    index: str | None,
    config: Mapping[str, Any] | None,
    plain: bool,
) -> Checkpoint:
    tensors: dict[str, Tensor] = {}
    headers: dict[str, Header] = {}
    files: dict[str, TorchFile] = {}
    for shard in shards:
        place = root / shard
        if place.suffix == ".safetensors":
            headers[shard] = read_header(place)
            listed = [
                Tensor(item.name, item.number, item.shape, shard)
                for item in headers[shard].tensors.values()
            ]
        else:
            file = files[shard] = read_torch_file(place)
            listed = [
                Tensor(name, file.number(name), tuple(tensor.shape), shard)
                for name, tensor in file.tensors.items()
            ]
        for tensor in listed:
            if tensor.name in tensors:
                raise CheckpointError(
                    f"{root}: {tensor.name} is in {tensors[tensor.name].shard} and in {shard}",
                    "remove the file that does not belong to the model",
                )
            tensors[tensor.name] = tensor
    if not tensors:
        raise CheckpointError(f"{root}: no tensor in {', '.join(shards)}", _HINT)
    return Checkpoint(root, tensors, shards, index, config, plain, headers, files)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointError naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}", "copy the file again") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}", "copy the file again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no object", "copy the file again")
    return content
