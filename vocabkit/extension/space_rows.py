"""A space in which new tokens and old ones have vectors: a donor's rows, or vectors learnt from text.

The old tokens that have a vector there are the anchors. A method says what a new token is in terms of the
anchors' vectors, and the same is then said of their rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from vocabkit.checkpoints.checkpoint import find_vocabulary_tensors, open_checkpoint
from vocabkit.checkpoints.safetensors_files import as_float32
from vocabkit.core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from vocabkit.core.errors import CheckpointError, ConfigError
from vocabkit.core.progress import Progress, Silent
from vocabkit.extension.rows import Context, Donor, Mixture, Role, RowPlan, list_new, make_mixture, number_new
from vocabkit.extension.simple_rows import index_surfaces, list_surfaces, match_surfaces
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.roles import open_source

# --- Lines cut twice -------------------------------------------------------------------------------


class Cuts(NamedTuple):
    """Line `line` as two tokenizers cut it: ids, and where each token ends, in bytes of `text`."""

    line: int
    text: bytes
    old_ids: Int64Array
    old_stops: Int64Array
    new_ids: Int64Array
    new_stops: Int64Array


def cut_lines(lines: Sequence[str], old: Tokenizer, new: Tokenizer, plan: RowPlan) -> Iterator[Cuts]:
    """Yield how both cut each line, for the lines on which their bytes agree."""
    old_size, new_size = plan.old_size, plan.new_size
    surfaces = list_surfaces(old, old_size), list_surfaces(new, new_size)
    for start in range(0, len(lines), 1_000):
        part = list(lines[start : start + 1_000])
        pairs = zip(old.encode_batch(part), new.encode_batch(part), strict=True)
        for line, (first, second) in enumerate(pairs, start):
            left = [surfaces[0][i] if i < old_size else None for i in first.tolist()]
            right = [surfaces[1][i] if i < new_size else None for i in second.tolist()]
            texts = b"".join(filter(None, left)), b"".join(filter(None, right))
            if None in left or None in right:
                continue
            gap = len(texts[0]) - len(texts[1])
            longer, shorter = (texts[0], texts[1]) if gap > 0 else (texts[1], texts[0])
            if abs(gap) > 1 or longer[abs(gap) :] != shorter or longer[: abs(gap)].strip():
                continue
            stops = [np.cumsum([len(token or b"") for token in side], dtype=np.int64) for side in (left, right)]
            # Both end together: a space that one puts first is of the other's first token too.
            longest = max(map(len, texts))
            old_stops, new_stops = (stop + longest - len(text) for stop, text in zip(stops, texts, strict=True))
            yield Cuts(line, longer, first.astype(np.int64), old_stops, second.astype(np.int64), new_stops)


# --- Vectors from text -----------------------------------------------------------------------------
# Levy and Goldberg 2014 ("Neural word embedding as implicit matrix factorization"). They stand in for
# fastText's, which FOCUS learns, where no donor model is at hand.

_BLOCK = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """A symmetric sparse matrix, sorted by row: `values[j]` stands at (`rows[j]`, `columns[j]`)."""

    rows: Int64Array
    columns: Int64Array
    values: Float32Array
    size: int

    def multiply(self, dense: Float32Array) -> Float32Array:
        out = np.zeros((self.size, dense.shape[1]), np.float32)
        for start in range(0, len(self.rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            products = dense[self.columns[part]] * self.values[part, None]
            owners, starts = np.unique(self.rows[part], return_index=True)
            out[owners] += np.add.reduceat(products, starts, axis=0)
        return out


def _learn_vectors(
    lines: Sequence[str],
    tokenizer: Tokenizer,
    size: int,
    *,
    width: int = 100,
    window: int = 5,
    min_count: int = 5,
    seed: int = 0,
) -> tuple[Float32Array, BoolArray]:
    """Return a vector for each id, float32[size, width], and which have one: those in `min_count` places.

    Positive pointwise mutual information in a window, contexts smoothed by a power of 0.75; then the left
    singular vectors times the root of the singular values. No pair crosses the end of a line. The same text and
    seed give the same vectors.
    """
    ids, lengths = tokenizer.encode_flat(list(lines))
    counts = np.bincount(ids, minlength=size)[:size]
    known = counts >= min_count
    vectors = np.zeros((size, width), np.float32)
    dense = np.cumsum(known) - 1
    owners = np.repeat(np.arange(len(lengths)), lengths)
    keep = (ids < size) & known[np.minimum(ids, size - 1)]
    pairs = _weigh_pairs(dense[ids[keep]], owners[keep], int(known.sum()), window)
    if len(pairs.rows):
        found = _reduce(pairs, min(width, pairs.size), seed)
        vectors[known, : found.shape[1]] = found
    known &= np.any(vectors != 0, axis=1)
    return vectors, known


def _weigh_pairs(ids: Int64Array, owners: Int64Array, size: int, window: int) -> _Pairs:
    """Positive pointwise mutual information of all pairs within the window, in both directions."""
    keys: list[Int64Array] = []
    for gap in range(1, window + 1):
        same = owners[gap:] == owners[:-gap]
        left, right = ids[:-gap][same], ids[gap:][same]
        keys += [left * size + right, right * size + left]
    cells, amounts = np.unique(np.concatenate(keys), return_counts=True)
    rows, columns = cells // max(size, 1), cells % max(size, 1)
    total = np.bincount(rows, amounts, size)
    smooth = total**0.75
    expected = total[rows] * smooth[columns] / max(smooth.sum(), 1)
    values = np.log(amounts / np.maximum(expected, 1e-12))
    above = values > 0
    return _Pairs(rows[above], columns[above], values[above].astype(np.float32), size)


def _reduce(pairs: _Pairs, width: int, seed: int) -> Float32Array:
    """Left singular vectors times √σ, by a random range and two power steps (Halko et al. 2011)."""
    drawn = min(width + 10, pairs.size)
    basis = np.random.default_rng(seed).standard_normal((pairs.size, drawn), np.float32)
    for _ in range(3):
        basis = np.linalg.qr(pairs.multiply(basis))[0]
    # The matrix is nearly symmetric: its transpose is that of the smoothed contexts.
    small = pairs.multiply(basis)
    left, sigma, _ = np.linalg.svd(small, full_matrices=False)
    return np.asarray(left[:, :width] * np.sqrt(sigma[:width]), np.float32)


_DONOR_BLOCK = 8_192


def open_donor(folder: str | Path, role: Role = "input") -> Donor:
    """Read the donor's rows in this role; a tied donor has the same for all.

    Raises CheckpointError for a folder without a model or with a tokenizer that is not the model's.
    """
    path = Path(folder)
    checkpoint = open_checkpoint(path)
    source = open_source(path, checkpoint.model_type)
    found = find_vocabulary_tensors(checkpoint, source.size)
    heads = [item for item in found.found if item.role == "output" and len(item.tensor.shape) == 2]
    chosen = heads[0] if role == "output" and heads else found.input
    if source.size > chosen.rows:
        what = f"{path}: its tokenizer has {source.size:,} ids, its matrix {chosen.rows:,} rows"
        raise CheckpointError(what, "name a donor's folder with the donor's own tokenizer")
    stored = checkpoint.read_rows(chosen.tensor.name, chosen.axis)
    rows = np.empty((chosen.rows, chosen.width), np.float32)
    for start in range(0, len(rows), _DONOR_BLOCK):
        part = np.ascontiguousarray(stored[start : start + _DONOR_BLOCK])
        rows[start : start + _DONOR_BLOCK] = as_float32(part, chosen.tensor.dtype)
    return Donor(rows, source.tokenizer, path.name or str(path))


# --- Alignment -------------------------------------------------------------------------------------


def mix_alignment(plan: RowPlan, rows: Float32Array, context: Context) -> tuple[Mixture, str]:
    """e = Σ_s P(s | t) E_s, P(s | t) the share of the bytes of t, in all the lines, that s covers.

    Trans-tokenization (Remy et al. 2024) and RAMEN (Tran 2020) take such a table from parallel text; here one
    language and no aligner is needed. Differs from the mean over a spelling in that context decides how t is
    spelled, and a token counts by its length. Returns on how many lines the tokenizers agree beside the
    mixture; a token in none is made from none. Raises ConfigError without text.
    """
    if not context.lines or context.new_tokenizer is None:
        raise ConfigError("alignment needs text and the new tokenizer", "name text with --text")
    position = number_new(plan)
    keys: list[Int64Array] = []
    amounts: list[Int64Array] = []
    agreed = 0
    for cuts in cut_lines(context.lines, context.old_tokenizer, context.new_tokenizer, plan):
        agreed += 1
        new, old, shared = _overlap(cuts)
        wanted = position[new] >= 0
        keys.append(position[new[wanted]] * plan.old_size + old[wanted])
        amounts.append(shared[wanted])
    note = f"{agreed:,} of {len(context.lines):,} lines"
    flat = np.concatenate(keys) if keys else np.zeros(0, np.int64)
    cells, where = np.unique(flat, return_inverse=True)
    sums = np.bincount(where, np.concatenate(amounts), len(cells)) if len(cells) else np.zeros(0)
    owners = cells // plan.old_size
    lengths = np.bincount(owners, minlength=len(list_new(plan)))
    totals = np.bincount(owners, sums, len(lengths))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]).astype(np.int64)
    weights = (sums / totals[owners]).astype(np.float32)
    return Mixture(cells % plan.old_size, weights, offsets), note


def _overlap(cuts: Cuts) -> tuple[Int64Array, Int64Array, Int64Array]:
    """New id, old id and how many bytes they share, for every pair that shares some on the line."""
    bounds = np.unique(np.concatenate([cuts.old_stops, cuts.new_stops]))
    lengths = np.diff(bounds, prepend=0)
    # The token that covers the bytes up to a bound is the first that ends at or after it.
    old = np.searchsorted(cuts.old_stops, bounds)
    new = np.searchsorted(cuts.new_stops, bounds)
    return cuts.new_ids[new], cuts.old_ids[old], lengths


# --- Anchors and targets ---------------------------------------------------------------------------


class _Space(NamedTuple):
    """`anchors` float32[m, k] are vectors of the old rows `anchor_ids`; `targets` float32[t, k] those of the
    new rows at the places `positions`, counted among the rows to be made.
    """

    anchors: Float32Array
    anchor_ids: Int64Array
    targets: Float32Array
    positions: Int64Array
    origin: str


def _open_space(plan: RowPlan, context: Context) -> _Space:
    """The donor's space, or without a donor one learnt from the context's text.

    Raises ConfigError where there is neither, and where fewer than ten old tokens have a vector.
    """
    if context.donor is not None:
        space = _read_donor(plan, context.old_tokenizer, context.donor)
    elif context.lines and context.new_tokenizer is not None:
        space = _learn_space(plan, context, context.new_tokenizer)
    else:
        raise ConfigError("there is no donor and no text", "name a donor's folder with --donor")
    if len(space.anchors) < 10:
        what = f"only {len(space.anchors)} old tokens have a vector there"
        raise ConfigError(f"{space.origin}: {what}", "name another donor, or more text")
    return space


def _normalize_rows(vectors: Float32Array) -> Float32Array:
    """The vectors at length 1; one of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


