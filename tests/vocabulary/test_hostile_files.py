"""What a file of a few hundred bytes may not do: take gigabytes, or raise what its reader did not foresee."""

import base64
import json
from pathlib import Path

import pytest
from sentencepiece import sentencepiece_model_pb2

from tests.vocabulary.conftest import train
from tests.vocabulary.test_gguf_format import write_gguf
from tests.vocabulary.test_tiktoken_ranks import RANKS, write_tekken
from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.tokenizers import open_tokenizer


def refuse(path: Path) -> str:
    with pytest.raises(TokenizerError) as caught:
        open_tokenizer(path, "gpt2").encode_batch(["the cat"])
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("index", [2**21, 2**31])
def test_an_id_far_from_all_others_allocates_nothing(index: int, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    model: dict[str, object] = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "vocab": {"[UNK]": 0, "a": 1, "b": index},
    }
    model |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    assert f"ids up to {index:,}" in refuse(path)


@pytest.mark.parametrize("rank", [2**31, 2**40, 2**80])
def test_so_does_a_rank(rank: int, tmp_path: Path) -> None:
    path = tmp_path / "own.tiktoken"
    rows = [f"{base64.b64encode(token).decode()} {place}\n" for token, place in RANKS.items()]
    path.write_text("".join(rows) + f"{base64.b64encode(b'never seen').decode()} {rank}\n")
    assert f"ids up to {rank:,}" in refuse(path)


@pytest.mark.parametrize("value", [float("inf"), -1, 0.5, True, "7", None, [], {}])
@pytest.mark.parametrize("key", ["vocab.3.rank", "config.default_num_special_tokens", "special_tokens.0.rank"])
def test_a_field_of_tekken_is_named(key: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "tekken.json"
    write_tekken(path, specials=10, used=310)
    content = json.loads(path.read_text())
    content["special_tokens"] = [{"token_str": "<unk>", "rank": 0}]
    table, *places, last = key.split(".")
    holder = content[table]
    for place in places:
        holder = holder[int(place)]
    holder[last] = value
    path.write_text(json.dumps(content))
    assert last in refuse(path)


def test_merges_without_their_tokens_name_the_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "vocab.gguf"
    write_gguf(path, model="gemma4", tokens=["<unk>", "a", "b"], merges=["a b"])
    assert "not a BPE" in refuse(path)


def test_a_piece_that_is_no_text_is_counted_to(tmp_path: Path) -> None:
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(train("unigram", True))
    piece = model.pieces[300].piece.encode()
    path = tmp_path / "tokenizer.model"
    path.write_bytes(train("unigram", True).replace(piece, b"\xff" * len(piece), 1))
    assert "is not UTF-8" in refuse(path)
