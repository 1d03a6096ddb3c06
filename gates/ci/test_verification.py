"""Gate ci: the verifying job trusts nothing that the judging job has sent."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from gateproof import FileProbe, criterion, falsified_by, file

from .checkout import NewRepository
from .job import LIMIT_S, JobRunner, NewJob
from .workflow import DOWNLOAD, UPLOAD, WORKFLOW, gates_workflow

MARKER = "a-file-of-the-artifact-was-run"
SCRIPT = """#!/bin/sh
touch "$GITHUB_WORKSPACE/{marker}"
echo "{name}: whole"
"""
PLANTED = (
    *("Makefile", ".venv/bin/gateproof", ".venv/bin/python", "reports/gateproof"),
    "evidence/gateproof_evidence/sealing/templates/verify.sh",
)
"""Files that a judging job adds to the artifact, at the paths of the checkout's own."""

INTEGRITY_ONLY = "this shows integrity, not origin"
VERIFY = (
    '.venv/bin/gateproof verify received/reports/latest --expect-commit "$(git rev-parse HEAD)"'
)
OWN_SCRIPT = "sh evidence/gateproof_evidence/sealing/templates/verify.sh received/reports/latest"


@criterion("CI-05", limit_s=LIMIT_S)
@falsified_by(
    file("verify-any-commit", WORKFLOW, VERIFY, VERIFY.partition(" --expect")[0]),
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
    file("forgive-a-finding", WORKFLOW, VERIFY, f"{VERIFY} || true"),
    expect="bundle of another commit: the job got success",
)
@falsified_by(
    file("verify-with-a-key-that-forks-lack", WORKFLOW, VERIFY, f"{VERIFY} --key team.pem"),
    expect="bundle of a fork: the job got",
)
def test_verifying_job_accepts_only_a_whole_bundle_of_its_own_commit(
    files: FileProbe, new_repository: NewRepository, new_job: NewJob, tmp_path: Path
) -> None:
    """Without a secret it reports integrity only; it refuses an old bundle and a forged one."""
    workflow = gates_workflow(files)
    verifying = workflow.job_that_uses(DOWNLOAD)
    repository = new_repository()
    judged = new_job(repository.check_out()).run(workflow.job_that_uses(UPLOAD))
    assert judged.artifact, f"judging job: got no artifact, expected one; {list(judged.failed)}"

    def verify(artifact: Path) -> tuple[JobRunner, list[str], str]:
        runner = new_job(repository.check_out())
        runner.received = artifact
        done = runner.run(verifying)
        return runner, list(done.failed), done.output

    _, failed, output = verify(judged.artifact)
    assert not failed, f"bundle of a fork: the job got {failed}, expected success"
    assert INTEGRITY_ONLY in output, f"bundle of a fork: got {output[-300:]!r}, expected its limits"
    forged = _forge(judged.artifact, Path(tempfile.mkdtemp(dir=tmp_path)))
    runner, failed, output = verify(forged)
    assert not (runner.checkout / MARKER).exists(), (
        f"forged artifact: the job ran one of its files, expected those of its checkout; {output}"
    )
    assert "DIGEST_MISMATCH" in output, f"forged artifact: got {output}, expected the finding"
    assert failed, "forged artifact: the job got success, expected it to fail"
    repository.commit()
    _, failed, output = verify(judged.artifact)
    assert failed, "bundle of another commit: the job got success, expected it to fail"
    assert "COMMIT_MISMATCH" in output, f"bundle of another commit: got {output}"


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
