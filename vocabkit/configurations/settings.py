"""The tables of a fit's configuration: what may be set, its default, and what is refused.

Presets under `configs/fit/` are files of this form; the first key, `configuration`, says of which one (`shared`
where it is absent). Nothing here fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vocabkit.allocation.union import AllocationTable
from vocabkit.core.config import (
    Config,
    Model,
    Settings,
    find_preset,
    lay_over,
    load_config,
    parse_share,
    read_preset_tables,
    validate,
)
from vocabkit.core.errors import ConfigError
from vocabkit.corpus.weighting import check_quota
from vocabkit.corpus.word_counts import DELIMITERS
from vocabkit.fitting.pre_tokens import find_patterns
from vocabkit.vocabulary.vocabulary import SPACE, SPECIAL


class VocabularyTable(Config):
    """What the vocabulary is."""

    model: Literal["unigram", "bpe"] = "unigram"
    """How text is cut: into the likeliest pieces (unigram), or by merges (bpe)."""
    size: int = Field(default=250_000, ge=16, le=8_000_000)
    """Every id counts: special, symbol, reserved and byte ids included."""
    special: tuple[str, ...] = SPECIAL
    """Control tokens, in the order of their ids; `<unk>` must be among them."""
    symbols: tuple[str, ...] = ()
    """Pieces found whole in any text, whatever the normaliser would make of them: a tab, `<sep>`."""
    reserved: int = Field(default=0, ge=0, le=8_000_000)
    """Ids kept free for tokens to come."""
    byte_fallback: bool = False
    """Whether 256 pieces spell in bytes what no other piece covers, in place of `<unk>`."""
    max_piece_length: int = Field(default=16, ge=1, le=512)
    """Characters of the longest piece."""
    digits: Literal["sentencepiece", "single", "groups"] = "sentencepiece"
    """How many digits a piece may hold: one (single), three (groups), or as SentencePiece any number."""
    keep: tuple[str, ...] = ()
    """Pieces that must be in; ▁ marks a word start."""
    deny: tuple[str, ...] = ()
    """Pieces that must not be in."""

    @field_validator("special")
    @classmethod
    def _check_special(cls, special: tuple[str, ...]) -> tuple[str, ...]:
        if "<unk>" not in special:
            raise ValueError("must contain <unk>")
        if len(set(special)) != len(special):
            raise ValueError("names a token twice")
        for token in special:
            if not token or any(character.isspace() for character in token):
                raise ValueError(f"{token!r} is empty or holds white space")
        return special

    @field_validator("symbols")
    @classmethod
    def _check_symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(symbols)) != len(symbols):
            raise ValueError("names a symbol twice")
        for symbol in symbols:
            if not symbol:
                raise ValueError("holds an empty symbol")
            if " " in symbol or SPACE in symbol:
                raise ValueError(f"{symbol!r} holds a space: spaces part words, and runs of them are one")
            if len(symbol) > 1 and set(symbol).intersection(DELIMITERS):
                raise ValueError(f"{symbol!r}: white space can be a symbol of one character only")
        return symbols

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = {*self.special, *(f"<unused{index}>" for index in range(self.reserved))}
        names |= {f"<0x{value:02X}>" for value in range(256)} if self.byte_fallback else set()
        both = sorted(names.intersection(self.symbols))
        if both:
            raise ValueError(f"symbols names {both[0]!r}, which is a special, reserved or byte token too")
        return self

    @property
    def other_ids(self) -> int:
        """Ids that are not ordinary pieces."""
        return len(self.special) + len(self.symbols) + self.reserved + (256 if self.byte_fallback else 0)

    @property
    def pieces(self) -> int:
        """Ids that are ordinary pieces."""
        return self.size - self.other_ids


class NormalizationTable(Config):
    """How raw words become the text that is fitted."""

    rule: Literal["nmt_nfkc", "nfkc", "nfc", "identity"] = "nmt_nfkc"
    """What is done to the characters of a word; identity does nothing."""


class CoverageTable(Config):
    """Which characters the vocabulary must hold."""

    scope: Literal["global", "language"] = "global"
    """Whether the share is of all text, or of each language's."""
    character: float = Field(default=0.9995, gt=0.0, le=1.0)
    """The share of characters to hold: of the rarest, those beyond it are cut."""


