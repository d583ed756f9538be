"""`replace-bpe`: new tokens in the place of old ones that some languages can do without.

Word counts and a base → which tokens may go, in what order → how many of them the languages kept can bear, by
encoding held-out words again → tokens learnt on what is left, under the ids given away. The base is BPE, or
unigram pieces. What is never given away: special, added and byte tokens, single letters, tokens that hold white
space (counts do not tell how often they are used), and tokens that others are merged from.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vocabkit.configurations.byte_bpe import check_reached, count_word_usage, learn_tokens
from vocabkit.configurations.settings import LanguagesTable, ReplaceBpeConfig, TailTable, TrainerTable
from vocabkit.configurations.shared import Fit, select_languages, weigh_selected
from vocabkit.configurations.two_stage import (
    BlockBase,
    choose_options,
    make_distinct,
    mark_characters,
    read_base,
)
from vocabkit.core.arrays import BoolArray, Float64Array, Int64Array
from vocabkit.core.errors import ConfigError, FitError
from vocabkit.core.folders import Clock
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.text import COMMON, INHERITED, script_of, show_token
from vocabkit.corpus.compilation import open_workers
from vocabkit.corpus.spans import SpanTable, derive_spans
from vocabkit.corpus.weighting import LanguageWeights, measure_masses
from vocabkit.corpus.word_counts import LanguageCounts, Totals, WordCounts, WordTable
from vocabkit.fitting.blocks import fit_block, usable_pieces
from vocabkit.fitting.lexicon import build_lexicon, count_characters
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import warm_kernels
from vocabkit.vocabulary.adapters import BackendTokenizer, SentencePieceTokenizer
from vocabkit.vocabulary.byte_level import BpeBase
from vocabkit.vocabulary.tokenizers import open_tokenizer
from vocabkit.vocabulary.vocabulary import SHARED, SPACE, Block, Kind, Vocabulary

Base = BpeBase | BlockBase
"""What tokens are replaced in: a BPE tokenizer's file, or a unigram vocabulary."""


def fit_replacement(
    counts: WordCounts,
    config: ReplaceBpeConfig,
    progress: Progress | None = None,
    *,
    workers: int = 1,
    base: Base | None = None,
) -> Fit[Any]:
    """Give ids of `base`, or of the configuration's, to new tokens of the languages chosen.

    `languages.tsv` says what each counted language pays or gains, `replaced.tsv` which token each id had. Of a
    kept language without held-out words the training words are measured. Raises `CountsError` for a language
    without counts; `ConfigError` without a base, where a language is both kept and new or none is left to be;
    and `FitError` where no token can go within `replace.max_loss`, or the text supports fewer new ones than
    asked unless `tokens.allow_fewer`.

    >>> fit_replacement(counts, config).to_frame()[["language", "role", "change"]]  # doctest: +SKIP
    """
    if base is None and not config.base:
        raise ConfigError("replace-bpe needs the tokenizer it replaces tokens of", "--base tokenizer.json")
    report, clock = progress or Silent(), Clock()
    base = base or _open_base(config.base, config.base_pattern or None)
    work = _Replacement(counts, config, base, *_choose_sides(counts, config), report, clock, workers)
    return work.fit()


def _open_base(path: str, pattern: str | None = None) -> Base:
    """Open a base by what it holds. Raises `ConfigError` and `TokenizerError`."""
    target = Path(path)
    if not target.exists():
        raise ConfigError(f"base = {path!r}: no such folder or file", "name a tokenizer.json or its folder")
    opened = open_tokenizer(target, pattern)
    unigram = isinstance(opened, SentencePieceTokenizer) and opened.vocabulary.model == "unigram"
    if unigram or (isinstance(opened, BackendTokenizer) and opened.model_type == "Unigram"):
        return read_base(target)
    return BpeBase.read(target, pattern)


