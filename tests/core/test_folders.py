import errno
import json
import os
from pathlib import Path

import pytest

from vocabkit.core.errors import CheckpointError, CountsError, OutputError
from vocabkit.core.folders import (
    Clock,
    output_folder,
    package_versions,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
    write_text,
)


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


def test_force_does_not_replace_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_json_comes_back_and_an_error_names_the_file_and_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"é": [1, None]})
    assert path.read_text(encoding="utf-8") == '{\n "é": [\n  1,\n  null\n ]\n}\n'
    assert read_json(path) == {"é": [1, None]}
    for text, wrong in (("{", "not JSON"), ("[]", "holds no object")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(CheckpointError, match=rf"a\.json: {wrong}"):
            read_json(path)
    with pytest.raises(CountsError, match=r"b\.json: No such file") as caught:
        read_json(tmp_path / "b.json", CountsError, "count again")
    assert caught.value.hint == "count again"
    assert read_manifest(tmp_path) == {}
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match=r"manifest\.json: not JSON"):
        read_manifest(tmp_path)


def test_a_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "after\n")
    assert path.read_bytes() == b"after\n"


def test_a_clock_adds_up_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    clock = Clock()
    now = 2.0
    clock.lap("a")
    now = 5.0
    with clock.measure("b"):
        now = 6.0
    now = 7.0
    clock.lap("a")
    assert clock.seconds == {"a": 3.0, "b": 1.0}
    assert clock.elapsed == 7.0
