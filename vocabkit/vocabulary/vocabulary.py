"""A vocabulary: pieces by id with scores, kinds and blocks, its folder, and what changed between two.

The folder holds `tokenizer.model`, `tokenizer.json`, `tokenizer_config.json` and `vocabulary.parquet`. Here is
what a vocabulary *is* and how it is written; text is encoded by the classes of `adapters`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from vocabkit.core.arrays import Float32Array, Int64Array
from vocabkit.core.errors import CountsError, TokenizerError
from vocabkit.core.folders import write_json, write_text
from vocabkit.core.languages import CODE, find_codes, resolve_code
from vocabkit.core.results import Result
from vocabkit.core.text import COMMON, INHERITED, piece_script, script_of, show_token
from vocabkit.corpus.normalization import Normalizer
from vocabkit.corpus.word_counts import connect, read_columns, write_columns
from vocabkit.vocabulary.charsmap import build_steps, match_any

Model = Literal["unigram", "bpe"]
SPACE = "\u2581"
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
SHARED = "shared"
"""The block of the pieces that no language has to itself."""


class Kind(StrEnum):
    """What a piece is for. Only `normal`, `byte`, `user` and `unknown` pieces are ever made from text."""

    NORMAL = "normal"
    CONTROL = "control"
    UNKNOWN = "unknown"
    BYTE = "byte"
    USER = "user"
    UNUSED = "unused"


TEXT = (Kind.NORMAL, Kind.USER)
"""The kinds of the pieces that are text as they are written."""


@dataclass(frozen=True, slots=True)
class Block:
    """The ids from `start` up to, not including, `stop`: `shared`, or the pieces of one language."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Roles:
    """The ids of the pieces with a task of their own; None where the vocabulary has none."""

    begin: int | None = None
    pad: int | None = None
    end: int | None = None
    unknown: int | None = None
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class Spacing:
    """What happens to spaces around the charsmap: SentencePiece's four switches."""

    dummy_prefix: bool = True
    remove_extra: bool = True
    escape: bool = True
    as_suffix: bool = False


