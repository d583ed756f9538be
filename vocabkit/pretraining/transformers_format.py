"""A model as a folder of transformers, both ways: config.json, safetensors, and the tokenizer's files.

Each of three layouts has a class there that computes the same. Equal or refused: a setting under which the
class would compute something else is an error that names it.
"""

from __future__ import annotations

import errno
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
from vocabkit.core.folders import read_json, write_json
from vocabkit.pretraining.model import VOCABULARY_PARAMETERS, Model
from vocabkit.pretraining.run_config import ModelConfig
from vocabkit.vocabulary.neighbours import TOKENIZER_FILES
from vocabkit.vocabulary.roles import CHAT_TEMPLATE, complete_tokenizer

# --- Names of tensors ------------------------------------------------------------------------------
# Ours, then theirs; `#` is each layer's number, `*` is `weight` and `bias`. Several of theirs make up one of
# ours, row under row: queries, keys and values are one product here.

_TensorNames = dict[str, tuple[str, ...]]
_TENSORS = {
    "xlmr": """
        table               roberta.embeddings.word_embeddings.weight
        output_table        lm_head.decoder.weight
        output_bias         lm_head.decoder.bias
        positions           roberta.embeddings.position_embeddings.weight
        token_type          roberta.embeddings.token_type_embeddings.weight
        input_norm.*        roberta.embeddings.LayerNorm.*
        head_projection.*   lm_head.dense.*
        head_norm.*         lm_head.layer_norm.*
        layers.#.qkv.*      @attention.self.query.* @attention.self.key.* @attention.self.value.*
        layers.#.mix.*      @attention.output.dense.*
        layers.#.attention_norm.*     @attention.output.LayerNorm.*
        layers.#.up.*       @intermediate.dense.*
        layers.#.down.*     @output.dense.*
        layers.#.feed_forward_norm.*  @output.LayerNorm.*
    """,
    "modern": """
        table               model.embeddings.tok_embeddings.weight
        output_table        decoder.weight
        output_bias         decoder.bias
        input_norm.weight   model.embeddings.norm.weight
        final_norm.weight   model.final_norm.weight
        head_projection.weight        head.dense.weight
        head_norm.weight    head.norm.weight
        layers.#.attention_norm.weight     @attn_norm.weight
        layers.#.qkv.weight    @attn.Wqkv.weight
        layers.#.mix.weight    @attn.Wo.weight
        layers.#.feed_forward_norm.weight  @mlp_norm.weight
        layers.#.up.weight     @mlp.Wi.weight
        layers.#.down.weight   @mlp.Wo.weight
    """,
    "llama": """
        table               model.embed_tokens.weight
        output_table        lm_head.weight
        final_norm.weight   model.norm.weight
        layers.#.qkv.weight    @self_attn.q_proj.weight @self_attn.k_proj.weight @self_attn.v_proj.weight
        layers.#.mix.weight    @self_attn.o_proj.weight
        layers.#.up.weight     @mlp.gate_proj.weight @mlp.up_proj.weight
        layers.#.down.weight   @mlp.down_proj.weight
        layers.#.attention_norm.weight     @input_layernorm.weight
        layers.#.feed_forward_norm.weight  @post_attention_layernorm.weight
    """,
}
_LAYER = {"xlmr": "roberta.encoder.layer.#.", "modern": "model.layers.#.", "llama": "model.layers.#."}
"""What `@` stands for."""
_IDLE = (".position_ids", ".token_type_ids", ".inv_freq")


def name_tensors(config: ModelConfig) -> _TensorNames:
    """Return our parameters' names → theirs, whose rows make ours up in this order."""
    names: _TensorNames = {}
    for line in _TENSORS[config.layout].replace("@", _LAYER[config.layout]).strip().splitlines():
        for kind in ("weight", "bias") if "*" in line else ("",):
            for index in range(config.layers if "#" in line else 1):
                ours, *theirs = line.replace("*", kind).replace("#", str(index)).split()
                names[ours] = tuple(theirs)
    if config.layout == "modern":
        # The embedding's norm stands where the first layer's would.
        del names["layers.0.attention_norm.weight"]
    if config.tied:
        del names["output_table"]
        if config.layout == "xlmr":
            names["output_bias"] = ("lm_head.bias",)
    return names


