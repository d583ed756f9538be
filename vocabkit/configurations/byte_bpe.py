"""`byte-bpe`: byte-level BPE from word counts, over a named pre-tokeniser.

Word counts → pre-tokens → language weights → merges → tokenizer.json, with the table that says who got what.
Without weights the merges are those of tokenizers' own trainer on the same pre-tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vocabkit.configurations.bpe_settings import ByteBpeConfig
from vocabkit.configurations.language_table import write_rows
from vocabkit.configurations.merge_steps import (
    Clock,
    merge_all,
    select_for_merging,
    take_merges,
    weigh_for_merging,
)
from vocabkit.core.config import dump_toml
from vocabkit.core.errors import ConfigError, CountsError, FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.weighting import LanguageWeights
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.byte_rows import (
    BYTE_ORDER,
    Parted,
    byte_symbols,
    part_languages,
    pool_languages,
)
from vocabkit.fitting.merging import Merger, warm_kernels
from vocabkit.fitting.parity_merging import ParityMerger
from vocabkit.fitting.pre_tokens import (
    Int32Array,
    Int64Array,
    PreTokens,
    count_pre_tokens,
    find_patterns,
)
from vocabkit.vocabulary.byte_level_folder import ByteLevelVocabulary

NOT_COUNTED = (
    "runs of white space and line ends are not in the counts: no token holds more than one space"
)


@dataclass(frozen=True, slots=True, eq=False)
class ByteBpe:
    """A byte-level vocabulary and how it came about.

    `usage` maps a language to how often its training text uses each id. `rows` are `languages.tsv`. `seconds`
    is by step.
    """

    vocabulary: ByteLevelVocabulary
    config: ByteBpeConfig
    weights: LanguageWeights
    usage: Mapping[str, Int64Array]
    rows: tuple[Mapping[str, object], ...]
    pre_tokens: int
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.vocabulary.size

    def language_rows(self) -> list[dict[str, object]]:
        """One row a language: its text, weight, and tokens of training and held-out text."""
        return [dict(row) for row in self.rows]

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files, languages.tsv and config.toml; the manifest is the caller's."""
        self.vocabulary.save(folder, self.usage)
        write_rows(self.rows, folder / "languages.tsv")
        text = dump_toml(self.config)
        (folder / "config.toml").write_text(text, encoding="utf-8", newline="\n")


