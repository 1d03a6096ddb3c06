"""The folders of the gates that judge a system: one that was named, and those of the description.

Owns the keys `gates` and `phases` of the description. Leaves the search for the named folder to
`gateproof.base.option`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from gateproof.base.option import CATALOGUE, find_gates, named_paths, sut_file
from gateproof.description.reading import ORDER, load_sut
from gateproof.description.sut import PACK, Sut
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.catalogue import Catalogue, load_catalogues
from gateproof_evidence.model import Criterion

ONE_PHASE = "all"
"""The phase of the criteria of a system that declares no phases."""
MOST_PROBLEMS = 5
PACKS = ("celery-postgres",)
"""The packs that this version contains."""

_PACKAGE = Path(__file__).parents[1]
_CHECKOUT = _PACKAGE.parents[1] / "gates"
"""The pack in a checkout: an editable installation has no copy of it inside the package."""


def pack_folder(name: str) -> Path:
    """Return the folder of a pack that this version contains."""
    installed = _PACKAGE / "packs" / name.replace("-", "_")
    return installed if installed.is_dir() or not _CHECKOUT.is_dir() else _CHECKOUT


def described_folders(sut: Sut) -> tuple[Path, ...]:
    """Return the folders of the key `gates`, in its order; they need not exist.

    Raises:
        BadInputError: this version contains no such pack.

    """
    return tuple(_folder(sut, entry) for entry in sut.gates)


def folders_of_run(sut: Sut, named: Path) -> tuple[Path, ...]:
    """Return the folders whose catalogues together are the catalogue of a run.

    Args:
        sut: the system under test.
        named: the folder of the catalogue that the command names. If the description does not have
            it, it is the only one.

    Raises:
        BadInputError: a described folder has no catalogue, or a pack is unknown.

    """
    folders = described_folders(sut)
    if named not in folders:
        return (named,)
    for entry, folder in zip(sut.gates, folders, strict=True):
        if not (folder / CATALOGUE).is_file():
            raise BadInputError(
                f"{sut.path}: gates: got {entry}, expected a folder with a {CATALOGUE} in "
                f"{folder}; correct the entry or remove it"
            )
    return tuple(dict.fromkeys(folders))


def phase_order(sut: Sut) -> list[str]:
    """Return the phases in the order of the description; empty if it declares none."""
    return list(sut.phases.get(ORDER, ())) if sut.describes("phases") else []


def catalogue_of(sut: Sut, folders: Iterable[Path]) -> Catalogue:
    """Return the catalogue of folders of gates, in which each criterion has a phase.

    The phase is that of the description, or of the criterion's own file. Of a description without
    phases, criteria without one are all of the phase `ONE_PHASE`.

    Raises:
        BadInputError: a catalogue is not valid, or a criterion has no phase, several, or another
            in its file than in the description.

    """
    loaded = load_catalogues([folder / CATALOGUE for folder in folders])
    found = [(one, _phases_of(sut, one)) for one in loaded.criteria]
    problems = [text for one, phases in found if (text := _phase_problem(sut, one, phases))]
    if problems:
        raise BadInputError(f"{sut.path}: phases: {'; '.join(problems[:MOST_PROBLEMS])}")
    criteria = (one.model_copy(update={"phase": phases[0]}) for one, phases in found)
    return Catalogue(criteria=tuple(criteria))


def _phases_of(sut: Sut, criterion: Criterion) -> list[str]:
    """Return the phases that the description or its own file gives to a criterion, each once."""
    described = sut.phases if sut.describes("phases") else {}
    named = [
        phase
        for phase, patterns in described.items()
        if phase != ORDER and any(fnmatchcase(criterion.id, one) for one in patterns)
    ]
    own = [criterion.phase] if criterion.phase else []
    return list(dict.fromkeys([*own, *named])) or ([] if described else [ONE_PHASE])


def _phase_problem(sut: Sut, criterion: Criterion, phases: list[str]) -> str:
    if len(phases) == 1:
        return ""
    if not phases:
        return (
            f"got no phase with {criterion.id}, expected one of {', '.join(phase_order(sut))}; add "
            "the id or a pattern to it"
        )
    return (
        f"got {criterion.id} in {' and '.join(phases)}, expected one phase; narrow the patterns, "
        "or correct the phase in its criteria.toml"
    )


def home_of(criterion: str, folders: Iterable[Path]) -> Path | None:
    """Return the folder of gates whose catalogue has a criterion; None if none has."""
    return next((folder for folder in folders if criterion in _ids_of(folder / CATALOGUE)), None)


@cache
def _ids_of(catalogue: Path) -> tuple[str, ...]:
    return load_catalogues([catalogue]).ids


def described_ids(sut: Sut) -> tuple[str, ...]:
    """Return the ids of the criteria of all described folders that have a catalogue.

    Raises:
        BadInputError: a catalogue is not valid.

    """
    paths = [folder / CATALOGUE for folder in described_folders(sut)]
    found = [path for path in paths if path.is_file()]
    return load_catalogues(found).ids if found else ()


def covers(paths: Sequence[Path], folder: Path) -> bool:
    """Return whether a folder is one of these paths, or inside one."""
    return any(path == folder or path in folder.parents for path in paths)


def add_described_folders(config: pytest.Config) -> None:
    """Collect every described folder too, if the whole first one is collected.

    Raises:
        BadInputError: the description or its key `gates` is not valid.

    """
    named, sut = find_gates(config), sut_file(config)
    if named is None or not sut.is_file():  # a missing file is refused where the run is opened
        return
    first, *others = folders_of_run(load_sut(sut), named)
    paths = named_paths(config)
    if covers(paths, first):
        config.args += [str(folder) for folder in others if not covers(paths, folder)]


def _folder(sut: Sut, entry: str) -> Path:
    if not entry.startswith(PACK):
        return (sut.folder / entry).resolve()
    name = entry.removeprefix(PACK)
    if name not in PACKS:
        raise BadInputError(
            f"{sut.path}: gates: got the pack {name}, expected {' or '.join(PACKS)}; correct the "
            "name"
        )
    return pack_folder(name)
