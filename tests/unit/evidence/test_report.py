"""The page and the table: they have all verdicts, and nothing runs as code."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from rich.console import Console

from gateproof_evidence.judging.phase import phases
from gateproof_evidence.model import (
    Cause,
    Cell,
    Disposition,
    Falsification,
    Observation,
    Outcome,
    Proof,
    Record,
    Result,
    Run,
    Specimen,
    Verdict,
)
from gateproof_evidence.model import text as texts
from gateproof_evidence.reports.gap_matrix import gap_matrix
from gateproof_evidence.reports.gate_summary import WORDS, columns, gate_rows, obstacles, total_row
from gateproof_evidence.reports.glossary import GLOSSARY, SECTIONS
from gateproof_evidence.reports.html import DETAILS, Detail, Signer
from gateproof_evidence.reports.html import render as render_page
from gateproof_evidence.reports.quotation import LARGEST, Captures
from gateproof_evidence.reports.terminal import gate_lines, gate_table
from tests.unit.evidence.support import rewritten

MARKUP = "<img src=x onerror=alert(1)><script>alert(1)</script>&amp;\"'"


KEY = "sha256:" + "a" * 64
EPHEMERAL = Signer(keyid=KEY, ephemeral=True, sealed=datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC))


def render(
    run: Run, *, records: tuple[Record, ...], captures_root: Path, signer: Signer = EPHEMERAL
) -> bytes:
    """Render the page with default inputs."""
    return render_page(run, records=records, captures=Captures(captures_root), signer=signer)


class Page(HTMLParser):
    """The text, links and tags of a page, as a browser parses them."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.attributes: set[str] = set()
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag and the relevant attributes."""
        found = dict(attrs)
        if tag in ("td", "th", "dt", "dd", "p", "pre", "h1", "h2", "li", "b", "summary"):
            self.words.append(" ")
        self.tags.append(tag)
        self.attributes.update(found)
        self.ids.append(found.get("id") or "")
        self.links.append(found.get("href") or "")

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """Return all text, with single spaces."""
        return " ".join("".join(self.words).split())


def changed(run: Run, name: str, **changes: Any) -> Run:
    """Return a run with one verdict changed."""
    verdicts = (v.model_copy(update=changes) if v.id == name else v for v in run.criteria)
    return run.model_copy(update={"criteria": tuple(verdicts)})


@pytest.fixture
def data(staging: Path) -> Path:
    """Provide the folder that capture paths are relative to."""
    return staging / "data"


def test_page_shows_every_criterion(run: Run, records: tuple[Record, ...], data: Path) -> None:
    """Each criterion has its anchor, claim, outcome, message and captures."""
    page = Page(render(run, records=records, captures_root=data))
    for verdict in run.criteria:
        assert verdict.id in page.ids
        assert verdict.statement in page.text
        assert verdict.message in page.text
        for place, digest in zip(verdict.captures, verdict.observations, strict=True):
            path, _, line = place.rpartition(":")
            heading, text = (data / path).read_text().split("\n")[int(line) - 1 : int(line) + 1]
            fragment = quote(heading.split("  ")[0], safe="").replace("-", "%2D")
            assert f"./{path}#:~:text={fragment}" in page.links
            assert digest in page.text
            assert text in page.text
    assert "what RLS-01 saw" in page.text


def test_page_shows_the_proof(run: Run, records: tuple[Record, ...], data: Path) -> None:
    """A falsifier is shown with its fault, the expected message and the observed one."""
    page = Page(render(run, records=records, captures_root=data))
    for text in ("drop-policy", "DROP POLICY tenant ON t", "sees rows of B", "proven"):
        assert text in page.text
    links = [link for link in page.links if link.startswith("./transcripts/rls/RLS-01/drop-pol")]
    assert [link.partition("#")[0] for link in links] == [
        "./transcripts/rls/RLS-01/drop-policy.txt"
    ] * 5
    assert "baseline, line 1; baseline-again, line" in page.text


def test_page_shows_waivers_and_redactions(
    run: Run, records: tuple[Record, ...], data: Path
) -> None:
    """The page has each waiver with owner and expiry, and the number of redactions by rule."""
    page = Page(render(run, records=records, captures_root=data))
    assert "Ada accepts it until 2026-04-01: The index comes with the next migration" in page.text
    assert "dsn-userinfo 6 3" in page.text


def test_page_says_what_it_covers(run: Run, records: tuple[Record, ...], data: Path) -> None:
    """The page has verdict, commit, tree state, environment and reason, times and digests."""
    text = Page(render(run, records=records, captures_root=data)).text
    order = ("Blocked", "Commit", "Reasons for the result", "Gates Gate", "Gap matrix The")
    assert sorted(order, key=text.index) == list(order)
    for words in (
        f"{'c' * 40}, tree clean",
        "embedded (no Docker engine answers): PostgreSQL 18.4",
        "Sealed 2026-03-01 12:00:30 UTC, by the signer's clock",
        "20.0 s from 2026-03-01 12:00:00 UTC to 2026-03-01 12:00:20 UTC",
        run.catalogue_digest,
        "RLS-02 fail, gate_violation: tenant A: got 5 rows, expected 3",
    ):
        assert words in text


def test_page_counts_each_gate_and_what_each_criterion_lacks(
    run: Run, records: tuple[Record, ...], data: Path
) -> None:
    """The page has a row for each gate with its counts, and for each criterion with its gap."""
    text = Page(render(run, records=records, captures_root=data)).text
    assert "Gate Verdict Phase Criteria Pass Fail Error Not selected Proven " in text
    assert " rls blocked B0.5.1 2 1 1 0 0 1/1 dlq partial 1 waived B0.5.1 2 0 1 0 1 – " in text
    assert " all blocked 1 waived 4 1 2 0 1 1/1 " in text
    rows = {row.criterion: row for row in gap_matrix(run)}
    for name in (verdict.id for verdict in run.criteria):
        status = rows[name].status.replace(",", "")
        where = rows[name].evidence.removeprefix("data/")
        assert f" {name} {status} {where} {rows[name].gap or 'none'} " in text


def test_page_counts_failures_by_cause(run: Run, records: tuple[Record, ...], data: Path) -> None:
    """Every cause has a row with its criteria, and a dash if there is none."""
    broken = changed(
        run, "DLQ-02", outcome=Outcome.ERROR, cause=Cause.HARNESS_DEFECT, message="KeyError"
    )
    text = Page(render(broken, records=records, captures_root=data)).text
    assert "gate_violation 2 fail: RLS-02, DLQ-01 The system under test breaks its claim." in text
    assert "harness_defect 1 error: DLQ-02 The tooling is wrong" in text
    for cause in (Cause.ENVIRONMENT_PROBLEM, Cause.TO_INVESTIGATE):
        assert f"{cause.value} 0 – " in text


def test_page_explains_every_word_of_a_verdict(
    run: Run, records: tuple[Record, ...], data: Path
) -> None:
    """The glossary has each outcome, result, cause, disposition and falsification, and no other."""
    text = Page(render(run, records=records, captures_root=data)).text
    words = {section.title: {word for word, _ in section.words} for section in SECTIONS}
    assert words["Outcomes"] == set(WORDS.values())
    assert words["Causes"] == {one.value for one in Cause}
    assert words["Results"] == {one.value for one in Result}
    assert words["Waivers"] == {one.value for one in Disposition} - {"none"}
    assert {one.value for one in Falsification} <= words["Proofs"]
    for word, meaning in GLOSSARY:
        assert f"{word} {meaning}" in text


def test_page_shows_for_each_phase_whether_the_next_may_begin(
    run: Run, records: tuple[Record, ...], data: Path
) -> None:
    """A phase that is not released blocks the next one; the last has none."""
    later = run.criteria[3].model_copy(update={"phase": "B0.5.2"})
    two_phases = run.model_copy(update={"criteria": (*run.criteria[:3], later)})
    text = Page(render(two_phases, records=records, captures_root=data)).text
    count = len(phases(two_phases)[0].in_the_way)
    assert count > 1, "premise: more than one reason"
    assert f"B0.5.1 blocked 3 B0.5.2 may not begin: {count} reasons" in text
    assert "B0.5.2 blocked 1 this is the last phase" in text


@pytest.mark.parametrize(
    ("signer", "present", "absent"),
    [
        (EPHEMERAL, "Signer unknown: integrity only.", "given to the run"),
        (
            replace(EPHEMERAL, ephemeral=False),
            f"key {KEY}, which was given to the run",
            "Signer unknown",
        ),
    ],
    ids=["ephemeral", "given"],
)
def test_page_names_the_signer(
    run: Run,
    records: tuple[Record, ...],
    data: Path,
    signer: Signer,
    present: str,
    absent: str,
) -> None:
    """An ephemeral key and a given one have different texts."""
    text = Page(render(run, records=records, captures_root=data, signer=signer)).text
    assert present in text
    assert absent not in text


def test_page_is_the_same_for_the_same_run(
    run: Run, records: tuple[Record, ...], data: Path
) -> None:
    """Two renderings of a run have the same bytes; another run has others."""
    first = render(run, records=records, captures_root=data)
    assert render(run, records=records, captures_root=data) == first
    other = changed(run, "RLS-01", message="other")
    assert render(other, records=records, captures_root=data) != first


def test_page_keeps_injected_markup_text(run: Run, records: tuple[Record, ...], data: Path) -> None:
    """Markup in a message, a proof, a summary, a version or a capture is shown, never run."""
    records = rewritten(data, records, "transcripts/rls/RLS-02.txt", MARKUP)
    proof = Proof(
        falsifier=MARKUP,
        kind=MARKUP,
        fault=MARKUP,
        result=Falsification.BLIND,
        expected=MARKUP,
        message=MARKUP,
        landed=True,
        transcript="javascript:alert(1)",
    )
    hostile = changed(run, "RLS-02", message=MARKUP, statement=MARKUP, proofs=(proof,))
    bindings = run.bindings.model_copy(update={"versions": {MARKUP: MARKUP}, "nonce": MARKUP})
    hostile = hostile.model_copy(update={"bindings": bindings, "reasons": (MARKUP,)})
    summaries = tuple(
        r.model_copy(update={"summary": MARKUP}) if isinstance(r, Observation) else r
        for r in records
    )
    content = render(hostile, records=summaries, captures_root=data)
    page = Page(content)
    assert b"<script" not in content.lower()
    assert not {"script", "img"} & set(page.tags)
    assert not {name for name in page.attributes if name.startswith("on")}
    assert page.text.count("onerror=alert(1)") >= 12
    links = [link for link in page.links if link]
    assert all(link.startswith(("#", "./")) for link in links)


def test_page_allows_its_own_style_and_nothing_else(
    run: Run, records: tuple[Record, ...], data: Path
) -> None:
    """The policy forbids everything but the one style element, by its hash."""
    content = render(run, records=records, captures_root=data).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', content)
    style = re.search(r"<style>(.*?)</style>", content, re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1].startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert " style=" not in content
    assert not re.search(r"https?://", content)


def test_page_cuts_long_captures(run: Run, records: tuple[Record, ...], data: Path) -> None:
    """A capture above its share is truncated, with a link to the whole."""
    text = "y" * (LARGEST + 1234)
    records = rewritten(data, records, "transcripts/rls/RLS-01.txt", text)
    page = Page(render(run, records=records, captures_root=data))
    assert "y" * LARGEST in page.text
    assert "y" * (LARGEST + 1) not in page.text
    assert "1,234 more bytes in the transcript." in page.text


def test_page_quotes_less_when_it_would_be_too_large(
    run: Run, records: tuple[Record, ...], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above its size limit the page lists captures and proofs without quoting them."""
    whole = render(run, records=records, captures_root=data)
    least = Detail(claims=3, quoted=0, proofs=False)
    monkeypatch.setattr("gateproof_evidence.reports.html.LARGEST_PAGE", len(whole) - 1)
    monkeypatch.setattr("gateproof_evidence.reports.html.DETAILS", (DETAILS[0], least))
    page = Page(render(run, records=records, captures_root=data))
    assert "select count(*) from t;" in Page(whole).text
    assert "select count(*) from t;" not in page.text
    assert "DROP POLICY" not in page.text
    paths = {str(link).partition("#")[0] for link in page.links}
    assert paths >= {
        "./transcripts/rls/RLS-01.txt",
        "./transcripts/rls/RLS-02.txt",
        "./transcripts/rls/RLS-01/drop-policy.txt",
    }
    for verdict in run.criteria:
        assert set(verdict.observations) <= set(page.text.split())


