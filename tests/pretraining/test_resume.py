"""Runs that are stopped, killed and taken up again, against runs that were left alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pretraining.prepared_rows import write_rows
from tests.pretraining.tiny_runs import (
    STEPS,
    Interrupt,
    make_checkpoint,
    make_config,
    make_data,
    read_log,
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
from vocabkit.pretraining.run_config import RunConfig
from vocabkit.pretraining.run_folder import Run

LAYOUTS: list[dict[str, Any]] = [
    {"model": {"layout": "xlmr"}},
    {"model": {"layout": "modern", "global_every": 2, "local_window": 4}},
    {"model": {"layout": "llama", "kv_heads": 1, "tied": False}},
    {"training": {"precision": "bf16", "activation_checkpointing": True}},
]


def figures(run: Path) -> list[tuple[Any, ...]]:
    """What a log says of each step, times left out."""
    names = ("step", "loss", "loss_smoothed", "lr", "grad_norm", "languages")
    return [tuple(line[name] for name in names) for line in read_log(run) if line["kind"] == "step"]


@pytest.mark.parametrize("tables", LAYOUTS)
def test_n_and_n_more_steps_are_2n_steps_bit_for_bit(tmp_path: Path, tables: dict[str, Any]) -> None:
    make_data(tmp_path / "data")
    config = make_config(**tables)
    train(config, tmp_path / "data", tmp_path / "whole")
    half = train(config, tmp_path / "data", tmp_path / "parts", progress=Interrupt(STEPS // 2))
    assert (half.stopped, half.signal, half.steps) == ("signal", signal.SIGTERM, STEPS // 2)
    rest = train(config, tmp_path / "data", tmp_path / "parts")
    assert (rest.stopped, rest.steps) == ("done", STEPS)
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    assert figures(tmp_path / "whole") == figures(tmp_path / "parts")
    folders = [find_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    states = [read_state(folder) for folder in folders]
    assert states[0].tokens == states[1].tokens
    assert states[0].bytes == states[1].bytes
    assert sum(states[0].rows.values()) == states[0].samples == STEPS * 4
    one, two = (load_seen(folder) for folder in folders)
    assert all((one[name] == two[name]).all() for name in ("input", "target"))
    assert one["input"].any()


def test_a_run_goes_on_bit_for_bit_in_another_process(tmp_path: Path) -> None:
    """Where sets of words have another order, as every process has unless told: norms are sums."""
    make_data(tmp_path / "data")
    config, script = (
        make_config(),
        """
from pathlib import Path
from tests.pretraining.tiny_runs import Interrupt, make_config, train
train(make_config(), Path("data"), Path("run"), progress=Interrupt({step}))
""",
    )
    train(config, tmp_path / "data", tmp_path / "whole")
    for place, step in enumerate((3, STEPS + 1)):
        process = run_script(script.format(step=step), tmp_path, PYTHONHASHSEED=str(place + 1))
        assert process.wait(60) == 0
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "run")
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    assert figures(tmp_path / "whole") == figures(tmp_path / "run")


def test_free_keys_may_change_between_two_parts(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    train(make_config(), data, tmp_path / "run", progress=Interrupt(3))
    changed = make_config(save={"every": 1, "keep": 3}, training={"micro_rows": 1}, log={"every": 2})
    assert train(changed, data, tmp_path / "run").stopped == "done"
    assert list_checkpoints(tmp_path / "run") == [STEPS - 2, STEPS - 1, STEPS]
    train(make_config(), data, tmp_path / "whole")
    one, two = (figures(tmp_path / name)[-1][1] for name in ("run", "whole"))
    assert one == pytest.approx(two, rel=1e-5)
    assert "micro_rows = 1" in (tmp_path / "run" / "config.toml").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_every_stopping_signal_saves_and_says_so(tmp_path: Path, number: int) -> None:
    data = make_data(tmp_path / "data").folder
    result = train(make_config(), data, tmp_path / "run", progress=Interrupt(2, number))
    assert (result.stopped, result.signal, result.exit_code) == ("signal", number, 128 + number)
    assert list_checkpoints(tmp_path / "run") == [2]
    assert signal.getsignal(number) not in (None, signal.SIG_IGN)


def test_a_signal_during_an_evaluation_saves_too(tmp_path: Path) -> None:
    # 4,000 batches of one row: seconds in which the signal arrives.
    write_rows(tmp_path / "data", {"eng_Latn": (60, 4000)}, length=16, vocabulary=100)
    script = """
