"""Rows made from numbers alone: zero, normal, the mean, and normals shaped like the trained rows.

These need neither spelling nor text. They are baselines, except the mean, which is also what every other
method falls back to for a token it can say nothing of.
"""

from __future__ import annotations

import numpy as np

from vocabkit.core.errors import ConfigError
from vocabkit.extension.context import Context, list_new
from vocabkit.extension.plan_types import FloatArray, RowPlan, Rows
from vocabkit.extension.statistics import (
    find_root,
    list_used,
    measure_covariance,
    measure_moments,
)

_BLOCK = 8_192


def make_zero(plan: RowPlan, rows: FloatArray, context: Context) -> Rows:
    """e = 0. In a head a zero row's logit is 0, which wins wherever all old logits are negative."""
    return _finish("zero", np.zeros((len(list_new(plan)), rows.shape[1]), np.float32), None)


def make_normal(plan: RowPlan, rows: FloatArray, context: Context) -> Rows:
    """e ~ N(0, s² I), s = `std` (0.02, what most models start training from).

    An s far above the old rows' breaks a model: N(0, 1) took all probability from the old tokens of one
    whose rows have a deviation of 0.1 (Hewitt 2021, "Initializing new word embeddings", says why).
    """
    std = _check_scale("std", context.option("std", 0.02))
    size = (len(list_new(plan)), rows.shape[1])
    values = context.generator().standard_normal(size, np.float32) * np.float32(std)
    return _finish("normal", values, context.seed, f"standard deviation {std:g}")


def make_mean(plan: RowPlan, rows: FloatArray, context: Context) -> Rows:
    """e = μ, the mean of the trained rows (Hewitt 2021).

    In a head, m rows at μ change what the model says of old tokens by a Kullback–Leibler divergence of at
    most log(1 + m/n), n being the number of rows averaged: exp is convex.
    """
    used = list_used(plan, rows)
    mean = measure_moments(rows, used).mean.astype(np.float32)
    values = np.repeat(mean[None], len(list_new(plan)), axis=0)
    return _finish("mean", values, None, f"mean of {len(used):,} rows")


def make_diagonal(plan: RowPlan, rows: FloatArray, context: Context) -> Rows:
    """e ~ N(μ, diag σ²) column by column, σ times `scale` (1): what WECHSEL and FOCUS fall back to."""
    scale = _check_scale("scale", context.option("scale", 1.0))
    used = list_used(plan, rows)
    moments = measure_moments(rows, used)
    drawn = context.generator().standard_normal((len(list_new(plan)), rows.shape[1]), np.float32)
    drawn *= (moments.std * scale).astype(np.float32)
    drawn += moments.mean.astype(np.float32)
    return _finish("diagonal", drawn, context.seed, f"moments of {len(used):,} rows")


def make_multivariate(plan: RowPlan, rows: FloatArray, context: Context) -> Rows:
    """e = μ + a L z with L Lᵀ = Σ + εI, z ~ N(0, I); a = `scale` (1) (Hewitt 2021).

    a = 1 is the distribution of the old rows. `resize_token_embeddings` of transformers has a = 10^-4.5,
    which is the mean; that is why the scale is said here.
    """
    scale = _check_scale("scale", context.option("scale", 1.0))
    used = list_used(plan, rows)
    mean = measure_moments(rows, used).mean
    root = (find_root(measure_covariance(rows, used, mean)) * scale).astype(np.float32)
    generator, offset = context.generator(), mean.astype(np.float32)
    values = np.empty((len(list_new(plan)), rows.shape[1]), np.float32)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        block[:] = generator.standard_normal(block.shape, np.float32) @ root.T + offset
    note = f"scale {scale:g}, covariance of {len(used):,} rows"
    return _finish("multivariate", values, context.seed, note)


def _check_scale(name: str, value: float) -> float:
    if not 0 <= value < np.inf:
        raise ConfigError(
            f"{name}={value:g}: must be a number, 0 or more", f"write {name}=1, or leave it out"
        )
    return value


def _finish(method: str, values: FloatArray, seed: int | None, note: str = "") -> Rows:
    return Rows(values=values, method=method, sources=None, seed=seed, note=note)
