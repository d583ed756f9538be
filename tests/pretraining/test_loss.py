from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vocabkit.pretraining.model import _TORCH, AVAILABLE, _add_product, linear_cross_entropy
from vocabkit.pretraining.run_config import choose_chunk_rows

ROWS, VOCABULARY, WIDTH = 64, 50, 8


class _Case:
    """States, matrix, bias, targets and weights drawn from a seed, and what plain operations say."""

    def __init__(self, count: int, seed: int = 0, *, bias: bool = True) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(count, WIDTH, generator=generator).requires_grad_()
        self.table = torch.randn(ROWS, WIDTH, generator=generator).requires_grad_()
        self.bias = torch.randn(ROWS, generator=generator).requires_grad_() if bias else None
        self.targets = torch.randint(0, VOCABULARY, (count,), generator=generator)
        self.weights = torch.randint(0, 2, (count,), generator=generator).float()
        self.leaves = [leaf for leaf in (self.x, self.table, self.bias) if leaf is not None]

    def plain(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        logits = F.linear(self.x, self.table, self.bias)[:, :VOCABULARY]
        nats = F.cross_entropy(logits, self.targets, reduction="none")
        loss = (nats * self.weights).sum()
        return loss, nats, list(torch.autograd.grad(loss * 0.25, self.leaves))

    def chunked(self, rows: int | None) -> tuple[Tensor, Tensor, list[Tensor]]:
        loss, nats = linear_cross_entropy(
            self.x, self.table, self.bias, self.targets, self.weights,
            vocabulary=VOCABULARY, rows_per_chunk=rows,
        )  # fmt: skip
        return loss, nats, list(torch.autograd.grad(loss * 0.25, self.leaves))


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found.detach().float() - expected.detach().float()).norm() / expected.detach().float().norm())


@given(st.integers(1, 40), st.integers(0, 99), st.none() | st.integers(1, 50), st.booleans())
def test_any_chunk_size_equals_plain_cross_entropy(count: int, seed: int, rows: int | None, bias: bool) -> None:
    case = _Case(count, seed, bias=bias)
    loss, nats, gradients = case.chunked(rows)
    plain_loss, plain_nats, plain_gradients = case.plain()
    assert loss.dtype == nats.dtype == torch.float32
    assert torch.allclose(loss, plain_loss, rtol=1e-5, atol=1e-5)
    assert torch.allclose(nats, plain_nats, rtol=1e-5, atol=1e-5)
    assert not nats.requires_grad
    for found, expected in zip(gradients, plain_gradients, strict=True):
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_weights_of_zero_leave_no_loss_and_no_gradient() -> None:
    case = _Case(9)
    case.weights = torch.zeros(9)
    loss, nats, gradients = case.chunked(4)
    assert loss == 0.0
    assert (nats > 0).all()
    assert all(not gradient.any() for gradient in gradients)


def test_padding_never_wins_and_has_no_gradient() -> None:
    case = _Case(20)
    _, nats, _ = case.chunked(6)
    assert case.bias is not None
    with torch.no_grad():
        case.bias[VOCABULARY:] = 1e6
        case.table[VOCABULARY:] = 1e3
    _, again, gradients = case.chunked(6)
    assert torch.equal(nats, again)
    assert not gradients[1][VOCABULARY:].any()
    assert not gradients[2][VOCABULARY:].any()
    assert gradients[1][:VOCABULARY].any()


def test_surprise_beyond_what_fp32_can_exponentiate_is_finite() -> None:
    case = _Case(3, bias=False)
    with torch.no_grad():
        case.x.mul_(1_000.0)
    loss, nats, _ = case.chunked(2)
    assert torch.allclose(nats, case.plain()[1], rtol=1e-5)
    assert nats.max() > 104.0  # exp(−104) is 0 in fp32
    assert torch.isfinite(loss)


