import re
import sys

import pytest

from vocabkit.core import progress
from vocabkit.core.progress import Silent, tell, watch


def test_a_log_gets_lines_and_a_quiet_one_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    for quiet in (False, True):
        shown = watch(quiet)
        shown.start("training", 40, "steps")
        shown.advance(10)
        tell(shown, "loss 3.500, 1,200 tokens/s", 12_000.0)
        shown.finish()
        said = capsys.readouterr().err.splitlines()
        if quiet:
            assert said == []
            continue
        assert said[0] == "training: 10 of 40 steps, loss 3.500, 1,200 tokens/s, 3 h 20 min left"
        assert re.fullmatch(r"training: 10 of 40 steps, ended after \d+ s", said[1])
        assert len(said) == 2


def test_a_line_each_time_that_it_was_quiet_for_long_enough(capsys: pytest.CaptureFixture[str]) -> None:
    # At no seconds every step forward is written of; at a day none is, nor is the end of what nobody heard of.
    for every, lines in ((0.0, 3), (86_400.0, 0)):
        log = progress._Log(every)
        log.start("counting", 5_000_000, "B")
        log.advance(1_000_000)
        log.advance(4_000_000)
        log.finish()
        log.start("merging")
        log.finish()
        said = capsys.readouterr().err.splitlines()
        assert len(said) == lines
        if lines:
            assert said[0].startswith("counting: 1.0 MB of 5.0 MB, 0 s so far, ")
            assert said[1].startswith("counting: 5.0 MB of 5.0 MB, ")


def test_an_object_of_three_methods_is_enough() -> None:
    class Own:
        def start(self, label: str, total: int | None = None, unit: str = "") -> None: ...

        def advance(self, amount: int) -> None: ...

        def finish(self) -> None: ...

    tell(Own(), "loss 1.0")
    tell(Silent(), "loss 1.0")
