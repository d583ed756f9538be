"""The documents of one source, in batches: decoding, line ends, and the repairs that are counted, not hidden.

A line ends at LF, CR LF or CR and nowhere else: U+0085, U+2028, vertical tab and form feed are ordinary white
space. White space alone is no document. Text is otherwise left as it is: no normalisation, no stripping.
A document of more than `PIECE_BYTES` comes in pieces, each a document, so memory does not grow with it.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from glob import escape
from itertools import groupby
from typing import Any, BinaryIO, NamedTuple, cast

import duckdb

from vocabkit.core.errors import CorpusError
from vocabkit.corpus.sources import Document, Source, find_file_system, open_binary
from vocabkit.corpus.word_counts import DELIMITERS

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

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
    "long_line": "lines over 4 MiB, read in pieces",
    "long_document": "paragraphs, files or records over 4 MiB, read in pieces",
    "empty_file": "files with no document in them",
}


class Repairs(Counter[str]):
    """How often each repair of `REPAIRS` was made. Tallies of several sources add up."""


def read_documents(
    source: Source,
    document: Document,
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
        documents = _read_parquet(source, field, repairs, count_bytes)
    elif source.kind == "jsonl":
        documents = _read_json_lines(source, field, repairs, count_bytes)
    else:
        chunks = read_chunks(source, repairs, count_bytes)
        if document == "line":
            documents = _split_lines(chunks, repairs)
        elif document in ("blank-line", "file"):
            documents = _join_lines(chunks, repairs, at_blank_lines=document == "blank-line")
        else:
            raise CorpusError(f"document = {document!r} is none of line, blank-line, file", "--document line")
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
        pieces = _cut_text("\n".join(held))
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


# --- Streams ---------------------------------------------------------------------------------------
# The bytes of a source, decompressed block by block. Any number of gzip members (zeros between and after them
# are legal: tapes pad with them) or zstd frames make one stream, and memory stays bounded whatever the ratio.

# Decoding and splitting cost least when a block and its text stay in the second-level cache:
# 1.8 CPU-s for 569 MB at 256 KiB, 2.5 at 4 MiB.
BLOCK_BYTES = 1 << 18


class _DamagedStream(Exception):
    """Compressed data is truncated or corrupt. The reader adds the file and line."""


class _CountedFile:
    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self.size, self._file, self._on_bytes = 0, file, on_bytes

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; empty at the end."""
        data = self._file.read(size)
        self.size += len(data)
        self._on_bytes(len(data))
        return data


