"""Preparing a corpus: from text to packed rows of ids, in parallel, resumable, in bounded memory.

The map step (`row_shards.prepare_shard`) runs on any `concurrent.futures.Executor`. Finished shards wait in a
work folder beside the output, so an interrupted run resumes; the output appears whole or not at all. The
same corpus, tokenizer and options give the same bytes, whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np

from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array
from vocabkit.core.errors import ConfigError, CorpusError, PretrainingError, TokenizerError
from vocabkit.core.folders import (
    check_inputs,
    check_output,
    name_full_disk,
    publish_folder,
    write_manifest,
)
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.counting import fingerprint_source
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.shard_map import FINISHED, open_executor, open_work
from vocabkit.corpus.sources import Corpus, Document, Source
from vocabkit.pretraining.packing import PackedRows, Packer, Pieces, WordEncoder, cut_documents
from vocabkit.pretraining.prepared import (
    BYTES,
    ENCODINGS,
    INDEX,
    ROWS,
    SCHEMA,
    SPLITS,
    USED,
    Encoding,
    PreparedCorpus,
    Split,
)
from vocabkit.vocabulary.roles import (
    SpecialIds,
    TokenizerFiles,
    complete_tokenizer,
    find_special_ids,
    find_tokenizer_files,
)
from vocabkit.vocabulary.tokenizers import open_route, open_tokenizer
from vocabkit.vocabulary.vocabulary import SHARED, Vocabulary, block_languages

# --- Preparation -----------------------------------------------------------------------------------
# What preparing a corpus can be asked for, and what it reports.


@dataclass(frozen=True, slots=True)
class PrepareOptions:
    """Settings that change the rows, and `workers`, which does not. `length` is in places, specials included.

    `encoding`: `union` encodes every language with the whole vocabulary, `routed` with the shared block and
    the language's own.
    """

    length: int = 512
    encoding: Encoding = "union"
    held_out: float = 0.02
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class PrepareRow:
    """One language's line of the report: documents, bytes, tokens and rows to train on, and those held out.

    `efficiency` is the share of training rows' places that are not padding; `bytes_per_token` bytes of
    original text over tokens without specials; `unknown` the unknown tokens' share of all tokens.
    """

    language: str
    documents: int
    bytes: int
    tokens: int
    rows: int
    efficiency: float
    bytes_per_token: float
    held_out_documents: int
    held_out_rows: int
    cut: int
    unknown: float
    repairs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What was prepared: a row per language, files left aside, shards taken over from an interrupted run.

    `efficiency` is that of all training rows together. `no_export`: why AutoTokenizer will not open the
    tokenizer of a model trained on them; None where it will.
    """

    rows: tuple[PrepareRow, ...]
    efficiency: float
    ignored: tuple[str, ...]
    resumed: int
    seconds: float
    no_export: str | None


# --- Row files -------------------------------------------------------------------------------------
# Files of rows written bit by bit: `.npy` whose number of rows is known only at the end.


_HEADER = 128
_KINDS = (ROWS, BYTES, USED)
_MAGIC = b"\x93NUMPY\x01\x00"


def _row_paths(folder: Path, stem: str) -> list[Path]:
    """The three files of a split: rows, their bytes, their used places."""
    return [folder / f"{stem}{kind}.npy" for kind in _KINDS]


