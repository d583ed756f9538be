"""Encoding many texts and decoding them again: which do not come back as they went in, or as normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vocabkit.vocabulary.tokenizers import UNKNOWN_BYTES, Tokenizer
from vocabkit.vocabulary.vocabulary import Kind


@dataclass(frozen=True, slots=True)
class Lost:
    """Texts that did not come back, each with what came, out of `total`."""

    pairs: list[tuple[bytes, bytes]]
    total: int


class Codec:
    """Encoding and decoding many texts: the bytes of all ids are looked up once.

    `control` and `user` are the ids of those kinds.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look up the bytes of all ids of a tokenizer."""
        self._tokenizer = tokenizer
        kinds = tokenizer.kinds
        self.control = frozenset(i for i, kind in enumerate(kinds) if kind is Kind.CONTROL)
        self.user = frozenset(i for i, kind in enumerate(kinds) if kind is Kind.USER)
        self._table = [
            tokenizer.token_bytes(index) or (UNKNOWN_BYTES if kind is Kind.UNKNOWN else b"")
            for index, kind in enumerate(kinds)
        ]
        (ids,) = tokenizer.encode_batch(["a"])
        # Decoding takes off the one space that encoding put first, if it did.
        self._strips = self._join(ids.tolist()) != tokenizer.decode_bytes(ids)

    def _join(self, ids: Sequence[int]) -> bytes:
        return b"".join([self._table[index] for index in ids])

    def find_lost(self, texts: Sequence[str]) -> tuple[Lost, list[list[int]]]:
        """The texts that do not come back, and the ids of all. Raises TokenizerError."""
        lost = []
        batch = [ids.tolist() for ids in self._tokenizer.encode_batch(texts)]
        for text, ids in zip(texts, batch, strict=True):
            data, back = text.encode(), self._join(ids)
            if self._strips and back.startswith(b" "):
                back = back[1:]
            if back != data:
                known = self._tokenizer.normalize(text)
                if known is None or back != known.encode():
                    lost.append((data, back))
        return Lost(lost, len(texts)), batch


def cut_difference(data: bytes, other: bytes, width: int = 24) -> bytes:
    """The part of a text about the first character that differs from another."""
    start = 0
    for one, two in zip(data, other, strict=False):
        if one != two:
            break
        start += 1
    start = max(0, start - width // 3)
    while start and data[start : start + 1] and 0x80 <= data[start] < 0xC0:
        start -= 1
    text = data[start:].decode(errors="ignore")[:width]
    return text.encode()
