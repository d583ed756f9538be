"""What `make same-bytes` compares: a digest of every file, without what is another one at every run.

Numbers that come from floating-point sums may differ in their last digits on another processor or with
another version of a library. An item that may hold such numbers has a summary of them beside its digest:
how many there are, their sum, and their L2 norm.
"""

from __future__ import annotations

import hashlib
import math
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TOLERANCE = 1e-3
PACKAGES = (
    "numpy", "torch", "numba", "sentencepiece", "duckdb", "tokenizers", "transformers", "matplotlib",
)  # fmt: skip
# Caches beside counts: they can be made again, and are named by digests of how that is done.
CACHES = {"spans", "seeds", "curves"}
# The demo's text and rows are those of `sample` and `prepare`, in more languages: hundreds of files.
OMITTED = ("demo/corpus/", "demo/shards/")
TEXT = {
    ".json", ".jsonl", ".toml", ".txt", ".tsv", ".csv", ".svg", ".html", ".md", ".out", ".err", ".header",
}  # fmt: skip

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])")
_CHANGING: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), by)
    for pattern, by in (
        # How long it took, how fast that was, and how much memory there was.
        (
            r'("(?:seconds|eta_s|tokens_per_s|bytes_per_s|data_wait|peak_memory_gb)": )[-\d.e]+',
            r"\1#",
        ),
        (r'("seconds": )\{[^{}]*\}', r"\1#"),
        (r"\b[\d,]+\.\d s\b", "# s"),
        (r"[\d,]+ tokens/s, [^\n]* left", "# tokens/s, # left"),
        # A line every so often is of the machine: how many there are, and which steps end with one, is, too.
        (r"(?m)^[^\n]* so far(?:, [^\n]* left)?\n", ""),
        (r"(?m)^[^\n]*, ended after [^\n]*\n", ""),
        # When, on what, and with what. `versions` are in the head of the golden file.
        (r'("(?:created|git_commit|python|platform)": )(?:"[^"]*"|null)', r"\1#"),
        (r'("versions": )\{[^{}]*\}', r"\1#"),
        # Every output is an item of its own here, without its times; its fingerprint has them.
        (r'("outputs": )\{[^{}]*\}', r"\1#"),
        # A receipt has a hash of the manifest it keeps, which has times, and so have its own hash and size.
        (r'("[^"]*(?:manifest|receipt)\.json": )(?:"[0-9a-f]+"|\{[^{}]*\})', r"\1#"),
        # A seal is of all the file says, times among it; what it says is compared. Tensors are, too.
        (r'("(?:digest|rank-\d+\.safetensors)": )"[0-9a-f]{40}"', r"\1#"),
        (r"(bytes of disk +- +)[\d,]+(?= +about, with the receipt)", r"\1#"),
    )
]


@dataclass(frozen=True, slots=True)
class Item:
    """The digest of what a file says, and a summary of its numbers where they may differ."""

    digest: str
    summary: tuple[float, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.digest, *(f"{number:.6g}" for number in self.summary)])

    def agrees(self, other: Item, same_machine: bool) -> bool:
        """Whether both say the same; between machines, whether their numbers are about the same."""
        if self.digest == other.digest:
            return True
        return not same_machine and _are_close(self.summary, other.summary)


def read_item(text: str) -> Item:
    """The item that `str` wrote."""
    digest, *numbers = text.split()
    return Item(digest, tuple(map(float, numbers)))


def describe_machine() -> str:
    """The processor, in a digest, and the versions of what computes: results are only then equal to the bit."""
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text(encoding="utf-8").splitlines() if processor.is_file() else []
    named = dict(line.split(":", 1) for line in lines if ":" in line)
    flags = next((text for name, text in named.items() if name.strip() == "flags"), "")
    model = next((text for name, text in named.items() if name.strip() == "model name"), "")
    # Libraries choose their kernels by these.
    wide = sorted(flag for flag in flags.split() if flag.startswith(("avx", "fma", "amx", "sse4")))
    said = " ".join([platform.machine(), model.strip(), *wide])
    found = {"cpu": hashlib.sha256(said.encode()).hexdigest()[:12]}
    found["python"] = ".".join(map(str, sys.version_info[:2]))
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return " ".join(f"{name}={value}" for name, value in found.items())