import sys
from pathlib import Path
from tests.pretraining.tiny_runs import make_config, train
log = {"evaluate_every": 3, "evaluate_rows": 4000}
result = train(make_config(log=log, training={"micro_rows": 1}), Path("data"), Path("run"))
assert (result.stopped, result.steps, result.evaluation) == ("signal", 3, None), result
sys.exit(result.exit_code)
"""
    process = run_script(script, tmp_path)
    log = tmp_path / "run" / "log.jsonl"
    while process.poll() is None and not (log.is_file() and '"step": 3' in log.read_text()):
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == 143
    assert list_checkpoints(tmp_path / "run") == [3]
    assert read_log(tmp_path / "run")[-1]["why"] == "signal"


def test_an_evaluation_that_a_signal_kept_back_is_made_up_for(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    config = make_config(log={"evaluate_every": 4, "evaluate_rows": 1})
    train(config, data, tmp_path / "whole")
    stopped = train(config, data, tmp_path / "parts", progress=Interrupt(4))
    assert (stopped.steps, stopped.evaluation) == (4, None)
    train(config, data, tmp_path / "parts")
    found = [
        [line for line in read_log(tmp_path / name) if line["kind"] == "evaluation"]
        for name in ("whole", "parts")
    ]
    assert found[0] == found[1]
    assert [line["step"] for line in found[0]] == [0, 4, STEPS]


def test_a_process_killed_while_saving_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    config = make_config(training={"steps": 400}, save={"every": 1}, log={"every": 100})
    script = """
from pathlib import Path
from tests.pretraining.tiny_runs import make_config, train
config = make_config(training={"steps": 400}, save={"every": 1}, log={"every": 100})
train(config, Path("data"), Path("run"))
"""
    process = run_script(script, tmp_path)
    checkpoints = tmp_path / "run" / "checkpoints"
    # Killed as soon as a checkpoint is half written, with complete ones beside it.
    while process.poll() is None:
        if list(checkpoints.glob("*.tmp/*")) and len(list_checkpoints(tmp_path / "run")) > 1:
            process.kill()
        time.sleep(0.0005)
    assert process.returncode == -signal.SIGKILL
    steps = list_checkpoints(tmp_path / "run")
    killed = Run.load(tmp_path / "run")
    assert killed.stopped is None
    model, found = load_run_model(killed)
    assert found == steps[-1]
    assert all(bool(torch.isfinite(value).all()) for value in model.parameters())
    first = list_checkpoints(tmp_path / "run")[-1]
    result = train(config, tmp_path / "data", tmp_path / "run", progress=Interrupt(first + 2))
    assert result.steps == first + 2
    assert list((tmp_path / "run" / "checkpoints").glob("*.tmp")) == []


def run_script(script: str, folder: Path, **more: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", **more},
    )


def test_a_checkpoint_is_written_every_so_many_minutes(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    config = make_config(save={"minutes": 1e-9, "keep": 3})
    train(config, data, tmp_path / "run")
    assert list_checkpoints(tmp_path / "run") == [STEPS - 2, STEPS - 1, STEPS]


def test_a_run_needs_the_checkpoint_it_began_with_no_more(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    start = make_checkpoint(tmp_path / "hf", {"layout": "llama"})
    config = make_config().model_copy(update={"model": None})
    train(config, data, tmp_path / "whole", checkpoint=start)
    train(config, data, tmp_path / "run", checkpoint=start, progress=Interrupt(3))
    other = make_checkpoint(tmp_path / "other", {"layout": "llama", "width": 32})
    with pytest.raises(PretrainingError, match="the checkpoint to start from is another"):
        train(config, data, tmp_path / "run", checkpoint=other)
    shutil.rmtree(start)
    # A preset's own shape says nothing here.
    assert train(make_config(), data, tmp_path / "run").stopped == "done"
    assert load_config(RunConfig, tmp_path / "run" / "config.toml") == config
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")
