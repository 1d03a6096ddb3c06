"""Measure the size of the report and how fast Chromium shows it, also with thousands of criteria.

``python -m tests.bench.page``: makes bundles of `tests.sample`, opens their reports in new
pages, and prints medians. "Shown" is the first contentful paint; "loaded" is the load event, after
the last criterion; the processor time is that of the main thread of the page.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from gateproof_evidence.cli.common import read_attested, read_records, read_run
from gateproof_evidence.format.archive.folder import Folder
from gateproof_evidence.verification.rerendering import render_again
from tests.browser.axe import ask_axe, violations
from tests.browser.conftest import QUIET, chromium
from tests.sample import make_bundle
from tests.sample.plan import GREEN, MANY, criteria_of

ROUNDS = 5
CRITERIA = 5000
LARGEST = 15_000_000
"""The largest size in bytes of a page with `CRITERIA` criteria."""
SLOWEST_MS = 1000
"""The longest time until that page is shown."""

_TIMES = """() => {
  const page = performance.getEntriesByType('navigation')[0];
  const paint = performance.getEntriesByName('first-contentful-paint')[0];
  return [paint ? paint.startTime : NaN, page.loadEventEnd];
}"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The size of one report, and the times of rendering and opening it."""

    criteria: int
    size: int
    render_s: float
    shown_ms: float
    loaded_ms: float
    main_thread_ms: float

    def __str__(self) -> str:
        """Return the figures on one line."""
        return (
            f"{self.criteria} criteria: {self.size:,} bytes, rendered in {self.render_s:.2f} s; "
            f"shown after {self.shown_ms:.0f} ms, loaded after {self.loaded_ms:.0f} ms, "
            f"{self.main_thread_ms:.0f} ms of the main thread"
        )


def main() -> int:
    """Print the cost of each report; return 1 when the large page exceeds a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--criteria", type=int, default=CRITERIA, metavar="N", help="of the large page"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    options = parser.parse_args()
    program = chromium()
    if program is None:
        print("skipped: no chromium on the PATH")  # noqa: T201 (a program for people)
        return 0
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        usual = make_bundle(folder / "usual", GREEN)
        criteria = criteria_of(options.criteria)
        many = make_bundle(folder / "many", MANY, criteria=criteria)
        costs = [measure(browser, bundle, options.rounds) for bundle in (usual, many)]
        for one in costs:
            print(one)  # noqa: T201
        print(f"axe-core: {axe(browser, usual)}")  # noqa: T201
        browser.close()
    return int(costs[-1].size > LARGEST or costs[-1].shown_ms > SLOWEST_MS)


def measure(browser: Browser, bundle: Path, times: int) -> Cost:
    """Open a report several times, each time in a new page."""
    run, records, attested = read_run(bundle), read_records(bundle), read_attested(bundle)
    began = time.monotonic()
    content = render_again(Folder(bundle), run, records, attested)
    took_s = time.monotonic() - began
    rounds = [_open(browser, bundle / "data/report.html") for _ in range(times)]
    shown, loaded, busy = (statistics.median(values) for values in zip(*rounds, strict=True))
    return Cost(
        criteria=len(run.criteria),
        size=len(content),
        render_s=took_s,
        shown_ms=shown,
        loaded_ms=loaded,
        main_thread_ms=busy,
    )


def axe(browser: Browser, bundle: Path) -> str:
    """Return the result of the rules of axe-core on a whole report."""
    page = browser.new_page()
    page.goto((bundle / "data/report.html").as_uri())
    found: Any = ask_axe(page)
    page.close()
    return f"{len(found['passes'])} rules hold, violations: {violations(found) or 'none'}"


def _open(browser: Browser, path: Path) -> tuple[float, float, float]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    shown, loaded = page.evaluate(_TIMES)
    metrics = {
        one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]
    }
    page.close()
    return shown, loaded, metrics["ThreadTime"] * 1000


if __name__ == "__main__":
    sys.exit(main())
