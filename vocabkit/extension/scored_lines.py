"""Text made ready for a comparison: the same lines under both tokenizations, in the form the model takes.

Says what is counted on each line: bits over bytes for a model that predicts, a cosine for one that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import ConfigError
from vocabkit.extension.language_model import LanguageModel
from vocabkit.extension.line_scores import (
    LineScores,
    Targets,
    ask_all,
    ask_between,
    choose_spans,
    embed_lines,
    score_lines,
)
from vocabkit.extension.matching import new_ids
from vocabkit.extension.plan_types import BoolArray, FloatArray, Int64Array, RowPlan
from vocabkit.extension.segmentation_overlap import cut_lines
from vocabkit.extension.tokenizer_source import TokenizerSource

Float64Array = npt.NDArray[np.float64]
Advance = Callable[[int], None]
_LONGEST = 600
"""Bytes: a longer line is cut at spaces, so that it fits a model's positions in any tokenization."""


@dataclass(slots=True, eq=False)
class Scorer:
    """Lines under both tokenizations. `sizes` float64[n] is what each line's sum is divided by."""

    model: Any
    metric: str
    old: Sequence[Targets]
    new: Sequence[Targets]
    is_new: BoolArray
    old_rows: int
    sizes: Float64Array
    bytes: int
    masks: tuple[int, int] | None
    warnings: tuple[str, ...]
    vectors: FloatArray | None = None

    @property
    def lines(self) -> int:
        """The number of lines."""
        return len(self.old)

    def score_old(self, advance: Advance) -> tuple[LineScores | None, Float64Array]:
        """Score the old tokenization, with the model's own rows; must come first."""
        if self.metric == "cosine":
            self.vectors = embed_lines(self.model, [line.ids for line in self.old], advance)
            return None, np.ones(len(self.old))
        mask = None if self.masks is None else self.masks[0]
        none = np.zeros(self.old_rows, bool)
        return _as_bits(score_lines(self.model, self.old, none, mask=mask, advance=advance))

    def score_new(self, advance: Advance) -> tuple[LineScores | None, Float64Array]:
        """Score the new tokenization with the rows that are in the model now."""
        if self.metric == "cosine":
            assert self.vectors is not None
            found = embed_lines(self.model, [line.ids for line in self.new], advance)
            norms = np.linalg.norm(found, axis=1) * np.linalg.norm(self.vectors, axis=1)
            return None, (found * self.vectors).sum(axis=1) / np.maximum(norms, 1e-12)
        mask = None if self.masks is None else self.masks[1]
        return _as_bits(score_lines(self.model, self.new, self.is_new, mask=mask, advance=advance))


def open_scorer(
    opened: LanguageModel,
    plan: RowPlan,
    old: TokenizerSource,
    new: TokenizerSource,
    lines: Sequence[str],
    seed: int,
) -> Scorer:
    """Encode the lines both ways. Raises ConfigError where no line can be scored."""
    parts = [part for line in lines for part in cut_text(line, _LONGEST)]
    warnings = _find_losses(parts, old, new)
    if opened.kind == "causal":
        first, second, sizes, masks = _ask_causal(opened, plan, old, new, parts)
    elif opened.kind == "masked":
        first, second, sizes, masks = _ask_masked(plan, old, new, parts, seed)
    else:
        first, second, sizes, masks = _ask_encoder(plan, old, new, parts)
    fits = [
        i
        for i, (a, b) in enumerate(zip(first, second, strict=True))
        if sizes[i] > 0 and 0 < len(a.ids) <= opened.longest and 0 < len(b.ids) <= opened.longest
    ]
    if not fits:
        raise ConfigError(
            "the text has no line that can be scored", "name another text with --text"
        )
    if len(fits) < len(first):
        lost = len(first) - len(fits)
        lines = "line" if lost == 1 else "lines"
        warnings.append(f"left out, being longer than the model takes: {lost:,} {lines}")
    return Scorer(
        model=opened.model,
        metric="cosine" if opened.kind == "encoder" else "bits_per_byte",
        old=[first[i] for i in fits],
        new=[second[i] for i in fits],
        is_new=plan.kept < 0,
        old_rows=plan.old_size,
        sizes=sizes[fits],
        bytes=int(sizes[fits].sum()) if opened.kind != "encoder" else sum(map(_bytes, parts)),
        masks=masks,
        warnings=tuple(warnings),
    )


