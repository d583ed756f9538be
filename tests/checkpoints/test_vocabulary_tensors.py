"""Names of vocabulary tensors, as transformers saves them, and names that only look like them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.extension.tiny_models import OLD, write_model
from vocabkit.checkpoints.checkpoint import (
    _guess_role,
    find_vocabulary_tensors,
    new_head,
    open_checkpoint,
)
from vocabkit.core.errors import CheckpointError

NAMES = {
    "input": (
        "bert.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight",
        "model.embeddings.tok_embeddings.weight", "transformer.embeddings.weight",
        "backbone.embeddings.weight", "transformer.wte.weight", "model.embed_tokens.weight",
        "model.decoder.embed_tokens.weight", "transformer.word_embeddings.weight",
        "gpt_neox.embed_in.weight", "shared.weight", "model.shared.weight",
        "encoder.embed_tokens.weight", "module.tok_embeddings.weight", "wte.weight",
        "text_model.embeddings.token_embedding.weight", "transformer.tokens_embed.weight",
        "rwkv.embeddings.weight", "transformer.word_embedding.weight",
    ),
    "output": (
        "lm_head.weight", "embed_out.weight", "cls.predictions.decoder.weight",
        "predictions.decoder.weight", "decoder.weight", "vocab_projector.weight",
        "generator_lm_head.weight", "pred_layer.proj.weight", "lm_head.decoder.weight",
        "module.lm_head.weight", "proj_out.weight", "lm_loss.weight",
        "cls.predictions.dense.weight",
    ),
    "bias": (
        "lm_head.bias", "lm_head.decoder.bias", "cls.predictions.bias", "decoder.bias",
        "cls.predictions.decoder.bias", "predictions.bias", "vocab_projector.bias",
        "generator_lm_head.bias", "pred_layer.proj.bias", "final_logits_bias", "lm_loss.bias",
    ),
    "per-layer": ("model.language_model.embed_tokens_per_layer.weight",),
    None: (
        "model.layers.0.mlp.up_proj.weight", "bert.embeddings.position_embeddings.weight",
        "encoder.layer.0.output.dense.weight", "bert.embeddings.token_type_embeddings.weight",
        "lm_head.dense.weight", "lm_head.layer_norm.weight", "model.norm.weight",
        "model.layers.0.self_attn.o_proj.bias", "cls.predictions.transform.dense.bias",
        "transformer.wpe.weight", "embeddings.position_ids", "decoder.block.0.layer.0.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("role", "name"), [(role, n) for role, all_ in NAMES.items() for n in all_])
def test_names_tell_the_role(role: str | None, name: str) -> None:
    assert _guess_role(name) == role


def test_two_input_matrices_of_different_sizes_are_refused(tmp_path: Path) -> None:
    sizes = {"encoder.embed_tokens.weight": 30, "decoder.embed_tokens.weight": 40}
    tensors = {name: np.ones((size, 4), np.float32) for name, size in sizes.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"encoder\.embed_tokens\.weight \[30, 4\]"):
        find_vocabulary_tensors(checkpoint)
    # The tokenizer decides, where it fits one of them.
    found = find_vocabulary_tensors(checkpoint, tokens=40)
    assert [item.tensor.name for item in found.found] == ["decoder.embed_tokens.weight"]


def test_only_causal_models_of_known_heads_are_untied(tmp_path: Path) -> None:
    write_model(tmp_path / "a", tied=True)
    assert new_head(open_checkpoint(tmp_path / "a")) == "lm_head.weight"
    write_model(tmp_path / "b", tied=True, model_type="t5", architectures=["T5ForCausalLM"])
    with pytest.raises(CheckpointError, match="names or scales"):
        new_head(open_checkpoint(tmp_path / "b"))
    write_model(tmp_path / "c", tied=True, architectures=["BertModel"])
    with pytest.raises(CheckpointError, match="needs a causal language model"):
        new_head(open_checkpoint(tmp_path / "c"))


def test_a_role_that_is_none_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, rows=len(OLD))
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="not one of"):
        find_vocabulary_tensors(checkpoint, told={"lm_head.weight": "head"})
    with pytest.raises(CheckpointError, match="no tensor of that name"):
        find_vocabulary_tensors(checkpoint, told={"lm_heed.weight": "output"})
