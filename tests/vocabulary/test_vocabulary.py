"""Assembling, saving and loading a vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.normalization import load_normalizer
from vocabkit.vocabulary.vocabulary import (
    Block,
    Kind,
    Vocabulary,
    assemble_vocabulary,
)

PIECES = ["▁", "a", "b", "▁ab", "ẹ́", "क"]
SCORES = [-1.0, -2.0, -3.5, -4.25, -5.0, -6.0]


def small(**changes: object) -> Vocabulary:
    settings = {"pieces": PIECES, "scores": SCORES, "model": "unigram", **changes}
    return assemble_vocabulary(normalizer=load_normalizer("nfc"), **settings)  # type: ignore[arg-type]


def test_order_of_ids() -> None:
    vocabulary = small(reserved=2, byte_fallback=True)
    assert vocabulary.pieces[:7] == (
        *("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        *("<unused0>", "<unused1>"),
    )
    assert vocabulary.pieces[7] == "<0x00>"
    assert vocabulary.pieces[7 + 255] == "<0xFF>"
    assert list(vocabulary.pieces[7 + 256 :]) == PIECES
    assert vocabulary.scores[7 + 256 :].tolist() == SCORES
    assert vocabulary.blocks == (Block("shared", 0, vocabulary.size),)
    assert vocabulary.byte_fallback
    assert vocabulary.id_of("▁ab") == 7 + 256 + 3
    assert vocabulary.id_of("zz") is None


def test_token_bytes() -> None:
    vocabulary = small(reserved=1, byte_fallback=True)
    found = [vocabulary.token_bytes(index) for index in (0, 3, 5, 6 + 0xE1, 6 + 256 + 3)]
    assert found == [None, None, None, b"\xe1", b" ab"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pieces": ["a", "b", "a"], "scores": [-1, -2, -3]}, "'a' occurs twice"),
        ({"pieces": ["a", "<s>"], "scores": [-1, -2]}, "'<s>' occurs twice"),
        ({"pieces": ["a"], "scores": [-1, -2]}, "one score"),
        ({"pieces": ["a", ""], "scores": [-1, -2]}, "piece 1 is the empty string"),
        ({"pieces": ["a"], "scores": [float("nan")]}, "'a'.*not finite"),
        ({"special": ["<s>"]}, "<unk>"),
    ],
)
def test_what_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        small(**changes)


def test_blocks_cover_the_ids() -> None:
    vocabulary = small()
    with pytest.raises(TokenizerError, match="gap"):
        dataclasses.replace(
            vocabulary,
            blocks=(
                Block("shared", 0, 5),
                Block("yor_Latn", 6, vocabulary.size),
            ),
        )
    with pytest.raises(TokenizerError, match="end at 5"):
        dataclasses.replace(vocabulary, blocks=(Block("shared", 0, 5),))


def test_save_and_load(tmp_path: Path) -> None:
    whole = small(reserved=1)
    vocabulary = dataclasses.replace(
        whole,
        blocks=(
            Block("shared", 0, 9),
            Block("yor_Latn", 9, whole.size),
        ),
    )
    usage = np.arange(vocabulary.size, dtype=np.int64) * 10**10
    vocabulary.save(tmp_path / "tok", usage={"yor_Latn": usage})
    names = sorted(path.name for path in (tmp_path / "tok").iterdir())
    assert names == [
        *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocabulary.parquet"),
    ]
    loaded = Vocabulary.load(tmp_path / "tok")
    assert loaded == vocabulary
    assert loaded.blocks == vocabulary.blocks
    rows = duckdb.connect().execute(f"SELECT * FROM '{tmp_path}/tok/vocabulary.parquet'").fetchall()
    assert rows[0] == ("<s>", 0, 0.0, "control", "shared", None, 0)
    assert rows[10] == ("ẹ́", 10, -5.0, "normal", "yor_Latn", "Latn", 10**11)
    assert rows[11][5] == "Deva"


def test_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        small().save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_loading_without_the_table_gives_one_block(tmp_path: Path) -> None:
    small().save(tmp_path)
    (tmp_path / "vocabulary.parquet").unlink()
    assert Vocabulary.load(tmp_path) == small()


def test_loading_what_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.model"):
        Vocabulary.load(tmp_path / "absent")
    small().save(tmp_path)
    (tmp_path / "vocabulary.parquet").write_bytes(b"PAR1")
    with pytest.raises(TokenizerError, match=r"vocabulary\.parquet"):
        Vocabulary.load(tmp_path)
    small(pieces=["c"], scores=[-1.0]).save(tmp_path / "other")
    (tmp_path / "other" / "vocabulary.parquet").replace(tmp_path / "vocabulary.parquet")
    with pytest.raises(TokenizerError, match="not those of"):
        Vocabulary.load(tmp_path)


@pytest.mark.parametrize("column", [{"eng_Latn": np.zeros(3, np.int64)}, {"score": np.zeros(11, np.int64)}])
def test_usage_columns_are_checked(tmp_path: Path, column: dict[str, np.ndarray]) -> None:
    with pytest.raises(TokenizerError, match=next(iter(column))):
        small().save(tmp_path, usage=column)


def test_equality_is_by_content() -> None:
    assert small() == small()
    assert hash(small()) == hash(small())
    different: list[Callable[[Vocabulary], Vocabulary]] = [
        lambda v: dataclasses.replace(v, scores=v.scores + np.float32(1)),
        lambda v: dataclasses.replace(v, pieces=(*v.pieces[:-1], "z")),
        lambda v: dataclasses.replace(v, model="bpe"),
        lambda v: dataclasses.replace(v, normalizer=load_normalizer("identity")),
        lambda v: dataclasses.replace(v, kinds=(*v.kinds[:-1], Kind.UNUSED)),
        lambda v: dataclasses.replace(v, blocks=(Block("other", 0, v.size),)),
    ]
    for change in different:
        assert change(small()) != small()
