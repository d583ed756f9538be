"""`vocabkit allocate` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from tests.fitting.test_sentencepiece_engine import inflected
from vocabkit.corpus.word_counts import WordCounts


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counts")
    texts = {"eng_Latn": inflected(1, 300), "swh_Latn": inflected(3, 80)}
    WordCounts.from_texts(texts, held_out=0.2).save(folder)
    return folder


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["allocate", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


PLAIN = ("--set", "normalization.rule=identity")


def test_prints_a_row_per_language_and_writes_the_folder(counts: Path, tmp_path: Path) -> None:
    code, out, err = call(
        "--counts", counts, "--budget", 300, "--method", "maxmin", "-o", tmp_path / "a",
        "-f", "json", *PLAIN,
    )  # fmt: skip
    assert code == 0, err
    document = json.loads(out)
    assert document["schema"] == "vocabkit.allocate/1"
    assert [row["language"] for row in document["rows"]] == ["eng_Latn", "swh_Latn"]
    assert sum(row["attributed"] for row in document["rows"]) == 300
    assert "300 pieces" in err
    assert "cost: tokens per character" in err
    assert (tmp_path / "a" / "allocation.csv").is_file()


def test_aligned_lines_may_be_records_of_any_field(counts: Path, tmp_path: Path) -> None:
    found = []
    for name in ("text", "records"):
        (tmp_path / name).mkdir()
        for language, seed in (("eng_Latn", 5), ("swh_Latn", 7)):
            lines = inflected(seed, 40)
            if name == "records":
                said = [json.dumps({"id": "x", "line": line}) for line in lines]
                (tmp_path / name / f"{language}.jsonl").write_text("\n".join(said), encoding="utf-8")
            else:
                (tmp_path / name / f"{language}.txt").write_text("\n".join(lines), encoding="utf-8")
        words = ("--counts", counts, "--budget", 300, "--method", "parity", "--dev", tmp_path / name)
        more = ("--field", "line") if name == "records" else ()
        code, out, err = call(*words, "-o", tmp_path / f"{name}-out", "-f", "json", *PLAIN, *more)
        assert code == 0, err
        found.append(json.loads(out))
    assert found[0] == found[1]
    code, _, err = call(*words, "-o", tmp_path / "c", *PLAIN, "--field", "lime")
    assert code == 2
    assert "did you mean line?" in err


def test_floors_and_languages(counts: Path, tmp_path: Path) -> None:
    code, out, err = call(
        "--counts", counts, "--budget", 200, "--floor", 120, "-o", tmp_path / "a", "-f", "csv",
        "--ceiling", 150, *PLAIN,
    )  # fmt: skip
    assert code == 0, err
    sizes = [int(line.split(",")[3]) for line in out.splitlines()[1:]]
    assert min(sizes) >= 120
    assert max(sizes) <= 150
    code, out, err = call(
        "--counts", counts, "--languages", "swh", "--budget", 90, "-o", tmp_path / "b", *PLAIN
    )
    assert code == 0, err
    assert "eng_Latn" not in out


def test_mistakes_are_told_with_what_to_do(counts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, err = call("--counts", counts, "--budget", 300, "--method", "parity", "-o", out)
    assert code == 2
    assert "--dev DIR" in err
    code, _, err = call("--counts", counts, "--budget", 90_000, "-o", out, *PLAIN)
    assert code == 2
    assert "can fill" in err
    code, _, err = call("--counts", counts, "--saturation", "-o", out)
    assert code == 2
    assert "--base" in err
    code, _, err = call("--counts", counts, "--base", "tok", "-o", out)
    assert code == 2
    assert "--saturation" in err
    assert not out.exists()
