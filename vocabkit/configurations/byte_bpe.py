"""`byte-bpe`: byte-level BPE over a named pre-tokeniser; `continued-bpe`: more merges on top of a base.

Word counts → pre-tokens → language weights → merges → tokenizer.json, with the table that says who got what.
Without weights the merges are those of tokenizers' own trainer on the same pre-tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from vocabkit.configurations.settings import ByteBpeConfig, ContinuedBpeConfig, LanguagesTable, TokensTable
from vocabkit.configurations.shared import Fit, select_languages, weigh_selected
from vocabkit.core.arrays import Int32Array, Int64Array
from vocabkit.core.errors import ConfigError, CountsError, FitError
from vocabkit.core.folders import Clock
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.weighting import LanguageWeights, measure_masses
from vocabkit.corpus.word_counts import SPLITS, WordCounts, WordTable
from vocabkit.fitting.bpe import Merge, Merger, ParityMerger, SymbolRows, warm_kernels
from vocabkit.fitting.pre_tokens import (
    BYTE_ORDER,
    Parted,
    PreTokens,
    byte_symbols,
    check_sum,
    count_pre_tokens,
    find_patterns,
    part_languages,
    pool_languages,
    scale_counts,
)
from vocabkit.vocabulary.byte_level import BpeBase, ByteLevelVocabulary

# --- Both ------------------------------------------------------------------------------------------

_STEP = 1_000


def choose_languages(counts: WordCounts, languages: LanguagesTable) -> tuple[tuple[str, ...], LanguageWeights]:
    """Return the codes to fit, sorted, and their weights by the size of their training text."""
    codes, masses = select_languages(counts, languages), measure_masses(counts)
    return codes, weigh_selected({code: masses[code] for code in codes}, languages)


def _take_merges(merges: Iterator[Merge], number: int, report: Progress) -> list[Merge]:
    """Return the first `number` merges, reported as they come; fewer where no pair has enough evidence."""
    report.start("merging pairs", number, "merges")
    taken: list[Merge] = []
    while len(taken) < number:
        batch = list(islice(merges, min(_STEP, number - len(taken))))
        if not batch:
            break
        taken += batch
        report.advance(len(batch))
    report.finish()
    return taken


# --- Byte bpe --------------------------------------------------------------------------------------

NOT_COUNTED = "runs of white space and line ends are not in the counts: no token holds more than one space"


def fit_byte_bpe(
    counts: WordCounts, config: ByteBpeConfig, progress: Progress | None = None, *, workers: int = 1
) -> Fit[ByteLevelVocabulary]:
    """Fit the configured number of merges. `workers` processes split words; they change no result.

    Raises `CountsError` for a selected language without counts, `ConfigError` for settings that do not fit
    the counts, `FitError` when the text supports fewer merges, unless `vocabulary.allow_fewer`.
    """
    report = progress or Silent()
    clock = Clock()
    codes, weights = choose_languages(counts, config.languages)
    patterns = find_patterns(config.pre_tokens.pattern)
    counted = count_pre_tokens(counts, patterns, codes, workers=workers, progress=report)
    clock.lap("pre-tokens")
    warm_kernels(report)
    report.start("indexing pairs")
    first = len(config.vocabulary.special)
    symbols, offsets = byte_symbols(counted, first), counted.offsets
    watched: dict[str, tuple[Int32Array, Int64Array]] | None = None
    if config.merging.development:
        elsewhere = WordCounts.load(config.merging.development)
        watched, more = _read_development(elsewhere, patterns, codes, len(counted), workers)
        symbols = np.concatenate([symbols, byte_symbols(more, first)])
        offsets = np.concatenate([offsets, offsets[-1] + more.offsets[1:]])
    spelled = [*(token.encode() for token in config.vocabulary.special), *BYTE_ORDER]
    runs, run_tokens = _merge_spaces(first, len(spelled), config.vocabulary.space_runs)
    spelled += run_tokens
    pooled, table = pool_languages(counted, symbols, offsets, weights.weights), config.merging
    merger = Merger(pooled, spelled, min_count=table.min_count)
    report.finish()
    clock.lap("index")
    wanted = config.vocabulary.merges
    notes = [*weights.warnings()]
    if config.vocabulary.space_runs < 2:
        notes.append(NOT_COUNTED)
    parted: Parted | None = None
    chosen: dict[str, int] = {}
    if config.merging.method == "frequency":
        merges = _take_merges(iter(merger.merge_best, None), wanted, report)
    else:
        shared = min(table.shared_merges, wanted)
        merges = _take_merges(iter(merger.merge_best, None), shared, report)
        spelled = [*spelled, *(merge.text for merge in merges)]
        segments, places = merger.list_tokens()
        parted = part_languages(counted, segments, places, watched)
        merger = Merger(parted.rows, spelled, min_count=table.min_count)
        units = _measure_development(counts, codes, config)
        parity = ParityMerger(merger, units, window=table.window, share=table.share)
        merges += _take_merges(parity.merge(), wanted - len(merges), report)
        chosen = dict(zip(codes, map(int, parity.chosen), strict=True))
        if parity.exhausted:
            spent = ", ".join(codes[group] for group in parity.exhausted)
            notes.append(f"had no pair left and were passed over: {spent}")
    if len(merges) < wanted and not config.vocabulary.allow_fewer:
        possible = config.vocabulary.size - wanted + len(merges)
        what = f"vocabulary.size = {config.vocabulary.size:_} is more than this text supports: {possible:_}"
        raise FitError(what, f"--set vocabulary.size={possible:_}  # or count more text")
    if len(merges) < wanted:
        notes.append(f"{wanted - len(merges):,} fewer tokens than asked for: no pair is left")
    clock.lap("merges")
    vocabulary = ByteLevelVocabulary(
        config.vocabulary.special,
        (*BYTE_ORDER, *run_tokens, *(merge.text for merge in merges)),
        (*runs, *((merge.left, merge.right) for merge in merges)),
        patterns,
    )
    usage, tokens = _count_usage(counted, merger, parted, vocabulary.size)
    rows = tuple(_list_rows(counts, weights, usage, tokens, chosen))
    clock.lap("usage")
    return Fit(vocabulary, config, rows, usage, tuple(notes), clock.seconds, counts.fingerprint)


def _merge_spaces(first: int, size: int, longest: int) -> tuple[list[tuple[int, int]], list[bytes]]:
    """Return merges and tokens of 2…`longest` spaces; a space is `first` + its byte, they follow `size`.

    The powers of two come first, so that a run of any length becomes its largest power and the rest: a
    run of k is then power + (k − power), whatever k is.
    """
    ids = {1: first + BYTE_ORDER.index(b" ")}
    lengths = range(2, longest + 1)
    powers = [length for length in lengths if length.bit_count() == 1]
    order = [*powers, *(length for length in lengths if length.bit_count() > 1)]
    merges = []
    for place, length in enumerate(order):
        half = length // 2 if length in powers else 1 << (length.bit_length() - 1)
        merges.append((ids[half], ids[length - half]))
        ids[length] = size + place
    return merges, [b" " * length for length in order]


def _read_development(
    counts: WordCounts, patterns: tuple[str, ...], codes: Sequence[str], rows: int, workers: int
) -> tuple[dict[str, tuple[Int32Array, Int64Array]], PreTokens]:
    """Return each language's rows of development text, counted on from `rows`, with their counts."""
    missing = [code for code in codes if code not in counts.languages]
    if missing:
        raise CountsError(
            f"{', '.join(missing)}: not in the development counts ({counts.folder or 'in memory'})",
            "count development text of every language fitted, or narrow the fit with --languages",
        )
    found = count_pre_tokens(counts, patterns, codes, workers=workers)
    own = found.languages
    return {c: ((o.rows + rows).astype(np.int32), o.train + o.held_out) for c, o in own.items()}, found


