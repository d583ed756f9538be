"""A whole audit: text measured once, every tokenizer run once over it, figures made of the two.

`run_audit` does what `vocabkit audit` does, from paths, or from what they hold, to an answer. The steps are put
in order and into one pool of processes; no figure is computed here.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Unpack

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
    Split,
    choose_lines,
    find_fixed,
    finish_encoding,
    name_tokenizers,
    reuse_tokenizer,
    split_lines,
    start_encoding,
)
from vocabkit.auditing.figures import (
    Audited,
    Figure,
    Figures,
    Finding,
    Findings,
    Resampling,
    Sentence,
    Spoken,
    draw_resampling,
)
from vocabkit.auditing.integrity import check_pieces, check_round_trips
from vocabkit.auditing.metrics import (
    CHANGE,
    LOST,
    OUTSIDE,
    Ratio,
    Spread,
    aggregate_spread,
    count_lost,
    explain_loss,
    find_common,
    group_languages,
    list_ratios,
    measure_changes,
    measure_language,
    measure_premium,
    measure_premium_median,
    measure_resources,
    name_lost,
    resample_ratios,
    share_lost,
    sum_bytes,
    sum_tokens,
    withhold_premiums,
)
from vocabkit.auditing.parallel_text import Aligned, AuditText, read_audit_text, text_from_counts
from vocabkit.auditing.report import Audit
from vocabkit.auditing.requirements import Requirement, check_names, parse_requirement
from vocabkit.auditing.text_quality import find_facts
from vocabkit.auditing.text_statistics import TextStatistics, load_statistics, measure_text, name_segmenter
from vocabkit.core.arrays import Float64Array
from vocabkit.core.errors import ConfigError, TokenizerError
from vocabkit.core.folders import check_output, fingerprint_file, package_versions
from vocabkit.core.languages import Panel, load_panel, name_languages, resolve_code, resolve_codes
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.shard_map import open_executor
from vocabkit.corpus.sources import Corpus, Reading, open_corpus
from vocabkit.corpus.word_counts import WordCounts

PANEL = "panels/panel-40"
"""The panel that names groups, branches and tail where none is given; a language outside it is in none."""
REFERENCE = "eng_Latn"
"""The language that a premium is against where none is given."""

# --- From paths to an answer -----------------------------------------------------------------------


def run_audit(
    tokenizers: str | Path | Sequence[str | Path],
    corpus: str | Path | Corpus | AuditText | None = None,
    output: str | Path | None = None,
    *,
    counts: str | Path | WordCounts | None = None,
    languages: Sequence[str] | None = None,
    panel: str | Path | Panel | None = None,
    reference: str = REFERENCE,
    fixed: str | None = None,
    aligned: Aligned = "auto",
    limit: int | None = None,
    width: int = 768,
    pattern: str | None = None,
    route: str | None = None,
    integrity: bool = True,
    sharing: bool = False,
    resamples: int = 1_000,
    seed: int = 0,
    require: Iterable[str | Requirement] = (),
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **reading: Unpack[Reading],
) -> Audit:
    """Audit tokenizers on a text, write the folder `output` if one is named, and return everything found.

    The text is a corpus, or without one the words of `counts`; beside a corpus, counts tell how much text each
    language has, and with `sharing` a vocabulary of its own is fitted for each language and tokenizer, to tell
    what sharing costs. `languages` and else `panel` choose among what is there; without either all is taken;
    `reading` is how the corpus is read, as `open_corpus` takes it.
    `reference` is the language premiums are against, `fixed` the name or path of the tokenizer whose cost of it
    `premium_fixed` uses (default: the first). `pattern` is for tiktoken files that name none; `route` is the
    language whose view of vocabularies with blocks encodes all text; `width` is of an embedding row. What
    `require` asks for is looked at by `Audit.failed`. `workers` (default: one a core) are spawned processes;
    the result does not depend on them. What depends on the text alone is kept in the user's cache folder.

    A language that cannot be read, or that a tokenizer fails on, is in `failures`; the others are measured.
    Raises TokenizerError when a tokenizer cannot be opened, or not be audited exactly on counted words;
    CorpusError where no text can be read; ConfigError for bad arguments; OutputError where `output` is not
    empty and not to be replaced (`force`).
    """
    paths = [tokenizers] if isinstance(tokenizers, str | Path) else list(tokenizers)
    if not paths:
        raise ConfigError("no tokenizer to audit", "name one: vocabkit audit TOKENIZER --corpus DIR")
    if sharing and counts is None:
        raise ConfigError("--sharing fits vocabularies and needs counts", "give --counts DIR")
    required = tuple(parse_requirement(one) if isinstance(one, str) else one for one in require)
    if output is not None:
        inputs = (one for one in (*paths, corpus, counts) if isinstance(one, str | Path))
        check_output(Path(output), inputs, force=force)
    start = time.perf_counter()
    chosen = panel if isinstance(panel, Panel) else load_panel(panel or PANEL)
    among = None if panel is None else chosen
    words = WordCounts.load(counts) if isinstance(counts, str | Path) else counts
    source = _find_source(corpus, words, languages, among, aligned, limit, reading)
    # What is asked for is looked at before any text is: reading a large corpus takes minutes.
    check_names(required, source.codes, chosen, source.missing)
    # A text may lack the default, which leaves premiums null, but not one asked for.
    code = reference if reference == REFERENCE else resolve_code(reference, source.codes)
    settings = _Settings(
        code, fixed, pattern, route, integrity, sharing, resamples, seed, width, aligned, limit, chosen.name
    )  # fmt: skip
    text, found = _audit(paths, source, chosen, words, settings, workers, progress or Silent())
    origin = {
        "config": asdict(settings) | {name: said for name, said in reading.items() if said is not None},
        "inputs": {"text": text.fingerprint} | {item.name: item.fingerprint for item in found.tokenizers},
        "seconds": {"total": time.perf_counter() - start},
        "details": {"alignment": text.alignment.note},
        "seed": seed,
    }
    found = replace(found, required=required, origin=origin)
    if output is not None:
        found.save(output, force=force)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """What text there will be: languages, those without data, about how many characters; `read` reads it.

    `words` says that it is counted words and no lines.
    """

    codes: tuple[str, ...]
    missing: tuple[str, ...]
    size: int
    words: bool
    read: Callable[[Progress], AuditText]


def _find_source(
    corpus: str | Path | Corpus | AuditText | None,
    words: WordCounts | None,
    languages: Sequence[str] | None,
    panel: Panel | None,
    aligned: Aligned,
    limit: int | None,
    reading: Reading,
) -> _Source:
    """Find the text and read none; a language without data is a failure of its own unless asked for by name."""
    if not isinstance(corpus, str | Path) and any(said is not None for said in reading.values()):
        what = "document, field and language say how a corpus is read from its files, and none is given"
        raise ConfigError(what, "give --corpus DIR, or leave them out")
    if isinstance(corpus, AuditText):
        text = corpus
        size = sum(sum(map(len, lines)) for lines in text.languages.values())
        missing = tuple(text.failures)
        return _Source(tuple(text.languages), missing, size, text.weights is not None, lambda progress: text)
    if corpus is not None:
        if not isinstance(corpus, Corpus):
            missing_too = languages is None
            corpus = open_corpus(corpus, languages=languages, panel=panel, allow_missing=missing_too, **reading)
        opened, size = corpus, corpus.size
        if limit is not None:
            size = min(size, limit * len(opened.languages) * _LINE)

        def read(progress: Progress) -> AuditText:
            text = read_audit_text(opened, limit=limit, aligned=aligned, progress=progress)
            return _add_missing(text, opened.missing)

        return _Source(opened.languages, opened.missing, size, False, read)
    if words is None:
        raise ConfigError("no text to audit on", "give --corpus DIR, or --counts DIR, or both")
    if limit is not None or aligned == "yes":
        raise ConfigError("--limit and --aligned yes need lines, and counts hold none", "give --corpus DIR")
    known, absent = words.languages, list[str]()
    if languages is not None:
        words = WordCounts({c: known[c] for c in sorted(resolve_codes(languages, known))})
    elif panel is not None:
        absent = [code for code in sorted(panel.codes) if code not in known]
        words = WordCounts({c: known[c] for c in sorted(panel.codes) if c in known})
    counted = _add_missing(text_from_counts(words), absent)
    size = sum(sum(map(len, lines)) for lines in counted.languages.values())
    return _Source(tuple(counted.languages), tuple(absent), size, True, lambda progress: counted)


_LINE = 200
"""Bytes of a line, to guess whether so many are worth processes."""


def _add_missing(text: AuditText, codes: Iterable[str]) -> AuditText:
    return replace(text, failures={**text.failures, **dict.fromkeys(codes, "no data")})


# --- The steps -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Settings:
    """What an audit was asked for, in the words of `run_audit`; `panel` by its name. All is in the manifest."""

    reference: str
    fixed: str | None
    pattern: str | None
    route: str | None
    integrity: bool
    sharing: bool
    resamples: int
    seed: int
    width: int
    aligned: Aligned
    limit: int | None
    panel: str


@dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """What the figures of every tokenizer are made from.

    `encoded` is what each tokenizer, by name, makes of each language; changes are against the first of them,
    and `premium_fixed` is against the one named `fixed`. `aligned` are the languages whose lines correspond;
    `exemplars` the letters of each language, None where there is no list.
    """

    text: AuditText
    statistics: Mapping[str, TextStatistics]
    encoded: Mapping[str, Mapping[str, Encoded]]
    fixed: str
    aligned: tuple[str, ...]
    resamplings: Mapping[str, Resampling | None]
    exemplars: Mapping[str, frozenset[str] | None]
    panel: Panel
    counts: WordCounts | None
    settings: _Settings


def _audit(
    paths: Sequence[str | Path],
    source: _Source,
    panel: Panel,
    counts: WordCounts | None,
    settings: _Settings,
    workers: int | None,
    report: Progress,
) -> tuple[AuditText, Audit]:
    """Open the tokenizers, then read the text, and measure the two; return the text as it was read."""
    names, seed = name_tokenizers(paths), settings.seed
    opened = (Opening.of(path, settings.pattern, settings.route) for path in paths)
    openings = dict(zip(names, opened, strict=True))
    held_to = names[find_fixed(settings.fixed, names, paths)]
    wanted = 1 if workers is None and source.size * len(paths) < INLINE else workers
    with ExitStack() as stack:
        pool = open_executor(wanted, len(source.codes) * len(paths), stack)
        # A broken tokenizer is known before any text is read.
        jobs = [pool.submit(_open, one, name, words=source.words) for name, one in openings.items()]
        audited = [job.result() for job in jobs]
        described = [pool.submit(_describe, one) for one in openings.values()]
        text = source.read(report)
        chosen = choose_lines(text, settings.reference, len(names))
        lines = [text.languages[code][place] for code, places in chosen.items() for place in places]
        split = []
        kept = load_statistics(text)
        statistics = measure_text(text, workers=workers, kept=kept, progress=report)
        facts = find_facts(text, statistics, panel=panel, reference=settings.reference, seed=seed, pool=pool)
        letters, more = {code: found for code, found in facts.exemplars.items() if found}, facts.switched
        checks: list[tuple[str, Future[tuple[Findings, Figures]]]] = []
        started = []
        # All of one tokenizer, then the next: a process keeps one open. The checks first: they take longest.
        for name, opening in openings.items():
            split.append(pool.submit(split_lines, opening, lines))
            if settings.integrity:
                checks.append((name, pool.submit(check_pieces, opening, name)))
                checks.append((name, pool.submit(check_round_trips, opening, name, text.languages, seed)))
            started.append(
                start_encoding(opening, text, statistics, exemplars=letters, switched=more, pool=pool)
            )
        encoded = dict(zip(names, finish_encoding(started, statistics, report), strict=True))
        findings: list[Finding] = []
        checked: dict[str, list[Figure]] = {name: [] for name in names}
        report.start("checking", len(checks), "checks")
        for name, job in checks:
            found, measured = job.result()
            findings += found
            checked[name] += measured
            report.advance(1)
        report.finish()
        compositions = [job.result() for job in described]
        shown = dict(zip(names, (job.result() for job in split), strict=True))
    aligned = tuple(code for code in text.aligned_languages if code in statistics)
    drawn = _draw_resamplings(text, statistics, settings.resamples, seed)
    ground = _Ground(
        text, statistics, encoded, held_to, aligned, drawn, facts.exemplars, panel, counts, settings
    )
    # What languages cost first, of all tokenizers: means are also taken over the languages that all have.
    costs = {name: _measure_costs(name, ground) for name in names}
    common = find_common(spreads for _, spreads in costs.values()) if len(names) > 1 else {}
    figures: list[Figure] = []
    for name, vocabulary in zip(names, compositions, strict=True):
        findings += name_lost(name, statistics, encoded[name])
        figures += _measure_tokenizer(name, vocabulary, ground, costs[name], common)
        figures += checked[name]
    if settings.sharing and counts is not None:
        # Imported here: it loads the trainer, which no other part of an audit needs.
        from vocabkit.auditing.sharing import cost_of_sharing

        both = [code for code in text.languages if code in counts.languages]
        for name, opening in openings.items():
            tokenizer = reuse_tokenizer(opening).tokenizer
            figures += cost_of_sharing(name, tokenizer, counts, both, threads=workers, progress=report)
    failures = dict(text.failures)
    for name, languages in encoded.items():
        failures |= {
            f"{name}: {code}": one.failure for code, one in languages.items() if one.failure is not None
        }
    method = _tell_method(ground)
    return text, Audit(
        tuple(figures), tuple(audited), tuple(findings), facts.warnings, method, failures,
        _describe_languages(text, panel), _gather_sentences(text, chosen, shown),
    )  # fmt: skip


def _describe_languages(text: AuditText, panel: Panel) -> tuple[Spoken, ...]:
    """Return the languages that there is text of, as people call them and as the panel sorts them."""
    described = []
    for code, name in name_languages(text.languages, panel).items():
        known = panel.find(code)
        sorted_as = (OUTSIDE,) * 3 if known is None else (known.group, known.branch, known.resource)
        described.append(Spoken(code, name, *sorted_as, known is not None and known.tail))
    return tuple(described)


def _gather_sentences(
    text: AuditText, chosen: Mapping[str, Sequence[int]], shown: Mapping[str, Sequence[Split]]
) -> tuple[Sentence, ...]:
    """Return the chosen lines with the tokens of every tokenizer, which come in the lines' order."""
    aligned, sentences = set(text.aligned_languages), list[Sentence]()
    for code, places in chosen.items():
        for place in places:
            pieces = {name: split[len(sentences)] for name, split in shown.items()}
            line = text.languages[code][place]
            sentences.append(Sentence(code, place + 1, code in aligned, line, pieces))
    return tuple(sentences)


