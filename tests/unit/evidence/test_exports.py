"""The exports: their content, what they omit, and that they are reproducible."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from trestle.oscal.assessment_results import Model

from gateproof_evidence.cli import main
from gateproof_evidence.format.layout import EXPORT_FOLDER
from gateproof_evidence.model import Cause, Falsification, Outcome, Result, Run, Verdict
from gateproof_evidence.reports.exports.gap_csv import harmless
from gateproof_evidence.reports.exports.interface import NothingToSayError
from gateproof_evidence.reports.exports.registry import EXPORTS, export_named, render_all
from gateproof_evidence.reports.gap_matrix import gap_matrix

FORMULA = re.compile(r"[\s\"]*[=+\-@＝＋－＠]")
IDS = ["RLS-01", "RLS-02", "DLQ-01", "DLQ-02"]


@pytest.fixture
def changed(run: Run) -> Callable[..., Run]:
    """Provide a function that returns the run with another verdict on one criterion."""

    def change(name: str, **fields: Any) -> Run:
        return with_verdict(run, name, **fields)

    return change


def with_verdict(run: Run, name: str, **fields: Any) -> Run:
    """Return a run with some fields of one verdict changed."""
    verdicts = tuple(v.model_copy(update=fields) if v.id == name else v for v in run.criteria)
    return run.model_copy(update={"criteria": verdicts})


def released(run: Run) -> Run:
    """Return the run as if every criterion passed and were proven."""
    done: dict[str, Any] = {
        "outcome": Outcome.PASS,
        "cause": None,
        "falsification": Falsification.PROVEN,
    }
    verdicts = tuple(
        Verdict.model_validate({**v.model_dump(), **done, "disposition": "none", "waiver": None})
        for v in run.criteria
    )
    changes = {"criteria": verdicts, "result": Result.RELEASED, "exit_status": 0, "reasons": ()}
    return run.model_copy(update=changes)


def export(run: Run, name: str) -> Any:
    """Return a parsed JSON export."""
    return json.loads(export_named(name).render(run))


def junit(run: Run) -> dict[str, str]:
    """Return the JUnit mark of each case, or an empty string."""
    root = ET.fromstring(export_named("junit").render(run))
    return {str(c.get("name")): c[0].tag if len(c) else "" for c in root.iter("testcase")}


# --- all of them -----------------------------------------------------------------------------


def test_bundle_has_every_export_as_the_command_prints_it(bundle: Path) -> None:
    """Each file under data/exports/ has the bytes that `gateproof export` prints."""
    sealed = {path.name: path.read_bytes() for path in (bundle / EXPORT_FOLDER).iterdir()}
    assert set(sealed) == {one.file for one in EXPORTS}
    for one in EXPORTS:
        done = CliRunner().invoke(main, ["export", str(bundle), "--format", one.name])
        assert done.exit_code == 0, done.output
        assert done.stdout_bytes == sealed[one.file], one.name


def test_exports_survive_any_message(changed: Callable[..., Run]) -> None:
    """A message with markup, control characters and line ends breaks no format."""
    message = "got <b>&\"\x00\x1b[31m\r\n\u2028| =cmd|'/c calc'!A1 \udcff 🜁".encode(
        "utf-8", "backslashreplace"
    ).decode()
    for outcome in Outcome:
        run = changed("RLS-02", outcome=outcome, message=message)
        found = render_all(run)
        assert len(found) == len(EXPORTS)
        ET.fromstring(found[f"{EXPORT_FOLDER}junit-criteria.xml"])
        json.loads(found[f"{EXPORT_FOLDER}oscal-assessment-results.json"])
        pages = found[f"{EXPORT_FOLDER}gaps.md"].decode().splitlines()
        assert len([line for line in pages if line.startswith("| RLS-02")]) == 1


# --- the gap matrix --------------------------------------------------------------------------


def test_gap_matrix_names_the_gap_and_the_evidence_of_each_criterion(run: Run) -> None:
    """A proven pass has no gap; every other row has its gap and the place of its evidence."""
    rows = {row.criterion: row for row in gap_matrix(run)}
    assert list(rows)[:4] == IDS
    assert (rows["RLS-01"].status, rows["RLS-01"].gap) == ("pass, proven", "")
    assert rows["RLS-01"].evidence == "data/transcripts/rls/RLS-01.txt"
    assert rows["RLS-02"].gap == "gate_violation: tenant A: got 5 rows, expected 3"
    assert rows["DLQ-01"].status == "fail, waived"
    assert rows["DLQ-01"].gap.endswith(
        "[accepted by Ada until 2026-04-01: The index comes with the next migration]"
    )
    assert (rows["DLQ-02"].status, rows["DLQ-02"].evidence) == ("not selected", "data/run.json")


def test_gap_matrix_refers_to_files_of_the_bundle(bundle: Path, run: Run) -> None:
    """Every path of the matrix exists, and so does every link of its page."""
    for row in gap_matrix(run):
        assert (bundle / row.evidence).exists(), row.evidence
    page = (bundle / EXPORT_FOLDER / "gaps.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) == len(gap_matrix(run))
    for link in links:
        assert (bundle / EXPORT_FOLDER / link).exists(), link


@pytest.mark.parametrize(
    ("falsification", "gap"),
    [
        (Falsification.UNPROVEN, "unproven: its check names no falsifier"),
        (Falsification.PROVEN, ""),
    ],
)
def test_gap_matrix_shows_a_pass_that_was_not_proven(
    changed: Callable[..., Run], falsification: Falsification, gap: str
) -> None:
    """A pass is a gap until it is shown that its check can fail."""
    run = changed("RLS-02", outcome=Outcome.PASS, cause=None, falsification=falsification)
    assert {row.criterion: row.gap for row in gap_matrix(run)}["RLS-02"] == gap


def test_gap_matrix_shows_what_belongs_to_no_criterion(run: Run) -> None:
    """A harness defect has its own row."""
    broken = run.model_copy(update={"reasons": (*run.reasons, "harness defect: no account")})
    [row] = set(gap_matrix(broken)) - set(gap_matrix(run))
    assert (row.criterion, row.gap) == ("(run)", "harness defect: no account")


@given(st.text(max_size=40) | st.text(alphabet="=+-@;\t\"' |\r\na1", max_size=12))
def test_csv_has_no_formula_with_any_separator(text: str) -> None:
    """Read with commas or with semicolons, no cell begins like a formula."""
    page = io.StringIO()
    csv.writer(page, quoting=csv.QUOTE_ALL).writerow(["a", harmless(text), "b"])
    for delimiter in ",;":
        for cells in csv.reader([page.getvalue()], delimiter=delimiter):
            for cell in cells:
                assert not FORMULA.match(cell), cell


def test_csv_keeps_ordinary_text(run: Run) -> None:
    """Only text that a spreadsheet would compute is changed; the rows are the matrix."""
    assert harmless("got 5 rows, expected 3; see -x") == "got 5 rows, expected 3; see -x"
    assert harmless('=HYPERLINK("x")') == '\'=HYPERLINK("x")'
    rows = list(csv.DictReader(io.StringIO(export_named("gaps-csv").render(run).decode())))
    assert [row["criterion"] for row in rows][:4] == IDS
    assert rows[1]["gap"] == "gate_violation: tenant A: got 5 rows, expected 3"


# --- JUnit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "mark"),
    [
        ({"outcome": "pass", "falsification": "proven"}, ""),
        ({"outcome": "pass", "falsification": "blind"}, "error"),
        ({"outcome": "pass", "falsification": "void"}, "error"),
        ({"outcome": "pass", "falsification": "unproven"}, "skipped"),
        ({"outcome": "fail"}, "failure"),
        ({"outcome": "fail", "disposition": "waiver_expired"}, "failure"),
        ({"outcome": "fail", "disposition": "waived"}, "skipped"),
        ({"outcome": "error"}, "error"),
        ({"outcome": "inconclusive"}, "error"),
        ({"outcome": "notchecked"}, "error"),
        ({"outcome": "notapplicable"}, "skipped"),
        ({"outcome": "notselected"}, "skipped"),
        ({"outcome": "notdescribed"}, "skipped"),
    ],
)
def test_junit_passes_only_what_is_proven(run: Run, fields: dict[str, str], mark: str) -> None:
    """Each verdict has one mark, and only a proven pass has none."""
    base = {"cause": None, "message": "m", "disposition": "none", **fields}
    verdicts = tuple(
        Verdict.model_validate({**v.model_dump(), **base}) if v.id == "RLS-02" else v
        for v in run.criteria
    )
    assert junit(run.model_copy(update={"criteria": verdicts}))["RLS-02"] == mark


def test_junit_has_a_case_for_the_run_itself(run: Run) -> None:
    """The case fails if the run is not released, even if all criteria pass."""
    assert junit(run)["released"] == "failure"
    assert junit(released(run)) == dict.fromkeys(
        ("RLS-01", "RLS-02", "DLQ-01", "DLQ-02", "released"), ""
    )


def test_junit_counts_its_cases(run: Run) -> None:
    """The totals are those of the cases."""
    root = ET.fromstring(export_named("junit").render(run))
    counts = [root.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["5", "2", "0", "2"]


# --- OSCAL -----------------------------------------------------------------------------------


def test_oscal_is_valid_by_the_reference_models(run: Run) -> None:
    """Compliance-trestle's models accept it; its findings are those of the judged criteria."""
    read = Model.model_validate_json(export_named("oscal").render(run)).assessment_results
    [result] = read.results
    findings = json.loads(result.model_dump_json(by_alias=True))["findings"]
    targets = [finding["target"] for finding in findings]
    states = {target["target-id"]: target["status"]["state"] for target in targets}
    assert states == {
        "RLS-01": "satisfied",
        "RLS-02": "not-satisfied",
        "DLQ-01": "not-satisfied",
    }


