"""The tokenizer.json of a lone .model, against the one written with it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.pretraining.tiny_tokenizers import LINES, write_byte_level, write_ours
from vocabkit.vocabulary.roles import complete_tokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer


def test_a_lone_model_gets_the_json_that_was_written_with_it(tmp_path: Path) -> None:
    whole = write_ours(tmp_path / "whole")
    (tmp_path / "lone").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "lone/some.model").write_bytes((whole / "tokenizer.model").read_bytes())
    assert complete_tokenizer(tmp_path / "lone", tmp_path / "out") is None
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


def test_files_that_are_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert complete_tokenizer(write_ours(tmp_path / "whole"), tmp_path / "out") is None
    assert not [*(tmp_path / "out").iterdir()]


def test_two_files_of_gpt2_alone_are_told_of(tmp_path: Path) -> None:
    content = json.loads((write_byte_level(tmp_path / "t") / "tokenizer.json").read_text("utf-8"))
    pair, model = tmp_path / "pair", content["model"]
    pair.mkdir()
    (pair / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(merge) for merge in model["merges"])
    (pair / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    assert open_tokenizer(pair).encode_batch([LINES[0]])
    (tmp_path / "out").mkdir()
    found = complete_tokenizer(pair, tmp_path / "out")
    assert found is not None
    assert "no tokenizer.json" in found
    assert not [*(tmp_path / "out").iterdir()]
