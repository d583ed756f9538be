import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vocabkit.core.errors import CorpusError, CountsError, OutputError
from vocabkit.core.records import read_manifest
from vocabkit.corpus.counting import CountOptions, count_corpus, keep_counts, merge_counts
from vocabkit.corpus.shard_map import open_work
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.word_counts import WordCounts

ONE = CountOptions(workers=1)


def lines(seed: int, size: int, words: int = 300) -> list[str]:
    draw = random.Random(seed)
    return [
        " ".join(f"w{int(draw.random() ** 3 * words)}" for _ in range(draw.randint(1, 12))) for _ in range(size)
    ]


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    (root / "yor_Latn").mkdir(parents=True)
    (root / "eng_Latn.txt").write_text("\n".join(lines(0, 400)) + "\n", encoding="utf-8")
    for index in range(3):
        (root / "yor_Latn" / f"{index}.txt").write_text("\n".join(lines(index + 1, 150)), encoding="utf-8")
    return root


def expected(held_out: float = 0.02) -> WordCounts:
    yoruba = [line for index in range(3) for line in lines(index + 1, 150)]
    return WordCounts.from_texts({"eng_Latn": lines(0, 400), "yor_Latn": yoruba}, held_out=held_out)


def test_a_count_equals_counting_in_memory(corpus_folder: Path, tmp_path: Path) -> None:
    report = count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE)
    counts = WordCounts.load(tmp_path / "counts")
    assert counts == expected()
    assert counts.fingerprint == expected().fingerprint
    assert [(row.language, row.sources) for row in report.rows] == [
        ("eng_Latn", 1),
        ("yor_Latn", 3),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "counts"]
    manifest = read_manifest(tmp_path / "counts")
    assert {Path(name.split(": ")[1]).name for name in manifest["inputs"]} == {
        "eng_Latn.txt", "0.txt", "1.txt", "2.txt",
    }  # fmt: skip


def test_processes_threads_and_tiny_memory_give_the_same_counts(corpus_folder: Path, tmp_path: Path) -> None:
    corpus = open_corpus(corpus_folder)
    wanted = expected().fingerprint
    # 20 kB a worker: every batch is flushed as a run, so sums are made on disk.
    small = CountOptions(workers=2, memory=40_000)
    count_corpus(corpus, tmp_path / "a", small)
    assert WordCounts.load(tmp_path / "a").fingerprint == wanted
    with ThreadPoolExecutor(3) as pool:
        count_corpus(corpus, tmp_path / "b", CountOptions(workers=3), executor=pool)
    assert WordCounts.load(tmp_path / "b").fingerprint == wanted
    assert WordCounts.load(tmp_path / "a") == expected()


def test_the_written_config_counts_the_same_again(corpus_folder: Path, tmp_path: Path) -> None:
    count_corpus(open_corpus(corpus_folder), tmp_path / "a", ONE)
    count_corpus(open_corpus(tmp_path / "a" / "config.toml"), tmp_path / "b", ONE)
    assert WordCounts.load(tmp_path / "b") == expected()


