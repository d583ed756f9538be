"""`vocabkit count`: the one pass over the text."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    AllowMissing,
    DocumentRule,
    Force,
    Format,
    Languages,
    Memory,
    OutputFolder,
    OutputFormat,
    Panel,
    Quiet,
    TextField,
    Workers,
    split_codes,
)
from .output import show_note, show_rows, show_warnings
from .progress import open_progress

if TYPE_CHECKING:
    from vocabkit.core.languages import Panel as PanelType
    from vocabkit.corpus.sources import Corpus


def run(
    folder: OutputFolder,
    corpus: Annotated[
        Path | None,
        typer.Argument(metavar="CORPUS", help="Folder with a file or folder a language, or a TOML file."),
    ] = None,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0, max=0.5, help="Share of documents kept apart.")
    ] = 0.02,
    document: DocumentRule = None,
    field: TextField = None,
    languages: Languages = None,
    panel: Panel = None,
    allow_missing: AllowMissing = False,
    min_count: Annotated[
        int, typer.Option("--min-count", min=1, help="Drop rarer words; their mass is reported.")
    ] = 1,
    workers: Workers = None,
    memory: Memory = 2 << 30,
    update: Annotated[
        bool, typer.Option("--update", help="Count only what the output does not hold yet.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be counted, and stop.")] = False,
    from_frequencies: Annotated[
        Path | None,
        typer.Option(
            "--from-frequencies",
            metavar="FILE",
            help="Import a list of words and counts instead of reading a corpus.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="CODE", help="The language of --from-frequencies."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of what --from-frequencies holds out.")] = 0,
    force: Force = False,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Count every word of a corpus once, by language.

    Everything after this works on the counts and never reads the text again. An interrupted
    count goes on where it stopped when the same command is given again.

    Example: vocabkit count corpus/ -o counts/
    """
    from vocabkit.corpus.counting import CountOptions, count_corpus
    from vocabkit.corpus.sources import open_corpus

    if from_frequencies is not None or language is not None or corpus is None:
        _import(corpus, from_frequencies, language, folder, held_out, seed, force, output, quiet)
        return
    opened = open_corpus(
        corpus,
        languages=split_codes(languages),
        panel=_load_panel(panel),
        document=document,
        field=field,
        allow_missing=allow_missing,
    )
    if dry_run:
        _show_plan(opened, output)
        return
    options = CountOptions(held_out, min_count, memory, workers)
    with open_progress(quiet) as progress:
        report = count_corpus(opened, folder, options, force=force, update=update, progress=progress)
    show_rows(report.rows, output, "count")
    show_warnings([f"no data for {code}" for code in opened.missing], quiet)
    show_warnings([f"left aside {entry}" for entry in report.ignored], quiet)
    show_note(f"wrote {folder} in {report.seconds:.1f} s", quiet)


def _import(
    corpus: Path | None,
    frequencies: Path | None,
    language: str | None,
    folder: Path,
    held_out: float,
    seed: int,
    force: bool,
    output: OutputFormat,
    quiet: bool,
) -> None:
    """Import a frequency list, once it is clear that exactly that was asked for."""
    if (corpus is None) == (frequencies is None):
        raise typer.BadParameter("give either CORPUS or --from-frequencies FILE")
    if frequencies is None or language is None:
        raise typer.BadParameter("--from-frequencies FILE and --language CODE belong together")
    from vocabkit.core.languages import resolve_code
    from vocabkit.corpus.counting import import_frequencies

    code = resolve_code(language)
    counts = import_frequencies(frequencies, code, folder, held_out=held_out, seed=seed, force=force)
    rows = [{"language": name, **asdict(totals)} for name, totals in counts.totals.items()]
    show_rows(rows, output, "count")
    show_note(f"wrote {folder}; held-out words were drawn from the counts, not by document", quiet)


def _load_panel(name: str | None) -> "PanelType | None":
    from vocabkit.core.languages import load_panel

    return None if name is None else load_panel(name)


def _show_plan(corpus: "Corpus", output: OutputFormat) -> None:
    """One row a source: what would be read, as what."""
    show_rows([source for code in corpus.languages for source in corpus.sources[code]], output, "plan")
