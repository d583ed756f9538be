"""The documents of one source, in batches: decoding, line ends, and the repairs that are counted, not hidden.

A line ends at LF, CR LF or CR and nowhere else: U+0085, U+2028, vertical tab and form feed are ordinary white
space. White space alone is no document. Text is otherwise left as it is: no normalisation, no stripping.
A document of more than `PIECE_BYTES` comes in pieces, each a document, so memory does not grow with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Literal

from vocabkit.core.errors import CorpusError
from vocabkit.corpus.files import Source
from vocabkit.corpus.lines import PIECE_BYTES, Chunk, cut_text, read_chunks
from vocabkit.corpus.records import read_json_lines, read_parquet

BATCH_BYTES = 4 << 20

REPAIRS: Mapping[str, str] = {
    "bom": "files whose UTF-8 byte order mark was removed",
    "crlf": "CR LF line ends read as one line end",
    "cr": "lone CR line ends read as line ends",
    "nul": "NUL characters removed",
    "surrogate": "lone surrogates in JSON strings, replaced by U+FFFD",
    "empty_line": "lines of nothing but white space, left out",
    "empty_record": "records whose text is nothing but white space, left out",
    "null_field": "records whose text is null, left out",
    "long_line": "lines over 16 MiB, read in pieces",
    "long_document": "paragraphs, files or records over 16 MiB, read in pieces",
    "empty_file": "files with no document in them",
}


class Repairs(Counter[str]):
    """How often each repair of `REPAIRS` was made. Tallies of several sources add up."""


def read_documents(
    source: Source,
    document: Literal["line", "blank-line", "file"],
    field: str,
    repairs: Repairs,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[list[str]]:
    """Yield a source's documents in batches of about `BATCH_BYTES` of text, none of them empty.

    `document` says what a document is in a text file; in jsonl and parquet it is one record's `field`.
    `on_bytes` is told of stored bytes as they are consumed, `source.size` in all. Repairs are added to
    `repairs` as they are made. Raises `CorpusError`, naming the file and the line or row, for text that is
    not UTF-8, damaged or truncated compression, and records without a text in `field`.
    """
    consumed = 0

    def count_bytes(amount: int) -> None:
        nonlocal consumed
        step = min(amount, source.size - consumed)
        consumed += step
        if on_bytes is not None and step:
            on_bytes(step)

    if source.kind == "parquet":
        documents = read_parquet(source, field, repairs, count_bytes)
    elif source.kind == "jsonl":
        documents = read_json_lines(source, field, repairs, count_bytes)
    else:
        chunks = read_chunks(source, repairs, count_bytes)
        documents = _split_lines(chunks, repairs)
        if document == "blank-line":
            documents = _join_lines(chunks, repairs, at_blank_lines=True)
        elif document == "file":
            documents = _join_lines(chunks, repairs, at_blank_lines=False)
        elif document != "line":
            raise CorpusError(f"document = {document!r} is none of line, blank-line, file")
    found = False
    for batch in _gather(documents):
        found = True
        yield batch
    if not found:
        repairs["empty_file"] += 1
    # What a file system or a parquet file holds beyond the text, so that progress ends at the size.
    count_bytes(source.size)


def _gather(parts: Iterator[tuple[list[str], int]]) -> Iterator[list[str]]:
    """Join (documents, bytes) parts into batches of about `BATCH_BYTES`."""
    batch: list[str] = []
    size = 0
    for documents, part_size in parts:
        batch += documents
        size += part_size
        if size >= BATCH_BYTES and batch:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _split_lines(chunks: Iterator[Chunk], repairs: Repairs) -> Iterator[tuple[list[str], int]]:
    empty = 0
    for chunk in chunks:
        lines = chunk.text.split("\n")
        documents = list(filter(str.strip, lines))
        empty += len(lines) - len(documents)
        yield documents, chunk.size
    if empty:
        repairs["empty_line"] += empty


def _join_lines(
    chunks: Iterator[Chunk], repairs: Repairs, *, at_blank_lines: bool
) -> Iterator[tuple[list[str], int]]:
    """Yield paragraphs, or with `at_blank_lines` off the whole text, cut above `PIECE_BYTES`."""
    held: list[str] = []  # the lines of the open document
    size = 0  # at least its bytes
    was_cut = False
    glue = False  # the last line held goes on in the next chunk
    documents: list[str] = []

    def flush(*, keep_rest: bool) -> None:
        """Move what is held to the documents, in pieces; with `keep_rest`, all but the last piece."""
        nonlocal held, was_cut
        pieces = cut_text("\n".join(held))
        if len(pieces) > 1 and not was_cut:
            repairs["long_document"] += 1
        was_cut = keep_rest and (was_cut or len(pieces) > 1)
        held = [pieces.pop()] if keep_rest else []
        documents.extend(filter(str.strip, pieces))

    for chunk in chunks:
        lines = chunk.text.split("\n")
        if glue and held:
            lines[0] = held.pop() + lines[0]
        size += chunk.size
        for blank, group in groupby(lines, key=lambda line: not line.strip()):
            if not blank or not at_blank_lines:
                held.extend(group)
            elif held:
                flush(keep_rest=False)
                size = chunk.size
        glue = not chunk.complete
        if size > PIECE_BYTES and held:
            flush(keep_rest=True)
            size = len(held[0].encode())
        yield documents, chunk.size
        documents = []
    flush(keep_rest=False)
    yield documents, 0
