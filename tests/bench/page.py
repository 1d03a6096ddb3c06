"""How large the report is and how fast Chromium shows it, with the catalogue and with thousands.

``python -m tests.bench.page``: makes the bundles of `tests.browser.sample`, opens their reports in
fresh pages, and prints medians. Shown is the first contentful paint; loaded is the load event, when
the last criterion is there too; the processor's time is that of the page's main thread.
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
from gateproof_evidence.verification.rerendering import render_again
from tests.browser import sample
from tests.browser.axe import ask_axe, violations
from tests.browser.conftest import QUIET, chromium

ROUNDS = 5
MANY = 5000
LARGEST = 15_000_000
"""Bytes of a page with `MANY` criteria."""
SLOWEST_MS = 1000
"""Until it is shown."""

_TIMES = """() => {
  const page = performance.getEntriesByType('navigation')[0];
  const paint = performance.getEntriesByName('first-contentful-paint')[0];
  return [paint ? paint.startTime : NaN, page.loadEventEnd];
}"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One report."""

    criteria: int
    size: int
    render_s: float
    shown_ms: float
    loaded_ms: float
    main_thread_ms: float

    def __str__(self) -> str:
        """Read as one line."""
        return (
            f"{self.criteria} criteria: {self.size:,} bytes, rendered in {self.render_s:.2f} s; "
            f"shown after {self.shown_ms:.0f} ms, loaded after {self.loaded_ms:.0f} ms, "
            f"{self.main_thread_ms:.0f} ms of the main thread"
        )


def main() -> int:
    """Print what each report costs; 1 where the page of thousands breaks its promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--criteria", type=int, default=MANY, metavar="N", help="of the large page")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    options = parser.parse_args()
    program = chromium()
    if program is None:
        print("skipped: no chromium on the PATH")  # noqa: T201 (a program for people)
        return 0
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        usual = sample.make_bundle(folder / "usual", sample.GREEN)
        plan, criteria = sample.many(options.criteria)
        many = sample.make_bundle(folder / "many", plan, criteria=tuple(criteria))
        seen = [look(browser, bundle, options.rounds) for bundle in (usual, many)]
        for one in seen:
            print(one)  # noqa: T201
        print(f"axe-core: {axe(browser, usual)}")  # noqa: T201
        browser.close()
    return int(seen[-1].size > LARGEST or seen[-1].shown_ms > SLOWEST_MS)


def look(browser: Browser, bundle: Path, times: int) -> Seen:
    """Open a report several times, each in a page of its own."""
    run, records, attested = read_run(bundle), read_records(bundle), read_attested(bundle)
    began = time.monotonic()
    content = render_again(bundle, run, records, attested)
    took_s = time.monotonic() - began
    rounds = [_open(browser, bundle / "data/report.html") for _ in range(times)]
    shown, loaded, busy = (statistics.median(values) for values in zip(*rounds, strict=True))
    return Seen(
        criteria=len(run.criteria),
        size=len(content),
        render_s=took_s,
        shown_ms=shown,
        loaded_ms=loaded,
        main_thread_ms=busy,
    )


def axe(browser: Browser, bundle: Path) -> str:
    """Return what axe-core's rules say of a whole report."""
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
    told = {one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]}
    page.close()
    return shown, loaded, told["ThreadTime"] * 1000


if __name__ == "__main__":
    sys.exit(main())
