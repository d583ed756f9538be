"""128,000 byte-level merges from mono's counts, beside tokenizers' own trainer on the same text.

`python benchmarks/bpe.py [--merges 128_000] [--languages eng_Latn,yor_Latn] [--only ours] [--parity]`. Both
see the same text (counted with --held-out 0): the peer is given each line with one space before every word,
which is what counts know of white space, so the merges should be equal and the script says whether they
are. Bar: at most two minutes from counts on two cores, 8 GB.

`--replace TOKENIZER --languages yor_Latn,eng_Latn,fra_Latn --new 5_000` gives ids of a tokenizer to the first
language named and keeps the others: `replace-bpe` both ways beside tokens added, `continued-bpe` or, for a
unigram one, a block. `--counts DIR` takes counts that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import HEADER, Measurement, corpora, machine, measure

PATTERN = "o200k"
BATCH = 10_000


def main() -> None:
    """Print a table of costs and how many merges agree."""
    given = _read_arguments()
    if given.step:
        _STEPS[given.step](given)
        return
    folder = Path(given.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if given.replace:
        print(machine())
        replace_tokens(given, folder)
        return
    codes = given.languages.split(",") if given.languages else []
    codes = codes or sorted(p.name.split(".")[0] for p in (corpora() / "mono").glob("*.txt.zst"))
    print(machine())
    print(HEADER)
    counts = folder / "counts"
    if not counts.exists():
        command = [sys.executable, "-m", "vocabkit", "count", str(corpora() / "mono")]
        command += ["-o", str(counts), "--held-out", "0", "-q", "--languages", ",".join(codes)]
        _show("count", measure(command))
    again = [sys.executable, __file__, "--merges", str(given.merges), "--folder", str(folder)]
    again += ["--languages", ",".join(codes), "--threads", str(given.threads)]
    notes = []
    if given.only != "peer":
        notes.append(_show("byte-bpe from counts", measure([*again, "--step", "ours"])).output)
    if given.parity:
        notes.append(_show("parity from counts", measure([*again, "--step", "parity"])).output)
    if given.only != "ours":
        _show("tokenizers on the text", measure([*again, "--step", "peer"]))
    print()
    print("\n".join(note.strip() for note in notes))
    _compare(folder)


def fit_ours(given: argparse.Namespace, method: str = "frequency") -> None:
    """Fit from the counts; write the merges and print seconds by step."""
    from vocabkit.configurations.byte_bpe import fit_byte_bpe
    from vocabkit.configurations.settings import ByteBpeConfig
    from vocabkit.core.config import validate
    from vocabkit.corpus.word_counts import WordCounts

    folder = Path(given.folder)
    merging: dict[str, object] = {"method": method}
    if method == "parity":
        # Counted without held-out text, the training text itself is the development text.
        merging["development"] = str(folder / "counts")
    config = validate(
        ByteBpeConfig,
        {
            "vocabulary": {"size": given.merges + 256, "special": []},
            "pre_tokens": {"pattern": PATTERN},
            "languages": {"include": given.languages.split(",")},
            "merging": merging,
        },
        "benchmark",
    )
    counts = WordCounts.load(folder / "counts")
    fitted = fit_byte_bpe(counts, config, workers=given.threads)
    pieces = fitted.vocabulary.pieces
    merges = [[pieces[left], pieces[right]] for left, right in fitted.vocabulary.merges]
    (folder / f"{method}.json").write_text(json.dumps(merges), encoding="utf-8")
    seconds = " · ".join(f"{name} {value:.1f} s" for name, value in fitted.seconds.items())
    costs = [float(str(row["tokens_per_word"])) for row in fitted.rows]
    print(f"{method}: {seconds}; tokens per word {min(costs):.2f} to {max(costs):.2f}")


def fit_peer(given: argparse.Namespace) -> None:
    """Train on the text with tokenizers' BpeTrainer."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    from vocabkit.fitting.pre_tokens import find_patterns

    os.environ["RAYON_NUM_THREADS"] = str(given.threads)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(find_patterns(PATTERN)[0]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=given.merges + 256,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_read_lines(given.languages.split(",")), trainer)
    merges = json.loads(backend.to_str())["model"]["merges"]
    (Path(given.folder) / "peer.json").write_text(json.dumps(merges), encoding="utf-8")