def _read_donor(plan: RowPlan, old_tokenizer: Tokenizer, donor: Donor) -> _Space:
    size, block = len(donor.rows), _DONOR_BLOCK
    usable = np.concatenate([donor.rows[i : i + block].any(axis=1) for i in range(0, size, block)])
    table = index_surfaces(list_surfaces(donor.tokenizer, size), donor.tokenizer.kinds, usable)
    listed = zip(list_surfaces(old_tokenizer, plan.old_size), plan.old_used, strict=True)
    old = [surface if used else None for surface, used in listed]
    anchor_ids, donor_ids = match_surfaces(old, table)
    positions, sought = match_surfaces([plan.tokens[index] for index in list_new(plan)], table)
    anchors, targets = (np.asarray(donor.rows[ids], np.float32) for ids in (donor_ids, sought))
    return _Space(anchors, anchor_ids, targets, positions, donor.name)


def _learn_space(plan: RowPlan, context: Context, tokenizer: Tokenizer) -> _Space:
    width, least = context.whole("width", 100), context.whole("min_count", 5)
    # No adapter compares tokenizers: each is its own key.
    key: Any = tokenizer
    vectors, known = _learn_once(context.lines, key, plan.new_size, width, least, context.seed)
    kept = np.maximum(plan.kept, 0)
    # `known` is shared by all methods of a comparison: it is not changed.
    is_anchor = known & (plan.kept >= 0) & plan.old_used[kept]
    new = list_new(plan)
    positions = np.flatnonzero(known[new]).astype(np.int64)
    origin, old = f"vectors from {len(context.lines):,} lines", plan.kept[is_anchor].astype(np.int64)
    return _Space(vectors[is_anchor], old, vectors[new[positions]], positions, origin)


