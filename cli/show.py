"""`vocabkit show`: how a tokenizer cuts a text."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Format, Quiet, Route
from .output import show_note, show_rows


def run(
    tokenizer: Annotated[
        Path, typer.Argument(metavar="TOK", help="A tokenizer folder, .model or tokenizer.json.")
    ],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Text, or - to read it from stdin.")],
    route: Route = None,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Show the pieces a text is cut into, with ids, scripts and bytes.

    Control characters are escaped and right-to-left text is isolated; ▁ is a space.

    Example: vocabkit show tok/ "Ẹ kú àárọ̀"
    """
    from vocabkit.vocabulary.adapters import list_tokens
    from vocabkit.vocabulary.tokenizers import open_route, open_tokenizer

    opened = open_tokenizer(tokenizer) if route is None else open_route(tokenizer, route)
    # The newline that ends a line of a shell's echo is not part of the text.
    given = sys.stdin.read().removesuffix("\n") if text == "-" else text
    rows = list_tokens(opened, given)
    show_rows(rows, output, "show")
    size = len(given.encode())
    show_note(f"{len(rows)} tokens, {len(given)} characters, {size} bytes", quiet)
