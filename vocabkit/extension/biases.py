"""Values for the new entries of a head's bias, which no initialiser of rows makes.

`resize_token_embeddings` leaves them at 0 in tied masked-language heads. Biases of rare tokens are mostly
below 0, and a new token at 0 is then predicted too often.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import ConfigError
from vocabkit.extension.context import Context, list_new, parse_method
from vocabkit.extension.plan_types import FloatArray, RowPlan
from vocabkit.extension.statistics import list_used
from vocabkit.extension.subword_sources import spell_new

BIAS_METHODS = ("mean", "zero", "minimum", "quantile", "first", "first-shared", "log-prior")
"""The rules `initialize_bias` knows; the first is the default."""


def initialize_bias(
    method: str, plan: RowPlan, bias: npt.NDArray[np.floating], context: Context
) -> FloatArray:
    """Return one value for every row to be made, float32[n_new], in the order of the ids.

    `mean`, `minimum` and `quantile` (`quantile`, 0.05) are of the trained tokens' biases; `first` is that of
    the first token of the old spelling, or the mean; `first-shared` is the same less log(m + 1), m being how
    many new tokens have that first token, so that copies of its row have its probability together and not
    each; `log-prior` fits b = α log(count + 1) + β to the old tokens' counts in the context's text and reads
    the new tokens' off their own. Raises ConfigError for an unknown rule, and for `log-prior` without text.
    """
    method, options = check_bias_method(method)
    context = replace(context, options={**context.options, **options})
    new, old = list_new(plan), np.asarray(bias, np.float64).reshape(-1)
    used = old[list_used(plan, old[:, None] + (old[:, None] == 0))]
    if method == "zero":
        return np.zeros(len(new), np.float32)
    if method in ("mean", "minimum", "quantile"):
        value = {
            "mean": used.mean(),
            "minimum": used.min(),
            "quantile": np.quantile(used, min(max(context.option("quantile", 0.05), 0), 1)),
        }[method]
        return np.full(len(new), value, np.float32)
    if method == "first":
        first = [old[ids[0]] if ids else used.mean() for ids in spell_new(plan, context)]
        return np.array(first, np.float32).reshape(len(new))
    if method == "first-shared":
        heads = [ids[0] if ids else -1 for ids in spell_new(plan, context)]
        shared = Counter(heads)
        values = [
            used.mean() if head < 0 else old[head] - np.log(shared[head] + 1) for head in heads
        ]
        return np.array(values, np.float32).reshape(len(new))
    return _follow_counts(plan, old, context)


def check_bias_method(method: str) -> tuple[str, dict[str, float]]:
    """The rule and its options. Raises ConfigError for an unknown one."""
    name, options = parse_method(method)
    if name not in BIAS_METHODS:
        raise ConfigError(
            f"no rule for biases is called {name!r}", f"one of {', '.join(BIAS_METHODS)}"
        )
    wrong = sorted(options.keys() - ({"quantile"} if name == "quantile" else set()))
    if wrong:
        raise ConfigError(
            f"{name} has no option {wrong[0]!r}", "only quantile has one: quantile:quantile=0.1"
        )
    return name, options


def _follow_counts(plan: RowPlan, old: npt.NDArray[np.float64], context: Context) -> FloatArray:
    """The line through the old biases over the logarithm of their counts, at the new tokens' counts."""
    if not context.lines or context.new_tokenizer is None:
        raise ConfigError("log-prior needs text and the new tokenizer", "name text with --text")
    texts = list(context.lines)
    before = np.bincount(context.old_tokenizer.encode_flat(texts)[0], minlength=len(old))
    after = np.bincount(context.new_tokenizer.encode_flat(texts)[0], minlength=plan.new_size)
    used = plan.old_used[: len(old)] & (before[: len(old)] > 0)
    if used.sum() < 2 or np.ptp(before[: len(old)][used]) == 0:
        return np.full(len(list_new(plan)), old[plan.old_used].mean(), np.float32)
    slope, start = np.polyfit(np.log(before[: len(old)][used] + 1), old[used], 1)
    return np.asarray(slope * np.log(after[list_new(plan)] + 1) + start, np.float32)