def cut_text(line: str, longest: int) -> list[str]:
    """The line without white space around it, cut at spaces into parts of about `longest` bytes.

    One without a space that far is cut between characters.
    """
    parts: list[str] = []
    rest = line.strip()
    while _bytes(rest) > longest:
        head = rest.encode()[:longest].decode(errors="ignore")
        cut = head.rfind(" ")
        cut = cut if cut > 0 else len(head)
        parts.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [part for part in (*parts, rest) if part]


_Asked = tuple[list[Targets], list[Targets], Float64Array, tuple[int, int] | None]


def _ask_causal(
    opened: LanguageModel,
    plan: RowPlan,
    old: TokenizerSource,
    new: TokenizerSource,
    parts: Sequence[str],
) -> _Asked:
    """Every token after the one that begins a text, which must have a row in both vocabularies."""
    told = opened.model.config.bos_token_id
    begin = old.roles.get("bos", told if isinstance(told, int) else old.roles.get("eos"))
    after = None if begin is None else int(new_ids(plan)[begin])
    if begin is None or after is None or after < 0:
        begin = after = None
    first = [ask_all(ids.astype(np.int64), begin) for ids in old.tokenizer.encode_batch(parts)]
    second = [ask_all(ids.astype(np.int64), after) for ids in new.tokenizer.encode_batch(parts)]
    return first, second, np.array([_bytes(part) for part in parts], np.float64), None


def _ask_masked(
    plan: RowPlan, old: TokenizerSource, new: TokenizerSource, parts: Sequence[str], seed: int
) -> _Asked:
    """Stretches of the lines on which both tokenizers write the same bytes."""
    masks = old.roles.get("mask"), new.roles.get("mask")
    if masks[0] is None or masks[1] is None or plan.kept[masks[1]] < 0:
        raise ConfigError(
            "a masked model is scored with its mask token, and a tokenizer has none",
            "name the token in tokenizer_config.json: mask_token",
        )
    ends = _find_ends(plan, old, new)
    generator = np.random.default_rng(seed)
    first: list[Targets] = []
    second: list[Targets] = []
    sizes: list[int] = []
    for cuts in cut_lines(parts, old.tokenizer, new.tokenizer, plan.old_size, plan.new_size):
        spans = choose_spans(cuts.text, cuts.old_stops, cuts.new_stops, generator)
        first.append(ask_between(cuts.old_ids, cuts.old_stops, spans, ends[0]))
        second.append(ask_between(cuts.new_ids, cuts.new_stops, spans, ends[1]))
        sizes.append(sum(stop - start for start, stop in spans))
    return first, second, np.array(sizes, np.float64), (masks[0], masks[1])


def _ask_encoder(
    plan: RowPlan, old: TokenizerSource, new: TokenizerSource, parts: Sequence[str]
) -> _Asked:
    """Whole lines between the tokens that begin and end a text."""
    ends = _find_ends(plan, old, new)
    found = [
        [
            Targets(_wrap(ids.astype(np.int64), around), np.zeros(0, np.int64))
            for ids in source.tokenizer.encode_batch(parts)
        ]
        for source, around in zip((old, new), ends, strict=True)
    ]
    return found[0], found[1], np.ones(len(parts)), None


def _find_ends(
    plan: RowPlan, old: TokenizerSource, new: TokenizerSource
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens before and after a text in both vocabularies; none where either lacks one."""
    sides: list[tuple[int, ...]] = []
    for source in (old, new):
        begin = source.roles.get("cls", source.roles.get("bos"))
        end = source.roles.get("sep", source.roles.get("eos"))
        sides.append(() if begin is None or end is None else (begin, end))
    if not all(sides) or any(plan.kept[one] < 0 for one in sides[1]):
        return (), ()
    return sides[0], sides[1]


def _wrap(ids: Int64Array, around: tuple[int, ...]) -> Int64Array:
    return np.concatenate([around[:1], ids, around[1:]]).astype(np.int64)


def _find_losses(parts: Sequence[str], old: TokenizerSource, new: TokenizerSource) -> list[str]:
    """Warnings of text that a tokenizer loses: bits per byte of what is not there are too few."""
    total = sum(map(len, parts))
    said: list[str] = []
    for name, source in (("old", old), ("new", new)):
        lost = sum(source.tokenizer.unknown_characters(parts))
        if lost > 0.001 * total:
            said.append(
                f"the {name} tokenizer loses {lost / total:.1%} of the characters: its bits per byte "
                "are of less than the text"
            )
    return said


def _as_bits(found: LineScores) -> tuple[LineScores, Float64Array]:
    return found, found.nats.sum(axis=1) / log(2)


def _bytes(text: str) -> int:
    return len(text.encode())
