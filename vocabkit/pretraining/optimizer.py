"""AdamW (Loshchilov and Hutter, arXiv:1711.05101) with a state that is known before the first step.

Three things that torch's own class does not do: it trains chosen rows of a matrix and leaves the others bit
for bit; a step whose loss or gradient is not finite changes nothing, decided on the device; and the state
is a flat dict of tensors from the start, so that a checkpoint is read straight into it. The arithmetic is
torch's fused kernel, on the shards of this rank. Schedules are in `schedule`, what trains in `stages`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from vocabkit.pretraining.distributed import World, local_part
from vocabkit.pretraining.run_config import OptimizerSettings
from vocabkit.pretraining.stages import vocabulary_names

__all__ = ["Optimizer", "clip_gradients"]


class Optimizer:
    """AdamW over a model's parameters.

    No decay on vectors (biases, norms); `embedding_weight_decay` on matrices of the vocabulary; rows that a
    batch does not hold would otherwise shrink between their visits.
    """

    def __init__(self, model: nn.Module, settings: OptimizerSettings) -> None:
        self.settings = settings
        self.parameters = dict(model.named_parameters())
        self.by_row = vocabulary_names(model)
        self.means = {name: _zeros(value) for name, value in self.parameters.items()}
        self.squares = {name: _zeros(value) for name, value in self.parameters.items()}
        self.steps = {
            name: torch.zeros((), dtype=torch.float32, device=local_part(value).device)
            for name, value in self.parameters.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """The whole state by name: what a checkpoint holds, and is read back into in place."""
        found: dict[str, Tensor] = {}
        for name in self.parameters:
            found[f"exp_avg.{name}"] = self.means[name]
            found[f"exp_avg_sq.{name}"] = self.squares[name]
            found[f"step.{name}"] = self.steps[name]
        return found

    def gradients(self, names: Container[str], rows: Tensor | None) -> dict[str, Tensor]:
        """This rank's gradients of what trains: of `rows` alone (numbers in its shard) where they are given.

        In the model's order, whatever that of `names`: a set of words has another one in every process, and
        sums over gradients would differ in their last bit. A parameter that no part of the batch touched has
        none, and does not move.
        """
        found: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            gradient = parameter.grad if name in names else None
            if gradient is not None:
                part = local_part(gradient)
                found[name] = part if rows is None else part[rows]
        return found

    @torch.no_grad()
    def step(
        self,
        gradients: Mapping[str, Tensor],
        rate: float,
        *,
        rows: Tensor | None = None,
        skip: Tensor | None = None,
    ) -> None:
        """Move what has a gradient, unless `skip` (float32 scalar on the device) is 1.

        With `rows`, gradients are of those rows, and only they move.
        """
        groups: dict[float, list[str]] = defaultdict(list)
        for name, gradient in gradients.items():
            if gradient.numel():
                groups[self._decay(name)].append(name)
            else:
                # No row of it is in this rank's shard; the count is every rank's.
                self.steps[name] += 1.0 if skip is None else 1.0 - skip
        for decay, names in groups.items():
            places = [self._place(name, rows) for name in names]
            adamw(
                [place[0] for place in places],
                [gradients[name].to(torch.float32) for name in names],
                [place[1] for place in places],
                [place[2] for place in places],
                [],
                [self.steps[name] for name in names],
                fused=True,
                found_inf=skip,
                amsgrad=False,
                beta1=self.settings.betas[0],
                beta2=self.settings.betas[1],
                lr=rate,
                weight_decay=decay,
                eps=self.settings.epsilon,
                maximize=False,
            )
            if rows is not None:
                for name, place in zip(names, places, strict=True):
                    for whole, part in zip(self._whole(name), place, strict=True):
                        whole.index_copy_(0, rows, part)

    def clear(self) -> None:
        """Let go of the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def _whole(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        held = (self.parameters[name].detach(), self.means[name], self.squares[name])
        return local_part(held[0]), local_part(held[1]), local_part(held[2])

    def _place(self, name: str, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        whole = self._whole(name)
        return whole if rows is None else (whole[0][rows], whole[1][rows], whole[2][rows])

    def _decay(self, name: str) -> float:
        if self.parameters[name].ndim < 2:
            return 0.0
        if name in self.by_row:
            return self.settings.embedding_weight_decay
        return self.settings.weight_decay


def clip_gradients(
    gradients: Iterable[Tensor], loss: Tensor, limit: float, world: World
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale gradients in place to a global norm of at most `limit`; 0 clips nothing.

    Returns the loss summed over ranks, the norm before clipping, and 1.0 where either is not finite, else 0.0:
    float32 scalars on the device, equal on every rank; nothing waits for the device.
    """
    parts = [gradient for gradient in gradients if gradient.numel()]
    sums = torch.stack([loss.detach().float(), _squared_norm(parts, loss.device)])
    world.sum(sums)
    total, norm = sums[0], sums[1].sqrt()
    skip = (~(torch.isfinite(total) & torch.isfinite(norm))).to(torch.float32)
    if limit > 0 and parts:
        torch._foreach_mul_(parts, (limit / (norm + 1e-6)).clamp(max=1.0))
    return total, norm, skip


def _squared_norm(parts: list[Tensor], device: torch.device) -> Tensor:
    if not parts:
        return torch.zeros((), device=device)
    norms = torch._foreach_norm(parts)
    return torch.stack([norm.float() for norm in norms]).square().sum()


def _zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, dtype=torch.float32, requires_grad=False)
