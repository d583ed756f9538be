"""Text for a comparison: lines to score, and lines to learn from that are not among them."""

from __future__ import annotations

from pathlib import Path

from vocabkit.core.errors import CorpusError


def split_lines(
    text: Path, init_text: Path | None, limit: int | None = None
) -> tuple[list[str], list[str]]:
    """Lines to score and, apart from them, lines to learn from.

    Without a text to learn from, every second distinct line of the one text is. Lines of that text that are
    to be scored are not learnt from. At most `limit` lines are scored, evenly from all of it. Raises
    CorpusError for a file that cannot be read, or is empty.
    """
    scored = _read_lines(text)
    if init_text is not None:
        taken = set(scored)
        learning = [line for line in _read_lines(init_text) if line not in taken]
    else:
        scored, learning = scored[::2], scored[1::2]
    if limit is not None and len(scored) > limit:
        scored = [scored[i * len(scored) // limit] for i in range(limit)]
    return scored, learning


def _read_lines(path: Path) -> list[str]:
    """The distinct lines that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}", "name a text file") from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8: byte {error.start}", "convert it to UTF-8") from None
    lines = list(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
    if not lines:
        raise CorpusError(f"{path}: holds no text", "name a file with a line a document")
    return lines
