"""The report: all that it is given is there, escaped, and a browser makes of it what is meant."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vocabkit.auditing.figures import Audited, Figure, Finding, Scope, Warned
from vocabkit.auditing.report import Audit, _render_report, _sort_findings, _write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ATTACK = "<script>document.title='owned'</script>"
ARABIC = "\u2068\u0648\u0627\u0644\u2069"
CODES = {"eng_Latn": 1.0, "yor_Latn": 2.5, "mya_Mymr": 3.25, "arb_Arab": 1.5, "bod_Tibt": None}


def figures_of(tokenizer: str, factor: float) -> Iterator[Figure]:
    def figure(scope: Scope, name: str, metric: str, value: float | None, **rest: object) -> Figure:
        unit = "share of characters" if metric == "unknown_characters" else "ratio"
        return Figure(tokenizer, scope, name, metric, value, unit, "ratio of sums", **rest)  # type: ignore[arg-type]

    for code, value in CODES.items():
        if value is None:
            yield figure("language", code, "premium", None, note="no words: <b>unsupported</b>")
            continue
        cost = value * factor
        yield figure("language", code, "premium", cost, low=cost * 0.96, high=cost * 1.04, n=1997)
        yield figure("language", code, "unknown_characters", 0.02 * (value - 1.0), n=5)
        yield figure("language", code, "fertility", cost * 1.2, n=1997)
        yield figure("language", code, "resource_size", 10.0 ** (7.0 - value), n=1997)
        yield figure("language", code, "characters_per_token", 5.0 / cost, n=1997)
    for statistic in ("mean", "bottom_decile"):
        yield figure("overall", "all", f"premium.{statistic}", 2.0 * factor, low=1.9, high=2.1, n=4)
        yield figure("script", "Latn", f"premium.{statistic}", 1.75 * factor, n=2)
    yield figure("vocabulary", "all", "embedding_parameters", 768.0 * 250_000 * factor)
    for script, share in (("Latn", 1.3), ("Mymr", 0.2)):
        yield figure("vocabulary", script, "allocation_characters", share / factor)


def make_audit(names: tuple[str, ...] = ("shared", ATTACK)) -> Audit:
    return Audit(
        figures=tuple(f for i, name in enumerate(names) for f in figures_of(name, 1.0 + 0.2 * i)),
        tokenizers=tuple(Audited(n, f"/models/{n}", 250_000, "sentencepiece", "ab12") for n in names),
        findings=(
            Finding(names[0], "duplicates", "note", 2, 250_000, "equal under NFKC", (ATTACK, ARABIC)),
            Finding(names[0], "digits: thai", "warning", 216, 108, "bytes"),
            Finding(names[0], "junk: long", "fine", 0, 9, "nothing"),
            Finding(names[0], "round_trip", "failure", 7, 1997, "bytes differ", ("\\xe1\\xba",)),
        ),
        warnings=(
            Warned(
                "mya_Mymr",
                "zawgyi",
                0.93,
                930,
                1000,
                f"reads as Zawgyi {ATTACK}",
                ("\u1031\u1010",),
            ),
        ),
        method={"segmenter": "ICU 78.3", "reference": "eng_Latn"},
        failures={"sat_Olck": "not UTF-8: byte 0xff in line 3"},
    )


class Page(HTMLParser):
    """What a parser sees: tags that open and close, the text of cells, and every attribute."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data

    def row(self, *start: str) -> list[str]:
        for cells in self.cells:
            shown = [" ".join(cell.split()) for cell in cells]
            if shown[: len(start)] == list(start):
                return shown
        raise AssertionError(f"no row begins with {start}")


@pytest.fixture(scope="module")
def text() -> str:
    return _render_report(make_audit())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_is_well_formed_and_needs_no_network(text: str, page: Page) -> None:
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object"}
        assert "src" not in attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text


def test_a_token_that_is_markup_stays_text(text: str, page: Page) -> None:
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "<b>" not in text
    assert ATTACK in page.row("duplicates")[-1]
    assert ATTACK in page.row("mya_Mymr", "zawgyi")[5]


def test_the_policy_names_the_only_script_and_style(text: str, page: Page) -> None:
    (policy,) = [a["content"] or "" for _, a in page.tags if "http-equiv" in a]
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_values_intervals_and_notes_are_where_they_belong(page: Page) -> None:
    assert page.row("mya_Mymr", "3.25 3.12 to 3.38", "3.90 3.74 to 4.06")
    assert page.row("yor_Latn", "3 %", "3 %")
    assert page.row("bod_Tibt") == ["bod_Tibt", "–a", "–a"]
    assert page.row("round_trip", "shared", "failure", "7", "1,997")
    assert page.row("Mymr", "0.2", "0.167")
    assert page.row("thai", "warning: bytes", "–")
    assert page.row("junk: long", "shared", "fine", "0", "9")
    assert page.row("embedding parameters", "192,000,000")


