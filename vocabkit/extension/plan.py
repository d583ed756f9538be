"""What an extension will do, worked out before anything is made: tensors, rows, files, sizes.

It reads headers, tokenizers and configurations, and the vocabulary matrices only to see which are tied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vocabkit.core.errors import VocabkitError
from vocabkit.extension.checkpoint import Checkpoint, open_checkpoint, read_json
from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.folder_files import change_configurations, check_padding, sort_files
from vocabkit.extension.id_files import make_tokenizer_files
from vocabkit.extension.id_moves import IdMap
from vocabkit.extension.matching import Coverage, Mode, match_tokenizers, new_ids
from vocabkit.extension.number_formats import SIZES
from vocabkit.extension.options import Options
from vocabkit.extension.plan_types import RowPlan
from vocabkit.extension.receipt import RECEIPT
from vocabkit.extension.row_groups import Group, check_methods, make_groups
from vocabkit.extension.tokenizer_source import TokenizerSource, dump_json, open_source
from vocabkit.extension.untied_heads import new_head
from vocabkit.extension.vocabulary_tensors import (
    VocabularyTensor,
    VocabularyTensors,
    find_vocabulary_tensors,
)

__all__ = ["ExtensionPlan", "Group", "Options", "new_shape", "plan_extension"]


@dataclass(frozen=True, slots=True, eq=False)
class ExtensionPlan:
    """All that `extend_checkpoint` will do.

    `head` names the output matrix that untying adds. `written` are small files by name with their new
    bytes, `shards` the files of weights that are rewritten; `copied` stay as they are, `removed` (stale
    tokenizer files) and `left_out` (other forms of the weights) are not taken along.
    """

    checkpoint: Checkpoint
    found: VocabularyTensors
    old: TokenizerSource
    new: TokenizerSource
    options: Options
    mode: Mode
    rows: RowPlan
    coverage: Coverage
    groups: tuple[Group, ...]
    head: str | None
    shards: tuple[str, ...]
    written: Mapping[str, bytes]
    copied: tuple[str, ...]
    removed: tuple[str, ...]
    left_out: tuple[str, ...]
    changes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def tensor_size(self) -> int:
        """Bytes of all tensors after the extension."""
        grown = sum(
            _new_size(item, self.rows.new_size) - item.tensor.size for item in self.found.found
        )
        return self.checkpoint.total_size + grown + self._head_size

    @property
    def new_parameters(self) -> int:
        """Elements of all tensors after the extension."""
        grown = sum(item.width * (self.rows.new_size - item.rows) for item in self.found.found)
        head = self.found.input.width * self.rows.new_size if self.head else 0
        return self.checkpoint.parameters + grown + head

    @property
    def _head_size(self) -> int:
        return _new_size(self.found.input, self.rows.new_size) if self.head else 0

    @property
    def written_size(self) -> int:
        """Bytes of the files of weights that are rewritten."""
        size = sum(
            item.size for item in self.checkpoint.tensors.values() if item.shard in self.shards
        )
        return size + self.tensor_size - self.checkpoint.total_size

    @property
    def disk_size(self) -> int:
        """Bytes the output needs on disk, about: the receipt's sources are counted as eight a row."""
        kept = (
            0
            if self.options.link
            else sum(_file_size(self.checkpoint.root / n) for n in self.copied)
        )
        dropped = sum(
            item.tensor.size // item.rows * self.coverage.dropped for item in self.found.found
        )
        root, made = self.checkpoint.root, self.coverage.approximated + self.coverage.unwritten
        stored = sum(_file_size(root / name) for name in (*self.written, *self.removed))
        stored += sum(map(_file_size, (root / RECEIPT).rglob("*")))
        receipt = self.rows.new_size * 8 + self.rows.old_size * 2 + len(self.groups) * made * 104
        small = sum(map(len, self.written.values())) + stored + receipt + (64 << 10)
        return self.written_size + kept + dropped + small

    @property
    def peak_memory(self) -> int:
        """Bytes beyond the imports, about: new rows of every group, the largest old matrix as float32."""
        made = self.coverage.approximated + self.coverage.unwritten
        rows = sum(group.first.width * made * 4 for group in self.groups)
        largest = max(group.first.width * group.first.rows * 4 for group in self.groups)
        return rows + largest + (64 << 20)


