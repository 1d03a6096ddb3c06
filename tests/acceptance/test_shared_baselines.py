"""Proofs of a check share its baseline: one for each kind of copy, unless all are asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateproof.description.reading import load_sut
from gateproof_evidence.format.recording.journal import read_journal
from gateproof_evidence.model import ProofEvent
from gates.taxonomy.miniature import COMMAND, Miniature, read_miniature, write_miniature
from tests.acceptance.conftest import GATEPROOF, ROOT, create_key, run_command

Run = Callable[..., Miniature]

CHECKS = """
from gateproof import falsified_by, file, source

MODULE, PAGE = "system/worker.py", "README.md"

def mark(name):
    return source(name, MODULE, append=f"# {name}", imports=False)

@criterion("MIN-01")
@falsified_by(mark("mark-one"), expect=("marks", MODULE))
@falsified_by(mark("mark-two"), expect=("marks", MODULE))
@falsified_by(file("mark-page", PAGE, append="mark-page"), expect=("marks", PAGE))
@falsified_by(file("mark-page-again", PAGE, append="mark-again"), expect=("marks", PAGE))
def test_marks(files):
    for name in (MODULE, PAGE):
        claim("marks", on=name, got=(files.read(name) or "").count("mark-"), expected=0)
"""

NAMES = ("mark-one", "mark-two", "mark-page", "mark-page-again")

BOTH = """
from gateproof import falsified_by, source

MODULE = "system/worker.py"

@criterion("MIN-01")
@falsified_by(source("mark", MODULE, append="# mark", imports=False), expect=("marks", "first"))
def test_marks(files):
    for name in ("first", "second"):
        claim("marks", on=name, got=(files.read(MODULE) or "").count("# mark"), expected=0)
"""

DATABASE = """
from gateproof import falsified_by, process, settings, sql

@criterion("MIN-01")
@falsified_by(
    sql("table-a", "CREATE TABLE mark_a ()", landing="SELECT to_regclass('mark_a')"),
    expect=("tables with a mark", "", "mark_a"),
)
@falsified_by(
    sql("table-b", "CREATE TABLE mark_b ()", landing="SELECT to_regclass('mark_b')"),
    expect=("tables with a mark", "", "mark_b"),
)
@falsified_by(settings("variable", {"MARK": "1"}), expect=("marked environment", "worker"))
@falsified_by(process("killed", "kill"), expect=("running process", "worker"))
def test_answers_and_has_no_mark(stack):
    worker = stack.worker
    found = stack.sql.query("SELECT relname FROM pg_class WHERE relname LIKE 'mark_%'").rows
    claim("tables with a mark", got=[name for (name,) in found], expected=[])
    seen = json.loads(stack.seen_environment(["MARK"]))["MARK"]
    claim("running process", on="worker", got=worker.alive, expected=True)
    claim("marked environment", on="worker", got=bool(seen), expected=False)
"""


def shared(ran: Miniature) -> dict[str, str]:
    """Return the falsifier whose baseline counts, for each falsifier."""
    return {one["falsifier"]: one["baseline_of"] for one in ran.verdict("MIN-01")["proofs"]}


def results(ran: Miniature) -> set[str]:
    """Return the results of all proofs."""
    return {result for result, _ in ran.proven("MIN-01").values()}


def record(folder: Path, falsifier: str) -> dict[str, Any]:
    """Return the record of a proof in the last bundle."""
    [found] = [
        one
        for one in read_journal([folder / "reports/latest/data/journal.jsonl"])
        if isinstance(one, ProofEvent) and one.falsifier == falsifier
    ]
    return found.model_dump()


def steps(folder: Path, falsifier: str) -> set[str]:
    """Return the steps of a proof that the headings of its transcript name."""
    path = folder / "reports/latest/data/transcripts/miniature/MIN-01" / f"{falsifier}.txt"
    return set(re.findall(r"^=== \S+  \S+  \S+  (\S+)$", path.read_text(), re.MULTILINE))


def verify(folder: Path) -> tuple[int, str]:
    """Verify the last bundle as a thorough one; return the exit status and the finding about it."""
    command = [*GATEPROOF, "verify", "--require-thorough", "reports/latest"]
    done = run_command(command, folder=folder)
    found = [line.strip() for line in done.stdout.splitlines() if "NOT_THOROUGH" in line]
    return done.returncode, "\n".join(found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one run of `CHECKS` with all proofs, which several tests judge."""
    folder = tmp_path_factory.mktemp("whole")
    sut = load_sut(ROOT / "system/sut.toml")
    write_miniature(sut, folder, checks=CHECKS, ids=("MIN-01",))
    done = run_command([*COMMAND], folder=folder)
    assert done.returncode == 0, done.stdout
    return folder


