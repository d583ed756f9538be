"""What becomes of each feature of each format: a cell a feature and format, and a check for every cell.

    python -m tests.vocabulary.formats        writes docs/formats.md from the table

`CELLS` says what is expected, and `CHECKS` holds what proves it; `test_formats` runs them all. The right value
is never ours: SentencePiece, tokenizers, transformers, or merging by hand.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from tests.vocabulary.conftest import SENTENCES, sample_lines, train
from tests.vocabulary.test_gguf_format import TYPES, describe, describe_bpe, write_gguf
from tests.vocabulary.test_tiktoken_ranks import RANKS, encode_slowly
from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import PATTERNS, find_file, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind, read_model

Outcome = Literal["exact", "refused", "noted", "none"]
WORDS: dict[Outcome, str] = {
    "exact": "exact",
    "refused": "refused",
    "noted": "read, with a note",
    "none": "the format has none",
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "SentencePiece": (".model unigram", ".model BPE", ".model word, char"),
    "tokenizer.json": ("Unigram", "BPE", "byte-level BPE", "WordPiece", "WordLevel"),
    "Ranks": ("tekken", "tiktoken"),
    "GGUF": ("llama (SPM)", "t5 (UGM)", "gpt2 (BPE)", "bert (WPM)"),
    "Older folders": ("vocab.json + merges.txt", "vocab.txt", "Marian"),
}
FORMATS = tuple(name for names in FAMILIES.values() for name in names)
FEATURES: dict[str, str] = {
    "plain": "a vocabulary without any of what follows",
    "byte fallback": "characters without a piece as their bytes",
    "user-defined": "tokens that are cut out of a text whole, before all others",
    "lstrip, rstrip": "added tokens that take the white space beside them",
    "single word": "added tokens that are matched only as whole words",
    "normalized": "added tokens that are looked for in the normalised text",
    "dropout": "merges left out at random",
    "holes": "ids between others that no token has",
    "token twice": "a token listed twice",
    "id twice": "two tokens of one id or rank",
    "prefix mark": "tokens within a word written with a mark in front, as `##`, and other marks than that",
    "suffix mark": "tokens at the end of a word written with a mark behind, as `</w>`",
    "space mark": "spaces written as another letter than `▁`, or as bytes by the normaliser",
    "ties": "two ways to cut a text that are equally good",
    "no unknown": "no token for what has none",
    "byte order mark": "U+FEFF in front of the file",
    "newer": "a kind of part, type or version that is not known",
}
TEXTS = ("the people", "a 12 ab", "don't, the (Été)", " two  gaps ", *SENTENCES[:3])
Check = Callable[[Path], None]
CELLS: dict[tuple[str, str], tuple[Outcome, str]] = {}
CHECKS: dict[tuple[str, str], Check] = {}


def cell(feature: str, *formats: str, outcome: Outcome = "exact", said: str = "") -> Callable[[Any], Any]:
    """Enter a check for a feature of some formats. It is given a folder, and the format if it takes two."""

    def enter(check: Any) -> Any:
        for name in formats:
            assert feature in FEATURES
            assert name in FORMATS
            assert (feature, name) not in CELLS
            CELLS[feature, name] = outcome, said
            takes = check.__code__.co_argcount == 2
            CHECKS[feature, name] = bind(check, name) if takes else check
        return check

    return enter


# --- What is compared ------------------------------------------------------------------------------


def same_ids(ours: Tokenizer, encode: Callable[[str], Sequence[int]], texts: Sequence[str] = TEXTS) -> None:
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ids.tolist() == list(encode(text)), text


def encoder(backend: tokenizers.Tokenizer) -> Callable[[str], list[int]]:
    return lambda text: list(backend.encode(text, add_special_tokens=False).ids)


def bind(check: Callable[[Path, str], None], name: str) -> Check:
    return lambda path: check(path, name)


def same_as_backend(path: Path, backend: tokenizers.Tokenizer, texts: Sequence[str] = TEXTS) -> Tokenizer:
    """Ids, and the text of ids, are those of `tokenizers` itself."""
    ours = open_tokenizer(path)
    backend.encode_special_tokens = True
    same_ids(ours, lambda text: backend.encode(text, add_special_tokens=False).ids, texts)
    for ids in ours.encode_batch(texts):
        if not any(ours.kinds[index] in (Kind.UNKNOWN, Kind.CONTROL) for index in ids):
            expected = backend.decode(ids.tolist(), skip_special_tokens=False)
            found = ours.decode_bytes(ids).decode(errors="replace")
            # Decoders that know no word boundary leave the last space.
            assert found.rstrip() == expected.rstrip()
    return ours


def refused(path: Path, *parts: str, pattern: str | None = None) -> None:
    with pytest.raises(TokenizerError) as caught:
        open_tokenizer(path, pattern)
    for part in parts:
        assert part in caught.value.message, caught.value.message
    assert caught.value.hint


def refused_or_opened(path: Path, part: str) -> Tokenizer | None:
    try:
        return open_tokenizer(path)
    except TokenizerError as error:
        said = error.message
    assert part in said
    return None


def noted(ours: Tokenizer, part: str) -> None:
    assert any(part in note for note in ours.notes), ours.notes


# --- SentencePiece ---------------------------------------------------------------------------------

SP = FAMILIES["SentencePiece"][:2]
KINDS = {".model unigram": "unigram", ".model BPE": "bpe", "llama (SPM)": "bpe", "t5 (UGM)": "unigram"}


@cache
def sp_model(kind: str, byte_fallback: bool = False, symbols: tuple[str, ...] = ()) -> bytes:
    if not symbols and kind in ("unigram", "bpe"):
        return train(kind, byte_fallback)
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample_lines(200, seed=3)), model_writer=output, model_type=kind,
        vocab_size=300, user_defined_symbols=list(symbols), hard_vocab_limit=False, num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    return output.getvalue()


def write_sp(folder: Path, data: bytes) -> Path:
    path = folder / "a.model"
    path.write_bytes(data)
    return path


def same_as_sp(path: Path, data: bytes, texts: Sequence[str] = TEXTS) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    ours = open_tokenizer(path)
    same_ids(ours, lambda text: processor.encode(text, out_type=int), texts)
    for text in texts:
        ids = processor.encode(text, out_type=int)
        if processor.unk_id() not in ids:
            assert ours.decode_bytes(ids).decode() == processor.decode(ids)


@cell("plain", *SP)
@cell("byte fallback", *SP)
def sp_plain(folder: Path, name: str) -> None:
    data = sp_model(KINDS[name], True)
    same_as_sp(write_sp(folder, data), data, (*TEXTS, "♥ ẽ̱ 𝒜"))


@cell("user-defined", *SP)
def sp_symbols(folder: Path, name: str) -> None:
    data = sp_model(KINDS[name], symbols=("<sep>", "\n", "@"))
    same_as_sp(write_sp(folder, data), data, ("a<sep>b", "<sep>", " <sep> the", "a\nb @@", "the@people"))


@cell("plain", ".model word, char", outcome="refused", said="names the type")
@cell("byte fallback", ".model word, char", outcome="refused", said="names the type")
@cell("user-defined", ".model word, char", outcome="refused", said="names the type")
def sp_other_kinds(folder: Path) -> None:
    for kind in ("word", "char"):
        refused(write_sp(folder, sp_model(kind)), f"the model type is {kind}: expected unigram or bpe")


def changed_model(kind: str, change: Callable[[Any], None]) -> bytes:
    model = proto.ModelProto.FromString(sp_model(kind))
    change(model)
    return bytes(model.SerializeToString())


@cell("token twice", *SP, outcome="refused", said="names the piece")
def sp_piece_twice(folder: Path, name: str) -> None:
    def change(model: Any) -> None:
        model.pieces[20].piece = model.pieces[30].piece

    refused(write_sp(folder, changed_model(KINDS[name], change)), "occurs twice")


@cell("ties", *SP)
def sp_ties(folder: Path, name: str) -> None:
    def change(model: Any) -> None:
        for piece in model.pieces:
            if piece.type == piece.NORMAL and len(piece.piece) > 1:
                piece.score = -3.0

    data = changed_model(KINDS[name], change)
    same_as_sp(write_sp(folder, data), data)


@cell("suffix mark", *SP)
def sp_suffix(folder: Path, name: str) -> None:
    def change(model: Any) -> None:
        model.trainer_spec.treat_whitespace_as_suffix = True
        for piece in model.pieces:
            if piece.type == piece.NORMAL and piece.piece.startswith("▁") and len(piece.piece) > 1:
                piece.piece = piece.piece[1:] + "▁▁"[: 1 + (piece.piece[1:] + "▁" in seen)]
                seen.add(piece.piece)

    seen: set[str] = set()
    data = changed_model(KINDS[name], change)
    ours = open_tokenizer(write_sp(folder, data))
    (ids,) = ours.encode_batch(["ab ab"])
    assert ours.decode_bytes(ids) == b"ab ab"


@cell("no unknown", *SP, outcome="refused", said="SentencePiece has none without")
def sp_no_unknown(folder: Path, name: str) -> None:
    def change(model: Any) -> None:
        model.pieces[0].type = model.pieces[0].CONTROL

    refused(write_sp(folder, changed_model(KINDS[name], change)), "no unknown piece")


@cell("byte order mark", *SP, outcome="refused", said="it is no text")
@cell("byte order mark", ".model word, char", outcome="refused", said="it is no text")
def sp_bom(folder: Path) -> None:
    refused(write_sp(folder, b"\xef\xbb\xbf" + sp_model("unigram")), "not a SentencePiece model")


# --- tokenizer.json --------------------------------------------------------------------------------

JSON = FAMILIES["tokenizer.json"]


@cache
def json_text(name: str) -> str:
    """A tokenizer.json of each model, trained here."""
    lines = list(SENTENCES) * 2
    options: dict[str, Any] = {"show_progress": False, "vocab_size": 400}
    unknown: dict[str, Any] = {"special_tokens": ["<unk>"]}
    trainer: Any
    if name == "Unigram":
        backend = tokenizers.Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **unknown, **options)
    elif name == "BPE":
        backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        trainer = trainers.BpeTrainer(**unknown, **options)
    elif name == "byte-level BPE":
        backend = tokenizers.Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
    elif name == "WordPiece":
        backend = tokenizers.Tokenizer(models.WordPiece(unk_token="<unk>"))
        trainer = trainers.WordPieceTrainer(**unknown, **options)
    else:
        backend = tokenizers.Tokenizer(models.WordLevel(unk_token="<unk>"))
        trainer = trainers.WordLevelTrainer(**unknown, **options)
    if name in ("Unigram", "BPE"):
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    elif name == "byte-level BPE":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    else:
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(cleanup=False) if name == "WordPiece" else None
    backend.train_from_iterator(lines, trainer)
    return str(backend.to_str())


def json_content(name: str) -> dict[str, Any]:
    return dict(json.loads(json_text(name)))


def write_json(folder: Path, content: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def check_json(folder: Path, content: Any, texts: Sequence[str] = TEXTS) -> Tokenizer:
    path = write_json(folder, content)
    return same_as_backend(path, tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8")), texts)


def json_with(name: str, *added: AddedToken) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_str(json_text(name))
    backend.add_tokens(list(added))
    return backend


@cell("plain", *JSON)
def json_plain(folder: Path, name: str) -> None:
    check_json(folder, json_text(name))


@cell("user-defined", *JSON)
def json_user(folder: Path, name: str) -> None:
    backend = json_with(name, AddedToken("<sep>", normalized=False), AddedToken("▁▁", normalized=False))
    ours = check_json(folder, backend.to_str(), ("a <sep> b", "<sep>", "the <sep>"))
    assert Kind.USER in ours.kinds


@cell("lstrip, rstrip", *JSON, outcome="exact", said="the white space is lost, as it is there")
def json_strips(folder: Path, name: str) -> None:
    backend = json_with(name, AddedToken("<l>", lstrip=True), AddedToken("<r>", rstrip=True))
    check_json(folder, backend.to_str(), ("a <l> b", "a  <r>  b", "<l><r>"))


@cell("single word", *JSON)
def json_single_word(folder: Path, name: str) -> None:
    backend = json_with(name, AddedToken("zq", single_word=True))
    ours = check_json(folder, backend.to_str(), ("a zq b", "azq zqb"))
    index = backend.token_to_id("zq")
    first, second = ours.encode_batch(["a zq b", "azqb"])
    assert index in first
    assert index not in second


@cell("normalized", *JSON)
def json_normalized(folder: Path, name: str) -> None:
    backend = tokenizers.Tokenizer.from_str(json_text(name))
    backend.normalizer = normalizers.Lowercase()
    backend.add_tokens([AddedToken("[Tag]", normalized=True), AddedToken("[Raw]", normalized=False)])
    ours = open_tokenizer(write_json(folder, backend.to_str()))
    same_ids(ours, encoder(backend), ("a [Tag] [raw]", "[tag] [TAG]", "[Raw]"))


@cell("byte fallback", "Unigram", "BPE")
def json_bytes(folder: Path, name: str) -> None:
    content = json_content(name)
    model, names = content["model"], [f"<0x{value:02X}>" for value in range(256)]
    model["byte_fallback"] = True
    if name == "BPE":
        model["vocab"] |= {token: len(model["vocab"]) + place for place, token in enumerate(names)}
    else:
        model["vocab"] += [[token, -99.0] for token in names]
    content["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]}  # fmt: skip
    ours = check_json(folder, content, ("a♥b", "♥", "the 𝒜 people"))
    assert ours.kinds.count(Kind.BYTE) == 256
    (ids,) = ours.encode_batch(["a♥b"])
    assert ours.decode_bytes(ids).decode() == "a♥b"


@cell("byte fallback", "byte-level BPE", "WordPiece", "WordLevel", outcome="none")
@cell("ties", "byte-level BPE", "WordPiece", "WordLevel", outcome="none")
@cell("dropout", "Unigram", "WordPiece", "WordLevel", outcome="none")
@cell("suffix mark", "Unigram", "WordPiece", "WordLevel", outcome="none")
@cell("prefix mark", "Unigram", "WordLevel", outcome="none")
def json_has_none(folder: Path, name: str) -> None:
    check_json(folder, json_text(name), TEXTS[:2])


@cell("dropout", "BPE", "byte-level BPE", outcome="noted", said="turned off")
def json_dropout(folder: Path, name: str) -> None:
    content = json_content(name)
    content["model"]["dropout"] = 0.5
    ours = open_tokenizer(write_json(folder, content))
    backend = tokenizers.Tokenizer.from_str(json_text(name))
    for _ in range(5):
        same_ids(ours, encoder(backend))
    noted(ours, "dropout of 0.5 is turned off")


@cell("holes", *JSON, said="as unused; among added tokens refused")
def json_holes(folder: Path, name: str) -> None:
    content = json_content(name)
    table = content["model"]["vocab"]
    end = len(table) - 1
    if name != "Unigram":  # where an id is a place in a list
        last = max(table, key=table.get)
        table[last] = end = end + 3
        ours = check_json(folder, content)
        assert ours.size == end + 1
        assert ours.kinds[end - 1] is Kind.UNUSED
        assert ours.token_bytes(end - 1) is None
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    content["added_tokens"] = [*content["added_tokens"], {"id": end + 9, "content": "<far>", **entry}]
    path = write_json(folder, content)
    found = refused_or_opened(path, "<far>")
    if found is not None:
        (ids,) = found.encode_batch(["<far>"])
        assert ids.tolist()[-1] == end + 9


@cell("token twice", *JSON, outcome="exact", said="the later one counts, as there")
def json_token_twice(folder: Path, name: str) -> None:
    content = json_content(name)
    if name == "Unigram":
        content["model"]["vocab"].append(list(content["model"]["vocab"][20]))
        text = json.dumps(content)
    else:
        table = content["model"]["vocab"]
        token = next(token for token in table if len(token) > 1 and token != "<unk>")
        text = json.dumps(content).replace('"vocab": {', f'"vocab": {{{json.dumps(token)}: {len(table)}, ', 1)
    check_json(folder, text)


@cell("id twice", "Unigram", outcome="none")
@cell("id twice", "BPE", "byte-level BPE", "WordPiece", "WordLevel", said="refused, or the ids of tokenizers")
def json_id_twice(folder: Path, name: str) -> None:
    content = json_content(name)
    if name == "Unigram":
        check_json(folder, content, TEXTS[:2])
        return
    table = content["model"]["vocab"]
    table["zzzz"] = max(table.values())
    path = write_json(folder, content)
    ours = refused_or_opened(path, "zzzz")
    if ours is not None:
        backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        same_ids(ours, encoder(backend))


@cell("prefix mark", "WordPiece", "BPE", "byte-level BPE")
def json_prefix(folder: Path, name: str) -> None:
    for mark in ("##", "@@", "_"):
        if name == "WordPiece":
            text = json_text(name).replace('"##', f'"{mark}')
            ours = check_json(folder, text)
            plain = tokenizers.Tokenizer.from_str(json_text(name))
            bare = open_tokenizer(write_json(folder, plain.to_str()))
            assert {ours.token_bytes(i) for i in range(ours.size)} == {
                bare.token_bytes(i) for i in range(bare.size)
            }
            continue
        backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix=mark))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        if name == "byte-level BPE":
            letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            backend.pre_tokenizer = pre_tokenizers.Sequence([backend.pre_tokenizer, letters])
        backend.train_from_iterator(
            SENTENCES, trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], show_progress=False,
                                           continuing_subword_prefix=mark),
        )  # fmt: skip
        ours = open_tokenizer(write_json(folder, backend.to_str()))
        same_ids(ours, encoder(backend))
        (ids,) = ours.encode_batch(["The quick brown"])
        assert ours.decode_bytes(ids) == b"The quick brown"


@cell("suffix mark", "BPE", "byte-level BPE")
def json_suffix(folder: Path, name: str) -> None:
    for mark in ("</w>", "<e>" if name == "byte-level BPE" else "§"):
        backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix=mark))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.BPEDecoder(suffix=mark)
        if name == "byte-level BPE":  # as CLIP has it
            letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            backend.pre_tokenizer = pre_tokenizers.Sequence([backend.pre_tokenizer, letters])
            backend.decoder = decoders.ByteLevel()
        backend.train_from_iterator(
            SENTENCES, trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], show_progress=False,
                                           end_of_word_suffix=mark),
        )  # fmt: skip
        ours = open_tokenizer(write_json(folder, backend.to_str()))
        same_ids(ours, encoder(backend))
        for text in ("The quick brown", SENTENCES[0], SENTENCES[1]):
            (ids,) = ours.encode_batch([text])
            # What transformers does for CLIP, whose decoder does not know the mark.
            expected = backend.decode(ids.tolist()).replace(mark, " ").strip()
            assert ours.decode_bytes(ids).decode() == expected


@cell("space mark", *JSON)
def json_space(folder: Path, name: str) -> None:
    backend = tokenizers.Tokenizer.from_str(json_text(name))
    if name == "byte-level BPE":
        backend.normalizer, backend.pre_tokenizer = normalizers.ByteLevel(), None
        ours = same_as_backend(write_json(folder, backend.to_str()), backend)
        assert ours.normalize("the Été") is None
        return
    if name in ("WordPiece", "WordLevel"):  # words that keep a mark of their own
        backend = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "_a": 1, "_b": 2}, unk_token="<unk>"))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace("_"), decoders.Metaspace("_")
        if name == "WordPiece":
            backend.model = models.WordPiece({"<unk>": 0, "_a": 1, "_b": 2, "##b": 3}, unk_token="<unk>")
            backend.decoder = decoders.Sequence([decoders.Replace("##", ""), decoders.Metaspace("_")])
        same_as_backend(write_json(folder, backend.to_str()), backend, ("a b", "b a b", "a"))
        return
    text = json_text(name).replace("▁", "_")
    check_json(folder, text)
    # The same by a normaliser, as Llama's files have it.
    swapped = tokenizers.Tokenizer.from_str(text)
    swapped.normalizer = normalizers.Sequence([normalizers.Prepend("_"), normalizers.Replace(" ", "_")])
    swapped.pre_tokenizer = None
    swapped.decoder = decoders.Sequence(
        [decoders.Replace("_", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    ours = same_as_backend(write_json(folder, swapped.to_str()), swapped)
    assert ours.normalize("a b") is None
    assert ours.word_prefix == ""


@cell("ties", "Unigram", "BPE")
def json_ties(folder: Path, name: str) -> None:
    content = json_content(name)
    if name == "Unigram":
        content["model"]["vocab"] = [[token, -3.0] for token, _ in content["model"]["vocab"]]
    check_json(folder, content)


@cell("no unknown", "BPE", "byte-level BPE", said="the characters are dropped, and counted as lost")
def json_drops(folder: Path, name: str) -> None:
    backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    if name == "byte-level BPE":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ours = open_tokenizer(write_json(folder, backend.to_str()))
    same_ids(ours, encoder(backend), ("ab♥b", "♥"))
    assert ours.unknown_characters(["ab♥b"]) == [1]


@cell(
    "no unknown", "Unigram", "WordPiece", "WordLevel", outcome="refused", said="in encoding, with the character"
)
def json_no_unknown(folder: Path, name: str) -> None:
    content = json_content(name)
    content["added_tokens"] = []
    if name == "Unigram":
        content["model"]["unk_id"] = None
    else:
        content["model"]["unk_token"] = "[NONE]"
    ours = open_tokenizer(write_json(folder, content))
    assert len(ours.encode_batch(["the"])) == 1
    with pytest.raises(TokenizerError) as caught:
        ours.encode_batch(["the", "the ♥"])
    assert "text 1: '♥' (U+2665) has no token" in caught.value.message
    assert ours.name in caught.value.message


@cell("byte order mark", *JSON)
def json_bom(folder: Path, name: str) -> None:
    path = write_json(folder, "\ufeff" + json_text(name))
    same_as_backend(path, tokenizers.Tokenizer.from_str(json_text(name)), TEXTS[:3])


@cell("newer", *JSON, outcome="refused", said="names the part, and says how to update")
def json_newer(folder: Path, name: str) -> None:
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "model"):
        content = json_content(name)
        kind = {"type": "Quantum"}
        content[part] = content[part] | kind if part == "model" else kind
        refused(write_json(folder, content), f"its {part} is of a kind that tokenizers", "Quantum")
    refused(write_json(folder, json_content(name) | {"version": "2.0"}), "'2.0'")
    with pytest.raises(TokenizerError) as caught:
        open_tokenizer(folder)
    assert "update tokenizers" in (caught.value.hint or "")


# --- Ranks -----------------------------------------------------------------------------------------


def tekken_content(ranks: Sequence[tuple[bytes, int]]) -> dict[str, Any]:
    entries = [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for token, rank in ranks]
    config = {"pattern": PATTERNS["tekken"][0], "default_vocab_size": 10 + len(ranks) + 5}
    return {"config": config | {"default_num_special_tokens": 10}, "vocab": entries}


def write_rank_file(folder: Path, name: str, ranks: Sequence[tuple[bytes, int]], front: bytes = b"") -> Path:
    path = folder / ("tekken.json" if name == "tekken" else "a.tiktoken")
    if name == "tekken":
        path.write_bytes(front + json.dumps(tekken_content(ranks)).encode())
    else:
        lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks]
        path.write_bytes(front + b"".join(lines))
    return path


LISTED = list(RANKS.items())
RANK_FILES = FAMILIES["Ranks"]


@cell("plain", *RANK_FILES)
@cell("ties", *RANK_FILES)
def ranks_plain(folder: Path, name: str) -> None:
    ours = open_tokenizer(write_rank_file(folder, name, LISTED), "gpt2")
    shift, pattern = (10, "tekken") if name == "tekken" else (0, "gpt2")
    same_ids(ours, lambda text: [rank + shift for rank in encode_slowly(text, pattern)], (*TEXTS, "aaaaa"))
    for text, ids in zip(TEXTS, ours.encode_batch(TEXTS), strict=True):
        assert ours.decode_bytes(ids).decode() == text


@cell("token twice", *RANK_FILES, outcome="refused", said="with both places")
def ranks_token_twice(folder: Path, name: str) -> None:
    places = ("vocab[340]", "vocab[300]") if name == "tekken" else ("a.tiktoken:341", "line 301")
    twice = [*LISTED, (LISTED[300][0], 340)]
    refused(write_rank_file(folder, name, twice), "occurs twice", *places, pattern="gpt2")


@cell("id twice", *RANK_FILES, outcome="refused", said="with both places")
def ranks_rank_twice(folder: Path, name: str) -> None:
    places = ("vocab[340]", "vocab[7]") if name == "tekken" else ("a.tiktoken:341", "line 8")
    twice = [*LISTED, (b"zzqq", 7)]
    refused(write_rank_file(folder, name, twice), "rank 7 occurs twice", *places, pattern="gpt2")


@cell("holes", *RANK_FILES, said="as unused")
def ranks_holes(folder: Path, name: str) -> None:
    ours = open_tokenizer(write_rank_file(folder, name, [*LISTED, (b"zzqq", 343)]), "gpt2")
    shift = 10 if name == "tekken" else 0
    assert ours.kinds[shift + 341] is Kind.UNUSED
    assert ours.token_bytes(shift + 343) == b"zzqq"


@cell("byte order mark", *RANK_FILES)
def ranks_bom(folder: Path, name: str) -> None:
    ours = open_tokenizer(write_rank_file(folder, name, LISTED, b"\xef\xbb\xbf"), "gpt2")
    assert ours.size == len(LISTED) + (10 if name == "tekken" else 0)


@cell("newer", "tiktoken", outcome="refused", said="an unknown vocabulary: --pattern NAME or REGEX")
def ranks_unknown(folder: Path) -> None:
    path = write_rank_file(folder, "tiktoken", LISTED)
    refused(path, "it is not known which pattern")
    ours = open_tokenizer(path, PATTERNS["gpt2"][0])
    same_ids(ours, lambda text: encode_slowly(text, "gpt2"))
    refused(path, "no regular expression", pattern="(a|")
    noted(open_tokenizer(path, r"\w+"), "drops what it does not match")


@cell("newer", "tekken", outcome="refused", said="names the field that is missing")
def tekken_newer(folder: Path) -> None:
    content = tekken_content(LISTED)
    del content["config"]["default_vocab_size"]
    path = folder / "tekken.json"
    path.write_text(json.dumps(content))
    refused(path, "default_vocab_size")


@cell(
    "user-defined", "tekken", outcome="exact", said="its special tokens are text when typed, as Mistral has it"
)
def tekken_special(folder: Path) -> None:
    content = tekken_content(LISTED)
    content["special_tokens"] = [{"rank": 0, "token_str": "<unk>"}, {"rank": 1, "token_str": "<s>"}]
    path = folder / "tekken.json"
    path.write_text(json.dumps(content))
    ours = open_tokenizer(path)
    assert ours.kinds[1] is Kind.CONTROL
    same_ids(ours, lambda text: [rank + 10 for rank in encode_slowly(text, "tekken")], ("<s>a",))
    content["special_tokens"].append({"rank": 1, "token_str": "</s>"})
    path.write_text(json.dumps(content))
    refused(path, "special_tokens[2]", "special_tokens[1]")


# --- GGUF ------------------------------------------------------------------------------------------

PIECES, LETTERS, PARTS = FAMILIES["GGUF"][:2], "gpt2 (BPE)", "bert (WPM)"


def sp_fields(name: str, data: bytes | None = None) -> dict[str, Any]:
    fields = describe(read_model(data or sp_model(KINDS[name], True)))
    return fields


def bpe_fields() -> dict[str, Any]:
    return {
        "model": "gpt2",
        "pre": "gpt-2",
        **describe_bpe(tokenizers.Tokenizer.from_str(json_text("byte-level BPE"))),
    }


def wpm_fields() -> dict[str, Any]:
    table = json_content("WordPiece")["model"]["vocab"]
    tokens = sorted(table, key=table.get)
    names = [
        token if token == "<unk>" else token[2:] if token.startswith("##") else f"▁{token}" for token in tokens
    ]
    types = np.array([TYPES["control" if token == "<unk>" else "normal"] for token in tokens], np.int32)
    return {"model": "bert", "tokens": names, "token_type": types, "unknown_token_id": tokens.index("<unk>")}


def gguf_fields(name: str) -> dict[str, Any]:
    return sp_fields(name) if name in PIECES else bpe_fields() if name == LETTERS else wpm_fields()


def lower_backend() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_str(json_text("WordPiece"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    return backend


def check_gguf(folder: Path, name: str, fields: dict[str, Any], texts: Sequence[str] = TEXTS) -> Tokenizer:
    path = write_gguf(folder / "a.gguf", **fields)
    if name in PIECES:
        ours = open_tokenizer(path)
        processor = sentencepiece.SentencePieceProcessor(model_proto=sp_model(KINDS[name], True))
        same_ids(ours, lambda text: processor.encode(text, out_type=int), texts)
        return ours
    backend = tokenizers.Tokenizer.from_str(json_text("byte-level BPE")) if name == LETTERS else lower_backend()
    ours = open_tokenizer(path)
    same_ids(ours, encoder(backend), texts)
    return ours


@cell(
    "plain", *FAMILIES["GGUF"], said="no normaliser but what the file has; bert lower-cases, as llama.cpp does"
)
@cell("ties", *FAMILIES["GGUF"])
def gguf_plain(folder: Path, name: str) -> None:
    check_gguf(folder, name, gguf_fields(name))


@cell("byte fallback", *PIECES)
def gguf_bytes(folder: Path, name: str) -> None:
    ours = check_gguf(folder, name, gguf_fields(name), ("♥ 𝒜", "a♥"))
    assert ours.kinds.count(Kind.BYTE) == 256


@cell("byte fallback", LETTERS, PARTS, outcome="none")
@cell("dropout", *FAMILIES["GGUF"], outcome="none")
@cell("id twice", *FAMILIES["GGUF"], outcome="none")
@cell("lstrip, rstrip", *FAMILIES["GGUF"], outcome="none")
@cell("single word", *FAMILIES["GGUF"], outcome="none")
@cell("normalized", *FAMILIES["GGUF"], outcome="none")
@cell("suffix mark", *FAMILIES["GGUF"], outcome="none")
@cell("space mark", *FAMILIES["GGUF"], outcome="none")
@cell("prefix mark", *PIECES, LETTERS, outcome="none")
def gguf_has_none(folder: Path, name: str) -> None:
    check_gguf(folder, name, gguf_fields(name), TEXTS[:2])


@cell("prefix mark", PARTS, said="GGUF marks the other half")
def gguf_parts(folder: Path) -> None:
    ours = check_gguf(folder, PARTS, wpm_fields())
    assert any((ours.token_bytes(index) or b"").startswith(b" ") for index in range(ours.size))
    assert ours.style == "wordpiece"


@cell("user-defined", *FAMILIES["GGUF"])
def gguf_user(folder: Path, name: str) -> None:
    fields = gguf_fields(name)
    size = len(fields["tokens"])
    types = fields.get("token_type", np.ones(size, np.int32))
    fields |= {"tokens": [*fields["tokens"], "<sep>"], "token_type": np.append(types, [4]).astype(np.int32)}
    if name in PIECES:
        fields["scores"] = np.append(fields["scores"], [0]).astype(np.float32)
    ours = open_tokenizer(write_gguf(folder / "a.gguf", **fields))
    (ids,) = ours.encode_batch(["a<sep>b"])
    assert ours.kinds[size] is Kind.USER
    assert ids.tolist().count(size) == 1


@cell("holes", *FAMILIES["GGUF"], said="padding is unused")
@cell("token twice", *FAMILIES["GGUF"], said="the other id is unused")
def gguf_padding(folder: Path, name: str) -> None:
    fields = gguf_fields(name)
    size = len(fields["tokens"])
    types = fields.get("token_type", np.ones(size, np.int32))
    again = fields["tokens"][size // 2] if name in PIECES else "<pad-9>"
    fields |= {"tokens": [*fields["tokens"], again], "token_type": np.append(types, [5]).astype(np.int32)}
    if name in PIECES:
        fields["scores"] = np.append(fields["scores"], [0]).astype(np.float32)
    ours = check_gguf(folder, name, fields)
    assert ours.size == size + 1


@cell("no unknown", *PIECES, outcome="refused", said="a .model has none without")
def gguf_no_unknown(folder: Path, name: str) -> None:
    fields = gguf_fields(name)
    del fields["unknown_token_id"]
    types = np.where(fields["token_type"] == TYPES["unknown"], TYPES["control"], fields["token_type"])
    path = write_gguf(folder / "a.gguf", **fields | {"token_type": types.astype(np.int32)})
    refused(path, "no unknown piece")


@cell("no unknown", LETTERS)
def gguf_bpe_needs_none(folder: Path) -> None:
    assert check_gguf(folder, LETTERS, bpe_fields(), ("♥",)).unknown_characters(["♥"]) == [0]


@cell("no unknown", PARTS, outcome="refused", said="in encoding, with the character")
def gguf_parts_without(folder: Path) -> None:
    fields = wpm_fields()
    del fields["unknown_token_id"]
    ours = open_tokenizer(write_gguf(folder / "a.gguf", **fields))
    with pytest.raises(TokenizerError, match=r"'♥' .* has no token"):
        ours.encode_batch(["♥"])


@cell("byte order mark", *FAMILIES["GGUF"], outcome="refused", said="it is no text")
def gguf_bom(folder: Path, name: str) -> None:
    path = write_gguf(folder / "a.gguf", **gguf_fields(name))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    refused(path, "a.gguf")


@cell("newer", *PIECES, PARTS, outcome="refused", said="names the type, or the version")
def gguf_newer(folder: Path, name: str) -> None:
    fields = gguf_fields(name)
    types = fields["token_type"].copy()
    for wrong in (0, 7):
        types[3] = wrong
        refused(write_gguf(folder / "a.gguf", **fields | {"token_type": types}), f"(id 3) has type {wrong}")
    refused(write_gguf(folder / "a.gguf", version=4, **fields), "version 4")
    refused(write_gguf(folder / "a.gguf", **fields | {"model": "new"}), "the vocabulary is 'new'")


@cell("newer", LETTERS, outcome="noted", said="without `pre` llama.cpp's default; an unknown one is refused")
def gguf_without_pre(folder: Path) -> None:
    fields = bpe_fields()
    del fields["pre"]
    ours = open_tokenizer(write_gguf(folder / "a.gguf", **fields))
    noted(ours, "names no pre-tokeniser")
    backend = tokenizers.Tokenizer.from_str(json_text("byte-level BPE"))
    # llama.cpp's four expressions, one after another; it leaves white space that no match takes as it is.
    steps = [
        r"[\p{P}\$\+<=>\^~\|]+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
        r"\p{N}+",
        r"[0-9][0-9][0-9]",
    ]
    splits = [pre_tokenizers.Split(tokenizers.Regex(step), "isolated") for step in steps]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, letters])
    same_ids(ours, encoder(backend), (*TEXTS, "a 1234567, x\t\ty\n\nz  ", "x=1; (don't)"))
    refused(write_gguf(folder / "a.gguf", **fields | {"pre": "my-own"}), "its pre-tokeniser is 'my-own'")


# --- Older folders ---------------------------------------------------------------------------------

PAIR, LIST, MARIAN = FAMILIES["Older folders"]


def write_pair(folder: Path, front: str = "") -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_str(json_text("byte-level BPE"))
    backend.model.save(str(folder))
    for name in ("vocab.json", "merges.txt"):
        path = folder / name
        path.write_text(front + path.read_text(encoding="utf-8"), encoding="utf-8")
    return backend


@cell("plain", PAIR, said="GPT-2's pattern, or that of the class in tokenizer_config.json")
@cell("byte order mark", PAIR)
def pair_plain(folder: Path) -> None:
    for front in ("", "\ufeff"):
        same_as_backend(folder, write_pair(folder, front))
    backend = write_pair(folder)
    for class_name, pattern in (("Qwen2Tokenizer", "qwen2"), ("GPT2TokenizerFast", "gpt2")):
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": class_name}))
        split = pre_tokenizers.Split(tokenizers.Regex(PATTERNS[pattern][0]), "isolated")
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, letters])
        same_as_backend(folder, backend, ("the 1234", "don't  x"))


@cell("user-defined", PAIR, said="of tokenizer_config.json and added_tokens.json")
@cell("lstrip, rstrip", PAIR)
@cell("single word", PAIR)
@cell("normalized", PAIR)
def pair_added(folder: Path) -> None:
    backend = write_pair(folder)
    size = backend.get_vocab_size()
    tokens = [AddedToken("<sep>", lstrip=True), AddedToken("zq", single_word=True)]
    backend.add_tokens(tokens)
    backend.add_special_tokens([AddedToken("<end>", normalized=False)])
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True, "special": False}
    listed = [{"content": "<sep>", "lstrip": True}, {"content": "zq", "single_word": True},
              {"content": "<end>", "special": True, "normalized": False}]  # fmt: skip
    told = {str(size + place): flags | entry for place, entry in enumerate(listed)}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": told}))
    ours = same_as_backend(folder, backend, ("a <sep> b", "zq azq", "<end>"))
    assert ours.kinds[size:] == (Kind.USER, Kind.USER, Kind.CONTROL)


@cell("holes", PAIR, outcome="exact", said="as unused; among added tokens refused")
def pair_holes(folder: Path) -> None:
    size = write_pair(folder).get_vocab_size()
    (folder / "added_tokens.json").write_text(json.dumps({"<far>": size + 4}))
    refused(folder, "<far>", str(size + 4), str(size))
    (folder / "added_tokens.json").unlink()
    table = json.loads((folder / "vocab.json").read_text())
    last = max(table, key=table.get)
    (folder / "vocab.json").write_text(json.dumps(table | {last: size + 4}))
    assert open_tokenizer(folder).kinds[size + 3] is Kind.UNUSED


@cell("token twice", PAIR, outcome="refused", said="with both ids")
@cell("id twice", PAIR, outcome="refused", said="with both tokens")
def pair_twice(folder: Path) -> None:
    write_pair(folder)
    text = (folder / "vocab.json").read_text()
    (folder / "vocab.json").write_text(text.replace("{", '{"zz": 5, "zz": 9999, ', 1))
    refused(folder, "'zz' has the ids 5 and 9999")
    (folder / "vocab.json").write_text(text.replace("{", '{"zz": 5, ', 1))
    refused(folder, "'zz' and '&' both have the id 5")


@cell("suffix mark", PAIR, outcome="refused", said="by what rule words are cut is in neither file")
def pair_suffix(folder: Path) -> None:
    backend = tokenizers.Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=700, show_progress=False, end_of_word_suffix="</w>",
                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    backend.model.save(str(folder))
    refused(folder, "end in </w>")


@cell("newer", PAIR, outcome="noted", said="a class that is not known: GPT-2's pattern")
def pair_other_class(folder: Path) -> None:
    backend = write_pair(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "QuantumTokenizer"}))
    noted(same_as_backend(folder, backend), "QuantumTokenizer may split text in another way")


@cell("no unknown", PAIR)
@cell("ties", PAIR, outcome="none")
@cell("byte fallback", PAIR, outcome="none")
@cell("dropout", PAIR, outcome="none")
@cell("prefix mark", PAIR, outcome="none")
@cell("space mark", PAIR, outcome="none")
def pair_has_none(folder: Path) -> None:
    ours = same_as_backend(folder, write_pair(folder), TEXTS[:3])
    assert ours.unknown_characters(["♥"]) == [0]


def write_list(folder: Path, front: str = "", **settings: Any) -> Path:
    pieces = ["the", "people", "##s", "##ab", "a", "##b", "été", "ete", "Été", "的", "12", ",", "(", ")", "don"]
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]
    (folder / "vocab.txt").write_text(front + "\n".join(lines) + "\n", encoding="utf-8")
    told = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def same_as_bert(folder: Path, texts: Sequence[str] = TEXTS) -> Tokenizer:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertTokenizer.from_pretrained(str(folder))
    ours = open_tokenizer(folder)
    texts = (*texts, "The peoples, 的的 a的b", "ÉTÉ été Été", "ab 12")
    same_ids(ours, lambda text: theirs(text, add_special_tokens=False)["input_ids"], texts)
    return ours


@cell("plain", LIST)
@cell("prefix mark", LIST)
def list_plain(folder: Path) -> None:
    variants: tuple[dict[str, Any], ...] = (
        {}, {"do_lower_case": False}, {"strip_accents": False}, {"strip_accents": True, "do_lower_case": False},
        {"tokenize_chinese_chars": False},
    )  # fmt: skip
    for settings in variants:
        ours = same_as_bert(write_list(folder, **settings))
    (ids,) = ours.encode_batch(["the peoples"])
    assert ours.decode_bytes(ids) == b"the peoples"
    assert ours.token_bytes(7) == b"s"
    assert ours.kinds[0] is Kind.CONTROL
    assert ours.kinds[1] is Kind.UNKNOWN


@cell("user-defined", LIST)
@cell("lstrip, rstrip", LIST)
@cell("single word", LIST)
@cell("normalized", LIST)
def list_added(folder: Path) -> None:
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True, "special": False}
    told = {
        "20": flags | {"content": "<tag>", "lstrip": True},
        "21": flags | {"content": "zq", "single_word": True},
    }
    ours = same_as_bert(write_list(folder, added_tokens_decoder=told), ("a <tag> b", "zq azq", "a<tag>b"))
    assert ours.size == 22
    assert ours.kinds[20] is Kind.USER


@cell("holes", LIST, said="an empty line is unused")
def list_holes(folder: Path) -> None:
    write_list(folder)
    path = folder / "vocab.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("people\n", "people\n\n"), encoding="utf-8")
    assert same_as_bert(folder).kinds[7] is Kind.UNUSED


@cell("token twice", LIST, outcome="noted", said="the later line counts, as with transformers")
def list_twice(folder: Path) -> None:
    write_list(folder)
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("the\n")
    noted(same_as_bert(folder), "line 6 is 'the', and so is line 21")


@cell("no unknown", LIST, outcome="refused", said="names what was looked for")
def list_no_unknown(folder: Path) -> None:
    write_list(folder)
    path = folder / "vocab.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("[UNK]", "[unk]"), encoding="utf-8")
    refused(folder, "looked for [UNK]")


@cell("byte order mark", LIST)
def list_bom(folder: Path) -> None:
    write_list(folder)
    plain = open_tokenizer(folder)
    expected = [ids.tolist() for ids in plain.encode_batch(TEXTS)]
    write_list(folder, "\ufeff")
    marked = open_tokenizer(folder)
    assert [ids.tolist() for ids in marked.encode_batch(TEXTS)] == expected
    assert marked.kinds == plain.kinds


@cell("newer", LIST, outcome="refused", said="a class that does not cut words as BERT does")
def list_other_class(folder: Path) -> None:
    for name in ("EsmTokenizer", "BertJapaneseTokenizer", "PhobertTokenizer"):
        refused(write_list(folder, tokenizer_class=name), name)
    write_list(folder)
    (folder / "tokenizer_config.json").write_text("{}")
    noted(open_tokenizer(folder), "nothing says do_lower_case")
    (folder / "config.json").write_text(json.dumps({"model_type": "phobert"}))
    refused(folder, "phobert")


@cell("id twice", LIST, outcome="none")
@cell("byte fallback", LIST, outcome="none")
@cell("dropout", LIST, outcome="none")
@cell("suffix mark", LIST, outcome="none")
@cell("space mark", LIST, outcome="none")
@cell("ties", LIST, outcome="none")
def list_has_none(folder: Path) -> None:
    same_as_bert(write_list(folder), TEXTS[:2])


@cell("plain", MARIAN, outcome="refused", said="two models and one table; the .spm of a side can be named")
def marian(folder: Path) -> None:
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(sp_model("unigram"))
    (folder / "vocab.json").write_text(json.dumps({"</s>": 0, "<unk>": 1, "▁the": 2}))
    refused(folder, "Marian")
    with pytest.raises(TokenizerError) as caught:
        find_file(folder)
    assert "source.spm" in (caught.value.hint or "")
    same_as_sp(folder / "source.spm", sp_model("unigram"))


# --- The rest --------------------------------------------------------------------------------------


def _fill() -> None:
    """Enter what holds for whole families: features that their formats have no place for."""
    for feature in FEATURES:
        for name in FAMILIES["SentencePiece"]:
            if (feature, name) not in CELLS:
                is_known = name in KINDS
                check: Check = bind(sp_plain, name) if is_known else sp_other_kinds
                CELLS[feature, name] = ("none", "") if is_known else ("refused", "names the type")
                CHECKS[feature, name] = check
        for name in RANK_FILES:
            if (feature, name) not in CELLS:
                CELLS[feature, name] = ("none", "")
                CHECKS[feature, name] = bind(ranks_plain, name)
        if (feature, MARIAN) not in CELLS:
            CELLS[feature, MARIAN], CHECKS[feature, MARIAN] = ("refused", ""), marian


_fill()

# --- The page --------------------------------------------------------------------------------------

_HEADER = """# What of each format is read

