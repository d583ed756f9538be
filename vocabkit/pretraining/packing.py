"""From documents to rows of ids: encoding each word once, and packing documents into rows of one length.

No document is cut that fits a row, and as few positions as can be are padding: best fit, longest first, by
histogram, so that the work goes with the number of lengths and not of documents. No files are read or written.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array
from vocabkit.corpus.compilation import compile
from vocabkit.corpus.word_rows import LookUp, NumberTable, Texts, copy_ids, join_texts, read_places, sum_lengths
from vocabkit.vocabulary.adapters import Tokenizer, check_surrogates
from vocabkit.vocabulary.byte_level import Encode
from vocabkit.vocabulary.roles import SpecialIds
from vocabkit.vocabulary.vocabulary import Kind

# --- Packing ---------------------------------------------------------------------------------------

# Positions packed at once: 2,048 rows of 512 leave 0.05 % of ordinary text's empty, 256 rows 0.4 %.
_POSITIONS = 1 << 20
_LEAST_ROWS = 256
# Rows fuller than this are done; up to so many emptier ones wait for what comes next.
_FULL = 0.995
_WAITING_ROWS = 256


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents, or parts of those too long for a row, one after the other: ids int32[sum of lengths].

    `lengths` int64[n] are tokens without specials, `sizes` int64[n] bytes of original text.
    """

    ids: Int32Array
    lengths: Int64Array
    sizes: Int64Array

    def select(self, chosen: BoolArray) -> Documents:
        """Return those that are chosen, bool[n]."""
        return Documents(self.ids[np.repeat(chosen, self.lengths)], self.lengths[chosen], self.sizes[chosen])

    @classmethod
    def join(cls, parts: Sequence[Documents]) -> Documents:
        """Return all of several, in order."""
        names = ("ids", "lengths", "sizes")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class PackedRows(NamedTuple):
    """Finished rows: ids int32[n, length]; used and bytes int32[n]."""

    ids: Int32Array
    used: Int32Array
    bytes: Int32Array


