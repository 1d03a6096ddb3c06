"""The dependencies of a proof as one digest: if it is unchanged, the proof need not be repeated.

It covers the system's files and description, all gates (checks share helpers), the harness, every
installed distribution, Python, the environment with PostgreSQL and images, the catalogue, and the
falsifier itself. It is coarse on purpose: with a missing dependency, a stale proof would be reused.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import Distribution, distributions
from pathlib import Path

from gateproof.faults.falsifier import Falsifier
from gateproof.faults.interface import Fault
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import HARNESS_PACKAGES
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.model import Digest

LEFT_OUT = "__pycache__"
PROJECT_FILES = ("pyproject.toml", "evidence/pyproject.toml", "harness/pyproject.toml")


class ProofDependencies:
    """Computes the digests for the proofs of one writer; files are read once, at the first use.

    Args:
        bring_up: the running environment.
        catalogue: the criteria.
        gates: the folders of the run's gates.

    """

    def __init__(self, bring_up: BringUp, catalogue: Catalogue, gates: Sequence[Path]) -> None:
        self._bring_up = bring_up
        self._catalogue = catalogue
        self._gates = gates
        self._file_digests: dict[str, str] | None = None

    def digest(self, check: str, falsifier: Falsifier) -> Digest:
        """Return the digest of all dependencies of a proof.

        Args:
            check: node id of the check.
            falsifier: the fault and its predicted finding.

        """
        report = self._bring_up.report()
        dependencies = {
            **self._files(),
            "environment": report.kind,
            "postgres": report.postgres,
            "python": f"{platform.python_version()} {report.python}",
            "platform": report.platform,
            "images": dict(self._bring_up.environment.images),
            "check": check,
            "fault": _fault_fields(falsifier.fault),
            "expect": asdict(falsifier.expect),
        }
        content = json.dumps(dependencies, sort_keys=True).encode()
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def _files(self) -> dict[str, str]:
        if self._file_digests is None:
            sut = self._bring_up.sut
            self._file_digests = {
                "system": sut.sources_digest(),
                "project": _digest(sut.folder, _project(sut.folder)),
                "sut": sut.digest,
                "gates": " ".join(_digest(one, one.rglob("*")) for one in self._gates),
                "harness": _packages(),
                "dependencies": _installed(),
                "catalogue": self._catalogue.digest,
            }
        return self._file_digests


def _packages() -> str:
    """Return a digest over both packages of the harness, with file names relative to each."""
    parts = (f"{one.name} {_digest(one, one.rglob('*'))}" for one in HARNESS_PACKAGES)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _fault_fields(fault: Fault) -> dict[str, str]:
    """Return all fields of a fault as text; sets are sorted, because their order is not stable."""
    parts = {
        name: ",".join(sorted(value)) if isinstance(value, frozenset) else repr(value)
        for name, value in vars(fault).items()
    }
    return {"kind": fault.kind, **parts}


def _project(folder: Path) -> Iterator[Path]:
    """Yield the files that faults of kind `file` change, and those that define commands."""
    for name in (".github", "Makefile", "README.md", "requirements.txt", *PROJECT_FILES):
        path = folder / name
        yield from path.rglob("*") if path.is_dir() else (path,)


def _digest(root: Path, paths: Iterable[Path]) -> str:
    """Return a digest over names and contents."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.is_file() and LEFT_OUT not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content}  {path.relative_to(root).as_posix()}\n".encode())
    return digest.hexdigest()


def _installed() -> str:
    lines = sorted(map(_name_and_version, distributions()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _name_and_version(owner: Distribution) -> str:
    """Return name and version of a distribution, from the head of its metadata.

    The reader of `importlib.metadata` parses the whole file, with the description: 100 files take a
    fifth of a second.
    """
    head = (owner.read_text("METADATA") or "").partition("\n\n")[0]
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    if not {"Name", "Version"} <= fields.keys():
        return f"{owner.metadata['Name']}=={owner.version}"
    return f"{fields['Name']}=={fields['Version']}"
