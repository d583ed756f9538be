"""Figures of a run against sums made one by one, and the log they are written to."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vocabkit.core.errors import MissingExtra
from vocabkit.pretraining.batches import Batch
from vocabkit.pretraining.distributed import World
from vocabkit.pretraining.run_config import LogSettings
from vocabkit.pretraining.run_folder import RunLog, check_sinks
from vocabkit.pretraining.trainer import _Meter, _Seen

ALONE = World(0, 1, torch.device("cpu"))
GOOD, BAD = torch.tensor(0.0), torch.tensor(1.0)
NAN = torch.tensor(float("nan"))


def make_batch(ids: list[int], targets: list[int], weights: list[float], languages: list[int]) -> Batch:
    rows = torch.tensor(languages, dtype=torch.int32)
    none = torch.zeros(1, dtype=torch.int32)
    return Batch(
        ids=torch.tensor(ids, dtype=torch.int32), documents=none, positions=none, boundaries=none,
        chosen=torch.zeros(len(targets), dtype=torch.int64), targets=torch.tensor(targets),
        weights=torch.tensor(weights), languages=rows, row_languages=rows,
        row_bytes=torch.full((len(languages),), 7, dtype=torch.int32), length=1, tokens=5,
    )  # fmt: skip


def test_language_losses_are_nats_over_predictions_that_count() -> None:
    meter = _Meter(3, ALONE)
    batch = make_batch([1], [1, 2, 3, 4], [1.0, 1.0, 0.0, 1.0], [0, 1, 1, 0])
    nats = torch.tensor([2.0, 5.0, 99.0, float("nan")])
    meter.add_batch(batch, nats)
    meter.add_batch(batch, nats + 1.0)
    meter.add_step(torch.tensor(4.0), torch.tensor(0.5), GOOD)
    found = meter.read()
    assert found.language_losses == (2.5, 5.5, None)
    assert (found.tokens, found.bytes, found.steps) == (10, 56, 1)
    assert (found.loss, found.gradient_norm) == (4.0, 0.5)
    assert found.smoothed == pytest.approx(4.0)
    again = meter.read()
    assert (again.loss, again.steps, again.tokens) == (None, 0, 0)
    assert again.language_losses == (None, None, None)


def test_bad_steps_are_counted_and_leave_no_trace_in_means() -> None:
    meter = _Meter(1, ALONE)
    for loss, skip in ((2.0, GOOD), (None, BAD), (None, BAD), (4.0, GOOD), (None, BAD)):
        meter.add_step(NAN if loss is None else torch.tensor(loss), NAN if loss is None else BAD, skip)
    found = meter.read()
    assert found.loss == 3.0
    assert found.smoothed == pytest.approx((0.98 * 2.0 + 4.0) / 1.98)
    assert (found.skipped, found.in_a_row, found.longest) == (3, 1, 2)
    meter.add_step(NAN, NAN, BAD)
    found = meter.read()
    # The series goes on over a reading.
    assert (found.skipped, found.in_a_row, found.longest, found.loss) == (4, 2, 2, None)


def test_seen_ids_are_those_of_inputs_and_of_predictions_that_count() -> None:
    seen = _Seen(8, ALONE, causal=True)
    seen.add_batch(make_batch([1, 5, 5], [2, 3], [1.0, 0.0], [0, 0]))
    seen.add_batch(make_batch([7], [6, 2], [1.0, 1.0], [0, 0]))
    found = seen.arrays()
    assert np.flatnonzero(found["input"]).tolist() == [1, 5, 7]
    assert np.flatnonzero(found["target"]).tolist() == [2, 6]
    other = _Seen(8, ALONE, causal=True)
    other.load(found)
    other.add_batch(make_batch([0], [0], [1.0], [0]))
    assert np.flatnonzero(other.arrays()["input"]).tolist() == [0, 1, 5, 7]


def test_a_piece_drawn_by_masking_was_not_in_the_text() -> None:
    # Places 1 and 2 are predicted: 9 was drawn there for 3, and 4 stayed; 0 fills up what does not count.
    batch = make_batch([0, 9, 4, 5], [3, 4, 0], [1.0, 1.0, 0.0], [0, 0, 0])
    batch = replace(batch, chosen=torch.tensor([1, 2, 0]))
    seen = _Seen(12, ALONE, causal=False)
    seen.add_batch(batch)
    found = seen.arrays()
    assert np.flatnonzero(found["input"]).tolist() == [0, 4, 5]
    assert np.flatnonzero(found["target"]).tolist() == [3, 4]


def test_a_log_goes_on_from_a_step_and_forgets_what_came_after(tmp_path: Path) -> None:
    log = RunLog(tmp_path, LogSettings(), {}, 0)
    for step in (1, 2, 3):
        log.write("step", step, {"loss": None, "languages": {"eng_Latn": 1.5}})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "step", "ste')
    log = RunLog(tmp_path, LogSettings(), {}, 2)
    log.write("saved", 2, {})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("step", 1), ("step", 2), ("saved", 2),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # tensorboard's own
def test_tensorboard_has_the_lines_that_the_log_has(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    module: Any = import_module("tensorboard.backend.event_processing.event_accumulator")
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        log = RunLog(tmp_path, LogSettings(tensorboard=True), {}, start)
        for step in steps:
            log.write("step", step, {"loss": start + step, "name": "x", "languages": {"a": 1.5}})
        log.close()
    found = module.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    lines = [(event.step, event.value) for event in found.Scalars("step/loss")]
    assert lines == [(1, 1.0), (2, 2.0), (3, 5.0), (4, 6.0)]
    assert "step/languages.a" in found.Tags()["scalars"]


def test_places_to_log_to_that_are_absent_are_named() -> None:
    check_sinks(LogSettings())
    for key in ("tensorboard", "wandb"):
        try:
            __import__(key)
        except ImportError:
            with pytest.raises(MissingExtra, match=f"log.{key} = true: {key} is not installed"):
                check_sinks(LogSettings.model_validate({key: True}))
