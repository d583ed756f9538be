"""Batches against a row-by-row reading of the same rows, and the same global batch on any number of ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pretraining.prepared_rows import ENDLESS, MASKED, write_rows
from vocabkit.pretraining.batches import (
    Batch,
    BatchMaker,
    _CausalChoice,
    assemble,
    make_objective,
    read_samples,
)
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import DataSettings, TrainingSettings
from vocabkit.vocabulary.roles import SpecialIds

LANGUAGES = {"eng_Latn": (30, 2), "lao_Laoo": (4, 2), "yor_Latn": (9, 2)}
SHARES = np.array([0.6, 0.1, 0.3])


@pytest.fixture(params=[(MASKED, False), (ENDLESS, True)], ids=["masked", "causal"])
def kind(request: pytest.FixtureRequest) -> tuple[SpecialIds, bool]:
    special: SpecialIds
    special, causal = request.param
    return special, causal


def make_maker(
    corpus: PreparedCorpus, *, causal: bool = False, rank: int = 0, world: int = 1, micro: int = 4
) -> BatchMaker:
    training = TrainingSettings(batch_rows=12, micro_rows=micro, seed=5)
    return BatchMaker(corpus, SHARES, DataSettings(), training, causal=causal, rank=rank, world=world)


def split_row(row: list[int], used: int, begin: int) -> list[int]:
    """Return the number of the document at each place, padding being the last; slowly."""
    found, document = [], -1
    for place, token in enumerate(row):
        if (token == begin and place < used) or place in (0, used):
            document += 1
        found.append(document)
    return found


def test_documents_positions_and_boundaries(tmp_path: Path, kind: tuple[SpecialIds, bool]) -> None:
    special, causal = kind
    corpus = write_rows(tmp_path / "s", LANGUAGES, special=special)
    maker = make_maker(corpus, causal=causal)
    batch = maker.make(3, 1)
    languages, indices, _ = maker.order.locate(maker.samples(3, 1))
    rows, used, sizes = read_samples(corpus, "train", languages, indices)
    documents: list[int] = []
    positions: list[int] = []
    for row, end in zip(rows.tolist(), used.tolist(), strict=True):
        first = documents[-1] + 1 if documents else 0
        numbers = split_row(row, end, special.begin)
        documents += [first + number for number in numbers]
        positions += [place - numbers.index(number) for place, number in enumerate(numbers)]
    assert batch.documents.tolist() == documents
    assert batch.positions.tolist() == positions
    starts = [place for place, position in enumerate(positions) if position == 0]
    length = corpus.length
    assert batch.boundaries[: len(starts)].tolist() == starts
    assert set(batch.boundaries[len(starts) :].tolist()) == {4 * length}
    assert batch.tokens == used.sum()
    assert batch.row_languages.tolist() == languages.tolist()
    assert batch.row_bytes.tolist() == sizes.tolist()
    assert batch.length == length
    types = [torch.int32] * 4 + [torch.int64] * 2 + [torch.float32, torch.int32, torch.int32]
    named = ("ids", "documents", "positions", "boundaries", "chosen", "targets", "weights")
    for name, kind_of in zip((*named, "languages", "row_bytes"), types, strict=True):
        assert getattr(batch, name).dtype == kind_of
    # What is asked is in the stream what it was in the row.
    flat = rows.ravel()
    shift = 1 if causal else 0
    counting = batch.weights > 0
    assert torch.equal(batch.targets[counting], torch.from_numpy(flat)[batch.chosen[counting] + shift].long())
    assert torch.equal(batch.languages[counting], batch.row_languages[batch.chosen[counting] // length])
    assert not batch.chosen[~counting].any()


def gather_rows(corpus: PreparedCorpus, step: int, world: int, micro: int, *, causal: bool) -> Rows:
    """Return what each sample of a step shows and asks, by sample number, over all ranks."""
    found: Rows = {}
    for rank in range(world):
        maker = make_maker(corpus, causal=causal, rank=rank, world=world, micro=micro)
        for number in range(maker.micro_batches):
            batch = maker.make(step, number)
            per_row = len(batch.chosen) // maker.micro_rows
            samples = maker.samples(step, number)
            for row, sample in enumerate(samples.tolist()):
                part = slice(row * batch.length, (row + 1) * batch.length)
                asked = slice(row * per_row, (row + 1) * per_row)
                weights = batch.weights[asked]
                if sample < 0:
                    assert not weights.any()
                    continue
                assert sample not in found
                places = (batch.chosen[asked] - row * batch.length)[weights > 0].tolist()
                targets = batch.targets[asked][weights > 0].tolist()
                found[sample] = (batch.ids[part].tolist(), places, targets)
    return found


Rows = dict[int, tuple[list[int], list[int], list[int]]]


@pytest.mark.parametrize(("world", "micro"), [(1, 5), (2, 4), (3, 4), (5, 2), (16, 4)])
def test_any_world_sees_the_same_global_batch(tmp_path: Path, world: int, micro: int) -> None:
    corpus = write_rows(tmp_path / "s", LANGUAGES)
    expected = gather_rows(corpus, 7, 1, 12, causal=False)
    assert sorted(expected) == list(range(84, 96))
    assert gather_rows(corpus, 7, world, micro, causal=False) == expected


@pytest.mark.parametrize("world", [1, 2, 5])
def test_the_weight_of_a_step_is_that_of_all_ranks(
    tmp_path: Path, kind: tuple[SpecialIds, bool], world: int
) -> None:
    special, causal = kind
    corpus = write_rows(tmp_path / "s", LANGUAGES, special=special)
    makers = [make_maker(corpus, causal=causal, rank=rank, world=world) for rank in range(world)]
    made = [[maker.make(2, micro) for micro in range(maker.micro_batches)] for maker in makers]
    total = sum(float(batch.weights.sum()) for batches in made for batch in batches)
    for maker, batches in zip(makers, made, strict=True):
        assert maker.global_weight(2) == total
        assert maker.global_weight(2, batches) == total


def test_shapes_are_the_same_in_every_step(tmp_path: Path, kind: tuple[SpecialIds, bool]) -> None:
    special, causal = kind
    corpus = write_rows(tmp_path / "s", LANGUAGES, special=special)
    maker = make_maker(corpus, causal=causal, world=5, micro=2)
    shapes = {
        tuple(len(getattr(batch, name)) for name in ("ids", "boundaries", "chosen", "row_bytes"))
        for batch in (maker.make(step, micro) for step in range(20) for micro in range(2))
    }
    assert len(shapes) == 1


def test_a_batch_does_not_depend_on_those_before_it(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", LANGUAGES)
    maker = make_maker(corpus)
    forwards = [maker.make(step, 0) for step in range(6)]
    for step in (5, 0, 3):
        for name in ("ids", "boundaries", "chosen", "targets", "weights"):
            assert torch.equal(getattr(make_maker(corpus).make(step, 0), name), getattr(forwards[step], name))


def test_more_documents_than_expected_find_room() -> None:
    rows = np.array([[0, 7, 0, 8, 0, 9, 0, 5]] * 2, np.int32)
    batch = assemble(
        rows,
        np.array([8, 6], np.int32),
        np.array([9, 9], np.int32),
        np.zeros(2, np.int32),
        np.arange(2),
        objective=_CausalChoice(ENDLESS, 8),
        special=ENDLESS,
        documents=3,
    )
    # Doubled twice: 12 documents and the end.
    assert batch.boundaries.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 16, 16, 16, 16]
    # In the second row the last two places are padding, although their ids look like a document.
    assert batch.weights.tolist() == [1, 0] * 4 + [1, 0, 1, 0, 1, 0, 0, 0]
    assert batch.documents.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]


def test_a_blank_row_asks_nothing(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "s", LANGUAGES)
    rows, used, sizes = read_samples(corpus, "train", np.array([1, -1], np.int32), np.array([2, 0]))
    assert used[1] == sizes[1] == 0
    objective = make_objective(corpus, DataSettings(), 0, causal=False)
    batch: Batch = assemble(
        rows,
        used,
        sizes,
        np.array([1, 0], np.int32),
        np.array([4, 0]),
        objective=objective,
        special=corpus.special,
    )
    assert not batch.weights[objective.per_row :].any()
    assert set(batch.ids[corpus.length :].tolist()) == {corpus.special.pad}
    assert len(set(batch.documents[corpus.length :].tolist())) == 1
