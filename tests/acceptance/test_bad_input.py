"""Bad input: one line that names the input and the remedy, exit status 4, no file written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gates.taxonomy.miniature import COMMAND, SOUND, Miniature
from tests.acceptance.conftest import run_command

Run = Callable[..., Miniature]


def refused(ran: Miniature, tmp_path: Path, message: str) -> None:
    """Assert that a run was refused on one line and left nothing behind."""
    assert ran.exit_status == 4, ran.output
    lines = [line for line in ran.output.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1, ran.output
    assert message in lines[0]
    assert "Traceback" not in ran.output
    reports = tmp_path / "reports"
    assert not reports.is_dir() or not list(reports.iterdir())


@pytest.mark.parametrize(
    ("checks", "ids", "message"),
    [
        (SOUND, ("MIN-01", "MIN-02"), "got no check for MIN-02"),
        (SOUND + SOUND.replace("MIN-01", "MIN-09").replace("sound", "other"), ("MIN-01",),
         "got MIN-09, expected an id of"),
        (SOUND + SOUND.replace("sound", "other"), ("MIN-01",), "already has a check"),
        (SOUND, ("MIN-01", "MIN-01"), "MIN-01"),
        (SOUND + "\ndef test_stray():\n    pass\n", ("MIN-01",), "got no criterion"),
        ("from gateproof import falsified_by, sql\n@falsified_by(sql('x', 'SELECT 1', landing='')"
         ", expect=' ')" + SOUND, ("MIN-01",), "falsifier x: predicted text: got ' '"),
    ],
    ids=["no-check", "unknown-id", "two-checks", "duplicate-id", "no-criterion", "no-message"],
)  # fmt: skip
def test_checks_that_do_not_match_the_catalogue_are_refused(
    run_gates: Run, tmp_path: Path, checks: str, ids: tuple[str, ...], message: str
) -> None:
    """Ids, checks and falsifiers that do not match are refused before anything starts."""
    refused(run_gates(checks, ids), tmp_path, message)


@pytest.mark.parametrize(
    ("waiver", "message"),
    [
        ('criterion = "MIN-01"\nowner = "ops"\nexpires = "2999-01-01"', "reason"),
        ('criterion = "MIN-01"\nreason = "planned work"\nexpires = "2999-01-01"', "owner"),
        ('criterion = "MIN-01"\nreason = "planned work"\nowner = "ops"', "expires"),
        ('criterion = "MIN-77"\nreason = "planned work"\nowner = "ops"\nexpires = "2999-01-01"',
         "MIN-77"),
    ],
    ids=["reason", "owner", "expiry", "unknown-id"],
)  # fmt: skip
def test_bad_waiver_is_refused(
    write_gates: Callable[..., None], run_gates: Run, tmp_path: Path, waiver: str, message: str
) -> None:
    """A waiver needs a reason, an owner, an expiry date and a criterion that exists."""
    write_gates(SOUND, ("MIN-01",))
    (tmp_path / "gates" / "waivers.toml").write_text(f"[[waiver]]\n{waiver}\n")
    refused(run_gates(SOUND), tmp_path, message)


def test_evidence_folder_that_is_a_file_is_refused(run_gates: Run, tmp_path: Path) -> None:
    """The message names the file and the remedy, and the file is left unchanged."""
    target = tmp_path / "occupied"
    target.write_text("precious")
    ran = run_gates(SOUND, ("MIN-01",), "--evidence-out", str(target))
    refused(ran, tmp_path, "got a file, expected a folder")
    assert target.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_evidence_folder_that_cannot_be_written_is_refused(run_gates: Run, tmp_path: Path) -> None:
    """The message names the folder without write permission and the remedy."""
    target = tmp_path / "locked"
    target.mkdir(mode=0o500)
    ran = run_gates(SOUND, ("MIN-01",), "--evidence-out", str(target))
    refused(ran, tmp_path, "cannot be written")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("stop_signal =", "stop_signl ="), "worker.stop_signl: unknown key, expected stop_signal"),
        (("concurrency = 2", 'concurrency = "2"'), "worker.concurrency: got '2'"),
        (("[celery]", "[celery"), "is not valid TOML"),
        (('"postgresql" }\nup', '"mysql" }\nup'), "migrations.dsn.DATABASE_URL"),
    ],
    ids=["unknown-key", "wrong-type", "no-toml", "dsn-form"],
)
def test_bad_description_of_the_system_is_refused(
    write_gates: Callable[..., None],
    run_gates: Run,
    tmp_path: Path,
    change: tuple[str, str],
    message: str,
) -> None:
    """A sut.toml is read strictly: the message names an unknown key or a wrong type."""
    write_gates(SOUND, ("MIN-01",))
    path = tmp_path / "sut.toml"
    path.write_text(path.read_text().replace(*change))
    refused(run_gates(SOUND), tmp_path, message)


def test_signing_key_that_is_missing_or_open_to_others_is_refused(
    run_gates: Run, tmp_path: Path
) -> None:
    """A key that cannot be trusted to be private is not used."""
    ran = run_gates(SOUND, ("MIN-01",), "--signing-key", str(tmp_path / "none.pem"))
    refused(ran, tmp_path, "none.pem")
    key = tmp_path / "open.pem"
    key.write_text("-----BEGIN NOTHING-----\n")
    key.chmod(0o644)
    refused(run_gates(SOUND, ("MIN-01",), "--signing-key", str(key)), tmp_path, "open.pem")


def test_plugin_is_inert_without_a_catalogue(tmp_path: Path) -> None:
    """In a project without a catalogue pytest runs as if the plugin were not there."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_plain.py").write_text("def test_it():\n    assert 1 + 1 == 2\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_plain.py"]
    done = run_command(command, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "gateproof" not in done.stdout.split("plugins:")[-1].split("\n", 1)[-1]
    assert not (tmp_path / "reports").exists()


def test_evidence_asked_for_without_a_catalogue_is_refused(tmp_path: Path) -> None:
    """A folder of gates without its catalogue is refused instead of run as plain tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "test_plain.py").write_text("def test_it():\n    assert 1 + 1 == 2\n")
    done = run_command(list(COMMAND), folder=tmp_path)
    ran = Miniature(exit_status=done.returncode, output=done.stdout, run={})
    refused(ran, tmp_path, "--evidence-out: got no criteria.toml in or above gates")
