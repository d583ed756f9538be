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
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
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
    dump_facts,
    invert_kept,
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
from vocabkit.checkpoints.torch_files import write_torch_file
from vocabkit.core.arrays import Float32Array, Int64Array
from vocabkit.core.errors import ConfigError
from vocabkit.core.folders import (
    Manifest,
    check_output,
    check_places,
    check_space,
    duplicate_file,
    fingerprint_file,
    finished_file,
    open_staging,
    package_versions,
)
from vocabkit.core.progress import Progress, Silent
from vocabkit.extension.initializers import initialize
from vocabkit.extension.plan import (
    ExtensionPlan,
    Group,
    Options,
    new_shape,
    plan_extension,
)
from vocabkit.extension.rows import Context, Role, RowPlan, Rows
from vocabkit.extension.simple_rows import initialize_bias
from vocabkit.extension.space_rows import open_donor
from vocabkit.vocabulary.roles import TokenizerSource

# --- Recording -------------------------------------------------------------------------------------
# What an extension leaves behind beside the weights: originals, hashes, the receipt's facts, the manifest.


def _write_originals(plan: ExtensionPlan, rows: list[Rows], work: Path) -> None:
    """Keep what would be lost: small files, headers, and rows that no new id has."""
    root, checkpoint = plan.checkpoint.root, plan.checkpoint
    kept = work / ORIGINAL
    kept.mkdir(parents=True, exist_ok=True)
    for name in (*plan.written, *plan.removed):
        if (root / name).is_file() and not checkpoint.plain:
            (kept / name).write_bytes((root / name).read_bytes())
    if not checkpoint.plain:
        _keep_earlier(root, kept)
    for shard in plan.shards:
        if shard in checkpoint.headers:
            (kept / f"{shard}.header").write_bytes(checkpoint.headers[shard].raw)
    arrays: dict[str, Any] = {
        "kept": plan.rows.kept,
        "padding": plan.rows.padding,
        "old_used": plan.rows.old_used,
    }
    for position, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        if made.sources is not None:
            arrays |= {
                f"group{position}.{name}": getattr(made.sources, name)
                for name in ("ids", "weights", "offsets")
            }
        lost = np.flatnonzero(
            invert_kept(plan.rows.kept, plan.rows.old_size)[: group.first.rows] < 0
        )
        if len(lost) and not _is_head(plan, position):
            old = checkpoint.read_rows(group.first.tensor.name, group.first.axis)
            arrays[f"{DROPPED}.group{position}"] = old[lost]
    save_file(arrays, work / RECEIPT / "rows.safetensors")


def _keep_earlier(root: Path, kept: Path) -> None:
    """Keep the manifest, and the receipt of an earlier extension, whose places this one's take."""
    if (root / "manifest.json").is_file():
        shutil.copyfile(root / "manifest.json", kept / "manifest.json")
    if (root / RECEIPT).is_dir():
        shutil.copytree(root / RECEIPT, kept / RECEIPT, dirs_exist_ok=True)


def _is_head(plan: ExtensionPlan, position: int) -> bool:
    return plan.head is not None and position == len(plan.groups) - 1


def _hash_files(
    plan: ExtensionPlan, work: Path, how: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Size, digest and origin of every file but the receipt and the manifest; two at a time."""
    names = sorted(
        path.relative_to(work).as_posix()
        for path in work.rglob("*")
        if path.is_file() and not path.name.startswith(".extension-key")
    )
    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(fingerprint_file, (work / name for name in names)))
    return {
        name: {
            "how": how.get(name, "written"),
            "size": (work / name).stat().st_size,
            "blake2b": digest,
        }
        for name, digest in zip(names, digests, strict=True)
        if name != f"{RECEIPT}/receipt.json"
    }


def _hash_originals(plan: ExtensionPlan, work: Path) -> dict[str, str]:
    """The digests of the original's files that the output does not hold as they were."""
    root = plan.checkpoint.root
    names = [*plan.shards]
    if not plan.checkpoint.plain:
        names += [name for name in (*plan.written, *plan.removed) if (root / name).is_file()]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(fingerprint_file, (root / n for n in names)), strict=True))


