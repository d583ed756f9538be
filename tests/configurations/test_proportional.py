"""Configuration (c) from counts to a vocabulary, and the allocation folder, on a few kilobytes of text."""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from tests.configurations.test_shared import TEXTS
from tests.fitting.test_sentencepiece_engine import inflected
from vocabkit.configurations.allocating import allocate_budget
from vocabkit.configurations.proportional import fit_proportional
from vocabkit.configurations.settings import ProportionalConfig
from vocabkit.configurations.shared import Fit, prepare
from vocabkit.core.config import find_preset, load_config, validate
from vocabkit.core.errors import ConfigError, CorpusError, FitError
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary

COUNTS = WordCounts.from_texts(TEXTS, held_out=0.2)
# Saving compiles the charsmap into tokenizer.json, which is slow for nmt_nfkc's 225,276 rules.
PLAIN = {"rule": "identity"}


def configure(**tables: Any) -> ProportionalConfig:
    tables = {
        "vocabulary": {"size": 700, "byte_fallback": True, "reserved": 3},
        "normalization": PLAIN,
        "coverage": {"scope": "language", "character": 0.9999},
        **tables,
    }
    return validate(ProportionalConfig, tables, "test")


def column(fitted: Fit[Vocabulary], name: str) -> list[int]:
    return [int(str(row[name])) for row in fitted.rows]


@pytest.fixture(scope="module")
def fitted() -> Fit[Vocabulary]:
    return fit_proportional(COUNTS, configure())


def test_the_union_is_the_size_exactly(fitted: Fit[Vocabulary]) -> None:
    vocabulary = fitted.vocabulary
    assert vocabulary.size == 700
    assert vocabulary.kinds.count(Kind.NORMAL) == 700 - 264 == sum(column(fitted, "attributed"))
    assert vocabulary.pieces[5:8] == ("<unused0>", "<unused1>", "<unused2>")
    assert (np.diff(vocabulary.scores[264:]) < 0).all()


def test_every_covered_character_is_in_and_every_language_has_its_alphabet(
    fitted: Fit[Vocabulary],
) -> None:
    assert set(prepare(COUNTS, configure()).coverage.required) <= set(fitted.vocabulary.pieces)
    found = zip(column(fitted, "lexicon"), column(fitted, "alphabet"), strict=True)
    assert all(lexicon >= alphabet for lexicon, alphabet in found)


def test_every_piece_can_be_reached(fitted: Fit[Vocabulary]) -> None:
    assert not any("best way" in line for line in fitted.warnings or ())
    scores = dict(zip(fitted.vocabulary.pieces, fitted.vocabulary.scores.tolist(), strict=True))

    def best_split(piece: str) -> float:
        best = [0.0] + [-np.inf] * len(piece)
        for j in range(1, len(piece) + 1):
            for i in range(j):
                part = piece[i:j]
                if part != piece and part in scores:
                    best[j] = max(best[j], best[i] + scores[part])
        return best[-1]

    longer = [p for p in fitted.vocabulary.pieces[264:] if len(p) > 1]
    assert longer
    assert [p for p in longer if best_split(p) >= scores[p]] == []


def test_rows_say_who_got_what(fitted: Fit[Vocabulary]) -> None:
    rows = {row["language"]: row for row in fitted.to_rows()}
    assert sum(int(str(row["attributed"])) for row in rows.values()) == 700 - 264
    assert rows["eng_Latn"]["share"] == rows["eng_Latn"]["allocation_share"]
    assert int(str(rows["eng_Latn"]["lexicon"])) > int(str(rows["swh_Latn"]["lexicon"]))
    assert all(int(str(row["tokens"])) > 0 for row in rows.values())


def test_equal_bytes_whatever_the_order_of_languages() -> None:
    shuffled = list(TEXTS)
    random.Random(3).shuffle(shuffled)
    again = fit_proportional(
        WordCounts.from_texts({code: TEXTS[code] for code in shuffled}, held_out=0.2),
        configure(trainer={"threads": 1}),
    )
    first = fit_proportional(COUNTS, configure(trainer={"threads": 3}))
    assert again.vocabulary.fingerprint == first.vocabulary.fingerprint


