"""Preparing a corpus, against encoding its documents one by one."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import unicodedata
from collections import Counter
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pretraining.tiny_tokenizers import LINES, WORDS, write_byte_level, write_ours
from vocabkit.core.errors import ConfigError, CorpusError, OutputError, PretrainingError, TokenizerError
from vocabkit.core.records import read_manifest
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.shard_map import open_work
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.corpus.word_rows import choose_held_out, join_texts
from vocabkit.pretraining import preparing
from vocabkit.pretraining.prepared import PreparedCorpus, SplitName
from vocabkit.pretraining.preparing import PrepareOptions, prepare_corpus
from vocabkit.vocabulary.tokenizers import open_route, open_tokenizer

SPECIALS = ("<s> is no beginning </s>", "nor is <pad> padding or <mask>, <unk>", "<|endoftext|>")


def make_lines(seed: int, count: int = 400) -> list[str]:
    chance = random.Random(seed)
    lines = [" ".join(chance.choices(WORDS, k=chance.randint(1, 30))) for _ in range(count)]
    return [*lines, *SPECIALS, *LINES, " ".join(WORDS * 12), "Grüße aus Gärten é 的 的的"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    (root / "eng_Latn").mkdir(parents=True)
    for number in range(3):
        text = "\n".join(make_lines(number))
        (root / "eng_Latn" / f"{number}.txt").write_text(text, encoding="utf-8")
    text = "\n".join([*make_lines(9), "Hunde Katzen Gärten Städte"])
    (root / "deu_Latn.txt").write_text(text, encoding="utf-8")
    return root


def read_documents(folder: Path, code: str, split: SplitName) -> Counter[tuple[int, ...]]:
    """The documents of all rows, found by where they begin."""
    prepared = PreparedCorpus.load(folder)
    special = prepared.special
    numbers = np.arange(prepared.split(code, split).rows)
    rows = prepared.read_rows(code, split, numbers)
    found: Counter[tuple[int, ...]] = Counter()
    for row, used in zip(rows, prepared.row_used(code, split, numbers), strict=True):
        starts = np.flatnonzero(row[:used] == special.begin).tolist()
        for start, stop in zip(starts, [*starts[1:], int(used)], strict=True):
            ids = row[start + 1 : stop]
            if special.end is not None:
                assert ids[-1] == special.end
                ids = ids[:-1]
            found[tuple(ids.tolist())] += 1
    return found


def is_held(text: str, share: float) -> bool:
    half = hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:]
    return int.from_bytes(half, "little") < int(share * 2**64)


@pytest.mark.parametrize("kind", ["ours", "bytes"])
def test_rows_hold_the_documents(corpus: Path, tmp_path: Path, kind: str) -> None:
    write = write_ours if kind == "ours" else write_byte_level
    folder = write(tmp_path / "tokenizer")
    report = prepare_corpus(
        open_corpus(corpus), folder, tmp_path / "o", PrepareOptions(64, held_out=0.2, workers=1)
    )
    tokenizer = open_tokenizer(folder)
    prepared = PreparedCorpus.load(tmp_path / "o")
    longest = 62 if prepared.special.end is not None else 63
    for row in report.rows:
        paths = sorted(corpus.glob(f"{row.language}*/*.txt")) or [corpus / "deu_Latn.txt"]
        texts = [line for path in paths for line in path.read_text().split("\n")]
        sides: tuple[tuple[SplitName, bool], ...] = (("train", False), ("held-out", True))
        for split, held in sides:
            chosen = [text for text in texts if is_held(text, 0.2) is held]
            expected: Counter[tuple[int, ...]] = Counter()
            for ids in tokenizer.encode_batch(chosen):
                parts = range(0, len(ids), longest)
                expected.update(tuple(ids[at : at + longest].tolist()) for at in parts)
            assert read_documents(tmp_path / "o", row.language, split) == expected
            total = prepared.split(row.language, split)
            assert total.documents == len(chosen)
            assert total.bytes == sum(len(text.encode()) for text in chosen)
            assert total.tokens == sum(len(key) * n for key, n in expected.items())
            sizes = prepared.row_bytes(row.language, split, np.arange(total.rows))
            assert int(sizes.sum()) == total.bytes
        assert row.documents + row.held_out_documents == len(texts)
    prepared.check_ids()
    assert prepared.languages == ("deu_Latn", "eng_Latn")
    assert not (tmp_path / ".o.preparing").exists()


STAND_IN = """
import numpy as np
import tokenizers

