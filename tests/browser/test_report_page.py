"""The page of an audit as its reader meets it: on a screen, a telephone, in the dark and read aloud."""

from __future__ import annotations

from pathlib import Path

import pytest

import vocabkit as vk
from tests.browser.conftest import Open
from tests.browser.samples import write_corpus, write_tokenizers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three tokenizers on twelve languages, of which one loses eight."""
    folder = tmp_path_factory.mktemp("report")
    tokenizers, text = write_tokenizers(folder / "tokenizers"), write_corpus(folder / "text")
    require = ["premium.mean<1.15", "unknown_characters<5%"]
    vk.audit(tokenizers, text, folder / "report", aligned="yes", resamples=100, require=require, workers=1)
    return folder / "report" / "report.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_fetched_said_or_out_of_reach(open_page: Open, report: Path, width: int, dark: bool) -> None:
    page = open_page(report, width=width, dark=dark)
    assert page.find_wide() == []
    assert page.find_violations() == []
    assert page.requests == [report.as_uri()]
    assert page.errors == []
