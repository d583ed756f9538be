"""The index of prepared rows, and how finished shards come to stand under it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from vocabkit.corpus.sources import Corpus
from vocabkit.pretraining.preparation import PrepareOptions
from vocabkit.pretraining.prepared import INDEX, SCHEMA, SPLITS, Split
from vocabkit.pretraining.row_shards import RowShard
from vocabkit.pretraining.special_ids import SpecialIds
from vocabkit.pretraining.special_tokens import TokenizerFiles

__all__ = [
    "group_by_language", "measure_efficiency", "publish_rows", "sum_splits", "write_row_config",
    "write_row_index",
]  # fmt: skip


def group_by_language(shards: Sequence[RowShard]) -> dict[str, list[RowShard]]:
    """The shards of each language, in their order; languages sorted."""
    groups: dict[str, list[RowShard]] = {}
    for shard in shards:
        groups.setdefault(shard.language, []).append(shard)
    return dict(sorted(groups.items()))


def sum_splits(shards: Sequence[RowShard], split: str) -> Split:
    """What several shards hold of a split together."""
    parts = [shard.splits[split] for shard in shards]
    return Split(
        sum(part.rows for part in parts), sum(part.tokens for part in parts),
        sum(part.bytes for part in parts), sum(part.documents for part in parts),
    )  # fmt: skip


def publish_rows(shards: Sequence[RowShard], target: Path, length: int) -> dict[str, object]:
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
    return {split: asdict(sum_splits(shards, split)) for split in SPLITS} | {
        "efficiency": measure_efficiency(shards, length), "files": files
    }  # fmt: skip


def write_row_index(
    folder: Path,
    languages: Mapping[str, object],
    corpus: Corpus,
    settings: PrepareOptions,
    files: TokenizerFiles,
    special: SpecialIds,
    vocabulary: int,
    shards: Sequence[RowShard],
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


def measure_efficiency(shards: Sequence[RowShard], length: int) -> float | None:
    """The share of training rows' places that are not padding; None without a row."""
    places = sum(shard.splits["train"].rows for shard in shards) * length
    return sum(shard.used["train"] for shard in shards) / places if places else None


def write_row_config(
    folder: Path, corpus: Corpus, tokenizer: Path, settings: PrepareOptions
) -> None:
    """Write the corpus as it was prepared, as a corpus file, with the command that prepares it again."""
    again = corpus.to_toml(
        f"Prepare again: vocabkit prepare THIS_FILE --tokenizer {tokenizer} -o DIR "
        f"--length {settings.length} --encoding {settings.encoding} --held-out {settings.held_out}"
    )
    (folder / "config.toml").write_text(again, encoding="utf-8")
