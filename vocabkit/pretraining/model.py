"""The model: tokens in, loss out, in three layouts that transformers' classes compute alike.

Tokens are one stream of documents (see `Batch`), and only the chosen positions reach the head: at 250,000
pieces projecting every position would be two thirds of all arithmetic. The loss is part of the forward pass,
because FSDP2 gathers the vocabulary's matrix for the duration of `forward` alone. No dropout: published
pretraining at this scale goes without, and attention by boundaries has none.
"""

from __future__ import annotations

import inspect
import math
import os
import shutil
import sysconfig
from collections.abc import Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vocabkit.core.errors import PretrainingError
from vocabkit.pretraining.batches import Batch
from vocabkit.pretraining.run_config import ModelConfig, choose_chunk_rows

VOCABULARY_PARAMETERS = frozenset({"table", "output_table", "output_bias"})
"""Parameters of a model with a row for each id, and rows of padding after them."""

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
        # XLM-R's positions count from the row after its padding index.
        places = config.max_length + config.pad_id + 1
        self.positions = nn.Parameter(torch.empty(places, width)) if bias else None
        self.token_type = nn.Parameter(torch.empty(1, width)) if bias else None
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

    def forward(self, batch: Batch, head_rows: int | None = None, fused: bool = True) -> tuple[Tensor, Tensor]:
        """Return Σ weight · nats over the chosen positions (fp32, with gradients) and the nats (fp32 [K]).

        `head_rows`, `fused`: see `linear_cross_entropy`.
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
        """Return the last states [T, width] of a stream (see `Batch`), in autocast's type where it is on.

        Raises `PretrainingError` when rows are longer than the model has positions for.
        """
        config = self.config
        if length > config.max_length:
            raise PretrainingError(
                f"rows of {length} tokens: the model has positions for {config.max_length}",
                f"prepare with --length {config.max_length}",
            )
        kind = ids.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.table.dtype
        with torch.autocast(kind, enabled=False):
            x = self._embed(ids, positions).to(dtype)
            masks = self._make_masks(documents, length, dtype)
            for layer in self.blocks:
                x = layer(x, positions, boundaries, masks[layer.local], length)
            return x if self.final_norm is None else self.final_norm(x)

    def head(self, x: Tensor) -> Tensor:
        """Return states [n, width] as the output matrix wants them; nothing changes in `llama`."""
        if self.head_projection is None or self.head_norm is None:
            return x
        return self.head_norm(F.gelu(self.head_projection(x)))  # type: ignore[no-any-return]

    def logits(self, batch: Batch, chosen: Tensor | None = None) -> Tensor:
        """Return logits [n, vocabulary] in fp32 of the positions `chosen` in the stream; None: of all."""
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
        window = self.config.local_window
        near = _make_mask(documents, length, causal=causal, window=window) if local else None
        return _make_mask(documents, length, causal=causal), near

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
    lack = _find_lack(model.table.device.type)
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


# --- Layers ----------------------------------------------------------------------------------------
# Each computes in the type of its input, whatever its parameters are held in: they stay in fp32 where one
# process holds them whole, or arrive in bf16 from FSDP2, and are cast on use, so that both compute the same.


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
        self.epsilon, self.rms = epsilon, rms

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
        self.heads, self.kv_heads, self.head_width = config.heads, config.key_value_heads, config.head_width
        self.causal, self.post_norm, self.gated = (
            config.causal,
            config.layout == "xlmr",
            config.layout != "xlmr",
        )
        self.local = config.layout == "modern" and index % config.global_every != 0
        self.window = config.local_window if self.local else None
        theta = config.local_theta if self.local else config.rope_theta
        self.theta = theta if self.gated else None
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
        epsilon = config.norm_epsilon
        self.attention_norm = nn.Identity() if first else _Norm(width, epsilon, bias=bias, rms=rms)
        self.feed_forward_norm = _Norm(width, epsilon, bias=bias, rms=rms)

    def forward(
        self, x: Tensor, positions: Tensor, boundaries: Tensor, mask: Tensor | None, length: int
    ) -> Tensor:
        """[T, width] → [T, width]; see `_attend` for the rest."""
        compute = self.compiled or self.compute
        if self.checkpointing and torch.is_grad_enabled():
            # Nothing is drawn at random in a layer, so no state of a generator is kept for it.
            compute = partial(checkpoint, compute, use_reentrant=False, preserve_rng_state=False)
        return cast(Tensor, compute(x, positions, boundaries, mask, length))

    def compute(
        self, x: Tensor, positions: Tensor, boundaries: Tensor, mask: Tensor | None, length: int
    ) -> Tensor:
        """What `forward` does, bare of hooks: the region that is compiled."""
        if self.post_norm:
            x = self.attention_norm(x + self._attend(x, positions, boundaries, mask, length))
            return self.feed_forward_norm(x + self._feed(x))  # type: ignore[no-any-return]
        x = x + self._attend(self.attention_norm(x), positions, boundaries, mask, length)
        return x + self._feed(self.feed_forward_norm(x))

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


# --- Attention -------------------------------------------------------------------------------------
# Among the tokens of one document, in a stream of documents laid end to end. On a GPU in bf16 or fp16:
# `torch.nn.attention.varlen`, told where documents start. Elsewhere, and with a torch or a width of heads that
# it does not know: scaled dot products row by row under a mask, exact and slower; a document never crosses a
# row, so that the mask is length² a row and not the square of the stream.


class _Varlen:
    """Torch's function and the names of its options, once `_uses_boundaries` has looked them up.

    Inside a compiled layer the compiler would trace the looking up, and warn of it; at the top of this module
    it would load the compiler, two seconds of imports, where nothing is compiled.
    """

    function: Any = None
    options: frozenset[str] = frozenset()


def _uses_boundaries(device: torch.device, dtype: torch.dtype, head_width: int, *, local: bool = False) -> bool:
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


def _make_mask(documents: Tensor, length: int, *, causal: bool, window: int | None = None) -> Tensor:
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
    query: Tensor, key: Tensor, value: Tensor, *, boundaries: Tensor, length: int, mask: Tensor | None,
    causal: bool, window: int | None = None,
) -> Tensor:  # fmt: skip
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
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, length: int, causal: bool, window: int | None
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
    mixed: Any = _Varlen.function(query, key, value, boundaries, boundaries, length, length, **options)
    return mixed  # type: ignore[no-any-return]


# --- Head and loss ---------------------------------------------------------------------------------
# Linear projection and cross entropy in one, chunk by chunk, never holding all logits at once. At 250,000
# pieces the logits of 65,536 positions are 65 GB in fp32. Here rows of states are projected a few thousand at
# a time; each chunk's gradients are computed at once and its logits forgotten, so that memory is one chunk and
# the gradients themselves. The loss is summed in fp32 and the matrix's gradient accumulates in fp32 over
# chunks, whatever the type of the states: sums in bf16 lose what a vocabulary this long adds up.

_TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


def linear_cross_entropy(
    x: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor, *,
    vocabulary: int, rows_per_chunk: int | None = None, fused: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return Σ weight · nats over rows (fp32, with gradients), and each row's nats (fp32 [K], without).

    `x` [K, d] is multiplied in its own type, with `table` [rows, d] and `bias` [rows] cast to it. Columns
    from `vocabulary` on are no pieces: they never win and carry no gradient. `targets` int64 [K] below
    `vocabulary`, `weights` fp32 [K]. `rows_per_chunk`: None chooses. `fused`: on a GPU where Triton works, one
    kernel for softmax and gradient. A tensor that needs no gradient costs none. Nothing waits for the device.
    Gradients come with the forward pass, so that the graph can be walked back once only.
    """
    kernel = fused and x.is_cuda and _has_kernel()
    rows = rows_per_chunk or choose_chunk_rows(
        x.shape[0], table.shape[0], cuda=x.is_cuda, size=x.element_size() if kernel else 4
    )
    if not torch.is_grad_enabled():
        x, table, bias = x.detach(), table.detach(), None if bias is None else bias.detach()
    # FSDP2 casts every number that enters `forward`, these among them; 0 and 1 survive it.
    weights = weights.float()
    # The types are chosen here; autocast would choose again.
    with torch.autocast(x.device.type, enabled=False):
        loss, nats = _apply(x, table, bias, targets, weights, vocabulary, rows, kernel)
    return loss, nats


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor,
        vocabulary: int, rows: int, kernel: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        need_x, need_table, need_bias = ctx.needs_input_grad[:3]
        needed = need_x or need_table or need_bias
        matrix = table.to(x.dtype)
        offsets = None if bias is None else bias.to(x.dtype)
        grad_x = torch.empty_like(x) if need_x else None
        # The first chunk's product is written, not added: at 850,000 pieces zeros first are 14 GB more.
        whole = torch.empty_like if x.shape[0] else torch.zeros_like
        grad_table = whole(table, dtype=torch.float32) if need_table else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if need_bias else None  # type: ignore[arg-type]
        nats = torch.empty(x.shape[0], dtype=torch.float32, device=x.device)
        space = x.new_empty(min(rows, x.shape[0]), table.shape[0])
        for start in range(0, x.shape[0], rows):
            part = slice(start, start + rows)
            states = x[part]
            logits, given = space[: states.shape[0]], (targets[part], weights[part], nats[part])
            if offsets is None:
                torch.mm(states, matrix.t(), out=logits)
            else:
                torch.addmm(offsets, states, matrix.t(), out=logits)
            if kernel:
                turn_into_gradient(logits, *given, vocabulary, gradient=needed)
                narrow = wide = logits
            else:
                wide = _turn_into_gradient(logits, *given, vocabulary, needed)
                narrow = wide if wide.dtype == x.dtype else logits.copy_(wide)
                if x.is_cuda:
                    # There the fp32 chunk is gigabytes, and narrow numbers are summed in fp32 anyway.
                    wide = narrow
            if grad_x is not None:
                torch.mm(narrow, matrix, out=grad_x[part])
            if grad_table is not None:
                _add_product(grad_table, wide, states, first=start == 0)
            if grad_bias is not None:
                grad_bias += wide.sum(0, dtype=torch.float32)
        ctx.gradients = (grad_x, grad_table, grad_bias)
        ctx.types = (x.dtype, table.dtype, None if bias is None else bias.dtype)
        ctx.mark_non_differentiable(nats)
        return torch.dot(nats, weights), nats

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss were handed out already")
        gradients, ctx.gradients = ctx.gradients, None
        # The number is not rounded to a narrow type: in bf16 it would be off by 0.4 %. What is fp32 already is
        # multiplied in place: at 850,000 pieces a second copy is 7 GB.
        scaled = (
            None if gradient is None else gradient.float().mul_(outer[0]).to(kind)
            for gradient, kind in zip(gradients, ctx.types, strict=True)
        )
        return (*scaled, None, None, None, None, None)


