"""Documents out of one source: every repair is counted, every damage is named with its place."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.core.errors import CorpusError
from vocabkit.corpus import reading
from vocabkit.corpus.reading import REPAIRS, Repairs, read_documents, zstd
from vocabkit.corpus.sources import Source, _make_source

Mode = Literal["line", "blank-line", "file"]
Reader = Callable[..., tuple[list[str], dict[str, int]]]


@contextmanager
def sizes(block: int, piece: int) -> Iterator[None]:
    """Shrink the buffers, so that short texts cross their borders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocabkit.corpus.reading.BLOCK_BYTES", block)
        patch.setattr("vocabkit.corpus.reading.PIECE_BYTES", piece)
        yield


def source_of(path: Path) -> Source:
    source = _make_source(str(path), path.stat().st_size)
    assert source is not None
    return source


def read(path: Path, document: Mode = "line", field: str = "text") -> tuple[list[str], dict[str, int]]:
    source = source_of(path)
    repairs = Repairs()
    consumed: list[int] = []
    batches = list(read_documents(source, document, field, repairs, consumed.append))
    assert all(batches)
    assert sum(consumed) == source.size
    assert min(consumed, default=1) > 0
    assert set(repairs) <= set(REPAIRS)
    return [document for batch in batches for document in batch], dict(repairs)


def write(path: Path, data: bytes) -> Path:
    """Store bytes as the suffix says."""
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstd.compress(data)
    path.write_bytes(data)
    return path


def checked(data: bytes, **flags: int) -> bytes:
    """Return a zstd frame that ends in a checksum."""
    named = {getattr(zstd.CompressionParameter, name): flag for name, flag in flags.items()}
    return zstd.compress(data, options=named | {zstd.CompressionParameter.checksum_flag: 1})


def parquet(path: Path, query: str) -> Path:
    duckdb.connect().execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst"])
def test_lines_of_every_compression(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"yor_Latn{suffix}", "Ẹ káàárọ̀\nọ̀rẹ́ mi\n".encode())
    assert read(path) == (["Ẹ káàárọ̀", "ọ̀rẹ́ mi"], {})


