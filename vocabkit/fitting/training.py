"""Training: the state of a unigram fit between passes, and the steps that change it.

Ids 1 … A are the characters, longer pieces follow; id 0 is none. A piece that is out has score −inf. Started by
`unigram.fit_unigram`, which documents the choices.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from vocabkit.core.progress import Progress
from vocabkit.fitting.candidates import choose_candidates
from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.expectation import count_best, expect_counts
from vocabkit.fitting.lattice import Lattice
from vocabkit.fitting.lexicon import BoolArray, FloatArray, Lexicon, decode_strings
from vocabkit.fitting.pruning import build_pieces, split_pieces
from vocabkit.fitting.results import Frozen, PathPoint, UnigramFit, UnigramOptions
from vocabkit.fitting.scores import LEAST, TOLERANCE, round_scores, score_counts, take_best
from vocabkit.fitting.sorting import Int32Array, Int64Array
from vocabkit.fitting.substrings import Substrings
from vocabkit.fitting.trie import build_trie

MARGIN = 1e-4
"""By how much a piece must beat its best split: more than float32 sums can hide."""
ROUNDS = 2
"""How often scores are estimated again after replacing unreachable pieces; then they stay as they are."""


class Clock:
    """Wall seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last call."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


class Training:
    """A fit in progress."""

    def __init__(
        self,
        lexicon: Lexicon,
        substrings: Substrings,
        mass: FloatArray,
        row_weight: FloatArray,
        size: int,
        workers: Workers,
        *,
        floor: int,
        options: UnigramOptions,
        frozen: Frozen | None,
        keep: Collection[str],
        deny: Collection[str],
        held_out: Lexicon | None,
        clock: Clock,
    ) -> None:
        self.lexicon, self.row_weight, self.options = lexicon, row_weight, options
        self.workers, self.clock, self.floor, self.frozen = workers, clock, floor, frozen
        self.path: list[PathPoint] = []
        self.reached = 0
        # Candidates that were dropped, by number, the least worth first.
        self.dropped: list[Int64Array] = []
        letters = len(lexicon.alphabet)
        single = _count_characters(lexicon, row_weight, workers)
        alphabet = {chr(int(point)): i for i, point in enumerate(lexicon.alphabet, start=1)}
        base = dict(zip(frozen.pieces, frozen.scores, strict=True)) if frozen else {}
        fixed = [p for p in base if len(p) > 1 and all(c in alphabet for c in p)]
        chosen = choose_candidates(
            lexicon,
            substrings,
            mass,
            single,
            (options.seeds or max(8 * size, 1_000)) - letters,
            workers,
            floor=floor,
            min_documents=options.min_documents,
            rank=options.rank,
            fixed=fixed,
            keep=keep,
            deny=deny,
        )
        clock.lap("seeds ranked")
        self.text, self.seeds = chosen.text, chosen.seeds
        self.first = letters + 1
        self.width = np.concatenate((np.zeros(1), np.ones(letters), chosen.length)).astype(np.uint8)
        self.origin = np.arange(len(chosen.length), dtype=np.int64)
        begin = self.first + chosen.seeds
        self.is_frozen = np.zeros(len(self.width), np.bool_)
        self.is_frozen[begin : begin + chosen.fixed] = True
        self.is_frozen[[alphabet[p] for p in base if p in alphabet]] = True
        self.is_kept = np.zeros(len(self.width), np.bool_)
        self.is_kept[1 : self.first] = True
        self.is_kept[begin + chosen.fixed :] = True

        ends = np.flatnonzero(self.text == 0)
        longest = max(substrings.longest, int(self.width.max()))
        trie = build_trie(self.text, ends[1:] - 1, np.diff(ends) - 1, self.first)
        clock.lap("trie")
        self.lattice = Lattice(lexicon, trie, longest, workers, options.memory, chosen.runs)
        clock.lap("arcs")
        self.pieces, self.row_of = build_pieces(lexicon.alphabet, self.text, trie, longest, workers)
        clock.lap("arcs of pieces")
        self.held_out = (
            Lattice(held_out, trie, longest, workers, options.memory)
            if held_out is not None
            else None
        )

        self.count = np.concatenate((single, chosen.mass)) * self.width
        with np.errstate(divide="ignore"):
            self.score = np.log(self.count / self.count.sum())
        self.score[begin : begin + chosen.fixed] = [base[p] for p in fixed]
        for piece in base:
            if piece in alphabet:
                self.score[alphabet[piece]] = base[piece]

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
                likelihood = self.step(report, dropping=True)
            passes = options.iterations
            self.reached = int(self.active.sum())
            self._note(likelihood)
            if self.reached < size or self.reached <= goal:
                break
            self.prune(max(goal, int(self.reached * options.shrink)))
        result = None
        if self.reached >= size or allow_fewer:
            result = self.finish(min(size, self.reached), report, allow_fewer=allow_fewer)
        if result is None:
            report.finish()
            return None
        rank = self._descend(path_to, report) if path_to is not None else None
        report.finish()
        seconds = dict(self.clock.seconds)
        return replace(result, path=tuple(self.path), seconds=seconds, rank=rank)

    def step(self, report: Progress, *, dropping: bool) -> float:
        """Make one pass of EM; return the log likelihood under the scores before it."""
        found = expect_counts(self.lattice, self.row_weight, self.score, self.width, self.workers)
        self.clock.lap("expectation")
        active = self.active
        if dropping:
            active &= (found.count >= LEAST - TOLERANCE) | self.is_kept
        self.count = found.count
        if self.frozen is not None:
            total = self.frozen.total
        else:
            total = float(np.maximum(found.count[active], LEAST).sum())
        self._forget(self.active & ~active, found.count)
        score = np.where(self.is_frozen, self.score, -np.inf)
        score[active] = score_counts(found.count[active], total, sparse=self.options.sparse)
        self.score = score
        if dropping and (active | self.is_frozen).sum() < 0.9 * len(active):
            self._shrink(active | self.is_frozen)
        self.clock.lap("maximisation")
        report.advance(1)
        return found.log_likelihood

    def prune(self, size: int) -> None:
        """Keep the `size` pieces whose loss is greatest, characters and kept pieces first."""
        active = self.active
        loss = self._losses()
        keep = take_best(loss, size) & active
        self._forget(active & ~keep, loss)
        self._shrink(keep | self.is_frozen)
        self.clock.lap("compaction")

    def finish(self, size: int, report: Progress, *, allow_fewer: bool) -> UnigramFit | None:
        """Cut to the exact size, re-estimate, and replace pieces that cannot be reached."""
        eligible = self.active
        loss = self._losses()
        active = take_best(loss, size) & eligible
        order = np.lexsort((np.arange(len(loss)), -loss.astype(np.float32)))
        reserve = order[(eligible & ~active)[order]]
        before = self.score.copy()
        replaced = rounds = 0
        while True:
            self.score[eligible & ~active] = -np.inf
            if rounds < ROUNDS:
                for _ in range(self.options.last_iterations):
                    likelihood = self.step(report, dropping=False)
            rounds += 1
            rounded = round_scores(self.score, active)
            beaten = self._beaten(rounded.astype(np.float64)) & active
            lost = beaten & ~self.is_kept
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
        self._note(likelihood)
        ids = np.flatnonzero(active)
        ids = ids[np.lexsort((ids, -rounded[ids].astype(np.float64)))]
        names = self._strings()
        self._ids = ids
        total = float(np.maximum(self.count[active], LEAST).sum())
        self.clock.lap("finish")
        return UnigramFit(
            tuple(names[i] for i in ids.tolist()),
            rounded[ids],
            self.count[ids],
            self.frozen.total if self.frozen is not None else total,
            (),
            replaced,
            tuple(names[i] for i in np.flatnonzero(beaten & self.is_kept).tolist()),
            self.floor,
            self.seeds,
            {},
        )

    def _descend(self, path_to: int, report: Progress) -> Int64Array:
        """Go on pruning below the size for the sake of the path; return the rank of the finished pieces."""
        ids = self._ids
        origin = np.full(len(ids), -1, np.int64)
        origin[ids >= self.first] = self.origin[ids[ids >= self.first] - self.first]
        self.dropped = []
        least = int((self.active & self.is_kept).sum())
        while self.active.sum() > max(path_to, least):
            alive = int(self.active.sum())
            self.prune(max(path_to, least, int(alive * self.options.shrink)))
            for _ in range(self.options.iterations):
                likelihood = self.step(report, dropping=True)
            self._note(likelihood)
        left = np.flatnonzero(self.active)
        left = left[left >= self.first]
        left = left[np.lexsort((left, -self.score[left].astype(np.float32)))]
        longer = [self.origin[left - self.first], *(part[::-1] for part in reversed(self.dropped))]
        order = np.concatenate(longer)
        place = np.full(len(self.row_of), -1, np.int64)
        characters = int((origin < 0).sum())
        place[order] = characters + np.arange(len(order))
        rank = np.empty(len(ids), np.int64)
        rank[origin >= 0] = place[origin[origin >= 0]]
        rank[origin < 0] = np.arange(characters)
        return rank

    def _forget(self, dropped: BoolArray, worth: FloatArray) -> None:
        """Note which candidates go, the least worth first."""
        ids = np.flatnonzero(dropped)
        ids = ids[ids >= self.first]
        ids = ids[np.lexsort((-ids, worth[ids].astype(np.float32)))]
        self.dropped.append(self.origin[ids - self.first])

    def _losses(self) -> FloatArray:
        """Return what the text loses with each piece: inf where it must stay, -inf where it is out."""
        used = self.count
        if self.options.loss == "viterbi":
            used = count_best(self.lattice, self.row_weight, self.score, self.workers)
            self.clock.lap("viterbi")
        splits = split_pieces(self.pieces, self._piece_of_row(), self.score, used, self.workers)
        row = self.row_of[self.origin]
        loss = np.full(len(self.score), np.inf)
        active = self.active
        score, split = self.score[self.first :], splits.score[row]
        with np.errstate(invalid="ignore"):
            gain = score - split
            if self.options.loss == "viterbi":
                longer = splits.loss[row]
            else:
                longer = used[self.first :] * np.maximum(gain, 0.0) ** self.options.power
        # A piece that loses to its own split goes, however much it is used.
        loss[self.first :] = np.where(gain > TOLERANCE, longer, -1.0)
        loss[self.is_kept] = np.inf
        loss[~active] = -np.inf
        self.clock.lap("splits")
        return loss

    def _beaten(self, score: FloatArray) -> BoolArray:
        """Return which pieces do not beat their best split by a margin."""
        splits = split_pieces(
            self.pieces, self._piece_of_row(), score, np.ones(len(score)), self.workers
        )
        out = np.zeros(len(score), np.bool_)
        out[self.first :] = splits.score[self.row_of[self.origin]] + MARGIN >= score[self.first :]
        self.clock.lap("splits")
        return out

    def _shrink(self, keep: BoolArray) -> None:
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

    def _piece_of_row(self) -> Int32Array:
        out = np.full(len(self.pieces.lexicon), -1, np.int32)
        out[self.row_of[self.origin]] = np.arange(self.first, len(self.score), dtype=np.int32)
        return out

    def _strings(self) -> list[str]:
        longer = decode_strings(self.lexicon.alphabet, self.text[1:])
        singles = [chr(int(point)) for point in self.lexicon.alphabet]
        return ["", *singles, *(longer[k] for k in self.origin.tolist())]

    def _note(self, likelihood: float) -> None:
        value = tokens = None
        if self.held_out is not None:
            weight = self.held_out.lexicon.weigh()
            found = expect_counts(self.held_out, weight, self.score, self.width, self.workers)
            letters = _characters(self.held_out.lexicon, weight)
            value = found.log_likelihood / letters
            best = count_best(self.held_out, weight, self.score, self.workers)
            tokens = float(best.sum()) / letters
            self.clock.lap("held out")
        size = int(self.active.sum())
        training = likelihood / _characters(self.lexicon, self.row_weight)
        self.path.append(PathPoint(size, training, value, tokens))


def _characters(lexicon: Lexicon, row_weight: FloatArray) -> float:
    return float((row_weight * (np.diff(lexicon.offsets) - 1)).sum())


def _count_characters(lexicon: Lexicon, row_weight: FloatArray, workers: Workers) -> FloatArray:
    """Return weighted occurrences by code, 0 for code 0."""
    size = len(lexicon.alphabet) + 1
    rows = lexicon.chunks[lexicon.partitions].tolist()
    text, offsets = lexicon.text, lexicon.offsets
    parts = workers.map(
        lambda first, stop: _tally(text, offsets, row_weight, first, stop, size),
        rows[:-1],
        rows[1:],
    )
    total = np.zeros(size)
    for part in parts:
        total += part
    return total


@compile
def _tally(
    text: Int32Array,
    offsets: Int64Array,
    row_weight: FloatArray,
    first: int,
    stop: int,
    size: int,
) -> FloatArray:
    out = np.zeros(size)
    for row in range(first, stop):
        for at in range(offsets[row], offsets[row + 1] - 1):
            out[text[at]] += row_weight[row]
    return out
