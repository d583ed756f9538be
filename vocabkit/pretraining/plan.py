"""A run before it starts: how long, what is drawn how often, and what it will cost.

It is what `--dry-run` prints and what `plan.json` keeps. Figures of memory and time are estimates and say what
they assume. From which names a plan is made is in `run_start`.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from vocabkit.core.arrays import Float64Array
from vocabkit.core.errors import ConfigError, PretrainingError
from vocabkit.core.languages import resolve_codes, resolve_keys
from vocabkit.core.progress import write_duration
from vocabkit.core.results import Result
from vocabkit.corpus.weighting import OVERSAMPLING_WARNING, weigh_languages
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.run_config import (
    MOST_ROWS,
    LanguageSettings,
    ModelConfig,
    RunConfig,
    TrainingSettings,
    choose_chunk_rows,
    predicted_per_row,
)

# --- Devices ---------------------------------------------------------------------------------------
# What a device can do at most, as its maker says it: dense bf16, 10⁹ bytes a GB. None of these figures is
# measured here. A CPU's is: nobody publishes it for the machine at hand.

_PUBLISHED = {
    "b200": (180, 2_250), "gh200": (96, 989), "h200": (141, 989), "h100-nvl": (94, 835), "h100-pcie": (80, 756),
    "h100": (80, 989), "a100-80gb": (80, 312), "a100-40gb": (40, 312), "l40s": (48, 362), "l4": (24, 121),
    "a10": (24, 125), "rtx-4090": (24, 165), "rtx-3090": (24, 71),
}  # fmt: skip
"""GB of memory and dense bf16 TFLOP/s by name; the dashed parts of a name are words of the one CUDA says."""
_TRIED = 1_024
"""Rows and columns of the matrices that a CPU multiplies to be measured: 2.1 GFLOP."""
_TRIAL_SECONDS = 0.2
_MOST_DEVICES = 1 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """What a run is planned for: `memory` in bytes and `peak` in FLOP/s, None where not known.

    `source` says where these are from: `published` by the maker, or `measured` here.
    """

    name: str
    memory: int | None = None
    peak: float | None = None
    source: str = "published"


def identify_device(name: str, memory: int | None = None) -> Device:
    """Return the device that CUDA gives a name, with its own memory where that is known.

    >>> identify_device("NVIDIA H100 80GB HBM3").peak
    989000000000000.0
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    for known in sorted(_PUBLISHED, key=lambda key: (-key.count("-"), key)):
        if words.issuperset(known.split("-")):
            size, peak = _PUBLISHED[known]
            return Device(name, memory or size * 10**9, peak * 1e12)
    # An A100 of another size has the same cores.
    return Device(name, memory, _PUBLISHED["a100-80gb"][1] * 1e12 if "a100" in words else None)


def parse_device(text: str) -> tuple[Device, int]:
    """Return the device that `h200:8` names, and how many of it. Raises ConfigError for one not known.

    >>> parse_device("h200:8")[1]
    8
    """
    name, colon, count = text.strip().lower().replace("_", "-").replace(" ", "-").partition(":")
    if name not in _PUBLISHED:
        near = [known for known in _PUBLISHED if name and known.startswith(name)]
        near = near or difflib.get_close_matches(name, _PUBLISHED, n=2, cutoff=0.5)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(
            f"--device {text}: {name!r} is none of the devices whose figures are known",
            f"{meant}Known are cpu, cuda (this machine's) and {', '.join(_PUBLISHED)}; eight: h200:8",
        )
    if colon and not (count.isascii() and count.isdigit() and 1 <= int(count) <= _MOST_DEVICES):
        raise ConfigError(f"--device {text}: {count!r} is no number of devices", f"--device {name}:8")
    size, peak = _PUBLISHED[name]
    return Device(name, size * 10**9, peak * 1e12), int(count or 1)


def measure_cpu() -> Device:
    """Return this machine's CPU: its memory, and the float32 arithmetic that it does, measured in 0.2 s."""
    matrix = np.ones((_TRIED, _TRIED), np.float32)
    best, began = math.inf, time.perf_counter()
    while time.perf_counter() - began < _TRIAL_SECONDS or best == math.inf:
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    memory: int | None = None
    with suppress(AttributeError, ValueError, OSError):  # Windows does not say it so
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device(f"this CPU, {os.cpu_count()} cores", memory, 2.0 * _TRIED**3 / best, "measured")


