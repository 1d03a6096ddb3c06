"""`gateproof mutate` on a small system: what the gates see, what they do not, and continuing.

Owns a system without a database, whose gate judges a price for two counts. Mutants at the border
between them survive, and so do those of a function that no check runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateproof import wait_until
from tests.acceptance.conftest import GATEPROOF, run_command

FILES = {
    "sut.toml": """
version = 2
name = "kiosk"
root = "."
python = "{python}"
sources = ["kiosk"]
gates = ["gates"]
""",
    "pytest.ini": "[pytest]\n",
    "kiosk/__init__.py": "",
    "kiosk/price.py": """
RATE = 3

def price(count):
    if count > 10:
        return count * RATE - 1
    return count * RATE

def unused(count):
    return count + 1
""",
    "kiosk/report.py": """
import sys
from kiosk.price import price

if __name__ == "__main__":
    print(price(int(sys.argv[1])))
""",
    "gates/__init__.py": "",
    "gates/criteria.toml": """
[[criterion]]
id = "KSK-01"
gate = "kiosk"
phase = "one"
severity = "high"
statement = "Two cost six, and twenty cost one less than sixty."
source = "test"
""",
    "gates/test_price.py": """
from gateproof import claim, criterion, falsified_by, source

@criterion("KSK-01")
@falsified_by(
    source("dearer", "kiosk/price.py", "RATE = 3", "RATE = 4", imports=False),
    expect=("price", "2", "got 8"),
)
def test_price(commands, sut):
    for count, wanted in (("2", "6"), ("20", "59")):
        command = [sut.interpreter, "-m", "kiosk.report", count]
        got = commands.run(command, env={}, folder=sut.folder).output.strip()
        claim("price", on=count, got=got, expected=wanted)
