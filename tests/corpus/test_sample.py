"""The sample is real text in the right script, without repetition, the same bytes every time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from vocabkit.core.errors import MissingExtra, OutputError
from vocabkit.core.languages import load_panel
from vocabkit.core.text import piece_script
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.sample import (
    SMALL_BYTES,
    TAGS,
    TEXT_BYTES,
    Sample,
    _clean_line,
    write_sample,
)
from vocabkit.corpus.sources import open_corpus

for package in ("babel", "django", "gflanguages"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_sample(tmp_path_factory.mktemp("sample") / "sample")


def lines_of(path: Path) -> list[str]:
    text = path.read_bytes().decode("utf-8")
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")


def test_all_panel_languages_with_their_sizes(report: Sample) -> None:
    panel = load_panel("panels/panel-40")
    assert tuple(row.language for row in report.rows) == panel.codes == tuple(TAGS)
    for row in report.rows:
        path = report.folder / "text" / f"{row.language}.txt"
        assert row.size == path.stat().st_size == sum(row.packages.values()) <= TEXT_BYTES
        assert row.lines == len(lines_of(path)) > 100
    assert report.small == tuple(row.language for row in report.rows if row.size < SMALL_BYTES)
    total = sum(path.stat().st_size for path in report.folder.rglob("*.txt"))
    assert 700_000 < total < 1_200_000


def test_text_quality(report: Sample) -> None:
    for code in TAGS:
        script = {"Hans": "Hani"}.get(code.split("_")[1], code.split("_")[1])
        lines = lines_of(report.folder / "text" / f"{code}.txt")
        assert len(lines) == len(set(lines))
        for line in lines:
            assert line == " ".join(line.split()) != ""
            assert piece_script(line) == script, (code, line)
            assert not any(mark in line for mark in ("%(", "%s", "{", "}", "<", ">", "://")), line


def test_chinese_is_simplified_and_serbian_cyrillic(report: Sample) -> None:
    chinese = (report.folder / "text" / "zho_Hans.txt").read_text(encoding="utf-8")
    # Common characters that simplification replaced, and what replaced them.
    assert not set("國語個這們來時說對會學東車馬龍門") & set(chinese)
    assert set("国语个这们来时说对会学东马门") <= set(chinese)
    serbian = (report.folder / "text" / "srp_Cyrl.txt").read_text(encoding="utf-8")
    assert set("ђљњћџј") <= set(serbian)


def test_aligned_sets_line_up_and_are_held_out(report: Sample) -> None:
    assert {found.folder for found in report.aligned} == {"aligned/messages", "aligned/names"}
    for found in report.aligned:
        folder = report.folder / found.folder
        assert sorted(path.stem for path in folder.iterdir()) == sorted(found.languages)
        english = lines_of(folder / "eng_Latn.txt")
        assert len(english) == len(set(english)) == found.lines >= 40
        for code in found.languages:
            lines = lines_of(folder / f"{code}.txt")
            assert len(lines) == found.lines
            assert not set(lines) & set(lines_of(report.folder / "text" / f"{code}.txt"))
    names = next(found for found in report.aligned if found.folder.endswith("names"))
    assert names.languages == tuple(TAGS)
    messages = next(found for found in report.aligned if found.folder.endswith("messages"))
    assert len(messages.languages) >= 25


def test_aligned_lines_say_the_same(report: Sample) -> None:
    from babel import Locale

    # Names read from Babel the other way round: by key, from each locale.
    english = {name: key for key, name in Locale.parse("en").territories.items()}
    swahili = Locale.parse("sw").territories
    folder = report.folder / "aligned" / "names"
    pairs = zip(lines_of(folder / "eng_Latn.txt"), lines_of(folder / "swh_Latn.txt"), strict=True)
    checked = [swahili[english[a]] == b for a, b in pairs if a in english]
    assert len(checked) > 10
    assert all(checked)


def test_text_is_a_corpus(report: Sample) -> None:
    corpus = open_corpus(report.folder / "text", panel=load_panel("panels/panel-40"))
    repairs = Repairs()
    counts = {
        code: sum(len(b) for s in group for b in read_documents(s, "line", "text", repairs))
        for code, group in corpus.sources.items()
    }
    assert counts == {row.language: row.lines for row in report.rows}
    assert not repairs


def test_same_bytes_again(report: Sample, tmp_path: Path) -> None:
    again = write_sample(tmp_path / "again")
    first = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))
    second = json.loads((again.folder / "manifest.json").read_text(encoding="utf-8"))
    assert first["outputs"] == second["outputs"]
    assert first["details"] == second["details"]
    assert set(first["details"]["sources"]) == {"gflanguages", "babel", "django"}
    assert all(s["version"] and s["licence"] for s in first["details"]["sources"].values())


def test_never_over_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="not empty"):
        write_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            return None

    monkeypatch.setattr(sys, "meta_path", [Nothing()])
    for name in list(sys.modules):
        if name.split(".")[0] in {"babel", "django"}:
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtra, match="babel, django") as caught:
        write_sample(tmp_path / "out")
    assert caught.value.hint == "pip install 'vocabkit[sample]'"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  two \n words ", "two words"),
        ("Enter %(max)s digits", None),
        ("<b>bold</b>", None),
        ("see https://example.org", None),
        ("123 – 456", None),
        ("русский", None),
        ("e\u0301te\u0301", "été"),
        ("5% off", "5% off"),
    ],
)
def test_clean_lines(text: str, clean: str | None) -> None:
    assert _clean_line(text, "fra_Latn") == clean
