"""Tiny random models of many architectures: extended, loaded again in their class, old logits equal.

Also the five untied heads that `resize_token_embeddings` of transformers 5.23 breaks: untied BERT,
DeBERTa-v2, ALBERT (a bias is lost when saving), RoBERTa (cannot be loaded), BART (old logits change).
"""

from __future__ import annotations

import json
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.extension.tiny_models import LETTERS, snapshot, write_tokenizer
from vocabkit.checkpoints.checkpoint import open_checkpoint
from vocabkit.core.errors import CheckpointError
from vocabkit.extension.distill import load_model
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.undo import undo_extension
from vocabkit.extension.verify import verify_extension

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROWS = 97  # neither a width nor a number of layers
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
PAIRS = tuple(a + b for a, b in product("bcdfg", "aeiou"))
OLD = (*SPECIALS, "▁", *LETTERS, *PAIRS, *(f"▁{pair}" for pair in PAIRS))
OLD = (*OLD, *(f"▁{letter}" for letter in LETTERS))[:ROWS]
ADDED = ("▁bada", "gogo", "▁face", "cede", "▁dodo")

COMMON: dict[str, Any] = {
    "vocab_size": ROWS, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
TWO = {"num_key_value_heads": 2}
HEADS = {"num_key_value_heads": 2, "head_dim": 16}
T5 = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 40,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
BART = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40,
    "decoder_start_token_id": 2, "forced_eos_token_id": 2,
}  # fmt: skip
UNTIED = {"tie_word_embeddings": False}

MASKED: dict[str, dict[str, Any]] = {
    "bert": {}, "roberta": {}, "xlm-roberta": {}, "camembert": {}, "mpnet": {}, "fnet": {}, "eurobert": {},
    "distilbert": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 40},
    "albert": {"embedding_size": 16}, "electra": {"embedding_size": 16}, "deberta-v2": {},
    "modernbert": {"cls_token_id": 1, "sep_token_id": 2},
    "xlm": {"emb_dim": 32, "n_layers": 1, "n_heads": 2},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 24},
    "mobilebert": {
        "embedding_size": 16, "true_hidden_size": 16, "intra_bottleneck_size": 16,
    },
    "xmod": {"languages": ["en"]},
}  # fmt: skip
CAUSAL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2}, "llama": TWO, "mistral": TWO, "qwen2": TWO,
    "mixtral": TWO | {"num_local_experts": 2}, "qwen3": HEADS, "gemma": HEADS, "gemma2": HEADS,
    "gemma3_text": HEADS, "bloom": {"n_layer": 1, "n_head": 2}, "falcon": {}, "phi": {}, "phi3": TWO,
    "opt": {"ffn_dim": 40, "word_embed_proj_dim": 32}, "gpt_neox": {}, "mamba": {}, "olmo2": {},
    "gptj": {"n_embd": 32, "n_layer": 1, "n_head": 2, "rotary_dim": 8}, "cohere": TWO, "stablelm": TWO,
    "xglm": {"d_model": 32, "num_layers": 1, "attention_heads": 2, "ffn_dim": 40},
    "openai-gpt": {"n_embd": 32, "n_layer": 1, "n_head": 2},
    "gpt_oss": HEADS | {"num_local_experts": 2, "num_experts_per_tok": 1},
}  # fmt: skip
TEXT_TO_TEXT: dict[str, dict[str, Any]] = {
    "t5": T5, "mt5": T5, "umt5": T5, "bart": BART, "mbart": BART, "m2m_100": BART, "marian": BART,
}  # fmt: skip
# Asks for a language beside the ids: everything else is checked of it.
NEEDS_MORE = {"xmod"}
# Without a head, as sentence encoders are saved.
BARE: dict[str, dict[str, Any]] = {"bert": {}, "mpnet": {}}
FAMILIES = {"masked": MASKED, "causal": CAUSAL, "text": TEXT_TO_TEXT, "bare": BARE}
QUICK = {"rembert", "phi", "bart"}
EVERY = [
    pytest.param(
        family,
        kind,
        settings,
        id=f"{family} {kind}",
        marks=() if kind in QUICK else [pytest.mark.slow],
    )
    for family, kinds in FAMILIES.items()
    for kind, settings in kinds.items()
]


