"""What users mistype, and what becomes damaged: one error with a hint, and nothing changed or left behind."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from tests.extension.tiny_models import ADDED, OLD, snapshot, write_model, write_tokenizer
from vocabkit.core.errors import CheckpointError, OutputError, VocabkitError
from vocabkit.core.folders import check_space
from vocabkit.core.records import seal
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.files import IdMap, _change_configuration
from vocabkit.extension.plan import Options, plan_extension
from vocabkit.extension.undo import undo_extension
from vocabkit.extension.verify import verify_extension


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "m")
    write_tokenizer(tmp_path / "t", (*OLD, *ADDED))
    return tmp_path


@pytest.mark.parametrize("output", ["m", "m/inner", ".", "t", "t/x"])
def test_an_output_never_takes_the_place_of_what_is_read(folder: Path, output: str) -> None:
    before = snapshot(folder)
    with pytest.raises(OutputError, match=r"would replace|lies within"):
        extend_checkpoint(folder / "m", folder / "t", folder / output, force=True)
    assert snapshot(folder) == before


def test_undo_never_takes_the_place_of_what_it_reads(folder: Path) -> None:
    extend_checkpoint(folder / "m", folder / "t", folder / "in" / "o")
    before = snapshot(folder)
    for output in ("in/o", "in", "in/o/x"):
        with pytest.raises(OutputError, match=r"would replace|lies within"):
            undo_extension(folder / "in" / "o", folder / output, force=True)
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    "options",
    [
        ["--init-input", "normal:std=-1"],
        ["--init-input", "men"],
        ["--init-input", "mean:scale=1"],
        ["--init-output", "omp"],
        ["--init-output", "alignment"],
        ["--init-bias", "zero:quantile=1"],
        ["--tensor", "lm_head.weight=head"],
        ["--tensor", "lm_heat.weight=output"],
        ["--tensor", "lm_head.weight"],
        ["--text", "none.txt", "--init-input", "alignment"],
        ["-o", "m/config.json/o"],
    ],
    ids=" ".join,
)
def test_every_mistake_has_an_error_and_a_hint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(folder)
    before = snapshot(folder)
    if options[1].startswith("m/"):
        write_model(Path("other"))
        before = snapshot(folder)
        given = ["extend", "other", "t", *options]
    else:
        given = ["extend", "m", "t", "-o", "o", *options]
    result = CliRunner().invoke(app, given)
    said = result.stderr.splitlines()
    assert result.exit_code == 2, result.output
    assert [line.partition(":")[0] for line in said if line] == ["error", "hint"]
    assert snapshot(folder) == before
    assert not any(path.name.startswith(".") for path in folder.iterdir())


@pytest.mark.parametrize("option", ["men", "omp", "mean:scale=1"])
def test_a_dry_run_refuses_a_method_that_cannot_be_used(folder: Path, option: str) -> None:
    with pytest.raises(VocabkitError):
        plan_extension(folder / "m", folder / "t", Options(init_input=option))


def _change_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    content = json.loads(data[8 : 8 + length])
    made = change(content)
    raw = json.dumps(content if made is None else made).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data[8 + length :])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(__metadata__="pt"), "metadata is no object"),
        (lambda content: ["a"], "holds no object"),
        (lambda content: content["model.norm.weight"].update(data_offsets=[0]), "1 offsets"),
        (lambda content: content["model.norm.weight"].update(shape=[-2, -4]), "shape"),
        (lambda content: content.update({"model.norm.weight": {"shape": [8]}}), "lacks its type"),
    ],
)
def test_an_odd_header_is_told_in_words(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    _change_header(folder / "m" / "model.safetensors", change)
    with pytest.raises(VocabkitError, match=said):
        plan_extension(folder / "m", folder / "t")


def test_room_that_a_killed_run_took_is_room(tmp_path: Path) -> None:
    (tmp_path / ".o.partial").mkdir()
    (tmp_path / ".o.partial" / "a.safetensors").write_bytes(b"x" * 60)
    check_space(tmp_path / "o", 100, free=50)
    with pytest.raises(OutputError):
        check_space(tmp_path / "o", 111, free=50)


def test_a_stopped_run_is_not_taken_up_with_other_text(folder: Path) -> None:
    """The rows of the second text must not meet shards of the first."""
    text = folder / "text.txt"
    text.write_text("the cats sat on the matter\n" * 9, encoding="utf-8")
    options: dict[str, Any] = {"init_input": "alignment", "init_output": "alignment", "text": text}
    extend_checkpoint(folder / "m", folder / "t", folder / "o", **options)
    key = (folder / "o" / ".extension-key").exists()
    assert not key
    work = folder / ".p.partial"
    work.mkdir()
    (work / ".extension-key").write_text("of another text", encoding="utf-8")
    (work / "model.safetensors").write_bytes(b"stale")
    text.write_text("running cats\n" * 9, encoding="utf-8")
    extend_checkpoint(folder / "m", folder / "t", folder / "p", **options)
    failed = [c for c in verify_extension(folder / "p", reload=False) if c.state == "failed"]
    assert failed == []


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.update(old_rows=3),
        lambda facts: facts["groups"][0].update(method="mean"),
        lambda facts: facts["groups"][0]["tensors"][0].update(axis="x"),
    ],
)
def test_verify_names_an_edited_receipt(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    extend_checkpoint(folder / "m", folder / "t", folder / "o")
    path = folder / "o" / "extension" / "receipt.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    change(facts)
    path.write_text(json.dumps(facts), encoding="utf-8")
    checks = {check.name: check.state for check in verify_extension(folder / "o", reload=False)}
    assert checks["receipt"] == "failed"


@pytest.mark.parametrize("name", ["extension/rows.safetensors", "manifest.json"])
def test_verify_and_undo_name_what_is_missing(folder: Path, name: str) -> None:
    extend_checkpoint(folder / "m", folder / "t", folder / "o")
    (folder / "o" / name).unlink()
    found = verify_extension(folder / "o", reload=False)
    assert any(check.state == "failed" and Path(name).name in check.detail for check in found)
    if name.startswith("extension"):
        with pytest.raises(VocabkitError, match="is missing"):
            undo_extension(folder / "o", folder / "u")
        assert not (folder / "u").exists()


def test_an_extension_of_an_extension_is_undone_twice(folder: Path) -> None:
    write_tokenizer(folder / "t2", (*OLD, *ADDED, "▁one", "▁more"))
    extend_checkpoint(folder / "m", folder / "t", folder / "a")
    extend_checkpoint(folder / "a", folder / "t2", folder / "b")
    checks = verify_extension(folder / "b", reload=False)
    assert [check for check in checks if check.state == "failed"] == []
    undo_extension(folder / "b", folder / "a2")
    assert snapshot(folder / "a2") == snapshot(folder / "a")
    undo_extension(folder / "a2", folder / "m2")
    assert snapshot(folder / "m2") == snapshot(folder / "m")


@pytest.mark.parametrize("kind", ["xlm-roberta", "xglm"])
def test_positions_counted_from_padding_are_not_shifted(tmp_path: Path, kind: str) -> None:
    write_model(tmp_path / "m", model_type=kind)
    first = ("<s>", "</s>", "<pad>", *OLD[3:])
    write_tokenizer(tmp_path / "t", (*first, *ADDED))
    with pytest.raises(VocabkitError, match="counts positions from its padding id, 1") as caught:
        plan_extension(tmp_path / "m", tmp_path / "t")
    assert "id 1" in (caught.value.hint or "")
    write_tokenizer(tmp_path / "kept", (*OLD[:9], *ADDED, *OLD[9:]))
    assert plan_extension(tmp_path / "m", tmp_path / "kept").mode == "replace"


def test_a_role_whose_token_is_gone_gets_the_new_tokenizers() -> None:
    moves = IdMap({0: 0, 1: None, 2: None}, 3, 9, {"eos": 7})
    made = _change_configuration(
        {"eos_token_id": [1, 2], "pad_token_id": 1, "bos_token_id": 0}, moves, "config.json"
    )
    assert made == {"eos_token_id": [7], "pad_token_id": None, "bos_token_id": 0}
    assert moves.losses == ["config.json pad_token_id: the token 1 is not in the new vocabulary"]


def test_settings_of_an_odd_form_stay_as_they_are() -> None:
    odd = {"bad_words_ids": [5], "forced_decoder_ids": [[1]], "eos_token_id": "2"}
    assert _change_configuration(odd, IdMap({}, 9, 9), "config.json") == odd


def test_the_plan_says_how_much_disk_the_output_takes(folder: Path) -> None:
    done = extend_checkpoint(folder / "m", folder / "t", folder / "o")
    taken = sum(path.stat().st_size for path in (folder / "o").rglob("*") if path.is_file())
    assert taken <= done.plan.disk_size <= taken + (64 << 10)


def test_the_tokenizer_a_model_has_already_is_said_to_add_nothing(folder: Path) -> None:
    plan = plan_extension(folder / "m", folder / "m")
    assert any("no row is new" in text for text in plan.warnings)


def test_pytorch_files_keep_the_versions_of_their_modules(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(8, len(OLD), bias=False)
    state = layer.state_dict()
    assert state._metadata
    names = {"embed_tokens.weight": torch.randn(len(OLD), 8), "lm_head.weight": state["weight"]}
    state.pop("weight")
    state.update(names)
    torch.save(state, folder / "a.pt")
    extend_checkpoint(folder / "a.pt", folder / "t", folder / "o", old_tokenizer=folder / "m")
    undo_extension(folder / "o", folder / "u")
    for name in ("o", "u"):
        again = torch.load(folder / name / "a.pt", weights_only=True)
        assert again._metadata == state._metadata


def test_a_pytorch_file_is_refused_in_one_line(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    path = folder / "a.pt"
    torch.save({"weight": torch.randn(50, 8), "by": Path("x")}, path)
    options = Options(old_tokenizer=folder / "m")
    with pytest.raises(VocabkitError, match="pathlib") as caught:
        plan_extension(path, folder / "t", options)
    assert len(caught.value.message) < 250
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(VocabkitError, match="cut short or damaged"):
        plan_extension(path, folder / "t", options)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"vocab_size": "41"}, "no whole number"), ({"model_type": ["llama"]}, None)],
)
def test_an_odd_configuration_is_no_bug(folder: Path, changed: dict[str, Any], said: str | None) -> None:
    path = folder / "m" / "config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changed
    path.write_text(json.dumps(content), encoding="utf-8")
    if said is None:
        assert plan_extension(folder / "m", folder / "t").checkpoint.model_type is None
        return
    with pytest.raises(VocabkitError, match=said):
        plan_extension(folder / "m", folder / "t")


def test_a_plan_refuses_quantised_rows(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        entry = content["model.embed_tokens.weight"]
        rows, width = entry["shape"]
        entry.update(dtype="I8", shape=[rows, width * 4])

    _change_header(folder / "m" / "model.safetensors", change)
    with pytest.raises(VocabkitError, match="I8 is no number format"):
        plan_extension(folder / "m", folder / "t")


def edit_receipt(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a receipt says, and seal it again, as someone might who means harm."""
    path = folder / "extension" / "receipt.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    change(facts)
    path.write_text(json.dumps(seal(facts)), encoding="utf-8")


