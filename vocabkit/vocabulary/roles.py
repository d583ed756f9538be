"""A tokenizer with what its files say beside the pieces: names of special tokens, and their roles.

Of a folder with several files, tokenizer.json is read: a checkpoint's .model may lack added tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vocabkit.core.errors import PretrainingError, TokenizerError
from vocabkit.core.folders import fingerprint_file, read_json
from vocabkit.vocabulary.adapters import BackendTokenizer, SentencePieceTokenizer, Tokenizer
from vocabkit.vocabulary.tokenizers import PAIRS, find_file, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind, write_tokenizer

# --- Tokenizer source ------------------------------------------------------------------------------


ROLES = ("bos", "eos", "pad", "unk", "mask", "cls", "sep")
# Two names for the first and the last token of a text.
_TWINS = {"bos": "cls", "cls": "bos", "eos": "sep", "sep": "eos"}
# Their .model numbers pieces differently from the model's rows (fairseq's four specials come first).
_SHIFTED_FOR_EXTENSION = frozenset(
    {
        "camembert", "m2m_100", "mbart", "nllb-moe", "plbart", "speech_to_text", "xglm",
        "xlm-roberta", "xlm-roberta-xl",
    }
)  # fmt: skip
_CONVERT = (
    "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes the tokenizer.json needed"
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

    @property
    def has_content(self) -> bool:
        """Whether it was read from a tokenizer.json."""
        is_pair = self.path.name in {pair[0] for pair in PAIRS}
        if is_pair or not isinstance(self.tokenizer, BackendTokenizer):
            return False
        with self.path.open("rb") as file:  # not GGUF, which the same class runs
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")

    def read_content(self) -> dict[str, Any]:
        """The tokenizer.json, parsed anew: kept, it would be the largest thing in memory."""
        return read_json(self.path)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What tokenizer_config.json says, completed by special_tokens_map.json; empty without them."""
        found: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if self.folder is not None and (self.folder / name).is_file():
                found |= read_json(self.folder / name)
        return found

    @cached_property
    def names(self) -> dict[int, str]:
        """The written form of the tokens that are special, unknown, unused or added by a user."""
        kinds = self.tokenizer.kinds
        wanted = (Kind.CONTROL, Kind.UNKNOWN, Kind.UNUSED, Kind.USER)
        if isinstance(self.tokenizer, SentencePieceTokenizer):
            pieces = self.tokenizer.vocabulary.pieces
            return {i: pieces[i] for i, kind in enumerate(kinds) if kind in wanted}
        if not self.has_content:
            return {}
        listed = _list_tokens(self.read_content())
        return {i: name for i, name in listed.items() if i < len(kinds) and kinds[i] in wanted}

    @cached_property
    def ids(self) -> dict[str, int]:
        """The ids of `names`."""
        return {name: index for index, name in self.names.items()}

    @cached_property
    def roles(self) -> dict[str, int]:
        """The ids of the beginning, end, padding, unknown, mask, class and separator tokens, where told."""
        found: dict[str, int] = {}
        if isinstance(self.tokenizer, SentencePieceTokenizer):
            own = self.tokenizer.vocabulary.roles
            given = {"bos": own.begin, "eos": own.end, "pad": own.pad, "unk": own.unknown}
            given["mask"] = own.mask
            found |= {role: index for role, index in given.items() if index is not None}
        for role in ROLES:
            index = self.ids.get(token_text(self.settings.get(f"{role}_token")) or "")
            if index is not None:
                found[role] = index
        return found


def open_source(path: str | Path, model_type: str | None = None) -> TokenizerSource:
    """Open a tokenizer of any format. `model_type` is that of the checkpoint it belongs to.

    Raises TokenizerError, also for a lone .model whose numbering the checkpoint does not share.
    """
    target = Path(path)
    file = target / "tokenizer.json" if (target / "tokenizer.json").is_file() else find_file(target)
    tokenizer = open_tokenizer(file)
    if isinstance(tokenizer, SentencePieceTokenizer) and model_type in _SHIFTED_FOR_EXTENSION:
        raise TokenizerError(f"{file}: {model_type} numbers its pieces differently", _CONVERT)
    return TokenizerSource(file, file.parent if target.is_dir() else None, tokenizer)


def same_roles(role: str) -> tuple[str, ...]:
    """The role itself and the one that stands in its place where it is missing."""
    return (role, _TWINS[role]) if role in _TWINS else (role,)