def _measure_development(counts: WordCounts, codes: Sequence[str], config: ByteBpeConfig) -> list[int]:
    """Return the size of each language's development text. Raises ConfigError where one has none."""
    folder = config.merging.development
    source = WordCounts.load(folder) if folder else counts
    units = []
    for code in codes:
        train, held_out = source.totals_of(code)
        total = train + held_out if folder else held_out
        units.append(int(getattr(total, config.merging.unit)))
    empty = [code for code, size in zip(codes, units, strict=True) if not size]
    if empty:
        raise ConfigError(
            f"merging.method = 'parity': no development text in {', '.join(empty)}",
            "count with --held-out 0.02, or name counts: --set merging.development=counts-dev/",
        )
    return units


def _count_usage(
    counted: PreTokens, merger: Merger, parted: Parted | None, size: int
) -> tuple[dict[str, Int64Array], dict[str, tuple[int, int]]]:
    """Return, by language, how often its training text uses each id, and the tokens of both splits."""
    lengths = merger.count_tokens().astype(np.int64)
    usage, tokens = {}, {}
    for group, (code, own) in enumerate(counted.languages.items()):
        rows, train, held_out = own.rows, own.train, own.held_out
        if parted is not None:
            used = parted.used[group]
            train, held_out = train[used], held_out[used]
            rows = np.arange(len(used), dtype=np.int32) + np.int32(parted.first[group])
        found = np.zeros(size, np.int64)
        part = merger.count_usage(rows, train)
        found[: len(part)] = part
        usage[code] = found
        tokens[code] = (int(lengths[rows] @ train), int(lengths[rows] @ held_out))
    return usage, tokens


