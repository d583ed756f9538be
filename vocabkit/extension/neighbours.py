"""Rows from the anchors most like a new token in an auxiliary space: kNN-softmax, FOCUS and CLP.

All three weigh anchors by the cosine of their vectors with the token's; they differ in how many count. The
whole matrix of cosines is never held: 100,000 tokens by 30,000 anchors would be 12 GB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vocabkit.extension.auxiliary_space import Space, normalize_rows, open_space
from vocabkit.extension.context import Context, list_new
from vocabkit.extension.mixtures import Mixture, make_mixture
from vocabkit.extension.plan_types import FloatArray, Int64Array, RowPlan

_CELLS = 1 << 25
_GROUP = 16


def mix_nearest(plan: RowPlan, rows: FloatArray, context: Context) -> Mixture:
    """e = Σ w_i E_i over the `k` (10) nearest anchors, w = softmax(cos ÷ `temperature`) (0.1).

    The rule of WECHSEL (Minixhofer et al. 2022) and OFA (Liu et al. 2023).
    """
    space = open_space(plan, context)
    k = min(context.whole("k", 10), len(space.anchors))
    temperature = max(context.option("temperature", 0.1), 1e-6)
    found: list[tuple[Int64Array, FloatArray]] = []
    for cosines in list_cosines(space):
        chosen = find_largest(cosines, k)
        values = np.take_along_axis(cosines, chosen, axis=1) / temperature
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        weights = powers / powers.sum(axis=1, keepdims=True)
        found += [(space.anchor_ids[c], w) for c, w in zip(chosen, weights, strict=True)]
    return place_rows(plan, space, found)


def mix_focus(plan: RowPlan, rows: FloatArray, context: Context) -> Mixture:
    """e = Σ w_i E_i over all anchors, w = sparsemax(cos): most weights are exactly 0 (FOCUS).

    Dobler and de Melo 2023; their vectors are fastText's of the target text, here the donor's or those of
    `cooccurrence`. The row lies in the convex hull of the old ones.
    """
    space = open_space(plan, context)
    found: list[tuple[Int64Array, FloatArray]] = []
    for cosines in list_cosines(space):
        for weights, chosen in zip(*project_simplex(cosines), strict=True):
            some = weights > 0
            found.append((space.anchor_ids[chosen[some]], weights[some]))
    return place_rows(plan, space, found)


def average_by_cosine(
    plan: RowPlan, rows: FloatArray, context: Context
) -> tuple[FloatArray, Int64Array]:
    """e = Σ cos_i E_i ÷ Σ cos_i over all anchors (CLP-Transfer, Ostendorff and Rehm 2023).

    Returns the rows and their places. Weights may be negative and are nearly equal, so that rows lie close
    to the mean; a token whose cosines cancel out gets none.
    """
    space = open_space(plan, context)
    old = np.asarray(rows[space.anchor_ids], np.float32)
    out = np.zeros((len(space.places), rows.shape[1]), np.float32)
    sums = np.zeros(len(space.places))
    start = 0
    for cosines in list_cosines(space):
        stop = start + len(cosines)
        sums[start:stop] = cosines.sum(axis=1, dtype=np.float64)
        out[start:stop] = cosines @ old
        start = stop
    sound = np.abs(sums) > 1e-3 * len(old)
    return (out[sound] / sums[sound, None]).astype(np.float32), space.places[sound]


def list_cosines(space: Space) -> Iterator[FloatArray]:
    """The cosines of the targets with all anchors, some rows at a time: float32[rows, m]."""
    anchors, targets = normalize_rows(space.anchors), normalize_rows(space.targets)
    step = max(_CELLS // max(len(anchors), 1), 1)
    for start in range(0, len(targets), step):
        yield targets[start : start + step] @ anchors.T


def place_rows(plan: RowPlan, space: Space, found: list[tuple[Int64Array, FloatArray]]) -> Mixture:
    """The rows found at their places among all that are to be made; the others are made from none."""
    listed: list[tuple[Int64Array, FloatArray]] = [
        (np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in list_new(plan)
    ]
    for place, row in zip(space.places.tolist(), found, strict=True):
        listed[place] = row
    return make_mixture(listed)


def find_largest(values: FloatArray, k: int) -> npt.NDArray[np.intp]:
    """The columns of the k largest values of each row, the largest first: intp[rows, k].

    Columns are first taken in groups of 16 by their largest: the k best groups hold the k best columns, and
    a partition of all costs sixteen times that of the groups.
    """
    width = values.shape[1]
    groups = width // _GROUP
    if k * 2 < groups:
        tops = values[:, : groups * _GROUP].reshape(len(values), groups, _GROUP).max(axis=2)
        best = np.argpartition(tops, groups - k, axis=1)[:, groups - k :]
        inner = (best[:, :, None] * _GROUP + np.arange(_GROUP)).reshape(len(values), -1)
        rest = np.broadcast_to(np.arange(groups * _GROUP, width), (len(values), width % _GROUP))
        columns = np.concatenate([inner, rest], axis=1)
    else:
        columns = np.broadcast_to(np.arange(width), values.shape)
    held = np.take_along_axis(values, columns, axis=1)
    if k < held.shape[1]:
        chosen = np.argpartition(held, held.shape[1] - k, axis=1)[:, held.shape[1] - k :]
        columns = np.take_along_axis(columns, chosen, axis=1)
        held = np.take_along_axis(held, chosen, axis=1)
    # Ties by column, so that the order does not depend on the partition.
    order = np.lexsort((columns, -held), axis=1)
    return np.take_along_axis(columns, order, axis=1)


def project_simplex(values: FloatArray) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Return sparsemax of each row: the weights of some columns, and those columns; all others weigh 0.

    Martins and Astudillo 2016: sorted z, k the largest with 1 + k z_k > Σ_{j≤k} z_j, τ = (Σ_{j≤k} z_j − 1) ÷ k,
    w = max(z − τ, 0). Only the largest values are sorted, as many as the support turns out to need.
    """
    width = values.shape[1]
    k = min(64, width)
    while True:
        columns = find_largest(values, k)
        ordered = np.take_along_axis(values, columns, axis=1).astype(np.float64)
        sums = np.cumsum(ordered, axis=1)
        ranks = np.arange(1, k + 1)
        support = (1 + ranks * ordered > sums).sum(axis=1)
        if k == width or int(support.max(initial=0)) < k:
            break
        k = min(k * 4, width)
    tau = (np.take_along_axis(sums, support[:, None] - 1, axis=1) - 1) / support[:, None]
    return np.maximum(ordered - tau, 0).astype(np.float32), columns
