"""What a model costs: parameters, arithmetic, memory and time, computed from its shape alone.

Parameters are exact. Arithmetic counts matrix products, twice as much backward as forward, and the head on
predicted places only: what is needed, not what an implementation may waste. Memory is an estimate, and so is
time, which rests on an assumed share of the device's peak. Nothing is measured here.

Attention is counted over whole rows (half of them for causal models, the window where it is local); packed
documents are shorter, which overstates the whole by at most attention's share, a tenth in `multi-s`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vocabkit.pretraining.chunk_rows import choose_chunk_rows
from vocabkit.pretraining.model_config import ModelConfig
from vocabkit.pretraining.run_config import TrainingSettings

__all__ = [
    "Arithmetic", "Memory", "Parameters", "count_flops", "count_parameters", "estimate_memory",
    "estimate_mfu", "find_peak", "predicted_per_row",
]  # fmt: skip

_PEAKS = {
    "B200": 2_250e12, "H200": 989e12, "GH200": 989e12, "H100 NVL": 835e12, "H100 PCIE": 756e12,
    "H100": 989e12, "A100": 312e12, "L40S": 362e12,
}  # fmt: skip
"""Dense bf16 FLOP/s that the maker states, by what a device's name holds; longer names are looked up first."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """`embedding` counts the vocabulary's matrices, padded rows included; `body` all else."""

    body: int
    embedding: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.body + self.embedding


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """FLOPs forward and backward for one token of the input, spread over the places that are predicted."""

    body: float
    attention: float
    head: float

    @property
    def total(self) -> float:
        """FLOPs a token."""
        return self.body + self.attention + self.head


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device.

    `states`: parameters, gradients and both moments, fp32, shared out over the devices. `copies`: parameters
    in the type of the computation. `head`: one chunk of logits, the output matrix cast, and its gradient while
    it adds up. `activations`: what layers keep for the backward pass of one micro-batch.
    """

    states: int
    copies: int
    head: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.states + self.copies + self.head + self.activations

    def to_json(self) -> dict[str, int]:
        """Return plain data, the total included."""
        return {**asdict(self), "total": self.total}


def count_parameters(config: ModelConfig) -> Parameters:
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


def count_flops(config: ModelConfig, length: int, masking: float) -> Arithmetic:
    """Return FLOPs a token in rows of `length`, `masking` of whose places are predicted (all, if causal).

    6 FLOPs a weight and token: 2 forward, 4 backward. Attention 12 · width · places seen, a layer.
    """
    rate = 1.0 if config.causal else predicted_per_row(masking, length) / length
    seen = 0.0
    for layer in range(config.layers):
        local = config.layout == "modern" and layer % config.global_every != 0
        seen += min(config.local_window, length) if local else length
    seen *= 0.5 if config.causal else 1.0
    head = config.vocabulary * config.width
    if not config.causal:
        head += config.width**2
    return Arithmetic(
        6.0 * config.layers * _layer_products(config), 12.0 * config.width * seen, 6.0 * head * rate
    )


def predicted_per_row(masking: float, length: int) -> int:
    """Return how many places of a row of a masked model are predicted; at least one."""
    return max(1, round(masking * length))


def estimate_memory(
    config: ModelConfig, training: TrainingSettings, length: int, masking: float, world: int = 1
) -> Memory:
    """Return bytes on each of `world` devices.

    A layer keeps about 18 · width + 4 · feed_forward values' worth of bytes in bf16 for each token, 8 ·
    feed_forward where it is gated; recomputing keeps its input alone, and one layer's insides at a time.
    """
    size = 2 if training.precision == "bf16" else 4
    found = count_parameters(config)
    layer = _layer_products(config)
    copies = 0 if size == 4 else size * found.total
    if world > 1:
        # The root's parameters stay gathered, and those of two layers at a time.
        copies = size * (found.embedding + 2 * layer)
    tokens = min(training.micro_rows, -(-training.batch_rows // world)) * length
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


def find_peak(device: str | None) -> float | None:
    """Return the dense bf16 FLOP/s of a device by its name; None for a CPU and for one not known."""
    if device is None:
        return None
    name = device.upper().replace("-", " ")
    for known in sorted(_PEAKS, key=len, reverse=True):
        if all(part in name for part in known.split()):
            return _PEAKS[known]
    return None


def estimate_mfu(
    flops_per_token: float, tokens_per_second: float, device: str | None, world: int = 1
) -> float | None:
    """Return the share of the devices' peak that needed arithmetic takes; None where no peak is known.

    `tokens_per_second` is over all `world` devices.
    """
    peak = find_peak(device)
    return None if peak is None else flops_per_token * tokens_per_second / (peak * world)


def _layer_products(config: ModelConfig) -> int:
    """Return the weights of one layer's matrices."""
    together = (config.heads + 2 * config.key_value_heads) * config.head_width
    feeds = 2 if config.layout == "xlmr" else 3
    return config.width * (together + config.width + feeds * config.feed_forward)
