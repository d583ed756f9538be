"""What it costs to extend a checkpoint: `python benchmarks/extend.py FOLDER [single|sharded|pursuit]`.

`single`: one file of 1 GB grown by 50,000 rows. `sharded`: 20 GB in ten shards, two of them with
vocabulary tensors, with `--link`; the others are sparse files, which are not rewritten. Each extension
runs in a process of its own that prints its phases; the write phase is set against `cp` of the files it
wrote, both with a warm page cache. FOLDER needs 4 GB.

`pursuit`, only where asked for: 50,000 rows by orthogonal matching pursuit from 46,000 anchors of 640 made-up
columns, k = 64, seven minutes on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import machine

ROOT = Path(__file__).resolve().parents[1]
WIDTH, TOKENS, ADDED = 1024, 32_000, 50_000
LAYER = (4096, 4096)
CHILD = """
import json, sys, time
from pathlib import Path
start = time.perf_counter()
import vocabkit as vk
from vocabkit.extension.initializers import METHODS
def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))
import tokenizers, sentencepiece
imports = time.perf_counter() - start
model, tokenizer, output, link = sys.argv[1:]
before = memory("VmRSS")
done = vk.extend(model, tokenizer, output, link=link == "link", force=True)
print(json.dumps({"imports": imports, **done.seconds, "before": before, "peak": memory("VmHWM")}))
"""


def pieces(amount: int) -> Iterator[str]:
    """Made-up words, two to five syllables, all distinct."""
    consonants, vowels = "bcdfghjklmnpqrstvwxz", "aeiou"
    syllables = [c + v for c in consonants for v in vowels]
    for index in range(amount):
        word, left = "", index + 100
        while left:
            word += syllables[left % 100]
            left //= 100
        yield f"▁{word}"


def write_tokenizer(folder: Path, size: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz", "▁"]
    names = ["<s>", "<pad>", "</s>", "<unk>", *letters]
    names += pieces(size - len(names))
    backend = Tokenizer(models.Unigram([(name, -8.0) for name in names], 3, False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace("▁")
    backend.add_special_tokens(names[:4])
    backend.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_config(folder: Path, *, tied: bool) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": TOKENS,
        "tie_word_embeddings": tied,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def write_single(folder: Path) -> None:
    """1.07 GB in one file, the matrix first as most writers put it."""
    from safetensors.numpy import save_file

    write_tokenizer(folder, TOKENS)
    write_config(folder, tied=True)
    choose = np.random.default_rng(0)
    matrix = choose.standard_normal((TOKENS, WIDTH), np.float32)
    layer = choose.standard_normal(LAYER, np.float32)
    layers = {f"model.layers.{place:02}.mlp.up_proj.weight": layer for place in range(14)}
    save_file({"model.embed_tokens.weight": matrix, **layers}, folder / "model.safetensors")


def write_sharded(folder: Path) -> None:
    """20 GB: two shards with a vocabulary matrix and a layer, eight sparse ones of 2.4 GB."""
    from vocabkit.checkpoints.safetensors_files import Replacement, build_header

    write_tokenizer(folder, TOKENS)
    write_config(folder, tied=False)
    weights: dict[str, str] = {}
    total = 0
    for place in range(1, 11):
        shard = f"model-{place:05}-of-00010.safetensors"
        shapes = {f"model.layers.{place:02}.{i}.weight": ("F32", LAYER) for i in range(36)}
        if place in (1, 10):
            name = "model.embed_tokens.weight" if place == 1 else "lm_head.weight"
            shapes = {
                name: ("F32", (TOKENS, WIDTH)),
                f"model.layers.{place:02}.0.weight": ("F32", LAYER),
            }
        layout = {name: Replacement(*item, lambda: iter(())) for name, item in shapes.items()}
        raw = build_header(layout, {"format": "pt"})
        size = sum(4 * shape[0] * shape[1] for _, shape in shapes.values())
        with (folder / shard).open("wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            if place in (1, 10):
                choose = np.random.default_rng(place)
                file.write(choose.standard_normal(size // 4, np.float32).data)
            else:
                file.truncate(8 + len(raw) + size)
        total += size
        weights |= dict.fromkeys(shapes, shard)
    index = {"metadata": {"total_size": total}, "weight_map": weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def extend(model: Path, tokenizer: Path, output: Path, *, link: bool) -> dict[str, float]:
    """Extend in a process of its own; its phases in seconds and its memory in bytes."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(model), str(tokenizer), str(output), "link" if link else ""],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if run.returncode:
        sys.exit(run.stderr)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def copy_time(files: list[Path], folder: Path) -> float:
    """Seconds of `cp` of the files."""
    folder.mkdir()
    start = time.perf_counter()
    subprocess.run(["cp", *map(str, files), str(folder)], check=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    return seconds


def report(kind: str, work: Path) -> None:
    model, tokenizer, output = work / kind, work / "tokenizer", work / "output"
    if not model.exists():
        (write_single if kind == "single" else write_sharded)(model)
    write_tokenizer(tokenizer, TOKENS + ADDED)
    link = kind == "sharded"
    runs, copies = [], []
    for _ in range(5):  # by turns, since other work on the machine slows both
        shutil.rmtree(output, ignore_errors=True)
        runs.append(extend(model, tokenizer, output, link=link))
        receipt = json.loads((output / "extension" / "receipt.json").read_text(encoding="utf-8"))
        how = {name: item["how"] for name, item in receipt["files"].items()}
        written = [output / name for name in how if how[name] == "rewritten"]
        copies.append(copy_time(written, work / "copy"))
    best, copied = min(runs, key=lambda run: run["write"]), min(copies)
    linked = list(how.values()).count("linked")
    rows = ADDED * WIDTH * 4 * (1 if kind == "single" else 2)
    size = sum(path.stat().st_size for path in written)
    phases = ", ".join(f"{name} {best[name]:.2f}" for name in ("imports", "plan", "rows", "receipt", "hash"))
    print(f"{kind}: {size / 1e9:.2f} GB rewritten, {linked} files linked")
    pairs = ", ".join(f"{run['write']:.2f}/{s:.2f}" for run, s in zip(runs, copies, strict=True))
    ratio = best["write"] / copied
    print(f"  write {best['write']:.2f} s, cp {copied:.2f} s: {ratio:.2f} ×; by turns {pairs}")
    print(f"  other seconds: {phases}")
    extra = best["peak"] - best["before"] - rows
    print(f"  memory: {best['before'] / 1e6:.0f} MB imports, {rows / 1e6:.0f} MB new rows, "
          f"{extra / 1e6:.0f} MB beyond them")  # fmt: skip
    shutil.rmtree(output)


def report_pursuit(anchors: int = 46_000, targets: int = 50_000, k: int = 64) -> None:
    from vocabkit.extension.space_rows import pursue

    columns = 640
    choose = np.random.default_rng(0)
    # Variance falls with the column, and targets lean on an anchor, as embeddings of two models do.
    scale = np.arange(1, columns + 1) ** -0.5
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((columns, columns)))[0]
    held = ((choose.standard_normal((anchors, columns)) * scale) @ turn).astype(np.float32)
    free = (choose.standard_normal((targets, columns)) * scale) @ turn
    wanted = (free + 0.7 * held[choose.integers(0, anchors, targets)]).astype(np.float32)
    start, spent = time.perf_counter(), time.process_time()
    found = pursue(held, wanted, k, candidates=128, refresh=4)
    print(f"pursuit: {targets:,} rows from {anchors:,} anchors, k = {k}")
    print(f"  {time.perf_counter() - start:.0f} s, {time.process_time() - spent:.0f} CPU-s, "
          f"mean residual {found.residuals.mean():.3f}")  # fmt: skip


def main() -> None:
    work = Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    print(machine())
    for kind in sys.argv[2:] or ["single", "sharded"]:
        if kind == "pursuit":
            report_pursuit()
        else:
            report(kind, work)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
