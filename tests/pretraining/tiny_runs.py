"""Runs of seconds: two languages of random ids, a model of two layers, and ways to interrupt them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.pretraining.prepared_rows import MASKED, write_rows
from vocabkit.core.config import validate
from vocabkit.core.progress import Silent
from vocabkit.pretraining.checkpointing import find_checkpoint
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import RunConfig
from vocabkit.pretraining.run_folder import Run
from vocabkit.pretraining.run_start import pretrain
from vocabkit.pretraining.transformers_format import write_hf

STEPS = 8


def make_data(folder: Path, vocabulary: int = 100, seed: int = 0) -> PreparedCorpus:
    rows = {"eng_Latn": (60, 3), "yor_Latn": (30, 2)}
    return write_rows(folder, rows, length=16, vocabulary=vocabulary, seed=seed)


def make_config(**tables: dict[str, Any] | list[dict[str, Any]]) -> RunConfig:
    """A tiny configuration, with keys of its tables laid over it."""
    base: dict[str, Any] = {
        "model": {
            "layout": "xlmr", "layers": 2, "width": 16, "heads": 2, "feed_forward": 32,
            "initial_deviation": 0.2,
        },
        "languages": {"allow_epochs": 1000.0},
        "training": {
            "steps": STEPS, "batch_rows": 4, "micro_rows": 2, "precision": "fp32", "compile": False,
        },
        "optimizer": {"rate": 1e-2, "warmup": 0.25},
        "log": {"every": 1, "evaluate_every": 0, "evaluate_rows": 2},
        "save": {"every": 1000},
    }  # fmt: skip
    for name, keys in tables.items():
        base[name] = {**base.get(name, {}), **keys} if isinstance(keys, dict) else keys
    return validate(RunConfig, base, "test")


class Interrupt(Silent):
    """Sends this process a signal when so many steps are done."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.left, self.number = step, number

    def advance(self, amount: int) -> None:
        self.left -= amount
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def train(config: RunConfig, data: Path, run: Path, **options: Any) -> Run:
    torch.set_num_threads(1)
    trained = pretrain(config, data, run, device="cpu", **options)
    assert isinstance(trained, Run)
    return trained


def make_checkpoint(folder: Path, keys: dict[str, Any], kept: npt.NDArray[np.int64] | None = None) -> Path:
    """A model of the tiny shape as `extend` would leave it, with a receipt where `kept` says what is new."""
    settings = make_config(model=keys).model
    assert settings is not None
    write_hf(Model(settings.shape(100, MASKED, 16), seed=1), folder, None)
    if kept is not None:
        (folder / "extension").mkdir()
        (folder / "extension" / "receipt.json").write_text('{"schema": 1}')
        save_file({"kept": kept.astype(np.int64)}, folder / "extension" / "rows.safetensors")
    return folder


def read_log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def tensors(run: Path, step: int | None = None) -> dict[str, torch.Tensor]:
    """Everything in a run's checkpoint, whole, whatever it was written on."""
    parts: dict[str, list[tuple[int, torch.Tensor]]] = {}
    for path in find_checkpoint(run, step).glob("rank-*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name, first in file.metadata().items():
                parts.setdefault(name, []).append((int(first), file.get_tensor(name)))
    found = {}
    for name, listed in parts.items():
        held = [part for _, part in sorted(listed, key=lambda item: item[0])]
        found[name] = torch.cat(held) if held[0].ndim else held[0]
    return found


def run_ranks(world: int, target: Callable[..., None], *arguments: Any) -> None:
    """Call in `world` processes as torchrun would; an error in one is an error here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=_enter, args=(rank, world, port, target, arguments)) for rank in range(world)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in ranks] == [0] * world


def _enter(rank: int, world: int, port: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    # One group for all the runs of a test: starting processes is what takes long.
    torch.distributed.init_process_group("gloo")
    target(*arguments)
    torch.distributed.destroy_process_group()
