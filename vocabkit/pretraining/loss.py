"""Linear projection and cross entropy in one, chunk by chunk, never holding all logits at once.

At 250,000 pieces the logits of 65,536 positions are 65 GB in fp32. Here rows of states are projected a few
thousand at a time; each chunk's gradients are computed at once and its logits forgotten, so that memory is
one chunk and the gradients themselves. The loss is summed in fp32 and the matrix's gradient accumulates in
fp32 over chunks, whatever the type of the states: sums in bf16 lose what a vocabulary this long adds up.
Which positions are asked for, and what the sum is divided by, is the caller's matter.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocabkit.pretraining.run_config import choose_chunk_rows

# --- Softmax kernel --------------------------------------------------------------------------------
# Softmax, loss and gradient of rows of logits in one Triton kernel, in place. Optional: a GPU and Triton.
#
# Plain operations pass over a chunk of logits five times in fp32; at width 768 that is half the cost of the
# head. This reads twice and writes once, in the type the logits have. It holds no projection (see `loss`),
# and
# the formula is the same: nats = log Σ exp(z) − z[target], gradient = weight · (softmax(z) − one-hot).


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


# --- Compiler --------------------------------------------------------------------------------------
# Whether kernels can be compiled where this runs: what is missing is said, and done without.
#
# Torch and Triton find these things themselves, and end in an error of theirs where one is absent. Nothing is
# compiled here.


def find_lack(kind: str) -> str | None:
    """What is missing for kernels on devices of a kind (`cpu`, `cuda`), in words; None where nothing is."""
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


# --- Loss ------------------------------------------------------------------------------------------


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
                turn_into_gradient(
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
