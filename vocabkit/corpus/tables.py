"""Parquet tables through DuckDB: columns in, columns out, one bounded connection.

The only module that knows how NumPy columns become parquet and back. Text columns are object arrays of str.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import CountsError

Columns = Mapping[str, npt.NDArray[Any]]


def quote(text: str | Path) -> str:
    """Return a SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


@contextlib.contextmanager
def connect(
    *, memory: int | None = None, threads: int = 1, spill: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory database bounded to `memory` bytes that spills to `spill`."""
    settings: dict[str, Any] = {"threads": threads}
    if memory is not None:
        settings["memory_limit"] = f"{max(memory >> 20, 64)}MB"
    if spill is not None:
        settings["temp_directory"] = str(spill)
    connection = duckdb.connect(":memory:", config=settings)
    # DuckDB draws its own bar on stdout after two seconds. In a notebook without ipywidgets it cannot, and
    # refuses the setting.
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")
    try:
        yield connection
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
        with full_disk():
            database.execute(
                f"COPY (SELECT {casts} FROM columns_in) TO {quote(path)} (FORMAT parquet, COMPRESSION zstd)"
            )
    finally:
        database.unregister("columns_in")


def is_full_disk(error: duckdb.Error) -> bool:
    """Whether DuckDB failed because the disk is full."""
    return "No space left" in str(error)


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Turn DuckDB's error about a full disk into the OSError it wraps."""
    try:
        yield
    except duckdb.Error as error:
        if is_full_disk(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def read_columns(
    database: duckdb.DuckDBPyConnection, path: Path, types: Mapping[str, str]
) -> dict[str, npt.NDArray[Any]]:
    """Read named columns of a parquet file in file order. Raises `CountsError` naming the file."""
    names = ", ".join(f'"{name}"' for name in types)
    try:
        found = database.execute(f"SELECT {names} FROM read_parquet({quote(path)})").fetchnumpy()
    except duckdb.Error as error:
        reason = str(error).split("\n", 1)[0]
        raise CountsError(f"{path}: cannot be read: {reason}", "count the corpus again") from error
    return {name: np.ma.getdata(found[name]) for name in types}
