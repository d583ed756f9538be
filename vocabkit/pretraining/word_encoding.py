"""Encoding at many times a tokenizer's speed where words repeat: each word is encoded once and then looked up.

Used only where the tokenizer is shown to give a line what it gives the line's words; every other tokenizer
encodes whole documents here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from vocabkit.vocabulary.tokenizer_protocol import Int32Array, Int64Array, Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

__all__ = ["Cut", "WordEncoder", "find_cut"]

T = TypeVar("T", bound=np.generic)
Cut = Literal["at-spaces", "before-spaces"]
# A longer word is as good as never met again: in Thai or Chinese a "word" is a sentence.
_LONGEST = 48
# Texts of longer "words" on average are encoded whole: Thai takes 31 ms/MB so, and 46 by parts.
_MEAN = 16
# Words kept, at about 250 bytes each; then all are forgotten. What is found never depends on it.
_MOST = 1_000_000
# New words given to the tokenizer at once: more of them are slower, for the lists they come back in.
_AT_ONCE = 4_096
_CROSSING = re.compile(rb"[^\x00-\x20]\s")
# A space between two characters that are not white: the only place where text is cut before a space.
_PLACE = re.compile(r"(?<=\S) (?=\S)")
_ODD = re.compile(r"[^\S ]|  |^ | $")
_LINES = (
    "the cat, 12 x (Été) don't mañana. ab12 的 \u0915\u094d",
    "1 2 a 3b ... !? a's 's 'll I'm \u00bd \u0661\u0662 \U0001f600 a\u0301 \u0301",
    "A.B c-d <s> </s> </a> x_y 100,000.5 https://a.b/c?d=e \u3042 \u0e01\u0e32 \u200b \u00ad",
)


def find_cut(tokenizer: Tokenizer) -> Cut | None:
    """Where a text may be cut and its parts encoded one by one; None where nowhere for certain.

    `at-spaces`: white space has no tokens of its own (`exact_on_words`): words between spaces stand for
    themselves. `before-spaces`: a part is a word with the one space before it, as byte-level tokenizers
    see it; other white space is left inside parts. In both, no piece holds text on both sides of a cut, so
    that merges cannot reach across; test lines are compared as well.
    """
    if tokenizer.exact_on_words is None:
        return "at-spaces"
    user: list[str] = []
    for index, kind in enumerate(tokenizer.kinds):
        if kind in (Kind.NORMAL, Kind.USER):
            token = tokenizer.token_bytes(index) or b""
            if _CROSSING.search(token):
                return None
            if kind is Kind.USER and len(user) < 64:
                user.append(token.decode(errors="replace"))
    lines = [*_LINES, *(f"a {token} b{token}c" for token in user)]
    parts = [_mark(line).split("\0") for line in lines]
    alone, counts = tokenizer.encode_flat(list(chain.from_iterable(parts)))
    whole, lengths = tokenizer.encode_flat(lines)
    sums = np.add.reduceat(counts, np.cumsum([0, *map(len, parts[:-1])]))
    same = np.array_equal(alone, whole) and np.array_equal(sums, lengths)
    return "before-spaces" if same else None


def _mark(text: str) -> str:
    """The text with U+0000 at every place where it is cut before a space."""
    if _ODD.search(text):
        return _PLACE.sub("\0 ", text)
    return text.replace(" ", "\0 ")


class WordEncoder:
    """A tokenizer with the words it has met.

    The same text gets the same ids whatever was encoded before. Next to the tokenizer itself, a unigram model
    may break a tie differently, since it sums scores along a line in float32 (6 of 581,180 English lines).
    """

    def __init__(self, tokenizer: Tokenizer, *, most: int = _MOST) -> None:
        """Look where its texts may be cut; keep at most about so many words."""
        self.tokenizer = tokenizer
        self.cut = find_cut(tokenizer)
        self._most = most
        self._prefix = tokenizer.word_prefix if self.cut == "at-spaces" else ""
        self._newlines = self.cut == "at-spaces" and _ignores_newlines(tokenizer)
        self._topic = ""
        self.forget()

    def encode_flat(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """The ids of all texts in a row, int32, and how many each has, int64[texts]. Raises TokenizerError."""
        if self.cut is None or not texts:
            return self.tokenizer.encode_flat(texts)
        if len(self._words) > self._most:
            self.forget()
        marked, mark = self._mark_cuts(texts)
        counts = [text.count(mark) + 1 for text in marked]
        # A text that spaces do not cut into words is looked up, or encoded, whole.
        counts = [
            count if len(text) <= _MEAN * count else 1
            for text, count in zip(marked, counts, strict=True)
        ]
        # One list at a time: 58,000 alive at once kept the garbage collector busy for a sixth of the time.
        parts = (
            cut.split(mark) if count > 1 else (text,)
            for text, cut, count in zip(texts, marked, counts, strict=True)
        )
        sizes = np.array(counts, np.int64)
        codes = np.fromiter(
            map(self._words.__getitem__, chain.from_iterable(parts)), np.int64, int(sizes.sum())
        )
        passing = self._encode_new()
        codes[codes < 0] = passing - 1 - codes[codes < 0]
        lengths = self._lengths[codes]
        ends = np.cumsum(lengths)
        shift = self._starts[codes] - (ends - lengths)
        ids = self._ids[np.repeat(shift, lengths) + np.arange(int(ends[-1]))]
        return ids, np.add.reduceat(lengths, np.cumsum(sizes) - sizes)

    def _mark_cuts(self, texts: Sequence[str]) -> tuple[Sequence[str], str]:
        """The texts as they are to be split, and what at; empty where a text holds the mark itself."""
        if self.cut == "before-spaces":
            return [_mark(text) if "\0" not in text else "" for text in texts], "\0"
        if self._newlines:
            return [text.replace("\n", " ") if "\n" in text else text for text in texts], " "
        return texts, " "

    def turn_to(self, topic: str) -> None:
        """Forget the words of another topic: those of one language stay in the processor's cache."""
        if topic != self._topic:
            self._topic = topic
            self.forget()

    def forget(self) -> None:
        """Forget all words."""
        self._words = _Words()
        self._lengths: Int64Array = np.empty(0, np.int64)
        self._starts: Int64Array = np.empty(0, np.int64)
        self._ids: Int32Array = np.empty(0, np.int32)
        self._filled = 0

    def _encode_new(self) -> int:
        """Encode the words met for the first time, then those not kept; return where the latter begin."""
        words = self._words
        kept = len(words)
        new = words.new + words.passing
        known = kept - len(words.new)
        if new:
            prefix = self._prefix
            given = [prefix + word for word in new] if prefix else new
            found = [
                self.tokenizer.encode_flat(given[start : start + _AT_ONCE])
                for start in range(0, len(given), _AT_ONCE)
            ]
            ids = np.concatenate([part[0] for part in found])
            lengths = np.concatenate([part[1] for part in found])
            if "" in words.new:
                # No word at all, between two spaces; a prefix alone may be a token.
                place = words.new.index("")
                lengths_before = int(lengths[:place].sum())
                ids = np.delete(ids, slice(lengths_before, lengths_before + int(lengths[place])))
                lengths[place] = 0
            stop, filled = known + len(new), self._filled + len(ids)
            self._lengths = _grow(self._lengths, known, stop)
            self._starts = _grow(self._starts, known, stop)
            self._ids = _grow(self._ids, self._filled, filled)
            self._lengths[known:stop] = lengths
            self._starts[known:stop] = self._filled + np.cumsum(lengths) - lengths
            self._ids[self._filled : filled] = ids
            # What passes is overwritten by the next batch.
            self._filled += int(lengths[: len(words.new)].sum())
            words.new, words.passing = [], []
        return kept


class _Words(dict[str, int]):
    """Words by number; one that is not there is given the next, or below zero where it is not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []
        self.passing: list[str] = []

    def __missing__(self, word: str) -> int:
        if len(word) > _LONGEST:
            self.passing.append(word)
            return -len(self.passing)
        number = self[word] = len(self)
        self.new.append(word)
        return number


def _ignores_newlines(tokenizer: Tokenizer) -> bool:
    """Whether a line feed between words is as good as a space."""
    spaced, broken = tokenizer.encode_batch(["a b c", "a\nb\n\nc"])
    return np.array_equal(spaced, broken)


def _grow(array: npt.NDArray[T], used: int, wanted: int) -> npt.NDArray[T]:
    """An array with room for what is wanted, its used part copied, at least twice as long as before."""
    if wanted <= len(array):
        return array
    grown = np.empty(max(wanted, 2 * len(array)), array.dtype)
    grown[:used] = array[:used]
    return grown
