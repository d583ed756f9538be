"""GGUF vocabularies written here from tokenizers trained here: the same ids must come out."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tests.vocabulary.conftest import SENTENCES
from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import PATTERNS, open_tokenizer, read_gguf_fields
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary

Build = Callable[..., Vocabulary]
TEXTS = ("", " a  b ", "<s> <unused0> [CLS] x", "①ｶﾞ ♥♥ 12", "don't 12345\n\nx")
TYPES = {"normal": 1, "unknown": 2, "control": 3, "user": 4, "unused": 5, "byte": 6}


def encode_value(value: Any) -> bytes:
    """A type number and a value as GGUF version 3 holds them."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, str):
        return struct.pack("<IQ", 8, len(value.encode())) + value.encode()
    if isinstance(value, np.ndarray):
        number = {"uint8": 0, "int32": 5, "float32": 6}[value.dtype.name]
        return struct.pack("<IIQ", 9, number, len(value)) + value.tobytes()
    parts = [struct.pack("<Q", len(item.encode())) + item.encode() for item in value]
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(parts)


def write_gguf(path: Path, version: int = 3, **fields: Any) -> Path:
    named = {"general.architecture": "test"}
    named |= {f"tokenizer.ggml.{key}": value for key, value in fields.items()}
    parts = [b"GGUF" + struct.pack("<IQQ", version, 0, len(named))]
    for key, value in named.items():
        parts += [struct.pack("<Q", len(key)), key.encode(), encode_value(value)]
    path.write_bytes(b"".join(parts))
    return path


def describe(vocabulary: Vocabulary) -> dict[str, Any]:
    """The fields of a SentencePiece vocabulary."""
    types = np.array([TYPES[kind] for kind in vocabulary.kinds], dtype=np.int32)
    fields = {
        "model": "t5" if vocabulary.model == "unigram" else "llama",
        "tokens": list(vocabulary.pieces),
        "scores": vocabulary.scores,
        "token_type": types,
        "unknown_token_id": vocabulary.roles.unknown,
        "bos_token_id": vocabulary.roles.begin,
        "add_space_prefix": True,
        "remove_extra_whitespaces": True,
    }
    charsmap = np.frombuffer(vocabulary.normalizer.charsmap, np.uint8)
    return {**fields, "precompiled_charsmap": charsmap} if len(charsmap) else fields


def check_same(one: Tokenizer, other: Tokenizer, texts: list[str]) -> None:
    first, second = one.encode_batch(texts), other.encode_batch(texts)
    assert [ids.tolist() for ids in first] == [ids.tolist() for ids in second]
    assert one.size == other.size
    for index in range(one.size):
        assert one.token_bytes(index) == other.token_bytes(index)
        assert one.kinds[index] is other.kinds[index]
    for ids in first:
        assert one.decode_bytes(ids) == other.decode_bytes(ids)


@pytest.mark.parametrize(("model", "fallback"), [("unigram", False), ("bpe", True)])
@pytest.mark.parametrize("normalizer", ["nmt_nfkc", "identity"])
def test_sentencepiece(
    built: Build, tmp_path: Path, lines: list[str], model: str, fallback: bool, normalizer: str
) -> None:
    vocabulary = built(model, fallback, normalizer)
    vocabulary.save(tmp_path / "tok")
    opened = open_tokenizer(write_gguf(tmp_path / "any.name", **describe(vocabulary)))
    own = open_tokenizer(tmp_path / "tok")
    check_same(opened, own, [*TEXTS, *lines])
    for text in TEXTS:
        assert opened.normalize(text) == own.normalize(text)


def test_sentencepiece_with_its_defaults_and_padding(built: Build, tmp_path: Path) -> None:
    fields = describe(built("bpe", True, "identity"))
    del fields["add_space_prefix"], fields["remove_extra_whitespaces"]
    size = len(fields["tokens"])
    fields["tokens"] = [*fields["tokens"], "<pad1>", fields["tokens"][-1]]
    fields["token_type"] = np.append(fields["token_type"], [2, 1]).astype(np.int32)
    fields["scores"] = np.append(fields["scores"], [0, 0]).astype(np.float32)
    opened = open_tokenizer(write_gguf(tmp_path / "v.gguf", **fields))
    assert opened.size == size + 2
    assert opened.kinds[size] is Kind.UNUSED
    assert opened.kinds[size + 1] is Kind.UNUSED
    assert opened.decode_bytes(opened.encode_batch([" a  b "])[0]) == b" a  b "


@pytest.fixture(scope="module")
def byte_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(PATTERNS["cl100k"][0]), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(SENTENCES, trainer)
    return backend


