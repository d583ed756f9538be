"""The pipeline against SentencePiece's own normaliser: rule by rule, and in random contexts."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import normalizers

from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.normalization import compile_charsmap, load_normalizer
from vocabkit.vocabulary.charsmap import (
    _combining_classes,
    _compose,
    _primary_composites,
    build_steps,
)

NAMES = ("nmt_nfkc", "nfkc", "nfc", "identity")
NONCHARACTERS = "\U0001fffe\U0002fffe"


@cache
def pipeline(name: str) -> normalizers.Normalizer:
    return normalizers.Sequence(build_steps(load_normalizer(name).charsmap))


@cache
def oracle(charsmap: bytes, remove_extra: bool = True) -> sentencepiece.SentencePieceNormalizer:
    spec = proto.NormalizerSpec(
        name="test",
        precompiled_charsmap=charsmap,
        add_dummy_prefix=False,
        remove_extra_whitespaces=remove_extra,
        escape_whitespaces=True,
    )
    return sentencepiece.SentencePieceNormalizer(normalizer_spec=spec)


def differences(name: str, texts: list[str]) -> list[tuple[str, str, str]]:
    expected, steps = oracle(load_normalizer(name).charsmap), pipeline(name)
    pairs = [
        (text, expected.normalize(text), steps.normalize_str(text).replace(" ", "\u2581")) for text in texts
    ]
    return [(text, want, got) for text, want, got in pairs if want != got]


@cache
def composed_too_late(name: str) -> frozenset[str]:
    """Characters of compositions newer than `tokenizers`' NFC: written only on request."""
    rules = load_normalizer(name).rules
    several = {key: value for key, value in rules.items() if len(key) > 1}
    mapped = {key: "".join(rules.get(char, char) for char in key) for key in several}
    by_nfc = _compose(set(mapped.values()))
    late = [key for key, value in several.items() if by_nfc[mapped[key]] != value]
    return frozenset(char for key in late for char in key if ord(char) > 0xFFFF)


@pytest.mark.parametrize("name", NAMES)
def test_rules_alone_and_between_letters(name: str) -> None:
    rules = load_normalizer(name).rules
    late = composed_too_late(name)
    assert len(late) < 40
    keys = [key for key in rules if not late & set(key) and not set(NONCHARACTERS) & set(key)]
    singles = [key for key in keys if len(key) == 1]
    longer = [key for key in keys if len(key) > 1][::41]
    assert differences(name, singles + longer) == []
    assert differences(name, [f"a{key}b" for key in singles + longer]) == []


MARKS = sorted(_combining_classes())
PARTS = [
    *"aoOsLAüêαΑιωᾳ°²ﬁſ가각괘ᄒ ▁x\r\n\t",
    *"\x01\x02\x03\u200b\u200c\u200d\ufe0f\ufeff\u0344\u0340\u212b\u1ea4\u1e9b\u01e2\u1fc1\u00a8",
    *"\u0300\u0301\u0302\u0304\u0307\u0308\u030a\u031b\u0323\u0327\u0328\u0342\u0345\u0313",
    *"\u1100\u1161\u11a8\u3131\u314f\uffa1\uffc2ｶﾞか\u3099",
    *"\u09c7\u09be\u09cd\u093c\u0928\u094d\u05b4\u05bc\u064e\u0651\u0653\u0627\U0001d400\U0001f468",
]


@pytest.mark.parametrize("name", NAMES)
def test_random_contexts(name: str) -> None:
    late = composed_too_late(name) | set(NONCHARACTERS)
    rules = sorted(load_normalizer(name).rules)[::17]
    seconds = sorted({second for _, second in _primary_composites()})
    part = st.one_of(
        st.sampled_from(PARTS),
        st.sampled_from(MARKS),
        st.sampled_from(seconds),
        st.sampled_from(rules),
        st.characters(exclude_categories=["Cs"]),
    )

    @settings(max_examples=800, deadline=None, derandomize=True)
    @given(st.lists(part, max_size=8).map("".join))
    def check(text: str) -> None:
        if not late & set(text):
            assert differences(name, [text]) == []

    check()


