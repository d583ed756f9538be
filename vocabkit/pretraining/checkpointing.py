"""Checkpoints of a run: whole or not there, on any number of ranks, from the newest one on.

`checkpoints/step-00000100/` holds the model's and optimiser's tensors as torch's distributed checkpoint writes
them (each rank its shards; read on any number of ranks), `state.json` (where the run stands) and
`seen.safetensors` (which ids it saw). It is written as `step-00000100.tmp` and renamed when every byte is on
disk, so a process killed while saving leaves the checkpoint before. What a run is made of stands beside
(see `run_folder`); export to transformers is elsewhere.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from vocabkit.checkpoints.receipt import grow_rows, read_kept
from vocabkit.core.arrays import BoolArray
from vocabkit.core.errors import PretrainingError
from vocabkit.core.folders import name_full_disk, write_json
from vocabkit.pretraining.distributed import World, fill_part
from vocabkit.pretraining.model import VOCABULARY_PARAMETERS, Model
from vocabkit.pretraining.run_config import ModelConfig
from vocabkit.pretraining.run_folder import SCHEMA, Run, read_record
from vocabkit.pretraining.trainer import Optimizer
from vocabkit.pretraining.transformers_format import name_tensors, split_parameter

_CHECKPOINTS = "checkpoints"
_STEP = re.compile(r"step-(\d+)")
_STATE, _SEEN = "state.json", "seen.safetensors"


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands: all it needs, beside its tensors, to go on.

    `step` is how many of `steps` are done; `samples` the rows drawn so far, and the number of the next.
    `rows`, `tokens` (special ones included, padding not) and `bytes` (of original text) are what each language
    has given. `seconds` is the time spent training, over all the processes one after another.
    """

    step: int
    steps: int
    samples: int
    world: int
    rows: Mapping[str, int]
    tokens: Mapping[str, int]
    bytes: Mapping[str, int]
    seconds: float
    fingerprints: Mapping[str, str | None]
    schema: int = SCHEMA


def list_checkpoints(run: Path) -> list[int]:
    """Return the steps of a run's complete checkpoints, ascending."""
    folder = run / _CHECKPOINTS
    if not folder.is_dir():
        return []
    matches = (_STEP.fullmatch(path.name) for path in folder.iterdir())
    steps = sorted(int(match[1]) for match in matches if match)
    return [step for step in steps if _is_complete(_folder(run, step))]


def find_checkpoint(run: Path, step: int | None = None) -> Path:
    """Return the folder of the newest complete checkpoint, or of a step's; PretrainingError where none is."""
    steps = list_checkpoints(run)
    if not steps:
        raise PretrainingError(f"{run}: no complete checkpoint", "vocabkit pretrain PRESET --data DIR -o RUN")
    if step is not None and step not in steps:
        have = ", ".join(str(found) for found in steps)
        raise PretrainingError(f"{run}: no checkpoint of step {step}", f"it has those of {have}")
    return _folder(run, steps[-1] if step is None else step)


def save_checkpoint(
    run: Path,
    tensors: Mapping[str, Tensor],
    state: RunState,
    seen: Mapping[str, BoolArray],
    world: World,
    *,
    keep: int,
) -> Path:
    """Write a checkpoint; every rank calls. Older ones beyond `keep` go once it is complete.

    A step that has one already is left as it is. Raises OutputError on a full disk, PretrainingError where
    it cannot be written for another reason.
    """
    target = _folder(run, state.step)
    temporary = target.with_name(f"{target.name}.tmp")
    if world.on_main(lambda: _is_complete(target)):
        return target

    def begin() -> None:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)

    def commit() -> None:
        save_file(dict(seen), temporary / _SEEN)
        write_json(temporary / _STATE, asdict(state))
        for path in (temporary / _SEEN, temporary / _STATE, temporary):
            _flush(path)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        _flush(target.parent)
        for step in list_checkpoints(run)[:-keep]:
            _remove(_folder(run, step))

    with name_full_disk(run):
        world.on_main(begin)
        try:
            with _settle(world) as options:
                writer = FileSystemWriter(temporary, thread_count=1, sync_files=True)
                save(dict(tensors), storage_writer=writer, **options)
        except CheckpointException as error:
            raise _name_failure(error, temporary) from error
        world.on_main(commit)
    return target


def load_checkpoint(folder: Path, tensors: Mapping[str, Tensor], world: World) -> None:
    """Read tensors of a checkpoint in place, by name; every rank calls, each reads its shards.

    Raises PretrainingError naming the checkpoint where one is absent, or has another shape.
    """
    held = FileSystemReader(folder).read_metadata().state_dict_metadata
    for name, tensor in tensors.items():
        shape = tuple(getattr(held.get(name), "size", ()))
        if name not in held or shape != tuple(tensor.shape):
            found = f"has shape {list(shape)}" if name in held else "is absent"
            raise PretrainingError(
                f"{folder}: {name} {found}, expected {list(tensor.shape)}", "the checkpoint is of another model"
            )
    try:
        with _settle(world) as options:
            detached = {name: tensor.detach() for name, tensor in tensors.items()}
            load(detached, storage_reader=FileSystemReader(folder), **options)
    except (CheckpointException, OSError, RuntimeError, EOFError) as error:
        raise PretrainingError(
            f"{folder}: cannot be read: {error}",
            "remove this folder: the run then goes on from the checkpoint before it",
        ) from error


