"""`log.jsonl`: one object a line, and the same figures to TensorBoard or Weights & Biases where asked.

A line has `kind` (`started`, `resumed`, `step`, `evaluation`, `saved`, `stopped`) and `step`, the number of
steps done. A run that goes on from step N forgets the lines after N first: those steps are made again.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vocabkit.core.errors import MissingExtra
from vocabkit.pretraining.run_config import LogSettings

__all__ = ["LOG", "RunLog", "check_sinks", "has_line"]

LOG = "log.jsonl"


def check_sinks(settings: LogSettings) -> None:
    """Raise MissingExtra when the configuration asks for a place to log to that is not installed."""
    if settings.tensorboard:
        _import("torch.utils.tensorboard", "log.tensorboard", "tensorboard")
    if settings.wandb:
        _import("wandb", "log.wandb", "wandb")


def has_line(run: Path, kind: str, step: int) -> bool:
    """Whether the log of a run has a line of a kind after a step."""
    wanted = (kind, step)
    return any((line.get("kind"), line.get("step")) == wanted for line in _read(run / LOG))


class RunLog:
    """The log of a run, open for more lines. Every line is on disk when `write` returns to the caller."""

    def __init__(
        self, run: Path, settings: LogSettings, config: Mapping[str, Any], step: int
    ) -> None:
        path = run / LOG
        _cut(path, step)
        self._file = path.open("a", encoding="utf-8")
        self._board: Any = None
        self._wandb: Any = None
        if settings.tensorboard:
            module = _import("torch.utils.tensorboard", "log.tensorboard", "tensorboard")
            # It forgets what was drawn from `purge_step` on; the line of `step` itself stays here too.
            self._board = module.SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        if settings.wandb:
            module = _import("wandb", "log.wandb", "wandb")
            self._wandb = module.init(
                id=_wandb_id(run), dir=str(run), name=run.name, config=dict(config), resume="allow"
            )

    def write(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """Write a line; numbers in it, however deep, go to the other places by dotted names too."""
        line = json.dumps({"kind": kind, "step": step, **figures}, ensure_ascii=False)
        self._file.write(line + "\n")
        self._file.flush()
        if self._board is None and self._wandb is None:
            return
        numbers = dict(_flatten(kind, figures))
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name.replace(".", "/", 1), value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        """Close the file and the other places."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _wandb_id(run: Path) -> str:
    """The same name for all processes of a run, so that they draw one line."""
    return hashlib.blake2b(str(run.resolve()).encode(), digest_size=8).hexdigest()


def _cut(path: Path, step: int) -> None:
    """Leave the lines up to a step; one that a killed process left unfinished goes too."""
    if not path.is_file():
        return
    kept = [line for line in _read(path) if line.get("step", step + 1) <= step]
    temporary = path.with_name(f".{path.name}.tmp")
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _read(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole."""
    found = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append(record)
    return found


def _flatten(name: str, value: Any) -> list[tuple[str, float]]:
    if isinstance(value, Mapping):
        return [found for key, below in value.items() for found in _flatten(f"{name}.{key}", below)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [(name, float(value))]
    return []


def _import(module: str, key: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{key} = true: {package} is not installed", f"pip install {package}"
        ) from error
