"""Names of vocabulary tensors, as transformers saves them, and names that only look like them."""

from __future__ import annotations

import ast
import shlex
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.extension.tiny_models import OLD, Array, write_model
from tests.vocabulary.test_gguf_format import encode_value, write_gguf
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
        "cls.predictions.dense.weight", "transformer.output_layer.weight", "output_projection.weight",
        "model.layers.61.shared_head.head.weight", "mlm_score.decoder.weight", "lm_head.linear.weight",
        "lm_head.out_proj.weight", "language_model.lm_head.weight",
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
        "model.layers.3.attn.proj_out.weight", "model.layers.3.mlp.output_projection.weight",
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


EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
PACKED = np.zeros((2, len(OLD)), np.int32)
SCALES = np.ones((len(OLD), 2), np.float32)
# What the writers of these formats store of a head of [rows, 8], beside a plain embedding.
PARTS: dict[str, dict[str, Array]] = {
    "gptq": {"lm_head.qweight": PACKED, "lm_head.scales": SCALES.T.copy(), "lm_head.g_idx": PACKED[0, :8]},
    "awq": {"lm_head.qweight": np.zeros((8, 6), np.int32), "lm_head.qzeros": np.zeros((1, 6), np.int32)},
    "bitsandbytes": {HEAD: np.zeros((len(OLD) * 4, 1), np.uint8), f"{HEAD}.absmax": np.ones(6, np.float32)},
    "int8": {HEAD: np.zeros((len(OLD), 8), np.int8), "lm_head.SCB": np.ones(len(OLD), np.float32)},
    "hqq": {"lm_head.W_q": np.zeros((4, len(OLD)), np.uint8), "lm_head.zero": SCALES},
    "mlx": {HEAD: np.zeros((len(OLD), 1), np.uint32), "lm_head.scales": SCALES, "lm_head.biases": SCALES},
    "fp8": {HEAD: np.zeros((len(OLD), 8), np.float32), "lm_head.weight_scale_inv": np.ones((1, 1), np.float32)},
    "compressed-tensors": {"lm_head.weight_packed": np.zeros((len(OLD), 1), np.int32)},
    "torchao": {"lm_head._weight_qdata": np.zeros((len(OLD), 8), np.int8)},
    "exl3": {"lm_head.trellis": np.zeros((1, 3, 4), np.int16), "lm_head.suh": np.ones(8, np.float32)},
    "lora": {"lm_head.base_layer.weight": np.zeros((len(OLD), 8), np.float32),
             "lm_head.lora_B.default.weight": SCALES},
    "weight norm": {"lm_head.weight_g": np.ones((len(OLD), 1), np.float32),
                    "lm_head.weight_v": np.zeros((len(OLD), 8), np.float32)},
    "embedding": {"model.embed_tokens.scales": SCALES, HEAD: np.zeros((len(OLD), 8), np.float32)},
    "idefics": {"model.embed_tokens.additional_embedding.weight": np.zeros((2, 8), np.float32)},
    "bert": {"cls.predictions.decoder.qweight": PACKED},
    "root": {"output.scales": SCALES},
}  # fmt: skip


