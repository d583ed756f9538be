"""Every exception that vocabkit raises on purpose, in one tree.

    VocabkitError            anything the user can put right; carries a hint: the next command to type
    ├── CheckpointError      a checkpoint that is damaged, ambiguous, or does not fit the request
    ├── ConfigError          a preset, a TOML file or a --set value
    ├── CorpusError          text that cannot be read as configured
    ├── CountsError          a counts folder that is missing, damaged or does not fit the request
    ├── FitError             a vocabulary that cannot be fitted as asked
    │   └── TooFewPieces     text that supports fewer pieces than the size; `reached` says how many
    ├── MissingExtra         an optional dependency that is not installed
    ├── OutputError          a folder that cannot be written, or must not be overwritten
    ├── PretrainingError     prepared rows, a run or a model that cannot be used as asked
    ├── TokenizerError       a tokenizer file that cannot be read, or text it cannot encode
    └── WorkerError          a worker process that was killed

Bugs are ordinary Python exceptions: the command line shows those with a traceback and exit code 101.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class VocabkitError(Exception):
    """A mistake the user can put right. `message` holds what, where and the value; `hint` the next command."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[VocabkitError], tuple[object, ...]]:
        # Worker processes hand their errors back pickled; the default would lose the hint.
        return type(self), (self.message, self.hint)


class CheckpointError(VocabkitError):
    """A checkpoint is damaged, ambiguous, or does not fit the request."""


class ConfigError(VocabkitError):
    """A preset, a TOML file or a `--set` value is wrong."""


class CorpusError(VocabkitError):
    """Text cannot be read as configured."""


class CountsError(VocabkitError):
    """A counts folder is missing, damaged or does not fit the request."""


class FitError(VocabkitError):
    """A vocabulary cannot be fitted as asked."""


class TooFewPieces(FitError):
    """The text cannot fill the size; `reached` is how many pieces it supports."""

    def __init__(self, reached: int, size: int) -> None:
        super().__init__(
            f"this text supports {reached:_} pieces, not {size:_}", "lower vocabulary.size, or count more text"
        )
        self.reached = reached
        self.size = size

    def __reduce__(self) -> tuple[type[VocabkitError], tuple[object, ...]]:
        return type(self), (self.reached, self.size)


class MissingExtra(VocabkitError):
    """An optional dependency is not installed."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint or "pip install 'vocabkit[all]'")


class OutputError(VocabkitError):
    """An output folder cannot be written, or must not be overwritten."""


class PretrainingError(VocabkitError):
    """Prepared rows, a run or a model cannot be used as asked."""


class TokenizerError(VocabkitError):
    """A tokenizer cannot be read, or cannot encode the text."""


class WorkerError(VocabkitError):
    """A worker process was killed, mostly for want of memory."""


# --- Messages, and other libraries' ----------------------------------------------------------------


def is_panic(error: BaseException) -> bool:
    """Whether an exception is what a library in Rust raises for a bug of its own: it is no Exception."""
    return type(error).__name__ == "PanicException"


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says."""
    return str(error).partition("\n")[0]


def shorten_names(names: Sequence[str], most: int = 6) -> str:
    """Return names as a message lists them: `a, b and 3 more`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


@contextmanager
def named_failures(error: type[VocabkitError], what: str, hint: str) -> Iterator[None]:
    """Raise `error`, naming `what`, for all that a library in the block raises, its panics too.

    For calls of other libraries alone: they raise bare Exceptions, and within our own code those are bugs.
    """
    try:
        yield
    except VocabkitError:
        raise
    except BaseException as found:
        if not isinstance(found, Exception) and not is_panic(found):
            raise
        raise error(f"{what}: {first_line(found)}", hint) from found
