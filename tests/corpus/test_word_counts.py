import hashlib
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocabkit.core.errors import CountsError
from vocabkit.core.text import cut_run
from vocabkit.corpus.counting import merge_counts
from vocabkit.corpus.word_counts import (
    RUN_LIMIT,
    LanguageCounts,
    Tally,
    Totals,
    WordCounts,
    WordTable,
    add_tables,
    connect,
    write_index,
)

SQL, COMPILED = 1 << 60, -1
"""Characters of a process after which words are counted in compiled code."""
DELIMITERS = " \t\n\x0c\r\u00a0\u1680\u2000\u2005\u200a\u2028\u2029\u202f\u205f\u3000"
ODD = st.text(
    alphabet=DELIMITERS + "   ab\0\x0b\x1c\x85é\u0301\u180e\u200b\u2010\u2060\u3001用ခ😀\U0010ffff", max_size=40
)
TEXT = st.text(alphabet="ab \t\u00a0\u3000\x0bé用▁", max_size=30)
DOCUMENTS = st.lists(TEXT, max_size=8)
CORPORA = st.dictionaries(st.sampled_from(["eng_Latn", "yor_Latn", "zho_Hans"]), DOCUMENTS, max_size=3)


def naive(documents: list[str]) -> tuple[Counter[str], Counter[str]]:
    """Count by the definition: runs between delimiters, each document once for frequency."""
    delimiters = " \t\u00a0\u3000"
    count: Counter[str] = Counter()
    frequency: Counter[str] = Counter()
    for text in documents:
        word = ""
        words = []
        for character in text + " ":
            if character in delimiters:
                words += [word] if word else []
                word = ""
            else:
                word += character
        count.update(words)
        frequency.update(set(words))
    return count, frequency


@given(DOCUMENTS)
def test_counts_equal_the_definition(documents: list[str]) -> None:
    counts = WordCounts.from_texts({"eng_Latn": documents}).languages["eng_Latn"]
    count, frequency = naive(documents)
    assert dict(counts.train.rows()) == {(w, False): (count[w], frequency[w]) for w in count}
    assert list(counts.train.words) == sorted(counts.train.words)
    characters = Counter("".join(documents))
    del characters[" "]
    assert counts.characters == characters
    assert counts.totals.documents == len(documents)
    assert counts.totals.words == count.total()
    assert counts.totals.characters == sum(map(len, documents))
    assert counts.totals.bytes == sum(len(d.encode()) for d in documents)


@settings(max_examples=20)
@given(CORPORA, CORPORA, CORPORA)
def test_addition_is_associative_and_commutative(
    a: dict[str, list[str]], b: dict[str, list[str]], c: dict[str, list[str]]
) -> None:
    x, y, z = (WordCounts.from_texts(t, held_out=0.3) for t in (a, b, c))
    assert (x + y) + z == x + (y + z)
    assert x + y == y + x
    together = {code: a.get(code, []) + b.get(code, []) for code in sorted({*a, *b})}
    assert x + y == WordCounts.from_texts(together, held_out=0.3)
    assert (x + y).fingerprint == WordCounts.from_texts(together, held_out=0.3).fingerprint


@settings(max_examples=10)
@given(CORPORA, CORPORA)
def test_folders_merge_as_memory_adds(
    tmp_path_factory: pytest.TempPathFactory, a: dict[str, list[str]], b: dict[str, list[str]]
) -> None:
    root = tmp_path_factory.mktemp("merge")
    x, y = (WordCounts.from_texts(t, held_out=0.3) for t in (a, b))
    for name, counts in (("x", x), ("y", y)):
        (root / name).mkdir()
        counts.save(root / name)
    merged = merge_counts([root / "x", root / "y"], root / "xy")
    assert merged == x + y
    assert merged.fingerprint == (x + y).fingerprint
    assert merge_counts([root / "y", root / "x"], root / "yx").fingerprint == merged.fingerprint


