"""What is kept of a text beside its statistics, and when it is not taken from the cache."""

import json
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vocabkit.auditing.parallel_text import AuditText, _text_from_lines
from vocabkit.auditing.text_quality import (
    SWITCHED,
    TextFacts,
    _draw_rows,
    _find_middles,
    _join_halves,
    _load_exemplars,
    _warn_of_text,
    find_facts,
)
from vocabkit.auditing.text_statistics import measure_text
from vocabkit.core.languages import load_panel
from vocabkit.corpus.shard_map import open_executor

LINES = {
    "eng_Latn": [f"the river runs past {i} old houses" for i in range(80)],
    "tha_Thai": [f"แม่น้ำไหลผ่านบ้านเก่า {i} หลัง" for i in range(80)],
    "yor_Latn": ["odò náà ń ṣàn kọjá ilé \ue000"] * 80,
}


class Counting(Executor):
    """Runs each task at once, and counts them."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        with ExitStack() as stack:
            return open_executor(1, 1, stack).submit(fn, *args, **kwargs)


@pytest.fixture
def text() -> AuditText:
    return _text_from_lines(LINES, aligned="yes")


def search(
    text: AuditText,
    cache: Path,
    *,
    seed: int = 0,
    panel: str | None = None,
    reference: str = "eng_Latn",
) -> tuple[TextFacts, int]:
    pool = Counting()
    known = load_panel(panel) if panel else None
    statistics = measure_text(text, cache=cache)
    found = find_facts(text, statistics, panel=known, reference=reference, seed=seed, pool=pool, cache=cache)
    return found, pool.submitted


def switch(text: AuditText, a: str, b: str) -> list[tuple[str, str, str]]:
    rows = _draw_rows(text.alignment.lines or 0, 0, SWITCHED)
    one, two = ([text.languages[code][row] for row in rows] for code in (a, b))
    return list(_join_halves(one, _find_middles(one, a), two, _find_middles(two, b)))


def same(one: TextFacts, two: TextFacts) -> bool:
    return (one.exemplars, one.switched, one.warnings) == (
        two.exemplars,
        two.switched,
        two.warnings,
    )


def files(cache: Path) -> Sequence[Path]:
    return sorted(cache.glob("*.json"))


def test_they_are_what_each_module_finds(text: AuditText, tmp_path: Path) -> None:
    found, jobs = search(text, tmp_path)
    assert jobs > 0
    assert found.exemplars == {code: _load_exemplars(code) for code in LINES}
    assert list(found.switched) == ["tha_Thai", "yor_Latn"]
    for code, lines in found.switched.items():
        assert lines == switch(text, "eng_Latn", code)
    assert list(found.warnings) == _warn_of_text(text, measure_text(text, cache=tmp_path))
    assert {"private_use", "duplicate_lines"} <= {warned.check for warned in found.warnings}


def test_kept_they_are_the_same_and_nothing_is_searched(text: AuditText, tmp_path: Path) -> None:
    first, _ = search(text, tmp_path)
    again, jobs = search(text, tmp_path)
    assert jobs == 0
    assert same(first, again)
    # Middles serve whatever the reference.
    other, jobs = search(text, tmp_path, reference="tha_Thai")
    assert jobs == 0
    assert other.switched["yor_Latn"] == switch(text, "tha_Thai", "yor_Latn")


def test_another_text_seed_or_panel_is_searched_anew(text: AuditText, tmp_path: Path) -> None:
    first, _ = search(text, tmp_path)
    drawn, jobs = search(text, tmp_path, seed=1)
    assert jobs > 0
    assert drawn.switched != first.switched
    assert search(text, tmp_path, panel="panels/panel-40")[1] > 0
    longer = _text_from_lines({code: [*lines, "one more"] for code, lines in LINES.items()}, aligned="yes")
    assert search(longer, tmp_path)[1] > 0
    assert len(files(tmp_path)) == 4


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", '{"exemplars": {}}', "short", "words"],
)
def test_a_damaged_file_is_found_anew(text: AuditText, tmp_path: Path, damage: str) -> None:
    first, _ = search(text, tmp_path)
    (path,) = files(tmp_path)
    good = json.loads(path.read_text(encoding="utf-8"))
    if damage in ("short", "words"):
        cuts = good["middles"]["tha_Thai"]
        good["middles"]["tha_Thai"] = cuts[1:] if damage == "short" else ["3", *cuts[1:]]
        damage = json.dumps(good)
    path.write_text(damage, encoding="utf-8")
    again, jobs = search(text, tmp_path)
    assert jobs > 0
    assert same(first, again)
    assert search(text, tmp_path)[1] == 0


def test_a_text_without_the_reference_has_no_switched_lines(tmp_path: Path) -> None:
    loose = _text_from_lines({"tha_Thai": LINES["tha_Thai"], "yor_Latn": LINES["yor_Latn"][:9]})
    assert search(loose, tmp_path)[0].switched == {}
    aligned = _text_from_lines({code: LINES[code] for code in ("tha_Thai", "yor_Latn")}, aligned="yes")
    assert search(aligned, tmp_path)[0].switched == {}


def test_a_cache_that_cannot_be_written_stops_nothing(text: AuditText, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found, _ = search(replace(text), tmp_path / "file")
    assert found.warnings
