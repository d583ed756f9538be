"""Whole runs on the CPU: what they log, what they refuse, stages, and steps that are not finite."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.extension.vocabularies import make_word_piece
from tests.extension.vocabularies import save as save_words
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
from vocabkit.core.errors import ConfigError, MissingExtra, OutputError, PretrainingError, VocabkitError
from vocabkit.core.folders import hold_folder
from vocabkit.core.records import write_sealed
from vocabkit.pretraining.batches import BatchMaker
from vocabkit.pretraining.checkpointing import find_checkpoint, list_checkpoints, load_run_model, read_state
from vocabkit.pretraining.plan import plan_run
from vocabkit.pretraining.run_config import RunConfig
from vocabkit.pretraining.run_folder import Run
from vocabkit.pretraining.run_start import pretrain
from vocabkit.pretraining.transformers_format import load_model

GOLDEN = {
    "xlmr": [
        5.110814, 4.716525, 4.17581, 5.384349, 4.984788, 4.98393, 4.94352, 4.864448, 4.631997, 5.181954,
        4.908601, 4.685926, 5.06286, 4.623803, 5.430315, 4.71458, 4.684369, 4.823436, 5.624806, 5.368319,
    ],
    "modern": [
        4.589667, 4.437186, 4.891, 5.416111, 5.297517, 4.963729, 5.066723, 4.63879, 5.160994, 4.937195,
        4.674081, 5.232115, 4.92329, 4.528186, 4.99824, 4.968887, 4.994734, 5.006237, 4.837823, 5.264505,
    ],
    "llama": [
        4.93986, 4.738241, 4.577743, 4.413723, 4.687015, 4.673348, 4.515713, 4.475934, 4.251265, 4.226078,
        4.173059, 4.155402, 4.328701, 4.043258, 4.236792, 4.392707, 4.078737, 4.083305, 4.131525, 4.448979,
    ],
}  # fmt: skip
"""Losses of the first 20 steps. Other machines sum in another order: they agree to 1e-4, not to the bit."""
LLAMA = {"layout": "llama", "tied": False}


def test_a_run_leaves_a_whole_folder(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    config = make_config(log={"every": 2, "evaluate_every": 3})
    result = train(config, tmp_path / "data", tmp_path / "run")
    assert (result.stopped, result.exit_code, result.skipped) == ("done", 0, 0)
    assert (result.steps, result.samples) == (STEPS, 4 * STEPS)
    lines = read_log(tmp_path / "run")
    # The last checkpoint before the rate falls, after 7 of 8 steps, has its line too.
    assert [line["step"] for line in lines if line["kind"] == "step"] == [2, 4, 6, 7, 8]
    assert [line["step"] for line in lines if line["kind"] == "evaluation"] == [0, 3, 6, 8]
    first = next(line for line in lines if line["kind"] == "step")
    assert first["steps"] == 2
    assert first["tokens_per_s"] > 0
    assert first["bytes_per_s"] > 0
    assert first["mfu"] is None
    assert 0.0 <= first["data_wait"] <= 1.0
    assert first["lr"] == 0.01
    assert result.loss is not None
    assert [line["loss_smoothed"] for line in lines if line["kind"] == "step"][-1] == result.loss
    assert result.evaluation is not None
    assert result.evaluation["languages"]["yor_Latn"]["rows"] == 2
    assert load_config(RunConfig, tmp_path / "run" / "config.toml") == config
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["steps"] == STEPS
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["inputs"].keys() == {"config", "tokenizer", "data"}


def test_losses_of_a_line_are_means_over_its_predictions(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    level = {"schedule": "constant"}
    train(make_config(model=LLAMA, optimizer=level), tmp_path / "data", tmp_path / "each")
    train(make_config(model=LLAMA, optimizer=level, log={"every": 4}), tmp_path / "data", tmp_path / "four")
    each = [line for line in read_log(tmp_path / "each") if line["kind"] == "step"]
    four = [line for line in read_log(tmp_path / "four") if line["kind"] == "step"]
    assert four[0]["loss"] == pytest.approx(sum(line["loss"] for line in each[:4]) / 4)
    assert four[1]["loss_smoothed"] == each[7]["loss_smoothed"]
    smoothed = sum(0.98 ** (7 - step) * each[step]["loss"] for step in range(8))
    assert each[7]["loss_smoothed"] == pytest.approx(smoothed / sum(0.98**n for n in range(8)))
    one_language = [line for line in each if None in line["languages"].values()]
    for line in one_language:
        known = [loss for loss in line["languages"].values() if loss is not None]
        assert known == [pytest.approx(line["loss"])]


@pytest.mark.parametrize("layout", sorted(GOLDEN))
def test_golden_losses(tmp_path: Path, layout: str) -> None:
    make_data(tmp_path / "data")
    model: dict[str, Any] = {"layout": layout, "global_every": 2, "local_window": 4}
    config = make_config(model=model, training={"steps": 20})
    train(config, tmp_path / "data", tmp_path / "run")
    losses = [line["loss"] for line in read_log(tmp_path / "run") if line["kind"] == "step"]
    assert losses == pytest.approx(GOLDEN[layout], rel=1e-4)


def test_the_same_run_twice_gives_the_same_bits(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    config = make_config(training={"deterministic": True})
    for name in ("one", "two"):
        train(config, tmp_path / "data", tmp_path / name)
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_finished_run_answers_at_once_and_force_starts_anew(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    first = train(make_config(), tmp_path / "data", tmp_path / "run")
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    assert train(make_config(), tmp_path / "data", tmp_path / "run") == first
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log
    other = make_config(training={"seed": 5})
    again = train(other, tmp_path / "data", tmp_path / "run", force=True)
    assert again.steps == STEPS
    assert again.loss != first.loss
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["training"]["seed"] == 5


def test_another_run_is_refused_by_what_changed(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    run = tmp_path / "run"
    train(make_config(), data, run)
    for tables, message in (
        ({"training": {"seed": 3}}, r"training\.seed was 0, now 3"),
        ({"training": {"steps": 7}}, r"a run of 8 steps.*training\.steps was 8, now 7"),
        ({"training": {"steps": 9, "seed": 3}}, r"another run: training\.seed was 0, now 3"),
        ({"optimizer": {"rate": 0.5}}, r"optimizer\.rate was 0\.01, now 0\.5"),
    ):
        with pytest.raises(PretrainingError, match=message):
            train(make_config(**tables), data, run)
    with pytest.raises(PretrainingError, match="the prepared data is another"):
        train(make_config(), make_data(tmp_path / "other", seed=1).folder, run)
    index = json.loads((data / "shards.json").read_text())
    write_sealed(data / "shards.json", {**index, "tokenizer": "x"})
    with pytest.raises(PretrainingError, match="prepared with another tokenizer"):
        train(make_config(), data, run)


def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    corpus = make_data(tmp_path / "data")
    refused: list[tuple[dict[str, Any], type[VocabkitError], str]] = [
        ({"model": {"vocabulary": 64}}, PretrainingError, "64 ids and data of 100"),
        ({"log": {"wandb": True}}, MissingExtra, "wandb is not installed"),
        ({"stages": [{"train": "new-rows", "share": 1.0}]}, PretrainingError, "no receipt"),
    ]
    for tables, kind, message in refused:
        with pytest.raises(kind, match=message):
            train(make_config(**tables), tmp_path / "data", tmp_path / "run")
    nothing = make_config().model_copy(update={"model": None})
    with pytest.raises(ConfigError, match=r"no \[model\]: it goes on from a checkpoint"):
        train(nothing, tmp_path / "data", tmp_path / "run")
    checkpoint = make_checkpoint(tmp_path / "hf", LLAMA)
    with pytest.raises(ConfigError, match="both say"):
        train(make_config(), tmp_path / "data", tmp_path / "run", checkpoint=checkpoint)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").touch()
    for force in (False, True):
        with pytest.raises(OutputError, match="not"):
            train(make_config(), tmp_path / "data", tmp_path / "full", force=force)
    rows = next((corpus.folder / "yor_Latn").glob("*train.npy"))
    rows.write_bytes(rows.read_bytes()[:-4])
    with pytest.raises(PretrainingError, match=r"train\.npy: is cut short"):
        train(make_config(), tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_of_another_tokenizer_than_the_checkpoints_is_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    checkpoint = make_checkpoint(tmp_path / "hf", LLAMA)
    config = make_config(training={"steps": 1}).model_copy(update={"model": None})
    pieces = [f"w{number}" for number in range(99)]
    save_words(make_word_piece(pieces), data / "tokenizer")
    save_words(make_word_piece(pieces[::-1]), checkpoint)
    with pytest.raises(PretrainingError, match=r"id 1 is b' ?w0' .* b' ?w98'"):
        train(config, data, tmp_path / "run", checkpoint=checkpoint)
    # The same pieces in another file are the same tokenizer.
    save_words(make_word_piece(pieces, lower=True), checkpoint)
    assert train(config, data, tmp_path / "run", checkpoint=checkpoint).stopped == "done"
    grown = make_checkpoint(tmp_path / "grown", LLAMA, np.append(np.arange(100), -1))
    with pytest.raises(PretrainingError, match="first id that the extension added is 100"):
        train(config, data, tmp_path / "next", checkpoint=grown)


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    train(make_config(), data, tmp_path / "run", progress=Interrupt(2))
    with (
        hold_folder(tmp_path / "run", tmp_path / "run", "training"),
        pytest.raises(OutputError, match="another process is training it"),
    ):
        train(make_config(), data, tmp_path / "run")
    assert train(make_config(), data, tmp_path / "run").stopped == "done"


def spoil(checkpoint: Path, token: int) -> Path:
    """Make a token's input row not a number."""
    path = checkpoint / "model.safetensors"
    held = load_file(path)
    table = held["model.embed_tokens.weight"].copy()
    table[token] = np.nan
    save_file({**held, "model.embed_tokens.weight": table}, path, metadata={"format": "pt"})
    return checkpoint


