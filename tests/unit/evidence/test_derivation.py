"""Derivation: a run.json, a proof or a result that the journal does not support is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateproof_evidence.model import Result
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import verify
from gateproof_evidence.verification.expectation import Expectation

from .support import codes, reseal

RUN, JOURNAL = "data/run.json", "data/journal.jsonl"
Edit = Callable[[dict[str, Any]], None]


def _edit(bundle: Path, name: str, edit: Edit) -> None:
    path = bundle / name
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value, indent=2))


def _lines(bundle: Path) -> list[str]:
    return (bundle / JOURNAL).read_text().splitlines(keepends=True)


def _verdict(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = [verdict for verdict in value["criteria"] if verdict["id"] == name]
    assert len(found) == 1, name
    assert isinstance(found[0], dict)
    return found[0]


def _passes(value: dict[str, Any]) -> None:
    _verdict(value, "RLS-02").update(outcome="pass", cause=None, message="")


def _waived(value: dict[str, Any]) -> None:
    waiver = {**_verdict(value, "DLQ-01")["waiver"], "criterion": "RLS-02"}
    _verdict(value, "RLS-02").update(disposition="waived", waiver=waiver)


def _waived_for_longer(value: dict[str, Any]) -> None:
    _verdict(value, "DLQ-01")["waiver"]["expires"] = "2036-04-01"


def _judged(value: dict[str, Any]) -> None:
    _verdict(value, "DLQ-02").update(outcome="notapplicable", message="not here")


def _better_proof(value: dict[str, Any]) -> None:
    _verdict(value, "RLS-01")["proofs"][0]["fault"] = "DROP TABLE t"


def _less_severe(value: dict[str, Any]) -> None:
    _verdict(value, "RLS-02").update(severity="low")


def _other_time(value: dict[str, Any]) -> None:
    _verdict(value, "RLS-01")["duration_s"] = 60.0


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        pytest.param(_passes, "criteria.RLS-02.outcome: got pass, expected fail", id="outcome"),
        pytest.param(_waived, "criteria.RLS-02.disposition: got waived", id="waived"),
        pytest.param(_waived_for_longer, "criteria.DLQ-01.waiver: got", id="expiry"),
        pytest.param(_judged, "criteria.DLQ-02.outcome: got notapplicable", id="not-applicable"),
        pytest.param(_better_proof, "criteria.RLS-01.proofs: got", id="proof"),
        pytest.param(_less_severe, "criteria.RLS-02.severity: got low", id="severity"),
        pytest.param(_other_time, "criteria.RLS-01.duration_s: got 60.0", id="duration"),
    ],
)
def test_verify_refuses_a_verdict_that_is_not_derived(
    bundle: Path, key: RunKey, edit: Edit, field: str
) -> None:
    """Each field of a verdict is derived again; the finding names the field that differs."""
    _edit(bundle, RUN, edit)
    reseal(bundle, key)
    found = verify(bundle)
    assert codes(found) == {("VERDICT_MISMATCH", RUN)}
    assert any(finding.message.startswith(field) for finding in found.findings)


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        pytest.param({"reasons": []}, "reasons: got []", id="reasons"),
        pytest.param({"falsify": "none"}, "falsify: got none, expected all", id="falsify"),
        pytest.param({"pytest_status": 0}, "pytest_status: got 0, expected 1", id="status"),
        pytest.param({"defects": ["x"]}, "defects: got [x]", id="defects"),
        pytest.param({"self_proof": []}, "self_proof: got []", id="self-proof"),
        pytest.param(
            {
                "matrix": [
                    {
                        "criterion": "RLS-01",
                        "owner": "RLS-02",
                        "falsifier": "f",
                        "result": "killed",
                        "message": "",
                    }
                ]
            },
            "matrix: got [",
            id="matrix",
        ),
    ],
)
def test_verify_refuses_a_roll_up_that_is_not_derived(
    bundle: Path, key: RunKey, edit: dict[str, Any], field: str
) -> None:
    """Each field of the roll-up is derived again."""
    _edit(bundle, RUN, lambda value: value.update(edit))
    reseal(bundle, key)
    found = verify(bundle)
    assert codes(found) == {("ROLLUP_MISMATCH", RUN)}
    assert found.findings[0].message.startswith(field)


def test_verify_refuses_a_release_that_run_and_statement_both_claim(
    bundle: Path, key: RunKey
) -> None:
    """A result that run.json and the statement share is still derived from the journal."""
    claims = {"result": Result.RELEASED, "exit_status": 0}
    _edit(bundle, RUN, lambda value: value.update(claims))
    reseal(bundle, key, claims=claims)
    found = verify(bundle, expect=Expectation(released=True))
    assert codes(found) == {
        ("ROLLUP_MISMATCH", RUN),
        ("ROLLUP_MISMATCH", "attestation.dsse.json"),
    }
    messages = {finding.message for finding in found.findings}
    assert "result: got released, expected blocked as derived from the journal" in messages
    assert "exit_status: got 0, expected 1 as derived from the journal" in messages


def test_verify_refuses_a_proof_whose_record_was_changed(bundle: Path, key: RunKey) -> None:
    """The run has the digest of the journal's record of each proof, also of what proves nothing."""
    journal = bundle / "data/journal.jsonl"
    changed = journal.read_text().replace("the copy is thrown away", "the copy is kept", 1)
    assert changed != journal.read_text()
    journal.write_text(changed)
    reseal(bundle, key)
    assert codes(verify(bundle)) == {("VERDICT_MISMATCH", "data/run.json")}


