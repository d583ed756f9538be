"""A checkpoint extended, remapped and trimmed, against rows put together by hand; and every way to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sentencepiece import sentencepiece_model_pb2 as proto

from tests.extension.tiny_models import (
    ADDED,
    OLD,
    read_arrays,
    snapshot,
    write_model,
    write_tokenizer,
)
from tests.vocabulary.conftest import train
from vocabkit.core.errors import CheckpointError, OutputError, TokenizerError, VocabkitError
from vocabkit.core.folders import check_space, write_manifest
from vocabkit.core.progress import Silent
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.plan import Options, plan_extension
from vocabkit.extension.undo import undo_extension
from vocabkit.extension.verify import verify_extension

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
ROOT = Path(__file__).resolve().parents[2]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def list_failed(folder: Path) -> list[str]:
    return [c.detail for c in verify_extension(folder, reload=False) if c.state == "failed"]


def test_extending_appends_rows_and_keeps_every_old_byte(tmp_path: Path) -> None:
    old = write_model(tmp_path / "m")
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    done = extend_checkpoint(
        tmp_path / "m",
        tmp_path / "t",
        tmp_path / "o",
        init_input="subword-mean",
        init_output="first",
    )
    assert done.plan.mode == "extend"
    new = read_arrays(tmp_path / "o" / "model.safetensors")
    for name in (EMBED, HEAD):
        np.testing.assert_array_equal(new[name][: len(OLD)], old[name])
        assert new[name].shape == (len(OLD) + len(ADDED), 8)
    # ▁cats was ▁cat s, with this vocabulary's scores
    parts = [OLD.index("▁cat"), OLD.index("s")]
    place = len(OLD) + ADDED.index("▁cats")
    np.testing.assert_allclose(new[EMBED][place], old[EMBED][parts].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(new[HEAD][place], old[HEAD][parts[0]])
    for name in ("model.norm.weight", "model.layers.0.mlp.up_proj.weight"):
        np.testing.assert_array_equal(new[name], old[name])
    assert read_json(tmp_path / "o" / "config.json")["vocab_size"] == len(OLD) + len(ADDED)
    assert snapshot(tmp_path / "m") == before
    assert list_failed(tmp_path / "o") == []
    assert (tmp_path / "o" / "README.md").read_bytes() == before["README.md"]


def test_replacing_moves_rows_and_every_id_with_them(tmp_path: Path) -> None:
    old = write_model(tmp_path / "m")
    pieces = (*reversed(OLD[:-2]), *ADDED)
    write_tokenizer(tmp_path / "t", pieces)
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert done.plan.mode == "replace"
    assert done.plan.coverage.dropped == 2
    new = read_arrays(tmp_path / "o" / "model.safetensors")
    for name in (EMBED, HEAD):
        for place, piece in enumerate(pieces):
            if piece in OLD:
                np.testing.assert_array_equal(new[name][place], old[name][OLD.index(piece)])
    config = read_json(tmp_path / "o" / "config.json")
    assert config["bos_token_id"] == pieces.index("<s>")
    assert config["eos_token_id"] == [pieces.index("</s>")]
    assert config["pad_token_id"] == pieces.index("<pad>")
    generation = read_json(tmp_path / "o" / "generation_config.json")
    assert generation["suppress_tokens"] == [pieces.index("<mask>")]
    assert any("suppress_tokens: the token 40" in text for text in done.plan.warnings)
    assert list_failed(tmp_path / "o") == []


def test_trimming_keeps_what_is_dropped_for_undo(tmp_path: Path) -> None:
    write_model(tmp_path / "m", shards=True)
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", OLD[:20])
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert done.plan.mode == "trim"
    assert done.plan.coverage.dropped == len(OLD) - 20
    undone = undo_extension(tmp_path / "o", tmp_path / "u")
    assert not undone.differing
    assert snapshot(tmp_path / "u") == before


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "pieces", [(*OLD, *ADDED), (*reversed(OLD), *ADDED), (*OLD[:-5], *ADDED)], ids=["+", "↔", "±"]
)
def test_undo_gives_every_file_back(tmp_path: Path, pieces: tuple[str, ...], tied: bool, shards: bool) -> None:
    write_model(tmp_path / "m", tied=tied, shards=shards, rows=48)
    (tmp_path / "m" / "vocab.txt").write_text("stale", encoding="utf-8")
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", pieces)
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", untie=tied, pad_to_multiple_of=64)
    assert not (tmp_path / "o" / "vocab.txt").exists()
    assert list_failed(tmp_path / "o") == []
    assert not undo_extension(tmp_path / "o", tmp_path / "u").differing
    assert snapshot(tmp_path / "u") == before


def test_new_tokens_may_land_on_padding(tmp_path: Path) -> None:
    old = write_model(tmp_path / "m", rows=48)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    plan = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o").plan
    assert plan.rows.new_size == 48  # never shrunk silently
    assert plan.rows.padding.sum() == 48 - len(OLD)
    new = read_arrays(tmp_path / "o" / "model.safetensors")[EMBED]
    first = len(OLD) + len(ADDED)
    np.testing.assert_array_equal(new[first:], old[EMBED][first:])
    assert (new[len(OLD) : first] != old[EMBED][len(OLD) : first]).any(axis=1).all()
    assert not undo_extension(tmp_path / "o", tmp_path / "u").differing


# What is done to a tokenizer of 41 ids beside a matrix of 60 rows.
CHANGES = {
    "rename": (*OLD[:-2], *ADDED[:2]),
    "renumber": tuple(reversed(OLD)),
    "fewer": OLD[:20],
    "fewer, one new": (*OLD[:20], ADDED[0]),
    "more": (*reversed(OLD), *ADDED),
    "append": (*OLD, *ADDED),
    "same": OLD,
}


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_padded_matrix_keeps_its_rows_unless_it_is_trimmed(tmp_path: Path, change: str, trim: bool) -> None:
    old, pieces = write_model(tmp_path / "m", rows=60), CHANGES[change]
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", pieces)
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", trim=trim)
    new = read_arrays(tmp_path / "o" / "model.safetensors")
    size = len(pieces) if trim else 60
    assert read_json(tmp_path / "o" / "config.json")["vocab_size"] == size
    for name in (EMBED, HEAD):
        expected = np.array(
            [old[name][OLD.index(p)] if p in OLD else new[name][i] for i, p in enumerate(pieces)]
        )
        expected = np.concatenate([expected, old[name][len(pieces) : size]])
        np.testing.assert_array_equal(new[name], expected)
    # Rows of the old matrix that are found nowhere in the new one, by their bytes.
    left = {row.tobytes() for row in new[EMBED]}
    assert done.plan.coverage.cut == sum(row.tobytes() not in left for row in old[EMBED])
    assert done.plan.coverage.dropped == len(set(OLD) - set(pieces))
    counted = {row["name"]: row["after"] for row in done.to_rows() if row["part"] == "tokens"}
    assert counted["cut"] == done.plan.coverage.cut
    assert list_failed(tmp_path / "o") == []
    assert not undo_extension(tmp_path / "o", tmp_path / "u").differing
    assert snapshot(tmp_path / "u") == before


def test_an_id_of_a_token_that_is_gone_is_not_kept_with_its_row(tmp_path: Path) -> None:
    """Its row stays as padding; the configuration must not go on naming it."""
    write_model(tmp_path / "m", pad_token_id=40, rows=60)
    write_tokenizer(tmp_path / "t", OLD[:20])
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert read_json(tmp_path / "o" / "config.json")["pad_token_id"] == OLD.index("<pad>")
    assert any("suppress_tokens: the token 40 is not" in text for text in done.plan.warnings)


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rows", [len(OLD), 60])
def test_ids_given_away_get_new_rows_and_all_others_stay(
    tmp_path: Path, tied: bool, shards: bool, rows: int
) -> None:
    """A replaced vocabulary of constant size: single ids here and there stand for other tokens."""
    old = write_model(tmp_path / "m", tied=tied, shards=shards, rows=rows)
    before = snapshot(tmp_path / "m")
    given = dict(zip((17, 33, 36, 40), ADDED, strict=True))
    pieces = tuple(given.get(index, piece) for index, piece in enumerate(OLD))
    write_tokenizer(tmp_path / "t", pieces)
    plan = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o").plan
    assert (plan.mode, plan.coverage.remapped, plan.coverage.dropped, plan.coverage.cut) == ("replace", 0, 4, 4)
    assert np.flatnonzero(plan.rows.kept < 0).tolist() == sorted(given)
    files = (tmp_path / "o").glob("*.safetensors")
    new = {name: item for path in files for name, item in read_arrays(path).items()}
    stays = np.array([index not in given for index in range(rows)])
    for name in {EMBED} if tied else {EMBED, HEAD}:
        np.testing.assert_array_equal(new[name][stays], old[name][stays])
        assert (new[name][~stays] != old[name][~stays]).any(axis=1).all()
    parts = [OLD.index("▁cat"), OLD.index("s")]  # ▁cats at 17: a row of its own, from the old spelling
    np.testing.assert_allclose(new[EMBED][17], old[EMBED][parts].mean(0), rtol=1e-6)
    assert list_failed(tmp_path / "o") == []
    assert not undo_extension(tmp_path / "o", tmp_path / "u").differing
    assert snapshot(tmp_path / "u") == before


@pytest.mark.parametrize("key", ["pad_token_id", "image_token_index"])
def test_an_id_in_use_without_a_token_is_never_given_to_a_new_one(tmp_path: Path, key: str) -> None:
    config: dict[str, Any] = {key: 43}
    write_model(tmp_path / "m", rows=60, **config)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED[:2]))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert read_json(tmp_path / "o" / "config.json")[key] == 43
    write_tokenizer(tmp_path / "t2", (*OLD, *ADDED))
    with pytest.raises(CheckpointError, match=f"{key}: 43 has no token") as caught:
        plan_extension(tmp_path / "m", tmp_path / "t2")
    assert "matter" not in caught.value.message
    assert "sat" in caught.value.message
    with pytest.raises(CheckpointError, match="cuts its row"):
        plan_extension(tmp_path / "m", tmp_path / "t", Options(trim=True))


@pytest.mark.parametrize("name", ["added_tokens.json", "tokenizer_config.json"])
@pytest.mark.parametrize("side", ["m", "t"])
def test_a_token_that_only_the_settings_have_is_refused(tmp_path: Path, side: str, name: str) -> None:
    write_model(tmp_path / "m", rows=60)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    path = tmp_path / side / name
    told = read_json(path) if path.exists() else {"<extra>": 50}
    if "tokenizer_class" in told:
        told["added_tokens_decoder"] = {"50": {"content": "<extra>", "special": True}}
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(VocabkitError, match=r"the files beside it add '<extra>' as 50: no token has id 4"):
        plan_extension(tmp_path / "m", tmp_path / "t")


def test_mllamas_eight_rows_more_are_named_and_kept(tmp_path: Path) -> None:
    choose = np.random.default_rng(5)
    head = choose.normal(size=(36, 8)).astype(np.float32)
    old = write_model(tmp_path / "m", rows=44, extra={HEAD: head}, model_type="mllama", vocab_size=36,
                      image_token_index=41)  # fmt: skip
    before = snapshot(tmp_path / "m")
    pieces = (*OLD, *ADDED)
    write_tokenizer(tmp_path / "t", pieces)
    done = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert any("8 rows more than the head" in text for text in done.plan.warnings)
    (extra,) = (row for row in done.to_rows() if row["name"] == "extra rows")
    assert (extra["before"], extra["after"]) == ("36–43", "45–52")
    new = read_arrays(tmp_path / "o" / "model.safetensors")
    assert (new[EMBED].shape, new[HEAD].shape) == ((53, 8), (45, 8))
    np.testing.assert_array_equal(new[EMBED][:41], old[EMBED][:41])
    np.testing.assert_array_equal(new[EMBED][45:], old[EMBED][36:])
    np.testing.assert_array_equal(new[HEAD][:36], head)
    config = read_json(tmp_path / "o" / "config.json")
    assert config["vocab_size"] == 45
    assert config["image_token_index"] == 50  # its row moved with the others; no token had it
    assert list_failed(tmp_path / "o") == []
    assert not undo_extension(tmp_path / "o", tmp_path / "u").differing
    assert snapshot(tmp_path / "u") == before


def test_only_shards_with_vocabulary_tensors_are_written(tmp_path: Path) -> None:
    write_model(tmp_path / "m", shards=True)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", link=True)
    same = [
        path.name
        for path in (tmp_path / "m").glob("*.safetensors")
        if path.samefile(tmp_path / "o" / path.name)
    ]
    assert same == ["model-00002-of-00003.safetensors"]
    index = read_json(tmp_path / "o" / "model.safetensors.index.json")
    total = sum(
        item.nbytes for path in (tmp_path / "o").glob("*.safetensors") for item in read_arrays(path).values()
    )
    assert index["metadata"]["total_size"] == total
    receipt = read_json(tmp_path / "o" / "extension" / "receipt.json")
    assert receipt["files"]["model-00002-of-00003.safetensors"]["how"] == "linked"


def test_equal_matrices_stored_twice_stay_equal(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(len(OLD), 8)).astype(np.float32)
    write_model(tmp_path / "m", tied=True, extra={EMBED: rows, HEAD: rows})
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    plan = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o").plan
    assert plan.found.tied == "equal"
    new = read_arrays(tmp_path / "o" / "model.safetensors")
    np.testing.assert_array_equal(new[EMBED], new[HEAD])


def test_a_tie_that_is_only_said_is_not_believed(tmp_path: Path) -> None:
    choose = np.random.default_rng(2)
    head = choose.normal(size=(len(OLD), 8)).astype(np.float32)
    write_model(tmp_path / "m", tied=True, extra={HEAD: head})
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    plan = plan_extension(tmp_path / "m", tmp_path / "t")
    assert plan.found.tied == "untied"
    assert any("tie_word_embeddings" in text for text in plan.warnings)


def test_biases_and_vocabulary_in_the_second_dimension(tmp_path: Path) -> None:
    choose = np.random.default_rng(3)
    bias = choose.normal(size=len(OLD)).astype(np.float32)
    logits = choose.normal(size=(1, len(OLD))).astype(np.float32)
    write_model(tmp_path / "m", extra={"lm_head.bias": bias, "final_logits_bias": logits})
    write_tokenizer(tmp_path / "t", (*OLD[10:], *OLD[:10], *ADDED))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    new = read_arrays(tmp_path / "o" / "model.safetensors")
    moved = np.roll(bias, -10)
    np.testing.assert_array_equal(new["lm_head.bias"][: len(OLD)], moved)
    np.testing.assert_array_equal(new["final_logits_bias"][0, : len(OLD)], np.roll(logits[0], -10))
    used = bias[5:]  # all but the special tokens
    np.testing.assert_allclose(new["lm_head.bias"][len(OLD) :], used.mean(), rtol=1e-5)


def test_per_layer_tables_grow_and_ids_beyond_them_read_row_0(tmp_path: Path) -> None:
    name = "model.language_model.embed_tokens_per_layer.weight"
    table = np.random.default_rng(4).normal(size=(30, 6)).astype(np.float32)
    write_model(tmp_path / "m", extra={name: table}, vocab_size_per_layer_input=30)
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    new = read_arrays(tmp_path / "o" / "model.safetensors")[name]
    assert new.shape == (len(OLD) + len(ADDED), 6)
    np.testing.assert_array_equal(new[:30], table)
    np.testing.assert_array_equal(new[30 : len(OLD)], np.tile(table[0], (len(OLD) - 30, 1)))
    config = read_json(tmp_path / "o" / "config.json")
    assert config["vocab_size_per_layer_input"] == config["vocab_size"] == len(new)
    assert list_failed(tmp_path / "o") == []
    assert not undo_extension(tmp_path / "o", tmp_path / "u").differing
    assert snapshot(tmp_path / "u") == before


def test_a_language_model_within_another_is_found(tmp_path: Path) -> None:
    rows = np.random.default_rng(5).normal(size=(len(OLD), 6)).astype(np.float32)
    write_model(tmp_path / "m", tied=True)
    (tmp_path / "m" / "model.safetensors").unlink()
    name = "model.language_model.embed_tokens.weight"
    vision = {"model.vision_tower.patch_embedding.weight": np.ones((6, 5), np.float32)}
    save_file({name: rows, **vision}, tmp_path / "m" / "model.safetensors")
    config = read_json(tmp_path / "m" / "config.json")
    text = {"vocab_size": config.pop("vocab_size"), "eos_token_id": 2}
    content = config | {"text_config": text, "image_token_id": 4}
    (tmp_path / "m" / "config.json").write_text(json.dumps(content), encoding="utf-8")
    pieces = (*OLD[1:], *ADDED, OLD[0])
    write_tokenizer(tmp_path / "t", pieces)
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    new = read_arrays(tmp_path / "o" / "model.safetensors")
    np.testing.assert_array_equal(new[name][: len(OLD) - 1], rows[1:])
    made = read_json(tmp_path / "o" / "config.json")
    assert made["text_config"] == {"vocab_size": len(pieces), "eos_token_id": 1}
    assert made["image_token_id"] == 3
    assert list_failed(tmp_path / "o") == []


def test_an_inner_layer_of_the_vocabularys_size_is_refused_by_name(tmp_path: Path) -> None:
    inner = np.zeros((len(OLD), 8), np.float32)
    write_model(tmp_path / "m", extra={"model.layers.0.mlp.gate_proj.weight": inner})
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.gate_proj") as caught:
        plan_extension(tmp_path / "m", tmp_path / "t")
    assert "--tensor" in str(caught.value.hint)
    told = {"model.layers.*": "ignore"}
    plan = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", tensor=told).plan
    assert {item.tensor.name for item in plan.found.found} == {EMBED, HEAD}
    assert list_failed(tmp_path / "o") == []


def shorten(folder: Path) -> None:
    path = folder / "model-00003-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def forget(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    index = read_json(path)
    del index["weight_map"]["model.norm.weight"]
    path.write_text(json.dumps(index), encoding="utf-8")


def misname(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    path.write_text(path.read_text(encoding="utf-8").replace(HEAD, "head.w"), encoding="utf-8")


def overlap(folder: Path) -> None:
    path = folder / "model-00002-of-00003.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"data_offsets":[0,', b'"data_offsets":[1,'))


def swap_tokenizer(folder: Path) -> None:
    write_tokenizer(folder, (*OLD, *ADDED))


def resize_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace("41", "50"), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shorten, "cut short by 100 bytes"),
        (overlap, "belong to no tensor|not"),
        (forget, "no entry for model.norm.weight"),
        (misname, "no entry for lm_head.weight"),
        (lambda folder: (folder / "model-00002-of-00003.safetensors").unlink(), "not there"),
        (swap_tokenizer, "has ids up to 44, and the model 41 rows"),
        (resize_config, "vocab_size 50"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "--old-tokenizer|tokenizer cannot"),
        (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), "not JSON"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    write_model(tmp_path / "m", shards=True)
    damage(tmp_path / "m")
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    with pytest.raises(VocabkitError, match=message) as caught:
        extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert caught.value.hint
    assert snapshot(tmp_path / "m") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "t"]


def test_a_tokenizer_much_smaller_than_the_matrix_is_no_padding(tmp_path: Path) -> None:
    write_model(tmp_path / "m", rows=1000)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    with pytest.raises(CheckpointError, match="959 rows more is too much to be padding"):
        plan_extension(tmp_path / "m", tmp_path / "t")


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"needs 2\.00 GB, and the disk has 1\.00 GB"):
        check_space(tmp_path / "o", 2_000_000_000, free=1_000_000_000)
    check_space(tmp_path / "o" / "deep", 1, free=1)


class Stop(Silent):
    """Stands for Ctrl-C after some writes."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def advance(self, amount: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_stopped_run_is_taken_up_where_it_was(tmp_path: Path) -> None:
    write_model(tmp_path / "m", shards=True)
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    with pytest.raises(KeyboardInterrupt):
        extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", progress=Stop(1))
    partial = tmp_path / ".o.partial"
    assert not (tmp_path / "o").exists()
    finished = partial / "model-00001-of-00003.safetensors"
    stamp = finished.stat().st_mtime_ns
    assert not (partial / "model-00003-of-00003.safetensors").exists()
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert (tmp_path / "o" / finished.name).stat().st_mtime_ns == stamp
    assert not partial.exists()
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "whole")
    left, right = snapshot(tmp_path / "o"), snapshot(tmp_path / "whole")
    left.pop("manifest.json"), right.pop("manifest.json")
    assert left == right
    assert snapshot(tmp_path / "m") == before


