"""What pretraining costs, and whether it learns: `python benchmarks/pretrain.py SECTION… [--work DIR]`.

head      the loss over the vocabulary alone: own, plain, and the peers installed; CPU, and CUDA if there
loop      Multi-S end to end on CUDA; a tiny model on a CPU
large     Multi-L+ at several micro-batches on CUDA
continue  --model DIR --corpus DIR --language CODE: a checkpoint extended by continued-bpe trains 100 steps on a
          CPU; bits per byte of held-out text before and after, in that language and in English

Sections that need a GPU say "not measured: no GPU" without one. Ids and documents of `loop` and `large` are
drawn at random: their loss means nothing, their speed is that of real rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine

ROOT = Path(__file__).resolve().parents[1]
HEAD = Path(__file__).with_name("pretrain_head.py")
NO_GPU = "not measured: no GPU"
# Vocabulary, width, tokens of a micro-batch, predicted places: Multi-S, Multi-M and Multi-L+ at 15 %.
SHAPES = (
    (250_000, 768, 65_536, 9_830),
    (250_000, 1_024, 65_536, 9_830),
    (850_000, 2_048, 32_768, 4_915),
)
# On a CPU, of the research this bar was set by.
CPU_SHAPE = (250_000, 128, 1_024, 154)
PEERS = {"cut-cross-entropy": "cut_cross_entropy", "liger": "liger_kernel"}
LENGTH = 512


def vocabkit(*words: object, threads: int | None = None) -> str:
    """Run a command of the tree and return its stdout; end with its error when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "vocabkit", *map(str, words)],
        stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT, env=environment,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"vocabkit {' '.join(map(str, words))}: exit code {done.returncode}")
    return done.stdout


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def measure_head(way: str, shape: Sequence[int], device: str, *more: str) -> dict[str, Any] | None:
    """One way in a process of its own; None where it does not run, with the reason printed."""
    command = [sys.executable, "-W", "ignore", str(HEAD), way, *map(str, shape), device, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"| {way} | failed: {done.stderr.strip().splitlines()[-1][:90]} |")
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report_head() -> None:
    """Bar 2 on the CPU; bar 4's comparison where there is a GPU."""
    vocabulary, width, tokens, masked = CPU_SHAPE
    print(f"CPU, one step: {vocabulary:,} × {width}, {tokens:,} tokens, {masked} of them predicted")
    print("| way | CPU s | wall s | GB beyond inputs |\n| --- | --: | --: | --: |")
    measured = {}
    for way in ("plain-all", "plain-masked", "own"):
        found = measure_head(way, CPU_SHAPE, "cpu")
        if found is not None:
            measured[way] = found
            print(f"| {way} | {found['cpu']:.2f} | {found['wall']:.2f} | {found['peak'] / 1e9:.2f} |")
    ratio = measured["plain-all"]["cpu"] / measured["own"]["cpu"]
    memory = measured["own"]["peak"] / measured["plain-all"]["peak"]
    print(f"own against all places: {ratio:.1f} times cheaper, {100 * memory:.0f} % of its memory")
    if not has_gpu():
        print(f"CUDA: {NO_GPU}")
        return
    for shape in SHAPES:
        vocabulary, width, tokens, masked = shape
        print(f"CUDA, one step: {vocabulary:,} × {width}, {masked:,} places of {tokens:,}, bf16")
        print("| way | ms | peak GB | x error | table error |\n| --- | --: | --: | --: | --: |")
        for way in ("plain-masked", "own", "own-eager", *PEERS):
            if way in PEERS and importlib.util.find_spec(PEERS[way]) is None:
                print(f"| {way} | not installed |")
                continue
            found = measure_head(way, shape, "cuda", "error")
            if found is not None:
                print(f"| {way} | {1000 * found['wall']:.1f} | {found['peak'] / 1e9:.2f} | "
                      f"{found['x_error']:.1e} | {found['table_error']:.1e} |")  # fmt: skip


