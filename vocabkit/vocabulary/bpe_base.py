"""A BPE tokenizer.json as the base of further merges: how it splits words, and the file with tokens appended.

Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM) and SentencePiece's (Llama 2, Mistral), whatever their
pre-tokeniser. New merges rank after all the base has, so that on any text the base's own merges are done
first, as before, and only then the new ones. Nothing is trained here.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.backend_tokenizer import BackendTokenizer
from vocabkit.vocabulary.byte_level_folder import write_token_table
from vocabkit.vocabulary.tokenizer_protocol import HINT, encode_checked
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Files of a model's folder that say how its tokenizer is used; ids in them stay right.
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True, slots=True)
class Appended:
    """What to append: characters that become tokens as they are, then merges as pairs of token texts."""

    characters: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The new tokens, in the order of their ids."""
        return (*self.characters, *(left + right for left, right in self.merges))


class BpeBase:
    """A BPE tokenizer with its file's content. `pieces` maps every id to its text, added tokens included."""

    def __init__(self, name: str, content: dict[str, Any], folder: Path | None = None) -> None:
        """Check that merges can be appended. Raises TokenizerError."""
        model = content.get("model") or {}
        # Old files leave the type out.
        if model.get("type", "BPE") != "BPE" or "merges" not in model:
            raise TokenizerError(f"{name}: a {model.get('type')} model: no BPE to go on from", HINT)
        for key in ("continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(key):
                raise TokenizerError(f"{name}: {key} = {model[key]!r} is not supported", HINT)
        self.name = name
        self.content = content
        self._folder = folder
        self._backend = _build(content, name)
        self.tokenizer = BackendTokenizer(name, self._backend)
        vocabulary: Mapping[str, int] = model["vocab"]
        self.pieces = {index: piece for piece, index in vocabulary.items()}
        for entry in content.get("added_tokens") or ():
            self.pieces.setdefault(entry["id"], entry["content"])
        self.next_id = max(self.pieces) + 1

    @classmethod
    def read(cls, path: str | Path) -> BpeBase:
        """Open a tokenizer.json, its folder, or another file of byte-level BPE. Raises TokenizerError."""
        target = Path(path)
        inside = target / "tokenizer.json"
        file = inside if inside.is_file() else target
        if file.suffix == ".json" and file.is_file():
            content = _read_json(file)
            if "model" in content:
                return cls(str(file), content, file.parent)
        found = open_tokenizer(target)
        if not isinstance(found, BackendTokenizer):
            raise TokenizerError(
                f"{found.name}: not BPE in tokenizer.json's form",
                "convert it first: transformers writes tokenizer.json when it saves a tokenizer",
            )
        return cls(found.name, found._content)

    @cached_property
    def mergeable(self) -> BoolArray:
        """Which ids stand for text that a merge may take: not special, added, unknown or byte tokens."""
        found = np.zeros(self.next_id, np.bool_)
        kinds = self.tokenizer.kinds
        for index in range(len(kinds)):
            found[index] = kinds[index] is Kind.NORMAL
        return found

    @property
    def takes_continuations(self) -> bool:
        """Whether a text can be encoded as the later part of a word, without a space put first."""
        return self.tokenizer.word_prefix == " "

    def segment(
        self, words: Sequence[str], *, continued: bool = False
    ) -> tuple[Int32Array, Int64Array, Int64Array]:
        """The base's tokens of each word, in runs that a merge may join; `continued` parts follow no space.

        Returns ids of all runs in a row, where each run begins (int64[runs + 1]) and its word. A run lies
        within one of the base's pre-tokens and holds mergeable ids only.
        """
        prefix = "" if continued else self.tokenizer.word_prefix
        texts = [prefix + word for word in words]
        found = encode_checked(
            texts, lambda: self._backend.encode_batch(texts, add_special_tokens=False)
        )
        ids = [np.array(encoding.ids, np.int32) for encoding in found]
        parts = [
            np.array([-1 if part is None else part for part in encoding.word_ids], np.int64)
            for encoding in found
        ]
        sizes = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.concatenate([np.zeros(0, np.int32), *ids])
        part = np.concatenate([np.zeros(0, np.int64), *parts])
        word = np.repeat(np.arange(len(ids), dtype=np.int64), sizes)
        kept = self.mergeable[flat]
        # A run ends where the word, its pre-token or an unmergeable id does.
        broken = np.cumsum(~kept)
        flat, part, word, broken = flat[kept], part[kept], word[kept], broken[kept]
        starts = np.ones(len(flat), np.bool_)
        starts[1:] = (word[1:] != word[:-1]) | (part[1:] != part[:-1]) | (broken[1:] != broken[:-1])
        begins = np.flatnonzero(starts)
        return flat, np.append(begins, len(flat)).astype(np.int64), word[begins]

    def missing_characters(self, words: Sequence[str], counts: Int64Array) -> dict[str, int]:
        """The characters without a token, as normalised, with their occurrences; none if byte-level."""
        if self.tokenizer.style == "byte-level":
            return {}
        found: dict[str, int] = {}
        known: Mapping[str, int] = self.content["model"]["vocab"]
        for word, count in zip(words, counts.tolist(), strict=True):
            # Most words have all their characters; normalising is what costs.
            if all(char in known for char in word):
                continue
            text = self.tokenizer.normalize(word)
            for char in word if text is None else text:
                if char not in known and not char.isspace():
                    found[char] = found.get(char, 0) + count
        return found

    def append(self, added: Appended) -> BpeBase:
        """The base with tokens appended, ids counting up from `next_id`. Raises TokenizerError.

        Added tokens of the base that its model does not list are entered there with their ids: loading
        would otherwise number them on from the model's new size.
        """
        content = copy.deepcopy(self.content)
        model = content["model"]
        vocabulary: dict[str, int] = model["vocab"]
        for entry in content.get("added_tokens") or ():
            vocabulary.setdefault(entry["content"], entry["id"])
        for place, token in enumerate(added.tokens):
            if token in vocabulary:
                raise TokenizerError(f"{self.name}: the token {token!r} is there already")
            vocabulary[token] = self.next_id + place
        listed = model["merges"]
        joined = bool(listed) and isinstance(listed[0], str)
        listed.extend(" ".join(pair) if joined else list(pair) for pair in added.merges)
        return BpeBase(self.name, content, self._folder)

    def count_usage(
        self, words: Sequence[str], counts: Int64Array, *, continued: bool = False
    ) -> Int64Array:
        """How often each id is used by words that occur so often, int64[next_id]."""
        prefix = "" if continued else self.tokenizer.word_prefix
        texts = [prefix + word for word in words]
        found = encode_checked(
            texts, lambda: self._backend.encode_batch_fast(texts, add_special_tokens=False)
        )
        ids = [encoding.ids for encoding in found]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum()))
        usage = np.zeros(self.next_id, np.int64)
        np.add.at(usage, flat, np.repeat(counts, lengths))
        return usage

    def find_unreachable(self, first: int) -> list[int]:
        """The ids from `first` on that the model does not make of their own text, given as a pre-token."""
        model = self._backend.model
        return [
            index
            for index in range(first, self.next_id)
            if [token.id for token in model.tokenize(self.pieces[index])] != [index]
        ]

    def count_alone(self, first: int) -> int:
        """How many ids from `first` on are made of their text typed alone, pre-tokeniser and all.

        The others are reached inside a word only, or are parts of characters.
        """
        texts, wanted = [], []
        for index in range(first, self.next_id):
            token = self.tokenizer.token_bytes(index) or b""
            try:
                texts.append(token.decode())
            except UnicodeDecodeError:
                continue
            wanted.append(index)
        prefix = self.tokenizer.word_prefix == ""
        typed = [text.removeprefix(" ") if prefix else text for text in texts]
        found = self.tokenizer.encode_batch(typed)
        return sum(ids.tolist() == [index] for ids, index in zip(found, wanted, strict=True))

    def save(self, folder: Path, first: int, usage: Mapping[str, Int64Array]) -> None:
        """Write tokenizer.json, the base's files beside it, and vocabulary.parquet.

        Ids from `first` on are block `new`. `usage` is a column int64[next_id] a language.
        """
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.content, ensure_ascii=False, indent=2)
        (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8", newline="\n")
        for name in _BESIDE:
            if self._folder is not None and (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)
        if not (folder / "tokenizer_config.json").is_file():
            path = folder / "tokenizer_config.json"
            path.write_text(
                '{\n  "tokenizer_class": "PreTrainedTokenizerFast"\n}\n', encoding="utf-8"
            )
        size = self.next_id
        write_token_table(
            folder / "vocabulary.parquet",
            [self.pieces.get(index, "") for index in range(size)],
            [self.tokenizer.token_bytes(index) for index in range(size)],
            self.tokenizer.kinds,
            ["base" if index < first else "new" for index in range(size)],
            usage,
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TokenizerError(f"{path}: not JSON: {error}", HINT) from error
    return content if isinstance(content, dict) else {}


def _build(content: Mapping[str, Any], name: str) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # tokenizers raises Exception itself
        raise TokenizerError(f"{name}: not a tokenizer: {error}", HINT) from error