def _describe(
    plan: ExtensionPlan,
    rows: list[Rows],
    digests: list[str],
    files: Mapping[str, Any],
    originals: Mapping[str, str],
) -> dict[str, Any]:
    """What `receipt.json` says. `digests` are those of each group's new rows."""
    size = plan.rows.new_size
    groups = []
    for position, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        head = plan.head if _is_head(plan, position) else None
        groups.append(
            {
                "role": group.role,
                "method": group.method,
                "note": made.note,
                "seed": made.seed,
                "has_sources": made.sources is not None,
                "number": group.first.tensor.dtype,
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
                        "new_shape": list(new_shape(item, size)),
                    }
                    for item in group.tensors
                ],
            }
        )
    options = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(replace(plan.options, tensors={})).items()
    }
    return {
        "schema": SCHEMA,
        "mode": plan.mode,
        "model": {"path": str(plan.checkpoint.root.resolve()), "type": plan.checkpoint.model_type},
        "format": "torch" if plan.checkpoint.torch_files else "safetensors",
        "plain": plan.checkpoint.plain,
        "index": plan.checkpoint.index,
        "tied": plan.found.tied,
        "head": plan.head,
        "old_tokenizer": _describe_tokenizer(plan.old),
        "new_tokenizer": _describe_tokenizer(plan.new),
        "old_rows": plan.rows.old_size,
        "new_rows": size,
        "total_size": plan.tensor_size,
        "coverage": asdict(plan.coverage),
        "options": options | {"tensors": dict(plan.options.tensors)},
        "groups": groups,
        "changes": list(plan.changes),
        "warnings": list(plan.warnings),
        "left_out": list(plan.left_out),
        "originals": dict(originals),
        "files": dict(files),
        "versions": package_versions(),
    }


def _describe_tokenizer(source: Any) -> dict[str, Any]:
    return {
        "file": source.path.name,
        "path": str(source.path.resolve()),
        "size": source.size,
        "blake2b": fingerprint_file(source.path),
    }


