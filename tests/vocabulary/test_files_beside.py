"""What files beside a tokenizer's say: added tokens, and the class and settings that transformers goes by."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.extension.tiny_models import ADDED, OLD, write_model, write_tokenizer
from tests.vocabulary.conftest import train
from vocabkit.configurations.two_stage import read_base
from vocabkit.core.errors import CheckpointError, TokenizerError
from vocabkit.extension.plan import match_tokenizers, plan_extension
from vocabkit.vocabulary.byte_level import BpeBase
from vocabkit.vocabulary.roles import TokenizerSource, find_special_ids, open_source
from vocabkit.vocabulary.tokenizers import PATTERNS, _read_ranks, open_tokenizer, open_vocabulary
from vocabkit.vocabulary.vocabulary import Kind
from vocabkit.vocabulary.vocabulary import write_tokenizer as save_tokenizer

CODE = [
    'if (x != 1234) {\n\treturn f(a[12], "IT\'S");\n}\n\n',
    "it's 12 lines!!\n\nor 1234 or so,\n(more)",
] * 30
NAMES = ("<|im_start|>", "<|im_end|>")


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def train_bytes(pattern: str, size: int = 400) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(step), "isolated") for step in PATTERNS[pattern]]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, letters])
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(CODE, trainer)
    return backend


def write_pair(folder: Path, backend: Tokenizer, **settings: Any) -> Path:
    """GPT-2's two files, and a configuration."""
    model = json.loads(backend.to_str())["model"]
    write_json(folder / "vocab.json", model["vocab"])
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"]), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def write_kind(folder: Path, kind: str) -> int:
    """A folder of one form; returns the number of its own ids."""
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if kind == "pair":
        backend = train_bytes("gpt2")
        write_pair(
            folder, backend, tokenizer_class="GPT2Tokenizer", unk_token="~", bos_token="~", eos_token="~"
        )
        return backend.get_vocab_size()
    folder.mkdir()
    if kind == "model":
        settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
        (folder / "tokenizer.model").write_bytes(train("bpe", True))
        write_json(folder / "tokenizer_config.json", {**settings, "unk_token": "<unk>"})
        return open_tokenizer(folder).size
    backend = train_bytes("qwen2")
    backend.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", settings)
    return backend.get_vocab_size()


def write_tokenizer_json(opened: Any, folder: Path) -> None:
    """The tokenizer.json of an opened .model, without our configuration."""
    settings = (folder / "tokenizer_config.json").read_bytes()
    save_tokenizer(opened.vocabulary, folder)
    (folder / "tokenizer_config.json").write_bytes(settings)


def tell(folder: Path, where: str, tokens: Mapping[str, int]) -> None:
    """Write added tokens into one of the two files that list them."""
    if where == "added_tokens.json":
        write_json(folder / where, dict(tokens))
        return
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    settings["added_tokens_decoder"] = {
        str(index): {"content": text, **flags} for text, index in tokens.items()
    }
    write_json(folder / "tokenizer_config.json", settings)


