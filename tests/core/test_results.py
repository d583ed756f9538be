"""What every result can do, and what a caller may hand to a verb."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import vocabkit as vk
from vocabkit.core.config import list_settings
from vocabkit.core.results import Result

TEXTS = {"yor_Latn": ["Ẹ kú àárọ̀"], "eng_Latn": ["good morning", "good night"]}


@dataclass(frozen=True)
class Made(Result):
    rows: tuple[dict[str, object], ...]
    folder: Path | None = None

    def to_rows(self) -> tuple[dict[str, object], ...]:
        return self.rows


def test_rows_come_back_as_they_were_and_can_be_kept_again(tmp_path: Path) -> None:
    made = Made(({"language": "yor_Latn", "value": 1.5}, {"language": "eng_Latn", "value": None}))
    made.save(tmp_path / "a")
    again = Made.load(tmp_path / "a")
    assert list(again.to_rows()) == list(made.rows)
    again.save(tmp_path / "b")
    assert list(Made.load(tmp_path / "b").to_frame()["language"]) == ["yor_Latn", "eng_Latn"]
    with pytest.raises(vk.OutputError, match="holds no Result"):
        Result.load(tmp_path / "a")


def test_a_result_never_replaces_the_folder_it_is_about(tmp_path: Path) -> None:
    own = tmp_path / "run"
    own.mkdir()
    (own / "weights").write_text("all there is", encoding="utf-8")
    with pytest.raises(vk.OutputError):
        Made((), own).save(own, force=True)
    assert (own / "weights").read_text(encoding="utf-8") == "all there is"


def test_merging_in_memory_refuses_what_merging_folders_refuses(tmp_path: Path) -> None:
    counts = vk.WordCounts.from_texts(TEXTS)
    counts.save(tmp_path / "c")
    assert vk.merge([counts, counts]).totals["eng_Latn"].words == 8
    assert vk.merge([counts], tmp_path / "d") == counts
    for output in (None, tmp_path / "out"):
        with pytest.raises(vk.CountsError, match="given twice"):
            vk.merge([tmp_path / "c", tmp_path / "c"], output)
        with pytest.raises(vk.CountsError, match="nothing to merge"):
            vk.merge([], output)


def test_an_open_corpus_is_not_narrowed_in_silence(tmp_path: Path) -> None:
    for code, lines in TEXTS.items():
        (tmp_path / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    corpus = vk.open_corpus(tmp_path)
    assert vk.open_corpus(corpus) is corpus
    with pytest.raises(vk.ConfigError, match="open already"):
        vk.count(corpus, languages="yor")


def test_a_setting_is_what_a_file_could_hold() -> None:
    assert list_settings({"vocabulary": {"size": np.int64(8)}}) == ["vocabulary.size=8"]
    with pytest.raises(vk.ConfigError, match="base: a WordCounts is no setting"):
        list_settings({"base": vk.WordCounts.from_texts(TEXTS)})


def test_one_text_where_several_may_be_given_is_one() -> None:
    counts = vk.WordCounts.from_texts(TEXTS)
    with pytest.raises(vk.ConfigError, match="sise"):
        vk.fit("shared-250k", counts, settings="vocabulary.sise=8")
