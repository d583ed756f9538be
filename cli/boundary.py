"""The one place where an exception becomes a message and an exit code.

    0    done
    1    the check you asked for failed
    2    a mistake in the usage, a configuration or the input
    101  a bug: traceback, and what to report
    130  interrupted; 143 terminated, 129 the terminal is gone: 128 and the signal's number

A user's mistake prints `error: what, where, value` and `hint: the next command`, never a traceback,
unless `--debug` or VOCABKIT_DEBUG asks for it.
"""

import errno
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from .output import say

# Top-level module of an optional dependency → the extra that installs it.
EXTRAS = {
    "babel": "sample",
    "django": "sample",
    "gflanguages": "sample",
    "torch": "torch",
    "safetensors": "torch",
    "transformers": "hf",
    "s3fs": "s3",
    "gcsfs": "gcs",
    "matplotlib": "plots",
}


# The verbs of `--help`, in the order of the work.
SECTIONS = {
    "Text": ("sample", "count", "merge"),
    "Vocabularies": ("fit", "allocate", "show", "diff", "audit", "compare"),
    "Checkpoints": ("extend", "compare-init", "verify", "undo"),
    "Pretraining": ("prepare", "pretrain", "export"),
    "Help": ("presets", "demo"),
}
# Verbs that keep what is finished for the next try; of the others nothing is left.
RESUMED = ("count", "prepare", "extend")
# Signal → what it did. Those that were ignored before, as under nohup, stay so.
STOPPING = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal is gone"}


class Boundary(TyperGroup):
    """The top-level command group: runs a command and turns what it raises into an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `--debug` after the verb as well: Typer reads a group's options only before it."""
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[:end]:
            args.remove("--debug")
            args.insert(0, "--debug")
        with _explained_usage():
            return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs in groups, in the order of the work; one that is in none comes last."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        named = {name: verb for name, verb in found if verb is not None}
        grouped = {name for names in SECTIONS.values() for name in names}
        sections = {**SECTIONS, "Other": tuple(name for name in named if name not in grouped)}
        width = max(map(len, named))
        for title, names in sections.items():
            shown = {name: named[name] for name in names if name in named}
            if shown:
                with formatter.section(title):
                    # One width for all: columns that jump are hard to read down.
                    room = formatter.width - width - 6
                    formatter.write_dl(
                        [(name.ljust(width), verb.get_short_help_str(room)) for name, verb in shown.items()]
                    )

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        _speak_utf8()
        received: list[int] = []
        try:
            with _heard_signals(received), _explained_usage():
                _check_paths(sys.argv[1:])
                result = super().invoke(ctx)
                sys.stdout.flush()
            return result
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except KeyboardInterrupt as error:
            raise typer.Exit(_say_stopped(received)) from error
        except BrokenPipeError:
            _stop_quietly()
        except BaseException as error:
            # A panic of a library in Rust is no Exception: passed on, Python exits with 1, "the check failed".
            from vocabkit.core.errors import is_panic

            if not isinstance(error, Exception) and not is_panic(error):
                raise
            # A library that was interrupted may say so in an exception of its own.
            raise typer.Exit(_say_stopped(received) if received else _report(error)) from error


