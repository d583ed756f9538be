"""A checkpoint given the vocabulary of another tokenizer: `extend_checkpoint` makes, writes and signs it.

Only shards with vocabulary tensors are rewritten; everything else is linked, reflinked or copied as it
is. The output is made under a hidden name and appears whole; a killed run is taken up where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from vocabkit.checkpoints.checkpoint import Checkpoint, VocabularyTensor
from vocabkit.checkpoints.receipt import (
    DROPPED,
    ORIGINAL,
    RECEIPT,
    SCHEMA,
    digest_rows,
    invert_kept,
    restrict_kept,
)
from vocabkit.checkpoints.safetensors_files import (
    SIZES,
    Bytes,
    Copied,
    Part,
    Replacement,
    as_bytes,
    as_float32,
    rewrite_file,
)
from vocabkit.checkpoints.torch_files import Stored, TorchFile, write_torch_file
from vocabkit.core.arrays import Float32Array, Int64Array
from vocabkit.core.errors import ConfigError
from vocabkit.core.folders import (
    Clock,
    Manifest,
    check_output,
    check_space,
    duplicate_file,
    fingerprint_file,
    finished_file,
    open_staging,
    package_versions,
)
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.records import seal
from vocabkit.core.results import Result
from vocabkit.corpus.reading import read_text
from vocabkit.extension.initializers import initialize
from vocabkit.extension.plan import ExtensionPlan, Group, Options, list_plan, new_shape, plan_extension
from vocabkit.extension.rows import Context, RowPlan, Rows
from vocabkit.extension.simple_rows import initialize_bias
from vocabkit.extension.space_rows import open_donor
from vocabkit.vocabulary.roles import TokenizerSource, dump_json


@dataclass(frozen=True, slots=True)
class Extension(Result):
    """What was done: the plan, what each group's rows came to, and the seconds of each phase.

    `output` is None, and notes and seconds are empty, where nothing was written.
    """

    plan: ExtensionPlan
    output: Path | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_rows(self) -> list[dict[str, object]]:
        """Return the plan as the command prints it, a row a fact."""
        return list_plan(self.plan)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be looked at before the result is trained."""
        return tuple(self.plan.warnings)


