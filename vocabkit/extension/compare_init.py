"""Initialisers compared before any training: what the model makes of text under the new tokenization.

Bits per byte, so that tokenizations compare; beside the old tokenization, with intervals over lines that are
paired. A model without a head gives vectors: there the cosine between both tokenizations' is compared.
Every line is scored alone, after the token that begins a text, so that lines are independent draws. A masked
model is asked for stretches of text that begin and end a token in both tokenizations, all their tokens masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vocabkit.auditing.figures import Resampling, bound, draw_resampling
from vocabkit.checkpoints.receipt import invert_kept
from vocabkit.core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from vocabkit.core.errors import ConfigError
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.results import Result
from vocabkit.corpus.reading import read_text
from vocabkit.extension.distill import LanguageModel, load_model, pad_lines
from vocabkit.extension.initializers import METHODS, explain_missing, initialize
from vocabkit.extension.plan import match_tokenizers
from vocabkit.extension.rows import Context, Role, RowPlan, Rows, parse_method
from vocabkit.extension.simple_rows import initialize_bias
from vocabkit.extension.space_rows import cut_lines, open_donor
from vocabkit.vocabulary.roles import TokenizerSource, open_source

Text = str | Path | Sequence[str]
"""A file with a line a document, or the lines."""
Pair = tuple[str, str | None]
"""Methods for input and output rows; None for the latter where a matrix is tied, or there is no head."""

# Scored where no method is named: a tied model's head may get rows of its own.
_PEERS = ("normal:std=1", "multivariate:scale=3.16e-5", "subword-mean:norm=median")
_UNTIED = {
    "subword-mean": ("first", "positional"),
    "positional": ("first", "positional", "subword-mean"),
    "last": ("first",),
    "alignment": ("first", "subword-mean"),
    "omp": ("first", "subword-mean"),
    "distill": ("first", "subword-mean", "distill"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InitScore:
    """One way of making rows. `input` is None for the old tokenization, `output` None for tied rows.

    `value` is bits per byte, or the mean cosine, with its 95 % interval; `change` the difference to the old
    tokenization, paired by line. `old_target`, `old_after_new` and `new_target` are nats a target; `new_mass`
    the mean probability of all new tokens together. None where a figure is not defined.
    """

    input: str | None
    output: str | None
    value: float
    low: float | None
    high: float | None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    old_target: float | None = None
    old_after_new: float | None = None
    new_target: float | None = None
    new_mass: float | None = None
    targets: int = 0
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class InitComparison(Result):
    """All scores, the old tokenization first, and each line's share of them, in bits or as a cosine (`sums`).

    `metric` is `bits_per_byte` or `cosine`; `skipped` names the methods left out and why.
    """

    metric: str
    scores: tuple[InitScore, ...]
    lines: int
    bytes: int
    skipped: Mapping[str, str]
    warnings: tuple[str, ...]
    sums: Mapping[Pair, Float64Array]

    def to_rows(self) -> list[dict[str, object]]:
        """Return what the command prints, the best first: few bits, or a high cosine."""
        sign = -1 if self.metric == "cosine" else 1
        columns = ["low", "high"]
        if self.metric != "cosine":
            columns += ["change", "change_low", "change_high", "old_target", "old_after_new"]
            columns += ["new_target", "new_mass", "targets"]
        return [
            {
                "input": score.input or "(old tokenization)",
                "output": score.output or (None if score.input is None else "(same)"),
                self.metric: score.value,
                **{name: getattr(score, name) for name in columns},
            }
            for score in sorted(self.scores, key=lambda score: sign * score.value)
        ]


def compare_initializers(
    model: str | Path,
    tokenizer: str | Path,
    text: Text,
    *,
    init_text: Text | None = None,
    document: str | None = None,
    field: str | None = None,
    method: Sequence[str] | None = None,
    donor: str | Path | None = None,
    old_tokenizer: str | Path | None = None,
    pattern: str | None = None,
    limit: int | None = 200,
    untie: bool = True,
    bias: str = "mean",
    resamples: int = 1_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> InitComparison:
    """Score every initialiser on text, or those named, as `omp` or `omp/first` for input and output apart.

    Keywords are the options of `vocabkit compare-init`; for text see `_split_lines`. With `untie`, pairs are
    tried for a tied model too. Raises CorpusError, CheckpointError, TokenizerError, MissingExtra, and
    ConfigError for an unknown method, for text on which nothing can be scored, or for overlapping lines.
    """
    report = progress or Silent()
    lines, learning = _split_lines(text, init_text, limit, document, field)
    opened = load_model(model)
    old = open_source(old_tokenizer or model, opened.model.config.model_type, pattern)
    new = open_source(tokenizer, pattern=pattern)
    _, plan, _ = match_tokenizers(old, new, len(opened.input_rows))
    if (plan.kept >= 0).all():
        what = f"{tokenizer}: has no token that the model lacks: there is nothing to make"
        raise ConfigError(what, "name the tokenizer that the model is to get")
    context = Context(old.tokenizer, new.tokenizer, lines=tuple(learning), model=Path(model), seed=seed)
    context = replace(context, progress=report, donor=None if donor is None else open_donor(donor))
    pairs, skipped = _list_pairs(method, context, opened, untie)
    scorer = _Scorer(opened, plan, (old, new), lines, seed)
    maker = _Maker(opened, plan, context, bias, None if donor is None else Path(donor))
    resampling = draw_resampling(len(scorer.sizes), resamples, seed)
    report.start("Scoring", (len(pairs) + 1) * len(scorer.sizes), "lines")
    found, base = scorer.score_old(report.advance)
    scores = [_summarize(None, found, base, base, scorer, resampling, "")]
    sums: dict[Pair, Float64Array] = {}
    for pair in pairs:
        matrices, note = maker.make(pair)
        opened.put_rows(*matrices)
        found, sums[pair] = scorer.score_new(report.advance)
        scores.append(_summarize(pair, found, sums[pair], base, scorer, resampling, note))
    report.finish()
    told, warnings = tuple(scores if found is not None else scores[1:]), tuple(scorer.warnings)
    return InitComparison(scorer.metric, told, len(scorer.sizes), scorer.bytes, skipped, warnings, sums)


def _split_lines(
    text: Text,
    init_text: Text | None = None,
    limit: int | None = None,
    document: str | None = None,
    field: str | None = None,
) -> tuple[list[str], list[str]]:
    """Return lines to score and, apart from them, lines to learn from.

    Of files distinct lines are taken that are not blank. Without one to learn from, every second line of the
    one text is; lines that are to be scored are not learnt from. At most `limit` lines are scored, evenly from
    all of it. Lines given as such are taken as they are. Raises CorpusError for a file that cannot be read, or
    is empty, and ConfigError for given lines that are both.
    """

    def read(given: Text) -> list[str]:
        if not isinstance(given, str | Path):
            return list(given)
        return list(dict.fromkeys(line.strip() for line in read_text(given, document, field)))

    if not isinstance(text, str | Path):
        scored, learning = list(text), [] if init_text is None else read(init_text)
        both = set(scored) & set(learning)
        if both:
            what = f"{len(both):,} lines are both to learn from and to be scored"
            raise ConfigError(what, "name other text with --init-text")
        return scored, learning
    scored = read(text)
    if init_text is not None:
        taken = set(scored)
        learning = [line for line in read(init_text) if line not in taken]
    else:
        scored, learning = scored[::2], scored[1::2]
    if limit is not None and len(scored) > limit:
        scored = [scored[i * len(scored) // limit] for i in range(limit)]
    return scored, learning


def _list_pairs(
    methods: Sequence[str] | None, context: Context, opened: LanguageModel, untie: bool
) -> tuple[list[Pair], dict[str, str]]:
    """The pairs to score, and why methods are left out where none was named."""
    has_head = opened.head is not None
    if methods:
        return list(dict.fromkeys(_read_pair(text, has_head, opened.tied) for text in methods)), {}
    skipped = {name: lack for name in METHODS if (lack := explain_missing(name, context)) is not None}
    names = [*_PEERS, *(name for name in METHODS if name not in skipped)]
    if not has_head:
        return [(name, None) for name in names], skipped
    found: list[Pair] = [(name, None if opened.tied else name) for name in names]
    if untie or not opened.tied:
        # One input after the other: rows of the last one are kept, and some take minutes.
        found += [(name, other) for name, others in _UNTIED.items() for other in others if name not in skipped]
    return list(dict.fromkeys(found)), skipped


def _read_pair(text: str, has_head: bool, tied: bool) -> Pair:
    first, slash, second = text.partition("/")
    for name in (first, second) if slash else (first,):
        if parse_method(name)[0] not in METHODS:
            raise ConfigError(f"no initialiser is called {name!r}", f"one of {', '.join(METHODS)}")
    if slash and not has_head:
        raise ConfigError(f"{text!r}: the model has no head", f"say {first!r}")
    return first, (second if slash else None if tied or not has_head else first)


# --- Rows ------------------------------------------------------------------------------------------

_Matrices = tuple[Float32Array, Float32Array | None, Float32Array | None]


class _Maker:
    """The matrices of the grown model, one pair of methods after the other; the last input is kept."""

    def __init__(
        self, opened: LanguageModel, plan: RowPlan, context: Context, bias: str, donor: Path | None
    ) -> None:
        # Copies of what the model shares: `distill` opens a model of its own, but rows are exchanged here.
        self.inputs, self.outputs = opened.input_rows, opened.output_rows
        self.old_bias, self.plan, self.context, self.bias = opened.output_bias, plan, context, bias
        self.heads = context.donor
        if donor is not None and self.outputs is not None:
            self.heads = open_donor(donor, "output")
        self.made: dict[tuple[str, Role], Rows] = {}

    def make(self, pair: Pair) -> tuple[_Matrices, str]:
        """Return input rows, output rows and bias, and how the new ones were made."""
        first, second = pair
        role: Role = "tied" if second is None and self.outputs is not None else "input"
        top = self._make(first, role, self.inputs)
        inputs = self._join(self.inputs, top.values)
        if self.outputs is None:
            return (inputs, None, None), top.note
        note, outputs = top.note, inputs
        if second is not None:
            below = self._make(second, "output", self.outputs)
            outputs = self._join(self.outputs, below.values)
            note = f"input: {top.note}; output: {below.note}"
        bias = None
        if self.old_bias is not None:
            fresh = initialize_bias(self.bias, self.plan, self.old_bias, self.context)
            bias = self._join(self.old_bias, fresh)
        return (inputs, outputs, bias), note

    def _make(self, method: str, role: Role, rows: Float32Array) -> Rows:
        key = method, role
        if key not in self.made:
            # The methods in one list share inputs; all rows of all methods would be gigabytes.
            self.made = {k: v for k, v in self.made.items() if k[1] != role}
            donor = self.heads if role == "output" else self.context.donor
            context = replace(self.context, role=role, donor=donor)
            self.made[key] = initialize(method, self.plan, rows, context)
        return self.made[key]

    def _join(self, old: Float32Array, fresh: Float32Array) -> Float32Array:
        out = np.empty((self.plan.new_size, *old.shape[1:]), np.float32)
        kept = self.plan.kept >= 0
        out[kept] = old[self.plan.kept[kept]]
        out[~kept] = fresh
        return out


# --- Scores ----------------------------------------------------------------------------------------

_OLD, _AFTER_NEW, _NEW = range(3)
"""The kinds of target: an old token, an old token right after a new one, and a new token."""
# Logits of 512 positions by 100,000 tokens are 200 MB.
_CELLS = 1 << 26
_LONGEST = 600
"""Bytes: a longer line is cut at spaces, so that it fits a model's positions in any tokenization."""
_Advance = Callable[[int], None]
_Sources = tuple[TokenizerSource, TokenizerSource]


