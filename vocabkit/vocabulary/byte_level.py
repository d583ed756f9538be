"""Byte-level vocabularies fitted here, and the tokenizer.json of others as the base of what is fitted.

A byte-level folder has tokenizer.json, its configuration and the table of tokens. There is no .model:
SentencePiece's format cannot hold tokens that are parts of characters. Others' BPE gets further merges; a
unigram file is read as the vocabulary that blocks are put on. Nothing is trained here.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import chain, pairwise, product
from itertools import count as count_up
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, models

from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array
from vocabkit.core.errors import TokenizerError, is_panic
from vocabkit.core.folders import write_json
from vocabkit.corpus.normalization import RULES, Normalizer, load_normalizer
from vocabkit.vocabulary.adapters import (
    BYTE_LETTERS,
    BackendTokenizer,
    Flat,
    build_backend,
    encode_checked,
    flatten,
)
from vocabkit.vocabulary.adapters import Tokenizer as AnyTokenizer
from vocabkit.vocabulary.neighbours import HINT, parse_json
from vocabkit.vocabulary.tokenizers import build_byte_level, open_tokenizer
from vocabkit.vocabulary.vocabulary import (
    SHARED,
    SPACE,
    SPECIAL,
    Block,
    Kind,
    Roles,
    Spacing,
    Vocabulary,
    build_normalizer,
    build_pre_tokenizer,
    is_unused_name,
    save_backend,
    score_symbol,
    write_table,
)

# What a special token of a usual name is for; one not listed is only special.
_ROLES = {
    "bos_token": ("<|begin_of_text|>", "<|startoftext|>", "<s>", "<|endoftext|>"),
    "eos_token": ("<|end_of_text|>", "</s>", "<|endoftext|>"),
    "pad_token": ("<|pad|>", "<pad>"),
    "unk_token": ("<|unk|>", "<unk>"),
}


def _spell_bytes(token: bytes) -> str:
    """Return a token as byte-level files write it: a printable letter a byte."""
    return "".join(BYTE_LETTERS[byte] for byte in token)


@dataclass(frozen=True, eq=False)
class ByteLevelVocabulary:
    """Tokens by id: `special` ones first, then bytes, then one a merge.

    `merges` are pairs of ids in order; `patterns` split a text one after another before any merge.
    """

    special: tuple[str, ...]
    tokens: tuple[bytes, ...]
    merges: tuple[tuple[int, int], ...]
    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that no token occurs twice. Raises TokenizerError."""
        if len(set(self.pieces)) != self.size:
            twice = Counter(self.pieces).most_common(1)[0][0]
            raise TokenizerError(
                f"the token {twice!r} occurs twice", "each token needs its own id: download the tokenizer again"
            )

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self.special) + len(self.tokens)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Every token as tokenizer.json writes it, by id."""
        return (*self.special, *map(_spell_bytes, self.tokens))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each id is for."""
        return (Kind.CONTROL,) * len(self.special) + (Kind.NORMAL,) * len(self.tokens)

    def build_backend(self) -> Tokenizer:
        """Return the vocabulary as a `tokenizers.Tokenizer`."""
        pieces = self.pieces
        ids = {piece: index for index, piece in enumerate(pieces)}
        merges = [(pieces[left], pieces[right]) for left, right in self.merges]
        backend = build_byte_level("the vocabulary", ids, merges, self.patterns)
        special = [AddedToken(token, normalized=False, special=True) for token in self.special]
        backend.add_special_tokens(special)
        return backend

    def save(self, folder: str | Path, usage: Mapping[str, Int64Array] | None = None) -> None:
        """Write tokenizer.json, tokenizer_config.json and vocabulary.parquet, `usage` a column a language."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        save_backend(self.build_backend(), _name_roles(self.special), target)
        tokens = [*[None] * len(self.special), *self.tokens]
        _write_table(target, self.pieces, tokens, self.kinds, [SHARED] * self.size, usage or {})


def _write_table(
    folder: Path,
    pieces: Sequence[str],
    tokens: Sequence[bytes | None],
    kinds: Sequence[Kind],
    blocks: Sequence[str],
    usage: Mapping[str, Int64Array],
) -> None:
    """Write vocabulary.parquet with the tokens' bytes in hexadecimal.

    A token has the script of its whole characters; one without any has none.
    """
    texts = [None if token is None else token.decode(errors="ignore") for token in tokens]
    shown = [None if token is None else token.hex() for token in tokens]
    columns = {"bytes": np.array(shown, dtype=object), "id": np.arange(len(pieces), dtype=np.int32)}
    write_table(folder / "vocabulary.parquet", pieces, kinds, blocks, texts, usage, columns)


def _name_roles(special: Sequence[str]) -> dict[str, Any]:
    found = {role: [name for name in names if name in special] for role, names in _ROLES.items()}
    roles: dict[str, Any] = {role: names[0] for role, names in found.items() if names}
    extra = [token for token in special if token not in roles.values()]
    return roles | ({"additional_special_tokens": extra} if extra else {})


# --- Encoding by fastokens -------------------------------------------------------------------------
# An optional package that encodes words in byte-level BPE four to forty times as fast as `tokenizers`. It is
# young: who uses it compares it with `tokenizers` on the text at hand.

Encode = Callable[[Sequence[str]], Flat]
"""A way to encode texts: all ids in a row, and how many each text has."""


def open_fastokens(tokenizer: AnyTokenizer) -> Encode | None:
    """Return fastokens' way to encode byte-level BPE; None for others, without the package or if it refuses.

    Where it fails on a text, `tokenizer` encodes, and says what is wrong.
    """
    if not isinstance(tokenizer, BackendTokenizer) or find_spec("fastokens") is None:
        return None
    if tokenizer.style != "byte-level" or tokenizer.model_type != "BPE":
        return None
    try:
        import fastokens

        fast = fastokens.Tokenizer.from_json_str(json.dumps(tokenizer.to_content()))
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        return None

    def encode(texts: Sequence[str]) -> Flat:
        try:
            ids, ends = fast.encode_batch_flat(list(texts), split_special_tokens=True)
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            return tokenizer.encode_flat(texts)
        stops = np.frombuffer(ends, "<u8").astype(np.int64)
        return np.frombuffer(ids, "<u4").astype(np.int32), stops[1:] - stops[:-1]

    return encode


# --- Bpe base --------------------------------------------------------------------------------------
# A BPE tokenizer.json as the base of further merges: how it splits words, and the file with tokens appended.
# Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM) and SentencePiece's (Llama 2, Mistral), whatever their
# pre-tokeniser. New merges rank after all the base has, so that on any text the base's own merges are done
# first, as before, and only then the new ones.

# Files of a model's folder that say how its tokenizer is used; ids in them stay right.
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


class BpeBase:
    """A BPE tokenizer with its file's content. `pieces` maps every id to its text, added tokens included.

    Ids from `first_new` on were appended here; `given` are ids that were given to another token.
    """

    def __init__(
        self,
        name: str,
        content: dict[str, Any],
        folder: Path | None = None,
        first_new: int | None = None,
        given: Sequence[int] = (),
    ) -> None:
        """Check that merges can be appended. Raises TokenizerError."""
        model = content.get("model") or {}
        # Old files leave the type out.
        if model.get("type", "BPE") != "BPE" or "merges" not in model:
            raise TokenizerError(f"{name}: a {model.get('type')} model: no BPE to go on from", HINT)
        for key in ("continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(key):
                raise TokenizerError(f"{name}: {key} = {model[key]!r} is not supported", HINT)
        self.name = name
        self._folder = folder
        self._backend = build_backend(name, content)
        self.tokenizer = BackendTokenizer(name, self._backend)
        # Dropout is off in what is written, too: a file that cuts a text anew each time is no base's equal.
        self.content = content | {"model": model | {"dropout": None}} if model.get("dropout") else content
        added: dict[int, str] = {entry["id"]: entry["content"] for entry in content.get("added_tokens") or ()}
        self.pieces: dict[int, str] = added | {index: piece for piece, index in model["vocab"].items()}
        self.size: int = max(self.pieces) + 1
        self.first_new = self.size if first_new is None else first_new
        self.given = tuple(given)

    @classmethod
    def read(cls, path: str | Path, pattern: str | None = None) -> BpeBase:
        """Open a tokenizer.json, its folder, or another file of byte-level BPE. Raises TokenizerError.

        `pattern` is as `open_tokenizer` takes it.
        """
        target = Path(path)
        inside = target / "tokenizer.json"
        file = inside if inside.is_file() else target
        if file.suffix == ".json" and file.is_file():
            _, content = parse_json(file)
            if "model" in content:
                return cls(str(file), content, file.parent)
        found = open_tokenizer(target, pattern)
        if not isinstance(found, BackendTokenizer):
            hint = "convert it first: transformers writes tokenizer.json when it saves a tokenizer"
            raise TokenizerError(f"{found.name}: not BPE in tokenizer.json's form", hint)
        return cls(found.name, found.to_content())

    @cached_property
    def mergeable(self) -> BoolArray:
        """Which ids stand for text that a merge may take: not special, added, unknown or byte tokens."""
        found = np.zeros(self.size, np.bool_)
        kinds = self.tokenizer.kinds
        found[: len(kinds)] = [kind is Kind.NORMAL for kind in kinds]
        return found

    @property
    def takes_continuations(self) -> bool:
        """Whether a text can be encoded as the later part of a word, without a space put first."""
        return self.tokenizer.word_prefix == " "

    def segment(
        self, words: Sequence[str], *, continued: bool = False
    ) -> tuple[Int32Array, Int64Array, Int64Array]:
        """Return the base's tokens of each word in runs that a merge may join.

        `continued` parts of words follow no space. Returned are ids of all runs in a row, where each run begins
        (int64[runs + 1]) and its word. A run lies within one of the base's pre-tokens and holds mergeable ids
        only.
        """
        prefix = "" if continued else self.tokenizer.word_prefix
        texts = [prefix + word for word in words]
        found = encode_checked(texts, lambda: self._backend.encode_batch(texts, add_special_tokens=False))
        ids = [np.array(encoding.ids, np.int32) for encoding in found]
        parts = [np.array([-1 if at is None else at for at in one.word_ids], np.int64) for one in found]
        sizes = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.concatenate([np.zeros(0, np.int32), *ids])
        part = np.concatenate([np.zeros(0, np.int64), *parts])
        word = np.repeat(np.arange(len(ids), dtype=np.int64), sizes)
        kept = self.mergeable[flat]
        # A run ends where the word, its pre-token or an unmergeable id does.
        broken = np.cumsum(~kept)
        flat, part, word, broken = flat[kept], part[kept], word[kept], broken[kept]
        starts = np.ones(len(flat), np.bool_)
        starts[1:] = (word[1:] != word[:-1]) | (part[1:] != part[:-1]) | (broken[1:] != broken[:-1])
        begins = np.flatnonzero(starts)
        return flat, np.append(begins, len(flat)).astype(np.int64), word[begins]

    def missing_characters(self, words: Sequence[str], counts: Int64Array) -> dict[str, int]:
        """Return the characters without a token, as normalised, with their occurrences; none if byte-level."""
        if self.tokenizer.style == "byte-level":
            return {}
        found: Counter[str] = Counter()
        known: Mapping[str, int] = self.content["model"]["vocab"]
        for word, count in zip(words, counts.tolist(), strict=True):
            # Most words have all their characters; normalising is what costs.
            if all(char in known for char in word):
                continue
            text = self.tokenizer.normalize(word)
            for char in word if text is None else text:
                if char not in known and not char.isspace():
                    found[char] += count
        return dict(found)

    @property
    def new_ids(self) -> tuple[int, ...]:
        """The ids of the tokens that were put in here."""
        return (*self.given, *range(self.first_new, self.size))

    def find_parts(self) -> dict[int, tuple[int, int]]:
        """Return the two ids that are merged last to make each id of its own text.

        An id that no merging of its text ends in has none. Within a longer text a token is made as it is alone,
        so these merges are the only ones that matter: SentencePiece's files list others too.
        """
        ids: Mapping[str, int] = self.content["model"]["vocab"]
        ranks: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, (left, right) in enumerate(map(_split_pair, self.content["model"]["merges"])):
            ranks[ids[left], ids[right]] = (rank, ids[left + right])
        last = (len(ranks), -1)
        found: dict[int, tuple[int, int]] = {}
        for piece, index in ids.items():
            tokens = [ids.get(letter, -1) for letter in piece]
            pair: tuple[int, int] | None = None
            while len(tokens) > 1:
                best = [ranks.get(both, last) for both in pairwise(tokens)]
                place = min(range(len(best)), key=best.__getitem__)
                if best[place] is last:
                    break
                pair = (tokens[place], tokens[place + 1])
                tokens[place : place + 2] = [best[place][1]]
            if pair is not None and tokens == [index]:
                found[index] = pair
        return found

    def append(self, characters: Sequence[str] = (), merges: Sequence[tuple[str, str]] = ()) -> BpeBase:
        """Return the base with tokens appended: characters as they are, then merges as pairs of token texts.

        Ids count up from `size`, the base's `first_new`. Added tokens of the base that its model does not list
        are entered there with their ids: loading would otherwise number them on from the model's new size.
        Raises TokenizerError.
        """
        return self.replace((), characters, merges)

    def replace(
        self, dropped: Sequence[int], characters: Sequence[str] = (), merges: Sequence[tuple[str, str]] = ()
    ) -> BpeBase:
        """Return the base without the ids `dropped`, and with tokens as `append` takes them.

        The merges that make a dropped token or take one go with it. New tokens take the ids given away, from
        the lowest up, and then count up from `size`; one with the text of a dropped token takes that one's
        own. Raises TokenizerError.
        """
        model = self.content["model"]
        gone = {self.pieces[index]: index for index in dropped}
        vocabulary = {piece: index for piece, index in model["vocab"].items() if piece not in gone}
        for entry in self.content.get("added_tokens") or ():
            vocabulary.setdefault(entry["content"], entry["id"])
        listed = list(model["merges"])
        if gone:
            listed = [pair for pair in listed if not _needs(_split_pair(pair), gone)]
        tokens = (*characters, *(left + right for left, right in merges))
        again = {gone[token] for token in tokens if token in gone}
        free = chain(sorted(set(dropped) - again), count_up(self.size))
        for token in tokens:
            if token in vocabulary:
                raise TokenizerError(
                    f"{self.name}: the token {token!r} is there already", "leave it out of the new tokens"
                )
            vocabulary[token] = gone[token] if token in gone else next(free)
        given = sorted({vocabulary[token] for token in tokens} & set(gone.values()))
        if gone:
            vocabulary = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
        joined = bool(model["merges"]) and isinstance(model["merges"][0], str)
        listed.extend(" ".join(pair) if joined else list(pair) for pair in merges)
        content = {**self.content, "model": {**model, "vocab": vocabulary, "merges": listed}}
        return BpeBase(self.name, content, self._folder, self.size, given)

    def count_usage(self, words: Sequence[str], counts: Int64Array, *, continued: bool = False) -> Int64Array:
        """Return how often each id is used by words that occur so often, int64[size]."""
        prefix = "" if continued else self.tokenizer.word_prefix
        texts = [prefix + word for word in words]
        found = encode_checked(texts, lambda: self._backend.encode_batch_fast(texts, add_special_tokens=False))
        flat, lengths = flatten([encoding.ids for encoding in found])
        usage = np.zeros(self.size, np.int64)
        np.add.at(usage, flat, np.repeat(counts, lengths))
        return usage

    def find_unreachable(self, ids: Iterable[int] | None = None) -> list[int]:
        """Return those of some ids, by default the new ones, that the model does not make of their own text.

        The text is given as a pre-token.
        """
        model, chosen = self._backend.model, self.new_ids if ids is None else ids
        made = ((index, model.tokenize(self.pieces.get(index, ""))) for index in chosen)
        return [index for index, tokens in made if [token.id for token in tokens] != [index]]

    def save(self, folder: Path, usage: Mapping[str, Int64Array]) -> None:
        """Write tokenizer.json, the base's files beside it, and vocabulary.parquet.

        New ids are block `new`. `usage` is a column int64[size] a language.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "tokenizer.json", self.content, indent=2)
        for name in _BESIDE:
            if self._folder is not None and (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)
        if not (folder / "tokenizer_config.json").is_file():
            content = {"tokenizer_class": "PreTrainedTokenizerFast"}
            write_json(folder / "tokenizer_config.json", content, indent=2)
        ids, new = range(self.size), set(self.new_ids)
        _write_table(
            folder,
            [self.pieces.get(index, "") for index in ids],
            [self.tokenizer.token_bytes(index) for index in ids],
            self.tokenizer.kinds,
            ["new" if index in new else "base" for index in ids],
            usage,
        )


