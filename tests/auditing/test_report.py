"""The page of an audit: every number is the audit's, all text is escaped, and nothing foreign can run."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from vocabkit.auditing.figures import Audited, Figure, Finding, Scope, Sentence, Severity, Warned
from vocabkit.auditing.page import _Page, _sort_findings, crop_example, render_report
from vocabkit.auditing.report import Audit
from vocabkit.auditing.requirements import ALLOCATION, parse_requirement
from vocabkit.core.pages import Chart

ATTACK = "</script><script>document.title='owned'</script><b title=\"x\" onload='y'>"
ARABIC = "\u2068\u0648\u0627\u0644\u2069"
CODES = {"eng_Latn": 1.0, "yor_Latn": 2.5, "mya_Mymr": 3.25, "arb_Arab": 1.5, "bod_Tibt": None}


def figures_of(tokenizer: str, factor: float) -> Iterator[Figure]:
    def figure(scope: Scope, name: str, metric: str, value: float | None, **rest: object) -> Figure:
        unit = "share of characters" if metric == "unknown_characters" else "× eng_Latn"
        return Figure(tokenizer, scope, name, metric, value, unit, "ratio of sums", **rest)  # type: ignore[arg-type]

    for code, value in CODES.items():
        if value is None:
            yield figure("language", code, "premium", None, note="no words: <b>unsupported</b>")
            continue
        cost = value * factor
        yield figure("language", code, "premium", cost, low=cost * 0.96, high=cost * 1.04, n=1997)
        yield figure("language", code, "unknown_characters", 0.002 * (value - 1.0), n=5)
        yield figure("language", code, "fertility", cost * 1.2, n=1997)
        yield figure("language", code, "resource_size", 10.0 ** (7.0 - value), n=1997)
        yield figure("language", code, "characters_per_token", 5.0 / cost, n=1997)
        yield figure("language", code, "tokens", 4321.0 * cost, n=1997)
    for statistic in ("mean", "bottom_decile"):
        yield figure("overall", "all", f"premium.{statistic}", 2.0 * factor, low=1.9, high=2.1, n=4)
        yield figure("script", "Latn", f"premium.{statistic}", 1.75 * factor, n=2)
        yield figure("script", "Mymr", f"premium.{statistic}", 3.25 * factor, n=1)
    yield figure("vocabulary", "all", "embedding_parameters", 768.0 * 250_000 * factor)
    for group, share, text in (("Latin", 1.3, 0.4), ("Brahmic", 0.2, 0.6)):
        yield figure("vocabulary", group, "allocation_characters", share / factor)
        yield figure("vocabulary", group, "vocabulary_share", text * share / factor)
        yield figure("vocabulary", group, "corpus_share_characters", text)
    for length in ("1", "2", "16 or more"):
        yield figure("vocabulary", length, "pieces_of_length", 0.1 * factor)


def make_audit(names: tuple[str, ...] = ("shared", ATTACK)) -> Audit:
    cuts = {name: ("Ẹ", (0xE1, 0xBA), (0xB8,), f" {ATTACK}", ()) for name in names}
    return Audit(
        figures=tuple(f for i, name in enumerate(names) for f in figures_of(name, 1.0 + 0.2 * i)),
        tokenizers=tuple(Audited(n, f"/models/{n}", 250_000, "sentencepiece", "ab12") for n in names),
        findings=(
            Finding(names[0], "duplicates", "note", 2, 250_000, "equal under NFKC", (ATTACK, ARABIC, "✱" * 64)),
            Finding(names[0], "digits: thai", "warning", 216, 108, "bytes"),
            Finding(names[0], "junk: long", "fine", 0, 9, "nothing"),
            Finding(names[0], "round_trip", "failure", 7, 1997, "bytes differ", ("\\xe1\\xba",)),
        ),
        warnings=(
            Warned("mya_Mymr", "zawgyi", 0.93, 930, 1000, f"reads as Zawgyi {ATTACK}", ("\u1031\u1010",)),
        ),
        method={"segmenter": "ICU 78.3", "reference": "eng_Latn"},
        failures={"sat_Olck": "not UTF-8: byte 0xff in line 3"},
        sentences=(Sentence("yor_Latn", 7, True, f"ẸṸ {ATTACK}", cuts),),
    )


class Page(HTMLParser):
    """What a parser sees: tags that open and close, the text of cells and scripts, and every attribute."""

    VOID = frozenset({"meta", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
            return
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r" ([:;,.])", r"\1", " ".join(" ".join(self.words).split()))

    @property
    def data(self) -> list[Any]:
        return [json.loads(content) for kind, content in self.scripts if kind == "application/json"]

    def row(self, *start: str) -> list[str]:
        for cells in self.cells:
            shown = [" ".join(cell.split()) for cell in cells]
            if shown[: len(start)] == list(start):
                return shown
        raise AssertionError(f"no row begins with {start}")


@pytest.fixture(scope="module")
def text() -> str:
    return render_report(make_audit())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def told(page: Page) -> Any:
    """What the page's script is given."""
    return next(one for one in page.data if "tokenizers" in one)