def test_saved_counts_load_equal(tmp_path: Path) -> None:
    counts = WordCounts.from_texts({"eng_Latn": ["a b\x00 'q\"", "x" * 2500], "yor_Latn": []}, held_out=0.5)
    counts.save(tmp_path)
    loaded = WordCounts.load(tmp_path)
    assert loaded == counts
    assert loaded.totals == counts.totals
    assert loaded.fingerprint == counts.fingerprint


def by_definition(documents: list[str], share: float) -> LanguageCounts:
    """The counts as they are defined, by `str` methods and Python's own MD5."""
    rows: list[Counter[tuple[str, bool]]] = [Counter(), Counter()]
    frequency: list[Counter[tuple[str, bool]]] = [Counter(), Counter()]
    totals = [Counter[str](), Counter[str]()]
    for text in documents:
        digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
        split = int(int.from_bytes(digest[8:], "little") < int(share * 2**64))
        words = text.translate(dict.fromkeys(map(ord, DELIMITERS), " ")).split(" ")
        count = Counter(word for word in words if word)
        for word, times in count.items():
            parts = cut_run(word, RUN_LIMIT)
            totals[split]["cut_runs"] += times * (len(parts) > 1)
            for index, part in enumerate(parts):
                rows[split][part, index > 0] += times
                frequency[split][part, index > 0] += 1
        size = {"documents": 1, "lines": text.count("\n") + 1, "words": count.total()}
        totals[split].update(size | {"characters": len(text), "bytes": len(text.encode())})
    tables = [
        WordTable.from_rows({key: (count, seen[key]) for key, count in found.items()})
        for found, seen in zip(rows, frequency, strict=True)
    ]
    characters = Counter("".join(documents))
    del characters[" "]
    sums = [Totals(**total) for total in totals]
    return LanguageCounts("x", tables[0], tables[1], dict(sorted(characters.items())), *sums)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(ODD, max_size=8), max_size=4), st.sampled_from([0.0, 0.5, 0.999]))
def test_compiled_code_and_sql_count_as_defined(batches: list[list[str]], share: float) -> None:
    for little in (SQL, COMPILED):
        with Tally(share, little=little) as tally:
            for batch in batches:
                tally.add([*batch, "a " * 1_000])  # so that they count as text with spaces
            found = tally.counts("x")
        documents = [text for batch in batches for text in [*batch, "a " * 1_000]]
        assert found == by_definition(documents, share)


def test_words_of_every_length_are_told_apart() -> None:
    """Equal beginnings, ends that differ in one byte, NUL at the end, and words up to the longest in bytes."""
    words = [("abcdefgh" * 12)[:size] + end for size in range(90) for end in ("", "\0", "\0\0", "x", "é")]
    words += [character * size for character in "b用😀" for size in (255, 999, 1_000, 1_001, 2_500)]
    words = [word for word in words if word]
    text = " ".join(words) + " " + " ".join(reversed(words))
    documents = ["a " * 30_000 + text, text + " ab" * 30_000]
    with Tally(0.0, little=COMPILED) as tally:
        tally.add(documents)
        assert tally.counts("x") == by_definition(documents, 0.0)


def test_a_table_grows_in_the_middle_of_a_document_and_runs_join(tmp_path: Path) -> None:
    draw = random.Random(1)
    documents = [" ".join(f"{draw.randrange(30_000):x}é" for _ in range(size)) for size in (60_000, 3, 40_000)]
    written = {}
    for little, memory in ((SQL, 1 << 30), (COMPILED, 1 << 30), (COMPILED, 1 << 20)):
        runs: list[Path] = []
        with Tally(0.5, memory=memory, little=little, spill=tmp_path / "spill") as tally:
            for document in documents:
                tally.add([document])
                if tally.is_full:
                    runs.append(tmp_path / f"{little}-{memory}-{len(runs)}")
                    tally.write_run(runs[-1])
            runs.append(tmp_path / f"{little}-{memory}-last")
            tally.write_run(runs[-1])
            totals = tally.totals
        assert len(runs) == 1 or memory == 1 << 20
        folder = runs[0]
        if len(runs) > 1:
            folder = tmp_path / f"{memory}"
            add_tables(runs, folder, totals, 1, 64 << 20)
        names = ("train.parquet", "held_out.parquet", "characters.parquet")
        written[little, memory] = [totals, *((folder / name).read_bytes() for name in names)]
    first, *others = written.values()
    assert all(other == first for other in others)
    assert len(runs) > 1