@lru_cache(maxsize=1)
def _learn_once(
    lines: tuple[str, ...], tokenizer: Tokenizer, size: int, width: int, least: int, seed: int
) -> tuple[Float32Array, BoolArray]:
    """Vectors for methods compared on one text: 20,000 lines take 15 seconds."""
    return _learn_vectors(lines, tokenizer, size, width=width, min_count=least, seed=seed)


# --- Linear maps -----------------------------------------------------------------------------------
# A least-squares map or a rotation depends on all anchors, so no sources are kept of a row.


@dataclass(frozen=True, slots=True, eq=False)
class _LinearMap:
    """x ↦ (x − `source`) · `matrix` + `target`, with `matrix` float64[k, d]."""

    source: Float64Array
    matrix: Float64Array
    target: Float64Array

    def apply(self, vectors: npt.NDArray[np.floating]) -> Float32Array:
        """Return the vectors' images, float32[n, d]."""
        return np.asarray((vectors - self.source) @ self.matrix + self.target, np.float32)


def map_by_least_squares(
    plan: RowPlan, rows: Float32Array, context: Context
) -> tuple[Float32Array, Int64Array]:
    """e = (a − ā) M + Ē, M = argmin ‖(A − Ā) M − (E − Ē)‖² + λ ‖M‖² over the anchors.

    Mikolov, Le and Sutskever 2013. λ is `ridge` (1e-3) of the vectors' mean variance times their number.
    Returns the rows and their places among those to be made.
    """
    ridge = context.option("ridge", 1e-3)
    if ridge < 0:
        raise ConfigError(f"ridge={ridge:g}: must be 0 or more", "leave it out: 1e-3")
    space = _open_space(plan, context)
    found = _fit_least_squares(space.anchors, rows[space.anchor_ids], ridge)
    return found.apply(space.targets), space.positions


