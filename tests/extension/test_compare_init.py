"""Comparing initialisers on tiny random models: bits per byte, masked stretches, and cosines."""

from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.extension.vocabularies import LINES, make_word_piece, save, train_byte_level
from vocabkit.core.errors import ConfigError, CorpusError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from vocabkit.extension.compare_init import (  # noqa: E402
    _choose_spans,
    _cut_text,
    _split_lines,
    compare_initializers,
)
from vocabkit.extension.distill import load_model  # noqa: E402
from vocabkit.vocabulary.tokenizers import open_tokenizer  # noqa: E402

SCORED = ("the cat and the dog sat in the garden", "der Hund sitzt auf der Matte", "die Stadt")
LEARNT = LINES[:4]
SMALL = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    initializer_range=0.3,
)


def save_model(folder: Path, kind: str, size: int, **settings: Any) -> Path:
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, vocab_size=size, **SMALL | settings)
    factory = {
        "llama": transformers.AutoModelForCausalLM,
        "bert": transformers.AutoModelForMaskedLM,
        "encoder": transformers.AutoModel,
    }["encoder" if settings.get("headless") else kind]
    model = factory.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("predictions.bias"):
                parameter.copy_(torch.linspace(-1, 1, len(parameter)))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Byte-level tokenizers of 300 and 320 ids, and a tied and an untied causal model of the former."""
    root = tmp_path_factory.mktemp("models")
    for name, tied in (("tied", True), ("untied", False)):
        save_model(
            root / name, "llama", 300, bos_token_id=0, eos_token_id=1, tie_word_embeddings=tied,
            num_key_value_heads=2,
        )  # fmt: skip
        save(train_byte_level(LINES, 300), root / name)
    save(train_byte_level(LINES, 320), root / "new")
    return root


def slow_bits(model: Any, lines: list[list[int]]) -> list[float]:
    """One line at a time, one target at a time."""
    found = []
    for ids in lines:
        logits = model(torch.tensor([[0, *ids]])).logits[0].double()
        nats = [-logits[i].log_softmax(0)[index].item() for i, index in enumerate(ids)]
        found.append(sum(nats) / log(2))
    return found


def test_bits_per_byte_by_hand(folder: Path) -> None:
    found = compare_initializers(
        folder / "tied", folder / "new", SCORED, method=["mean", "first"], resamples=200
    )
    size = sum(len(line.encode()) for line in SCORED)
    assert found.metric == "bits_per_byte"
    assert (found.lines, found.bytes) == (3, size)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "tied")
    old, new = (open_tokenizer(folder / name) for name in ("tied", "new"))
    expected = slow_bits(model, [ids.tolist() for ids in old.encode_batch(SCORED)])
    assert found.scores[0].value == pytest.approx(sum(expected) / size, rel=1e-4)
    assert found.scores[0].input is None
    # The mean of the used rows, by transformers' own means of growing.
    weight = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(new.size)
    with torch.no_grad():
        model.get_input_embeddings().weight[300:] = weight[4:].mean(0)
    lines = [ids.tolist() for ids in new.encode_batch(SCORED)]
    expected = slow_bits(model, lines)
    score = found.scores[1]
    assert (score.input, score.output) == ("mean", None)
    assert score.value == pytest.approx(sum(expected) / size, rel=1e-4)
    np.testing.assert_allclose(found.sums["mean", None], expected, rtol=1e-4)
    assert score.targets == sum(map(len, lines)) < found.scores[0].targets
    low, value, high = (part or 0.0 for part in (score.low, score.value, score.high))
    assert 0 < low <= value <= high
    assert score.change == pytest.approx(value - (found.scores[0].value or 0))


def test_parts_add_up_to_the_whole(folder: Path) -> None:
    found = compare_initializers(folder / "untied", folder / "new", SCORED, method=["last/first"])
    score, new = found.scores[1], open_tokenizer(folder / "new")
    lines = [ids.tolist() for ids in new.encode_batch(SCORED)]
    kinds = [
        2 if index >= 300 else int(before >= 300)
        for line in lines
        for before, index in zip([0, *line], line, strict=False)
    ]
    amounts = np.bincount(kinds, minlength=3)
    assert (amounts > 0).all()
    means = [score.old_target, score.old_after_new, score.new_target]
    total = sum(n * (mean or 0) for n, mean in zip(amounts, means, strict=True)) / log(2)
    assert score.value == pytest.approx(total / found.bytes, rel=1e-6)
    assert score.new_mass is not None
    assert 0 < score.new_mass < 1
    assert found.scores[0].new_mass is None
    assert found.scores[0].new_target is None


def test_rows_that_are_copies_predict_alike(folder: Path) -> None:
    """With one new token that is spelled by one old one there is nothing to gain or lose but its mass."""
    found = compare_initializers(
        folder / "untied", folder / "new", SCORED, method=["zero/zero", "subword-mean/first"]
    )
    change = found.sums["zero", "zero"] - found.sums["subword-mean", "first"]
    assert change.sum() / found.bytes == pytest.approx(found.scores[1].value - found.scores[2].value)
    base = found.scores[0].value
    assert found.scores[1].change == pytest.approx(found.scores[1].value - base)


def test_all_that_applies_is_tried(folder: Path) -> None:
    bare = compare_initializers(folder / "tied", folder / "new", SCORED[:1], untie=False)
    assert {"omp", "alignment", "distill", "knn"} <= set(bare.skipped)
    names = {score.input for score in bare.scores}
    assert {"zero", "mean", "subword-mean", "normal:std=1"} <= names
    assert {score.output for score in bare.scores} == {None}
    # A donor with the same tokens in the same space.
    with_donor = compare_initializers(
        folder / "untied", folder / "new", SCORED[:1], donor=folder / "tied",
        method=["omp:k=4/first", "focus"],
    )  # fmt: skip
    assert [score.output for score in with_donor.scores] == [None, "first", "focus"]


def test_model_is_as_it_was(folder: Path) -> None:
    before = (folder / "tied" / "model.safetensors").read_bytes()
    compare_initializers(folder / "tied", folder / "new", SCORED[:1], method=["mean"])
    assert (folder / "tied" / "model.safetensors").read_bytes() == before


def test_distill_in_a_comparison(folder: Path) -> None:
    found = compare_initializers(
        folder / "tied", folder / "new", SCORED, init_text=LEARNT,
        method=["distill:steps=2,batch=2"],
    )  # fmt: skip
    assert "in 4 lines" in found.scores[1].note


def test_masked_model_with_a_biased_head(tmp_path: Path) -> None:
    words = ["[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "##s", "g", "##a", "##r"]
    new = [*words, "gar"]
    settings = json.dumps({"mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"})
    for name, pieces in (("bert", words), ("new", new)):
        backend = make_word_piece(pieces)
        backend.add_special_tokens(["[CLS]", "[SEP]", "[MASK]"])
        save(backend, tmp_path / name)
        (tmp_path / name / "tokenizer_config.json").write_text(settings)
    save_model(tmp_path / "bert", "bert", len(words) + 1)
    lines = ["the gar sat on the mats", "the cat sat on the gar", "gar gar gar"]
    found = compare_initializers(
        tmp_path / "bert", tmp_path / "new", lines, method=["mean", "first"], bias="minimum"
    )
    old, mean, first = found.scores
    assert found.metric == "bits_per_byte"
    assert 0 < found.bytes < sum(map(len, lines))
    assert mean.new_target is not None
    assert all(score.value is not None for score in (old, mean, first))
    assert mean.value != first.value
    high = compare_initializers(tmp_path / "bert", tmp_path / "new", lines, method=["mean"], bias="zero")
    # The bias reaches the head: at the lowest of the old ones, new tokens have less mass than at 0.
    assert (high.scores[1].new_mass or 0) > (mean.new_mass or 1)


def test_encoder_without_a_head(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=300, **SMALL)
    transformers.BertModel(config).save_pretrained(tmp_path)
    save(train_byte_level(LINES, 300), tmp_path)
    found = compare_initializers(tmp_path, folder / "new", SCORED, method=["subword-mean", "normal:std=1"])
    assert found.metric == "cosine"
    assert [score.input for score in found.scores] == ["subword-mean", "normal:std=1"]
    assert all(-1 <= (score.value or 2) <= 1 for score in found.scores)
    assert (found.scores[0].value or 0) > (found.scores[1].value or 0)
    with pytest.raises(ConfigError, match="has no head"):
        compare_initializers(tmp_path, folder / "new", SCORED, method=["mean/first"])


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="to learn from and to be scored"):
        compare_initializers(folder / "tied", folder / "new", SCORED, init_text=SCORED[:1])
    with pytest.raises(ConfigError, match="nothing to make"):
        compare_initializers(folder / "tied", folder / "tied", SCORED)
    with pytest.raises(ConfigError, match="'meen'"):
        compare_initializers(folder / "tied", folder / "new", SCORED, method=["meen"])
    with pytest.raises(ConfigError, match="no line that can be scored"):
        compare_initializers(folder / "tied", folder / "new", ["  "], method=["mean"])
    transformers.T5Config(vocab_size=10, architectures=["T5Model"]).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="encoder–decoder"):
        load_model(tmp_path)


def test_spans_meet_in_both_and_begin_at_spaces() -> None:
    text = b"the cat sat on the mat"
    first = np.array([3, 7, 9, 11, 14, 18, 22])
    second = np.array([3, 7, 11, 14, 18, 22])
    seen = set()
    for seed in range(200):
        spans = _choose_spans(text, first, second, np.random.default_rng(seed))
        assert spans
        seen |= set(spans)
    assert seen == {(0, 3), (3, 7), (7, 11), (11, 14), (14, 18), (18, 22)}
    unspaced = "ภาษาไทยไม่มีช่องว่าง".encode()
    ends = np.arange(3, len(unspaced) + 1, 3)
    widths = {b - a for a, b in _choose_spans(unspaced, ends, ends, np.random.default_rng(0))}
    assert max(widths) <= 24


def test_long_lines_are_cut_at_spaces() -> None:
    words = " ".join(f"word{i}" for i in range(300))
    parts = _cut_text(words, 100)
    assert " ".join(parts) == words
    assert max(len(part) for part in parts) <= 100
    assert "".join(_cut_text("日" * 100, 50)) == "日" * 100


def test_lines_to_learn_from_are_apart(tmp_path: Path) -> None:
    text, other = tmp_path / "a.txt", tmp_path / "b.txt"
    text.write_text("".join(f"line {i}\n" for i in (*range(10), 3, 3)) + "\n\n")
    scored, learnt = _split_lines(text, None)
    assert len(scored) + len(learnt) == 10
    assert not set(scored) & set(learnt)
    other.write_text("line 3\nline 77\n")
    scored, learnt = _split_lines(text, other, 4)
    assert (len(scored), learnt) == (4, ["line 77"])
    # Records are read as those of a corpus are.
    records = tmp_path / "a.jsonl"
    records.write_text("".join(f'{{"body": "line {i}"}}\n' for i in range(10)))
    assert _split_lines(records, None, field="body") == _split_lines(text, None)
    with pytest.raises(CorpusError, match="no field 'text'; the record has body"):
        _split_lines(records, None)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(CorpusError, match="holds no text"):
        _split_lines(tmp_path / "empty", None)
    with pytest.raises(CorpusError, match="cannot be read"):
        _split_lines(tmp_path / "none", None)


def test_command(folder: Path, tmp_path: Path) -> None:
    import typer

    from cli import compare_init

    app = typer.Typer()
    app.command("compare-init")(compare_init.run)
    app.command("other")(lambda: None)
    text = tmp_path / "text.txt"
    text.write_text("\n".join([*SCORED, *LEARNT]))
    done = CliRunner().invoke(
        app,
        ["compare-init", str(folder / "tied"), str(folder / "new"), "--text", str(text),
         "--method", "mean", "--method", "subword-mean/first", "-f", "json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert {row["input"] for row in rows} == {"(old tokenization)", "mean", "subword-mean"}
    values = [row["bits_per_byte"] for row in rows]
    assert values == sorted(values)
    assert "bytes scored" in done.stderr
