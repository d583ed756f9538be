"""What every tokenizer can do, and the two that run most files: by SentencePiece, and by `tokenizers`.

`tokenizers.open_tokenizer` opens a file with the right one; tiktoken's ranks are run there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import sentencepiece
import tokenizers

from vocabkit.core.arrays import Int32Array, Int64Array
from vocabkit.core.errors import TokenizerError, first_line, is_panic, named_failures
from vocabkit.core.results import Result
from vocabkit.core.text import piece_script, show_token
from vocabkit.vocabulary.neighbours import HINT, append_told, parse_json, read_class
from vocabkit.vocabulary.vocabulary import (
    SPACE,
    TEXT,
    Kind,
    Vocabulary,
    is_unused_name,
    piece_bytes,
    read_model,
    write_model,
)


def _list_letters() -> dict[int, str]:
    """Bytes that print as themselves in Latin-1 stand for themselves, the others for U+0100 onwards."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(256) if value not in visible]
    letters = {value: chr(value) for value in visible}
    return letters | {value: chr(256 + place) for place, value in enumerate(hidden)}


BYTE_LETTERS: Mapping[int, str] = MappingProxyType(_list_letters())
"""The letters that byte-level vocabularies write bytes with, all of them printable."""
BYTE_ALPHABET: Mapping[str, bytes] = MappingProxyType(
    {letter: bytes([value]) for value, letter in BYTE_LETTERS.items()}
)

# --- What every tokenizer can do -------------------------------------------------------------------

_T = TypeVar("_T")
Flat = tuple[Int32Array, Int64Array]
Style = Literal["sentencepiece", "byte-level", "wordpiece"]
Edge = Literal["start", "end"] | None
"""Where encoding puts a space that the text has not: before its first word, behind its last, or nowhere."""
# What an id that stands for no known text decodes to.
UNKNOWN_BYTES = "\ufffd".encode()
# Words with letters, digits and punctuation, and the white space that tokenizers treat specially.
_WORDS = ("the", "cat,", "12", "x", "(Été)", "don't", "mañana.", "ab12", "的", "\u0915\u094d")
_GAPS = (" ", "  ", "\t", "\u3000", "\n", "\r", "\xa0", "\u2028")
_LINES = (*(gap.join(_WORDS) for gap in _GAPS), f" {_WORDS[0]} ")
_CROSSING = re.compile(rb"\S\s")
_CROSSING_AS_SUFFIX = re.compile(rb"\s\S")
# Ids without a token: published files have some thousands at most, kept for later.
_MOST_HOLES = 1 << 20


class Tokenizer(Protocol):
    """What every format can do. Ids are positions in `kinds`; `size` is their number."""

    @property
    def name(self) -> str:
        """The path it was read from."""

    @property
    def size(self) -> int:
        """The number of ids."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """What each id is for."""

    @property
    def style(self) -> Style:
        """How pieces are made: spaces as letters, bytes as letters, or words with `##` parts."""

    @property
    def word_prefix(self) -> str:
        """What to put before a word alone so that it is encoded as after a space in a line."""

    @property
    def exact_on_words(self) -> str | None:
        """None when a line costs what its words do, encoded one by one; else the reason why not."""

    @property
    def notes(self) -> Sequence[str]:
        """What reading turned off or took for granted, a line each; most files need none."""

    def normalize(self, text: str) -> str | None:
        """Return the text as the pieces see it, without a space put first; None when it stays as it is."""

    def settle(self, text: str) -> str | None:
        """Return the text that decoding its ids gives, where none is unknown; None when it stays as it is."""

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """Return the ids of each text, int32. Raises TokenizerError naming the text that cannot be encoded."""

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """Return the ids of all texts in a row, int32, and how many each text has, int64[texts]."""

    def count_tokens(self, texts: Sequence[str]) -> Int64Array:
        """Return how many ids each text has, int64[texts]. Raises as `encode_batch` does."""

    def unknown_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[int]:
        """Return how many characters of each text, as normalised, are lost in unknown tokens or dropped.

        `encoded` is what `encode_flat` says of the texts, where that is at hand. White space is not counted:
        it is lost only with what stands beside it.
        """

    def lost_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[str]:
        """Return the characters that `unknown_characters` counts, of each text, in order."""

    def count_chunks(self, text: str) -> int:
        """Return into how many chunks text is cut before pieces are looked for; none crosses a cut."""

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """Return the bytes that ids stand for; those of special tokens are none, of an unknown U+FFFD's."""

    def token_bytes(self, index: int) -> bytes | None:
        """Return the bytes of one id, the space before a word included; None for special and unknown ones."""


