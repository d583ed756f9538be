"""WordCounts: what a corpus says, counted once; every later stage starts here and never re-reads text.

Per language two tables of raw whitespace-delimited words (train, and a held-out share of documents), a
character table that is never truncated, and totals. Raw means before any normalisation: normalising a word
at a time equals normalising the line (0 of 506,330 lines differ under nmt_nfkc), so one count serves every
normaliser. Here are the types, their folder (`languages.json`, and per language three parquet files of which it
holds digests), and the tally that makes and the sum that joins them in DuckDB; `counting` reads the text.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import duckdb
import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import BoolArray, Int64Array
from vocabkit.core.errors import CountsError, first_line
from vocabkit.core.folders import (
    fingerprint_file,
    is_full,
    output_folder,
    read_json,
    write_json,
    write_manifest,
)
from vocabkit.core.records import (
    Code,
    Digest,
    Name,
    break_seal,
    check_digest,
    is_sealed,
    parse_record,
    seal,
)
from vocabkit.core.results import LoadedMapping, Result
from vocabkit.core.text import cut_run

if TYPE_CHECKING:  # loads the compiler, which little text does without
    from vocabkit.corpus.word_rows import CountTable

RUN_LIMIT = 1_000
"""Longest run of characters kept whole; a longer one is cut at a grapheme and its parts are continuations."""
SPLITS = ("train", "held_out")
# Where one raw word ends, the same for every normaliser: characters that SentencePiece's nmt_nfkc turns into a
# space and Python calls white space. Vertical tab, U+001C…U+001F and U+0085, which `str.split` also splits at,
# are deleted or kept by that rule, so they stay inside words: a count split there would not equal the text.
DELIMITERS = tuple(
    "\t\n\x0c\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_RUNS = re.compile("[" + "".join(DELIMITERS) + "]+")


def split_words(text: str) -> list[str]:
    """Return the words of a text, none of them empty."""
    return [word for word in _RUNS.split(text) if word]


INDEX = "languages.json"
_AGAIN = "count the corpus again"
_TABLE = {"word": "VARCHAR", "continuation": "BOOLEAN", "count": "BIGINT", "documents": "BIGINT"}
_NUMBERS = ("continuation", "count", "documents")
_WHOLE = {f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")}
_WORDS, _ORDER = ", ".join(_TABLE), "word, continuation"
_SUMS = "CAST(sum(count) AS BIGINT) AS count, CAST(sum(documents) AS BIGINT) AS documents"


@dataclass(frozen=True, slots=True)
class Totals:
    """What one split of one language holds, before any truncation.

    `cut_runs` counts runs longer than `RUN_LIMIT` characters; `discarded` the occurrences of words dropped
    by a minimum count.
    """

    documents: int = 0
    lines: int = 0
    words: int = 0
    characters: int = 0
    bytes: int = 0
    cut_runs: int = 0
    discarded: int = 0

    def __add__(self, other: Totals) -> Totals:
        """Return the sum, field by field."""
        return Totals(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class WordTable:
    """Words of one split: sorted by (word, continuation), with occurrences and document frequency.

    `continuation` marks the later parts of a cut run, which do not follow white space.
    """

    words: Sequence[str]
    continuation: BoolArray
    count: Int64Array
    documents: Int64Array

    def __post_init__(self) -> None:
        numbers = [getattr(self, name) for name in _NUMBERS]
        if any(len(column) != len(self.words) for column in numbers):
            raise CountsError(f"a table of {len(self.words):,} words with columns of other lengths", _AGAIN)
        for name, column in zip(_NUMBERS[1:], numbers[1:], strict=True):
            if column.dtype.kind not in "iu" or (len(column) and int(column.min()) < 1):
                raise CountsError(f"a table of words whose {name} are no whole numbers of 1 or more", _AGAIN)

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, WordTable)
            and list(self.words) == list(other.words)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _NUMBERS)
        )

    __hash__ = None  # type: ignore[assignment]

    def rows(self) -> Iterator[tuple[tuple[str, bool], tuple[int, int]]]:
        """Yield ((word, continuation), (count, documents)) in table order."""
        keys = zip(self.words, self.continuation.tolist(), strict=True)
        return zip(keys, zip(self.count.tolist(), self.documents.tolist(), strict=True), strict=True)

    @classmethod
    def from_rows(cls, rows: Mapping[tuple[str, bool], tuple[int, int]]) -> WordTable:
        """Build a table from a mapping, in any order."""
        order = sorted(rows)
        return cls(
            [word for word, _ in order],
            np.array([flag for _, flag in order], dtype=np.bool_),
            np.array([rows[key][0] for key in order], dtype=np.int64),
            np.array([rows[key][1] for key in order], dtype=np.int64),
        )

    def __add__(self, other: WordTable) -> WordTable:
        """Return the table of both corpora together; exact, associative and commutative."""
        merged = dict(self.rows())
        for key, (count, documents) in other.rows():
            before = merged.get(key, (0, 0))
            merged[key] = (before[0] + count, before[1] + documents)
        return WordTable.from_rows(merged)


@dataclass(frozen=True, slots=True)
class LanguageCounts:
    """One language's counts: the two word tables, the characters of both, and the totals of each split."""

    language: str
    train: WordTable
    held_out: WordTable
    characters: Mapping[str, int]
    totals: Totals
    held_out_totals: Totals

    def __add__(self, other: LanguageCounts) -> LanguageCounts:
        """Return the counts of both corpora together."""
        characters = Counter(self.characters)
        characters.update(other.characters)
        tables = (self.train + other.train, self.held_out + other.held_out)
        totals = (self.totals + other.totals, self.held_out_totals + other.held_out_totals)
        return LanguageCounts(self.language, *tables, dict(sorted(characters.items())), *totals)

    def split(self, name: str) -> WordTable:
        """Return the table called `train` or `held_out`."""
        return {"train": self.train, "held_out": self.held_out}[name]


