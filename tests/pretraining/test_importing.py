"""What is refused, and how it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.pretraining.tiny_layouts import LAYOUTS, draw_model
from vocabkit.core.errors import CheckpointError, PretrainingError
from vocabkit.pretraining.transformers_format import load_model, read_checkpoint, write_hf

Tensors = dict[str, torch.Tensor]


def _write(folder: Path, layout: str, **settings: Any) -> Path:
    write_hf(draw_model(layout), folder, None)
    path = folder / "config.json"
    data = json.loads(path.read_text(encoding="utf-8")) | settings
    path.write_text(json.dumps(data), encoding="utf-8")
    return folder


def _change(folder: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reading_is_the_inverse_of_writing(layout: str, tmp_path: Path) -> None:
    model = draw_model(layout)
    write_hf(model, tmp_path, None)
    again = load_model(tmp_path)
    pairs = zip(model.named_parameters(), again.named_parameters(), strict=True)
    for (name, ours), (other, theirs) in pairs:
        assert name == other
        assert torch.equal(ours, theirs), name
    # The token that hides others is the tokenizer's matter: config.json has no key for it.
    assert again.config.mask_id is None


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_hf(draw_model("llama"), tmp_path / name, None)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_tensors_are_read_when_asked_for(tmp_path: Path) -> None:
    config, stored = read_checkpoint(_write(tmp_path, "llama"))
    assert config.layout == "llama"
    assert stored.tensors["model.embed_tokens.weight"].shape == (100, 32)
    assert "lm_head.weight" not in stored.tensors


@pytest.mark.parametrize(
    ("layout", "key", "value"),
    [
        ("llama", "model_type", "gpt2"),
        ("llama", "hidden_act", "gelu"),
        ("llama", "attention_bias", True),
        ("llama", "mlp_bias", True),
        ("llama", "head_dim", 16),
        ("llama", "rope_scaling", {"rope_type": "linear", "factor": 2.0}),
        ("llama", "rope_scaling", {"type": "dynamic", "factor": 2.0}),
        ("llama", "rope_parameters", {"rope_type": "yarn", "rope_theta": 1.0}),
        ("llama", "rope_parameters", {"partial_rotary_factor": 0.5, "rope_theta": 1.0}),
        ("llama", "quantization_config", {"bits": 4}),
        ("llama", "vocab_size", None),
        ("modern", "hidden_activation", "relu"),
        ("modern", "norm_bias", True),
        ("modern", "decoder_bias", False),
        ("modern", "layer_types", ["sliding_attention"] * 5),
        ("modern", "rope_parameters", {"full_attention": {"rope_type": "yarn"}}),
        ("xlmr", "hidden_act", "relu"),
        ("xlmr", "position_embedding_type", "relative_key"),
        ("xlmr", "is_decoder", True),
        ("xlmr", "pad_token_id", None),
    ],
)
def test_what_is_not_computed_is_refused(layout: str, key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(PretrainingError) as caught:
        read_checkpoint(_write(tmp_path, layout, **{key: value}))
    assert str(tmp_path / "config.json") in caught.value.message
    assert key in caught.value.message
    assert caught.value.hint
    if key == "model_type":
        for known in ("xlm-roberta", "modernbert", "llama"):
            assert known in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("model.norm.weight"), "1 of 29 tensors are missing, model.norm.weight"),
        (lambda t: t.update(extra=torch.ones(1)), "1 tensors that LlamaForCausalLM does not have"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(31)}),
            r"model.norm.weight is torch.float32 \[31\]: config.json says \[32\]",
        ),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(32, dtype=torch.int64)}),
            "model.norm.weight is torch.int64",
        ),
        (lambda t: t.update({"lm_head.weight": torch.ones(100, 32)}), "lm_head.weight differs"),
    ],
)
def test_tensors_that_do_not_fit(change: Callable[[Tensors], object], said: str, tmp_path: Path) -> None:
    _change(_write(tmp_path, "llama"), change)
    with pytest.raises(PretrainingError, match=said):
        load_model(tmp_path)


def test_copies_of_a_tied_matrix_may_be_stored(tmp_path: Path) -> None:
    def copy(tensors: Tensors) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    _change(_write(tmp_path, "llama"), copy)
    assert torch.equal(load_model(tmp_path).table, draw_model("llama").table)


@pytest.mark.parametrize("other", [0.0, 1.0])
def test_types_of_token_beyond_the_first_must_be_zero(other: float, tmp_path: Path) -> None:
    name = "roberta.embeddings.token_type_embeddings.weight"

    def grow(tensors: Tensors) -> None:
        tensors[name] = torch.cat([tensors[name], torch.full((1, 32), other)])

    _change(_write(tmp_path, "xlmr", type_vocab_size=2), grow)
    if other:
        with pytest.raises(PretrainingError, match="2 types of token"):
            load_model(tmp_path)
    else:
        assert load_model(tmp_path).token_type is not None


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file of weights"):
        load_model(tmp_path)
    _write(tmp_path, "llama")
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model.safetensors: cut short by"):
        load_model(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="no file of weights"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds no object"):
        load_model(tmp_path)
    (tmp_path / "config.json").unlink()
    weights.write_bytes(whole)
    with pytest.raises(PretrainingError, match=r"config.json: no such file"):
        load_model(tmp_path)


def test_a_file_of_pytorch_is_read_too(tmp_path: Path) -> None:
    _write(tmp_path, "llama")
    expected = load_model(tmp_path)
    weights = tmp_path / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
    weights.unlink()
    assert torch.equal(load_model(tmp_path).table, expected.table)


def test_a_shard_that_is_missing_or_another(tmp_path: Path) -> None:
    names = write_hf(draw_model("llama"), tmp_path, None, shard_bytes=20_000)
    first, second = sorted(name for name in names if name.endswith(".safetensors"))[:2]
    kept = (tmp_path / first).read_bytes()
    (tmp_path / first).write_bytes((tmp_path / second).read_bytes())
    with pytest.raises(CheckpointError, match=rf"is in {first} and in {second}"):
        load_model(tmp_path)
    (tmp_path / first).write_bytes(kept)
    load_model(tmp_path)
    (tmp_path / second).unlink()
    with pytest.raises(CheckpointError, match=rf"names {second}, which is not there"):
        load_model(tmp_path)