@pytest.mark.parametrize("where", ["added_tokens.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", ["json", "model", "pair"])
def test_tokens_told_beside_have_the_ids_that_transformers_gives(kind: str, where: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "t"
    size = write_kind(folder, kind)
    tell(folder, where, {name: size + place for place, name in enumerate(NAMES)})
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    source = open_source(folder)
    assert source.size == len(theirs) == size + 2
    assert [source.ids[name] for name in NAMES] == theirs.convert_tokens_to_ids(list(NAMES)) == [size, size + 1]
    special = where == "tokenizer_config.json"
    for tokenizer in (source.tokenizer, open_tokenizer(folder)):
        assert set(tokenizer.kinds[size:]) == {Kind.CONTROL if special else Kind.USER}
        assert tokenizer.token_bytes(size) == (None if special else NAMES[0].encode())


@pytest.mark.parametrize("where", ["added_tokens.json", "tokenizer_config.json"])
def test_their_trained_rows_are_no_padding(where: str, tmp_path: Path) -> None:
    size = len(OLD)
    write_model(tmp_path / "model", rows=size + 4)  # two told tokens, and two rows of padding
    tell(tmp_path / "model", where, {name: size + place for place, name in enumerate(NAMES)})
    both = write_tokenizer(tmp_path / "both", (*OLD, *ADDED[:1]))
    tell(both, where, {name: size + 1 + place for place, name in enumerate(NAMES)})
    kept = plan_extension(tmp_path / "model", both).rows.kept.tolist()
    assert kept[: size + 3] == [*range(size), -1, size, size + 1]
    without = plan_extension(tmp_path / "model", write_tokenizer(tmp_path / "new", (*OLD, *ADDED)))
    # What has no place in the new vocabulary is counted, and stays in the receipt.
    assert without.coverage.dropped == 2
    written = json.loads(plan_extension(tmp_path / "model", both).written["tokenizer.json"])
    assert [entry["content"] for entry in written["added_tokens"][-2:]] == list(NAMES)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({"<|im_start|>": 7}, r"id 7 is .*'<\|im_start\|>' is 7"),
        ({"<s>": 900}, r"'<s>' has id 0.*'<s>' is 900"),
        ({"<|im_start|>": 900}, r"ids end at 40.*'<\|im_start\|>' as 900: no token has id 41"),
    ],
)
def test_files_that_disagree_are_refused_with_both_ids(
    tokens: dict[str, int], message: str, tmp_path: Path
) -> None:
    folder = write_tokenizer(tmp_path / "t")
    tell(folder, "added_tokens.json", tokens)
    for way in (open_tokenizer, open_source, find_special_ids):
        with pytest.raises(TokenizerError, match=message) as caught:
            way(folder)
        assert "save_pretrained" in (caught.value.hint or "")
    tell(folder, "added_tokens.json", {"<a>": len(OLD)})
    tell(folder, "tokenizer_config.json", {"<b>": len(OLD)})
    with pytest.raises(
        TokenizerError, match=r"id 41 is '<a>' in added_tokens.json and '<b>' in tokenizer_config"
    ):
        open_tokenizer(folder)


def test_of_a_model_and_a_tokenizer_json_that_are_not_ours_the_second_counts(tmp_path: Path) -> None:
    """A fine-tuned model's .model lacks what was added; its vocabulary can still be a base."""
    folder = tmp_path / "t"
    size = write_kind(folder, "model")
    write_tokenizer_json(open_tokenizer(folder / "tokenizer.model"), folder)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.add_tokens([AddedToken(NAMES[0], normalized=False)])
    backend.save(str(folder / "tokenizer.json"))
    text = f"the {NAMES[0]} dog"
    opened = open_tokenizer(folder)
    assert opened.size == size + 1
    assert opened.encode_batch([text])[0].tolist() == backend.encode(text, add_special_tokens=False).ids
    assert open_vocabulary(folder).size == size


def test_a_file_of_another_name_has_no_neighbours(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "t")
    tell(folder, "added_tokens.json", {"<s>": 900})
    (folder / "tokenizer.json").rename(folder / "other.json")
    assert open_tokenizer(folder / "other.json").size == len(OLD)


def test_further_merges_are_numbered_after_told_tokens(tmp_path: Path) -> None:
    size = write_kind(tmp_path / "t", "json")
    tell(tmp_path / "t", "added_tokens.json", {name: size + place for place, name in enumerate(NAMES)})
    base = BpeBase.read(tmp_path / "t")
    assert base.size == size + 2
    base.append(characters=["\u2605"]).save(tmp_path / "new", {})
    opened = open_tokenizer(tmp_path / "new")
    assert opened.size == size + 3


