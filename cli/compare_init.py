"""`vocabkit compare-init`: which way of making new rows a model reads best, before any training."""

from pathlib import Path
from typing import Annotated

import typer

from .audit_options import Resamples, Seed
from .options import DocumentRule, Format, Pattern, Quiet, TextField
from .output import show_note, show_rows, show_warnings


def run(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The checkpoint's folder.")],
    tokenizer: Annotated[Path, typer.Argument(metavar="TOKENIZER", help="The new tokenizer, of any format.")],
    text: Annotated[
        Path,
        typer.Option("--text", metavar="FILE", help="Text to score, one line a document."),
    ],
    init_text: Annotated[
        Path | None,
        typer.Option(
            "--init-text",
            metavar="FILE",
            help="Text for the methods that learn from some; half of --text by default.",
        ),
    ] = None,
    document: DocumentRule = None,
    field: TextField = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="M",
            help="Only this one, as omp, multivariate:scale=0.5 or omp/first; repeatable.",
        ),
    ] = None,
    donor: Annotated[
        Path | None,
        typer.Option("--donor", metavar="DIR", help="Another model, whose rows say what is alike."),
    ] = None,
    old_tokenizer: Annotated[
        Path | None,
        typer.Option("--old-tokenizer", metavar="PATH", help="The model's own, if not beside it."),
    ] = None,
    pattern: Pattern = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Most lines to score.")] = 200,
    untie: Annotated[
        bool,
        typer.Option("--untie/--no-untie", help="Whether to try different rows for a tied head."),
    ] = True,
    bias: Annotated[
        str,
        typer.Option("--bias", metavar="RULE", help="What new entries of a head's bias are."),
    ] = "mean",
    resamples: Resamples = 1_000,
    seed: Seed = 0,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Compare initialisers of new rows on text, before any training.

    Prints bits per byte of each beside the old tokenization, the best first, with 95 % intervals over
    lines; of a model without a head the cosine between both tokenizations' vectors.

    Example: vocabkit compare-init model/ tok/ --text deu.txt --method subword-mean/first
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    found = vk.compare_init(
        model,
        tokenizer,
        text,
        init_text=init_text,
        document=document,
        field=field,
        method=method,
        donor=donor,
        old_tokenizer=old_tokenizer,
        pattern=pattern,
        limit=limit,
        untie=untie,
        bias=bias,
        resamples=resamples,
        seed=seed,
        progress=watch(quiet),
    )
    show_rows(found.to_rows(), format, "compare-init")
    show_note(f"{found.lines:,} lines, {found.bytes:,} bytes scored", quiet)
    show_warnings(found.warnings, quiet)
    for name, reason in found.skipped.items():
        show_note(f"left out: {name}: {reason}", quiet)