class Tokenizer:
    @staticmethod
    def from_json_str(text):
        made = Tokenizer()
        made.inner = tokenizers.Tokenizer.from_str(text)
        made.inner.encode_special_tokens = True
        return made

    def encode_batch_flat(self, texts, add_special_tokens=False, split_special_tokens=False):
        assert split_special_tokens and not add_special_tokens
        found = [self.inner.encode(text, add_special_tokens=False).ids for text in texts]
        found = [ids[::-1] if "WRONG" in text else ids for ids, text in zip(found, texts)]
        ends = np.cumsum([0, *map(len, found)])
        flat = np.concatenate([np.zeros(0, np.uint32), *(np.array(ids, np.uint32) for ids in found)])
        return flat.astype("<u4").tobytes(), ends.astype("<u8").tobytes()
"""


@pytest.mark.parametrize("wrong", ["nothing at all", "Hunde", "https", None])
def test_fastokens_encodes_only_where_it_gives_the_same_tokens(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str | None
) -> None:
    """The package itself where it is, and packages that err nowhere, in one language, and in odd lines."""
    folder = write_byte_level(tmp_path / "tokenizer")
    options = PrepareOptions(64, held_out=0.2, workers=1)
    monkeypatch.setitem(sys.modules, "fastokens", None)  # as if it were not installed
    plain = prepare_corpus(open_corpus(corpus), folder, tmp_path / "plain", options)
    monkeypatch.undo()
    if wrong is None:
        pytest.importorskip("fastokens")
    else:
        (tmp_path / "packages").mkdir()
        (tmp_path / "packages/fastokens.py").write_text(STAND_IN.replace("WRONG", wrong), encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path / "packages")
        monkeypatch.delitem(sys.modules, "fastokens", raising=False)
    found = prepare_corpus(open_corpus(corpus), folder, tmp_path / "o", options)
    sys.modules.pop("fastokens", None)
    refused = wrong in ("Hunde", "https")
    assert read_manifest(tmp_path / "o")["details"].get("encoder") == (None if refused else "fastokens")
    notes = [note for note in found.notes if "fastokens" in note]
    assert len(notes) == refused
    assert not notes or ("deu_Latn" if wrong == "Hunde" else "odd lines") in notes[0]
    assert not any("fastokens" in note for note in plain.notes)
    for path in (tmp_path / "plain").rglob("*.npy"):
        assert (tmp_path / "o" / path.relative_to(tmp_path / "plain")).read_bytes() == path.read_bytes()


def test_what_is_held_out_is_what_count_holds_out(corpus: Path, tmp_path: Path) -> None:
    opened = open_corpus(corpus)
    count_corpus(opened, tmp_path / "counts", CountOptions(held_out=0.1, workers=1))
    report = prepare_corpus(
        opened, write_ours(tmp_path / "t"), tmp_path / "o", PrepareOptions(64, held_out=0.1)
    )
    counts = WordCounts.load(tmp_path / "counts")
    for row in report.rows:
        train, held = counts.totals_of(row.language)
        assert (row.documents, row.bytes) == (train.documents, train.bytes)
        assert row.held_out_documents == held.documents > 0


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def test_workers_do_not_change_a_byte(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "_SHARD_BYTES", 1)  # a shard a file
    tokenizer = write_ours(tmp_path / "t")
    for workers in (1, 2):
        options = PrepareOptions(64, workers=workers)
        prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / f"o{workers}", options)
    one, two = snapshot(tmp_path / "o1"), snapshot(tmp_path / "o2")
    assert one == two
    assert "eng_Latn/00002.train.npy" in one
    assert "tokenizer/tokenizer.model" in one


class Stopping(Executor):
    """Runs so many tasks, then fails as a killed worker does."""

    def __init__(self, tasks: int) -> None:
        self.left = tasks

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.left -= 1
        if self.left < 0:
            future.set_exception(KeyboardInterrupt())
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture
def interrupted(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run stopped after two shards of four."""
    monkeypatch.setattr(preparing, "_SHARD_BYTES", 1)
    with pytest.raises(KeyboardInterrupt):
        prepare_corpus(
            open_corpus(corpus), write_ours(tmp_path / "t"), tmp_path / "o", PrepareOptions(64),
            executor=Stopping(2),
        )  # fmt: skip
    assert not (tmp_path / "o").exists()
    return corpus


def test_an_interrupted_run_resumes(interrupted: Path, tmp_path: Path) -> None:
    opened, tokenizer = open_corpus(interrupted), tmp_path / "t"
    options = PrepareOptions(64, workers=1)
    report = prepare_corpus(opened, tokenizer, tmp_path / "o", options)
    assert report.resumed == 2
    fresh = prepare_corpus(opened, tokenizer, tmp_path / "fresh", options)
    assert fresh.resumed == 0
    assert fresh.rows == report.rows
    assert snapshot(tmp_path / "o") == snapshot(tmp_path / "fresh")


