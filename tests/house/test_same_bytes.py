"""The command line gives the bytes it gave: see `same_bytes`, which is run here as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.house.same_bytes import Golden, list_differences
from tests.house.same_bytes_digests import Item, normalise
from tests.house.same_bytes_lanes import ROOT
from tests.house.same_bytes_steps import list_steps


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="steps are forked processes")
def test_every_verb_gives_the_bytes_it_gave() -> None:
    # A process of its own: forking needs one without threads, whose libraries see the right settings.
    done = subprocess.run(
        [sys.executable, "-m", "tests.house.same_bytes"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_difference_is_named_with_its_kind() -> None:
    before = Golden("here", {"fit/a": Item("1"), "fit/b": Item("2"), "fit/c": Item("3")})
    after = Golden("here", {"fit/a": Item("1"), "fit/b": Item("9"), "fit/d": Item("3")})
    assert list_differences(before, after) == [
        ("changed", "fit/b"),
        ("missing", "fit/c"),
        ("new", "fit/d"),
    ]
    assert list_differences(before, Golden.from_text(before.to_text())) == []


def test_numbers_may_differ_a_little_between_machines_only() -> None:
    before, near, far = Item("1", (4, 10, 6)), Item("2", (4, 10.001, 6)), Item("3", (4, 10.1, 6))
    assert before.agrees(near, same_machine=False)
    assert not before.agrees(near, same_machine=True)
    assert not before.agrees(far, same_machine=False)
    assert not Item("1").agrees(Item("2"), same_machine=False)


def test_times_and_places_are_taken_out() -> None:
    text = f'{{"seconds": {{"total": 1.5}}, "path": "{ROOT}/a", "loss": 2.5}} in 3.1 s'
    assert normalise(text, {ROOT: "<ROOT>"}) == '{"seconds": #, "path": "<ROOT>/a", "loss": 2.5} in # s'


def test_steps_have_names_of_their_own() -> None:
    names = [step.name for step in list_steps()]
    assert len(set(names)) == len(names)
