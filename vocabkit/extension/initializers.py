"""Every way of making new rows, in one table: `initialize` makes those that a plan asks for.

Methods are functions of `simple_rows`, `space_rows` and `distill`; here is what each needs, and what happens to
tokens a method can say nothing of: they get the mean of the old rows over their spelling, or the mean of
all. Special tokens and padding have no spelling, and so the latter.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from vocabkit.core.arrays import BoolArray, Float32Array, Int64Array
from vocabkit.core.errors import ConfigError
from vocabkit.extension.rows import Context, Mixture, RowPlan, Rows, list_new, parse_method, sum_rows
from vocabkit.extension.simple_rows import (
    make_diagonal,
    make_mean,
    make_multivariate,
    make_normal,
    make_zero,
    mix_first,
    mix_last,
    mix_overlap,
    mix_positional,
    mix_subwords,
)
from vocabkit.extension.space_rows import (
    average_by_cosine,
    map_by_least_squares,
    map_by_rotation,
    mix_alignment,
    mix_focus,
    mix_nearest,
    mix_pursuit,
)

_Need = Literal["nothing", "space", "text", "model"]
_Make = Callable[[RowPlan, Float32Array, Context], Rows]


class _Method(NamedTuple):
    """A way of making rows: what it needs beside tokenizers and old rows, its options, and its function."""

    make: _Make
    needs: _Need
    options: frozenset[str]


def initialize(method: str, plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
    """Make the rows for all new ids that keep none, from old rows float32[V_old, d].

    `method` is a name of `METHODS`, with options as `parse_method` reads them; they go before the context's.
    Rows of a method with `sources` are exactly the sums of these, and one with empty sources is the mean of
    the trained rows. Raises ConfigError for an unknown method or option, and where what it needs is missing.
    """
    name, options = _read_method(method)
    known = _find_method(name)
    context = replace(context, options={**context.options, **options})
    _refuse_missing(name, explain_missing(name, context))
    made = known.make(plan, rows, context)
    if not np.isfinite(made.values).all():
        wrong = int(list_new(plan)[~np.isfinite(made.values).all(axis=1)][0])
        hint = "look for rows that are not finite in the model or the donor"
        raise ConfigError(f"{name}: the row of new id {wrong} is not finite", hint)
    return made


def check_method(method: str, *, has_donor: bool, has_text: bool) -> None:
    """Raise ConfigError for a method that cannot be used, before anything is made.

    What only its function can tell, such as an option's range, is told then.
    """
    name, _ = _read_method(method)
    _refuse_missing(name, _explain(_find_method(name).needs, has_donor, has_text))


def _read_method(method: str) -> tuple[str, dict[str, float | str]]:
    name, options = parse_method(method)
    known = _find_method(name)
    wrong = sorted(options.keys() - known.options)
    if wrong:
        listed = ", ".join(sorted(known.options)) or "none"
        raise ConfigError(f"{name} has no option {wrong[0]!r}", f"its options: {listed}")
    return name, options


def _refuse_missing(name: str, lack: str | None) -> None:
    if lack is not None:
        given = "--donor DIR or --text FILE" if "donor" in lack else "--text FILE"
        raise ConfigError(f"{name}: {lack}", f"name it with {given}")


def _find_method(name: str) -> _Method:
    """The method of that name. Raises ConfigError naming the nearest."""
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(METHODS)}"
    raise ConfigError(f"no initialiser is called {name!r}", hint)


def explain_missing(name: str, context: Context) -> str | None:
    """What the method lacks in this context; None where it can be used."""
    needs = _find_method(name).needs
    has_text = bool(context.lines) and context.new_tokenizer is not None
    lack = _explain(needs, context.donor is not None, has_text)
    if lack is None and needs == "model" and context.model is None:
        return "needs the model's folder"
    return lack


def _explain(needs: _Need, has_donor: bool, has_text: bool) -> str | None:
    if needs == "space" and not (has_donor or has_text):
        return "needs a donor, or text and the new tokenizer"
    if needs in ("text", "model") and not has_text:
        return "needs text and the new tokenizer"
    return None


def choose_methods(*, tied: bool, has_donor: bool) -> tuple[str, str]:
    """The default methods for input and output rows.

    The mean over the spelling, fixed on German text: 1,000 new tokens of SmolLM2-135M cost 2.94 bits per byte
    with it in the tied matrix, and 3.07 with the first token's row as a head of its own: tokens that begin
    alike then have its probability each. Inputs of their own come from a donor where there is one.
    """
    if tied or not has_donor:
        return "subword-mean", "subword-mean"
    return "omp", "subword-mean"


def _mixed(name: str, mix: Callable[[RowPlan, Float32Array, Context], Mixture | tuple[Mixture, str]]) -> _Make:
    def make(plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
        found = mix(plan, rows, context)
        mixture, note = found if isinstance(found, tuple) else (found, "")
        lacking = mixture.empty
        if lacking.any() and mix not in _SPELLED:
            mixture = mixture.fill(mix_subwords(plan, rows, context))
        values = sum_rows(mixture, rows, plan.old_used)
        seed = context.seed if METHODS[name].needs == "space" and context.donor is None else None
        return Rows(values, name, mixture, seed, _describe(name, lacking, mixture.empty, note))

    return make


def _mapped(
    name: str, map_rows: Callable[[RowPlan, Float32Array, Context], tuple[Float32Array, Int64Array]]
) -> _Make:
    def make(plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
        found, positions = map_rows(plan, rows, context)
        spare = mix_subwords(plan, rows, context)
        values = sum_rows(spare, rows, plan.old_used)
        values[positions] = found
        lacking = np.ones(len(values), bool)
        lacking[positions] = False
        seed = None if context.donor is not None else context.seed
        return Rows(values, name, None, seed, _describe(name, lacking, lacking & spare.empty, ""))

    return make


def _distilled(plan: RowPlan, rows: Float32Array, context: Context) -> Rows:
    from vocabkit.extension.distill import distill_rows

    start = METHODS["subword-mean"].make(plan, rows, context).values
    values, note = distill_rows(plan, rows, start, context)
    return Rows(values=values, method="distill", seed=context.seed, note=note)


def _describe(name: str, lacking: BoolArray, empty: BoolArray, note: str) -> str:
    rules = ((~lacking, name), (lacking & ~empty, "subword-mean"), (empty, "mean"))
    said = ", ".join(f"{int(rows.sum()):,} by {rule}" for rows, rule in rules if rows.any())
    return f"{said}; {note}" if note else said


_SPELLED = (mix_subwords, mix_positional, mix_first, mix_last)
_SPACE = frozenset({"width", "min_count"})

METHODS: dict[str, _Method] = {
    "zero": _Method(make_zero, "nothing", frozenset()),
    "normal": _Method(make_normal, "nothing", frozenset({"std"})),
    "mean": _Method(make_mean, "nothing", frozenset()),
    "diagonal": _Method(make_diagonal, "nothing", frozenset({"scale"})),
    "multivariate": _Method(make_multivariate, "nothing", frozenset({"scale"})),
    "subword-mean": _Method(_mixed("subword-mean", mix_subwords), "nothing", frozenset({"norm"})),
    "positional": _Method(_mixed("positional", mix_positional), "nothing", frozenset({"rate"})),
    "first": _Method(_mixed("first", mix_first), "nothing", frozenset()),
    "last": _Method(_mixed("last", mix_last), "nothing", frozenset()),
    "overlap": _Method(_mixed("overlap", mix_overlap), "nothing", frozenset()),
    "knn": _Method(_mixed("knn", mix_nearest), "space", _SPACE | {"k", "temperature"}),
    "focus": _Method(_mixed("focus", mix_focus), "space", _SPACE),
    "clp": _Method(_mapped("clp", average_by_cosine), "space", _SPACE),
    "omp": _Method(_mixed("omp", mix_pursuit), "space", _SPACE | {"k", "candidates", "refresh"}),
    "least-squares": _Method(_mapped("least-squares", map_by_least_squares), "space", _SPACE | {"ridge"}),
    "procrustes": _Method(_mapped("procrustes", map_by_rotation), "space", _SPACE),
    "alignment": _Method(_mixed("alignment", mix_alignment), "text", frozenset()),
    "distill": _Method(_distilled, "model", frozenset({"steps", "batch", "length", "rate"})),
}
"""Name → method, the baselines first."""
