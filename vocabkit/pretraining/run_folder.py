"""The folder of a run: what is in it, made and read. What makes two runs the same is `run_identity`'s.

config.toml manifest.json     as every output folder
plan.json                     languages, epochs, steps, estimates
model.json                    the model's shape, and the encoding its data was prepared with
run.json                      what must be the same for the run to go on
tokenizer/                    a copy, so that a model is exported from this folder alone
new-rows.npy                  ids that an extension added, where the run starts from one
log.jsonl checkpoints/        see `run_log` and `checkpointing`
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.core.config import dump_toml
from vocabkit.core.errors import OutputError
from vocabkit.core.folder_lock import hold_folder
from vocabkit.core.provenance import check_output, output_folder, write_manifest
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.model_config import ModelConfig
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import RunConfig
from vocabkit.pretraining.run_identity import Identity, list_changes

__all__ = [
    "RunModel", "check_identity", "create_run",  "is_run", "read_new_rows", "read_origin",
    "read_run_model", "write_config",
]  # fmt: skip

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunModel:
    """What the model of a run is, and how its text was cut.

    `encoding` is `routed` where each language of `languages` was cut with its own view of the vocabulary;
    `tokenizer` is the folder of the whole one. `step` is that of the checkpoint it was read from, if any.
    """

    config: ModelConfig
    encoding: str
    languages: tuple[str, ...]
    length: int
    tokenizer: Path
    tokenizer_fingerprint: str
    step: int | None = None

    def at_step(self, step: int) -> RunModel:
        """The same, read from a step's checkpoint."""
        return replace(self, step=step)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / "run.json").is_file()


def check_identity(run: Path, wanted: Identity, *, checkpoint_given: bool) -> None:
    """Raise PretrainingError naming what changed, unless the run in a folder is the one asked for.

    A run needs its checkpoint only to begin: one that goes on may leave it out.
    """
    held = _read(run / "run.json")
    before = Identity(held["config"], held["tokenizer"], held["data"], held["checkpoint"])
    changed = list_changes(before, wanted, with_checkpoint=checkpoint_given)
    if changed:
        raise PretrainingError(
            f"{run}: holds another run: {'; '.join(changed)}",
            "choose another -o, put the configuration back, or pass --force to start this run anew",
        )


def read_origin(run: Path) -> str | None:
    """The fingerprint of the checkpoint that a run started from; None for a run from scratch."""
    found: str | None = _read(run / "run.json")["checkpoint"]
    return found


def create_run(
    run: Path,
    config: RunConfig,
    model: ModelConfig,
    corpus: PreparedCorpus,
    identity: Identity,
    plan: Mapping[str, Any],
    *,
    new_rows: npt.NDArray[np.int64] | None,
    force: bool,
) -> None:
    """Lay out a new run, whole or not at all. With `force` one that is there is replaced.

    Raises OutputError where the folder holds something else.
    """
    if force and run.is_dir() and any(run.iterdir()) and not is_run(run):
        raise OutputError(f"{run}: is not the folder of a run", "choose another -o")
    check_output(run, force=force)
    if is_run(run):
        with hold_folder(run, run, "training"):  # not from under another process
            pass
    with output_folder(run, force=force) as folder:
        write_config(folder, config)
        _write(folder / "plan.json", plan)
        _write(
            folder / "model.json",
            {
                "schema": SCHEMA,
                "model": asdict(model),
                "encoding": corpus.encoding,
                "languages": list(corpus.languages),
                "length": corpus.length,
                "tokenizer": corpus.tokenizer_fingerprint,
            },
        )
        _write(folder / "run.json", {"schema": SCHEMA, **asdict(identity)})
        if new_rows is not None:
            np.save(folder / "new-rows.npy", new_rows)
        shutil.copytree(corpus.tokenizer_folder, folder / "tokenizer")
        inputs = {key: value for key, value in identity.fingerprints().items() if value is not None}
        write_manifest(
            folder, config=config.model_dump(mode="json"), inputs=inputs, seed=config.training.seed
        )


def write_config(run: Path, config: RunConfig) -> None:
    """Write the resolved configuration, over the one before where free keys changed."""
    text = dump_toml(config, "The resolved configuration of this run.")
    temporary = run / ".config.toml.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(run / "config.toml")


def read_run_model(run: Path) -> RunModel:
    """What the model of a run is. Raises PretrainingError where there is no run."""
    if not is_run(run):
        raise PretrainingError(
            f"{run}: not the folder of a run", "name a folder written by `vocabkit pretrain`"
        )
    held = _read(run / "model.json")
    return RunModel(
        ModelConfig(**held["model"]),
        held["encoding"],
        tuple(held["languages"]),
        held["length"],
        run / "tokenizer",
        held["tokenizer"],
    )


def read_new_rows(run: Path) -> npt.NDArray[np.int64] | None:
    """The ids that the extension added which the run started from; None where it started from none."""
    path = run / "new-rows.npy"
    if not path.is_file():
        return None
    found: npt.NDArray[np.int64] = np.load(path)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PretrainingError(f"{path}: cannot be read: {error}", "start the run anew") from error
    if data.get("schema") != SCHEMA:
        raise PretrainingError(f"{path}: schema {data.get('schema')}: this version reads {SCHEMA}")
    return data


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
