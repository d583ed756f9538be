"""Two processes on gloo against one, and against themselves after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pretraining.tiny_runs import (
    STEPS,
    Interrupt,
    make_checkpoint,
    make_config,
    make_data,
    run_ranks,
    tensors,
    train,
)
from vocabkit.core.errors import ConfigError
from vocabkit.pretraining.checkpointing import write_optimizer_state
from vocabkit.pretraining.distributed import World, open_world
from vocabkit.pretraining.run_config import RunConfig

LOSS = {"every": 1, "evaluate_every": 4, "evaluate_rows": 2}
STAGES = [{"train": "embeddings", "share": 0.5, "rate": 2.0}, {"train": "all", "share": 0.5}]


def train_until(data: Path, run: Path, tables: dict[str, Any], step: int) -> None:
    result = train(make_config(**tables), data, run, progress=Interrupt(step))
    # One rank got the signal; both stop.
    assert (result.stopped, result.steps, result.exit_code) == ("signal", step, 143)


def train_twice(folder: Path, tables: dict[str, Any]) -> None:
    """A run in one piece, and one that is stopped on the way."""
    data, config = folder / "data", make_config(**tables)
    train(config, data, folder / "whole")
    train_until(data, folder / "parts", tables, STEPS // 2 - 1)
    train(config, data, folder / "parts")


def read_losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "step"]


def read_drawn(run: Path) -> dict[str, int]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    drawn: dict[str, int] = [line["rows"] for line in lines if line["kind"] == "saved"][-1]
    return drawn


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_run_of_two_ranks_goes_on_bit_for_bit(tmp_path: Path, precision: str) -> None:
    make_data(tmp_path / "data")
    tables: dict[str, Any] = {"log": LOSS, "training": {"precision": precision}, "stages": STAGES}
    run_ranks(2, train_twice, tmp_path, tables)
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert read_losses(tmp_path / "whole") == read_losses(tmp_path / "parts")


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    tables: dict[str, Any] = {"log": LOSS, "training": {"batch_rows": 5}}
    train(make_config(**tables), tmp_path / "data", tmp_path / "one")
    run_ranks(2, train_until, tmp_path / "data", tmp_path / "two", tables, 3)
    train(make_config(**tables), tmp_path / "data", tmp_path / "two")
    assert read_losses(tmp_path / "one") == pytest.approx(read_losses(tmp_path / "two"), rel=1e-5)
    assert read_drawn(tmp_path / "one") == read_drawn(tmp_path / "two")


def train_grown(folder: Path, config: RunConfig, run: Path) -> None:
    train(config, folder / "data", run, checkpoint=folder / "hf")


@pytest.mark.slow
def test_new_rows_train_alike_on_two_ranks(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    first = train(make_config(), tmp_path / "data", tmp_path / "old")
    kept = np.arange(100)
    # In both shards of 64 rows, and more in the one.
    new = [7, 63, 64, 90, 99]
    kept[new] = -1
    start = make_checkpoint(tmp_path / "hf", {}, kept)
    write_optimizer_state(first, start)
    stages = [{"train": "new-rows", "share": 0.5}, {"train": "all", "share": 0.5}]
    config = make_config(stages=stages, save={"every": 4}).model_copy(update={"model": None})
    run_ranks(2, train_grown, tmp_path, config, tmp_path / "two")
    train_grown(tmp_path, config, tmp_path / "one")
    assert read_losses(tmp_path / "one") == pytest.approx(read_losses(tmp_path / "two"), rel=1e-5)
    one, two = tensors(tmp_path / "one", 4), tensors(tmp_path / "two", 4)
    old = torch.from_numpy(np.flatnonzero(kept >= 0))
    for name in ("model.table", "optimizer.exp_avg.table", "optimizer.exp_avg_sq.table"):
        assert torch.equal(one[name][old], two[name][old])
        assert bool(one[name][old].any())
        torch.testing.assert_close(one[name][new], two[name][new], rtol=1e-4, atol=1e-6)
    assert one["optimizer.step.table"] == two["optimizer.step.table"] == STEPS + 4


def raise_on_both(data: Path, run: Path) -> None:
    config = make_config(stages=[{"train": "new-rows", "share": 1.0}])
    with pytest.raises(Exception, match="no receipt"):
        train(config, data, run)
    with open_world("cpu") as world:

        def refuse() -> None:
            raise ConfigError("wrong", "right")

        with pytest.raises(ConfigError, match="wrong") as caught:
            world.on_main(refuse)
        assert caught.value.hint == "right"
        assert world.largest(world.rank, 5 - world.rank) == [1, 5]


@pytest.mark.slow
def test_what_is_wrong_is_raised_on_every_rank(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    run_ranks(2, raise_on_both, tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_process_wraps_nothing() -> None:
    with open_world("cpu") as world:
        assert world == World(0, 1, torch.device("cpu"))
        assert not torch.distributed.is_initialized()
        assert world.largest(3, 4) == [3, 4]