def _list_rows(
    counts: WordCounts,
    weights: LanguageWeights,
    usage: Mapping[str, Int64Array],
    tokens: Mapping[str, tuple[int, int]],
    chosen: Mapping[str, int],
) -> Iterator[dict[str, object]]:
    for weight in weights.rows:
        code = weight.language
        train, held_out = counts.totals_of(code)
        trained, held = tokens[code]
        yield {
            "language": code,
            "characters": train.characters,
            "bytes": train.bytes,
            "weight": weight.weight,
            "epochs": weight.epochs,
            "clipped": weight.clipped,
            "merges_chosen": chosen.get(code),
            "pieces_used": int((usage[code] > 0).sum()),
            "tokens": trained,
            "tokens_per_word": trained / train.words if train.words else None,
            "bytes_per_token": train.bytes / trained if trained else None,
            "held_out_tokens": held,
            "held_out_tokens_per_word": held / held_out.words if held_out.words else None,
            "note": weight.note,
        }


# --- Continued bpe ---------------------------------------------------------------------------------
# A published BPE tokenizer with more merges, learnt from counts on top of its own. Words are split and encoded
# by the base itself; merging goes on over what it leaves. Old ids, merges and everything else of the file stay;
# the new tokens follow the last id. Which languages pay or gain is measured by encoding the counts before and
# after.

_BATCH = 20_000


