"""Configuration (d) at its exact size, 250,000 + 12 × 50,000, on made-up text that supports it.

`python benchmarks/blocks.py FOLDER [--scale 1.0]`: seeded Zipf counts of 13 languages, each in letters of its
own, then the fit, and what is promised of it: ids, block table, distinct and reachable pieces, equal ids from
tokenizer.model and tokenizer.json. Bar: it runs in 8 GB, and nothing is missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from measure import HEADER, machine, measure

FIRST_LETTER = {
    "eng_Latn": 0x61, "sin_Sinh": 0xD9A, "tgk_Cyrl": 0x430, "ckb_Arab": 0x62A, "cym_Latn": 0x1E00,
    "mya_Mymr": 0x1000, "yor_Latn": 0x180, "ibo_Latn": 0x250, "amh_Ethi": 0x1200, "hau_Latn": 0x100,
    "tam_Taml": 0xB95, "khm_Khmr": 0x1780, "lao_Laoo": 0xE81,
}  # fmt: skip
TYPES = {"eng_Latn": 1_500_000}
TAIL_TYPES = 300_000


def main() -> None:
    """Make counts, fit, check, and print what it took."""
    given = _read_arguments()
    folder = Path(given.folder)
    folder.mkdir(parents=True, exist_ok=True)
    print(machine())
    if not (folder / "counts").exists():
        make_counts(folder / "counts", given.scale)
    shared, block = int(250_000 * given.scale), int(50_000 * given.scale)
    command = [sys.executable, "-m", "vocabkit", "fit", "two-stage-250k-12x50k", "-q", "--force"]
    command += ["--counts", str(folder / "counts"), "-o", str(folder / "tok")]
    command += ["--set", f"vocabulary.size={shared}", "--set", f"tail.size={block}"]
    command += ["--set", "normalization.rule=identity", "--set", "coverage.character=1.0"]
    print(HEADER)
    print(measure(command).row(f"{shared:,} + 12 × {block:,}"), flush=True)
    check(folder / "tok", shared, block)


def make_counts(folder: Path, scale: float) -> None:
    """Write Zipf counts of made-up words: stems of syllables with endings, each language in its own letters."""
    from vocabkit.corpus.word_counts import LanguageCounts, Totals, WordCounts, WordTable

    languages = {}
    for number, (code, first) in enumerate(FIRST_LETTER.items()):
        draw = np.random.default_rng(number)
        letters = _letters(first)
        syllables = [a + b for a in letters[5:] for b in letters[:5]]
        size = int(TYPES.get(code, TAIL_TYPES) * scale)
        stems = ["".join(draw.choice(syllables, k)) for k in draw.integers(2, 4, size // 3)]
        endings = ["", *("".join(draw.choice(syllables, k)) for k in draw.integers(1, 3, 400))]
        words = dict.fromkeys(
            stems[i] + endings[j]
            for i, j in zip(
                (draw.pareto(0.7, 3 * size) * 20).astype(np.int64) % len(stems),
                (draw.pareto(1.0, 3 * size) * 3).astype(np.int64) % len(endings),
                strict=True,
            )
        )
        listed = sorted(list(words)[:size])
        rank = draw.permutation(len(listed)) + 1
        count = np.ceil(40 * len(listed) / rank**1.05).astype(np.int64)
        table = WordTable(listed, np.zeros(len(listed), np.bool_), count, np.minimum(count, 9))
        lengths = np.fromiter(map(len, listed), np.int64, len(listed))
        characters = int(lengths @ count)
        totals = Totals(
            documents=9,
            lines=9,
            words=int(count.sum()),
            characters=characters,
            bytes=2 * characters,
        )
        empty = WordTable([], np.zeros(0, np.bool_), np.zeros(0, np.int64), np.zeros(0, np.int64))
        seen: dict[str, int] = {}
        for word, times in zip(listed, count.tolist(), strict=True):
            for letter in word:
                seen[letter] = seen.get(letter, 0) + times
        languages[code] = LanguageCounts(code, table, empty, seen, totals, Totals())
    folder.mkdir()
    WordCounts(languages).save(folder)


def check(folder: Path, shared: int, block: int) -> None:
    """Check every promise; raises AssertionError naming the first that is broken."""
    from vocabkit.vocabulary.adapters import SentencePieceTokenizer
    from vocabkit.vocabulary.tokenizers import open_tokenizer
    from vocabkit.vocabulary.vocabulary import Vocabulary, route_vocabulary

    start = time.perf_counter()
    vocabulary = Vocabulary.load(folder)
    names = [item.name for item in vocabulary.blocks]
    assert vocabulary.size == shared + 12 * block, vocabulary.size
    assert names[0] == "shared"
    assert len(names) == 13
    for k, item in enumerate(vocabulary.blocks[1:]):
        assert (item.start, item.stop) == (shared + k * block, shared + (k + 1) * block), item
    unreachable = 0
    for item in vocabulary.blocks[1:]:
        routed = route_vocabulary(vocabulary, item.name)
        tokenizer = SentencePieceTokenizer(item.name, routed)
        pieces = vocabulary.pieces[item.start : item.stop]
        # A continuation stands behind a letter of another script, where it cannot join.
        words = [p[1:] if p.startswith("\u2581") else f"①{p}" for p in pieces]
        for number, ids in enumerate(tokenizer.encode_batch(words)):
            unreachable += item.start + number not in ids
    model, backend = (open_tokenizer(folder / name) for name in ("tokenizer.model", "tokenizer.json"))
    lines = [
        " ".join(p.strip("\u2581") for p in vocabulary.pieces[k : k + 40])
        for k in range(300, vocabulary.size, 9_001)
    ]
    same = [
        a.tolist() == b.tolist()
        for a, b in zip(model.encode_batch(lines), backend.encode_batch(lines), strict=True)
    ]
    print(f"ids, blocks and distinctness hold; {unreachable:,} of {12 * block:,} new pieces not reached alone")
    seconds = time.perf_counter() - start
    print(f"tokenizer.json differs on {same.count(False)} of {len(same)} lines")
    print(f"checked in {seconds:.0f} s")


def _letters(first: int) -> list[str]:
    import unicodedata2

    from vocabkit.core.text import script_of

    script = script_of(chr(first))
    found: list[str] = []
    point = first
    while len(found) < 25 and point < first + 400:
        character = chr(point)
        if unicodedata2.category(character) in ("Ll", "Lo") and script_of(character) == script:
            found.append(character)
        point += 1
    return found


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--scale", type=float, default=1.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