def test_steps_that_are_not_finite_change_nothing_and_are_counted(tmp_path: Path) -> None:
    corpus = make_data(tmp_path / "data")
    token, config = (77, make_config(save={"every": 1, "keep": 20}).model_copy(update={"model": None}))
    checkpoint = spoil(make_checkpoint(tmp_path / "hf", LLAMA), token)
    result = train(config, corpus.folder, tmp_path / "run", checkpoint=checkpoint)
    shape = config.model_copy(update={"model": make_config(model=LLAMA).model}).model
    assert shape is not None
    plan = plan_run(config, corpus, shape.shape(100, corpus.special, corpus.length))
    assert plan.languages is not None
    maker = BatchMaker(corpus, plan.languages.shares, config.data, config.training, causal=True)
    bad = [
        step for step in range(STEPS) if any((maker.make(step, micro).ids == token).any() for micro in range(2))
    ]
    assert 0 < len(bad) < STEPS
    assert (result.stopped, result.skipped) == ("done", len(bad))
    lines = [line for line in read_log(tmp_path / "run") if line["kind"] == "step"]
    assert [line["step"] - 1 for line in lines if line["loss"] is None] == bad
    # No checkpoint within a series of bad steps but the run's last.
    assert list_checkpoints(tmp_path / "run") == [
        step + 1 for step in range(STEPS) if step not in bad or step == STEPS - 1
    ]
    final = tensors(tmp_path / "run")
    assert final["optimizer.step.table"] == STEPS - len(bad)
    assert all(bool(torch.isfinite(value).all()) for name, value in final.items() if name != "model.table")


