"""Checkpoints of a run: whole or not there, on any number of ranks, from the newest one on.

`checkpoints/step-00000100/` holds the model's and optimiser's tensors as safetensors files, one a rank with the
rows of its shards (read on any number of ranks), `seen.safetensors` (which ids the run saw) and `state.json`
(where it stands, and every file's digest). It is written as `step-00000100.tmp` and renamed when every byte is
on disk, so a process killed while saving leaves the checkpoint before. Nothing in it can run code. What a run
is made of stands beside (see `run_folder`); export to transformers is elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shlex
import shutil
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors
from torch import Tensor

from vocabkit.checkpoints.receipt import grow_rows, read_kept
from vocabkit.checkpoints.safetensors_files import Replacement, StoredTensor, build_header, read_header
from vocabkit.checkpoints.torch_files import as_tensor, name_dtype
from vocabkit.core.arrays import BoolArray
from vocabkit.core.errors import CheckpointError, PretrainingError
from vocabkit.core.folders import flush_path, name_full_disk
from vocabkit.core.records import Digest, Name, check_digest, parse_record, write_sealed
from vocabkit.pretraining.distributed import World, fill_part, find_stretch, local_part
from vocabkit.pretraining.model import VOCABULARY_PARAMETERS, Model
from vocabkit.pretraining.plan import RunPlan
from vocabkit.pretraining.run_config import ModelConfig, count_level_steps
from vocabkit.pretraining.run_folder import SCHEMA, Run, is_drawn_alike, read_record
from vocabkit.pretraining.trainer import Optimizer
from vocabkit.pretraining.transformers_format import name_tensors, split_parameter

_CHECKPOINTS = "checkpoints"
_STEP = re.compile(r"step-(\d+)")
_STATE, _SEEN = "state.json", "seen.safetensors"
_ASIDE = "shorter"
"""Where checkpoints lie of a run that was made longer from before them."""
_FORMER = ".metadata"
"""What torch's distributed checkpoints have, which cannot be read without unpickling."""
_DIGEST_BYTES = 20
_WRITABLE = "see that the disk has space and can be written to; the checkpoint before it is whole"
_GO_BACK = "remove this folder: the run then goes on from the checkpoint before it"


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands: all it needs, beside its tensors, to go on.

    `step` is how many of `steps` are done; `samples` the rows drawn so far, and the number of the next.
    `rows`, `tokens` (special ones included, padding not) and `bytes` (of original text) are what each language
    has given. `seconds` is the time spent training, over all the processes one after another. `files` are the
    digests of the checkpoint's other files.
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
    files: Mapping[Name, Digest] = field(default_factory=dict)
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
        aside = _folder(run, step, _ASIDE)
        if _is_complete(aside):
            return aside
        have = ", ".join(str(found) for found in steps)
        raise PretrainingError(f"{run}: no checkpoint of step {step}", f"it has those of {have}")
    return _folder(run, steps[-1] if step is None else step)


# --- A longer run ----------------------------------------------------------------------------------
# A run of 100 steps goes on as one of 200 where its steps so far are those that a run of 200 would have made:
# the same samples in the same stage at the same rate. They are while the rate does not fall; a checkpoint from
# when it fell is of the shorter run alone, and is set aside.