def test_last_line_needs_no_end(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", b"one\ntwo")) == (["one", "two"], {})


def test_members_and_frames_make_one_stream(tmp_path: Path) -> None:
    parts = [b"one\ntw", b"o\nthree\n"]
    members = tmp_path / "a.txt.gz"
    members.write_bytes(b"".join(map(gzip.compress, parts)) + bytes(512))
    skippable = (0x184D2A53).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"xyz"
    frames = tmp_path / "a.txt.zst"
    frames.write_bytes(skippable + zstd.compress(parts[0]) + checked(parts[1], content_size_flag=0))
    assert read(members)[0] == read(frames)[0] == ["one", "two", "three"]


def test_line_ends_and_what_is_not_one(tmp_path: Path) -> None:
    text = "a\r\nb\rc\nd\u0085e\u2028f\vg\fh\n"
    found = read(write(tmp_path / "a.txt", text.encode()))
    assert found == (["a", "b", "c", "d\u0085e\u2028f\vg\fh"], {"crlf": 1, "cr": 1})


def test_byte_order_mark_only_at_the_start(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.txt", "\ufeffa\n\ufeffb\n".encode()))
    assert found == (["a", "\ufeffb"], {"bom": 1})


def test_nul_and_blank_lines(tmp_path: Path) -> None:
    data = b"a\0b\0\n\n \t\n\0\n" + "\u3000\n".encode() + b"c\n"
    assert read(write(tmp_path / "a.txt", data)) == (["ab", "c"], {"nul": 3, "empty_line": 4})


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst", ".jsonl"])
@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_file_without_a_document(tmp_path: Path, suffix: str, data: bytes) -> None:
    documents, repairs = read(write(tmp_path / f"a{suffix}", data))
    assert documents == []
    assert repairs == {"empty_file": 1} | ({"empty_line": 2} if data else {})


@pytest.mark.parametrize("document", ["line", "blank-line", "file"])
def test_not_utf8_names_line_and_offset(tmp_path: Path, document: Mode) -> None:
    good = "é\r\nb\rc\n".encode()
    path = write(tmp_path / "a.txt", good + b"caf\xe9 x\n")
    with pytest.raises(CorpusError) as caught:
        read(path, document)
    assert caught.value.message.startswith(f"{path}:4: not UTF-8: byte 0xe9")
    assert f"byte offset {len(good) + 3} " in caught.value.message
    assert "iconv" in (caught.value.hint or "")


def test_not_utf8_far_into_a_file(tmp_path: Path) -> None:
    good = "".join(f"строка {i}\n" for i in range(60_000)).encode()
    path = write(tmp_path / "a.txt.zst", good + b"\xff\n")
    with pytest.raises(CorpusError, match=rf":60001: not UTF-8.* offset {len(good)} "):
        read(path)


def test_cut_character_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r":2: not UTF-8: byte 0xe1 at byte offset 2 "):
        read(write(tmp_path / "a.txt", b"a\n\xe1\xba"))


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("text\n".encode("utf-16"), "UTF-16"),
        (gzip.compress(b"text\n", mtime=2**31), "gzip"),
        (zstd.compress(b"text\n" * 9), "zstd"),
    ],
)
def test_other_formats_under_a_text_name(tmp_path: Path, data: bytes, hint: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(CorpusError) as caught:
        read(path)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("suffix", [".txt.gz", ".txt.zst"])
def test_every_truncation_is_noticed(tmp_path: Path, suffix: str) -> None:
    text = "".join(f"line {i * 7919 % 1000}\n" for i in range(400)).encode()
    path = write(tmp_path / f"a{suffix}", text)
    whole = path.read_bytes()
    for size in range(1, len(whole), 3):
        path.write_bytes(whole[:size])
        with pytest.raises(CorpusError, match=rf"a{suffix}:\d+: truncated"):
            read(path)


def test_truncated_checksum_of_the_last_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    whole = checked(b"one\ntwo\n" * 50)
    for cut in range(1, 9):
        path.write_bytes(whole + whole[:-cut])
        with pytest.raises(CorpusError, match="truncated zstd data"):
            read(path)


def test_half_a_signature_in_front_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\n") + b"\x1f")
    with pytest.raises(CorpusError, match=r":2: truncated gzip data after 4 bytes"):
        read(path)


@pytest.mark.parametrize("suffix", [".txt.gz", ".txt.zst"])
def test_what_stands_before_damage_is_placed(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", b"one\ntwo\n")
    path.write_bytes(path.read_bytes() + b"no stream at all")
    with pytest.raises(CorpusError, match=r":3: damaged (gzip|zstd) data .* after 8 bytes"):
        read(path)


def test_files_without_a_byte_hold_nothing(tmp_path: Path) -> None:
    for suffix in (".txt.gz", ".txt.zst"):
        (tmp_path / f"a{suffix}").touch()
        assert read(tmp_path / f"a{suffix}") == ([], {"empty_file": 1})


def test_truncation_in_the_second_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstd.compress(b"one\ntwo\n") + zstd.compress(b"three\n")[:-2])
    with pytest.raises(CorpusError, match=r":3: truncated zstd data after \d+ bytes"):
        read(path)


@pytest.mark.parametrize("suffix", [".txt.gz", ".txt.zst", ".jsonl.gz", ".jsonl.zst"])
def test_compression_that_is_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"plain text, no compression\n")
    with pytest.raises(CorpusError, match=r":1: damaged (gzip|zstd) data"):
        read(path)


@pytest.mark.parametrize("suffix", [".txt.gz", ".txt.zst"])
def test_flipped_bytes_are_noticed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    data = b"".join(b"line %d\n" % (i * 7919 % 1000) for i in range(2000))
    whole = bytearray(gzip.compress(data) if suffix == ".txt.gz" else checked(data))
    whole[-2] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(CorpusError, match="damaged"):
        read(path)


