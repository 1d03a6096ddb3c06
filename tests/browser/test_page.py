"""The report in Chromium: its content, its usability, and that it runs no script."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest
from playwright.sync_api import Page

from gateproof_evidence.model import Run
from tests.browser.axe import ask_axe, violations
from tests.browser.conftest import Open
from tests.sample.capture import PROBES
from tests.sample.plan import MARKUP

Bundles = Callable[[str], Path]
KINDS = ("green", "red", "blind")
PHONE = 360


def run_of(bundle: Path) -> Run:
    """Return the run of a bundle."""
    return Run.model_validate_json((bundle / "data/run.json").read_bytes())


def text_of(page: Page) -> str:
    """Return all text, folded or not, with single spaces."""
    return " ".join((page.locator("body").text_content() or "").split())


def shown(page: Page, selector: str) -> list[str]:
    """Return the ids of the visible elements."""
    return [
        str(one)
        for one in page.locator(selector).evaluate_all(
            "all => all.filter(one => one.getClientRects().length).map(one => one.id)"
        )
    ]


def unfold(page: Page) -> None:
    """Open all folded parts."""
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")


# --- its content -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_page_shows_each_field_of_each_criterion(
    kind: str, bundles: Bundles, open_report: Open
) -> None:
    """It shows claim, source, cause and message, each proof with its change, and each digest."""
    run = run_of(bundles(kind))
    page = open_report(bundles(kind)).page
    articles = page.locator("article").evaluate_all(
        "all => all.map(one => [one.id, one.textContent])"
    )
    assert [name for name, _ in articles] == [verdict.id for verdict in run.criteria]
    for verdict, (_, text) in zip(run.criteria, articles, strict=True):
        shown_text = " ".join(text.split())
        for words in (verdict.statement, verdict.source, verdict.message, *verdict.observations):
            assert words in shown_text
        for proof in verdict.proofs:
            for words in (proof.falsifier, proof.fault, proof.expected, proof.message):
                assert " ".join(words.split()) in shown_text
        if verdict.cause:
            assert verdict.cause.value in shown_text


def test_page_starts_with_what_it_covers(bundles: Bundles, open_report: Open) -> None:
    """Verdict, commit, state of the tree, environment, signer and time fit on the first screen."""
    page = open_report(bundles("red")).page
    header = page.locator("header")
    box = header.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 800
    text = " ".join(header.inner_text().split())
    run = run_of(bundles("red"))
    for words in ("Blocked", str(run.bindings.commit), "tree clean", "embedded", "Signer unknown"):
        assert words in text
    assert re.search(r"Sealed 2026-03-01 \d\d:\d\d:\d\d UTC", text)


@pytest.mark.parametrize("kind", KINDS)
def test_capture_has_the_text_of_its_entry(kind: str, bundles: Bundles, open_report: Open) -> None:
    """The emphasis changes no character: each quoted capture has the text of its entry."""
    data = bundles(kind) / "data"
    page = open_report(bundles(kind)).page
    quoted = page.locator(".capture").evaluate_all(
        "all => all.map(one => [one.querySelector('a').textContent,"
        " [...one.querySelectorAll('pre')].map(pre => pre.textContent).join('')])"
    )
    assert len(quoted) > 40
    for place, text in quoted:
        path, _, line = place.rpartition(":")
        after = (data / path).read_text().split("\n")[int(line) :]
        entry = takewhile(lambda one: not one.startswith("=== "), after)
        assert text.rstrip("\n") == "\n".join(entry).rstrip("\n")


def test_every_link_has_a_target(bundles: Bundles, open_report: Open) -> None:
    """Anchors point into the page, files and folders exist in the bundle."""
    page = open_report(bundles("green")).page
    links = page.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    ids = set(page.locator("[id]").evaluate_all("all => all.map(one => one.id)"))
    assert len(links) > 300
    lost = [
        link
        for link in links
        if (link.removeprefix("#") not in ids)
        if not (bundles("green") / "data" / link.partition("#:~:text=")[0]).exists()
    ]
    assert lost == []


def test_diagrams_show_each_proof_and_each_cell(bundles: Bundles, open_report: Open) -> None:
    """Each falsifier and each cell of a kill matrix has a mark, and the timeline has bars."""
    run = run_of(bundles("green"))
    page = open_report(bundles("green")).page
    proofs = sum(len(verdict.proofs) for verdict in run.criteria)
    assert page.locator("svg[aria-labelledby=strip-title] g").count() == proofs
    assert page.locator("svg[aria-labelledby^=matrix-] g").count() == len(run.matrix)
    bars = page.locator("svg.timeline rect").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().width)"
    )
    assert len(bars) > 50
    assert all(width > 0 for width in bars)


# --- its usability -----------------------------------------------------------------------------


def test_filter_shows_only_its_criteria(bundles: Bundles, open_report: Open) -> None:
    """Each filter works without script, in the list and in the gap matrix."""
    run = run_of(bundles("red"))
    page = open_report(bundles("red")).page
    every = [verdict.id for verdict in run.criteria]
    assert shown(page, "article") == every
    page.get_by_label(re.compile("^fail")).check()
    failed = [verdict.id for verdict in run.criteria if verdict.outcome == "fail"]
    assert shown(page, "article") == failed == ["RLS-02", "DLQ-03", "OBS-07"]
    assert len(shown(page, ".gaps tbody tr")) == len(failed)
    assert shown(page, "#criteria .group") == ["gate-rls", "gate-dlq", "gate-observability"]
    page.get_by_label(re.compile("^needs attention")).check()
    assert set(failed) < set(shown(page, "article")) < set(every)


def test_link_shows_a_criterion_that_the_filter_hides(bundles: Bundles, open_report: Open) -> None:
    """A link to a criterion makes it visible, whatever the filter."""
    page = open_report(bundles("red")).page
    page.get_by_label(re.compile("^pass")).check()
    assert "RLS-02" not in shown(page, "article")
    page.locator("#reasons a", has_text="RLS-02").click()
    assert page.locator("#RLS-02").is_visible()
    top = page.locator("#RLS-02").evaluate("one => one.getBoundingClientRect().top")
    assert 0 <= top < 400


def test_page_works_by_keyboard(bundles: Bundles, open_report: Open) -> None:
    """The first tab stop skips to the content; arrows change the filter, Enter unfolds a part."""
    page = open_report(bundles("red")).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.locator("#f-all").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#f-open").is_checked()
    assert "RLS-01" not in shown(page, "article")
    page.locator("#RLS-02 summary").first.focus()
    fold = page.locator("#RLS-02 details").first
    before = fold.get_attribute("open")
    page.keyboard.press("Enter")
    assert fold.get_attribute("open") != before
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_failures_are_open_and_long_captures_are_folded(
    bundles: Bundles, open_report: Open
) -> None:
    """Captures of a failure are open, those of a pass are not; a long one shows its first lines."""
    page = open_report(bundles("red")).page
    assert page.locator("#RLS-02 .captures").get_attribute("open") is not None
    assert page.locator("#RLS-01 .captures").get_attribute("open") is None
    log = page.locator("#RLS-02 .capture", has_text="log of worker")
    log.locator("summary").first.click()
    rest = log.locator("details")
    assert "more lines" in (rest.locator("summary").text_content() or "")
    assert not rest.locator("pre").is_visible()
    rest.locator("summary").click()
    assert rest.locator("pre").is_visible()


@pytest.mark.parametrize("kind", ["red", "hostile"])
def test_page_does_not_overflow_a_phone(kind: str, bundles: Bundles, open_report: Open) -> None:
    """At 360 pixels the page does not scroll sideways; only single elements may."""
    page = open_report(bundles(kind), width=PHONE).page
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_page_prints_everything_except_the_controls(bundles: Bundles, open_report: Open) -> None:
    """On paper filters hide nothing, folded proofs and digests are printed, and a PDF has pages."""
    page = open_report(bundles("blind")).page
    page.get_by_label(re.compile("^needs attention")).check()
    page.emulate_media(media="print")
    assert len(shown(page, "article")) == len(run_of(bundles("blind")).criteria)
    assert not page.locator(".filter").is_visible()
    assert page.locator("#RLS-01 .proof pre").first.is_visible()
    assert page.locator("#RLS-01 .captures .capture summary").first.is_visible()
    assert page.locator("#RLS-01 .capture .meta", has_text="sha256:").first.is_visible()
    assert not page.locator("#RLS-01 .capture pre").first.is_visible()
    pdf = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 3


@pytest.mark.parametrize(
    ("kind", "scheme"), [("red", "light"), ("blind", "light"), ("green", "dark")]
)
def test_page_violates_no_rule_of_axe(
    kind: str, scheme: str, bundles: Bundles, open_report: Open
) -> None:
    """axe-core finds no violation, folded or unfolded."""
    page = open_report(bundles(kind), scheme=scheme).page
    page.locator("#RLS-03 details").evaluate_all("all => all.forEach(one => { one.open = true })")
    found = ask_axe(page)
    assert violations(found) == []
    assert len(found["passes"]) > 20


@pytest.mark.parametrize(("kind", "scheme"), [("red", "dark"), ("green", "light")])
def test_page_has_contrast(kind: str, scheme: str, bundles: Bundles, open_report: Open) -> None:
    """The contrast rule (AA) of axe-core holds in both colour schemes."""
    page = open_report(bundles(kind), scheme=scheme).page
    page.locator("#RLS-02 details").evaluate_all("all => all.forEach(one => { one.open = true })")
    found = ask_axe(page, only=["color-contrast"])
    assert violations(found) == []
    assert [one["id"] for one in found["passes"]] == ["color-contrast"]


def test_axe_finds_a_violation(bundles: Bundles, open_report: Open) -> None:
    """The rules do run: an image without a name in the same page is a violation."""
    page = open_report(bundles("green")).page
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert [name for name, _ in violations(ask_axe(page, only=["image-alt"]))] == ["image-alt"]


def test_page_is_dark_in_the_dark_scheme(bundles: Bundles, open_report: Open) -> None:
    """The background follows the colour scheme of the reader."""
    background = "getComputedStyle(document.body).backgroundColor"
    assert open_report(bundles("green")).page.evaluate(background) == "rgb(255, 255, 255)"
    dark = open_report(bundles("green"), scheme="dark").page
    assert dark.evaluate(background) == "rgb(13, 17, 23)"


# --- that it runs no script --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "hostile"])
def test_page_requests_nothing_and_logs_nothing(
    kind: str, bundles: Bundles, open_report: Open
) -> None:
    """Opening it makes one request, for itself, and writes no line to the console."""
    opened = open_report(bundles(kind))
    unfold(opened.page)
    opened.page.wait_for_load_state("networkidle")
    assert opened.requests == [(bundles(kind) / "data/report.html").as_uri()]
    assert opened.console == []


def test_markup_stays_text_in_every_kind_of_capture(bundles: Bundles, open_report: Open) -> None:
    """Markup in a capture of any probe is shown as text and is no element of the page."""
    page = open_report(bundles("hostile")).page
    for probe in PROBES:
        texts = page.locator(f"pre.{probe}").all_text_contents()
        assert sum(MARKUP in one for one in texts) >= 5, probe
        assert page.locator(f"pre.{probe} :not(span, b)").count() == 0, probe


def test_markup_stays_text_everywhere(bundles: Bundles, open_report: Open) -> None:
    """The page has no script, image or handler, and links only to itself and its bundle."""
    opened = open_report(bundles("hostile"))
    page = opened.page
    assert text_of(page).count(" ".join(MARKUP.split())) > 200
    assert page.locator("script, img, iframe, object, form").count() == 0
    assert page.locator("[onerror], [onclick], [style]").count() == 0
    links = page.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert all(link.startswith(("#", "./")) for link in links)
    run = run_of(bundles("hostile"))
    assert page.locator("article").count() == len(run.criteria)
    assert page.locator("main > *").count() == 10


def test_policy_blocks_scripts(bundles: Bundles, open_report: Open) -> None:
    """The policy is effective: a script that is added to the page does not run."""
    opened = open_report(bundles("green"))
    opened.page.evaluate(
        "const one = document.createElement('script'); one.textContent = 'window.ran = true';"
        " document.body.append(one)"
    )
    assert opened.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in line for line in opened.console)
