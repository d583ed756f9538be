"""Preparing one shard: read, hold out, encode, cut, pack and write some files of one language.

The map step, run in worker processes, resumable, bounded in memory whatever the size of its files. A shard's
folder holds its rows, `consumed` (stored bytes read so far) and, once finished, `done.json`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.shards import fingerprint_source
from vocabkit.corpus.sources import Document, Source
from vocabkit.pretraining.packing import Int32Array, Int64Array, Packer, Pieces, cut_documents
from vocabkit.pretraining.prepared import SPLITS, Split
from vocabkit.pretraining.row_files import RowWriter, row_paths
from vocabkit.pretraining.special_ids import SpecialIds
from vocabkit.pretraining.word_encoding import WordEncoder
from vocabkit.vocabulary.tokenizers import open_route, open_tokenizer

__all__ = [
    "FINISHED",
    "RowShard",
    "RowShardPlan",
    "holds_out",
    "load_row_shard",
    "open_encoder",
    "prepare_shard",
]

FINISHED = "done.json"
"""The file of a shard's folder that says it is whole."""


@dataclass(frozen=True, slots=True)
class RowShardPlan:
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
class RowShard:
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


def prepare_shard(plan: RowShardPlan) -> RowShard:
    """Prepare the files of a plan into its folder, or return the shard already finished there.

    Raises CorpusError for text that cannot be read, and TokenizerError for text that becomes a special token.
    """
    finished = load_row_shard(plan.folder)
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
    shard = RowShard(
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


def load_row_shard(folder: Path) -> RowShard | None:
    """The finished shard in a folder, or None; also where its rows were moved away since."""
    path = folder / FINISHED
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    data["splits"] = {name: Split(**entry) for name, entry in data["splits"].items()}
    for name, split in data["splits"].items():
        if split.rows and not all(path.is_file() for path in row_paths(folder, name)):
            return None
    return RowShard(**data | {"folder": folder})


def holds_out(encoded: Sequence[bytes], share: float) -> npt.NDArray[np.bool_]:
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

    def __init__(self, plan: RowShardPlan, stack: ExitStack) -> None:
        self._plan = plan
        self._encoder = open_encoder(plan.tokenizer, plan.route, plan.fingerprint)
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
def open_encoder(path: Path, route: str | None, fingerprint: str) -> WordEncoder:
    """The encoder of a tokenizer, or of a block's view of it, kept for a worker's next shards."""
    del fingerprint  # keeps a file that changed from being taken for the old one
    return WordEncoder(open_tokenizer(path) if route is None else open_route(path.parent, route))


@lru_cache(maxsize=2)
def _measure_tokens(path: Path, route: str | None, fingerprint: str) -> Int64Array:
    """Bytes of text each id stands for, int64[size]; 0 for special and unknown ones. Half a second at 250k."""
    tokenizer = open_encoder(path, route, fingerprint).tokenizer
    found = (tokenizer.token_bytes(index) for index in range(tokenizer.size))
    return np.fromiter((len(data or b"") for data in found), np.int64, tokenizer.size)