def _open(opening: Opening, name: str, *, words: bool) -> Audited:
    """Open a tokenizer and say what it is. Raises TokenizerError where counted `words` do not do for it."""
    tokenizer = reuse_tokenizer(opening).tokenizer
    if words and tokenizer.exact_on_words is not None:
        what = f"{opening.path}: counted words do not tell what it costs: {tokenizer.exact_on_words}"
        raise TokenizerError(what, "audit it on text: --corpus DIR")
    file = Path(tokenizer.name)
    if not file.is_file():
        file = min(path for path in Path(opening.path).iterdir() if path.is_file())
    told = tokenizer.size, tokenizer.style, fingerprint_file(file), tuple(tokenizer.notes)
    return Audited(name, opening.path, *told)


def _describe(opening: Opening) -> Composition:
    return describe_vocabulary(reuse_tokenizer(opening).tokenizer)


# --- All figures of one tokenizer ------------------------------------------------------------------


def _draw_resamplings(
    text: AuditText, statistics: Mapping[str, TextStatistics], resamples: int, seed: int
) -> dict[str, Resampling | None]:
    """Draw the resamples: one for all aligned languages, one for each of the others; none for counts."""
    if text.weights is not None:
        return dict.fromkeys(statistics)
    drawn: dict[str, Resampling | None] = {}
    aligned, shared = set(text.aligned_languages), None
    for code, item in statistics.items():
        if code in aligned:
            shared = shared or draw_resampling(len(item), resamples, seed)
            drawn[code] = shared
        else:
            stream = 1 + zlib.crc32(code.encode())
            drawn[code] = draw_resampling(len(item), resamples, seed, stream=stream)
    return drawn