def _choose_sides(counts: WordCounts, config: ReplaceBpeConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the languages that get new tokens, and those that must not lose by it.

    Each is all counted languages but the others where it is not named. Raises `ConfigError` where one is on
    both sides, or no language is left for one of them.
    """
    keep, table = config.replace.keep, config.languages
    kept = select_languages(counts, LanguagesTable(include=keep)) if keep else ()
    named = bool(table.include or table.panel)
    new = select_languages(counts, table) if named else ()
    both = sorted({*kept} & {*new})
    if both:
        what = f"{', '.join(both)}: kept, and to get new tokens"
        raise ConfigError(what, "name a language in --languages or in --keep-languages, not in both")
    everyone = tuple(sorted(counts.languages))
    if not named:
        new = tuple(code for code in everyone if code not in kept) if keep else ()
    if not keep:
        kept = tuple(code for code in everyone if code not in new) if named else ()
    if not new or not kept:
        side, option = ("learns", "--languages yor") if not new else ("is kept", "--keep-languages eng")
        what = f"no language {side}: counted are {', '.join(everyone)}"
        raise ConfigError(what, f"say which: {option}; counts must hold languages of both kinds")
    return new, kept


# --- What may go -----------------------------------------------------------------------------------
# Tokens are looked at as text. The counts hold words: of tokens with white space inside, or of nothing else,
# they say nothing, and those look unused when they are not (a tab, four spaces, `▁of▁the`).

_LETTERS = 0.9995
"""The share of a language's characters that are its alphabet: the coverage that vocabularies are cut at."""
_SCRIPT = 0.01
"""The share of a language's letters that makes a script one of its own."""


def _find_droppable(base: Base) -> BoolArray:
    """Return the ids that may be given away at all."""
    if isinstance(base, BpeBase):
        found = base.mergeable.copy()
        pieces: Iterable[str] = (base.pieces.get(index, "") for index in range(base.size))
        letters = None
    else:
        kinds = base.vocabulary.kinds
        found = np.array([kind is Kind.NORMAL for kind in kinds], np.bool_)
        pieces = base.vocabulary.pieces
        letters = {p for p, kind in zip(pieces, kinds, strict=True) if kind is Kind.NORMAL and len(p) == 1}
    texts = _spell(base)
    for index, piece in enumerate(pieces):
        if not found[index]:
            continue
        inside = texts[index].removeprefix(" ")
        # Letters of a piece that are no pieces themselves would be lost with it.
        lost = letters is not None and not letters.issuperset(piece)
        blind = texts[index] == " " or any(char.isspace() for char in inside)
        found[index] = len(piece) > 1 and not blind and not lost
    return found


def _spell(base: Base) -> list[str]:
    """Return what the whole characters of each id spell."""
    tokenizer = base.tokenizer if isinstance(base, BpeBase) else base.vocabulary
    size = base.size if isinstance(base, BpeBase) else base.vocabulary.size
    ids = range(min(size, tokenizer.size))
    texts = [(tokenizer.token_bytes(index) or b"").decode(errors="ignore") for index in ids]
    return texts + [""] * (size - len(texts))


def _find_residual(base: Base, new: Iterable[LanguageCounts], kept: Iterable[LanguageCounts]) -> BoolArray:
    """Return the ids whose text is in the new languages' letters alone, and none of the kept ones'.

    Where no kept language is written in a new one's script, that is every token of the script. Where one is,
    tokens count that hold a letter, or a mark on one, of the new language's alphabet that is in no kept
    alphabet: for Yoruba beside English those with ọ or a tone mark, and not `▁the`.
    """
    own, others = [_read_alphabet(c) for c in new], [_read_alphabet(c) for c in kept]
    scripts = {script for _, found in own for script in found}
    shared = {script for _, found in others for script in found}
    theirs = {char for chars, _ in others for char in chars}
    mine = {c for chars, _ in own for c in chars if c not in theirs and script_of(c) in {*scripts, INHERITED}}
    texts = _spell(base)
    known = {char: script_of(char) for char in set("".join(texts))}
    found = np.zeros(len(texts), np.bool_)
    for index, text in enumerate(texts):
        here = {known[char] for char in text} - {COMMON, INHERITED}
        marked = any(char in mine or known[char] in scripts - shared for char in text)
        found[index] = marked and here <= scripts
    return found


def _read_alphabet(language: LanguageCounts) -> tuple[frozenset[str], frozenset[str]]:
    """Return the characters of a language that make up nearly all of its text, and its scripts."""
    ranked = sorted(language.characters.items(), key=lambda item: (-item[1], item[0]))
    total = sum(count for _, count in ranked)
    taken, share = [], 0
    for char, count in ranked:
        if share >= _LETTERS * total:
            break
        taken.append(char)
        share += count
    scripts = Counter[str]()
    for char, count in ranked:
        scripts[script_of(char)] += count
    for none in (COMMON, INHERITED):
        scripts.pop(none, None)
    enough = _SCRIPT * scripts.total()
    return frozenset(taken), frozenset(script for script, count in scripts.items() if count >= enough)


# --- In what order ---------------------------------------------------------------------------------
# Least used first. A language's loss is a share of its tokens, so a token costs what the language pays that
# uses it most. What a token was used for falls to what it is made of, whose cost grows to at least that
# token's, so that a heap gives the order in one pass.


def _order_tokens(base: BpeBase, chosen: BoolArray, shares: Float64Array, limit: int) -> list[int]:
    """Return at most `limit` ids to drop in order, each after all that are merged from it.

    `shares` is [languages, ids]: how large a part of a language's tokens each id is. Not changed.
    """
    parts, shares = base.find_parts(), shares.copy()
    needed = Counter(part for pair in parts.values() for part in pair)
    heap = [(float(shares[:, k].max()), -k) for k in np.flatnonzero(chosen).tolist() if not needed[k]]
    heapq.heapify(heap)
    order: list[int] = []
    while heap and len(order) < limit:
        _, index = heapq.heappop(heap)
        order.append(-index)
        for part in parts.get(-index, ()):
            shares[:, part] += shares[:, -index]
            needed[part] -= 1
            if not needed[part] and chosen[part]:
                heapq.heappush(heap, (float(shares[:, part].max()), -part))
    return order


def _order_pieces(vocabulary: Vocabulary, chosen: BoolArray, shares: Float64Array, limit: int) -> list[int]:
    """Return at most `limit` ids to drop in order: what their text needs more pieces for, least first.

    A dropped piece's text is cut as the pieces left score best. `shares` as in `_order_tokens`.
    """
    shares, scores = shares.copy(), {}
    for index in vocabulary.ids_of(Kind.NORMAL):
        scores[vocabulary.pieces[index]] = float(vocabulary.scores[index])
    heap = [(float(shares[:, k].max()), -k) for k in np.flatnonzero(chosen).tolist()]
    heapq.heapify(heap)
    order: list[int] = []
    while heap and len(order) < limit:
        cost, index = heapq.heappop(heap)
        piece, share = vocabulary.pieces[-index], float(shares[:, -index].max())
        split = _split_piece(piece, scores) if share else []
        now = share * max(len(split) - 1, 1)
        if now > cost:
            heapq.heappush(heap, (now, index))
            continue
        order.append(-index)
        del scores[piece]
        for part in split:
            shares[:, vocabulary.id_of(part)] += shares[:, -index]
    return order


def _split_piece(piece: str, scores: Mapping[str, float]) -> list[str]:
    """Return the pieces of the best score that spell one without itself. Its letters must be pieces."""
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(piece) + 1):
        starts = range(1 if stop == len(piece) else 0, stop)
        pairs = ((best[at][0] + scores.get(piece[at:stop], -np.inf), at) for at in starts)
        best.append(max(pairs, default=(-np.inf, 0)))
    found, stop = [], len(piece)
    while stop:
        start = best[stop][1]
        found.append(piece[start:stop])
        stop = start
    return found[::-1]


