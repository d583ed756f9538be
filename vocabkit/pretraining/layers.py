"""The blocks a model is built of. Each computes in the type of its input, whatever its parameters are held in.

Parameters stay in fp32 where one process holds them whole, or arrive in bf16 from FSDP2; both are cast on
use, so that both compute the same. Autocast is switched off around these blocks (see `model`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vocabkit.pretraining.attention import attend, rotate
from vocabkit.pretraining.model_config import ModelConfig

__all__ = ["Layer", "Norm", "Projection"]


class Projection(nn.Module):
    """A matrix [out, in] and perhaps a bias [out]."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class Norm(nn.Module):
    """Layer normalisation, or with `rms` division by the root of the mean square (arXiv 1910.07467)."""

    def __init__(self, width: int, epsilon: float, *, bias: bool, rms: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.epsilon = epsilon
        self.rms = rms

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and type; statistics in fp32."""
        weight = self.weight.to(x.dtype)
        if self.rms:
            wide = x.float()
            wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)
            return weight * wide.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.layer_norm(x, weight.shape, weight, bias, self.epsilon)


class Layer(nn.Module):
    """Attention and feed-forward with their norms, in one of three layouts.

    `local`: attention within the window only. `theta`: base of the rotation, None where positions are
    learned. `checkpointing` recomputes the layer in the backward pass instead of keeping its insides.
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.key_value_heads
        self.head_width = config.head_width
        self.causal = config.causal
        self.post_norm = config.layout == "xlmr"
        self.gated = config.layout != "xlmr"
        self.local = config.layout == "modern" and index % config.global_every != 0
        self.window = config.local_window if self.local else None
        self.theta = None
        if config.layout != "xlmr":
            self.theta = config.local_theta if self.local else config.rope_theta
        self.checkpointing = False
        self.compiled: Any = None

        bias, rms = config.layout == "xlmr", config.layout == "llama"
        width, inner = config.width, config.feed_forward
        together = (self.heads + 2 * self.kv_heads) * self.head_width
        self.qkv = Projection(width, together, bias=bias)
        self.mix = Projection(width, width, bias=bias)
        self.up = Projection(width, inner * (2 if self.gated else 1), bias=bias)
        self.down = Projection(inner, width, bias=bias)
        # ModernBERT's embedding norm stands where the first layer's would.
        first = config.layout == "modern" and index == 0
        self.attention_norm = (
            None if first else Norm(width, config.norm_epsilon, bias=bias, rms=rms)
        )
        self.feed_forward_norm = Norm(width, config.norm_epsilon, bias=bias, rms=rms)

    def forward(
        self, x: Tensor, positions: Tensor, boundaries: Tensor, mask: Tensor | None, length: int
    ) -> Tensor:
        """[T, width] → [T, width]; see `attention.attend` for the rest."""
        compute = self.compiled or self.compute
        if self.checkpointing and torch.is_grad_enabled():
            # Nothing is drawn at random in a layer, so no state of a generator is kept for it.
            result: Tensor = checkpoint(
                compute, x, positions, boundaries, mask, length,
                use_reentrant=False, preserve_rng_state=False,
            )  # fmt: skip
            return result
        changed: Tensor = compute(x, positions, boundaries, mask, length)
        return changed

    def compute(
        self, x: Tensor, positions: Tensor, boundaries: Tensor, mask: Tensor | None, length: int
    ) -> Tensor:
        """What `forward` does, bare of hooks: the region that is compiled."""
        if self.post_norm:
            x = self._norm(x + self._attend(x, positions, boundaries, mask, length))
            return self.feed_forward_norm(x + self._feed(x))  # type: ignore[no-any-return]
        x = x + self._attend(self._norm(x), positions, boundaries, mask, length)
        return x + self._feed(self.feed_forward_norm(x))

    def _norm(self, x: Tensor) -> Tensor:
        return x if self.attention_norm is None else self.attention_norm(x)

    def _attend(
        self, x: Tensor, positions: Tensor, boundaries: Tensor, mask: Tensor | None, length: int
    ) -> Tensor:
        counts = [self.heads, self.kv_heads, self.kv_heads]
        query, key, value = self.qkv(x).view(len(x), -1, self.head_width).split(counts, 1)
        if self.theta is not None:
            query, key = rotate(query, positions, self.theta), rotate(key, positions, self.theta)
        mixed = attend(
            query, key, value, boundaries=boundaries, length=length, mask=mask, causal=self.causal,
            window=self.window,
        )  # fmt: skip
        return self.mix(mixed.reshape(len(x), -1))  # type: ignore[no-any-return]

    def _feed(self, x: Tensor) -> Tensor:
        inner = self.up(x)
        if not self.gated:
            return self.down(F.gelu(inner))  # type: ignore[no-any-return]
        shape, gate = inner.chunk(2, -1)
        curve = F.silu(shape) if self.causal else F.gelu(shape)
        return self.down(curve * gate)  # type: ignore[no-any-return]