@pytest.mark.parametrize("rows", [16, 96, 256])
def test_gradients_in_bf16(rows: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 64).bfloat16().requires_grad_()
    table = (torch.randn(4_096, 64) * 0.05).bfloat16().float().requires_grad_()
    bias = torch.zeros(4_096, requires_grad=True)
    targets, weights = torch.randint(0, 4_000, (256,)), torch.ones(256)
    wide = [leaf.detach().float().requires_grad_() for leaf in (x, table, bias)]
    expected = F.cross_entropy(F.linear(*wide)[:, :4_000], targets, reduction="sum")
    loss, _ = linear_cross_entropy(x, table, bias, targets, weights, vocabulary=4_000, rows_per_chunk=rows)
    assert loss.dtype == torch.float32
    assert _error(loss, expected) <= 1e-3
    found = torch.autograd.grad(loss, [x, table, bias])
    wanted = torch.autograd.grad(expected, wide)
    assert found[0].dtype == torch.bfloat16
    assert found[1].dtype == found[2].dtype == torch.float32
    # The states' gradient is itself in bf16, whose rounding alone is 2⁻⁹ to 2⁻⁸ of each number.
    assert _error(found[0], wanted[0]) <= 2**-8
    assert _error(found[1], wanted[1]) <= 1e-3
    assert _error(found[2], wanted[2]) <= 1e-3


def test_what_a_gradient_is_scaled_by_is_not_rounded() -> None:
    """1/12,345 in bf16 would be off by 0.2 %, for the states alone: the body's rate, not the matrix's."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 16, generator=generator).bfloat16().requires_grad_()
    table = torch.randn(64, 16, generator=generator).requires_grad_()
    targets, weights = torch.randint(0, 64, (64,), generator=generator), torch.ones(64)
    scale, found = 1 / 12_345, []
    for factor in (1.0, scale):
        loss, _ = linear_cross_entropy(x, table, None, targets, weights, vocabulary=64)
        found.append(torch.autograd.grad(loss * factor, [x, table]))
    for whole, part in zip(*found, strict=True):
        projected = (part.double() * whole.double()).sum() / whole.double().square().sum()
        assert abs(float(projected) / scale - 1.0) < 3e-4


@pytest.mark.skipif(_TORCH < (2, 8), reason="old torch")
@pytest.mark.parametrize("first", [True, False])
def test_narrow_factors_and_a_wide_sum_are_known_to_this_torch(first: bool) -> None:
    """What a GPU alone computes, on tensors without data."""
    with torch.device("meta"):
        total = torch.empty(64, 8)
        slope = torch.empty(16, 64, dtype=torch.bfloat16)
        states = torch.empty(16, 8, dtype=torch.bfloat16)
        _add_product(total, slope, states, first=first)
    assert total.shape == (64, 8)


def test_no_rows_have_no_gradient() -> None:
    x, table = torch.randn(0, 4).requires_grad_(), torch.randn(64, 4).requires_grad_()
    none = torch.zeros(0)
    loss, nats = linear_cross_entropy(x, table, None, none.long(), none, vocabulary=64)
    assert float(loss.detach()) == 0.0
    assert nats.shape == (0,)
    assert not torch.autograd.grad(loss, table)[0].any()


def test_sums_over_chunks_lose_nothing_in_bf16() -> None:
    """Accumulated in bf16, 512 chunks would be off by several percent."""
    torch.manual_seed(0)
    x = torch.randn(512, 32).bfloat16()
    table = (torch.randn(256, 32) * 0.05).bfloat16().requires_grad_()
    targets, weights = torch.randint(0, 256, (512,)), torch.ones(512)
    found = []
    for rows in (1, 512):
        loss, _ = linear_cross_entropy(x, table, None, targets, weights, vocabulary=256, rows_per_chunk=rows)
        found.append((loss, torch.autograd.grad(loss, table)[0]))
    assert _error(found[0][0], found[1][0]) < 1e-5
    assert _error(found[0][1], found[1][1]) < 2**-8


def test_frozen_matrix_costs_no_gradient_and_changes_no_other() -> None:
    case = _Case(10)
    everything = case.chunked(3)[2]
    case.table.requires_grad_(False)
    case.leaves = [case.x]
    (found,) = case.chunked(3)[2]
    assert torch.equal(found, everything[0])


def test_without_gradients_nothing_is_kept() -> None:
    case = _Case(10)
    with torch.no_grad():
        loss, nats = linear_cross_entropy(
            case.x, case.table, case.bias, case.targets, case.weights,
            vocabulary=VOCABULARY, rows_per_chunk=4,
        )  # fmt: skip
    assert loss.grad_fn is None
    assert torch.equal(nats, case.chunked(4)[1])


def test_gradients_are_handed_out_once() -> None:
    case = _Case(4)
    loss, _ = linear_cross_entropy(
        case.x, case.table, case.bias, case.targets, case.weights, vocabulary=VOCABULARY
    )
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="handed out"):
        loss.backward()  # type: ignore[no-untyped-call]


def test_weights_may_arrive_in_bf16() -> None:
    """FSDP2 casts whatever enters the model."""
    case = _Case(9)
    expected = case.chunked(4)
    case.weights = case.weights.bfloat16()
    found = case.chunked(4)
    assert torch.equal(found[0], expected[0])
    pairs = zip(found[2], expected[2], strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_autocast_does_not_choose_the_type() -> None:
    case = _Case(8)
    expected = case.chunked(3)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = case.chunked(3)[0]
    assert torch.equal(found, expected)


@given(st.integers(1, 200_000), st.integers(64, 900_000), st.booleans(), st.sampled_from([2, 4]))
def test_chunks_are_equal_and_cover_all(count: int, columns: int, cuda: bool, size: int) -> None:
    rows = choose_chunk_rows(count, columns, cuda=cuda, size=size)
    assert rows * columns < 2**31
    chunks = -(-count // rows)
    assert 1 <= rows <= 8_192
    assert rows * chunks >= count
    # The last is short by less than the others could share.
    assert rows * chunks - count < chunks * (64 if cuda else 1)
    if cuda and count >= 2_048:
        assert rows >= 1_024 or rows * size * columns >= 6 * 10**9


def test_chunks_at_the_shapes_of_the_presets() -> None:
    assert choose_chunk_rows(9_830, 250_048, cuda=True) == 4_928
    assert choose_chunk_rows(4_915, 850_048, cuda=True) == 1_664
    # In bf16, with no copy in fp32, twice as many fit.
    assert choose_chunk_rows(4_915, 850_048, cuda=True, size=2) == 2_496
    assert choose_chunk_rows(2_464, 850_048, cuda=True, size=2) == 2_464


@pytest.mark.skipif(not AVAILABLE, reason="needs Triton")
def test_kernel_says_the_same_without_a_gpu() -> None:
    """Triton can run a kernel as Python, if told so before it is imported."""
    script = """
