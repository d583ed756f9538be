"""Three layouts and the classes of transformers that compute the same: their config.json, both ways.

Equal or refused: a setting under which the class would compute something else is an error that names it.
Dropout is ignored, since it changes nothing outside training. Names of tensors are in `tensor_names`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vocabkit.checkpoints.checkpoint import Checkpoint, open_checkpoint
from vocabkit.checkpoints.torch_files import as_tensor
from vocabkit.core.errors import PretrainingError
from vocabkit.pretraining.model import VOCABULARY_PARAMETERS, Model
from vocabkit.pretraining.run_config import ModelConfig
from vocabkit.vocabulary.roles import CHAT_TEMPLATE, TOKENIZER_FILES, complete_tokenizer

# --- Tensor names ----------------------------------------------------------------------------------
# What each layout's parameters are called in the class of transformers that computes the same.
#
# Three of theirs may make up one of ours, row under row: queries, keys and values are one product here. Holds
# no tensors; settings are in `layouts`.


TensorNames = dict[str, tuple[str, ...]]
_IDLE = (".position_ids", ".token_type_ids", ".inv_freq")


def name_tensors(config: ModelConfig) -> TensorNames:
    """Our parameters' names → theirs, whose rows make ours up in this order."""
    return {"xlmr": _name_xlmr, "modern": _name_modern, "llama": _name_llama}[config.layout](config)


def _list_copies(config: ModelConfig) -> dict[str, str]:
    """Names under which a folder may hold one of our parameters again → our name."""
    if config.layout == "llama":
        return {"lm_head.weight": "table"} if config.tied else {}
    if config.layout == "modern":
        return {"decoder.weight": "table"} if config.tied else {}
    if config.tied:
        return {"lm_head.decoder.weight": "table", "lm_head.decoder.bias": "output_bias"}
    # Without tying the class adds the decoder's own bias and leaves the other unused.
    return {}


def _is_idle(name: str, config: ModelConfig) -> bool:
    """Whether a tensor of a folder takes no part in what the class computes."""
    pooler = config.layout == "xlmr" and name.startswith("roberta.pooler.")
    unused = config.layout == "xlmr" and not config.tied and name == "lm_head.bias"
    return pooler or unused or name.endswith(_IDLE)


