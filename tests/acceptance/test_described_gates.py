"""The key `gates` of a description: which folders are collected, and what the catalogue is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from gateproof.description.sut import Sut
from gateproof_evidence.format.catalogue import load_catalogues
from gateproof_evidence.judging.phase import phases
from gateproof_evidence.model import Run
from gates.taxonomy.miniature import CRITERION, HEADER, SOUND, read_miniature, write_miniature
from tests.acceptance.conftest import ROOT, run_command
from tests.criteria import catalogue

OTHER = SOUND.replace("MIN-01", "OWN-01").replace("sound", "own")
NO_PROOFS = ("--no-falsify", "--environment", "embedded", "-p", "no:cacheprovider", "-q")


@pytest.fixture
def project(tmp_path: Path, sut: Sut) -> Path:
    """Return a project with the folders `gates` and `own`, which its description names."""
    write_miniature(sut, tmp_path, checks=SOUND, ids=("MIN-01",))
    (tmp_path / "own" / "inner").mkdir(parents=True)
    catalogue = CRITERION.format(id="OWN-01").replace('"miniature"', '"own"')
    (tmp_path / "own" / "criteria.toml").write_text(catalogue, encoding="utf-8")
    (tmp_path / "own" / "test_own.py").write_text(HEADER + OTHER, encoding="utf-8")
    describe(tmp_path, '["gates", "own"]')
    return tmp_path


def describe(project: Path, gates: str) -> None:
    """Write a description of the project's folder with the key `gates`."""
    lines = ('name = "own"', 'root = "."', 'sources = ["own"]', f"gates = {gates}")
    (project / "sut.toml").write_text("\n".join(lines), encoding="utf-8")


def run(project: Path, *words: str) -> tuple[int, str]:
    """Run pytest in the project; return its exit status and output."""
    command = [sys.executable, "-m", "pytest", "--sut", "sut.toml", *words]
    done = run_command(command, folder=project)
    return done.returncode, done.stdout


def collected(project: Path, *words: str) -> set[str]:
    """Return the names of the checks that pytest collects for these arguments."""
    _, output = run(project, "--collect-only", "-q", *words)
    return set(re.findall(r"::(\w+)$", output, re.MULTILINE))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gates"], {"test_sound", "test_own"}),
        (["gates/"], {"test_sound", "test_own"}),
        (["."], {"test_sound", "test_own"}),
        (["gates", "own"], {"test_sound", "test_own"}),
        (["own", "gates"], {"test_sound", "test_own"}),
        (["gates/test_miniature.py"], {"test_sound"}),
        (["gates/test_miniature.py::test_sound"], {"test_sound"}),
        (["own"], {"test_own"}),
    ],
)
def test_whole_first_folder_brings_the_others(
    project: Path, words: list[str], expected: set[str]
) -> None:
    """A part of the first folder, or another folder alone, is collected alone."""
    assert collected(project, *words) == expected


@pytest.mark.parametrize("processes", ["0", "2"])
def test_catalogue_of_a_run_is_that_of_all_folders(project: Path, processes: str) -> None:
    """Both folders are judged in one run, in one process or two, and no check runs twice."""
    status, output = run(project, "gates", "--evidence-out", "reports", "-n", processes, *NO_PROOFS)
    ran = read_miniature(project, exit_status=status, output=output)
    assert [one["id"] for one in ran.run["criteria"]] == ["MIN-01", "OWN-01"], output
    assert [one["outcome"] for one in ran.run["criteria"]] == ["pass", "pass"], output
    assert "2 passed" in output
    bound = {(one["part"], one["path"]) for one in ran.run["bindings"]["bound"]}
    assert {("checks", "gates"), ("checks", "own")} <= bound


def test_run_of_a_part_shows_all_other_criteria_as_not_selected(project: Path) -> None:
    """The expected criteria are the same, whichever part of the gates is run."""
    words = ("gates/test_miniature.py", "--evidence-out", "reports", *NO_PROOFS)
    status, output = run(project, *words)
    ran = read_miniature(project, exit_status=status, output=output)
    assert ran.judged("MIN-01") == ("pass", None), output
    assert ran.judged("OWN-01") == ("notselected", None), output


def test_folder_that_the_description_does_not_name_is_judged_alone(
    project: Path,
) -> None:
    """A gates folder of another purpose has its own catalogue, with the same description."""
    describe(project, '["own"]')
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    ran = read_miniature(project, exit_status=status, output=output)
    assert [one["id"] for one in ran.run["criteria"]] == ["MIN-01"], output


def test_check_that_is_missing_in_another_folder_is_refused(project: Path) -> None:
    """A run of the whole first folder needs a check for each criterion of all folders."""
    (project / "own" / "test_own.py").unlink()
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    assert status == 4, output
    assert "got no check for OWN-01" in output


