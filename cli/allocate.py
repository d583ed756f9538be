"""`vocabkit allocate`: how many pieces each language gets, before anything is fitted for good."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .completion import complete_fits
from .options import (
    Force,
    Format,
    Languages,
    OutputFolder,
    Overrides,
    Panel,
    Quiet,
    TextField,
)
from .output import show_note, show_rows, show_warnings

if TYPE_CHECKING:
    pass

COLUMNS = (
    "language", "characters", "before", "lexicon", "attributed", "cost_before", "cost", "change",
    "limited_by",
)  # fmt: skip


def run(
    counts: Annotated[
        Path, typer.Option("--counts", metavar="DIR", help="Folder written by `vocabkit count`.")
    ],
    output: OutputFolder,
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
    field: TextField = None,
    floor: Annotated[
        int | None,
        typer.Option("--floor", min=0, metavar="N", help="Fewest pieces of a language."),
    ] = None,
    ceiling: Annotated[
        int | None, typer.Option("--ceiling", min=1, metavar="N", help="Most pieces of a language.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            metavar="PRESET",
            help="A preset of kind proportional.",
            autocompletion=complete_fits,
        ),
    ] = "proportional-500k",
    settings: Overrides = None,
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
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Share out a budget of pieces among languages.

    Prints each language's size and cost beside a baseline: sizes in proportion to text, or even
    ones where that is the method. `vocabkit fit DIR` then fits the allocation. With --saturation:
    how much k tail languages save with 5,000 to 50,000 pieces of their own.

    Example: vocabkit allocate --counts counts/ --budget 600_000 --method vocap -o allocation/
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    found = vk.allocate(
        counts,
        output,
        budget=budget,
        method=method,
        dev=dev,
        dev_lines=dev_lines,
        field=field,
        floor=floor,
        ceiling=ceiling,
        preset=preset,
        languages=languages,
        panel=panel,
        saturation=saturation,
        base=base,
        settings=settings,
        force=force,
        progress=watch(quiet),
    )
    rows = found.to_rows()
    if not saturation:
        rows = [{name: row[name] for name in COLUMNS} for row in rows]
    show_rows(rows, format, "saturation" if saturation else "allocate")
    show_warnings(found.warnings, quiet)
    show_note(f"wrote {output}: {found.summary}", quiet)
