"""`vocabkit allocate`: how many pieces each language gets, before anything is fitted for good."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import (
    Force,
    Format,
    Languages,
    OutputFolder,
    Overrides,
    Panel,
    Quiet,
    split_codes,
)
from .output import show_note, show_rows, show_warnings
from .progress import open_progress

if TYPE_CHECKING:
    from .options import OutputFormat

COLUMNS = (
    "language", "characters", "before", "lexicon", "attributed", "cost_before", "cost", "change",
    "limited_by",
)  # fmt: skip


def run(
    counts: Annotated[
        Path, typer.Option("--counts", metavar="DIR", help="Folder written by `vocabkit count`.")
    ],
    folder: OutputFolder,
    budget: Annotated[
        int | None,
        typer.Option("--budget", min=1, metavar="N", help="Pieces in all; the preset's by default."),
    ] = None,
    method: Annotated[
        Literal["proportional", "exponent", "unimax", "vocap", "parity", "maxmin"] | None,
        typer.Option("--method", help="How to share out; the preset's by default."),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option("--dev", metavar="DIR", help="Aligned lines, for parity and maxmin."),
    ] = None,
    dev_lines: Annotated[
        int | None,
        typer.Option("--dev-lines", min=1, metavar="N", help="Only the first N lines of --dev."),
    ] = None,
    floor: Annotated[
        int | None,
        typer.Option("--floor", min=0, metavar="N", help="Fewest pieces of a language."),
    ] = None,
    ceiling: Annotated[
        int | None, typer.Option("--ceiling", min=1, metavar="N", help="Most pieces of a language.")
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", metavar="PRESET", help="A preset of kind proportional.")
    ] = "proportional-500k",
    overrides: Overrides = None,
    languages: Languages = None,
    panel: Panel = None,
    saturation: Annotated[
        bool,
        typer.Option("--saturation", help="Measure what blocks of new pieces save; needs --base."),
    ] = False,
    base: Annotated[
        Path | None,
        typer.Option("--base", metavar="TOK", help="The vocabulary that --saturation adds to."),
    ] = None,
    force: Force = False,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Share out a budget of pieces among languages.

    Prints each language's size and cost beside a baseline: sizes in proportion to text, or even
    ones where that is the method. `vocabkit fit DIR` then fits the allocation. With --saturation:
    how much k tail languages save with 5,000 to 50,000 pieces of their own.

    Example: vocabkit allocate --counts counts/ --budget 600_000 --method vocap -o allocation/
    """
    given = {
        "allocation.method": method,
        "allocation.dev": None if dev is None else json.dumps(str(dev)),
        "allocation.dev_lines": dev_lines,
        "allocation.floor": floor,
        "allocation.ceiling": ceiling,
        "languages.panel": panel,
        "languages.include": None if languages is None else json.dumps(split_codes(languages)),
    }
    settings = [f"{key}={value}" for key, value in given.items() if value is not None]
    settings = [*(overrides or []), *settings]
    if saturation:
        if base is None:
            raise typer.BadParameter("--saturation needs --base TOK, a fitted vocabulary")
        _show_saturation(counts, base, folder, settings, force, output, quiet)
        return
    if base is not None:
        raise typer.BadParameter("--base is for --saturation")
    from vocabkit.configurations.allocating import allocate_budget

    with open_progress(quiet) as progress:
        found = allocate_budget(
            counts,
            folder,
            budget=budget,
            preset=preset,
            settings=settings,
            force=force,
            progress=progress,
        )
    rows = [{name: row[name] for name in COLUMNS} for row in found.rows]
    show_rows(rows, output, "allocate")
    show_warnings(found.warnings, quiet)
    sizes = found.allocation
    assert sizes is not None  # it was made here
    show_note(
        f"wrote {folder}: {sizes.budget:,} pieces; lexicons of {int(sizes.lexicon.sum()):,} in all; "
        f"before: {found.baseline}; cost: {found.rows[0]['unit']}",
        quiet,
    )


def _show_saturation(
    counts: Path,
    base: Path,
    folder: Path,
    settings: list[str],
    force: bool,
    output: "OutputFormat",
    quiet: bool,
) -> None:
    from vocabkit.configurations.allocating import saturate_vocabulary

    with open_progress(quiet) as progress:
        found = saturate_vocabulary(base, counts, folder, settings=settings, force=force, progress=progress)
    show_rows(found.to_rows(), output, "saturation")
    show_warnings(found.warnings, quiet)
    show_note(f"wrote {folder}: {found.summary}", quiet)
