"""Writing an extended checkpoint's weights, and the files beside them, into a folder that is being made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vocabkit.core.progress import Progress
from vocabkit.extension.plan import ExtensionPlan, new_shape
from vocabkit.extension.plan_types import Rows
from vocabkit.extension.row_making import gather_all, list_parts
from vocabkit.extension.safetensors_stream import Part, Replacement, rewrite_file
from vocabkit.extension.staging import duplicate_file, finished_file
from vocabkit.extension.torch_checkpoint import write_torch_file
from vocabkit.extension.vocabulary_tensors import VocabularyTensor

__all__ = ["write_others", "write_weights"]


def _placed(plan: ExtensionPlan, rows: list[Rows]) -> dict[str, tuple[VocabularyTensor, Rows]]:
    """Tensor name → the tensor and its group's new rows; the new head under its own name."""
    found: dict[str, tuple[VocabularyTensor, Rows]] = {}
    for place, (group, made) in enumerate(zip(plan.groups, rows, strict=True)):
        if plan.head is not None and place == len(plan.groups) - 1:
            found[plan.head] = (group.first, made)
        else:
            found |= {item.tensor.name: (item, made) for item in group.tensors}
    return found


def write_weights(
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


def write_others(plan: ExtensionPlan, work: Path) -> dict[str, str]:
    """Copy or link what stays and write the small files; file name → which of these it was."""
    how: dict[str, str] = {}
    root = plan.checkpoint.root
    for name in plan.copied:
        how[name] = duplicate_file(root / name, work / name, link=plan.options.link)
    for name, data in plan.written.items():
        (work / name).write_bytes(data)
        how[name] = "written"
    return how
