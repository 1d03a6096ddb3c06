"""Strict reading of the TOML files that people write: an array of tables, each with one model.

Owns syntax, types and unknown keys, each reported in one line. Leaves the rules between entries to
`gateproof_evidence.format.catalogue` and `gateproof_evidence.format.waiver`.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.model import Value
from gateproof_evidence.model.problem import first_problem

V = TypeVar("V", bound=Value)


def read_tables(path: Path, *, name: str, key: str, model: type[V]) -> tuple[V, ...]:
    """Read ``[[name]]`` tables, each into one model, in file order.

    Args:
        path: the TOML file.
        name: the name of the array of tables, the only key that the file may have.
        key: the field that names an entry in messages.
        model: the model of each table; plain TOML dates are passed as ISO strings.

    Raises:
        BadInputError: not readable, not TOML, an unknown key, or a value of the wrong type.

    """
    tables = _tables(path, _load(path), name)
    return tuple(
        _entry(f"{path}: {name} {table.get(key, f'number {number}')}", table, model)
        for number, table in enumerate(tables, start=1)
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise BadInputError(
            f"{path}: file: got {error.strerror}, expected a readable TOML file; "
            "create it or name another"
        ) from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"{path}: TOML syntax: got {reason}, expected TOML 1.0 in UTF-8; correct the file"
        ) from error


def _tables(path: Path, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    for key in content:
        if key != name:
            raise BadInputError(
                f"{path}: top level: got the key {key!r}, expected only [[{name}]]; remove it"
            )
    tables = content.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise BadInputError(
            f"{path}: {name}: got {type(tables).__name__}, expected [[{name}]] tables; "
            "use two brackets"
        )
    return tables


def _entry(where: str, table: dict[str, Any], model: type[V]) -> V:
    try:
        return model.model_validate({key: _plain(value) for key, value in table.items()})
    except ValidationError as error:
        raise BadInputError(_first_problem(where, error)) from error


def _plain(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return value


def _first_problem(where: str, error: ValidationError) -> str:
    problem = first_problem(error)
    if problem.kind == "missing":
        return f"{where}: {problem.field}: got nothing, expected a value; add it"
    if problem.kind == "extra_forbidden":
        return f"{where}: {problem.field}: got an unknown key; correct or remove it"
    rule = re.sub(r"^(Input|String|Value|List|Tuple) should ", "", problem.message)
    return f"{where}: {problem.field}: got {problem.value!r}, it should {rule}; correct it"