def map_by_rotation(plan: RowPlan, rows: Float32Array, context: Context) -> tuple[Float32Array, Int64Array]:
    """e = s (a − ā) R + Ē, R = U Vᵀ of the singular value decomposition of (A − Ā)ᵀ (E − Ē) over the anchors.

    Orthogonal Procrustes (Schönemann 1966), s = Σσ ÷ ‖A − Ā‖². Where the spaces differ in width, R turns the
    narrower one into a part of the other. Returns as `map_by_least_squares`.
    """
    space = _open_space(plan, context)
    found = _fit_rotation(space.anchors, rows[space.anchor_ids])
    return found.apply(space.targets), space.positions


def _fit_least_squares(
    source: npt.NDArray[np.floating], target: npt.NDArray[np.floating], ridge: float
) -> _LinearMap:
    """The map of `map_by_least_squares` from `source` [n, k] to `target` [n, d]."""
    left, right, means = _centre(source, target)
    gram = left.T @ left
    gram += ridge * float(np.trace(gram)) / len(gram) * np.eye(len(gram))
    matrix = np.linalg.solve(gram, left.T @ right) if ridge else np.linalg.lstsq(left, right)[0]
    return _LinearMap(means[0], np.asarray(matrix), means[1])


def _fit_rotation(source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> _LinearMap:
    """The map of `map_by_rotation` from `source` [n, k] to `target` [n, d]."""
    left, right, means = _centre(source, target)
    u, sigma, vt = np.linalg.svd(left.T @ right, full_matrices=False)
    size = float(np.square(left).sum())
    return _LinearMap(means[0], (u @ vt) * (sigma.sum() / size if size else 0.0), means[1])


def _centre(
    source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]
) -> tuple[Float64Array, Float64Array, tuple[Float64Array, Float64Array]]:
    left, right = source.astype(np.float64), target.astype(np.float64)
    means = left.mean(axis=0), right.mean(axis=0)
    return left - means[0], right - means[1], means


# --- Neighbours ------------------------------------------------------------------------------------
# kNN-softmax, FOCUS and CLP weigh anchors by the cosine of their vectors with the token's; they differ in how
# many count. The whole matrix of cosines is never held: 100,000 tokens by 30,000 anchors would be 12 GB.

_NEIGHBOUR_CELLS = 1 << 25
_GROUP = 16


