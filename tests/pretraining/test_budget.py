"""Costs against the table they were planned by, and against what the model really allocates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vocabkit.pretraining.model import Model
from vocabkit.pretraining.plan import (
    _count_flops,
    _count_parameters,
    _estimate_memory,
    _find_peak,
    estimate_mfu,
)
from vocabkit.pretraining.run_config import ModelConfig, TrainingSettings

SMALL = ModelConfig("xlmr", 250_000, 768, 12, 12, 3_072)
MEDIUM = ModelConfig("xlmr", 250_000, 1_024, 24, 16, 4_096)
LARGE = ModelConfig("xlmr", 500_000, 2_048, 32, 32, 8_192)
LARGEST = replace(LARGE, vocabulary=850_000)

# Parameters in millions and GFLOPs a token, from the study of peers that the presets follow: body, embedding,
# body and attention, head a predicted place, total at 15 % and at 30 % masked.
TABLE = [
    (SMALL, 86, 192, 0.567, 1.152, 0.740, 0.913),
    (MEDIUM, 304, 256, 1.963, 1.536, 2.194, 2.426),
    (LARGE, 1_617, 1_024, 10.07, 6.144, 10.99, 11.92),
    (LARGEST, 1_617, 1_741, 10.07, 10.445, 11.64, 13.21),
]


@pytest.mark.parametrize(
    ("config", "body", "embedding", "layers", "head", "at_15", "at_30"), TABLE, ids=["s", "m", "l", "l+"]
)
def test_the_table_of_the_presets(
    config: ModelConfig, body: float, embedding: float, layers: float, head: float, at_15: float,
    at_30: float,
) -> None:  # fmt: skip
    found = _count_parameters(config)
    assert found.body / 1e6 == pytest.approx(body, rel=0.01)
    assert found.embedding / 1e6 == pytest.approx(embedding, rel=1e-3)
    flops = _count_flops(config, 512, 0.15)
    assert (flops.body + flops.attention) / 1e9 == pytest.approx(layers, rel=2e-3)
    assert flops.total / 1e9 == pytest.approx(at_15, rel=4e-3)
    assert _count_flops(config, 512, 0.3).total / 1e9 == pytest.approx(at_30, rel=4e-3)
    rate = 77 / 512
    transform = 6 * config.width**2 / 1e9
    assert flops.head / 1e9 / rate == pytest.approx(head + transform, rel=1e-3)


CONFIGS = [
    ModelConfig("xlmr", 1_000, 64, 3, 4, 100),
    ModelConfig("xlmr", 1_000, 64, 3, 4, 100, tied=False, max_length=77),
    ModelConfig("modern", 999, 64, 4, 4, 96),
    ModelConfig("modern", 999, 64, 1, 4, 96, tied=False),
    ModelConfig("llama", 500, 64, 2, 4, 96, kv_heads=2, mask_id=None),
    ModelConfig("llama", 512, 96, 2, 3, 80, tied=False, mask_id=None),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.layout}-{config.tied}")
def test_parameters_are_those_of_the_model(config: ModelConfig) -> None:
    with torch.device("meta"):
        model = Model(config, seed=None)
    tables = model.table.numel() + (0 if config.tied else model.output.numel())
    found = _count_parameters(config)
    assert found.embedding == tables
    assert found.total == sum(parameter.numel() for parameter in model.parameters())


def count_products(config: ModelConfig, length: int) -> float:
    """Return forward FLOPs a token of the layers' matrix products, as torch counts them, times three."""
    from torch.utils.flop_counter import FlopCounterMode

    model = Model(config)
    counter = FlopCounterMode(display=False)
    places = torch.arange(length, dtype=torch.int32)
    with counter, torch.no_grad():
        model.states(
            torch.zeros(length, dtype=torch.int32),
            torch.zeros(length, dtype=torch.int32),
            places,
            torch.tensor([0, length], dtype=torch.int32),
            length,
        )
    return 3.0 * counter.get_flop_counts()["Global"].get(torch.ops.aten.mm, 0) / length


@pytest.mark.parametrize("config", CONFIGS[2:5], ids=lambda config: config.layout)
def test_arithmetic_of_the_layers_is_what_torch_counts(config: ModelConfig) -> None:
    counted = count_products(config, 16)
    assert counted
    assert _count_flops(config, 16, 0.15).body == pytest.approx(counted)


def test_causal_and_local_attention_see_less() -> None:
    llama = ModelConfig("llama", 500, 64, 2, 4, 96, mask_id=None)
    # Two layers, width 64, half of 512 places.
    assert _count_flops(llama, 512, 0.15).attention == 12 * 64 * 2 * 256
    assert _count_flops(llama, 512, 0.15).head == 6 * 64 * 500
    modern = ModelConfig("modern", 500, 64, 4, 4, 96)
    # Layers 0 and 3 are global, 1 and 2 see 128 places.
    assert _count_flops(modern, 512, 0.15).attention == 12 * 64 * (2 * 512 + 2 * 128)
    assert _count_flops(modern, 64, 0.15).attention == 12 * 64 * 4 * 64


def test_memory_follows_the_table() -> None:
    training = TrainingSettings(batch_rows=256, micro_rows=128)
    found = _estimate_memory(SMALL, training, 512, 0.15)
    # 16 bytes a parameter: 4.4 GB; 0.31 MB of activations a token.
    assert found.states / 1e9 == pytest.approx(4.45, abs=0.05)
    assert found.activations / 65_536 / 1e6 == pytest.approx(0.31, rel=0.05)
    assert found.total == found.states + found.copies + found.head + found.activations
    shared = _estimate_memory(SMALL, training, 512, 0.15, world=8)
    assert shared.states * 8 == pytest.approx(found.states, abs=8)
    assert shared.activations == found.activations // 4
    recomputed = training.model_copy(update={"activation_checkpointing": True})
    assert _estimate_memory(SMALL, recomputed, 512, 0.15).activations < found.activations / 4
    chunked = training.model_copy(update={"head_rows": 1_024})
    assert _estimate_memory(SMALL, chunked, 512, 0.15).head < found.head


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Something Else", None),
        (None, None),
    ],
)
def test_peaks_by_name(name: str | None, peak: float | None) -> None:
    assert _find_peak(name) == peak


def test_mfu_is_none_where_no_peak_is_known() -> None:
    assert estimate_mfu(0.74e9, 535_000.0, "NVIDIA H200") == pytest.approx(0.4, rel=2e-3)
    assert estimate_mfu(0.74e9, 8 * 535_000.0, "NVIDIA H200", 8) == pytest.approx(0.4, rel=2e-3)
    assert estimate_mfu(0.74e9, 1_000.0, None) is None
