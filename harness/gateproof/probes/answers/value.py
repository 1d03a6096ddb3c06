"""The answers of fixtures as JSON, and back.

Owns which values a check can get again as they were: plain values, times, ids, bytes, and frozen
dataclasses and models of this package. Any other object has no JSON: it stays an object whose own
answers are recorded, see `gateproof.probes.answers.boundary`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pydantic

from gateproof.description.sut import Sut
from gateproof.probes.sql import Rows

KIND = "__type__"
"""The key that marks a value which JSON lacks."""

HOMES = ("gateproof.", "gateproof_evidence.")
"""The packages whose classes are made again."""
ERROR_HOMES = (*HOMES, "builtins", "psycopg.")
"""The modules and packages whose exceptions are raised again; others as the nearest class."""

RedactRows = Callable[[Rows], Rows]

_TEXTS: Mapping[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "uuid": (uuid.UUID, str, uuid.UUID),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "datetime": (dt.datetime, dt.datetime.isoformat, dt.datetime.fromisoformat),
    "date": (dt.date, dt.date.isoformat, dt.date.fromisoformat),
    "time": (dt.time, dt.time.isoformat, dt.time.fromisoformat),
    "path": (Path, str, Path),
}
"""By kind: the class of a value, its text, and the value of a text; a datetime is a date too."""

CHARACTERS: Mapping[str, str] = {"bytes": "utf-8", "latin1": "latin-1"}
"""The kinds of bytes, with the encoding of their text."""
_COLLECTIONS: Mapping[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}


class NotAValueError(TypeError):
    """An object has no JSON."""


def encode(value: Any, rows: RedactRows = lambda found: found) -> Any:
    """Return a value as JSON.

    Args:
        value: any object.
        rows: returns the rows of a statement without the values of columns that hold secrets: only
            here are the names of their columns known.

    Raises:
        NotAValueError: it has none.

    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Rows):
        value = rows(value)
    marked = _encode_as_text(value)
    if marked is not None:
        return marked
    if isinstance(value, Mapping):
        return _encode_mapping(value, rows)
    if isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "_fields"):
        found = [encode(one, rows) for one in _in_order(value)]
        return found if isinstance(value, list) else {KIND: type(value).__name__, "is": found}
    return _encode_record(value, rows)