def _without_failure(lines: list[str]) -> list[str]:
    return [line for line in lines if '"message":"tenant A' not in line]


def _without_end(lines: list[str]) -> list[str]:
    return lines[:-1]


def _two_ends(lines: list[str]) -> list[str]:
    return [*lines, lines[-1].replace('"seq":0', '"seq":1')]


def _end_elsewhere(lines: list[str]) -> list[str]:
    return [lines[-1], *lines[:-1]]


def _swapped(lines: list[str]) -> list[str]:
    return [lines[1], lines[0], *lines[2:]]


def _early_end(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1].replace("2026-03-01T12:00:20", "2026-02-01T12:00:20")]


def _bad_end(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1].replace('"falsify":"all"', '"falsify":"most"')]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(_without_failure, "sequence of main: got 11, expected 10", id="gap"),
        pytest.param(_without_end, "the end of the run: got 0 records, expected one", id="no-end"),
        pytest.param(_two_ends, "the end of the run: got 2 records, expected one", id="two-ends"),
        pytest.param(_end_elsewhere, "got self-proof as the last", id="end-elsewhere"),
        pytest.param(_swapped, "sequence of main: got 1, expected 0", id="swapped"),
        pytest.param(_early_end, "got a record later than the end of the run", id="early-end"),
        pytest.param(_bad_end, "the end of the run: falsify: got Input", id="bad-end"),
    ],
)
def test_verify_refuses_a_journal_that_is_not_complete(
    bundle: Path, key: RunKey, edit: Callable[[list[str]], list[str]], message: str
) -> None:
    """A record that was removed, inserted or moved leaves a gap, even in a signed journal."""
    (bundle / JOURNAL).write_text("".join(edit(_lines(bundle))))
    reseal(bundle, key)
    found = verify(bundle)
    messages = [f.message for f in found.findings if f.code == "JOURNAL_INCOMPLETE"]
    assert any(message in one for one in messages), found.findings


def test_verify_derives_from_the_waivers_that_were_sealed(bundle: Path, key: RunKey) -> None:
    """Without the waiver in data/waivers.json, run.json's waived failure cannot be derived."""
    (bundle / "data/waivers.json").write_text('{"waivers":[]}')
    reseal(bundle, key)
    found = verify(bundle)
    assert {code for code, _ in codes(found)} == {"VERDICT_MISMATCH", "ROLLUP_MISMATCH"}


def test_verify_refuses_a_waiver_with_an_invalid_date(bundle: Path, key: RunKey) -> None:
    """An invalid date is a finding on the waivers' file."""
    path = bundle / "data/waivers.json"
    path.write_text(path.read_text().replace("2026-04-01", "2026-04-31"))
    reseal(bundle, key)
    assert codes(verify(bundle)) == {("JSON_MALFORMED", "data/waivers.json")}


def test_verify_reports_every_verdict_that_is_not_derived(bundle: Path, key: RunKey) -> None:
    """Several wrong fields in one file are several findings."""
    for edit in (_passes, _judged):
        _edit(bundle, RUN, edit)
    reseal(bundle, key)
    fields = {finding.message.partition(":")[0] for finding in verify(bundle).findings}
    assert {"criteria.RLS-02.outcome", "criteria.RLS-02.cause", "criteria.DLQ-02.outcome"} <= fields
