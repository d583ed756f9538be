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

COLUMNS = ("language", "characters", "weight", "epochs", "clipped", "tokens_per_word", "note")


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
    from vocabkit.configurations.tokenizer_folder import fit_folder

    settings = [*(overrides or []), *_as_overrides(languages, allow_oversampling, memory)]
    with open_progress(quiet) as progress:
        fitted = fit_folder(
            preset, counts, folder, overrides=settings, force=force, progress=progress
        )
    rows = [{name: row[name] for name in COLUMNS} for row in fitted.language_rows()]
    show_rows(rows, output, "fit")
    show_warnings(fitted.warnings, quiet)
    seconds = sum(fitted.seconds.values())
    show_note(f"wrote {folder}: {fitted.vocabulary.size:,} tokens in {seconds:.1f} s", quiet)


def _as_overrides(
    languages: str | None, oversampling: float | None, memory: int | None
) -> list[str]:
    """The options that stand for a key of the configuration, after every `--set`."""
    codes = split_codes(languages)
    given = {
        "languages.include": None if codes is None else json.dumps(codes),
        "languages.allow_oversampling": oversampling,
        "trainer.memory": memory,
    }
    return [f"{key}={value}" for key, value in given.items() if value is not None]
