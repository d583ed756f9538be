"""What changed between two vocabularies: pieces added, removed, moved to another id, scored differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vocabkit.core.scripts import piece_script
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary


@dataclass(frozen=True, slots=True)
class Moved:
    """A piece both have, under another id."""

    piece: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Rescored:
    """A piece both have, with another score."""

    piece: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Difference:
    """What turns vocabulary a into b, in order of b's ids (`removed`: a's); scripts as ISO 15924 codes."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[Moved, ...]
    rescored: tuple[Rescored, ...]
    added_by_script: Mapping[str, int]
    removed_by_script: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether the two hold the same pieces under the same ids with the same scores."""
        return not (self.added or self.removed or self.moved or self.rescored)


def compare_vocabularies(a: Vocabulary, b: Vocabulary) -> Difference:
    """Compare piece by piece. Kinds, blocks and normalisers are left to the fingerprints."""
    in_a = {piece: index for index, piece in enumerate(a.pieces)}
    in_b = {piece: index for index, piece in enumerate(b.pieces)}
    added = [piece for piece in b.pieces if piece not in in_a]
    removed = [piece for piece in a.pieces if piece not in in_b]
    both = [(piece, in_a[piece], index) for piece, index in in_b.items() if piece in in_a]
    return Difference(
        added=tuple(added),
        removed=tuple(removed),
        moved=tuple(Moved(piece, i, j) for piece, i, j in both if i != j),
        rescored=tuple(
            Rescored(piece, float(a.scores[i]), float(b.scores[j]))
            for piece, i, j in both
            if a.scores[i] != b.scores[j]
        ),
        added_by_script=_count_scripts(b, (in_b[piece] for piece in added)),
        removed_by_script=_count_scripts(a, (in_a[piece] for piece in removed)),
    )


def _count_scripts(vocabulary: Vocabulary, ids: Iterable[int]) -> dict[str, int]:
    """Pieces by script, most first; those that stand for no text are not counted."""
    text = (Kind.NORMAL, Kind.USER)
    counts = Counter(
        piece_script(vocabulary.pieces[index]) for index in ids if vocabulary.kinds[index] in text
    )
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
