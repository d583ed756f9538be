"""Fit `mono` with the trainer and with sentencepiece on the raw text; encode `ntrex` with both.

`python benchmarks/fit.py [--size 250_000] [--languages eng_Latn,yor_Latn] [--only ours]`. Both see the same
text (counted with --held-out 0), normaliser, piece rules, character list and specials; encoded are lines
1,001–1,997. Bars at 250,000 pieces of 90 languages: count and fit 5 times as fast, fit alone 8 times, less
memory; no more tokens in all and in 30 of the 40 panel languages, none more than 1 % worse; a refit with
other weights in half the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from measure import HEADER, Measurement, corpora, machine, measure

COVERAGE = 0.9995
OTHERS = 3
"""Ids of sentencepiece's own specials: <unk>, <s>, </s>."""
LINES = slice(1_000, 1_997)


def main() -> None:
    """Print tables of cost and of tokens."""
    given = _read_arguments()
    if given.step:
        _STEPS[given.step](given)
        return
    folder = Path(given.folder or tempfile.mkdtemp())
    codes = given.languages.split(",") if given.languages else []
    codes = codes or sorted(p.name.split(".")[0] for p in (corpora() / "mono").glob("*.txt.zst"))
    print(machine())
    print(HEADER)
    again = [sys.executable, __file__, "--size", str(given.size), "--folder", str(folder)]
    again += ["--languages", ",".join(codes), "--threads", str(given.threads)]
    counts = folder / "counts"
    count = [sys.executable, "-m", "vocabkit", "count", str(corpora() / "mono"), "-o", str(counts)]
    count += ["--held-out", "0", "-q", "--languages", ",".join(codes)]
    rows: dict[str, Measurement] = {}
    if given.only != "sentencepiece":
        if not counts.exists():
            rows["count"] = _show("count", measure(count))
        rows["ours"] = _show("fit", measure([*again, "--step", "ours"]))
        print(f"\n{rows['ours'].output}\n{HEADER}")
    if given.only != "ours":
        _write_raw(folder / "raw.txt", codes)
        peers = {"1M": 1_000_000, "8V": 8 * given.size}
        for name, seeds in ((f"sentencepiece {peer}", peers[peer]) for peer in given.peers.split(",")):
            step = [*again, "--step", "sentencepiece", "--seeds", str(seeds)]
            rows[name] = _show(name, measure(step))
    _compare(folder, codes)


def fit_ours(given: argparse.Namespace) -> None:
    """Fit from the counts, then refit with other weights; write pieces and print seconds by step."""
    from vocabkit.corpus.compilation import open_workers
    from vocabkit.corpus.spans import derive_spans
    from vocabkit.corpus.weighting import measure_masses, weigh_languages
    from vocabkit.corpus.word_counts import WordCounts
    from vocabkit.fitting.lexicon import build_lexicon, cover_characters
    from vocabkit.fitting.substrings import find_substrings
    from vocabkit.fitting.unigram import fit_unigram

    start = time.perf_counter()
    seconds: dict[str, float] = {}

    def lap(name: str) -> None:
        seconds[name] = time.perf_counter() - start - sum(seconds.values())

    folder = Path(given.folder)
    counts = WordCounts.load(folder / "counts")
    codes = given.languages.split(",")
    spans = derive_spans(counts, "nmt_nfkc", languages=codes, workers=given.threads).languages
    lap("spans")
    natural = dict.fromkeys(codes, 1.0)
    covered = cover_characters(spans, natural, scope="global", character=COVERAGE)
    lap("characters")
    size = given.size - OTHERS
    with open_workers(given.threads) as workers:
        lexicon = build_lexicon(spans, covered.covered, workers)
        lap("lexicon")
        found = find_substrings(lexicon, workers)
        lap("seeds")
        fitted = fit_unigram(lexicon, found, size, workers)
        lap("fit")
        first = sum(seconds.values())
        masses = {code: float(mass.characters) for code, mass in measure_masses(counts).items()}
        weights = weigh_languages({code: masses[code] for code in codes}, "exponent", exponent=0.3)
        fit_unigram(lexicon, found, size, workers, weights=weights.weights)
        lap("refit with exponent 0.3")
    lines = [f"{p}\t{s!r}\n" for p, s in zip(fitted.pieces, fitted.scores.tolist(), strict=True)]
    (folder / "ours.tsv").write_text("".join(lines), encoding="utf-8", newline="\n")
    print(" · ".join(f"{name} {value:.1f} s" for name, value in seconds.items()))
    print("in the fit: " + " · ".join(f"{n} {s:.1f} s" for n, s in fitted.seconds.items()))
    print(f"first fit {first:.1f} s, refit {seconds['refit with exponent 0.3'] / first:.0%} of it")
    print(f"{fitted.seeds:_} seeds of {len(found):_}; {fitted.replaced} pieces replaced as unreachable")


