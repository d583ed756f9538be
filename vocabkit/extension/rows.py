"""What planning an extension hands to the initialisers, what they hand back, and sums over old rows.

Which old row every new row keeps (`RowPlan`), what an initialiser may use beside (`Context`), and the rows made
for the ids that keep none (`Rows`) with the old rows and weights that they are sums of (`Mixture`). No method
is known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from vocabkit.core.errors import ConfigError
from vocabkit.core.progress import Progress, Silent
from vocabkit.vocabulary.adapters import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class RowPlan:
    """Which old row every new id keeps, and what each new id stands for.

    ``kept[new]`` is an old id, or -1 for a row to initialise. ``tokens[new]`` holds the surface
    bytes of a new id, ``None`` for a special or padding id. ``special`` and ``tokens`` run over the
    ``new_size`` new ids; ``padding`` and ``old_used`` over the ``old_size`` rows of the old matrix:
    rows beyond the old tokenizer, and rows that statistics may use (neither special, unused nor
    padding).
    """

    old_size: int
    new_size: int
    kept: Int64Array
    tokens: tuple[bytes | None, ...]
    special: BoolArray
    padding: BoolArray
    old_used: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows for the new ids that keep no old row, in ascending order of id.

    ``values`` is float32 [n_new, d]. ``sources`` are the old ids and weights whose sums they are (a row
    made from none is the mean of the trained rows); ``None`` where the method has no such sums.
    """

    values: Float32Array
    method: str
    sources: Mixture | None = None
    seed: int | None = None
    note: str = ""


Role = Literal["input", "output", "tied"]


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """Vectors of another model for its own tokens: `rows` float32[ids, k], in the role of those to be made."""

    rows: Float32Array
    tokenizer: Tokenizer
    name: str = "donor"


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """All that initialisers use beside the plan and the old rows.

    `role` says what the matrix does: look tokens up (`input`), predict them (`output`), or both (`tied`).
    `lines` is text for the methods that learn from some; `model` the folder of the checkpoint, for `distill`.
    """

    old_tokenizer: Tokenizer
    new_tokenizer: Tokenizer | None = None
    role: Role = "input"
    donor: Donor | None = None
    lines: tuple[str, ...] = ()
    model: Path | None = None
    seed: int = 0
    options: Mapping[str, float | str] = field(default_factory=dict)
    progress: Progress = field(default_factory=Silent)

    def option(self, name: str, default: float) -> float:
        """The option's value where one was given."""
        return float(self.options.get(name, default))

    def choice(self, name: str, known: Sequence[str]) -> str | None:
        """The option's word; None where it was not given. Raises ConfigError for one that is not known."""
        value = self.options.get(name)
        if value is None or value in known:
            return None if value is None else str(value)
        raise ConfigError(f"{name}={value}: not one of {', '.join(known)}", f"write {name}={known[0]}")

    def whole(self, name: str, default: int, least: int = 1) -> int:
        """The option as a whole number. Raises ConfigError for a fraction, or below `least`."""
        value = self.option(name, default)
        if value != int(value) or value < least:
            hint = f"write {name}={max(default, least)}, or leave it out"
            raise ConfigError(f"{name}={value:g}: must be a whole number, {least} or more", hint)
        return int(value)

    def generator(self) -> np.random.Generator:
        """A generator of its own for every role, so that a head is not its embedding's copy."""
        return np.random.default_rng([self.seed, ("input", "output", "tied").index(self.role)])


def list_new(plan: RowPlan) -> Int64Array:
    """The new ids that keep no old row, in ascending order."""
    return np.flatnonzero(plan.kept < 0).astype(np.int64)


def number_new(plan: RowPlan) -> Int64Array:
    """Return each id's place in `list_new`, int64[new_size]; -1 for one that keeps a row."""
    is_new = plan.kept < 0
    return np.where(is_new, np.cumsum(is_new) - 1, -1)


# Options that are words.
_WORDS = ("norm",)


def parse_method(text: str) -> tuple[str, dict[str, float | str]]:
    """Return the name and the options of `name` or `name:key=value,key=value`.

    Raises ConfigError for an option that is no number and should be.
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, float | str] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = (item.strip() for item in part.partition("="))
        key = key.replace("-", "_")
        try:
            options[key] = value if key in _WORDS and value else float(value)
        except ValueError:
            raise ConfigError(
                f"initialiser {text!r}: the option {part!r} is no number", "write it as multivariate:scale=0.5"
            ) from None
    return name, options


# --- Mixtures --------------------------------------------------------------------------------------

# Numbers of old rows held in float64 at a time, 16 MB.
_BLOCK = 1 << 21


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Row i is Σ `weights[j]` · old row `ids[j]` for j from `offsets[i]` up to `offsets[i + 1]`.

    It is what a receipt keeps of rows.
    """

    ids: Int64Array
    weights: Float32Array
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def empty(self) -> BoolArray:
        """The rows that are made from none."""
        return np.asarray(np.diff(self.offsets) == 0)

    def to_list(self) -> list[tuple[Int64Array, Float32Array]]:
        """The ids and weights row by row."""
        pairs = zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)
        return [(self.ids[a:b], self.weights[a:b]) for a, b in pairs]

    def fill(self, other: Mixture) -> Mixture:
        """This mixture, with `other`'s rows where this one has none."""
        mine, theirs = self.to_list(), other.to_list()
        return make_mixture(own if len(own[0]) else spare for own, spare in zip(mine, theirs, strict=True))


