"""What makes a run this run: whether a request is for the same one is decided by it.

Folders are `run_folder`'s; here are only digests and the comparison.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import RunConfig

__all__ = ["Identity", "identify_run", "list_changes"]

FREE = (
    "log.", "save.", "languages.allow_epochs", "languages.warn_epochs", "training.micro_rows",
    "training.compile", "training.head_rows", "training.fused_softmax",
    "training.activation_checkpointing", "training.deterministic",
)  # fmt: skip
"""Keys that may change between the processes of one run: they move no result, or by rounding alone."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a run this run: the keys of its configuration that change results, and what it reads.

    The length of the run is among the keys: the order of samples and the rate of every step follow from it.
    `checkpoint` is None for a run from scratch.
    """

    config: Mapping[str, Any]
    tokenizer: str
    data: str
    checkpoint: str | None

    def fingerprints(self) -> dict[str, str | None]:
        """A digest of each part."""
        text = json.dumps(self.config, sort_keys=True, ensure_ascii=False)
        digest = hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
        return {
            "config": digest,
            "tokenizer": self.tokenizer,
            "data": self.data,
            "checkpoint": self.checkpoint,
        }


def identify_run(config: RunConfig, corpus: PreparedCorpus, checkpoint: Path | None) -> Identity:
    """The identity of a run as asked for. Raises PretrainingError where the checkpoint is no folder of one."""
    keys = {
        name: value
        for name, value in _flatten(config.model_dump(mode="json", exclude_none=True))
        if not name.startswith(FREE)
    }
    made_from = None if checkpoint is None else _fingerprint_checkpoint(checkpoint)
    return Identity(keys, corpus.tokenizer_fingerprint, corpus.fingerprint, made_from)


def list_changes(before: Identity, after: Identity, *, with_checkpoint: bool) -> list[str]:
    """What is not the same, in words; the checkpoint to start from is looked at where asked for."""
    changed = []
    one, two = before.config, after.config
    for name in sorted(one.keys() | two.keys()):
        if one.get(name) != two.get(name):
            changed.append(f"{name} was {one.get(name)!r}, now {two.get(name)!r}")
    if before.tokenizer != after.tokenizer:
        changed.append("the data is prepared with another tokenizer")
    elif before.data != after.data:
        changed.append("the prepared data is another")
    if with_checkpoint and before.checkpoint != after.checkpoint:
        changed.append("the checkpoint to start from is another")
    return changed


def _fingerprint_checkpoint(folder: Path) -> str:
    """A digest of what a checkpoint says of itself, and of the sizes of its tensors' files.

    Hashing tens of gigabytes at every start would cost minutes.
    """
    if not (folder / "config.json").is_file():
        raise PretrainingError(
            f"{folder}: no config.json", "name a checkpoint folder, as `vocabkit extend` writes it"
        )
    digest = hashlib.blake2b(digest_size=20)
    receipt = folder / "extension" / "receipt.json"
    for path in (folder / "config.json", folder / "model.safetensors.index.json", receipt):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = file.read(8)
            header += file.read(min(int.from_bytes(header, "little"), 1 << 26))
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + header)
    return digest.hexdigest()


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += _flatten(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", list(value) if isinstance(value, Sequence) and
                          not isinstance(value, str) else value))  # fmt: skip
    return found
