"""What `audit` and `compare` share: options, reading the text, and saying what makes figures doubtful."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import split_codes

if TYPE_CHECKING:
    from vocabkit.auditing.figures import Audit
    from vocabkit.auditing.parallel_text import AuditText
    from vocabkit.core.languages import Panel as PanelType
    from vocabkit.core.progress import Progress

# Names the groups, branches and tail; a language outside it is in none of them.
PANEL = "panels/panel-40"

Aligned = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option("--aligned", help="Whether line i is the same sentence in every language."),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Only the first N lines of a language."),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--pattern", metavar="NAME", help="The splitting pattern of tiktoken ranks that name none."
    ),
]
Resamples = Annotated[
    int,
    typer.Option("--resamples", min=0, metavar="N", help="Resamples behind a 95 % interval."),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of resamples and samples.")]


def load_groups(name: str | None) -> "PanelType":
    """The panel that sorts languages into groups: the one asked for, or the shipped one."""
    from vocabkit.core.languages import load_panel

    return load_panel(name or PANEL)


def read_corpus(
    corpus: Path,
    languages: str | None,
    panel: str | None,
    aligned: Literal["auto", "yes", "no"],
    limit: int | None,
    progress: "Progress",
) -> "AuditText":
    """Read the lines of a corpus; a language without data is a failure of its own unless asked for by name."""
    from dataclasses import replace

    from vocabkit.auditing.parallel_text import read_audit_text
    from vocabkit.corpus.sources import open_corpus

    opened = open_corpus(
        corpus,
        languages=split_codes(languages),
        panel=None if panel is None else load_groups(panel),
        allow_missing=languages is None,
    )
    text = read_audit_text(opened, limit=limit, aligned=aligned, progress=progress)
    missing = dict.fromkeys(opened.missing, "no data")
    return replace(text, failures={**text.failures, **missing})


def list_doubts(audit: "Audit") -> list[str]:
    """What makes figures doubtful, in a line each: what has no value, and text that looks wrong."""
    from vocabkit.auditing.report import find_headline, list_unranked

    headline = find_headline(audit)
    unranked = {} if headline is None else list_unranked(audit, headline)
    failed = [f"{name} was not measured: {reason}" for name, reason in audit.failures.items()]
    checks = dict.fromkeys(item.check for item in audit.warnings)
    doubts = []
    for check in checks:
        codes = sorted(item.language for item in audit.warnings if item.check == check)
        doubts.append(f"text of {_shorten(codes)}: {check}; see report.html before its figures")
    missing = [
        f"no {headline} with {name} for {_shorten(codes)}: report.html says why"
        for name, codes in unranked.items()
    ]
    return [*failed, *missing, *doubts]


def list_unpatterned(paths: Sequence[str], pattern: str | None) -> list[str]:
    """The tokenizers that a pattern is given for in vain, in a line each: their files say how text is split."""
    from vocabkit.vocabulary.tokenizers import takes_pattern

    if pattern is None:
        return []
    said = "its file says how text is split"
    return [f"{path}: --pattern does nothing: {said}" for path in paths if not takes_pattern(path)]


def _shorten(names: Sequence[str], most: int = 6) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
