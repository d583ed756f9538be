"""Tokenizers of a few dozen pieces, made here: ours with and without blocks, and one of GPT-2's kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from vocabkit.corpus.normalization import load_normalizer
from vocabkit.vocabulary.vocabulary import Block, assemble_vocabulary

LINES = (
    "the cat sat on the mat and the dog sat on the log",
    "der Hund und die Katze sitzen auf der Matte im Garten",
    "a cat and a dog ran through the garden of the city, 1234 of them",
)
WORDS = sorted({word for line in LINES for word in line.split()})
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.<>/éß"


def write_ours(folder: Path, *, blocks: bool = False, bytes_too: bool = True) -> Path:
    """A unigram vocabulary as `vocabkit fit` writes it; with `blocks`, the last four words are deu_Latn's."""
    pieces = ["▁", *LETTERS, *(f"▁{word}" for word in WORDS)]
    own = ["▁Hunde", "▁Katzen", "▁Gärten", "▁Städte"] if blocks else []
    vocabulary = assemble_vocabulary(
        [*pieces, *own],
        [-9.0] * (1 + len(LETTERS)) + [-4.0] * (len(WORDS) + len(own)),
        "unigram",
        load_normalizer("nfkc"),
        byte_fallback=bytes_too,
    )
    if blocks:
        cut = vocabulary.size - len(own)
        parts = (Block("shared", 0, cut), Block("deu_Latn", cut, vocabulary.size))
        vocabulary = replace(vocabulary, blocks=tuple(parts))
    vocabulary.save(folder)
    return folder


def write_byte_level(folder: Path, *, special: str | None = "<|endoftext|>") -> Path:
    """A tokenizer.json of GPT-2's kind, one token both beginning and end."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[special] if special else [],
        show_progress=False,
    )
    backend.train_from_iterator(LINES * 4, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    if special:
        settings = {"bos_token": special, "eos_token": {"content": special}, "pad_token": None}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