def test_missing_file() -> None:
    source = Source("yor_Latn", "no/such.txt", "text", "none", 3)
    with pytest.raises(CorpusError, match=r"no/such\.txt: cannot be read: No such file"):
        list(read_documents(source, "line", "text", Repairs()))


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst"])
def test_a_very_long_line_stays_within_bounds(tmp_path: Path, suffix: str) -> None:
    line = b"word " * 10_000_000  # 50 MB
    path = write(tmp_path / f"a{suffix}", b"first\n" + line + b"\nlast\n")
    repairs = Repairs()
    total = pieces = 0
    tracemalloc.start()
    for batch in read_documents(source_of(path), "line", "text", repairs):
        pieces += len(batch)
        total += sum(map(len, batch))
        assert all(len(piece) <= reading.PIECE_BYTES for piece in batch)
        assert all(piece.endswith("word ") for piece in batch if len(piece) > 6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == len(line) + len("firstlast")
    assert pieces == 2 + -(-len(line) // reading.PIECE_BYTES)
    assert repairs == {"long_line": 1}
    assert peak < 8 * reading.PIECE_BYTES + (1 << 20)  # and blocks of a quarter of a mebibyte


@pytest.mark.slow
@pytest.mark.parametrize("document", ["line", "blank-line", "file"])
def test_two_hundred_megabytes_without_white_space(tmp_path: Path, document: Mode) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstd.compress("ክ".encode() * (200_000_000 // 3)))
    repairs = Repairs()
    total = 0
    tracemalloc.start()
    for batch in read_documents(source_of(path), document, "text", repairs):
        total += sum(map(len, batch))
        assert all(len(piece.encode()) <= reading.PIECE_BYTES for piece in batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 200_000_000 // 3
    assert repairs["long_line"] == 1
    assert peak < 14 * reading.PIECE_BYTES + (1 << 20)


def test_pieces_end_at_white_space_or_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "ab cd\u3000ef ééééééééé\nxy\n".encode())
    with sizes(block=4, piece=8):
        documents, repairs = read(path)
    assert documents == ["ab cd\u3000", "ef ", "éééé", "éééé", "é", "xy"]
    assert repairs == {"long_line": 1}


@pytest.mark.parametrize("document", ["blank-line", "file"])
def test_a_line_read_in_pieces_is_joined_again(tmp_path: Path, document: Mode) -> None:
    text = "x\n\nabc defgh ijk" if document == "file" else "abc defgh ijk"
    path = write(tmp_path / "a.txt", text.encode())
    with sizes(block=4, piece=8):
        documents, repairs = read(path, document)
    assert "".join(documents) == text
    assert all(len(piece) <= 8 for piece in documents)
    assert repairs["long_document"] == 1


TEXTS = st.lists(
    st.sampled_from(["a", "é", "ክ", "😀", " ", "\n", "\r", "\r\n", "\0", "\u2028", "\x85", "word"]),
    max_size=60,
).map("".join)


def plain_lines(text: str) -> list[str]:
    """Split as the documentation says, on the whole text at once."""
    return re.split("\r\n|\r|\n", text.removeprefix("\ufeff").replace("\0", ""))


@given(TEXTS, st.integers(1, 9), st.booleans())
def test_block_borders_do_not_show(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int, mark: bool
) -> None:
    text = "\ufeff" * mark + text
    path = write(tmp_path_factory.mktemp("text") / "a.txt.zst", text.encode())
    with sizes(block, piece=1000):
        documents, repairs = read(path)
    clean = text.replace("\0", "")
    assert documents == [line for line in plain_lines(text) if line.strip()]
    assert repairs.get("nul", 0) == text.count("\0")
    # A NUL between CR and LF goes before line ends are read, unless the pair was cut there.
    if "\r\0" not in text:
        assert repairs.get("crlf", 0) == clean.count("\r\n")
        assert repairs.get("cr", 0) == clean.count("\r") - clean.count("\r\n")


@given(TEXTS, st.integers(1, 9), st.sampled_from(["line", "blank-line", "file"]))
def test_pieces_join_to_the_whole(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int, document: Mode
) -> None:
    path = write(tmp_path_factory.mktemp("text") / "a.txt", text.encode())
    with sizes(block, piece=12):
        documents, _ = read(path, document)
    assert "".join("".join(documents).split()) == "".join(text.replace("\0", "").split())
    assert all(len(piece.encode()) <= 12 for piece in documents)


@given(TEXTS.filter(lambda text: "\r\0" not in text), st.integers(1, 9))
def test_paragraphs_and_files(tmp_path_factory: pytest.TempPathFactory, text: str, block: int) -> None:
    path = write(tmp_path_factory.mktemp("text") / "a.txt", text.encode())
    with sizes(block, piece=1000):
        paragraphs, _ = read(path, "blank-line")
        whole, _ = read(path, "file")
    joined = "\n".join("" if not line.strip() else line for line in plain_lines(text))
    assert paragraphs == [p.strip("\n") for p in re.split("\n\n+", joined) if p.strip()]
    assert [w.rstrip("\n") for w in whole] == (
        ["\n".join(plain_lines(text)).rstrip("\n")] if text.replace("\0", "").strip() else []
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_json_lines(tmp_path: Path, suffix: str) -> None:
    rows = [{"text": "a\nb"}, {"text": "é\0"}, {"text": None}, {"text": " "}, {"text": "x\ud800y"}]
    data = "\ufeff" + "".join(json.dumps(row) + "\r\n" for row in rows) + "\n"
    documents, repairs = read(write(tmp_path / f"a{suffix}", data.encode()))
    assert documents == ["a\nb", "é", "x\ufffdy"]
    assert repairs == {
        "bom": 1, "crlf": 5, "nul": 1, "null_field": 1, "empty_record": 1, "surrogate": 1,
        "empty_line": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"body": "a", "id": 3}', "no field 'text'; the record has body, id"),
        ('{"text": 3}', "field 'text' is int, not text"),
        ('{"text": ["a"]}', "field 'text' is list, not text"),
        ('"text"', "str, not a JSON object"),
        ('{"text": "a"', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"text": "a"} {"text": "b"}', "not valid JSON"),
    ],
)
def test_bad_records_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"text": "fine"}}\n\n{line}\n'.encode())
    with pytest.raises(CorpusError) as caught:
        read(path)
    assert caught.value.message.startswith(f"{path}:3: ")
    assert message in caught.value.message


def test_long_records_come_in_pieces(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "ab " * 10}).encode())
    with sizes(block=8, piece=12):
        documents, repairs = read(path)
    assert documents == ["ab ab ab ab ", "ab ab ab ab ", "ab ab "]
    assert repairs == {"long_document": 1}


