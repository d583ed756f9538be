"""A vocabulary: pieces by id with scores, kinds and blocks, and the folder it is saved to.

The folder holds `tokenizer.model`, `tokenizer.json`, `tokenizer_config.json` and
`vocabulary.parquet`. Here is what a vocabulary *is*; encoding text is left to `tokenizers`, the file
formats to the modules named after them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.normalization import Normalizer

Model = Literal["unigram", "bpe"]
SPACE = "\u2581"
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


class Kind(StrEnum):
    """What a piece is for. Only `normal`, `byte`, `user` and `unknown` pieces are ever made from text."""

    NORMAL = "normal"
    CONTROL = "control"
    UNKNOWN = "unknown"
    BYTE = "byte"
    USER = "user"
    UNUSED = "unused"


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


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Pieces by id. `scores` is float32[size]: log probabilities (unigram) or minus the merge rank (bpe).

    `blocks` cover the ids without gap or overlap. Two vocabularies are equal when all they hold is.
    """

    pieces: tuple[str, ...]
    scores: npt.NDArray[np.float32]
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
            raise TokenizerError(f"a vocabulary needs one score and one kind a piece: got {sizes}")
        if len(self._ids) != len(self.pieces):
            raise TokenizerError(f"the piece {_first_repeated(self.pieces)!r} occurs twice")
        if not np.isfinite(self.scores).all():
            place = int(np.flatnonzero(~np.isfinite(self.scores))[0])
            raise TokenizerError(f"the score of {self.pieces[place]!r} (id {place}) is not finite")
        stop = 0
        for block in self.blocks:
            if block.start != stop or block.stop <= block.start:
                raise TokenizerError(
                    f"block {block.name!r} ({block.start}–{block.stop}) leaves a gap"
                )
            stop = block.stop
        if stop != len(self.pieces):
            raise TokenizerError(f"the blocks end at {stop}, the vocabulary at {len(self.pieces)}")
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
        for part in (
            "\0".join(self.pieces),
            "\0".join(self.kinds),
            self.model,
            self.normalizer.name,
        ):
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

    def id_of(self, piece: str) -> int | None:
        """The id of a piece, None where there is none."""
        return self._ids.get(piece)

    def token_bytes(self, index: int) -> bytes | None:
        """The text an id stands for; None for the pieces that stand for none."""
        return piece_bytes(self.pieces[index], self.kinds[index])

    def save(
        self, folder: str | Path, usage: Mapping[str, npt.NDArray[np.int64]] | None = None
    ) -> None:
        """Write the four files of a tokenizer folder.

        `usage` adds a column int64[size] a language to the table. Raises TokenizerError where
        tokenizer.json cannot hold the vocabulary exactly.
        """
        from vocabkit.vocabulary.huggingface_format import write_tokenizer
        from vocabkit.vocabulary.piece_table import write_table
        from vocabkit.vocabulary.sentencepiece_format import write_model

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        (target / "tokenizer.model").write_bytes(write_model(self))
        write_tokenizer(self, target)
        write_table(self, target / "vocabulary.parquet", usage or {})

    @classmethod
    def load(cls, folder: str | Path) -> Vocabulary:
        """Read what `save` wrote. Raises TokenizerError naming the file that is missing or damaged."""
        from vocabkit.vocabulary.piece_table import read_blocks
        from vocabkit.vocabulary.sentencepiece_format import read_model

        path = Path(folder) / "tokenizer.model"
        if not path.is_file():
            raise TokenizerError(
                f"{folder}: not a tokenizer folder: it has no tokenizer.model",
                hint="name a folder written by `vocabkit fit`",
            )
        vocabulary = read_model(path.read_bytes(), source=str(path))
        table = path.with_name("vocabulary.parquet")
        if not table.is_file():
            return vocabulary
        return replace_blocks(vocabulary, read_blocks(table, vocabulary))


def assemble_vocabulary(
    pieces: Iterable[str],
    scores: Sequence[float] | npt.NDArray[Any],
    model: Model,
    normalizer: Normalizer,
    special: Sequence[str] = SPECIAL,
    reserved: int = 0,
    byte_fallback: bool = False,
) -> Vocabulary:
    """A vocabulary with ids in this order: specials, `<unused0>`…, the 256 bytes if any, then `pieces`.

    Specials are control pieces except `<unk>`. A reserved slot is an `unused` piece: no text is ever
    encoded to it, and its id stays free for a token to be trained later. All of these score 0.

    Raises TokenizerError when a piece is empty or repeated, or `<unk>` is not among the specials.
    """
    listed = tuple(pieces)
    if "<unk>" not in special:
        raise TokenizerError("the special pieces need `<unk>`", hint="add it to `special`")
    if "" in listed:
        raise TokenizerError(f"piece {listed.index('')} is the empty string")
    unused = tuple(f"<unused{index}>" for index in range(reserved))
    byte_pieces = tuple(f"<0x{value:02X}>" for value in range(256)) if byte_fallback else ()
    head = (*special, *unused, *byte_pieces)
    kinds = (
        *(Kind.UNKNOWN if piece == "<unk>" else Kind.CONTROL for piece in special),
        *(Kind.UNUSED for _ in unused),
        *(Kind.BYTE for _ in byte_pieces),
        *(Kind.NORMAL for _ in listed),
    )
    values = np.concatenate(
        [np.zeros(len(head), np.float32), np.asarray(scores, dtype=np.float32).reshape(-1)]
    )
    place = {piece: index for index, piece in enumerate(special)}
    size = len(head) + len(listed)
    return Vocabulary(
        pieces=(*head, *listed),
        scores=values,
        kinds=kinds,
        blocks=(Block("shared", 0, size),),
        model=model,
        normalizer=normalizer,
        roles=Roles(
            begin=place.get("<s>"),
            pad=place.get("<pad>"),
            end=place.get("</s>"),
            unknown=place["<unk>"],
            mask=place.get("<mask>"),
        ),
    )


def replace_blocks(vocabulary: Vocabulary, blocks: Iterable[Block]) -> Vocabulary:
    """The same vocabulary with another block table."""
    return Vocabulary(
        vocabulary.pieces,
        vocabulary.scores,
        vocabulary.kinds,
        tuple(blocks),
        vocabulary.model,
        vocabulary.normalizer,
        vocabulary.roles,
        vocabulary.spacing,
    )


def piece_bytes(piece: str, kind: Kind) -> bytes | None:
    """The text of a piece, `▁` read as a space; None for control, unknown and unused pieces."""
    if kind is Kind.BYTE:
        return bytes([int(piece[3:-1], 16)])
    if kind in (Kind.NORMAL, Kind.USER):
        return piece.replace(SPACE, " ").encode()
    return None


def _first_repeated(pieces: Iterable[str]) -> str:
    seen: set[str] = set()
    for piece in pieces:
        if piece in seen:
            return piece
        seen.add(piece)
    return ""
