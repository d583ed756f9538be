"""Parity-aware merging against its definition, and where the published program stops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.fitting.merges import BYTE_IDS, byte_rows, count_adjacent, join
from vocabkit.fitting.bpe import Merger, ParityMerger
from vocabkit.fitting.pre_tokens import BYTE_ORDER

WORDS = st.dictionaries(
    st.text("abc", min_size=1, max_size=7).map(str.encode),
    st.integers(1, 5),
    min_size=1,
    max_size=8,
)


@given(st.lists(WORDS, min_size=1, max_size=3), st.data())
def test_each_merge_is_of_the_language_worst_off(tables: list[dict[bytes, int]], data: st.DataObject) -> None:
    units = [data.draw(st.integers(1, 60)) for _ in tables]
    parity = ParityMerger(Merger(byte_rows(tables, watched=tables), BYTE_ORDER), units, window=0)
    rows = [{text: [BYTE_IDS[byte] for byte in text] for text in table} for table in tables]
    found = [(merge.left, merge.right) for merge in parity.merge()]
    wanted: list[tuple[int, int]] = []
    exhausted: set[int] = set()
    while len(exhausted) < len(tables):
        costs = [
            sum(len(rows[g][t]) * n for t, n in table.items()) / units[g] for g, table in enumerate(tables)
        ]
        group = max(set(range(len(tables))) - exhausted, key=lambda g: (costs[g], -g))
        counts = count_adjacent((rows[group][t], n) for t, n in tables[group].items())
        able = [pair for pair in counts if counts[pair] >= 2]
        if not able:
            exhausted.add(group)
            continue
        best = min(able, key=lambda pair: (-counts[pair], pair))
        for table in rows:
            for text in table:
                table[text] = join(table[text], best, 256 + len(wanted))
        wanted.append(best)
    assert found == wanted


def test_a_language_without_pairs_is_passed_over() -> None:
    poor, rich = {b"xyz": 1}, {b"abab": 5, b"cdcd": 4}
    merger = Merger(byte_rows([poor, rich], watched=[poor, rich]), BYTE_ORDER)
    parity = ParityMerger(merger, [1, 1_000])
    assert [merge.text for merge in parity.merge()] == [b"ab", b"cd", b"abab", b"cdcd"]
    assert parity.exhausted == (0, 1)
    assert parity.chosen.tolist() == [0, 4]


def test_a_window_keeps_one_language_from_taking_every_merge() -> None:
    first = {bytes([97 + place, 98 + place]): 9 for place in range(0, 20, 2)}
    second = {bytes([65 + place, 66 + place]): 9 for place in range(0, 20, 2)}

    def turns(window: int) -> list[int]:
        merger = Merger(byte_rows([first, second], watched=[first, second]), BYTE_ORDER)
        parity = ParityMerger(merger, [1, 1_000], window=window, share=1.5)
        merges = parity.merge()
        found = []
        for _ in range(8):
            before = parity.chosen.copy()
            next(merges)
            found.append(int(np.argmax(parity.chosen - before)))
        return found

    assert turns(0) == [0] * 8
    limited = turns(4)
    assert all(limited[start : start + 4].count(0) <= 3 for start in range(5))