import torch
from vocabkit.pretraining.model import _turn_into_gradient
from vocabkit.pretraining.model import _turn_into_gradient
for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 2**-8)):
    for vocabulary in (100, 8_192, 9_001):
        logits = torch.zeros(4, -(-vocabulary // 64) * 64).normal_(0.0, 4.0).to(dtype)
        logits[1, 5], logits[2, 7] = 80.0, -1e30
        targets, weights = torch.tensor([0, vocabulary - 1, 7, 5]), torch.tensor([1.0, 0.5, 1.0, 0.0])
        slow, fast = torch.empty(2, 4)
        wanted = _turn_into_gradient(logits.clone(), targets, weights, slow, vocabulary, True)
        turn_into_gradient(logits, targets, weights, fast, vocabulary)
        assert torch.allclose(fast, slow, rtol=1e-5, atol=1e-5), (fast, slow)
        assert (logits.float() - wanted).norm() <= bound * wanted.norm()
        assert not logits[:, vocabulary:].any()
logits, nats = torch.zeros(2, 64), torch.zeros(2)
logits[0, 3], logits[1, 3] = float("nan"), float("inf")
turn_into_gradient(logits, torch.tensor([1, 1]), torch.ones(2), nats, 60)
assert nats.isnan().all()
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)


@pytest.mark.gpu
@pytest.mark.skipif(not (torch.cuda.is_available() and AVAILABLE), reason="needs a GPU and Triton")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [100, 8_192, 20_001])
def test_kernel_equals_plain_operations(dtype: torch.dtype, vocabulary: int) -> None:
    torch.manual_seed(0)
    columns = -(-vocabulary // 64) * 64
    x = torch.randn(300, 64, device="cuda").to(dtype).requires_grad_()
    table = (torch.randn(columns, 64, device="cuda") * 0.1).requires_grad_()
    bias = torch.randn(columns, device="cuda").requires_grad_()
    targets = torch.randint(0, vocabulary, (300,), device="cuda")
    weights = torch.rand(300, device="cuda")
    found = []
    for fused in (True, False):
        loss, nats = linear_cross_entropy(
            x, table, bias, targets, weights,
            vocabulary=vocabulary, rows_per_chunk=128, fused=fused,
        )  # fmt: skip
        found.append((loss, nats, *torch.autograd.grad(loss, [x, table, bias])))
    bound = 1e-5 if dtype == torch.float32 else 2**-8
    for ours, theirs in zip(*found, strict=True):
        assert _error(ours, theirs) <= bound
