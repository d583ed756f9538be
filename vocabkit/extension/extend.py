"""A checkpoint given the vocabulary of another tokenizer: `extend_checkpoint` makes, writes and signs it.

Only shards with vocabulary tensors are rewritten; everything else is linked, reflinked or copied as it
is. The output is made under a hidden name and appears whole; a killed run is taken up where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import Manifest, fingerprint_file, package_versions
from vocabkit.extension.matching import new_ids
from vocabkit.extension.plan import ExtensionPlan, Options, new_shape, plan_extension
from vocabkit.extension.plan_types import Rows
from vocabkit.extension.receipt import (
    DROPPED,
    ORIGINAL,
    RECEIPT,
    SCHEMA,
    digest_rows,
    dump_facts,
    join_sources,
    write_arrays,
)
from vocabkit.extension.row_making import (
    gather_all,
    list_parts,
    make_context,
    make_rows,
    new_blocks,
)
from vocabkit.extension.safetensors_stream import Part, Replacement, rewrite_file
from vocabkit.extension.staging import check_space, duplicate_file, finished_file, open_staging
from vocabkit.extension.torch_checkpoint import write_torch_file
from vocabkit.extension.vocabulary_tensors import VocabularyTensor

__all__ = ["Extended", "extend_checkpoint"]


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
    target = Path(folder)
    with clock.measure("plan"):
        plan = plan_extension(model, tokenizer, options)
        check_space(target, plan.disk_size)
    with open_staging(target, _make_key(plan), force=force) as work:
        with clock.measure("rows"):
            rows = _make_all(plan, shown)
        with clock.measure("write"):
            how = _write_weights(plan, rows, work, shown)
            how |= _write_others(plan, work)
        with clock.measure("receipt"):
            _write_originals(plan, rows, work)
        with clock.measure("hash"):
            files = _hash_files(plan, work, how)
            originals = _hash_originals(plan, work)
        facts = _describe(plan, rows, files, originals)
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


def _make_key(plan: ExtensionPlan) -> str:
    """What tells two extensions apart: options, files by size and time, and the tokenizers."""
    root = plan.checkpoint.root
    stats = [(root / shard).stat() for shard in plan.checkpoint.shards]
    told = {
        "options": {name: str(value) for name, value in asdict(plan.options).items()},
        "shards": [(name, stat.st_size, stat.st_mtime_ns) for name, stat in
                   zip(plan.checkpoint.shards, stats, strict=True)],
        "root": str(root.resolve()),
        "tokenizers": [fingerprint_file(plan.old.path), fingerprint_file(plan.new.path)],
        "versions": package_versions(("vocabkit", "numpy")),
    }  # fmt: skip
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=20).hexdigest()


def _make_all(plan: ExtensionPlan, progress: Progress) -> list[Rows]:
    context = make_context(plan.options, plan.old, plan.new, plan.checkpoint.root, progress)
    return [make_rows(plan, group, context) for group in plan.groups]


def _placed(plan: ExtensionPlan, rows: list[Rows]) -> dict[str, tuple[VocabularyTensor, Rows]]:
    """Tensor name → the tensor and its group's new rows; the new head under its own name."""
    found: dict[str, tuple[VocabularyTensor, Rows]] = {}
    for place, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        if plan.head is not None and place == len(plan.groups) - 1:
            found[plan.head] = (group.first, made)
        else:
            found |= {item.tensor.name: (item, made) for item in group.tensors}
    return found


def _write_weights(
    plan: ExtensionPlan, rows: list[Rows], work: Path, progress: Progress
) -> dict[str, str]:
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
        return list_parts(plan.checkpoint, item, plan.rows, made.values)

    return Replacement(item.tensor.number, new_shape(item, plan.rows.new_size), parts)


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
            gather_all(plan.checkpoint, item, plan.rows, rows.values) if same is None else same[0]
        )
        made[name] = (data, item.tensor.number, new_shape(item, plan.rows.new_size))
    write_torch_file(file, part, made)


def _write_others(plan: ExtensionPlan, work: Path) -> dict[str, str]:
    how: dict[str, str] = {}
    root = plan.checkpoint.root
    for name in plan.copied:
        how[name] = duplicate_file(root / name, work / name, link=plan.options.link)
    for name, data in plan.written.items():
        (work / name).write_bytes(data)
        how[name] = "written"
    return how


def _write_originals(plan: ExtensionPlan, rows: list[Rows], work: Path) -> None:
    """Keep what would be lost: small files, headers, and rows that no new id has."""
    root, checkpoint = plan.checkpoint.root, plan.checkpoint
    kept = work / ORIGINAL
    kept.mkdir(parents=True, exist_ok=True)
    for name in (*plan.written, *plan.removed):
        if (root / name).is_file() and not checkpoint.plain:
            (kept / name).write_bytes((root / name).read_bytes())
    for shard in plan.shards:
        if shard in checkpoint.headers:
            (kept / f"{shard}.header").write_bytes(checkpoint.headers[shard].raw)
    arrays: dict[str, Any] = {
        "kept": plan.rows.kept,
        "padding": plan.rows.padding,
        "old_used": plan.rows.old_used,
    }
    for place, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        arrays |= join_sources(made, place)
        lost = np.flatnonzero(new_ids(plan.rows)[: group.first.rows] < 0)
        if len(lost) and not _is_head(plan, place):
            old = checkpoint.read_rows(group.first.tensor.name, group.first.axis)
            arrays[f"{DROPPED}.group{place}"] = old[lost]
    write_arrays(work / RECEIPT / "rows.safetensors", arrays)


def _is_head(plan: ExtensionPlan, place: int) -> bool:
    return plan.head is not None and place == len(plan.groups) - 1


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
    files: Mapping[str, Any],
    originals: Mapping[str, str],
) -> dict[str, Any]:
    size = plan.rows.new_size
    groups = []
    for place, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        head = plan.head if _is_head(plan, place) else None
        groups.append(
            {
                "role": group.role,
                "method": group.method,
                "note": made.note,
                "seed": made.seed,
                "has_sources": made.sources is not None,
                "number": group.first.tensor.number,
                "width": group.first.width,
                "old_rows": group.first.rows,
                "new_rows_blake2b": digest_rows(new_blocks(made.values, group.first.tensor.number)),
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