def explain_longer(plan: RunPlan) -> str:
    """Return in a sentence from where the run in a plan's folder becomes one of `plan.steps` steps.

    Raises PretrainingError where steps that are made would not have been the same in a longer run.
    """
    run, settings, steps, now = plan.output, plan.config.optimizer, plan.steps, plan.lengthens
    assert run is not None
    assert plan.corpus is not None
    saved = list_checkpoints(run)
    overtaken = list_overtaken(plan)
    kept = [step for step in saved if step not in overtaken]
    why = None
    if saved and len(plan.config.stages) > 1:
        why = f"its stages are shares of the run, and those of a run of {steps:,} steps end elsewhere"
    elif saved and not is_drawn_alike(plan):
        why = (
            f"languages.weighting = {plan.config.languages.weighting!r} shares out the text by the length of "
            f"the run: one of {steps:,} steps would have drawn other rows; exponent, natural, uniform and "
            "quota would not"
        )
    elif overtaken and not kept:
        why = (
            f"its rate (optimizer.schedule = {settings.schedule!r}) fell by the length of the run, after step "
            f"{_count_level(plan, now or steps):,} of {now:,}, and no checkpoint from before that is kept; "
            "constant can be made longer, and trapezoid from before it falls (save.before_decay)"
        )
    if why is not None:
        text = " --set 'stages=[]'" if plan.config.stages else ""
        raise PretrainingError(
            f"{run}: at step {saved[-1]:,}, cannot be made {steps:,} steps long: {why}",
            f"vocabkit export {shlex.quote(str(run))} --optimizer -o {shlex.quote(f'{run}-model')} && "
            f"vocabkit pretrain {shlex.quote(str(run))} --checkpoint {shlex.quote(f'{run}-model')} "
            f"--data {shlex.quote(str(plan.corpus.folder))} -o {shlex.quote(f'{run}-2')}{text}  "
            "# a run of its own, from this one's model",
        )
    first = kept[-1] if kept else 0
    said = f"{run}: a run of {now:,} steps becomes one of {steps:,}, from step {first:,} on"
    if overtaken:
        said += (
            f", before its rate fell; the checkpoint of step {overtaken[-1]:,} is set aside: "
            f"vocabkit export {shlex.quote(str(run))} --step {overtaken[-1]} -o DIR"
        )
    if settings.warmup:
        said += f"; its warm-up stays as it was: optimizer.warmup={settings.warmup!r} of {steps:,} steps"
    return said


def list_overtaken(plan: RunPlan) -> list[int]:
    """Return the steps, ascending, of checkpoints that a run of `plan.steps` would not have come to.

    They are of the same run when it was shorter, and its rate had begun to fall.
    """
    run, found = plan.output, list[int]()
    assert run is not None
    for step in reversed(list_checkpoints(run)):
        then = read_state(_folder(run, step)).steps
        if then >= plan.steps or step <= _count_level(plan, then):
            break
        found.insert(0, step)
    return found


def _count_level(plan: RunPlan, steps: int) -> int:
    """How many first steps of this run, when it was to have `steps`, have the rate of any longer one."""
    settings = plan.config.optimizer
    return count_level_steps(settings, round(settings.warmup * plan.steps), steps)


def set_aside(run: Path, steps: Sequence[int]) -> None:
    """Move the newest of some checkpoints out of a run's way, where its step still names it; the others go."""
    for step in steps[-1:]:
        target = _folder(run, step, _ASIDE)
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        _folder(run, step).rename(target)
    for step in steps[:-1]:
        _remove(_folder(run, step))


# --- Writing and reading ---------------------------------------------------------------------------