@pytest.mark.parametrize("kind", PARTS)
def test_a_matrix_in_parts_is_refused_by_name_and_cannot_be_ignored(tmp_path: Path, kind: str) -> None:
    write_model(tmp_path, tied=True, extra=PARTS[kind])
    checkpoint = open_checkpoint(tmp_path)
    told = [{}, *({name: role} for name in PARTS[kind] for role in ("ignore", "output"))]
    for roles in told:
        with pytest.raises(CheckpointError, match="is kept in parts") as caught:
            find_vocabulary_tensors(checkpoint, told=roles)
        assert any(name in caught.value.message for name in PARTS[kind])
        assert "--tensor" not in str(caught.value.hint)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.mlp.down_proj.scales", "lm_head.dense.weight", "lm_head.layer_norm.bias",
     "decoder.layers.0.fc1.weight", "shared.expert.w1.weight", "cls.predictions.transform.LayerNorm.weight"],
)  # fmt: skip
def test_other_layers_are_no_parts_of_a_matrix(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, extra={name: np.ones((3, 5), np.float32)})
    assert {item.tensor.name for item in find_vocabulary_tensors(open_checkpoint(tmp_path)).found} == {
        EMBED,
        HEAD,
    }


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (HEAD, (len(OLD) - 3, 8)), (HEAD, (len(OLD) + 8, 8)), ("embed_out.weight", (50, 8)),
        ("language_model.lm_head.weight", (40, 8)), ("cls.predictions.decoder.weight", (40, 8)),
        ("cls.predictions.bias", (40,)), ("lm_head.bias", (40,)), ("final_logits_bias", (1, 40)),
        ("generator_lm_head.weight", (40, 8)), ("output.weight", (40, 8)), ("head.weight", (40, 8)),
        ("transformer.output_layer.weight", (40, 8)), ("model.layers.61.shared_head.head.weight", (40, 8)),
        ("pred_layer.proj.weight", (40, 8)), ("vocab_projector.bias", (40,)),
    ],
)  # fmt: skip
def test_an_output_of_another_size_is_refused_by_name(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    write_model(tmp_path, tied=True, extra={name: np.ones(shape, np.float32)})
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        find_vocabulary_tensors(checkpoint)
    assert f"{name} {list(shape)}" in caught.value.message
    assert f"{EMBED} has {len(OLD)} rows" in caught.value.message
    assert "ignore" not in str(caught.value.hint)
    with pytest.raises(CheckpointError, match="is the model's head"):
        find_vocabulary_tensors(checkpoint, told={name: "ignore"})


def test_an_output_may_be_left_where_it_is_no_head_over_these_tokens(tmp_path: Path) -> None:
    small = np.ones((3, 8), np.float32)
    extra = {"head.weight": small}
    write_model(tmp_path / "a", tied=True, extra=extra, architectures=["LlamaForSequenceClassification"])
    write_model(tmp_path / "b", extra={"talker.lm_head.weight": small})
    for folder, name in (("a", "head.weight"), ("b", "talker.lm_head.weight")):
        checkpoint = open_checkpoint(tmp_path / folder)
        with pytest.raises(CheckpointError) as caught:
            find_vocabulary_tensors(checkpoint)
        assert f"--tensor '{name}=ignore'" in str(caught.value.hint)
        assert name not in {
            i.tensor.name for i in find_vocabulary_tensors(checkpoint, told={name: "ignore"}).found
        }


def test_a_head_of_the_right_size_cannot_be_ignored(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(CheckpointError, match="is the model's head"):
        find_vocabulary_tensors(open_checkpoint(tmp_path), told={"*head*": "ignore"})


def test_the_hint_for_an_unknown_name_never_leaves_a_head_behind(tmp_path: Path) -> None:
    write_model(tmp_path, tied=True, extra={"to_logits.weight": np.ones((len(OLD), 8), np.float32)})
    with pytest.raises(CheckpointError, match=r"to_logits\.weight") as caught:
        find_vocabulary_tensors(open_checkpoint(tmp_path))
    assert "to_logits.weight=output" in str(caught.value.hint)


def test_a_multi_token_head_grows_with_the_others(tmp_path: Path) -> None:
    name = "model.layers.61.shared_head.head.weight"
    tensors = write_model(tmp_path, extra={name: np.ones((len(OLD), 8), np.float32)})
    found = find_vocabulary_tensors(open_checkpoint(tmp_path)).found
    assert {item.tensor.name: item.role for item in found} == {EMBED: "input", HEAD: "output", name: "output"}
    assert tensors[name].shape == (len(OLD), 8)


def test_a_matrix_of_another_vocabulary_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, extra={"text_encoder.shared.weight": np.ones((12, 8), np.float32)})
    found = find_vocabulary_tensors(open_checkpoint(tmp_path), len(OLD))
    assert any("text_encoder.shared.weight [12, 8]" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("config", "warns"),
    [
        ({"tie_word_embeddings": False}, True),
        ({"tie_word_embeddings": True}, False),
        ({"tie_word_embeddings": None}, True),  # a Llama that does not say is untied
        ({"tie_word_embeddings": None, "model_type": "gpt2"}, False),
        ({"tie_word_embeddings": False, "architectures": ["LlamaModel"]}, False),
        ({"tie_word_embeddings": None, "text_config": {"tie_word_embeddings": False}}, True),
    ],
)
def test_an_untied_model_without_a_stored_head_is_warned_of(
    tmp_path: Path, config: dict[str, Any], warns: bool
) -> None:
    write_model(tmp_path, tied=True, **config)
    found = find_vocabulary_tensors(open_checkpoint(tmp_path)).warnings
    assert any("no output matrix is stored" in text for text in found) == warns


def test_a_role_that_is_none_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, rows=len(OLD))
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="not one of"):
        find_vocabulary_tensors(checkpoint, told={"lm_head.weight": "head"})
    with pytest.raises(CheckpointError, match="no tensor of that name"):
        find_vocabulary_tensors(checkpoint, told={"lm_heed.weight": "output"})


# --- What is no checkpoint -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model-Q4_K_M", "it's $(x) a model"])
def test_gguf_is_named_and_converted_by_three_lines(tmp_path: Path, name: str) -> None:
    root = tmp_path / "a folder"
    root.mkdir()
    path = write_gguf(root / f"{name}.gguf", model="llama", tokens=["a"])
    fields = path.read_bytes().replace(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 3), b"GGUF" + struct.pack("<IQQ", 3, 0, 4)
    )
    key = b"general.file_type"
    path.write_bytes(fields + struct.pack("<Q", len(key)) + key + encode_value(15))
    for given in (path, root):
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(given)
        assert caught.value.message.startswith(f"{path}: GGUF, llama.cpp's kind of file (test, in Q4_K_M)")
        assert "rounded" in caught.value.message
        lines = caught.value.hint.split("\n")
        assert len(lines) == 3
        # As a shell takes the lines apart, and Python the programs in them.
        install, model, words = (shlex.split(line, comments=True) for line in lines)
        assert install[:2] == ["pip", "install"]
        assert "gguf" in install
        for line, factory in ((model, "M"), (words, "T")):
            assert line[:2] == ["python", "-c"]
            assert len(line) == 3
            calls = [node for node in ast.walk(ast.parse(line[2])) if isinstance(node, ast.Call)]
            said = {ast.unparse(call.func).rpartition(".")[2]: call for call in calls}
            assert ast.unparse(said["from_pretrained"].func) == f"{factory}.from_pretrained"
            assert ast.literal_eval(said["from_pretrained"].args[0]) == str(root)
            assert ast.literal_eval(said["from_pretrained"].keywords[0].value) == f"{name}.gguf"
            assert ast.literal_eval(said["save_pretrained"].args[0]) == f"{name}-hf"
