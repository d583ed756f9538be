"""Two checkouts by turns: CPU seconds of count, fit, audit, prepare and extend, on one idle machine.

    python benchmarks/turns.py BEFORE AFTER [--turns 2] [--languages eng,yor,...]

BEFORE and AFTER are checkouts, each with its own .venv. Prints the least CPU time of each, as a run is only
ever disturbed upwards, and their ratio. Bar of a change that should cost nothing: within 3 %.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import corpora, machine

VERBS = ("count", "fit", "audit", "prepare", "extend")


def list_commands(work: Path, languages: str | None) -> dict[str, list[str]]:
    """The commands of one checkout, each with what the ones before it wrote."""
    mono, ntrex = corpora() / "mono", corpora() / "ntrex"
    chosen = ["--languages", languages] if languages else []
    panel = [] if languages else ["--panel", "panels/panel-40"]
    return {
        "count": ["count", str(mono), "-o", f"{work}/counts", *chosen],
        "fit": ["fit", "shared-250k", "--counts", f"{work}/counts", "-o", f"{work}/tok"],
        "audit": [
            *("audit", f"{work}/tok", "--corpus", str(ntrex), "-o", f"{work}/audit"),
            *(chosen or panel),
        ],
        "prepare": [
            *("prepare", str(mono), "--tokenizer", f"{work}/tok", "-o", f"{work}/shards"),
            *(chosen or panel),
        ],
        "extend": ["extend", f"{work}/model", f"{work}/blocks", "-o", f"{work}/extended"],
    }


def run(checkout: Path, arguments: list[str], cache: Path) -> float:
    """CPU seconds of one command and its children. Raises `SystemExit` with its error when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [str(checkout / ".venv/bin/python"), "-m", "vocabkit", *arguments, "--force"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{checkout}: {' '.join(arguments)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_model(folder: Path, rows: int) -> None:
    """A checkpoint of 1 GB, its embedding of so many rows: what `extend` has to copy."""
    import json

    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    width = 768
    # Rows of zeros are taken for untrained ones.
    embedding = np.random.default_rng(0).standard_normal((rows, width), np.float32)
    tensors = {"roberta.embeddings.word_embeddings.weight": embedding}
    body = (1 << 30) // (4 * width) - rows
    tensors["roberta.encoder.layer.0.output.dense.weight"] = np.zeros((body, width), np.float32)
    save_file(tensors, str(folder / "model.safetensors"))
    config = {"model_type": "xlm-roberta", "vocab_size": rows, "hidden_size": width}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def main() -> None:
    """Print a Markdown table, a row a verb."""
    parser = argparse.ArgumentParser()
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--languages")
    given = parser.parse_args()
    checkouts = (given.before.resolve(), given.after.resolve())
    spent: dict[tuple[str, Path], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(given.turns):
            for checkout in checkouts if turn % 2 == 0 else checkouts[::-1]:
                work = Path(folder) / checkout.name
                shutil.rmtree(work / "counts", ignore_errors=True)  # with its caches
                cache = Path(folder) / "cache" / checkout.name
                for verb, command in list_commands(work, given.languages).items():
                    if verb == "extend" and not (work / "model").exists():
                        blocks = ["fit", "two-stage-250k-12x50k", "--counts", f"{work}/counts"]
                        blocks += ["--base", f"{work}/tok", "-o", f"{work}/blocks"]
                        tail = ["--set", "tail.allow_fewer=true", "--set", 'tail.languages=["yor_Latn"]']
                        run(checkout, [*blocks, *tail], cache)
                        write_model(work / "model", 250_000)
                        for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
                            shutil.copy(work / "tok" / name, work / "model")
                    spent.setdefault((verb, checkout), []).append(run(checkout, command, cache))
    print(machine())
    print("| verb | before, CPU s | after, CPU s | after ÷ before |\n| --- | --- | --- | --- |")
    for verb in VERBS:
        before, after = (min(spent[verb, checkout]) for checkout in checkouts)
        print(f"| {verb} | {before:.1f} | {after:.1f} | {after / before:.3f} |")


if __name__ == "__main__":
    main()