def test_page_marks_a_missing_capture(run: Run, records: tuple[Record, ...], data: Path) -> None:
    """A missing capture has a note in its place."""
    (data / "transcripts/rls/RLS-01.txt").unlink()
    text = Page(render(run, records=records, captures_root=data)).text
    assert "(this capture is missing)" in text


# --- by gate -----------------------------------------------------------------------------------


def test_gate_rows_count_each_outcome(run: Run) -> None:
    """Rows come in the catalogue's order with counts, proofs and their own result."""
    rls, dlq = gate_rows(run)
    assert (rls.gate, rls.criteria, rls.proven, rls.declared) == ("rls", 2, 1, 1)
    assert rls.counts[Outcome.PASS] == rls.counts[Outcome.FAIL] == 1
    assert rls.result is Result.BLOCKED
    assert (dlq.waived, dlq.counts[Outcome.NOTSELECTED]) == (1, 1)
    assert dlq.result is not Result.RELEASED
    assert total_row(run).result is run.result


def test_gate_of_a_run_without_proofs_is_partial(run: Run) -> None:
    """If no proof ran at all, a clean gate is incomplete, not blocked."""
    unproven = _unproven(run.criteria[0])
    lazy = run.model_copy(update={"criteria": (unproven,), "falsify": "none"})
    assert gate_rows(lazy)[0].result is Result.PARTIAL
    mixed = run.model_copy(update={"criteria": (run.criteria[0],)})
    assert gate_rows(mixed)[0].result is Result.RELEASED


