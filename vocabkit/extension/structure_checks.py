"""What can be checked of an extended checkpoint without running it, each against its receipt.

Every function returns a state and what was found. Only `failed` means that the checkpoint is wrong; a
warning is about rows that are sound but odd.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from vocabkit.core.provenance import fingerprint_file
from vocabkit.extension.checkpoint import Checkpoint, read_json
from vocabkit.extension.id_files import list_tokenizer_files
from vocabkit.extension.number_formats import as_float32
from vocabkit.extension.receipt import ORIGINAL, RECEIPT, Receipt
from vocabkit.extension.row_checks import measure_rows
from vocabkit.extension.tokenizer_source import open_source, token_text
from vocabkit.extension.vocabulary_tensors import find_vocabulary_tensors, read_vocabulary_size

__all__ = [
    "State",
    "check_configuration",
    "check_files",
    "check_index",
    "check_receipt",
    "check_rows",
    "check_tensors",
    "check_tokenizer",
]

State = Literal["ok", "failed", "warned", "skipped"]


def check_receipt(receipt: Receipt) -> tuple[State, str]:
    """Whether the receipt, which all else is held against, is as the manifest says."""
    path = receipt.root / "manifest.json"
    if not path.is_file():
        return "failed", "manifest.json is missing, which has the receipt's hash"
    name = f"{RECEIPT}/receipt.json"
    outputs = read_json(path).get("outputs")
    said = outputs.get(name) if isinstance(outputs, Mapping) else None
    if said != fingerprint_file(receipt.root / name):
        return "failed", f"{name} was changed since it was written"
    return "ok", f"{name} as it was written"


def check_files(receipt: Receipt) -> tuple[State, str]:
    """Whether every file is there with the bytes it was written with."""
    files: Mapping[str, Any] = receipt.facts["files"]
    missing = [name for name in files if not (receipt.root / name).is_file()]
    if missing:
        return "failed", f"missing: {', '.join(missing[:5])}"
    changed = [
        name
        for name, item in files.items()
        if (receipt.root / name).stat().st_size != item["size"]
        or fingerprint_file(receipt.root / name) != item["blake2b"]
    ]
    if changed:
        return "failed", f"changed since they were written: {', '.join(changed[:5])}"
    return "ok", f"{len(files)} files as they were written"


def check_tensors(receipt: Receipt, checkpoint: Checkpoint) -> tuple[State, str]:
    """Whether each vocabulary tensor has its new shape, and no other has that size."""
    size = receipt.facts["new_rows"]
    told = receipt.facts["options"]["tensors"]
    listed = {item["name"]: item for group in receipt.groups for item in group["tensors"]}
    for name, item in listed.items():
        tensor = checkpoint.tensors.get(name)
        if tensor is None or list(tensor.shape) != item["new_shape"]:
            return "failed", f"{name}: {None if tensor is None else tensor.shape}"
    roles = {item["name"]: item["role"] for item in listed.values()}
    told = {**told, **roles}
    found = find_vocabulary_tensors(checkpoint, size, told)
    if found.rows != size or {item.tensor.name for item in found.found} != set(listed):
        return (
            "failed",
            f"{found.rows} rows in {len(found.found)} tensors, not {size} in {len(listed)}",
        )
    return "ok", f"{len(listed)} tensors of {size:,} rows, {found.tied}"


def check_index(receipt: Receipt, checkpoint: Checkpoint) -> tuple[State, str]:
    """Whether the index counts the bytes that the tensors have."""
    if checkpoint.index is None:
        return "skipped", "one file, no index"
    said = read_json(receipt.root / checkpoint.index).get("metadata", {}).get("total_size")
    if said != checkpoint.total_size:
        return "failed", f"total_size {said}, and the tensors take {checkpoint.total_size:,}"
    return "ok", f"total_size {said:,}"


def check_configuration(receipt: Receipt, checkpoint: Checkpoint) -> tuple[State, str]:
    """Whether config.json and generation_config.json fit the tensors and the tokenizer."""
    if checkpoint.config is None:
        return "skipped", "a plain file has none"
    size = receipt.facts["new_rows"]
    said = read_vocabulary_size(checkpoint.config)
    if said != size:
        return "failed", f"vocab_size {said}, and the tensors have {size:,} rows"
    wrong = [text for text in _list_wrong_ids(receipt, size)]
    if wrong:
        return "failed", "; ".join(wrong)
    return "ok", f"vocab_size {size:,}"


def _list_wrong_ids(receipt: Receipt, size: int) -> Iterator[str]:
    """Ids beyond the vocabulary, and those of another token than the tokenizer's of that role."""
    roles = open_source(receipt.root).roles if list_tokenizer_files(receipt.root) else {}
    for name in ("config.json", "generation_config.json"):
        if not (receipt.root / name).is_file():
            continue
        stored = receipt.root / ORIGINAL / name
        before = read_json(stored) if stored.is_file() else {}
        for key, value in read_json(receipt.root / name).items():
            if not key.endswith("_token_id"):
                continue
            had = before.get(key, value)
            if value == had:
                continue  # many a configuration names ids of another vocabulary, and did before
            listed = value if isinstance(value, list) else [value]
            if any(item is not None and item >= size for item in listed):
                yield f"{name}: {key} {value} is beyond the vocabulary"
            index = roles.get(key.removesuffix("_token_id"))
            # Nor do all models agree with their tokenizer: an id moved with its row is right.
            olds = {had} if isinstance(had, int) else set(had or ())
            moved = all(item is not None and int(receipt.kept[item]) in olds for item in listed)
            if index is not None and index not in listed and not moved:
                yield f"{name}: {key} {value}, and the tokenizer says {index}"


