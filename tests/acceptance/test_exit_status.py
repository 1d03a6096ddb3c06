"""The end of a run: exit status, result and bundle, for every kind of outcome."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof_evidence.judging.proof import SPECIMENS
from gates.taxonomy.miniature import (
    COMMAND,
    NO_PROOFS,
    SOUND,
    Miniature,
    read_miniature,
    write_miniature,
)
from tests.acceptance.conftest import GATEPROOF, ROOT, run_command

Run = Callable[..., Miniature]

SECOND = """
@criterion("MIN-02")
def test_second(commands, sut):
    observe(commands, sut)
    {}
"""
TWO = ("MIN-01", "MIN-02")

NEEDS_NO_DATABASE = """
from gateproof import falsified_by, source

@criterion("MIN-01")
@falsified_by(
    source("marked", "system/worker.py", append="# a mark", imports=False),
    expect=("marks", "worker.py"),
)
def test_worker_file(files):
    marks = files.read("system/worker.py").count("# a mark")
    claim("marks", on="worker.py", got=marks, expected=0)
"""
"""A check that needs no database, and is proven."""

PROVEN = """
from gateproof import falsified_by, sql

COUNT = "SELECT count(*) FROM attribution_events"
MAKE = "INSERT INTO attribution_events (tenant_id, event_type) VALUES (gen_random_uuid(), 'x')"

@criterion("MIN-01")
{falsifiers}
def test_no_events(own_stack):
    seen = own_stack.sql.query(COUNT).scalar()
    {claim}
"""
CLAIM = 'claim("events", got=seen, expected=0)'
LENIENT = 'claim("events", got=seen, relation="at_least", expected=0)'


MAKES_A_ROW = """own_stack.sql.execute(MAKE)
    seen = own_stack.sql.query(COUNT).scalar()
    claim("events", got=seen, expected=1)