def describe_bpe(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    model = json.loads(backend.to_str())["model"]
    merges = [" ".join(pair) for pair in model["merges"]]
    return {"tokens": sorted(model["vocab"], key=model["vocab"].get), "merges": merges}


def test_byte_level(byte_level: tokenizers.Tokenizer, tmp_path: Path, lines: list[str]) -> None:
    byte_level.save(str(tmp_path / "tokenizer.json"))
    fields = describe_bpe(byte_level)
    path = write_gguf(tmp_path / "v.gguf", model="gpt2", pre="llama-bpe", **fields)
    check_same(open_tokenizer(path), open_tokenizer(tmp_path), [*TEXTS, *lines])


def test_byte_level_control_tokens_keep_their_ids(byte_level: tokenizers.Tokenizer, tmp_path: Path) -> None:
    fields = describe_bpe(byte_level)
    size = len(fields["tokens"])
    fields["tokens"] = [*fields["tokens"], "<|end|>", "<|tool|>"]
    types = np.array([1] * size + [3, 4], dtype=np.int32)
    path = write_gguf(tmp_path / "v.gguf", model="gpt2", pre="qwen2", token_type=types, **fields)
    opened = open_tokenizer(path)
    assert opened.kinds[size:] == (Kind.CONTROL, Kind.USER)
    first, second = opened.encode_batch(["<|end|>", "<|tool|>"])
    assert size not in first
    assert opened.decode_bytes(first) == b"<|end|>"
    assert opened.decode_bytes(second) == b"<|tool|>"


def test_a_word_that_is_a_token_is_taken_whole(byte_level: tokenizers.Tokenizer, tmp_path: Path) -> None:
    fields = describe_bpe(byte_level)
    fields["tokens"] = [*fields["tokens"], "zxzx"]  # no merge makes it
    for pre, count in (("llama-bpe", 1), ("dbrx", 4)):
        path = write_gguf(tmp_path / "v.gguf", model="gpt2", pre=pre, **fields)
        assert len(open_tokenizer(path).encode_batch(["zxzx"])[0]) == count


def test_a_pattern_that_is_not_known(byte_level: tokenizers.Tokenizer, tmp_path: Path) -> None:
    fields = describe_bpe(byte_level)
    path = write_gguf(tmp_path / "v.gguf", model="gpt2", pre="my-own", **fields)
    with pytest.raises(TokenizerError, match=r"pre-tokeniser is 'my-own'.*one of gpt2") as caught:
        open_tokenizer(path)
    assert (caught.value.hint or "").startswith("--pattern NAME")
    ids = open_tokenizer(path, pattern="cl100k").encode_batch(["12345"])
    assert open_tokenizer(path, pattern="qwen2").encode_batch(["12345"])[0].size == 5
    assert ids[0].size <= 5


def test_bpe_with_spaces_as_letters(tmp_path: Path, lines: list[str]) -> None:
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Replace("▁", " ")
    names = ["<unk>", "<s>", *(f"<0x{value:02X}>" for value in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=names, show_progress=False)
    backend.train_from_iterator(lines[:60], trainer)
    fields = describe_bpe(backend)
    types = [2, 3, *[6] * 256, *[1] * (len(fields["tokens"]) - 258)]
    path = write_gguf(
        tmp_path / "v.gguf",
        model="gemma4",
        unknown_token_id=0,
        add_space_prefix=False,
        token_type=np.array(types, dtype=np.int32),
        **fields,
    )
    opened = open_tokenizer(path)
    bare = tokenizers.Tokenizer(
        models.BPE.from_file(*backend.model.save(str(tmp_path)), byte_fallback=True, unk_token="<unk>")
    )
    bare.normalizer = backend.normalizer
    for text in (" a  b", "♥", *lines):
        (ids,) = opened.encode_batch([text])
        assert ids.tolist() == bare.encode(text, add_special_tokens=False).ids
        assert opened.decode_bytes(ids) == text.encode()
        assert opened.unknown_characters([text]) == [0]
    assert opened.kinds[2] is Kind.BYTE
    assert opened.word_prefix == " "


def test_wordpiece(tmp_path: Path) -> None:
    tokens = ["[PAD]", "[UNK]", "▁play", "ing", "▁a", "▁cafe", "[unused1]"]
    types = np.array([3, 3, 1, 1, 1, 1, 1], dtype=np.int32)
    path = write_gguf(tmp_path / "v.gguf", model="bert", tokens=tokens, token_type=types, unknown_token_id=1)
    opened = open_tokenizer(path)
    first, second = opened.encode_batch(["A playing CAFÉ", "a ♥♥ zz a"])
    assert first.tolist() == [4, 2, 3, 5]
    assert opened.decode_bytes(first) == b"a playing cafe"
    assert second.tolist() == [4, 1, 1, 4]
    assert opened.unknown_characters(["a ♥♥ zz a", "a"]) == [4, 0]
    assert opened.kinds[1] is Kind.UNKNOWN
    assert opened.style == "wordpiece"
    assert opened.exact_on_words is None


@pytest.mark.parametrize("accents", [None, True, False])
@pytest.mark.parametrize("lower", [None, True, False])
def test_wordpiece_is_normalized_as_the_file_says(
    lower: bool | None, accents: bool | None, tmp_path: Path
) -> None:
    names = ["[UNK]", *(f"\u2581{word}" for word in ("Café", "Cafe", "café", "cafe"))]
    told = {"normalizer.lowercase": lower, "normalizer.strip_accents": accents}
    fields: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
    fields |= {"model": "bert", "tokens": names, "unknown_token_id": 0}
    path = write_gguf(tmp_path / "v.gguf", token_type=np.array([2, 1, 1, 1, 1], np.int32), **fields)
    # As tokenizers does by the settings of the model it was made from; lower case is llama.cpp's default.
    normalizer = normalizers.BertNormalizer(lowercase=lower is not False, strip_accents=accents)
    wanted = normalizer.normalize_str("Café")
    (ids,) = open_tokenizer(path).encode_batch(["Café"])
    assert [names[index] for index in ids] == [f"\u2581{wanted}"]


@pytest.mark.parametrize(
    ("model", "told"), [("unigram", None), ("unigram", True), ("bpe", None), ("bpe", False)]
)
def test_a_space_put_first_by_default_and_as_told(
    built: Build, tmp_path: Path, model: str, told: bool | None
) -> None:
    fields = describe(built(model, False, "identity"))
    del fields["add_space_prefix"]
    if told is not None:
        fields["add_space_prefix"] = told
    opened = open_tokenizer(write_gguf(tmp_path / "v.gguf", **fields))
    # llama.cpp sets it for its BPE ("llama"), and leaves it off for its unigram ("t5").
    expected = model == "bpe" if told is None else told
    (ids,) = opened.encode_batch(["small birds"])
    assert (opened.token_bytes(int(ids[0])) or b"").startswith(b" ") is expected


def test_a_file_cut_off_anywhere(built: Build, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "v.gguf", **describe(built("unigram", False)))
    data = path.read_bytes()
    assert read_gguf_fields(path)["tokenizer.ggml.add_space_prefix"] is True
    for size in [*range(4, 200), *range(200, len(data), 997), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(TokenizerError, match="cut off: byte") as caught:
            open_tokenizer(path)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no tokenizer.ggml.tokens"),
        ({"tokens": ["a"], "model": "rwkv"}, "the vocabulary is 'rwkv': expected llama"),
        ({"tokens": ["a"], "model": "t5"}, "no unknown piece"),
        ({"tokens": ["a", "b"], "token_type": np.array([1], np.int32)}, "2 tokens, 1 token types"),
        ({"tokens": ["a"], "token_type": np.array([9], np.int32)}, r"'a' \(id 0\) has type 9: expected 1 to 6"),
        (
            {"tokens": ["a"], "model": "t5", "token_type": np.array([2], np.int32)},
            "a score a piece",
        ),
        ({"tokens": ["a"], "model": "gpt2", "pre": "gpt-2"}, "not byte-level BPE"),
        ({"tokens": ["a"], "model": "gpt2", "pre": "gpt-2", "merges": ["a"]}, "merge 1 is no pair"),
        ({"version": 1}, "GGUF version 1: expected 2 or 3"),
    ],
)
def test_wrong_fields(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = write_gguf(tmp_path / "v.gguf", **fields)
    with pytest.raises(TokenizerError, match=message) as caught:
        open_tokenizer(path)
    assert caught.value.hint
    assert str(path) in caught.value.message


def test_published_ids_of_xlm_roberta() -> None:
    folder = os.environ.get("VOCABKIT_TOKENIZERS")
    found = sorted(Path(folder).rglob("ggml-vocab-nomic-bert-moe.gguf")) if folder else []
    if not found:
        pytest.skip("VOCABKIT_TOKENIZERS names no folder with ggml-vocab-nomic-bert-moe.gguf")
    opened = open_tokenizer(found[0])
    assert opened.size == 250_048
    assert opened.encode_batch(["Hello World!"])[0].tolist() == [35378, 6661, 38]
    assert opened.normalize("①ｶﾞ") == "1ガ"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("token_type", "1, 1", "tokenizer.ggml.token_type is of type bytes"),
        ("scores", "none", "tokenizer.ggml.scores is of type bytes"),
        ("precompiled_charsmap", "none", "tokenizer.ggml.precompiled_charsmap is of type bytes"),
        ("model", 7, "tokenizer.ggml.model is of type int"),
        ("unknown_token_id", "3", "tokenizer.ggml.unknown_token_id is of type bytes"),
    ],
)
def test_fields_of_another_type(built: Build, tmp_path: Path, key: str, value: object, said: str) -> None:
    path = write_gguf(tmp_path / "v.gguf", **{**describe(built("unigram", False)), key: value})
    with pytest.raises(TokenizerError, match=said) as caught:
        open_tokenizer(path)
    assert caught.value.hint


def test_an_unknown_id_beyond_the_tokens(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"model": "bert", "tokens": ["[UNK]", "▁a"], "unknown_token_id": 9}
    with pytest.raises(TokenizerError, match="unknown_token_id 9, and 2 tokens"):
        open_tokenizer(write_gguf(tmp_path / "v.gguf", **fields))
