"""`vocabkit audit`: what tokenizers cost each language, and what is wrong with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from .options import (
    Force,
    Format,
    Languages,
    OutputFolder,
    Panel,
    Quiet,
    Route,
    Workers,
    split_codes,
)
from .output import show_note, show_rows, show_warnings
from .progress import open_progress

if TYPE_CHECKING:
    from vocabkit.auditing.figures import Audit, Requirement
    from vocabkit.auditing.parallel_text import AuditText
    from vocabkit.core.progress import Progress
    from vocabkit.corpus.word_counts import WordCounts

REFERENCE = "eng_Latn"

Tokenizers = Annotated[
    list[str],
    typer.Argument(
        metavar="TOKENIZER",
        help="A .model, tokenizer.json, tiktoken ranks, GGUF, or a folder that holds one.",
    ),
]
Reference = Annotated[
    str,
    typer.Option("--reference", metavar="CODE", help="The language that a premium is against."),
]


def run(
    tokenizers: Tokenizers,
    folder: OutputFolder,
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", metavar="DIR", help="Text, as `vocabkit count` reads it."),
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option(
            "--counts",
            metavar="DIR",
            help="Counts instead of text; beside --corpus, how much text each language has.",
        ),
    ] = None,
    languages: Languages = None,
    panel: Panel = None,
    reference: Reference = REFERENCE,
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
    width: Annotated[
        int, typer.Option("--width", min=1, metavar="N", help="Width of an embedding row.")
    ] = 768,
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
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Measure what tokenizers cost each language.

    Prints a row a language, the worst first: its premium over the reference where lines are aligned
    across languages, tokens per word elsewhere. The folder gets report.html, audit.parquet with every
    figure, and audit.json with the rest.

    Example: vocabkit audit tok-a/ tok-b/ --corpus ntrex/ -o report/
    """
    import time

    from vocabkit.auditing.auditing import audit_tokenizers
    from vocabkit.auditing.figures import parse_requirement
    from vocabkit.core.folders import check_inputs, check_output

    if sharing and counts is None:
        raise typer.BadParameter("--sharing fits vocabularies: give it --counts DIR")
    wanted = [parse_requirement(text) for text in require or ()]
    check_output(folder, force=force)
    check_inputs(folder, [path for path in (*tokenizers, corpus, counts) if path is not None])
    start = time.perf_counter()
    with open_progress(quiet) as progress:
        chosen = load_groups(panel)
        text, words = _read(corpus, counts, languages, panel, aligned, limit, progress)
        settings: dict[str, Any] = {
            "reference": _resolve_reference(reference, text),
            "fixed": fixed,
            "pattern": pattern,
            "route": route,
            "integrity": not no_integrity,
            "sharing": sharing,
            "resamples": resamples,
            "seed": seed,
            "width": width,
        }
        found = audit_tokenizers(
            tokenizers,
            text,
            panel=chosen,
            counts=words,
            workers=workers,
            progress=progress,
            **settings,
        )
    config = settings | {"aligned": aligned, "limit": limit, "panel": chosen.name}
    write_audit(found, text, folder, config, time.perf_counter() - start, force=force)
    show_rows(list_costs(found), output, "audit")
    show_warnings([*list_unpatterned(tokenizers, pattern), *list_doubts(found)], quiet)
    show_note(f"wrote {folder}: open {folder / 'report.html'}", quiet)
    _fail_unless_met(found, wanted)


def write_audit(
    found: "Audit",
    text: "AuditText",
    folder: Path,
    config: Mapping[str, Any],
    seconds: float,
    *,
    force: bool,
) -> None:
    """Write the folder of an audit: figures, findings, the report, and how they came to be."""
    from vocabkit.auditing.report import write_report
    from vocabkit.core.folders import output_folder, write_manifest

    with output_folder(folder, force=force) as work:
        found.save(work)
        write_report(found, work)
        inputs = {item.name: item.fingerprint for item in found.tokenizers}
        write_manifest(
            work,
            config=config,
            inputs={"text": text.fingerprint, **inputs},
            seconds={"total": seconds},
            details={"alignment": text.alignment.note},
            seed=config["seed"],
        )


def _read(
    corpus: Path | None,
    counts: Path | None,
    languages: str | None,
    panel: str | None,
    aligned: Literal["auto", "yes", "no"],
    limit: int | None,
    progress: "Progress",
) -> tuple["AuditText", "WordCounts | None"]:
    """The text to encode, and the counts where they were given."""
    from vocabkit.auditing.parallel_text import text_from_counts
    from vocabkit.corpus.word_counts import WordCounts

    if corpus is None and counts is None:
        raise typer.BadParameter("give --corpus DIR, or --counts DIR, or both")
    words = None if counts is None else WordCounts.load(counts)
    if corpus is not None:
        return read_corpus(corpus, languages, panel, aligned, limit, progress), words
    if limit is not None or aligned == "yes" or words is None:
        raise typer.BadParameter("--limit and --aligned yes need --corpus: counts hold no lines")
    words = _select(words, languages, panel)
    return text_from_counts(words), words


def _resolve_reference(code: str, text: "AuditText") -> str:
    """The code meant. A text may lack the default, which leaves premiums null, but not one asked for."""
    from vocabkit.core.languages import resolve_code

    return code if code == REFERENCE else resolve_code(code, text.languages)


def _select(words: "WordCounts", languages: str | None, panel: str | None) -> "WordCounts":
    """The counts of the languages asked for, or else of those of the panel that are there."""
    from vocabkit.core.languages import resolve_code
    from vocabkit.corpus.word_counts import WordCounts

    asked = split_codes(languages)
    if asked is not None:
        codes = [resolve_code(code, words.languages) for code in asked]
    elif panel is not None:
        codes = [code for code in load_groups(panel).codes if code in words.languages]
    else:
        return words
    return WordCounts({code: words.languages[code] for code in sorted(set(codes))})


def list_costs(audit: "Audit") -> list[dict[str, object]]:
    """One row a language with a column a tokenizer, worst first; then mean and bottom decile."""
    from vocabkit.auditing.report import find_headline, rank_names

    headline = find_headline(audit)
    if headline is None:
        return []
    names = [item.name for item in audit.tokenizers]
    figures = list(audit.select(metric=headline, scope="language"))
    found = {(figure.name, figure.tokenizer): figure.value for figure in figures}
    rows: list[dict[str, object]] = [
        {"language": code, "metric": headline, **{name: found.get((code, name)) for name in names}}
        for code in rank_names(figures)
    ]
    for statistic in ("mean", "bottom_decile"):
        metric = f"{headline}.{statistic}"
        overall = {f.tokenizer: f.value for f in audit.select(metric=metric, scope="overall")}
        if overall:
            values = {name: overall.get(name) for name in names}
            rows.append({"language": "all", "metric": metric, **values})
    return rows


def _fail_unless_met(audit: "Audit", wanted: "list[Requirement]") -> None:
    """Say on stderr which requirement fails and exit 1. `--quiet` does not hide a verdict."""
    from vocabkit.auditing.figures import check_requirements

    failed = [outcome for outcome in check_requirements(audit, wanted) if not outcome.met]
    for outcome in failed:
        show_note(f"failed: {outcome.describe()}")
    if failed:
        raise typer.Exit(1)