def test_an_update_counts_only_what_is_new(corpus_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts"
    late = corpus_folder / "yor_Latn" / "2.txt"
    text = late.read_bytes()
    late.unlink()
    count_corpus(open_corpus(corpus_folder), out, ONE)
    late.write_bytes(text)
    (corpus_folder / "hau_Latn.txt").write_text("sannu\n", encoding="utf-8")
    with pytest.raises(OutputError, match="not empty"):
        count_corpus(open_corpus(corpus_folder), out, ONE)
    report = count_corpus(open_corpus(corpus_folder), out, ONE, update=True)
    assert {row.language: row.sources for row in report.rows} == {
        "eng_Latn": 0, "hau_Latn": 1, "yor_Latn": 1,
    }  # fmt: skip
    counts = WordCounts.load(out)
    assert counts == expected() + WordCounts.from_texts({"hau_Latn": ["sannu"]}, held_out=0.02)
    assert len(read_manifest(out)["inputs"]) == 5
    moved = corpus_folder.rename(tmp_path / "moved")
    assert count_corpus(open_corpus(moved), out, ONE, update=True).rows[0].sources == 0
    assert WordCounts.load(out) == counts
    moved.rename(corpus_folder)
    late.write_bytes(text + b"\nmore")
    with pytest.raises(CountsError, match=r"2\.txt: has changed"):
        count_corpus(open_corpus(corpus_folder), out, ONE, update=True)
    with pytest.raises(CountsError, match="held_out"):
        count_corpus(open_corpus(corpus_folder), out, CountOptions(held_out=0.5), update=True)


def test_merging_shards_equals_counting_them_together(corpus_folder: Path, tmp_path: Path) -> None:
    folders = []
    for index in range(3):
        part = tmp_path / f"part{index}"
        part.mkdir()
        (corpus_folder / "yor_Latn" / f"{index}.txt").rename(part / "yor_Latn.txt")
        folders.append(tmp_path / f"counts{index}")
        count_corpus(open_corpus(part), folders[-1], ONE)
    merged = merge_counts(folders, tmp_path / "all")
    assert merged.languages["yor_Latn"] == expected().languages["yor_Latn"]


class Interrupts(ThreadPoolExecutor):
    """Counts two shards, then Ctrl-C."""

    calls = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        future = super().submit(fn, *args, **kwargs)
        future.result()
        if self.calls == 2:
            raise KeyboardInterrupt
        return future


def test_an_interrupted_count_leaves_no_output_and_resumes(corpus_folder: Path, tmp_path: Path) -> None:
    corpus = open_corpus(corpus_folder)
    with pytest.raises(KeyboardInterrupt), Interrupts(1) as pool:
        count_corpus(corpus, tmp_path / "counts", ONE, executor=pool)
    assert not (tmp_path / "counts").exists()
    report = count_corpus(corpus, tmp_path / "counts", ONE)
    assert report.resumed == 2
    assert WordCounts.load(tmp_path / "counts") == expected()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "counts"]


def test_one_process_at_a_time(corpus_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with open_work(tmp_path / "counts", "counting", "another plan") as (work, _):
        (work / "finished").write_text("by the first", encoding="utf-8")
        with pytest.raises(OutputError, match="another process is counting it"):
            count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE)
        assert (work / "finished").is_file()
    count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE)
    assert WordCounts.load(tmp_path / "counts") == expected()


def test_what_outlived_its_run_changes_nothing(corpus_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts(1) as pool:
        count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE, executor=pool)
    shards = tmp_path / ".counts.counting" / "shards"
    finished = sorted(shards.glob("*/done.json"))
    assert len(finished) == 2
    # An attempt that a kill cut short, a record cut short by a full disk, and a run that was moved away.
    (shards / "yor_Latn-0000.attempt" / "run-00000").mkdir(parents=True)
    finished[0].write_text("{", encoding="utf-8")
    (finished[1].parent / "run-00000").rename(tmp_path / "elsewhere")
    assert count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE).resumed == 0
    assert WordCounts.load(tmp_path / "counts") == expected()


def test_a_shard_that_changed_since_the_interruption_is_counted_again(
    corpus_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts(1) as pool:
        count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE, executor=pool)
    (corpus_folder / "eng_Latn.txt").write_text("changed\n", encoding="utf-8")
    count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE)
    counts = WordCounts.load(tmp_path / "counts").languages["eng_Latn"]
    assert [*counts.train.words, *counts.held_out.words] == ["changed"]


def test_an_error_names_the_file_and_leaves_no_output(corpus_folder: Path, tmp_path: Path) -> None:
    path = corpus_folder / "yor_Latn" / "1.txt"
    path.write_bytes(b"fine\nfine\ncaf\xe9\n")
    for workers in (1, 2):
        with pytest.raises(CorpusError, match=r"1\.txt:3"):
            count_corpus(open_corpus(corpus_folder), tmp_path / "counts", CountOptions(workers=workers))
        assert not (tmp_path / "counts").exists()
    path.unlink()
    packed = corpus_folder / "yor_Latn" / "3.txt.gz"
    packed.write_bytes(gzip.compress(b"a b c\n" * 1000)[:-20])
    with pytest.raises(CorpusError, match=r"3\.txt\.gz"):
        count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE)


def test_min_count_is_applied_to_the_sum_and_what_it_drops_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "yor_Latn"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("rare common common once\n", encoding="utf-8")
    (folder / "b.txt").write_text("rare common\n", encoding="utf-8")
    options = CountOptions(held_out=0.0, min_count=2, workers=1)
    report = count_corpus(open_corpus(tmp_path / "corpus"), tmp_path / "counts", options)
    counts = WordCounts.load(tmp_path / "counts").languages["yor_Latn"]
    assert dict(counts.train.rows()) == {("common", False): (3, 2), ("rare", False): (2, 2)}
    assert report.rows[0].discarded == counts.totals.discarded == 1
    assert counts.totals.words == 6
    assert counts.characters["o"] == sum("rarecommoncommononcerarecommon".count(c) for c in "o")


