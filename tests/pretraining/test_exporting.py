"""From a run to a folder that transformers loads, by the library and by the command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from typer.testing import CliRunner

from cli import app
from tests.pretraining.prepared_rows import MASKED, write_rows
from tests.pretraining.tiny_layouts import draw_model
from tests.pretraining.tiny_runs import make_config, train
from tests.pretraining.tiny_tokenizers import write_byte_level, write_ours
from vocabkit.core.errors import ConfigError, OutputError, PretrainingError, VocabkitError
from vocabkit.core.folders import fingerprint_file, write_manifest
from vocabkit.core.records import write_sealed
from vocabkit.pretraining.checkpointing import load_run_model
from vocabkit.pretraining.exporting import (
    TOLERANCE,
    _compare_ids,
    _compare_logits,
    _lay_out_rows,
    export_run,
)
from vocabkit.pretraining.run_folder import Run
from vocabkit.pretraining.transformers_format import load_model, write_hf
from vocabkit.vocabulary.roles import SpecialIds
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary

transformers = pytest.importorskip("transformers")

GPT = SpecialIds(begin=0, end=None, pad=0, mask=None, unknown=None, reserved=(0,))


def _train(folder: Path, layout: str) -> Path:
    """A run of four steps with checkpoints at 2 and 4; llama's tokenizer is one of GPT-2's kind."""
    tokenizer = folder / "tokenizer"
    if layout == "llama":
        write_byte_level(tokenizer)
        roles = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
        (tokenizer / "tokenizer_config.json").write_text(json.dumps(roles), encoding="utf-8")
        size, special = 330, GPT
    else:
        size, special = Vocabulary.load(write_ours(tokenizer, blocks=True)).size, MASKED
    rows = {"eng_Latn": (40, 2), "deu_Latn": (20, 2)}
    write_rows(folder / "data", rows, length=16, vocabulary=size, special=special)
    shutil.copytree(tokenizer, folder / "data/tokenizer", dirs_exist_ok=True)
    model = {"layout": layout}
    config = make_config(model=model, training={"steps": 4}, save={"every": 2, "keep": 2})
    train(config, folder / "data", folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(tmp_path_factory.mktemp("xlmr"), "xlmr")


@pytest.fixture(scope="module")
def routed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, as if its shards had been routed."""
    copy = tmp_path_factory.mktemp("routed") / "run"
    shutil.copytree(run, copy)
    path = copy / "model.json"
    data = json.loads(path.read_text(encoding="utf-8")) | {"encoding": "routed"}
    write_sealed(path, data)
    return copy


def _open(folder: Path, *, causal: bool = False) -> tuple[Any, Any]:
    auto: Any = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
    peer = auto.from_pretrained(folder, dtype=torch.float32)
    return peer.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("layout", ["modern", "llama"])
def test_transformers_computes_what_was_trained(layout: str, tmp_path: Path) -> None:
    run = _train(tmp_path, layout)
    done = export_run(run, tmp_path / "hf", verify=True)
    assert done.passed
    assert done.step == 4
    model, _ = load_run_model(Run.load(run))
    peer, tokenizer = _open(tmp_path / "hf", causal=layout == "llama")
    ids = torch.tensor([[0, *range(10, 24), 12]])
    with torch.no_grad():
        ours, theirs = model.logits(_lay_out_rows(ids)), peer(input_ids=ids).logits[0]
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert done.parameters == sum(parameter.numel() for parameter in peer.parameters())
    assert tokenizer.model_max_length == 16
    text = "the cat sat on the mat"
    own = open_tokenizer(run / "tokenizer").encode_batch([text])[0].tolist()
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == own


def test_newest_checkpoint_or_the_one_asked_for(run: Path, tmp_path: Path) -> None:
    newest = export_run(run, tmp_path / "newest")
    first = export_run(run, tmp_path / "first", step=2)
    assert (newest.step, first.step) == (4, 2)
    model, _ = load_run_model(Run.load(run), 2)
    assert torch.equal(load_model(tmp_path / "first").table, model.table)
    assert not torch.equal(load_model(tmp_path / "newest").table, model.table)
    with pytest.raises(PretrainingError, match="no checkpoint of step 3"):
        export_run(run, tmp_path / "third", step=3)


def test_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_run(run, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", "vocabulary.parquet"} <= set(names)
    for name in names:
        if name != "manifest.json":
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_bf16_halves_the_file_and_is_verified(run: Path, tmp_path: Path) -> None:
    whole = export_run(run, tmp_path / "fp32")
    half = export_run(run, tmp_path / "bf16", dtype="bf16", verify=True)
    assert half.passed
    sizes = [(done.folder / "model.safetensors").stat().st_size for done in (whole, half)]
    assert sizes[1] < 0.7 * sizes[0]


def test_moments_stand_beside_the_tensors_they_are_of(run: Path, tmp_path: Path) -> None:
    done = export_run(run, tmp_path / "hf", optimizer=True, verify=True)
    assert done.passed
    tensors = load_file(tmp_path / "hf/model.safetensors")
    moments = load_file(tmp_path / "hf/optimizer.safetensors")
    for name, tensor in tensors.items():
        assert moments[f"exp_avg.{name}"].shape == moments[f"exp_avg_sq.{name}"].shape == tensor.shape
        assert moments[f"step.{name}"] == 4


def test_output_that_exists_is_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="not empty"):
        export_run(run, tmp_path / "hf")
    assert (tmp_path / "hf/mine.txt").is_file()
    with pytest.raises(OutputError, match="not written by vocabkit"):
        export_run(run, tmp_path / "hf", force=True)
    write_manifest(tmp_path / "hf")
    export_run(run, tmp_path / "hf", force=True)
    assert not (tmp_path / "hf/mine.txt").exists()