def mix_nearest(plan: RowPlan, rows: Float32Array, context: Context) -> Mixture:
    """e = Σ w_i E_i over the `k` (10) nearest anchors, w = softmax(cos ÷ `temperature`) (0.1).

    The rule of WECHSEL (Minixhofer et al. 2022) and OFA (Liu et al. 2023).
    """
    space = _open_space(plan, context)
    k = min(context.whole("k", 10), len(space.anchors))
    temperature = max(context.option("temperature", 0.1), 1e-6)
    found: list[tuple[Int64Array, Float32Array]] = []
    for cosines in _list_cosines(space):
        chosen = _find_largest(cosines, k)
        values = np.take_along_axis(cosines, chosen, axis=1) / temperature
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        weights = powers / powers.sum(axis=1, keepdims=True)
        found += [(space.anchor_ids[c], w) for c, w in zip(chosen, weights, strict=True)]
    return _place_rows(plan, space, found)


def mix_focus(plan: RowPlan, rows: Float32Array, context: Context) -> Mixture:
    """e = Σ w_i E_i over all anchors, w = sparsemax(cos): most weights are exactly 0 (FOCUS).

    Dobler and de Melo 2023; their vectors are fastText's of the target text, here the donor's or those of
    `_learn_vectors`. The row lies in the convex hull of the old ones.
    """
    space = _open_space(plan, context)
    found: list[tuple[Int64Array, Float32Array]] = []
    for cosines in _list_cosines(space):
        for weights, chosen in zip(*_project_simplex(cosines), strict=True):
            some = weights > 0
            found.append((space.anchor_ids[chosen[some]], weights[some]))
    return _place_rows(plan, space, found)


def average_by_cosine(plan: RowPlan, rows: Float32Array, context: Context) -> tuple[Float32Array, Int64Array]:
    """e = Σ cos_i E_i ÷ Σ cos_i over all anchors (CLP-Transfer, Ostendorff and Rehm 2023).

    Returns the rows and their places. Weights may be negative and are nearly equal, so that rows lie close
    to the mean; a token whose cosines cancel out gets none.
    """
    space = _open_space(plan, context)
    old = np.asarray(rows[space.anchor_ids], np.float32)
    out = np.zeros((len(space.positions), rows.shape[1]), np.float32)
    sums = np.zeros(len(space.positions))
    start = 0
    for cosines in _list_cosines(space):
        stop = start + len(cosines)
        sums[start:stop] = cosines.sum(axis=1, dtype=np.float64)
        out[start:stop] = cosines @ old
        start = stop
    sound = np.abs(sums) > 1e-3 * len(old)
    return (out[sound] / sums[sound, None]).astype(np.float32), space.positions[sound]


