"""Best splits and losses, against listing every segmentation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.fitting.lexica import choose_pieces, draw_rows, make_lexicon, make_trie, segmentations
from vocabkit.corpus.compilation import open_workers
from vocabkit.fitting.lattice import build_pieces, split_pieces
from vocabkit.fitting.lexicon import join_strings


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splits_and_losses_equal_enumeration(seed: int) -> None:
    lexicon = make_lexicon(draw_rows(seed, 120))
    pieces = choose_pieces(lexicon, 3)
    letters = [chr(int(p)) for p in lexicon.alphabet]
    draw = np.random.default_rng(seed)
    scores = draw.uniform(-9.0, -1.0, 1 + len(letters) + len(pieces))
    used = draw.uniform(0.0, 50.0, len(scores))
    used[-len(pieces) :: 4] = 0.0
    code = {c: i for i, c in enumerate(letters, start=1)}
    text = np.array([0] + [c for p in pieces for c in (*(code[x] for x in p), 0)], np.int32)
    with open_workers(2) as workers:
        lattice, rows = build_pieces(
            lexicon.alphabet, join_strings(text), make_trie(lexicon, pieces), 16, workers
        )
        score, lost = split_pieces(lattice, rows, len(letters) + 1, scores, used, workers)
    named = dict(zip([*letters, *pieces], scores[1:].tolist(), strict=True))
    count = dict(zip([*letters, *pieces], used[1:].tolist(), strict=True))
    total = used.sum()
    for k, piece in enumerate(pieces):
        ways = [w for w in segmentations(piece, named) if len(w) > 1]
        best = max(ways, key=lambda parts: sum(named[p] for p in parts))
        assert score[k] == pytest.approx(sum(named[p] for p in best), rel=1e-12)
        f = count[piece]
        loss = 0.0
        if f > 0:
            alone = math.log(f / total)
            split = sum(math.log((count[a] + f) / (total + (len(best) - 1) * f)) for a in best)
            loss = f * (alone - split)
        assert lost[k] == pytest.approx(loss, rel=1e-10, abs=1e-10)


def test_a_piece_may_be_split_into_others_but_not_into_itself() -> None:
    lexicon = make_lexicon({"abcd": 1})
    pieces = ["ab", "abcd", "cd"]
    scores = np.array([-np.inf, -3.0, -3.0, -3.0, -3.0, -2.0, -1.0, -2.0])
    text = np.array([0, 1, 2, 0, 1, 2, 3, 4, 0, 3, 4, 0], np.int32)
    with open_workers(1) as workers:
        lattice, rows = build_pieces(
            lexicon.alphabet, join_strings(text), make_trie(lexicon, pieces), 16, workers
        )
        score, _ = split_pieces(lattice, rows, 5, scores, np.ones(8), workers)
    assert score.tolist() == [-6.0, -4.0, -6.0]
