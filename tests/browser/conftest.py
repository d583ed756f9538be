"""A browser that opens pages as a reader's does, and says what went wrong in it.

Chromium comes from the system (`CHROMIUM` names another than the one on the PATH), Playwright's client
drives it, and nothing is downloaded. Without one of them these tests are skipped, with the reason.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the browser that `CHROMIUM` names, else the first on the PATH."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CHROMIUM"), *NAMES)))), None)


@dataclass(eq=False)
class Opened:
    """A page in the browser: `requests` are addresses asked for, `errors` what its console complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def read(self, expression: str) -> Any:
        """Return what an expression of JavaScript is in the page."""
        return self.page.evaluate(expression)

    def find_violations(self) -> list[str]:
        """Return what axe-core finds wrong with the page as it stands, a line each: rule, place, why."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = axe.run(self.page, options={"resultTypes": ["violations"]}).response
        assert found["passes"], "axe-core looked at nothing"
        return [
            f"{rule['id']}: {node['target']}: {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    def find_wide(self) -> list[str]:
        """Return what stands beyond the page's width where the page itself scrolls sideways; else nothing."""
        wide: list[str] = self.page.evaluate(
            """() => {
              const width = document.documentElement.clientWidth;
              if (document.documentElement.scrollWidth <= width) return [];
              const found = [];
              const clips = (one) => getComputedStyle(one).overflowX !== "visible";
              const walk = (parent) => {
                for (const one of parent.children) {
                  if (one.getBoundingClientRect().right > width + 1) {
                    const name = `${one.tagName}.${one.getAttribute("class")}#${one.id}`;
                    found.push(`${name}: ${one.textContent.trim().slice(0, 40)}`);
                  }
                  if (!clips(one)) walk(one);
                }
              };
              walk(document.body);
              return found.concat(`the page is ${document.documentElement.scrollWidth} of ${width} wide`);
            }"""
        )
        return wide


Open = Callable[..., Opened]
"""Opens a file: `width` in pixels, `dark` as the reader's system is set."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all these tests: it takes 300 MB, and a second to start."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium: none on the PATH, and CHROMIUM names none")
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        # Playwright gives it a new user-data-dir and takes that away.
        opened = driver.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open pages in a context of their own, and close it; a page that fails is found by its `errors`."""
    contexts = []

    def show(path: Path, *, width: int = 1400, dark: bool = False, scripts: bool = True) -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            accept_downloads=True,
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.set_default_timeout(60_000)
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on(
            "console",
            lambda said: opened.errors.append(said.text) if said.type in ("error", "warning") else None,
        )
        opened.page.goto(path.as_uri())
        return opened

    yield show
    for context in contexts:
        context.close()