""",
}
BORDER = "code:boundary:kiosk/price.py:price:*"


@dataclass(frozen=True, kw_only=True)
class Kiosk:
    """The system with its gates and a bundle of them."""

    folder: Path

    def mutate(self, *arguments: str) -> tuple[int, str]:
        """Run the command; return its exit status and its output."""
        command = [*GATEPROOF, "mutate", "--processes", "2", *arguments]
        done = run_command(command, folder=self.folder)
        return done.returncode, done.stdout

    @property
    def mutants(self) -> dict[str, dict[str, Any]]:
        """The mutants of the last result, by id."""
        return {one["id"]: one for one in self.result["mutants"]}

    @property
    def result(self) -> dict[str, Any]:
        """The last result."""
        found: dict[str, Any] = json.loads(
            (self.folder / "reports/mutation/mutation.json").read_bytes()
        )
        return found

    def digest(self) -> str:
        """Return a digest of all files that are not of a report."""
        found = hashlib.sha256()
        for path in sorted(self.folder.rglob("*.*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and not name.startswith("reports") and "__pycache__" not in name:
                found.update(f"{name}\0".encode() + path.read_bytes())
        return found.hexdigest()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Kiosk:
    """The system after a run of its gates, and a mutation run of everything."""
    folder = tmp_path_factory.mktemp("kiosk")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace("{python}", sys.executable))
    command = [sys.executable, "-m", "pytest", "gates", "--sut", "sut.toml", "-q"]
    gates = run_command([*command, "--environment", "embedded"], folder=folder)
    assert gates.returncode == 0, gates.stdout
    kiosk = Kiosk(folder=folder)
    before = kiosk.digest()
    status, output = kiosk.mutate()
    assert status == 1, output
    assert kiosk.digest() == before, "the working tree must stay as it is"
    return kiosk


@pytest.fixture
def kiosk(judged: Kiosk, tmp_path: Path) -> Kiosk:
    """A copy of the system with its results, that a test may change."""
    shutil.copytree(judged.folder, tmp_path / "kiosk", symlinks=True)
    return Kiosk(folder=tmp_path / "kiosk")


def of_operator(kiosk: Kiosk, operator: str, function: str) -> list[dict[str, Any]]:
    """Return the mutants of an operator in a function."""
    start = f"code:{operator}:kiosk/price.py:{function}:"
    return [one for name, one in kiosk.mutants.items() if name.startswith(start)]


def test_mutant_that_changes_a_judged_price_is_killed(judged: Kiosk) -> None:
    """A returned value that is gone makes the claim about it false, which the result names."""
    found = of_operator(judged, "return-value", "price")
    assert len(found) == 2
    for one in found:
        assert one["outcome"]["status"] == "killed"
        assert one["outcome"]["criterion"] == "KSK-01"
        assert one["outcome"]["claim"].startswith("price: ")


def test_mutant_at_the_border_survives_with_its_diff(judged: Kiosk) -> None:
    """No check buys ten pieces, so a moved border stays unseen: that is what the tool is for."""
    (found,) = of_operator(judged, "boundary", "price")
    assert found["outcome"]["status"] == "survived"
    assert "+    if count >= 10:" in found["change"]
    assert [one["criterion"] for one in found["outcome"]["tried"]] == ["KSK-01"]


def test_mutant_of_a_function_that_no_check_runs_is_not_run(judged: Kiosk) -> None:
    """The bundle shows that nothing runs it; it survives without a run, with this reason."""
    found = of_operator(judged, "return-value", "unused")
    assert found
    for one in found:
        assert one["outcome"]["status"] == "survived"
        assert one["outcome"]["why"] == "no check depends on it"
        assert one["outcome"]["tried"] == []


def test_every_mutant_has_a_result_and_the_page_shows_it(judged: Kiosk) -> None:
    """The figures add up, and the page names each survivor."""
    total = judged.result["total"]
    assert total["missing"] == 0
    assert total["mutants"] == len(judged.mutants)
    assert (
        total["killed"] + total["survived"] + total["void"] + total["equivalent"]
        == total["mutants"]
    )
    page = (judged.folder / "reports/mutation/mutation.html").read_text()
    survivors = [one for one in judged.mutants.values() if one["outcome"]["status"] == "survived"]
    assert len(survivors) >= 2
    assert [one["id"] for one in survivors if one["id"] not in page] == []


def test_same_command_runs_nothing_again(kiosk: Kiosk) -> None:
    """Results are kept, so that a run that was stopped continues."""
    before = kiosk.mutants
    status, output = kiosk.mutate()
    assert status == 1, output
    assert f"{len(before)} mutants, 0 to run" in output
    assert kiosk.mutants == before


def test_time_limit_leaves_mutants_for_the_next_call(kiosk: Kiosk) -> None:
    """A mutant that was not reached is missing, with a status of its own; the next call runs it."""
    chosen = ("--only", "code:*:kiosk/price.py:price:*", "--fail-under", "0")
    status, output = kiosk.mutate("--fresh", "--time-limit", "1", *chosen)
    assert status == 100, output
    missing = kiosk.result["total"]["missing"]
    assert missing > 0
    status, output = kiosk.mutate(*chosen)
    assert status == 0, output
    assert kiosk.result["total"]["missing"] == 0
    assert f"{missing} to run" in output


def test_stopped_run_has_a_status_of_its_own_and_is_continued(kiosk: Kiosk) -> None:
    """A stop is no survivor: what was judged before it is kept, and the next call runs the rest."""
    command = [*GATEPROOF, "mutate", "--processes", "1", "--fresh", "--fail-under", "0"]
    chosen = ["--only", "code:*:kiosk/price.py:price:*"]
    results = kiosk.folder / "reports/mutation/results"
    for path in results.iterdir():
        path.unlink()
    with subprocess.Popen(
        [*command, *chosen], cwd=kiosk.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        judged = wait_until(lambda: list(results.glob("gw*.jsonl")), deadline_s=60)
        assert judged, "premise: it judges mutants"
        process.terminate()
        output = (process.communicate()[0] or b"").decode()
    assert process.returncode == 2, output
    assert "stopped; the same command continues" in output
    kept = sum(len(path.read_text().splitlines()) for path in results.glob("gw*.jsonl"))
    assert kept >= 1
    status, output = kiosk.mutate("--fail-under", "0", *chosen)
    assert status == 0, output
    total = kiosk.result["total"]
    assert total["missing"] == 0
    assert f"{total['mutants']} mutants, {total['mutants'] - kept} to run" in output


def test_results_of_other_files_are_refused(kiosk: Kiosk) -> None:
    """A result of an earlier state is never mixed with one of this state."""
    path = kiosk.folder / "kiosk/price.py"
    path.write_text(path.read_text().replace("RATE = 3", "RATE = 3 + 0"))
    status, output = kiosk.mutate()
    assert status == 4, output
    assert "--fresh" in output


def test_dry_run_judges_nothing(kiosk: Kiosk) -> None:
    """It lists the mutants and the expected time, and leaves the results as they are."""
    status, output = kiosk.mutate("--dry-run", "--fresh")
    assert status == 0, output
    assert "with 2 processes if all are killed" in output
    assert all(
        one["outcome"] is None or one["outcome"]["tried"] == [] for one in kiosk.mutants.values()
    )


def test_accepted_survivors_do_not_fail_the_command(kiosk: Kiosk) -> None:
    """With a decision for each survivor the command succeeds; the score stays what it was."""
    before = kiosk.result["total"]
    decision = '[[accepted]]\nmutant = "{}"\nreason = "{}"\nowner = "kiosk"\nexpires = 2099-01-01\n'
    why = "the border is fixed by law, and reviewed by hand"
    (kiosk.folder / "mutants.toml").write_text(decision.format(BORDER, why))
    status, output = kiosk.mutate()
    assert status == 1, output
    assert "1 survivor accepted in mutants.toml" in output
    (kiosk.folder / "mutants.toml").write_text(decision.format("code:*", why))
    status, output = kiosk.mutate()
    assert status == 0, output
    assert kiosk.result["total"] == before


def test_check_that_fails_without_a_mutant_kills_nothing(kiosk: Kiosk) -> None:
    """A finding that is there anyway is no finding about the mutant."""
    path = kiosk.folder / "gates/test_price.py"
    path.write_text(path.read_text().replace('"59"', '"58"'))
    status, output = kiosk.mutate("--fresh", "--only", "code:return-value:kiosk/price.py:price:*")
    assert status == 1, output
    assert kiosk.result["total"]["killed"] == 0
    outcomes = [one["outcome"] for one in kiosk.mutants.values()]
    assert {one["status"] for one in outcomes} == {"survived"}
    for one in outcomes:
        (tried,) = one["tried"]
        assert tried["outcome"] == "unusable"
        assert tried["message"].startswith("it fails without the mutant too: price: 20: got 59")


def test_system_that_does_not_start_is_void(kiosk: Kiosk) -> None:
    """A module that cannot be imported with a mutant shows nothing about the gates."""
    path = kiosk.folder / "kiosk/price.py"
    path.write_text(f"{path.read_text()}\nassert RATE == 3\n")
    status, output = kiosk.mutate("--fresh", "--only", "code:number:kiosk/price.py::*")
    assert status == 0, output
    (rate, *others) = [
        one["outcome"] for one in kiosk.mutants.values() if "RATE = " in one["change"]
    ]
    assert {one["status"] for one in (rate, *others)} == {"void"}
    assert "import of the changed kiosk.price" in rate["why"]


def test_json_is_the_only_output(kiosk: Kiosk) -> None:
    """With --json, standard output is the result and nothing else."""
    command = [*GATEPROOF, "mutate", "--processes", "2", "--json"]
    done = subprocess.run(command, cwd=kiosk.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["total"] == kiosk.result["total"]
