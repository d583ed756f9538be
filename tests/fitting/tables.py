"""Span tables and rows from plain strings, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vocabkit.corpus.spans import SpanTable, hash_spans
from vocabkit.fitting.rows import Rows, pool_rows

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


def make_rows(spans: Mapping[str, int], documents: Mapping[str, int] | None = None) -> Rows:
    """Return rows with everything covered and natural weights."""
    return pool_rows({"x": span_table(spans, documents)}, {"x": 1.0}, EVERYTHING)


def reorder_rows(rows: Rows, order: Sequence[int]) -> Rows:
    """Return the same rows in another order."""
    listed = list(rows.strings())
    index = np.array(order, np.int64)
    return Rows(
        np.array([ord(c) for i in order for c in listed[i]], np.uint32),
        np.append(0, np.cumsum([len(listed[i]) for i in order])).astype(np.int64),
        rows.count[index],
        rows.documents[index],
        rows.weight[index],
        rows.rounding,
    )
