"""Batches made ahead: the same ones, in order; errors reach the loop; nothing is left running."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pretraining.prepared_rows import write_rows
from vocabkit.core.errors import PretrainingError
from vocabkit.pretraining.batches import BatchMaker, Prefetcher
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import DataSettings, TrainingSettings


@pytest.fixture
def maker(tmp_path: Path) -> BatchMaker:
    corpus = write_rows(tmp_path / "s", {"eng_Latn": (20, 1), "yor_Latn": (5, 1)})
    training = TrainingSettings(batch_rows=6, micro_rows=4)
    return BatchMaker(corpus, np.array([0.7, 0.3]), DataSettings(), training, causal=False)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_steps_come_whole_and_in_order(maker: BatchMaker, depth: int) -> None:
    with Prefetcher(maker, 3, 9, depth=depth) as steps:
        found = list(steps)
        assert steps.waited > 0.0
    assert [step.number for step in found] == list(range(3, 9))
    for step in found:
        assert len(step.batches) == maker.micro_batches == 2
        assert step.weight == maker.global_weight(step.number)
        for micro, batch in enumerate(step.batches):
            expected = maker.make(step.number, micro)
            assert torch.equal(batch.ids, expected.ids)
            assert torch.equal(batch.chosen, expected.chosen)
    assert not threads()


def test_leaving_early_ends_the_thread(maker: BatchMaker) -> None:
    with Prefetcher(maker, 0, 10**9) as steps:
        for step in steps:
            if step.number == 2:
                break
        assert threads()
    assert not threads()
    steps.close()


def test_an_error_reaches_the_loop_at_its_step(maker: BatchMaker) -> None:
    # Ids beyond the vocabulary, in a row that step 1 is the first to draw.
    shares, training = np.array([1.0, 0.0]), TrainingSettings(batch_rows=5, micro_rows=5)
    row = int(maker_of(maker, shares, training).order.locate(np.array([7]))[1][0])
    path = maker.corpus.folder / "eng_Latn" / "00000.train.npy"
    values = np.load(path)
    values[row] = 999
    np.save(path, values)
    with Prefetcher(maker_of(maker, shares, training), 0, 4) as prefetcher:
        steps = iter(prefetcher)
        assert next(steps).number == 0
        with pytest.raises(PretrainingError, match="ids beyond 0–49"):
            next(steps)
    assert not threads()


def maker_of(
    maker: BatchMaker, shares: np.ndarray[tuple[int], np.dtype[np.float64]], training: TrainingSettings
) -> BatchMaker:
    corpus = PreparedCorpus.load(maker.corpus.folder)
    return BatchMaker(corpus, shares, DataSettings(), training, causal=False)


def test_a_closed_one_refuses(maker: BatchMaker) -> None:
    steps = Prefetcher(maker, 0, 5)
    steps.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(iter(steps))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_arrive_on_the_device(maker: BatchMaker) -> None:
    with Prefetcher(maker, 0, 2, "cuda") as steps:
        for step in steps:
            assert step.batches[0].ids.device.type == "cuda"
            assert torch.equal(step.batches[0].ids.cpu(), maker.make(step.number, 0).ids)
