"""Gate taxonomy: the conditions under which a proof counts."""

from __future__ import annotations

from gateproof import claim, criterion, falsified_by, source

from .miniature import LIMIT_S, Miniature, MiniatureRunner, source_of

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

def read(files):
    text = files.read({file!r})
    claim("length of the file", on={file!r}, got=len(text), relation="at_least", expected=1)
    return text

def changed(files):
    return "# changed" in read(files)

MARKS = ("marks of a change", {file!r}, "got 1")

def claim_no_marks(files):
    claim(*MARKS[:1], on={file!r}, got=read(files).count("# changed"), expected=0)

@criterion("MIN-01")
@falsified_by(source("predicted", **NOTE), expect="marks of a change")
@falsified_by(source("another", **NOTE), expect="got another owner")
@falsified_by(source("misnamed", **NOTE), expect=("owners of the file", {file!r}))
@falsified_by(source("misplaced", **NOTE), expect=(MARKS[0], "another file"))
def test_claims_that_there_is_no_change(files):
    claim_no_marks(files)

@criterion("MIN-02")
@falsified_by(Denied(name="denied"), expect=("failures by chance", ""))
@falsified_by(Idle(name="idle"), expect=("failures by chance", ""))
def test_fails_by_itself(commands, sut, recorder):
    observe(commands, sut)
    failures = int(recorder.scope.part.endswith(":faulted"))
    claim("failures by chance", got=failures, expected=0)

@criterion("MIN-03")
@falsified_by(source("unseen", **NOTE), expect=MARKS)
def test_never_fails(files):
    read(files)

@criterion("MIN-04")
@falsified_by(source("breaks", **NOTE), expect="got a change")
def test_breaks_under_the_change(files):
    if changed(files):
        raise KeyError("file: got a change, expected none")

RUNS = []

@criterion("MIN-05")
@falsified_by(source("late", **NOTE), expect=("runs of the check", "proof"))
def test_passes_once(commands, sut, recorder):
    observe(commands, sut)
    if recorder.scope.part != "check":
        RUNS.append(recorder.scope.part)
    claim("runs of the check", on="proof", got=len(RUNS), relation="at_most", expected=1)

@pytest.fixture
def dirty(request):
    yield
    assert "proof-" not in request.node.name, "the clean-up makes a wrong assumption"

@criterion("MIN-07")
@falsified_by(source("any-change", **NOTE), expect=("length of the file", {file!r}))
def test_fails_after_any_change(files):
    length = len(files.read({file!r}))
    claim("length of the file", on={file!r}, got=length, expected={size})

@criterion("MIN-08")
@falsified_by(source("lent", **NOTE), expect=MARKS)
@falsified_by(source("borrowed", **NOTE), expect=MARKS)
def test_shares_its_baseline(files):
    claim_no_marks(files)

@criterion("MIN-09")
@falsified_by(source("asserted", **NOTE), expect="got a change")
def test_asserts_that_there_is_no_change(files):
    assert not changed(files), "file: got a change, expected none"

@criterion("MIN-10")
@falsified_by(source("silent", **NOTE), expect=MARKS)
def test_claims_only_what_is_false(files):
    if "# changed" in files.read({file!r}):
        claim(MARKS[0], on={file!r}, got=1, expected=0)

@criterion("MIN-06")
@falsified_by(source("dirty", **NOTE), expect=MARKS)
def test_leaves_a_broken_clean_up(files, dirty):
    claim_no_marks(files)
"""

WITHOUT_BASELINES = """
from dataclasses import replace

from gateproof.proof.baseline import Baselines

find = Baselines.find

def pytest_runtest_protocol(item):
    if hasattr(item, "again") and "shares_its_baseline" not in item.nodeid:
        item.again = False

def invent(self, check, shape):
    found = find(self, check, shape)
    if found is None or "shares_its_baseline" not in check:
        return found
    return replace(found, story=found.story.model_copy(update={"falsifier": "gone"}))

