"""Byte-level BPE from counts: the file encodes text as the counts said, and settings do what they say."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.fitting.merges import train_peer
from vocabkit.configurations.byte_bpe import NOT_COUNTED, _merge_spaces, fit_byte_bpe
from vocabkit.configurations.settings import ByteBpeConfig
from vocabkit.configurations.shared import Fit
from vocabkit.core.config import find_preset, load_config, validate
from vocabkit.core.errors import ConfigError, CountsError, FitError
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.pre_tokens import BYTE_ORDER, find_patterns
from vocabkit.vocabulary.byte_level import ByteLevelVocabulary

TEXTS = {
    "eng_Latn": [
        "The quick brown fox's 12345 tails jump over the lazy dogs, and the foxes watch them.",
        "They said: «don't go there», although 3.14 people had been there before them.",
    ]
    * 8,
    "yor_Latn": [
        "Ó ní òun fẹ́ ra ọ̀pọ̀lọpọ̀ ẹ̀wà ní ọjà Ọ̀yọ́, ṣùgbọ́n kò sí owó.",
        "Àwọn ọmọdé ń kọ́ ẹ̀kọ́ ní ilé-ìwé.",
        "Ọmọdé kan ra ẹ̀wà ní ọjà.",
    ]
    * 3,
}
COUNTS = WordCounts.from_texts(TEXTS)
SPLIT = WordCounts.from_texts(
    {code: [f"{line} {place}" for place, line in enumerate(lines)] for code, lines in TEXTS.items()},
    held_out=0.4,
)


def fit(counts: WordCounts = COUNTS, size: int = 400, **tables: object) -> Fit[ByteLevelVocabulary]:
    data = {"vocabulary": {"size": size}, **tables}
    return fit_byte_bpe(counts, validate(ByteBpeConfig, data, "test"))


def encode_all(folder: Path, texts: list[str]) -> int:
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    lines = [" " + " ".join(text.split()) for text in texts]
    return sum(len(found.ids) for found in backend.encode_batch(lines, add_special_tokens=False))


@pytest.mark.parametrize("pattern", ["gpt2", "o200k", "llama3", "whitespace", "deepseek-v3"])
def test_merges_equal_those_of_tokenizers_trainer_on_the_text(pattern: str) -> None:
    fitted = fit(pre_tokens={"pattern": pattern})
    lines = [" " + line for lines in TEXTS.values() for line in lines]
    merges, vocabulary = train_peer(lines, find_patterns(pattern), 400, 2, fitted.vocabulary.special)
    pieces = fitted.vocabulary.pieces
    assert [(pieces[left], pieces[right]) for left, right in fitted.vocabulary.merges] == merges
    assert {piece: index for index, piece in enumerate(pieces)} == vocabulary


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"languages": {"weighting": "exponent", "exponent": 0.0}},
        {"merging": {"method": "parity"}},
        {"merging": {"method": "parity", "shared_merges": 20, "unit": "lines", "window": 0}},
    ],
)
def test_tokens_reported_are_those_of_the_file(tables: dict[str, object], tmp_path: Path) -> None:
    fitted = fit(SPLIT, 360, **tables)
    fitted.save(tmp_path)
    assert fitted.vocabulary.size == 360
    everything = sum(
        encode_all(tmp_path, [f"{t} {i}" for i, t in enumerate(lines)]) for lines in TEXTS.values()
    )
    rows = fitted.to_rows()
    assert everything == sum(int(str(row["tokens"])) + int(str(row["held_out_tokens"])) for row in rows)
    for row in rows:
        assert fitted.usage[str(row["language"])].sum() == row["tokens"]
    assert load_config(ByteBpeConfig, tmp_path / "config.toml") == fitted.config


def test_weights_move_tokens_to_the_smaller_language() -> None:
    natural, balanced = (
        {
            str(row["language"]): int(str(row["tokens"]))
            for row in fit(size=340, languages={"weighting": weighting}).rows
        }
        for weighting in ("natural", "uniform")
    )
    assert balanced["yor_Latn"] < natural["yor_Latn"]
    assert balanced["eng_Latn"] > natural["eng_Latn"]


def test_parity_brings_languages_closer() -> None:
    def spread(**tables: object) -> float:
        rows = fit(SPLIT, 360, **tables).rows
        costs = [float(str(row["held_out_tokens_per_word"])) for row in rows]
        return max(costs) / min(costs)

    assert spread(merging={"method": "parity"}) < spread()


def test_parity_reads_development_text_from_elsewhere(tmp_path: Path) -> None:
    SPLIT.save(tmp_path)
    table = {"method": "parity", "development": str(tmp_path), "unit": "lines"}
    rows = fit(COUNTS, 360, merging=table).rows
    assert sum(int(str(row["merges_chosen"])) for row in rows) == 360 - 259


def test_parity_without_development_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="no development text in eng_Latn, yor_Latn"):
        fit(merging={"method": "parity"})


def test_a_size_beyond_the_text_says_how_many_there_are() -> None:
    with pytest.raises(FitError) as caught:
        fit(size=50_000)
    possible = int(str(caught.value.hint).split("=")[1].split()[0].replace("_", ""))
    assert fit(size=possible).vocabulary.size == possible
    fewer = fit_byte_bpe(
        COUNTS,
        validate(ByteBpeConfig, {"vocabulary": {"size": 50_000, "allow_fewer": True}}, "test"),
    )
    assert fewer.vocabulary.size == possible
    assert any("fewer tokens" in warning for warning in fewer.warnings or ())


def test_runs_of_spaces_are_tokens_only_where_asked(tmp_path: Path) -> None:
    assert NOT_COUNTED in (fit().warnings or ())
    assert not any(b"  " in token for token in fit().vocabulary.tokens)
    data = {"vocabulary": {"size": 400, "space_runs": 9}}
    fitted = fit_byte_bpe(COUNTS, validate(ByteBpeConfig, data, "test"))
    assert fitted.vocabulary.size == 400
    fitted.save(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for length in range(1, 10):
        assert backend.encode(" " * length).tokens == ["Ġ" * length]


@pytest.mark.parametrize("longest", [0, 1, 2, 7, 16, 33])
def test_every_run_up_to_the_longest_is_one_token(longest: int) -> None:
    merges, tokens = _merge_spaces(0, 256, longest)
    assert sorted(map(len, tokens)) == list(range(2, longest + 1))
    ids = {pair: 256 + place for place, pair in enumerate(merges)}
    for length in range(1, longest + 1):
        row = [BYTE_ORDER.index(b" ")] * length
        while pairs := [p for p in itertools.pairwise(row) if p in ids]:
            best = min(pairs, key=lambda pair: ids[pair])
            place = list(itertools.pairwise(row)).index(best)
            row[place : place + 2] = [ids[best]]
        assert len(row) == 1


def test_languages_not_counted_are_named() -> None:
    with pytest.raises(CountsError, match="hau_Latn"):
        fit(languages={"include": ["hau_Latn"]})


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"pre_tokens": {"pattern": "nope"}}, "no such pattern"),
        ({"vocabulary": {"size": 258}}, "leaves no merge"),
        ({"vocabulary": {"special": ["<a>", "<a>"]}}, "twice"),
        ({"merging": {"shared_merges": 5}}, "need method"),
        (
            {"merging": {"method": "parity"}, "languages": {"weighting": "uniform"}},
            "one language at a time",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(tables: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(ByteBpeConfig, tables, "test")


def test_the_preset_is_valid() -> None:
    config = load_config(ByteBpeConfig, find_preset("byte-bpe", "fit"))
    assert config.vocabulary.size == 128_256