def save_checkpoint(
    run: Path,
    tensors: Mapping[str, Tensor],
    state: RunState,
    seen: Mapping[str, BoolArray],
    world: World,
    *,
    keep: int,
    spared: int | None = None,
) -> Path:
    """Write a checkpoint; every rank calls. Older ones beyond `keep`, and not of step `spared`, go then.

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
        files = {_name_part(rank): digest for rank, digest in enumerate(digests)}
        seen_digest = hashlib.blake2b((temporary / _SEEN).read_bytes(), digest_size=_DIGEST_BYTES).hexdigest()
        write_sealed(temporary / _STATE, asdict(replace(state, files={**files, _SEEN: seen_digest})))
        for path in (temporary / _SEEN, temporary / _STATE, temporary):
            flush_path(path)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        flush_path(target.parent)
        _remove_old(run, keep, spared)

    with name_full_disk(run):
        world.on_main(begin)
        written = b""

        def write() -> None:
            nonlocal written
            with _named(f"{temporary}: cannot be written", _WRITABLE):
                written = _write_part(temporary / _name_part(world.rank), tensors, world)

        world.on_all(write)
        digests = _gather_digests(written, world)
        world.on_main(commit)
    return target


@contextmanager
def _named(what: str, hint: str) -> Iterator[None]:
    """Say of what fails in the block what it was about; a full disk is named by others."""
    try:
        yield
    except (OSError, ValueError, CheckpointError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PretrainingError(f"{what}: {error}", hint) from error


def _gather_digests(mine: bytes, world: World) -> list[str]:
    """Return the digest that each rank has, on every rank."""
    slots = bytearray(_DIGEST_BYTES * world.size)
    slots[_DIGEST_BYTES * world.rank : _DIGEST_BYTES * (world.rank + 1)] = mine
    whole = bytes(world.largest(*slots))
    return [whole[start : start + _DIGEST_BYTES].hex() for start in range(0, len(whole), _DIGEST_BYTES)]


def _write_part(path: Path, tensors: Mapping[str, Tensor], world: World) -> bytes:
    """Write this rank's rows of all tensors to disk, and return the digest of the file.

    Tensors that every rank has whole are the main rank's to write. The metadata has each tensor's first row.
    """
    layout: dict[str, StoredTensor | Replacement] = {}
    shards: list[Tensor] = []
    firsts: dict[str, str] = {}
    for name, tensor in tensors.items():
        stretch = find_stretch(tensor)
        if stretch is not None or world.main:
            part = local_part(tensor).detach()
            layout[name] = Replacement(name_dtype(part), tuple(part.shape), partial(_list_bytes, part))
            shards.append(part)
            firsts[name] = str(stretch[0] if stretch else 0)
    raw = build_header(layout, firsts)
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with path.open("wb") as file:
        for data in (struct.pack("<Q", len(raw)), raw):
            digest.update(data)
            file.write(data)
        for block in chain.from_iterable(map(_list_bytes, shards)):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.digest()


def _list_bytes(tensor: Tensor) -> Iterator[memoryview]:
    """Yield a tensor's bytes, brought from its device a piece at a time."""
    flat = tensor.contiguous().reshape(-1)
    for start in range(0, len(flat), _PIECE):
        yield flat[start : start + _PIECE].cpu().view(torch.uint8).numpy().data


_PIECE = 1 << 24


class _Stored(NamedTuple):
    """Some rows of a tensor: where they lie, and which of the tensor's is their first."""

    path: Path
    tensor: StoredTensor
    first: int

    @property
    def rows(self) -> int:
        """How many there are; one of a scalar."""
        return self.tensor.shape[0] if self.tensor.shape else 1


def load_checkpoint(folder: Path, tensors: Mapping[str, Tensor], world: World, *, verify: bool = True) -> None:
    """Read tensors of a checkpoint in place, by name; every rank calls, each reads its shards.

    With `verify` every byte is first held to its digest, each rank reading its part of the files. Raises
    PretrainingError naming the file that was changed, or the tensor that is absent or has another shape.
    """
    if (folder / _FORMER).exists():
        raise PretrainingError(
            f"{folder}: holds {_FORMER}, in which earlier versions kept a pickle: it could run code",
            "export the run with the version that wrote it, or start it anew",
        )
    files = read_state(folder).files
    names = sorted(name for name in files if name != _SEEN)

    def check() -> None:
        for name in sorted(files)[world.rank :: world.size]:
            check_digest(folder / name, files[name], PretrainingError, _GO_BACK)

    def read() -> None:
        with _named(f"{folder}: cannot be read", _GO_BACK):
            held = _list_stored(folder, names)
            for name, tensor in tensors.items():
                _check_stored(folder, name, held.get(name, []), tensor)
            for name, tensor in tensors.items():
                _fill(tensor.detach(), held[name])

    if verify:
        world.on_all(check)
    world.on_all(read)


def _list_stored(folder: Path, names: Sequence[str]) -> dict[str, list[_Stored]]:
    """Return where each tensor's rows lie, in order."""
    found: dict[str, list[_Stored]] = defaultdict(list)
    for path in (folder / name for name in names):
        header = read_header(path)
        for name, tensor in header.tensors.items():
            first = str((header.metadata or {}).get(name))
            if not (first.isascii() and first.isdigit()):
                raise CheckpointError(f"{path}: does not say which row of {name} is its first", _GO_BACK)
            found[name].append(_Stored(path, tensor, int(first)))
    return {name: sorted(parts, key=lambda part: (part.first, part.rows)) for name, parts in found.items()}


