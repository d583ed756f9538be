"""`vocabkit show`: how a tokenizer cuts a text."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Format, Pattern, Quiet, Route
from .output import show_note, show_rows, show_warnings


def run(
    tokenizer: Annotated[
        Path, typer.Argument(metavar="TOK", help="A tokenizer of any format, or a folder that holds one.")
    ],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Text, or - to read it from stdin.")],
    route: Route = None,
    pattern: Pattern = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Show the pieces a text is cut into, with ids, scripts and bytes.

    Control characters are escaped and right-to-left text is isolated; ▁ is a space.

    Example: vocabkit show tok/ "Ẹ kú àárọ̀"
    """
    import vocabkit as vk

    # The newline that ends a line of a shell's echo is not part of the text.
    given = sys.stdin.read().removesuffix("\n") if text == "-" else text
    shown = vk.show(tokenizer, given, route=route, pattern=pattern)
    show_rows(shown.to_rows(), format, "show")
    show_warnings(shown.notes, quiet)
    show_note(f"{len(shown.rows)} tokens, {len(given)} characters, {len(given.encode())} bytes", quiet)
