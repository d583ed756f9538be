"""One way to compute the head's loss and gradients, alone in its process: `benchmarks/pretrain.py` runs it.

    python benchmarks/pretrain_head.py WAY VOCABULARY WIDTH TOKENS MASKED DEVICE

Prints one JSON object: seconds a step (wall, CPU), peak bytes beyond the inputs and, with `error` as a seventh
word, the gradients' relative errors against float32.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("plain-all", "plain-masked", "own", "own-eager", "cut-cross-entropy", "liger")
REPEATS = {"cpu": 3, "cuda": 20}
Step = Callable[[Tensor, Tensor, Tensor], Tensor]


def find_step(way: str, vocabulary: int) -> Step:
    """A function of the places' vectors, the table and the targets that gives the summed loss."""
    if way in {"own", "own-eager"}:
        from vocabkit.pretraining.model import linear_cross_entropy

        def own(x: Tensor, table: Tensor, targets: Tensor) -> Tensor:
            weights = torch.ones(len(x), device=x.device)
            total, _ = linear_cross_entropy(
                x, table, None, targets, weights,
                vocabulary=vocabulary, rows_per_chunk=None, fused=way == "own",
            )  # fmt: skip
            return total

        return own
    if way == "cut-cross-entropy":
        from cut_cross_entropy import linear_cross_entropy as cut

        # Exact: its default leaves out small gradients, which at the start of training are most of them.
        return lambda x, table, targets: cut(x, table.to(x.dtype), targets, reduction="sum", impl="cce_exact")
    if way == "liger":
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        fused = LigerFusedLinearCrossEntropyLoss(reduction="sum", accum_dtype=torch.float32)
        return lambda x, table, targets: fused(table.to(x.dtype), x, targets)

    def plain(x: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        logits = F.linear(x, table.to(x.dtype))
        return F.cross_entropy(logits.float(), targets, reduction="sum", ignore_index=-100)

    return plain


def reference(x: Tensor, table: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients in float32, a slice of the places at a time."""
    torch.backends.cuda.matmul.allow_tf32 = False
    table = table.detach().float().requires_grad_()
    grads = []
    for start in range(0, len(x), 512):
        part = x[start : start + 512].detach().float().requires_grad_()
        chosen = targets[start : start + 512]
        F.cross_entropy(F.linear(part, table), chosen, reduction="sum").backward()
        assert part.grad is not None
        grads.append(part.grad)
    assert table.grad is not None
    return torch.cat(grads), table.grad


def distance(found: Tensor | None, expected: Tensor) -> float:
    assert found is not None
    return float((found.float() - expected).norm() / expected.norm())


def memory(name: str) -> int:
    """Bytes this process holds (VmRSS), or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def reset_peak() -> None:
    """Let VmHWM begin again: making the inputs took more memory than they hold."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main() -> None:
    way, device = sys.argv[1], sys.argv[6]
    vocabulary, width, tokens, masked = map(int, sys.argv[2:6])
    torch.manual_seed(0)
    kind = torch.float32 if device == "cpu" else torch.bfloat16
    places = tokens if way == "plain-all" else masked
    x = torch.randn(places, width, device=device).to(kind).requires_grad_()
    # A trained table's logits differ by a few units; at an untrained one's every method is at its best.
    table = (torch.randn(vocabulary, width, device=device) * 2 / width**0.5).requires_grad_()
    targets = torch.randint(0, vocabulary, (places,), device=device)
    if way == "plain-all":
        targets[torch.randperm(places, device=device)[masked:]] = -100
    step = find_step(way, vocabulary)
    found: dict[str, Any] = {"way": way}
    is_cuda = device == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        reset_peak()
    before = torch.cuda.memory_allocated() if is_cuda else memory("VmRSS")
    walls, used = [], []
    for number in range(REPEATS[device] + 1):
        x.grad = table.grad = None
        if is_cuda:
            torch.cuda.synchronize()
        start, cpu = time.perf_counter(), time.process_time()
        loss = step(x, table, targets) / masked
        loss.backward()
        if is_cuda:
            torch.cuda.synchronize()
        if number:  # the first one compiles, and finds its memory
            walls.append(time.perf_counter() - start)
            used.append(time.process_time() - cpu)
    peak = torch.cuda.max_memory_allocated() if is_cuda else memory("VmHWM")
    found |= {"wall": statistics.median(walls), "cpu": statistics.median(used)}
    found |= {"peak": peak - before, "loss": float(loss.detach())}
    if "error" in sys.argv and way != "plain-all":
        expected_x, expected_table = reference(x, table, targets)
        found["x_error"] = distance(x.grad, expected_x / masked)
        found["table_error"] = distance(table.grad, expected_table / masked)
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
