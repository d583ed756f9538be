"""Tokenizers as a process has them open: how to open one, and what each of its ids is.

A process keeps the last one, since its jobs come tokenizer by tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocabkit.core.provenance import fingerprint_file
from vocabkit.vocabulary.tokenizers import Tokenizer, find_file, open_route, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open a tokenizer: its path, and the name of its pre-tokenising pattern where the file has none.

    `route` is the language whose view of a vocabulary with blocks it is. `fingerprint` tells a file from what
    was at its path before: a process keeps the last tokenizer open.
    """

    path: str
    pattern: str | None = None
    route: str | None = None
    fingerprint: str = ""

    @classmethod
    def of(cls, path: str | Path, pattern: str | None = None, route: str | None = None) -> Opening:
        """Return how to open a path, by what its file holds now. Raises TokenizerError for a bare folder."""
        file = find_file(path)
        return cls(str(path), pattern, route, fingerprint_file(file) if file.is_file() else "")

    def open(self) -> Tokenizer:
        """Open it. Raises TokenizerError."""
        if self.route is not None:
            return open_route(self.path, self.route)
        return open_tokenizer(self.path, self.pattern)


_CODES = {kind: code for code, kind in enumerate(Kind)}


class Pieces:
    """An open tokenizer with what each id is: its kind, and whether it is part of a character only."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look at the kinds; bytes are looked at as ids turn up: most of a large vocabulary never does."""
        self.tokenizer = tokenizer
        kinds = np.array([_CODES[kind] for kind in tokenizer.kinds], dtype=np.uint8)
        self.unknown = kinds == _CODES[Kind.UNKNOWN]
        self.byte = kinds == _CODES[Kind.BYTE]
        # The pieces of other styles are text themselves: none is part of a character.
        self._in_parts = tokenizer.style == "byte-level"
        self._text = kinds == _CODES[Kind.NORMAL]
        self._partial = np.zeros(len(kinds), dtype=np.bool_)
        self._seen = np.zeros(len(kinds), dtype=np.bool_)

    def are_partial(self, ids: Int32Array) -> BoolArray:
        """Return which ids are pieces of text, but no whole UTF-8."""
        if not self._in_parts:
            return np.zeros(len(ids), dtype=np.bool_)
        fresh = np.unique(ids[~self._seen[ids]])
        self._seen[fresh] = True
        for index in fresh[self._text[fresh]].tolist():
            self._partial[index] = not _is_whole(self.tokenizer.token_bytes(index) or b"")
        return self._partial[ids]


_opened: dict[Opening, Pieces] = {}


def reuse_tokenizer(opening: Opening) -> Pieces:
    """Return the tokenizer this process has open, else open it. Raises TokenizerError."""
    if opening not in _opened:
        _opened.clear()
        _opened[opening] = Pieces(opening.open())
    return _opened[opening]


def _is_whole(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