@pytest.mark.parametrize(
    ("gates", "catalogue", "message"),
    [
        ('["gates", "none"]', None, "gates: got none, expected a folder with a criteria.toml"),
        ('["gates", "pack:celery"]', None, "gates: got the pack celery, expected celery-postgres"),
        ('["gates", ""]', None, "gates.1: got ''"),
        (
            '["gates", "own"]',
            ("OWN-01", "MIN-01"),
            "got MIN-01, which {project}/gates/criteria.toml",
        ),
        (
            '["gates", "own"]',
            ("OWN-01", "Min-01"),
            "got Min-01, which {project}/gates/criteria.toml",
        ),
    ],
    ids=["missing-folder", "unknown-pack", "empty", "id-of-both", "id-in-another-case"],
)
def test_bad_list_of_gates_is_refused(
    project: Path, gates: str, catalogue: tuple[str, str] | None, message: str
) -> None:
    """One line names the entry or the id, and both files of an id that two have."""
    describe(project, gates)
    if catalogue:
        path = project / "own" / "criteria.toml"
        path.write_text(path.read_text().replace(*catalogue), encoding="utf-8")
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    assert status == 4, output
    (line,) = [one for one in output.splitlines() if one.startswith("ERROR")]
    assert message.format(project=project) in line


def test_pack_is_found_by_its_name(project: Path) -> None:
    """The pack that the installation contains is the first folder, and brings the project's own."""
    describe(project, '["pack:celery-postgres", "own"]')
    found = collected(project, str(ROOT / "gates"))
    assert {"test_own", "test_worker_has_no_client_of_another_broker"} <= found
    assert "test_sound" not in found


def test_pack_can_be_named_as_a_package(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --pyargs, the name of the pack's package stands for its folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (project / "gates").rename(project / "other")  # else `gates` is this folder
    describe(project, '["pack:celery-postgres", "own"]')
    found = collected(project, "--pyargs", "gates")
    assert {"test_own", "test_worker_has_no_client_of_another_broker"} <= found


REPLACED = """
[[replaced]]
criterion = "MIN-01"
reason = "the check of the pack does not fit"
owner = "platform team"
expires = "{expires}"
"""


def add_another_check(project: Path) -> None:
    """Add a second check of the criterion of the folder `gates` to the folder `own`."""
    other = SOUND.replace("test_sound", "test_other")
    (project / "own" / "test_other.py").write_text(HEADER + other, encoding="utf-8")


@pytest.mark.parametrize(
    ("expires", "checks"),
    [("2999-12-31", {"test_own", "test_other"}), ("2020-12-31", {"test_own", "test_sound"})],
)
def test_check_of_the_project_replaces_that_of_a_pack_with_a_reason(
    project: Path, expires: str, checks: set[str]
) -> None:
    """The check next to the catalogue is not collected until the decision expires."""
    add_another_check(project)
    with (project / "sut.toml").open("a", encoding="utf-8") as file:
        file.write(REPLACED.format(expires=expires))
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS, "-vv")
    assert set(re.findall(r"::(\w+) PASSED", output)) == checks
    ran = read_miniature(project, exit_status=status, output=output)
    assert [one["outcome"] for one in ran.run["criteria"]] == ["pass", "pass"], output
    words = " ".join(output.split())
    assert ("the check of the pack does not fit" in words) == (expires > "2026")
    assert ("WARNING: replaced: MIN-01: expired" in words) == (expires < "2026")


def test_second_check_of_a_criterion_is_refused_with_the_key_that_allows_it(project: Path) -> None:
    """Without a decision, no check replaces another in silence."""
    add_another_check(project)
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    assert status == 4, output
    assert "MIN-01 already has a check" in output
    assert "[[replaced]] of sut.toml" in output


def test_decision_about_a_check_of_no_known_criterion_is_refused(project: Path) -> None:
    """A misspelt id would replace nothing; the message has the nearest ids."""
    with (project / "sut.toml").open("a", encoding="utf-8") as file:
        file.write(REPLACED.format(expires="2999-12-31").replace("MIN-01", "MIN-10"))
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    assert status == 4, output
    assert "replaced: criterion: got MIN-10, expected an id of the catalogue" in output


PHASES = """
[phases]
order = ["beta", "alpha"]
beta = ["OWN-*"]
alpha = ["MIN-0[12]"]
"""


def map_phases(project: Path, phases: str) -> None:
    """Take the phases out of the catalogues, and describe them."""
    for folder in ("gates", "own"):
        path = project / folder / "criteria.toml"
        path.write_text(re.sub(r"(?m)^phase = .*\n", "", path.read_text()), encoding="utf-8")
    with (project / "sut.toml").open("a", encoding="utf-8") as file:
        file.write(phases)