Generated from `tests/vocabulary/formats.py` by `make reference`; every cell is a test, which compares with
SentencePiece, tokenizers, transformers or merging by hand.

- **exact**: ids, and what they stand for, are those of the library that the file comes from.
- **read, with a note**: what was turned off or taken for granted is said by `show`, `audit`, `compare`,
  `prepare`, `extend` and `fit`, and is in `notes` of what `open_tokenizer` returns.
- **refused**: an error names the file, the place and what to do.
- **the format has none**: the feature cannot be written in it.

What a token stands for is read off the file: the letter for a space from what the file's own normaliser and
pre-tokeniser make of `a b`, the marks of words (`##`, `@@`, `</w>`, …) from its model, or else its decoder.
Where spaces have no letter, the space of a word is at the start of a token without a prefix mark, and at the
end of one with a suffix mark: `##s` is `s`, `the` of such a vocabulary is ` the`, and `the</w>` is `the `.

`--pattern` of `show`, `audit`, `compare`, `extend`, `compare-init` and `fit --base` says how text is split
where the file does not: by a name, ours or one of GGUF's, or by the regular expression itself. Our names:
{names}.
"""


def render() -> Iterator[str]:
    """Yield the page's lines."""
    yield _HEADER.format(names=", ".join(f"`{name}`" for name in PATTERNS))
    for family, names in FAMILIES.items():
        yield f"## {family}\n"
        yield "| | " + " | ".join(names) + " |"
        yield "| --- " * (len(names) + 1) + "|"
        for feature in FEATURES:
            said = (
                f"{WORDS[how]}{f': {text}' if text else ''}" for how, text in (CELLS[feature, n] for n in names)
            )
            yield f"| {feature} | " + " | ".join(said) + " |"
        yield ""
    yield "## The features\n"
    yield from (f"- **{feature}**: {text}." for feature, text in FEATURES.items())


PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"

if __name__ == "__main__":
    PAGE.write_text("\n".join(render()) + "\n", encoding="utf-8")
