"""Arcs, against looking for every piece at every position."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fitting.lexica import choose_pieces, draw_rows, make_lexicon, make_trie
from vocabkit.corpus.compilation import open_workers
from vocabkit.fitting.lattice import Lattice, build_runs, build_trie, find_child
from vocabkit.fitting.lexicon import Lexicon
from vocabkit.fitting.substrings import find_substrings

Arc = tuple[int, int, int]


def expected_arcs(lexicon: Lexicon, pieces: list[str]) -> list[list[Arc]]:
    """Per partition, (position, length, id) of every arc."""
    first = len(lexicon.alphabet) + 1
    ids = {piece: first + k for k, piece in enumerate(pieces)}
    rows = lexicon.strings()
    out = []
    for k in range(len(lexicon.partitions) - 1):
        start, stop = lexicon.chunks[lexicon.partitions[[k, k + 1]]]
        arcs = []
        place = 0
        for row in range(start, stop):
            for end in range(int(lexicon.shared[row]) + 1, len(rows[row]) + 1):
                for length in range(2, min(end, 16) + 1):
                    piece = rows[row][end - length : end]
                    if piece in ids:
                        arcs.append((place, length, ids[piece]))
                place += 1
        out.append(arcs)
    return out


def actual_arcs(lattice: Lattice) -> list[list[Arc]]:
    out = []
    for k in range(len(lattice)):
        arcs = lattice.arcs(k)
        places = np.repeat(np.arange(len(arcs.ending)), arcs.ending)
        out.append(list(zip(places.tolist(), arcs.length.tolist(), arcs.piece.tolist(), strict=True)))
    return out


@pytest.mark.parametrize("memory", [None, 0, 3_000])
def test_arcs_are_all_pieces_that_end_at_a_position(memory: int | None) -> None:
    lexicon = make_lexicon(draw_rows(5, 400))
    pieces = choose_pieces(lexicon, 3)
    with open_workers(2) as workers:
        lattice = Lattice(lexicon, make_trie(lexicon, pieces), 16, workers, memory)
    assert actual_arcs(lattice) == expected_arcs(lexicon, pieces)
    assert memory is None or lattice.bytes <= memory


@pytest.mark.parametrize("memory", [None, 0])
def test_removed_pieces_take_their_arcs_with_them(memory: int | None) -> None:
    lexicon = make_lexicon(draw_rows(6, 400))
    pieces = choose_pieces(lexicon, 2)
    letters = len(lexicon.alphabet)
    remap = np.arange(letters + 1 + len(pieces), dtype=np.int32)
    kept = pieces[::3]
    remap[letters + 1 :] = -1
    remap[letters + 1 :: 3] = np.arange(letters + 1, letters + 1 + len(kept))
    with open_workers(2) as workers:
        lattice = Lattice(lexicon, make_trie(lexicon, pieces), 16, workers, memory)
        lattice.keep(remap, workers)
    assert actual_arcs(lattice) == expected_arcs(lexicon, kept)


def test_a_limit_too_small_for_all_arcs_holds_more_as_pieces_go() -> None:
    lexicon = make_lexicon(draw_rows(7, 3_000))
    pieces = choose_pieces(lexicon, 1)
    letters = len(lexicon.alphabet)
    with open_workers(1) as workers:
        whole = Lattice(lexicon, make_trie(lexicon, pieces), 16, workers)
        limit = whole.bytes // 2
        lattice = Lattice(lexicon, make_trie(lexicon, pieces), 16, workers, limit)
        assert 0 < lattice.bytes <= limit
        remap = np.full(letters + 1 + len(pieces), -1, np.int32)
        remap[: letters + 50] = np.arange(letters + 50)
        lattice.keep(remap, workers)
        whole.keep(remap, workers)
        assert lattice.bytes == whole.bytes


def test_a_trie_tells_apart_nodes_and_codes() -> None:
    lexicon = make_lexicon({"abcabc": 1})
    trie = make_trie(lexicon, ["ab", "cab", "bc"])
    node = find_child(trie.table, 0, 2)
    assert find_child(trie.table, node, 3) == -1
    node = find_child(trie.table, node, 1)
    assert trie.piece[node] == 4
    assert trie.piece[find_child(trie.table, node, 3)] == 5
    assert find_child(trie.table, 0, 1) == -1


@pytest.mark.parametrize("threads", [1, 3])
def test_arcs_from_runs_are_those_from_the_trie(threads: int) -> None:
    lexicon = make_lexicon(draw_rows(7, 3_000))
    with open_workers(threads) as workers:
        found = find_substrings(lexicon, workers)
        chosen = np.flatnonzero(np.random.default_rng(0).random(len(found)) < 0.4)
        begin, stop, length = found.begin[chosen], found.stop[chosen], found.length[chosen]
        first = len(lexicon.alphabet) + 1
        trie = build_trie(found.copy(lexicon, chosen), first)
        runs = build_runs(found.order, begin, stop, length, first)
        assert len(runs.tasks) > 2
        by_trie = Lattice(lexicon, trie, found.longest, workers)
        for memory in (None, by_trie.bytes, by_trie.bytes - 1):
            by_runs = Lattice(lexicon, trie, found.longest, workers, memory, runs)
            for k in range(len(by_trie)):
                a, b = by_trie.arcs(k), by_runs.arcs(k)
                assert np.array_equal(a.ending, b.ending)
                assert np.array_equal(a.piece, b.piece)
                assert np.array_equal(a.length, b.length)
            assert by_runs.bytes <= (memory or by_trie.bytes)
