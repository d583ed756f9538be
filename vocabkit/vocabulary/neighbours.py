"""What lies beside a tokenizer's file and belongs to it: added tokens, and its folder's class and settings.

transformers reads a folder, not a file: it adds the tokens that `added_tokens.json` and `tokenizer_config.json`
list, and some of its classes overrule what a tokenizer.json says. Here a tokenizer.json is read with all that
in it; the other formats ask for it, and vocab.txt, which is nothing without it, is read here too. Nothing is
encoded.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from vocabkit.core.errors import TokenizerError, first_line

HINT = (
    "name a folder written by `vocabkit fit`, a tokenizer.model, a tokenizer.json, "
    "a tiktoken or tekken file, or a GGUF file"
)
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "vocab.bpe", "encoder.json", "bpe.codes",
    "spiece.model", "spm.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model",
    "source.spm", "target.spm", "dict.txt", "tekken.json", "vocabulary.parquet",
)  # fmt: skip
"""All that tokenizers have been saved as, ours included. What lies beside another name may not be its own."""
ROLES = ("bos", "eos", "pad", "unk", "mask", "cls", "sep")
"""What transformers calls the tasks of special tokens: `{role}_token` in a configuration."""
SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")
"""Where they are told: the later one wins where it lists added tokens too, and else the first."""

SAVE_WHOLE = (
    "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes tokenizer.json, which says all"
)
"""What makes one tokenizer.json of a folder that says things in several files."""


def parse_json(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a file's text, and the object it holds, empty where it holds another.

    A tokenizer.json comes with the tokens that files beside it add, and the settings that override its own.
    Raises TokenizerError.
    """
    text, content = _parse(path)
    is_tokenizer = isinstance(content.get("model"), dict)
    if is_tokenizer and (_complete_content(content, path) | _override_content(content, path)):
        text = json.dumps(content, ensure_ascii=False)
    return text, content