def token_text(entry: Any) -> str | None:
    """The text of a token as a configuration writes it: a string, or an object with `content`."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


def _list_tokens(content: Mapping[str, Any]) -> dict[int, str]:
    """Id → token, of a tokenizer.json: those of the model, then those added."""
    table = content["model"].get("vocab") or {}
    if isinstance(table, Mapping):
        found = {int(index): token for token, index in table.items()}
    else:
        found = {index: entry[0] for index, entry in enumerate(table)}
    for entry in content.get("added_tokens") or []:
        found[int(entry["id"])] = entry["content"]
    return found


def dump_json(content: Any, indent: int | None = 2) -> bytes:
    """JSON as transformers writes it: two spaces, letters as they are, a line feed at the end."""
    return (json.dumps(content, ensure_ascii=False, indent=indent) + "\n").encode()


# --- Auto tokenizer --------------------------------------------------------------------------------
# The tokenizer.json that AutoTokenizer needs, for a tokenizer that came without one.
#
# A lone .model is opened by transformers without complaint, and cuts text in another way. What is written
# here
# gives the same ids as the .model, or is not written. torch is not needed.


def complete_tokenizer(source: Path, folder: Path) -> str | None:
    """Write tokenizer.json and its configuration into `folder` where `source` has neither.

    Returns why AutoTokenizer will not cut text as these files do, None where it will.
    """
    if (source / "tokenizer.json").is_file() or (source / "tokenizer_config.json").is_file():
        return None
    opened = open_tokenizer(source)
    if not isinstance(opened, SentencePieceTokenizer):
        return "there is no tokenizer.json, and no tokenizer_config.json to name a class"
    try:
        write_tokenizer(opened.vocabulary, folder)
    except TokenizerError as error:
        return error.message
    return None


# --- Special ids -----------------------------------------------------------------------------------
# The ids that the loop itself needs: those that begin and end a document, fill a row, hide a token.


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids of special tokens; `end` is None where one token both ends and begins (GPT-2's way).

    `begin` stands first in every document of a row and nowhere else, so that documents are found by it alone.
    `pad` fills the end of a row; it may equal `end` or `begin` in vocabularies without one of its own: what is
    padding is known by position (see `packing`), never by id. `mask` is None for vocabularies without it:
    those train causal models only. `reserved` are all ids that are not
    predicted and that no random replacement draws: special and unused ones, and the unknown token's.
    """

    begin: int
    end: int | None
    pad: int
    mask: int | None
    unknown: int | None
    reserved: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> SpecialIds:
        """Read what `to_dict` returned."""
        fields = dict(data)
        fields["reserved"] = tuple(fields.get("reserved", ()))  # type: ignore[arg-type]
        return cls(**fields)  # type: ignore[arg-type]


# --- Special tokens --------------------------------------------------------------------------------
# Which ids of a tokenizer begin, end, fill and hide: read off its files, whoever wrote them.
#
# A file of its own says so (SentencePiece's roles), else `tokenizer_config.json` and
# `special_tokens_map.json`
# beside it. Nothing is guessed from an id's number.


