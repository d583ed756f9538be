"""Which pieces a language uses: the best segmentation of its spans, counted.

Encodes spans as they stand, through SentencePiece, with no prefix added: a word-initial span carries its own
U+2581 and a continuation has none. Since no piece crosses the end of a span, the counts are those of the
running text (unknown characters apart: SentencePiece merges neighbouring unknowns across spans).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from vocabkit.core.progress import Progress
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.rows import decode_rows
from vocabkit.fitting.sorting import Int64Array
from vocabkit.vocabulary.sentencepiece_format import write_model
from vocabkit.vocabulary.vocabulary import Vocabulary

_BATCH = 50_000


def count_usage(
    vocabulary: Vocabulary,
    tables: Mapping[str, SpanTable],
    *,
    threads: int = 2,
    progress: Progress | None = None,
) -> dict[str, Int64Array]:
    """Return, by language, how often each id is used on the language's spans."""
    encoder = _open_encoder(vocabulary)
    if progress:
        progress.start("usage", sum(len(t.count) for t in tables.values()), "spans")
    usage = {}
    for code in sorted(tables):
        table = tables[code]
        counts = np.zeros(vocabulary.size, np.int64)
        spans = decode_rows(table.text, table.offsets)
        for start in range(0, len(table.count), _BATCH):
            batch = list(itertools.islice(spans, _BATCH))
            ids = encoder.encode(batch, num_threads=threads)
            lengths = np.fromiter(map(len, ids), np.int64, len(ids))
            flat = np.fromiter(itertools.chain.from_iterable(ids), np.int64, int(lengths.sum()))
            np.add.at(counts, flat, np.repeat(table.count[start : start + len(batch)], lengths))
            if progress:
                progress.advance(len(batch))
        usage[code] = counts
    if progress:
        progress.finish()
    return usage


def count_span_tokens(vocabulary: Vocabulary, table: SpanTable, *, threads: int = 2) -> Int64Array:
    """Return how many tokens each span of a table takes, in table order; occurrences play no part."""
    encoder = _open_encoder(vocabulary)
    found = np.empty(len(table), np.int64)
    spans = decode_rows(table.text, table.offsets)
    for start in range(0, len(table), _BATCH):
        ids = encoder.encode(list(itertools.islice(spans, _BATCH)), num_threads=threads)
        found[start : start + len(ids)] = np.fromiter(map(len, ids), np.int64, len(ids))
    return found


def _open_encoder(vocabulary: Vocabulary) -> sentencepiece.SentencePieceProcessor:
    """Return SentencePiece with the vocabulary, taking its input as it stands."""
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(write_model(vocabulary))
    proto.normalizer_spec.Clear()
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
