"""Stages in steps, the learning rate of every step, and what an extension's receipt says."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from vocabkit.checkpoints.receipt import grow_rows, read_kept
from vocabkit.core.errors import CheckpointError, ConfigError, PretrainingError
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.run_config import ModelConfig, OptimizerSettings, Stage
from vocabkit.pretraining.trainer import (
    Optimizer,
    PlannedStage,
    _find_stage,
    _learning_rate_factor,
    plan_stages,
    require_new_rows,
)

THREE = (
    Stage(train="new-rows", share=0.2, rate=2.0),
    Stage(train="embeddings", share=0.3),
    Stage(train="all", share=0.5, rate=0.5),
)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(200, 5_000))
def test_stages_follow_each_other_to_the_last_step(weights: list[int], steps: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    planned = plan_stages([Stage(train="all", share=share) for share in shares], steps)
    assert planned[0].first == 0
    assert planned[-1].stop == steps
    for before, after in itertools.pairwise(planned):
        assert before.stop == after.first
    for stage, share in zip(planned, shares, strict=True):
        assert abs((stage.stop - stage.first) - share * steps) <= 1.0
        assert _find_stage(planned, stage.first) == _find_stage(planned, stage.stop - 1) == stage


def test_a_run_without_stages_trains_everything() -> None:
    assert plan_stages((), 7) == (PlannedStage("all", 0, 7),)


def test_a_stage_of_less_than_a_step_is_refused() -> None:
    stages = (Stage(train="embeddings", share=0.01), Stage(train="all", share=0.99))
    with pytest.raises(ConfigError, match=r"stages\[0\].share = 0.01: less than one of 20 steps"):
        plan_stages(stages, 20)


def test_new_rows_need_a_receipt() -> None:
    planned = plan_stages(THREE, 100)
    require_new_rows(planned, torch.tensor([4]))
    require_new_rows(plan_stages((), 100), None)
    for rows in (None, torch.zeros(0, dtype=torch.int64)):
        with pytest.raises(PretrainingError, match="no receipt"):
            require_new_rows(planned, rows)


def test_the_vocabularys_parameters_are_found_by_what_they_are() -> None:
    shape = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8}
    for tied, expected in ((True, {"table"}), (False, {"table", "output_table"})):
        masked = Model(ModelConfig("modern", 40, tied=tied, **shape), seed=None)
        assert Optimizer(masked, OptimizerSettings()).by_row == expected | {"output_bias"}
        causal = Model(ModelConfig("llama", 40, tied=tied, **shape), seed=None)
        assert Optimizer(causal, OptimizerSettings()).by_row == expected


def test_each_stage_rises_to_its_own_rate() -> None:
    settings = OptimizerSettings(schedule="constant", warmup=0.1)
    planned = plan_stages(THREE, 100)
    factors = [_learning_rate_factor(settings, planned, step, 100) for step in range(100)]
    assert factors[:3] == [1.0, 2.0, 2.0]  # two steps of ramp
    assert factors[20:24] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert factors[50:56] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert factors[99] == 0.5


def test_shapes_of_the_schedule() -> None:
    planned = plan_stages((), 100)

    def factor(step: int, **keys: object) -> float:
        settings = OptimizerSettings.model_validate({"warmup": 0.1, "final": 0.2, **keys})
        return _learning_rate_factor(settings, planned, step, 100)

    assert [factor(step) for step in (0, 9, 10, 79, 80)] == pytest.approx([0.1, 1, 1, 1, 1])
    assert factor(90) == pytest.approx(0.2 + 0.8 * 0.5)
    assert factor(99) == pytest.approx(0.2 + 0.8 * 0.05)
    assert factor(90, decay=0.0) == 1.0
    assert factor(55, schedule="linear") == pytest.approx(0.2 + 0.8 * 0.5)
    assert factor(55, schedule="cosine") == pytest.approx(0.2 + 0.8 * 0.5)
    quarter = 0.5 * (1 + math.cos(math.pi / 4))
    assert factor(10 + 90 // 4, schedule="cosine") == pytest.approx(0.2 + 0.8 * quarter, abs=0.01)


@given(
    st.sampled_from(["trapezoid", "cosine", "linear", "constant"]),
    st.floats(0.0, 0.5),
    st.floats(0.0, 1.0),
    st.integers(1, 300),
)
def test_factors_stay_between_zero_and_one_and_end_low(
    schedule: str, warmup: float, decay: float, steps: int
) -> None:
    settings = OptimizerSettings.model_validate(
        {"schedule": schedule, "warmup": warmup, "decay": decay, "final": 0.0}
    )
    planned = plan_stages((), steps)
    factors = [_learning_rate_factor(settings, planned, step, steps) for step in range(steps)]
    assert all(0.0 < factor <= 1.0 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def write_receipt(folder: Path, kept: list[int], schema: int = 1) -> Path:
    (folder / "extension").mkdir(parents=True)
    (folder / "extension" / "receipt.json").write_text(json.dumps({"schema": schema}))
    save_file({"kept": np.array(kept, np.int64)}, folder / "extension" / "rows.safetensors")
    return folder


def test_the_receipt_tells_new_rows_and_grows_a_state(tmp_path: Path) -> None:
    kept = read_kept(write_receipt(tmp_path, [2, -1, 0, -1]))
    assert kept is not None
    assert kept.tolist() == [2, -1, 0, -1]
    old = np.array([[1.0, 1.5], [2.0, 2.5], [3.0, 3.5]], np.float32)
    grown = grow_rows(old, kept, 6)
    assert grown.tolist() == [[3.0, 3.5], [0, 0], [1.0, 1.5], [0, 0], [0, 0], [0, 0]]
    assert grow_rows(old[:, 0], kept, 4).tolist() == [3.0, 0.0, 1.0, 0.0]
    with pytest.raises(CheckpointError, match="of 2 rows: the receipt keeps id 2"):
        grow_rows(old[:2], kept, 6)


def test_a_receipt_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert read_kept(tmp_path) is None
    with pytest.raises(CheckpointError, match="schema 9"):
        read_kept(write_receipt(tmp_path / "later", [0], schema=9))
    damaged = write_receipt(tmp_path / "damaged", [0])
    (damaged / "extension" / "rows.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"rows\.safetensors"):
        read_kept(damaged)
    (damaged / "extension" / "receipt.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"receipt\.json: not JSON"):
        read_kept(damaged)
