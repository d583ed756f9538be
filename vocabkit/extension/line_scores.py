"""What a model says of lines under one tokenization: nats by kind of target, or a vector a line.

Every line is scored alone, after the token that begins a text, so that lines are independent draws. A masked
model is asked for stretches of text that begin and end a token in both tokenizations, all their tokens masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.extension.plan_types import BoolArray, FloatArray, Int64Array

Float64Array = npt.NDArray[np.float64]
OLD, AFTER_NEW, NEW = range(3)
"""The kinds of target: an old token, an old token right after a new one, and a new token."""
# Logits of 512 positions by 100,000 tokens are 200 MB.
_CELLS = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """One line: the ids to feed, and the positions whose own ids are to be predicted."""

    ids: Int64Array
    asked: Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class LineScores:
    """Per line and kind of target: `nats` float64[n, 3] of −log p summed, `targets` int64[n, 3] their number,
    and `mass` float64[n], the probability of all new tokens summed over the targets.
    """

    nats: Float64Array
    targets: Int64Array
    mass: Float64Array


def score_lines(
    model: Any,
    lines: Sequence[Targets],
    is_new: BoolArray,
    *,
    mask: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> LineScores:
    """Score the targets of each line. `mask` is put in their place; without, the token before predicts each.

    `is_new` says of every id of the model whether its row is new.
    """
    import torch

    nats, mass = np.zeros((len(lines), 3)), np.zeros(len(lines))
    targets = np.zeros((len(lines), 3), np.int64)
    fresh = torch.from_numpy(is_new.astype(np.float32))
    for batch in _list_batches(lines, len(is_new)):
        ids, attention = _pad([lines[i].ids for i in batch])
        fed = torch.from_numpy(ids.copy())
        rows = np.repeat(np.arange(len(batch)), [len(lines[i].asked) for i in batch])
        asked = np.concatenate([lines[i].asked for i in batch])
        if mask is not None:
            fed[rows, asked] = mask
        with torch.inference_mode():
            found = model(input_ids=fed, attention_mask=torch.from_numpy(attention))
            before = asked if mask is not None else asked - 1
            logs = torch.log_softmax(found.logits[rows, before].float(), dim=-1)
            wanted = ids[rows, asked]
            spent = -logs[torch.arange(len(wanted)), torch.from_numpy(wanted)].double().numpy()
            share = (logs.exp() @ fresh).double().numpy()
        after = is_new[ids[rows, asked - 1]] & (asked > 0)
        kind = np.where(is_new[wanted], NEW, np.where(after, AFTER_NEW, OLD))
        owners = np.array(batch)[rows]
        np.add.at(nats, (owners, kind), spent)
        np.add.at(targets, (owners, kind), 1)
        np.add.at(mass, owners, share)
        if advance is not None:
            advance(len(batch))
    return LineScores(nats, targets, mass)


def embed_lines(
    model: Any, lines: Sequence[Int64Array], advance: Callable[[int], None] | None = None
) -> FloatArray:
    """The mean of the last layer over each line's tokens, float32[n, d]."""
    import torch

    found: dict[int, FloatArray] = {}
    for batch in _list_batches([Targets(ids, ids[:0]) for ids in lines], 2_048):
        ids, attention = _pad([lines[i] for i in batch])
        with torch.inference_mode():
            seen = torch.from_numpy(attention)
            states = model(input_ids=torch.from_numpy(ids), attention_mask=seen).last_hidden_state
            weights = seen[:, :, None].float()
            means = ((states * weights).sum(1) / weights.sum(1)).numpy()
        found |= dict(zip(batch, means, strict=True))
        if advance is not None:
            advance(len(batch))
    return np.stack([found[i] for i in range(len(lines))])


def ask_all(ids: Int64Array, begin: int | None) -> Targets:
    """Every token is asked for, after the one that begins a text; without such a one, all but the first."""
    whole = ids if begin is None else np.concatenate([[begin], ids]).astype(np.int64)
    return Targets(whole, np.arange(1, len(whole), dtype=np.int64))


def ask_between(
    ids: Int64Array, stops: Int64Array, spans: Sequence[tuple[int, int]], around: tuple[int, ...]
) -> Targets:
    """The tokens that end within the spans of bytes are asked for; `around` are the tokens at both ends."""
    asked = [
        place + len(around[:1])
        for place, stop in enumerate(stops.tolist())
        if any(first < stop <= last for first, last in spans)
    ]
    whole = np.concatenate([around[:1], ids, around[1:]]).astype(np.int64)
    return Targets(whole, np.array(asked, np.int64))


def choose_spans(
    text: bytes, first: Int64Array, second: Int64Array, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """About one in seven stretches of a line that end a token in both tokenizations, one at the least.

    They begin at a space, or where none comes for 24 bytes at any such end: a script without spaces has
    no words to mask.
    """
    both = np.intersect1d(first, second).tolist()
    spans: list[tuple[int, int]] = []
    start = 0
    for stop in both:
        if stop == len(text) or text[stop : stop + 1].isspace() or stop - start >= 24:
            spans.append((start, stop))
            start = stop
    if not spans:
        return []
    chosen = generator.random(len(spans)) < 0.15
    if not chosen.any():
        chosen[generator.integers(len(spans))] = True
    return [span for span, taken in zip(spans, chosen, strict=True) if taken]


def _list_batches(lines: Sequence[Targets], size: int) -> Iterator[list[int]]:
    """Lines of like length together, as many as logits fit."""
    most = max(_CELLS // max(size, 1), 1)
    batch: list[int] = []
    for place in sorted(range(len(lines)), key=lambda i: (len(lines[i].ids), i)):
        if batch and (len(batch) + 1) * len(lines[place].ids) > most:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _pad(lines: Sequence[Int64Array]) -> tuple[Int64Array, Int64Array]:
    width = max(map(len, lines))
    ids, attention = (np.zeros((len(lines), width), np.int64) for _ in range(2))
    for row, line in enumerate(lines):
        ids[row, : len(line)], attention[row, : len(line)] = line, 1
    return ids, attention
