"""Orthogonal matching pursuit, for many targets at once: each as a sum of a few anchors' vectors.

Pati, Rezaiifar and Krishnaprasad 1993; for embeddings of a new vocabulary, Goddard and Neto 2025
(arXiv 2506.06607). A target takes the anchor most along its residual, is fitted anew by least squares on all it
has taken, and so on k times. Targets go in blocks: one product of matrices finds the next anchors of all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from vocabkit.core.progress import Progress, Silent
from vocabkit.extension.auxiliary_space import normalize_rows, open_space
from vocabkit.extension.context import Context
from vocabkit.extension.mixtures import Mixture
from vocabkit.extension.neighbours import find_largest, place_rows
from vocabkit.extension.plan_types import FloatArray, Int64Array, RowPlan

T = TypeVar("T")
IntArray = npt.NDArray[np.intp]
_CELLS = 1 << 26
_PART = 16
# An anchor whose part at right angles to those taken is below this share of it adds nothing but noise.
_LEAST = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Pursuit:
    """Target i ≈ Σ_j `weights[i, j]` · anchor `chosen[i, j]`; `taken[i]` of the columns are in use.

    `residuals[i]` is what is left of the target's length, as a share: 0 is exact.
    """

    chosen: IntArray
    weights: FloatArray
    taken: Int64Array
    residuals: FloatArray


def mix_pursuit(plan: RowPlan, rows: FloatArray, context: Context) -> tuple[Mixture, str]:
    """e = Σ c_i E_i with the anchors and coefficients that make up the token's vector in the donor's space.

    Options: `k` anchors a token, 32 of a donor and 8 of vectors learnt from text, which have 100 columns;
    `candidates` (128) and `refresh` (4), see `pursue`; `refresh=1` is exact. Returns what the residuals were
    beside the mixture.
    """
    space = open_space(plan, context)
    found = pursue(
        space.anchors,
        space.targets,
        context.whole("k", 32 if context.donor is not None else 8),
        candidates=context.whole("candidates", 128),
        refresh=context.whole("refresh", 4),
        progress=context.progress,
    )
    listed = [
        (space.anchor_ids[chosen[:n]], weights[:n])
        for chosen, weights, n in zip(found.chosen, found.weights, found.taken, strict=True)
    ]
    mean = float(found.residuals.mean()) if len(listed) else 0.0
    note = f"{space.origin}: {len(space.anchors):,} anchors, mean residual {mean:.3f}"
    return place_rows(plan, space, listed), note


def pursue(
    anchors: FloatArray,
    targets: FloatArray,
    k: int,
    *,
    candidates: int = 128,
    refresh: int = 1,
    progress: Progress | None = None,
) -> Pursuit:
    """Write each target, float32[t, d], as a sum of at most k anchors, float32[m, d].

    All anchors are compared with the residuals every `refresh` steps; in between only the `candidates` that
    were most along them then. With `refresh=1` it is the exact pursuit. Anchors are compared by direction,
    whatever their length. No target takes more anchors than there are, or than the vectors have columns.
    """
    report = progress or Silent()
    units = normalize_rows(anchors)
    lengths = np.linalg.norm(anchors, axis=1)
    lengths[lengths == 0] = np.inf  # an anchor of zeros is never taken
    steps = min(k, len(anchors), anchors.shape[1])
    parts: list[Pursuit] = []
    # What a block holds for a target: its product with every anchor, and a basis of what it takes.
    size = max(min(_CELLS // max(len(anchors), steps * anchors.shape[1], 1), 1_024), 1)
    report.start("Matching pursuit", len(targets), "rows")
    for start in range(0, len(targets), size):
        block = _Block(units, targets[start : start + size], steps)
        for first in range(0, steps, refresh):
            block.screen(candidates if refresh > 1 else 1)
            block.take(first, min(first + refresh, steps))
        parts.append(block.solve(lengths))
        report.advance(len(block.targets))
    report.finish()
    if not parts:
        none = np.zeros(0, np.float32)
        return Pursuit(np.zeros((0, steps), np.intp), none, np.zeros(0, np.int64), none)
    return Pursuit(
        np.concatenate([part.chosen for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.taken for part in parts]),
        np.concatenate([part.residuals for part in parts]),
    )


class _Block:
    """The state of some targets: what each has taken, an orthonormal basis of it, and what is left."""

    def __init__(self, units: FloatArray, targets: FloatArray, steps: int) -> None:
        self.units, self.targets = units, np.asarray(targets, np.float32)
        size, width = self.targets.shape
        self.residuals = self.targets.copy()
        self.basis = np.zeros((size, steps, width), np.float32)
        self.triangle = np.zeros((size, steps, steps), np.float32)
        self.chosen = np.zeros((size, steps), np.intp)
        self.taken = np.zeros(size, np.int64)
        self.candidates: IntArray = np.zeros((size, 0), np.intp)

    def screen(self, amount: int) -> None:
        """Find the anchors most along each residual among all. None already taken is among them."""
        products = self.residuals @ self.units.T

        def find_best(start: int) -> IntArray:
            part = slice(start, start + _PART)
            along = np.abs(products[part], out=products[part])
            rows, columns = np.nonzero(np.arange(self.chosen.shape[1]) < self.taken[part, None])
            along[rows, self.chosen[part][rows, columns]] = -1
            if amount == 1:
                best: IntArray = along.argmax(axis=1)[:, None]
                return best
            return find_largest(along, min(amount, along.shape[1]))

        self.candidates = np.concatenate(self._for_parts(find_best))

    def take(self, first: int, last: int) -> None:
        """Take the steps from `first` to `last` among the candidates, few targets at a time."""

        def take_part(start: int) -> None:
            part = slice(start, start + _PART)
            held = self.units[self.candidates[part]]
            free = np.ones(held.shape[:2], bool)
            for step in range(first, last):
                self._take_one(part, held, free, step)

        self._for_parts(take_part)

    def _for_parts(self, work: Callable[[int], T]) -> list[T]:
        """Call `work` with where each part starts: parts share nothing, and NumPy's loops run side by side."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(work, range(0, len(self.targets), _PART)))

    def _take_one(
        self, part: slice, held: FloatArray, free: npt.NDArray[np.bool_], step: int
    ) -> None:
        left, basis = self.residuals[part], self.basis[part]
        along = np.abs((held @ left[:, :, None])[:, :, 0])
        best = np.where(free, along, -1).argmax(axis=1)
        rows = np.arange(len(best))
        free[rows, best] = False
        vectors = held[rows, best]
        # Twice is enough: what rounding left of the basis in the vector goes the second time.
        projections = np.zeros((len(best), step), np.float32)
        fresh = vectors
        for _ in range(2 if step else 0):
            inner = (basis[:, :step] @ fresh[:, :, None])[:, :, 0]
            projections += inner
            fresh = fresh - (inner[:, None, :] @ basis[:, :step])[:, 0]
        norms = np.linalg.norm(fresh, axis=1)
        size = np.linalg.norm(self.targets[part], axis=1)
        open_rows = self.taken[part] == step
        open_rows &= (norms > _LEAST) & (along[rows, best] > 1e-6 * size)
        where = np.flatnonzero(open_rows)
        unit = fresh[where] / norms[where, None]
        basis[where, step] = unit
        triangle = self.triangle[part]
        triangle[where, :step, step] = projections[where]
        triangle[where, step, step] = norms[where]
        left[where] -= unit * (unit * left[where]).sum(axis=1, keepdims=True)
        self.chosen[part][where, step] = self.candidates[part][where, best[where]]
        self.taken[part][where] += 1

    def solve(self, lengths: npt.NDArray[np.floating]) -> Pursuit:
        """Solve R c = Qᵀ target for all targets in one call, and give the anchors their lengths back."""
        steps = self.chosen.shape[1]
        unused = np.arange(steps) >= self.taken[:, None]
        rows, columns = np.nonzero(unused)
        triangle = self.triangle.astype(np.float64)
        triangle[rows, columns, columns] = 1
        inner = (self.basis @ self.targets[:, :, None]).astype(np.float64)
        weights = np.linalg.solve(triangle, inner)[:, :, 0] / lengths[self.chosen]
        weights[unused] = 0
        size = np.linalg.norm(self.targets, axis=1)
        left = np.linalg.norm(self.residuals, axis=1) / np.where(size > 0, size, 1)
        return Pursuit(self.chosen, weights.astype(np.float32), self.taken, left.astype(np.float32))
