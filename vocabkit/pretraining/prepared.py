"""Prepared rows on disk, as `vocabkit prepare` wrote them: what there is, and rows by number.

Rows are mapped, not read; opening a folder looks at sizes and headers alone, and `check_digests` at every byte.
Nothing is drawn, masked or put into batches here, and torch is not needed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, get_args

import numpy as np

from vocabkit.core.arrays import Int32Array, Int64Array
from vocabkit.core.errors import PretrainingError
from vocabkit.core.folders import check_inputs, fingerprint_file, output_folder
from vocabkit.core.records import Code, Digest, Name, check_digest, parse_record, read_sealed
from vocabkit.core.results import Result
from vocabkit.vocabulary.roles import SpecialIds

Encoding = Literal["union", "routed"]
ENCODINGS: tuple[str, ...] = get_args(Encoding)
SplitName = Literal["train", "held-out"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
SCHEMA = 2
INDEX = "shards.json"
ROWS, BYTES, USED = "", ".bytes", ".used"
# Each map holds a file descriptor, of which a process often has 1,024.
_MAPS = 256
_CHECK_ROWS = 1 << 14
_AGAIN = "vocabkit prepare CORPUS --tokenizer TOKENIZER -o DIR --force"


@dataclass(frozen=True, slots=True)
class Split:
    """How much of a language there is. `tokens` are those of text: no specials, no padding.

    `lost` are the bytes of held-out text, as normalised, that no known token stands for; text to train on is
    not looked at, and has 0.
    """

    rows: int
    tokens: int
    bytes: int
    documents: int
    lost: int = 0


class _Part(NamedTuple):
    """The rows of one source and split: `stem` is the path without `.npy`; `first` its first row's number."""

    stem: Path
    first: int
    rows: int
    digests: Mapping[str, str]


# What shards.json says. A digest is of a file's numbers, by what stands between the stem and `.npy`.
class _PartEntry(TypedDict):
    rows: int
    digests: Mapping[Literal["", ".bytes", ".used"], Digest]


_FileEntry = TypedDict("_FileEntry", {"name": Name, "train": _PartEntry, "held-out": _PartEntry})
_LanguageEntry = TypedDict("_LanguageEntry", {"train": Split, "held-out": Split, "files": list[_FileEntry]})


class _Special(TypedDict):
    begin: int
    end: int | None
    pad: int
    mask: int | None
    unknown: int | None
    reserved: list[int]


class _Index(TypedDict):
    length: int
    encoding: Encoding
    vocabulary: int
    special: _Special
    tokenizer: str
    corpus: str
    held_out: float
    languages: Mapping[Code, _LanguageEntry]
    files: Mapping[Name, Digest]


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
    tokenizer_files: Mapping[str, str] = field(repr=False)
    _splits: Mapping[tuple[str, str], Split] = field(repr=False)
    _parts: Mapping[tuple[str, str], tuple[_Part, ...]] = field(repr=False)
    _open: Callable[[Path], Int32Array] = field(repr=False)

    @classmethod
    def load(cls, folder: str | Path) -> PreparedCorpus:
        """Open what `vocabkit prepare` wrote.

        Raises PretrainingError naming the file that is missing, cut short, or of another version.
        """
        root = Path(folder)
        index = _read_index(root / INDEX)
        held: Mapping[str, Any] = index["languages"]
        keys: list[tuple[str, str]] = list(product(held, SPLITS))
        special = SpecialIds.from_dict({name: index["special"][name] for name in _SPECIAL})  # type: ignore[literal-required]
        found = cls(
            root, index["length"], tuple(sorted(held)), index["encoding"], index["vocabulary"], special,
            index["held_out"], fingerprint_file(root / INDEX), index["tokenizer"], index["corpus"],
            index["files"], {(code, name): held[code][name] for code, name in keys},
            {(code, name): _list_parts(root, held[code]["files"], name) for code, name in keys},
            lru_cache(_MAPS)(partial(np.load, mmap_mode="r")),
        )  # fmt: skip
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

    @property
    def held_out_text(self) -> str:
        """A digest of the text that is held out, whatever the tokenizer that cut it."""
        said = f"{self.corpus_fingerprint} {self.held_out!r} {','.join(self.languages)}"
        return hashlib.blake2b(said.encode(), digest_size=20).hexdigest()

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

    def check_digests(self, rank: int = 0, world: int = 1) -> None:
        """Read every byte, or a rank's share of the files, and hold it to the digest that `prepare` wrote.

        1.3 s a gigabyte and core. Raises PretrainingError naming the file that was changed.
        """
        files = [
            (_file(part.stem, kind), part.digests[kind])
            for parts in self._parts.values()
            for part in parts
            for kind in (ROWS, BYTES, USED)
        ]
        for path, digest in files[rank::world]:
            if _fingerprint_numbers(path) != digest:
                raise PretrainingError(f"{path}: was changed since it was written", _AGAIN)
        for name, digest in self.tokenizer_files.items():
            check_digest(self.tokenizer_folder / name, digest, PretrainingError, _AGAIN)

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
        special = self.special
        named = [special.begin, special.end, special.pad, special.mask, special.unknown, *special.reserved]
        if self.length < 1 or any(index is not None and index >= self.vocabulary for index in named):
            what = f"rows of {self.length} places, or special ids beyond the {self.vocabulary:,} there are"
            raise PretrainingError(f"{self.folder / INDEX}: {what}", _AGAIN)
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


_SPECIAL = ("begin", "end", "pad", "mask", "unknown", "reserved")


def _read_index(path: Path) -> _Index:
    if not path.is_file():
        raise PretrainingError(
            f"{path.parent}: not a folder of prepared rows: it has no {INDEX}",
            "vocabkit prepare CORPUS --tokenizer TOKENIZER -o DIR",
        )
    content = read_sealed(path, PretrainingError, _AGAIN, SCHEMA)
    found: _Index = parse_record(_Index, content, path, PretrainingError, _AGAIN)
    return found


def _list_parts(root: Path, files: list[dict[str, Any]], split: str) -> tuple[_Part, ...]:
    """Return the parts of a split that hold rows, numbered on; empty ones have no row to be found by.

    Raises PretrainingError for one without the digests of its files.
    """
    parts, first = [], 0
    for entry in files:
        rows, digests = entry[split]["rows"], entry[split]["digests"]
        if rows:
            if len(digests) < len((ROWS, BYTES, USED)):
                raise PretrainingError(f"{root / INDEX}: {entry['name']} {split} lacks digests", _AGAIN)
            parts.append(_Part(root / f"{entry['name']}.{split}", first, rows, digests))
            first += rows
    return tuple(parts)


def _fingerprint_numbers(path: Path) -> str:
    """Return the digest of a file's numbers; its header is held to its shape when the folder is opened."""
    digest = hashlib.blake2b(digest_size=20)
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
    except Exception as error:  # a header is read as an expression of Python, which fails in many ways
        raise PretrainingError(f"{path}: is damaged: {error}", _AGAIN) from error
    if found != shape or kind != np.dtype("<i4") or fortran:
        raise PretrainingError(f"{path}: holds {kind.name}{list(found)}, expected int32{list(shape)}", _AGAIN)
    expected = start + 4 * int(np.prod(shape))
    if size != expected:
        what = "cut short" if size < expected else "too long"
        raise PretrainingError(f"{path}: is {what}: {size} bytes, expected {expected}", _AGAIN)
