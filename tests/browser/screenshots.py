"""Take the screenshots of the report for the documentation.

``python -m tests.browser.screenshots docs/images`` takes them of a passing, a failing and a blind
run (of `tests.browser.sample`). Take them again after a change of the report. The README's own
picture is of a run of this repository's gates.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser import sample
from tests.browser.conftest import QUIET, chromium


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One screenshot: its run, its part of the page, and its settings."""

    run: str
    element: str = ""
    """A selector; without one the first screen."""
    opened: tuple[str, ...] = ()
    """Folded elements to open first."""
    width: int = 1000
    height: int = 800
    scheme: str = "light"


SHOTS: Mapping[str, Shot] = {
    "report-red": Shot(run="red"),
    "report-red-criterion": Shot(
        run="red",
        element="#RLS-02",
        opened=("#RLS-02 .capture >> nth=0", "#RLS-02 .capture >> nth=1"),
        height=1600,
    ),
    "report-blind-criterion": Shot(run="blind", element="#RLS-03"),
    "report-matrix": Shot(run="green", element="#proofs div[aria-label*='of gate queues']"),
    "report-timeline": Shot(run="red", element="#time"),
    "report-phone": Shot(run="red", width=360, height=780, scheme="dark"),
}


def main(folder: Path) -> None:
    """Take every screenshot."""
    program = chromium()
    assert program is not None, "no chromium on the PATH: install Debian's"
    plans = {"green": sample.GREEN, "red": sample.RED, "blind": sample.BLIND}
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        bundles = {
            name: sample.make_bundle(Path(scratch) / name, plan) for name, plan in plans.items()
        }
        for name, shot in SHOTS.items():
            _take(browser, bundles[shot.run], shot, folder / f"{name}.png")
        browser.close()


def _take(browser: Browser, bundle: Path, shot: Shot, to: Path) -> None:
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme="dark" if shot.scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto((bundle / "data/report.html").as_uri())
    for selector in shot.opened:
        page.locator(selector).locator("summary").first.click()
    if shot.element:
        # The filter stays on the screen while scrolling and would cover the picture.
        page.locator(".filter").evaluate("one => one.remove()")
        page.locator(shot.element).first.screenshot(path=to)
    else:
        page.screenshot(path=to)
    context.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder for the screenshots")
    main(parser.parse_args().folder)
