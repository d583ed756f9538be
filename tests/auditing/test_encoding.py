"""One pass of encoding against a slow one: line by line, token by token, with the backends themselves."""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import regex
import sentencepiece
import tokenizers

from vocabkit.auditing.encoding import (
    Encoded,
    Opening,
    finish_encoding,
    is_unspaced,
    start_encoding,
)
from vocabkit.auditing.parallel_text import AuditText, _text_from_lines, text_from_counts
from vocabkit.auditing.text_statistics import TextStatistics, measure_text
from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.shard_map import open_executor
from vocabkit.corpus.word_counts import WordCounts

LINES = {
    "eng_Latn": [
        "the dog sat on the mat",
        "a dog and a cat",
        "",
        "the end of the café story",
        "dogs dogs",
    ],
    "hin_Deva": ["कुत्ता चटाई पर बैठा", "एक कुत्ता और एक बिल्ली", "अंत", "कहानी का अंत", "कुत्ते"],
    "tha_Thai": ["สุนัขนั่งบนเสื่อ", "สุนัขและแมว", "จบ", "ตอนจบของเรื่อง", "สุนัข"],
}
SEEN = LINES["eng_Latn"] * 20 + LINES["hin_Deva"] * 20


@cache
def train(fallback: bool) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in SEEN if line]),
        model_writer=model,
        vocab_size=330 if fallback else 75,
        byte_fallback=fallback,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


@cache
def train_byte_level() -> str:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(SEEN, trainer)
    found: str = backend.to_str()
    return found


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "plain.model").write_bytes(train(False))
    (folder / "fallback.model").write_bytes(train(True))
    (folder / "bytes.json").write_text(train_byte_level(), encoding="utf-8")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def text() -> AuditText:
    return _text_from_lines(LINES, aligned="yes")


@pytest.fixture(scope="module")
def statistics(text: AuditText, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextStatistics]:
    return dict(measure_text(text, cache=tmp_path_factory.mktemp("cache")))


def encode_all(
    openings: Sequence[Opening],
    text: AuditText,
    statistics: dict[str, TextStatistics],
    *,
    exemplars: Mapping[str, Sequence[str]] | None = None,
    switched: Mapping[str, Sequence[tuple[str, str, str]]] | None = None,
    pool: Executor,
) -> list[dict[str, Encoded]]:
    started = [
        start_encoding(one, text, statistics, exemplars=exemplars, switched=switched, pool=pool)
        for one in openings
    ]
    return finish_encoding(started, statistics)


def encode(path: Path, text: AuditText, statistics: dict[str, TextStatistics]) -> dict[str, Encoded]:
    with ExitStack() as stack:
        pool = open_executor(1, 1, stack)
        return encode_all([Opening(str(path))], text, statistics, pool=pool)[0]


@pytest.mark.parametrize("name", ["plain", "fallback"])
def test_lines_of_a_sentencepiece_model(
    name: str, paths: dict[str, Path], text: AuditText, statistics: dict[str, TextStatistics]
) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=paths[name].read_bytes())
    found = encode(paths[name], text, statistics)
    lost_somewhere = 0
    for code, lines in LINES.items():
        seen: Counter[int] = Counter()
        for place, line in enumerate(lines):
            ids = processor.encode(line)
            pieces = processor.encode(line, out_type=str)
            lost = sum(
                len(piece.replace("▁", ""))
                for piece, index in zip(pieces, ids, strict=True)
                if processor.is_unknown(index)
            )
            assert found[code].tokens[place] == len(ids)
            assert found[code].unknown[place] == sum(map(processor.is_unknown, ids))
            assert found[code].fallback[place] == sum(map(processor.is_byte, ids))
            assert found[code].partial[place] == 0
            assert found[code].unknown_characters[place] == lost
            lost_somewhere += lost
            seen.update(ids)
        assert dict(zip(found[code].ids.tolist(), found[code].counts.tolist(), strict=True)) == seen
        missing = {
            c for c in set("".join(lines)) - {" "}
            if any(processor.is_unknown(i) or processor.is_byte(i) for i in processor.encode(c))
        }  # fmt: skip
        assert found[code].uncovered == missing
    assert (lost_somewhere > 0) == (name == "plain")
    assert (found["tha_Thai"].fallback.sum() > 0) == (name == "fallback")


def test_byte_level_parts_of_characters(
    paths: dict[str, Path], text: AuditText, statistics: dict[str, TextStatistics]
) -> None:
    backend = tokenizers.Tokenizer.from_file(str(paths["bytes"]))
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    assert len(letters) == 256
    found = encode(paths["bytes"], text, statistics)
    for code, lines in LINES.items():
        for place, line in enumerate(lines):
            encoding = backend.encode(line)
            # Offsets are in characters: tokens that share one are parts of it.
            parts = sum(backend.decode([index]).count("\ufffd") > 0 for index in encoding.ids)
            assert found[code].tokens[place] == len(encoding.ids)
            assert found[code].partial[place] == parts
            assert found[code].unknown[place] == found[code].fallback[place] == 0
    assert found["tha_Thai"].partial.sum() > 0


@pytest.mark.parametrize("name", ["fallback", "bytes"])
def test_words_are_encoded_as_in_a_line(
    name: str, paths: dict[str, Path], text: AuditText, statistics: dict[str, TextStatistics]
) -> None:
    """In a line of words with spaces between, the words' tokens add up to the line's."""
    found = encode(paths[name], text, statistics)["eng_Latn"]
    item = statistics["eng_Latn"]
    by_word = dict(zip(item.word_types, found.word_tokens.tolist(), strict=True))
    for place, line in enumerate(LINES["eng_Latn"]):
        expected = sum(by_word[word] for word in line.split())
        # Byte level: the first word of a line has no space before it, so its tokens may be others.
        slack = 0 if name == "fallback" else 2
        assert abs(int(found.tokens[place]) - expected) <= slack


