"""What a run measures of itself, gathered on the device: losses, steps that were skipped, ids that were seen.

Nothing here waits for the device but `read`, once a log line, and `Seen.arrays`, once a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vocabkit.pretraining.batch import Batch
from vocabkit.pretraining.distributed import World

__all__ = ["Meter", "Reading", "Seen"]

SMOOTHING = 0.98
"""Share that a step leaves to those before it in the moving average: about the last 50 steps count."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured since the last reading, over all ranks.

    `loss` is the mean over steps that were not skipped of nats per prediction; `smoothed` its moving average
    over the whole run; both None where there is none yet. `language_losses` are nats ÷ predictions of a
    language in these steps, None where it was not drawn. `skipped` is of the whole run; `in_a_row` how many
    of the last steps were skipped one after another; `longest` the longest such series in these steps.
    """

    steps: int
    loss: float | None
    smoothed: float | None
    gradient_norm: float | None
    skipped: int
    in_a_row: int
    longest: int
    tokens: int
    bytes: int
    language_losses: tuple[float | None, ...]


class Meter:
    """Sums on the device. `languages` is how many there are."""

    def __init__(self, languages: int, world: World) -> None:
        self._world = world
        # Of the run, in every checkpoint: skipped, in a row, and the moving average with its weight.
        self._kept = torch.zeros(4, dtype=torch.float64, device=world.device)
        # Since the last reading: loss, steps that counted, the last good norm, longest series of skips.
        self._since = torch.zeros(4, dtype=torch.float64, device=world.device)
        self._languages = torch.zeros(2, languages, dtype=torch.float64, device=world.device)
        self._counts = torch.zeros(2, dtype=torch.int64, device=world.device)
        self._steps = 0

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {"run": self._kept}

    def add_batch(self, batch: Batch, nats: Tensor) -> None:
        """Count one rank's micro-batch; `nats` float32[K] are of its predictions."""
        values = nats.detach()
        finite = torch.isfinite(values)
        weights = batch.weights * finite
        languages = batch.languages.long()
        cost = (torch.where(finite, values, 0.0) * weights).double()
        self._languages[0].index_add_(0, languages, cost)
        self._languages[1].index_add_(0, languages, weights.double())
        self._counts[0] += batch.tokens
        self._counts[1] += batch.row_bytes.sum()

    def add_step(self, loss: Tensor, norm: Tensor, skip: Tensor) -> None:
        """Count one step: mean loss and gradient norm over all ranks, and 1.0 where it changed nothing."""
        good = 1.0 - skip.double()
        value = torch.where(good > 0, loss.double(), 0.0)
        skipped, in_a_row, average, weight = self._kept.unbind()
        skipped += skip
        in_a_row.add_(1.0).mul_(skip)
        share = (1.0 - SMOOTHING) * good
        average += share * (value - average)
        weight += share * (1.0 - weight)
        total, counted, last, longest = self._since.unbind()
        total += value
        counted += good
        last.copy_(torch.where(good > 0, norm.double(), last))
        longest.copy_(torch.maximum(longest, in_a_row))
        self._steps += 1

    def read(self) -> Reading:
        """What there is since the last reading, and start anew. Waits for the device; every rank calls."""
        self._world.sum(self._languages)
        self._world.sum(self._counts)
        skipped, in_a_row, average, weight = self._kept.tolist()
        total, counted, last, longest = self._since.tolist()
        nats, weights = self._languages.tolist()
        tokens, size = self._counts.tolist()
        reading = Reading(
            steps=self._steps,
            loss=total / counted if counted else None,
            smoothed=average / weight if weight else None,
            gradient_norm=last if counted else None,
            skipped=int(skipped),
            in_a_row=int(in_a_row),
            longest=int(longest),
            tokens=tokens,
            bytes=size,
            language_losses=tuple(
                cost / count if count else None for cost, count in zip(nats, weights, strict=True)
            ),
        )
        for tensor in (self._since, self._languages, self._counts):
            tensor.zero_()
        self._steps = 0
        return reading


class Seen:
    """Which ids of text stood in an input, and which had to be predicted: bool[rows] each.

    A piece that masking drew at random in another's place was not in the text: it is not counted as seen.
    """

    def __init__(self, rows: int, world: World, *, causal: bool) -> None:
        self._world = world
        self._causal = causal
        self._rows = rows
        # One place more than there are ids: for predictions that do not count.
        self._input = torch.zeros(rows + 1, dtype=torch.int32, device=world.device)
        self._target = torch.zeros(rows + 1, dtype=torch.int32, device=world.device)

    def add_batch(self, batch: Batch) -> None:
        """Count a micro-batch."""
        ids, counts = batch.ids.long(), batch.weights > 0
        self._target.index_fill_(0, torch.where(counts, batch.targets, self._rows), 1)
        if not self._causal:
            # A place that does not count is the stream's first, which keeps what it has.
            there = ids[batch.chosen]
            drawn = counts & (there != batch.targets)
            ids = ids.scatter(0, batch.chosen, torch.where(drawn, self._rows, there))
        self._input.index_fill_(0, ids, 1)

    def arrays(self) -> dict[str, npt.NDArray[np.bool_]]:
        """`input` and `target` over all ranks, bool[rows]. Waits for the device; every rank calls."""
        found = {}
        for name, tensor in (("input", self._input), ("target", self._target)):
            self._world.sum(tensor)
            tensor.clamp_(max=1)
            found[name] = tensor[:-1].cpu().numpy().astype(np.bool_)
        return found

    def load(self, arrays: dict[str, npt.NDArray[np.bool_]]) -> None:
        """Go on from what a checkpoint holds."""
        for name, tensor in (("input", self._input), ("target", self._target)):
            tensor[:-1] = torch.from_numpy(arrays[name].astype(np.int32)).to(tensor.device)
