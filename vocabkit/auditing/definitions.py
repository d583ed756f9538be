"""How figures are read: in which words, in what order, over which languages, and how good a value is.

Nothing is measured here. What the terminal's tables and the page say of a figure comes from one place, so that
both call it the same, rank it the same, and mark what is missing the same.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from vocabkit.auditing.figures import Audited, Figure, Finding, Sentence, Spoken, Warned
from vocabkit.auditing.metrics import CHANGE, COMMON_SUFFIX, LOST
from vocabkit.auditing.requirements import Outcome
from vocabkit.core.pages import is_share


class Shown(Protocol):
    """What of an audit is read here and shown by the page: `report.Audit` is one."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure."""

    @property
    def tokenizers(self) -> tuple[Audited, ...]:
        """The tokenizers, in order."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What checks found."""

    @property
    def warnings(self) -> tuple[Warned, ...]:
        """What makes text doubtful."""

    @property
    def method(self) -> Mapping[str, str]:
        """How it was measured."""

    @property
    def failures(self) -> Mapping[str, str]:
        """What was not measured, and why."""

    @property
    def languages(self) -> tuple[Spoken, ...]:
        """The languages, as the panel has them."""

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """Lines with their tokens."""

    @property
    def outcomes(self) -> list[Outcome]:
        """Whether what was required holds."""

    @property
    def names(self) -> list[str]:
        """The short names of the tokenizers."""

    def select(
        self,
        metric: str | None = None,
        scope: str | None = None,
        *,
        tokenizer: str | None = None,
        name: str | None = None,
    ) -> Iterator[Figure]:
        """Yield the figures that agree with everything given."""


# --- In words --------------------------------------------------------------------------------------
# What each metric is called, what it is in a sentence, and the part of docs/metrics.md that has its formula,
# source and trap.


class Definition(NamedTuple):
    """A metric in words: a label, a sentence, and the heading of docs/metrics.md it stands under."""

    label: str
    said: str
    heading: str


