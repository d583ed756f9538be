"""Attention among the tokens of one document, in a stream of documents laid end to end.

On a GPU in bf16 or fp16: `torch.nn.attention.varlen`, told where documents start. Elsewhere, and with a torch
or a width of heads that it does not know: scaled dot products row by row under a mask, exact and slower; a
document never crosses a row, so that the mask is length² a row and not the square of the stream. No dropout,
which the first has none of.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend", "make_mask", "rotate", "uses_boundaries"]


class _Varlen:
    """Torch's function and the names of its options, once `uses_boundaries` has looked them up.

    Inside a compiled layer the compiler would trace the looking up, and warn of it; at the top of this module
    it would load the compiler, two seconds of imports, where nothing is compiled.
    """

    function: Any = None
    options: frozenset[str] = frozenset()


def uses_boundaries(
    device: torch.device, dtype: torch.dtype, head_width: int, *, local: bool = False
) -> bool:
    """Whether attention on a device in a type goes by documents' boundaries, and so needs no mask.

    `head_width`: columns of a head; the kernel takes multiples of 8 up to 256. `local`: some layers see a
    window only, which it knows since 2.11.
    """
    return (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and head_width % 8 == 0
        and head_width <= 256
        and _knows_boundaries(local)
    )


def _knows_boundaries(local: bool) -> bool:
    if _Varlen.function is None:
        try:
            from torch.nn.attention.varlen import varlen_attn
        except ImportError:  # torch before 2.10
            return False
        # `is_causal` became `window_size` after 2.10, `enable_gqa` came with 2.12.
        _Varlen.options = frozenset(inspect.signature(varlen_attn).parameters)
        _Varlen.function = varlen_attn
    return "window_size" in _Varlen.options or not local


def make_mask(documents: Tensor, length: int, *, causal: bool, window: int | None = None) -> Tensor:
    """Which place of a row sees which: bool [rows, 1, length, length], True where it does.

    `documents` int32 [T] numbers the stream's documents. `causal`: none sees a later one. `window`: none
    sees one more than window // 2 away.
    """
    numbers = documents.view(-1, length)
    mask = numbers[:, :, None] == numbers[:, None, :]
    places = torch.arange(length, device=documents.device)
    distance = places[:, None] - places[None, :]
    if causal:
        mask = mask & (distance >= 0)
    if window is not None:
        mask = mask & (distance.abs() <= window // 2)
    return mask[:, None]


def rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Turn halves of each head by angles that grow with position (RoPE, arXiv 2104.09864).

    `x` [T, heads, head width], `positions` int [T]. Angles and products in fp32, result in the type of `x`.
    """
    width = x.shape[-1]
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=x.device)
    angles = positions[:, None].float() * (1.0 / (theta ** (steps / width)))
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    first, second = x.float().chunk(2, -1)
    turned = torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
    return turned.to(x.dtype)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    boundaries: Tensor,
    length: int,
    mask: Tensor | None,
    causal: bool,
    window: int | None = None,
) -> Tensor:
    """Mix values by the softmax of scaled products: [T, heads, head width].

    `query` [T, heads, width]; `key`, `value` [T, kv heads, width], each kv head shared by heads / kv heads
    neighbouring heads. With a `mask` (see `make_mask`) that decides; without one `boundaries` does, int32
    with documents' starts and then T to its end.
    """
    if mask is None:
        return _attend_by_boundaries(query, key, value, boundaries, length, causal, window)
    rows = query.shape[0] // length
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    query_rows, key_rows, value_rows = (
        part.view(rows, length, *part.shape[1:]).transpose(1, 2) for part in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(query_rows, key_rows, value_rows, attn_mask=mask)
    return mixed.transpose(1, 2).reshape(query.shape)


def _attend_by_boundaries(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Tensor,
    length: int,
    causal: bool,
    window: int | None,
) -> Tensor:
    if _Varlen.function is None and not _knows_boundaries(window is not None):
        raise RuntimeError(f"torch {torch.__version__}: no such attention by boundaries")
    options: dict[str, Any] = {}
    if key.shape[1] != query.shape[1]:
        if "enable_gqa" in _Varlen.options:
            options["enable_gqa"] = True
        else:
            shared = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    if "window_size" in _Varlen.options:
        side = -1 if window is None else window // 2
        options["window_size"] = (side, 0 if causal else side)
    else:
        options["is_causal"] = causal
    mixed: Any = _Varlen.function(
        query, key, value, boundaries, boundaries, length, length, **options
    )
    return mixed  # type: ignore[no-any-return]
