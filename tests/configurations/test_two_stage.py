"""Configuration (d): what is promised of ids, blocks, scores and routes, on small made-up languages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from tests.fitting.test_sentencepiece_engine import MULTISCRIPT
from vocabkit.configurations.settings import TwoStageConfig
from vocabkit.configurations.shared import Fit, fit_shared
from vocabkit.configurations.two_stage import (
    BlockBase,
    _choose_tail,
    _describe_base,
    _estimate_total,
    fit_two_stage,
    read_base,
)
from vocabkit.core.config import validate
from vocabkit.core.errors import ConfigError, CountsError, FitError, TokenizerError
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import count_usage
from vocabkit.vocabulary.vocabulary import (
    Kind,
    Vocabulary,
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
    import tokenizers

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
        with pytest.raises(TokenizerError, match="a bpe model cannot be the base"):
            read_base(path)
        with pytest.raises(ConfigError, match="no such"):
            read_base(tmp_path / "absent")


def test_tail_languages_come_from_the_panel_unless_named() -> None:
    assert _choose_tail(COUNTS, configure(tail={"languages": ["yor", "amh_Ethi"]})) == (
        "yor_Latn",
        "amh_Ethi",
    )
    with pytest.raises(CountsError, match="sin_Sinh"):
        _choose_tail(COUNTS, configure(tail={"languages": []}))


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
