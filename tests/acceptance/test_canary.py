"""A made-up secret that a run lets into its bundle past every probe: there is no bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gates.taxonomy.miniature import HEADER, NO_PROOFS, Miniature

TELLS = """
from gateproof.run.writer import WRITER

@criterion("MIN-01")
def test_tells(commands, sut, request):
    observe(commands, sut)
    writer = request.config.stash[WRITER]
    told = writer.bring_up.report()
    said = f"no engine answers at {writer.canary.value}"
    writer.bring_up.report = lambda: told.model_copy(update={"reason": said})
"""
"""An environment that tells a secret as its reason, which goes to run.json past every probe."""

LEAKS = (
    TELLS
    + """
    redactor = writer.recorder.redactor
    sound = redactor.redact_json
    redactor.redact_json = lambda value, **named: (value, ()) if named else sound(value)
"""
)
"""The same, and nothing takes it out: only what goes to run.json is redacted for a named place."""


def test_run_whose_own_files_hold_a_secret_seals_no_bundle(
    run_gates: Callable[..., Miniature], tmp_path: Path
) -> None:
    """The run ends as a harness defect that names the file; with redaction the same is sealed."""
    ran = run_gates(LEAKS, ("MIN-01",), *NO_PROOFS)
    assert ran.exit_status == 103, ran.output
    assert "no bundle: CanaryError: " in ran.output
    assert "data/report.html: redaction: got a canary" in ran.output
    assert ran.run == {}
    assert [path.name[:10] for path in (tmp_path / "reports").iterdir()] == [".unsealed-"]
    sound = tmp_path / "gates" / "test_miniature.py"
    sound.write_text(f"{HEADER}{TELLS}", encoding="utf-8")
    ran = run_gates("", (), *NO_PROOFS)
    assert ran.run["environment"]["reason"] == "no engine answers at [redacted:secret:canary]"
    ledger = json.loads((tmp_path / "reports/latest/data/redactions.json").read_bytes())
    where = {"rule": "secret:canary", "place": "run.json", "count": 1}
    assert where in ledger["entries"]
