"""The parts that a check or a proof depends on: its frame, and what it uses of the system.

The frame is everything but the contents of the system's files: their names, the description, the
code of the check, the harness, every installed distribution, Python, the environment with
PostgreSQL and images, the criterion, and the falsifier. Each part has a digest: a change of any of
them repeats the item. What an item uses of the system is known while it runs, see
`gateproof.stack.watched`.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import Distribution, distributions
from pathlib import Path

from gateproof.description.sut import Sut
from gateproof.faults.falsifier import Falsifier
from gateproof.faults.interface import Fault
from gateproof.run.dependence.gate_code import LEFT_OUT, GateCode
from gateproof.run.dependence.source import Sources, short
from gateproof.stack.copy import HARNESS_PACKAGES
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.model import Digest

PROJECT_FILES = ("pyproject.toml", "evidence/pyproject.toml", "harness/pyproject.toml")


ENVIRONMENT, FAULT = "environment", "fault"
"""Parts of a frame that are known only while a run has an environment, and collected its proofs."""


class Dependencies:
    """Computes the digests for the items of one run; files are read once, at the first use.

    Args:
        sut: the system.
        catalogue: the criteria.
        gates: the folders of the run's gates.
        environment: returns the description of the environment; None before there is one.

    """

    def __init__(
        self,
        sut: Sut,
        catalogue: Catalogue,
        gates: Sequence[Path],
        environment: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self._sut = sut
        self._catalogue = catalogue
        self._code = GateCode(gates)
        self._environment = environment
        self.sources = Sources(
            sut.folder,
            lambda: f"{sut.sources_digest()} {_digest(sut.folder, _project(sut.folder))}",
        )
        """The digests of what items use of the system."""

    def frame(
        self, module: Path, criterion: str, falsifier: Falsifier | None = None
    ) -> dict[str, str]:
        """Return what an item depends on, but the contents of the system's files, as digests.

        Args:
            module: the module of the check.
            criterion: the criterion that it judges.
            falsifier: the fault and its predicted finding; None for the check itself.

        """
        own = {
            "code of the check": self._code.digest(module),
            "criterion": self._catalogue.by_id(criterion).model_dump_json(),
        }
        if self._environment is not None:
            own[ENVIRONMENT] = json.dumps(self._environment(), sort_keys=True)
        if falsifier is not None:
            fields = {**_fault_fields(falsifier.fault), "expect": asdict(falsifier.expect)}
            own[FAULT] = json.dumps(fields, sort_keys=True)
        return {**self._files, **{name: short(text.encode()) for name, text in own.items()}}

    @cached_property
    def _files(self) -> dict[str, str]:
        parts = {
            "description": self._sut.digest,
            "names of the system's files": "\n".join(_names(self._sut)),
            "gateproof": _packages(),
            "installed packages": f"Python {platform.python_version()} {_installed()}",
        }
        return {name: short(text.encode()) for name, text in parts.items()}


def digest_of_frame(frame: Mapping[str, str]) -> Digest:
    """Return one digest over what `Dependencies.frame` returned."""
    content = json.dumps(frame, sort_keys=True).encode()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _names(sut: Sut) -> Iterator[str]:
    """Yield the names of the system's files: a new file can be found by what looks for files."""
    for source in sut.sources:
        top = sut.folder / source
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and LEFT_OUT not in path.parts:
                yield path.relative_to(sut.folder).as_posix()


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