def fit_byte_bpe(
    counts: WordCounts,
    config: ByteBpeConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
) -> ByteBpe:
    """Fit the configured number of merges. `workers` processes split words; they change no result.

    Raises `CountsError` for a selected language without counts, `ConfigError` for settings that do not fit
    the counts, `FitError` when the text supports fewer merges, unless `vocabulary.allow_fewer`.
    """
    report = progress or Silent()
    clock = Clock()
    codes = select_for_merging(counts, config.languages)
    weights = weigh_for_merging(counts, codes, config.languages)
    patterns = find_patterns(config.pre_tokens.pattern)
    pre_tokens = count_pre_tokens(counts, patterns, codes, workers=workers, progress=report)
    clock.lap("pre-tokens")
    warm_kernels(report)
    report.start("indexing pairs")
    first = len(config.vocabulary.special)
    symbols, offsets = byte_symbols(pre_tokens, first), pre_tokens.offsets
    watched: dict[str, tuple[Int32Array, Int64Array]] | None = None
    if config.merging.development:
        elsewhere = WordCounts.load(config.merging.development)
        watched, more = _read_development(elsewhere, patterns, codes, len(pre_tokens), workers)
        symbols = np.concatenate([symbols, byte_symbols(more, first)])
        offsets = np.concatenate([offsets, offsets[-1] + more.offsets[1:]])
    spelled = [*(token.encode() for token in config.vocabulary.special), *BYTE_ORDER]
    runs, run_tokens = merge_spaces(first, len(spelled), config.vocabulary.space_runs)
    spelled += run_tokens
    merger = Merger(
        pool_languages(pre_tokens, symbols, offsets, weights.weights),
        spelled,
        min_count=config.merging.min_count,
    )
    report.finish()
    clock.lap("index")
    wanted = config.vocabulary.merges
    notes = [*weights.warnings()]
    if config.vocabulary.space_runs < 2:
        notes.append(NOT_COUNTED)
    parted: Parted | None = None
    chosen: dict[str, int] = {}
    if config.merging.method == "frequency":
        merges = take_merges(merge_all(merger), wanted, report)
    else:
        merges = take_merges(merge_all(merger), min(config.merging.shared_merges, wanted), report)
        spelled = [*spelled, *(merge.text for merge in merges)]
        segments, places = merger.list_tokens()
        parted = part_languages(pre_tokens, segments, places, watched)
        merger = Merger(parted.rows, spelled, min_count=config.merging.min_count)
        table = config.merging
        units = _measure_development(counts, codes, config)
        parity = ParityMerger(merger, units, window=table.window, share=table.share)
        merges += take_merges(parity.merge(), wanted - len(merges), report)
        chosen = dict(zip(codes, map(int, parity.chosen), strict=True))
        if parity.exhausted:
            spent = ", ".join(codes[group] for group in parity.exhausted)
            notes.append(f"had no pair left and were passed over: {spent}")
    if len(merges) < wanted and not config.vocabulary.allow_fewer:
        possible = config.vocabulary.size - wanted + len(merges)
        raise FitError(
            f"vocabulary.size = {config.vocabulary.size:_} is more than this text supports: "
            f"{possible:_}",
            f"--set vocabulary.size={possible:_}, or count more text",
        )
    if len(merges) < wanted:
        notes.append(f"{wanted - len(merges):_} fewer tokens than asked for: no pair is left")
    clock.lap("merges")
    vocabulary = ByteLevelVocabulary(
        config.vocabulary.special,
        (*BYTE_ORDER, *run_tokens, *(merge.text for merge in merges)),
        (*runs, *((merge.left, merge.right) for merge in merges)),
        patterns,
    )
    usage, tokens = _count_usage(pre_tokens, merger, parted, vocabulary.size)
    rows = _language_rows(counts, weights, usage, tokens, chosen)
    clock.lap("usage")
    return ByteBpe(
        vocabulary, config, weights, usage, rows, len(pre_tokens), tuple(notes), clock.seconds
    )


def merge_spaces(first: int, size: int, longest: int) -> tuple[list[tuple[int, int]], list[bytes]]:
    """Merges and tokens of 2…`longest` spaces; the byte of a space counts from `first`, tokens from `size`.

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
    """Each language's rows of development text, counted on from `rows`, with their counts."""
    _check_counted(counts, codes)
    found = count_pre_tokens(counts, patterns, codes, workers=workers)
    watched = {
        code: ((own.rows + rows).astype(np.int32), own.train + own.held_out)
        for code, own in found.languages.items()
    }
    return watched, found


def _check_counted(counts: WordCounts, codes: Sequence[str]) -> None:
    missing = [code for code in codes if code not in counts.languages]
    if missing:
        raise CountsError(
            f"{', '.join(missing)}: not in the development counts ({counts.folder or 'in memory'})",
            "count development text of every language fitted, or narrow the fit with --languages",
        )


def _measure_development(
    counts: WordCounts, codes: Sequence[str], config: ByteBpeConfig
) -> list[int]:
    """The size of each language's development text. Raises ConfigError where one has none."""
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
    pre_tokens: PreTokens, merger: Merger, parted: Parted | None, size: int
) -> tuple[dict[str, Int64Array], dict[str, tuple[int, int]]]:
    """Per language how often its training text uses each id, and the tokens of both splits."""
    lengths = merger.count_tokens().astype(np.int64)
    usage, tokens = {}, {}
    for group, (code, own) in enumerate(pre_tokens.languages.items()):
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


def _language_rows(
    counts: WordCounts,
    weights: LanguageWeights,
    usage: Mapping[str, Int64Array],
    tokens: Mapping[str, tuple[int, int]],
    chosen: Mapping[str, int],
) -> tuple[Mapping[str, object], ...]:
    rows = []
    for weight in weights.rows:
        code = weight.language
        train, held_out = counts.totals_of(code)
        trained, held = tokens[code]
        rows.append(
            {
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
        )
    return tuple(rows)