# --- What it costs ---------------------------------------------------------------------------------
# Held-out words encoded with both vocabularies. Words are counted as they stand after a space; a line's first
# word has none before it, and byte-level vocabularies have other tokens for it (`The`, beside `▁The`). Which
# words those are is not counted but how many: they are taken to be like all others.

_Use = Callable[[WordTable, bool], Int64Array]


def _open_use(model: BpeBase | Vocabulary) -> _Use:
    """Return what counts how often a table's words use each id, after a space or at the start of a line."""
    if isinstance(model, BpeBase):
        return lambda table, first: count_word_usage(table, model, first=first)
    tokenizer = SentencePieceTokenizer("replace-bpe", model)

    def count_pieces(table: WordTable, first: bool) -> Int64Array:
        flat, lengths = tokenizer.encode_flat(list(table.words))
        used = np.zeros(model.size, np.int64)
        np.add.at(used, flat, np.repeat(table.count, lengths))
        return used

    return count_pieces


def _starts_differ(model: BpeBase | Vocabulary) -> bool:
    """Whether the first word of a line has other tokens than one after a space."""
    return isinstance(model, BpeBase) and model.takes_continuations


def _measured_split(language: LanguageCounts) -> tuple[str, WordTable, Totals]:
    """Return what is measured of a language: held-out words, or training words where there are none."""
    name = "held_out" if len(language.held_out) else "train"
    totals = language.held_out_totals if name == "held_out" else language.totals
    return name, language.split(name), totals


