"""Continued BPE: ids kept, exactly as many tokens as asked, each reached, and the cost to others told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.configurations.test_byte_bpe import SPLIT, TEXTS
from tests.vocabulary.bpe_bases import byte_level_base, metaspace_base, write_base
from vocabkit.configurations.byte_bpe import continue_bpe
from vocabkit.configurations.settings import ContinuedBpeConfig
from vocabkit.configurations.shared import Fit
from vocabkit.core.config import find_preset, load_config, validate
from vocabkit.core.errors import FitError
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.byte_level import BpeBase

BASES = {"byte-level": byte_level_base(), "metaspace": metaspace_base()}


def extend(base: dict[str, Any], new: int = 40, **tables: object) -> Fit[BpeBase]:
    data = {"tokens": {"new": new}, "languages": {"include": ["yor_Latn"]}, **tables}
    config = validate(ContinuedBpeConfig, data, "test")
    return continue_bpe(SPLIT, config, base=BpeBase("base", base))


def new_pieces(fitted: Fit[BpeBase]) -> list[str]:
    base = fitted.vocabulary
    return [base.pieces[index] for index in range(base.first_new, base.size)]


@pytest.mark.parametrize("name", BASES)
def test_exactly_as_many_tokens_follow_the_old_ids(name: str, tmp_path: Path) -> None:
    base = BpeBase("base", BASES[name])
    fitted = extend(BASES[name])
    fitted.save(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    vocabulary = backend.get_vocab(with_added_tokens=True)
    for index, piece in base.pieces.items():
        assert vocabulary[piece] == index
    new = {index: piece for piece, index in vocabulary.items() if index >= base.size}
    assert sorted(new) == list(range(base.size, base.size + 40))
    for index, piece in new.items():
        assert [token.id for token in backend.model.tokenize(piece)] == [index]


@pytest.mark.parametrize("name", BASES)
def test_tokens_reported_are_those_of_the_files(name: str, tmp_path: Path) -> None:
    fitted = extend(BASES[name])
    fitted.save(tmp_path)
    before = Tokenizer.from_str(json.dumps(BASES[name]))
    after = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    prefix = "" if name == "metaspace" else " "
    for row in fitted.to_rows():
        lines = [f"{text} {place}" for place, text in enumerate(TEXTS[str(row["language"])])]
        words = [prefix + word for line in lines for word in line.split()]
        for when, backend in (("before", before), ("after", after)):
            found = sum(len(e.ids) for e in backend.encode_batch(words, add_special_tokens=False))
            told = [int(str(row[f"{split}_{when}"])) for split in ("train", "held_out")]
            assert found == sum(told)
    changes = {row["language"]: float(str(row["train_change"])) for row in fitted.rows}
    assert changes["yor_Latn"] < -0.2
    assert fitted.usage["yor_Latn"].sum() == next(
        row["train_after"] for row in fitted.rows if row["language"] == "yor_Latn"
    )


def test_continuing_by_steps_equals_continuing_at_once() -> None:
    once = extend(BASES["byte-level"], 40)
    half = extend(BASES["byte-level"], 25)
    rest = extend(half.vocabulary.content, 15)
    assert rest.vocabulary.content == once.vocabulary.content


def test_from_bare_bytes_it_learns_what_byte_bpe_does() -> None:
    from vocabkit.configurations.byte_bpe import fit_byte_bpe
    from vocabkit.configurations.settings import ByteBpeConfig

    data = {
        "vocabulary": {"size": 290, "special": []},
        "pre_tokens": {"pattern": "gpt2"},
        "languages": {"include": ["yor_Latn"]},
    }
    fitted = fit_byte_bpe(SPLIT, validate(ByteBpeConfig, data, "test")).vocabulary
    content = json.loads(fitted.build_backend().to_str())
    pieces = fitted.pieces
    content["model"]["vocab"] = {piece: index for index, piece in enumerate(pieces[:256])}
    content["model"]["merges"] = []
    extended = extend(content, 290 - 256).vocabulary
    assert tuple(extended.pieces[index] for index in range(290)) == pieces


def test_characters_come_first_where_the_base_has_none() -> None:
    fitted = extend(BASES["metaspace"], 30)
    lengths = [len(piece) for piece in new_pieces(fitted)]
    assert len(lengths) == 30
    assert lengths.count(1) > 5
    assert set(lengths[: lengths.count(1)]) == {1}
    plain = extend(BASES["metaspace"], tokens={"new": 5, "characters": False})
    assert all(len(piece) > 1 for piece in new_pieces(plain))


def test_words_in_the_vocabulary_are_taken_whole_where_the_base_says_so() -> None:
    fitted = extend(byte_level_base(ignore_merges=True))
    assert len(new_pieces(fitted)) == 40


@pytest.mark.parametrize("name", BASES)
def test_parts_of_cut_words_are_used_where_the_base_puts_no_space_first(name: str) -> None:
    counts = WordCounts.from_texts({"yor_Latn": ["ab" * 900, "ab" * 900]})
    data = {"tokens": {"new": 1}, "languages": {"include": ["yor_Latn"]}}
    config = validate(ContinuedBpeConfig, data, "test")
    fitted = continue_bpe(counts, config, base=BpeBase("base", BASES[name]))
    left_out = name == "metaspace"
    assert any("left out" in warning for warning in fitted.warnings or ()) == left_out
    tokens = fitted.rows[0]["train_before"]
    assert isinstance(tokens, int)
    assert (tokens < 3_000) == left_out


def test_more_than_the_text_supports_says_how_many() -> None:
    with pytest.raises(FitError, match=r"more than yor_Latn can support") as caught:
        extend(BASES["byte-level"], 50_000)
    possible = int(str(caught.value.hint).split("=")[1].split()[0].replace("_", ""))
    assert len(new_pieces(extend(BASES["byte-level"], possible))) == possible
    table = {"new": 50_000, "allow_fewer": True}
    fewer = extend(BASES["byte-level"], tokens=table)
    assert len(new_pieces(fewer)) == possible
    assert any("fewer tokens" in warning for warning in fewer.warnings or ())


def test_the_folder_keeps_settings_table_and_config(tmp_path: Path) -> None:
    base = BpeBase.read(write_base(BASES["byte-level"], tmp_path / "base"))
    config = validate(ContinuedBpeConfig, {"tokens": {"new": 8}, "base": "x"}, "test")
    fitted = continue_bpe(SPLIT, config, base=base)
    fitted.save(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "tokenizer.json",
        "tokenizer_config.json",
        "vocabulary.parquet",
        "languages.tsv",
        "config.toml",
        "manifest.json",
    }
    assert load_config(ContinuedBpeConfig, tmp_path / "out" / "config.toml") == config


def test_the_preset_is_valid() -> None:
    assert load_config(ContinuedBpeConfig, find_preset("continued-bpe", "fit")).tokens.new == 10_000
