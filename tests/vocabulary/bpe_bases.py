"""Small BPE tokenizers of both kinds, trained in-process by tokenizers, as bases of further merges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

TEXT = [
    "the quick brown fox jumps over the lazy dog while people look at small birds in the tree",
    "a base learnt from English text, it's 12 lines or so; the rest is bytes, and more bytes",
] * 20


def byte_level_base(**changes: object) -> dict[str, Any]:
    """A GPT-2-like tokenizer with two special tokens after its model's ids."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(TEXT, trainer)
    backend.add_special_tokens([AddedToken("<|end|>", special=True)])
    backend.add_tokens([AddedToken("ọmọ", normalized=False)])
    content: dict[str, Any] = json.loads(backend.to_str())
    content["model"].update(changes)
    return content


def metaspace_base(byte_fallback: bool = True) -> dict[str, Any]:
    """A Llama-2-like tokenizer: no pre-tokeniser, a space put first, bytes for unknown characters."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    special += [f"<0x{value:02X}>" for value in range(256)] if byte_fallback else []
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=special, show_progress=False)
    trained.train_from_iterator(TEXT, trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    backend = Tokenizer(
        models.BPE(model["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback)
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    content: dict[str, Any] = json.loads(backend.to_str())
    return content


def write_base(content: dict[str, Any], folder: Path) -> Path:
    """A folder as models are published in."""
    folder.mkdir()
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}', encoding="utf-8")
    return folder