def _split_pair(pair: str | Sequence[str]) -> tuple[str, str]:
    """Return a merge of a tokenizer.json as its two parts: old files join them by a space."""
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left, right


def _needs(pair: tuple[str, str], gone: Mapping[str, int]) -> bool:
    return pair[0] in gone or pair[1] in gone or pair[0] + pair[1] in gone


# --- A unigram tokenizer.json as a vocabulary ------------------------------------------------------
# What transformers converts a unigram .model to, XLM-R's and T5's form: the charsmap in a `Precompiled` step,
# spaces by Metaspace. Ids are the file's, which may be others than those of the .model beside it. A step that
# does something else to text has no place in a .model: such a file is refused, not read as something near it.
# The files written here do their charsmap in many steps: they are known by making the same steps again.

_SPACES = (" ", SPACE)


def read_unigram(content: Mapping[str, Any], source: str) -> Vocabulary:
    """Read the content of a unigram tokenizer.json. Raises TokenizerError naming the step that is not read."""
    model = content["model"]
    listed = model.get("vocab")
    if model.get("type") not in ("Unigram", None) or not isinstance(listed, list):
        raise TokenizerError(f"{source}: a {model.get('type')} model, not unigram", "name a unigram tokenizer")
    names, scores = ([row[k] for row in listed] for k in (0, 1))
    unknown, fallback = model.get("unk_id"), bool(model.get("byte_fallback"))
    if not isinstance(unknown, int) or not 0 <= unknown < len(names):
        what = f"{source}: unk_id is {json.dumps(unknown)}: a unigram vocabulary needs an unknown piece"
        raise TokenizerError(what, "set unk_id in the file to the id of a token that is for unknown characters")
    is_byte = re.compile("<0x[0-9A-F]{2}>").fullmatch if fallback else lambda name: None
    kinds = [
        Kind.UNUSED if is_unused_name(name) else Kind.BYTE if is_byte(name) else Kind.NORMAL for name in names
    ]
    kinds[unknown] = Kind.UNKNOWN
    for token in content.get("added_tokens") or ():
        index = int(token["id"])
        while index >= len(names):
            names.append(f"<unused{len(names)}>")
            scores.append(0.0)
            kinds.append(Kind.UNUSED)
        names[index] = token["content"]
        if index != unknown:
            kinds[index] = Kind.CONTROL if token["special"] else Kind.USER
    place = {name: index for index, name in enumerate(names) if kinds[index] is Kind.CONTROL}
    begin, pad, end, _, mask = map(place.get, SPECIAL)
    found = Vocabulary(
        tuple(names),
        np.array(scores, np.float32),
        tuple(kinds),
        (Block(SHARED, 0, len(names)),),
        "unigram",
        Normalizer("identity", b""),
        Roles(begin, pad, end, unknown, mask),
    )
    own = _restore_own(found, scores, content)
    if own is not None:
        return own
    charsmap, spacing = _read_steps(content, source)
    normalizer = Normalizer("precompiled" if charsmap else "identity", charsmap)
    return replace(found, normalizer=normalizer, spacing=spacing)


