"""The model: tokens in, loss out, in three layouts that transformers' classes compute alike.

Tokens are one stream of documents (see `batch`), and only the chosen places reach the head: at 250,000
pieces projecting every place would be two thirds of all arithmetic. The loss is part of the forward pass,
because FSDP2 gathers the vocabulary's matrix for the duration of `forward` alone. No dropout: published
pretraining at this scale goes without, and attention by boundaries has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocabkit.pretraining.attention import make_mask, uses_boundaries
from vocabkit.pretraining.batch import Batch
from vocabkit.pretraining.compiler import find_lack
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.layers import Layer, Norm, Projection
from vocabkit.pretraining.loss import linear_cross_entropy
from vocabkit.pretraining.model_config import ModelConfig

__all__ = ["Model", "compile_layers"]


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
        self.input_norm = Norm(width, epsilon, bias=bias) if masked else None
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.layers))
        self.final_norm = None if bias else Norm(width, epsilon, bias=False, rms=rms)
        self.head_projection = Projection(width, width, bias=bias) if masked else None
        self.head_norm = Norm(width, epsilon, bias=bias) if masked else None
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
        if uses_boundaries(documents.device, dtype, self.config.head_width, local=local):
            return None, None
        whole = make_mask(documents, length, causal=causal)
        if not local:
            return whole, None
        return whole, make_mask(documents, length, causal=causal, window=self.config.local_window)

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
