"""A checkpoint on disk: which tensors it has and where, without reading them.

Read are a folder as transformers writes it (one safetensors file or many with an index, or `.bin`), a
lone safetensors file, and a plain PyTorch state dict. Then: which tensors have a vocabulary
dimension, by structure and by names, and what each is for. Nothing is changed here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from json import dumps
from math import prod
from pathlib import Path
from shlex import quote
from typing import Any, Literal, NotRequired, TypedDict, cast, get_args

import numpy as np

from vocabkit.checkpoints.safetensors_files import SIZES, Bytes, Header, equal_bytes, read_header
from vocabkit.checkpoints.torch_files import TorchFile, read_torch_file
from vocabkit.core.errors import CheckpointError, VocabkitError
from vocabkit.core.folders import read_json
from vocabkit.core.records import Name, parse_record
from vocabkit.vocabulary.tokenizers import GGUF_MAGIC, read_gguf_fields

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
        refuse_gguf(target)
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
    refuse_gguf(target)
    found = f"{len(plain)} files of weights: name one" if plain else "no file of weights"
    raise CheckpointError(f"{target}: {found}", _HINT)


# What llama.cpp calls the types that most of a file's weights have (`general.file_type`).
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip
_WHOLE = ("F32", "F16", "BF16")


def refuse_gguf(path: Path) -> None:
    """Raise `CheckpointError` for llama.cpp's file of a model, or a folder of it: what it is, what converts it.

    The lines were run with transformers 5.23: without `dequantize` it loads such a model, and will not save it.
    """
    for item in sorted(path.glob("*.gguf")) if path.is_dir() else ():
        refuse_gguf(item)
    if not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(4) != GGUF_MAGIC:
            return
    try:
        fields = read_gguf_fields(path)
    except VocabkitError as error:
        raise CheckpointError(error.message, error.hint) from error

    def text(key: str) -> str:
        value = fields.get(f"general.{key}")
        return value.decode(errors="replace") if isinstance(value, bytes) else ""

    number = fields.get("general.file_type")
    kind = _FILE_TYPES.get(number, f"type {number}") if isinstance(number, int) else ""
    told = [text("architecture") or "a model", text("name") and f"{text('name')!r}", kind and f"in {kind}"]
    what = f"{path}: GGUF, llama.cpp's kind of file ({', '.join(filter(None, told))}), and not a checkpoint"
    if kind and kind not in _WHOLE:
        what += "; its weights are rounded, and stay so: convert the model it was made from where you can"
    source = text("source.huggingface.repository") or text("source.url") or text("base_model.0.repo_url")
    what += f", which is {source}" if source else ""
    model = "AutoModelForSeq2SeqLM" if text("architecture") in ("t5", "umt5") else "AutoModelForCausalLM"
    output = f"{path.stem}-hf"
    place, save = (
        f"{dumps(str(path.parent))}, gguf_file={dumps(path.name)}",
        f"save_pretrained({dumps(output)})",
    )
    load = f"M.from_pretrained({place}, quantization_config=G(dequantize=True)).{save}"
    words = f"from transformers import AutoTokenizer as T; T.from_pretrained({place}).{save}"
    lines = (
        "pip install 'transformers>=5.23' torch accelerate gguf",
        f"python -c {quote(f'from transformers import {model} as M, GgufConfig as G; {load}')}",
        f"python -c {quote(words)}  # then give vocabkit {quote(output)}",
    )
    raise CheckpointError(what, "\n".join(lines))


class _Index(TypedDict):
    weight_map: Mapping[str, Name]
    metadata: NotRequired[Mapping[str, Any]]


def _open_indexed(root: Path, index: str, config: Mapping[str, Any] | None) -> Checkpoint:
    content = read_json(root / index)
    read: _Index = parse_record(_Index, content, root / index, CheckpointError, "copy the index again")
    weights = read["weight_map"]
    shards = tuple(sorted(set(weights.values())))
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
    ("output", r"(^|\.)(lm_head|embed_out|generator_lm_head|vocab_projector|lm_loss)\.weight"),
    ("output", r"^([a-z_]+\.)*(proj_out|output_layer|output_projection)\.weight"),  # in no numbered layer
    ("output", r"(lm_head|mlm_score)\.decoder\.weight"),
    ("output", r"lm_head\.(linear|out_proj)\.weight"),  # Phi's first form, and XLM-R-XL's kin
    ("output", r"shared_head\.head\.weight"),  # a multi-token prediction layer of DeepSeek's
    ("output", r"(^|\.)(cls\.)?predictions\.decoder\.weight"),
    ("output", r"(^|\.)cls\.predictions\.dense\.weight"),  # half of MobileBERT's head; before it in RemBERT's
    ("output", r"pred_layer\.proj\.weight"),
    ("output", r"^(model\.|module\.)?(decoder|output|head)\.weight"),
    ("bias", r"(^|\.)(lm_head|embed_out|generator_lm_head|vocab_projector|lm_loss)\.bias"),
    ("bias", r"^([a-z_]+\.)*(proj_out|output_layer|output_projection)\.bias"),
    ("bias", r"(lm_head|mlm_score)\.decoder\.bias"),
    ("bias", r"lm_head\.(linear|out_proj)\.bias"),
    ("bias", r"(^|\.)(cls\.)?predictions\.(decoder\.)?bias"),
    ("bias", r"pred_layer\.proj\.bias"),
    ("bias", r"^(model\.|module\.)?(decoder|output|head)\.bias"),
    ("bias", r"final_logits_bias"),
)  # fmt: skip
_PATTERNS = tuple((role, re.compile(rf"(?:^|\.|\b){ending}$")) for role, ending in _NAMES)


def _guess_role(name: str) -> Role | None:
    return next((role for role, pattern in _PATTERNS if pattern.search(name)), None)


# Modules that hold nothing but a matrix: whatever else lies below one is part of how the matrix is stored.
_BARE = re.compile(
    r"(^|\.)(lm_head|embed_out|generator_lm_head|vocab_projector|lm_loss|decoder|proj|out_proj|linear"
    r"|embed_tokens|embed_tokens_per_layer|tokens_embed|wte|embed_in|word_embeddings?|tok_embeddings)$"
)
# Layers before the matrix, of heads that have some.
_BEFORE = re.compile(r"(dense|transform|decoder|out_proj|linear|([Ll]ayer_?|batch_?)?[Nn]orm|ln(_\w+)?)\.")
# Parts of a matrix that is quantised (bitsandbytes, GPTQ, AWQ, HQQ, EXL, AQLM, QuIP, MLX, FP8, torchao,
# compressed-tensors), adapted, or split into a length and a direction.
_PART = re.compile(
    r"(_?weight[._]\w.*|q_?\w*weight\w*|q_?zeros?|q_?scales?\w*|q_?groups?|q_?perm|q_?invperm|scales?|zeros?"
    r"|zero_points?|biases|blocks|g_idx|absmax|quant_\w+.*|\w+_scales?(_inv)?|\w+_zero_point|W_q|meta|nbits"
    r"|group_size|SCB|S[UV]|s[uv]h|Qidxs|codes|codebooks?|trellis|\w*packed\w*|parametrizations\..*"
    r"|lora_\w+(\..*)?|base_layer\..*|modules_to_save\..*|original_module\..*)"
)
_ADAPTER = re.compile(r"(lora_|base_layer\.|modules_to_save\.|original_module\.)")


def _find_part(name: str) -> tuple[Role, str] | None:
    """The role and the module of a tensor that is part of how a vocabulary matrix is stored; else None."""
    steps = name.split(".")
    for stop in range(len(steps) - 1, 0, -1):
        module, rest = ".".join(steps[:stop]), ".".join(steps[stop:])
        role = _guess_role(f"{module}.weight")
        if role is None or rest in ("weight", "bias"):
            continue
        # A stack of layers may be called as a head is: `decoder.layers.0.…` of an encoder–decoder is none.
        is_bare = _BARE.search(module) and not (role == "output" and re.fullmatch(r"(\w+\.)?decoder", module))
        if _PART.fullmatch(rest) or (is_bare and not _BEFORE.match(rest)):
            return role, module
    return None


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
    "untied" where input and output differ. `extra` is how many rows the input has beyond those of the head, for
    ids that are read and never predicted.
    """

    found: tuple[VocabularyTensor, ...]
    rows: int
    tied: Literal["alias", "equal", "untied"]
    warnings: tuple[str, ...]
    extra: int = 0

    def count_rows(self, item: VocabularyTensor, size: int) -> int:
        """Rows of one of the tensors when the input matrix has `size`."""
        return size - self.extra if item.role in ("output", "bias") else size

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
    _refuse_parts(checkpoint)
    names = {name: given.get(name) or _guess_role(name) for name in checkpoint.tensors}
    rows = _find_rows(checkpoint, names, tokens)
    extra = _find_extra(checkpoint, names, rows)
    found: list[VocabularyTensor] = []
    unsure: list[Tensor] = []
    others: list[Tensor] = []
    for name, tensor in checkpoint.tensors.items():
        role = names[name]
        if role == "ignore":
            continue
        size = rows - extra if role in ("output", "bias") else rows
        if role == "per-layer" and len(tensor.shape) == 2 and tensor.shape[0] <= rows:
            found.append(VocabularyTensor(tensor, "per-layer", 0, -1))
        elif size in tensor.shape:
            axis = tensor.shape.index(size)
            if role is None or not _fits_role(role, tensor, axis):
                unsure.append(tensor)
            else:
                found.append(VocabularyTensor(tensor, cast(Role, role), axis, -1))
        elif role is not None:
            others.append(tensor)
    if checkpoint.plain and unsure and not given:
        unsure, found = _guess_plain(unsure, found, rows)
    if unsure:
        raise _ask_role(checkpoint, unsure, rows)
    if not any(item.role == "input" for item in found):
        among = ", ".join(item.tensor.name for item in found) or "its tensors"
        hint = "say which it is: --tensor NAME=input"
        raise CheckpointError(f"{checkpoint.root}: no input matrix among {among}", hint)
    _check_others(checkpoint, names, found, others, rows)
    _check_ignored(checkpoint, given, found)
    doubts = _check_config(checkpoint, rows, extra)
    grouped, tied = _group(checkpoint, found)
    doubts += [
        f"{one.name} {list(one.shape)} is of another vocabulary and stays as it is"
        for one in others
        if names[one.name] == "input" and len(one.shape) == 2
    ]
    return VocabularyTensors(grouped, rows, tied, (*_doubts(checkpoint, tied, extra), *doubts), extra)


