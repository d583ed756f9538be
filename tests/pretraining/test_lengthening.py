"""Runs that are made longer, against runs that had that length from the start."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cli import app
from tests.pretraining.tiny_runs import (
    STEPS,
    Interrupt,
    make_checkpoint,
    make_config,
    make_data,
    read_log,
    run_ranks,
    tensors,
    train,
)
from vocabkit.core.config import load_config
from vocabkit.core.errors import PretrainingError
from vocabkit.pretraining.checkpointing import (
    find_checkpoint,
    list_checkpoints,
    load_run_model,
    load_seen,
    read_state,
)
from vocabkit.pretraining.run_config import (
    OptimizerSettings,
    RunConfig,
    count_falling_steps,
    count_level_steps,
)
from vocabkit.pretraining.run_folder import Run, identify_run, lengthen_run
from vocabkit.pretraining.run_start import make_plan, pretrain
from vocabkit.pretraining.trainer import PlannedStage, _learning_rate_factor

LONG = 2 * STEPS
UNWARMED = {"schedule": "constant", "warmup": 0.0}


def make_runs(optimizer: dict[str, Any], **tables: Any) -> tuple[RunConfig, RunConfig]:
    """A configuration, and the same of twice the steps."""
    training = tables.pop("training", {})
    return (
        make_config(optimizer=optimizer, training=training, **tables),
        make_config(optimizer=optimizer, training={**training, "steps": LONG}, **tables),
    )


def differing(one: Path, two: Path, step: int | None = None) -> list[str]:
    """Names of the tensors of two runs' checkpoints that are not equal to the bit."""
    first, second = tensors(one, step), tensors(two, step)
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def list_bytes(run: Path) -> dict[str, bytes]:
    """What a run's newest checkpoint holds but for where it stands, which has the time spent."""
    return {path.name: path.read_bytes() for path in find_checkpoint(run).glob("*.safetensors")}


@pytest.mark.parametrize("stopped_at", [3, None])
def test_at_a_constant_rate_a_longer_run_is_the_same_bytes(tmp_path: Path, stopped_at: int | None) -> None:
    make_data(tmp_path / "data")
    short, long = make_runs(UNWARMED)
    stop = {} if stopped_at is None else {"progress": Interrupt(stopped_at)}
    train(short, tmp_path / "data", tmp_path / "run", **stop)
    longer = train(long, tmp_path / "data", tmp_path / "run")
    train(long, tmp_path / "data", tmp_path / "straight")
    assert (longer.stopped, longer.steps, longer.samples) == ("done", LONG, 4 * LONG)
    assert list_bytes(tmp_path / "run") == list_bytes(tmp_path / "straight")
    states = [read_state(find_checkpoint(tmp_path / name)) for name in ("run", "straight")]
    assert states[0].fingerprints == states[1].fingerprints
    assert (states[0].rows, states[0].tokens, states[0].bytes) == (
        states[1].rows, states[1].tokens, states[1].bytes,
    )  # fmt: skip
    assert (tmp_path / "run" / "config.toml").read_bytes() == (
        tmp_path / "straight" / "config.toml"
    ).read_bytes()
    assert Run.load(tmp_path / "run") == longer
    assert longer.epochs == Run.load(tmp_path / "straight").epochs
    # The same command again answers at once, and a shorter one is refused.
    assert train(long, tmp_path / "data", tmp_path / "run") == longer
    with pytest.raises(PretrainingError, match="cannot be made shorter") as caught:
        train(short, tmp_path / "data", tmp_path / "run")
    hint = shlex.split(caught.value.hint, comments=True)
    assert CliRunner().invoke(app, hint[1:]).exit_code == 0


@pytest.mark.parametrize("schedule", ["constant", "trapezoid"])
@pytest.mark.parametrize("stopped_at", [STEPS - 1, None])
def test_a_longer_run_is_the_one_its_configuration_describes(
    tmp_path: Path, schedule: str, stopped_at: int | None
) -> None:
    """Its warm-up was made when it was shorter: as many steps are a smaller share."""
    make_data(tmp_path / "data")
    short, long = make_runs({"schedule": schedule, "warmup": 0.25})
    stop = {} if stopped_at is None else {"progress": Interrupt(stopped_at)}
    train(short, tmp_path / "data", tmp_path / "run", **stop)
    at_end = None if stopped_at else tensors(tmp_path / "run")
    train(long, tmp_path / "data", tmp_path / "run")
    described = load_config(RunConfig, tmp_path / "run" / "config.toml")
    assert described.optimizer.warmup == 0.125
    assert described.training.steps == LONG
    train(described, tmp_path / "data", tmp_path / "straight")
    assert differing(tmp_path / "run", tmp_path / "straight") == []
    if schedule == "trapezoid" and at_end is not None:
        # The end of the shorter run was a model of its own: it is kept, and exported by its step.
        aside = tensors(tmp_path / "run", STEPS)
        assert all(torch.equal(aside[name], at_end[name]) for name in at_end)
        assert load_run_model(Run.load(tmp_path / "run"), STEPS)[1] == STEPS
    rates = {line["step"]: line["lr"] for line in read_log(tmp_path / "run") if line["kind"] == "step"}
    straight = {line["step"]: line["lr"] for line in read_log(tmp_path / "straight") if line["kind"] == "step"}
    assert rates == straight