def test_rows_run_from_the_worst_to_what_is_unknown(text: str) -> None:
    start = text.index("premium: ratio, ratio of sums")
    body = text[text.index("<tbody>", start) : text.index("</tbody>", start)]
    found = [code for code in re.findall(r"\w{3}_\w{4}", body) if code in CODES]
    assert found == ["mya_Mymr", "yor_Latn", "arb_Arab", "eng_Latn", "bod_Tibt"]


def test_where_more_is_better_the_smallest_value_is_the_worst(text: str) -> None:
    start = text.index("characters per token: ratio")
    start = text.index("<tbody>", start)
    first, *_, last = re.findall(r'<td class="h(\d)">', text[start : text.index("</tbody>", start)])
    assert (first, last) == ("5", "1")


def test_languages_without_a_value_are_named_beside_the_ranking(text: str) -> None:
    start = text.index("No premium with")
    assert "for 1 language: <bdi>bod_Tibt</bdi>" in text[start : start + 300]


def test_text_warnings_come_before_any_figure(text: str) -> None:
    assert text.index("reads as Zawgyi") < text.index("All languages together")
    assert text.index("byte 0xff in line 3") < text.index("All languages together")


def test_failures_come_first() -> None:
    found = [f.severity for f in _sort_findings(make_audit().findings)]
    assert found == ["failure", "warning", "note", "fine"]


def test_tables_say_what_they_are(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table") > 5
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) == 4
    assert all(item["role"] == "img" and item["aria-label"] for item in pictures)


def test_shades_can_be_read() -> None:
    rules = re.findall(r"\.h\d \{ background: #(\w{6}); color: #(\w{3}); \}", _render_report(make_audit()))
    assert len(rules) == 7
    for back, front in rules:
        light, dark = sorted((_luminance(back), _luminance("".join(c * 2 for c in front))))[::-1]
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    """Relative luminance of sRGB, as the accessibility guidelines define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_equal_audits_give_equal_bytes(tmp_path: Path) -> None:
    first = _write_report(make_audit(), tmp_path).read_bytes()
    assert _write_report(make_audit(), tmp_path).read_bytes() == first


def test_a_path_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    audit = Audit((), (Audited("odd", "/models/\udcff.model", 5, "sentencepiece", "ab"),))
    assert b"/models/\\udcff.model" in _write_report(audit, tmp_path).read_bytes()


def test_an_audit_of_nothing_is_still_a_page() -> None:
    page = Page(_render_report(Audit((), (), failures={"yor_Latn": "empty"})))
    assert page.open == []
    assert "svg" not in [tag for tag, _ in page.tags]


def browse(folder: Path, probe: str, width: int = 1200) -> str:
    """Open the page in a frame of this width, run `probe` in it, and return what it says."""
    assert CHROMIUM is not None
    (folder / "frame.html").write_text(
        f"<iframe src=report.html width={width} height=900></iframe><pre id=said></pre><script>"
        "onload = () => { const page = document.querySelector('iframe').contentDocument;"
        f"document.getElementById('said').textContent = [{probe}].join('|'); }}</script>",
        encoding="utf-8",
    )
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=2000", "--dump-dom",
        (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    environment = {**os.environ, "HOME": str(folder)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    (said,) = re.findall(r'<pre id="said">(.*?)</pre>', run.stdout, flags=re.DOTALL)
    return str(said)


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.mark.slow
@needs_chromium
def test_in_a_browser_tables_sort_and_nothing_foreign_runs(tmp_path: Path) -> None:
    _write_report(make_audit(), tmp_path)
    table = "[...page.querySelectorAll('table')].find((t) => t.caption.textContent.startsWith('premium:'))"
    order = f"[...{table}.tBodies[0].rows].map((r) => r.cells[0].textContent).join()"
    press = f"({table}.querySelectorAll('thead button')[1].click(), '')"
    said = browse(tmp_path, f"page.title.slice(0, 15), page.scripts.length, {press} + {press} + {order}")
    title, scripts, rising = said.split("|")
    assert title == "Tokenizer audit"
    assert scripts == "1"
    assert rising == "eng_Latn,arb_Arab,yor_Latn,mya_Mymr,bod_Tibt"


@pytest.mark.slow
@needs_chromium
def test_on_a_telephone_the_page_does_not_scroll_sideways(tmp_path: Path) -> None:
    _write_report(make_audit(("one", "two", "three", "four", "five", "six")), tmp_path)
    said = browse(tmp_path, "page.documentElement.scrollWidth, page.body.clientWidth", width=360)
    wide, body = map(int, said.split("|"))
    assert body <= 360
    assert wide <= 360