class RowWriter:
    """Writes the three files of a split's rows: `STEM.npy`, `STEM.bytes.npy` and `STEM.used.npy`.

    Use as a context manager. Where there is no row, there is no file.
    """

    def __init__(self, folder: Path, stem: str, length: int) -> None:
        """Write under `folder/stem`, rows of `length` places."""
        self.rows = 0
        self.used = 0
        self._length = length
        self._paths = dict(zip(_KINDS, _row_paths(folder, stem), strict=True))
        self._files: dict[str, BinaryIO] = {}
        self._digest = hashlib.blake2b(digest_size=20)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        for name, file in self._files.items():
            with file:
                if kind is None:
                    file.seek(0)
                    shape = (self.rows, self._length) if name == ROWS else (self.rows,)
                    file.write(_header(shape))

    @property
    def digest(self) -> str:
        """A digest of all rows, their bytes and used places, in hex."""
        return self._digest.hexdigest()

    def write(self, packed: PackedRows) -> None:
        """Append rows."""
        if not len(packed.ids):
            return
        if not self._files:
            for name, path in self._paths.items():
                self._files[name] = path.open("wb")
                self._files[name].write(bytes(_HEADER))
        for name, array in ((ROWS, packed.ids), (BYTES, packed.bytes), (USED, packed.used)):
            self._append(self._files[name], array)
        self.rows += len(packed.ids)
        self.used += int(packed.used.sum())

    def _append(self, file: BinaryIO, array: Int32Array) -> None:
        data = array.astype("<i4", copy=False).tobytes()
        self._digest.update(data)
        file.write(data)


def _header(shape: tuple[int, ...]) -> bytes:
    """The first 128 bytes of an int32 .npy file, version 1.0."""
    text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}"
    room = _HEADER - len(_MAGIC) - 2
    return _MAGIC + room.to_bytes(2, "little") + (text.ljust(room - 1) + "\n").encode("ascii")


# --- Row shards ------------------------------------------------------------------------------------
# Preparing one shard: read, hold out, encode, cut, pack and write some files of one language.
#
# The map step, run in worker processes, resumable, bounded in memory whatever the size of its files. A
# shard's
# folder holds its rows, `consumed` (stored bytes read so far) and, once finished, `done.json`.


@dataclass(frozen=True, slots=True)
class _RowShardPlan:
    """What to prepare and how: files of one language, and all that decides their rows.

    `tokenizer` is the file that is opened; `fingerprint` tells one tokenizer from another at one path.
    `route` is the block to encode with beside the shared one, None for the whole vocabulary.
    """

    language: str
    sources: tuple[Source, ...]
    document: Document
    field: str
    held_out: float
    length: int
    tokenizer: Path
    route: str | None
    fingerprint: str
    special: SpecialIds
    folder: Path

    @property
    def size(self) -> int:
        """Stored bytes of its files."""
        return sum(source.size for source in self.sources)


@dataclass(frozen=True, slots=True)
class _RowShard:
    """A finished shard. `used` are places of rows that are not padding, `unknown` unknown tokens, by split.

    `sources` maps paths to fingerprints; `digests` are of each split's rows.
    """

    language: str
    folder: Path
    splits: dict[str, Split]
    used: dict[str, int]
    digests: dict[str, str]
    unknown: int
    empty: int
    cut: int
    sources: dict[str, str]
    repairs: dict[str, int]


def _prepare_shard(plan: _RowShardPlan) -> _RowShard:
    """Prepare the files of a plan into its folder, or return the shard already finished there.

    Raises CorpusError for text that cannot be read, and TokenizerError for text that becomes a special token.
    """
    finished = _load_row_shard(plan.folder)
    if finished is not None:
        return finished
    shutil.rmtree(plan.folder, ignore_errors=True)
    plan.folder.mkdir(parents=True)
    repairs = Repairs()
    consumed = plan.folder / "consumed"
    read = 0

    def on_bytes(amount: int) -> None:
        nonlocal read
        read += amount

    with ExitStack() as stack:
        task = _Task(plan, stack)
        for source in plan.sources:
            for batch in read_documents(source, plan.document, plan.field, repairs, on_bytes):
                task.add(batch, source.path)
                consumed.write_text(str(read), encoding="ascii")
        task.finish()
    shard = _RowShard(
        plan.language, plan.folder, task.splits, task.used, task.digests,
        task.unknown, task.empty, task.cut,
        {source.path: fingerprint_source(source) for source in plan.sources},
        {name: count for name, count in sorted(repairs.items()) if count},
    )  # fmt: skip
    data = asdict(shard) | {"folder": ""}
    temporary = plan.folder / "done.tmp"
    temporary.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    temporary.rename(plan.folder / FINISHED)
    return shard