def test_proofs_of_one_kind_of_copy_share_one_baseline(whole: Path) -> None:
    """The first proof of each kind runs the check before its fault; the record names its runs."""
    ran = read_miniature(whole, exit_status=0, output="")
    assert (ran.run["exit_status"], results(ran)) == (0, {"proven"})
    assert shared(ran) == {
        "mark-one": "",
        "mark-two": "mark-one",
        "mark-page": "",
        "mark-page-again": "mark-page",
    }
    records = {name: record(whole, name) for name in NAMES}
    assert {name: one["baseline_runs"] for name, one in records.items()} == {
        "mark-one": 2,
        "mark-two": 0,
        "mark-page": 1,
        "mark-page-again": 0,
    }
    assert records["mark-page"]["control"] == "in README.md: add an empty line at the end"
    assert steps(whole, "mark-one") == {"baseline", "baseline-again", "faulted"}
    assert steps(whole, "mark-two") == {"faulted"}


def test_check_ends_at_the_predicted_finding_unless_the_run_is_thorough(
    run_gates: Run, tmp_path: Path
) -> None:
    """A thorough run records all findings under a fault, another one those up to the predicted."""
    for arguments, found in (((), ["first"]), (("--falsify=thorough",), ["first", "second"])):
        ran = run_gates(BOTH, ("MIN-01",), *arguments)
        assert results(ran) == {"proven"}, ran.output
        assert [one["on"] for one in record(tmp_path, "mark")["findings"]] == found


def test_report_names_the_proof_whose_baseline_counts(whole: Path) -> None:
    """A reader finds where the check ran before the fault, in the page and in the terminal."""
    page = (whole / "reports/latest/data/report.html").read_text(encoding="utf-8")
    words = r'<a href="[^"]*/{0}\.txt#[^"]*">baseline</a> of the proof by <b>{0}</b>, on a copy'
    counts = {name: len(re.findall(words.format(name), page)) for name in NAMES}
    assert counts == {"mark-one": 1, "mark-two": 0, "mark-page": 1, "mark-page-again": 0}
    command = [*GATEPROOF, "show", "reports/latest", "--criterion", "MIN-01"]
    shown = run_command(command, folder=whole)
    assert shown.returncode == 0, shown.stdout
    assert "that of the proof by mark-one" in " ".join(shown.stdout.split())


def test_thorough_run_shares_no_baseline(run_gates: Run, tmp_path: Path) -> None:
    """With --falsify=thorough each proof runs its check before its fault, and it is released."""
    ran = run_gates(CHECKS, ("MIN-01",), "--falsify=thorough")
    assert (ran.exit_status, ran.run["falsify"], results(ran)) == (0, "all", {"proven"})
    assert set(shared(ran).values()) == {""}
    assert all(record(tmp_path, name)["baseline_runs"] > 0 for name in NAMES)
    assert verify(tmp_path) == (0, "")


def test_verifier_can_require_a_thorough_run(whole: Path, run_gates: Run, tmp_path: Path) -> None:
    """A release may demand it: shared baselines and a selection of proofs are findings."""
    assert verify(whole) == (
        1,
        (
            "NOT_THOROUGH data/run.json: proofs with a baseline of their own: got 2 proofs "
            "without one, such as MIN-01:mark-two, MIN-01:mark-page-again, expected all "
            "(--falsify=thorough)"
        ),
    )
    run_gates(CHECKS, ("MIN-01",), "--falsify=mark-one")
    status, finding = verify(tmp_path)
    assert (status, "got a run with some of the proofs" in finding) == (1, True)


def test_red_baseline_counts_for_all_its_proofs(run_gates: Run) -> None:
    """A check that is red on one kind of copy makes the proofs void that refer to it, no others."""
    red = CHECKS.replace("(files):", "(files, recorder):").replace(
        "    for name in",
        """    assert "mark-one:baseline" not in recorder.scope.part, "red on this copy"
    for name in""",
    )
    ran = run_gates(red)
    proofs = ran.proven("MIN-01")
    assert proofs["mark-one"] == proofs["mark-two"]
    assert proofs["mark-one"][0] == "void"
    assert proofs["mark-one"][1].startswith("baseline was not green: red on this copy")
    assert proofs["mark-page"] == proofs["mark-page-again"]
    assert "no proof ran the check twice" in proofs["mark-page"][1]
    assert ran.exit_status == 100, ran.output


