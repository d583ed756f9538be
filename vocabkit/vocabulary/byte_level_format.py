"""Byte-level BPE from its two lists, tokens with ids and merges, as GPT-2 was published and GGUF holds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.backend_tokenizer import BackendTokenizer
from vocabkit.vocabulary.byte_alphabet import BYTE_ALPHABET
from vocabkit.vocabulary.split_patterns import PATTERNS
from vocabkit.vocabulary.tokenizer_protocol import HINT, first_line

# The names the two files go by: first the tokens, then the merges.
PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))


def build_byte_level(
    source: str,
    vocabulary: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    patterns: Sequence[str],
    ignore_merges: bool = False,
) -> tokenizers.Tokenizer:
    """A backend that splits by `patterns` one after another. Raises TokenizerError naming `source`."""
    missing = len(BYTE_ALPHABET.keys() - vocabulary.keys())
    # Some were trained without the bytes their text lacked: up to 28 letters are missing in those seen.
    if missing > 64:
        raise TokenizerError(
            f"{source}: {missing} of the 256 letters that stand for bytes have no token: "
            "not byte-level BPE",
            HINT,
        )
    try:
        model = models.BPE(dict(vocabulary), list(merges), ignore_merges=ignore_merges)
    except Exception as error:  # tokenizers raises Exception itself
        raise TokenizerError(f"{source}: not a BPE: {first_line(error)}", HINT) from error
    backend = tokenizers.Tokenizer(model)
    steps = [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in patterns]
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def read_pair(
    tokens: Path, merges: Path, pattern: Sequence[str] = PATTERNS["gpt2"]
) -> BackendTokenizer:
    """Read a JSON of tokens and the file of merges beside it. Raises TokenizerError."""
    try:
        vocabulary = json.loads(tokens.read_text(encoding="utf-8"))
        lines = merges.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TokenizerError(f"{tokens}: {first_line(error)}", HINT) from error
    if not isinstance(vocabulary, dict) or not all(type(i) is int for i in vocabulary.values()):
        raise TokenizerError(f"{tokens}: not a table of tokens and their ids", HINT)
    pairs = split_merges(str(merges), [line for line in lines if not line.startswith("#version")])
    return BackendTokenizer(str(tokens), build_byte_level(str(tokens), vocabulary, pairs, pattern))


def split_merges(source: str, lines: Iterable[str]) -> list[tuple[str, str]]:
    """Merges, `left right` a line, as pairs; empty lines are passed over. Raises TokenizerError."""
    pairs = []
    for number, line in enumerate(lines, start=1):
        # A space within a token is written as another letter, so one space stands between the two.
        left, _, right = line.partition(" ")
        if left and right and " " not in right:
            pairs.append((left, right))
        elif line.strip():
            raise TokenizerError(f"{source}: merge {number} is no pair: {line[:40]!r}", HINT)
    return pairs
