"""The original of an extended checkpoint, from the output and its receipt alone.

Rows that were kept are taken from the extended tensors, dropped ones from the receipt; with the original
headers every rewritten safetensors file comes out bit for bit, which is checked against its digest. Files
in PyTorch's format get the original tensors, in a file serialised anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.checkpoints.checkpoint import Checkpoint, VocabularyTensor, open_checkpoint
from vocabkit.checkpoints.receipt import DROPPED, ORIGINAL, Receipt, invert_kept, read_receipt
from vocabkit.checkpoints.safetensors_files import Bytes, Copied, Part, write_file
from vocabkit.core.errors import CheckpointError
from vocabkit.core.folders import check_output, check_space, duplicate_file, fingerprint_file, output_folder
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.results import Result
from vocabkit.extension.extend import MovedRows, write_moved


@dataclass(frozen=True, slots=True)
class Undone(Result):
    """The files written, and those whose bytes are not the original's, each with the reason."""

    files: tuple[str, ...]
    differing: Mapping[str, str]

    def to_rows(self) -> list[dict[str, object]]:
        """Return a row a file, with why its bytes are not the original's, if so."""
        return [{"file": name, "differs": self.differing.get(name)} for name in self.files]


def undo_extension(
    extended: str | Path,
    output: str | Path,
    *,
    link: bool = False,
    verify: bool = True,
    force: bool = False,
    progress: Progress | None = None,
) -> Undone:
    """Write to `output` the checkpoint that `extended` was made of; `extended` is not changed.

    What is read is held to the digests of the receipt; with `verify` False it may have been trained since. What
    is made again is compared with the original. Raises CheckpointError where there is no receipt, it does not
    fit or a file was changed, and OutputError.
    """
    shown = progress or Silent()
    receipt = read_receipt(extended)
    root, target = receipt.root, Path(output)
    known = {name.split("/")[0] for name in receipt.facts["originals"]}
    check_output(target, [root], force=force, known=known)
    checkpoint = open_extended(receipt)
    files: Mapping[str, Any] = receipt.facts["files"]
    shards = [name for name, item in files.items() if item["how"] == "rewritten"]
    taken = [name for name, item in files.items() if item["how"] in ("linked", "copied", "reflinked", "kept")]
    for name in (*shards, *taken):
        if not (root / name).is_file():
            raise CheckpointError(f"{root / name}: is missing, and the receipt names it", "copy the file again")
    if verify:
        receipt.check_files([*shards, *taken])
    check_space(target, sum((root / name).stat().st_size for name in shards))
    folder = root / ORIGINAL
    kept = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    # Headers of this receipt lie at its top; those below are an earlier extension's.
    stored = [name for name in kept if "/" in name or not name.endswith(".header")]
    with output_folder(target, force=force, known=known) as work:
        shown.start("undoing", len(shards), "shards")
        for shard in shards:
            _restore_shard(receipt, checkpoint, shard, work / shard)
            shown.advance(1)
        shown.finish()
        for name in stored:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes((folder / name).read_bytes())
        for name in taken:
            duplicate_file(root / name, work / name, link=link)
        written = tuple(sorted(p.relative_to(work).as_posix() for p in work.rglob("*") if p.is_file()))
        differing = _compare(receipt, work)
    return Undone(written, differing)


def open_extended(receipt: Receipt) -> Checkpoint:
    """The tensors of an extended checkpoint."""
    if receipt.facts["plain"]:
        shards = [n for n, item in receipt.facts["files"].items() if item["how"] == "rewritten"]
        return open_checkpoint(receipt.root / shards[0])
    return open_checkpoint(receipt.root)


def find_old(
    receipt: Receipt, checkpoint: Checkpoint, position: int, names: Sequence[str] = ()
) -> dict[str, MovedRows]:
    """Return the original rows of a group's tensors by name; of those in `names`, or of the first alone.

    Raises CheckpointError where the receipt does not fit the tensors.
    """
    group = receipt.groups[position]
    rows = int(group["old_rows"])
    inverse = invert_kept(receipt.kept_of(position), max(int(receipt.facts["old_rows"]), rows))
    dropped = receipt.find(f"{DROPPED}.group{position}")

    def give_back(start: int, stop: int) -> Bytes:
        if dropped is None:
            what = f"{group['tensors'][0]['name']}: the receipt lacks the rows that were dropped"
            raise CheckpointError(what, "undo needs the receipt as it was written")
        return np.asarray(dropped[start:stop], np.uint8)

    olds = {}
    for listed in group["tensors"] if names else group["tensors"][:1]:
        name = listed["name"]
        if names and name not in names:
            continue
        tensor = checkpoint.tensors.get(name)
        if tensor is None or list(tensor.shape) != listed["new_shape"]:
            found = "is missing" if tensor is None else f"is {list(tensor.shape)}"
            what = f"{receipt.root}: {name} {found}, and the receipt says {listed['new_shape']}"
            raise CheckpointError(what, "undo needs the output as `vocabkit extend` wrote it")
        item = VocabularyTensor(tensor, "input", int(listed["axis"]), position)
        olds[name] = MovedRows(checkpoint, item, inverse[:rows], give_back)
    return olds


def _restore_shard(receipt: Receipt, checkpoint: Checkpoint, shard: str, target: Path) -> None:
    olds: dict[str, MovedRows] = {}
    for position, group in enumerate(receipt.groups):
        mine = [one for one in group["tensors"] if one["shard"] == shard and one["old_shape"] is not None]
        names = [one["name"] for one in mine]
        olds |= find_old(receipt, checkpoint, position, names) if names else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    if shard in checkpoint.torch_files:
        head = receipt.facts.get("head")
        write_moved(checkpoint.torch_files[shard], target, olds, () if head is None else (str(head),))
        return
    kept = receipt.root / ORIGINAL / f"{shard}.header"
    if not kept.is_file():
        raise CheckpointError(f"{kept}: is missing", "copy the receipt's folder again")
    raw = kept.read_bytes()
    try:
        content = json.loads(raw)
        content.pop("__metadata__", None)
        order = sorted(content, key=lambda name: int(content[name]["data_offsets"][0]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{kept}: not a safetensors header: {error}", "copy the receipt again") from error
    if strange := set(order) - olds.keys() - checkpoint.headers[shard].tensors.keys():
        what = f"names {min(strange)}, which {shard} does not have"
        raise CheckpointError(f"{kept}: {what}", "copy the receipt again")

    def parts() -> Iterator[Part]:
        for name in order:
            if name in olds:
                yield from olds[name].list_parts()
            else:
                stored = checkpoint.headers[shard].tensors[name]
                yield Copied(stored.start, stored.stop)

    write_file(target, raw, parts(), receipt.root / shard)


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
