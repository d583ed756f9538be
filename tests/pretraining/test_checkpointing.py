"""Checkpoints on disk: complete or not there, kept or removed, read whole or named where they cannot be."""

from __future__ import annotations

import pickle
import random
import resource
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.pretraining.tiny_runs import Interrupt, make_checkpoint, make_config, make_data, tensors, train
from vocabkit.core.errors import PretrainingError, VocabkitError
from vocabkit.pretraining.checkpointing import (
    RunState,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_optimizer_state,
    load_run_model,
    load_seen,
    read_state,
    remove_unfinished,
    save_checkpoint,
    write_optimizer_state,
)
from vocabkit.pretraining.distributed import World
from vocabkit.pretraining.exporting import export_run
from vocabkit.pretraining.run_config import OptimizerSettings
from vocabkit.pretraining.run_folder import Run, _fingerprint_checkpoint
from vocabkit.pretraining.trainer import Optimizer
from vocabkit.pretraining.transformers_format import load_model, write_hf

ALONE = World(0, 1, torch.device("cpu"))


def save(run: Path, step: int, *, keep: int = 2) -> Path:
    state = RunState(step, 9, 4 * step, 1, {"a": step}, {"a": 2}, {"a": 3}, 0.5, {"config": "c"})
    held = {"model.x": torch.full((3, 2), float(step)), "count": torch.tensor(step)}
    seen = {"input": np.arange(4) < step, "target": np.zeros(4, np.bool_)}
    return save_checkpoint(run, held, state, seen, ALONE, keep=keep)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    folder = save(tmp_path, 3)
    assert folder == find_checkpoint(tmp_path) == find_checkpoint(tmp_path, 3)
    into = {"model.x": torch.zeros(3, 2), "count": torch.tensor(0)}
    load_checkpoint(folder, into, ALONE)
    assert into["model.x"].tolist() == [[3.0, 3.0]] * 3
    assert into["count"] == 3
    state = read_state(folder)
    assert (state.step, state.samples, state.rows) == (3, 12, {"a": 3})
    assert load_seen(folder)["input"].tolist() == [True, True, True, False]


def test_the_newest_are_kept_and_only_complete_ones_count(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path) == []
    with pytest.raises(PretrainingError, match="no complete checkpoint"):
        find_checkpoint(tmp_path)
    for step in (9, 10, 100):
        save(tmp_path, step)
    assert list_checkpoints(tmp_path) == [10, 100]
    half = tmp_path / "checkpoints" / "step-00000200.tmp"
    shutil.copytree(find_checkpoint(tmp_path), half)
    lost = tmp_path / "checkpoints" / "step-00000300"
    shutil.copytree(half, lost)
    (lost / "state.json").unlink()
    assert find_checkpoint(tmp_path).name == "step-00000100"
    with pytest.raises(PretrainingError, match="no checkpoint of step 200"):
        find_checkpoint(tmp_path, 200)
    remove_unfinished(tmp_path, 9)
    assert not half.exists()
    # A folder that never became complete gives way.
    save(tmp_path, 300)
    assert list_checkpoints(tmp_path) == [100, 300]


class _Stopped(Exception):
    pass


