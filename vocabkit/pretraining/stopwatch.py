"""How fast a run goes: the figures of one log line, from what was read and the time it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from vocabkit.pretraining.budget import estimate_mfu
from vocabkit.pretraining.distributed import World
from vocabkit.pretraining.meter import Reading

__all__ = ["Stopwatch"]


class Stopwatch:
    """Time spent training, without evaluating and saving.

    `flops_per_token` and the device's name give the share of the peak (MFU); None on devices whose peak is not
    known. Tokens are those that are not padding, over all ranks.
    """

    def __init__(self, flops_per_token: float, device: str | None, world: World) -> None:
        self._flops, self._device, self._world = flops_per_token, device, world
        self._since = self._start = time.perf_counter()
        self._waited = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far in this process."""
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in the block does not count."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._since += spent
            self._start += spent

    def describe(
        self, reading: Reading, languages: Sequence[str], rate: float, left: int, waited: float
    ) -> dict[str, object]:
        """The figures of a log line; `left` steps are to go, `waited` seconds data was waited for so far.

        `loss` is a mean over the steps since the last line and their predictions, `loss_smoothed` its moving
        average over about 50 steps; `languages` mean nats of the language's predictions since the last line.
        `data_wait` is this rank's; `peak_memory_gb` that of its device, or of the process where there is none.
        """
        now = time.perf_counter()
        spent = max(now - self._since, 1e-9)
        tokens = reading.tokens / spent
        figures: dict[str, object] = {
            "steps": reading.steps,
            "loss": reading.loss,
            "loss_smoothed": reading.smoothed,
            "lr": rate,
            "grad_norm": reading.gradient_norm,
            "skipped": reading.skipped,
            "tokens_per_s": tokens,
            "bytes_per_s": reading.bytes / spent,
            "mfu": estimate_mfu(self._flops, tokens, self._device, self._world.size),
            "data_wait": min(1.0, (waited - self._waited) / spent),
            "peak_memory_gb": _peak_memory(self._world.device),
            "eta_s": left * spent / reading.steps if reading.steps else None,
            "languages": dict(zip(languages, reading.language_losses, strict=True)),
        }
        self._since, self._waited = now, waited
        return figures


def _peak_memory(device: torch.device) -> float | None:
    """Gigabytes (1e9 bytes) at most in use: allocated on a GPU, resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