_WRONG_FILE = "copy the tokenizer again, or fit it anew: vocabkit fit PRESET --counts DIR -o DIR"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Pieces by id. `scores` is float32[size]: log probabilities (unigram) or minus the merge rank (bpe).

    `blocks` cover the ids without gap or overlap. Two vocabularies are equal when all they hold is.
    """

    pieces: tuple[str, ...]
    scores: Float32Array
    kinds: tuple[Kind, ...]
    blocks: tuple[Block, ...]
    model: Model
    normalizer: Normalizer
    roles: Roles
    spacing: Spacing = Spacing()

    def __post_init__(self) -> None:
        """Check that ids, scores, kinds and blocks fit each other. Raises TokenizerError."""
        if not len(self.pieces) == len(self.scores) == len(self.kinds):
            sizes = f"{len(self.pieces)} pieces, {len(self.scores)} scores, {len(self.kinds)} kinds"
            raise TokenizerError(
                f"a vocabulary needs one score and one kind a piece: got {sizes}",
                "fit it again: vocabkit fit PRESET --counts DIR -o DIR",
            )
        if len(self._ids) != len(self.pieces):
            twice = next(piece for index, piece in enumerate(self.pieces) if self._ids[piece] != index)
            raise TokenizerError(f"the piece {twice!r} occurs twice", _WRONG_FILE)
        if not np.isfinite(self.scores).all():
            place = int(np.flatnonzero(~np.isfinite(self.scores))[0])
            raise TokenizerError(f"the score of {self.pieces[place]!r} (id {place}) is not finite", _WRONG_FILE)
        stop = 0
        for block in self.blocks:
            if block.start != stop or block.stop <= block.start:
                raise TokenizerError(
                    f"block {block.name!r} ({block.start}–{block.stop}) leaves a gap", _WRONG_FILE
                )
            stop = block.stop
        if stop != len(self.pieces):
            raise TokenizerError(f"the blocks end at {stop}, the vocabulary at {len(self.pieces)}", _WRONG_FILE)
        self.scores.setflags(write=False)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: index for index, piece in enumerate(self.pieces)}

    @property
    def size(self) -> int:
        """The number of pieces."""
        return len(self.pieces)

    @cached_property
    def byte_fallback(self) -> bool:
        """Whether characters without a piece are written as their UTF-8 bytes."""
        return Kind.BYTE in self.kinds

    @cached_property
    def fingerprint(self) -> str:
        """A digest (BLAKE2b, 160 bits, hex) of all the vocabulary holds."""
        digest = hashlib.blake2b(digest_size=20)
        for part in ("\0".join(self.pieces), "\0".join(self.kinds), self.model, self.normalizer.name):
            digest.update(f"{len(part)}:{part}".encode())
        digest.update(self.scores.astype("<f4").tobytes())
        digest.update(self.normalizer.charsmap)
        digest.update(repr((self.blocks, self.roles, self.spacing)).encode())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        """Whether `other` holds the same pieces, scores, kinds, blocks, normaliser and switches."""
        return isinstance(other, Vocabulary) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        """Hash by content."""
        return hash(self.fingerprint)

    def ids_of(self, *kinds: Kind) -> list[int]:
        """Return the ids of the pieces of some kinds, in order."""
        return [index for index, kind in enumerate(self.kinds) if kind in kinds]

    def id_of(self, piece: str) -> int | None:
        """Return the id of a piece, None where there is none."""
        return self._ids.get(piece)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The user-defined pieces."""
        return tuple(self.pieces[index] for index in self.ids_of(Kind.USER))

    def token_bytes(self, index: int) -> bytes | None:
        """Return the text an id stands for; None for the pieces that stand for none."""
        return piece_bytes(self.pieces[index], self.kinds[index])

    def append_added(self, pieces: Sequence[str], kinds: Sequence[Kind]) -> Vocabulary:
        """Return the vocabulary with pieces that are matched whole, or never, in its last block."""
        last = self.blocks[-1]
        return replace(
            self,
            pieces=(*self.pieces, *pieces),
            scores=np.concatenate((self.scores, np.zeros(len(pieces), np.float32))),
            kinds=(*self.kinds, *kinds),
            blocks=(*self.blocks[:-1], Block(last.name, last.start, last.stop + len(pieces))),
        )

    def append_block(self, name: str, pieces: Sequence[str], scores: npt.NDArray[Any]) -> Vocabulary:
        """Return the vocabulary with ordinary pieces as a further block; as it is where there are none."""
        if not pieces:
            return self
        return replace(
            self,
            pieces=(*self.pieces, *pieces),
            scores=np.concatenate((self.scores, scores)),
            kinds=(*self.kinds, *[Kind.NORMAL] * len(pieces)),
            blocks=(*self.blocks, Block(name, self.size, self.size + len(pieces))),
        )

    def save(self, folder: str | Path, usage: Mapping[str, Int64Array] | None = None) -> None:
        """Write the four files of a tokenizer folder.

        `usage` adds a column int64[size] a language to the table. Raises TokenizerError where
        tokenizer.json cannot hold the vocabulary exactly.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        (target / "tokenizer.model").write_bytes(write_model(self))
        write_tokenizer(self, target)
        blocks = [block.name for block in self.blocks for _ in range(block.start, block.stop)]
        pairs = zip(self.pieces, self.kinds, strict=True)
        texts = [piece if kind in TEXT else None for piece, kind in pairs]
        columns = {"id": np.arange(self.size, dtype=np.int32), "score": self.scores}
        path = target / "vocabulary.parquet"
        write_table(path, self.pieces, self.kinds, blocks, texts, usage or {}, columns)

    @classmethod
    def load(cls, folder: str | Path) -> Vocabulary:
        """Read what `save` wrote. Raises TokenizerError naming the file that is missing or damaged."""
        path = Path(folder) / "tokenizer.model"
        if not path.is_file():
            what = f"{folder}: not a tokenizer folder: it has no tokenizer.model"
            raise TokenizerError(what, "name a folder written by `vocabkit fit`")
        vocabulary = read_model(path.read_bytes(), source=str(path))
        table = path.with_name("vocabulary.parquet")
        if not table.is_file():
            return vocabulary
        return replace(vocabulary, blocks=_read_blocks(table, vocabulary))


def assemble_vocabulary(
    pieces: Iterable[str],
    scores: Sequence[float] | npt.NDArray[Any],
    model: Model,
    normalizer: Normalizer,
    special: Sequence[str] = SPECIAL,
    reserved: int = 0,
    byte_fallback: bool = False,
    symbols: Sequence[str] = (),
) -> Vocabulary:
    """Return a vocabulary of specials, `symbols`, `<unused0>`…, 256 bytes if any, and `pieces`, in this order.

    Specials are control pieces except `<unk>`. Symbols are user-defined: found whole in any text. A reserved
    slot is an `unused` piece: no text is ever encoded to it, and its id stays free for a token to be trained
    later. All of these score 0. Raises TokenizerError when a piece is empty or repeated, or `<unk>` is not
    among the specials.
    """
    listed = tuple(pieces)
    if "<unk>" not in special:
        raise TokenizerError("the special pieces need `<unk>`", hint="add it to `special`")
    if "" in listed:
        raise TokenizerError(f"piece {listed.index('')} is the empty string", "leave it out")
    unused = tuple(f"<unused{index}>" for index in range(reserved))
    byte_pieces = tuple(f"<0x{value:02X}>" for value in range(256)) if byte_fallback else ()
    head = (*special, *symbols, *unused, *byte_pieces)
    kinds = [Kind.UNKNOWN if piece == "<unk>" else Kind.CONTROL for piece in special]
    kinds += [Kind.USER] * len(symbols)
    kinds += [Kind.UNUSED] * reserved + [Kind.BYTE] * len(byte_pieces) + [Kind.NORMAL] * len(listed)
    values = np.concatenate([np.zeros(len(head), np.float32), np.asarray(scores, dtype=np.float32).reshape(-1)])
    place = {piece: index for index, piece in enumerate(special)}
    blocks = (Block(SHARED, 0, len(kinds)),)
    roles = Roles(*map(place.get, ("<s>", "<pad>", "</s>", "<unk>", "<mask>")))
    return Vocabulary((*head, *listed), values, tuple(kinds), blocks, model, normalizer, roles)


def piece_bytes(piece: str, kind: Kind) -> bytes | None:
    """Return the text of a piece, `▁` read as a space; None for control, unknown and unused pieces."""
    if kind is Kind.BYTE:
        return bytes([int(piece[3:-1], 16)])
    if kind in TEXT:
        return piece.replace(SPACE, " ").encode()
    return None


# --- Routes ----------------------------------------------------------------------------------------
# One language's view of a vocabulary with blocks: it encodes with the shared block and its own. The pieces of
# other blocks stand where they stood, as unused ones, so that ids and embedding rows mean the same in every
# view. A language without a block is encoded with the shared one alone. Letters are everybody's: a piece of one
# character is in a block because the shared one lacks it, and stands in one block though two languages need it.
# Without it the character would be unknown, so it stays what it is in every view; not so where bytes spell it.


def route_vocabulary(vocabulary: Vocabulary, code: str) -> Vocabulary:
    """Return the vocabulary as a language sees it. `code` may be short where blocks make it clear."""
    names = [block.name for block in vocabulary.blocks if block.name != SHARED]
    if not names:
        return vocabulary
    wanted = code
    if code != SHARED and code not in names:
        wanted = resolve_code(code, names) if not CODE.fullmatch(code) and find_codes(code, names) else SHARED
    kinds = list(vocabulary.kinds)
    for block in vocabulary.blocks:
        if block.name in (SHARED, wanted):
            continue
        for index in range(block.start, block.stop):
            if kinds[index] is Kind.NORMAL and not is_shared_letter(vocabulary, index):
                kinds[index] = Kind.UNUSED
    return replace(vocabulary, kinds=tuple(kinds))


def is_shared_letter(vocabulary: Vocabulary, index: int) -> bool:
    """Whether a piece of a block is matched in every view: a character that is unknown without it."""
    return len(vocabulary.pieces[index]) == 1 and not vocabulary.byte_fallback


def block_languages(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the languages that have a block, in block order. Raises TokenizerError when there is none."""
    names = tuple(block.name for block in vocabulary.blocks if block.name != SHARED)
    if not names:
        hint = "fit one with `vocabkit fit two-stage-250k-12x50k`"
        raise TokenizerError("this vocabulary has no language blocks", hint)
    return names