def make_mixture(
    rows: Iterable[tuple[Sequence[int] | Int64Array, Sequence[float] | npt.NDArray[np.floating]]],
) -> Mixture:
    """Make a mixture of ids and weights row by row."""
    ids, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for old, weight in rows:
        ids.append(np.asarray(old, np.int64))
        weights.append(np.asarray(weight, np.float32))
    offsets = np.cumsum([len(some) for some in ids], dtype=np.int64)
    return Mixture(np.concatenate(ids), np.concatenate(weights), offsets)


def _add_up(mixture: Mixture, rows: npt.NDArray[np.floating]) -> Float32Array:
    """Return the mixture of rows, float32[n, …]; a row made from none is zero.

    The sum is made in float64 and rounded once, so that it comes out the same from the receipt, whatever the
    size of the blocks.
    """
    out = np.zeros((len(mixture), *rows.shape[1:]), np.float32)
    block = max(1, _BLOCK // max(1, out[:1].size))
    filled = np.flatnonzero(~mixture.empty)
    starts, stops = mixture.offsets[filled], mixture.offsets[filled + 1]
    first = 0
    while first < len(filled):
        # Whole rows, as many as a block holds; a row longer than a block is a block of its own.
        last = max(int(np.searchsorted(stops, starts[first] + block, "right")), first + 1)
        chosen = slice(int(starts[first]), int(stops[last - 1]))
        weights = mixture.weights[chosen].astype(np.float64)
        parts = rows[mixture.ids[chosen]].astype(np.float64)
        parts *= weights.reshape(-1, *([1] * (rows.ndim - 1)))
        out[filled[first:last]] = np.add.reduceat(parts, starts[first:last] - starts[first], axis=0)
        first = last
    return out


# --- Statistics ------------------------------------------------------------------------------------
# Padding, unused ids, special tokens and rows of zeros say nothing of what a trained row looks like: a BERT
# vocabulary holds 994 `[unused]` rows whose norm is 0.41 of the median. Sums are of float64, block by block.

_STATISTICS_BLOCK = 8_192


def sum_rows(mixture: Mixture, rows: Float32Array, old_used: BoolArray) -> Float32Array:
    """Return the mixture of rows, float32[n, d]; a row made from none is the mean of the trained rows."""
    values = _add_up(mixture, rows)
    if mixture.empty.any():
        values[mixture.empty] = measure_moments(rows, list_used(old_used, rows))[0]
    return values


def list_used(old_used: BoolArray, rows: Float32Array) -> Int64Array:
    """Return the old ids that statistics are made of: those of `old_used`, less rows of zeros.

    Raises ConfigError when none is left.
    """
    used = np.flatnonzero(old_used[: len(rows)]).astype(np.int64)
    axes = tuple(range(1, rows.ndim))
    trained = [block[np.any(rows[block] != 0, axis=axes)] if axes else block for block in _blocks(used)]
    found = np.concatenate([used[:0], *trained])
    if not len(found):
        what = f"none of the {len(rows)} old rows is a trained one of an ordinary token"
        raise ConfigError(what, "check that the tokenizer in the model's folder is the model's own")
    return found


def measure_moments(rows: Float32Array, used: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Return mean and standard deviation of each column over the used rows, float64[d], in two passes.

    The deviation divides by the number of rows.
    """
    total = np.zeros(rows.shape[1:])
    for block in _blocks(used):
        total += rows[block].sum(axis=0, dtype=np.float64)
    mean = total / len(used)
    squares = np.zeros_like(mean)
    for block in _blocks(used):
        squares += np.square(rows[block] - mean).sum(axis=0)
    return mean, np.sqrt(squares / len(used))


def measure_covariance(rows: Float32Array, used: Int64Array, mean: Float64Array) -> Float64Array:
    """Return Σ = Eᵀ E ÷ n of the centred used rows, float64[d, d]."""
    sigma = np.zeros((rows.shape[1], rows.shape[1]))
    for block in _blocks(used):
        centred = rows[block] - mean
        sigma += centred.T @ centred
    return np.asarray(sigma / len(used), np.float64)


def find_root(sigma: Float64Array) -> Float64Array:
    """Return L with L Lᵀ = Σ + εI, for the smallest ε of a rising series that makes it possible.

    Σ of fewer rows than columns is singular; ε starts at 1e-12 of its mean variance.
    """
    level = float(np.trace(sigma)) / len(sigma)
    for power in range(-12, 0):
        try:
            return np.asarray(np.linalg.cholesky(sigma + level * 10.0**power * np.eye(len(sigma))))
        except np.linalg.LinAlgError:
            continue
    return np.diag(np.sqrt(np.maximum(np.diag(sigma), 0)))


def _blocks(ids: Int64Array) -> list[Int64Array]:
    return [ids[start : start + _STATISTICS_BLOCK] for start in range(0, len(ids), _STATISTICS_BLOCK)]
