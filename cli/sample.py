"""`vocabkit sample`: real text in many languages, from installed packages."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Format, Quiet
from .output import show_note, show_rows


def run(
    output: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")],
    force: Force = False,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Write real text in 40 languages, offline, about 1 MB in all.

    The text comes from installed packages. It is enough to try every step, and too little to
    judge a vocabulary by.

    Example: vocabkit sample corpus/
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    written = vk.sample(output, force=force, progress=watch(quiet))
    show_rows(written.to_rows(), format, "sample")
    show_note(f"wrote {output}; next: vocabkit count {output / 'text'} -o counts/", quiet)
