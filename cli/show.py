"""`vocabkit show`: how tokenizers cut a text, one as a table, several side by side."""

import codecs
import os
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import typer

from .options import Format, Pattern, Quiet, Route
from .output import Row, escape_commands, show_note, show_rows, show_warnings


def run(
    tokenizers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOK", help="Tokenizers of any format, or folders that hold one.", show_default=False
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT",
            help="The last word, unless it names what is there; without it, or for -, stdin is read.",
            show_default=False,
        ),
    ] = None,
    route: Route = None,
    pattern: Pattern = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Show the pieces a text is cut into, with ids, scripts and bytes.

    Of several tokenizers the pieces stand side by side, in colours on a terminal; other formats have a row
    a token. Control characters are escaped and right-to-left text is isolated; ▁ is a space.

    Example: vocabkit show tok-a/ tok-b/ "Ẹ kú àárọ̀"
    """
    import vocabkit as vk

    names, given = _find_text([*(tokenizers or ()), *([] if text is None else [text])])
    shown = vk.show(names, given, route=route, pattern=pattern)
    rows = shown.to_rows()
    several = len(names) > 1
    if format == "table" and (several or _has_colours()):
        _show_pieces(
            {name: [row for row in rows if row.get("tokenizer", name) == name] for name in shown.names}
        )
    if format != "table" or not several:
        show_rows(rows, format, "show")
    show_warnings(shown.notes, quiet)
    size = f"{len(given)} characters, {len(given.encode())} bytes"
    show_note(size if several else f"{len(rows)} tokens, {size}", quiet)


def _find_text(words: list[str]) -> tuple[list[str], str]:
    """Tell the tokenizers from the text: the last word that names nothing on this disk, or else stdin."""
    from vocabkit.core.errors import ConfigError

    if not words:
        raise ConfigError("no tokenizer is named", "vocabkit show TOKENIZER 'some text'")
    asked = words[-1] == "-" and len(words) > 1
    # Of one word that is there, and no text on stdin, more is not known: `pathlib` refuses long texts.
    if not asked and len(words) > 1 and not os.path.exists(words[-1]):  # noqa: PTH110
        return words[:-1], words[-1]
    names = words[:-1] if asked else words
    hint = f"vocabkit show {shlex.join(names)} 'some text'"
    waiting = not asked and sys.stdin.isatty()
    # The newline that ends a line of a shell's echo is not part of the text.
    given = "" if waiting else sys.stdin.read().removesuffix("\n")
    if not given:
        what = "there is no text to show" + ("" if waiting else ": nothing came on standard input")
        there = "" if asked or len(words) == 1 else f"; {words[-1]} is there, so it is taken for a tokenizer"
        raise ConfigError(what + there, hint)
    return names, given


# --- Pieces in columns -----------------------------------------------------------------------------
# A column a tokenizer. Each line holds the same stretch of text in all of them, where that can be told: up to a
# place where all tokenizers end a token, by the letters before it, without what normalisers change.

# Of the sixteen that every terminal has: finer ones come out alike where there are no more.
_COLOURS = ("cyan", "yellow", "green", "magenta", "bright_blue")
_LOST = "bold white on red"
_MARK, _GAP, _LEAST = "│", 3, 24
"""What parts pieces where there are no colours; cells between columns; the narrowest column worth having."""

_Cells = list[tuple[str, str]]
"""Pieces and their styles."""


def _has_colours() -> bool:
    """Whether the result goes to a terminal that shows colours to someone who has not refused them."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _show_pieces(tokens: Mapping[str, Sequence[Row]]) -> None:
    """Print the pieces of every tokenizer side by side, or below each other where the terminal is narrow."""
    total = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    width = (total - _GAP * (len(tokens) - 1)) // len(tokens)
    first = len(next(iter(tokens.values())))
    heads = {name: (name, _count(len(rows), first)) if len(tokens) > 1 else () for name, rows in tokens.items()}
    if width >= _LEAST or len(tokens) == 1:
        _print_columns([*tokens.values()], [*heads.values()], max(width, _LEAST))
        return
    for name, rows in tokens.items():
        _print_columns([rows], [heads[name]], max(total, _LEAST))


