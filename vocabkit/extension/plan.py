"""What an extension will do, worked out before anything is made: tensors, rows, files, sizes.

It reads headers, tokenizers and configurations, and the vocabulary matrices only to see which are tied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vocabkit.checkpoints.checkpoint import (
    Checkpoint,
    VocabularyTensor,
    VocabularyTensors,
    find_vocabulary_tensors,
    new_head,
    open_checkpoint,
)
from vocabkit.checkpoints.receipt import RECEIPT, invert_kept
from vocabkit.checkpoints.safetensors_files import SIZES, check_dtype
from vocabkit.core.arrays import BoolArray, Int64Array
from vocabkit.core.errors import CheckpointError, ConfigError, VocabkitError
from vocabkit.core.folders import read_json
from vocabkit.extension.files import (
    IdMap,
    change_configurations,
    check_padding,
    find_lost_names,
    make_tokenizer_files,
    sort_files,
)
from vocabkit.extension.initializers import check_method, choose_methods
from vocabkit.extension.rows import Role, RowPlan
from vocabkit.extension.simple_rows import check_bias_method
from vocabkit.vocabulary.roles import NAME_SPECIALS, TokenizerSource, dump_json, open_source, same_roles
from vocabkit.vocabulary.vocabulary import Kind

# --- Matching --------------------------------------------------------------------------------------
# Tokens are matched by surface, special ones by name and role. A surface is a token's bytes, the space before
# a word included, so that `Ġthe`, `▁the`, and WordPiece's `the` are one token, and `##s` is `s` within a word.

Mode = Literal["extend", "replace", "trim"]

# Slots that were never trained: a mean over them would be drawn towards their first random values.
_RESERVED = re.compile(
    rb" ?[\[<]\|?(unused|reserved|extra_id|extra|dummy|madeupword|placeholder|pad_token)[\w :-]*\|?[\]>]"
)
_NAMED = (Kind.CONTROL, Kind.UNKNOWN, Kind.USER)
# Above this share of rows beyond the tokenizer, it is more likely another model's (phi-2 has 1.8 %,
# DeepSeek 2.3 %); below this number of rows nothing is refused.
_PADDING_SHARE, _PADDING_ROWS = 0.1, 256


@dataclass(frozen=True, slots=True)
class Coverage:
    """What becomes of tokens, in numbers of ids.

    `kept` have the same id, `remapped` another, `approximated` are new and have a text, `unwritten` are
    new and have none (special, unused, padding); `dropped` old tokens are no tokens any more, and `cut` old
    rows, padding too, are in no new row.
    """

    kept: int
    remapped: int
    approximated: int
    unwritten: int
    dropped: int
    cut: int


def match_tokenizers(
    old: TokenizerSource,
    new: TokenizerSource,
    rows: int,
    multiple: int | None = None,
    *,
    extra: int = 0,
    trim: bool = False,
) -> tuple[Mode, RowPlan, Coverage]:
    """Match the tokenizers of a matrix of `rows` rows; pad the new one to a multiple.

    Where every old token keeps its id the vocabulary is extended; where the new one has no token of its own it
    is trimmed; else it is replaced. Rows beyond the new tokenizer stay as they are unless `trim` cuts them. The
    last `extra` rows, which the head lacks, follow its last id. Returns which, the plan, and what becomes of
    tokens. Raises CheckpointError where the old tokenizer cannot be the model's.
    """
    _check_old(old, rows)
    mode, tokens = _match_ids(old, new)
    body = rows - extra
    # The old extra rows may have tokens, of the ids that are only read: the head needs no row for these.
    last = body if (tokens[body:] == np.arange(body, new.size)).all() and new.size <= rows else new.size
    size = min(last, new.size) if trim else max(last, body)
    size = -(-size // (multiple or 1)) * (multiple or 1)
    kept = np.full(size + extra, -1, np.int64)
    stop = min(size, rows)
    kept[new.size : stop] = np.arange(new.size, stop)  # nothing where the new tokenizer has as many ids
    kept[size:] = np.arange(body, rows)
    kept[: new.size] = tokens
    plan = make_row_plan(new, kept, np.arange(rows) >= old.size, _find_used(old, rows))
    return mode, plan, _count(plan, old.size, new.size)


def _match_ids(old: TokenizerSource, new: TokenizerSource) -> tuple[Mode, Int64Array]:
    """The mode, and for every id of the new tokenizer the old id whose row it keeps, or -1."""
    if _keeps_all(old, new):
        kept = np.full(new.size, -1, np.int64)
        for index, kind in enumerate(old.tokenizer.kinds):
            is_refilled = kind is Kind.UNUSED and new.tokenizer.kinds[index] is not Kind.UNUSED
            kept[index] = -1 if is_refilled else index
        return "extend", kept
    kept = _match(old, new)
    named = np.array([text is not None for text in new.surfaces])
    is_subset = not (named & (kept < 0)).any()
    return ("trim" if is_subset and new.size <= old.size else "replace"), kept


def make_row_plan(new: TokenizerSource, kept: Int64Array, padding: BoolArray, old_used: BoolArray) -> RowPlan:
    """Return the plan with what the new tokenizer's ids stand for."""
    special = np.zeros(len(kept), np.bool_)
    special[: new.size] = [kind in (Kind.CONTROL, Kind.UNKNOWN) for kind in new.tokenizer.kinds]
    tokens = (*new.surfaces, *[None] * (len(kept) - new.size))
    return RowPlan(len(padding), len(kept), kept, tokens, special, padding, old_used)