# --- The table -------------------------------------------------------------------------------------
# `vocabulary.parquet`: one row a piece, for people and DuckDB. Only blocks and usage are read back from it.


def write_table(
    path: Path,
    pieces: Sequence[str],
    kinds: Sequence[Kind],
    blocks: Sequence[str],
    texts: Sequence[str | None],
    usage: Mapping[str, Int64Array],
    columns: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Write one row a piece: as files write it, `columns`, its kind, block, script and usage, int64[size].

    `texts` are what scripts are found in, None for pieces that stand for none; `usage` is by language. Raises
    TokenizerError for a column of usage of another length, or under the name of another column.
    """
    found: dict[str, npt.NDArray[Any]] = {
        "piece": np.array(pieces, dtype=object),
        **columns,
        "kind": np.array([kind.value for kind in kinds], dtype=object),
        "block": np.array(blocks, dtype=object),
        "script": np.array(_list_scripts(texts), dtype=object),
    }
    for language, column in usage.items():
        if language in found or len(column) != len(pieces):
            wanted = f"{len(pieces)} values under a name other than {', '.join(found)}"
            raise TokenizerError(
                f"usage column {language!r} has {len(column)} values: expected {wanted}",
                "give a count a piece for each language",
            )
    found |= {name: np.asarray(column, dtype=np.int64) for name, column in usage.items()}
    with connect() as database:
        write_columns(database, found, path)


def _list_scripts(texts: Sequence[str | None]) -> list[str | None]:
    """Return the script of each text; None where there is none."""
    scripts = {char: script_of(char) for char in set("".join(filter(None, texts)))}
    found: list[str | None] = []
    for text in texts:
        own = {scripts[char] for char in text or ""} - {COMMON, INHERITED}
        # Most pieces are of one script; the rare rest is counted character by character.
        found.append(own.pop() if len(own) == 1 else piece_script(text) if text else None)
    return found


def _read_blocks(path: Path, vocabulary: Vocabulary) -> tuple[Block, ...]:
    """Read the block table. Raises TokenizerError for a damaged file or that of another vocabulary."""
    try:
        with connect() as database:
            found = read_columns(database, path, {"piece": "VARCHAR", "block": "VARCHAR"})
    except CountsError as error:
        raise TokenizerError(error.message, hint="fit the vocabulary again") from error
    if tuple(found["piece"]) != vocabulary.pieces:
        hint = "fit the vocabulary again, or remove vocabulary.parquet to load it as one block"
        raise TokenizerError(f"{path}: its pieces are not those of tokenizer.model beside it", hint)
    blocks: list[Block] = []
    for name, rows in groupby(found["block"]):
        start = blocks[-1].stop if blocks else 0
        blocks.append(Block(str(name), start, start + len([*rows])))
    return tuple(blocks)


# --- tokenizer.model -------------------------------------------------------------------------------
# A vocabulary as SentencePiece's ModelProto, and any unigram or bpe one as a vocabulary. Blocks are not part of
# the format. Of the trainer's settings only those that change encoding are kept.

PIECE_TYPES: Mapping[int, Kind] = {
    1: Kind.NORMAL, 2: Kind.UNKNOWN, 3: Kind.CONTROL, 4: Kind.USER, 5: Kind.UNUSED, 6: Kind.BYTE,
}  # fmt: skip
"""What a .model calls the kinds; GGUF has the same numbers."""
_MODELS = {"unigram": proto.TrainerSpec.UNIGRAM, "bpe": proto.TrainerSpec.BPE}
_MASKS = ("<mask>", "[MASK]")


def write_model(vocabulary: Vocabulary) -> bytes:
    """Return the bytes of `tokenizer.model`; the same vocabulary always gives the same."""
    model = proto.ModelProto()
    types = {kind: number for number, kind in PIECE_TYPES.items()}
    for piece, score, kind in zip(vocabulary.pieces, vocabulary.scores.tolist(), vocabulary.kinds, strict=True):
        model.pieces.add(piece=piece, score=score, type=types[kind])
    roles = vocabulary.roles
    trainer = model.trainer_spec
    trainer.model_type = _MODELS[vocabulary.model]
    trainer.vocab_size = vocabulary.size
    trainer.byte_fallback = vocabulary.byte_fallback
    trainer.split_by_unicode_script = trainer.split_by_whitespace = trainer.split_by_number = True
    trainer.treat_whitespace_as_suffix = vocabulary.spacing.as_suffix
    for field, index in (("unk", roles.unknown), ("bos", roles.begin), ("eos", roles.end), ("pad", roles.pad)):
        setattr(trainer, f"{field}_id", -1 if index is None else index)
        if index is not None:
            setattr(trainer, f"{field}_piece", vocabulary.pieces[index])
    own = {roles.unknown, roles.begin, roles.end, roles.pad}
    others = [k for k in vocabulary.ids_of(Kind.CONTROL) if k not in own]
    trainer.control_symbols.extend(vocabulary.pieces[k] for k in others)
    trainer.user_defined_symbols.extend(vocabulary.pieces[k] for k in vocabulary.ids_of(Kind.USER))
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
    for index, entry in enumerate(model.pieces):
        if not isinstance(entry.piece, str):  # what is no UTF-8 is left as bytes
            raise TokenizerError(f"{source}: piece {index} is not UTF-8: {entry.piece!r:.80}", hint)
    name = {number: name for name, number in _MODELS.items()}.get(trainer.model_type)
    if name is None:
        wrong = proto.TrainerSpec.ModelType.Name(trainer.model_type).lower()
        raise TokenizerError(f"{source}: the model type is {wrong}: expected unigram or bpe", hint)
    pieces = tuple(entry.piece for entry in model.pieces)
    kinds = tuple(PIECE_TYPES[entry.type] for entry in model.pieces)
    place = {piece: index for index, piece in enumerate(pieces)}
    if Kind.UNKNOWN not in kinds:
        raise TokenizerError(f"{source}: it has no unknown piece", hint)

    def find(number: int, piece: str) -> int | None:
        # SentencePiece goes by the piece; models rewritten by other tools often leave the ids stale.
        index = place.get(piece)
        if index is not None and kinds[index] in (Kind.CONTROL, Kind.USER):
            return index
        return number if 0 <= number < len(pieces) and kinds[number] is Kind.CONTROL else None

    try:
        return Vocabulary(
            pieces=pieces,
            scores=np.array([entry.score for entry in model.pieces], dtype=np.float32),
            kinds=kinds,
            blocks=(Block(SHARED, 0, len(pieces)),),
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
    except TokenizerError as error:
        raise TokenizerError(f"{source}: {error.message}", hint) from error


# --- tokenizer.json --------------------------------------------------------------------------------
# `tokenizer.json` and `tokenizer_config.json`: for `tokenizers` and AutoTokenizer, ids as the .model's. Exact
# by construction in normalisation (`charsmap`), spaces, bytes and unknowns. What can still differ:
#
# - two segmentations of equal score: SentencePiece adds float32 from the start of the text,
#   `tokenizers` float64 from the start of the word, and the last bit decides (3 of 79,880 lines; also
#   between the ways to cut a run that is longer than the longest symbol of such runs);
# - bpe where two pairs make the same piece side by side: SentencePiece takes the left one,
#   `tokenizers` the pair with the better rank (not met in 79,880 lines). Two pieces of one score are ranked
#   so that it makes no difference, or refused;
# - specials typed in the text: an added token here, as users of AutoTokenizer expect, and plain text
#   in the .model (set `encode_special_tokens` on the backend for plain text).


def write_tokenizer(vocabulary: Vocabulary, folder: str | Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into a folder that exists.

    Raises TokenizerError where the format cannot hold the vocabulary exactly.
    """
    save_backend(_build_backend(vocabulary), _name_roles(vocabulary), Path(folder))


def save_backend(backend: Tokenizer, roles: Mapping[str, Any], folder: Path) -> None:
    """Write `tokenizer.json`, and the `tokenizer_config.json` that names the tokens with a task."""
    content = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        **roles,
    }
    write_text(folder / "tokenizer.json", backend.to_str(pretty=False) + "\n")
    write_json(folder / "tokenizer_config.json", content, indent=2)


