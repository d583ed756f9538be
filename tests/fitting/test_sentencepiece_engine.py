"""Fits from counts against SentencePiece fitted on the raw text itself."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from tests.fitting.tables import make_rows, pool, seed
from vocabkit.core.errors import FitError
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.lexicon import cover_characters
from vocabkit.fitting.sentencepiece_engine import Pieces, Rows, fit_bpe, fit_by_sentencepiece

# Real sentences in several scripts and everything that has broken a conversion before: script changes
# inside a word, digits of three scripts, tabs, a word mark in the text, marks, ZWNJ, repeated spaces.
MULTISCRIPT = [
    "iPhone用のケースを3個買いました。iPhone用、Android用もあります。",
    "新しいiPhone用アプリは3kgの荷物を運ぶロボットを操作します。",
    "The parcel weighs 3kg, not 30kg; the other weighs 12.5 kg and costs 1,234 euros.",
    "All human beings are born free and equal in dignity and rights.",
    "They are endowed with reason and conscience and should act towards one another as brothers.",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق، وقد وهبوا عقلًا وضميرًا.",
    "وعليهم أن يعامل بعضهم بعضًا بروح الإخاء. العدد ١٢٣ والعدد ٤٥٦.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ทำน้ำ ๑๒๓",
    "ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "tab\tseparated\tvalues and\ttabs\t, a ▁word mark▁ in the ▁text, «quotes» — dashes…",
    "می‌خواهم کتاب‌ها را بخوانم. می‌خواهد کتاب‌هایش را بخواند.",
    "C'est l'été : 10 000 personnes, 100 % d'entre elles l'ont dit. Ils l'ont dit dit dit.",
    "  spaces   around   and   inside  ",
    # A mark between two scripts: SentencePiece may learn pieces that begin with the mark, "ً." or "ُ،".
    "كِتَابًا. بَابًا. كِتَابًا، بَيْتًا. بَيْتٌ، كِتَابٌ. بَابٌ، وَلَدًا. وَلَدٌ،",
    "i̇. i̇, e̱. e̱, o̱. o̱, i̇. i̇, e̱. e̱,",
]


def train_on_text(lines: Sequence[str], model: str, size: int, coverage: float) -> tuple[list[str], bytes]:
    """Return the ordinary pieces SentencePiece learns from raw text, and its model."""
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=output,
        model_type=model,
        vocab_size=size + 3,
        character_coverage=coverage,
        num_threads=2,
        minloglevel=3,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(output.getvalue())
    return [p.piece for p in proto.pieces if p.type == p.NORMAL], output.getvalue()


def count_rows(lines: Sequence[str], coverage: float, rule: str = "nmt_nfkc") -> Rows:
    counts = WordCounts.from_texts({"mul_Zyyy": lines})
    tables = derive_spans(counts, rule).languages
    weights = dict.fromkeys(tables, 1.0)
    covered = cover_characters(tables, weights, scope="global", character=coverage).covered
    return pool(tables, weights, covered)


@pytest.mark.parametrize("coverage", [1.0, 0.995])
@pytest.mark.parametrize("size", [320, 500])
def test_bpe_from_counts_equals_bpe_from_text(size: int, coverage: float) -> None:
    expected, _ = train_on_text(MULTISCRIPT, "bpe", size, coverage)
    found = fit_bpe(count_rows(MULTISCRIPT, coverage), size)
    assert list(found.pieces) == expected
    assert found.scores.tolist() == [-float(rank) for rank in range(size)]


def test_bpe_does_not_depend_on_how_often_the_text_is_repeated_or_split_into_languages() -> None:
    expected, _ = train_on_text(MULTISCRIPT * 3, "bpe", 400, 1.0)
    assert list(fit_bpe(count_rows(MULTISCRIPT * 3, 1.0), 400, threads=1).pieces) == expected


def unigram(lines: Sequence[str], size: int, threads: int = 2) -> Pieces:
    rows = count_rows(lines, 0.9995)
    return fit_by_sentencepiece(rows, seed(rows, 100_000), size, threads=threads)


def test_unigram_is_reproducible() -> None:
    a, b = unigram(MULTISCRIPT, 300), unigram(list(reversed(MULTISCRIPT)), 300)
    assert a.pieces == b.pieces
    assert a.scores.tobytes() == b.scores.tobytes()
    assert len(a.pieces) == len(set(a.pieces)) == 300


def inflected(seed: int, lines: int) -> list[str]:
    """Text of a made-up inflecting language: Zipfian stems with Zipfian endings."""
    random = np.random.default_rng(seed)
    syllables = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    grown = np.random.default_rng(0)
    stems = ["".join(grown.choice(syllables, grown.integers(1, 4))) for _ in range(800)]
    endings = ["", *("".join(grown.choice(syllables, grown.integers(1, 3))) for _ in range(40))]
    return [
        " ".join(
            stems[min(int(random.pareto(1.0) * 8), 799)] + endings[min(int(random.pareto(1.0) * 2), 40)]
            for _ in range(12)
        )
        for _ in range(lines)
    ]


def test_unigram_is_no_worse_than_from_text() -> None:
    train, held_out = inflected(1, 3_000), inflected(2, 500)
    _, model = train_on_text(train, "unigram", 700, 0.9995)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    del proto.pieces[3:]
    fitted = unigram(train, 700)
    for piece, score in zip(fitted.pieces, fitted.scores.tolist(), strict=True):
        proto.pieces.add(piece=piece, score=score)
    ours = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    tokens = [sum(map(len, encoder.encode(held_out))) for encoder in (ours, theirs)]
    assert tokens[0] <= 1.01 * tokens[1]
    assert [ours.decode(ids) for ids in ours.encode(held_out)] == held_out


def test_rare_characters_survive_beside_a_huge_count() -> None:
    # SentencePiece alone drops these: their share of 10⁹ rounds to nothing in 32 bits.
    rows = make_rows({"▁hello": 10**9, "▁quiz": 1, "用": 1, 'a,"b\\=': 1})
    for fitted in (fit_bpe(rows, 30), fit_by_sentencepiece(rows, seed(rows, 100, min_count=1), 17)):
        assert set('quiz用,"\\=') <= set(fitted.pieces)


def test_continuations_stay_continuations() -> None:
    rows = make_rows({"▁shell": 30, "llo": 200, "lp": 100})
    pieces = fit_bpe(rows, 12).pieces
    assert "llo" in pieces
    assert not {"▁llo", "▁lp", "▁l"} & set(pieces)


def test_too_small_for_the_alphabet() -> None:
    with pytest.raises(FitError, match="8 covered characters") as caught:
        fit_bpe(make_rows({"▁hello": 3, "▁shap": 2, "p": 1}), 5, other_ids=5)
    assert "vocabulary.size" in str(caught.value)
    hinted = re.search(r"--set vocabulary\.size=(\d+)  #", caught.value.hint or "")
    assert hinted
    assert (
        len(fit_bpe(make_rows({"▁hello": 3, "▁shap": 2, "p": 1}), int(hinted[1]) - 5, other_ids=5).pieces) > 8
    )


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_too_large_says_how_large_it_can_be(model: str) -> None:
    rows = count_rows(MULTISCRIPT, 1.0)

    def fit(size: int) -> Pieces:
        if model == "bpe":
            return fit_bpe(rows, size, other_ids=7)
        return fit_by_sentencepiece(rows, seed(rows, 100_000), size, other_ids=7)

    with pytest.raises(FitError, match="more than this text supports") as caught:
        fit(50_000)
    hint = caught.value.hint or ""
    reachable = int(hint.split("vocabulary.size=")[1].split()[0])
    assert len(fit(reachable - 7).pieces) == reachable - 7
    with pytest.raises(FitError):
        fit(reachable - 7 + 200)


def test_nothing_reaches_stderr(tmp_path: object) -> None:
    code = (
        "from tests.fitting.test_sentencepiece_engine import *\n"
        "unigram(MULTISCRIPT, 300)\n"
        "try: fit_bpe(count_rows(MULTISCRIPT, 1.0), 50_000)\n"
        "except FitError: pass\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stderr == ""
    assert run.stdout == ""