def test_ten_bad_steps_in_a_row_stop_the_run(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data").folder
    config = make_config(training={"steps": 40}, log={"every": 4}, save={"every": 3})
    checkpoint = spoil(make_checkpoint(tmp_path / "hf", LLAMA), 0)
    alone = config.model_copy(update={"model": None})
    result = train(alone, data, tmp_path / "run", checkpoint=checkpoint)
    assert (result.stopped, result.exit_code, result.steps) == ("nan", 1, 12)
    assert result.message is not None
    assert "steps in a row" in result.message
    assert list_checkpoints(tmp_path / "run") == []
    assert "NaN" not in (tmp_path / "run" / "log.jsonl").read_text()
    # It goes on from the last good checkpoint when it is started again; here there is none.
    with pytest.raises(PretrainingError, match="stopped before its first checkpoint"):
        train(alone, data, tmp_path / "run")


def test_stages_move_new_rows_then_the_table_then_all(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    stages = [
        {"train": "new-rows", "share": 0.25, "rate": 2.0},
        {"train": "embeddings", "share": 0.25},
        {"train": "all", "share": 0.5},
    ]
    config = make_config(
        stages=stages, save={"every": 2, "keep": 9}, optimizer={"embedding_weight_decay": 0.1}
    ).model_copy(update={"model": None})
    kept = np.arange(100)
    kept[[7, 50, 99]] = -1
    for layout in ("xlmr", "llama"):
        folder = tmp_path / layout
        start = make_checkpoint(folder / "hf", {"layout": layout, "tied": layout == "xlmr"}, kept)
        train(config, tmp_path / "data", folder / "run", checkpoint=start)
        at = {step: tensors(folder / "run", step) for step in (2, 4, 8)}
        first = dict(load_model(start).named_parameters())
        rowed = [name for name in first if name in ("table", "output_table", "output_bias")]
        new, old = torch.tensor([7, 50, 99]), torch.tensor(np.flatnonzero(kept >= 0))
        for name, value in first.items():
            held = {step: found[f"model.{name}"] for step, found in at.items()}
            if name in rowed:
                assert torch.equal(held[2][old], value[old])
                assert not torch.equal(held[2][new], value[new])
                assert not torch.equal(held[4][old], held[2][old])
                assert torch.equal(held[8][100:], value[100:])
            else:
                assert torch.equal(held[4], value)
                assert at[4][f"optimizer.step.{name}"] == 0
        moved = [name for name in first if not torch.equal(at[8][f"model.{name}"], first[name])]
        assert set(moved) == set(first)


def test_a_checkpoint_counts_what_the_batches_held(tmp_path: Path) -> None:
    corpus = make_data(tmp_path / "data")
    config = make_config(training={"batch_rows": 5})
    train(config, corpus.folder, tmp_path / "run")
    state = read_state(find_checkpoint(tmp_path / "run"))
    shape = make_config().model
    assert shape is not None
    plan = plan_run(config, corpus, shape.shape(100, corpus.special, corpus.length))
    assert plan.languages is not None
    maker = BatchMaker(corpus, plan.languages.shares, config.data, config.training, causal=False)
    size, tokens = {"eng_Latn": 0, "yor_Latn": 0}, 0
    for step in range(STEPS):
        for micro in range(maker.micro_batches):
            batch = maker.make(step, micro)
            tokens += batch.tokens
            for language, count in zip(batch.row_languages.tolist(), batch.row_bytes.tolist(), strict=True):
                size[corpus.languages[language]] += count
    assert state.bytes == size
    assert sum(state.tokens.values()) == tokens
    assert sum(state.rows.values()) == state.samples == 5 * STEPS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("layout", sorted(GOLDEN))
def test_a_gpu_trains_as_the_cpu_does(tmp_path: Path, layout: str, compiled: bool) -> None:
    data = make_data(tmp_path / "data").folder
    # Heads of 16: the smallest that the attention kernel takes in multiples of 8.
    model: dict[str, Any] = {"layout": layout, "width": 32, "global_every": 2, "local_window": 4}
    train(make_config(model=model), data, tmp_path / "cpu")
    fast = make_config(model=model, training={"precision": "bf16", "compile": compiled})
    run = pretrain(fast, data, tmp_path / "gpu", device="cuda")
    assert isinstance(run, Run)
    assert run.skipped == 0
    cpu, gpu = (
        [line for line in read_log(tmp_path / name) if line["kind"] == "step"] for name in ("cpu", "gpu")
    )
    assert [line["loss"] for line in gpu] == pytest.approx([line["loss"] for line in cpu], rel=0.02)
    assert gpu[-1]["peak_memory_gb"] > 0
    trained, _ = load_run_model(run)
    assert all(bool(torch.isfinite(value).all()) for value in trained.parameters())