@contextmanager
def _heard_signals(received: list[int]) -> Iterator[None]:
    """While the block runs, each signal that stops a process raises KeyboardInterrupt, and is noted."""

    def stop(number: int, frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in STOPPING:
            number = getattr(signal, name, None)
            if number is not None and _is_ours(signal.getsignal(number)):
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ours(handler: object) -> bool:
    """Whether a signal does what it does by itself, or what `vocabkit.__main__` had it do while this loaded."""
    return (
        handler in (signal.SIG_DFL, signal.default_int_handler)
        or getattr(handler, "__name__", "") == "stop_at_once"
    )


@contextmanager
def _explained_usage() -> Iterator[None]:
    """Say what is wrong with the words of a command as every other mistake is said."""
    try:
        yield
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        if context is None or type(error).__name__ == "NoArgsIsHelpError":  # that is the help itself
            raise
        _print_mistake(error.format_message(), f"{context.command_path} --help")
        raise typer.Exit(error.exit_code) from error


def _say_stopped(received: list[int]) -> int:
    """Say what a signal left: some verbs keep what is finished. Return the exit code."""
    number = received[0] if received else int(signal.SIGINT)
    what = STOPPING[signal.Signals(number).name]
    verb = _find_verb()
    if verb in RESUMED or (verb == "fit" and any(word.startswith("--corpus") for word in sys.argv)):
        left = f"`{verb}` goes on where it stopped when the same command is given again"
    else:
        left = "nothing was written"
    print(f"{what}; {left}", file=sys.stderr)
    return 128 + number


def _find_verb() -> str:
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _check_paths(words: list[str]) -> None:
    """Refuse a path that is not UTF-8: DuckDB, tokenizers and safetensors cannot open one, each in its own way.

    The text of `show` may be any bytes: it is refused only where it names what is there.
    """
    from vocabkit.core.errors import ConfigError

    for word in (str(Path.cwd()), *words):
        try:
            word.encode()
        except UnicodeEncodeError as error:
            if "show" not in words[:1] or Path(word).exists():
                what = f"{word}: a path that is not UTF-8"
                spelled = "".join(
                    c if c and (c.isalnum() or c in "/._-") else f"\\x{b:02x}" for c, b in _list_bytes(word)
                )
                raise ConfigError(what, f"mv $'{spelled}' NEW-NAME") from error


def _list_bytes(word: str) -> list[tuple[str, int]]:
    return [(chr(byte) if byte < 0x80 else "", byte) for byte in os.fsencode(word)]


def is_debug() -> bool:
    """Whether tracebacks were asked for."""
    return os.environ.get("VOCABKIT_DEBUG", "") not in {"", "0"}


def _report(error: BaseException) -> int:
    """Print what went wrong on stderr and return the exit code."""
    from vocabkit.core.errors import VocabkitError, is_panic

    hint = None
    if isinstance(error, VocabkitError):
        message, hint = error.message, error.hint
    elif isinstance(error, ModuleNotFoundError) and (extra := _extra_of(error)):
        message, hint = f"this needs {error.name}", f"pip install 'vocabkit[{extra}]'"
    elif is_panic(error):
        message = f"a library that reads the input gave up: {str(error).partition(chr(10))[0]}"
        hint = "one of the input files is malformed: the lines above and --debug say which"
    elif isinstance(error, MemoryError):
        message = "out of memory"
        # A database says so that had all it was allowed, the system that there is no more.
        bounded = "Out of Memory Error" in str(error)
        hint = f"{'raise' if bounded else 'lower'} --memory, raise --min-count, or run with fewer --workers"
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        message, hint = f"{place}{error.strerror or error}", _advise(error)
    else:
        traceback.print_exception(error)
        say(f"error: this is a bug in vocabkit: {type(error).__name__}: {error}")
        print("hint: please report it with the lines above and `vocabkit --version`", file=sys.stderr)
        return 101
    if is_debug():
        traceback.print_exception(error)
    for note in getattr(error, "__notes__", ()):  # what was done before, and stays
        say(note)
    _print_mistake(message, hint or f"{_name_command()} --help")
    return 2


def _print_mistake(message: str, hint: str) -> None:
    say(f"error: {message}")
    # A hint of several lines is several commands.
    for number, line in enumerate(hint.split("\n")):
        say(line if number else f"hint: {line}")


def _name_command() -> str:
    from .main import app

    verb = _find_verb()
    return f"vocabkit {verb}" if verb in {command.name for command in app.registered_commands} else "vocabkit"


def _advise(error: OSError) -> str | None:
    """What to do about an error of the system that no stage foresaw, by its number."""
    name = error.filename
    path = os.fsdecode(name) if isinstance(name, str | bytes) else ""
    above = shlex.quote(os.path.dirname(path) or ".")  # noqa: PTH120
    free = f"free some space: df -h {above}; or choose another folder"
    rights = f"see who may use it: ls -ld {shlex.quote(path or '.')}; or choose another folder"
    many = "let processes open more files: ulimit -n 65536; or use fewer --workers"
    known = {
        errno.ENOSPC: free, errno.EDQUOT: free, errno.EFBIG: "lift the limit on files: ulimit -f unlimited",
        errno.EACCES: rights, errno.EPERM: rights, errno.EROFS: rights,
        errno.ENOENT: f"see what is there: ls {above}", errno.ENOTDIR: f"see what is there: ls -ld {above}",
        errno.EISDIR: "name a file, not a folder",
        errno.EBUSY: "a mounted folder cannot be replaced: choose a new folder inside it",
        errno.EMFILE: many, errno.ENFILE: many,
        errno.ENOMEM: "use fewer --workers, or a smaller --memory",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.ELOOP: f"links lead in a circle: ls -l {above}",
    }  # fmt: skip
    return known.get(error.errno or 0)


def _extra_of(error: ModuleNotFoundError) -> str | None:
    return EXTRAS.get((error.name or "").partition(".")[0])


def _speak_utf8() -> None:
    """Write UTF-8 whatever the locale; bytes of a shell argument that are no text are escaped."""
    # A stream that the caller closed (`>&-`) is None: what goes there goes nowhere, and nothing comes from it.
    nowhere = Path(os.devnull)
    sys.stdin = sys.stdin or nowhere.open(encoding="utf-8")
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")
    reconfigure = getattr(sys.stdin, "reconfigure", None)
    if reconfigure is not None:
        # What is no UTF-8 is left for the command to refuse, with its place.
        reconfigure(encoding="utf-8", errors="surrogateescape")


def _stop_quietly() -> None:
    """The reader of our pipe has seen enough (`vocabkit diff a b | head`): that is no failure."""
    # Python flushes stdout once more on exit; let that go nowhere instead of failing.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
