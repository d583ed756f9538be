"""Each kind of failure has its exit code, its stream and its words; only a bug has a traceback."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.boundary import SECTIONS, Boundary
from vocabkit.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def run_raising(error: BaseException, *words: str) -> Result:
    """The result of a command that raises `error`, under the real boundary."""
    app = typer.Typer(cls=Boundary, rich_markup_mode=None, pretty_exceptions_enable=False)

    @app.callback()
    def top(debug: bool = False) -> None:
        if debug:
            import os

            os.environ["VOCABKIT_DEBUG"] = "1"

    @app.command("fail")
    def fail() -> None:
        print("partial result")
        raise error

    return CliRunner().invoke(app, ["fail", *words])


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set and deleted, so that what a command sets is undone.
    monkeypatch.setenv("VOCABKIT_DEBUG", "0")


def test_a_mistake_is_two_lines_on_stderr() -> None:
    result = run_raising(ConfigError("fit.toml: size = -1", "vocabkit presets list"))
    assert result.exit_code == 2
    assert result.stdout == "partial result\n"
    assert result.stderr == "error: fit.toml: size = -1\nhint: vocabkit presets list\n"


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["cuont"], "No such command 'cuont'", "vocabkit --help"),
        (["--nothing"], "No such option: --nothing", "vocabkit --help"),
        (["count", "--nothing"], "No such option: --nothing", "vocabkit count --help"),
        (["count"], "Missing option '--output'", "vocabkit count --help"),
        (
            ["count", "a", "-o", "b", "--held-out", "3"],
            "Invalid value for '--held-out'",
            "vocabkit count --help",
        ),
        (["presets", "lsit"], "No such command 'lsit'", "vocabkit presets --help"),
    ],
)
def test_a_mistake_in_the_words_is_two_lines_too(words: list[str], what: str, hint: str) -> None:
    done = run_vocabkit(*words)
    assert done.returncode == 2
    error, advice = done.stderr.splitlines()
    assert error.startswith(f"error: {what}")
    assert advice == f"hint: {hint}"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out/x"),
            "out/x: No space left on device",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "out: Permission denied"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(error: Exception, words: str) -> None:
    result = run_raising(error)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {words}\n")
    assert result.stderr.splitlines()[1].startswith("hint: ")
    assert "Traceback" not in result.stderr


def test_a_panic_of_a_library_is_no_failed_check() -> None:
    # tiktoken's core panics on a rank that two tokens have.
    from tiktoken import Encoding

    ranks = {b"a": 0, b"b": 0}
    with pytest.raises(BaseException, match="duplicate token") as caught:
        Encoding("twice", pat_str=".", mergeable_ranks=ranks, special_tokens={})
    assert not isinstance(caught.value, Exception)
    result = run_raising(caught.value)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_a_message_commands_no_terminal() -> None:
    result = run_raising(ConfigError("\x1b[2J.toml: key\nerror: none", "ls '\x9b1m'"))
    assert result.stderr == "error: \\x1b[2J.toml: key\\nerror: none\nhint: ls '\\x9b1m'\n"


@pytest.mark.parametrize(
    "words",
    [
        ("count", "{}", "-o", "c"),
        ("fit", "x", "--counts={}"),
        ("show", "{}", "text"),
        ("presets", "show", "{}"),
    ],
)
def test_a_path_that_is_not_utf8_is_refused_at_the_start(words: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "\udcff"
    folder.mkdir()
    asked = [sys.executable, "-m", "vocabkit", *(word.format(folder) for word in words)]
    found = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "\\udcff: a path that is not UTF-8" in found.stderr
    assert "\\xff' NEW-NAME" in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_every_error_of_the_system_has_a_next_step() -> None:
    for number in errno.errorcode:
        error = OSError(number, os.strerror(number), "out/x")
        if not isinstance(error, BrokenPipeError):  # the reader has seen enough
            said = run_raising(error).stderr.splitlines()
            assert said[0] == f"error: out/x: {os.strerror(number)}"
            assert said[1].startswith("hint: ")


def test_a_missing_extra_says_how_to_install_it() -> None:
    result = run_raising(ModuleNotFoundError("No module named 'torch'", name="torch.nn"))
    assert result.exit_code == 2
    assert result.stderr.endswith("hint: pip install 'vocabkit[torch]'\n")


def test_any_other_missing_module_is_a_bug() -> None:
    result = run_raising(ModuleNotFoundError("No module named 'zzz'", name="zzz"))
    assert result.exit_code == 101


def test_a_bug_shows_its_traceback_and_101() -> None:
    result = run_raising(ZeroDivisionError("division by zero"))
    assert result.exit_code == 101
    assert "Traceback" in result.stderr
    assert "this is a bug in vocabkit: ZeroDivisionError: division by zero" in result.stderr
    assert "report" in result.stderr.splitlines()[-1]


def test_an_interrupt_is_130() -> None:
    assert run_raising(KeyboardInterrupt()).exit_code == 130


_WAITING = """
import sys, time, cli.main
@cli.main.app.command()
def count():
    print("ready", flush=True)
    try:
        time.sleep(60)
    except BaseException as error:
        raise RuntimeError("a library's own words") from error if len(sys.argv) > 2 else error
