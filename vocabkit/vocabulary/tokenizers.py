"""Tokenizers of any format behind one protocol: text to ids, ids to bytes.

`open_tokenizer` reads a vocabkit folder, a `tokenizer.model` and a `tokenizer.json`; nothing outside
this module sees a backend. Text is always text: a `<s>` typed in it is encoded as three characters,
not as the special token, and no special tokens are added.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import sentencepiece
import tokenizers

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.reserved_text import is_unused_name
from vocabkit.vocabulary.sentencepiece_format import read_model
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary, piece_bytes

Int32Array = npt.NDArray[np.int32]
_HINT = "name a folder written by `vocabkit fit`, a tokenizer.model or a tokenizer.json"
# What an id that stands for no known text decodes to.
UNKNOWN_BYTES = "\ufffd".encode()


class Tokenizer(Protocol):
    """What every format can do. Ids are positions in `kinds`; `size` is their number."""

    @property
    def name(self) -> str:
        """The path it was read from."""

    @property
    def size(self) -> int:
        """The number of ids."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """What each id is for."""

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """The ids of each text, int32. Raises TokenizerError naming the text that cannot be encoded."""

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """The bytes that ids stand for; those of special tokens are none, of an unknown U+FFFD's."""

    def token_bytes(self, index: int) -> bytes | None:
        """The bytes of one id, the space before a word included; None for special and unknown ones."""


