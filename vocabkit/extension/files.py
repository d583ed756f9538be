"""The small files beside a model, made for the new vocabulary: the tokenizer's, and ids in configurations.

Tokenizer files are the new tokenizer's, with the old one's post-processor where the new has none, ids looked
up anew and roles completed. Files of the old tokenizer that would now lie are named for removal. Nothing is
written here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocabkit.checkpoints.checkpoint import Checkpoint
from vocabkit.checkpoints.receipt import RECEIPT
from vocabkit.core.errors import CheckpointError, TokenizerError
from vocabkit.core.folders import read_json, scratch_folder
from vocabkit.vocabulary.adapters import SentencePieceTokenizer
from vocabkit.vocabulary.neighbours import ROLES, parse_json, read_added, token_text
from vocabkit.vocabulary.roles import (
    CHAT_TEMPLATE,
    TokenizerSource,
    dump_json,
    list_tokenizer_files,
    list_tokens,
    same_roles,
)
from vocabkit.vocabulary.vocabulary import write_model, write_tokenizer

# --- Tokenizer files -------------------------------------------------------------------------------

_Json = dict[str, Any]
_Ids = Mapping[int, int | None]  # old id → new id or None
# What goes along from the new tokenizer's folder; the table says which language a piece is for.
_BESIDE = ("tokenizer.model", CHAT_TEMPLATE, "vocabulary.parquet")
# Of the old tokenizer_config.json, what holds for any vocabulary.
_LASTING = (
    "model_max_length", "padding_side", "truncation_side", "chat_template", "clean_up_tokenization_spaces",
    "model_input_names",
)  # fmt: skip


def make_tokenizer_files(
    old: TokenizerSource, new: TokenizerSource, ids: _Ids
) -> tuple[dict[str, bytes], list[str]]:
    """The new tokenizer's files by name, and what was changed in them.

    `ids` maps old ids to new ones. Raises TokenizerError for a format that no tokenizer.json is made of.
    """
    if new.has_content:
        text, content = parse_json(new.path) if new.path.suffix != ".txt" else ("", new.read_content())
        plain = {"tokenizer.json": text.encode() or dump_json(content)}
        if new.folder is not None:
            beside = [new.folder / name for name in _BESIDE]
            plain |= {path.name: path.read_bytes() for path in beside if path.is_file()}
    elif isinstance(new.tokenizer, SentencePieceTokenizer):
        with scratch_folder() as folder:
            try:
                write_tokenizer(new.tokenizer.vocabulary, folder)
            except TokenizerError as error:
                what = f"{new.path}: {error.message}; a model's folder needs tokenizer.json"
                # To use the .model is what was tried.
                said = (error.hint or "").split(", ")
                hint = ", ".join(part for part in said if "tokenizer.model" not in part)
                raise TokenizerError(what, hint or "extend with another tokenizer") from error
            plain = {item.name: item.read_bytes() for item in folder.iterdir()}
        # With tokens told of beside it, the .model is not all there is.
        told = read_added(new.path)
        plain["tokenizer.model"] = write_model(new.tokenizer.vocabulary) if told else new.path.read_bytes()
        content = json.loads(plain["tokenizer.json"])
    else:
        hint = "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it"
        raise TokenizerError(f"{new.path}: has no tokenizer.json, and a model's folder needs one", hint)
    notes: list[str] = []
    names = dict(list_tokens(content))
    if _complete(content, names, old, ids, notes):
        plain["tokenizer.json"] = dump_json(content)
    settings = json.loads(plain.pop("tokenizer_config.json", b"{}")) or dict(new.settings)
    plain["tokenizer_config.json"] = dump_json(_settle(settings, content, old, new, ids, notes))
    return plain, notes


def find_lost_names(
    root: Path, old: TokenizerSource, new: TokenizerSource, written: Mapping[str, bytes]
) -> list[str]:
    """Say which special tokens the chat template names, as it will stand in the folder, and the model loses.

    Such a name would be cut as text, into several tokens.
    """
    settings = json.loads(written["tokenizer_config.json"])
    texts = [json.dumps(settings.get("chat_template"), ensure_ascii=False)]
    beside = root / CHAT_TEMPLATE
    if CHAT_TEMPLATE in written:
        texts.append(written[CHAT_TEMPLATE].decode(errors="replace"))
    elif beside.is_file():
        texts.append(beside.read_text(encoding="utf-8", errors="replace"))
    gone = [name for _, name in sorted(old.names.items()) if name not in new.ids]
    lost = [name for name in gone if any(name in text for text in texts)]
    named = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
    return [f"the chat template names tokens that the new tokenizer has not: {named}"] if lost else []


def _complete(
    content: _Json, names: Mapping[str, int], old: TokenizerSource, ids: _Ids, notes: list[str]
) -> bool:
    """Give a tokenizer.json a post-processor and right ids in it; whether anything changed."""
    before = json.dumps(content, sort_keys=True)
    if content.get("post_processor") is None and old.has_content:
        renamed = _rename_specials(old, names, ids)
        taken = _renew(old.read_content().get("post_processor"), renamed, names)
        if taken is not None:
            content["post_processor"] = taken
            notes.append("the post-processor is the old tokenizer's, with the new ids")
    elif content.get("post_processor") is not None:
        renewed = _renew(content["post_processor"], {}, names)
        if renewed is None:
            what = "its post-processor names a token it does not have"
            raise TokenizerError(f"tokenizer.json: {what}", "fit or save the tokenizer again")
        content["post_processor"] = renewed
    padding = content.get("padding")
    if isinstance(padding, dict) and padding.get("pad_token") in names:
        padding["pad_id"] = names[padding["pad_token"]]
    return json.dumps(content, sort_keys=True) != before


def _rename_specials(old: TokenizerSource, names: Mapping[str, int], ids: _Ids) -> dict[str, str]:
    """Old name → new name of the special tokens whose row is kept."""
    written: dict[int | None, str] = {index: name for name, index in names.items()}
    moved = {name: ids.get(index) for index, name in old.names.items()}
    return {name: written[index] for name, index in moved.items() if index in written}


def _renew(node: Any, renamed: Mapping[str, str], names: Mapping[str, int]) -> Any:
    """A post-processor with tokens renamed and ids looked up; None where a token is missing."""
    if not isinstance(node, Mapping):
        return node
    kind = node.get("type")
    made = dict(node)
    if kind == "Sequence":
        parts = [_renew(part, renamed, names) for part in node["processors"]]
        return None if None in parts else made | {"processors": parts}
    if kind in ("BertProcessing", "RobertaProcessing"):
        for key in ("sep", "cls"):
            name = renamed.get(node[key][0], node[key][0])
            if name not in names:
                return None
            made[key] = [name, names[name]]
        return made
    if kind == "TemplateProcessing":
        specials = {}
        for entry in node["special_tokens"].values():
            listed = [renamed.get(name, name) for name in entry["tokens"]]
            if any(name not in names for name in listed):
                return None
            name = renamed.get(entry["id"], entry["id"])
            specials[name] = {"id": name, "ids": [names[one] for one in listed], "tokens": listed}
        made["special_tokens"] = specials
        for key in ("single", "pair"):
            made[key] = [_rename_step(step, renamed) for step in node[key]]
    return made


def _rename_step(step: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    if "SpecialToken" not in step:
        return dict(step)
    inner = step["SpecialToken"]
    return {"SpecialToken": {**inner, "id": renamed.get(inner["id"], inner["id"])}}


def _settle(
    settings: _Json, content: _Json, old: TokenizerSource, new: TokenizerSource, ids: _Ids, notes: list[str]
) -> _Json:
    """A tokenizer_config.json: the new tokenizer's, completed from the old one's."""
    names = dict(list_tokens(content))
    made = {key: old.settings[key] for key in _LASTING if key in old.settings and key not in settings}
    made = settings | made
    written = {index: name for name, index in names.items()}
    for role in ROLES:
        key = f"{role}_token"
        if token_text(made.get(key)) in names:
            continue
        made.pop(key, None)
        # Only what the old model used: a role it lacks is not made up here.
        if key in old.settings or role in old.roles:
            index = next((new.roles[same] for same in same_roles(role) if same in new.roles), None)
            if index is None and role in old.roles:
                index = ids.get(old.roles[role])
            text = token_text(old.settings.get(key))
            if text in names:
                made[key] = text
            elif index is not None and index in written:
                made[key] = written[index]
            else:
                notes.append(f"tokenizer_config.json: no token for {key}")
    if "tokenizer_class" not in settings:
        # Classes of one model build their own pipeline and pass over that of tokenizer.json.
        made["tokenizer_class"] = "PreTrainedTokenizerFast"
    if "added_tokens_decoder" in made or "added_tokens_decoder" in old.settings:
        made["added_tokens_decoder"] = {
            str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
            for entry in sorted(content.get("added_tokens") or [], key=lambda item: int(item["id"]))
        }
    return made


# --- Ids in configurations -------------------------------------------------------------------------

_ID_KEYS = ("_token_id", "_token_ids", "_token_index")
_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens")
_INNER = ("text_config", "decoder", "encoder", "llm_config", "language_config", "thinker_config")


@dataclass(slots=True)
class IdMap:
    """Old id → new id or None, with the changes and the losses that using it made known.

    `roles` are the new tokenizer's, for the token of a role whose old one is gone. `clashes` are ids from
    `tokens` on, for which the old tokenizer has no token, that a configuration names and that are gone. `extra`
    rows of the input are not counted by `vocab_size`.
    """

    ids: Mapping[int, int | None]
    old_rows: int
    new_rows: int
    roles: Mapping[str, int] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    clashes: list[tuple[str, int]] = field(default_factory=list)
    extra: int = 0
    tokens: int = 0

    def move(self, value: int, place: str) -> int | None:
        """The new id of an old one. A value that is no id of the old vocabulary stays (-1, -100)."""
        if value < 0 or value >= self.old_rows:
            return value
        found = self.ids.get(value)
        key = place.rpartition(" ")[2]
        if found is None and 0 < self.tokens <= value and key.endswith(_ID_KEYS):
            self.clashes.append((place, value))
        role = key.removesuffix("_token_id")
        if found is None and role in self.roles:
            found = self.roles[role]
            self.changes.append(f"{place}: {value} → {found}, the new tokenizer's")
        elif found is None:
            self.losses.append(f"{place}: the token {value} is not in the new vocabulary")
        elif found != value:
            self.changes.append(f"{place}: {value} → {found}")
        return found


def _change_configuration(
    content: Mapping[str, Any], moves: IdMap, place: str, *, untie: bool = False
) -> dict[str, Any]:
    """A configuration with its sizes and ids moved, keys in their order. `place` names it in `moves`."""
    found = _change(content, moves, place)
    if untie:
        for part, name in ((found, place), (found.get("text_config"), f"{place} text_config")):
            if isinstance(part, dict) and (part is found or "tie_word_embeddings" in part):
                if part.get("tie_word_embeddings") is not False:
                    moves.changes.append(f"{name} tie_word_embeddings: → false")
                part["tie_word_embeddings"] = False
    return found


def _change(content: Mapping[str, Any], moves: IdMap, place: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in content.items():
        where = f"{place} {key}"
        sizes = (moves.old_rows, moves.old_rows - moves.extra)
        if key == "vocab_size_per_layer_input" or (key == "vocab_size" and value in sizes):
            # The per-layer table of some models stops before the last rows, and grows to all of them.
            made[key] = moves.new_rows - moves.extra
            if value != made[key]:
                moves.changes.append(f"{where}: {value} → {made[key]}")
        elif key.endswith(_ID_KEYS) or key in _ID_LISTS:
            made[key] = _move_ids(value, moves, where)
        elif key == "bad_words_ids" and _is_nested(value):
            made[key] = _move_sequences(value, moves, where)
        elif key == "forced_decoder_ids" and _is_nested(value, 2):
            made[key] = [[step, None if index is None else moves.move(index, where)] for step, index in value]
        elif isinstance(value, Mapping) and key in _INNER:
            made[key] = _change(value, moves, where)
        else:
            made[key] = value
    return made


def _is_nested(value: Any, length: int | None = None) -> bool:
    """Whether it is a list of lists, each of `length` where one is given; anything else is left alone."""
    is_list = isinstance(value, list)
    return is_list and all(isinstance(item, list) and length in (None, len(item)) for item in value)


def _move_ids(value: Any, moves: IdMap, place: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return moves.move(value, place)
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        moved = [moves.move(item, place) for item in value]
        return list(dict.fromkeys(item for item in moved if item is not None)) or None
    return value


def _move_sequences(value: list[list[int]], moves: IdMap, place: str) -> list[list[int | None]] | None:
    found = [[moves.move(item, place) for item in sequence] for sequence in value]
    return [moved for moved in found if None not in moved] or None


# --- The folder's other files ----------------------------------------------------------------------

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
    what = f"{checkpoint.model_type} counts positions from its padding id, {old}, and the new tokenizer {found}"
    hint = f"give the new tokenizer the model's padding token at id {old}"
    raise CheckpointError(f"{checkpoint.root}: {what}: every position would be another", hint)


def change_configurations(checkpoint: Checkpoint, moves: IdMap, *, untie: bool) -> dict[str, bytes]:
    """The configuration files that change: name → new bytes."""
    written: dict[str, bytes] = {}
    for name in () if checkpoint.plain else ("config.json", "generation_config.json"):
        if (checkpoint.root / name).is_file():
            content = read_json(checkpoint.root / name)
            changed = _change_configuration(content, moves, name, untie=untie and name == "config.json")
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
    copied: list[str] = []
    left_out: list[str] = []
    tokenizer = {*list_tokenizer_files(root)}
    elsewhere = {*written, *tokenizer, *shards, checkpoint.index}
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(names):
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if name in _SKIPPED or relative in elsewhere:
                continue
            stale = (*_STALE, *(_STALE_WEIGHTS if path.parent == root else ()))
            stays = relative in checkpoint.shards or relative in _GROWN_LATER
            (copied if stays or not any(map(path.match, stale)) else left_out).append(relative)
    removed = sorted(tokenizer - written.keys())
    return tuple(copied), tuple(removed), tuple(left_out)