# --- Cost ------------------------------------------------------------------------------------------
# Parameters are exact. Arithmetic counts matrix products, twice as much backward as forward, and the head on
# predicted positions only: what is needed, not what an implementation may waste. Memory is an estimate, and so
# is time, which rests on an assumed share of the device's peak.
#
# Attention is counted over whole rows (half of them for causal models, the window where it is local); packed
# documents are shorter, which overstates the whole by at most attention's share, a tenth in `multi-s`.


class _Figures:
    """Figures that add up."""

    @property
    def total(self) -> Any:
        """The sum of all."""
        return sum(astuple(cast(Any, self)))


@dataclass(frozen=True, slots=True)
class Parameters(_Figures):
    """`embedding` counts the vocabulary's matrices, padded rows included; `body` all else."""

    body: int
    embedding: int


@dataclass(frozen=True, slots=True)
class Arithmetic(_Figures):
    """FLOPs forward and backward for one token of the input, spread over the places that are predicted."""

    body: float
    attention: float
    head: float


@dataclass(frozen=True, slots=True)
class Memory(_Figures):
    """Bytes on one device.

    `states`: parameters, gradients and both moments, fp32, shared out over the devices. `copies`: parameters
    in the type of the computation. `head`: one chunk of logits, the output matrix cast, and its gradient while
    it adds up. `activations`: what layers keep for the backward pass of one micro-batch.
    """

    states: int
    copies: int
    head: int
    activations: int


def _count_parameters(config: ModelConfig) -> Parameters:
    """Return the parameters of a model, exactly as `model.Model` allocates them."""
    width, inner, layers = config.width, config.feed_forward, config.layers
    matrices = layers * _layer_products(config)
    embedding = config.rows * width * (1 if config.tied else 2)
    if config.layout == "llama":
        return Parameters(matrices + layers * 2 * width + width, embedding)
    if config.layout == "modern":
        # Norms have no bias and the first layer has one; input, final and head norm; head; output bias.
        norms = (2 * layers - 1 + 3) * width
        return Parameters(matrices + norms + width * width + config.rows, embedding)
    biases = layers * (3 * width + width + inner + width)
    norms = layers * 4 * width + 4 * width
    places = (config.max_length + config.pad_id + 1 + 1) * width
    head = width * width + width + config.rows
    return Parameters(matrices + biases + norms + places + head, embedding)


def _count_flops(config: ModelConfig, length: int, masking: float) -> Arithmetic:
    """Return FLOPs a token in rows of `length`, `masking` of whose places are predicted (all, if causal).

    6 FLOPs a weight and token: 2 forward, 4 backward. Attention 12 · width · places seen, a layer.
    """
    rate = 1.0 if config.causal else predicted_per_row(masking, length) / length
    seen = 0.0
    for layer in range(config.layers):
        local = config.layout == "modern" and layer % config.global_every != 0
        seen += min(config.local_window, length) if local else length
    seen *= 0.5 if config.causal else 1.0
    head = config.vocabulary * config.width + (0 if config.causal else config.width**2)
    body = 6.0 * config.layers * _layer_products(config)
    return Arithmetic(body, 12.0 * config.width * seen, 6.0 * head * rate)


