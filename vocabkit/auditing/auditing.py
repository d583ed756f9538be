"""A whole audit: text measured once, every tokenizer run once over it, figures made of the two.

Puts the steps in order and into one pool of processes; every figure is computed in the module named after it.
Reads no corpus and writes nothing: see `parallel_text` and `Audit.save`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vocabkit.auditing.composition import (
    Composition,
    compare_shares,
    describe_vocabulary,
    measure_composition,
    measure_usage,
)
from vocabkit.auditing.encoding import (
    INLINE,
    Encoded,
    Opening,
    find_fixed,
    finish_encoding,
    name_tokenizers,
    reuse_tokenizer,
    start_encoding,
)
from vocabkit.auditing.figures import Audit, Audited, Figure, Finding, Resampling, draw_resampling
from vocabkit.auditing.integrity import check_pieces, check_round_trips
from vocabkit.auditing.metrics import (
    LOST,
    Costs,
    Ratio,
    Spread,
    aggregate_spread,
    count_lost,
    explain_loss,
    group_languages,
    list_ratios,
    measure_changes,
    measure_language,
    measure_premium,
    measure_premium_median,
    measure_resources,
    resample_ratios,
    share_lost,
    sum_bytes,
    sum_tokens,
    withhold_premiums,
)
from vocabkit.auditing.parallel_text import AuditText
from vocabkit.auditing.text_quality import FactsSearch
from vocabkit.auditing.text_statistics import (
    TextStatistics,
    load_statistics,
    measure_text,
    name_segmenter,
)
from vocabkit.core.arrays import Float64Array
from vocabkit.core.errors import ConfigError, TokenizerError
from vocabkit.core.folders import fingerprint_file, package_versions
from vocabkit.core.languages import Panel
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.shard_map import open_executor
from vocabkit.corpus.word_counts import WordCounts

# --- Tokenizer figures -----------------------------------------------------------------------------
# All figures of one tokenizer: its languages, their premiums, groups of them, its vocabulary.
#
# Puts together what `metrics`, `premiums`, `aggregation`, `composition`, `resources` and `comparison`
# compute.


@dataclass(frozen=True, slots=True)
class _Settings:
    """What figures are made with; the names are those of `auditing.audit_tokenizers`."""

    reference: str = "eng_Latn"
    resamples: int = 1_000
    seed: int = 0
    width: int = 768


@dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """What all tokenizers share: the text and its statistics, the aligned languages, the resamples of lines.

    `exemplars` are the letters of each language, None where there is no list.
    """

    text: AuditText
    statistics: Mapping[str, TextStatistics]
    aligned: tuple[str, ...]
    resamplings: Mapping[str, Resampling | None]
    exemplars: Mapping[str, frozenset[str] | None]
    panel: Panel | None
    counts: WordCounts | None
    settings: _Settings

    @property
    def lines(self) -> int:
        """The number of aligned lines."""
        return len(self.statistics[self.aligned[0]]) if self.aligned else 0

    @property
    def shared(self) -> Resampling | None:
        """The resamples of the aligned lines."""
        return self.resamplings[self.aligned[0]] if self.aligned else None

    def sum_tokens(self, encoded: Mapping[str, Encoded]) -> Costs:
        """Return what a tokenizer's aligned languages cost."""
        return sum_tokens(self.aligned, self.statistics, encoded, self.shared)


@dataclass(frozen=True, slots=True, eq=False)
class _Base:
    """A tokenizer that others are held to: its name and what it makes of each language."""

    name: str
    encoded: Mapping[str, Encoded]


def _draw_resamplings(
    text: AuditText, statistics: Mapping[str, TextStatistics], resamples: int, seed: int
) -> dict[str, Resampling | None]:
    """Draw the resamples: one for all aligned languages, one for each of the others; none for counts."""
    drawn: dict[str, Resampling | None] = {}
    aligned = set(text.aligned_languages)
    shared = None
    for code, item in statistics.items():
        if text.weights is not None:
            drawn[code] = None
        elif code in aligned:
            shared = shared or draw_resampling(len(item), resamples, seed)
            drawn[code] = shared
        else:
            stream = 1 + zlib.crc32(code.encode())
            drawn[code] = draw_resampling(len(item), resamples, seed, stream=stream)
    return drawn


def _measure_tokenizer(
    name: str,
    encoded: Mapping[str, Encoded],
    composition: Composition,
    ground: _Ground,
    *,
    fixed: _Base,
    first: _Base,
) -> list[Figure]:
    """Return every figure of a tokenizer.

    `fixed` is whose cost of the reference `premium_fixed` divides by, `first` whom changes are against.
    """
    settings = ground.settings
    figures, spreads = _measure_languages(name, ground, encoded)
    premiums, more = _measure_premiums(name, ground, encoded, fixed)
    spreads += more
    groups = group_languages(tuple(ground.text.languages), ground.panel)
    figures += premiums
    for spread in spreads:
        figures += aggregate_spread(name, spread, groups)
    figures += count_lost(name, _find_lost(ground.statistics, encoded), groups)
    figures += measure_resources(
        name, spreads, ground.statistics, composition, ground.panel, ground.counts,
        resamples=settings.resamples, seed=settings.seed,
    )  # fmt: skip
    if encoded is not first.encoded:
        figures += measure_changes(
            name, first.name, ground.statistics, encoded, first.encoded, ground.resamplings
        )
    figures += measure_composition(name, composition, width=settings.width)
    figures += _compare_shares(name, composition, ground.statistics)
    figures += measure_usage(
        name, composition, [(found.ids, found.counts) for found in encoded.values()]
    )
    return figures