_COST, _WORDS, _TOGETHER = "Cost of a language", "How words and letters fare", "Languages together"
_VOCABULARY, _INTEGRITY = "The vocabulary", "Integrity"
DEFINITIONS: Mapping[str, Definition] = {
    key: Definition(label, said, heading)
    for heading, listed in {
        _COST: (
            ("premium", "Premium", "tokens of a language's lines ÷ tokens of the same lines in the reference "
             "language, by the same tokenizer"),
            ("premium_fixed", "Premium, one yardstick", "tokens of a language's lines ÷ tokens that one named "
             "tokenizer needs for them in the reference language: the premium in which tokenizers compare"),
            ("premium_median", "Premium over the median", "tokens of a language's lines ÷ those of the median "
             "language"),
            ("byte_premium", "Byte premium", "bytes of a language's lines ÷ bytes of the same lines in the "
             "reference language: what a byte-level model would pay"),
            ("fertility", "Tokens per word", "tokens ÷ words, as ICU finds words"),
            ("tokens_per_white_space_word", "Tokens per spaced word", "tokens ÷ words between white space; "
             "means nothing where words are not spaced"),
            ("tokens_per_grapheme", "Tokens per letter", "tokens ÷ letters as a reader sees them (graphemes)"),
            ("characters_per_token", "Characters per token", "code points ÷ tokens; within one language only"),
            ("bytes_per_token", "Bytes per token", "bytes of UTF-8 ÷ tokens; within one language only"),
            ("tokens", "Tokens", "tokens of the language's text"),
            ("change", "Change against the first", "tokens ÷ tokens of the first tokenizer on the same lines, "
             "less 1"),
            ("cost_of_sharing", "Cost of sharing", "tokens per word ÷ those of a vocabulary of the language's "
             "own; below 1 the shared one is better"),
            ("fertility_alone", "Tokens per word, alone", "tokens per word of a vocabulary fitted on this "
             "language alone"),
            ("code_switching", "Code-switching", "tokens of lines that switch to English half-way ÷ tokens of "
             "their halves alone"),
        ),
        _WORDS: (
            ("words_continued", "Words split", "running words of two tokens or more ÷ all"),
            ("words_whole", "Word types kept whole", "distinct words that are one token ÷ all distinct words"),
            ("unknown_characters", "Characters lost", "characters that become unknown tokens ÷ characters"),
            ("unknown_tokens", "Unknown tokens", "unknown tokens ÷ tokens"),
            ("byte_fallback", "Byte pieces", "tokens that spell one byte ÷ tokens"),
            ("partial_tokens", "Parts of characters", "tokens that end inside a character ÷ tokens"),
            ("character_coverage", "Letters covered", "distinct characters of the text encoded whole ÷ all"),
            ("exemplar_coverage", "Alphabet covered", "letters of the language's alphabet encoded whole ÷ all"),
            ("grapheme_splits", "Letters cut", "letters with a token boundary inside ÷ letters, in a sample"),
        ),
        _TOGETHER: (
            ("languages_lost", "Languages lost", "languages without a cost, because more than 1 % of their "
             "characters become unknown tokens"),
            ("resource_size", "Size of text", "characters of the language in the counts"),
            ("script_share", "Share of its scripts", "share of the pieces that are in the language's scripts"),
        ),
        _VOCABULARY: (
            ("vocabulary_size", "Size", "ids of the vocabulary"),
            ("embedding_parameters", "Embedding parameters", "ids × the width of a row; twice as many when the "
             "output is not tied"),
            ("pieces", "Pieces", "pieces whose letters are of the script"),
            ("vocabulary_share", "Share of pieces", "pieces of a script ÷ pieces that have one"),
            ("corpus_share_characters", "Share of the text", "a script's share of the text's letters"),
            ("corpus_share_words", "Share of the words", "a script's share of the text's words"),
            ("allocation_characters", "Pieces ÷ text", "a script's share of the pieces ÷ its share of the "
             "text; below 0.5 it has less than half of what its text would give it"),
            ("allocation_words", "Pieces ÷ words", "a script's share of the pieces ÷ its share of the words"),
            ("pieces_of_kind", "Ids by kind", "ids that are text, digits, bytes, special tokens and so on"),
            ("pieces_of_length", "Pieces by length", "share of the pieces that are so many characters long"),
            ("pieces_unattributed", "Parts of no one script", "pieces that end inside a character, by why they "
             "have no script"),
            ("mixed_pieces", "Pieces of several scripts", "pieces with letters of several scripts ÷ pieces"),
            ("partial_pieces", "Pieces that end inside a character", "pieces of incomplete UTF-8 ÷ pieces"),
            ("piece_bytes", "Bytes of a piece", "bytes of UTF-8 of the pieces of text"),
            ("piece_characters", "Characters of a piece", "code points of the pieces of text"),
            ("unused_ids", "Unused on this text", "ids that text can become and this text never did ÷ those"),
            ("renyi_2.5", "Rényi efficiency, order 2.5", "how evenly tokens are used; reported, never ranked"),
            ("renyi_3", "Rényi efficiency, order 3", "how evenly tokens are used; reported, never ranked"),
        ),
        _INTEGRITY: (
            ("roundtrip_failures", "Lines that do not come back", "sampled lines that decoding does not give "
             "back, byte for byte, as the tokenizer normalises them"),
            ("lines_normalized", "Lines normalised", "lines that the tokenizer changes before it encodes"),
            ("nfd_differs", "Lines that NFD changes", "lines whose tokens differ between composed and "
             "decomposed letters ÷ lines that differ"),
            ("nfd_cost", "Cost of NFD", "tokens of decomposed ÷ tokens of composed letters, over those lines"),
            ("mark_order_differs", "Lines that mark order changes", "lines whose tokens change with the order "
             "of marks ÷ lines that have such marks"),
            ("tokens_per_digit", "Tokens per digit", "tokens ÷ digits of numbers in each set of digits"),
        ),
    }.items()
    for key, label, said in listed
}  # fmt: skip
_STATISTICS = {
    "mean": "mean", "median": "median", "max": "largest", "bottom_decile": "dearest tenth",
    "p90_p10": "90th ÷ 10th percentile", "gini": "inequality (Gini)", "observed": "of the ids seen",
    "spearman_resource": "correlation with text",
    "spearman_script_share": "correlation with its script's pieces",
    "mean_common": "mean where all have it", "bottom_decile_common": "dearest tenth where all have it",
}  # fmt: skip