_Loss = Annotated[float, BeforeValidator(parse_share), Field(ge=0.0, le=1.0)]


class LanguagesTable(Config):
    """Which languages are fitted, and how much of each."""

    panel: str | None = None
    """A panel whose languages are fitted, by name or file; by default all that were counted are."""
    include: tuple[str, ...] = ()
    """The languages to fit, among those of the panel where there is one; by default all."""
    weighting: Literal["natural", "exponent", "unimax", "uniform", "quota"] = "natural"
    """What share each gets: its own, one raised to `exponent`, one as even as `max_epochs` allows, an equal
    one, or `quota`'s.
    """
    exponent: float = Field(default=0.3, ge=0.0, le=1.0)
    """The power of `weighting = "exponent"`: 1 leaves shares as they are, 0 makes them equal."""
    max_epochs: float = Field(default=4.0, ge=1.0)
    """How often unimax may count a language's text over."""
    unit: Literal["characters", "bytes", "words"] = "characters"
    """What a share is a share of."""
    quota: Mapping[str, float] = Field(default_factory=dict)
    """The share of every language, by code; they sum to 1."""
    allow_oversampling: float = Field(default=8.0, ge=1.0)
    """The highest weight; what is clipped goes to the other languages."""

    @model_validator(mode="after")
    def _check_quota(self) -> Self:
        check_quota(self.weighting, self.quota)
        return self


class TrainerTable(Config):
    """How the vocabulary is found."""

    engine: Literal["vocabkit", "sentencepiece"] = "vocabkit"
    """Our own trainer, or SentencePiece's as the baseline."""
    threads: int = Field(default=0, ge=0, le=1024)
    """0 is every core for vocabkit's trainer, whose result does not depend on it, and 8 for SentencePiece's,
    whose result does.
    """
    seeds: int = Field(default=0, ge=0)
    """Candidates that pruning starts from; 0 takes eight times the size, at least 100,000."""
    min_count: int = Field(default=5, ge=2)
    """The raw evidence that a seed must have."""
    least_count: int = Field(default=2, ge=2)
    """What `min_count` falls to where the size cannot be filled."""
    min_documents: int = Field(default=1, ge=1)
    """A floor on a seed's document frequency (an upper bound of it); BPE has no seeds."""
    shrink: float = Field(default=0.75, ge=0.5, le=0.95)
    """The share of pieces that a pruning round keeps."""
    iterations: int = Field(default=1, ge=1, le=10)
    """Passes of EM before each pruning round."""
    power: float = Field(default=0.35, ge=0.0, le=1.0)
    """Pieces are kept by occurrences times this power of what each saves in log probability (docs/trainer.md).
    """
    memory: int = Field(default=0, ge=0)
    """Most bytes of the lattice's arcs; 0 is no limit."""

    @property
    def floors(self) -> tuple[int, ...]:
        """The evidence floors tried in turn."""
        least, most = min(self.least_count, self.min_count), self.min_count
        floors = sorted({self.min_count, 3, self.least_count}, reverse=True)
        return tuple(floor for floor in floors if least <= floor <= most)

    @property
    def steps(self) -> dict[str, Any]:
        """The options of the trainer that are the same for every fit of a configuration."""
        return {**self.model_dump(include={"shrink", "iterations", "power"}), "memory": self.memory or None}