def extend_checkpoint(
    model: str | Path,
    tokenizer: str | Path,
    output: str | Path | None = None,
    *,
    init_input: str | None = None,
    init_output: str | None = None,
    init_bias: str = "mean",
    untie: bool = False,
    donor: str | Path | None = None,
    text: str | Path | None = None,
    document: str | None = None,
    field: str | None = None,
    pad_to_multiple_of: int | None = None,
    trim: bool = False,
    old_tokenizer: str | Path | None = None,
    pattern: str | None = None,
    tensor: Mapping[str, str] | Sequence[str] = (),
    seed: int = 0,
    link: bool = False,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Extension:
    """Write to `output` the checkpoint `model` with the vocabulary of `tokenizer`; return what was done.

    Keywords are the options of `vocabkit extend`; `tensor` says of names what they are, as a mapping or as
    "NAME=ROLE". Without an output, or with `dry_run`, only the plan is made. `model` is not changed. Raises
    CheckpointError, TokenizerError, ConfigError and OutputError; then nothing is left behind.
    """
    told = Options(
        init_input=init_input,
        init_output=init_output,
        init_bias=init_bias,
        untie=untie,
        donor=_as_path(donor),
        text=_as_path(text),
        document=document,
        field=field,
        multiple=pad_to_multiple_of,
        trim=trim,
        link=link,
        seed=seed,
        old_tokenizer=_as_path(old_tokenizer),
        pattern=pattern,
        tensors=tensor if isinstance(tensor, Mapping) else dict(map(_split_role, tensor)),
    )
    if output is None or dry_run:
        return Extension(plan_extension(model, tokenizer, told))
    clock = Clock()
    shown, target = progress or Silent(), Path(output)
    check_output(target, (model, tokenizer, told.donor, told.text, told.old_tokenizer), force=force)
    with clock.measure("plan"):
        plan = plan_extension(model, tokenizer, told)
        check_space(target, plan.disk_size)
    with clock.measure("rows"):
        lines = () if text is None else tuple(read_text(text, document, field))
        context = Context(plan.old.tokenizer, plan.new.tokenizer, lines=lines, seed=seed)
        context = replace(context, model=plan.checkpoint.root, progress=shown)
        rows = [_make_rows(plan, group, context) for group in plan.groups]
        pairs = list(zip(plan.groups, rows, strict=True))
        digests = [digest_rows(_new_blocks(made.values, group.dtype)) for group, made in pairs]
    with open_staging(target, _make_key(plan, digests), force=force) as work:
        with clock.measure("write"):
            _write_weights(plan, rows, work, shown)
            how = dict.fromkeys(plan.shards, "rewritten") | _write_others(plan, work)
        with clock.measure("receipt"):
            _write_originals(plan, rows, work)
        with clock.measure("hash"):
            files = _hash_files(work, how)
            originals = _hash_originals(plan)
        facts = _describe(plan, rows, digests, files, originals)
        (work / RECEIPT / "receipt.json").write_bytes(dump_json(seal(facts), indent=1))
        _write_manifest(plan, work, files, clock.seconds)
    notes = {f"{one.role} ({one.first.tensor.name})": made.note or made.method for one, made in pairs}
    return Extension(plan, target, notes, clock.seconds)


def _list_options(options: Options) -> dict[str, Any]:
    """Return the options by name; those that few files need only where they were given."""
    rare = ("pattern", "document", "field")
    return {name: value for name, value in asdict(options).items() if name not in rare or value is not None}


def _as_path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _split_role(text: str) -> tuple[str, str]:
    name, separator, role = text.rpartition("=")
    if not separator:
        raise ConfigError(f"--tensor {text}: write NAME=ROLE", f"such as --tensor {text}=input")
    return name, role


def _make_key(plan: ExtensionPlan, digests: list[str]) -> str:
    """What tells two extensions apart: options, rows, files by size and time, and the tokenizers.

    The rows themselves, and not what they were made from: text or a donor may have changed, and sums in
    another number of threads may come out otherwise in the last place.
    """
    root = plan.checkpoint.root
    names = (*plan.checkpoint.shards, *plan.copied)
    stats = [(root / name).stat() for name in names]
    told = {
        "options": {name: str(value) for name, value in asdict(plan.options).items()},
        "files": [(name, stat.st_size, stat.st_mtime_ns) for name, stat in
                  zip(names, stats, strict=True)],
        "kept": hashlib.blake2b(plan.rows.kept.tobytes(), digest_size=20).hexdigest(),
        "rows": digests,
        "root": str(root.resolve()),
        "tokenizers": [fingerprint_file(plan.old.path), fingerprint_file(plan.new.path)],
        "versions": package_versions(("vocabkit", "numpy")),
    }  # fmt: skip
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=20).hexdigest()


# --- Rows ------------------------------------------------------------------------------------------


def _make_rows(plan: ExtensionPlan, group: Group, context: Context) -> Rows:
    """Make the new rows of a group from its first tensor's old ones."""
    first = group.first
    old = as_float32(plan.checkpoint.read_rows(first.tensor.name, first.axis), group.dtype)
    restricted = restrict_plan(plan.rows, first.rows, plan.count_rows(first))
    if group.role == "bias":
        values = initialize_bias(group.method, restricted, old.reshape(-1), context)
        return Rows(values.reshape(-1, 1), group.method)
    donor = None if plan.options.donor is None else open_donor(plan.options.donor, group.role)
    return initialize(group.method, restricted, old, replace(context, role=group.role, donor=donor))


def restrict_plan(plan: RowPlan, rows: int, size: int) -> RowPlan:
    """The plan for a tensor of `rows` old rows that gets `size`.

    Per-layer tables have fewer old ones, and ids beyond them read row 0; a head with fewer than the input has
    none for the last ids, old and new.
    """
    if (rows, size) == (plan.old_size, plan.new_size):
        return plan
    kept = restrict_kept(plan.kept, rows, size)
    return replace(
        plan,
        old_size=rows,
        new_size=size,
        kept=np.where(kept >= rows, 0, kept),
        tokens=plan.tokens[:size],
        special=plan.special[:size],
        padding=plan.padding[:rows],
        old_used=plan.old_used[:rows],
    )


