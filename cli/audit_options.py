"""The options that `audit` and `compare` share."""

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
