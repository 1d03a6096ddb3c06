"""Checks are run again on what a bundle recorded: the same ones change nothing, others say what."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gates.taxonomy.miniature import Miniature
from tests.acceptance.conftest import GATEPROOF

Run = Callable[..., Miniature]
IDS = ("MIN-01", "MIN-02", "MIN-03")
CHECKS = """
import time
from gateproof import monotonic_s, wait_until

TABLE = "CREATE TABLE IF NOT EXISTS played (id text PRIMARY KEY, at timestamptz DEFAULT now())"

@criterion("MIN-01")
def test_rows(own_stack, ids):
    own_stack.sql.execute(TABLE)
    mine = [ids.slug("row") for _ in range(3)]
    with own_stack.sql.session() as session:
        for one in mine:
            session.query("INSERT INTO played (id) VALUES (%s)", (one,))
        session.commit()
    rows = own_stack.sql.query("SELECT id, at FROM played ORDER BY at, id").dicts()
    premise("rows", got=len(rows), expected=3)
    claim("ids", on="played", got=sorted(row["id"] for row in rows), expected=sorted(mine))
    refused = own_stack.sql.attempt("INSERT INTO played (id) VALUES (%s)", (mine[0],))
    claim("refused", on="played", got=refused.sqlstate, expected="23505")

@criterion("MIN-02")
def test_wait(own_stack):
    began = monotonic_s()
    grown = wait_until(
        lambda: own_stack.sql.query("SELECT clock_timestamp() > now() - interval '1 s'").scalar(),
        deadline_s=5,
    )
    claim("clock", got=grown, expected=True)
    claim("seconds", got=round(monotonic_s() - began, 1), relation="at_most", expected=5)

@criterion("MIN-03")
def test_own_file(files, tmp_path):
    files.read("system/worker.py")
    (tmp_path / "own").write_text("1")
    claim("own file", got=(tmp_path / "own").read_text(), expected="1")
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for the one run of this module."""
    return tmp_path_factory.mktemp("played")


@pytest.fixture
def bundle(run_gates: Run, tmp_path: Path, recorded: Path) -> Path:
    """A folder with a project and its bundle, whose checks ran once for this module."""
    project = recorded / "project"
    if not project.exists():
        ran = run_gates(CHECKS, IDS, "--no-falsify")
        assert {one: ran.judged(one)[0] for one in IDS} == dict.fromkeys(IDS, "pass"), ran.output
        shutil.copytree(tmp_path, project, symlinks=True)
    own = tmp_path / "own"
    shutil.copytree(project, own, symlinks=True)
    return own


def rejudge(project: Path, *options: str, gates: str = "gates") -> tuple[int, dict[str, Any]]:
    """Return the exit status of playing a project's checks back, and the document."""
    [archive] = (project / "reports").glob("2*.zip")
    command = [*GATEPROOF, "rejudge", str(archive), "--gates", gates, "--sut", "sut.toml"]
    done = subprocess.run(
        [*command, *options, "--json"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def change(project: Path, before: str, after: str) -> None:
    """Change the checks of a project."""
    module = project / "gates" / "test_miniature.py"
    text = module.read_text()
    assert before in text, before
    module.write_text(text.replace(before, after))


def test_same_checks_state_the_same(bundle: Path) -> None:
    """All three are played back from the archive without a server, and nothing differs."""
    status, found = rejudge(bundle)
    assert (found["played"], found["not_played"], found["changes"]) == (list(IDS), {}, {})
    assert (status, found["ok"], found["verdicts"]) == (0, True, [])


def test_options_of_pytest_in_the_environment_leave_no_check_out(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A selection in PYTEST_ADDOPTS, which is meant for runs of the gates, has no effect."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k no_check_has_this_name")
    status, found = rejudge(bundle)
    assert (status, found["played"], found["not_played"]) == (0, list(IDS), {})


def test_inverted_claim_is_reported_and_fails_its_criterion(bundle: Path) -> None:
    """A check that states the opposite of what was observed fails on the old evidence."""
    change(bundle, 'got=refused.sqlstate, expected="23505"', 'got=refused.sqlstate, expected="x"')
    status, found = rejudge(bundle)
    assert status == 1
    assert list(found["changes"]) == ["MIN-01"]
    first, second = found["changes"]["MIN-01"]
    assert first.startswith("only recorded: claim refused: played: got 23505, expected 23505")
    assert second.startswith("only played back: claim refused: played: got 23505, expected x")
    [verdict] = found["verdicts"]
    assert (verdict["criterion"], verdict["what"]) == ("MIN-01", "outcome")
    assert (verdict["recorded"], verdict["again"]) == ("pass", "fail")
    assert found["result"]["again"] == "blocked"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        pytest.param(
            "SELECT id, at FROM played ORDER BY at, id",
            "SELECT id FROM played",
            "asked for what was not recorded: query('SELECT id FROM played')",
            id="other-statement",
        ),
        pytest.param(
            "range(3)", "range(4)", "asked for what was not recorded: another", id="more-ids"
        ),
        pytest.param(
            "sql.attempt(", "tasks.publish(", "asked for what was not recorded: tasks", id="probe"
        ),
    ],
)
def test_check_that_asks_for_more_is_listed_and_judged_by_its_record(
    bundle: Path, before: str, after: str, reason: str
) -> None:
    """A request that was not recorded is no verdict: the recorded claims are judged."""
    change(bundle, before, after)
    status, found = rejudge(bundle)
    assert found["not_played"]["MIN-01"].startswith(reason), found["not_played"]
    assert found["played"] == ["MIN-02", "MIN-03"]
    assert (status, found["changes"], found["verdicts"]) == (0, {}, [])


