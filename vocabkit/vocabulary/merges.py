"""The merge list `tokenizers` needs for a bpe vocabulary, from pieces and ranks: O(size × length)."""

from __future__ import annotations

from vocabkit.vocabulary.vocabulary import Kind, Vocabulary


def derive_merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every way to make a piece out of two others, by rank of the piece, of its left and right part.

    SentencePiece merges any two neighbours whose concatenation is a piece, so all pairs are listed,
    not only the one that was counted when the piece was learnt.
    """
    usable = [index for index, kind in enumerate(vocabulary.kinds) if kind is Kind.NORMAL]
    scores = vocabulary.scores
    usable.sort(key=lambda index: (-float(scores[index]), index))
    rank = {vocabulary.pieces[index]: place for place, index in enumerate(usable)}
    merges: list[tuple[str, str]] = []
    for piece in rank:
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [(left, right) for left, right in pairs if left in rank and right in rank]
        merges.extend(sorted(known, key=lambda pair: (rank[pair[0]], rank[pair[1]])))
    return merges
