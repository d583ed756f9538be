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
from dataclasses import asdict, dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

import vocabkit as vk
from tests.extension.tiny_models import ADDED, OLD, write_model, write_tokenizer
from tests.fuzz.mutations import (
    Mutation,
    mutate_bytes,
    mutate_json,
    mutate_json_lines,
    mutate_safetensors,
    mutate_sealed,
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
from vocabkit.configurations.allocating import (
    BlockGain,
    Saturation,
    SaturationReport,
    ServedGain,
    _SaturationConfig,
)
from vocabkit.core.folders import write_manifest
from vocabkit.core.languages import load_panel
from vocabkit.corpus.counting import import_frequencies
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.sample import AlignedSet, SampleRow
from vocabkit.extension.plan import plan_extension
from vocabkit.pretraining.run_start import pretrain
from vocabkit.vocabulary.adapters import BYTE_ALPHABET
from vocabkit.vocabulary.roles import find_special_ids
from vocabkit.vocabulary.tokenizers import open_route
from vocabkit.vocabulary.vocabulary import route_vocabulary

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
        with np.errstate(invalid="ignore"):
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


def read_corpus(path: Path) -> None:
    """Read all documents: to count them as well takes ten times as long, and reads nothing more."""
    corpus = vk.open_corpus(path)
    for sources in corpus.sources.values():
        for source in sources:
            for _ in read_documents(source, corpus.document, corpus.field, Repairs()):
                pass


def make_tables(folder: Path) -> None:
    """A corpus named by a TOML file, a parquet file among its own."""
    make_corpus(folder)
    with duckdb.connect() as connection:
        lines = [[line] for line in LINES]
        connection.execute("CREATE TABLE rows (text VARCHAR, length BIGINT)")
        connection.executemany("INSERT INTO rows VALUES (?, length(?))", [line * 2 for line in lines])
        connection.execute(f"COPY rows TO '{folder / 'deu_Latn.parquet'}' (FORMAT parquet)")
    (folder / "corpus.toml").write_text(
        'name = "made"\ndocument = "line"\nfield = "text"\n[languages]\neng_Latn = "eng*.txt"\n'
        'yor_Latn = ["yor_Latn.jsonl"]\ndeu_Latn = "*.parquet"\n'
    )


def make_frequencies(folder: Path) -> None:
    folder.mkdir()
    words = sorted({word for line in LINES for word in line.split()})
    text = "".join(f"{word}\t{place + 1}\n" for place, word in enumerate(words))
    (folder / "words.tsv").write_text(text, encoding="utf-8")


def read_frequencies(folder: Path) -> None:
    import_frequencies(folder / "words.tsv", "eng_Latn", folder / "out")


def make_allotment(folder: Path) -> None:
    counts = folder.parent / "counts"
    make_counts(counts)
    vk.allocate(counts, folder / "allotment", budget=300, languages=["eng_Latn", "yor_Latn"])
    write_ours(folder.parent / "base")
    config = _SaturationConfig(base="base", tail=("yor_Latn",), sizes=(5, 10))
    blocks = (BlockGain("yor_Latn", 5, 5, False, 20, 18, 0.1, None, None),)
    served = (ServedGain(5, 1, "yor_Latn", 5, False, -2, 0.1, 0.05, 0.2),)
    report = SaturationReport(config, Saturation(blocks, served), ("one",), {"all": 1.0}, "c")
    report.save(folder / "saturation")
    vk.fit(
        "shared-250k", counts, folder / "fit", vocabulary={"size": 260}, trainer={"threads": 1},
        coverage={"character": 0.9},
    )  # fmt: skip
    for name in ("counts", "base"):
        shutil.rmtree(folder.parent / name)


def read_results(folder: Path) -> None:
    for kind, name in ((vk.Allotment, "allotment"), (vk.SaturationReport, "saturation"), (vk.Fit, "fit")):
        kind.load(folder / name).to_frame()


RESULTS = (
    vk.Comparison, vk.Difference, vk.Export, vk.Extension, vk.InitComparison, vk.Shown, vk.Undone,
    vk.Verification,
)  # fmt: skip


def make_rows(folder: Path) -> None:
    """The folder of every result that is rows alone, and of a sample."""
    rows = [{"check": "one", "state": "ok", "value": 1.5}, {"check": "two", "state": None, "value": 2}]
    for kind in RESULTS:
        (folder / kind.__name__).mkdir(parents=True)
        content = {"schema": f"vocabkit.{kind.__name__}/1", "rows": rows}
        (folder / kind.__name__ / "result.json").write_text(json.dumps(content), encoding="utf-8")
    details = {
        "languages": [asdict(SampleRow("eng_Latn", 10, 400, {"babel": 400}))],
        "aligned": [asdict(AlignedSet("aligned/a", ("eng_Latn", "yor_Latn"), 10))],
    }
    (folder / "sample").mkdir()
    write_manifest(folder / "sample", details=details)


def read_rows(folder: Path) -> None:
    for kind in RESULTS:
        kind.load(folder / kind.__name__).to_frame()
    vk.Sample.load(folder / "sample").to_frame()


def make_routed(folder: Path) -> None:
    write_ours(folder, blocks=True)
    route_vocabulary(vk.Vocabulary.load(folder), "deu_Latn").save(folder / "routed" / "deu_Latn")


def read_routed(folder: Path) -> None:
    open_route(folder, "deu_Latn").encode_batch([TEXT])
    use_tokenizer(folder / "routed" / "deu_Latn")


def make_words(folder: Path) -> None:
    """BERT's vocab.txt and GPT-2's two files, each with the files beside it."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", *"abcdefghij"]
    make_neighbours(folder / "words")
    (folder / "words" / "tokenizer.json").unlink()
    (folder / "words" / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    make_neighbours(folder / "pair")
    (folder / "pair" / "tokenizer.json").unlink()
    letters = {letter: place for place, letter in enumerate(BYTE_ALPHABET)}
    table = letters | {"th": 256, "the": 257}
    (folder / "pair" / "vocab.json").write_text(json.dumps(table), encoding="utf-8")
    (folder / "pair" / "merges.txt").write_text("#version: 0.2\nt h\nth e\n", encoding="utf-8")
    for name, size, kind in (("words", len(words), "BertTokenizer"), ("pair", 258, "GPT2Tokenizer")):
        content = json.loads((folder / name / "tokenizer_config.json").read_text(encoding="utf-8"))
        content["added_tokens_decoder"] = {str(size): content["added_tokens_decoder"][str(len(OLD))]}
        content |= {"tokenizer_class": kind, "strip_accents": None, "chat_template": "{{ messages }}"}
        content |= {"bos_token": "the", "eos_token": "the", "unk_token": "[UNK]", "pad_token": "the"}
        (folder / name / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
        (folder / name / "added_tokens.json").write_text(json.dumps({"<|im_start|>": size}), encoding="utf-8")


def read_words(folder: Path) -> None:
    failed = None
    for name in ("words", "pair"):
        try:
            read_neighbours(folder / name)
        except vk.VocabkitError as error:
            failed = error
    if failed is not None:
        raise failed


def make_torch(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder.mkdir()
    write_model(folder / "model")
    torch.save(load_file(folder / "model" / "model.safetensors"), folder / "model" / "pytorch_model.bin")
    (folder / "model" / "model.safetensors").unlink()
    write_tokenizer(folder / "tokenizer", (*OLD, *ADDED))


def make_plan(folder: Path) -> None:
    make_data(folder / "data")
    write_ours(folder / "data" / "tokenizer")


def read_plan(folder: Path) -> None:
    pretrain(make_config(), folder / "data", dry_run=True, device="cpu")


def make_resumed(folder: Path) -> None:
    make_plan(folder)
    train(make_config(training={"steps": 4}, save={"every": 2}), folder / "data", folder / "run")


def read_resumed(folder: Path) -> None:
    """Go on from the first of two checkpoints, as after a kill."""
    (folder / "run" / "result.json").unlink(missing_ok=True)
    train(make_config(training={"steps": 4}, save={"every": 2}), folder / "data", folder / "run")


def make_settings(folder: Path) -> None:
    folder.mkdir()
    fitted = (
        "vocabulary.size=4_000",
        "vocabulary.symbols=['a']",
        "languages.exponent=0.3",
        "trainer.threads=1",
    )
    trained = ("training.steps=10", "model.layers=2", "log.every=5", "model.heads=2")
    for name, texts in (("fit", fitted), ("pretrain", trained)):
        (folder / f"{name}.toml").write_text("\n".join(texts) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> None:
    from vocabkit.configurations.settings import read_configuration
    from vocabkit.pretraining.run_config import read_preset

    for name, read in (
        ("fit", partial(read_configuration, "balanced-250k")),
        ("pretrain", partial(read_preset, "tiny")),
    ):
        for line in (folder / f"{name}.toml").read_text(encoding="utf-8", errors="replace").splitlines():
            read([line])


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
    "corpus-table": Reader(
        make_tables,
        {"*.toml": (mutate_bytes, mutate_toml, mutate_toml), "*.parquet": (mutate_bytes, mutate_table)},
        lambda folder: read_corpus(folder / "corpus.toml"),
    ),
    "frequencies": Reader(make_frequencies, {"*.tsv": (mutate_bytes,)}, read_frequencies),
    "results": Reader(
        make_allotment,
        {
            "*/*.json": (mutate_bytes, mutate_json, mutate_json),
            "*/*.toml": (mutate_bytes, mutate_toml),
            "*/*.[ct]sv": (mutate_bytes,),
            "*/*.parquet": (mutate_bytes, mutate_table),
        },
        read_results,
    ),
    "rows": Reader(make_rows, {"*/*.json": (mutate_bytes, mutate_json, mutate_json)}, read_rows),
    "routed-folder": Reader(
        make_routed,
        {
            "*.model": (mutate_bytes,),
            "*.parquet": (mutate_bytes, mutate_table),
            "routed/*/*.json": (mutate_bytes, mutate_json),
            "routed/*/*.model": (mutate_bytes,),
        },
        read_routed,
    ),
    "word-lists": Reader(
        make_words,
        {
            "*/*.txt": (mutate_bytes,),
            "pair/vocab.json": (mutate_bytes, mutate_json),
            "*/[ast]*.json": (mutate_bytes, mutate_json, mutate_json),
        },
        read_words,
    ),
    "torch-file": Reader(make_torch, {"model/*.bin": (mutate_bytes,)}, read_checkpoint),
    "plan": Reader(
        make_plan,
        {
            "data/shards.json": (mutate_bytes, mutate_sealed, mutate_sealed),
            "data/*/*.npy": (mutate_bytes,),
            "data/tokenizer/*": (mutate_bytes,),
        },
        read_plan,
    ),
    "resumed-run": Reader(
        make_resumed,
        {
            "run/*.json": (mutate_bytes, mutate_json, mutate_sealed, mutate_sealed),
            "run/*.jsonl": (mutate_bytes, mutate_json_lines),
            "run/*.toml": (mutate_bytes, mutate_toml),
            "run/checkpoints/**/*.json": (mutate_bytes, mutate_sealed, mutate_sealed),
            "run/checkpoints/**/*.safetensors": (mutate_bytes, mutate_safetensors),
        },
        read_resumed,
    ),
    "settings": Reader(make_settings, {"*.toml": (mutate_toml,)}, read_settings),
    "counts": Reader(
        make_counts,
        {"*.json": (mutate_bytes, mutate_json, mutate_sealed), "**/*.parquet": (mutate_bytes, mutate_table)},
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
            "extension/*.json": (mutate_bytes, mutate_json, mutate_sealed, mutate_sealed),
            "extension/*.safetensors": (mutate_bytes, mutate_safetensors),
            "config.json": (mutate_json,),
        },
        read_extended,
    ),
    "shards": Reader(
        lambda folder: write_rows(folder, {"eng_Latn": (20, 3), "yor_Latn": (10, 2)}),
        {"shards.json": (mutate_bytes, mutate_json, mutate_sealed, mutate_sealed), "*/*.npy": (mutate_bytes,)},
        read_shards,
    ),
    "run": Reader(
        make_run,
        {
            "*.json": (mutate_bytes, mutate_json, mutate_sealed, mutate_sealed),
            "*.toml": (mutate_bytes, mutate_toml),
            "checkpoints/**/*": (mutate_bytes,),
            "checkpoints/**/*.json": (mutate_json, mutate_sealed),
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