def _refuse_parts(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for a vocabulary matrix that is kept in parts: one part says nothing of a row."""
    parts: dict[str, list[Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        if (part := _find_part(name)) is not None:
            parts.setdefault(part[1], []).append(tensor)
    if not parts:
        return
    module, tensors = next(iter(parts.items()))
    listed = ", ".join(f"{item.name} {list(item.shape)}" for item in tensors[:4])
    more = f" and {len(tensors) - 4} more" if len(tensors) > 4 else ""
    what = f"{module} is kept in parts, of which none has a row a token by itself: {listed}{more}"
    hint = "extend the model that was quantised, then quantise what `vocabkit extend` writes"
    if any(_ADAPTER.search(item.name) for item in tensors):
        hint = "merge the adapter first: model.merge_and_unload().save_pretrained(FOLDER), then extend FOLDER"
    raise CheckpointError(f"{checkpoint.root}: {what}", hint)


# What names of output matrices look like that no table has.
_LIKE_OUTPUT = re.compile(r"head|logit|vocab|unembed|classifier|predict|proj_out|output", re.IGNORECASE)


def _ask_role(checkpoint: Checkpoint, unsure: list[Tensor], rows: int) -> CheckpointError:
    """The error that asks what tensors are; its hint never bids to leave behind what may be a head."""
    listed = ", ".join(f"{item.name} {list(item.shape)}" for item in unsure[:8])
    more = f" and {len(unsure) - 8} more" if len(unsure) > 8 else ""
    what = f"{rows:,} is the vocabulary's size and also that of {listed}{more}"
    first = unsure[0].name
    role, when = "ignore", "for a layer that is as wide by chance (or input, output, bias)"
    if _LIKE_OUTPUT.search(first):
        role, when = "output", "where it has a row a token (or input, ignore)"
        if prod(unsure[0].shape) == rows:
            role, when = "bias", "where it has a value a token (or ignore)"
    return CheckpointError(f"{checkpoint.root}: {what}", f"say what they are: --tensor '{first}={role}' {when}")


# Rows that the input matrix has beyond the head, by model_type: Mllama reads eight ids that it cannot predict.
_EXTRA_ROWS = {"mllama": 8, "mllama_text_model": 8}


def _find_extra(checkpoint: Checkpoint, names: Mapping[str, str | None], rows: int) -> int:
    extra = _EXTRA_ROWS.get(checkpoint.model_type or "", 0)
    outputs = [tensor for name, tensor in checkpoint.tensors.items() if names[name] == "output"]
    if outputs:
        return extra if all(rows - extra in tensor.shape for tensor in outputs) else 0
    return extra if read_vocabulary_size(checkpoint.config) == rows - extra else 0


# Of an architecture's name, where it predicts tokens.
_PREDICTS = re.compile(r"CausalLM|LMHead|MaskedLM|PreTraining|ConditionalGeneration|Seq2SeqLM|DoubleHeads")


def _predicts_tokens(checkpoint: Checkpoint) -> bool:
    """Whether the architecture has a head over the vocabulary; True where nothing is said of it."""
    classes = (checkpoint.config or {}).get("architectures") or []
    return not classes or any(_PREDICTS.search(str(item)) for item in classes)


def _check_others(
    checkpoint: Checkpoint,
    names: Mapping[str, str | None],
    found: Sequence[VocabularyTensor],
    others: Sequence[Tensor],
    rows: int,
) -> None:
    """Raise CheckpointError for a tensor named as an output that has not a row for each of the input's."""
    heads = (one for one in others if names[one.name] not in ("input", "per-layer"))
    wrong = next((one for one in heads if not one.name.endswith("cls.predictions.dense.weight")), None)
    if wrong is None:
        return
    first = next(item.tensor for item in found if item.role == "input")
    kind = "a bias of the output" if names[wrong.name] == "bias" else "an output matrix"
    what = f"{wrong.name} {list(wrong.shape)} is named as {kind}, and the input {first.name} has {rows:,} rows"
    hint = f"give both as many rows and save, then extend: the smaller padded, or the input cut, from {rows:,}"
    if _may_ignore(checkpoint, wrong.name, found):
        hint = f"where it is no head over these tokens: --tensor '{wrong.name}=ignore'"
    raise CheckpointError(f"{checkpoint.root}: {what}", hint)


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]


