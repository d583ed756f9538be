"""Each kind of failure has its exit code, its stream and its words; only a bug has a traceback."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.boundary import Boundary
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


def test_no_hint_is_no_line() -> None:
    assert run_raising(ConfigError("wrong")).stderr == "error: wrong\n"


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
