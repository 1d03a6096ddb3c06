"""What a run is bound to: the commit, the tree, versions, a nonce, the bundle before it."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from evidence.model import Bindings
from evidence.reports.renderer import renderer_digest
from harness.sut import Sut

RECORDED = ("gateproof", "celery", "kombu", "sqlalchemy", "psycopg", "psycopg2-binary", "pytest")
LATEST = "latest"


def bind(sut: Sut, *, previous: Path, images: Mapping[str, str]) -> Bindings:
    """Gather the bindings of a run.

    Args:
        sut: the system under test; its folder's git checkout is what is judged.
        previous: the bundle before this one; it need not exist.
        images: name to digest of every container image that was used.

    """
    commit = git(sut.folder, "rev-parse", "HEAD")
    status = git(sut.folder, "status", "--porcelain")
    attestation = previous / "attestation.dsse.json"
    return Bindings(
        commit=commit,
        tree=git(sut.folder, "rev-parse", "HEAD^{tree}"),
        dirty=None if commit is None or status is None else bool(status),
        sut=sut.digest,
        system=sut.sources_digest(),
        versions={name: version(name) for name in RECORDED},
        images=dict(images),
        nonce=secrets.token_hex(16),
        previous=_digest(attestation) if attestation.is_file() else None,
        renderer=renderer_digest(),
    )


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def git(folder: Path, *arguments: str) -> str | None:
    """Return what git says of a checkout, or None where there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
