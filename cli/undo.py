"""`vocabkit undo`: the checkpoint that was extended, given back."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, NoVerify, OutputFolder, Quiet
from .output import show_note, show_warnings


def run(
    extended: Annotated[Path, typer.Argument(metavar="DIR", help="A folder written by `vocabkit extend`.")],
    output: OutputFolder,
    link: Annotated[bool, typer.Option("--link", help="Hard-link the files that do not change.")] = False,
    no_verify: NoVerify = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the original of an extended checkpoint.

    The output alone is needed: dropped rows and old files are in its receipt. Bit for bit, but for
    PyTorch's own files, which get equal tensors.

    Example: vocabkit undo xlmr-ext/ -o xlmr/
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    done = vk.undo(extended, output, link=link, verify=not no_verify, force=force, progress=watch(quiet))
    show_warnings([f"{name}: {reason}" for name, reason in done.differing.items()], quiet)
    same = "" if done.differing else ", every changed file as the original's to the bit"
    show_note(f"wrote {output}: {len(done.files)} files{same}", quiet)
