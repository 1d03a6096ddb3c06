"""Explains an error of a check by a wrong name in the description.

Owns the search for the key whose value an error quotes, and the words. A wrong name of a role or of
a table of tenants is refused before any check, see `gateproof.stack.existence`; a wrong name of a
column or of a field of a log line shows only when a check uses it, as an error that names no key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg

from gateproof.base.skip import NotDescribedError
from gateproof.description.key import nearest
from gateproof.description.section import Section
from gateproof.description.sut import Sut

_KINDS: Mapping[type[BaseException], str] = {
    psycopg.errors.UndefinedColumn: "column",
    psycopg.errors.UndefinedTable: "table",
    psycopg.errors.UndefinedObject: "object",
    KeyError: "name",
}
_QUOTED = re.compile(r'"([^"]+)"|\bcolumn (\S+) does not exist')


def explained(
    sut: Sut, error: BaseException, names_of: Callable[[str], set[str]]
) -> NotDescribedError | None:
    """Return the error that names the key of the description; None if no key has the name.

    Args:
        sut: the description.
        error: the exception of a check.
        names_of: returns the existing names of a kind: ``column`` or ``table``.

    """
    cause = _cause_of(error)
    if cause is None:
        return None
    kind = _KINDS[type(cause)]
    name = _missing(cause)
    keys = [key for key, value in described_names(sut) if name and value == name]
    if not keys:
        return None
    known = names_of(kind) - {name}
    such = f", such as {nearest(name, known)}" if known else ""
    text = " ".join(str(cause).split())
    return NotDescribedError(
        f"{sut.path.name}: {keys[0]}: got the {kind} {name}, expected one that exists{such}; "
        f"correct the name ({type(cause).__name__}: {text})"
    )


def described_names(sut: Sut) -> Iterator[tuple[str, str]]:
    """Yield each text in the description with its key in dots."""
    for key, value in sut.values().items():
        yield from _texts(key, value)


def _texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Section):
        for name, one in value.values().items():
            yield from _texts(f"{key}.{name}", one)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _texts(f"{key}.{name}", one)
    elif isinstance(value, tuple):
        for one in value:
            yield from _texts(key, one)


def _cause_of(error: BaseException | None) -> BaseException | None:
    """Return the error of a missing name, which another exception may have as its cause."""
    while error is not None and type(error) not in _KINDS:
        error = error.__cause__
    return error


def _missing(error: BaseException) -> str:
    """Return the name that an error says is missing, without its table."""
    if isinstance(error, KeyError):
        return str(error.args[0]) if error.args else ""
    found = _QUOTED.search(str(error))
    name = (found[1] or found[2]) if found else ""
    return name.rpartition(".")[2].strip('"')
