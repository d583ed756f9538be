"""Costs against the table they were planned by, and against what the model really allocates."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vocabkit.core.errors import ConfigError
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.plan import (
    _PUBLISHED,
    _count_flops,
    _count_parameters,
    _estimate_memory,
    estimate_mfu,
    identify_device,
    measure_cpu,
    parse_device,
    plan_run,
)
from vocabkit.pretraining.run_config import ModelConfig, RunConfig, TrainingSettings

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
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A100-SXM-64GB", 312e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("Something Else", None),
    ],
)
def test_peaks_by_name(name: str, peak: float | None) -> None:
    found = identify_device(name, 123)
    assert (found.peak, found.source) == (peak, "published")
    assert found.memory == 123  # what the machine says itself


def test_mfu_is_none_where_no_peak_is_known() -> None:
    device = identify_device("NVIDIA H200")
    assert device.memory == 141 * 10**9
    assert estimate_mfu(0.74e9, 535_000.0, device) == pytest.approx(0.4, rel=2e-3)
    assert estimate_mfu(0.74e9, 8 * 535_000.0, device, 8) == pytest.approx(0.4, rel=2e-3)
    assert estimate_mfu(0.74e9, 1_000.0, None) is None
    assert estimate_mfu(0.74e9, 1_000.0, identify_device("NVIDIA L40")) is None


@pytest.mark.parametrize("text", ["h200", "H200:8", "a100-80gb:4", "A100_80GB:4", "rtx 4090:2"])
def test_a_device_is_asked_for_by_name_and_number(text: str) -> None:
    device, count = parse_device(text)
    assert device.name in _PUBLISHED
    assert count == int(text.partition(":")[2] or 1)
    assert (device.memory, device.peak) == (
        _PUBLISHED[device.name][0] * 10**9,
        _PUBLISHED[device.name][1] * 1e12,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("h300", "did you mean h200 or h100"),
        ("a100", "did you mean a100-80gb or a100-40gb"),
        ("h200:0", "'0' is no number"),
        ("h200:-1", "'-1' is no number"),
        ("h200:", "'' is no number"),
        ("h200:٣", "is no number"),
        ("h200:99999999999", "is no number"),
        ("cpu:4", "Known are cpu"),
        ("", "Known are cpu"),
    ],
)
def test_another_device_is_refused_with_the_nearest(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_device(text)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_the_page_lists_the_devices_as_they_are_looked_up() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pretrain.md").read_text(encoding="utf-8")
    cells = re.findall(r"\| `([a-z0-9-]+)` \| (\d+) \| ([\d,]+) (?=\|)", page)
    listed = {name: (int(size), int(peak.replace(",", ""))) for name, size, peak in cells}
    assert listed == _PUBLISHED


def test_a_cpu_is_measured_not_looked_up() -> None:
    found = measure_cpu()
    assert found.source == "measured"
    assert found.peak is not None
    assert 1e8 < found.peak < 1e15
    assert found.memory is None or found.memory > 1e8


@pytest.mark.parametrize("config", [SMALL, MEDIUM, LARGE, LARGEST], ids=["s", "m", "l", "l+"])
@pytest.mark.parametrize("text", ["rtx-4090", "a100-40gb", "a100-80gb:4", "h200", "h200:8"])
def test_what_would_fit_does(config: ModelConfig, text: str) -> None:
    """The remedy that a plan names is planned again with."""
    device, world = parse_device(text)
    training = TrainingSettings(batch_rows=2_048, micro_rows=256, steps=10)
    run = RunConfig(training=training)
    plan = plan_run(run, None, config, world, device=device)
    assert device.memory is not None
    (row,) = [row for row in plan.to_rows() if row["name"] == "fits"]
    assert row["value"] == plan.fits == (plan.memory.total <= 0.9 * device.memory)
    note = str(row["note"])
    if plan.fits:
        assert "would fit" not in note
        return
    keys: dict[str, object] = dict(re.findall(r"--set training\.(\w+)=(\w+)", note))
    more = re.search(r"(\d+) devices", note)
    changed = TrainingSettings.model_validate({**training.model_dump(), **keys})
    again = RunConfig(training=changed)
    remedied = plan_run(again, None, config, int(more[1]) if more else world, device=device)
    assert remedied.fits, note
    if "micro_rows" in keys and not more:
        # No more change than is needed: twice as many rows would not fit.
        twice = changed.model_copy(update={"micro_rows": 2 * changed.micro_rows})
        assert not plan_run(RunConfig(training=twice), None, config, world, device=device).fits


def test_a_plan_speaks_in_units_that_people_use() -> None:
    device, world = parse_device("h200:8")
    run = RunConfig(training=TrainingSettings(batch_rows=2_048, micro_rows=64, tokens=10**11))
    plan = plan_run(run, None, SMALL, world, device=device)
    rows = {(row["part"], row["name"]): (row["value"], str(row["note"])) for row in plan.to_rows()}
    assert rows["run", "rows a step and device"] == (256, "64 at a time (training.micro_rows)")
    assert rows["GB of memory", "total"][0] == pytest.approx(plan.memory.total / 1e9)
    assert plan.seconds is not None
    hours, said = rows["time", "hours"]
    # By hand: 0.74 GFLOP × 10¹¹ tokens ÷ (8 × 989 TFLOP/s × 0.4).
    assert hours == pytest.approx(0.740013264e9 * plan.positions / (8 * 989e12 * 0.4) / 3600)
    assert rows["time", "device hours"][0] == pytest.approx(8 * float(str(hours)))
    assert "8 × h200, at an assumed 40 % of 989 TFLOP/s (bf16, published)" in said
    assert said.startswith("6 h 30 min on")
    assert rows["run", "tokens"] == (plan.positions, "places of rows; of text is known with --data")