def test_blocks_are_numbered_after_told_tokens(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(train("unigram", False))
    size = open_vocabulary(tmp_path).size
    write_json(tmp_path / "tokenizer_config.json", {})
    tell(tmp_path, "added_tokens.json", {"<pad>": size})
    base = read_base(tmp_path).vocabulary
    assert base.pieces[size:] == ("<pad>",)
    assert base.append_block("yor_Latn", ["\u2605"], np.array([-9.0])).id_of("\u2605") == size + 1


@pytest.mark.parametrize("kind", ["T5", "DebertaV2"])
def test_a_lone_model_without_what_its_class_adds_is_refused(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    name = {"T5": "spiece.model", "DebertaV2": "spm.model"}[kind]
    folder = tmp_path / kind
    folder.mkdir()
    (folder / name).write_bytes(train("unigram", False))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": f"{kind}Tokenizer", "unk_token": "<unk>"})
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(theirs) > open_tokenizer(folder).size
    with pytest.raises(TokenizerError, match=f"{kind}Tokenizer adds tokens"):
        open_source(folder)
    theirs.save_pretrained(tmp_path / "saved")
    assert open_source(tmp_path / "saved").size == len(theirs)


def test_ranks_cannot_be_the_old_tokenizer_of_rows_they_do_not_name(tmp_path: Path) -> None:
    path = tmp_path / "qwen.tiktoken"
    lines = [f"{base64.b64encode(bytes([value])).decode()} {value}" for value in range(256)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new = open_source(write_tokenizer(tmp_path / "new"))
    for rows in (256, 300):
        old = TokenizerSource(path, tmp_path, _read_ranks(path, "qwen2"))
        if rows == old.size:
            assert match_tokenizers(old, new, rows)[2].dropped > 0
            continue
        with pytest.raises(CheckpointError, match=r"does not name its special tokens: 44 rows are beyond"):
            match_tokenizers(old, new, rows)
    decoder = {str(256 + place): {"content": name, "special": True} for place, name in enumerate(NAMES)}
    write_json(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": decoder})
    opened = _read_ranks(path, "qwen2")
    assert opened.kinds[255:] == (Kind.NORMAL, Kind.CONTROL, Kind.CONTROL)
    assert opened.token_bytes(256) is None
    with pytest.raises(CheckpointError, match=r"does not name its special tokens: id 256 is one"):
        match_tokenizers(TokenizerSource(path, tmp_path, opened), new, 258)


@pytest.mark.parametrize("listed", [True, False])
def test_of_two_files_that_name_a_role_the_one_of_transformers_counts(listed: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = write_tokenizer(tmp_path / "t")
    write_json(folder / "special_tokens_map.json", {"bos_token": "</s>", "eos_token": "<mask>"})
    if listed:
        tell(folder, "tokenizer_config.json", {"<s>": 0, "</s>": 2})
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    roles = open_source(folder).roles
    assert (roles["bos"], roles["eos"]) == (theirs.bos_token_id, theirs.eos_token_id)
    assert (roles["bos"] == 0) is listed


@pytest.mark.parametrize("where", ["added_tokens.json", "tokenizer_config.json"])
@pytest.mark.parametrize("special", [True, False])
def test_whether_a_token_is_special_is_told_as_to_transformers(
    where: str, special: bool, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    size = write_kind(tmp_path / "t", "json")
    content = json.loads((tmp_path / "t/tokenizer.json").read_text(encoding="utf-8"))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    content["added_tokens"] = [{"id": size, "content": NAMES[0], **flags}]
    write_json(tmp_path / "t/tokenizer.json", content)
    tell(tmp_path / "t", where, {NAMES[0]: size})
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "t").added_tokens_decoder[size]
    assert (open_tokenizer(tmp_path / "t").kinds[size] is Kind.CONTROL) is theirs.special


# --- Classes and settings --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "pattern"), [("Qwen2", "qwen2"), ("Cohere", "digits-gpt2"), ("GPT2", "gpt2")])
def test_two_files_are_split_as_their_class_splits(name: str, pattern: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    special = {f"{role}_token": "~" for role in ("bos", "eos", "unk", "pad")}
    folder = write_pair(tmp_path / "t", train_bytes(pattern), tokenizer_class=f"{name}Tokenizer", **special)
    texts = [*CODE[:2], "e\u0301 12345", " x\n\n y"]
    wanted = transformers.AutoTokenizer.from_pretrained(folder)(texts, add_special_tokens=False)["input_ids"]
    ours = open_tokenizer(folder)
    assert [ids.tolist() for ids in ours.encode_batch(texts)] == wanted
    if name == "Qwen2":  # the text tells the patterns apart
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
        assert [ids.tolist() for ids in open_tokenizer(folder).encode_batch(texts)] != wanted


@pytest.mark.parametrize("told", [True, False])
def test_a_space_is_put_first_where_the_class_is_told_to(told: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    backend = Tokenizer(train_bytes("gpt2").model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=not told)
    backend.decoder = decoders.ByteLevel()
    settings = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": told}
    special = {f"{role}_token": "~" for role in ("bos", "eos", "unk")}
    pair = write_pair(tmp_path / "pair", backend, **settings, **special)
    whole = tmp_path / "whole"
    whole.mkdir()
    backend.save(str(whole / "tokenizer.json"))
    write_json(whole / "tokenizer_config.json", settings | special)
    for folder in (pair, whole):
        wanted = transformers.AutoTokenizer.from_pretrained(folder)("it's 12", add_special_tokens=False)[
            "input_ids"
        ]
        opened = open_tokenizer(folder)
        assert opened.encode_batch(["it's 12"])[0].tolist() == wanted
        assert opened.decode_bytes(wanted) == b"it's 12"


@pytest.mark.parametrize(("key", "text"), [("do_lower_case", "The dög"), ("strip_accents", "dög")])
@pytest.mark.parametrize("told", [True, False])
def test_a_bert_is_lower_cased_as_its_configuration_says(
    key: str, text: str, told: bool, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    tokens = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "the", "The", "dog", "dög")
    backend = Tokenizer(
        models.WordPiece({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    accents = None if key == "do_lower_case" else not told
    backend.normalizer = normalizers.BertNormalizer(lowercase=not told, strip_accents=accents)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": not told, key: told}
    write_json(tmp_path / "tokenizer_config.json", settings)
    wanted = transformers.AutoTokenizer.from_pretrained(tmp_path)(text, add_special_tokens=False)["input_ids"]
    assert open_tokenizer(tmp_path).encode_batch([text])[0].tolist() == wanted


def test_a_model_puts_no_space_first_where_the_class_is_told_not_to(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tokenizer.model").write_bytes(train("bpe", True))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    texts = ["small birds", " lazy dog", "the\nfox"]
    for told in (True, False):
        settings = {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": told, "legacy": False, **special}
        write_json(tmp_path / "tokenizer_config.json", settings)
        wanted = transformers.AutoTokenizer.from_pretrained(tmp_path)(texts[:1], add_special_tokens=False)
        found = open_tokenizer(tmp_path).encode_batch(texts)
        assert found[0].tolist() == wanted["input_ids"][0]


WORDS = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##er\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("added_tokens.json", {"<a>": 7, "<b>": 7}, "'<a>' and '<b>' both have the id 7"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "<a>"}}}, "its id: 'x'"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"text": "<a>"}}}, "its id: '7'"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"7": {"content": "<a>"}, "8": {"content": "<a>"}}},
            "'<a>' has the ids 7 and 8",
        ),
        ("tokenizer_config.json", {"added_tokens_decoder": {"9": {"content": "<a>"}}}, "'<a>' has id 9"),
    ],
)
def test_added_tokens_that_are_none_or_have_one_id_are_refused(
    name: str, content: Mapping[str, object], said: str, tmp_path: Path
) -> None:
    (tmp_path / "vocab.txt").write_text(WORDS)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(TokenizerError, match=said):
        open_tokenizer(tmp_path)


def test_roles_that_are_no_tokens_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(WORDS)
    told = {"unk_token": 5, "additional_special_tokens": "q", "do_lower_case": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    opened = open_tokenizer(tmp_path)
    assert [opened.kinds[index] for index in range(6)] == [
        Kind.CONTROL,
        Kind.UNKNOWN,
        *[Kind.CONTROL] * 3,
        Kind.NORMAL,
    ]
