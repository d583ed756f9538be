"""The folder of a byte-level vocabulary: what other programs read in it."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from tokenizers import Tokenizer

from vocabkit.core.errors import TokenizerError
from vocabkit.fitting.pre_tokens import BYTE_ORDER
from vocabkit.vocabulary.byte_level import ByteLevelVocabulary, _spell_bytes
from vocabkit.vocabulary.tokenizers import PATTERNS, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind


def build(special: tuple[str, ...] = ("<|end_of_text|>", "<|pad|>")) -> ByteLevelVocabulary:
    first = len(special)
    ids = {byte: first + place for place, byte in enumerate(BYTE_ORDER)}
    tokens = [*BYTE_ORDER]
    merges = []
    for left, right in ((b" ", b"a"), ("é".encode()[:1], "é".encode()[1:]), (b" a", "é".encode())):
        merges.append((ids[left], ids[right]))
        ids[left + right] = first + len(tokens)
        tokens.append(left + right)
    return ByteLevelVocabulary(special, tuple(tokens), tuple(merges), PATTERNS["gpt2"])


def test_the_file_encodes_by_the_merges(tmp_path: Path) -> None:
    vocabulary = build()
    vocabulary.save(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids = backend.encode(" aé aa<|pad|>").ids
    assert ids == [260, 258, vocabulary.pieces.index("a"), 1]
    assert backend.decode(ids, skip_special_tokens=False) == " aé aa<|pad|>"


def test_our_own_reader_sees_the_same_tokens(tmp_path: Path) -> None:
    vocabulary = build()
    vocabulary.save(tmp_path)
    opened = open_tokenizer(tmp_path)
    assert opened.size == vocabulary.size
    assert tuple(opened.kinds) == vocabulary.kinds
    for index, token in enumerate(vocabulary.tokens, start=2):
        assert opened.token_bytes(index) == token
    assert opened.token_bytes(0) is None


def test_the_table_tells_bytes_script_and_use(tmp_path: Path) -> None:
    vocabulary = build()
    usage = {"eng_Latn": np.arange(vocabulary.size, dtype=np.int64)}
    vocabulary.save(tmp_path, usage)
    rows = (
        duckdb.connect()
        .execute(
            "SELECT piece, bytes, id, kind, block, script, eng_Latn "
            f"FROM '{tmp_path / 'vocabulary.parquet'}' ORDER BY id"
        )
        .fetchall()
    )
    assert rows[0] == ("<|end_of_text|>", None, 0, "control", "shared", None, 0)
    assert rows[-1] == (
        "Ġaé".replace("é", _spell_bytes("é".encode())),
        "2061c3a9",
        260,
        "normal",
        "shared",
        "Latn",
        260,
    )
    lone = next(row for row in rows if row[1] == "c3")
    assert lone[5] is None


def test_special_tokens_get_the_role_of_their_name(tmp_path: Path) -> None:
    build(("<s>", "</s>", "<extra>")).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (config["bos_token"], config["eos_token"]) == ("<s>", "</s>")
    assert config["additional_special_tokens"] == ["<extra>"]
    assert "pad_token" not in config


def test_transformers_loads_the_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = build()
    vocabulary.save(tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert len(loaded) == vocabulary.size
    assert loaded.eos_token_id == 0
    assert loaded("x aé")["input_ids"][-1] == 260


def test_a_token_that_occurs_twice_is_refused() -> None:
    with pytest.raises(TokenizerError, match="'a' occurs twice"):
        ByteLevelVocabulary((), (b"a", b"b", b"a"), (), PATTERNS["gpt2"])


def test_kinds_are_special_and_normal_only() -> None:
    assert set(build().kinds) == {Kind.CONTROL, Kind.NORMAL}
