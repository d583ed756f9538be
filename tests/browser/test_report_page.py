"""The page of an audit as its reader meets it: on a screen, a telephone, in the dark, read aloud."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import vocabkit as vk
from tests.browser.conftest import Open, Opened
from tests.browser.samples import LATIN, SENTENCES, write_corpus, write_tokenizers

pytestmark = pytest.mark.slow
NAMES = ("latin", "wide", "bytes")


class Report:
    """An audit of three tokenizers on twelve languages, of which one loses eight, and its page."""

    def __init__(self, folder: Path) -> None:
        self.tokenizers, self.text = write_tokenizers(folder / "tokenizers"), write_corpus(folder / "text")
        require = ["premium.mean<1.15", "unknown_characters<5%"]
        self.audit = vk.audit(
            self.tokenizers, self.text, folder / "report", aligned="yes", resamples=100, require=require,
            workers=1,
        )  # fmt: skip
        self.page = folder / "report" / "report.html"
        self.called = {one.code: one.name for one in self.audit.languages}

    def find(self, metric: str, tokenizer: str) -> dict[str, float | None]:
        """Return the values of a metric by what people call the language."""
        chosen = self.audit.select(metric, "language", tokenizer=tokenizer)
        return {self.called[figure.name]: figure.value for figure in chosen}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return Report(tmp_path_factory.mktemp("report"))


def read_heat(page: Opened) -> dict[str, dict[str, str]]:
    """Return the cells of the table by language, in its order, and column."""
    heads = [text.strip() for text in page.page.locator("#heat thead th").all_text_contents()]
    rows = {}
    for row in page.page.locator("#heat tbody:not(.means) tr").all():
        first, *cells = [text.strip() for text in row.locator("th, td").all_text_contents()]
        rows[first.rstrip("⚠").strip()] = dict(zip(heads[1:], cells, strict=True))
    return rows


@pytest.mark.parametrize(
    ("width", "dark"), [(390, False), (390, True), (768, False), (1400, False), (1400, True)]
)
def test_nothing_is_fetched_said_or_out_of_reach(
    open_page: Open, report: Report, width: int, dark: bool
) -> None:
    page = open_page(report.page, width=width, dark=dark)
    assert page.find_wide() == []
    for part in page.page.locator("details > summary").all():
        if part.is_visible():
            part.click()
    page.page.locator("#filter").click()
    assert page.find_wide() == []
    assert page.find_violations() == []
    assert page.requests == [report.page.as_uri()]
    assert page.errors == []


def test_the_first_screen_answers_the_first_two_questions(open_page: Open, report: Report) -> None:
    page = open_page(report.page, width=1400)
    for selector in ("#verdict", "#heat tbody tr"):
        box = page.page.locator(selector).first.bounding_box()
        assert box is not None
        assert box["y"] + min(box["height"], 60) < 900
    verdict = page.page.locator("#verdict").inner_text()
    assert all(name in verdict for name in NAMES)


def test_the_table_is_the_audits(open_page: Open, report: Report) -> None:
    page = open_page(report.page)
    heat = read_heat(page)
    assert set(heat) == set(report.called.values())
    for name in NAMES:
        for language, value in report.find("premium", name).items():
            shown = heat[language][name]
            assert shown == "lost" if value is None else float(shown) == pytest.approx(value, abs=0.006)
    # By another figure.
    page.page.locator("#metric").select_option("characters_per_token")
    for language, value in report.find("characters_per_token", "wide").items():
        assert value is not None
        assert float(read_heat(page)[language]["wide"]) == pytest.approx(value, abs=0.006)
    assert page.errors == []


def test_search_finds_languages_by_name_code_and_without_marks(open_page: Open, report: Report) -> None:
    page = open_page(report.page, width=390)
    for said, codes in {
        "YORU": ["yor_Latn"],
        "mya": ["mya_Mymr"],
        "greek, tamil": ["ell_Grek", "tam_Taml"],
        "xx": [],
    }.items():
        page.page.locator("#search").fill(said)
        assert set(read_heat(page)) == {report.called[code] for code in codes}
        assert page.page.locator("#count").inner_text().startswith(f"{len(codes)} of 12")
        assert page.find_wide() == []
    page.page.locator("#search").fill("")
    assert len(read_heat(page)) == 12
    assert page.errors == []


def test_filters_narrow_and_toggles_take_columns_away(open_page: Open, report: Report) -> None:
    page = open_page(report.page)
    page.page.locator("#filter").click()
    script = page.page.locator("#f-script")
    latin = next(text for text in script.locator("option").all_text_contents() if re.match("Lat", text))
    assert "(4)" in latin
    script.select_option(label=latin)
    assert set(read_heat(page)) == {report.called[code] for code in LATIN}
    script.select_option(value="")
    page.page.locator("#toggles label", has_text="bytes").locator("input").uncheck()
    heat = read_heat(page)
    assert len(heat) == 12
    assert all(set(row) == {"latin", "wide"} for row in heat.values())
    page.page.locator("#ranking > summary").click()
    assert "bytes" not in page.page.locator("#ranked .plot").inner_text()
    page.page.locator("#toggles label", has_text="bytes").locator("input").check()
    assert set(next(iter(read_heat(page).values()))) == set(NAMES)
    assert page.errors == []


def test_names_sort_from_a_to_z_and_numbers_from_the_dearest(open_page: Open, report: Report) -> None:
    page = open_page(report.page)
    heading = page.page.locator("#heat thead button")
    heading.nth(0).click()
    names = list(read_heat(page))
    assert names == sorted(report.called.values(), key=str.casefold)
    heading.nth(0).click()
    assert list(read_heat(page)) == names[::-1]
    heading.nth(3).click()
    values = report.find("premium", "bytes")
    assert [values[name] for name in read_heat(page)] == sorted(
        values.values(), key=lambda value: -(value or 0)
    )
    # What is lost is dearer than anything.
    heading.nth(1).click()
    shown = [row["latin"] for row in read_heat(page).values()]
    assert shown[:8] == ["lost"] * 8
    assert "lost" not in shown[8:]
    assert page.errors == []


def test_a_pair_of_tokenizers_shows_the_changes_that_compare_gives(open_page: Open, report: Report) -> None:
    page = open_page(report.page)
    page.page.locator("#from").select_option(label="bytes")
    page.page.locator("#to").select_option(label="wide")
    _, wide, by_bytes = report.tokenizers
    found = vk.compare(by_bytes, wide, report.text, aligned="yes", resamples=100, workers=1)
    less = sum((change.high or 0.0) < 0 for change in found.changes)
    assert f"fewer tokens for {less} of 12 languages" in page.page.locator("#pair-said").inner_text()
    said = " ".join(page.page.locator("#pair .plot text").all_text_contents())
    for change in found.changes:
        assert change.value is not None
        assert f"{change.value:+.0%}"[:-1] in said.replace("−", "-")
    # A pair of which one loses text says so.
    page.page.locator("#to").select_option(label="latin")
    assert "not comparable for 8" in page.page.locator("#pair-said").inner_text()
    assert page.errors == []


def test_a_sentence_is_cut_as_every_tokenizer_cuts_it(open_page: Open, report: Report) -> None:
    page = open_page(report.page, width=390)
    code = "deu_Latn"
    page.page.locator("#see-beside").select_option("")
    page.page.locator("#see-language").select_option(code)
    said = page.page.locator("#see-it .said").inner_text()
    assert any(sentence in said for sentence in SENTENCES[code])
    rows = page.page.locator("#see-it .cut")
    assert rows.count() == 3
    for name, path, row in zip(NAMES, report.tokenizers, rows.all(), strict=True):
        (ids,) = vk.open_tokenizer(path).encode_batch([said])
        assert name in row.inner_text()
        assert row.locator(".piece").count() == len(ids)
    page.page.locator("#see-bytes").check()
    assert page.page.locator("#see-it .hex").count() > 0
    assert page.find_wide() == []
    assert page.find_violations() == []
    assert page.errors == []


UNDRAWN = """() => [...document.querySelectorAll("figure.chart")]
    .filter((one) => one.clientWidth && !one.querySelector(".plot svg")).map((one) => one.textContent)"""


def test_every_chart_is_drawn_where_it_is_seen_and_on_paper(open_page: Open, report: Report) -> None:
    page = open_page(report.page, width=390)
    figures = [one for one in page.page.locator("figure.chart").all() if one.is_visible()]
    assert len(figures) >= 6
    for figure in figures:
        figure.scroll_into_view_if_needed()
        figure.locator(".plot svg").first.wait_for()
    assert page.find_wide() == []
    printed = open_page(report.page)
    assert printed.page.pdf().startswith(b"%PDF")
    assert printed.read(UNDRAWN) == []
    assert printed.errors == []


def test_the_table_is_saved_as_it_stands(open_page: Open, report: Report, tmp_path: Path) -> None:
    page = open_page(report.page, dark=True)
    page.page.locator("#search").fill("yor, greek")
    heat = read_heat(page)
    for kind in ("SVG", "PNG"):
        with page.page.expect_download() as download:
            page.page.locator("#who .tools button", has_text=kind).click()
        download.value.save_as(tmp_path / kind)
        assert download.value.suggested_filename == f"premium-by-language-and-tokenizer.{kind.lower()}"
    root = ElementTree.fromstring((tmp_path / "SVG").read_bytes())
    texts = {"".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {*heat, *NAMES, *(cell for row in heat.values() for cell in row.values())}
    assert (tmp_path / "PNG").read_bytes().startswith(b"\x89PNG")
    # Nothing of it stays on the page.
    assert page.page.locator(".aside").count() == 0
    assert page.find_wide() == []
    assert page.errors == []


def test_every_control_is_reached_by_keyboard(open_page: Open, report: Report) -> None:
    page = open_page(report.page)
    reached = set()
    for _ in range(40):
        page.page.keyboard.press("Tab")
        reached.add(page.read("document.activeElement.id || document.activeElement.tagName"))
    assert {"theme", "search", "metric", "filter"} <= reached
    # A heading is pressed with the keyboard, and stays where the reader is.
    page.page.locator("#heat thead button").nth(0).focus()
    page.page.keyboard.press("Enter")
    assert page.read("document.activeElement.closest('th') !== null")
    assert page.page.locator("#heat thead th").nth(0).get_attribute("aria-sort") == "ascending"
