import errno
import json
import os
from pathlib import Path

import pytest

from vocabkit.core.errors import OutputError
from vocabkit.core.folders import output_folder, package_versions, write_manifest


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with output_folder(tmp_path / "out") as work:
        (work / "a.txt").write_text("a", encoding="utf-8")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a.txt").read_text(encoding="utf-8") == "a"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with output_folder(tmp_path / "out") as work:
            (work / "half").write_text("x", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_force_keeps_the_old_folder_until_the_new_one_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with pytest.raises(OutputError, match="not empty"), output_folder(out):
        pass
    with pytest.raises(ZeroDivisionError), output_folder(out, force=True):
        _ = 1 / 0
    assert (out / "old").exists()
    with output_folder(out, force=True) as work:
        (work / "new").touch()
        assert (out / "old").exists()
    assert [p.name for p in out.iterdir()] == ["new"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="is a file"), output_folder(tmp_path / "out", force=True):
        pass


def test_force_does_not_replace_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="will not replace"), output_folder(tmp_path, force=True):
        pass


def test_manifest(tmp_path: Path) -> None:
    def outputs() -> dict[str, str]:
        write_manifest(tmp_path, config={"x": 1}, inputs={"i": "f"}, seed=3)
        data = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
        assert data["seed"] == 3
        assert data["inputs"] == {"i": "f"}
        assert data["versions"]["numpy"]
        found: dict[str, str] = data["outputs"]
        return found

    (tmp_path / "a").write_text("1", encoding="utf-8")
    before = outputs()
    assert before.keys() == {"a"}
    assert outputs() == before
    (tmp_path / "a").write_text("2", encoding="utf-8")
    assert outputs() != before


def test_versions_of_what_is_not_installed_are_none() -> None:
    assert package_versions(["no-such-package-at-all"]) == {"no-such-package-at-all": None}


def test_a_full_disk_is_an_error_that_names_the_output(tmp_path: Path) -> None:
    def fill() -> None:
        with output_folder(tmp_path / "out"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=r"out: No space left on device") as caught:
        fill()
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