def chart(page: Page, title: str) -> Any:
    return next(one for one in page.data if one.get("title") == title)


# --- What can run, and what is text ------------------------------------------------------------------


def test_the_page_is_well_formed_and_needs_no_network(text: str, page: Page) -> None:
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object"}
        assert "src" not in attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    # The name of SVG's elements is no address.
    assert set(re.findall(r"https?://[^\"'\s]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text


def test_links_within_the_page_lead_somewhere(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {(a["href"] or "")[1:] for tag, a in page.tags if tag == "a"}
    assert len(links) > 7
    assert links <= ids
    # Those that the script makes too: every metric that can be chosen has its definition.
    assert {f"m-{one['key']}" for one in told(page)["metrics"]} <= ids


def test_text_that_is_markup_stays_text(page: Page) -> None:
    assert [kind for kind, _ in page.scripts].count(None) == 1
    assert "b" in [tag for tag, _ in page.tags]
    assert not any("onload" in attributes for _, attributes in page.tags)
    assert ATTACK in page.text
    assert told(page)["tokenizers"] == ["shared", ATTACK]
    assert told(page)["sentences"][0]["pieces"][1][3] == f" {ATTACK}"
    assert crop_example(ATTACK) in page.row("Duplicates")[-1]


HOSTILE = ["x" * 400, "a\u202eb\u0007\u001b[31m", "\u0645\u0631\u062d\u0628\u0627", "<!--", "]]>"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_leave_the_page_whole(name: str) -> None:
    page = Page(render_report(make_audit((name, "other"))))
    assert page.open == []
    assert told(page)["tokenizers"] == [name, "other"]
    assert [kind for kind, _ in page.scripts].count(None) == 1


def test_the_policy_names_the_only_script_and_style(text: str, page: Page) -> None:
    (policy,) = [a["content"] or "" for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    # Images are those that the page makes itself when a chart is saved.
    assert "img-src blob: data:" in policy


def test_equal_audits_give_equal_bytes(tmp_path: Path) -> None:
    make_audit().save(tmp_path / "a")
    make_audit().save(tmp_path / "b")
    first = (tmp_path / "a" / "report.html").read_bytes()
    assert (tmp_path / "b" / "report.html").read_bytes() == first
    assert first.decode() == render_report(make_audit())


def test_a_path_that_is_no_text_is_shown_escaped() -> None:
    audit = Audit((), (Audited("odd", "/models/\udcff.model", 5, "sentencepiece", "ab"),))
    assert "/models/\\udcff.model" in render_report(audit)


def test_an_audit_of_nothing_is_still_a_page() -> None:
    page = Page(render_report(Audit((), (), failures={"yor_Latn": "empty"})))
    assert page.open == []
    assert "Yoruba (yor_Latn): not measured: empty" in page.text
    assert "No language could be measured" in page.text


# --- Every number is the audit's ---------------------------------------------------------------------


def test_every_figure_of_a_language_is_on_the_page_as_the_audit_has_it(page: Page) -> None:
    audit, data = make_audit(), told(page)
    codes = [one["code"] for one in data["languages"]]
    seen = 0
    for metric in data["metrics"]:
        for row, code in enumerate(codes):
            for column, name in enumerate(data["tokenizers"]):
                found = next(audit.select(metric["key"], "language", tokenizer=name, name=code), None)
                value = None if found is None else found.value
                assert metric["values"][row][column] == (value and pytest.approx(value, 1e-5))
                if "low" in metric:
                    ends = (metric["low"][row][column], metric["high"][row][column])
                    wanted = (None, None) if found is None else (found.low, found.high)
                    assert ends == tuple(end and pytest.approx(end, 1e-5) for end in wanted)
                seen += found is not None and found.value is not None
    assert seen == sum(f.value is not None for f in audit.select(scope="language"))


def test_the_table_has_the_headline_figures_in_words_and_as_numbers(page: Page, text: str) -> None:
    audit = make_audit()
    body = text[text.index('<table id="heat">') : text.index("</table>", text.index('<table id="heat">'))]
    rows = re.findall(r'<tr data-code="(\w+)">(.*?)</tr>', body)
    assert [code for code, _ in rows] == ["mya_Mymr", "yor_Latn", "arb_Arab", "eng_Latn", "bod_Tibt"]
    for code, cells in rows:
        values = [float(value) for value in re.findall(r'data-value="([\d.]+)"', cells)]
        wanted = [f.value for f in audit.select("premium", "language", name=code) if f.value is not None]
        assert values == pytest.approx(wanted, 1e-5)
    assert page.row("Burmese") == ["Burmese", "3.25", "3.90"]
    assert page.row("Tibetan") == ["Tibetan", "–", "–"]
    assert 'title="95 %: 3.12 to 3.38"' in text


def test_charts_are_of_the_audits_figures(page: Page) -> None:
    audit = make_audit()
    words = chart(page, "Words that fit into 8k tokens")
    assert words["labels"][0] == "Burmese"
    for series in words["series"]:
        for code, value in zip(words["ids"], series["values"], strict=True):
            (figure,) = audit.select("fertility", "language", tokenizer=series["name"], name=code)
            assert value == pytest.approx(8192 / (figure.value or 0.0), 1e-5)
    spent = chart(page, "Pieces by script")
    assert spent["labels"] == ["shared", ATTACK, "The text"]
    latin = next(one for one in spent["series"] if one["name"] == "Latin")
    assert latin["values"] == pytest.approx([0.4 * 1.3, 0.4 * 1.3 / 1.2, 0.4], 1e-5)
    lengths = chart(page, "Pieces by length")["series"][1]
    assert (lengths["x"], lengths["values"]) == ([1, 2, 16], pytest.approx([0.12] * 3))
    under = chart(page, "Who is under-allocated")
    assert under["labels"] == ["Brahmic", "Latin"]
    assert [value for value, _ in under["marks"]] == [0.5, 1]
    price = chart(page, "Premium against embedding parameters")["series"]
    assert price[1]["values"] == pytest.approx([2.0, 2.4])


def test_a_context_holds_as_many_words_as_its_interval_says() -> None:
    # The dearer end of the tokens is the lower end of the words.
    figures = [replace(f, low=2.0, high=4.0) for f in figures_of("a", 1.0) if f.metric == "fertility"]
    page = Page(render_report(Audit(tuple(figures), (Audited("a", "a", 9, "byte-level", "0"),))))
    series = chart(page, "Words that fit into 8k tokens")["series"][0]
    assert (series["low"][0], series["high"][0]) == (2048, 4096)


def test_changes_between_tokenizers_are_those_that_were_measured() -> None:
    names = ("a", "b", "c")
    changes = [
        Figure(after, "language", "yor_Latn", metric, value, "share more tokens", "x", value - 0.01, 1.0)
        for after, metric, value in (("b", "change", 0.2), ("c", "change", 0.5), ("c", "change.b", 0.25))
    ]
    audit = make_audit(names)
    page = Page(render_report(replace(audit, figures=(*audit.figures, *changes))))
    data = told(page)
    row = [one["code"] for one in data["languages"]].index("yor_Latn")
    found = {(one["from"], one["to"]): (one["values"][row], one["low"][row]) for one in data["changes"]}
    assert found == {(0, 1): (0.2, 0.19), (0, 2): (0.5, 0.49), (1, 2): (0.25, 0.24)}
    assert not any(one["key"].startswith("change") for one in data["metrics"])


def test_sentences_keep_their_bytes(page: Page) -> None:
    (sentence,) = told(page)["sentences"]
    assert sentence["text"] == f"ẸṸ {ATTACK}"
    assert sentence["pieces"][0][:3] == ["Ẹ", [0xE1, 0xBA], [0xB8]]
    # An unknown token has no bytes.
    assert sentence["pieces"][0][4] == []


# --- The verdict, and what is missing ----------------------------------------------------------------


def test_the_verdict_is_a_sentence_a_tokenizer(page: Page) -> None:
    assert "Burmese pays 3.2 times English; 1 of 4 languages above 2.5; some rare characters" in page.text
    assert "Burmese pays 3.9 times English; 2 of 4 languages above 2.5" in page.text


def test_the_verdict_comes_before_the_table_and_that_before_the_rest(text: str) -> None:
    order = [
        text.index(f'<section id="{name}"') for name in ("verdict", "who", "see", "cost", "spent", "integrity")
    ]
    assert order == sorted(order)


def test_what_was_required_is_judged_for_every_tokenizer() -> None:
    limits = ("premium.mean<2.2", "fertility[yor_Latn]<=9")
    page = Page(
        render_report(
            replace(make_audit(("a", "b")), failures={}, required=tuple(map(parse_requirement, limits)))
        )
    )
    assert "premium.mean<2.2 ✓ a 2.00 ✗ b 2.40" in page.text
    assert "fertility[yor_Latn]<=9 ✓ a 3.00 ✓ b 3.60" in page.text
    assert "1 of 4 requirements not met" in page.text


def test_what_is_required_and_not_measured_leaves_the_page_there() -> None:
    page = Page(render_report(replace(make_audit(), required=(parse_requirement("cost_of_sharing<2"),))))
    assert "cost_of_sharing" in page.text
    assert page.open == []


def test_what_to_distrust_is_named(page: Page) -> None:
    assert "Text of Burmese: zawgyi (93 %): reads as Zawgyi" in page.text.replace("\u00a0", " ")
    assert "Santali (sat_Olck): not measured: not UTF-8: byte 0xff in line 3" in page.text
    assert "Tibetan: no premium: no words: <b>unsupported</b>" in page.text


def test_a_short_or_unaligned_text_is_doubted() -> None:
    figures = [replace(f, n=12) if f.metric == "tokens" else f for f in make_audit(("a",)).figures]
    figures = [replace(f, value=None, note="x") if f.metric == "premium" else f for f in figures]
    audit = replace(make_audit(("a",)), figures=tuple(figures), method={"alignment": "one line short"})
    page = Page(render_report(audit))
    assert "Not aligned: one line short: costs are by word" in page.text
    assert "only 12 lines" in page.text
    assert "Burmese needs 3.9 tokens a word" in page.text


def uneven() -> Audit:
    """Tokenizer a loses two of three languages, and would look the best by its mean."""
    values = {"eng_Latn": (1.0, 1.0), "lao_Laoo": (None, 3.0), "tha_Thai": (None, 2.0)}
    figures = []
    for k, tokenizer in enumerate("ab"):
        held = [pair[k] for pair in values.values() if pair[k] is not None]
        for code, pair in values.items():
            note = "90.0% of the characters are lost in unknown tokens" if pair[k] is None else None
            figures += [
                Figure(tokenizer, "language", code, "premium", pair[k], "× eng_Latn", "r", note=note),
                Figure(tokenizer, "language", code, "unknown_characters", 0.9 if note else 0.0, "share", "r"),
            ]
        n, mean = len(held), sum(v or 0.0 for v in held) / len(held)
        for metric, value, count in (("premium.mean", mean, n), ("premium.mean_common", 1.0, 1)):
            figures.append(Figure(tokenizer, "overall", "all", metric, value, "× eng_Latn", "m", n=count))
        lost = float(3 - n)
        figures.append(Figure(tokenizer, "overall", "all", "languages_lost", lost, "languages", "c", n=3))
    names = tuple(Audited(name, name, 10, "byte-level", "00") for name in "ab")
    return Audit(tuple(figures), names)


def test_lost_languages_are_marked_in_the_verdict_the_table_and_the_charts() -> None:
    page = Page(render_report(uneven()))
    assert page.row("Lao") == ["Lao", "lost", "3.00"]
    assert "Lao, Thai are lost in unknown tokens" in page.text
    data = told(page)
    gaps = {one["code"]: one["gaps"] for one in data["languages"]}
    assert gaps == {"lao_Laoo": ["lost", ""], "tha_Thai": ["lost", ""], "eng_Latn": ["", ""]}
    means = data["metrics"][0]["means"]
    assert means["mean"] == [[1, "1 of 3"], [2, "3 of 3"]]
    assert means["mean where all have it"] == [[1, "1 of 3"], [1, "1 of 3"]]
    assert "mean 1.00 (1 of 3)" in page.text
    assert "1.00 over the 1 that all have" in page.text
    assert page.row("Premium, mean")[1:3] == ["1.00 (1 of 3)", "2.00 (3 of 3)"]


def test_charts_mark_what_is_lost() -> None:
    audit = uneven()
    fertility = [replace(f, metric="fertility") for f in audit.select("premium", "language")]
    page = Page(render_report(replace(audit, figures=(*audit.figures, *fertility))))
    words = chart(page, "Words that fit into 8k tokens")
    first, second = words["series"]
    assert set(first["gaps"]) == {"", "lost"}
    assert first["gaps"][words["ids"].index("eng_Latn")] == ""
    assert "gaps" not in second


# --- What is read ------------------------------------------------------------------------------------


def test_failures_come_first_and_a_check_stays_together() -> None:
    found = [f.severity for f in _sort_findings(make_audit().findings)]
    assert found == ["failure", "warning", "note", "fine"]
    kinds: tuple[tuple[str, Severity], ...] = (("x", "note"), ("y", "warning"))
    mixed = [Finding(name, check, severity, 1, 2, "") for name in "ab" for check, severity in kinds]
    order = [(found.check, found.tokenizer) for found in _sort_findings(mixed)]
    assert order == [("y", "a"), ("y", "b"), ("x", "a"), ("x", "b")]


@pytest.mark.parametrize(
    ("given", "shown"),
    [("✱" * 64, "✱ ×64"), ("ab" * 40, "ab ×40"), ("=======", "======="), ("short", "short"), ("", "")],
)
def test_long_examples_are_cropped(given: str, shown: str) -> None:
    assert crop_example(given) == shown


def test_an_example_without_a_pattern_is_cut() -> None:
    long = "".join(chr(0x4E00 + n) for n in range(200))
    assert crop_example(long) == long[:47] + "…"


def test_tables_and_regions_say_what_they_are(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table") > 3
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "section")
    # What scrolls sideways can be reached by keyboard.
    boxes = [attributes for _, attributes in page.tags if attributes.get("class") == "scroll"]
    assert boxes
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_the_order_of_languages_is_the_terminals() -> None:
    audit = make_audit()
    rows = [str(row["language"]) for row in audit.to_rows() if row["language"] != "all"]
    assert _Page(audit).ranked == rows


def test_shades_can_be_read_in_both_themes(text: str) -> None:
    style = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)[0]
    colours = {
        name: (light, dark)
        for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", style)
    }
    for theme in (0, 1):
        for level in range(7):
            ink = colours[f"h{level}-ink" if level > 4 else "ink"][theme]
            assert contrast(colours[f"h{level}"][theme], ink) >= 4.5, (level, theme)
        for name in ("quiet", "link", "good", "warn", "bad"):
            for ground in ("page", "card"):
                assert contrast(colours[ground][theme], colours[name][theme]) >= 4.5, (name, theme)
        for place in range(8):
            assert contrast(colours["page"][theme], colours[f"s{place}"][theme]) >= 3.0, (place, theme)


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one[1:]), luminance(other[1:])))[::-1]
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, as the accessibility guidelines define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_fifteen_languages_and_four_tokenizers_stay_small() -> None:
    # As much as a real audit of them holds: 26 metrics with intervals, 100 scripts, and 5 sentences a language.
    codes = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}x_Latn" for n in range(15)]
    names = ("one", "two", "three", "four")
    figures = [
        Figure(
            name, "language", code, metric, 1.23456789 + n, "ratio", "ratio of sums", 1.1111111, 1.3333333, 1997
        )
        for name in names
        for n, code in enumerate(codes)
        for metric in ("premium", "fertility", *(f"m{k}" for k in range(24)))
    ]
    scripts = [f"{chr(65 + n // 26)}{chr(97 + n % 26)}qa" for n in range(100)]
    figures += [
        Figure(name, "vocabulary", script, metric, 0.123456789, "share", "share of sums", n=250_000)
        for name in names
        for script in scripts
        for metric in (
            "pieces",
            "vocabulary_share",
            "corpus_share_characters",
            *ALLOCATION,
        )
    ]
    line = "မြန်မာ စကား " * 12
    cut = tuple(line[n : n + 2] for n in range(0, len(line), 2))
    places = [(code, k) for code in codes for k in range(5)]
    sentences = tuple(Sentence(code, k, True, line, dict.fromkeys(names, cut)) for code, k in places)
    audited = tuple(Audited(name, name, 250_000, "byte-level", "00") for name in names)
    text = render_report(Audit(tuple(figures), audited, sentences=sentences))
    assert 200_000 < len(text.encode()) < 600_000


def test_every_chart_is_there_for_a_paper_with_the_audits_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    audit = make_audit()
    charts = audit.charts()
    assert list(charts) == [
        "languages", "table", "words", "resources", "parameters", "scripts", "lengths", "allocation",
    ]  # fmt: skip
    for name in charts:
        # A tokenizer is called after markup and a formula's signs: both are only letters.
        audit.plot(name).save(tmp_path / f"{name}.svg")
        ElementTree.fromstring((tmp_path / f"{name}.svg").read_bytes())
    chart = charts["languages"]
    assert isinstance(chart, Chart)
    for series in chart.series:
        own = {f.name: f for f in audit.select("premium", "language", tokenizer=series.name)}
        assert list(series.values) == [own[code].value for code in chart.ids]
        assert list(series.low) == [own[code].low for code in chart.ids]
    assert not Audit((), ()).charts()
