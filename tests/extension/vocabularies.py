"""Small tokenizers of three styles, each with a larger one beside it, and plans between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from vocabkit.extension.plan import match_tokenizers
from vocabkit.extension.rows import Context, RowPlan
from vocabkit.vocabulary.roles import open_source

LINES = (
    "the cat sat on the mat and the dog sat on the log",
    "der Hund und die Katze sitzen auf der Matte im Garten",
    "die Katze und der Hund laufen durch den Garten der Stadt",
    "a cat and a dog ran through the garden of the city",
) * 6
SPECIAL = ["<s>", "</s>", "<pad>", "<mask>"]


def train_byte_level(lines: Sequence[str], size: int) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    backend.train_from_iterator(list(lines), trainer)
    return backend


def make_word_piece(pieces: Sequence[str], lower: bool = False) -> Backend:
    vocabulary = {piece: index for index, piece in enumerate(["[UNK]", *pieces])}
    backend = Backend(models.WordPiece(vocabulary, unk_token="[UNK]"))
    if lower:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    return backend


def make_unigram(pieces: Sequence[str]) -> Backend:
    scored = [("<unk>", 0.0), *((piece, -float(len(pieces) - len(piece))) for piece in pieces)]
    backend = Backend(models.Unigram(scored, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


def save(backend: Backend, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    return folder


def plan_between(old: Backend, new: Backend, folder: Path, rows: int | None = None) -> tuple[RowPlan, Context]:
    sources = [open_source(save(backend, folder / name)) for name, backend in (("old", old), ("new", new))]
    _, plan, _ = match_tokenizers(sources[0], sources[1], rows or sources[0].size)
    return plan, Context(sources[0].tokenizer, sources[1].tokenizer, lines=LINES)


def plan_byte_level(folder: Path) -> tuple[RowPlan, Context]:
    """Byte-level BPE with 20 merges more; its old tokens keep their ids."""
    return plan_between(train_byte_level(LINES, 300), train_byte_level(LINES, 320), folder)


def draw_rows(size: int, width: int = 16, seed: int = 0) -> np.typing.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((size, width), np.float32)
