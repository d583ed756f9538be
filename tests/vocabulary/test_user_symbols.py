"""User-defined symbols and bpe ties in tokenizer.json, held to what SentencePiece makes of the .model."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as proto

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind, read_model, write_tokenizer

WORDS = (
    "the user of an example sees many small words and numbers 1 22 333 in the middle (see also) abc naïve éé x"
)
SETS = {
    "names": ("<sep>", "@", "[SEP]", "12", "3", "x<sep>"),
    "inside": ("ab", "abc", "--", "the", "(", "e"),
    "white": ("\n", "\t", "\n\n", "<br>"),
    "runs": tuple("▁" * length for length in range(2, 32)),
    "words": ("▁the", "s▁a", "▁▁"),
    "changed": ("Ⅳ", "ﬁn", "＠", "ｘ=", "\n", "<sep>"),
}
PIECES = (
    "<sep>", "@", "user@example.org", "[SEP]", "123", "x<sep>", "ab", "abc", "--", "the", "(see)", "\n", "\t",
    "\n\n", "<br>", "Ⅳ", "ﬁn", "＠", "ｘ=", "\u0338", "e\u0301", "▁", "▁▁", " ", " ", "  ", "    ", " " * 9,
    "a", "b", "é", "x", "<s>", "<0x41>", "<unused0>", "漢",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)


@cache
def train(model: str, name: str, rule: str = "identity", **options: Any) -> bytes:
    """Return a tiny .model with the symbols of a set."""
    out = io.BytesIO()
    words = WORDS.split()
    lines = [" ".join(words[(k * step) % len(words)] for k in range(9)) for step in range(1, 40)]
    size = 110 + len(SETS[name]) + 256 * bool(options.get("byte_fallback"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type=model, vocab_size=size, minloglevel=3,
        hard_vocab_limit=False, user_defined_symbols=list(SETS[name]), normalization_rule_name=rule,
        num_threads=1, **options,
    )  # fmt: skip
    return out.getvalue()


@cache
def open_both(data: bytes) -> tuple[Any, tokenizers.Tokenizer]:
    """Return SentencePiece on the .model, and `tokenizers` on what is written of it."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(read_model(data), Path(folder))
        backend = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    backend.encode_special_tokens = True
    return sentencepiece.SentencePieceProcessor(model_proto=data), backend


def differing(data: bytes, texts: Sequence[str]) -> list[str]:
    model, backend = open_both(data)
    return [t for t in texts if model.encode(t) != backend.encode(t, add_special_tokens=False).ids]


OPTIONS: tuple[dict[str, bool], ...] = (
    {},
    {"add_dummy_prefix": False},
    {"remove_extra_whitespaces": False},
    {"add_dummy_prefix": False, "remove_extra_whitespaces": False, "byte_fallback": True},
)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
@pytest.mark.parametrize("name", ["names", "inside", "white", "runs", "words"])
@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_symbols_get_sentencepieces_ids(model: str, name: str, options: dict[str, bool]) -> None:
    data = train(model, name, **options)
    # A run longer than the longest symbol has several cuts of one score: the last bit of a sum decides.
    longest = 30 if model == "unigram" else 999

    @settings(max_examples=60, deadline=None)
    @given(TEXTS)
    def check(text: str) -> None:
        assume(not re.search(f"[ ▁]{{{longest + 1}}}", text))
        assert differing(data, [text]) == []

    check()
    for symbol in SETS[name]:
        if len(symbol) > longest // 2 - 2:
            assert differing(data, [f"a{symbol}"]) == []
            continue
        texts = [
            symbol,
            f"{symbol} a",
            f"a {symbol}",
            f"a{symbol}b",
            f"{symbol}{symbol}",
            f" {symbol} {symbol} ",
        ]
        assert differing(data, texts) == []


@pytest.mark.parametrize(("model", "rule"), [("unigram", "nmt_nfkc"), ("bpe", "nfkc")])
def test_no_rule_touches_a_symbol(model: str, rule: str) -> None:
    data = train(model, "changed", rule)
    told = {symbol: sentencepiece.SentencePieceProcessor(model_proto=data).encode(symbol, out_type=str)[-1]
            for symbol in SETS["changed"]}  # fmt: skip
    assert all(piece == symbol for symbol, piece in told.items())
    texts = [
        "a\nb",
        "Ⅳ Ⅴ",
        "ﬁn ﬁ ﬁx",
        "a＠b@c",
        "ｘ=ｘx",
        "<sep>\u0338",
        "x>\u0338",
        "\x03Ⅳ\x04a\x08",
        "ｘ =",
        "fin",
    ]
    assert differing(data, [*SETS["changed"], *texts]) == []

    @settings(max_examples=80, deadline=None)
    @given(TEXTS)
    def check(text: str) -> None:
        assert differing(data, [text]) == []

    check()


def build(model: int, pieces: Sequence[tuple[str, float, int]], **normal: bool) -> bytes:
    """Return a .model of pieces with scores and types, over text as it is."""
    made = proto.ModelProto()
    for piece, score, kind in (("<unk>", 0.0, 2), *pieces):
        made.pieces.add(piece=piece, score=score, type=kind)
    made.trainer_spec.model_type = model
    made.trainer_spec.vocab_size = len(made.pieces)
    made.normalizer_spec.name = "identity"
    made.normalizer_spec.add_dummy_prefix = normal.get("add_dummy_prefix", False)
    made.normalizer_spec.remove_extra_whitespaces = normal.get("remove_extra_whitespaces", True)
    return bytes(made.SerializeToString())


