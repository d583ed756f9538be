"""A base of further merges: its segments, and the file with tokens appended."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.vocabulary.bpe_bases import TEXT, byte_level_base, metaspace_base, write_base
from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.byte_level import BpeBase

WORDS = ["fox", "fox's", "lazy12", "ọmọ", "ọmọdé", "ẹ̀kọ́", "tree's,trees"]


def list_runs(base: BpeBase, words: list[str]) -> list[tuple[str, list[str]]]:
    flat, offsets, word = base.segment(words)
    return [
        (
            words[int(word[run])],
            [base.pieces[int(i)] for i in flat[offsets[run] : offsets[run + 1]]],
        )
        for run in range(len(word))
    ]


def test_runs_are_the_base_tokens_within_a_pre_token() -> None:
    base = BpeBase("base", byte_level_base())
    backend = Tokenizer.from_str(json.dumps(byte_level_base()))
    found = list_runs(base, ["fox's", "lazy12"])
    assert [tokens for word, tokens in found if word == "fox's"] == [
        backend.encode(" fox").tokens,
        backend.encode("'s").tokens,
    ]
    assert [tokens for word, tokens in found if word == "lazy12"] == [
        backend.encode(" lazy").tokens,
        backend.encode("12").tokens,
    ]


def test_added_tokens_and_bytes_end_a_run() -> None:
    base = BpeBase("base", byte_level_base())
    assert all("ọmọ" not in tokens for _, tokens in list_runs(base, ["ọmọ", "xọmọdé"]))
    spm = BpeBase("base", metaspace_base())
    assert list_runs(spm, ["foxẹfox"])[0][1] == list_runs(spm, ["fox"])[0][1]
    assert not any(token.startswith("<0x") for _, t in list_runs(spm, WORDS) for token in t)


@pytest.mark.parametrize("joined", [True, False])
def test_appending_keeps_every_id_and_all_else(joined: bool) -> None:
    content = byte_level_base()
    if joined:
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    before = copy.deepcopy(content)
    base = BpeBase("base", content)
    assert base.size == len(content["model"]["vocab"]) + 2
    extended = base.append(merges=[("f", "o"), ("Ġ", "z")])
    assert content == before
    assert extended.size == base.size + 2
    backend = Tokenizer.from_str(json.dumps(extended.content))
    for index, piece in base.pieces.items():
        assert backend.token_to_id(piece) == index
    assert backend.token_to_id("Ġz") == base.size + 1
    assert backend.encode("<|end|>").ids == [before["added_tokens"][0]["id"]]
    after = copy.deepcopy(extended.content)
    for key in ("vocab", "merges"):
        after["model"].pop(key)
        before["model"].pop(key)
    assert after == before


def test_text_of_the_base_is_encoded_as_before_where_no_new_merge_applies() -> None:
    base = BpeBase("base", byte_level_base())
    extended = base.append(merges=[("z", "z")])
    for one, other in zip(
        base.tokenizer.encode_batch(TEXT), extended.tokenizer.encode_batch(TEXT), strict=True
    ):
        assert one.tolist() == other.tolist()


def test_missing_characters_are_counted_as_normalised() -> None:
    counts = np.array([5, 2], np.int64)
    spm = BpeBase("base", metaspace_base())
    assert spm.missing_characters(["ẹfox", "ẹẹọ"], counts) == {"ẹ": 9, "ọ": 2}
    assert BpeBase("base", byte_level_base()).missing_characters(["ẹ", "ọ"], counts) == {}


def test_a_new_character_is_a_token_at_once() -> None:
    base = BpeBase("base", metaspace_base())
    extended = base.append(["ẹ"], [("▁", "ẹ")])
    assert extended.tokenizer.encode_batch(["ẹẹ"])[0].tolist() == [
        base.size + 1,
        base.size,
    ]
    assert extended.find_unreachable() == []


def test_unreachable_tokens_are_found() -> None:
    base = BpeBase("base", byte_level_base())
    # Three letters are merged from the left, into zz and z.
    extended = base.append(merges=[("z", "z"), ("z", "zz")])
    assert extended.find_unreachable() == [base.size + 1]


def test_a_folder_keeps_what_stands_beside_the_tokenizer(tmp_path: Path) -> None:
    base = BpeBase.read(write_base(byte_level_base(), tmp_path / "base"))
    out = tmp_path / "out"
    extended = base.append(merges=[("q", "q")])
    extended.save(out, {})
    assert json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8")) == {"eos_token": "<|end|>"}
    assert BpeBase.read(out).content == extended.content


def test_a_token_that_is_there_already_is_refused() -> None:
    base = BpeBase("base", byte_level_base())
    with pytest.raises(TokenizerError, match="there already"):
        base.append(merges=[("<|end", "|>")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "WordPiece"}, "WordPiece"),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix"),
    ],
)
def test_other_models_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        BpeBase("base", byte_level_base(**change))
