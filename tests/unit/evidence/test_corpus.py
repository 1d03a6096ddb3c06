"""The corpus of forged bundles: our verifier and the script refuse each as its README says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateproof_evidence.model.finding import Code
from tests.archives import of_folder
from tests.corpus.case import CORPUS, FAIL, PASS, Case, read_case, read_corpus
from tests.corpus.recipe import STEPS
from tests.corpus.table import Measured, measure, node_answers, page, read_node
from tests.corpus.verifiers import NODE, OTHERS, gateproof
from tests.corpus.workshop import Workshop
from tests.portable import without_posix

PAGE = Path(__file__).parents[3] / "docs/reference/corpus.md"
CASES = read_corpus()

pytestmark = pytest.mark.xdist_group("corpus")
"""One process measures all cases, once: most of these tests need every case."""
Ask = Callable[[Case], Measured]

ELSEWHERE = {
    "UNREADABLE": "tests that run as root can read everything",
    "SHARD_MISMATCH": "test_merging.py",
    "NOT_FRESH": "tests/acceptance/test_changed.py",
    "TAKEOVER_TOO_OLD": "tests/acceptance/test_changed.py",
    "NOT_THOROUGH": "tests/acceptance/test_shared_baselines.py",
    "SIGNOFF_INVALID": "test_signoff.py",
    "SIGNOFF_KEY_EXPIRED": "test_signoff.py",
    "SIGNOFF_WEAK_KEY": "test_signoff_command.py",
}
"""Codes that no case of the corpus shows, and the tests that cover them."""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Provide a function that runs the verifiers on a case, each case once."""
    shop = Workshop.open(tmp_path_factory.mktemp("corpus"))
    known: dict[str, Measured] = {}

    def measured(case: Case) -> Measured:
        if case.name not in known:
            known[case.name] = measure(case, shop)
        return known[case.name]

    return measured


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_corpus_case_has_the_findings_of_its_readme(case: Case, ask: Ask) -> None:
    """The findings are those of the README; the script agrees, or the README says why not."""
    measured = ask(case)
    if case.exactly:
        assert sorted(measured.findings) == sorted(case.findings)
    assert set(case.findings) <= set(measured.findings)
    assert measured.refuses["gateproof verify"] is case.must_fail
    assert measured.refuses["verify.sh"] is case.script_refuses
    assert case.script_refuses <= case.must_fail
    assert bool(case.because) is (case.must_fail and not case.script_refuses)


NO_FOLDER = {
    "archive_tar_slip_fail": "the bundle is a tar file, so there is no folder to pack",
    "archive_zip_slip_fail": "the bundle is an archive already",
}
"""Cases that a ZIP archive cannot express, and why."""


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in NO_FOLDER], ids=lambda case: case.name
)
def test_corpus_case_has_the_same_findings_as_one_file(
    case: Case, ask: Ask, tmp_path: Path
) -> None:
    """The folder as a ZIP archive, with its links, pipes and names, has the same findings."""
    measured = ask(case)
    archive = tmp_path / "bundle.zip"
    archive.write_bytes(of_folder(measured.made.bundle))
    assert gateproof(replace(measured.made, bundle=archive)) == measured.findings


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_corpus_case_has_the_same_findings_without_posix(
    case: Case, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The findings of both forms are the same where `os` has only what Windows has."""
    measured = ask(case)
    forms = [measured.made.bundle]
    if case.name not in NO_FOLDER:
        forms.append(tmp_path / "bundle.zip")
        forms[1].write_bytes(of_folder(measured.made.bundle))
    without_posix(monkeypatch)
    for form in forms:
        assert gateproof(replace(measured.made, bundle=form)) == measured.findings


def test_corpus_cases_without_a_folder_are_those_that_are_named(ask: Ask) -> None:
    """Every case whose bundle is a folder is measured in both forms."""
    assert {case.name for case in CASES if not ask(case).made.bundle.is_dir()} == set(NO_FOLDER)


def test_corpus_has_no_case_that_only_another_verifier_refuses(ask: Ask) -> None:
    """Our verifier refuses what any other refuses; all accept the cases that must pass."""
    for case in CASES:
        answers = ask(case).refuses
        refused = [name for name, answer in answers.items() if answer]
        assert not refused or case.must_fail, f"{case.name}: {refused}"


def test_corpus_page_is_up_to_date(ask: Ask) -> None:
    """The committed page equals a new measurement; node's column only if node is installed."""
    measured = [ask(case) for case in CASES]
    committed = PAGE.read_text(encoding="utf-8")
    node = node_answers(measured) if NODE else read_node(committed, CASES)
    assert page(measured, node) == committed, (
        "python -m tests.corpus.table > docs/reference/corpus.md"
    )


@pytest.mark.skipif(NODE is None, reason="node is not installed: its column is not measured")
def test_corpus_signatures_that_node_refuses_are_refused(ask: Ask) -> None:
    """Node, an independent implementation, refuses no signature that we accept."""
    measured = [ask(case) for case in CASES]
    answers = node_answers(measured)
    assert set(answers.values()) == {True, False, None}
    for one in measured:
        found = {finding.partition(" ")[0] for finding in one.findings}
        if answers[one.case.name]:
            # A signature that node refuses is one that we refuse, by a code of the attestation.
            assert found & {
                "ATTESTATION_MALFORMED",
                "ATTESTATION_MISSING",
                "SIGNATURE_INVALID",
                "SIGNATURE_NOT_CHECKED",
                "WRONG_SIGNER",
            }, one.case.name


def test_corpus_is_large_and_its_names_are_right() -> None:
    """At least sixty cases must fail; a name's suffix marks them."""
    assert sum(case.must_fail for case in CASES) >= 60
    assert sum(not case.must_fail for case in CASES) >= 5
    for case in CASES:
        assert case.name.endswith(FAIL if case.must_fail else PASS)
        assert bool(case.findings) is case.must_fail
        files = {path.name for path in (CORPUS / case.name).iterdir()}
        assert files == {"README.md", "recipe.toml"}, case.name


def test_corpus_shows_every_code() -> None:
    """Each code is shown by a case, or by a test that is named here."""
    shown = {finding.partition(" ")[0] for case in CASES for finding in case.findings}
    known = {code.value for code in Code if not code.startswith("TIMESTAMP_")}
    assert known - shown == set(ELSEWHERE)
    assert shown - known == {"BAD_INPUT"}


def test_corpus_uses_every_step() -> None:
    """Every step is used by a recipe, so that it is tested."""
    used: set[str] = set()
    for case in CASES:
        used.update(re.findall(r'^do = "(\w+)"$', case.recipe.read_text(), re.MULTILINE))
    assert used <= set(STEPS)
    assert set(STEPS) - used == set()


def test_corpus_readme_has_a_fixed_form(tmp_path: Path) -> None:
    """A README that lacks a paragraph is refused, not read in part."""
    sound = (CORPUS / CASES[0].name / "README.md").read_text()
    (tmp_path / "README.md").write_text(sound.replace("**verify.sh:**", "verify.sh:"))
    with pytest.raises(ValueError, match="got another form, expected a title and the paragraphs"):
        read_case(tmp_path)


def test_corpus_table_has_the_other_verifiers() -> None:
    """The table has a column for each verifier of another project."""
    assert OTHERS == ("sha256sum -c", "bagit", "securesystemslib", "node")
