"""Evaluation against a sum over documents one by one, and what must not change it."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.pretraining.prepared_rows import ENDLESS, MASKED, write_rows
from vocabkit.core.records import write_sealed
from vocabkit.pretraining.batches import Batch
from vocabkit.pretraining.evaluation import Evaluation, LanguageScore, evaluate
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import DataSettings, ModelConfig
from vocabkit.vocabulary.roles import SpecialIds

ROWS = {"eng_Latn": (3, 7), "fra_Latn": (2, 0), "yor_Latn": (2, 5)}


def make_model(special: SpecialIds, *, causal: bool) -> Model:
    config = ModelConfig(
        "llama" if causal else "xlmr", vocabulary=50, width=16, layers=1, heads=2, feed_forward=24,
        max_length=24, initial_deviation=0.5, begin_id=special.begin, end_id=special.end,
        pad_id=special.pad, mask_id=special.mask,
    )  # fmt: skip
    return Model(config, seed=1)


def score(model: Model, corpus: PreparedCorpus, *, rows: int = 99, micro_rows: int = 3) -> Evaluation:
    found = evaluate(
        model, corpus, causal=model.config.causal, rows=rows, micro_rows=micro_rows, device="cpu",
        data=DataSettings(),
    )  # fmt: skip
    return found


def of(found: Evaluation) -> dict[str, LanguageScore]:
    return {score.language: score for score in found.languages}


def split_documents(row: list[int], used: int, begin: int) -> list[list[int]]:
    starts = [place for place in range(used) if row[place] == begin]
    return [row[a:b] for a, b in zip(starts, [*starts[1:], used], strict=True)]


def lone_logits(model: Model, ids: list[int]) -> torch.Tensor:
    """Logits of one document alone in its row."""
    size = len(ids)
    tensor = torch.tensor(ids, dtype=torch.int32)
    zeros = torch.zeros(size, dtype=torch.int32)
    nothing = torch.zeros(1, dtype=torch.int64)
    batch = Batch(
        tensor, zeros, torch.arange(size, dtype=torch.int32), torch.tensor([0, size]).int(),
        nothing, nothing, torch.zeros(1), zeros[:1], zeros[:1], zeros[:1], size, size,
    )  # fmt: skip
    with torch.no_grad():
        return model.logits(batch)


@pytest.mark.parametrize("special", [MASKED, ENDLESS], ids=["with-end", "one-token-for-both"])
def test_bits_per_byte_is_the_sum_over_documents(tmp_path: Path, special: SpecialIds) -> None:
    corpus = write_rows(tmp_path / "s", ROWS, special=special)
    model = make_model(special, causal=True)
    found = score(model, corpus)
    assert found.objective == "causal"
    for code in ("eng_Latn", "yor_Latn"):
        everything = np.arange(ROWS[code][1])
        used = corpus.row_used(code, "held-out", everything)
        nats, text, count = 0.0, 0.0, 0
        for row, size in zip(corpus.read_rows(code, "held-out", everything), used, strict=True):
            for document in split_documents(row.tolist(), int(size), special.begin):
                costs = -F.log_softmax(lone_logits(model, document).double(), 1)
                for place, target in enumerate(document[1:]):
                    nats += costs[place, target].item()
                    count += 1
                    if target != special.end:
                        text += costs[place, target].item()
        got = of(found)[code]
        size_of_text = int(corpus.row_bytes(code, "held-out", everything).sum())
        assert (got.rows, got.bytes, got.predicted) == (len(everything), size_of_text, count)
        assert got.loss == pytest.approx(nats / count, rel=1e-5)
        assert got.bits_per_byte == pytest.approx(text / math.log(2) / size_of_text, rel=1e-5)


def test_a_language_without_held_out_rows_has_no_figures(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", ROWS)
    found = score(make_model(MASKED, causal=True), corpus)
    nothing = of(found)["fra_Latn"]
    assert (nothing.rows, nothing.bytes, nothing.predicted) == (0, 0, 0)
    assert nothing.loss is None
    assert nothing.bits_per_byte is None
    both = [of(found)[code].bits_per_byte for code in ("eng_Latn", "yor_Latn")]
    assert found.bits_per_byte == pytest.approx(sum(x for x in both if x is not None) / 2)
    document = found.to_json()
    assert document["tail_bits_per_byte"] == both[1]  # Yoruba is the one tail language here
    assert "mean over languages" in str(document["aggregation"])


def test_no_held_out_rows_at_all(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", {"eng_Latn": (3, 0)})
    found = score(make_model(MASKED, causal=False), corpus)
    assert (found.loss, found.bits_per_byte) == (None, None)


def test_masked_models_have_a_loss_and_no_bits_per_byte(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", ROWS)
    model = make_model(MASKED, causal=False)
    found = score(model, corpus)
    assert found.objective == "masked"
    assert "same vocabulary" in str(found.to_json()["comparable"])
    for code in ("eng_Latn", "yor_Latn"):
        got = of(found)[code]
        everything = np.arange(ROWS[code][1])
        open_places = ~np.isin(corpus.read_rows(code, "held-out", everything), MASKED.reserved)
        wanted = np.minimum(open_places.sum(axis=1), round(0.15 * corpus.length)).sum()
        assert got.predicted == wanted
        assert got.bits_per_byte is None
    # It has learnt nothing: an even guess costs log 50, a bad one more.
    assert found.loss is not None
    assert found.loss > math.log(45)


@pytest.mark.parametrize("causal", [False, True], ids=["masked", "causal"])
def test_the_batch_size_changes_nothing(tmp_path: Path, causal: bool) -> None:
    corpus = write_rows(tmp_path / "s", ROWS)
    model = make_model(MASKED, causal=causal)
    first = score(model, corpus, micro_rows=1)
    for micro_rows in (4, 12, 50):
        again = score(model, corpus, micro_rows=micro_rows)
        for one, other in zip(first.languages, again.languages, strict=True):
            assert (one.rows, one.bytes, one.predicted) == (other.rows, other.bytes, other.predicted)
            assert (one.loss is None) == (other.loss is None)
            assert (one.loss or 0.0) == pytest.approx(other.loss or 0.0, rel=1e-6)


def test_fewer_rows_are_spread_over_all(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", {"eng_Latn": (1, 9)})
    model = make_model(MASKED, causal=True)
    (got,) = score(model, corpus, rows=3).languages
    picked = np.array([0, 3, 6])
    assert got.rows == 3
    assert got.bytes == corpus.row_bytes("eng_Latn", "held-out", picked).sum()


def test_it_stops_between_batches(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", ROWS)
    model = make_model(MASKED, causal=True)
    calls: list[int] = []

    def stop_at_the_third() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(
            model, corpus, causal=True, rows=99, micro_rows=3, device="cpu", data=DataSettings(),
            before_batch=stop_at_the_third,
        )  # fmt: skip
    assert calls == [0, 1, 2]


def test_no_gradient_is_left(tmp_path: Path) -> None:
    model = make_model(MASKED, causal=True)
    score(model, write_rows(tmp_path / "s", ROWS))
    assert all(parameter.grad is None for parameter in model.parameters())


def _score_as_rank(rank: int, folder: str, port_file: str, answers: object) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{port_file}", rank=rank, world_size=2)
    found = score(make_model(MASKED, causal=True), PreparedCorpus.load(folder))
    answers.put((rank, found.to_json()))  # type: ignore[attr-defined]
    dist.destroy_process_group()


@pytest.mark.skipif(os.name != "posix", reason="gloo over a file")
def test_two_ranks_find_what_one_finds(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", ROWS)
    alone = score(make_model(MASKED, causal=True), corpus).to_json()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    ranks = [
        context.Process(
            target=_score_as_rank, args=(rank, str(tmp_path / "s"), str(tmp_path / "port"), answers)
        )
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    found = [answers.get(timeout=120) for _ in ranks]
    for process in ranks:
        process.join()
    for _, document in found:
        assert document["bits_per_byte"] == pytest.approx(alone["bits_per_byte"], rel=1e-9)
        assert {
            code: (row["rows"], row["bytes"], row["predicted"]) for code, row in document["languages"].items()
        } == {
            code: (row["rows"], row["bytes"], row["predicted"])
            for code, row in alone["languages"].items()  # type: ignore[attr-defined]
        }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("causal", [False, True], ids=["masked", "causal"])
def test_a_gpu_finds_what_the_cpu_finds(tmp_path: Path, causal: bool) -> None:
    corpus = write_rows(tmp_path / "s", ROWS)
    model = make_model(MASKED, causal=causal)
    expected = score(model, corpus)
    found = evaluate(
        model.to("cuda"), corpus, causal=causal, rows=99, micro_rows=3, device="cuda",
        data=DataSettings(),
    )  # fmt: skip
    for one, other in zip(found.languages, expected.languages, strict=True):
        assert one.predicted == other.predicted
        assert (one.loss or 0.0) == pytest.approx(other.loss or 0.0, rel=1e-3)


def test_a_lost_byte_costs_eight_bits(tmp_path: Path) -> None:
    """The same rows, of which the index says that some text has no token."""
    corpus = write_rows(tmp_path / "s", ROWS)
    model = make_model(MASKED, causal=True)
    before = of(score(model, corpus))["yor_Latn"]
    path = tmp_path / "s" / "shards.json"
    index = json.loads(path.read_text())
    index["languages"]["yor_Latn"]["held-out"]["lost"] = 31
    write_sealed(path, index)
    corpus = PreparedCorpus.load(tmp_path / "s")
    found = score(model, corpus)
    after = of(found)["yor_Latn"]
    assert (before.lost, after.lost) == (0, 31)
    assert before.bits_per_byte is not None
    assert after.bits_per_byte == pytest.approx(before.bits_per_byte + 8 * 31 / before.bytes)
    assert after.loss == before.loss
    assert (found.to_json()["lost"], found.to_json()["bytes"]) == (31, sum(of(found)[c].bytes for c in ROWS))
    half = of(score(model, corpus, rows=2))["yor_Latn"]
    assert half.lost == round(31 * half.bytes / after.bytes)


def test_the_same_text_is_said_only_where_all_of_it_was_scored(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", ROWS)
    other = write_rows(
        tmp_path / "t", ROWS, length=16, seed=3
    )  # the same text by its fingerprint, cut otherwise
    model = make_model(MASKED, causal=True)
    whole, part = score(model, corpus), score(model, corpus, rows=5)
    assert "on the same text" in whole.comparable
    assert whole.to_json()["text"] == score(model, other).to_json()["text"] == corpus.held_out_text
    assert "same text" not in part.comparable
    assert "10 of 12 held-out rows were scored" in part.comparable
    assert "log.evaluate_rows=7" in part.comparable
    assert part.to_json()["text"] is None
    masked = score(make_model(MASKED, causal=False), corpus)
    assert "same text" not in masked.comparable