def fit_sentencepiece(given: argparse.Namespace) -> None:
    """Train on the raw text with sentencepiece's defaults."""
    import sentencepiece

    folder = Path(given.folder)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "raw.txt"),
        model_prefix=str(folder / f"sentencepiece-{given.seeds}"),
        model_type="unigram",
        vocab_size=given.size,
        character_coverage=COVERAGE,
        seed_sentencepiece_size=given.seeds,
        num_threads=given.threads,
        max_sentence_length=1_000_000,
        minloglevel=3,
    )


def _compare(folder: Path, codes: list[str]) -> None:
    from vocabkit.core.languages import load_panel

    panel = [code for code in load_panel("panel-40").codes if code in codes]
    models = sorted(folder.glob("sentencepiece-*.model"))
    if not models or not (folder / "ours.tsv").exists():
        return
    peers = {model.stem: _count_tokens(model.read_bytes(), panel) for model in models}
    ours = _count_tokens(_as_model(folder / "ours.tsv", models[0]), panel)
    best = min(peers, key=lambda name: sum(peers[name][0].values()))
    print("\n| model | tokens | unknown |\n| --- | --- | --- |")
    for name, (tokens, unknown) in {**peers, "ours": ours}.items():
        print(f"| {name} | {sum(tokens.values()):,} | {unknown:,} |")
    ratios = {code: ours[0][code] / peers[best][0][code] - 1 for code in panel}
    total = sum(ours[0].values()) / sum(peers[best][0].values()) - 1
    fewer = sum(ratio <= 0 for ratio in ratios.values())
    print(f"\nagainst {best}: {total:+.2%} in all, no more in {fewer} of {len(panel)} languages")
    print(" · ".join(f"{c} {r:+.2%}" for c, r in sorted(ratios.items(), key=lambda x: -x[1])))


def _count_tokens(proto: bytes, codes: list[str]) -> tuple[dict[str, int], int]:
    import sentencepiece

    from vocabkit.corpus.reading import zstd

    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    tokens, unknown = {}, 0
    for code in codes:
        with zstd.open(corpora() / "ntrex" / f"{code}.txt.zst", "rt", encoding="utf-8") as file:
            ids = processor.encode(file.read().split("\n")[LINES])
        tokens[code] = sum(map(len, ids))
        unknown += sum(line.count(processor.unk_id()) for line in ids)
    return tokens, unknown


def _as_model(pieces: Path, like: Path) -> bytes:
    """Return our pieces with another model's normaliser and specials."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(like.read_bytes())
    characters = {p.piece for p in proto.pieces if len(p.piece) == 1}
    del proto.pieces[OTHERS:]
    for line in pieces.read_text(encoding="utf-8").split("\n")[:-1]:
        piece, score = line.split("\t")
        proto.pieces.add(piece=piece, score=float(score))
    different = characters ^ {p.piece for p in proto.pieces if len(p.piece) == 1}
    if different:
        print(f"\nthe character lists differ in {len(different)}: the comparison is not exact")
    return bytes(proto.SerializeToString())


def _write_raw(path: Path, codes: list[str]) -> None:
    from vocabkit.corpus.reading import zstd

    if path.exists():
        return
    with path.open("wb") as out:
        for code in codes:
            with zstd.open(corpora() / "mono" / f"{code}.txt.zst", "rb") as file:
                while block := file.read(1 << 20):
                    out.write(block)


def _show(name: str, measured: Measurement) -> Measurement:
    print(measured.row(name), flush=True)
    return measured


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=250_000)
    parser.add_argument("--languages", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="where counts and models are kept and found again")
    parser.add_argument("--peers", default="1M,8V", help="sentencepiece with 1M seeds, 8V, or both")
    parser.add_argument("--only", choices=["ours", "sentencepiece"])
    parser.add_argument("--step", choices=["ours", "sentencepiece"], help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


_STEPS = {"ours": fit_ours, "sentencepiece": fit_sentencepiece}

if __name__ == "__main__":
    main()
