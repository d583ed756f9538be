"""Vocabulary tensors by whose rows they get, and the method by which each group's new rows are made."""

from __future__ import annotations

from dataclasses import dataclass

from vocabkit.core.errors import ConfigError
from vocabkit.extension.biases import check_bias_method
from vocabkit.extension.checkpoint import Checkpoint
from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.initializers import check_method, choose_methods
from vocabkit.extension.number_formats import check_number
from vocabkit.extension.options import Options
from vocabkit.extension.vocabulary_tensors import VocabularyTensor, VocabularyTensors

__all__ = ["Group", "check_methods", "make_groups"]


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that get equal rows, what they are for, and how their new rows are made."""

    role: str
    method: str
    tensors: tuple[VocabularyTensor, ...]

    @property
    def first(self) -> VocabularyTensor:
        """The tensor whose old rows are read."""
        return self.tensors[0]


def make_groups(
    checkpoint: Checkpoint, found: VocabularyTensors, options: Options, head: str | None
) -> tuple[Group, ...]:
    """Group the tensors. Raises CheckpointError where one matrix would be made in two ways."""
    tied = found.tied != "untied" and not options.untie
    names = choose_methods(tied=tied, has_donor=options.donor is not None)
    inputs = options.init_input or names[0]
    outputs = options.init_output or (inputs if tied else names[1])
    said_untied = (checkpoint.config or {}).get("tie_word_embeddings") is False
    if tied and outputs != inputs and not (found.tied == "equal" and said_untied):
        raise CheckpointError(
            f"{checkpoint.root}: input and output are one matrix: --init-output {outputs} would differ "
            f"from --init-input {inputs}",
            "--untie gives the output a matrix of its own",
        )
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
            role = "tied" if tied and found.tied == "alias" and "input" in roles else "input"
            groups += [Group(role, inputs, ins)] if ins else []
            groups += [Group("output", outputs, outs)] if outs else []
    if head is not None:
        groups.append(Group("output", outputs, (found.input,)))
    return tuple(groups)


def check_methods(groups: tuple[Group, ...], options: Options) -> None:
    """Refuse, before anything is made, a method or a number format that cannot be used.

    Raises ConfigError and CheckpointError.
    """
    has_donor, has_text = options.donor is not None, options.text is not None
    bias, _ = check_bias_method(options.init_bias)
    for group in groups:
        check_number(group.first.tensor.number)
        if group.role != "bias":
            check_method(group.method, has_donor=has_donor, has_text=has_text)
        elif bias == "log-prior" and not has_text:
            raise ConfigError("log-prior needs text and the new tokenizer", "name text with --text")