def decode(value: Any, made: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Return the value of its JSON.

    Args:
        value: what `encode` returned, with redactions.
        made: returns the object of a kind that this module does not know.

    Raises:
        TypeError, ValueError, KeyError: a redaction has changed what the value needs.

    """
    if isinstance(value, list):
        return [decode(one, made) for one in value]
    if not isinstance(value, Mapping):
        return value
    kind, content = value.get(KIND), value.get("is")
    if kind is None:
        return {name: decode(one, made) for name, one in value.items()}
    if kind in _TEXTS:
        return _TEXTS[kind][2](str(content))
    if kind in CHARACTERS:
        return str(content).encode(CHARACTERS[kind])
    if kind in _COLLECTIONS:
        return _COLLECTIONS[kind](decode(content, made))
    if kind == "mapping":
        return {decode(name, made): decode(one, made) for name, one in content or ()}
    return _decode_record(value, made) if kind == "record" else made(value)


def encode_error(error: BaseException) -> dict[str, Any]:
    """Return an exception as JSON: its class, or the nearest that can be raised again."""
    fields = {}
    for name, value in vars(error).items():
        try:
            fields[name] = encode(value)
        except NotAValueError:
            continue
    home = next(own for own in type(error).__mro__ if is_from(own, ERROR_HOMES))
    return {"of": _name(home), "text": str(error), "fields": fields}


def decode_error(value: Mapping[str, Any], made: Callable[[Mapping[str, Any]], Any]) -> Exception:
    """Return the exception of its JSON.

    Raises:
        ValueError: its class is not one that is raised again.

    """
    own = _class(str(value["of"]), ERROR_HOMES)
    if not issubclass(own, Exception):
        raise ValueError(  # noqa: TRY004 (bad content)
            f"exception: got {value['of']}, expected an Exception"
        )
    error = own.__new__(own)
    error.args = (value["text"],)
    for name, field in value["fields"].items():
        setattr(error, name, decode(field, made))
    return error


def _encode_as_text(value: Any) -> Any:
    """Return a value of which JSON can have the text alone; None for any other."""
    if isinstance(value, Sut):
        return {KIND: "sut"}
    if isinstance(value, bytes):
        return _encode_bytes(value)
    for kind, (own, text, _) in _TEXTS.items():
        if isinstance(value, own):
            return {KIND: kind, "is": text(value)}
    return None


def _encode_bytes(value: bytes) -> Any:
    """Return bytes as text: in base64, no secret in them would be found."""
    try:
        return {KIND: "bytes", "is": value.decode(CHARACTERS["bytes"])}
    except UnicodeDecodeError:
        return {KIND: "latin1", "is": value.decode(CHARACTERS["latin1"])}


def _encode_mapping(value: Mapping[Any, Any], rows: RedactRows) -> Any:
    if all(isinstance(name, str) for name in value) and KIND not in value:
        return {name: encode(one, rows) for name, one in value.items()}
    pairs = [[encode(name, rows), encode(one, rows)] for name, one in value.items()]
    return {KIND: "mapping", "is": pairs}


def _encode_record(value: Any, rows: RedactRows) -> Any:
    """Return a frozen dataclass or a model of this package as JSON."""
    own = type(value)
    if not is_from(own, HOMES) or "<locals>" in own.__qualname__:
        raise NotAValueError(f"{own.__qualname__} is no value")
    if isinstance(value, pydantic.BaseModel):
        return {KIND: "record", "of": _name(own), "is": _dump(value)}
    if not dataclasses.is_dataclass(value) or not _is_frozen(own):
        raise NotAValueError(f"{own.__qualname__} is no value")
    names = [field.name for field in dataclasses.fields(value) if field.init]
    fields = {name: encode(getattr(value, name), rows) for name in names}
    return {KIND: "record", "of": _name(own), "is": fields}


def _is_frozen(own: type) -> bool:
    return bool(getattr(own, "__dataclass_params__").frozen)  # noqa: B009 (mypy does not know it)


def _dump(value: pydantic.BaseModel) -> Any:
    """Return the fields of a model, which may have values that JSON lacks."""
    try:
        return value.model_dump(mode="json")
    except ValueError as error:  # the class of pydantic is one
        raise NotAValueError(f"{type(value).__qualname__}: {error}") from error


def _decode_record(value: Mapping[str, Any], made: Callable[[Mapping[str, Any]], Any]) -> Any:
    own = _class(value["of"], HOMES)
    if issubclass(own, pydantic.BaseModel):
        return own.model_validate(value["is"])
    if not dataclasses.is_dataclass(own):
        raise ValueError(f"record: got {value['of']}, expected a dataclass or a model")
    return own(**{name: decode(one, made) for name, one in value["is"].items()})


def _in_order(value: Sequence[Any] | set[Any] | frozenset[Any]) -> Sequence[Any]:
    """Return the elements in an order that is the same in every process."""
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else value


def is_from(own: type, homes: Sequence[str]) -> bool:
    """Return whether a class is defined in one of some packages or modules."""
    return any(f"{own.__module__}.".startswith(f"{home.rstrip('.')}.") for home in homes)


def _name(own: type) -> str:
    return f"{own.__module__}:{own.__qualname__}"


def _class(name: str, homes: Sequence[str]) -> type:
    """Return a class by its name; a bundle must not name any other module to import."""
    module, _, path = name.partition(":")
    if not any(f"{module}.".startswith(f"{home.rstrip('.')}.") for home in homes):
        raise ValueError(f"class: got {name}, expected one of {', '.join(homes)}")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not isinstance(found, type):
        raise ValueError(f"class: got {name}, expected a class")  # noqa: TRY004 (bad content)
    return found
