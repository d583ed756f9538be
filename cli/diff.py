"""`vocabkit diff`: what changed between two vocabularies."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Format
from .output import show_rows


def run(
    first: Annotated[Path, typer.Argument(metavar="TOK-A", help="The earlier tokenizer folder or .model.")],
    second: Annotated[Path, typer.Argument(metavar="TOK-B", help="The later one.")],
    pieces: Annotated[bool, typer.Option("--pieces", help="One row a piece, not one row a script.")] = False,
    format: Format = "table",
) -> None:
    """Show the pieces that were added, removed and moved, by script.

    A moved piece has another id. Equal vocabularies print no row.

    Example: vocabkit diff tok-a/ tok-b/ --pieces
    """
    import vocabkit as vk

    show_rows(vk.diff(first, second, pieces=pieces).to_rows(), format, "diff")
