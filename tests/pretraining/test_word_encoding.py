"""Encoding by words against encoding whole texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from tests.pretraining.tiny_tokenizers import LINES, WORDS, write_byte_level, write_ours
from vocabkit.core.arrays import Int32Array, Int64Array
from vocabkit.core.errors import TokenizerError
from vocabkit.pretraining.packing import WordEncoder, _find_cut
from vocabkit.vocabulary.adapters import BackendTokenizer, Tokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer

WORD = st.one_of(
    st.sampled_from([*WORDS, "<s>", "</s>", "<pad>", "<|endoftext|>", "x" * 60, "的" * 50]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
GAP = st.sampled_from([" ", " ", " ", "  ", "\t", "\n", " \n", "\u00a0", "\u3000", "", " \u0301"])
TEXT = st.lists(st.tuples(WORD, GAP), max_size=12).map(lambda pairs: "".join(a + b for a, b in pairs))


@pytest.fixture(scope="module", params=["ours", "bytes"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write = write_ours if request.param == "ours" else write_byte_level
    return open_tokenizer(write(folder))


def check(encoder: WordEncoder, texts: list[str]) -> None:
    ids, lengths = encoder.encode_flat(texts)
    expected, counts = encoder.tokenizer.encode_flat(texts)
    assert lengths.tolist() == counts.tolist()
    assert ids.tolist() == expected.tolist()
    assert ids.dtype == np.int32


def test_each_kind_has_its_cut(tokenizer: Tokenizer) -> None:
    expected = "at-spaces" if tokenizer.style == "sentencepiece" else "before-spaces"
    assert _find_cut(tokenizer) == expected


@settings(max_examples=150, deadline=None)
@given(data=st.lists(st.lists(TEXT, max_size=6), min_size=1, max_size=4))
def test_words_give_what_whole_texts_give(tokenizer: Tokenizer, data: list[list[str]]) -> None:
    encoder = WordEncoder(tokenizer, most=10)  # forgets between batches
    for texts in data:
        check(encoder, texts)


def test_known_words_are_not_encoded_again(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = WordEncoder(tokenizer)
    check(encoder, [*LINES, ""])
    known = encoder.encode_flat(LINES)
    monkeypatch.setattr(type(tokenizer), "encode_flat", lambda *_: pytest.fail("encoded again"))
    again = encoder.encode_flat(LINES)
    assert again[0].tolist() == known[0].tolist()


def test_more_words_than_the_table_begins_with(tokenizer: Tokenizer) -> None:
    """The table grows in the middle of a text, also where that text alone holds them all."""
    encoder = WordEncoder(tokenizer)
    check(encoder, [" ".join(f"the{number:x}cat" for number in range(7_000)), "a b", "x" * 49 + " y" * 60])
    check(encoder, [" ".join(f"the{number:x}cat" for number in range(6_000, 21_000))])


def test_text_that_is_no_utf8_leaves_the_words_in_order(tokenizer: Tokenizer) -> None:
    encoder = WordEncoder(tokenizer)
    with pytest.raises(TokenizerError, match=r"text 1: character 2 is the lone surrogate U\+D800"):
        encoder.encode_flat(["the cat", "a \ud800"])
    check(encoder, ["the cat", "a dog"])


def test_an_encoder_that_fails_leaves_no_word_without_tokens(tokenizer: Tokenizer) -> None:
    def fail(texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        if any("dog" in text for text in texts):
            raise TokenizerError("no dogs", "take them out")
        return tokenizer.encode_flat(texts)

    encoder = WordEncoder(tokenizer, encode=fail)
    with pytest.raises(TokenizerError, match="no dogs"):
        encoder.encode_flat(["the cat and the dog"])
    check(encoder, ["the cat and the", "and"])


def test_another_topic_begins_anew_with_the_same_ids(tokenizer: Tokenizer) -> None:
    encoder = WordEncoder(tokenizer)
    for topic in ("eng_Latn", "eng_Latn", "deu_Latn"):
        encoder.turn_to(topic)
        check(encoder, list(LINES))


def test_pieces_across_spaces_forbid_it() -> None:
    merges = [("t", "h"), ("th", "Ġ"), ("thĠ", "e")]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *("".join(pair) for pair in merges)]
    backend = Backend(models.BPE({piece: index for index, piece in enumerate(pieces)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = BackendTokenizer("one", backend)
    encoder = WordEncoder(tokenizer)
    assert encoder.cut is None
    check(encoder, ["th e th e", "a b"])


@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc"])
def test_the_mark_of_a_space_in_the_text_is_one(tmp_path: Path, rule: str) -> None:
    import sentencepiece

    corpus = ["ab ba abba", "hello world", "a b ab", "x y \u2581"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_prefix=str(tmp_path / "m"), vocab_size=20, hard_vocab_limit=False,
        normalization_rule_name=rule, minloglevel=2,
    )  # fmt: skip
    tokenizer = open_tokenizer(tmp_path / "m.model")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    texts = ["hello \u2581 world", "a\u2581 b", "\u2581 ab", "plain ab", "", "a \u2581\u2581b \u2581", "ab ba"]
    ids, lengths = WordEncoder(tokenizer).encode_flat(texts)
    parts = np.split(ids, np.cumsum(lengths)[:-1])
    assert [part.tolist() for part in parts] == [reference.encode(text) for text in texts]


def test_an_empty_batch(tmp_path: Path) -> None:
    encoder = WordEncoder(open_tokenizer(write_ours(tmp_path)))
    ids, lengths = encoder.encode_flat([])
    assert (len(ids), len(lengths)) == (0, 0)
