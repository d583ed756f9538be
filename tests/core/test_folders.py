import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vocabkit.core.errors import CheckpointError, CountsError, OutputError
from vocabkit.core.folders import (
    Clock,
    check_inputs,
    check_output,
    output_folder,
    package_versions,
    read_json,
    write_json,
    write_manifest,
    write_text,
)
from vocabkit.core.records import read_manifest


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
    with output_folder(out) as work:
        (work / "old").touch()
        write_manifest(work)
    with pytest.raises(OutputError, match="not empty"), output_folder(out):
        pass
    with pytest.raises(ZeroDivisionError), output_folder(out, force=True):
        _ = 1 / 0
    assert (out / "old").exists()
    with output_folder(out, force=True) as work:
        (work / "new").touch()
        assert (out / "old").exists()
    assert [p.name for p in out.iterdir()] == ["new"]


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.skipif(sys.platform == "win32", reason="has none of them")
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.symlink_to("/dev/null"), "is a device"),
        (lambda path: os.mkfifo(path), "is a pipe"),
        (_make_socket, "is a socket"),
        (lambda path: path.symlink_to(path.with_name("nowhere")), "is a link to nothing"),
        (lambda path: path.touch(), "is a file"),
    ],
)
def test_only_a_folder_is_written(make: Callable[[Path], object], what: str, tmp_path: Path) -> None:
    make(tmp_path / "out")
    before = (tmp_path / "out").lstat()
    for force in (False, True):
        with pytest.raises(OutputError, match=what), output_folder(tmp_path / "out", force=force):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").lstat() == before


def test_below_a_file_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="a folder above it is a file"), output_folder(tmp_path / "a" / "b"):
        pass
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "b" / "c" / "d"):
        _ = 1 / 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk" / "real").mkdir(parents=True)
    link = tmp_path / "out"
    link.symlink_to(tmp_path / "disk" / "real")
    for text in ("a", "b"):
        with output_folder(link, force=text == "b") as work:
            assert work.parent == tmp_path / "disk"
            (work / text).touch()
            write_manifest(work)
    assert link.is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk" / "real").iterdir()) == ["b", "manifest.json"]


def test_an_output_is_apart_from_its_inputs(tmp_path: Path) -> None:
    given = tmp_path / "a" / "b"
    given.mkdir(parents=True)
    (given / "file").touch()
    (tmp_path / "link").symlink_to(given)
    for output in (given, tmp_path / "a", tmp_path / "link"):
        with pytest.raises(OutputError, match="would replace"):
            check_inputs(output, [given])
    for output in (given / "out", tmp_path / "link" / "x" / "y"):
        with pytest.raises(OutputError, match="lies within"):
            check_inputs(output, [given])
    for output in (tmp_path / "a" / "c", tmp_path / "a" / "bb", given / "other"):
        check_inputs(output, [None, given / "file", "no-such-preset"])
    with pytest.raises(OutputError, match="would replace"):
        check_output(given, [given / "file"], force=True)


def test_force_replaces_only_what_vocabkit_wrote(tmp_path: Path) -> None:
    home = tmp_path / "thesis"
    home.mkdir()
    (home / "chapter-1.md").write_text("years of work", encoding="utf-8")
    (home / "manifest.json").write_text('{"name": "an app", "versions": 3}', encoding="utf-8")
    with pytest.raises(OutputError, match="not written by vocabkit") as caught, output_folder(home, force=True):
        pass
    assert caught.value.hint is not None
    assert f"rm -r {home}" in caught.value.hint
    assert (home / "chapter-1.md").exists()
    check_output(home, force=True, known=["chapter-1.md", "manifest.json"])


def test_what_appeared_meanwhile_stays(tmp_path: Path) -> None:
    """Two runs with one output: the later one refuses, with `force` as without."""
    out = tmp_path / "out"

    def write(name: str, *, force: bool = False) -> None:
        with output_folder(out, force=force) as work:
            (work / name).touch()
            write_manifest(work)

    def write_late(*, force: bool) -> None:
        with output_folder(out, force=force):
            write("early", force=force)

    for force in (False, True):
        with pytest.raises(OutputError, match="another process wrote it meanwhile"):
            write_late(force=force)
        assert sorted(path.name for path in out.iterdir()) == ["early", "manifest.json"]
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_dead_processes_left_is_collected_and_what_living_ones_hold_is_not(tmp_path: Path) -> None:
    dead = [".out.tmp-0a1b2c3d", ".out.tmp-4711", ".out.counting", ".out.preparing", ".out.partial"]
    others = [".out.tmpfile", ".other.tmp-1234", ".out.partial.txt"]
    for name in (*dead, *others):
        (tmp_path / name / "shards").mkdir(parents=True)
    held = tmp_path / ".out.tmp-beef"
    held.mkdir()
    script = (
        "import sys; from pathlib import Path; from vocabkit.core.folders import hold_folder\n"
        "with hold_folder(Path(sys.argv[1]), Path(), 'writing'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with output_folder(tmp_path / "out"):
            pass
        assert {path.name for path in tmp_path.iterdir()} == {"out", held.name, *others}
        holder.kill()
    with output_folder(tmp_path / "out"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"out", *others}


def test_a_folder_killed_off_its_name_gets_it_back(tmp_path: Path) -> None:
    """What a kill leaves where two folders cannot be exchanged at once."""
    (tmp_path / ".out.old-0a1b2c3d").mkdir()
    (tmp_path / ".out.old-0a1b2c3d" / "years").touch()
    with pytest.raises(OutputError, match="not empty"):
        check_output(tmp_path / "out", force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "years").exists()


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
