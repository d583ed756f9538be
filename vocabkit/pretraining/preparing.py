"""Preparing a corpus: from text to packed rows of ids, in parallel, resumable, in bounded memory.

Small files of a language become a shard together (`corpus.shard_map`): read, held out, encoded, cut, packed
and written as rows, whatever their size. The same corpus, tokenizer and options give the same bytes,
whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vocabkit.core.arrays import Int32Array, Int64Array
from vocabkit.core.errors import ConfigError, CorpusError, PretrainingError, TokenizerError
from vocabkit.core.folders import (
    Clock,
    check_output,
    find_address,
    fingerprint_file,
    scratch_folder,
    write_manifest,
    write_text,
)
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.records import write_sealed
from vocabkit.core.remote import remote_folder
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.shard_map import (
    Shard,
    ShardPlan,
    group_shards,
    group_sources,
    map_shards,
    no_document,
    open_executor,
    open_work,
    stamp_sources,
    sum_repairs,
)
from vocabkit.corpus.sources import Corpus
from vocabkit.corpus.word_rows import choose_held_out, join_texts
from vocabkit.pretraining.packing import (
    Documents,
    PackedRows,
    Packer,
    WordEncoder,
    count_lost,
    cut_documents,
    list_lines,
)
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
    SplitName,
)
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.byte_level import open_fastokens
from vocabkit.vocabulary.roles import (
    SpecialIds,
    TokenizerFiles,
    complete_tokenizer,
    find_special_ids,
    find_tokenizer_files,
)
from vocabkit.vocabulary.tokenizers import open_route, open_tokenizer
from vocabkit.vocabulary.vocabulary import SHARED, Vocabulary, block_languages

# Bump when the same input comes to give other rows: an interrupted run is then begun anew.
_VERSION = 3
_SHORTEST = 8
# Characters of each language that two ways to encode are compared on: 20 ms of `tokenizers`.
_SAMPLE = 1 << 15
# Text in a script without pieces is half unknown tokens: each word a space and one unknown run.
_UNKNOWN = 0.4
# Files of a language are prepared together up to this size: each shard ends in rows that are not full.
_SHARD_BYTES = 4 << 20


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


@dataclass(frozen=True, slots=True, eq=False)
class Prepared(PreparedCorpus):
    """Prepared rows, and what preparing them met: a row per language, languages without data, files left aside.

    `uncut` says which large files are one task each, `resumed` how many shards were taken over from an
    interrupted run; `efficiency` is that of all training rows together. `no_export`: why AutoTokenizer will not
    open the tokenizer of a model trained on them; None where it will. `notes` are what reading the tokenizer
    turned off or took for granted.
    """

    rows: tuple[PrepareRow, ...] = ()
    efficiency: float = 0.0
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    uncut: tuple[str, ...] = ()
    resumed: int = 0
    seconds: float = 0.0
    no_export: str | None = None
    notes: tuple[str, ...] = ()

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language: what was prepared, and how well it packs."""
        return [asdict(row) for row in self.rows] or PreparedCorpus.to_rows(self)

    def describe(self) -> str:
        """Return a sentence on what was done."""
        taken = f", {self.resumed} shards taken over" if self.resumed else ""
        held = f"{self.efficiency:.2%} of places hold text"
        return f"wrote {find_address(self.folder) or self.folder} in {self.seconds:.1f} s: {held}{taken}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be looked at before training: much that is unknown, much that is padding."""
        lines = [f"no data for {code}" for code in self.missing]
        lines += [*(f"left aside {entry}" for entry in self.ignored), *self.uncut]
        lines += [f"the tokenizer: {note}" for note in self.notes]
        if self.no_export is not None:
            lines.append(f"AutoTokenizer will not open an export of a run on these: {self.no_export}")
        for row in self.rows:
            if row.unknown > 0.01:
                lines.append(f"{row.language}: {row.unknown:.1%} of its tokens are unknown")
            # A few rows are never full; that says nothing of the packing.
            if row.rows >= 100 and row.efficiency < 0.95:
                lines.append(f"{row.language}: {1 - row.efficiency:.1%} of its places are padding")
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class _RowPlan(ShardPlan):
    """What to prepare and how: beside the text, all that decides its rows.

    `tokenizer` is the file that is opened; `fingerprint` tells one tokenizer from another at one path; `fast`
    says that fastokens encodes, where it is.
    `route` is the block to encode with beside the shared one, None for the whole vocabulary.
    """

    held_out: float
    length: int
    tokenizer: Path
    route: str | None
    fingerprint: str
    fast: bool
    special: SpecialIds