"""


def falsifier(
    *, statement: str = "MAKE", landing: str = "COUNT", expect: str = "events: got 1"
) -> str:
    """Return the source of a falsifier that inserts a row."""
    return (
        f'@falsified_by(sql("put-one-in", {statement}, landing={landing}, role="superuser"), '
        f'expect="{expect}")'
    )


def verify(bundle: Path) -> tuple[int, str]:
    """Verify a bundle as an auditor would; return exit status and output."""
    done = run_command([*GATEPROOF, "verify", str(bundle)], folder=bundle.parent)
    return done.returncode, done.stdout


def test_run_with_a_proven_check_is_released(run_gates: Run, tmp_path: Path) -> None:
    """A check that passes and is proven: exit status 0, released, and the bundle verifies."""
    ran = run_gates(PROVEN.format(falsifiers=falsifier(), claim=CLAIM))
    assert ran.exit_status == 0, ran.output
    assert ran.run["result"] == "released"
    [verdict] = ran.run["criteria"]
    assert verdict["falsification"] == "proven"
    assert verdict["proofs"][0]["message"] == "events: got 1, expected 0"
    status, output = verify(tmp_path / "reports" / "latest")
    assert status == 0, output
    assert "signer unknown" in output


NOT_PROVEN = {
    "blind": (falsifier(), LENIENT, "blind", "stayed green"),
    "not-landed": (falsifier(statement="'SELECT 1'"), CLAIM, "void", "did not land"),
    "other-message": (falsifier(expect="another message"), CLAIM, "void", "red for another reason"),
    "other-error": (falsifier(), f"{LENIENT}; seen == 0 or 1 / 0", "void", "red by other"),
    "assertion": (
        falsifier(),
        f'{LENIENT}; assert not seen, "events: got 1"',
        "void",
        "without a claim",
    ),
    "no-second-run": (falsifier(expect="events: got 2"), MAKES_A_ROW, "void", "on its second run"),
    "fault-refused": (
        falsifier(statement="'SELECT nonsense'"),
        CLAIM,
        "void",
        "could not be injected: UndefinedColumn",
    ),
}
"""Checks whose falsifier shows nothing: its source, the claim, the result, a part of the message.
They are judged in one run."""
IDS = {name: f"MIN-{number:02}" for number, name in enumerate(NOT_PROVEN, 1)}


@pytest.fixture(scope="module")
def not_proven(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """Return the run of all checks that are not proven."""
    folder = tmp_path_factory.mktemp("not-proven")
    checks = PROVEN.split("@criterion")[0] + "".join(
        "@criterion"
        + PROVEN.split("@criterion")[1]
        .format(falsifiers=falsifiers, claim=claim)
        .replace("MIN-01", IDS[name])
        .replace("test_no_events", f"test_{name.replace('-', '_')}")
        for name, (falsifiers, claim, _, _) in NOT_PROVEN.items()
    )
    sut = load_sut(ROOT / "system/sut.toml")
    write_miniature(sut, folder, checks=checks, ids=tuple(IDS.values()))
    done = run_command([*COMMAND], folder=folder)
    return read_miniature(folder, exit_status=done.returncode, output=done.stdout)


@pytest.mark.parametrize("name", list(NOT_PROVEN))
def test_run_with_a_check_that_is_not_proven_is_red(not_proven: Miniature, name: str) -> None:
    """A blind check and a void proof each block the run, which ends with exit status 100."""
    _, _, falsification, message = NOT_PROVEN[name]
    ran = not_proven
    assert (ran.exit_status, ran.run["result"]) == (100, "blocked"), ran.output
    verdict = ran.verdict(IDS[name])
    assert verdict["outcome"] == "pass"
    assert verdict["falsification"] == falsification
    assert message in verdict["proofs"][0]["message"]
    found = [one for one in ran.run["reasons"] if one.startswith(IDS[name])]
    assert any(message in one for one in found), ran.run["reasons"]


def test_run_without_proofs_is_partial(run_gates: Run) -> None:
    """With --no-falsify the result is partial, even when every check passes."""
    ran = run_gates(NEEDS_NO_DATABASE, ("MIN-01",), "--no-falsify")
    assert (ran.exit_status, ran.run["result"]) == (100, "partial")


BARE = NEEDS_NO_DATABASE.replace(
    'claim("marks", on="worker.py", got=marks, expected=0)',
    'assert marks == 0, f"marks: worker.py: got {marks}, expected 0"',
)


def test_run_of_bare_assertions_is_blocked(run_gates: Run) -> None:
    """A check that asserts and claims nothing is no pass and proves nothing, and says why."""
    ran = run_gates(BARE)
    assert (ran.exit_status, ran.run["result"]) == (100, "blocked"), ran.output
    verdict = ran.verdict("MIN-01")
    assert (verdict["outcome"], verdict["cause"]) == ("inconclusive", "to_investigate")
    assert verdict["claims"] == []
    why = "claims of the check: got none, expected at least one; record what the check finds with"
    assert verdict["message"].startswith(f"{why} claim(...)")
    assert ran.proven("MIN-01")["marked"][0] == "void"
    assert ran.proven("MIN-01")["marked"][1].startswith(f"baseline was not green: {why}")
    assert f"MIN-01 inconclusive (to_investigate): {why}" in " ".join(ran.output.split())


def test_bare_assertion_that_fails_is_a_violation(run_gates: Run) -> None:
    """An assertion alone makes no pass, and still makes a fail."""
    ran = run_gates(BARE.replace("marks == 0", "marks == 7"), ("MIN-01",), *NO_PROOFS)
    assert (ran.exit_status, ran.judged("MIN-01")) == (1, ("fail", "gate_violation")), ran.output


def test_run_with_a_false_claim_is_red_and_so_is_its_bundle(run_gates: Run, tmp_path: Path) -> None:
    """A fail is exit status 1; its bundle verifies, and is refused with --require-released."""
    ran = run_gates(SOUND + SECOND.format('assert False, "the claim is false"'), TWO)
    assert ran.exit_status == 1, ran.output
    assert ran.judged("MIN-02") == ("fail", "gate_violation")
    bundle = tmp_path / "reports" / "latest"
    assert verify(bundle)[0] == 0
    command = [*GATEPROOF, "verify", "--require-released", str(bundle)]
    assert run_command(command, folder=tmp_path).returncode == 1


WAIVER = (
    '[[waiver]]\ncriterion = "MIN-02"\nreason = "planned work"\nowner = "ops"\nexpires = "{}"\n'
)


@pytest.mark.parametrize(
    ("expires", "status", "disposition"),
    [("2999-01-01", 0, "waived"), ("2020-01-01", 1, "waiver_expired")],
)
def test_waiver_covers_a_fail_until_it_expires(
    run_gates: Run, sut: Sut, tmp_path: Path, expires: str, status: int, disposition: str
) -> None:
    """A run with a valid waiver is released and shows it; an expired waiver has no effect."""
    checks = NEEDS_NO_DATABASE + SECOND.format('assert False, "the claim is false"')
    write_miniature(sut, tmp_path, checks=checks, ids=TWO)
    (tmp_path / "gates" / "waivers.toml").write_text(WAIVER.format(expires))
    ran = run_gates(checks, TWO)
    assert ran.exit_status == status, ran.output
    assert ran.verdict("MIN-02")["disposition"] == disposition
    assert ran.verdict("MIN-02")["outcome"] == "fail"


def test_selection_names_what_was_not_selected(run_gates: Run) -> None:
    """A selection is partial: exit status 100, and the other criteria are notselected."""
    ran = run_gates(NEEDS_NO_DATABASE + SECOND.format("pass"), TWO, "-k", "worker_file")
    assert (ran.exit_status, ran.run["result"]) == (100, "partial")
    assert ran.judged("MIN-01") == ("pass", None)
    assert ran.judged("MIN-02") == ("notselected", None)


def test_selection_by_node_id_is_accepted(sut: Sut, tmp_path: Path) -> None:
    """A node id selects one check; criteria whose checks were not collected are notselected."""
    write_miniature(sut, tmp_path, checks=SOUND + SECOND.format("pass"), ids=TWO)
    command = [sys.executable, "-m", "pytest", "gates/test_miniature.py::test_second"]
    command += ["--evidence-out", "reports", "--sut", "sut.toml", "--no-falsify"]
    command += ["--environment", "embedded"]
    done = run_command(command, folder=tmp_path)
    assert done.returncode == 100, done.stdout
    run = json.loads((tmp_path / "reports" / "latest" / "data" / "run.json").read_text())
    outcomes = {verdict["id"]: verdict["outcome"] for verdict in run["criteria"]}
    assert outcomes == {"MIN-01": "notselected", "MIN-02": "pass"}


def test_node_id_selects_a_check_with_its_proofs_or_one_proof_alone(
    sut: Sut, tmp_path: Path
) -> None:
    """Each proof has its own node id, which starts with that of its check."""
    checks = SOUND.replace("MIN-01", "MIN-02") + NEEDS_NO_DATABASE
    write_miniature(sut, tmp_path, checks=checks, ids=TWO)
    check = "gates/test_miniature.py::test_worker_file"
    proof = f"{check}[proof-marked]"
    for selected, outcome, own in ((check, "pass", 2), (proof, "notselected", 1)):
        command = [word if word != "gates" else selected for word in COMMAND]
        done = run_command([*command, "-v"], folder=tmp_path)
        assert f"{proof} PASSED" in done.stdout, done.stdout
        assert f"{own + len(SPECIMENS)} passed" in done.stdout
        ran = read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)
        verdict = ran.verdict("MIN-01")
        assert (verdict["outcome"], verdict["falsification"]) == (outcome, "proven")
        assert ran.judged("MIN-02") == ("notselected", None)


def test_check_past_its_overall_limit_is_inconclusive(run_gates: Run) -> None:
    """A check that does not end is stopped, and its claim is not judged."""
    checks = """
