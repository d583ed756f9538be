"""Spelling new tokens with the old tokenizer, in three styles, and the rows made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.extension.vocabularies import (
    draw_rows,
    make_unigram,
    make_word_piece,
    plan_between,
    plan_byte_level,
    save,
)
from vocabkit.extension.initializers import initialize
from vocabkit.extension.rows import Context, RowPlan, list_new
from vocabkit.extension.simple_rows import _spell_new, _spell_tokens
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer

SPACE = "\u2581"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[RowPlan, Context]:
    return plan_byte_level(tmp_path_factory.mktemp("tokenizers"))


def spell(tokenizer: Tokenizer, token: bytes) -> list[bytes | None]:
    return [tokenizer.token_bytes(index) for index in _spell_tokens([token], tokenizer)[0]]


def test_byte_level_spells_every_token(case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    old = context.old_tokenizer
    for place, ids in zip(list_new(plan), _spell_new(plan, context), strict=True):
        assert len(ids) >= 2  # otherwise it would be an old token
        assert b"".join(old.token_bytes(index) or b"" for index in ids) == plan.tokens[place]


def test_part_of_a_character(case: tuple[RowPlan, Context]) -> None:
    _, context = case
    euro = "€".encode()
    assert spell(context.old_tokenizer, euro[:2]) == [euro[:1], euro[1:2]]


@pytest.fixture(scope="module")
def unigram(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    pieces = [*(f"<0x{byte:02X}>" for byte in range(256)), SPACE, f"{SPACE}ha", "us", "h", "a", "u"]
    backend = make_unigram([*pieces, "s", "n", f"{SPACE}u", "."])
    return open_tokenizer(save(backend, tmp_path_factory.mktemp("unigram")))


def test_sentence_piece_start_and_middle_of_a_word(unigram: Tokenizer) -> None:
    assert spell(unigram, b" haus") == [b" ha", b"us"]
    assert spell(unigram, b"us") == [b"us"]
    assert spell(unigram, b"un") == [b"u", b"n"]
    assert spell(unigram, b" un") == [b" u", b"n"]


def test_sentence_piece_bytes(unigram: Tokenizer) -> None:
    assert spell(unigram, "é".encode()) == [b"\xc3", b"\xa9"]
    assert spell(unigram, b"\xc3") == [b"\xc3"]


def test_word_piece_start_and_middle_of_a_word(tmp_path: Path) -> None:
    pieces = ["ha", "##us", "us", "##u", "##n", "g", "##g", "."]
    tokenizer = open_tokenizer(save(make_word_piece(pieces, lower=True), tmp_path))
    assert spell(tokenizer, b" haus") == [b" ha", b"us"]
    assert spell(tokenizer, b"ung") == [b"u", b"n", b"g"]
    assert spell(tokenizer, b" Haus") == [b" ha", b"us"]  # its own encoding folds case
    assert spell(tokenizer, "日".encode()) == []


def test_rules_by_hand(case: tuple[RowPlan, Context]) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size)
    spelled = _spell_new(plan, context)
    place = max(range(len(spelled)), key=lambda i: len(spelled[i]))
    ids = list(spelled[place])
    made = {
        name: initialize(name, plan, rows, context).values[place]
        for name in ("subword-mean", "positional", "first", "last")
    }
    np.testing.assert_allclose(made["subword-mean"], rows[ids].mean(axis=0), 1e-5, 1e-6)
    np.testing.assert_array_equal(made["first"], rows[ids[0]])
    np.testing.assert_array_equal(made["last"], rows[ids[-1]])
    powers = np.exp(2.0 * np.arange(1, len(ids) + 1))
    expected = (powers / powers.sum()) @ rows[ids]
    np.testing.assert_allclose(made["positional"], expected, 1e-4, 1e-6)
    head = initialize("positional", plan, rows, replace(context, role="output")).values[place]
    expected = (powers[::-1] / powers.sum()) @ rows[ids]
    np.testing.assert_allclose(head, expected, 1e-4, 1e-6)


def test_positional_weights_of_many_parts_stay_finite(tmp_path: Path) -> None:
    letters = [chr(code) for code in range(97, 123)]
    old = make_unigram([SPACE, *letters])
    new = make_unigram([SPACE, *letters, "".join(letters * 20)])
    plan, context = plan_between(old, new, tmp_path)
    made = initialize("positional", plan, draw_rows(plan.old_size), context)
    assert made.sources is not None
    assert made.sources.to_list()[0][1].sum() == pytest.approx(1)


def test_overlap_takes_the_nearest_in_writing(tmp_path: Path) -> None:
    letters = [chr(code) for code in range(97, 123)]
    old_pieces = [SPACE, *letters, f"{SPACE}haus", "Hof", f"{SPACE}gar", "ten", "<0x41>"]
    added = [f"{SPACE}Haus", "haus", "hof", f"{SPACE}garten", "A", "€"]
    plan, context = plan_between(make_unigram(old_pieces), make_unigram([*old_pieces, *added]), tmp_path)
    rows = draw_rows(plan.old_size)
    made = initialize("overlap", plan, rows, context)
    assert made.sources is not None
    old = context.old_tokenizer
    found = {
        plan.tokens[place]: [old.token_bytes(int(index)) for index in source[0]]
        for place, source in zip(list_new(plan), made.sources.to_list(), strict=True)
    }
    assert found[b" Haus"] == [b" haus"]  # case
    assert found[b"haus"] == [b" haus"]  # space
    assert found[b"hof"] == [b"Hof"]
    assert found[b" garten"] == [b" gar"]  # the longest it starts with
    assert found["€".encode()] == []  # no letter of it
    for place, source in enumerate(made.sources.to_list()):
        if len(source[0]):
            np.testing.assert_array_equal(made.values[place], rows[source[0][0]])