def test_held_out_is_a_share_of_documents_decided_by_their_text() -> None:
    documents = [f"document {i}" for i in range(5_000)]
    with Tally(0.1) as tally:
        tally.add(documents)
        held = tally.totals[1].documents
        # 5,000 draws at 0.1: five standard deviations are 106.
        assert 394 < held < 606
        # A document at a time, in the other order, with memory for a few words: the same counts.
        with Tally(0.1, memory=20_000) as other:
            for document in reversed(documents):
                other.add([document])
            assert other.counts("eng_Latn") == tally.counts("eng_Latn")
    doubled = WordCounts.from_texts({"x": [*documents, *documents]}, held_out=0.1).languages["x"]
    assert doubled.held_out_totals.documents == 2 * held
    assert WordCounts.from_texts({"x": documents}, held_out=0.0).languages["x"].held_out_totals.words == 0


def test_a_long_run_is_cut_and_its_parts_do_not_start_words() -> None:
    run = "字" * (RUN_LIMIT + 5)
    counts = WordCounts.from_texts({"zho_Hans": [f"a {run} b"]}).languages["zho_Hans"]
    assert dict(counts.train.rows()) == {
        ("a", False): (1, 1),
        ("b", False): (1, 1),
        (run[:RUN_LIMIT], False): (1, 1),
        (run[RUN_LIMIT:], True): (1, 1),
    }
    assert counts.totals.cut_runs == 1
    assert counts.totals.words == 3


def test_controls_that_str_split_would_split_at_stay_inside_words() -> None:
    counts = WordCounts.from_texts({"x": ["a\x0bb c\x85d e\u2028f"]}).languages["x"]
    assert list(counts.train.words) == ["a\x0bb", "c\x85d", "e", "f"]


def test_asking_which_languages_there_are_reads_no_table(tmp_path: Path) -> None:
    WordCounts.from_texts({"eng_Latn": ["a"], "fra_Latn": ["b"]}).save(tmp_path)
    for path in tmp_path.glob("*/*.parquet"):
        path.unlink()
    counts = WordCounts.load(tmp_path)
    assert "eng_Latn" in counts.languages
    assert "yor_Latn" not in counts.languages
    assert list(counts.languages) == ["eng_Latn", "fra_Latn"]
    assert counts.totals["eng_Latn"].words == 1