_CONFIGS = ("special_tokens_map.json", "tokenizer_config.json")
# In the order in which they are looked for; `[CLS]` begins and `[SEP]` ends a text in BERT's way.
_BEGIN, _END = ("bos", "cls"), ("eos", "sep")
_NAMES = {
    "begin": ("<s>", "[CLS]", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "end": ("</s>", "[SEP]", "<eos>", "<|end_of_text|>"),
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"),
    "mask": ("<mask>", "[MASK]", "<|mask|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
}
# What transformers needs to open the tokenizer again, and our own table of blocks.
_COPIED = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model",
    "sentencepiece.bpe.model", "tekken.json", "chat_template.jinja", "vocabulary.parquet", "blocks.tsv",
)  # fmt: skip
# Ranks and weights; a tokenizer inside such a file has no names for the roles of its tokens here.
_UNNAMED = (".tiktoken", ".gguf")
_SAVE_AGAIN = (
    "a file of this kind does not say which token begins a text: AutoTokenizer.from_pretrained(NAME)"
    ".save_pretrained(FOLDER) writes one that does, tokenizer.json"
)
# These classes of transformers number pieces differently from the .model they read.
_SHIFTED_FOR_PREPARE = ("XLMRoberta", "Camembert", "MBart", "Nllb", "XGLM", "M2M100")


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

    Of a folder with both a .model and a tokenizer.json, the .model is taken where it is ours (with
    vocabulary.parquet beside it: the two have the same ids, and it is three times as fast), else the
    tokenizer.json, since a .model may lack added tokens. Raises TokenizerError.
    """
    target = Path(path)
    both = (target / "tokenizer.json").is_file() and not (target / "vocabulary.parquet").is_file()
    file = target / "tokenizer.json" if both else find_file(target)
    if not file.is_file():
        open_tokenizer(file)  # which says what is missing
    if file.suffix in _UNNAMED:
        raise TokenizerError(f"{file}: no token begins a text", _SAVE_AGAIN)
    known = [file.parent / name for name in _COPIED] if target.is_dir() else []
    if not target.is_dir() and file.name in _COPIED:
        known = [file.parent / name for name in (*_COPIED[:5], "vocabulary.parquet")]
    copied = dict.fromkeys(item for item in (file, *known) if item.is_file())
    pairs = [name for pair in PAIRS if file.name == pair[0] for name in pair]
    deciding = [file, *(file.with_name(name) for name in (*pairs, "vocabulary.parquet"))]
    digest = hashlib.blake2b(digest_size=20)
    for item in dict.fromkeys(deciding):
        if item in copied:
            digest.update(fingerprint_file(item).encode())
    return TokenizerFiles(file, tuple(copied), digest.hexdigest())


def find_special_ids(path: str | Path, tokenizer: Tokenizer | None = None) -> SpecialIds:
    """The special ids of a tokenizer folder or file; `tokenizer` where it is open already.

    `end` is None where the end is the beginning too (`<|endoftext|>`); `pad` is then that token unless there
    is one of its own, and else the end. `reserved` also holds the unknown token, which text may yield:
    it is nothing to predict. Raises PretrainingError where no token begins a text.
    """
    files = find_tokenizer_files(path)
    opened = tokenizer or open_tokenizer(files.file)
    settings = _read_settings(files)
    if isinstance(opened, SentencePieceTokenizer):
        _check_numbering(files, settings)
    ids = _named_ids(files.file, opened)
    roles = _own_roles(opened)
    for role in (*_BEGIN, *_END, "pad", "mask", "unk"):
        index = ids.get(_token_text(settings.get(f"{role}_token")) or "")
        if index is not None:
            roles[role] = index
    for role, names in _NAMES.items():
        found = next((ids[name] for name in names if name in ids), None)
        if found is not None and role in ("pad", "mask", "unk"):
            roles.setdefault(role, found)
        elif found is not None:
            roles.setdefault(f"named {role}", found)
    begin = _first(roles, (*_BEGIN, "named begin"))
    end = _first(roles, (*_END, "named end"))
    begin = end if begin is None else begin
    if begin is None:
        raise PretrainingError(
            f"{files.file}: no token begins a text: looked for bos_token and cls_token in "
            f"tokenizer_config.json and special_tokens_map.json, and for {', '.join(_NAMES['begin'])}",
            "name one as bos_token in tokenizer_config.json" if ids else _SAVE_AGAIN,
        )
    end = None if end == begin else end
    pad = roles.get("pad", begin if end is None else end)
    kinds = opened.kinds
    no_text = (Kind.CONTROL, Kind.UNKNOWN, Kind.UNUSED)
    chosen = {begin, end, pad, roles.get("mask"), roles.get("unk")} - {None}
    reserved = {index for index, kind in enumerate(kinds) if kind in no_text}
    return SpecialIds(
        begin, end, pad, roles.get("mask"), roles.get("unk"),
        tuple(sorted(reserved | {index for index in chosen if index is not None})),
    )  # fmt: skip


def _first(roles: Mapping[str, int], names: tuple[str, ...]) -> int | None:
    return next((roles[name] for name in names if name in roles), None)


def _own_roles(tokenizer: Tokenizer) -> dict[str, int]:
    """The roles a .model gives its control pieces."""
    if not isinstance(tokenizer, SentencePieceTokenizer):
        return {}
    own = tokenizer.vocabulary.roles
    given = {
        "bos": own.begin, "eos": own.end, "pad": own.pad, "unk": own.unknown, "mask": own.mask,
    }  # fmt: skip
    return {role: index for role, index in given.items() if index is not None}


def _named_ids(file: Path, tokenizer: Tokenizer) -> dict[str, int]:
    """Names → ids of the tokens no text becomes, and of those added by a user."""
    kinds = tokenizer.kinds
    if isinstance(tokenizer, SentencePieceTokenizer):
        pieces = enumerate(tokenizer.vocabulary.pieces)
        plain = (Kind.NORMAL, Kind.BYTE)
        return {piece: index for index, piece in pieces if kinds[index] not in plain}
    if file.suffix != ".json":
        return {}
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    if file.name in {pair[0] for pair in PAIRS}:
        return {name: int(index) for name, index in content.items() if index < tokenizer.size}
    model = content.get("model") or {}
    vocab = model.get("vocab") or {}
    names = {entry["content"]: int(entry["id"]) for entry in content.get("added_tokens") or []}
    unknown = model.get("unk_token")
    if isinstance(vocab, Mapping) and unknown in vocab:
        names.setdefault(unknown, int(vocab[unknown]))
    return {name: index for name, index in names.items() if index < tokenizer.size}


def _read_settings(files: TokenizerFiles) -> dict[str, Any]:
    """What the two files beside a tokenizer say; empty without them."""
    found: dict[str, Any] = {}
    for name in _CONFIGS:
        path = files.folder / name
        if path not in files.copied:
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise TokenizerError(f"{path}: not JSON: {error}") from error
        if not isinstance(content, dict):
            raise TokenizerError(f"{path}: holds no JSON object")
        found |= {key: value for key, value in content.items() if value is not None}
    return found


def _check_numbering(files: TokenizerFiles, settings: Mapping[str, Any]) -> None:
    """Raise TokenizerError for a lone .model that transformers would number differently."""
    name = str(settings.get("tokenizer_class", ""))
    if name.startswith(_SHIFTED_FOR_PREPARE):
        raise TokenizerError(
            f"{files.file}: {name} numbers its pieces differently",
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes the tokenizer.json needed",
        )


def _token_text(entry: Any) -> str | None:
    """The text of a token as a configuration writes it: a string, or an object with `content`."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None