def test_json_line_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocabkit.corpus.reading.JSON_LINE_BYTES", 1 << 20)
    path = write(tmp_path / "a.jsonl", b'{"text": "a"}\n{"text": "' + b"a" * (3 << 20) + b'"}\n')
    with pytest.raises(CorpusError, match=r"a\.jsonl:2: line of more than 1 MiB"):
        read(path)


def test_parquet(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a*[b]?.parquet",
        "SELECT CASE i WHEN 7 THEN NULL WHEN 8 THEN '  ' ELSE 'row ' || i END AS text FROM range(9999) t(i)",
    )
    documents, repairs = read(path)
    assert documents == [f"row {i}" for i in range(9999) if i not in (7, 8)]
    assert repairs == {"null_field": 1, "empty_record": 1}


def test_parquet_columns(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", 'SELECT \'x\' AS "bo""dy", 3 AS n')
    assert read(path, field='bo"dy') == (["x"], {})
    with pytest.raises(CorpusError, match=r"""no column 'text'; it has bo"dy, n"""):
        read(path)
    with pytest.raises(CorpusError, match="column 'n' is INTEGER, not text"):
        read(path, field="n")


@pytest.mark.parametrize("keep", [0, 3, 100, -5])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    path = parquet(tmp_path / "a.parquet", "SELECT 'row ' || i AS text FROM range(999) t(i)")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorpusError, match=r"a\.parquet: after row 0: not readable as parquet"):
        read(path)


def test_damaged_parquet_page(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", "SELECT md5(i::text) AS text FROM range(9999) t(i)")
    data = bytearray(path.read_bytes())
    data[2000:9000] = b"\xff" * 7000
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="not readable as parquet"):
        read(path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl.gz", "a.parquet"])
def test_urls(tmp_path: Path, name: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    if name == "a.parquet":
        data = parquet(tmp_path / name, "SELECT 'hello' AS text").read_bytes()
    else:
        data = write(tmp_path / name, b'{"text": "hello"}\n').read_bytes()
    fsspec.filesystem("memory").pipe(f"/reading/{name}", data)
    source = _make_source(f"memory://reading/{name}", len(data))
    assert source is not None
    batches = list(read_documents(source, "line", "text", Repairs()))
    assert batches == [['{"text": "hello"}' if name == "a.txt" else "hello"]]


def test_batches_are_of_a_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"0123456789abcde\n" * 700_000)
    batches = list(read_documents(source_of(path), "line", "text", Repairs()))
    assert [sum(map(len, batch)) + len(batch) > reading.BATCH_BYTES - 1 for batch in batches] == [
        True, True, False,
    ]  # fmt: skip
    assert sum(map(len, batches)) == 700_000
