"""What an extension leaves behind beside the weights: originals, hashes, the receipt's facts, the manifest."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.core.provenance import Manifest, fingerprint_file, package_versions
from vocabkit.extension.matching import new_ids
from vocabkit.extension.plan import ExtensionPlan, new_shape
from vocabkit.extension.plan_types import Rows
from vocabkit.extension.receipt import (
    DROPPED,
    ORIGINAL,
    RECEIPT,
    SCHEMA,
    join_sources,
    write_arrays,
)

__all__ = ["describe", "hash_files", "hash_originals", "write_manifest", "write_originals"]


def write_originals(plan: ExtensionPlan, rows: list[Rows], work: Path) -> None:
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
    for place, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        arrays |= join_sources(made, place)
        lost = np.flatnonzero(new_ids(plan.rows)[: group.first.rows] < 0)
        if len(lost) and not _is_head(plan, place):
            old = checkpoint.read_rows(group.first.tensor.name, group.first.axis)
            arrays[f"{DROPPED}.group{place}"] = old[lost]
    write_arrays(work / RECEIPT / "rows.safetensors", arrays)


def _keep_earlier(root: Path, kept: Path) -> None:
    """Keep the manifest, and the receipt of an earlier extension, whose places this one's take."""
    if (root / "manifest.json").is_file():
        shutil.copyfile(root / "manifest.json", kept / "manifest.json")
    if (root / RECEIPT).is_dir():
        shutil.copytree(root / RECEIPT, kept / RECEIPT, dirs_exist_ok=True)


def _is_head(plan: ExtensionPlan, place: int) -> bool:
    return plan.head is not None and place == len(plan.groups) - 1


def hash_files(
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


def hash_originals(plan: ExtensionPlan, work: Path) -> dict[str, str]:
    """The digests of the original's files that the output does not hold as they were."""
    root = plan.checkpoint.root
    names = [*plan.shards]
    if not plan.checkpoint.plain:
        names += [name for name in (*plan.written, *plan.removed) if (root / name).is_file()]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(fingerprint_file, (root / n for n in names)), strict=True))


def describe(
    plan: ExtensionPlan,
    rows: list[Rows],
    digests: list[str],
    files: Mapping[str, Any],
    originals: Mapping[str, str],
) -> dict[str, Any]:
    """What `receipt.json` says. `digests` are those of each group's new rows."""
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
                "new_rows_blake2b": digests[place],
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


def write_manifest(
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
