"""Three layouts and the classes of transformers that compute the same: their config.json, both ways.

Equal or refused: a setting under which the class would compute something else is an error that names it.
Dropout is ignored, since it changes nothing outside training. Names of tensors are in `tensor_names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.hf_settings import HfSettings
from vocabkit.pretraining.model_config import ModelConfig

__all__ = ["CLASSES", "describe_config", "parse_config"]

CLASSES: Mapping[str, str] = {
    "xlmr": "XLMRobertaForMaskedLM",
    "modern": "ModernBertForMaskedLM",
    "llama": "LlamaForCausalLM",
}
"""Class of transformers by layout."""
_LAYOUTS = {"xlm-roberta": "xlmr", "roberta": "xlmr", "modernbert": "modern", "llama": "llama"}
_TYPES = {"xlmr": "xlm-roberta", "modern": "modernbert", "llama": "llama"}


def parse_config(data: Mapping[str, Any], place: str) -> ModelConfig:
    """The model that a config.json describes; `place` names it in errors.

    Raises `PretrainingError` for an architecture or a setting that none of the layouts computes.
    """
    settings = HfSettings(data, place)
    layout = _LAYOUTS.get(str(data.get("model_type")))
    if layout is None:
        raise PretrainingError(
            f"{place}: model_type = {data.get('model_type')!r}: not an architecture that can be trained",
            f"known are {', '.join(_LAYOUTS)}; or train from scratch, with [model] in the preset",
        )
    settings.require("quantization_config", None, default=None)
    return {"xlmr": _parse_xlmr, "modern": _parse_modern, "llama": _parse_llama}[layout](settings)


def describe_config(config: ModelConfig, dtype: str) -> dict[str, Any]:
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


def _parse_xlmr(settings: HfSettings) -> ModelConfig:
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


def _parse_modern(settings: HfSettings) -> ModelConfig:
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


def _parse_llama(settings: HfSettings) -> ModelConfig:
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