def _read_blocks(source: Source, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the decompressed bytes of a source in blocks of at most `BLOCK_BYTES`, none of them empty.

    `on_bytes` is told of every compressed byte read. Raises `CorpusError` when the file cannot be opened,
    `MissingExtra` when its URL needs a package that is not installed, `_DamagedStream` for bad data.
    """
    name = source.compression
    try:
        with open_binary(source.path) as opened:
            counted = _CountedFile(opened, on_bytes)
            if name == "none":
                while block := counted.read(BLOCK_BYTES):
                    yield block
                return
            file = cast(BinaryIO, counted)
            # `read1`: `read` would lose the text in front of damage.
            with gzip.open(file) if name == "gzip" else zstd.open(file) as stream:
                while block := stream.read1(BLOCK_BYTES):
                    yield block
    except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        # Of a gzip member's two first bytes, one: cut in them.
        if not isinstance(error, EOFError) and not str(error).endswith(r"(b'\x1f')"):
            raise _DamagedStream(f"damaged {name} data ({error})") from error
        if counted.size:  # to zstd an empty file is no stream, to us one without text
            raise _DamagedStream(f"truncated {name} data") from error
    except OSError as error:
        raise CorpusError(
            f"{source.path}: cannot be read: {error.strerror or error}",
            "see who may read it: ls -l FILE",
        ) from error


# --- Lines -----------------------------------------------------------------------------------------
# A text file as chunks of whole lines: UTF-8 checked, line ends made LF, byte order mark and NUL removed. Work
# is per chunk of about a quarter of a mebibyte, never per line, so that it costs little more than decoding.

PIECE_BYTES = 4 << 20
_BOM = b"\xef\xbb\xbf"
_SIGNATURES = {
    b"\xff\xfe": "looks like UTF-16: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "looks like UTF-16: iconv -f UTF-16 -t UTF-8",
    b"\x1f\x8b": "looks like gzip: name the file .txt.gz or .jsonl.gz",
    b"\x28\xb5\x2f\xfd": "looks like zstd: name the file .txt.zst or .jsonl.zst",
    b"PAR1": "looks like parquet: name the file .parquet",
}


class Chunk(NamedTuple):
    """Lines joined by LF, without the last line end. `line` is the number of the first, from 1.

    `complete` is False when the last line goes on in the next chunk; `size` is in bytes, as decompressed.
    """

    text: str
    line: int
    size: int
    complete: bool


def read_chunks(
    source: Source, repairs: Counter[str], on_bytes: Callable[[int], None], *, longest: int | None = None
) -> Iterator[Chunk]:
    """Yield a text or jsonl source as chunks of lines.

    With `longest`, in bytes, a longer line is an error; otherwise lines above `PIECE_BYTES` are cut and
    counted. Raises `CorpusError` naming file, line and byte offset (of the decompressed text).
    """
    limit = longest or PIECE_BYTES
    line, offset = 1, 0
    held: list[bytes] = []
    held_size = 0
    cutting = False

    def make(data: bytes, *, complete: bool) -> Chunk:
        nonlocal line, offset
        # Dropping the last line end from the bytes saves a copy of the text, up to four times as large.
        ended = data.endswith(b"\n") and not data.endswith(b"\r\n")
        text = _decode(data[:-1] if ended else data, source.path, line, offset, repairs)
        if not ended and text.endswith("\n"):
            text, ended = text[:-1], True
        first = line
        line += text.count("\n") + ended
        offset += len(data)
        return Chunk(text, first, len(data), complete)

    try:
        for block in _read_blocks(source, on_bytes):
            end = block.rfind(b"\n") + 1
            # A CR that ends the block may be half of a CR LF.
            end = end or block.rfind(b"\r", 0, len(block) - 1) + 1
            after = len(block) - end
            held.append(block)
            held_size += len(block)
            if not end and held_size <= limit:
                continue
            data = b"".join(held)
            while len(data) > limit:
                first, following = _measure_line(data)
                if following == len(data) and first <= limit:
                    break
                if first <= limit:
                    # Behind a CR that ended a block, whole lines may still lie in front of the long one.
                    yield make(data[:following], complete=True)
                    data, cutting = data[following:], False
                    continue
                if longest is not None:
                    raise CorpusError(
                        f"{source.path}:{line}: line of more than {longest >> 20} MiB",
                        "one JSON record a line; split the record",
                    )
                cut = _find_cut(data, source.path, line, offset)
                repairs["long_line"] += not cutting
                cutting = True
                yield make(data[:cut], complete=False)
                data = data[cut:]
            if len(data) > after and end:
                yield make(data[: len(data) - after], complete=True)
                data, cutting = data[len(data) - after :], False
            held, held_size = [data], len(data)
    except _DamagedStream as error:
        raise CorpusError(
            f"{source.path}:{line}: {error} after {offset + held_size} bytes of text",
            "fetch the file again, or remove it from the corpus",
        ) from error
    if held_size:
        yield make(b"".join(held), complete=True)


def _cut_text(text: str) -> list[str]:
    """Cut a text into pieces of at most `PIECE_BYTES` of UTF-8 that join to it again."""
    if len(text) * 4 <= PIECE_BYTES:
        return [text]
    data = text.encode()
    pieces = []
    while len(data) > PIECE_BYTES:
        end = _find_cut(data, "", 0, 0)
        pieces.append(data[:end].decode())
        data = data[end:]
    return [*pieces, data.decode()]


def _measure_line(data: bytes) -> tuple[int, int]:
    """Return where the first line of `data` ends and where the next one begins."""
    ends = [end for end in (data.find(b"\n"), data.find(b"\r")) if end >= 0]
    first = min(ends, default=len(data))
    return first, min(first + 1 + (data[first : first + 2] == b"\r\n"), len(data))


def _find_cut(data: bytes, path: str, line: int, offset: int) -> int:
    """Return how much of `data`, longer than a piece, to take: up to white space, or up to a character."""
    end = PIECE_BYTES
    while end > PIECE_BYTES - 4 and data[end] & 0xC0 == 0x80:
        end -= 1
    text = _decode_strict(data[:end], path, line, offset)
    last = max(text.rfind(delimiter) for delimiter in DELIMITERS)
    return len(text[: last + 1].encode()) or end


def _decode_strict(data: bytes, path: str, line: int, offset: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        place = offset + error.start
        hint = "convert the file first, for example: iconv -f LATIN1 -t UTF-8 FILE"
        if offset == 0 and error.start < 4:
            hint = next((h for mark, h in _SIGNATURES.items() if data.startswith(mark)), hint)
        raise CorpusError(
            f"{path}:{line + before.count(10)}: not UTF-8: byte 0x{data[error.start]:02x} "
            f"at byte offset {place} ({error.reason})",
            hint,
        ) from error


def _decode(data: bytes, path: str, line: int, offset: int, repairs: Counter[str]) -> str:
    """Decode whole lines and repair them; line ends come out as LF."""
    text = _decode_strict(data, path, line, offset)
    if offset == 0 and data.startswith(_BOM):
        repairs["bom"] += 1
        text = text[1:]
    if b"\0" in data:
        repairs["nul"] += data.count(b"\0")
        text = text.replace("\0", "")
    if b"\r" in data:
        for end, name in (("\r\n", "crlf"), ("\r", "cr")):
            if count := text.count(end):
                repairs[name] += count
                text = text.replace(end, "\n")
    return text


# --- Records ---------------------------------------------------------------------------------------
# One record, one document. A record without the field, or with something other than text in it, is an error: a
# wrong `field` would otherwise count nothing and say nothing. A null is a record without text, and is counted.

JSON_LINE_BYTES = 64 << 20
_ROWS = 2048
_FETCH_BYTES = 4 << 20


def _read_json_lines(
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


def _read_parquet(
    source: Source, field: str, repairs: Counter[str], on_bytes: Callable[[int], None]
) -> Iterator[tuple[list[str], int]]:
    """Yield (documents, bytes) of a parquet source's text column. Raises `CorpusError`.

    DuckDB reads it row group by row group; progress is the share of rows times the file's size.
    """
    row = reported = 0
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            total = _open_table(connection, source, field)
            quoted = '"' + field.replace('"', '""') + '"'
            connection.execute(
                f"SELECT {quoted} FROM read_parquet(?, hive_partitioning = false)", [_pattern(source)]
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
            f"{source.path}: column {field!r} is {columns[field]}, not text (VARCHAR)",
            "name a column of text with --field",
        )
    found = connection.execute("SELECT num_rows FROM parquet_file_metadata(?)", [_pattern(source)]).fetchone()
    return int(found[0]) if found else 0


def _pattern(source: Source) -> str:
    """Return the path as DuckDB must be given it: it reads wildcards in names as wildcards."""
    return source.path if "://" in source.path else escape(source.path)


def _take_text(record: Any, field: str, place: str, repairs: Counter[str]) -> list[str]:
    if not isinstance(record, dict):
        raise CorpusError(f"{place}: {type(record).__name__}, not a JSON object", "one object a line")
    if field not in record:
        raise CorpusError(
            f"{place}: no field {field!r}; the record has {', '.join(map(str, record)) or 'none'}",
            "name the text field with --field",
        )
    text = record[field]
    if text is not None and not isinstance(text, str):
        raise CorpusError(
            f"{place}: field {field!r} is {type(text).__name__}, not text",
            "name the text field with --field, or take the record out",
        )
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
        pieces = _cut_text(text) if text.isascii() or text.encode() else []
    except UnicodeEncodeError:
        # JSON may escape half of a surrogate pair; no UTF-8 text can hold one.
        clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        repairs["surrogate"] += clean.count("\ufffd") - text.count("\ufffd")
        pieces = _cut_text(clean)
    if len(pieces) > 1:
        repairs["long_document"] += 1
    kept = [piece for piece in pieces if piece.strip()]
    if not kept:
        repairs["empty_record"] += 1
    return kept
