"""A space in which new tokens and old ones have vectors: a donor's rows, or vectors learnt from text.

The old tokens that have a vector there are the anchors. A method says what a new token is in terms of the
anchors' vectors, and the same is then said of their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import ConfigError
from vocabkit.extension.context import Context, Donor, list_new
from vocabkit.extension.cooccurrence import learn_vectors
from vocabkit.extension.overlap import index_surfaces, list_surfaces, match_surfaces
from vocabkit.extension.plan_types import BoolArray, FloatArray, Int64Array, RowPlan
from vocabkit.vocabulary.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """`anchors` float32[m, k] are vectors of the old rows `anchor_ids`; `targets` float32[t, k] those of the
    new rows at the places `places`, counted among the rows to be made.
    """

    anchors: FloatArray
    anchor_ids: Int64Array
    targets: FloatArray
    places: Int64Array
    origin: str


def open_space(plan: RowPlan, context: Context) -> Space:
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
        raise ConfigError(
            f"{space.origin}: only {len(space.anchors)} old tokens have a vector there",
            "name another donor, or more text",
        )
    return space


def normalize_rows(vectors: FloatArray) -> FloatArray:
    """The vectors at length 1; one of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


def _read_donor(plan: RowPlan, old_tokenizer: Tokenizer, donor: Donor) -> Space:
    size = len(donor.rows)
    surfaces = list_surfaces(donor.tokenizer, size)
    usable = _has_vector(donor.rows)
    table = index_surfaces(surfaces, donor.tokenizer.kinds, usable)
    old = [
        surface if used else None
        for surface, used in zip(
            list_surfaces(old_tokenizer, plan.old_size), plan.old_used, strict=True
        )
    ]
    anchor_ids, donor_ids = match_surfaces(old, table)
    places, sought = match_surfaces([plan.tokens[index] for index in list_new(plan)], table)
    return Space(
        np.asarray(donor.rows[donor_ids], np.float32),
        anchor_ids,
        np.asarray(donor.rows[sought], np.float32),
        places,
        donor.name,
    )


def _learn_space(plan: RowPlan, context: Context, tokenizer: Tokenizer) -> Space:
    width, least = context.whole("width", 100), context.whole("min_count", 5)
    # No adapter compares tokenizers: each is its own key.
    key: Any = tokenizer
    vectors, known = _learn_once(context.lines, key, plan.new_size, width, least, context.seed)
    kept = np.maximum(plan.kept, 0)
    # `known` is shared by all methods of a comparison: it is not changed.
    is_anchor = known & (plan.kept >= 0) & plan.old_used[kept]
    new = list_new(plan)
    places = np.flatnonzero(known[new]).astype(np.int64)
    return Space(
        vectors[is_anchor],
        plan.kept[is_anchor].astype(np.int64),
        vectors[new[places]],
        places,
        f"vectors from {len(context.lines):,} lines",
    )


@lru_cache(maxsize=1)
def _learn_once(
    lines: tuple[str, ...], tokenizer: Tokenizer, size: int, width: int, least: int, seed: int
) -> tuple[FloatArray, BoolArray]:
    """Vectors for methods compared on one text: 20,000 lines take 15 seconds."""
    return learn_vectors(lines, tokenizer, size, width=width, min_count=least, seed=seed)


def _has_vector(rows: npt.NDArray[np.floating]) -> BoolArray:
    step = 8_192
    parts = [np.any(rows[i : i + step] != 0, axis=1) for i in range(0, len(rows), step)]
    return np.concatenate(parts) if parts else np.zeros(0, bool)
