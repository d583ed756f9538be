"""What planning an extension hands to the initialisers, and what they hand back.

It holds data and nothing else: which old row every new row keeps (``RowPlan``), and the rows made
for the ids that keep none (``Rows``), each with the old rows and weights it was made from.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BoolArray", "FloatArray", "Int64Array", "RowPlan", "Rows", "Source"]

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Source:
    """Old rows, and the weight of each, that one new row is made from."""

    ids: tuple[int, ...] | Int64Array
    weights: FloatArray


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

    ``values`` is float32 [n_new, d]. ``sources[i]`` gives the old ids and weights whose sum is row
    ``i`` (empty where the row came from none); ``None`` where the method has no such sum.
    """

    values: FloatArray
    method: str
    sources: list[tuple[Int64Array, FloatArray]] | None
    seed: int | None
    note: str
