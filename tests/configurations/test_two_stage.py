"""Configuration (d): what is promised of ids, blocks, scores and routes, on small made-up languages."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tokenizers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from tests.fitting.test_sentencepiece_engine import MULTISCRIPT
from vocabkit.configurations.settings import TwoStageConfig
from vocabkit.configurations.shared import Fit, fit_shared
from vocabkit.configurations.two_stage import (
    BlockBase,
    _describe_base,
    _estimate_total,
    choose_tail,
    fit_two_stage,
    read_base,
)
from vocabkit.core.config import validate
from vocabkit.core.errors import ConfigError, CountsError, FitError, TokenizerError
from vocabkit.corpus.normalization import load_normalizer
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import count_usage
from vocabkit.vocabulary.vocabulary import (
    Block,
    Kind,
    Vocabulary,
    assemble_vocabulary,
    block_languages,
    route_vocabulary,
    write_model,
)

TAIL = ("yor_Latn", "ibo_Latn", "amh_Ethi")


def language(seed: int, lines: int, letters: str) -> list[str]:
    """Return text of a made-up language with Zipfian stems and endings over its own letters."""
    draw = np.random.default_rng(seed)
    consonants, vowels = letters[:-5], letters[-5:]
    syllables = [c + v for c in consonants for v in vowels]
    stems = ["".join(draw.choice(syllables, draw.integers(2, 5))) for _ in range(400)]
    endings = ["", *("".join(draw.choice(syllables, 1)) for _ in range(20))]
    return [
        " ".join(
            stems[min(int(draw.pareto(1.0) * 8), 399)] + endings[min(int(draw.pareto(1.0) * 2), 20)]
            for _ in range(12)
        )
        for _ in range(lines)
    ]


TEXTS = {
    "eng_Latn": language(1, 900, "bcdfghklmnprstaeiou"),
    "amh_Ethi": language(2, 60, "በተነለሀሁሂሃሄ"),
    "ibo_Latn": language(3, 60, "bcdgkmnptaeiọu"),
    # Shares a third of its text with Igbo, so that both want the same pieces.
    "yor_Latn": [*language(4, 40, "bcdgkmnptaeiọu"), *language(3, 20, "bcdgkmnptaeiọu")],
}
COUNTS = WordCounts.from_texts(TEXTS)


def configure(**tables: Any) -> TwoStageConfig:
    tables.setdefault("tail", {})
    tables["tail"] = {"size": 60, "languages": list(TAIL), **tables["tail"]}
    tables.setdefault("vocabulary", {"size": 200})
    return validate(
        TwoStageConfig,
        {"normalization": {"rule": "identity"}, "coverage": {"character": 1.0}, **tables},
        "test",
    )


CONFIG = configure()


@pytest.fixture(scope="module")
def base() -> BlockBase:
    fitted = fit_shared(COUNTS, CONFIG)
    weights = {str(row["language"]): float(str(row["weight"])) for row in fitted.rows}
    return _describe_base(fitted.vocabulary, "test", weights, COUNTS.fingerprint)


@pytest.fixture(scope="module")
def fitted(base: BlockBase) -> Fit[Vocabulary]:
    return fit_two_stage(COUNTS, CONFIG, base=base)


def block_rows(fitted: Fit[Vocabulary]) -> list[dict[str, Any]]:
    return [dict(row) for row in fitted.tables["blocks"]]


def encode(vocabulary: Vocabulary, lines: Sequence[str]) -> list[list[int]]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=write_model(vocabulary))
    found: list[list[int]] = processor.encode(list(lines))
    return found


def test_the_shared_vocabulary_stays_as_it_was(base: BlockBase, fitted: Fit[Vocabulary]) -> None:
    size = base.vocabulary.size
    assert fitted.vocabulary.pieces[:size] == base.vocabulary.pieces
    assert fitted.vocabulary.scores[:size].tobytes() == base.vocabulary.scores.tobytes()
    assert fitted.vocabulary.kinds[:size] == base.vocabulary.kinds


def test_blocks_follow_in_order_with_exact_sizes(base: BlockBase, fitted: Fit[Vocabulary]) -> None:
    blocks = fitted.vocabulary.blocks
    assert [block.name for block in blocks] == ["shared", *TAIL]
    assert [block.stop - block.start for block in blocks[1:]] == [60, 60, 60]
    assert blocks[-1].stop == fitted.vocabulary.size == base.vocabulary.size + 180
    # Pieces are distinct (Vocabulary refuses others), though two languages wanted the same.
    assert sum(row["contested"] for row in block_rows(fitted)) > 0


def test_pieces_have_their_evidence_in_the_language_itself(fitted: Fit[Vocabulary]) -> None:
    for block in fitted.vocabulary.blocks[1:]:
        rows: list[tuple[str, int]] = []
        table = COUNTS.languages[block.name].train
        for word, count in zip(table.words, table.count.tolist(), strict=True):
            rows.append(("▁" + word, count))
        for piece in fitted.vocabulary.pieces[block.start : block.stop]:
            assert sum(count * word.count(piece) for word, count in rows) >= 2, piece


def test_new_pieces_are_used_and_shorten_their_language(base: BlockBase, fitted: Fit[Vocabulary]) -> None:
    for block in fitted.vocabulary.blocks[1:]:
        lines = TEXTS[block.name]
        before = sum(map(len, encode(base.vocabulary, lines)))
        routed = encode(route_vocabulary(fitted.vocabulary, block.name), lines)
        assert sum(map(len, routed)) < 0.95 * before
        used = {i for ids in routed for i in ids if i >= base.vocabulary.size}
        assert used <= set(range(block.start, block.stop))
        assert len(used) > 40


def test_the_scale_is_that_of_a_fit_of_all(base: BlockBase, fitted: Fit[Vocabulary]) -> None:
    # A piece's score is log(its count ÷ the tokens that the base needs for all text).
    tables = derive_spans(COUNTS, "identity").languages
    total = sum(float(used.sum()) for used in count_usage(base.vocabulary, tables).values())
    used = fitted.usage
    for block in fitted.vocabulary.blocks[1:]:
        ids = np.arange(block.start, block.stop)
        count = used[block.name][ids]
        often = ids[count >= 6]
        assert len(often)
        expected = np.log(used[block.name][often] / total)
        assert abs(float((fitted.vocabulary.scores[often] - expected).mean())) < 0.3


def test_scores_are_distinct(fitted: Fit[Vocabulary]) -> None:
    normal = [i for i, kind in enumerate(fitted.vocabulary.kinds) if kind is Kind.NORMAL]
    assert len(set(fitted.vocabulary.scores[normal].tolist())) == len(normal)


def test_interference_is_measured_on_words(base: BlockBase, fitted: Fit[Vocabulary]) -> None:
    rows: dict[str, dict[str, Any]] = {str(row["language"]): row for row in fitted.to_rows()}
    assert set(rows) == set(TEXTS)
    english = rows["eng_Latn"]
    assert english["routed_tokens"] is None
    table = COUNTS.languages["eng_Latn"].split(english["split"])
    tokens = [len(ids) for ids in encode(fitted.vocabulary, list(table.words))]
    assert english["union_tokens"] == int(np.array(tokens) @ table.count)
    assert rows["yor_Latn"]["routed_tokens"] is not None
    assert 0.9 < rows["yor_Latn"]["english_routed"] < 1.1


def test_the_same_whatever_the_threads(base: BlockBase, fitted: Fit[Vocabulary]) -> None:
    for threads in (1, 3):
        other = fit_two_stage(COUNTS, configure(trainer={"threads": threads}), base=base)
        assert other.vocabulary == fitted.vocabulary


def test_a_block_that_cannot_be_filled_is_an_error_that_says_how_far(base: BlockBase) -> None:
    large = configure(tail={"size": 5_000})
    with pytest.raises(FitError, match=r"tail.size = 5_000 .*amh_Ethi \d") as caught:
        fit_two_stage(COUNTS, large, base=base)
    assert "allow_fewer" in (caught.value.hint or "")
    fewer = fit_two_stage(COUNTS, configure(tail={"size": 5_000, "allow_fewer": True}), base=base)
    assert all(row["data_limited"] and 60 < row["pieces"] < 5_000 for row in block_rows(fewer))
    assert any("want of text" in line for line in fewer.warnings or ())


def test_the_folder_loads_with_its_blocks_and_routes(fitted: Fit[Vocabulary], tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = Vocabulary.load(tmp_path)
    assert again == fitted.vocabulary
    assert block_languages(again) == TAIL
    header, *rows = (tmp_path / "blocks.tsv").read_text(encoding="utf-8").splitlines()
    assert header.split("\t")[:3] == ["language", "start", "pieces"]
    assert [row.split("\t")[1] for row in rows] == [str(b.start) for b in again.blocks[1:]]
    routed = route_vocabulary(again, "yor")
    routed.save(tmp_path / "yor")
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "yor" / "tokenizer.json"))
    for lines in (TEXTS["yor_Latn"][:20], TEXTS["ibo_Latn"][:20], TEXTS["eng_Latn"][:20]):
        ids = [backend.encode(line, add_special_tokens=False).ids for line in lines]
        assert ids == encode(routed, lines)


def test_a_language_without_a_block_sees_the_shared_pieces(base: BlockBase, fitted: Fit[Vocabulary]) -> None:
    routed = route_vocabulary(fitted.vocabulary, "eng_Latn")
    assert encode(routed, TEXTS["eng_Latn"]) == encode(base.vocabulary, TEXTS["eng_Latn"])
    assert route_vocabulary(base.vocabulary, "eng_Latn") is base.vocabulary
    with pytest.raises(TokenizerError, match="no language blocks"):
        block_languages(base.vocabulary)


def test_the_scale_is_of_all_languages_whichever_are_fitted(base: BlockBase, fitted: Fit[Vocabulary]) -> None:
    fewer = configure(languages={"include": ["eng"]}, tail={"languages": ["amh"]})
    other = fit_two_stage(COUNTS, fewer, base=base)
    assert block_rows(other)[0]["total"] == block_rows(fitted)[2]["total"]
    assert set(other.usage) == {"amh_Ethi", "eng_Latn"}


class TestOtherBases:
    def test_any_unigram_model_serves(self, base: BlockBase, fitted: Fit[Vocabulary], tmp_path: Path) -> None:
        path = tmp_path / "their.model"
        path.write_bytes(write_model(base.vocabulary))
        read = read_base(path)
        assert read.weights == {}
        amharic = configure(tail={"languages": ["amh"]})
        other = fit_two_stage(COUNTS, amharic, base=read)
        assert other.vocabulary.pieces[: base.vocabulary.size] == base.vocabulary.pieces
        # Its total is estimated from the pieces that only Amharic uses: about that of the counts themselves.
        ours = next(row for row in block_rows(fitted) if row["language"] == "amh_Ethi")
        assert block_rows(other)[0]["total"] == pytest.approx(ours["total"], rel=0.3)

    def test_the_estimate_finds_the_total_of_pieces_of_one_language(self, base: BlockBase) -> None:
        scores = base.vocabulary.scores
        used = np.zeros(base.vocabulary.size, np.int64)
        normal = np.array([kind is Kind.NORMAL for kind in base.vocabulary.kinds])
        used[normal] = np.rint(np.exp(scores[normal].astype(float)) * 1e6)
        assert _estimate_total(base.vocabulary, used) == pytest.approx(1e6, rel=0.1)
        with pytest.raises(TokenizerError, match="five times"):
            _estimate_total(base.vocabulary, np.zeros_like(used))

    def test_bpe_is_refused(self, tmp_path: Path) -> None:
        import io

        output = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(MULTISCRIPT),
            model_writer=output,
            model_type="bpe",
            vocab_size=400,
            minloglevel=3,
        )
        path = tmp_path / "bpe.model"
        path.write_bytes(output.getvalue())
        with pytest.raises(TokenizerError, match="a bpe vocabulary cannot be the base"):
            read_base(path)
        with pytest.raises(ConfigError, match="no such"):
            read_base(tmp_path / "absent")


def test_tail_languages_come_from_the_panel_unless_named() -> None:
    assert choose_tail(COUNTS.languages, configure(tail={"languages": ["yor", "amh_Ethi"]}), "there") == (
        "yor_Latn",
        "amh_Ethi",
    )
    with pytest.raises(CountsError, match="sin_Sinh"):
        choose_tail(COUNTS.languages, configure(tail={"languages": []}), "there")


# --- Letters ---------------------------------------------------------------------------------------
# English is most of the text, so that a global coverage cuts letters of the others: ቀ of Amharic, digits of
# Sorani, and ẹ, which Yoruba and Igbo both need here. What a language needs is found again by the rule itself.

LETTERED = {
    "eng_Latn": TEXTS["eng_Latn"],
    "amh_Ethi": [*language(5, 30, "በተነለሀሁሂሃሄ"), "ቀበ ቀተ ጠበ", "ቀነ ጠ"],
    "ckb_Arab": [*language(6, 30, "بتنلمكراويە"), "٣٤ ٣ ٤٤٥", "نا٥ ٦", "ئا ئێ ێ"],
    "ibo_Latn": [*language(7, 30, "bcdgkmnptaeiou"), "kẹ bẹ", "ǹ ǹke"],
    "yor_Latn": [*language(8, 30, "bcdgkmnptaeiou"), "kẹ́ bẹ́ dẹ", "gb\u0300o b\u0300o x\u0323"],
}
LACKING = WordCounts.from_texts(LETTERED)
LETTERED_TAIL = ("amh_Ethi", "ckb_Arab", "ibo_Latn", "yor_Latn")


def configure_lacking(**tables: Any) -> TwoStageConfig:
    tail = {"size": 40, "languages": list(LETTERED_TAIL), "allow_fewer": True, **tables.pop("tail", {})}
    return configure(**{"coverage": {"character": 0.97}, "vocabulary": {"size": 150}, **tables}, tail=tail)


def needed_letters(code: str, rule: str = "identity", counts: WordCounts = LACKING) -> dict[str, int]:
    """What a language cannot do without: by falling count, until 0.99999 of it is there, and met twice."""
    normalizer = load_normalizer(rule)
    table = counts.languages[code].train
    seen: Counter[str] = Counter()
    for word, count in zip(table.words, table.count.tolist(), strict=True):
        for part in normalizer.normalize(word).split():
            seen.update(dict.fromkeys("▁" + part, 0))
            for character in "▁" + part:
                seen[character] += count
    total, reached, found = sum(seen.values()), 0, {}
    for character, count in sorted(seen.items(), key=lambda item: (-item[1], item[0])):
        if np.float32(reached / total) >= np.float32(0.99999):
            break
        reached += count
        if count >= 2:
            found[character] = count
    return found


def open_views(folder: Path, code: str) -> Iterator[tuple[str, Any]]:
    """Yield a function from text to its unknown ids, for each file and view of a saved fit."""
    for view in (folder, folder / "routed" / code):
        model = sentencepiece.SentencePieceProcessor(model_file=str(view / "tokenizer.model"))
        backend = tokenizers.Tokenizer.from_file(str(view / "tokenizer.json"))
        unknown = backend.token_to_id("<unk>")
        yield (
            f"{view.name}/model",
            lambda text, m=model: [i for i in m.encode(text) if m.is_unknown(i)],
        )
        yield (
            f"{view.name}/json",
            lambda text, b=backend, u=unknown: [
                i for i in b.encode(text, add_special_tokens=False).ids if i == u
            ],
        )


@pytest.fixture(scope="module")
def lacking() -> BlockBase:
    fitted = fit_shared(LACKING, configure_lacking())
    weights = {str(row["language"]): float(str(row["weight"])) for row in fitted.rows}
    return _describe_base(fitted.vocabulary, "test", weights, LACKING.fingerprint)


@pytest.fixture(scope="module")
def lettered(lacking: BlockBase) -> Fit[Vocabulary]:
    return fit_two_stage(LACKING, configure_lacking(), base=lacking)


def letters_of(vocabulary: Vocabulary) -> dict[str, list[str]]:
    return {
        block.name: [p for p in vocabulary.pieces[block.start : block.stop] if len(p) == 1]
        for block in vocabulary.blocks
    }


class TestLetters:
    def test_blocks_begin_with_what_the_base_lacks(self, lacking: BlockBase, lettered: Fit[Vocabulary]) -> None:
        base, vocabulary = lacking.vocabulary, lettered.vocabulary
        assert vocabulary.pieces[: base.size] == base.pieces
        assert vocabulary.scores[: base.size].tobytes() == base.scores.tobytes()
        found = letters_of(vocabulary)
        wanted = {code: set(needed_letters(code)) - set(base.pieces) for code in LETTERED_TAIL}
        assert all(wanted.values())
        assert "ẹ" in wanted["ibo_Latn"] & wanted["yor_Latn"]
        assert {"٣", "٤", "٥"} <= wanted["ckb_Arab"]
        # Each is in one block, of a language that needs it.
        assert sorted(c for code in LETTERED_TAIL for c in found[code]) == sorted(set().union(*wanted.values()))
        for block in vocabulary.blocks[1:]:
            letters = found[block.name]
            assert set(letters) <= wanted[block.name]
            assert list(vocabulary.pieces[block.start : block.start + len(letters)]) == letters
            assert block.stop - block.start <= 40

    def test_a_letter_of_two_languages_goes_to_the_larger_count(self, lettered: Fit[Vocabulary]) -> None:
        share = {code: needed_letters(code)["ẹ"] for code in ("ibo_Latn", "yor_Latn")}
        assert share["yor_Latn"] > share["ibo_Latn"]
        assert "ẹ" in letters_of(lettered.vocabulary)["yor_Latn"]

    def test_no_needed_letter_is_unknown_in_any_file_or_view(
        self, lettered: Fit[Vocabulary], tmp_path: Path
    ) -> None:
        lettered.save(tmp_path / "tok", routed=LETTERED_TAIL)
        for code in LETTERED_TAIL:
            for name, find_unknown in open_views(tmp_path / "tok", code):
                for letter in needed_letters(code):
                    assert find_unknown(f"{letter} b{letter}{letter}") == [], (code, name, letter)
        # The files agree on the text, in a language's own view too.
        for code in LETTERED_TAIL:
            routed = Vocabulary.load(tmp_path / "tok" / "routed" / code)
            backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tok" / "routed" / code / "tokenizer.json"))
            ids = [backend.encode(line, add_special_tokens=False).ids for line in LETTERED[code]]
            assert ids == encode(routed, LETTERED[code])

    def test_english_is_encoded_as_before(self, lacking: BlockBase, lettered: Fit[Vocabulary]) -> None:
        plain = encode(lacking.vocabulary, LETTERED["eng_Latn"])
        assert encode(route_vocabulary(lettered.vocabulary, "eng_Latn"), LETTERED["eng_Latn"]) == plain

    def test_the_tables_say_how_many_and_what_is_still_lost(
        self, lettered: Fit[Vocabulary], lacking: BlockBase, tmp_path: Path
    ) -> None:
        found = letters_of(lettered.vocabulary)
        for table in (lettered.to_rows(), block_rows(lettered)):
            told = {str(row["language"]): row["letters"] for row in table}
            assert {code: told[code] for code in LETTERED_TAIL} == {c: len(found[c]) for c in LETTERED_TAIL}
        lettered.save(tmp_path / "tok")
        with (tmp_path / "tok" / "letters.tsv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        listed = {(row["language"], row["character"]): (int(row["count"]), row["block"]) for row in rows}
        for code in LETTERED_TAIL:
            for letter in set(needed_letters(code)) - set(lacking.vocabulary.pieces):
                count, block = listed[code, letter]
                assert count == needed_letters(code)[letter]
                assert letter in found[block]
        assert len(listed) == len(rows)
        # What no block holds is met once, and in the table of what is lost.
        known = set(lettered.vocabulary.pieces)
        lost = {str(row["character"]) for row in lettered.tables["cut_characters"]}
        assert lost == {c for code in LETTERED for c in needed_or_not(code)} - known
        assert all(int(str(row["count"])) == 1 for row in lettered.tables["cut_characters"])

    def test_languages_without_a_block_are_told_what_they_lose(self, lacking: BlockBase) -> None:
        fitted = fit_two_stage(LACKING, configure_lacking(tail={"languages": ["yor"]}), base=lacking)
        (said,) = [line for line in fitted.warnings or () if line.startswith("letters")]
        known = set(fitted.vocabulary.pieces)
        for code in ("amh_Ethi", "ckb_Arab"):
            assert f"{code} {len(set(needed_letters(code)) - known)} (" in said
        assert "yor_Latn" not in said
        assert "coverage.scope=language" in said
        shares = {str(row["language"]): row["cut_share"] for row in fitted.to_rows()}
        assert shares["eng_Latn"] == 0.0
        assert float(str(shares["ckb_Arab"])) > 0.001

    def test_a_block_too_small_for_its_letters_is_an_error(self, lacking: BlockBase) -> None:
        amharic = len(set(needed_letters("amh_Ethi")) - set(lacking.vocabulary.pieces))
        small = configure_lacking(tail={"size": amharic - 1, "languages": ["amh"]})
        with pytest.raises(
            FitError, match=rf"tail.size = {amharic - 1} cannot hold .*amh_Ethi {amharic}"
        ) as caught:
            fit_two_stage(LACKING, small, base=lacking)
        assert f"--set tail.size={amharic}  # or a base" in (caught.value.hint or "")
        exact = configure_lacking(tail={"size": amharic, "languages": ["amh"]})
        block = fit_two_stage(LACKING, exact, base=lacking).vocabulary.blocks[1]
        assert block.stop - block.start == amharic

    def test_letters_need_two_occurrences_whatever_pieces_need(self, lacking: BlockBase) -> None:
        strict = configure_lacking(tail={"min_count": 9, "tiers": [9]})
        fitted = fit_two_stage(LACKING, strict, base=lacking)
        known = set(fitted.vocabulary.pieces)
        assert all(set(needed_letters(code)) <= known for code in LETTERED_TAIL)

    def test_a_rare_digit_counts_as_well(self, lacking: BlockBase) -> None:
        # 0.99999 of half a million characters leaves out what is met twice; it is still one in ten million.
        grown = WordCounts.from_texts({"ckb_Arab": language(6, 60, "بتنلمكراويە")})
        for _ in range(6):
            grown = grown + grown
        counts = WordCounts.from_texts({**LETTERED, "ckb_Arab": ["٩ ٩ ٨"]}) + grown
        strict = needed_letters("ckb_Arab", counts=counts)
        assert "٩" not in strict
        fitted = fit_two_stage(counts, configure_lacking(tail={"languages": ["ckb"]}), base=lacking)
        assert "٩" in letters_of(fitted.vocabulary)["ckb_Arab"]
        assert "٨" not in fitted.vocabulary.pieces

    def test_a_base_with_bytes_gets_letters_too(self) -> None:
        config = configure_lacking(vocabulary={"size": 420, "byte_fallback": True})
        fitted = fit_two_stage(LACKING, config)
        assert set(letters_of(fitted.vocabulary)["ckb_Arab"]) >= {"٣", "٤", "٥"}
        # In its own view a letter is one token; in another's, three bytes, and nothing is lost.
        for code, fewer in (("ckb_Arab", True), ("amh_Ethi", False)):
            routed = route_vocabulary(fitted.vocabulary, code)
            (ids,) = encode(routed, ["٣٤"])
            assert (len(ids) <= 3) is fewer
            assert fitted.vocabulary.id_of("<unk>") not in ids

    @pytest.mark.parametrize("seed", range(4))
    def test_any_text_any_base(self, seed: int) -> None:
        """Whatever letters languages share and a base lacks, each needed one is written in each view."""
        draw = np.random.default_rng(seed)
        pools = "abcdefghi", "ἀἁἂἃἄἅἆἇ", "кгдежзий", "가각간갇갈갉", "\u0300\u0301\u0323\u0308e", "٠١٢٣٤٥٦٧"
        texts: dict[str, list[str]] = {}
        for code in ("eng_Latn", *LETTERED_TAIL):
            pool = "".join(pools[k] for k in draw.choice(len(pools), 3, replace=False)) + "aeo"
            weights = draw.dirichlet(np.full(len(pool), 0.3))
            words = ["".join(draw.choice(list(pool), draw.integers(1, 6), p=weights)) for _ in range(150)]
            texts[code] = [" ".join(draw.choice(words, 12)) for _ in range(20)]
        counts = WordCounts.from_texts(texts)
        rule = ("identity", "nmt_nfkc", "nfc", "nfkc")[seed]
        seen = sorted(set("".join(line for lines in texts.values() for line in lines)) - {" "})
        pieces = ["▁", "▁a", *draw.choice(seen, len(seen) // 2, replace=False)]
        scores = -3.0 - np.arange(len(pieces), dtype=np.float32)
        known = assemble_vocabulary(pieces, scores, "unigram", load_normalizer(rule))
        base = _describe_base(known, "theirs", {}, "")
        fitted = fit_two_stage(counts, configure_lacking(), base=base)
        for code in LETTERED_TAIL:
            for view in (fitted.vocabulary, route_vocabulary(fitted.vocabulary, code)):
                processor = sentencepiece.SentencePieceProcessor(model_proto=write_model(view))
                for line in texts[code]:
                    pairs = zip(processor.encode(line, out_type=str), processor.encode(line), strict=True)
                    lost = set("".join(p for p, i in pairs if processor.is_unknown(i)))
                    assert lost.isdisjoint(needed_letters(code, rule, counts)), (code, line)


def needed_or_not(code: str) -> set[str]:
    return {character for line in LETTERED[code] for character in line if character != " "} | {"▁"}


class TestLettersOfOtherBases:
    def test_a_base_from_a_file(self, lacking: BlockBase, tmp_path: Path) -> None:
        path = tmp_path / "their.model"
        path.write_bytes(write_model(lacking.vocabulary))
        fitted = fit_two_stage(LACKING, configure_lacking(), base=read_base(path))
        known = set(fitted.vocabulary.pieces)
        assert all(set(needed_letters(code)) <= known for code in LETTERED_TAIL)

    def test_a_base_from_a_tokenizer_json(self, lacking: BlockBase, tmp_path: Path) -> None:
        # As transformers converts a unigram .model: ids as they stand, a special token behind the pieces.
        known = lacking.vocabulary
        listed = list(zip(known.pieces, known.scores.tolist(), strict=True))
        backend = tokenizers.Tokenizer(tokenizers.models.Unigram(listed, known.roles.unknown, False))
        charsmap = load_normalizer("nmt_nfkc").charsmap
        backend.normalizer = tokenizers.normalizers.Sequence([
            tokenizers.normalizers.Precompiled(charsmap),
            tokenizers.normalizers.Replace(tokenizers.Regex(" {2,}"), " "),
        ])  # fmt: skip
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace("▁", prepend_scheme="always")
        names = ["<s>", "<pad>", "</s>", "<unk>", "<extra>"]
        backend.add_special_tokens([tokenizers.AddedToken(n, normalized=False) for n in names])
        path = tmp_path / "tokenizer.json"
        backend.save(str(path))
        read = read_base(path)
        assert read.rule == "nmt_nfkc"
        size = backend.get_vocab_size()
        assert [backend.id_to_token(i) for i in range(size)] == list(read.vocabulary.pieces)
        for code, lines in LETTERED.items():
            theirs = [backend.encode(line, add_special_tokens=False).ids for line in lines]
            # Precompiled walks graphemes, so a line with marks may differ.
            same = [a == b for a, b in zip(theirs, encode(read.vocabulary, lines), strict=True)]
            assert sum(same) >= len(lines) - 2 * (code == "yor_Latn")
        fitted = fit_two_stage(LACKING, configure_lacking(), base=read)
        assert fitted.vocabulary.pieces[:size] == read.vocabulary.pieces
        for code in LETTERED_TAIL:
            assert set(needed_letters(code, "nmt_nfkc")) <= set(fitted.vocabulary.pieces)
        backend.normalizer = tokenizers.normalizers.Lowercase()
        backend.save(str(path))
        with pytest.raises(TokenizerError, match="its step Lowercase"):
            read_base(path)

    def test_letters_are_what_the_base_s_normaliser_leaves(self, tmp_path: Path) -> None:
        # One that folds case never sees a capital: none is a letter that its base lacks.
        import io

        output = io.BytesIO()
        lines = [line for code in ("eng_Latn", "ibo_Latn") for line in LETTERED[code]]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=output, vocab_size=60, minloglevel=3,
            normalization_rule_name="nmt_nfkc_cf", character_coverage=1.0,
        )  # fmt: skip
        path = tmp_path / "folding.model"
        path.write_bytes(output.getvalue())
        texts = {**LETTERED, "yor_Latn": [line.title() + " Ṣ Ṣé" for line in LETTERED["yor_Latn"]]}
        counts = WordCounts.from_texts(texts)
        config = configure_lacking(tail={"languages": ["yor"]})
        fitted = fit_two_stage(counts, config, base=read_base(path))
        letters = letters_of(fitted.vocabulary)["yor_Latn"]
        assert "ṣ" in letters
        assert [letter for letter in letters if letter != letter.casefold()] == []
        (ids,) = encode(fitted.vocabulary, ["Ṣ"])
        assert fitted.vocabulary.roles.unknown not in ids

    def test_a_name_that_the_base_has_for_something_else_is_never_taken(self, lacking: BlockBase) -> None:
        # Unused and control pieces keep their names, one letter or more; user-defined ones write their letters.
        known = lacking.vocabulary
        names = {"٣": Kind.UNUSED, "٤": Kind.USER, "نا": Kind.UNUSED, "▁ئا": Kind.CONTROL}
        assert known.id_of("نا") is None
        other = replace(
            known,
            pieces=(*known.pieces, *names),
            kinds=(*known.kinds, *names.values()),
            scores=np.concatenate((known.scores, np.zeros(len(names), np.float32))),
            blocks=(Block("shared", 0, known.size + len(names)),),
        )
        base = _describe_base(other, "test", {}, "")
        fitted = fit_two_stage(LACKING, configure_lacking(tail={"languages": ["ckb"]}), base=base)
        assert fitted.vocabulary.pieces[: other.size] == other.pieces
        assert "٥" in letters_of(fitted.vocabulary)["ckb_Arab"]
        lost = {str(row["character"]) for row in fitted.tables["cut_characters"]}
        assert "٣" in lost
        assert "٤" not in lost


# --- A tokenizer.json as base ----------------------------------------------------------------------


def like_xlm_roberta(base: Vocabulary, *steps: object) -> Tokenizer:
    """The tokenizer.json that transformers writes for a SentencePiece model: charsmap, words, Metaspace."""
    pieces = zip(base.pieces, map(float, base.scores), strict=True)
    backend = Tokenizer(models.Unigram(list(pieces), base.roles.unknown, False))
    backend.normalizer = normalizers.Sequence([normalizers.Precompiled(base.normalizer.charsmap), *steps])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    backend.add_special_tokens([piece for piece in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")])
    return backend


def test_a_unigram_tokenizer_json_is_the_base_that_its_model_is(tmp_path: Path) -> None:
    config = validate(TwoStageConfig, {"vocabulary": {"size": 400}}, "test")
    base = fit_shared(COUNTS, config).vocabulary
    like_xlm_roberta(base, normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")).save(
        str(tmp_path / "tokenizer.json")
    )
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        found = read_base(path).vocabulary
        assert found.pieces == base.pieces
        assert found.kinds == base.kinds
        assert found.roles == base.roles
        np.testing.assert_array_equal(found.scores, base.scores)
    like_xlm_roberta(base, normalizers.Lowercase()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="its step Lowercase"):
        read_base(tmp_path)
    digits = like_xlm_roberta(base)
    digits.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.Metaspace()])
    digits.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="its step Digits"):
        read_base(tmp_path)


@pytest.mark.parametrize("rule", ["nmt_nfkc", "identity"])
@pytest.mark.parametrize("fallback", [False, True])
def test_a_tokenizer_json_of_ours_is_the_base_that_its_model_is(
    rule: str, fallback: bool, tmp_path: Path
) -> None:
    table: dict[str, object] = {"size": 700, "symbols": ["<sep>", "@", "\t"], "reserved": 3}
    settings = {"vocabulary": table | {"byte_fallback": fallback}, "normalization": {"rule": rule}}
    base = fit_shared(COUNTS, validate(TwoStageConfig, settings, "test")).vocabulary
    base.save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(tmp_path / "tokenizer.json", alone)
    found = read_base(alone).vocabulary
    assert found.pieces == base.pieces
    assert found.kinds == base.kinds
    assert (found.roles, found.spacing) == (base.roles, base.spacing)
    assert found.normalizer.charsmap == base.normalizer.charsmap
    text = base.ids_of(Kind.NORMAL)
    np.testing.assert_array_equal(found.scores[text], base.scores[text])
    # A file that does anything else to text is another's, and refused by its step.
    content["normalizer"]["normalizers"].append({"type": "Lowercase"})
    (alone / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(TokenizerError, match="its step"):
        read_base(alone)


def test_a_base_that_is_not_unigram_is_refused_with_what_to_do(tmp_path: Path) -> None:
    words = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="a WordPiece vocabulary cannot") as refused:
        read_base(tmp_path)
    assert "continued-bpe" not in str(refused.value.hint)
    Tokenizer(models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="a BPE vocabulary cannot") as refused:
        read_base(tmp_path)
    assert refused.value.hint == f"more merges for it: vocabkit fit continued-bpe --base {tmp_path}"
    Tokenizer(models.Unigram([("a", -1.0)], None, False)).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="unk_id is null") as refused:
        read_base(tmp_path)
    assert "set unk_id" in str(refused.value.hint)


def test_symbols_that_a_base_lacks_are_refused(tmp_path: Path) -> None:
    fit_shared(COUNTS, validate(TwoStageConfig, {"vocabulary": {"size": 400}}, "test")).vocabulary.save(
        tmp_path
    )
    settings = {
        "base": str(tmp_path),
        "vocabulary": {"symbols": ["<sep>"]},
        "tail": {"languages": ["yor_Latn"]},
    }
    with pytest.raises(ConfigError, match=r"'<sep>'.*the base has \[\]"):
        fit_two_stage(COUNTS, validate(TwoStageConfig, settings, "test"))
