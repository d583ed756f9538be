"""The table of formats and features has no empty cell, every cell holds, and the page says what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vocabulary.formats import CELLS, CHECKS, FEATURES, FORMATS, PAGE, render


def test_no_cell_is_empty() -> None:
    every = {(feature, name) for feature in FEATURES for name in FORMATS}
    assert CELLS.keys() == every
    assert CHECKS.keys() == every


@pytest.mark.parametrize("place", CHECKS, ids="-".join)
def test_a_cell(place: tuple[str, str], tmp_path: Path) -> None:
    CHECKS[place](tmp_path)


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == "\n".join(render()) + "\n", "run `make reference`"
