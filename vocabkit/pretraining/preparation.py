"""What preparing a corpus can be asked for, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vocabkit.pretraining.prepared import Encoding

__all__ = ["PrepareOptions", "PrepareReport", "PrepareRow"]


@dataclass(frozen=True, slots=True)
class PrepareOptions:
    """Settings that change the rows, and `workers`, which does not. `length` is in places, specials included.

    `encoding`: `union` encodes every language with the whole vocabulary, `routed` with the shared block and
    the language's own.
    """

    length: int = 512
    encoding: Encoding = "union"
    held_out: float = 0.02
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class PrepareRow:
    """One language's line of the report: documents, bytes, tokens and rows to train on, and those held out.

    `efficiency` is the share of training rows' places that are not padding; `bytes_per_token` bytes of
    original text over tokens without specials; `unknown` the unknown tokens' share of all tokens.
    """

    language: str
    documents: int
    bytes: int
    tokens: int
    rows: int
    efficiency: float
    bytes_per_token: float
    held_out_documents: int
    held_out_rows: int
    cut: int
    unknown: float
    repairs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What was prepared: a row per language, files left aside, shards taken over from an interrupted run.

    `efficiency` is that of all training rows together. `no_export`: why AutoTokenizer will not open the
    tokenizer of a model trained on them; None where it will.
    """

    rows: tuple[PrepareRow, ...]
    efficiency: float
    ignored: tuple[str, ...]
    resumed: int
    seconds: float
    no_export: str | None
