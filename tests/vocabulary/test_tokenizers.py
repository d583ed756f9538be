"""One protocol over a folder, a .model and a tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.adapters import UNKNOWN_BYTES
from vocabkit.vocabulary.byte_level import BpeBase
from vocabkit.vocabulary.roles import find_special_ids, find_tokenizer_files, open_source
from vocabkit.vocabulary.tokenizers import open_route, open_tokenizer, takes_pattern
from vocabkit.vocabulary.vocabulary import (
    Block,
    Kind,
    Vocabulary,
    assemble_vocabulary,
)

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


@pytest.fixture
def blocks(built: Build, tmp_path: Path) -> Path:
    """A vocabulary whose last ten pieces are Yoruba's block, and the ten before it Hindi's."""
    whole = built("unigram", True)
    ends = (whole.size - 20, whole.size - 10, whole.size)
    starts = (0, *ends)
    names = ("shared", "hin_Deva", "yor_Latn")
    listed = [Block(name, starts[i], ends[i]) for i, name in enumerate(names)]
    replace(whole, blocks=tuple(listed)).save(tmp_path / "blocks")
    return tmp_path / "blocks"


def test_a_route_encodes_with_the_shared_block_and_its_own(blocks: Path, lines: list[str]) -> None:
    whole = open_tokenizer(blocks)
    own = {"yor_Latn": range(whole.size - 10, whole.size), "shared": range(0)}
    for code, name in (("yor_Latn", "yor_Latn"), ("yo", "yor_Latn"), ("shared", "shared")):
        routed = open_route(blocks, code)
        assert routed.size == whole.size
        used = set(np.concatenate(routed.encode_batch(lines)).tolist())
        unused = [i for i, kind in enumerate(routed.kinds) if kind is Kind.UNUSED]
        expected = set(range(whole.size - 20, whole.size)).difference(own[name])
        assert expected <= set(unused)
        assert used.isdisjoint(expected)
    anywhere = np.concatenate(whole.encode_batch(lines)).tolist()
    assert set(anywhere) & set(range(whole.size - 20, whole.size))


def test_a_route_needs_blocks_and_one_of_that_language(blocks: Path, folder: Path) -> None:
    with pytest.raises(TokenizerError, match=r"blocks: no route for 'xho_Latn'.*yor_Latn") as caught:
        open_route(blocks, "xho_Latn")
    assert "shared" in (caught.value.hint or "")
    with pytest.raises(TokenizerError, match=r"tok: no route .*no language blocks"):
        open_route(folder, "yor_Latn")
    with pytest.raises(TokenizerError, match="not a tokenizer folder"):
        open_route(folder / "tokenizer.json", "yor_Latn")


def test_only_some_formats_take_a_pattern(folder: Path, tmp_path: Path) -> None:
    assert not takes_pattern(folder)
    assert not takes_pattern(folder / "tokenizer.json")
    (tmp_path / "ranks.model").write_bytes(b"IQ== 0\nIg== 1\n")
    assert takes_pattern(tmp_path / "ranks.model")
    (tmp_path / "vocab.json").write_text("{}", encoding="utf-8")
    assert not takes_pattern(tmp_path / "vocab.json")
    (tmp_path / "merges.txt").write_text("", encoding="utf-8")
    assert takes_pattern(tmp_path / "vocab.json")


def save_wordpiece(path: Path) -> None:
    vocab = {"[UNK]": 0, "play": 1, "##ing": 2, "a": 3, "cafe": 4}
    backend = Backend(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.save(str(path))


def train_bpe(lines: list[str], **options: Any) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(**options)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(lines, trainer)
    return backend


def test_flat_ids_are_the_batch_in_a_row(folder: Path, lines: list[str]) -> None:
    for name in ("tokenizer.model", "tokenizer.json"):
        tokenizer = open_tokenizer(folder / name)
        for texts in ([], [""], ["", *lines, ""]):
            ids, lengths = tokenizer.encode_flat(texts)
            batch = tokenizer.encode_batch(texts)
            assert ids.dtype == np.int32
            assert lengths.dtype == np.int64
            assert lengths.tolist() == [len(part) for part in batch]
            assert ids.tolist() == [index for part in batch for index in part.tolist()]
            counted = tokenizer.count_tokens(texts)
            assert counted.dtype == np.int64
            assert counted.tolist() == lengths.tolist()


@pytest.mark.parametrize("model", ["unigram", "bpe"])
@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_characters_lost_in_unknown_pieces(built: Build, tmp_path: Path, name: str, model: str) -> None:
    built(model, False).save(tmp_path)
    tokenizer = open_tokenizer(tmp_path / name)
    # One fused token each: a rate of tokens would say 1 of 3, however long the text that is lost.
    texts = ["a b", "", "a ♥♥♥ b", "♥a ♥♥", "①♥ 💜💜💜💜", "\u3000♥"]
    assert tokenizer.unknown_characters(texts) == [0, 0, 3, 3, 5, 1]
    encoded = tokenizer.encode_flat(texts)
    assert tokenizer.unknown_characters(texts, encoded) == [0, 0, 3, 3, 5, 1]
    ids = tokenizer.encode_batch(texts)
    unknown = tokenizer.kinds.index(Kind.UNKNOWN)
    assert [int((part == unknown).sum()) for part in ids] == [0, 0, 1, 2, 2, 1]


def test_white_space_is_not_counted_as_lost(built: Build, tmp_path: Path) -> None:
    normalizer = built("unigram", False).normalizer
    assemble_vocabulary(["a"], [-1.0], "unigram", normalizer).save(tmp_path)
    assert open_tokenizer(tmp_path).unknown_characters(["♥ ♥", "a a"]) == [2, 0]


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_bytes_lose_nothing(folder: Path, name: str) -> None:
    assert open_tokenizer(folder / name).unknown_characters(["a ♥♥ 💜", "x"]) == [0, 0]


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_normalizing(folder: Path, built: Build, lines: list[str], name: str) -> None:
    tokenizer = open_tokenizer(folder / name)
    assert tokenizer.normalize("a b") is None
    assert tokenizer.normalize("") is None
    assert tokenizer.normalize("①  ｶﾞ\t ") == "1 ガ"
    for text in lines:
        found = tokenizer.normalize(text)
        (ids,) = tokenizer.encode_batch([text])
        assert tokenizer.decode_bytes(ids).decode() == (text if found is None else found)


def test_no_normalizer_changes_nothing(built: Build, tmp_path: Path, lines: list[str]) -> None:
    train_bpe(lines, add_prefix_space=False).save(str(tmp_path / "tokenizer.json"))
    assert open_tokenizer(tmp_path).normalize(" ①  e\u0301 ") is None


def test_words_one_by_one(folder: Path, built: Build, tmp_path: Path, lines: list[str]) -> None:
    for name in ("tokenizer.model", "tokenizer.json"):
        tokenizer = open_tokenizer(folder / name)
        assert tokenizer.style == "sentencepiece"
        assert tokenizer.word_prefix == ""
        assert tokenizer.exact_on_words is None
        for line in lines:
            whole = tokenizer.encode_batch([line])[0].tolist()
            words = [tokenizer.word_prefix + word for word in line.split()]
            assert tokenizer.encode_flat(words)[0].tolist() == whole


def test_a_piece_across_a_space_is_not_exact(built: Build, tmp_path: Path) -> None:
    vocabulary = built("unigram", True)
    crossing = assemble_vocabulary(
        [*vocabulary.pieces[264:], "▁the▁zzz"],
        [*vocabulary.scores[264:], -9.0],
        "unigram",
        vocabulary.normalizer,
    )
    crossing.save(tmp_path)
    for name in ("tokenizer.model", "tokenizer.json"):
        reason = open_tokenizer(tmp_path / name).exact_on_words
        assert reason is not None
        assert "' the zzz'" in reason


@pytest.mark.parametrize(("prefix", "expected"), [(False, " "), (True, "")])
def test_byte_level_words(tmp_path: Path, lines: list[str], prefix: bool, expected: str) -> None:
    train_bpe(lines, add_prefix_space=prefix).save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.style == "byte-level"
    assert tokenizer.word_prefix == expected
    assert tokenizer.exact_on_words is not None
    (middle,) = tokenizer.encode_batch(["x people"])
    (alone,) = tokenizer.encode_batch([f"{tokenizer.word_prefix}people"])
    assert middle.tolist()[-len(alone) :] == alone.tolist()


def test_byte_level_without_some_bytes(tmp_path: Path) -> None:
    # The letters for the bytes of é (C3 A9), and no others: what else is typed vanishes.
    names = [*pre_tokenizers.ByteLevel.alphabet()]
    kept = sorted({char for char in names if char.isascii()} | {"Ã", "©"})
    backend = Backend(models.BPE({token: index for index, token in enumerate(kept)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.unknown_characters(["aé", "aéñ♥♥", ""]) == [0, 3, 0]


def test_characters_dropped_without_a_trace(tmp_path: Path) -> None:
    # Neither an unknown token nor bytes: what has no token is left out of the ids.
    backend = Backend(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    texts = ["ab ba", "♥ab é", "e\u0301", ""]
    assert [len(ids) for ids in tokenizer.encode_batch(texts)] == [3, 1, 0, 0]
    assert tokenizer.unknown_characters(texts) == [0, 2, 1, 0]


def test_wordpiece_words(tmp_path: Path) -> None:
    save_wordpiece(tmp_path / "tokenizer.json")
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.style == "wordpiece"
    assert tokenizer.word_prefix == ""
    assert tokenizer.exact_on_words is None
    assert tokenizer.normalize("A CAFÉ") == "a cafe"
    assert tokenizer.unknown_characters(["Café plaything zz a", "a"]) == [11, 0]


def test_what_a_file_holds_decides(folder: Path, tmp_path: Path, lines: list[str]) -> None:
    model, text = tmp_path / "a.json", tmp_path / "b.model"
    model.write_bytes((folder / "tokenizer.json").read_bytes())
    text.write_bytes(b"\xef\xbb\xbf\n" + (folder / "tokenizer.json").read_bytes())
    expected = open_tokenizer(folder / "tokenizer.model").encode_flat(lines)[0].tolist()
    assert open_tokenizer(model).encode_flat(lines)[0].tolist() == expected
    assert open_tokenizer(text).encode_flat(lines)[0].tolist() == expected


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_tokens_and_merges_in_two_files(tmp_path: Path, lines: list[str], names: tuple[str, str]) -> None:
    backend = train_bpe(lines, add_prefix_space=False)
    backend.save(str(tmp_path / "whole.json"))
    for name, written in zip(names, backend.model.save(str(tmp_path)), strict=True):
        Path(written).rename(tmp_path / name)
    expected = [ids.tolist() for ids in open_tokenizer(tmp_path / "whole.json").encode_batch(lines)]
    for path in (tmp_path, tmp_path / names[0]):
        assert [ids.tolist() for ids in open_tokenizer(path).encode_batch(lines)] == expected
    (tmp_path / names[1]).write_text("#version: 0.2\na b c\n")
    with pytest.raises(TokenizerError, match=r"merge 1 is no pair: 'a b c'"):
        open_tokenizer(tmp_path)
    (tmp_path / names[0]).write_text('{"a": "b"}')
    with pytest.raises(TokenizerError, match="not a table of tokens"):
        open_tokenizer(tmp_path)


def test_a_folder_with_one_or_two_files(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "any.model").write_bytes((folder / "tokenizer.model").read_bytes())
    assert open_tokenizer(other).size == open_tokenizer(folder).size
    (other / "second.gguf").write_bytes(b"")
    with pytest.raises(TokenizerError, match="2 files like a tokenizer"):
        open_tokenizer(other)


def test_clip_as_transformers_makes_it(tmp_path: Path, lines: list[str]) -> None:
    transformers = pytest.importorskip("transformers")
    backend = Backend(models.BPE(end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=800, initial_alphabet=alphabet, end_of_word_suffix="</w>", special_tokens=names,
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator((word for line in lines for word in line.lower().split()), trainer)
    model = json.loads(backend.to_str())["model"]
    theirs = transformers.CLIPTokenizer(vocab=model["vocab"], merges=list(map(tuple, model["merges"])))
    theirs.save_pretrained(tmp_path)
    ours = open_tokenizer(tmp_path)
    assert ours.style == "byte-level"
    assert ours.word_prefix == ""
    texts = [line for line in lines if line.isascii()][:20] or ["the quick brown fox"]
    for text in (*texts, "the quick brown fox", "people, don't 12"):
        (ids,) = ours.encode_batch([text])
        assert ids.tolist() == theirs(text, add_special_tokens=False)["input_ids"]
        if not any(ours.kinds[index] is Kind.UNKNOWN for index in ids):
            assert ours.decode_bytes(ids).decode() == theirs.decode(ids.tolist())


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("▁▁", b"  "),  # Gemma's: its decoder makes spaces of an added token's letters too
        ("<tag>", b"<tag>"),
    ],
)
def test_added_tokens_are_decoded_as_others_are(tmp_path: Path, token: str, expected: bytes) -> None:
    backend = Backend(models.BPE({"<unk>": 0, "▁": 1, "a": 2, "▁▁": 3}, [("▁", "▁")], unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    backend.add_tokens([token])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    index = backend.token_to_id(token)
    assert index is not None
    assert tokenizer.token_bytes(index) == expected == backend.decode([index]).encode()
    (ids,) = tokenizer.encode_batch(["a  a"])
    assert tokenizer.decode_bytes(ids) == b"a  a"


def test_spaces_of_no_mark_are_the_tokens_own(tmp_path: Path) -> None:
    # Without a pre-tokeniser text is one piece, and a token may begin with a space as it is.
    backend = Backend(models.BPE({"<unk>": 0, " ": 1, "a": 2, " a": 3}, [(" ", "a")], unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.kinds[3] is Kind.NORMAL
    assert tokenizer.token_bytes(3) == b" a"
    (ids,) = tokenizer.encode_batch(["a a  a"])
    assert tokenizer.decode_bytes(ids).decode() == backend.decode(ids.tolist()) == "a a  a"


def test_letters_that_a_delimiter_stands_for(tmp_path: Path) -> None:
    # As speech models are decoded: a letter a token, and `|` between words.
    table = {name: index for index, name in enumerate(["<pad>", "<unk>", "|", "a", "b"])}
    backend = Backend(models.WordLevel(table, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "|")
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.CTC()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    (ids,) = tokenizer.encode_batch(["ab ba"])
    assert tokenizer.decode_bytes(ids) == b"ab ba"
    assert backend.decode(ids.tolist()) == "ab ba"
    assert tokenizer.token_bytes(2) == b" "


def test_names_that_look_like_bytes_are_none(tmp_path: Path) -> None:
    pieces = [
        ("<unk>", 0.0),
        *((f"<0x{value:02X}>", -9.0) for value in range(256)),
        ("<0xZZ>", -1.0),
        ("a", -1.0),
    ]
    backend = Backend(models.Unigram(pieces, 0, byte_fallback=True))
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.kinds[257] is Kind.NORMAL
    assert tokenizer.token_bytes(257) == b"<0xZZ>"
    assert tokenizer.token_bytes(1 + 0x41) == b"A"


def test_a_word_list_is_extended_and_prepared_as_one(tmp_path: Path) -> None:
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##s", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    before = find_tokenizer_files(tmp_path).fingerprint
    special = find_special_ids(tmp_path)
    assert (special.begin, special.end, special.pad, special.unknown, special.mask) == (2, 3, 0, 1, 4)
    source = open_source(tmp_path)
    assert source.names[2] == "[CLS]"
    whole = Backend.from_str(json.dumps(source.read_content()))
    assert whole.encode("the as").tokens == ["[CLS]", "the", "a", "##s", "[SEP]"]
    # What decides ids beside the list is part of what tells one tokenizer from another.
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
    assert find_tokenizer_files(tmp_path).fingerprint != before
    (ids,) = open_tokenizer(tmp_path).encode_batch(["THE the"])
    assert ids.tolist() == [1, 5]


@pytest.mark.parametrize("charsmap", ["", None, "AAA=", "no base64!"])
@pytest.mark.parametrize("nested", [True, False])
def test_a_charsmap_that_is_none_is_refused(charsmap: str | None, nested: bool, tmp_path: Path) -> None:
    """tokenizers panics at it, which no `except Exception` sees."""
    backend = Backend(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    content = json.loads(backend.to_str())
    step = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    content["normalizer"] = {"type": "Sequence", "normalizers": [step]} if nested else step
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for way in (open_tokenizer, BpeBase.read):
        with pytest.raises(TokenizerError, match=r"the charsmap of its normaliser cannot be read") as caught:
            way(path)
        assert "take the step `Precompiled` out" in (caught.value.hint or "")


def test_pieces_with_spaces_in_them_are_text(tmp_path: Path) -> None:
    """Without a mark for spaces: what each token stands for is what its offsets say."""
    backend = Backend(models.BPE())
    lines = ["push rbp rbx push rbp", "mov rbp rbx mov rbx"]
    trainer = trainers.BpeTrainer(vocab_size=40, special_tokens=["<unk>"], show_progress=False)
    backend.train_from_iterator(lines * 20, trainer)
    backend.save(str(tmp_path / "tokenizer.json"))
    opened = open_tokenizer(tmp_path)
    for text in (*lines, " push  rbx "):
        encoding = backend.encode(text)
        (ids,) = opened.encode_batch([text])
        assert ids.tolist() == encoding.ids
        spelled = [text[start:stop].encode() for start, stop in encoding.offsets]
        assert [opened.token_bytes(int(index)) for index in ids] == spelled
        assert opened.decode_bytes(ids) == text.encode()