def test_what_another_request_left_is_not_used(tmp_path: Path) -> None:
    write_model(tmp_path / "m", shards=True)
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    with pytest.raises(KeyboardInterrupt):
        extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", progress=Stop(1))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", init_input="zero")
    new = read_arrays(tmp_path / "o" / "model-00001-of-00003.safetensors")[EMBED]
    assert not new[len(OLD) :].any()


@pytest.mark.slow
def test_a_killed_process_leaves_the_original_and_no_output(tmp_path: Path) -> None:
    write_model(tmp_path / "m", shards=True)
    before = snapshot(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    code = (
        "import os, sys\n"
        "from vocabkit.core.progress import Silent\n"
        "from vocabkit.extension.extend import extend_checkpoint\n"
        "class Kill(Silent):\n"
        "    seen = 0\n"
        "    def advance(self, amount):\n"
        "        Kill.seen += 1\n"
        "        if Kill.seen == 2: os.kill(os.getpid(), 9)\n"
        "extend_checkpoint(*sys.argv[1:], progress=Kill())\n"
    )
    words = [str(tmp_path / name) for name in "mto"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code, *words], env=environment, check=False)
    assert run.returncode == -9
    assert not (tmp_path / "o").exists()
    assert snapshot(tmp_path / "m") == before
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert list_failed(tmp_path / "o") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "o", "t"]


