"""The parity search: what it minimises, what it may not do, and that a folder of it can be fitted again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.configurations.test_two_stage import language
from vocabkit.configurations.settings import ParityConfig
from vocabkit.configurations.shared import Fit, fit_parity
from vocabkit.configurations.tokenizer_folder import fit_vocabulary
from vocabkit.core.config import load_config, validate
from vocabkit.core.errors import ConfigError, CorpusError
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.vocabulary import Vocabulary, write_model

LETTERS = {
    "eng_Latn": "bcdfghklmnprstaeiou",
    "ell_Grek": "βγδζθκλμνπρσταειου",
    "kat_Geor": "ბგდვზთკლმნპრაეიოუ",
}
SIZES = {"eng_Latn": 800, "ell_Grek": 120, "kat_Geor": 40}
COUNTS = WordCounts.from_texts({c: language(k, SIZES[c], LETTERS[c]) for k, c in enumerate(LETTERS)})
# Other lines of the same languages.
DEVELOPMENT = {c: language(k, 900, LETTERS[c])[-60:] for k, c in enumerate(LETTERS)}


def configure(**parity: Any) -> ParityConfig:
    return validate(
        ParityConfig,
        {
            "vocabulary": {"size": 260},
            "normalization": {"rule": "identity"},
            "coverage": {"scope": "language", "character": 1.0},
            "languages": {"weighting": "exponent", "exponent": 0.7},
            "parity": {"rounds": 4, **parity},
        },
        "test",
    )


def search(config: ParityConfig, development: dict[str, list[str]] | None = None) -> Fit[Vocabulary]:
    return fit_parity(COUNTS, config, development=development or DEVELOPMENT)


def path(found: Fit[Vocabulary]) -> list[dict[str, Any]]:
    """The rounds of the search, one a row of path.tsv."""
    return [dict(row) for row in found.tables["path"]]


def costs(found: Fit[Vocabulary]) -> dict[object, object]:
    return {row["language"]: row["tokens_per_line"] for row in found.rows}


@pytest.fixture(scope="module")
def found() -> Fit[Vocabulary]:
    return search(configure(max_loss=0.3))


def test_the_worst_cost_less_than_at_the_start(found: Fit[Vocabulary]) -> None:
    rounds = path(found)
    (kept,) = [row["bottom_decile"] for row in rounds if row["kept"]]
    assert kept < rounds[0]["bottom_decile"]
    assert kept == min(row["bottom_decile"] for row in rounds if row["worst_loss"] <= 0.3)
    assert costs(found).keys() == DEVELOPMENT.keys()


def test_costs_are_tokens_a_line_of_the_kept_vocabulary(found: Fit[Vocabulary]) -> None:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=write_model(found.vocabulary))
    for code, lines in DEVELOPMENT.items():
        tokens = sum(map(len, processor.encode(list(lines))))
        assert costs(found)[code] == pytest.approx(tokens / len(lines))


def test_no_language_loses_more_than_allowed() -> None:
    strict = search(configure(max_loss=0.0))
    kept = next(row for row in path(strict) if row["kept"])
    assert kept["worst_loss"] <= 0.0
    assert path(strict)[0]["worst_loss"] == 0.0


def test_the_same_again(found: Fit[Vocabulary]) -> None:
    again = search(configure(max_loss=0.3))
    assert again.vocabulary == found.vocabulary
    assert path(again) == path(found)


def test_oversampling_stays_within_its_limit(found: Fit[Vocabulary]) -> None:
    assert all(row["highest_weight"] <= 8.0 + 1e-9 for row in path(found))


def test_development_text_must_be_aligned() -> None:
    uneven = {**DEVELOPMENT, "kat_Geor": DEVELOPMENT["kat_Geor"][:-1]}
    with pytest.raises(CorpusError, match="kat_Geor 59"):
        search(configure(), uneven)
    with pytest.raises(CorpusError, match="found 1"):
        search(configure(), {"eng_Latn": DEVELOPMENT["eng_Latn"]})


def test_a_language_without_development_text_is_named() -> None:
    two = {code: DEVELOPMENT[code] for code in ("eng_Latn", "ell_Grek")}
    found = search(configure(rounds=1), two)
    assert any("kat_Geor" in line for line in found.warnings or ())


def test_a_folder_tells_how_to_fit_it_again(tmp_path: Path) -> None:
    (tmp_path / "counts").mkdir()
    COUNTS.save(tmp_path / "counts")
    dev = tmp_path / "dev"
    dev.mkdir()
    for code, lines in DEVELOPMENT.items():
        (dev / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    small = ["vocabulary.size=260", "vocabulary.byte_fallback=false"]
    small += ["normalization.rule=identity", "parity.rounds=1"]
    with pytest.raises(ConfigError, match="development corpus"):
        fit_vocabulary("parity-250k", tmp_path / "counts", tmp_path / "out", settings=small)
    given = [*small, f'parity.development="{dev}"']
    first = fit_vocabulary("parity-250k", tmp_path / "counts", tmp_path / "out", settings=given)
    assert (tmp_path / "out" / "path.tsv").read_text(encoding="utf-8").count("\n") == 3
    config = load_config(ParityConfig, tmp_path / "out" / "config.toml")
    assert config == first.config