def test_a_removal_cut_short_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    """Stopped before each of its calls of the system in turn, as by a kill: whole or gone."""
    left: list[int] = []

    def stop(event: str, _: object) -> None:
        if left and event in ("os.rename", "os.remove", "os.rmdir"):
            left[0] -= 1
            if left[0] < 0:
                left.clear()
                raise _Stopped

    sys.addaudithook(stop)  # for good: it does nothing but in the lines below
    save(tmp_path, 1, keep=1)
    whole = sorted(path.name for path in find_checkpoint(tmp_path).iterdir())
    stops = 0
    for step in range(2, 20):
        left.append(step - 2)
        try:
            save(tmp_path, step, keep=1)
        except (_Stopped, PretrainingError):  # the second where torch was writing
            stops += 1
        left.clear()
        assert list_checkpoints(tmp_path)
        for found in list_checkpoints(tmp_path):
            held = find_checkpoint(tmp_path, found)
            assert sorted(path.name for path in held.iterdir()) == whole
    assert 5 < stops < 18
    remove_unfinished(tmp_path, 1)
    left_over = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert len(left_over) == len(list_checkpoints(tmp_path)) == 1


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    save(tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # bytes a file
    try:
        with pytest.raises(PretrainingError, match=r"step-00000002\.tmp: cannot be written"):
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list_checkpoints(tmp_path) == [1]


def test_a_step_is_saved_once(tmp_path: Path) -> None:
    folder = save(tmp_path, 3)
    before = (folder / "state.json").stat().st_mtime_ns
    assert save(tmp_path, 3) == folder
    assert (folder / "state.json").stat().st_mtime_ns == before


def test_tensors_of_another_model_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    with pytest.raises(PretrainingError, match=r"model\.x has shape \[3, 2\], expected \[4, 2\]"):
        load_checkpoint(folder, {"model.x": torch.zeros(4, 2)}, ALONE)
    with pytest.raises(PretrainingError, match=r"model\.y is absent, expected \[1\]"):
        load_checkpoint(folder, {"model.y": torch.zeros(1)}, ALONE)
    data = folder / "rank-00000.safetensors"
    data.write_bytes(data.read_bytes()[:40])
    for verify, message in ((True, "was changed since it was written"), (False, "cannot be read")):
        with pytest.raises(PretrainingError, match=message) as caught:
            load_checkpoint(folder, {"model.x": torch.zeros(3, 2)}, ALONE, verify=verify)
        assert "remove this folder" in str(caught.value.hint)


def test_the_model_of_a_run_is_read_for_export(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    config = make_config(save={"every": 3, "keep": 5})
    run = train(config, tmp_path / "data", tmp_path / "run")
    assert (run.encoding, list(run.epochs)) == ("union", ["eng_Latn", "yor_Latn"])
    for step, expected in ((None, 8), (3, 3)):
        model, found = load_run_model(run, step)
        assert found == expected
        held = tensors(tmp_path / "run", step)
        for name, value in model.named_parameters():
            assert value.dtype == torch.float32
            assert torch.equal(value, held[f"model.{name}"])
    with pytest.raises(PretrainingError, match="not the folder of a run"):
        Run.load(tmp_path / "data")


@pytest.mark.parametrize("layout", ["xlmr", "llama"])
def test_the_optimisers_state_travels_with_the_model(tmp_path: Path, layout: str) -> None:
    make_data(tmp_path / "data")
    model = {"layout": layout, "tied": layout == "xlmr"}
    run = train(make_config(model=model), tmp_path / "data", tmp_path / "run")
    trained, _ = load_run_model(run)
    write_hf(trained, tmp_path / "hf", None)
    write_optimizer_state(run, tmp_path / "hf")
    held = tensors(tmp_path / "run")
    again = load_model(tmp_path / "hf")
    optimizer = Optimizer(again, OptimizerSettings())
    assert load_optimizer_state(tmp_path / "hf", optimizer, again.config)
    for name, value in optimizer.tensors().items():
        assert torch.equal(value, held[f"optimizer.{name}"])
    assert bool(optimizer.means["table"].any())

    # The vocabulary grew: 40 ids went, 40 new ones came, and all have other numbers.
    kept = np.full(100, -1)
    kept[:60] = np.arange(99, 39, -1)
    grown = make_checkpoint(tmp_path / "grown", model, kept)
    shutil.copy(tmp_path / "hf" / "optimizer.safetensors", grown)
    target = load_model(grown)
    moments = Optimizer(target, OptimizerSettings())
    assert load_optimizer_state(grown, moments, target.config)
    for name in moments.by_row:
        assert torch.equal(moments.means[name][:60], optimizer.means[name][kept[:60]])
        assert not moments.means[name][60:].any()
    assert torch.equal(moments.squares["layers.0.qkv.weight"], optimizer.squares["layers.0.qkv.weight"])


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "hf", {"layout": "llama"})
    model = load_model(folder)
    optimizer = Optimizer(model, OptimizerSettings())
    assert not load_optimizer_state(folder, optimizer, model.config)
    save_file({"exp_avg.x": torch.zeros(1)}, folder / "optimizer.safetensors")
    with pytest.raises(PretrainingError, match=r"optimizer\.safetensors"):
        load_optimizer_state(folder, optimizer, model.config)


def test_a_run_may_start_from_an_exported_one_with_its_state(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    run = train(make_config(), data, tmp_path / "first", progress=Interrupt(4))
    model, _ = load_run_model(run)
    write_hf(model, tmp_path / "hf", None)
    write_optimizer_state(run, tmp_path / "hf")
    config = make_config(training={"steps": 1}).model_copy(update={"model": None})
    train(config, data, tmp_path / "next", checkpoint=tmp_path / "hf")
    assert tensors(tmp_path / "next")["optimizer.step.table"] == 5
    held = load_file(tmp_path / "hf" / "optimizer.safetensors")
    assert held["exp_avg.roberta.embeddings.word_embeddings.weight"].shape == (100, 16)


# --- Files of others -------------------------------------------------------------------------------


class _Hostile:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import pathlib; pathlib.Path('ran').write_text('code')",)


def test_a_pickle_in_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the format of earlier versions, and in the place of every file of a run."""
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "data")
    run = train(make_config(training={"steps": 2}), tmp_path / "data", tmp_path / "run").folder
    (run / "result.json").unlink()  # so that it goes on
    hostile = pickle.dumps(_Hostile())
    step = find_checkpoint(run)
    files = [path for path in run.rglob("*") if path.is_file()]
    for path in [*files, step / ".metadata", step / "__0_0.distcp", run / "new-rows.npy"]:
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(hostile)
        for call in (
            lambda: load_run_model(Run.load(run)),
            lambda: train(make_config(training={"steps": 2}), tmp_path / "data", run),
            lambda: export_run(run, tmp_path / "hf", verify=False, force=True),
        ):
            with suppress(VocabkitError):
                call()
        assert not (tmp_path / "ran").exists()
        assert not (run / "ran").exists()
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
    (step / ".metadata").write_bytes(hostile)
    with pytest.raises(PretrainingError, match=r"holds \.metadata, .* it could run code"):
        load_run_model(Run.load(run))


def test_every_flipped_byte_of_a_run_is_refused_naming_the_file(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    run = train(make_config(training={"steps": 2}), tmp_path / "data", tmp_path / "run").folder
    wanted = {name: value.clone() for name, value in load_run_model(Run.load(run))[0].named_parameters()}
    step = find_checkpoint(run)
    chance = random.Random(3)
    files = ["run.json", "model.json", "plan.json", "result.json"]
    files += [
        f"{step.relative_to(run)}/{name}"
        for name in ("state.json", "seen.safetensors", "rank-00000.safetensors")
    ]
    refused = 0
    for name in [name for name in files for _ in range(12)]:
        path = run / name
        before = path.read_bytes()
        data = bytearray(before)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            found = load_run_model(Run.load(run))[0]
        except PretrainingError as error:
            refused += str(path) in error.message
        else:
            assert all(torch.equal(value, wanted[name]) for name, value in found.named_parameters())
        path.write_bytes(before)
    assert refused > 78  # white space of JSON may change


def test_a_row_that_is_missing_or_stored_twice_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    path = folder / "rank-00000.safetensors"
    with safe_open(path, framework="pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for metadata, message in (
        ({"model.x": "1"}, "is not the rows from 0 on"),
        ({"model.x": "-1"}, "first"),
        ({}, "first"),
    ):
        save_file(held, path, {"count": "0", **metadata})
        with pytest.raises(PretrainingError, match=message):
            load_checkpoint(folder, {"model.x": torch.zeros(3, 2)}, ALONE, verify=False)
    save_file({**held, "model.x": held["model.x"].double()}, path, {"count": "0", "model.x": "0"})
    with pytest.raises(PretrainingError, match="is not the rows"):
        load_checkpoint(folder, {"model.x": torch.zeros(3, 2)}, ALONE, verify=False)


def test_the_fingerprint_of_a_start_does_not_depend_on_place_or_time(tmp_path: Path) -> None:
    """A receipt as earlier versions wrote it, with the place of the model; another extension has another."""
    folders = [make_checkpoint(tmp_path / name, {}, np.append(np.arange(99), -1)) for name in ("a", "b")]
    (folders[1] / "extension" / "receipt.json").write_text('{"schema": 1, "model": {"path": "/elsewhere"}}')
    first, second = (_fingerprint_checkpoint(folder) for folder in folders)
    assert first == second
    other = make_checkpoint(tmp_path / "c", {}, np.append(np.arange(98), [-1, -1]))
    assert _fingerprint_checkpoint(other) != first
