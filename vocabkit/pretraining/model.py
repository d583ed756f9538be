"""The model: tokens in, loss out, in three layouts that transformers' classes compute alike.

Tokens are one stream of documents (see `batch`), and only the chosen places reach the head: at 250,000
pieces projecting every place would be two thirds of all arithmetic. The loss is part of the forward pass,
because FSDP2 gathers the vocabulary's matrix for the duration of `forward` alone. No dropout: published
pretraining at this scale goes without, and attention by boundaries has none.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vocabkit.core.errors import PretrainingError
from vocabkit.pretraining.batches import Batch
from vocabkit.pretraining.loss import find_lack, linear_cross_entropy
from vocabkit.pretraining.run_config import ModelConfig

# --- Attention -------------------------------------------------------------------------------------
# Attention among the tokens of one document, in a stream of documents laid end to end.
#
# On a GPU in bf16 or fp16: `torch.nn.attention.varlen`, told where documents start. Elsewhere, and with a
# torch
# or a width of heads that it does not know: scaled dot products row by row under a mask, exact and slower; a
# document never crosses a row, so that the mask is length² a row and not the square of the stream. No
# dropout,
# which the first has none of.


class _Varlen:
    """Torch's function and the names of its options, once `_uses_boundaries` has looked them up.

    Inside a compiled layer the compiler would trace the looking up, and warn of it; at the top of this module
    it would load the compiler, two seconds of imports, where nothing is compiled.
    """

    function: Any = None
    options: frozenset[str] = frozenset()


def _uses_boundaries(
    device: torch.device, dtype: torch.dtype, head_width: int, *, local: bool = False
) -> bool:
    """Whether attention on a device in a type goes by documents' boundaries, and so needs no mask.

    `head_width`: columns of a head; the kernel takes multiples of 8 up to 256. `local`: some layers see a
    window only, which it knows since 2.11.
    """
    return (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and head_width % 8 == 0
        and head_width <= 256
        and _knows_boundaries(local)
    )


def _knows_boundaries(local: bool) -> bool:
    if _Varlen.function is None:
        try:
            from torch.nn.attention.varlen import varlen_attn
        except ImportError:  # torch before 2.10
            return False
        # `is_causal` became `window_size` after 2.10, `enable_gqa` came with 2.12.
        _Varlen.options = frozenset(inspect.signature(varlen_attn).parameters)
        _Varlen.function = varlen_attn
    return "window_size" in _Varlen.options or not local


def _make_mask(
    documents: Tensor, length: int, *, causal: bool, window: int | None = None
) -> Tensor:
    """Which place of a row sees which: bool [rows, 1, length, length], True where it does.

    `documents` int32 [T] numbers the stream's documents. `causal`: none sees a later one. `window`: none
    sees one more than window // 2 away.
    """
    numbers = documents.view(-1, length)
    mask = numbers[:, :, None] == numbers[:, None, :]
    places = torch.arange(length, device=documents.device)
    distance = places[:, None] - places[None, :]
    if causal:
        mask = mask & (distance >= 0)
    if window is not None:
        mask = mask & (distance.abs() <= window // 2)
    return mask[:, None]


def _rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Turn halves of each head by angles that grow with position (RoPE, arXiv 2104.09864).

    `x` [T, heads, head width], `positions` int [T]. Angles and products in fp32, result in the type of `x`.
    """
    width = x.shape[-1]
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=x.device)
    angles = positions[:, None].float() * (1.0 / (theta ** (steps / width)))
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    first, second = x.float().chunk(2, -1)
    turned = torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
    return turned.to(x.dtype)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    boundaries: Tensor,
    length: int,
    mask: Tensor | None,
    causal: bool,
    window: int | None = None,
) -> Tensor:
    """Mix values by the softmax of scaled products: [T, heads, head width].

    `query` [T, heads, width]; `key`, `value` [T, kv heads, width], each kv head shared by heads / kv heads
    neighbouring heads. With a `mask` (see `_make_mask`) that decides; without one `boundaries` does, int32
    with documents' starts and then T to its end.
    """
    if mask is None:
        return _attend_by_boundaries(query, key, value, boundaries, length, causal, window)
    rows = query.shape[0] // length
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    query_rows, key_rows, value_rows = (
        part.view(rows, length, *part.shape[1:]).transpose(1, 2) for part in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(query_rows, key_rows, value_rows, attn_mask=mask)
    return mixed.transpose(1, 2).reshape(query.shape)


def _attend_by_boundaries(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Tensor,
    length: int,
    causal: bool,
    window: int | None,
) -> Tensor:
    if _Varlen.function is None and not _knows_boundaries(window is not None):
        raise RuntimeError(f"torch {torch.__version__}: no such attention by boundaries")
    options: dict[str, Any] = {}
    if key.shape[1] != query.shape[1]:
        if "enable_gqa" in _Varlen.options:
            options["enable_gqa"] = True
        else:
            shared = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    if "window_size" in _Varlen.options:
        side = -1 if window is None else window // 2
        options["window_size"] = (side, 0 if causal else side)
    else:
        options["is_causal"] = causal
    mixed: Any = _Varlen.function(
        query, key, value, boundaries, boundaries, length, length, **options
    )
    return mixed  # type: ignore[no-any-return]


# --- Layers ----------------------------------------------------------------------------------------
# The blocks a model is built of. Each computes in the type of its input, whatever its parameters are held in.
#
# Parameters stay in fp32 where one process holds them whole, or arrive in bf16 from FSDP2; both are cast on
# use, so that both compute the same. Autocast is switched off around these blocks (see `model`).


class _Projection(nn.Module):
    """A matrix [out, in] and perhaps a bias [out]."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class _Norm(nn.Module):
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
        self.qkv = _Projection(width, together, bias=bias)
        self.mix = _Projection(width, width, bias=bias)
        self.up = _Projection(width, inner * (2 if self.gated else 1), bias=bias)
        self.down = _Projection(inner, width, bias=bias)
        # ModernBERT's embedding norm stands where the first layer's would.
        first = config.layout == "modern" and index == 0
        self.attention_norm = (
            None if first else _Norm(width, config.norm_epsilon, bias=bias, rms=rms)
        )
        self.feed_forward_norm = _Norm(width, config.norm_epsilon, bias=bias, rms=rms)

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
            query, key = _rotate(query, positions, self.theta), _rotate(key, positions, self.theta)
        mixed = _attend(
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


# --- Model -----------------------------------------------------------------------------------------


class Model(nn.Module):
    """An encoder or decoder of one of three layouts, and its head.

    `table` [rows, width] is the input matrix; `output` the output matrix, the same parameter when tied;
    `output_bias` [rows] is None in `llama`. Rows from the vocabulary's size on are padding, zero at first,
    and no gradient reaches them. `seed`: from which parameters are drawn, the same on any machine with one
    version of torch; None leaves them as memory has them, to be loaded, and works on the meta device.
    """

    def __init__(self, config: ModelConfig, *, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        width, epsilon = config.width, config.norm_epsilon
        bias, rms = config.layout == "xlmr", config.layout == "llama"
        masked = not config.causal
        self.table = nn.Parameter(torch.empty(config.rows, width))
        self.output_table = None if config.tied else nn.Parameter(torch.empty(config.rows, width))
        self.output_bias = nn.Parameter(torch.empty(config.rows)) if masked else None
        self.positions: nn.Parameter | None = None
        self.token_type: nn.Parameter | None = None
        if config.layout == "xlmr":
            # XLM-R's positions count from the row after its padding index.
            places = config.max_length + config.pad_id + 1
            self.positions = nn.Parameter(torch.empty(places, width))
            self.token_type = nn.Parameter(torch.empty(1, width))
        self.input_norm = _Norm(width, epsilon, bias=bias) if masked else None
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.layers))
        self.final_norm = None if bias else _Norm(width, epsilon, bias=False, rms=rms)
        self.head_projection = _Projection(width, width, bias=bias) if masked else None
        self.head_norm = _Norm(width, epsilon, bias=bias) if masked else None
        if seed is not None:
            self._draw(seed)

    @property
    def output(self) -> nn.Parameter:
        """The output matrix [rows, width]."""
        return self.table if self.output_table is None else self.output_table

    @property
    def blocks(self) -> Sequence[Layer]:
        """`layers`, for type checkers."""
        return cast(Sequence[Layer], self.layers)

    def forward(
        self, batch: Batch, head_rows: int | None = None, fused: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Σ weight · nats over the chosen places (fp32, with gradients) and each place's nats (fp32 [K]).

        `head_rows`, `fused`: see `loss.linear_cross_entropy`.
        """
        x = self.states(batch.ids, batch.documents, batch.positions, batch.boundaries, batch.length)
        with torch.autocast(x.device.type, enabled=False):
            x = self.head(x.index_select(0, batch.chosen))
        return linear_cross_entropy(
            x, self.output, self.output_bias, batch.targets, batch.weights,
            vocabulary=self.config.vocabulary, rows_per_chunk=head_rows, fused=fused,
        )  # fmt: skip

    def states(
        self, ids: Tensor, documents: Tensor, positions: Tensor, boundaries: Tensor, length: int
    ) -> Tensor:
        """Last states [T, width] of a stream (see `Batch`), in autocast's type where it is on.

        Raises `PretrainingError` when rows are longer than the model has positions for.
        """
        config = self.config
        if length > config.max_length:
            raise PretrainingError(
                f"rows of {length} tokens: the model has positions for {config.max_length}",
                f"prepare with --length {config.max_length}",
            )
        kind = ids.device.type
        dtype = self.table.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        with torch.autocast(kind, enabled=False):
            x = self._embed(ids, positions).to(dtype)
            masks = self._make_masks(documents, length, dtype)
            for layer in self.blocks:
                x = layer(x, positions, boundaries, masks[layer.local], length)
            return x if self.final_norm is None else self.final_norm(x)

    def head(self, x: Tensor) -> Tensor:
        """States [n, width] as the output matrix wants them; nothing changes in `llama`."""
        if self.head_projection is None or self.head_norm is None:
            return x
        return self.head_norm(F.gelu(self.head_projection(x)))  # type: ignore[no-any-return]

    def logits(self, batch: Batch, chosen: Tensor | None = None) -> Tensor:
        """Logits [n, vocabulary] in fp32 of the places `chosen` in the stream; None: of all."""
        x = self.states(batch.ids, batch.documents, batch.positions, batch.boundaries, batch.length)
        with torch.autocast(x.device.type, enabled=False):
            x = self.head(x if chosen is None else x.index_select(0, chosen)).float()
            size = self.config.vocabulary
            bias = None if self.output_bias is None else self.output_bias[:size].float()
            return F.linear(x, self.output[:size].float(), bias)

    def checkpoint_activations(self) -> None:
        """Recompute layers in the backward pass: a third more arithmetic, a layer's input kept of each."""
        for layer in self.blocks:
            layer.checkpointing = True

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        x = F.embedding(ids, self.table)
        if self.positions is not None and self.token_type is not None:
            places = positions + (self.config.pad_id + 1)
            x = x + self.token_type + F.embedding(places, self.positions)
        return x if self.input_norm is None else self.input_norm(x)

    def _make_masks(
        self, documents: Tensor, length: int, dtype: torch.dtype
    ) -> tuple[Tensor | None, Tensor | None]:
        """Masks of global and of local layers, once for all layers; None where boundaries do."""
        causal, local = self.config.causal, any(layer.local for layer in self.blocks)
        if _uses_boundaries(documents.device, dtype, self.config.head_width, local=local):
            return None, None
        whole = _make_mask(documents, length, causal=causal)
        if not local:
            return whole, None
        return whole, _make_mask(documents, length, causal=causal, window=self.config.local_window)

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        """Normal weights, ones in norms, zeros in biases and in padding.

        Where a block's output is added to its input, its deviation is divided by √(2 · layers) in the
        pre-norm layouts, so that the sum does not grow with depth (as GPT-2 and ModernBERT do).
        """
        deviation = self.config.initial_deviation
        damped = 1.0 if self.config.layout == "xlmr" else 1 / math.sqrt(2 * self.config.layers)
        for index, (name, parameter) in enumerate(self.named_parameters()):
            if name.endswith("bias") or name == "token_type":
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
                scale = damped if name.endswith(("mix.weight", "down.weight")) else 1.0
                parameter.normal_(0.0, deviation * scale, generator=generator)
        for table in {self.table, self.output}:
            table[self.config.vocabulary :].zero_()


def compile_layers(model: Model) -> str | None:
    """Compile each layer by itself, and return None, or why that cannot be done here.

    Layers of one kind share the work, and shapes are static; hooks around a layer stay outside.
    """
    lack = find_lack(model.table.device.type)
    if lack is not None:
        return f"layers are not compiled: {lack}"
    # Not above: torch loads its compiler, a second of imports, only where it is used.
    settings: Any = import_module("torch._dynamo.config")
    if hasattr(settings, "recompile_limit"):
        # Kinds of layers × stages × training and evaluation: past its 8 torch would stop compiling.
        settings.recompile_limit = max(settings.recompile_limit, 64)
    for layer in model.blocks:
        layer.compiled = torch.compile(layer.compute, dynamic=False)
    return None