@dataclass(frozen=True, slots=True)
class _RowShard(Shard):
    """Prepared files. `used` are positions of rows that are not padding, `digests` of files, by split.

    `unknown` counts unknown tokens, `cut` documents too long for a row.
    """

    splits: Mapping[str, Split]
    used: Mapping[str, int]
    digests: Mapping[str, Mapping[str, str]]
    unknown: int
    cut: int


def prepare_corpus(
    corpus: Corpus,
    tokenizer: str | Path,
    output: str | Path,
    options: PrepareOptions | None = None,
    *,
    force: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Encode and pack every source of a corpus into a folder of prepared rows.

    An output behind an address is made on this disk and sent; rows can be read where it is copied to.
    Raises `CorpusError` for text that cannot be read, `TokenizerError` for a tokenizer that cannot be used,
    `PretrainingError` for one without a token that begins a text, `OutputError` for an output that exists or
    that another process is preparing.
    """
    settings = options or PrepareOptions()
    _check_options(settings)
    if url := find_address(output):
        return _prepare_and_send(corpus, Path(tokenizer), url, settings, force, executor, progress)
    target, tokenizer = Path(output), Path(tokenizer)
    report, clock = progress or Silent(), Clock()
    check_output(target, [*corpus.places, tokenizer], force=force)
    files = find_tokenizer_files(tokenizer)
    # Kept open: where shards are prepared in this process, theirs is this one.
    opened = _open_encoder(files.file, None, files.fingerprint, fast=False).tokenizer
    special = find_special_ids(tokenizer, opened)
    routes = _find_routes(files, corpus.languages) if settings.encoding == "routed" else {}
    work_plan = json.dumps(
        [
            _VERSION, settings.length, settings.encoding, settings.held_out, corpus.document,
            corpus.field, files.fingerprint, special.to_dict(),
        ]
    )  # fmt: skip
    fast, doubt = _try_fastokens(opened, corpus)
    with open_work(target, "preparing", work_plan, force=force) as (folder, ready):
        plans = [
            _RowPlan(
                code, group, corpus.document, corpus.field,
                folder / f"{code}-{number:05d}-{stamp_sources(group)}", settings.held_out,
                settings.length, files.file, routes.get(code), files.fingerprint, fast, special,
            )
            for code in corpus.languages
            for number, group in enumerate(group_sources(corpus.sources[code], corpus.document, _SHARD_BYTES))
        ]  # fmt: skip
        with ExitStack() as stack:
            pool = executor or open_executor(settings.workers, len(plans), stack)
            shards, resumed = map_shards(_prepare, _restore, plans, pool, "preparing", report)
        clock.lap("encode")
        (ready / "tokenizer").mkdir()
        for path in files.copied:
            shutil.copyfile(path, ready / "tokenizer" / path.name)
        with scratch_folder() as trial:
            no_export = complete_tokenizer(ready / "tokenizer", trial)
        groups = group_shards(shards)
        rows = tuple(_report(code, group, special, settings) for code, group in groups.items())
        languages = {code: _publish_rows(code, group, ready, settings.length) for code, group in groups.items()}
        digest = hashlib.blake2b(f"{corpus.document}\0{corpus.field}".encode(), digest_size=20)
        for shard in shards:
            for value in shard.sources.values():
                digest.update(f"\0{shard.language}\0{value}".encode())
        # It names no path, so that equal text elsewhere gives an equal one.
        index = {
            "schema": SCHEMA,
            "length": settings.length,
            "encoding": settings.encoding,
            "vocabulary": opened.size,
            "special": special.to_dict(),
            "tokenizer": files.fingerprint,
            "corpus": digest.hexdigest(),
            "held_out": settings.held_out,
            "languages": languages,
            "files": {path.name: fingerprint_file(path) for path in sorted((ready / "tokenizer").iterdir())},
        }
        write_sealed(ready / INDEX, index)
        again = (
            f"Prepare again: vocabkit prepare THIS_FILE --tokenizer {tokenizer} -o DIR "
            f"--length {settings.length} --encoding {settings.encoding} --held-out {settings.held_out}"
        )
        write_text(ready / "config.toml", corpus.to_toml(again))
        PreparedCorpus.load(ready)
        write_manifest(
            ready,
            config={"length": settings.length, "encoding": settings.encoding, "held_out": settings.held_out},
            inputs={"tokenizer": files.fingerprint}
            | {f"{s.language}: {path}": digest for s in shards for path, digest in s.sources.items()},
            seconds=clock.seconds,
            details={
                "repairs": {code: sum_repairs(group) for code, group in groups.items()},
                "ignored": list(corpus.ignored),
                **({"encoder": "fastokens"} if fast else {}),
            },
        )  # fmt: skip
    efficiency = _measure_efficiency(shards, settings.length) or 0.0
    made = PreparedCorpus.load(target)
    return Prepared(
        **{item.name: getattr(made, item.name) for item in fields(made)},
        rows=rows,
        efficiency=efficiency,
        missing=tuple(corpus.missing),
        ignored=tuple(corpus.ignored),
        uncut=corpus.uncut,
        resumed=resumed,
        seconds=clock.elapsed,
        no_export=no_export,
        notes=(*opened.notes, *doubt),
    )


def _prepare_and_send(
    corpus: Corpus, tokenizer: Path, url: str, settings: PrepareOptions, force: bool,
    executor: Executor | None, progress: Progress | None,
) -> Prepared:  # fmt: skip
    """Prepare a corpus on this disk, and send the folder to an address."""
    stamps = [stamp_sources(corpus.sources[code]) for code in corpus.languages]
    chosen = [settings.length, settings.encoding, settings.held_out, corpus.document, corpus.field]
    given = [corpus.languages, find_tokenizer_files(tokenizer).fingerprint]
    with remote_folder(url, json.dumps([_VERSION, *chosen, *given, stamps]), INDEX, force=force) as folder:
        if folder.exists():
            made = PreparedCorpus.load(folder)
            prepared = Prepared(**{item.name: getattr(made, item.name) for item in fields(made)})
        else:
            prepared = prepare_corpus(corpus, tokenizer, folder, settings, executor=executor, progress=progress)
    return replace(prepared, folder=Path(url))


def _check_options(settings: PrepareOptions) -> None:
    if settings.length < _SHORTEST:
        raise ConfigError(
            f"--length {settings.length}: expected {_SHORTEST} places or more", "for example: --length 512"
        )
    if settings.encoding not in ENCODINGS:
        raise ConfigError(
            f"--encoding {settings.encoding}: one of {', '.join(ENCODINGS)}", f"--encoding {ENCODINGS[0]}"
        )
    if not 0.0 <= settings.held_out < 1.0:
        raise ConfigError(
            f"--held-out {settings.held_out}: expected a share from 0 up to, not including, 1",
            "for example: --held-out 0.02",
        )


def _find_routes(files: TokenizerFiles, languages: Sequence[str]) -> dict[str, str]:
    """Return the block to encode each language with: its own, or the shared one alone."""
    try:
        blocks = block_languages(Vocabulary.load(files.folder))
    except TokenizerError as error:
        raise TokenizerError(
            f"{files.folder}: cannot be routed: {error.message}",
            "leave out --encoding routed, or fit with `vocabkit fit two-stage-250k-12x50k`",
        ) from error
    return {code: code if code in blocks else SHARED for code in languages}


def _report(code: str, shards: list[_RowShard], special: SpecialIds, settings: PrepareOptions) -> PrepareRow:
    """Return a language's line. Raises for one without a document, a known token or a row to train on."""
    train, held = _sum_splits(shards, "train"), _sum_splits(shards, "held-out")
    if not train.documents + held.documents:
        raise no_document(code, shards)
    unknown = sum(shard.unknown for shard in shards) / max(1, train.tokens + held.tokens)
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
    return PrepareRow(
        code, train.documents, train.bytes, train.tokens, train.rows,
        _measure_efficiency(shards, settings.length) or 0.0, train.bytes / train.tokens,
        held.documents, held.rows, sum(shard.cut for shard in shards), unknown, sum_repairs(shards),
    )  # fmt: skip


def _sum_splits(shards: Sequence[_RowShard], split: str) -> Split:
    """Return what several shards hold of a split together."""
    parts = [astuple(shard.splits[split]) for shard in shards]
    return Split(*map(sum, zip(*parts, strict=True)))


def _measure_efficiency(shards: Sequence[_RowShard], length: int) -> float | None:
    """Return the share of training rows' positions that are not padding; None without a row."""
    positions = sum(shard.splits["train"].rows for shard in shards) * length
    return sum(shard.used["train"] for shard in shards) / positions if positions else None


def _publish_rows(code: str, shards: Sequence[_RowShard], target: Path, length: int) -> dict[str, object]:
    """Move a language's rows into their place and return its entry of the index."""
    (target / code).mkdir()
    files = []
    for number, shard in enumerate(shards):
        name = f"{code}/{number:05d}"
        for path in sorted(shard.folder.glob("*.npy")):
            path.rename(target / f"{name}.{path.name}")
        entry: dict[str, object] = {"name": name}
        for split in SPLITS:
            found = asdict(shard.splits[split])
            entry[split] = found | {"used": shard.used[split], "digests": shard.digests[split]}
        files.append(entry)
    return {split: asdict(_sum_splits(shards, split)) for split in SPLITS} | {
        "efficiency": _measure_efficiency(shards, length), "files": files
    }  # fmt: skip


# --- A shard ---------------------------------------------------------------------------------------


def _prepare(plan: _RowPlan, folder: Path, repairs: Repairs) -> dict[str, Any]:
    """Prepare a plan's files into rows in `folder`, and return the record of them.

    Raises `CorpusError` for text that cannot be read, `TokenizerError` for text that becomes a special token.
    """
    with ExitStack() as stack:
        task = _Task(plan, folder, stack)
        for path, documents in plan.read(repairs):
            task.add(documents, path)
        return task.finish()


def _restore(folder: Path, record: dict[str, Any]) -> _RowShard | None:
    splits = {name: Split(**entry) for name, entry in record["splits"].items()}
    for name, split in splits.items():
        if split.rows and not all(path.is_file() for path in _row_paths(folder, name).values()):
            return None
    return _RowShard(**record | {"folder": folder, "splits": splits})


class _Task:
    """The running state of one shard."""

    def __init__(self, plan: _RowPlan, folder: Path, stack: ExitStack) -> None:
        self._plan = plan
        self._encoder = _open_encoder(plan.tokenizer, plan.route, plan.fingerprint, fast=plan.fast)
        self._encoder.turn_to(plan.language)
        special = plan.special
        self._packers = {name: Packer(plan.length, special) for name in SPLITS}
        self._writers = {name: stack.enter_context(RowWriter(folder, name, plan.length)) for name in SPLITS}
        self._forbidden = np.zeros(self._encoder.tokenizer.size, bool)
        self._forbidden[list(special.reserved)] = True
        # Text may yield the unknown token, unless that is also what rows are laid out with, as GPT-2's is.
        structure = (special.begin, special.end, special.pad, special.mask)
        if special.unknown is not None and special.unknown not in structure:
            self._forbidden[special.unknown] = False
        self._totals = {name: Split(0, 0, 0, 0) for name in SPLITS}
        self._unknown = self._cut = 0

    def add(self, documents: list[str], path: str) -> None:
        """Encode a batch and write the rows that are full."""
        joined = join_texts(documents)
        sizes = np.diff(joined.ends, prepend=-1) - 1
        held = choose_held_out(joined, self._plan.held_out)
        try:
            ids, lengths = self._encoder.encode_flat(documents, joined)
        except TokenizerError as error:
            raise TokenizerError(f"{path}: {error.message}", error.hint) from error
        self._check(ids, lengths, documents, path)
        for name, chosen in zip(SPLITS, (~held, held), strict=True):
            self._pack(name, Documents(ids, lengths, sizes).select(chosen & (lengths > 0)))
        texts = [documents[place] for place in np.flatnonzero(held).tolist()]
        self._note_lost(Documents(ids, lengths, sizes).select(held), texts)

    def finish(self) -> dict[str, Any]:
        """Write what waits, and return the shard's record."""
        for name, writer in self._writers.items():
            for packed in self._packers[name].finish():
                writer.write(packed)
        totals, writers = self._totals, self._writers
        return {
            "splits": {name: asdict(replace(totals[name], rows=writers[name].rows)) for name in SPLITS},
            "used": {name: writer.used for name, writer in writers.items()},
            "digests": {name: writer.digests for name, writer in writers.items()},
            "unknown": self._unknown,
            "cut": self._cut,
        }

    def _pack(self, name: SplitName, documents: Documents) -> None:
        packer, total = self._packers[name], self._totals[name]
        self._totals[name] = replace(
            total,
            tokens=total.tokens + len(documents.ids),
            bytes=total.bytes + int(documents.sizes.sum()),
            documents=total.documents + len(documents.lengths),
        )
        self._cut += int((documents.lengths > packer.max_tokens).sum())
        plan = self._plan
        parts = cut_documents(
            documents,
            packer.max_tokens,
            lambda: _measure_tokens(plan.tokenizer, plan.route, plan.fingerprint, fast=plan.fast),
        )
        for packed in packer.add(parts):
            self._writers[name].write(packed)

    def _note_lost(self, held: Documents, texts: list[str]) -> None:
        """Count what held-out text loses: a model that is asked for it says one token, whatever it was."""
        total = self._totals["held-out"]
        lost = count_lost(self._encoder.tokenizer, texts, held.ids, held.lengths)
        self._totals["held-out"] = replace(total, lost=total.lost + lost)

    def _check(self, ids: Int32Array, lengths: Int64Array, documents: list[str], path: str) -> None:
        """Count unknown tokens. Raises `TokenizerError` where text became a special token."""
        wrong = np.flatnonzero(self._forbidden[ids])
        if len(wrong):
            index = int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
            raise TokenizerError(
                f"{path}: {documents[index][:80]!r} holds text that the tokenizer takes for the special "
                f"token {int(ids[wrong[0]])}",
                "mark that token as special in tokenizer.json, or take the text out",
            )
        if self._plan.special.unknown is not None:
            self._unknown += int((ids == self._plan.special.unknown).sum())


class _Encoders(threading.local):
    """The encoders that a thread has open, for its next shards: one remembers words, and serves one thread."""

    def __init__(self) -> None:
        self.open = lru_cache(maxsize=2)(_make_encoder)


def _make_encoder(path: Path, route: str | None, fingerprint: str, *, fast: bool) -> WordEncoder:
    # The fingerprint keeps a file that changed from being taken for the old one.
    if fast:
        tokenizer = _ENCODERS.open(path, route, fingerprint, fast=False).tokenizer
        return WordEncoder(tokenizer, encode=open_fastokens(tokenizer))
    return WordEncoder(open_tokenizer(path) if route is None else open_route(path.parent, route))


_ENCODERS = _Encoders()


def _open_encoder(path: Path, route: str | None, fingerprint: str, *, fast: bool) -> WordEncoder:
    """Return this thread's encoder of a tokenizer, or of a block's view of it."""
    return _ENCODERS.open(path, route, fingerprint, fast=fast)


@lru_cache(maxsize=2)
def _measure_tokens(path: Path, route: str | None, fingerprint: str, *, fast: bool) -> Int64Array:
    """Return the bytes of text each id stands for, int64[size]; 0 for special and unknown ones.

    Half a second at 250k.
    """
    tokenizer = _open_encoder(path, route, fingerprint, fast=fast).tokenizer
    found = (tokenizer.token_bytes(index) for index in range(tokenizer.size))
    return np.fromiter((len(data or b"") for data in found), np.int64, tokenizer.size)


def _try_fastokens(tokenizer: Tokenizer, corpus: Corpus) -> tuple[bool, list[str]]:
    """Return whether fastokens gives the tokenizer's ids, and a note on where it does not.

    Compared are odd lines and the beginning of every language. It is looked at once, before the work is given
    out, so that rows do not depend on who meets which text.
    """
    encode = open_fastokens(tokenizer)
    if encode is None:
        return False, []
    for code in ("", *corpus.languages):
        texts = _take_sample(corpus, code) if code else list_lines(tokenizer)
        (ids, lengths), (own, counts) = encode(texts), tokenizer.encode_flat(texts)
        if not (np.array_equal(ids, own) and np.array_equal(lengths, counts)):
            where = f"text of {code}" if code else "odd lines"
            return False, [
                f"fastokens gives other tokens for {where}, so tokenizers encodes, in several times as long"
            ]
    return True, []


def _take_sample(corpus: Corpus, code: str) -> list[str]:
    """Return the first documents of a language, about `_SAMPLE` characters; none where they cannot be read."""
    taken: list[str] = []
    with suppress(CorpusError):  # which reading it will name
        batch = next(read_documents(corpus.sources[code][0], corpus.document, corpus.field, Repairs()), [])
        room = _SAMPLE
        for document in batch:
            taken.append(document[:room])
            room -= len(document)
            if room <= 0:
                break
    return taken


# --- Row files -------------------------------------------------------------------------------------
# `.npy` files written bit by bit, whose number of rows is known only at the end.

_HEADER_BYTES = 128  # what NumPy takes for either of our shapes, of whatever number of rows


def _row_paths(folder: Path, stem: str) -> dict[str, Path]:
    """Return the three files of a split by kind: rows, their bytes, their used positions."""
    return {kind: folder / f"{stem}{kind}.npy" for kind in (ROWS, BYTES, USED)}


class RowWriter:
    """Writes the three files of a split's rows: `STEM.npy`, `STEM.bytes.npy` and `STEM.used.npy`.

    Use as a context manager. Where there is no row, there is no file.
    """

    def __init__(self, folder: Path, stem: str, length: int) -> None:
        """Write under `folder/stem`, rows of `length` positions."""
        self.rows = self.used = 0
        self._length = length
        self._paths = _row_paths(folder, stem)
        self._files: dict[str, BinaryIO] = {}
        self._digests = {name: hashlib.blake2b(digest_size=20) for name in self._paths}

    @property
    def digests(self) -> dict[str, str]:
        """The digests of what was written, by kind; none where there is no file."""
        return {name: self._digests[name].hexdigest() for name in self._files}

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        for name, file in self._files.items():
            with file:
                if kind is None:
                    file.seek(0)
                    shape = (self.rows, self._length) if name == ROWS else (self.rows,)
                    header = {"descr": "<i4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)

    def write(self, packed: PackedRows) -> None:
        """Append rows."""
        if not len(packed.ids):
            return
        if not self._files:
            for name, path in self._paths.items():
                self._files[name] = path.open("wb")
                self._files[name].write(bytes(_HEADER_BYTES))
        for name, array in ((ROWS, packed.ids), (BYTES, packed.bytes), (USED, packed.used)):
            data = array.astype("<i4", copy=False).tobytes()
            self._digests[name].update(data)
            self._files[name].write(data)
        self.rows += len(packed.ids)
        self.used += int(packed.used.sum())
