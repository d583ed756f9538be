"""What transformers computes from a folder, against the model here: the classes are the oracle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.pretraining.tiny_layouts import LAYOUTS, VOCABULARY, draw_documents, draw_model
from vocabkit.pretraining.exporting import TOLERANCE, _lay_out_rows
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.transformers_format import CLASSES, load_model, write_hf

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

by_layout = pytest.mark.parametrize("layout", LAYOUTS)
IDS = torch.tensor(draw_documents([40, 40], seed=3))


def _open(folder: Path, layout: str) -> Any:
    """The class that Auto chooses, loaded without a tensor missing or left over."""
    auto = "AutoModelForCausalLM" if layout == "llama" else "AutoModelForMaskedLM"
    peer, found = getattr(transformers, auto).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert type(peer).__name__ == CLASSES[layout]
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    return peer.eval()


def _compare(model: Model, peer: Any) -> None:
    with torch.no_grad():
        ours = model.logits(_lay_out_rows(IDS))
        theirs = peer(input_ids=IDS).logits.flatten(0, 1)
    assert ours.shape == theirs.shape == (80, model.config.vocabulary)
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


def _settings(layout: str, **changes: Any) -> Any:
    shared = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
        "intermediate_size": 48, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
        "initializer_range": 0.2,
    }  # fmt: skip
    if layout == "xlmr":
        return transformers.XLMRobertaConfig(
            **shared | {"max_position_embeddings": 66, "type_vocab_size": 1} | changes
        )
    if layout == "modern":
        own = {"cls_token_id": 0, "sep_token_id": 2, "local_attention": 8}
        return transformers.ModernBertConfig(**shared | own | changes)
    return transformers.LlamaConfig(**shared | {"num_key_value_heads": 2} | changes)


def _save_theirs(folder: Path, layout: str, **changes: Any) -> Any:
    """A model of the class itself, every tensor drawn, saved as transformers saves."""
    torch.manual_seed(0)
    peer = getattr(transformers, CLASSES[layout])(_settings(layout, **changes)).eval()
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    peer.save_pretrained(folder)
    return peer


@by_layout
@pytest.mark.parametrize("tied", [True, False])
def test_what_is_written_loads_with_equal_logits(layout: str, tied: bool, tmp_path: Path) -> None:
    model = draw_model(layout, tied=tied)
    write_hf(model, tmp_path, None)
    peer = _open(tmp_path, layout)
    _compare(model, peer)
    embedding, head = peer.get_input_embeddings().weight, peer.get_output_embeddings().weight
    assert (embedding.data_ptr() == head.data_ptr()) == tied


@by_layout
@pytest.mark.parametrize("tied", [True, False])
def test_what_transformers_saved_is_read_and_given_back(layout: str, tied: bool, tmp_path: Path) -> None:
    peer = _save_theirs(tmp_path / "theirs", layout, tie_word_embeddings=tied)
    model = load_model(tmp_path / "theirs")
    _compare(model, peer)
    write_hf(model, tmp_path / "ours", None)
    before = load_file(tmp_path / "theirs/model.safetensors")
    after = load_file(tmp_path / "ours/model.safetensors")
    unused = {"lm_head.bias"} if layout == "xlmr" and not tied else set()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - unused)


@pytest.mark.parametrize(
    ("layout", "changes"),
    [
        ("modern", {"layer_types": None, "global_attn_every_n_layers": 2}),
        ("modern", {"num_hidden_layers": 1}),
        ("modern", {"norm_eps": 0.01, "local_attention": 5}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 123.0}}),
        ("llama", {"rms_norm_eps": 0.1, "num_key_value_heads": 4}),
        ("llama", {"pad_token_id": None, "eos_token_id": [2, 3], "tie_word_embeddings": True}),
        ("xlmr", {"layer_norm_eps": 0.01, "pad_token_id": 3}),
        ("xlmr", {"hidden_dropout_prob": 0.3}),
    ],
)
def test_settings_are_followed(layout: str, changes: dict[str, Any], tmp_path: Path) -> None:
    peer = _save_theirs(tmp_path, layout, **changes)
    model = load_model(tmp_path)
    _compare(model, peer)
    write_hf(model, tmp_path / "again", None)
    _compare(model, _open(tmp_path / "again", layout))


def test_roberta_is_read_and_written_as_xlmr(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.RobertaConfig(**_settings("xlmr").to_diff_dict() | {"type_vocab_size": 1})
    peer = transformers.RobertaForMaskedLM(config).eval()
    peer.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    _compare(model, peer)
    write_hf(model, tmp_path / "again", None)
    _compare(model, _open(tmp_path / "again", "xlmr"))


@pytest.mark.parametrize("layout", ["modern", "llama"])
def test_settings_under_their_names_of_version_4(layout: str, tmp_path: Path) -> None:
    """Published configurations have them; without, the class would take its defaults."""
    model = draw_model(layout, rope_theta=77.0)
    write_hf(model, tmp_path, None)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    for name in ("rope_parameters", "layer_types"):
        written.pop(name, None)
    path.write_text(json.dumps(written), encoding="utf-8")
    assert load_model(tmp_path).config == replace(model.config, mask_id=None)
    _compare(model, _open(tmp_path, layout))


@by_layout
def test_shards_hold_what_one_file_does(layout: str, tmp_path: Path) -> None:
    model = draw_model(layout)
    names = write_hf(model, tmp_path, None, shard_bytes=20_000)
    files = [name for name in names if name.endswith(".safetensors")]
    assert len(files) > 2
    assert all(
        (tmp_path / name).stat().st_size < 30_000 or len(load_file(tmp_path / name)) == 1 for name in files
    )
    _compare(model, _open(tmp_path, layout))
    _compare(load_model(tmp_path), _open(tmp_path, layout))


@by_layout
def test_bf16_is_the_model_rounded(layout: str, tmp_path: Path) -> None:
    model = draw_model(layout)
    write_hf(model, tmp_path, None, dtype="bf16")
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    _compare(model, _open(tmp_path, layout))
    auto = transformers.AutoConfig.from_pretrained(tmp_path)
    assert auto.dtype == torch.bfloat16


def test_tensors_that_take_no_part_are_left_out(tmp_path: Path) -> None:
    """Old files of XLM-R carry a pooler and numbered positions, which its class drops as well."""
    peer = _save_theirs(tmp_path, "xlmr")
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["roberta.pooler.dense.weight"] = torch.ones(32, 32)
    tensors["roberta.embeddings.position_ids"] = torch.arange(66)
    tensors["lm_head.decoder.weight"] = tensors["roberta.embeddings.word_embeddings.weight"].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    _compare(load_model(tmp_path), peer)
