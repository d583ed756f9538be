"""What each layout's parameters are called in the class of transformers that computes the same.

Three of theirs may make up one of ours, row under row: queries, keys and values are one product here. Holds
no tensors; settings are in `layouts`.
"""

from __future__ import annotations

from vocabkit.pretraining.model_config import ModelConfig

__all__ = [
    "VOCABULARY_PARAMETERS",
    "TensorNames",
    "is_idle",
    "list_copies",
    "name_tensors",
    "split_rows",
]

TensorNames = dict[str, tuple[str, ...]]
VOCABULARY_PARAMETERS = frozenset({"table", "output_table", "output_bias"})
"""Those with a row for each id, and rows of padding after them."""
_IDLE = (".position_ids", ".token_type_ids", ".inv_freq")


def name_tensors(config: ModelConfig) -> TensorNames:
    """Our parameters' names → theirs, whose rows make ours up in this order."""
    return {"xlmr": _name_xlmr, "modern": _name_modern, "llama": _name_llama}[config.layout](config)


def list_copies(config: ModelConfig) -> dict[str, str]:
    """Names under which a folder may hold one of our parameters again → our name."""
    if config.layout == "llama":
        return {"lm_head.weight": "table"} if config.tied else {}
    if config.layout == "modern":
        return {"decoder.weight": "table"} if config.tied else {}
    if config.tied:
        return {"lm_head.decoder.weight": "table", "lm_head.decoder.bias": "output_bias"}
    # Without tying the class adds the decoder's own bias and leaves the other unused.
    return {}


def is_idle(name: str, config: ModelConfig) -> bool:
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