def test_words_without_spaces_are_not_charged_for_one(
    paths: dict[str, Path], text: AuditText, statistics: dict[str, TextStatistics]
) -> None:
    assert is_unspaced(statistics["tha_Thai"])
    assert not is_unspaced(statistics["eng_Latn"])
    assert not is_unspaced(statistics["hin_Deva"])
    found = encode(paths["fallback"], text, statistics)["tha_Thai"]
    for word, tokens in zip(statistics["tha_Thai"].word_types, found.word_tokens.tolist(), strict=True):
        # No Thai was seen: a word in a line is its bytes, and nothing for a space.
        assert tokens == len(word.encode())


@pytest.mark.parametrize("name", ["fallback", "bytes"])
def test_cut_graphemes(
    name: str, paths: dict[str, Path], text: AuditText, statistics: dict[str, TextStatistics]
) -> None:
    found = encode(paths[name], text, statistics)
    for code, lines in LINES.items():
        cuts, seen = [], []
        for line in lines:
            if not line:
                continue
            ends, place = set(), 0
            if name == "bytes":
                table = {c: i for i, c in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}
                for token in tokenizers.Tokenizer.from_file(str(paths[name])).encode(line).tokens:
                    assert all(c in table for c in token)
                    place += len(token)  # one letter a byte
                    ends.add(place)
            else:
                processor = sentencepiece.SentencePieceProcessor(model_proto=paths[name].read_bytes())
                place = -1  # the space put first
                for piece in processor.encode(line, out_type=str):
                    place += 1 if regex.fullmatch(r"<0x..>", piece) else len(piece.replace("▁", " ").encode())
                    ends.add(place)
            cut, start = 0, 0
            graphemes = regex.findall(r"\X", line)
            for grapheme in graphemes:
                stop = start + len(grapheme.encode())
                cut += any(start < end < stop for end in ends)
                start = stop
            cuts.append(cut)
            seen.append(len(graphemes))
        assert found[code].cut_graphemes.tolist() == cuts
        assert found[code].seen_graphemes.tolist() == seen
    assert found["tha_Thai"].cut_graphemes.sum() > 0
    assert found["eng_Latn"].cut_graphemes.sum() <= 1


def test_results_do_not_depend_on_the_pool(
    paths: dict[str, Path], text: AuditText, statistics: dict[str, TextStatistics]
) -> None:
    switched = {"hin_Deva": [("the dog कुत्ता", "the dog", " कुत्ता")]}
    exemplars = {"eng_Latn": ["ŋ", "a"]}
    openings = [Opening(str(paths["plain"])), Opening(str(paths["fallback"]))]

    def run(pool: Executor) -> list[dict[str, Encoded]]:
        return encode_all(openings, text, statistics, switched=switched, exemplars=exemplars, pool=pool)

    with ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        one, other = run(open_executor(1, 1, stack)), run(thread)
    for first, second in zip(one, other, strict=True):
        assert list(first) == list(second) == list(LINES)
        for code in first:
            for name in ("tokens", "ids", "counts", "word_tokens", "switched", "halves"):
                assert np.array_equal(getattr(first[code], name), getattr(second[code], name))
    assert "ŋ" in one[1]["eng_Latn"].uncovered
    assert "a" not in one[1]["eng_Latn"].uncovered
    processor = sentencepiece.SentencePieceProcessor(model_proto=paths["fallback"].read_bytes())
    tokens = [len(processor.encode(part)) for part in switched["hin_Deva"][0]]
    assert one[1]["hin_Deva"].switched.tolist() == [tokens[0]]
    assert one[1]["hin_Deva"].halves.tolist() == [tokens[1] + tokens[2]]


def test_counted_words_weigh_what_they_occur(paths: dict[str, Path], tmp_path: Path) -> None:
    texts = {"eng_Latn": ["the dog the dog the", "a cat"]}
    counted = text_from_counts(WordCounts.from_texts(texts))
    found = encode(paths["fallback"], counted, dict(measure_text(counted, cache=tmp_path)))["eng_Latn"]
    processor = sentencepiece.SentencePieceProcessor(model_proto=paths["fallback"].read_bytes())
    expected = Counter(i for line in texts["eng_Latn"] for w in line.split() for i in processor.encode(w))
    assert dict(zip(found.ids.tolist(), found.counts.tolist(), strict=True)) == expected


def test_a_failure_on_one_language_leaves_the_others(
    paths: dict[str, Path], text: AuditText, statistics: dict[str, TextStatistics]
) -> None:
    broken = AuditText(
        "broken",
        {**text.languages, "hin_Deva": ("a \ud800 b", *LINES["hin_Deva"][1:])},
        None,
        text.alignment,
        {},
        {},
        "",
    )
    found = encode(paths["fallback"], broken, statistics)
    assert "surrogate" in (found["hin_Deva"].failure or "")
    assert len(found["hin_Deva"].tokens) == 0
    assert found["eng_Latn"].failure is None
    assert found["eng_Latn"].tokens.sum() > 0


def test_a_broken_tokenizer_is_named(
    tmp_path: Path, text: AuditText, statistics: dict[str, TextStatistics]
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"model": {}}), encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"bad\.json"):
        encode(path, text, statistics)