_apply: Any = _ChunkedLoss.apply


@cache
def _has_kernel() -> bool:
    return _find_lack("cuda") is None


def _turn_into_gradient(
    logits: Tensor, targets: Tensor, weights: Tensor, nats: Tensor, vocabulary: int, needed: bool
) -> Tensor:
    """Write rows' nats, and return weight · (softmax − one-hot) in fp32 where it is `needed`."""
    logits[:, vocabulary:] = float("-inf")
    log_shares = torch.log_softmax(logits, 1, dtype=torch.float32)
    places = targets[:, None]
    torch.neg(log_shares.gather(1, places).squeeze(1), out=nats)
    if not needed:
        return logits
    slope = log_shares.exp_().mul_(weights[:, None])
    slope.scatter_add_(1, places, -weights[:, None])
    return slope


def _add_product(total: Tensor, slope: Tensor, states: Tensor, *, first: bool) -> None:
    """Add slopeᵀ · states to an fp32 total, or write it there if it is the `first`, summing in fp32.

    Of narrow numbers a GPU alone can.
    """
    turned = slope.t()
    if slope.dtype == torch.float32:
        wide = states.float()
        if first:
            torch.mm(turned, wide, out=total)
        else:
            total.addmm_(turned, wide)
    elif _TORCH < (2, 8):
        # Each product is rounded to the narrow type; they are summed in fp32 all the same.
        product = torch.mm(turned, states)
        _ = total.copy_(product) if first else total.add_(product)
    elif first:
        torch.mm(turned, states, out_dtype=torch.float32, out=total)
    elif _TORCH < (2, 10):
        # Before, `addmm` wants a total of the factors' type (github.com/pytorch/pytorch/pull/167931).
        total += torch.mm(turned, states, out_dtype=torch.float32)
    else:
        torch.addmm(total, turned, states, out_dtype=torch.float32, out=total)


