"""Whole runs whose journal is damaged on its disk: the bundle has what is whole, and is blocked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gates.taxonomy.miniature import Miniature
from tests.acceptance.conftest import GATEPROOF, run_command
from tests.acceptance.test_distribution import journal
from tests.acceptance.test_exit_status import NEEDS_NO_DATABASE, SECOND

TEARS = """
import json
from pathlib import Path

def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        return
    [path] = Path("reports").glob(".unsealed-*/journals/*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    of = [json.loads(line) for line in lines]
    wanted = [n for n, one in enumerate(of) if {which}]
    lines[wanted[0]] = {content}
    path.write_bytes(b"".join(lines))
"""
CALL_OF_SECOND = 'one["kind"] == "phase" and one["criterion"] == "MIN-02" and one["when"] == "call"'
OBSERVED = 'one["kind"] == "observation" and one["criterion"] == "MIN-02"'
IN_PROOF = 'one["kind"] == "phase" and one["part"].startswith("proof:") and one["when"] == "call"'
NUL, NO_UTF8 = 'b"\\0" * 512 + b"\\n"', 'b"\\xff\\xfe\\n"'
PARTIAL, NO_JSON = "lines[wanted[0]][:30]", 'b"{}\\n"'


@pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["one", "distributed"])
@pytest.mark.parametrize(
    ("which", "content"),
    [(CALL_OF_SECOND, NUL), (OBSERVED, NO_UTF8), (OBSERVED, PARTIAL), (CALL_OF_SECOND, NO_JSON)],
    ids=["nul", "no-utf8", "partial", "no-json"],
)
def test_torn_line_costs_its_criterion_and_not_the_bundle(
    write_gates: Callable[..., None],
    run_gates: Callable[..., Miniature],
    tmp_path: Path,
    which: str,
    content: str,
    processes: tuple[str, ...],
) -> None:
    """The other criterion passes and is proven; the bundle verifies, names the line, and is 103."""
    checks, ids = SECOND.format("pass") + NEEDS_NO_DATABASE, ("MIN-01", "MIN-02")
    write_gates(checks, ids)
    conftest = TEARS.replace("{which}", which).replace("{content}", content)
    (tmp_path / "gates" / "conftest.py").write_text(conftest, encoding="utf-8")
    ran = run_gates(checks, ids, *processes)
    assert (ran.exit_status, ran.run.get("result")) == (103, "blocked"), ran.output
    assert ran.judged("MIN-02")[0] in ("error", "inconclusive", "notchecked")
    assert ran.judged("MIN-01") == ("pass", None)
    assert ran.verdict("MIN-01")["falsification"] == "proven"
    name = "gw0" if processes else "main"
    [defect] = ran.run["defects"]
    assert defect.startswith(f"{name}.jsonl:"), defect
    assert "test_second" in defect
    done = run_command([*GATEPROOF, "verify", "reports/latest"], folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert [one for one in journal(tmp_path) if one.get("event") == "lost"]


def test_torn_line_of_a_proof_makes_it_void(
    write_gates: Callable[..., None], run_gates: Callable[..., Miniature], tmp_path: Path
) -> None:
    """A proof with a lost record proves nothing."""
    write_gates(NEEDS_NO_DATABASE, ("MIN-01",))
    conftest = TEARS.replace("{which}", IN_PROOF).replace("{content}", NUL)
    (tmp_path / "gates" / "conftest.py").write_text(conftest, encoding="utf-8")
    ran = run_gates("", ())
    assert ran.exit_status == 103, ran.output
    assert ran.verdict("MIN-01")["falsification"] == "void"