@dataclass(frozen=True, slots=True)
class _Cost:
    """The tokens of a language's words: after a space, and at the start of a line with how many start one."""

    words: int
    first: int
    share: float

    def exceeds(self, before: _Cost) -> float:
        """Return the larger of two losses, of words after a space and of lines as the counts make them."""
        if not before.words:
            return 0.0
        after_space = self.words / before.words - 1.0
        own, old = (c.words + c.share * (c.first - c.words) for c in (self, before))
        return max(after_space, own / old - 1.0)


def _measure(use: _Use, table: WordTable, totals: Totals, starts: bool) -> _Cost:
    words = int(use(table, False).sum())
    if not starts or not totals.words:
        return _Cost(words, words, 0.0)
    return _Cost(words, int(use(table, True).sum()), min(totals.lines / totals.words, 1.0))


# --- The work --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Replacement:
    """One run: the languages on both sides, and the base."""

    counts: WordCounts
    config: ReplaceBpeConfig
    base: Base
    new: tuple[str, ...]
    kept: tuple[str, ...]
    report: Progress
    clock: Clock
    workers: int

    @property
    def model(self) -> BpeBase | Vocabulary:
        """The base as what encodes."""
        return self.base if isinstance(self.base, BpeBase) else self.base.vocabulary

    def fit(self) -> Fit[Any]:
        """Return the result."""
        if isinstance(self.base, BlockBase) and self.config.languages.weighting != "natural":
            what = f"languages.weighting = {self.config.languages.weighting!r} with a unigram base"
            raise ConfigError(what, "its new pieces are on its own scale: --set languages.weighting=natural")
        weights = self._weigh()
        usage = self._count_usage()
        self.clock.lap("usage")
        order, residual = self._order(usage)
        self.clock.lap("order")
        freed = self._bound(order)
        self.clock.lap("bound")
        if not freed and self.config.replace.make_room == "unused":
            what = f"no token of the base can go: {', '.join(self.kept)} would lose more than replace.max_loss"
            raise FitError(what, "--max-loss 1%  # or keep fewer languages: --keep-languages eng")
        wanted = freed if self.config.replace.make_room == "unused" else self.config.tokens.new
        notes = self.base.tokenizer.notes if isinstance(self.base, BpeBase) else ()
        told = [*notes, *weights.warnings(), *self._tell(freed, len(order), residual)]
        dropped, found, more = self._learn(order[:freed], wanted, weights, usage)
        rows, after = self._list_rows(found, dropped)
        self.clock.lap("comparison")
        told += [*more, *_warn_of_losses(rows)]
        replaced = self._list_replaced(found, dropped, usage)
        details = {
            "freed": len(dropped),
            "new": found.size - self.model.size + len(dropped),
            "learnt_again": sum(row["dropped"] == row["new"] for row in replaced),
            "residual": residual,
        }
        fingerprint, tables = self.counts.fingerprint, {"replaced": replaced}
        return Fit(
            found, self.config, rows, after, tuple(told), self.clock.seconds, fingerprint, tables, details
        )

    def _weigh(self) -> LanguageWeights:
        masses = measure_masses(self.counts)
        return weigh_selected({code: masses[code] for code in self.new}, self.config.languages)

    def _count_usage(self) -> dict[str, Float64Array]:
        """Return how often the training text of each language, old or new, uses each id of the base."""
        codes = sorted({*self.new, *self.kept})
        self.report.start("encoding words with the base", len(codes), "languages")
        use, starts = _open_use(self.model), _starts_differ(self.model)
        usage = {}
        for code in codes:
            language = self.counts.languages[code]
            found = use(language.train, False).astype(np.float64)
            if starts and language.totals.words:
                share = min(language.totals.lines / language.totals.words, 1.0)
                found = (1 - share) * found + share * use(language.train, True)
            usage[code] = found
            self.report.advance(1)
        self.report.finish()
        return usage

    def _order(self, usage: Mapping[str, Float64Array]) -> tuple[list[int], int | None]:
        """Return the ids to drop in order, and how many residual tokens there are where those are asked for.

        What the new languages use of the base is kept as theirs, unless it is to be learnt anew.
        """
        chosen, residual = _find_droppable(self.base), None
        judged = sorted(usage)
        if self.config.replace.make_room == "residual":
            languages = self.counts.languages
            sides = ([languages[code] for code in side] for side in (self.new, self.kept))
            chosen &= _find_residual(self.base, *sides)
            residual, judged = int(chosen.sum()), sorted(self.kept)
        shares = np.stack([usage[code] / max(usage[code].sum(), 1.0) for code in judged])
        limit = self.config.tokens.new
        if isinstance(self.base, BpeBase):
            return _order_tokens(self.base, chosen, shares, limit), residual
        return _order_pieces(self.base.vocabulary, chosen, shares, limit), residual

    def _drop(self, dropped: Sequence[int]) -> BpeBase | Vocabulary:
        """Return the base without some tokens."""
        if isinstance(self.base, BpeBase):
            return self.base.replace(dropped)
        return _hide_pieces(self.base.vocabulary, dropped)

    def _bound(self, order: Sequence[int]) -> int:
        """Return how many of the tokens can go, in order, before a kept language loses more than it may."""
        starts = _starts_differ(self.model)
        splits = {code: _measured_split(self.counts.languages[code])[1:] for code in self.kept}

        def measure(model: BpeBase | Vocabulary) -> dict[str, _Cost]:
            use = _open_use(model)
            return {code: _measure(use, *split, starts) for code, split in splits.items()}

        self.report.start("measuring what the languages kept lose")
        before = measure(self.model)

        def fits(number: int) -> bool:
            after = measure(self._drop(order[:number]))
            return all(after[c].exceeds(before[c]) <= self.config.replace.max_loss for c in self.kept)

        low, high = 0, len(order) + 1
        # All of them at first: a bound that is not met saves the search.
        middle = len(order)
        while high - low > 1:
            low, high = (middle, high) if fits(middle) else (low, middle)
            middle = (low + high) // 2
        self.report.finish()
        return low

    def _learn(
        self,
        dropped: list[int],
        wanted: int,
        weights: LanguageWeights,
        usage: Mapping[str, Float64Array],
    ) -> tuple[list[int], BpeBase | Vocabulary, list[str]]:
        """Learn tokens on what is left; with fewer of them than ids given away, the dearest ids are taken back.

        Returns the ids given away, the vocabulary, and warnings.
        """
        table, first = self.config.tokens, wanted
        while True:
            if isinstance(self.base, BpeBase):
                tokens = learn_tokens(
                    self.counts, weights.weights, self.base.replace(dropped), table, wanted, self.report,
                    self.clock,
                )  # fmt: skip
                number, notes = len(tokens), list(tokens.warnings)
            else:
                pieces = self._fit_pieces(self.base, dropped, wanted, usage)
                number, notes = len(pieces), []
            self.clock.lap("tokens")
            if number < wanted and not table.allow_fewer:
                raise FitError(
                    f"{wanted:,} new tokens are more than {', '.join(self.new)} can support with "
                    f"min_count = {table.min_count}: {number:,}",
                    f"--set tokens.new={number:_}  # or --set tokens.allow_fewer=true, or count more text",
                )
            if number >= len(dropped):
                break
            dropped, wanted = dropped[:number], number
        if number < first:
            notes.append(f"{first - number:_} fewer tokens than asked for: the text supports no more")
        if not isinstance(self.base, BpeBase):
            return dropped, _put_pieces(self.base.vocabulary, dropped, pieces), notes
        found = self.base.replace(dropped, tokens.characters, tokens.merges)
        check_reached(found, self.base)
        return dropped, found, notes

    def _fit_pieces(
        self, base: BlockBase, dropped: Sequence[int], wanted: int, usage: Mapping[str, Float64Array]
    ) -> dict[str, float]:
        """Return new pieces of a unigram base with their scores, by falling score."""
        left = replace(base, vocabulary=_hide_pieces(base.vocabulary, dropped))
        known = base.known_weights(self.counts.fingerprint)
        used = {code: usage[code].astype(np.int64) for code in usage}
        use = _open_use(base.vocabulary)
        used |= {c: use(self.counts.languages[c].train, False) for c in known if c not in used}
        totals = base.find_totals(used, self.new, self.counts.fingerprint)
        least = min(totals.values())
        weights = {code: least / total for code, total in totals.items()}
        spans = derive_spans(
            self.counts, base.rule, "sentencepiece",
            languages=self.new, workers=self.workers, progress=self.report,
        )  # fmt: skip
        frozen = replace(usable_pieces(left.freeze_pieces()), total=least)
        covered, table = mark_characters(frozen.pieces), self.config.tokens
        floors = TailTable(min_count=max(table.min_count, 2)).floors
        if table.characters:
            covered[_missing_letters(spans.languages.values(), covered, floors[-1])[:wanted]] = True
        names = {base.vocabulary.pieces[k] for k in range(base.vocabulary.size) if k not in {*dropped}}
        with open_workers(None) as pool:
            warm_kernels(pool, self.report)
            self.report.start("fitting pieces")
            lexicon = build_lexicon(spans.languages, covered, pool)
            found = find_substrings(lexicon, pool, longest=_LONGEST, floor=floors[-1])
            block = fit_block(
                lexicon, found, wanted, pool, frozen, weights=weights, floors=floors,
                options=choose_options(TrainerTable()), deny=names - set(frozen.pieces),
            )  # fmt: skip
            self.report.finish()
        order = np.lexsort((np.arange(len(block.pieces)), -block.scores))
        scores = make_distinct(block.scores[order], set(base.vocabulary.scores.tolist()))
        return dict(zip((block.pieces[k] for k in order.tolist()), scores.tolist(), strict=True))

    def _tell(self, freed: int, ordered: int, residual: int | None) -> Iterator[str]:
        """Yield what a reader should know of how many tokens can go."""
        table = self.config.replace
        if residual is not None:
            yield f"{freed:,} of {residual:,} residual tokens make room"
        if freed < ordered:
            yield f"replace.max_loss = {table.max_loss:.4g} is why no more than {freed:,} tokens go"
        elif residual is None and ordered < self.config.tokens.new:
            yield f"{ordered:,} tokens are all that may go"

    def _list_rows(
        self, found: BpeBase | Vocabulary, dropped: Sequence[int]
    ) -> tuple[tuple[dict[str, object], ...], dict[str, Int64Array]]:
        """Return a row for each counted language, and how often its training text uses each id.

        `change` and `more` are of the measured split's words; `loss` is the larger of that and the change of
        whole lines, and `bare_loss` the same with nothing in the place of what went: it is held to the bound.
        """
        codes = sorted(self.counts.languages)
        self.report.start("comparing with the base", len(codes), "languages")
        old, now, bare = _open_use(self.model), _open_use(found), _open_use(self._drop(dropped))
        fresh = np.array([*sorted(dropped), *range(self.model.size, found.size)], np.int64)
        rows: list[dict[str, object]] = []
        usage: dict[str, Int64Array] = {}
        for code in codes:
            language = self.counts.languages[code]
            split, table, totals = _measured_split(language)
            held = code in self.kept
            starts = held and _starts_differ(self.model)
            start, end = (_measure(use, table, totals, starts) for use in (old, now))
            left = _measure(bare, table, totals, starts) if held else start
            usage[code] = now(language.train, False)
            rows.append(
                {
                    "language": code,
                    "role": "kept" if held else "new" if code in self.new else "other",
                    "split": split,
                    "before": start.words,
                    "after": end.words,
                    "more": end.words - start.words,
                    "change": end.words / start.words - 1.0 if start.words else None,
                    "loss": end.exceeds(start) if held and start.words else None,
                    "bare_loss": left.exceeds(start) if held and start.words else None,
                    "tokens_per_word": end.words / totals.words if totals.words else None,
                    "new_used": int((usage[code][fresh] > 0).sum()),
                }
            )
            self.report.advance(1)
        self.report.finish()
        return tuple(rows), usage

    def _list_replaced(
        self, found: BpeBase | Vocabulary, dropped: Sequence[int], usage: Mapping[str, Float64Array]
    ) -> list[dict[str, object]]:
        """Return a row for each id given away: its old and new token, and what used the old one in training."""
        use = np.sum([usage[code] for code in self.kept], axis=0)
        learn = np.sum([usage[code] for code in self.new], axis=0)
        return [
            {
                "id": index,
                "dropped": _show(self.model, index),
                "new": _show(found, index),
                "kept_use": round(float(use[index])),
                "new_use": round(float(learn[index])),
            }
            for index in sorted(dropped)
        ]


