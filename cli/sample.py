"""`vocabkit sample`: real text in many languages, from installed packages."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Format, Quiet
from .output import show_note, show_rows
from .progress import open_progress


def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")],
    force: Force = False,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Write real text in 40 languages, offline, about 1 MB in all.

    The text comes from installed packages. It is enough to try every step, and too little to
    judge a vocabulary by.

    Example: vocabkit sample corpus/
    """
    from vocabkit.corpus.sample import write_sample

    with open_progress(quiet) as progress:
        report = write_sample(folder, force=force, progress=progress)
    show_rows(report.rows, output, "sample")
    show_note(f"wrote {folder}; next: vocabkit count {folder / 'text'} -o counts/", quiet)
