"""A counts folder on disk: `languages.json`, and per language three parquet files.

Tables are read one language at a time and not kept, so that memory holds one language whatever the corpus.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import CountsError
from vocabkit.corpus.tables import connect, read_columns, write_columns
from vocabkit.corpus.word_counts import SPLITS, LanguageCounts, Totals, WordCounts, WordTable

INDEX = "languages.json"
TABLE = {"word": "VARCHAR", "continuation": "BOOLEAN", "count": "BIGINT", "documents": "BIGINT"}


class _Folder(Mapping[str, LanguageCounts]):
    """The languages of a counts folder, loaded one at a time and not kept."""

    def __init__(self, root: Path, codes: tuple[str, ...]) -> None:
        self.root = root
        self.codes = codes

    def __getitem__(self, code: str) -> LanguageCounts:
        if code not in self.codes:
            raise KeyError(code)
        return load_language(self.root, code)

    def __contains__(self, code: object) -> bool:
        # Mapping's own would load the language to see whether it is there.
        return code in self.codes

    def __iter__(self) -> Iterator[str]:
        return iter(self.codes)

    def __len__(self) -> int:
        return len(self.codes)


def open_folder(root: Path) -> WordCounts:
    """Open a counts folder without reading a table. Raises `CountsError`."""
    index = root / INDEX
    if not index.is_file():
        raise CountsError(
            f"{root}: no counts here (no {INDEX})", f"vocabkit count CORPUS -o {root}"
        )
    return WordCounts(_Folder(root, tuple(sorted(_read_index(root)))), root)


def read_totals(root: Path, code: str) -> tuple[Totals, Totals]:
    """Return one language's totals, train and held out, from the index."""
    entry = _read_index(root)[code]
    return Totals(**entry["train"]), Totals(**entry["held_out"])


def fingerprint_all(counts: WordCounts) -> str:
    """Return the digest of all languages' tables, the same in memory and in a folder."""
    if counts.folder is not None:
        index = _read_index(counts.folder)
        parts = [[code, index[code]["fingerprint"]] for code in sorted(index)]
    else:
        parts = [[c, fingerprint_counts(counts.languages[c])] for c in sorted(counts.languages)]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()


def save_all(counts: WordCounts, folder: Path) -> None:
    """Write every language's tables and the index into an existing, empty folder."""
    write_index(folder, {code: save_language(c, folder) for code, c in counts.languages.items()})


def _read_index(root: Path) -> dict[str, Any]:
    path = root / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CountsError(f"{path}: damaged: {error}", "count the corpus again") from error
    return index


def save_language(counts: LanguageCounts, folder: Path) -> dict[str, object]:
    """Write one language's three parquet files under `folder/<code>/`; return its entry of the index."""
    target = folder / counts.language
    target.mkdir()
    with connect() as database:
        for name in SPLITS:
            write_columns(database, table_columns(counts.split(name)), target / f"{name}.parquet")
        write_characters(database, counts.characters, target / "characters.parquet")
    return index_entry(counts.totals, counts.held_out_totals, fingerprint_counts(counts))


def write_characters(
    database: duckdb.DuckDBPyConnection, characters: Mapping[str, int], path: Path
) -> None:
    """Write a character table, sorted by code point."""
    order = sorted(characters)
    columns = {
        "character": np.array(order, dtype=object),
        "count": np.array([characters[c] for c in order], dtype=np.int64),
    }
    write_columns(database, columns, path)


def index_entry(totals: Totals, held_out: Totals, digest: str) -> dict[str, object]:
    """Return the entry of `languages.json` for a finished language folder."""
    return {"train": asdict(totals), "held_out": asdict(held_out), "fingerprint": digest}


def write_index(folder: Path, entries: Mapping[str, Mapping[str, object]]) -> None:
    """Write the index: per language the totals of both splits and a fingerprint of its tables."""
    text = json.dumps({code: entries[code] for code in sorted(entries)}, indent=1)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def load_language(root: Path, code: str) -> LanguageCounts:
    """Read one language's tables. Raises `CountsError` on a missing or damaged file."""
    totals, held_out = read_totals(root, code)
    with connect() as database:
        tables = {}
        for name in SPLITS:
            columns = read_columns(database, root / code / f"{name}.parquet", TABLE)
            tables[name] = WordTable(
                columns["word"].tolist(),
                columns["continuation"].astype(np.bool_),
                columns["count"].astype(np.int64),
                columns["documents"].astype(np.int64),
            )
        path = root / code / "characters.parquet"
        table = read_columns(database, path, {"character": "VARCHAR", "count": "BIGINT"})
    characters = dict(zip(table["character"].tolist(), table["count"].tolist(), strict=True))
    return LanguageCounts(code, tables["train"], tables["held_out"], characters, totals, held_out)


def digest_parts(database: duckdb.DuckDBPyConnection, rows: str) -> str:
    """Return the digest of the word table that a query gives, in any order: XOR of MD5 over its rows.

    Rows are distinct, so none cancels another; the digest tells tables apart, it does not authenticate.
    """
    found = database.execute(
        "SELECT bit_xor(md5_number(concat_ws(chr(9), word, CAST(continuation AS TINYINT), count, documents))) "
        f"FROM ({rows})"
    ).fetchall()
    return f"{int(found[0][0] or 0):032x}"


def digest_table(table: WordTable) -> str:
    """Return what `digest_parts` returns for the same table in a database."""
    total = 0
    for (word, continuation), (count, documents) in table.rows():
        row = f"{word}\t{int(continuation)}\t{count}\t{documents}".encode()
        total ^= int.from_bytes(hashlib.md5(row, usedforsecurity=False).digest(), "little")
    return f"{total:032x}"


def table_columns(table: WordTable) -> dict[str, npt.NDArray[np.generic]]:
    """Return a table as named columns, ready to be written or digested."""
    return {
        "word": np.array(table.words, dtype=object),
        "continuation": table.continuation,
        "count": table.count,
        "documents": table.documents,
    }


def fingerprint_counts(counts: LanguageCounts) -> str:
    """Return the digest of one language's two tables, the same as its folder's."""
    return "".join(digest_table(counts.split(name)) for name in SPLITS)
