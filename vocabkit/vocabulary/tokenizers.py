"""Tokenizers of any format behind one protocol: `open_tokenizer` looks at what a file holds, not at its name.

Text is always text: a `<s>` typed in it is encoded as three characters, not as the special token, and
no special tokens are added. Here are the formats with tokens but no rules (tiktoken, GPT-2's two files, GGUF);
the backends themselves are in `adapters`, and nothing else sees one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import mmap
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import length_hint
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import regex
import tiktoken
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from vocabkit.core.arrays import Int32Array, Int64Array
from vocabkit.core.errors import TokenizerError, VocabkitError, first_line, is_panic, named_failures
from vocabkit.core.languages import resolve_code
from vocabkit.core.records import parse_record
from vocabkit.corpus.normalization import Normalizer
from vocabkit.vocabulary.adapters import (
    BYTE_ALPHABET,
    BackendTokenizer,
    Flat,
    SentencePieceTokenizer,
    Style,
    Tokenizer,
    check_holes,
    check_id,
    check_surrogates,
    find_inexactness,
    flatten,
    join_bytes,
)
from vocabkit.vocabulary.neighbours import (
    HINT,
    SAVE_WHOLE,
    add_tokens,
    check_table,
    read_added,
    read_settings,
    read_word_list,
)
from vocabkit.vocabulary.vocabulary import (
    PIECE_TYPES,
    SHARED,
    SPACE,
    Block,
    Kind,
    Model,
    Roles,
    Spacing,
    Vocabulary,
    block_languages,
    route_vocabulary,
)

# --- Split patterns --------------------------------------------------------------------------------
# The patterns byte-level tokenizers split text with, by name, and which known vocabulary has which. tiktoken's
# rank files do not carry their pattern and GGUF files only its name. A vocabulary not listed here needs
# `--pattern`; nothing is guessed from a file's name or from its size alone.

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ENDING = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _words(letters: str, digits: str, others: str) -> str:
    word = rf"[^\r\n\p{{L}}\p{{N}}]?{letters}+"
    symbols = rf" ?[^\s{others}]+[\r\n]*"
    return f"{_CONTRACTION}|{word}|{digits}|{symbols}|{_ENDING}"


def _cased_words(contraction: str, digits: str) -> str:
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    start = r"[^\r\n\p{L}\p{N}]?"
    words = f"{start}{upper}*{lower}+{contraction}|{start}{upper}+{lower}*{contraction}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_ENDING}"


# Name → the patterns, applied one after another, each to the pieces the one before left.
PATTERNS: Mapping[str, tuple[str, ...]] = {
    "gpt2": (_GPT2,),
    "cl100k": (_words(r"\p{L}", r"\p{N}{1,3}", r"\p{L}\p{N}"),),
    "qwen2": (_words(r"\p{L}", r"\p{N}", r"\p{L}\p{N}"),),
    "qwen3.5": (_words(r"[\p{L}\p{M}]", r"\p{N}", r"\p{L}\p{M}\p{N}"),),
    "o200k": (_cased_words(f"{_CONTRACTION}?", r"\p{N}{1,3}"),),
    "tekken": (_cased_words("", r"\p{N}"),),
    "digits-gpt2": (r"\p{N}", _GPT2),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9]{3}"),
    # What llama.cpp takes for a file that names none, or names "default".
    "llama.cpp": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    "deepseek-v3": (
        r"\p{N}{1,3}",
        r"[一-龥\u3040-ゟ゠-ヿ]+",
        r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + _ENDING,
    ),
}

# What GGUF files call a pattern → its name here.
GGUF_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "modern-bert", "roberta-bpe"), "gpt2"),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "dbrx", "smaug-bpe", "glm4"), "cl100k"),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"), "qwen2"),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "exaone"), "digits-gpt2"),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), "deepseek-v3"),
    **dict.fromkeys(("gpt-4o", "llama4"), "o200k"),
    "qwen35": "qwen3.5",
    "tekken": "tekken",
    "falcon": "falcon",
    "default": "llama.cpp",
}
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_PATTERN_HINT = "--pattern NAME  # or the regular expression itself: --pattern REGEX"
_BOM = b"\xef\xbb\xbf"
# One character of each kind that patterns tell apart.
_PROBE = ("a", "Z", "é", "ค", "1", "٣", ".", "€", "'", " ", "\t", "\n", "\u3000")

# Digests of `_fingerprint_ranks` of published rank files, and the number of their ranks.
_KNOWN = {
    "7ea07dc7d7c7532d": "gpt2",  # 50,256: GPT-2, r50k
    "533977b3cf371bcb": "gpt2",  # 50,280: p50k
    "0895afe17e9e53a2": "gpt2",  # 50,256: multilingual Whisper
    "5b8fe178b85f7004": "cl100k",  # 100,256
    "8e181e8b92089bdd": "cl100k",  # 128,000: Llama 3
    "5907a59d5093a092": "o200k",  # 199,998
    "61ef9fda3248165b": "o200k",  # 200,000: Llama 4
    "13fb68009beabb8f": "qwen2",  # 151,643: Qwen 1 to 3
    "523591779155bfa5": "qwen3.5",  # 248,044: Qwen 3.5 and 3.6
}


def _fingerprint_ranks(ranks: Mapping[bytes, int]) -> str:
    """Return a digest (BLAKE2b, 64 bits, hex) of tokens and ranks, whatever their order in the file."""
    digest = hashlib.blake2b(digest_size=8)
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        digest.update(rank.to_bytes(4, "little") + len(token).to_bytes(4, "little") + token)
    return digest.hexdigest()


def _find_pattern(ranks: Mapping[bytes, int]) -> str | None:
    """Return the name of the pattern that a published vocabulary goes with; None for any other."""
    return _KNOWN.get(_fingerprint_ranks(ranks))


# --- Byte level format -----------------------------------------------------------------------------
# Byte-level BPE from its two lists, tokens with ids and merges, as GPT-2 was published and GGUF holds it.

# The names the two files go by: first the tokens, then the merges.
PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))


def build_byte_level(
    source: str,
    vocabulary: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    patterns: Sequence[str],
    ignore_merges: bool = False,
) -> tokenizers.Tokenizer:
    """Return a backend that splits by `patterns` one after another. Raises TokenizerError naming `source`."""
    missing = len(BYTE_ALPHABET.keys() - vocabulary.keys())
    # Some were trained without the bytes their text lacked: up to 28 letters are missing in those seen.
    if missing > 64:
        what = f"{missing} of the 256 letters that stand for bytes have no token"
        raise TokenizerError(f"{source}: {what}: not byte-level BPE", HINT)
    with named_failures(TokenizerError, f"{source}: not a BPE", HINT):
        model = models.BPE(dict(vocabulary), list(merges), ignore_merges=ignore_merges)
    backend = tokenizers.Tokenizer(model)
    splits = [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in patterns]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, letters])
    backend.decoder = decoders.ByteLevel()
    return backend


# What the classes of transformers that are saved as such a pair split text with, by how their names begin.
_SPLIT_BY = {
    "BartTokenizer": "gpt2", "BlenderbotTokenizer": "gpt2", "CodeGen": "gpt2", "Cohere": "digits-gpt2",
    "Deberta": "gpt2", "GPT2": "gpt2", "GPTNeoX": "gpt2", "LED": "gpt2", "Longformer": "gpt2",
    "Luke": "gpt2", "MVP": "gpt2", "Mvp": "gpt2",
    "Qwen2": "qwen2", "Roberta": "gpt2", "Whisper": "gpt2",
}  # fmt: skip


def _read_pair(tokens: Path, merges: Path, pattern: str | None) -> BackendTokenizer:
    """Read a JSON of tokens and the file of merges beside it, as the class in tokenizer_config.json does.

    Raises TokenizerError, also for tokens that end in a mark: by what rule their words are cut no file says.
    """
    try:
        vocabulary = json.loads(tokens.read_text(encoding="utf-8-sig"), object_pairs_hook=list)
        lines = merges.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError, RecursionError) as error:
        raise TokenizerError(f"{tokens}: {first_line(error)}", HINT) from error
    if not isinstance(vocabulary, list) or not all(type(entry) is tuple for entry in vocabulary):
        raise TokenizerError(f"{tokens}: not a table of tokens and their ids", HINT)
    if not all(type(index) is int for _, index in vocabulary):
        raise TokenizerError(f"{tokens}: not a table of tokens and their ids", HINT)
    check_table(tokens, vocabulary)
    pairs = _split_merges(str(merges), [line for line in lines if not line.startswith("#version")])
    marked = sum(right.endswith("</w>") for _, right in pairs)
    if marked > len(pairs) / 4:
        what = f"{marked:,} of {len(pairs):,} merges end in </w>: how words are cut is in neither file"
        raise TokenizerError(f"{tokens}: {what}", SAVE_WHOLE)
    settings = read_settings(tokens.parent)
    named = str(settings.get("tokenizer_class", "")).removesuffix("Fast")
    known = next((found for start, found in _SPLIT_BY.items() if named.startswith(start)), None)
    notes = []
    if named and known is None and pattern is None:
        notes.append(f"{named} may split text in another way than GPT-2's, which is taken; --pattern names one")
    steps = _choose_pattern(pattern or known or "gpt2", str(tokens))
    backend = build_byte_level(str(tokens), dict(vocabulary), pairs, steps)
    if named.startswith(("Qwen2", "Cohere", "GPTNeoX")):
        backend.normalizer = normalizers.NFC()
    if settings.get("add_prefix_space") and steps == PATTERNS["gpt2"]:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    add_tokens(backend, tokens, settings)
    return BackendTokenizer(str(tokens), backend, notes)


def _split_merges(source: str, lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return merges, `left right` a line, as pairs; empty lines are passed over. Raises TokenizerError."""
    pairs = []
    for number, line in enumerate(lines, start=1):
        # A space within a token is written as another letter, so one space stands between the two.
        left, _, right = line.partition(" ")
        if left and right and " " not in right:
            pairs.append((left, right))
        elif line.strip():
            raise TokenizerError(f"{source}: merge {number} is no pair: {line[:40]!r}", HINT)
    return pairs