@pytest.mark.parametrize("change", ["tokenizer", "length", "held_out", "text"])
def test_another_run_takes_nothing_over(interrupted: Path, tmp_path: Path, change: str) -> None:
    options = PrepareOptions(64, workers=1)
    if change == "tokenizer":  # at the same path, of the same size
        write_ours(tmp_path / "t", bytes_too=False)
    elif change == "text":
        for path in interrupted.rglob("*.txt"):
            path.write_text(path.read_text() + "\none more", encoding="utf-8")
    else:
        options = PrepareOptions(32 if change == "length" else 64, "union", 0.3, 1)
    report = prepare_corpus(open_corpus(interrupted), tmp_path / "t", tmp_path / "o", options)
    assert report.resumed == 0
    PreparedCorpus.load(tmp_path / "o").check_ids()


def test_routed_text_gets_its_own_block_alone(corpus: Path, tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "t", blocks=True)
    (corpus / "yor_Latn.txt").write_text("Hunde Katzen\nthe cat\n", encoding="utf-8")
    own = set(range(open_tokenizer(folder).size)[-4:])
    for encoding, holders in (("routed", {"deu_Latn"}), ("union", {"deu_Latn", "eng_Latn", "yor_Latn"})):
        options = PrepareOptions(64, encoding, held_out=0.0, workers=1)  # type: ignore[arg-type]
        prepare_corpus(open_corpus(corpus), folder, tmp_path / encoding, options)
        prepared = PreparedCorpus.load(tmp_path / encoding)
        assert prepared.encoding == encoding
        for code in prepared.languages:
            documents = read_documents(tmp_path / encoding, code, "train")
            ids = {index for document in documents for index in document}
            assert bool(ids & own) == (code in holders), (encoding, code)
        route = open_route(folder, "shared") if encoding == "routed" else open_tokenizer(folder)
        expected = {tuple(ids.tolist()) for ids in route.encode_batch(["Hunde Katzen", "the cat"])}
        assert set(read_documents(tmp_path / encoding, "yor_Latn", "train")) == expected


def test_a_document_can_be_a_file(corpus: Path, tmp_path: Path) -> None:
    report = prepare_corpus(
        open_corpus(corpus, document="file"), write_ours(tmp_path / "t"), tmp_path / "o",
        PrepareOptions(64, held_out=0.0, workers=1),
    )  # fmt: skip
    assert [row.documents for row in report.rows] == [1, 3]
    assert [row.cut for row in report.rows] == [1, 3]
    assert min(row.efficiency for row in report.rows) > 0.98


def refuse(message: str, error: type[Exception], corpus: Path, tokenizer: Path, **options: Any) -> None:
    output = corpus.parent / "o"
    settings = PrepareOptions(**{"length": 64, "workers": 1, **options})
    with pytest.raises(error, match=message) as caught:
        prepare_corpus(open_corpus(corpus), tokenizer, output, settings)
    assert not output.exists()
    assert caught.value.__class__ is error


def test_mistakes_are_named(corpus: Path, tmp_path: Path) -> None:
    ours = write_ours(tmp_path / "t")
    refuse("--length 3: expected 8", ConfigError, corpus, ours, length=3)
    refuse(r"--held-out 1\.0", ConfigError, corpus, ours, held_out=1.0)
    refuse("--encoding other", ConfigError, corpus, ours, encoding="other")
    refuse("cannot be routed", TokenizerError, corpus, ours, encoding="routed")
    nothing = write_byte_level(tmp_path / "n", special=None)
    refuse("no token begins a text", PretrainingError, corpus, nothing)
    bad = corpus / "yor_Latn.txt"
    bad.write_bytes(b"\xff\xfe broken")
    refuse("yor_Latn.txt:1: not UTF-8", CorpusError, corpus, ours)
    bad.write_text("  \n \n", encoding="utf-8")
    refuse("yor_Latn: no document in .*yor_Latn.txt", CorpusError, corpus, ours)
    bad.write_text("ቃላት\n", encoding="utf-8")
    narrow = write_ours(tmp_path / "narrow", bytes_too=False)
    refuse("yor_Latn: all of its 1 documents are held out", PretrainingError, corpus, ours, held_out=0.99)
    refuse("yor_Latn: the tokenizer does not know", TokenizerError, corpus, narrow, held_out=0.0)


