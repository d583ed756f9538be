"""A tokenizer's folder: its files, the names of its special tokens, and what each of them is for.

`prepare`, `extend`, `pretrain` and `export` all ask here, so that they take the same folders for the same
tokenizers, and refuse the same ones in the same words. Of a folder with several files tokenizer.json is read:
a checkpoint's .model may lack added tokens. Roles are what the files say (a .model's own, then
`special_tokens_map.json`, then `tokenizer_config.json`); nothing is guessed from an id's number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vocabkit.core.errors import CheckpointError, PretrainingError, TokenizerError
from vocabkit.core.folders import fingerprint_file, read_json
from vocabkit.vocabulary.adapters import BackendTokenizer, SentencePieceTokenizer, Tokenizer
from vocabkit.vocabulary.neighbours import (
    DECODER,
    ROLES,
    SETTINGS,
    TOKENIZER_FILES,
    parse_json,
    read_added,
    token_text,
)
from vocabkit.vocabulary.tokenizers import PAIRS, find_file, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind, Roles, write_tokenizer

# --- Files -----------------------------------------------------------------------------------------

CHAT_TEMPLATE = "chat_template.jinja"
_TABLE, _BLOCKS = "vocabulary.parquet", "blocks.tsv"
_CONFIG = "tokenizer_config.json"
# What is looked at beside a file that is named itself.
_BESIDE = ("tokenizer.json", "tokenizer.model", *SETTINGS, "added_tokens.json", _TABLE)
# Ranks and weights; a tokenizer inside such a file has no names for the roles of its tokens here.
_UNNAMED = (".tiktoken", ".gguf")

# Whose .model numbers pieces otherwise than the model's rows: fairseq's specials come first, or more are put
# between. How the classes of transformers begin, and the models that have no other tokenizer.
_NUMBERED_OTHERWISE = {
    "Barthez": (), "Bartpho": (), "Camembert": ("camembert",), "LayoutXLM": (),
    "M2M100": ("m2m_100",), "MBart": ("mbart",), "MLuke": (), "Nllb": ("nllb-moe",),
    "PLBart": ("plbart",), "Pegasus": ("bigbird_pegasus", "pegasus", "pegasus_x"),
    "SeamlessM4T": ("seamless_m4t", "seamless_m4t_v2"), "Speech2Text": ("speech_to_text",),
    "XGLM": ("xglm",), "XLMRoberta": ("kosmos-2", "xlm-roberta", "xlm-roberta-xl", "xmod"),
}  # fmt: skip
# What some classes add to a .model that lacks it: 100 sentinels of T5, whose rows would be taken for padding.
_ADDED_BY_CLASS = {
    "T5": (b"<extra_id_", ("longt5", "mt5", "pix2struct", "switch_transformers", "t5", "udop", "umt5")),
    "DebertaV2": (b"[MASK]", ("deberta-v2",)),
}
_CONVERT = "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes the tokenizer.json needed"


def list_tokenizer_files(root: Path) -> list[str]:
    """Return the names of a tokenizer's files in a model's folder, sorted."""
    fixed = [name for name in TOKENIZER_FILES if (root / name).is_file()]
    return sorted({*fixed, *(item.name for item in root.glob("*.tiktoken"))})


def _choose_file(target: Path, model_type: str | None = None, *, prefer_ours: bool = False) -> Path:
    """Return the file that ids are read from; the path itself where it is no folder.

    `prefer_ours` takes a .model of ours (with vocabulary.parquet beside it) before its tokenizer.json: the two
    have the same ids, and it is three times as fast. Raises TokenizerError where there is none, and for a lone
    .model of an architecture whose rows are in another order.
    """
    content = target / "tokenizer.json"
    skips = prefer_ours and (target / _TABLE).is_file()
    file = content if content.is_file() and not skips else find_file(target)
    _check_file(file, model_type, known=target.is_dir() or file.name in TOKENIZER_FILES)
    return file


def _check_numbering(folder: Path) -> None:
    """Raise TokenizerError for a folder whose only tokenizer is a .model with ids that are not its rows."""
    if not (folder / "tokenizer.json").is_file():
        for file in sorted(folder.glob("*.model")):
            _check_file(file)


def _check_file(file: Path, model_type: str | None = None, *, known: bool = True) -> None:
    """Raise TokenizerError for a .model whose pieces are not numbered as the rows of its architecture.

    That is told by `model_type`, by config.json and by tokenizer_config.json beside it; of a .model with our
    table only by the latter: what `vocabkit extend` gave an XLM-R is numbered as its rows. `known` is false of
    a lone file of any name, whose neighbours may be another tokenizer's.
    """
    if file.suffix in (".json", ".txt", *_UNNAMED):
        return
    told = [str(_read_object(file.with_name(_CONFIG)).get("tokenizer_class"))] if known else []
    if not file.with_name(_TABLE).is_file():
        told += [model_type or "None"]
        told += [str(_read_object(file.with_name("config.json")).get("model_type"))] if known else []
    for prefix, kinds in _NUMBERED_OTHERWISE.items():
        for name in told:
            if name in kinds or name.startswith(prefix):
                raise TokenizerError(f"{file}: {name} numbers its pieces differently", _CONVERT)
    _check_added(file, told)


def _check_added(file: Path, told: Sequence[str]) -> None:
    """Raise TokenizerError for a .model without the tokens that its class adds, where no file tells of them."""
    for prefix, (mark, kinds) in _ADDED_BY_CLASS.items():
        for name in told:
            if not (name in kinds or name.startswith(prefix)) or mark in file.read_bytes():
                continue
            if not any(entry["content"].startswith(mark.decode()) for entry in read_added(file)):
                what = f"{name} adds tokens ({mark.decode()}…) that it does not hold"
                raise TokenizerError(f"{file}: {what}", _CONVERT)


def _read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty where there is no file. Raises TokenizerError for anything else."""
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except CheckpointError as error:
        raise TokenizerError(error.message, error.hint) from error


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The file ids are made with, the files to keep beside it, and a digest of those that decide ids."""

    file: Path
    copied: tuple[Path, ...]
    fingerprint: str

    @property
    def folder(self) -> Path:
        """The folder that holds them."""
        return self.file.parent


def find_tokenizer_files(path: str | Path) -> TokenizerFiles:
    """Find the files of a tokenizer: a folder of ours, one of transformers, or a single file.

    A .model of ours is taken before its tokenizer.json: the two have the same ids, and it is three times as
    fast. Raises TokenizerError, also for a file whose tokens have no names.
    """
    target = Path(path)
    file = _choose_file(target, prefer_ours=True)
    if not file.is_file():
        open_tokenizer(file)  # which says what is missing
    if file.suffix in _UNNAMED:
        raise TokenizerError(f"{file}: no token begins a text", NAME_SPECIALS)
    pair = [name for names in PAIRS if file.name == names[0] for name in names]
    beside: tuple[str, ...] = ()
    if target.is_dir():
        beside = (*TOKENIZER_FILES, CHAT_TEMPLATE, _BLOCKS)
    elif file.name in TOKENIZER_FILES:
        beside = (*_BESIDE, *pair)
    found = (file, *map(file.with_name, beside))
    copied = dict.fromkeys(item for item in found if item.is_file())
    digest = hashlib.blake2b(digest_size=20)
    # What these hold is in a tokenizer.json itself, and beside a bare list of tokens decides ids.
    decide = (*SETTINGS, "added_tokens.json") if pair or file.suffix == ".txt" else ()
    for item in dict.fromkeys((file, *map(file.with_name, (*pair, _TABLE, *decide)))):
        if item in copied:
            digest.update(fingerprint_file(item).encode())
    digest.update("".join(map(repr, read_added(file))).encode())
    return TokenizerFiles(file, tuple(copied), digest.hexdigest())


def complete_tokenizer(source: Path, folder: Path) -> str | None:
    """Write the tokenizer.json that AutoTokenizer needs into `folder`, where `source` came without one.

    transformers opens a lone .model without complaint, and cuts text in another way: what is written gives the
    same ids as the .model, or is not written. Returns why AutoTokenizer will not cut text as these files do,
    None where it will. Raises TokenizerError as `open_source` does.
    """
    if (source / "tokenizer.json").is_file():
        return None
    _check_numbering(source)
    if (source / _CONFIG).is_file():
        return None
    opened = open_source(source).tokenizer
    if not isinstance(opened, SentencePieceTokenizer):
        return "there is no tokenizer.json, and no tokenizer_config.json to name a class"
    try:
        write_tokenizer(opened.vocabulary, folder)
    except TokenizerError as error:
        return error.message
    return None


def dump_json(content: Any, indent: int | None = 2) -> bytes:
    """Return JSON as transformers writes it: two spaces, letters as they are, a line feed at the end."""
    return (json.dumps(content, ensure_ascii=False, indent=indent) + "\n").encode()


# --- Names and roles -------------------------------------------------------------------------------

# Two names for the first and the last token of a text; `[CLS]` begins and `[SEP]` ends it in BERT's way.
_TWINS = {"bos": "cls", "cls": "bos", "eos": "sep", "sep": "eos"}
# Looked for by name where no file says; in this order.
_USUAL = {
    "bos": ("<s>", "[CLS]", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "eos": ("</s>", "[SEP]", "<eos>", "<|end_of_text|>"),
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"),
    "mask": ("<mask>", "[MASK]", "<|mask|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
}
NAME_SPECIALS = (
    "a file of this kind does not say which token begins a text: AutoTokenizer.from_pretrained(NAME)"
    ".save_pretrained(FOLDER) writes one that does, tokenizer.json"
)


@dataclass(frozen=True, eq=False)
class TokenizerSource:
    """A tokenizer, the file it was read from, and the folder whose configuration describes it."""

    path: Path
    folder: Path | None
    tokenizer: Tokenizer

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.tokenizer.size

    @cached_property
    def surfaces(self) -> list[bytes | None]:
        """The bytes of each id; None for one that stands for no text."""
        return [self.tokenizer.token_bytes(index) for index in range(self.size)]

    @property
    def is_pair(self) -> bool:
        """Whether it was read from GPT-2's two files."""
        return self.path.name in {pair[0] for pair in PAIRS}

    @property
    def is_ranks(self) -> bool:
        """Whether it was read from a tiktoken file, which holds no special tokens."""
        return self.tokenizer.style == "byte-level" and not isinstance(self.tokenizer, BackendTokenizer)

    @property
    def has_content(self) -> bool:
        """Whether it was read from a tokenizer.json, or one is made of it without loss."""
        if self.is_pair or not isinstance(self.tokenizer, BackendTokenizer):
            return False
        if self.path.suffix == ".txt":
            return True
        with self.path.open("rb") as file:  # not GGUF, which the same class runs
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")

    def read_content(self) -> dict[str, Any]:
        """Return the tokenizer.json, parsed anew: kept, it would be the largest thing in memory."""
        if self.path.suffix == ".txt" and isinstance(self.tokenizer, BackendTokenizer):
            return self.tokenizer.to_content()
        return parse_json(self.path)[1]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What tokenizer_config.json and special_tokens_map.json say; empty without them.

        Where both name a token, the one that transformers goes by.
        """
        found: dict[str, Any] = {}
        told = [] if self.folder is None else [_read_object(self.folder / name) for name in SETTINGS]
        for part in told if told and DECODER in told[-1] else reversed(told):
            found |= {key: it for key, it in part.items() if it is not None or key not in found}
        return found

    @cached_property
    def names(self) -> dict[int, str]:
        """The written form of the tokens that are special, unknown, unused or added by a user, by id."""
        kinds = self.tokenizer.kinds
        if isinstance(self.tokenizer, SentencePieceTokenizer):
            listed = dict(enumerate(self.tokenizer.vocabulary.pieces))
        elif isinstance(self.tokenizer, BackendTokenizer):
            listed = self.tokenizer.tokens
        else:
            return {}
        wanted = (Kind.CONTROL, Kind.UNKNOWN, Kind.UNUSED, Kind.USER)
        return {i: name for i, name in listed.items() if i < len(kinds) and kinds[i] in wanted}

    @cached_property
    def ids(self) -> dict[str, int]:
        """The ids of `names`."""
        return {name: index for index, name in self.names.items()}

    @cached_property
    def roles(self) -> dict[str, int]:
        """The ids of the tokens with a task, by the names of `ROLES`, where files say so."""
        return self._find_roles(self.ids)

    def _find_roles(self, ids: Mapping[str, int]) -> dict[str, int]:
        """Return the roles that a .model gives its pieces, and those that settings give names in `ids`."""
        found: dict[str, int] = {}
        if isinstance(self.tokenizer, SentencePieceTokenizer):
            own = self.tokenizer.vocabulary.roles
            given = (own.begin, own.end, own.pad, own.unknown, own.mask)
            found = {r: i for r, i in zip(ROLES, given, strict=False) if i is not None}
        for role in ROLES:
            index = ids.get(token_text(self.settings.get(f"{role}_token")) or "")
            if index is not None:
                found[role] = index
        return found


def open_source(path: str | Path, model_type: str | None = None, pattern: str | None = None) -> TokenizerSource:
    """Open a tokenizer of any format. `model_type` is that of the checkpoint it belongs to.

    `pattern` is for a file that does not say how text is split. Raises TokenizerError, also for a lone .model
    whose numbering the checkpoint does not share.
    """
    target = Path(path)
    file = _choose_file(target, model_type)
    folder = file.parent if target.is_dir() else None
    return TokenizerSource(file, folder, open_tokenizer(file, pattern))


def same_roles(role: str) -> tuple[str, ...]:
    """Return the role itself and the one that stands in its place where it is missing."""
    return (role, _TWINS[role]) if role in _TWINS else (role,)


def list_tokens(content: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the tokens of a tokenizer.json with their ids: those of the model, then those added."""
    table = content["model"].get("vocab") or {}
    if isinstance(table, Mapping):
        found = [(token, int(index)) for token, index in table.items()]
    else:
        found = [(entry[0], index) for index, entry in enumerate(table)]
    added = content.get("added_tokens") or []
    return found + [(entry["content"], int(entry["id"])) for entry in added]


