"""A text file as chunks of whole lines: UTF-8 checked, line ends made LF, byte order mark and NUL removed.

Work is per chunk of about a quarter of a mebibyte, never per line, so that reading costs little more than
decoding. A line over `PIECE_BYTES` comes in several chunks, cut at white space where there is any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vocabkit.core.errors import CorpusError
from vocabkit.corpus.files import Source
from vocabkit.corpus.streams import DamagedStream, read_blocks
from vocabkit.corpus.white_space import DELIMITERS

PIECE_BYTES = 16 << 20
_BOM = b"\xef\xbb\xbf"
_SIGNATURES = {
    b"\xff\xfe": "looks like UTF-16: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "looks like UTF-16: iconv -f UTF-16 -t UTF-8",
    b"\x1f\x8b": "looks like gzip: name the file .txt.gz or .jsonl.gz",
    b"\x28\xb5\x2f\xfd": "looks like zstd: name the file .txt.zst or .jsonl.zst",
    b"PAR1": "looks like parquet: name the file .parquet",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines joined by LF, without the last line end. `line` is the number of the first, from 1.

    `complete` is False when the last line goes on in the next chunk; `size` is in bytes, as decompressed.
    """

    text: str
    line: int
    size: int
    complete: bool


def read_chunks(
    source: Source,
    repairs: Counter[str],
    on_bytes: Callable[[int], None],
    *,
    longest: int | None = None,
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
        for block in read_blocks(source, on_bytes):
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
    except DamagedStream as error:
        raise CorpusError(
            f"{source.path}:{line}: {error} after {offset + held_size} bytes of text",
            "fetch the file again, or remove it from the corpus",
        ) from error
    if held_size:
        yield make(b"".join(held), complete=True)


def cut_text(text: str) -> list[str]:
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
