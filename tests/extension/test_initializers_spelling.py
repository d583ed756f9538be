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
from vocabkit.core.errors import ConfigError
from vocabkit.extension.initializers import initialize
from vocabkit.extension.rows import Context, Role, RowPlan, list_new, sum_rows
from vocabkit.extension.simple_rows import _spell_new, _spell_tokens
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

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


OLD_PIECES = ("ab", "cd", "e", "f", "вг", "д", "е", "ж", "α", "!", "2", f"{SPACE}ab", f"{SPACE}вг")
NEW_PIECES = ("abcd", "ef", "вгд", "αe", "α!", "2!", f"{SPACE}abe", f"{SPACE}вгж")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> tuple[RowPlan, Context]:
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    old, new = (make_unigram([*bytes_, SPACE, *OLD_PIECES, *more]) for more in ((), NEW_PIECES))
    return plan_between(old, new, tmp_path_factory.mktemp("scripts"))


def median_by_hand(plan: RowPlan, rows: np.typing.NDArray[np.float32], context: Context, letter: str) -> float:
    """Of the rows of tokens with a letter from the same Unicode block as this one, in plain Python."""
    blocks = [range(0x41, 0x7B), range(0x400, 0x500), range(0x370, 0x400)]
    block = next(block for block in blocks if ord(letter) in block)
    found = []
    for index in np.flatnonzero(plan.old_used).tolist():
        if context.old_tokenizer.kinds[index] is Kind.BYTE:
            continue
        token = context.old_tokenizer.token_bytes(index) or b""
        text = token.decode(errors="ignore")
        if any(ord(char) in block for char in text):
            found.append(float(np.sqrt((rows[index].astype(np.float64) ** 2).sum())))
    return float(np.median(found))


@pytest.mark.parametrize("role", ["input", "tied", "output"])
def test_a_mean_is_made_as_long_as_the_rows_of_its_script(scripts: tuple[RowPlan, Context], role: Role) -> None:
    plan, context = scripts
    rows = draw_rows(plan.old_size)
    rows *= np.random.default_rng(3).uniform(0.2, 3, len(rows)).astype(np.float32)[:, None]
    plain = initialize("subword-mean", plan, rows, context).values
    made = initialize("subword-mean:norm=median", plan, rows, replace(context, role=role))
    assert made.sources is not None
    if role == "output":
        np.testing.assert_array_equal(made.values, plain)
        return
    for place, letter in ((0, "a"), (1, "e"), (2, "в"), (4, "α"), (6, "a"), (7, "в")):
        wanted = median_by_hand(plan, rows, context, letter)
        row = made.values[place]
        np.testing.assert_allclose(np.linalg.norm(row), wanted, rtol=1e-5)
        np.testing.assert_allclose(
            row / np.linalg.norm(row), plain[place] / np.linalg.norm(plain[place]), atol=1e-6
        )
    np.testing.assert_array_equal(made.values, sum_rows(made.sources, rows, plan.old_used))


def test_a_script_without_rows_takes_the_median_of_all(scripts: tuple[RowPlan, Context]) -> None:
    plan, context = scripts
    rows = draw_rows(plan.old_size)
    greek = np.array([context.old_tokenizer.token_bytes(i) == b"\xce\xb1" for i in range(plan.old_size)])
    bare = replace(plan, old_used=plan.old_used & ~greek)
    made = initialize("subword-mean:norm=median", bare, rows, context).values
    wanted = np.median(np.linalg.norm(rows[bare.old_used].astype(np.float64), axis=1))
    np.testing.assert_allclose(np.linalg.norm(made[4]), wanted, rtol=1e-5)


@pytest.mark.parametrize("method", ["subword-mean:norm=mean", "subword-mean:norm", "mean:norm=median"])
def test_an_unknown_norm_is_refused(scripts: tuple[RowPlan, Context], method: str) -> None:
    plan, context = scripts
    with pytest.raises(ConfigError, match="norm"):
        initialize(method, plan, draw_rows(plan.old_size), context)