def test_a_saved_vocabulary_encodes_its_own_text(fitted: Fit[Vocabulary], tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert Vocabulary.load(tmp_path) == fitted.vocabulary
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    line = TEXTS["swh_Latn"][0]
    assert model.decode(model.encode(line)) == line
    with (tmp_path / "languages.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["language"] for row in rows] == sorted(TEXTS)


def test_vocap_gives_the_small_languages_more(fitted: Fit[Vocabulary]) -> None:
    vocap = fit_proportional(COUNTS, configure(allocation={"method": "vocap"}))
    k = [row["language"] for row in vocap.rows].index("swh_Latn")
    assert column(vocap, "lexicon")[k] > column(fitted, "lexicon")[k]


def test_a_size_that_cannot_be() -> None:
    with pytest.raises(FitError, match=r"can fill [\d_]+ pieces, not 99_736"):
        fit_proportional(COUNTS, configure(vocabulary={"size": 99_741}))
    with pytest.raises(FitError, match="cannot hold"):
        fit_proportional(COUNTS, configure(vocabulary={"size": 40}))


def test_refused_settings() -> None:
    for table, message in (
        ({"vocabulary": {"model": "bpe"}}, "unigram"),
        ({"trainer": {"engine": "sentencepiece"}}, "unigram"),
        ({"vocabulary": {"keep": ["ab"]}}, "keep"),
    ):
        with pytest.raises(ConfigError, match=message):
            configure(**table)


def test_the_preset_is_configuration_c() -> None:
    config = load_config(ProportionalConfig, find_preset("proportional-500k", "fit"))
    other = load_config(ProportionalConfig, find_preset("proportional-500k", "fit"),
                        ["vocabulary.size=4_000"])  # fmt: skip
    assert config.vocabulary.size == 500_000
    assert other.vocabulary.pieces == 4_000 - 261
    assert config.allocation.method == "proportional"
    assert config.coverage.scope == "language"


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counts")
    texts = {"eng_Latn": inflected(1, 300), "swh_Latn": inflected(3, 100)}
    WordCounts.from_texts(texts, held_out=0.2).save(folder)
    return folder


class TestFolder:
    def test_budget_config_and_tables(self, counts: Path, tmp_path: Path) -> None:
        found = allocate_budget(
            counts,
            tmp_path / "out",
            budget=400,
            settings=["normalization.rule=identity", "allocation.method=exponent"],
        )
        assert found.allocation is not None
        assert found.allocation.budget == 400
        with (tmp_path / "out" / "allocation.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["language"] for row in rows] == ["eng_Latn", "swh_Latn"]
        assert sum(int(row["attributed"]) for row in rows) == 400
        assert found.baseline == "proportional to characters"
        with (tmp_path / "out" / "pieces.csv").open(encoding="utf-8", newline="") as file:
            pieces = list(csv.DictReader(file))
        owned = [row["language"] for row in pieces].count("swh_Latn")
        assert owned == int(rows[1]["attributed"])
        assert len({row["piece"] for row in pieces}) == 400
        written = load_config(ProportionalConfig, tmp_path / "out" / "config.toml")
        assert written == found.config
        assert written.vocabulary.pieces == 400
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["details"]["budget"] == 400
        assert "curves.csv" in manifest["outputs"]

    def test_the_plot_is_the_same_file_twice(self, counts: Path, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        settings = ["normalization.rule=identity"]
        for name in ("a", "b"):
            allocate_budget(counts, tmp_path / name, budget=300, settings=settings)
        svg = (tmp_path / "a" / "curves.svg").read_bytes()
        assert svg == (tmp_path / "b" / "curves.svg").read_bytes()
        assert b"eng_Latn" in svg or b"<svg" in svg

    def test_without_matplotlib_there_is_a_note_and_no_plot(
        self, counts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # None in sys.modules is how Python marks a module that cannot be imported.
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        found = allocate_budget(
            counts,
            tmp_path / "out",
            budget=300,
            settings=["normalization.rule=identity"],
        )
        assert any("vocabkit[plots]" in line for line in found.warnings)
        assert not (tmp_path / "out" / "curves.svg").exists()
        assert (tmp_path / "out" / "curves.csv").is_file()

    def test_parity_needs_and_uses_aligned_text(self, counts: Path, tmp_path: Path) -> None:
        dev = tmp_path / "dev"
        dev.mkdir()
        for code, seed in (("eng_Latn", 1), ("swh_Latn", 3)):
            lines = inflected(seed, 120)
            (dev / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        settings = [
            "normalization.rule=identity",
            "allocation.method=parity",
            f"allocation.dev={json.dumps(str(dev))}",
        ]
        found = allocate_budget(counts, tmp_path / "out", budget=300, settings=settings)
        costs = [float(str(row["cost"])) for row in found.rows]
        before = [float(str(row["cost_before"])) for row in found.rows]
        assert {row["unit"] for row in found.rows} == {"tokens per line"}
        assert {row["measured"] for row in found.rows} == {"development"}
        assert abs(costs[0] - costs[1]) < abs(before[0] - before[1])
        (dev / "swh_Latn.txt").unlink()
        with pytest.raises(CorpusError, match="swh_Latn"):
            allocate_budget(counts, tmp_path / "no", budget=300, settings=settings)
        assert not (tmp_path / "no").exists()
