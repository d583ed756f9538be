"""A model from a folder of transformers: config.json and safetensors, in one file or several.

Every tensor must be used and every parameter found, in the shape that config.json says; what `vocabkit
extend` wrote is such a folder. Tensors are read one at a time into fp32. Writing is in `exporting`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.layouts import CLASSES, parse_config
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.model_config import ModelConfig
from vocabkit.pretraining.tensor_names import (
    VOCABULARY_PARAMETERS,
    TensorNames,
    is_idle,
    list_copies,
    name_tensors,
    split_rows,
)

__all__ = ["StoredTensors", "load_model", "read_checkpoint"]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class StoredTensors(Mapping[str, Tensor]):
    """Tensors of safetensors files by name; a file is opened, and a tensor read, when it is asked for."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self._open: dict[Path, Any] = {}

    def __getitem__(self, name: str) -> Tensor:
        path = self._files[name]
        try:
            tensor: Tensor = self._opened(path).get_tensor(name)
        except SafetensorError as error:
            raise _damaged(path, error) from error
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def file(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._files[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, read from its file's header."""
        path = self._files[name]
        try:
            return tuple(self._opened(path).get_slice(name).get_shape())
        except SafetensorError as error:
            raise _damaged(path, error) from error

    def _opened(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = _open_file(path)
        return self._open[path]


def read_checkpoint(folder: str | Path) -> tuple[ModelConfig, StoredTensors]:
    """What a folder's config.json describes, and its tensors, none of them read yet.

    Raises `PretrainingError` for a missing or damaged file, and for an architecture or a setting that is
    not computed here.
    """
    root = Path(folder)
    place = root / "config.json"
    config = parse_config(_read_json(place), str(place))
    return config, StoredTensors(_find_tensors(root))


def load_model(folder: str | Path, *, device: torch.device | str = "cpu") -> Model:
    """The model of a folder, in fp32. Raises `PretrainingError` naming what is missing or does not fit."""
    config, stored = read_checkpoint(folder)
    model = Model(config, seed=None)
    names = name_tensors(config)
    _check_names(config, names, stored, Path(folder))
    with torch.no_grad():
        for ours, parameter in model.named_parameters():
            _fill(parameter, ours, names[ours], stored, config)
        _check_copies(model, stored)
    return model.to(device)


def _check_names(
    config: ModelConfig,
    names: TensorNames,
    stored: StoredTensors,
    folder: Path,
) -> None:
    wanted = {name for parts in names.values() for name in parts}
    missing = sorted(wanted - set(stored))
    if missing:
        raise PretrainingError(
            f"{folder}: {len(missing)} of {len(wanted)} tensors are missing, {missing[0]} among them",
            f"the folder must hold a whole {CLASSES[config.layout]}, head included",
        )
    copies = list_copies(config)
    strange = sorted(
        name for name in stored if name not in wanted | set(copies) and not is_idle(name, config)
    )
    if strange:
        raise PretrainingError(
            f"{stored.file(strange[0])}: {len(strange)} tensors that {CLASSES[config.layout]} does not "
            f"have, {strange[0]} among them",
            "config.json and the weights must be of one model",
        )


def _fill(
    parameter: Tensor, ours: str, parts: tuple[str, ...], stored: StoredTensors, config: ModelConfig
) -> None:
    """Copy tensors into a parameter's rows, one under the other; rows of padding become zero."""
    rows = parameter.shape[0]
    if ours in VOCABULARY_PARAMETERS:
        rows = config.vocabulary
        parameter[rows:].zero_()
    sizes = split_rows(len(parts), rows, config)
    start = 0
    for name, size in zip(parts, sizes, strict=True):
        tensor = stored[name]
        if ours == "token_type":
            tensor = _first_type(tensor, stored.file(name), name)
        expected = (size, *parameter.shape[1:])
        if tuple(tensor.shape) != expected or not tensor.is_floating_point():
            raise PretrainingError(
                f"{stored.file(name)}: {name} is {tensor.dtype} {list(tensor.shape)}: "
                f"config.json says {list(expected)}",
                "config.json and the weights must be of one model",
            )
        parameter[start : start + size].copy_(tensor)
        start += size


def _first_type(tensor: Tensor, path: Path, name: str) -> Tensor:
    if tensor[1:].any():
        raise PretrainingError(
            f"{path}: {name} tells {len(tensor)} types of token apart: only one can be trained",
            "start from a checkpoint with type_vocab_size = 1",
        )
    return tensor[:1]


def _check_copies(model: Model, stored: StoredTensors) -> None:
    """Tied tensors that a folder holds twice must be equal: the class would take the first."""
    parameters = dict(model.named_parameters())
    for theirs, ours in list_copies(model.config).items():
        if theirs not in stored:
            continue
        parameter = parameters[ours][: model.config.vocabulary]
        copy = stored[theirs]
        if copy.shape != parameter.shape or not torch.equal(copy.to(parameter.dtype), parameter):
            raise PretrainingError(
                f"{stored.file(theirs)}: {theirs} differs from the input matrix or bias it is tied to",
                "set tie_word_embeddings to false in config.json if it is a matrix of its own",
            )


def _find_tensors(root: Path) -> dict[str, Path]:
    index = root / _INDEX
    if index.is_file():
        weights = _read_json(index).get("weight_map")
        if not isinstance(weights, dict):
            raise PretrainingError(f"{index}: no weight_map", "download or copy the file again")
        files = {str(name): root / str(file) for name, file in weights.items()}
        for path in sorted(set(files.values())):
            held = set(_open_file(path).keys())
            absent = sorted(
                name for name, file in files.items() if file == path and name not in held
            )
            if absent:
                raise PretrainingError(
                    f"{path}: {absent[0]} is missing, which {index.name} says it holds",
                    "download or copy the file again",
                )
        return files
    single = root / _SINGLE
    if single.is_file():
        return {name: single for name in _open_file(single).keys()}  # noqa: SIM118
    if (root / "pytorch_model.bin").is_file() or list(root.glob("pytorch_model*.bin")):
        raise PretrainingError(
            f"{root}: weights in pytorch_model.bin, which are not read here",
            "save them as safetensors: model.save_pretrained(folder)",
        )
    raise PretrainingError(
        f"{root}: no {_SINGLE} and no {_INDEX}", "give the folder of a model of transformers"
    )


def _open_file(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError as error:
        raise PretrainingError(f"{path}: no such file", "download or copy it again") from error
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> PretrainingError:
    return PretrainingError(f"{path}: damaged ({error})", "download or copy the file again")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PretrainingError(
            f"{path}: no such file", "give the folder of a model of transformers"
        ) from error
    except (OSError, ValueError) as error:
        raise PretrainingError(
            f"{path}: cannot be read ({error})", "copy the file again"
        ) from error
    if not isinstance(data, dict):
        raise PretrainingError(f"{path}: not a table of settings", "copy the file again")
    return data
