"""The documentation: its links have targets, and the things that it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateproof.description.reference import sut_reference
from gateproof_evidence.model.schema import run_schema
from gateproof_evidence.reports.glossary import GLOSSARY, SECTIONS, glossary_page
from tests.criteria import catalogue
from tests.dimensions import page as dimensions_page
from tests.pages import PAGES, ROOT, page_name

NAMED_PATH = re.compile(
    r"`((?:evidence|harness|gates|system|migrations|tests|docs|\.ci|\.github)/[\w.*/-]+)`"
)
OPTIONAL = {"gates/waivers.toml"}
"""Files that a project may add."""
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def slug(heading: str) -> str:
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    """Every relative link names a file that is there, and an anchor that is a heading of it."""
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if "://" in link:
            continue
        headings = (
            {slug(line.lstrip("#")) for line in target.read_text().splitlines() if line[:1] == "#"}
            if target.suffix == ".md" and target.exists()
            else set()
        )
        if not target.exists() or (anchor and anchor not in headings):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_paths_exist(page: Path) -> None:
    """Every path of the repository that a page names in code type is there."""
    named = NAMED_PATH.findall(page.read_text(encoding="utf-8"))
    assert {name for name in named if not any(ROOT.glob(name))} <= OPTIONAL


def test_docs_pages_were_found() -> None:
    """The test above covered the pages that a newcomer reads first."""
    names = {page_name(page) for page in PAGES}
    assert {"README.md", ".github/CONTRIBUTING.md", "docs/reference/verdicts.md"} <= names


def test_docs_generated_pages_are_current() -> None:
    """Schema, reference of sut.toml and glossary are those of the code that generates them."""
    reference = ROOT / "docs" / "reference"
    assert (reference / "run.schema.json").read_bytes() == run_schema()
    assert (reference / "sut.md").read_text(encoding="utf-8") == sut_reference()
    glossary = (ROOT / "docs/explanation/glossary.md").read_text(encoding="utf-8")
    assert glossary == glossary_page(), (
        "run python -m gateproof_evidence.reports.glossary docs/explanation/glossary.md"
    )
    dimensions = (reference / "dimensions.md").read_text(encoding="utf-8")
    assert dimensions == dimensions_page(), (
        "run python -m tests.dimensions > docs/reference/dimensions.md"
    )


def test_glossary_defines_each_word_once_in_a_sentence() -> None:
    """No word has two meanings, each meaning ends like a sentence, and a report shows most."""
    words = [word for section in SECTIONS for word, _ in section.words]
    assert len(words) == len(set(words))
    assert all(m.endswith(".") and "|" not in m for s in SECTIONS for _, m in s.words)
    assert {word for word, _ in GLOSSARY} < set(words)


def test_readme_names_options_that_exist() -> None:
    """Every long option of pytest and gateproof in the README is one that they know."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named, "premise: the README names options"
    scripts = Path(sys.executable).parent
    helps = [
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for command in (
            [str(scripts / "pytest"), "--help"],
            [str(scripts / "gateproof"), "verify", "--help"],
            [str(scripts / "gateproof"), "show", "--help"],
        )
    ]
    assert {option for option in named if not any(option in text for text in helps)} == set()


def test_pitfalls_are_each_seen_by_a_criterion() -> None:
    """Each line of the page of pitfalls names criteria, and the catalogue has all of them."""
    known = {one.id for one in catalogue().criteria}
    page = (ROOT / "docs" / "reference" / "pitfalls.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| (?!\*\*|behaviour |---)", line)]
    named = [set(re.findall(r"\b[A-Z]{2,3}-\d\d\b", row.rpartition(" | ")[2])) for row in rows]
    assert len(rows) >= 25
    assert all(named), rows[named.index(set())] if set() in named else ""
    assert set().union(*named) - known == set()


def test_catalogue_has_the_severities_of_the_contract() -> None:
    """Tenancy, dead letters, runtime and idempotency are high, and some of other gates."""
    criteria = catalogue().criteria
    high = {one.id for one in criteria if one.severity == "high"}
    expected = {one.id for one in criteria if one.id[:3] in ("RLS", "DLQ", "RUN", "IDM")}
    others = {"SCH-03", "SCH-05", "SCH-08", "OBS-03", "OBS-05", "TAX-05"}
    others |= {"PRC-02", "PRC-03", "PRC-06", "PRC-07"}
    ingestion = {f"ING-{number:02}" for number in (2, 3, 5, 6, 8, 10, 11, 12)}
    assert high == expected | others | ingestion
