"""The bindings of a run: the commit, the tree, versions, a nonce, the previous bundle."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gateproof.base.git import git
from gateproof.base.sut import Sut
from gateproof_evidence.format.layout import ATTESTATION
from gateproof_evidence.model import Bindings
from gateproof_evidence.reports.renderer import renderer_digest

RECORDED = (
    "gateproof",
    "gateproof-evidence",
    "celery",
    "kombu",
    "sqlalchemy",
    "psycopg",
    "psycopg2-binary",
    "pytest",
)


def bind(sut: Sut, *, previous: Path, images: Mapping[str, str]) -> Bindings:
    """Collect the bindings of a run.

    Args:
        sut: the system under test; the git checkout of its folder is judged.
        previous: the previous bundle; it need not exist.
        images: maps the name of every container image that was used to its digest.

    """
    commit = git(sut.folder, "rev-parse", "HEAD")
    status = git(sut.folder, "status", "--porcelain")
    attestation = previous / ATTESTATION
    return Bindings(
        commit=commit,
        tree=git(sut.folder, "rev-parse", "HEAD^{tree}"),
        dirty=None if commit is None or status is None else bool(status),
        sut=sut.digest,
        system=sut.sources_digest(),
        versions=_versions(),
        images=dict(images),
        nonce=secrets.token_hex(16),
        previous=_digest(attestation) if attestation.is_file() else None,
        renderer=renderer_digest(),
    )


def _versions() -> dict[str, str]:
    """Return the versions of the distributions in `RECORDED` that are installed."""
    found: dict[str, str] = {}
    for name in RECORDED:
        with contextlib.suppress(
            PackageNotFoundError
        ):  # a distribution of the system may be installed elsewhere
            found[name] = version(name)
    return found


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