def check_tokenizer(receipt: Receipt) -> tuple[State, str]:
    """Whether the tokenizer fits the rows, and its files agree with each other."""
    if not list_tokenizer_files(receipt.root):
        return "skipped", "no tokenizer in the folder"
    source = open_source(receipt.root)
    size = receipt.facts["new_rows"]
    if source.size > size:
        return "failed", f"ids up to {source.size - 1:,}, and {size:,} rows"
    if source.size != receipt.facts["new_tokenizer"]["size"]:
        return "failed", f"{source.size:,} ids, not {receipt.facts['new_tokenizer']['size']:,}"
    decoder = source.settings.get("added_tokens_decoder") or {}
    names = source.names
    for index, entry in decoder.items():
        if names.get(int(index)) != token_text(entry):
            return "failed", f"added_tokens_decoder: {index} is {names.get(int(index))!r}"
    for role, index in source.roles.items():
        text = token_text(source.settings.get(f"{role}_token"))
        if text is not None and names.get(index) != text:
            return "failed", f"{role}_token {text!r} is no special token"
    return "ok", f"{source.size:,} ids, {size - source.size:,} rows of padding"


def check_rows(receipt: Receipt, checkpoint: Checkpoint, place: int) -> tuple[State, str]:
    """What the new rows of a group look like beside the old ones."""
    group = receipt.groups[place]
    listed = group["tensors"][0]
    stored = checkpoint.read_rows(listed["name"], listed["axis"])
    values = as_float32(stored, group["number"])
    kept = receipt.kept
    tokens = receipt.facts["new_tokenizer"]["size"]
    fresh = (kept < 0) & (np.arange(len(kept)) < tokens)
    made = measure_rows(values, fresh)
    if not made.rows:
        return "ok", "no new rows"
    if made.not_finite:
        return "failed", f"{made.not_finite} of {made.rows} new rows are not finite"
    if group["role"] == "bias":
        return "ok", f"{made.rows} new values"
    detail = f"{made.rows:,} new rows"
    places = np.flatnonzero(kept >= 0)
    old = measure_rows(values, places[:: max(1, len(places) // 20_000)])
    if made.norms and old.norms:
        detail += f", norms {made.norms[0]:.3g}–{made.norms[1]:.3g}–{made.norms[2]:.3g}"
        detail += f" (old {old.norms[0]:.3g}–{old.norms[1]:.3g}–{old.norms[2]:.3g})"
    doubts = [
        f"{amount:,} {what}"
        for amount, what in ((made.zero, "zero"), (made.repeated, "equal to another"))
        if amount
    ]
    if made.norms and old.norms and made.norms[1] > 3 * max(old.norms[2], 1e-12):
        doubts.append("norms far above the old")
    return ("warned" if doubts else "ok"), "; ".join([detail, *doubts])
