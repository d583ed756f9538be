"""The configurations of the study on the 40-language panel: what each costs to fit, and what it gives whom.

`python benchmarks/allocation.py FOLDER [--only time|table]`; what lies in FOLDER is found again. Counts are of
`mono`'s 40 panel languages; NTREX lines 1–1,000 are for development, 1,001–1,997 for the tables, never mixed.
Bars: (a)–(d) at full size together faster than sentencepiece's (a) alone on the raw text, and 8 GB.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import HEADER, corpora, machine, measure

PANEL = ["--set", "languages.panel=panels/panel-40"]
# Every character kept and oversampling up to 64, so that totals can be compared: no text is lost anywhere.
OPEN = ["--set", "coverage.character=1.0", "--set", "vocabulary.byte_fallback=false"]
WIDE = [*OPEN, "--allow-oversampling", "64"]
DEVELOPMENT, TEST = slice(0, 1_000), slice(1_000, 1_997)


@dataclass(frozen=True)
class Model:
    """A row of the table: its name, preset and options; `{dev}` and `{NAME}` stand for folders."""

    name: str
    preset: str
    options: tuple[str, ...]


def sized(size: int) -> list[str]:
    return ["--set", f"vocabulary.size={size}"]


TIMED = [
    Model("(a) shared-250k", "shared-250k", ()),
    Model("(b) balanced-250k", "balanced-250k", ()),
    Model("(c) proportional-500k", "proportional-500k", ()),
    Model(
        "(d) two-stage-250k-12x50k",
        "two-stage-250k-12x50k",
        ("--base", "{(a) shared-250k}", "--set", "tail.allow_fewer=true"),
    ),
]
FEWER = ("--set", "tail.allow_fewer=true")
TABLE = [
    Model("a 250k", "shared-250k", (*OPEN,)),
    Model("b 250k", "balanced-250k", (*WIDE,)),
    Model("parity 250k", "parity-250k", (*WIDE, "--dev", "{dev}")),
    Model(
        "byte-bpe parity 250k",
        "byte-bpe",
        (
            *sized(250_000),
            "--set",
            "merging.method=parity",
            "--set",
            "merging.unit=lines",
            "--set",
            "merging.development={dev-counts}",
        ),
    ),
    Model("a 500k", "shared-250k", (*OPEN, *sized(500_000))),
    Model("b 500k", "balanced-250k", (*WIDE, *sized(500_000))),
    Model("c 500k", "proportional-500k", (*WIDE,)),
    Model("c 500k exponent", "proportional-500k", (*WIDE, "--set", "allocation.method=exponent")),
    Model("c 500k vocap", "proportional-500k", (*WIDE, "--set", "allocation.method=vocap")),
    Model("d on a", "two-stage-250k-12x50k", ("--base", "{a 250k}", *FEWER)),
    Model("d on b", "two-stage-250k-12x50k", ("--base", "{b 250k}", *FEWER)),
    Model("a at d's size", "shared-250k", (*OPEN, "--set", "vocabulary.size={size of d on a}")),
    Model("b at d's size", "balanced-250k", (*WIDE, "--set", "vocabulary.size={size of d on b}")),
]


def main() -> None:
    """Print the tables of time and of tokens."""
    given = _read_arguments()
    folder = Path(given.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if given.step == "sentencepiece":
        train_sentencepiece(folder)
        return
    codes = panel_codes()
    print(machine())
    print(HEADER)
    counts = folder / "counts"
    if not counts.exists():
        command = [
            "count",
            str(corpora() / "mono"),
            "-o",
            str(counts),
            "--panel",
            "panels/panel-40",
        ]
        _show("count", command)
    _write_development(folder / "dev", codes)
    if not (folder / "dev-counts").exists():
        command = ["count", str(folder / "dev"), "-o", str(folder / "dev-counts")]
        _show("count development lines", [*command, "--held-out", "0"])
    if given.only != "table":
        together = sum(_fit(model, folder / "timed", folder, counts) for model in TIMED)
        print(f"| (a)–(d) together | {together:.1f} | | |", flush=True)
        _write_raw(folder / "raw.txt", codes)
        again = [sys.executable, __file__, given.folder, "--step", "sentencepiece"]
        print(measure(again).row("sentencepiece (a), raw text"), flush=True)
    if given.only != "time":
        for model in TABLE:
            _fit(model, folder / "table", folder, counts)
        compare(folder / "table", codes)
        compare(folder / "timed", codes)


def panel_codes() -> tuple[str, ...]:
    from vocabkit.core.languages import load_panel

    return load_panel("panels/panel-40").codes


def compare(folder: Path, codes: Sequence[str]) -> None:
    """Print tokens of the test lines: totals, fixed-unit costs with paired intervals, and each language."""
    from vocabkit.core.languages import load_panel

    panel = load_panel("panels/panel-40")
    names = [path.name for path in sorted(folder.iterdir()) if (path / "manifest.json").is_file()]
    order = [model.name for model in (*TIMED, *TABLE)]
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    if not names:
        return
    tokens = {name: count_lines(folder / name, codes) for name in names}
    base = tokens[names[0]][0]
    english = codes.index("eng_Latn")
    tail = [codes.index(code) for code in panel.tail]
    worst = -(-len(codes) // 10)
    lines = base.shape[1]
    draws = np.random.default_rng(0).multinomial(lines, np.full(lines, 1 / lines), 1_000)
    unit = base[english].sum()
    print("\nCosts are tokens ÷ the English tokens of the first row, on the same lines.\n")
    columns = ("model", "size", "tokens", "change", "mean", "bottom decile", "tail", "English")
    print("| " + " | ".join((*columns, "saved per 10,000 rows", "lost characters")) + " |")
    print("| --- " * 10 + "|")
    first_size = None
    for name in names:
        found, lost, size = tokens[name]
        first_size = first_size or size
        cost = found.sum(axis=1) / unit
        drawn = found @ draws.T
        ratio = drawn.sum(axis=0) / (base @ draws.T).sum(axis=0) - 1
        low, high = np.quantile(ratio, (0.025, 0.975))
        change = found.sum() / base.sum() - 1
        tails = drawn[tail].sum(axis=0) / (base @ draws.T)[tail].sum(axis=0) - 1
        tail_change = found[tail].sum() / base[tail].sum() - 1
        saved = (base.sum() - found.sum()) / (size - first_size) * 10_000 if size > first_size else None
        print(
            f"| {name} | {size:,} | {found.sum():,} | {change:+.2%} [{low:+.2%}, {high:+.2%}] | "
            f"{cost.mean():.3f} | {np.sort(cost)[-worst:].mean():.3f} | {tail_change:+.2%} "
            f"[{np.quantile(tails, 0.025):+.2%}, {np.quantile(tails, 0.975):+.2%}] | "
            f"{found[english].sum() / unit - 1:+.2%} | {'' if saved is None else f'{saved:,.0f}'} | {lost:,} |"
        )
    print("\n| language | " + " | ".join(names) + " |")
    print("| --- |" + " --: |" * len(names))
    for k, code in enumerate(codes):
        print(f"| {code} | " + " | ".join(f"{tokens[n][0][k].sum() / unit:.3f}" for n in names) + " |")


def count_lines(path: Path, codes: Sequence[str]) -> tuple[np.ndarray, int, int]:
    """Return tokens by language and test line, characters lost, and the vocabulary's size."""
    from vocabkit.vocabulary.tokenizers import open_tokenizer

    tokenizer = open_tokenizer(path)
    rows, lost = [], 0
    for code in codes:
        lines = read_lines(code)[TEST]
        rows.append(tokenizer.encode_flat(lines)[1])
        lost += sum(tokenizer.unknown_characters(lines))
    return np.array(rows), lost, tokenizer.size