def _restore_own(found: Vocabulary, scores: Sequence[float], content: Mapping[str, Any]) -> Vocabulary | None:
    """Return the vocabulary that `write_tokenizer` made a file of: its steps are those of one of our rules.

    `found` has its pieces as they are listed, with these `scores`. None for any other file, and for a charsmap
    that was grown by what a corpus holds.
    """
    steps, listed = content.get("normalizer") or {}, zip(found.pieces, scores, found.kinds, strict=True)
    if steps.get("type") != "Sequence":
        return None
    kinds = tuple(
        Kind.USER if kind is Kind.NORMAL and score == score_symbol(name) else kind
        for name, score, kind in listed
    )
    unused = [kind is Kind.UNUSED for kind in kinds]
    pieces = (name.removeprefix(" ") if gone else name for name, gone in zip(found.pieces, unused, strict=True))
    plain = np.array([kind not in (Kind.NORMAL, Kind.USER) for kind in kinds])
    named = replace(
        found, pieces=tuple(pieces), kinds=kinds, scores=np.where(plain, np.float32(0), found.scores)
    )
    metaspace = _flatten_steps(content.get("pre_tokenizer"))[:1]
    prefix = any(step.get("prepend_scheme") == "always" for step in metaspace)
    probe = Tokenizer(models.Unigram())
    for rule, remove in product(("identity", *RULES), (True, False)):
        made = replace(named, normalizer=load_normalizer(rule), spacing=Spacing(prefix, remove))
        try:
            probe.normalizer = build_normalizer(made)
        except TokenizerError:
            continue  # a symbol that this rule changes
        probe.pre_tokenizer = build_pre_tokenizer(made, probe.model)
        written = json.loads(probe.to_str())
        if all(written[part] == content.get(part) for part in ("normalizer", "pre_tokenizer")):
            return made
    return None


