"""The hidden folder beside an output where finished shards of an interrupted run wait, held by one process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocabkit.core.folder_lock import hold_folder
from vocabkit.pretraining.row_shards import FINISHED

__all__ = ["open_work"]


@contextmanager
def open_work(target: Path, plan: str) -> Iterator[Path]:
    """Yield the work folder of an output; what a run of the same `plan` left is in it, of another nothing.

    When the block fails it stays for the next run, unless no shard in it is finished; who ends well removes it.
    Raises OutputError when another process works on the same output.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".{target.name}.preparing"
    work.mkdir(exist_ok=True)
    with hold_folder(work, target, "preparing"):
        marker = work / "plan.json"
        if not marker.is_file() or marker.read_text(encoding="utf-8") != plan:
            for item in work.iterdir():
                shutil.rmtree(item) if item.is_dir() else item.unlink()
            marker.write_text(plan, encoding="utf-8")
        try:
            yield work
        except Exception:
            if not any(work.rglob(FINISHED)):
                shutil.rmtree(work, ignore_errors=True)
            raise