def test_phases_of_the_description_are_those_of_the_run_in_its_order(project: Path) -> None:
    """Criteria without a phase in their file get that of the description."""
    map_phases(project, PHASES)
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    ran = read_miniature(project, exit_status=status, output=output)
    assert [one["phase"] for one in ran.run["criteria"]] == ["alpha", "beta"], output
    assert [one.id for one in phases(Run.model_validate(ran.run))] == ["beta", "alpha"]


def test_system_without_phases_has_one(project: Path) -> None:
    """Its criteria can be signed off together, although no file names a phase."""
    map_phases(project, "")
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    ran = read_miniature(project, exit_status=status, output=output)
    assert {one["phase"] for one in ran.run["criteria"]} == {"all"}, output


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("OWN-*", "OTHER-*", "phases: got no phase with OWN-01, expected one of beta, alpha"),
        ("OWN-*", "*-01", "phases: got MIN-01 in beta and alpha, expected one phase"),
    ],
)
def test_criterion_without_one_phase_is_refused(
    project: Path, before: str, after: str, message: str
) -> None:
    """A criterion that no phase has would never be signed off; one of two phases would be twice."""
    map_phases(project, PHASES.replace(before, after))
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    assert status == 4, output
    assert message in output


def test_reference_system_is_judged_by_its_own_gates_too() -> None:
    """`pytest gates/` collects a check of every criterion, and `pytest gates/rls` one gate."""
    options = ("--collect-only", "-q", "-p", "no:cacheprovider")
    done = run_command([sys.executable, "-m", "pytest", "gates/", *options], folder=ROOT)
    every = catalogue()
    assert f"{len(every.ids)} tests collected" in done.stdout
    assert "system/gates/test_secrets.py" in done.stdout
    done = run_command([sys.executable, "-m", "pytest", "gates/rls", *options], folder=ROOT)
    pack = load_catalogues([ROOT / "gates/criteria.toml"])  # the system's gates have some of rls
    of_rls = [one for one in pack.criteria if one.gate == "rls"]
    assert f"{len(of_rls)} tests collected" in done.stdout


def test_settings_of_the_described_system_are_not_those_of_the_gates(
    tmp_path: Path, sut: Sut
) -> None:
    """`--sut FILE` makes pytest take the settings next to that file: refused, with the remedy."""
    own, system = tmp_path / "own", tmp_path / "system"
    own.mkdir()
    system.mkdir()
    write_miniature(sut, own, checks=SOUND, ids=("MIN-01",))
    (own / "pytest.ini").unlink()
    (own / "sut.toml").rename(system / "sut.toml")
    (system / "tox.ini").write_text("[pytest]\naddopts = --strict-markers\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "gates", "--evidence-out=reports"]
    command += ["--environment=embedded", "--falsify=none"]
    taken = run_command([*command, "--sut", "../system/sut.toml"], folder=own)
    assert taken.returncode == 4, taken.stdout
    assert "--sut ../system/sut.toml: pytest took this for the path of a test" in taken.stdout
    assert "write --sut=../system/sut.toml" in taken.stdout
    assert not (own / "reports").exists()
    fine = run_command([*command, "--sut=../system/sut.toml"], folder=own)
    assert fine.returncode == 100, fine.stdout


FALSIFIER = """
[[falsifier]]
criterion = "{}"
name = "a-variable"
kind = "settings"
variables = {{ OWN_VARIABLE = "1" }}
expect = {{ text = "the sound claim of this check" }}
"""


def test_own_falsifier_of_no_criterion_is_refused_if_all_gates_are_collected(
    project: Path,
) -> None:
    """The message names the nearest id; a run of one folder of two knows only its own ids."""
    (project / "falsifiers.toml").write_text(FALSIFIER.format("OWN-02"), encoding="utf-8")
    status, output = run(project, "gates", "--evidence-out", "reports", *NO_PROOFS)
    assert status == 4, output
    assert "criterion: got OWN-02, expected an id of the catalogue such as OWN-01" in output
    status, output = run(project, "own", "--evidence-out", "reports", *NO_PROOFS)
    assert "OWN-02" not in output


def test_own_falsifier_is_collected_with_its_criterion_and_refused_twice(project: Path) -> None:
    """A name that a falsifier next to the check has already is bad input."""
    (project / "falsifiers.toml").write_text(FALSIFIER.format("OWN-01"), encoding="utf-8")
    words = ("own", "--evidence-out", "reports", "--environment", "embedded", "-v")
    _, output = run(project, *words)
    assert "test_own[proof-a-variable]" in output
    near = "from gateproof import falsified_by, settings\n@falsified_by(settings('a-variable', {})"
    near += ", expect='the sound claim of this check')"
    (project / "own" / "test_own.py").write_text(HEADER + near + OTHER, encoding="utf-8")
    status, output = run(project, *words)
    assert status == 4, output
    assert "falsifier name: got a-variable next to the check and in" in output