def _build_backend(vocabulary: Vocabulary) -> Tokenizer:
    """Return the vocabulary as a `tokenizers.Tokenizer`. Raises TokenizerError as `write_tokenizer` does."""
    spacing = vocabulary.spacing
    if spacing.as_suffix or not spacing.escape:
        switch = "treat_whitespace_as_suffix" if spacing.as_suffix else "escape_whitespaces = false"
        raise TokenizerError(f"tokenizer.json cannot hold a vocabulary with {switch}", "use tokenizer.model")
    model = _unigram(vocabulary) if vocabulary.model == "unigram" else _bpe(vocabulary)
    words = build_pre_tokenizer(vocabulary, model)
    backend = Tokenizer(model)
    backend.normalizer = build_normalizer(vocabulary)
    backend.pre_tokenizer = words
    decoding: list[Any] = [decoders.Replace(SPACE, " ")]
    if vocabulary.byte_fallback:
        decoding.append(decoders.ByteFallback())
    decoding.append(decoders.Fuse())
    if spacing.dummy_prefix:
        decoding.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(decoding)
    begin, end = vocabulary.roles.begin, vocabulary.roles.end
    if begin is not None and end is not None:
        first, last = vocabulary.pieces[begin], vocabulary.pieces[end]
        pair = [first, "$A", last, last, "$B", last]
        backend.post_processor = processors.TemplateProcessing(
            single=pair[:3], pair=pair, special_tokens=[(first, begin), (last, end)]
        )
    for index, (piece, kind) in enumerate(zip(vocabulary.pieces, vocabulary.kinds, strict=True)):
        if kind in (Kind.CONTROL, Kind.UNKNOWN):
            mask = index == vocabulary.roles.mask
            backend.add_special_tokens([AddedToken(piece, lstrip=mask, normalized=False, special=True)])
    return backend


