"""Span tables and rows from plain strings, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from vocabkit.corpus.compilation import open_workers
from vocabkit.corpus.spans import SpanTable, hash_spans
from vocabkit.fitting.sentencepiece_engine import Rows, Seeds, find_seeds, pool_rows

EVERYTHING = np.ones(0x110000, np.bool_)


def span_table(spans: Mapping[str, int], documents: Mapping[str, int] | None = None) -> SpanTable:
    """Return the table of spans given as text → count; word-initial ones begin with ▁."""
    listed = list(spans)
    text = np.array([ord(c) for span in listed for c in span], np.uint32)
    offsets = np.append(0, np.cumsum([len(span) for span in listed])).astype(np.int64)
    key = hash_spans(text, offsets)
    order = np.argsort(key)
    listed = [listed[i] for i in order]
    frequency = documents or dict.fromkeys(listed, 1)
    return SpanTable(
        np.array([ord(c) for span in listed for c in span], np.uint32),
        np.append(0, np.cumsum([len(span) for span in listed])).astype(np.int64),
        np.array([spans[span] for span in listed], np.int64),
        np.array([frequency[span] for span in listed], np.int64),
        key[order],
    )


def pool(
    tables: Mapping[str, SpanTable],
    weights: Mapping[str, float] | None = None,
    covered: npt.NDArray[np.bool_] = EVERYTHING,
    **options: int,
) -> Rows:
    """Return the rows of tables, with natural weights by default."""
    with open_workers(2) as workers:
        return pool_rows(tables, weights or dict.fromkeys(tables, 1.0), covered, workers, **options)


def make_rows(spans: Mapping[str, int], documents: Mapping[str, int] | None = None) -> Rows:
    """Return rows with everything covered and natural weights."""
    return pool({"x": span_table(spans, documents)})


def seed(rows: Rows, size: int, **options: int) -> Seeds:
    """Return the seeds of rows."""
    with open_workers(2) as workers:
        return find_seeds(rows, size, workers, **options)
