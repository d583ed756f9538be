"""Prepare `mono` with a tokenizer of 250k pieces: stages on one core, then the command on one and two workers.

Bar: 10 MB of text a second of a core, from reading to writing. A tokenizer.json in place of one of ours shows
what looking words up is worth where the tokenizer itself is slow.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from measure import HEADER, corpora, machine, measure

from vocabkit.corpus.reading import Repairs, read_documents
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.word_rows import choose_held_out, join_texts
from vocabkit.pretraining.packing import Documents, Packer, WordEncoder, cut_documents
from vocabkit.pretraining.preparing import RowWriter
from vocabkit.vocabulary.roles import find_special_ids, find_tokenizer_files
from vocabkit.vocabulary.tokenizers import open_tokenizer

STAGES = ("read", "hold out", "encode", "pack", "tokenizer alone")
LENGTH = 512
# Batches encoded by the tokenizer alone, for comparison; and the languages whose stages are shown.
SAMPLE = 2
SHOWN = ("eng_Latn", "deu_Latn", "fin_Latn", "rus_Cyrl", "hin_Deva", "tha_Thai", "zho_Hans")


def main() -> None:
    """Print the stages by language, and a Markdown row a number of workers."""
    if len(sys.argv) < 2:
        sys.exit("usage: python benchmarks/prepare.py TOKENIZER [LANGUAGE…]")
    tokenizer, languages = Path(sys.argv[1]), sys.argv[2:] or list(SHOWN)
    print(machine())
    print(f"\n| language | MB | {' | '.join(f'{name} ms/MB' for name in STAGES)} | differ |")
    print("| --- " * (len(STAGES) + 3) + "|")
    for code in languages:
        print(time_stages(tokenizer, code))
    print(f"\n{HEADER.splitlines()[0]} MB of text | MB/CPU-s |\n{HEADER.splitlines()[1]} --- | --- |")
    chosen = ["--languages", ",".join(sys.argv[2:])] if len(sys.argv) > 2 else []
    for workers in (1, 2):
        print(time_command(tokenizer, workers, chosen))


def time_stages(path: Path, code: str) -> str:
    """One row: milliseconds of CPU a MB of text, by stage; documents the tokenizer alone cuts otherwise."""
    tokenizer = open_tokenizer(find_tokenizer_files(path).file)
    special = find_special_ids(path, tokenizer)
    encoder, packer = WordEncoder(tokenizer), Packer(LENGTH, special)
    sizes_of_tokens = np.ones(tokenizer.size, np.int64)
    spent: Counter[str] = Counter()
    total = sampled = differ = batches = 0
    clock = time.process_time

    with tempfile.TemporaryDirectory() as folder, RowWriter(Path(folder), "x", LENGTH) as writer:
        corpus = open_corpus(corpora() / "mono", languages=[code])
        for source in corpus.sources[code]:
            reader = read_documents(source, corpus.document, corpus.field, Repairs())
            while True:
                start = clock()
                texts = next(reader, None)
                if texts is None:
                    break
                read = clock()
                joined = join_texts(texts)
                sizes = np.diff(joined.ends, prepend=-1) - 1
                choose_held_out(joined, 0.02)
                held = clock()
                ids, lengths = encoder.encode_flat(texts, joined)
                cut = clock()
                pieces = cut_documents(
                    Documents(ids, lengths, sizes), packer.max_tokens, lambda: sizes_of_tokens
                )
                for packed in packer.add(pieces):
                    writer.write(packed)
                done = clock()
                for name, value in zip(
                    STAGES, (read - start, held - read, cut - held, done - cut), strict=False
                ):
                    spent[name] += value
                total += int(sizes.sum())
                if batches < SAMPLE:
                    before = clock()
                    whole, counts = tokenizer.encode_flat(texts)
                    spent["tokenizer alone"] += clock() - before
                    sampled += int(sizes.sum())
                    differ += count_different((ids, lengths), (whole, counts))
                batches += 1
    cells = [1e9 * spent[name] / (sampled if name == "tokenizer alone" else total) for name in STAGES]
    return f"| {code} | {total / 1e6:.1f} | {' | '.join(f'{cell:.1f}' for cell in cells)} | {differ} |"


def count_different(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]) -> int:
    """Documents whose ids are not the same."""
    parts = [np.split(ids, np.cumsum(lengths)[:-1]) for ids, lengths in (one, two)]
    return sum(not np.array_equal(a, b) for a, b in zip(*parts, strict=True))


def time_command(tokenizer: Path, workers: int, chosen: list[str]) -> str:
    """One row: the command as it is typed, its start and the tokenizer's included."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "vocabkit", "prepare", str(corpora() / "mono"), "-q", "-t",
            str(tokenizer), "-o", f"{folder}/shards", "--workers", str(workers), "-f", "json",
            "--length", str(LENGTH), *chosen,
        ]  # fmt: skip
        found = measure(command)
        index = json.loads((Path(folder) / "shards/shards.json").read_text(encoding="utf-8"))
        splits = [
            language[split] for language in index["languages"].values() for split in ("train", "held-out")
        ]
        size = sum(split["bytes"] for split in splits) / 1e6
    return f"{found.row(f'prepare mono, {workers} workers')} {size:.0f} | {size / found.cpu:.1f} |"


if __name__ == "__main__":
    main()
