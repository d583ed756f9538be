"""The merge engine against a rescan of everything, and what it promises about tokens."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fitting.merges import (
    BYTE_IDS,
    byte_rows,
    count_adjacent,
    join,
    merge_slowly,
    train_peer,
)
from vocabkit.fitting.bpe import Merge, Merger
from vocabkit.fitting.pre_tokens import BYTE_ORDER

# Few letters make runs and equal counts, where order and overlap matter.
WORDS = st.dictionaries(
    st.text("ab", min_size=1, max_size=9).map(str.encode),
    st.integers(1, 4),
    min_size=1,
    max_size=12,
)


def take_all(merger: Merger, number: int = 10_000) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while len(found) < number and (merge := merger.merge_best()) is not None:
        found.append((merge.left, merge.right))
    return found


@given(WORDS, st.integers(1, 3))
def test_merges_are_those_of_a_rescan(words: dict[bytes, int], floor: int) -> None:
    merger = Merger(byte_rows([words]), BYTE_ORDER, min_count=floor)
    assert take_all(merger) == merge_slowly(words, words, 10_000, floor)


@given(WORDS, st.integers(0, 2**32))
def test_weights_choose_and_raw_counts_admit(words: dict[bytes, int], seed: int) -> None:
    choose = np.random.default_rng(seed)
    weight = {text: int(choose.integers(1, 2**40)) for text in words}
    merger = Merger(byte_rows([words], weight), BYTE_ORDER, min_count=2)
    assert take_all(merger) == merge_slowly(words, weight, 10_000, 2)


@given(WORDS)
def test_order_of_rows_changes_nothing(words: dict[bytes, int]) -> None:
    turned = dict(reversed(words.items()))
    first, second = (Merger(byte_rows([table]), BYTE_ORDER) for table in (words, turned))
    assert take_all(first) == take_all(second)


@given(WORDS)
def test_rows_hold_what_the_merges_make_of_them(words: dict[bytes, int]) -> None:
    merger = Merger(byte_rows([words]), BYTE_ORDER, min_count=1)
    merges = take_all(merger, 5)
    flat, offsets = merger.list_tokens()
    usage: Counter[int] = Counter()
    for place, (text, count) in enumerate(words.items()):
        row = [BYTE_IDS[byte] for byte in text]
        for new, pair in enumerate(merges, start=256):
            row = join(row, pair, new)
        assert flat[offsets[place] : offsets[place + 1]].tolist() == row
        for token in row:
            usage[token] += count
    chosen = np.arange(len(words), dtype=np.int32)
    found = merger.count_usage(chosen, np.array(list(words.values()), np.int64))
    assert {index: int(n) for index, n in enumerate(found) if n} == dict(usage)


@given(WORDS)
def test_every_token_is_made_of_its_own_text(words: dict[bytes, int]) -> None:
    merger = Merger(byte_rows([words]), BYTE_ORDER, min_count=1)
    merges = []
    while (merge := merger.merge_best()) is not None:
        merges.append(merge)
    for made in merges:
        row = [BYTE_IDS[byte] for byte in made.text]
        for merge in merges:
            row = join(row, (merge.left, merge.right), merge.token)
        assert row == [made.token]


@given(WORDS, WORDS)
def test_groups_are_counted_apart_and_merged_together(
    first: dict[bytes, int], second: dict[bytes, int]
) -> None:
    tables = [first, second]
    merger = Merger(byte_rows(tables, watched=tables), BYTE_ORDER, min_count=2)
    rows = [{text: [BYTE_IDS[byte] for byte in text] for text in table} for table in tables]
    for turn in range(12):
        group = turn % 2
        counts = count_adjacent((rows[group][t], n) for t, n in tables[group].items())
        able = [pair for pair in counts if counts[pair] >= 2]
        made = merger.merge_best(group)
        if not able:
            assert made is None
            continue
        assert made is not None
        best = min(able, key=lambda pair: (-counts[pair], pair))
        assert (made.left, made.right) == best
        for table in rows:
            for text in table:
                table[text] = join(table[text], best, made.token)
        sizes = [sum(len(rows[g][text]) * count for text, count in tables[g].items()) for g in (0, 1)]
        assert merger.tokens.tolist() == sizes


def test_counts_beyond_32_bits_are_exact() -> None:
    words = {b"ab": 2**40, b"cd": 2**40 + 1, b"ef": 2**33}
    merger = Merger(byte_rows([words]), BYTE_ORDER)
    texts = []
    while (merge := merger.merge_best()) is not None:
        texts.append((merge.text, merge.count))
    assert texts == [(b"cd", 2**40 + 1), (b"ab", 2**40), (b"ef", 2**33)]


def test_a_text_that_is_taken_is_passed_over() -> None:
    words = {b"ab": 9, b"xy": 3}
    merger = Merger(byte_rows([words]), BYTE_ORDER, taken=[b"ab"], next_id=1_000)
    merge = merger.merge_best()
    assert merge is not None
    assert (merge.text, merge.token) == (b"xy", 1_000)
    assert merger.merge_best() is None


LINES = [
    " the quick brown fox's 1234 jumps; the quick browny foxes don't — they jump 12 times",
    " Ó ní òun fẹ́ ra ọ̀pọ̀lọpọ̀ ẹ̀wà ní ọjà Ọ̀yọ́, ṣùgbọ́n kò sí owó; ọjà ní Ọ̀yọ́",
    " யாதும் ஊரே யாவரும் கேளிர் யாதும் ஊரே aaaa aaaaaaa aaa ababababab",
]


@pytest.mark.parametrize("floor", [1, 2, 3])
@pytest.mark.parametrize("special", [(), ("<|end|>", "<|pad|>")])
def test_merges_are_those_of_tokenizers_trainer(floor: int, special: tuple[str, ...]) -> None:
    import regex

    from vocabkit.fitting.pre_tokens import find_patterns
    from vocabkit.vocabulary.byte_level import _spell_bytes

    for name in ("gpt2", "cl100k", "o200k", "whitespace"):
        patterns = find_patterns(name)
        wanted, vocabulary = train_peer(LINES * 2, patterns, 430, floor, special)
        words: Counter[bytes] = Counter()
        for line in LINES * 2:
            words.update(part.encode() for part in regex.findall(patterns[0], line))
        merger = Merger(byte_rows([words]), BYTE_ORDER, min_count=floor)
        merges: list[Merge] = []
        while len(merges) < 430 - 256 - len(special):
            merge = merger.merge_best()
            if merge is None:
                break
            merges.append(merge)
        letters = {place: _spell_bytes(byte) for place, byte in enumerate(BYTE_ORDER)}
        letters.update({merge.token: _spell_bytes(merge.text) for merge in merges})
        assert [(letters[m.left], letters[m.right]) for m in merges] == wanted
        ids = [*special, *letters.values()]
        assert {token: place for place, token in enumerate(ids)} == vocabulary
