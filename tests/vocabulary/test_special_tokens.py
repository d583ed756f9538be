"""Special ids as files of different kinds tell them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from tests.pretraining.tiny_tokenizers import write_byte_level, write_ours
from vocabkit.core.errors import PretrainingError, TokenizerError
from vocabkit.vocabulary.roles import find_special_ids, find_tokenizer_files


def write_words(folder: Path, names: list[str], settings: Mapping[str, object]) -> Path:
    words = ["[UNK]", "the", "cat", *names]
    backend = Backend(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens([AddedToken(name, special=True) for name in ["[UNK]", *names]])
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_ours_as_model_and_as_json(tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "t")
    found = find_special_ids(folder)
    assert (found.begin, found.pad, found.end, found.unknown, found.mask) == (0, 1, 2, 3, 4)
    assert found.reserved == (0, 1, 2, 3, 4)
    (folder / "vocabulary.parquet").unlink()
    (folder / "tokenizer.model").unlink()
    assert find_special_ids(folder) == found


def test_one_token_that_begins_and_ends(tmp_path: Path) -> None:
    folder = write_byte_level(tmp_path)
    found = find_special_ids(folder)
    assert (found.begin, found.end, found.pad, found.mask) == (0, None, 0, None)
    assert found.reserved == (0,)
    # Without a configuration the name tells.
    (folder / "tokenizer_config.json").unlink()
    assert find_special_ids(folder) == found


def test_the_ways_of_bert(tmp_path: Path) -> None:
    names = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    roles = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    found = find_special_ids(write_words(tmp_path, names, roles))
    assert (found.begin, found.end, found.pad, found.mask, found.unknown) == (4, 5, 3, 6, 0)


def test_without_padding_the_end_fills(tmp_path: Path) -> None:
    roles = {"bos_token": "<b>", "eos_token": "<e>"}
    found = find_special_ids(write_words(tmp_path, ["<b>", "<e>"], roles))
    assert (found.begin, found.end, found.pad) == (3, 4, 4)


def test_what_the_configuration_says_goes_before_names(tmp_path: Path) -> None:
    names = ["<s>", "<start>", "</s>"]
    found = find_special_ids(write_words(tmp_path, names, {"bos_token": {"content": "<start>"}}))
    assert (found.begin, found.end) == (4, 5)
    assert 3 in found.reserved


def test_without_a_beginning_it_says_what_it_looked_for(tmp_path: Path) -> None:
    write_byte_level(tmp_path, special=None)
    with pytest.raises(PretrainingError, match=r"no token begins a text.*bos_token") as caught:
        find_special_ids(tmp_path)
    assert caught.value.hint is not None


def test_the_files_that_are_kept(tmp_path: Path) -> None:
    ours = find_tokenizer_files(write_ours(tmp_path / "a"))
    assert ours.file.name == "tokenizer.model"
    assert {path.name for path in ours.copied} == {
        "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "vocabulary.parquet",
    }  # fmt: skip
    copy = find_tokenizer_files(write_ours(tmp_path / "b"))
    assert copy.fingerprint == ours.fingerprint
    other = find_tokenizer_files(write_ours(tmp_path / "c", blocks=True))
    assert other.fingerprint != ours.fingerprint
    theirs = find_tokenizer_files(write_byte_level(tmp_path / "d"))
    assert theirs.file.name == "tokenizer.json"


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="not a tokenizer folder"):
        find_tokenizer_files(tmp_path)
    with pytest.raises(TokenizerError, match="no such file"):
        find_tokenizer_files(tmp_path / "nowhere")


def test_a_model_that_transformers_numbers_otherwise(tmp_path: Path) -> None:
    folder = write_ours(tmp_path)
    settings = json.dumps({"tokenizer_class": "XLMRobertaTokenizer"})
    (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    (folder / "vocabulary.parquet").unlink()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match="numbers its pieces differently"):
        find_special_ids(folder)


def test_roles_of_gpt2s_two_files(tmp_path: Path) -> None:
    content = json.loads((write_byte_level(tmp_path / "t") / "tokenizer.json").read_text("utf-8"))
    pair, model = tmp_path / "pair", content["model"]
    pair.mkdir()
    (pair / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(merge) for merge in model["merges"])
    (pair / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    found = find_special_ids(pair)
    assert (found.begin, found.end, found.pad) == (model["vocab"]["<|endoftext|>"], None, 0)
    assert found.begin in found.reserved


def test_ranks_say_how_to_get_a_tokenizer_that_names_its_tokens(tmp_path: Path) -> None:
    path = tmp_path / "ranks.tiktoken"
    path.write_text("YQ== 0\nYg== 1\n", encoding="utf-8")
    with pytest.raises(TokenizerError, match="no token begins a text") as caught:
        find_tokenizer_files(path)
    assert caught.value.hint is not None
    assert "tokenizer.json" in caught.value.hint