def _load_row_shard(folder: Path) -> _RowShard | None:
    """The finished shard in a folder, or None; also where its rows were moved away since."""
    path = folder / FINISHED
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    data["splits"] = {name: Split(**entry) for name, entry in data["splits"].items()}
    for name, split in data["splits"].items():
        if split.rows and not all(path.is_file() for path in _row_paths(folder, name)):
            return None
    return _RowShard(**data | {"folder": folder})


def holds_out(encoded: Sequence[bytes], share: float) -> BoolArray:
    """Which documents, as UTF-8, are held out: bool[n], the same ones as `vocabkit count` holds out.

    The last eight bytes of a document's MD5 decide, so that equal documents are on one side in every corpus.
    """
    threshold = int(share * 2**64)
    if not threshold:
        return np.zeros(len(encoded), bool)
    digests = [hashlib.md5(data, usedforsecurity=False).digest() for data in encoded]
    halves = np.frombuffer(b"".join(digests), "<u8")[1::2]
    return halves < np.uint64(threshold)


class _Task:
    """The running state of one shard."""

    def __init__(self, plan: _RowShardPlan, stack: ExitStack) -> None:
        self._plan = plan
        self._encoder = _open_encoder(plan.tokenizer, plan.route, plan.fingerprint)
        self._encoder.turn_to(plan.language)
        special = plan.special
        self._packers: dict[str, Packer] = {name: Packer(plan.length, special) for name in SPLITS}
        self._writers: dict[str, RowWriter] = {
            name: stack.enter_context(RowWriter(plan.folder, name, plan.length)) for name in SPLITS
        }
        self._forbidden = np.zeros(self._encoder.tokenizer.size, bool)
        self._forbidden[list(special.reserved)] = True
        # Text may yield the unknown token, unless that is also what rows are laid out with, as GPT-2's is.
        structure = (special.begin, special.end, special.pad, special.mask)
        if special.unknown is not None and special.unknown not in structure:
            self._forbidden[special.unknown] = False
        self._documents: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self._bytes: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self._tokens: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self.unknown = self.empty = self.cut = 0

    @property
    def splits(self) -> dict[str, Split]:
        return {
            name: Split(
                self._writers[name].rows,
                self._tokens[name],
                self._bytes[name],
                self._documents[name],
            )
            for name in SPLITS
        }

    @property
    def used(self) -> dict[str, int]:
        return {name: writer.used for name, writer in self._writers.items()}

    @property
    def digests(self) -> dict[str, str]:
        return {name: writer.digest for name, writer in self._writers.items()}

    def add(self, documents: list[str], path: str) -> None:
        """Encode a batch and write the rows that are full."""
        encoded = [text.encode() for text in documents]
        sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        held = holds_out(encoded, self._plan.held_out)
        del encoded
        try:
            ids, lengths = self._encoder.encode_flat(documents)
        except TokenizerError as error:
            raise TokenizerError(f"{path}: {error.message}", error.hint) from error
        self._check(ids, lengths, documents, path)
        some = lengths > 0
        self.empty += int((~some).sum())
        for name, chosen in (("train", ~held & some), ("held-out", held & some)):
            self._pack(name, Pieces(ids, lengths, sizes).select(chosen))

    def finish(self) -> None:
        """Write what waits."""
        for name in SPLITS:
            for packed in self._packers[name].finish():
                self._writers[name].write(packed)

    def _pack(self, name: str, documents: Pieces) -> None:
        packer = self._packers[name]
        self._documents[name] += len(documents.lengths)
        self._bytes[name] += int(documents.sizes.sum())
        self._tokens[name] += len(documents.ids)
        self.cut += int((documents.lengths > packer.longest).sum())
        pieces = cut_documents(documents, packer.longest, self._token_sizes)
        for packed in packer.add(pieces):
            self._writers[name].write(packed)

    def _token_sizes(self) -> Int64Array:
        return _measure_tokens(self._plan.tokenizer, self._plan.route, self._plan.fingerprint)

    def _check(self, ids: Int32Array, lengths: Int64Array, documents: list[str], path: str) -> None:
        """Count unknown tokens. Raises TokenizerError where text became a special token."""
        wrong = np.flatnonzero(self._forbidden[ids])
        if len(wrong):
            place = int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
            raise TokenizerError(
                f"{path}: {documents[place][:80]!r} holds text that the tokenizer takes for the special "
                f"token {int(ids[wrong[0]])}",
                "mark that token as special in tokenizer.json, or take the text out",
            )
        if self._plan.special.unknown is not None:
            self.unknown += int((ids == self._plan.special.unknown).sum())


