"""One Chromium for all tests of the report, and the bundles whose reports they open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.sample import make_bundle, plan

CHROMIUM = "GATEPROOF_CHROMIUM"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """Return the path of the browser, or None when none is installed.

    Raises:
        LookupError: the one named in the environment does not exist.

    """
    named = os.environ.get(CHROMIUM)
    found = shutil.which(named or "chromium")
    if named and found is None:
        raise LookupError(f"{CHROMIUM}: got {named}, expected a program; correct or unset it")
    return found


MISSING = f"no chromium on the PATH: install Debian's, or set {CHROMIUM} to a program"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report in one line how many tests were skipped for want of a browser."""
    skipped = len(terminalreporter.stats.get("skipped", ()))
    if skipped and chromium() is None:
        terminalreporter.write_line(f"browser: {skipped} tests skipped: {MISSING}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give a headless Chromium with its own profile."""
    program = chromium()
    if program is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser
        browser.close()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open page, its requests and the output of its console."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """The URLs of all requests."""
    console: list[str] = field(default_factory=list)
    """The lines of the console, and errors."""


Open = Callable[..., Opened]


@pytest.fixture
def open_report(browser: Browser) -> Iterator[Open]:
    """Provide a function that opens the report of a bundle."""
    contexts: list[BrowserContext] = []

    def open_page(bundle: Path, *, width: int = 1280, scheme: str = "light") -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        contexts.append(context)
        opened = Opened(page=context.new_page())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("console", lambda message: opened.console.append(message.text))
        opened.page.on("pageerror", lambda error: opened.console.append(str(error)))
        opened.page.goto((bundle / "data" / "report.html").as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a function that returns the bundle of a kind of run, and makes it at the first call."""
    folder = tmp_path_factory.mktemp("bundles")
    plans = {
        "green": plan.GREEN,
        "red": plan.RED,
        "blind": plan.BLIND,
        "hostile": plan.HOSTILE,
    }

    def bundle(kind: str) -> Path:
        path = folder / kind
        if not path.exists():
            criteria = plan.criteria_of_gates(*plan.FEW)
            make_bundle(path, plans[kind], criteria=criteria)
        return path

    return bundle
