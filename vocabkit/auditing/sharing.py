"""What a language pays for sharing a vocabulary: its cost beside that of one of its own, of as many pieces.

The own vocabulary is a unigram one fitted on the language's counted words alone, with as many pieces as the
language uses of the shared one, so that size is not what is compared. Both are measured on held-out words where
the counts hold enough. White-space words are the unit: the ratio of the two does not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vocabkit.auditing.figures import Figures
from vocabkit.auditing.metrics import explain_loss
from vocabkit.core.errors import FitError, TooFewPieces
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.compilation import Workers, open_workers
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts, WordTable
from vocabkit.fitting.lexicon import build_lexicon, cover_characters
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import fit_unigram
from vocabkit.vocabulary.adapters import SentencePieceTokenizer, Tokenizer
from vocabkit.vocabulary.vocabulary import Kind, assemble_vocabulary, write_model

RULE = "nmt_nfkc"
"""How the own vocabulary normalises: SentencePiece's default."""
ENOUGH = 1_000
"""Held-out words to measure on; with fewer, the words fitted on are less wrong than chance."""


def cost_of_sharing(
    name: str,
    tokenizer: Tokenizer,
    counts: WordCounts,
    languages: Sequence[str],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Figures:
    """Return `fertility_alone` and `cost_of_sharing` (shared ÷ alone, above 1: sharing costs) per language.

    None with a note where words do not tell what the tokenizer costs (`exact_on_words`), where it loses the
    language's text, or the text is too little for a vocabulary of its own.
    """
    figures, report = Figures(name), progress or Silent()
    if tokenizer.exact_on_words is not None:
        for code in languages:
            _add(figures, code, None, None, 0, tokenizer.exact_on_words)
        return figures
    report.start("fitting alone", len(languages), "languages")
    with open_workers(threads) as workers:
        for code in languages:
            _compare(figures, tokenizer, counts, code, workers)
            report.advance(1)
    report.finish()
    return figures


def _compare(figures: Figures, tokenizer: Tokenizer, counts: WordCounts, code: str, workers: Workers) -> None:
    both = counts.languages[code]
    enough = both.held_out_totals.words >= ENOUGH
    table = both.held_out if enough else both.train
    words = int(table.count[~table.continuation].sum())
    pieces = _count_pieces(tokenizer, both.train)
    reason = _explain(tokenizer, table, words)
    alone: SentencePieceTokenizer | None = None
    if reason is None:
        try:
            alone, pieces = _fit_alone(counts, code, pieces, workers)
        except FitError as error:
            reason = error.message
    own = None if alone is None else _sum_tokens(alone, table) / words
    value = _sum_tokens(tokenizer, table) / words / own if own else None
    where = "held-out words" if enough else "the words it was fitted on"
    note = reason or f"alone: {pieces} pieces, as many as are used here; measured on {where}"
    _add(figures, code, own, value, words, note)


def _add(figures: Figures, code: str, own: float | None, value: float | None, words: int, note: str) -> None:
    how, unit = "ratio of sums over white-space words", "tokens a white-space word"
    figures.add(code, "fertility_alone", own, unit, how, n=words, note=note)
    figures.add(code, "cost_of_sharing", value, "× its own vocabulary", how, n=words, note=note)


def _count_pieces(tokenizer: Tokenizer, table: WordTable) -> int:
    """Return how many distinct pieces of text the words are encoded with."""
    prefix = tokenizer.word_prefix
    ids, _ = tokenizer.encode_flat([prefix + word for word in table.words])
    kinds = tokenizer.kinds
    return sum(kinds[index] in (Kind.NORMAL, Kind.USER) for index in np.unique(ids).tolist())


def _sum_tokens(tokenizer: Tokenizer, table: WordTable) -> int:
    """Return the tokens of counted words."""
    prefix = tokenizer.word_prefix
    _, lengths = tokenizer.encode_flat([prefix + word for word in table.words])
    return int(lengths @ table.count)


def _fit_alone(
    counts: WordCounts, code: str, pieces: int, workers: Workers
) -> tuple[SentencePieceTokenizer, int]:
    """Fit a vocabulary of a language's own; returns it with its number of pieces.

    That is `pieces`, or what the text supports where it is less. Raises FitError.
    """
    spans = derive_spans(counts, RULE, languages=[code])
    covered = cover_characters(spans.languages, {code: 1.0}, scope="language", character=1.0)
    lexicon = build_lexicon(spans.languages, covered.covered, workers)
    substrings = find_substrings(lexicon, workers)
    size = max(pieces, len(lexicon.alphabet))
    try:
        fitted = fit_unigram(lexicon, substrings, size, workers)
    except TooFewPieces as error:
        # Which pieces survive depends a little on the size asked for.
        size = int(0.99 * error.reached)
        fitted = fit_unigram(lexicon, substrings, size, workers)
    vocabulary = assemble_vocabulary(fitted.pieces, fitted.scores, "unigram", spans.normalizer)
    return SentencePieceTokenizer(f"{code} alone", vocabulary, write_model(vocabulary)), size


def _explain(tokenizer: Tokenizer, table: WordTable, words: int) -> str | None:
    """Return why a language has no cost of sharing, or None."""
    if not words:
        return "no words"
    characters = int(np.fromiter(map(len, table.words), np.int64, len(table)) @ table.count)
    prefix = tokenizer.word_prefix
    lost = tokenizer.unknown_characters([prefix + word for word in table.words])
    return explain_loss(int(np.array(lost, dtype=np.int64) @ table.count) / characters)