@lru_cache(maxsize=2)
def _open_encoder(path: Path, route: str | None, fingerprint: str) -> WordEncoder:
    """The encoder of a tokenizer, or of a block's view of it, kept for a worker's next shards."""
    del fingerprint  # keeps a file that changed from being taken for the old one
    return WordEncoder(open_tokenizer(path) if route is None else open_route(path.parent, route))


@lru_cache(maxsize=2)
def _measure_tokens(path: Path, route: str | None, fingerprint: str) -> Int64Array:
    """Bytes of text each id stands for, int64[size]; 0 for special and unknown ones. Half a second at 250k."""
    tokenizer = _open_encoder(path, route, fingerprint).tokenizer
    found = (tokenizer.token_bytes(index) for index in range(tokenizer.size))
    return np.fromiter((len(data or b"") for data in found), np.int64, tokenizer.size)


# --- Row index -------------------------------------------------------------------------------------
# The index of prepared rows, and how finished shards come to stand under it.


def _group_by_language(shards: Sequence[_RowShard]) -> dict[str, list[_RowShard]]:
    """The shards of each language, in their order; languages sorted."""
    groups: dict[str, list[_RowShard]] = {}
    for shard in shards:
        groups.setdefault(shard.language, []).append(shard)
    return dict(sorted(groups.items()))


def _sum_splits(shards: Sequence[_RowShard], split: str) -> Split:
    """What several shards hold of a split together."""
    parts = [shard.splits[split] for shard in shards]
    return Split(
        sum(part.rows for part in parts), sum(part.tokens for part in parts),
        sum(part.bytes for part in parts), sum(part.documents for part in parts),
    )  # fmt: skip


def _publish_rows(shards: Sequence[_RowShard], target: Path, length: int) -> dict[str, object]:
    """Move a language's rows into their place and return its entry of the index."""
    code = shards[0].language
    (target / code).mkdir()
    files = []
    for number, shard in enumerate(shards):
        name = f"{code}/{number:05d}"
        for path in sorted(shard.folder.glob("*.npy")):
            path.rename(target / f"{name}.{path.name}")
        entry: dict[str, object] = {"name": name}
        for split in SPLITS:
            found = asdict(shard.splits[split])
            entry[split] = found | {"used": shard.used[split], "digest": shard.digests[split]}
        files.append(entry)
    return {split: asdict(_sum_splits(shards, split)) for split in SPLITS} | {
        "efficiency": _measure_efficiency(shards, length), "files": files
    }  # fmt: skip