# --- Tiktoken ranks --------------------------------------------------------------------------------
# Byte-level vocabularies as ranks, run by tiktoken: its own files, and tekken's JSON.
#
# tiktoken's files hold ranks alone. The pattern that splits text comes from `PATTERNS`, or from the caller;
# special tokens are not in the file: their ids are known where a configuration beside it lists them.


class _TiktokenTokenizer:
    """Ranks and a pattern run by tiktoken. An id is a rank plus the number of special tokens before them."""

    style: Style = "byte-level"
    word_prefix = " "
    notes: tuple[str, ...] = ()

    def __init__(
        self, name: str, ranks: Mapping[bytes, int], pattern: str, specials: int = 0, added: Iterable[int] = ()
    ) -> None:
        """Wrap `ranks`; `specials` ids come before them, and `added` ones among or after them.

        Raises TokenizerError when a byte has none, or the pattern is no pattern.
        """
        missing = [value for value in range(256) if bytes([value]) not in ranks]
        if missing:
            what = f"{len(missing)} of the 256 bytes have no rank, 0x{missing[0]:02x} first"
            raise TokenizerError(f"{name}: {what}", HINT)
        self.name = name
        self._specials = specials
        self._pattern = pattern
        self._tokens = {rank + specials: token for token, rank in ranks.items()}
        self._added = frozenset(added) - self._tokens.keys()
        known = len(self._tokens) + len(self._added)
        self.size = check_holes(name, known, max(*self._tokens, *self._added) + 1)
        with named_failures(TokenizerError, _refusal(name, pattern), _PATTERN_HINT):
            self._encoding = tiktoken.Encoding(
                name, pat_str=pattern, mergeable_ranks={**ranks}, special_tokens={}
            )
        left = [char for char in _PROBE if not self._encoding.encode_ordinary(char)]
        if left:
            shown = ", ".join(map(repr, left[:5]))
            self.notes = (f"the pattern matches no {shown} alone, and tiktoken drops what it does not match",)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """What each id is for: special tokens come first; a rank that the file leaves out is `unused`."""
        specials, ranks = self._specials, range(self._specials, self.size)
        known = dict.fromkeys(self._added, Kind.CONTROL) | dict.fromkeys(self._tokens, Kind.NORMAL)
        return (*[Kind.CONTROL] * specials, *(known.get(index, Kind.UNUSED) for index in ranks))

    @cached_property
    def exact_on_words(self) -> str | None:
        """The reason: a pattern looks at the white space around a word, and the first has none."""
        return find_inexactness(self)

    def normalize(self, text: str) -> None:
        """None: bytes are taken as they are."""
        return

    settle = normalize

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """Return the ids of each text. Raises TokenizerError on a lone surrogate."""
        shift = np.int32(self._specials)
        return [np.array(ids, dtype=np.int32) + shift for ids in self._encode(texts)]

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """Return the ids of all texts in a row, and how many each has."""
        ids, lengths = flatten(list(self._encode(texts)))
        return ids + np.int32(self._specials), lengths

    def count_tokens(self, texts: Sequence[str]) -> Int64Array:
        """Return how many ids each text has."""
        return np.fromiter(map(len, self._encode(texts)), np.int64, len(texts))

    def _encode(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Yield the ranks of each text: a list held makes the next ones slower to come."""
        listed = list(texts)
        # tiktoken would write U+FFFD for a lone surrogate without a word.
        try:
            "".join(listed).encode()
        except UnicodeEncodeError:
            check_surrogates(listed)
        left = iter(listed)
        try:
            yield from map(self._encoding.encode_ordinary, left)
        except BaseException as error:  # PanicException, say, of a pattern that recursed too deep
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            place = len(listed) - length_hint(left) - 1
            what = f"text {place} ({len(listed[place]):,} characters): {first_line(error)}"
            raise TokenizerError(what, "break the text into lines") from error

    def unknown_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[int]:
        """Return zeros: every byte has a token."""
        return [0] * len(texts)

    def lost_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[str]:
        """Return nothing for each text: every byte has a token."""
        return [""] * len(texts)

    def count_chunks(self, text: str) -> int:
        """Return the number of matches of the pattern."""
        return len(regex.findall(self._pattern, text))

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """Return the bytes of ids."""
        return join_bytes(self, ids, None)

    def token_bytes(self, index: int) -> bytes | None:
        """Return the bytes of one id; None for special tokens and ranks left out."""
        return self._tokens.get(check_id(self, index))


def _read_ranks(path: Path, pattern: str | None = None) -> _TiktokenTokenizer:
    """Read a tiktoken file: a line a token, its bytes in base64 and its rank.

    `pattern` is as `open_tokenizer` takes it; None finds the one a published vocabulary is used with.
    Raises TokenizerError naming the line that is wrong, or the names when the pattern is not known.
    """
    ranks: dict[bytes, int] = {}
    lines: dict[bytes | int, int] = {}
    for number, line in enumerate(path.read_bytes().removeprefix(_BOM).splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            # Some files end in a token of no bytes, written as a lone `=`: no text is encoded to it.
            token = base64.b64decode(parts[0].lstrip(b"="), validate=True)
            rank = int(parts[1])
        except (binascii.Error, ValueError, IndexError) as error:
            what = f"expected a token in base64 and its rank: {line[:40]!r}"
            raise TokenizerError(f"{path}:{number}: {what}", HINT) from error
        if not token:
            continue
        if rank < 0:
            raise TokenizerError(f"{path}:{number}: the token {token!r} has rank {rank}", HINT)
        _check_twice(lines, token, rank, number, f"{path}:{{}}", "line {}")
        ranks[token] = rank
    steps = _choose_pattern(pattern or _find_pattern(ranks), f"{path}: {len(ranks):,} ranks")
    if len(steps) > 1:
        what = f"{path}: tiktoken splits by one pattern, {pattern} is {len(steps)}"
        raise TokenizerError(what, "--pattern NAME  # or --pattern REGEX, of one pattern")
    return _TiktokenTokenizer(str(path), ranks, steps[0], added=[entry["id"] for entry in read_added(path)])


def _check_twice(
    seen: dict[bytes | int, int], token: bytes, rank: int, place: int, here: str, there: str
) -> None:
    """Note where a token and its rank stand. Raises TokenizerError with both places of one that is repeated.

    tiktoken keeps the last rank of a token, and panics where two tokens have one.
    """
    for key, what in ((token, f"the token {token!r} occurs twice"), (rank, f"rank {rank} occurs twice")):
        if key in seen:
            hint = (
                "one of the two is wrong: download the file again, or take out the one that is not the model's"
            )
            both = f"{here.replace('{}', str(place))}: {what}, first at {there.format(seen[key])}"
            raise TokenizerError(both, hint)
        seen[key] = place


def _choose_pattern(given: str | None, what: str) -> tuple[str, ...]:
    """Return the patterns of a name, ours or GGUF's, or the one that is given itself, as a regular expression.

    A name has letters, digits, dots and dashes only. Raises TokenizerError listing the names.
    """
    found = PATTERNS.get(GGUF_NAMES.get(given or "", given or ""))
    if found is not None:
        return found
    if given and not _NAME.fullmatch(given):
        with named_failures(TokenizerError, _refusal(what, given), _PATTERN_HINT):
            regex.compile(given)
            tokenizers.Regex(given)
        return (given,)
    problem = f"no pattern {given!r}" if given else "it is not known which pattern splits the text"
    raise TokenizerError(f"{what}: {problem}: one of {', '.join(PATTERNS)}", _PATTERN_HINT)


def _refusal(what: str, pattern: str) -> str:
    return f"{what}: no regular expression: {pattern[:60]!r}"


class _TekkenConfig(TypedDict):
    pattern: str
    default_num_special_tokens: int
    default_vocab_size: int


class _TekkenToken(TypedDict):
    rank: int
    token_bytes: str


class _TekkenSpecial(TypedDict):
    token_str: str
    rank: NotRequired[int]


class _Tekken(TypedDict):
    config: _TekkenConfig
    vocab: list[_TekkenToken]
    special_tokens: NotRequired[list[_TekkenSpecial] | None]


def _read_tekken(path: Path, content: Mapping[str, Any]) -> _TiktokenTokenizer:
    """Return a tekken file's JSON as a tokenizer: special tokens first, then as many ranks as are used.

    Raises TokenizerError naming the part that is missing.
    """
    found = parse_record(_Tekken, content, path, TokenizerError, HINT)
    specials, pattern = found["config"]["default_num_special_tokens"], found["config"]["pattern"]
    count = found["config"]["default_vocab_size"] - specials
    ranks: dict[bytes, int] = {}
    places: dict[bytes | int, int] = {}
    for place, entry in enumerate(found["vocab"]):
        rank = entry["rank"]
        if rank < count:
            try:
                token = base64.b64decode(entry["token_bytes"], validate=True)
            except ValueError as error:
                what = f"{path}: vocab[{place}].token_bytes: not base64: {error}"
                raise TokenizerError(what, HINT) from error
            _check_twice(places, token, rank, place, f"{path}: vocab[{{}}]", "vocab[{}]")
            ranks[token] = rank
    special: dict[bytes | int, int] = {}
    for place, told in enumerate(found.get("special_tokens") or ()):
        name, rank = told["token_str"].encode(), told.get("rank", -1 - place)
        _check_twice(special, name, rank, place, f"{path}: special_tokens[{{}}]", "special_tokens[{}]")
    return _TiktokenTokenizer(str(path), ranks, pattern, specials)


def _is_ranks(head: bytes) -> bool:
    """Whether a file that begins like this is a tiktoken file: base64 and a number on the first line."""
    parts = head.removeprefix(_BOM).split(b"\n", 1)[0].split()
    if len(parts) != 2 or not parts[1].isdigit():
        return False
    try:
        base64.b64decode(parts[0], validate=True)
    except binascii.Error:
        return False
    return True


# --- Gguf fields -----------------------------------------------------------------------------------
# The key-value section of a GGUF file: version 2 or 3, little-endian; tensors are never read. What a vocabulary
# among the fields means is told below.

GGUF_MAGIC = b"GGUF"
_HINT = "download it again, or name the file it was converted from"
_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


def read_gguf_fields(path: Path) -> Mapping[str, Any]:
    """Return the fields by key: numbers, bytes for strings, lists of bytes, and arrays of numbers.

    Strings are bytes because a token need not be whole UTF-8. Raises TokenizerError when the file is
    cut off, in big-endian order or of another version.
    """
    # The fields come first; a model's tensors behind them, gigabytes of them, stay on disk.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(str(path), data)
        if reader.take(4) != GGUF_MAGIC:
            raise TokenizerError(f"{path}: not a GGUF file", _HINT)
        version = reader.number("<I")
        if version not in (2, 3):
            raise TokenizerError(f"{path}: GGUF version {version}: expected 2 or 3", _HINT)
        reader.number("<Q")  # tensors
        fields = {}
        for _ in range(reader.number("<Q")):
            key = reader.string().decode(errors="replace")
            fields[key] = reader.value(reader.number("<I"))
        return fields


@dataclass(slots=True)
class _Reader:
    source: str
    data: mmap.mmap
    place: int = 0

    def take(self, count: int) -> bytes:
        start, end = self.place, self.place + count
        if end > len(self.data):
            raise TokenizerError(f"{self.source}: cut off: byte {end} of a file of {len(self.data)}", _HINT)
        self.place = end
        return self.data[start:end]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self) -> bytes:
        return self.take(self.number("<Q"))

    def value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise TokenizerError(f"{self.source}: byte {self.place}: no such type: {kind}", _HINT)
        inner, count = self.number("<I"), self.number("<Q")
        if inner in _NUMBERS:
            form = np.dtype(_NUMBERS[inner])
            return np.frombuffer(self.take(count * form.itemsize), form)
        if inner != _STRING:
            raise TokenizerError(f"{self.source}: an array of type {inner} in an array", _HINT)
        return [self.string() for _ in range(count)]


# --- Gguf format -----------------------------------------------------------------------------------
# The vocabulary of a GGUF file as a tokenizer, as llama.cpp's own rules read it.
#
# SentencePiece vocabularies are rebuilt as a `.model`, precompiled charsmap included; BPE and WordPiece
# ones as what a `tokenizer.json` would hold. The file keeps no normaliser for the latter two, so a model
# whose tokenizer.json normalises (NFC, say) does so there and not here.

# Patterns under which llama.cpp takes a piece of text that is a token whole, whatever the merges.
_WHOLE_FIRST = ("llama3", "llama-v3", "llama-bpe")


def _read_gguf(path: Path, pattern: str | None = None) -> SentencePieceTokenizer | BackendTokenizer:
    """Read the vocabulary of a GGUF file; `pattern` overrides the one a byte-level vocabulary names.

    Raises TokenizerError when the file is cut off, holds no vocabulary, or one of a kind not read.
    """
    fields = _Fields(path, read_gguf_fields(path))
    model = fields.text("model")
    if model in ("llama", "t5"):
        return _read_pieces(fields, "bpe" if model == "llama" else "unigram")
    if model == "gpt2":
        return _read_byte_level(fields, pattern)
    if model in ("gemma4", "bert"):
        return _read_spaced(fields) if model == "gemma4" else _read_words(fields)
    expected = "llama, t5, gpt2, gemma4 or bert"
    raise TokenizerError(f"{path}: the vocabulary is {model!r}: expected {expected}", HINT)


class _Fields:
    """The fields under `tokenizer.ggml`, checked."""

    def __init__(self, path: Path, fields: Mapping[str, Any]) -> None:
        self.path = path
        self._fields = fields
        raw = self.get("tokens")
        if not isinstance(raw, list) or not raw:
            raise TokenizerError(f"{path}: it holds no vocabulary: no tokenizer.ggml.tokens", HINT)
        try:
            self.tokens = [token.decode() for token in raw]
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{path}: a token is not UTF-8: {error.object[:40]!r}", HINT) from error
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        types = self.array("token_type")
        numbers = [1] * len(raw) if types is None else types.tolist()
        if len(numbers) != len(raw):
            raise TokenizerError(f"{path}: {len(raw)} tokens, {len(numbers)} token types", HINT)
        for index, number in enumerate(numbers):
            if number not in PIECE_TYPES:
                what = f"the token {self.tokens[index]!r} (id {index}) has type {number}: expected 1 to 6"
                raise TokenizerError(f"{path}: {what}", "convert the model to GGUF again")
        self.kinds = [PIECE_TYPES[number] for number in numbers]

    def get(self, key: str, *kinds: type) -> Any:
        """Return a field, None where there is none. Raises TokenizerError for one that is none of `kinds`."""
        found = self._fields.get(f"tokenizer.ggml.{key}")
        if found is not None and kinds and not isinstance(found, kinds):
            what = f"tokenizer.ggml.{key} is of type {type(found).__name__}"
            raise TokenizerError(f"{self.path}: {what}", "convert the model to GGUF again")
        return found

    def array(self, key: str) -> Any:
        return self.get(key, np.ndarray)

    def text(self, key: str) -> str:
        return bytes(self.get(key, bytes) or b"").decode(errors="replace")

    def merges(self) -> list[tuple[str, str]]:
        lines = [line.decode(errors="replace") for line in self.get("merges", list) or []]
        return _split_merges(str(self.path), lines)

    def unknown(self) -> int | None:
        """Return the unknown token's id. Raises TokenizerError for one that is no token's."""
        index = self.get("unknown_token_id", int)
        if index is not None and index >= len(self.tokens):
            what = f"unknown_token_id {index}, and {len(self.tokens):,} tokens"
            raise TokenizerError(f"{self.path}: {what}", "convert the model to GGUF again")
        return None if index is None else int(index)

    def role(self, key: str) -> int | None:
        index = self.get(f"{key}_token_id", int)
        inside = index is not None and 0 <= index < len(self.tokens)
        return int(index) if inside and self.kinds[index] is Kind.CONTROL else None


def _read_pieces(fields: _Fields, model: Model) -> SentencePieceTokenizer:
    """Rebuild a .model. A piece after the first unknown one cannot be unknown too: it is unused."""
    kinds = list(fields.kinds)
    named = fields.get("unknown_token_id", int)
    unknown = int(named) if named is not None else -1
    if not (0 <= unknown < len(kinds) and kinds[unknown] is Kind.UNKNOWN):
        if Kind.UNKNOWN not in kinds:
            raise TokenizerError(f"{fields.path}: the vocabulary has no unknown piece", HINT)
        unknown = kinds.index(Kind.UNKNOWN)
    for index, kind in enumerate(kinds):
        if kind is Kind.UNKNOWN and index != unknown:
            kinds[index] = Kind.UNUSED
    scores = fields.array("scores")
    if scores is None or len(scores) != len(kinds):
        raise TokenizerError(f"{fields.path}: a score a piece is needed", HINT)
    charsmap = fields.array("precompiled_charsmap")
    prefix = fields.get("add_space_prefix")
    begin, pad, end, mask = map(fields.role, ("bos", "padding", "eos", "mask"))
    normalizer = Normalizer("identity", b"")
    if charsmap is not None:
        normalizer = Normalizer("precompiled", charsmap.astype(np.uint8).tobytes())
    vocabulary = Vocabulary(
        pieces=_rename_repeated(fields.tokens, kinds),
        scores=np.array(scores, dtype=np.float32),
        kinds=tuple(kinds),
        blocks=(Block(SHARED, 0, len(kinds)),),
        model=model,
        normalizer=normalizer,
        roles=Roles(begin, pad, end, unknown, mask),
        # llama.cpp's defaults where the file says nothing: a space is put first in its BPE alone.
        spacing=Spacing(
            model == "bpe" if prefix is None else bool(prefix), bool(fields.get("remove_extra_whitespaces"))
        ),
    )
    return SentencePieceTokenizer(str(fields.path), vocabulary)


def _rename_repeated(tokens: list[str], kinds: list[Kind]) -> tuple[str, ...]:
    """Padding that repeats a token cannot be told apart in a .model: it is numbered and unused."""
    seen: set[str] = set()
    names = []
    for index, token in enumerate(tokens):
        if token in seen or not token:
            kinds[index] = Kind.UNUSED
            token = f"<unused-id-{index}>"
        seen.add(token)
        names.append(token)
    return tuple(names)


def _read_byte_level(fields: _Fields, pattern: str | None) -> BackendTokenizer:
    named = fields.text("pre")
    known = GGUF_NAMES.get(named or "default")
    steps = _choose_pattern(pattern or known, f"{fields.path}: its pre-tokeniser is {named!r}")
    backend = build_byte_level(str(fields.path), fields.ids, fields.merges(), steps, named in _WHOLE_FIRST)
    notes = () if named or pattern else (
        "the file names no pre-tokeniser: text is split as llama.cpp does by default, which may not be the "
        "model's way; --pattern names another",
    )  # fmt: skip
    return _wrap(fields, backend, notes=notes)


def _read_spaced(fields: _Fields) -> BackendTokenizer:
    """BPE by merges over text with spaces as `▁`, and bytes for characters without a piece."""
    named = fields.unknown()
    unknown, merges = None if named is None else fields.tokens[named], fields.merges()
    with named_failures(TokenizerError, f"{fields.path}: not a BPE", HINT):
        falls_back = Kind.BYTE in fields.kinds
        model = models.BPE(fields.ids, merges, unk_token=unknown, byte_fallback=falls_back, fuse_unk=True)
    backend = tokenizers.Tokenizer(model)
    prefix = [normalizers.Prepend(SPACE)] if fields.get("add_space_prefix") else []
    backend.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", SPACE)])
    # llama.cpp merges nothing across the border of line feeds.
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"\n+"), "isolated")
    backend.decoder = decoders.Replace(SPACE, " ")
    return _wrap(fields, backend)


def _read_words(fields: _Fields) -> BackendTokenizer:
    """WordPiece. GGUF marks the pieces that begin a word where BERT marks those that go on."""

    def restore(token: str, kind: Kind) -> str:
        if token.startswith(SPACE):
            return token[1:]
        bracketed = token.startswith("[") and token.endswith("]")
        return token if kind is not Kind.NORMAL or bracketed else f"##{token}"

    names = [restore(token, kind) for token, kind in zip(fields.tokens, fields.kinds, strict=True)]
    named = fields.unknown()
    unknown = fields.tokens[int(named)] if named is not None else "[UNK]"
    vocabulary = {token: index for index, token in enumerate(names)}
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    # llama.cpp's defaults where the file says nothing: it lower-cases, and strips accents where it does.
    told = (fields.get("normalizer.lowercase"), fields.get("normalizer.strip_accents"))
    lower = told[0] is None or bool(told[0])
    accents = lower if told[1] is None else bool(told[1])
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=accents)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return _wrap(fields, backend, keep=unknown)


def _wrap(
    fields: _Fields, backend: tokenizers.Tokenizer, keep: str | None = None, notes: Sequence[str] = ()
) -> BackendTokenizer:
    """Declare the control and user pieces, which keep their ids."""
    pairs = list(zip(fields.tokens, fields.kinds, strict=True))
    special = [token for token, kind in pairs if kind is Kind.CONTROL and token != keep]
    user = [token for token, kind in pairs if kind is Kind.USER]
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in user])
    return BackendTokenizer(str(fields.path), backend, notes)


# --- Tokenizers ------------------------------------------------------------------------------------

# The names looked for in a folder, in this order, before a sole file of one of the suffixes.
_NAMES = ("tokenizer.model", "tokenizer.json", "tekken.json", *(pair[0] for pair in PAIRS))
_SUFFIXES = (".model", ".tiktoken", ".gguf")
_WORD_LIST, _MARIAN = "vocab.txt", ("source.spm", "target.spm", "vocab.json")


def open_tokenizer(path: str | Path, pattern: str | None = None) -> Tokenizer:
    """Read a tokenizer file, or the one in a folder, whatever its name.

    Read are SentencePiece models, tokenizer.json, GPT-2's two files, BERT's vocab.txt, tiktoken's ranks,
    tekken's JSON and the vocabulary in a GGUF file. `pattern` is how text is split where the file does not
    say: a name of `PATTERNS` or `GGUF_NAMES`, or a regular expression. Raises TokenizerError naming the file.
    """
    target = find_file(path)
    if not target.is_file():
        raise TokenizerError(f"{target}: no such file or folder", HINT)
    with target.open("rb") as file:
        head = file.read(4096)
    if head.startswith(GGUF_MAGIC):
        return _read_gguf(target, pattern)
    if _is_ranks(head):
        return _read_ranks(target, pattern)
    if target.suffix == ".txt" and not head.startswith(b"{"):
        backend, notes = read_word_list(target)
        return BackendTokenizer(str(target), backend, notes)
    if target.suffix == ".json" or head.removeprefix(_BOM).lstrip().startswith(b"{"):
        return _read_json(target, pattern)
    return SentencePieceTokenizer.read(target)


def open_route(path: str | Path, code: str) -> SentencePieceTokenizer:
    """Read a folder that `vocabkit fit` wrote as a language sees it: with the shared block and its own.

    `code` may be short, or `shared` for the languages without a block. Raises TokenizerError where there are
    no blocks, or none of that language.
    """
    vocabulary = Vocabulary.load(path)
    try:
        names = block_languages(vocabulary)
        block = SHARED if code == SHARED else resolve_code(code, names)
    except VocabkitError as error:
        said = error.hint if isinstance(error, TokenizerError) else None
        hint = said or f"a language without a block is encoded as {SHARED!r}"
        raise TokenizerError(f"{path}: no route for {code!r}: {error.message}", hint) from error
    return SentencePieceTokenizer(str(find_file(path)), route_vocabulary(vocabulary, block))


def open_vocabulary(path: str | Path) -> Vocabulary:
    """Return the vocabulary of a folder's tokenizer.model, or of a .model file. Raises TokenizerError."""
    own = Path(path) / _NAMES[0]
    # Whatever the pattern, what is no .model is refused.
    opened = open_tokenizer(own if own.is_file() else path, "gpt2")
    if not isinstance(opened, SentencePieceTokenizer):
        hint = "what any two tokenizers cost, side by side: vocabkit compare A B --corpus DIR"
        raise TokenizerError(f"{path}: has no .model", hint)
    return opened.vocabulary


def takes_pattern(path: str | Path) -> bool:
    """Whether how text is split can be named for a tokenizer: ranks, GPT-2's two files, and GGUF."""
    target = find_file(path)
    with target.open("rb") as file:
        head = file.read(4096)
    paired = any(target.name == one and target.with_name(two).is_file() for one, two in PAIRS)
    return paired or head.startswith(GGUF_MAGIC) or _is_ranks(head)


def find_file(path: str | Path) -> Path:
    """Return the file to read: the path, or a folder's tokenizer. Raises TokenizerError when it has none."""
    folder = Path(path)
    if not folder.is_dir():
        return folder
    # A .model of ours has the ids of its tokenizer.json, and is three times as fast; another's may lack tokens.
    is_ours = (folder / "vocabulary.parquet").is_file()
    names = _NAMES if is_ours else (_NAMES[1], _NAMES[0], *_NAMES[2:])
    for name in names:
        if (folder / name).is_file() and (name != _MARIAN[2] or not (folder / _MARIAN[0]).is_file()):
            return folder / name
    if (folder / _MARIAN[0]).is_file():
        what = "a Marian folder has a .model for each side, and ids that are those of vocab.json alone"
        hint = f"to see what a side's text costs, name its file: {folder / _MARIAN[0]} or {_MARIAN[1]}"
        raise TokenizerError(f"{folder}: {what}: they make no one tokenizer", hint)
    sole = [item for item in sorted(folder.iterdir()) if item.suffix in _SUFFIXES]
    if len(sole) == 1:
        return sole[0]
    if not sole and (folder / _WORD_LIST).is_file():
        return folder / _WORD_LIST
    found = f"{len(sole)} files like a tokenizer: name one" if sole else f"none of {', '.join(_NAMES)}"
    raise TokenizerError(f"{folder}: not a tokenizer folder: {found}", HINT)


def _read_json(path: Path, pattern: str | None) -> Tokenizer:
    for tokens, merges in PAIRS:
        if path.name == tokens and path.with_name(merges).is_file():
            return _read_pair(path, path.with_name(merges), pattern)
    # Parsed here only where it can be tekken's: a tokenizer.json of 30 MB takes a second.
    if b'"token_bytes"' in path.read_bytes():
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError):
            content = None  # reading it as a tokenizer.json tells what is wrong
        config = content.get("config") if isinstance(content, dict) else None
        if isinstance(config, dict) and "pattern" in config and isinstance(content.get("vocab"), list):
            return _read_tekken(path, content)
    return BackendTokenizer.read(path)
