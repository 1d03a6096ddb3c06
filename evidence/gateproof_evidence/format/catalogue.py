"""The catalogue: every criterion that a run is expected to judge, from ``criteria.toml`` files.

Owns reading the file, its form in a bundle, and the rules between criteria.
Leaves the binding of checks to criteria to the harness.

Source: spec, "Phases and gates"; design, "Catalogue first".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.format.canonical import canonical_json, digest_of, read_json
from gateproof_evidence.format.table import read_tables
from gateproof_evidence.format.tree import device_name
from gateproof_evidence.model import Criterion, Digest, Value
from gateproof_evidence.model.problem import first_problem


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The expected criteria, in file order."""

    criteria: tuple[Criterion, ...]

    @cached_property
    def content(self) -> bytes:
        """The catalogue as canonical JSON, which a bundle contains and signs."""
        criteria = [_content_of(criterion) for criterion in self.criteria]
        return canonical_json({"criteria": criteria})

    @cached_property
    def digest(self) -> Digest:
        """Digest of `content`, independent of the file's comments and layout."""
        return digest_of(self.content)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Every id, in file order."""
        return tuple(criterion.id for criterion in self.criteria)

    @cached_property
    def gates(self) -> tuple[str, ...]:
        """Every gate once, in file order."""
        return tuple(dict.fromkeys(criterion.gate for criterion in self.criteria))

    def by_id(self, id: str) -> Criterion:  # noqa: A002 (the field's name)
        """Return the criterion with an id.

        Raises:
            BadInputError: the catalogue has no such criterion.

        """
        found = self.get(id)
        if found is None:
            raise BadInputError(
                f"criterion id: got {id}, expected an id of the catalogue; add it to criteria.toml "
                "or correct the id"
            )
        return found

    def get(self, id: str) -> Criterion | None:  # noqa: A002 (the field's name)
        """Return the criterion with an id, or None if the catalogue has none."""
        return self._by_id.get(id)

    @cached_property
    def _by_id(self) -> Mapping[str, Criterion]:
        # Called several times for each check: a search through 5,000 criteria would be slow.
        return {criterion.id: criterion for criterion in self.criteria}


def _content_of(criterion: Criterion) -> dict[str, Any]:
    """Return a criterion as JSON; without the keys of later versions that it does not use."""
    return criterion.model_dump(mode="json", exclude=None if criterion.basis_of else {"basis_of"})


class CatalogueError(EvidenceError):
    """A bundle's catalogue is not valid."""


class _Sealed(Value):
    criteria: tuple[Criterion, ...]


def parse_catalogue(content: bytes) -> Catalogue:
    """Read the catalogue of a bundle; refuse every form but that of `Catalogue.content`.

    Raises:
        EvidenceError: duplicate keys, other fields, an id twice, or another form.

    """
    try:
        catalogue = Catalogue(criteria=_Sealed.model_validate(read_json(content)).criteria)
    except ValidationError as error:
        problem = first_problem(error)
        raise CatalogueError(f"catalogue: {problem}") from error
    if len(set(catalogue.ids)) < len(catalogue.ids):
        raise CatalogueError("catalogue: id: got an id twice, expected each once")
    if catalogue.content != content:
        raise CatalogueError("catalogue: bytes: got another form, expected canonical JSON")
    return catalogue


def load_catalogue(path: Path) -> Catalogue:
    """Read the catalogue.

    Args:
        path: a TOML file of ``[[criterion]]`` tables.

    Raises:
        BadInputError: the file is not readable, has a key or a value that is not allowed, an id
            twice, also with other case, or a name that Windows takes for a device.

    """
    criteria = read_tables(path, name="criterion", key="id", model=Criterion)
    _refuse_empty(path, criteria)
    _refuse_devices(path, criteria)
    _refuse_duplicates(path, criteria)
    return Catalogue(criteria=criteria)


def load_catalogues(paths: Sequence[Path]) -> Catalogue:
    """Read the catalogue that several files are together; the criteria of a gate are neighbours.

    Args:
        paths: at least one file, see `load_catalogue`.

    Raises:
        BadInputError: a file is not valid, or two files contradict each other.

    """
    loaded = {path: load_catalogue(path) for path in paths}
    criteria = tuple(one for catalogue in loaded.values() for one in catalogue.criteria)
    _refuse_shared(loaded)
    gates = Catalogue(criteria=criteria).gates
    return Catalogue(criteria=tuple(sorted(criteria, key=lambda one: gates.index(one.gate))))


def _refuse_shared(loaded: Mapping[Path, Catalogue]) -> None:
    file_of: dict[str, Path] = {}
    for path, catalogue in loaded.items():
        for id_ in catalogue.ids:
            key = id_.casefold()
            if key in file_of:
                raise BadInputError(
                    f"{path}: criterion id: got {id_}, which {file_of[key]} has too, expected "
                    "each once, whatever its case; choose another"
                )
            file_of[key] = path


def _refuse_empty(path: Path, criteria: Sequence[Criterion]) -> None:
    if not criteria:
        raise BadInputError(
            f"{path}: criteria: got none, expected at least one [[criterion]]; "
            "a run that expects nothing shows nothing"
        )


def _refuse_devices(path: Path, criteria: Sequence[Criterion]) -> None:
    """Refuse names that are no names of files everywhere: captures are stored under them."""
    for criterion in criteria:
        for field, name in (("id", criterion.id), ("gate", criterion.gate)):
            if device_name(name):
                raise BadInputError(
                    f"{path}: criterion {criterion.id}: {field}: got {name}, expected no name of a "
                    "device of Windows; it is the name of a folder, so choose another"
                )


def _refuse_duplicates(path: Path, criteria: Sequence[Criterion]) -> None:
    seen: dict[str, str] = {}
    for criterion in criteria:
        earlier = seen.get(criterion.id.casefold())
        if earlier is not None:
            got = f"{earlier} twice" if earlier == criterion.id else f"{earlier}, {criterion.id}"
            raise BadInputError(
                f"{path}: criterion id: got {got}, expected each once, whatever its case; choose "
                "another for one of them"
            )
        seen[criterion.id.casefold()] = criterion.id
