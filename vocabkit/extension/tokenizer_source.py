"""A tokenizer with what its files say beside the pieces: names of special tokens, and their roles.

Of a folder with several files, tokenizer.json is read: a checkpoint's .model may lack added tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vocabkit.core.errors import TokenizerError
from vocabkit.extension.checkpoint import read_json
from vocabkit.vocabulary.byte_level_format import PAIRS
from vocabkit.vocabulary.tokenizers import (
    BackendTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    find_file,
    open_tokenizer,
)
from vocabkit.vocabulary.vocabulary import Kind

__all__ = ["ROLES", "TokenizerSource", "dump_json", "open_source", "same_roles", "token_text"]

ROLES = ("bos", "eos", "pad", "unk", "mask", "cls", "sep")
# Two names for the first and the last token of a text.
_TWINS = {"bos": "cls", "cls": "bos", "eos": "sep", "sep": "eos"}
# Their .model numbers pieces differently from the model's rows (fairseq's four specials come first).
_SHIFTED = frozenset(
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
    if isinstance(tokenizer, SentencePieceTokenizer) and model_type in _SHIFTED:
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