def digest_folder(folder: Path, names: Mapping[Path, str], exact: set[str]) -> dict[str, Item]:
    """An item a file under the folder, by its path in it; `names` stand in the place of absolute paths.

    Files of steps in `exact` get no summary: nothing excuses a difference.
    """
    items = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        cached = CACHES & set(place.parts[:-1])
        if not path.is_file() or cached or place.as_posix().startswith(OMITTED):
            continue
        said, numbers = read_contents(path, names)
        digest = hashlib.sha256(said).hexdigest()[:16]
        summary = () if place.parts[0] in exact or numbers is None else _summarise(numbers)
        items[place.as_posix()] = Item(digest, summary)
    return items


Contents = tuple[bytes, "npt.NDArray[np.float64] | None"]


def read_contents(path: Path, names: Mapping[Path, str]) -> Contents:
    """What a file says, without what changes at every run, and the numbers in it."""
    if path.suffix in TEXT:
        text = normalise(path.read_bytes().decode("utf-8", "surrogateescape"), names)
        found = np.array([float(number) for number in _NUMBER.findall(text)])
        return text.encode("utf-8", "surrogateescape"), found
    read = _READERS.get(path.suffix)
    return (path.read_bytes(), None) if read is None else read(path)


def normalise(text: str, names: Mapping[Path, str]) -> str:
    """A text without times, versions and absolute paths."""
    places = {str(path): name for path, name in names.items()}
    places[tempfile.gettempdir()] = "<TMP>"
    # The longest first: one may lie within another.
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, places[place])
    for pattern, by in _CHANGING:
        text = pattern.sub(by, text)
    return text


def _read_parquet(path: Path) -> Contents:
    """Rows in order and their schema: the bytes name the version of DuckDB that wrote them."""
    import duckdb

    relation = duckdb.read_parquet(str(path))
    rows = relation.fetchall()
    said = [f"{relation.columns} {[str(kind) for kind in relation.types]}", *map(repr, rows)]
    numbers = [float(cell) for row in rows for cell in row if isinstance(cell, int | float)]
    return "\n".join(said).encode("utf-8", "surrogateescape"), np.array(numbers)


def _read_safetensors(path: Path) -> Contents:
    from safetensors import safe_open

    arrays = []
    with safe_open(path, framework="pt") as opened:
        for name in sorted(opened.keys()):
            arrays.append(opened.get_tensor(name).double().flatten().numpy())
    return path.read_bytes(), np.concatenate(arrays) if arrays else np.zeros(0)


def _read_npy(path: Path) -> Contents:
    return path.read_bytes(), np.load(path).astype(np.float64).ravel()


def _read_model(path: Path) -> Contents:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return path.read_bytes(), np.array([model.get_score(index) for index in range(len(model))])


def _read_state(path: Path) -> Contents:
    """Tensors by name: PyTorch's own files are promised to hold equal ones, not equal bytes."""
    import torch

    state = torch.load(path, weights_only=True)
    tensors: dict[str, torch.Tensor] = state.get("state_dict", state)
    arrays = [tensors[name].double().flatten().numpy() for name in sorted(tensors)]
    said = [f"{name} {tensors[name].dtype} {list(tensors[name].shape)}" for name in sorted(tensors)]
    return "\n".join(said).encode() + b"".join(array.tobytes() for array in arrays), np.concatenate(arrays)


_READERS: dict[str, Callable[[Path], Contents]] = {
    ".parquet": _read_parquet,
    ".safetensors": _read_safetensors,
    ".npy": _read_npy,
    ".pt": _read_state,
    ".model": _read_model,
}


def _summarise(numbers: npt.NDArray[Any]) -> tuple[float, ...]:
    """Count, sum and L2 norm, with the digits that are written: what is read again is equal."""
    finite = numbers[np.isfinite(numbers)]
    found = len(numbers), float(finite.sum()), float(np.sqrt(np.square(finite).sum()))
    return tuple(float(f"{number:.6g}") for number in found)


def _are_close(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two summaries differ by less than the tolerance; a sum may cancel, so the norm is its scale."""
    if len(first) != 3 or len(second) != 3 or first[0] != second[0]:
        return False
    scale = max(first[2], second[2])
    return all(math.fabs(a - b) <= TOLERANCE * max(scale, 1e-12) for a, b in zip(first, second, strict=True))
