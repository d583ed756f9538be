"""What one step of one rank computes on: rows laid end to end, and the positions to predict.

Every shape depends on the settings alone, never on the text, so that nothing is compiled twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["Batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """`rows` rows of `length` tokens as one stream of T = rows · length.

    ids            int32[T]   input, masked already where the objective masks
    documents      int32[T]   document's number in the batch, from 0; a row's padding is one of its own
    positions      int32[T]   place within the document, from 0
    boundaries     int32[B]   documents' starts, then T (cumulative lengths) up to a fixed B
    chosen         int64[K]   places in the stream whose prediction is asked for; 0 where `weights` is 0
    targets        int64[K]   the token to predict there
    weights        float32[K] 1 where it counts, 0 where a row had too few places
    languages      int32[K]   index of the language of each, in the order of the prepared corpus
    row_languages  int32[rows]
    row_bytes      int32[rows]  bytes of original text in each row
    tokens         tokens that are not padding
    first, stop    global sample numbers this step covers, over all ranks
    """

    ids: Tensor
    documents: Tensor
    positions: Tensor
    boundaries: Tensor
    chosen: Tensor
    targets: Tensor
    weights: Tensor
    languages: Tensor
    row_languages: Tensor
    row_bytes: Tensor
    length: int
    tokens: int
    first: int
    stop: int

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Batch:
        """The same batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin(self) -> Batch:
        """The same batch in page-locked memory, from which copies to a GPU run beside its work."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors: dict[str, Any] = {
            field.name: change(getattr(self, field.name))
            for field in fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)
