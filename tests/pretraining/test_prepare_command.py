"""`vocabkit prepare` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cli import app
from tests.pretraining.tiny_tokenizers import LINES, write_byte_level, write_ours
from vocabkit.core.records import read_manifest
from vocabkit.pretraining.prepared import PreparedCorpus


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def write_corpus(root: Path) -> Path:
    root.mkdir()
    for code in ("eng_Latn", "yor_Latn"):
        lines = [f"{line} {number}" for number in range(40) for line in LINES]
        (root / f"{code}.txt").write_text("\n".join(lines), encoding="utf-8")
    return root


def test_a_corpus_is_prepared(tmp_path: Path) -> None:
    corpus, tokenizer = write_corpus(tmp_path / "corpus"), write_ours(tmp_path / "t")
    code, out, err = call(
        "prepare", corpus, "--tokenizer", tokenizer, "-o", tmp_path / "o", "--length", 64,
        "--languages", "yor", "--workers", 1, "--held-out", 0.1, "-f", "json",
    )  # fmt: skip
    assert code == 0, err
    (row,) = json.loads(out)["rows"]
    assert row["language"] == "yor_Latn"
    assert row["documents"] + row["held_out_documents"] == 120
    assert "of places hold text" in err
    prepared = PreparedCorpus.load(tmp_path / "o")
    assert (prepared.length, prepared.languages) == (64, ("yor_Latn",))
    assert prepared.split("yor_Latn", "train").rows == row["rows"]
    manifest = read_manifest(tmp_path / "o")
    assert manifest["config"] == {"length": 64, "encoding": "union", "held_out": 0.1}
    # The written corpus file prepares the same again.
    code, _, err = call(
        "prepare", tmp_path / "o/config.toml", "-t", tokenizer, "-o", tmp_path / "p",
        "--length", 64, "--held-out", 0.1, "-q",
    )  # fmt: skip
    assert code == 0, err
    assert PreparedCorpus.load(tmp_path / "p").fingerprint == prepared.fingerprint


def test_mistakes_end_without_a_traceback(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    code, _, err = call("prepare", corpus, "-t", tmp_path / "nowhere", "-o", tmp_path / "o")
    assert code == 2
    assert "no such file or folder" in err
    tokenizer = write_byte_level(tmp_path / "t", special=None)
    code, _, err = call("prepare", corpus, "-t", tokenizer, "-o", tmp_path / "o")
    assert code == 2
    assert "no token begins a text" in err
    assert "Traceback" not in err


def test_unknown_text_is_warned_of(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "eng_Latn.txt").write_text("the cat ቃላት\nthe dog\n" * 9, encoding="utf-8")
    tokenizer = write_ours(tmp_path / "t", bytes_too=False)
    code, _, err = call("prepare", root, "-t", tokenizer, "-o", tmp_path / "o", "--workers", 1, "--held-out", 0)
    assert code == 0, err
    assert "of its tokens are unknown" in err