def _may_ignore(checkpoint: Checkpoint, name: str, found: Sequence[VocabularyTensor]) -> bool:
    """Whether a model whose tensor of this name stays as it was can still be right."""
    role, module = _guess_role(name), _module_of(name)
    if role not in ("output", "bias"):
        return not any(module == _module_of(item.tensor.name) for item in found)
    heads = {_module_of(item.tensor.name) for item in found if item.role == "output"}
    return bool(heads - {module}) or not _predicts_tokens(checkpoint)


def _check_ignored(checkpoint: Checkpoint, given: Mapping[str, str], found: Sequence[VocabularyTensor]) -> None:
    """Raise CheckpointError where a tensor that must grow with the vocabulary was to be left as it is."""
    for name, role in given.items():
        if role != "ignore" or _guess_role(name) is None or _may_ignore(checkpoint, name, found):
            continue
        shape = list(checkpoint.tensors[name].shape)
        what = f"--tensor {name}=ignore: {name} {shape} is the model's head, which would keep its old rows"
        raise CheckpointError(f"{checkpoint.root}: {what}", "leave the option out, and see what is said of it")


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
                f"did you mean {near[0]}?" if near else "--dry-run  # lists the tensors found",
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


def _check_config(checkpoint: Checkpoint, rows: int, extra: int) -> list[str]:
    """What is odd about `vocab_size`. Raises CheckpointError where it is not the matrix's."""
    said = read_vocabulary_size(checkpoint.config)
    written = (checkpoint.config or {}).get("vocab_size", rows)
    if not isinstance(written, int | None):
        what = f"config.json says vocab_size {written!r}, which is no whole number"
        raise CheckpointError(f"{checkpoint.root}: {what}", f"write {rows - extra}")
    if said is None or said == rows - extra:
        return []
    if said == rows:
        what = f"config.json says vocab_size {said:,}, the input's rows"
        return [f"{what}; transformers reads the head's there, {rows - extra:,} before: it is written so"]
    what = f"config.json says vocab_size {said:,}, and the input matrix has {rows:,} rows"
    other = next((one.name for one in checkpoint.tensors.values() if one.shape[:1] == (said,)), None)
    hint = f"if the matrix is right: write vocab_size {rows} in config.json"
    if other is not None:
        hint = f"{other} has {said:,} rows: which of them is right must be known before rows are added"
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