cli.main.app()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", [["count"], ["count", "--debug"]], ids=["direct", "in other words"])
def test_a_signal_is_one_line_and_its_number(number: signal.Signals, words: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WAITING, *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    assert said.endswith("; `count` goes on where it stopped when the same command is given again\n")
    assert said.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_what_was_ignored_stays_ignored() -> None:
    """Under nohup a run outlives its terminal."""
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + _WAITING.replace(
        "time.sleep(60)", "signal.raise_signal(signal.SIGHUP)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "count"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


def test_exit_codes_of_commands_pass() -> None:
    assert run_raising(typer.Exit(1)).exit_code == 1


def test_debug_shows_the_traceback_wherever_it_stands() -> None:
    result = run_raising(ConfigError("wrong", "next"), "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("error: wrong\nhint: next\n")


def run_vocabkit(*words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={"PATH": "", "PYTHONPATH": str(ROOT), **settings},
    )


def test_unknown_commands_and_options_are_2_with_a_suggestion() -> None:
    done = run_vocabkit("cuont")
    assert done.returncode == 2
    assert "Did you mean 'count'" in done.stderr
    assert run_vocabkit("presets", "list", "--fromat", "csv").returncode == 2


def test_output_is_utf8_in_any_locale() -> None:
    done = run_vocabkit("presets", "show", "ẹ̀-kú", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "ẹ̀-kú" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ")
def test_a_reader_that_leaves_is_no_failure() -> None:
    # Enough output that the pipe's buffer cannot hold it.
    script = "import cli.main\n@cli.main.app.command()\ndef many():\n print('x\\n' * 500_000)\ncli.main.app()"
    shell = '("$0" -c "$1" many; echo "code $?" >&2) | head -1'
    done = subprocess.run(
        ["/bin/sh", "-c", shell, sys.executable, script],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stdout == "x\n"
    assert done.stderr == "code 0\n"


@pytest.mark.parametrize("loading", ["runpy", "typer", "vocabkit.cli"])
def test_an_interrupt_while_the_command_line_loads_is_one_line(loading: str) -> None:
    # Python says what it has imported as it goes: the signal comes in the middle of it.
    start = "from vocabkit.__main__ import main; main()"
    words = [sys.executable, "-X", "importtime", "-c", start, "--version"]
    said = []
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if not line.startswith("import time:"):
                said.append(line)
            elif line.split("|")[-1].strip() == loading:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert said == ["interrupted\n"]


def test_verbs_stand_in_groups_in_the_order_of_the_work() -> None:
    from cli import app

    said = CliRunner().invoke(app, ["--help"]).output
    places = [said.index(f"\n{title}:") for title in SECTIONS]
    assert places == sorted(places)
    verbs = re.findall(r"^  ([a-z-]+)  +[A-Z]", said.partition("\nText:")[2], re.M)
    assert verbs == [verb for names in SECTIONS.values() for verb in names]
    assert "\nOther:" not in said
