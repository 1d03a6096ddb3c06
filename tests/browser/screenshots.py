"""Take the screenshots of the report that the documentation shows.

``python -m tests.browser.screenshots docs/images`` takes them of a green, a red and a blind run of
`tests.sample`. Run it after each change of the report. The image of the README is of a run of this
repository's gates, and is not made here.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import QUIET, chromium
from tests.sample import make_bundle
from tests.sample.plan import BLIND, GREEN, RED


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One screenshot: its run, its element and its setup."""

    run: str
    element: str = ""
    """A selector; empty for the first screen."""
    opened: tuple[str, ...] = ()
    """Selectors of the folded parts to open first."""
    followed: str = ""
    """The selector of a link to follow; the screenshot is of the page that it leads to."""
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
    "report-pass": Shot(
        run="green",
        element="#RLS-02",
        opened=("#RLS-02 details.claims", "#RLS-02 details.proof >> nth=0"),
        height=1600,
    ),
    "transcript": Shot(
        run="green",
        opened=("#RLS-02 details.proof >> nth=0",),
        followed="#RLS-02 details.proof a:text-is('faulted') >> nth=0",
        height=560,
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
    plans = {"green": GREEN, "red": RED, "blind": BLIND}
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        bundles = {name: make_bundle(Path(scratch) / name, plan) for name, plan in plans.items()}
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
    if shot.followed:
        page.locator(shot.followed).click()
        page.wait_for_load_state()
        page.screenshot(path=to)
    elif shot.element:
        # The filter keeps its place on the screen and would cover the element.
        page.locator(".filter").evaluate("one => one.remove()")
        page.locator(shot.element).first.screenshot(path=to)
    else:
        page.screenshot(path=to)
    context.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder for the images")
    main(parser.parse_args().folder)
