"""Which tensors of a checkpoint have a vocabulary dimension, and what each is for.

Found by structure: every tensor with a dimension of as many elements as the input matrix has rows.
Each must also be confirmed by name, from a table of the names that 43 architectures use; one that has
the size but no known name (an inner layer of that width) is refused rather than guessed at, until the
caller says what it is. Tied or untied is read off the bytes: the configuration's word is not taken.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Any, Literal, get_args

import numpy as np

from vocabkit.extension.checkpoint import Checkpoint, Tensor
from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.tensor_roles import Role, as_role, fits_role, guess_role

__all__ = ["Role", "VocabularyTensor", "VocabularyTensors", "find_vocabulary_tensors"]


@dataclass(frozen=True, slots=True)
class VocabularyTensor:
    """A tensor whose `axis` runs over token ids, and the group whose rows it has.

    Tensors of one group hold equal bytes, and get equal rows.
    """

    tensor: Tensor
    role: Role
    axis: int
    group: int

    @property
    def rows(self) -> int:
        """Elements along the vocabulary."""
        return self.tensor.shape[self.axis]

    @property
    def width(self) -> int:
        """Elements a row."""
        return prod(self.tensor.shape) // self.rows


@dataclass(frozen=True, slots=True)
class VocabularyTensors:
    """All vocabulary tensors of a checkpoint, how many rows they have, and what is odd about them.

    `tied` is "alias" where there is no output matrix of its own, "equal" where it is stored twice, and
    "untied" where input and output differ.
    """

    found: tuple[VocabularyTensor, ...]
    rows: int
    tied: Literal["alias", "equal", "untied"]
    warnings: tuple[str, ...]

    @property
    def input(self) -> VocabularyTensor:
        """The input matrix (the first where there are several)."""
        return next(item for item in self.found if item.role == "input")

    def groups(self) -> dict[int, list[VocabularyTensor]]:
        """The tensors by group."""
        found: dict[int, list[VocabularyTensor]] = {}
        for item in self.found:
            found.setdefault(item.group, []).append(item)
        return found


def find_vocabulary_tensors(
    checkpoint: Checkpoint, tokens: int | None = None, told: Mapping[str, str] | None = None
) -> VocabularyTensors:
    """Find every vocabulary tensor.

    `tokens` is the size of the model's own tokenizer, which tells the vocabulary of an unnamed state
    dict. `told` says of names (or patterns as `layers.*`) what they are: a role, or "ignore". Raises
    CheckpointError naming the tensors when it cannot be sure.
    """
    given = _check_told(checkpoint, told or {})
    names = {name: given.get(name) or guess_role(name) for name in checkpoint.tensors}
    rows = _find_rows(checkpoint, names, tokens)
    found: list[VocabularyTensor] = []
    unsure: list[Tensor] = []
    for name, tensor in checkpoint.tensors.items():
        role = names[name]
        if role == "ignore":
            continue
        if role == "per-layer" and len(tensor.shape) == 2 and tensor.shape[0] <= rows:
            found.append(VocabularyTensor(tensor, "per-layer", 0, -1))
        elif rows in tensor.shape:
            axis = tensor.shape.index(rows)
            if role is None or not fits_role(role, tensor, axis):
                unsure.append(tensor)
            else:
                found.append(VocabularyTensor(tensor, as_role(role), axis, -1))
    if checkpoint.plain and unsure and not given:
        unsure, found = _guess_plain(unsure, found, rows)
    if unsure:
        listed = ", ".join(f"{item.name} {list(item.shape)}" for item in unsure[:8])
        more = f" and {len(unsure) - 8} more" if len(unsure) > 8 else ""
        raise CheckpointError(
            f"{checkpoint.root}: {rows:,} is the vocabulary's size and also that of {listed}{more}",
            f"say what they are: --tensor '{unsure[0].name}=ignore' (or input, output, bias)",
        )
    if not any(item.role == "input" for item in found):
        raise CheckpointError(
            f"{checkpoint.root}: no input matrix among "
            f"{', '.join(item.tensor.name for item in found) or 'its tensors'}",
            "say which it is: --tensor NAME=input",
        )
    _check_config(checkpoint, rows)
    grouped, tied = _group(checkpoint, found)
    return VocabularyTensors(grouped, rows, tied, tuple(_doubts(checkpoint, tied)))


def _check_told(checkpoint: Checkpoint, told: Mapping[str, str]) -> dict[str, str]:
    known = (*get_args(Role), "ignore")
    given: dict[str, str] = {}
    for pattern, role in told.items():
        if role not in known:
            raise CheckpointError(
                f"--tensor {pattern}={role}: {role} is not one of {', '.join(known)}",
                f"such as --tensor {pattern}=input",
            )
        hits = [name for name in checkpoint.tensors if fnmatchcase(name, pattern)]
        if not hits:
            raise CheckpointError(
                f"--tensor {pattern}={role}: no tensor of that name in {checkpoint.root}",
                _name_nearest(pattern, checkpoint.tensors),
            )
        given.update(dict.fromkeys(hits, role))
    return given


def _name_nearest(pattern: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(pattern, list(names), 1, cutoff=0.3)
    return f"did you mean {near[0]}?" if near else "--dry-run lists the tensors found"


def _find_rows(checkpoint: Checkpoint, names: Mapping[str, str | None], tokens: int | None) -> int:
    """How many rows the vocabulary has: those of the input matrices, which must agree."""
    inputs = [
        tensor
        for name, tensor in checkpoint.tensors.items()
        if names[name] == "input" and len(tensor.shape) == 2
    ]
    sizes = {tensor.shape[0] for tensor in inputs}
    if len(sizes) > 1:
        said = read_vocabulary_size(checkpoint.config)
        sizes = next(({size} for size in (said, tokens) if size in sizes and size), sizes)
    has_tokens = any(tokens in tensor.shape for tensor in checkpoint.tensors.values())
    if not sizes and checkpoint.plain and tokens is not None and has_tokens:
        return tokens
    if len(sizes) == 1:
        return next(iter(sizes))
    listed = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in inputs)
    raise CheckpointError(
        f"{checkpoint.root}: input matrices of different sizes: {listed}"
        if inputs
        else f"{checkpoint.root}: no tensor is named as an input matrix",
        "say which is the vocabulary's: --tensor NAME=input, and --tensor OTHER=ignore",
    )


def _guess_plain(
    unsure: list[Tensor], found: list[VocabularyTensor], rows: int
) -> tuple[list[Tensor], list[VocabularyTensor]]:
    """Roles by shape and by words in the name, for a state dict whose names follow no table."""
    kept, made = [], list(found)
    for tensor in unsure:
        axis = tensor.shape.index(rows)
        flat = prod(tensor.shape) == rows
        hint = tensor.name.lower()
        if flat and re.search(r"b$|bias", hint):
            made.append(VocabularyTensor(tensor, "bias", axis, -1))
        elif len(tensor.shape) == 2 and axis == 0 and "emb" in hint:
            made.append(VocabularyTensor(tensor, "input", 0, -1))
        elif len(tensor.shape) == 2 and re.search(r"fc|head|proj|out|logit", hint):
            made.append(VocabularyTensor(tensor, "output", axis, -1))
        else:
            kept.append(tensor)
    return kept, made


def read_vocabulary_size(config: Mapping[str, Any] | None) -> int | None:
    """`vocab_size`, that of the text model where there is one; None where nothing is said."""
    if config is None:
        return None
    for part in (config.get("text_config"), config):
        if isinstance(part, Mapping) and isinstance(part.get("vocab_size"), int):
            return int(part["vocab_size"])
    return None


def _check_config(checkpoint: Checkpoint, rows: int) -> None:
    said = read_vocabulary_size(checkpoint.config)
    written = (checkpoint.config or {}).get("vocab_size", rows)
    if not isinstance(written, int | None):
        raise CheckpointError(
            f"{checkpoint.root}: config.json says vocab_size {written!r}, which is no whole number",
            f"write {rows}",
        )
    if said is not None and said != rows:
        raise CheckpointError(
            f"{checkpoint.root}: config.json says vocab_size {said:,}, and the input matrix has "
            f"{rows:,} rows",
            "correct config.json, or --tensor NAME=input for the right matrix",
        )


def _group(
    checkpoint: Checkpoint, found: Iterable[VocabularyTensor]
) -> tuple[tuple[VocabularyTensor, ...], Literal["alias", "equal", "untied"]]:
    """Number the tensors so that equal bytes have one number."""
    order = {"input": 0, "output": 1, "per-layer": 2, "bias": 3}
    firsts: list[VocabularyTensor] = []
    made: list[VocabularyTensor] = []
    for item in sorted(found, key=lambda item: order[item.role]):
        group = next(
            (place for place, first in enumerate(firsts) if _equal(checkpoint, first, item)),
            len(firsts),
        )
        numbered = VocabularyTensor(item.tensor, item.role, item.axis, group)
        if group == len(firsts):
            firsts.append(numbered)
        made.append(numbered)
    inputs = {item.group for item in made if item.role == "input"}
    outputs = {item.group for item in made if item.role == "output"}
    if not outputs:
        return tuple(made), "alias"
    return tuple(made), "equal" if outputs <= inputs else "untied"


def _equal(checkpoint: Checkpoint, first: VocabularyTensor, second: VocabularyTensor) -> bool:
    a, b = first.tensor, second.tensor
    if (a.number, a.shape, first.axis) != (b.number, b.shape, second.axis):
        return False
    if (first.role == "bias") != (second.role == "bias"):
        return False
    left, right = checkpoint.read_bytes(a.name), checkpoint.read_bytes(b.name)
    step = 1 << 24
    return all(
        np.array_equal(left[start : start + step], right[start : start + step])
        for start in range(0, len(left), step)
    )


def _doubts(checkpoint: Checkpoint, tied: str) -> list[str]:
    config = checkpoint.config or {}
    said = config.get("tie_word_embeddings")
    found = []
    if tied == "untied" and said is True:
        found.append(
            "config.json says tie_word_embeddings, but the stored input and output matrices differ: "
            "they are treated as untied"
        )
    if tied == "equal" and said is False:
        found.append(
            "config.json says that input and output are untied, but their bytes are equal: they get "
            "equal rows unless --init-output differs"
        )
    if config.get("quantization_config"):
        found.append("config.json has a quantization_config; only unquantised tensors are extended")
    return found
