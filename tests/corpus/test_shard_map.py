import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from vocabkit.core.errors import OutputError, WorkerError
from vocabkit.core.progress import Silent
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.reading import Repairs
from vocabkit.corpus.shard_map import FINISHED, Shard, ShardPlan, map_shards, open_executor, open_work
from vocabkit.corpus.sources import open_corpus

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals differ")

WORDS = {"eng_Latn": "the dog sat on a mat and saw", "yor_Latn": "ajá náà jókòó lórí ẹní ó sì rí ológbò"}
PLAIN = """
from vocabkit.auditing.auditing import run_audit
from vocabkit.auditing.parallel_text import read_audit_text
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.sources import open_corpus

corpus = open_corpus("corpus")
counted = count_corpus(corpus, "counts", CountOptions(workers=2))
audit = run_audit("plain.model", read_audit_text(corpus), resamples=0, workers=2)
print(len(counted.rows), len(audit.failures), __file__, __spec__)
"""


def test_a_plain_script_may_start_processes(tmp_path: Path) -> None:
    """A spawned process would run a script without a guard again, and fail where that starts processes."""
    (tmp_path / "corpus").mkdir()
    for code, words in WORDS.items():
        (tmp_path / "corpus" / f"{code}.txt").write_text(f"{words}\n" * 20, encoding="utf-8")
    with (tmp_path / "plain.model").open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(WORDS.values()),
            model_writer=model,
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    script = tmp_path / "plain.py"
    script.write_text(PLAIN, encoding="utf-8")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (run.stdout, run.returncode) == (f"2 0 {script} None\n", 0), run.stderr


@posix
@pytest.mark.parametrize(("number", "said"), [(signal.SIGKILL, "was killed"), (signal.SIGSEGV, "SIGSEGV")])
def test_a_worker_that_dies_is_said_with_what_to_do(number: signal.Signals, said: str) -> None:
    def die() -> None:
        with ExitStack() as stack:
            open_executor(2, 2, stack).submit(signal.raise_signal, number).result()

    with pytest.raises(WorkerError, match=said) as caught:
        die()
    assert caught.value.hint is not None
    assert "--workers" in caught.value.hint
    assert "--memory" in caught.value.hint


def _make(plan: ShardPlan, folder: Path, repairs: Repairs) -> dict[str, Any]:
    """A shard that is a file, unless it is that of a language whose worker is killed when the other is done."""
    if plan.language == "bad_Latn":
        while not list(plan.folder.parent.glob(f"good/{FINISHED}")):
            time.sleep(0.01)
        signal.raise_signal(signal.SIGKILL)
    (folder / "made").touch()
    return {}


def _restore(folder: Path, record: dict[str, Any]) -> Shard:
    return Shard(**{**record, "folder": folder})


@posix
def test_what_is_finished_is_kept_when_a_worker_is_killed(tmp_path: Path) -> None:
    def run(*names: str) -> int:
        with open_work(tmp_path / "out", "counting", "a plan") as (shards, ready), ExitStack() as stack:
            plans = [ShardPlan(f"{name}_Latn", (), "line", "text", shards / name) for name in names]
            pool = open_executor(2, len(plans), stack)
            _, resumed = map_shards(_make, _restore, plans, pool, "making", Silent())
            (ready / "all").touch()
        return resumed

    with pytest.raises(WorkerError):
        run("good", "bad")
    assert [path.name for path in tmp_path.iterdir()] == [".out.counting"]
    assert run("good", "other") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class _Counting(Executor):
    """Runs each task twice, as a scheduler does that believed the first attempt dead, and counts them."""

    def __init__(self) -> None:
        self.tasks = 0

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.tasks += 1
        future: Future[object] = Future()
        fn(*args, **kwargs)
        twice = fn.__name__ == "_make_shard"
        future.set_result(fn(*args, **kwargs) if twice else None)
        return future


def test_small_files_are_done_together_and_a_second_attempt_does_not_collide(tmp_path: Path) -> None:
    for code, words in WORDS.items():
        (tmp_path / "corpus" / code).mkdir(parents=True)
        for number in range(300):
            (tmp_path / "corpus" / code / f"{number}.txt").write_text(f"{words} {number}\n", encoding="utf-8")
    corpus, pool = open_corpus(tmp_path / "corpus"), _Counting()
    counted = count_corpus(corpus, tmp_path / "counts", CountOptions(workers=1), executor=pool)
    assert pool.tasks == 2
    assert [row.sources for row in counted.rows] == [300, 300]
    assert [row.documents + row.held_out_documents for row in counted.rows] == [300, 300]


def test_what_appeared_while_counting_stays(tmp_path: Path) -> None:
    def work() -> None:
        with open_work(tmp_path / "out", "counting", "a plan") as (_, ready):
            (ready / "mine").touch()
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").touch()

    with pytest.raises(OutputError, match="another process wrote it meanwhile"):
        work()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]


def _write_corpus(folder: Path, size: int) -> None:
    for code, words in WORDS.items():
        folder.mkdir(exist_ok=True)
        lines = (f"{words} {number}\n" for number in range(size))
        (folder / f"{code}.txt").write_text("".join(lines), encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_die_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    _write_corpus(tmp_path / "corpus", 300_000)
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "count", "corpus", "-o", "counts", "--workers", "2"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        while run.poll() is None and not list(tmp_path.glob(".counts.counting/shards/*.read")):
            time.sleep(0.02)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert run.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number == signal.SIGTERM:
        assert said.startswith("terminated; ")
        assert said.count("\n") == 1
    end = time.monotonic() + 5
    while (living := _list_session(run.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    assert living == []


def _list_session(session: int) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(place.name)
    return found


@posix
@pytest.mark.parametrize("verb", ["count", "merge"])
def test_no_room_is_said_of_the_output_and_leaves_nothing(verb: str, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: libraries fail in their own words on both."""
    _write_corpus(tmp_path / "corpus", 20_000)
    count_corpus(open_corpus(tmp_path / "corpus"), tmp_path / "counts", CountOptions(workers=1))
    given = ["corpus", "--workers", "1"] if verb == "count" else ["counts"]
    run = subprocess.run(
        [sys.executable, "-m", "cli", verb, *given, "-o", "out"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000)),
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (2, "")
    error, hint = run.stderr.splitlines()
    assert error.startswith("error: out: ")
    assert hint == "hint: free some space, or choose another folder with -o"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "counts"]