_Costs = tuple[list[Figure], list[Spread]]
"""Figures of languages, and those of them that are taken together."""


def _measure_costs(name: str, ground: _Ground) -> _Costs:
    """Return what each language costs with a tokenizer."""
    figures, spreads = _measure_languages(name, ground)
    premiums, more = _measure_premiums(name, ground)
    return figures + premiums, spreads + more


def _measure_tokenizer(
    name: str, vocabulary: Composition, ground: _Ground, costs: _Costs, common: Mapping[str, Collection[str]]
) -> list[Figure]:
    """Return every figure of a tokenizer; `common` are the languages of a metric that all tokenizers have."""
    statistics, encoded, settings = ground.statistics, ground.encoded[name], ground.settings
    figures, spreads = list(costs[0]), costs[1]
    groups = group_languages(tuple(ground.text.languages), ground.panel)
    for spread in spreads:
        figures += aggregate_spread(name, spread, groups, common.get(spread.metric))
    shares = {c: share_lost(statistics[c], one) for c, one in encoded.items() if one.failure is None}
    lost = {code for code, share in shares.items() if explain_loss(share) is not None}
    figures += count_lost(name, lost, groups)
    figures += measure_resources(
        name, spreads, statistics, vocabulary, ground.panel, ground.counts,
        resamples=settings.resamples, seed=settings.seed,
    )  # fmt: skip
    for place, (before, held) in enumerate(ground.encoded.items()):
        if before == name:
            break
        metric = f"{CHANGE}.{before}" if place else CHANGE
        figures += measure_changes(name, before, statistics, encoded, held, ground.resamplings, metric)
    figures += measure_composition(name, vocabulary, width=settings.width)
    characters, words = Counter[str](), Counter[str]()
    for item in statistics.values():
        characters.update(item.scripts)
        words.update(item.script_words)
    figures += compare_shares(name, vocabulary, characters, words)
    used = [(found.ids, found.counts) for found in encoded.values()]
    return figures + measure_usage(name, vocabulary, used)


