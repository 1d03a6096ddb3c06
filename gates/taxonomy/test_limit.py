"""Gate taxonomy: a check that exceeds its time limit shows nothing about the system."""

from __future__ import annotations

from gateproof import claim, criterion, falsified_by, source

from .miniature import LIMIT_S, SOUND, MiniatureRunner, source_of

WAIT_S = 3.0
"""How long a check waits without its limit: more than the three runs of a proof may take."""

SLOW = """
from threading import Event

from gateproof import falsified_by, source

@criterion("MIN-02", limit_s=0.5)
def test_slow(commands, sut):
    observe(commands, sut)
    Event().wait({wait_s})

@criterion("MIN-03", limit_s=0.5)
@falsified_by(
    source("hangs", {file!r}, append="# changed", imports=False), expect="exceeded its overall"
)
def test_hangs_under_the_change(files):
    text = files.read({file!r})
    claim("length of the file", got=len(text), relation="at_least", expected=1)
    if "# changed" in text:
        Event().wait({wait_s})
"""


@criterion("TAX-06", limit_s=LIMIT_S)
@falsified_by(
    source(
        "take-a-time-limit-for-a-failure",
        "gateproof/run/stage.py",
        '(LimitError, "limit"),',
        '(LimitError, "assertion"),',
        tree="harness",
    ),
    expect=("outcome and cause", "slow check", "got fail, gate_violation"),
)
@falsified_by(
    source(
        "wait-without-a-limit",
        "gateproof/plugin/hooks.py",
        "signal.setitimer(signal.ITIMER_REAL, limit_s)",
        "signal.setitimer(signal.ITIMER_REAL, 0)",
        tree="harness",
    ),
    expect=("outcome and cause", "slow check", "got pass, null"),
)
@falsified_by(
    source(
        "take-a-time-limit-for-the-predicted-red",
        "gateproof/proof/proof.py",
        'steps.update(faulted_category="limit", faulted=str(error))',
        'steps.update(faulted_category="assertion", faulted=str(error))',
        tree="harness",
    ),
    expect=("message of the proof", "check that hangs under a fault", "without a claim"),
)
def test_check_that_exceeds_its_limit_is_inconclusive(miniatures: MiniatureRunner) -> None:
    """A check that exceeds its limit is inconclusive, never a fail, and proves nothing."""
    file = source_of(miniatures.sut)
    ids = ("MIN-01", "MIN-02", "MIN-03")
    ran = miniatures.run(SOUND + SLOW.format(file=file, wait_s=WAIT_S), ids=ids)
    claim(
        "outcome and cause",
        on="slow check",
        got=ran.judged("MIN-02"),
        expected=["inconclusive", "to_investigate"],
    )
    message = ran.verdict("MIN-02").get("message", "")
    claim(
        "message of the check", on="slow check", got=message, relation="contains", expected="0.5 s"
    )
    result, message = ran.proven("MIN-03").get("hangs", ("no proof", ""))
    hangs = "check that hangs under a fault"
    claim("result of the proof", on=hangs, got=result, expected="void")
    claim(
        "message of the proof", on=hangs, got=message, relation="contains", expected="red by limit"
    )
    claim("exit status of the run", on="slow checks", got=ran.exit_status, expected=100)
