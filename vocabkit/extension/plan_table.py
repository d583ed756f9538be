"""A plan as rows for a reader: what is found, what becomes of tokens, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from vocabkit.extension.plan import ExtensionPlan, new_shape

__all__ = ["list_plan"]


def list_plan(plan: ExtensionPlan) -> list[dict[str, object]]:
    """One row a fact: the part of the plan, a name, the value before and after, and a remark."""
    return [*_list_tensors(plan), *_list_tokens(plan), *_list_sizes(plan), *_list_files(plan)]


def _row(
    part: str, name: str, before: object = None, after: object = None, note: str = ""
) -> dict[str, object]:
    return {"part": part, "name": name, "before": before, "after": after, "note": note or None}


def _list_tensors(plan: ExtensionPlan) -> Iterator[dict[str, object]]:
    for place, group in enumerate(plan.groups):
        is_head = plan.head is not None and place == len(plan.groups) - 1
        for item in group.tensors:
            shape = "×".join(map(str, item.tensor.shape))
            grown = "×".join(map(str, new_shape(item, plan.rows.new_size)))
            yield _row(
                "tensor",
                str(plan.head) if is_head else item.tensor.name,
                None if is_head else shape,
                grown,
                f"{group.role}, {item.tensor.number}, new rows by {group.method}",
            )
    ties = {
        "alias": "input and output are one matrix, or there is no output",
        "equal": "input and output are stored twice with equal bytes",
        "untied": "input and output differ",
    }
    yield _row("tensor", "tie", plan.found.tied, "untied" if plan.options.untie else plan.found.tied,
               ties[plan.found.tied])  # fmt: skip


def _list_tokens(plan: ExtensionPlan) -> Iterator[dict[str, object]]:
    yield _row("tokens", "ids", plan.old.size, plan.new.size, plan.mode)
    yield _row("tokens", "rows", plan.rows.old_size, plan.rows.new_size, "with padding")
    spare = (int(plan.rows.padding.sum()), plan.rows.new_size - plan.new.size)
    yield _row("tokens", "padding", *spare, "rows beyond the tokenizer")
    meaning = {
        "kept": "the row stays at its id",
        "remapped": "the row moves with its surface",
        "approximated": "a new row",
        "unwritten": "a new row for an id without text",
        "dropped": "an old token that is gone; its row is kept in the receipt",
    }
    for name, amount in asdict(plan.coverage).items():
        yield _row("tokens", name, None, amount, meaning[name])


def _list_sizes(plan: ExtensionPlan) -> Iterator[dict[str, object]]:
    checkpoint = plan.checkpoint
    yield _row("size", "parameters", checkpoint.parameters, plan.new_parameters)
    yield _row("size", "bytes of tensors", checkpoint.total_size, plan.tensor_size)
    yield _row("size", "bytes to rewrite", None, plan.written_size)
    yield _row("size", "bytes of disk", None, plan.disk_size, "about, with the receipt")
    yield _row("size", "bytes of memory", None, plan.peak_memory, "about, beyond the imports")


def _list_files(plan: ExtensionPlan) -> Iterator[dict[str, object]]:
    for text in plan.changes:
        name, _, change = text.rpartition(": ")
        yield _row("change", name or text, None, None, change if name else "")
    for name in plan.shards:
        yield _row("file", name, None, None, "rewritten")
    for name in plan.written:
        yield _row("file", name, None, None, "written anew")
    for name in plan.removed:
        yield _row("file", name, None, None, "removed: the old tokenizer's")
    for name in plan.left_out:
        yield _row("file", name, None, None, "left out: of the old vocabulary")
    if plan.copied:
        how = "hard-linked" if plan.options.link else "copied or reflinked"
        amount = f"{len(plan.copied)} other file{'s' if len(plan.copied) > 1 else ''}"
        yield _row("file", amount, None, None, f"{how}, unchanged")
