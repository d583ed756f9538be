"""The tables of `byte-bpe` and `continued-bpe`: what may be set, its default, and what is refused."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from vocabkit.configurations.settings import LanguagesTable
from vocabkit.core.config import Config
from vocabkit.core.errors import ConfigError
from vocabkit.fitting.pre_tokens import find_patterns


class ByteVocabularyTable(Config):
    """`size` counts every id: the special tokens, which come first, 256 bytes, and a token a merge.

    `space_runs` = N adds tokens of 2 to N spaces: counted words do not tell how often such runs occur, so
    by default there are none. `allow_fewer` stops where no pair has the evidence left.
    """

    size: int = Field(default=128_256, ge=257, le=4_000_000)
    special: tuple[str, ...] = ("<|begin_of_text|>", "<|end_of_text|>", "<|pad|>")
    space_runs: int = Field(default=0, ge=0, le=256)
    allow_fewer: bool = False

    @field_validator("special")
    @classmethod
    def _check_special(cls, special: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(special)) != len(special):
            raise ValueError("names a token twice")
        for token in special:
            if len(token) < 2 or any(character.isspace() for character in token):
                raise ValueError(f"{token!r} is shorter than two characters or holds white space")
        return special

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.merges < 1:
            raise ValueError(f"size = {self.size} leaves no merge beside bytes and special tokens")
        return self

    @property
    def merges(self) -> int:
        """How many tokens merges of text make."""
        return self.size - len(self.special) - 256 - max(self.space_runs - 1, 0)


class PreTokensTable(Config):
    """How text is split before any merge: the name of a pattern, or `whitespace` for nothing but words."""

    pattern: str = "o200k"

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        try:
            find_patterns(pattern)
        except ConfigError as error:
            raise ValueError(f"no such pattern; {error.hint}") from error
        return pattern


class MergingTable(Config):
    """Which pair is merged next.

    `frequency` takes the most frequent of all, under the language weights. `parity` takes the most frequent
    of the language with the most tokens per `unit` of development text, after `shared_merges` by frequency;
    development text is the counts' held-out split or all of the counts folder `development` names. With
    `window` > 0 a language that chose more than `share` ÷ (number of languages) of the last `window` merges
    waits. `min_count` is the raw evidence a pair needs, whatever the weights.
    """

    method: Literal["frequency", "parity"] = "frequency"
    min_count: int = Field(default=2, ge=1)
    unit: Literal["characters", "bytes", "lines"] = "characters"
    development: str = ""
    shared_merges: int = Field(default=0, ge=0)
    window: int = Field(default=100, ge=0)
    share: float = Field(default=2.0, ge=1.0)


class ByteBpeConfig(Config):
    """Byte-level BPE from counts, without a base."""

    configuration: Literal["byte-bpe"] = "byte-bpe"
    vocabulary: ByteVocabularyTable = ByteVocabularyTable()
    pre_tokens: PreTokensTable = PreTokensTable()
    languages: LanguagesTable = LanguagesTable()
    merging: MergingTable = MergingTable()

    @model_validator(mode="after")
    def _check_parity(self) -> Self:
        parity = self.merging.method == "parity"
        if parity and self.languages.weighting != "natural" and not self.merging.shared_merges:
            raise ValueError(
                "merging.method = 'parity' takes its pairs from one language at a time: "
                "languages.weighting means something only for merging.shared_merges"
            )
        if not parity and (self.merging.development or self.merging.shared_merges):
            raise ValueError("merging.development and shared_merges need method = 'parity'")
        return self


class TokensTable(Config):
    """The tokens added to the base. A pair needs `min_count` occurrences in the raw counts.

    `characters` first gives a token to each character that the base writes as bytes or not at all and that
    has this evidence; they count as new tokens. `allow_fewer` stops where the text supports no more.
    """

    new: int = Field(default=10_000, ge=1, le=4_000_000)
    min_count: int = Field(default=2, ge=1)
    characters: bool = True
    allow_fewer: bool = False


class ContinuedBpeConfig(Config):
    """More merges on top of a base: of the languages chosen; all counted ones are reported on.

    `base` is a tokenizer.json or its folder.
    """

    configuration: Literal["continued-bpe"] = "continued-bpe"
    base: str = ""
    tokens: TokensTable = TokensTable()
    languages: LanguagesTable = LanguagesTable()