def test_gate_that_was_not_selected_is_marked(run: Run) -> None:
    """A gate without a selected criterion is not blocked, and counts no falsifiers."""
    asked = run.criteria[0]
    left = run.criteria[3].model_copy(update={"falsifiers": 4})
    first, second = gate_rows(run.model_copy(update={"criteria": (asked, left)}))
    assert (first.verdict, first.selected) == ("released", True)
    assert (second.verdict, second.selected, second.declared) == ("not selected", False, 0)


def test_proof_that_ran_without_its_check_counts_on_both_sides(run: Run) -> None:
    """A selection by name can leave out the check of a proof: the table has 1/1 then, not 1/0."""
    proven = run.criteria[0]
    left = proven.model_copy(update={"outcome": Outcome.NOTSELECTED, "falsifiers": 4})
    row = gate_rows(run.model_copy(update={"criteria": (left,)}))[0]
    assert [proof.result for proof in proven.proofs] == [Falsification.PROVEN], "premise"
    assert (row.proven, row.declared) == (1, 1)


def test_columns_are_those_with_counts(run: Run) -> None:
    """Pass, fail and error always have a column, another outcome only if it occurred."""
    always = (Outcome.PASS, Outcome.FAIL, Outcome.ERROR)
    assert columns(run) == (*always, Outcome.NOTSELECTED)
    assert columns(run.model_copy(update={"criteria": run.criteria[:1]})) == always


