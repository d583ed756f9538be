"""Linear projection and cross entropy in one, chunk by chunk, never holding all logits at once.

At 250,000 pieces the logits of 65,536 positions are 65 GB in fp32. Here rows of states are projected a few
thousand at a time; each chunk's gradients are computed at once and its logits forgotten, so that memory is
one chunk and the gradients themselves. The loss is summed in fp32 and the matrix's gradient accumulates in
fp32 over chunks, whatever the type of the states: sums in bf16 lose what a vocabulary this long adds up.
Which positions are asked for, and what the sum is divided by, is the caller's matter.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from vocabkit.pretraining import softmax_kernel
from vocabkit.pretraining.chunk_rows import choose_chunk_rows
from vocabkit.pretraining.compiler import find_lack

__all__ = ["linear_cross_entropy"]

_TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


def linear_cross_entropy(
    x: Tensor,
    table: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor,
    *,
    vocabulary: int,
    rows_per_chunk: int | None = None,
    fused: bool = True,
) -> tuple[Tensor, Tensor]:
    """Σ weight · nats over rows (fp32, with gradients), and each row's nats (fp32 [K], without).

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
        ctx: Any,
        x: Tensor,
        table: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weights: Tensor,
        vocabulary: int,
        rows: int,
        kernel: bool,
    ) -> tuple[Tensor, Tensor]:
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
            logits = space[: states.shape[0]]
            if offsets is None:
                torch.mm(states, matrix.t(), out=logits)
            else:
                torch.addmm(offsets, states, matrix.t(), out=logits)
            if kernel:
                softmax_kernel.turn_into_gradient(
                    logits, targets[part], weights[part], nats[part], vocabulary, gradient=needed
                )
                narrow = wide = logits
            else:
                wide = _turn_into_gradient(
                    logits, targets[part], weights[part], nats[part], vocabulary, needed
                )
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
        scaled = (
            None if gradient is None else _scale(gradient, outer[0]).to(kind)
            for gradient, kind in zip(gradients, ctx.types, strict=True)
        )
        return (*scaled, None, None, None, None, None)


_apply: Any = _ChunkedLoss.apply


@cache
def _has_kernel() -> bool:
    return find_lack("cuda") is None


def _turn_into_gradient(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor,
    nats: Tensor,
    vocabulary: int,
    needed: bool,
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


def _scale(gradient: Tensor, scale: Tensor) -> Tensor:
    """A gradient times a number, which is not rounded to a narrow type: in bf16 it would be off by 0.4 %."""
    if gradient.dtype == torch.float32:
        # In place: at 850,000 pieces a second copy is 7 GB.
        return gradient.mul_(scale)
    return gradient.float().mul_(scale)
