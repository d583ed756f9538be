"""Rank files and tekken's JSON, against merging by hand."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vocabulary.conftest import SENTENCES
from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import (
    PATTERNS,
    _find_pattern,
    _fingerprint_ranks,
    _is_ranks,
    open_tokenizer,
)
from vocabkit.vocabulary.vocabulary import Kind


def learn_ranks(count: int) -> dict[bytes, int]:
    """BPE by its definition: the commonest pair of neighbours, over and over."""
    ranks = {bytes([value]): value for value in range(256)}
    pattern = regex.compile(PATTERNS["gpt2"][0])
    words = Counter(word.encode() for text in SENTENCES for word in pattern.findall(text))
    while len(ranks) < count:
        pairs: Counter[bytes] = Counter()
        for word, times in words.items():
            parts = merge(word, ranks)
            for left, right in pairwise(parts):
                pairs[left + right] += times
        best = max(pairs, key=lambda token: (pairs[token], token))
        ranks[best] = len(ranks)
    return ranks


def merge(word: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    parts = [bytes([value]) for value in word]
    while True:
        pairs = [
            (ranks[parts[place] + parts[place + 1]], place)
            for place in range(len(parts) - 1)
            if parts[place] + parts[place + 1] in ranks
        ]
        if not pairs:
            return parts
        _, place = min(pairs)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


RANKS = learn_ranks(340)
TEXTS = ("", " ", "<|endoftext|>", "<s>", "a  b\n\n c\t", "don't 12345", "♥ 👩", *SENTENCES)


def encode_slowly(text: str, pattern: str, ranks: dict[bytes, int] = RANKS) -> list[int]:
    words = regex.findall(PATTERNS[pattern][0], text)
    return [ranks[part] for word in words for part in merge(word.encode(), ranks)]


def write_ranks(path: Path, ranks: dict[bytes, int]) -> Path:
    lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()]
    path.write_bytes(b"".join(lines))
    return path


def write_tekken(path: Path, specials: int, used: int) -> Path:
    entries = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in RANKS.items()
    ]
    config = {
        "pattern": PATTERNS["tekken"][0],
        "num_vocab_tokens": len(RANKS),
        "default_vocab_size": used,
        "default_num_special_tokens": specials,
    }
    path.write_text(json.dumps({"config": config, "vocab": entries}, indent=1))
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    # The name says another format: only what it holds may count.
    path = write_ranks(tmp_path_factory.mktemp("ranks") / "tokenizer.model", RANKS)
    return open_tokenizer(path, pattern="gpt2")


def test_encodes_by_definition(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_batch(TEXTS)
    for text, found in zip(TEXTS, ids, strict=True):
        assert found.tolist() == encode_slowly(text, "gpt2")
        assert tokenizer.decode_bytes(found) == text.encode()
    flat, lengths = tokenizer.encode_flat(TEXTS)
    assert flat.tolist() == [index for found in ids for index in found]
    assert lengths.tolist() == [len(found) for found in ids]


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=30))
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = tokenizer.encode_batch([text])
    assert ids.tolist() == encode_slowly(text, "gpt2")
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert tokenizer.normalize(text) is None
    assert tokenizer.unknown_characters([text]) == [0]
    assert tokenizer.count_tokens([text, ""]).tolist() == [
        len(tokenizer.encode_batch([text])[0]),
        0,
    ]


@pytest.mark.parametrize("pattern", [name for name, steps in PATTERNS.items() if len(steps) == 1])
def test_every_pattern_splits_as_regex_does(tmp_path: Path, pattern: str) -> None:
    opened = open_tokenizer(write_ranks(tmp_path / "ranks", RANKS), pattern=pattern)
    texts = ("I'LL we'll 1234567 x\r\n\n  y", "HelloWorld camelCase É\u0301a", *TEXTS)
    for text, found in zip(texts, opened.encode_batch(texts), strict=True):
        assert found.tolist() == encode_slowly(text, pattern)


def test_patterns_differ_in_what_they_split(tmp_path: Path) -> None:
    ranks = {**RANKS, b"23": 340, b"123": 341}
    path = write_ranks(tmp_path / "ranks", ranks)
    counts = {}
    for pattern in ("gpt2", "cl100k", "qwen2"):
        (ids,) = open_tokenizer(path, pattern=pattern).encode_batch(["123123"])
        counts[pattern] = len(ids)
    assert counts == {"gpt2": 2, "cl100k": 2, "qwen2": 6}


def test_words_are_not_exact(tokenizer: Tokenizer) -> None:
    assert tokenizer.style == "byte-level"
    assert tokenizer.word_prefix == " "
    assert tokenizer.exact_on_words is not None
    assert "first word of a line" in tokenizer.exact_on_words


def test_ranks_left_out_are_unused(tmp_path: Path) -> None:
    ranks = {**RANKS, b"zzz": 400}
    lines = write_ranks(tmp_path / "a", ranks)
    lines.write_bytes(lines.read_bytes() + b"= 401\n\n")
    opened = open_tokenizer(lines, pattern="gpt2")
    assert opened.size == 401
    assert opened.kinds[350] is Kind.UNUSED
    assert opened.token_bytes(350) is None
    assert opened.token_bytes(400) == b"zzz"


def test_tekken(tmp_path: Path) -> None:
    opened = open_tokenizer(write_tekken(tmp_path / "any.json", specials=10, used=310))
    used = {token: rank for token, rank in RANKS.items() if rank < 300}
    assert opened.size == 310
    assert opened.kinds[9] is Kind.CONTROL
    assert opened.token_bytes(9) is None
    assert opened.kinds[10] is Kind.NORMAL
    for text, found in zip(TEXTS, opened.encode_batch(TEXTS), strict=True):
        expected = [rank + 10 for rank in encode_slowly(text, "tekken", used)]
        assert found.tolist() == expected
        assert opened.encode_flat([text])[0].tolist() == expected
        assert opened.decode_bytes(found) == text.encode()


def test_an_unknown_vocabulary_needs_a_pattern(tmp_path: Path) -> None:
    path = write_ranks(tmp_path / "cl100k_base.tiktoken", RANKS)
    with pytest.raises(TokenizerError, match="340 ranks: it is not known which pattern") as caught:
        open_tokenizer(path)
    assert all(name in caught.value.message for name in PATTERNS)
    assert caught.value.hint is not None
    assert "--pattern" in caught.value.hint
    with pytest.raises(TokenizerError, match="no pattern 'nothing'"):
        open_tokenizer(path, pattern="nothing")
    with pytest.raises(TokenizerError, match="one pattern, falcon is 3"):
        open_tokenizer(path, pattern="falcon")


def test_a_fingerprint_is_of_the_ranks_alone() -> None:
    backwards = dict(reversed(RANKS.items()))
    assert _fingerprint_ranks(backwards) == _fingerprint_ranks(RANKS)
    assert _fingerprint_ranks({**RANKS, b"zz": 340}) != _fingerprint_ranks(RANKS)
    assert _find_pattern(RANKS) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"IQ==", r":257: expected a token in base64"),
        (b"!! 9", r":257: expected a token in base64"),
        (b"IQ== x", r":257: expected a token in base64"),
        (b"IQ== 300", r":257: the token b'!' occurs twice, first at line 34"),
        (b"YWI= 5", ":257: rank 5 occurs twice, first at line 6"),
        (b"YWI= -5", ":257: the token b'ab' has rank -5"),
    ],
)
def test_wrong_lines(tmp_path: Path, line: bytes, message: str) -> None:
    path = write_ranks(tmp_path / "r", {bytes([value]): value for value in range(256)})
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(TokenizerError, match=message) as caught:
        open_tokenizer(path, pattern="gpt2")
    assert caught.value.hint


def test_missing_bytes_and_fields(tmp_path: Path) -> None:
    path = write_ranks(tmp_path / "r", {b"a": 0, b"b": 1})
    with pytest.raises(TokenizerError, match="254 of the 256 bytes have no rank, 0x00 first"):
        open_tokenizer(path, pattern="gpt2")
    path.write_text('{"config": {"pattern": "x"}, "vocab": [{"token_bytes": "YQ=="}]}')
    with pytest.raises(TokenizerError, match="config lacks default_num_special_tokens"):
        open_tokenizer(path)


def test_lone_surrogates_and_texts_too_deep(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"text 1: character 1 .*U\+D800"):
        tokenizer.encode_batch(["a", "b\ud800"])
    # The pattern engine recurses on a long run of spaces and panics, which is no Exception.
    with pytest.raises(TokenizerError, match=r"text 2 \(5,000,000 characters\)"):
        tokenizer.encode_flat(["a", "b", " " * 5_000_000])
    assert len(tokenizer.encode_batch(["ab" * 100_000])[0]) > 0


# "Hello World!" as the libraries these files come from encode it, by number of ids.
PUBLISHED = {
    50_281: [15496, 2159, 0],
    100_256: [9906, 4435, 0],
    128_000: [9906, 4435, 0],
    151_643: [9707, 4337, 0],
    199_998: [13225, 5922, 0],
}


def test_published_files_are_told_by_what_they_hold() -> None:
    folder = os.environ.get("VOCABKIT_TOKENIZERS")
    files = [path for path in Path(folder).rglob("*") if path.is_file()] if folder else []
    found = {}
    for path in sorted(path for path in files if path.stat().st_size > 500_000):
        with path.open("rb") as file:
            is_rank_file = _is_ranks(file.read(200))
        if is_rank_file:
            opened = open_tokenizer(path)  # no pattern given: it must be known
            found[opened.size] = opened.encode_batch(["Hello World!"])[0].tolist()
            text = "don't  12345 Ẹ̀kọ́ ภาษา\n\n<|endoftext|> "
            assert opened.decode_bytes(opened.encode_batch([text])[0]) == text.encode()
    known = found.keys() & PUBLISHED.keys()
    if not known:
        pytest.skip("VOCABKIT_TOKENIZERS names no folder with published rank files")
    assert {size: found[size] for size in known} == {size: PUBLISHED[size] for size in known}