def _new_blocks(values: Float32Array, dtype: str) -> Iterator[Bytes]:
    """New rows as they are stored, a block at a time."""
    step = max(1, _BLOCK // max(1, values.shape[1] * 4))
    for start in range(0, len(values), step):
        yield as_bytes(values[start : start + step], dtype)


# --- Moving rows -----------------------------------------------------------------------------------
# Kept rows are copied as bytes and never pass through float32; long runs of them are left to the kernel.

_BLOCK = 1 << 23
# Shorter runs of kept rows are gathered: a call to the kernel costs as much as copying this.
_RUN = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class MovedRows:
    """A vocabulary tensor with its rows in another order: row i is row `taken[i]` of it, or a row made.

    Where `taken` is -1 the next of the rows made stands: `made(start, stop)` gives some of them as they are
    stored, [rows, bytes a row]. Extending takes rows by `kept`, undoing by its inverse.
    """

    checkpoint: Checkpoint
    item: VocabularyTensor
    taken: Int64Array
    made: Callable[[int, int], Bytes]

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape with these rows."""
        return new_shape(self.item, len(self.taken))

    def take(self, start: int = 0, stop: int | None = None) -> Bytes:
        """Return the rows from `start` up to `stop`, [rows, bytes a row]."""
        part = self.taken[start:stop]
        is_made = part < 0
        amount, before = int(is_made.sum()), int((self.taken[:start] < 0).sum())
        if amount and amount == len(part):
            return self.made(before, before + amount)
        # Mapped anew for each block, so that pages once read do not stay with this process.
        old = self.checkpoint.read_rows(self.item.tensor.name, self.item.axis)
        block = np.empty((len(part), old.shape[1]), np.uint8)
        block[~is_made] = old[part[~is_made]]
        if amount:
            block[is_made] = self.made(before, before + amount)
        return block

    def read_all(self) -> Bytes:
        """Return the whole tensor in memory, flat, its elements in the order of its shape."""
        rows = self.take()
        outer = prod(self.item.tensor.shape[: self.item.axis])
        if outer == 1:
            return rows.reshape(-1)
        wide = rows.reshape(len(rows), outer, -1)
        return np.ascontiguousarray(np.moveaxis(wide, 0, 1)).reshape(-1)

    def list_parts(self) -> Iterator[Part]:
        """Yield the parts of a safetensors tensor in order: ranges of the old file, and bytes."""
        tensor, taken = self.item.tensor, self.taken
        if prod(tensor.shape[: self.item.axis]) > 1:
            yield self.read_all().data
            return
        width = self.item.width * SIZES[tensor.dtype]
        base = self.checkpoint.headers[tensor.shard].tensors[tensor.name].start
        waiting = 0  # the first row not yet given out
        for start, stop in [*_find_runs(taken, max(1, _RUN // width)), (len(taken), len(taken))]:
            step = max(1, _BLOCK // width)
            for first in range(waiting, start, step):
                yield self.take(first, min(first + step, start)).data
            if start < stop:
                yield Copied(base + int(taken[start]) * width, base + int(taken[stop - 1] + 1) * width)
            waiting = stop


def _find_runs(kept: Int64Array, least: int) -> Iterator[tuple[int, int]]:
    """Places of kept rows that follow each other in the old matrix too, `least` or more."""
    if not len(kept):
        return
    breaks = np.flatnonzero((np.diff(kept) != 1) | (kept[1:] < 0) | (kept[:-1] < 0)) + 1
    edges = [0, *breaks.tolist(), len(kept)]
    for start, stop in pairwise(edges):
        if kept[start] >= 0 and stop - start >= least:
            yield start, stop


def write_moved(
    source: TorchFile, target: Path, moved: Mapping[str, MovedRows], drop: tuple[str, ...] = ()
) -> None:
    """Write a file of PyTorch's with these tensors moved; those that shared storage share it again."""
    made: dict[str, Stored] = {}
    for name, rows in moved.items():
        shared = source.shared_with(name) if name in source.tensors else []
        same = next((o for o in shared if o in made and moved[o].made is rows.made), None)
        data = rows.read_all() if same is None else made[same][0]
        made[name] = (data, rows.item.tensor.dtype, rows.shape)
    write_torch_file(source, target, made, drop)


def _store_rows(values: Float32Array, dtype: str, start: int, stop: int) -> Bytes:
    return as_bytes(values[start:stop], dtype)


def _write_weights(plan: ExtensionPlan, rows: list[Rows], work: Path, progress: Progress) -> None:
    """Rewrite every shard that holds vocabulary tensors, with the new head in the input matrix's."""
    checkpoint = plan.checkpoint
    moved: dict[str, MovedRows] = {}
    for position, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        store = partial(_store_rows, made.values, group.dtype)
        for item in group.tensors:
            name = plan.name_head(position) or item.tensor.name
            taken = restrict_plan(plan.rows, item.rows, plan.count_rows(item)).kept
            moved[name] = MovedRows(checkpoint, item, taken, store)
    progress.start("writing", plan.written_size, "B")
    for shard in plan.shards:
        mine = {name: one for name, one in moved.items() if one.item.tensor.shard == shard}
        with finished_file(work / shard) as part:
            if part is None:
                continue
            if shard in checkpoint.torch_files:
                write_moved(checkpoint.torch_files[shard], part, mine)
                continue
            changes = {n: Replacement(m.item.tensor.dtype, m.shape, m.list_parts) for n, m in mine.items()}
            rewrite_file(checkpoint.root / shard, part, changes, checkpoint.headers[shard], progress.advance)
    progress.finish()


def _write_others(plan: ExtensionPlan, work: Path) -> dict[str, str]:
    """Copy or link what stays and write the small files; file name → which of these it was."""
    root, link = plan.checkpoint.root, plan.options.link
    how = {name: duplicate_file(root / name, work / name, link=link) for name in plan.copied}
    for name, data in plan.written.items():
        (work / name).write_bytes(data)
    return how | dict.fromkeys(plan.written, "written")


# --- Receipt ---------------------------------------------------------------------------------------


def _write_originals(plan: ExtensionPlan, rows: list[Rows], work: Path) -> None:
    """Keep what would be lost: small files, headers, and rows that no new id has.

    An earlier extension's receipt is kept too, and the manifest: this one's take their places.
    """
    root, checkpoint, kept = plan.checkpoint.root, plan.checkpoint, work / ORIGINAL
    kept.mkdir(parents=True, exist_ok=True)
    if not checkpoint.plain:
        for name in (*plan.written, *plan.removed, "manifest.json"):
            if (root / name).is_file():
                shutil.copyfile(root / name, kept / name)
        if (root / RECEIPT).is_dir():
            shutil.copytree(root / RECEIPT, kept / RECEIPT, dirs_exist_ok=True)
    for shard in plan.shards:
        if shard in checkpoint.headers:
            (kept / f"{shard}.header").write_bytes(checkpoint.headers[shard].raw)
    arrays: dict[str, Any] = {name: getattr(plan.rows, name) for name in ("kept", "padding", "old_used")}
    for position, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        if made.sources is not None:
            for name in ("ids", "weights", "offsets"):
                arrays[f"group{position}.{name}"] = getattr(made.sources, name)
        kept_rows = restrict_kept(plan.rows.kept, group.first.rows, plan.count_rows(group.first))
        gone = np.flatnonzero(invert_kept(kept_rows, plan.rows.old_size)[: group.first.rows] < 0)
        if len(gone) and plan.name_head(position) is None:
            old = checkpoint.read_rows(group.first.tensor.name, group.first.axis)
            arrays[f"{DROPPED}.group{position}"] = old[gone]
    save_file(arrays, work / RECEIPT / "rows.safetensors")


def _hash_files(work: Path, how: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Size, digest and origin of every file but the receipt and the manifest; two at a time."""
    listed = [path for path in work.rglob("*") if path.is_file() and not path.name.startswith(".extension-key")]
    digests = _fingerprint_all(work, sorted(path.relative_to(work).as_posix() for path in listed))
    digests.pop(f"{RECEIPT}/receipt.json", None)
    return {
        name: {"how": how.get(name, "written"), "size": (work / name).stat().st_size, "blake2b": digest}
        for name, digest in digests.items()
    }


def _hash_originals(plan: ExtensionPlan) -> dict[str, str]:
    """The digests of the original's files that the output does not hold as they were."""
    root = plan.checkpoint.root
    names = [*plan.shards]
    if not plan.checkpoint.plain:
        names += [name for name in (*plan.written, *plan.removed) if (root / name).is_file()]
    return _fingerprint_all(root, names)


def _fingerprint_all(root: Path, names: Sequence[str]) -> dict[str, str]:
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(fingerprint_file, (root / name for name in names)), strict=True))