def test_faults_of_a_database_share_a_baseline_and_a_cold_start_does_not(
    run_gates: Run, tmp_path: Path
) -> None:
    """SQL and process faults have one kind of copy; settings start processes cold: another."""
    ran = run_gates(f"import json\n{DATABASE}")
    assert results(ran) == {"proven"}, ran.proven("MIN-01")
    assert shared(ran) == {
        "table-a": "",
        "table-b": "table-a",
        "variable": "",
        "killed": "table-a",
    }
    assert "COMMENT ON DATABASE" in record(tmp_path, "table-a")["control"]
    journal = (tmp_path / "reports/latest/data/journal.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in journal.splitlines()]
    before = [
        one["probe"] for one in records if one.get("part") == "proof:table-b" and "probe" in one
    ]
    assert "worker" in before, "the worker runs before the fault, as in the proof with the baseline"
    assert "start cold" in record(tmp_path, "variable")["shape"]


def test_proof_is_taken_over_only_with_the_baseline_that_counts_for_it(
    run_gates: Run, tmp_path: Path
) -> None:
    """A run that leaves out the first proof repeats the second, with a baseline of its own."""
    create_key("signer", folder=tmp_path)
    sign = ("--signing-key", "signer")
    run_gates(CHECKS, ("MIN-01",), *sign)
    take = (*sign, "--proofs-from", "reports/latest", "--proofs-key", "signer.pub.pem")
    whole = run_gates(CHECKS, ("MIN-01",), *take)
    assert "4 taken over" in whole.output
    assert shared(whole)["mark-two"] == "mark-one"
    assert whole.exit_status == 0, whole.output
    part = run_gates(CHECKS, ("MIN-01",), *take, "-k", "proof-mark-two or not proof")
    assert shared(part)["mark-two"] == "", part.output
    assert part.proven("MIN-01")["mark-two"][0] == "proven"


def test_matrix_takes_shared_baselines_into_account(run_gates: Run) -> None:
    """A proof that refers to another's baseline is a cell of the matrix like the others."""
    second = CHECKS.replace("test_marks", "test_others").replace("MIN-01", "MIN-02")
    ran = run_gates(CHECKS + second, ("MIN-01", "MIN-02"), "--falsify=matrix")
    assert ran.exit_status == 0, ran.output
    assert shared(ran)["mark-two"] == "mark-one"
    assert [cell["result"] for cell in ran.run["matrix"]] == ["killed"] * 16


def test_first_proof_runs_its_check_twice_in_any_order(
    write_gates: Callable[..., None], run_gates: Run, tmp_path: Path
) -> None:
    """A plugin can change the order of the items: a check is still run twice before a fault."""
    write = "def pytest_collection_finish(session):\n    session.items.reverse()\n"
    write_gates(CHECKS, ("MIN-01",))
    (tmp_path / "gates" / "conftest.py").write_text(write, encoding="utf-8")
    ran = run_gates(CHECKS)
    assert (ran.exit_status, results(ran)) == (0, {"proven"}), ran.output
    assert shared(ran)["mark-two"] == ""
    assert record(tmp_path, "mark-one")["baseline_runs"] == 2


def test_proofs_count_with_several_processes(run_gates: Run, tmp_path: Path) -> None:
    """With several processes every proof counts, and the file of durations has each item."""
    second = CHECKS.replace("test_marks", "test_others").replace("MIN-01", "MIN-02")
    ran = run_gates(
        CHECKS + second,
        ("MIN-01", "MIN-02"),
        *("-n", "2", "--durations-json", "durations.json"),
    )
    assert ran.exit_status == 0, ran.output
    assert results(ran) == {"proven"}
    assert "pace: 8 proofs in " in ran.output
    content = json.loads((tmp_path / "durations.json").read_text(encoding="utf-8"))
    assert (content["processes"], content["checks"], content["proofs"]) == (2, 2, 8)
    assert {item["process"] for item in content["items"]} <= {"gw0", "gw1"}


def test_file_of_durations_in_a_missing_folder_is_bad_input(run_gates: Run) -> None:
    """Before anything runs, the message names the option and what is expected."""
    ran = run_gates(CHECKS, ("MIN-01",), "--durations-json", "missing/durations.json")
    assert (ran.exit_status, ran.run) == (4, {})
    assert "--durations-json: got no folder, expected a file in a folder that exists" in ran.output
