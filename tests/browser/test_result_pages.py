"""The pages of `compare` and `allocate`, and what every page does: sort, list numbers, change theme, save."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest

import vocabkit as vk
from tests.browser.conftest import Open, Opened
from tests.browser.samples import SENTENCES, write_corpus, write_tokenizers
from vocabkit.core.pages import Chart, Said, Section, Series, render_sections

pytestmark = pytest.mark.slow
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by name: two comparisons (one loses text), an allocation, and 40 curves that end close together."""
    folder = tmp_path_factory.mktemp("pages")
    latin, wide, by_bytes = write_tokenizers(folder / "tokenizers")
    text = write_corpus(folder / "text")
    found = {}
    for name, pair in {"comparison": (by_bytes, wide), "lossy": (latin, by_bytes)}.items():
        vk.compare(*pair, text, folder / name, aligned="yes", resamples=100, workers=1)
        found[name] = folder / name / "comparison.html"
    counts = vk.count(text, folder / "counts", workers=1)
    vk.allocate(counts, folder / "allocation", budget=150, method="maxmin", languages=list(SENTENCES)[:5])
    found["allocation"] = folder / "allocation" / "report.html"
    series = [
        Series(f"Language {k:02}", [2.0, 1.0 + 0.001 * k], x=[100.0, 9000.0 - k], marked=[1]) for k in range(40)
    ]
    chart = Chart(
        "lines", "Curves of 40", "Forty.", series, axis="tokens", across="pieces", logarithmic=True,
        x_logarithmic=True,
    )  # fmt: skip
    found["curves"] = folder / "curves.html"
    page = render_sections("Curves", [Said("Forty curves.")], [Section("All", [chart])], method={})
    found["curves"].write_text(page, encoding="utf-8")
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("name", ["comparison", "lossy", "allocation", "curves"])
def test_nothing_is_fetched_said_or_out_of_reach(
    open_page: Open, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    page = open_page(pages[name], width=width, dark=dark)
    page.page.wait_for_selector("figure svg")
    assert page.find_wide() == []
    assert page.find_violations() == []
    assert page.requests == [pages[name].as_uri()]
    assert page.errors == []


def test_what_is_wrong_with_a_page_is_found(open_page: Open, pages: dict[str, Path]) -> None:
    # Else the test above would pass whatever the page is.
    page = open_page(pages["comparison"], width=390)
    page.read(
        "document.querySelector('main').append(Object.assign(document.createElement('img'), {width: 900}))"
    )
    page.read("console.error('said'), fetch('/none').catch(() => 0)")
    assert page.find_wide()
    assert any(line.startswith("image-alt") for line in page.find_violations())
    assert len(page.errors) >= 1
    assert "said" in page.errors


def list_column(page: Opened, column: int) -> list[str]:
    """Return the texts of a column of the first table, from the top."""
    cells = page.page.locator(f"table.sortable >> nth=0 >> tbody tr > :nth-child({column + 1})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_the_verdict_comes_first_and_tables_sort(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["comparison"], width=390)
    verdict = page.page.get_by_text("Fails: 4 of 12 languages need over 2 % more tokens.")
    box = verdict.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 450
    buttons = page.page.locator("table.sortable >> nth=0 >> thead button")
    buttons.nth(0).click()
    names = list_column(page, 0)
    assert names == sorted(names, key=str.casefold)
    buttons.nth(1).click()
    changes = list_column(page, 1)
    assert changes == sorted(changes, key=read_share, reverse=True)
    buttons.nth(1).click()
    assert list_column(page, 1) == changes[::-1]
    assert page.errors == []


def read_share(text: str) -> float:
    """Return the number that a cell such as `+1.25%` holds."""
    return float(text.rstrip("%"))


def test_lost_languages_are_named_on_the_page(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["lossy"])
    assert list_column(page, 1).count("lost") == 8
    assert page.page.locator("figure svg text", has_text="lost").count() == 8


def test_forty_curves_have_names_of_their_own_and_one_can_be_chosen(
    open_page: Open, pages: dict[str, Path]
) -> None:
    page = open_page(pages["curves"], width=390)
    page.page.wait_for_selector("figure svg")
    names = page.page.locator("figure svg text", has_text="Lang")
    boxes = [box for one in names.all() if (box := one.bounding_box()) is not None]
    assert len(boxes) == 40
    rows = sorted(box["y"] for box in boxes)
    # Twelve pixels of letters, thirteen apart.
    assert min(b - a for a, b in itertools.pairwise(rows)) >= 12
    assert all(box["x"] + box["width"] <= 390 for box in boxes)
    page.page.get_by_label("Curve to show in colour").select_option(label="Language 17")
    told = page.page.locator("figure svg path.curve.told")
    assert told.count() == 1
    assert told.locator("title").text_content() == "Language 17"
    assert page.errors == []


def test_a_chart_is_saved_as_it_is_drawn_and_for_white_paper(
    open_page: Open, pages: dict[str, Path], tmp_path: Path
) -> None:
    page = open_page(pages["comparison"], dark=True)
    page.page.wait_for_selector("figure svg")
    for kind in ("SVG", "PNG"):
        with page.page.expect_download() as download:
            page.page.get_by_role("button", name=f"Save {kind}").first.click()
        download.value.save_as(tmp_path / kind)
        assert download.value.suggested_filename == f"change-in-tokens-by-language.{kind.lower()}"
    root = ElementTree.fromstring((tmp_path / "SVG").read_bytes())
    (ground, *_) = root.findall(f"{SVG}rect")
    assert ground.get("fill") in ("#ffffff", "rgb(255, 255, 255)")
    texts = ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]
    assert sum(text.endswith("\u00a0%") and text[0] in "+-" for text in texts) >= 12
    assert not [one for one in root.iter() if one.get("class") or one.get("style")]
    # Letters are dark on it, although the page is not.
    inks = {one.get("fill") for one in root.iter(f"{SVG}text")}
    assert all(sum(map(int, ink[4:-1].split(","))) < 400 for ink in inks if ink and ink.startswith("rgb("))
    head = (tmp_path / "PNG").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    wide, _ = struct.unpack(">II", head[16:])
    assert wide == 3 * int(float(root.get("width") or 0))
    assert page.errors == []


def test_the_theme_changes_and_numbers_stand_beside_a_chart(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["comparison"])
    grounds = set()
    for _ in range(3):
        page.page.locator("#theme").click()
        grounds.add(page.read("getComputedStyle(document.body).backgroundColor"))
        assert page.find_violations() == []
    assert len(grounds) == 2
    button = page.page.get_by_role("button", name="Numbers").first
    button.click()
    assert page.page.locator(".numbers tbody tr").count() == 12
    assert page.find_violations() == []
    button.click()
    assert page.page.locator(".numbers").count() == 0


def test_without_scripts_and_on_paper_the_figures_are_there(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["comparison"], scripts=False)
    assert page.page.locator("tbody tr").count() == 12
    assert page.page.locator("#theme").is_hidden()
    printed = open_page(pages["comparison"], dark=True)
    printed.page.emulate_media(media="print")
    assert printed.page.get_by_role("button", name="Save SVG").first.is_hidden()
    assert printed.page.locator("tbody tr").count() == 12
