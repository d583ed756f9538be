"""One reader of a tokenizer's folder: what one stage refuses all refuse, and in the same words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from tests.extension.tiny_models import write_model
from tests.pretraining.tiny_tokenizers import LINES, WORDS
from vocabkit.core.errors import TokenizerError, VocabkitError
from vocabkit.extension.plan import plan_extension
from vocabkit.vocabulary.adapters import SentencePieceTokenizer
from vocabkit.vocabulary.roles import (
    _check_numbering,
    complete_tokenizer,
    find_special_ids,
    find_tokenizer_files,
    open_source,
)
from vocabkit.vocabulary.tokenizers import open_tokenizer

# The class of transformers, the model, and the name its .model has.
ARCHITECTURES = {
    "plbart": ("PLBartTokenizer", "plbart", "sentencepiece.bpe.model"),
    "speech-to-text": ("Speech2TextTokenizer", "speech_to_text", "sentencepiece.bpe.model"),
    "xlm-r": ("XLMRobertaTokenizer", "xlm-roberta", "sentencepiece.bpe.model"),
    "mbart": ("MBartTokenizer", "mbart", "sentencepiece.bpe.model"),
    "nllb": ("NllbTokenizer", "m2m_100", "sentencepiece.bpe.model"),
    "camembert": ("CamembertTokenizer", "camembert", "sentencepiece.bpe.model"),
    "pegasus": ("PegasusTokenizer", "pegasus", "spiece.model"),
}
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = tmp_path_factory.mktemp("model") / "spiece"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20), model_prefix=str(prefix), vocab_size=60,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return prefix.with_suffix(".model")


def write_folder(folder: Path, kind: str, model: Path, *told: str) -> Path:
    """A folder of an architecture: its .model, and the files of `told`."""
    class_name, model_type, name = ARCHITECTURES[kind]
    folder.mkdir()
    (folder / name).write_bytes(model.read_bytes())
    contents = {
        "tokenizer_config.json": {"tokenizer_class": class_name, **SPECIALS},
        "config.json": {"model_type": model_type, "vocab_size": 64},
    }
    for file in told:
        (folder / file).write_text(json.dumps(contents[file]), encoding="utf-8")
    return folder


def refusals(folder: Path, tmp_path: Path) -> dict[str, tuple[str, str]]:
    """What each way in says of a folder, message and hint; nothing of those that take it."""
    model = tmp_path / "llama"
    write_model(model)
    ways: dict[str, Callable[[], object]] = {
        "prepare": lambda: find_special_ids(folder),
        "prepare's files": lambda: find_tokenizer_files(folder),
        "extend": lambda: plan_extension(model, folder),
        "pretrain": lambda: _check_numbering(folder),
        "export": lambda: complete_tokenizer(folder, tmp_path),
        "open": lambda: open_source(folder),
    }
    found = {}
    for name, way in ways.items():
        try:
            way()
        except VocabkitError as error:
            found[name] = error.message, error.hint
    return found


@pytest.mark.parametrize("told", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_lone_model_is_refused_by_all_alike(kind: str, told: str, model_file: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / kind, kind, model_file, told)
    found = refusals(folder, tmp_path)
    assert len(found) == 6
    ((message, hint),) = set(found.values())
    name = ARCHITECTURES[kind][0 if told == "tokenizer_config.json" else 1]
    assert message == f"{folder / ARCHITECTURES[kind][2]}: {name} numbers its pieces differently"
    assert hint
    assert "tokenizer.json" in hint


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_with_a_tokenizer_json_all_take_it(kind: str, model_file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "tokenizer.model").write_bytes(model_file.read_bytes())
    folder = write_folder(tmp_path / kind, kind, model_file, "tokenizer_config.json", "config.json")
    assert complete_tokenizer(plain, folder) is None
    class_name = ARCHITECTURES[kind][0]
    settings = {"tokenizer_class": class_name, **SPECIALS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert refusals(folder, tmp_path) == {}
    assert find_tokenizer_files(folder).file.name == "tokenizer.json"
    assert open_source(folder).path.name == "tokenizer.json"


def test_a_model_that_counts_as_its_rows_do_is_taken(model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "llama-tokenizer"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(model_file.read_bytes())
    told = {"tokenizer_class": "LlamaTokenizer", **SPECIALS}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    assert refusals(folder, tmp_path) == {}
    source, special = open_source(folder), find_special_ids(folder)
    assert (special.begin, special.end) == (source.roles["bos"], source.roles["eos"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xlm-r", "camembert", "mbart"])
def test_transformers_numbers_the_refused_ones_otherwise(kind: str, model_file: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = write_folder(tmp_path / kind, kind, model_file, "tokenizer_config.json")
    theirs = getattr(transformers, ARCHITECTURES[kind][0]).from_pretrained(folder)
    ours = open_tokenizer(folder)
    assert isinstance(ours, SentencePieceTokenizer)
    pieces = ours.vocabulary.pieces
    index = pieces.index("▁the")
    assert theirs.convert_tokens_to_ids("▁the") != index
    # What transformers saves is what the hint asks for: with it all are one.
    theirs.save_pretrained(tmp_path / "saved")
    assert refusals(tmp_path / "saved", tmp_path) == {}
    source = open_source(tmp_path / "saved")
    lines = [LINES[0], " ".join(WORDS[:6])]
    wanted = theirs(lines, add_special_tokens=False)["input_ids"]
    assert [ids.tolist() for ids in source.tokenizer.encode_batch(lines)] == wanted
    for role in ("bos", "eos", "unk", "pad"):
        assert source.roles[role] == getattr(theirs, f"{role}_token_id")


# --- Ids of added tokens ---------------------------------------------------------------------------

_LETTERS = {chr(97 + index): index for index in range(26)}
# Added tokens as (id, content), and the vocabulary where it is another.
_WRONG_IDS = {
    "holes": ([(30, "<x>"), (33, "<y>")], _LETTERS, ("'<x>' has id 30", "gives it 26")),
    "one hole": ([(26, "<x>"), (28, "<y>")], _LETTERS, ("'<y>' has id 28", "gives it 27")),
    "order": ([(27, "<y>"), (26, "<x>")], _LETTERS, ("'<y>' has id 27", "gives it 26")),
    "taken": ([(5, "<x>")], _LETTERS, ("'f' and '<x>' have one id, 5",)),
    "twice": ([(26, "<x>"), (26, "<y>")], _LETTERS, ("'<x>' and '<y>' have one id, 26",)),
    "again": ([(26, "<x>"), (27, "<x>")], _LETTERS, ("'<x>' has id 27", "gives it 26")),
    "another": ([(7, "f")], _LETTERS, ("'h' and 'f' have one id, 7",)),
    "hole below": ([(41, "<x>")], _LETTERS | {"z": 40}, ("'<x>' has id 41", "gives it 26")),
    "two pieces": ([(26, "<x>")], _LETTERS | {"y": 3}, ("'d' and 'y' have one id, 3",)),
}


def _save_with_added(
    path: Path, added: Sequence[tuple[int, str]], vocabulary: Mapping[str, int], special: bool
) -> None:
    content = json.loads(Backend(models.BPE(dict(_LETTERS), [])).to_str())
    content["model"]["vocab"] = dict(vocabulary)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [{"id": i, "content": c, "special": special} | flags for i, c in added]
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("kind", _WRONG_IDS)
def test_an_id_that_tokenizers_would_change_is_refused_with_both(
    tmp_path: Path, kind: str, special: bool
) -> None:
    added, vocabulary, said = _WRONG_IDS[kind]
    path = tmp_path / "tokenizer.json"
    _save_with_added(path, added, vocabulary, special)
    with pytest.raises(TokenizerError) as caught:
        open_tokenizer(path)
    assert all(part in caught.value.message for part in said)
    assert caught.value.hint
    # The library itself is the oracle: it does give other ids, or one id twice.
    backend = Backend.from_file(str(path))
    ids = {content: backend.token_to_id(content) for _, content in added}
    assert any(ids[content] != index for index, content in added) or len({*vocabulary.values()}) < 26


@pytest.mark.parametrize("special", [False, True])
def test_ids_that_tokenizers_keeps_are_the_files(tmp_path: Path, special: bool) -> None:
    path = tmp_path / "tokenizer.json"
    _save_with_added(path, [(5, "f"), (26, "<x>"), (27, "<y>")], _LETTERS, special)
    opened = open_tokenizer(path)
    assert opened.size == 28
    assert opened.encode_batch(["f"])[0].tolist() == [5]


def test_the_hint_for_a_hole_is_right(tmp_path: Path) -> None:
    """A token for every id up to the last, in order: then the file's ids hold."""
    path = tmp_path / "tokenizer.json"
    _save_with_added(path, [*((i, f"<unused_{i}>") for i in range(26, 30)), (30, "<x>")], _LETTERS, True)
    assert Backend.from_file(str(path)).token_to_id("<x>") == 30
    assert open_tokenizer(path).size == 31
