"""A checkpoint on disk: which tensors it has and where, without reading them.

Read are a folder as transformers writes it (one safetensors file or many with an index, or `.bin`), a
lone safetensors file, and a plain PyTorch state dict. Then: which tensors have a vocabulary
dimension, by structure and by names, and what each is for. Nothing is changed here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from vocabkit.checkpoints.safetensors_files import SIZES, Bytes, Header, equal_bytes, read_header
from vocabkit.checkpoints.torch_files import TorchFile, read_torch_file
from vocabkit.core.errors import CheckpointError
from vocabkit.core.folders import read_json

# In the order of preference where a folder has several: the first is what transformers would load.
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_INDEXED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_HINT = "name a folder with config.json and model.safetensors, or a .pt file of a state dict"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's dtype (safetensors' name), shape and shard (a file name in the folder)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * SIZES.get(self.dtype, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The tensors of a checkpoint by name, the files they are in, and its configuration.

    `root` is the folder; `index` is the name of the index file, where shards are listed in one.
    `headers` or `torch_files` hold what was read of each shard. `config` is None for a plain file.
    """

    root: Path
    tensors: Mapping[str, Tensor]
    shards: tuple[str, ...]
    index: str | None
    config: Mapping[str, Any] | None
    plain: bool
    headers: Mapping[str, Header] = field(default_factory=dict)
    torch_files: Mapping[str, TorchFile] = field(default_factory=dict)

    @property
    def total_size(self) -> int:
        """Bytes of all tensors, as an index counts them."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def model_type(self) -> str | None:
        """What config.json calls the architecture."""
        kind = None if self.config is None else self.config.get("model_type")
        return kind if isinstance(kind, str) else None

    def file_of(self, name: str) -> Path:
        """Return the file that holds a tensor."""
        return self.root / self.tensors[name].shard

    def read_bytes(self, name: str) -> Bytes:
        """Return a tensor's bytes in a row, mapped rather than read."""
        tensor = self.tensors[name]
        if tensor.shard in self.torch_files:
            return self.torch_files[tensor.shard].bytes_of(name)
        stored = self.headers[tensor.shard].tensors[name]
        if not stored.size:
            return np.zeros(0, np.uint8)
        return np.memmap(self.file_of(name), np.uint8, "r", stored.start, (stored.size,))

    def read_rows(self, name: str, axis: int = 0) -> Bytes:
        """A tensor's bytes as [rows, bytes a row], rows along `axis`; mapped where its rows lie in a row."""
        tensor = self.tensors[name]
        flat, unit = self.read_bytes(name), SIZES[tensor.dtype]
        outer = prod(tensor.shape[:axis])
        if outer == 1:
            return flat.reshape(tensor.shape[axis], -1)
        wide = flat.reshape(outer, tensor.shape[axis], -1, unit)
        return np.ascontiguousarray(np.moveaxis(wide, 1, 0)).reshape(tensor.shape[axis], -1)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a folder or file and check every header against its file. Raises CheckpointError."""
    target = Path(path)
    if target.is_file():
        return _open_shards(target.parent, (target.name,), None, None, True)
    if not target.is_dir():
        raise CheckpointError(f"{target}: no such file or folder", _HINT)
    config = read_json(target / "config.json") if (target / "config.json").is_file() else None
    for index, single in zip(_INDEXED, _SINGLE, strict=True):
        if (target / single).is_file():
            return _open_shards(target, (single,), None, config, False)
        if (target / index).is_file():
            return _open_indexed(target, index, config)
    if (target / "adapter_config.json").is_file():
        raise CheckpointError(f"{target}: an adapter, not a model", "merge it into its base first")
    plain = [item for item in sorted(target.iterdir()) if item.suffix in (".pt", ".pth", ".safetensors")]
    if len(plain) == 1:
        return _open_shards(target, (plain[0].name,), None, config, config is None)
    found = f"{len(plain)} files of weights: name one" if plain else "no file of weights"
    raise CheckpointError(f"{target}: {found}", _HINT)


def _open_indexed(root: Path, index: str, config: Mapping[str, Any] | None) -> Checkpoint:
    content = read_json(root / index)
    weights = content.get("weight_map")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{root / index}: has no weight_map", "copy the index again")
    if not isinstance(content.get("metadata", {}), dict):
        raise CheckpointError(f"{root / index}: its metadata is no object", "copy the index again")
    shards = tuple(sorted(set(map(str, weights.values()))))
    for shard in shards:
        if not (root / shard).is_file():
            raise CheckpointError(
                f"{root / index}: names {shard}, which is not there", "copy the missing shard"
            )
    found = _open_shards(root, shards, index, config, False)
    held = {name: tensor.shard for name, tensor in found.tensors.items()}
    wrong = [f"has no entry for {name}, which is in {held[name]}" for name in held if name not in weights]
    told = [(name, shard) for name, shard in weights.items() if held.get(name) != shard]
    wrong += [f"says that {name} is in {shard}, and it is not" for name, shard in told]
    if wrong:
        raise CheckpointError(f"{root / index}: {wrong[0]}", "copy the index and the shards from one place")
    return found


def _open_shards(
    root: Path, shards: tuple[str, ...], index: str | None, config: Mapping[str, Any] | None, plain: bool
) -> Checkpoint:
    tensors: dict[str, Tensor] = {}
    headers: dict[str, Header] = {}
    files: dict[str, TorchFile] = {}
    for shard in shards:
        path = root / shard
        if path.suffix == ".safetensors":
            header = headers[shard] = read_header(path)
            listed = [Tensor(one.name, one.dtype, one.shape, shard) for one in header.tensors.values()]
        else:
            file = files[shard] = read_torch_file(path)
            shapes = {name: tuple(tensor.shape) for name, tensor in file.tensors.items()}
            listed = [Tensor(name, file.dtype(name), shape, shard) for name, shape in shapes.items()]
        for tensor in listed:
            if tensor.name in tensors:
                twice = f"{tensor.name} is in {tensors[tensor.name].shard} and in {shard}"
                raise CheckpointError(f"{root}: {twice}", "remove the file that does not belong to the model")
            tensors[tensor.name] = tensor
    if not tensors:
        raise CheckpointError(f"{root}: no tensor in {', '.join(shards)}", _HINT)
    return Checkpoint(root, tensors, shards, index, config, plain, headers, files)


# --- Names -----------------------------------------------------------------------------------------
# What a tensor is for, by the names that 43 architectures use.

Role = Literal["input", "output", "bias", "per-layer"]

# Ends of names, after any prefix (`model.`, `module.`, `bert.`, `language_model.`).
_NAMES: tuple[tuple[Role, str], ...] = (
    ("per-layer", r"embed_tokens_per_layer\.weight"),
    ("input", r"(embeddings\.)?(word_embeddings|word_embedding|tok_embeddings|token_embedding)\.weight"),
    ("input", r"(embed_tokens|tokens_embed|wte|embed_in|shared|embed_input_ids)\.weight"),
    ("input", r"(^|transformer\.|backbone\.|model\.|rwkv\.)(embeddings|embedding|word_embed)\.weight"),
    ("output", r"(^|\.)(lm_head|embed_out|generator_lm_head|vocab_projector|proj_out|lm_loss)\.weight"),
    ("output", r"lm_head\.decoder\.weight"),
    ("output", r"(^|\.)(cls\.)?predictions\.decoder\.weight"),
    ("output", r"(^|\.)cls\.predictions\.dense\.weight"),  # MobileBERT's second half of its head
    ("output", r"pred_layer\.proj\.weight"),
    ("output", r"^(model\.|module\.)?(decoder|output|head)\.weight"),
    ("bias", r"(^|\.)(lm_head|embed_out|generator_lm_head|vocab_projector|proj_out|lm_loss)\.bias"),
    ("bias", r"lm_head\.decoder\.bias"),
    ("bias", r"(^|\.)(cls\.)?predictions\.(decoder\.)?bias"),
    ("bias", r"pred_layer\.proj\.bias"),
    ("bias", r"^(model\.|module\.)?(decoder|output|head)\.bias"),
    ("bias", r"final_logits_bias"),
)  # fmt: skip
_PATTERNS = tuple((role, re.compile(rf"(?:^|\.|\b){ending}$")) for role, ending in _NAMES)


def _guess_role(name: str) -> Role | None:
    return next((role for role, pattern in _PATTERNS if pattern.search(name)), None)


def _fits_role(role: str, tensor: Tensor, axis: int) -> bool:
    """Whether a tensor with the vocabulary along `axis` can have the role, by its shape."""
    if role == "bias":
        return prod(tensor.shape) == tensor.shape[axis]
    return len(tensor.shape) == 2 and (role != "input" or axis == 0)


# --- Untied heads ----------------------------------------------------------------------------------
# The head that --untie writes, by model_type. Left out: T5 scales the output of a tied decoder, so an
# untied copy gives other logits; BERT and its like are told of a bias of their own by each version.

_HEADS = {
    "lm_head.weight": [
        "bloom", "cohere", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2",
        "gpt_bigcode", "granite", "llama", "mamba", "mistral", "mixtral", "olmo", "olmo2",
        "olmo3", "opt", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
        "smollm3", "stablelm", "starcoder2", "xglm",
    ],
    "embed_out.weight": ["gpt_neox"],
}  # fmt: skip


def new_head(checkpoint: Checkpoint) -> str:
    """The name of the output matrix to add when a tied model is untied. Raises CheckpointError."""
    kind, config = checkpoint.model_type or "none", checkpoint.config or {}
    classes = [*map(str, config.get("architectures") or [])]
    found = next((name for name, kinds in _HEADS.items() if kind in kinds), None)
    if config.get("text_config") is not None or kind == "none":
        why = "knows models of text alone"
    elif not any("CausalLM" in item or "LMHead" in item for item in classes):
        why = f"needs a causal language model, and this is {', '.join(classes) or kind}"
    elif found is None:
        why = f"does not know how {kind} names or scales an untied head"
    else:
        return found
    raise CheckpointError(f"{checkpoint.root}: --untie {why}", "leave --untie out")


# --- Vocabulary tensors ----------------------------------------------------------------------------


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
    """Find every vocabulary tensor: those with a dimension of as many elements as the input matrix has rows.

    Each must also be confirmed by name; one that has the size but no known name (an inner layer of that width)
    is refused rather than guessed at, until the caller says what it is. Tied or untied is read off the bytes:
    the configuration's word is not taken.

    `tokens` is the size of the model's own tokenizer, which tells the vocabulary of an unnamed state
    dict. `told` says of names (or patterns as `layers.*`) what they are: a role, or "ignore". Raises
    CheckpointError naming the tensors when it cannot be sure.
    """
    given = _check_told(checkpoint, told or {})
    names = {name: given.get(name) or _guess_role(name) for name in checkpoint.tensors}
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
            if role is None or not _fits_role(role, tensor, axis):
                unsure.append(tensor)
            else:
                found.append(VocabularyTensor(tensor, cast(Role, role), axis, -1))
    if checkpoint.plain and unsure and not given:
        unsure, found = _guess_plain(unsure, found, rows)
    if unsure:
        listed = ", ".join(f"{item.name} {list(item.shape)}" for item in unsure[:8])
        more = f" and {len(unsure) - 8} more" if len(unsure) > 8 else ""
        what = f"{rows:,} is the vocabulary's size and also that of {listed}{more}"
        hint = f"say what they are: --tensor '{unsure[0].name}=ignore' (or input, output, bias)"
        raise CheckpointError(f"{checkpoint.root}: {what}", hint)
    if not any(item.role == "input" for item in found):
        among = ", ".join(item.tensor.name for item in found) or "its tensors"
        hint = "say which it is: --tensor NAME=input"
        raise CheckpointError(f"{checkpoint.root}: no input matrix among {among}", hint)
    _check_config(checkpoint, rows)
    grouped, tied = _group(checkpoint, found)
    return VocabularyTensors(grouped, rows, tied, tuple(_doubts(checkpoint, tied)))


def _check_told(checkpoint: Checkpoint, told: Mapping[str, str]) -> dict[str, str]:
    known = (*get_args(Role), "ignore")
    given: dict[str, str] = {}
    for pattern, role in told.items():
        if role not in known:
            wrong = f"{role} is not one of {', '.join(known)}"
            raise CheckpointError(f"--tensor {pattern}={role}: {wrong}", f"such as --tensor {pattern}=input")
        hits = [name for name in checkpoint.tensors if fnmatchcase(name, pattern)]
        if not hits:
            near = difflib.get_close_matches(pattern, list(checkpoint.tensors), 1, cutoff=0.3)
            raise CheckpointError(
                f"--tensor {pattern}={role}: no tensor of that name in {checkpoint.root}",
                f"did you mean {near[0]}?" if near else "--dry-run lists the tensors found",
            )
        given.update(dict.fromkeys(hits, role))
    return given


def _find_rows(checkpoint: Checkpoint, names: Mapping[str, str | None], tokens: int | None) -> int:
    """How many rows the vocabulary has: those of the input matrices, which must agree."""
    matrices = {name: tensor for name, tensor in checkpoint.tensors.items() if len(tensor.shape) == 2}
    inputs = [tensor for name, tensor in matrices.items() if names[name] == "input"]
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
    wrong = (
        f"input matrices of different sizes: {listed}" if inputs else "no tensor is named as an input matrix"
    )
    hint = "say which is the vocabulary's: --tensor NAME=input, and --tensor OTHER=ignore"
    raise CheckpointError(f"{checkpoint.root}: {wrong}", hint)


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
        what = f"config.json says vocab_size {written!r}, which is no whole number"
        raise CheckpointError(f"{checkpoint.root}: {what}", f"write {rows}")
    if said is not None and said != rows:
        what = f"config.json says vocab_size {said:,}, and the input matrix has {rows:,} rows"
        hint = "correct config.json, or --tensor NAME=input for the right matrix"
        raise CheckpointError(f"{checkpoint.root}: {what}", hint)


def _group(
    checkpoint: Checkpoint, found: Iterable[VocabularyTensor]
) -> tuple[tuple[VocabularyTensor, ...], Literal["alias", "equal", "untied"]]:
    """Number the tensors so that equal bytes have one number."""
    order = {"input": 0, "output": 1, "per-layer": 2, "bias": 3}
    firsts: list[VocabularyTensor] = []
    made: list[VocabularyTensor] = []
    for item in sorted(found, key=lambda item: order[item.role]):
        alike = (index for index, first in enumerate(firsts) if _equal(checkpoint, first, item))
        group = next(alike, len(firsts))
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
    if (a.dtype, a.shape, first.axis) != (b.dtype, b.shape, second.axis):
        return False
    if (first.role == "bias") != (second.role == "bias"):
        return False
    return equal_bytes(checkpoint.read_bytes(a.name), checkpoint.read_bytes(b.name))


def _doubts(checkpoint: Checkpoint, tied: str) -> list[str]:
    config = checkpoint.config or {}
    said = config.get("tie_word_embeddings")
    found = []
    if tied == "untied" and said is True:
        what = "config.json says tie_word_embeddings, but the stored input and output matrices differ"
        found.append(f"{what}: they are treated as untied")
    if tied == "equal" and said is False:
        what = "config.json says that input and output are untied, but their bytes are equal"
        found.append(f"{what}: they get equal rows unless --init-output differs")
    if config.get("quantization_config"):
        found.append("config.json has a quantization_config; only unquantised tensors are extended")
    return found
