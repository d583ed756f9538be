"""The shape of a model: three layouts, each with a class of transformers that computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from vocabkit.core.errors import ConfigError

__all__ = ["LAYOUTS", "Layout", "ModelConfig"]

Layout = Literal["xlmr", "modern", "llama"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
ROW_MULTIPLE = 64
"""Rows of the vocabulary's matrices are padded to this: tensor cores want multiples, 850,000 has one of 16."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything a model's tensors follow from.

    `xlmr`: post-LN, learned positions (offset 2), biases, GELU; XLMRobertaForMaskedLM.
    `modern`: pre-LN, RoPE, GeGLU, local attention but in every `global_every`-th layer; ModernBertForMaskedLM.
    `llama`: causal, RMSNorm, SwiGLU, RoPE, grouped-query attention; LlamaForCausalLM.

    `vocabulary` is the number of ids; the matrices have `rows` rows. `max_length` is the longest document in
    tokens that positions are made for. `kv_heads` is below `heads` in `llama` only. `local_window` is the
    whole window: half of it on each side. `pad_id` is XLM-R's padding index, whose positions count from it.
    """

    layout: Layout
    vocabulary: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    max_length: int = 512
    kv_heads: int | None = None
    tied: bool = True
    norm_epsilon: float = 1e-5
    rope_theta: float = 160_000.0
    local_theta: float = 10_000.0
    local_window: int = 128
    global_every: int = 3
    initial_deviation: float = 0.02
    begin_id: int = 0
    end_id: int | None = 2
    pad_id: int = 1
    mask_id: int | None = 4

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(
                f"model.layout = {self.layout!r}: no such layout", f"one of: {', '.join(LAYOUTS)}"
            )
        for name in ("vocabulary", "width", "layers", "heads", "feed_forward", "max_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} = {getattr(self, name)}: must be at least 1")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(
                f"model.width = {self.width} and model.heads = {self.heads}: "
                "a head's width must be a whole, even number"
            )
        if self.heads % self.key_value_heads or (
            self.key_value_heads != self.heads and self.layout != "llama"
        ):
            raise ConfigError(
                f"model.kv_heads = {self.kv_heads}: must divide {self.heads} heads, "
                "and only llama shares keys and values"
            )

    @property
    def causal(self) -> bool:
        """Whether a position sees only those before it and predicts the next token."""
        return self.layout == "llama"

    @property
    def rows(self) -> int:
        """Rows of the vocabulary's matrices: the vocabulary, rounded up to a multiple of 64."""
        return -(-self.vocabulary // ROW_MULTIPLE) * ROW_MULTIPLE

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def head_width(self) -> int:
        """Columns of one attention head."""
        return self.width // self.heads