class Packer:
    """Takes documents as they come and gives rows, holding a bounded number of documents back.

    The rows depend on the documents and their order alone, not on how they come in batches.
    """

    def __init__(self, length: int, special: SpecialIds) -> None:
        """Make rows of so many positions, specials included."""
        self.length = length
        self._special = special
        self._extra = 1 if special.end is None else 2
        self._target = max(_POSITIONS, _LEAST_ROWS * length)
        self._waiting: list[Documents] = []
        self._positions = 0
        self._held = Documents(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))

    @property
    def max_tokens(self) -> int:
        """The most tokens of text a row holds."""
        return self.length - self._extra

    def add(self, documents: Documents) -> list[PackedRows]:
        """Take documents of one to `max_tokens` tokens; return the rows that are full by now."""
        found = []
        ends = np.cumsum(documents.lengths + self._extra)
        first, taken, tokens = 0, 0, 0
        while len(ends) - first and self._positions + int(ends[-1]) - taken >= self._target:
            # Cut where the target is reached, wherever batches end.
            stop = int(np.searchsorted(ends, self._target - self._positions + taken)) + 1
            count = int(documents.lengths[first:stop].sum())
            self._wait(documents, slice(first, stop), slice(tokens, tokens + count))
            first, taken, tokens = stop, int(ends[stop - 1]), tokens + count
            found.append(self._pack(last=False))
        if first < len(ends):
            self._wait(documents, slice(first, None), slice(tokens, None))
        return found

    def finish(self) -> list[PackedRows]:
        """Return the rows of all that waits."""
        return [self._pack(last=True)] if self._waiting or len(self._held.lengths) else []

    def _wait(self, documents: Documents, some: slice, tokens: slice) -> None:
        """Put some documents, and their tokens, to those that wait."""
        lengths = documents.lengths[some]
        self._waiting.append(Documents(documents.ids[tokens], lengths, documents.sizes[some]))
        self._positions += int(lengths.sum()) + self._extra * len(lengths)

    def _pack(self, *, last: bool) -> PackedRows:
        pool = Documents.join([self._held, *self._waiting])
        self._waiting, self._positions = [], 0
        spaces = pool.lengths + self._extra
        owners = _choose_rows(spaces, self.length)
        rows = int(owners.max()) + 1
        used = np.bincount(owners, spaces, rows).astype(np.int64)
        done = np.ones(rows, bool)
        if not last:
            # The emptiest wait; of rows equally full the later ones.
            most = min(_WAITING_ROWS, self._target // self.length // 4)
            order = np.lexsort((-np.arange(rows), used))[:most]
            done[order[used[order] < _FULL * self.length]] = False
        ready = done[owners]
        self._held = pool.select(~ready)
        self._positions = int(used[~done].sum())
        numbers = np.cumsum(done) - 1
        return self._lay_out(pool.select(ready), numbers[owners[ready]], int(done.sum()))

    def _lay_out(self, documents: Documents, owners: Int64Array, rows: int) -> PackedRows:
        """Write documents into their rows, in the order in which they came."""
        special, spaces = self._special, documents.lengths + self._extra
        used = np.bincount(owners, spaces, rows).astype(np.int64)
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(spaces[order])
        row_starts = np.cumsum(used) - used
        starts = np.empty(len(owners), np.int64)
        sorted_owners = owners[order]
        starts[order] = ends - spaces[order] - row_starts[sorted_owners] + sorted_owners * self.length
        out = np.full(rows * self.length, special.pad, np.int32)
        out[starts] = special.begin
        token_ends = np.cumsum(documents.lengths)
        shift = starts + 1 - (token_ends - documents.lengths)
        out[np.repeat(shift, documents.lengths) + np.arange(len(documents.ids))] = documents.ids
        if special.end is not None:
            out[starts + documents.lengths + 1] = special.end
        sizes = np.bincount(owners, documents.sizes, rows)
        return PackedRows(out.reshape(rows, self.length), used.astype(np.int32), sizes.astype(np.int32))


def _choose_rows(spaces: Int64Array, length: int) -> Int64Array:
    """Return the row of each document, int64[n], by best fit from the longest.

    `spaces` are the positions each takes, 1 to `length`. Rows are numbered in the order in which they are
    opened; of equal documents the earlier comes first.
    """
    owners = np.empty(len(spaces), np.int64)
    # Numbers of 16 bits are sorted by their digits, in a quarter of the time.
    left = (length - spaces).astype(np.uint16 if length < 1 << 16 else np.int64)
    _fit_best(spaces, np.argsort(left, kind="stable"), length, owners)
    return owners


@compile
def _fit_best(spaces: Int64Array, order: Int64Array, length: int, owners: Int64Array) -> None:
    """Write each document's row. Rows with equal positions left are ranges of numbers, the last there first."""
    heads = np.full(length + 1, -1, np.int64)  # the last range put, by positions left
    # Each step takes one document or more, and leaves two ranges at most in place of one.
    most = 2 * len(order) + 1
    first, stop, below = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    ranges = rows = done = 0
    while done < len(order):
        size = spaces[order[done]]
        end = done + 1
        while end < len(order) and spaces[order[end]] == size:
            end += 1
        while done < end:
            space = size
            while space <= length and heads[space] < 0:
                space += 1
            if space > length:
                space = length
                opened = -(-(end - done) // (length // size))
                first[ranges], stop[ranges], below[ranges] = rows, rows + opened, -1
                heads[space] = ranges
                ranges += 1
                rows += opened
            top = heads[space]
            taken = min(stop[top] - first[top], end - done)
            begin = first[top]
            for index in range(taken):
                owners[order[done + index]] = begin + index
            done += taken
            first[top] += taken
            if first[top] == stop[top]:
                heads[space] = below[top]
            if space > size:
                first[ranges], stop[ranges] = begin, begin + taken
                below[ranges] = heads[space - size]
                heads[space - size] = ranges
                ranges += 1


def cut_documents(documents: Documents, max_tokens: int, token_sizes: Callable[[], Int64Array]) -> Documents:
    """Return the same tokens, with documents of more than `max_tokens` cut into parts of that many and a rest.

    A cut document's bytes are shared out over its parts in proportion to the bytes their tokens stand for
    (`token_sizes`, int64[vocabulary], asked for only when something is cut), by largest remainder: the
    parts' bytes sum to the document's.
    """
    lengths, sizes = documents.lengths, documents.sizes
    long = np.flatnonzero(lengths > max_tokens)
    if not len(long):
        return documents
    parts = -(-lengths // max_tokens)
    firsts = np.cumsum(parts) - parts
    new_lengths = np.full(int(parts.sum()), max_tokens, np.int64)
    lasts = firsts + parts - 1
    new_lengths[lasts] = lengths - (parts - 1) * max_tokens
    new_sizes = np.zeros(len(new_lengths), np.int64)
    whole = parts == 1
    new_sizes[firsts[whole]] = sizes[whole]
    table = token_sizes()
    starts = np.cumsum(lengths) - lengths
    for index in long.tolist():
        ids = documents.ids[starts[index] : starts[index] + lengths[index]]
        cuts = np.arange(parts[index]) * max_tokens
        weights = np.add.reduceat(table[ids], cuts)
        new_sizes[firsts[index] : lasts[index] + 1] = _share_out(int(sizes[index]), weights)
    return Documents(documents.ids, new_lengths, new_sizes)


def _share_out(total: int, weights: Int64Array) -> Int64Array:
    """Return whole shares in proportion to weights, by largest remainder; equal ones without weight."""
    if not weights.any():
        weights = np.ones_like(weights)
    mass = int(weights.sum())
    shares = total * weights // mass
    missing = total - int(shares.sum())
    order = np.argsort(-(total * weights % mass), kind="stable")
    shares[order[:missing]] += 1
    return shares


# --- Word encoding ---------------------------------------------------------------------------------
# Many times a tokenizer's speed where words repeat: each is encoded once and then looked up. Only where the
# tokenizer is shown to give a line what it gives the line's words; every other one encodes whole documents.

T = TypeVar("T", bound=np.generic)
Cut = Literal["at-spaces", "before-spaces"]
# A longer word is as good as never met again: in Thai or Chinese a "word" is a sentence.
_MAX_WORD = 48
# Texts of longer "words" on average are encoded whole: Thai takes 31 ms/MB so, and 46 by parts.
_MAX_MEAN = 16
# Words kept, at about 200 bytes each; then all are forgotten. What is found never depends on it.
_MAX_WORDS = 1_000_000
# New words given to the tokenizer at once: more of them are slower, for the lists they come back in.
_BATCH = 4_096
_CROSSING = re.compile(rb"[^\x00-\x20]\s")
# A space between two characters that are not white: the only place where text is cut before a space.
_PLACE = re.compile(r"(?<=\S) (?=\S)")
_ODD = re.compile(r"[^\S ]|  |^ | $")
_SPACE = "\u2581"
_LINES = (
    "the cat, 12 x (Été) don't mañana. ab12 的 \u0915\u094d",
    "1 2 a 3b ... !? a's 's 'll I'm \u00bd \u0661\u0662 \U0001f600 a\u0301 \u0301",
    "A.B c-d <s> </s> </a> x_y 100,000.5 https://a.b/c?d=e \u3042 \u0e01\u0e32 \u200b \u00ad",
)


def list_lines(tokenizer: Tokenizer) -> list[str]:
    """Return lines that ways of encoding are compared on: odd ones, and the first user-defined tokens."""
    user = (index for index, kind in enumerate(tokenizer.kinds) if kind is Kind.USER)
    tokens = [(tokenizer.token_bytes(index) or b"").decode(errors="replace") for index in islice(user, 64)]
    return [*_LINES, *(f"a {token} b{token}c" for token in tokens)]


def _find_cut(tokenizer: Tokenizer) -> Cut | None:
    """Return where a text may be cut and its parts encoded one by one; None where nowhere for certain.

    `at-spaces`: white space has no tokens of its own (`exact_on_words`): words between spaces stand for
    themselves. `before-spaces`: a part is a word with the one space before it, as byte-level tokenizers
    see it; other white space is left inside parts. In both, no piece holds text on both sides of a cut, so
    that merges cannot reach across; test lines are compared as well.
    """
    if tokenizer.exact_on_words is None:
        return "at-spaces"
    for index, kind in enumerate(tokenizer.kinds):
        if kind in (Kind.NORMAL, Kind.USER) and _CROSSING.search(tokenizer.token_bytes(index) or b""):
            return None
    lines = list_lines(tokenizer)
    parts = [_mark(line).split("\0") for line in lines]
    alone, counts = tokenizer.encode_flat(list(chain.from_iterable(parts)))
    whole, lengths = tokenizer.encode_flat(lines)
    sums = np.add.reduceat(counts, np.cumsum([0, *map(len, parts[:-1])]))
    same = np.array_equal(alone, whole) and np.array_equal(sums, lengths)
    return "before-spaces" if same else None


def _mark(text: str) -> str:
    """Return the text with U+0000 at every place where it is cut before a space."""
    return _PLACE.sub("\0 ", text) if _ODD.search(text) else text.replace(" ", "\0 ")


class WordEncoder:
    """A tokenizer with the words it has met.

    The same text gets the same ids whatever was encoded before. Next to the tokenizer itself, a unigram model
    may break a tie differently, since it sums scores along a line in float32 (6 of 581,180 English lines).
    """

    def __init__(self, tokenizer: Tokenizer, *, encode: Encode | None = None, most: int = _MAX_WORDS) -> None:
        """Look where its texts may be cut; keep at most about so many words.

        `encode` is a faster way to what the tokenizer's own `encode_flat` gives.
        """
        self.tokenizer = tokenizer
        self._encode = encode or tokenizer.encode_flat
        self.cut = _find_cut(tokenizer)
        self._most = most
        self._prefix = tokenizer.word_prefix if self.cut == "at-spaces" else ""
        # Whether a line feed between words is as good as a space.
        spaced, broken = tokenizer.encode_batch(["a b c", "a\nb\n\nc"])
        self._newlines = self.cut == "at-spaces" and np.array_equal(spaced, broken)
        self._topic = ""
        self._table = NumberTable(_MAX_WORD, _MAX_MEAN)
        self.forget()
        # U+2581 is a space to SentencePiece, and not where words are told apart, unless its rules make it one.
        self._apart = False
        lines = [f"a {_SPACE} b", f"a{_SPACE} b", f"{_SPACE} a {_SPACE}{_SPACE}b"]
        (ids, lengths), (whole, counts) = self.encode_flat(lines), tokenizer.encode_flat(lines)
        self._apart = not (np.array_equal(ids, whole) and np.array_equal(lengths, counts))
        self.forget()

    def encode_flat(self, texts: Sequence[str], joined: Texts | None = None) -> tuple[Int32Array, Int64Array]:
        """Return all texts' ids in a row, int32, and how many each has, int64[texts]. Raises TokenizerError.

        `joined` are the same texts in one array, where the caller has them.
        """
        if self.cut is None or not texts:
            return self._encode(texts)
        if self._apart and any(_SPACE in text for text in texts):
            return self._encode_apart(texts)
        if self._table.entries > self._most:
            self.forget()
        try:
            joined = joined or join_texts(texts)
        except UnicodeEncodeError as error:
            check_surrogates(texts, error)
            raise
        found = self._table.look_up(joined, before=self.cut == "before-spaces", newlines=self._newlines)
        try:
            passing = self._encode_new(joined, found)
        except BaseException:
            self.forget()  # it has words without ids
            raise
        numbers = found.numbers
        if len(found.passing):
            numbers = np.where(numbers < 0, passing - 1 - numbers, numbers)
        lengths = np.empty(len(texts), np.int64)
        sum_lengths(numbers, found.counts, self._lengths, lengths)
        ids = np.empty(int(lengths.sum()), np.int32)
        copy_ids(numbers, self._starts, self._lengths, self._ids, ids)
        return ids, lengths

    def _encode_apart(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """Encode texts with U+2581 whole and the others by words, each as it would be alone."""
        whole = np.array([_SPACE in text for text in texts])
        lengths = np.empty(len(texts), np.int64)
        found = []
        for some, encode in ((whole, self._encode), (~whole, self.encode_flat)):
            ids, lengths[some] = encode([text for text, chosen in zip(texts, some, strict=True) if chosen])
            found.append(ids)
        owners = np.repeat(whole, lengths)
        joined = np.empty(len(owners), np.int32)
        joined[owners], joined[~owners] = found
        return joined, lengths

    def turn_to(self, topic: str) -> None:
        """Forget the words of another topic: those of one language stay in the processor's cache."""
        if topic != self._topic:
            self._topic = topic
            self.forget()

    def forget(self) -> None:
        """Forget all words."""
        self._table.clear()
        self._lengths: Int64Array = np.empty(0, np.int64)
        self._starts: Int64Array = np.empty(0, np.int64)
        self._ids: Int32Array = np.empty(0, np.int32)
        self._filled = 0

    def _encode_new(self, joined: Texts, found: LookUp) -> int:
        """Encode the words met for the first time, then those not kept; return where the latter begin."""
        kept = self._table.entries
        known = kept - len(found.fresh)
        places = np.concatenate((found.fresh, found.passing))
        for start in range(0, len(places), _BATCH):
            new = read_places(joined.data, places[start : start + _BATCH])
            given = [self._prefix + word for word in new] if self._prefix else new
            with _collector_off():
                ids, lengths = self._encode(given)
            first, stop, filled = known + start, known + start + len(new), self._filled + len(ids)
            self._lengths = _grow(self._lengths, first, stop)
            self._starts = _grow(self._starts, first, stop)
            self._ids = _grow(self._ids, self._filled, filled)
            self._lengths[first:stop] = lengths
            self._starts[first:stop] = self._filled + np.cumsum(lengths) - lengths
            self._ids[self._filled : filled] = ids
            self._filled = filled
        # What passes is overwritten by the next batch.
        if len(found.passing):
            self._filled = int(self._starts[kept])
        return kept


@contextmanager
def _collector_off() -> Iterator[None]:
    """Keep the garbage collector from looking at lists of ids: an eighth of the time of encoding words."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def count_lost(tokenizer: Tokenizer, texts: Sequence[str], ids: Int32Array, lengths: Int64Array) -> int:
    """Return the bytes of texts, as normalised and without white space, that none of their known tokens has.

    `ids` are those of all texts in a row, `lengths` how many each has. Only texts that lose a character are
    looked at closely.
    """
    lost, stops = 0, np.cumsum(lengths)
    for place, missing in enumerate(tokenizer.unknown_characters(texts, (ids, lengths))):
        if missing:
            text = tokenizer.normalize(texts[place]) or texts[place]
            mine = ids[stops[place] - lengths[place] : stops[place]].tolist()
            known = b"".join(tokenizer.token_bytes(index) or b"" for index in mine)
            lost += max(missing, len("".join(text.split()).encode()) - len(b"".join(known.split())))
    return lost


def _grow(array: npt.NDArray[T], used: int, wanted: int) -> npt.NDArray[T]:
    """Return an array with room for what is wanted, its used part copied, at least twice as long as before."""
    if wanted <= len(array):
        return array
    grown = np.empty(max(wanted, 2 * len(array)), array.dtype)
    grown[:used] = array[:used]
    return grown