def test_obstacles_have_one_line_for_the_selection(run: Run) -> None:
    """Criteria that were not selected are counted in one line, next to all other reasons."""
    real = "RLS-02 fail, gate_violation: tenant A: got 5 rows, expected 3"
    left = ("DLQ-02 notselected: left out", "gate dlq: no criterion passed")
    verdicts = (*run.criteria[:2], run.criteria[3])
    partial = run.model_copy(update={"criteria": verdicts, "reasons": (real, *left)})
    assert obstacles(partial) == (real, "not selected: DLQ-02")
    many = partial.model_copy(update={"criteria": run.criteria[3:] * 6})
    assert obstacles(many)[-1] == "not selected: 6 criteria, see the table"
    kept = run.model_copy(update={"reasons": (real, *left)})
    assert "gate dlq: no criterion passed" in obstacles(kept)


def _unproven(verdict: Verdict) -> Verdict:
    proofs = tuple(
        p.model_copy(update={"result": Falsification.UNPROVEN, "message": "did not run"})
        for p in verdict.proofs
    )
    return verdict.model_copy(update={"proofs": proofs, "falsification": Falsification.UNPROVEN})


def printed(run: Run) -> str:
    """Return the table as plain text."""
    console = Console(width=120, record=True, file=StringIO())
    console.print(gate_table(run))
    return console.export_text()