def _check_old(old: TokenizerSource, rows: int) -> None:
    # Tokens without a name cannot be found again, and those that ranks leave out look like padding.
    unnamed = [i for i, kind in enumerate(old.tokenizer.kinds) if kind is Kind.CONTROL and i not in old.names]
    spare = rows - old.size
    if unnamed or (old.is_ranks and spare > 0):
        where = f"id {unnamed[0]:,} is one" if unnamed else f"{spare:,} rows are beyond its ids"
        raise CheckpointError(f"{old.path}: it does not name its special tokens: {where}", NAME_SPECIALS)
    if 0 <= spare <= max(_PADDING_ROWS, rows * _PADDING_SHARE):
        return
    found = f"has ids up to {old.size - 1:,}, and the model {rows:,} rows"
    hint = "name the model's own tokenizer: --old-tokenizer PATH"
    if spare > 0:
        more = f"{spare:,} rows more is too much to be padding"
        found = f"has {old.size:,} ids, and the model {rows:,} rows: {more}"
    elif old.names.keys() >= {*range(rows, old.size)}:
        # As the image token of Gemma 3's text models, and what was added before the rows were.
        found += f": {old.names[rows]!r} has none, nor has any of the {-spare:,} added from there on"
        hint = (
            "model.resize_token_embeddings(len(tokenizer)) gives them rows; or take them out of the tokenizer"
        )
    raise CheckpointError(f"{old.path}: {found}", hint)


def _keeps_all(old: TokenizerSource, new: TokenizerSource) -> bool:
    """Whether every old id stands for the same token in the new vocabulary."""
    if new.size < old.size:
        return False
    for index, text in enumerate(old.surfaces):
        if old.tokenizer.kinds[index] is Kind.UNUSED:
            continue  # a slot without a token may be filled
        name, other = old.names.get(index), new.names.get(index)
        if name != other or (name is None and text != new.surfaces[index]):
            return False
    return True


def _match(old: TokenizerSource, new: TokenizerSource) -> Int64Array:
    tables: dict[bool, dict[bytes, int]] = {True: {}, False: {}}
    kinds = old.tokenizer.kinds
    for index, text in enumerate(old.surfaces):
        if text:
            tables[kinds[index] is Kind.BYTE].setdefault(text, index)
    kept = np.full(new.size, -1, np.int64)
    for index, text in enumerate(new.surfaces):
        if not text:
            continue
        is_byte = new.tokenizer.kinds[index] is Kind.BYTE
        if index < old.size and old.surfaces[index] == text and is_byte == (kinds[index] is Kind.BYTE):
            kept[index] = index
            continue
        # A byte-level `a` and the byte-fallback token <0x61> are the nearest there is to each other.
        kept[index] = tables[is_byte].get(text, tables[not is_byte].get(text, -1))
    _match_specials(old, new, kept)
    return kept


