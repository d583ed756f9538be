"""The fit configuration: shipped presets, what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from vocabkit.configurations.settings import (
    ParityConfig,
    ReplaceBpeConfig,
    _FitConfig,
    read_configuration,
)
from vocabkit.core.config import Config, Settings, dump_toml, find_preset, load_config
from vocabkit.core.errors import ConfigError

PRESETS = ["shared-250k", "balanced-250k", "bpe"]


def load(preset: str, *overrides: str) -> _FitConfig:
    return load_config(_FitConfig, find_preset(preset, "fit"), overrides)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_and_come_back_equal(name: str, tmp_path: Path) -> None:
    config = load(name)
    path = tmp_path / "config.toml"
    path.write_text(dump_toml(config), encoding="utf-8")
    assert load_config(_FitConfig, path) == config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_open_with_what_cost_and_expectation(name: str) -> None:
    text = find_preset(name, "fit").read_text(encoding="utf-8")
    opening = text.split("\n[", 1)[0]
    assert all(word in opening for word in ("What for:", "Cost:", "Expected:"))


def test_the_two_configurations_are_the_documented_ones() -> None:
    a, b = load("shared-250k"), load("balanced-250k")
    assert (a.vocabulary.size, a.vocabulary.model, a.vocabulary.byte_fallback) == (
        250_000,
        "unigram",
        False,
    )
    assert (a.normalization.rule, a.vocabulary.digits) == ("nmt_nfkc", "sentencepiece")
    assert (a.coverage.scope, a.coverage.character, a.languages.weighting) == (
        "global",
        0.9995,
        "natural",
    )
    assert (b.vocabulary.size, b.vocabulary.byte_fallback, b.coverage.scope) == (
        250_000,
        True,
        "language",
    )
    assert (b.languages.weighting, b.languages.exponent) == ("exponent", 0.3)
    assert b.languages.allow_oversampling == 8.0
    assert a.vocabulary.special == ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    assert load("bpe").vocabulary.model == "bpe"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vocabulary.sise=4_000", "did you mean vocabulary.size"),
        ("vocabulary.size=5", "size"),
        ("vocabulary.size=100", "leaves no piece"),
        ("vocabulary.model=wordpiece", "unigram"),
        ('vocabulary.special=["<s>"]', "<unk>"),
        ('vocabulary.special=["<unk>", "a b"]', "white space"),
        ('vocabulary.special=["<unk>", "<unk>"]', "twice"),
        ("coverage.character=1.5", "coverage.character"),
        ("languages.exponent=2", "languages.exponent"),
        ("languages.weighting=quota", "quota"),
        ("languages.quota={eng_Latn=1.0}", "quota is set"),
        ("trainer.engine=numba", "sentencepiece"),
    ],
)
def test_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("balanced-250k", override)


def test_bpe_has_no_seeds_to_filter() -> None:
    with pytest.raises(ConfigError, match="min_documents"):
        load("bpe", "trainer.min_documents=3")


def test_ids_beside_pieces() -> None:
    assert load("shared-250k").vocabulary.other_ids == 5
    assert load("balanced-250k", "vocabulary.reserved=10").vocabulary.other_ids == 5 + 10 + 256


def test_seeds_by_default() -> None:
    assert load("shared-250k").seeds == 2_000_000
    assert load("shared-250k", "vocabulary.size=4_000").seeds == 100_000
    assert load("shared-250k", "trainer.seeds=7_000").seeds == 7_000


def test_a_list_of_codes_takes_commas() -> None:
    asked = load("shared-250k", 'languages.include=["yor", "ibo"]').languages.include
    assert load("shared-250k", "languages.include=yor,ibo").languages.include == asked == ("yor", "ibo")
    assert load("shared-250k", "languages.include=Yoruba").languages.include == ("Yoruba",)


def test_a_wrong_setting_is_named_and_not_the_shipped_file() -> None:
    with pytest.raises(ConfigError) as caught:
        load("shared-250k", "vocabulary.size=many", "languages.wieghting=uniform")
    said = caught.value.message
    assert "--set vocabulary.size=many: " in said
    assert "--set languages.wieghting=uniform: unknown key languages.wieghting (did you mean" in said
    assert ".toml" not in said


@pytest.mark.parametrize(
    ("model", "preset", "key"),
    [(ParityConfig, "parity-250k", "parity.max_loss"), (ReplaceBpeConfig, "replace-bpe", "replace.max_loss")],
)
def test_a_loss_above_one_is_asked_about(model: type[Config], preset: str, key: str) -> None:
    path, (table, name) = find_preset(preset, "fit"), key.split(".")
    with pytest.raises(ConfigError, match=r"5 is 500% as a share; 5%\?"):
        load_config(model, path, [f"{key}=5"])
    for said, share in (("5%", 0.05), ("0.05", 0.05), ("1", 1.0)):
        config = load_config(model, path, [f"{key}={said}"])
        assert getattr(getattr(config, table), name) == pytest.approx(share)


@pytest.mark.parametrize(
    ("preset", "settings", "option", "takers"),
    [
        ("shared-250k", ["base=tok"], "--base", "two-stage, continued-bpe, replace-bpe"),
        ("shared-250k", ["base_pattern=gpt2"], "--pattern", "continued-bpe, replace-bpe"),
        ("continued-bpe", ['replace.keep=["eng_Latn"]'], "--keep-languages", "replace-bpe"),
        ("byte-bpe", {"replace": {"max_loss": "1%"}}, "--max-loss", "replace-bpe"),
        ("two-stage-250k-12x50k", "parity.development=dev", "--dev", "parity"),
    ],
)
def test_an_option_that_a_preset_does_not_use_is_named(
    preset: str, settings: Settings, option: str, takers: str
) -> None:
    with pytest.raises(ConfigError, match=f"{option} .* says nothing to a fit of") as caught:
        read_configuration(preset, settings)
    assert caught.value.hint == f"leave it out; it is for {takers}"


@pytest.mark.parametrize("said", ["abc", "abc%", "101%", "-1%", -0.1, "nan"])
def test_a_share_that_is_none_is_refused_with_one_that_is(said: object) -> None:
    with pytest.raises(ConfigError, match=r"replace\.max_loss"):
        read_configuration("replace-bpe", {"replace": {"max_loss": said}})
    for right, share in (("5%", 0.05), ("0.1 %", 0.001), (0.25, 0.25), ("0.25", 0.25), (0, 0.0)):
        found = read_configuration("replace-bpe", {"replace": {"max_loss": right}})
        assert found.model_dump()["replace"]["max_loss"] == pytest.approx(share)