def plan_extension(
    model: str | Path, tokenizer: str | Path, options: Options | None = None
) -> ExtensionPlan:
    """Work out what giving `model` the vocabulary of `tokenizer` means.

    Raises CheckpointError and TokenizerError for what cannot be done, or not without being told more.
    """
    chosen = options or Options()
    checkpoint = open_checkpoint(model)
    old = _open_old(checkpoint, chosen)
    new = open_source(tokenizer)
    found = find_vocabulary_tensors(checkpoint, old.size, chosen.tensors)
    mode, rows, coverage = match_tokenizers(old, new, found.rows, chosen.multiple)
    head = new_head(checkpoint) if chosen.untie and found.tied == "alias" else None
    if chosen.untie and found.tied == "untied":
        raise CheckpointError(f"{checkpoint.root}: is untied already", "leave --untie out")
    groups = make_groups(checkpoint, found, chosen, head)
    check_methods(groups, chosen)
    warnings = list(found.warnings)
    back = new_ids(rows).tolist()
    moves = IdMap(
        {index: None if place < 0 else place for index, place in enumerate(back)},
        rows.old_size,
        rows.new_size,
        new.roles,
    )
    check_padding(checkpoint, moves)
    written = change_configurations(checkpoint, moves, untie=chosen.untie)
    if not checkpoint.plain or new.has_content:
        files, notes = make_tokenizer_files(old, new, moves.ids)
        written |= files
        moves.changes += notes
    shards = _find_shards(checkpoint, found, head)
    copied, removed, left_out = sort_files(checkpoint, shards, written, Path(model).is_file())
    warnings += moves.losses
    if mode == "extend" and new.size == old.size:
        warnings.append("the tokenizer has no token that the model lacks: no row is new")
    if left_out:
        warnings.append(
            f"left out, being right for the old vocabulary alone: {', '.join(left_out)}"
        )
    if (checkpoint.root / RECEIPT).is_dir() and not checkpoint.plain:
        warnings.append("was extended before: undo gives that extension back, with its receipt")
    warnings += [
        f"{file.path.name} holds optimiser state of the old vocabulary's shapes"
        for file in checkpoint.torch_files.values()
        if file.has_optimizer
    ]
    plan = ExtensionPlan(
        checkpoint, found, old, new, chosen, mode, rows, coverage, groups, head, shards, {},
        copied, removed, left_out, tuple(moves.changes), tuple(warnings),
    )  # fmt: skip
    written |= _change_index(plan)
    return replace(plan, written=dict(sorted(written.items())))


def _open_old(checkpoint: Checkpoint, options: Options) -> TokenizerSource:
    if options.old_tokenizer is not None:
        return open_source(options.old_tokenizer)
    if checkpoint.config is None:
        raise CheckpointError(
            f"{checkpoint.root}: has no config.json, and so no tokenizer of its own"
            if not checkpoint.plain
            else f"{checkpoint.root / checkpoint.shards[0]}: a plain file says nothing of its tokenizer",
            "name it: --old-tokenizer PATH",
        )
    try:
        return open_source(checkpoint.root, checkpoint.model_type)
    except VocabkitError as error:
        raise CheckpointError(
            f"{checkpoint.root}: the model's own tokenizer cannot be read: {error.message}",
            "name it: --old-tokenizer PATH; AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) "
            "writes a tokenizer.json",
        ) from error


def _change_index(plan: ExtensionPlan) -> dict[str, bytes]:
    checkpoint = plan.checkpoint
    if checkpoint.index is None:
        return {}
    content: dict[str, Any] = read_json(checkpoint.root / checkpoint.index)
    metadata = dict(content.get("metadata") or {})
    metadata["total_size"] = plan.tensor_size
    if "total_parameters" in metadata:
        metadata["total_parameters"] = plan.new_parameters
    content["metadata"] = metadata
    if plan.head is not None:
        content["weight_map"] = dict(
            sorted((content["weight_map"] | {plan.head: plan.found.input.tensor.shard}).items())
        )
    return {checkpoint.index: dump_json(content)}


def _find_shards(
    checkpoint: Checkpoint, found: VocabularyTensors, head: str | None
) -> tuple[str, ...]:
    holding = {item.tensor.shard for item in found.found}
    if head is not None:
        holding.add(found.input.tensor.shard)
    return tuple(shard for shard in checkpoint.shards if shard in holding)


def new_shape(item: VocabularyTensor, size: int) -> tuple[int, ...]:
    """The shape of a vocabulary tensor with `size` rows."""
    shape = list(item.tensor.shape)
    shape[item.axis] = size
    return tuple(shape)


def _new_size(item: VocabularyTensor, size: int) -> int:
    return item.width * size * SIZES[item.tensor.number]


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
