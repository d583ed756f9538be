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

import hashlib
import importlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vocabkit.core.arrays import Int64Array
from vocabkit.core.config import dump_toml
from vocabkit.core.errors import MissingExtra, OutputError, PretrainingError
from vocabkit.core.folders import check_output, hold_folder, output_folder, write_manifest
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import LogSettings, ModelConfig, RunConfig

# --- Run identity ----------------------------------------------------------------------------------
# What makes a run this run: whether a request is for the same one is decided by it.
#
# Folders are `run_folder`'s; here are only digests and the comparison.


FREE = (
    "log.", "save.", "languages.allow_epochs", "languages.warn_epochs", "training.micro_rows",
    "training.compile", "training.head_rows", "training.fused_softmax",
    "training.activation_checkpointing", "training.deterministic",
)  # fmt: skip
"""Keys that may change between the processes of one run: they move no result, or by rounding alone."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a run this run: the keys of its configuration that change results, and what it reads.

    The length of the run is among the keys: the order of samples and the rate of every step follow from it.
    `checkpoint` is None for a run from scratch.
    """

    config: Mapping[str, Any]
    tokenizer: str
    data: str
    checkpoint: str | None

    def fingerprints(self) -> dict[str, str | None]:
        """A digest of each part."""
        text = json.dumps(self.config, sort_keys=True, ensure_ascii=False)
        digest = hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
        return {
            "config": digest,
            "tokenizer": self.tokenizer,
            "data": self.data,
            "checkpoint": self.checkpoint,
        }


def identify_run(config: RunConfig, corpus: PreparedCorpus, checkpoint: Path | None) -> Identity:
    """The identity of a run as asked for. Raises PretrainingError where the checkpoint is no folder of one."""
    keys = {
        name: value
        for name, value in _flatten_identity(config.model_dump(mode="json", exclude_none=True))
        if not name.startswith(FREE)
    }
    made_from = None if checkpoint is None else _fingerprint_checkpoint(checkpoint)
    return Identity(keys, corpus.tokenizer_fingerprint, corpus.fingerprint, made_from)


def _list_changes(before: Identity, after: Identity, *, with_checkpoint: bool) -> list[str]:
    """What is not the same, in words; the checkpoint to start from is looked at where asked for."""
    changed = []
    one, two = before.config, after.config
    for name in sorted(one.keys() | two.keys()):
        if one.get(name) != two.get(name):
            changed.append(f"{name} was {one.get(name)!r}, now {two.get(name)!r}")
    if before.tokenizer != after.tokenizer:
        changed.append("the data is prepared with another tokenizer")
    elif before.data != after.data:
        changed.append("the prepared data is another")
    if with_checkpoint and before.checkpoint != after.checkpoint:
        changed.append("the checkpoint to start from is another")
    return changed


def _fingerprint_checkpoint(folder: Path) -> str:
    """A digest of what a checkpoint says of itself, and of the sizes of its tensors' files.

    Hashing tens of gigabytes at every start would cost minutes.
    """
    if not (folder / "config.json").is_file():
        raise PretrainingError(
            f"{folder}: no config.json", "name a checkpoint folder, as `vocabkit extend` writes it"
        )
    digest = hashlib.blake2b(digest_size=20)
    receipt = folder / "extension" / "receipt.json"
    for path in (folder / "config.json", folder / "model.safetensors.index.json", receipt):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = file.read(8)
            header += file.read(min(int.from_bytes(header, "little"), 1 << 26))
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + header)
    return digest.hexdigest()


def _flatten_identity(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += _flatten_identity(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", list(value) if isinstance(value, Sequence) and
                          not isinstance(value, str) else value))  # fmt: skip
    return found


# --- Run log ---------------------------------------------------------------------------------------
# `log.jsonl`: one object a line, and the same figures to TensorBoard or Weights & Biases where asked.
#
# A line has `kind` (`started`, `resumed`, `step`, `evaluation`, `saved`, `stopped`) and `step`, the number of
# steps done. A run that goes on from step N forgets the lines after N first: those steps are made again.


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
    return any((line.get("kind"), line.get("step")) == wanted for line in _read_log(run / LOG))


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
    kept = [line for line in _read_log(path) if line.get("step", step + 1) <= step]
    temporary = path.with_name(f".{path.name}.tmp")
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _read_log(path: Path) -> list[dict[str, Any]]:
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


# --- Run result ------------------------------------------------------------------------------------
# How a run ended: `result.json`, from which a finished run answers without training again.


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


# --- Run folder ------------------------------------------------------------------------------------


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
    changed = _list_changes(before, wanted, with_checkpoint=checkpoint_given)
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
    new_rows: Int64Array | None,
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


def read_new_rows(run: Path) -> Int64Array | None:
    """The ids that the extension added which the run started from; None where it started from none."""
    path = run / "new-rows.npy"
    if not path.is_file():
        return None
    found: Int64Array = np.load(path)
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