# Untied by transformers' own default, where config.json does not say.
_UNTIED = frozenset(
    {
        "codegen", "deepseek_v2", "deepseek_v3", "glm", "glm4", "glm4_moe", "gpt_neox", "gpt_oss", "gptj",
        "granite", "granitemoe", "internlm3", "jamba", "llama", "llama4", "llama4_text", "mamba2", "minimax",
        "ministral", "mistral", "mixtral", "mllama_text_model", "nemotron", "olmo", "olmo2", "olmo3", "olmoe",
        "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen3",
        "qwen3_moe", "qwen3_next", "qwen3_vl", "reformer", "rembert", "rwkv", "seed_oss", "stablelm",
    }
)  # fmt: skip


def _says_tied(checkpoint: Checkpoint) -> bool | None:
    """What config.json says of the tie, itself or by the default of its model type; None where it does not."""
    config = checkpoint.config or {}
    inner = config.get("text_config")
    for part in (config, inner):
        if isinstance(part, Mapping) and isinstance(part.get("tie_word_embeddings"), bool):
            return bool(part["tie_word_embeddings"])
    return False if checkpoint.model_type in _UNTIED else None


def _doubts(checkpoint: Checkpoint, tied: str, extra: int) -> list[str]:
    config = checkpoint.config or {}
    said = _says_tied(checkpoint)
    found = []
    if tied == "untied" and said is True:
        what = "config.json says tie_word_embeddings, but the stored input and output matrices differ"
        found.append(f"{what}: they are treated as untied")
    if tied == "equal" and said is False:
        what = "config.json says that input and output are untied, but their bytes are equal"
        found.append(f"{what}: they get equal rows unless --init-output differs")
    if tied == "alias" and said is False and _predicts_tokens(checkpoint):
        what = "config.json leaves input and output untied, and no output matrix is stored"
        found.append(
            f"{what}: transformers makes up a random one, before as after; where the model was trained tied, "
            "write tie_word_embeddings true, else look for the lost tensor"
        )
    if extra:
        what = f"the input has {extra} rows more than the head, for ids that are read and never predicted"
        found.append(f"{what}: they are kept, and stand behind the last id that the head has")
    if config.get("quantization_config"):
        found.append("config.json has a quantization_config; only unquantised tensors are extended")
    return found
