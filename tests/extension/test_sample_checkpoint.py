"""The demonstration's checkpoint: in XLM-R's layout, extended and verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.extension.tiny_models import ADDED, OLD, write_tokenizer
from vocabkit.core.errors import CheckpointError
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.sample_checkpoint import write_sample_checkpoint
from vocabkit.extension.verify import verify_extension


@pytest.mark.parametrize("reload", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_is_extended_and_verified(tmp_path: Path, reload: bool) -> None:
    if reload:
        pytest.importorskip("transformers")
    write_sample_checkpoint(tmp_path / "m", write_tokenizer(tmp_path / "t"))
    new = write_tokenizer(tmp_path / "new", (*OLD, *ADDED))
    plan = extend_checkpoint(tmp_path / "m", new, tmp_path / "o").plan
    roles = {item.tensor.name: item.role for item in plan.found.found}
    assert roles == {
        "roberta.embeddings.word_embeddings.weight": "input",
        "lm_head.bias": "bias",
    }
    (tmp_path / "text").write_text("the cat sat on a mat\n", encoding="utf-8")
    checks = verify_extension(tmp_path / "o", reload=reload, text=tmp_path / "text")
    assert checks.passed
    logits = next(check for check in checks if check.name == "logits")
    assert logits.state == ("ok" if reload else "skipped")


def test_the_table_of_the_new_vocabulary_goes_along(tmp_path: Path) -> None:
    write_sample_checkpoint(tmp_path / "m", write_tokenizer(tmp_path / "t"))
    (tmp_path / "m" / "vocabulary.parquet").write_bytes(b"old")
    new = write_tokenizer(tmp_path / "new", (*OLD, *ADDED))
    extend_checkpoint(tmp_path / "m", new, tmp_path / "without")
    assert not (tmp_path / "without" / "vocabulary.parquet").exists()
    (Path(new) / "vocabulary.parquet").write_bytes(b"new")
    extend_checkpoint(tmp_path / "m", new, tmp_path / "with")
    assert (tmp_path / "with" / "vocabulary.parquet").read_bytes() == b"new"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_tokenizer(tmp_path / "t")
    for name in ("a", "b"):
        write_sample_checkpoint(tmp_path / name, source, seed=4)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert first == second


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    source = write_tokenizer(tmp_path / "t", eos_token=None)
    with pytest.raises(CheckpointError, match="no token for eos"):
        write_sample_checkpoint(tmp_path / "m", source)
