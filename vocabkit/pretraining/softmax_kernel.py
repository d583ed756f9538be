"""Softmax, loss and gradient of rows of logits in one Triton kernel, in place. Optional: a GPU and Triton.

Plain operations pass over a chunk of logits five times in fp32; at width 768 that is half the cost of the
head. This reads twice and writes once, in the type the logits have. It holds no projection (see `loss`), and
the formula is the same: nats = log Σ exp(z) − z[target], gradient = weight · (softmax(z) − one-hot).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import Tensor

__all__ = ["AVAILABLE", "turn_into_gradient"]

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
    logits: Tensor,
    targets: Tensor,
    weights: Tensor,
    nats: Tensor,
    vocabulary: int,
    *,
    gradient: bool = True,
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
                tl.store(
                    place + columns_here,
                    slope.to(logits.dtype.element_ty),
                    mask=columns_here < columns,
                )
