"""`vocabkit audit`: what tokenizers cost each language, and what is wrong with them."""

from pathlib import Path
from typing import Annotated

import typer

from .audit_options import Aligned, Limit, Resamples, Seed
from .options import (
    Force,
    Format,
    Languages,
    OutputFolder,
    Panel,
    Pattern,
    Quiet,
    Route,
    Workers,
)
from .output import show_note, show_rows, show_warnings

Tokenizers = Annotated[
    list[str],
    typer.Argument(
        metavar="TOKENIZER",
        help="A .model, tokenizer.json, tiktoken ranks, GGUF, or a folder that holds one.",
    ),
]
Reference = Annotated[
    str,
    typer.Option("--reference", metavar="CODE", help="The language that a premium is against."),
]


def run(
    tokenizers: Tokenizers,
    output: OutputFolder,
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", metavar="DIR", help="Text, as `vocabkit count` reads it."),
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option(
            "--counts",
            metavar="DIR",
            help="Counts instead of text; beside --corpus, how much text each language has.",
        ),
    ] = None,
    languages: Languages = None,
    panel: Panel = None,
    reference: Reference = "eng_Latn",
    fixed: Annotated[
        str | None,
        typer.Option(
            "--fixed",
            metavar="TOKENIZER",
            help="Whose cost of the reference language all are held to; the first by default.",
        ),
    ] = None,
    aligned: Aligned = "auto",
    limit: Limit = None,
    width: Annotated[int, typer.Option("--width", min=1, metavar="N", help="Width of an embedding row.")] = 768,
    pattern: Pattern = None,
    route: Route = None,
    no_integrity: Annotated[
        bool,
        typer.Option("--no-integrity", help="Leave out round trips and unreachable pieces."),
    ] = False,
    sharing: Annotated[
        bool,
        typer.Option("--sharing", help="Fit each language a vocabulary of its own to compare."),
    ] = False,
    resamples: Resamples = 1_000,
    seed: Seed = 0,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="EXPR",
            help="Exit 1 unless this holds, as premium.bottom_decile<2.0; repeatable.",
        ),
    ] = None,
    workers: Workers = None,
    force: Force = False,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Measure what tokenizers cost each language.

    Prints a row a language, the worst first: its premium over the reference where lines are aligned
    across languages, tokens per word elsewhere. The folder gets report.html, audit.parquet with every
    figure, and audit.json with the rest.

    Example: vocabkit audit tok-a/ tok-b/ --corpus ntrex/ -o report/
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    found = vk.audit(
        tokenizers,
        corpus,
        output,
        counts=counts,
        languages=languages,
        panel=panel,
        reference=reference,
        fixed=fixed,
        aligned=aligned,
        limit=limit,
        width=width,
        pattern=pattern,
        route=route,
        integrity=not no_integrity,
        sharing=sharing,
        resamples=resamples,
        seed=seed,
        require=require,
        workers=workers,
        force=force,
        progress=watch(quiet),
    )
    marked = format in ("table", "markdown")
    show_rows(found.to_rows(marked=marked), format, "audit")
    show_warnings(found.list_doubts(), quiet)
    show_note(f"wrote {output}: open {output / 'report.html'}", quiet)
    # `--quiet` does not hide a verdict.
    failed = found.failed
    for outcome in failed:
        show_note(f"failed: {outcome.describe()}")
    if failed:
        raise typer.Exit(1)