def test_an_output_that_exists_is_kept_unless_forced(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="not empty"):
        extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    assert (tmp_path / "o" / "mine").read_text(encoding="utf-8") == "x"
    with pytest.raises(OutputError, match="not written by vocabkit"):
        extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", force=True)
    write_manifest(tmp_path / "o")
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", force=True)
    assert not (tmp_path / "o" / "mine").exists()


def test_other_forms_of_the_weights_are_left_out_and_named(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    for name in ("model.onnx", "model.gguf", "pytorch_model.bin"):
        (tmp_path / "m" / name).write_bytes(b"x")
    (tmp_path / "m" / "1_Pooling").mkdir()
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text("{}", encoding="utf-8")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    plan = extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o").plan
    assert set(plan.left_out) == {"model.onnx", "model.gguf", "pytorch_model.bin"}
    assert any("model.onnx" in text for text in plan.warnings)
    assert (tmp_path / "o" / "1_Pooling" / "config.json").is_file()


METHODS = (
    "zero",
    "normal:std=0.5",
    "mean",
    "diagonal",
    "multivariate",
    "positional",
    "last",
    "omp:k=3",
)


@pytest.mark.parametrize("method", METHODS)
def test_the_receipt_makes_the_rows_again(tmp_path: Path, method: str) -> None:
    write_model(tmp_path / "m", extra={"lm_head.bias": np.arange(len(OLD), dtype=np.float32)})
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    donor = tmp_path / "donor"
    write_model(donor, rows=len(OLD) + len(ADDED), width=6, tied=True)
    write_tokenizer(donor, (*OLD, *ADDED))
    options: dict[str, Any] = {
        "init_input": method,
        "init_output": method,
        "seed": 3,
        "donor": donor,
    }
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o", **options)
    checks = verify_extension(tmp_path / "o", reload=False)
    found = [check.detail for check in checks if check.name.startswith("sources of")]
    assert found == [f"{len(ADDED)} rows made again, bit for bit"] * 3
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "again", **options)
    weights = "model.safetensors"
    assert (tmp_path / "o" / weights).read_bytes() == (tmp_path / "again" / weights).read_bytes()


def test_verify_names_what_was_changed(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    extend_checkpoint(tmp_path / "m", tmp_path / "t", tmp_path / "o")
    config = tmp_path / "o" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("45", "41"), encoding="utf-8")
    checks = verify_extension(tmp_path / "o", reload=False)
    failed = {check.name: check.detail for check in checks if check.state == "failed"}
    assert "config.json" in failed["files"]
    assert "vocab_size 41" in failed["tensors"]
    with pytest.raises(CheckpointError, match=r"no extension/receipt\.json"):
        verify_extension(tmp_path / "m")


def test_a_model_that_no_tokenizer_json_can_hold_is_named(tmp_path: Path) -> None:
    model = proto.ModelProto()
    model.ParseFromString(train("unigram", byte_fallback=False))
    model.trainer_spec.treat_whitespace_as_suffix = True
    path = tmp_path / "suffix.model"
    path.write_bytes(model.SerializeToString())
    write_model(tmp_path / "old")
    with pytest.raises(TokenizerError, match=r"suffix\.model: .*treat_whitespace_as_suffix") as caught:
        extend_checkpoint(tmp_path / "old", path, tmp_path / "new")
    assert caught.value.hint == "extend with another tokenizer"
    assert not (tmp_path / "new").exists()