def test_a_language_without_a_document_is_an_error(corpus_folder: Path, tmp_path: Path) -> None:
    (corpus_folder / "hau_Latn.txt.gz").write_bytes(gzip.compress(b"\n \n"))
    with pytest.raises(CorpusError, match=r"hau_Latn: no document in .*hau_Latn\.txt\.gz"):
        count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE)
    assert not (tmp_path / "counts").exists()
    # Its finished shards wait; where there is none, nothing is left.
    only = open_corpus(corpus_folder, languages=["hau_Latn"])
    (corpus_folder / "hau_Latn.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(CorpusError, match="damaged gzip"):
        count_corpus(only, tmp_path / "other", ONE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".counts.counting", "corpus"]


@pytest.mark.parametrize(
    "options", [CountOptions(held_out=1.0), CountOptions(held_out=-0.1), CountOptions(min_count=0)]
)
def test_bad_options(corpus_folder: Path, tmp_path: Path, options: CountOptions) -> None:
    with pytest.raises(CountsError, match="expected"):
        count_corpus(open_corpus(corpus_folder), tmp_path / "counts", options)


BIG = """
import sys
from pathlib import Path
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.sources import open_corpus
if __name__ == "__main__":
    options = CountOptions(held_out=0.0, memory=int(sys.argv[3]), workers=1)
    count_corpus(open_corpus(sys.argv[1]), Path(sys.argv[2]), options)
    # Not getrusage: its maximum is that of the process that started this one, if it was larger.
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.slow
def test_a_corpus_with_more_distinct_words_than_memory_holds(tmp_path: Path) -> None:
    """Four million distinct words: a setting of 128 MB gives the counts that 4 GB gives, in far less."""
    root = tmp_path / "corpus"
    root.mkdir()
    with (root / "eng_Latn.txt").open("w", encoding="utf-8") as file:
        for _ in range(2):
            for start in range(0, 4_000_000, 20):
                file.write(" ".join(f"distinct-word-{i}" for i in range(start, start + 20)) + "\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    peaks = {}
    for memory in (128 << 20, 4 << 30):
        run = subprocess.run(
            [sys.executable, "-c", BIG, str(root), str(tmp_path / str(memory)), str(memory)],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        peaks[memory] = int(run.stdout) * 1024
    bounded, free = (
        WordCounts.load(tmp_path / str(128 << 20)),
        WordCounts.load(tmp_path / str(4 << 30)),
    )
    assert bounded.fingerprint == free.fingerprint
    table = bounded.languages["eng_Latn"].train
    assert len(table) == 4_000_000
    assert set(table.count.tolist()) == {2}
    assert peaks[128 << 20] < 0.6 * peaks[4 << 30]


def test_a_long_line_is_counted_within_memory(tmp_path: Path) -> None:
    """64 MB without a space within 400 MB, libraries and all, and every character of it."""
    root, size = tmp_path / "corpus", 64 << 20
    root.mkdir()
    chance = random.Random(0)
    with (root / "eng_Latn.txt").open("w", encoding="utf-8") as file:
        for _ in range(64):
            file.write(chance.randbytes(1 << 19).hex())
    run = subprocess.run(
        [sys.executable, "-c", BIG, str(root), str(tmp_path / "counts"), str(400 << 20)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert int(run.stdout) * 1024 < 400 << 20
    counts = WordCounts.load(tmp_path / "counts")
    assert counts.totals_of("eng_Latn")[0].characters == size


def test_the_corpus_is_never_the_output(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "eng_Latn.txt").write_text("one two\n", encoding="utf-8")
    for place in (root, tmp_path):
        with pytest.raises(OutputError, match="from which it is made"):
            count_corpus(open_corpus(root), place, force=True)
    assert (root / "eng_Latn.txt").read_text(encoding="utf-8") == "one two\n"


def test_what_the_minimum_count_drops_is_said(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "zho_Hans.txt").write_text("甲乙\n丙丁\n甲乙\n戊己\n", encoding="utf-8")
    (tmp_path / "corpus" / "eng_Latn.txt").write_text("a a b b c c a b\n" * 9 + "d\n", encoding="utf-8")
    options = CountOptions(held_out=0.0, min_count=2, workers=1)
    found = count_corpus(open_corpus(tmp_path / "corpus"), tmp_path / "counts", options)
    assert found.warnings == ("zho_Hans: the minimum count dropped 50.0% of all occurrences",)
    assert found.dropped == 3 / (4 + 73)


def snapshot(folder: Path) -> dict[str, object]:
    """Every byte of counts, and what the manifest says but for when and how long."""
    found: dict[str, object] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    manifest = read_manifest(folder)
    return found | {name: manifest[name] for name in ("config", "inputs", "outputs", "details")}


@pytest.mark.parametrize("document", ["line", "blank-line", "file"])
def test_a_count_does_not_tell_in_how_many_parts_a_file_was_read(
    corpus_folder: Path, tmp_path: Path, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "\ufeffà àà\r\n\r\nb\0b\r\r c 的的\n\u2028\n" + "x" * 300 + "\n\n\n😀 d\n \n\t\nlast"
    (corpus_folder / "eng_Latn.txt").write_text(odd * 9, encoding="utf-8", newline="")
    (corpus_folder / "yor_Latn" / "3.txt").write_text("\n \n" * 90, encoding="utf-8")
    corpus = open_corpus(corpus_folder, document=document)
    whole = count_corpus(corpus, tmp_path / "whole", CountOptions(0.3, workers=1))
    monkeypatch.setattr("vocabkit.corpus.sources.PART_BYTES", 64)
    cut = count_corpus(corpus, tmp_path / "cut", CountOptions(0.3, workers=1))
    assert snapshot(tmp_path / "cut") == snapshot(tmp_path / "whole")
    assert cut.rows == whole.rows
    assert [row.sources for row in cut.rows] == [1, 4]
    assert dict(cut.rows[1].repairs)["empty_file"] == 1


def test_parts_are_taken_over_and_nothing_is_counted_again_by_an_update(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocabkit.corpus.sources.PART_BYTES", 1_000)
    corpus = open_corpus(corpus_folder)
    with pytest.raises(KeyboardInterrupt), Interrupts(1) as pool:
        count_corpus(corpus, tmp_path / "counts", ONE, executor=pool)
    assert count_corpus(corpus, tmp_path / "counts", ONE).resumed == 2
    assert WordCounts.load(tmp_path / "counts") == expected()
    late = corpus_folder / "yor_Latn" / "late.txt"
    late.write_text("\n".join(lines(5, 500)), encoding="utf-8")
    count_corpus(open_corpus(corpus_folder), tmp_path / "counts", ONE, update=True)
    added = WordCounts.from_texts({"yor_Latn": lines(5, 500)}, held_out=0.02)
    assert WordCounts.load(tmp_path / "counts") == expected() + added


# --- Counts that a fit keeps -----------------------------------------------------------------------


def test_counts_are_kept_while_they_are_of_the_corpus(corpus_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"

    def keep(*, force: bool = False) -> str:
        counts, said = keep_counts(open_corpus(corpus_folder), out, ONE, force=force)
        assert counts == count_corpus(open_corpus(corpus_folder), tmp_path / "new", ONE, force=True)
        return said.replace(str(tmp_path), "")

    assert keep().startswith("counted corpus into /kept in ")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert keep() == "took the counts in /kept: they are of the same files"
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    (corpus_folder / "yor_Latn" / "9.txt").write_text("\n".join(lines(9, 90)), encoding="utf-8")
    assert keep() == "added /corpus/yor_Latn/9.txt to the counts in /kept"
    (corpus_folder / "yor_Latn" / "0.txt").write_text("\n".join(lines(10, 90)), encoding="utf-8")
    with pytest.raises(CountsError, match=r"0\.txt has changed"):
        keep()
    assert "0.txt has changed" in keep(force=True)
    (corpus_folder / "yor_Latn" / "9.txt").unlink()
    with pytest.raises(CountsError, match=r"9\.txt is not in it any more"):
        keep()
    assert "9.txt is not in it" in keep(force=True)
    merge_counts([out], tmp_path / "sum")
    with pytest.raises(CountsError, match="it is a sum"):
        keep_counts(open_corpus(corpus_folder), tmp_path / "sum", ONE)
    other = open_corpus(corpus_folder, document="file")
    with pytest.raises(CountsError, match="document was 'line' and is 'file'"):
        keep_counts(other, out, ONE)
    with pytest.raises(CountsError, match=r"held_out was 0\.02 and is 0\.5"):
        keep_counts(open_corpus(corpus_folder), out, CountOptions(held_out=0.5))