def test_check_that_ends_with_an_error_of_its_own_is_listed(bundle: Path) -> None:
    """A file that is gone is no finding: the recorded claims of that criterion are judged."""
    change(bundle, '(tmp_path / "own").write_text("1")', "pass")
    status, found = rejudge(bundle)
    assert found["not_played"]["MIN-03"].startswith("call: FileNotFoundError"), found["not_played"]
    assert (status, found["played"], found["changes"]) == (0, ["MIN-01", "MIN-02"], {})


def test_list_of_those_that_cannot_be_played_back_is_compared(bundle: Path) -> None:
    """A criterion that is missing on the list, and one that is played back, are findings."""
    change(bundle, "SELECT id, at FROM", "SELECT at, id FROM")
    (bundle / "list.txt").write_text("MIN-01 asks another statement\n")
    assert rejudge(bundle, "--not-played", "list.txt")[0] == 0
    (bundle / "list.txt").write_text("# none\n")
    status, found = rejudge(bundle, "--not-played", "list.txt")
    assert (status, len(found["list_findings"])) == (1, 1)
    (bundle / "list.txt").write_text("MIN-01 x\nMIN-02 y\n")
    status, found = rejudge(bundle, "--not-played", "list.txt")
    assert (status, found["list_findings"]) == (
        1,
        ["MIN-02: got a playback, expected none; remove it from list.txt"],
    )


def test_changed_answers_are_refused(bundle: Path) -> None:
    """The files of answers are signed: with another byte, nothing is played back."""
    [folder] = [
        one for one in (bundle / "reports").iterdir() if one.is_dir() and not one.is_symlink()
    ]
    answers = next((folder / "data" / "answers").rglob("MIN-01*"))
    answers.write_text(answers.read_text().replace("23505", "23506"))
    done = subprocess.run(
        [*GATEPROOF, "rejudge", str(folder), "--gates", "gates", "--sut", "sut.toml"],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "so nothing was judged" in done.stdout


def test_folder_whose_checks_do_not_import_is_bad_input(bundle: Path) -> None:
    """A syntax error is no playback of no check: the command names it."""
    change(bundle, "import time", "import time time")
    [archive] = (bundle / "reports").glob("2*.zip")
    done = subprocess.run(
        [*GATEPROOF, "rejudge", str(archive), "--gates", "gates", "--sut", "sut.toml"],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stdout
    assert "--gates gates: pytest ended with" in done.stderr