def _warn_of_losses(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence on languages that nobody asked to keep, where they pay."""
    lost = [row for row in rows if row["role"] == "other" and (row["change"] or 0.0) > 0.01]
    if lost:
        names = ", ".join(f"{row['language']} {row['change']:+.1%}" for row in lost)
        yield f"counted languages that are not kept and need over 1 % more tokens: {names}"


_LONGEST = 16
"""The most characters of a new piece, as in every preset."""


def _missing_letters(tables: Iterable[SpanTable], covered: BoolArray, floor: int) -> Int64Array:
    """Return the characters with enough evidence that are no pieces, the most frequent first."""
    found = sum(map(count_characters, tables), np.zeros(len(covered)))
    missing = np.flatnonzero((found >= floor) & ~covered)
    return missing[np.argsort(-found[missing], kind="stable")]


def _hide_pieces(base: Vocabulary, dropped: Iterable[int]) -> Vocabulary:
    """Return a vocabulary that encodes nothing to some ids."""
    kinds = list(base.kinds)
    for index in dropped:
        kinds[index] = Kind.UNUSED
    return replace(base, kinds=tuple(kinds))


def _put_pieces(base: Vocabulary, dropped: Sequence[int], pieces: Mapping[str, float]) -> Vocabulary:
    """Return a vocabulary with pieces under the ids given away, a dropped one that comes back under its own.

    Those without an id count up from the size, as shared pieces.
    """
    own = {base.pieces[index]: index for index in dropped}
    again = {own[piece] for piece in pieces if piece in own}
    free = iter(sorted(set(dropped) - again))
    names, scores, kinds = list(base.pieces), base.scores.tolist(), list(base.kinds)
    for piece, score in pieces.items():
        index = own[piece] if piece in own else next(free, len(names))
        if index == len(names):
            names.append(piece)
            scores.append(score)
            kinds.append(Kind.NORMAL)
        names[index], scores[index] = piece, score
    blocks = list(base.blocks)
    if len(names) > base.size and blocks[-1].name == SHARED:
        blocks[-1] = Block(SHARED, blocks[-1].start, len(names))
    elif len(names) > base.size:
        blocks.append(Block(SHARED, base.size, len(names)))
    return replace(
        base,
        pieces=tuple(names),
        scores=np.array(scores, np.float32),
        kinds=tuple(kinds),
        blocks=tuple(blocks),
    )


def _show(model: BpeBase | Vocabulary, index: int) -> str:
    """Return a token so that it can be printed, `▁` for a space."""
    tokenizer = model.tokenizer if isinstance(model, BpeBase) else model
    return show_token(tokenizer.token_bytes(index) or b"").replace(" ", SPACE)
