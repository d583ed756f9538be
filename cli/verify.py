"""`vocabkit verify`: proof that an extended checkpoint is right."""

from pathlib import Path
from typing import Annotated

import typer

from .options import DocumentRule, Format, Quiet, TextField
from .output import show_note, show_rows


def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder written by `vocabkit extend`.")],
    text: Annotated[
        Path | None,
        typer.Option("--text", metavar="FILE", help="Old text to compare logits on; 8 lines."),
    ] = None,
    document: DocumentRule = None,
    field: TextField = None,
    original: Annotated[
        Path | None,
        typer.Option("--original", metavar="DIR", help="The model extended; else it is undone."),
    ] = None,
    reload: Annotated[
        bool | None,
        typer.Option("--reload/--no-reload", help="Load both models; where transformers is, by default."),
    ] = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Check that an extended checkpoint is right.

    Looks at files, tensors, ids and rows, and whether logits of old tokens are as they were. Exits
    with 1 when a check fails.

    Example: vocabkit verify xlmr-ext/
    """
    import vocabkit as vk

    found = vk.verify(folder, text=text, document=document, field=field, original=original, reload=reload)
    show_rows(found.to_rows(), format, "verify")
    for check in found.failed:
        show_note(f"failed: {check.name}: {check.detail}")
    if not found.passed:
        raise typer.Exit(1)
    show_note(f"{folder}: nothing failed in {len(found)} checks", quiet)