def _write_manifest(
    plan: ExtensionPlan, work: Path, files: Mapping[str, Any], seconds: Mapping[str, float]
) -> None:
    """`manifest.json` from digests already taken: hashing a large checkpoint twice takes minutes."""
    receipt = f"{RECEIPT}/receipt.json"
    outputs = {name: item["blake2b"] for name, item in files.items()}
    outputs[receipt] = fingerprint_file(work / receipt)
    manifest = Manifest(
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        config={name: str(value) for name, value in asdict(plan.options).items()},
        inputs={"tokenizer": fingerprint_file(plan.new.path)},
        outputs=dict(sorted(outputs.items())),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        details={"mode": plan.mode, "coverage": asdict(plan.coverage)},
        seed=plan.options.seed,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    text = json.dumps(asdict(manifest), ensure_ascii=False, indent=1)
    (work / "manifest.json").write_text(text + "\n", encoding="utf-8")


# --- Row making ------------------------------------------------------------------------------------
# The rows of a group: made by its initialiser, and put together with those that are kept.
#
# Kept rows are copied as bytes and never pass through float32; long runs of them are left to the kernel.


_BLOCK = 1 << 23
# Shorter runs of kept rows are gathered: a call to the kernel costs as much as copying this.
_RUN = 1 << 16


def _make_rows(plan: ExtensionPlan, group: Group, context: Context) -> Rows:
    """Make the new rows of a group from its first tensor's old ones."""
    first = group.first
    old = as_float32(plan.checkpoint.read_rows(first.tensor.name, first.axis), first.tensor.dtype)
    restricted = restrict_plan(plan.rows, first.rows)
    if group.role == "bias":
        values = initialize_bias(group.method, restricted, old.reshape(-1), context)
        return Rows(values.reshape(-1, 1), group.method)
    roles: dict[str, Role] = {"input": "input", "output": "output", "tied": "tied"}
    role = roles[group.role]
    donor = None if plan.options.donor is None else open_donor(plan.options.donor, role)
    return initialize(group.method, restricted, old, replace(context, role=role, donor=donor))


def restrict_plan(plan: RowPlan, rows: int) -> RowPlan:
    """The plan for a tensor with fewer rows, as per-layer tables have: ids beyond them read row 0."""
    if rows == plan.old_size:
        return plan
    return replace(
        plan,
        old_size=rows,
        kept=np.where(plan.kept >= rows, 0, plan.kept),
        padding=plan.padding[:rows],
        old_used=plan.old_used[:rows],
    )


def _make_context(
    options: Options,
    old: TokenizerSource,
    new: TokenizerSource,
    model: Path | None,
    progress: Progress,
) -> Context:
    """What the initialisers may use, but for the donor, whose rows differ by role."""
    return Context(
        old_tokenizer=old.tokenizer,
        new_tokenizer=new.tokenizer,
        lines=read_lines(options.text),
        model=model,
        seed=options.seed,
        progress=progress,
    )


def read_lines(text: Path | None) -> tuple[str, ...]:
    """The lines of a text that hold any letter. Raises ConfigError when it cannot be read as UTF-8."""
    if text is None:
        return ()
    try:
        lines = text.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8: {error.reason}"
        raise ConfigError(f"--text {text}: {reason}", "name a file of UTF-8 text") from error
    return tuple(line for line in lines if line.strip())


def _new_blocks(values: Float32Array, dtype: str) -> Iterator[Bytes]:
    """New rows as they are stored, a block at a time."""
    step = max(1, _BLOCK // max(1, values.shape[1] * 4))
    for start in range(0, len(values), step):
        yield as_bytes(values[start : start + step], dtype)


def _list_parts(
    checkpoint: Checkpoint, item: VocabularyTensor, plan: RowPlan, values: Float32Array
) -> Iterator[Part]:
    """The parts of a grown or remapped safetensors tensor in order: ranges of the old file, and bytes."""
    tensor = item.tensor
    if len(tensor.shape) > 1 and item.axis and np.prod(tensor.shape[: item.axis]) > 1:
        yield _gather_all(checkpoint, item, plan, values).data
        return
    width = item.width * SIZES[tensor.dtype]
    base = checkpoint.headers[tensor.shard].tensors[tensor.name].start
    kept = restrict_plan(plan, item.rows).kept
    made = np.cumsum(kept < 0) - 1
    step = max(1, _BLOCK // width)
    waiting = 0  # the first row not yet given out
    for start, stop in _find_runs(kept, max(1, _RUN // width)):
        yield from _gather(checkpoint, item, kept, made, values, waiting, start, step)
        yield Copied(base + int(kept[start]) * width, base + (int(kept[stop - 1]) + 1) * width)
        waiting = stop
    yield from _gather(checkpoint, item, kept, made, values, waiting, len(kept), step)


def _find_runs(kept: Int64Array, least: int) -> Iterator[tuple[int, int]]:
    """Places of kept rows that follow each other in the old matrix too, `least` or more."""
    if not len(kept):
        return
    breaks = np.flatnonzero((np.diff(kept) != 1) | (kept[1:] < 0) | (kept[:-1] < 0)) + 1
    edges = [0, *breaks.tolist(), len(kept)]
    for start, stop in pairwise(edges):
        if kept[start] >= 0 and stop - start >= least:
            yield start, stop


def _gather(
    checkpoint: Checkpoint,
    item: VocabularyTensor,
    kept: Int64Array,
    made: Int64Array,
    values: Float32Array,
    start: int,
    stop: int,
    step: int,
) -> Iterator[Part]:
    dtype = item.tensor.dtype
    for first in range(start, stop, step):
        part = kept[first : min(first + step, stop)]
        positions = made[first : first + len(part)]
        if (part < 0).all():
            yield as_bytes(values[positions[0] : positions[-1] + 1], dtype).data
            continue
        # Mapped anew for each block, so that pages once read do not stay with this process.
        old = checkpoint.read_rows(item.tensor.name, item.axis)
        block = np.empty((len(part), old.shape[1]), np.uint8)
        block[part >= 0] = old[part[part >= 0]]
        if (part < 0).any():
            block[part < 0] = as_bytes(values[positions[part < 0]], dtype)
        yield block.data


def _gather_all(
    checkpoint: Checkpoint, item: VocabularyTensor, plan: RowPlan, values: Float32Array
) -> Bytes:
    """The whole new tensor in memory, its elements in the order of its shape."""
    kept = restrict_plan(plan, item.rows).kept
    old = checkpoint.read_rows(item.tensor.name, item.axis)
    rows = np.empty((len(kept), old.shape[1]), np.uint8)
    rows[kept >= 0] = old[kept[kept >= 0]]
    rows[kept < 0] = as_bytes(values, item.tensor.dtype)
    return unfold_rows(rows, item)


def unfold_rows(rows: Bytes, item: VocabularyTensor) -> Bytes:
    """Rows [rows, bytes a row] as the flat bytes of a tensor with the vocabulary along `item.axis`."""
    outer = int(np.prod(item.tensor.shape[: item.axis]))
    if outer == 1:
        return rows.reshape(-1)
    wide = rows.reshape(len(rows), outer, -1)
    return np.ascontiguousarray(np.moveaxis(wide, 0, 1)).reshape(-1)


# --- Weight writing --------------------------------------------------------------------------------
# Writing an extended checkpoint's weights, and the files beside them, into a folder that is being made.


def _placed(plan: ExtensionPlan, rows: list[Rows]) -> dict[str, tuple[VocabularyTensor, Rows]]:
    """Tensor name → the tensor and its group's new rows; the new head under its own name."""
    found: dict[str, tuple[VocabularyTensor, Rows]] = {}
    for position, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        if plan.head is not None and position == len(plan.groups) - 1:
            found[plan.head] = (group.first, made)
        else:
            found |= {item.tensor.name: (item, made) for item in group.tensors}
    return found


def _write_weights(
    plan: ExtensionPlan, rows: list[Rows], work: Path, progress: Progress
) -> dict[str, str]:
    """Rewrite every shard that holds vocabulary tensors; file name → "rewritten"."""
    placed = _placed(plan, rows)
    checkpoint = plan.checkpoint
    progress.start("writing", plan.written_size, "B")
    for shard in plan.shards:
        mine = {
            name: (item, made)
            for name, (item, made) in placed.items()
            if item.tensor.shard == shard
        }
        with finished_file(work / shard) as part:
            if part is None:
                continue
            if shard in checkpoint.torch_files:
                _write_torch(plan, shard, mine, part)
            else:
                changes = {
                    name: _as_replacement(plan, item, made) for name, (item, made) in mine.items()
                }
                rewrite_file(
                    checkpoint.root / shard,
                    part,
                    changes,
                    checkpoint.headers[shard],
                    progress.advance,
                )
    progress.finish()
    return dict.fromkeys(plan.shards, "rewritten")


def _as_replacement(plan: ExtensionPlan, item: VocabularyTensor, made: Rows) -> Replacement:
    def parts() -> Iterator[Part]:
        return _list_parts(plan.checkpoint, item, plan.rows, made.values)

    return Replacement(item.tensor.dtype, new_shape(item, plan.rows.new_size), parts)


def _write_torch(
    plan: ExtensionPlan, shard: str, mine: Mapping[str, tuple[VocabularyTensor, Rows]], part: Path
) -> None:
    file = plan.checkpoint.torch_files[shard]
    made: dict[str, Any] = {}
    for name, (item, rows) in mine.items():
        shared = [] if name == plan.head else file.shared_with(name)
        same = next(
            (made[other] for other in shared if other in made and mine[other][1] is rows), None
        )
        data = (
            _gather_all(plan.checkpoint, item, plan.rows, rows.values) if same is None else same[0]
        )
        made[name] = (data, item.tensor.dtype, new_shape(item, plan.rows.new_size))
    write_torch_file(file, part, made)


def _write_others(plan: ExtensionPlan, work: Path) -> dict[str, str]:
    """Copy or link what stays and write the small files; file name → which of these it was."""
    how: dict[str, str] = {}
    root = plan.checkpoint.root
    for name in plan.copied:
        how[name] = duplicate_file(root / name, work / name, link=plan.options.link)
    for name, data in plan.written.items():
        (work / name).write_bytes(data)
        how[name] = "written"
    return how


# --- Extend ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extended:
    """What was done: the plan, what each group's rows came to, and the seconds of each phase."""

    plan: ExtensionPlan
    notes: Mapping[str, str]
    seconds: Mapping[str, float]


def extend_checkpoint(
    model: str | Path,
    tokenizer: str | Path,
    folder: str | Path,
    options: Options | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Extended:
    """Write to `folder` the checkpoint `model` with the vocabulary of `tokenizer`.

    `model` is not changed. Raises CheckpointError, TokenizerError, ConfigError and OutputError; then
    nothing is left behind.
    """
    clock = _Clock()
    shown = progress or Silent()
    target, told = Path(folder), options or Options()
    check_places(target, Path(model), Path(tokenizer), told.donor, told.text, told.old_tokenizer)
    check_output(target, force=force)
    with clock.measure("plan"):
        plan = plan_extension(model, tokenizer, told)
        check_space(target, plan.disk_size)
    with clock.measure("rows"):
        rows = _make_all(plan, shown)
        digests = [
            digest_rows(_new_blocks(made.values, group.first.tensor.dtype))
            for group, made in zip(plan.groups, rows, strict=True)
        ]
    with open_staging(target, _make_key(plan, digests), force=force) as work:
        with clock.measure("write"):
            how = _write_weights(plan, rows, work, shown)
            how |= _write_others(plan, work)
        with clock.measure("receipt"):
            _write_originals(plan, rows, work)
        with clock.measure("hash"):
            files = _hash_files(plan, work, how)
            originals = _hash_originals(plan, work)
        facts = _describe(plan, rows, digests, files, originals)
        (work / RECEIPT / "receipt.json").write_bytes(dump_facts(facts))
        _write_manifest(plan, work, files, clock.seconds)
    notes = {
        f"{group.role} ({group.first.tensor.name})": made.note or made.method
        for group, made in zip(plan.groups, rows, strict=True)
    }
    return Extended(plan, notes, clock.seconds)


class _Clock:
    """Seconds of named phases."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


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


def _make_all(plan: ExtensionPlan, progress: Progress) -> list[Rows]:
    context = _make_context(plan.options, plan.old, plan.new, plan.checkpoint.root, progress)
    return [_make_rows(plan, group, context) for group in plan.groups]
