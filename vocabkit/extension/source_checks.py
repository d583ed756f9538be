"""New rows made again from the receipt, and compared with those that are stored.

Rows that are sums of old rows come from their sources; seeded ones, and biases, from their method and
seed. What was learned from text, a donor or the model itself is compared by its digest alone.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vocabkit.extension.checkpoint import Checkpoint
from vocabkit.extension.context import Context, Role
from vocabkit.extension.id_files import list_tokenizer_files
from vocabkit.extension.initializers import (
    METHODS,
    initialize,
    initialize_bias,
    parse_method,
)
from vocabkit.extension.number_formats import Bytes, as_bytes, as_float32
from vocabkit.extension.plan_types import BoolArray, FloatArray, Int64Array, RowPlan
from vocabkit.extension.receipt import ORIGINAL, Receipt, digest_rows, split_sources
from vocabkit.extension.row_making import restrict_plan
from vocabkit.extension.statistics import measure_moments
from vocabkit.extension.structure_checks import State
from vocabkit.extension.tokenizer_source import open_source
from vocabkit.extension.undo import old_rows
from vocabkit.vocabulary.vocabulary import Kind

__all__ = ["check_sources"]

_BLOCK = 1 << 23
# A last place of each format: sums may be rounded otherwise by another version of a library.
_NEAR = {"F32": 1e-6, "F64": 1e-6, "F16": 1e-3, "BF16": 8e-3}


def check_sources(receipt: Receipt, checkpoint: Checkpoint, place: int) -> tuple[State, str]:
    """Whether the new rows of a group are what was made, alike in all its tensors, and can be made again."""
    group = receipt.groups[place]
    listed = group["tensors"][0]
    number = group["number"]
    fresh = np.flatnonzero(receipt.kept < 0)
    stored = checkpoint.read_rows(listed["name"], listed["axis"])
    step = max(1, _BLOCK // max(1, stored.shape[1]))
    blocks = (stored[fresh[i : i + step]] for i in range(0, len(fresh), step))
    if digest_rows(blocks) != group["new_rows_blake2b"]:
        return "failed", "the new rows are not those that were made"
    for other in group["tensors"][1:]:
        if not _is_equal(checkpoint.read_rows(other["name"], other["axis"]), stored, step):
            return "failed", f"{other['name']} differs from {listed['name']}"
    again = _make_again(receipt, checkpoint, place) if len(fresh) else None
    if again is None:
        return "ok", f"{len(fresh):,} rows by {group['method']}, as they were made"
    differing, far = 0, 0.0
    for start in range(0, len(fresh), step):
        part = stored[fresh[start : start + step]]
        made = again[start : start + step]
        differing += int((as_bytes(made, number) != part).any(axis=1).sum())
        far = max(far, float(np.abs(made - as_float32(part, number)).max(initial=0)))
    if not differing:
        return "ok", f"{len(fresh):,} rows made again, bit for bit"
    if far > _NEAR[number] * max(1e-12, float(np.abs(again).max())):
        return "failed", f"{differing:,} rows made again differ by up to {far:.2g}"
    return "ok", f"{len(fresh):,} rows made again, {differing:,} of them within rounding"


def _is_equal(first: Bytes, second: Bytes, step: int) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(first[start : start + step], second[start : start + step])
        for start in range(0, len(first), step)
    )


def _make_again(receipt: Receipt, checkpoint: Checkpoint, place: int) -> FloatArray | None:
    """The rows as the receipt tells to make them; None where it takes more than the receipt."""
    group = receipt.groups[place]
    sources = split_sources(receipt, place)
    name, _ = parse_method(group["method"])
    is_bias = group["role"] == "bias"
    can = name != "log-prior" if is_bias else METHODS[name].needs == "nothing"
    if sources is None and not can:
        return None
    origin = group["tensors"][0]["from"]
    base_place = place if origin is None else _find_place(receipt, origin)
    base = as_float32(old_rows(receipt, checkpoint, base_place), group["number"])
    if sources is not None:
        return _add_up(base, *sources, used=receipt.old_used[: len(base)])
    found = _read_plan(receipt, len(base))
    if found is None:
        return None
    plan, context = found
    if is_bias:
        made = initialize_bias(group["method"], plan, base.reshape(-1), context)
        return made.reshape(-1, 1)
    roles: dict[str, Role] = {"input": "input", "output": "output", "tied": "tied"}
    seeded = Context(
        context.old_tokenizer, context.new_tokenizer, roles[group["role"]],
        seed=int(receipt.facts["options"]["seed"]),
    )  # fmt: skip
    return initialize(group["method"], plan, base, seeded).values


def _read_plan(receipt: Receipt, rows: int) -> tuple[RowPlan, Context] | None:
    """The plan and tokenizers as they were; None where a tokenizer is not in the folder."""
    kept_files = receipt.root / ORIGINAL
    if receipt.facts["plain"] or not list_tokenizer_files(kept_files):
        return None
    old, new = open_source(kept_files), open_source(receipt.root)
    size = int(receipt.facts["new_rows"])
    special = np.zeros(size, np.bool_)
    special[: new.size] = [kind in (Kind.CONTROL, Kind.UNKNOWN) for kind in new.tokenizer.kinds]
    tokens = [new.tokenizer.token_bytes(index) for index in range(new.size)]
    plan = RowPlan(
        old_size=int(receipt.facts["old_rows"]),
        new_size=size,
        kept=receipt.kept,
        tokens=(*tokens, *[None] * (size - new.size)),
        special=special,
        padding=receipt.array("padding"),
        old_used=receipt.old_used,
    )
    return restrict_plan(plan, rows), Context(old.tokenizer, new.tokenizer)


def _find_place(receipt: Receipt, name: str) -> int:
    return next(
        place
        for place, group in enumerate(receipt.groups)
        if any(item["name"] == name for item in group["tensors"])
    )


def _add_up(
    rows: FloatArray, ids: Int64Array, weights: FloatArray, offsets: Int64Array, used: BoolArray
) -> FloatArray:
    """Σ weight · row of each new row in float64; the mean of the used rows where there is no source."""
    made = np.zeros((len(offsets) - 1, rows.shape[1]), np.float32)
    for place, (start, stop) in enumerate(pairwise(offsets.tolist())):
        part = rows[ids[start:stop]].astype(np.float64)
        made[place] = (weights[start:stop].astype(np.float64)[:, None] * part).sum(axis=0)
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        trained = np.flatnonzero(used & (rows != 0).any(axis=1))
        made[empty] = measure_moments(rows, trained).mean
    return made