def encode_checked(texts: list[str], encode: Callable[[], _T]) -> _T:
    """Call `encode`; where it fails, say which text and character it was. Raises TokenizerError."""
    try:
        return encode()
    except BaseException as error:  # the backends raise different types for the same thing
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        check_surrogates(texts, error)
        hint = "look for a text of many thousand characters without a space"
        raise TokenizerError(f"the tokenizer fails on a text: {first_line(error)}", hint) from error


def check_surrogates(texts: Sequence[str], cause: BaseException | None = None) -> None:
    """Raise TokenizerError when a text cannot be UTF-8, naming its place and the character."""
    for place, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as wrong:
            found = f"character {wrong.start} is the lone surrogate U+{ord(text[wrong.start]):04X}"
            hint = "read the text as UTF-8, and repair it with errors='replace'"
            raise TokenizerError(f"text {place}: {found}", hint) from cause


def flatten(parts: Sequence[Sequence[int]]) -> tuple[Int32Array, Int64Array]:
    """Return lists of ids as one array, with their lengths."""
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return np.fromiter(chain.from_iterable(parts), np.int32, int(lengths.sum())), lengths


def join_bytes(tokenizer: Tokenizer, ids: Sequence[int] | Int32Array, edge: Edge) -> bytes:
    """Return the bytes of ids, without the one space that encoding put at an `edge` of the text."""
    parts: list[bytes] = []
    for index in map(int, ids):
        part = tokenizer.token_bytes(index)
        if part is None:
            part = UNKNOWN_BYTES if tokenizer.kinds[index] is Kind.UNKNOWN else b""
        parts.append(part)
    data = b"".join(parts)
    return data.removeprefix(b" ") if edge == "start" else data.removesuffix(b" ") if edge == "end" else data


def check_id(tokenizer: Tokenizer, index: int) -> int:
    """Return the id itself. Raises TokenizerError when there is no such id."""
    if not 0 <= index < tokenizer.size:
        what = f"{tokenizer.name}: no id {index}: the ids are 0–{tokenizer.size - 1}"
        raise TokenizerError(what, "give ids of this very tokenizer's")
    return index


def check_holes(name: str, tokens: int, size: int) -> int:
    """Return the number of ids. Raises TokenizerError where far more of them than a file needs have no token.

    All that goes by ids has a place for each: one id of 2³¹ in a file of 600 bytes took 8 GB.
    """
    if not 0 <= size - tokens <= _MOST_HOLES:
        what = f"{name}: {tokens:,} tokens, and ids up to {size - 1:,}: {size - tokens:,} ids have no token"
        raise TokenizerError(what, "download the file again, or number its tokens without holes")
    return size


def find_inexactness(tokenizer: Tokenizer, as_suffix: bool = False) -> str | None:
    """Return why encoding words one by one gives other tokens than their lines do; None if it cannot.

    Two tests: lines of ten words with several kinds of white space between them, against the words;
    and every piece, for one that holds text on both sides of a space. A unigram model may still break
    a tie differently, since it sums its scores along the line in float32.
    """
    prefix = tokenizer.word_prefix
    alone = tokenizer.encode_batch([prefix + word for word in _WORDS])
    joined = [np.concatenate(alone).tolist()] * len(_GAPS) + [alone[0].tolist()]
    for line, ids, expected in zip(_LINES, tokenizer.encode_batch(_LINES), joined, strict=True):
        if ids.tolist() != expected:
            white = "a space around a line" if line == _LINES[-1] else f"{line[3]!r} between words"
            if line == _LINES[0]:
                white = "the first word of a line" if prefix else "a space between words"
            elif line == _LINES[1]:
                white = "a run of spaces"
            return f"{white} changes the tokens, and counted words do not tell where there was one"
    crossing = _CROSSING_AS_SUFFIX if as_suffix else _CROSSING
    for index, kind in enumerate(tokenizer.kinds):
        if kind in TEXT:
            token = tokenizer.token_bytes(index) or b""
            if crossing.search(token):
                return f"a piece crosses a space: {token.decode(errors='replace')!r} (id {index})"
    return None


