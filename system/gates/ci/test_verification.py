"""Gate ci: the verifying job trusts nothing that the judging job has sent."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from gateproof import FileProbe, at_least_one, claim, criterion, falsified_by, file

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
    expect=("failed commands of the job", "bundle of another commit", "got none"),
)
@falsified_by(
    file(
        "run-the-script-of-the-artifact",
        WORKFLOW,
        OWN_SCRIPT,
        "sh received/reports/latest/verify.sh",
    ),
    expect=("files of the artifact that the job ran", "forged artifact", "/verify.sh: whole"),
)
@falsified_by(
    file(
        "unpack-over-the-checkout",
        WORKFLOW,
        "tar -xzf received/evidence.tar.gz -C received",
        "tar -xzf received/evidence.tar.gz && ln -s ../reports received/reports",
    ),
    expect=("files of the artifact that the job ran", "forged artifact", ".venv/bin/gateproof"),
)
@falsified_by(
    file("verify-any-checks", WORKFLOW, CHECKS, ""),
    expect=("failed commands of the job", "bundle of other checks", "got none"),
)
@falsified_by(
    file("forgive-a-finding", WORKFLOW, CHECKS, f"{CHECKS} || true"),
    expect=("failed commands of the job", "bundle of other checks", "got none"),
)
@falsified_by(
    file("verify-with-a-key-that-forks-lack", WORKFLOW, CHECKS, f"{CHECKS} --key team.pem"),
    expect=("failed commands of the job", "bundle of a fork", "team.pem"),
)
def test_verifying_job_accepts_only_a_whole_bundle_of_its_own_checkout(
    files: FileProbe, new_repository: NewRepository, new_job: NewJob, tmp_path: Path
) -> None:
    """Without a secret it reports integrity only; a forged or foreign bundle is refused."""
    workflow = gates_workflow(files)
    judging = workflow.job_that_uses(UPLOAD) if workflow else None
    verifying = workflow.job_that_uses(DOWNLOAD) if workflow else None
    if judging is None or verifying is None:
        return
    repository = new_repository(few=True)

    def verify(artifact: Path, checkout: Path | None = None) -> JobRun:
        return new_job(checkout or repository.check_out(), artifact).run(verifying)

    done = new_job(repository.check_out()).run(judging)
    [artifact] = at_least_one("artifacts of the judging job", list(filter(None, [done.artifact])))
    if not judge_accepted(verify(artifact)):
        return  # a job that accepts nothing refuses the others too
    judge_forged(verify(_forge(artifact, Path(tempfile.mkdtemp(dir=tmp_path)))))
    others = repository.check_out()
    repository.remove_proof(repository.criteria[0], others)
    judge_refused("bundle of other checks", "CHECKS_MISMATCH", verify(artifact, others))
    repository.commit()
    judge_refused("bundle of another commit", "COMMIT_MISMATCH", verify(artifact))


def judge_accepted(done: JobRun) -> bool:
    """Judge that a bundle without a known signer is accepted, and that the limit is stated."""
    on, stated = "bundle of a fork", done.output.count(INTEGRITY_ONLY)
    return all(
        (
            claim("failed commands of the job", on=on, got=done.failed, expected=[]),
            claim(
                "notes that only integrity is shown",
                on=on,
                got=stated,
                relation="at_least",
                expected=1,
            ),
        )
    )


def judge_forged(done: JobRun) -> None:
    """Judge that a forged artifact is refused, and that none of its files is run."""
    ran = [line for line in done.output.splitlines() if MARKER in line]
    claim("files of the artifact that the job ran", on="forged artifact", got=ran, expected=[])
    judge_refused("forged artifact", "DIGEST_MISMATCH", done)


def judge_refused(on: str, code: str, done: JobRun) -> None:
    """Judge that a bundle is refused for the reason that was made."""
    failed, found = done.failed, done.output.count(code)
    claim("failed commands of the job", on=on, got=failed, relation="differs", expected=[])
    claim(
        "times that the job names the finding",
        on=f"{on}/{code}",
        got=found,
        relation="at_least",
        expected=1,
    )


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
