"""Pruning: what the text would lose with each piece, and the best way to write a piece without it.

The pieces themselves form a second lexicon and lattice, so their best splits cost one Viterbi pass. The loss is
SentencePiece's (Kudo 2018, §3.2): with f the occurrences in the best segmentation, N their sum and a₁…a_m the
best split of piece x without it, f(x) · (log f(x)/N − Σ log (f(aᵢ) + f(x))/(N + (m − 1) f(x))). Decides
nothing: the caller keeps the highest losses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.lattice import Lattice
from vocabkit.fitting.lexicon import FloatArray, build_strings
from vocabkit.fitting.sorting import Int32Array, Int64Array, UInt8Array
from vocabkit.fitting.trie import Trie


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """By row of the pieces' lexicon: the best log probability of a split, and the loss of the piece."""

    score: FloatArray
    loss: FloatArray


def build_pieces(
    alphabet: npt.NDArray[np.uint32], text: Int32Array, trie: Trie, longest: int, workers: Workers
) -> tuple[Lattice, Int64Array]:
    """Return the lattice of the pieces in `text`, each followed by a 0, and the row of each."""
    lexicon, rows = build_strings(alphabet, text, workers)
    return Lattice(lexicon, trie, longest, workers), rows


def split_pieces(
    lattice: Lattice,
    piece_of_row: Int32Array,
    log_probability: FloatArray,
    used: FloatArray,
    workers: Workers,
) -> Splits:
    """Return the best split of each row without its own piece, and the loss of removing that piece.

    `piece_of_row` is -1 for rows of removed pieces; `used` are occurrences of each piece id. A piece
    that is never used has loss 0.
    """
    lexicon = lattice.lexicon
    rows = len(lexicon)
    score = np.full(rows, -np.inf)
    loss = np.zeros(rows)
    total = float(used.sum())

    def work(partition: int) -> None:
        arcs = lattice.arcs(partition)
        _split(
            lexicon.text,
            lexicon.offsets,
            lexicon.shared,
            int(lexicon.chunks[lexicon.partitions[partition]]),
            int(lexicon.chunks[lexicon.partitions[partition + 1]]),
            arcs.count,
            arcs.piece,
            arcs.length,
            piece_of_row,
            log_probability,
            used,
            total,
            score,
            loss,
        )

    workers.map(work, range(len(lattice)))
    return Splits(score, loss)


@compile
def _split(
    text: Int32Array,
    offsets: Int64Array,
    shared: UInt8Array,
    first: int,
    stop: int,
    count: UInt8Array,
    piece: Int32Array,
    length: UInt8Array,
    piece_of_row: Int32Array,
    log_probability: FloatArray,
    used: FloatArray,
    total: float,
    score: FloatArray,
    loss: FloatArray,
) -> None:
    best = np.zeros(256)
    choice = np.zeros(256, np.int64)
    span = np.zeros(256, np.int64)
    place = 0
    arc = 0
    for row in range(first, stop):
        size = offsets[row + 1] - 1 - offsets[row]
        for j in range(int(shared[row]) + 1, size + 1):
            code = int(text[offsets[row] + j - 1])
            value = best[j - 1] + log_probability[code]
            chosen = code
            wide = 1
            whole = -1
            for _ in range(count[place]):
                if length[arc] == j:
                    whole = int(piece[arc])
                else:
                    other = best[j - length[arc]] + log_probability[piece[arc]]
                    if other >= value:
                        value = other
                        chosen = int(piece[arc])
                        wide = int(length[arc])
                arc += 1
            place += 1
            if j == size:
                # Without the arc over the whole row, which is the row's own piece.
                score[row] = value
                own = piece_of_row[row]
                if own >= 0 and used[own] > 0.0:
                    weight = used[own]
                    parts = 1
                    gain = math.log(used[chosen] + weight)
                    at = j - wide
                    while at > 0:
                        gain += math.log(used[choice[at]] + weight)
                        parts += 1
                        at -= span[at]
                    gain -= parts * math.log(total + weight * (parts - 1))
                    loss[row] = weight * (math.log(weight) - math.log(total) - gain)
            if whole >= 0 and log_probability[whole] >= value:
                value = log_probability[whole]
                chosen = whole
                wide = j
            best[j] = value
            choice[j] = chosen
            span[j] = wide