@dataclass(frozen=True, slots=True)
class Shown(Result):
    """The tokens that a text is cut into, a row each, as `list_tokens` gives them; `notes` on the reading.

    Of several tokenizers all rows of the first come first, and each says which `tokenizer` of the `names` it is
    of.
    """

    text: str
    rows: tuple[dict[str, object], ...]
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a token."""
        return list(self.rows)


def show_text(tokenizers: Mapping[str, Tokenizer], text: str) -> Shown:
    """Return the tokens that named tokenizers cut a text into; the name of one alone is not told."""
    rows: list[dict[str, object]] = []
    notes: list[str] = []
    for name, one in tokenizers.items():
        alone = len(tokenizers) == 1
        rows += [({} if alone else {"tokenizer": name}) | row for row in list_tokens(one, text)]
        notes += [note if alone else f"{name}: {note}" for note in one.notes]
    return Shown(text, tuple(rows), tuple(notes), tuple(tokenizers))


def list_tokens(tokenizer: Tokenizer, text: str) -> list[dict[str, object]]:
    """Return a row for each token that a text is cut into: piece, id, kind, script and bytes (hexadecimal).

    Pieces are written so that they can be printed, `▁` for a space; those that stand for no text are named by
    their kind and have no bytes. A byte of a character has no script.

    >>> [row["piece"] for row in list_tokens(open_tokenizer("tok/"), "two words")]  # doctest: +SKIP
    ['▁two', '▁word', 's']
    """
    return [_describe_token(tokenizer, int(index)) for index in tokenizer.encode_batch([text])[0]]


def _describe_token(tokenizer: Tokenizer, index: int) -> dict[str, object]:
    kind, data = tokenizer.kinds[index], tokenizer.token_bytes(index)
    has_script = data and kind is not Kind.BYTE
    return {
        "piece": f"<{kind.value}>" if data is None else show_token(data).replace(" ", SPACE),
        "id": index,
        "kind": kind.value,
        "script": piece_script((data or b"").decode(errors="ignore")) if has_script else None,
        "bytes": None if data is None else data.hex(),
    }


# --- tokenizers ------------------------------------------------------------------------------------


def _check_charsmaps(name: str, step: Any) -> None:
    """Raise TokenizerError for a charsmap that cannot be read, at which `tokenizers` would panic."""
    if not isinstance(step, Mapping):
        return
    for part in _list_steps(step) if step.get("type") == "Sequence" else ():
        _check_charsmaps(name, part)
    if step.get("type") == "Precompiled":
        what = f"{name}: the charsmap of its normaliser cannot be read"
        hint = "an empty one changes no text: take the step `Precompiled` out of `normalizer`"
        with named_failures(TokenizerError, what, hint):
            tokenizers.normalizers.Precompiled(base64.b64decode(step.get("precompiled_charsmap") or ""))


_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_BYTE_NAME = re.compile(r"<0x[0-9A-F]{2}>")


def build_backend(source: str, content: Mapping[str, Any], text: str | None = None) -> tokenizers.Tokenizer:
    """Return the backend of a tokenizer.json's content, `text` its bytes where they are at hand.

    Raises TokenizerError naming the part that the installed `tokenizers` does not know.
    """
    _check_charsmaps(source, content.get("normalizer"))
    try:
        return tokenizers.Tokenizer.from_str(text or json.dumps(content))
    except BaseException as error:  # tokenizers raises Exception itself, or panics
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        said, hint = first_line(error), HINT
        part = next((name for name in _PARTS if content.get(name) and not _is_known(content[name], name)), None)
        model = content["model"] if isinstance(content["model"], dict) else {}
        known = ("BPE", "WordPiece", "WordLevel", "Unigram", None)
        if part is None and model.get("type") not in known:
            part = "model"
        if part is not None:
            said = f"its {part} is of a kind that tokenizers {tokenizers.__version__} does not know: "
            said += ", ".join(dict.fromkeys(map(str, _list_types(content[part]))))
        if part is not None or "Unknown tokenizer version" in said:
            hint = "the file may be of a newer format: update tokenizers (pip install -U tokenizers)"
        raise TokenizerError(f"{source}: not a tokenizer: {said}", hint) from error


def _is_known(part: Any, name: str) -> bool:
    empty = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    try:
        tokenizers.Tokenizer.from_str(json.dumps(empty | {name: part}))
    except Exception:  # tokenizers raises Exception itself
        return False
    return True


def _list_types(part: Any) -> list[Any]:
    """Return the types of a part's steps, a sequence's own left out."""
    if not isinstance(part, dict):
        return [type(part).__name__]
    inner = _list_steps(part)
    return [step.get("type") for step in inner] if inner else [part.get("type")]


def _list_steps(part: Any) -> list[dict[str, Any]]:
    """Return the steps of a part in order, those of sequences within it too."""
    if not isinstance(part, dict):
        return []
    for key in ("decoders", "pretokenizers", "normalizers"):
        if isinstance(part.get(key), list):
            return list(chain.from_iterable(map(_list_steps, part[key])))
    return [part]


@dataclass(frozen=True, slots=True)
class _Marks:
    """How the tokens of a tokenizer.json write text.

    `letters`: a letter a byte. `space`: what stands for a space. `before` is put before a token within a word,
    `after` behind the last one of a word. `implied` tells, where spaces have no letter, where a word's is: at
    the start of the token without `before`, or at the end of the one with `after`.
    """

    letters: bool
    space: str | None
    before: str
    after: str
    implied: Edge

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer, content: Mapping[str, Any]) -> _Marks:
        """Read the marks off what the file says, and off what it makes of `a b`."""
        model, decoder = content["model"], _list_steps(content.get("decoder"))
        steps = [*decoder, *(step for part in _PARTS[:2] for step in _list_steps(content.get(part)))]
        letters = any(step["type"] == "ByteLevel" for step in steps)
        # A file whose model names no mark may still have a decoder that takes one off.
        told = {step["type"]: step for step in decoder}
        before = model.get("continuing_subword_prefix") or told.get("WordPiece", {}).get("prefix") or ""
        after = model.get("end_of_word_suffix") or told.get("BPEDecoder", {}).get("suffix") or ""
        gap = _split_probe(backend, "a b")
        space = gap if gap and gap != " " and not letters else None
        for step in decoder:
            if space is None and not letters:
                space = _decoded_space(step)
        implied: Edge = None
        if gap == "":
            is_word = model.get("type") == "WordLevel" and _count_pieces(backend, "ab") == 1
            implied = "end" if after else "start" if before or is_word else None
        return cls(letters, space, before, after, implied)

    def spell(self, token: str) -> bytes:
        """Return the bytes that a token of the model stands for."""
        is_within = bool(self.before) and len(token) > len(self.before) and token.startswith(self.before)
        body = token[len(self.before) :] if is_within else token
        is_last = bool(self.after) and body.endswith(self.after)
        body = body.removesuffix(self.after) if is_last else body
        if self.letters:
            parts = [BYTE_ALPHABET.get(char) for char in body]
            data = body.encode() if None in parts else b"".join(part or b"" for part in parts)
        else:
            data = (body if self.space is None else body.replace(self.space, " ")).encode()
        if self.implied == "start" and not is_within:
            return b" " + data
        return data + b" " if self.implied == "end" and is_last else data


def _split_probe(backend: tokenizers.Tokenizer, text: str) -> str | None:
    """Return what stands between the letters of `a b` when models see it; None where no letter is left."""
    found = re.search(r"a(.*?)b", "".join(_pre_tokenize(backend, text)), re.DOTALL)
    return None if found is None else found[1]


def _count_pieces(backend: tokenizers.Tokenizer, text: str) -> int:
    return len(_pre_tokenize(backend, text))


def _pre_tokenize(backend: tokenizers.Tokenizer, text: str) -> list[str]:
    """Return the texts that the model is given, one after another."""
    normalizer, split = backend.normalizer, backend.pre_tokenizer
    known = text if normalizer is None else str(normalizer.normalize_str(text))
    return [known] if split is None else [piece for piece, _ in split.pre_tokenize_str(known)]


def _decoded_space(step: Mapping[str, Any]) -> str | None:
    """Return what a step of a decoder makes a space of."""
    kind = step["type"]
    if kind == "Metaspace":
        return str(step.get("replacement", SPACE))
    if kind == "CTC":
        return str(step["word_delimiter_token"])
    if kind == "Replace" and step.get("content") == " ":
        return step["pattern"].get("String") or None
    return None


def _check_ids(path: Path, content: Mapping[str, Any], backend: tokenizers.Tokenizer) -> None:
    """Raise TokenizerError where `tokenizers` gives a token another id than the file does, naming both.

    It numbers added tokens one after the other from the vocabulary's size on, whatever ids the file has, and
    keeps two tokens of one id, of which only one is ever decoded. The file's ids are the model's rows.
    """
    table = content["model"].get("vocab") if isinstance(content["model"], Mapping) else None
    added = [entry for entry in content.get("added_tokens") or [] if isinstance(entry, Mapping)]
    listed = [(str(entry.get("content")), entry.get("id")) for entry in added]
    holders: dict[Any, str] = {}
    for token, index in chain(table.items() if isinstance(table, Mapping) else (), listed):
        other = holders.setdefault(index, token)
        if other != token:
            what = f"{path}: {other!r} and {token!r} have one id, {index}"
            raise TokenizerError(what, "give each token the id of its own row in the model's matrix")
    for token, index in listed:
        given = backend.token_to_id(token)
        if given != index:
            size = backend.get_vocab_size(with_added_tokens=False)
            what = f"{path}: the added token {token!r} has id {index}, and tokenizers gives it {given}"
            hint = f"list added tokens in the order of their ids, one for every id from {size} on"
            if isinstance(table, Mapping) and max(table.values(), default=-1) >= size:
                hint = f"its vocabulary has {size} tokens and ids up to {max(table.values())}: fill the holes"
            raise TokenizerError(what, f"{hint}, with names such as <unused_{size}>")


class BackendTokenizer:
    """A tokenizer.json run by `tokenizers`: SentencePiece-like, byte-level or WordPiece."""

    def __init__(self, name: str, backend: tokenizers.Tokenizer, notes: Sequence[str] = ()) -> None:
        """Wrap a backend, which is changed: specials typed in a text are text, and BPE dropout is off."""
        self.name = name
        self._backend = backend
        backend.encode_special_tokens = True
        backend.no_padding()
        backend.no_truncation()
        self.notes = tuple(notes)
        dropout = getattr(backend.model, "dropout", None)
        if dropout:
            backend.model.dropout = None
            said = f"BPE dropout of {dropout:.3g} is turned off in reading: equal texts get equal tokens"
            self.notes = (*self.notes, said)
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.tokens: dict[int, str] = {index: token for token, index in vocabulary.items()}
        self.size = check_holes(name, len(self.tokens), max(self.tokens, default=-1) + 1)

    @classmethod
    def read(cls, path: Path) -> BackendTokenizer:
        """Read a tokenizer.json. Raises TokenizerError when it is not JSON, or no tokenizer."""
        text, content = parse_json(path)
        if "model" not in content:
            what, hint = "JSON, but not a tokenizer: it has no `model`", HINT
            if content and all(type(index) is int for index in content.values()):
                what = "a table of tokens and ids alone: no file of merges lies beside it"
                hint = "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes tokenizer.json"
            raise TokenizerError(f"{path}: {what}", hint)
        backend = build_backend(str(path), content, text)
        _check_ids(path, content, backend)
        return cls(str(path), backend)

    @cached_property
    def _content(self) -> dict[str, Any]:
        return self.to_content()

    def to_content(self) -> dict[str, Any]:
        """Return what a tokenizer.json of it holds."""
        return dict(json.loads(self._backend.to_str()))

    @cached_property
    def _marks(self) -> _Marks:
        return _Marks.of(self._backend, self._content)

    @cached_property
    def _added(self) -> dict[int, bool]:
        """Added tokens: id → whether special."""
        return {entry["id"]: bool(entry["special"]) for entry in self._content["added_tokens"]}

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """What each id is for; an id without a token is `unused`."""
        model = self._content["model"]
        unknown = model.get("unk_token")
        if isinstance(model.get("unk_id"), int):
            unknown = self.tokens.get(model["unk_id"])
        joins = any(step["type"] == "ByteFallback" for step in _list_steps(self._content.get("decoder")))
        fallback = bool(model.get("byte_fallback")) or joins
        # Our own files name an unused piece with a space in front, where every space in a text is a mark.
        marked = self.style == "sentencepiece" and self._marks.space is not None

        def kind(index: int) -> Kind:
            token = self.tokens.get(index)
            if token is None:
                return Kind.UNUSED
            if token == unknown:
                return Kind.UNKNOWN
            if index in self._added:
                return Kind.CONTROL if self._added[index] else Kind.USER
            if marked and is_unused_name(token):
                return Kind.UNUSED
            return Kind.BYTE if fallback and _BYTE_NAME.fullmatch(token) else Kind.NORMAL

        return tuple(kind(index) for index in range(self.size))

    @property
    def model_type(self) -> str:
        """The type of its model, as tokenizers calls it: `Unigram`, `BPE`, `WordPiece` or `WordLevel`."""
        return type(self._backend.model).__name__

    @cached_property
    def style(self) -> Style:
        """How pieces are made: a letter a byte, words with marked parts, or spaces as letters."""
        if self._marks.letters:
            return "byte-level"
        is_wordpiece = self._content["model"].get("type") == "WordPiece"
        return "wordpiece" if is_wordpiece or self._marks.implied else "sentencepiece"

    @cached_property
    def edge(self) -> Edge:
        """Where encoding puts a space that the text has not."""
        if self._marks.implied:
            return self._marks.implied
        first = "".join(_pre_tokenize(self._backend, "a"))
        put = BYTE_LETTERS[0x20] if self._marks.letters else self._marks.space or " "
        return "start" if first.startswith(put) else None

    @property
    def word_prefix(self) -> str:
        """Nothing where every word has a space of its own, or text starts with one; else one space."""
        return " " if self.edge is None else ""

    @cached_property
    def exact_on_words(self) -> str | None:
        """None unless pieces cross a space, or a space before a word or a run of them has its own tokens."""
        return find_inexactness(self, self.edge == "end")

    def normalize(self, text: str) -> str | None:
        """Return the text after the normaliser, spaces as spaces; None when unchanged."""
        normalizer, marks = self._backend.normalizer, self._marks
        if normalizer is None:
            return None
        found = str(encode_checked([text], lambda: normalizer.normalize_str(text)))
        steps = [step["type"] for step in _list_steps(self._content.get("normalizer"))]
        if "ByteLevel" in steps:
            found = marks.spell(found).decode(errors="replace")
        elif marks.space is not None:
            found = found.replace(marks.space, " ")
        found = found.removeprefix(" ") if "Prepend" in steps and self.edge == "start" else found
        return None if found == text else found

    def settle(self, text: str) -> str | None:
        """Return the text that decoding gives: as normalised; where spaces are lost, one between words."""
        if not self._marks.implied:
            return self.normalize(text)
        words = encode_checked([text], lambda: _pre_tokenize(self._backend, text))
        plain = replace(self._marks, before="", after="", implied=None)
        found = " ".join(plain.spell(word).decode(errors="replace") for word in words)
        return None if found == text else found

    def _encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        listed, encode = list(texts), self._backend.encode_batch_fast
        try:
            return encode_checked(listed, lambda: encode(listed, add_special_tokens=False))
        except TokenizerError as error:
            raise self._find_unknown(listed) or error from error

    def _find_unknown(self, texts: Sequence[str]) -> TokenizerError | None:
        """Return what in which text no token stands for, where the model has no unknown one."""
        if self._unknown is not None:
            return None
        check_surrogates(texts)
        for place, text in enumerate(texts):
            for word in _pre_tokenize(self._backend, text):
                # A word of a list is known or not; of other models a letter of it is missing.
                lost = next(filter(self._fails_on, word), word) if self._fails_on(word) else ""
                if self._content["model"].get("type") == "WordLevel":
                    lost = lost and word
                if not lost:
                    continue
                named = self._content["model"].get("unk_token")
                key = "unk_id is not set" if named is None else f"unk_token {named!r} is not in the vocabulary"
                shown = f"{lost!r} (U+{ord(lost):04X})" if len(lost) == 1 else repr(lost)
                what = f"{shown} has no token, and the model no unknown one: its {key}"
                hint = "set it in the file to a token of the vocabulary, or leave the character out"
                return TokenizerError(f"{self.name}: text {place}: {what}", hint)
        return None

    def _fails_on(self, text: str) -> bool:
        try:
            self._backend.model.tokenize(text)
        except Exception:  # tokenizers raises Exception itself
            return True
        return False

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """Return the ids of each text. Raises TokenizerError on a lone surrogate."""
        return [np.array(encoding.ids, dtype=np.int32) for encoding in self._encode(texts)]

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """Return the ids of all texts in a row, and how many each has."""
        return flatten([encoding.ids for encoding in self._encode(texts)])

    def count_tokens(self, texts: Sequence[str]) -> Int64Array:
        """Return how many ids each text has."""
        return np.fromiter(map(len, self._encode(texts)), np.int64, len(texts))

    @cached_property
    def _unknown(self) -> int | None:
        return self.kinds.index(Kind.UNKNOWN) if Kind.UNKNOWN in self.kinds else None

    @cached_property
    def _drops(self) -> bool:
        """Whether characters can vanish without an unknown token: a letter for a byte is missing, or any."""
        if self.style == "byte-level":
            return not BYTE_ALPHABET.keys() <= set(self.tokens.values())
        return self._unknown is None and not self._content["model"].get("byte_fallback")

    @cached_property
    def _letters(self) -> frozenset[str]:
        """All tokens, also as they stand within and at the end of a word."""
        before, after = self._marks.before, self._marks.after
        tokens = self.tokens.values()
        bare = {token.removeprefix(before).removesuffix(after) for token in tokens}
        return frozenset(bare.union(tokens))

    @cached_property
    def _bare(self) -> tokenizers.Tokenizer:
        """The same backend without its normaliser, so that offsets are those of normalised text."""
        bare = tokenizers.Tokenizer.from_str(self._backend.to_str())
        bare.encode_special_tokens = True
        if self._backend.normalizer is not None:
            bare.normalizer = tokenizers.normalizers.Sequence([])
        return bare

    def unknown_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[int]:
        """Return how many characters are under unknown tokens or without one."""
        return list(map(len, self.lost_characters(texts, encoded)))

    def lost_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[str]:
        """Return the characters under unknown tokens or without one; only such texts are encoded twice."""
        if self._drops:
            return [self._find_dropped(text) for text in texts]
        gone = [""] * len(texts)
        if self._unknown is None:
            return gone
        ids, lengths = encoded or self.encode_flat(texts)
        owners = np.repeat(np.arange(len(texts)), lengths)
        places = np.unique(owners[ids == self._unknown]).tolist()
        normalizer = self._backend.normalizer
        normalized = [texts[place] for place in places]
        if normalizer is not None:
            normalized = [normalizer.normalize_str(text) for text in normalized]
        found = self._bare.encode_batch(normalized, add_special_tokens=False)
        for place, text, encoding in zip(places, normalized, found, strict=True):
            lost = np.zeros(len(text), bool)
            for index, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
                if index == self._unknown:
                    lost[start:stop] = True
            letters = (char for char, is_lost in zip(text, lost.tolist(), strict=True) if is_lost)
            gone[place] = "".join(char for char in letters if not char.isspace() and char != SPACE)
        return gone

    def count_chunks(self, text: str) -> int:
        """Return the number of chunks the pre-tokeniser makes of the text as normalised."""
        found, split = self.normalize(text), self._backend.pre_tokenizer
        known = text if found is None else found
        return min(len(known), 1) if split is None else len(split.pre_tokenize_str(known))

    def _find_dropped(self, text: str) -> str:
        """Characters without a token. Offsets would not do: they count what is dropped as nothing."""
        found = self.normalize(text)
        known = text if found is None else found
        lost = {char for char in set(known) if not char.isspace() and self._is_dropped(char)}
        return "".join(char for char in known if char in lost)

    def _is_dropped(self, char: str) -> bool:
        if self.style != "byte-level":
            return char not in self._letters
        return any(BYTE_LETTERS[byte] not in self._letters for byte in char.encode())

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """Return the bytes of ids, without the space that encoding put at an edge of the text."""
        return join_bytes(self, ids, self.edge)

    def token_bytes(self, index: int) -> bytes | None:
        """Return the bytes of one id; None for special and unknown tokens and ids without a token."""
        kind = self.kinds[check_id(self, index)]
        token = self.tokens.get(index, "")
        if kind is Kind.USER and self._marks.letters:
            return token.encode()
        return self._marks.spell(token) if kind in TEXT else piece_bytes(token, kind)


# --- SentencePiece ---------------------------------------------------------------------------------


class SentencePieceTokenizer:
    """A .model run by SentencePiece."""

    style: Style = "sentencepiece"
    notes: tuple[str, ...] = ()

    def __init__(self, name: str, vocabulary: Vocabulary, data: bytes | None = None) -> None:
        """Open a vocabulary; `data` is the .model that it was read from, if it was."""
        self.name = name
        self.vocabulary = vocabulary
        model = write_model(vocabulary) if data is None else data
        with named_failures(TokenizerError, f"{name}: SentencePiece refuses it", HINT):
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    @classmethod
    def read(cls, path: Path) -> SentencePieceTokenizer:
        """Read a .model file, and the tokens that files beside it add. Raises TokenizerError."""
        data = path.read_bytes()
        try:
            vocabulary = read_model(data, source=str(path))
        except TokenizerError as error:  # what is wrong with a vocabulary is said without its file
            said = error.message if str(path) in error.message else f"{path}: {error.message}"
            raise TokenizerError(said, error.hint or HINT) from error
        told = append_told(path, {piece: index for index, piece in enumerate(vocabulary.pieces)})
        added = [entry for entry in told if entry["id"] >= vocabulary.size]
        kinds = [Kind.CONTROL if entry["special"] else Kind.USER for entry in added]
        whole = vocabulary.append_added([entry["content"] for entry in added], kinds) if added else vocabulary
        name, settings = read_class(path)
        if name in ("Llama", "CodeLlama") and settings.get("add_prefix_space") is False:
            whole = replace(whole, spacing=replace(whole.spacing, dummy_prefix=False))
        return cls(str(path), whole, data if whole == vocabulary else None)

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.vocabulary.size

    @property
    def kinds(self) -> Sequence[Kind]:
        """What each id is for."""
        return self.vocabulary.kinds

    @property
    def edge(self) -> Edge:
        """Where encoding puts a space that the text has not."""
        spacing = self.vocabulary.spacing
        return None if not spacing.dummy_prefix else "end" if spacing.as_suffix else "start"

    @property
    def word_prefix(self) -> str:
        """Nothing where every text starts with a space, else one space."""
        return "" if self.vocabulary.spacing.dummy_prefix else " "

    @cached_property
    def exact_on_words(self) -> str | None:
        """None unless pieces cross a space, or white space has tokens of its own."""
        return find_inexactness(self, self.vocabulary.spacing.as_suffix)

    def normalize(self, text: str) -> str | None:
        """Return the text after the charsmap and the space rules, spaces as spaces; None when unchanged."""
        (raw,) = encode_checked([text], lambda: self._processor.normalize([text]))
        found = str(raw).replace(SPACE, " ")
        spacing = self.vocabulary.spacing
        if spacing.dummy_prefix:
            found = found.removesuffix(" ") if spacing.as_suffix else found.removeprefix(" ")
        return None if found == text else found

    settle = normalize

    def encode_batch(self, texts: Sequence[str]) -> list[Int32Array]:
        """Return the ids of each text. Raises TokenizerError on a lone surrogate."""
        listed, encode = list(texts), self._processor.encode
        # One thread: threads help large batches alone, and the caller has processes for those.
        return encode_checked(listed, lambda: encode(listed, out_type="numpy", num_threads=1))

    def _encode_lists(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text as a list, which for short texts takes a third of an array's time."""
        listed, encode = list(texts), self._processor.encode
        return encode_checked(listed, lambda: encode(listed, out_type=int, num_threads=1))

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """Return the ids of all texts in a row, and how many each has."""
        return flatten(self._encode_lists(texts))

    def count_tokens(self, texts: Sequence[str]) -> Int64Array:
        """Return how many ids each text has."""
        return np.fromiter(map(len, self._encode_lists(texts)), np.int64, len(texts))

    @cached_property
    def _known_lengths(self) -> Int64Array:
        """The characters of each piece, spaces aside; none of the unknown one."""
        sizes = [len(piece) - piece.count(SPACE) for piece in self.vocabulary.pieces]
        if self.vocabulary.roles.unknown is not None:
            sizes[self.vocabulary.roles.unknown] = 0
        return np.array(sizes, np.int64)

    def unknown_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[int]:
        """Return the characters of the unknown pieces of each text: its own less those of its pieces."""
        unknown = self.vocabulary.roles.unknown
        counts = [0] * len(texts)
        if unknown is None:
            return counts
        ids, lengths = encoded or self.encode_flat(texts)
        owners = np.repeat(np.arange(len(texts)), lengths)
        places = np.unique(owners[ids == unknown]).tolist()
        if places:
            listed = [texts[place] for place in places]
            normalized = encode_checked(listed, lambda: self._processor.normalize(listed))
            known = np.bincount(owners, self._known_lengths[ids], len(texts))
            for place, text in zip(places, normalized, strict=True):
                counts[place] = len(text) - text.count(SPACE) - int(known[place])
        return counts

    def lost_characters(self, texts: Sequence[str], encoded: Flat | None = None) -> list[str]:
        """Return the characters of the unknown pieces of each text; only such texts are encoded twice."""
        lost = [place for place, count in enumerate(self.unknown_characters(texts, encoded)) if count]
        gone, encode = [""] * len(texts), self._processor.encode
        for place in lost:
            names, ids = encode(texts[place], out_type=str), encode(texts[place], out_type=int)
            pairs = zip(names, ids, strict=True)
            unknown = "".join(name for name, index in pairs if index == self.vocabulary.roles.unknown)
            gone[place] = unknown.replace(SPACE, "")
        return gone

    def count_chunks(self, text: str) -> int:
        """Return one: the pieces themselves say where a word ends."""
        return min(len(text), 1)

    def decode_bytes(self, ids: Sequence[int] | Int32Array) -> bytes:
        """Return the bytes of ids, without the space that encoding put at an edge of the text."""
        return join_bytes(self, ids, self.edge)

    def token_bytes(self, index: int) -> bytes | None:
        """Return the bytes of one id; None for control, unknown and unused pieces."""
        return self.vocabulary.token_bytes(check_id(self, index))