def test_an_output_stays_until_it_may_be_replaced(corpus: Path, tmp_path: Path) -> None:
    tokenizer = write_ours(tmp_path / "t")
    opened, options = open_corpus(corpus), PrepareOptions(64, workers=1)
    prepare_corpus(opened, tokenizer, tmp_path / "o", options)
    before = snapshot(tmp_path / "o")
    with pytest.raises(OutputError, match="exists and is not empty"):
        prepare_corpus(opened, tokenizer, tmp_path / "o", options)
    assert snapshot(tmp_path / "o") == before
    prepare_corpus(opened, tokenizer, tmp_path / "o", PrepareOptions(32, workers=1), force=True)
    assert PreparedCorpus.load(tmp_path / "o").length == 32


def test_fingerprints_tell_text_and_tokenizer(corpus: Path, tmp_path: Path) -> None:
    options = PrepareOptions(64, workers=1)
    found = []
    for name, blocks in (("a", False), ("b", True), ("c", False)):
        if name == "c":
            with (corpus / "deu_Latn.txt").open("a", encoding="utf-8") as file:
                file.write("\nnoch eine")
        tokenizer = write_ours(tmp_path / f"t{name}", blocks=blocks)
        prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / name, options)
        found.append(PreparedCorpus.load(tmp_path / name))
    one, two, three = found
    assert one.corpus_fingerprint == two.corpus_fingerprint != three.corpus_fingerprint
    assert one.tokenizer_fingerprint == three.tokenizer_fingerprint != two.tokenizer_fingerprint
    assert len({corpus.fingerprint for corpus in found}) == 3


def test_what_it_is_made_from_is_never_replaced(corpus: Path, tmp_path: Path) -> None:
    tokenizer, options = write_ours(tmp_path / "t"), PrepareOptions(64, workers=1)
    before = snapshot(corpus), snapshot(tokenizer)
    for output in (corpus, corpus / "eng_Latn", corpus / "out", tokenizer, tokenizer / "out", tmp_path):
        with pytest.raises(OutputError, match=r"would replace|lies within"):
            prepare_corpus(open_corpus(corpus), tokenizer, output, options, force=True)
    assert (snapshot(corpus), snapshot(tokenizer)) == before


def test_one_process_at_a_time(corpus: Path, tmp_path: Path) -> None:
    tokenizer, options = write_ours(tmp_path / "t"), PrepareOptions(64, workers=1)
    with open_work(tmp_path / "o", "preparing", "another plan") as (work, _):
        (work / "finished").write_text("by the first", encoding="utf-8")
        with pytest.raises(OutputError, match="another process is preparing it"):
            prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / "o", options)
        assert (work / "finished").is_file()
    prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / "o", options)
    assert PreparedCorpus.load(tmp_path / "o").length == 64


def test_an_unknown_token_that_begins_texts_may_not_come_from_text(tmp_path: Path) -> None:
    # As GPT-2's: one token begins, ends and is the unknown one; here text may yield it.
    folder = write_byte_level(tmp_path / "t")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["added_tokens"][0]["special"] = False
    path.write_text(json.dumps(content), encoding="utf-8")
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    (folder / "tokenizer_config.json").write_text(json.dumps(roles), encoding="utf-8")
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "eng_Latn.txt").write_text("the cat <|endoftext|> the dog\n", encoding="utf-8")
    options = PrepareOptions(64, held_out=0.0, workers=1)
    with pytest.raises(TokenizerError, match="takes for the special token 0"):
        prepare_corpus(open_corpus(root), folder, tmp_path / "o", options)


def test_a_lone_model_can_be_exported_and_is_not_warned_of(corpus: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone.model"
    lone.write_bytes((write_ours(tmp_path / "t") / "tokenizer.model").read_bytes())
    options = PrepareOptions(64, workers=1)
    report = prepare_corpus(open_corpus(corpus), lone, tmp_path / "o", options)
    assert report.no_export is None
    assert [path.name for path in (tmp_path / "o/tokenizer").iterdir()] == ["lone.model"]


def test_a_mistake_leaves_nothing_unless_shards_are_finished(corpus: Path, tmp_path: Path) -> None:
    tokenizer, options = write_ours(tmp_path / "t"), PrepareOptions(64, workers=1)
    text = (corpus / "deu_Latn.txt").read_bytes()
    (corpus / "deu_Latn.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(CorpusError, match="not UTF-8"):
        prepare_corpus(open_corpus(corpus, languages=["deu_Latn"]), tokenizer, tmp_path / "o", options)
    assert not [*tmp_path.glob(".o*")]
    # The larger language is done first, and waits.
    with pytest.raises(CorpusError, match="not UTF-8"):
        prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / "o", options)
    assert [*tmp_path.glob(".o.preparing/shards/eng_Latn-*/done.json")]
    (corpus / "deu_Latn.txt").write_bytes(text)
    assert prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / "o", options).resumed == 1


