"""The rows of a group: made by its initialiser, and put together with those that are kept.

Kept rows are copied as bytes and never pass through float32; long runs of them are left to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from vocabkit.core.errors import ConfigError
from vocabkit.core.progress import Progress
from vocabkit.extension.checkpoint import Checkpoint
from vocabkit.extension.context import Context, Role
from vocabkit.extension.donor_rows import open_donor
from vocabkit.extension.initializers import initialize, initialize_bias
from vocabkit.extension.number_formats import SIZES, Bytes, as_bytes, as_float32
from vocabkit.extension.plan import ExtensionPlan, Group, Options
from vocabkit.extension.plan_types import FloatArray, Int64Array, RowPlan, Rows
from vocabkit.extension.safetensors_stream import Copied, Part
from vocabkit.extension.tokenizer_source import TokenizerSource
from vocabkit.extension.vocabulary_tensors import VocabularyTensor

__all__ = [
    "gather_all",
    "list_parts",
    "make_context",
    "make_rows",
    "new_blocks",
    "read_lines",
    "restrict_plan",
    "unfold_rows",
]

_BLOCK = 1 << 23
# Shorter runs of kept rows are gathered: a call to the kernel costs as much as copying this.
_RUN = 1 << 16


def make_rows(plan: ExtensionPlan, group: Group, context: Context) -> Rows:
    """Make the new rows of a group from its first tensor's old ones."""
    first = group.first
    old = as_float32(plan.checkpoint.read_rows(first.tensor.name, first.axis), first.tensor.number)
    restricted = restrict_plan(plan.rows, first.rows)
    if group.role == "bias":
        values = initialize_bias(group.method, restricted, old.reshape(-1), context)
        return Rows(values.reshape(-1, 1), group.method, None, None, "")
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


def make_context(
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


def new_blocks(values: FloatArray, number: str) -> Iterator[Bytes]:
    """New rows as they are stored, a block at a time."""
    step = max(1, _BLOCK // max(1, values.shape[1] * 4))
    for start in range(0, len(values), step):
        yield as_bytes(values[start : start + step], number)


def list_parts(
    checkpoint: Checkpoint, item: VocabularyTensor, plan: RowPlan, values: FloatArray
) -> Iterator[Part]:
    """The parts of a grown or remapped safetensors tensor in order: ranges of the old file, and bytes."""
    tensor = item.tensor
    if len(tensor.shape) > 1 and item.axis and np.prod(tensor.shape[: item.axis]) > 1:
        yield gather_all(checkpoint, item, plan, values).data
        return
    width = item.width * SIZES[tensor.number]
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
    values: FloatArray,
    start: int,
    stop: int,
    step: int,
) -> Iterator[Part]:
    number = item.tensor.number
    for first in range(start, stop, step):
        part = kept[first : min(first + step, stop)]
        places = made[first : first + len(part)]
        if (part < 0).all():
            yield as_bytes(values[places[0] : places[-1] + 1], number).data
            continue
        # Mapped anew for each block, so that pages once read do not stay with this process.
        old = checkpoint.read_rows(item.tensor.name, item.axis)
        block = np.empty((len(part), old.shape[1]), np.uint8)
        block[part >= 0] = old[part[part >= 0]]
        if (part < 0).any():
            block[part < 0] = as_bytes(values[places[part < 0]], number)
        yield block.data


def gather_all(
    checkpoint: Checkpoint, item: VocabularyTensor, plan: RowPlan, values: FloatArray
) -> Bytes:
    """The whole new tensor in memory, its elements in the order of its shape."""
    kept = restrict_plan(plan, item.rows).kept
    old = checkpoint.read_rows(item.tensor.name, item.axis)
    rows = np.empty((len(kept), old.shape[1]), np.uint8)
    rows[kept >= 0] = old[kept[kept >= 0]]
    rows[kept < 0] = as_bytes(values, item.tensor.number)
    return unfold_rows(rows, item)


def unfold_rows(rows: Bytes, item: VocabularyTensor) -> Bytes:
    """Rows [rows, bytes a row] as the flat bytes of a tensor with the vocabulary along `item.axis`."""
    outer = int(np.prod(item.tensor.shape[: item.axis]))
    if outer == 1:
        return rows.reshape(-1)
    wide = rows.reshape(len(rows), outer, -1)
    return np.ascontiguousarray(np.moveaxis(wide, 0, 1)).reshape(-1)
