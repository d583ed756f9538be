"""`vocabkit compare`: which languages a second tokenizer costs more than the first."""

from pathlib import Path
from typing import Annotated

import typer

from .audit_options import Aligned, Limit, Resamples, Seed
from .options import Format, Languages, Panel, Pattern, Quiet, Workers
from .output import show_note, show_rows, show_warnings


def run(
    first: Annotated[str, typer.Argument(metavar="TOK-A", help="The tokenizer to hold the other to.")],
    second: Annotated[str, typer.Argument(metavar="TOK-B", help="The one that may be worse.")],
    corpus: Annotated[
        Path,
        typer.Option("--corpus", metavar="DIR", help="Text, as `vocabkit count` reads it."),
    ],
    max_regression: Annotated[
        str,
        typer.Option(
            "--max-regression",
            metavar="X%",
            help="How many more tokens a language may need, as 2% or 0.02.",
        ),
    ] = "2%",
    languages: Languages = None,
    panel: Panel = None,
    aligned: Aligned = "auto",
    limit: Limit = None,
    pattern: Pattern = None,
    resamples: Resamples = 1_000,
    seed: Seed = 0,
    workers: Workers = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Compare what two tokenizers cost each language.

    Prints the change in tokens of the same lines, with its 95 % interval, the worst first; exits 1
    when a language needs more than --max-regression more tokens, and names it.

    Example: vocabkit compare tok-a/ tok-b/ --corpus ntrex/ --max-regression 2%
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    found = vk.compare(
        first,
        second,
        corpus,
        max_regression=max_regression,
        languages=languages,
        panel=panel,
        aligned=aligned,
        limit=limit,
        pattern=pattern,
        resamples=resamples,
        seed=seed,
        workers=workers,
        progress=watch(quiet),
    )
    show_rows(found.to_rows(), format, "compare")
    show_warnings(found.audit.list_doubts(), quiet)
    for line in found.list_regressions():
        show_note(f"failed: {line}")
    if found.regressions:
        raise typer.Exit(1)