def test_two_characters_are_all_that_identity_drops() -> None:
    assert differences("nmt_nfkc", list(NONCHARACTERS)) == []
    assert [text for text, _, _ in differences("nfc", list(NONCHARACTERS))] == list(NONCHARACTERS)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("o\u0323\u0301", "ọ\u0301"), ("²\u0301", "2\u0301"), ("ｶﾞ", "ガ"), ("ﬁ\u0301", "fi\u0301")],
)
def test_the_usual_conversion_would_lose_it(text: str, kept: str) -> None:
    normalizer = load_normalizer("nmt_nfkc")
    assert pipeline("nmt_nfkc").normalize_str(text) == kept
    assert normalizers.Precompiled(normalizer.charsmap).normalize_str(text) != kept


def test_new_compositions_are_written_for_a_vocabulary_that_has_them() -> None:
    text, composed = "\U00011382\U000113c9", "\U00011383"
    normalizer = load_normalizer("nmt_nfkc")
    assert normalizer.normalize(text) == composed
    steps = build_steps(normalizer.charsmap, alphabet=[composed])
    assert normalizers.Sequence(steps).normalize_str(text) == composed
    assert len(steps) > len(build_steps(normalizer.charsmap))


@pytest.mark.parametrize("remove_extra", [True, False])
def test_spaces(remove_extra: bool) -> None:
    rules = {"\t": " ", "\r": " ", "\n": " ", "!": ""}
    steps = normalizers.Sequence(build_steps(compile_charsmap(rules), remove_extra))
    expected = oracle(compile_charsmap(rules), remove_extra)
    for text in (
        "",
        " ",
        "   ",
        " a  b ",
        "a\t b\r\n",
        "! a !! b !",
        "a ▁",
        "▁ a",
        "\u00a0a\u00a0",
    ):
        assert steps.normalize_str(text).replace(" ", "\u2581") == expected.normalize(text), text


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"ab": "xyz", "a": "pq"}, "is part of a longer rule"),
        ({"e\u0301": "é", "\u1100\u1161": "가"}, "sequences of Hangul jamo"),
        ({"e\u0301": "é"}, "NFC changes U\\+0340"),
        ({"α\u0313ι": "ᾀ", "\u0345": "ι"}, "is no rule for"),
    ],
)
def test_rules_without_an_exact_form_are_refused(rules: dict[str, str], reason: str) -> None:
    singletons = {key: value for key, value in load_normalizer("nfc").rules.items() if len(key) == 1}
    given_rules = rules if "NFC changes" in reason else singletons | rules
    with pytest.raises(TokenizerError, match=reason) as caught:
        build_steps(compile_charsmap(given_rules))
    assert caught.value.hint


def test_a_few_rules_of_several_characters() -> None:
    rules = load_normalizer("nfc").rules
    own = {key: value for key, value in rules.items() if len(key) == 1} | {"e\u0301": "é"}
    own |= {"->": "→", "...": "…"}
    steps = normalizers.Sequence(build_steps(compile_charsmap(own), alphabet="→…"))
    expected = oracle(compile_charsmap(own))
    texts = ("e\u0301", "o\u0301", "e\u0323\u0301", "a->b", "....", "\u1100\u1161\u11a8")
    for text in texts:
        assert steps.normalize_str(text) == expected.normalize(text), text


def test_what_is_no_rule_is_kept_from_composing_wherever_it_is_cut() -> None:
    """ſ with both dots is no rule where s with both is; nor is ſ with the dot above, in the other set."""
    singletons = {key: value for key, value in load_normalizer("nfc").rules.items() if len(key) == 1}
    letter_s = {"s\u0323": "ṣ", "s\u0307": "ṡ", "s\u0323\u0307": "ṩ", "ṣ\u0307": "ṩ", "\u017f": "s"}
    for own in ({"\u017f\u0323": "ṣ"}, {"\u017f\u0323": "ṣ", "\u017f\u0307": "ṡ"}, {"\u017f\u0307": "ṡ"}, {}):
        charsmap = compile_charsmap(singletons | letter_s | own)
        steps, expected = normalizers.Sequence(build_steps(charsmap)), oracle(charsmap)
        for length in range(1, 5):
            for parts in itertools.product("sṣ\u017f\u0323\u0307x", repeat=length):
                text = "".join(parts)
                assert steps.normalize_str(text) == expected.normalize(text), (own, ascii(text))
