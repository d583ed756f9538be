"""`vocabkit merge`: several counts into one."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Format, Memory, OutputFolder, Quiet
from .output import show_note, show_rows
from .progress import open_progress


def run(
    counts: Annotated[
        list[Path], typer.Argument(metavar="COUNTS", help="Folders written by `vocabkit count`.")
    ],
    folder: OutputFolder,
    force: Force = False,
    memory: Memory = 2 << 30,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Merge counts into one, exactly and in any order.

    The text is not read again.

    Example: vocabkit merge counts-2025/ counts-2026/ -o counts/
    """
    from vocabkit.corpus.counting import merge_counts

    with open_progress(quiet) as progress:
        merged = merge_counts(counts, folder, force=force, memory=memory, progress=progress)
    rows = [{"language": code, **asdict(totals)} for code, totals in merged.totals.items()]
    show_rows(rows, output, "merge")
    show_note(f"wrote {folder}", quiet)
