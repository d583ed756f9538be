"""`vocabkit show`: how a tokenizer cuts a text."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Format, Quiet, Route
from .output import show_note, show_rows

if TYPE_CHECKING:
    from vocabkit.vocabulary.adapters import Tokenizer


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
    from vocabkit.vocabulary.tokenizers import open_route, open_tokenizer

    opened = open_tokenizer(tokenizer) if route is None else open_route(tokenizer, route)
    # The newline that ends a line of a shell's echo is not part of the text.
    given = sys.stdin.read().removesuffix("\n") if text == "-" else text
    (ids,) = opened.encode_batch([given])
    show_rows([_describe(opened, int(index)) for index in ids], output, "show")
    size = len(given.encode())
    show_note(f"{len(ids)} tokens, {len(given)} characters, {size} bytes", quiet)


def _describe(tokenizer: "Tokenizer", index: int) -> dict[str, object]:
    """One row: the piece as it can be printed, and what it is."""
    from vocabkit.core.text import piece_script, show_token
    from vocabkit.vocabulary.vocabulary import Kind

    kind = tokenizer.kinds[index]
    data = tokenizer.token_bytes(index)
    return {
        "piece": f"<{kind.value}>" if data is None else show_token(data).replace(" ", "▁"),
        "id": index,
        "kind": kind.value,
        "script": piece_script(data.decode(errors="ignore"))
        if data and kind is not Kind.BYTE
        else None,
        "bytes": None if data is None else data.hex(),
    }
