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

from pydantic import ValidationError

from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.format.canonical import canonical_json, digest_of, read_json
from gateproof_evidence.format.problem import first_problem
from gateproof_evidence.format.table import read_tables
from gateproof_evidence.format.tree import device_name
from gateproof_evidence.model import Criterion, Digest, Value

LONGEST_GATE = 40
"""The most characters of a gate's name, which is part of every path of its captures."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The expected criteria, in file order."""

    criteria: tuple[Criterion, ...]

    @cached_property
    def content(self) -> bytes:
        """The catalogue as canonical JSON, which a bundle contains and signs."""
        criteria = [criterion.model_dump(mode="json") for criterion in self.criteria]
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
            twice, or an id prefix that does not belong to exactly one gate.

    """
    criteria = read_tables(path, name="criterion", key="id", model=Criterion)
    _refuse_empty(path, criteria)
    _refuse_bad_gates(path, criteria)
    _refuse_duplicates(path, criteria)
    _refuse_foreign_prefixes(path, criteria)
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
    _refuse_foreign_prefixes(" and ".join(map(str, paths)), criteria)
    gates = Catalogue(criteria=criteria).gates
    return Catalogue(criteria=tuple(sorted(criteria, key=lambda one: gates.index(one.gate))))


def _refuse_shared(loaded: Mapping[Path, Catalogue]) -> None:
    file_of: dict[str, Path] = {}
    for path, catalogue in loaded.items():
        for id_ in catalogue.ids:
            if id_ in file_of:
                raise BadInputError(
                    f"{path}: criterion id: got {id_}, which {file_of[id_]} has too, expected "
                    "each once; give one of them the next free number"
                )
            file_of[id_] = path


def _refuse_empty(path: Path, criteria: Sequence[Criterion]) -> None:
    if not criteria:
        raise BadInputError(
            f"{path}: criteria: got none, expected at least one [[criterion]]; "
            "a run that expects nothing shows nothing"
        )


def _refuse_bad_gates(path: Path, criteria: Sequence[Criterion]) -> None:
    for criterion in criteria:
        if device_name(criterion.gate) or len(criterion.gate) > LONGEST_GATE:
            raise BadInputError(
                f"{path}: criterion {criterion.id}: gate: got {criterion.gate[:20]}, expected at "
                f"most {LONGEST_GATE} characters and no name of a device of Windows; it is the "
                "name of a folder, so choose another"
            )


def _refuse_duplicates(path: Path, criteria: Sequence[Criterion]) -> None:
    seen: set[str] = set()
    for criterion in criteria:
        if criterion.id in seen:
            raise BadInputError(
                f"{path}: criterion id: got {criterion.id} twice, expected each once; "
                "give one of them the next free number"
            )
        seen.add(criterion.id)


def _refuse_foreign_prefixes(path: Path | str, criteria: Sequence[Criterion]) -> None:
    prefix_of: dict[str, str] = {}
    gate_of: dict[str, str] = {}
    for criterion in criteria:
        prefix = criterion.id.partition("-")[0]
        expected = prefix_of.setdefault(criterion.gate, prefix)
        if prefix != expected:
            raise BadInputError(
                f"{path}: criterion id of gate {criterion.gate}: got {criterion.id}, expected "
                f"the prefix {expected}; a gate has one id prefix"
            )
        owner = gate_of.setdefault(prefix, criterion.gate)
        if owner != criterion.gate:
            raise BadInputError(
                f"{path}: criterion {criterion.id}: got gate {criterion.gate}, expected {owner}, "
                f"which has the prefix {prefix}; an id prefix has one gate"
            )
