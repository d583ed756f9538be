"""`vocabkit prepare`: from text to the packed rows that training reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import (
    CORPUS,
    AllowMissing,
    DocumentRule,
    Force,
    Format,
    Languages,
    OneLanguage,
    OutputFolder,
    Panel,
    Quiet,
    TextField,
    Workers,
)
from .output import show_note, show_rows, show_warnings

if TYPE_CHECKING:
    pass


def run(
    corpus: Annotated[
        Path,
        typer.Argument(metavar="CORPUS", help=CORPUS),
    ],
    output: OutputFolder,
    tokenizer: Annotated[
        Path,
        typer.Option(
            "--tokenizer",
            "-t",
            metavar="DIR",
            help="Tokenizer to encode with: a folder, or a file.",
            show_default=False,
        ),
    ],
    length: Annotated[
        int, typer.Option("--length", min=8, help="Places in a row, special tokens included.")
    ] = 512,
    encoding: Annotated[
        Literal["union", "routed"],
        typer.Option(
            "--encoding",
            help="Encode with the whole vocabulary, or each language with its block and the shared one.",
        ),
    ] = "union",
    held_out: Annotated[
        float,
        typer.Option("--held-out", min=0, max=0.5, help="Share of documents kept apart; those of `count`."),
    ] = 0.02,
    document: DocumentRule = None,
    field: TextField = None,
    language: OneLanguage = None,
    languages: Languages = None,
    panel: Panel = None,
    allow_missing: AllowMissing = False,
    workers: Workers = None,
    force: Force = False,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Encode a corpus and pack it into rows for `vocabkit pretrain`.

    An interrupted run goes on where it stopped when the same command is given again.

    Example: vocabkit prepare corpus/ --tokenizer tok/ -o shards/
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    done = vk.prepare(
        corpus,
        tokenizer,
        output,
        length=length,
        encoding=encoding,
        held_out=held_out,
        document=document,
        field=field,
        language=language,
        languages=languages,
        panel=panel,
        allow_missing=allow_missing,
        workers=workers,
        force=force,
        progress=watch(quiet),
    )
    show_rows(done.to_rows(), format, "prepare")
    show_warnings(done.warnings, quiet)
    show_note(done.describe(), quiet)
