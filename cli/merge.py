"""`vocabkit merge`: several counts into one."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Format, Memory, OutputFolder, Quiet
from .output import show_note, show_rows


def run(
    counts: Annotated[
        list[Path], typer.Argument(metavar="COUNTS", help="Folders written by `vocabkit count`.")
    ],
    output: OutputFolder,
    force: Force = False,
    memory: Memory = "2GB",
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Merge counts into one, exactly and in any order.

    The text is not read again.

    Example: vocabkit merge counts-2025/ counts-2026/ -o counts/
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    merged = vk.merge(counts, output, memory=memory, force=force, progress=watch(quiet))
    show_rows(merged.to_rows(), format, "merge")
    show_note(f"wrote {output}", quiet)
