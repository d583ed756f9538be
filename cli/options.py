"""Options that several commands share, so that one name means one thing everywhere.

Holds only declarations. What is changed on most days is an option; everything else is a key of the
configuration, reached with `--set`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .completion import complete_keys, complete_languages, complete_panels

OutputFormat = Literal["table", "json", "csv", "markdown"]

Format = Annotated[
    OutputFormat,
    typer.Option("--format", "-f", help="How to print the result."),
]
OutputFolder = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", show_default=False),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace the output if it exists."),
]
NoVerify = Annotated[
    bool,
    typer.Option(
        "--no-verify",
        help="Do not hold what is read to its digests first, which takes 1.3 s a gigabyte.",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress and no warnings on stderr."),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of everything random; the configuration's by default."),
]
Memory = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within, as 2GB or 500MB.")
]
ArcMemory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory for the trainer's lattice, as 2GB; the rest is found again at every pass.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes to use; one for each core by default."),
]
Languages = Annotated[
    str | None,
    typer.Option(
        "--languages",
        metavar="CODES",
        help="Only these languages, with commas, by code or name: yo,ibo_Latn,Hausa.",
        autocompletion=complete_languages,
    ),
]
Panel = Annotated[
    str | None,
    typer.Option(
        "--panel",
        metavar="NAME|FILE",
        help="Only the languages of this panel.",
        autocompletion=complete_panels,
    ),
]
DocumentRule = Annotated[
    Literal["line", "blank-line", "file"] | None,
    typer.Option("--document", help="What a document is in a text file; a line by default."),
]
TextField = Annotated[
    str | None,
    typer.Option("--field", help="Field of jsonl or parquet with the text; `text` by default."),
]
CORPUS = "Folder with a file or folder a language, a TOML file, or one file of one language."
CorpusOption = Annotated[Path | None, typer.Option("--corpus", metavar="DIR|FILE", help=CORPUS)]
OneLanguage = Annotated[
    str | None,
    typer.Option(
        "--language",
        metavar="CODE",
        help="The one language of the text, where its name does not say.",
        autocompletion=complete_languages,
    ),
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Go on without languages that have no data.")
]
Route = Annotated[
    str | None,
    typer.Option(
        "--route",
        metavar="CODE",
        help="Encode as this language, by its block of a vocabulary and the shared one.",
        autocompletion=complete_languages,
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        metavar="NAME|REGEX",
        help="How text is split, where the file does not say: tiktoken ranks, GGUF, merges.txt.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key of the configuration, as vocabulary.size=4_000; repeatable.",
        autocompletion=complete_keys,
    ),
]