def test_threads_have_an_encoder_each(tmp_path: Path) -> None:
    """Four shards at once on one tokenizer, against the same shards one after another."""
    root = tmp_path / "corpus"
    chance = random.Random(5)
    for code in ("deu_Latn", "eng_Latn", "fra_Latn", "ibo_Latn", "yor_Latn"):
        (root / code).mkdir(parents=True)
        # No word in two lines: what one thread learns moves what the other is about to look up.
        words = ["".join(chance.choices("abcdefgh", k=chance.randint(3, 9))) for _ in range(60_000)]
        lines = (" ".join(words[start : start + 12]) for start in range(0, len(words), 12))
        (root / code / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    write_ours(tmp_path / "tok")
    options = PrepareOptions(length=64, held_out=0.1, workers=1)
    prepare_corpus(open_corpus(root), tmp_path / "tok", tmp_path / "one", options)
    with ThreadPoolExecutor(4) as pool:
        prepare_corpus(open_corpus(root), tmp_path / "tok", tmp_path / "four", options, executor=pool)
    for path in sorted((tmp_path / "one").rglob("*.npy")):
        assert path.read_bytes() == (tmp_path / "four" / path.relative_to(tmp_path / "one")).read_bytes()
    one, four = (PreparedCorpus.load(tmp_path / name) for name in ("one", "four"))
    assert one.fingerprint == four.fingerprint


def test_what_held_out_text_loses_is_counted(tmp_path: Path) -> None:
    """Against the bytes of the characters that the vocabulary has no piece for, looked up one by one."""
    root = tmp_path / "corpus"
    (root / "eng_Latn").mkdir(parents=True)
    lines = [f"the cat {number} Ω的 sat ☃ ｔｈｅ" for number in range(300)]
    (root / "eng_Latn" / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    write_ours(tmp_path / "tok", bytes_too=False)
    prepared = prepare_corpus(
        open_corpus(root),
        tmp_path / "tok",
        tmp_path / "out",
        PrepareOptions(length=64, held_out=0.3, workers=1),
    )
    chosen = choose_held_out(join_texts(lines), 0.3)
    held = [line for line, out in zip(lines, chosen, strict=True) if out]
    tokenizer = open_tokenizer(tmp_path / "tok")
    known = {chr(code) for code in range(0x110000) if chr(code).isascii()}
    known = {sign for sign in known if sign.isprintable() and tokenizer.unknown_characters([sign]) == [0]}
    text = unicodedata.normalize("NFKC", "".join(held)).replace(" ", "")
    expected = sum(len(sign.encode()) for sign in text if sign not in known)
    split = prepared.split("eng_Latn", "held-out")
    assert split.documents == len(held)
    assert split.lost == expected == 8 * len(held)
    assert prepared.split("eng_Latn", "train").lost == 0
    again = prepare_corpus(
        open_corpus(root),
        write_ours(tmp_path / "bytes"),
        tmp_path / "b",
        PrepareOptions(held_out=0.3, workers=1),
    )
    assert again.split("eng_Latn", "held-out").lost == 0
    assert again.held_out_text == prepared.held_out_text


def test_a_large_file_is_prepared_in_parts(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, options = write_ours(tmp_path / "t"), PrepareOptions(64, held_out=0.2, workers=1)
    whole = prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / "whole", options)
    monkeypatch.setattr("vocabkit.corpus.sources.PART_BYTES", 9_000)
    parts = prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / "one", options)
    with ThreadPoolExecutor(3) as pool:
        prepare_corpus(open_corpus(corpus), tokenizer, tmp_path / "three", options, executor=pool)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "three")
    assert "eng_Latn/00008.train.npy" in snapshot(tmp_path / "one")
    for code in whole.languages:
        sides: tuple[SplitName, ...] = ("train", "held-out")
        for side in sides:
            cut, uncut = (read_documents(tmp_path / name, code, side) for name in ("one", "whole"))
            assert cut == uncut
            assert replace(parts.split(code, side), rows=0) == replace(whole.split(code, side), rows=0)
    one, all_ = (json.loads((tmp_path / name / "shards.json").read_text()) for name in ("one", "whole"))
    assert one["corpus"] == all_["corpus"]
    assert read_manifest(tmp_path / "one")["inputs"] == read_manifest(tmp_path / "whole")["inputs"]