def write_random(folder: Path, family: str, kind: str, settings: dict[str, Any]) -> None:
    """Save a model of an architecture with random weights, biases too, beside its tokenizer."""
    import torch

    factory = {
        "masked": transformers.AutoModelForMaskedLM,
        "causal": transformers.AutoModelForCausalLM,
        "text": transformers.AutoModelForSeq2SeqLM,
        "bare": transformers.AutoModel,
    }[family]
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        model = factory.from_config(transformers.AutoConfig.for_model(kind, **COMMON | settings))
        with torch.no_grad():
            for name, item in [*model.named_parameters(), *model.named_buffers()]:
                if ROWS in item.shape and item.is_floating_point():
                    item.copy_(torch.randn(item.shape) * (0.5 if "bias" in name else 0.1))
        model.save_pretrained(folder)
    write_tokenizer(folder, OLD)


def list_failures(folder: Path) -> list[str]:
    text = folder.with_suffix(".txt")
    text.write_text("the bad cafe fed a dog\n", encoding="utf-8")
    checks = verify_extension(folder, reload=True, text=text)
    assert [check.state for check in checks if check.name == "logits"] != ["skipped"] or (
        json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] in NEEDS_MORE
    )
    # Every family has the same unigram pieces here, which the class of some (Qwen2) cuts in its own way.
    failed = [check for check in checks if check.state == "failed" and check.name != "text"]
    return [f"{check.name}: {check.detail}" for check in failed]


@pytest.mark.parametrize(("family", "kind", "settings"), EVERY)
def test_old_logits_stay_as_they_were(tmp_path: Path, family: str, kind: str, settings: dict[str, Any]) -> None:
    write_random(tmp_path / "m", family, kind, settings)
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", pad_to_multiple_of=8)
    assert done.plan.mode == "extend"
    assert list_failures(tmp_path / "o") == []
    undo_extension(tmp_path / "o", tmp_path / "u")
    assert snapshot(tmp_path / "u") == before == snapshot(tmp_path / "m")


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("masked", "bert"),
        ("masked", "roberta"),
        *(
            pytest.param(*item, marks=pytest.mark.slow)
            for item in (("masked", "deberta-v2"), ("masked", "albert"), ("text", "bart"))
        ),
    ],
)
def test_untied_heads_that_resizing_breaks(tmp_path: Path, family: str, kind: str) -> None:
    write_random(tmp_path / "m", family, kind, FAMILIES[family][kind] | UNTIED)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    found = open_checkpoint(tmp_path / "o").tensors
    for name, tensor in open_checkpoint(tmp_path / "m").tensors.items():
        if ROWS in tensor.shape:
            grown = tuple(ROWS + 5 if size == ROWS else size for size in tensor.shape)
            assert found[name].shape == grown, name
    assert list_failures(tmp_path / "o") == []


@pytest.mark.parametrize(
    "kind",
    [
        "llama",
        pytest.param("gpt2", marks=pytest.mark.slow),
        pytest.param("gpt_neox", marks=pytest.mark.slow),
    ],
)
def test_untying_keeps_old_logits(tmp_path: Path, kind: str) -> None:
    write_random(tmp_path / "m", "causal", kind, CAUSAL[kind] | {"tie_word_embeddings": True})
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", untie=True)
    assert {group.role for group in done.plan.groups} == {"input", "output"}
    assert list_failures(tmp_path / "o") == []


def test_moved_ids_give_the_same_logits(tmp_path: Path) -> None:
    write_random(tmp_path / "m", "causal", "llama", TWO)
    write_tokenizer(tmp_path / "t", (*reversed(OLD[:80]), *ADDED))
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert done.plan.mode == "replace"
    assert list_failures(tmp_path / "o") == []


MLLAMA_TEXT: dict[str, Any] = {
    "vocab_size": ROWS - 1, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 40, "cross_attention_layers": [1], "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}  # fmt: skip
MLLAMA_VISION: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_global_layers": 1, "attention_heads": 2,
    "intermediate_size": 32, "vision_output_dim": 64, "image_size": 28, "patch_size": 14, "max_num_tiles": 1,
    "supported_aspect_ratios": [[1, 1]], "intermediate_layers_indices": [0],
}  # fmt: skip


