"""`vocabkit fit`: a vocabulary from counts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ArcMemory,
    Force,
    Format,
    Languages,
    OutputFolder,
    Overrides,
    Quiet,
    split_codes,
)
from .output import show_note, show_rows, show_warnings
from .progress import open_progress

# Left out of the printed table; languages.tsv and the other formats have them.
HIDDEN = {"documents", "words", "bytes", "share", "target_share", "cut_share", "pieces_used"}


def run(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET", help="A preset, a TOML file or an earlier output.")
    ],
    counts: Annotated[
        Path, typer.Option("--counts", metavar="DIR", help="Folder written by `vocabkit count`.")
    ],
    folder: OutputFolder,
    overrides: Overrides = None,
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
            help="What two-stage and continued-bpe add to: a folder, .model or tokenizer.json.",
        ),
    ] = None,
    routed: Annotated[
        str | None,
        typer.Option("--routed", metavar="CODES", help="Also write these languages' views, to routed/CODE."),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option("--dev", metavar="DIR", help="Aligned lines that parity is sought on."),
    ] = None,
    memory: ArcMemory = None,
    force: Force = False,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Fit a vocabulary from counts, as a preset describes it.

    Nothing is random: equal counts and settings give equal files. What is written also loads with
    SentencePiece and with transformers.

    Example: vocabkit fit balanced-250k --counts counts/ -o tok/
    """
    from vocabkit.configurations.tokenizer_folder import fit_vocabulary

    given = _as_overrides(languages, allow_oversampling, memory)
    given += [f"base={json.dumps(base)}"] if base is not None else []
    given += [f"parity.development={json.dumps(str(dev))}"] if dev is not None else []
    settings = [*(overrides or []), *given]
    with open_progress(quiet) as progress:
        fitted = fit_vocabulary(
            preset,
            counts,
            folder,
            settings=settings,
            routed=split_codes(routed) or (),
            force=force,
            progress=progress,
        )
    rows = fitted.to_rows()
    if output == "table":
        rows = [{name: value for name, value in row.items() if name not in HIDDEN} for row in rows]
    show_rows(rows, output, "fit")
    show_warnings(fitted.warnings or (), quiet)
    seconds = sum(fitted.seconds.values())
    show_note(f"wrote {folder}: {fitted.size:,} tokens in {seconds:.1f} s", quiet)


def _as_overrides(languages: str | None, oversampling: float | None, memory: int | None) -> list[str]:
    """The options that stand for a key of the configuration, after every `--set`."""
    codes = split_codes(languages)
    given = {
        "languages.include": None if codes is None else json.dumps(codes),
        "languages.allow_oversampling": oversampling,
        "trainer.memory": memory,
    }
    return [f"{key}={value}" for key, value in given.items() if value is not None]