def split_rows(parts: int, rows: int, config: ModelConfig) -> list[int]:
    """How many of a parameter's `rows` each of its parts has: queries have more than keys and values."""
    if parts == 3:
        keys = config.key_value_heads * config.head_width
        return [rows - 2 * keys, keys, keys]
    return [rows // parts] * parts


def _name_xlmr(config: ModelConfig) -> TensorNames:
    names: TensorNames = {
        "table": ("roberta.embeddings.word_embeddings.weight",),
        "positions": ("roberta.embeddings.position_embeddings.weight",),
        "token_type": ("roberta.embeddings.token_type_embeddings.weight",),
        "output_bias": ("lm_head.bias" if config.tied else "lm_head.decoder.bias",),
        **_both("input_norm", "roberta.embeddings.LayerNorm"),
        **_both("head_projection", "lm_head.dense"),
        **_both("head_norm", "lm_head.layer_norm"),
    }
    if not config.tied:
        names["output_table"] = ("lm_head.decoder.weight",)
    for index in range(config.layers):
        ours, theirs = f"layers.{index}", f"roberta.encoder.layer.{index}"
        parts = [f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")]
        names |= _both(f"{ours}.qkv", *parts)
        names |= _both(f"{ours}.mix", f"{theirs}.attention.output.dense")
        names |= _both(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm")
        names |= _both(f"{ours}.up", f"{theirs}.intermediate.dense")
        names |= _both(f"{ours}.down", f"{theirs}.output.dense")
        names |= _both(f"{ours}.feed_forward_norm", f"{theirs}.output.LayerNorm")
    return names


def _name_modern(config: ModelConfig) -> TensorNames:
    names: TensorNames = {
        "table": ("model.embeddings.tok_embeddings.weight",),
        "output_bias": ("decoder.bias",),
        "input_norm.weight": ("model.embeddings.norm.weight",),
        "final_norm.weight": ("model.final_norm.weight",),
        "head_projection.weight": ("head.dense.weight",),
        "head_norm.weight": ("head.norm.weight",),
    }
    if not config.tied:
        names["output_table"] = ("decoder.weight",)
    for index in range(config.layers):
        ours, theirs = f"layers.{index}", f"model.layers.{index}"
        if index:
            names[f"{ours}.attention_norm.weight"] = (f"{theirs}.attn_norm.weight",)
        names |= {
            f"{ours}.qkv.weight": (f"{theirs}.attn.Wqkv.weight",),
            f"{ours}.mix.weight": (f"{theirs}.attn.Wo.weight",),
            f"{ours}.feed_forward_norm.weight": (f"{theirs}.mlp_norm.weight",),
            f"{ours}.up.weight": (f"{theirs}.mlp.Wi.weight",),
            f"{ours}.down.weight": (f"{theirs}.mlp.Wo.weight",),
        }
    return names


def _name_llama(config: ModelConfig) -> TensorNames:
    names: TensorNames = {
        "table": ("model.embed_tokens.weight",),
        "final_norm.weight": ("model.norm.weight",),
    }
    if not config.tied:
        names["output_table"] = ("lm_head.weight",)
    for index in range(config.layers):
        ours, theirs = f"layers.{index}", f"model.layers.{index}"
        attention, inner = f"{theirs}.self_attn", f"{theirs}.mlp"
        names |= {
            f"{ours}.qkv.weight": tuple(f"{attention}.{part}_proj.weight" for part in "qkv"),
            f"{ours}.mix.weight": (f"{attention}.o_proj.weight",),
            f"{ours}.up.weight": (f"{inner}.gate_proj.weight", f"{inner}.up_proj.weight"),
            f"{ours}.down.weight": (f"{inner}.down_proj.weight",),
            f"{ours}.attention_norm.weight": (f"{theirs}.input_layernorm.weight",),
            f"{ours}.feed_forward_norm.weight": (f"{theirs}.post_attention_layernorm.weight",),
        }
    return names


def _both(ours: str, *theirs: str) -> TensorNames:
    return {
        f"{ours}.{kind}": tuple(f"{name}.{kind}" for name in theirs) for kind in ("weight", "bias")
    }


# --- Hf settings -----------------------------------------------------------------------------------
# A config.json read key by key; what no layout computes is refused with the file, the key and the value.
#
# Which keys matter to which architecture is in `layouts`.


class _HfSettings:
    """The keys of one config.json; `place` names the file in errors."""

    def __init__(self, data: Mapping[str, Any], place: str) -> None:
        self._data = data
        self._place = place

    def take(self, key: str, default: Any) -> Any:
        """A value, or what the class takes where it is absent."""
        return self._data.get(key, default)

    def take_id(self, key: str, default: int | None) -> int | None:
        """A token's id; the first where there are several."""
        value = self._data.get(key, default)
        if isinstance(value, list):
            value = value[0] if value else None
        return None if value is None else int(value)

    def take_shape(self) -> dict[str, int]:
        """The sizes that every architecture names alike. Raises `PretrainingError` where one is missing."""
        keys = {
            "vocabulary": "vocab_size",
            "width": "hidden_size",
            "layers": "num_hidden_layers",
            "heads": "num_attention_heads",
            "feed_forward": "intermediate_size",
        }
        shape: dict[str, int] = {}
        for ours, theirs in keys.items():
            if not isinstance(self._data.get(theirs), int):
                raise self.refuse(theirs, "a whole number is needed")
            shape[ours] = self._data[theirs]
        return shape

    def require(self, key: str, expected: Any, *, default: Any) -> None:
        """Raise `PretrainingError` unless a key, where it is given, has the one value that is computed."""
        value = self._data.get(key, default)
        if value != expected and not (value is None and default is None):
            raise self.refuse(key, f"only {expected!r} can be trained")

    def take_theta(self) -> float:
        """The base of plain rotary positions, under its name of version 4 or 5 of transformers."""
        self._require_plain("rope_scaling", self._data.get("rope_scaling"))
        given = self._data.get("rope_parameters")
        self._require_plain("rope_parameters", given)
        self.require("partial_rotary_factor", 1.0, default=1.0)
        theta = (given or {}).get("rope_theta", self._data.get("rope_theta", 10_000.0))
        return float(theta)

    def take_thetas(self) -> tuple[float, float]:
        """The bases of global and of local layers of ModernBERT."""
        self._require_plain("rope_scaling", self._data.get("rope_scaling"))
        given = self._data.get("rope_parameters") or {}
        found = []
        for kind, old, default in (
            ("full_attention", "global_rope_theta", 160_000.0),
            ("sliding_attention", "local_rope_theta", 10_000.0),
        ):
            part = given.get(kind) or {}
            self._require_plain(f"rope_parameters.{kind}", part)
            theta = part.get("rope_theta", self._data.get(old, default))
            if theta is None:
                raise self.refuse(old, "a number is needed")
            found.append(float(theta))
        return found[0], found[1]

    def take_global_every(self, layers: int) -> int:
        """How many layers lie from one with global attention to the next, the first being one."""
        kinds = self._data.get("layer_types")
        if kinds is None:
            return int(self._data.get("global_attn_every_n_layers", 3))
        for every in range(1, layers + 1):
            if kinds == _alternate(layers, every):
                return every
        raise self.refuse("layer_types", "only global attention in every n-th layer can be trained")

    def refuse(self, key: str, reason: str) -> PretrainingError:
        """The error that says which key has which value, and what is wrong with it."""
        return PretrainingError(
            f"{self._place}: {key} = {self._data.get(key)!r}: {reason}",
            "train from scratch, with [model] in the preset, or start from another checkpoint",
        )

    def _require_plain(self, key: str, given: Mapping[str, Any] | None) -> None:
        rest = {name: value for name, value in (given or {}).items() if name != "rope_theta"}
        kind = rest.pop("rope_type", rest.pop("type", "default"))
        rest.pop("type", None)
        if kind != "default" or any(value is not None for value in rest.values()):
            raise PretrainingError(
                f"{self._place}: {key} = {given!r}: only plain rotary positions can be trained",
                "train from scratch, with [model] in the preset, or start from another checkpoint",
            )


def _alternate(layers: int, every: int) -> list[str]:
    return ["sliding_attention" if index % every else "full_attention" for index in range(layers)]


# --- Layouts ---------------------------------------------------------------------------------------


CLASSES: Mapping[str, str] = {
    "xlmr": "XLMRobertaForMaskedLM",
    "modern": "ModernBertForMaskedLM",
    "llama": "LlamaForCausalLM",
}
"""Class of transformers by layout."""
_LAYOUTS = {"xlm-roberta": "xlmr", "roberta": "xlmr", "modernbert": "modern", "llama": "llama"}
_TYPES = {"xlmr": "xlm-roberta", "modern": "modernbert", "llama": "llama"}


def _parse_config(data: Mapping[str, Any], place: str) -> ModelConfig:
    """The model that a config.json describes; `place` names it in errors.

    Raises `PretrainingError` for an architecture or a setting that none of the layouts computes.
    """
    settings = _HfSettings(data, place)
    layout = _LAYOUTS.get(str(data.get("model_type")))
    if layout is None:
        raise PretrainingError(
            f"{place}: model_type = {data.get('model_type')!r}: not an architecture that can be trained",
            f"known are {', '.join(_LAYOUTS)}; or train from scratch, with [model] in the preset",
        )
    settings.require("quantization_config", None, default=None)
    return {"xlmr": _parse_xlmr, "modern": _parse_modern, "llama": _parse_llama}[layout](settings)


def _describe_config(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """The config.json of a model; `dtype` as transformers names it.

    Settings that version 5 of transformers moved stand under their old names too: version 4 would take its
    own defaults in silence.
    """
    end = config.begin_id if config.end_id is None else config.end_id
    shared = {
        "architectures": [CLASSES[config.layout]],
        "model_type": _TYPES[config.layout],
        "dtype": dtype,
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.feed_forward,
        "initializer_range": config.initial_deviation,
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.begin_id,
        "eos_token_id": end,
        "pad_token_id": config.pad_id,
    }
    if config.layout == "xlmr":
        return {
            **shared,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "layer_norm_eps": config.norm_epsilon,
            "max_position_embeddings": config.max_length + config.pad_id + 1,
            "position_embedding_type": "absolute",
            "type_vocab_size": 1,
        }
    if config.layout == "modern":
        return {**shared, **_describe_modern(config, end)}
    return {
        **shared,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_length,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_width,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
    }


def _describe_modern(config: ModelConfig, end: int) -> dict[str, Any]:
    kinds = ("full_attention", "sliding_attention")
    return {
        "hidden_activation": "gelu",
        "max_position_embeddings": config.max_length,
        "norm_eps": config.norm_epsilon,
        "norm_bias": False,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "embedding_dropout": 0.0,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "decoder_bias": True,
        "classifier_bias": False,
        "classifier_activation": "gelu",
        "cls_token_id": config.begin_id,
        "sep_token_id": end,
        "local_attention": config.local_window,
        "layer_types": [kinds[index % config.global_every != 0] for index in range(config.layers)],
        "global_attn_every_n_layers": config.global_every,
        "global_rope_theta": config.rope_theta,
        "local_rope_theta": config.local_theta,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": config.rope_theta},
            "sliding_attention": {"rope_type": "default", "rope_theta": config.local_theta},
        },
    }


def _parse_xlmr(settings: _HfSettings) -> ModelConfig:
    settings.require("hidden_act", "gelu", default="gelu")
    settings.require("position_embedding_type", "absolute", default="absolute")
    settings.require("is_decoder", False, default=False)
    settings.require("add_cross_attention", False, default=False)
    pad = settings.take_id("pad_token_id", 1)
    if pad is None:
        raise settings.refuse("pad_token_id", "positions count from it")
    return ModelConfig(
        layout="xlmr",
        **settings.take_shape(),
        max_length=int(settings.take("max_position_embeddings", 512)) - pad - 1,
        tied=bool(settings.take("tie_word_embeddings", True)),
        norm_epsilon=float(settings.take("layer_norm_eps", 1e-12)),
        initial_deviation=float(settings.take("initializer_range", 0.02)),
        begin_id=settings.take_id("bos_token_id", 0) or 0,
        end_id=settings.take_id("eos_token_id", 2),
        pad_id=pad,
        mask_id=None,
    )


def _parse_modern(settings: _HfSettings) -> ModelConfig:
    settings.require("hidden_activation", "gelu", default="gelu")
    settings.require("classifier_activation", "gelu", default="gelu")
    settings.require("decoder_bias", True, default=True)
    for key in ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"):
        settings.require(key, False, default=False)
    shape = settings.take_shape()
    whole, local = settings.take_thetas()
    return ModelConfig(
        layout="modern",
        **shape,
        max_length=int(settings.take("max_position_embeddings", 8_192)),
        tied=bool(settings.take("tie_word_embeddings", True)),
        norm_epsilon=float(settings.take("norm_eps", 1e-5)),
        rope_theta=whole,
        local_theta=local,
        local_window=int(settings.take("local_attention", 128)),
        global_every=settings.take_global_every(shape["layers"]),
        initial_deviation=float(settings.take("initializer_range", 0.02)),
        begin_id=settings.take_id("cls_token_id", 50_281) or 0,
        end_id=settings.take_id("sep_token_id", 50_282),
        pad_id=settings.take_id("pad_token_id", 50_283) or 0,
        mask_id=None,
    )


def _parse_llama(settings: _HfSettings) -> ModelConfig:
    settings.require("hidden_act", "silu", default="silu")
    settings.require("attention_bias", False, default=False)
    settings.require("mlp_bias", False, default=False)
    shape = settings.take_shape()
    settings.require("head_dim", shape["width"] // shape["heads"], default=None)
    begin, end = settings.take_id("bos_token_id", 1), settings.take_id("eos_token_id", 2)
    pad = settings.take_id("pad_token_id", None)
    begin = begin if begin is not None else end or 0
    return ModelConfig(
        layout="llama",
        **shape,
        kv_heads=int(settings.take("num_key_value_heads", None) or shape["heads"]),
        max_length=int(settings.take("max_position_embeddings", 2_048)),
        tied=bool(settings.take("tie_word_embeddings", False)),
        norm_epsilon=float(settings.take("rms_norm_eps", 1e-6)),
        rope_theta=settings.take_theta(),
        initial_deviation=float(settings.take("initializer_range", 0.02)),
        begin_id=begin,
        end_id=None if end == begin else end,
        pad_id=begin if pad is None else pad,
        mask_id=None,
    )


# --- Hf folder -------------------------------------------------------------------------------------
# A model as a folder of transformers: config.json, safetensors, and the tokenizer's files beside them.
#
# Written without transformers. Rows of padding stay behind, and a tied matrix is written once, as the classes
# expect. Reading is in `importing`; from which run, and for which language, in `exporting`.


Precision = Literal["fp32", "bf16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_NAMES = {"fp32": "float32", "bf16": "bfloat16"}
_SHARD = 5 * 10**9
_FULL = (errno.ENOSPC, errno.EDQUOT)


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
    _write_json(folder / "config.json", _describe_config(model.config, _NAMES[dtype]))
    weights = _write_weights(model, folder, _DTYPES[dtype], shard_bytes)
    others: tuple[str, ...] = ()
    if tokenizer_folder is not None:
        others = _write_tokenizer_files(tokenizer_folder, folder, model.config.max_length)
    return ("config.json", *weights, *others)


def _write_tokenizer_files(source: Path, folder: Path, length: int) -> tuple[str, ...]:
    """Copy what `AutoTokenizer` and this package read; `model_max_length` becomes `length`.

    A .model that came alone gets the tokenizer.json that goes with it, where there can be one. Raises
    `PretrainingError` where the source holds no tokenizer.
    """
    names = [name for name in (*TOKENIZER_FILES, CHAT_TEMPLATE) if (source / name).is_file()]
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


# --- Importing -------------------------------------------------------------------------------------
# Every tensor must be used and every parameter found, in the shape that config.json says; what `vocabkit
# extend` wrote is such a folder. Tensors are read one at a time into fp32.


def read_checkpoint(folder: str | Path) -> tuple[ModelConfig, Checkpoint]:
    """Return what a folder's config.json describes, and its tensors, none of them read yet.

    Raises `CheckpointError` for a missing or damaged file, and `PretrainingError` for an architecture or a
    setting that is not computed here.
    """
    checkpoint = open_checkpoint(folder)
    place = Path(folder) / "config.json"
    if checkpoint.config is None:
        raise PretrainingError(
            f"{place}: no such file", "give the folder of a model of transformers"
        )
    return _parse_config(checkpoint.config, str(place)), checkpoint


def _read_tensor(checkpoint: Checkpoint, name: str) -> Tensor:
    stored = checkpoint.tensors[name]
    return as_tensor(checkpoint.read_bytes(name), stored.dtype, stored.shape)


def load_model(folder: str | Path, *, device: torch.device | str = "cpu") -> Model:
    """Return the model of a folder, in fp32. Raises as `read_checkpoint`, and where tensors do not fit."""
    config, stored = read_checkpoint(folder)
    model = Model(config, seed=None)
    names = name_tensors(config)
    _check_names(config, names, stored)
    with torch.no_grad():
        for ours, parameter in model.named_parameters():
            _fill(parameter, ours, names[ours], stored, config)
        _check_copies(model, stored)
    return model.to(device)


def _check_names(config: ModelConfig, names: TensorNames, stored: Checkpoint) -> None:
    wanted = {name for parts in names.values() for name in parts}
    missing = sorted(wanted - set(stored.tensors))
    if missing:
        raise PretrainingError(
            f"{stored.root}: {len(missing)} of {len(wanted)} tensors are missing, {missing[0]} among them",
            f"the folder must hold a whole {CLASSES[config.layout]}, head included",
        )
    copies = _list_copies(config)
    strange = sorted(
        name
        for name in stored.tensors
        if name not in wanted | set(copies) and not _is_idle(name, config)
    )
    if strange:
        raise PretrainingError(
            f"{stored.file_of(strange[0])}: {len(strange)} tensors that {CLASSES[config.layout]} does not "
            f"have, {strange[0]} among them",
            "config.json and the weights must be of one model",
        )


def _fill(
    parameter: Tensor, ours: str, parts: tuple[str, ...], stored: Checkpoint, config: ModelConfig
) -> None:
    """Copy tensors into a parameter's rows, one under the other; rows of padding become zero."""
    rows = parameter.shape[0]
    if ours in VOCABULARY_PARAMETERS:
        rows = config.vocabulary
        parameter[rows:].zero_()
    sizes = split_rows(len(parts), rows, config)
    start = 0
    for name, size in zip(parts, sizes, strict=True):
        tensor = _read_tensor(stored, name)
        if ours == "token_type":
            tensor = _first_type(tensor, stored.file_of(name), name)
        expected = (size, *parameter.shape[1:])
        if tuple(tensor.shape) != expected or not tensor.is_floating_point():
            raise PretrainingError(
                f"{stored.file_of(name)}: {name} is {tensor.dtype} {list(tensor.shape)}: "
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


def _check_copies(model: Model, stored: Checkpoint) -> None:
    """Tied tensors that a folder holds twice must be equal: the class would take the first."""
    parameters = dict(model.named_parameters())
    for theirs, ours in _list_copies(model.config).items():
        if theirs not in stored.tensors:
            continue
        parameter = parameters[ours][: model.config.vocabulary]
        copy = _read_tensor(stored, theirs)
        if copy.shape != parameter.shape or not torch.equal(copy.to(parameter.dtype), parameter):
            raise PretrainingError(
                f"{stored.file_of(theirs)}: {theirs} differs from the input matrix or bias it is tied to",
                "set tie_word_embeddings to false in config.json if it is a matrix of its own",
            )