def test_oscal_models_refuse_invalid_documents(run: Run) -> None:
    """The models of the previous test detect a missing part and an invalid UUID."""
    document = export(run, "oscal")
    del document["assessment-results"]["import-ap"]
    with pytest.raises(ValueError, match="import-ap"):
        Model.model_validate(document)
    document = export(run, "oscal")
    document["assessment-results"]["results"][0]["uuid"] = "run-1"
    with pytest.raises(ValueError, match="uuid"):
        Model.model_validate(document)


def test_oscal_has_the_form_of_the_standard_library(changed: Callable[..., Run]) -> None:
    """The bytes are those of Python's json, so no release of pydantic-core can give others."""
    run = changed("RLS-02", message='quotes " \\ / controls \x00 \x1f \x7f \r\n\t \u2028 é 😀 <&>')
    content = export_named("oscal").render(run)
    plain = json.dumps(json.loads(content), indent=2, ensure_ascii=False)
    assert content.decode("utf-8") == f"{plain}\n"


def test_oscal_satisfies_no_pass_that_is_not_proven(changed: Callable[..., Run]) -> None:
    """An unproven pass is not satisfied, and the finding has the reason."""
    run = changed("RLS-02", outcome=Outcome.PASS, cause=None, message="")
    findings = export(run, "oscal")["assessment-results"]["results"][0]["findings"]
    [found] = [one for one in findings if one["target"]["target-id"] == "RLS-02"]
    assert found["target"]["status"] == {"state": "not-satisfied", "reason": "other"}
    assert found["description"] == "unproven: its check names no falsifier"