def _match_specials(old: TokenizerSource, new: TokenizerSource, kept: Int64Array) -> None:
    """By name, then those still without a row by role."""
    kinds = old.tokenizer.kinds
    for index, name in new.names.items():
        found = old.ids.get(name)
        is_named = new.tokenizer.kinds[index] in _NAMED
        if is_named and found is not None and kinds[found] in _NAMED:
            kept[index] = found
    taken = set(kept[kept >= 0].tolist())
    for role, index in new.roles.items():
        free = [old.roles[same] for same in same_roles(role) if same in old.roles]
        free = [found for found in free if found not in taken]
        if kept[index] < 0 and free:
            kept[index] = free[0]
            taken.add(free[0])


def _find_used(old: TokenizerSource, rows: int) -> BoolArray:
    used, kinds = np.zeros(rows, np.bool_), (Kind.NORMAL, Kind.USER, Kind.BYTE)
    for index, (text, kind) in enumerate(zip(old.surfaces, old.tokenizer.kinds, strict=True)):
        used[index] = bool(text) and kind in kinds and not _RESERVED.fullmatch(text or b"")
    return used


def _count(plan: RowPlan, old_tokens: int, new_tokens: int) -> Coverage:
    has = plan.kept >= 0
    same = plan.kept == np.arange(plan.new_size)
    written = np.array([text is not None for text in plan.tokens])
    gone = invert_kept(plan.kept[:new_tokens], plan.old_size)[:old_tokens] < 0
    cut = invert_kept(plan.kept, plan.old_size) < 0
    found = (same, has & ~same, ~has & written, ~has & ~written, gone, cut)
    return Coverage(*(int(chosen.sum()) for chosen in found))


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller chooses. Methods are names of `initializers.METHODS`; None means the default."""

    init_input: str | None = None
    init_output: str | None = None
    init_bias: str = "mean"
    untie: bool = False
    donor: Path | None = None
    text: Path | None = None
    multiple: int | None = None
    trim: bool = False
    link: bool = False
    seed: int = 0
    old_tokenizer: Path | None = None
    pattern: str | None = None
    tensors: Mapping[str, str] = field(default_factory=dict)
    document: str | None = None
    field: str | None = None


# --- Groups of tensors -----------------------------------------------------------------------------

_GroupRole = Role | Literal["bias"]


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that get equal rows, what they are for, and how their new rows are made."""

    role: _GroupRole
    method: str
    tensors: tuple[VocabularyTensor, ...]

    @property
    def first(self) -> VocabularyTensor:
        """The tensor whose old rows are read."""
        return self.tensors[0]

    @property
    def dtype(self) -> str:
        """The dtype of all of them."""
        return self.first.tensor.dtype


def _make_groups(
    checkpoint: Checkpoint, found: VocabularyTensors, options: Options, head: str | None
) -> tuple[Group, ...]:
    """Group the tensors. Raises CheckpointError where one matrix would be made in two ways."""
    tied = found.tied != "untied" and not options.untie
    names = choose_methods(tied=tied, has_donor=options.donor is not None)
    inputs = options.init_input or names[0]
    outputs = options.init_output or (inputs if tied else names[1])
    said_untied = (checkpoint.config or {}).get("tie_word_embeddings") is False
    if tied and outputs != inputs and not (found.tied == "equal" and said_untied):
        what = f"--init-output {outputs} would differ from --init-input {inputs}"
        hint = "--untie  # gives the output a matrix of its own"
        raise CheckpointError(f"{checkpoint.root}: input and output are one matrix: {what}", hint)
    groups: list[Group] = []
    for items in found.groups().values():
        roles = {item.role for item in items}
        ins = tuple(item for item in items if item.role != "output")
        outs = tuple(item for item in items if item.role == "output")
        if roles == {"bias"}:
            groups.append(Group("bias", options.init_bias, ins))
        elif ins and outs and outputs == inputs and not options.untie:
            groups.append(Group("tied", inputs, tuple(items)))
        else:
            is_tied = tied and found.tied == "alias" and "input" in roles
            role: Role = "tied" if is_tied else "input"
            groups += [Group(role, inputs, ins)] if ins else []
            groups += [Group("output", outputs, outs)] if outs else []
    if head is not None:
        groups.append(Group("output", outputs, (found.input,)))
    return tuple(groups)


