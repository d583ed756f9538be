"""Prepared rows on disk, as `vocabkit prepare` wrote them: what there is, and rows by number.

Rows are mapped, not read; opening a folder looks at sizes and headers alone. Nothing is drawn, masked or
put into batches here, and torch is not needed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from vocabkit.core.arrays import Int32Array, Int64Array
from vocabkit.core.errors import PretrainingError
from vocabkit.core.folders import check_inputs, output_folder
from vocabkit.core.results import Result
from vocabkit.vocabulary.roles import SpecialIds

Encoding = Literal["union", "routed"]
ENCODINGS: tuple[str, ...] = get_args(Encoding)
SplitName = Literal["train", "held-out"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
SCHEMA = 1
INDEX = "shards.json"
ROWS, BYTES, USED = "", ".bytes", ".used"
# Each map holds a file descriptor, of which a process often has 1,024.
_MAPS = 256
_CHECK_ROWS = 1 << 14
_AGAIN = "vocabkit prepare CORPUS --tokenizer TOKENIZER -o DIR --force"


@dataclass(frozen=True, slots=True)
class Split:
    """How much of a language there is. `tokens` are those of text: no specials, no padding."""

    rows: int
    tokens: int
    bytes: int
    documents: int


class _Part(NamedTuple):
    """The rows of one source and split: `stem` is the path without `.npy`; `first` its first row's number."""

    stem: Path
    first: int
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class PreparedCorpus(Result):
    """A folder of prepared rows.

    `languages` is sorted. `fingerprint` is of the index, which holds a digest of every file of rows: two
    folders with one fingerprint hold the same rows. `tokenizer_fingerprint` is of the files that decide ids.
    """

    folder: Path
    length: int
    languages: tuple[str, ...]
    encoding: Encoding
    vocabulary: int
    special: SpecialIds
    held_out: float
    fingerprint: str
    tokenizer_fingerprint: str
    corpus_fingerprint: str
    _splits: Mapping[tuple[str, str], Split] = field(repr=False)
    _parts: Mapping[tuple[str, str], tuple[_Part, ...]] = field(repr=False)
    _open: Callable[[Path], Int32Array] = field(repr=False)

    @classmethod
    def load(cls, folder: str | Path) -> PreparedCorpus:
        """Open what `vocabkit prepare` wrote.

        Raises PretrainingError naming the file that is missing, cut short, or of another version.
        """
        root = Path(folder)
        text, index = _read_index(root / INDEX)
        try:
            held = index["languages"]
            keys: list[tuple[str, str]] = list(product(held.keys(), SPLITS))
            splits = {(code, name): Split(**held[code][name]) for code, name in keys}
            parts = {(code, name): _list_parts(root, held[code]["files"], name) for code, name in keys}
            special = SpecialIds.from_dict(index["special"])
            found = cls(
                root, int(index["length"]), tuple(sorted(held)), index["encoding"],
                int(index["vocabulary"]), special, float(index["held_out"]),
                hashlib.blake2b(text, digest_size=20).hexdigest(), index["tokenizer"],
                index["corpus"], splits, parts, lru_cache(_MAPS)(partial(np.load, mmap_mode="r")),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PretrainingError(f"{root / INDEX}: is damaged: {error!r}", _AGAIN) from error
        found._check_files()
        return found

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language: documents, bytes, tokens and rows to train on, and those held out."""
        return [
            {"language": code, **asdict(self.split(code, "train"))}
            | {f"held_out_{name}": number for name, number in asdict(self.split(code, "held-out")).items()}
            for code in self.languages
        ]

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Copy the folder of rows. Raises `OutputError`."""
        check_inputs(Path(folder), [self.folder])
        with output_folder(folder, force=force) as work:
            shutil.copytree(self.folder, work, dirs_exist_ok=True)

    @property
    def tokenizer_folder(self) -> Path:
        """The copy of the tokenizer the rows were made with."""
        return self.folder / "tokenizer"

    def split(self, language: str, split: SplitName) -> Split:
        """Return how much there is of a language. Raises PretrainingError for a language that is not there."""
        return self._splits[self._key(language, split)]

    def read_rows(self, language: str, split: SplitName, indices: Int64Array) -> Int32Array:
        """Return rows by number, over the language's files in order: int32[n, length].

        Raises PretrainingError for ids that the vocabulary has not: what reads them trusts them.
        """
        out = np.empty((len(indices), self.length), np.int32)
        self._gather(language, split, indices, ROWS, out)
        # Taken as unsigned, ids below zero are large as well. 3 µs for 64 rows of 512.
        if out.size and int(out.view(np.uint32).max()) >= self.vocabulary:
            raise PretrainingError(
                f"{self.folder / language}: {split} rows hold ids beyond 0–{self.vocabulary - 1}: "
                "damaged, or not of this tokenizer",
                _AGAIN,
            )
        return out

    def row_bytes(self, language: str, split: SplitName, indices: Int64Array) -> Int32Array:
        """Return the UTF-8 bytes of the original text in each row: int32[n]."""
        return self._gather(language, split, indices, BYTES, np.empty(len(indices), np.int32))

    def row_used(self, language: str, split: SplitName, indices: Int64Array) -> Int32Array:
        """Return each row's positions that are not padding, specials included: int32[n]."""
        return self._gather(language, split, indices, USED, np.empty(len(indices), np.int32))

    def check_ids(self) -> None:
        """Read every row: ids in range, a document first, padding where `used` says.

        Raises PretrainingError naming the file and the row.
        """
        for code, name in product(self.languages, SPLITS):
            for part in self._parts[code, name]:
                self._check_part(part)

    def _key(self, language: str, split: str) -> tuple[str, str]:
        if (language, split) not in self._splits:
            known = ", ".join(self.languages)
            raise PretrainingError(f"{self.folder}: no {split} rows of {language}", f"it has {known}")
        return language, split

    def _gather(self, language: str, split: str, indices: Int64Array, kind: str, out: Int32Array) -> Int32Array:
        parts = self._parts[self._key(language, split)]
        wanted = np.asarray(indices, np.int64)
        rows = self._splits[language, split].rows
        if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) < rows:
            raise IndexError(f"{language} {split}: rows are 0 to {rows - 1}")
        firsts = np.array([part.first for part in parts], np.int64)
        owners = np.searchsorted(firsts, wanted, side="right") - 1
        for number in np.unique(owners):
            chosen = np.flatnonzero(owners == number)
            part = parts[number]
            out[chosen] = self._open(_file(part.stem, kind))[wanted[chosen] - part.first]
        return out

    def _check_files(self) -> None:
        if self.encoding not in ENCODINGS:
            names = ", ".join(ENCODINGS)
            raise PretrainingError(f"{self.folder / INDEX}: encoding {self.encoding!r} is none of {names}")
        if not self.tokenizer_folder.is_dir():
            raise PretrainingError(f"{self.tokenizer_folder}: no such folder", _AGAIN)
        for key, parts in self._parts.items():
            if sum(part.rows for part in parts) != self._splits[key].rows:
                message = f"the files of {key[0]} {key[1]} do not add up"
                raise PretrainingError(f"{self.folder / INDEX}: {message}", _AGAIN)
            for part in parts:
                _check_file(_file(part.stem, ROWS), (part.rows, self.length))
                for kind in (BYTES, USED):
                    _check_file(_file(part.stem, kind), (part.rows,))

    def _check_part(self, part: _Part) -> None:
        path = _file(part.stem, ROWS)
        rows, used = self._open(path), self._open(_file(part.stem, USED))
        positions = np.arange(self.length)
        for start in range(0, part.rows, _CHECK_ROWS):
            block = np.asarray(rows[start : start + _CHECK_ROWS])
            count = np.asarray(used[start : start + _CHECK_ROWS])
            wrong = ((block < 0) | (block >= self.vocabulary)).any(axis=1)
            wrong |= (count < 1) | (count > self.length) | (block[:, 0] != self.special.begin)
            wrong |= ((block != self.special.pad) & (positions >= count[:, None])).any(axis=1)
            if wrong.any():
                row = start + int(np.flatnonzero(wrong)[0])
                raise PretrainingError(
                    f"{path}: row {row}: ids beyond 0–{self.vocabulary - 1}, no document first, or "
                    "text where padding should be",
                    _AGAIN,
                )