Baselines.find = invent
"""
"""Makes a harness that runs all checks but one only once on an unchanged copy, and that refers to a
baseline without a record for that one."""

EXPECTED = (
    ("MIN-01", "predicted", "proven", "got 1, expected 0"),
    ("MIN-01", "another", "void", "red for another reason"),
    ("MIN-01", "misnamed", "void", "red for another reason"),
    ("MIN-01", "misplaced", "void", "red for another reason"),
    ("MIN-02", "denied", "void", "must be owner of the table"),
    ("MIN-02", "idle", "void", "did not land"),
    ("MIN-03", "unseen", "blind", "stayed green"),
    ("MIN-04", "breaks", "void", "not by an assertion"),
    ("MIN-05", "late", "void", "on its second run"),
    ("MIN-06", "dirty", "void", "broke before its end"),
    ("MIN-07", "any-change", "void", "after a change that does not matter"),
    ("MIN-08", "lent", "proven", "got 1, expected 0"),
    ("MIN-08", "borrowed", "proven", "got 1, expected 0"),
    ("MIN-09", "asserted", "void", "red by an assertion without a claim"),
    ("MIN-10", "silent", "void", "claims of the check: got none"),
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
    expect=("result of the proof", "denied", "got proven"),
)
@falsified_by(
    source(
        "believe-that-it-landed",
        "gateproof_evidence/judging/proof.py",
        "return after is not None and after != event.fingerprint_before",
        "return after is not None",
        tree="harness",
    ),
    expect=("result of the proof", "idle", "got proven"),
)
@falsified_by(
    source(
        "take-any-message-for-the-predicted",
        "gateproof_evidence/judging/claim.py",
        "return named and on_target and self.text in claim_text(claim)",
        "return named and on_target",
        tree="harness",
    ),
    expect=("result of the proof", "another", "got proven"),
)
@falsified_by(
    source(
        "take-any-claim-for-the-predicted",
        "gateproof_evidence/judging/claim.py",
        "named = not self.name or (claim.name == self.name and is_object(self.on, claim.on))",
        "named = not self.name or is_object(self.on, claim.on)",
        tree="harness",
    ),
    expect=("result of the proof", "misnamed", "got proven"),
)
@falsified_by(
    source(
        "take-any-object-for-the-predicted",
        "gateproof_evidence/judging/claim.py",
        "named = not self.name or (claim.name == self.name and is_object(self.on, claim.on))",
        "named = not self.name or claim.name == self.name",
        tree="harness",
    ),
    expect=("result of the proof", "misplaced", "got proven"),
)
@falsified_by(
    source(
        "take-an-assertion-for-a-claim",
        "gateproof_evidence/judging/proof.py",
        'return "" if predicted_finding(event) else _unpredicted(event)',
        "found = predicted_finding(event) or not event.findings\n"
        '    return "" if found else _unpredicted(event)',
        tree="harness",
    ),
    expect=("result of the proof", "asserted", "got proven"),
)
@falsified_by(
    source(
        "take-a-baseline-without-a-claim",
        "gateproof_evidence/judging/claim.py",
        'return "" if claims else NO_CLAIM',
        'return ""',
        tree="harness",
    ),
    expect=("result of the proof", "silent", "got proven"),
)
@falsified_by(
    source(
        "take-any-red-for-a-judgement",
        "gateproof_evidence/judging/proof.py",
        'if event.faulted_category != "assertion":',
        'if event.faulted_category == "limit":',
        tree="harness",
    ),
    expect=("message of the proof", "breaks", "red by an assertion without a claim"),
)
@falsified_by(
    source(
        "be-content-with-a-fault-that-landed",
        "gateproof_evidence/judging/proof.py",
        'return Falsification.BLIND, "the check stayed green under the fault"',
        'return Falsification.PROVEN, "the system stayed green under the fault"',
        tree="harness",
    ),
    expect=("result of the proof", "unseen", "got proven"),
)
@falsified_by(
    source(
        "claim-a-second-run-that-was-none",
        "gateproof/proof/proof.py",
        'last = _run_green(check, recorder, base, "baseline-again" if again else "baseline")',
        'last = "pass"',
        tree="harness",
    ),
    # The journal has no claim of that run, so that the proof is void all the same.
    expect=("message of the proof", "late", "is recorded as green"),
)
@falsified_by(
    source(
        "do-without-a-second-run",
        "gateproof_evidence/judging/verdict.py",
        "seen_again = not stories or any(story.baseline_runs > 1 for story in stories)",
        "seen_again = True",
        tree="harness",
    ),
    expect=("result of the proof", "second run left out", "got proven"),
)
@falsified_by(
    source(
        "leave-out-the-change-that-does-not-matter",
        "gateproof/proof/proof.py",
        'steps["control"] = fault.change_inertly(copy)',
        'steps["control"] = ""',
        tree="harness",
    ),
    expect=("result of the proof", "any-change", "got proven"),
)
@falsified_by(
    source(
        "believe-in-a-baseline-without-a-record",
        "gateproof_evidence/judging/proof.py",
        'baseline, runs = f"that of {name}, which has no whole record", 0',
        'baseline, runs = "pass", 2',
        tree="harness",
    ),
    expect=("result of the proof", "unknown baseline", "got proven"),
)
@falsified_by(
    source(
        "overlook-the-clean-up-of-a-proof",
        "gateproof_evidence/judging/verdict.py",
        'r.result == "raised" and (r.when != "call" or not events)',
        'r.result == "raised" and not events',
        tree="harness",
    ),
    expect=("result of the proof", "dirty", "got proven"),
)
def test_proof_counts_only_when_its_fault_landed_and_the_red_was_predicted(
    miniatures: MiniatureRunner,
) -> None:
    """Of fifteen proofs only the three sound ones count; the others are void or blind.

    Without the second run on an unchanged copy, or with a baseline that has no record, not even
    those count.
    """
    sut = miniatures.sut
    file = source_of(sut)
    ids = tuple(f"MIN-{number:02}" for number in range(1, 11))
    proofs = PROOFS.format(file=file, size=len((sut.folder / file).read_text(encoding="utf-8")))
    ran = miniatures.run(proofs, ids=ids)
    held = [
        judge_proof(ran, identifier, falsifier, (expected, reason))
        for identifier, falsifier, expected, reason in EXPECTED
    ]
    status = ran.exit_status
    if not (claim("exit status of the run", on="proofs", got=status, expected=100) and all(held)):
        return  # the second run would show the same
    ran = miniatures.run(proofs, ids=ids, conftest=WITHOUT_BASELINES)
    expected_now = ("void", "ran the check twice")
    judge_proof(ran, "MIN-01", "predicted", expected_now, on="second run left out")
    judge_proof(
        ran,
        "MIN-08",
        "borrowed",
        ("void", "gone, which has no whole record"),
        on="unknown baseline",
    )


def judge_proof(
    ran: Miniature, identifier: str, falsifier: str, expected: tuple[str, str], *, on: str = ""
) -> bool:
    """Judge the result of a proof, and a part of its message; return whether both are expected."""
    on, (wanted, reason) = on or falsifier, expected
    result, message = ran.proven(identifier).get(falsifier, ("no proof", ""))
    as_wanted = claim("result of the proof", on=on, got=result, expected=wanted)
    explained = claim(
        "message of the proof", on=on, got=message, relation="contains", expected=reason
    )
    return as_wanted and explained