import threading
@criterion("MIN-01", limit_s=0.3)
def test_endless(commands, sut):
    observe(commands, sut)
    threading.Event().wait(60)
"""
    ran = run_gates(checks)
    assert ran.exit_status == 100, ran.output
    assert ran.judged("MIN-01") == ("inconclusive", "to_investigate")
    assert "overall limit of 0.3 s" in ran.verdict("MIN-01")["message"]


def test_broken_teardown_is_a_harness_defect(run_gates: Run) -> None:
    """A check whose teardown raises is an error of the harness, even when its claim holds."""
    checks = """
@pytest.fixture
def leaky():
    yield
    raise RuntimeError("teardown broke")

@criterion("MIN-01")
def test_leaky(leaky, commands, sut):
    observe(commands, sut)
"""
    ran = run_gates(checks)
    assert ran.exit_status == 103, ran.output
    assert ran.judged("MIN-01") == ("error", "harness_defect")


PREMISED = """
from gateproof import falsified_by, premise, source

@criterion("MIN-01")
@falsified_by(
    source("marked", "system/worker.py", append="# a mark", imports=False),
    expect=("the file has a mark", "worker.py"),
)
def test_worker_file(files):
    text = files.read("system/worker.py")
    premise("the file has a mark", got="# a mark" in text, expected={expected})
    claim("the file has a mark", on="worker.py", got="# a mark" in text, expected=False)
"""


def test_premise_that_does_not_hold_is_no_violation(run_gates: Run) -> None:
    """The claim was not judged: inconclusive, to be investigated, and exit status 100."""
    ran = run_gates(PREMISED.format(expected=True))
    assert ran.exit_status == 100, ran.output
    assert ran.judged("MIN-01") == ("inconclusive", "to_investigate")
    message = ran.verdict("MIN-01")["message"]
    assert message == "premise: the file has a mark: got false, expected true"


def test_premise_is_not_the_predicted_failure(run_gates: Run) -> None:
    """A fault that breaks a premise proves nothing, though its words are the predicted ones."""
    ran = run_gates(PREMISED.format(expected=False))
    assert ran.exit_status == 100, ran.output
    result, message = ran.proven("MIN-01")["marked"]
    assert result == "void"
    assert message.startswith("red by a premise, which the fault broke instead of the claim")


@pytest.mark.parametrize("expect", ["got", ":", "got 1, expected"])
def test_prediction_that_any_failure_meets_is_bad_input(run_gates: Run, expect: str) -> None:
    """A prediction of house words is refused before anything starts, with the reason."""
    ran = run_gates(PROVEN.format(falsifiers=falsifier(expect=expect), claim=CLAIM))
    assert ran.exit_status == 4, ran.output
    refusal = f"falsifier put-one-in: predicted text: got {expect!r}, expected 10 characters"
    assert refusal in " ".join(ran.output.split())
