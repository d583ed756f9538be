"""The original of an extended checkpoint, from the output and its receipt alone.

Rows that were kept are taken from the extended tensors, dropped ones from the receipt; with the original
headers every rewritten safetensors file comes out bit for bit, which is checked against its digest. Files
in PyTorch's format get the original tensors, in a file serialised anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.checkpoints.checkpoint import Checkpoint, VocabularyTensor, open_checkpoint
from vocabkit.checkpoints.receipt import DROPPED, ORIGINAL, Receipt, invert_kept, read_receipt
from vocabkit.checkpoints.safetensors_files import SIZES, Bytes, Copied, Part, write_file
from vocabkit.checkpoints.torch_files import write_torch_file
from vocabkit.core.arrays import Int64Array
from vocabkit.core.errors import CheckpointError
from vocabkit.core.folders import (
    check_places,
    check_space,
    duplicate_file,
    fingerprint_file,
    output_folder,
)
from vocabkit.core.progress import Progress, Silent
from vocabkit.extension.extend import unfold_rows

_BLOCK = 1 << 23


@dataclass(frozen=True, slots=True)
class Undone:
    """The files written, and those whose bytes are not the original's, each with the reason."""

    files: tuple[str, ...]
    differing: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Old:
    """How to get an original tensor: its extended one, where each old row is, and the dropped ones."""

    item: VocabularyTensor
    old_shape: tuple[int, ...]
    positions: Int64Array
    dropped: Bytes | None