def open_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer folder, a .model or a tokenizer.json. Raises TokenizerError naming the file."""
    target = Path(path)
    if target.is_dir():
        for name in ("tokenizer.model", "tokenizer.json"):
            if (target / name).is_file():
                return open_tokenizer(target / name)
        raise TokenizerError(
            f"{target}: not a tokenizer folder: neither tokenizer.model nor tokenizer.json", _HINT
        )
    if not target.is_file():
        raise TokenizerError(f"{target}: no such file or folder", _HINT)
    if target.suffix == ".json":
        return BackendTokenizer.read(target)
    return SentencePieceTokenizer.read(target)


class SentencePieceTokenizer:
    """A .model run by SentencePiece."""

    def __init__(self, name: str, vocabulary: Vocabulary, data: bytes) -> None:
        """Open the bytes of a .model that `vocabulary` was read from."""
        self.name = name
        self.vocabulary = vocabulary
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        except (RuntimeError, ValueError, OSError) as error:
            raise TokenizerError(
                f"{name}: SentencePiece refuses it: {_first_line(error)}", _HINT
            ) from error

    @classmethod
    def read(cls, path: Path) -> SentencePieceTokenizer:
        """Read a .model file. Raises TokenizerError."""
        data = path.read_bytes()
        return cls(str(path), read_model(data, source=str(path)), data)

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.vocabulary.size

    @property
    def kinds(self) -> Sequence[Kind]:
        """What each id is for."""
        return self.vocabulary.kinds

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """The ids of each text. Raises TokenizerError on a lone surrogate."""
        listed = list(texts)
        found = _encode(listed, lambda: self._processor.encode(listed, out_type=int))
        return [np.array(ids, dtype=np.int32) for ids in found]

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """The bytes of ids, without the space that encoding put before the first word."""
        spacing = self.vocabulary.spacing
        return _join(self, ids, spacing.dummy_prefix and not spacing.as_suffix)

    def token_bytes(self, index: int) -> bytes | None:
        """The bytes of one id; None for control, unknown and unused pieces."""
        return self.vocabulary.token_bytes(_check_id(self, index))


class BackendTokenizer:
    """A tokenizer.json run by `tokenizers`: SentencePiece-like, byte-level or WordPiece."""

    def __init__(self, name: str, backend: tokenizers.Tokenizer) -> None:
        """Wrap a backend, which is changed: specials typed in a text are text from now on."""
        self.name = name
        self._backend = backend
        backend.encode_special_tokens = True
        backend.no_padding()
        backend.no_truncation()
        self._tokens: dict[int, str] = {
            index: token for token, index in backend.get_vocab(with_added_tokens=True).items()
        }
        self.size = max(self._tokens, default=-1) + 1

    @classmethod
    def read(cls, path: Path) -> BackendTokenizer:
        """Read a tokenizer.json. Raises TokenizerError when it is not JSON, or no tokenizer."""
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise TokenizerError(f"{path}: not JSON: {_first_line(error)}", _HINT) from error
        if not isinstance(content, dict) or "model" not in content:
            raise TokenizerError(f"{path}: JSON, but not a tokenizer: it has no `model`", _HINT)
        try:
            return cls(str(path), tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # tokenizers raises Exception itself
            raise TokenizerError(f"{path}: not a tokenizer: {_first_line(error)}", _HINT) from error

    @cached_property
    def _content(self) -> dict[str, Any]:
        content = json.loads(self._backend.to_str())
        assert isinstance(content, dict)
        return content

    @cached_property
    def _added(self) -> dict[int, bool]:
        """Added tokens: id → whether special."""
        return {entry["id"]: bool(entry["special"]) for entry in self._content["added_tokens"]}

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """What each id is for; an id without a token is `unused`."""
        model = self._content["model"]
        unknown = model.get("unk_token")
        if isinstance(model.get("unk_id"), int):
            unknown = self._tokens.get(model["unk_id"])
        fallback = bool(model.get("byte_fallback"))

        def kind(index: int) -> Kind:
            token = self._tokens.get(index)
            if token is None:
                return Kind.UNUSED
            if token == unknown:
                return Kind.UNKNOWN
            if index in self._added:
                return Kind.CONTROL if self._added[index] else Kind.USER
            if self._style == "sentencepiece" and is_unused_name(token):
                return Kind.UNUSED
            return Kind.BYTE if fallback and _is_byte(token) else Kind.NORMAL

        return tuple(kind(index) for index in range(self.size))

    @cached_property
    def _style(self) -> str:
        steps = {
            step["type"]: step for key in ("decoder", "pre_tokenizer") for step in self._steps(key)
        }
        if "ByteLevel" in steps:
            return "byte-level"
        return "wordpiece" if self._content["model"].get("type") == "WordPiece" else "sentencepiece"

    def _steps(self, key: str) -> list[dict[str, Any]]:
        part = self._content.get(key)
        if part is None:
            return []
        inner = part.get("decoders") or part.get("pretokenizers") or [part]
        return list(inner)

    @cached_property
    def _has_prefix(self) -> bool:
        """Whether encoding puts a space before the first word."""
        for step in self._steps("pre_tokenizer"):
            if step["type"] == "ByteLevel":
                return bool(step["add_prefix_space"])
            if step["type"] == "Metaspace":
                return bool(step.get("prepend_scheme", "always") != "never")
        normalizer = self._content.get("normalizer") or {}
        steps = normalizer.get("normalizers", [normalizer])
        return self._style == "wordpiece" or any(step.get("type") == "Prepend" for step in steps)

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """The ids of each text. Raises TokenizerError on a lone surrogate."""
        listed = list(texts)
        found = _encode(
            listed, lambda: self._backend.encode_batch_fast(listed, add_special_tokens=False)
        )
        return [np.array(encoding.ids, dtype=np.int32) for encoding in found]

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """The bytes of ids, without the space that encoding put before the first word."""
        return _join(self, ids, self._has_prefix)

    def token_bytes(self, index: int) -> bytes | None:
        """The bytes of one id; None for special and unknown tokens and ids without a token."""
        kind = self.kinds[_check_id(self, index)]
        token = self._tokens.get(index, "")
        if kind is Kind.USER:
            return token.encode()
        if kind is not Kind.NORMAL or self._style == "sentencepiece":
            return piece_bytes(token, kind)
        if self._style == "byte-level":
            return b"".join(_BYTE_ALPHABET.get(char, char.encode()) for char in token)
        return token[2:].encode() if token.startswith("##") else b" " + token.encode()


def _encode(texts: list[str], encode: Callable[[], list[Any]]) -> list[Any]:
    try:
        return encode()
    except Exception as error:  # the backends raise different types for the same thing
        for place, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as wrong:
                code = ord(text[wrong.start])
                raise TokenizerError(
                    f"text {place}: character {wrong.start} is the lone surrogate U+{code:04X}",
                    hint="read the text as UTF-8, and repair it with errors='replace'",
                ) from error
        raise


def _join(tokenizer: Tokenizer, ids: Sequence[int] | Int32Array, has_prefix: bool) -> bytes:
    parts: list[bytes] = []
    for index in map(int, ids):
        part = tokenizer.token_bytes(index)
        if part is None:
            part = UNKNOWN_BYTES if tokenizer.kinds[index] is Kind.UNKNOWN else b""
        parts.append(part)
    data = b"".join(parts)
    return data[1:] if has_prefix and data.startswith(b" ") else data


def _check_id(tokenizer: Tokenizer, index: int) -> int:
    if not 0 <= index < tokenizer.size:
        raise TokenizerError(f"{tokenizer.name}: no id {index}: the ids are 0–{tokenizer.size - 1}")
    return index


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]


def _byte_alphabet() -> dict[str, bytes]:
    """The printable stand-ins that byte-level tokenizers use: character → byte."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(256) if value not in visible]
    table = {chr(value): bytes([value]) for value in visible}
    table.update({chr(256 + place): bytes([value]) for place, value in enumerate(hidden)})
    return table


_BYTE_ALPHABET = _byte_alphabet()
