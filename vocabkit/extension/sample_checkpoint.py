"""A tiny checkpoint with random weights in XLM-R's layout, for demonstrations: nothing is downloaded.

Loads with transformers as `XLMRobertaForMaskedLM`. It knows nothing: it shows what is done to a
checkpoint, not how well a model reads.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from vocabkit.core.errors import CheckpointError
from vocabkit.vocabulary.roles import dump_json, open_source

_POSITIONS = 130  # 128 and XLM-R's two before them
_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


def write_sample_checkpoint(
    folder: str | Path, tokenizer: str | Path, *, width: int = 64, layers: int = 2, seed: int = 0
) -> None:
    """Write a checkpoint whose vocabulary is a tokenizer folder's; `width` must be a multiple of four.

    Raises CheckpointError where the tokenizer lacks a token that XLM-R's configuration names.
    """
    source = open_source(tokenizer)
    missing = [role for role in ("bos", "eos", "pad") if role not in source.roles]
    if missing or source.folder is None:
        what = f"no token for {', '.join(missing) or 'anything: not a folder'}"
        raise CheckpointError(f"{tokenizer}: {what}", "name a folder written by `vocabkit fit`")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["XLMRobertaForMaskedLM"],
        "model_type": "xlm-roberta",
        "vocab_size": source.size,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "max_position_embeddings": _POSITIONS,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-05,
        **{f"{role}_token_id": source.roles[role] for role in ("bos", "pad", "eos")},
        "tie_word_embeddings": True,
    }
    (target / "config.json").write_bytes(dump_json(config))
    save_file(_make_tensors(source.size, width, layers, seed), target / "model.safetensors")
    for name in _FILES:
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, target / name)


def _make_tensors(size: int, width: int, layers: int, seed: int) -> dict[str, Any]:
    choose = np.random.default_rng(seed)
    made: dict[str, Any] = {}

    def dense(name: str, rows: int, columns: int) -> None:
        made[f"{name}.weight"] = choose.normal(0, 0.02, (rows, columns)).astype(np.float32)
        made[f"{name}.bias"] = np.zeros(rows, np.float32)

    def norm(name: str) -> None:
        made[f"{name}.weight"] = np.ones(width, np.float32)
        made[f"{name}.bias"] = np.zeros(width, np.float32)

    base = "roberta.embeddings"
    for name, rows in (("word", size), ("position", _POSITIONS), ("token_type", 1)):
        table = choose.normal(0, 0.02, (rows, width)).astype(np.float32)
        made[f"{base}.{name}_embeddings.weight"] = table
    norm(f"{base}.LayerNorm")
    for position in range(layers):
        layer = f"roberta.encoder.layer.{position}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{layer}.attention.{name}", width, width)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", 2 * width, width)
        dense(f"{layer}.output.dense", width, 2 * width)
        norm(f"{layer}.output.LayerNorm")
    dense("lm_head.dense", width, width)
    norm("lm_head.layer_norm")
    # Biases of trained heads are mostly below 0.
    made["lm_head.bias"] = choose.normal(-0.5, 0.2, size).astype(np.float32)
    return made