def _estimate_memory(
    config: ModelConfig,
    training: TrainingSettings,
    length: int,
    masking: float,
    world: int = 1,
    rows: int | None = None,
) -> Memory:
    """Return bytes on each of `world` devices, which take `rows` rows a step together (`training.batch_rows`).

    A layer keeps about 18 · width + 4 · feed_forward values' worth of bytes in bf16 for each token, 8 ·
    feed_forward where it is gated; recomputing keeps its input alone, and one layer's insides at a time.
    """
    size = 2 if training.precision == "bf16" else 4
    found = _count_parameters(config)
    layer = _layer_products(config)
    copies = 0 if size == 4 else size * found.total
    if world > 1:
        # The root's parameters stay gathered, and those of two layers at a time.
        copies = size * (found.embedding + 2 * layer)
    tokens = min(training.micro_rows, -(-(rows or training.batch_rows) // world)) * length
    inner = (4 if config.layout == "xlmr" else 8) * config.feed_forward
    kept = (18 * config.width + inner) * tokens * size // 2
    if training.activation_checkpointing:
        activations = config.layers * config.width * size * tokens + kept
    else:
        activations = config.layers * kept
    predicted = tokens if config.causal else tokens // length * predicted_per_row(masking, length)
    chosen = choose_chunk_rows(predicted, config.rows, cuda=True, size=size)
    most = training.head_rows or chosen
    head = config.rows * (min(most, predicted) * size + config.width * (size + 4))
    return Memory(-(-16 * found.total // world), copies, head, activations)


def estimate_mfu(
    flops_per_token: float, tokens_per_second: float, device: Device | None, world: int = 1
) -> float | None:
    """Return the share of the devices' peak that needed arithmetic takes; None where no peak is known.

    `tokens_per_second` is over all `world` devices.
    """
    peak = None if device is None else device.peak
    return None if peak is None else flops_per_token * tokens_per_second / (peak * world)


def _layer_products(config: ModelConfig) -> int:
    """Return the weights of one layer's matrices."""
    together = (config.heads + 2 * config.key_value_heads) * config.head_width
    feeds = 2 if config.layout == "xlmr" else 3
    return config.width * (together + config.width + feeds * config.feed_forward)


# --- Languages -------------------------------------------------------------------------------------
# How often each is drawn. A weighting gives every language a share of the text drawn, in tokens or in bytes of
# original text; a factor may raise a language's share; shares of text become shares of rows by what a row of
# the language holds. Bytes are the default: a share of tokens favours languages whose words fall into many
# pieces.
#
# Repeating text up to about four times costs little, and by sixteen times adds little (arXiv 2305.16264);
# above `warn_epochs` is reported, above `allow_epochs` refused. UniMax's bound counts epochs of the run itself.

_UNLIMITED = 1e300
"""A language's weight against its natural share is not clipped here: its epochs are what is bounded."""
_QUOTA_ROUNDS = 50
_NAMED = 6
"""Languages that a warning names."""


@dataclass(frozen=True, slots=True)
class LanguagePlan:
    """One language's row.

    `rows`, `tokens` (of text) and `bytes` are what there is; `share_of_rows`, `share_of_tokens` and
    `share_of_bytes` are of what is drawn over the run, `samples` how many rows that is, within one, and
    `epochs` how often it passes over the language's rows. `weight` is its share of the text drawn ÷ its share
    of the text there is; `oversampling` the factor asked for. `first_repeat` is the sample at which a row first
    comes again, within a block of the order; None when none does.
    """

    language: str
    rows: int
    tokens: int
    bytes: int
    share_of_rows: float
    share_of_tokens: float
    share_of_bytes: float
    samples: int
    epochs: float
    weight: float
    oversampling: float
    first_repeat: int | None
    note: str


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """The languages of a corpus, in its order, for a run of `samples` rows; shares sum to one."""

    rows: tuple[LanguagePlan, ...]
    settings: LanguageSettings
    samples: int

    @property
    def shares(self) -> Float64Array:
        """Share of samples of each language, float64[n]."""
        return np.array([row.share_of_rows for row in self.rows], dtype=np.float64)

    def average(self, unit: Literal["tokens", "bytes"]) -> float:
        """Return the tokens of text, or the bytes of original text, that a sample holds on average."""
        return math.fsum(row.share_of_rows * getattr(row, unit) / row.rows for row in self.rows if row.rows)

    def find_refusal(self) -> PretrainingError | None:
        """Return the error of a run that repeats a language more often than is allowed, else None."""
        allowed = self.settings.allow_epochs
        over = {row.language: row.epochs for row in self.rows if row.epochs > allowed}
        if not over:
            return None
        hint = f"--allow-epochs {math.ceil(max(over.values()))}  # or a shorter run"
        # Another weighting helps only where the text as a whole is not read too often.
        whole = self.samples / sum(row.rows for row in self.rows)
        if whole < allowed and self.settings.weighting != "unimax":
            hint += ", or --set languages.weighting=unimax"
        return PretrainingError(
            f"the run repeats the text of {len(over)} of {len(self.rows)} languages more than "
            f"{allowed:g} times: {_name_worst(over)}",
            hint,
        )

    def warnings(self) -> list[str]:
        """Return one sentence for each thing to know before training."""
        found, limit, most = [], self.settings.warn_epochs, OVERSAMPLING_WARNING
        if often := {row.language: row.epochs for row in self.rows if row.epochs > limit}:
            found.append(f"repeated more than {limit:g} times: {_name_worst(often)}")
        if raised := {row.language: row.oversampling for row in self.rows if row.oversampling > most}:
            found.append(f"oversampled more than {most:g}×: {_name_worst(raised)}")
        empty = [row.language for row in self.rows if not row.rows]
        if empty:
            found.append(f"no text to train on, never drawn: {', '.join(empty)}")
        return found

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language for a table."""
        return [asdict(row) for row in self.rows]

    def to_json(self) -> dict[str, object]:
        """Return plain data for plan.json."""
        return {
            "samples": self.samples,
            "settings": self.settings.model_dump(mode="json"),
            "languages": self.to_rows(),
            "warnings": self.warnings(),
        }


def _name_worst(times: Mapping[str, float]) -> str:
    """The languages with the highest figures: a table says the rest, a warning must be read."""
    worst = sorted(times, key=lambda code: (-times[code], code))
    named = ", ".join(f"{code} {times[code]:,.1f}×" for code in worst[:_NAMED])
    return named + (f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else "")


def _plan_languages(corpus: PreparedCorpus, settings: LanguageSettings, samples: int) -> SamplingPlan:
    """Return how often each language of a corpus is drawn in a run of `samples` rows.

    Raises ConfigError for settings that cannot be met, PretrainingError for a corpus without text.
    """
    splits = {code: corpus.split(code, "train") for code in corpus.languages}
    masses = {
        code: float(getattr(split, settings.unit))
        for code, split in splits.items()
        if split.rows and getattr(split, settings.unit)
    }
    if not masses:
        hint = "vocabkit prepare CORPUS --held-out 0.02"
        raise PretrainingError(f"{corpus.folder}: no rows to train on", hint)
    tables = {
        "quota": resolve_keys(settings.quota, splits),
        "oversampling": resolve_keys(settings.oversampling, splits),
    }
    settings = settings.model_copy(update=tables)
    _check_settings(settings, tuple(splits), masses)
    per_row = {code: mass / splits[code].rows for code, mass in masses.items()}
    text = _share_text(masses, per_row, settings, samples)
    total = math.fsum(text[code] / per_row[code] for code in masses)
    shares = {code: text[code] / per_row[code] / total for code in masses}
    natural = math.fsum(masses.values())
    of_tokens, of_bytes = (
        _share_drawn({c: share * getattr(splits[c], unit) / splits[c].rows for c, share in shares.items()})
        for unit in ("tokens", "bytes")
    )
    rows = []
    for code, split in splits.items():
        share = shares.get(code, 0.0)
        drawn = share * samples
        rows.append(
            LanguagePlan(
                code, split.rows, split.tokens, split.bytes, share,
                of_tokens.get(code, 0.0), of_bytes.get(code, 0.0), round(drawn),
                drawn / split.rows if share else 0.0, text[code] * natural / masses[code] if share else 0.0,
                settings.oversampling.get(code, 1.0), int(split.rows / share) if drawn > split.rows else None,
                "" if share else "no text to train on",
            )
        )  # fmt: skip
    return SamplingPlan(tuple(rows), settings, samples)


def _share_drawn(drawn: Mapping[str, float]) -> dict[str, float]:
    """Return each language's share of what is drawn."""
    whole = math.fsum(drawn.values())
    return {code: part / whole if whole else 0.0 for code, part in drawn.items()}


def _share_text(
    masses: Mapping[str, float], per_row: Mapping[str, float], settings: LanguageSettings, samples: int
) -> dict[str, float]:
    """Return shares of the text drawn, which sum to one.

    UniMax caps a language at so many epochs of the budget, which is the text of the run: what `samples` rows
    hold, and that depends on the shares. Starting from the average row, the two settle within a few rounds.
    """
    total = math.fsum(masses.values())
    budget = samples * total / math.fsum(masses[code] / per_row[code] for code in masses)
    text: dict[str, float] = {}
    for _ in range(_QUOTA_ROUNDS if settings.weighting == "unimax" else 1):
        # `weigh_languages` takes the corpus for the budget: the cap is put in its terms. A run that every
        # language's cap together cannot fill comes out natural, and its epochs are reported like any other's.
        cap = max(1.0, settings.max_epochs * total / budget)
        weights = weigh_languages(
            masses, settings.weighting, exponent=settings.exponent, max_epochs=cap,
            quota=settings.quota, limit=_UNLIMITED,
        )  # fmt: skip
        factors = settings.oversampling
        raised = {row.language: row.target_share * factors.get(row.language, 1.0) for row in weights.rows}
        whole = math.fsum(raised.values())
        text = {code: share / whole for code, share in raised.items()}
        drawn = samples / math.fsum(text[code] / per_row[code] for code in masses)
        if abs(drawn - budget) <= 1e-12 * budget:
            break
        budget = drawn
    return text


def _check_settings(settings: LanguageSettings, codes: tuple[str, ...], masses: Mapping[str, float]) -> None:
    known = f"the data has: {', '.join(codes)}"
    for code, factor in settings.oversampling.items():
        if code not in codes:
            raise ConfigError(f"languages.oversampling names {code}, which is not in the data", known)
        if not (math.isfinite(factor) and factor > 0.0):
            raise ConfigError(
                f"languages.oversampling.{code} = {factor}: must be positive",
                f"for example: --set languages.oversampling.{code}=2",
            )
    if settings.weighting == "quota":
        if unknown := sorted(set(settings.quota) - set(masses)):
            resolve_codes(unknown, masses, beyond=True)  # a name that is no language's has its nearest named
            names = ", ".join(unknown)
            raise ConfigError(f"languages.quota names what has no rows to train on: {names}", known)
        if missing := sorted(set(masses) - set(settings.quota)):
            raise ConfigError(
                f"languages.quota has no share for: {', '.join(missing)}",
                "give every language of the data a share, or prepare fewer with --languages",
            )
    if not (math.isfinite(settings.max_epochs) and settings.max_epochs > 0.0):
        raise ConfigError(
            f"languages.max_epochs = {settings.max_epochs}: must be positive",
            "for example: --set languages.max_epochs=4",
        )


# --- The plan of a run -----------------------------------------------------------------------------

_ASSUMED_MFU = 0.4
"""Share of the peak that estimates of time take for granted; the loop reports the real one."""
_FREE_SHARE = 0.1
"""Share of a device's memory that a plan keeps free for what it does not count: CUDA's context, buffers of
exchanges between GPUs, gaps between tensors."""
_ROUNDS = 16
_SHORT = 50_000
"""Bytes of held-out text below which bits per byte say little: a few hundred sentences."""


@dataclass(frozen=True, slots=True, eq=False)
class RunPlan(Result):
    """What a run will be: all that is decided before it, once.

    `corpus`, `tokens` (of text) and `bytes` (of original text, both expected over the run) and `languages` are
    None without data; `positions` counts every position of every row. `device` is one of the `world` it is
    planned for, None where nothing is known of it; `seconds` is None where its peak is not, `fits` where its
    memory is not. `warnings` are sentences for the user.

    A step takes `rows_per_step` rows on average: a whole number unless `training.batch_bytes` says how much.
    `output` is the folder of the run, and `goes_on` says that there is one in it to go on with; `lengthens` is
    how many steps that one was to have, where it is to have more. `checkpoint` is the folder asked for to begin
    with.
    """

    config: RunConfig
    model: ModelConfig
    corpus: PreparedCorpus | None
    steps: int
    rows_per_step: float
    samples: int
    positions: int
    tokens: int | None
    bytes: int | None
    languages: SamplingPlan | None
    parameters: Parameters
    flops_per_token: Arithmetic
    memory: Memory
    device: Device | None
    world: int
    seconds: float | None
    fits: bool | None = None
    warnings: tuple[str, ...] = ()
    output: Path | None = None
    goes_on: bool = False
    lengthens: int | None = None
    checkpoint: Path | None = None

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a figure for a table, then one a language."""
        model, parameters = self.model, self.parameters
        flops, memory = self.flops_per_token, self.memory
        on_each = f"on each of {self.world} devices" if self.world > 1 else "on one device"
        hours = None if self.seconds is None else self.seconds / 3600
        each = math.ceil(self.rows_per_step / self.world)
        micro = min(self.config.training.micro_rows, each)
        gigabytes = {name: size / 1e9 for name, size in {**asdict(memory), "total": memory.total}.items()}
        tokens = (self.positions, "places of rows; of text is known with --data")
        if self.tokens is not None:
            tokens = (self.tokens, "of text, expected")
        shape = f"{model.layout}, {model.layers} × {model.width}, {model.vocabulary:,} ids"
        listed: list[tuple[str, str, object, str]] = [
            ("parameters", "body", parameters.body, shape),
            ("parameters", "embedding", parameters.embedding, "tied" if model.tied else "two matrices"),
            ("parameters", "total", parameters.total, ""),
            ("run", "steps", self.steps, ""),
            ("run", "rows", self.samples, f"{self.rows_per_step:,.6g} a step"),
            ("run", "rows a step and device", each, f"{micro:,} at a time (training.micro_rows)"),
            ("run", "tokens", *tokens),
            ("run", "bytes", self.bytes, "of original text, expected"),
            ("FLOPs a token", "body", flops.body, "forward and backward"),
            ("FLOPs a token", "attention", flops.attention, "over whole rows"),
            ("FLOPs a token", "head", flops.head, "on predicted places alone"),
            ("FLOPs a token", "total", flops.total, ""),
            ("GB of memory", "states", gigabytes["states"], f"{on_each}: weights, gradients, moments"),
            ("GB of memory", "copies", gigabytes["copies"], "weights in the type of computation"),
            ("GB of memory", "head", gigabytes["head"], "a chunk of logits, and the matrix's gradient"),
            ("GB of memory", "activations", gigabytes["activations"], "of a micro-batch, estimated"),
            ("GB of memory", "total", gigabytes["total"], "estimated"),
            ("GB of memory", "fits", self.fits, self._explain_fit()),
            ("time", "hours", hours, self._explain_time()),
            ("time", "device hours", None if hours is None else hours * self.world, ""),
        ]  # fmt: skip
        for row in self.languages.rows if self.languages is not None else ():
            drawn = f"{100 * row.share_of_rows:.3g} % of rows, {100 * row.share_of_bytes:.3g} % of bytes"
            note = f"{drawn}; has {row.rows:,} rows, {row.bytes:,} bytes"
            listed.append(("epochs", row.language, row.epochs, note + (f"; {row.note}" if row.note else "")))
        return [dict(zip(("part", "name", "value", "note"), row, strict=True)) for row in listed]

    def _explain_time(self) -> str:
        device = self.device
        if device is None or device.peak is None or self.seconds is None:
            return "no peak is known of this device; --device h200 plans for another"
        kind = "float32" if device.source == "measured" else "bf16"
        slower = ", which fp32 does not reach" if kind == "bf16" and self._is_wide else ""
        return (
            f"{write_duration(self.seconds)} on {self.world} × {device.name}, at an assumed "
            f"{100 * _ASSUMED_MFU:.0f} % of {device.peak / 1e12:.4g} TFLOP/s ({kind}, {device.source}{slower})"
        )

    @property
    def _is_wide(self) -> bool:
        return self.config.training.precision == "fp32"

    def _explain_fit(self) -> str:
        """Of how much; where it does not fit, what would make it."""
        device = self.device
        if device is None or device.memory is None:
            return "the memory of this device is not known"
        of = f"of {device.memory / 1e9:,.4g} GB ({device.source}), {100 * _FREE_SHARE:.0f} % kept free"
        return of if self.fits else f"{of}; {self._find_remedy(device.memory)}"

    def _find_remedy(self, memory: int) -> str:
        """The least change that makes it fit: fewer rows at a time, layers computed again, more devices."""
        training, length = self.config.training, self.positions // max(1, self.samples)
        rows, masking = math.ceil(self.rows_per_step), self.config.data.masking
        start = min(training.micro_rows, math.ceil(rows / self.world))
        for world in (self.world << doubled for doubled in range(11)):
            for recomputed in sorted({training.activation_checkpointing, True}):
                for micro in (start >> halved for halved in range(start.bit_length())):
                    keys = {"micro_rows": micro, "activation_checkpointing": recomputed}
                    changed = training.model_copy(update=keys)
                    found = _estimate_memory(self.model, changed, length, masking, world, rows)
                    if _is_within(found, memory):
                        return _name_remedy(training, changed, world if world != self.world else None)
        return "no number of rows and devices makes it fit"

    def to_json(self) -> dict[str, object]:
        """Return plain data for plan.json, with what the estimates assume."""
        total = self.flops_per_token.total
        return {
            "steps": self.steps,
            "rows_per_step": self.rows_per_step,
            "samples": self.samples,
            "places": self.positions,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "world": self.world,
            "device": None if self.device is None else self.device.name,
            "parameters": {**asdict(self.parameters), "total": self.parameters.total},
            "flops_per_token": {**asdict(self.flops_per_token), "total": total},
            "flops": total * self.positions,
            "memory_per_device": {**asdict(self.memory), "total": self.memory.total},
            "seconds": self.seconds,
            "assumed_mfu": _ASSUMED_MFU if self.seconds is not None else None,
            "sampling": None if self.languages is None else self.languages.to_json(),
            "warnings": list(self.warnings),
        }


def _is_within(needed: Memory, memory: int) -> bool:
    """Whether memory has room for what is needed, and for what is not counted."""
    return bool(needed.total <= memory * (1.0 - _FREE_SHARE))


def _name_remedy(before: TrainingSettings, after: TrainingSettings, world: int | None) -> str:
    """What to type, or how many devices to take."""
    names = ("activation_checkpointing", "micro_rows")
    keys = [name for name in names if getattr(before, name) != getattr(after, name)]
    said = [f"--set training.{name}={str(getattr(after, name)).lower()}" for name in keys]
    said += [f"{world} devices"] if world is not None else []
    return f"would fit: {' '.join(said)}"


def plan_run(
    config: RunConfig, corpus: PreparedCorpus | None, model: ModelConfig, world: int = 1, *,
    device: Device | None = None, refuse: bool = True,
) -> RunPlan:  # fmt: skip
    """Return the plan of a run over a corpus; without one, of a preset whose rows are `model.max_length` long.

    Raises ConfigError where the length of the run cannot be known, what
    `check_fit` raises, and PretrainingError for more epochs than are allowed: with `refuse` False that is a
    warning of the plan.
    """
    length = model.max_length if corpus is None else corpus.length
    languages, warnings = None, []
    if corpus is None:
        rate = _count_rows(config.training, None)
        steps = _count_steps(config, float(length), None)
    else:
        check_fit(model, corpus)
        steps, rate, languages = _settle(config, corpus)
        warnings = [*languages.warnings(), *_warn_held_out(corpus, config.log.evaluate_rows)]
        if (refusal := languages.find_refusal()) is not None:
            if refuse:
                raise refusal
            warnings.append(f"training would be refused: {refusal.message}; {refusal.hint}")
    samples = count_samples(steps, rate)
    positions, peak = samples * length, None if device is None else device.peak
    flops = _count_flops(model, length, config.data.masking)
    memory = _estimate_memory(model, config.training, length, config.data.masking, world, math.ceil(rate))
    room = None if device is None else device.memory
    return RunPlan(
        config, model, corpus, steps, rate, samples, positions,
        tokens=None if languages is None else round(samples * languages.average("tokens")),
        bytes=None if languages is None else round(samples * languages.average("bytes")),
        languages=languages,
        parameters=_count_parameters(model),
        flops_per_token=flops,
        memory=memory, device=device, world=world,
        fits=None if room is None else _is_within(memory, room),
        seconds=None if peak is None else flops.total * positions / (peak * _ASSUMED_MFU * world),
        warnings=tuple(warnings),
    )  # fmt: skip


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
            "--set model.layout=llama  # or prepare with a tokenizer that has a mask token",
        )


def count_samples(steps: int, rows_per_step: float) -> int:
    """Return the rows drawn in so many steps: step s takes those from `count_samples(s)` to the next's."""
    return math.floor(steps * rows_per_step + 1e-9)


def _warn_held_out(corpus: PreparedCorpus, limit: int) -> list[str]:
    """Warn of languages with too little held-out text to tell two models apart."""
    sizes = {}
    for code in corpus.languages:
        split = corpus.split(code, "held-out")
        sizes[code] = split.bytes * min(limit, split.rows) / split.rows if split.rows else 0.0
    short = sorted((code for code in sizes if sizes[code] < _SHORT), key=lambda code: (sizes[code], code))
    if not short:
        return []
    named = ", ".join(f"{code} {sizes[code] / 1e3:,.1f}" for code in short[:_NAMED])
    more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
    return [
        f"{len(short)} languages are scored on less than {_SHORT / 1e3:.0f} kB of held-out text, whose figures "
        f"say little (kB: {named}{more}): prepare with a larger --held-out, or raise log.evaluate_rows"
    ]


def _settle(config: RunConfig, corpus: PreparedCorpus) -> tuple[int, float, SamplingPlan]:
    """Return the steps, the rows of each and the languages that fit each other.

    A length in tokens or bytes is a number of samples once it is known what a sample holds, which follows from
    the languages' shares; with UniMax these follow from the number of samples. A few rounds settle all.
    """
    training = config.training
    splits = [corpus.split(code, "train") for code in corpus.languages]
    rows = max(1, sum(split.rows for split in splits))
    tokens, size = (sum(getattr(split, name) for split in splits) / rows for name in ("tokens", "bytes"))
    settled = (_count_steps(config, tokens, size), _count_rows(training, size))
    for _ in range(_ROUNDS):
        steps, rate = settled
        plan = _plan_languages(corpus, config.languages, count_samples(steps, rate))
        tokens, size = plan.average("tokens"), plan.average("bytes")
        again = (_count_steps(config, tokens, size), _count_rows(training, size))
        if again == settled:
            break
        settled = again
    steps, rate = settled
    return steps, rate, _plan_languages(corpus, config.languages, count_samples(steps, rate))


def _count_rows(training: TrainingSettings, bytes_per_row: float | None) -> float:
    """Return the rows of a step, on average: as many as hold `batch_bytes`, where that is given.

    Raises ConfigError for less than one row, or where it is not known what a row holds.
    """
    if training.batch_bytes is None:
        return float(training.batch_rows)
    if bytes_per_row is None:
        raise ConfigError("training.batch_bytes needs data to say what a row holds", "--data shards/")
    rate = training.batch_bytes / bytes_per_row if bytes_per_row else 1.0
    if not 1.0 <= rate <= MOST_ROWS:
        held = f"a row holds {bytes_per_row:,.0f} bytes, and a step is 1 to {MOST_ROWS:,} rows"
        raise ConfigError(
            f"training.batch_bytes = {training.batch_bytes}: {held}",
            f"--set training.batch_bytes={math.ceil(bytes_per_row * 256)}  # 256 rows",
        )
    return rate


def _count_steps(config: RunConfig, tokens_per_row: float, bytes_per_row: float | None) -> int:
    """Return the steps that reach the length asked for: at least it, by less than one step."""
    training = config.training
    hint = "--set training.steps=1000"
    if training.steps is not None:
        asked, held = training.steps, 1.0
    elif training.bytes is not None and training.batch_bytes is not None:
        # Of no vocabulary: two runs of one length take equal steps.
        asked, held = training.bytes, float(training.batch_bytes)
    elif training.tokens is not None:
        asked, held = training.tokens, tokens_per_row * _count_rows(training, bytes_per_row)
    elif training.bytes is None:
        raise ConfigError("training: none of steps, tokens and bytes says how long to train", hint)
    elif bytes_per_row is None:
        raise ConfigError("training.bytes needs data to say what a row holds", "--data shards/")
    else:
        asked, held = training.bytes, bytes_per_row * training.batch_rows
    if asked < 1:
        raise ConfigError(f"training: a length of {asked}: must be at least 1", hint)
    if not held:
        return 1  # Nothing to train on: `_plan_languages` says so in its own words.
    return math.ceil(asked / held)
