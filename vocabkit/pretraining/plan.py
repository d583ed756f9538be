"""A run before it starts: how long, what is drawn how often, and what it will cost.

It is what `--dry-run` prints and what `plan.json` keeps. Figures of memory and time are estimates and say what
they assume.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from vocabkit.core.errors import ConfigError
from vocabkit.pretraining.budget import (
    Arithmetic,
    Memory,
    Parameters,
    count_flops,
    count_parameters,
    estimate_memory,
    find_peak,
)
from vocabkit.pretraining.errors import PretrainingError
from vocabkit.pretraining.model_config import ModelConfig
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.quotas import SamplingPlan, plan_languages
from vocabkit.pretraining.run_config import RunConfig

__all__ = ["ASSUMED_MFU", "RunPlan", "check_fit", "plan_run"]

ASSUMED_MFU = 0.4
"""Share of the peak that estimates of time take for granted; the loop reports the real one."""
_ROUNDS = 16


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will be.

    `tokens` (of text) and `bytes` (of original text) are expected over the run, None without data, as is
    `languages`; `places` counts every place of every row. `seconds` is None where the device's peak is not
    known. `warnings` are sentences for the user.
    """

    steps: int
    samples: int
    places: int
    tokens: int | None
    bytes: int | None
    languages: SamplingPlan | None
    parameters: Parameters
    flops_per_token: Arithmetic
    memory: Memory
    device: str | None
    world: int
    seconds: float | None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return plain data for plan.json, with what the estimates assume."""
        flops = {**asdict(self.flops_per_token), "total": self.flops_per_token.total}
        return {
            "steps": self.steps,
            "samples": self.samples,
            "places": self.places,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "world": self.world,
            "device": self.device,
            "parameters": {**asdict(self.parameters), "total": self.parameters.total},
            "flops_per_token": flops,
            "flops": flops["total"] * self.places,
            "memory_per_device": self.memory.to_json(),
            "seconds": self.seconds,
            "assumed_mfu": ASSUMED_MFU if self.seconds is not None else None,
            "sampling": None if self.languages is None else self.languages.to_json(),
            "warnings": list(self.warnings),
        }


def plan_run(
    config: RunConfig,
    corpus: PreparedCorpus | None,
    model: ModelConfig,
    world: int = 1,
    *,
    device: str | None = None,
    refuse: bool = True,
) -> RunPlan:
    """Return the plan of a run over a corpus; without one, of a preset whose rows are `model.max_length` long.

    `device` is its name, as CUDA tells it. Raises ConfigError where the length of the run cannot be known, and
    what `check_fit` and `plan_languages` raise; `refuse` is passed on to the latter.
    """
    length = model.max_length if corpus is None else corpus.length
    if corpus is None:
        steps, languages = _count_steps(config, float(length), None), None
    else:
        check_fit(model, corpus)
        steps, languages = _settle(config, corpus, refuse)
    samples = steps * config.training.batch_rows
    places = samples * length
    flops = count_flops(model, length, config.data.masking)
    peak = find_peak(device)
    return RunPlan(
        steps,
        samples,
        places,
        None if languages is None else round(samples * languages.tokens_per_row),
        None if languages is None else round(samples * languages.bytes_per_row),
        languages,
        count_parameters(model),
        flops,
        estimate_memory(model, config.training, length, config.data.masking, world),
        device,
        world,
        None if peak is None else flops.total * places / (peak * ASSUMED_MFU * world),
        () if languages is None else tuple(languages.warnings()),
    )


def check_fit(model: ModelConfig, corpus: PreparedCorpus) -> None:
    """Raise PretrainingError for a model that cannot be trained on a corpus: ids, row length, mask token."""
    if model.vocabulary < corpus.vocabulary:
        raise PretrainingError(
            f"a model of {model.vocabulary:,} ids and data of {corpus.vocabulary:,}: "
            f"{corpus.folder} was prepared with another tokenizer",
            "prepare the corpus with the model's own tokenizer",
        )
    if model.max_length < corpus.length:
        raise PretrainingError(
            f"rows of {corpus.length} tokens: the model has positions for {model.max_length}",
            f"prepare with --length {model.max_length}",
        )
    if not model.causal and corpus.special.mask is None:
        raise PretrainingError(
            f"{corpus.folder}: its tokenizer has no mask token, which layout {model.layout} needs",
            "use layout llama, or a tokenizer with a mask token",
        )


def _settle(config: RunConfig, corpus: PreparedCorpus, refuse: bool) -> tuple[int, SamplingPlan]:
    """Return the steps and the languages that fit each other.

    A length in tokens or bytes is a number of samples once it is known what a sample holds, which follows from
    the languages' shares; with UniMax these follow from the number of samples. A few rounds settle both.
    """
    batch = config.training.batch_rows
    splits = [corpus.split(code, "train") for code in corpus.languages]
    rows = max(1, sum(split.rows for split in splits))
    tokens = sum(split.tokens for split in splits) / rows
    size = sum(split.bytes for split in splits) / rows
    steps = _count_steps(config, tokens, size)
    for _ in range(_ROUNDS):
        plan = plan_languages(corpus, config.languages, steps * batch, refuse=False)
        again = _count_steps(config, plan.tokens_per_row, plan.bytes_per_row)
        if again == steps:
            break
        steps = again
    return steps, plan_languages(corpus, config.languages, steps * batch, refuse=refuse)


def _count_steps(config: RunConfig, tokens_per_row: float, bytes_per_row: float | None) -> int:
    """Return the steps that reach the length asked for: at least it, by less than one step."""
    training = config.training
    hint = "--set training.steps=1000"
    if training.steps is not None:
        asked, held = training.steps, 1.0
    elif training.tokens is not None:
        asked, held = training.tokens, tokens_per_row * training.batch_rows
    elif training.bytes is None:
        raise ConfigError("training: none of steps, tokens and bytes says how long to train", hint)
    elif bytes_per_row is None:
        raise ConfigError("training.bytes needs data to say what a row holds", "--data shards/")
    else:
        asked, held = training.bytes, bytes_per_row * training.batch_rows
    if asked < 1:
        raise ConfigError(f"training: a length of {asked}: must be at least 1", hint)
    if not held:
        return 1  # Nothing to train on: `plan_languages` says so in its own words.
    return math.ceil(asked / held)
