"""Proofs of an earlier run are taken over only from a verified bundle and only when unchanged."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateproof_evidence.format.recording.journal import read_journal
from gateproof_evidence.judging.verdict import digest_of_story
from gateproof_evidence.model import ProofEvent, Record, TakenOverEvent
from gates.taxonomy.miniature import Miniature
from tests.acceptance.conftest import GATEPROOF, create_key, run_command
from tests.acceptance.test_exit_status import NEEDS_NO_DATABASE

Run = Callable[..., Miniature]
KEY, PUBLIC = "signer", "signer.pub.pem"


def proof(ran: Miniature) -> dict[str, Any]:
    """Return the one proof of a run."""
    [found] = ran.verdict("MIN-01")["proofs"]
    return dict(found)


@pytest.fixture
def first(run_gates: Run, tmp_path: Path) -> Path:
    """Return a released bundle that is signed with a permanent key."""
    create_key(KEY, folder=tmp_path)
    ran = run_gates(NEEDS_NO_DATABASE, ("MIN-01",), "--signing-key", KEY)
    assert ran.exit_status == 0, ran.output
    assert proof(ran)["taken_over"] is None
    return (tmp_path / "reports" / "latest").resolve()


def take(bundle: Path) -> tuple[str, ...]:
    """Return the options that take proofs over from a bundle."""
    return ("--signing-key", KEY, "--proofs-from", str(bundle), "--proofs-key", PUBLIC)


def verify(bundle: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Verify a bundle with the signer's key."""
    command = [*GATEPROOF, "verify", "--key", PUBLIC, "--require-released", str(bundle)]
    return run_command(command, folder=folder)


def journal(bundle: Path) -> tuple[Record, ...]:
    """Return the journal of a bundle."""
    return read_journal([bundle / "data" / "journal.jsonl"])


def test_unchanged_proof_is_taken_over_and_released(
    run_gates: Run, first: Path, tmp_path: Path
) -> None:
    """It is marked and not repeated, the run is released and verifies; a third run repeats this."""
    [record] = [one for one in journal(first) if isinstance(one, ProofEvent)]
    earlier = first
    for _ in range(2):
        ran = run_gates("", (), *take(earlier))
        assert ran.exit_status == 0, ran.output
        assert "1 taken over from an earlier bundle" in ran.output
        assert proof(ran)["taken_over"].startswith("sha256:")
        earlier = (tmp_path / "reports" / "latest").resolve()
        [taken] = [one for one in journal(earlier) if isinstance(one, TakenOverEvent)]
        assert taken.story == record, "the record is that of the first run"
        assert proof(ran)["story"] == digest_of_story(record)
        done = verify(earlier, tmp_path)
        assert done.returncode == 0, done.stdout


def test_proof_is_repeated_after_a_change_or_with_fresh(
    run_gates: Run, first: Path, tmp_path: Path
) -> None:
    """One more line in a gate is enough; --fresh repeats every proof."""
    ran = run_gates("", (), *take(first), "--fresh")
    assert (ran.exit_status, proof(ran)["taken_over"]) == (0, None)
    module = tmp_path / "gates" / "test_miniature.py"
    module.write_text(module.read_text() + "# changed\n")
    ran = run_gates("", (), *take(first))
    assert (ran.exit_status, proof(ran)["taken_over"]) == (0, None), ran.output


def test_proof_of_a_run_with_more_code_is_repeated(
    run_gates: Run, first: Path, tmp_path: Path
) -> None:
    """A proof that a run with another plugin made is not reused by a run without it."""
    (tmp_path / "evil.py").write_text("WAS = 'here'\n")
    ran = run_gates("", (), "--signing-key", KEY, "-p", "evil")
    assert ran.exit_status == 0, ran.output
    ran = run_gates("", (), *take((tmp_path / "reports" / "latest").resolve()))
    assert (ran.exit_status, proof(ran)["taken_over"]) == (0, None), ran.output
    assert proof(run_gates("", (), *take(first)))["taken_over"] is not None


def test_bundle_that_does_not_verify_is_bad_input(
    run_gates: Run, first: Path, tmp_path: Path
) -> None:
    """An altered bundle, another signer or no key: no run starts, and the message says why."""
    altered = tmp_path / "altered"
    shutil.copytree(first, altered)
    (altered / "data" / "transcripts" / "miniature" / "MIN-01" / "marked.txt").write_text("x")
    ran = run_gates("", (), *take(altered))
    assert ran.exit_status == 4, ran.output
    assert "expected a bundle that verifies with --proofs-key" in " ".join(ran.output.split())
    create_key("other", folder=tmp_path)
    ran = run_gates("", (), "--proofs-from", str(first), "--proofs-key", "other.pub.pem")
    assert ran.exit_status == 4, ran.output
    assert "WRONG_SIGNER" in ran.output
    ran = run_gates("", (), "--proofs-from", str(first), "--proofs-key", f"{first}/public-key.pem")
    assert ran.exit_status == 4, ran.output
    assert "got a file inside the bundle" in " ".join(ran.output.split())
    ran = run_gates("", (), "--proofs-from", str(first))
    assert ran.exit_status == 4, ran.output
    assert "expected both" in " ".join(ran.output.split())
