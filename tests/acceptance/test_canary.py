"""A canary that bypasses the probes and reaches the files of a run: no bundle is sealed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gates.taxonomy.miniature import HEADER, NO_PROOFS, Miniature

REPORTS_CANARY = """
from gateproof.run.writer import WRITER

@criterion("MIN-01")
def test_reports_canary(commands, sut, request):
    observe(commands, sut)
    writer = request.config.stash[WRITER]
    report = writer.bring_up.report()
    reason = f"no engine answers at {writer.canary.value}"
    writer.bring_up.report = lambda: report.model_copy(update={"reason": reason})
"""
"""An environment whose reason holds the canary. It goes to run.json without any probe."""

LEAKS_CANARY = (
    REPORTS_CANARY
    + """
    redactor = writer.recorder.redactor
    original = redactor.redact_json
    redactor.redact_json = lambda value, place="": (
        (value, ()) if place == "run.json" else original(value, place=place)
    )
"""
)
"""The same without redaction of run.json."""


def test_run_whose_own_files_hold_a_secret_seals_no_bundle(
    run_gates: Callable[..., Miniature], tmp_path: Path
) -> None:
    """The run ends with a harness defect that names the file; with redaction it is sealed."""
    ran = run_gates(LEAKS_CANARY, ("MIN-01",), *NO_PROOFS)
    assert ran.exit_status == 103, ran.output
    assert "no bundle: CanaryError: " in ran.output
    assert "data/report.html: redaction: got a canary" in ran.output
    assert ran.run == {}
    assert [path.name[:10] for path in (tmp_path / "reports").iterdir()] == [".unsealed-"]
    module = tmp_path / "gates" / "test_miniature.py"
    module.write_text(f"{HEADER}{REPORTS_CANARY}", encoding="utf-8")
    ran = run_gates("", (), *NO_PROOFS)
    assert ran.run["environment"]["reason"] == "no engine answers at [redacted:secret:canary]"
    ledger = json.loads((tmp_path / "reports/latest/data/redactions.json").read_bytes())
    where = {"rule": "secret:canary", "place": "run.json", "count": 1}
    assert where in ledger["entries"]
