"""`continued-bpe`: a published BPE tokenizer with more merges, learnt from counts on top of its own.

Words are split and encoded by the base itself; merging goes on over what it leaves. Old ids, merges and
everything else of the file stay; the new tokens follow the last id. Which languages pay or gain is
measured by encoding the counts before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocabkit.configurations.bpe_settings import ContinuedBpeConfig
from vocabkit.configurations.language_table import write_rows
from vocabkit.configurations.merge_steps import (
    Clock,
    merge_all,
    select_for_merging,
    take_merges,
    weigh_for_merging,
)
from vocabkit.core.config import dump_toml
from vocabkit.core.errors import FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.weighting import LanguageWeights
from vocabkit.corpus.word_counts import SPLITS, WordCounts, WordTable
from vocabkit.fitting.byte_rows import check_sum, scale_counts
from vocabkit.fitting.merging import Merger, SymbolRows, warm_kernels
from vocabkit.vocabulary.bpe_base import Appended, BpeBase

Int64Array = npt.NDArray[np.int64]
_BATCH = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class ContinuedBpe:
    """The extended tokenizer and how it came about.

    Ids from `first` on are new; `alone` of them are made of their text typed alone, the others within
    words only or as parts of characters. `rows` are `languages.tsv`, `usage` how often each counted language's
    training text uses each id.
    """

    extended: BpeBase
    config: ContinuedBpeConfig
    first: int
    characters: int
    alone: int
    weights: LanguageWeights
    usage: Mapping[str, Int64Array]
    rows: tuple[Mapping[str, object], ...]
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def new(self) -> int:
        """How many tokens were added."""
        return self.extended.next_id - self.first

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.extended.next_id

    def language_rows(self) -> list[dict[str, object]]:
        """One row a counted language: tokens of both splits before and after, and the change of each."""
        return [dict(row) for row in self.rows]

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files, languages.tsv and config.toml; the manifest is the caller's."""
        self.extended.save(folder, self.first, self.usage)
        write_rows(self.rows, folder / "languages.tsv")
        text = dump_toml(self.config)
        (folder / "config.toml").write_text(text, encoding="utf-8", newline="\n")


def continue_bpe(
    counts: WordCounts,
    config: ContinuedBpeConfig,
    base: BpeBase,
    progress: Progress | None = None,
) -> ContinuedBpe:
    """Append `tokens.new` tokens learnt from the languages chosen.

    Raises `CountsError` for a selected language without counts, `ConfigError` for weights that do not fit
    them, and `FitError` where the text supports fewer tokens, unless `tokens.allow_fewer`.
    """
    report = progress or Silent()
    clock = Clock()
    table = config.tokens
    codes = select_for_merging(counts, config.languages)
    weights = weigh_for_merging(counts, codes, config.languages)
    warnings = list(weights.warnings())
    characters: tuple[str, ...] = ()
    if table.characters:
        characters = _missing_characters(counts, codes, base, table.min_count)[: table.new]
    start = base.append(Appended(characters, ())) if characters else base
    clock.lap("characters")
    rows, skipped = _collect_rows(counts, weights.weights, start, report)
    if skipped:
        warnings.append(
            f"{skipped:_} parts of cut words left out: the base puts a space before them"
        )
    clock.lap("segments")
    warm_kernels(report)
    merger = Merger(
        rows,
        [start.pieces.get(index, "").encode() for index in range(start.next_id)],
        next_id=start.next_id,
        min_count=table.min_count,
    )
    clock.lap("index")
    merges = take_merges(merge_all(merger), table.new - len(characters), report)
    reached = len(characters) + len(merges)
    if reached < table.new:
        if not table.allow_fewer:
            raise FitError(
                f"tokens.new = {table.new:_} is more than {', '.join(codes)} can support with "
                f"min_count = {table.min_count}: {reached:_}",
                f"--set tokens.new={reached:_}, --set tokens.allow_fewer=true, or count more text",
            )
        warnings.append(f"{table.new - reached:_} fewer tokens than asked for: no pair is left")
    spelled = dict(start.pieces)
    pairs = []
    for merge in merges:
        pairs.append((spelled[merge.left], spelled[merge.right]))
        spelled[merge.token] = merge.text.decode()
    extended = base.append(Appended(characters, tuple(pairs)))
    unreachable = extended.find_unreachable(base.next_id)
    if unreachable:
        shown = ", ".join(repr(extended.pieces[index]) for index in unreachable[:5])
        raise FitError(
            f"{len(unreachable)} new tokens are not made of their own text ({shown}): the "
            "merges of this base do not rank as its file says",
            "report the base this happened with",
        )
    clock.lap("merges")
    usage, found = _compare(counts, base, extended, codes, report)
    clock.lap("comparison")
    return ContinuedBpe(
        extended,
        config,
        base.next_id,
        len(characters),
        extended.count_alone(base.next_id),
        weights,
        usage,
        found,
        tuple(warnings),
        clock.seconds,
    )