def read_state(folder: Path) -> RunState:
    """Return where the run stood at a checkpoint. Raises PretrainingError for one of another version."""
    return RunState(**read_record(folder / _STATE))


def load_seen(folder: Path) -> dict[str, BoolArray]:
    """Return which ids the run had seen by a checkpoint: `input` and `target`, bool[rows]."""
    return dict(load_file(folder / _SEEN))


def load_run_model(run: Run, step: int | None = None) -> tuple[Model, int]:
    """Return the model of a run's newest checkpoint (or of `step`'s) in fp32 on the CPU, and its step.

    Raises PretrainingError where there is no such checkpoint.
    """
    folder = find_checkpoint(run.folder, step)
    model = Model(run.model, seed=None)
    named = {f"model.{name}": value for name, value in model.named_parameters()}
    load_checkpoint(folder, named, World(0, 1, torch.device("cpu")))
    return model, read_state(folder).step


def remove_unfinished(run: Path) -> None:
    """Remove what killed processes left half written, or half removed."""
    for path in (run / _CHECKPOINTS).glob("step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _name_failure(error: CheckpointException, folder: Path) -> Exception:
    """What went wrong on some rank: a full disk itself, anything else in words.

    Torch raises what is no `Exception`, and of what failed while a file was closed the last thing first.
    """
    for failure, _ in error.failures.values():
        link: BaseException | None = failure
        while link is not None:
            if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
                return link
            link = link.__cause__ or link.__context__
    said = "; ".join(sorted({str(failure) or repr(failure) for failure, _ in error.failures.values()}))
    return PretrainingError(
        f"{folder}: cannot be written: {said}",
        "see that the disk has space and can be written to; the checkpoint before it is whole",
    )


def _remove(folder: Path) -> None:
    """Remove a checkpoint; killed on the way, it leaves none that looks complete."""
    doomed = folder.with_name(f"{folder.name}.old.tmp")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _folder(run: Path, step: int) -> Path:
    return run / _CHECKPOINTS / f"step-{step:08d}"


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (_STATE, _SEEN, ".metadata"))


def _flush(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _settle(world: World) -> Iterator[dict[str, Any]]:
    """Yield torch's options; in a world of one no warning says that there is no other process."""
    with warnings.catch_warnings():
        if world.size == 1:
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield {"process_group": world.control, "no_dist": world.size == 1}


# --- Optimizer state -------------------------------------------------------------------------------
# `optimizer.safetensors` beside an exported model, by the names of transformers: a run goes on elsewhere with
# the moments it had. `extend` carries such a file along as it is; the rows of a grown vocabulary then follow
# its receipt: kept ids take theirs with them, new ones begin at zero. A model without the file begins with
# zeros everywhere, as from scratch.

_OPTIMIZER_STATE = "optimizer.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def write_optimizer_state(run: Run, target: Path, step: int | None = None) -> None:
    """Write the moments of a run's newest checkpoint, or of `step`'s, into the folder `target`.

    `exp_avg.NAME` and `exp_avg_sq.NAME` in fp32, shaped as the tensor NAME of the exported model, without rows
    of padding; `step.NAME` counts the updates. Raises PretrainingError where there is no such checkpoint.
    """
    config = run.model
    folder = find_checkpoint(run.folder, step)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in Model(config, seed=None).named_parameters()}
    held: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        held |= {f"optimizer.{kind}.{name}": torch.empty(shape) for kind in _MOMENTS}
        held[f"optimizer.step.{name}"] = torch.empty(())
    load_checkpoint(folder, held, World(0, 1, torch.device("cpu")))
    written: dict[str, Tensor] = {}
    for name, parts in name_tensors(config).items():
        for kind in _MOMENTS:
            for part, piece in split_parameter(name, held[f"optimizer.{kind}.{name}"], parts, config):
                written[f"{kind}.{part}"] = piece.contiguous()
        for part in parts:
            written[f"step.{part}"] = held[f"optimizer.step.{name}"].clone()
    save_tensors(written, target / _OPTIMIZER_STATE)


def load_optimizer_state(checkpoint: Path, optimizer: Optimizer, config: ModelConfig) -> bool:
    """Read a checkpoint's `optimizer.safetensors` into an optimiser; return whether there is one.

    Raises PretrainingError where it is damaged, or of another model.
    """
    path = checkpoint / _OPTIMIZER_STATE
    if not path.is_file():
        return False
    kept = read_kept(checkpoint)
    try:
        with safe_open(path, framework="pt") as file:
            for name, parts in name_tensors(config).items():
                for kind, moments in zip(_MOMENTS, (optimizer.means, optimizer.squares), strict=True):
                    whole = torch.cat([file.get_tensor(f"{kind}.{part}") for part in parts])
                    if name in VOCABULARY_PARAMETERS:
                        rows = np.arange(len(whole)) if kept is None else kept
                        whole = torch.from_numpy(grow_rows(whole.numpy(), rows, config.rows))
                    if whole.shape != moments[name].shape:
                        wanted = f"expected {list(moments[name].shape)}"
                        raise PretrainingError(
                            f"{path}: {name} has shape {list(whole.shape)}, {wanted}",
                            "it belongs to another model: remove it to begin with a state of zeros",
                        )
                    fill_part(moments[name], whole)
                optimizer.steps[name].copy_(file.get_tensor(f"step.{parts[0]}"))
    except SafetensorError as error:
        raise PretrainingError(f"{path}: {error}", "remove it to begin with a state of zeros") from error
    return True
