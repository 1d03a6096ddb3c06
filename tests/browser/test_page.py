"""The report in Chromium: what it shows, that it can be used, and that nothing of it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
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
    """Return all text, folded or not, with single blanks."""
    return " ".join((page.locator("body").text_content() or "").split())


def shown(page: Page, selector: str) -> list[str]:
    """Return the ids of those elements that take up room."""
    return [
        str(one)
        for one in page.locator(selector).evaluate_all(
            "all => all.filter(one => one.getClientRects().length).map(one => one.id)"
        )
    ]


def unfold(page: Page) -> None:
    """Open everything that folds."""
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")


# --- what it shows -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_page_says_everything_of_every_criterion(
    kind: str, bundles: Bundles, open_report: Open
) -> None:
    """Claim, source, outcome, cause, each proof's change and message, each capture's digest."""
    run = run_of(bundles(kind))
    page = open_report(bundles(kind)).page
    told = page.locator("article").evaluate_all("all => all.map(one => [one.id, one.textContent])")
    assert [name for name, _ in told] == [verdict.id for verdict in run.criteria]
    for verdict, (_, text) in zip(run.criteria, told, strict=True):
        said = " ".join(text.split())
        for words in (verdict.statement, verdict.source, verdict.message, *verdict.observations):
            assert words in said
        for proof in verdict.proofs:
            for words in (proof.falsifier, proof.fault, proof.expected, proof.message):
                assert " ".join(words.split()) in said
        if verdict.cause:
            assert verdict.cause.value in said


def test_page_says_what_it_covers_before_anything_else(bundles: Bundles, open_report: Open) -> None:
    """Verdict, commit, state of the tree, environment, signer and time fit on the first screen."""
    page = open_report(bundles("red")).page
    header = page.locator("header")
    box = header.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 800
    said = " ".join(header.inner_text().split())
    run = run_of(bundles("red"))
    for words in ("Blocked", str(run.bindings.commit), "tree clean", "embedded", "Nobody vouches"):
        assert words in said
    assert re.search(r"Sealed 2026-03-01 \d\d:\d\d:\d\d UTC", said)


@pytest.mark.parametrize("kind", KINDS)
def test_capture_reads_as_it_was_captured(kind: str, bundles: Bundles, open_report: Open) -> None:
    """The emphasis changes no letter: the text of each quoted capture is the file's."""
    data = bundles(kind) / "data"
    page = open_report(bundles(kind)).page
    quoted = page.locator(".capture").evaluate_all(
        "all => all.map(one => [one.querySelector('a').getAttribute('href'),"
        " [...one.querySelectorAll('pre')].map(pre => pre.textContent).join('')])"
    )
    assert len(quoted) > 40
    for href, said in quoted:
        assert said.rstrip("\n") == (data / href).read_text().rstrip("\n")


def test_every_link_leads_somewhere(bundles: Bundles, open_report: Open) -> None:
    """Anchors are in the page, files and folders in the bundle."""
    page = open_report(bundles("green")).page
    links = page.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    ids = set(page.locator("[id]").evaluate_all("all => all.map(one => one.id)"))
    assert len(links) > 400
    lost = [
        link
        for link in links
        if (link.removeprefix("#") not in ids)
        if not (bundles("green") / "data" / link).exists()
    ]
    assert lost == []


def test_pictures_show_each_proof_and_each_cell(bundles: Bundles, open_report: Open) -> None:
    """Every falsifier has a mark, every cell of a kill matrix one, every writer a line of bars."""
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


# --- that it can be used -----------------------------------------------------------------------


def test_filter_shows_only_what_it_says(bundles: Bundles, open_report: Open) -> None:
    """Without script: each filter leaves its criteria, in the list and in the gap matrix."""
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


def test_link_leads_to_what_the_filter_hides(bundles: Bundles, open_report: Open) -> None:
    """Whoever follows a link to a criterion sees it, whatever is filtered."""
    page = open_report(bundles("red")).page
    page.get_by_label(re.compile("^pass")).check()
    assert "RLS-02" not in shown(page, "article")
    page.locator("#reasons a", has_text="RLS-02").click()
    assert page.locator("#RLS-02").is_visible()
    top = page.locator("#RLS-02").evaluate("one => one.getBoundingClientRect().top")
    assert 0 <= top < 400


