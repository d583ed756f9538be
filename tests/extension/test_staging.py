"""Folders in the making: whole or absent, one writer at a time, links where asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vocabkit.core.errors import OutputError
from vocabkit.core.folders import duplicate_file, finished_file, open_staging
from vocabkit.extension.verify import _measure_rows


def fail_in_a_folder(target: Path) -> None:
    with open_staging(target, "k", force=False) as work:
        (work / "a").write_text("x", encoding="utf-8")
        raise ValueError("wrong")


def fail_in_a_file(target: Path) -> None:
    with finished_file(target) as part:
        assert part is not None
        part.write_text("half", encoding="utf-8")
        raise ValueError("wrong")


def test_an_error_leaves_nothing_and_the_end_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"):
        fail_in_a_folder(tmp_path / "o")
    assert list(tmp_path.iterdir()) == []
    with open_staging(tmp_path / "o", "k", force=False) as work:
        (work / "a").write_text("x", encoding="utf-8")
        assert not (tmp_path / "o").exists()
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["a"]


def test_two_cannot_write_one_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with (
        open_staging(tmp_path / "o", "k", force=False),
        pytest.raises(OutputError, match="another process"),
        open_staging(tmp_path / "o", "k", force=False),
    ):
        pass
    assert (tmp_path / "o").is_dir()


def test_a_file_has_its_name_only_when_done(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"):
        fail_in_a_file(tmp_path / "f")
    assert not (tmp_path / "f").exists()
    with finished_file(tmp_path / "f") as part:
        assert part is not None
        part.write_text("whole", encoding="utf-8")
    with finished_file(tmp_path / "f") as part:
        assert part is None


@pytest.mark.parametrize("link", [False, True])
def test_a_symbolic_link_is_followed(tmp_path: Path, link: bool) -> None:
    (tmp_path / "blob").write_bytes(b"data")
    (tmp_path / "name").symlink_to("blob")
    how = duplicate_file(tmp_path / "name", tmp_path / "deep" / "copy", link=link)
    assert how in (("linked",) if link else ("copied", "reflinked"))
    assert not (tmp_path / "deep" / "copy").is_symlink()
    assert (tmp_path / "deep" / "copy").read_bytes() == b"data"
    assert (tmp_path / "deep" / "copy").samefile(tmp_path / "blob") == link


def test_odd_rows_are_counted() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    rows[3] = 0
    rows[4] = rows[5] = rows[6]
    rows[7, 2] = np.nan
    found = _measure_rows(rows, np.arange(40))
    assert (found.rows, found.not_finite, found.zero, found.repeated) == (40, 1, 1, 3)
    norms = np.linalg.norm(rows[:40][np.isfinite(rows[:40]).all(1)].astype(np.float64), axis=1)
    assert found.norms is not None
    np.testing.assert_allclose(found.norms, np.quantile(norms, (0.05, 0.5, 0.95)))
    assert _measure_rows(rows, np.zeros(0, np.int64)).norms is None
