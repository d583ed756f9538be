"""Rows aligned by co-segmentation: what the old tokenizer makes of the places where a new token stands.

The same text is cut by both tokenizers; P(s | t) is the share of the bytes of t, over all its occurrences, that
old token s covers. Trans-tokenization (Remy et al. 2024) and RAMEN (Tran 2020) take such a table from parallel
text; here one language and no aligner is needed. Differs from the mean over a spelling in that context decides
how t is spelled, and a token counts by its length.
"""

from __future__ import annotations

import numpy as np

from vocabkit.core.errors import ConfigError
from vocabkit.extension.context import Context, list_new
from vocabkit.extension.mixtures import Mixture
from vocabkit.extension.plan_types import FloatArray, Int64Array, RowPlan
from vocabkit.extension.segmentation_overlap import Cuts, cut_lines


def mix_alignment(plan: RowPlan, rows: FloatArray, context: Context) -> tuple[Mixture, str]:
    """e = Σ_s P(s | t) E_s, P from the context's lines. Raises ConfigError without text.

    Returns on how many lines the tokenizers agree beside the mixture; a token in none is made from none.
    """
    if not context.lines or context.new_tokenizer is None:
        raise ConfigError("alignment needs text and the new tokenizer", "name text with --text")
    place = np.full(plan.new_size, -1, np.int64)
    place[list_new(plan)] = np.arange(len(list_new(plan)))
    keys: list[Int64Array] = []
    amounts: list[Int64Array] = []
    agreed = 0
    for cuts in cut_lines(
        context.lines, context.old_tokenizer, context.new_tokenizer, plan.old_size, plan.new_size
    ):
        agreed += 1
        new, old, shared = _overlap(cuts)
        wanted = place[new] >= 0
        keys.append(place[new[wanted]] * plan.old_size + old[wanted])
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