def continue_bpe(
    counts: WordCounts,
    config: ContinuedBpeConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
    base: BpeBase | None = None,
) -> Fit[BpeBase]:
    """Append `tokens.new` tokens learnt from the languages chosen to `base`, or to the configuration's.

    Rows are of all counted languages. `workers` is taken as by the other presets and does nothing: the base
    encodes on threads of its own. Raises `CountsError` for a selected language without counts, `ConfigError`
    for weights that do not fit them or no base, and `FitError` where the text supports fewer tokens, unless
    `tokens.allow_fewer`.
    """
    if base is None and not config.base:
        raise ConfigError("continued-bpe needs the tokenizer it continues", "--base tokenizer.json")
    base = base or BpeBase.read(config.base, config.base_pattern or None)
    report = progress or Silent()
    clock = Clock()
    table = config.tokens
    codes, weights = choose_languages(counts, config.languages)
    learnt = learn_tokens(counts, weights.weights, base, table, table.new, report, clock)
    warnings = [*base.tokenizer.notes, *weights.warnings(), *learnt.warnings]
    if len(learnt) < table.new:
        if not table.allow_fewer:
            raise FitError(
                f"tokens.new = {table.new:_} is more than {', '.join(codes)} can support with "
                f"min_count = {table.min_count}: {len(learnt):_}",
                f"--set tokens.new={len(learnt):_}  # or --set tokens.allow_fewer=true, or count more text",
            )
        warnings.append(f"{table.new - len(learnt):,} fewer tokens than asked for: no pair is left")
    extended = base.append(learnt.characters, learnt.merges)
    check_reached(extended)
    clock.lap("merges")
    usage, found = compare_usage(counts, base, extended, codes, report)
    clock.lap("comparison")
    return Fit(extended, config, found, usage, tuple(warnings), clock.seconds, counts.fingerprint)


@dataclass(frozen=True, slots=True)
class Learnt:
    """Tokens for a base: characters that it lacks, then merges as pairs of token texts; `len` counts both."""

    characters: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.characters) + len(self.merges)


def learn_tokens(
    counts: WordCounts,
    weights: Mapping[str, float],
    base: BpeBase,
    table: TokensTable,
    wanted: int,
    report: Progress,
    clock: Clock,
) -> Learnt:
    """Learn at most `wanted` tokens for a base from languages with their weights; fewer where text is short."""
    characters: tuple[str, ...] = ()
    if table.characters:
        characters = _missing_characters(counts, list(weights), base, table.min_count)[:wanted]
    start = base.append(characters) if characters else base
    clock.lap("characters")
    rows, skipped = _collect_rows(counts, weights, start, report)
    left_out = f"{skipped:,} parts of cut words left out: the base puts a space before them"
    clock.lap("segments")
    warm_kernels(report)
    known = [start.pieces.get(index, "").encode() for index in range(start.size)]
    merger = Merger(rows, known, next_id=start.size, min_count=table.min_count)
    clock.lap("index")
    spelled = dict(start.pieces)
    pairs = []
    for merge in _take_merges(iter(merger.merge_best, None), wanted - len(characters), report):
        pairs.append((spelled[merge.left], spelled[merge.right]))
        spelled[merge.token] = merge.text.decode()
    return Learnt(characters, tuple(pairs), (left_out,) if skipped else ())


def check_reached(extended: BpeBase, base: BpeBase | None = None) -> None:
    """Raise `FitError` for tokens that the file written does not make of their own text.

    New ones are looked at, and those of a `base` that made them.
    """
    kept = range(0) if base is None else sorted({*range(base.size)} - {*extended.new_ids})
    lost = [] if base is None else sorted({*extended.find_unreachable(kept)} - {*base.find_unreachable(kept)})
    unreachable = [*extended.find_unreachable(extended.new_ids), *lost]
    if unreachable:
        shown = ", ".join(repr(extended.pieces[index]) for index in unreachable[:5])
        raise FitError(
            f"{len(unreachable)} tokens are not made of their own text ({shown}): the "
            "merges of this base do not rank as its file says",
            "report the base this happened with",
        )


def _batches(table: WordTable, base: BpeBase) -> Iterator[tuple[list[str], Int64Array, bool]]:
    """Yield words with counts, and whether they are later parts of cut words, where the base takes such."""
    for first in range(0, len(table), _BATCH):
        stop = min(first + _BATCH, len(table))
        listed = list(islice(table.words, first, stop))
        inside, count = table.continuation[first:stop], table.count[first:stop]
        for continued in (False, True) if base.takes_continuations else (False,):
            chosen = inside == continued
            if chosen.any():
                words = [word for word, use in zip(listed, chosen.tolist(), strict=True) if use]
                yield words, count[chosen], continued