def _describe(
    plan: ExtensionPlan, rows: list[Rows], digests: list[str], files: dict[str, Any], originals: dict[str, str]
) -> dict[str, Any]:
    """What `receipt.json` says. `digests` are those of each group's new rows."""
    size = plan.rows.new_size
    groups = []
    for position, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        head = plan.name_head(position)
        groups.append(
            {
                "role": group.role,
                "method": group.method,
                "note": made.note,
                "seed": made.seed,
                "has_sources": made.sources is not None,
                "number": group.dtype,
                "width": group.first.width,
                "old_rows": group.first.rows,
                "new_rows_blake2b": digests[position],
                "tensors": [
                    {
                        "name": head or item.tensor.name,
                        "from": item.tensor.name if head else None,
                        "shard": item.tensor.shard,
                        "role": "output" if head else item.role,
                        "axis": item.axis,
                        "old_shape": None if head else list(item.tensor.shape),
                        "new_shape": list(new_shape(item, plan.count_rows(item))),
                    }
                    for item in group.tensors
                ],
            }
        )
    told = _list_options(replace(plan.options, tensors={}))
    # Names and not places: a receipt travels with the model, and is the same wherever it was made.
    options = {name: value.name if isinstance(value, Path) else value for name, value in told.items()}
    return {
        "schema": SCHEMA,
        "mode": plan.mode,
        "model": {"name": plan.checkpoint.root.resolve().name, "type": plan.checkpoint.model_type},
        "format": "torch" if plan.checkpoint.torch_files else "safetensors",
        "plain": plan.checkpoint.plain,
        "index": plan.checkpoint.index,
        "tied": plan.found.tied,
        "head": plan.head,
        "old_tokenizer": _describe_tokenizer(plan.old),
        "new_tokenizer": _describe_tokenizer(plan.new),
        "old_rows": plan.rows.old_size,
        "new_rows": size,
        "extra_rows": plan.found.extra,
        "total_size": plan.tensor_size,
        "coverage": asdict(plan.coverage),
        "options": options | {"tensors": dict(plan.options.tensors)},
        "groups": groups,
        "changes": list(plan.changes),
        "warnings": list(plan.warnings),
        "left_out": list(plan.left_out),
        "originals": originals,
        "files": files,
        "versions": package_versions(),
    }


def _describe_tokenizer(source: TokenizerSource) -> dict[str, Any]:
    path, digest = source.path, fingerprint_file(source.path)
    return {"file": path.name, "size": source.size, "blake2b": digest}


def _write_manifest(
    plan: ExtensionPlan, work: Path, files: Mapping[str, Any], seconds: Mapping[str, float]
) -> None:
    """`manifest.json` from digests already taken: hashing a large checkpoint twice takes minutes."""
    receipt = f"{RECEIPT}/receipt.json"
    outputs = {name: item["blake2b"] for name, item in files.items()}
    outputs[receipt] = fingerprint_file(work / receipt)
    manifest = Manifest(
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        config={name: str(value) for name, value in _list_options(plan.options).items()},
        inputs={"tokenizer": fingerprint_file(plan.new.path)},
        outputs=dict(sorted(outputs.items())),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        details={"mode": plan.mode, "coverage": asdict(plan.coverage)},
        seed=plan.options.seed,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    (work / "manifest.json").write_bytes(dump_json(asdict(manifest), indent=1))
