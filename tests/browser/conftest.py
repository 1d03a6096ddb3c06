"""One Chromium for all tests of the report, and the bundles that they look at."""

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
    """Return the program of the browser, or None where none is installed.

    Raises:
        LookupError: one is named, and is not there.

    """
    named = os.environ.get(CHROMIUM)
    found = shutil.which(named or "chromium")
    if named and found is None:
        raise LookupError(f"{CHROMIUM}: got {named}, expected a program; correct or unset it")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give a headless Chromium with a profile of its own."""
    program = chromium()
    if program is None:
        pytest.skip(f"no chromium on the PATH: install Debian's, or name one in {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser
        browser.close()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A page, and what happened while it was open."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """URLs of all that was asked for."""
    said: list[str] = field(default_factory=list)
    """Lines of the console, and errors."""


Open = Callable[..., Opened]


@pytest.fixture
def open_report(browser: Browser) -> Iterator[Open]:
    """Give a function that opens the report of a bundle."""
    contexts: list[BrowserContext] = []

    def opened(bundle: Path, *, width: int = 1280, scheme: str = "light") -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        contexts.append(context)
        shown = Opened(page=context.new_page())
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.on("console", lambda message: shown.said.append(message.text))
        shown.page.on("pageerror", lambda error: shown.said.append(str(error)))
        shown.page.goto((bundle / "data" / "report.html").as_uri())
        return shown

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a function that makes the bundle of a kind of run, once."""
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
