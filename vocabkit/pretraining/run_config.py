"""The configuration of a run, as its TOML preset says it, and the shape of a model that follows from it.

Nothing here loads torch: a run is planned where it is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, model_validator

from vocabkit.core.config import Config, find_preset, lay_over, load_config, validate
from vocabkit.core.errors import ConfigError
from vocabkit.corpus.weighting import check_quota
from vocabkit.vocabulary.roles import SpecialIds

# --- What a step computes --------------------------------------------------------------------------
# Rules that training and its estimate share.

_BUDGET = 6 * 10**9
"""Bytes of logits in one chunk on a GPU. Every chunk streams the matrix four times: fewer is faster."""
_CPU_BUDGET = 128 * 10**6
"""On a CPU: 128 rows at 250,000 pieces, the fastest of 32 to 512 at width 256 (2.9 against 3.2–4.2 CPU-s)."""
_ALIGNED = 64


def predicted_per_row(masking: float, length: int) -> int:
    """Return how many positions of a row of a masked model are predicted; at least one."""
    return max(1, round(masking * length))


def choose_chunk_rows(count: int, columns: int, *, cuda: bool, size: int = 4) -> int:
    """Return how many of `count` rows of states the head projects at once onto `columns` pieces.

    On a GPU between 1,024 and 8,192: below, streaming the matrix takes longer than multiplying (at 850,000
    pieces and width 2,048, 16 rows spend 5 % of the time multiplying, 2,048 rows 70 %). Chunks are made
    equal, so that one shape serves all but perhaps the last. `size` is bytes a logit: 4, or what the states
    have where one kernel does without a copy in fp32.
    """
    if cuda:
        # Fewer than 2³¹ numbers: beyond, kernels that count in 32 bits work in pieces, or not at all.
        most = min(8_192, _BUDGET // (columns * size), (2**31 - 1) // columns)
        most = max(1_024, most // _ALIGNED * _ALIGNED)
    else:
        most = max(16, min(4_096, _CPU_BUDGET // (columns * 4)))
    chunks = max(1, -(-count // most))
    rows = -(-count // chunks)
    return -(-rows // _ALIGNED) * _ALIGNED if cuda and chunks > 1 else max(1, rows)


# --- The shape of a model --------------------------------------------------------------------------
# Three layouts, each with a class of transformers that computes the same.

Layout = Literal["xlmr", "modern", "llama"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
_ROW_MULTIPLE = 64
"""Rows of the vocabulary's matrices are padded to this: tensor cores want multiples, 850,000 has one of 16."""


