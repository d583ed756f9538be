"""A whole audit: text measured once, every tokenizer run once over it, figures made of the two.

Puts the steps in order and into one pool of processes; every figure is computed in the module named after it.
Reads no corpus and writes nothing: see `parallel_text` and `Audit.save`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from pathlib import Path

from vocabkit.audit.composition import Composition, describe_vocabulary
from vocabkit.audit.encoding import INLINE, finish_encoding, start_encoding
from vocabkit.audit.figures import Audit, Audited, Figure, Finding
from vocabkit.audit.language_encoding import Encoded
from vocabkit.audit.metrics import LOST
from vocabkit.audit.opened_tokenizers import Opening, reuse_tokenizer
from vocabkit.audit.parallel_text import AuditText
from vocabkit.audit.segmentation import name_segmenter
from vocabkit.audit.soundness import check_pieces, check_round_trips
from vocabkit.audit.text_facts import FactsSearch
from vocabkit.audit.text_statistics import load_statistics, measure_text
from vocabkit.audit.tokenizer_figures import (
    Base,
    Ground,
    Settings,
    draw_resamplings,
    measure_tokenizer,
)
from vocabkit.audit.tokenizer_names import find_fixed, name_tokenizers
from vocabkit.core.errors import ConfigError, TokenizerError
from vocabkit.core.languages import Panel
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import fingerprint_file, package_versions
from vocabkit.corpus.scheduling import open_executor
from vocabkit.corpus.word_counts import WordCounts

_Checks = list[tuple[str, Future[tuple[list[Finding], list[Figure]]]]]


def audit_tokenizers(
    paths: Sequence[str | Path],
    text: AuditText,
    *,
    panel: Panel | None,
    counts: WordCounts | None = None,
    reference: str = "eng_Latn",
    fixed: str | None = None,
    pattern: str | None = None,
    route: str | None = None,
    integrity: bool = True,
    sharing: bool = False,
    resamples: int = 1_000,
    seed: int = 0,
    width: int = 768,
    workers: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Audit tokenizers on a text and return everything found.

    `reference` is the language premiums are against, `fixed` the name or path of the tokenizer whose cost of it
    `premium_fixed` uses (default: the first). `pattern` is for tiktoken files that name none; `route` is the
    language whose view of vocabularies with blocks encodes all text. `counts` tell how much text each language
    has elsewhere, and with `sharing` a vocabulary of its own is fitted for each language and tokenizer, to tell
    what sharing costs. `width` is of an embedding row. `workers` (default: one a core) are spawned processes;
    the result does not depend on them. What depends on the text alone is kept in `cache` (default: the user's
    cache folder). A language that a tokenizer fails on is in `failures`, the others are measured. Raises
    TokenizerError when a tokenizer cannot be opened, or not be audited exactly on counted words; ConfigError
    for bad arguments.
    """
    if not paths:
        raise ConfigError(
            "no tokenizer to audit", "name one: vocabkit audit TOKENIZER --corpus DIR"
        )
    report = progress or Silent()
    settings = Settings(reference, resamples, seed, width)
    openings = [Opening.of(path, pattern, route) for path in paths]
    names = name_tokenizers(paths)
    held_to = find_fixed(fixed, names, paths)
    characters = sum(sum(map(len, lines)) for lines in text.languages.values())
    wanted = 1 if workers is None and characters * len(paths) < INLINE else workers
    with ExitStack() as stack:
        pool = open_executor(wanted, len(text.languages) * len(paths), stack)
        # Processes start, and open tokenizers, while this one reads what is kept of the text.
        words = text.weights is not None
        opened = [
            pool.submit(_open, opening, name, words=words)
            for opening, name in zip(openings, names, strict=True)
        ]
        described = [pool.submit(_describe, opening) for opening in openings]
        kept = load_statistics(text, cache=cache)
        # A broken tokenizer is known before any text is measured.
        audited = [job.result() for job in opened]
        statistics = measure_text(text, workers=workers, cache=cache, kept=kept, progress=report)
        search = FactsSearch(
            text, panel=panel, reference=reference, seed=seed, pool=pool, cache=cache
        )
        facts = search.finish(statistics)
        letters = {code: found for code, found in facts.exemplars.items() if found}
        checks: _Checks = []
        started = []
        # All of one tokenizer, then the next: a process keeps one open. The checks first: they take longest.
        for opening, name in zip(openings, names, strict=True):
            if integrity:
                checks += _start_checks(pool, opening, name, text, seed)
            started.append(
                start_encoding(
                    opening, text, statistics, exemplars=letters, switched=facts.switched, pool=pool
                )
            )
        encoded = finish_encoding(started, statistics, report)
        findings, measured = _finish_checks(checks, report)
        compositions = [job.result() for job in described]
    ground = Ground(
        text,
        statistics,
        tuple(code for code in text.aligned_languages if code in statistics),
        draw_resamplings(text, statistics, resamples, seed),
        facts.exemplars,
        panel,
        counts,
        settings,
    )
    bases = [Base(name, found) for name, found in zip(names, encoded, strict=True)]
    figures: list[Figure] = []
    for base, composition in zip(bases, compositions, strict=True):
        figures += measure_tokenizer(
            base.name, base.encoded, composition, ground, fixed=bases[held_to], first=bases[0]
        )
        figures += measured.get(base.name, [])
    if sharing and counts is not None:
        for opening, name in zip(openings, names, strict=True):
            figures += _measure_sharing(name, opening, text, counts, workers, report)
    method = _tell_method(text, settings, names[held_to], route, integrity)
    return Audit(
        tuple(figures),
        tuple(audited),
        tuple(finding for name in names for finding in findings.get(name, [])),
        facts.warnings,
        method,
        _list_failures(text, names, encoded),
    )


