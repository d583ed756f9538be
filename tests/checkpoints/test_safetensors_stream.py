"""Safetensors read by their header and rewritten by streaming, against the reference library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.checkpoints.safetensors_files import (
    Copied,
    Part,
    Replacement,
    as_bytes,
    as_float32,
    build_header,
    read_header,
    rewrite_file,
)
from vocabkit.core.errors import CheckpointError

NAMES = ("a.weight", "b.bias", "c.weight")


def write(path: Path, shapes: dict[str, tuple[str, tuple[int, ...]]], fill: int = 0) -> None:
    """A file whose every byte tells where it is."""
    layout = {name: Replacement(*item, lambda: iter(())) for name, item in shapes.items()}
    raw = build_header(layout, {"format": "pt"})
    size = sum(item.size for item in layout.values())
    data = bytes((fill + place) % 251 for place in range(size))
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)


def test_the_reference_library_reads_what_is_rewritten(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    tensors: dict[str, Any] = {
        "z": np.arange(6, dtype=np.float32).reshape(3, 2),
        "embed": np.arange(10, dtype=np.float32).reshape(5, 2),
        "bytes": np.arange(3, dtype=np.uint8),
    }
    library.save_file(tensors, tmp_path / "old", metadata={"format": "pt"})
    old = read_header(tmp_path / "old")
    start = old.tensors["embed"].start
    new_row = np.array([[9.0, 8.0]], np.float32)

    def parts() -> Iterator[Part]:
        yield Copied(start + 8, start + 24)
        yield new_row.tobytes()
        yield Copied(start, start + 8)

    changes = {
        "embed": Replacement("F32", (4, 2), parts),
        "added": Replacement("F32", (1, 2), lambda: iter([new_row.data])),
    }
    rewrite_file(tmp_path / "old", tmp_path / "new", changes)
    found: dict[str, Any] = library.load_file(tmp_path / "new")
    assert sorted(found) == ["added", "bytes", "embed", "z"]
    expected = np.concatenate([tensors["embed"][1:3], new_row, tensors["embed"][:1]])
    np.testing.assert_array_equal(found["embed"], expected)
    np.testing.assert_array_equal(found["added"], new_row)
    np.testing.assert_array_equal(found["z"], tensors["z"])
    np.testing.assert_array_equal(found["bytes"], tensors["bytes"])
    assert read_header(tmp_path / "new").metadata == {"format": "pt"}
    assert (len(read_header(tmp_path / "new").raw) + 8) % 8 == 0


def test_what_stays_keeps_its_place_in_a_page(tmp_path: Path) -> None:
    write(tmp_path / "old", {"a": ("F32", (7, 3)), "b": ("F32", (100,)), "c": ("F32", (5_000,))})
    grown = Replacement("F32", (9, 3), lambda: iter([b"x" * 108]))
    rewrite_file(tmp_path / "old", tmp_path / "new", {"a": grown})
    old, new = (read_header(tmp_path / name).tensors for name in ("old", "new"))
    assert new["c"].start != old["c"].start
    for name in ("b", "c"):
        assert (new[name].start - old[name].start) % 4096 == 0
    assert new["a"].start % 8 == 0
    held, kept = ((tmp_path / name).read_bytes() for name in ("new", "old"))
    assert held[new["b"].start :] == kept[old["b"].start :]


@given(
    sizes=st.lists(st.integers(0, 40), min_size=3, max_size=3),
    grown=st.integers(0, 60),
    which=st.integers(0, 2),
)
def test_every_other_byte_stays(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], grown: int, which: int
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    write(folder / "old", {name: ("U8", (size,)) for name, size in zip(NAMES, sizes, strict=True)})
    data = bytes(range(100, 100 + grown))
    changes = {NAMES[which]: Replacement("U8", (grown,), lambda: iter([data]))}
    rewrite_file(folder / "old", folder / "new", changes)
    old, new = read_header(folder / "old"), read_header(folder / "new")
    before, after = (folder / "old").read_bytes(), (folder / "new").read_bytes()
    for name in NAMES:
        a, b = old.tensors[name], new.tensors[name]
        expected = data if name == NAMES[which] else before[a.start : a.stop]
        assert after[b.start : b.stop] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-3], "cut short by 3 bytes"),
        (lambda data: data + b"xx", "2 bytes too long"),
        (lambda data: data[:5], "too few"),
        (lambda data: b"\xff" * 8 + data[8:], "the header is said to take"),
        (lambda data: data.replace(b'"data_offsets":[8,16]', b'"data_offsets":[4,12]'), "overlaps"),
        (lambda data: data.replace(b'"shape":[2],"data_offsets":[8', b'"shape":[3],"data_offsets":[8'),
         "not 12"),
        (lambda data: data.replace(b'"dtype"', b'"dtipe"'), "not a safetensors header"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "model.safetensors"
    write(path, {"a": ("F32", (2,)), "b": ("F32", (2,))})
    assert callable(change)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message) as caught:
        read_header(path)
    assert str(path) in caught.value.message


def test_a_hole_is_refused(tmp_path: Path) -> None:
    raw = json.dumps({"a": {"dtype": "U8", "shape": [2], "data_offsets": [3, 5]}}).encode()
    path = tmp_path / "holed"
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(5))
    with pytest.raises(CheckpointError, match="belong to no tensor"):
        read_header(path)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_numbers_come_back_as_torch_has_them(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    kinds = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
    kind = getattr(torch, kinds[dtype])
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    values[0] = (0.0, -0.0, 1 + 2**-8)  # a tie for bfloat16, which goes to even
    values[1] = (np.inf, 3.0e-41, -1e-20)
    theirs = torch.from_numpy(values).to(kind)
    stored = as_bytes(values, dtype)
    assert stored.tobytes() == theirs.contiguous().view(torch.uint8).numpy().tobytes()
    np.testing.assert_array_equal(as_float32(stored, dtype), theirs.float().numpy())


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CheckpointError, match="65504"):
        as_bytes(np.array([[1e6]], np.float32), "F16")


def test_quantised_numbers_are_refused() -> None:
    with pytest.raises(CheckpointError, match="I8") as caught:
        as_float32(np.zeros(4, np.uint8), "I8")
    assert "quantised" in str(caught.value.hint)
