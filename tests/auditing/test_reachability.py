"""Vocabularies with planted pieces: each must get the class it was built for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers

from tests.vocabulary.conftest import build
from tests.vocabulary.test_tiktoken_ranks import RANKS, write_ranks
from vocabkit.auditing.figures import Finding
from vocabkit.auditing.integrity import Reach, _check_reachability, _classify_pieces, _list_pieces
from vocabkit.corpus.normalization import load_normalizer
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import Spacing, assemble_vocabulary, write_model

LETTERS = "▁abcdefghijklmnopqrstuvwxyz«»。1я"


def make_unigram(
    folder: Path, pieces: Mapping[str, float], normalizer: str = "nmt_nfkc", fallback: bool = False
) -> Tokenizer:
    scores = {letter: -8.0 for letter in LETTERS} | dict(pieces)
    vocabulary = assemble_vocabulary(
        scores,
        list(scores.values()),
        "unigram",
        load_normalizer(normalizer),
        byte_fallback=fallback,
    )
    vocabulary.save(folder)
    return open_tokenizer(folder)


def classify(tokenizer: Tokenizer) -> dict[bytes, Reach]:
    pieces = _list_pieces(tokenizer)
    classes = _classify_pieces(tokenizer, pieces)
    return {piece.data: own for piece, own in zip(pieces, classes, strict=True)}


def find(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def test_unigram(tmp_path: Path) -> None:
    pieces = {
        "the": -2.0,
        "▁the": -2.0,
        "ab": -30.0,  # a + b are better wherever they stand
        "ﬁ": -2.0,  # the normaliser writes fi
        "é": -2.0,
        "e\u0301x": -2.0,  # and composes this
    }
    found = classify(make_unigram(tmp_path, pieces))
    assert found[b"the"] == "reachable"
    assert found[b" the"] == "reachable"
    assert found["é".encode()] == "reachable"
    assert found[b"ab"] == "dead"
    assert found["ﬁ".encode()] == "normalization-unreachable"
    assert found["e\u0301x".encode()] == "normalization-unreachable"
    assert set(found) >= {b"a", b" "}
    assert all(found[letter.encode()] == "reachable" for letter in "abcd")


def test_runs_of_spaces_need_letters_beside_them(tmp_path: Path) -> None:
    vocabulary = build("bpe", True, "identity")
    usable = vocabulary.pieces[264:]
    spaced = assemble_vocabulary(
        ["▁▁", "▁▁▁", *usable], [0.0, -0.5, *vocabulary.scores[264:]], "bpe", vocabulary.normalizer
    )
    spaced = replace(spaced, spacing=Spacing(remove_extra=False))
    path = tmp_path / "m.model"
    path.write_bytes(write_model(spaced))
    found = classify(open_tokenizer(path))
    assert {found[b"  "], found[b"   "]} <= {"reachable", "context-only"}


def test_a_piece_that_only_letters_bring_out(tmp_path: Path) -> None:
    # At the start of a word and after « other pieces are better; after another letter `ab` is.
    pieces = {"ab": -2.0, "▁a": -0.1, "«a": -0.1}
    found = classify(make_unigram(tmp_path, pieces))
    assert found[b"ab"] == "context-only"
    assert found["«a".encode()] == "reachable"


def test_byte_pieces_in_the_shadow_of_characters(tmp_path: Path) -> None:
    found = classify(make_unigram(tmp_path, {"the": -2.0}, "identity", fallback=True))
    tokenizer = open_tokenizer(tmp_path)
    pieces = _list_pieces(tokenizer)
    classes = _classify_pieces(tokenizer, pieces)
    byte = {
        piece.data: own
        for piece, own in zip(pieces, classes, strict=True)
        if tokenizer.kinds[piece.index] == "byte"
    }
    assert len(byte) == 256
    assert byte[b"a"] == "shadowed byte"
    assert byte[b"Z"] == "reachable"  # no piece for Z
    assert byte[b"\xc3"] == "unverifiable"
    assert found[b"the"] == "reachable"


def test_a_pattern_that_cuts_a_piece(tmp_path: Path) -> None:
    ranks = {**RANKS, b"a b": 340, b"12": 341, b"\xe1\x80": 342, b"qzj": 343}
    path = write_ranks(tmp_path / "ranks", ranks)
    found = classify(open_tokenizer(path, pattern="qwen2"))
    assert found[b"a b"] == "pretokenizer-unreachable"
    assert found[b"12"] == "pretokenizer-unreachable"
    assert found[b"\xe1\x80"] == "unverifiable"
    assert found[b"\xff"] == "unverifiable"
    assert found[b"a"] == "reachable"
    # tiktoken takes a chunk that is a token whole, even if no merges lead to it.
    assert found[b"qzj"] == "reachable"
    assert classify(open_tokenizer(path, pattern="gpt2"))[b"12"] == "reachable"


def test_an_orphan_of_the_merges(tmp_path: Path) -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate([*letters, "th", "the", "xyz"])}
    backend = Backend(models.BPE(vocab, [("t", "h"), ("th", "e")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.save(str(tmp_path / "tokenizer.json"))
    found = classify(open_tokenizer(tmp_path))
    assert found[b"the"] == "reachable"
    assert found[b"th"] == "reachable"
    assert found[b"xyz"] == "dead"


def test_wordpiece(tmp_path: Path) -> None:
    tokens = ["[UNK]", "play", "##ing", "##!", "!", "café", "a", "##b", "ab", "[x]", "«", "»"]
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = Backend(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.save(str(tmp_path / "tokenizer.json"))
    found = classify(open_tokenizer(tmp_path))
    assert found[b" play"] == "reachable"
    assert found[b"ing"] == "reachable"
    assert found[b" !"] == "reachable"
    assert found[b"!"] == "pretokenizer-unreachable"
    assert found[b" [x]"] == "pretokenizer-unreachable"
    assert found[" café".encode()] == "normalization-unreachable"


def test_findings_count_every_piece_once(tmp_path: Path) -> None:
    tokenizer = make_unigram(tmp_path, {"ab": -30.0, "ﬁ": -2.0, "fi": -2.0, "x\u0007y": -2.0})
    findings = _check_reachability(tokenizer)
    classes = [finding for finding in findings if finding.check.startswith("pieces: ")]
    total = len(_list_pieces(tokenizer))
    assert sum(finding.count or 0 for finding in classes) == total
    assert all(finding.total == total for finding in classes)
    assert total == tokenizer.size - 5
    dead = find(findings, "pieces: dead")
    assert dead.count == 1
    assert dead.severity == "warning"
    assert dead.examples == ("ab",)
    assert find(findings, "duplicates: normaliser").examples == ("fi",)
    assert find(findings, "duplicates: NFKC").count == 1
    assert find(findings, "junk: control").examples == ("x\\u0007y",)
    assert find(findings, "pieces: reachable").severity == "fine"


def test_duplicates_count_marks_and_spaces_apart(tmp_path: Path) -> None:
    # The last two have in common only that the normaliser deletes them.
    names = ("\u0301", "\u0300", "▁the", "the", "\u0007", "\u0008")
    pieces = dict.fromkeys(names, -2.0)
    findings = _check_reachability(make_unigram(tmp_path, pieces))
    assert find(findings, "duplicates: normaliser").count == 0
    assert find(findings, "duplicates: NFKC").count == 0


@pytest.mark.parametrize(
    ("piece", "check"),
    [
        ("!" * 8, "junk: punctuation"),
        ("\ufffdx", "junk: replacement"),
        ("\u0085", "junk: control"),
        ("еr", "junk: mixed scripts"),
        ("x" * 65, "junk: long"),
    ],
)
def test_junk(tmp_path: Path, piece: str, check: str) -> None:
    harmless = ["!" * 7, "日本語の", "x" * 64, "\t", "12ab"]
    tokens = ["<unk>", *LETTERS, *harmless]
    for extra, expected in (([], 0), ([piece], 1)):
        vocab = [(token, -8.0) for token in [*tokens, *extra]]
        model = {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False}
        (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
        findings = _check_reachability(open_tokenizer(tmp_path))
        junk = {item.check: item.count for item in findings if item.check.startswith("junk")}
        assert junk[check] == expected
        assert sum(count or 0 for count in junk.values()) == expected


def test_examples_are_at_most_ten_and_safe_to_print(tmp_path: Path) -> None:
    pieces = {f"ﬁ\u202e{index}": -2.0 for index in range(30)}
    found = find(_check_reachability(make_unigram(tmp_path, pieces)), "pieces: normalization-unreachable")
    assert found.count == 30
    assert len(found.examples) == 10
    assert all("\u202e" not in example for example in found.examples)
