"""Every bad input of every verb ends as docs/promises.md says, and every test that it names is there."""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import app
from tests.cli.faults import (
    BEGIN,
    CHECKS,
    END,
    FAULTS,
    OTHERWISE,
    PAGE,
    VERBS,
    Cell,
    describe_cell,
    expect,
    list_inputs,
    place_matrix,
    write_world,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    # Not under pytest's folder, which nobody else may enter: a cell becomes nobody.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Path(name, "world")
        folder.mkdir()
        write_world(folder)
        yield folder


@pytest.fixture(scope="module")
def connections() -> list[str]:
    """What is connected to from now on; a hook stays as long as the process."""
    found: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            found.append(f"{event}{arguments}")

    sys.addaudithook(watch)
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_works_and_connects_to_nothing(verb: str, world: Path, connections: list[str]) -> None:
    connections.clear()
    cell = Cell(world, world.parent / "cell", verb)
    try:
        assert cell.run() == "works"
    finally:
        shutil.rmtree(cell.folder)
    assert connections == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_cell(verb: str, fault: str, world: Path) -> None:
    for name in list_inputs(fault, verb):
        cell = Cell(world, world.parent / "cell", verb)
        try:
            assert CHECKS[fault](cell, name) == expect(fault, verb, name)[0], (fault, verb, name)
        finally:
            shutil.rmtree(cell.folder)


def test_no_cell_is_empty() -> None:
    assert all(describe_cell(fault, verb) for fault in FAULTS for verb in VERBS)
    every = {(fault, verb, name) for fault in FAULTS for verb in VERBS for name in list_inputs(fault, verb)}
    assert OTHERWISE.keys() <= every
    # `sample`, `presets` and `demo` read nothing; every other verb has a column.
    named = {command.name for command in app.registered_commands}
    assert named - {"sample", "demo"} == VERBS.keys()


def test_the_page_is_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert END in page
    assert page == place_matrix(page), "run `make reference`"


def test_every_test_that_a_promise_names_is_there() -> None:
    rows = re.findall(r"^\| \*\*.*$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(rows) >= 15
    for row in rows:
        held = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert held, row
        for file, name in held:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            found = {item.name for item in ast.walk(tree) if isinstance(item, ast.FunctionDef)}
            assert name in found, f"{file}::{name}"
