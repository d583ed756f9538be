"""What every tokenizer can do, whatever its format, and the few steps that all adapters share.

The adapters are in the modules named after the formats; `tokenizers` opens a file with the right one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.vocabulary import Kind

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Flat = tuple[Int32Array, Int64Array]
Style = Literal["sentencepiece", "byte-level", "wordpiece"]
# What an id that stands for no known text decodes to.
UNKNOWN_BYTES = "\ufffd".encode()
HINT = (
    "name a folder written by `vocabkit fit`, a tokenizer.model, a tokenizer.json, "
    "a tiktoken or tekken file, or a GGUF file"
)
# Words with letters, digits and punctuation, and the white space that tokenizers treat specially.
_WORDS = ("the", "cat,", "12", "x", "(Été)", "don't", "mañana.", "ab12", "的", "\u0915\u094d")
_LINES = (*(gap.join(_WORDS) for gap in (" ", "  ", "\t", "\u3000")), f" {_WORDS[0]} ")
_CROSSING = re.compile(rb"\S\s")
_CROSSING_AS_SUFFIX = re.compile(rb"\s\S")


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

    @property
    def style(self) -> Style:
        """How pieces are made: spaces as letters, bytes as letters, or words with `##` parts."""

    @property
    def word_prefix(self) -> str:
        """What to put before a word alone so that it is encoded as after a space in a line."""

    @property
    def exact_on_words(self) -> str | None:
        """None when a line costs what its words do, encoded one by one; else the reason why not."""

    def normalize(self, text: str) -> str | None:
        """The text as the pieces see it, without a space put first; None when it stays as it is."""

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """The ids of each text, int32. Raises TokenizerError naming the text that cannot be encoded."""

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """The ids of all texts in a row, int32, and how many each text has, int64[texts]."""

    def count_tokens(self, texts: Sequence[str]) -> Int64Array:
        """How many ids each text has, int64[texts], without keeping them. Raises as `encode_batch` does."""

    def unknown_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[int]:
        """How many characters of each text, as normalised, are lost in unknown tokens or dropped.

        `encoded` is what `encode_flat` says of the texts, where that is at hand. White space is not counted:
        it is lost only with what stands beside it.
        """

    def count_chunks(self, text: str) -> int:
        """Into how many chunks the text is cut before pieces are looked for; no piece crosses a cut."""

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """The bytes that ids stand for; those of special tokens are none, of an unknown U+FFFD's."""

    def token_bytes(self, index: int) -> bytes | None:
        """The bytes of one id, the space before a word included; None for special and unknown ones."""


def encode_checked(texts: list[str], encode: Callable[[], Any]) -> Any:
    """Call `encode`; where it fails, say which text and character it was. Raises TokenizerError."""
    try:
        return encode()
    except BaseException as error:  # the backends raise different types for the same thing
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        check_surrogates(texts, error)
        raise TokenizerError(
            f"the tokenizer fails on a text: {first_line(error)}",
            hint="look for a text of many thousand characters without a space",
        ) from error


def check_surrogates(texts: Sequence[str], cause: BaseException | None = None) -> None:
    """Raise TokenizerError when a text cannot be UTF-8, naming its place and the character."""
    for place, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as wrong:
            code = ord(text[wrong.start])
            raise TokenizerError(
                f"text {place}: character {wrong.start} is the lone surrogate U+{code:04X}",
                hint="read the text as UTF-8, and repair it with errors='replace'",
            ) from cause


def flatten(parts: Sequence[Sequence[int]]) -> tuple[Int32Array, Int64Array]:
    """Lists of ids as one array, with their lengths."""
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return np.fromiter(chain.from_iterable(parts), np.int32, int(lengths.sum())), lengths


def join_bytes(tokenizer: Tokenizer, ids: Sequence[int] | Int32Array, has_prefix: bool) -> bytes:
    """The bytes of ids, without the one space that encoding put first where `has_prefix`."""
    parts: list[bytes] = []
    for index in map(int, ids):
        part = tokenizer.token_bytes(index)
        if part is None:
            part = UNKNOWN_BYTES if tokenizer.kinds[index] is Kind.UNKNOWN else b""
        parts.append(part)
    data = b"".join(parts)
    return data[1:] if has_prefix and data.startswith(b" ") else data


def check_id(tokenizer: Tokenizer, index: int) -> int:
    """The id itself. Raises TokenizerError when there is no such id."""
    if not 0 <= index < tokenizer.size:
        raise TokenizerError(f"{tokenizer.name}: no id {index}: the ids are 0–{tokenizer.size - 1}")
    return index


def find_inexactness(tokenizer: Tokenizer, as_suffix: bool = False) -> str | None:
    """Why encoding words one by one gives other tokens than encoding their lines; None if it cannot.

    Two tests: lines of ten words with several kinds of white space between them, against the words;
    and every piece, for one that holds text on both sides of a space. A unigram model may still break
    a tie differently, since it sums its scores along the line in float32.
    """
    prefix = tokenizer.word_prefix
    alone = tokenizer.encode_batch([prefix + word for word in _WORDS])
    joined = [np.concatenate(alone).tolist()] * 4 + [alone[0].tolist()]
    for line, ids, expected in zip(_LINES, tokenizer.encode_batch(_LINES), joined, strict=True):
        if ids.tolist() != expected:
            white = "a space around a line" if line == _LINES[-1] else f"{line[3]!r} between words"
            if line == _LINES[0]:
                white = "the first word of a line" if prefix else "a space between words"
            elif line == _LINES[1]:
                white = "a run of spaces"
            return f"{white} changes the tokens, and counted words do not tell where there was one"
    crossing = _CROSSING_AS_SUFFIX if as_suffix else _CROSSING
    for index, kind in enumerate(tokenizer.kinds):
        if kind in (Kind.NORMAL, Kind.USER):
            token = tokenizer.token_bytes(index) or b""
            if crossing.search(token):
                return f"a piece crosses a space: {token.decode(errors='replace')!r} (id {index})"
    return None


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return str(error).split("\n", 1)[0]
