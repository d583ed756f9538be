"""How a run ended: `result.json`, from which a finished run answers without training again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["RunResult", "read_result", "write_result"]

RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    `stopped`: `done`; `signal` (saved, and goes on when started again); `nan` (ten steps in a row were not
    finite; `message` says what to do). `loss` is the moving average of nats per prediction over about the last
    50 steps. `evaluation` is the last evaluation's `to_json()`, `dead` the group of all pieces of the
    dead-vocabulary report; None where there was none. `skipped` counts steps that were not finite.
    """

    folder: Path
    stopped: Literal["done", "signal", "nan"]
    steps: int
    samples: int
    loss: float | None
    skipped: int
    seconds: float
    evaluation: Mapping[str, Any] | None = None
    dead: Mapping[str, Any] | None = None
    signal: int | None = None
    message: str | None = None

    @property
    def exit_code(self) -> int:
        """0 when done, 1 when stopped by what is not finite, 128 + the signal's number when stopped by one."""
        if self.stopped == "signal":
            return 128 + (self.signal or 0)
        return 0 if self.stopped == "done" else 1


def write_result(result: RunResult) -> None:
    """Write `result.json` into the run's folder."""
    data = {name: value for name, value in asdict(result).items() if name != "folder"}
    temporary = result.folder / f".{RESULT}.tmp"
    temporary.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    temporary.replace(result.folder / RESULT)


def read_result(run: Path) -> RunResult | None:
    """How a run ended, None where it has not."""
    path = run / RESULT
    if not path.is_file():
        return None
    return RunResult(folder=run, **json.loads(path.read_text(encoding="utf-8")))
