"""`tokenizer.model`: a vocabulary as SentencePiece's ModelProto, and any unigram or bpe one as a vocabulary.

Blocks are not part of the format. Of the trainer's settings only those that change encoding are kept.
"""

from __future__ import annotations

import numpy as np
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as proto

from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.normalization import Normalizer
from vocabkit.vocabulary.vocabulary import Block, Kind, Roles, Spacing, Vocabulary

_TYPES = {
    Kind.NORMAL: proto.ModelProto.SentencePiece.NORMAL,
    Kind.UNKNOWN: proto.ModelProto.SentencePiece.UNKNOWN,
    Kind.CONTROL: proto.ModelProto.SentencePiece.CONTROL,
    Kind.USER: proto.ModelProto.SentencePiece.USER_DEFINED,
    Kind.UNUSED: proto.ModelProto.SentencePiece.UNUSED,
    Kind.BYTE: proto.ModelProto.SentencePiece.BYTE,
}
_KINDS = {number: kind for kind, number in _TYPES.items()}
_MODELS = {"unigram": proto.TrainerSpec.UNIGRAM, "bpe": proto.TrainerSpec.BPE}
_MASKS = ("<mask>", "[MASK]")


def write_model(vocabulary: Vocabulary) -> bytes:
    """The bytes of `tokenizer.model`; the same vocabulary always gives the same."""
    model = proto.ModelProto()
    for piece, score, kind in zip(
        vocabulary.pieces, vocabulary.scores.tolist(), vocabulary.kinds, strict=True
    ):
        model.pieces.add(piece=piece, score=score, type=_TYPES[kind])
    roles = vocabulary.roles
    trainer = model.trainer_spec
    trainer.model_type = _MODELS[vocabulary.model]
    trainer.vocab_size = vocabulary.size
    trainer.byte_fallback = vocabulary.byte_fallback
    trainer.split_by_unicode_script = True
    trainer.split_by_whitespace = True
    trainer.split_by_number = True
    trainer.treat_whitespace_as_suffix = vocabulary.spacing.as_suffix
    for field, index in (
        ("unk", roles.unknown),
        ("bos", roles.begin),
        ("eos", roles.end),
        ("pad", roles.pad),
    ):
        setattr(trainer, f"{field}_id", -1 if index is None else index)
        if index is not None:
            setattr(trainer, f"{field}_piece", vocabulary.pieces[index])
    own = {roles.unknown, roles.begin, roles.end, roles.pad}
    for index, (piece, kind) in enumerate(zip(vocabulary.pieces, vocabulary.kinds, strict=True)):
        if kind is Kind.CONTROL and index not in own:
            trainer.control_symbols.append(piece)
        elif kind is Kind.USER:
            trainer.user_defined_symbols.append(piece)
    normalizer = model.normalizer_spec
    normalizer.name = vocabulary.normalizer.name
    normalizer.precompiled_charsmap = vocabulary.normalizer.charsmap
    normalizer.add_dummy_prefix = vocabulary.spacing.dummy_prefix
    normalizer.remove_extra_whitespaces = vocabulary.spacing.remove_extra
    normalizer.escape_whitespaces = vocabulary.spacing.escape
    return bytes(model.SerializeToString(deterministic=True))


def read_model(data: bytes, source: str = "tokenizer.model") -> Vocabulary:
    """Read a unigram or bpe .model, ours or any other, as a vocabulary of one block.

    Raises TokenizerError naming `source` when the bytes are no such model.
    """
    hint = "name a .model file written by SentencePiece or `vocabkit fit`"
    model = proto.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise TokenizerError(f"{source}: not a SentencePiece model", hint) from error
    if not model.pieces or not model.HasField("trainer_spec"):
        raise TokenizerError(f"{source}: not a SentencePiece model: it holds no pieces", hint)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    name = {number: name for name, number in _MODELS.items()}.get(trainer.model_type)
    if name is None:
        wrong = proto.TrainerSpec.ModelType.Name(trainer.model_type).lower()
        raise TokenizerError(f"{source}: the model type is {wrong}: expected unigram or bpe", hint)
    pieces = tuple(entry.piece for entry in model.pieces)
    kinds = tuple(_KINDS[entry.type] for entry in model.pieces)
    place = {piece: index for index, piece in enumerate(pieces)}
    if Kind.UNKNOWN not in kinds:
        raise TokenizerError(f"{source}: it has no unknown piece", hint)

    def find(number: int, piece: str) -> int | None:
        # SentencePiece goes by the piece; models rewritten by other tools often leave the ids stale.
        index = place.get(piece)
        if index is not None and kinds[index] in (Kind.CONTROL, Kind.USER):
            return index
        return number if 0 <= number < len(pieces) and kinds[number] is Kind.CONTROL else None

    return Vocabulary(
        pieces=pieces,
        scores=np.array([entry.score for entry in model.pieces], dtype=np.float32),
        kinds=kinds,
        blocks=(Block("shared", 0, len(pieces)),),
        model="bpe" if name == "bpe" else "unigram",
        normalizer=Normalizer(normalizer.name or "identity", normalizer.precompiled_charsmap),
        roles=Roles(
            begin=find(trainer.bos_id, trainer.bos_piece),
            pad=find(trainer.pad_id, trainer.pad_piece),
            end=find(trainer.eos_id, trainer.eos_piece),
            unknown=kinds.index(Kind.UNKNOWN),
            mask=next((place[piece] for piece in _MASKS if piece in place), None),
        ),
        spacing=Spacing(
            dummy_prefix=normalizer.add_dummy_prefix,
            remove_extra=normalizer.remove_extra_whitespaces,
            escape=normalizer.escape_whitespaces,
            as_suffix=trainer.treat_whitespace_as_suffix,
        ),
    )