def test_a_symbol_is_one_piece_among_others_to_unigram() -> None:
    # Log probabilities are below zero and a symbol is not: but a score above 0.1 beats `ab`, whole or not.
    letters = [(letter, -5.0, 1) for letter in "abcd"]
    for score, expected in ((0.3, ["a", "bc"]), (-0.01, ["ab", "c"])):
        data = build(1, [*letters, ("bc", score, 1), ("ab", 0.0, 4)])
        assert open_both(data)[1].encode("abc").tokens == expected
        assert differing(data, ["abc", "abcd", "abab", "aab", "bcab"]) == []
    data = build(1, [*letters, ("aabb", -3.0, 1), ("ab", 0.0, 4)])
    assert open_both(data)[1].encode("aabb").tokens == ["aabb"]
    assert differing(data, ["aabb", "aab", "caabbd"]) == []


def test_what_cannot_be_exact_is_refused_by_name(tmp_path: Path) -> None:
    spaced = build(1, [("a", -1.0, 1), ("▁", -2.0, 1), ("a b", 0.0, 4)])
    with pytest.raises(TokenizerError, match="user-defined symbol 'a b': it holds a space") as caught:
        write_tokenizer(read_model(spaced), tmp_path)
    assert "U+2581" in str(caught.value.hint)
    made = proto.ModelProto()
    made.ParseFromString(train("unigram", "changed", "nfkc"))
    made.pieces.add(piece="\u0301a", score=0.0, type=4)
    with pytest.raises(TokenizerError, match="a rule can join its first character"):
        write_tokenizer(read_model(made.SerializeToString()), tmp_path)


def test_a_prefix_stands_before_a_space_that_is_kept() -> None:
    data = build(1, [("▁", -1.0, 1), ("a", -2.0, 1), ("▁a", -2.5, 1)], add_dummy_prefix=True,
                 remove_extra_whitespaces=False)  # fmt: skip
    assert differing(data, [" a", "  ", " ", "a ", "▁a", ""]) == []


def test_bpe_pieces_that_their_merges_miss_are_still_divided() -> None:
    # `bc` is merged first, so that no text becomes `abcd`: looked up whole it would be found.
    letters = [(letter, -9.0, 1) for letter in "abcd"]
    longer = [(piece, -float(rank), 1) for rank, piece in enumerate(("bc", "ab", "cd", "abcd", "da"))]
    data = build(2, [*letters, *longer, ("!", 0.0, 4)])
    assert open_both(data)[1].encode("abcd").tokens == ["a", "bc", "d"]
    assert differing(data, ["abcd", "abcd!", "!abcd!ab!cd", "abcda", "dab", "<unk>!"]) == []


# --- Pieces of one score ---------------------------------------------------------------------------


def test_the_left_one_of_two_equal_scores_is_merged() -> None:
    letters = [(letter, -9.0, 1) for letter in "abc"]
    for first, second in (("ab", "bc"), ("bc", "ab")):
        data = build(2, [*letters, (first, -1.0, 1), (second, -1.0, 1), ("ca", -2.0, 1)])
        assert differing(data, ["abc", "abcabc", "bcab", "aabc", "cabc", "abbc"]) == []


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([("ab", -1.0, 1), ("ba", -1.0, 1)], "in a circle"),
        ([("ab", 0.0, 1), ("abc", 0.0, 1), ("cb", 0.0, 1)], "of which it is a part"),
    ],
)
def test_equal_scores_that_ranks_cannot_order_are_refused(
    pieces: list[tuple[str, float, int]], said: str, tmp_path: Path
) -> None:
    data = build(2, [*[(letter, -9.0, 1) for letter in "abc"], *pieces])
    with pytest.raises(TokenizerError, match=said) as caught:
        write_tokenizer(read_model(data), tmp_path)
    assert "scores that all differ" in str(caught.value.hint)
    assert not [*tmp_path.iterdir()]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_bpe_is_exact_or_refused(data: st.DataObject) -> None:
    pieces = ["a", "b", "c"]
    for _ in range(data.draw(st.integers(2, 6))):
        pair = st.tuples(st.sampled_from(pieces), st.sampled_from(pieces))
        made = "".join(data.draw(pair))
        if made not in pieces and len(made) < 6:
            pieces.append(made)
    scores = data.draw(st.lists(st.integers(-4, 0), min_size=len(pieces), max_size=len(pieces)))
    kinds = data.draw(st.lists(st.sampled_from([1, 1, 1, 5]), min_size=len(pieces), max_size=len(pieces)))
    listed = zip(pieces, scores, kinds, strict=True)
    rows = [(p, s, k) if len(p) > 1 else (p, -9.0, 1) for p, s, k in listed]
    model = build(2, rows)
    texts = data.draw(st.lists(st.text("abc", max_size=12), max_size=8))
    try:
        found = differing(model, texts)
    except TokenizerError as error:
        found = [] if re.search("same score|unused bpe piece", error.message) else [error.message]
    assert found == []


# --- Messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([("a", -1.0, 1), ("a", -2.0, 1)], "'a' occurs twice"),
        ([("a", float("nan"), 1)], r"score of 'a' \(id 1\) is not finite"),
    ],
)
def test_a_damaged_model_is_named(pieces: list[tuple[str, float, int]], said: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.model"
    path.write_bytes(build(1, pieces))
    with pytest.raises(TokenizerError, match=rf"broken\.model: .*{said}") as caught:
        open_tokenizer(path)
    assert caught.value.hint


def test_symbols_keep_their_kind_in_the_model(tmp_path: Path) -> None:
    vocabulary = read_model(train("bpe", "white"))
    assert vocabulary.symbols == SETS["white"]
    assert [vocabulary.kinds[vocabulary.id_of(symbol) or 0] for symbol in SETS["white"]] == [Kind.USER] * 4
