"""Tiny checkpoints and tokenizers made in the test process; nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
WORDS = ("▁the", "▁cat", "▁sat", "▁on", "▁mat", "ing", "er", "▁run", "▁a")
OLD = (*SPECIALS, "▁", *LETTERS, *WORDS)
ADDED = ("▁cats", "▁running", "sat", "▁matter")

Array = npt.NDArray[Any]


def write_tokenizer(folder: Path, pieces: Sequence[str] = OLD, **settings: Any) -> Path:
    """A unigram tokenizer.json with these pieces by id, and its tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = [(piece, 0.0 if piece in SPECIALS else -1.0 - 1 / len(piece)) for piece in pieces]
    backend = Tokenizer(models.Unigram(scores, pieces.index("<unk>"), False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    backend.add_special_tokens([piece for piece in pieces if piece in SPECIALS])
    first, last = pieces.index("<s>"), pieces.index("</s>")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", first), ("</s>", last)]
    )
    backend.save(str(folder / "tokenizer.json"))
    roles = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    content = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        **{f"{role}_token": text for role, text in roles.items() if text in pieces},
        **settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    return folder


def write_model(
    folder: Path,
    *,
    rows: int = len(OLD),
    width: int = 8,
    tied: bool = False,
    extra: Mapping[str, Array] | None = None,
    shards: bool = False,
    **config: Any,
) -> dict[str, Array]:
    """A llama-like checkpoint with its tokenizer; returns its tensors, those of `extra` among them."""
    write_tokenizer(folder)
    choose = np.random.default_rng(7)
    tensors: dict[str, Array] = {
        "model.embed_tokens.weight": choose.normal(size=(rows, width)).astype(np.float32),
        "model.layers.0.mlp.up_proj.weight": choose.normal(size=(width, 5)).astype(np.float32),
        "model.norm.weight": np.ones(width, np.float32),
    }
    if not tied:
        tensors["lm_head.weight"] = choose.normal(size=(rows, width)).astype(np.float32)
    tensors |= extra or {}
    content = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": rows,
        "bos_token_id": 0,
        "eos_token_id": [2],
        "pad_token_id": 1,
        "tie_word_embeddings": tied,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    generation = {"bos_token_id": 0, "eos_token_id": 2, "suppress_tokens": [4, 40]}
    (folder / "generation_config.json").write_text(json.dumps(generation) + "\n", encoding="utf-8")
    (folder / "README.md").write_text("a model\n", encoding="utf-8")
    if not shards:
        save_file(tensors, folder / "model.safetensors")
        return tensors
    parts: dict[str, dict[str, Array]] = {}
    for name, item in tensors.items():
        place = 1 if "embed" in name else 3 if "lm_head" in name else 2
        parts.setdefault(f"model-0000{place}-of-00003.safetensors", {})[name] = item
    for shard, items in parts.items():
        save_file(items, folder / shard)
    index = {
        "metadata": {"total_size": sum(item.nbytes for item in tensors.values())},
        "weight_map": {name: shard for shard, items in parts.items() for name in items},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return tensors


def read_arrays(path: Path) -> dict[str, Array]:
    """The float32 tensors of a safetensors file, read by hand."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        raw = data[8 + length + start : 8 + length + stop]
        found[name] = np.frombuffer(raw, np.float32).reshape(entry["shape"])
    return found


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file's bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