class VocabularyTables(Config):
    """The tables that every configuration of a SentencePiece-like vocabulary has."""

    vocabulary: VocabularyTable = VocabularyTable()
    normalization: NormalizationTable = NormalizationTable()
    coverage: CoverageTable = CoverageTable()
    languages: LanguagesTable = LanguagesTable()
    trainer: TrainerTable = TrainerTable()

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.vocabulary.pieces < 1:
            raise ValueError(
                f"vocabulary.size = {self.vocabulary.size} leaves no piece beside "
                f"{self.vocabulary.other_ids} special, symbol, reserved and byte ids"
            )
        if self.vocabulary.model == "bpe" and self.trainer.min_documents > 1:
            raise ValueError("trainer.min_documents is a floor on unigram seeds; bpe has none")
        plain = self.vocabulary.model == "bpe" or self.trainer.engine == "sentencepiece"
        if plain and (self.vocabulary.keep or self.vocabulary.deny):
            raise ValueError("vocabulary.keep and deny need a unigram model and engine = 'vocabkit'")
        return self

    @property
    def seeds(self) -> int:
        """The number of seeds to start from."""
        return self.trainer.seeds or max(8 * self.vocabulary.size, 100_000)


class _FitConfig(VocabularyTables):
    """The configuration of a shared vocabulary, (a) and (b), and of plain BPE."""

    configuration: Literal["shared"] = "shared"
    """Says which configuration this is."""


class TailTable(Config):
    """The blocks of configuration (d)."""

    languages: tuple[str, ...] = ()
    """Which get a block, in this order; by default the panel's tail, in its own."""
    size: int = Field(default=50_000, ge=1, le=1_000_000)
    """New pieces of each language, letters that the base lacks among them."""
    min_count: int = Field(default=2, ge=2)
    """Occurrences in the language's own raw counts that a longer piece needs; a letter needs two."""
    tiers: tuple[int, ...] = (5, 3, 2)
    """Evidence floors filled one after the other, those below `min_count` left out."""
    allow_fewer: bool = False
    """Whether a block may stay smaller where the text stops supporting pieces."""

    @property
    def floors(self) -> tuple[int, ...]:
        """The evidence floors, from the highest down, `min_count` the last."""
        kept = {floor for floor in self.tiers if floor > self.min_count}
        return (*sorted(kept, reverse=True), self.min_count)


class TwoStageConfig(VocabularyTables):
    """Configuration (d): a shared vocabulary, fitted first or given as `base`, and a block a tail language.

    With a base `vocabulary`, `normalization` and `coverage` say nothing: they are the base's.
    """

    configuration: Literal["two-stage"] = "two-stage"
    """Says which configuration this is."""
    base: str = ""
    """What gets the blocks: a tokenizer folder, or a unigram .model, GGUF or tokenizer.json."""
    tail: TailTable = TailTable()

    @model_validator(mode="after")
    def _check_unigram(self) -> Self:
        if self.vocabulary.model != "unigram" or self.trainer.engine != "vocabkit":
            raise ValueError("two-stage needs a unigram model and engine = 'vocabkit'")
        return self


class ParityTable(Config):
    """How language weights are sought, from the exponent-balanced fit on."""

    development: str = ""
    """A corpus of aligned lines to seek parity on, never a test set."""
    field: str = ""
    """What holds the text of its records."""
    lines: int = Field(default=0, ge=0)
    """The first so many lines of it; 0 is all."""
    rounds: int = Field(default=6, ge=1, le=50)
    """How many fits move the shares."""
    step: float = Field(default=1.0, gt=0.0, le=5.0)
    """A fit multiplies a language's share by (its cost ÷ the mean cost) to this power."""
    max_loss: _Loss = 0.05
    """How much more than in the fit at the start a language may cost, as 0.05 or 5%."""


class ParityConfig(VocabularyTables):
    """A shared vocabulary whose language weights make the costliest languages cheapest."""

    configuration: Literal["parity"] = "parity"
    """Says which configuration this is."""
    parity: ParityTable = ParityTable()

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.languages.weighting != "exponent":
            raise ValueError("parity starts from languages.weighting = 'exponent'")
        return self


