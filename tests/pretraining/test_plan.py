"""The length of a run in steps, tokens or bytes, with and without data."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.pretraining.prepared_rows import ENDLESS, write_rows
from vocabkit.core.errors import ConfigError, PretrainingError
from vocabkit.pretraining.plan import count_samples, parse_device, plan_run
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import (
    LanguageSettings,
    LogSettings,
    ModelConfig,
    RunConfig,
    TrainingSettings,
    read_preset,
)
from vocabkit.pretraining.run_start import make_plan

MODEL = ModelConfig("xlmr", 50, 64, 2, 2, 128)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    folder = tmp_path_factory.mktemp("plan") / "s"
    return write_rows(folder, {"eng_Latn": (60, 1), "yor_Latn": (20, 1)})


def make_config(weighting: str = "natural", **length: Any) -> RunConfig:
    return RunConfig(
        training=TrainingSettings(batch_rows=4, **length),
        languages=LanguageSettings(weighting=weighting, allow_epochs=1e6),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("weighting", ["natural", "exponent", "unimax"])
@pytest.mark.parametrize("unit", ["tokens", "bytes"])
def test_a_run_reaches_its_length_and_stops_there(corpus: PreparedCorpus, weighting: str, unit: str) -> None:
    plan = plan_run(make_config(weighting, **{unit: 5_000}), corpus, MODEL)
    reached = plan.tokens if unit == "tokens" else plan.bytes
    assert reached is not None
    assert 5_000 <= reached < 5_000 + reached / plan.steps + 1
    assert plan.samples == plan.steps * 4
    assert plan.positions == plan.samples * corpus.length
    assert plan.languages is not None
    assert plan.languages.samples == plan.samples


def test_natural_shares_draw_the_text_there_is(corpus: PreparedCorpus) -> None:
    plan = plan_run(make_config(steps=20), corpus, MODEL)
    splits = [corpus.split(code, "train") for code in corpus.languages]
    assert plan.tokens == sum(split.tokens for split in splits)
    assert plan.bytes == sum(split.bytes for split in splits)


def test_without_data_the_shape_must_do() -> None:
    plan = plan_run(make_config(tokens=10_000), None, MODEL, device=parse_device("h200")[0], world=2)
    assert plan.steps == -(-10_000 // (4 * 512))
    assert plan.tokens is None
    assert plan.languages is None
    assert plan.seconds is not None
    expected = plan.flops_per_token.total * plan.positions / (2 * 0.4 * 989e12)
    assert plan.seconds == pytest.approx(expected)
    with pytest.raises(ConfigError, match="needs data"):
        plan_run(make_config(bytes=10_000), None, MODEL)


@pytest.mark.parametrize("length", [{}, {"steps": 0}, {"tokens": -5}])
def test_a_run_needs_a_length(corpus: PreparedCorpus, length: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="training:"):
        plan_run(make_config(**length), corpus, MODEL)


def test_epochs_are_refused_unless_only_shown(corpus: PreparedCorpus) -> None:
    config = RunConfig(training=TrainingSettings(batch_rows=4, steps=1_000))
    with pytest.raises(PretrainingError, match="more than 8 times"):
        plan_run(config, corpus, MODEL)
    assert plan_run(config, corpus, MODEL, refuse=False).warnings


def test_data_without_rows_says_so(tmp_path: Path) -> None:
    empty = write_rows(tmp_path / "s", {"eng_Latn": (0, 1)})
    with pytest.raises(PretrainingError, match="no rows to train on"):
        plan_run(make_config(tokens=100), empty, MODEL)


def test_the_plan_is_plain_data(corpus: PreparedCorpus) -> None:
    found = json.loads(json.dumps(plan_run(make_config(steps=3), corpus, MODEL).to_json()))
    assert found["steps"] == 3
    assert found["seconds"] is None
    assert found["assumed_mfu"] is None
    assert found["parameters"]["total"] == sum(found["parameters"][part] for part in ("body", "embedding"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocabulary": 49}, "a model of 49 ids and data of 50"),
        ({"max_length": 23}, "rows of 24 tokens: the model has positions for 23"),
    ],
)
def test_a_plan_is_of_a_model_that_can_be_trained(
    corpus: PreparedCorpus, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(PretrainingError, match=said):
        plan_run(make_config(steps=3), corpus, replace(MODEL, **change))


def test_a_masked_model_needs_a_mask_token(tmp_path: Path) -> None:
    endless = write_rows(tmp_path / "s", {"eng_Latn": (40, 1)}, special=ENDLESS)
    with pytest.raises(PretrainingError, match="no mask token, which layout xlmr needs"):
        plan_run(make_config(steps=3), endless, MODEL)
    plan_run(make_config(steps=3), endless, replace(MODEL, layout="llama"))


def test_equal_bytes_a_step_whatever_the_vocabulary(tmp_path: Path) -> None:
    """Rows of another length hold another number of bytes: as many steps, over as many bytes."""
    plans = []
    for length in (16, 48):
        corpus = write_rows(tmp_path / str(length), {"eng_Latn": (70, 1), "yor_Latn": (30, 1)}, length=length)
        config = make_config(batch_bytes=1_000, bytes=40_000)
        plans.append(plan_run(config, corpus, MODEL))
    assert [plan.steps for plan in plans] == [40, 40]
    for plan in plans:
        assert plan.bytes is not None
        assert plan.bytes == pytest.approx(40_000, abs=plan.bytes / plan.samples)
        assert plan.samples == int(40 * plan.rows_per_step + 1e-9)
        assert plan.to_json()["rows_per_step"] == plan.rows_per_step
        starts = [count_samples(step, plan.rows_per_step) for step in range(41)]
        steps = {after - before for before, after in pairwise(starts)}
        assert starts[-1] == plan.samples
        assert max(steps) - min(steps) <= 1


def test_batch_bytes_needs_data_and_a_row(corpus: PreparedCorpus) -> None:
    with pytest.raises(ConfigError, match="batch_bytes needs data"):
        plan_run(make_config(batch_bytes=1_000, steps=4), None, MODEL)
    with pytest.raises(ConfigError, match=r"batch_bytes = 3: a row holds \d+ bytes"):
        plan_run(make_config(batch_bytes=3, steps=4), corpus, MODEL)
    given = read_preset("tiny", ["training.batch_rows=9"], has_data=True)
    assert (given.training.batch_rows, given.training.batch_bytes) == (9, None)


def test_little_held_out_text_is_said(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", {"eng_Latn": (60, 3_000), "yor_Latn": (20, 5)})
    plan = plan_run(
        make_config(steps=4).model_copy(update={"log": LogSettings(evaluate_rows=3_000)}), corpus, MODEL
    )
    (said,) = [line for line in plan.warnings if "held-out" in line]
    assert "1 languages are scored on less than 50 kB" in said
    assert "yor_Latn" in said
    assert "eng_Latn" not in said
    few = plan_run(make_config(steps=4), corpus, MODEL)  # 64 rows a language
    assert any("2 languages are scored" in line and "eng_Latn" in line for line in few.warnings)


@pytest.mark.parametrize(
    "setting",
    [
        "model.layers=1000000000", "model.layers=0", "model.layers=-1", "model.width=10000000000",
        "model.heads=1000000000", "model.feed_forward=1000000000000", "model.vocabulary=100000000000",
        "model.global_every=0", "model.local_window=-1", "model.kv_heads=0", "model.norm_epsilon=inf",
        "model.rope_theta=nan", "training.batch_rows=100000000000", "training.micro_rows=100000000000",
        "training.steps=1e300", "training.batch_bytes=0", "optimizer.rate=inf", "optimizer.betas=[2.0, 0.5]",
        "languages.exponent=nan", "model=3", "training=[]", "log.every=0",
    ],
)  # fmt: skip
def test_a_slip_of_the_keyboard_is_told_at_once(setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan("multi-s", settings=[setting], dry_run=True)
    key = setting.partition("=")[0]
    assert key.rpartition(".")[2] in caught.value.message
