"""The options that `audit` and `compare` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Aligned = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option("--aligned", help="Whether line i is the same sentence in every language."),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Only the first N lines of a language."),
]
Resamples = Annotated[
    int,
    typer.Option("--resamples", min=0, metavar="N", help="Resamples behind a 95 % interval."),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of resamples and samples.")]
CheckFormat = Annotated[
    Literal["table", "json", "csv", "markdown", "github"],
    typer.Option(
        "--format",
        "-f",
        help="How to print the result; github: annotations, and a table for the job's summary.",
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Write what was checked as JUnit XML, for CI."),
]