def test_missing_and_damaged_folders(tmp_path: Path) -> None:
    with pytest.raises(CountsError, match="no counts here"):
        WordCounts.load(tmp_path)
    WordCounts.from_texts({"eng_Latn": ["a"]}).save(tmp_path)
    (tmp_path / "eng_Latn" / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(CountsError, match=r"train\.parquet"):
        _ = WordCounts.load(tmp_path).languages["eng_Latn"]
    (tmp_path / "languages.json").write_text("{", encoding="utf-8")
    with pytest.raises(CountsError, match=r"languages\.json: not JSON"):
        WordCounts.load(tmp_path)


def test_merging_a_folder_with_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    WordCounts.from_texts({"eng_Latn": ["a"]}).save(tmp_path / "a")
    with pytest.raises(CountsError, match="given twice"):
        merge_counts([tmp_path / "a", tmp_path / "a"], tmp_path / "b")
    assert not (tmp_path / "b").exists()


# --- What cannot have been counted -----------------------------------------------------------------


def save_two(folder: Path) -> dict[str, LanguageCounts]:
    texts = {"eng_Latn": ["the cat sat on the mat"] * 9, "yor_Latn": ["ọmọ ẹ kú àárọ̀ o"] * 9}
    counts = WordCounts.from_texts(texts, held_out=0.2)
    counts.save(folder)
    return dict(counts.languages)


def test_every_flipped_bit_of_a_folder_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """182 flips over all files; JSON laid out anew is the only difference that may pass."""
    wanted = save_two(tmp_path / "c")
    chance = random.Random(1)
    files = sorted(path for path in (tmp_path / "c").rglob("*") if path.is_file())
    refused = 0
    for path in [file for file in files for _ in range(26)]:
        before = path.read_bytes()
        data = bytearray(before)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            assert dict(WordCounts.load(tmp_path / "c").languages) == wanted
        except CountsError as error:
            refused += str(path) in error.message
        path.write_bytes(before)
    assert refused > 170
    assert dict(WordCounts.load(tmp_path / "c").languages) == wanted


def test_tables_may_not_change_places(tmp_path: Path) -> None:
    save_two(tmp_path)
    index = json.loads((tmp_path / "languages.json").read_text())
    (tmp_path / "eng_Latn").rename(tmp_path / "fra_Latn")
    index["fra_Latn"] = index.pop("eng_Latn")
    (tmp_path / "languages.json").write_text(json.dumps(index))
    with pytest.raises(CountsError, match="fra_Latn: was changed"):
        WordCounts.load(tmp_path)


@pytest.mark.parametrize("code", ["../../X", "/tmp/x", "..", "eng_Latn/..", "eng", "eng_Latn\n", ""])
def test_a_language_is_a_code_and_no_path(tmp_path: Path, code: str) -> None:
    save_two(tmp_path / "c")
    path = tmp_path / "c" / "languages.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {code: index["eng_Latn"]}))
    with pytest.raises(CountsError, match=r"languages\.json: a key is .*, expected a language code"):
        merge_counts([tmp_path / "c"], tmp_path / "out")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["c"]
    with pytest.raises(CountsError, match="expected a language code"):
        WordCounts.from_texts({code: ["a"]}).save(tmp_path / "new")


ROWS = "SELECT word, continuation, {count} AS count, {documents} AS documents FROM read_parquet('{path}')"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.format(count="-count", documents="documents", path="{path}"), "counts below 1|1 or more"),
        (ROWS.format(count="0 * count", documents="documents", path="{path}"), "counts below 1|1 or more"),
        (ROWS.format(count="count", documents="-documents", path="{path}"), "counts below 1|1 or more"),
        (ROWS.format(count="count + 0.5", documents="documents", path="{path}"), "count is of type"),
        (ROWS.format(count="CAST(count AS DOUBLE)", documents="documents", path="{path}"), "count is of type"),
        (ROWS.format(count="2 * count", documents="documents", path="{path}"), r"languages\.json says"),
        ("{all} UNION ALL {all}".replace("{all}", "SELECT * FROM read_parquet('{path}')"), "in two rows"),
        ("SELECT nullif(word, 'the') AS word, * EXCLUDE word FROM read_parquet('{path}')", "without a value"),
        ("SELECT * EXCLUDE documents FROM read_parquet('{path}')", "column documents is missing"),
        ("SELECT encode(word) AS word, * EXCLUDE word FROM read_parquet('{path}')", "word is of type BLOB"),
    ],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_rows_that_no_count_gives_are_refused(tmp_path: Path, rows: str, message: str, sealed: bool) -> None:
    """By their digest, and in folders of an earlier version, which have none, by what they say."""
    save_two(tmp_path / "c")
    path = tmp_path / "c" / "eng_Latn" / "train.parquet"
    with connect() as database:
        database.execute(f"COPY ({rows.replace('{path}', str(path))}) TO '{tmp_path / 'x'}' (FORMAT parquet)")
    (tmp_path / "x").rename(path)
    if not sealed:
        index = json.loads((tmp_path / "c" / "languages.json").read_text())
        for entry in index.values():
            del entry["files"], entry["digest"]
        (tmp_path / "c" / "languages.json").write_text(json.dumps(index))
    expected = r"train\.parquet: was changed" if sealed else message
    with pytest.raises(CountsError, match=expected):
        _ = WordCounts.load(tmp_path / "c").languages["eng_Latn"]
    with pytest.raises(CountsError, match=expected):
        merge_counts([tmp_path / "c"], tmp_path / "out")
    assert WordCounts.load(tmp_path / "c").languages["yor_Latn"].train.words


