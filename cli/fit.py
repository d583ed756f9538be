"""`vocabkit fit`: a vocabulary from counts, or from text that is counted first."""

from pathlib import Path
from typing import Annotated

import typer

from .completion import complete_fits, complete_languages
from .options import (
    ArcMemory,
    DocumentRule,
    Force,
    Format,
    Languages,
    OneLanguage,
    OutputFolder,
    Overrides,
    Pattern,
    Quiet,
    TextField,
)
from .output import show_note, show_rows, show_warnings

# Left out of the printed table; languages.tsv and the other formats have them.
HIDDEN = {"documents", "words", "bytes", "share", "target_share", "cut_share", "pieces_used"}


def run(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET", help="A preset, a TOML file or an earlier output.", autocompletion=complete_fits
        ),
    ],
    output: OutputFolder,
    counts: Annotated[
        Path | None, typer.Option("--counts", metavar="DIR", help="Folder written by `vocabkit count`.")
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus", metavar="DIR|FILE", help="Text to count first, as `count` reads it, into OUTPUT-counts."
        ),
    ] = None,
    document: DocumentRule = None,
    field: TextField = None,
    language: OneLanguage = None,
    settings: Overrides = None,
    languages: Languages = None,
    allow_oversampling: Annotated[
        float | None,
        typer.Option("--allow-oversampling", metavar="N", help="Clip weights at N, not at 8."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="TOKENIZER",
            help="What two-stage, continued-bpe and replace-bpe change: a folder, .model or tokenizer.json.",
        ),
    ] = None,
    pattern: Pattern = None,
    keep_languages: Annotated[
        str | None,
        typer.Option(
            "--keep-languages",
            metavar="CODES",
            help="Languages that replace-bpe must not cost more than --max-loss, with commas.",
            autocompletion=complete_languages,
        ),
    ] = None,
    max_loss: Annotated[
        str | None,
        typer.Option("--max-loss", metavar="N%", help="How many more tokens each kept language may need."),
    ] = None,
    routed: Annotated[
        str | None,
        typer.Option(
            "--routed",
            metavar="CODES",
            help="Also write these languages' views, to routed/CODE.",
            autocompletion=complete_languages,
        ),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option("--dev", metavar="DIR", help="Aligned lines that parity is sought on."),
    ] = None,
    memory: ArcMemory = None,
    force: Force = False,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Fit a vocabulary from counts or text, as a preset describes it.

    With --corpus, the text is counted first; a later fit of the same text finds the counts again.
    Nothing is random: equal counts and settings give equal files. What is written also loads with
    SentencePiece and with transformers.

    Example: vocabkit fit balanced-250k --counts counts/ -o tok/
    """
    import vocabkit as vk
    from vocabkit.core.progress import watch

    fitted = vk.fit(
        preset,
        counts,
        output,
        corpus=corpus,
        document=document,
        field=field,
        language=language,
        languages=languages,
        allow_oversampling=allow_oversampling,
        base=base,
        pattern=pattern,
        keep_languages=keep_languages,
        max_loss=max_loss,
        routed=routed,
        dev=dev,
        memory=memory,
        settings=settings,
        force=force,
        progress=watch(quiet),
    )
    rows = fitted.to_rows()
    if format == "table":
        rows = [{name: value for name, value in row.items() if name not in HIDDEN} for row in rows]
    show_rows(rows, format, "fit")
    show_warnings(fitted.warnings or (), quiet)
    if fitted.counted is not None:
        show_note(fitted.counted, quiet)
    show_note(f"wrote {output}: {fitted.size:,} tokens in {sum(fitted.seconds.values()):.1f} s", quiet)
