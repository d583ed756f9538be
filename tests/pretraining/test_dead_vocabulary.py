"""Dead vocabulary: pieces never seen, by block and script, against a count by hand and by brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocabkit.core.errors import PretrainingError
from vocabkit.core.text import piece_script
from vocabkit.corpus.normalization import load_normalizer
from vocabkit.pretraining.evaluation import DeadVocabulary, find_dead
from vocabkit.vocabulary.vocabulary import Block, Kind, Vocabulary, assemble_vocabulary

LETTERS = [*"abcdef", "ẹ", "ọ", "а", "б", "た"]
SHARED = [*LETTERS, "▁", "12", "▁the"]
YORUBA = ["▁ọ̀rọ̀", "▁ilé", "ẹ̀kọ́"]
RUSSIAN = ["▁да", "нет"]


def make_vocabulary() -> Vocabulary:
    pieces = [*SHARED, *YORUBA, *RUSSIAN]
    made = assemble_vocabulary(
        pieces, [-float(i) for i in range(len(pieces))], "unigram",
        load_normalizer("identity"), reserved=2, byte_fallback=True,
    )  # fmt: skip
    first = made.size - len(YORUBA) - len(RUSSIAN)
    second = first + len(YORUBA)
    return replace(
        made,
        blocks=(
            Block("shared", 0, first),
            Block("yor_Latn", first, second),
            Block("rus_Cyrl", second, made.size),
        ),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dead") / "tok"
    make_vocabulary().save(path)
    return path


def look(folder: Path, seen_input: set[str], seen_target: set[str]) -> DeadVocabulary:
    vocabulary = make_vocabulary()
    padding = [False] * 7

    def mark(seen: set[str]) -> npt.NDArray[np.bool_]:
        return np.array([piece in seen for piece in vocabulary.pieces] + padding)

    return find_dead(mark(seen_input), mark(seen_target), folder)


def test_counts_by_hand(folder: Path) -> None:
    seen = {*SHARED, "▁ilé"}
    dead = look(folder, seen, {"▁the"})
    pieces = 256 + len(SHARED) + len(YORUBA) + len(RUSSIAN)
    groups = {(group.scope, group.name): group for group in dead.groups}
    total = dead.groups[0]
    assert (total.pieces, total.never_input, total.never_target) == (pieces, 256 + 4, pieces - 1)
    assert total.never_input_share == pytest.approx(260 / pieces)
    yoruba = groups["block", "yor_Latn"]
    assert (yoruba.pieces, yoruba.never_input, yoruba.never_target) == (3, 2, 3)
    assert yoruba.examples == (" ọ̀rọ̀", "ẹ̀kọ́")
    assert groups["block", "rus_Cyrl"].never_input_share == 1.0
    assert groups["script", "Cyrl"].pieces == 4
    assert groups["script", "Cyrl"].never_input == 2
    assert groups["script", "Hira"].never_input == 0
    # Of the 256 byte pieces 128 are ASCII: 52 letters, 76 of none; the others are parts of characters.
    assert groups["script", "bytes"].pieces == 128
    assert sum(g.pieces for g in dead.groups if g.scope == "block") == pieces
    assert sum(g.pieces for g in dead.groups if g.scope == "script") == pieces


def test_specials_and_reserved_slots_are_no_dead_pieces(folder: Path) -> None:
    vocabulary = make_vocabulary()
    dead = look(folder, set(), set())
    outside = {Kind.CONTROL, Kind.UNKNOWN, Kind.UNUSED}
    listed = [i for i, kind in enumerate(vocabulary.kinds) if kind not in outside]
    assert dead.pieces["id"].tolist() == listed
    nothing = np.zeros(vocabulary.size, np.bool_)
    fewer = find_dead(nothing, nothing, folder, reserved=(listed[-1], vocabulary.size + 3))
    assert fewer.pieces["id"].tolist() == listed[:-1]


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_group_is_what_counting_one_by_one_gives(folder: Path, data: st.DataObject) -> None:
    vocabulary = make_vocabulary()
    flags = st.lists(st.booleans(), min_size=vocabulary.size, max_size=vocabulary.size)
    seen_input, seen_target = (np.array(data.draw(flags)) for _ in range(2))
    dead = find_dead(seen_input, seen_target, folder)
    block_of = {i: block.name for block in vocabulary.blocks for i in range(block.start, block.stop)}
    for group in dead.groups:
        members = []
        for index in dead.pieces["id"].tolist():
            token = vocabulary.token_bytes(index) or b""
            try:
                script = piece_script(token.decode())
            except UnicodeDecodeError:
                script = "bytes"
            name = {"all": "all", "block": block_of[index], "script": script}[group.scope]
            if name == group.name:
                members.append(index)
        assert group.pieces == len(members)
        assert group.never_input == sum(not seen_input[i] for i in members)
        assert group.never_target == sum(not seen_target[i] for i in members)


def test_what_is_written_lists_the_dead_alone(folder: Path, tmp_path: Path) -> None:
    everything = {piece for piece in make_vocabulary().pieces if piece != "нет"}
    dead = look(folder, everything, everything | {"нет"})
    dead.save(tmp_path)
    document = json.loads((tmp_path / "dead-vocabulary.json").read_text(encoding="utf-8"))
    assert document["groups"][0]["never_input"] == 1
    lines = (tmp_path / "dead-vocabulary.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[1:] for line in lines[1:]] == [["нет", "rus_Cyrl", "Cyrl", "0", "1"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dead-vocabulary.json", "dead-vocabulary.tsv",
    ]  # fmt: skip


def test_a_share_of_nothing_is_none(tmp_path: Path) -> None:
    made = assemble_vocabulary(["a"], [0.0], "unigram", load_normalizer("identity"))
    made.save(tmp_path)
    nothing = np.zeros(made.size, np.bool_)
    dead = find_dead(nothing, nothing, tmp_path, reserved=(made.size - 1,))
    assert dead.groups[0].pieces == 0
    assert dead.groups[0].never_input_share is None


def test_another_tokenizers_arrays_are_refused(folder: Path) -> None:
    short = np.zeros(5, np.bool_)
    with pytest.raises(PretrainingError, match="5"):
        find_dead(short, short, folder)


def test_without_a_table_all_is_one_block(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    nothing = np.zeros(make_vocabulary().size, np.bool_)
    dead = find_dead(nothing, nothing, tmp_path)
    assert [group.name for group in dead.groups if group.scope == "block"] == ["shared"]
