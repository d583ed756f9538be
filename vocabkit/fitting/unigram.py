"""The unigram trainer: from closed substrings to a vocabulary of an exact size, by EM and pruning.

Expectation–maximisation with SentencePiece's sparse M-step (Kudo 2018), then the pieces whose loss is least are
pruned, again and again until the size is reached; finally pieces that are never the best way to write
themselves are replaced, and scores made distinct. Frozen pieces keep their scores and are never pruned.
The same in plain Python is in `reference`. Knows no file formats.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vocabkit.core.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, UInt8Array
from vocabkit.core.errors import FitError, TooFewPieces
from vocabkit.core.folders import Clock
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.compilation import Workers, compile
from vocabkit.corpus.spans import SpanTable, hash_spans
from vocabkit.fitting.lattice import (
    Lattice,
    Runs,
    Trie,
    build_pieces,
    build_runs,
    build_trie,
    count_best,
    expect_counts,
    find_child,
    split_pieces,
)
from vocabkit.fitting.lexicon import (
    WORD_MARK,
    Lexicon,
    SortedRows,
    Strings,
    build_lexicon,
    decode_strings,
    encode_strings,
    join_strings,
)
from vocabkit.fitting.substrings import Substrings, find_substrings, weigh_substrings

# --- Scores ----------------------------------------------------------------------------------------
# From expected counts to log probabilities, and the small rules by which pieces are compared: on float32, so
# that a last bit of a sum decides nothing, and equal values go to the earlier piece.

LEAST = 0.5
"""Pieces expected less often than this are dropped (SentencePiece's rule)."""
TOLERANCE = 1e-9
"""Sums closer than this count as equal."""


def score_counts(count: Float64Array, total: float, *, sparse: bool) -> Float64Array:
    """Return the M-step's scores of counts raised to `LEAST`: log, or digamma, of each less that of the total.

    The digamma is the mean of the log under a Dirichlet posterior: it takes about half an occurrence from
    each count and so thins out rare pieces.
    """
    raised = np.maximum(count, LEAST)
    if sparse:
        return _digamma(raised) - float(_digamma(np.array([total]))[0])
    scores: Float64Array = np.log(raised) - math.log(total)
    return scores


def _digamma(value: Float64Array) -> Float64Array:
    """Return the digamma function of positive numbers: recurrence up to 20, then the asymptotic series."""
    x = value.astype(np.float64)
    result = np.zeros(len(x))
    while (small := np.flatnonzero(x < 20.0)).size:
        result[small] -= 1.0 / x[small]
        x[small] += 1.0
    x -= 0.5
    square = 1.0 / (x * x)
    series = square * (1 / 24 + square * (-7 / 960 + square * (31 / 8064 - square * 127 / 30720)))
    out: Float64Array = result + np.log(x) + series
    return out


def _take_best(value: Float64Array, size: int) -> BoolArray:
    """Return which entries are the `size` greatest as float32; of equal ones the first."""
    rounded = value.astype(np.float32)
    if size >= len(value):
        return np.ones(len(value), np.bool_)
    if size <= 0:
        return np.zeros(len(value), np.bool_)
    least = np.partition(rounded, len(value) - size)[len(value) - size]
    taken: BoolArray = rounded > least
    ties = np.flatnonzero(rounded == least)
    taken[ties[: size - int(taken.sum())]] = True
    return taken


def round_scores(score: Float64Array, active: BoolArray) -> Float32Array:
    """Return scores as float32, all active ones different; equal ones step down in order of id.

    SentencePiece adds float32 and tokenizers float64: with equal scores they would choose differently.
    """
    out = score.astype(np.float32)
    ids = np.flatnonzero(active)
    ids = ids[np.lexsort((ids, -score[ids]))]
    values = out[ids]
    _step_down(values)
    out[ids] = values
    return out


@compile
def _step_down(values: Float32Array) -> None:
    for i in range(1, len(values)):
        if values[i] >= values[i - 1]:
            values[i] = np.nextafter(values[i - 1], np.float32(-np.inf))


@dataclass(frozen=True, slots=True)
class UnigramOptions:
    """How a fit proceeds; docs/trainer.md tells what each choice buys.

    `seeds` = 0 takes eight times the size. `floors` are raw occurrences a seed must have, tried in turn until
    the size fills. Each round keeps `shrink` of the pieces and makes `iterations` passes, the first and last
    more. `overshoot` is how many pieces, relative to the size, the last choice is made from. `sparse` is the
    digamma M-step. `loss` is `viterbi` (SentencePiece's) or `expected`: count · (score − best split)^`power`. A
    power of 1 is the likelihood lost, of 0 the number of uses; likelihood alone spends pieces on scripts
    with many characters, whose every occurrence is worth more nats but no more tokens.
    `memory` limits the bytes of arcs held; the rest are found again at every pass.
    """

    seeds: int = 0
    floors: tuple[int, ...] = (5, 3, 2)
    min_documents: int = 1
    rank: str = "information"
    shrink: float = 0.75
    iterations: int = 1
    first_iterations: int = 2
    last_iterations: int = 2
    overshoot: float = 1.1
    sparse: bool = True
    loss: str = "expected"
    power: float = 0.35
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    """Pieces with scores that stay: log(expected count ÷ `total`), `total` being of the fit they are from."""

    pieces: Sequence[str]
    scores: Sequence[float]
    total: float


@dataclass(frozen=True, slots=True)
class PathPoint:
    """One size on the way down: log likelihood per character in nats, of training and of held-out rows.

    `tokens` are per held-out character, in the best segmentation.
    """

    size: int
    training: float
    held_out: float | None
    tokens: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UnigramFit:
    """Normal pieces by falling score, characters included; `count` is how often each is expected.

    `total` is the scale of the scores: with it they can be frozen in another fit. `replaced` unreachable
    pieces were dropped at the end; `unreachable` lists characters and kept pieces whose best split scores
    higher. `floor` is the evidence the `seeds` had. `seconds` is wall time by step. `rank`, where the path was
    followed below the size, is each piece's place in the order of worth: the vocabulary of n pieces on the path
    is those of rank below n.
    """

    pieces: tuple[str, ...]
    scores: Float32Array
    count: Float64Array
    total: float
    path: tuple[PathPoint, ...]
    replaced: int
    unreachable: tuple[str, ...]
    floor: int
    seeds: int
    seconds: Mapping[str, float]
    rank: Int64Array | None = None


# --- Candidates ------------------------------------------------------------------------------------
# The pieces a fit starts from: chosen closed substrings, and lists of pieces to keep or deny.
#
# A seed's rank is weighted occurrences × Σ √(−log share of the character). SentencePiece's, occurrences ×
# length, takes a Chinese character for a Latin one: with eight times the size in seeds, Lao needs 5 % more
# tokens and Chinese 2 %. The root is a compromise; without it the other languages lose more than these gain.

_SLICE = 1 << 18


def _choose_candidates(
    lexicon: Lexicon, substrings: Substrings, mass: Float64Array, characters: Float64Array, limit: int,
    workers: Workers, *, floor: int, options: UnigramOptions, fixed: Sequence[str], keep: Collection[str],
    deny: Collection[str],
) -> tuple[Strings, Float64Array, int, Runs | None]:  # fmt: skip
    """Choose at most `limit` seeds of at least `floor` raw occurrences, and add the `fixed` and `keep` pieces.

    `mass` is the weighted occurrences of each substring, `characters` of each character code. Pieces of
    `fixed` must be ones the lexicon's characters can write. Returns the pieces longer than one character in
    order of their ids (seeds, fixed, kept), the weighted occurrences of each, the number of seeds, and the
    seeds' places: None where there are other pieces too.
    """
    among_fixed = set(fixed)
    kept = [p for p in sorted(set(keep)) if len(p) > 1 and p not in among_fixed]
    added = encode_strings(lexicon, [*fixed, *kept]).text
    cost = np.ones(len(characters))
    cost[0] = 0.0
    if options.rank == "information":
        cost[1:] = np.sqrt(-np.log(characters[1:] / characters.sum()))
    value = np.empty(len(substrings))
    given = (lexicon.text, substrings.last, substrings.length, mass, cost, value)
    workers.map(lambda first: _spell(*given, first), range(0, len(value), _SLICE))
    value[substrings.evidence < floor] = -np.inf
    if options.min_documents > 1:
        value[substrings.documents < options.min_documents] = -np.inf
    refused = join_strings(added, encode_strings(lexicon, sorted(deny)).text)
    if len(refused.text) > 1:
        trie = build_trie(refused, 0)
        value[_match(lexicon.text, substrings.last, substrings.length, trie)] = -np.inf
    chosen = np.flatnonzero(_take_best(value, limit) & (value > -np.inf))
    pieces = join_strings(substrings.copy(lexicon, chosen).text, added)
    others = len(fixed) + len(kept)
    runs = None
    if not others:
        found = (substrings.begin[chosen], substrings.stop[chosen], substrings.length[chosen])
        runs = build_runs(substrings.order, *found, len(lexicon.alphabet) + 1)
    return pieces, np.concatenate((mass[chosen], np.ones(others))), len(chosen), runs


def _check_lists(lexicon: Lexicon, keep: Collection[str], deny: Collection[str], longest: int) -> None:
    """Raise `FitError` for a kept piece that cannot be one, and for a denied one that must be."""
    covered = lexicon.codes
    for piece in sorted(keep):
        problem = ""
        if not piece or WORD_MARK in piece[1:] or any(c.isspace() for c in piece):
            problem = "no piece is empty, holds white space, or has ▁ anywhere but in front"
        elif len(piece) > longest:
            problem = f"it has {len(piece)} characters and pieces have at most {longest}"
        elif missing := sorted(set(piece) - covered.keys()):
            problem = f"{', '.join(map(repr, missing))} is not a covered character of this text"
        if problem:
            raise FitError(f"{piece!r} cannot be kept: {problem}", "take it off the list of pieces to keep")
    for piece in sorted(deny):
        if piece in covered or piece in keep:
            reason = "it is a covered character" if piece in covered else "it is also to be kept"
            raise FitError(f"{piece!r} cannot be denied: {reason}", "take it off the list of pieces to deny")


@compile
def _spell(
    text: Int32Array, last: Int32Array, length: UInt8Array, mass: Float64Array, cost: Float64Array,
    out: Float64Array, first: int,
) -> None:  # fmt: skip
    for i in range(first, min(first + _SLICE, len(out))):
        spelled = 0.0
        for back in range(length[i]):
            spelled += cost[text[last[i] - back]]
        out[i] = mass[i] * spelled


@compile
def _match(text: Int32Array, last: Int32Array, length: UInt8Array, trie: Trie) -> BoolArray:
    """Return which of the strings of `length[i]` codes up to `last[i]` are in the trie."""
    table, terminal = trie.table, trie.piece
    out = np.zeros(len(last), np.bool_)
    for i in range(len(last)):
        node = 0
        for back in range(length[i]):
            node = find_child(table, node, text[last[i] - back])
            if node < 0:
                break
        out[i] = node >= 0 and terminal[node] >= 0
    return out


# --- Training --------------------------------------------------------------------------------------

MARGIN = 1e-4
"""By how much a piece must beat its best split: more than float32 sums can hide."""
ROUNDS = 2
"""How often scores are estimated again after replacing unreachable pieces; then they stay as they are."""


class _Training:
    """A fit between passes, and the steps that change it; `fit_unigram` documents the choices.

    Ids 1 … A are the characters, longer pieces follow; id 0 is none. A piece that is out has score −inf.
    """

    def __init__(
        self, lexicon: Lexicon, substrings: Substrings, mass: Float64Array, row_weight: Float64Array, size: int,
        workers: Workers, *, floor: int, options: UnigramOptions, frozen: Frozen | None,
        keep: Collection[str], deny: Collection[str], held_out: Lexicon | None, clock: Clock,
    ) -> None:  # fmt: skip
        self.lexicon, self.row_weight, self.options = lexicon, row_weight, options
        self.workers, self.clock, self.floor, self.frozen = workers, clock, floor, frozen
        self.path: list[PathPoint] = []
        self.reached = 0
        # Candidates that were pruned, by number, the least worth first.
        self.pruned: list[Int64Array] = []
        letters = len(lexicon.alphabet)
        codes = lexicon.codes
        single = _count_characters(lexicon, row_weight, workers)
        base = dict(zip(frozen.pieces, frozen.scores, strict=True)) if frozen else {}
        fixed = [p for p in base if len(p) > 1 and all(c in codes for c in p)]
        self.longer, mass, self.seeds, runs = _choose_candidates(
            lexicon, substrings, mass, single, (options.seeds or max(8 * size, 1_000)) - letters, workers,
            floor=floor, options=options, fixed=fixed, keep=keep, deny=deny,
        )  # fmt: skip
        clock.lap("seeds ranked")
        self.first = letters + 1
        lengths = self.longer.lengths
        self.width = np.concatenate((np.zeros(1), np.ones(letters), lengths)).astype(np.uint8)
        self.origin = np.arange(len(lengths), dtype=np.int64)
        begin = self.first + self.seeds
        single_fixed = [p for p in base if p in codes]
        self.is_frozen = np.zeros(len(self.width), np.bool_)
        self.is_frozen[begin : begin + len(fixed)] = True
        self.is_frozen[[codes[p] for p in single_fixed]] = True
        self.is_kept = np.zeros(len(self.width), np.bool_)
        self.is_kept[1 : self.first] = True
        self.is_kept[begin + len(fixed) :] = True

        longest = max(substrings.longest, int(self.width.max()))
        trie = build_trie(self.longer, self.first)
        clock.lap("trie")
        self.lattice = Lattice(lexicon, trie, longest, workers, options.memory, runs)
        clock.lap("arcs")
        self.pieces, self.row_of = build_pieces(lexicon.alphabet, self.longer, trie, longest, workers)
        clock.lap("arcs of pieces")
        self.held_out: Lattice | None = None
        if held_out is not None:
            self.held_out = Lattice(held_out, trie, longest, workers, options.memory)

        self.count = np.concatenate((single, mass)) * self.width
        with np.errstate(divide="ignore"):
            self.score = np.log(self.count / self.count.sum())
        self.score[begin : begin + len(fixed)] = [base[p] for p in fixed]
        self.score[[codes[p] for p in single_fixed]] = [base[p] for p in single_fixed]

    @property
    def active(self) -> BoolArray:
        """Pieces that count towards the size and are in."""
        out: BoolArray = (self.score > -np.inf) & ~self.is_frozen
        return out

    def run(
        self, size: int, path_to: int | None, report: Progress, *, allow_fewer: bool = False
    ) -> UnigramFit | None:
        """Go from the seeds to `size` pieces; None when too few are left (`reached`)."""
        options = self.options
        goal = max(size, int(size * options.overshoot))
        report.start("fitting", None, "passes")
        passes = options.first_iterations
        while True:
            for _ in range(passes):
                likelihood = self.em_step(report, dropping=True)
            passes = options.iterations
            self.reached = int(self.active.sum())
            self._record(likelihood)
            if self.reached < size or self.reached <= goal:
                break
            self.prune(max(goal, int(self.reached * options.shrink)))
        result = None
        if self.reached >= size or allow_fewer:
            result = self.finalize(min(size, self.reached), report, allow_fewer=allow_fewer)
        if result is None:
            report.finish()
            return None
        rank = self._prune_further(path_to, report) if path_to is not None else None
        report.finish()
        seconds = dict(self.clock.seconds)
        return replace(result, path=tuple(self.path), seconds=seconds, rank=rank)

    def em_step(self, report: Progress, *, dropping: bool) -> float:
        """Make one pass of EM; return the log likelihood under the scores before it."""
        count, likelihood = self._expect(self.lattice, self.row_weight)
        self.clock.lap("expectation")
        active = self.active
        if dropping:
            active &= (count >= LEAST - TOLERANCE) | self.is_kept
        self.count = count
        total = self._scale(active)
        self._note_pruned(self.active & ~active, count)
        score = np.where(self.is_frozen, self.score, -np.inf)
        score[active] = score_counts(count[active], total, sparse=self.options.sparse)
        self.score = score
        if dropping and (active | self.is_frozen).sum() < 0.9 * len(active):
            self._compact(active | self.is_frozen)
        self.clock.lap("maximisation")
        report.advance(1)
        return likelihood

    def _scale(self, active: BoolArray) -> float:
        """Return what counts are divided by: that of the frozen scores, else their own total."""
        if self.frozen is not None:
            return self.frozen.total
        return float(np.maximum(self.count[active], LEAST).sum())

    def _expect(self, lattice: Lattice, row_weight: Float64Array) -> tuple[Float64Array, float]:
        return expect_counts(lattice, row_weight, self.score, self.width, self.workers)

    def prune(self, size: int) -> None:
        """Keep the `size` pieces whose loss is greatest, characters and kept pieces first."""
        active = self.active
        loss = self._losses()
        keep = _take_best(loss, size) & active
        self._note_pruned(active & ~keep, loss)
        self._compact(keep | self.is_frozen)
        self.clock.lap("compaction")

    def finalize(self, size: int, report: Progress, *, allow_fewer: bool) -> UnigramFit | None:
        """Cut to the exact size, re-estimate, and replace pieces that cannot be reached."""
        eligible = self.active
        loss = self._losses()
        active = _take_best(loss, size) & eligible
        order = np.lexsort((np.arange(len(loss)), -loss.astype(np.float32)))
        reserve = order[(eligible & ~active)[order]]
        before = self.score.copy()
        replaced = rounds = 0
        while True:
            self.score[eligible & ~active] = -np.inf
            if rounds < ROUNDS:
                for _ in range(self.options.last_iterations):
                    likelihood = self.em_step(report, dropping=False)
            rounds += 1
            rounded = round_scores(self.score, active)
            unreachable = self._find_unreachable(rounded.astype(np.float64)) & active
            lost = unreachable & ~self.is_kept
            wanted = int(lost.sum())
            if not wanted:
                break
            active &= ~lost
            replaced += wanted
            fill, reserve = reserve[:wanted], reserve[wanted:]
            if len(fill) < wanted and not allow_fewer:
                self.reached = int(active.sum()) + len(fill)
                return None
            active[fill] = True
            self.score[fill] = before[fill]
        self._record(likelihood)
        ids = np.flatnonzero(active)
        ids = ids[np.lexsort((ids, -rounded[ids].astype(np.float64)))]
        longer = decode_strings(self.lexicon.alphabet, self.longer.text)
        names = ["", *self.lexicon.codes, *(longer[k] for k in self.origin.tolist())]
        self._ids = ids
        self.clock.lap("finish")
        return UnigramFit(
            tuple(names[i] for i in ids.tolist()), rounded[ids], self.count[ids], self._scale(active), (),
            replaced, tuple(names[i] for i in np.flatnonzero(unreachable & self.is_kept).tolist()),
            self.floor, self.seeds, {},
        )  # fmt: skip

    def _prune_further(self, path_to: int, report: Progress) -> Int64Array:
        """Go on pruning below the size for the sake of the path; return the rank of the finished pieces."""
        ids = self._ids
        origin = np.full(len(ids), -1, np.int64)
        origin[ids >= self.first] = self.origin[ids[ids >= self.first] - self.first]
        self.pruned = []
        least = int((self.active & self.is_kept).sum())
        while self.active.sum() > max(path_to, least):
            alive = int(self.active.sum())
            self.prune(max(path_to, least, int(alive * self.options.shrink)))
            for _ in range(self.options.iterations):
                likelihood = self.em_step(report, dropping=True)
            self._record(likelihood)
        left = np.flatnonzero(self.active)
        left = left[left >= self.first]
        left = left[np.lexsort((left, -self.score[left].astype(np.float32)))]
        longer = [self.origin[left - self.first], *(part[::-1] for part in reversed(self.pruned))]
        order = np.concatenate(longer)
        place = np.full(len(self.row_of), -1, np.int64)
        characters = int((origin < 0).sum())
        place[order] = characters + np.arange(len(order))
        rank = np.empty(len(ids), np.int64)
        rank[origin >= 0] = place[origin[origin >= 0]]
        rank[origin < 0] = np.arange(characters)
        return rank

    def _note_pruned(self, gone: BoolArray, worth: Float64Array) -> None:
        """Note which candidates go, the least worth first."""
        ids = np.flatnonzero(gone)
        ids = ids[ids >= self.first]
        ids = ids[np.lexsort((-ids, worth[ids].astype(np.float32)))]
        self.pruned.append(self.origin[ids - self.first])

    def _losses(self) -> Float64Array:
        """Return what the text loses with each piece: inf where it must stay, -inf where it is out."""
        used = self.count
        if self.options.loss == "viterbi":
            used = count_best(self.lattice, self.row_weight, self.score, self.workers)
            self.clock.lap("viterbi")
        split, longer = self._split(used, self.score)
        loss = np.full(len(self.score), np.inf)
        with np.errstate(invalid="ignore"):
            gain = self.score[self.first :] - split
            if self.options.loss == "expected":
                longer = used[self.first :] * np.maximum(gain, 0.0) ** self.options.power
        # A piece that loses to its own split goes, however much it is used.
        loss[self.first :] = np.where(gain > TOLERANCE, longer, -1.0)
        loss[self.is_kept] = np.inf
        loss[~self.active] = -np.inf
        self.clock.lap("splits")
        return loss

    def _split(self, used: Float64Array, score: Float64Array) -> tuple[Float64Array, Float64Array]:
        return split_pieces(self.pieces, self.row_of[self.origin], self.first, score, used, self.workers)

    def _find_unreachable(self, score: Float64Array) -> BoolArray:
        """Return which pieces do not beat their best split by a margin."""
        out = np.zeros(len(score), np.bool_)
        out[self.first :] = self._split(np.ones(len(score)), score)[0] + MARGIN >= score[self.first :]
        self.clock.lap("splits")
        return out

    def _compact(self, keep: BoolArray) -> None:
        """Drop pieces from every array and lattice; characters stay."""
        keep = keep.copy()
        keep[: self.first] = True
        remap = np.full(len(keep), -1, np.int32)
        remap[keep] = np.arange(int(keep.sum()), dtype=np.int32)
        self.lattice.keep(remap, self.workers)
        self.pieces.keep(remap, self.workers)
        if self.held_out is not None:
            self.held_out.keep(remap, self.workers)
        self.origin = self.origin[keep[self.first :]]
        self.width, self.score, self.count = self.width[keep], self.score[keep], self.count[keep]
        self.is_frozen, self.is_kept = self.is_frozen[keep], self.is_kept[keep]

    def _record(self, likelihood: float) -> None:
        value = tokens = None
        if self.held_out is not None:
            weight = self.held_out.lexicon.weigh()
            letters = self.held_out.lexicon.count_characters(weight)
            value = self._expect(self.held_out, weight)[1] / letters
            best = count_best(self.held_out, weight, self.score, self.workers)
            tokens = float(best.sum()) / letters
            self.clock.lap("held out")
        size = int(self.active.sum())
        training = likelihood / self.lexicon.count_characters(self.row_weight)
        self.path.append(PathPoint(size, training, value, tokens))


def _count_characters(lexicon: Lexicon, row_weight: Float64Array, workers: Workers) -> Float64Array:
    size, bounds, rows = len(lexicon.alphabet) + 1, lexicon.row_bounds, lexicon.rows
    parts = workers.map(lambda a, b: _tally(rows, row_weight, a, b, size), bounds[:-1], bounds[1:])
    return sum(parts, np.zeros(size))


@compile
def _tally(rows: SortedRows, row_weight: Float64Array, first: int, stop: int, size: int) -> Float64Array:
    text, offsets = rows.text, rows.offsets
    out = np.zeros(size)
    for row in range(first, stop):
        for at in range(offsets[row], offsets[row + 1] - 1):
            out[text[at]] += row_weight[row]
    return out


# --- Fitting ---------------------------------------------------------------------------------------

LONGEST = 18
"""Most characters of a piece: beyond, forward sums of one piece's stretch could leave the range of a double."""


def fit_unigram(
    lexicon: Lexicon,
    substrings: Substrings,
    size: int,
    workers: Workers,
    *,
    weights: Mapping[str, float] | None = None,
    options: UnigramOptions | None = None,
    frozen: Frozen | None = None,
    keep: Collection[str] = (),
    deny: Collection[str] = (),
    held_out: Lexicon | None = None,
    path_to: int | None = None,
    allow_fewer: bool = False,
    progress: Progress | None = None,
) -> UnigramFit:
    """Fit `size` normal pieces, the lexicon's characters among them; with `frozen`, `size` new ones.

    `weights` multiply the languages' counts. `keep` are pieces never pruned, `deny` pieces never taken.
    `path_to` continues the path below `size`, down to that many pieces, without changing the result;
    `held_out` is a lexicon with the same alphabet. `allow_fewer` takes what the last floor supports where that
    is less than the size. Raises `FitError` when the size cannot hold the
    characters or the text cannot fill it, or a list asks for what cannot be.
    """
    chosen = options or UnigramOptions()
    longest = max(substrings.longest, max(map(len, frozen.pieces), default=0) if frozen else 0)
    if longest > LONGEST:
        raise FitError(
            f"pieces of {longest} characters: this trainer takes at most {LONGEST}",
            f"--set vocabulary.max_piece_length={LONGEST}  # or --set trainer.engine=sentencepiece",
        )
    _check_lists(lexicon, keep, deny, longest)
    required = len(lexicon.alphabet) + sum(len(piece) > 1 for piece in set(keep))
    if frozen is None and size < required:
        raise FitError(
            f"{size:_} pieces cannot hold the {required:_} covered characters and kept pieces",
            "raise vocabulary.size, or lower coverage.character",
        )
    if held_out is not None and not np.array_equal(held_out.alphabet, lexicon.alphabet):
        raise ValueError("held_out must be built with alphabet=lexicon.alphabet")
    clock = Clock()
    row_weight = lexicon.weigh(weights)
    mass = substrings.evidence.astype(np.float64)
    if weights is not None and any(weights[code] != 1.0 for code in lexicon.pairs):
        mass = weigh_substrings(lexicon, substrings, row_weight, workers)
    clock.lap("weights")
    reached = 0
    floors = [floor for floor in chosen.floors if floor >= substrings.floor]
    for floor in floors:
        training = _Training(
            lexicon, substrings, mass, row_weight, size, workers, floor=floor, options=chosen, frozen=frozen,
            keep=keep, deny=deny, held_out=held_out, clock=clock,
        )  # fmt: skip
        fewer = allow_fewer and floor == floors[-1]
        result = training.run(size, path_to, progress or Silent(), allow_fewer=fewer)
        if result is not None:
            return result
        reached = max(reached, training.reached)
    raise TooFewPieces(reached, size)


def warm_kernels(workers: Workers, progress: Progress | None = None) -> None:
    """Compile, or load from the cache, every kernel of a fit, by fitting seven words.

    A step of its own that a user can see: half a minute the first time on a machine, then a second.
    """
    report = progress or Silent()
    report.start("compiling the trainer (kept for next time)")
    words = f"▁abab ▁abc ▁cab abcabc bcab ▁cc\u0301. {'abc' * 10}".split(" ")
    text = np.frombuffer("".join(words).encode("utf-32-le"), "<u4").astype(np.uint32)
    offsets = np.concatenate(([0], np.cumsum([len(word) for word in words]))).astype(np.int64)
    count = np.full(len(words), 9, np.int64)
    table = SpanTable(text, offsets, count, count, hash_spans(text, offsets))
    lexicon = build_lexicon({"a": table, "b": table}, np.ones(0x110000, np.bool_), workers)
    substrings = find_substrings(lexicon, workers)
    options = UnigramOptions(floors=(2,), overshoot=1.0)
    weights = {"a": 1.0, "b": 2.0}
    # Kept pieces go through the trie, and seeds alone are laid out by their runs.
    for keep, deny in ((["ab"], ["bca"]), ([], [])):
        fit_unigram(lexicon, substrings, 9, workers, weights=weights, options=options, keep=keep, deny=deny)
    report.finish()
