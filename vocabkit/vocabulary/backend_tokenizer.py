"""A tokenizer.json, or what amounts to one, run by `tokenizers`: text to ids, ids to bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.byte_alphabet import BYTE_ALPHABET, BYTE_LETTERS
from vocabkit.vocabulary.reserved_text import is_unused_name
from vocabkit.vocabulary.tokenizer_protocol import (
    HINT,
    Flat,
    Int32Array,
    Int64Array,
    Style,
    check_id,
    encode_checked,
    find_inexactness,
    first_line,
    flatten,
    join_bytes,
)
from vocabkit.vocabulary.vocabulary import SPACE, Kind, piece_bytes


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
            text = path.read_text(encoding="utf-8-sig")
            content = json.loads(text)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise TokenizerError(f"{path}: not JSON: {first_line(error)}", HINT) from error
        if not isinstance(content, dict) or "model" not in content:
            raise TokenizerError(f"{path}: JSON, but not a tokenizer: it has no `model`", HINT)
        try:
            return cls(str(path), tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # tokenizers raises Exception itself
            raise TokenizerError(f"{path}: not a tokenizer: {first_line(error)}", HINT) from error

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
            if self.style == "sentencepiece" and is_unused_name(token):
                return Kind.UNUSED
            return Kind.BYTE if fallback and _is_byte(token) else Kind.NORMAL

        return tuple(kind(index) for index in range(self.size))

    @cached_property
    def style(self) -> Style:
        """How pieces are made, read off the decoder and the pre-tokeniser."""
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
        inner = part.get("decoders") or part.get("pretokenizers") or part.get("normalizers")
        return list(inner or [part])

    @cached_property
    def _has_prefix(self) -> bool:
        """Whether encoding puts a space before the first word."""
        for step in self._steps("pre_tokenizer"):
            if step["type"] == "ByteLevel":
                return bool(step["add_prefix_space"])
            if step["type"] == "Metaspace":
                return bool(step.get("prepend_scheme", "always") != "never")
        prepends = any(step.get("type") == "Prepend" for step in self._steps("normalizer"))
        return self.style == "wordpiece" or prepends

    @property
    def word_prefix(self) -> str:
        """Nothing where every text starts with a space, else one space."""
        return "" if self._has_prefix else " "

    @cached_property
    def exact_on_words(self) -> str | None:
        """None unless pieces cross a space, or a space before a word or a run of them has its own tokens."""
        return find_inexactness(self)

    def normalize(self, text: str) -> str | None:
        """The text after the normaliser, spaces as spaces; None when unchanged."""
        normalizer = self._backend.normalizer
        if normalizer is None:
            return None
        found: str = encode_checked([text], lambda: normalizer.normalize_str(text))
        if self.style == "sentencepiece":
            found = found.replace(SPACE, " ")
            prepends = any(step.get("type") == "Prepend" for step in self._steps("normalizer"))
            found = found.removeprefix(" ") if prepends else found
        return None if found == text else found

    def _encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        listed = list(texts)
        found: list[tokenizers.Encoding] = encode_checked(
            listed, lambda: self._backend.encode_batch_fast(listed, add_special_tokens=False)
        )
        return found

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """The ids of each text. Raises TokenizerError on a lone surrogate."""
        return [np.array(encoding.ids, dtype=np.int32) for encoding in self._encode(texts)]

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """The ids of all texts in a row, and how many each has."""
        return flatten([encoding.ids for encoding in self._encode(texts)])

    def count_tokens(self, texts: Sequence[str]) -> Int64Array:
        """How many ids each text has."""
        return np.fromiter(map(len, self._encode(texts)), np.int64, len(texts))

    @cached_property
    def _unknown(self) -> int | None:
        return self.kinds.index(Kind.UNKNOWN) if Kind.UNKNOWN in self.kinds else None

    @cached_property
    def _drops(self) -> bool:
        """Whether characters can vanish without an unknown token: a letter for a byte is missing, or any."""
        if self.style == "byte-level":
            return not BYTE_ALPHABET.keys() <= set(self._tokens.values())
        return self._unknown is None and Kind.BYTE not in self.kinds

    @cached_property
    def _letters(self) -> frozenset[str]:
        """All tokens, also as they stand within and at the end of a word."""
        model = self._content["model"]
        before = model.get("continuing_subword_prefix") or ""
        after = model.get("end_of_word_suffix") or ""
        tokens = self._tokens.values()
        bare = {token.removeprefix(before).removesuffix(after) for token in tokens}
        return frozenset(bare.union(tokens))

    @cached_property
    def _bare(self) -> tokenizers.Tokenizer:
        """The same backend without its normaliser, so that offsets are those of normalised text."""
        bare = tokenizers.Tokenizer.from_str(self._backend.to_str())
        bare.encode_special_tokens = True
        if self._backend.normalizer is not None:
            bare.normalizer = tokenizers.normalizers.Sequence([])
        return bare

    def unknown_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[int]:
        """The characters under unknown tokens, or without a token; only texts with such are encoded twice."""
        if self._drops:
            return [self._count_dropped(text) for text in texts]
        counts = [0] * len(texts)
        if self._unknown is None:
            return counts
        ids, lengths = encoded or self.encode_flat(texts)
        owners = np.repeat(np.arange(len(texts)), lengths)
        places = np.unique(owners[ids == self._unknown]).tolist()
        normalizer = self._backend.normalizer
        normalized = [
            texts[place] if normalizer is None else normalizer.normalize_str(texts[place])
            for place in places
        ]
        found = self._bare.encode_batch(normalized, add_special_tokens=False)
        for place, text, encoding in zip(places, normalized, found, strict=True):
            lost = np.zeros(len(text), bool)
            for index, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
                if index == self._unknown:
                    lost[start:stop] = True
            white = np.fromiter((char.isspace() or char == SPACE for char in text), bool, len(text))
            counts[place] = int((lost & ~white).sum())
        return counts

    def count_chunks(self, text: str) -> int:
        """The number of chunks the pre-tokeniser makes of the text as normalised."""
        found, split = self.normalize(text), self._backend.pre_tokenizer
        known = text if found is None else found
        return min(len(known), 1) if split is None else len(split.pre_tokenize_str(known))

    def _count_dropped(self, text: str) -> int:
        """Characters without a token. Offsets would not do: they count what is dropped as nothing."""
        found = self.normalize(text)
        known = text if found is None else found
        lost = [char for char in set(known) if not char.isspace() and self._is_dropped(char)]
        return sum(map(known.count, lost))

    def _is_dropped(self, char: str) -> bool:
        if self.style != "byte-level":
            return char not in self._letters
        return any(BYTE_LETTERS[byte] not in self._letters for byte in char.encode())

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """The bytes of ids, without the space that encoding put before the first word."""
        return join_bytes(self, ids, self._has_prefix)

    def token_bytes(self, index: int) -> bytes | None:
        """The bytes of one id; None for special and unknown tokens and ids without a token."""
        kind = self.kinds[check_id(self, index)]
        token = self._tokens.get(index, "")
        if kind is Kind.USER:
            return token.encode()
        if kind is not Kind.NORMAL or self.style == "sentencepiece":
            return piece_bytes(token, kind)
        if self.style == "byte-level":
            return b"".join(BYTE_ALPHABET.get(char, char.encode()) for char in token)
        return token[2:].encode() if token.startswith("##") else b" " + token.encode()


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")