def _write_row_index(
    folder: Path,
    languages: Mapping[str, object],
    corpus: Corpus,
    settings: PrepareOptions,
    files: TokenizerFiles,
    special: SpecialIds,
    vocabulary: int,
    shards: Sequence[_RowShard],
) -> None:
    """Write the index, which `PreparedCorpus.load` reads.

    It names no path, so that equal text elsewhere gives an equal one.
    """
    digest = hashlib.blake2b(f"{corpus.document}\0{corpus.field}".encode(), digest_size=20)
    for shard in shards:
        for value in shard.sources.values():
            digest.update(f"\0{shard.language}\0{value}".encode())
    index = {
        "schema": SCHEMA,
        "length": settings.length,
        "encoding": settings.encoding,
        "vocabulary": vocabulary,
        "special": special.to_dict(),
        "tokenizer": files.fingerprint,
        "corpus": digest.hexdigest(),
        "held_out": settings.held_out,
        "languages": languages,
    }
    text = json.dumps(index, ensure_ascii=False, indent=1)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def _measure_efficiency(shards: Sequence[_RowShard], length: int) -> float | None:
    """The share of training rows' places that are not padding; None without a row."""
    places = sum(shard.splits["train"].rows for shard in shards) * length
    return sum(shard.used["train"] for shard in shards) / places if places else None


def _write_row_config(
    folder: Path, corpus: Corpus, tokenizer: Path, settings: PrepareOptions
) -> None:
    """Write the corpus as it was prepared, as a corpus file, with the command that prepares it again."""
    again = corpus.to_toml(
        f"Prepare again: vocabkit prepare THIS_FILE --tokenizer {tokenizer} -o DIR "
        f"--length {settings.length} --encoding {settings.encoding} --held-out {settings.held_out}"
    )
    (folder / "config.toml").write_text(again, encoding="utf-8")


# --- Row scheduling --------------------------------------------------------------------------------
# Which files are prepared together, in which order, and the run over all of them.


# Files of a language are prepared together up to this size: each shard ends in rows that are not full.
_SHARD_BYTES = 4 << 20


def _plan_row_shards(
    corpus: Corpus,
    files: TokenizerFiles,
    special: SpecialIds,
    blocks: Sequence[str] | None,
    work: Path,
    *,
    length: int,
    held_out: float,
) -> list[_RowShardPlan]:
    """One task for each file, or group of small ones, of each language; the largest first.

    `blocks` are the languages with a block of their own where texts are routed, None where not.
    """
    plans = []
    for code in corpus.languages:
        route = None
        if blocks is not None:
            route = code if code in blocks else SHARED
        for number, group in enumerate(_group_sources(corpus.sources[code])):
            folder = work / "shards" / f"{code}-{number:05d}-{_stamp(group)}"
            plans.append(
                _RowShardPlan(
                    code, group, corpus.document, corpus.field, held_out, length,
                    files.file, route, files.fingerprint, special, folder,
                )
            )  # fmt: skip
    # Largest first: the last task to start is then the smallest, and cores finish together.
    return sorted(plans, key=lambda plan: (-plan.size, plan.folder.name))


def _group_sources(sources: Sequence[Source]) -> list[tuple[Source, ...]]:
    """Files in order, the next one put to the last while both are within the size of a shard."""
    groups: list[list[Source]] = []
    size = 0
    for source in sources:
        if groups and size + source.size <= _SHARD_BYTES:
            groups[-1].append(source)
            size += source.size
        else:
            groups.append([source])
            size = source.size
    return [tuple(group) for group in groups]


def _stamp(sources: Sequence[Source]) -> str:
    """An identity of files that changes when one of them does."""
    digest = hashlib.blake2b(digest_size=8)
    for source in sources:
        changed, path = "", source.path
        if "://" not in path:
            changed, path = str(Path(path).stat().st_mtime_ns), str(Path(path).absolute())
        digest.update(f"{path}\0{source.size}\0{changed}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _run_row_shards(
    pool: Executor, plans: Sequence[_RowShardPlan], report: Progress
) -> list[_RowShard]:
    """Prepare every planned shard, reporting bytes as workers write how far they are."""
    report.start("preparing", sum(plan.size for plan in plans), "bytes")
    pending: dict[Future[_RowShard], _RowShardPlan] = {
        pool.submit(_prepare_shard, plan): plan for plan in plans
    }
    shards: dict[Path, _RowShard] = {}
    shown = finished = 0
    try:
        while pending:
            done, _ = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
            for future in done:
                shards[pending[future].folder] = future.result()
                finished += pending.pop(future).size
            read = finished + sum(map(_consumed, pending.values()))
            report.advance(max(0, read - shown))
            shown = max(read, shown)
    finally:
        for future in pending:
            future.cancel()
    report.finish()
    return [shards[plan.folder] for plan in sorted(plans, key=lambda plan: plan.folder.name)]