_MOST = {
    "vocabulary": 1 << 26, "width": 1 << 17, "layers": 1 << 12, "heads": 1 << 12, "feed_forward": 1 << 20,
    "max_length": 1 << 24, "local_window": 1 << 24, "global_every": 1 << 12,
}  # fmt: skip
"""Far beyond every model there is: a slip of the keyboard is told, and nothing is laid out for it."""
_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0.0, lt=1.0)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything a model's tensors follow from.

    `xlmr`: post-LN, learned positions (offset 2), biases, GELU; XLMRobertaForMaskedLM.
    `modern`: pre-LN, RoPE, GeGLU, local attention but in every `global_every`-th layer; ModernBertForMaskedLM.
    `llama`: causal, RMSNorm, SwiGLU, RoPE, grouped-query attention; LlamaForCausalLM.

    `vocabulary` is the number of ids; the matrices have `rows` rows. `max_length` is the longest document in
    tokens that positions are made for. `kv_heads` is below `heads` in `llama` only. `local_window` is the
    whole window: half of it on each side. `pad_id` is XLM-R's padding index, whose positions count from it.
    """

    layout: Layout
    vocabulary: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    max_length: int = 512
    kv_heads: int | None = None
    tied: bool = True
    norm_epsilon: float = 1e-5
    rope_theta: float = 160_000.0
    local_theta: float = 10_000.0
    local_window: int = 128
    global_every: int = 3
    initial_deviation: float = 0.02
    begin_id: int = 0
    end_id: int | None = 2
    pad_id: int = 1
    mask_id: int | None = 4

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            known = f"one of: {', '.join(LAYOUTS)}"
            raise ConfigError(f"model.layout = {self.layout!r}: no such layout", known)
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(
                    f"model.{name} = {getattr(self, name)}: must be from 1 to {most:_}",
                    f"for example: --set model.{name}={min(most, 4)}",
                )
        for name in ("begin_id", "end_id", "pad_id", "mask_id"):
            if not 0 <= (getattr(self, name) or 0) < self.vocabulary:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}: the model has {self.vocabulary:_} ids",
                    "name a token of this vocabulary",
                )
        if self.kv_heads is not None and self.kv_heads < 1:
            raise ConfigError(
                f"model.kv_heads = {self.kv_heads}: must be at least 1",
                "leave model.kv_heads out: it is then model.heads",
            )
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(
                f"model.width = {self.width} and model.heads = {self.heads}: "
                "a head's width must be a whole, even number",
                f"for example: --set model.width={self.heads * 64}",
            )
        if self.heads % self.key_value_heads or (self.key_value_heads != self.heads and self.layout != "llama"):
            raise ConfigError(
                f"model.kv_heads = {self.kv_heads}: must divide {self.heads} heads, "
                "and only llama shares keys and values",
                "leave model.kv_heads out: it is then model.heads",
            )

    @property
    def causal(self) -> bool:
        """Whether a position sees only those before it and predicts the next token."""
        return self.layout == "llama"

    @property
    def rows(self) -> int:
        """Rows of the vocabulary's matrices: the vocabulary, rounded up to a multiple of 64."""
        return -(-self.vocabulary // _ROW_MULTIPLE) * _ROW_MULTIPLE

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def head_width(self) -> int:
        """Columns of one attention head."""
        return self.width // self.heads


# --- The tables of a preset ------------------------------------------------------------------------


class ModelSettings(Config):
    """`[model]`: left out entirely where `--checkpoint` gives the shape."""

    layout: Layout = "xlmr"
    """Which kind of model: XLM-R's or ModernBERT's, masked, or Llama's, causal."""
    layers: int = Field(default=12, ge=1, le=_MOST["layers"])
    """Number of layers."""
    width: int = Field(default=768, ge=1, le=_MOST["width"])
    """Columns of a hidden state."""
    heads: int = Field(default=12, ge=1, le=_MOST["heads"])
    """Attention heads of a layer."""
    kv_heads: int | None = None
    """Heads of keys and values, of llama; by default as many as heads."""
    feed_forward: int = Field(default=3_072, ge=1, le=_MOST["feed_forward"])
    """Columns between the matrices of a feed-forward layer."""
    tied: bool = True
    """Whether the head has the embedding's matrix."""
    vocabulary: int | None = Field(default=None, ge=1, le=_MOST["vocabulary"])
    """Number of ids, for a plan without data."""
    norm_epsilon: _Positive = 1e-5
    """What norms add before they take a root."""
    rope_theta: _Positive = 160_000.0
    """The base of rotary positions."""
    local_theta: _Positive = 10_000.0
    """The same in layers of local attention, of modern."""
    local_window: int = 128
    """Positions that local attention sees, half of them on each side."""
    global_every: int = 3
    """One in so many layers sees all positions, of modern."""
    initial_deviation: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.02
    """Standard deviation of new weights."""

    def shape(self, vocabulary: int, ids: SpecialIds, length: int) -> ModelConfig:
        """Return the model these settings describe, for a vocabulary and a row length."""
        return ModelConfig(
            **self.model_dump(exclude={"vocabulary"}), vocabulary=vocabulary, max_length=length,
            begin_id=ids.begin, end_id=ids.end, pad_id=ids.pad, mask_id=ids.mask,
        )  # fmt: skip


class DataSettings(Config):
    """`[data]`: what is hidden."""

    masking: float = Field(default=0.15, gt=0.0, lt=1.0)
    """The share of a row's places to predict, of masked models."""
    replace_random: float = Field(default=0.1, ge=0.0, le=1.0)
    """The share of these that get a random piece."""
    keep: float = Field(default=0.1, ge=0.0, le=1.0)
    """The share of these that stay; the rest become the mask."""

    @model_validator(mode="after")
    def _kept_and_replaced(self) -> DataSettings:
        if self.keep + self.replace_random > 1.0:
            raise ValueError(
                f"keep = {self.keep:g} and replace_random = {self.replace_random:g}: together more than 1"
            )
        return self


class LanguageSettings(Config):
    """`[languages]`: how often each is drawn."""

    weighting: Literal["natural", "exponent", "unimax", "uniform", "quota"] = "exponent"
    """What share each gets: its own, one raised to `exponent`, one as even as `max_epochs` allows, an equal
    one, or `quota`'s.
    """
    exponent: _Finite = 0.3
    """The power of `weighting = "exponent"`: 1 leaves shares as they are, 0 makes them equal."""
    max_epochs: _Finite = 4.0
    """How often unimax may read a language's text."""
    quota: dict[str, _Finite] = Field(default_factory=dict)
    """The share of every language, by code; they sum to 1."""
    unit: Literal["tokens", "bytes"] = "bytes"
    """What a share is a share of: bytes do not favour languages that a vocabulary cuts up."""
    oversampling: dict[str, float] = Field(default_factory=dict)
    """A factor for a language's share after weighting, by code."""
    allow_epochs: _Finite = 8.0
    """Reading a language's text more often is an error."""
    warn_epochs: _Finite = 4.0
    """Reading a language's text more often is a warning."""

    @model_validator(mode="after")
    def _used_and_whole(self) -> LanguageSettings:
        check_quota(self.weighting, self.quota)
        return self


_LONGEST = 1 << 53
MOST_ROWS = 1 << 20
"""Rows of a step: beyond, not even their numbers fit beside a model."""


class TrainingSettings(Config):
    """`[training]`: one of `steps`, `tokens` or `bytes` is the length of the run."""

    steps: int | None = Field(default=None, le=_LONGEST)
    """Length of the run in steps."""
    tokens: int | None = Field(default=None, le=_LONGEST)
    """Length of the run in tokens."""
    bytes: int | None = Field(default=None, le=_LONGEST)
    """Length of the run in bytes of original text."""
    batch_rows: int = Field(default=256, ge=1, le=MOST_ROWS)
    """Rows of a step over all ranks."""
    batch_bytes: int | None = Field(default=None, ge=1, le=_LONGEST)
    """In place of `batch_rows`: bytes of original text a step, on average."""
    micro_rows: int = Field(default=32, ge=1, le=MOST_ROWS)
    """Rows that a rank takes at a time: it changes speed and memory alone."""
    seed: int = Field(default=0, ge=-_LONGEST, le=_LONGEST)
    """Seed of weights, order, masks and dropout."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """What layers compute in; fp32 for the CPU."""
    compile: bool = True
    """Whether layers are compiled."""
    head_rows: int | None = Field(default=None, ge=1, le=_LONGEST)
    """Predictions whose logits are held at once; by default as memory allows."""
    fused_softmax: bool = True
    """Whether one kernel does the softmax of the head, on a GPU that has it."""
    activation_checkpointing: bool = False
    """Whether layers are computed again, not kept: less memory, about a third more time."""
    deterministic: bool = False
    """Whether kernels that may give other bits from run to run are refused."""

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if sum(value is not None for value in (self.steps, self.tokens, self.bytes)) > 1:
            raise ValueError("give one of steps, tokens and bytes")
        return self


class OptimizerSettings(Config):
    """`[optimizer]`: AdamW."""

    rate: _Positive = 1e-3
    """The peak learning rate."""
    betas: tuple[_Share, _Share] = (0.9, 0.98)
    """How much of the averages of a gradient and of its square a step keeps."""
    epsilon: _Positive = 1e-6
    """What is added before a step is divided by the root of the second."""
    weight_decay: _Finite = 0.01
    """Decay of all matrices but the vocabulary's."""
    embedding_weight_decay: _Finite = 0.0
    """Decay of the vocabulary's matrices, whose rare rows would shrink between visits."""
    clip: _Finite = 1.0
    """The longest gradient that is taken as it is; 0 clips nothing."""
    schedule: Literal["trapezoid", "cosine", "linear", "constant"] = "trapezoid"
    """How the rate goes between its rise and its end."""
    warmup: float = Field(default=0.05, ge=0.0, lt=1.0)
    """The share of the run over which the rate rises."""
    decay: float = Field(default=0.2, ge=0.0, le=1.0)
    """The share of the run, at its end, over which the rate falls."""
    final: float = Field(default=0.0, ge=0.0, le=1.0)
    """What it falls to, as a share of itself."""


class Stage(Config):
    """One `[[stages]]`: what trains for a share of the run, and at which rate."""

    train: Literal["new-rows", "embeddings", "all"]
    """What moves while all else stands still; new-rows needs the receipt of an extension."""
    share: float = Field(gt=0.0, le=1.0)
    """The share of the run; those of all stages sum to 1."""
    rate: _Positive = 1.0
    """The rate, as a share of `optimizer.rate`."""


class LogSettings(Config):
    """`[log]`: what is said of a run."""

    every: int = Field(default=10, ge=1, le=_LONGEST)
    """Steps from one line of the log to the next."""
    evaluate_every: int = Field(default=500, ge=0, le=_LONGEST)
    """Steps from one look at held-out text to the next; 0 looks at the end alone."""
    evaluate_rows: int = Field(default=64, ge=1, le=_LONGEST)
    """Held-out rows of each language that are scored."""
    tensorboard: bool = False
    """Whether the log goes to TensorBoard as well."""
    wandb: bool = False
    """Whether the log goes to Weights & Biases as well."""


class SaveSettings(Config):
    """`[save]`: when a checkpoint is written."""

    every: int = Field(default=1_000, ge=1, le=_LONGEST)
    """Steps from one checkpoint to the next."""
    minutes: _Positive = 30.0
    """Minutes after which there is one whatever the steps."""
    keep: int = Field(default=2, ge=1, le=_LONGEST)
    """How many checkpoints stay."""
    before_decay: bool = True
    """Whether one more stays, the last before a `trapezoid` falls, from which a run is made longer."""


class RunConfig(Config):
    """A whole preset."""

    pretrain: Literal["run"] = "run"
    """Says that this is the configuration of a run."""
    model: ModelSettings | None = None
    data: DataSettings = DataSettings()
    languages: LanguageSettings = LanguageSettings()
    training: TrainingSettings = TrainingSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    stages: tuple[Stage, ...] = ()
    """Stages that follow each other; without any, all trains from start to end."""
    log: LogSettings = LogSettings()
    save: SaveSettings = SaveSettings()

    @model_validator(mode="after")
    def _shares(self) -> RunConfig:
        if self.stages and abs(sum(stage.share for stage in self.stages) - 1.0) > 1e-9:
            raise ValueError("the shares of stages must sum to 1")
        return self


# --- The schedule ----------------------------------------------------------------------------------
# Where the rate stands still, a step does not tell how long its run is: that is what makes a run longer.


def count_falling_steps(settings: OptimizerSettings, ramp: int, steps: int) -> int:
    """Return over how many of the last of `steps` the rate falls; 0 where it never does. `ramp` is warm-up."""
    if settings.schedule == "constant":
        return 0
    return max(0, round(settings.decay * steps) if settings.schedule == "trapezoid" else steps - ramp)


def count_level_steps(settings: OptimizerSettings, ramp: int, steps: int) -> int:
    """Return how many first steps of a run have the rate that they have in any longer one of equal warm-up.

    >>> count_level_steps(OptimizerSettings(schedule="trapezoid", decay=0.2), 5, 100)
    81
    """
    falling = count_falling_steps(settings, ramp, steps)
    # The first step of the fall still has the whole rate.
    return steps if not falling or settings.final == 1.0 else steps - falling + 1


# --- Reading a preset ------------------------------------------------------------------------------
# A preset proposes; settings, the data and the checkpoint decide.

LENGTHS = ("steps", "tokens", "bytes")
"""Keys of [training], of which one says how long a run is."""


class _Tables(Config):
    """A TOML file as it stands."""

    model_config = ConfigDict(frozen=True, extra="allow")


def read_preset(
    preset: str | Path | RunConfig,
    settings: Sequence[str] = (),
    *,
    has_data: bool = False,
    has_checkpoint: bool = False,
) -> RunConfig:
    """Read a preset (`tiny`), a TOML file or the configuration of an earlier run, and lay settings over it.

    A length given in `settings` (training.steps, .tokens or .bytes) replaces the preset's, whichever of the
    three that is. With a checkpoint the preset's [model] is left out, and with data its vocabulary, since these
    say it themselves; what a setting names stays, to be refused where it does not fit, and so does all that a
    `RunConfig` says. Raises `ConfigError`.
    """
    if isinstance(preset, RunConfig):
        tables, source = lay_over(preset.model_dump(exclude_none=True), settings), "configuration"
        has_data = has_checkpoint = False
    else:
        path = find_preset(preset, "pretrain")
        tables, source = dict(load_config(_Tables, path, settings).model_extra or {}), str(path)
    keys = {text.partition("=")[0].strip() for text in settings}
    given = [length for length in LENGTHS if f"training.{length}" in keys]
    dropped = [length for length in LENGTHS if given and length not in given]
    if "training.batch_rows" in keys and "training.batch_bytes" not in keys:
        dropped.append("batch_bytes")  # of the two the one that is asked for here
    tables = _without(tables, "training", dropped)
    if has_checkpoint and not any(key.partition(".")[0] == "model" for key in keys):
        tables.pop("model", None)
    elif has_data and "model.vocabulary" not in keys:
        tables = _without(tables, "model", ["vocabulary"])
    return validate(RunConfig, tables, source, settings)


def _without(tables: dict[str, Any], name: str, keys: Sequence[str]) -> dict[str, Any]:
    """The tables, one of them without some keys."""
    table = tables.get(name)
    if not isinstance(table, dict):
        return tables
    return {**tables, name: {key: value for key, value in table.items() if key not in keys}}
