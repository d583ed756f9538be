"""`vocabkit extend`, `verify` and `undo` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from tests.extension.tiny_models import ADDED, OLD, snapshot, write_model, write_tokenizer


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, words)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "m", tied=True)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    return tmp_path


def test_a_dry_run_tells_the_plan_and_writes_nothing(folder: Path) -> None:
    code, out, err = call(
        "extend", folder / "m", folder / "t", "-o", folder / "o", "--dry-run", "-f", "json",
        "--pad-to-multiple-of", 64,
    )  # fmt: skip
    assert code == 0, err
    rows = {(row["part"], row["name"]): row for row in json.loads(out)["rows"]}
    assert rows["tensor", "model.embed_tokens.weight"]["after"] == "64×8"
    assert rows["tensor", "tie"]["before"] == "alias"
    assert rows["tokens", "approximated"]["after"] == len(ADDED)
    assert rows["tokens", "unwritten"]["after"] == 64 - len(OLD) - len(ADDED)
    assert rows["size", "bytes of tensors"]["after"] - rows["size", "bytes of tensors"]["before"] == (
        (64 - len(OLD)) * 8 * 4
    )
    assert rows["change", "config.json vocab_size"]["note"] == "41 → 64"
    assert {"bytes of disk", "bytes of memory"} <= {name for part, name in rows if part == "size"}
    assert sorted(path.name for path in folder.iterdir()) == ["m", "t"]


def test_extend_verify_undo(folder: Path) -> None:
    before = snapshot(folder / "m")
    code, out, err = call(
        "extend", folder / "m", folder / "t", "-o", folder / "o", "--untie", "--init-output", "first",
        "--init-input", "normal:std=0.1", "--seed", 5,
    )  # fmt: skip
    assert code == 0, err
    assert "lm_head.weight" in out
    assert "vocabkit verify" in err
    code, out, err = call("verify", folder / "o", "--no-reload", "-f", "json")
    assert code == 0, out + err
    states = {row["name"]: row["state"] for row in json.loads(out)["rows"]}
    assert states["logits"] == "skipped"
    assert states["tensors"] == states["files"] == "ok"
    code, _, err = call("undo", folder / "o", "-o", folder / "u")
    assert code == 0, err
    assert "to the bit" in err
    assert snapshot(folder / "u") == before


def test_verify_exits_with_1_when_a_file_was_changed(folder: Path) -> None:
    assert call("extend", folder / "m", folder / "t", "-o", folder / "o")[0] == 0
    (folder / "o" / "README.md").write_text("other", encoding="utf-8")
    code, _, err = call("verify", folder / "o", "--no-reload")
    assert code == 1
    assert "failed: files: changed since they were written: README.md" in err


def test_one_matrix_cannot_be_made_in_two_ways(folder: Path) -> None:
    code, _, err = call("extend", folder / "m", folder / "t", "-o", folder / "o", "--init-output", "first")
    assert code == 2
    assert "hint: --untie" in err
    code, _, err = call("extend", folder / "m", folder / "t", "-o", folder / "o", "--tensor", "a")
    assert code == 2
    assert "NAME=ROLE" in err
