"""The bindings of a run: the system's commit, all files that the verdicts depend on, and versions.

Owns which files these are. Leaves their origin to `gateproof.base.origin`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import secrets
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath

import pytest

import gateproof
import gateproof_evidence
from gateproof.base.git import git, has_changes
from gateproof.base.origin import SITE, Origins
from gateproof.description.sut import Sut
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.layout import ATTESTATION
from gateproof_evidence.model import Bindings, Bound, Digest, Part
from gateproof_evidence.verification.source import LEFT_OUT, digest_of_path

OWN = ("gateproof", "gateproof-evidence")
BoundPath = tuple[Part, Path]
"""The part of files in a run, and the path of the file or folder."""
NO_FILE = "main program without a file"
"""The name of a program that was given as text."""
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
    sut: Sut,
    *,
    bound: Iterable[Bound],
    previous: Path,
    images: Mapping[str, str],
    origins: Origins,
    nonce: str | None = None,
) -> Bindings:
    """Collect the bindings of a run.

    Args:
        sut: the system under test; the git checkout of its folder is judged.
        bound: all files that the verdicts depend on.
        previous: the previous bundle; it need not exist.
        images: maps the name of every container image that was used to its digest.
        origins: reads the checkout of the system, unless it has already.
        nonce: identifies the run; by default a random one.

    """
    commit = git(sut.folder, "rev-parse", "HEAD")
    # Only the process that opens the run, and has imported sealing, comes here.
    from gateproof_evidence.reports.renderer import renderer_digest

    attestation = previous / ATTESTATION
    return Bindings(
        commit=commit,
        tree=git(sut.folder, "rev-parse", "HEAD^{tree}"),
        dirty=has_changes(sut.folder, origins.checkout(sut.folder)),
        sut=sut.digest,
        system=sut.sources_digest(),
        bound=tuple(bound),
        versions=_versions(),
        images=dict(images),
        nonce=nonce or secrets.token_hex(16),
        previous=_digest(attestation) if attestation.is_file() else None,
        renderer=renderer_digest(),
    )


def bound_files(sut: Sut, judges: Judges) -> dict[BoundPath, Bound]:
    """Return the identity of the system, its description, the checks and gateproof.

    Raises:
        OSError: a file cannot be read.

    """
    origins = Origins()
    return {one: origins.of_path(*one) for one in _bound_paths(sut, judges)}


def bound_digests(sut: Sut, judges: Judges) -> dict[BoundPath, Digest]:
    """Return the digests of the same files, without their origins, which take longer to find.

    Raises:
        OSError: a file cannot be read.

    """
    return {one: digest_of_path(one[1].resolve()) for one in _bound_paths(sut, judges)}


def _bound_paths(sut: Sut, judges: Judges) -> Iterator[BoundPath]:
    """Yield the part and the path of all that a run is bound to, and that exists."""
    paths: list[BoundPath] = [
        *(("system", sut.folder / source) for source in sut.sources),
        ("description", sut.path),
        ("falsifiers", sut.falsifiers),
        *(("checks", folder) for folder in judges.checks),
        *(("catalogue", file) for file in judges.catalogues),
        ("harness", Path(gateproof.__file__).parent),
        ("evidence", Path(gateproof_evidence.__file__).parent),
    ]
    return (one for one in paths if one[1].exists())


def bound_code(plugins: Iterable[str], code: Iterable[str], origins: Origins) -> tuple[Bound, ...]:
    """Return the identity of the distributions of plugins, and of other code that was loaded.

    Args:
        plugins: names of distributions.
        code: what `loaded_code` returned in all processes of the run.
        origins: finds where they come from.

    """
    found = (origins.of_distribution("plugin", name) for name in sorted(set(plugins)))
    others = (_other_code(origins, one) for one in sorted(set(code)))
    return (*filter(None, found), *others)


def _other_code(origins: Origins, code: str) -> Bound:
    """Return the identity of a file, or that of code without one: its origin is unknown."""
    if Path(code).is_file():
        return origins.of_path("other code", Path(code))
    name = Path(code).name
    return Bound(part="other code", path=name, digest=digest_of(name.encode()), files=0)


def plugin_distributions(config: pytest.Config) -> set[str]:
    """Return the distributions whose plugins pytest has loaded, except those of gateproof."""
    names = {dist.project_name for _, dist in config.pluginmanager.list_plugin_distinfo()}
    return names - set(OWN)


def loaded_code(config: pytest.Config, judges: Judges, sut: Sut) -> set[str]:
    """Return the code that this process loaded from outside of what is bound otherwise.

    1. Modules, ``conftest.py`` files, the program that was started, and pytest's settings file.
    2. What Python reads at its start: ``sitecustomize``, ``.pth`` files, and folders of PYTHONPATH
       outside of the checkout: the processes of the system can load modules from these.
    3. Left out are files of the described folders and of Python itself, and installed files that
       have the digest of their RECORD.

    Not found is code that hides: a module that removes its traces runs in this process, and could
    as well change this function.
    """
    # 1
    modules = [*sys.modules.values(), *config.pluginmanager.get_plugins()]
    named = {place for module in modules for place in _places(module)}
    named |= {*_main_program(config), str(config.inipath or "")}
    # 2
    named |= {*_start_files(), *_outside_folders(judges, sut)}
    # 3
    origins = Origins()
    bound = _with_real(
        [
            *judges.checks,
            *(Path(one.__file__ or "").parent for one in (gateproof, gateproof_evidence)),
            *(sut.folder / source for source in sut.sources),
        ]
    )
    python = _with_real(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    found: set[str] = set()
    real_folder = cache(os.path.realpath)  # one folder has many modules
    for path in {_existing(Path(one).absolute()) for one in named if one}:
        real = path.resolve() if path.is_symlink() else Path(real_folder(path.parent), path.name)
        places = (path, real)
        accounted = (
            _is_inside(places, bound, without=LEFT_OUT)
            or _is_inside(places, python, without=SITE)
            or origins.is_as_installed(real)
        )
        if not accounted:
            found.add(str(path))
    return found


def _places(module: object) -> Iterator[str]:
    """Yield the file of a module by its name and by its specification: code can change one."""
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None) if getattr(spec, "has_location", False) else None
    for place in (getattr(module, "__file__", None), origin):
        if isinstance(place, str):
            yield place


def _main_program(config: pytest.Config) -> Iterator[str]:
    """Yield the name of a program that has no file, such as ``python -c``.

    The program of a worker of xdist never has one: its controller is asked.
    """
    main = sys.modules.get("__main__")
    if not (hasattr(config, "workerinput") or getattr(main, "__file__", None)):
        yield NO_FILE


def _start_files() -> Iterator[str]:
    """Yield the files that Python runs at its start, whether they are still loaded or not."""
    for name in ("sitecustomize", "usercustomize"):
        with contextlib.suppress(ImportError, ValueError):  # a loaded module without specification
            spec = importlib.util.find_spec(name)
            yield str(spec.origin) if spec and spec.has_location else ""
    for folder in {*site.getsitepackages(), site.getusersitepackages()}:
        for path in Path(folder).glob("*.pth"):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(line.strip() and not line.startswith("#") for line in lines):
                yield str(path)


def _outside_folders(judges: Judges, sut: Sut) -> Iterator[str]:
    """Yield each folder of PYTHONPATH that no commit and no distribution accounts for.

    Folders inside the checkouts of the system and of the checks have a commit, and their files
    count there. The folders of the packages of gateproof are bound by themselves.
    """
    own = {Path(one.__file__ or "").parents[1] for one in (gateproof, gateproof_evidence)}
    for entry in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        folder = Path(entry).resolve()
        if not folder.is_dir() or folder in own or folder.name in SITE:
            continue
        roots = {git(one, "rev-parse", "--show-toplevel") for one in (sut.folder, *judges.checks)}
        if not any(folder.is_relative_to(root) for root in roots if root):
            yield str(folder)


def _existing(path: Path) -> Path:
    """Return the path, or the nearest one above it that is a file: the archive of a module."""
    return next((one for one in (path, *path.parents) if one.is_file()), path)


def _with_real(folders: Iterable[Path]) -> tuple[str, ...]:
    """Return folders by their names and by where links lead, each with a separator at its end."""
    found = {str(place) for one in folders for place in (one, one.resolve())}
    return tuple(sorted(f"{one}{os.sep}" for one in found))


def _is_inside(places: Iterable[Path], folders: Iterable[str], *, without: Sequence[str]) -> bool:
    """Return whether a file is in one of these folders.

    Args:
        places: the file by its name, and where links lead.
        folders: see `_with_real`.
        without: names of folders inside of these that do not count: compiled files, which are not
            bound, and what is installed into the folder of the interpreter.

    """
    return any(
        f"{one}{os.sep}".startswith(folder)
        and not set(without) & set(PurePath(str(one)[len(folder) :]).parts)
        for folder in folders
        for one in places
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