# --- Special ids -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds(Roles):
    """The roles that training needs. `end` is None where one token both ends and begins (GPT-2's way).

    `begin` stands first in every document of a row and nowhere else, so that documents are found by it alone.
    `pad` fills the end of a row; it may equal `end` or `begin` in vocabularies without one of its own: what is
    padding is known by position (see `packing`), never by id. `mask` is None for vocabularies without it:
    those train causal models only. `reserved` are all ids that are not predicted and that no random
    replacement draws: special and unused ones, and the unknown token's.
    """

    begin: int
    pad: int
    reserved: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        names = ("begin", "end", "pad", "mask", "unknown", "reserved")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SpecialIds:
        """Read what `to_dict` returned."""
        return cls(**{**data, "reserved": tuple(data.get("reserved", ()))})


def find_special_ids(path: str | Path, tokenizer: Tokenizer | None = None) -> SpecialIds:
    """Return the special ids of a tokenizer folder or file; `tokenizer` where it is open already.

    `end` is None where the end is the beginning too (`<|endoftext|>`); `pad` is then that token unless there
    is one of its own, and else the end. `reserved` also holds the unknown token, which text may yield:
    it is nothing to predict. Raises PretrainingError where no token begins a text.
    """
    files = find_tokenizer_files(path)
    is_described = any(item.name in SETTINGS for item in files.copied)
    opened = tokenizer or open_tokenizer(files.file)
    source = TokenizerSource(files.file, files.folder if is_described else None, opened)
    ids: Mapping[str, int] = source.ids
    if source.is_pair:  # every token has a name, and no file says which are special
        ids = {name: i for name, i in _read_object(files.file).items() if i < opened.size}
    usual = {role: next((ids[name] for name in names if name in ids), None) for role, names in _USUAL.items()}
    roles = source._find_roles(ids)
    begin = roles.get("bos", roles.get("cls", usual["bos"]))
    end = roles.get("eos", roles.get("sep", usual["eos"]))
    begin = end if begin is None else begin
    if begin is None:
        raise PretrainingError(
            f"{files.file}: no token begins a text: looked for bos_token and cls_token in "
            f"{_CONFIG} and special_tokens_map.json, and for {', '.join(_USUAL['bos'])}",
            f"name one as bos_token in {_CONFIG}" if ids else NAME_SPECIALS,
        )
    end = None if end == begin else end
    filler = begin if end is None else end
    pad, mask, unknown = (roles.get(role, usual[role]) for role in ("pad", "mask", "unk"))
    pad = filler if pad is None else pad
    no_text = (Kind.CONTROL, Kind.UNKNOWN, Kind.UNUSED)
    reserved = {index for index, kind in enumerate(opened.kinds) if kind in no_text}
    reserved |= {index for index in (begin, end, pad, mask, unknown) if index is not None}
    held = tuple(sorted(reserved))
    return SpecialIds(begin=begin, end=end, pad=pad, mask=mask, unknown=unknown, reserved=held)