@pytest.mark.parametrize("name", ["../.bashrc", "/etc/cron.d/x", "a/../../x", "..", "", "C:\\x"])
@pytest.mark.parametrize("place", ["files", "originals"])
def test_a_receipt_names_no_file_outside(folder: Path, name: str, place: str) -> None:
    extend_checkpoint(folder / "m", folder / "t", folder / "o")
    before = sorted(path.name for path in folder.iterdir())
    entry = {"how": "copied", "size": 1, "blake2b": "0" * 40} if place == "files" else "0" * 40
    edit_receipt(folder / "o", lambda facts: facts[place].update({name: entry}))
    with pytest.raises(CheckpointError, match=rf"receipt\.json: a key of {place} is .*, expected a plain name"):
        undo_extension(folder / "o", folder / "u")
    assert sorted(path.name for path in folder.iterdir()) == before
    (check,) = verify_extension(folder / "o", reload=False)
    assert check.state == "failed"


@pytest.mark.parametrize("name", ["../outside/model.safetensors", "/etc/passwd", "x/../../y", "..", 3, None])
def test_an_index_names_no_shard_outside(folder: Path, name: object) -> None:
    write_model(folder / "shards", shards=True)
    (folder / "outside").mkdir()
    path = folder / "shards" / "model.safetensors.index.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    first = min(content["weight_map"])
    content["weight_map"][first] = name
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"index\.json: weight_map\.{first} is .*, expected"):
        extend_checkpoint(folder / "shards", folder / "t", folder / "o")
    assert not (folder / "o").exists()


