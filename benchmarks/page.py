"""How long a page takes in a browser until it answers: its size, the time to its charts, the time of a press.

Usage: python benchmarks/page.py PAGE.html...   (Chromium on the PATH or in CHROMIUM; Playwright's client).
Bars: 600 KB for 15 languages and 4 tokenizers; 1 s from the address to the charts. A press holds some 50 ms of
Playwright's own.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from measure import machine
from playwright.sync_api import Page, sync_playwright

TRIES = 7
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# Two frames after the load: the charts of what is seen are drawn in the first.
DRAWN = """() => new Promise((done) =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"""
PRESSES = {
    "sort": "table thead button",
    "theme": "#theme",
    "search": "input[type=search]",
    "choose": "select",
}


def main() -> None:
    """Print a Markdown row for each page."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None or len(sys.argv) < 2:
        sys.exit(__doc__)
    print(machine())
    print("| page | KB | to the charts, ms | " + " | ".join(f"{name}, ms" for name in PRESSES) + " |")
    print("| --- " * (3 + len(PRESSES)) + "|")
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as profile:
        browser = driver.chromium.launch_persistent_context(profile, executable_path=path, args=FLAGS)
        for name in map(Path, sys.argv[1:]):
            tries = [_try(browser.new_page(), name) for _ in range(TRIES)]
            figures = [statistics.median(one) for one in zip(*tries, strict=True)]
            cells = [f"{figure:.0f}" if figure >= 0 else "–" for figure in figures]
            print(f"| {'/'.join(name.parts[-2:])} | {name.stat().st_size / 1e3:.0f} | {' | '.join(cells)} |")
        browser.close()


def _try(page: Page, path: Path) -> list[float]:
    """Return milliseconds from the address to the charts, and of each press; −1 for a control there is not."""
    page.goto(path.resolve().as_uri(), wait_until="load")
    figures = [float(page.evaluate(DRAWN))]
    for name, selector in PRESSES.items():
        control = page.locator(selector).first
        if not control.count() or not control.is_visible():
            figures.append(-1.0)
            continue
        start = time.perf_counter()
        if name == "search":
            control.fill("yor")
        elif name == "choose":
            control.select_option(index=1)
        else:
            control.click()
        page.evaluate(DRAWN)
        figures.append(1e3 * (time.perf_counter() - start))
    page.close()
    return figures


if __name__ == "__main__":
    main()
