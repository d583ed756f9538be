"""Byte-level vocabularies as ranks, run by tiktoken: its own files, and tekken's JSON.

tiktoken's files hold ranks alone. The pattern that splits text comes from `split_patterns`, or from the
caller; special tokens are not in the file, and none are added.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np
import regex
import tiktoken

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.split_patterns import PATTERNS, find_pattern
from vocabkit.vocabulary.tokenizer_protocol import (
    HINT,
    Flat,
    Int32Array,
    Int64Array,
    Style,
    check_id,
    check_surrogates,
    find_inexactness,
    first_line,
    flatten,
    join_bytes,
)
from vocabkit.vocabulary.vocabulary import Kind


class TiktokenTokenizer:
    """Ranks and a pattern run by tiktoken. An id is a rank plus the number of special tokens before them."""

    style: Style = "byte-level"
    word_prefix = " "

    def __init__(
        self, name: str, ranks: Mapping[bytes, int], pattern: str, specials: int = 0
    ) -> None:
        """Wrap `ranks`. Raises TokenizerError when a byte has none, or the pattern is no pattern."""
        missing = [value for value in range(256) if bytes([value]) not in ranks]
        if missing:
            raise TokenizerError(
                f"{name}: {len(missing)} of the 256 bytes have no rank, 0x{missing[0]:02x} first",
                HINT,
            )
        self.name = name
        self._specials = specials
        self._pattern = pattern
        self._tokens = {rank + specials: token for token, rank in ranks.items()}
        self.size = max(self._tokens) + 1
        try:
            self._encoding = tiktoken.Encoding(
                name, pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens={}
            )
        except ValueError as error:
            raise TokenizerError(f"{name}: no pattern: {pattern[:60]!r}: {error}", HINT) from error

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """What each id is for: special tokens come first; a rank that the file leaves out is `unused`."""
        return tuple(
            Kind.CONTROL
            if index < self._specials
            else (Kind.NORMAL if index in self._tokens else Kind.UNUSED)
            for index in range(self.size)
        )

    @cached_property
    def exact_on_words(self) -> str | None:
        """The reason: a pattern looks at the white space around a word, and the first has none."""
        return find_inexactness(self)

    def normalize(self, text: str) -> None:
        """None: bytes are taken as they are."""
        return

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """The ids of each text. Raises TokenizerError on a lone surrogate."""
        shift = np.int32(self._specials)
        return [np.array(ids, dtype=np.int32) + shift for ids in self._encode(texts)]

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """The ids of all texts in a row, and how many each has."""
        ids, lengths = flatten(list(self._encode(texts)))
        return ids + np.int32(self._specials), lengths

    def count_tokens(self, texts: Sequence[str]) -> Int64Array:
        """How many ids each text has."""
        return np.fromiter(map(len, self._encode(texts)), np.int64, len(texts))

    def _encode(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """The ranks of each text, one after the other: a list held makes the next ones slower to come."""
        listed = list(texts)
        # tiktoken would write U+FFFD for a lone surrogate without a word.
        try:
            "".join(listed).encode()
        except UnicodeEncodeError:
            check_surrogates(listed)
        left = iter(listed)
        try:
            yield from map(self._encoding.encode_ordinary, left)
        except BaseException as error:  # PanicException, say, of a pattern that recursed too deep
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            place = len(listed) - length_hint(left) - 1
            raise TokenizerError(
                f"text {place} ({len(listed[place]):,} characters): {first_line(error)}",
                hint="break the text into lines",
            ) from error

    def unknown_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[int]:
        """Zeros: every byte has a token."""
        return [0] * len(texts)

    def count_chunks(self, text: str) -> int:
        """The number of matches of the pattern."""
        return len(regex.findall(self._pattern, text))

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """The bytes of ids."""
        return join_bytes(self, ids, has_prefix=False)

    def token_bytes(self, index: int) -> bytes | None:
        """The bytes of one id; None for special tokens and ranks left out."""
        return self._tokens.get(check_id(self, index))


def read_ranks(path: Path, pattern: str | None = None) -> TiktokenTokenizer:
    """Read a tiktoken file: a line a token, its bytes in base64 and its rank.

    `pattern` is a name of `split_patterns`; None finds the one a published vocabulary is used with.
    Raises TokenizerError naming the line that is wrong, or the names when the pattern is not known.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            # Some files end in a token of no bytes, written as a lone `=`: no text is encoded to it.
            token = base64.b64decode(parts[0].lstrip(b"="), validate=True)
            rank = int(parts[1])
        except (binascii.Error, ValueError, IndexError) as error:
            raise TokenizerError(
                f"{path}:{number}: expected a token in base64 and its rank: {line[:40]!r}", HINT
            ) from error
        if not token:
            continue
        if token in ranks or rank < 0:
            what = "occurs twice" if token in ranks else f"has rank {rank}"
            raise TokenizerError(f"{path}:{number}: the token {token!r} {what}", HINT)
        ranks[token] = rank
    if len(set(ranks.values())) != len(ranks):
        raise TokenizerError(f"{path}: two tokens have the same rank", HINT)
    steps = choose_pattern(pattern or find_pattern(ranks), f"{path}: {len(ranks):,} ranks")
    if len(steps) > 1:
        raise TokenizerError(f"{path}: tiktoken splits by one pattern, {pattern} is {len(steps)}")
    return TiktokenTokenizer(str(path), ranks, steps[0])


def choose_pattern(name: str | None, what: str) -> tuple[str, ...]:
    """The patterns of that name. Raises TokenizerError listing the names when there is none."""
    if name is not None and name in PATTERNS:
        return PATTERNS[name]
    names = ", ".join(PATTERNS)
    problem = f"no pattern {name!r}" if name else "it is not known which pattern splits the text"
    raise TokenizerError(f"{what}: {problem}: one of {names}", hint="--pattern NAME")


def read_tekken(path: Path, content: Mapping[str, Any]) -> TiktokenTokenizer:
    """A tekken file's JSON as a tokenizer: special tokens first, then as many ranks as are used.

    Raises TokenizerError naming the part that is missing.
    """
    try:
        config = content["config"]
        specials = int(config["default_num_special_tokens"])
        count = int(config["default_vocab_size"]) - specials
        ranks = {
            base64.b64decode(entry["token_bytes"]): int(entry["rank"])
            for entry in content["vocab"]
            if int(entry["rank"]) < count
        }
        pattern = str(config["pattern"])
    except (KeyError, TypeError, ValueError) as error:
        raise TokenizerError(f"{path}: not a tekken file: {error!r}", HINT) from error
    return TiktokenTokenizer(str(path), ranks, pattern, specials)


def is_ranks(head: bytes) -> bool:
    """Whether a file that begins like this is a tiktoken file: base64 and a number on the first line."""
    parts = head.split(b"\n", 1)[0].split()
    if len(parts) != 2 or not parts[1].isdigit():
        return False
    try:
        base64.b64decode(parts[0], validate=True)
    except binascii.Error:
        return False
    return True


def is_tekken(content: object) -> bool:
    """Whether JSON is a tekken file."""
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        return False
    return "pattern" in content["config"] and isinstance(content.get("vocab"), list)