def _print_columns(groups: Sequence[Sequence[Row]], heads: Sequence[Sequence[str]], width: int) -> None:
    from rich.cells import cell_len

    coloured = _has_colours()
    pieces = [_style_pieces(rows, width, coloured) for rows in groups]
    lines: list[list[_Cells]] = []
    for told in zip(*heads, strict=True):
        lines += _wrap([[(part, "bold") for part in _chop(text, width)] for text in told], width)
    held: list[_Cells] = [[] for _ in groups]
    for stretch in _cut_together(groups):
        fresh = [
            [cell for cells in own[start:stop] for cell in cells]
            for own, (start, stop) in zip(pieces, stretch, strict=True)
        ]
        if any(sum(cell_len(t) for t, _ in [*old, *new]) > width for old, new in zip(held, fresh, strict=True)):
            lines += _wrap(held, width) if any(held) else []
            held = [[] for _ in groups]
        held = [old + new for old, new in zip(held, fresh, strict=True)]
    lines += _wrap(held, width)
    padded: list[_Cells] = []
    for line in lines:
        padded.append([])
        for cells in line:
            padding = " " * (width + _GAP - sum(cell_len(text) for text, _ in cells))
            padded[-1] += [*cells, (padding, "")]
    _print_lines((cells[:-1] for cells in padded), coloured)
    sys.stdout.write("\n")


def _count(tokens: int, first: int) -> str:
    """How many tokens, and how many times as many as the first tokenizer's."""
    return f"{tokens:,} tokens" + (f" ({tokens / first:.2f} times)" if first and tokens != first else "")


def _style_pieces(rows: Sequence[Row], width: int, coloured: bool) -> list[_Cells]:
    """The cells of each token: its piece in the next colour, or with a mark behind it; wider ones in parts."""
    styled = []
    for number, row in enumerate(rows):
        style = _LOST if row["bytes"] is None else f"black on {_COLOURS[number % len(_COLOURS)]}"
        parts = _chop(str(row["piece"]), width - 1)
        if not coloured:
            parts[-1] += _MARK
        styled.append([(part, style) for part in parts])
    return styled


def _chop(text: str, width: int) -> list[str]:
    """Cut a text, written so that it commands no terminal, into parts that are no wider."""
    from rich.cells import chop_cells

    return chop_cells(escape_commands(text), width) or [""]


def _cut_together(groups: Sequence[Sequence[Row]]) -> list[list[tuple[int, int]]]:
    """The stretches of a text that end where every tokenizer ends a token, as ranges of each one's tokens.

    Where the tokenizers do not write the same letters, as with unknown text, they are parted at spaces; where
    they do not write the same spaces either, the whole text is one stretch.
    """
    common: set[int] = set()
    for find in (_find_ends, _find_words):
        ends = [find(rows) for rows in groups]
        if len({max(own, default=0) for own in ends}) == 1:
            common = set.intersection(*(set(own) for own in ends))
            break
    stretches, before = [], [0] * len(groups)
    for place in sorted(common)[:-1]:
        after = [own[place] for own in ends]
        stretches.append([*zip(before, after, strict=True)])
        before = after
    return [*stretches, [*zip(before, map(len, groups), strict=True)]]


def _find_ends(rows: Iterable[Row]) -> dict[int, int]:
    """How many tokens lie before each number of letters, where a token ends behind a whole letter."""
    decoder, letters, ends = codecs.getincrementaldecoder("utf-8")("ignore"), 0, dict[int, int]()
    for number, row in enumerate(rows, start=1):
        text = decoder.decode(bytes.fromhex(str(row["bytes"] or "")))
        plain = unicodedata.normalize("NFKD", text.casefold())
        letters += sum(not (character.isspace() or unicodedata.combining(character)) for character in plain)
        if not decoder.getstate()[0]:
            ends[letters] = number
    return ends


def _find_words(rows: Sequence[Row]) -> dict[int, int]:
    """How many tokens lie before the start of each word that follows a space."""
    starts = [place for place, row in enumerate(rows) if place and str(row["bytes"] or "").startswith("20")]
    return dict(enumerate([*starts, len(rows)], start=1))


def _wrap(columns: Sequence[_Cells], width: int) -> list[list[_Cells]]:
    """Lines in which no column is wider than it may be; a piece stays whole."""
    from rich.cells import cell_len

    wrapped: list[list[_Cells]] = []
    for cells in columns:
        lines: list[_Cells] = [[]]
        for text, style in cells:
            if lines[-1] and sum(cell_len(t) for t, _ in lines[-1]) + cell_len(text) > width:
                lines.append([])
            lines[-1].append((text, style))
        wrapped.append(lines)
    most = max(map(len, wrapped), default=0)
    return [[own[place] if place < len(own) else [] for own in wrapped] for place in range(most)]


def _print_lines(lines: Iterable[_Cells], coloured: bool) -> None:
    if not coloured:
        sys.stdout.writelines("".join(text for text, _ in cells).rstrip() + "\n" for cells in lines)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, width=100_000)
    for cells in lines:
        console.print(Text.assemble(*cells), soft_wrap=True)