def test_table_has_a_row_for_each_gate_and_the_run(run: Run) -> None:
    """Counts, proofs and verdict are in one line for each gate."""
    lines = [" ".join(line.split()) for line in printed(run).splitlines()]
    assert "rls 2 1 1 · · 1/1 blocked" in lines
    assert "dlq 2 · 1 · 1 – partial (1 waived)" in lines
    assert "all 4 1 2 · 1 1/1 blocked (1 waived)" in lines


def test_lines_give_the_reasons_for_the_result(run: Run) -> None:
    """A failure, a waived one and a blind proof each give a line; clean passes give none."""
    blind = (
        run.criteria[0]
        .proofs[0]
        .model_copy(
            update={
                "result": Falsification.BLIND,
                "message": "the check stayed green under the fault",
            }
        )
    )
    run = changed(run, "RLS-01", falsification=Falsification.BLIND, proofs=(blind,))
    index = "index ix_status: got none, expected one"
    assert [line.plain for line in gate_lines(run)] == [
        "RLS-01 pass, blind: drop-policy: the check stayed green under the fault",
        "RLS-02 fail (gate_violation): tenant A: got 5 rows, expected 3",
        f"DLQ-01 fail (gate_violation): {index} [waived by Ada until 2026-04-01]",
        "gate dlq: no criterion passed",
        "not selected: DLQ-02",
    ]


def test_lines_name_passes_without_a_falsifier(run: Run) -> None:
    """A pass without a falsifier gets a line, unless no proof was requested."""
    bare = changed(run, "RLS-01", falsification=Falsification.UNPROVEN, proofs=(), falsifiers=0)
    assert "RLS-01 pass, unproven: its check names no falsifier" in plain_lines(bare)
    assert "RLS-01" not in "".join(plain_lines(run))
    asked = bare.model_copy(update={"falsify": "none"})
    assert "unproven" not in "".join(plain_lines(asked))


def plain_lines(run: Run) -> list[str]:
    """Return the lines of a run as plain text."""
    return [line.plain for line in gate_lines(run)]


def test_page_shows_self_proof_and_matrix(
    run: Run, records: tuple[Record, ...], data: Path
) -> None:
    """The page has the results of specimens and of the kill matrix, escaped like all text."""
    update = {
        "self_proof": (
            Specimen(name="always-green", wanted="blind", result="proven", message=MARKUP),
        ),
        "matrix": (
            Cell(
                criterion="RLS-01", owner="RLS-02", falsifier="f", result="killed", message=MARKUP
            ),
        ),
    }
    page = Page(render(run.model_copy(update=update), records=records, captures_root=data))
    assert "Kill matrix of gate rls" in page.text
    assert "1 of 1 falsifiers are detected by one check only" in page.text
    assert "always green blind proven" in page.text
    assert not {"script", "img"} & set(page.tags)
    bare = Page(render(run, records=records, captures_root=data))
    assert "Kill matrix" not in bare.text


def test_visible_keeps_no_hidden_character() -> None:
    """Each hidden or control character is replaced, next to others too; line ends and tabs stay."""
    for code in texts._VISIBLE:
        assert chr(code) not in texts.visible(f"a{chr(code)}b")
    kept = "a\tb\nc \u00e9 \u4e2d \U0001f600"
    assert texts.visible(kept) == kept
    assert texts.visible("a\r\nb\r") == "a\nb\u240d"
