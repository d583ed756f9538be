"""The vocabulary of a GGUF file as a tokenizer, as llama.cpp's own rules read it.

SentencePiece vocabularies are rebuilt as a `.model`, precompiled charsmap included; BPE and WordPiece
ones as what a `tokenizer.json` would hold. The file keeps no normaliser for the latter two, so a model
whose tokenizer.json normalises (NFC, say) does so there and not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.normalization import Normalizer
from vocabkit.vocabulary.backend_tokenizer import BackendTokenizer
from vocabkit.vocabulary.byte_level_format import build_byte_level, split_merges
from vocabkit.vocabulary.gguf_fields import read_fields
from vocabkit.vocabulary.sentencepiece_format import write_model
from vocabkit.vocabulary.sentencepiece_tokenizer import SentencePieceTokenizer
from vocabkit.vocabulary.split_patterns import GGUF_NAMES
from vocabkit.vocabulary.tiktoken_ranks import choose_pattern
from vocabkit.vocabulary.tokenizer_protocol import HINT
from vocabkit.vocabulary.vocabulary import SPACE, Block, Kind, Roles, Spacing, Vocabulary

_KINDS = {
    1: Kind.NORMAL,
    2: Kind.UNKNOWN,
    3: Kind.CONTROL,
    4: Kind.USER,
    5: Kind.UNUSED,
    6: Kind.BYTE,
}
# Patterns under which llama.cpp takes a piece of text that is a token whole, whatever the merges.
_WHOLE_FIRST = ("llama3", "llama-v3", "llama-bpe")


def read_gguf(path: Path, pattern: str | None = None) -> SentencePieceTokenizer | BackendTokenizer:
    """Read the vocabulary of a GGUF file; `pattern` overrides the one a byte-level vocabulary names.

    Raises TokenizerError when the file is cut off, holds no vocabulary, or one of a kind not read.
    """
    fields = _Fields(path, read_fields(path))
    model = fields.text("model")
    if model in ("llama", "t5"):
        return _read_pieces(fields, "bpe" if model == "llama" else "unigram")
    readers = {"gemma4": _read_spaced, "bert": _read_words}
    if model == "gpt2":
        return _read_byte_level(fields, pattern)
    if model not in readers:
        expected = "llama, t5, gpt2, gemma4 or bert"
        raise TokenizerError(f"{path}: the vocabulary is {model!r}: expected {expected}", HINT)
    return readers[model](fields)


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
            raise TokenizerError(
                f"{path}: a token is not UTF-8: {error.object[:40]!r}", HINT
            ) from error
        types = self.get("token_type")
        numbers = [1] * len(raw) if types is None else types.tolist()
        if len(numbers) != len(raw) or not set(numbers) <= _KINDS.keys():
            raise TokenizerError(f"{path}: {len(raw)} tokens, {len(numbers)} token types", HINT)
        self.kinds = [_KINDS[number] for number in numbers]

    def get(self, key: str) -> Any:
        return self._fields.get(f"tokenizer.ggml.{key}")

    def text(self, key: str) -> str:
        return bytes(self.get(key) or b"").decode(errors="replace")

    def merges(self) -> list[tuple[str, str]]:
        lines = [line.decode(errors="replace") for line in self.get("merges") or []]
        return split_merges(str(self.path), lines)

    def role(self, key: str) -> int | None:
        index = self.get(f"{key}_token_id")
        inside = index is not None and 0 <= index < len(self.tokens)
        return int(index) if inside and self.kinds[index] is Kind.CONTROL else None


def _read_pieces(fields: _Fields, model: str) -> SentencePieceTokenizer:
    """Rebuild a .model. A piece after the first unknown one cannot be unknown too: it is unused."""
    kinds = list(fields.kinds)
    named = fields.get("unknown_token_id")
    unknown = int(named) if named is not None else -1
    if not (0 <= unknown < len(kinds) and kinds[unknown] is Kind.UNKNOWN):
        if Kind.UNKNOWN not in kinds:
            raise TokenizerError(f"{fields.path}: the vocabulary has no unknown piece", HINT)
        unknown = kinds.index(Kind.UNKNOWN)
    for index, kind in enumerate(kinds):
        if kind is Kind.UNKNOWN and index != unknown:
            kinds[index] = Kind.UNUSED
    scores = fields.get("scores")
    if scores is None or len(scores) != len(kinds):
        raise TokenizerError(f"{fields.path}: a score a piece is needed", HINT)
    charsmap = fields.get("precompiled_charsmap")
    prefix = fields.get("add_space_prefix")
    vocabulary = Vocabulary(
        pieces=_rename_repeated(fields.tokens, kinds),
        scores=np.array(scores, dtype=np.float32),
        kinds=tuple(kinds),
        blocks=(Block("shared", 0, len(kinds)),),
        model="bpe" if model == "bpe" else "unigram",
        normalizer=Normalizer(
            "identity" if charsmap is None else "precompiled",
            b"" if charsmap is None else charsmap.astype(np.uint8).tobytes(),
        ),
        roles=Roles(
            begin=fields.role("bos"),
            pad=fields.role("padding"),
            end=fields.role("eos"),
            unknown=unknown,
            mask=fields.role("mask"),
        ),
        # llama.cpp's defaults where the file says nothing.
        spacing=Spacing(
            dummy_prefix=True if prefix is None else bool(prefix),
            remove_extra=bool(fields.get("remove_extra_whitespaces")),
        ),
    )
    return SentencePieceTokenizer(str(fields.path), vocabulary, write_model(vocabulary))


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
    what = f"{fields.path}: its pre-tokeniser is {named!r}"
    steps = choose_pattern(pattern or GGUF_NAMES.get(named), what)
    vocabulary = {token: index for index, token in enumerate(fields.tokens)}
    backend = build_byte_level(
        str(fields.path), vocabulary, fields.merges(), steps, named in _WHOLE_FIRST
    )
    return _wrap(fields, backend)


def _read_spaced(fields: _Fields) -> BackendTokenizer:
    """BPE by merges over text with spaces as `▁`, and bytes for characters without a piece."""
    vocabulary = {token: index for index, token in enumerate(fields.tokens)}
    named = fields.get("unknown_token_id")
    model = models.BPE(
        vocabulary,
        fields.merges(),
        unk_token=None if named is None else fields.tokens[int(named)],
        byte_fallback=Kind.BYTE in fields.kinds,
        fuse_unk=True,
    )
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
    named = fields.get("unknown_token_id")
    unknown = fields.tokens[int(named)] if named is not None else "[UNK]"
    vocabulary = {token: index for index, token in enumerate(names)}
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    # llama.cpp lower-cases and strips accents, whatever the model was trained with.
    backend.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return _wrap(fields, backend, keep=unknown)


def _wrap(
    fields: _Fields, backend: tokenizers.Tokenizer, keep: str | None = None
) -> BackendTokenizer:
    """Declare the control and user pieces, which keep their ids."""
    pairs = list(zip(fields.tokens, fields.kinds, strict=True))
    special = [token for token, kind in pairs if kind is Kind.CONTROL and token != keep]
    user = [token for token, kind in pairs if kind is Kind.USER]
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in user])
    return BackendTokenizer(str(fields.path), backend)
