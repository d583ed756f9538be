"""Folders of prepared rows with ids drawn at random, laid out by hand: no tokenizer, no text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vocabkit.core.records import write_sealed
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.vocabulary.roles import SpecialIds

MASKED = SpecialIds(begin=0, end=2, pad=1, mask=4, unknown=3, reserved=(0, 1, 2, 3, 4))
ENDLESS = SpecialIds(begin=0, end=None, pad=0, mask=None, unknown=None, reserved=(0,))


def write_rows(
    folder: Path,
    rows: Mapping[str, tuple[int, int]],
    *,
    special: SpecialIds = MASKED,
    length: int = 24,
    vocabulary: int = 50,
    seed: int = 0,
) -> PreparedCorpus:
    """Write (train, held-out) rows for each language: two to four documents in each, then padding."""
    chance = np.random.default_rng(seed)
    languages = {}
    (folder / "tokenizer").mkdir(parents=True)
    for code, counts in rows.items():
        (folder / code).mkdir()
        entry: dict[str, object] = {}
        parts: dict[str, object] = {}
        for split, count in zip(("train", "held-out"), counts, strict=True):
            found = np.full((count, length), special.pad, np.int32)
            used = np.zeros(count, np.int32)
            for row in range(count):
                used[row] = _fill(found[row], chance, special, vocabulary)
            size = chance.integers(20, 90, count).astype(np.int32)
            digests = {}
            for kind, array in (("", found), (".used", used), (".bytes", size)):
                np.save(folder / code / f"00000.{split}{kind}.npy", array)
                digests[kind] = hashlib.blake2b(array.tobytes(), digest_size=20).hexdigest()
            tokens = int(used.sum()) - int(np.isin(found, special.reserved).sum())
            entry[split] = {
                "rows": count, "tokens": max(tokens, 0), "bytes": int(size.sum()),
                "documents": 3 * count,
            }  # fmt: skip
            parts[split] = {"rows": count, "digests": digests if count else {}}
        entry["files"] = [{"name": f"{code}/00000", **parts}]
        languages[code] = entry
    index = {
        "schema": 2, "length": length, "encoding": "union", "vocabulary": vocabulary,
        "special": special.to_dict(), "tokenizer": "t", "corpus": "c", "held_out": 0.02,
        "languages": languages, "files": {},
    }  # fmt: skip
    write_sealed(folder / "shards.json", index)
    return PreparedCorpus.load(folder)


def _fill(row: np.ndarray, chance: np.random.Generator, special: SpecialIds, vocabulary: int) -> int:
    """Write documents from the start of a row; how many places they take."""
    free = np.setdiff1d(np.arange(vocabulary), special.reserved)
    place = 0
    for _ in range(int(chance.integers(2, 5))):
        text = chance.choice(free, int(chance.integers(1, 7)))
        ids = [special.begin, *text.tolist(), *([] if special.end is None else [special.end])]
        if place + len(ids) > len(row):
            break
        row[place : place + len(ids)] = ids
        place += len(ids)
    return place
