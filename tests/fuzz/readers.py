"""Every kind of file that vocabkit reads: how to make a small one, and how its readers are called.

A reader is a folder made once, the ways its files are damaged, and the calls that read it. The same files are
read by `python -m tests.fuzz` at any number of mutations.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

import vocabkit as vk
from tests.extension.tiny_models import ADDED, OLD, write_model, write_tokenizer
from tests.fuzz.mutations import (
    Mutation,
    mutate_bytes,
    mutate_json,
    mutate_json_lines,
    mutate_safetensors,
    mutate_table,
    mutate_toml,
    mutate_value,
)
from tests.pretraining.prepared_rows import write_rows
from tests.pretraining.tiny_runs import make_config, make_data, train
from tests.pretraining.tiny_tokenizers import write_byte_level, write_ours
from tests.vocabulary.conftest import SENTENCES, build
from tests.vocabulary.conftest import train as train_model
from tests.vocabulary.test_gguf_format import describe, write_gguf
from tests.vocabulary.test_tiktoken_ranks import RANKS, write_tekken
from vocabkit.core.languages import load_panel
from vocabkit.extension.plan import plan_extension
from vocabkit.vocabulary.roles import find_special_ids

TEXT = "the cat  sat Ọ̀yọ́ 1234 한국어 <s>\n\n"
LINES = [line for line in SENTENCES for _ in range(3)]


@dataclass(frozen=True)
class Reader:
    """`make` fills a folder; `damage` maps a glob to ways of damaging its files; `read` reads the folder."""

    make: Callable[[Path], object]
    damage: Mapping[str, tuple[Mutation, ...]]
    read: Callable[[Path], object]

    def mutate(self, folder: Path, chance: random.Random) -> str:
        """Damage one file, and say which and how."""
        pattern = chance.choice(sorted(self.damage))
        found = sorted(path for path in folder.glob(pattern) if path.is_file() and path.stat().st_size)
        path = chance.choice(found)
        said = chance.choice(self.damage[pattern])(path, chance)
        return f"{path.relative_to(folder)}: {said}"


def use_tokenizer(path: Path, pattern: str | None = None) -> None:
    """Open a tokenizer, encode, decode, and look at some of its tokens."""
    tokenizer = vk.open_tokenizer(path, pattern=pattern)
    shown = vk.show(tokenizer, TEXT)
    for index in (0, 1, tokenizer.size // 2, tokenizer.size - 1):
        tokenizer.token_bytes(index)
    tokenizer.decode_bytes([int(str(row["id"])) for row in shown.to_rows()])


def read_folder(folder: Path) -> None:
    use_tokenizer(folder)
    vk.Vocabulary.load(folder)


def mutate_gguf(path: Path, chance: random.Random) -> str:
    """Write the file anew with one field of another value or type."""
    vocabulary = build("unigram", True) if chance.random() < 0.5 else build("bpe", False)
    fields = describe(vocabulary)
    name = chance.choice(sorted(fields))
    given = fields[name]
    as_list = given.tolist() if isinstance(given, np.ndarray) else given
    made, said = mutate_value({name: as_list}, chance)
    if not isinstance(made, dict):
        made = {name: made}
    del fields[name]
    kept = {key: value for key, value in made.items() if key.isidentifier()}
    for key, value in kept.items():
        kept[key] = as_field(value, given)
    write_gguf(path, **fields, **kept)
    return said


def as_field(value: Any, given: Any) -> Any:
    """A value that the small writer of these tests can write."""
    if isinstance(value, bool) or (isinstance(value, int) and 0 <= value < 2**32):
        return value
    if isinstance(value, list) and isinstance(given, np.ndarray):
        numbers = [item for item in value if isinstance(item, int | float)]
        return np.array(numbers, np.float64).astype(given.dtype)
    if isinstance(value, list):
        return [str(item).encode("utf-8", "replace").decode() for item in value]
    return str(value).encode("utf-8", "replace").decode()


def make_sentencepiece(folder: Path) -> None:
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(train_model("unigram", True))


def make_gguf(folder: Path) -> None:
    folder.mkdir()
    write_gguf(folder / "vocab.gguf", **describe(build("unigram", True)))


def make_neighbours(folder: Path) -> None:
    """A tokenizer.json with every file beside it that is read."""
    write_tokenizer(folder)
    told = {"content": "<|im_start|>", "lstrip": False, "rstrip": True, "special": True}
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings |= {"added_tokens_decoder": {str(len(OLD)): told}, "extra_special_tokens": ["<|im_start|>"]}
    contents = {
        "tokenizer_config.json": settings | {"add_prefix_space": True, "do_lower_case": False},
        "special_tokens_map.json": {"bos_token": "<s>", "pad_token": told, "additional_special_tokens": [told]},
        "added_tokens.json": {"<|im_start|>": len(OLD), "<s>": 0},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def read_neighbours(folder: Path) -> None:
    use_tokenizer(folder)
    find_special_ids(folder)


def make_ranks(folder: Path) -> None:
    folder.mkdir()
    rows = (f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in RANKS.items())
    (folder / "own.tiktoken").write_text("".join(rows), encoding="utf-8")


def make_tekken(folder: Path) -> None:
    folder.mkdir()
    write_tekken(folder / "tekken.json", specials=10, used=310)


def make_corpus(folder: Path) -> None:
    folder.mkdir()
    text = "\n".join(LINES) + "\n"
    (folder / "eng_Latn.txt").write_text(text, encoding="utf-8")
    (folder / "yor_Latn.jsonl").write_text("".join(json.dumps({"text": x}) + "\n" for x in LINES))
    (folder / "hin_Deva.txt.gz").write_bytes(gzip.compress(text.encode()))


def make_counts(folder: Path) -> None:
    make_corpus(folder.parent / "corpus")
    vk.count(folder.parent / "corpus", folder, workers=1)
    shutil.rmtree(folder.parent / "corpus")


def read_counts(folder: Path) -> None:
    counts = vk.WordCounts.load(folder)
    shutil.copytree(folder, folder.parent / "copy")
    vk.merge([counts, folder.parent / "copy"])
    for language in counts.languages.values():
        for split in ("train", "held_out"):
            table = language.split(split)
            assert min(table.count, default=1) >= 0


def make_extension(folder: Path) -> None:
    folder.mkdir()
    write_model(folder / "model", shards=True)
    write_tokenizer(folder / "tokenizer", (*OLD, *ADDED))


def read_checkpoint(folder: Path) -> None:
    plan_extension(folder / "model", folder / "tokenizer")
    vk.extend(folder / "model", folder / "tokenizer", folder / "out")


def make_extended(folder: Path) -> None:
    parts = folder.parent / "parts"
    make_extension(parts)
    vk.extend(parts / "model", parts / "tokenizer", folder)
    shutil.rmtree(parts)


def read_extended(folder: Path) -> None:
    vk.verify(folder, reload=False)
    vk.undo(folder, folder.parent / "undone")


def read_shards(folder: Path) -> None:
    prepared = vk.PreparedCorpus.load(folder)
    for code in prepared.languages:
        for split in ("train", "held-out"):
            prepared.read_rows(code, split, np.arange(2))


def make_run(folder: Path) -> None:
    data = folder.parent / "data"
    make_data(data)
    write_ours(data / "tokenizer")
    train(make_config(training={"steps": 2}), data, folder)
    shutil.rmtree(data)


def read_run(folder: Path) -> None:
    vk.Run.load(folder)
    vk.export(folder, folder.parent / "exported")


def make_preset(name: str, folder: Path) -> None:
    folder.mkdir()
    source = next(Path("configs").rglob(f"{name}.toml"))
    shutil.copyfile(source, folder / f"{name}.toml")


def read_fit_preset(name: str, folder: Path) -> None:
    from vocabkit.configurations.settings import read_configuration

    read_configuration(folder / f"{name}.toml")


def read_run_preset(folder: Path) -> None:
    from vocabkit.pretraining.run_config import read_preset

    read_preset(folder / "tiny.toml", ())


def make_audit(folder: Path) -> None:
    parts = folder.parent / "parts"
    make_corpus(parts)
    write_ours(folder.parent / "tok")
    vk.audit(folder.parent / "tok", parts, folder, workers=1, resamples=20, integrity=False)
    shutil.rmtree(parts)
    shutil.rmtree(folder.parent / "tok")


def read_audit(folder: Path) -> None:
    audit = vk.Audit.load(folder)
    audit.to_rows()
    audit.to_frame()
    assert isinstance(audit.list_doubts(), list)


def read_corpus(folder: Path) -> None:
    vk.count(folder, workers=1)


READERS: Mapping[str, Reader] = {
    "sentencepiece": Reader(make_sentencepiece, {"*.model": (mutate_bytes,)}, use_tokenizer),
    "tokenizer.json": Reader(
        partial(write_byte_level), {"tokenizer*.json": (mutate_bytes, mutate_json, mutate_json)}, use_tokenizer
    ),
    "neighbours": Reader(
        make_neighbours,
        {
            "added_tokens.json": (mutate_bytes, mutate_json, mutate_json),
            "special_tokens_map.json": (mutate_bytes, mutate_json, mutate_json),
            "tokenizer_config.json": (mutate_bytes, mutate_json, mutate_json),
        },
        read_neighbours,
    ),
    "unigram-folder": Reader(
        lambda folder: write_ours(folder, blocks=True),
        {
            "*.json": (mutate_bytes, mutate_json, mutate_json),
            "*.model": (mutate_bytes,),
            "*.parquet": (mutate_bytes, mutate_table),
        },
        read_folder,
    ),
    "gguf": Reader(
        make_gguf, {"*.gguf": (mutate_bytes, mutate_gguf)}, lambda f: use_tokenizer(f / "vocab.gguf")
    ),
    "tiktoken": Reader(
        make_ranks, {"*.tiktoken": (mutate_bytes,)}, lambda f: use_tokenizer(f / "own.tiktoken", "gpt2")
    ),
    "tekken": Reader(
        make_tekken,
        {"*.json": (mutate_bytes, mutate_json, mutate_json)},
        lambda f: use_tokenizer(f / "tekken.json"),
    ),
    "corpus": Reader(
        make_corpus,
        {"*.txt": (mutate_bytes,), "*.jsonl": (mutate_bytes, mutate_json_lines), "*.gz": (mutate_bytes,)},
        read_corpus,
    ),
    "counts": Reader(
        make_counts,
        {"*.json": (mutate_bytes, mutate_json, mutate_json), "**/*.parquet": (mutate_bytes, mutate_table)},
        read_counts,
    ),
    "checkpoint": Reader(
        make_extension,
        {
            "model/config.json": (mutate_bytes, mutate_json, mutate_json),
            "model/*.index.json": (mutate_bytes, mutate_json, mutate_json),
            "model/*.safetensors": (mutate_bytes, mutate_safetensors, mutate_safetensors),
            "*/tokenizer*.json": (mutate_bytes, mutate_json),
        },
        read_checkpoint,
    ),
    "receipt": Reader(
        make_extended,
        {
            "extension/*.json": (mutate_bytes, mutate_json, mutate_json),
            "extension/*.safetensors": (mutate_bytes, mutate_safetensors),
            "config.json": (mutate_json,),
        },
        read_extended,
    ),
    "shards": Reader(
        lambda folder: write_rows(folder, {"eng_Latn": (20, 3), "yor_Latn": (10, 2)}),
        {"shards.json": (mutate_bytes, mutate_json, mutate_json), "*/*.npy": (mutate_bytes,)},
        read_shards,
    ),
    "run": Reader(
        make_run,
        {
            "*.json": (mutate_bytes, mutate_json, mutate_json),
            "*.toml": (mutate_bytes, mutate_toml),
            "checkpoints/**/*": (mutate_bytes,),
            "checkpoints/**/*.json": (mutate_json,),
        },
        read_run,
    ),
    "fit-preset": Reader(
        partial(make_preset, "two-stage-250k-12x50k"),
        {"*.toml": (mutate_bytes, mutate_toml, mutate_toml)},
        partial(read_fit_preset, "two-stage-250k-12x50k"),
    ),
    "run-preset": Reader(
        partial(make_preset, "tiny"), {"*.toml": (mutate_bytes, mutate_toml, mutate_toml)}, read_run_preset
    ),
    "panel": Reader(
        partial(make_preset, "panel-40"),
        {"*.toml": (mutate_bytes, mutate_toml, mutate_toml)},
        lambda folder: load_panel(folder / "panel-40.toml"),
    ),
    "audit": Reader(
        make_audit,
        {"*.json": (mutate_bytes, mutate_json, mutate_json), "*.parquet": (mutate_bytes, mutate_table)},
        read_audit,
    ),
}


def quietly(call: Callable[[Path], object], folder: Path) -> None:
    """Call a reader with nothing printed."""
    with redirect_stdout(StringIO()):
        call(folder)
