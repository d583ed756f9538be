"""`vocabkit compare`: which languages a second tokenizer costs more than the first."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .audit_options import (
    Aligned,
    Limit,
    Pattern,
    Resamples,
    Seed,
    list_doubts,
    list_unpatterned,
    load_groups,
    read_corpus,
)
from .options import Format, Languages, Panel, Quiet, Workers
from .output import show_note, show_rows, show_warnings
from .progress import open_progress

if TYPE_CHECKING:
    from vocabkit.auditing.metrics import Change, Comparison


def run(
    first: Annotated[
        str, typer.Argument(metavar="TOK-A", help="The tokenizer to hold the other to.")
    ],
    second: Annotated[str, typer.Argument(metavar="TOK-B", help="The one that may be worse.")],
    corpus: Annotated[
        Path,
        typer.Option("--corpus", metavar="DIR", help="Text, as `vocabkit count` reads it."),
    ],
    max_regression: Annotated[
        str,
        typer.Option(
            "--max-regression",
            metavar="X%",
            help="How many more tokens a language may need, as 2% or 0.02.",
        ),
    ] = "2%",
    languages: Languages = None,
    panel: Panel = None,
    aligned: Aligned = "auto",
    limit: Limit = None,
    pattern: Pattern = None,
    resamples: Resamples = 1_000,
    seed: Seed = 0,
    workers: Workers = None,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Compare what two tokenizers cost each language.

    Prints the change in tokens of the same lines, with its 95 % interval, the worst first; exits 1
    when a language needs more than --max-regression more tokens, and names it.

    Example: vocabkit compare tok-a/ tok-b/ --corpus ntrex/ --max-regression 2%
    """
    from vocabkit.auditing.auditing import audit_tokenizers
    from vocabkit.auditing.metrics import compare_tokenizers

    limit_share = parse_percent(max_regression)
    with open_progress(quiet) as progress:
        text = read_corpus(corpus, languages, panel, aligned, limit, progress)
        audit = audit_tokenizers(
            [first, second],
            text,
            panel=load_groups(panel),
            pattern=pattern,
            integrity=False,
            resamples=resamples,
            seed=seed,
            workers=workers,
            progress=progress,
        )
    before, after = (item.name for item in audit.tokenizers)
    found = compare_tokenizers(audit, before, after, max_regression=limit_share)
    show_rows([_row(change) for change in found.changes], output, "compare")
    show_warnings([*list_unpatterned([first, second], pattern), *list_doubts(audit)], quiet)
    for change in found.regressions:
        show_note(f"failed: {_describe(change, found)}")
    if found.regressions:
        raise typer.Exit(1)


def _row(change: "Change") -> dict[str, object]:
    """What is printed of a language. Shares: 0.02 is two per cent more tokens."""
    verdict = "worse" if change.certain else "worse, perhaps by chance"
    return {
        "language": change.language,
        "change": change.value,
        "low": change.low,
        "high": change.high,
        "lines": change.n,
        "verdict": verdict if change.regressed else None,
        "note": change.note,
    }


def _describe(change: "Change", found: "Comparison") -> str:
    if change.value is None:
        return f"{change.language}: {change.note}"
    said = f"{change.language}: {found.after} needs {change.value:+.2%} tokens"
    if change.low is not None and change.high is not None:
        said += f" (95 %: {change.low:+.2%} to {change.high:+.2%})"
    return f"{said}, more than {found.max_regression:+.2%}"


def parse_percent(text: str) -> float:
    """A share from `2%`, `2 %` or `0.02`. Raises `typer.BadParameter` for anything else."""
    said = text.strip()
    try:
        share = float(said.removesuffix("%")) / (100 if said.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise typer.BadParameter(f"{text!r} is no share such as 2% or 0.02")
    return share
