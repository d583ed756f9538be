"""`vocabkit count`: the one pass over the text."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    CORPUS,
    AllowMissing,
    DocumentRule,
    Force,
    Format,
    Languages,
    Memory,
    OneLanguage,
    OutputFolder,
    Panel,
    Quiet,
    TextField,
    Workers,
)
from .output import show_note, show_rows, show_warnings


def run(
    output: OutputFolder,
    corpus: Annotated[
        Path | None,
        typer.Argument(metavar="CORPUS", help=CORPUS),
    ] = None,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0, max=0.5, help="Share of documents kept apart.")
    ] = 0.02,
    document: DocumentRule = None,
    field: TextField = None,
    language: OneLanguage = None,
    languages: Languages = None,
    panel: Panel = None,
    allow_missing: AllowMissing = False,
    min_count: Annotated[
        int, typer.Option("--min-count", min=1, help="Drop rarer words; their mass is reported.")
    ] = 1,
    workers: Workers = None,
    memory: Memory = "2GB",
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
    seed: Annotated[int, typer.Option("--seed", help="Seed of what --from-frequencies holds out.")] = 0,
    force: Force = False,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Count every word of a corpus once, by language.

    Everything after this works on the counts and never reads the text again. An interrupted
    count goes on where it stopped when the same command is given again.

    Example: vocabkit count corpus/ -o counts/
    """
    import vocabkit as vk
    from vocabkit.core.folders import find_address
    from vocabkit.core.progress import watch

    if dry_run and corpus is not None:
        opened = vk.open_corpus(
            corpus,
            document=document,
            field=field,
            language=language,
            languages=languages,
            panel=panel,
            allow_missing=allow_missing,
        )
        files = (item for code in opened.languages for item in opened.sources[code])
        names = ("language", "path", "kind", "compression", "size")
        show_rows([{name: getattr(item, name) for name in names} for item in files], format, "plan")
        return
    counts = vk.count(
        corpus,
        output,
        held_out=held_out,
        document=document,
        field=field,
        language=language,
        languages=languages,
        panel=panel,
        allow_missing=allow_missing,
        min_count=min_count,
        workers=workers,
        memory=memory,
        update=update,
        from_frequencies=from_frequencies,
        seed=seed,
        force=force,
        progress=watch(quiet),
    )
    show_rows(counts.to_rows(), format, "count")
    show_warnings(counts.warnings, quiet)
    if min_count > 1 and from_frequencies is None:
        what = f"words seen fewer than {min_count:,} times made up {counts.dropped:.1%} of all, and are dropped"
        show_note(what, quiet)
    drawn = "; held-out words were drawn from the counts, not by document"
    note = drawn if from_frequencies is not None else f" in {counts.seconds:.1f} s"
    show_note(f"wrote {find_address(output) or output}{note}", quiet)