def _consumed(plan: _RowShardPlan) -> int:
    try:
        text = (plan.folder / "consumed").read_text(encoding="ascii")
        return min(int(text or 0), plan.size)
    except (OSError, ValueError):
        return 0


# --- Preparing -------------------------------------------------------------------------------------


# Bump when the same input comes to give other rows: an interrupted run is then begun anew.
_VERSION = 1
_SHORTEST = 8
# Text in a script without pieces is half unknown tokens: each word a space and one unknown run.
_UNKNOWN = 0.4


def prepare_corpus(
    corpus: Corpus,
    tokenizer: str | Path,
    output: str | Path,
    options: PrepareOptions | None = None,
    *,
    force: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> PrepareReport:
    """Encode and pack every source of a corpus into a folder of prepared rows.

    Raises `CorpusError` for text that cannot be read, `TokenizerError` for a tokenizer that cannot be used,
    `PretrainingError` for one without a token that begins a text, `OutputError` for an output that exists.
    """
    settings = options or PrepareOptions()
    _check_options(settings)
    target = Path(output)
    check_output(target, force=force)
    sources = [source.path for parts in corpus.sources.values() for source in parts]
    check_inputs(target, [*(path for path in sources if "://" not in path), tokenizer])
    with name_full_disk(target):
        return _prepare(corpus, Path(tokenizer), target, settings, executor, progress or Silent())


def _prepare(
    corpus: Corpus,
    tokenizer: Path,
    target: Path,
    settings: PrepareOptions,
    executor: Executor | None,
    report: Progress,
) -> PrepareReport:
    start = time.perf_counter()
    files = find_tokenizer_files(tokenizer)
    # Kept open: where shards are prepared in this process, theirs is this one.
    opened = _open_encoder(files.file, None, files.fingerprint).tokenizer
    special, vocabulary = find_special_ids(tokenizer, opened), opened.size
    blocks = _find_blocks(files) if settings.encoding == "routed" else None
    plan = _describe_plan(corpus, settings, files, special)
    with open_work(target, plan) as work:
        plans = _plan_row_shards(
            corpus, files, special, blocks, work, length=settings.length, held_out=settings.held_out
        )
        resumed = sum(_load_row_shard(plan.folder) is not None for plan in plans)
        with ExitStack() as stack:
            pool = executor or open_executor(settings.workers, len(plans), stack)
            shards = _run_row_shards(pool, plans, report)
        encoded = time.perf_counter()
        groups = _group_by_language(shards)
        _check_text(groups, special, settings)
        ready = work / "shards-ready"
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        languages = {
            code: _publish_rows(group, ready, settings.length) for code, group in groups.items()
        }
        _write_row_index(ready, languages, corpus, settings, files, special, vocabulary, shards)
        no_export = _copy_tokenizer(files, ready / "tokenizer")
        _write_row_config(ready, corpus, tokenizer, settings)
        PreparedCorpus.load(ready)
        write_manifest(
            ready,
            config={"length": settings.length, "encoding": settings.encoding, "held_out": settings.held_out},
            inputs={"tokenizer": files.fingerprint}
            | {f"{s.language}: {path}": digest for s in shards for path, digest in s.sources.items()},
            seconds={"encode": encoded - start},
            details={
                "repairs": {code: _sum_repairs(group) for code, group in groups.items()},
                "ignored": list(corpus.ignored),
            },
        )  # fmt: skip
        publish_folder(ready, target)
        shutil.rmtree(work, ignore_errors=True)
    rows = tuple(_report_row(code, group, settings.length) for code, group in groups.items())
    used = sum(shard.used["train"] for shard in shards)
    places = sum(shard.splits["train"].rows for shard in shards) * settings.length
    return PrepareReport(
        rows, used / places, tuple(corpus.ignored), resumed, time.perf_counter() - start, no_export
    )


def _copy_tokenizer(files: TokenizerFiles, folder: Path) -> str | None:
    """Keep the tokenizer's files, and return why AutoTokenizer will not open an export of them, if so."""
    folder.mkdir()
    for path in files.copied:
        shutil.copyfile(path, folder / path.name)
    with TemporaryDirectory(prefix="vocabkit-") as trial:
        return complete_tokenizer(folder, Path(trial))


def _check_options(settings: PrepareOptions) -> None:
    if settings.length < _SHORTEST:
        raise ConfigError(f"--length {settings.length}: expected {_SHORTEST} places or more")
    if settings.encoding not in ENCODINGS:
        raise ConfigError(f"--encoding {settings.encoding}: one of {', '.join(ENCODINGS)}")
    if not 0.0 <= settings.held_out < 1.0:
        raise ConfigError(
            f"--held-out {settings.held_out}: expected a share from 0 up to, not including, 1"
        )


def _find_blocks(files: TokenizerFiles) -> tuple[str, ...]:
    try:
        return block_languages(Vocabulary.load(files.folder))
    except TokenizerError as error:
        raise TokenizerError(
            f"{files.folder}: cannot be routed: {error.message}",
            "leave out --encoding routed, or fit with `vocabkit fit two-stage-250k-12x50k`",
        ) from error


def _describe_plan(
    corpus: Corpus, settings: PrepareOptions, files: TokenizerFiles, special: SpecialIds
) -> str:
    """All that decides what is in a finished shard, but for its files."""
    return json.dumps(
        [
            _VERSION, settings.length, settings.encoding, settings.held_out, corpus.document,
            corpus.field, files.fingerprint, special.to_dict(),
        ]
    )  # fmt: skip


def _check_text(
    groups: Mapping[str, Sequence[_RowShard]], special: SpecialIds, settings: PrepareOptions
) -> None:
    """Raise for a language without a document, a known token or a row to train on."""
    for code, group in groups.items():
        names = ", ".join(path for shard in group for path in shard.sources)
        train, held = _sum_splits(group, "train"), _sum_splits(group, "held-out")
        if not train.documents + held.documents:
            raise CorpusError(
                f"{code}: no document in {names}",
                "add text of that language, or take its files out of the corpus",
            )
        unknown = sum(shard.unknown for shard in group) / max(1, train.tokens + held.tokens)
        if unknown >= _UNKNOWN:
            raise TokenizerError(
                f"{code}: the tokenizer does not know its text: {unknown:.0%} of the tokens are unknown "
                f"(id {special.unknown})",
                "leave the language out with --languages, or fit a vocabulary that covers it",
            )
        if not train.rows:
            raise PretrainingError(
                f"{code}: all of its {held.documents} documents are held out, none is left to train on",
                f"lower --held-out (now {settings.held_out}), or add text",
            )


def _sum_repairs(shards: Sequence[_RowShard]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard.repairs)
    return dict(sorted(total.items()))


def _report_row(code: str, shards: Sequence[_RowShard], length: int) -> PrepareRow:
    train, held = _sum_splits(shards, "train"), _sum_splits(shards, "held-out")
    return PrepareRow(
        code, train.documents, train.bytes, train.tokens, train.rows,
        _measure_efficiency(shards, length) or 0.0, train.bytes / train.tokens,
        held.documents, held.rows, sum(shard.cut for shard in shards),
        sum(shard.unknown for shard in shards) / (train.tokens + held.tokens),
        _sum_repairs(shards),
    )  # fmt: skip
