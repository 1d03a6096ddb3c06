"""Read the files of a folder of contracts as plain JSON values.

Owns the names in the folder and strict reading: a key that is given twice, a value that JSON does
not have and an alias are refused, because readers of YAML disagree on them. Leaves references to
`bundle`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent

from system.errors import ContractError

FOLDER = Path(__file__).parents[1]
"""The contracts of this system."""

DOCUMENT = "openapi.yaml"
BASELINES = "baselines"
BASELINE = "openapi.json"
DIGESTS = "baselines.sha256"

Json = Any
"""A value of JSON: an object, array, text, number, truth value or null."""


@dataclass(frozen=True)
class Library:
    """A folder of contracts, of which each file is read once."""

    root: Path
    _read: dict[str, Json] = field(default_factory=dict, repr=False)

    def domains(self) -> tuple[str, ...]:
        """Return the domains, such as ``webhooks/stripe``, sorted: the folders with a document."""
        found = sorted(self.root.rglob(DOCUMENT))
        return tuple(path.parent.relative_to(self.root).as_posix() for path in found)

    def read(self, name: str) -> Json:
        """Return the content of a file.

        Args:
            name: its path relative to the folder, with forward slashes.

        Raises:
            ContractError: it is not in the folder, or is no plain JSON value.

        """
        if name not in self._read:
            self._read[name] = read(self._path(name), name)
        return self._read[name]

    def _path(self, name: str) -> Path:
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise ContractError(f"file: got {name}, expected a path inside the folder of contracts")
        return path


def read(path: Path, name: str = "") -> Json:
    """Return the content of a YAML or JSON file.

    Args:
        path: the file; ``.json`` is read as JSON, any other as YAML 1.2.
        name: how messages name it; the path if empty.

    Raises:
        ContractError: it cannot be read, or is not made of plain JSON values.

    """
    name = name or str(path)
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ContractError(
            f"file: got {name}, which cannot be read ({reason}), expected a file"
        ) from None
    value = _from_json(text, name) if path.suffix == ".json" else _from_yaml(text, name)
    problem = _not_plain(value, "")
    if problem:
        raise ContractError(f"{name}: got {problem}")
    return value


def _from_json(text: str, name: str) -> Json:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{name}: got no JSON ({error}), expected a document") from None


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Return an object of JSON; a key that is given twice is an error."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"a key twice: {next(one for one in names if names.count(one) > 1)}")
    return found


def _from_yaml(text: str, name: str) -> Json:
    try:
        if any(isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(text)):
            raise ContractError(f"{name}: got an alias, expected a reference ($ref) or a copy")
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ContractError(f"{name}: got no YAML ({reason}), expected a document") from None


def _not_plain(value: Json, where: str) -> str:
    """Return the first value that JSON does not have, with what to do; empty for none."""
    if isinstance(value, dict):
        keys = [key for key in value if not isinstance(key, str)]
        if keys:
            return f"the key {keys[0]!r} at {where or '/'}, expected a text: quote it"
        return _first(_not_plain(child, f"{where}/{escaped(key)}") for key, child in value.items())
    if isinstance(value, list):
        return _first(_not_plain(child, f"{where}/{index}") for index, child in enumerate(value))
    if isinstance(value, float) and not math.isfinite(value):
        return f"the number {value} at {where}, expected a finite one"
    if not isinstance(value, str | int | float | bool | None):
        return f"a {type(value).__name__} at {where}, expected a text: quote it"
    return ""


def _first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def escaped(key: str) -> str:
    """Return a key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def at(document: Json, pointer: str) -> Json:
    """Return the part of a document at a JSON pointer.

    Args:
        document: the whole document.
        pointer: as in a fragment, ``/components/schemas/Money``; empty for the whole.

    Raises:
        KeyError: there is no such part.

    """
    found = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            raise KeyError(pointer)
    return found