@dataclass(frozen=True, slots=True)
class WordCounts(Result):
    """Counts of a corpus by language code. `folder` is where they were loaded from, None in memory."""

    languages: Mapping[str, LanguageCounts]
    folder: Path | None = None

    @property
    def totals(self) -> dict[str, Totals]:
        """Train totals by language; reads no table."""
        return {code: self.totals_of(code)[0] for code in self.languages}

    def totals_of(self, code: str) -> tuple[Totals, Totals]:
        """Return one language's totals, train and held out, without reading its tables."""
        if self.folder is not None:
            entry = _parse_entry(self.folder, code, read_index(self.folder)[code])
            return entry.train, entry.held_out
        return self.languages[code].totals, self.languages[code].held_out_totals

    @property
    def fingerprint(self) -> str:
        """Digest of the content: equal counts, in memory or in a folder, have equal fingerprints."""
        if self.folder is not None:
            index, root = read_index(self.folder), self.folder
            parts = [[code, _parse_entry(root, code, index[code]).fingerprint] for code in sorted(index)]
        else:
            parts = [[code, _fingerprint(self.languages[code])] for code in sorted(self.languages)]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()

    def __add__(self, other: WordCounts) -> WordCounts:
        """Return the counts of both corpora together, in memory. For large folders use `merge_counts`."""
        merged = dict(self.languages)
        for code, counts in other.languages.items():
            merged[code] = merged[code] + counts if code in merged else counts
        return WordCounts({code: merged[code] for code in sorted(merged)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordCounts) and dict(self.languages) == dict(other.languages)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def from_texts(cls, texts: Mapping[str, Iterable[str]], *, held_out: float = 0.0) -> WordCounts:
        """Count documents given in memory: language code → documents."""
        languages = {}
        for code in sorted(texts):
            with Tally(held_out) as tally:
                tally.add(list(texts[code]))
                languages[code] = tally.counts(code)
        return cls(languages)

    @classmethod
    def load(cls, folder: str | Path) -> WordCounts:
        """Open a counts folder; tables are checked when a language is asked for. Raises `CountsError`."""
        root = Path(folder)
        if not (root / INDEX).is_file():
            hint = f"vocabkit count CORPUS -o {shlex.quote(str(root))}"
            raise CountsError(f"{root}: no counts here (no {INDEX})", hint)
        index = read_index(root)
        for code, entry in index.items():
            _parse_entry(root, code, entry)
        return cls(LoadedMapping(sorted(index), lambda code: load_language(root, code)), root)

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language: its totals to train on."""
        return [{"language": code, **asdict(totals)} for code, totals in self.totals.items()]

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write every language's tables and the index into a folder. Raises `OutputError`."""
        with output_folder(folder, force=force) as work:
            self.write_tables(work)
            write_manifest(work)

    def write_tables(self, folder: Path) -> None:
        """Write every language's tables and the index into an existing, empty folder. Raises `CountsError`."""
        _check_codes(self.languages, folder)
        entries = {}
        for code, counts in self.languages.items():
            (folder / code).mkdir()
            with connect() as database:
                for name in SPLITS:
                    table = counts.split(name)
                    columns = {column: np.asarray(getattr(table, column)) for column in _NUMBERS}
                    columns = {"word": np.array(table.words, dtype=object), **columns}
                    write_columns(database, columns, folder / code / f"{name}.parquet")
                _write_characters(database, counts.characters, folder / code / "characters.parquet")
            entries[code] = index_entry(counts.totals, counts.held_out_totals, _fingerprint(counts))
        write_index(folder, entries)


# --- Tables ----------------------------------------------------------------------------------------
# Parquet through DuckDB: columns in, columns out. Text columns are object arrays of str.

Columns = Mapping[str, npt.NDArray[Any]]


def _quote(text: str | Path) -> str:
    """Return a SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


_BESIDE = 280 << 20
"""Bytes a worker takes beside its database: 110 MB of libraries, and a line of 4 MiB several times over."""
_LEAST_SHARE = 0.45
"""The database's share where that leaves little: so a line of 1 GB is counted within 500 MB."""


def _bound_database(memory: int) -> int:
    """Return how much of a process's memory its database may take, in bytes."""
    return max(memory - _BESIDE, int(memory * _LEAST_SHARE), 64 << 20)


@contextlib.contextmanager
def connect(
    *, memory: int | None = None, threads: int = 1, spill: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory database bounded to `memory` bytes that spills to `spill`.

    What does not fit in memory, and cannot be spilled, is a `MemoryError`.
    """
    settings: dict[str, Any] = {"threads": threads}
    if memory is not None:
        settings["memory_limit"] = f"{_bound_database(memory) >> 20}MB"
    if spill is not None:
        settings["temp_directory"] = str(spill)
    connection = duckdb.connect(":memory:", config=settings)
    # DuckDB draws its own bar on stdout after two seconds. In a notebook without ipywidgets it cannot, and
    # refuses the setting.
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")
    try:
        yield connection
    except duckdb.OutOfMemoryException as error:
        if is_full(error):
            raise
        raise MemoryError(str(error)) from error
    finally:
        connection.close()


def write_columns(database: duckdb.DuckDBPyConnection, columns: Columns, path: Path) -> None:
    """Write columns to a parquet file, rows as given."""
    # DuckDB takes dicts of arrays; an empty object array has no type, so text is cast explicitly.
    casts = ", ".join(
        f'CAST("{name}" AS VARCHAR) AS "{name}"' if array.dtype == object else f'"{name}"'
        for name, array in columns.items()
    )
    database.register("columns_in", {name: np.ascontiguousarray(a) for name, a in columns.items()})
    try:
        _copy(database, f"SELECT {casts} FROM columns_in", path)
    finally:
        database.unregister("columns_in")


def read_columns(
    database: duckdb.DuckDBPyConnection, path: Path, types: Mapping[str, str]
) -> dict[str, npt.NDArray[Any]]:
    """Read named columns of a parquet file in file order.

    Raises `CountsError` naming the file, and the column that is missing, of another kind or has no value.
    """
    names = ", ".join(f'"{name}"' for name in types)
    try:
        _check_types(database, path, types)
        found = database.execute(f"SELECT {names} FROM read_parquet({_quote(path)})").fetchnumpy()
    except duckdb.Error as error:
        raise _name_failure(path, error) from error
    for name in types:
        if np.ma.getmaskarray(found[name]).any():
            raise CountsError(f"{path}: its column {name} has rows without a value", _AGAIN)
    return {name: np.ma.getdata(found[name]) for name in types}


def _name_failure(path: Path, error: duckdb.Error) -> CountsError:
    return CountsError(f"{path}: cannot be read: {first_line(error)}", _AGAIN)


def _check_types(database: duckdb.DuckDBPyConnection, path: Path, types: Mapping[str, str]) -> None:
    """Raise `CountsError` where a column is of another kind: a fraction would be cut off without a word."""
    described = database.execute(f"DESCRIBE SELECT * FROM read_parquet({_quote(path)})").fetchall()
    held = {row[0]: str(row[1]) for row in described}
    for name, wanted in types.items():
        found = held.get(name)
        whole = wanted.endswith("INT") or wanted == "INTEGER"
        if found is None or not (found in _WHOLE if whole else found == wanted):
            what = "is missing" if found is None else f"is of type {found}, expected {wanted}"
            raise CountsError(f"{path}: its column {name} {what}", _AGAIN)


# --- The folder ------------------------------------------------------------------------------------


def load_language(root: Path, code: str) -> LanguageCounts:
    """Read one language's tables. Raises `CountsError` on a missing, damaged or changed file."""
    entry = _parse_entry(root, code, read_index(root)[code])
    folder = _check_files(root, code, entry)
    with connect() as database:
        train, held_out = (
            _make_table(read_columns(database, folder / f"{name}.parquet", _TABLE)) for name in SPLITS
        )
        characters = _read_characters(database, folder)
    return LanguageCounts(code, train, held_out, characters, entry.train, entry.held_out)


def check_language(root: Path, code: str) -> Path:
    """Return the folder of a language's tables, which are as they were written. Raises `CountsError`."""
    return _check_files(root, code, _parse_entry(root, code, read_index(root)[code]))


def _check_files(root: Path, code: str, entry: _Entry) -> Path:
    """Hold each file to its digest: 0.06 s for the 47 MB of 90 languages, whose fit takes 31."""
    for name in _FILES:
        if entry.files is None:
            break
        if name not in entry.files:
            raise CountsError(f"{root / INDEX}: {code} has no digest of {name}", _AGAIN)
        check_digest(root / code / name, entry.files[name], CountsError, _AGAIN)
    else:
        return root / code
    # Counts of an earlier version have no digests: their rows are looked at, which takes longer.
    with connect() as database:
        for name, totals in zip(SPLITS, (entry.train, entry.held_out), strict=True):
            _check_rows(database, root / code / f"{name}.parquet", totals)
    return root / code


def _check_rows(database: duckdb.DuckDBPyConnection, path: Path, totals: Totals) -> None:
    """Raise `CountsError` for rows that no count gives: below 1, without a value, twice, or not adding up."""
    try:
        _check_types(database, path, _TABLE)
        found = database.execute(
            "SELECT coalesce(min(least(count, documents)), 1), "
            "count(*) - count(DISTINCT (word, continuation)), "
            "count(*) FILTER (word IS NULL OR continuation IS NULL OR count IS NULL OR documents IS NULL), "
            f"coalesce(sum(count) FILTER (NOT continuation), 0) FROM read_parquet({_quote(path)})"
        ).fetchall()
    except duckdb.Error as error:
        raise _name_failure(path, error) from error
    least, doubled, empty, words = map(int, found[0])
    # What a minimum count dropped was counted with the parts of long words, which the total does not count.
    adds_up = words <= totals.words <= words + totals.discarded
    for wrong, what in (
        (empty, "rows without a value"),
        (least < 1, "counts below 1"),
        (doubled, "a word in two rows"),
        (not adds_up, f"{words:,} words, and {INDEX} says {totals.words:,}"),
    ):
        if wrong:
            raise CountsError(f"{path}: holds {what}", _AGAIN)


def _make_table(columns: Columns) -> WordTable:
    count, documents = (columns[name].astype(np.int64) for name in _NUMBERS[1:])
    return WordTable(columns["word"].tolist(), columns["continuation"].astype(np.bool_), count, documents)


def _write_characters(database: duckdb.DuckDBPyConnection, characters: Mapping[str, int], path: Path) -> None:
    """Write a character table, sorted by code point."""
    order = sorted(characters)
    count = np.array([characters[c] for c in order], dtype=np.int64)
    write_columns(database, {"character": np.array(order, dtype=object), "count": count}, path)


def _read_characters(database: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, int]:
    """Read the character table of a language's folder. Raises `CountsError`."""
    types, path = {"character": "VARCHAR", "count": "BIGINT"}, folder / "characters.parquet"
    found = read_columns(database, path, types)
    characters = dict(zip(found["character"].tolist(), found["count"].tolist(), strict=True))
    single = all(len(character) == 1 for character in characters)
    if not single or len(characters) < len(found["count"]) or min(characters.values(), default=1) < 1:
        raise CountsError(f"{path}: holds a row that is no character, one twice, or a count below 1", _AGAIN)
    return characters


def index_entry(totals: Totals, held_out: Totals, digest: str) -> dict[str, object]:
    """Return the entry of `languages.json` for a finished language folder."""
    return {"train": asdict(totals), "held_out": asdict(held_out), "fingerprint": digest}


_FILES = ("train.parquet", "held_out.parquet", "characters.parquet")


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the index says of a language; counts of an earlier version say nothing of `files`, unsealed."""

    train: Totals
    held_out: Totals
    fingerprint: str
    files: Mapping[Name, Digest] | None = None


def _check_codes(codes: Iterable[str], folder: Path) -> None:
    """Raise `CountsError` unless each is a language's code: a folder is named after it."""
    parse_record(Mapping[Code, Any], dict.fromkeys(codes), folder, CountsError, "name languages so")


def write_index(folder: Path, entries: Mapping[str, Mapping[str, object]]) -> None:
    """Write the index of a folder of tables: totals, and the digests of the tables and of the entry itself."""
    index = {}
    _check_codes(entries, folder)
    for code in sorted(entries):
        files = {name: fingerprint_file(folder / code / name) for name in _FILES}
        # The code is sealed with it: entries cannot change places.
        entry = seal({**entries[code], "files": files, "language": code})
        index[code] = {name: value for name, value in entry.items() if name != "language"}
    write_json(folder / INDEX, index)


def read_index(root: Path) -> dict[str, Any]:
    """Return the entries by language. Raises `CountsError` for a key that is no language's code."""
    content = read_json(root / INDEX, CountsError, _AGAIN)
    index: dict[str, Any] = parse_record(Mapping[Code, Any], content, root / INDEX, CountsError, _AGAIN)
    return index


def _parse_entry(root: Path, code: str, entry: Any) -> _Entry:
    place = f"{root / INDEX}: {code}"
    held: dict[str, Any] = parse_record(Mapping[str, Any], entry, place, CountsError, _AGAIN)
    if is_sealed(held) or "files" in held:
        held = break_seal({**held, "language": code}, place, CountsError, _AGAIN)
        del held["language"]
    found: _Entry = parse_record(_Entry, held, place, CountsError, _AGAIN)
    return found


def _digest_parts(database: duckdb.DuckDBPyConnection, rows: str) -> str:
    """Return the digest of the word table that a query gives, in any order: XOR of MD5 over its rows.

    Rows are distinct, so none cancels another; the digest tells tables apart, it does not authenticate.
    """
    found = database.execute(
        "SELECT bit_xor(md5_number(concat_ws(chr(9), word, CAST(continuation AS TINYINT), count, documents))) "
        f"FROM ({rows})"
    ).fetchall()
    return f"{int(found[0][0] or 0):032x}"


def _fingerprint(counts: LanguageCounts) -> str:
    """Return the digest of one language's two tables: what `_digest_parts` returns for them in a database."""
    parts = []
    for name in SPLITS:
        total = 0
        for (word, continuation), (count, documents) in counts.split(name).rows():
            row = f"{word}\t{int(continuation)}\t{count}\t{documents}".encode()
            total ^= int.from_bytes(hashlib.md5(row, usedforsecurity=False).digest(), "little")
        parts.append(f"{total:032x}")
    return "".join(parts)


def add_tables(
    parts: Sequence[Path], target: Path, totals: tuple[Totals, Totals], min_count: int, memory: int
) -> dict[str, object]:
    """Add up the language folders `parts` into the new folder `target`; return its index entry.

    Each part holds `train`, `held_out` and `characters` parquet files. Train words seen fewer than
    `min_count` times in all are dropped and their occurrences added to `discarded`; the cut is made here,
    on the sum, because a cut made shard by shard would lose words spread over shards.
    """
    target.mkdir()
    spill = target / "spill"
    parts_digest = []
    characters: Counter[str] = Counter()
    with connect(memory=memory, spill=spill) as database:
        for part in parts:
            characters.update(_read_characters(database, part))
        _write_characters(database, characters, target / "characters.parquet")
        for split in SPLITS:
            files = ", ".join(_quote(part / f"{split}.parquet") for part in parts)
            cut = min_count if split == "train" else 1
            path = target / f"{split}.parquet"
            discarded = _add_split(database, files, path, cut, memory)
            if split == "train":
                totals = (replace(totals[0], discarded=totals[0].discarded + discarded), totals[1])
            parts_digest.append(_digest_parts(database, f"SELECT * FROM read_parquet({_quote(path)})"))
    shutil.rmtree(spill, ignore_errors=True)
    return index_entry(*totals, "".join(parts_digest))


def _add_split(database: duckdb.DuckDBPyConnection, files: str, path: Path, cut: int, memory: int) -> int:
    """Write the sum of sorted tables without rows of fewer than `cut`; return the occurrences left out."""
    discarded = 0
    try:
        ranges = _cut_ranges(database, files, memory)
        several, rows = len(ranges) > 1, _FEW_ROWS if len(ranges) > 1 else None
        pieces = [path.with_name(f"{path.stem}-{i}") if several else path for i in range(len(ranges))]
        for piece, (low, high) in zip(pieces, ranges, strict=True):
            among = [f"word >= {_quote(low)}"] if low else []
            among += [f"word < {_quote(high)}"] if high else []
            where = f"WHERE {' AND '.join(among)} " if among else ""
            summed = f"SELECT {_ORDER}, {_SUMS} FROM read_parquet([{files}]) {where}GROUP BY {_ORDER}"
            # Written from a table, as a run is: straight from the sum, pages end where its blocks do, and the
            # bytes would tell with how much memory was counted.
            database.execute(f"CREATE OR REPLACE TABLE sums AS {summed}")
            kept = f"SELECT {_WORDS} FROM sums WHERE count >= {cut} ORDER BY {_ORDER}"
            _copy(database, kept, piece, rows)
            lost = database.execute(f"SELECT sum(count) FROM sums WHERE count < {cut}").fetchall()
            discarded += int(lost[0][0] or 0)
            database.execute("DROP TABLE sums")
        if several:
            joined = ", ".join(map(_quote, pieces))
            _copy(database, f"SELECT * FROM read_parquet([{joined}])", path, rows)
            for piece in pieces:
                piece.unlink()
    except duckdb.Error as error:
        if is_full(error) or isinstance(error, duckdb.OutOfMemoryException):
            raise
        raise CountsError(f"{path}: {first_line(error)}", _AGAIN) from error
    return discarded


_FINER = 4
"""Ranges for each of those that memory would hold if summing, sorting and writing took no copies."""
_LONG = 250
"""Mean bytes of a word from which few rows are written at once: such a table is parts of long runs."""
_FEW_ROWS = 1 << 14
"""Rows held before they are written where words are long: 16 MB of runs of 1,000 characters, not 120."""


def _copy(database: duckdb.DuckDBPyConnection, query: str, path: Path, rows: int | None = None) -> None:
    groups = f", ROW_GROUP_SIZE {rows}" if rows else ""
    database.execute(f"COPY ({query}) TO {_quote(path)} (FORMAT parquet, COMPRESSION zstd{groups})")


def _cut_ranges(database: duckdb.DuckDBPyConnection, files: str, memory: int) -> list[tuple[str, str]]:
    """Return ranges of words, from one up to but not another, whose sums fit in memory one at a time.

    `""` is no bound. Grouping text of more than about the memory fails where it cannot be moved to the disk,
    as a gigabyte of runs of 1,000 characters. It is held as a group, as a row, sorted and in the file's pages.
    """
    found = database.execute(
        f"SELECT sum(total_uncompressed_size), (SELECT sum(num_rows) FROM parquet_file_metadata([{files}])) "
        f"FROM parquet_metadata([{files}])"
    ).fetchall()[0]
    parts = -(-4 * int(found[0] or 0) // _bound_database(memory))
    if parts <= 1:
        return [("", "")]
    parts *= _FINER
    # Parts are sorted: every so many rows of each one is a fair sample.
    step = max(1, int(found[1]) // (16 * parts))
    drawn = database.execute(
        f"SELECT word FROM read_parquet([{files}], file_row_number = true) "
        f"WHERE file_row_number % {step} = 0 ORDER BY word"
    ).fetchall()
    bounds = sorted({drawn[len(drawn) * part // parts][0] for part in range(1, parts)} - {""})
    return list(zip(["", *bounds], [*bounds, ""], strict=True))


# --- Tally -----------------------------------------------------------------------------------------
# Words that repeat are counted in compiled code (`word_rows`), in half the time, and put into SQL at
# the end of a run. Text without spaces, whose words hardly do, is buffered to a chunk, split, counted and added
# up in SQL; so is what is over before the compiled code would be loaded. The counts are the same.

_CHUNK = 16 << 20
"""Characters counted at once: long enough that the statements' fixed cost is nothing."""
_SLICE = 4 << 20
"""Characters whose code points are held at once, in 12 bytes each."""
_ROW = 64
"""Bytes a row of the running table costs besides its text."""
_ENTRY = 128
"""Bytes a word of the compiled table costs besides its text."""
_LITTLE = 4 << 20
"""Characters a process counts in SQL first: as long as compiled code takes to load (0.4 s; made anew, 4 s)."""
_MEAN = 16
"""Mean characters of a word above which SQL is as fast: text without spaces."""
_STEP = 1 << 16
"""Words put from the compiled table into the running one at once."""

_TABLES = """
CREATE TABLE running (held BOOLEAN, word VARCHAR, continuation BOOLEAN, count BIGINT, documents BIGINT);
CREATE TABLE chunk (held BOOLEAN, text VARCHAR);
"""
# Within a document first: the number of groups per word is then its document frequency.
_COUNT = """
INSERT INTO running
SELECT held, word, false, CAST(sum(n) AS BIGINT), count(*)
FROM (SELECT id, held, word, count(*) AS n
      FROM (SELECT rowid AS id, held, unnest(string_split({text}, ' ')) AS word FROM chunk)
      WHERE word <> '' GROUP BY id, held, word)
GROUP BY held, word
"""
_TOTALS = """
SELECT held, count(*), sum({lines}) + count(*), sum(length(text)), sum(strlen(text))
FROM chunk GROUP BY held
"""
_COMPACT = f"""
CREATE OR REPLACE TABLE running AS SELECT held, {_ORDER}, {_SUMS} FROM running GROUP BY held, {_ORDER}
"""


def _are_spaced(documents: Sequence[str]) -> bool:
    """Whether documents consist of words, by 256 of them."""
    some = documents[:: len(documents) // 256 + 1]
    spaces = sum(text.count(" ") for text in some) + len(some)
    return sum(map(len, some)) <= _MEAN * spaces


class Tally:
    """Counts of documents by split. Use as a context manager: it holds a database.

    `memory` bounds the database, in bytes; `spill` is where it may put what does not fit; after `little`
    characters in all tallies of the process, text with spaces is counted in compiled code.
    """

    _met: ClassVar[int] = 0

    def __init__(
        self, held_out: float, *, memory: int = 1 << 30, spill: Path | None = None, little: int = _LITTLE
    ) -> None:
        """Hold out this share of documents, chosen by a hash of their text."""
        self._share, self._little = held_out, little
        self._table: CountTable | None = None
        self._limit = memory // 4
        self._chunk = max(1, min(_CHUNK, memory // 64))
        self._stack = ExitStack()
        self._database = self._stack.enter_context(connect(memory=memory, spill=spill))
        self._database.execute(_TABLES)
        self._waiting: list[str] = []
        self._waiting_size = 0
        self._characters: Int64Array = np.zeros(0x110000, dtype=np.int64)
        self._totals = [Totals(), Totals()]
        self._rows = self._compacted = 0
        self._bytes = 0  # at least those of the words in the running table

    def __enter__(self) -> Tally:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)  # told of the error: the database says what it means

    @property
    def totals(self) -> tuple[Totals, Totals]:
        """Totals of train and held-out, of everything added."""
        self._count_waiting()
        return self._totals[0], self._totals[1]

    def add(self, documents: Sequence[str]) -> None:
        """Take a batch of documents, and count it; without spaces, when a chunk is full."""
        size = sum(map(len, documents))
        Tally._met += size
        if Tally._met > self._little and _are_spaced(documents):
            self._count_compiled(documents)
            return
        self._waiting += documents
        self._waiting_size += size
        if self._waiting_size >= self._chunk:
            self._count_waiting()

    @property
    def is_full(self) -> bool:
        """Whether the tables have reached their share of memory and should be written as a run."""
        if self._table is not None and self._table.is_large(self._limit, _ENTRY):
            return True
        # Rows alone would miss long ones: the parts of a line of 1 GB without a space are few and large.
        if self._rows * _ROW <= self._limit // 4 and self._bytes <= self._limit // 2:
            return False
        if self._rows > 2 * self._compacted:
            self._database.execute(_COMPACT)
        found = self._database.execute("SELECT count(*), coalesce(sum(strlen(word)), 0) FROM running")
        rows, size = found.fetchall()[0]
        self._rows, self._compacted, self._bytes = int(rows), int(rows), int(size)
        return self._rows * _ROW + int(size) > self._limit

    def write_run(self, folder: Path) -> str:
        """Write everything since the last run as three parquet files, and return their digest."""
        self._finish()
        folder.mkdir()
        parts = []
        for held, split in enumerate(SPLITS):
            own = f"FROM running WHERE held = {bool(held)}"
            found = self._database.execute(f"SELECT avg(strlen(word)) {own}").fetchall()
            rows = _FEW_ROWS if (found[0][0] or 0) > _LONG else None
            _copy(self._database, f"SELECT {_WORDS} {own} ORDER BY {_ORDER}", folder / f"{split}.parquet", rows)
            parts.append(_digest_parts(self._database, f"SELECT * {own}"))
        _write_characters(self._database, self._take_characters(), folder / "characters.parquet")
        self._database.execute("DELETE FROM running")
        self._rows = self._compacted = self._bytes = 0
        return "".join(parts)

    def counts(self, language: str) -> LanguageCounts:
        """Return everything counted since the last run, in memory."""
        self._finish()
        tables = []
        for held in (False, True):
            found = self._database.execute(
                f"SELECT {_WORDS} FROM running WHERE held = {held} ORDER BY {_ORDER}"
            )
            columns = found.fetchnumpy().items()
            tables.append(_make_table({name: np.ma.getdata(column) for name, column in columns}))
        return LanguageCounts(language, tables[0], tables[1], self._take_characters(), *self.totals)

    def _count_waiting(self) -> None:
        if not self._waiting:
            return
        joined = "".join(self._waiting)
        present = self._count_characters(joined)
        del joined
        longest = max(map(len, self._waiting))
        self._database.register("texts", {"text": np.array(self._waiting, dtype=object)})
        threshold = int(self._share * 2**64)
        held = f"md5_number_lower(text) < {threshold}" if threshold else "false"
        self._database.execute(f"INSERT INTO chunk SELECT {held}, text FROM texts")
        self._database.unregister("texts")
        self._waiting, self._waiting_size = [], 0
        # Only a space is split at; the other delimiters become one where the chunk has any.
        others = "".join(d for d in DELIMITERS if d != " " and present[ord(d)])
        text = f"translate(text, {_quote(others)}, {_quote(' ' * len(others))})" if others else "text"
        lines = "length(text) - length(replace(text, chr(10), ''))" if present[10] else "0"
        before = self._word_totals()
        self._database.execute(_COUNT.format(text=text))
        after = self._word_totals()
        for found in self._database.execute(_TOTALS.format(lines=lines)).fetchall():
            split = int(found[0])
            documents, line_count, characters, size = map(int, found[1:])
            words = after[split] - before[split]
            self._totals[split] += Totals(documents, line_count, words, characters, size)
            self._bytes += size
        self._database.execute("DELETE FROM chunk")
        if longest > RUN_LIMIT:
            self._cut_runs()

    def _count_characters(self, text: str) -> Int64Array:
        """Count a text's characters; return their counts by code point."""
        present = np.zeros(0x110000, dtype=np.int64)
        for start in range(0, len(text), _SLICE):
            code = np.frombuffer(text[start : start + _SLICE].encode("utf-32-le"), dtype="<u4")
            present += np.bincount(code, minlength=0x110000)
        self._characters += present
        return present

    def _word_totals(self) -> list[int]:
        found = self._database.execute(
            "SELECT coalesce(sum(count) FILTER (NOT held), 0), coalesce(sum(count) FILTER (held), 0), "
            "count(*) FROM running"
        ).fetchall()[0]
        self._rows = int(found[2])
        return [int(found[0]), int(found[1])]

    def _count_compiled(self, documents: Sequence[str]) -> None:
        from vocabkit.corpus.word_rows import CountTable, choose_held_out, join_texts, measure_texts

        self._table = self._table or CountTable(RUN_LIMIT)
        texts = join_texts(documents)
        held_out = choose_held_out(texts, self._share)
        words, runs = self._table.add(texts, held_out, self._characters)
        measured = measure_texts(texts, held_out).tolist()
        for split, (count, lines, characters, size) in enumerate(measured):
            self._totals[split] += Totals(count, lines, int(words[split]), characters, size)
        if runs:
            self._count_characters("".join(run.text for run in runs))
            found = Counter((run.held_out, run.text, run.document) for run in runs)
            self._insert_parts([(held, text, count, 1) for (held, text, _), count in found.items()])

    def _empty_table(self) -> None:
        """Put the words of the compiled table into the running one."""
        if self._table is None:
            return
        self._table.add_characters(self._characters)
        for words, numbers in self._table.list_entries(_STEP):
            listed = np.array(words, dtype=object)
            for held in (False, True):
                count, documents = numbers[:, 2 * held], numbers[:, 2 * held + 1]
                met = np.flatnonzero(count)
                columns = {"word": listed[met], "count": count[met], "documents": documents[met]}
                self._database.register("entries", columns)
                insert = f"INSERT INTO running SELECT {held}, word, false, count, documents FROM entries"
                self._database.execute(insert)
                self._database.unregister("entries")
                self._rows += len(met)
        self._table.clear()

    def _finish(self) -> None:
        """Count what waits, and add up."""
        self._count_waiting()
        before = self._rows
        self._empty_table()
        if before:  # else no word is there twice
            self._database.execute(_COMPACT)

    def _cut_runs(self) -> None:
        """Cut the long runs of the chunk counted last, so that no more than a chunk of them is held."""
        # Bytes are known without looking at the text.
        long = f"FROM running WHERE strlen(word) > {RUN_LIMIT} AND length(word) > {RUN_LIMIT}"
        found = self._database.execute(f"SELECT held, word, count, documents {long}").fetchall()
        if found:
            self._database.execute(f"DELETE {long}")
            self._insert_parts(found)

    def _insert_parts(self, found: Sequence[tuple[bool, str, int, int]]) -> None:
        """Cut long runs, each with its occurrences and documents, into rows of the running table."""
        words: list[str] = []
        rows: list[tuple[bool, bool, int, int]] = []
        for held, word, count, documents in found:
            split = int(held)
            cut = self._totals[split].cut_runs + count
            self._totals[split] = replace(self._totals[split], cut_runs=cut)
            parts = cut_run(word, RUN_LIMIT)
            words += parts
            rows += ((held, index > 0, count, documents) for index in range(len(parts)))
        held_out, continuation, counts, frequency = map(np.array, zip(*rows, strict=True))
        columns = {
            "held": held_out, "word": np.array(words, dtype=object), "continuation": continuation,
            "count": counts, "documents": frequency,
        }  # fmt: skip
        self._database.register("parts", columns)
        self._database.execute("INSERT INTO running SELECT * FROM parts")
        self._database.unregister("parts")
        self._rows += len(words)

    def _take_characters(self) -> dict[str, int]:
        """Return, and forget, the characters counted, by code point: all but the space itself."""
        total, self._characters = self._characters, np.zeros(0x110000, dtype=np.int64)
        total[ord(" ")] = 0
        return {chr(code): int(total[code]) for code in np.flatnonzero(total)}
