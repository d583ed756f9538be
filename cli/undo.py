"""`vocabkit undo`: the checkpoint that was extended, given back."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, OutputFolder, Quiet
from .output import show_note, show_warnings
from .progress import open_progress


def run(
    extended: Annotated[Path, typer.Argument(metavar="DIR", help="A folder written by `vocabkit extend`.")],
    folder: OutputFolder,
    link: Annotated[bool, typer.Option("--link", help="Hard-link the files that do not change.")] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the original of an extended checkpoint.

    The output alone is needed: dropped rows and old files are in its receipt. Bit for bit, but for
    PyTorch's own files, which get equal tensors.

    Example: vocabkit undo xlmr-ext/ -o xlmr/
    """
    from vocabkit.extension.undo import undo_extension

    with open_progress(quiet) as progress:
        done = undo_extension(extended, folder, link=link, force=force, progress=progress)
    show_warnings([f"{name}: {reason}" for name, reason in done.differing.items()], quiet)
    same = "" if done.differing else ", every changed file as the original's to the bit"
    show_note(f"wrote {folder}: {len(done.files)} files{same}", quiet)
