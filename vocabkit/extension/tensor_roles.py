"""What a tensor is for, by its name: a table of the names that 43 architectures use.

It knows names and shapes alone; whether a tensor has a vocabulary dimension is `vocabulary_tensors`' affair.
"""

from __future__ import annotations

import re
from math import prod
from typing import Literal, get_args

from vocabkit.extension.checkpoint import Tensor

__all__ = ["Role", "as_role", "fits_role", "guess_role"]

Role = Literal["input", "output", "bias", "per-layer"]

# Ends of names, after any prefix (`model.`, `module.`, `bert.`, `language_model.`).
_NAMES: tuple[tuple[Role, str], ...] = (
    ("per-layer", r"embed_tokens_per_layer\.weight"),
    ("input", r"(embeddings\.)?(word_embeddings|word_embedding|tok_embeddings|token_embedding)\.weight"),
    ("input", r"(embed_tokens|tokens_embed|wte|embed_in|shared|embed_input_ids)\.weight"),
    ("input", r"(^|transformer\.|backbone\.|model\.|rwkv\.)(embeddings|embedding|word_embed)\.weight"),
    ("output", r"(^|\.)(lm_head|embed_out|generator_lm_head|vocab_projector|proj_out|lm_loss)\.weight"),
    ("output", r"lm_head\.decoder\.weight"),
    ("output", r"(^|\.)(cls\.)?predictions\.decoder\.weight"),
    ("output", r"(^|\.)cls\.predictions\.dense\.weight"),  # MobileBERT's second half of its head
    ("output", r"pred_layer\.proj\.weight"),
    ("output", r"^(model\.|module\.)?(decoder|output|head)\.weight"),
    ("bias", r"(^|\.)(lm_head|embed_out|generator_lm_head|vocab_projector|proj_out|lm_loss)\.bias"),
    ("bias", r"lm_head\.decoder\.bias"),
    ("bias", r"(^|\.)(cls\.)?predictions\.(decoder\.)?bias"),
    ("bias", r"pred_layer\.proj\.bias"),
    ("bias", r"^(model\.|module\.)?(decoder|output|head)\.bias"),
    ("bias", r"final_logits_bias"),
)  # fmt: skip
_PATTERNS = tuple((role, re.compile(rf"(?:^|\.|\b){ending}$")) for role, ending in _NAMES)


def guess_role(name: str) -> Role | None:
    """What a tensor of this name is for, by the table; None where it is not listed."""
    return next((role for role, pattern in _PATTERNS if pattern.search(name)), None)


def fits_role(role: str, tensor: Tensor, axis: int) -> bool:
    """Whether a tensor with the vocabulary along `axis` can have the role, by its shape."""
    if role == "bias":
        return prod(tensor.shape) == tensor.shape[axis]
    if role == "input":
        return len(tensor.shape) == 2 and axis == 0
    return len(tensor.shape) == 2


def as_role(name: str) -> Role:
    """The role of that name."""
    return next(role for role in get_args(Role) if role == name)
