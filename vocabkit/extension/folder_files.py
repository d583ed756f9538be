"""Which files of a checkpoint's folder change, stay or are left behind when its vocabulary changes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vocabkit.extension.checkpoint import Checkpoint, read_json
from vocabkit.extension.errors import CheckpointError
from vocabkit.extension.id_files import list_tokenizer_files
from vocabkit.extension.id_moves import IdMap, change_configuration
from vocabkit.extension.receipt import RECEIPT
from vocabkit.extension.tokenizer_source import dump_json

__all__ = ["change_configurations", "check_padding", "sort_files"]

# Other forms of the same weights or optimiser state: right for the old vocabulary alone.
_STALE = (
    "*.onnx", "*.onnx_data", "*.gguf", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.mlmodel", "openvino_*",
    "optimizer.pt", "optimizer.bin", "consolidated.*.pth",
)  # fmt: skip
# In the model's own folder only: sentence-transformers keeps further layers in folders below.
_STALE_WEIGHTS = ("*.bin", "*.bin.index.json", "*.safetensors", "*.safetensors.index.json")
_SKIPPED = (RECEIPT, ".git", ".cache", "manifest.json", ".gitattributes")
# Written by `vocabkit export`, and grown by the receipt when training goes on.
_GROWN_LATER = ("optimizer.safetensors",)
# Their positions are counted from the padding id, as fairseq's: another id would shift them all.
_COUNTED_FROM_PADDING = frozenset(
    {
        "camembert", "data2vec-text", "esm", "fsmt", "ibert", "kosmos-2", "layoutlmv3", "lilt",
        "longformer", "luke", "m2m_100", "markuplm", "mpnet", "nllb-moe", "roberta",
        "roberta-prelayernorm", "speech_to_text", "xglm", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip


def check_padding(checkpoint: Checkpoint, moves: IdMap) -> None:
    """Refuse to move the padding id of a model that counts positions from it. Raises CheckpointError."""
    if checkpoint.model_type not in _COUNTED_FROM_PADDING or checkpoint.config is None:
        return
    old = checkpoint.config.get("pad_token_id")
    if not isinstance(old, int) or not 0 <= old < moves.old_rows or moves.ids.get(old) == old:
        return
    new = moves.ids.get(old)
    found = "has none for it" if new is None else f"has {new} for it"
    raise CheckpointError(
        f"{checkpoint.root}: {checkpoint.model_type} counts positions from its padding id, {old}, and "
        f"the new tokenizer {found}: every position would be another",
        f"give the new tokenizer the model's padding token at id {old}",
    )


def change_configurations(checkpoint: Checkpoint, moves: IdMap, *, untie: bool) -> dict[str, bytes]:
    """The configuration files that change: name → new bytes."""
    written: dict[str, bytes] = {}
    if checkpoint.plain:
        return written
    for name in ("config.json", "generation_config.json"):
        if (checkpoint.root / name).is_file():
            content = read_json(checkpoint.root / name)
            changed = change_configuration(
                content, moves, name, untie=untie and name == "config.json"
            )
            if changed != content:
                written[name] = dump_json(changed)
    return written


def sort_files(
    checkpoint: Checkpoint, shards: Sequence[str], written: Mapping[str, bytes], lone: bool
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Every other file of the folder: those that stay, stale tokenizer files, and other forms of weights."""
    if lone:
        return (), (), ()
    root = checkpoint.root
    copied, left_out = [], []
    tokenizer = {*list_tokenizer_files(root)}
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(names):
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if name in _SKIPPED or relative in written or relative in tokenizer:
                continue
            if relative in checkpoint.shards:
                copied += [relative] if relative not in shards else []
            elif relative == checkpoint.index:
                continue
            elif relative not in _GROWN_LATER and (
                any(map(path.match, _STALE))
                or (path.parent == root and any(map(path.match, _STALE_WEIGHTS)))
            ):
                left_out.append(relative)
            else:
                copied.append(relative)
    removed = sorted(tokenizer - written.keys())
    return tuple(copied), tuple(removed), tuple(left_out)