def _parse(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise TokenizerError(f"{path}: not JSON: {first_line(error)}", HINT) from error
    return text, content if isinstance(content, dict) else {}


# --- Tokens told beside ----------------------------------------------------------------------------
# Not all tokens of a folder are in its tokenizer's file: a fine-tuned model's own are told in added_tokens.json
# or in `added_tokens_decoder` of tokenizer_config.json, and transformers adds those. Were they passed over,
# their trained rows would look like padding, and new tokens land on them.

DECODER = "added_tokens_decoder"
"""Where tokenizer_config.json lists added tokens. With it, transformers looks at no older file."""
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_FLAGS = ("single_word", "lstrip", "rstrip")
_DISAGREE = (
    "keep the file whose ids are the model's rows: "
    "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes both anew"
)


def token_text(entry: Any) -> str | None:
    """Return the text of a token as a configuration writes it: a string, or an object with `content`."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


def read_added(file: Path) -> list[dict[str, Any]]:
    """Return the tokens that the files beside a tokenizer's tell of, by id, as tokenizer.json writes them.

    Raises TokenizerError for an entry that is no token or no id, and where the two files disagree.
    """
    if file.name not in TOKENIZER_FILES and file.suffix != ".tiktoken":
        return []
    beside = (file.with_name(name) for name in ("added_tokens.json", *SETTINGS))
    listed, *told = (_parse(path)[1] if path.is_file() else {} for path in beside)
    decoder = told[-1].get(DECODER)
    named = {token_text(item.get(f"{role}_token")) for item in told for role in ROLES}
    for item in (part.get(key) for part in told for key in _LISTS):
        listing = item.values() if isinstance(item, Mapping) else item
        named.update(map(token_text, listing if isinstance(listing, Collection) else ()))
    found: dict[int, dict[str, Any]] = {}
    for token, index in listed.items():
        ((number, made),) = _describe_added(file, index, {"content": token, "special": token in named}).items()
        if number in found:
            what = f"{found[number]['content']!r} and {token!r} both have the id {number} in added_tokens.json"
            raise TokenizerError(f"{file.parent}: {what}", _DISAGREE)
        found[number] = made
    for index, entry in (decoder if isinstance(decoder, Mapping) else {}).items():
        ((number, made),) = _describe_added(file, index, entry).items()
        other = found.get(number, made)["content"]
        if other != made["content"]:
            what = f"id {number} is {other!r} in added_tokens.json and {made['content']!r} in {SETTINGS[-1]}"
            raise TokenizerError(f"{file.parent}: {what}", _DISAGREE)
        found[number] = made
    places: dict[str, int] = {}
    for number, made in sorted(found.items()):
        first = places.setdefault(made["content"], number)
        if first != number:
            what = f"the added token {made['content']!r} has the ids {first} and {number}"
            raise TokenizerError(f"{file.parent}: {what}", _DISAGREE)
    return [found[number] for number in sorted(found)]


def _describe_added(file: Path, index: object, entry: object) -> dict[int, dict[str, Any]]:
    """Return one added token under its id. Raises TokenizerError where it is none."""
    token, number = token_text(entry), str(index)
    is_number = number.isascii() and number.isdecimal() and len(number) < 10
    if not token or not is_number:
        what = f"no added token and its id: {index!r}: {entry!r}"
        raise TokenizerError(f"{file.parent}: {what}", _DISAGREE)
    told = entry if isinstance(entry, Mapping) else {}
    special = bool(told.get("special"))
    flags = {key: bool(told.get(key)) for key in _FLAGS}
    flags |= {"normalized": bool(told.get("normalized", not special)), "special": special}
    return {int(number): {"id": int(number), "content": token, **flags}}


def append_told(file: Path, ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return what `read_added` tells, checked against the ids of the file's own tokens.

    Tokens that it lacks must follow on its last id, as transformers numbers them. Raises TokenizerError.
    """
    told = read_added(file)
    known = dict(ids) if told else {}
    tokens = {index: token for token, index in known.items()}
    size = max(tokens, default=-1) + 1
    for entry in told:
        index, token = entry["id"], entry["content"]
        if known.setdefault(token, index) != index or tokens.setdefault(index, token) != token:
            of_file = f"{token!r} has id {known[token]}"
            if known[token] == index:
                of_file = f"id {index} is {tokens[index]!r}"
            what = f"{of_file}, and the files beside it say that {token!r} is {index}"
            raise TokenizerError(f"{file}: {what}", _DISAGREE)
        if index > size:
            what = f"its ids end at {size - 1}, and the files beside it add {token!r} as {index}"
            raise TokenizerError(f"{file}: {what}: no token has id {size}", _DISAGREE)
        size += index == size
    return told


def _complete_content(content: dict[str, Any], path: Path) -> bool:
    """Add to a tokenizer.json what files beside it tell of added tokens; whether that changed it."""
    if not read_added(path):
        return False
    table = content["model"].get("vocab") or {}
    try:
        ids = dict(table) if isinstance(table, Mapping) else {entry[0]: k for k, entry in enumerate(table)}
        own = {entry["id"]: entry for entry in content.get("added_tokens") or []}
        ids |= {entry["content"]: index for index, entry in own.items()}
    except (LookupError, TypeError):
        return False  # opening it tells what is wrong
    told = {entry["id"]: entry for entry in append_told(path, ids)}
    if all(own.get(index) == entry for index, entry in told.items()):
        return False
    # As transformers does: the list in the configuration goes before the file's own, an older one after it.
    merged = own | told if DECODER in read_class(path)[1] else told | own
    content["added_tokens"] = [entry for _, entry in sorted(merged.items())]
    return True


# --- Classes ---------------------------------------------------------------------------------------
# Which class of transformers a folder is for, and what that makes of a tokenizer.json: the settings it is told
# in tokenizer_config.json go before the file's own. Only what is told counts, no class's defaults.

# The classes that split text as GPT-2 does, and can be told to put a space first.
_SPACED_CLASSES = (
    "Bart", "Blenderbot", "CodeGen", "Deberta", "GPT2", "GPTNeoX", "LED", "LayoutLMv3", "Longformer",
    "MarkupLM", "Mvp", "Roberta", "Whisper",
)  # fmt: skip
# What tokenizer_config.json calls the settings of a BertNormalizer.
_BERT = {
    "do_lower_case": "lowercase", "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}  # fmt: skip


def _override_content(content: Mapping[str, Any], path: Path) -> bool:
    """Set in a tokenizer.json what its folder's class sets, as transformers does; whether that changed it."""
    name, told = read_class(path)
    wanted: list[tuple[Any, str, object]] = []
    step = content.get("normalizer")
    if name and isinstance(step, dict) and step.get("type") == "BertNormalizer":
        wanted += [(step, own, told[key]) for key, own in _BERT.items() if isinstance(told.get(key), bool)]
    step = content.get("pre_tokenizer")
    if name in _SPACED_CLASSES and isinstance(step, dict) and step.get("type") == "ByteLevel":
        wanted += [(step, key, told[key]) for key in ("add_prefix_space",) if isinstance(told.get(key), bool)]
    changed = [item for item in wanted if item[0].get(item[1]) != item[2]]
    for item, key, value in changed:
        item[key] = value
    return bool(changed)


def read_class(file: Path) -> tuple[str, Mapping[str, Any]]:
    """Return the class that tokenizer_config.json beside a file names, without its ending, and all it says.

    Empty where there is none, or one that takes tokenizer.json as it is. Raises TokenizerError.
    """
    path = file.with_name(SETTINGS[-1])
    if file.name not in TOKENIZER_FILES or not path.is_file():
        return "", {}
    told = _parse(path)[1]
    name = str(told.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    return "" if name in ("PreTrained", "TokenizersBackend", "PythonBackend") else name, told


# --- Older folders ---------------------------------------------------------------------------------
# What folders without tokenizer.json say of the tokens in vocab.json or vocab.txt.


def check_table(path: Path, entries: Sequence[tuple[str, int]]) -> None:
    """Raise TokenizerError for a token, or an id, that a table has twice."""
    ids, names = dict[str, int](), dict[int, str]()
    for token, index in entries:
        wrong = f"{token!r} has the ids {ids[token]} and {index}" if token in ids else None
        if index in names and wrong is None:
            wrong = f"{names[index]!r} and {token!r} both have the id {index}"
        if wrong is not None:
            raise TokenizerError(f"{path}: {wrong}", "download the file again, or take out the wrong one")
        ids[token], names[index] = index, token


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what tokenizer_config.json and special_tokens_map.json say; empty without them.

    Where both name a token, the one that transformers goes by. Raises TokenizerError.
    """
    paths = [folder / name for name in SETTINGS]
    told = [parse_json(path)[1] if path.is_file() else {} for path in paths]
    found: dict[str, Any] = {}
    for part in told if DECODER in told[-1] else reversed(told):
        found |= {key: value for key, value in part.items() if value is not None}
    return found


def add_tokens(backend: tokenizers.Tokenizer, file: Path, settings: Mapping[str, Any]) -> None:
    """Declare the tokens that lie beside a file, under the ids they have there, and those that `settings` name.

    Raises TokenizerError for an id that is another token's, or none that comes next.
    """
    listed = read_added(file)
    for entry in listed:
        token, index = entry["content"], entry["id"]
        flags = {key: entry[key] for key in (*_FLAGS, "normalized")}
        added = AddedToken(token, special=entry["special"], **flags)
        (backend.add_special_tokens if entry["special"] else backend.add_tokens)([added])
        got = backend.token_to_id(token)
        if got != index:
            what = f"the added token {token!r} has id {index}, and the vocabulary gives it {got}"
            raise TokenizerError(f"{file.parent}: {what}", SAVE_WHOLE)
    more = settings.get(_LISTS[0])
    named = [settings.get(f"{role}_token") for role in ROLES] + (more if isinstance(more, list) else [])
    declared = {entry["content"] for entry in listed}
    for token in map(token_text, named):
        if token is not None and token not in declared and backend.token_to_id(token) is not None:
            backend.add_special_tokens([AddedToken(token, special=True, normalized=False)])


# --- Word lists ------------------------------------------------------------------------------------
# vocab.txt, a token a line: WordPiece as BERT's folders held it before there was tokenizer.json. What the
# list does not say is in tokenizer_config.json, and where that is silent it is as transformers has it.

# How the names begin of the classes of transformers that read vocab.txt as BERT does. The others that have one
# cut words first (BertJapanese, CpmAnt, RoFormer), or go by merges (PhoBERT, BERTweet) or residues (ESM).
_AS_BERT = (
    "BertTokenizer", "ConvBert", "DPR", "DistilBert", "Electra", "Funnel", "LayoutLM", "Lxmert", "MPNet",
    "MobileBert", "Realm", "RetriBert", "Splinter", "SqueezeBert", "Tapas", "PreTrainedTokenizerFast",
    "TokenizersBackend",
)  # fmt: skip
_NOT_AS_BERT = (
    "bert-japanese", "bertweet", "cpmant", "ernie_m", "esm", "gpt_neox_japanese", "phobert", "roc_bert",
    "roformer",
)  # fmt: skip


def read_word_list(path: Path) -> tuple[tokenizers.Tokenizer, list[str]]:
    """Return vocab.txt as BERT's tokenizer reads it, and notes on what was taken for granted.

    Raises TokenizerError, also for a list of another class's.
    """
    settings = read_settings(path.parent)
    config = path.with_name("config.json")
    kind = str(parse_json(config)[1].get("model_type")) if config.is_file() else "None"
    named = str(settings.get("tokenizer_class") or "")
    is_bert = named.startswith(_AS_BERT) if named else kind not in _NOT_AS_BERT
    if not is_bert or path.with_name("bpe.codes").is_file():
        raise TokenizerError(f"{path}: {named or kind} does not cut words as BERT does", SAVE_WHOLE)
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: not UTF-8: {error.reason} at byte {error.start}", HINT) from error
    vocabulary = {token: index for index, token in enumerate(lines) if token}
    texts = map(token_text, (settings.get("unk_token"), "[UNK]", "<unk>"))
    unknown = next((token for token in texts if token in vocabulary), None)
    if unknown is None:
        what = f"{path}: no line is the unknown token: looked for [UNK] and <unk>"
        raise TokenizerError(what, "name it as unk_token in tokenizer_config.json, if this is a WordPiece list")
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=str(unknown)))
    lower, accents = settings.get("do_lower_case", True), settings.get("strip_accents")
    accents = accents if isinstance(accents, bool) else None
    chinese = settings.get("tokenize_chinese_chars", True)
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=bool(chinese), strip_accents=accents, lowercase=bool(lower)
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    roles = {"unk": unknown} | {
        name.strip("[]").lower(): name for name in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
    }
    add_tokens(backend, path, {f"{role}_token": name for role, name in roles.items()} | settings)
    begin, end = (backend.token_to_id(str(name)) for name in ("[CLS]", "[SEP]"))
    if begin is not None and end is not None:
        backend.post_processor = processors.BertProcessing(("[SEP]", end), ("[CLS]", begin))
    notes = []
    for number, token in enumerate(lines, start=1):
        if token and vocabulary[token] != number - 1:
            later = vocabulary[token] + 1
            notes.append(
                f"line {number} is {token!r}, and so is line {later}, which counts, as with transformers"
            )
    if "do_lower_case" not in settings:
        cased = sum(token != token.lower() for token in vocabulary if token != unknown and token[0] != "[")
        also = f", though {cased:,} of its tokens have capitals" if cased else ""
        notes.append(f"nothing says do_lower_case: text is lower-cased, as transformers does then{also}")
    return backend, notes
