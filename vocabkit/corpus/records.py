"""The texts of JSON lines and parquet files: one record, one document.

A record without the field, or with something other than text in it, is an error: a wrong `field` would
otherwise count nothing and say nothing. A null is a record without text, and is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from glob import escape
from typing import Any

import duckdb

from vocabkit.core.errors import CorpusError
from vocabkit.corpus.files import Source
from vocabkit.corpus.lines import cut_text, read_chunks
from vocabkit.corpus.streams import find_file_system

JSON_LINE_BYTES = 64 << 20
_ROWS = 2048
_FETCH_BYTES = 4 << 20


def read_json_lines(
    source: Source, field: str, repairs: Counter[str], on_bytes: Callable[[int], None]
) -> Iterator[tuple[list[str], int]]:
    """Yield (documents, bytes) of a JSON lines source. Raises `CorpusError` naming file and line."""
    decode = json.JSONDecoder().decode
    for chunk in read_chunks(source, repairs, on_bytes, longest=JSON_LINE_BYTES):
        documents: list[str] = []
        for number, line in enumerate(chunk.text.split("\n"), chunk.line):
            if not line or line.isspace():
                repairs["empty_line"] += 1
                continue
            try:
                record = decode(line)
            except (ValueError, RecursionError) as error:
                raise CorpusError(
                    f"{source.path}:{number}: not valid JSON: {error}", "one JSON object a line"
                ) from error
            documents += _take_text(record, field, f"{source.path}:{number}", repairs)
        yield documents, chunk.size


def read_parquet(
    source: Source, field: str, repairs: Counter[str], on_bytes: Callable[[int], None]
) -> Iterator[tuple[list[str], int]]:
    """Yield (documents, bytes) of a parquet source's text column. Raises `CorpusError`.

    DuckDB reads it row group by row group; progress is the share of rows times the file's size.
    """
    row = 0
    reported = 0
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            total = _open_table(connection, source, field)
            quoted = '"' + field.replace('"', '""') + '"'
            connection.execute(
                f"SELECT {quoted} FROM read_parquet(?, hive_partitioning = false)",
                [_pattern(source)],
            )
            wanted = 16
            while rows := connection.fetchmany(wanted):
                documents: list[str] = []
                size = 0
                for (text,) in rows:
                    row += 1
                    documents += _clean_text(text, repairs)
                    size += len(text or "")
                yield documents, size
                # Rows may be words or books: what was just read says how many to hold at once.
                wanted = max(1, min(_ROWS, _FETCH_BYTES * len(rows) // max(size, 1)))
                share = source.size * row // max(total, row)
                on_bytes(share - reported)
                reported = share
    except duckdb.Error as error:
        reason = str(error).split("\n")[0]
        raise CorpusError(
            f"{source.path}: after row {row}: not readable as parquet: {reason}",
            "fetch the file again, or remove it from the corpus",
        ) from error


def _open_table(connection: duckdb.DuckDBPyConnection, source: Source, field: str) -> int:
    """Check that the file has the text column, and return its number of rows."""
    if "://" in source.path:
        connection.register_filesystem(find_file_system(source.path)[0])
    described = connection.execute(
        "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)", [_pattern(source)]
    ).fetchall()
    columns = {name: kind for name, kind, *_ in described}
    if field not in columns:
        raise CorpusError(
            f"{source.path}: no column {field!r}; it has {', '.join(columns)}",
            "name the text column with --field",
        )
    if columns[field] != "VARCHAR":
        raise CorpusError(
            f"{source.path}: column {field!r} is {columns[field]}, not text (VARCHAR)"
        )
    found = connection.execute(
        "SELECT num_rows FROM parquet_file_metadata(?)", [_pattern(source)]
    ).fetchone()
    return int(found[0]) if found else 0


def _pattern(source: Source) -> str:
    """Return the path as DuckDB must be given it: it reads wildcards in names as wildcards."""
    return source.path if "://" in source.path else escape(source.path)


def _take_text(record: Any, field: str, place: str, repairs: Counter[str]) -> list[str]:
    if not isinstance(record, dict):
        raise CorpusError(
            f"{place}: {type(record).__name__}, not a JSON object", "one object a line"
        )
    if field not in record:
        raise CorpusError(
            f"{place}: no field {field!r}; the record has {', '.join(map(str, record)) or 'none'}",
            "name the text field with --field",
        )
    text = record[field]
    if text is not None and not isinstance(text, str):
        raise CorpusError(f"{place}: field {field!r} is {type(text).__name__}, not text")
    return _clean_text(text, repairs)


def _clean_text(text: str | None, repairs: Counter[str]) -> list[str]:
    """Return the documents of one record's text: none, one, or the pieces of a very long one."""
    if text is None:
        repairs["null_field"] += 1
        return []
    if "\0" in text:
        repairs["nul"] += text.count("\0")
        text = text.replace("\0", "")
    try:
        pieces = cut_text(text) if text.isascii() or text.encode() else []
    except UnicodeEncodeError:
        # JSON may escape half of a surrogate pair; no UTF-8 text can hold one.
        clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        repairs["surrogate"] += clean.count("\ufffd") - text.count("\ufffd")
        pieces = cut_text(clean)
    if len(pieces) > 1:
        repairs["long_document"] += 1
    kept = [piece for piece in pieces if piece.strip()]
    if not kept:
        repairs["empty_record"] += 1
    return kept