# --- Softmax kernel --------------------------------------------------------------------------------
# Softmax, loss and gradient of rows of logits in one Triton kernel, in place. Plain operations pass over a
# chunk of logits five times in fp32; at width 768 that is half the cost of the head. This reads twice and
# writes once, in the type the logits have. The formula is the same: nats = log Σ exp(z) − z[target], gradient
# = weight · (softmax(z) − one-hot).

triton: Any
tl: Any
try:
    triton = import_module("triton")
    tl = import_module("triton.language")
except ImportError:  # A CPU build of torch brings no Triton.
    triton = tl = None

AVAILABLE = triton is not None
"""Whether Triton can be imported."""
_BLOCK = 8_192
_WARPS = 16


def turn_into_gradient(
    logits: Tensor, targets: Tensor, weights: Tensor, nats: Tensor, vocabulary: int, *, gradient: bool = True
) -> None:
    """Write each row's nats, and, with `gradient`, the gradient over the logits.

    `logits` [n, columns] bf16 or fp32, contiguous rows; columns from `vocabulary` on become 0. `targets`
    int64 [n], `weights` and `nats` fp32 [n].
    """
    _kernel[(logits.shape[0],)](
        logits, targets, weights, nats, logits.stride(0), vocabulary, logits.shape[1],
        GRADIENT=gradient, BLOCK=_BLOCK, num_warps=_WARPS,
    )  # fmt: skip


