"""The tokenizer's files beside a model, made for the new vocabulary; `id_moves` sees to the configuration.

They are the new tokenizer's, with the old one's post-processor where the new has none, ids looked up anew
and roles completed. Files of the old tokenizer that would now lie are named for removal. Nothing is
written here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vocabkit.core.errors import TokenizerError
from vocabkit.extension.tokenizer_source import (
    ROLES,
    TokenizerSource,
    dump_json,
    same_roles,
    token_text,
)
from vocabkit.vocabulary.tokenizers import SentencePieceTokenizer

__all__ = [
    "TOKENIZER_FILES",
    "list_tokenizer_files",
    "make_tokenizer_files",
]

# All that tokenizers have been saved as beside a model; whatever is not written anew is removed.
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "vocab.bpe", "encoder.json", "bpe.codes",
    "spiece.model", "spm.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model",
    "source.spm", "target.spm", "dict.txt", "tekken.json", "vocabulary.parquet",
)  # fmt: skip
# What goes along from the new tokenizer's folder; the table says which language a piece is for.
_BESIDE = ("tokenizer.model", "chat_template.jinja", "vocabulary.parquet")
# Of the old tokenizer_config.json, what holds for any vocabulary.
_LASTING = (
    "model_max_length", "padding_side", "truncation_side", "chat_template", "clean_up_tokenization_spaces",
    "model_input_names",
)  # fmt: skip


def list_tokenizer_files(root: Path) -> list[str]:
    """The files of a tokenizer in a model's folder, by name."""
    fixed = [name for name in TOKENIZER_FILES if (root / name).is_file()]
    return sorted({*fixed, *(item.name for item in root.glob("*.tiktoken"))})


def make_tokenizer_files(
    old: TokenizerSource, new: TokenizerSource, ids: Mapping[int, int | None]
) -> tuple[dict[str, bytes], list[str]]:
    """The new tokenizer's files by name, and what was changed in them.

    `ids` maps old ids to new ones. Raises TokenizerError for a format that no tokenizer.json is made of.
    """
    if new.has_content:
        plain = {"tokenizer.json": new.path.read_bytes()}
        content: dict[str, Any] = json.loads(plain["tokenizer.json"].decode("utf-8-sig"))
        if new.folder is not None:
            plain |= _read_beside(new.folder, _BESIDE)
    elif isinstance(new.tokenizer, SentencePieceTokenizer):
        plain = _convert_model(new)
        content = json.loads(plain["tokenizer.json"])
    else:
        raise TokenizerError(
            f"{new.path}: has no tokenizer.json, and a model's folder needs one",
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it",
        )
    notes: list[str] = []
    names = _token_ids(content)
    if _complete(content, names, old, ids, notes):
        plain["tokenizer.json"] = dump_json(content)
    settings = json.loads(plain.pop("tokenizer_config.json", b"{}")) or dict(new.settings)
    plain["tokenizer_config.json"] = dump_json(_settle(settings, content, old, new, ids, notes))
    return plain, notes


def _read_beside(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _convert_model(new: TokenizerSource) -> dict[str, bytes]:
    from vocabkit.vocabulary.huggingface_format import write_tokenizer

    assert isinstance(new.tokenizer, SentencePieceTokenizer)
    with TemporaryDirectory() as folder:
        write_tokenizer(new.tokenizer.vocabulary, folder)
        found = {item.name: item.read_bytes() for item in Path(folder).iterdir()}
    return found | {"tokenizer.model": new.path.read_bytes()}


def _token_ids(content: Mapping[str, Any]) -> dict[str, int]:
    """Token → id of a tokenizer.json."""
    table = content["model"].get("vocab") or {}
    if isinstance(table, Mapping):
        found = {token: int(index) for token, index in table.items()}
    else:
        found = {entry[0]: index for index, entry in enumerate(table)}
    for entry in content.get("added_tokens") or []:
        found[entry["content"]] = int(entry["id"])
    return found


def _complete(
    content: dict[str, Any],
    names: Mapping[str, int],
    old: TokenizerSource,
    ids: Mapping[int, int | None],
    notes: list[str],
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
            raise TokenizerError(
                "tokenizer.json: its post-processor names a token it does not have",
                "fit or save the tokenizer again",
            )
        content["post_processor"] = renewed
    padding = content.get("padding")
    if isinstance(padding, dict) and padding.get("pad_token") in names:
        padding["pad_id"] = names[padding["pad_token"]]
    changed = json.dumps(content, sort_keys=True) != before
    return changed


def _rename_specials(
    old: TokenizerSource, names: Mapping[str, int], ids: Mapping[int, int | None]
) -> dict[str, str]:
    """Old name → new name of the special tokens whose row is kept."""
    written = {index: name for name, index in names.items()}
    found = {}
    for index, name in old.names.items():
        moved = ids.get(index)
        if moved is not None and moved in written:
            found[name] = written[moved]
    return found


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
    settings: dict[str, Any],
    content: Mapping[str, Any],
    old: TokenizerSource,
    new: TokenizerSource,
    ids: Mapping[int, int | None],
    notes: list[str],
) -> dict[str, Any]:
    """A tokenizer_config.json: the new tokenizer's, completed from the old one's."""
    names = _token_ids(content)
    made = dict(settings)
    had = bool(made)
    for key in _LASTING:
        if key not in made and key in old.settings:
            made[key] = old.settings[key]
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
    if not had or "tokenizer_class" not in made:
        # Classes of one model build their own pipeline and pass over that of tokenizer.json.
        made["tokenizer_class"] = "PreTrainedTokenizerFast"
    if "added_tokens_decoder" in made or "added_tokens_decoder" in old.settings:
        made["added_tokens_decoder"] = {
            str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
            for entry in sorted(content.get("added_tokens") or [], key=lambda item: int(item["id"]))
        }
    return made