def _check_stored(folder: Path, name: str, parts: Sequence[_Stored], tensor: Tensor) -> None:
    """Raise PretrainingError unless the rows of a tensor are all there, once, and fit the one they are for."""
    rows = 0
    for part in parts:
        fits = part.tensor.dtype == name_dtype(tensor) and part.tensor.shape[1:] == parts[0].tensor.shape[1:]
        if part.first != rows or not fits:
            raise PretrainingError(f"{part.path}: {name} is not the rows from {rows:,} on", _GO_BACK)
        rows += part.rows
    shape = () if not parts else (rows, *parts[0].tensor.shape[1:]) if parts[0].tensor.shape else ()
    if not parts or shape != tuple(tensor.shape):
        found = f"has shape {list(shape)}" if parts else "is absent"
        raise PretrainingError(
            f"{folder}: {name} {found}, expected {list(tensor.shape)}", "the checkpoint is of another model"
        )


def _fill(tensor: Tensor, parts: Sequence[_Stored]) -> None:
    """Copy the rows that lie in this rank's shard of a tensor."""
    local = local_part(tensor)
    start, stop = find_stretch(tensor) or (0, len(tensor) if tensor.ndim else 1)
    for part in parts:
        first, last = max(start, part.first), min(stop, part.first + part.rows)
        if first >= last or not part.tensor.size:
            continue
        width = part.tensor.size // part.rows
        offset = part.tensor.start + (first - part.first) * width
        data = np.memmap(part.path, np.uint8, "r", offset, ((last - first) * width,))
        shape = (last - first, *part.tensor.shape[1:]) if tensor.ndim else ()
        read = as_tensor(data, part.tensor.dtype, shape)
        (local[first - start : last - start] if tensor.ndim else local).copy_(read)


def read_state(folder: Path) -> RunState:
    """Return where the run stood at a checkpoint. Raises PretrainingError for one of another version."""
    path = folder / _STATE
    state: RunState = parse_record(RunState, read_record(path), path, PretrainingError, _GO_BACK)
    if _folder(Path(), state.step).name != folder.name:
        raise PretrainingError(f"{path}: step is {state.step}, and its folder is {folder.name}", _GO_BACK)
    return state


def load_seen(folder: Path) -> dict[str, BoolArray]:
    """Return which ids the run had seen by a checkpoint: `input` and `target`, bool[rows]."""
    path = folder / _SEEN
    try:
        found = dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise PretrainingError(f"{path}: cannot be read: {error}", _GO_BACK) from error
    for name in ("input", "target"):
        if name not in found or found[name].dtype != np.bool_ or found[name].ndim != 1:
            raise PretrainingError(f"{path}: does not say which ids were seen as {name}", _GO_BACK)
    return found


def load_run_model(run: Run, step: int | None = None, *, verify: bool = True) -> tuple[Model, int]:
    """Return the model of a run's newest checkpoint (or of `step`'s) in fp32 on the CPU, and its step.

    Raises PretrainingError where there is no such checkpoint, and as `load_checkpoint`.
    """
    folder = find_checkpoint(run.folder, step)
    model = Model(run.model, seed=None)
    named = {f"model.{name}": value for name, value in model.named_parameters()}
    load_checkpoint(folder, named, World(0, 1, torch.device("cpu")), verify=verify)
    return model, read_state(folder).step


def remove_unfinished(run: Path, keep: int, spared: int | None = None) -> None:
    """Remove what killed processes left half written, half removed, or would have removed next."""
    for path in (run / _CHECKPOINTS).glob("step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
    _remove_old(run, keep, spared)


def _remove_old(run: Path, keep: int, spared: int | None) -> None:
    for step in list_checkpoints(run)[:-keep]:
        if step != spared:
            _remove(_folder(run, step))


def _remove(folder: Path) -> None:
    """Remove a checkpoint; killed on the way, it leaves none that looks complete."""
    doomed = folder.with_name(f"{folder.name}.old.tmp")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _name_part(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


def _folder(run: Path, step: int, place: str = ".") -> Path:
    return run / _CHECKPOINTS / place / f"step-{step:08d}"


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (_STATE, _SEEN))


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
    # Export has just held the same files to their digests.
    load_checkpoint(folder, held, World(0, 1, torch.device("cpu")), verify=False)
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
    except (SafetensorError, RuntimeError) as error:
        raise PretrainingError(f"{path}: {error}", "remove it to begin with a state of zeros") from error
    return True
