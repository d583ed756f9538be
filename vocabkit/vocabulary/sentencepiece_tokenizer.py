"""A .model run by SentencePiece: text to ids, ids to bytes. Reading the pieces is `sentencepiece_format`'s."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.sentencepiece_format import read_model
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
from vocabkit.vocabulary.vocabulary import SPACE, Kind, Vocabulary


class SentencePieceTokenizer:
    """A .model run by SentencePiece."""

    style: Style = "sentencepiece"

    def __init__(self, name: str, vocabulary: Vocabulary, data: bytes) -> None:
        """Open the bytes of a .model that `vocabulary` was read from."""
        self.name = name
        self.vocabulary = vocabulary
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        except (RuntimeError, ValueError, OSError) as error:
            raise TokenizerError(
                f"{name}: SentencePiece refuses it: {first_line(error)}", HINT
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

    @property
    def _has_prefix(self) -> bool:
        spacing = self.vocabulary.spacing
        return spacing.dummy_prefix and not spacing.as_suffix

    @property
    def word_prefix(self) -> str:
        """Nothing where every text starts with a space, else one space."""
        return "" if self.vocabulary.spacing.dummy_prefix else " "

    @cached_property
    def exact_on_words(self) -> str | None:
        """None unless pieces cross a space, or white space has tokens of its own."""
        return find_inexactness(self, self.vocabulary.spacing.as_suffix)

    def normalize(self, text: str) -> str | None:
        """The text after the charsmap and the space rules, spaces as spaces; None when unchanged."""
        (raw,) = encode_checked([text], lambda: self._processor.normalize([text]))
        found = str(raw).replace(SPACE, " ")
        spacing = self.vocabulary.spacing
        if spacing.dummy_prefix:
            found = found.removesuffix(" ") if spacing.as_suffix else found.removeprefix(" ")
        return None if found == text else found

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """The ids of each text. Raises TokenizerError on a lone surrogate."""
        listed = list(texts)
        # One thread: threads help large batches alone, and the caller has processes for those.
        found: list[Int32Array] = encode_checked(
            listed, lambda: self._processor.encode(listed, out_type="numpy", num_threads=1)
        )
        return found

    def _encode_lists(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as a list, which for short texts takes a third of an array's time."""
        listed = list(texts)
        found: list[list[int]] = encode_checked(
            listed, lambda: self._processor.encode(listed, out_type=int, num_threads=1)
        )
        return found

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """The ids of all texts in a row, and how many each has."""
        return flatten(self._encode_lists(texts))

    def count_tokens(self, texts: Sequence[str]) -> Int64Array:
        """How many ids each text has."""
        return np.fromiter(map(len, self._encode_lists(texts)), np.int64, len(texts))

    @cached_property
    def _known_lengths(self) -> Int64Array:
        """The characters of each piece, spaces aside; none of the unknown one."""
        sizes = [len(piece) - piece.count(SPACE) for piece in self.vocabulary.pieces]
        if self.vocabulary.roles.unknown is not None:
            sizes[self.vocabulary.roles.unknown] = 0
        return np.array(sizes, np.int64)

    def unknown_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[int]:
        """The characters of the unknown pieces of each text: those of the text less those of its pieces."""
        unknown = self.vocabulary.roles.unknown
        counts = [0] * len(texts)
        if unknown is None:
            return counts
        ids, lengths = encoded or self.encode_flat(texts)
        owners = np.repeat(np.arange(len(texts)), lengths)
        places = np.unique(owners[ids == unknown]).tolist()
        if places:
            listed = [texts[place] for place in places]
            normalized = encode_checked(listed, lambda: self._processor.normalize(listed))
            known = np.bincount(owners, self._known_lengths[ids], len(texts))
            for place, text in zip(places, normalized, strict=True):
                counts[place] = len(text) - text.count(SPACE) - int(known[place])
        return counts

    def count_chunks(self, text: str) -> int:
        """One: the pieces themselves say where a word ends."""
        return min(len(text), 1)

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """The bytes of ids, without the space that encoding put before the first word."""
        return join_bytes(self, ids, self._has_prefix)

    def token_bytes(self, index: int) -> bytes | None:
        """The bytes of one id; None for control, unknown and unused pieces."""
        return self.vocabulary.token_bytes(check_id(self, index))
