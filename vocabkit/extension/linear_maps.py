"""A linear map from an auxiliary space to the old rows, learnt on the anchors: least squares or a rotation.

Neither is a sum of a few old rows: the map depends on all anchors, so no sources are kept of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import ConfigError
from vocabkit.extension.auxiliary_space import open_space
from vocabkit.extension.context import Context
from vocabkit.extension.plan_types import FloatArray, Int64Array, RowPlan

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """x ↦ (x − `source`) · `matrix` + `target`, with `matrix` float64[k, d]."""

    source: Float64Array
    matrix: Float64Array
    target: Float64Array

    def apply(self, vectors: npt.NDArray[np.floating]) -> FloatArray:
        """Return the vectors' images, float32[n, d]."""
        return np.asarray((vectors - self.source) @ self.matrix + self.target, np.float32)


def map_by_least_squares(
    plan: RowPlan, rows: FloatArray, context: Context
) -> tuple[FloatArray, Int64Array]:
    """e = (a − ā) M + Ē, M = argmin ‖(A − Ā) M − (E − Ē)‖² + λ ‖M‖² over the anchors.

    Mikolov, Le and Sutskever 2013. λ is `ridge` (1e-3) of the vectors' mean variance times their number.
    Returns the rows and their places among those to be made.
    """
    ridge = context.option("ridge", 1e-3)
    if ridge < 0:
        raise ConfigError(f"ridge={ridge:g}: must be 0 or more", "leave it out: 1e-3")
    space = open_space(plan, context)
    found = fit_least_squares(space.anchors, rows[space.anchor_ids], ridge)
    return found.apply(space.targets), space.places


def map_by_rotation(
    plan: RowPlan, rows: FloatArray, context: Context
) -> tuple[FloatArray, Int64Array]:
    """e = s (a − ā) R + Ē, R = U Vᵀ of the singular value decomposition of (A − Ā)ᵀ (E − Ē) over the anchors.

    Orthogonal Procrustes (Schönemann 1966), s = Σσ ÷ ‖A − Ā‖². Where the spaces differ in width, R turns the
    narrower one into a part of the other. Returns as `map_by_least_squares`.
    """
    space = open_space(plan, context)
    found = fit_rotation(space.anchors, rows[space.anchor_ids])
    return found.apply(space.targets), space.places


def fit_least_squares(
    source: npt.NDArray[np.floating], target: npt.NDArray[np.floating], ridge: float
) -> LinearMap:
    """The map of `map_by_least_squares` from `source` [n, k] to `target` [n, d]."""
    left, right, means = _centre(source, target)
    if ridge == 0:
        return LinearMap(
            means[0], np.asarray(np.linalg.lstsq(left, right, rcond=None)[0]), means[1]
        )
    gram = left.T @ left
    gram += ridge * float(np.trace(gram)) / len(gram) * np.eye(len(gram))
    return LinearMap(means[0], np.asarray(np.linalg.solve(gram, left.T @ right)), means[1])


def fit_rotation(source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> LinearMap:
    """The map of `map_by_rotation` from `source` [n, k] to `target` [n, d]."""
    left, right, means = _centre(source, target)
    u, sigma, vt = np.linalg.svd(left.T @ right, full_matrices=False)
    size = float(np.square(left).sum())
    return LinearMap(means[0], (u @ vt) * (sigma.sum() / size if size else 0.0), means[1])


def _centre(
    source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]
) -> tuple[Float64Array, Float64Array, tuple[Float64Array, Float64Array]]:
    left, right = source.astype(np.float64), target.astype(np.float64)
    means = left.mean(axis=0), right.mean(axis=0)
    return left - means[0], right - means[1], means