def _missing_characters(counts: WordCounts, codes: Sequence[str], base: BpeBase, floor: int) -> tuple[str, ...]:
    """Return characters with enough evidence that the base has no token for, the most frequent first."""
    found = Counter[str]()
    for code in codes:
        for words, count, _ in _batches(counts.languages[code].train, base):
            found.update(base.missing_characters(words, count))
    order = sorted(found, key=lambda char: (-found[char], char))
    return tuple(char for char in order if found[char] >= floor)


def _collect_rows(
    counts: WordCounts, weights: Mapping[str, float], base: BpeBase, report: Progress
) -> tuple[SymbolRows, int]:
    """Return runs of the base's tokens, each once, with counts; and how many parts of words are left out."""
    report.start("encoding words with the base", len(weights), "languages")
    table: dict[bytes, int] = {}
    places: list[tuple[float, Int64Array, Int64Array]] = []
    skipped = 0
    for code, weight in weights.items():
        words = counts.languages[code].train
        if not base.takes_continuations:
            skipped += int(words.count[words.continuation].sum())
        for listed, count, continued in _batches(words, base):
            flat, offsets, word = base.segment(listed, continued=continued)
            data, bounds = flat.tobytes(), (4 * offsets).tolist()
            enter = table.setdefault
            rows = np.fromiter(
                (enter(data[begin:end], len(table)) for begin, end in pairwise(bounds)), np.int64, len(word)
            )
            places.append((weight, rows, count[word]))
        report.advance(1)
    report.finish()
    raw = np.zeros(len(table), np.int64)
    exact = np.zeros(len(table), np.float64)
    for weight, rows, count in places:
        np.add.at(raw, rows, count)
        np.add.at(exact, rows, weight * count)
    offsets = np.zeros(len(table) + 1, np.int64)
    lengths = np.fromiter(map(len, table), np.int64, len(table)) // 4
    np.cumsum(lengths, out=offsets[1:])
    check_sum(raw, lengths)
    natural = all(weight == 1.0 for weight in weights.values())
    weighted = raw if natural else scale_counts(exact, lengths)
    symbols = np.frombuffer(b"".join(table), np.int32)
    group = np.zeros(len(table), np.int32)
    return SymbolRows(symbols, offsets, raw, weighted, group, np.zeros_like(raw)), skipped


def compare_usage(
    counts: WordCounts, base: BpeBase, extended: BpeBase, codes: Sequence[str], report: Progress
) -> tuple[dict[str, Int64Array], tuple[dict[str, object], ...]]:
    """Return usage of each id by each counted language's training text, and tokens before and after."""
    report.start("comparing with the base", len(counts.languages), "languages")
    usage: dict[str, Int64Array] = {}
    rows: list[dict[str, object]] = []
    fresh = np.array(extended.new_ids, np.int64)
    for code in sorted(counts.languages):
        own = counts.languages[code]
        row: dict[str, object] = {"language": code, "fitted": code in codes}
        for split in SPLITS:
            table = own.split(split)
            before, after = count_word_usage(table, base), count_word_usage(table, extended)
            old, new = int(before.sum()), int(after.sum())
            words = int(table.count[~table.continuation].sum())
            row[f"{split}_before"], row[f"{split}_after"] = old, new
            row[f"{split}_change"] = new / old - 1.0 if old else None
            row[f"{split}_tokens_per_word"] = new / words if words else None
            if split == "train":
                usage[code] = after
                row["new_used"] = int((after[fresh] > 0).sum())
        rows.append(row)
        report.advance(1)
    report.finish()
    return usage, tuple(rows)


def count_word_usage(table: WordTable, base: BpeBase, *, first: bool = False) -> Int64Array:
    """Return how often a table's words use each id, int64[size]; `first` puts no space before them."""
    usage = np.zeros(base.size, np.int64)
    for words, count, continued in _batches(table, base):
        usage += base.count_usage(words, count, continued=continued or first)
    return usage
