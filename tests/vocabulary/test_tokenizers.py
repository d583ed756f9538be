"""One protocol over a folder, a .model and a tokenizer.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.tokenizers import UNKNOWN_BYTES, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary

Build = Callable[..., Vocabulary]


@pytest.fixture
def folder(built: Build, tmp_path: Path) -> Path:
    built("unigram", True).save(tmp_path / "tok")
    return tmp_path / "tok"


def test_folder_and_files_agree(folder: Path, built: Build, lines: list[str]) -> None:
    opened = [open_tokenizer(folder / name) for name in ("", "tokenizer.model", "tokenizer.json")]
    ids = [tokenizer.encode_batch(["", "<s> <mask>", *lines]) for tokenizer in opened]
    for found in ids:
        assert all(array.dtype == np.int32 for array in found)
        assert [a.tolist() for a in found] == [a.tolist() for a in ids[0]]
    vocabulary = built("unigram", True)
    for tokenizer in opened:
        assert tokenizer.size == vocabulary.size
        tokens = [tokenizer.token_bytes(index) for index in range(tokenizer.size)]
        for index in range(tokenizer.size):
            assert tokens[index] == vocabulary.token_bytes(index)
            assert tokenizer.kinds[index] is vocabulary.kinds[index]


def test_decoding_is_lossless_with_bytes(folder: Path, built: Build, lines: list[str]) -> None:
    normalizer = built("unigram", True).normalizer
    for name in ("tokenizer.model", "tokenizer.json"):
        tokenizer = open_tokenizer(folder / name)
        for text in ("♥ x 👩", "▁a", *lines):
            expected = " ".join(normalizer.normalize(text).split(" ")).strip(" ")
            expected = " ".join(part for part in expected.split(" ") if part)
            (ids,) = tokenizer.encode_batch([text])
            assert tokenizer.decode_bytes(ids) == expected.encode()


def test_unknown_characters_decode_to_one_replacement(built: Build, tmp_path: Path) -> None:
    built("unigram", False).save(tmp_path)
    tokenizer = open_tokenizer(tmp_path)
    (ids,) = tokenizer.encode_batch(["a ♥♥"])
    assert tokenizer.kinds[int(ids[-1])] is Kind.UNKNOWN
    assert tokenizer.decode_bytes(ids) == b"a " + UNKNOWN_BYTES


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_lone_surrogates_are_named(folder: Path, name: str) -> None:
    with pytest.raises(TokenizerError, match=r"text 2: character 1 .*U\+D800") as caught:
        open_tokenizer(folder / name).encode_batch(["a", "b", "c\ud800"])
    assert caught.value.hint


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_ids_out_of_range(folder: Path, name: str) -> None:
    tokenizer = open_tokenizer(folder / name)
    for index in (-1, tokenizer.size):
        with pytest.raises(TokenizerError, match=f"no id {index}"):
            tokenizer.token_bytes(index)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.model", b"hello", "not a SentencePiece model"),
        ("a.model", b"", "not a SentencePiece model"),
        ("a.json", b"hello", "not JSON"),
        ("a.json", b"\xff\xfe", "not JSON"),
        ("a.json", b"[1, 2]", "not a tokenizer"),
        ("a.json", b'{"model_type": "bert"}', "not a tokenizer"),
        ("a.json", b'{"model": {"type": "Strange"}}', "not a tokenizer"),
    ],
)
def test_wrong_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=message) as caught:
        open_tokenizer(tmp_path / name)
    assert name in caught.value.message
    assert caught.value.hint


def test_missing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(TokenizerError) as caught:
            open_tokenizer(path)
        assert caught.value.hint


def test_byte_level(tmp_path: Path, lines: list[str]) -> None:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    backend.train_from_iterator(lines, trainer)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    single = {tokenizer.token_bytes(index) for index in range(tokenizer.size)}
    assert {bytes([value]) for value in range(256)} <= single
    for text in (" a  b\n", "한국어 ♥", "<|end|>", *lines):
        (ids,) = tokenizer.encode_batch([text])
        assert tokenizer.decode_bytes(ids) == text.encode()
    assert tokenizer.token_bytes(0) is None


def test_wordpiece(tmp_path: Path) -> None:
    vocab = {"[UNK]": 0, "play": 1, "##ing": 2, "a": 3}
    backend = Backend(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    (ids,) = tokenizer.encode_batch(["a playing"])
    assert tokenizer.decode_bytes(ids) == b"a playing"
    assert tokenizer.kinds[0] is Kind.UNKNOWN
