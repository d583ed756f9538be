"""Round trips, canonical forms and digits against counting by hand, on vocabularies made here."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from tests.vocabulary.conftest import SENTENCES, build, sample_lines
from tests.vocabulary.test_tiktoken_ranks import RANKS, write_ranks
from vocabkit.auditing.figures import Figure, Figures, Finding, Findings
from vocabkit.auditing.integrity import (
    ZEROS,
    _add_digits,
    _add_forms,
    _check_integrity,
    _group_digits,
    _permute_marks,
)
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer

LINES = {
    "vie_Latn": ["Tiếng Việt", "  hai  ba", "plain"],
    "emj_Zyyy": ["a ♥♥", "♥", "①", "b"],
    "eng_Latn": list(SENTENCES),
}


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("lossy")
    build("unigram", False).save(folder)
    return open_tokenizer(folder)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = write_ranks(tmp_path_factory.mktemp("ranks") / "r", RANKS)
    return open_tokenizer(path, pattern="gpt2")


def pick(figures: list[Figure], metric: str, name: str) -> Figure:
    (found,) = [item for item in figures if item.metric == metric and item.name == name]
    return found


def find(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def measure_forms(tokenizer: Tokenizer, language: str, lines: list[str]) -> Figures:
    figures = Figures("t")
    _add_forms(figures, tokenizer, language, lines)
    return figures


def check_digits(tokenizer: Tokenizer) -> tuple[Findings, Figures]:
    findings, figures = Findings("t"), Figures("t")
    _add_digits(findings, figures, tokenizer)
    return findings, figures


def test_round_trips_by_language(lossy: Tokenizer) -> None:
    findings, figures = _check_integrity(lossy, LINES)
    expected_lost = expected_changed = 0
    for language, lines in LINES.items():
        lost = changed = 0
        for line in lines:
            known = lossy.normalize(line)
            (ids,) = lossy.encode_batch([line])
            lost += lossy.decode_bytes(ids) not in {line.encode(), (known or line).encode()}
            changed += known is not None
        assert pick(figures, "roundtrip_failures", language).value == lost / len(lines)
        assert pick(figures, "lines_normalized", language).value == changed / len(lines)
        assert pick(figures, "roundtrip_failures", language).n == len(lines)
        expected_lost += lost
        expected_changed += changed
    assert pick(figures, "roundtrip_failures", "emj_Zyyy").value == 0.5
    assert expected_changed >= 2
    total = find(findings, "round trip")
    assert (total.count, total.total) == (expected_lost, 16)
    assert total.severity == "failure"
    assert any("♥" in example for example in total.examples)
    characters = find(findings, "characters")
    seen = {char for lines in LINES.values() for line in lines for char in line}
    assert characters.total == len(seen)
    assert any(example.startswith("♥ → ") for example in characters.examples)


def test_bytes_lose_nothing(ranks: Tokenizer) -> None:
    findings, figures = _check_integrity(ranks, LINES)
    lossless = ("round trip", "characters", "white space", "typed special tokens")
    for check in (*lossless, "special tokens from text", "added tokens in text"):
        assert find(findings, check).count == 0
        assert find(findings, check).severity == "fine"
    assert pick(figures, "roundtrip_failures", "emj_Zyyy").value == 0.0
    assert pick(figures, "lines_normalized", "emj_Zyyy").value == 0.0


def test_white_space_that_is_normalised_is_no_loss(tmp_path: Path) -> None:
    build("unigram", True).save(tmp_path)
    found = find(_check_integrity(open_tokenizer(tmp_path), LINES)[0], "white space")
    assert found.severity == "note"
    assert found.count is not None
    assert found.count > 5
    assert "0 changed for good" in found.note


def test_a_sample_is_drawn_by_seed_and_language(ranks: Tokenizer) -> None:
    lines = {"aaa_Latn": sample_lines(60, seed=3), "bbb_Latn": sample_lines(5, seed=4)}
    first = _check_integrity(ranks, lines, limit=20)
    assert first == _check_integrity(ranks, dict(lines), limit=20)
    assert pick(first[1], "roundtrip_failures", "aaa_Latn").n == 20
    assert pick(first[1], "roundtrip_failures", "bbb_Latn").n == 5
    assert pick(first[1], "lines_normalized", "aaa_Latn").n == 60
    costs = {
        pick(_check_integrity(ranks, lines, seed=seed, limit=20)[1], "nfd_cost", "aaa_Latn").value
        for seed in range(4)
    }
    assert len(costs) > 1


def test_a_language_that_cannot_be_encoded_does_not_stop_the_others(ranks: Tokenizer) -> None:
    lines = {"bad_Latn": ["a", "b\ud800"], "big_Latn": [" " * 5_000_000], "eng_Latn": ["fine"]}
    findings, figures = _check_integrity(ranks, lines)
    bad = pick(figures, "roundtrip_failures", "bad_Latn")
    assert bad.value is None
    assert bad.note is not None
    assert "lone surrogate U+D800" in bad.note
    assert len([figure for figure in figures if figure.name == "bad_Latn"]) == 5
    assert pick(figures, "lines_normalized", "big_Latn").value is None
    assert pick(figures, "roundtrip_failures", "eng_Latn").value == 0.0
    assert find(findings, "round trip").total == 1


def test_no_lines_are_no_zero(ranks: Tokenizer) -> None:
    _, figures = _check_integrity(ranks, {"eng_Latn": []})
    own = [figure for figure in figures if figure.scope == "language"]
    assert len(own) == 5
    assert all(figure.value is None and figure.n == 0 for figure in own)


def test_added_tokens_are_counted_by_line(tmp_path: Path) -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_tokens([AddedToken("<sup>", normalized=False)])
    backend.add_special_tokens([AddedToken("<s>", normalized=False)])
    backend.save(str(tmp_path / "tokenizer.json"))
    lines = {"eng_Latn": ["a <sup> b <sup>", "<s>", "c"], "yor_Latn": ["x<sup>"]}
    findings, _ = _check_integrity(open_tokenizer(tmp_path), lines)
    added = find(findings, "added tokens in text")
    assert (added.count, added.total, added.severity) == (2, 4, "note")
    assert find(findings, "special tokens from text").count == 0
    assert find(findings, "round trip").count == 0


def test_examples_come_from_all_languages(lossy: Tokenizer) -> None:
    lines = {"aaa_Latn": ["♥"] * 30, "bbb_Latn": ["👩"] * 30}
    found = find(_check_integrity(lossy, lines)[0], "round trip")
    assert len(found.examples) == 10
    assert {example[0] for example in found.examples} == {"♥", "👩"}


def test_forms_against_counting(ranks: Tokenizer) -> None:
    lines = [*SENTENCES, "plain"]
    figures = measure_forms(ranks, "mul", lines)
    pairs = [(unicodedata.normalize("NFC", x), unicodedata.normalize("NFD", x)) for x in lines]
    counts = [
        (len(ranks.encode_batch([one])[0]), len(ranks.encode_batch([two])[0]))
        for one, two in pairs
        if one != two
    ]
    differs, cost = pick(figures, "nfd_differs", "mul"), pick(figures, "nfd_cost", "mul")
    assert differs.value == sum(one != two for one, two in counts) / len(counts)
    assert cost.value == pytest.approx(sum(two / one for one, two in counts) / len(counts))
    assert differs.n == len(counts) < len(lines)
    assert pick(figures, "mark_order_differs", "mul").value == 1.0
    none = measure_forms(ranks, "eng", ["plain", ""])
    assert [figure.value for figure in none] == [None, None, None]
    assert all(figure.note and figure.note.startswith("no ") for figure in none)


def test_a_normalizer_undoes_the_forms(lossy: Tokenizer) -> None:
    figures = measure_forms(lossy, "vie", ["Tiếng Việt thân mến"])
    assert pick(figures, "nfd_differs", "vie").value == 0.0
    assert pick(figures, "nfd_cost", "vie").value == 1.0


@given(text=st.text(alphabet="aeqệ\u0301\u0323\u0302\u0327\u0345क\u093cы", max_size=12))
def test_permuted_marks_are_the_same_text(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text)
    permuted = _permute_marks(decomposed)
    assert unicodedata.normalize("NFD", permuted) == decomposed
    assert sorted(permuted) == sorted(decomposed)


def test_marks_are_permuted() -> None:
    assert _permute_marks("e\u0323\u0302x") == "e\u0302\u0323x"
    assert _permute_marks("e\u0301\u0300") == "e\u0301\u0300"
    assert _permute_marks("\u0323\u0302") == "\u0302\u0323"


def split_digits(folder: Path, pattern: str, pieces: list[str]) -> Tokenizer:
    """Byte-level BPE in which digits are cut by `pattern` and every group of them is a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate([*letters, *pieces])}
    backend = Backend(models.BPE(vocab, [], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.save(str(folder / "tokenizer.json"))
    return open_tokenizer(folder)


def groups() -> list[str]:
    numbers = ("7392640518", "4186935027")
    return sorted(
        {
            number[start : start + size]
            for number in numbers
            for start in range(10)
            for size in range(2, 11)
            if start + size <= 10
        }
    )


@pytest.mark.parametrize(
    ("pattern", "expected", "tokens"),
    [
        (r"\p{N}", "single", 108),
        (r"\p{N}{1,3}", "groups from the left", 42),
        (r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", "groups from the right", 42),
        (r"\p{N}+", "whole", 18),
    ],
)
def test_digit_groups(tmp_path: Path, pattern: str, expected: str, tokens: int) -> None:
    tokenizer = split_digits(tmp_path, pattern, groups())
    assert _group_digits(tokenizer, "0") == (expected, tokens, 108)
    # Devanagari digits are cut alike by the pattern, but no group of them is a token.
    assert _group_digits(tokenizer, "०")[0] == "bytes"
    assert _group_digits(tokenizer, "०")[1] == 324


def test_learnt_unknown_and_normalised_digits(ranks: Tokenizer, lossy: Tokenizer, tmp_path: Path) -> None:
    learnt = {**RANKS, b"92": 340, b"41": 341, b"5027": 342}
    path = write_ranks(tmp_path / "r", learnt)
    grouping, tokens, digits = _group_digits(open_tokenizer(path, pattern="gpt2"), "0")
    assert (grouping, digits) == ("learnt pieces", 108)
    assert tokens is not None
    assert tokens < 108
    assert _group_digits(lossy, "０") == ("normalised", None, 108)
    assert _group_digits(lossy, "߀") == ("unknown", None, 108)
    findings, figures = check_digits(lossy)
    assert len(findings) == len(figures) == len(ZEROS)
    assert pick(figures, "tokens_per_digit", "nko").value is None
    assert find(findings, "digits: nko").severity == "warning"
    findings, figures = check_digits(ranks)
    assert find(findings, "digits: ascii").count == 108
    assert pick(figures, "tokens_per_digit", "ascii").value == 1.0
    assert pick(figures, "tokens_per_digit", "fullwidth").value == 3.0


def test_every_set_of_digits_is_complete() -> None:
    for zero in ZEROS:
        digits = [chr(ord(zero) + value) for value in range(10)]
        assert [unicodedata.decimal(digit) for digit in digits] == list(range(10))
        assert regex.fullmatch(r"\p{Nd}{10}", "".join(digits))