def _open(opening: Opening, name: str, *, words: bool) -> Audited:
    """Open a tokenizer and say what it is. Raises TokenizerError where counted `words` do not do for it."""
    tokenizer = reuse_tokenizer(opening).tokenizer
    if words and tokenizer.exact_on_words is not None:
        raise TokenizerError(
            f"{opening.path}: counted words do not tell what it costs: {tokenizer.exact_on_words}",
            "audit it on text: --corpus DIR",
        )
    file = Path(tokenizer.name)
    if not file.is_file():
        file = min(path for path in Path(opening.path).iterdir() if path.is_file())
    return Audited(name, opening.path, tokenizer.size, tokenizer.style, fingerprint_file(file))


def _measure_sharing(
    name: str,
    opening: Opening,
    text: AuditText,
    counts: WordCounts,
    workers: int | None,
    report: Progress,
) -> list[Figure]:
    # Imported here: it loads the trainer, which no other part of an audit needs.
    from vocabkit.audit.sharing import cost_of_sharing, withhold_sharing

    tokenizer = reuse_tokenizer(opening).tokenizer
    languages = [code for code in text.languages if code in counts.languages]
    if tokenizer.exact_on_words is not None:
        return withhold_sharing(name, languages, tokenizer.exact_on_words)
    return cost_of_sharing(name, tokenizer, counts, languages, threads=workers, progress=report)


def _describe(opening: Opening) -> Composition:
    return describe_vocabulary(reuse_tokenizer(opening).tokenizer)


def _start_checks(
    pool: Executor, opening: Opening, name: str, text: AuditText, seed: int
) -> _Checks:
    return [
        (name, pool.submit(check_pieces, opening, name)),
        (name, pool.submit(check_round_trips, opening, name, text.languages, seed)),
    ]


def _finish_checks(
    jobs: _Checks, report: Progress
) -> tuple[dict[str, list[Finding]], dict[str, list[Figure]]]:
    report.start("checking", len(jobs), "checks")
    findings: dict[str, list[Finding]] = {}
    figures: dict[str, list[Figure]] = {}
    for name, job in jobs:
        found, measured = job.result()
        findings.setdefault(name, []).extend(found)
        figures.setdefault(name, []).extend(measured)
        report.advance(1)
    report.finish()
    return findings, figures


def _list_failures(
    text: AuditText, names: Sequence[str], encoded: Sequence[Mapping[str, Encoded]]
) -> dict[str, str]:
    failures = dict(text.failures)
    for name, languages in zip(names, encoded, strict=True):
        for code, found in languages.items():
            if found.failure is not None:
                failures[f"{name}: {code}"] = found.failure
    return failures


def _tell_method(
    text: AuditText, settings: Settings, fixed: str, route: str | None, integrity: bool
) -> dict[str, str]:
    versions = package_versions(
        ("vocabkit", "sentencepiece", "tokenizers", "tiktoken", "fonttools")
    )
    reference = settings.reference
    routed = {} if route is None else {"route": f"all text is encoded as {route} sees a vocabulary"}
    return {
        "text": f"{text.name}, {len(text.languages)} languages, digest {text.fingerprint}",
        "alignment": text.alignment.note,
        **routed,
        "words": name_segmenter(),
        "reference": f"{reference}; premium_fixed against {fixed}'s {reference}",
        "aggregation": "ratios of sums over lines; in means over languages every language weighs the same",
        "intervals": f"95 %, {settings.resamples} resamples of lines, seed {settings.seed}, the same lines "
        "for every aligned language and every tokenizer",
        "lost text": f"costs are not given where more than {LOST:.0%} of a language's characters are lost",
        "embedding width": str(settings.width),
        "integrity": "checked" if integrity else "not checked, as asked",
        "versions": ", ".join(f"{name} {found}" for name, found in versions.items() if found),
    }
