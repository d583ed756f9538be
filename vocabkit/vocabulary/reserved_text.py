"""What keeps a piece that stands for no text from being matched when its name is typed, in tokenizer.json.

SentencePiece never matches `<s>`, `<0x41>` or an unused piece in a text; `tokenizers` matches whatever
its vocabulary holds. Three means, the cheapest that is exact:

- an unused piece gets a space in front of its name, which no pre-tokenized word holds (reserved slots
  keep their name, by which users look for them);
- a score so low that any other path is better, where characters all have pieces of their own;
- a split inside the name, at a place that no piece spans, where they have not.
"""

from __future__ import annotations

import re

from vocabkit.vocabulary.vocabulary import Kind, Vocabulary

# Below any path of single characters (48 of them at −20 each make −960), far from where float64
# loses a bit.
_NEVER = -1e5
_RESERVED = re.compile(r"<unused[0-9]+>")
# Names that come in families: the first characters, and the pattern that goes on after them.
_BYTES = ("<0x", "[0-9A-F]{2}>")
_SLOTS = ("<unused", "[0-9]+>")
_CHARACTERS_AFTER = {"": "", _BYTES[1]: "0123456789ABCDEF>", _SLOTS[1]: "0123456789>"}


def written_name(piece: str, kind: Kind) -> str:
    """The name a piece has in tokenizer.json: its own, but for unused pieces that are no reserved slot."""
    return f" {piece}" if kind is Kind.UNUSED and not _RESERVED.fullmatch(piece) else piece


def is_unused_name(name: str) -> bool:
    """Whether `written_name` gives this name to unused pieces only."""
    return name.startswith(" ") or _RESERVED.fullmatch(name) is not None


def unmatchable_score(vocabulary: Vocabulary) -> float:
    """The score for pieces that no text may become.

    The penalty for an unknown character is ten below the lowest score, so a score below all others
    changes it. That decides nothing where no piece holds a character that is unknown alone.
    """
    texts = _texts(vocabulary)
    if _characters(texts) <= texts:
        return _NEVER
    kinds = zip(vocabulary.scores.tolist(), vocabulary.kinds, strict=True)
    return min((float(score) for score, kind in kinds if kind is Kind.NORMAL), default=0.0)


def split_pattern(vocabulary: Vocabulary) -> str | None:
    """Where words must be split so that a typed name is never one piece; None where scores see to it.

    Each place is one that no piece spans. One between a known and an unknown character is preferred,
    since a run of unknown characters is a single token. (A special whose characters are all unknown
    still becomes two unknown tokens when typed, one in the .model.)
    """
    texts = _texts(vocabulary)
    alone = _characters(texts) <= texts
    names = {
        (piece, "")
        for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True)
        # The unknown piece itself may be matched where its characters are all unknown anyway.
        if kind is Kind.CONTROL
        or (kind is Kind.UNKNOWN and (vocabulary.byte_fallback or not texts.isdisjoint(piece)))
    }
    if vocabulary.byte_fallback:
        names.add(_BYTES)
    if any(_RESERVED.fullmatch(piece) for piece in vocabulary.pieces):
        names.add(_SLOTS)
    if alone:
        names = {
            (start, rest)
            for start, rest in names
            if not {*start, *_CHARACTERS_AFTER[rest]} <= texts
        }
    if not names:
        return None
    spanned = {text[at : at + 2] for text in texts for at in range(len(text) - 1)}
    places = []
    for start, rest in sorted(names):
        cuts = [cut for cut in range(1, len(start)) if start[cut - 1 : cut + 1] not in spanned]
        cuts.sort(key=lambda cut: (start[cut - 1] in texts) == (start[cut] in texts))
        if cuts:
            before, after = re.escape(start[: cuts[0]]), re.escape(start[cuts[0] :])
            places.append(f"(?<={before})(?={after}{rest})")
    return "|".join(places) or None


def _texts(vocabulary: Vocabulary) -> frozenset[str]:
    pairs = zip(vocabulary.pieces, vocabulary.kinds, strict=True)
    return frozenset(piece for piece, kind in pairs if kind in (Kind.NORMAL, Kind.USER))


def _characters(texts: frozenset[str]) -> set[str]:
    return {char for text in texts for char in text}
