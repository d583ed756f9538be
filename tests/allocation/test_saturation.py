"""What blocks save, against counting it again, and that the text's end is seen."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.fitting.test_sentencepiece_engine import inflected
from vocabkit.configurations.allocating import BlockGain, SaturationReport, saturate_vocabulary
from vocabkit.configurations.settings import _FitConfig
from vocabkit.configurations.shared import fit_shared
from vocabkit.core.config import validate
from vocabkit.core.errors import ConfigError, FitError
from vocabkit.corpus.word_counts import WordCounts

TEXTS = {
    "eng_Latn": inflected(1, 400),
    "yor_Latn": inflected(3, 150),
    "hau_Latn": inflected(4, 60),
}
SETTINGS = ["sizes=[20,60,5000]", "resamples=200", 'tail=["yor_Latn","hau_Latn"]']


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base fitted on all three languages, and their counts."""
    folder = tmp_path_factory.mktemp("saturation")
    counts = WordCounts.from_texts(TEXTS, held_out=0.2)
    (folder / "counts").mkdir()
    counts.save(folder / "counts")
    config = validate(_FitConfig, {"vocabulary": {"size": 200}, "normalization": {"rule": "identity"}}, "test")
    fit_shared(counts, config).save(folder / "base")
    return folder


@pytest.fixture(scope="module")
def found(work: Path) -> SaturationReport:
    return saturate_vocabulary(work / "base", work / "counts", work / "out", settings=SETTINGS)


def gains(found: SaturationReport, code: str) -> list[BlockGain]:
    return [gain for gain in found.found.blocks if gain.language == code]


def test_larger_blocks_save_more_until_the_text_ends(found: SaturationReport) -> None:
    for code in ("yor_Latn", "hau_Latn"):
        small, middle, large = gains(found, code)
        assert small.pieces == 20
        assert not small.data_limited
        assert large.data_limited
        assert large.pieces < 5_000
        assert small.before == middle.before == large.before
        assert small.after >= middle.after >= large.after
        assert large.after < large.before
    assert gains(found, "yor_Latn")[2].pieces > gains(found, "hau_Latn")[2].pieces
    assert any("data-limited" in line for line in found.warnings)


def test_savings_are_shares_inside_their_intervals(found: SaturationReport) -> None:
    for gain in found.found.blocks:
        assert gain.saving == pytest.approx(1 - gain.after / gain.before)
        assert gain.saving is not None
        assert gain.low is not None
        assert gain.high is not None
        assert gain.low <= gain.saving <= gain.high
        assert gain.low < gain.high


def test_serving_languages_adds_up(found: SaturationReport) -> None:
    rows = [row for row in found.found.served if row.size == 60]
    single = {gain.language: gain for gain in found.found.blocks if gain.size == 60}
    assert [row.served for row in rows] == [1, 2]
    best = max(single.values(), key=lambda gain: gain.saving or 0.0)
    assert rows[0].language == best.language
    assert rows[0].saving == pytest.approx((best.saving or 0.0) / 2)
    assert rows[1].saving == pytest.approx(sum(g.saving or 0.0 for g in single.values()) / 2)
    assert rows[1].tokens == sum(g.before - g.after for g in single.values())
    assert rows[1].pieces == sum(g.pieces for g in single.values())


def test_the_tables_hold_what_was_found(found: SaturationReport, work: Path) -> None:
    with (work / "out" / "saturation.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["tokens"]) for row in rows] == [row.tokens for row in found.found.served]
    again = saturate_vocabulary(
        work / "base", work / "counts", work / "again", settings=[*SETTINGS, "trainer.threads=1"]
    )
    assert again.found == found.found


def test_without_held_out_text_nothing_is_claimed(work: Path) -> None:
    (work / "all").mkdir()
    WordCounts.from_texts(TEXTS).save(work / "all")
    report = saturate_vocabulary(
        work / "base", work / "all", work / "blind", settings=[*SETTINGS, "sizes=[20]"]
    )
    assert {gain.saving for gain in report.found.blocks} == {None}
    assert any("no held-out text" in line for line in report.warnings)


def test_blocks_hold_the_letters_that_the_base_lacks(work: Path) -> None:
    # A base that English alone was fitted for: the letters of others are part of what their blocks cost.
    texts = {**TEXTS, "yor_Latn": [line.replace("a", "ạ").replace("o", "ọ") for line in TEXTS["yor_Latn"]]}
    counts = WordCounts.from_texts(texts, held_out=0.2)
    config = {"vocabulary": {"size": 100}, "normalization": {"rule": "identity"}}
    english = validate(_FitConfig, {**config, "languages": {"include": ["eng_Latn"]}}, "test")
    fit_shared(counts, english).save(work / "english")
    given = ['tail=["yor_Latn"]', "resamples=0"]
    with pytest.raises(FitError, match=r"sizes = 1 cannot hold .*yor_Latn 2") as caught:
        saturate_vocabulary(work / "english", counts, settings=[*given, "sizes=[1,20]"])
    assert "sizes=[2]" in (caught.value.hint or "")
    report = saturate_vocabulary(work / "english", counts, settings=[*given, "sizes=[2,20]"])
    letters, more = gains(report, "yor_Latn")
    assert (letters.pieces, more.pieces) == (2, 20)
    # Letters alone add tokens: unknown characters side by side were one.
    assert more.after < letters.after


def test_the_tail_is_the_panels_unless_named(work: Path) -> None:
    settings = ["sizes=[20]", "resamples=0", 'languages.include=["eng_Latn"]']
    with pytest.raises(ConfigError, match="in the tail of panel-40"):
        saturate_vocabulary(work / "base", work / "counts", work / "no", settings=settings)
    report = saturate_vocabulary(
        work / "base", work / "counts", work / "tail", settings=["sizes=[20]", "resamples=0"]
    )
    assert {gain.language for gain in report.found.blocks} == {"yor_Latn", "hau_Latn"}
    assert {gain.low for gain in report.found.blocks} == {None}