class _Targets(NamedTuple):
    """One line: the ids to feed, and the positions whose own ids are to be predicted."""

    ids: Int64Array
    asked: Int64Array


class _LineScores(NamedTuple):
    """Per line and kind of target: `nats` float64[n, 3] of −log p summed, `targets` int64[n, 3] their number,
    and `mass` float64[n], the probability of all new tokens summed over the targets.
    """

    nats: Float64Array
    targets: Int64Array
    mass: Float64Array


class _Scorer:
    """Lines under both tokenizations in the form the model takes, and what the model makes of them.

    `sizes` float64[n] is what each line's sum is divided by: its bytes, or 1 for a cosine. Raises ConfigError
    where no line can be scored.
    """

    def __init__(
        self, opened: LanguageModel, plan: RowPlan, sources: _Sources, lines: Sequence[str], seed: int
    ) -> None:
        self.model, self.plan, self.sources = opened.model, plan, sources
        self.metric = "cosine" if opened.kind == "encoder" else "bits_per_byte"
        self.vectors: Float32Array | None = None
        self.masks: tuple[int, int] | None = None
        parts = [part for line in lines for part in _cut_text(line, _LONGEST)]
        self.warnings = _find_losses(parts, sources)
        if opened.kind == "masked":
            pairs, sizes = self._ask_masked(parts, seed)
        else:
            is_causal = opened.kind == "causal"
            ends = self._find_begins() if is_causal else self._find_ends()
            first, second = (
                [_wrap(ids, around, is_causal) for ids in source.tokenizer.encode_batch(parts)]
                for source, around in zip(self.sources, ends, strict=True)
            )
            pairs = list(zip(first, second, strict=True))
            sizes = [_bytes(part) if is_causal else 1 for part in parts]
        most = opened.longest
        fits = [i for i, pair in enumerate(pairs) if sizes[i] > 0 and all(0 < len(x.ids) <= most for x in pair)]
        if not fits:
            raise ConfigError("the text has no line that can be scored", "name another text with --text")
        lost = len(pairs) - len(fits)
        if lost:
            word = "line" if lost == 1 else "lines"
            self.warnings.append(f"left out, being longer than the model takes: {lost:,} {word}")
        self.old, self.new = ([pairs[i][side] for i in fits] for side in (0, 1))
        self.sizes = np.array(sizes, np.float64)[fits]
        self.bytes = sum(map(_bytes, parts)) if opened.kind == "encoder" else int(self.sizes.sum())

    def score_old(self, advance: _Advance) -> tuple[_LineScores | None, Float64Array]:
        """Score the old tokenization, with the model's own rows; must come first."""
        if self.metric == "cosine":
            self.vectors = _embed_lines(self.model, self.old, advance)
            return None, np.ones(len(self.old))
        return self._score(self.old, np.zeros(self.plan.old_size, bool), 0, advance)

    def score_new(self, advance: _Advance) -> tuple[_LineScores | None, Float64Array]:
        """Score the new tokenization with the rows that are in the model now."""
        if self.vectors is not None:
            found = _embed_lines(self.model, self.new, advance)
            norms = np.linalg.norm(found, axis=1) * np.linalg.norm(self.vectors, axis=1)
            return None, (found * self.vectors).sum(axis=1) / np.maximum(norms, 1e-12)
        return self._score(self.new, self.plan.kept < 0, 1, advance)

    def _score(
        self, lines: Sequence[_Targets], is_new: BoolArray, side: int, advance: _Advance
    ) -> tuple[_LineScores, Float64Array]:
        mask = None if self.masks is None else self.masks[side]
        found = _score_lines(self.model, lines, is_new, mask, advance)
        return found, found.nats.sum(axis=1) / log(2)

    def _ask_masked(self, parts: Sequence[str], seed: int) -> tuple[list[tuple[_Targets, _Targets]], list[int]]:
        """Stretches of the lines on which both tokenizers write the same bytes."""
        old, new = self.sources
        masks = old.roles.get("mask"), new.roles.get("mask")
        if masks[0] is None or masks[1] is None or self.plan.kept[masks[1]] < 0:
            what = "a masked model is scored with its mask token, and a tokenizer has none"
            raise ConfigError(what, "name the token in tokenizer_config.json: mask_token")
        self.masks = masks[0], masks[1]
        ends, generator = self._find_ends(), np.random.default_rng(seed)
        pairs: list[tuple[_Targets, _Targets]] = []
        sizes: list[int] = []
        for cuts in cut_lines(parts, old.tokenizer, new.tokenizer, self.plan):
            spans = _choose_spans(cuts.text, cuts.old_stops, cuts.new_stops, generator)
            first = _ask_between(cuts.old_ids, cuts.old_stops, spans, ends[0])
            pairs.append((first, _ask_between(cuts.new_ids, cuts.new_stops, spans, ends[1])))
            sizes.append(sum(stop - start for start, stop in spans))
        return pairs, sizes

    def _find_begins(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The token that begins a text in both vocabularies; none where either lacks one."""
        told, roles = self.model.config.bos_token_id, self.sources[0].roles
        begin = roles.get("bos", told if isinstance(told, int) else roles.get("eos"))
        if begin is None:
            return (), ()
        after = int(invert_kept(self.plan.kept, self.plan.old_size)[begin])
        return ((begin,), (after,)) if after >= 0 else ((), ())

    def _find_ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens before and after a text in both vocabularies; none where either lacks one."""
        sides: list[tuple[int, ...]] = []
        for source in self.sources:
            begin = source.roles.get("cls", source.roles.get("bos"))
            end = source.roles.get("sep", source.roles.get("eos"))
            sides.append(() if begin is None or end is None else (begin, end))
        if not all(sides) or any(self.plan.kept[one] < 0 for one in sides[1]):
            return (), ()
        return sides[0], sides[1]


def _summarize(
    pair: Pair | None,
    found: _LineScores | None,
    sums: Float64Array,
    base: Float64Array,
    scorer: _Scorer,
    resampling: Resampling | None,
    note: str,
) -> InitScore:
    """Return a score with its intervals; `base` are the sums of the old tokenization, whose pair is None."""
    value, low, high = _measure(sums, scorer.sizes, resampling)
    first, second = pair or (None, None)
    score = InitScore(input=first, output=second, value=value, low=low, high=high, note=note)
    if found is None:
        return score
    amounts, nats = found.targets.sum(axis=0), found.nats.sum(axis=0)
    total = int(amounts.sum())
    old, after, new = (float(nats[k] / amounts[k]) if amounts[k] else None for k in (_OLD, _AFTER_NEW, _NEW))
    score = replace(score, old_target=old, old_after_new=after, new_target=new, targets=total)
    if pair is None:
        return score
    change, low, high = _measure(sums - base, scorer.sizes, resampling)
    mass = float(found.mass.sum() / total) if total else None
    return replace(score, change=change, change_low=low, change_high=high, new_mass=mass)


def _measure(
    sums: Float64Array, sizes: Float64Array, resampling: Resampling | None
) -> tuple[float, float | None, float | None]:
    """Σ sums ÷ Σ sizes with its interval."""
    value = float(sums.sum() / sizes.sum())
    if resampling is None:
        return value, None, None
    # Σ over the lines of each resample: `sum_rows` would round what is no whole number.
    above, below = (resampling.weights @ np.add.reduceat(values, resampling.starts) for values in (sums, sizes))
    low, high = bound(above / below)
    return value, low, high


def _score_lines(
    model: Any, lines: Sequence[_Targets], is_new: BoolArray, mask: int | None, advance: _Advance
) -> _LineScores:
    """Score the targets of each line. `mask` is put in their place; without, the token before predicts each.

    `is_new` says of every id of the model whether its row is new.
    """
    import torch

    nats, mass = np.zeros((len(lines), 3)), np.zeros(len(lines))
    targets = np.zeros((len(lines), 3), np.int64)
    fresh = torch.from_numpy(is_new.astype(np.float32))
    for batch in _list_batches(lines, len(is_new)):
        ids, attention = pad_lines([lines[i].ids for i in batch])
        fed = torch.from_numpy(ids.copy())
        rows = np.repeat(np.arange(len(batch)), [len(lines[i].asked) for i in batch])
        asked = np.concatenate([lines[i].asked for i in batch])
        if mask is not None:
            fed[rows, asked] = mask
        with torch.inference_mode():
            found = model(input_ids=fed, attention_mask=torch.from_numpy(attention))
            before = asked if mask is not None else asked - 1
            logs = torch.log_softmax(found.logits[rows, before].float(), dim=-1)
            wanted = ids[rows, asked]
            spent = -logs[torch.arange(len(wanted)), torch.from_numpy(wanted)].double().numpy()
            share = (logs.exp() @ fresh).double().numpy()
        after = is_new[ids[rows, asked - 1]] & (asked > 0)
        kind = np.where(is_new[wanted], _NEW, np.where(after, _AFTER_NEW, _OLD))
        owners = np.array(batch)[rows]
        np.add.at(nats, (owners, kind), spent)
        np.add.at(targets, (owners, kind), 1)
        np.add.at(mass, owners, share)
        advance(len(batch))
    return _LineScores(nats, targets, mass)


def _embed_lines(model: Any, lines: Sequence[_Targets], advance: _Advance) -> Float32Array:
    """The mean of the last layer over each line's tokens, float32[n, d]."""
    import torch

    found: dict[int, Float32Array] = {}
    for batch in _list_batches(lines, 2_048):
        ids, attention = pad_lines([lines[i].ids for i in batch])
        with torch.inference_mode():
            seen = torch.from_numpy(attention)
            states = model(input_ids=torch.from_numpy(ids), attention_mask=seen).last_hidden_state
            weights = seen[:, :, None].float()
            means = ((states * weights).sum(1) / weights.sum(1)).numpy()
        found |= dict(zip(batch, means, strict=True))
        advance(len(batch))
    return np.stack([found[i] for i in range(len(lines))])


def _wrap(ids: npt.NDArray[np.integer], around: tuple[int, ...], asks: bool) -> _Targets:
    """The ids between the tokens `around` a text; all but the first of the row are asked for, or none."""
    whole = np.concatenate([around[:1], ids, around[1:]]).astype(np.int64)
    return _Targets(whole, np.arange(1, len(whole) if asks else 1, dtype=np.int64))


def _ask_between(
    ids: Int64Array, stops: Int64Array, spans: Sequence[tuple[int, int]], around: tuple[int, ...]
) -> _Targets:
    """The tokens that end within the spans of bytes are asked for; `around` are the tokens at both ends."""
    asked = np.flatnonzero([any(first < stop <= last for first, last in spans) for stop in stops.tolist()])
    return _wrap(ids, around, False)._replace(asked=asked.astype(np.int64) + len(around[:1]))


def _choose_spans(
    text: bytes, first: Int64Array, second: Int64Array, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """About one in seven stretches of a line that end a token in both tokenizations, one at the least.

    They begin at a space, or where none comes for 24 bytes at any such end: a script without spaces has
    no words to mask.
    """
    both = np.intersect1d(first, second).tolist()
    spans: list[tuple[int, int]] = []
    start = 0
    for stop in both:
        if stop == len(text) or text[stop : stop + 1].isspace() or stop - start >= 24:
            spans.append((start, stop))
            start = stop
    if not spans:
        return []
    chosen = generator.random(len(spans)) < 0.15
    if not chosen.any():
        chosen[generator.integers(len(spans))] = True
    return [span for span, taken in zip(spans, chosen, strict=True) if taken]


def _list_batches(lines: Sequence[_Targets], size: int) -> Iterator[list[int]]:
    """Lines of like length together, as many as logits fit."""
    most = max(_CELLS // max(size, 1), 1)
    batch: list[int] = []
    for position in sorted(range(len(lines)), key=lambda i: (len(lines[i].ids), i)):
        if batch and (len(batch) + 1) * len(lines[position].ids) > most:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def _cut_text(line: str, longest: int) -> list[str]:
    """The line without white space around it, cut at spaces into parts of about `longest` bytes.

    One without a space that far is cut between characters.
    """
    parts: list[str] = []
    rest = line.strip()
    while _bytes(rest) > longest:
        head = rest.encode()[:longest].decode(errors="ignore")
        space = head.rfind(" ")
        cut = space if space > 0 else len(head)
        parts.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [part for part in (*parts, rest) if part]


def _find_losses(parts: Sequence[str], sources: _Sources) -> list[str]:
    """Warnings of text that a tokenizer loses: bits per byte of what is not there are too few."""
    total = sum(map(len, parts))
    said: list[str] = []
    for name, source in zip(("old", "new"), sources, strict=True):
        lost = sum(source.tokenizer.unknown_characters(parts))
        if lost > 0.001 * total:
            what = f"the {name} tokenizer loses {lost / total:.1%} of the characters"
            said.append(f"{what}: its bits per byte are of less than the text")
    return said


def _bytes(text: str) -> int:
    return len(text.encode())
