"""`vocabkit prepare`: from text to the packed rows that training reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import (
    AllowMissing,
    DocumentRule,
    Force,
    Format,
    Languages,
    OutputFolder,
    Panel,
    Quiet,
    TextField,
    Workers,
    split_codes,
)
from .output import show_note, show_rows, show_warnings
from .progress import open_progress

if TYPE_CHECKING:
    from vocabkit.pretraining.preparing import PrepareReport


def run(
    corpus: Annotated[
        Path,
        typer.Argument(metavar="CORPUS", help="Folder with a file or folder a language, or a TOML file."),
    ],
    folder: OutputFolder,
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
    languages: Languages = None,
    panel: Panel = None,
    allow_missing: AllowMissing = False,
    workers: Workers = None,
    force: Force = False,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Encode a corpus and pack it into rows for `vocabkit pretrain`.

    An interrupted run goes on where it stopped when the same command is given again.

    Example: vocabkit prepare corpus/ --tokenizer tok/ -o shards/
    """
    from vocabkit.core.languages import load_panel
    from vocabkit.corpus.sources import open_corpus
    from vocabkit.pretraining.preparing import PrepareOptions, prepare_corpus

    opened = open_corpus(
        corpus,
        languages=split_codes(languages),
        panel=None if panel is None else load_panel(panel),
        document=document,
        field=field,
        allow_missing=allow_missing,
    )
    options = PrepareOptions(length, encoding, held_out, workers)
    with open_progress(quiet) as progress:
        report = prepare_corpus(opened, tokenizer, folder, options, force=force, progress=progress)
    show_rows(report.rows, output, "prepare")
    show_warnings([f"no data for {code}" for code in opened.missing], quiet)
    show_warnings([f"left aside {entry}" for entry in report.ignored], quiet)
    show_warnings(_warn(report), quiet)
    resumed = f", {report.resumed} shards taken over" if report.resumed else ""
    show_note(
        f"wrote {folder} in {report.seconds:.1f} s: {report.efficiency:.2%} of places hold text{resumed}",
        quiet,
    )


def _warn(report: "PrepareReport") -> list[str]:
    """What should be looked at before training: much that is unknown, much that is padding."""
    lines = []
    if report.no_export is not None:
        lines.append(f"AutoTokenizer will not open an export of a run on these: {report.no_export}")
    for row in report.rows:
        if row.unknown > 0.01:
            lines.append(f"{row.language}: {row.unknown:.1%} of its tokens are unknown")
        # A few rows are never full; that says nothing of the packing.
        if row.rows >= 100 and row.efficiency < 0.95:
            lines.append(f"{row.language}: {1 - row.efficiency:.1%} of its places are padding")
    return lines