def _read_steps(content: Mapping[str, Any], source: str) -> tuple[bytes, Spacing]:
    """Return the charsmap, and what is done about spaces, of a file's normaliser and pre-tokeniser."""
    charsmap, prefix, remove = b"", False, False
    for step in [*_flatten_steps(content.get("normalizer")), *_flatten_steps(content.get("pre_tokenizer"))]:
        kind = step["type"]
        if kind == "Precompiled" and not charsmap:
            charsmap = base64.b64decode(step["precompiled_charsmap"] or "")
        elif kind == "Metaspace":
            prefix |= step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space", True)
        elif kind == "Prepend" and step["prepend"] == SPACE:
            prefix = True
        elif kind in ("Strip", "WhitespaceSplit") or _joins_spaces(step):
            remove |= kind != "Replace" or step["pattern"].get("String") != " "
        else:
            hint = "name the folder of a tokenizer that `vocabkit fit` wrote, or the .model this was made from"
            raise TokenizerError(f"{source}: its step {kind} cannot be read as a .model's", hint)
    return charsmap, Spacing(dummy_prefix=prefix, remove_extra=remove)


def _joins_spaces(step: Mapping[str, Any]) -> bool:
    """Whether a step replaces spaces by a space or its mark, and nothing else."""
    if step["type"] != "Replace" or step["content"] not in _SPACES:
        return False
    return step["pattern"].get("String") == " " or step["pattern"].get("Regex") in (" {2,}", " +")


def _flatten_steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    inner = part.get("normalizers") or part.get("pretokenizers")
    return [part] if inner is None else [step for one in inner for step in _flatten_steps(one)]