def _list_cosines(space: _Space) -> Iterator[Float32Array]:
    """The cosines of the targets with all anchors, some rows at a time: float32[rows, m]."""
    anchors, targets = _normalize_rows(space.anchors), _normalize_rows(space.targets)
    step = max(_NEIGHBOUR_CELLS // max(len(anchors), 1), 1)
    for start in range(0, len(targets), step):
        yield targets[start : start + step] @ anchors.T


def _place_rows(plan: RowPlan, space: _Space, found: list[tuple[Int64Array, Float32Array]]) -> Mixture:
    """The rows found at their places among all that are to be made; the others are made from none."""
    placed, none = dict(zip(space.positions.tolist(), found, strict=True)), (np.zeros(0, np.int64), np.zeros(0))
    return make_mixture(placed.get(position, none) for position in range(len(list_new(plan))))


def _find_largest(values: Float32Array, k: int) -> npt.NDArray[np.intp]:
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


def _project_simplex(values: Float32Array) -> tuple[Float32Array, npt.NDArray[np.intp]]:
    """Return sparsemax of each row: the weights of some columns, and those columns; all others weigh 0.

    Martins and Astudillo 2016: sorted z, k the largest with 1 + k z_k > Σ_{j≤k} z_j, τ = (Σ_{j≤k} z_j − 1) ÷ k,
    w = max(z − τ, 0). Only the largest values are sorted, as many as the support turns out to need.
    """
    width = values.shape[1]
    k = min(64, width)
    while True:
        columns = _find_largest(values, k)
        ordered = np.take_along_axis(values, columns, axis=1).astype(np.float64)
        sums = np.cumsum(ordered, axis=1)
        ranks = np.arange(1, k + 1)
        support = (1 + ranks * ordered > sums).sum(axis=1)
        if k == width or int(support.max(initial=0)) < k:
            break
        k = min(k * 4, width)
    tau = (np.take_along_axis(sums, support[:, None] - 1, axis=1) - 1) / support[:, None]
    return np.maximum(ordered - tau, 0).astype(np.float32), columns


# --- Matching pursuit ------------------------------------------------------------------------------
# Pati, Rezaiifar and Krishnaprasad 1993; for embeddings of a new vocabulary, Goddard and Neto 2025
# (arXiv 2506.06607). Targets go in blocks: one product of matrices finds the next anchors of all.

_T = TypeVar("_T")
_IntArray = npt.NDArray[np.intp]
_CELLS = 1 << 26
_PART = 16
# An anchor whose part at right angles to those taken is below this share of it adds nothing but noise.
_LEAST = 1e-4


class Pursuit(NamedTuple):
    """Target i ≈ Σ_j `weights[i, j]` · anchor `chosen[i, j]`; `taken[i]` of the columns are in use.

    `residuals[i]` is what is left of the target's length, as a share: 0 is exact.
    """

    chosen: _IntArray
    weights: Float32Array
    taken: Int64Array
    residuals: Float32Array


def mix_pursuit(plan: RowPlan, rows: Float32Array, context: Context) -> tuple[Mixture, str]:
    """e = Σ c_i E_i with the anchors and coefficients that make up the token's vector in the donor's space.

    Options: `k` anchors a token, 32 of a donor and 8 of vectors learnt from text, which have 100 columns;
    `candidates` (128) and `refresh` (4), see `pursue`; `refresh=1` is exact. Returns what the residuals were
    beside the mixture.
    """
    space = _open_space(plan, context)
    k = context.whole("k", 32 if context.donor is not None else 8)
    candidates, refresh = context.whole("candidates", 128), context.whole("refresh", 4)
    found = pursue(
        space.anchors, space.targets, k, candidates=candidates, refresh=refresh, progress=context.progress
    )
    parts = zip(found.chosen, found.weights, found.taken, strict=True)
    listed = [(space.anchor_ids[chosen[:n]], weights[:n]) for chosen, weights, n in parts]
    mean = float(found.residuals.mean()) if len(listed) else 0.0
    note = f"{space.origin}: {len(space.anchors):,} anchors, mean residual {mean:.3f}"
    return _place_rows(plan, space, listed), note


def pursue(
    anchors: Float32Array,
    targets: Float32Array,
    k: int,
    *,
    candidates: int = 128,
    refresh: int = 1,
    progress: Progress | None = None,
) -> Pursuit:
    """Write each target, float32[t, d], as a sum of at most k anchors, float32[m, d].

    A target takes the anchor most along its residual, is fitted anew by least squares on all it has taken, and
    so on k times.
    All anchors are compared with the residuals every `refresh` steps; in between only the `candidates` that
    were most along them then. With `refresh=1` it is the exact pursuit. Anchors are compared by direction,
    whatever their length. No target takes more anchors than there are, or than the vectors have columns.
    """
    report = progress or Silent()
    units = _normalize_rows(anchors)
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
        parts = [_Block(units, targets, steps).solve(lengths)]
    return Pursuit(*map(np.concatenate, zip(*parts, strict=True)))


class _Block:
    """The state of some targets: what each has taken, an orthonormal basis of it, and what is left."""

    def __init__(self, units: Float32Array, targets: Float32Array, steps: int) -> None:
        self.units, self.targets = units, np.asarray(targets, np.float32)
        size, width = self.targets.shape
        self.residuals = self.targets.copy()
        self.basis = np.zeros((size, steps, width), np.float32)
        self.triangle = np.zeros((size, steps, steps), np.float32)
        self.chosen = np.zeros((size, steps), np.intp)
        self.taken = np.zeros(size, np.int64)
        self.candidates: _IntArray = np.zeros((size, 0), np.intp)

    def screen(self, amount: int) -> None:
        """Find the anchors most along each residual among all. None already taken is among them."""
        products = self.residuals @ self.units.T

        def find_best(start: int) -> _IntArray:
            part = slice(start, start + _PART)
            along = np.abs(products[part], out=products[part])
            rows, columns = np.nonzero(np.arange(self.chosen.shape[1]) < self.taken[part, None])
            along[rows, self.chosen[part][rows, columns]] = -1
            if amount == 1:
                best: _IntArray = along.argmax(axis=1)[:, None]
                return best
            return _find_largest(along, min(amount, along.shape[1]))

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

    def _for_parts(self, work: Callable[[int], _T]) -> list[_T]:
        """Call `work` with where each part starts: parts share nothing, and NumPy's loops run side by side."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(work, range(0, len(self.targets), _PART)))

    def _take_one(self, part: slice, held: Float32Array, free: BoolArray, step: int) -> None:
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
