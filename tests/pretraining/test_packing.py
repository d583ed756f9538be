"""Packing against reading the rows back document by document, and against bins filled by hand."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.pretraining import packing
from vocabkit.pretraining.packing import Documents, PackedRows, Packer, _choose_rows, cut_documents
from vocabkit.vocabulary.roles import SpecialIds

MASKED = SpecialIds(begin=0, end=2, pad=1, mask=4, unknown=3, reserved=(0, 1, 2, 3, 4))
ENDLESS = SpecialIds(begin=0, end=None, pad=0, mask=None, unknown=None, reserved=(0,))
DOCUMENTS = st.lists(st.lists(st.integers(5, 60), min_size=1, max_size=14), max_size=60)


def as_pieces(documents: list[list[int]]) -> Documents:
    flat = [index for document in documents for index in document]
    lengths = np.array([len(document) for document in documents], np.int64)
    return Documents(np.array(flat, np.int32), lengths, lengths * 3 + 1)


def read_back(packed: list[PackedRows], special: SpecialIds) -> list[tuple[int, ...]]:
    """The documents of rows, found token by token."""
    found: list[tuple[int, ...]] = []
    for part in packed:
        for row, used in zip(part.ids.tolist(), part.used.tolist(), strict=True):
            assert set(row[used:]) <= {special.pad}
            document: list[int] | None = None
            for index in [*row[:used], special.begin]:
                if index == special.begin:
                    if document is not None:
                        if special.end is not None:
                            assert document.pop() == special.end
                        found.append(tuple(document))
                    document = []
                else:
                    assert document is not None
                    document.append(index)
    return found


def pack(documents: list[list[int]], special: SpecialIds, cuts: list[int]) -> list[PackedRows]:
    packer = Packer(16, special)
    packed = []
    stops = sorted({min(cut, len(documents)) for cut in cuts} | {len(documents)})
    start = 0
    for stop in stops:
        packed += packer.add(as_pieces(documents[start:stop]))
        start = stop
    return packed + packer.finish()


@given(DOCUMENTS, st.sampled_from([MASKED, ENDLESS]))
def test_every_document_comes_back_whole_and_once(documents: list[list[int]], special: SpecialIds) -> None:
    packed = pack(documents, special, [])
    assert Counter(read_back(packed, special)) == Counter(map(tuple, documents))
    assert sum(int(part.bytes.sum()) for part in packed) == sum(3 * len(d) + 1 for d in documents)
    for part in packed:
        assert part.ids.dtype == part.used.dtype == part.bytes.dtype == np.int32


def test_rows_do_not_depend_on_how_documents_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_POSITIONS", 64)
    monkeypatch.setattr(packing, "_LEAST_ROWS", 4)
    chance = np.random.default_rng(1)
    documents = [chance.integers(5, 60, chance.integers(1, 15)).tolist() for _ in range(300)]
    whole = pack(documents, MASKED, [])
    assert len(whole) > 5  # packed in several turns, rows held back between them
    assert Counter(read_back(whole, MASKED)) == Counter(map(tuple, documents))
    for cuts in ([1, 2, 3], list(range(0, 300, 7)), [150]):
        again = pack(documents, MASKED, cuts)
        ids = np.concatenate([part.ids for part in again])
        assert np.array_equal(ids, np.concatenate([part.ids for part in whole]))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=200))
def test_rows_are_chosen_as_by_best_fit_one_by_one(spaces: list[int]) -> None:
    owners = _choose_rows(np.array(spaces, np.int64), 20)
    fill = np.bincount(owners, spaces)
    assert fill.max() <= 20
    assert fill.min() >= 1
    # No two rows fit into one: best fit opens a row only where nothing else has room.
    smallest = sorted(fill.tolist())[:2]
    assert len(smallest) < 2 or sum(smallest) > 20
    left: list[int] = []
    for space in sorted(spaces, reverse=True):
        fitting = [number for number, room in enumerate(left) if room >= space]
        if fitting:
            left[min(fitting, key=lambda number: left[number])] -= space
        else:
            left.append(20 - space)
    assert len(fill) == len(left)


def test_ordinary_lengths_leave_two_percent_at_most() -> None:
    chance = np.random.default_rng(0)
    lengths = np.clip(chance.lognormal(3.0, 1.2, 20_000), 1, 510).astype(np.int64)
    pieces = Documents(np.full(int(lengths.sum()), 7, np.int32), lengths, lengths)
    packer = Packer(512, MASKED)
    packed = packer.add(pieces) + packer.finish()
    used = sum(int(part.used.sum()) for part in packed)
    assert used >= 0.98 * sum(part.ids.size for part in packed)


@given(DOCUMENTS.filter(bool), st.integers(1, 6), st.integers(0, 3))
def test_a_cut_document_shares_out_its_bytes(documents: list[list[int]], longest: int, scale: int) -> None:
    pieces = as_pieces(documents)
    table = np.arange(61, dtype=np.int64) * scale
    cut = cut_documents(pieces, longest, lambda: table)
    assert np.array_equal(cut.ids, pieces.ids)
    place = 0
    for document, size in zip(documents, pieces.sizes.tolist(), strict=True):
        parts = [document[at : at + longest] for at in range(0, len(document), longest)]
        stop = place + len(parts)
        assert cut.lengths[place:stop].tolist() == [len(part) for part in parts]
        shares = cut.sizes[place:stop]
        assert shares.sum() == size
        weights = [sum(index * scale for index in part) or (scale == 0) for part in parts]
        for share, weight in zip(shares.tolist(), weights, strict=True):
            assert abs(share - Fraction(size * weight, sum(weights))) < 1
        place = stop
    assert place == len(cut.lengths)


def test_nothing_is_measured_where_nothing_is_cut() -> None:
    pieces = as_pieces([[5, 6], [7]])
    assert cut_documents(pieces, 2, lambda: pytest.fail("asked")) is pieces