def test_a_receipt_is_the_same_wherever_it_is_made(folder: Path) -> None:
    """It travels with the model: nothing in it tells whose machine it was."""
    shutil.copytree(folder, folder / "elsewhere" / "deep")
    moved = folder / "elsewhere" / "deep"
    extend_checkpoint(folder / "m", folder / "t", folder / "o")
    extend_checkpoint(moved / "m", moved / "t", moved / "o")
    one, two = (root / "o" / "extension" / "receipt.json" for root in (folder, moved))
    assert one.read_bytes() == two.read_bytes()
    assert str(folder) not in one.read_text(encoding="utf-8")


def test_every_flipped_bit_of_an_extension_is_refused_by_undo(folder: Path) -> None:
    extend_checkpoint(folder / "m", folder / "t", folder / "o")
    undo_extension(folder / "o", folder / "u")
    chance = random.Random(2)
    refused = 0
    listed = [path for path in (folder / "o").rglob("*") if path.is_file() and path.name != "manifest.json"]
    used = [path for path in listed if path.suffix == ".safetensors" or "extension" in path.parts]
    for path in [path for path in used for _ in range(6)]:
        before = path.read_bytes()
        data = bytearray(before)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            undo_extension(folder / "o", folder / "v", force=True)
        except CheckpointError as error:
            refused += str(path) in error.message
        path.write_bytes(before)
    assert refused >= 6 * len(used) - 2  # white space of the receipt may change
    assert not undo_extension(folder / "o", folder / "v", verify=False, force=True).differing