def test_page_works_by_keyboard(bundles: Bundles, open_report: Open) -> None:
    """The first stop skips to the content; filters move by arrow, folds open by Enter."""
    page = open_report(bundles("red")).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.locator("#f-all").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#f-open").is_checked()
    assert "RLS-01" not in shown(page, "article")
    page.locator("#RLS-02 summary").first.focus()
    fold = page.locator("#RLS-02 details").first
    was = fold.get_attribute("open")
    page.keyboard.press("Enter")
    assert fold.get_attribute("open") != was
    rings = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert rings == "solid"


def test_what_failed_is_open_and_long_captures_fold(bundles: Bundles, open_report: Open) -> None:
    """Captures of a failure are open, those of a pass are not; of a long one only its beginning."""
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
    """At 360 pixels nothing is wider than the screen but what scrolls by itself."""
    page = open_report(bundles(kind), width=PHONE).page
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_page_prints_everything_but_the_controls(bundles: Bundles, open_report: Open) -> None:
    """A PDF has pages; filters hide nothing on paper, folded proofs and digests stand there."""
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
def test_page_breaks_no_rule_of_axe(
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
    """axe-core's rule on contrast (AA) holds with the other colours too."""
    page = open_report(bundles(kind), scheme=scheme).page
    page.locator("#RLS-02 details").evaluate_all("all => all.forEach(one => { one.open = true })")
    found = ask_axe(page, only=["color-contrast"])
    assert violations(found) == []
    assert [one["id"] for one in found["passes"]] == ["color-contrast"]


def test_axe_finds_what_is_wrong(bundles: Bundles, open_report: Open) -> None:
    """The rules run: an image without a name in the same page is a violation."""
    page = open_report(bundles("green")).page
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert [name for name, _ in violations(ask_axe(page, only=["image-alt"]))] == ["image-alt"]


def test_page_is_dark_where_that_is_asked_for(bundles: Bundles, open_report: Open) -> None:
    """The background follows the reader's setting."""
    ground = "getComputedStyle(document.body).backgroundColor"
    assert open_report(bundles("green")).page.evaluate(ground) == "rgb(255, 255, 255)"
    dark = open_report(bundles("green"), scheme="dark").page
    assert dark.evaluate(ground) == "rgb(13, 17, 23)"


# --- that nothing of it runs -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "hostile"])
def test_page_asks_for_nothing_and_complains_of_nothing(
    kind: str, bundles: Bundles, open_report: Open
) -> None:
    """Opening it makes one request, for itself, and no line in the console."""
    opened = open_report(bundles(kind))
    unfold(opened.page)
    opened.page.wait_for_load_state("networkidle")
    assert opened.requests == [(bundles(kind) / "data/report.html").as_uri()]
    assert opened.said == []


def test_markup_stays_text_in_every_kind_of_capture(bundles: Bundles, open_report: Open) -> None:
    """What a system puts into a capture of any kind is shown and is no element of the page."""
    page = open_report(bundles("hostile")).page
    for probe in PROBES:
        texts = page.locator(f"pre.{probe}").all_text_contents()
        assert sum(MARKUP in one for one in texts) >= 5, probe
        assert page.locator(f"pre.{probe} :not(span, b)").count() == 0, probe


def test_markup_stays_text_everywhere(bundles: Bundles, open_report: Open) -> None:
    """No script, no image, no handler, and no link but to the page and its bundle."""
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


def test_policy_lets_no_script_run(bundles: Bundles, open_report: Open) -> None:
    """The policy holds by itself: a script that gets into the page does not run."""
    opened = open_report(bundles("green"))
    opened.page.evaluate(
        "const one = document.createElement('script'); one.textContent = 'window.ran = true';"
        " document.body.append(one)"
    )
    assert opened.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in line for line in opened.said)
