"""The functions people call: in memory and into a folder the same, and read back what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fitting.test_sentencepiece_engine import inflected
from vocabkit.configurations.allocating import (
    Allotment,
    SaturationReport,
    ServedGain,
    allocate_budget,
    saturate_vocabulary,
)
from vocabkit.configurations.settings import _FitConfig, read_configuration
from vocabkit.configurations.shared import Fit
from vocabkit.configurations.tokenizer_folder import fit_vocabulary
from vocabkit.core.config import validate
from vocabkit.core.errors import ConfigError, OutputError
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.byte_level import BpeBase

TEXTS = {"eng_Latn": inflected(1, 300), "swh_Latn": [*inflected(3, 60), 'a "quoted" ünique 1 word']}
COUNTS = WordCounts.from_texts(TEXTS, held_out=0.2)
SMALL: dict[str, dict[str, Any]] = {
    "vocabulary": {"size": 260, "byte_fallback": False},
    "normalization": {"rule": "identity"},
}


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counts")
    COUNTS.save(folder)
    return folder


def same_tables(one: Fit[Any], other: Fit[Any]) -> None:
    """Equal to the six digits that tables have."""
    listed = zip([one.rows, *one.tables.values()], [other.rows, *other.tables.values()], strict=True)
    for rows, others in listed:
        assert len(rows) == len(others)
        for row, again in zip(rows, others, strict=True):
            assert row.keys() == again.keys()
            for name, value in row.items():
                if isinstance(value, float):
                    assert again[name] == pytest.approx(value, rel=1e-5)
                else:
                    assert again[name] == value, name


@pytest.mark.parametrize("preset", ["balanced-250k", "proportional-500k"])
def test_a_fit_is_the_same_in_memory_and_in_a_folder_and_reads_back(
    preset: str, counts: Path, tmp_path: Path
) -> None:
    in_memory = fit_vocabulary(preset, COUNTS, settings=SMALL, workers=1)
    written = fit_vocabulary(preset, counts, tmp_path / "tok", settings=SMALL, workers=1)
    assert written.vocabulary == in_memory.vocabulary
    assert written.counts == in_memory.counts
    read = Fit.load(tmp_path / "tok")
    assert read.vocabulary == written.vocabulary
    assert read.config == written.config
    assert read.counts == written.counts
    assert read.warnings == written.warnings
    assert read.details == written.details
    assert read.seconds.keys() == written.seconds.keys()
    same_tables(written, read)
    for code, column in written.usage.items():
        assert np.array_equal(read.usage[code], column)
    read.save(tmp_path / "again")
    for path in (tmp_path / "tok").iterdir():
        if path.name not in ("manifest.json", "vocabulary.parquet"):
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    frame = read.to_frame()
    assert list(frame["language"]) == sorted(TEXTS)


def test_a_byte_level_fit_reads_back_as_a_base(tmp_path: Path) -> None:
    settings = {"vocabulary": {"size": 300}}
    fit = fit_vocabulary("byte-bpe", COUNTS, tmp_path / "tok", settings=settings, workers=1)
    read = Fit.load(tmp_path / "tok")
    assert isinstance(read.vocabulary, BpeBase)
    assert tuple(read.vocabulary.pieces[index] for index in range(300)) == fit.vocabulary.pieces
    assert read.size == fit.size == 300
    same_tables(fit, read)
    more = fit_vocabulary(
        "continued-bpe", COUNTS, settings={"base": str(tmp_path / "tok"), "tokens": {"new": 9}}
    )
    assert more.size == 309


def test_settings_are_texts_or_tables_and_lie_over_any_preset(tmp_path: Path) -> None:
    texts = ["vocabulary.size=260", "vocabulary.byte_fallback=false", "normalization.rule=identity"]
    tables = read_configuration("balanced-250k", SMALL)
    assert tables == read_configuration("balanced-250k", texts)
    assert read_configuration(tables, "vocabulary.size=300") == read_configuration(
        "balanced-250k", [*texts, "vocabulary.size=300"]
    )
    config = validate(_FitConfig, SMALL, "test")
    assert fit_vocabulary(config, COUNTS, workers=1).config == config
    with pytest.raises(ConfigError, match=r"did you mean vocabulary\.size"):
        read_configuration("balanced-250k", {"vocabulary": {"sise": 3}})


def test_what_cannot_be_written_is_said_before_anything_is_fitted(counts: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(OutputError, match="not empty"):
        fit_vocabulary("balanced-250k", counts, tmp_path / "full")
    with pytest.raises(OutputError, match="would replace"):
        fit_vocabulary("balanced-250k", counts, counts, force=True)
    with pytest.raises(ConfigError, match="no output"):
        fit_vocabulary("balanced-250k", counts, routed=["eng"])
    small = {"settings": {"vocabulary": {"size": 300}}, "routed": ["eng"], "workers": 1}
    with pytest.raises(ConfigError, match="needs a vocabulary with blocks"):
        fit_vocabulary("byte-bpe", COUNTS, tmp_path / "no", **small)  # type: ignore[arg-type]
    assert not (tmp_path / "no").exists()


def test_an_allocation_reads_back(tmp_path: Path) -> None:
    settings = {"normalization": {"rule": "identity"}}
    found = allocate_budget(COUNTS, budget=300, settings=settings, workers=1)
    found.save(tmp_path / "out")
    read = Allotment.load(tmp_path / "out")
    assert read.config == found.config
    assert read.baseline == found.baseline
    assert list(read.to_frame()["lexicon"]) == [row["lexicon"] for row in found.to_rows()]
    assert [row["limited_by"] for row in read.rows] == [row["limited_by"] for row in found.rows]
    with pytest.raises(ConfigError, match="has no curves"):
        read.save(tmp_path / "other")
    # What is drawn is what the rows say, and on each curve the allocated size.
    sizes, again = found.charts()["sizes"], read.charts()
    assert again.keys() == {"change", "sizes"}
    assert again["sizes"] == sizes
    drawn = {series.name: dict(zip(sizes.ids, series.values, strict=True)) for series in sizes.series}
    for row in found.to_rows():
        assert all(
            drawn[name][str(row["language"])] == row[name] for name in ("attributed", "lexicon", "before")
        )
    assert found.traced is not None
    for series, (code, curve) in zip(found.charts()["curves"].series, found.traced.curves.items(), strict=True):
        (place,) = series.marked
        size = int(series.x[place])
        assert size == drawn["lexicon"][code]
        assert series.values[place] == curve.tokens_at(size)
        assert list(series.x) == sorted(series.x)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "300 pieces for 2 languages" in page
    assert "Swahili" in page
    # The configuration that was allocated can be fitted.
    fitted = fit_vocabulary(tmp_path / "out", COUNTS, workers=1)
    assert sum(int(str(row["attributed"])) for row in fitted.rows) == 300


def test_saturation_reads_back(tmp_path: Path) -> None:
    fit_vocabulary("balanced-250k", COUNTS, tmp_path / "tok", settings=SMALL, workers=1)
    settings = ["sizes=[20]", "resamples=20", 'tail=["swh_Latn"]']
    found = saturate_vocabulary(tmp_path / "tok", COUNTS, settings=settings, workers=1)
    found.save(tmp_path / "out")
    read = SaturationReport.load(tmp_path / "out")
    assert read.found == found.found
    assert isinstance(read.found.served[0], ServedGain)
    assert read.summary == found.summary == "1 languages, 0 of them data-limited below 20 pieces"
    assert list(found.to_frame()["served"]) == [1]
    (series,) = found.charts()["saturation"].series
    assert list(series.values) == [found.found.served[0].saving]
    assert "Swahili" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
