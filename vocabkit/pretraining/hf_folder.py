"""A model as a folder of transformers: config.json, safetensors, and the tokenizer's files beside them.

Written without transformers. Rows of padding stay behind, and a tied matrix is written once, as the classes
expect. Reading is in `importing`; from which run, and for which language, in `exporting`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vocabkit.pretraining.auto_tokenizer import complete_tokenizer
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.layouts import describe_config
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.tensor_names import VOCABULARY_PARAMETERS, name_tensors, split_rows

__all__ = ["Precision", "write_hf", "write_tokenizer_files"]

Precision = Literal["fp32", "bf16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_NAMES = {"fp32": "float32", "bf16": "bfloat16"}
_SHARD = 5 * 10**9
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt",
    "chat_template.jinja", "vocabulary.parquet",
)  # fmt: skip


def write_hf(
    model: Model,
    folder: Path,
    tokenizer_folder: Path | None,
    *,
    dtype: Precision = "fp32",
    shard_bytes: int = _SHARD,
) -> tuple[str, ...]:
    """Write a model, and the tokenizer's files where there are any, into a folder; return the names written.

    Files of weights hold at most `shard_bytes` bytes, or one tensor. The same model gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", describe_config(model.config, _NAMES[dtype]))
    weights = _write_weights(model, folder, _DTYPES[dtype], shard_bytes)
    others: tuple[str, ...] = ()
    if tokenizer_folder is not None:
        others = write_tokenizer_files(tokenizer_folder, folder, model.config.max_length)
    return ("config.json", *weights, *others)


def write_tokenizer_files(source: Path, folder: Path, length: int) -> tuple[str, ...]:
    """Copy what `AutoTokenizer` and this package read; `model_max_length` becomes `length`.

    A .model that came alone gets the tokenizer.json that goes with it, where there can be one. Raises
    `PretrainingError` where the source holds no tokenizer.
    """
    names = [name for name in _TOKENIZER_FILES if (source / name).is_file()]
    names += sorted(path.name for path in source.glob("*.model") if path.name not in names)
    if not names:
        raise PretrainingError(f"{source}: no tokenizer's files", "prepare the data again")
    for name in names:
        shutil.copyfile(source / name, folder / name)
    complete_tokenizer(source, folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8-sig")) if path.is_file() else {}
    if (folder / "tokenizer.json").is_file():
        names.append("tokenizer.json")
        settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    settings["model_max_length"] = length
    _write_json(path, settings)
    return tuple(sorted({*names, path.name}))


def _write_weights(
    model: Model, folder: Path, dtype: torch.dtype, shard_bytes: int
) -> tuple[str, ...]:
    shards = _plan_shards(model, dtype, shard_bytes)
    if len(shards) == 1:
        _save(shards[0], folder / "model.safetensors", dtype)
        return ("model.safetensors",)
    files: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _save(shard, folder / name, dtype)
        files |= dict.fromkeys(shard, name)
    total = sum(tensor.numel() * dtype.itemsize for shard in shards for tensor in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}
    _write_json(folder / "model.safetensors.index.json", index)
    return (*sorted(set(files.values())), "model.safetensors.index.json")


def _plan_shards(model: Model, dtype: torch.dtype, shard_bytes: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    held = 0
    for name, tensor in _list_tensors(model):
        size = tensor.numel() * dtype.itemsize
        if shards[-1] and held + size > shard_bytes:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held += size
    return shards


def _list_tensors(model: Model) -> Iterator[tuple[str, Tensor]]:
    """Their names and views of our parameters."""
    config = model.config
    names = name_tensors(config)
    for ours, parameter in model.named_parameters():
        tensor = parameter.detach()
        parts = names[ours]
        if ours in VOCABULARY_PARAMETERS:
            tensor = tensor[: config.vocabulary]
        start = 0
        for name, rows in zip(parts, split_rows(len(parts), len(tensor), config), strict=True):
            yield name, tensor[start : start + rows]
            start += rows
        if ours == "output_bias" and config.layout == "xlmr" and not config.tied:
            # The class has both biases and adds this one's namesake in the decoder.
            yield "lm_head.bias", tensor


def _save(shard: dict[str, Tensor], path: Path, dtype: torch.dtype) -> None:
    # Views of one matrix share memory, which the format refuses: each becomes a tensor of its own.
    tensors = {name: tensor.to(dtype, copy=True).contiguous() for name, tensor in shard.items()}
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        # It says in words alone what the system said in a number.
        found = next((code for code in _FULL if f"os error {code}" in str(error)), None)
        if found is None:
            raise
        raise OSError(found, os.strerror(found), str(path)) from error


def _write_json(path: Path, data: dict[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
