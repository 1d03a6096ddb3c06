"""Gate ci: the verifying job trusts nothing that the judging job has sent."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from gateproof import FileProbe, criterion, falsified_by, file

from .checkout import NewRepository
from .job import LIMIT_S, JobRun, NewJob
from .workflow import DOWNLOAD, UPLOAD, WORKFLOW, gates_workflow

MARKER = "a-file-of-the-artifact-was-run"
SCRIPT = """#!/bin/sh
echo "{marker}: {name}: whole"
"""
PLANTED = (
    *("Makefile", ".venv/bin/gateproof", ".venv/bin/python", "reports/gateproof"),
    "evidence/gateproof_evidence/sealing/templates/verify.sh",
)
"""Files that a judging job adds to the artifact, at the paths of the checkout's own."""

INTEGRITY_ONLY = "this shows integrity, not origin"
COMMIT = ' --expect-commit "$(git rev-parse HEAD)"'
CHECKS = " --expect-checks gates --expect-checks system/gates"
OWN_SCRIPT = "sh evidence/gateproof_evidence/sealing/templates/verify.sh received/reports/latest"


@criterion("CI-05", limit_s=LIMIT_S)
@falsified_by(
    file("verify-any-commit", WORKFLOW, COMMIT, ""),
    expect="bundle of another commit: the job got success",
)
@falsified_by(
    file(
        "run-the-script-of-the-artifact",
        WORKFLOW,
        OWN_SCRIPT,
        "sh received/reports/latest/verify.sh",
    ),
    expect="forged artifact: the job ran one of its files",
)
@falsified_by(
    file(
        "unpack-over-the-checkout",
        WORKFLOW,
        "tar -xzf received/evidence.tar.gz -C received",
        "tar -xzf received/evidence.tar.gz && ln -s ../reports received/reports",
    ),
    expect="forged artifact: the job ran one of its files",
)
@falsified_by(
    file("verify-any-checks", WORKFLOW, CHECKS, ""),
    expect="bundle of other checks: the job got success",
)
@falsified_by(
    file("forgive-a-finding", WORKFLOW, CHECKS, f"{CHECKS} || true"),
    expect="bundle of other checks: the job got success",
)
@falsified_by(
    file("verify-with-a-key-that-forks-lack", WORKFLOW, CHECKS, f"{CHECKS} --key team.pem"),
    expect="bundle of a fork: the job got",
)
def test_verifying_job_accepts_only_a_whole_bundle_of_its_own_checkout(
    files: FileProbe, new_repository: NewRepository, new_job: NewJob, tmp_path: Path
) -> None:
    """Without a secret it reports integrity only; a forged or foreign bundle is refused."""
    workflow, repository = gates_workflow(files), new_repository(few=True)

    def judge(checkout: Path) -> Path:
        done = new_job(checkout).run(workflow.job_that_uses(UPLOAD))
        assert done.artifact, f"judging job: got no artifact, expected one; {list(done.failed)}"
        return done.artifact

    def verify(artifact: Path, checkout: Path | None = None) -> JobRun:
        job = new_job(checkout or repository.check_out(), artifact)
        return job.run(workflow.job_that_uses(DOWNLOAD))

    artifact = judge(repository.check_out())
    _assert_accepted(verify(artifact))
    done = verify(_forge(artifact, Path(tempfile.mkdtemp(dir=tmp_path))))
    assert MARKER not in done.output, (
        "forged artifact: the job ran one of its files, expected those of its checkout"
    )
    _assert_refused("forged artifact", "DIGEST_MISMATCH", done)
    others = repository.check_out()
    repository.remove_proof(repository.criteria[0], others)
    _assert_refused("bundle of other checks", "CHECKS_MISMATCH", verify(artifact, others))
    repository.commit()
    _assert_refused("bundle of another commit", "COMMIT_MISMATCH", verify(artifact))


def _assert_accepted(done: JobRun) -> None:
    """Assert that a bundle without a known signer is accepted, and that the limit is stated."""
    assert done.passed, f"bundle of a fork: the job got {list(done.failed)}, expected success"
    assert INTEGRITY_ONLY in done.output, (
        f"bundle of a fork: the job printed {done.output[-300:]!r}, expected {INTEGRITY_ONLY!r}"
    )


def _assert_refused(what: str, code: str, done: JobRun) -> None:
    """Assert that a bundle is refused for the reason that was made."""
    assert not done.passed, f"{what}: the job got success, expected it to fail"
    assert code in done.output, f"{what}: the job got {list(done.failed)}, expected {code}"


def _forge(artifact: Path, into: Path) -> Path:
    """Copy an artifact with an altered report, a false verify.sh, and files of the checkout."""
    target = into / artifact.name
    with tarfile.open(artifact) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            content = b""
            if member.isfile() and (stream := old.extractfile(member)):
                content = stream.read()
            if member.name.endswith("/verify.sh"):
                content = _script(member.name)
            if member.name.endswith("/data/report.html"):
                content = content.replace(b"gateproof", b"forgeries")
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
        for name in PLANTED:
            member = tarfile.TarInfo(name)
            member.mode, content = 0o755, _script(name)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return target


def _script(name: str) -> bytes:
    return SCRIPT.format(marker=MARKER, name=name).encode()