def _list_copies(config: ModelConfig) -> dict[str, str]:
    """Names under which a folder may hold one of our parameters again → our name."""
    if not config.tied:
        # Of xlmr too: the class then adds the decoder's own bias and leaves the other unused.
        return {}
    if config.layout == "xlmr":
        return {"lm_head.decoder.weight": "table", "lm_head.decoder.bias": "output_bias"}
    return {"lm_head.weight" if config.layout == "llama" else "decoder.weight": "table"}


def _is_idle(name: str, config: ModelConfig) -> bool:
    """Whether a tensor of a folder takes no part in what the class computes."""
    pooler = config.layout == "xlmr" and name.startswith("roberta.pooler.")
    unused = config.layout == "xlmr" and not config.tied and name == "lm_head.bias"
    return pooler or unused or name.endswith(_IDLE)


def split_parameter(
    ours: str, tensor: Tensor, parts: tuple[str, ...], config: ModelConfig
) -> Iterator[tuple[str, Tensor]]:
    """Yield their names and views of the rows of our parameter, those of padding left out."""
    if ours in VOCABULARY_PARAMETERS:
        tensor = tensor[: config.vocabulary]
    sizes = [len(tensor) // len(parts)] * len(parts)
    if len(parts) == 3:  # queries have more than keys and values
        sizes[1:] = [config.key_value_heads * config.head_width] * 2
        sizes[0] = len(tensor) - 2 * sizes[1]
    yield from zip(parts, torch.split(tensor, sizes), strict=True)


# --- config.json -----------------------------------------------------------------------------------
# Read key by key; what no layout computes is refused with the file, the key and the value. Dropout is ignored,
# since it changes nothing outside training.


class _HfSettings:
    """The keys of one config.json; `place` names the file in errors."""

    def __init__(self, data: Mapping[str, Any], place: str) -> None:
        self._data = data
        self._place = place

    def take_id(self, key: str, default: int | None) -> int | None:
        """A token's id; the first where there are several."""
        value = self._data.get(key, default)
        if isinstance(value, list):
            value = value[0] if value else None
        return None if value is None else int(value)

    def take_shape(self) -> dict[str, int]:
        """The sizes that every architecture names alike. Raises `PretrainingError` where one is missing."""
        keys = {
            "vocabulary": "vocab_size", "width": "hidden_size", "layers": "num_hidden_layers",
            "heads": "num_attention_heads", "feed_forward": "intermediate_size",
        }  # fmt: skip
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
        return float((given or {}).get("rope_theta", self._data.get("rope_theta", 10_000.0)))

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
            if kinds == _list_kinds(layers, every):
                return every
        raise self.refuse("layer_types", "only global attention in every n-th layer can be trained")

    def refuse(self, key: str, reason: str, part: object = None) -> PretrainingError:
        """The error that says which key has which value, or which `part` of one, and what is wrong with it."""
        value = self._data.get(key) if part is None else part
        return PretrainingError(
            f"{self._place}: {key} = {value!r}: {reason}",
            "train from scratch, with [model] in the preset, or start from another checkpoint",
        )

    def _require_plain(self, key: str, given: Mapping[str, Any] | None) -> None:
        rest = {name: value for name, value in (given or {}).items() if name != "rope_theta"}
        kind = rest.pop("rope_type", rest.pop("type", "default"))
        rest.pop("type", None)
        if kind != "default" or any(value is not None for value in rest.values()):
            raise self.refuse(key, "only plain rotary positions can be trained", given)


def _list_kinds(layers: int, every: int) -> list[str]:
    return ["sliding_attention" if index % every else "full_attention" for index in range(layers)]


CLASSES: Mapping[str, str] = {
    "xlmr": "XLMRobertaForMaskedLM", "modern": "ModernBertForMaskedLM", "llama": "LlamaForCausalLM"
}  # fmt: skip
"""Class of transformers by layout."""
_LAYOUTS = {"xlm-roberta": "xlmr", "roberta": "xlmr", "modernbert": "modern", "llama": "llama"}
_TYPES = {"xlmr": "xlm-roberta", "modern": "modernbert", "llama": "llama"}
# The one value that is computed here, which the class takes too where the key is absent.
_COMPUTED: Mapping[str, Mapping[str, Any]] = {
    "xlmr": {
        "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False,
        "add_cross_attention": False,
    },
    "modern": {
        "hidden_activation": "gelu", "classifier_activation": "gelu", "decoder_bias": True,
        "norm_bias": False, "attention_bias": False, "mlp_bias": False, "classifier_bias": False,
    },
    "llama": {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
}  # fmt: skip
# Keys of the first, the last and the padding token, the length, the tie and the epsilon, and what the class
# takes where they are absent.
_KEYS: Mapping[str, tuple[tuple[str, Any], ...]] = {
    "xlmr": (
        ("bos_token_id", 0), ("eos_token_id", 2), ("pad_token_id", 1),
        ("max_position_embeddings", 512), ("tie_word_embeddings", True), ("layer_norm_eps", 1e-12),
    ),
    "modern": (
        ("cls_token_id", 50_281), ("sep_token_id", 50_282), ("pad_token_id", 50_283),
        ("max_position_embeddings", 8_192), ("tie_word_embeddings", True), ("norm_eps", 1e-5),
    ),
    "llama": (
        ("bos_token_id", 1), ("eos_token_id", 2), ("pad_token_id", None),
        ("max_position_embeddings", 2_048), ("tie_word_embeddings", False), ("rms_norm_eps", 1e-6),
    ),
}  # fmt: skip


def _parse_config(data: Mapping[str, Any], place: str) -> ModelConfig:
    """The model that a config.json describes; `place` names it in errors.

    Raises `PretrainingError` for an architecture or a setting that none of the layouts computes.
    """
    settings = _HfSettings(data, place)
    layout: Any = _LAYOUTS.get(str(data.get("model_type")))
    if layout is None:
        raise PretrainingError(
            f"{place}: model_type = {data.get('model_type')!r}: not an architecture that can be trained",
            f"known are {', '.join(_LAYOUTS)}; or train from scratch, with [model] in the preset",
        )
    settings.require("quantization_config", None, default=None)
    for key, value in _COMPUTED[layout].items():
        settings.require(key, value, default=value)
    shape: dict[str, Any] = settings.take_shape()
    begin, end, pad = (settings.take_id(*item) for item in _KEYS[layout][:3])
    length, tied, epsilon = (data.get(*item) for item in _KEYS[layout][3:])
    if layout == "xlmr":
        if pad is None:
            raise settings.refuse("pad_token_id", "positions count from it")
        length = int(length) - pad - 1
    elif layout == "modern":
        shape["rope_theta"], shape["local_theta"] = settings.take_thetas()
        shape["local_window"] = int(data.get("local_attention", 128))
        shape["global_every"] = settings.take_global_every(shape["layers"])
    else:
        settings.require("head_dim", shape["width"] // shape["heads"], default=None)
        shape["kv_heads"] = int(data.get("num_key_value_heads", None) or shape["heads"])
        shape["rope_theta"] = settings.take_theta()
        begin = begin if begin is not None else end
        end, pad = None if end == begin else end, begin if pad is None else pad
    return ModelConfig(
        layout, **shape, max_length=int(length), tied=bool(tied), norm_epsilon=float(epsilon),
        initial_deviation=float(data.get("initializer_range", 0.02)),
        begin_id=begin or 0, end_id=end, pad_id=pad or 0, mask_id=None,
    )  # fmt: skip


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
        return {
            **shared,
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
            "layer_types": _list_kinds(config.layers, config.global_every),
            "global_attn_every_n_layers": config.global_every,
            "global_rope_theta": config.rope_theta,
            "local_rope_theta": config.local_theta,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": config.rope_theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": config.local_theta},
            },
        }
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


# --- Writing ---------------------------------------------------------------------------------------
# Without transformers. Rows of padding stay behind, and a tied matrix is written once, as the classes expect.
# From which run, and for which language, is in `exporting`.

Precision = Literal["fp32", "bf16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_NAMES = {"fp32": "float32", "bf16": "bfloat16"}
_SHARD = 5 * 10**9
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_hf(
    model: Model, folder: Path, tokenizer_folder: Path | None, *,
    dtype: Precision = "fp32", shard_bytes: int = _SHARD,
) -> tuple[str, ...]:  # fmt: skip
    """Write a model, and the tokenizer's files where there are any, into a folder; return the names written.

    Files of weights hold at most `shard_bytes` bytes, or one tensor. The same model gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", _describe_config(model.config, _NAMES[dtype]), indent=2)
    weights = _write_weights(model, folder, _DTYPES[dtype], shard_bytes)
    if tokenizer_folder is None:
        return ("config.json", *weights)
    return ("config.json", *weights, *_write_tokenizer_files(tokenizer_folder, folder, model.config.max_length))


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
    settings = read_json(path, PretrainingError, "prepare the data again") if path.is_file() else {}
    if (folder / "tokenizer.json").is_file():
        names.append("tokenizer.json")
        settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    settings["model_max_length"] = length
    write_json(path, settings, indent=2)
    return tuple(sorted({*names, path.name}))


def _write_weights(model: Model, folder: Path, dtype: torch.dtype, shard_bytes: int) -> tuple[str, ...]:
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
    write_json(folder / "model.safetensors.index.json", index, indent=2)
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
        yield from split_parameter(ours, parameter.detach(), names[ours], config)
        if ours == "output_bias" and config.layout == "xlmr" and not config.tied:
            # The class has both biases and adds this one's namesake in the decoder.
            yield "lm_head.bias", parameter.detach()[: config.vocabulary]


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


# --- Reading ---------------------------------------------------------------------------------------
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
        raise PretrainingError(f"{place}: no such file", "give the folder of a model of transformers")
    return _parse_config(checkpoint.config, str(place)), checkpoint


def _read_tensor(checkpoint: Checkpoint, name: str) -> Tensor:
    stored = checkpoint.tensors[name]
    return as_tensor(checkpoint.read_bytes(name), stored.dtype, stored.shape)


def load_model(folder: str | Path, *, device: torch.device | str = "cpu") -> Model:
    """Return the model of a folder, in fp32. Raises as `read_checkpoint`, and where tensors do not fit."""
    config, stored = read_checkpoint(folder)
    model, names = Model(config, seed=None), name_tensors(config)
    _check_names(config, names, stored)
    with torch.no_grad():
        for ours, parameter in model.named_parameters():
            _fill(parameter, ours, names[ours], stored, config)
        _check_copies(model, stored)
    return model.to(device)


def _check_names(config: ModelConfig, names: _TensorNames, stored: Checkpoint) -> None:
    wanted = {name for parts in names.values() for name in parts}
    missing = sorted(wanted - set(stored.tensors))
    if missing:
        raise PretrainingError(
            f"{stored.root}: {len(missing)} of {len(wanted)} tensors are missing, {missing[0]} among them",
            f"the folder must hold a whole {CLASSES[config.layout]}, head included",
        )
    copies = _list_copies(config)
    strange = sorted(
        name for name in stored.tensors if name not in wanted | set(copies) and not _is_idle(name, config)
    )
    if strange:
        raise PretrainingError(
            f"{stored.file_of(strange[0])}: {len(strange)} tensors that {CLASSES[config.layout]} does not "
            f"have, {strange[0]} among them",
            "config.json and the weights must be of one model",
        )


def _fill(weights: Tensor, ours: str, parts: tuple[str, ...], stored: Checkpoint, config: ModelConfig) -> None:
    """Copy tensors into a parameter's rows, one under the other; rows of padding become zero."""
    if ours in VOCABULARY_PARAMETERS:
        weights[config.vocabulary :].zero_()
    for name, rows in split_parameter(ours, weights.detach(), parts, config):
        tensor = _read_tensor(stored, name)
        if ours == "token_type":
            if tensor[1:].any():
                raise PretrainingError(
                    f"{stored.file_of(name)}: {name} tells {len(tensor)} types of token apart: "
                    "only one can be trained",
                    "start from a checkpoint with type_vocab_size = 1",
                )
            tensor = tensor[:1]
        if tensor.shape != rows.shape or not tensor.is_floating_point():
            raise PretrainingError(
                f"{stored.file_of(name)}: {name} is {tensor.dtype} {list(tensor.shape)}: "
                f"config.json says {list(rows.shape)}",
                "config.json and the weights must be of one model",
            )
        rows.copy_(tensor)


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
