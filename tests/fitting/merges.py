"""Slow BPE by rescanning, and rows from plain text, for the tests of merging."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from vocabkit.fitting.bpe import SymbolRows
from vocabkit.fitting.pre_tokens import BYTE_ORDER

Pair = tuple[int, int]
BYTE_IDS = {byte[0]: place for place, byte in enumerate(BYTE_ORDER)}


def byte_rows(
    raw: Sequence[Mapping[bytes, int]],
    weight: Mapping[bytes, int] | None = None,
    watched: Sequence[Mapping[bytes, int]] | None = None,
) -> SymbolRows:
    """Rows of bytes, one mapping of text → count a group."""
    texts, counts, groups, seen = [], [], [], []
    for group, table in enumerate(raw):
        extra = watched[group] if watched is not None else {}
        for text in {**table, **extra}:
            texts.append(text)
            counts.append(table.get(text, 0))
            seen.append(extra.get(text, 0))
            groups.append(group)
    offsets = np.append(0, np.cumsum([len(text) for text in texts])).astype(np.int64)
    symbols = np.array([BYTE_IDS[byte] for text in texts for byte in text], np.int32)
    evidence = np.array(counts, np.int64)
    weights = evidence if weight is None else np.array([weight[t] for t in texts], np.int64)
    return SymbolRows(symbols, offsets, evidence, weights, np.array(groups, np.int32), np.array(seen, np.int64))


def join(row: list[int], pair: Pair, new: int) -> list[int]:
    """A row with every occurrence of a pair replaced, from the left."""
    found: list[int] = []
    place = 0
    while place < len(row):
        if tuple(row[place : place + 2]) == pair:
            found.append(new)
            place += 2
        else:
            found.append(row[place])
            place += 1
    return found


def count_adjacent(rows: Iterable[tuple[list[int], int]]) -> dict[Pair, int]:
    """Occurrences of each pair of neighbours, those that overlap included."""
    found: dict[Pair, int] = {}
    for row, count in rows:
        for left, right in itertools.pairwise(row):
            found[left, right] = found.get((left, right), 0) + count
    return found


def merge_slowly(raw: Mapping[bytes, int], weight: Mapping[bytes, int], number: int, floor: int) -> list[Pair]:
    """Merges found by counting every pair again each time."""
    rows = {text: [BYTE_IDS[byte] for byte in text] for text in raw}
    merges: list[Pair] = []
    while len(merges) < number:
        evidence = count_adjacent((rows[text], raw[text]) for text in raw)
        value = count_adjacent((rows[text], weight[text]) for text in raw)
        able = [pair for pair in value if evidence[pair] >= floor]
        if not able:
            break
        best = min(able, key=lambda pair: (-value[pair], pair))
        for text in rows:
            rows[text] = join(rows[text], best, 256 + len(merges))
        merges.append(best)
    return merges


def train_peer(
    lines: Sequence[str], patterns: Sequence[str], size: int, floor: int, special: Sequence[str]
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Merges and vocabulary of tokenizers' own trainer."""
    backend = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*steps, letters])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=floor,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(special),
        show_progress=False,
    )
    backend.train_from_iterator(lines, trainer)
    model = json.loads(backend.to_str())["model"]
    return [(left, right) for left, right in model["merges"]], model["vocab"]