def test_counts_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    wanted = save_two(tmp_path)
    index = json.loads((tmp_path / "languages.json").read_text())
    for entry in index.values():
        del entry["files"], entry["digest"]
    (tmp_path / "languages.json").write_text(json.dumps(index))
    assert dict(WordCounts.load(tmp_path).languages) == wanted


def test_a_table_holds_whole_numbers_of_one_or_more() -> None:
    one, flags = np.ones(1, np.int64), np.zeros(1, bool)
    for count in (np.array([-1]), np.array([0]), np.array([1.5])):
        with pytest.raises(CountsError, match="whole numbers of 1 or more"):
            WordTable(["a"], flags, count, one)
        with pytest.raises(CountsError, match="whole numbers of 1 or more"):
            WordTable(["a"], flags, one, count)
    with pytest.raises(CountsError, match="other lengths"):
        WordTable(["a", "b"], flags, one, one)


def test_the_bytes_do_not_tell_in_how_many_runs_was_counted(tmp_path: Path) -> None:
    """One run as it is written, and the sum of two: a table's pages end at the same rows."""
    documents = [f"w{number % 3_000:x} w{number % 7:x}" for number in range(9_000)]
    totals = []
    with Tally(0.1) as tally:
        tally.add(documents)
        tally.write_run(tmp_path / "whole")
    with Tally(0.1) as tally:
        for number, part in enumerate((documents[:4_000], documents[4_000:])):
            tally.add(part)
            tally.write_run(tmp_path / f"run-{number}")
        totals.append(tally.totals)
    runs = [tmp_path / "run-0", tmp_path / "run-1"]
    add_tables(runs, tmp_path / "sum", totals[0], 1, 64 << 20)
    for name in ("train.parquet", "held_out.parquet", "characters.parquet"):
        assert (tmp_path / "sum" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_long_runs_are_cut_as_they_are_counted_and_runs_stay_small(tmp_path: Path) -> None:
    """As a line of a gigabyte without a space is: its pieces come as documents, and are cut at once."""
    choose = random.Random(5)
    pieces = ["".join(choose.choices("abcdeéń", k=400_000)) for _ in range(30)]
    memory, runs = 32 << 20, list[Path]()
    with Tally(0.0, memory=memory, spill=tmp_path / "spill") as tally:
        for piece in pieces:
            tally.add([piece])
            if tally.is_full:
                runs.append(tmp_path / f"run-{len(runs)}")
                tally.write_run(runs[-1])
        runs.append(tmp_path / "last")
        tally.write_run(runs[-1])
        totals = tally.totals
    assert len(runs) > 1
    assert max((run / "train.parquet").stat().st_size for run in runs) < memory // 4
    entry = add_tables(runs, tmp_path / "eng_Latn", totals, 1, 8 << 20)
    write_index(tmp_path, {"eng_Latn": entry})
    found = WordCounts.load(tmp_path).languages["eng_Latn"].train
    expected: Counter[tuple[str, bool]] = Counter()
    for piece in pieces:
        expected.update((piece[at : at + 1_000], at > 0) for at in range(0, len(piece), 1_000))
    assert {key: count for key, (count, _) in found.rows()} == expected
    assert [*found.words] == sorted(found.words, key=str.encode)
    assert totals[0].cut_runs == 30