def _measure_languages(name: str, ground: _Ground) -> _Costs:
    """Return the figures of each language by itself, and fertility for aggregating."""
    encoded = ground.encoded[name]
    figures: list[Figure] = []
    values, samples = np.full(len(encoded), np.nan), np.zeros((0, len(encoded)))
    resampled = _resample_languages(encoded, ground)
    for place, (code, found) in enumerate(encoded.items()):
        if found.failure is not None:
            continue
        own = resampled.get(code)
        measured = measure_language(
            name, ground.statistics[code], found, own, exemplars=ground.exemplars.get(code),
            resamples=ground.settings.resamples, seed=ground.settings.seed,
        )  # fmt: skip
        figures += measured
        fertility = measured[0].value
        if fertility is not None:
            values[place] = fertility
            if own is not None:
                if not len(samples):
                    samples = np.full((len(own["fertility"]), len(encoded)), np.nan)
                samples[:, place] = own["fertility"]
    return figures, [Spread("fertility", "tokens a word", tuple(encoded), values, samples)]


def _resample_languages(encoded: Mapping[str, Encoded], ground: _Ground) -> dict[str, dict[str, Float64Array]]:
    """Return the ratios of every language in every resample, the languages that share resamples together."""
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


def _measure_premiums(name: str, ground: _Ground) -> _Costs:
    languages, aligned = tuple(ground.text.languages), ground.aligned
    reference = ground.settings.reference
    if not aligned:
        return withhold_premiums(name, languages, ground.text.alignment.note), []
    shared, lines = ground.resamplings[aligned[0]], len(ground.statistics[aligned[0]])
    costs, held = (
        sum_tokens(aligned, ground.statistics, ground.encoded[one], shared) for one in (name, ground.fixed)
    )
    weight = sum_bytes(aligned, ground.statistics, shared)
    note, given = f"against {ground.fixed}'s {reference}", (reference, languages)
    own, spread = measure_premium(name, "premium", costs, costs, *given, lines=lines)
    median, beside = measure_premium_median(name, costs, languages, lines=lines)
    other, against = measure_premium(name, "premium_fixed", costs, held, *given, lines=lines, note=note)
    of_bytes, _ = measure_premium(name, "byte_premium", weight, weight, *given, lines=lines)
    return [*own, *median, *other, *of_bytes], [spread, beside, against]


def _tell_method(ground: _Ground) -> dict[str, str]:
    versions = package_versions(("vocabkit", "sentencepiece", "tokenizers", "tiktoken", "fonttools"))
    text, settings = ground.text, ground.settings
    route, reference = settings.route, settings.reference
    routed = {} if route is None else {"route": f"all text is encoded as {route} sees a vocabulary"}
    return {
        "text": f"{text.name}, {len(text.languages)} languages, digest {text.fingerprint}",
        "alignment": text.alignment.note,
        **routed,
        "words": name_segmenter(),
        "reference": f"{reference}; premium_fixed against {ground.fixed}'s {reference}",
        "aggregation": "ratios of sums over lines; in means over languages every language weighs the same",
        "intervals": f"95 %, {settings.resamples} resamples of lines, seed {settings.seed}, the same lines "
        "for every aligned language and every tokenizer",
        "lost text": f"costs are not given where more than {LOST:.0%} of a language's characters are lost",
        "embedding width": str(settings.width),
        "integrity": "checked" if settings.integrity else "not checked, as asked",
        "versions": ", ".join(f"{name} {found}" for name, found in versions.items() if found),
    }
