"""The bindings of a run: the system's commit, all files that the verdicts depend on, and versions.

Owns which files these are. Leaves their origin to `gateproof.base.origin`.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import gateproof
import gateproof_evidence
from gateproof.base.git import git
from gateproof.base.origin import Origins
from gateproof.base.sut import Sut
from gateproof_evidence.format.layout import ATTESTATION
from gateproof_evidence.model import Bindings, Bound, Part
from gateproof_evidence.reports.renderer import renderer_digest

OWN = ("gateproof", "gateproof-evidence")
RECORDED = (
    *OWN,
    "celery",
    "kombu",
    "sqlalchemy",
    "psycopg",
    "psycopg2-binary",
    "pytest",
)


@dataclass(frozen=True, kw_only=True)
class Judges:
    """The files that a run is judged by, in addition to the packages of gateproof."""

    checks: tuple[Path, ...]
    """Folders of checks, with their falsifiers and helpers."""
    catalogues: tuple[Path, ...]


def bind(
    sut: Sut, *, bound: Iterable[Bound], previous: Path, images: Mapping[str, str]
) -> Bindings:
    """Collect the bindings of a run.

    Args:
        sut: the system under test; the git checkout of its folder is judged.
        bound: all files that the verdicts depend on.
        previous: the previous bundle; it need not exist.
        images: maps the name of every container image that was used to its digest.

    """
    commit = git(sut.folder, "rev-parse", "HEAD")
    status = git(sut.folder, "status", "--porcelain", "--untracked-files=normal")
    attestation = previous / ATTESTATION
    return Bindings(
        commit=commit,
        tree=git(sut.folder, "rev-parse", "HEAD^{tree}"),
        dirty=None if commit is None or status is None else bool(status),
        sut=sut.digest,
        system=sut.sources_digest(),
        bound=tuple(bound),
        versions=_versions(),
        images=dict(images),
        nonce=secrets.token_hex(16),
        previous=_digest(attestation) if attestation.is_file() else None,
        renderer=renderer_digest(),
    )


def bound_files(sut: Sut, judges: Judges) -> tuple[Bound, ...]:
    """Return the identity of the system, its description, the checks and gateproof.

    Raises:
        OSError: a file cannot be read.

    """
    origins = Origins()
    paths: list[tuple[Part, Path]] = [
        *(("system", sut.folder / source) for source in sut.sources),
        ("description", sut.path),
        *(("checks", folder) for folder in judges.checks),
        *(("catalogue", file) for file in judges.catalogues),
        ("harness", Path(gateproof.__file__).parent),
        ("evidence", Path(gateproof_evidence.__file__).parent),
    ]
    return tuple(origins.of_path(part, path) for part, path in paths if path.exists())


def bound_code(plugins: Iterable[str], code: Iterable[str]) -> tuple[Bound, ...]:
    """Return the identity of the distributions of plugins, and of other files that were loaded.

    Args:
        plugins: names of distributions.
        code: what `loaded_code` returned in all processes of the run.

    """
    origins = Origins()
    found = (origins.of_distribution("plugin", name) for name in sorted(set(plugins)))
    files = (Path(one) for one in sorted(set(code)))
    others = (origins.of_path("other code", file) for file in files if file.is_file())
    return (*filter(None, found), *others)


def plugin_distributions(config: pytest.Config) -> set[str]:
    """Return the distributions whose plugins pytest has loaded, except those of gateproof."""
    names = {dist.project_name for _, dist in config.pluginmanager.list_plugin_distinfo()}
    return names - set(OWN)


def loaded_code(config: pytest.Config, judges: Judges, sut: Sut) -> set[str]:
    """Return the files that this process loaded from outside of what is bound otherwise.

    These are modules and ``conftest.py`` files that belong to no installed distribution, and
    pytest's own settings file.
    """
    origins = Origins()
    known = [
        *judges.checks,
        *(Path(one.__file__ or "").parent for one in (gateproof, gateproof_evidence)),
        *(sut.folder / source for source in sut.sources),
        *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "scripts")),
    ]
    modules = [*sys.modules.values(), *config.pluginmanager.get_plugins()]
    named = {getattr(module, "__file__", None) for module in modules} | {config.inipath}
    paths = {Path(str(one)).absolute() for one in named if one}
    inside = (*known, *(folder.resolve() for folder in known))
    return {
        str(path)
        for path in paths
        if path.is_file() and not origins.is_installed(path) and not _is_inside(path, inside)
    }


def _is_inside(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether a file is in one of these folders, by its name or where a link leads."""
    resolved = path.resolve()  # once: a run has a thousand modules
    return any(one.is_relative_to(top) for top in folders for one in (path, resolved))


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