if AVAILABLE:
    # A row a program. All reads of the first pass are done before the second writes: the reductions between
    # them make the program's threads wait for each other. In the second, a thread writes what it read.
    @triton.jit  # type: ignore[untyped-decorator]
    def _kernel(  # type: ignore[no-untyped-def]
        logits, targets, weights, nats, stride, vocabulary, columns,
        GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64)
        place = logits + row * stride
        target = tl.load(targets + row)
        chosen = tl.load(place + target).to(tl.float32)
        offsets = tl.arange(0, BLOCK)
        # A lane keeps its highest value and Σ exp(value − highest), one exponential a value. It begins with a
        # finite number, below any logit of note: −inf less −inf would be NaN.
        highest = tl.full((BLOCK,), -3.0e38, tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, vocabulary, BLOCK):
            inside = start + offsets < vocabulary
            values = tl.load(place + start + offsets, mask=inside, other=float("-inf"))
            above = values.to(tl.float32) - highest
            smaller = tl.exp(-tl.abs(above))
            total = tl.where(above > 0.0, total * smaller + 1.0, total + smaller)
            highest = tl.where(above > 0.0, values.to(tl.float32), highest)
        top = tl.max(highest, 0)
        whole = tl.sum(total * tl.exp(highest - top), 0)
        log_sum = top + tl.log(whole)
        tl.store(nats + row, log_sum - chosen)
        if GRADIENT:
            weight = tl.load(weights + row)
            for start in range(0, columns, BLOCK):
                columns_here = start + offsets
                inside = columns_here < vocabulary
                values = tl.load(place + columns_here, mask=inside, other=float("-inf"))
                share = tl.exp(values.to(tl.float32) - log_sum)
                share = tl.where(columns_here == target, share - 1.0, share)
                slope = tl.where(inside, share * weight, 0.0)
                tl.store(place + columns_here, slope.to(logits.dtype.element_ty), mask=columns_here < columns)


def _find_lack(kind: str) -> str | None:
    """Return what is missing for kernels on a kind of device (`cpu`, `cuda`), in words; None if nothing is."""
    if kind == "cuda" and not AVAILABLE:
        return "Triton is not installed"
    names = ("g++", "clang++") if kind == "cpu" else ("gcc", "clang", "cc")
    chosen = os.environ.get("CXX" if kind == "cpu" else "CC")
    if not any(shutil.which(name) for name in (chosen, *names) if name):
        return f"no compiler ({', '.join(names)}) is on the path"
    # What starts a kernel is itself compiled, against Python.
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return f"Python's headers are not installed ({headers}/Python.h)"
    return None
