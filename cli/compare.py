"""`vocabkit compare`: which languages a second tokenizer costs more than the first."""

from pathlib import Path
from typing import Annotated

import typer

from .audit_options import Aligned, CheckFormat, Junit, Limit, Resamples, Seed
from .checks import Case, check_junit, show_checked, write_junit
from .options import (
    CORPUS,
    DocumentRule,
    Force,
    Languages,
    OneLanguage,
    Panel,
    Pattern,
    Quiet,
    TextField,
    Workers,
)
from .output import show_note


def run(
    first: Annotated[str, typer.Argument(metavar="TOK-A", help="The tokenizer to hold the other to.")],
    corpus: Annotated[
        Path,
        typer.Option("--corpus", metavar="DIR|FILE", help=CORPUS),
    ],
    second: Annotated[
        str | None,
        typer.Argument(metavar="TOK-B", help="The one that may be worse; with --against it may stand alone."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for the audit of both, and a page that compares them."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="AUDIT",
            help="An earlier audit of the same text to hold one tokenizer to: its folder or audit.parquet.",
        ),
    ] = None,
    max_regression: Annotated[
        str,
        typer.Option(
            "--max-regression",
            metavar="X%",
            help="How many more tokens a language may need, as 2% or 0.02.",
        ),
    ] = "2%",
    document: DocumentRule = None,
    field: TextField = None,
    language: OneLanguage = None,
    languages: Languages = None,
    panel: Panel = None,
    aligned: Aligned = "auto",
    limit: Limit = None,
    pattern: Pattern = None,
    resamples: Resamples = 1_000,
    seed: Seed = 0,
    workers: Workers = None,
    junit: Junit = None,
    force: Force = False,
    format: CheckFormat = "table",
    quiet: Quiet = False,
) -> None:
    """Compare what two tokenizers cost each language.

    Prints the change in tokens of the same lines, with its 95 % interval, the worst first; exits 1
    when a language needs more than --max-regression more tokens, and names it. With --against, TOK-A is
    the name of a tokenizer in that audit, and may be left out where it holds only one.

    Example: vocabkit compare tok-a/ tok-b/ --corpus ntrex/ --max-regression 2%
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    check_junit(junit, force=force)
    found = vk.compare(
        first,
        second,
        corpus,
        output,
        against=against,
        max_regression=max_regression,
        document=document,
        field=field,
        language=language,
        languages=languages,
        panel=panel,
        aligned=aligned,
        limit=limit,
        pattern=pattern,
        resamples=resamples,
        seed=seed,
        workers=workers,
        force=force,
        progress=watch(quiet),
    )
    write_junit(
        junit,
        "vocabkit compare",
        [
            Case(f"{found.before} to {found.after}", one.language, not one.regressed, found.describe(one))
            for one in found.changes
        ],
    )
    failed = found.list_regressions()
    doubts = found.audit.list_doubts("the page of -o DIR" if output is None else "report.html")
    show_checked(found.to_rows, format, "compare", doubts, failed, quiet)
    if output is not None:
        show_note(f"wrote {output}: open {output / 'comparison.html'}", quiet)
    if failed:
        raise typer.Exit(1)