class ProportionalConfig(VocabularyTables):
    """Configuration (c), and that of `vocabkit allocate`: what is allocated how, beside the tables of all.

    `languages` weighs the counts where pieces are attributed and scores estimated; the sizes are
    `allocation`'s.
    """

    configuration: Literal["proportional"] = "proportional"
    """Says which configuration this is."""
    allocation: AllocationTable = AllocationTable()
    iterations: int = Field(default=3, ge=1, le=20)
    """Passes of EM that put the scores of all lexicons on one scale."""

    @model_validator(mode="after")
    def _check_unigram(self) -> Self:
        if self.vocabulary.model != "unigram" or self.trainer.engine != "vocabkit":
            raise ValueError("proportional needs a unigram model and engine = 'vocabkit'")
        if self.vocabulary.keep or self.vocabulary.deny:
            raise ValueError("vocabulary.keep and deny are not known to proportional")
        return self


# --- Byte-level BPE --------------------------------------------------------------------------------


class ByteVocabularyTable(Config):
    """What a byte-level vocabulary is."""

    size: int = Field(default=128_256, ge=257, le=4_000_000)
    """Every id counts: the special tokens, which come first, 256 bytes, and a token a merge."""
    special: tuple[str, ...] = ("<|begin_of_text|>", "<|end_of_text|>", "<|pad|>")
    """Special tokens, in the order of their ids."""
    space_runs: int = Field(default=0, ge=0, le=256)
    """N adds tokens of 2 to N spaces: counted words do not tell how often such runs occur."""
    allow_fewer: bool = False
    """Whether to stop where no pair has the evidence left."""

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
    """How text is split before any merge."""

    pattern: str = "o200k"
    """The name of a pattern, or `whitespace` for nothing but words."""

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        try:
            find_patterns(pattern)
        except ConfigError as error:
            raise ValueError(f"no such pattern; {error.hint}") from error
        return pattern


class MergingTable(Config):
    """Which pair is merged next."""

    method: Literal["frequency", "parity"] = "frequency"
    """The most frequent pair of all under the language weights, or that of the language with most tokens
    (parity).
    """
    min_count: int = Field(default=2, ge=1)
    """The raw evidence that a pair needs, whatever the weights."""
    unit: Literal["characters", "bytes", "lines"] = "characters"
    """What parity counts a language's tokens of development text by."""
    development: str = ""
    """A counts folder, all of which is parity's development text; by default the counts' held-out split."""
    shared_merges: int = Field(default=0, ge=0)
    """Merges by frequency before parity's."""
    window: int = Field(default=100, ge=0)
    """How many of the last merges are looked at for languages that chose too often; 0 looks at none."""
    share: float = Field(default=2.0, ge=1.0)
    """A language waits that chose more than this ÷ (number of languages) of the window's merges."""


class ByteBpeConfig(Config):
    """Byte-level BPE from counts, without a base."""

    configuration: Literal["byte-bpe"] = "byte-bpe"
    """Says which configuration this is."""
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
    """The tokens added to the base."""

    new: int = Field(default=10_000, ge=1, le=4_000_000)
    """How many tokens are added."""
    min_count: int = Field(default=2, ge=1)
    """Occurrences in the raw counts that a pair needs."""
    characters: bool = True
    """Whether characters that the base writes as bytes or not at all get a token first, as new ones."""
    allow_fewer: bool = False
    """Whether to stop where the text supports no more."""


class ContinuedBpeConfig(Config):
    """More merges on top of a base: of the languages chosen; all counted ones are reported on."""

    configuration: Literal["continued-bpe"] = "continued-bpe"
    """Says which configuration this is."""
    base: str = ""
    """A tokenizer.json or its folder, or another file of byte-level BPE."""
    base_pattern: str = ""
    """How the base splits text, where it does not say: a pattern's name, or the regular expression."""
    tokens: TokensTable = TokensTable()
    languages: LanguagesTable = LanguagesTable()