def test_oscal_names_existing_evidence(bundle: Path) -> None:
    """Every piece of evidence is a file of the bundle, with the digest of its capture."""
    document = json.loads((bundle / EXPORT_FOLDER / "oscal-assessment-results.json").read_text())
    [result] = document["assessment-results"]["results"]
    hrefs = [e["href"] for o in result["observations"] for e in o["relevant-evidence"]]
    assert len(hrefs) == 4
    assert all((bundle / EXPORT_FOLDER / href).is_file() for href in hrefs), hrefs


def test_oscal_of_a_run_without_verdicts_is_valid(run: Run) -> None:
    """Without verdicts there is no empty list, which the format forbids."""
    verdicts = tuple(
        v.model_copy(update={"outcome": Outcome.NOTSELECTED, "cause": None}) for v in run.criteria
    )
    content = export_named("oscal").render(run.model_copy(update={"criteria": verdicts}))
    [result] = Model.model_validate_json(content).assessment_results.results
    assert (result.findings, result.observations) == (None, None)


# --- in-toto ---------------------------------------------------------------------------------


def test_test_result_lists_only_what_was_tested(changed: Callable[..., Run]) -> None:
    """Passed is proven, warned is waived or unproven, failed is failed; the rest is in no list."""
    run = changed("DLQ-02", outcome=Outcome.ERROR, cause=Cause.HARNESS_DEFECT)
    document = export(run, "test-result")
    predicate = document["predicate"]
    assert document["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert predicate["result"] == "FAILED"
    assert predicate["passedTests"] == ["RLS-01"]
    assert predicate["warnedTests"] == ["DLQ-01"]
    assert predicate["failedTests"] == ["RLS-02"]
    assert predicate["configuration"][0]["digest"]["sha256"] == run.catalogue_digest[7:]


def test_test_result_passes_only_a_release(run: Run) -> None:
    """PASSED is a release, WARNED one with a waiver, and any other run FAILED."""
    good = released(run)
    assert export(good, "test-result")["predicate"]["result"] == "PASSED"
    [waived] = [v for v in run.criteria if v.id == "DLQ-01"]
    verdicts = tuple(waived if v.id == waived.id else v for v in good.criteria)
    warned = good.model_copy(update={"criteria": verdicts})
    assert export(warned, "test-result")["predicate"]["result"] == "WARNED"
    partial = good.model_copy(update={"result": Result.PARTIAL})
    assert export(partial, "test-result")["predicate"]["result"] == "FAILED"


@pytest.mark.parametrize("name", ["test-result", "slsa-summary"])
def test_statement_names_the_commit_only_if_the_tree_was_clean(run: Run, name: str) -> None:
    """With uncommitted changes the commit is not what was judged."""
    clean = export(run, name)["subject"]
    assert clean[0]["digest"] == {"gitCommit": "c" * 40, "gitTree": "d" * 40}
    for dirty in (True, None):
        bindings = run.bindings.model_copy(update={"dirty": dirty})
        subjects = export(run.model_copy(update={"bindings": bindings}), name)["subject"]
        assert [set(one["digest"]) for one in subjects] == [{"sha256"}]


def test_slsa_summary_claims_no_level(run: Run) -> None:
    """The result is the run's, the policy is the catalogue, and no SLSA level was evaluated."""
    predicate = export(released(run), "slsa-summary")["predicate"]
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == (
        "PASSED",
        ["SLSA_BUILD_LEVEL_UNEVALUATED"],
    )
    assert predicate["resourceUri"] == f"swh:1:rev:{'c' * 40}"
    assert predicate["policy"]["digest"]["sha256"] == run.catalogue_digest[7:]
    assert "inputAttestations" not in predicate
    predicate = export(run, "slsa-summary")["predicate"]
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("FAILED", ["FAILED"])


def test_statement_about_nothing_is_refused(run: Run) -> None:
    """Without commit and system there is no subject; the other exports are still written."""
    bound = run.bindings.model_copy(update={"commit": None, "system": None})
    loose = run.model_copy(update={"bindings": bound})
    for name in ("test-result", "slsa-summary"):
        with pytest.raises(NothingToSayError, match="without a clean commit and without a system"):
            export_named(name).render(loose)
    assert len(render_all(loose)) == len(EXPORTS) - 2


# --- the command -----------------------------------------------------------------------------


def test_export_writes_a_new_file_and_overwrites_none(bundle: Path, tmp_path: Path) -> None:
    """With --out the export is in the file; an existing file is bad input, and is kept."""
    out = tmp_path / "gaps.csv"
    command = ["export", str(bundle), "--format", "gaps-csv", "--out", str(out)]
    done = CliRunner().invoke(main, [*command, "--json"])
    assert done.exit_code == 0, done.output
    before = out.read_bytes()
    assert json.loads(done.output)["size"] == len(before)
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 4
    assert "--out: got a file that exists, expected a new one" in done.output
    assert out.read_bytes() == before


@pytest.mark.parametrize("arguments", [["--format", "pdf"], ["--format", "junit", "--json"], []])
def test_export_refuses_wrong_options(bundle: Path, arguments: list[str]) -> None:
    """An unknown format, --json without a file, and no format are bad input."""
    done = CliRunner().invoke(main, ["export", str(bundle), *arguments])
    assert done.exit_code == 4, done.output
