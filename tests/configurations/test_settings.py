"""The fit configuration: shipped presets, what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from vocabkit.configurations.settings import _FitConfig
from vocabkit.core.config import dump_toml, find_preset, load_config
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
