"""`vocabkit audit`: what tokenizers cost each language, and what is wrong with them."""

from pathlib import Path
from typing import Annotated

import typer

from .audit_options import Aligned, CheckFormat, Junit, Limit, Resamples, Seed
from .checks import Case, check_junit, show_checked, write_junit
from .completion import complete_languages
from .options import (
    CorpusOption,
    DocumentRule,
    Force,
    Languages,
    OneLanguage,
    OutputFolder,
    Panel,
    Pattern,
    Quiet,
    Route,
    TextField,
    Workers,
)
from .output import show_note

Tokenizers = Annotated[
    list[str],
    typer.Argument(
        metavar="TOKENIZER",
        help="A .model, tokenizer.json, tiktoken ranks, GGUF, or a folder that holds one.",
    ),
]
Reference = Annotated[
    str,
    typer.Option(
        "--reference",
        metavar="CODE",
        help="The language that a premium is against.",
        autocompletion=complete_languages,
    ),
]


def run(
    tokenizers: Tokenizers,
    output: OutputFolder,
    corpus: CorpusOption = None,
    counts: Annotated[
        Path | None,
        typer.Option(
            "--counts",
            metavar="DIR",
            help="Counts instead of text; beside --corpus, how much text each language has.",
        ),
    ] = None,
    document: DocumentRule = None,
    field: TextField = None,
    language: OneLanguage = None,
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
    junit: Junit = None,
    format: CheckFormat = "table",
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

    check_junit(junit, force=force)
    found = vk.audit(
        tokenizers,
        corpus,
        output,
        counts=counts,
        document=document,
        field=field,
        language=language,
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
    outcomes = found.outcomes
    write_junit(
        junit,
        "vocabkit audit",
        [
            Case(one.figure.tokenizer, f"{one.requirement.text} ({one.figure.name})", one.met, one.describe())
            for one in outcomes
        ],
    )
    failed = [one.describe() for one in outcomes if not one.met]
    show_checked(found.to_rows, format, "audit", found.list_doubts(), failed, quiet)
    show_note(f"wrote {output}: open {output / 'report.html'}", quiet)
    if failed:
        raise typer.Exit(1)