def define(metric: str) -> Definition:
    """Return a metric in words; one that has none here by its name.

    >>> define("premium.bottom_decile").label
    'Premium, dearest tenth'
    """
    if metric in DEFINITIONS:
        return DEFINITIONS[metric]
    for base in (metric.rpartition(".")[0], metric.partition(".")[0]):
        if base in DEFINITIONS:
            found, rest = DEFINITIONS[base], metric.removeprefix(f"{base}.")
            if base == CHANGE:
                said = f"tokens ÷ tokens of {rest} on the same lines, less 1"
                return Definition(f"Change against {rest}", said, found.heading)
            return found._replace(label=f"{found.label}, {_STATISTICS.get(rest, rest.replace('_', ' '))}")
    return Definition(metric.replace("_", " ").replace(".", ", ", 1), "", "")


# --- What is ranked first --------------------------------------------------------------------------

# The first of these that has a value for some language.
HEADLINES = ("premium", "fertility", "tokens_per_grapheme")


def find_headline(audit: Shown) -> str | None:
    """Return the metric to rank languages by: premium where lines are aligned, else fertility."""
    measured = {f.metric for f in audit.select(scope="language") if f.value is not None}
    return next((metric for metric in HEADLINES if metric in measured), None)


def list_unranked(audit: Shown, metric: str) -> dict[str, list[str]]:
    """Return for each tokenizer the languages that have no value, which are often the worst served."""
    unranked: dict[str, list[str]] = {}
    for figure in audit.select(metric, "language"):
        if figure.value is None:
            unranked.setdefault(figure.tokenizer, []).append(figure.name)
    return unranked


# --- What figures are over --------------------------------------------------------------------------
# Means over different sets of languages do not compare: each says over how many it is, beside one over the
# languages that all tokenizers have; and where a cost is missing because text is lost, a mark says so.


@dataclass(frozen=True, slots=True)
class Reach:
    """How many languages each group of each tokenizer has, and what languages each tokenizer loses."""

    sizes: Mapping[tuple[str, str, str], int]
    gaps: Mapping[tuple[str, str], str]

    def count(self, figure: Figure) -> str:
        """Return `6 of 15`: over how many of a group's languages a figure is; empty for other figures."""
        size = self.sizes.get((figure.tokenizer, figure.scope, figure.name))
        of_languages = figure.metric.startswith(HEADLINES) and "." in figure.metric
        return f"{figure.n or 0:,} of {size:,}" if size is not None and of_languages else ""

    def is_partial(self, figures: Iterable[Figure | None]) -> bool:
        """Return whether one of these figures, side by side, leaves a language out."""
        said = [self.count(figure).split(" of ") for figure in figures if figure is not None]
        return any(len(parts) == 2 and parts[0] != parts[1] for parts in said)

    def name_gap(self, tokenizer: str, code: str) -> str:
        """Return in a word why a language has no cost with a tokenizer: `lost`, `failed`; empty for others."""
        return self.gaps.get((tokenizer, code), "")

    def rank_names(self, figures: Sequence[Figure]) -> list[str]:
        """Return the names, the worst first: before all that have a cost those that every tokenizer loses."""
        measured = {figure.name for figure in figures if figure.value is not None}
        lost = {figure.name for figure in figures if self.explain_gap(figure)} - measured
        return sorted(rank_names(figures), key=lambda name: name not in lost)

    def explain_gap(self, figure: Figure | None) -> str:
        """Return `lost` for a figure of a language that has no value for that reason; else nothing."""
        if figure is None or figure.scope != "language" or "lost" not in (figure.note or ""):
            return ""
        return self.name_gap(figure.tokenizer, figure.name)


