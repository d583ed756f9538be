from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.pretraining.model import Layer, _attend, _make_mask, _rotate, _uses_boundaries
from vocabkit.pretraining.run_config import Layout, ModelConfig

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def _number(lengths: list[int]) -> torch.Tensor:
    parts = [torch.full((n,), number, dtype=torch.int32) for number, n in enumerate(lengths)]
    return torch.cat(parts)


@given(LENGTHS, st.booleans(), st.none() | st.integers(2, 8))
def test_mask_is_what_its_words_say(lengths: list[int], causal: bool, window: int | None) -> None:
    numbers = _number(lengths)
    total = len(numbers)
    mask = _make_mask(torch.cat([numbers, numbers + 9]), total, causal=causal, window=window)
    assert mask.shape == (2, 1, total, total)
    for here in range(total):
        for there in range(total):
            near = window is None or abs(here - there) <= window // 2
            same = bool(numbers[here] == numbers[there])
            expected = same and near and (there <= here or not causal)
            assert mask[0, 0, here, there] == mask[1, 0, here, there] == expected


def _attend_slowly(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Place by place and head by head, over a mask [T, T]."""
    mixed = torch.empty_like(query)
    shared = query.shape[1] // key.shape[1]
    for place in range(query.shape[0]):
        seen = mask[place].nonzero().flatten()
        for head in range(query.shape[1]):
            products = key[seen, head // shared] @ query[place, head] / math.sqrt(query.shape[2])
            mixed[place, head] = products.softmax(0) @ value[seen, head // shared]
    return mixed


@given(LENGTHS, st.booleans(), st.none() | st.integers(2, 8), st.sampled_from([1, 2, 4]))
def test_attention_equals_the_slow_one(
    lengths: list[int], causal: bool, window: int | None, kv_heads: int
) -> None:
    torch.manual_seed(sum(lengths))
    numbers = _number(lengths)
    total = len(numbers)
    query = torch.randn(total, 4, 8)
    key, value = torch.randn(2, total, kv_heads, 8)
    mask = _make_mask(numbers, total, causal=causal, window=window)
    found = _attend(
        query, key, value, boundaries=torch.zeros(1), length=total, mask=mask, causal=causal,
        window=window,
    )  # fmt: skip
    assert torch.allclose(found, _attend_slowly(query, key, value, mask[0, 0]), atol=1e-5)


def test_rotation_is_multiplication_by_complex_numbers() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 2, 6)
    positions = torch.tensor([0, 1, 2, 3, 0, 1, 500])
    first, second = x.double().chunk(2, -1)
    speeds = 10_000.0 ** (-torch.arange(3, dtype=torch.float64) / 3)
    turned = torch.complex(first, second) * torch.exp(1j * positions[:, None] * speeds)[:, None]
    expected = torch.cat((turned.real, turned.imag), -1)
    # Angles are in fp32, whose eighth digit is 3e-5 at 500.
    assert torch.allclose(_rotate(x, positions, 10_000.0).double(), expected, atol=1e-4)
    assert _rotate(x.bfloat16(), positions, 10_000.0).dtype == torch.bfloat16


def test_only_half_precision_on_a_gpu_goes_by_boundaries() -> None:
    assert not _uses_boundaries(torch.device("cpu"), torch.bfloat16, 64)
    gpu, known = torch.device("cuda"), find_spec("torch.nn.attention.varlen") is not None
    assert not _uses_boundaries(gpu, torch.float32, 64)
    assert _uses_boundaries(gpu, torch.bfloat16, 64) == known
    # The kernel would refuse these widths.
    assert not _uses_boundaries(gpu, torch.bfloat16, 12)
    assert not _uses_boundaries(gpu, torch.bfloat16, 264)


@pytest.mark.skipif(not _uses_boundaries(torch.device("cuda"), torch.bfloat16, 8), reason="old torch")
@pytest.mark.parametrize("layout", ["xlmr", "modern", "llama"])
def test_a_layer_by_boundaries_is_one_graph(layout: Layout) -> None:
    """On tensors without data, so that torch's function is called as on a GPU, and needs none."""
    if not _uses_boundaries(torch.device("cuda"), torch.bfloat16, 8, local=True):
        pytest.skip("torch is too old")
    config = ModelConfig(
        layout=layout, vocabulary=64, width=32, layers=2, heads=4, feed_forward=48,
        kv_heads=2 if layout == "llama" else None,
    )  # fmt: skip
    with torch.device("meta"):
        layer = Layer(config, 1).bfloat16()
        x = torch.empty(48, 32, dtype=torch.bfloat16, requires_grad=True)
        positions, boundaries = torch.empty(2, 48, dtype=torch.int32)
        compiled = torch.compile(layer.compute, fullgraph=True, dynamic=False, backend="eager")
        # A warning is an error here.
        changed = compiled(x, positions, boundaries, None, 16)
        changed.sum().backward()  # type: ignore[no-untyped-call]
    assert changed.shape == x.shape
    assert changed.dtype == torch.bfloat16
    assert x.grad is not None
    assert layer.qkv.weight.grad is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("causal", "window"), [(False, None), (False, 8), (True, None)])
@pytest.mark.parametrize("kv_heads", [2, 4])
def test_boundaries_and_mask_agree_on_a_gpu(causal: bool, window: int | None, kv_heads: int) -> None:
    torch.manual_seed(0)
    lengths = [5, 20, 7, 30, 2]
    numbers = _number(lengths).cuda()
    starts = [0, *torch.tensor(lengths).cumsum(0).tolist(), 64, 64]
    boundaries = torch.tensor(starts, dtype=torch.int32, device="cuda")
    query = torch.randn(64, 4, 32, device="cuda", dtype=torch.bfloat16)
    key, value = torch.randn(2, 64, kv_heads, 32, device="cuda", dtype=torch.bfloat16)
    found = []
    for mask in (None, _make_mask(numbers, 64, causal=causal, window=window)):
        leaves = [part.clone().requires_grad_() for part in (query, key, value)]
        mixed = _attend(*leaves, boundaries=boundaries, length=64, mask=mask, causal=causal, window=window)
        mixed.float().square().sum().backward()  # type: ignore[no-untyped-call]
        found.append([mixed, *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours.float(), theirs.float(), atol=0.05, rtol=0.05)
