"""`vocabulary.parquet`: one row a piece, for people and DuckDB. Only blocks are read back from it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import CountsError, TokenizerError
from vocabkit.core.scripts import COMMON, INHERITED, piece_script, script_of
from vocabkit.corpus.tables import connect, read_columns, write_columns
from vocabkit.vocabulary.vocabulary import Block, Kind, Vocabulary

COLUMNS = ("piece", "id", "score", "kind", "block", "script")


def write_table(
    vocabulary: Vocabulary, path: Path, usage: Mapping[str, npt.NDArray[np.int64]]
) -> None:
    """Write the table, with a column int64[size] for each language in `usage`. Raises TokenizerError."""
    for language, column in usage.items():
        if language in COLUMNS or len(column) != vocabulary.size:
            wanted = f"{vocabulary.size} values under a name other than {', '.join(COLUMNS)}"
            raise TokenizerError(
                f"usage column {language!r} has {len(column)} values: expected {wanted}"
            )
    blocks = [block.name for block in vocabulary.blocks for _ in range(block.start, block.stop)]
    columns: dict[str, npt.NDArray[np.generic] | npt.NDArray[np.object_]] = {
        "piece": np.array(vocabulary.pieces, dtype=object),
        "id": np.arange(vocabulary.size, dtype=np.int32),
        "score": vocabulary.scores,
        "kind": np.array([kind.value for kind in vocabulary.kinds], dtype=object),
        "block": np.array(blocks, dtype=object),
        "script": np.array(_scripts(vocabulary), dtype=object),
        **{name: np.asarray(column, dtype=np.int64) for name, column in usage.items()},
    }
    with connect() as database:
        write_columns(database, columns, path)


def _scripts(vocabulary: Vocabulary) -> list[str | None]:
    """The script of each piece; None for those that stand for no text."""
    text = (Kind.NORMAL, Kind.USER)
    scripts = {char: script_of(char) for char in set("".join(vocabulary.pieces))}
    shared = {COMMON, INHERITED}
    found: list[str | None] = []
    for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True):
        if kind not in text:
            found.append(None)
            continue
        own = {scripts[char] for char in piece} - shared
        # Most pieces are of one script; the rare rest is counted character by character.
        found.append(own.pop() if len(own) == 1 else piece_script(piece))
    return found


def read_blocks(path: Path, vocabulary: Vocabulary) -> tuple[Block, ...]:
    """Read the block table. Raises TokenizerError for a damaged file or that of another vocabulary."""
    try:
        with connect() as database:
            found = read_columns(database, path, {"piece": "VARCHAR", "block": "VARCHAR"})
    except CountsError as error:
        raise TokenizerError(error.message, hint="fit the vocabulary again") from error
    if tuple(found["piece"]) != vocabulary.pieces:
        raise TokenizerError(
            f"{path}: its pieces are not those of tokenizer.model beside it",
            hint="fit the vocabulary again, or remove vocabulary.parquet to load it as one block",
        )
    blocks: list[Block] = []
    start = 0
    for name, rows in groupby(found["block"]):
        stop = start + sum(1 for _ in rows)
        blocks.append(Block(str(name), start, stop))
        start = stop
    return tuple(blocks)