def test_a_run_is_made_longer_twice_and_from_its_own_folder(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    run = tmp_path / "run"
    train(make_config(), data, run)
    for steps in (LONG, 3 * STEPS):
        found = pretrain(run, data, run, settings=[f"training.steps={steps}"], device="cpu")
        assert isinstance(found, Run)
        assert found.steps == steps
    described = load_config(RunConfig, run / "config.toml")
    train(described, data, tmp_path / "straight")
    assert differing(run, tmp_path / "straight") == []
    # By the configuration it began with, too.
    assert train(make_config(training={"steps": 3 * STEPS}), data, run).steps == 3 * STEPS


@pytest.mark.parametrize("schedule", ["cosine", "linear", "trapezoid"])
def test_a_rate_that_fell_cannot_be_made_longer(tmp_path: Path, schedule: str) -> None:
    data = make_data(tmp_path / "my data").folder
    run = tmp_path / "my run"
    short, long = make_runs({"schedule": schedule}, save={"before_decay": False})
    train(short, data, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(PretrainingError) as caught:
        train(long, data, run)
    assert "constant can be made longer, and trapezoid from before it falls" in caught.value.message
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    plan = make_plan(long, data, run, dry_run=True)
    assert any("would be refused" in line and "constant" in line for line in plan.warnings)
    assert shlex.split(caught.value.hint, comments=True)[:3] == ["vocabkit", "export", str(run)]


def test_a_rate_that_has_not_fallen_yet_can_whatever_its_shape(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    short, long = make_runs({"schedule": "cosine", "warmup": 0.5})
    train(short, data, tmp_path / "run", progress=Interrupt(4))
    train(long, data, tmp_path / "run")
    train(load_config(RunConfig, tmp_path / "run" / "config.toml"), data, tmp_path / "straight")
    assert differing(tmp_path / "run", tmp_path / "straight") == []


def test_what_would_have_been_another_run_is_refused_by_name(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    stages = [{"train": "embeddings", "share": 0.5}, {"train": "all", "share": 0.5}]
    for name, tables, said in (
        ("stages", {"stages": stages}, "its stages are shares of the run"),
        ("unimax", {"languages": {"weighting": "unimax", "max_epochs": 0.5}}, "'unimax' shares out the text"),
    ):
        short, long = make_runs(UNWARMED, **tables)
        run = tmp_path / name
        train(short, data, run)
        with pytest.raises(PretrainingError, match=said):
            train(long, data, run)
    short, long = make_runs(UNWARMED)
    run = tmp_path / "run"
    train(short, data, run)
    other = make_data(tmp_path / "other", seed=1).folder
    with pytest.raises(PretrainingError, match="the prepared data is another"):
        train(long, other, run)
    wider = make_data(tmp_path / "wider", vocabulary=101).folder
    with pytest.raises(PretrainingError, match="the prepared data is another"):
        train(long, wider, run)
    fast = long.model_copy(update={"optimizer": long.optimizer.model_copy(update={"rate": 0.5})})
    with pytest.raises(PretrainingError, match=r"optimizer\.rate was 0\.01, now 0\.5$"):
        train(fast, data, run)
    late = long.model_copy(update={"optimizer": long.optimizer.model_copy(update={"warmup": 0.5})})
    with pytest.raises(PretrainingError, match=r"optimizer\.warmup was 0\.0, now 0\.5$"):
        train(late, data, run)
    assert Run.load(run).steps == STEPS


def test_a_process_killed_while_it_made_a_run_longer_loses_nothing(tmp_path: Path) -> None:
    """After run.json says how long it is now, and before anything else does."""
    data = make_data(tmp_path / "data").folder
    short, long = make_runs({"schedule": "trapezoid", "warmup": 0.25})
    run = tmp_path / "run"
    train(short, data, run)
    plan = make_plan(long, data, run, device="cpu")
    assert plan.lengthens == STEPS
    assert plan.corpus is not None
    lengthen_run(plan, identify_run(plan.config, plan.corpus, None))
    assert list_checkpoints(run)[-1] == STEPS
    assert Run.load(run).stopped == "done"  # by its log, until it goes on
    train(long, data, run)
    train(load_config(RunConfig, run / "config.toml"), data, tmp_path / "straight")
    assert differing(run, tmp_path / "straight") == []
    assert Run.load(run).epochs == Run.load(tmp_path / "straight").epochs


def test_a_longer_run_that_is_stopped_goes_on_with_the_same_command(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    short, long = make_runs({"schedule": "trapezoid"})
    run = tmp_path / "run"
    train(short, data, run)
    # It went back to step 7, and is stopped before and after the step at which the shorter one ended.
    for done in (STEPS, STEPS + 2):
        assert train(long, data, run, progress=Interrupt(done)).steps == done
    train(long, data, run)
    train(load_config(RunConfig, run / "config.toml"), data, tmp_path / "straight")
    assert differing(run, tmp_path / "straight") == []
    seen = [load_seen(find_checkpoint(folder)) for folder in (run, tmp_path / "straight")]
    assert all((seen[0][name] == seen[1][name]).all() for name in seen[0])


def test_a_run_from_a_checkpoint_is_made_longer_without_it(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    start = make_checkpoint(tmp_path / "hf", {"layout": "llama"})
    short, long = (config.model_copy(update={"model": None}) for config in make_runs(UNWARMED))
    train(long, data, tmp_path / "straight", checkpoint=start)
    train(short, data, tmp_path / "run", checkpoint=start)
    shutil.rmtree(start)
    train(long, data, tmp_path / "run")
    assert differing(tmp_path / "run", tmp_path / "straight") == []
    assert Run.load(tmp_path / "run").baseline == Run.load(tmp_path / "straight").baseline


@pytest.mark.slow
def test_a_length_in_tokens_grows_as_one_in_steps(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    short, long = (
        make_config(optimizer=UNWARMED, training={"steps": None, "tokens": tokens}) for tokens in (500, 900)
    )
    train(short, data, tmp_path / "run")
    longer = train(long, data, tmp_path / "run")
    train(long, data, tmp_path / "straight")
    assert longer.steps > Run.load(tmp_path / "straight").steps - 1 > STEPS
    assert differing(tmp_path / "run", tmp_path / "straight") == []


def train_both(folder: Path, short: RunConfig, long: RunConfig) -> None:
    train(short, folder / "data", folder / "two")
    train(long, folder / "data", folder / "two")


def lengthen(folder: Path, long: RunConfig) -> None:
    train(long, folder / "data", folder / "one")


@pytest.mark.slow
def test_two_ranks_make_a_run_longer_their_own_and_one_ranks(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    short, long = make_runs({"schedule": "trapezoid", "warmup": 0.25})
    run_ranks(2, train_both, tmp_path, short, long)
    train(short, tmp_path / "data", tmp_path / "one")
    run_ranks(2, lengthen, tmp_path, long)
    described = load_config(RunConfig, tmp_path / "two" / "config.toml")
    train(described, tmp_path / "data", tmp_path / "straight")
    losses = [
        {line["step"]: line["loss"] for line in read_log(tmp_path / name) if line["kind"] == "step"}
        for name in ("one", "two", "straight")
    ]
    assert len(losses[2]) == LONG
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)
    assert losses[1] == pytest.approx(losses[2], rel=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "trapezoid", "linear", "cosine"])
@pytest.mark.parametrize("final", [0.0, 0.3, 1.0])
def test_level_steps_are_those_whose_rate_is_any_longer_runs(schedule: Any, final: float) -> None:
    """Against the rates themselves, of a run of 40 steps and longer ones."""
    ramp = 6
    settings = [
        OptimizerSettings(schedule=schedule, final=final, decay=0.3, warmup=ramp / steps)
        for steps in (40, 57, 400)
    ]
    rates = []
    for each, steps in zip(settings, (40, 57, 400), strict=True):
        stages = (PlannedStage("all", 0, steps),)
        rates.append([_learning_rate_factor(each, stages, step, steps) for step in range(40)])
    equal = 0
    while equal < 40 and len({row[equal] for row in rates}) == 1:
        equal += 1
    assert count_level_steps(settings[0], ramp, 40) == equal
    assert (count_falling_steps(settings[0], ramp, 40) == 0) == (schedule == "constant")
