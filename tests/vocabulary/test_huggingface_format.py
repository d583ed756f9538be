"""tokenizer.json gives the .model's ids: SentencePiece is the oracle, AutoTokenizer the reader."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import Tokenizer

from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.normalization import load_normalizer
from vocabkit.vocabulary.vocabulary import (
    Kind,
    Vocabulary,
    _build_backend,
    _derive_merges,
    assemble_vocabulary,
    read_model,
    write_model,
    write_tokenizer,
)

Build = Callable[..., Vocabulary]
EDGES = [
    *(
        "",
        " ",
        "   ",
        " a ",
        "a  b",
        "▁",
        "▁x",
        "a▁b",
        "x ▁",
        "▁ x",
        "\ta\tb\n",
        "a\r\nb",
        "a\u00a0b",
    ),
    *(
        "a\0b",
        "\0",
        "\ufeffa",
        "\u200b\u200b",
        "👩\u200d👩\u200d👧 x",
        "0123٤٥६७৮๓",
        "𝒜♥♥♥ ♥",
        "♥<s>",
    ),
    *("<s>", "</s> x", "a<mask>b", "<unk>", "<pad>", "<unused0>", "x<0x41>y", "<0x4", "<s", "s>"),
    *("ﬁ\u0301", "²\u0301", "o\u0323\u0301", "ｶﾞ", "a\u0301\u0323", "\u0301a", "क़्", "\U0010fffd"),
]
MODELS = [("unigram", False), ("unigram", True), ("bpe", False), ("bpe", True)]


def differing(vocabulary: Vocabulary, texts: list[str]) -> list[tuple[str, list[str], list[str]]]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=write_model(vocabulary))
    backend = _build_backend(vocabulary)
    backend.encode_special_tokens = True
    found = []
    for text in texts:
        expected = processor.encode(text, out_type=int)
        got = backend.encode(text, add_special_tokens=False).ids
        if got != expected:
            pieces = vocabulary.pieces
            found.append((text, [pieces[i] for i in expected], [pieces[i] for i in got]))
    return found


@pytest.mark.parametrize(("model", "byte_fallback"), MODELS)
@pytest.mark.parametrize("normalizer", ["nmt_nfkc", "nfkc", "nfc", "identity"])
def test_same_ids(built: Build, lines: list[str], model: str, byte_fallback: bool, normalizer: str) -> None:
    assert differing(built(model, byte_fallback, normalizer), [*EDGES, *lines]) == []


@pytest.mark.parametrize(("model", "byte_fallback"), MODELS)
def test_same_ids_on_any_text(built: Build, model: str, byte_fallback: bool) -> None:
    vocabulary = built(model, byte_fallback)
    backend = _build_backend(vocabulary)
    backend.encode_special_tokens = True
    processor = sentencepiece.SentencePieceProcessor(model_proto=write_model(vocabulary))
    alphabet = sorted({char for piece in vocabulary.pieces for char in piece} | set("ﬁ½♥\u0301\u0323\t "))

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.text(st.sampled_from(alphabet), max_size=12))
    def check(text: str) -> None:
        got = backend.encode(text, add_special_tokens=False).ids
        expected = processor.encode(text, out_type=int)
        if got != expected:  # only segmentations of equal score may differ
            assert vocabulary.model == "unigram"
            sums = [float(vocabulary.scores[ids].sum()) for ids in (got, expected)]
            assert sums[0] == pytest.approx(sums[1], rel=1e-6)

    check()


def test_specials_typed_in_a_text_when_characters_are_missing() -> None:
    # No piece holds `<`, so SentencePiece reads unknown, s, unknown; a low score alone would give `<s>`.
    pieces = ["▁", "a", "s", "k", "m", "sk", "mask"]
    scores = -np.arange(1, len(pieces) + 1)
    vocabulary = assemble_vocabulary(pieces, scores, "unigram", load_normalizer("nmt_nfkc"))
    assert differing(vocabulary, ["<s>", "a<s>a", "<mask>", "a <mask> s", "<unk>", "<<s"]) == []


@pytest.mark.parametrize("known", ["<s>0x41", "<>0x41k", "<>0x", "s0x41", "unk<>", "s>mak"])
@pytest.mark.parametrize("byte_fallback", [False, True])
def test_typed_names_are_never_taken_for_their_pieces(known: str, byte_fallback: bool) -> None:
    # Characters so dear that any piece of low score would be a bargain.
    pieces = ["▁", *known]
    scores = [-1.0, *(-15.0 - place for place in range(len(known)))]
    vocabulary = assemble_vocabulary(
        pieces, scores, "unigram", load_normalizer("nmt_nfkc"), byte_fallback=byte_fallback
    )
    assert differing(vocabulary, ["<s>", "<0x41>", "<unk>", "<mask>", "a<s>", "<0x4"]) == []


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_unused_pieces_are_never_matched(model: Literal["unigram", "bpe"]) -> None:
    # As a routed vocabulary marks the pieces of other languages: words, and a letter of their own.
    pieces = ["▁", "a", "b", "d", "▁a", "ab", "▁ab", "ɓ", "ɓa"]
    scores = -np.arange(1, len(pieces) + 1)
    whole = assemble_vocabulary(pieces, scores, model, load_normalizer("nmt_nfkc"), reserved=1)
    kinds = [Kind.UNUSED if piece in ("▁ab", "ɓ", "ɓa") else kind
             for piece, kind in zip(whole.pieces, whole.kinds, strict=True)]  # fmt: skip
    vocabulary = replace(whole, kinds=tuple(kinds))
    texts = ["ab ab", "ɓ", "ɓab", "a ɓa b", "<unused0>", "a<unused0>b"]
    assert differing(vocabulary, texts) == []
    assert _build_backend(vocabulary).token_to_id("<unused0>") == 5


def test_missing_characters_inside_longer_pieces() -> None:
    # `x` alone is no piece: the penalty for an unknown character decides between `ax` and `a` + unknown.
    scores = [-1.0, -2.0, -3.0, -14.0, -14.5]
    vocabulary = assemble_vocabulary(
        ["▁", "a", "b", "ax", "xb"], scores, "unigram", load_normalizer("identity")
    )
    assert differing(vocabulary, ["ax", "axb", "axxb", "x", "bxb", "axaxb"]) == []


def test_scores_are_the_models(built: Build) -> None:
    vocabulary = built("unigram", False)
    entries = json.loads(_build_backend(vocabulary).to_str())["model"]["vocab"]
    for (piece, score), kind, expected in zip(entries, vocabulary.kinds, vocabulary.scores, strict=True):
        if kind is Kind.NORMAL:
            assert np.float32(score) == expected, piece


def test_merges_are_all_pairs_in_order(built: Build) -> None:
    vocabulary = built("bpe", False)
    normal = [i for i, kind in enumerate(vocabulary.kinds) if kind is Kind.NORMAL]
    normal.sort(key=lambda index: (-float(vocabulary.scores[index]), index))
    rank = {vocabulary.pieces[index]: place for place, index in enumerate(normal)}
    every = [(a, b) for a in rank for b in rank if a + b in rank]
    every.sort(key=lambda pair: (rank[pair[0] + pair[1]], rank[pair[0]], rank[pair[1]]))
    assert _derive_merges(vocabulary) == every


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_same_bytes_every_time(built: Build, tmp_path: Path, model: str) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_tokenizer(read_model(write_model(built(model, True))), tmp_path / name)
        files = sorted((tmp_path / name).iterdir())
        contents.append({path.name: path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == ["tokenizer.json", "tokenizer_config.json"]


def test_bytes_survive_decoding(built: Build) -> None:
    backend = _build_backend(built("unigram", True))
    for text in ("Ọ̀yọ́ ♥ 👩", "한국어 क़्"):
        normal = load_normalizer("nmt_nfkc").normalize(text)
        assert backend.decode(backend.encode(text).ids) == normal


@pytest.mark.parametrize("configuration", [None, "xlm-roberta", "llama"])
def test_auto_tokenizer(built: Build, lines: list[str], tmp_path: Path, configuration: str | None) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = built("unigram", False)
    write_tokenizer(vocabulary, tmp_path)
    if configuration:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": configuration}))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    processor = sentencepiece.SentencePieceProcessor(model_proto=write_model(vocabulary))
    for line in lines[:40]:
        ids = processor.encode(line, out_type=int)
        assert tokenizer(line)["input_ids"] == [0, *ids, 2]
    named = tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id
    assert (*named, tokenizer.unk_token_id, tokenizer.mask_token_id) == (0, 1, 2, 3, 4)
    pair = tokenizer.convert_ids_to_tokens(tokenizer("a", "b")["input_ids"])
    assert [t for t in pair if t.startswith("<")] == ["<s>", "</s>", "</s>", "</s>"]
    assert len(tokenizer) == vocabulary.size
    # The mask takes the space before it, and typed specials are specials.
    masked = tokenizer.convert_ids_to_tokens(tokenizer("a <mask> b")["input_ids"])
    place = masked.index("<mask>")
    assert masked[1:place] == tokenizer.tokenize("a")


def test_reads_as_plain_tokenizers_file(built: Build, tmp_path: Path) -> None:
    write_tokenizer(built("bpe", False), tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert backend.encode("<s>", add_special_tokens=False).ids == [0]


def test_settings_without_an_exact_form_are_refused(trained: Callable[..., bytes]) -> None:
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto.FromString(trained("unigram", False))
    model.trainer_spec.treat_whitespace_as_suffix = True
    with pytest.raises(TokenizerError, match="treat_whitespace_as_suffix"):
        _build_backend(read_model(model.SerializeToString()))


@pytest.mark.parametrize("dummy_prefix", [True, False])
@pytest.mark.parametrize("normalizer", ["nmt_nfkc", "nfkc", "identity"])
@pytest.mark.parametrize(("model", "byte_fallback"), [("unigram", False), ("bpe", True)])
def test_spaces_that_are_kept_at_the_start(
    trained: Callable[..., bytes], model: str, byte_fallback: bool, normalizer: str, dummy_prefix: bool
) -> None:
    proto = model_pb2.ModelProto.FromString(trained(model, byte_fallback))
    proto.normalizer_spec.precompiled_charsmap = load_normalizer(normalizer).charsmap
    proto.normalizer_spec.add_dummy_prefix = dummy_prefix
    proto.normalizer_spec.remove_extra_whitespaces = False
    data = proto.SerializeToString()
    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    backend = _build_backend(read_model(data))
    backend.encode_special_tokens = True
    choose = random.Random(5)
    parts = (" ", "  ", "\t", "\u3000", "\u2581", "\u200b", "\x07", "the", "dog", "\u0436", "e\u0301", "\ufb01")
    texts = [
        "",
        " ",
        "  ",
        "\u2581",
        "\x07",
        " \x07",
        *("".join(choose.choices(parts, k=4)) for _ in range(200)),
    ]
    for text in texts:
        assert backend.encode(text, add_special_tokens=False).ids == theirs.encode(text), ascii(text)