def undo_extension(
    extended: str | Path,
    folder: str | Path,
    *,
    link: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Undone:
    """Write to `folder` the checkpoint that `extended` was made of; `extended` is not changed.

    Raises CheckpointError where there is no receipt or it does not fit, and OutputError.
    """
    shown = progress or Silent()
    receipt = read_receipt(extended)
    root, target = receipt.root, Path(folder)
    check_places(target, root)
    checkpoint = open_extended(receipt)
    shards = [name for name, item in receipt.facts["files"].items() if item["how"] == "rewritten"]
    check_space(target, sum((root / name).stat().st_size for name in shards))
    stored = _list_stored(receipt)
    with output_folder(target, force=force) as work:
        shown.start("undoing", len(shards), "shards")
        for shard in shards:
            _restore_shard(receipt, checkpoint, shard, work / shard)
            shown.advance(1)
        shown.finish()
        for name in stored:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes((root / ORIGINAL / name).read_bytes())
        for name, item in receipt.facts["files"].items():
            if item["how"] in ("linked", "copied", "reflinked", "kept"):
                duplicate_file(root / name, work / name, link=link)
        written = tuple(
            sorted(p.relative_to(work).as_posix() for p in work.rglob("*") if p.is_file())
        )
        differing = _compare(receipt, work)
    return Undone(written, differing)


def open_extended(receipt: Receipt) -> Checkpoint:
    """The tensors of an extended checkpoint."""
    if receipt.facts["plain"]:
        shards = [n for n, item in receipt.facts["files"].items() if item["how"] == "rewritten"]
        return open_checkpoint(receipt.root / shards[0])
    return open_checkpoint(receipt.root)


def old_rows(receipt: Receipt, checkpoint: Checkpoint, position: int) -> Bytes:
    """The original rows of a group, [old rows, bytes a row], in memory."""
    group = receipt.groups[position]
    listed = group["tensors"][0]
    old = _find_old(receipt, checkpoint, position, listed)
    rows = checkpoint.read_rows(listed["name"], listed["axis"])
    return _take(old, rows, 0, len(old.positions))


def _list_stored(receipt: Receipt) -> list[str]:
    folder = receipt.root / ORIGINAL
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    # Headers of this receipt lie at its top; those below are an earlier extension's.
    return sorted(name for name in names if "/" in name or not name.endswith(".header"))


def _find_old(
    receipt: Receipt, checkpoint: Checkpoint, position: int, listed: Mapping[str, Any]
) -> _Old:
    """Where the original rows of a tensor are."""
    name = listed["name"]
    tensor = checkpoint.tensors.get(name)
    if tensor is None or list(tensor.shape) != listed["new_shape"]:
        found = "is missing" if tensor is None else f"is {list(tensor.shape)}"
        raise CheckpointError(
            f"{receipt.root}: {name} {found}, and the receipt says {listed['new_shape']}",
            "undo needs the output as `vocabkit extend` wrote it",
        )
    rows = int(receipt.groups[position]["old_rows"])
    positions = invert_kept(receipt.kept, max(int(receipt.facts["old_rows"]), rows))
    dropped = f"{DROPPED}.group{position}"
    return _Old(
        VocabularyTensor(tensor, "input", int(listed["axis"]), position),
        tuple(listed["old_shape"] or ()),
        positions[:rows],
        receipt.find(dropped),
    )


def _restore_shard(receipt: Receipt, checkpoint: Checkpoint, shard: str, target: Path) -> None:
    olds = {
        listed["name"]: _find_old(receipt, checkpoint, position, listed)
        for position, group in enumerate(receipt.groups)
        for listed in group["tensors"]
        if listed["shard"] == shard and listed["old_shape"] is not None
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    if shard in checkpoint.torch_files:
        changes = {}
        for name, old in olds.items():
            flat = _restore_all(checkpoint, old)
            changes[name] = (flat, old.item.tensor.dtype, old.old_shape)
        file = checkpoint.torch_files[shard]
        shared: dict[str, Any] = {}
        for name in changes:
            same = next((other for other in file.shared_with(name) if other in shared), None)
            shared[name] = changes[name] if same is None else shared[same]
        write_torch_file(file, target, shared, drop=_added(receipt))
        return
    kept = receipt.root / ORIGINAL / f"{shard}.header"
    if not kept.is_file():
        raise CheckpointError(f"{kept}: is missing", "copy the receipt's folder again")
    raw = kept.read_bytes()
    content = json.loads(raw)
    content.pop("__metadata__", None)
    order = sorted(content, key=lambda name: content[name]["data_offsets"])

    def parts() -> Iterator[Part]:
        for name in order:
            if name in olds:
                yield from _restore_parts(checkpoint, olds[name])
            else:
                position = checkpoint.headers[shard].tensors[name]
                yield Copied(position.start, position.stop)

    write_file(target, raw, parts(), receipt.root / shard)


def _added(receipt: Receipt) -> tuple[str, ...]:
    head = receipt.facts.get("head")
    return () if head is None else (str(head),)


def _restore_parts(checkpoint: Checkpoint, old: _Old) -> Iterator[Part]:
    tensor = old.item.tensor
    if len(tensor.shape) > 1 and np.prod(tensor.shape[: old.item.axis]) > 1:
        yield _restore_all(checkpoint, old).data
        return
    width = old.item.width * SIZES[tensor.dtype]
    base = checkpoint.headers[tensor.shard].tensors[tensor.name].start
    positions = old.positions
    breaks = (
        np.flatnonzero((np.diff(positions) != 1) | (positions[1:] < 0) | (positions[:-1] < 0)) + 1
    )
    step = max(1, _BLOCK // width)
    edges = [0, *breaks.tolist(), len(positions)]
    waiting = 0
    for start, stop in pairwise(edges):
        if positions[start] >= 0 and (stop - start) * width >= 1 << 16:
            yield from _gather(checkpoint, old, waiting, start, step)
            first = base + int(positions[start]) * width
            yield Copied(first, first + (stop - start) * width)
            waiting = stop
    yield from _gather(checkpoint, old, waiting, len(positions), step)


def _gather(checkpoint: Checkpoint, old: _Old, start: int, stop: int, step: int) -> Iterator[Part]:
    for first in range(start, stop, step):
        rows = checkpoint.read_rows(old.item.tensor.name, old.item.axis)
        yield _take(old, rows, first, min(first + step, stop)).data


def _take(old: _Old, rows: Bytes, start: int, stop: int) -> Bytes:
    part = old.positions[start:stop]
    block = np.empty((len(part), rows.shape[1]), np.uint8)
    block[part >= 0] = rows[part[part >= 0]]
    lost = part < 0
    if lost.any():
        if old.dropped is None:
            raise CheckpointError(
                f"{old.item.tensor.name}: the receipt lacks the rows that were dropped",
                "undo needs the receipt as it was written",
            )
        before = int((old.positions[:start] < 0).sum())
        block[lost] = old.dropped[before : before + int(lost.sum())]
    return block


def _restore_all(checkpoint: Checkpoint, old: _Old) -> Bytes:
    rows = checkpoint.read_rows(old.item.tensor.name, old.item.axis)
    return unfold_rows(_take(old, rows, 0, len(old.positions)), old.item)


def _compare(receipt: Receipt, work: Path) -> dict[str, str]:
    """Files that are not the original's to the bit, and why."""
    differing: dict[str, str] = {}
    for name, digest in receipt.facts["originals"].items():
        if not (work / name).is_file():
            differing[name] = "missing"
        elif fingerprint_file(work / name) != digest:
            is_torch = receipt.facts["format"] == "torch" and not name.endswith(".json")
            differing[name] = (
                "serialised anew: the tensors are the original's"
                if is_torch
                else "the extended checkpoint was changed after it was written"
            )
    return differing
