"""Tokens of two vocabularies matched by surface, across spellings of a space, and special ones by role."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.extension.tiny_models import OLD, write_tokenizer
from vocabkit.checkpoints.receipt import invert_kept
from vocabkit.core.errors import TokenizerError
from vocabkit.extension.plan import match_tokenizers
from vocabkit.vocabulary.adapters import BYTE_LETTERS
from vocabkit.vocabulary.roles import TokenizerSource, open_source


def write_byte_level(folder: Path, words: list[str]) -> TokenizerSource:
    """A byte-level BPE whose tokens are the bytes and some words, `Ġ` for a space."""
    folder.mkdir()
    letters = [BYTE_LETTERS[byte] for byte in range(256)]
    names = ["<|end|>", *letters, *words]
    merges: list[tuple[str, str]] = []
    backend = Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|end|>"])
    backend.save(str(folder / "tokenizer.json"))
    return open_source(folder)


def write_word_pieces(folder: Path) -> TokenizerSource:
    folder.mkdir()
    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[unused1]",
        "the",
        "cat",
        "##s",
        "##ing",
    ]
    backend = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(names[:5])
    backend.save(str(folder / "tokenizer.json"))
    roles = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    settings = {f"{role}_token": text for role, text in roles.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return open_source(folder)


def test_three_spellings_of_a_space_are_one(tmp_path: Path) -> None:
    pieces = write_tokenizer(tmp_path / "t")
    new = open_source(pieces)
    levels = write_byte_level(tmp_path / "b", ["Ġthe", "ing", "the"])
    mode, plan, _ = match_tokenizers(levels, new, levels.size, trim=True)
    assert mode == "replace"
    kept = {OLD[place]: old for place, old in enumerate(plan.kept.tolist())}
    assert kept["▁the"] == 257
    assert kept["ing"] == 258
    assert kept["a"] == 1 + ord("a")
    words = write_word_pieces(tmp_path / "w")
    _, plan, _ = match_tokenizers(words, new, words.size)
    kept = {OLD[place]: old for place, old in enumerate(plan.kept.tolist())}
    assert kept["▁the"] == 6
    assert kept["▁cat"] == 7
    assert kept["ing"] == 9
    assert kept["s"] == 8


def test_special_tokens_are_matched_by_role_and_kept_out_of_statistics(tmp_path: Path) -> None:
    new = open_source(write_tokenizer(tmp_path / "t"))
    words = write_word_pieces(tmp_path / "w")
    _, plan, _ = match_tokenizers(words, new, 12)
    kept = {OLD[place]: old for place, old in enumerate(plan.kept.tolist())}
    assert [kept[name] for name in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")] == [2, 0, 3, 1, 4]
    assert plan.special[:5].all()
    assert not plan.old_used[:6].any()  # specials, [unused1]
    assert plan.old_used[6:10].all()
    assert plan.padding.tolist() == [False] * 10 + [True] * 2


def test_the_same_tokenizer_changes_nothing(tmp_path: Path) -> None:
    source = open_source(write_tokenizer(tmp_path / "t"))
    mode, plan, coverage = match_tokenizers(source, source, source.size)
    assert mode == "extend"
    np.testing.assert_array_equal(plan.kept, np.arange(source.size))
    assert coverage.dropped == coverage.approximated == coverage.remapped == 0


@given(kept=st.lists(st.integers(-1, 9), max_size=20))
def test_new_ids_point_back_to_the_same_row(kept: list[int]) -> None:
    rows = np.array(kept, np.int64)
    size = len(kept)
    found = invert_kept(rows, 10)
    for index, place in enumerate(found.tolist()):
        assert place == -1 if index not in kept else kept[place] == index
        if index < size and kept[index] == index:
            assert place == index


def test_a_lone_model_that_counts_otherwise_is_refused(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    text = ["the cat sat on the mat", "a dog ran over the hill"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_prefix=str(tmp_path / "spiece"), vocab_size=40,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (tmp_path / "spiece.vocab").unlink()
    with pytest.raises(TokenizerError, match="numbers its pieces differently"):
        open_source(tmp_path, "xlm-roberta")
    assert open_source(tmp_path, "llama").size > 20


def test_marks_of_words_are_no_part_of_a_token(tmp_path: Path) -> None:
    # The same words under three marks: every row is the other's.
    lines = ["the cats are playing", "a dog plays with the cat", "players played in the garden"] * 5
    sources: list[TokenizerSource] = []
    for mark in ("##", "@@", "_"):
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]", continuing_subword_prefix=mark))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=80, special_tokens=["[UNK]"], continuing_subword_prefix=mark, show_progress=False
        )
        backend.train_from_iterator(lines, trainer)
        backend.save(str(tmp_path / f"{len(sources)}.json"))
        sources.append(open_source(tmp_path / f"{len(sources)}.json"))
    plain = {text: index for index, text in enumerate(sources[0].surfaces) if text}
    assert plain.keys() > {b" the", b"s", b" p"}
    for other in sources[1:]:
        _, plan, coverage = match_tokenizers(sources[0], other, sources[0].size)
        shared = [text for text in other.surfaces if text in plain]
        assert len(shared) > 0.9 * other.size
        assert coverage.kept + coverage.remapped == len(shared) + 1  # [UNK] by its name
        for index, text in enumerate(other.surfaces):
            if text in plain:
                assert plan.kept[index] == plain[text]


def test_a_space_behind_a_word_is_not_one_before_it(tmp_path: Path) -> None:
    names = ["<unk>", "t", "h", "e", "th", "e</w>", "the</w>", "t</w>", "h</w>"]
    table = {name: index for index, name in enumerate(names)}
    merges = [("t", "h"), ("th", "e</w>")]
    backend = Tokenizer(models.BPE(table, merges, unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.save(str(tmp_path / "suffix.json"))
    old = open_source(tmp_path / "suffix.json")
    assert old.surfaces[6] == b"the "
    new = write_byte_level(tmp_path / "b", ["Ġthe", "the", "th", "theĠ"])
    _, plan, _ = match_tokenizers(old, new, old.size)
    found = {new.surfaces[index]: kept for index, kept in enumerate(plan.kept.tolist()) if kept >= 0}
    assert found[b"the "] == 6
    assert found[b"th"] == 4
    assert b" the" not in found
    assert b"the" not in found
