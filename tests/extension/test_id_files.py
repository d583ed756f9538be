"""Files that hold token ids, against what transformers reads from them and against hand-made expectations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import pre_tokenizers

from tests.extension.tiny_models import ADDED, OLD, write_model, write_tokenizer
from tests.extension.vocabularies import LINES, save, train_byte_level
from vocabkit.checkpoints.receipt import read_receipt
from vocabkit.core.errors import CheckpointError, TokenizerError
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.files import IdMap, _change_configuration, make_tokenizer_files
from vocabkit.extension.plan import plan_extension
from vocabkit.extension.verify import _check_text
from vocabkit.vocabulary.adapters import BYTE_LETTERS
from vocabkit.vocabulary.roles import open_source
from vocabkit.vocabulary.tokenizers import open_tokenizer


def moves() -> IdMap:
    """Ten old ids: turned round, 7 dropped, five rows more."""
    ids: dict[int, int | None] = {index: 9 - index for index in range(10)}
    return IdMap(ids | {7: None}, old_rows=10, new_rows=15)


def test_every_kind_of_id_is_moved() -> None:
    old = {
        "vocab_size": 10,
        "bos_token_id": 0,
        "eos_token_id": [1, 7, 2],
        "pad_token_id": None,
        "decoder_start_token_id": 7,
        "image_token_index": 3,
        "ignore_token_id": -100,
        "text_config": {"vocab_size": 10, "eos_token_id": 1, "vocab_size_per_layer_input": 8},
        "vision_config": {"vocab_size": 10, "eos_token_id": 1},
        "encoder": {"vocab_size": 12},
        "suppress_tokens": [4, 7],
        "bad_words_ids": [[1, 2], [3, 7]],
        "forced_decoder_ids": [[1, 5], [2, None]],
        "num_labels": 3,
    }
    found = moves()
    new = _change_configuration(old, found, "config.json")
    assert list(new) == list(old)
    assert new == {
        "vocab_size": 15,
        "bos_token_id": 9,
        "eos_token_id": [8, 7],
        "pad_token_id": None,
        "decoder_start_token_id": None,
        "image_token_index": 6,
        "ignore_token_id": -100,
        "text_config": {"vocab_size": 15, "eos_token_id": 8, "vocab_size_per_layer_input": 15},
        "vision_config": {"vocab_size": 10, "eos_token_id": 1},
        "encoder": {"vocab_size": 12},
        "suppress_tokens": [5],
        "bad_words_ids": [[8, 7]],
        "forced_decoder_ids": [[1, 4], [2, None]],
        "num_labels": 3,
    }
    assert "config.json decoder_start_token_id: the token 7 is not in the new vocabulary" in found.losses
    assert "config.json bos_token_id: 0 → 9" in found.changes


def test_untying_is_said_where_it_is_read() -> None:
    old = {"text_config": {"tie_word_embeddings": True}}
    new = _change_configuration(old, moves(), "config.json", untie=True)
    assert new["tie_word_embeddings"] is False
    assert new["text_config"]["tie_word_embeddings"] is False


def read_tokenizer(files: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads(files["tokenizer.json"]), json.loads(files["tokenizer_config.json"])


def test_a_tokenizer_without_a_post_processor_gets_the_old_one_with_new_ids(tmp_path: Path) -> None:
    decoder = {str(place): {"content": name, "special": True} for place, name in enumerate(OLD[:5])}
    old = open_source(write_tokenizer(tmp_path / "old", OLD, added_tokens_decoder=decoder))
    pieces = (*reversed(OLD), *ADDED)
    path = write_tokenizer(tmp_path / "new", pieces) / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["post_processor"] = None
    path.write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "new" / "tokenizer_config.json").unlink()
    new = open_source(path)
    ids = {place: pieces.index(name) for place, name in enumerate(OLD)}
    files, notes = make_tokenizer_files(old, new, ids)
    made, settings = read_tokenizer(files)
    special = made["post_processor"]["special_tokens"]
    assert special["<s>"]["ids"] == [pieces.index("<s>")]
    assert special["</s>"]["ids"] == [pieces.index("</s>")]
    assert any("post-processor" in note for note in notes)
    assert settings["model_max_length"] == 64
    assert settings["bos_token"] == "<s>"
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    added = {int(i): entry["content"] for i, entry in settings["added_tokens_decoder"].items()}
    assert added == {pieces.index(name): name for name in OLD[:5]}


def test_transformers_reads_the_folder_as_we_do(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_model(tmp_path / "m")
    pieces = (*reversed(OLD), *ADDED)
    write_tokenizer(tmp_path / "t", pieces)
    plan = plan_extension(tmp_path / "m", tmp_path / "t")
    (tmp_path / "o").mkdir()
    for name, data in plan.written.items():
        (tmp_path / "o" / name).write_bytes(data)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "o")
    ours = open_tokenizer(tmp_path / "o")
    (ids,) = ours.encode_batch(["the cats sat"])
    assert theirs("the cats sat")["input_ids"] == [pieces.index("<s>"), *ids, pieces.index("</s>")]
    assert theirs.pad_token_id == pieces.index("<pad>")
    assert theirs.mask_token_id == pieces.index("<mask>")


def test_a_format_without_a_tokenizer_json_is_refused(tmp_path: Path) -> None:
    old = open_source(write_tokenizer(tmp_path / "old"))
    (tmp_path / "new").mkdir()
    letters = [BYTE_LETTERS[byte] for byte in range(256)]
    table = {letter: place for place, letter in enumerate(letters)}
    (tmp_path / "new" / "encoder.json").write_text(json.dumps(table), encoding="utf-8")
    (tmp_path / "new" / "vocab.bpe").write_text("#version: 0.2\n", encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.json"):
        make_tokenizer_files(old, open_source(tmp_path / "new"), {})


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "GPT2Tokenizer"])
def test_verify_says_when_autotokenizer_cuts_text_otherwise(name: str, tmp_path: Path) -> None:
    """A class that builds its own pipeline passes over the digits that tokenizer.json cuts apart."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    for folder, size in (("model", 300), ("new", 320)):
        backend = train_byte_level([*LINES, *["2024 366 12"] * 9], size)
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
        save(backend, tmp_path / folder)
    settings = json.dumps(
        {"tokenizer_class": name, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<s>"}
    )
    (tmp_path / "new/tokenizer_config.json").write_text(settings, encoding="utf-8")
    choose = np.random.default_rng(3)
    save_file(
        {"model.embed_tokens.weight": choose.normal(size=(300, 8)).astype(np.float32)},
        tmp_path / "model/model.safetensors",
    )
    config = json.dumps({"model_type": "llama", "vocab_size": 300, "tie_word_embeddings": True})
    (tmp_path / "model/config.json").write_text(config, encoding="utf-8")
    out = tmp_path / "out"
    extend_checkpoint(tmp_path / "model", tmp_path / "new", out)
    state, detail = _check_text(read_receipt(out), ())
    text = "The year 2024 had 366 days."
    theirs = transformers.AutoTokenizer.from_pretrained(out)(text, add_special_tokens=False)["input_ids"]
    same = open_source(out).tokenizer.encode_batch([text])[0].tolist() == theirs
    assert same is (name == "PreTrainedTokenizerFast")
    assert state == ("ok" if same else "failed")
    assert same or "builds its own pipeline" in detail


@pytest.mark.parametrize("where", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_chat_template_that_names_lost_tokens_is_warned_of(where: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    template = "{{ '<mask>' + message + '</s>' }}"
    settings = json.loads((tmp_path / "model/tokenizer_config.json").read_text(encoding="utf-8"))
    if where == "tokenizer_config.json":
        write_tokenizer(tmp_path / "model", **settings | {"chat_template": template})
    else:
        (tmp_path / "model" / where).write_text(template, encoding="utf-8")
    without = [piece for piece in OLD if piece != "<mask>"]
    plan = plan_extension(tmp_path / "model", write_tokenizer(tmp_path / "new", without))
    assert "the chat template names tokens that the new tokenizer has not: <mask>" in plan.warnings
    kept = plan_extension(tmp_path / "model", write_tokenizer(tmp_path / "more", (*OLD, *ADDED)))
    assert not any("chat template" in warning for warning in kept.warnings)


def test_tokens_beyond_the_matrix_are_named(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    content = json.loads((tmp_path / "model/tokenizer.json").read_text(encoding="utf-8"))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content["added_tokens"].append({"id": len(OLD), "content": "<image>", **flags})
    (tmp_path / "model/tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"41 rows: '<image>' has none, nor has any of the 1 added"
    ) as caught:
        plan_extension(tmp_path / "model", write_tokenizer(tmp_path / "new", (*OLD, *ADDED)))
    assert "resize_token_embeddings" in (caught.value.hint or "")