def write_shards(folder: Path, vocabulary: int, rows: int) -> Path:
    """Shards of one language, ids and lengths of documents at random, and a tokenizer of that size."""
    from vocabkit.corpus.normalization import load_normalizer
    from vocabkit.vocabulary.vocabulary import assemble_vocabulary

    if (folder / "shards.json").is_file():
        return folder
    specials = 5
    pieces = [f"▁{number:x}" for number in range(vocabulary - specials)]
    scores = -np.log(np.arange(2, len(pieces) + 2))
    made = assemble_vocabulary(pieces, scores, "unigram", load_normalizer("identity"))
    made.save(folder / "tokenizer")
    chance = np.random.default_rng(0)
    # Zipf's law, as in text: a few rows of the table are read often, most of them seldom.
    shares = 1.0 / np.arange(1, len(pieces) + 1)
    bounds = np.cumsum(shares / shares.sum())
    (folder / "eng_Latn").mkdir()
    entry: dict[str, Any] = {}
    for split, count in (("train", rows), ("held-out", 64)):
        drawn = np.searchsorted(bounds, chance.random((count, LENGTH))).astype(np.int32)
        ids = np.minimum(drawn, len(pieces) - 1) + specials
        starts = chance.random((count, LENGTH)) < 1 / 180
        starts[:, 0] = True
        ids[starts] = 0
        # Where a document begins, the one before ends.
        ids[:, :-1][starts[:, 1:]] = 2
        ids[:, 0] = 0
        ids[:, -1] = 2
        name = folder / "eng_Latn" / f"00000.{split}"
        np.save(f"{name}.npy", ids.astype(np.int32))
        np.save(f"{name}.used.npy", np.full(count, LENGTH, np.int32))
        np.save(f"{name}.bytes.npy", np.full(count, 4 * LENGTH, np.int32))
        entry[split] = {"rows": count, "tokens": int((ids >= specials).sum()),
                        "bytes": 4 * LENGTH * count, "documents": int(starts.sum())}  # fmt: skip
    entry["files"] = [{"name": "eng_Latn/00000", **{split: entry[split] for split in entry}}]
    index = {
        "schema": 1, "length": LENGTH, "encoding": "union", "vocabulary": vocabulary,
        "special": {"begin": 0, "end": 2, "pad": 1, "mask": 4, "unknown": 3,
                    "reserved": list(range(specials))},
        "tokenizer": "random", "corpus": "random", "held_out": 0.0, "languages": {"eng_Latn": entry},
    }  # fmt: skip
    (folder / "shards.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def read_lines(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def report_run(name: str, preset: str, data: Path, run: Path, *settings: str) -> None:
    """Train some steps and print the medians of the log's lines but the first, which compiles."""
    shutil.rmtree(run, ignore_errors=True)
    words = [word for text in settings for word in ("--set", text)]
    vocabkit("pretrain", preset, "--data", data, "-o", run, "--allow-epochs", 1_000_000, "-q", *words)
    lines = read_lines(run, "step")[1:]

    def median(key: str) -> float | None:
        found = [line[key] for line in lines if line.get(key) is not None]
        return statistics.median(found) if found else None

    mfu, memory = median("mfu"), median("peak_memory_gb")
    print(f"| {name} | {median('tokens_per_s') or 0:,.0f} | {median('bytes_per_s') or 0:,.0f} | "
          f"{'-' if mfu is None else f'{100 * mfu:.1f} %'} | {100 * (median('data_wait') or 0):.2f} % | "
          f"{'-' if memory is None else f'{memory:.1f}'} |")  # fmt: skip


RUN_HEADER = "| run | tokens/s | bytes/s | MFU | data wait | peak GB |\n| --- | --: | --: | --: | --: | --: |"


def report_loop(work: Path) -> None:
    quiet = ("log.evaluate_every=0", "save.every=1_000_000", "save.minutes=1_000", "log.every=10")
    print(RUN_HEADER)
    small = write_shards(work / "shards-4k", 4_000, 2_000)
    report_run("tiny, CPU", "tiny", small, work / "run-tiny", *quiet, "training.steps=60")
    if not has_gpu():
        print(f"Multi-S on CUDA: {NO_GPU}")
        return
    data = write_shards(work / "shards-250k", 250_000, 40_000)
    for masking in (0.15, 0.3):
        report_run(
            f"Multi-S, masking {masking}", "multi-s", data, work / "run-s", *quiet,
            "training.steps=60", "training.batch_rows=1_024", f"data.masking={masking}",
        )  # fmt: skip


def report_large(work: Path) -> None:
    if not has_gpu():
        print(f"Multi-L+ on CUDA: {NO_GPU}")
        return
    data = write_shards(work / "shards-850k", 850_000, 10_000)
    print(RUN_HEADER)
    for rows in (16, 32, 48):
        report_run(
            f"Multi-L+, {rows} rows", "multi-l-plus", data, work / "run-l-plus",
            "log.evaluate_every=0", "save.every=1_000_000", "save.minutes=1_000", "log.every=5",
            "training.steps=20", f"training.batch_rows={4 * rows}", f"training.micro_rows={rows}",
        )  # fmt: skip


def report_continue(work: Path, model: Path, corpus: Path, language: str, steps: int) -> None:
    """Bar 3: original, extended, and trained, on the same held-out text."""
    if not (work / "tok").is_dir():
        vocabkit("count", corpus, "-o", work / "counts", "--languages", language, "-q", "--force")
        vocabkit("fit", "continued-bpe", "--counts", work / "counts", "--base", model, "-o", work / "tok",
                 "--set", "tokens.new=1_000", "-q")  # fmt: skip
        vocabkit("extend", model, work / "tok", "-o", work / "extended", "--pad-to-multiple-of", 64, "-q")
    codes = f"{language},eng_Latn"
    for name, tokenizer in (("original", model), ("extended", work / "tok")):
        if not (work / f"shards-{name}").is_dir():
            vocabkit("prepare", corpus, "--tokenizer", tokenizer, "-o", work / f"shards-{name}",
                     "--length", 256, "--held-out", 0.005, "--languages", codes, "-q")  # fmt: skip
    found = {
        "original": evaluate_folder(model, work / "shards-original"),
        "extended, untrained": evaluate_folder(work / "extended", work / "shards-extended"),
    }
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    settings = (
        f"training.steps={steps}", "training.batch_rows=2", "training.micro_rows=2",
        "training.precision=bf16", "training.compile=false", "languages.weighting=quota",
        f"languages.quota={{ {language} = 0.7, eng_Latn = 0.3 }}", "log.every=5", "log.evaluate_every=0",
        "log.evaluate_rows=1_000_000", "save.every=1_000_000", "optimizer.rate=5e-5",
    )  # fmt: skip
    words = [word for text in settings for word in ("--set", text)]
    vocabkit("pretrain", "continue", "--data", work / "shards-extended", "--checkpoint",
             work / "extended", "-o", run, "-q", *words)  # fmt: skip
    found[f"after {steps} steps"] = read_lines(run, "evaluation")[-1]
    print(f"| bits per byte | {language} | eng_Latn |\n| --- | --: | --: |")
    for name, evaluation in found.items():
        scores = evaluation["languages"]
        cells = [f"{scores[code]['bits_per_byte']:.4f}" for code in (language, "eng_Latn")]
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    sizes = {code: score["bytes"] for code, score in scores.items()}
    print(f"held-out bytes: {sizes}; sums over all held-out rows of 256 tokens")


def evaluate_folder(model: Path, shards: Path) -> dict[str, Any]:
    """All held-out rows of a folder of shards by a model in transformers' format, in bf16 as the run."""
    import torch

    from vocabkit.pretraining.evaluation import evaluate
    from vocabkit.pretraining.prepared import PreparedCorpus
    from vocabkit.pretraining.run_config import DataSettings
    from vocabkit.pretraining.transformers_format import load_model

    loaded = load_model(model)
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluate(
            loaded,
            PreparedCorpus.load(shards),
            causal=loaded.config.causal,
            rows=1_000_000,
            micro_rows=2,
            device="cpu",
            data=DataSettings(),
        )
    assert found is not None
    return found.to_json()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sections", nargs="+", choices=("head", "loop", "large", "continue"))
    parser.add_argument("--work", type=Path, default=Path("build/bench/pretrain"))
    parser.add_argument("--model", type=Path, help="a causal checkpoint, as SmolLM2-135M")
    parser.add_argument("--corpus", type=Path, help="text in the new language and in English")
    parser.add_argument("--language", default="sin_Sinh")
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    given.work = given.work.resolve()
    given.work.mkdir(parents=True, exist_ok=True)
    print(machine())
    for section in given.sections:
        print(f"\n## {section}")
        if section == "head":
            report_head()
        elif section == "loop":
            report_loop(given.work)
        elif section == "large":
            report_large(given.work)
        elif given.model is None or given.corpus is None:
            sys.exit("continue needs --model DIR and --corpus DIR")
        else:
            report_continue(given.work, given.model, given.corpus, given.language, given.steps)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