def replace_tokens(given: argparse.Namespace, folder: Path) -> None:
    """Give ids of a tokenizer away, and add tokens to it: what each language pays on held-out words."""
    from vocabkit.configurations.replacing import _open_base
    from vocabkit.vocabulary.byte_level import BpeBase

    learn, *kept = given.languages.split(",")
    counts = given.counts or str(folder / "counts-held-out")
    if not Path(counts).exists():
        command = [sys.executable, "-m", "vocabkit", "count", str(corpora() / "mono"), "-o", counts, "-q"]
        _show("count", measure([*command, "--languages", given.languages]))
    fit = [sys.executable, "-m", "vocabkit", "fit"]
    shared = ["--counts", counts, "--base", given.replace, "-q", "-f", "json", "--force"]
    ways = {
        room: ["replace-bpe", "--languages", learn, "--keep-languages", ",".join(kept),
               "--set", f"replace.make_room={room}", "--set", f"tokens.new={given.new}"]
        for room in ("unused", "residual")
    }  # fmt: skip
    ways["continued-bpe"] = ["continued-bpe", "--languages", learn, "--set", f"tokens.new={given.new}"]
    if not isinstance(_open_base(given.replace), BpeBase):
        own = f'tail.languages=["{learn}"]'
        ways["a block"] = ["two-stage-250k-12x50k", "--set", own, "--set", f"tail.size={given.new}"]
        del ways["continued-bpe"]
    print("| | given away | ids more | " + " | ".join([learn, *kept]) + " | wall | memory |")
    print("| --- |" + " --: |" * (len(kept) + 5))
    for name, options in ways.items():
        output = folder / name.replace(" ", "-")
        cost = measure([*fit, *options, *shared, "-o", str(output)])
        rows = {row["language"]: row for row in json.loads(cost.output)}
        table = output / "replaced.tsv"
        gone = len(table.read_text(encoding="utf-8").splitlines()) - 1 if table.is_file() else 0
        changes = [rows[c].get("held_out_change", rows[c].get("change")) for c in (learn, *kept)]
        cells = [name, f"{gone:,}", f"{int(given.new) - gone:,}", *(f"{change:+.2%}" for change in changes)]
        print(
            "| " + " | ".join([*cells, f"{cost.wall:.0f} s", f"{cost.peak / 2**20:,.0f} MB"]) + " |", flush=True
        )


def _read_lines(codes: list[str]) -> Iterator[list[str]]:
    from vocabkit.corpus.reading import Repairs, read_documents
    from vocabkit.corpus.sources import open_corpus
    from vocabkit.corpus.word_counts import split_words

    corpus = open_corpus(corpora() / "mono")
    for code in codes:
        for source in corpus.sources[code]:
            for batch in read_documents(source, "line", "text", Repairs()):
                yield [" " + " ".join(words) for text in batch if (words := split_words(text))]


def _compare(folder: Path) -> None:
    ours, peer = folder / "frequency.json", folder / "peer.json"
    if not (ours.exists() and peer.exists()):
        return
    found, wanted = (json.loads(path.read_text(encoding="utf-8")) for path in (ours, peer))
    same = sum(1 for one, other in zip(found, wanted, strict=False) if one == other)
    common = len({tuple(pair) for pair in found} & {tuple(pair) for pair in wanted})
    print(f"{len(found):_} merges, {len(wanted):_} the peer's: {same:_} equal in place, {common:_} in both")


def _show(name: str, measured: Measurement) -> Measurement:
    print(measured.row(name), flush=True)
    return measured


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merges", type=int, default=128_000)
    parser.add_argument("--languages", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="where counts and merges are kept and found again")
    parser.add_argument("--only", choices=["ours", "peer"])
    parser.add_argument("--replace", metavar="TOKENIZER", help="whose ids are given to other tokens")
    parser.add_argument("--new", type=int, default=5_000)
    parser.add_argument("--counts", help="counts of the languages, with held-out words")
    parser.add_argument("--parity", action="store_true", help="parity-aware merges too")
    parser.add_argument("--step", choices=["ours", "parity", "peer"], help=argparse.SUPPRESS)
    return parser.parse_args()


_STEPS = {
    "ours": fit_ours,
    "parity": lambda given: fit_ours(given, "parity"),
    "peer": fit_peer,
}

if __name__ == "__main__":
    main()
