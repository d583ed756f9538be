"""Shares of samples against the weighting applied by hand, and against what the order then draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pretraining.prepared_rows import write_rows
from vocabkit.core.errors import ConfigError, PretrainingError
from vocabkit.pretraining.batches import Order
from vocabkit.pretraining.plan import _plan_languages
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import LanguageSettings, read_preset

SIZES = {"eng_Latn": 80, "lao_Laoo": 4, "yor_Latn": 16}


def free(**changes: Any) -> LanguageSettings:
    """Return settings that allow any number of epochs."""
    return LanguageSettings(**{"allow_epochs": 1e9, **changes})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    folder = tmp_path_factory.mktemp("quotas") / "s"
    return write_rows(folder, {code: (rows, 1) for code, rows in SIZES.items()})


@pytest.mark.parametrize("unit", ["tokens", "bytes"])
@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
def test_text_is_drawn_in_proportion_to_a_power_of_it(
    corpus: PreparedCorpus, unit: str, exponent: float
) -> None:
    chosen = free(unit=unit, exponent=exponent)
    plan = _plan_languages(corpus, chosen, 1_000)
    splits = [corpus.split(code, "train") for code in corpus.languages]
    masses = np.array([getattr(split, unit) for split in splits], dtype=float)
    rows = np.array([split.rows for split in splits], dtype=float)
    # What is drawn of each, in the unit: samples times what a row holds.
    drawn = plan.shares * masses / rows
    wanted = (masses / masses.sum()) ** exponent
    assert np.allclose(drawn / drawn.sum(), wanted / wanted.sum(), rtol=1e-12)
    assert np.isclose(plan.shares.sum(), 1.0)
    for row, share in zip(plan.rows, plan.shares, strict=True):
        assert row.epochs == pytest.approx(share * 1_000 / row.rows)
        assert row.samples == round(share * 1_000)
    natural = drawn / drawn.sum() / (masses / masses.sum())
    assert [row.weight for row in plan.rows] == pytest.approx(natural.tolist())


def test_a_factor_multiplies_a_share_of_text(corpus: PreparedCorpus) -> None:
    plain = _plan_languages(corpus, free(), 500)
    raised = _plan_languages(corpus, free(oversampling={"lao_Laoo": 3.0}), 500)
    ratio = raised.shares / plain.shares
    assert ratio[1] / ratio[0] == pytest.approx(3.0)
    assert ratio[2] == pytest.approx(ratio[0])
    assert [row.oversampling for row in raised.rows] == [1.0, 3.0, 1.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2_000), st.floats(0.5, 8.0), st.sampled_from(["tokens", "bytes"]))
def test_unimax_never_passes_its_bound_before_all_reach_it(
    corpus: PreparedCorpus, samples: int, bound: float, unit: str
) -> None:
    chosen = free(weighting="unimax", max_epochs=bound, unit=unit)
    plan = _plan_languages(corpus, chosen, samples)
    epochs = np.array([row.epochs for row in plan.rows])
    if samples <= bound * 100:
        assert epochs.max() <= bound * (1 + 1e-6)
        # Those below the bound are drawn alike, in the unit.
        held = np.array([getattr(row, unit) / row.rows for row in plan.rows])
        below = epochs < bound * (1 - 1e-6)
        drawn = (plan.shares * held)[below]
        assert np.allclose(drawn, drawn[:1], rtol=1e-6)
    else:
        assert np.allclose(epochs, epochs[0], rtol=1e-6)


def test_the_order_draws_what_was_planned(corpus: PreparedCorpus) -> None:
    plan = _plan_languages(corpus, free(), 4_096)
    order = Order(0, plan.shares, [row.rows for row in plan.rows])
    languages, rows, epochs = order.locate(np.arange(4_096))
    drawn = np.bincount(languages, minlength=3)
    assert np.abs(drawn - [row.samples for row in plan.rows]).max() <= 1
    for number, row in enumerate(plan.rows):
        again = np.flatnonzero((languages == number) & (epochs == 1))
        assert row.first_repeat is not None
        assert abs(int(again[0]) - row.first_repeat) <= order.block
        assert set(rows[languages == number].tolist()) == set(range(row.rows))
    short = _plan_languages(corpus, free(), 3)
    assert {row.first_repeat for row in short.rows} == {None}


def test_quotas_are_shares_of_text(corpus: PreparedCorpus) -> None:
    quota = {"eng_Latn": 0.5, "lao_Laoo": 0.25, "yor_Latn": 0.25}
    plan = _plan_languages(corpus, free(weighting="quota", quota=quota), 100)
    held = np.array([row.bytes / row.rows for row in plan.rows])
    assert np.allclose(plan.shares * held / (plan.shares * held).sum(), [0.5, 0.25, 0.25])
    # What is printed says of what each share is; the one asked for is of bytes.
    assert [row.share_of_bytes for row in plan.rows] == pytest.approx([0.5, 0.25, 0.25])
    tokens = np.array([row.samples * row.tokens / row.rows for row in _plan_languages(
        corpus, free(weighting="quota", quota=quota), 1_000_000).rows])  # fmt: skip
    assert [row.share_of_tokens for row in plan.rows] == pytest.approx(list(tokens / tokens.sum()), rel=1e-4)
    assert "share" not in plan.to_rows()[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["languages.quota={eng_Latn=1.0}"], "quota is set but languages.weighting is 'exponent'"),
        (["languages.weighting=quota", "languages.quota={eng_Latn=0.6, yor_Latn=0.5}"], r"sums to 1\.1, not 1"),
        (["languages.weighting=quota"], "languages.quota is empty"),
    ],
)
def test_a_quota_that_would_not_be_kept_is_refused_before_any_data(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_preset("tiny", settings)
    assert (caught.value.hint or "").startswith("--set ")


def test_too_many_epochs_are_refused_with_the_flag_that_allows_them(corpus: PreparedCorpus) -> None:
    chosen = LanguageSettings(weighting="uniform")
    plan = _plan_languages(corpus, chosen, 150)
    refusal = plan.find_refusal()
    assert refusal is not None
    assert "1 of 3 languages more than 8 times: lao_Laoo" in refusal.message
    needed = int(np.ceil(plan.rows[1].epochs))
    assert refusal.hint is not None
    assert f"--allow-epochs {needed}  #" in refusal.hint
    allowed = chosen.model_copy(update={"allow_epochs": float(needed)})
    assert _plan_languages(corpus, allowed, 150).find_refusal() is None


def test_unimax_is_named_only_where_it_helps(corpus: PreparedCorpus) -> None:
    for samples, helps in ((150, True), (1_500, False)):
        plan = _plan_languages(corpus, LanguageSettings(weighting="uniform"), samples)
        refusal = plan.find_refusal()
        assert refusal is not None
        assert refusal.hint is not None
        assert ("unimax" in refusal.hint) == helps
    evened = LanguageSettings(weighting="unimax")
    assert max(row.epochs for row in _plan_languages(corpus, evened, 150).rows) < 8.0


def test_warnings_name_who_is_repeated_and_raised(corpus: PreparedCorpus) -> None:
    chosen = free(weighting="uniform", oversampling={"yor_Latn": 5.0})
    found = _plan_languages(corpus, chosen, 160).warnings()
    assert len(found) == 2
    assert found[0].startswith("repeated more than 4 times: yor_Latn ")
    assert found[1] == "oversampled more than 4×: yor_Latn 5.0×"
    assert _plan_languages(corpus, LanguageSettings(weighting="natural"), 80).warnings() == []


def test_a_language_without_rows_is_left_out_and_named(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", {"eng_Latn": (9, 1), "yor_Latn": (0, 1)})
    plan = _plan_languages(corpus, LanguageSettings(), 9)
    assert plan.shares.tolist() == [1.0, 0.0]
    assert plan.rows[1].note == "no text to train on"
    assert plan.warnings() == ["no text to train on, never drawn: yor_Latn"]
    assert plan.average("tokens") == corpus.split("eng_Latn", "train").tokens / 9
    empty = write_rows(tmp_path / "e", {"eng_Latn": (0, 1)})
    with pytest.raises(PretrainingError, match="no rows to train on"):
        _plan_languages(empty, LanguageSettings(), 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"oversampling": {"fra_Latn": 2.0}}, "names fra_Latn, which is not in the data"),
        ({"oversampling": {"yor_Latn": 0.0}}, r"yor_Latn = 0\.0: must be positive"),
        ({"weighting": "quota", "quota": {"eng_Latn": 1.0}}, "no share for: lao_Laoo, yor_Latn"),
        ({"weighting": "quota", "quota": {"fra_Latn": 1.0}}, "no rows to train on: fra_Latn"),
        ({"exponent": 2.0}, "must lie between 0"),
        ({"max_epochs": 0.0}, "must be positive"),
    ],
)
def test_settings_that_cannot_be_met(corpus: PreparedCorpus, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _plan_languages(corpus, LanguageSettings(**changes), 10)


def test_the_plan_is_plain_data(corpus: PreparedCorpus) -> None:
    found = json.loads(json.dumps(_plan_languages(corpus, LanguageSettings(), 50).to_json()))
    assert [row["language"] for row in found["languages"]] == list(corpus.languages)
    assert found["samples"] == 50
