"""A whole audit: text measured once, every tokenizer run once over it, figures made of the two.

Puts the steps in order and into one pool of processes; every figure is computed in the module named after it.
Reads no corpus and writes nothing: see `parallel_text` and `Audit.save`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from vocabkit.audit.composition import Composition, describe_vocabulary
from vocabkit.audit.encoding import INLINE, finish_encoding, start_encoding
from vocabkit.audit.exemplars import aligned_halves, load_exemplars
from vocabkit.audit.figures import Audit, Audited, Figure, Finding
from vocabkit.audit.language_encoding import Encoded, Opening, Switched, reuse_tokenizer
from vocabkit.audit.metrics import LOST
from vocabkit.audit.parallel_text import AuditText
from vocabkit.audit.segmentation import name_segmenter
from vocabkit.audit.soundness import check_pieces, check_round_trips
from vocabkit.audit.text_quality import warn_of_text
from vocabkit.audit.text_statistics import measure_text
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

SWITCHED = 60
"""Code-switched lines of a language: their cost over their halves' is then known to about half a per cent."""
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
    integrity: bool = True,
    sharing: bool = False,
    resamples: int = 1_000,
    seed: int = 0,
    width: int = 768,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Audit tokenizers on a text and return everything found.

    `reference` is the language premiums are against, `fixed` the name or path of the tokenizer whose cost of it
    `premium_fixed` uses (default: the first). `pattern` is for tiktoken files that name none; `counts` tell how
    much text each language has elsewhere, and with `sharing` a vocabulary of its own is fitted for each
    language and tokenizer, to tell what sharing costs. `width` is of an embedding row. `workers` (default: one
    a core) are spawned processes; the result does not depend on them. A language that a tokenizer fails on is
    in `failures`, the others are measured. Raises TokenizerError when a tokenizer cannot be opened, or not be
    audited exactly on counted words; ConfigError for bad arguments.
    """
    if not paths:
        raise ConfigError(
            "no tokenizer to audit", "name one: vocabkit audit TOKENIZER --corpus DIR"
        )
    report = progress or Silent()
    settings = Settings(reference, resamples, seed, width)
    openings = [Opening(str(path), pattern) for path in paths]
    names = name_tokenizers(paths)
    held_to = find_fixed(fixed, names, paths)
    audited = [_open(opening, name, text) for opening, name in zip(openings, names, strict=True)]
    openings = [Opening(item.path, pattern, item.fingerprint) for item in audited]
    statistics = measure_text(text, workers=workers, progress=report)
    characters = sum(int(item.characters.sum()) for item in statistics.values())
    wanted = 1 if workers is None and characters * len(paths) < INLINE else workers
    # The thread works while this process would wait for the others.
    with ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        pool = open_executor(wanted, len(text.languages) * len(paths), stack)
        warned = thread.submit(warn_of_text, text, statistics, panel)
        listed = pool.submit(_list_exemplars, tuple(text.languages))
        switched = _switch(pool, text, reference, seed)
        exemplars = listed.result()
        letters = {code: found for code, found in exemplars.items() if found}
        checks: _Checks = []
        described, started = [], []
        # All of one tokenizer, then the next: a process keeps one open. The checks first: they take longest.
        for opening, name in zip(openings, names, strict=True):
            if integrity:
                checks += _start_checks(pool, opening, name, text, seed)
            described.append(pool.submit(_describe, opening))
            started.append(
                start_encoding(
                    opening, text, statistics, exemplars=letters, switched=switched, pool=pool
                )
            )
        encoded = finish_encoding(started, statistics, report)
        findings, measured = _finish_checks(checks, report)
        compositions = [job.result() for job in described]
        warnings = warned.result()
    ground = Ground(
        text,
        statistics,
        tuple(code for code in text.aligned_languages if code in statistics),
        draw_resamplings(text, statistics, resamples, seed),
        exemplars,
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
    method = _tell_method(text, settings, names[held_to], integrity)
    return Audit(
        tuple(figures),
        tuple(audited),
        tuple(finding for name in names for finding in findings.get(name, [])),
        tuple(warnings),
        method,
        _list_failures(text, names, encoded),
    )


def _open(opening: Opening, name: str, text: AuditText) -> Audited:
    """Open a tokenizer once, so that a broken one is known before any text is measured."""
    tokenizer = opening.open()
    if text.weights is not None and tokenizer.exact_on_words is not None:
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


def _list_exemplars(codes: Sequence[str]) -> dict[str, frozenset[str] | None]:
    return {code: load_exemplars(code) for code in codes}


def _switch(pool: Executor, text: AuditText, reference: str, seed: int) -> dict[str, Switched]:
    """Code-switched lines of the reference and every other aligned language."""
    if reference not in text.aligned_languages:
        return {}
    jobs = {}
    for code in text.aligned_languages:
        if code != reference:
            pair = {name: text.languages[name] for name in (reference, code)}
            part = replace(text, languages=pair, failures={}, repairs={})
            jobs[code] = pool.submit(aligned_halves, part, reference, code, seed, limit=SWITCHED)
    return {code: job.result() for code, job in jobs.items()}


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
    text: AuditText, settings: Settings, fixed: str, integrity: bool
) -> dict[str, str]:
    versions = package_versions(
        ("vocabkit", "sentencepiece", "tokenizers", "tiktoken", "fonttools")
    )
    reference = settings.reference
    return {
        "text": f"{text.name}, {len(text.languages)} languages, digest {text.fingerprint}",
        "alignment": text.alignment.note,
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
