"""Reading prepared rows: by number over several files, and what is said of damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.pretraining.prepared_rows import MASKED, write_rows
from vocabkit.core.errors import PretrainingError
from vocabkit.core.records import write_sealed
from vocabkit.pretraining.packing import PackedRows
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.preparing import RowWriter, _row_paths

LENGTH, END = 8, 2


def make_rows(count: int, first: int) -> PackedRows:
    ids = np.full((count, LENGTH), MASKED.pad, np.int32)
    used = np.arange(count, dtype=np.int32) % (LENGTH - 3) + 3
    ids[:, 0] = MASKED.begin
    for row in range(count):
        ids[row, 1 : used[row] - 1] = 5 + (first + row) % 40
        ids[row, used[row] - 1] = END
    return PackedRows(ids, used, np.arange(first, first + count, dtype=np.int32))


def write(folder: Path) -> tuple[PreparedCorpus, np.ndarray]:
    """One language of three files, the second without a training row, and one of another kind."""
    parts = [make_rows(5, 0), make_rows(0, 0), make_rows(7, 5)]
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "yor_Latn").mkdir()
    files = []
    for number, part in enumerate(parts):
        name = f"yor_Latn/{number:05d}"
        with RowWriter(folder, f"{name}.train", LENGTH) as writer:
            writer.write(make_rows(0, 0))
            writer.write(PackedRows(part.ids[:2], part.used[:2], part.bytes[:2]))
            writer.write(PackedRows(part.ids[2:], part.used[2:], part.bytes[2:]))
        none = {"rows": 0, "digests": {}}
        files.append(
            {"name": name, "train": {"rows": writer.rows, "digests": writer.digests}, "held-out": none}
        )
    total = {"rows": 12, "tokens": 30, "bytes": 66, "documents": 12}
    index = {
        "schema": 2, "length": LENGTH, "encoding": "union", "vocabulary": 50,
        "special": MASKED.to_dict(), "tokenizer": "t", "corpus": "c", "held_out": 0.0,
        "languages": {
            "yor_Latn": {"train": total, "held-out": dict.fromkeys(total, 0), "files": files}
        },
        "files": {},
    }  # fmt: skip
    write_sealed(folder / "shards.json", index)
    return PreparedCorpus.load(folder), np.concatenate([part.ids for part in parts])


def test_rows_are_numbered_over_files(tmp_path: Path) -> None:
    corpus, rows = write(tmp_path)
    wanted = np.array([11, 0, 4, 5, 5, 8], np.int64)
    assert np.array_equal(corpus.read_rows("yor_Latn", "train", wanted), rows[wanted])
    assert corpus.row_bytes("yor_Latn", "train", wanted).tolist() == wanted.tolist()
    used = corpus.row_used("yor_Latn", "train", wanted)
    assert used.tolist() == (rows[wanted] != MASKED.pad).sum(axis=1).tolist()
    assert corpus.read_rows("yor_Latn", "held-out", np.array([], np.int64)).shape == (0, LENGTH)
    assert corpus.split("yor_Latn", "train").tokens == 30
    corpus.check_ids()


def test_files_are_those_numpy_reads(tmp_path: Path) -> None:
    _, rows = write(tmp_path)
    first = np.load(tmp_path / "yor_Latn/00000.train.npy")
    assert first.dtype == np.dtype("<i4")
    assert np.array_equal(first, rows[:5])
    assert not any(path.exists() for path in _row_paths(tmp_path, "yor_Latn/00001.train").values())


@pytest.mark.parametrize("wrong", [-1, 12])
def test_a_row_that_is_not_there(tmp_path: Path, wrong: int) -> None:
    corpus, _ = write(tmp_path)
    with pytest.raises(IndexError, match="rows are 0 to 11"):
        corpus.read_rows("yor_Latn", "train", np.array([3, wrong]))


def test_a_language_that_is_not_there(tmp_path: Path) -> None:
    corpus, _ = write(tmp_path)
    with pytest.raises(PretrainingError, match="no train rows of eng_Latn"):
        corpus.split("eng_Latn", "train")


def test_equal_indexes_have_equal_fingerprints(tmp_path: Path) -> None:
    one, two = write_rows(tmp_path / "a", {"eng_Latn": (3, 1)}), write(tmp_path / "b")[0]
    assert one.fingerprint == write_rows(tmp_path / "c", {"eng_Latn": (3, 1)}).fingerprint
    assert one.fingerprint != two.fingerprint


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\0\0\0")


def cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def widen(path: Path) -> None:
    np.save(path, np.load(path).astype(np.int64))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "no such file"),
        (cut_short, "is cut short: "),
        (lengthen, "is too long"),
        (cut_header, "is damaged"),
        (widen, "holds int64"),
    ],
)
@pytest.mark.parametrize("name", ["00002.train.npy", "00000.train.used.npy"])
def test_a_damaged_file_is_named(
    tmp_path: Path, damage: Callable[[Path], None], message: str, name: str
) -> None:
    write(tmp_path)
    damage(tmp_path / "yor_Latn" / name)
    with pytest.raises(PretrainingError, match=rf"{name}: {message}") as caught:
        PreparedCorpus.load(tmp_path)
    assert "vocabkit prepare" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "schema 1: this version reads 2"),
        ({"length": 9}, r"holds int32\[5, 8\], expected int32\[5, 9\]"),
        ({"encoding": "other"}, "encoding is 'other', expected one of union, routed"),
        ({"special": {"begin": 0}}, "special lacks end"),
        ({"languages": []}, r"languages is \[\], expected an object"),
        ({"vocabulary": 4}, "special ids beyond the 4 there are"),
    ],
)
def test_a_damaged_index_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write(tmp_path)
    path = tmp_path / "shards.json"
    content = json.loads(path.read_text()) | change
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(PretrainingError, match=r"shards\.json: (was changed|schema)"):
        PreparedCorpus.load(tmp_path)
    write_sealed(path, content)  # by someone who can seal, too
    with pytest.raises(PretrainingError, match=message):
        PreparedCorpus.load(tmp_path)


def test_what_is_no_folder_of_rows(tmp_path: Path) -> None:
    with pytest.raises(PretrainingError, match=r"not a folder of prepared rows"):
        PreparedCorpus.load(tmp_path / "nowhere")
    write(tmp_path)
    (tmp_path / "tokenizer").rmdir()
    with pytest.raises(PretrainingError, match=r"tokenizer: no such folder"):
        PreparedCorpus.load(tmp_path)
    (tmp_path / "shards.json").write_text("{", encoding="utf-8")
    with pytest.raises(PretrainingError, match=r"shards\.json: not JSON"):
        PreparedCorpus.load(tmp_path)


@pytest.mark.parametrize(("place", "value"), [((3, 1), 50), ((3, 1), -2), ((0, 0), 5), ((0, 7), 9)])
def test_the_full_check_reads_every_id(tmp_path: Path, place: tuple[int, int], value: int) -> None:
    write(tmp_path)
    path = tmp_path / "yor_Latn/00002.train.npy"
    rows = np.load(path)
    rows[place] = value
    np.save(path, rows)
    corpus = PreparedCorpus.load(tmp_path)  # sizes are right
    with pytest.raises(PretrainingError, match=rf"00002\.train\.npy: row {place[0]}"):
        corpus.check_ids()


@pytest.mark.parametrize("value", [50, 99_999, -1])
def test_rows_are_never_given_out_with_ids_beyond_the_vocabulary(tmp_path: Path, value: int) -> None:
    corpus, _ = write(tmp_path)
    path = tmp_path / "yor_Latn/00002.train.npy"
    rows = np.load(path)
    rows[3, 1] = value
    np.save(path, rows)
    number = np.array([5 + 3])
    with pytest.raises(PretrainingError, match=r"yor_Latn: train rows hold ids beyond 0–49"):
        corpus.read_rows("yor_Latn", "train", number)
    assert corpus.read_rows("yor_Latn", "train", number - 1).shape == (1, LENGTH)


@pytest.mark.parametrize("place", [128, 131, -1])
@pytest.mark.parametrize(
    "name", ["00000.train.npy", "00002.train.npy", "00000.train.bytes.npy", "00002.train.used.npy"]
)
def test_a_flipped_bit_is_found_when_digests_are_asked_for(tmp_path: Path, name: str, place: int) -> None:
    corpus, _ = write(tmp_path)
    corpus.check_digests()
    path = tmp_path / "yor_Latn" / name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    corpus = PreparedCorpus.load(tmp_path)  # whose sizes are right
    with pytest.raises(PretrainingError, match=rf"{name}: was changed since it was written"):
        corpus.check_digests()
    # Of three ranks one reads the file, whichever.
    found = 0
    for rank in range(3):
        try:
            corpus.check_digests(rank, 3)
        except PretrainingError:
            found += 1
    assert found == 1


@pytest.mark.parametrize("name", ["../x", "/etc/x", "yor_Latn/../../x", "..\\x", ""])
def test_shards_lie_within_their_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "s")
    path = tmp_path / "s" / "shards.json"
    content = json.loads(path.read_text())
    content["languages"]["yor_Latn"]["files"][0]["name"] = name
    write_sealed(path, content)
    with pytest.raises(PretrainingError, match=r"files\[0\]\.name is .*, expected a plain name"):
        PreparedCorpus.load(tmp_path / "s")
    content["languages"] = {"../x": content["languages"]["yor_Latn"]}
    write_sealed(path, content)
    with pytest.raises(PretrainingError, match="expected a language code"):
        PreparedCorpus.load(tmp_path / "s")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<i4', 'fortran_order': False, 'shape",
        b"(" * 100,
        b"__import__('os')",
        b"\xff" * 100,
        b"{}",
        b"[1",
    ],
)
def test_a_header_is_data_and_no_program(tmp_path: Path, header: bytes) -> None:
    write(tmp_path)
    path = tmp_path / "yor_Latn" / "00000.train.npy"
    data = path.read_bytes()
    path.write_bytes(data[:10] + header.ljust(118)[:118] + data[128:])
    with pytest.raises(PretrainingError, match=r"00000\.train\.npy: is damaged"):
        PreparedCorpus.load(tmp_path)
