"""Tokenizers of any format behind one protocol: `open_tokenizer` looks at what a file holds, not at its name.

Text is always text: a `<s>` typed in it is encoded as three characters, not as the special token, and
no special tokens are added. The formats are in their own modules; nothing else sees a backend.
"""

from __future__ import annotations

import json
from pathlib import Path

from vocabkit.core.errors import TokenizerError, VocabkitError
from vocabkit.core.languages import resolve_code
from vocabkit.vocabulary.backend_tokenizer import BackendTokenizer
from vocabkit.vocabulary.byte_level_format import PAIRS, read_pair
from vocabkit.vocabulary.gguf_fields import MAGIC
from vocabkit.vocabulary.gguf_format import read_gguf
from vocabkit.vocabulary.routing import SHARED, block_languages, route_vocabulary
from vocabkit.vocabulary.sentencepiece_format import write_model
from vocabkit.vocabulary.sentencepiece_tokenizer import SentencePieceTokenizer
from vocabkit.vocabulary.tiktoken_ranks import (
    TiktokenTokenizer,
    choose_pattern,
    is_ranks,
    is_tekken,
    read_ranks,
    read_tekken,
)
from vocabkit.vocabulary.tokenizer_protocol import (
    HINT,
    UNKNOWN_BYTES,
    Int32Array,
    Int64Array,
    Style,
    Tokenizer,
)
from vocabkit.vocabulary.vocabulary import Vocabulary

__all__ = [
    "UNKNOWN_BYTES",
    "BackendTokenizer",
    "Int32Array",
    "Int64Array",
    "SentencePieceTokenizer",
    "Style",
    "TiktokenTokenizer",
    "Tokenizer",
    "find_file",
    "open_route",
    "open_tokenizer",
    "takes_pattern",
]

# The names looked for in a folder, in this order, before a sole file of one of the suffixes.
_NAMES = ("tokenizer.model", "tokenizer.json", "tekken.json", *(pair[0] for pair in PAIRS))
_SUFFIXES = (".model", ".tiktoken", ".gguf")


def open_tokenizer(path: str | Path, pattern: str | None = None) -> Tokenizer:
    """Read a tokenizer file, or the one in a folder, whatever its name.

    Read are SentencePiece models, tokenizer.json, GPT-2's two files, tiktoken's ranks, tekken's JSON and
    the vocabulary in a GGUF file. `pattern` names how text is split (see `split_patterns`) where the file
    does not say. Raises TokenizerError naming the file.
    """
    target = find_file(path)
    if not target.is_file():
        raise TokenizerError(f"{target}: no such file or folder", HINT)
    with target.open("rb") as file:
        head = file.read(4096)
    if head.startswith(MAGIC):
        return read_gguf(target, pattern)
    if is_ranks(head):
        return read_ranks(target, pattern)
    if target.suffix == ".json" or head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
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
        hint = f"a language without a block is encoded as {SHARED!r}"
        if isinstance(error, TokenizerError):
            hint = error.hint or hint
        raise TokenizerError(f"{path}: no route for {code!r}: {error.message}", hint) from error
    routed = route_vocabulary(vocabulary, block)
    return SentencePieceTokenizer(str(find_file(path)), routed, write_model(routed))


def takes_pattern(path: str | Path) -> bool:
    """Whether how text is split can be named for a tokenizer: ranks, GPT-2's two files, and GGUF."""
    target = find_file(path)
    with target.open("rb") as file:
        head = file.read(4096)
    paired = any(target.name == one and target.with_name(two).is_file() for one, two in PAIRS)
    return paired or head.startswith(MAGIC) or is_ranks(head)


def find_file(path: str | Path) -> Path:
    """The file to read: the path itself, or a folder's tokenizer. Raises TokenizerError when it has none."""
    folder = Path(path)
    if not folder.is_dir():
        return folder
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    sole = [item for item in sorted(folder.iterdir()) if item.suffix in _SUFFIXES]
    if len(sole) == 1:
        return sole[0]
    found = (
        f"{len(sole)} files like a tokenizer: name one" if sole else f"none of {', '.join(_NAMES)}"
    )
    raise TokenizerError(f"{folder}: not a tokenizer folder: {found}", HINT)


def _read_json(path: Path, pattern: str | None) -> Tokenizer:
    for tokens, merges in PAIRS:
        if path.name == tokens and path.with_name(merges).is_file():
            steps = choose_pattern(pattern or "gpt2", str(path))
            return read_pair(path, path.with_name(merges), steps)
    # Parsed here only where it can be tekken's: a tokenizer.json of 30 MB takes a second.
    if b'"token_bytes"' in path.read_bytes():
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (UnicodeDecodeError, json.JSONDecodeError):
            content = None  # reading it as a tokenizer.json tells what is wrong
        if is_tekken(content):
            return read_tekken(path, content)
    return BackendTokenizer.read(path)