class ReplaceTable(Config):
    """What makes room for new tokens, and how much it may cost."""

    make_room: Literal["unused", "residual"] = "unused"
    """Which ids are given away: of the tokens that the kept languages use least, or of those of the new
    languages' own letters, where `tokens.new` are learnt (residual).
    """
    keep: tuple[str, ...] = ()
    """The languages kept; by default all counted ones that do not learn."""
    max_loss: _Loss = 0.001
    """How many more tokens each kept language may need on held-out text, as 0.001 or 0.1%: it decides how many
    tokens go.
    """


class ReplaceBpeConfig(Config):
    """New tokens in the place of old ones: of `languages`, in a BPE or unigram `base`.

    A unigram base takes no `languages.weighting`: new pieces are on its own scale.
    """

    configuration: Literal["replace-bpe"] = "replace-bpe"
    """Says which configuration this is."""
    base: str = ""
    """The BPE or unigram tokenizer whose tokens are replaced."""
    base_pattern: str = ""
    """How the base splits text, where it does not say: a pattern's name, or the regular expression."""
    replace: ReplaceTable = ReplaceTable()
    tokens: TokensTable = TokensTable()
    languages: LanguagesTable = LanguagesTable()


# --- Reading ---------------------------------------------------------------------------------------

CONFIGURATIONS: Mapping[str, type[Config]] = {
    "shared": _FitConfig,
    "parity": ParityConfig,
    "proportional": ProportionalConfig,
    "two-stage": TwoStageConfig,
    "byte-bpe": ByteBpeConfig,
    "continued-bpe": ContinuedBpeConfig,
    "replace-bpe": ReplaceBpeConfig,
}


def read_configuration(preset: str | Path | Config, settings: Settings = ()) -> Config:
    """Return the configuration of a preset's name, a TOML file, an earlier output or an object, as set.

    Raises `ConfigError`.
    """
    if isinstance(preset, Config):
        return load_preset(type(preset), preset, settings)
    path = find_preset(preset, "fit")
    kind = read_preset_tables(path).get("configuration", "shared")
    if not isinstance(kind, str) or kind not in CONFIGURATIONS:
        what = f"{path}: configuration = {kind!r}: expected one of {', '.join(CONFIGURATIONS)}"
        raise ConfigError(what, "vocabkit presets list")
    _check_options(path, kind, settings)
    return load_preset(CONFIGURATIONS[kind], path, settings)


# What options of `fit` set that not every configuration has.
_OPTIONS = {
    "base": "--base", "base_pattern": "--pattern", "replace.keep": "--keep-languages",
    "replace.max_loss": "--max-loss", "parity.development": "--dev", "parity.field": "--field",
}  # fmt: skip


def _check_options(path: Path, kind: str, settings: Settings) -> None:
    """Raise ConfigError for a setting that is another configuration's, by the option it is given with."""
    given = lay_over({}, settings)
    for key, option in _OPTIONS.items():
        table, _, leaf = key.partition(".")
        takers = [name for name, model in CONFIGURATIONS.items() if table in model.model_fields]
        found = given.get(table, {})
        is_given = table in given and (not leaf or (isinstance(found, Mapping) and leaf in found))
        if is_given and kind not in takers:
            what = f"{path}: {option} ({key}) says nothing to a fit of {kind}"
            raise ConfigError(what, f"leave it out; it is for {', '.join(takers)}")


def load_preset(model: type[Model], preset: str | Path | Config, settings: Settings = ()) -> Model:
    """Return the configuration as `read_configuration` does, where it must be of one kind."""
    if isinstance(preset, Config):
        return validate(model, lay_over(preset.model_dump(), settings), "settings", settings)
    return load_config(model, find_preset(preset, "fit"), settings)