@pytest.mark.parametrize(
    ("pieces", "image"),
    [
        ((*OLD, *ADDED), 96),
        (OLD, 96),
        ((*OLD[:5], *reversed(OLD[5:96]), OLD[96], *ADDED), 96),
        (OLD[:90], 96),
        ((*OLD[:96], *ADDED), 101),  # a new token has its id, and the row moves
    ],
)
def test_mllama_reads_eight_ids_more_than_it_predicts(
    tmp_path: Path, pieces: tuple[str, ...], image: int
) -> None:
    import torch

    settings = transformers.MllamaConfig(
        text_config=MLLAMA_TEXT, vision_config=MLLAMA_VISION, image_token_index=96
    )
    torch.manual_seed(1)
    transformers.logging.disable_progress_bar()
    transformers.MllamaForConditionalGeneration(settings).save_pretrained(tmp_path / "m")
    write_tokenizer(tmp_path / "m", OLD)  # its last id is beyond the head's rows, as `<|image|>` is
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", pieces)
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert list_failures(tmp_path / "o") == []
    config = json.loads((tmp_path / "o" / "config.json").read_text(encoding="utf-8"))
    assert config["image_token_index"] == image
    tensors = open_checkpoint(tmp_path / "o").tensors
    rows = {name: tensor.shape[0] for name, tensor in tensors.items() if tensor.shape[1:] == (32,)}
    size = config["text_config"]["vocab_size"]
    assert [count for name, count in rows.items() if name.endswith("lm_head.weight")] == [size]
    assert [count for name, count in rows.items() if name.endswith("embed_tokens.weight")] == [size + 8]
    undo_extension(tmp_path / "o", tmp_path / "u")
    assert snapshot(tmp_path / "u") == before


def test_a_head_that_is_not_stored_is_not_compared(tmp_path: Path) -> None:
    write_random(tmp_path / "m", "causal", "llama", TWO | {"tie_word_embeddings": True})
    path = tmp_path / "m" / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"tie_word_embeddings": False}), encoding="utf-8")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert any("no output matrix is stored" in text for text in done.plan.warnings)
    (check,) = (one for one in verify_extension(tmp_path / "o", reload=True) if one.name == "logits")
    assert check.state == "skipped"
    assert "not stored: lm_head.weight" in check.detail
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is not stored"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "32"},
        {"num_attention_heads": 0},
        {"pad_token_id": 4_000},
        {"architectures": ["LlamaForNothing"]},
        {"hidden_act": "nonesuch"},
        {"rope_parameters": {"rope_type": "nonesuch"}},
    ],
    ids=str,
)
def test_a_configuration_that_transformers_rejects_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    write_random(tmp_path / "m", "causal", "llama", TWO)
    path = tmp_path / "m" / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change), encoding="utf-8")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    checks = verify_extension(tmp_path / "o", reload=True)
    (check,) = (one for one in checks if one.name == "logits")
    assert checks.passed
    assert check.state == "skipped"
    assert f"transformers {transformers.__version__}" in check.detail
    assert "config.json" in check.detail or "LlamaForCausalLM" in check.detail
    assert ".verify-" not in check.detail


def test_a_configuration_that_only_the_output_has_is_a_failure(tmp_path: Path) -> None:
    write_random(tmp_path / "m", "causal", "llama", TWO)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    path = tmp_path / "o" / "config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"hidden_size": 32', '"hidden_size": "x"'), "utf-8"
    )
    (check,) = (
        one for one in verify_extension(tmp_path / "o", original=tmp_path / "m") if one.name == "logits"
    )
    assert check.state == "failed"
    assert "rejects config.json" in check.detail
    assert "hidden_size" in check.detail


def test_a_changed_row_is_noticed(tmp_path: Path) -> None:
    write_random(tmp_path / "m", "causal", "llama", TWO)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    path = tmp_path / "o" / "model.safetensors"
    place = open_checkpoint(tmp_path / "m").headers["model.safetensors"]
    assert place is not None
    header = open_checkpoint(tmp_path / "o").headers["model.safetensors"]
    start = header.tensors["lm_head.weight"].start
    data = bytearray(path.read_bytes())
    data[start + 40 * 128 : start + 40 * 128 + 4] = np.float32(9.0).tobytes()
    path.write_bytes(bytes(data))
    names = [
        check.name
        for check in verify_extension(tmp_path / "o", original=tmp_path / "m")
        if check.state == "failed"
    ]
    assert names == ["files", "logits"]
