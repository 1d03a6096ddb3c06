"""Gate taxonomy: the conditions under which a proof counts."""

from __future__ import annotations

from gateproof import criterion, falsified_by, source

from .miniature import LIMIT_S, Miniature, MiniatureRunner

PROOFS = """
from dataclasses import dataclass

from gateproof import falsified_by, source
from gateproof import Fault

NOTE = dict(file={file!r}, append="# changed", imports=False)

@dataclass(frozen=True, kw_only=True)
class Idle(Fault):
    kind = "idle"

    def describe(self):
        return "nothing"

    def fingerprint(self, copy):
        return "unchanged"

    def inject(self, copy):
        pass

class Denied(Idle):
    def inject(self, copy):
        raise PermissionError("must be owner of the table")

def changed(files):
    return "# changed" in files.read({file!r})

@criterion("MIN-01")
@falsified_by(source("predicted", **NOTE), expect="got a change")
@falsified_by(source("another", **NOTE), expect="got another owner")
def test_detects_the_change(files):
    assert not changed(files), "file: got a change, expected none"

@criterion("MIN-02")
@falsified_by(Denied(name="denied"), expect="failed by chance")
@falsified_by(Idle(name="idle"), expect="failed by chance")
def test_fails_by_itself(commands, sut, recorder):
    observe(commands, sut)
    assert not recorder.scope.part.endswith(":faulted"), "the check failed by chance"

@criterion("MIN-03")
@falsified_by(source("unseen", **NOTE), expect="got a change")
def test_never_fails(files):
    changed(files)

@criterion("MIN-04")
@falsified_by(source("breaks", **NOTE), expect="got a change")
def test_breaks_under_the_change(files):
    if changed(files):
        raise KeyError("file: got a change, expected none")

RUNS = []

@criterion("MIN-05")
@falsified_by(source("late", **NOTE), expect="of an earlier run")
def test_passes_once(commands, sut, recorder):
    observe(commands, sut)
    if recorder.scope.part != "check":
        RUNS.append(recorder.scope.part)
    assert len(RUNS) < 2, "state: got that of an earlier run, expected none"

@pytest.fixture
def dirty(request):
    yield
    assert "proof-" not in request.node.name, "the clean-up makes a wrong assumption"

@criterion("MIN-06")
@falsified_by(source("dirty", **NOTE), expect="got a change")
def test_leaves_a_broken_clean_up(files, dirty):
    assert not changed(files), "file: got a change, expected none"
"""

WITHOUT_SECOND_RUN = """
def pytest_runtest_protocol(item):
    if hasattr(item, "again"):
        item.again = False
"""
"""Makes a harness that runs no check twice on an unchanged copy."""

EXPECTED = (
    ("MIN-01", "predicted", "proven", "got a change"),
    ("MIN-01", "another", "void", "red for another reason"),
    ("MIN-02", "denied", "void", "must be owner of the table"),
    ("MIN-02", "idle", "void", "did not land"),
    ("MIN-03", "unseen", "blind", "stayed green"),
    ("MIN-04", "breaks", "void", "not by an assertion"),
    ("MIN-05", "late", "void", "on its second run"),
    ("MIN-06", "dirty", "void", "broke before its end"),
)
"""Criterion, falsifier, the expected result of the proof, and a part of its message."""


@criterion("TAX-05", limit_s=LIMIT_S)
@falsified_by(
    # A public incident: an action that was denied still "completed" (chaostoolkit-lib#95).
    source(
        "count-a-denied-fault-as-injected",
        "gateproof/proof/proof.py",
        function="_inject",
        body="""
        before = fault.fingerprint(copy)
        try:
            fault.inject(copy)
            result = "done"
        except Exception as error:
            result = f"denied: {error}"
        return {"fingerprint_before": before, "fingerprint_after": f"{fault.name}: {result}"}
        """,
        tree="harness",
    ),
    expect="denied: got proven",
)
@falsified_by(
    source(
        "believe-that-it-landed",
        "gateproof_evidence/judging/proof.py",
        "return after is not None and after != event.fingerprint_before",
        "return after is not None",
        tree="harness",
    ),
    expect="idle: got proven",
)
@falsified_by(
    source(
        "take-any-message-for-the-predicted",
        "gateproof_evidence/judging/proof.py",
        "if event.expected not in message:",
        "if not message:",
        tree="harness",
    ),
    expect="another: got proven",
)
@falsified_by(
    source(
        "take-any-red-for-a-judgement",
        "gateproof_evidence/judging/proof.py",
        'if event.faulted_category != "assertion":',
        'if event.faulted_category == "limit":',
        tree="harness",
    ),
    expect="breaks: got proven",
)
@falsified_by(
    source(
        "be-content-with-a-fault-that-landed",
        "gateproof_evidence/judging/proof.py",
        'return Falsification.BLIND, "the check stayed green under the fault"',
        'return Falsification.PROVEN, "the system stayed green under the fault"',
        tree="harness",
    ),
    expect="unseen: got proven",
)
@falsified_by(
    source(
        "claim-a-second-run-that-was-none",
        "gateproof/proof/proof.py",
        'second = _run(check, recorder, base, "baseline-again")[1]',
        'second = "pass"',
        tree="harness",
    ),
    expect="late: got proven",
)
@falsified_by(
    source(
        "do-without-a-second-run",
        "gateproof_evidence/judging/verdict.py",
        "seen_again = not stories or any(story.baseline_runs > 1 for story in stories)",
        "seen_again = True",
        tree="harness",
    ),
    expect="second run left out: got proven",
)
@falsified_by(
    source(
        "overlook-the-clean-up-of-a-proof",
        "gateproof_evidence/judging/verdict.py",
        'r.result == "raised" and (r.when != "call" or not events)',
        'r.result == "raised" and not events',
        tree="harness",
    ),
    expect="dirty: got proven",
)
def test_proof_counts_only_when_its_fault_landed_and_the_red_was_predicted(
    miniatures: MiniatureRunner,
) -> None:
    """Of eight proofs only the sound one counts; the others are void or blind, with a reason.

    Without the second run on an unchanged copy, not even that one counts.
    """
    file = str(miniatures.sut.path.relative_to(miniatures.sut.folder))
    ids = ("MIN-01", "MIN-02", "MIN-03", "MIN-04", "MIN-05", "MIN-06")
    ran = miniatures.run(PROOFS.format(file=file), ids=ids)
    for identifier, falsifier, expected, reason in EXPECTED:
        _assert_proof(ran, identifier, falsifier, (expected, reason))
    assert ran.exit_status == 100, f"exit status: got {ran.exit_status}, expected 100"
    ran = miniatures.run(PROOFS.format(file=file), ids=ids, conftest=WITHOUT_SECOND_RUN)
    expected_now = ("void", "ran the check twice")
    _assert_proof(ran, "MIN-01", "predicted", expected_now, shown="second run left out")


def _assert_proof(
    ran: Miniature, identifier: str, falsifier: str, expected: tuple[str, str], *, shown: str = ""
) -> None:
    """Assert the result of a proof, and a part of its message."""
    shown, (wanted, reason) = shown or falsifier, expected
    result, message = ran.proven(identifier).get(falsifier, ("no proof", ""))
    assert result == wanted, f"{shown}: got {result} ({message}), expected {wanted}"
    assert reason in message, f"{shown}: got {message!r}, expected it to name {reason!r}"