def _check_methods(groups: tuple[Group, ...], options: Options) -> None:
    """Refuse a method or a dtype that cannot be used. Raises ConfigError and CheckpointError."""
    has_donor, has_text = options.donor is not None, options.text is not None
    bias, _ = check_bias_method(options.init_bias)
    for group in groups:
        check_dtype(group.dtype)
        if group.role != "bias":
            check_method(group.method, has_donor=has_donor, has_text=has_text)
        elif bias == "log-prior" and not has_text:
            raise ConfigError("log-prior needs text and the new tokenizer", "name text with --text")


# --- Plan ------------------------------------------------------------------------------------------


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

    def name_head(self, position: int) -> str | None:
        """Return the name of the output matrix that untying adds where this group is its; else None."""
        return self.head if position == len(self.groups) - 1 else None

    def count_rows(self, item: VocabularyTensor) -> int:
        """Rows of one of the vocabulary tensors after the extension."""
        return self.found.count_rows(item, self.rows.new_size)

    @property
    def tensor_size(self) -> int:
        """Bytes of all tensors after the extension."""
        grown = sum(_new_size(item, self.count_rows(item)) - item.tensor.size for item in self.found.found)
        head = _new_size(self.found.input, self.rows.new_size) if self.head else 0
        return self.checkpoint.total_size + grown + head

    @property
    def new_parameters(self) -> int:
        """Elements of all tensors after the extension."""
        grown = sum(item.width * (self.count_rows(item) - item.rows) for item in self.found.found)
        head = self.found.input.width * self.rows.new_size if self.head else 0
        return self.checkpoint.parameters + grown + head

    @property
    def written_size(self) -> int:
        """Bytes of the files of weights that are rewritten."""
        tensors = self.checkpoint.tensors.values()
        size = sum(tensor.size for tensor in tensors if tensor.shard in self.shards)
        return size + self.tensor_size - self.checkpoint.total_size

    @property
    def disk_size(self) -> int:
        """Bytes the output needs on disk, about: the receipt's sources are counted as eight a row."""
        root, made = self.checkpoint.root, self.coverage.approximated + self.coverage.unwritten
        kept = 0 if self.options.link else sum(_file_size(root / name) for name in self.copied)
        widths = [item.tensor.size // item.rows for item in self.found.found]
        dropped = sum(widths) * self.coverage.cut
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


def plan_extension(model: str | Path, tokenizer: str | Path, options: Options | None = None) -> ExtensionPlan:
    """Work out what giving `model` the vocabulary of `tokenizer` means.

    Raises CheckpointError and TokenizerError for what cannot be done, or not without being told more.
    """
    chosen = options or Options()
    checkpoint = open_checkpoint(model)
    old = _open_old(checkpoint, chosen)
    new = open_source(tokenizer, pattern=chosen.pattern)
    found = find_vocabulary_tensors(checkpoint, old.size, chosen.tensors)
    mode, rows, coverage = match_tokenizers(
        old, new, found.rows, chosen.multiple, extra=found.extra, trim=chosen.trim
    )
    head = new_head(checkpoint) if chosen.untie and found.tied == "alias" else None
    if chosen.untie and found.tied == "untied":
        raise CheckpointError(f"{checkpoint.root}: is untied already", "leave --untie out")
    groups = _make_groups(checkpoint, found, chosen, head)
    _check_methods(groups, chosen)
    warnings = [*found.warnings, *(f"{one.path}: {note}" for one in (old, new) for note in one.tokenizer.notes)]
    moves = IdMap(
        _map_ids(rows, old, new, found.extra),
        rows.old_size,
        rows.new_size,
        new.roles,
        extra=found.extra,
        tokens=old.size,
    )
    check_padding(checkpoint, moves)
    written = change_configurations(checkpoint, moves, untie=chosen.untie)
    if not checkpoint.plain or new.has_content:
        files, notes = make_tokenizer_files(old, new, moves.ids)
        written |= files
        moves.changes += notes
        warnings += find_lost_names(checkpoint.root, old, new, files)
    holding = {item.tensor.shard for item in found.found}  # a new head goes where the input is
    shards = tuple(shard for shard in checkpoint.shards if shard in holding)
    copied, removed, left_out = sort_files(checkpoint, shards, written, Path(model).is_file())
    _check_clashes(checkpoint, moves, new)
    warnings += moves.losses
    if mode == "extend" and new.size == old.size:
        warnings.append("the tokenizer has no token that the model lacks: no row is new")
    if left_out:
        warnings.append(f"left out, being right for the old vocabulary alone: {', '.join(left_out)}")
    if (checkpoint.root / RECEIPT).is_dir() and not checkpoint.plain:
        warnings.append("was extended before: undo gives that extension back, with its receipt")
    warnings += [
        f"{file.path.name} holds optimiser state of the old vocabulary's shapes"
        for file in checkpoint.torch_files.values()
        if file.has_optimizer
    ]
    plan = ExtensionPlan(
        checkpoint=checkpoint,
        found=found,
        old=old,
        new=new,
        options=chosen,
        mode=mode,
        rows=rows,
        coverage=coverage,
        groups=groups,
        head=head,
        shards=shards,
        written={},
        copied=copied,
        removed=removed,
        left_out=left_out,
        changes=tuple(moves.changes),
        warnings=tuple(warnings),
    )
    written |= _change_index(plan)
    return replace(plan, written=dict(sorted(written.items())))


def _map_ids(rows: RowPlan, old: TokenizerSource, new: TokenizerSource, extra: int) -> dict[int, int | None]:
    """Old id → new id or None. The row of a token that is gone may stay as padding, but not its id."""
    back = invert_kept(rows.kept, rows.old_size)
    named = min(old.size, rows.old_size - extra)  # the extra rows have a use of their own
    back[:named] = invert_kept(rows.kept[: new.size], rows.old_size)[:named]
    return {index: None if position < 0 else position for index, position in enumerate(back.tolist())}


def _check_clashes(checkpoint: Checkpoint, moves: IdMap, new: TokenizerSource) -> None:
    """Raise CheckpointError where an id in use that has no token would be given to a new one, or cut."""
    for place, index in moves.clashes:
        taken = new.names.get(index) or (new.surfaces[index] if index < new.size else None)
        what = f"{place}: {index} has no token in the model's tokenizer, which ends at {moves.tokens - 1}"
        what += ", and --trim cuts its row" if taken is None else f", and the new one gives it to {taken!r}"
        hint = "name the model's own tokenizer with --old-tokenizer PATH, or leave that id free in the new one"
        raise CheckpointError(f"{checkpoint.root}: {what}", hint)


def _open_old(checkpoint: Checkpoint, options: Options) -> TokenizerSource:
    if options.old_tokenizer is not None:
        return open_source(options.old_tokenizer, pattern=options.pattern)
    hint = "name it: --old-tokenizer PATH"
    if checkpoint.config is None:
        what = f"{checkpoint.root}: has no config.json, and so no tokenizer of its own"
        if checkpoint.plain:
            what = f"{checkpoint.root / checkpoint.shards[0]}: a plain file says nothing of its tokenizer"
        raise CheckpointError(what, hint)
    try:
        return open_source(checkpoint.root, checkpoint.model_type, options.pattern)
    except VocabkitError as error:
        hint += "; AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes a tokenizer.json"
        what = f"the model's own tokenizer cannot be read: {error.message}"
        raise CheckpointError(f"{checkpoint.root}: {what}", hint) from error


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
        weights = content["weight_map"] | {plan.head: plan.found.input.tensor.shard}
        content["weight_map"] = dict(sorted(weights.items()))
    return {checkpoint.index: dump_json(content)}


def new_shape(item: VocabularyTensor, size: int) -> tuple[int, ...]:
    """The shape of a vocabulary tensor with `size` rows."""
    shape = list(item.tensor.shape)
    shape[item.axis] = size
    return tuple(shape)


def _new_size(item: VocabularyTensor, size: int) -> int:
    return item.width * size * SIZES[item.tensor.dtype]


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


# --- The plan as rows ------------------------------------------------------------------------------


def list_plan(plan: ExtensionPlan) -> list[dict[str, object]]:
    """One row a fact: the part of the plan, a name, the value before and after, and a remark."""
    return [*_list_tensors(plan), *_list_amounts(plan), *_list_files(plan)]


def _row(
    part: str, name: str, before: object = None, after: object = None, note: str = ""
) -> dict[str, object]:
    return {"part": part, "name": name, "before": before, "after": after, "note": note or None}


def _list_tensors(plan: ExtensionPlan) -> Iterator[dict[str, object]]:
    for position, group in enumerate(plan.groups):
        head = plan.name_head(position)
        for item in group.tensors:
            shape = "×".join(map(str, item.tensor.shape))
            grown = "×".join(map(str, new_shape(item, plan.count_rows(item))))
            note = f"{group.role}, {item.tensor.dtype}, new rows by {group.method}"
            yield _row("tensor", head or item.tensor.name, None if head else shape, grown, note)
    ties = {
        "alias": "input and output are one matrix, or there is no output",
        "equal": "input and output are stored twice with equal bytes",
        "untied": "input and output differ",
    }
    yield _row("tensor", "tie", plan.found.tied, "untied" if plan.options.untie else plan.found.tied,
               ties[plan.found.tied])  # fmt: skip


def _list_amounts(plan: ExtensionPlan) -> Iterator[dict[str, object]]:
    yield _row("tokens", "ids", plan.old.size, plan.new.size, plan.mode)
    yield _row("tokens", "rows", plan.rows.old_size, plan.rows.new_size, "with padding")
    spare = (int(plan.rows.padding.sum()), plan.rows.new_size - plan.new.size)
    extra = plan.found.extra
    stay = "" if plan.options.trim or spare[1] <= extra else "; --trim cuts them"
    yield _row("tokens", "padding", *spare, f"rows beyond the tokenizer{stay}")
    if extra:
        before, after = plan.rows.old_size - extra, plan.rows.new_size - extra
        names = [name for index, name in sorted(plan.old.names.items()) if index >= before]
        said = f"rows that the head lacks{', of ' if names else ''}{', '.join(names)}"
        ends = f"{before}–{before + extra - 1}", f"{after}–{after + extra - 1}"
        yield _row("tokens", "extra rows", *ends, said)
    meaning = {
        "kept": "the row stays at its id",
        "remapped": "the row moves with its surface",
        "approximated": "a new row",
        "unwritten": "a new row for an id without text",
        "dropped": "an old token that is gone",
        "cut": "an old row that no id has any more; it is kept in the receipt",
    }
    for name, amount in asdict(plan.coverage).items():
        yield _row("tokens", name, None, amount, meaning[name])
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
    notes = ("rewritten", "written anew", "removed: the old tokenizer's", "left out: of the old vocabulary")
    groups = (plan.shards, tuple(plan.written), plan.removed, plan.left_out)
    for note, names in zip(notes, groups, strict=True):
        yield from (_row("file", name, None, None, note) for name in names)
    if plan.copied:
        how = "hard-linked" if plan.options.link else "copied or reflinked"
        amount = f"{len(plan.copied)} other file{'s' if len(plan.copied) > 1 else ''}"
        yield _row("file", amount, None, None, f"{how}, unchanged")
