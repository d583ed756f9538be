"""The .model SentencePiece reads back, and .model files of others."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary, _build_backend, read_model, write_model

Build = Callable[..., Vocabulary]
Train = Callable[[str, bool], bytes]


@pytest.mark.parametrize("model", ["unigram", "bpe"])
@pytest.mark.parametrize("byte_fallback", [False, True])
def test_round_trip(built: Build, model: str, byte_fallback: bool) -> None:
    vocabulary = built(model, byte_fallback)
    data = write_model(vocabulary)
    assert read_model(data) == vocabulary
    assert write_model(read_model(data)) == data


def test_special_ids(built: Build) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=write_model(built("unigram", True)))
    ids = processor.bos_id(), processor.pad_id(), processor.eos_id(), processor.unk_id()
    assert ids == (0, 1, 2, 3)
    assert processor.is_control(4)
    assert processor.id_to_piece(4) == "<mask>"
    assert processor.is_unused(5)
    assert processor.is_byte(8)
    assert processor.decode([0, 4, 2]) == ""


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_rewritten_model_encodes_the_same(trained: Train, lines: list[str], model: str) -> None:
    data = trained(model, False)
    before = sentencepiece.SentencePieceProcessor(model_proto=data)
    after = sentencepiece.SentencePieceProcessor(model_proto=write_model(read_model(data)))
    assert before.encode(lines) == after.encode(lines)


def test_a_model_with_other_specials_and_user_symbols(lines: list[str]) -> None:
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=output,
        vocab_size=330,
        hard_vocab_limit=False,
        unk_id=5,
        bos_id=-1,
        eos_id=0,
        pad_id=1,
        unk_piece="[UNK]",
        eos_piece="[END]",
        control_symbols=["[MASK]"],
        user_defined_symbols=["<sep>", "日本"],
        add_dummy_prefix=False,
        normalization_rule_name="identity",
        num_threads=1,
        minloglevel=2,
    )
    vocabulary = read_model(output.getvalue())
    roles = vocabulary.roles
    assert (roles.begin, roles.end, roles.pad) == (None, 0, 1)
    assert vocabulary.pieces[roles.unknown or 0] == "[UNK]"
    assert vocabulary.pieces[roles.mask or 0] == "[MASK]"
    assert vocabulary.kinds[vocabulary.id_of("日本") or 0] is Kind.USER
    assert not vocabulary.spacing.dummy_prefix
    processor = sentencepiece.SentencePieceProcessor(model_proto=output.getvalue())
    rewritten = sentencepiece.SentencePieceProcessor(model_proto=write_model(vocabulary))
    backend = _build_backend(vocabulary)
    for line in ["a<sep>b", *lines[:40]]:
        assert rewritten.encode(line) == processor.encode(line)
        if "日本" not in line and "<sep>" not in line:
            assert backend.encode(line).ids == processor.encode(line), line


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x00" * 40, b'{"model": {}}', b"\x0a\x02\x0a\x00"])
def test_damaged(data: bytes) -> None:
    with pytest.raises(TokenizerError, match=r"some\.model") as caught:
        read_model(data, source="some.model")
    assert caught.value.hint


def test_cut_short(trained: Train) -> None:
    data = trained("unigram", False)
    with pytest.raises(TokenizerError):
        read_model(data[: len(data) // 2])


def test_other_model_types_are_refused(trained: Train) -> None:
    model = proto.ModelProto.FromString(trained("unigram", False))
    model.trainer_spec.model_type = proto.TrainerSpec.WORD
    with pytest.raises(TokenizerError, match="word"):
        read_model(model.SerializeToString())