def build_normalizer(vocabulary: Vocabulary) -> normalizers.Normalizer:
    """Return what is done to text before it is split. Raises TokenizerError for a charsmap without a form."""
    spacing, symbols = vocabulary.spacing, vocabulary.symbols
    alphabet = _characters(_texts(vocabulary))
    steps = build_steps(vocabulary.normalizer.charsmap, spacing.remove_extra, alphabet, symbols)
    typed = any(symbol.startswith(SPACE) for symbol in symbols)
    typed = typed or SPACE in vocabulary.normalizer.apply_charsmap([SPACE])
    # Metaspace adds no prefix to a text that begins with a space or a typed U+2581; SentencePiece does, and
    # where it keeps spaces also to one that its charsmap deletes whole.
    if spacing.dummy_prefix and not spacing.remove_extra:
        steps.insert(0, normalizers.Prepend(SPACE))
    elif spacing.dummy_prefix and typed:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence(steps)


def _unigram(vocabulary: Vocabulary) -> models.Model:
    low = _unmatchable_score(vocabulary)

    def choose_score(piece: str, score: float, kind: Kind) -> float:
        if kind is Kind.USER:
            return score_symbol(piece)
        return score if kind is Kind.NORMAL else low

    rows = list(zip(vocabulary.pieces, vocabulary.scores.tolist(), vocabulary.kinds, strict=True))
    entries = [(_written_name(piece, kind), choose_score(piece, score, kind)) for piece, score, kind in rows]
    return models.Unigram(entries, vocabulary.roles.unknown, vocabulary.byte_fallback)


def score_symbol(piece: str) -> float:
    """Return the score that SentencePiece 0.2.3 gives a user-defined unigram piece, whatever the .model says.

    It is above the log probability of any piece, and still that of one piece among others.
    """
    return 0.1 * (len(piece.encode()) - 1)


def _bpe(vocabulary: Vocabulary) -> models.Model:
    unknown = vocabulary.roles.unknown
    names = map(_written_name, vocabulary.pieces, vocabulary.kinds)
    return models.BPE(
        vocab={name: index for index, name in enumerate(names)},
        merges=_derive_merges(vocabulary),
        unk_token=None if unknown is None else vocabulary.pieces[unknown],
        fuse_unk=True,
        byte_fallback=vocabulary.byte_fallback,
    )