def _file(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}{kind}.npy")


def _read_index(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        text = path.read_bytes()
        index = json.loads(text)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PretrainingError(
            f"{path.parent}: not a folder of prepared rows: it has no {INDEX}",
            "vocabkit prepare CORPUS --tokenizer TOKENIZER -o DIR",
        ) from error
    except (OSError, ValueError) as error:
        raise PretrainingError(f"{path}: cannot be read: {error}", _AGAIN) from error
    schema = index.get("schema") if isinstance(index, dict) else None
    if schema != SCHEMA:
        raise PretrainingError(
            f"{path}: schema {schema!r}, this version reads {SCHEMA}",
            "prepare the corpus again with this version",
        )
    return text, index


def _list_parts(root: Path, files: list[dict[str, Any]], split: str) -> tuple[_Part, ...]:
    """Return the parts of a split that hold rows, numbered on; empty ones have no row to be found by."""
    parts, first = [], 0
    for entry in files:
        rows = int(entry[split]["rows"])
        if rows:
            parts.append(_Part(root / f"{entry['name']}.{split}", first, rows))
            first += rows
    return tuple(parts)


def _check_file(path: Path, shape: tuple[int, ...]) -> None:
    """Raise PretrainingError unless a file has this shape by its header, and the size that goes with it."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"npy version {version}")
            found, fortran, kind = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise PretrainingError(f"{path}: no such file", _AGAIN) from error
    except (OSError, ValueError) as error:
        raise PretrainingError(f"{path}: is damaged: {error}", _AGAIN) from error
    if found != shape or kind != np.dtype("<i4") or fortran:
        raise PretrainingError(f"{path}: holds {kind.name}{list(found)}, expected int32{list(shape)}", _AGAIN)
    expected = start + 4 * int(np.prod(shape))
    if size != expected:
        what = "cut short" if size < expected else "too long"
        raise PretrainingError(f"{path}: is {what}: {size} bytes, expected {expected}", _AGAIN)