def _batches(table: WordTable, base: BpeBase) -> Iterator[tuple[list[str], Int64Array, bool]]:
    """Words with counts, and whether they are later parts of cut words; these only where it takes them."""
    for first in range(0, len(table), _BATCH):
        stop = min(first + _BATCH, len(table))
        listed = list(islice(table.words, first, stop))
        inside, count = table.continuation[first:stop], table.count[first:stop]
        for continued in (False, True) if base.takes_continuations else (False,):
            chosen = inside == continued
            if chosen.any():
                words = [word for word, use in zip(listed, chosen.tolist(), strict=True) if use]
                yield words, count[chosen], continued


def _missing_characters(
    counts: WordCounts, codes: Sequence[str], base: BpeBase, floor: int
) -> tuple[str, ...]:
    """Characters with enough evidence that the base has no token for, the most frequent first."""
    found: dict[str, int] = {}
    for code in codes:
        for words, count, _ in _batches(counts.languages[code].train, base):
            for char, number in base.missing_characters(words, count).items():
                found[char] = found.get(char, 0) + number
    order = sorted(found, key=lambda char: (-found[char], char))
    return tuple(char for char in order if found[char] >= floor)


def _collect_rows(
    counts: WordCounts, weights: Mapping[str, float], base: BpeBase, report: Progress
) -> tuple[SymbolRows, int]:
    """Runs of the base's tokens, each once, with raw and weighted counts; and parts of words left out."""
    report.start("encoding words with the base", len(weights), "languages")
    table: dict[bytes, int] = {}
    places: list[tuple[float, npt.NDArray[np.int64], Int64Array]] = []
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
                (enter(data[begin:end], len(table)) for begin, end in pairwise(bounds)),
                np.int64,
                len(word),
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


def _compare(
    counts: WordCounts,
    base: BpeBase,
    extended: BpeBase,
    codes: Sequence[str],
    report: Progress,
) -> tuple[dict[str, Int64Array], tuple[Mapping[str, object], ...]]:
    """Usage of each id by each counted language's training text, and tokens before and after."""
    report.start("comparing with the base", len(counts.languages), "languages")
    usage: dict[str, Int64Array] = {}
    rows: list[Mapping[str, object]] = []
    for code in sorted(counts.languages):
        own = counts.languages[code]
        row: dict[str, object] = {"language": code, "fitted": code in codes}
        for split in SPLITS:
            table = own.split(split)
            before, after = _count_usage(table, base), _count_usage(table, extended)
            old, new = int(before.sum()), int(after.sum())
            words = int(table.count[~table.continuation].sum())
            row[f"{split}_before"], row[f"{split}_after"] = old, new
            row[f"{split}_change"] = new / old - 1.0 if old else None
            row[f"{split}_tokens_per_word"] = new / words if words else None
            if split == "train":
                usage[code] = after
                row["new_used"] = int((after[base.next_id :] > 0).sum())
        rows.append(row)
        report.advance(1)
    report.finish()
    return usage, tuple(rows)


def _count_usage(table: WordTable, base: BpeBase) -> Int64Array:
    usage = np.zeros(base.next_id, np.int64)
    for words, count, continued in _batches(table, base):
        usage += base.count_usage(words, count, continued=continued)
    return usage