def _measure_languages(
    name: str, ground: _Ground, encoded: Mapping[str, Encoded]
) -> tuple[list[Figure], list[Spread]]:
    """The figures of each language by itself, and fertility for aggregating."""
    figures: list[Figure] = []
    codes = tuple(encoded)
    values = np.full(len(codes), np.nan)
    samples = None
    resampled = _resample_languages(ground, encoded)
    for place, (code, found) in enumerate(encoded.items()):
        if found.failure is not None:
            continue
        measured = measure_language(
            name, ground.statistics[code], found, resampled.get(code),
            exemplars=ground.exemplars.get(code),
            resamples=ground.settings.resamples, seed=ground.settings.seed,
        )  # fmt: skip
        figures += measured.figures
        if measured.fertility is not None:
            values[place] = measured.fertility
        if measured.fertility_samples is not None:
            if samples is None:
                samples = np.full((len(measured.fertility_samples), len(codes)), np.nan)
            samples[:, place] = measured.fertility_samples
    return figures, [Spread("fertility", "tokens a word", codes, values, samples)]


def _resample_languages(
    ground: _Ground, encoded: Mapping[str, Encoded]
) -> dict[str, dict[str, Float64Array]]:
    """The ratios of every language in every resample, the languages that share resamples together."""
    shared: dict[int, tuple[Resampling, dict[str, tuple[Ratio, ...]]]] = {}
    for code, found in encoded.items():
        resampling = ground.resamplings[code]
        if resampling is not None and found.failure is None:
            _, languages = shared.setdefault(id(resampling), (resampling, {}))
            languages[code] = list_ratios(ground.statistics[code], found)
    resampled: dict[str, dict[str, Float64Array]] = {}
    for resampling, languages in shared.values():
        resampled |= resample_ratios(languages, resampling)
    return resampled


def _measure_premiums(
    name: str, ground: _Ground, encoded: Mapping[str, Encoded], fixed: _Base
) -> tuple[list[Figure], list[Spread]]:
    languages, lines = tuple(ground.text.languages), ground.lines
    if not ground.aligned:
        return withhold_premiums(name, languages, ground.text.alignment.note), []
    reference = ground.settings.reference
    costs = ground.sum_tokens(encoded)
    held = costs if encoded is fixed.encoded else ground.sum_tokens(fixed.encoded)
    weight = sum_bytes(ground.aligned, ground.statistics, ground.shared)
    note = f"against {fixed.name}'s {reference}"
    own, spread = measure_premium(name, "premium", costs, costs, reference, languages, lines=lines)
    median, beside = measure_premium_median(name, costs, languages, lines=lines)
    other, against = measure_premium(
        name, "premium_fixed", costs, held, reference, languages, lines=lines, note=note
    )
    of_bytes, _ = measure_premium(
        name, "byte_premium", weight, weight, reference, languages, lines=lines
    )
    return [*own, *median, *other, *of_bytes], [spread, beside, against]


def _find_lost(
    statistics: Mapping[str, TextStatistics], encoded: Mapping[str, Encoded]
) -> frozenset[str]:
    """The languages whose costs are not given since too much of their text is lost."""
    return frozenset(
        code
        for code, found in encoded.items()
        if found.failure is None and explain_loss(share_lost(statistics[code], found)) is not None
    )


def _compare_shares(
    name: str, composition: Composition, statistics: Mapping[str, TextStatistics]
) -> list[Figure]:
    characters: dict[str, int] = {}
    words: dict[str, int] = {}
    for item in statistics.values():
        for total, part in ((characters, item.scripts), (words, item.script_words)):
            for script, count in part.items():
                total[script] = total.get(script, 0) + count
    return compare_shares(name, composition, characters, words)


# --- Auditing --------------------------------------------------------------------------------------


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
    settings = _Settings(reference, resamples, seed, width)
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
    ground = _Ground(
        text,
        statistics,
        tuple(code for code in text.aligned_languages if code in statistics),
        _draw_resamplings(text, statistics, resamples, seed),
        facts.exemplars,
        panel,
        counts,
        settings,
    )
    bases = [_Base(name, found) for name, found in zip(names, encoded, strict=True)]
    figures: list[Figure] = []
    for base, composition in zip(bases, compositions, strict=True):
        figures += _measure_tokenizer(
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
    from vocabkit.auditing.sharing import cost_of_sharing, withhold_sharing

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
    text: AuditText, settings: _Settings, fixed: str, route: str | None, integrity: bool
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
