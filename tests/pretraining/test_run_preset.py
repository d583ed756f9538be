"""Presets of runs: what is asked for beside one decides, and their comments say what is computed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vocabkit.core.config import dump_toml, find_preset
from vocabkit.core.errors import ConfigError
from vocabkit.pretraining.plan import parse_device, plan_run
from vocabkit.pretraining.run_config import read_preset
from vocabkit.vocabulary.roles import SpecialIds

IDS = SpecialIds(begin=0, end=2, pad=1, mask=4, unknown=3)


@pytest.mark.parametrize("key", ["steps", "tokens", "bytes"])
@pytest.mark.parametrize("preset", ["tiny", "multi-s"])
def test_a_length_asked_for_replaces_the_presets(preset: str, key: str) -> None:
    training = read_preset(preset, [f"training.{key}=1_234"]).training
    given = {name: getattr(training, name) for name in ("steps", "tokens", "bytes")}
    assert given == {"steps": None, "tokens": None, "bytes": None, key: 1_234}
    assert training.batch_rows == read_preset(preset).training.batch_rows


def test_two_lengths_asked_for_are_refused() -> None:
    with pytest.raises(ConfigError, match="one of steps, tokens and bytes"):
        read_preset("tiny", ["training.steps=1", "training.tokens=2"])


def test_a_checkpoint_says_the_shape() -> None:
    assert read_preset("tiny", has_checkpoint=True).model is None
    model = read_preset("tiny", ["model.layers=3"], has_checkpoint=True).model
    assert model is not None  # asked for: refused later, where it does not fit
    assert model.layers == 3


def test_data_says_the_vocabulary() -> None:
    for overrides, wanted in (([], None), (["model.vocabulary=9_000"], 9_000)):
        model = read_preset("multi-s", overrides, has_data=True).model
        assert model is not None
        assert model.vocabulary == wanted
    alone = read_preset("multi-s").model
    assert alone is not None
    assert alone.vocabulary == 250_000


def test_a_misspelt_key_is_an_error_with_the_near_one() -> None:
    with pytest.raises(ConfigError, match=r"did you mean training\.batch_rows"):
        read_preset("tiny", ["training.batch_row=3"])


def test_a_resolved_configuration_reads_back(tmp_path: Path) -> None:
    config = read_preset("continue", ["training.steps=10"])
    path = tmp_path / "config.toml"
    path.write_text(dump_toml(config), encoding="utf-8")
    assert read_preset(path) == config
    assert read_preset(tmp_path) == config
    assert [stage.train for stage in config.stages] == ["new-rows", "embeddings", "all"]


@pytest.mark.parametrize("name", ["multi-s", "multi-m", "multi-l", "multi-l-plus"])
def test_the_costs_in_a_presets_comment_are_those_computed(name: str) -> None:
    text = find_preset(name, "pretrain").read_text(encoding="utf-8").replace("\n#", "")
    config = read_preset(name)
    assert config.model is not None
    assert config.model.vocabulary is not None
    shape = config.model.shape(config.model.vocabulary, IDS, 512)
    plan = plan_run(config, None, shape, device=parse_device("h200")[0])
    flops = re.search(r"([\d.]+) GFLOP a token", text)
    hours = re.search(r"100 billion tokens take (\d+) hours", text)
    share = re.search(r"(\d+) % of it", text)
    states = re.search(r"([\d.]+) GB of weights", text)
    assert flops and hours and share and states and plan.seconds  # noqa: PT018
    arithmetic = plan.flops_per_token
    assert float(flops[1]) == pytest.approx(arithmetic.total / 1e9, abs=0.005)
    assert int(hours[1]) == round(plan.seconds / 3600)
    assert int(share[1]) == round(100 * arithmetic.head / arithmetic.total)
    assert float(states[1]) == pytest.approx(plan.memory.states / 1e9, abs=0.5)


def test_replaced_and_kept_together_are_at_most_all() -> None:
    with pytest.raises(ConfigError, match=r"keep = 0\.7 and replace_random = 0\.5: together more"):
        read_preset("tiny", ["data.keep=0.7", "data.replace_random=0.5"])
    assert read_preset("tiny", ["data.keep=0.5", "data.replace_random=0.5"]).data.keep == 0.5
