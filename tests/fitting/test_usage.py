"""Usage against encoding the running text."""

from __future__ import annotations

from collections import Counter

import numpy as np
import sentencepiece

from tests.fitting.tables import seed
from tests.fitting.test_sentencepiece_engine import MULTISCRIPT, count_rows
from vocabkit.corpus.normalization import load_normalizer
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.blocks import count_usage
from vocabkit.fitting.sentencepiece_engine import fit_by_sentencepiece
from vocabkit.vocabulary.vocabulary import assemble_vocabulary, write_model

HALVES = {"fra_Latn": MULTISCRIPT[::2], "yor_Latn": MULTISCRIPT[1::2]}


def test_equals_encoding_the_text() -> None:
    rows = count_rows(MULTISCRIPT, 1.0)
    fitted = fit_by_sentencepiece(rows, seed(rows, 1000), 300)
    vocabulary = assemble_vocabulary(
        fitted.pieces, fitted.scores, "unigram", load_normalizer("nmt_nfkc"), byte_fallback=True
    )
    tables = derive_spans(WordCounts.from_texts(HALVES)).languages
    usage = count_usage(vocabulary, tables)
    encoder = sentencepiece.SentencePieceProcessor(model_proto=write_model(vocabulary))
    for code, lines in HALVES.items():
        expected = Counter(i for ids in encoder.encode(lines) for i in ids)
        assert {i: int(usage[code][i]) for i in np.flatnonzero(usage[code])} == expected


def test_uncovered_characters_are_bytes_or_unknown() -> None:
    tables = derive_spans(WordCounts.from_texts({"yor_Latn": ["ab ẹab", "ab"]})).languages
    normalizer = load_normalizer("nmt_nfkc")
    pieces, scores = ["▁", "a", "b", "▁ab", "ab"], [-3.0, -4.0, -5.0, -1.0, -2.0]
    plain = assemble_vocabulary(pieces, scores, "unigram", normalizer)
    used = count_usage(plain, tables)["yor_Latn"]
    named = {plain.pieces[i]: int(used[i]) for i in np.flatnonzero(used)}
    assert named == {"▁ab": 2, "▁": 1, "<unk>": 1, "ab": 1}
    fallback = assemble_vocabulary(pieces, scores, "unigram", normalizer, byte_fallback=True)
    used = count_usage(fallback, tables)["yor_Latn"]
    named = {fallback.pieces[i]: int(used[i]) for i in np.flatnonzero(used)}
    assert named == {"▁ab": 2, "▁": 1, "<0xE1>": 1, "<0xBA>": 1, "<0xB9>": 1, "ab": 1}
