"""The folder of a byte-level BPE fitted here: tokenizer.json, its configuration and the table of tokens.

There is no .model: SentencePiece's format cannot hold tokens that are parts of characters.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Tokenizer

from vocabkit.core.errors import TokenizerError
from vocabkit.core.scripts import COMMON, INHERITED, piece_script, script_of
from vocabkit.corpus.tables import connect, write_columns
from vocabkit.vocabulary.byte_alphabet import BYTE_LETTERS
from vocabkit.vocabulary.byte_level_format import build_byte_level
from vocabkit.vocabulary.vocabulary import Kind

Int64Array = npt.NDArray[np.int64]

# What a special token of a usual name is for; one not listed is only special.
_ROLES = {
    "bos_token": ("<|begin_of_text|>", "<|startoftext|>", "<s>", "<|endoftext|>"),
    "eos_token": ("<|end_of_text|>", "</s>", "<|endoftext|>"),
    "pad_token": ("<|pad|>", "<pad>"),
    "unk_token": ("<|unk|>", "<unk>"),
}


def spell_bytes(token: bytes) -> str:
    """A token as byte-level files write it: a printable letter a byte."""
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
            raise TokenizerError(f"the token {twice!r} occurs twice")

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self.special) + len(self.tokens)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Every token as tokenizer.json writes it, by id."""
        return (*self.special, *map(spell_bytes, self.tokens))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each id is for."""
        return (Kind.CONTROL,) * len(self.special) + (Kind.NORMAL,) * len(self.tokens)

    def build_backend(self) -> Tokenizer:
        """The vocabulary as a `tokenizers.Tokenizer`."""
        pieces = self.pieces
        backend = build_byte_level(
            "the vocabulary",
            {piece: index for index, piece in enumerate(pieces)},
            [(pieces[left], pieces[right]) for left, right in self.merges],
            self.patterns,
        )
        backend.add_special_tokens(
            [AddedToken(token, normalized=False, special=True) for token in self.special]
        )
        return backend

    def save(self, folder: str | Path, usage: Mapping[str, Int64Array] | None = None) -> None:
        """Write tokenizer.json, tokenizer_config.json and vocabulary.parquet, `usage` a column a language."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        text = self.build_backend().to_str(pretty=False)
        (target / "tokenizer.json").write_text(text + "\n", encoding="utf-8", newline="\n")
        config = json.dumps(_configuration(self.special), ensure_ascii=False, indent=2)
        path = target / "tokenizer_config.json"
        path.write_text(config + "\n", encoding="utf-8", newline="\n")
        head = len(self.special)
        write_token_table(
            target / "vocabulary.parquet",
            self.pieces,
            [None] * head + list(self.tokens),
            self.kinds,
            ["shared"] * self.size,
            usage or {},
        )


def write_token_table(
    path: Path,
    pieces: Sequence[str],
    tokens: Sequence[bytes | None],
    kinds: Sequence[Kind],
    blocks: Sequence[str],
    usage: Mapping[str, Int64Array],
) -> None:
    """Write one row a token: as the file writes it, its bytes in hexadecimal, id, kind, block, script, usage.

    A token has the script of its whole characters; one without any has none.
    """
    columns: dict[str, npt.NDArray[Any]] = {
        "piece": np.array(pieces, dtype=object),
        "bytes": np.array([t.hex() if t is not None else None for t in tokens], dtype=object),
        "id": np.arange(len(pieces), dtype=np.int32),
        "kind": np.array([kind.value for kind in kinds], dtype=object),
        "block": np.array(blocks, dtype=object),
        "script": np.array(_scripts(tokens), dtype=object),
        **{name: np.asarray(column, dtype=np.int64) for name, column in usage.items()},
    }
    with connect() as database:
        write_columns(database, columns, path)


def _scripts(tokens: Sequence[bytes | None]) -> list[str | None]:
    texts = [(token or b"").decode(errors="ignore") for token in tokens]
    scripts = {char: script_of(char) for char in set("".join(texts))}
    found: list[str | None] = []
    for text in texts:
        own = {scripts[char] for char in text} - {COMMON, INHERITED}
        found.append(own.pop() if len(own) == 1 else piece_script(text) if text else None)
    return found


def _configuration(special: Sequence[str]) -> dict[str, Any]:
    roles = {}
    for role, names in _ROLES.items():
        chosen = next((name for name in names if name in special), None)
        if chosen is not None:
            roles[role] = chosen
    extra = [token for token in special if token not in roles.values()]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        **roles,
        **({"additional_special_tokens": extra} if extra else {}),
    }
