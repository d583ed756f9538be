"""Rows of tokens and of differences, as `vocabkit show` and `vocabkit diff` print them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vocabulary.bpe_bases import byte_level_base, write_base
from vocabkit.core.errors import TokenizerError
from vocabkit.verbs import diff
from vocabkit.vocabulary.adapters import SentencePieceTokenizer, list_tokens
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Vocabulary

Build = Callable[..., Vocabulary]


def test_a_row_says_what_a_token_is(built: Build) -> None:
    tokenizer = SentencePieceTokenizer("test", built("unigram", True))
    rows = list_tokens(tokenizer, "the 𓀀")
    assert [row["id"] for row in rows] == tokenizer.encode_batch(["the 𓀀"])[0].tolist()
    assert all(row["bytes"] for row in rows)
    byte = [row for row in rows if row["kind"] == "byte"]
    assert [row["bytes"] for row in byte] == ["f0", "93", "80", "80"]
    assert {row["script"] for row in byte} == {None}
    assert rows[0]["script"] in ("Latn", "Zyyy")
    assert list_tokens(tokenizer, "") == []


def test_unknown_tokens_have_no_bytes(built: Build) -> None:
    tokenizer = SentencePieceTokenizer("test", built("unigram", False))
    last = list_tokens(tokenizer, "𓀀")[-1]
    assert (last["piece"], last["script"], last["bytes"]) == ("<unknown>", None, None)


def test_only_vocabularies_with_a_model_are_compared(built: Build, tmp_path: Path) -> None:
    built("unigram", True).save(tmp_path / "a")
    built("unigram", False).save(tmp_path / "b")
    found = diff(tmp_path / "a", tmp_path / "b")
    assert sum(int(str(row["removed"])) for row in found.to_rows()) >= 256
    base = write_base(byte_level_base(), tmp_path / "bpe")
    assert open_tokenizer(base).size
    with pytest.raises(TokenizerError, match=r"has no \.model"):
        diff(tmp_path / "a", base)