def read_lines(code: str) -> list[str]:
    from vocabkit.corpus.reading import zstd

    with zstd.open(corpora() / "ntrex" / f"{code}.txt.zst", "rt", encoding="utf-8") as file:
        return file.read().split("\n")


def train_sentencepiece(folder: Path) -> None:
    """Train (a) with sentencepiece's defaults on the raw text."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "raw.txt"),
        model_prefix=str(folder / "sentencepiece"),
        model_type="unigram",
        vocab_size=250_000,
        num_threads=2,
        max_sentence_length=1_000_000,
        minloglevel=3,
    )


def _fit(model: Model, target: Path, folder: Path, counts: Path) -> float:
    output = target / model.name
    if (output / "manifest.json").is_file():
        return 0.0
    target.mkdir(exist_ok=True)
    words = [word if word.startswith("-") else _fill(word, target, folder) for word in model.options]
    command = ["fit", model.preset, "--counts", str(counts), "-o", str(output), *PANEL, *words]
    return _show(model.name, command)


def _fill(word: str, target: Path, folder: Path) -> str:
    for name in ("dev", "dev-counts"):
        if word.endswith("{" + name + "}"):
            return word.replace("{" + name + "}", str(folder / name))
    if "{size of " in word:
        head, _, rest = word.partition("{size of ")
        path = target / rest.removesuffix("}") / "blocks.tsv"
        rows = path.read_text(encoding="utf-8").splitlines()[1:]
        return f"{head}{250_000 + sum(int(row.split(chr(9))[2]) for row in rows)}"
    if word.startswith("{"):
        return str(target / word.strip("{}"))
    return word


def _show(name: str, command: list[str]) -> float:
    measured = measure([sys.executable, "-m", "vocabkit", *command, "-q"])
    print(measured.row(name), flush=True)
    return measured.wall


def _write_development(folder: Path, codes: Sequence[str]) -> None:
    folder.mkdir(exist_ok=True)
    for code in codes:
        path = folder / f"{code}.txt"
        if not path.exists():
            text = "\n".join(read_lines(code)[DEVELOPMENT]) + "\n"
            path.write_text(text, encoding="utf-8", newline="\n")


def _write_raw(path: Path, codes: Sequence[str]) -> None:
    from vocabkit.corpus.reading import zstd

    if path.exists():
        return
    with path.open("wb") as out:
        for code in codes:
            with zstd.open(corpora() / "mono" / f"{code}.txt.zst", "rb") as file:
                while block := file.read(1 << 20):
                    out.write(block)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--only", choices=["time", "table"])
    parser.add_argument("--step", choices=["sentencepiece"], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