def find_reach(audit: Shown) -> Reach:
    """Find what the averages of an audit are over, and which languages each tokenizer loses or fails on."""
    sizes: dict[tuple[str, str, str], int] = {
        (f.tokenizer, f.scope, f.name): f.n or 0 for f in audit.select("languages_lost")
    }
    gaps = {
        (f.tokenizer, f.name): "lost"
        for f in audit.select("unknown_characters", "language")
        if f.value is not None and f.value > LOST
    }
    failed = [name.rpartition(": ") for name in audit.failures]
    return Reach(sizes, gaps | {(name, code): "failed" for name, _, code in failed if name})


_Find = Callable[[str, str], Iterable[Figure]]
"""What gives the figures of a metric in a scope."""


def list_averages(find: _Find, reach: Reach, headline: str | None) -> list[str]:
    """Return the averages to show: where one leaves languages out, also that over those all tokenizers have."""
    metrics = []
    for metric in (f"{headline}.mean", f"{headline}.bottom_decile"):
        metrics.append(metric)
        overall = list(find(metric, "overall"))
        common = {f.tokenizer: f.n for f in find(metric + COMMON_SUFFIX, "overall")}
        if reach.is_partial(overall) and any(f.n != common.get(f.tokenizer, f.n) for f in overall):
            metrics.append(metric + COMMON_SUFFIX)
    return metrics


def rank_names(figures: Iterable[Figure]) -> list[str]:
    """Return the names by their worst value over all tokenizers, the worst first, those without one last."""
    worst: dict[str, float] = {}
    for figure in figures:
        bad = -math.inf
        if figure.value is not None:
            bad = -figure.value if figure.metric in MORE_IS_BETTER else figure.value
        worst[figure.name] = max(worst.get(figure.name, -math.inf), bad)
    return sorted(worst, key=lambda name: (-worst[name], name))


def pivot(
    figures: Iterable[Figure],
    rows: Iterable[str],
    columns: Sequence[Any],
    *,
    row: str = "name",
    column: Sequence[str] = ("tokenizer",),
) -> dict[str, list[Figure | None]]:
    """Return the figures of each row in the order of the columns, None where there is none.

    `row` and `column` name what of a figure says where it goes.
    """
    place = operator.attrgetter(row, *column)
    found = {place(figure): figure for figure in figures}
    keys = [item if isinstance(item, tuple) else (item,) for item in columns]
    return {name: [found.get((name, *key)) for key in keys] for name in rows}


# --- How good a value is ----------------------------------------------------------------------------
# On a scale that is fixed for shares and ratios, so that small differences stay pale.

# Of these more is better; of every other metric of a language, less.
MORE_IS_BETTER = frozenset({
    "characters_per_token", "bytes_per_token", "words_whole", "character_coverage",
    "exemplar_coverage", "allocation_characters", "allocation_words",
})  # fmt: skip
# These say how much there is, not how good it is: they are not shaded.
AMOUNTS = frozenset({"tokens", "script_share", "resource_size"})
# Ratios of which 1 means that nothing is lost or gained, by how their names begin.
FROM_ONE = ("premium", "byte_premium", "allocation", "code_switching", "nfd_cost", "cost_of_sharing")
# Levels start at these multiples of the best value, and at these shares lost.
RATIO_LEVELS = (1.1, 1.25, 1.6, 2.0, 3.0, 5.0)
SHARE_LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)


def find_best(figures: Sequence[Figure]) -> float:
    """Return what the shading counts from: 1 where that is neither gain nor loss, the best value otherwise."""
    values = [figure.value for figure in figures if figure.value is not None and figure.value > 0]
    if not values or figures[0].metric.startswith(FROM_ONE):
        return 1.0
    return max(values) if figures[0].metric in MORE_IS_BETTER else min(values)


def find_level(figure: Figure, best: float) -> int | None:
    """Return how bad a value is, from 0 to 6, beside the `best`; None without a value."""
    if figure.value is None:
        return None
    inverse = figure.metric in MORE_IS_BETTER
    if is_share(figure.unit):
        return bisect_right(SHARE_LEVELS, 1 - figure.value if inverse else figure.value)
    if figure.value <= 0:
        return len(RATIO_LEVELS) if inverse else 0
    return bisect_right(RATIO_LEVELS, best / figure.value if inverse else figure.value / best)
