"""The configuration of a run, as its TOML preset says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vocabkit.core.config import Config
from vocabkit.pretraining.model_config import Layout, ModelConfig
from vocabkit.pretraining.special_ids import SpecialIds

__all__ = [
    "DataSettings", "LanguageSettings", "LogSettings", "ModelSettings", "OptimizerSettings", "RunConfig",
    "SaveSettings", "Stage", "TrainingSettings",
]  # fmt: skip


class ModelSettings(Config):
    """`[model]`: left out entirely where `--checkpoint` gives the shape."""

    layout: Layout = "xlmr"
    layers: int = 12
    width: int = 768
    heads: int = 12
    kv_heads: int | None = None
    feed_forward: int = 3_072
    tied: bool = True
    vocabulary: int | None = None
    norm_epsilon: float = 1e-5
    rope_theta: float = 160_000.0
    local_theta: float = 10_000.0
    local_window: int = 128
    global_every: int = 3
    initial_deviation: float = 0.02

    def shape(self, vocabulary: int, ids: SpecialIds, length: int) -> ModelConfig:
        """The model these settings describe, for a vocabulary and a row length."""
        return ModelConfig(
            **self.model_dump(exclude={"vocabulary"}),
            vocabulary=vocabulary,
            max_length=length,
            begin_id=ids.begin,
            end_id=ids.end,
            pad_id=ids.pad,
            mask_id=ids.mask,
        )


class DataSettings(Config):
    """`[data]`: what is hidden. `masking` is the share of a row's places to predict (masked models)."""

    masking: float = Field(default=0.15, gt=0.0, lt=1.0)
    replace_random: float = Field(default=0.1, ge=0.0, le=1.0)
    keep: float = Field(default=0.1, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _kept_and_replaced(self) -> DataSettings:
        if self.keep + self.replace_random > 1.0:
            raise ValueError(
                f"keep = {self.keep:g} and replace_random = {self.replace_random:g}: "
                "together more than 1"
            )
        return self


class LanguageSettings(Config):
    """`[languages]`: how often each is drawn. `oversampling` multiplies a language's share after weighting.

    `unit`: what a share is a share of: `tokens` or `bytes` (bytes do not favour fragmented languages).
    """

    weighting: Literal["natural", "exponent", "unimax", "uniform", "quota"] = "exponent"
    exponent: float = 0.3
    max_epochs: float = 4.0
    quota: dict[str, float] = Field(default_factory=dict)
    unit: Literal["tokens", "bytes"] = "bytes"
    oversampling: dict[str, float] = Field(default_factory=dict)
    allow_epochs: float = 8.0
    warn_epochs: float = 4.0


class TrainingSettings(Config):
    """`[training]`: one of `steps`, `tokens` or `bytes` is the length of the run.

    `batch_rows` rows make a step over all ranks; a rank takes `micro_rows` of them at a time.
    """

    steps: int | None = None
    tokens: int | None = None
    bytes: int | None = None
    batch_rows: int = Field(default=256, ge=1)
    micro_rows: int = Field(default=32, ge=1)
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    compile: bool = True
    head_rows: int | None = None
    fused_softmax: bool = True
    activation_checkpointing: bool = False
    deterministic: bool = False

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if sum(value is not None for value in (self.steps, self.tokens, self.bytes)) > 1:
            raise ValueError("give one of steps, tokens and bytes")
        return self


class OptimizerSettings(Config):
    """`[optimizer]`: AdamW. `rate` falls to `final` of itself over the last `decay` share of the run."""

    rate: float = Field(default=1e-3, gt=0.0)
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    embedding_weight_decay: float = 0.0
    clip: float = 1.0
    schedule: Literal["trapezoid", "cosine", "linear", "constant"] = "trapezoid"
    warmup: float = Field(default=0.05, ge=0.0, lt=1.0)
    decay: float = Field(default=0.2, ge=0.0, le=1.0)
    final: float = Field(default=0.0, ge=0.0, le=1.0)


class Stage(Config):
    """One `[[stages]]`: what trains for a share of the run, and at which rate relative to `optimizer.rate`.

    `new-rows` needs the receipt of an extension; the rest of the model stands still.
    """

    train: Literal["new-rows", "embeddings", "all"]
    share: float = Field(gt=0.0, le=1.0)
    rate: float = Field(default=1.0, gt=0.0)


class LogSettings(Config):
    """`[log]`: every so many steps."""

    every: int = Field(default=10, ge=1)
    evaluate_every: int = Field(default=500, ge=0)
    evaluate_rows: int = Field(default=64, ge=1)
    tensorboard: bool = False
    wandb: bool = False


class SaveSettings(Config):
    """`[save]`: a checkpoint every so many steps and minutes; `keep` of them stay."""

    every: int = Field(default=1_000, ge=1)
    minutes: float = Field(default=30.0, gt=0.0)
    keep: int = Field(default=2, ge=1)


class RunConfig(Config):
    """A whole preset."""

    pretrain: Literal["run"] = "run"
    model: ModelSettings | None = None
    data: DataSettings = DataSettings()
    languages: LanguageSettings = LanguageSettings()
    training: TrainingSettings = TrainingSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    stages: tuple[Stage, ...] = ()
    log: LogSettings = LogSettings()
    save: SaveSettings = SaveSettings()

    @model_validator(mode="after")
    def _shares(self) -> RunConfig:
        if self.stages and abs(sum(stage.share for stage in self.stages) - 1.0) > 1e-9:
            raise ValueError("the shares of stages must sum to 1")
        return self