@pytest.mark.parametrize(
    ("view", "hunde"), [({"union": True}, True), ({"route": "deu"}, True), ({"route": "eng_Latn"}, False)]
)
def test_a_routed_run_takes_the_view_that_is_said(
    view: dict[str, Any], hunde: bool, routed: Path, tmp_path: Path
) -> None:
    done = export_run(routed, tmp_path / "hf", verify=True, **view)
    assert done.passed
    assert done.route == {"deu": "deu_Latn", "eng_Latn": "shared"}.get(view.get("route", ""))
    _, tokenizer = _open(tmp_path / "hf")
    ids = tokenizer("Hunde", add_special_tokens=False)["input_ids"]
    piece = Vocabulary.load(routed / "tokenizer").id_of("▁Hunde")
    assert (ids == [piece]) == hunde
    # Ids mean the same in every view.
    assert len(tokenizer) == Vocabulary.load(routed / "tokenizer").size
    assert tokenizer.model_max_length == 16


def test_views_that_cannot_be_taken(run: Path, routed: Path, tmp_path: Path) -> None:
    target = tmp_path / "hf"
    with pytest.raises(ConfigError, match="routed shards") as caught:
        export_run(routed, target)
    assert "deu_Latn" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="say one"):
        export_run(routed, target, route="deu", union=True)
    with pytest.raises(ConfigError, match="--route fra: no block"):
        export_run(routed, target, route="fra")
    with pytest.raises(ConfigError, match="whole vocabulary's"):
        export_run(run, target, route="deu")
    assert not target.exists()


def test_another_model_is_found_out(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "hf")
    model, _ = load_run_model(Run.load(run))
    difference, scale = _compare_logits(model, tmp_path / "hf")
    assert difference <= TOLERANCE * scale
    with torch.no_grad():
        model.blocks[1].qkv.weight[3, 5] += 0.1
    difference, scale = _compare_logits(model, tmp_path / "hf")
    assert difference > TOLERANCE * scale


def test_a_tokenizer_too_large_is_found_out(run: Path, tmp_path: Path) -> None:
    model = draw_model("xlmr")
    write_hf(model, tmp_path, run / "tokenizer")
    with pytest.raises(PretrainingError, match=r"a tokenizer of \d+ ids and a model of 100"):
        _compare_logits(model, tmp_path)


def test_command(run: Path, routed: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["export", str(run), "-o", str(tmp_path / "hf"), "--verify", "--format", "json"])
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["class"] == "XLMRobertaForMaskedLM"
    assert row["step"] == 4
    assert row["difference"] <= 1e-5 * row["scale"]
    assert f"wrote {tmp_path / 'hf'}" in done.stderr
    for arguments, said in (
        ([str(routed)], "--route CODE  # or --union"),
        ([str(tmp_path)], "not the folder of a run"),
    ):
        failed = runner.invoke(app, ["export", *arguments, "-o", str(tmp_path / "no")])
        assert isinstance(failed.exception, SystemExit | VocabkitError)
        assert failed.exit_code == 2
        assert said in failed.stderr
    assert not (tmp_path / "no").exists()


def test_a_run_is_not_replaced_by_its_export(run: Path) -> None:
    before = sorted(path.name for path in run.iterdir())
    for output in (run, run.parent):
        with pytest.raises(OutputError, match="would replace"):
            export_run(run, output, force=True)
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_lone_model_is_exported_with_the_json_that_goes_with_it(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    lone = tmp_path / "lone.model"
    (copy / "tokenizer/tokenizer.model").rename(lone)
    shutil.rmtree(copy / "tokenizer")
    (copy / "tokenizer").mkdir()
    lone.rename(copy / "tokenizer/lone.model")
    held = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    files = {"tokenizer/lone.model": fingerprint_file(copy / "tokenizer/lone.model")}
    write_sealed(copy / "run.json", held | {"files": files})
    done = export_run(copy, tmp_path / "hf")
    assert done.no_tokenizer is None
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf", local_files_only=True)
    ours = open_tokenizer(run / "tokenizer")
    text = "the cat sat on the mat"
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert ids == ours.encode_batch([text])[0].tolist()


def test_a_full_disk_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("vocabkit.pretraining.transformers_format.save_file", fail)
    with pytest.raises(OutputError, match="No space left"):
        export_run(run, tmp_path / "hf")
    assert not [*tmp_path.iterdir()]


def test_other_ids_of_text_are_found_out(run: Path, tmp_path: Path) -> None:
    # The tokenizer.json of the same vocabulary that looks for a symbol in the text as typed, as converters do.
    own = tmp_path / "own"
    vocabulary = Vocabulary.load(run / "tokenizer")
    kinds = list(vocabulary.kinds)
    place = vocabulary.pieces.index("▁Hunde")
    kinds[place] = Kind.USER
    replace(vocabulary, kinds=tuple(kinds)).save(own)
    model, _ = load_run_model(Run.load(run))
    write_hf(model, tmp_path / "good", own)
    texts, differing = _compare_ids(own, tmp_path / "good")
    assert texts > 200
    assert differing == ()
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    content = json.loads((own / "tokenizer.json").read_text(encoding="utf-8"))
    entry = {"id": place, "content": "▁Hunde", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False}  # fmt: skip
    content["added_tokens"] = sorted([*content["added_tokens"], entry], key=lambda token: token["id"])
    content["model"]["vocab"][place][1] = -99.0
    (tmp_path / "bad/tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    _, differing = _compare_ids(own, tmp_path / "bad")
    assert any("Hunde" in text for text in differing)