def build_pre_tokenizer(vocabulary: Vocabulary, model: models.Model) -> pre_tokenizers.PreTokenizer:
    """Return how text is split before the model; a bpe `model` with symbols is told to take words whole."""
    # Pieces with a space inside (split_by_whitespace off) are matched only if words are not split there.
    crossing = any(SPACE in piece[1:] for piece in _texts(vocabulary))
    scheme = "always" if vocabulary.spacing.dummy_prefix else "never"
    steps: list[Any] = [pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=not crossing)]
    if crossing and not any(_BOUNDARY.search(piece) for piece in _texts(vocabulary)):
        steps.append(_split(_BOUNDARY.pattern))  # only runs of spaces do so
    symbols = vocabulary.symbols
    if vocabulary.model == "unigram":
        patterns = [_split_pattern(vocabulary)]
    elif symbols:
        # A symbol is a word of its own, and found whole: there are no merges that would make it.
        patterns = [match_any(symbols), _divide_words(vocabulary, model)]
        whole: Any = model
        whole.ignore_merges = True
    else:
        # A bpe name cannot be matched for the same reason.
        patterns = []
    steps += [_split(pattern) for pattern in patterns if pattern]
    return steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def _name_roles(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what tokenizer_config.json says of special tokens."""
    roles = vocabulary.roles
    names = {
        "bos_token": roles.begin, "eos_token": roles.end, "unk_token": roles.unknown, "pad_token": roles.pad,
        "cls_token": roles.begin, "sep_token": roles.end, "mask_token": roles.mask,
    }  # fmt: skip
    tokens: dict[str, Any] = {key: vocabulary.pieces[one] for key, one in names.items() if one is not None}
    if roles.mask is not None:
        tokens["mask_token"] = {
            "__type": "AddedToken", "content": vocabulary.pieces[roles.mask], "lstrip": True,
            "normalized": False, "rstrip": False, "single_word": False, "special": True,
        }  # fmt: skip
    own = set(names.values())
    extra = [vocabulary.pieces[k] for k in vocabulary.ids_of(Kind.CONTROL) if k not in own]
    if extra:
        tokens["additional_special_tokens"] = extra
    return tokens


def _derive_merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Return every way to make a piece out of two others, by rank of the piece, of its left and right part.

    SentencePiece merges any two neighbours whose concatenation is a piece, so all pairs are listed,
    not only the one that was counted when the piece was learnt. Raises TokenizerError where ranks cannot say
    what scores do.
    """
    scores = vocabulary.scores.tolist()
    usable = sorted(vocabulary.ids_of(Kind.NORMAL), key=lambda index: (-scores[index], index))
    rank = {vocabulary.pieces[index]: place for place, index in enumerate(usable)}
    _check_unused(vocabulary)
    merges: list[tuple[str, str]] = []
    for _, group in groupby(usable, key=scores.__getitem__):
        tied: list[list[tuple[str, str]]] = []
        for piece in (vocabulary.pieces[index] for index in group):
            known = [(left, right) for left, right in _halve(piece) if left in rank and right in rank]
            tied.append(sorted(known, key=lambda pair: (rank[pair[0]], rank[pair[1]])))
        made = [pairs for pairs in tied if pairs]
        found = list(chain.from_iterable(made))
        merges += found if len(made) < 2 else _order_tied([*merges, *found], found)
    return merges


def _order_tied(merges: Sequence[tuple[str, str]], tied: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the merges of pieces of one score so that the better rank is always the left one.

    Of two merges that share a symbol, SentencePiece does the left one first. With (a, b) before every (b, c) so
    do ranks, if none of these pieces is merged further before the others have been. Raises TokenizerError.
    """
    pieces = {left + right for left, right in tied}
    hint = "give the pieces scores that all differ, or use tokenizer.model"
    said = "SentencePiece merges the leftmost of equal scores first, and ranks in tokenizer.json cannot"
    for left, right in merges:
        part = left if left in pieces else right
        if part in pieces:
            both = f"{part!r} and {left + right!r}, of which it is a part"
            what = f"{len(pieces)} bpe pieces have the same score, among them {both}: {said}"
            raise TokenizerError(what, hint)
    follows: dict[str, set[str]] = {}
    for left, right in tied:
        if left != right:
            follows.setdefault(right, set()).add(left)
    try:
        place = {symbol: at for at, symbol in enumerate(TopologicalSorter(follows).static_order())}
    except CycleError as error:
        circle = ", ".join(map(repr, error.args[1][1:]))
        what = f"{len(pieces)} bpe pieces have the same score, and are made of {circle} in a circle: {said}"
        raise TokenizerError(what, hint) from error
    return sorted(tied, key=lambda pair: (place.get(pair[0], -1), pair[0] != pair[1]))


def _check_unused(vocabulary: Vocabulary) -> None:
    """Raise TokenizerError for an unused bpe piece that changes how text around it is merged.

    SentencePiece merges to it, and takes it apart again at the end. That shows where one of its two parts
    could have been merged with its other neighbour instead, afterwards, or the piece itself.
    """
    listed = zip(vocabulary.pieces, vocabulary.scores.tolist(), vocabulary.kinds, strict=True)
    merged = {piece: score for piece, score, kind in listed if kind in (Kind.NORMAL, Kind.UNUSED)}
    unused = [vocabulary.pieces[index] for index in vocabulary.ids_of(Kind.UNUSED)]
    parts = {piece: [(a, b) for a, b in _halve(piece) if a in merged and b in merged] for piece in unused}
    if not any(parts.values()):
        return
    lefts: dict[str, list[tuple[str, float]]] = {}
    rights: dict[str, list[tuple[str, float]]] = {}
    for piece, score in merged.items():
        for left, right in _halve(piece):
            if left in merged and right in merged:
                lefts.setdefault(left, []).append((right, score))
                rights.setdefault(right, []).append((left, score))
    for piece, pairs in parts.items():
        near = [beside for left, right in pairs for beside in (*lefts.get(right, ()), *rights.get(left, ()))]
        later = (min(score, merged[other] if len(other) > 1 else score) for other, score in near)
        passed = pairs and (piece in lefts or piece in rights)
        if passed or any(score <= merged[piece] for score in later):
            what = f"tokenizer.json cannot hold the unused bpe piece {piece!r}: SentencePiece merges to it"
            raise TokenizerError(what, "rename it, as <unused0>, or use tokenizer.model")


def _halve(piece: str) -> list[tuple[str, str]]:
    return [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]


def _divide_words(vocabulary: Vocabulary, model: models.Model) -> str | None:
    """Return where to cut the words that are a piece's name and are no such piece, None if there are none.

    With symbols a word that is in the vocabulary is found whole. That is what its merges make of it, but for
    the names of control, byte and unused pieces, and pieces that their own merges miss.
    """
    divided: dict[str, str] = {}
    for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True):
        if kind is Kind.USER or _written_name(piece, kind) != piece:
            continue
        tokens = model.tokenize(piece)
        # A name of unknown characters alone is the unknown piece, found whole or not.
        itself = kind in (Kind.NORMAL, Kind.UNKNOWN) and [token.value for token in tokens] == [piece]
        if not itself:
            first = piece.encode()[: tokens[0].offsets[1]].decode()
            divided[piece] = piece[:1] if first == piece else first
    starts: dict[str, list[str]] = {}
    for piece, start in divided.items():
        rest = piece[len(start) :]
        if rest in divided or start in divided or not rest:
            what = f"tokenizer.json cannot hold this bpe with user-defined symbols: {piece!r} is not one piece"
            raise TokenizerError(what, "use tokenizer.model")
        starts.setdefault(start, []).append(rest)
    # Whole words only: \A and \z are the ends of the word, not of a line.
    branches = [f"{match_any([start])}(?=(?:{match_any(rests)})\\z)" for start, rests in starts.items()]
    return rf"\A(?:{'|'.join(branches)})" if branches else None


# --- Reserved text ---------------------------------------------------------------------------------
# What keeps a piece that stands for no text from being matched when its name is typed, in tokenizer.json.
#
# SentencePiece never matches `<s>`, `<0x41>` or an unused piece in a text; `tokenizers` matches whatever
# its vocabulary holds. Three means, the cheapest that is exact:
#
# - an unused piece gets a space in front of its name, which no pre-tokenized word holds (reserved slots
#   keep their name, by which users look for them);
# - a score so low that any other path is better, where characters all have pieces of their own;
# - a split inside the name, at a place that no piece spans, where they have not.

# Below any path of single characters (48 of them at −20 each make −960), far from where float64 loses a bit.
_NEVER = -1e5
_RESERVED = re.compile(r"<unused[0-9]+>")
# Where a word ends, spaces or not.
_BOUNDARY = re.compile(f"(?<=[^{SPACE}])(?={SPACE})")
# Names that come in families: the first characters, and the pattern that goes on after them.
_BYTES = ("<0x", "[0-9A-F]{2}>")
_SLOTS = ("<unused", "[0-9]+>")
_CHARACTERS_AFTER = {"": "", _BYTES[1]: "0123456789ABCDEF>", _SLOTS[1]: "0123456789>"}


def _written_name(piece: str, kind: Kind) -> str:
    """Return the name a piece has in tokenizer.json: its own, but for unused ones that are no reserved slot."""
    return f" {piece}" if kind is Kind.UNUSED and not _RESERVED.fullmatch(piece) else piece


def is_unused_name(name: str) -> bool:
    """Whether `_written_name` gives this name to unused pieces only."""
    return name.startswith(" ") or _RESERVED.fullmatch(name) is not None


def _unmatchable_score(vocabulary: Vocabulary) -> float:
    """Return the score for pieces that no text may become.

    The penalty for an unknown character is ten below the lowest score, so a score below all others
    changes it. That decides nothing where no piece holds a character that is unknown alone.
    """
    texts = _texts(vocabulary)
    if _characters(texts) <= texts:
        return _NEVER
    return float(min(vocabulary.scores[vocabulary.ids_of(Kind.NORMAL)], default=0.0))


def _split_pattern(vocabulary: Vocabulary) -> str | None:
    """Return where words must be split so that a typed name is never one piece; None if scores see to it.

    Each place is one that no piece spans. One between a known and an unknown character is preferred,
    since a run of unknown characters is a single token. (A special whose characters are all unknown
    still becomes two unknown tokens when typed, one in the .model.)
    """
    texts = _texts(vocabulary)
    alone = _characters(texts) <= texts
    names = {
        (piece, "")
        for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True)
        # The unknown piece itself may be matched where its characters are all unknown anyway.
        if kind is Kind.CONTROL
        or (kind is Kind.UNKNOWN and (vocabulary.byte_fallback or not texts.isdisjoint(piece)))
    }
    if vocabulary.byte_fallback:
        names.add(_BYTES)
    if any(_RESERVED.fullmatch(piece) for piece in vocabulary.pieces):
        names.add(_SLOTS)
    if alone:
        names = {(start, rest) for start, rest in names if not {*start, *_CHARACTERS_AFTER[rest]} <= texts}
    if not names:
        return None
    spanned = {text[at : at + 2] for text in texts for at in range(len(text) - 1)}
    places = []
    for start, rest in sorted(names):
        cuts = [cut for cut in range(1, len(start)) if start[cut - 1 : cut + 1] not in spanned]
        cuts.sort(key=lambda cut: (start[cut - 1] in texts) == (start[cut] in texts))
        if cuts:
            before, after = re.escape(start[: cuts[0]]), re.escape(start[cuts[0] :])
            places.append(f"(?<={before})(?={after}{rest})")
    return "|".join(places) or None


def _texts(vocabulary: Vocabulary) -> frozenset[str]:
    return frozenset(vocabulary.pieces[index] for index in vocabulary.ids_of(*TEXT))


def _characters(texts: frozenset[str]) -> set[str]:
    return {char for text in texts for char in text}


# --- Difference ------------------------------------------------------------------------------------
# What changed between two vocabularies: pieces added, removed, moved to another id, scored differently.


@dataclass(frozen=True, slots=True)
class Difference(Result):
    """What turns vocabulary a into b, in order of b's ids (`removed`: a's).

    `changes` has a row for each piece added, removed or moved: what happened, its script as ISO 15924 code
    (None for a piece that stands for no letters), and its id before and after. `rescored` are pieces both have,
    with the score before and after. `pieces` says that a row is a piece where `to_rows` is not told.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    rescored: tuple[tuple[str, float, float], ...]
    changes: tuple[Mapping[str, object], ...]
    pieces: bool = False

    def to_rows(self, pieces: bool | None = None) -> list[dict[str, object]]:
        """Return a row a script, the most changed first: how many pieces were added, removed, moved.

        With `pieces` a row a piece, written so that it can be printed. Equal vocabularies have no row.
        """
        if self.pieces if pieces is None else pieces:
            return [dict(row) for row in self.changes]
        amount = Counter((row["script"], row["change"]) for row in self.changes)
        scripts = Counter(row["script"] for row in self.changes)
        kinds = ("added", "removed", "moved")
        return [
            {"script": script, **{kind: amount[script, kind] for kind in kinds}}
            for script, _ in sorted(scripts.items(), key=lambda item: (-item[1], str(item[0])))
        ]


def compare_vocabularies(a: Vocabulary, b: Vocabulary) -> Difference:
    """Compare piece by piece. Kinds, blocks and normalisers are left to the fingerprints."""
    added = tuple(piece for piece in b.pieces if a.id_of(piece) is None)
    removed = tuple(piece for piece in a.pieces if b.id_of(piece) is None)
    both = [(piece, a.id_of(piece), k) for k, piece in enumerate(b.pieces)]
    kept = [(piece, i, k) for piece, i, k in both if i is not None]
    moved = tuple(piece for piece, i, k in kept if i != k)
    kinds = dict(zip(a.pieces, a.kinds, strict=True)) | dict(zip(b.pieces, b.kinds, strict=True))
    scores = ((piece, float(a.scores[i]), float(b.scores[k])) for piece, i, k in kept)
    rescored = tuple(row for row in scores if row[1] != row[2])
    changes: list[Mapping[str, object]] = []
    for change, pieces in (("added", added), ("removed", removed), ("moved", moved)):
        for piece in pieces:
            # A special or byte token stands for no letters: its name's are not its script.
            script = piece_script(piece) if kinds[piece] in TEXT else None
            row = {"change": change, "piece": show_token(piece.encode()), "script": script}
            changes.append(row | {"before": a.id_of(piece), "after": b.id_of(piece)})
    return Difference(added, removed, moved, rescored, tuple(changes))
